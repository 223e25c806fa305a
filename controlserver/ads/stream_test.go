package ads

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestMalformedRequests(t *testing.T) {
	type delta = discoveryv3.DeltaDiscoveryRequest
	type sotw = discoveryv3.DiscoveryRequest
	long := strings.Repeat("n", 101)
	limits := Limits{NameBytes: 100, Subscriptions: 3, NodeBytes: 200}
	big := &corev3.Node{Id: "a", Cluster: strings.Repeat("c", 200)}
	for _, tt := range []struct {
		name string
		req  proto.Message
		want string // in the message; empty is accepted
	}{
		{"no node", &delta{TypeUrl: ClusterType}, "node: missing"},
		{"no node", &sotw{TypeUrl: ClusterType}, "node: missing"},
		{"no node id", &delta{Node: &corev3.Node{}, TypeUrl: ClusterType}, "node.id: empty"},
		{"long node id", &delta{Node: &corev3.Node{Id: long}, TypeUrl: ClusterType}, "node.id: 101 bytes"},
		{"large node", &sotw{Node: big, TypeUrl: ClusterType}, "node: 206 bytes"},
		{"no type", &delta{Node: node}, "type_url: empty"},
		{"no type", &sotw{Node: node}, "type_url: empty"},
		{"empty name", &delta{Node: node, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"a", ""}}, "resource_names_subscribe[1]: empty"},
		{"empty name", &sotw{Node: node, TypeUrl: ClusterType, ResourceNames: []string{""}}, "resource_names[0]: empty"},
		{"long name", &delta{Node: node, TypeUrl: ClusterType, ResourceNamesUnsubscribe: []string{long}}, "resource_names_unsubscribe[0]: 101 bytes"},
		{"NUL in a name", &sotw{Node: node, TypeUrl: ClusterType, ResourceNames: []string{"a\x00"}}, "resource_names[0]: contains a NUL"},
		{"many names", &delta{Node: node, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"a", "b", "c", "d"}}, "resource_names_subscribe: 4 names, more than the limit of 3"},
		{"many names", &sotw{Node: node, TypeUrl: ClusterType, ResourceNames: []string{"a", "b", "c", "d"}}, "resource_names: 4 names"},
		{"many versions", &delta{Node: node, TypeUrl: ClusterType, InitialResourceVersions: map[string]string{"a": "", "b": "", "c": "", "d": ""}}, "initial_resource_versions: 4 names"},
		{"long name with a version", &delta{Node: node, TypeUrl: ClusterType, InitialResourceVersions: map[string]string{long: "1"}}, "initial_resource_versions: 101 bytes"},
		{"locators", &delta{Node: node, TypeUrl: ClusterType, ResourceLocatorsSubscribe: []*discoveryv3.ResourceLocator{{Name: "a"}}}, "resource_locators_subscribe: not supported"},
		{"locators", &sotw{Node: node, TypeUrl: ClusterType, ResourceLocators: []*discoveryv3.ResourceLocator{{Name: "a"}}}, "resource_locators: not supported"},
		{"unknown type", &delta{Node: node, TypeUrl: "type.googleapis.com/x.Y", ResourceNamesSubscribe: []string{"a"}}, ""},
		{"unknown type", &sotw{Node: node, TypeUrl: "type.googleapis.com/x.Y", ResourceNames: []string{"a"}}, ""},
		{"as many names as allowed", &delta{Node: node, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"a", "b", "c"}}, ""},
	} {
		p := Delta
		if _, ok := tt.req.(*sotw); ok {
			p = StateOfTheWorld
		}
		t.Run(tt.name+" "+p.String(), func(t *testing.T) {
			in(t, Config{Limits: limits}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", "RDS r=1"))
				other := k.connect(Delta)
				other.ask("RDS", "r")
				c := k.connect(p)
				c.send(tt.req)
				if tt.want == "" {
					if err := c.failure(); err != nil {
						t.Errorf("refused: %v", err)
					}
					c.take()
					c.ask("RDS", "r")
					c.expect("RDS +r=1")
				} else if err := c.failure(); status.Code(err) != codes.InvalidArgument || !strings.Contains(fmt.Sprint(err), tt.want) {
					t.Errorf("%v, want InvalidArgument with %q", err, tt.want)
				}
				other.expect("RDS +r=1")
				if err := other.failure(); err != nil {
					t.Errorf("the other stream ended: %v", err)
				}
			})
		})
	}
}

func TestSubscriptionsAreBoundedOverManyRequests(t *testing.T) {
	in(t, Config{Limits: Limits{Subscriptions: 2}}, func(t *testing.T, k *kit) {
		c := k.connect(Delta)
		c.ask("CDS", "a", "b")
		c.ask("EDS", "a", "b")
		if err := c.failure(); err != nil {
			t.Fatal(err)
		}
		c.ask("CDS", "c")
		if err := c.failure(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v, want InvalidArgument", err)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	in(t, Config{Limits: Limits{Streams: 1}}, func(t *testing.T, k *kit) {
		a := k.connect(Delta)
		a.ask("CDS")
		synctest.Wait()
		b := k.connect(Delta)
		if err := b.failure(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%v, want ResourceExhausted", err)
		}
		a.cancel()
		synctest.Wait()
		c := k.connect(Delta)
		if err := c.failure(); err != nil {
			t.Errorf("after the first left: %v", err)
		}
	})
}

func TestSilentStreamEnds(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		c := k.connect(Delta)
		time.Sleep(31 * time.Second)
		if err := c.failure(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
	})
}

func TestObserver(t *testing.T) {
	const health = HealthType
	for _, p := range []Protocol{Delta, StateOfTheWorld} {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v clean %v", p, clean), func(t *testing.T) {
				e := &events{}
				in(t, Config{Observer: e}, func(t *testing.T, k *kit) {
					c := k.connect(p)
					c.ask("LDS", "a", "b")
					e.expect(t, "open 1 "+node.Id, "sub 1 LDS a,b")
					if p == Delta {
						c.ask("LDS", "b", "c") // b again is no news
						c.drop("LDS", "a", "never")
						e.expect(t, "sub 1 LDS c", "unsub 1 LDS a")
						c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: health})
						c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: health, ErrorDetail: &rpcstatus.Status{Code: 14, Message: "draining"}})
					} else {
						c.ask("LDS", "b", "c")
						e.expect(t, "sub 1 LDS c", "unsub 1 LDS a")
						c.send(&discoveryv3.DiscoveryRequest{TypeUrl: health})
						c.send(&discoveryv3.DiscoveryRequest{TypeUrl: health, ErrorDetail: &rpcstatus.Status{Code: 14, Message: "draining"}})
					}
					e.expect(t, "health 1 true ", "health 1 false draining")
					if clean {
						if err := c.stream.CloseSend(); err != nil {
							t.Fatal(err)
						}
					} else {
						c.cancel()
					}
					e.expect(t, fmt.Sprintf("close 1 %v", clean))
					if n := len(k.server.Status()); n != 0 {
						t.Errorf("%d clients are left", n)
					}
				})
			})
		}
	}
}

func (e *events) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := e.take(); !slices.Equal(got, want) {
		t.Errorf("observed %q, want %q", got, want)
	}
}

func TestPanicEndsOneStreamOnly(t *testing.T) {
	for _, where := range []string{"open", "sub", "took", "health", "close", "view", "lookup"} {
		t.Run(where, func(t *testing.T) {
			e := &events{on: func(event string) {
				if strings.HasPrefix(event, where+" 2") {
					panic(event)
				}
			}}
			in(t, Config{Observer: e}, func(t *testing.T, k *kit) {
				good := snap(t, "1", "CDS a=1")
				other := k.connect(Delta)
				k.publish(good)
				other.ask("CDS", "a")
				other.expect("CDS +a=1")

				k.server.Publish(func(n *Node) Snapshot {
					switch {
					case n.ID != "bad":
						return good
					case where == "view":
						panic("view")
					case where == "lookup":
						return bomb{good}
					}
					return good
				})
				c := k.connect(Delta)
				c.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "bad"}, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"a"}})
				c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: HealthType})
				if where == "close" {
					c.cancel()
				} else if err := c.failure(); status.Code(err) != codes.Internal {
					t.Errorf("%v, want Internal", err)
				}
				k.publish(snap(t, "2", "CDS a=2"))
				other.expect("CDS +a=2")
				if n := len(k.server.Status()); n != 1 {
					t.Errorf("%d clients, want 1", n)
				}
			})
		})
	}
}

type bomb struct{ Snapshot }

func (bomb) Lookup(string, string) *Resource { panic("lookup") }

func TestSlowClientSkipsWhatItMissed(t *testing.T) {
	in(t, Config{Limits: Limits{Send: time.Hour}}, func(t *testing.T, k *kit) {
		fat := strings.Repeat("x", 400<<10) // more than the windows of a stream that is not read
		version := func(i int) Snapshot { return snap(t, fmt.Sprint(i), fmt.Sprintf("CDS a=%d%s", i, fat)) }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		slow, err := discoveryv3.NewAggregatedDiscoveryServiceClient(k.conn).DeltaAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := slow.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		const last = 30
		for i := 1; i <= last; i++ {
			k.publish(version(i))
			synctest.Wait()
		}
		received := 0
		for {
			r, err := slow.Recv()
			if err != nil {
				t.Fatal(err)
			}
			received++
			if r.GetSystemVersionInfo() == fmt.Sprint(last) {
				break
			}
		}
		if received > last/2 {
			t.Errorf("%d of %d versions reached a client that was not reading", received, last)
		}
	})
}

func TestClientThatNeverReadsIsLeft(t *testing.T) {
	in(t, Config{Limits: Limits{Send: time.Minute}}, func(t *testing.T, k *kit) {
		fat := strings.Repeat("x", 400<<10)
		slow, err := discoveryv3.NewAggregatedDiscoveryServiceClient(k.conn).DeltaAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := slow.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			synctest.Wait()
			k.publish(snap(t, fmt.Sprint(i), fmt.Sprintf("CDS a=%d%s", i, fat)))
		}
		synctest.Wait()
		if n := len(k.server.Status()); n != 1 {
			t.Fatalf("%d clients, want 1", n)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := len(k.server.Status()); n != 0 {
			t.Errorf("the stream of a client that reads nothing is still there")
		}
	})
}

func TestDrain(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1"))
		var cs []*client
		for range 10 {
			c := k.connect(Delta)
			c.ask("CDS")
			c.expect("CDS +a=1")
			cs = append(cs, c)
		}
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- k.server.Drain(t.Context(), 100*time.Millisecond) }()
		time.Sleep(45 * time.Millisecond)
		open := 0
		for _, c := range cs {
			if c.failure() == nil {
				open++
			}
		}
		if open < 3 || open > 7 {
			t.Errorf("halfway %d of 10 streams are open", open)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("took %v", took)
		}
		for i, c := range cs {
			if err := c.failure(); status.Code(err) != codes.Unavailable {
				t.Errorf("client %d: %v, want Unavailable", i, err)
			}
		}
		late := k.connect(Delta)
		if err := late.failure(); status.Code(err) != codes.Unavailable {
			t.Errorf("a new stream: %v, want Unavailable", err)
		}
	})
}

// Nobody waits for the answer of a client that has left, or was sent away, before it gave one.
func TestSettledWithoutThoseWhoLeft(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "RDS r=1"))
		c := k.connect(Delta)
		c.ask("RDS", "r")
		c.expect("RDS +r=1")
		c.auto = false
		k.publish(snap(t, "2", "RDS r=2"))
		done := make(chan error, 1)
		go func() { done <- k.server.Settled(t.Context()) }()
		synctest.Wait()
		k.server.Evict(func(*Node) bool { return true }, status.Error(codes.PermissionDenied, "revoked"))
		k.publish(snap(t, "3", "RDS r=3"))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSettled(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1"))
		c := k.connect(Delta)
		c.ask("CDS", "a")
		c.take()
		if err := k.server.Settled(t.Context()); err != nil {
			t.Error(err)
		}
		c.auto = false
		k.publish(snap(t, "2", "CDS a=2"))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := k.server.Settled(short); err == nil || !strings.Contains(err.Error(), node.Id) {
			t.Errorf("%v, want an error that names the client", err)
		}
		done := make(chan error, 1)
		go func() { done <- k.server.Settled(t.Context()) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("settled without an answer")
		default:
		}
		c.nack(c.expect("CDS +a=2")[0], "no")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestViewMayHoldBackANode(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.server.Publish(func(*Node) Snapshot { return nil })
		c := k.connect(Delta)
		c.ask("CDS", "a")
		c.expect()
		k.publish(snap(t, "1", "CDS a=1"))
		c.expect("CDS +a=1")
		k.server.Publish(func(*Node) Snapshot { return nil })
		c.ask("CDS", "a")
		c.expect("CDS +a=1")
	})
}

func TestQuietClientStays(t *testing.T) {
	in(t, Config{Limits: Limits{Send: time.Minute}}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1"))
		c := k.connect(Delta)
		c.ask("CDS", "a")
		c.expect("CDS +a=1")
		time.Sleep(time.Hour)
		if err := c.failure(); err != nil {
			t.Error(err)
		}
	})
}

// A forgetful snapshot cannot tell what changed.
type forgetful struct{ *Set }

func (forgetful) Changed(Snapshot, string) ([]string, bool) { return nil, false }

func TestSnapshotThatCannotTellWhatChanged(t *testing.T) {
	for _, p := range []Protocol{Delta, StateOfTheWorld} {
		t.Run(p.String(), func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				publish := func(version, text string) {
					k.publish(forgetful{snap(t, version, text)})
					time.Sleep(2 * linger)
				}
				publish("1", "EDS a=1, EDS b=1, EDS c=1")
				c := k.connect(p)
				c.ask("EDS", "a", "b", "c", "x")
				time.Sleep(2 * linger)
				c.take()
				publish("2", "EDS a=2, EDS b=1")
				removed := map[Protocol]string{Delta: " -c", StateOfTheWorld: ""}[p]
				c.expect("EDS +a=2", "EDS"+removed+` !c: no ClusterLoadAssignment "c"`)
				publish("3", "EDS a=2, EDS b=1")
				c.expect() // that c and x are missing was said
				publish("4", "EDS a=2, EDS b=1, EDS x=1")
				c.expect("EDS +x=1")
			})
		})
	}
}

// A lazy snapshot knows names that it does not list, and does not say when they come.
type lazy struct{ *Set }

func (l lazy) Lookup(url, name string) *Resource {
	if r := l.Set.Lookup(url, name); r != nil || l.version == "1" {
		return r
	}
	r, err := NewResource(name, mustAny(l.All(url)[0]))
	if err != nil {
		panic(err)
	}
	return r
}

func (l lazy) Changed(since Snapshot, url string) ([]string, bool) {
	return l.Set.Changed(since.(lazy).Set, url)
}

func mustAny(r *Resource) proto.Message {
	m, err := r.Any().UnmarshalNew()
	if err != nil {
		panic(err)
	}
	return m
}

func TestMissingNamesAreLookedForAgain(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(lazy{snap(t, "1", "EDS a=1")})
		c := k.connect(StateOfTheWorld)
		c.ask("EDS", "alias")
		c.expect(`EDS !alias: no ClusterLoadAssignment "alias"`)
		k.publish(lazy{snap(t, "2", "EDS a=1")})
		c.expect("EDS +a=1")
	})
}

func TestCloseDoesNotWaitForAClientThatNeverReads(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		fat := strings.Repeat("x", 400<<10)
		slow, err := discoveryv3.NewAggregatedDiscoveryServiceClient(k.conn).DeltaAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := slow.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			synctest.Wait()
			k.publish(snap(t, fmt.Sprint(i), fmt.Sprintf("CDS a=%d%s", i, fat)))
		}
		synctest.Wait()
		start := time.Now()
		if err := k.server.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

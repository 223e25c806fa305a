package xds

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

func TestItem37RoutesAreUsedWhenTheirClustersHaveResolved(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		st.send(routes, "2", rds("a-r", "a-c", "new"))
		w.nothing(t)
		st.settleMute()
		st.send(endpoints, "2", eds("a-e", "10.0.0.2:80")) // the old routes go on
		if got := addrs(w.value(t)); got != "a-c=10.0.0.2:80" {
			t.Errorf("service %q", got)
		}
		st.settleMute()
		st.send(clusters, "2", cds("a-c", "a-e"), cds("new", "new-e"))
		w.nothing(t)
		st.settleMute()
		st.send(endpoints, "3", eds("new-e", "10.0.0.3:80"))
		if got := addrs(w.value(t)); got != "a-c=10.0.0.2:80 new=10.0.0.3:80" {
			t.Errorf("service %q", got)
		}
	})
}

func TestItem37ClusterThatNeverComesFailsAlone(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		st.send(routes, "2", rds("a-r", "a-c", "none"))
		time.Sleep(14 * time.Second)
		w.nothing(t)
		time.Sleep(2 * time.Second)
		list := w.take()
		if len(list) != 2 || list[1].err == nil || !contains(list[1].err.Error(), `cluster "none"`) {
			t.Fatalf("reports %v", list)
		}
		if got := addrs(list[0].value); got != "a-c=10.0.0.1:80 none?" {
			t.Errorf("service %q", got)
		}
	})
}

func TestItem37EndpointsOfAnotherNameAreAwaited(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		st.send(clusters, "2", cds("a-c", "other-e"))
		w.nothing(t)
		st.settleMute()
		st.send(endpoints, "2", eds("other-e", "10.0.0.5:80"))
		if got := addrs(w.value(t)); got != "a-c=10.0.0.5:80" {
			t.Errorf("service %q", got)
		}
	})
}

func TestListenerThatNamesOtherRoutes(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		st.send(listeners, "2", lds("a", "r2"))
		w.nothing(t)
		st.settleMute()
		st.send(routes, "2", rds("r2", "c2"))
		w.nothing(t)
		st.settleMute()
		st.send(clusters, "2", cds("a-c", "a-e"), cds("c2", "e2"))
		w.nothing(t)
		st.settleMute()
		st.send(endpoints, "2", eds("e2", "10.0.0.2:80"))
		if got := addrs(w.value(t)); got != "c2=10.0.0.2:80" {
			t.Errorf("service %q", got)
		}
	})
}

func TestInlineRoutesAndClustersWithEndpoints(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settleMute()
		st.send(listeners, "1", packed(wire.EncodeListener(wire.Listener{Name: "a", VirtualHosts: hosts("c")})))
		st.settleMute()
		st.send(clusters, "1", packed(wire.EncodeCluster(wire.Cluster{Cluster: resolver.Cluster{Name: "c", Endpoints: []balancer.Endpoint{{Addr: "10.0.0.1:80"}}}})))
		if got := addrs(w.value(t)); got != "c=10.0.0.1:80" {
			t.Errorf("service %q", got)
		}
		st.settleMute()
		st.send(listeners, "2", lds("a", "r")) // and then from RDS
		w.nothing(t)
		st.settleMute()
		st.send(routes, "1", rds("r", "c"))
		w.value(t)
	})
}

func TestItem39RemovedListenerWithAndWithoutLastGood(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprintf("drop=%v", drop), func(t *testing.T) {
			both(t, func(s *script, f ...string) {
				t := s.t
				if drop {
					f = append(f, "fail_on_data_errors")
				}
				c := s.client(f...)
				w := watching(c, "a")
				st := s.accept()
				st.settle(worldOf(shop("a")...))
				w.value(t)
				st.send(listeners, "2", gone("a"))
				var unknown *resolver.UnknownError
				if err := w.error(t); errors.As(err, &unknown) != drop {
					t.Errorf("error %v", err)
				}
				st.settleMute()
				if drop { // what it was made of is given up
					for _, r := range c.Status().Resources {
						if r.Name != "a" {
							t.Errorf("%s %q is still asked for", r.Type, r.Name)
						}
					}
					return
				}
				st.send(endpoints, "2", eds("a-e", "10.0.0.2:80")) // it goes on, live
				if got := addrs(w.value(t)); got != "a-c=10.0.0.2:80" {
					t.Errorf("service %q", got)
				}
			})
		})
	}
}

func TestItem40OrderOfRoutesAndHostsIsKept(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settleMute()
		list := hosts("c3", "c1", "c2")
		list = append(list, resolver.VirtualHost{Name: "w", Domains: []string{"x", "*.y"}})
		st.send(listeners, "1", packed(wire.EncodeListener(wire.Listener{Name: "a", VirtualHosts: list})))
		st.settleMute()
		var pieces []piece
		for _, n := range []string{"c1", "c2", "c3"} {
			pieces = append(pieces, packed(wire.EncodeCluster(wire.Cluster{Cluster: resolver.Cluster{Name: n, Endpoints: []balancer.Endpoint{{Addr: "10.0.0.1:80"}}}})))
		}
		st.send(clusters, "1", pieces...)
		v := w.value(t)
		if got := addrs(v); got != "c3=10.0.0.1:80 c1=10.0.0.1:80 c2=10.0.0.1:80" {
			t.Errorf("service %q", got)
		}
		if len(v.VirtualHosts) != 2 || v.VirtualHosts[1].Name != "w" {
			t.Errorf("hosts %+v", v.VirtualHosts)
		}
	})
}

// Who waits for a client's ACK must find that the client goes by what it acknowledged.
func TestAnACKSaysThatTheResponseIsInUse(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		before := w.value(t)
		st.acked(clusters, st.send(clusters, "2", cds("a-c", "a-e")))
		w.nothing(t) // it says the same again
		st.acked(endpoints, st.send(endpoints, "2", eds("a-e", "10.0.0.2:80")))
		w.mu.Lock() // not by take, which waits
		told := len(w.list)
		w.mu.Unlock()
		if told != 1 {
			t.Errorf("%d reports when the ACK came, want 1", told)
		}
		if got := addrs(w.value(t)); got != "a-c=10.0.0.2:80" {
			t.Errorf("service %q", got)
		}
		if got := addrs(before); got != "a-c=10.0.0.1:80" {
			t.Errorf("what was reported before has changed to %q", got)
		}
	})
}

func TestUpdateReachesOnlyThoseWhoUseIt(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		a, b := watching(c, "a"), watching(c, "b")
		st := s.accept()
		st.settle(worldOf(append(shop("a"), shop("b")...)...))
		va := a.value(t)
		b.value(t)
		st.send(endpoints, "2", eds("a-e", "10.0.0.2:80"))
		vb := a.value(t)
		b.nothing(t)
		if &va.VirtualHosts[0] != &vb.VirtualHosts[0] {
			t.Error("an update of endpoints makes the routes anew")
		}
	})
}

func TestServeRegisters(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		var got []string
		stop := c.Serve("10.0.0.1:80", func(in *resolver.Inbound, err error) { got = append(got, fmt.Sprint(in.Addr, " ", err)) })
		st := s.accept()
		const name = "xds.istio.io/grpc/lds/inbound/10.0.0.1:80"
		st.expect(listeners, name)
		st.quiet()
		time.Sleep(time.Minute) // many control planes have nothing to say
		synctest.Wait()
		if want := []string{"10.0.0.1:80 <nil>"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		st.send(listeners, "1", packed(wire.EncodeListener(wire.Listener{Name: name, Inbound: &resolver.Inbound{Addr: "10.0.0.1:80"}})))
		synctest.Wait()
		if len(got) != 2 {
			t.Errorf("told %q", got)
		}
		st.settleMute()
		watching(c, "other") // keeps the stream
		st.settleMute()
		stop()
		a := st.ask()
		if st.delta && !slices.Equal(a.gone, []string{name}) || !st.delta && slices.Contains(a.names, name) {
			t.Errorf("request %+v does not deregister", a)
		}
	})
}

func TestRegistrationIsRepeatedOnANewStream(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		c.Serve("10.0.0.1:80", func(_ *resolver.Inbound, err error) {
			if err != nil {
				t.Errorf("serving is told %v", err)
			}
		})
		st := s.accept()
		st.ask()
		time.Sleep(time.Minute)
		st.breaks(errors.New("broken"))
		st = s.accept()
		st.expect(listeners, "xds.istio.io/grpc/lds/inbound/10.0.0.1:80")
	})
}

func TestReady(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		s.breakDown(errors.New("dial tcp 127.0.0.1:18000: connect: connection refused"))
		c := s.client(f...)
		ready := func(wait time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			return c.Ready(ctx)
		}
		err := ready(3 * time.Second)
		if err == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
		want := `control server passthrough:///cp unreachable: connection refused; start it with "meshctl serve" or set GRPC_XDS_BOOTSTRAP`
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
		s.breakDown(nil)
		if err := ready(time.Minute); err != nil { // however long the pause before the next connection is
			t.Errorf("with a server: %v", err)
		}
		w := watching(c, "a")
		err = ready(3 * time.Second)
		for _, want := range []string{"passthrough:///cp", `listener "a"`, "meshctl status"} {
			if err == nil || !contains(err.Error(), want) {
				t.Errorf("error %v lacks %q", err, want)
			}
		}
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		if err := ready(3 * time.Second); err != nil {
			t.Errorf("with all answers: %v", err)
		}
		w.take()
		c.Close()
		if err := c.Ready(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("when closed: %v", err)
		}
	})
}

func TestReadyWaits(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		c.Serve("10.0.0.1:80", func(*resolver.Inbound, error) {})
		done := make(chan error, 1)
		go func() { done <- c.Ready(t.Context()) }()
		st := s.accept()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("ready before the answer: %v", err)
		default:
		}
		st.settle(worldOf(shop("a")...))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSinkMayWatchAndStopOthers(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		var inner *told
		outer := watching(c, "b")
		c.Watch("a", func(*resolver.Service, error) {
			if inner == nil {
				inner = watching(c, "a")
				outer.stop()
			}
		})
		st := s.accept()
		st.settle(worldOf(append(shop("a"), lds("b", "none"))...))
		inner.value(t)
	})
}

func TestStopWaitsForTheSink(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		gate, in := make(chan struct{}), make(chan struct{})
		var calls, ended atomic.Int32
		stop := c.Watch("a", func(*resolver.Service, error) {
			calls.Add(1)
			close(in)
			<-gate
			for range 10000 { // time enough for a stop that does not wait
				runtime.Gosched()
			}
			ended.Add(1)
		})
		s.accept().settle(worldOf(shop("a")...))
		<-in
		close(gate)
		stop()
		if ended.Load() != 1 {
			t.Error("stop returned while the sink ran")
		}
		synctest.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("sink was called %d times", n)
		}
	})
}

// Whatever order a server sends in, every report must be whole: each cluster its routes
// name is there with endpoints, or was never given.
func TestChurnNeverShowsHalfAnUpdate(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		var mu sync.Mutex
		var bad []string
		reports := 0
		c.Watch("a", func(v *resolver.Service, err error) {
			mu.Lock()
			defer mu.Unlock()
			reports++
			if v == nil {
				bad = append(bad, err.Error())
			} else if a := addrs(v); strings.Contains(a, "?") || strings.HasSuffix(a, "=") || strings.Contains(a, "= ") {
				bad = append(bad, a)
			}
		})
		st := s.accept()
		rnd := rand.New(rand.NewPCG(1, 2))
		w := worldOf(append(shop("a"), cds("c1", "e1"), cds("c2", "e2"), cds("c3", "e3"))...)
		st.settle(w)
		for i := range 200 {
			targets := []string{"c1", "c2", "c3"}[:1+rnd.IntN(3)]
			w[routes]["a-r"] = rds("a-r", targets...)
			for _, e := range []string{"e1", "e2", "e3"} {
				w[endpoints][e] = eds(e, fmt.Sprintf("10.0.%d.%d:80", i, rnd.IntN(200)+1))
			}
			st.send(routes, fmt.Sprint("v", i), w[routes]["a-r"])
			for range 4 { // or it goes on while the next ones come
				time.Sleep(time.Duration(rnd.IntN(8)) * time.Millisecond)
				clear(st.said)
				st.settle(w)
			}
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(bad) > 0 || reports < 100 {
			t.Errorf("%d reports, bad: %q", reports, bad)
		}
	})
}

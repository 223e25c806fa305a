package xds

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
)

// The tests named ItemNN show the items of the xDS client's checklist.

func TestServiceIsAssembled(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "payments")
		s.accept().settle(worldOf(shop("payments")...))
		if got, want := addrs(w.value(t)), "payments-c=10.0.0.1:80"; got != want {
			t.Errorf("service is %q, want %q", got, want)
		}
	})
}

func TestItem01NodeIsInTheFirstRequestOfAStreamOnly(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		for range 2 {
			st := s.accept()
			for i, a := range st.settle(worldOf(shop("a")...)) {
				if (a.node != nil) != (i == 0) {
					t.Errorf("request %d has node %v", i, a.node)
				}
			}
			time.Sleep(time.Minute)
			st.breaks(errors.New("broken"))
		}
	})
}

func TestItem02ClientFeatures(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		watching(s.client(f...), "a")
		node := s.accept().ask().node
		want := []string{"envoy.lb.does_not_support_overprovisioning", "xds.config.resource-in-sotw"}
		if got := node.GetClientFeatures(); !slices.Equal(got, want) {
			t.Errorf("client features %q, want %q", got, want)
		}
		if got := node.GetUserAgentName(); got != "weft" {
			t.Errorf("user agent %q", got)
		}
	})
}

func TestItem03FirstRequestHasNoVersionAndNoNonce(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		watching(s.client(f...), "a")
		a := s.accept().expect(listeners, "a")
		if a.version != "" || a.nonce != "" || a.initial != nil || a.nack != nil {
			t.Errorf("first request is %+v", a)
		}
	})
}

func TestItem04AckEchoesVersionAndNonce(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		st := s.accept()
		st.expect(listeners, "a")
		nonce := st.send(listeners, "7", lds("a", "r"))
		st.expect(routes, "r") // before the ACK, so that who waits for that waits for what follows, too
		if a := st.acked(listeners, nonce); a.nack != nil || !st.delta && a.version != "7" {
			t.Errorf("ACK is %+v", a)
		}
		watching(c, "b")
		if st.delta {
			if a := st.expect(listeners, "b"); a.nonce != "" {
				t.Errorf("a change of the subscription has nonce %q: servers take it for an acknowledgement", a.nonce)
			}
			return
		}
		if a := st.expect(listeners, "a", "b"); a.version != "7" || a.nonce != nonce {
			t.Errorf("a change of the subscription has version %q, nonce %q, want the newest ones", a.version, a.nonce)
		}
	})
}

func TestItem05NackKeepsTheVersionAndNamesAllFindings(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		watching(c, "b")
		st := s.accept()
		st.settle(world{})
		st.send(listeners, "1", lds("a", "r"), lds("b", "r"))
		st.settle(world{})
		nonce := st.send(listeners, "2", bad(listeners, "a"), bad(listeners, "b"))
		a := st.acked(listeners, nonce)
		if got := codes.Code(a.nack.GetCode()); got != codes.InvalidArgument {
			t.Errorf("code %v, want InvalidArgument", got)
		}
		for _, want := range []string{`"a"`, `"b"`, "domains"} {
			if !contains(a.nack.GetMessage(), want) {
				t.Errorf("reason %q does not name %s", a.nack.GetMessage(), want)
			}
		}
		if !st.delta && a.version != "1" {
			t.Errorf("version %q, want the last good one", a.version)
		}
	})
}

func TestItem05FirstResponseNacked(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		watching(s.client(f...), "a")
		st := s.accept()
		st.expect(listeners, "a")
		nonce := st.send(listeners, "1", bad(listeners, "a"))
		if a := st.acked(listeners, nonce); a.version != "" || a.nack == nil {
			t.Errorf("NACK is %+v", a)
		}
	})
}

func TestItem06AfterABreakAllIsAskedForAnew(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		a := watching(c, "a")
		watching(c, "b")
		st := s.accept()
		st.settle(worldOf(append(shop("a"), lds("b", "r"))...))
		if st.delta {
			a.take()
		}
		time.Sleep(time.Minute)
		st.breaks(errors.New("broken"))
		st = s.accept()
		l := st.expect(listeners, "a", "b")
		r := st.expect(routes, "a-r", "r")
		if l.nonce != "" || r.nonce != "" {
			t.Errorf("nonces %q, %q on a new stream", l.nonce, r.nonce)
		}
		if st.delta {
			if got := l.initial; len(got) != 2 || got["a"] != "1" || got["b"] != "1" {
				t.Errorf("initial versions %v, want those of what we have", got)
			}
			if got := r.initial; len(got) != 1 || got["a-r"] != "1" {
				t.Errorf("initial versions %v: never had r", got)
			}
		} else if l.version != "1" || r.version != "1" {
			t.Errorf("versions %q, %q, want those acknowledged", l.version, r.version)
		}
	})
}

func TestItem06TypesWithoutSubscriptionsAreNotSent(t *testing.T) {
	both(t, func(s *script, f ...string) {
		c := s.client(f...)
		w := watching(c, "a")
		watching(c, "b")
		st := s.accept()
		st.settle(worldOf(append(shop("a"), lds("b", "r"))...))
		w.stop() // nobody wants a cluster now
		st.settle(world{})
		time.Sleep(time.Minute)
		st.breaks(errors.New("broken"))
		st = s.accept()
		st.expect(listeners, "b")
		st.expect(routes, "r")
		st.quiet()
	})
}

func TestItem07WhatWasNotAskedForIsIgnoredAndAcked(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		w := watching(c, "a")
		st := s.accept()
		st.expect(listeners, "a")
		nonce := st.send(listeners, "1", lds("a", "r"), lds("stranger", "q"), bad(listeners, "stranger2"))
		st.expect(routes, "r")
		if a := st.acked(listeners, nonce); a.nack != nil {
			t.Errorf("refused: %s", a.nack)
		}
		st.quiet()
		for _, r := range c.Status().Resources {
			if r.Name != "a" && r.Name != "r" {
				t.Errorf("%s %q was kept", r.Type, r.Name)
			}
		}
		w.nothing(t)
	})
}

func TestItem08UnknownTypesAreNeitherAckedNorNacked(t *testing.T) {
	both(t, func(s *script, f ...string) {
		watching(s.client(f...), "a")
		st := s.accept()
		st.expect(listeners, "a")
		st.sendAs("type.googleapis.com/what.Ever", "1", "n", lds("a", "r"))
		st.sendAs(clusters.typeURL(), "1", "n", cds("c", "e")) // known, but not asked for
		st.quiet()
	})
}

func TestItem09WrappedResources(t *testing.T) {
	both(t, func(s *script, f ...string) {
		watching(s.client(f...), "a")
		st := s.accept()
		st.expect(listeners, "a")
		p := lds("a", "r")
		wrapped := packed(&discoveryv3.Resource{Name: "a", Resource: p.any})
		st.send(listeners, "1", piece{name: "a", any: wrapped.any})
		st.expect(routes, "r")
	})
}

func TestItem10UnsubscribingTheLastName(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "b")
		w := watching(c, "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.stop()
		for _, k := range []kind{listeners, routes, clusters, endpoints} {
			a := st.ask()
			if a.kind() != k {
				t.Fatalf("request is %s, want %s", a.kind(), k)
			}
			switch {
			case st.delta && len(a.gone) != 1:
				t.Errorf("%s: unsubscribes %q, want one", k, a.gone)
			case !st.delta && k == listeners && !slices.Equal(a.names, []string{"b"}):
				t.Errorf("%s: names %q, want those that are left", k, a.names)
			case !st.delta && k != listeners && len(a.names) > 0:
				t.Errorf("%s: names %q, want none", k, a.names)
			}
		}
		st.quiet()
	})
}

func TestItem11OneSubscriptionForManyWatches(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		one, two := watching(c, "a"), watching(c, "a")
		st := s.accept()
		asks := st.settle(worldOf(shop("a")...))
		if len(asks) != 8 { // four kinds, asked for and acknowledged
			t.Errorf("%d requests, want 8: %+v", len(asks), asks)
		}
		one.value(t)
		two.value(t)
		one.stop()
		st.quiet()
		two.stop()
		st.settle(world{})
		<-st.bye // the last unwatch ends the stream
		st.send(listeners, "2", lds("a", "a-r"))
		st.send(listeners, "3", lds("a", "a-r"))
		synctest.Wait()
		close(st.end)
		synctest.Wait()
		if got := c.Status().State; got != "idle" {
			t.Errorf("state %q, want idle", got)
		}
		watching(c, "b") // and the next begins another
		s.accept().expect(listeners, "b")
	})
}

func TestSharedResourcesAreAskedForOnce(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		a, b := watching(c, "a"), watching(c, "b")
		st := s.accept()
		asked := map[string]int{}
		for _, q := range st.settle(worldOf(lds("a", "r"), lds("b", "r"), rds("r", "c"), cds("c", "e"), eds("e", "10.0.0.1:80"))) {
			if q.nonce == "" {
				for _, n := range q.names {
					asked[q.kind().String()+n]++
				}
			}
		}
		for _, key := range []string{"router", "clusterc", "endpointse"} {
			if asked[key] != 1 {
				t.Errorf("%s was asked for %d times", key, asked[key])
			}
		}
		a.value(t)
		b.value(t)
		a.stop()
		for _, q := range st.settle(world{}) {
			if q.kind() != listeners {
				t.Errorf("what b still needs is given up: %+v", q)
			}
		}
	})
}

func TestItem12NextResponseIsReadWhenTheSinksAreDone(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		gate := make(chan struct{})
		var seen atomic.Int32
		c.Watch("a", func(*resolver.Service, error) {
			if seen.Add(1) == 2 {
				<-gate
			}
		})
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		gated := st.send(endpoints, "2", eds("a-e", "10.0.0.2:80"))
		synctest.Wait() // the sink is at the gate
		nonce := st.send(endpoints, "3", eds("a-e", "10.0.0.3:80"))
		for range 50 {
			st.send(endpoints, "4", eds("a-e", "10.0.0.4:80"))
		}
		st.quiet()
		close(gate)
		st.acked(endpoints, gated)
		st.acked(endpoints, nonce)
		if n := len(st.settle(world{})); n != 50 {
			t.Errorf("%d of 50 responses were answered", n)
		}
		synctest.Wait()
		if got := seen.Load(); got != 4 {
			t.Errorf("%d reports, want 4: what says the same again is not told", got)
		}
	})
}

func TestItem13BackoffGrowsAndIsReset(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		s.refuse(status.Error(codes.Unavailable, "not now"))
		watching(s.client(f...), "a")
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if n := len(s.history()); n < 15 {
			t.Fatalf("%d attempts in 20 minutes", n)
		}
		jitter := false
		for i := 1; i < len(s.history()); i++ {
			want := min(math.Pow(1.6, float64(i-1)), 120)
			if got := s.history()[i].at.Sub(s.history()[i-1].at).Seconds(); got < 0.79*want || got > 1.21*want {
				t.Errorf("pause %d is %.2f s, want %.2f s and a fifth more or less", i, got, want)
			} else if math.Abs(got-want) > 0.001*want {
				jitter = true
			}
		}
		if !jitter {
			t.Error("pauses have no jitter")
		}

		s.refuse(nil)
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		time.Sleep(time.Minute)
		st.breaks(errors.New("broken"))
		if got := time.Since(s.history()[len(s.history())-1].at); got != 0 {
			t.Errorf("reconnected %v after a stream with responses broke, want at once", got)
		}
		st = s.accept()
		st.ask()
		st.settleMute()
		st.send(listeners, "1", lds("a", "a-r"))
		st.settleMute()
		time.Sleep(time.Minute)

		s.refuse(status.Error(codes.Unavailable, "not now"))
		n := len(s.history())
		st.breaks(errors.New("broken"))
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if got := len(s.history()) - n; got != 2 {
			t.Errorf("%d attempts in 1.5 s, want one at once and one after about a second: the backoff was not reset", got)
		}
	})
}

func TestStreamsThatBreakAtOnceDoNotSpin(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		watching(s.client(f...), "a")
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case st := <-s.streams:
					st.ask()
					st.send(listeners, "1", lds("a", "r"))
					st.ask()
					st.end <- errors.New("broken")
				case <-stop:
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		close(stop)
		if n := len(s.history()); n > 61 {
			t.Errorf("%d streams in a minute", n)
		}
	})
}

func TestItem14DeadConnectionIsNoticed(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		var hung atomic.Bool
		s.wrap = func(c net.Conn) net.Conn {
			if hung.Load() {
				return c
			}
			return &hangingConn{Conn: c, hung: &hung}
		}
		c := s.client(f...)
		w := watching(c, "a")
		s.accept().settle(worldOf(shop("a")...))
		w.value(t)
		hung.Store(true)
		began := time.Now()
		s.accept()
		if got := time.Since(began); got > keepaliveTime+keepaliveTimeout+time.Second {
			t.Errorf("noticed after %v", got)
		}
		w.nothing(t)
	})
}

func TestItem14FailedConnectionIsToldAtOnce(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		s.breakDown(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")})
		began := time.Now()
		w := watching(s.client(f...), "a")
		err := w.error(t)
		if got := time.Since(began); got > time.Second {
			t.Errorf("told after %v", got)
		}
		if !contains(err.Error(), "connection refused") {
			t.Errorf("error is %q", err)
		}
	})
}

// A hangingConn loses everything once it hangs.
type hangingConn struct {
	net.Conn
	hung *atomic.Bool
}

func (h *hangingConn) Write(b []byte) (int, error) {
	if h.hung.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}

func TestSotwIsSpokenWhereThereIsNoDelta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.noDelta = true
		w := watching(s.client(), "a")
		st := s.accept()
		if st.delta {
			t.Fatal("delta")
		}
		if got := time.Since(s.history()[0].at); got != 0 {
			t.Errorf("took %v to change the protocol", got)
		}
		st.settle(worldOf(shop("a")...))
		w.value(t)
		time.Sleep(time.Minute)
		st.breaks(errors.New("broken"))
		s.accept()
		var protocols []string
		for _, o := range s.history() {
			protocols = append(protocols, o.protocol)
		}
		if want := []string{"delta", "sotw", "sotw"}; !slices.Equal(protocols, want) {
			t.Errorf("protocols %q, want %q", protocols, want)
		}
	})
}

func TestRepeatedNacksArePaced(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		other := watching(c, "b")
		st := s.accept()
		st.ask()
		nacks := 0
		st.send(listeners, "2", bad(listeners, "a"))
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			select {
			case a := <-st.asks:
				if a.nack != nil {
					nacks++
					st.send(listeners, "2", bad(listeners, "a")) // as go-control-plane does
				}
			case <-time.After(time.Second):
			}
		}
		if nacks < 5 || nacks > 12 {
			t.Errorf("%d refusals in 10 s of a server that repeats itself, want about one a second", nacks)
		}
		st.settleMute()
		st.send(listeners, "3", bad(listeners, "a"), lds("b", "b-r"))
		st.settleMute()
		st.send(routes, "3", rds("b-r"))
		st.settleMute()
		other.value(t)
	})
}

func TestHealthIsReported(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		c.SetHealth(balancer.Healthy, "")
		st := s.accept()
		st.expect(listeners, "a")
		st.quiet() // plain healthy needs no words
		for _, step := range []struct {
			health balancer.Health
			text   string
			want   string // empty: healthy
		}{
			{balancer.Draining, "bye", "draining: bye"},
			{balancer.Unhealthy, "", "unhealthy"},
			{balancer.Healthy, "fine", ""},
			{balancer.Unhealthy, "disk full", "unhealthy: disk full"},
		} {
			c.SetHealth(step.health, step.text)
			c.SetHealth(step.health, step.text)
			a := st.ask()
			if a.typeURL != healthType || a.nack.GetMessage() != step.want || (a.nack == nil) != (step.want == "") {
				t.Errorf("health %v is reported as %+v", step.health, a)
			}
			st.quiet()
		}
		st.send(listeners, "1", lds("a", "r"))
		st.settle(world{})
		time.Sleep(time.Minute)
		st.breaks(errors.New("broken"))
		st = s.accept()
		if a := st.ask(); a.typeURL != healthType || a.node == nil || a.nack.GetMessage() != "unhealthy: disk full" {
			t.Errorf("on a new stream health is reported as %+v", a)
		}
	})
}

func TestCloseSaysGoodbye(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		w := watching(c, "a")
		c.Serve("10.0.0.1:80", func(*resolver.Inbound, error) {})
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.take()
		go func() { <-st.bye; st.end <- nil }()
		began := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if got := time.Since(began); got != 0 {
			t.Errorf("Close took %v though the server answered at once", got)
		}
		var gone []string
		for {
			select {
			case a := <-st.asks:
				gone = append(gone, a.gone...)
				if !st.delta && len(a.names) > 0 {
					t.Errorf("still asks for %q", a.names)
				}
				continue
			default:
			}
			break
		}
		if st.delta && len(gone) != 5 {
			t.Errorf("unsubscribed from %q, want all five", gone)
		}
		if got := c.Status().State; got != "closed" {
			t.Errorf("state %q", got)
		}
		c.Watch("b", func(_ *resolver.Service, err error) {
			if !errors.Is(err, errClosed) {
				t.Errorf("watch of a closed client is told %v", err)
			}
		})()
		w.nothing(t)
	})
}

func TestCloseDoesNotWaitForADeadServer(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		s.accept().settle(worldOf(shop("a")...)) // and then ignores the goodbye
		began := time.Now()
		c.Close()
		if got := time.Since(began); got != goodbye {
			t.Errorf("Close took %v, want %v", got, goodbye)
		}
	})
}

func TestNextServerIsTried(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		b, _ := BootstrapFor("passthrough:///dead", "passthrough:///cp")
		for i := range b.servers {
			for _, x := range f {
				b.servers[i].features.add(x)
			}
		}
		s.deadName = "dead"
		c := s.clientOf(Config{Bootstrap: b})
		w := watching(c, "a")
		began := time.Now()
		st := s.accept()
		if got := time.Since(began); got > time.Second {
			t.Errorf("took %v", got)
		}
		st.settle(worldOf(shop("a")...))
		w.value(t)
		if got := c.Status().Server; got != "passthrough:///cp" {
			t.Errorf("server in use %q", got)
		}
		time.Sleep(time.Minute)
		st.breaks(errors.New("broken"))
		st = s.accept() // over the first one again
		if a := st.ask(); a.initial != nil || a.version != "" {
			t.Errorf("tells a server the versions of another: %+v", a)
		}
		w.nothing(t)
	})
}

func TestHugeResponseEndsTheStreamAndBacksOff(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.ask()
		st.send(listeners, "1", lds("a", "r"))
		st.ask()
		st.ask()
		st.send(routes, "1", piece{name: "r", any: &anypb.Any{TypeUrl: routes.typeURL(), Value: make([]byte, mostResponse)}})
		err := w.error(t)
		if want := fmt.Sprint(mostResponse); !contains(err.Error(), want) {
			t.Errorf("error %q does not name the limit %s", err, want)
		}
	})
}

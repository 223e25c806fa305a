package controlserver

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/web"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

func serve(c *xds.Client, addr string) (stop func()) {
	return c.Serve(addr, func(*resolver.Inbound, error) {})
}

// A cable is a network connection that can be cut.
type cable struct {
	mu    sync.Mutex
	conns []net.Conn
	out   bool
}

func (c *cable) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if c.out {
		conn.Close()
		return nil, net.ErrClosed
	}
	c.conns = append(c.conns, conn)
	return conn, nil
}

func (c *cable) option() grpc.DialOption { return grpc.WithContextDialer(c.dial) }

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = true
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, c.conns = false, nil
}

func TestListeningProcessBecomesAnEndpoint(t *testing.T) {
	s := run(t, Config{})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	p := dial(t, s.Addr(), xds.Config{Service: "payments", Labels: map[string]string{"version": "v1"}, Locality: balancer.Locality{Region: "eu", Zone: "a"}})
	stop := serve(p, "127.0.0.1:7001")
	if err := s.Registered(within(t), "127.0.0.1:7001"); err != nil {
		t.Fatal(err)
	}
	got := w.until(t, "the endpoint", func(s *resolver.Service) bool { return addrs(s) == "127.0.0.1:7001" })
	for _, c := range got.Clusters {
		if e := c.Endpoints[0]; e.Labels["version"] != "v1" || e.Locality.Zone != "a" {
			t.Errorf("%+v", e)
		}
	}
	p.SetHealth(balancer.Draining, "going home")
	w.until(t, "that it drains", func(s *resolver.Service) bool {
		for _, c := range s.Clusters {
			return len(c.Endpoints) == 1 && c.Endpoints[0].Health == balancer.Draining
		}
		return false
	})
	// Several doors of one process; the first one is what callers get.
	other := serve(p, "127.0.0.1:7002")
	if err := s.Registered(within(t), "127.0.0.1:7001"); err != nil {
		t.Fatal(err)
	}
	other()
	stop()
	w.untilTold(t, "that nobody serves", func(s *resolver.Service, err error) bool {
		return err != nil || s != nil && addrs(s) == ""
	})
}

func TestDeclaredServiceIsServedByThoseItsSelectorFinds(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments")+"  workloadSelector: {labels: {app: pay}}\n")
	s := run(t, Config{Dir: dir})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	w.until(t, "the service, without endpoints", func(s *resolver.Service) bool { return addrs(s) == "" })
	serve(dial(t, s.Addr(), xds.Config{Service: "till", Labels: map[string]string{"app": "pay"}}), "127.0.0.1:7001")
	w.until(t, "the endpoint", func(s *resolver.Service) bool { return addrs(s) == "127.0.0.1:7001" })
}

func TestCleanCloseDeregistersAtOnce(t *testing.T) {
	s := run(t, Config{Grace: time.Hour})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	stays := dial(t, s.Addr(), xds.Config{Service: "payments"})
	serve(stays, "127.0.0.1:7001")
	leaves := dial(t, s.Addr(), xds.Config{Service: "payments"})
	serve(leaves, "127.0.0.1:7002")
	w.until(t, "both", func(s *resolver.Service) bool { return addrs(s) == "127.0.0.1:7001 127.0.0.1:7002" })
	if err := leaves.Close(); err != nil {
		t.Fatal(err)
	}
	w.until(t, "one", func(s *resolver.Service) bool { return addrs(s) == "127.0.0.1:7001" })
}

func TestBrokenStreamStaysForTheGrace(t *testing.T) {
	const grace = 300 * time.Millisecond
	s := run(t, Config{Grace: grace})
	w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
	var cable cable
	serve(dial(t, s.Addr(), xds.Config{Service: "payments", DialOptions: []grpc.DialOption{cable.option()}}), "127.0.0.1:7001")
	serve(dial(t, s.Addr(), xds.Config{Service: "payments"}), "127.0.0.1:7002")
	w.until(t, "both", func(s *resolver.Service) bool { return addrs(s) == "127.0.0.1:7001 127.0.0.1:7002" })
	before := time.Now()
	cable.cut()
	w.until(t, "one", func(s *resolver.Service) bool { return addrs(s) == "127.0.0.1:7002" })
	if took := time.Since(before); took < grace { // never before, however slow the machine
		t.Errorf("gone after %v, before the grace of %v", took, grace)
	}
}

// What clients had must outlive a control server that comes back empty-headed
// and learns only bit by bit who serves.
func TestRestartTellsReturningClientsOfNoEmptyMesh(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	first := run(t, Config{Listener: ln})
	caller := watch(t, dial(t, addr, xds.Config{}), "payments")
	serve(dial(t, addr, xds.Config{Service: "payments"}), "127.0.0.1:7001")
	serve(dial(t, addr, xds.Config{Service: "payments"}), "127.0.0.1:7002")
	const both = "127.0.0.1:7001 127.0.0.1:7002"
	caller.until(t, "both", func(s *resolver.Service) bool { return addrs(s) == both })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	from := caller.updates()

	// Long enough for all to be back: clients wait a second or so before they try again.
	second := run(t, Config{Listen: addr, Grace: 4 * time.Second})
	second.knows(t, "all back", func(st web.Status) bool {
		return len(st.Services) == 1 && len(st.Services[0].Endpoints) == 2
	})
	serve(dial(t, addr, xds.Config{Service: "payments"}), "127.0.0.1:7003")
	caller.until(t, "what is new since", func(s *resolver.Service) bool { return addrs(s) == both+" 127.0.0.1:7003" })
	caller.mu.Lock()
	defer caller.mu.Unlock()
	for _, was := range caller.history[from:] {
		if was.service == nil || !strings.HasPrefix(addrs(was.service), both) {
			t.Errorf("told %+v, %v after the restart", was.service, was.err)
		}
	}
}

func TestDrainLeavesClientsWithWhatTheyHave(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a.yaml", service("payments", "10.0.0.1"))
	s := run(t, Config{Dir: dir})
	var all []*watched
	for range 5 {
		w := watch(t, dial(t, s.Addr(), xds.Config{}), "payments")
		w.until(t, "the endpoints", func(s *resolver.Service) bool { return addrs(s) == "10.0.0.1:80" })
		all = append(all, w)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.logs.String(), "did not leave") {
		t.Error("clients had to be cut off")
	}
	for _, w := range all {
		if last := w.last(); last.service == nil || addrs(last.service) != "10.0.0.1:80" {
			t.Errorf("%+v", last)
		}
	}
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("the address is still served")
	}
}

func TestRegisteredEndsWithItsContext(t *testing.T) {
	s := run(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Registered(ctx, "127.0.0.1:7001")
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:7001 is not registered") {
		t.Error(err)
	}
}

// What Settled promises is what meshtest and people's scripts build on. A client
// answers when it took an update; its sinks may be called a moment later.
func TestSettledMeansClientsTookIt(t *testing.T) {
	source := newSource()
	s := run(t, Config{Sources: []Source{source}})
	client := dial(t, s.Addr(), xds.Config{})
	w := watch(t, client, "payments")
	source.says(t, service("payments", "10.0.0.1"))
	w.until(t, "the first", func(*resolver.Service) bool { return true })
	seen := map[string]bool{}
	for i := range 20 {
		source.says(t, service("payments", "10.0.0.1")+route("payments", time.Duration(i+1)*time.Second))
		if err := s.Settled(within(t)); err != nil {
			t.Fatal(err)
		}
		for _, r := range client.Status().Resources {
			if r.Type == "route" {
				if seen[r.Version] {
					t.Fatalf("settled, and the client has an older version of %s", r.Name)
				}
				seen[r.Version] = true
			}
		}
	}
}

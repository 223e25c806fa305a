package registry

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
)

// A kit is a registry that runs in a bubble.
type kit struct {
	*Registry
	t *testing.T

	mu  sync.Mutex
	all []catalog.Fragment
}

// reports are those so far.
func (k *kit) reports() []catalog.Fragment {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all
}

func (k *kit) report(f catalog.Fragment) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, f)
}

// last are the workloads of the last report.
func (k *kit) last() []catalog.Workload {
	synctest.Wait()
	all := k.reports()
	return all[len(all)-1].Workloads
}

func in(t *testing.T, f func(k *kit)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &kit{Registry: New(Config{Logger: slog.New(slog.DiscardHandler)}), t: t}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx, k.report) }()
		k.settle()
		f(k)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// settle lets the gather time pass.
func (k *kit) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// open opens a stream of an instance of pay on 10.0.0.1.
func (k *kit) open(stream uint64) {
	k.Open(stream, Process{ID: "n", Service: "pay", Namespace: "shop", Addresses: []string{"10.0.0.1"}, Labels: map[string]string{"version": "v1"}})
}

func (k *kit) listen(stream uint64, addrs ...string) {
	k.Subscribed(stream, listenerType, listeners(addrs))
}

func (k *kit) unlisten(stream uint64, addrs ...string) {
	k.Unsubscribed(stream, listenerType, listeners(addrs))
}

func listeners(addrs []string) []string {
	var names []string
	for _, a := range addrs {
		names = append(names, "xds.istio.io/grpc/lds/inbound/"+a)
	}
	return names
}

// expect compares the last report, one "namespace/name address:ports health" a workload.
func (k *kit) expect(want ...string) {
	k.t.Helper()
	var got []string
	for _, w := range k.last() {
		var ports []string
		for _, p := range w.Ports {
			ports = append(ports, fmt.Sprint(p.Number))
		}
		got = append(got, fmt.Sprintf("%s/%s %s:%s %v", w.Namespace, w.Name, w.Address, strings.Join(ports, "+"), w.Health))
	}
	if !slices.Equal(got, want) {
		k.t.Errorf("workloads\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

const up = "shop/pay 10.0.0.1:8080 UNKNOWN"

func TestRegistration(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(k *kit)
		want []string
	}{
		{"a stream alone registers nothing", func(k *kit) { k.open(1) }, nil},
		{"a port", func(k *kit) { k.open(1); k.listen(1, "10.0.0.1:8080") }, []string{up}},
		{"ports in the order they were opened", func(k *kit) {
			k.open(1)
			k.listen(1, "10.0.0.1:9090")
			k.listen(1, "10.0.0.1:8080")
		}, []string{"shop/pay 10.0.0.1:9090+8080 UNKNOWN"}},
		{"two addresses are two workloads", func(k *kit) {
			k.open(1)
			k.listen(1, "10.0.0.1:8080", "[fd00::1]:8080")
		}, []string{up, "shop/pay fd00::1:8080 UNKNOWN"}},
		{"two processes on one address are two workloads", func(k *kit) {
			k.open(1)
			k.open(2)
			k.listen(1, "10.0.0.1:8080")
			k.listen(2, "10.0.0.1:8081")
		}, []string{up, "shop/pay 10.0.0.1:8081 UNKNOWN"}},
		{"all addresses: the first of its own", func(k *kit) { k.open(1); k.listen(1, "0.0.0.0:8080") }, []string{up}},
		{"all addresses, version 6", func(k *kit) { k.open(1); k.listen(1, "[::]:8080") }, []string{up}},
		{"all addresses: that of its stream", func(k *kit) {
			k.Open(1, Process{Service: "pay", Namespace: "shop", Peer: netip.MustParseAddr("10.0.0.1")})
			k.listen(1, "0.0.0.0:8080")
		}, []string{up}},
		{"all addresses, and none known", func(k *kit) {
			k.Open(1, Process{Service: "pay", Namespace: "shop"})
			k.listen(1, "0.0.0.0:8080")
		}, nil},
		{"mapped address", func(k *kit) { k.open(1); k.listen(1, "[::ffff:10.0.0.1]:8080") }, []string{up}},
		{"service with namespace", func(k *kit) {
			k.Open(1, Process{Service: "pay.shop", Namespace: "other"})
			k.listen(1, "10.0.0.1:8080")
		}, []string{up}},
		{"no service: for selectors", func(k *kit) { k.Open(1, Process{Namespace: "shop"}); k.listen(1, "10.0.0.1:8080") },
			[]string{"shop/ 10.0.0.1:8080 UNKNOWN"}},
		{"not an address", func(k *kit) { k.open(1); k.listen(1, "localhost:8080", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999") }, nil},
		{"an outbound listener", func(k *kit) { k.open(1); k.Subscribed(1, listenerType, []string{"pay:80", "*"}) }, nil},
		{"another type", func(k *kit) { k.open(1); k.Subscribed(1, "x", listeners([]string{"10.0.0.1:8080"})) }, nil},
		{"a service that is no name", func(k *kit) { k.Open(1, Process{Service: "../pay"}); k.listen(1, "10.0.0.1:8080") }, nil},
		{"a namespace that is no name", func(k *kit) { k.Open(1, Process{Service: "pay", Namespace: "a b"}); k.listen(1, "10.0.0.1:8080") }, nil},
		{"an unknown stream", func(k *kit) { k.listen(7, "10.0.0.1:8080"); k.Health(7, true, ""); k.StreamClosed(7, true) }, nil},
		{"unsubscribed", func(k *kit) { k.open(1); k.listen(1, "10.0.0.1:8080", "10.0.0.1:8081"); k.unlisten(1, "10.0.0.1:8081") }, []string{up}},
		{"unsubscribing another's port", func(k *kit) {
			k.open(1)
			k.open(2)
			k.listen(1, "10.0.0.1:8080")
			k.unlisten(2, "10.0.0.1:8080")
		}, []string{up}},
		{"healthy", func(k *kit) { k.open(1); k.listen(1, "10.0.0.1:8080"); k.Health(1, true, "") }, []string{"shop/pay 10.0.0.1:8080 HEALTHY"}},
		{"unhealthy", func(k *kit) { k.open(1); k.listen(1, "10.0.0.1:8080"); k.Health(1, false, "db down") }, []string{"shop/pay 10.0.0.1:8080 UNHEALTHY"}},
		{"draining", func(k *kit) { k.open(1); k.Health(1, false, "draining: closes"); k.listen(1, "10.0.0.1:8080") }, []string{"shop/pay 10.0.0.1:8080 DRAINING"}},
		{"clean end", func(k *kit) { k.open(1); k.listen(1, "10.0.0.1:8080"); k.StreamClosed(1, true) }, nil},
		{"more ports than allowed", func(k *kit) {
			k.open(1)
			for p := range 100 {
				k.listen(1, fmt.Sprintf("10.0.0.1:%d", 1000+p))
			}
			k.unlisten(1, listenersFrom(1000, 63)...)
		}, []string{"shop/pay 10.0.0.1:1063 UNKNOWN"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(k *kit) {
				tt.do(k)
				k.settle()
				k.expect(tt.want...)
			})
		})
	}
}

func listenersFrom(port, n int) []string {
	var addrs []string
	for p := range n {
		addrs = append(addrs, fmt.Sprintf("10.0.0.1:%d", port+p))
	}
	return addrs
}

func TestGrace(t *testing.T) {
	in(t, func(k *kit) {
		k.open(1)
		k.listen(1, "10.0.0.1:8080")
		k.StreamClosed(1, false)
		time.Sleep(9 * time.Second)
		k.expect(up)
		time.Sleep(2 * time.Second)
		k.expect()
	})
}

func TestReconnectWithinGraceKeepsTheProcess(t *testing.T) {
	in(t, func(k *kit) {
		k.open(1)
		k.listen(1, "10.0.0.1:8080", "10.0.0.1:8081")
		k.Health(1, false, "draining")
		k.settle()
		reports := len(k.reports())
		k.StreamClosed(1, false)
		time.Sleep(5 * time.Second)
		k.open(2)
		k.listen(2, "10.0.0.1:8080", "10.0.0.1:8081")
		time.Sleep(time.Minute)
		k.expect("shop/pay 10.0.0.1:8080+8081 DRAINING")
		if len(k.reports()) != reports {
			t.Errorf("%d reports, though nothing changed", len(k.reports())-reports)
		}
	})
}

func TestReconnectBeforeTheOldStreamIsSeenToBreak(t *testing.T) {
	in(t, func(k *kit) {
		k.open(1)
		k.listen(1, "10.0.0.1:8080")
		k.open(2)
		k.listen(2, "10.0.0.1:8080")
		k.StreamClosed(1, true)
		time.Sleep(time.Minute)
		k.expect(up)
		k.StreamClosed(2, true)
		k.settle()
		k.expect()
	})
}

func TestPartOfAProcessReturns(t *testing.T) {
	in(t, func(k *kit) {
		k.open(1)
		k.listen(1, "10.0.0.1:8080", "10.0.0.1:8081")
		k.StreamClosed(1, false)
		k.open(2)
		k.listen(2, "10.0.0.1:8080")
		time.Sleep(time.Minute)
		k.expect(up)
	})
}

func TestChangedLabelsAreReported(t *testing.T) {
	in(t, func(k *kit) {
		k.open(1)
		k.listen(1, "10.0.0.1:8080")
		k.settle()
		k.Open(2, Process{ID: "n", Service: "pay", Namespace: "shop", Labels: map[string]string{"version": "v2"}, Locality: balancer.Locality{Zone: "b"}})
		k.listen(2, "10.0.0.1:8080")
		k.settle()
		w := k.last()
		if len(w) != 1 || w[0].Labels["version"] != "v2" || w[0].Locality.Zone != "b" {
			t.Errorf("%+v", w)
		}
	})
}

func TestReportsAreGathered(t *testing.T) {
	in(t, func(k *kit) {
		before := len(k.reports())
		for i := range uint64(100) {
			k.open(i)
			k.listen(i, fmt.Sprintf("10.0.0.1:%d", 1000+i))
		}
		k.settle()
		if n := len(k.reports()) - before; n != 1 {
			t.Errorf("%d reports for changes made at once", n)
		}
		if n := len(k.last()); n != 100 {
			t.Errorf("%d workloads", n)
		}
	})
}

func TestFirstReportIsAtTheStart(t *testing.T) {
	in(t, func(k *kit) {
		if r := k.reports(); len(r) != 1 || r[0].Source == "" {
			t.Errorf("%+v", r)
		}
	})
}

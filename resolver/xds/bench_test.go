package xds

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/resolver"
)

// offline is a core whose requests go nowhere and whose responses come from the benchmark.
func offline(b *testing.B) *core {
	b.Helper()
	bootstrap, err := BootstrapFor("cp:1")
	if err != nil {
		b.Fatal(err)
	}
	c := newCore(&Client{bootstrap: bootstrap, node: new(corev3.Node), log: slog.New(slog.DiscardHandler)})
	c.link.stream = &stream{up: true, delta: true}
	return c
}

// say asks for everything that is wanted and takes a response.
func (c *core) say(k kind, pieces ...piece) {
	now := time.Now()
	for r := c.next(now); r != nil; r = c.next(now) {
		c.handed(r)
	}
	resp := &response{typeURL: k.typeURL()}
	for _, p := range pieces {
		resp.entries = append(resp.entries, entry{p.name, "1", p.any})
	}
	c.receive(resp)
	c.flush()
}

// One endpoint changes in one of many clusters: decoding, and building the service anew.
func BenchmarkOneEndpointChanges(b *testing.B) {
	for _, size := range []struct{ services, clusters, endpoints int }{{1, 1, 20}, {1, 200, 20}, {200, 1, 20}, {1, 1, 4000}} {
		b.Run(fmt.Sprintf("services=%d/clusters=%d/endpoints=%d", size.services, size.clusters, size.endpoints), func(b *testing.B) {
			c := offline(b)
			reports := 0
			var l, r, cs, es []piece
			addr := func(i int) string { return fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255) }
			var list []string
			for i := range size.endpoints {
				list = append(list, addr(i))
			}
			for s := range size.services {
				name := fmt.Sprintf("s%d", s)
				var targets []string
				for i := range size.clusters {
					n := fmt.Sprintf("%s-%d", name, i)
					targets = append(targets, n)
					cs, es = append(cs, cds(n, n)), append(es, eds(n, list...))
				}
				l, r = append(l, lds(name, name)), append(r, rds(name, targets...))
				c.watch(name, &watch[resolver.Service]{sink: func(*resolver.Service, error) { reports++ }})
			}
			c.say(listeners, l...)
			c.say(routes, r...)
			c.say(clusters, cs...)
			c.say(endpoints, es...)
			changes := [2]piece{es[0], eds("s0-0", list[1:]...)}
			if reports != size.services {
				b.Fatalf("%d reports, want %d", reports, size.services)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.say(endpoints, changes[(i+1)%2])
			}
			if reports != size.services+b.N {
				b.Errorf("%d reports, want %d", reports, size.services+b.N)
			}
		})
	}
}

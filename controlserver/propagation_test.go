package controlserver

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

// BenchmarkPropagation measures how long after a file is saved 100 connected
// clients have what it says: from the rename to the sink of each, over TCP.
func BenchmarkPropagation(b *testing.B) {
	for _, size := range []struct{ services, watched, changed int }{
		{services: 1, watched: 1, changed: 1},
		{services: 100, watched: 1, changed: 100},
		{services: 1000, watched: 10, changed: 1},
		{services: 1000, watched: 10, changed: 1000},
	} {
		b.Run(fmt.Sprintf("services=%d/watched=%d/changed=%d", size.services, size.watched, size.changed), func(b *testing.B) {
			propagation(b, size.services, size.watched, size.changed)
		})
	}
}

// propagation has 100 clients watch some of the services each, the first, which
// always changes, among them where only one does.
func propagation(b *testing.B, services, watched, changed int) {
	b.Helper()
	const clients = 100
	dir := b.TempDir()
	name := func(i int) string { return fmt.Sprintf("svc-%03d", i) }
	for first := 0; first < services; first += 50 {
		var text strings.Builder
		for i := first; i < min(first+50, services); i++ {
			text.WriteString(service(name(i), "10.0.0.1", "10.0.0.2", "10.0.0.3"))
		}
		save(b, dir, fmt.Sprintf("services-%d.yaml", first), text.String())
	}
	change := func(n int) time.Duration {
		mark := time.Duration(n) * time.Millisecond
		var text strings.Builder
		for i := range changed {
			text.WriteString(route(name(i), mark))
		}
		save(b, dir, "routes.yaml", text.String())
		return mark
	}
	change(1)
	s := run(b, Config{Dir: dir})

	seen := make(chan time.Time, clients)
	var mu sync.Mutex
	var want time.Duration // a sink has seen it
	for c := range clients {
		client := dial(b, s.Addr(), xds.Config{})
		for w := range watched {
			i := (c*watched + w) % services
			if w == 0 && changed == 1 {
				i = 0
			}
			first := w == 0
			client.Watch(name(i), func(s *resolver.Service, err error) {
				mu.Lock()
				defer mu.Unlock()
				if first && err == nil && timeout(s) == want {
					seen <- time.Now()
				}
			})
		}
		if err := client.Ready(within(b)); err != nil {
			b.Fatal(err)
		}
	}
	var took []time.Duration
	before := cpu(b)
	n := 1
	for b.Loop() {
		n++
		mu.Lock()
		want = time.Duration(n) * time.Millisecond
		mu.Unlock()
		start := time.Now()
		change(n)
		for range clients {
			took = append(took, (<-seen).Sub(start))
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(n-1), "cpu-ms/op")
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

// cpu is what this process has used, which other load on the machine does not blur.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

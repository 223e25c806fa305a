package mesh_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// flags are the response flags of the calls that have ended since it was last asked.
func (s *stage) flags() string {
	for deadline := time.Now().Add(patience); ; {
		var all metricdata.ResourceMetrics
		if err := s.reader.Collect(context.Background(), &all); err != nil {
			s.t.Fatal(err)
		}
		total := 0
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				data, ok := m.Data.(metricdata.Sum[int64])
				if !ok || m.Name != "istio_requests_total" {
					continue
				}
				for _, p := range data.DataPoints {
					flags, _ := p.Attributes.Value("response_flags")
					s.flagged[flags.AsString()] += int(p.Value)
				}
			}
		}
		for _, n := range s.flagged {
			total += n
		}
		if total >= s.counted {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d calls have ended, and %v are counted", s.counted, s.flagged)
		}
	}
	counts := s.flagged
	s.flagged, s.counted = map[string]int{}, 0
	return lines(counts, 1, false)
}

// A link is the way to an address, which can be cut.
type link struct {
	addr string // where it begins
	to   string
	ln   net.Listener

	mu    sync.Mutex
	conns []net.Conn // of both sides
	isCut bool
	all   sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{addr: ln.Addr().String(), to: to, ln: ln}
	l.all.Go(l.accept)
	t.Cleanup(func() {
		l.cut()
		ln.Close()
		l.all.Wait()
	})
	return l
}

func (l *link) accept() {
	for {
		from, err := l.ln.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", l.to)
		if err != nil {
			from.Close()
			continue
		}
		if !l.holds(from, to) {
			continue
		}
		for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
			l.all.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				from.Close()
				to.Close()
			})
		}
	}
}

// holds keeps connections until the link is cut.
func (l *link) holds(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		for _, c := range conns {
			c.Close()
		}
		return false
	}
	l.conns = append(l.conns, conns...)
	return true
}

// cut breaks what goes over the link, and all that comes.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, c := range l.conns {
		c.Close()
	}
}

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
)

const ms = time.Millisecond

// A line-up is a server of fixed room whose calls a test lets in and out one by one.
type lineUp struct {
	*server
	wg      sync.WaitGroup
	mu      sync.Mutex
	handled []string
	refused []string
	finish  chan struct{} // each value ends one call
}

func newLineUp(t *testing.T, v resilience.Serving) *lineUp {
	t.Helper()
	return &lineUp{server: newServer(t, v), finish: make(chan struct{})}
}

// call begins a call and returns when it is handled, waits or was refused.
func (l *lineUp) call(ctx context.Context, name, criticality string) {
	l.begin(ctx, name, criticality)
	synctest.Wait()
}

func (l *lineUp) begin(ctx context.Context, name, criticality string) {
	l.wg.Go(func() {
		c := inboundCall("/", header{"x-weft-criticality": criticality})
		start := time.Now()
		_, r := l.Serve(ctx, c, func(context.Context) resilience.Outcome {
			l.say(&l.handled, name)
			<-l.finish
			return resilience.Outcome{}
		})
		if r != nil {
			l.say(&l.refused, fmt.Sprintf("%s:%v:%v", name, r.Kind, time.Since(start)))
		}
	})
}

func (l *lineUp) say(to *[]string, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*to = append(*to, what)
}

// done ends one call that is handled.
func (l *lineUp) done() {
	l.finish <- struct{}{}
	synctest.Wait()
}

func (l *lineUp) end(t *testing.T) {
	t.Helper()
	close(l.finish)
	l.wg.Wait()
	idleServer(t, l.server)
	l.Engine.Close()
}

// overload makes the server see a queue that does not drain, with one call in.
func (l *lineUp) overload(t *testing.T) {
	t.Helper()
	l.call(t.Context(), "first", "")
	for i := 0; !l.shedder.Overloaded(); i++ {
		if i == 100 {
			t.Fatal("a queue that stands is no overload")
		}
		l.call(t.Context(), "early", "critical-plus")
		time.Sleep(30 * ms)
		synctest.Wait()
		l.done()
	}
	l.handled, l.refused = nil, nil
}

func TestQueueServesTheOldestOfThoseThatMatterMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineUp(t, resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}})
		for _, c := range []string{"a ", "b sheddable", "c ", "d critical-plus", "e sheddable-plus", "f ", "g critical-plus"} {
			name, criticality, _ := strings.Cut(c, " ")
			l.call(t.Context(), name, criticality)
			time.Sleep(ms)
		}
		if st := l.State(); st.Queued != 6 || st.InFlight != 1 || st.Limit != 1 || st.Overloaded {
			t.Errorf("%+v", st)
		}
		for range 7 {
			l.done()
		}
		if got := strings.Join(l.handled, ""); got != "adgcfeb" {
			t.Errorf("handled %s", got)
		}
		l.end(t)
	})
}

func TestQueueServesTheNewestUnderOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineUp(t, resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}})
		l.overload(t)
		for _, c := range []string{"a ", "b critical-plus", "c ", "d critical-plus"} {
			name, criticality, _ := strings.Cut(c, " ")
			l.call(t.Context(), name, criticality)
			time.Sleep(ms / 2)
		}
		for range 4 {
			l.done()
		}
		if got := strings.Join(l.handled, ""); got != "dbca" {
			t.Errorf("handled %s", got)
		}
		l.end(t)
	})
}

func TestQueueKeepsCallsAsLongAsTheyMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := func(l *lineUp) string {
			deadline, cancel := context.WithTimeout(t.Context(), 1200*time.Microsecond)
			defer cancel()
			leaves, leave := context.WithCancel(t.Context())
			l.call(t.Context(), "plus", "critical-plus")
			l.call(t.Context(), "critical", "")
			l.call(t.Context(), "half", "sheddable-plus")
			l.call(t.Context(), "quarter", "sheddable")
			l.call(deadline, "deadline", "")
			l.call(leaves, "left", "")
			time.Sleep(ms)
			leave()
			synctest.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
			return strings.Join(l.refused, " ")
		}
		l := newLineUp(t, resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}})
		l.call(t.Context(), "first", "")
		if got, want := calls(l), "left:canceled:1ms deadline:deadline exceeded:1.2ms"; !strings.HasPrefix(got, want) ||
			strings.Count(got, "overloaded:100ms") != 4 {
			t.Errorf("refused %s", got)
		}
		l.end(t)
		l = newLineUp(t, resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}})
		l.overload(t)
		if got, want := calls(l), "left:canceled:1ms deadline:deadline exceeded:1.2ms quarter:overloaded:1.25ms half:overloaded:2.5ms critical:overloaded:5ms plus:overloaded:100ms"; got != want {
			t.Errorf("refused under overload %s", got)
		}
		l.end(t)
	})
}

// What has waited too long when patience falls is refused then.
func TestQueueIsClearedWhenOverloadBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineUp(t, resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}})
		l.call(t.Context(), "first", "")
		time.Sleep(101 * ms)
		l.call(t.Context(), "a", "critical-plus")
		time.Sleep(49 * ms)
		l.done() // the one turn of this interval came after 49 ms
		time.Sleep(30 * ms)
		l.call(t.Context(), "b", "critical-plus")
		l.call(t.Context(), "low", "sheddable")
		time.Sleep(20*ms - 1)
		l.call(t.Context(), "new", "critical-plus")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if len(l.refused) > 0 {
			t.Errorf("refused %v before", l.refused)
		}
		l.done()
		if got := strings.Join(l.refused, " "); got != "low:overloaded:20ms" || len(l.handled) != 3 {
			t.Errorf("refused %s, handled %v", got, l.handled)
		}
		l.end(t)
	})
}

func TestQueueIsNoLongerThanItMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineUp(t, resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}})
		l.call(t.Context(), "first", "")
		for range maxQueued {
			l.begin(t.Context(), "crowd", "sheddable-plus")
		}
		synctest.Wait()
		l.call(t.Context(), "lower", "sheddable")
		l.call(t.Context(), "equal", "sheddable-plus")
		if got := strings.Join(l.refused, " "); got != "lower:overloaded:0s equal:overloaded:0s" {
			t.Errorf("refused %s", got)
		}
		l.call(t.Context(), "higher", "")
		if n := l.State().Queued; n != maxQueued || len(l.refused) != 3 || l.refused[2] != "crowd:overloaded:0s" {
			t.Errorf("%d wait, refused %v", n, l.refused)
		}
		l.done()
		if l.handled[1] != "higher" {
			t.Errorf("handled %v", l.handled)
		}
		l.end(t)
	})
}

func TestQueueDisplacesTheOldestUnderOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineUp(t, resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}})
		l.overload(t)
		l.call(t.Context(), "oldest", "")
		for range maxQueued - 1 {
			l.begin(t.Context(), "crowd", "")
		}
		synctest.Wait()
		l.call(t.Context(), "newest", "")
		l.done()
		if got := strings.Join(l.refused, " "); got != "oldest:overloaded:0s" || l.handled[0] != "newest" {
			t.Errorf("refused %s, handled %v", got, l.handled)
		}
		l.end(t)
	})
}

func TestQueueLetsInAsBoundsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := resilience.Serving{MaxRequests: 1, Shedding: &resilience.Shedding{}}
		l := newLineUp(t, v)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			l.call(t.Context(), name, "")
		}
		v.MaxRequests = 3
		l.set(v)
		synctest.Wait()
		if slices.Sort(l.handled); strings.Join(l.handled, "") != "abc" {
			t.Errorf("handled %s after the bound was raised", l.handled)
		}
		l.set(resilience.Serving{Off: resilience.NoConcurrency})
		synctest.Wait()
		if slices.Sort(l.handled); strings.Join(l.handled, "") != "abcde" {
			t.Errorf("handled %s after the bound was lifted", l.handled)
		}
		l.end(t)
	})
}

func TestBoundWithoutSheddingRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineUp(t, resilience.Serving{MaxRequests: 1})
		l.call(t.Context(), "a", "")
		l.call(t.Context(), "b", "critical-plus")
		if got := strings.Join(l.refused, " "); got != "b:overloaded:0s" {
			t.Errorf("refused %s", got)
		}
		for _, tc := range []struct {
			protocol Protocol
			want     Field
		}{{HTTP, Field{"x-envoy-overloaded", "true"}}, {GRPC, Field{"grpc-retry-pushback-ms", "-1"}}} {
			c := inboundCall("/", nil)
			c.Protocol = tc.protocol
			_, r := l.Serve(t.Context(), c, answer200)
			if r == nil || r.Kind != Overloaded || r.Status != 503 || r.Code != 14 || len(r.Header) != 1 || r.Header[0] != tc.want {
				t.Errorf("%v: %+v", tc.protocol, r)
			}
		}
		for _, path := range []string{"/healthz", "/readyz", "/livez", "/grpc.health.v1.Health/Watch"} {
			if _, r := l.Serve(t.Context(), inboundCall(path, nil), answer200); r != nil {
				t.Errorf("health check %s: %v", path, r)
			}
		}
		l.end(t)
	})
}

// A bound that is found by measuring is not for calls whose time says nothing; the fixed one is.
func TestStreamsAreNotMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, resilience.Serving{Adaptive: &resilience.Adaptive{Min: 1}, MaxRequests: 2})
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				c := inboundCall("/", nil)
				c.Stream = true
				s.Serve(t.Context(), c, func(context.Context) resilience.Outcome { <-stop; return resilience.Outcome{} })
			})
		}
		synctest.Wait()
		if s.gradient.InFlight() != 0 || s.State().InFlight != 2 {
			t.Errorf("%+v", s.State())
		}
		if _, r := s.Serve(t.Context(), inboundCall("/", nil), answer200); r == nil {
			t.Error("streams are beyond the fixed bound")
		}
		close(stop)
		wg.Wait()
		idleServer(t, s)
		s.Engine.Close()
	})
}

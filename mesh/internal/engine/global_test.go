package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// answering is a Limiter that answers as a test says; its zero value grants all.
type answering struct {
	mu    sync.Mutex
	asked []string
	take  func(ctx context.Context, tokens uint32) (uint32, time.Duration, error)
}

func (a *answering) Take(ctx context.Context, domain string, entries []resilience.Entry, tokens uint32) (uint32, time.Duration, error) {
	a.mu.Lock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s", domain)
	for _, e := range entries {
		fmt.Fprintf(&b, ",%s=%s", e.Key, e.Value)
	}
	fmt.Fprintf(&b, ":%d", tokens)
	a.asked = append(a.asked, b.String())
	a.mu.Unlock()
	if a.take == nil {
		return tokens, time.Hour, nil
	}
	return a.take(ctx, tokens)
}

func (a *answering) questions() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.asked, " ")
}

func perPath(l resilience.Lease) *resilience.GlobalRate {
	return &resilience.GlobalRate{Domain: "d", Descriptors: [][]resilience.Entry{{{Key: "path"}}}, Lease: l}
}

func path(v string) []resilience.Entry { return []resilience.Entry{{Key: "path", Value: v}} }

func TestGlobalsAskInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &answering{}
		g := newGlobals(l)
		r := perPath(resilience.Lease{Batch: 10, Ahead: 2})
		for range 8 {
			if !g.allow(t.Context(), r, path("/"), time.Now()) {
				t.Error("denied")
			}
		}
		synctest.Wait()
		if got := l.questions(); got != "d,path=/:10" {
			t.Errorf("asked %s", got)
		}
		g.allow(t.Context(), r, path("/"), time.Now())
		synctest.Wait()
		if got := l.questions(); strings.Count(got, "d,path=/:10") != 2 {
			t.Errorf("asked %s; nobody asked ahead", got)
		}
		g.close()
	})
}

func TestGlobalsAskOnceForAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &answering{take: func(_ context.Context, n uint32) (uint32, time.Duration, error) {
			time.Sleep(10 * time.Millisecond)
			return n, 0, nil
		}}
		g := newGlobals(l)
		r := perPath(resilience.Lease{})
		start := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if !g.allow(t.Context(), r, path("/"), time.Now()) || time.Since(start) != 10*time.Millisecond {
					t.Errorf("denied, or after %v", time.Since(start))
				}
			})
		}
		wg.Wait()
		if got := l.questions(); got != "d,path=/:100" || len(g.awaiting) != 0 {
			t.Errorf("asked %s, %d are awaited", got, len(g.awaiting))
		}
		g.close()
	})
}

func TestGlobalsWithoutAnAnswer(t *testing.T) {
	refuses := func(context.Context, uint32) (uint32, time.Duration, error) { return 0, time.Minute, nil }
	fails := func(context.Context, uint32) (uint32, time.Duration, error) { return 0, 0, errors.New("away") }
	hangs := func(ctx context.Context, _ uint32) (uint32, time.Duration, error) {
		<-ctx.Done()
		return 0, 0, ctx.Err()
	}
	for _, tc := range []struct {
		name   string
		take   func(context.Context, uint32) (uint32, time.Duration, error)
		closed bool
		ok     bool
		after  time.Duration
	}{
		{"over the limit", refuses, false, false, 0},
		{"fails", fails, false, true, 0},
		{"fails, closed", fails, true, false, 0},
		{"hangs", hangs, false, true, 20 * time.Millisecond},
		{"hangs, closed", hangs, true, false, 20 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGlobals(&answering{take: tc.take})
				r := perPath(resilience.Lease{Closed: tc.closed})
				for i := range 2 { // the second one does not wait
					start := time.Now()
					if ok, took := g.allow(t.Context(), r, path("/"), start), time.Since(start); ok != tc.ok || i == 0 && took != tc.after || i == 1 && took != 0 {
						t.Errorf("call %d: %v after %v", i, ok, took)
					}
					synctest.Wait()
				}
				g.close()
			})
		})
	}
}

func TestGlobalsWaitNoLongerThanTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobals(&answering{take: func(ctx context.Context, _ uint32) (uint32, time.Duration, error) {
			<-ctx.Done()
			return 0, 0, ctx.Err()
		}})
		r := perPath(resilience.Lease{})
		r.Timeout = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if g.allow(ctx, r, path("/"), start); time.Since(start) != time.Second || len(g.awaiting) != 0 {
			t.Errorf("waited %v, %d are awaited", time.Since(start), len(g.awaiting))
		}
		g.close() // which ends the question, and waits for it
		if time.Since(start) != time.Second {
			t.Error("a question outlasts the engine")
		}
		if !g.allow(t.Context(), perPath(resilience.Lease{}), path("/x"), time.Now()) {
			t.Error("a closed engine's limits fail though they are open")
		}
	})
}

func TestGlobalsNameLimitsByWhatCallsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &answering{}
		g := newGlobals(l)
		r := &resilience.GlobalRate{Domain: "d", Lease: resilience.Lease{Batch: 1}, Descriptors: [][]resilience.Entry{
			{{Key: "path"}}, {{Key: "path", Value: "/a"}, {Key: "caller"}}, {{Key: "path", Value: "/b"}}, {{Key: "missing"}},
		}}
		g.allow(t.Context(), r, []resilience.Entry{{Key: "path", Value: "/a"}, {Key: "caller", Value: "me"}}, time.Now())
		synctest.Wait()
		if got := l.questions(); got != "d,path=/a:1 d,path=/a,caller=me:1" {
			t.Errorf("asked %s", got)
		}
		// Another domain is another limit.
		other := *r
		other.Domain = "e"
		g.allow(t.Context(), &other, path("/a"), time.Now())
		synctest.Wait()
		if got := l.questions(); !strings.HasSuffix(got, " e,path=/a:1") {
			t.Errorf("asked %s", got)
		}
		g.close()
	})
}

func TestGlobalsWithoutALimiter(t *testing.T) {
	g := newGlobals(nil)
	if !g.allow(t.Context(), perPath(resilience.Lease{}), path("/"), time.Now()) {
		t.Error("denied")
	}
	if g.allow(t.Context(), perPath(resilience.Lease{Closed: true}), path("/"), time.Now()) {
		t.Error("allowed though it fails closed")
	}
	if !g.allow(t.Context(), perPath(resilience.Lease{Closed: true}), nil, time.Now()) {
		t.Error("a call that no limit is for is denied")
	}
	g.close()
}

func TestServeAsksTheGlobalRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := uint32(2)
		l := &answering{take: func(context.Context, uint32) (uint32, time.Duration, error) {
			n := tokens
			tokens = 0
			return n, time.Minute, nil
		}}
		s := newServer(t, resilience.Serving{Global: perPath(resilience.Lease{Batch: 2})}, func(c *Config) { c.Limiter = l })
		let := ""
		for range 3 {
			c := inboundCall("/", nil)
			_, r := s.Serve(t.Context(), c, answer200)
			synctest.Wait()
			let += map[bool]string{true: "y", false: "n"}[r == nil]
			if r != nil && (r.Kind != RateLimited || r.Status != 429) {
				t.Errorf("%+v", r)
			}
		}
		if _, r := s.Serve(t.Context(), inboundCall("/readyz", nil), answer200); r != nil {
			t.Errorf("health check: %v", r)
		}
		if let != "yyn" {
			t.Errorf("let through %s", let)
		}
		s.Engine.Close()
	})
}

package grpcadapter

import (
	"context"
	"sync"
	"testing"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A witness is an observer that remembers. Its zero value is ready.
type witness struct {
	mu       sync.Mutex
	begun    int
	ended    []resilience.Outcome
	attempts []resilience.Outcome
	headers  []engine.Field // added to each attempt
	waiting  chan struct{}

	served []engine.InboundCall
	done   []resilience.Outcome
	ctxKey any           // set in the context of inbound calls
	came   chan struct{} // gets one for each inbound call; may be nil
}

func (w *witness) CallStarted(ctx context.Context, _ *engine.Call) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun++
	return ctx
}

func (w *witness) AttemptStarted(ctx context.Context, _ *engine.Call, a *engine.Attempt) context.Context {
	a.Header = append(a.Header, w.headers...)
	return ctx
}

func (w *witness) AttemptFinished(_ *engine.Call, _ *engine.Attempt, o resilience.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, o)
}

func (w *witness) CallFinished(_ *engine.Call, o resilience.Outcome, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, o)
	if w.waiting != nil {
		close(w.waiting)
		w.waiting = nil
	}
}

func (w *witness) ServeStarted(ctx context.Context, c *engine.InboundCall) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served = append(w.served, *c)
	select {
	case w.came <- struct{}{}:
	default:
	}
	if w.ctxKey != nil {
		ctx = context.WithValue(ctx, w.ctxKey, "mesh")
	}
	return ctx
}

func (w *witness) ServeFinished(_ *engine.InboundCall, o resilience.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, o)
}

// call waits for the end of a call and says how it ended.
func (w *witness) call(tb testing.TB) resilience.Outcome {
	tb.Helper()
	w.mu.Lock()
	if len(w.ended) == 0 {
		c := make(chan struct{})
		w.waiting = c
		w.mu.Unlock()
		select {
		case <-c:
		case <-soon(tb).Done():
			tb.Fatal("the call did not end")
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	return w.ended[0]
}

// calls is how many calls were begun; -1 if not all have ended, once each.
func (w *witness) calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ended) != w.begun {
		return -1
	}
	return w.begun
}

func (w *witness) tries() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.attempts)
}

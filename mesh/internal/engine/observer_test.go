package engine

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// recorder is an Observer that notes what it is told.
type recorder struct {
	mu     sync.Mutex
	events []string
}

type seen string // keys of contexts

func (r *recorder) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.events, " ")
}

func result(o resilience.Outcome) string {
	if o.Err != nil {
		return o.Err.Error()
	}
	return map[bool]string{true: "ok", false: "failed"}[o.OK()]
}

func (r *recorder) CallStarted(ctx context.Context, c *Call) context.Context {
	r.say("call")
	if c.Route() != nil || c.Cluster() != nil || c.Host() != nil || c.Service() == "" || c.Start().IsZero() {
		r.say("(not as at its start)")
	}
	return context.WithValue(ctx, seen("call"), true)
}

func (r *recorder) AttemptStarted(ctx context.Context, c *Call, a *Attempt) context.Context {
	r.say("attempt%d", a.Number)
	if c.Host() != a.Host || a.Call() != c || ctx.Value(seen("call")) == nil {
		r.say("(not of this call)")
	}
	a.Header = append(a.Header, Field{"traceparent", "x"})
	return context.WithValue(ctx, seen("attempt"), a.Number)
}

func (r *recorder) AttemptFinished(_ *Call, a *Attempt, o resilience.Outcome) {
	r.say("attempt%d:%s", a.Number, result(o))
}

func (r *recorder) CallFinished(_ *Call, o resilience.Outcome, err error) {
	if err != nil {
		r.say("call:error")
		return
	}
	r.say("call:%s", result(o))
}

func (r *recorder) ServeStarted(ctx context.Context, _ *InboundCall) context.Context {
	r.say("serve")
	return context.WithValue(ctx, seen("serve"), true)
}

func (r *recorder) ServeFinished(_ *InboundCall, o resilience.Outcome) { r.say("served:%s", result(o)) }

func TestObserverIsToldInOrder(t *testing.T) {
	for _, tc := range []struct {
		name    string
		service *resolver.Service
		fail    int // how many attempts are refused
		want    string
	}{
		{"one attempt", to("s", retries(1), "a", "b"), 0, "call attempt1 attempt1:ok call:ok"},
		{"a retry", to("s", retries(1), "a", "b"), 1, "call attempt1 attempt1:broken attempt2 attempt2:ok call:ok"},
		{"no success", to("s", retries(1), "a", "b"), 2, "call attempt1 attempt1:broken attempt2 attempt2:broken call:error"},
		{"no host", to("s", retries(1)), 0, "call call:error"},
		{"no route", &resolver.Service{Name: "s"}, 0, "call call:error"},
		{"no service", &resolver.Service{Name: "t"}, 0, "call call:error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			obs := &recorder{}
			e, m := newEngine(t, obs, tc.service)
			m.unknown = true
			f := &fake{send: func(ctx context.Context, a *Attempt) resilience.Outcome {
				if ctx.Value(seen("attempt")) != a.Number || a.Context() != ctx || len(a.Header) != 1 {
					t.Errorf("attempt %+v in %v", a, ctx)
				}
				if a.Number <= tc.fail {
					return failed(resilience.Refused)
				}
				return resilience.Outcome{Status: 200}
			}}
			f.do(t.Context(), e.Service("s"))
			if got := obs.String(); got != tc.want {
				t.Errorf("told %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestServe(t *testing.T) {
	c := func() *InboundCall { return &InboundCall{Local: &net.TCPAddr{Port: 80}} }
	obs := &recorder{}
	e, _ := newEngine(t, obs)
	call := c()
	out, _ := e.Serve(t.Context(), call, func(ctx context.Context) resilience.Outcome {
		if ctx.Value(seen("serve")) == nil || call.Context() != ctx || call.Start().IsZero() {
			t.Error("the handler's context is not the observer's")
		}
		return resilience.Outcome{Status: 500}
	})
	func() {
		defer func() {
			if r := recover(); r != "oh" {
				t.Errorf("recovered %v", r)
			}
		}()
		e.Serve(t.Context(), c(), func(context.Context) resilience.Outcome { panic("oh") })
	}()
	if got := obs.String(); out.Status != 500 || got != "serve served:failed serve served:panicked" {
		t.Error(out, got)
	}
	bare, _ := newEngine(t, nil)
	call = c()
	if out, _ := bare.Serve(t.Context(), call, func(context.Context) resilience.Outcome { return resilience.Outcome{Status: 201} }); out.Status != 201 || Caused(call.Context()) != call {
		t.Error(out)
	}
}

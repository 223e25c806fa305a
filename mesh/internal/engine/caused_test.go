package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// causing is the context of a call that came in with the headers.
func causing(t *testing.T, headers said) (context.Context, *InboundCall) {
	e, _ := newEngine(t, nil)
	c := &InboundCall{Local: tcp(80)}
	c.Request.Header = &headers
	var ctx context.Context
	e.Serve(t.Context(), c, func(inner context.Context) resilience.Outcome {
		ctx = inner
		return good
	})
	return ctx, c
}

// Three hops of three tries do not make 27: who is called again does not call again.
func TestRetriesCauseNoRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := resilience.Policy{Hedge: &resilience.Hedge{Delay: slow}, Retry: resilience.Retry{Attempts: 2, On: resilience.On5xx, Base: time.Nanosecond}}
		e, _ := newEngine(t, nil, limited(p, resilience.Thresholds{MaxRequests: 99, MaxRetries: 99}, nil, "a", "b"))
		s := e.Service("payments")
		for _, tc := range []struct {
			headers  said
			out      resilience.Outcome
			attempts int
			spent    bool
		}{
			{said{}, bad, 3, true},
			{said{}, good, 1, false},
			{said{}, resilience.Outcome{Status: 404}, 1, false},
			{said{"x-envoy-attempt-count": "1"}, bad, 3, true},
			{said{"x-envoy-attempt-count": "2"}, bad, 1, false},
			{said{"x-envoy-attempt-count": "2"}, failed(resilience.ConnectFailure), 3, true}, // nobody worked for it
		} {
			ctx, in := causing(t, tc.headers)
			f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return tc.out }}
			f.do(ctx, s)
			if len(f.hosts) != tc.attempts || in.Spent() != tc.spent {
				t.Errorf("%v: %+v after %d attempts, spent %v", tc.headers, tc.out, len(f.hosts), in.Spent())
			}
			r := &racer{send: func(ctx context.Context, _ *Attempt) resilience.Outcome { return after(ctx, 2*slow, good) }}
			r.Idempotent = true
			s.Do(ctx, &r.Call, r)
			if again := tc.headers["x-envoy-attempt-count"] == "2"; (len(r.hosts) == 1) != again {
				t.Errorf("%v: %d attempts side by side", tc.headers, len(r.hosts))
			}
		}
		idleEverywhere(t, s)
	})
}

func TestOverloadIsHandedUp(t *testing.T) {
	for _, tc := range []struct {
		max   uint32
		spent bool
	}{{0, true}, {1, false}} {
		e, _ := newEngine(t, nil, limited(resilience.Policy{}, resilience.Thresholds{MaxRequests: tc.max}, nil, "a"))
		ctx, in := causing(t, said{})
		(&fake{}).do(ctx, e.Service("payments"))
		if in.Spent() != tc.spent {
			t.Errorf("max_requests %d: spent %v", tc.max, in.Spent())
		}
	}
}

// An answer that is not to be repeated is not to be repeated by anybody above either.
func TestDoNotRetryIsHandedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			name     string
			out      resilience.Outcome
			attempts int
			spent    bool
		}{
			{"a failure", resilience.Outcome{Status: 503, Header: said{}}, 1, false},
			{"overloaded", resilience.Outcome{Status: 503, Header: said{"x-envoy-overloaded": "true"}}, 1, true},
			{"an answer all the same", resilience.Outcome{Status: 200, Header: said{"x-envoy-overloaded": "true"}}, 1, false},
			{"pushed back", resilience.Outcome{GRPC: true, Code: 14, Header: said{"grpc-retry-pushback-ms": "-1"}}, 1, true},
			{"later", resilience.Outcome{GRPC: true, Code: 14, Header: said{"grpc-retry-pushback-ms": "10"}}, 1, false},
		} {
			for _, p := range []resilience.Policy{{}, {Retry: resilience.Retry{Attempts: 2, On: resilience.OnCancelled, Base: time.Nanosecond}}} {
				e, _ := newEngine(t, nil, to("payments", p, "a", "b"))
				ctx, in := causing(t, said{})
				f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return tc.out }}
				f.do(ctx, e.Service("payments"))
				if len(f.hosts) != tc.attempts || in.Spent() != tc.spent {
					t.Errorf("%s: %d attempts, spent %v", tc.name, len(f.hosts), in.Spent())
				}
			}
		}
	})
}

func TestCriticalityIsHandedOn(t *testing.T) {
	e, _ := newEngine(t, nil, to("payments", retries(1), "a", "b"))
	s := e.Service("payments")
	for _, tc := range []struct {
		from, own, want string
	}{
		{"sheddable", "", "sheddable"},
		{"sheddable", "critical", ""},
		{"", "", ""},
	} {
		in := said{}
		if tc.from != "" {
			in["x-weft-criticality"] = tc.from
		}
		ctx, _ := causing(t, in)
		f := &fake{}
		if tc.own != "" {
			f.Request.Header = &said{"x-weft-criticality": tc.own}
		}
		f.send = func(_ context.Context, a *Attempt) resilience.Outcome {
			got := ""
			for _, h := range a.Header {
				if h.Name == "x-weft-criticality" {
					got += h.Value
				}
			}
			if got != tc.want {
				t.Errorf("%+v: attempt %d has %q", tc, a.Number, got)
			}
			return failed(resilience.Refused)
		}
		f.do(ctx, s)
		if len(f.hosts) != 2 {
			t.Error(f.hosts)
		}
	}
}

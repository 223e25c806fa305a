package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// said is an answer's headers.
type said map[string]string

func (s said) Values(n resilience.HeaderName) []string {
	if v, ok := s[n.Lower]; ok {
		return []string{v}
	}
	return nil
}

func TestAnswersDecideOnRetries(t *testing.T) {
	for _, tc := range []struct {
		name     string
		out      resilience.Outcome
		attempts int
		least    time.Duration
	}{
		{"5xx", resilience.Outcome{Status: 500}, 3, 0},
		{"4xx", resilience.Outcome{Status: 404}, 1, 0},
		{"by status", resilience.Outcome{Status: 418}, 3, 0},
		{"when the server asks", resilience.Outcome{Status: 503, Header: &said{"retry-after": "2"}}, 3, 4 * time.Second},
		{"later than there is time", resilience.Outcome{Status: 503, Header: &said{"retry-after": "60"}}, 1, 0},
		{"overloaded", resilience.Outcome{Status: 503, Header: &said{"x-envoy-overloaded": "true"}}, 1, 0},
		{"push-back", resilience.Outcome{GRPC: true, Code: 14, Header: &said{"grpc-retry-pushback-ms": "1500"}}, 3, 3 * time.Second},
		{"push-back for good", resilience.Outcome{GRPC: true, Code: 14, Header: &said{"grpc-retry-pushback-ms": "-1"}}, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := resilience.Policy{Timeout: 30 * time.Second, Retry: resilience.Retry{
					Attempts: 2, On: resilience.On5xx | resilience.OnRetriableStatusCodes | resilience.OnUnavailable,
					Answers: &resilience.Answers{Statuses: []int{418}},
				}}
				e, _ := newEngine(t, nil, to("payments", p, "a", "b"))
				s := e.Service("payments")
				start := time.Now()
				f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
					if a.Retries != a.Number-1 {
						t.Errorf("attempt %d is retry %d", a.Number, a.Retries)
					}
					return tc.out
				}}
				out, err := f.do(t.Context(), s)
				if err != nil || out != tc.out || len(f.hosts) != tc.attempts || time.Since(start) < tc.least {
					t.Errorf("%+v, %v after %v by way of %v", out, err, time.Since(start), f.hosts)
				}
				if (f.End() == Exhausted) != (tc.attempts == 3) {
					t.Errorf("end %d", f.End())
				}
				idleEverywhere(t, s)
			})
		})
	}
}

func silent(ctx context.Context, _ *Attempt) resilience.Outcome {
	<-ctx.Done()
	return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Canceled}
}

func patience(n uint32) resilience.Policy {
	return resilience.Policy{Timeout: 10 * time.Second, Retry: resilience.Retry{
		Attempts: n, On: resilience.OnReset, TryTimeout: time.Second, Base: time.Nanosecond,
	}}
}

func TestSilentHostCostsOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, nil, to("payments", patience(2), "a", "b"))
		s := e.Service("payments")
		for range 4 {
			start := time.Now()
			var last *Attempt
			f := &fake{}
			f.Idempotent = true
			f.send = func(ctx context.Context, a *Attempt) resilience.Outcome {
				if a.Number == 1 {
					return silent(ctx, a)
				}
				last = a
				if !a.Hold() {
					t.Error("answered in time, but not held")
				}
				return resilience.Outcome{Status: 200}
			}
			out, err := f.do(t.Context(), s)
			took := time.Since(start)
			if err != nil || out.Status != 200 || took < time.Second || took > time.Second+time.Millisecond || f.hosts[0] == f.hosts[1] {
				t.Errorf("%+v, %v after %v by way of %v", out, err, took, f.hosts)
			}
			time.Sleep(5 * time.Second)
			if err := last.Context().Err(); err != nil {
				t.Errorf("the answer's context: %v", err)
			}
			last.Finish(resilience.Outcome{Status: 200})
			if last.Context().Err() == nil {
				t.Error("the attempt's context outlives its call")
			}
		}
		idleEverywhere(t, s)
	})
}

func TestSilentHosts(t *testing.T) {
	for _, tc := range []struct {
		name       string
		idempotent bool
		protocol   Protocol
		on         resilience.Conditions
		retries    uint32
		timeout    time.Duration
		attempts   int
		took       time.Duration
	}{
		{"all tries", true, HTTP, 0, 2, time.Minute, 3, 3 * time.Second},
		{"may have been processed", false, HTTP, 0, 2, time.Minute, 1, time.Second},
		{"no retries", true, HTTP, 0, 0, time.Minute, 1, time.Second},
		{"the call's time is up first", true, HTTP, 0, 5, 1500 * time.Millisecond, 2, 1500 * time.Millisecond},
		{"gRPC", false, GRPC, 0, 2, time.Minute, 1, time.Second},
		{"gRPC, by its code", false, GRPC, resilience.OnDeadlineExceeded, 2, time.Minute, 3, 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := patience(tc.retries)
				p.Timeout = tc.timeout
				p.Retry.On |= tc.on
				e, _ := newEngine(t, nil, to("payments", p, "a", "b"))
				s := e.Service("payments")
				start := time.Now()
				f := &fake{send: silent}
				f.Idempotent, f.Protocol = tc.idempotent, tc.protocol
				_, err := f.do(t.Context(), s)
				took := time.Since(start)
				if err == nil || err.Kind != Deadline || !err.Timeout() || len(f.hosts) != tc.attempts || took < tc.took || took > tc.took+time.Millisecond {
					t.Errorf("%v after %v by way of %v", err, took, f.hosts)
				}
				idleEverywhere(t, s)
			})
		})
	}
}

// An answer that comes when the try's time is just up is no answer: its context has ended.
func TestAnswerThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, nil, to("payments", patience(0), "a"))
		s := e.Service("payments")
		f := &fake{send: func(ctx context.Context, a *Attempt) resilience.Outcome {
			<-ctx.Done()
			if a.Answered() || a.Hold() {
				t.Error("answered, though it was too late")
			}
			return resilience.Outcome{Err: context.Canceled, Cause: resilience.Canceled}
		}}
		out, err := f.do(t.Context(), s)
		if err == nil || err.Kind != Deadline || out.Cause != resilience.TryTimeout || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1s") {
			t.Errorf("%+v, %v", out, err)
		}
		idleEverywhere(t, s)
	})
}

func TestTryTimeoutDoesNotBoundAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newEngine(t, nil, to("payments", patience(2), "a"))
		s := e.Service("payments")
		f := &fake{send: func(context.Context, *Attempt) resilience.Outcome {
			time.Sleep(time.Minute)
			return resilience.Outcome{Status: 101}
		}}
		f.Unbounded = true
		if out, err := f.do(t.Context(), s); err != nil || out.Status != 101 {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// What may have been processed is repeated only if that does no harm: HTTP's methods tell, of gRPC's the route does.
func TestBrokenCallsAreRepeatedWhereThatIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			protocol   Protocol
			idempotent bool
			on         resilience.Conditions
			attempts   int
		}{
			{HTTP, true, resilience.OnReset, 2},
			{HTTP, false, resilience.OnReset, 1},
			{GRPC, false, resilience.OnReset, 2},
			{GRPC, false, resilience.On5xx | resilience.OnUnavailable, 1},
		} {
			p := resilience.Policy{Retry: resilience.Retry{Attempts: 1, On: tc.on, Base: time.Nanosecond}}
			e, _ := newEngine(t, nil, to("payments", p, "a", "b"))
			f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return failed(resilience.Reset) }}
			f.Protocol, f.Idempotent = tc.protocol, tc.idempotent
			f.do(t.Context(), e.Service("payments"))
			if len(f.hosts) != tc.attempts {
				t.Errorf("%v, idempotent %v, on %v: %d attempts, want %d", tc.protocol, tc.idempotent, tc.on, len(f.hosts), tc.attempts)
			}
		}
	})
}

// A server that says when it is to be asked again begins the pauses anew (gRFC A6), where one that says nothing makes them grow.
func TestPausesBeginAnewAfterAPushback(t *testing.T) {
	says := map[int]string{2: "7000"} // after the attempt
	var longest [4]time.Duration      // before the attempt after that
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			p := retries(4)
			p.Retry.Base, p.Retry.Max = time.Second, time.Hour
			e, _ := newEngine(t, nil, to("payments", p, "a"))
			var last time.Time
			f := &fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
				if a.Number > 1 {
					longest[a.Number-2] = max(longest[a.Number-2], time.Since(last))
				}
				last = time.Now()
				out := resilience.Outcome{GRPC: true, Code: 14}
				if v := says[a.Number]; v != "" {
					out.Header = said{"grpc-retry-pushback-ms": v}
				}
				return out
			}}
			f.do(t.Context(), e.Service("payments"))
		})
	}
	for i, most := range []time.Duration{time.Second, 7 * time.Second, time.Second, 2 * time.Second} {
		if got := longest[i]; got > most || got < most*3/4 {
			t.Errorf("the longest pause before retry %d was %v, want about %v", i+1, got, most)
		}
	}
}

// Which requests are repeated is said by their headers, as HTTP/2 has them (Envoy retriable_request_headers).
func TestOnlyCoveredRequestsAreRepeated(t *testing.T) {
	name := func(n string) resilience.HeaderName { return resilience.HeaderName{Lower: n, Canonical: n} }
	for _, m := range []resilience.HeaderMatch{
		{Name: name(":method"), Kind: resilience.MatchExact, Value: "GET"},
		{Name: name(":path"), Kind: resilience.MatchExact, Value: "/?safe=1"},
		{Name: name(":authority"), Kind: resilience.MatchExact, Value: "payments"},
		{Name: name(":scheme"), Kind: resilience.MatchExact, Value: "http"},
		{Name: name("x-again"), Kind: resilience.MatchPresent},
	} {
		for covered, want := range map[bool]int{true: 3, false: 1} {
			p := retries(2)
			p.Retry.Answers = &resilience.Answers{Requests: []resilience.HeaderMatch{m}}
			e, _ := newEngine(t, nil, to("payments", p, "a", "b", "c"))
			f := &fake{send: func(context.Context, *Attempt) resilience.Outcome { return failed(resilience.ConnectFailure) }}
			if covered {
				f.Request.Method, f.Request.Query, f.Request.Authority, f.Request.Scheme, f.Request.Header = "GET", "safe=1", "payments", "http", said{"x-again": ""}
			}
			if f.do(t.Context(), e.Service("payments")); len(f.hosts) != want {
				t.Errorf("%s, covered %v: %d attempts, want %d", m.Name.Lower, covered, len(f.hosts), want)
			}
		}
	}
}

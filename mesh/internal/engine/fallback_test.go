package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func headerOf(a *resilience.Answer, key string) string {
	for _, e := range a.Header {
		if e.Key == key {
			return e.Value
		}
	}
	return ""
}

func TestFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		configured := &resilience.Answer{Status: 203, Header: []resilience.Entry{{Key: "a", Value: "b"}}}
		p := retries(1)
		p.Fallback = &resilience.Fallback{Answer: configured, MaxAge: time.Minute}
		obs := &recorder{}
		e, m := newEngine(t, obs, to("payments", p, "a"))
		s := e.Service("payments")
		call := func(out resilience.Outcome, key string) *answerer {
			a := &answerer{key: key}
			a.send = func(context.Context, *Attempt) resilience.Outcome { return out }
			got, err := a.do(t.Context(), s)
			if len(a.answers) == 1 && (err != nil || got != outcomeOf(a.answers[0]) || !a.Marks().Has(FellBack)) {
				t.Errorf("answered by a fallback: %+v, %v, marks %b", got, err, a.Marks())
			}
			return a
		}
		if a := call(good, "k"); len(a.answers) != 0 || !a.Keeps(good, 10) || a.Keeps(good, 1<<20) || a.Keeps(bad, 10) {
			t.Error("a good call", a.answers)
		} else {
			a.Keep("k", &resilience.Answer{Status: 200, Body: []byte("kept")})
		}
		time.Sleep(12 * time.Second)
		for _, out := range []resilience.Outcome{bad, failed(resilience.Reset), failed(resilience.ConnectFailure)} {
			a := call(out, "k")
			if len(a.answers) != 1 || string(a.answers[0].Body) != "kept" || headerOf(a.answers[0], fallbackHeader) != "last-good; age=12" {
				t.Errorf("%+v: %+v", out, a.answers)
			}
			if a = call(out, "other"); len(a.answers) != 1 || a.answers[0].Status != 203 || headerOf(a.answers[0], fallbackHeader) != "configured" || headerOf(a.answers[0], "a") != "b" {
				t.Errorf("%+v: %+v", out, a.answers)
			}
		}
		if len(configured.Header) != 1 {
			t.Error("the configured answer was changed")
		}
		for _, out := range []resilience.Outcome{{Status: 404}, failed(resilience.Canceled)} {
			if a := call(out, "k"); len(a.answers) != 0 {
				t.Errorf("%+v: %+v", out, a.answers)
			}
		}
		m.push(to("payments", p, "a")) // answers outlive the plan
		if a := call(bad, "k"); len(a.answers) != 1 || string(a.answers[0].Body) != "kept" {
			t.Errorf("%+v", a.answers)
		}
		time.Sleep(time.Minute)
		if a := call(bad, "k"); len(a.answers) != 1 || a.answers[0].Status != 203 {
			t.Errorf("%+v is too old", a.answers)
		}
		m.push(to("payments", p))
		if a := call(good, "k"); len(a.answers) != 1 {
			t.Error("no host, no fallback")
		}
		idleEverywhere(t, s)
	})
}

func TestWhatHasNoFallback(t *testing.T) {
	p := resilience.Policy{Fallback: &resilience.Fallback{Answer: &resilience.Answer{Status: 203}}}
	rated := p
	rated.Rate = &resilience.Rate{Descriptors: []resilience.DescriptorRate{{Entries: []resilience.Entry{{Key: "method", Value: "GET"}}, TokenBucket: resilience.TokenBucket{FillInterval: time.Hour}}}}
	off := p
	off.Off = resilience.NoFallbacks
	missing := to("payments", p, "a")
	delete(missing.Clusters, "c")
	for _, tc := range []struct {
		name string
		svc  *resolver.Service
		set  func(*answerer)
		kind Kind
	}{
		{name: "turned off", svc: to("payments", off, "a")},
		{name: "gRPC gets no HTTP", svc: to("payments", p, "a"), set: func(a *answerer) { a.Protocol = GRPC }},
		{name: "rate", svc: to("payments", rated, "a"), kind: RateLimited},
		{name: "no cluster", svc: missing, kind: NoRoute},
		{name: "no route", svc: &resolver.Service{Name: "payments"}, kind: NoRoute},
	} {
		e, _ := newEngine(t, nil, tc.svc)
		a := &answerer{fake: fake{send: answering503}}
		if tc.set != nil {
			tc.set(a)
		}
		out, err := a.do(t.Context(), e.Service("payments"))
		kind := Kind(0)
		if e, ok := errors.AsType[*Error](err); ok {
			kind = e.Kind
		}
		if len(a.answers) != 0 || kind != tc.kind {
			t.Errorf("%s: %+v, %v, %v", tc.name, out, err, a.answers)
		}
	}
	e, _ := newEngine(t, nil, to("payments", p, "a"))
	a := &answerer{fake: fake{send: answering503}}
	a.Request.Method, a.Request.Path = "POST", "/"
	if out, err := e.Service("payments").Do(t.Context(), &a.Call, a); err != nil || out != bad || len(a.answers) != 0 {
		t.Errorf("POST: %+v, %v, %v", out, err, a.answers)
	}
	// A private answer has no key, so that only the configured one is for it.
	a = &answerer{private: true, fake: fake{send: answering503}}
	if _, err := a.do(t.Context(), e.Service("payments")); err != nil || len(a.answers) != 1 || a.answers[0].Status != 203 {
		t.Errorf("%v, %v", err, a.answers)
	}
}

// The time of the route is up, the caller's is not: he gets the fallback. When his own is up, nobody waits for one.
func TestFallbackAfterTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := resilience.Policy{Timeout: time.Second, Fallback: &resilience.Fallback{Answer: &resilience.Answer{Status: 203}}}
		e, _ := newEngine(t, nil, to("payments", p, "a"))
		s := e.Service("payments")
		a := &answerer{fake: fake{send: func(ctx context.Context, _ *Attempt) resilience.Outcome {
			<-ctx.Done()
			return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Timeout}
		}}}
		if out, err := a.do(t.Context(), s); err != nil || out.Status != 203 {
			t.Errorf("%+v, %v", out, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		a = &answerer{fake: fake{send: a.send}}
		if out, err := a.do(ctx, s); err == nil || len(a.answers) != 0 {
			t.Errorf("%+v, %v", out, err)
		}
		idleEverywhere(t, s)
	})
}

// A held answer that a fallback takes the place of has ended; its Finish does not count.
func TestFallbackInPlaceOfAHeldAnswer(t *testing.T) {
	obs := &recorder{}
	p := resilience.Policy{Fallback: &resilience.Fallback{Answer: &resilience.Answer{Status: 203}}}
	e, _ := newEngine(t, obs, to("payments", p, "a"))
	s := e.Service("payments")
	var held *Attempt
	a := &answerer{fake: fake{send: func(_ context.Context, a *Attempt) resilience.Outcome {
		a.Hold()
		held = a
		return bad
	}}}
	if out, err := a.do(t.Context(), s); err != nil || out.Status != 203 {
		t.Errorf("%+v, %v", out, err)
	}
	held.Finish(bad)
	if got := obs.String(); got != "call attempt1 attempt1:failed call:ok" {
		t.Error(got)
	}
	idleEverywhere(t, s)
}

package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestInboundCallIsItsContext(t *testing.T) {
	s := newServer(t, resilience.Serving{})
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 1))
	call := inboundCall("/", nil)
	s.Serve(ctx, call, func(got context.Context) resilience.Outcome {
		sub, stop := context.WithTimeout(got, time.Hour)
		defer stop()
		if Caused(sub) != call || sub.Value(key{}) != 1 || call.Context() != got || got.Err() != nil {
			t.Error("the context is not the call's")
		}
		cancel()
		<-sub.Done()
		if !errors.Is(got.Err(), context.Canceled) {
			t.Error(got.Err())
		}
		return resilience.Outcome{}
	})
	if Caused(t.Context()) != nil {
		t.Error("a context of nobody's has a call")
	}
}

func TestInboundCallSaysWhatItsHeadersSay(t *testing.T) {
	for _, tc := range []struct {
		protocol    Protocol
		header      header
		retried     bool
		criticality resilience.Criticality
	}{
		{HTTP, nil, false, resilience.Critical},
		{HTTP, header{"x-envoy-attempt-count": "1"}, false, resilience.Critical},
		{HTTP, header{"x-envoy-attempt-count": "2"}, true, resilience.Critical},
		{HTTP, header{"x-envoy-attempt-count": "-2"}, false, resilience.Critical},
		{HTTP, header{"x-envoy-attempt-count": "many"}, false, resilience.Critical},
		{HTTP, header{"grpc-previous-rpc-attempts": "1"}, false, resilience.Critical},
		{GRPC, header{"grpc-previous-rpc-attempts": "1"}, true, resilience.Critical},
		{GRPC, header{"grpc-previous-rpc-attempts": "0"}, false, resilience.Critical},
		{GRPC, header{"x-envoy-attempt-count": "3"}, true, resilience.Critical}, // a proxy's
		{HTTP, header{"x-weft-criticality": "Sheddable"}, false, resilience.Sheddable},
		{HTTP, header{"x-weft-criticality": "critical-plus", "x-envoy-attempt-count": "9"}, true, resilience.CriticalPlus},
		{HTTP, header{"x-weft-criticality": "health"}, false, resilience.Critical},
	} {
		c := &InboundCall{Protocol: tc.protocol}
		if tc.header != nil {
			c.Request.Header = tc.header
		}
		if c.Spent() {
			t.Error("spent before anything was")
		}
		c.spend()
		if c.Retried() != tc.retried || c.Criticality() != tc.criticality || !c.Spent() {
			t.Errorf("%v %v: retried %v, %v, spent %v", tc.protocol, tc.header, c.Retried(), c.Criticality(), c.Spent())
		}
	}
}

func TestInboundCallsHeadersAreReadBeforeAnHTTPHandlerChangesThem(t *testing.T) {
	s := newServer(t, resilience.Serving{})
	h := header{"x-weft-criticality": "sheddable"}
	call := inboundCall("/", h)
	s.Serve(t.Context(), call, func(context.Context) resilience.Outcome {
		clear(h)
		if call.Criticality() != resilience.Sheddable {
			t.Errorf("%v", call.Criticality())
		}
		return resilience.Outcome{}
	})
}

// a remote is an address as net/http has it.
type remoteAddr string

func (remoteAddr) Network() string  { return "tcp" }
func (r remoteAddr) String() string { return string(r) }

func TestServeLimitsRates(t *testing.T) {
	bucket := func(n uint32) resilience.TokenBucket {
		return resilience.TokenBucket{MaxTokens: n, FillInterval: time.Minute}
	}
	quota := func(keys ...string) *resilience.Rate {
		d := resilience.DescriptorRate{TokenBucket: bucket(1)}
		for _, k := range keys {
			d.Entries = append(d.Entries, resilience.Entry{Key: k})
		}
		return &resilience.Rate{Descriptors: []resilience.DescriptorRate{d}}
	}
	from := func(remote net.Addr, caller, method, path string, h header) *InboundCall {
		return &InboundCall{Local: tcp(8080), Remote: remote, Caller: caller, Request: resolver.Request{Method: method, Path: path, Header: h}}
	}
	one, other := remoteAddr("10.0.0.1:5000"), &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 5000}
	for _, tc := range []struct {
		name  string
		rate  *resilience.Rate
		calls []*InboundCall
		let   string // through, or not
	}{
		{"all together", &resilience.Rate{TokenBucket: bucket(2)}, []*InboundCall{from(one, "", "", "/", nil), from(other, "", "", "/", nil), from(one, "", "", "/", nil)}, "yyn"},
		{"method", quota("method"), []*InboundCall{from(one, "", "GET", "/", nil), from(one, "", "POST", "/", nil), from(one, "", "GET", "/", nil)}, "yyn"},
		{"path", quota("path"), []*InboundCall{from(one, "", "", "/a", nil), from(one, "", "", "/b", nil), from(one, "", "", "/a", nil)}, "yyn"},
		{"header", quota("header:x-user"), []*InboundCall{from(one, "", "", "/", header{"x-user": "a"}), from(one, "", "", "/", header{"x-user": "b"}), from(one, "", "", "/", header{"x-user": "a"}), from(one, "", "", "/", nil)}, "yyny"},
		{"remote address", quota("remote_address"), []*InboundCall{from(one, "x", "", "/", nil), from(other, "x", "", "/", nil), from(remoteAddr("10.0.0.1:6000"), "", "", "/", nil), from(nil, "", "", "/", nil), from(nil, "", "", "/", nil)}, "yynyy"},
		{"caller", quota("caller"), []*InboundCall{from(one, "spiffe://a", "", "/", nil), from(one, "spiffe://b", "", "/", nil), from(other, "spiffe://a", "", "/", nil), from(other, "", "", "/", nil), from(&net.TCPAddr{IP: other.IP, Port: 1}, "", "", "/", nil)}, "yynyn"},
		{"two facts", quota("caller", "path"), []*InboundCall{from(one, "", "", "/a", nil), from(one, "", "", "/b", nil), from(one, "", "", "/a", nil)}, "yyn"},
		{"unix sockets", quota("remote_address"), []*InboundCall{from(remoteAddr("@"), "", "", "/", nil), from(remoteAddr("@"), "", "", "/", nil)}, "yn"},
		{"health checks", &resilience.Rate{TokenBucket: bucket(1)}, []*InboundCall{from(one, "", "", "/", nil), from(one, "", "", "/healthz", nil), from(one, "", "", "/grpc.health.v1.Health/Check", nil), from(one, "", "", "/healthy", nil)}, "yyyn"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, resilience.Serving{Rate: tc.rate})
			let := ""
			for _, c := range tc.calls {
				out, r := s.Serve(t.Context(), c, answer200)
				if r == nil {
					let += "y"
					continue
				}
				let += "n"
				if r.Kind != RateLimited || r.Status != 429 || r.Code != 8 || r.Cut || out.Status != 429 || c.Refused != r || !slices.Contains(r.Header, Field{"x-envoy-ratelimited", "true"}) {
					t.Errorf("%+v, %+v", r, out)
				}
			}
			if let != tc.let {
				t.Errorf("let through %s, want %s", let, tc.let)
			}
			if n := s.State().Refused[RateLimited]; int(n) != strings.Count(tc.let, "n") {
				t.Errorf("counted %d", n)
			}
		})
	}
}

func TestARateSaysHowItRefuses(t *testing.T) {
	s := newServer(t, resilience.Serving{Rate: &resilience.Rate{
		TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Hour}, Status: 503, Added: []resilience.Entry{{Key: "x-why", Value: "quota"}},
	}})
	call := func() *InboundCall { return &InboundCall{Local: tcp(8080), Request: resolver.Request{Path: "/"}} }
	if _, r := s.Serve(t.Context(), call(), answer200); r != nil {
		t.Fatalf("the first call is refused: %+v", r)
	}
	want := []Field{{"x-envoy-ratelimited", "true"}, {"x-why", "quota"}}
	for range 2 { // what is added to one refusal is not another's
		if _, r := s.Serve(t.Context(), call(), answer200); r == nil || r.Status != 503 || r.Code != 8 || !slices.Equal(r.Header, want) {
			t.Errorf("got %+v", r)
		}
	}
	if len(rateLimited) != 1 {
		t.Errorf("all refusals have it: %v", rateLimited)
	}
}

func TestServeSaysWhatIsLeftOfTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rate := &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 2, FillInterval: 10 * time.Second}, Headers: true}
		s := newServer(t, resilience.Serving{Rate: rate})
		for i, want := range []string{"2 1 10", "2 0 20", "2 0 20"} {
			c := inboundCall("/", nil)
			_, r := s.Serve(t.Context(), c, func(context.Context) resilience.Outcome {
				if len(c.Header()) != 3 {
					t.Error("the handler does not know")
				}
				return resilience.Outcome{}
			})
			got := ""
			for i, f := range c.Header() {
				got += map[bool]string{true: " "}[i > 0] + f.Value
			}
			if got != want || (r != nil) != (i == 2) {
				t.Errorf("call %d: %s, want %s; %v", i, got, want, r)
			}
		}
	})
}

func TestServeObservesWhatItRefuses(t *testing.T) {
	obs := &recorder{}
	s := newServer(t, resilience.Serving{Fault: &resilience.Fault{Abort: resilience.Abort{Status: 500}, AbortPercent: resilience.Percent(100)}},
		func(c *Config) { c.Observer = obs })
	s.Serve(t.Context(), inboundCall("/", nil), answer200)
	if got := obs.String(); got != "serve served:failed" {
		t.Error(got)
	}
}

func TestServeRefusesLateWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		past := func() context.Context {
			ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
			t.Cleanup(cancel)
			return ctx
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		try := func(s *server, ctx context.Context, path string) *Refusal {
			_, r := s.Serve(ctx, inboundCall(path, nil), answer200)
			return r
		}
		for _, v := range []resilience.Serving{{}, {Late: &resilience.Lateness{}}, {MaxRequests: 10}} {
			s := newServer(t, v)
			for range 20 {
				if r := try(s, soon, "/"); r != nil {
					t.Fatal(r)
				}
			}
			refused := 0
			for range 20 {
				if r := try(s, past(), "/"); r != nil {
					if r.Kind != Deadline || r.Status != 504 || r.Code != 4 {
						t.Errorf("%+v", r)
					}
					refused++
				}
			}
			if refused == 0 || refused > 10 { // of 40: else it may be the clock
				t.Errorf("%d of 20 refused", refused)
			}
			idleServer(t, s)
			s.Engine.Close()
		}
		for name, v := range map[string]resilience.Serving{
			"off": {Off: resilience.NoDeadlines}, "tolerated": {Late: &resilience.Lateness{Tolerance: time.Minute}},
		} {
			s := newServer(t, v)
			try(s, soon, "/")
			for range 10 {
				if r := try(s, past(), "/"); r != nil {
					t.Errorf("%s: %v", name, r)
				}
			}
			s.Engine.Close()
		}
		s := newServer(t, resilience.Serving{HealthPaths: []string{"/up"}, Late: &resilience.Lateness{MaxPercent: 100}})
		if r := try(s, past(), "/up"); r != nil {
			t.Errorf("health check: %v", r)
		}
		if r := try(s, past(), "/healthz"); r == nil {
			t.Error("a path that is none is taken for a health check")
		}
	})
}

func TestServeBeforeTheFirstReport(t *testing.T) {
	e, _ := newEngine(t, nil)
	in, err := e.Listen(tcp(8080))
	if err != nil {
		t.Fatal(err)
	}
	if out, r := e.Serve(t.Context(), inboundCall("/", nil), answer200); r != nil || out.Status != 200 || in.Value() != nil {
		t.Error(out, r)
	}
	if st := in.State(); st.Limit != 0 || st.Refused != nil {
		t.Errorf("%+v", st)
	}
}

func TestServeInjectsFaults(t *testing.T) {
	all := resilience.Percent(100)
	for _, tc := range []struct {
		name     string
		fault    resilience.Fault
		protocol Protocol
		header   header
		want     Refusal // but for its text; zero means that it is handled
		after    time.Duration
	}{
		{"nothing", resilience.Fault{Delay: time.Second, Abort: resilience.Abort{Status: 503}}, HTTP, nil, Refusal{}, 0},
		{"delay", resilience.Fault{Delay: time.Second, DelayPercent: all}, HTTP, nil, Refusal{}, time.Second},
		{"abort", resilience.Fault{Abort: resilience.Abort{Status: 418}, AbortPercent: all}, HTTP, nil, Refusal{Kind: Injected, Status: 418, Code: 2}, 0},
		{"abort by gRPC code", resilience.Fault{Abort: resilience.Abort{GRPC: true, Code: 8}, AbortPercent: all}, GRPC, nil, Refusal{Kind: Injected, Status: 429, Code: 8}, 0},
		{"delay, then abort", resilience.Fault{Delay: time.Second, DelayPercent: all, Abort: resilience.Abort{Status: 503}, AbortPercent: all}, HTTP, nil, Refusal{Kind: Injected, Status: 503, Code: 14}, time.Second},
		{"delay longer than the caller waits", resilience.Fault{Delay: time.Hour, DelayPercent: all}, HTTP, nil, Refusal{Kind: Deadline, Status: 504, Code: 4}, time.Minute},
		{"as the caller asks", resilience.Fault{ByHeader: true, DelayPercent: all, AbortPercent: all}, HTTP, header{"x-envoy-fault-delay-request": "100", "x-envoy-fault-abort-request": "500"}, Refusal{Kind: Injected, Status: 500, Code: 2}, 100 * time.Millisecond},
		{"not as the caller asks", resilience.Fault{DelayPercent: all, AbortPercent: all}, HTTP, header{"x-envoy-fault-delay-request": "100"}, Refusal{}, 0},
		{"connection refused", resilience.Fault{Break: resilience.Break{Kind: resilience.ConnectionRefused}, BreakPercent: all}, HTTP, nil, Refusal{Kind: Injected, Status: 503, Code: 14, Cut: true}, 0},
		{"corrupt certificate", resilience.Fault{Break: resilience.Break{Kind: resilience.CorruptCertificate}, BreakPercent: all}, HTTP, nil, Refusal{}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, resilience.Serving{Fault: &tc.fault, MaxRequests: 1})
				defer s.Engine.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := inboundCall("/", nil)
				c.Protocol = tc.protocol
				if tc.header != nil {
					c.Request.Header = tc.header
				}
				start := time.Now()
				_, r := s.Serve(ctx, c, answer200)
				got := Refusal{}
				if r != nil {
					got = *r
				}
				if got.Kind != tc.want.Kind || got.Status != tc.want.Status || got.Code != tc.want.Code || got.Cut != tc.want.Cut || got.Header != nil {
					t.Errorf("%+v", got)
				}
				if took := time.Since(start); took != tc.after || c.Delayed() != (tc.after > 0) {
					t.Errorf("after %v, delayed %v", took, c.Delayed())
				}
				idleServer(t, s)
			})
		})
	}
}

func TestServeInjectsNoMoreFaultsThanMayBeActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, resilience.Serving{Fault: &resilience.Fault{Delay: time.Second, DelayPercent: resilience.Percent(100), MaxActive: 1}})
		defer s.Engine.Close()
		go s.Serve(t.Context(), inboundCall("/", nil), answer200)
		synctest.Wait()
		if n := s.State().Faulted; n != 1 {
			t.Errorf("%d active", n)
		}
		c := inboundCall("/", nil)
		if s.Serve(t.Context(), c, answer200); c.Delayed() {
			t.Error("two are delayed")
		}
		if c := inboundCall("/healthz", nil); func() bool { s.Serve(t.Context(), c, answer200); return c.Delayed() }() {
			t.Error("a health check is delayed")
		}
		time.Sleep(time.Minute)
		idleServer(t, s)
	})
}

func TestServePacesBodies(t *testing.T) {
	s := newServer(t, resilience.Serving{})
	flow := func() (f *Flow) {
		c := inboundCall("/", nil)
		s.Serve(t.Context(), c, func(context.Context) resilience.Outcome { f = c.Flow(); return resilience.Outcome{} })
		return f
	}
	if flow() != nil {
		t.Error("a Flow of nothing")
	}
	b := resilience.Bandwidths{Request: resilience.Bandwidth{BytesPerSecond: 10}}
	s.set(resilience.Serving{Bandwidth: b})
	x, y := flow(), flow()
	if x == nil || y == nil || x.live != y.live || x.live != &s.throttles || x.bandwidth != b {
		t.Error("calls do not share the server's bandwidth")
	}
	s.set(resilience.Serving{Bandwidth: b, Off: resilience.NoBandwidths})
	if flow() != nil {
		t.Error("a bandwidth that is turned off")
	}
	s.set(resilience.Serving{Fault: &resilience.Fault{BytesPerSecond: 5, SlowPercent: resilience.Percent(100)}})
	if f := flow(); f == nil || f.slow.BytesPerSecond != 5 {
		t.Errorf("%+v", f)
	}
	idleServer(t, s)
}

func TestServeLeavesNothingOfAPanic(t *testing.T) {
	s := newServer(t, resilience.Serving{
		MaxRequests: 5, Adaptive: &resilience.Adaptive{}, Shedding: &resilience.Shedding{},
		Fault: &resilience.Fault{Delay: 1, DelayPercent: resilience.Percent(100)},
	})
	for range 10 {
		func() {
			defer func() {
				if r := recover(); r != "oh" {
					t.Errorf("recovered %v", r)
				}
			}()
			s.Serve(t.Context(), inboundCall("/", nil), func(context.Context) resilience.Outcome { panic("oh") })
		}()
	}
	idleServer(t, s)
}

func TestServingOff(t *testing.T) {
	full := resilience.Serving{
		Rate:        &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Hour}},
		Global:      &resilience.GlobalRate{Descriptors: [][]resilience.Entry{{{Key: "path"}}}, Lease: resilience.Lease{Closed: true}},
		MaxRequests: 1, Shedding: &resilience.Shedding{},
		Fault:     &resilience.Fault{Abort: resilience.Abort{Status: 500}, AbortPercent: resilience.Percent(100)},
		Bandwidth: resilience.Bandwidths{Response: resilience.Bandwidth{BytesPerSecond: 1}},
	}
	s := newServer(t, full)
	for off, idle := range map[resilience.Switches]bool{
		0: false, resilience.NoRates: false, resilience.NoShedding: false,
		resilience.NoRates | resilience.NoGlobalRates | resilience.NoConcurrency | resilience.NoFaults | resilience.NoBandwidths: true,
	} {
		v := full
		v.Off = off
		s.set(v)
		c := s.current.Load()
		p := c.policy
		if c.idle != idle || (p.Rate == nil) != off.Off(resilience.NoRates) || c.sheds == off.Off(resilience.NoConcurrency|resilience.NoShedding) || c.bounded == off.Off(resilience.NoConcurrency) {
			t.Errorf("%v: %+v", off, c)
		}
		if s.Value().Serving.Off != off {
			t.Errorf("reports %v", s.Value().Serving.Off)
		}
	}
	// A switch must not bring up a bound that nobody configured.
	s.set(resilience.Serving{Shedding: &resilience.Shedding{}, Off: resilience.NoConcurrency})
	if s.current.Load().bounded {
		t.Error("bounded by shedding though bounds are off")
	}
}

func TestServingSaysWhatIsTurnedOff(t *testing.T) {
	var log strings.Builder
	s := newServer(t, resilience.Serving{}, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, off := range []resilience.Switches{0, resilience.NoRates, resilience.NoRates, 0, 0} {
		s.set(resilience.Serving{Off: off})
	}
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "off=rates") || !strings.Contains(got, "all policies are on again") {
		t.Error(got)
	}
}

func TestServingChangesKeepWhatIsLive(t *testing.T) {
	rate := func() *resilience.Rate {
		return &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Hour}}
	}
	s := newServer(t, resilience.Serving{Rate: rate(), Adaptive: &resilience.Adaptive{}})
	s.Serve(t.Context(), inboundCall("/", nil), answer200)
	g := s.current.Load().gradient
	s.set(resilience.Serving{Rate: rate(), Adaptive: &resilience.Adaptive{Max: 2}})
	if _, r := s.Serve(t.Context(), inboundCall("/", nil), answer200); r == nil {
		t.Error("a new configuration filled the bucket")
	}
	if s.current.Load().gradient != g || s.State().Refused[RateLimited] != 1 {
		t.Errorf("%+v", s.State())
	}
	// Calls that are in keep what they hold.
	s.set(resilience.Serving{MaxRequests: 7})
	s.Serve(t.Context(), inboundCall("/", nil), func(context.Context) resilience.Outcome {
		s.set(resilience.Serving{})
		return resilience.Outcome{}
	})
	idleServer(t, s)
}

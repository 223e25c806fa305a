package resilience

import (
	"testing"
	"time"
)

func TestFault(t *testing.T) {
	const (
		delay, delayPercent = "X-Envoy-Fault-Delay-Request", "X-Envoy-Fault-Delay-Request-Percentage"
		abort, abortPercent = "X-Envoy-Fault-Abort-Request", "X-Envoy-Fault-Abort-Request-Percentage"
		grpc                = "X-Envoy-Fault-Abort-Grpc-Request"
		through             = "X-Envoy-Fault-Throughput-Response"
	)
	all := Percent(100)
	byHeader := Fault{ByHeader: true, DelayPercent: all, AbortPercent: Percent(50), SlowPercent: all}
	for _, tc := range []struct {
		name string
		f    Fault
		h    web
		roll uint32 // of a million
		want Injection
	}{
		{"none", Fault{}, nil, 0, Injection{}},
		{"a share without a fault", Fault{DelayPercent: all, AbortPercent: all, SlowPercent: all, BreakPercent: all}, nil, 0, Injection{}},
		{"a fault without a share", Fault{Delay: ms, Abort: Abort{Status: 503}, BytesPerSecond: 1, Break: Break{Kind: BodyReset}}, nil, 0, Injection{}},
		{"delay", Fault{Delay: ms, DelayPercent: all}, nil, million - 1, Injection{Delay: ms}},
		{"delay of some", Fault{Delay: ms, DelayPercent: Fraction{1, million}}, nil, 0, Injection{Delay: ms}},
		{"delay of others", Fault{Delay: ms, DelayPercent: Fraction{1, million}}, nil, 1, Injection{}},
		{"abort", Fault{Abort: Abort{Status: 503}, AbortPercent: all}, nil, 0, Injection{Abort: Abort{Status: 503}}},
		{"gRPC OK is an abort, too", Fault{Abort: Abort{GRPC: true}, AbortPercent: all}, nil, 0, Injection{Abort: Abort{GRPC: true}}},
		{"slow", Fault{BytesPerSecond: 9, SlowPercent: all}, nil, 0, Injection{BytesPerSecond: 9}},
		{"broken", Fault{Break: Break{Kind: ConnectionRefused}, BreakPercent: all}, nil, 0, Injection{Break: Break{Kind: ConnectionRefused}}},
		{"all at once", Fault{Delay: ms, DelayPercent: all, Abort: Abort{Status: 429}, AbortPercent: all}, nil, 0, Injection{Delay: ms, Abort: Abort{Status: 429}}},
		{"headers that nobody listens to", Fault{}, web{delay: {"5"}, abort: {"503"}}, 0, Injection{}},
		{"delay by header", byHeader, web{delay: {"5"}}, 0, Injection{Delay: 5 * ms}},
		{"no delay by header", byHeader, web{delay: {"0"}}, 0, Injection{}},
		{"header takes the place of what is configured", Fault{ByHeader: true, Delay: time.Hour, DelayPercent: all}, web{delay: {"5"}}, 0, Injection{Delay: 5 * ms}},
		{"what is configured, without the header", Fault{ByHeader: true, Delay: ms, DelayPercent: all}, web{}, 0, Injection{Delay: ms}},
		{"less by header", byHeader, web{delay: {"5"}, delayPercent: {"10"}}, 100_000, Injection{}},
		{"never more by header", byHeader, web{abort: {"503"}, abortPercent: {"100"}}, 500_000, Injection{}},
		{"abort by header", byHeader, web{abort: {"503"}}, 499_999, Injection{Abort: Abort{Status: 503}}},
		{"gRPC abort by header", byHeader, web{grpc: {"14"}}, 0, Injection{Abort: Abort{GRPC: true, Code: 14}}},
		{"no status", byHeader, web{abort: {"199"}}, 0, Injection{}},
		{"nor this", byHeader, web{abort: {"600"}}, 0, Injection{}},
		{"no code", byHeader, web{grpc: {"17"}}, 0, Injection{}},
		{"no number", byHeader, web{delay: {"-5"}, abort: {"x"}, through: {"1e3"}}, 0, Injection{}},
		{"a number too large", byHeader, web{delay: {"99999999999999999999"}}, 0, Injection{}},
		{"slow by header, in KiB", byHeader, web{through: {"3"}}, 0, Injection{BytesPerSecond: 3072}},
	} {
		var active Gauge
		got, ok := tc.f.Decide(tc.h, &active, func(n uint32) uint32 { return tc.roll })
		if got != tc.want || ok != (tc.want != Injection{}) || ok != (active.Count() == 1) {
			t.Errorf("%s: %+v, %v, %d active", tc.name, got, ok, active.Count())
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	f := Fault{Delay: ms, DelayPercent: Percent(100), MaxActive: 2}
	var active Gauge
	for n, want := range []bool{true, true, false} {
		if i, ok := f.Decide(nil, &active, zero); ok != want {
			t.Errorf("call %d: %+v", n+1, i)
		}
	}
	active.Leave()
	if _, ok := f.Decide(nil, &active, zero); !ok {
		t.Error("none after one has ended")
	}
}

func zero(uint32) uint32 { return 0 }

func TestFaultAllocatesNothing(t *testing.T) {
	f := Fault{Delay: ms, DelayPercent: Percent(100), ByHeader: true}
	h := web{"X-Envoy-Fault-Abort-Request": {"503"}}
	var active Gauge
	ceiling(t, "a fault", 0, func() { f.Decide(h, &active, zero) })
}

package mesh_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Why a call failed, or was not tried again, is what Envoy would have flagged.
func TestResponseFlags(t *testing.T) {
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	defer close(stop)
	addr := server.Listener.Addr().String()
	once := resilience.Retry{Attempts: 1, On: resilience.On5xx, Base: time.Microsecond}
	for _, tc := range []struct {
		name, path, addr string
		policy           resilience.Policy
		thresholds       *[resilience.Priorities]resilience.Thresholds
		breaker          *resilience.Trip
		calls            int // before the one that is looked at
		code, flags      string
	}{
		{name: "answered", addr: addr, code: "503", flags: "-"},
		{name: "retries used", addr: addr, policy: resilience.Policy{Retry: once}, code: "503", flags: "URX"},
		{name: "no room for retries", addr: addr, policy: resilience.Policy{Retry: once},
			thresholds: &[resilience.Priorities]resilience.Thresholds{{MaxRequests: 1}}, code: "503", flags: "UO"},
		{name: "no room", addr: addr, thresholds: &[resilience.Priorities]resilience.Thresholds{}, code: "503", flags: "UO"},
		{name: "rate", addr: addr, policy: resilience.Policy{Rate: &resilience.Rate{Descriptors: []resilience.DescriptorRate{{
			Entries:     []resilience.Entry{{Key: "method", Value: "GET"}},
			TokenBucket: resilience.TokenBucket{FillInterval: time.Hour},
		}}}}, code: "429", flags: "RL"},
		{name: "no connection", addr: "127.0.0.1:1", policy: resilience.Policy{Retry: once}, code: "503", flags: "UF,URX"},
		{name: "try", path: "/slow", addr: addr, policy: resilience.Policy{Retry: resilience.Retry{TryTimeout: 50 * time.Millisecond}}, code: "504", flags: "UT"},
		{name: "aborted", addr: addr, policy: resilience.Policy{Fault: &resilience.Fault{Abort: resilience.Abort{Status: 418}, AbortPercent: resilience.Percent(100)}},
			code: "418", flags: "FI"},
		{name: "delayed", addr: addr, policy: resilience.Policy{Fault: &resilience.Fault{Delay: time.Millisecond, DelayPercent: resilience.Percent(100)}}, code: "503", flags: "DI"},
		{name: "delayed and aborted", addr: addr, policy: resilience.Policy{Fault: &resilience.Fault{Delay: time.Millisecond, DelayPercent: resilience.Percent(100),
			Abort: resilience.Abort{Status: 418}, AbortPercent: resilience.Percent(100)}}, code: "418", flags: "DI,FI"},
		{name: "connection broken", addr: addr, policy: resilience.Policy{Retry: once, Fault: &resilience.Fault{
			Break: resilience.Break{Kind: resilience.ConnectionRefused}, BreakPercent: resilience.Percent(100)}}, code: "503", flags: "UF,URX,FI"},
		{name: "breaker", addr: addr, breaker: &resilience.Trip{Failures: 1}, calls: 1, code: "503", flags: "UO"},
		{name: "fallback", addr: "127.0.0.1:1", policy: resilience.Policy{Fallback: &resilience.Fallback{Answer: &resilience.Answer{Status: 203}}}, code: "203", flags: "UF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tel, option := newTelemetry()
			m, err := mesh.New(t.Context(), option, mesh.WithResolver(resolver.Static{"payments": &resolver.Service{
				Name: "payments",
				VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{
					{Name: "r", To: []resolver.Target{{Cluster: "c"}}, Policy: tc.policy},
				}}},
				Clusters: map[string]resolver.Cluster{"c": {Name: "c", Thresholds: tc.thresholds, Breaker: tc.breaker, Endpoints: []balancer.Endpoint{{Addr: tc.addr}}}},
			}}))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			for range tc.calls + 1 {
				resp, err := (&http.Client{Transport: m.RoundTripper()}).Get("http://payments" + tc.path)
				if err == nil {
					resp.Body.Close()
				}
			}
			counts := slices.DeleteFunc(tel.counts(t), func(p metricdata.DataPoint[int64]) bool {
				flags, _ := p.Attributes.Value("response_flags")
				return tc.calls > 0 && flags.AsString() == "-"
			})
			if len(counts) != 1 {
				t.Fatalf("counts %+v", counts)
			}
			wantLabels(t, counts[0], map[string]string{"response_code": tc.code, "response_flags": tc.flags})
		})
	}
}

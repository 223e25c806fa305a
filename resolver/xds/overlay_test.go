package xds

import (
	"reflect"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

func TestRoutesTakeWhatTheyLeaveUnsaidFromTheirListener(t *testing.T) {
	var (
		rate, otherRate   = &resilience.Rate{MaxKeys: 1}, &resilience.Rate{MaxKeys: 2}
		fault, otherFault = &resilience.Fault{MaxActive: 1}, &resilience.Fault{MaxActive: 2}
		slow, fast        = resilience.Bandwidths{Request: resilience.Bandwidth{BytesPerSecond: 1}}, resilience.Bandwidths{Response: resilience.Bandwidth{BytesPerSecond: 2}}
		byUser            = [][]resilience.Entry{{{Key: "header:user"}}}
		byPath            = [][]resilience.Entry{{{Key: "path"}}}
	)
	filter := func(descriptors [][]resilience.Entry) *overlay {
		return &overlay{global: &wire.GlobalFilter{GlobalRate: resilience.GlobalRate{Domain: "d", Timeout: time.Second, Descriptors: descriptors, Lease: resilience.Lease{Batch: 7, Closed: true}}}}
	}
	defaults := &overlay{Default: wire.Default{Rate: rate, Fault: fault, Bandwidth: slow}}
	for _, c := range []struct {
		name       string
		over       *overlay
		said, want resilience.Policy
	}{
		{"nothing anywhere", nil, resilience.Policy{Timeout: 1}, resilience.Policy{Timeout: 1}},
		{"the listener's", defaults, resilience.Policy{Timeout: 1}, resilience.Policy{Timeout: 1, Rate: rate, Fault: fault, Bandwidth: slow}},
		{"the route's", defaults, resilience.Policy{Rate: otherRate, Fault: otherFault, Bandwidth: fast}, resilience.Policy{Rate: otherRate, Fault: otherFault, Bandwidth: fast}},
		{"turned off", defaults, resilience.Policy{Off: resilience.NoRates | resilience.NoFaults | resilience.NoBandwidths}, resilience.Policy{Off: resilience.NoRates | resilience.NoFaults | resilience.NoBandwidths}},
		{"limits that nobody asks for", nil, resilience.Policy{Global: &resilience.GlobalRate{Descriptors: byUser}}, resilience.Policy{}},
		{"limits that nobody asks for, though there are other filters", defaults, resilience.Policy{Rate: rate, Fault: fault, Bandwidth: slow, Global: &resilience.GlobalRate{Descriptors: byUser}},
			resilience.Policy{Rate: rate, Fault: fault, Bandwidth: slow}},
		{"limits of a domain of their own", nil, resilience.Policy{Global: &resilience.GlobalRate{Domain: "own", Descriptors: byUser}}, resilience.Policy{Global: &resilience.GlobalRate{Domain: "own", Descriptors: byUser}}},
		{"limits of the filter's domain", filter(nil), resilience.Policy{Global: &resilience.GlobalRate{Descriptors: byUser}},
			resilience.Policy{Global: &resilience.GlobalRate{Domain: "d", Timeout: time.Second, Descriptors: byUser, Lease: resilience.Lease{Batch: 7, Closed: true}}}},
		{"limits with more of their own", filter(byPath), resilience.Policy{Global: &resilience.GlobalRate{Domain: "own", Timeout: 2, Descriptors: byUser, Lease: resilience.Lease{Ahead: 3}}},
			resilience.Policy{Global: &resilience.GlobalRate{Domain: "own", Timeout: 2, Descriptors: byUser, Lease: resilience.Lease{Ahead: 3, Closed: true}}}},
		{"the filter's limits", filter(byPath), resilience.Policy{},
			resilience.Policy{Global: &resilience.GlobalRate{Domain: "d", Timeout: time.Second, Descriptors: byPath, Lease: resilience.Lease{Batch: 7, Closed: true}}}},
		{"a filter without limits", filter(nil), resilience.Policy{}, resilience.Policy{}},
		{"limits turned off", filter(byPath), resilience.Policy{Off: resilience.NoGlobalRates}, resilience.Policy{Off: resilience.NoGlobalRates}},
	} {
		before := []resolver.VirtualHost{{Routes: []resolver.Route{{Policy: c.said}, {Unsupported: "x"}}}}
		after := c.over.apply(before)
		if got := after[0].Routes[0].Policy; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if !reflect.DeepEqual(before[0].Routes[0].Policy, c.said) {
			t.Errorf("%s: what came is changed", c.name)
		}
		if !reflect.DeepEqual(after[0].Routes[1], resolver.Route{Unsupported: "x"}) {
			t.Errorf("%s: an unsupported route has %+v", c.name, after[0].Routes[1])
		}
	}
}

func TestListenersFiltersHoldForTheRoutesThatItNames(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		world := worldOf(shop("a")...)
		listener := func(percent uint32) piece {
			return packed(wire.EncodeListener(wire.Listener{Name: "a", RouteConfig: "a-r", Faults: true, Default: wire.Default{
				Fault:     &resilience.Fault{Abort: resilience.Abort{Status: 503}, AbortPercent: resilience.Percent(percent)},
				Admission: &resilience.Admission{Threshold: 90},
			}}))
		}
		st.settle(world)
		if p := w.value(t).VirtualHosts[0].Routes[0].Policy; p.Fault != nil {
			t.Errorf("fault %+v", p.Fault)
		}
		st.send(listeners, "2", listener(7))
		v := w.value(t)
		if p := v.VirtualHosts[0].Routes[0].Policy; p.Fault == nil || p.Fault.AbortPercent.Numerator != 7 {
			t.Errorf("fault %+v", p.Fault)
		}
		if a := v.Clusters["a-c"].Admission; a == nil || a.Threshold != 90 {
			t.Errorf("admission %+v", a)
		}
		st.settleMute()
		st.send(endpoints, "2", eds("a-e", "10.0.0.2:80"))
		next := w.value(t)
		if &next.VirtualHosts[0] != &v.VirtualHosts[0] {
			t.Error("an update of endpoints makes the routes anew")
		}
		if a := next.Clusters["a-c"].Admission; a == nil {
			t.Error("an update of endpoints loses the admission")
		}
		st.settleMute()
		st.send(listeners, "3", listener(8))
		if p := w.value(t).VirtualHosts[0].Routes[0].Policy; p.Fault == nil || p.Fault.AbortPercent.Numerator != 8 {
			t.Errorf("fault %+v", p.Fault)
		}
		st.settleMute()
		st.send(listeners, "4", lds("a", "a-r"))
		v = w.value(t)
		if p := v.VirtualHosts[0].Routes[0].Policy; p.Fault != nil || v.Clusters["a-c"].Admission != nil {
			t.Errorf("fault %+v, admission %+v of a filter that is gone", p.Fault, v.Clusters["a-c"].Admission)
		}
	})
}

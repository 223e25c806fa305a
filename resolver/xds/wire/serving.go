package wire

import (
	"github.com/weftmesh/weft/resilience"
)

// decodeServing is what a server's filters say, and what no filter does.
func decodeServing(c *chain, own *own) resilience.Serving {
	s := resilience.Serving{
		Rate: c.rate, Adaptive: c.adaptive, Fault: c.fault, Bandwidth: c.bandwidth,
		MaxRequests: own.count("max_requests"),
		HealthPaths: own.texts("health_paths"),
		Off:         own.switches(),
	}
	if c.global != nil && len(c.global.Descriptors) > 0 {
		s.Global = &c.global.GlobalRate
	}
	if o := own.in("shedding"); o != nil {
		s.Shedding = &resilience.Shedding{Target: o.duration("target"), Interval: o.duration("interval")}
		o.sound(s.Shedding.Check())
		o.unknown()
	}
	if o := own.in("late"); o != nil {
		s.Late = &resilience.Lateness{Tolerance: o.duration("tolerance"), MaxPercent: o.number("max_percent"), Interval: o.duration("interval")}
		o.sound(s.Late.Check())
		o.unknown()
	}
	return s
}

// encodeServing is the chain of a server, and the rest.
func encodeServing(s *resilience.Serving, f fields) chain {
	c := chain{rate: s.Rate, adaptive: s.Adaptive, fault: s.Fault, bandwidth: s.Bandwidth}
	if s.Global != nil && len(s.Global.Descriptors) > 0 {
		c.global = &GlobalFilter{GlobalRate: *s.Global, Cluster: limitsCluster}
	}
	f.number("max_requests", float64(s.MaxRequests))
	f.texts("health_paths", s.HealthPaths)
	f.text(offField, s.Off.String())
	if s.Shedding != nil {
		o := fields{}
		o.duration("target", s.Shedding.Target)
		o.duration("interval", s.Shedding.Interval)
		f.in("shedding", o)
	}
	if s.Late != nil {
		o := fields{}
		o.duration("tolerance", s.Late.Tolerance)
		o.number("max_percent", s.Late.MaxPercent)
		o.duration("interval", s.Late.Interval)
		f.in("late", o)
	}
	return c
}

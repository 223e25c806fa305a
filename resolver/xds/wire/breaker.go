package wire

import "github.com/weftmesh/weft/resilience"

// decodeTrip reads when a breaker opens, of which no field of Envoy's speaks; nil if it never does.
func decodeTrip(o *own) *resilience.Trip {
	if o == nil {
		return nil
	}
	t := resilience.Trip{
		Failures: o.count("failures"), Percent: o.number("percent"), Volume: o.count("volume"),
		Window: o.duration("window"), Open: o.duration("open"), Probes: o.count("probes"),
	}
	o.sound(t.Check())
	o.unknown()
	if t.Failures == 0 && t.Percent == 0 {
		return nil
	}
	return &t
}

func encodeTrip(t *resilience.Trip) fields {
	if t == nil || t.Failures == 0 && t.Percent == 0 {
		return nil
	}
	f := fields{}
	f.number("failures", float64(t.Failures))
	f.number("percent", t.Percent)
	f.number("volume", float64(t.Volume))
	f.duration("window", t.Window)
	f.duration("open", t.Open)
	f.number("probes", float64(t.Probes))
	return f
}

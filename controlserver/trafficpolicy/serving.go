package trafficpolicy

import "github.com/weftmesh/weft/resilience"

// A Workload is what of a process decides which policies hold for the calls it serves.
type Workload struct {
	Namespace string
	// Service is the name it registers under, without a namespace; may be empty.
	Service string
	// Address and Port are where it listens. The address is an IP address; an unspecified one stands for any.
	Address string
	Port    uint32
	// Labels tell it from others at the same port where the address is unspecified.
	Labels map[string]string
}

// Serving is what policies say of the calls that a server takes. The values are not to be modified.
type Serving struct {
	resilience.Serving

	// Trusted are the callers whose steering headers count, as an AuthorizationPolicy writes principals. nil means that nothing is
	// said: then it is those of the server's own trust domain. An empty list is nobody.
	Trusted []Principal

	Origins []Origin
}

// Serving is what the policy says of the calls that a server takes. name is its "NAMESPACE/NAME", and origin is where it
// stands.
func (s *Spec) Serving(name, origin string) Serving {
	out := Serving{Serving: resilience.Serving{Off: s.off()}}
	took := origins{out: &out.Origins, policy: origin}
	if b := s.Server; b != nil {
		if took.block("server.rateLimit", b.RateLimit != nil) {
			out.Rate = b.RateLimit.value()
		}
		if took.block("server.globalRateLimit", b.GlobalRateLimit != nil) {
			out.Global = b.GlobalRateLimit.value(name + "/server")
		}
		if took.block("server.concurrency", b.Concurrency != nil) {
			out.MaxRequests = b.Concurrency.Max
			if b.Concurrency.Adaptive != nil {
				out.Adaptive = b.Concurrency.Adaptive.value()
			}
		}
		if took.block("server.shedding", b.Shedding != nil) {
			out.Shedding = b.Shedding.value()
		}
		if took.block("server.lateness", b.Lateness != nil) {
			out.Late = b.Lateness.value()
		}
		if took.block("server.fault", b.Fault != nil) {
			out.Fault = b.Fault.value()
		}
		if took.block("server.bandwidth", b.Bandwidth != nil) {
			out.Bandwidth = b.Bandwidth.value()
		}
		if took.block("server.healthPaths", len(b.HealthPaths) > 0) {
			for _, p := range b.HealthPaths {
				out.HealthPaths = append(out.HealthPaths, string(p))
			}
		}
		if took.block("server.trustedCallers", b.TrustedCallers != nil) {
			out.Trusted = append([]Principal{}, *b.TrustedCallers...)
		}
	}
	took.block(Disable, out.Off != 0)
	return out
}

// Take adds the blocks of a less specific policy that s has not.
func (s *Serving) Take(from Serving) {
	for _, o := range from.Origins {
		if o.Block != Disable && has(s.Origins, o.Block) {
			continue
		}
		switch o.Block {
		case "server.rateLimit":
			s.Rate = from.Rate
		case "server.globalRateLimit":
			s.Global = from.Global
		case "server.concurrency":
			s.MaxRequests, s.Adaptive = from.MaxRequests, from.Adaptive
		case "server.shedding":
			s.Shedding = from.Shedding
		case "server.lateness":
			s.Late = from.Late
		case "server.fault":
			s.Fault = from.Fault
		case "server.bandwidth":
			s.Bandwidth = from.Bandwidth
		case "server.healthPaths":
			s.HealthPaths = from.HealthPaths
		case "server.trustedCallers":
			s.Trusted = from.Trusted
		case Disable:
			s.Off |= from.Off
		}
		s.Origins = append(s.Origins, o)
	}
}

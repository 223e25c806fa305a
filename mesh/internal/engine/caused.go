package engine

import "github.com/weftmesh/weft/resilience"

// repeats reports whether the call was caused by one that its caller had made before.
func (c *Call) repeats() bool { return c.caused != nil && c.caused.Retried() }

// handOn hands the criticality of the call that caused this one on, unless the caller has set another. Critical is what
// a call is that says nothing.
func (a *Attempt) handOn() {
	if own := a.call.Request.Header; own != nil && len(own.Values(criticalityHeader)) > 0 {
		return
	}
	// Not by the header as it is now: a handler may be changing it.
	if c := a.call.caused.Criticality(); c != resilience.Critical {
		a.Header = append(a.Header, Field{criticalityHeader.Lower, c.String()})
	}
}

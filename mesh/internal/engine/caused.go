package engine

// repeats reports whether the call was caused by one that its caller had made before.
func (c *Call) repeats() bool { return c.caused != nil && c.caused.repeated() }

// handOn hands the criticality of the call that caused this one on.
func (a *Attempt) handOn() {
	if v := a.call.caused.criticality(); v != "" {
		a.Header = append(a.Header, Field{"x-weft-criticality", v})
	}
}

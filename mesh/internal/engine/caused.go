package engine

// repeats reports whether the call was caused by one that its caller had made before.
func (c *Call) repeats() bool { return c.caused != nil && c.caused.Retried() }

// handOn hands the criticality of the call that caused this one on, unless the caller has set another.
func (a *Attempt) handOn() {
	from, own := a.call.caused.Request.Header, a.call.Request.Header
	if from == nil || own != nil && len(own.Values(criticalityHeader)) > 0 {
		return
	}
	if v := from.Values(criticalityHeader); len(v) > 0 {
		a.Header = append(a.Header, Field{criticalityHeader.Lower, v[0]})
	}
}

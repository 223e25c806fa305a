package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/weftmesh/weft/resilience"
)

// parts splits a fault into what is done to a call and what is done to each of its attempts; either is nil if that is nothing, or
// done to no call: headers ask for shares that are configured at most.
func parts(f *resilience.Fault) (call, attempt *resilience.Fault) {
	if f.Break.Kind != resilience.NoBreak && f.BreakPercent.Numerator > 0 {
		attempt = &resilience.Fault{Break: f.Break, BreakPercent: f.BreakPercent, MaxActive: f.MaxActive}
	}
	rest := *f
	rest.Break = resilience.Break{}
	if rest.DelayPercent.Numerator > 0 && (rest.Delay > 0 || rest.ByHeader) ||
		rest.AbortPercent.Numerator > 0 && (rest.Abort != (resilience.Abort{}) || rest.ByHeader) ||
		rest.SlowPercent.Numerator > 0 && (rest.BytesPerSecond > 0 || rest.ByHeader) {
		call = &rest
	}
	return call, attempt
}

// inject decides what is done to the call on purpose, and does what comes before it is sent: the delay, and then the abort.
func (c *Call) inject(at *moment) *Error {
	i, ok := c.route.fault.Decide(c.Request.Header, c.route.active, rand.Uint32N)
	if !ok {
		return nil
	}
	c.active = c.route.active
	done := i // a copy, so that only what is done is allocated
	c.injected = &done
	if i.Delay > 0 {
		c.marks |= Delayed
		at.pass()
		if pause(c.ctx, i.Delay) != nil {
			return c.service.late(c.ctx)
		}
	}
	if i.Abort == (resilience.Abort{}) {
		return nil
	}
	c.marks |= Aborted
	return &Error{Kind: Injected, Service: c.service.name, Err: fmt.Errorf("route %q: aborted on purpose with %v", c.route.Name, abortText(i.Abort))}
}

// abort answers the call as its injection says, if its transport can.
func (c *Call) abort() (out resilience.Outcome, ok bool) {
	t, ok := c.transport.(Answerer)
	if !ok {
		return out, false
	}
	a := abortAnswer(c.Protocol, c.injected.Abort)
	t.Answer(a)
	return outcomeOf(a), true
}

// faulted is the end of an attempt whose connection is broken on purpose before there is one.
func (a *Attempt) faulted() (out resilience.Outcome, ok bool) {
	if a.broken == nil {
		return out, false
	}
	switch a.broken.Kind {
	case resilience.ConnectionRefused:
		return resilience.Outcome{Err: errRefusedOnPurpose, Cause: resilience.ConnectFailure}, true
	case resilience.CorruptCertificate:
		return resilience.Outcome{Err: errCorruptOnPurpose, Cause: resilience.ConnectFailure}, true
	}
	return out, false
}

var (
	errRefusedOnPurpose = errors.New("connection refused on purpose (fault)")
	errCorruptOnPurpose = errors.New("certificate taken for corrupt on purpose (fault)")
)

// Spoils reports whether a fault wants the server to show a certificate that can't be verified to the connection that is being made.
func (in *Inbound) Spoils() bool {
	f := in.current.Load().policy.Fault
	return f != nil && f.Break.Kind == resilience.CorruptCertificate && f.BreakPercent.Holds(rand.Uint32N(million))
}

// broke reports whether what the attempt came to was done on purpose.
func (a *Attempt) broke() bool { return a.broken != nil && a.broken.Kind != resilience.SlowBody }

// injection is what is done to the bodies of the attempt.
func (a *Attempt) injection() (i resilience.Injection) {
	if a.call.injected != nil {
		i.BytesPerSecond = a.call.injected.BytesPerSecond
	}
	if a.broken != nil {
		i.Break = *a.broken
	}
	return i
}

// abortText is what an answer by fault says of itself (Envoy).
func abortText(a resilience.Abort) string {
	if a.GRPC {
		return "gRPC status " + strconv.Itoa(int(a.Code))
	}
	return "HTTP status " + strconv.Itoa(a.Status)
}

const abortBody = "fault filter abort" // as Envoy says it, so that what looks for it finds it

// abortAnswer is an abort as an answer of protocol p.
func abortAnswer(p Protocol, a resilience.Abort) *resilience.Answer {
	status, code := abortStatus(a)
	if p == GRPC {
		out := &resilience.Answer{GRPC: true, Code: code}
		if code != 0 {
			out.Body = []byte(abortBody)
		}
		return out
	}
	return &resilience.Answer{Status: status, Header: []resilience.Entry{{Key: "content-type", Value: "text/plain"}}, Body: []byte(abortBody)}
}

// abortStatus is an abort as a status of HTTP and as a code of gRPC, whichever it is configured as (gRFC A33,
// Envoy grpcToHttpStatus).
func abortStatus(a resilience.Abort) (status int, code uint32) {
	if a.GRPC {
		if int(a.Code) < len(httpStatuses) {
			return httpStatuses[a.Code], a.Code
		}
		return 500, a.Code
	}
	switch a.Status {
	case 400:
		return a.Status, 13 // INTERNAL
	case 401:
		return a.Status, 16 // UNAUTHENTICATED
	case 403:
		return a.Status, 7 // PERMISSION_DENIED
	case 404:
		return a.Status, 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return a.Status, 14 // UNAVAILABLE
	}
	return a.Status, 2 // UNKNOWN
}

// httpStatuses are the statuses of gRPC's codes, in their order.
var httpStatuses = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// outcomeOf is how a call ends that was answered by a.
func outcomeOf(a *resilience.Answer) resilience.Outcome {
	return resilience.Outcome{Status: a.Status, GRPC: a.GRPC, Code: a.Code}
}

package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A Refusal says how to answer a call that is not handled. It is not modified.
type Refusal struct {
	Kind   Kind
	Status int    // HTTP
	Code   uint32 // gRPC
	Text   string
	// Header is for the answer, besides the call's own. Names are in lower case.
	Header []Field
	// Cut says that there is to be no answer: the connection is to break.
	Cut bool
}

var (
	errCut = errors.New("the connection is broken by a fault")

	rateLimited = []Field{{"x-envoy-ratelimited", "true"}}
	// No more of it, as HTTP and gRPC say so.
	overloadHTTP = []Field{{"x-envoy-overloaded", "true"}}
	overloadGRPC = []Field{{"grpc-retry-pushback-ms", "-1"}}
)

// outcome is what a refusal is to who counts calls.
func (r *Refusal) outcome(c *InboundCall) resilience.Outcome {
	out := resilience.Outcome{Status: r.Status}
	if c.Protocol == GRPC {
		out = resilience.Outcome{GRPC: true, Code: r.Code}
	}
	switch {
	case r.Cut:
		out.Err, out.Cause = errCut, resilience.Reset
	case r.Kind == Canceled:
		out.Err, out.Cause = c.ctx.Err(), resilience.Canceled
	}
	return out
}

// rated is the answer to a call that a rate refuses. Whoever repeats answers does not repeat it, unless it was told to (Envoy).
func rated(text string) *Refusal {
	return &Refusal{Kind: RateLimited, Status: 429, Code: 8, Text: text, Header: rateLimited} // RESOURCE_EXHAUSTED
}

// rationed is the answer to a call that a rate of this process refuses.
func rationed(by *resilience.Rate) *Refusal {
	r := rated("local_rate_limited") // Envoy's words
	if by.Status != 0 {
		r.Status = by.Status
	}
	if len(by.Added) > 0 {
		r.Header = slices.Clip(r.Header)
		for _, h := range by.Added {
			r.Header = append(r.Header, Field{h.Key, h.Value})
		}
	}
	return r
}

// overload is the answer to a call that there is no room for: it asks not to be sent again.
func (c *InboundCall) overload(text string) *Refusal {
	r := &Refusal{Kind: Overloaded, Status: 503, Code: 14, Text: text, Header: overloadHTTP} // UNAVAILABLE
	if c.Protocol == GRPC {
		r.Header = overloadGRPC
	}
	return r
}

// interrupted is the answer to a call whose context has ended before it was handled.
func (c *InboundCall) interrupted() *Refusal {
	if errors.Is(c.ctx.Err(), context.DeadlineExceeded) {
		return tooLate()
	}
	return &Refusal{Kind: Canceled, Status: 499, Code: 1, Text: "the caller gave up"} // nobody reads it
}

func tooLate() *Refusal {
	return &Refusal{Kind: Deadline, Status: 504, Code: 4, Text: "the deadline passed before the call was handled"}
}

// aborted is the answer that a fault gives.
func aborted(a resilience.Abort) *Refusal {
	status, code := abortStatus(a)
	return &Refusal{Kind: Injected, Status: status, Code: code, Text: abortBody}
}

// disconnected is what becomes of a call that a fault takes for one to a server that is not there.
func disconnected() *Refusal {
	return &Refusal{Kind: Injected, Status: 503, Code: 14, Text: errCut.Error(), Cut: true} // what Envoy would make of it
}

// leftOf says how much of a rate is left (Envoy enable_x_ratelimit_headers); nothing if no bucket was asked.
func leftOf(l resilience.Level) []Field {
	if l.Limit == 0 {
		return nil
	}
	reset := uint64(math.Ceil(float64(l.Reset) / float64(time.Second)))
	return []Field{
		{"x-ratelimit-limit", strconv.FormatUint(uint64(l.Limit), 10)},
		{"x-ratelimit-remaining", strconv.FormatUint(uint64(l.Remaining), 10)},
		{"x-ratelimit-reset", strconv.FormatUint(reset, 10)},
	}
}

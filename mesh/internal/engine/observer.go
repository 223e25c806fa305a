package engine

import (
	"context"

	"github.com/weftmesh/weft/resilience"
)

// An Observer is told of every call as it goes. Its methods are called from the
// call's goroutines, must not block, and must not keep the call.
type Observer interface {
	// CallStarted returns the context of the call.
	CallStarted(context.Context, *Call) context.Context
	// AttemptStarted returns the context of the attempt and may add to its Header.
	AttemptStarted(context.Context, *Call, *Attempt) context.Context
	AttemptFinished(*Call, *Attempt, resilience.Outcome)
	// CallFinished comes once for each CallStarted. err is an [*Error] or nil.
	CallFinished(c *Call, o resilience.Outcome, err error)

	// ServeStarted returns the context of an inbound call.
	ServeStarted(context.Context, *InboundCall) context.Context
	ServeFinished(*InboundCall, resilience.Outcome)
}

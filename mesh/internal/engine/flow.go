package engine

import "context"

// A Flow paces the bodies of one call by the bandwidth there is, or breaks them (faults). A nil
// Flow lets everything through. Each way is used by one goroutine at a time.
type Flow struct{}

// Request waits until some of n bytes of the request may go, and says how many. An error means that
// the body is to be broken off there.
func (f *Flow) Request(_ context.Context, n int) (int, error) { return n, nil }

// Response is Request for the bytes of the answer.
func (f *Flow) Response(_ context.Context, n int) (int, error) { return n, nil }

// Flow paces the bodies of the attempt; nil if nothing does.
func (a *Attempt) Flow() *Flow { return nil }

// Flow paces the bodies of the call; nil if nothing does. It is known once the handler is called.
func (c *InboundCall) Flow() *Flow { return nil }

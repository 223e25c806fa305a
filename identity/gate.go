package identity

import "context"

// A Gate is a Guard made ready. It is immutable, safe for concurrent use, and decides without allocating.
type Gate struct{ guard Guard }

// NewGate makes the rules of a guard ready. It returns all that is wrong with them, each error naming its step, policy and condition; a
// guard with a fault in it has no Gate, lest what can't be told be passed over.
func NewGate(g Guard) (*Gate, error) { return &Gate{guard: g}, nil }

// A Decision is what the rules say of a request.
type Decision struct {
	Allowed bool
	// Step and Policy say what decided: the policy that denied, or the step none of whose policies allowed (Policy is empty then).
	Step, Policy string
	// Reason is a sentence for operators. It is never shown to callers.
	Reason string
	// Answer is what a service outside has to say to the caller; nil if rules decided.
	Answer *Verdict
	// Verdicts are of the services outside that let the request through, whose changes are to be made.
	Verdicts []Verdict
	// Shadow is what rules that are only tried would have decided otherwise, or noted; nil if nothing.
	Shadow []Shadow
}

// A Shadow is a decision that has no effect.
type Shadow struct {
	Step, Policy string
	Action       Action
	Allowed      bool
}

// Check decides on a request by the Guard's Steps, or by its Connections if r is one. a asks services outside, and is nil only if the guard
// has none: without one, what would have to be asked is refused. body is read if a service is to be sent some of it, once.
func (g *Gate) Check(ctx context.Context, r *Request, a Asker, body func(limit int) ([]byte, error)) Decision {
	return Decision{Reason: "no rules are evaluated yet"}
}

package jwt

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/weftmesh/weft/identity"
)

// A condition is an identity.Condition on what is known of a request before its tokens are, as rules tell it: one set of them lets through
// what it holds for, the other what it does not hold for. The zero condition always holds.
type condition struct{ holds, fails *identity.Gate }

var errAmbiguous = errors.New("tokens: it can't be told which the request needs")

func newCondition(is identity.Condition) (c condition, err error) {
	if reflect.ValueOf(is).IsZero() {
		return c, nil
	}
	if err := early(&is); err != nil {
		return c, err
	}
	if c.holds, err = gate(identity.Allow, is); err == nil {
		c.fails, err = gate(identity.Deny, is)
	}
	return c, err
}

// early refuses what is known only later.
func early(is *identity.Condition) error {
	switch is.Kind {
	case identity.Always, identity.HeaderIs, identity.PathIs, identity.PathFits:
	case identity.All, identity.Any, identity.Not:
		for i := range is.Of {
			if err := early(&is.Of[i]); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("a condition of kind %d can't be told before tokens are verified", is.Kind)
	}
	return nil
}

func gate(a identity.Action, is identity.Condition) (*identity.Gate, error) {
	return identity.NewGate(identity.Guard{Steps: []identity.Step{{Name: "path", Rules: &identity.Rules{Action: a, Policies: []identity.Policy{{
		Permissions: []identity.Condition{is}, Principals: []identity.Condition{{Kind: identity.Always}},
	}}}}}})
}

// fits reports whether the condition holds. The error says that it can't be told.
func (c *condition) fits(ctx context.Context, r *identity.Request) (bool, error) {
	switch {
	case c.holds == nil:
		return true, nil
	case c.holds.Check(ctx, r, nil, nil).Allowed:
		return true, nil
	case c.fails.Check(ctx, r, nil, nil).Allowed:
		return false, nil
	}
	return false, errAmbiguous
}

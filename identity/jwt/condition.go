package jwt

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// A condition is an identity.Condition on what is known of a request before its tokens are, made ready.
type condition struct {
	identity.Condition
	of   []condition
	is   match.Matcher
	name match.HeaderName
}

// newCondition makes a condition ready; the zero one always holds.
func newCondition(is identity.Condition) (condition, error) {
	if reflect.ValueOf(is).IsZero() {
		is.Kind = identity.Always
	}
	c := condition{Condition: is}
	var err error
	switch is.Kind {
	case identity.Always:
	case identity.All, identity.Any, identity.Not:
		if len(is.Of) == 0 || is.Kind == identity.Not && len(is.Of) != 1 {
			return c, errors.New("a condition on others has not as many as it needs")
		}
		for _, o := range is.Of {
			if o.Kind == 0 {
				return c, errors.New("a condition is of no kind")
			}
			of, err := newCondition(o)
			if err != nil {
				return c, err
			}
			c.of = append(c.of, of)
		}
	case identity.HeaderIs:
		switch is.Name {
		case "":
			return c, errors.New("a header has no name")
		case ":method", ":authority", ":scheme", ":path":
		default:
			if strings.HasPrefix(is.Name, ":") {
				return c, fmt.Errorf("%s: there is no such part of a request", is.Name)
			}
			c.name = match.Named(is.Name)
		}
		c.is, err = is.Is.Compile()
	case identity.PathIs:
		c.is, err = is.Is.Compile()
	default:
		return c, fmt.Errorf("a condition of kind %d can't be told before tokens are verified", is.Kind)
	}
	return c, err
}

// fits reports whether the condition holds. The error says that it can't be told.
func (c *condition) fits(r *identity.Request) (bool, error) {
	switch c.Kind {
	case identity.All, identity.Any:
		all := c.Kind == identity.All
		out := all
		for i := range c.of {
			ok, err := c.of[i].fits(r)
			if err != nil {
				return false, err
			}
			if ok != all {
				out = !all
			}
		}
		return out, nil
	case identity.Not:
		ok, err := c.of[0].fits(r)
		return !ok, err
	case identity.PathIs:
		if r.Path == "" {
			return false, errors.New("tokens: a condition is on the path, and there is none")
		}
		return c.is.Matches(r.Path), nil
	case identity.HeaderIs:
		return c.header(r)
	}
	return true, nil
}

// header is fits of HeaderIs. Several values are one, with commas between.
func (c *condition) header(r *identity.Request) (bool, error) {
	var value string
	switch c.Name {
	case ":method":
		value = r.Method
	case ":authority":
		value = r.Authority
	case ":scheme":
		value = r.Scheme
	case ":path":
		if value = r.Path; r.Query != "" {
			value += "?" + r.Query
		}
	default:
		if r.Header == nil {
			return false, errors.New("tokens: a condition is on a header, and there are none")
		}
		values := r.Header.Values(c.name)
		if len(values) == 0 && !c.MissingAsEmpty {
			return c.Invert && c.is.Kind() == match.Present, nil // (gRFC A41)
		}
		value = strings.Join(values, ",")
	}
	return c.is.Matches(value) != c.Invert, nil
}

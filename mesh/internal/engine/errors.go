package engine

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/resilience"
)

var (
	errClosed   = errors.New("mesh is closed")
	errNotKnown = errors.New("no configuration yet")
	errNothing  = errors.New("resolver reported neither a service nor why there is none")
	errPanicked = errors.New("panicked")
	errRate     = errors.New("the route's rate is used up")
	errLost     = errors.New("another attempt of the call was answered first")

	errGlobalRate = errors.New("the rate of all processes together is used up, or can't be asked for and refuses then")
)

// ErrFull is, within an Outcome's error, a threshold that the transport found reached. The call fails as Overloaded
// and is not repeated (Envoy: a pending overflow).
var ErrFull = errors.New("no room")

// Kind says why the mesh could not get an answer.
type Kind uint8

// The kinds. What each becomes in a protocol is the adapters' business.
const (
	// NoService: the service is unknown, or nothing is known of it yet.
	NoService Kind = iota + 1
	// NoRoute: no route matches, or the one that does cannot be followed.
	NoRoute
	// NoHost: the cluster has no host that may serve.
	NoHost
	// Unreachable: no connection to the host, or it refused the call; the call was not processed.
	Unreachable
	// Reset: the connection broke before the answer; the call may have been processed.
	Reset
	// Deadline: the caller's, the route's or the last attempt's time was up.
	Deadline
	// Canceled: the caller gave up.
	Canceled
	// Overloaded: the cluster has as much in flight as its thresholds allow, its breaker is open, or
	// too many of its calls fail; the call was not sent.
	Overloaded
	// RateLimited: the rate was used up; the call was not sent.
	RateLimited
	// Injected: a fault was done to the call on purpose; it was not sent.
	Injected
	// Denied: the caller may not make the call, or has not proved who it is; the call was not handled.
	Denied
)

var kindNames = [...]string{"", "no service", "no route", "no host", "unreachable", "reset", "deadline exceeded", "canceled", "overloaded", "rate limited", "injected", "denied"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// An Error says that the mesh could not get an answer to a call, and why.
type Error struct {
	Kind     Kind
	Service  string // as called
	Cluster  string // empty before one was chosen
	Host     string // address of the last host tried; empty if none was
	Attempts int    // how many hosts were asked
	Err      error  // the cause
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("mesh: ")
	b.WriteString(e.Service)
	b.WriteString(": ")
	b.WriteString(e.Kind.String())
	if e.Cluster != "" {
		b.WriteString(": cluster " + e.Cluster)
	}
	if e.Host != "" {
		b.WriteString(": host " + e.Host)
	}
	if e.Attempts > 1 {
		b.WriteString(" (attempt " + strconv.Itoa(e.Attempts) + ")")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Timeout reports that the time was up, as net.Error and url.Error ask it.
func (e *Error) Timeout() bool { return e.Kind == Deadline }

// late is the error of a call whose context has ended.
func (s *Service) late(ctx context.Context) *Error {
	kind := Canceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = Deadline
	}
	return &Error{Kind: kind, Service: s.name, Err: ctx.Err()}
}

// failure is the error of a call whose last attempt was not answered. a is nil if there was no host.
func (c *Call) failure(a *Attempt, o resilience.Outcome) *Error {
	e := &Error{Kind: NoHost, Service: c.service.name, Cluster: c.cluster.Name, Attempts: c.asked(), Err: o.Err}
	if a == nil {
		return e
	}
	e.Host = a.Host.Addr()
	switch {
	case errors.Is(o.Err, ErrFull):
		e.Kind = Overloaded
	case o.Cause == resilience.Timeout, o.Cause == resilience.TryTimeout, errors.Is(c.ctx.Err(), context.DeadlineExceeded):
		e.Kind = Deadline
	case o.Cause == resilience.Canceled, c.ctx.Err() != nil:
		e.Kind = Canceled
	case o.Unprocessed():
		e.Kind = Unreachable
	default:
		e.Kind = Reset
	}
	return e
}

// Package extauthz asks services of the mesh whether requests may pass (Envoy ext_authz): by gRPC (envoy.service.auth.v3) or by HTTP.
package extauthz

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/mesh/internal/engine"
)

// Config is what an Asker is made of.
type Config struct {
	// Dial returns a connection to that service of the mesh, which connects when it is used.
	Dial func(service string) (Conn, error)
	// HTTP carries requests to the service that is the host of their URL, whatever their Host says. It must not send what is for a service
	// that the mesh does not know to anybody else.
	HTTP http.RoundTripper
	// Self is the SPIFFE ID of this process, or empty. nil is empty.
	Self func() string
}

// A Conn is a connection to a service. A *grpc.ClientConn is one.
type Conn interface {
	grpc.ClientConnInterface
	io.Closer
}

// A Header is the header of a request that can be asked about: it can be listed.
type Header interface {
	match.Header
	// All yields each name, in any letter case, with its values.
	All() iter.Seq2[string, []string]
}

// An Asker asks, over one connection to each service. It is safe for concurrent use, and is to be closed.
type Asker struct {
	config Config

	mu     sync.Mutex
	closed bool
	conns  map[string]Conn
	ready  map[*identity.ExtAuthz]*lists
}

var _ identity.Asker = (*Asker)(nil)

// New returns an Asker.
func New(c Config) *Asker {
	return &Asker{config: c, conns: map[string]Conn{}, ready: map[*identity.ExtAuthz]*lists{}}
}

// patience is for services that no time is said for (Envoy).
const patience = 200 * time.Millisecond

// Ask implements identity.Asker. What a caller could bring about himself opens nothing: a question that can't be put or is refused, a time of
// his own that is shorter than the service's, an answer that is none.
func (a *Asker) Ask(ctx context.Context, e *identity.ExtAuthz, r *identity.Request, body []byte) identity.Verdict {
	limit := e.Timeout
	if limit <= 0 {
		limit = patience
	}
	deadline, limited := ctx.Deadline()
	hurried := limited && time.Until(deadline) < limit
	q, err := newQuestion(e, r, body)
	if err != nil {
		return identity.Verdict{Failed: err, Status: e.StatusOnError}
	}
	inner, cancel := context.WithTimeout(aside{ctx}, limit)
	defer cancel()
	ask := a.check
	if e.HTTP {
		ask = a.request
	}
	v, err := ask(inner, q)
	if err == nil {
		return v
	}
	_, silent := errors.AsType[*silence](err)
	return identity.Verdict{Failed: err, Status: e.StatusOnError, Allowed: e.FailOpen && silent && !hurried && ctx.Err() == nil}
}

// Close closes the connections. What is asked after that fails.
func (a *Asker) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, c := range a.conns {
		_ = c.Close() // it fails only if it is closed
	}
	clear(a.conns)
	return nil
}

// A silence is a service that does not answer, which FailOpen is about.
type silence struct{ error }

func (s *silence) Unwrap() error { return s.error }

var errClosed = errors.New("the mesh is closed")

func (a *Asker) conn(service string) (Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errClosed
	}
	if c := a.conns[service]; c != nil {
		return c, nil
	}
	c, err := a.config.Dial(service)
	if err != nil {
		return nil, err
	}
	a.conns[service] = c
	return c, nil
}

// aside is the context of a question. It has the time and the trace of the call that is asked about, but what that call says of how the
// mesh is to treat it does not count for the question.
type aside struct{ context.Context }

func (c aside) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*engine.InboundCall); ok {
		return nil
	}
	return v
}

// Questions about questions end: each says how many led to it. A caller can but make it seem more.
var questions = match.HeaderName{Lower: "weft-questions", Canonical: "Weft-Questions"}

const mostQuestions = 3

var errLoop = errors.New("it is a question itself, and led to by too many")

// depth is how many questions have led to the request, this one included.
func depth(h match.Header) (string, error) {
	values := h.Values(questions)
	if len(values) == 0 {
		return "1", nil
	}
	n, err := strconv.Atoi(values[0])
	if err != nil || len(values) > 1 || n < 1 || n >= mostQuestions {
		return "", errLoop
	}
	return strconv.Itoa(n + 1), nil
}

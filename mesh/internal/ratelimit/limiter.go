// Package ratelimit asks the control server for tokens of the limits that it keeps
// for all processes together (envoy.service.ratelimit.v3).
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	descriptor "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// A Limiter is the control server's rate limit service. It connects when it is first asked, and while
// it is not costs nothing. A control server without that service can't be asked.
type Limiter struct {
	servers Servers
	known   levels

	mu     sync.Mutex
	conn   *grpc.ClientConn // nil before it is needed
	closed bool
}

// Servers are the control servers.
type Servers interface {
	// Server is the one in use, or tried last.
	Server() string
	// Dial makes a connection to it that begins when it is used.
	Dial(...grpc.DialOption) (*grpc.ClientConn, error)
}

var _ engine.Limiter = (*Limiter)(nil)

// New returns a Limiter, which is to be closed.
func New(s Servers) *Limiter { return &Limiter{servers: s} }

// rounds is how often Take asks if others take what was left for it.
const rounds = 3

// soon is when to ask again for what others seem to be taking.
const soon = 50 * time.Millisecond

// Take asks for tokens of a limit, for fewer if that is much of what is left: what one process takes and does not
// use, all others lack until the window ends. What was granted holds as long as the window; if there
// is nothing left, there will be none so long.
func (l *Limiter) Take(ctx context.Context, domain string, entries []resilience.Entry, tokens uint32) (granted uint32, holds time.Duration, err error) {
	conn, err := l.connection()
	if err != nil {
		return 0, 0, fmt.Errorf("rate limits: %w", err)
	}
	name := nameOf(domain, entries)
	for range rounds {
		asked := time.Now()
		hits := l.known.share(name, asked, tokens)
		s, err := ask(ctx, conn, domain, entries, hits)
		if err != nil {
			l.failed(conn, err)
			return 0, 0, fmt.Errorf("rate limits: %w", err)
		}
		if s.GetCurrentLimit() == nil && s.GetCode() == rls.RateLimitResponse_OK {
			return tokens, 0, nil
		}
		now := time.Now()
		left, reset := s.GetLimitRemaining(), s.GetDurationUntilReset().AsDuration()
		l.known.learn(name, level{left, s.GetCurrentLimit().GetRequestsPerUnit(), now.Add(reset)})
		if s.GetCode() == rls.RateLimitResponse_OK {
			if reset > 0 { // the window may have ended while the answer was on its way
				reset = max(reset-now.Sub(asked), time.Nanosecond)
			}
			return hits, reset, nil
		}
		if holds = reset; left == 0 {
			return 0, holds, nil
		}
		holds = min(holds, soon)
	}
	return 0, holds, nil
}

// Close ends the connection; limits can't be asked any more.
func (l *Limiter) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

var errClosed = errors.New("the mesh is closed")

func (l *Limiter) connection() (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	if l.conn == nil {
		conn, err := l.servers.Dial(grpc.WithConnectParams(grpc.ConnectParams{ // sooner than for configuration, which stays
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}))
		if err != nil {
			return nil, err
		}
		l.conn = conn
	}
	return l.conn, nil
}

// failed goes where the configuration comes from, if that is not from this server any more.
func (l *Limiter) failed(conn *grpc.ClientConn, err error) {
	if c := status.Code(err); c != codes.Unavailable && c != codes.DeadlineExceeded || l.servers.Server() == conn.Target() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == conn && !l.closed {
		l.conn = nil
		_ = conn.Close() // it fails only if it is closed
	}
}

// ask returns the status of the one descriptor.
func ask(ctx context.Context, conn *grpc.ClientConn, domain string, entries []resilience.Entry, hits uint32) (*rls.RateLimitResponse_DescriptorStatus, error) {
	d := &descriptor.RateLimitDescriptor{Entries: make([]*descriptor.RateLimitDescriptor_Entry, len(entries))}
	for i, e := range entries {
		d.Entries[i] = &descriptor.RateLimitDescriptor_Entry{Key: e.Key, Value: e.Value}
	}
	answer, err := rls.NewRateLimitServiceClient(conn).ShouldRateLimit(ctx, &rls.RateLimitRequest{
		Domain: domain, Descriptors: []*descriptor.RateLimitDescriptor{d}, HitsAddend: hits,
	})
	if err != nil {
		return nil, err
	}
	s := answer.GetStatuses()
	if len(s) != 1 || s[0].GetCode() == rls.RateLimitResponse_UNKNOWN {
		return nil, errors.New("the answer says nothing of the limit that was asked for")
	}
	return s[0], nil
}

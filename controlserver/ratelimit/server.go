// Package ratelimit keeps the limits of all processes together: it is Envoy's rate
// limit service (envoy.service.ratelimit.v3), for the library and for Envoy alike.
//
// A limit is so many requests in a window of time. A window begins with the first request
// that is counted in it, and not, as in Envoy's reference service, when the clock strikes: so the windows of many keys
// do not end all at once, servers that share a store need no common clock, and a client that
// was told "none until then" may be quiet until then. That is also why it is no sliding window or leaky
// bucket: in those a token comes back every few moments, and clients that draw tokens in batches would
// ask for each of them. The price is the reference's: at worst twice the limit around the end of a window.
package ratelimit

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Config is what a Server is made of. The zero Config keeps its counts in memory.
type Config struct {
	// Store is where the counts are: empty means in memory, "redis://[user][:password]@host[:port][/db]"
	// in a Redis or Valkey (no cluster of them) that several servers may share, "rediss://..." in one behind TLS, whose
	// certificate is checked against the system's roots or "?ca=FILE".
	Store string
	// MaxKeys bounds the counts kept in memory; 0 means 100,000. If there are more, one that is
	// far from its limit is forgotten.
	MaxKeys int
	// Timeout bounds one question to a store outside; 0 means 500 ms.
	Timeout time.Duration
	// Logger: nil means slog.Default().
	Logger *slog.Logger
}

// A Server is the rate limit service. Before Set there are no limits. Its methods are safe for
// concurrent use.
type Server struct {
	rls.UnimplementedRateLimitServiceServer

	store  store
	limits atomic.Pointer[limits]
	log    *slog.Logger
	failed atomic.Bool // the store, the last time it was asked
}

// New returns a Server. A store outside that can't be reached now is no error: requests are, as long as
// that lasts. No error and no log holds any part of Config.Store but its host.
func New(cfg Config) (*Server, error) {
	s := &Server{log: cmp.Or(cfg.Logger, slog.Default())}
	s.limits.Store(newLimits(nil))
	if cfg.Store == "" {
		s.store = newMemory(cmp.Or(max(cfg.MaxKeys, 0), 100_000), s.log)
		return s, nil
	}
	r, err := newRedis(cfg.Store, cmp.Or(max(cfg.Timeout, 0), 500*time.Millisecond))
	if err != nil {
		return nil, err
	}
	s.store = r
	s.notice(r.unreached)
	return s, nil
}

// Register makes the service part of a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { rls.RegisterRateLimitServiceServer(r, s) }

// Set replaces all limits. What was counted goes on counting where the descriptor and the window's length stay.
func (s *Server) Set(all []Limit) { s.limits.Store(newLimits(all)) }

// Close ends the connection to the store. Requests must have ended.
func (s *Server) Close() { s.store.close() }

// ShouldRateLimit is the service's one method. Each descriptor is counted by itself, whatever
// becomes of the others. Hits that do not fit whole are not counted at all, and
// limit_remaining says what would fit. Descriptors without a limit are OK. A
// descriptor's own limit (its override) is not followed: limits are the operator's.
func (s *Server) ShouldRateLimit(ctx context.Context, q *rls.RateLimitRequest) (*rls.RateLimitResponse, error) {
	if err := check(q); err != nil {
		return nil, err
	}
	answer := &rls.RateLimitResponse{
		OverallCode: rls.RateLimitResponse_OK,
		Statuses:    make([]*rls.RateLimitResponse_DescriptorStatus, len(q.GetDescriptors())),
	}
	known := s.limits.Load()
	var fewWants [4]want
	var fewFound [4]found
	wants, limited := fewWants[:0], fewFound[:0]
	for i, d := range q.GetDescriptors() {
		l := known.find(q.GetDomain(), d.GetEntries())
		if l == nil {
			answer.Statuses[i] = &rls.RateLimitResponse_DescriptorStatus{Code: rls.RateLimitResponse_OK}
			continue
		}
		wants = append(wants, want{keyOf(q.GetDomain(), l.Per, d.GetEntries()), l.Requests, l.Per, hitsOf(q, d)})
		limited = append(limited, found{l, i})
	}
	if len(wants) == 0 {
		return answer, nil
	}
	var few [4]level
	levels, err := s.store.take(ctx, wants, few[:0])
	s.notice(err)
	if err != nil {
		return nil, status.Error(codes.Unavailable, "rate limits: their store cannot be asked")
	}
	for i, f := range limited {
		answer.Statuses[f.at] = f.status(levels[i])
		if !levels[i].ok {
			answer.OverallCode = rls.RateLimitResponse_OVER_LIMIT
		}
	}
	return answer, nil
}

// notice logs when the store fails and when it is back.
func (s *Server) notice(err error) {
	switch failed := err != nil; {
	case s.failed.Load() == failed || s.failed.Swap(failed) == failed:
	case failed:
		s.log.Error("the store of rate limits cannot be asked; clients do as they are configured for that", "err", err)
	default:
		s.log.Info("the store of rate limits answers again")
	}
}

// found is the limit of the descriptor of that index.
type found struct {
	*limit
	at int
}

func (f found) status(l level) *rls.RateLimitResponse_DescriptorStatus {
	s := &rls.RateLimitResponse_DescriptorStatus{
		Code:               rls.RateLimitResponse_OK,
		CurrentLimit:       f.current,
		LimitRemaining:     l.left,
		DurationUntilReset: durationpb.New(l.reset),
	}
	if !l.ok {
		s.Code = rls.RateLimitResponse_OVER_LIMIT
	}
	return s
}

// currentOf says a limit in the words of the protocol, which has no unit below a second.
func currentOf(l Limit) *rls.RateLimitResponse_RateLimit {
	current := &rls.RateLimitResponse_RateLimit{Name: l.Name, RequestsPerUnit: l.Requests}
	for _, u := range []struct {
		unit rls.RateLimitResponse_RateLimit_Unit
		is   time.Duration
	}{
		{rls.RateLimitResponse_RateLimit_DAY, 24 * time.Hour},
		{rls.RateLimitResponse_RateLimit_HOUR, time.Hour},
		{rls.RateLimitResponse_RateLimit_MINUTE, time.Minute},
		{rls.RateLimitResponse_RateLimit_SECOND, time.Second},
	} {
		if l.Per >= u.is && l.Per%u.is == 0 {
			current.Unit = u.unit
			if n := l.Per / u.is; n > 1 {
				current.UnitMultiplier = wrapperspb.UInt32(uint32(n))
			}
			break
		}
	}
	return current
}

package ratelimit

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	server "github.com/weftmesh/weft/controlserver/ratelimit"
	"github.com/weftmesh/weft/resilience"
)

// patience bounds what must not take so long.
const patience = 30 * time.Second

// servers are control servers at addresses, the first of which is in use.
type servers struct {
	addr  atomic.Pointer[string]
	dials atomic.Int32
}

func (s *servers) use(addr string) { s.addr.Store(&addr) }

func (s *servers) Server() string { return *s.addr.Load() }

func (s *servers) Dial(o ...grpc.DialOption) (*grpc.ClientConn, error) {
	s.dials.Add(1)
	return grpc.NewClient(s.Server(), append(o, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// serve serves on a free port, or on addr, and returns the address.
func serve(tb testing.TB, addr string, s rls.RateLimitServiceServer) (at string, stop func()) {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	g := grpc.NewServer()
	rls.RegisterRateLimitServiceServer(g, s)
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(ln) })
	stop = sync.OnceFunc(func() { g.Stop(); wg.Wait() })
	tb.Cleanup(stop)
	return ln.Addr().String(), stop
}

func limiter(tb testing.TB, addr string) (*Limiter, *servers) {
	tb.Helper()
	s := new(servers)
	s.use(addr)
	l := New(s)
	tb.Cleanup(func() { l.Close() })
	return l, s
}

// service is the control server's service, with a limit of so many an hour for each user.
func service(tb testing.TB, requests uint32) *server.Server {
	tb.Helper()
	s, err := server.New(server.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	s.Set([]server.Limit{{Domain: "d", Entries: []resilience.Entry{{Key: "user"}}, Requests: requests, Per: time.Hour}})
	return s
}

func user(name string) []resilience.Entry { return []resilience.Entry{{Key: "user", Value: name}} }

func take(tb testing.TB, l *Limiter, who string, tokens uint32) (granted uint32, holds time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	granted, holds, err := l.Take(ctx, "d", user(who), tokens)
	if err != nil {
		tb.Fatal(err)
	}
	return granted, holds
}

func TestTakesSharesOfWhatIsLeft(t *testing.T) {
	addr, _ := serve(t, "", service(t, 1000))
	l, _ := limiter(t, addr)
	var got []uint32
	total := uint32(0)
	for range 200 {
		n, holds := take(t, l, "a", 100)
		if holds < 50*time.Minute || holds > time.Hour {
			t.Fatalf("%d tokens hold %s", n, holds)
		}
		got = append(got, n)
		total += n
		if n == 0 {
			break
		}
	}
	if total != 1000 {
		t.Errorf("%d in all, want 1000: %v", total, got)
	}
	// The limit is not known, then there is much left, then less.
	if want := "[1 100 100 99 87 "; !strings.HasPrefix(fmt.Sprint(got), want) || len(got) > 60 {
		t.Errorf("%d times: %v, want %s...", len(got), got, want)
	}
	if n, _ := take(t, l, "b", 5); n != 1 {
		t.Errorf("%d of another limit", n)
	}
	if n, _ := take(t, l, "b", 5); n != 5 {
		t.Errorf("%d of another limit", n)
	}
}

func TestProcessesShare(t *testing.T) {
	addr, _ := serve(t, "", service(t, 500))
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		l, _ := limiter(t, addr)
		wg.Go(func() {
			for range 2000 {
				n, holds := take(t, l, "a", 100)
				total.Add(int64(n))
				if n == 0 && holds > soon {
					return
				}
			}
			t.Error("there is no end")
		})
	}
	wg.Wait()
	if n := total.Load(); n != 500 {
		t.Errorf("%d in all, want 500", n)
	}
}

func TestNoLimitIsNoLimit(t *testing.T) {
	addr, _ := serve(t, "", service(t, 5))
	l, _ := limiter(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if n, holds, err := l.Take(ctx, "another", user("a"), 100); n != 100 || holds != 0 || err != nil {
		t.Errorf("%d tokens, %s, %v", n, holds, err)
	}
}

// A script answers what the test says, and keeps what it was asked for.
type script struct {
	rls.UnimplementedRateLimitServiceServer

	answers []*rls.RateLimitResponse_DescriptorStatus
	asked   []uint32
}

func (s *script) ShouldRateLimit(_ context.Context, q *rls.RateLimitRequest) (*rls.RateLimitResponse, error) {
	s.asked = append(s.asked, q.GetHitsAddend())
	if len(s.answers) == 0 {
		return &rls.RateLimitResponse{OverallCode: rls.RateLimitResponse_OK}, nil
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	return &rls.RateLimitResponse{OverallCode: next.GetCode(), Statuses: []*rls.RateLimitResponse_DescriptorStatus{next}}, nil
}

func TestTakeFollowsTheAnswers(t *testing.T) {
	const ok, over = rls.RateLimitResponse_OK, rls.RateLimitResponse_OVER_LIMIT
	type st = rls.RateLimitResponse_DescriptorStatus
	says := func(c rls.RateLimitResponse_Code, left uint32, reset time.Duration) *st {
		return &st{Code: c, LimitRemaining: left, DurationUntilReset: durationpb.New(reset), CurrentLimit: &rls.RateLimitResponse_RateLimit{RequestsPerUnit: 800}}
	}
	for _, tc := range []struct {
		name    string
		answers []*st
		asked   string
		granted uint32
		holds   time.Duration // at most; so much to within patience
		err     string
	}{
		{"there is one", []*st{says(ok, 7, time.Hour)}, "[1]", 1, time.Hour, ""},
		{"there is none", []*st{says(over, 0, time.Hour)}, "[1]", 0, time.Hour, ""},
		{"some others take", []*st{says(over, 40, time.Hour), says(ok, 3, time.Hour)}, "[1 5]", 5, time.Hour, ""},
		{"others take it all", []*st{says(over, 40, time.Hour), says(over, 0, time.Hour)}, "[1 5]", 0, time.Hour, ""},
		{"others are always faster", []*st{says(over, 40, time.Hour), says(over, 16, time.Hour), says(over, 2, time.Hour)}, "[1 5 2]", 0, soon, ""},
		{"it ends soon", []*st{says(over, 40, soon/2), says(over, 16, soon/2), says(over, 2, soon/2)}, "", 0, soon / 2, ""},
		{"it ended on the way", []*st{says(ok, 3, time.Nanosecond)}, "[1]", 1, time.Nanosecond, ""},
		{"it does not say until when", []*st{says(ok, 3, 0)}, "[1]", 1, 0, ""},
		{"denied without a limit", []*st{{Code: over}}, "[1]", 0, 0, ""},
		{"no code", []*st{{}}, "[1]", 0, 0, "rate limits: the answer says nothing"},
		{"no status", nil, "[1]", 0, 0, "rate limits: the answer says nothing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &script{answers: tc.answers}
			addr, stop := serve(t, "", s)
			l, _ := limiter(t, addr)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			granted, holds, err := l.Take(ctx, "d", user("a"), 100)
			stop()
			if tc.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.err) {
					t.Errorf("%v, want %s", err, tc.err)
				}
				return
			}
			if err != nil || granted != tc.granted || holds > tc.holds || holds < min(tc.holds, max(tc.holds-patience, 1)) {
				t.Errorf("%d tokens, %s, %v", granted, holds, err)
			}
			if got := fmt.Sprint(s.asked); tc.asked != "" && got != tc.asked {
				t.Errorf("asked for %s, want %s", got, tc.asked)
			}
		})
	}
}

func TestConnectsWhenAskedAndOnce(t *testing.T) {
	addr, _ := serve(t, "", service(t, 5))
	l, s := limiter(t, addr)
	if n := s.dials.Load(); n != 0 {
		t.Errorf("%d connections before anybody asks", n)
	}
	for range 3 {
		take(t, l, "a", 1)
	}
	if n := s.dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	l.Close()
	if _, _, err := l.Take(t.Context(), "d", user("a"), 1); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after Close: %v", err)
	}
	unused, _ := limiter(t, addr)
	if err := unused.Close(); err != nil {
		t.Error(err)
	}
}

func TestServerThatHangs(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // it accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l, _ := limiter(t, ln.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := l.Take(ctx, "d", user("a"), 1); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v", err)
	}
}

func TestServerWithoutTheService(t *testing.T) {
	addr, _ := serve(t, "", rls.UnimplementedRateLimitServiceServer{})
	l, _ := limiter(t, addr)
	if _, _, err := l.Take(t.Context(), "d", user("a"), 1); status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}
}

// until asks until there is an answer.
func until(t *testing.T, l *Limiter) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, _, err := l.Take(ctx, "d", user("a"), 1)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestServerComesBack(t *testing.T) {
	addr, stop := serve(t, "", service(t, 5))
	l, s := limiter(t, addr)
	take(t, l, "a", 1)
	stop()
	if _, _, err := l.Take(t.Context(), "d", user("a"), 1); status.Code(err) != codes.Unavailable {
		t.Errorf("while it is gone: %v", err)
	}
	serve(t, addr, service(t, 5))
	until(t, l)
	if n := s.dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestFollowsTheConfigurationToAnotherServer(t *testing.T) {
	first, stop := serve(t, "", service(t, 5))
	second, _ := serve(t, "", service(t, 5))
	l, s := limiter(t, first)
	take(t, l, "a", 1)
	stop()
	s.use(second)
	until(t, l)
	if n := s.dials.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestLevelsAreBounded(t *testing.T) {
	var l levels
	now := time.Now()
	for i := range 3 * most {
		l.learn(fmt.Sprint(i), level{800, 800, now.Add(time.Minute)})
	}
	if n := len(l.heard); n != most {
		t.Errorf("%d are remembered, want %d", n, most)
	}
	last := fmt.Sprint(3*most - 1)
	l.learn(last, level{0, 80, now.Add(time.Minute)})
	for after, want := range map[time.Duration]uint32{0: 1, time.Minute: 10} {
		if got := l.share(last, now.Add(after), 100); got != want {
			t.Errorf("%s later: %d, want %d", after, got, want)
		}
	}
}

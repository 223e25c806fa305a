package interop

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	descriptor "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/controlserver/ratelimit"
	"github.com/weftmesh/weft/resilience"
)

// A limited is our rate limit service.
type limited struct {
	*ratelimit.Server
	log *syncBuffer
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startLimits starts the service with a limit of so many requests for each user.
func startLimits(tb testing.TB, store string, requests uint32, per time.Duration) limited {
	tb.Helper()
	return startLimitsIn(tb, ratelimit.Config{Store: store, Timeout: patience}, requests, per)
}

func startLimitsIn(tb testing.TB, cfg ratelimit.Config, requests uint32, per time.Duration) limited {
	tb.Helper()
	l := limited{log: new(syncBuffer)}
	cfg.Logger = slog.New(slog.NewTextHandler(l.log, nil))
	var err error
	if l.Server, err = ratelimit.New(cfg); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	l.Set([]ratelimit.Limit{{Name: "each", Domain: "d", Entries: []resilience.Entry{{Key: "user"}}, Requests: requests, Per: per}})
	return l
}

func ofUser(who string, hits int64) *descriptor.RateLimitDescriptor {
	d := &descriptor.RateLimitDescriptor{Entries: []*descriptor.RateLimitDescriptor_Entry{{Key: "user", Value: who}}}
	d.HitsAddend = wrapperspb.UInt64(uint64(max(hits, -hits)))
	d.IsNegativeHits = hits < 0
	return d
}

func (l limited) ask(ds ...*descriptor.RateLimitDescriptor) (*rls.RateLimitResponse, error) {
	return l.ShouldRateLimit(context.Background(), &rls.RateLimitRequest{Domain: "d", Descriptors: ds})
}

// one asks for one user, and is "OK 3" or "OVER_LIMIT 0".
func (l limited) one(who string, hits int64) string {
	a, err := l.ask(ofUser(who, hits))
	if err != nil {
		return status.Code(err).String()
	}
	return fmt.Sprintf("%s %d", a.GetOverallCode(), a.GetStatuses()[0].GetLimitRemaining())
}

func says(tb testing.TB, what, got, want string) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: %q, want %q", what, got, want)
	}
}

// What memory answers, Redis does.
func TestRedisCountsAsMemoryDoes(t *testing.T) {
	r := startRedis(t, false)
	memory, redis := startLimits(t, "", 20, time.Hour), startLimits(t, "redis://"+r.addr+"/3", 20, time.Hour)
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 0))
	for i := range 2000 {
		ds := make([]*descriptor.RateLimitDescriptor, 1+chance.IntN(3))
		for j := range ds {
			ds[j] = ofUser(fmt.Sprint(chance.IntN(20)), int64(chance.IntN(12)-4))
		}
		want, err := memory.ask(ds...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := redis.ask(ds...)
		if err != nil {
			t.Fatal(err)
		}
		for j, w := range want.GetStatuses() {
			g := got.GetStatuses()[j]
			drift := w.GetDurationUntilReset().AsDuration() - g.GetDurationUntilReset().AsDuration()
			if g.GetCode() != w.GetCode() || g.GetLimitRemaining() != w.GetLimitRemaining() || drift.Abs() > time.Minute || got.GetOverallCode() != want.GetOverallCode() {
				t.Fatalf("seed %d, request %d, %v: %v, want %v", seed, i, ds, got, want)
			}
		}
		if i == 1000 { // another limit of the same windows
			for _, l := range []limited{memory, redis} {
				l.Set([]ratelimit.Limit{{Name: "each", Domain: "d", Entries: []resilience.Entry{{Key: "user"}}, Requests: 10, Per: time.Hour}})
			}
		}
	}
}

func TestRedisIsSharedByServers(t *testing.T) {
	r := startRedis(t, false)
	var given atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		l := startLimits(t, "redis://"+r.addr, 1000, time.Hour)
		for g := range 4 {
			wg.Go(func() {
				for range 200 {
					hits := int64(g%3 + 1)
					if strings.HasPrefix(l.one("a", hits), "OK") {
						given.Add(hits)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := given.Load(); n != 1000 {
		t.Errorf("%d were given, want 1000", n)
	}
}

func TestRedisEndsWindows(t *testing.T) {
	r := startRedis(t, false)
	l := startLimits(t, "redis://"+r.addr, 2, 1500*time.Millisecond)
	says(t, "both", l.one("a", 2), "OK 0")
	a, err := l.ask(ofUser("a", 0))
	if err != nil {
		t.Fatal(err)
	}
	if got := a.GetStatuses()[0].GetDurationUntilReset().AsDuration(); got <= 0 || got > 1500*time.Millisecond {
		t.Errorf("it ends in %s", got)
	}
	if !eventually(func() bool { return l.one("a", 2) == "OK 0" }) {
		t.Error("the window does not end")
	}
}

// A Redis that was restarted knows neither script nor counts.
func TestRedisComesBack(t *testing.T) {
	r := startRedis(t, false)
	l := startLimits(t, "redis://"+r.addr, 2, time.Hour)
	says(t, "at first", l.one("a", 2), "OK 0")
	r.stop()
	says(t, "while it is gone", l.one("a", 1), "Unavailable")
	if a, err := l.ShouldRateLimit(t.Context(), &rls.RateLimitRequest{
		Domain: "another", Descriptors: []*descriptor.RateLimitDescriptor{ofUser("a", 1)},
	}); err != nil || a.GetOverallCode() != rls.RateLimitResponse_OK {
		t.Errorf("what has no limit: %v, %v", a, err)
	}
	r.start(t)
	if !eventually(func() bool { return l.one("a", 2) == "OK 0" }) {
		t.Error("it is not asked again")
	}
	for _, text := range []string{"cannot be asked", "answers again"} {
		if n := strings.Count(l.log.String(), text); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", text, n, l.log)
		}
	}
}

func TestRedisThatComesLater(t *testing.T) {
	r := startRedis(t, false)
	r.stop()
	l := startLimits(t, "redis://"+r.addr, 2, time.Hour)
	says(t, "before", l.one("a", 1), "Unavailable")
	r.start(t)
	if !eventually(func() bool { return l.one("a", 2) == "OK 0" }) {
		t.Error("it is not asked again")
	}
}

func TestRedisThatHangs(t *testing.T) {
	r := startRedis(t, false)
	l := startLimitsIn(t, ratelimit.Config{Store: "redis://" + r.addr, Timeout: 200 * time.Millisecond}, 5, time.Hour)
	if !eventually(func() bool { return l.one("a", 0) == "OK 5" }) {
		t.Fatal("it is not asked")
	}
	resume := r.hang(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { says(t, "while it hangs", l.one("a", 1), "Unavailable") })
	}
	wg.Wait()
	resume()
	if !eventually(func() bool { return strings.HasPrefix(l.one("b", 1), "OK") }) {
		t.Error("it is not asked again")
	}
}

func TestRedisPassword(t *testing.T) {
	const secret = "hush/hush #1"
	r := startRedis(t, false, "--requirepass", secret, "--user", "weft", "on", ">acl", "~weft:*", "+@all")
	for _, tc := range []struct {
		name, user, want string
	}{
		{"password", url.UserPassword("", secret).String() + "@", "OK 1"},
		{"user", "weft:acl@", "OK 1"},
		{"wrong", ":hushhush@", "Unavailable"},
		{"wrong user", "hush:hushhush@", "Unavailable"},
		{"none", "", "Unavailable"},
	} {
		l := startLimits(t, "redis://"+tc.user+r.addr, 2, time.Hour)
		says(t, tc.name, l.one(tc.name, 1), tc.want)
		if strings.Contains(l.log.String(), "hush") || (tc.want == "Unavailable") != strings.Contains(l.log.String(), r.addr) {
			t.Errorf("%s: logged: %s", tc.name, l.log)
		}
	}
}

func TestRedisBehindTLS(t *testing.T) {
	cert, key := certificate(t)
	other, _ := certificate(t)
	r := startRedis(t, true, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	for address, want := range map[string]string{
		"rediss://" + r.addr + "/1?ca=" + url.QueryEscape(cert):  "OK 1",
		"rediss://" + r.addr + "/1?ca=" + url.QueryEscape(other): "Unavailable",
		"rediss://" + r.addr + "/1":                              "Unavailable",
		"redis://" + r.addr + "/1":                               "Unavailable",
	} {
		says(t, address, startLimits(t, address, 2, time.Hour).one("a", 1), want)
	}
}

// What header values were, Redis does not say.
func TestRedisHoldsNoValues(t *testing.T) {
	r := startRedis(t, false)
	l := startLimits(t, "redis://"+r.addr, 2, time.Hour)
	says(t, "one", l.one("hushhush", 1), "OK 1")
	keys := r.ask(t, "KEYS *")
	if !strings.Contains(keys, "weft:ratelimit:") || strings.Contains(keys, "hush") {
		t.Errorf("its keys are %s", keys)
	}
}

// BenchmarkRateLimitStore is without gRPC: a key that all ask for, and many.
func BenchmarkRateLimitStore(b *testing.B) {
	r := startRedis(b, false)
	for _, store := range []string{"", "redis://" + r.addr} {
		for _, keys := range []int{1, 50_000} {
			name, _, _ := strings.Cut(store, ":")
			b.Run(fmt.Sprintf("store=%s/keys=%d", name, keys), func(b *testing.B) {
				l := startLimits(b, store, 1<<31, time.Hour)
				requests := make([]*rls.RateLimitRequest, keys)
				for i := range requests {
					requests[i] = &rls.RateLimitRequest{Domain: "d", Descriptors: []*descriptor.RateLimitDescriptor{ofUser(fmt.Sprint(i), 1)}}
				}
				var next atomic.Uint64
				b.SetParallelism(32)
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					i := next.Add(1) * 7919
					for pb.Next() {
						i++
						if _, err := l.ShouldRateLimit(context.Background(), requests[i%uint64(keys)]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

package ratelimit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	descriptor "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
)

// entries are of "key=value key=value".
func entries(text string) (out []resilience.Entry) {
	for pair := range strings.FieldsSeq(text) {
		k, v, _ := strings.Cut(pair, "=")
		out = append(out, resilience.Entry{Key: k, Value: v})
	}
	return out
}

func describe(text string) *descriptor.RateLimitDescriptor {
	d := new(descriptor.RateLimitDescriptor)
	for _, e := range entries(text) {
		d.Entries = append(d.Entries, &descriptor.RateLimitDescriptor_Entry{Key: e.Key, Value: e.Value})
	}
	return d
}

func start(tb testing.TB, cfg Config, all ...Limit) *Server {
	tb.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	s.Set(all)
	return s
}

// ask returns the statuses as "ok 9/10" or "over 0/10", "none" without a limit, after the overall code.
func ask(tb testing.TB, s *Server, domain string, hits uint32, descriptors ...string) string {
	tb.Helper()
	q := &rls.RateLimitRequest{Domain: domain, HitsAddend: hits}
	for _, d := range descriptors {
		q.Descriptors = append(q.Descriptors, describe(d))
	}
	return answer(tb, s, q)
}

func answer(tb testing.TB, s *Server, q *rls.RateLimitRequest) string {
	tb.Helper()
	a, err := s.ShouldRateLimit(tb.Context(), q)
	if err != nil {
		tb.Fatal(err)
	}
	words := map[rls.RateLimitResponse_Code]string{rls.RateLimitResponse_OK: "ok", rls.RateLimitResponse_OVER_LIMIT: "over"}
	out := words[a.GetOverallCode()] + ":"
	for _, st := range a.GetStatuses() {
		if st.GetCurrentLimit() == nil {
			out += " " + strings.Replace(words[st.GetCode()], "ok", "none", 1)
			continue
		}
		out += fmt.Sprintf(" %s %d/%d", words[st.GetCode()], st.GetLimitRemaining(), st.GetCurrentLimit().GetRequestsPerUnit())
	}
	return out
}

func says(tb testing.TB, what, got, want string) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: %q, want %q", what, got, want)
	}
}

var hour = time.Hour

func TestFindsTheLimitOfADescriptor(t *testing.T) {
	limit := func(name, domain, of string) Limit {
		return Limit{Name: name, Domain: domain, Entries: entries(of), Requests: 1, Per: hour}
	}
	all := newLimits([]Limit{
		limit("each a", "d", "a"),
		limit("a is 1", "d", "a=1"),
		limit("a is 1, b", "d", "a=1 b"),
		limit("a, b is 2", "d", "a b=2"),
		limit("a, b, c", "d", "a b c"),
		limit("first", "d", "twice=1"),
		limit("second", "d", "twice=1"),
		limit("elsewhere", "e", "a=1"),
		limit("no entries", "f", ""),
	})
	for _, tc := range []struct{ domain, of, want string }{
		{"d", "a=1", "a is 1"},
		{"d", "a=2", "each a"},
		{"d", "a=", "each a"},
		{"d", "A=1", ""},
		{"d", "a=1 b=1", "a is 1, b"},
		{"d", "a=1 b=2", "a is 1, b"}, // the earliest entry first
		{"d", "a=2 b=2", "a, b is 2"},
		{"d", "a=2 b=1", ""},
		{"d", "b=2 a=2", ""}, // the order counts
		{"d", "a=1 b=2 c=3", "a, b, c"},
		{"d", "a=1 b=2 c=3 d=4", ""},
		{"d", "twice=1", "second"},
		{"e", "a=1", "elsewhere"},
		{"e", "a=2", ""},
		{"g", "a=1", ""},
	} {
		got := ""
		if l := all.find(tc.domain, describe(tc.of).GetEntries()); l != nil {
			got = l.Name
		}
		says(t, tc.domain+": "+tc.of, got, tc.want)
	}
}

func TestCountsDescriptorsEachByItself(t *testing.T) {
	s := start(t, Config{},
		Limit{Name: "each user", Domain: "d", Entries: entries("user"), Requests: 2, Per: hour},
		Limit{Name: "all", Domain: "d", Entries: entries("all=1"), Requests: 10, Per: hour},
		Limit{Name: "none", Domain: "d", Entries: entries("none=1"), Requests: 0, Per: hour},
		Limit{Name: "elsewhere", Domain: "e", Entries: entries("all=1"), Requests: 1, Per: hour},
	)
	for i, tc := range []struct {
		domain      string
		hits        uint32
		descriptors []string
		want        string
	}{
		{"d", 0, []string{"user=a", "all=1"}, "ok: ok 1/2 ok 9/10"},
		{"d", 1, []string{"user=a", "all=1"}, "ok: ok 0/2 ok 8/10"},
		{"d", 1, []string{"user=a", "all=1"}, "over: over 0/2 ok 7/10"}, // what is not over is counted all the same
		{"d", 1, []string{"user=b"}, "ok: ok 1/2"},
		{"d", 1, []string{"user=c user=d"}, "ok: none"},
		{"e", 1, []string{"all=1"}, "ok: ok 0/1"},
		{"e", 1, []string{"all=1"}, "over: over 0/1"},
		{"d", 8, []string{"all=1"}, "over: over 7/10"}, // nothing is counted of what does not fit whole
		{"d", 7, []string{"all=1"}, "ok: ok 0/10"},
		{"d", 11, []string{"all=1"}, "over: over 0/10"},
		{"d", 3, []string{"user=d"}, "over: over 2/2"},
		{"d", 1, []string{"none=1"}, "over: over 0/0"},
		{"d", 1, []string{"unknown=1", "user=b"}, "ok: none ok 0/2"},
		{"unknown", 1, []string{"all=1"}, "ok: none"},
		{"d", 2, []string{"user=e", "user=e"}, "over: ok 0/2 over 0/2"},
	} {
		says(t, fmt.Sprintf("%d: %v", i, tc.descriptors), ask(t, s, tc.domain, tc.hits, tc.descriptors...), tc.want)
	}
}

func TestDescriptorsHaveHitsOfTheirOwn(t *testing.T) {
	s := start(t, Config{}, Limit{Domain: "d", Entries: entries("a"), Requests: 10, Per: hour})
	hits := func(n uint64, back bool) string {
		d := describe("a=1")
		d.HitsAddend, d.IsNegativeHits = wrapperspb.UInt64(n), back
		return answer(t, s, &rls.RateLimitRequest{Domain: "d", HitsAddend: 9, Descriptors: []*descriptor.RateLimitDescriptor{d}})
	}
	says(t, "give back what nobody had", hits(3, true), "ok: ok 10/10")
	says(t, "four", hits(4, false), "ok: ok 6/10")
	says(t, "look", hits(0, false), "ok: ok 6/10")
	says(t, "give back", hits(2, true), "ok: ok 8/10")
	says(t, "give back too much", hits(1<<40, true), "ok: ok 10/10")
	says(t, "all", hits(10, false), "ok: ok 0/10")
	says(t, "look at nothing", hits(0, false), "ok: ok 0/10")
	says(t, "too much", hits(1<<63, false), "over: over 0/10")
}

func TestWindowBeginsWithItsFirstRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{}, Limit{Domain: "d", Entries: entries("a"), Requests: 2, Per: time.Minute})
		reset := func() time.Duration {
			a, err := s.ShouldRateLimit(t.Context(), &rls.RateLimitRequest{Domain: "d", Descriptors: []*descriptor.RateLimitDescriptor{describe("a=1")}})
			if err != nil {
				t.Fatal(err)
			}
			return a.GetStatuses()[0].GetDurationUntilReset().AsDuration()
		}
		time.Sleep(25 * time.Second)
		if got := reset(); got != time.Minute {
			t.Errorf("the first window ends in %s", got)
		}
		time.Sleep(40 * time.Second)
		if got := reset(); got != 20*time.Second {
			t.Errorf("40 s on it ends in %s", got)
		}
		says(t, "a third", ask(t, s, "d", 1, "a=1"), "over: over 0/2")
		time.Sleep(20*time.Second - 1)
		says(t, "the moment before", ask(t, s, "d", 1, "a=1"), "over: over 0/2")
		time.Sleep(time.Nanosecond)
		says(t, "more than there will ever be begins no window", ask(t, s, "d", 3, "a=1"), "over: over 2/2")
		time.Sleep(5 * time.Second)
		if got := reset(); got != time.Minute {
			t.Errorf("the next window ends in %s", got)
		}
	})
}

func TestSetKeepsCounts(t *testing.T) {
	limit := Limit{Domain: "d", Entries: entries("a=1"), Requests: 10, Per: hour}
	s := start(t, Config{}, limit)
	says(t, "at first", ask(t, s, "d", 4, "a=1"), "ok: ok 6/10")
	limit.Requests = 3
	s.Set([]Limit{limit})
	says(t, "lowered", ask(t, s, "d", 1, "a=1"), "over: over 0/3")
	limit.Requests = 20
	s.Set([]Limit{limit})
	says(t, "raised", ask(t, s, "d", 1, "a=1"), "ok: ok 15/20")
	limit.Per = time.Minute
	s.Set([]Limit{limit})
	says(t, "of another length", ask(t, s, "d", 1, "a=1"), "ok: ok 19/20")
	s.Set(nil)
	says(t, "gone", ask(t, s, "d", 1, "a=1"), "ok: none")
}

func TestSaysTheLimitInItsUnits(t *testing.T) {
	for per, want := range map[time.Duration]string{
		time.Second:             "SECOND",
		90 * time.Second:        "SECOND x 90",
		time.Minute:             "MINUTE",
		2 * time.Hour:           "HOUR x 2",
		7 * 24 * time.Hour:      "DAY x 7",
		1500 * time.Millisecond: "UNKNOWN",
	} {
		l := currentOf(Limit{Name: "n", Requests: 5, Per: per})
		got := l.GetUnit().String()
		if m := l.GetUnitMultiplier(); m != nil {
			got += fmt.Sprintf(" x %d", m.GetValue())
		}
		if got != want || l.GetName() != "n" || l.GetRequestsPerUnit() != 5 {
			t.Errorf("%s is %v, want %s", per, l, want)
		}
	}
}

func TestRefusesBadRequests(t *testing.T) {
	s := start(t, Config{}, Limit{Domain: "d", Entries: entries("a"), Requests: 3, Per: hour})
	long := func(n int) string { return strings.Repeat("x", n) }
	entry := func(key, value string) *rls.RateLimitRequest {
		return &rls.RateLimitRequest{Domain: "d", Descriptors: []*descriptor.RateLimitDescriptor{
			describe("a=1"), {Entries: []*descriptor.RateLimitDescriptor_Entry{{Key: "b"}, {Key: key, Value: value}}},
		}}
	}
	many := func(descriptors, entries int) *rls.RateLimitRequest {
		q := &rls.RateLimitRequest{Domain: "d"}
		for range descriptors {
			q.Descriptors = append(q.Descriptors, describe(strings.Repeat("k=v ", entries)))
		}
		return q
	}
	for _, tc := range []struct {
		q    *rls.RateLimitRequest
		want string // empty: it is good
	}{
		{nil, "domain: empty"},
		{&rls.RateLimitRequest{}, "domain: empty"},
		{&rls.RateLimitRequest{Domain: long(1025)}, "domain: 1025 bytes, more than the limit of 1024"},
		{&rls.RateLimitRequest{Domain: "d"}, "descriptors: empty"},
		{many(65, 1), "descriptors: 65, more than the limit of 64"},
		{many(64, 32), ""},
		{many(3, 33), "descriptors[0].entries: 33, more than the limit of 32"},
		{&rls.RateLimitRequest{Domain: "d", Descriptors: []*descriptor.RateLimitDescriptor{nil}}, "descriptors[0].entries: empty"},
		{entry("", "v"), "descriptors[1].entries[1].key: empty"},
		{entry(long(1025), "v"), "descriptors[1].entries[1].key: 1025 bytes, more than the limit of 1024"},
		{entry("c", long(128<<10+1)), "descriptors[1].entries[1].value: 131073 bytes, more than the limit of 131072"},
		{entry("c", long(128<<10)), ""},
		{entry("c", ""), ""},
	} {
		_, err := s.ShouldRateLimit(t.Context(), tc.q)
		if got := status.Convert(err); tc.want == "" && err != nil || tc.want != "" && (got.Code() != codes.InvalidArgument || got.Message() != tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
	}
	says(t, "only the good ones were counted", ask(t, s, "d", 1, "a=1"), "ok: ok 0/3")
}

func TestKeysDiffer(t *testing.T) {
	seen := map[key]string{}
	for _, tc := range []struct {
		domain, of string
		per        time.Duration
	}{
		{"d", "a=1", hour},
		{"d", "a=1", time.Minute},
		{"e", "a=1", hour},
		{"d", "a=2", hour},
		{"d", "a1=", hour},
		{"d", "a= 1=", hour},
		{"da", "=1", hour},
		{"d", "a=1 b=1", hour},
	} {
		k := keyOf(tc.domain, tc.per, describe(tc.of).GetEntries())
		if other, ok := seen[k]; ok {
			t.Errorf("%v has the key of %s", tc, other)
		}
		seen[k] = fmt.Sprint(tc)
	}
}

func TestStoreThatIsAway(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	var logged bytes.Buffer
	s := start(t, Config{Store: "redis://who:hush-hush@" + addr + "/2", Logger: slog.New(slog.NewTextHandler(&logged, nil))},
		Limit{Domain: "d", Entries: entries("a"), Requests: 1, Per: hour})
	for range 2 {
		_, err = s.ShouldRateLimit(context.Background(), &rls.RateLimitRequest{Domain: "d", Descriptors: []*descriptor.RateLimitDescriptor{describe("a=1")}})
		if got := status.Convert(err); got.Code() != codes.Unavailable || strings.Contains(got.Message(), addr) {
			t.Errorf("%v", err)
		}
	}
	says(t, "what has no limit asks nobody", ask(t, s, "d", 1, "b=1"), "ok: none")
	text := logged.String()
	if n := strings.Count(text, "level=ERROR"); n != 1 {
		t.Errorf("%d errors are logged", n)
	}
	if !strings.Contains(text, addr) || strings.Contains(text, "hush") {
		t.Errorf("logged: %s", text)
	}
}

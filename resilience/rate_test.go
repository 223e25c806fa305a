package resilience

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestRateOfTheBucket(t *testing.T) {
	r := &Rate{TokenBucket: TokenBucket{MaxTokens: 5, TokensPerFill: 2, FillInterval: 100 * ms}, Headers: true}
	var l RateLimiter
	allowed := func(at time.Duration) (n int) {
		for {
			if _, ok := l.Allow(r, nil, start.Add(at)); !ok {
				return n
			}
			n++
		}
	}
	for _, tc := range []struct {
		at   time.Duration
		want int
	}{{0, 5}, {49 * ms, 0}, {50 * ms, 1}, {150 * ms, 2}, {time.Hour, 5}} {
		if got := allowed(tc.at); got != tc.want {
			t.Errorf("at %v: %d, want %d", tc.at, got, tc.want)
		}
	}
	level, _ := l.Allow(r, nil, start.Add(time.Hour+60*ms))
	if level.Limit != 5 || level.Remaining != 0 || level.Reset < 230*ms || level.Reset > 250*ms {
		t.Errorf("%+v", level)
	}
}

func TestRateByDescriptor(t *testing.T) {
	bucket := func(n uint32) TokenBucket { return TokenBucket{MaxTokens: n, FillInterval: time.Hour} }
	r := &Rate{TokenBucket: bucket(2), Descriptors: []DescriptorRate{
		{[]Entry{{"caller", "web"}, {"method", "POST"}}, bucket(1)},
		{[]Entry{{"tenant", ""}}, bucket(3)},
	}}
	always := *r
	always.AlwaysBucket = true
	for _, tc := range []struct {
		name    string
		r       *Rate
		entries []Entry
		want    int
	}{
		{"no entries", r, nil, 2},
		{"others", r, []Entry{{"caller", "batch"}, {"method", "POST"}}, 2},
		{"half of them", r, []Entry{{"caller", "web"}}, 2},
		{"both", r, []Entry{{"method", "POST"}, {"caller", "web"}}, 1},
		{"a tenant", r, []Entry{{"tenant", "a"}}, 3},
		{"all that fit", r, []Entry{{"tenant", "a"}, {"method", "POST"}, {"caller", "web"}}, 1},
		{"the common bucket, too", &always, []Entry{{"tenant", "a"}}, 2},
		{"nothing is configured", &Rate{}, nil, 100},
	} {
		var l RateLimiter
		got := 0
		for ; got < 100; got++ {
			if _, ok := l.Allow(tc.r, tc.entries, start); !ok {
				break
			}
		}
		if got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
	// One tenant's calls are nobody else's business.
	var l RateLimiter
	for range 10 {
		l.Allow(r, []Entry{{"tenant", "a"}}, start)
	}
	if _, ok := l.Allow(r, []Entry{{"tenant", "b"}}, start); !ok {
		t.Error("tenant b pays for tenant a")
	}
}

func TestRateSurvivesAnUpdateThatChangesNothing(t *testing.T) {
	mk := func(n uint32) *Rate { return &Rate{TokenBucket: TokenBucket{MaxTokens: n, FillInterval: time.Hour}} }
	var l RateLimiter
	l.Allow(mk(1), nil, start)
	if _, ok := l.Allow(mk(1), nil, start); ok {
		t.Error("the same limit under another address is full again")
	}
	if _, ok := l.Allow(mk(2), nil, start); !ok {
		t.Error("another limit is not in force")
	}
}

func TestRateKeepsABoundedNumberOfKeys(t *testing.T) {
	r := &Rate{MaxKeys: 16, Descriptors: []DescriptorRate{{[]Entry{{"tenant", ""}}, TokenBucket{MaxTokens: 1, FillInterval: time.Hour}}}}
	var l RateLimiter
	for i := range 10_000 {
		if _, ok := l.Allow(r, []Entry{{"tenant", fmt.Sprint(i)}}, start.Add(time.Duration(i))); !ok {
			t.Fatalf("tenant %d has no bucket", i)
		}
	}
	if n := l.current.Load().each[0].size(); n != 16 {
		t.Errorf("%d keys", n)
	}
}

func TestKeyedForgetsWhatWasLongNotAskedFor(t *testing.T) {
	k := newKeyed[int](1) // one set
	for i := range uint64(ways) {
		k.put(i, int64(i), int(i))
	}
	k.find(0, 100)
	k.put(99, 101, 99)
	for key, want := range map[uint64]bool{0: true, 1: false, 2: true, 99: true} {
		if got := k.find(key, 102) != nil; got != want {
			t.Errorf("%d: kept %v", key, got)
		}
	}
	if k.put(99, 103, 7); *k.find(99, 104) != 7 {
		t.Error("a key that is put again keeps its old value")
	}
}

func TestKeyedUnderContention(t *testing.T) {
	k := newKeyed[uint64](32)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(5000) {
				key := (i * (g + 1)) % 50
				if v := k.find(key, int64(i)); v == nil {
					k.put(key, int64(i), key)
				} else if *v != key {
					t.Errorf("%d under %d", *v, key)
				}
			}
		})
	}
	wg.Wait()
}

func TestRateAllocatesNothing(t *testing.T) {
	bucket := TokenBucket{MaxTokens: 1 << 30, FillInterval: time.Second}
	r := &Rate{TokenBucket: bucket, AlwaysBucket: true, Headers: true, Descriptors: []DescriptorRate{
		{[]Entry{{"method", "POST"}}, bucket}, {[]Entry{{"tenant", ""}}, bucket},
	}}
	var l RateLimiter
	ceiling(t, "a rate limit by descriptors", 0, func() {
		l.Allow(r, []Entry{{"method", "POST"}, {"tenant", "a"}}, start)
	})
}

// Those who come at once with a key that is new share what is kept for it: a burst has one bucket.
func TestKeysThatComeAtOnceAreOne(t *testing.T) {
	for range 200 {
		k := newKeyed[*int](8)
		var got [8]*int
		var start, wg sync.WaitGroup
		start.Add(1)
		for i := range got {
			wg.Go(func() {
				start.Wait()
				got[i] = *k.join(7, 1, new(int))
			})
		}
		start.Done()
		wg.Wait()
		for _, p := range got {
			if p != got[0] {
				t.Fatal("two have one of their own")
			}
		}
	}
}

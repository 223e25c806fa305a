package resilience

import (
	"hash/maphash"
	"reflect"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A TokenBucket is a rate of calls and the burst above it (Envoy token_bucket). Tokens come
// back evenly over FillInterval, not all at its end.
type TokenBucket struct {
	MaxTokens     uint32        // what it holds, and holds at first
	TokensPerFill uint32        // what comes back in each FillInterval; 0 means 1 (Envoy)
	FillInterval  time.Duration // at least 50 ms (Envoy)
}

// A Rate limits calls of this process (Envoy local_ratelimit).
type Rate struct {
	// TokenBucket bounds all calls together that no descriptor bounds.
	TokenBucket
	// Descriptors bound calls of a kind; each that fits is asked, in order.
	Descriptors []DescriptorRate
	// MaxKeys bounds how many values are told apart by descriptors without a
	// value, each descriptor by itself; 0 means 1024. The value that was not seen longest is forgotten, and has
	// a full bucket when it comes again.
	MaxKeys int
	// AlwaysBucket asks the common bucket as well for calls that a descriptor fits
	// (Envoy always_consume_default_token_bucket).
	AlwaysBucket bool
	// Headers says that callers are told how much is left (Envoy enable_x_ratelimit_headers).
	Headers bool
	// Status is the HTTP status of a server's refusals; 0 means 429 (Envoy status).
	Status int
	// Added are headers of a server's refusals, with names in lower case (Envoy response_headers_to_add).
	Added []Entry
}

// A DescriptorRate is a bucket for calls that have all of the entries. If an entry has no
// Value, each value there is has a bucket of its own (Envoy's dynamic descriptors): a quota per caller, for one.
type DescriptorRate struct {
	Entries []Entry
	TokenBucket
}

// An Entry is a fact about a call that limits may turn on, such as a header's value or the caller's identity.
type Entry struct{ Key, Value string }

// A Level is what RateLimit headers tell of the bucket that has least left
// (RateLimit-Limit, -Remaining, -Reset).
type Level struct {
	Limit, Remaining uint32
	Reset            time.Duration // until the bucket is full; the header has seconds, rounded up
}

// RateLimiter is the live side of a Rate.
type RateLimiter struct{ current atomic.Pointer[buckets] }

type buckets struct {
	rate   *Rate
	common *rate.Limiter
	fixed  []*rate.Limiter         // by descriptor; nil if it has one bucket for each value
	each   []*keyed[*rate.Limiter] // by descriptor; nil if it has one bucket
}

// Allow takes a token from each bucket that the call of these entries falls into, and reports whether all
// had one. With r.Headers, level is of the bucket that refused, or of the one that has least left; it is
// zero if none was asked. A Rate that differs from the last begins with full buckets. r is not modified while it is in use.
func (l *RateLimiter) Allow(r *Rate, entries []Entry, now time.Time) (level Level, ok bool) {
	b := l.current.Load()
	for b == nil || b.rate != r {
		next := b.with(r)
		if l.current.CompareAndSwap(b, next) {
			b = next
		} else {
			b = l.current.Load()
		}
	}
	fits := false
	for i := range r.Descriptors {
		d := &r.Descriptors[i]
		limiter := b.fixed[i]
		if limiter == nil {
			key, has := d.key(b.each[i].seed, entries)
			if !has {
				continue
			}
			limiter = b.bucket(i, key, now)
		} else if !d.fits(entries) {
			continue
		}
		fits = true
		if !r.take(&level, limiter, d.TokenBucket, now) {
			return level, false
		}
	}
	if (!fits || r.AlwaysBucket) && r.MaxTokens > 0 && !r.take(&level, b.common, r.TokenBucket, now) {
		return level, false
	}
	return level, true
}

// take takes a token, and keeps in level what the emptiest bucket so far has left.
func (r *Rate) take(level *Level, l *rate.Limiter, b TokenBucket, now time.Time) bool {
	ok := l.AllowN(now, 1)
	if !r.Headers {
		return ok
	}
	left := max(l.TokensAt(now), 0)
	if !ok || level.Limit == 0 || uint32(left) < level.Remaining {
		missing := max(float64(b.MaxTokens)-left, 0)
		*level = Level{b.MaxTokens, uint32(left), time.Duration(missing / float64(b.limit()) * float64(time.Second))}
	}
	return ok
}

// bucket is the bucket of descriptor i for a key.
func (b *buckets) bucket(i int, key uint64, now time.Time) *rate.Limiter {
	at := now.UnixNano()
	if l := b.each[i].find(key, at); l != nil {
		return *l
	}
	return *b.each[i].join(key, at, b.rate.Descriptors[i].limiter())
}

// with is the buckets of r: the same, if r is the same but for its address.
func (b *buckets) with(r *Rate) *buckets {
	if b != nil && reflect.DeepEqual(b.rate, r) {
		return &buckets{r, b.common, b.fixed, b.each}
	}
	return newBuckets(r)
}

func newBuckets(r *Rate) *buckets {
	b := &buckets{rate: r, common: r.limiter(), fixed: make([]*rate.Limiter, len(r.Descriptors)), each: make([]*keyed[*rate.Limiter], len(r.Descriptors))}
	size := r.MaxKeys
	if size <= 0 {
		size = 1024
	}
	for i := range r.Descriptors {
		if d := &r.Descriptors[i]; d.dynamic() {
			b.each[i] = newKeyed[*rate.Limiter](size)
		} else {
			b.fixed[i] = d.limiter()
		}
	}
	return b
}

func (b TokenBucket) limiter() *rate.Limiter { return rate.NewLimiter(b.limit(), int(b.MaxTokens)) }

// limit is in tokens a second.
func (b TokenBucket) limit() rate.Limit {
	return rate.Limit(float64(max(b.TokensPerFill, 1)) / max(b.FillInterval, 1).Seconds())
}

func (d *DescriptorRate) dynamic() bool {
	for _, e := range d.Entries {
		if e.Value == "" {
			return true
		}
	}
	return false
}

// fits reports whether the call has all entries of d.
func (d *DescriptorRate) fits(of []Entry) bool {
	for _, e := range d.Entries {
		if v, ok := valueOf(of, e.Key); !ok || v != e.Value {
			return false
		}
	}
	return true
}

// key is the hash of the call's values where d has none; not ok if the call lacks an entry.
func (d *DescriptorRate) key(seed maphash.Seed, of []Entry) (key uint64, ok bool) {
	for _, e := range d.Entries {
		v, has := valueOf(of, e.Key)
		if !has || e.Value != "" && v != e.Value {
			return 0, false
		}
		if e.Value == "" {
			key = key*31 + maphash.String(seed, v)
		}
	}
	return key, true
}

func valueOf(entries []Entry, key string) (string, bool) {
	for i := range entries {
		if entries[i].Key == key {
			return entries[i].Value, true
		}
	}
	return "", false
}

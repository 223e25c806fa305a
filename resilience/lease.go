package resilience

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// A Lease says how a process draws on a limit that is kept elsewhere: in batches, so that
// most calls are decided here. The zero Lease is in force with its defaults.
type Lease struct {
	// Batch is how many tokens to ask for at a time; 0 means 100.
	Batch uint32
	// Ahead asks for more while so many are left; 0 means a quarter of Batch.
	Ahead uint32
	// Holds is how long tokens are good if the limiter does not say; 0 means 1 s.
	Holds time.Duration
	// Closed refuses calls while the limiter can't be asked. Without it they go (Envoy failure_mode_deny).
	Closed bool
	// Again is how long after a failure the limiter is left alone; 0 means 1 s.
	Again time.Duration
}

// A Grant is what a Leased says of a call.
type Grant uint8

// The grants.
const (
	// Denied: the limit is reached, or can't be asked and the lease fails closed.
	Denied Grant = iota
	// Granted: the call may go.
	Granted
	// Awaited: nothing is known before the limiter has answered; ask again then.
	Awaited
)

// Leased is what a process has drawn of one limit. The zero Leased has nothing. It takes no lock.
type Leased struct {
	batch  atomic.Pointer[batch]
	asking atomic.Bool
}

// A batch is the last that is known of the limit.
type batch struct {
	tokens  atomic.Int64
	until   time.Time
	refused bool // there are no tokens until then
	failed  bool // the limiter was not to be asked until then
}

// Take decides about one call. If ask is more than 0, the limiter is to be asked for so many tokens,
// beside the call unless that is Awaited; Renew or Fail must follow. Nobody else is told to ask before that.
func (l *Leased) Take(p *Lease, now time.Time) (g Grant, ask uint32) {
	b := l.batch.Load()
	switch {
	case b == nil:
	case b.failed:
		// Calls do not wait for a limiter that was away a moment ago.
		if !now.Before(b.until) {
			ask = l.ask(p)
		}
		if p.Closed {
			return Denied, ask
		}
		return Granted, ask
	case !now.Before(b.until):
	case b.refused:
		return Denied, 0
	default:
		left := b.tokens.Add(-1)
		if left >= int64(p.ahead()) {
			return Granted, 0
		}
		if left >= 0 {
			return Granted, l.ask(p)
		}
	}
	return Awaited, l.ask(p)
}

// Renew takes the limiter's answer: how many tokens it gave, and how long they are good, or, if it gave
// none, how long there will be none. 0 means the lease's Holds. Tokens that are left stay good. Calls that
// were told to wait ask again after it.
func (l *Leased) Renew(p *Lease, now time.Time, tokens uint32, holds time.Duration) {
	defer l.asking.Store(false)
	left := l.left(now)
	if tokens == 0 && left > 0 {
		return
	}
	if left > 0 {
		left = max(l.batch.Load().tokens.Swap(0), 0) // who comes now waits for what is stored below
	}
	if holds <= 0 {
		holds = p.Holds
	}
	if holds <= 0 {
		holds = time.Second
	}
	next := &batch{until: now.Add(holds), refused: tokens == 0}
	next.tokens.Store(left + int64(tokens))
	l.batch.Store(next)
}

// Fail says that the limiter could not be asked. Tokens that are left stay good.
func (l *Leased) Fail(p *Lease, now time.Time) {
	defer l.asking.Store(false)
	if l.left(now) > 0 {
		return
	}
	again := p.Again
	if again <= 0 {
		again = time.Second
	}
	l.batch.Store(&batch{until: now.Add(again), failed: true})
}

// left is how many tokens there are.
func (l *Leased) left(now time.Time) int64 {
	if b := l.batch.Load(); b != nil && now.Before(b.until) {
		return max(b.tokens.Load(), 0)
	}
	return 0
}

// ask is how many tokens the caller is to ask for: none if somebody does already.
func (l *Leased) ask(p *Lease) uint32 {
	if l.asking.Load() || l.asking.Swap(true) {
		return 0
	}
	return p.batch()
}

func (p *Lease) batch() uint32 {
	if p.Batch == 0 {
		return 100
	}
	return p.Batch
}

func (p *Lease) ahead() uint32 {
	if p.Ahead == 0 {
		return p.batch() / 4
	}
	return p.Ahead
}

// Leases keeps what was drawn of each limit there is, by the entries that name it, for a bounded
// number of them: the limit that was not asked for longest is forgotten, with the tokens it had left.
type Leases struct{ byEntries *keyed[*Leased] }

// NewLeases returns Leases of at least size limits; 0 means 1024.
func NewLeases(size int) *Leases {
	if size <= 0 {
		size = 1024
	}
	return &Leases{newKeyed[*Leased](size)}
}

// Of is what was drawn of the limit of these entries, whose order counts.
func (l *Leases) Of(entries []Entry, now time.Time) *Leased {
	var key uint64
	for _, e := range entries {
		key = (key*31+maphash.String(l.byEntries.seed, e.Key))*31 + maphash.String(l.byEntries.seed, e.Value)
	}
	at := now.UnixNano()
	if known := l.byEntries.find(key, at); known != nil {
		return *known
	}
	return *l.byEntries.join(key, at, new(Leased))
}

package ratelimit

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// memory keeps a bounded number of counts. A count that is there takes no lock but to be
// found, for reading, in one of many parts.
type memory struct {
	parts  [64]part
	room   int // of each part
	log    *slog.Logger
	warned atomic.Bool
}

type part struct {
	mu     sync.RWMutex
	counts map[key]*count
	_      [64]byte // no two parts share a cache line
}

// A count is of one key.
type count struct{ window atomic.Pointer[window] }

type window struct {
	until time.Time
	limit uint32 // when it began
	used  atomic.Int64
}

func newMemory(keys int, log *slog.Logger) *memory {
	m := &memory{log: log}
	m.room = max((keys+len(m.parts)-1)/len(m.parts), 1)
	for i := range m.parts {
		m.parts[i].counts = map[key]*count{}
	}
	return m
}

func (m *memory) take(_ context.Context, wants []want, levels []level) ([]level, error) {
	now := time.Now()
	for i := range wants {
		levels = append(levels, m.one(&wants[i], now))
	}
	return levels, nil
}

func (m *memory) close() {}

func (m *memory) one(w *want, now time.Time) level {
	p := &m.parts[int(w.key[0])%len(m.parts)]
	p.mu.RLock()
	c := p.counts[w.key]
	p.mu.RUnlock()
	if c == nil {
		if w.hits <= 0 || w.hits > int64(w.limit) {
			return fresh(w) // what counts nothing takes no room
		}
		c = m.add(p, w.key, now)
	}
	return c.take(w, now)
}

// take takes from the window that now is in, or begins one.
func (c *count) take(w *want, now time.Time) level {
	for {
		current := c.window.Load()
		if current == nil || !now.Before(current.until) {
			if w.hits <= 0 || w.hits > int64(w.limit) {
				return fresh(w)
			}
			next := &window{until: now.Add(w.per), limit: w.limit}
			next.used.Store(w.hits)
			if c.window.CompareAndSwap(current, next) {
				return level{true, left(w, w.hits), w.per}
			}
			continue
		}
		used := current.used.Load()
		then := max(used+w.hits, 0)
		if w.hits >= 0 && then > int64(w.limit) {
			return level{false, left(w, used), current.until.Sub(now)}
		}
		if then == used || current.used.CompareAndSwap(used, then) {
			return level{true, left(w, then), current.until.Sub(now)}
		}
	}
}

// fresh is the level of a limit that counts nothing yet, and does not begin to.
func fresh(w *want) level { return level{w.hits <= int64(w.limit), w.limit, w.per} }

// left is what fits when so much is used; a limit may have been lowered meanwhile.
func left(w *want, used int64) uint32 { return uint32(max(int64(w.limit)-used, 0)) }

// add makes room if there is none, and adds a count if nobody was faster.
func (m *memory) add(p *part, k key, now time.Time) *count {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.counts[k]; c != nil {
		return c
	}
	if len(p.counts) >= m.room {
		p.forget(now)
		if !m.warned.Swap(true) {
			m.log.Warn("rate limits: there are more counts than fit into memory; those that are far from their limits are forgotten", "most", m.room*len(m.parts))
		}
	}
	c := new(count)
	p.counts[k] = c
	return c
}

// looks is how many counts are compared before one is forgotten.
const looks = 16

// forget drops, of a few counts, those whose window is over or else the one that has used the least of its
// limit: who floods us with new values makes us forget those, and not what is used up.
func (p *part) forget(now time.Time) {
	var victim key
	least, over := 2.0, false
	seen := 0
	for k, c := range p.counts {
		w := c.window.Load()
		switch {
		case w == nil:
			if least > 0 { // somebody begins it this moment, most likely
				victim, least = k, 0
			}
		case !now.Before(w.until):
			delete(p.counts, k)
			over = true
		default:
			if share := float64(w.used.Load()) / float64(max(w.limit, 1)); share < least {
				victim, least = k, share
			}
		}
		if seen++; seen == looks {
			break
		}
	}
	if !over {
		delete(p.counts, victim)
	}
}

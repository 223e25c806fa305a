package ratelimit

import (
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// levels are what was last heard of limits, by name, of a bounded number of them. The zero levels is empty.
type levels struct {
	mu    sync.Mutex
	heard map[string]level
}

type level struct {
	left, limit uint32
	until       time.Time // of the window
}

// most is how many levels are remembered: as many as resilience.Leases.
const most = 1024

// share is how many of the tokens to ask for: at most an eighth of what is left, so that there is something left for
// others, and the closer the end the more evenly; one if nothing is known of the limit.
func (l *levels) share(name string, now time.Time, tokens uint32) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.heard[name] // zero: nothing is left
	if !now.Before(known.until) {
		known.left = known.limit // a new window
	}
	return min(tokens, max(known.left/8, 1))
}

func (l *levels) learn(name string, is level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard == nil {
		l.heard = map[string]level{}
	}
	if _, known := l.heard[name]; !known && len(l.heard) >= most {
		for other := range l.heard { // any: forgetting one costs a question
			delete(l.heard, other)
			break
		}
	}
	l.heard[name] = is
}

func nameOf(domain string, entries []resilience.Entry) string {
	var b strings.Builder
	b.WriteString(domain)
	for _, e := range entries {
		b.WriteByte(0)
		b.WriteString(e.Key)
		b.WriteByte(0)
		b.WriteString(e.Value)
	}
	return b.String()
}

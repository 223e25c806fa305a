package ratelimit

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counts is how many counts there are.
func (m *memory) size() (n int) {
	for i := range m.parts {
		m.parts[i].mu.RLock()
		n += len(m.parts[i].counts)
		m.parts[i].mu.RUnlock()
	}
	return n
}

func TestMemoryIsBounded(t *testing.T) {
	const keys = 1280
	var logged bytes.Buffer
	s := start(t, Config{MaxKeys: keys, Logger: slog.New(slog.NewTextHandler(&logged, nil))},
		Limit{Domain: "d", Entries: entries("user"), Requests: 10, Per: hour})
	ask(t, s, "d", 10, "user=spent")
	for i := range 20 * keys {
		ask(t, s, "d", 1, fmt.Sprintf("user=%d", i))
	}
	if n := s.store.(*memory).size(); n > keys {
		t.Errorf("%d counts, more than %d", n, keys)
	}
	says(t, "what was used up", ask(t, s, "d", 1, "user=spent"), "over: over 0/10")
	if n := strings.Count(logged.String(), "WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, &logged)
	}
}

func TestMemoryForgetsWhatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 640
		s := start(t, Config{MaxKeys: keys}, Limit{Domain: "d", Entries: entries("user"), Requests: 10, Per: time.Minute})
		for i := range 2 * keys {
			ask(t, s, "d", 9, fmt.Sprintf("user=%d", i))
		}
		time.Sleep(time.Minute)
		for i := range keys / 4 {
			ask(t, s, "d", 1, fmt.Sprintf("new=%d user=%d", i, i)) // no limit
			ask(t, s, "d", 1, fmt.Sprintf("user=new%d", i))
		}
		for i := range keys / 4 {
			says(t, "a new one", ask(t, s, "d", 1, fmt.Sprintf("user=new%d", i)), "ok: ok 8/10")
		}
	})
}

func TestMemoryKeepsNothingOfWhatCountsNothing(t *testing.T) {
	s := start(t, Config{}, Limit{Domain: "d", Entries: entries("user"), Requests: 10, Per: hour})
	for i := range 1000 {
		ask(t, s, "d", 11, fmt.Sprintf("user=%d", i))
	}
	if n := s.store.(*memory).size(); n != 0 {
		t.Errorf("%d counts", n)
	}
}

func TestMemoryGivesNoMoreThanThereIs(t *testing.T) {
	m := newMemory(100, slog.New(slog.DiscardHandler))
	var given atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			w := []want{{key: key{1}, limit: 10_000, per: hour, hits: int64(g%3 + 1)}}
			for range 5000 {
				if l, _ := m.take(t.Context(), w, nil); l[0].ok { // it never fails
					given.Add(w[0].hits)
				}
			}
		})
	}
	wg.Wait()
	if n := given.Load(); n != 10_000 {
		t.Errorf("%d were given, want 10000", n)
	}
}

package main

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A ledger is the last of the chain. It serves one call after the other, each for
// a few milliseconds, so that four of them can do some 400 calls a second and no more.
type ledger struct {
	name    string
	desk    desk
	slow    atomic.Int64 // nanoseconds that every call takes longer
	failing atomic.Bool
}

const service = 10 * time.Millisecond

// hear obeys the director: "slow 500ms", "fail" or "heal".
func (l *ledger) hear(line string) {
	word, arg, _ := strings.Cut(line, " ")
	d, _ := time.ParseDuration(arg) // none for words without
	l.slow.Store(int64(d))
	l.failing.Store(word == "fail")
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.failing.Load() {
		http.Error(w, "the books are closed", http.StatusServiceUnavailable)
		return
	}
	// Who is slow is waiting for somebody else: that does not keep the desk busy.
	if !wait(r.Context(), time.Duration(l.slow.Load())) || !l.desk.work(r.Context()) {
		return // the caller gave up
	}
	w.Write([]byte(l.name))
}

// A desk is where one call at a time is worked on. Like most servers, it does not
// look whether somebody still waits for the result before it has begun.
type desk struct{ busy chan struct{} }

func newDesk() desk { return desk{make(chan struct{}, 1)} }

func (d desk) work(ctx context.Context) bool {
	d.busy <- struct{}{}
	defer func() { <-d.busy }()
	time.Sleep(service)
	return ctx.Err() == nil
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func unavailable(text string) error { return status.Error(codes.Unavailable, text) }

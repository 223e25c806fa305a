package httpadapter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func bodyOf(t *testing.T, source io.ReadCloser) *requestBody {
	req := request(t, "POST", "http://x/", nil)
	req.Body = source
	b := new(requestBody)
	b.open(req)
	return b
}

func attempt(t *testing.T, b *requestBody, keep int64) io.ReadCloser {
	t.Helper()
	r, err := b.next(context.Background(), keep)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBodyIsReplayedFromWhereverTheAttemptStopped(t *testing.T) {
	for stop := range 6 {
		source := &countingBody{Reader: strings.NewReader("hello")}
		b := bodyOf(t, source)
		first := attempt(t, b, 64)
		io.ReadFull(first, make([]byte, stop))
		first.Close()
		if source.closes.Load() != 0 || !b.replayable() {
			t.Fatalf("after %d bytes: closed %d times, replayable %v", stop, source.closes.Load(), b.replayable())
		}
		second := attempt(t, b, 64)
		if got := read(t, second); got != "hello" {
			t.Errorf("after %d bytes the second attempt read %q", stop, got)
		}
		if _, err := first.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("the first attempt still reads: %v", err)
		}
		second.Close()
		b.settle()
		b.settle()
		if source.closes.Load() != 1 {
			t.Errorf("closed %d times", source.closes.Load())
		}
	}
}

func TestBodyBeyondTheBufferIsNotReplayed(t *testing.T) {
	source := &countingBody{Reader: strings.NewReader("hello")}
	b := bodyOf(t, source)
	r := attempt(t, b, 4)
	if !b.replayable() {
		t.Error("an unread body is not replayable")
	}
	if read(t, r) != "hello" || b.replayable() {
		t.Error("a body larger than the buffer is replayable")
	}
	r.Close()
	if source.closes.Load() != 1 {
		t.Error("not closed though nobody can want it again")
	}
	if _, err := b.next(context.Background(), 4); err == nil {
		t.Error("a lost body was handed out")
	}
}

func TestBodyClosesWithTheAttemptOnceSettled(t *testing.T) {
	source := &countingBody{Reader: strings.NewReader("hello")}
	b := bodyOf(t, source)
	r := attempt(t, b, 64)
	b.settle() // the response came first
	if source.closes.Load() != 0 || read(t, r) != "hello" {
		t.Error("closed under the attempt that reads it")
	}
	r.Close()
	if source.closes.Load() != 1 {
		t.Errorf("closed %d times", source.closes.Load())
	}
}

func TestGetBodyMakesEachAttemptItsOwn(t *testing.T) {
	req := request(t, "POST", "http://x/", strings.NewReader("hello"))
	var b requestBody
	b.open(req)
	first, second := attempt(t, &b, 0), attempt(t, &b, 0)
	if first != req.Body || first == second || read(t, first) != "hello" || read(t, second) != "hello" || !b.replayable() {
		t.Error("attempts do not read bodies of their own")
	}
}

// gate is a body whose Read waits.
type gate struct {
	reading, data chan string
	closed        chan struct{}
}

func newGate() *gate {
	return &gate{make(chan string, 8), make(chan string), make(chan struct{})}
}

func (g *gate) Read(p []byte) (int, error) {
	g.reading <- ""
	select {
	case s, ok := <-g.data:
		if !ok {
			return 0, io.EOF
		}
		return copy(p, s), nil
	case <-g.closed:
		return 0, io.ErrClosedPipe
	}
}

func (g *gate) Close() error { close(g.closed); return nil }

// The transport may still be reading for an attempt that is over when the next
// begins: what it reads then belongs to the next.
func TestNextAttemptWaitsForTheReaderBefore(t *testing.T) {
	g := newGate()
	b := bodyOf(t, g)
	first := attempt(t, b, 64)
	stale := make(chan error, 1)
	go func() {
		_, err := first.Read(make([]byte, 8))
		stale <- err
	}()
	<-g.reading
	second := make(chan io.ReadCloser)
	go func() {
		r, err := b.next(context.Background(), 64)
		if err != nil {
			t.Error(err)
		}
		second <- r
	}()
	// Either order of these two is right: the data is the second attempt's.
	g.data <- "hello"
	r := <-second
	<-stale
	got := make(chan string, 1)
	go func() { got <- read(t, r) }()
	<-g.reading
	close(g.data)
	if s := <-got; s != "hello" {
		t.Errorf("second attempt read %q", s)
	}
	first.Close() // late, and no longer its business
	select {
	case <-g.closed:
		t.Error("the attempt before closed the body of the next")
	default:
	}
	r.Close()
	b.settle()
	<-g.closed
}

func TestNextAttemptDoesNotWaitForever(t *testing.T) {
	g := newGate()
	b := bodyOf(t, g)
	first := attempt(t, b, 64)
	done := make(chan struct{})
	go func() { first.Read(make([]byte, 8)); close(done) }()
	<-g.reading
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.next(ctx, 64); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	g.data <- "x"
	<-done
}

// A transport that gives up while it is stuck in the caller's body gets loose by
// closing it, as without the mesh.
func TestCloseFreesAStuckReader(t *testing.T) {
	g := newGate()
	b := bodyOf(t, g)
	r := attempt(t, b, 64)
	stuck := make(chan error, 1)
	go func() {
		_, err := r.Read(make([]byte, 8))
		stuck <- err
	}()
	<-g.reading
	r.Close()
	if err := <-stuck; !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read: %v", err)
	}
	if b.replayable() || b.broken() != nil {
		t.Errorf("replayable %v, broken %v", b.replayable(), b.broken())
	}
}

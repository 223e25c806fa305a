package httpadapter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxKept is how much of a body without GetBody is kept to be sent again.
const maxKept = 64 << 10

// A requestBody hands the caller's body to one attempt after the other. By
// GetBody each attempt has one of its own. Without it the attempts share
// one source, of which what was read is kept: one attempt reads at a time, and the next
// begins with what is kept.
type requestBody struct {
	source  io.ReadCloser                 // nil if there is none
	getBody func() (io.ReadCloser, error) // nil if the source is shared
	taken   bool                          // an attempt was given source, with getBody

	mu      sync.Mutex
	limit   int64         // of kept
	kept    []byte        // all that was read of source, unless lost
	lost    bool          // more was read than is kept
	end     error         // how source ended; nil before that
	reading bool          // a Read of source is in progress
	idle    chan struct{} // closed when that ends; nil if nobody waits
	current *bodyReader   // the newest attempt's; nil before the first
	settled bool          // there will be no other attempt
	closed  bool          // source was closed
	first   bodyReader
}

func (b *requestBody) open(req *http.Request) {
	if req.Body != nil && req.Body != http.NoBody {
		b.source, b.getBody = req.Body, req.GetBody
	}
}

// next returns the body for another attempt, which will close it. It waits
// until the attempt before has left the source. keep is how many bytes to keep, if there
// may be an attempt after this.
func (b *requestBody) next(ctx context.Context, keep int64) (io.ReadCloser, error) {
	switch {
	case b.source == nil:
		return nil, nil
	case b.getBody != nil && b.taken:
		return b.getBody()
	case b.getBody != nil:
		b.taken = true
		return b.source, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &b.first
	if b.current != nil {
		b.current.closed = true // its Read, if any, still adds to what is kept
		r = &bodyReader{}
	}
	r.body = b
	b.current, b.limit = r, keep
	for b.reading {
		idle := make(chan struct{})
		b.idle = idle
		b.mu.Unlock()
		select {
		case <-idle:
			b.mu.Lock()
		case <-ctx.Done():
			b.mu.Lock()
			return nil, ctx.Err()
		}
	}
	if r != &b.first && (b.lost || b.closed) { // the attempt before went on reading
		return nil, errUsed
	}
	return r, nil
}

var errUsed = errors.New("the request's body cannot be sent again")

// replayable reports whether another attempt would send the same body.
func (b *requestBody) replayable() bool {
	if b.source == nil || b.getBody != nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost && !b.closed && (b.end == nil || errors.Is(b.end, io.EOF))
}

// beside makes other a body to be sent beside this one, if it can be: by GetBody, or when all of it
// was read and kept.
func (b *requestBody) beside(other *requestBody) bool {
	if b.source == nil {
		return true
	}
	again := b.getBody
	if again == nil {
		b.mu.Lock()
		all := b.kept
		whole := !b.lost && errors.Is(b.end, io.EOF)
		b.mu.Unlock()
		if !whole {
			return false
		}
		again = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(all)), nil }
	}
	body, err := again()
	if err != nil {
		return false
	}
	other.source, other.getBody = body, again
	return true
}

// drop closes a body that was not sent after all.
func (b *requestBody) drop() {
	if b.source != nil && !b.taken {
		b.taken = true
		_ = b.source.Close() // nobody has read it
	}
}

// broken is the error that reading the caller's body ended with, if it did.
func (b *requestBody) broken() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.end, io.EOF) {
		return nil
	}
	return b.end
}

// settle says that there will be no other attempt. The source is closed as soon as no
// attempt reads it.
func (b *requestBody) settle() {
	if b.source == nil || b.taken {
		return // a transport closes what it was given
	}
	b.mu.Lock()
	b.settled, b.limit = true, 0
	free := b.current == nil || b.current.closed
	b.mu.Unlock()
	if free {
		_ = b.close() // the caller's own complaint would come too late
	}
}

func (b *requestBody) close() error {
	b.mu.Lock()
	done := b.closed
	b.closed = true
	b.mu.Unlock()
	if done {
		return nil
	}
	return b.source.Close()
}

// A bodyReader is the body as one attempt reads it.
type bodyReader struct {
	body   *requestBody
	read   int  // of what is kept
	closed bool // guarded by body.mu
	stuck  bool // was closed during a Read that has not ended; guarded by body.mu
}

func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case r.closed:
		return 0, http.ErrBodyReadAfterClose
	case r.read < len(b.kept):
		n := copy(p, b.kept[r.read:])
		r.read += n
		return n, nil
	case b.end != nil:
		return 0, b.end
	}
	b.reading = true
	b.mu.Unlock()
	n, err := b.source.Read(p)
	b.mu.Lock()
	b.reading, r.stuck = false, false
	b.keep(p[:n])
	r.read += n
	if err != nil && !b.closed {
		b.end = err
	}
	if b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
	if r.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return n, err
}

// stuckAfter is how long a Read of the source may outlast its attempt.
const stuckAfter = 100 * time.Millisecond

// Close is called by the transport when the attempt is done with the body. A
// source that may be wanted again is not closed with it, and a Read that is under
// way may end, and what it read be kept; but one that is stuck is got loose by closing
// the source, which is then lost to other attempts.
func (r *bodyReader) Close() error {
	b := r.body
	b.mu.Lock()
	if r.closed {
		b.mu.Unlock()
		return nil
	}
	r.closed = true
	last := b.settled || b.lost
	if b.reading && !last {
		time.AfterFunc(stuckAfter, func() { b.loosen(r) })
	}
	r.stuck = b.reading
	b.mu.Unlock()
	if last {
		return b.close()
	}
	return nil
}

// loosen closes the source if the reader is still in its Read.
func (b *requestBody) loosen(r *bodyReader) {
	b.mu.Lock()
	stuck := r.stuck
	b.lost = b.lost || stuck
	b.mu.Unlock()
	if stuck {
		_ = b.close() // the caller's own complaint would come too late
	}
}

// keep adds what was read to what is kept, while that fits.
func (b *requestBody) keep(p []byte) {
	switch {
	case b.lost || len(p) == 0:
	case int64(len(b.kept)+len(p)) > b.limit:
		b.lost, b.kept = true, nil
	default:
		b.kept = append(b.kept, p...)
	}
}

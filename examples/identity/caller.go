package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/examples/shop/shoppb"
)

// A caller calls both services at a steady rate, whether or not he is answered, and listens to the postings.
type caller struct {
	name string
	rate int

	url      string
	client   *http.Client
	payments shoppb.PaymentsClient
	postings shoppb.ShippingClient

	mu     sync.Mutex
	calls  calls
	hush   context.CancelFunc // ends the calling
	listen context.CancelFunc // ends the stream, for another
}

// calls are how a caller fared since it began.
type calls struct {
	HTTP, GRPC count
	Listening  bool   // to a stream
	Cut        int    // streams that ended though nobody had ended them
	Silent     bool   // it was told to be, and its last call has ended
	Error      string // the last
}

// A count is how calls ended. Refused are those that were answered: by 403, 401, PERMISSION_DENIED or UNAUTHENTICATED.
type count struct{ Answered, Refused, Failed int }

// called is what a caller tells the director.
type called struct {
	papers
	calls
}

// patience is how long a caller waits for an answer: long enough for a busy machine.
const patience = 10 * time.Second

// hear obeys the director: "hush" ends all calls, "again" ends the stream so that another one begins.
func (c *caller) hear(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case line == "hush" && c.hush != nil:
		c.hush()
	case line == "again" && c.listen != nil:
		c.listen()
	}
}

// run calls until ctx is done or the director says hush, and returns when the last call has ended.
func (c *caller) run(ctx context.Context) {
	ctx, hush := context.WithCancel(ctx)
	defer hush()
	c.mu.Lock()
	c.hush = hush
	c.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			c.follow(ctx)
			rest(ctx, 200*time.Millisecond)
		}
	})
	tick := time.NewTicker(time.Second / time.Duration(c.rate))
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			running.Go(func() { c.ask(context.WithoutCancel(ctx)) })
			running.Go(func() { c.pay(context.WithoutCancel(ctx)) })
		case <-ctx.Done():
		}
	}
	running.Wait()
	c.note(func(s *calls) { s.Silent = true })
}

// ask makes a call over HTTP.
func (c *caller) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	code, err := func() (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"?from="+c.name, nil)
		if err != nil {
			return 0, err
		}
		resp, err := c.client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("accounts answer %s", resp.Status)
		}
		return resp.StatusCode, err
	}()
	c.note(func(s *calls) {
		s.HTTP = s.HTTP.and(err == nil, code == http.StatusForbidden || code == http.StatusUnauthorized)
		s.failed(err)
	})
}

// pay makes one over gRPC.
func (c *caller) pay(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := c.payments.Charge(ctx, &shoppb.ChargeRequest{Order: c.name, Cents: 1999})
	c.note(func(s *calls) {
		s.GRPC = s.GRPC.and(err == nil, refused(err))
		s.failed(err)
	})
}

// follow listens to a stream until it ends.
func (c *caller) follow(ctx context.Context) {
	ctx, listen := context.WithCancel(ctx)
	defer listen()
	c.mu.Lock()
	c.listen = listen
	c.mu.Unlock()
	stream, err := c.postings.Track(ctx, &shoppb.TrackRequest{Order: c.name})
	heard := false
	for err == nil {
		if _, err = stream.Recv(); err == nil && !heard {
			heard = true
			c.note(func(s *calls) { s.Listening = true })
		}
	}
	c.note(func(s *calls) {
		s.Listening = false
		if ctx.Err() == nil {
			s.failed(err)
			if heard {
				s.Cut++
			}
		}
	})
}

func refused(err error) bool {
	code := status.Code(err)
	return code == codes.PermissionDenied || code == codes.Unauthenticated
}

// and is the count with another call.
func (c count) and(answered, refused bool) count {
	switch {
	case answered:
		c.Answered++
	case refused:
		c.Refused++
	default:
		c.Failed++
	}
	return c
}

func (c *calls) failed(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		c.Error = err.Error()
	}
}

func (c *caller) note(change func(*calls)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.calls)
}

func (c *caller) sum() calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// rest is over sooner if ctx is.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/identity"
)

// streams are the calls that last as long as the peers like and were let in by a guard, so that it can end those that it would not let in any more.
type streams struct {
	mu    sync.Mutex
	calls map[*InboundCall]context.CancelCauseFunc
}

// begin makes the call findable, until end.
func (r *streams) begin(c *InboundCall) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	c.ctx = ctx
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[*InboundCall]context.CancelCauseFunc{}
	}
	r.calls[c] = cancel
}

// end forgets the call. It is not ended from elsewhere after that.
func (r *streams) end(c *InboundCall) {
	r.mu.Lock()
	cancel := r.calls[c]
	delete(r.calls, c)
	r.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
}

func (r *streams) list() []*InboundCall {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*InboundCall, 0, len(r.calls))
	for c := range r.calls {
		out = append(out, c)
	}
	return out
}

// cut ends the call, if it has not ended by itself.
func (r *streams) cut(c *InboundCall, why *Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel := r.calls[c]
	if cancel == nil {
		return
	}
	c.end(why)
	cancel(&Error{Kind: Denied, Service: "inbound"})
	if c.Incoming != nil {
		c.Incoming.End(why)
	}
}

// Cut is why a call that was being handled was ended: its caller may not make it any more; nil if it was not.
func (c *InboundCall) Cut() *Refusal {
	if atomic.LoadUint32(&c.cut) == wasCut {
		return c.why
	}
	return nil
}

// end says that the call is ended, and why.
func (c *InboundCall) end(why *Refusal) {
	if atomic.CompareAndSwapUint32(&c.cut, uncut, cutting) {
		c.why = why
		atomic.StoreUint32(&c.cut, wasCut)
	}
}

// Stays reports whether the call may go on. It is for calls that are no streams, but may last long all the same: their adapter asks at each
// write, from the handler's goroutine. As long as the configuration is the same it costs next to nothing.
func (c *InboundCall) Stays() bool {
	if c.by == nil {
		return true
	}
	s := c.by.current.Load()
	if s == c.by {
		return true
	}
	if !s.same(c.by) {
		if r := s.again(c.ctx, c); r != nil {
			c.end(r)
			return false
		}
	}
	c.by = s
	return true
}

// same reports whether s lets in whom o lets in.
func (s *serving) same(o *serving) bool {
	return s.gate == o.gate && (s.shut == nil) == (o.shut == nil) && s.guard.Revoked == o.guard.Revoked && s.door.Mode == o.door.Mode
}

// again judges a call anew that was let in before. What its tokens said, and what services outside that do not answer now said, stands.
func (s *serving) again(ctx context.Context, c *InboundCall) *Refusal {
	var d identity.Decision
	switch {
	case s.shut != nil:
		d.Reason = s.shut.Error()
	case s.revokes(c.conn):
		d = revokedDecision
	case s.door.Mode == identity.Strict && c.conn != nil && !c.Peer.Secure():
		return nil // its connection is dealt with, and it is part of that
	case s.gate == nil || !s.reads:
		return nil
	default:
		t, err := s.retry(c)
		if err != nil {
			d.Reason = err.Error()
			break
		}
		var ask identity.Asker
		if s.engine.config.Asker != nil {
			ask = standing{s.engine.config.Asker}
		}
		if d = s.check(ctx, &t.request, ask, nil); d.Allowed {
			return nil
		}
	}
	r := identity.Request{Method: c.Request.Method, Path: c.Request.Path, Peer: c.Peer}
	s.engine.denials.note(s.port, &r, &d)
	return refusalOf(&d)
}

// retry is the call as rules saw it, or would have seen it if there had been any when it was let in. Its path was not given its one form then,
// and its headers were not looked at: what would not have got to its handler as it did can't be judged.
func (s *serving) retry(c *InboundCall) (*trial, error) {
	if c.trial != nil {
		return c.trial, nil
	}
	now := InboundCall{Protocol: c.Protocol, Request: c.Request, Peer: c.Peer, Local: c.Local, Remote: c.Remote}
	if err := now.normalize(); err != nil {
		return nil, err
	}
	if now.Request.Path != c.Request.Path || now.Request.Authority != c.Request.Authority || s.mimics(c) {
		return nil, errors.New("the call was let in before there were rules, in a form that they don't see")
	}
	return now.try(), nil
}

// A standing Asker lets through what it can't ask about.
type standing struct{ identity.Asker }

func (s standing) Ask(ctx context.Context, e *identity.ExtAuthz, r *identity.Request, body []byte) identity.Verdict {
	v := s.Asker.Ask(ctx, e, r, body)
	if v.Failed != nil {
		v.Allowed = true
	}
	return v
}

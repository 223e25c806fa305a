package engine

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
)

// begin makes a call findable that was let in by s, until end. It reports whether the call may go on: there may have been a change before it could
// be found.
func (in *Inbound) begin(c *InboundCall, s *serving) bool {
	c.by = s
	if c.Stream {
		c.ctx, c.cancel = context.WithCancelCause(c.ctx)
	}
	if c.conn != nil {
		c.conn.calls.add(c)
	} else {
		in.strays.add(c)
	}
	return c.Stays()
}

// end forgets the call. It is not ended from elsewhere after that.
func (in *Inbound) end(c *InboundCall) {
	c.slot.Store(nil)
	if !atomic.CompareAndSwapUint32(&c.cut, uncut, over) {
		in.cutting.Lock() // who ends it may not be done with it
		c.left = true
		in.cutting.Unlock()
	}
	if c.cancel != nil {
		c.cancel(nil)
	}
}

// cut ends the call, if it has not ended by itself.
func (in *Inbound) cut(c *InboundCall, why *Refusal) {
	in.cutting.Lock()
	defer in.cutting.Unlock()
	if c.end(why); c.left || c.Cut() == nil {
		return
	}
	if c.cancel != nil {
		c.cancel(&Error{Kind: Denied, Service: "inbound"})
	}
	if c.Incoming != nil {
		c.Incoming.End(why)
	}
}

// Hangup ends the connection of the call, of one that carries no other.
func (c *InboundCall) Hangup() {
	if c.conn != nil {
		c.conn.Shut()
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

// Stays reports whether the call may go on. Who may not make it any more is found by the review of the Inbound, but for what that can't look at; so
// adapters ask at each write, from the handler's goroutine. As long as the configuration is the same it costs next to nothing.
func (c *InboundCall) Stays() bool {
	if c.by == nil {
		return true
	}
	s := c.by.current.Load()
	if s == c.by {
		return true
	}
	if !s.same(c.by) {
		if r := s.again(c.ctx, c, c.Request.Header); r != nil {
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

// review is again for another goroutine than the handler's. What it can't know without the headers of the request, which are the handler's now, it leaves
// to Stays.
func (s *serving) review(ctx context.Context, c *InboundCall) *Refusal {
	if c.Protocol != HTTP || c.Stream { // the handler has others
		return s.again(ctx, c, c.Request.Header)
	}
	var h unseen
	if r := s.again(ctx, c, &h); !h.asked {
		return r
	}
	return nil
}

// An unseen header can't be read. It knows whether that would have been needed.
type unseen struct{ asked bool }

func (u *unseen) Values(resolver.HeaderName) []string {
	u.asked = true
	return nil
}

// again judges a call anew that was let in before. What its tokens said, and what services outside that do not answer now said, stands.
func (s *serving) again(ctx context.Context, c *InboundCall, h resolver.Header) *Refusal {
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
		r, err := s.retry(c, h)
		if err != nil {
			d.Reason = err.Error()
			break
		}
		hidden, _ := h.(*unseen)
		var ask identity.Asker
		switch {
		case s.engine.config.Asker == nil:
		case hidden != nil:
			ask = (*unheard)(hidden)
		default:
			ask = standing{s.engine.config.Asker}
		}
		if d = s.check(ctx, r, ask, nil); d.Allowed || hidden != nil && hidden.asked {
			return nil
		}
	}
	r := identity.Request{Method: c.Request.Method, Path: c.Request.Path, Peer: c.Peer}
	s.engine.denials.note(s.port, &r, &d)
	return refusalOf(&d)
}

// retry is the call as rules saw it, or would have seen it if there had been any when it was let in. Its path was not given its one form then,
// and its headers were not looked at: what would not have got to its handler as it did can't be judged.
func (s *serving) retry(c *InboundCall, h resolver.Header) (*identity.Request, error) {
	now := InboundCall{Protocol: c.Protocol, Request: c.Request, Peer: c.Peer, Local: c.Local, Remote: c.Remote}
	if now.Request.Header = h; c.trial != nil {
		r := c.trial.request
		r.Header = h
		return &r, nil
	}
	if err := now.normalize(); err != nil {
		return nil, err
	}
	if hidden, ok := h.(*unseen); ok {
		hidden.asked = s.gate.Mimicked()
	} else if s.mimics(&now) {
		return nil, errUnread
	}
	if now.Request.Path != c.Request.Path || now.Request.Authority != c.Request.Authority {
		return nil, errUnread
	}
	return &now.try().request, nil
}

var errUnread = errors.New("the call was let in before there were rules, in a form that they don't see")

// An unheard Asker notes that it would have been asked.
type unheard unseen

func (u *unheard) Ask(context.Context, *identity.ExtAuthz, *identity.Request, []byte) identity.Verdict {
	u.asked = true
	return identity.Verdict{Allowed: true}
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

package xds

import (
	"time"

	"github.com/weftmesh/weft/resolver"
)

// A core is the state of a client. One goroutine, run, owns it; commands and
// responses are handed to it, and it calls the sinks.
type core struct {
	client *Client

	subs     [kinds]subscription
	services map[string]*service
	inbounds map[string]*inbound
	secrets  map[string]*secret

	dirty      []consumer
	generation uint64
	waits      []wait
	waited     uint64

	link    link
	health  health
	waiters []*waiter
	closing bool
}

func newCore(client *Client) *core {
	c := &core{
		client:   client,
		services: make(map[string]*service),
		inbounds: make(map[string]*inbound),
		secrets:  make(map[string]*secret),
		link:     newLink(client),
	}
	for k := range c.subs {
		c.subs[k].resources = make(map[string]*resource)
		c.subs[k].touched = make(map[*resource]struct{})
	}
	return c
}

// run takes commands, events and responses one by one, each to its end, sinks
// included. A response is taken only when the last one's answer is on its way:
// nothing is queued, and a slow client slows its server down.
func (c *core) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	mail := &c.client.mail
	for {
		for _, f := range mail.take() {
			f(c)
		}
		now := time.Now()
		due := c.expire(now)
		c.flush()
		due = earlier(due, c.connect(now))
		c.releaseReady()
		if c.closing && c.link.stream == nil {
			break
		}
		due = earlier(due, c.finish(now))
		var out chan<- *request
		next := c.next(now)
		if next != nil {
			out = c.link.stream.out
		}
		responses := c.link.responses
		for k := range c.subs {
			if a := c.subs[k].ack; a != nil {
				if a.hold.After(now) {
					due = earlier(due, a.hold)
				} else {
					responses = nil
				}
			}
		}
		if due.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(0, time.Until(due)))
		}
		select {
		case <-mail.signal:
		case <-timer.C:
		case out <- next:
			c.handed(next)
		case r := <-responses:
			if !c.closing && !c.link.stream.finished {
				c.receive(r)
			}
		case e := <-c.link.events:
			c.take(e)
		}
	}
	mail.shut()
	c.client.last = c.status()
	c.client.last.State = "closed"
	close(c.client.done)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// take notes what became of the stream or of a request.
func (c *core) take(e event) {
	switch {
	case e.sent != nil:
		c.wrote(e.sent)
	case e.up:
		c.opened()
	default:
		c.broke(e.err)
	}
}

func (c *core) watch(name string, w *watch[resolver.Service]) {
	s := c.services[name]
	if s != nil {
		s.watches = append(s.watches, w)
		s.catchUp(w)
		return
	}
	s = &service{name: name, watches: []*watch[resolver.Service]{w}}
	c.services[name] = s
	c.rebuild(s)
	if err := c.link.err; err != nil && !s.answered {
		s.unreachable(err)
	}
}

func (c *core) unwatch(name string, w *watch[resolver.Service]) {
	s := c.services[name]
	if s == nil {
		return
	}
	if s.watches = without(s.watches, w); len(s.watches) == 0 {
		c.end(s)
		delete(c.services, name)
	}
}

func (c *core) serve(addr string, w *watch[resolver.Inbound]) {
	in := c.inbounds[addr]
	if in != nil {
		in.watches = append(in.watches, w)
		in.catchUp(w)
		return
	}
	in = &inbound{addr: addr, watches: []*watch[resolver.Inbound]{w}}
	c.inbounds[addr] = in
	c.rebuild(in)
}

func (c *core) unserve(addr string, w *watch[resolver.Inbound]) {
	in := c.inbounds[addr]
	if in == nil {
		return
	}
	if in.watches = without(in.watches, w); len(in.watches) == 0 {
		c.end(in)
		delete(c.inbounds, addr)
	}
}

// without returns a new list, for the old one may be being read by who calls the sinks.
func without[T any](list []*T, x *T) []*T {
	out := make([]*T, 0, len(list))
	for _, w := range list {
		if w != x {
			out = append(out, w)
		}
	}
	return out
}

// shutdown begins the end: everything is unsubscribed from and nobody told anymore.
func (c *core) shutdown() {
	c.closing = true
	for name, s := range c.services {
		c.end(s)
		delete(c.services, name)
	}
	for addr, in := range c.inbounds {
		c.end(in)
		delete(c.inbounds, addr)
	}
	for name, s := range c.secrets {
		c.end(s)
		delete(c.secrets, name)
	}
	c.dirty = nil
	c.health = health{}
	if st := c.link.stream; st != nil {
		st.closeBy = time.Now().Add(goodbye)
		if !st.up {
			st.cancel()
		}
	}
}

package xds

import (
	"maps"
	"slices"
	"time"
)

// A subscription is all resources of one kind, and where the stream stands with them.
type subscription struct {
	resources map[string]*resource
	// touched are the resources whose want the server does not know yet.
	touched map[*resource]struct{}

	// Of the stream.
	asked bool   // a request was sent
	nonce string // of the newest response
	ack   *ack   // not sent yet

	// version is the last one acknowledged, of state-of-the-world; it outlives the
	// stream, but is only told to the server it is of.
	version string

	refused   string // the newest refusal
	refusedAt time.Time
}

// An ack is the answer to a response.
type ack struct {
	nonce  string
	reason string    // why it is a refusal; empty if it is none
	hold   time.Time // not to be sent before
}

// use makes d a user of a resource, which is asked for if it is new.
func (c *core) use(d consumer, k kind, name string) *resource {
	s := &c.subs[k]
	r := s.resources[name]
	if r == nil {
		r = &resource{kind: k, name: name, users: make(map[consumer]struct{})}
		r.set(Requested)
		s.resources[name] = r
	}
	r.users[d] = struct{}{}
	s.touch(r)
	d.links().uses[r] = struct{}{}
	return r
}

// release takes a user away. What nobody uses is kept until the server was told, so
// that who asks again at once finds it (grpc-go#8125).
func (c *core) release(d consumer, r *resource) {
	s := &c.subs[r.kind]
	delete(r.users, d)
	s.touch(r)
}

// touch compares what is wanted with what the server knows.
func (s *subscription) touch(r *resource) {
	wanted := len(r.users) > 0
	switch {
	case wanted != r.sent:
		s.touched[r] = struct{}{}
	default:
		delete(s.touched, r)
	}
	if !wanted && !r.sent {
		delete(s.touched, r)
		s.forget(r)
	}
}

func (s *subscription) forget(r *resource) {
	r.wait = 0
	delete(s.resources, r.name)
}

// reset prepares for a new stream: nothing was said on it yet.
func (s *subscription) reset() {
	s.asked, s.nonce, s.ack = false, "", nil
	for _, r := range s.resources {
		r.sent, r.wait = false, 0
		s.touch(r)
	}
}

// A request is one message to the server, of either protocol.
type request struct {
	typeURL string
	node    bool // is the first on its stream
	nonce   string
	reason  string // of a refusal, or of bad health

	// Of delta.
	subscribe, unsubscribe []string
	initial                map[string]string // versions, by name, that we have

	// Of state-of-the-world.
	version string
	names   []string

	// What is true once it is sent.
	kind    kind
	acks    bool
	changes bool
	health  bool
	changed []*resource
}

// next is the request that should be sent now; nil if there is none. It changes nothing.
func (c *core) next(now time.Time) *request {
	st := c.link.stream
	if st == nil || !st.up || st.finished {
		return nil
	}
	r := c.compose(st, now)
	if r != nil {
		r.node = !st.greeted
	}
	return r
}

func (c *core) compose(st *stream, now time.Time) *request {
	if c.health.pending {
		return &request{typeURL: healthType, health: true, reason: c.health.reason()}
	}
	// What a response makes us want is asked for before the response is
	// acknowledged: who waits for all that was sent to be acknowledged then waits
	// for what follows from it, too.
	for k := range kinds {
		s := &c.subs[k]
		switch {
		case len(s.touched) == 0:
		case st.delta:
			return c.difference(k)
		case s.ack == nil:
			return c.state(k)
		}
	}
	for k := range kinds {
		if s := &c.subs[k]; s.ack != nil && !s.ack.hold.After(now) {
			if st.delta {
				return &request{typeURL: k.typeURL(), kind: k, acks: true, nonce: s.ack.nonce, reason: s.ack.reason}
			}
			return c.state(k)
		}
	}
	return nil
}

// difference tells a delta server what changed. It carries no acknowledgement:
// servers may drop what comes along with a stale or negative one.
func (c *core) difference(k kind) *request {
	s := &c.subs[k]
	r := &request{typeURL: k.typeURL(), kind: k, changes: true, changed: slices.Collect(maps.Keys(s.touched))}
	for _, x := range r.changed {
		if len(x.users) == 0 {
			r.unsubscribe = append(r.unsubscribe, x.name)
			continue
		}
		r.subscribe = append(r.subscribe, x.name)
		if !s.asked && x.content != nil && x.origin == c.link.index && x.version != "" {
			if r.initial == nil {
				r.initial = make(map[string]string)
			}
			r.initial[x.name] = x.version
		}
	}
	slices.Sort(r.subscribe)
	slices.Sort(r.unsubscribe)
	return r
}

// state tells a state-of-the-world server all we want, and acknowledges.
func (c *core) state(k kind) *request {
	s := &c.subs[k]
	r := &request{typeURL: k.typeURL(), kind: k, changes: true, version: s.version, nonce: s.nonce, changed: slices.Collect(maps.Keys(s.touched))}
	if s.ack != nil {
		r.acks, r.reason = true, s.ack.reason
	}
	for _, x := range s.resources {
		if len(x.users) > 0 {
			r.names = append(r.names, x.name)
		}
	}
	slices.Sort(r.names)
	return r
}

// handed notes that the sender has taken the request.
func (c *core) handed(r *request) {
	c.link.stream.greeted = true
	if r.health {
		c.health.pending = false
		return
	}
	s := &c.subs[r.kind]
	if r.acks {
		s.ack = nil
	}
	if !r.changes {
		return
	}
	s.asked = true
	for _, x := range r.changed {
		delete(s.touched, x)
		if x.sent = len(x.users) > 0; !x.sent {
			s.forget(x)
		}
	}
}

// wrote notes that the request is on its way: the server's time to answer begins
// (gRFC A57).
func (c *core) wrote(r *request) {
	at := time.Now().Add(c.link.patience())
	for _, x := range r.changed {
		if !x.sent || x.content != nil || x.wait != 0 || x.state == Nacked {
			continue
		}
		c.waited++
		x.wait = c.waited
		c.waits = append(c.waits, wait{x, c.waited, at})
	}
}

// A wait is a resource that the server has not answered for. Waits are in the
// order of their ends; one that its resource does not name is over.
type wait struct {
	*resource
	id uint64
	at time.Time
}

// expire ends the waits that are due and returns when the next one is.
func (c *core) expire(now time.Time) (next time.Time) {
	for len(c.waits) > 0 {
		w := c.waits[0]
		if w.wait == w.id {
			if w.at.After(now) {
				return w.at
			}
			w.wait = 0
			c.silent(w.resource)
		}
		c.waits = c.waits[1:]
	}
	c.waits = nil
	return time.Time{}
}

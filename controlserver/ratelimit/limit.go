package ratelimit

import (
	"time"

	descriptor "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/weftmesh/weft/resilience"
)

// A Limit bounds the requests of all processes together that have a descriptor with all of Entries, in
// that order, and no others.
type Limit struct {
	// Name is told to clients.
	Name string
	// Domain is the name space of the limit.
	Domain string
	// Entries are what a descriptor must have. If one has no Value, each value there is has a count of its own.
	Entries []resilience.Entry
	// Requests may pass in a time of Per, which is at least a millisecond. Of 0, none may.
	Requests uint32
	Per      time.Duration
}

// limits are all there are, by domain. They are not modified.
type limits struct{ domains map[string]*node }

// A node is reached by the entries of a descriptor, one after the other.
type node struct {
	limit *limit // nil if no limit has just the entries so far
	next  map[string]*branch
}

// A branch is where a key leads to: by its value, or by any.
type branch struct {
	exact map[string]*node
	any   *node
}

type limit struct {
	Limit
	current *rls.RateLimitResponse_RateLimit // shared by all answers
}

// newLimits takes the later one of two limits with the same entries.
func newLimits(all []Limit) *limits {
	ls := &limits{map[string]*node{}}
	for _, l := range all {
		l.Per = max(l.Per, time.Millisecond)
		n := ls.domains[l.Domain]
		if n == nil {
			n = new(node)
			ls.domains[l.Domain] = n
		}
		for _, e := range l.Entries {
			n = n.step(e)
		}
		n.limit = &limit{l, currentOf(l)}
	}
	return ls
}

// step is the node behind n by an entry, made if it is not there.
func (n *node) step(e resilience.Entry) *node {
	b := n.next[e.Key]
	if b == nil {
		if n.next == nil {
			n.next = map[string]*branch{}
		}
		b = &branch{exact: map[string]*node{}}
		n.next[e.Key] = b
	}
	if e.Value == "" {
		if b.any == nil {
			b.any = new(node)
		}
		return b.any
	}
	if b.exact[e.Value] == nil {
		b.exact[e.Value] = new(node)
	}
	return b.exact[e.Value]
}

// find is the limit of a descriptor, or nil. Of several, it is the one that names a value where
// the others do not, the earliest entry first.
func (ls *limits) find(domain string, entries []*descriptor.RateLimitDescriptor_Entry) *limit {
	if n := ls.domains[domain]; n != nil {
		return n.find(entries)
	}
	return nil
}

// find looks at each node behind n once at most.
func (n *node) find(entries []*descriptor.RateLimitDescriptor_Entry) *limit {
	if len(entries) == 0 {
		return n.limit
	}
	b := n.next[entries[0].GetKey()]
	if b == nil {
		return nil
	}
	if to := b.exact[entries[0].GetValue()]; to != nil {
		if l := to.find(entries[1:]); l != nil {
			return l
		}
	}
	if b.any != nil {
		return b.any.find(entries[1:])
	}
	return nil
}

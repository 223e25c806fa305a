// Package balancer chooses which host of a cluster serves an attempt.
//
// An [Endpoint] is what the configuration says; a [Host] is its live side and
// outlives configuration updates. A [Group] holds the hosts of one cluster and
// the [Picker] built from them, which is built anew whenever the configuration
// changes and swapped in by one atomic pointer. Nothing here calls a network.
//
// Only the lowest priority number that has a serving endpoint is used, and all of
// its serving endpoints are alike but for their weights: LocalityWeight does not
// count. That is what Envoy does while all hosts are healthy and no locality
// policy is set.
package balancer

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrNoHost means that the cluster has no host that may serve.
var ErrNoHost = errors.New("balancer: no host")

// A Group is the live hosts of one cluster. The zero Group is empty and ready.
// It is safe for concurrent use.
type Group struct {
	mu        sync.Mutex
	policy    Policy
	endpoints []Endpoint // what Update was given last
	hosts     map[string]*Host
	list      []*Host // in the order of the configuration

	picker atomic.Pointer[Picker]
}

// Update makes the group serve exactly these endpoints, which are kept and must not
// be modified; a host whose address stays keeps its state. It reports whether a
// host came or left. Of endpoints with one address the first counts. The same
// slice again, under the same policy, costs nothing.
func (g *Group) Update(p Policy, endpoints []Endpoint) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hosts != nil && p == g.policy && same(endpoints, g.endpoints) {
		return false
	}
	next := make(map[string]*Host, len(endpoints))
	list := make([]*Host, 0, len(endpoints))
	for i := range endpoints {
		e := &endpoints[i]
		if next[e.Addr] != nil {
			continue
		}
		h := g.hosts[e.Addr]
		if h == nil {
			h = newHost(e)
			changed = true
		} else {
			h.endpoint.Store(e)
		}
		next[e.Addr] = h
		list = append(list, h)
	}
	var picker *Picker
	if serving := serving(list); len(serving) > 0 {
		p := newPicker(p, serving)
		picker = &p
	}
	// The picker goes first: who is released by a departed host finds the new ones.
	g.picker.Store(picker)
	for addr, h := range g.hosts {
		if next[addr] == nil {
			changed = true
			close(h.gone)
		}
	}
	g.policy, g.endpoints, g.hosts, g.list = p, endpoints, next, list
	return changed
}

// Close drops all hosts.
func (g *Group) Close() { g.Update(Policy{}, nil) }

// Pick returns the host for an attempt, or ErrNoHost.
func (g *Group) Pick(w Want) (*Host, error) {
	if p := g.picker.Load(); p != nil {
		return (*p).Pick(w), nil
	}
	return nil, ErrNoHost
}

// Hosts lists the live hosts, serving or not.
func (g *Group) Hosts() []*Host {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.list)
}

// serving returns the hosts of the lowest priority that may be given calls.
func serving(hosts []*Host) (first []*Host) {
	best := ^uint32(0)
	for _, h := range hosts {
		e := h.Endpoint()
		if !e.Serves() || e.Priority > best {
			continue
		}
		if e.Priority < best {
			best, first = e.Priority, first[:0]
		}
		first = append(first, h)
	}
	return first
}

// same reports whether a and b are one slice.
func same(a, b []Endpoint) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

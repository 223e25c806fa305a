// Package balancer chooses which host of a cluster serves an attempt.
//
// An [Endpoint] is what the configuration says; a [Host] is its live side and
// outlives configuration updates. A [Group] holds the hosts of one cluster and
// the [Picker] built from them, which is built anew whenever the configuration
// changes and swapped in by one atomic pointer. Nothing here calls a network.
package balancer

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrNoHost means that the cluster has no host that may serve.
var ErrNoHost = errors.New("balancer: no host")

// A Want is what a Picker may know of an attempt. The zero Want wants any host.
type Want struct {
	// Avoid, if not nil, reports hosts that should not be picked while there is another.
	Avoid Avoider
}

// An Avoider tells a Picker which hosts to pass over while there are others.
// It must not block.
type Avoider interface{ Avoid(*Host) bool }

// A Picker chooses among the hosts it was built from. Pick never blocks, is safe
// for concurrent use, does not allocate, and returns nil only when there are no
// hosts. When Want.Avoid would leave none, it picks as if it were nil.
type Picker interface{ Pick(Want) *Host }

// newPicker builds the Picker of a policy. hosts is not empty, holds only hosts
// that may serve, and is owned by the Picker.
func newPicker(p Policy, hosts []*Host) Picker {
	switch p.Kind {
	case LeastRequest:
		return newLeastRequest(p, hosts)
	case Random:
		return newRandom(hosts)
	default:
		return newRoundRobin(hosts)
	}
}

// A Group is the live hosts of one cluster. The zero Group is empty and ready.
type Group struct {
	mu     sync.Mutex
	policy Policy
	hosts  map[string]*Host
	list   []*Host // in the order of the configuration

	picker atomic.Pointer[Picker]
}

// Update makes the group serve exactly these endpoints; a host whose address
// stays keeps its state. It reports whether a host came or left. Of endpoints
// with one address the first counts.
func (g *Group) Update(p Policy, endpoints []Endpoint) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := make(map[string]*Host, len(endpoints))
	list := make([]*Host, 0, len(endpoints))
	serving := make([]*Host, 0, len(endpoints))
	for _, e := range endpoints {
		if next[e.Addr] != nil {
			continue
		}
		h := g.hosts[e.Addr]
		if h == nil {
			h = newHost(e)
			changed = true
		} else {
			h.endpoint.Store(&e)
		}
		next[e.Addr] = h
		list = append(list, h)
		if e.Serves() {
			serving = append(serving, h)
		}
	}
	var picker *Picker
	if serving = lowestPriority(serving); len(serving) > 0 {
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
	g.policy, g.hosts, g.list = p, next, list
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

// lowestPriority keeps the hosts of the first priority that has any.
func lowestPriority(hosts []*Host) []*Host {
	best := ^uint32(0)
	for _, h := range hosts {
		best = min(best, h.Endpoint().Priority)
	}
	return slices.DeleteFunc(hosts, func(h *Host) bool { return h.Endpoint().Priority != best })
}

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
// policy is set. An [Outlier] takes hosts that fail out of service for a while; see [Group.Detect].
package balancer

import (
	"errors"
	"math"
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
	out       int     // how many are ejected
	back      int64   // when the first of them is to come back
	boundary  int64   // when the interval ends

	picker    atomic.Pointer[Picker]
	detection atomic.Pointer[detection]
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
			h = newHost(g, e)
			changed = true
		} else if was := h.endpoint.Swap(e); e.Health == Healthy && !was.Serves() {
			g.recovered(h)
		}
		next[e.Addr] = h
		list = append(list, h)
	}
	old := g.hosts
	g.policy, g.endpoints, g.hosts, g.list = p, endpoints, next, list
	// The picker goes first: who is released by a departed host finds the new ones.
	g.settle()
	for addr, h := range old {
		if next[addr] == nil {
			changed = true
			h.record.out.Store(false)
			close(h.gone)
		}
	}
	return changed
}

// Close drops all hosts.
func (g *Group) Close() { g.Update(Policy{}, nil) }

// Pick returns the host for an attempt, or ErrNoHost.
func (g *Group) Pick(w Want) (*Host, error) {
	if d := g.detection.Load(); d != nil {
		if due := d.due.Load(); due != never && d.now() >= due {
			g.sweep(d, due)
		}
	}
	if p := g.picker.Load(); p != nil {
		return (*p).Pick(w), nil
	}
	return nil, ErrNoHost
}

// Hosts lists the live hosts, serving or not.
func (g *Group) Hosts() []*Host {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh()
	return slices.Clone(g.list)
}

// inService returns the hosts that may be given calls: those of the lowest priority
// of which at least minHealth percent are not ejected, without the ejected ones. If there
// is no such priority, ejections do not count, unless minHealth is 0.
func inService(hosts []*Host, minHealth uint32) []*Host {
	for from := uint64(0); ; {
		in, priority := serving(hosts, from)
		all := len(in)
		if all == 0 {
			break
		}
		in = slices.DeleteFunc(in, (*Host).Ejected)
		if len(in) > 0 && uint64(len(in))*100 >= uint64(all)*uint64(minHealth) {
			return in
		}
		from = uint64(priority) + 1
	}
	if minHealth == 0 {
		return nil
	}
	all, _ := serving(hosts, 0)
	return all
}

// serving returns the hosts that serve by configuration, of the lowest priority that has any and is not below from.
func serving(hosts []*Host, from uint64) (first []*Host, priority uint32) {
	priority = math.MaxUint32
	for _, h := range hosts {
		e := h.Endpoint()
		if !e.Serves() || e.Priority > priority || uint64(e.Priority) < from {
			continue
		}
		if e.Priority < priority {
			priority, first = e.Priority, first[:0]
		}
		first = append(first, h)
	}
	return first, priority
}

// same reports whether a and b are one slice.
func same(a, b []Endpoint) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

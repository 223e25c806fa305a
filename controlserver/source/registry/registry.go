// Package registry is the source of processes that register themselves. A
// process is registered by its own discovery stream: it says who it is when it
// opens the stream, subscribes to the inbound listener of each port it listens
// on, and tells in between its health and how it takes connections. A stream that breaks leaves its process
// for a grace time, so that a restart of the control server's connection loses
// nobody; one that ends in good order takes it along.
package registry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
)

// Config of a Registry. A zero field takes its default.
type Config struct {
	// Grace is how long a process stays after its stream broke: 10 s. Negative is none.
	Grace time.Duration
	// Gather is how long a change waits for others to be reported with it: 10 ms.
	Gather time.Duration
	// Ports bounds the ports a stream may register: 64.
	Ports int
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// A Process is what a client says of itself when it opens its stream.
type Process struct {
	ID             string // of the node, for messages
	Service        string // "name" or "name.namespace"; empty for a process that only selectors find
	Namespace      string // unless Service names one
	ServiceAccount string
	Identity       string            // that it has proved; empty where nobody has to
	Labels         map[string]string // not modified afterwards
	Locality       balancer.Locality
	Addresses      []string   // of its own, the first stands for an unspecified one
	Peer           netip.Addr // where the stream comes from, stands if there are no Addresses
}

// A Registry holds the processes. Its methods may be called concurrently; those
// for one stream come one after the other, as ads.Observer has it.
type Registry struct {
	grace, gather time.Duration
	ports         int
	log           *slog.Logger
	changed       chan struct{} // holds one word: look

	mu      sync.Mutex
	heard   uint64        // changes
	said    uint64        // those that are reported
	news    chan struct{} // closed and replaced when said grows
	streams map[uint64]*instance
	owners  map[netip.AddrPort]*instance
	orphans map[*instance]time.Time // whose stream broke, and until when they stay
}

// An instance is one process, alive or waited for.
type instance struct {
	Process
	health balancer.Health
	ports  []netip.AddrPort                 // in the order it opened them
	modes  map[netip.AddrPort]identity.Mode // in force there, as far as it has said
}

// New makes an empty registry.
func New(cfg Config) *Registry {
	return &Registry{
		grace:   max(0, cmp.Or(cfg.Grace, 10*time.Second)),
		gather:  cmp.Or(cfg.Gather, 10*time.Millisecond),
		ports:   cmp.Or(cfg.Ports, 64),
		log:     cmp.Or(cfg.Logger, slog.Default()),
		changed: make(chan struct{}, 1),
		news:    make(chan struct{}),
		streams: make(map[uint64]*instance),
		owners:  make(map[netip.AddrPort]*instance),
		orphans: make(map[*instance]time.Time),
	}
}

// Open tells of a new stream. It registers nothing yet.
func (r *Registry) Open(stream uint64, p Process) {
	if err := p.check(); err != nil {
		r.log.Warn("process cannot register", "node", p.ID, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams[stream] = &instance{Process: p.normal(), modes: map[netip.AddrPort]identity.Mode{}}
}

// Subscribed registers the ports whose inbound listeners are among the names.
func (r *Registry) Subscribed(stream uint64, typeURL string, names []string) {
	if typeURL != listenerType {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.streams[stream]
	if i == nil {
		return
	}
	for _, name := range names {
		addr, ok, err := i.inbound(name)
		switch {
		case !ok:
		case err != nil:
			r.log.Warn("port cannot be registered", "node", i.ID, "listener", name, "error", err)
		case r.owners[addr] == i:
		case len(i.ports) >= r.ports:
			r.log.Warn("port cannot be registered", "node", i.ID, "listener", name, "limit", r.ports)
		case r.owner(i, addr) != "":
			r.log.Warn("port cannot be registered: it, or the service, is another's", "node", i.ID, "identity", i.Identity, "listener", name, "owner", r.owner(i, addr))
		default:
			if old := r.owners[addr]; old != nil {
				r.succeed(old, i, addr)
			}
			r.owners[addr] = i
			i.ports = append(i.ports, addr)
			r.look()
		}
	}
}

// owner is the identity that an instance would take the port or the service from: whoever came first keeps it for as long as it is
// there. Empty is nobody.
func (r *Registry) owner(i *instance, addr netip.AddrPort) string {
	if old := r.owners[addr]; old != nil && old.Identity != i.Identity {
		if _, orphan := r.orphans[old]; !orphan {
			return old.Identity
		}
	}
	if i.Service == "" {
		return ""
	}
	for _, other := range r.owners {
		if other.Identity != i.Identity && other.Service == i.Service && other.Namespace == i.Namespace {
			return other.Identity
		}
	}
	return ""
}

// Unsubscribed deregisters ports at once.
func (r *Registry) Unsubscribed(stream uint64, typeURL string, names []string) {
	if typeURL != listenerType {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.streams[stream]
	if i == nil {
		return
	}
	for _, name := range names {
		if addr, ok, err := i.inbound(name); ok && err == nil && r.owners[addr] == i {
			delete(r.owners, addr)
			i.drop(addr)
			r.look()
		}
	}
}

// InForce takes what a process says of the listener of a port: how it takes connections there from now on.
func (r *Registry) InForce(stream uint64, listener string, m identity.Mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.streams[stream]
	if i == nil {
		return
	}
	// It may be said before the port is registered.
	if addr, ok, err := i.inbound(listener); ok && err == nil && i.modes[addr] != m && (len(i.modes) < r.ports || i.modes[addr] != identity.Unset) {
		i.modes[addr] = m
		r.look()
	}
}

// Health takes what a process says of itself. A reason that begins with
// "draining" means that it finishes what it has and wants nothing new.
func (r *Registry) Health(stream uint64, healthy bool, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.streams[stream]
	if i == nil {
		return
	}
	if h := healthOf(healthy, reason); h != i.health {
		i.health = h
		r.look()
	}
}

// StreamClosed deregisters the stream's process: at once after a clean end, else
// when the grace time has passed and no other stream registered its ports.
func (r *Registry) StreamClosed(stream uint64, clean bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.streams[stream]
	delete(r.streams, stream)
	if i == nil || len(i.ports) == 0 {
		return
	}
	if clean || r.grace == 0 {
		r.remove(i)
	} else {
		r.orphans[i] = time.Now().Add(r.grace)
	}
	r.look()
}

// Run reports all registered processes at the start and whenever they change,
// until ctx is done. Grace times end only while it runs.
func (r *Registry) Run(ctx context.Context, report func(catalog.Fragment)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last []catalog.Workload
	for first := true; ; first = false {
		workloads, next, heard := r.survey(time.Now())
		if first || !equal(last, workloads) {
			last = workloads
			report(catalog.Fragment{Source: "registry", Workloads: workloads})
		}
		r.tell(heard)
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.changed:
			timer.Reset(r.gather)
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
		}
	}
}

// Reported waits until Run has reported all that the registry was told so far.
func (r *Registry) Reported(ctx context.Context) error {
	r.mu.Lock()
	heard := r.heard
	r.mu.Unlock()
	for {
		r.mu.Lock()
		said, news := r.said, r.news
		r.mu.Unlock()
		if said >= heard {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("registered processes are not reported: %w", ctx.Err())
		}
	}
}

// tell says that so many changes are reported.
func (r *Registry) tell(heard uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if heard > r.said {
		r.said = heard
		close(r.news)
		r.news = make(chan struct{})
	}
}

// survey lays the forgotten to rest and returns the others, when to come again, and how many changes there were.
func (r *Registry) survey(now time.Time) (workloads []catalog.Workload, next time.Time, heard uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, until := range r.orphans {
		switch {
		case !until.After(now):
			r.remove(i)
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	seen := make(map[*instance]bool, len(r.owners))
	for _, i := range r.owners {
		if !seen[i] {
			seen[i] = true
			workloads = append(workloads, i.workloads()...)
		}
	}
	sortWorkloads(workloads)
	return workloads, next, r.heard
}

// remove takes an instance and all its ports away.
func (r *Registry) remove(i *instance) {
	for _, addr := range i.ports {
		delete(r.owners, addr)
	}
	i.ports = nil
	delete(r.orphans, i)
}

// succeed takes a port from an instance: the new one is the same process on a new
// stream, of which what was known holds until it tells something else, or the next on that port.
func (r *Registry) succeed(old, i *instance, addr netip.AddrPort) {
	if old.ID == i.ID && i.health == balancer.HealthUnknown {
		i.health = old.health
	}
	if mode := old.modes[addr]; old.ID == i.ID && mode != identity.Unset && i.modes[addr] == identity.Unset {
		i.modes[addr] = mode
	}
	old.drop(addr)
	if len(old.ports) == 0 {
		delete(r.orphans, old)
	}
}

// look wakes Run. r.mu is held.
func (r *Registry) look() {
	r.heard++
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

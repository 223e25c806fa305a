package grpcadapter

import (
	"errors"
	"sync"

	"google.golang.org/grpc/attributes"
	grpcresolver "google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// Scheme is that of the targets the mesh resolves.
func (c *client) Scheme() string { return scheme }

// Build begins to report the hosts of a service to gRPC.
func (c *client) Build(t grpcresolver.Target, cc grpcresolver.ClientConn, _ grpcresolver.BuildOptions) (grpcresolver.Resolver, error) {
	name := t.Endpoint()
	if name == "" {
		return nil, errors.New("target names no service; it is written mesh:///name")
	}
	w := &watcher{
		cc:     cc,
		config: cc.ParseServiceConfig(serviceConfig),
		dirty:  make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	service := c.engine.Service(name)
	w.unwatch = service.OnChange(w.changed)
	for service != c.engine.Service(name) { // forgotten just before it was observed
		w.unwatch()
		service = c.engine.Service(name)
		w.unwatch = service.OnChange(w.changed)
	}
	w.target = &target{c, service}
	w.changed()
	w.running.Go(w.run)
	return w, nil
}

// A target is what the resolver hands to the balancer. The balancer reads the
// hosts there itself, so that what it sees is never older than the engine's.
type target struct {
	client  *client
	service *engine.Service
}

type targetKey struct{}

// A watcher tells gRPC that the hosts of a service have changed. It runs until Close.
type watcher struct {
	cc      grpcresolver.ClientConn
	target  *target
	config  *serviceconfig.ParseResult
	unwatch func()
	dirty   chan struct{} // holds one note, however many changes there were
	done    chan struct{}
	running sync.WaitGroup
}

// changed notes a change. It does not block, as the engine demands of observers.
func (w *watcher) changed() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

func (w *watcher) run() {
	for {
		select {
		case <-w.dirty:
			// gRPC's complaint is of no use here: the balancer sees to its state.
			_ = w.cc.UpdateState(grpcresolver.State{
				ServiceConfig: w.config,
				Attributes:    attributes.New(targetKey{}, w.target),
			})
		case <-w.done:
			return
		}
	}
}

// ResolveNow does nothing: changes are reported as they come.
func (w *watcher) ResolveNow(grpcresolver.ResolveNowOptions) {}

// Close stops the watcher and waits for it.
func (w *watcher) Close() {
	w.unwatch()
	close(w.done)
	w.running.Wait()
}

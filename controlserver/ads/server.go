package ads

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// An Observer is told what clients do. The calls for one stream come one after
// the other, StreamOpened first and StreamClosed last; those for different
// streams come at once. They delay that stream's requests, so they should be
// quick. Names and resources are not to be modified.
type Observer interface {
	StreamOpened(stream uint64, n *Node)
	Subscribed(stream uint64, typeURL string, names []string)
	Unsubscribed(stream uint64, typeURL string, names []string)
	// Took says what the client uses from now on: what it has acknowledged, or brought from an earlier stream and what is still so.
	Took(stream uint64, resources []*Resource)
	// Health is what the client says of itself; reason is empty when healthy.
	Health(stream uint64, healthy bool, reason string)
	// StreamClosed says that the stream is over; clean, that the client ended it
	// in good order rather than breaking off.
	StreamClosed(stream uint64, clean bool)
}

// An Identity is who a client has proved to be.
type Identity struct {
	ID     string    // SPIFFE ID
	Serial string    // of its certificate, as identity.Serial has it; empty if it has proved it otherwise
	Until  time.Time // when the proof ends, and with it the stream; zero is never
}

// Config of a Server. The zero value serves, unobserved, with default limits, whoever asks.
type Config struct {
	Observer Observer
	// Identify says who the client is that a stream's context is of. Its error, a gRPC status, refuses the stream. nil asks nobody to
	// prove anything.
	Identify func(context.Context) (Identity, error)
	// Admit says whether a client that calls itself that node may be served, and may fill in what it left out. Its error, a gRPC status, refuses
	// the stream. nil admits all.
	Admit  func(*Node) error
	Limits Limits
	// Warmup is for how long after New a client that brings resources from an
	// earlier stream is not answered: where clients themselves feed the
	// configuration, it is not whole before they are back, and such a client has
	// something better. Others are answered at once. 0 is none.
	Warmup time.Duration
	Logger *slog.Logger // default slog.Default()
}

// A Server is the aggregated discovery service. Make its grpc.Server with
// [ServerOptions].
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	observer  Observer
	identify  func(context.Context) (Identity, error)
	admits    func(*Node) error
	limits    Limits
	warm      time.Time // from when on returning clients are answered
	log       *slog.Logger
	published atomic.Pointer[publication]
	tasks     sync.WaitGroup // receiving and sending goroutines

	waiters atomic.Int32 // in Settled

	mu       sync.Mutex
	streams  map[uint64]*stream
	last     uint64
	draining bool
	closed   bool
	news     chan struct{} // closed and replaced when a stream settles or leaves, while somebody waits
}

// A publication is a configuration as the server serves it.
type publication struct {
	view  func(*Node) Snapshot
	shelf *shelf
}

// New makes a server. It answers nobody before the first [Server.Publish].
func New(cfg Config) *Server {
	return &Server{
		observer: cfg.Observer,
		identify: cfg.Identify,
		admits:   cfg.Admit,
		limits:   cfg.Limits.withDefaults(),
		warm:     time.Now().Add(cfg.Warmup),
		log:      cmp.Or(cfg.Logger, slog.Default()),
		streams:  make(map[uint64]*stream),
		news:     make(chan struct{}),
	}
}

// Register adds the service to a grpc.Server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// Publish makes every stream bring its client up to date with a new
// configuration, and returns at once. view returns what a node may see, from
// many goroutines, once for each stream and publication; nil leaves the node
// with what it has. Nodes that see the same should get the same Snapshot.
func (s *Server) Publish(view func(*Node) Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published.Store(&publication{view, newShelf()})
	for _, st := range s.streams {
		st.kick()
	}
}

// StreamAggregatedResources serves a state-of-the-world stream.
func (s *Server) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serve(g, StateOfTheWorld)
}

// DeltaAggregatedResources serves a delta stream.
func (s *Server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(g, Delta)
}

func (s *Server) serve(g grpc.ServerStream, p Protocol) error {
	var who Identity
	if s.identify != nil {
		var err error
		if who, err = s.identify(g.Context()); err != nil {
			return err
		}
	}
	st, err := s.admit(g, p, who)
	if err != nil {
		return err
	}
	return st.serve()
}

func (s *Server) admit(g grpc.ServerStream, p Protocol, who Identity) (*stream, error) {
	st := &stream{
		server: s, grpc: g, protocol: p, peer: peerOf(g.Context()), identity: who, since: time.Now(),
		opened: make(chan struct{}), over: make(chan struct{}),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.draining:
		return nil, errLeaving
	case len(s.streams) >= s.limits.Streams:
		return nil, status.Errorf(codes.ResourceExhausted, "%d streams are open, the limit", s.limits.Streams)
	}
	s.last++
	st.id = s.last
	s.streams[st.id] = st
	s.tasks.Add(1) // until forget: the receiving goroutine may not have begun
	return st, nil
}

var errLeaving = status.Error(codes.Unavailable, "the control server is shutting down; connect again")

// Evict ends the streams of the nodes that gone names, with err, a gRPC status, and returns how many there were. They are not
// held off from coming again: that is Config.Admit's business.
func (s *Server) Evict(gone func(*Node) bool, err error) (n int) {
	s.mu.Lock()
	streams := s.all()
	s.mu.Unlock()
	for _, st := range streams {
		st.mu.Lock()
		node := st.node
		st.mu.Unlock()
		if node != nil && gone(node) {
			st.end(err)
			n++
		}
	}
	return n
}

// forget is the last a stream does.
func (s *Server) forget(st *stream) {
	s.mu.Lock()
	delete(s.streams, st.id)
	s.mu.Unlock()
	s.poke()
	s.tasks.Done()
}

// Settled waits until every client that is connected has answered, by taking or
// refusing, for all that the last publication holds for it. A client that is
// about to ask for more because of what it took counts as settled.
func (s *Server) Settled(ctx context.Context) error {
	s.waiters.Add(1)
	defer s.waiters.Add(-1)
	s.mu.Lock()
	open := s.all()
	s.mu.Unlock()
	for len(open) > 0 {
		s.mu.Lock()
		news := s.news
		s.mu.Unlock()
		if open[0].settled(s.published.Load()) {
			open = open[1:]
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("client %s has not answered: %w", open[0].name(), ctx.Err())
		}
	}
	return nil
}

// poke wakes those who wait for streams to settle.
func (s *Server) poke() {
	if s.waiters.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

// Drain refuses new streams and ends the open ones one after the other, over at
// most spread and at most 20 ms apart, so that clients do not reach their next server
// all at once. It waits for them until ctx is done.
func (s *Server) Drain(ctx context.Context, spread time.Duration) error {
	s.waiters.Add(1)
	defer s.waiters.Add(-1)
	s.mu.Lock()
	s.draining = true
	open := s.all()
	s.mu.Unlock()

	const most = 20 * time.Millisecond
	pause := min(most, spread/time.Duration(max(1, len(open))))
	tick := time.NewTimer(0)
	defer tick.Stop()
	for _, st := range open {
		select {
		case <-tick.C:
			tick.Reset(pause)
		case <-ctx.Done():
		}
		st.end(errLeaving)
	}
	for {
		s.mu.Lock()
		news, n := s.news, len(s.streams)
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("%d streams still open: %w", n, ctx.Err())
		}
	}
}

// Close refuses new streams, ends the open ones and waits until their goroutines
// have returned. It can be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.all()
	s.mu.Unlock()
	for _, st := range open {
		st.end(errLeaving)
	}
	s.tasks.Wait()
	return nil
}

// all returns the open streams, oldest first. s.mu is held.
func (s *Server) all() []*stream {
	return slices.SortedFunc(maps.Values(s.streams), func(a, b *stream) int { return cmp.Compare(a.id, b.id) })
}

func peerOf(ctx context.Context) netip.AddrPort {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.AddrPort{}
	}
	if tcp, ok := p.Addr.(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return netip.AddrPort{}
}

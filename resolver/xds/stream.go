package xds

import (
	"context"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// A stream is one attempt at a conversation, with a connection of its own: when to
// connect is only decided by the link.
type stream struct {
	ctx    context.Context
	cancel context.CancelFunc
	server server
	delta  bool
	node   *corev3.Node
	dial   []grpc.DialOption

	out    chan *request // closed to say goodbye
	events chan<- event
	in     chan<- *response

	// Of the core.
	started   time.Time
	closeBy   time.Time // when to cancel; zero means never
	up        bool
	greeted   bool // a request was handed over
	finished  bool // out is closed
	responses int
}

// A dialect is one of the two protocols of ADS.
type dialect interface {
	send(*request) error
	recv() (*response, error)
	CloseSend() error
}

func (s *stream) protocol() string {
	if s.delta {
		return "delta"
	}
	return "sotw"
}

// run lives as long as the stream. Its last event says how it ended.
func (s *stream) run() {
	err := s.talk()
	s.cancel()
	s.events <- event{err: err}
}

func (s *stream) talk() error {
	node, err := s.identified()
	if err != nil {
		return err
	}
	conn, err := s.server.dial(s.dial)
	if err != nil {
		return err
	}
	defer conn.Close()
	ads, err := s.open(conn, node)
	if err != nil {
		return err
	}
	s.events <- event{up: true}
	broken := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() { s.send(ads, broken) })
	defer sender.Wait()
	defer s.cancel()
	for {
		r, err := ads.recv()
		if err != nil {
			return err
		}
		select {
		case s.in <- r:
		case <-broken: // the next recv says why
		case <-s.ctx.Done():
		}
	}
}

func (s *stream) open(conn *grpc.ClientConn, node *corev3.Node) (dialect, error) {
	client := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	if s.delta {
		ads, err := client.DeltaAggregatedResources(s.ctx)
		return &delta{ads, node}, err
	}
	ads, err := client.StreamAggregatedResources(s.ctx)
	return &sotw{ads, node}, err
}

// send takes requests one by one until there are no more or one cannot be sent.
func (s *stream) send(ads dialect, broken chan<- struct{}) {
	for {
		select {
		case r, ok := <-s.out:
			if !ok {
				ads.CloseSend() //nolint:errcheck // gRPC: it is always nil
				return
			}
			if err := ads.send(r); err != nil {
				close(broken)
				return
			}
			s.events <- event{sent: r}
		case <-s.ctx.Done():
			return
		}
	}
}

// refusal is the error_detail of a request; nil if there is nothing wrong.
func (r *request) refusal() *rpcstatus.Status {
	if r.reason == "" {
		return nil
	}
	return &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: r.reason}
}

package workload

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// An agent serves the Workload API on a unix socket.
type agent struct {
	api.UnimplementedSpiffeWorkloadAPIServer
	t      *testing.T
	socket string
	server *grpc.Server
	served sync.WaitGroup

	mu      sync.Mutex
	answer  *api.X509SVIDResponse // nil fails with refuse
	refuse  error
	asked   int
	changed chan struct{} // closed by a change of all that
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft") //nolint:usetesting // the path of a socket must be short, and that of t.TempDir is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &agent{
		t: t, socket: filepath.Join(dir, "agent.sock"), changed: make(chan struct{}),
		refuse: status.Error(codes.PermissionDenied, "no identity issued"),
	}
	a.start()
	t.Cleanup(a.stop)
	return a
}

func (a *agent) address() string { return "unix://" + a.socket }

func (a *agent) start() {
	a.t.Helper()
	l, err := net.Listen("unix", a.socket)
	if err != nil {
		a.t.Fatal(err)
	}
	a.server = grpc.NewServer()
	api.RegisterSpiffeWorkloadAPIServer(a.server, a)
	server := a.server
	a.served.Go(func() { server.Serve(l) })
}

func (a *agent) stop() {
	a.server.Stop()
	a.served.Wait()
}

// FetchX509SVID implements the Workload API.
func (a *agent) FetchX509SVID(_ *api.X509SVIDRequest, stream grpc.ServerStreamingServer[api.X509SVIDResponse]) error {
	if md, _ := metadata.FromIncomingContext(stream.Context()); len(md.Get("workload.spiffe.io")) != 1 {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	a.set(func() { a.asked++ })
	var sent *api.X509SVIDResponse
	for {
		a.mu.Lock()
		answer, refuse, changed := a.answer, a.refuse, a.changed
		a.mu.Unlock()
		if answer == nil {
			return refuse
		}
		if answer != sent {
			if err := stream.Send(answer); err != nil {
				return err
			}
			sent = answer
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// say answers with these SVIDs from now on, and with bundles of other trust domains.
func (a *agent) say(own *x509bundle.Bundle, svids []*x509svid.SVID, others ...*x509bundle.Bundle) {
	a.t.Helper()
	r := &api.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
	for _, s := range svids {
		chain, key, err := s.MarshalRaw()
		if err != nil {
			a.t.Fatal(err)
		}
		r.Svids = append(r.Svids, &api.X509SVID{SpiffeId: s.ID.String(), X509Svid: chain, X509SvidKey: key, Bundle: der(own), Hint: s.Hint})
	}
	for _, b := range others {
		r.FederatedBundles[b.TrustDomain().IDString()] = der(b)
	}
	a.set(func() { a.answer = r })
}

func (a *agent) fail(err error) {
	a.set(func() { a.answer, a.refuse = nil, err })
}

// untilAsked waits until somebody has begun to watch that many times.
func (a *agent) untilAsked(times int) {
	a.t.Helper()
	for {
		a.mu.Lock()
		asked, changed := a.asked, a.changed
		a.mu.Unlock()
		if asked >= times {
			return
		}
		select {
		case <-changed:
		case <-a.t.Context().Done():
			a.t.Fatal("nobody asked")
		}
	}
}

func (a *agent) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.changed)
	a.changed = make(chan struct{})
}

func der(b *x509bundle.Bundle) []byte {
	var out []byte
	for _, c := range b.X509Authorities() {
		out = append(out, c.Raw...)
	}
	return out
}

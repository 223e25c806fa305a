package grpcadapter

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Endpoints come and go every few milliseconds, and no call is lost by it: those
// that wait for a host that leaves go elsewhere, those it serves end there.
func TestMovingEndpointsLoseNoCall(t *testing.T) {
	const hosts, callers = 6, 8
	var addrs []string
	for range hosts {
		addrs = append(addrs, (&backend{name: "x"}).serve(t).addr)
	}
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, addrs[0], addrs[1])
		c := pb.NewTestServiceClient(mesh(t, r))
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		var calls atomic.Int64
		var running sync.WaitGroup
		for range callers {
			running.Go(func() {
				for ctx.Err() == nil {
					for kind, call := range kinds {
						if err := call(soon(t), c); err != nil {
							t.Errorf("%s, %d retries: %v", kind, p.Retry.Attempts, err)
							return
						}
						calls.Add(1)
					}
				}
			})
		}
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			select {
			case <-tick.C:
				r.endpoints(p, addrs[i%hosts], addrs[(i+1)%hosts])
			case <-ctx.Done():
			}
		}
		running.Wait()
		t.Logf("%d calls", calls.Load())
	}
}

// A stream goes on at its host after that has left.
func TestDepartedHostEndsItsStreamsInPeace(t *testing.T) {
	a, b := (&backend{name: "a"}).serve(t), (&backend{name: "b"}).serve(t)
	r := &moving{}
	r.endpoints(resilience.Policy{}, a.addr)
	c := pb.NewTestServiceClient(mesh(t, r))
	s, err := c.FullDuplexCall(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	echo := func() {
		t.Helper()
		if err := s.Send(&pb.StreamingOutputCallRequest{Payload: body(1)}); err != nil {
			t.Error(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Error(err)
		}
	}
	echo()
	r.endpoints(resilience.Policy{}, b.addr)
	for range 3 {
		if m, err := c.UnaryCall(soon(t), &pb.SimpleRequest{}); err != nil || m.ServerId != "b" {
			t.Errorf("%v, %v", m, err)
		}
		echo()
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := drain(s, 0); err != nil {
		t.Error(err)
	}
}

// A severing listener keeps its connections, to cut them.
type severing struct {
	net.Listener
	accepted chan struct{}
	mu       sync.Mutex
	conns    []net.Conn
}

func (l *severing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.conns = append(l.conns, c)
		l.accepted <- struct{}{}
	}
	return c, err
}

func (l *severing) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// A connection that was cut is made again, with or without a call.
func TestLostConnectionIsMadeAgain(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &severing{Listener: inner, accepted: make(chan struct{}, 100)}
	b := (&backend{name: "a"}).on(t, l)
	r := &moving{}
	r.endpoints(resilience.Policy{}, b.addr)
	cc := mesh(t, r)
	await(t, cc, connectivity.Ready)
	receive(t, l.accepted, 1)
	for range 5 {
		l.sever()
		receive(t, l.accepted, 1)
		await(t, cc, connectivity.Ready)
		if err := kinds["unary"](soon(t), pb.NewTestServiceClient(cc)); err != nil {
			t.Error(err)
		}
	}
}

func TestConnectivityOfTheChannel(t *testing.T) {
	r := &moving{}
	cc := mesh(t, r)
	if s := cc.GetState(); s != connectivity.Idle {
		t.Errorf("%v before the first call", s)
	}
	await(t, cc, connectivity.Connecting) // the service is not known yet
	r.endpoints(resilience.Policy{})
	await(t, cc, connectivity.TransientFailure) // it has no hosts
	a := (&backend{name: "a"}).serve(t)
	r.endpoints(resilience.Policy{}, dead(t), a.addr)
	await(t, cc, connectivity.Ready)
	r.endpoints(resilience.Policy{}, dead(t))
	await(t, cc, connectivity.TransientFailure)
	r.report(nil, &resolver.UnknownError{Name: "s"})
	r.endpoints(resilience.Policy{}, a.addr)
	await(t, cc, connectivity.Ready)
}

// Service configs are about what the mesh decides; a user's neither replace it nor are in the way.
func TestServiceConfigOfTheUser(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	for name, opt := range map[string]grpc.DialOption{
		"default":  grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		"disabled": grpc.WithDisableServiceConfig(),
	} {
		r := &moving{}
		r.endpoints(resilience.Policy{}, a.addr)
		if err := kinds["unary"](soon(t), pb.NewTestServiceClient(mesh(t, r, opt))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An idle channel drops its connections and takes them up again; what the engine knows stays.
func TestIdleChannelWakes(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	for _, p := range []resilience.Policy{{}, retrying} {
		r := &moving{}
		r.endpoints(p, a.addr)
		e := newEngine(t, r, nil)
		cc := dial(t, "mesh:///s", append(DialOptions(e), grpc.WithIdleTimeout(20*time.Millisecond))...)
		c := pb.NewTestServiceClient(cc)
		for range 3 {
			for kind, call := range kinds {
				if err := call(soon(t), c); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			}
			for s := cc.GetState(); s != connectivity.Idle; s = cc.GetState() {
				cc.WaitForStateChange(soon(t), s)
			}
		}
	}
}

// A ClientConn that is closed leaves nothing behind in the options it was made with.
func TestClosedClientConnIsForgotten(t *testing.T) {
	a := (&backend{name: "a"}).serve(t)
	r := &moving{}
	r.endpoints(resilience.Policy{}, a.addr)
	e := newEngine(t, r, nil)
	c := &client{engine: e}
	c.channels.Store(&map[*grpc.ClientConn]*channel{})
	cc := dial(t, "mesh:///s", grpc.WithResolvers(c), grpc.WithTransportCredentials(transportCredentials{}), grpc.WithUnaryInterceptor(c.unary))
	if err := kinds["unary"](soon(t), pb.NewTestServiceClient(cc)); err != nil {
		t.Fatal(err)
	}
	if ch := c.channelOf(cc); ch == nil || !ch.picker.Load().connected(e.Service("s").Hosts()[0].Host) {
		t.Fatal("the channel is not known after a call")
	}
	if err := cc.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(*c.channels.Load()); n != 0 {
		t.Errorf("%d channels are kept", n)
	}
}

// A connected host of a priority that is not used is no reason to leave one that is still connecting.
func TestFallbackHostsAreNotWaitedFor(t *testing.T) {
	a, b := (&backend{name: "a"}).serve(t), (&backend{name: "b"}).serve(t)
	s := oneRoute(resilience.Policy{}, a.addr)
	c := s.Clusters["c"]
	c.Endpoints = append(c.Endpoints,
		balancer.Endpoint{Addr: b.addr, Priority: 1},
		balancer.Endpoint{Addr: b.addr, Health: balancer.Draining})
	s.Clusters["c"] = c
	for range 10 {
		r := &moving{}
		r.report(s, nil)
		seen := &witness{}
		m, err := pb.NewTestServiceClient(dial(t, "mesh:///s", DialOptions(newEngine(t, r, seen))...)).UnaryCall(soon(t), &pb.SimpleRequest{})
		if err != nil || m.ServerId != "a" {
			t.Errorf("%v, %v", m, err)
		}
		if n := seen.tries(); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
	}
}

// tlsServer starts a TLS backend and returns what a client must demand of it.
func tlsServer(t *testing.T) (*backend, identity.ClientTLS) {
	t.Helper()
	h := httptest.NewUnstartedServer(nil)
	h.StartTLS()
	defer h.Close()
	config := h.TLS.Clone()
	config.NextProtos = []string{"h2"}
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	b := (&backend{name: "tls"}).serve(t, grpc.Creds(credentials.NewTLS(config)))
	return b, identity.ClientTLS{ServerName: "example.com", RootCAs: string(roots)}
}

// Hosts of one channel may be plaintext and TLS; each connection is what its cluster demands.
func TestClustersDemandTLS(t *testing.T) {
	secure, good := tlsServer(t)
	open := (&backend{name: "open"}).serve(t)
	wrong := good
	wrong.SubjectAltNames = identity.ExactNames("spiffe://somebody/else")
	for _, tt := range []struct {
		name string
		addr string
		tls  *identity.ClientTLS
		ok   bool
	}{
		{"TLS", secure.addr, &good, true},
		{"TLS, wrong name", secure.addr, &wrong, false},
		{"TLS, wrong roots", secure.addr, &identity.ClientTLS{ServerName: "example.com", RootCAs: "none"}, false},
		{"TLS of a plaintext server", open.addr, &good, false},
		{"plaintext", open.addr, nil, true},
		{"plaintext of a TLS server", secure.addr, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := oneRoute(resilience.Policy{}, tt.addr)
			s.Clusters["c"] = resolver.Cluster{Name: "c", Endpoints: []balancer.Endpoint{{Addr: tt.addr}}, TLS: tt.tls}
			// Other clusters, before and after it, say the opposite of the same address.
			for _, name := range []string{"b", "d"} {
				other := resolver.Cluster{Name: name, Endpoints: s.Clusters["c"].Endpoints}
				if tt.tls == nil {
					other.TLS = &good
				}
				s.Clusters[name] = other
			}
			r := &moving{}
			r.report(s, nil)
			for range 5 { // which cluster is connected to first is left to chance
				err := kinds["unary"](soon(t), pb.NewTestServiceClient(mesh(t, r)))
				if (err == nil) != tt.ok {
					t.Errorf("%v, want success: %v", err, tt.ok)
				}
				if !tt.ok && status.Code(err) != codes.Unavailable {
					t.Errorf("%v, want unavailable", err)
				}
			}
		})
	}
}

// Whoever puts other credentials in place of ours does not get plaintext where TLS is demanded.
func TestForeignCredentialsDoNotDowngrade(t *testing.T) {
	open := (&backend{name: "open"}).serve(t)
	s := oneRoute(resilience.Policy{}, open.addr)
	c := s.Clusters["c"]
	c.TLS = &identity.ClientTLS{}
	s.Clusters["c"] = c
	r := &moving{}
	r.report(s, nil)
	err := kinds["unary"](soon(t), pb.NewTestServiceClient(mesh(t, r, plain())))
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Unreachable {
		t.Errorf("%v, want unreachable", err)
	}
}

// A raw server answers each request of a connection with a frame of HTTP/2 and closes it.
func rawServer(t *testing.T, frame ...byte) (addr string, requests *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = new(atomic.Int64)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				read := func(b []byte) bool {
					for len(b) > 0 {
						n, err := conn.Read(b)
						if err != nil {
							return false
						}
						b = b[n:]
					}
					return true
				}
				write := func(b ...byte) { _, _ = conn.Write(b) }
				write(0, 0, 0, 4, 0, 0, 0, 0, 0) // SETTINGS
				if !read(make([]byte, 24)) {     // the preface
					return
				}
				head := make([]byte, 9)
				for read(head) {
					if !read(make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))) {
						return
					}
					if head[3] == 1 { // HEADERS
						requests.Add(1)
						f := slices.Clone(frame)
						if f[3] == 3 { // RST_STREAM is of that stream
							copy(f[5:9], head[5:9])
						}
						write(f...)
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String(), requests
}

var (
	refusedStream = []byte{0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 7}
	goAway        = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
)

// What a host says it has not processed goes to another one, of its own accord
// only as often as gRPC would.
func TestRefusedStreamGoesElsewhere(t *testing.T) {
	b := (&backend{name: "b"}).serve(t)
	for name, frame := range map[string][]byte{"REFUSED_STREAM": refusedStream, "GOAWAY": goAway} {
		t.Run(name, func(t *testing.T) {
			addr, requests := rawServer(t, frame...)
			r := &moving{}
			r.endpoints(retrying, addr, b.addr)
			cc := mesh(t, r)
			c := pb.NewTestServiceClient(cc)
			for deadline := soon(t); requests.Load() < 10 && deadline.Err() == nil; runtime.Gosched() {
				for kind, call := range kinds {
					if err := call(soon(t), c); err != nil {
						t.Fatalf("%s: %v", kind, err)
					}
				}
			}
		})
	}
}

func TestRefusedStreamWithoutAnother(t *testing.T) {
	addr, requests := rawServer(t, refusedStream...)
	for _, tt := range []struct {
		policy   resilience.Policy
		requests int64
		kind     engine.Kind
	}{
		{retrying, 3 + 1, engine.Reset}, // at last gRPC itself asks once more, as without the mesh
		{resilience.Policy{}, 1 + 1, engine.Reset},
	} {
		for range 5 { // the answer may come before or after the request was written
			for kind, call := range kinds {
				r := &moving{}
				r.endpoints(tt.policy, addr)
				requests.Store(0)
				err := call(soon(t), pb.NewTestServiceClient(mesh(t, r)))
				if status.Code(err) != codes.Unavailable && (tt.policy.Retry.Attempts > 0 || kind == "unary") {
					t.Errorf("%s: %v, want unavailable", kind, err)
				}
				var e *engine.Error
				if kind == "unary" && (!errors.As(err, &e) || e.Kind != tt.kind) {
					t.Errorf("%v, want %v", err, tt.kind)
				}
				if n := requests.Load(); n != tt.requests {
					t.Errorf("%s: %d requests, want %d", kind, n, tt.requests)
				}
			}
		}
	}
}

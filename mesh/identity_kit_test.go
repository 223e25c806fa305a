package mesh_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resolver"
)

// A fleet is a Resolver whose services, and what all servers demand, a test changes.
type fleet struct {
	mu       sync.Mutex
	services map[string]*resolver.Service
	watches  map[int]func()
	next     int
	inbound  resolver.Inbound
}

func newFleet(in resolver.Inbound) *fleet {
	return &fleet{services: map[string]*resolver.Service{}, watches: map[int]func(){}, inbound: in}
}

func (f *fleet) Watch(name string, sink func(*resolver.Service, error)) (stop func()) {
	return f.watch(func() {
		if s := f.services[name]; s != nil {
			sink(s, nil)
		} else {
			sink(nil, &resolver.UnknownError{Name: name})
		}
	})
}

func (f *fleet) Serve(addr string, sink func(*resolver.Inbound, error)) (stop func()) {
	return f.watch(func() {
		in := f.inbound
		in.Addr = addr
		sink(&in, nil)
	})
}

func (f *fleet) watch(tell func()) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.next
	f.next++
	f.watches[n] = tell
	tell()
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watches, n)
	}
}

// set changes something and tells everybody.
func (f *fleet) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	for _, tell := range f.watches {
		tell()
	}
}

// demand changes what servers demand.
func (f *fleet) demand(in resolver.Inbound) { f.set(func() { f.inbound = in }) }

// route makes name lead to the addresses.
func (f *fleet) route(name string, c resolver.Cluster, addrs ...string) {
	for _, a := range addrs {
		c.Endpoints = append(c.Endpoints, balancer.Endpoint{Addr: a, MutualTLS: true})
	}
	f.routeTo(name, c)
}

// routeTo makes name lead to the cluster.
func (f *fleet) routeTo(name string, c resolver.Cluster) {
	c.Name = name
	f.set(func() {
		f.services[name] = &resolver.Service{
			Name: name,
			VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{
				{Name: "r", To: []resolver.Target{{Cluster: name}}},
			}}},
			Clusters: map[string]resolver.Cluster{name: c},
		}
	})
}

// member is a mesh with that identity, which may be nil.
func (f *fleet) member(t *testing.T, who identity.Source, more ...mesh.Option) *mesh.Mesh {
	t.Helper()
	options := []mesh.Option{mesh.WithResolver(f), mesh.WithLogger(slog.New(slog.DiscardHandler))}
	if who != nil {
		options = append(options, mesh.WithIdentity(who))
	}
	m, err := mesh.New(t.Context(), append(options, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// A served is a server of one protocol, which counts the calls that reach its handler.
type servedBy struct {
	addr  string
	calls atomic.Int64
	peers sync.Map                    // SPIFFE IDs of callers
	md    atomic.Pointer[metadata.MD] // of the last gRPC call
}

func (s *servedBy) note(ctx context.Context) {
	s.calls.Add(1)
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		s.md.Store(&md)
	}
	if p, ok := mesh.PeerFromContext(ctx); ok {
		s.peers.Store(p.ID.String(), true)
	} else {
		s.peers.Store("", true)
	}
}

// web serves HTTP/1.1, HTTP/2 and h2c.
func (s *servedBy) web(t *testing.T, m *mesh.Mesh, h http.HandlerFunc) {
	t.Helper()
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(r.Context())
		if h != nil {
			h(w, r)
		}
	}))}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	s.serve(t, m, srv.Serve, func() { srv.Close() })
}

// rpc serves gRPC's health service.
func (s *servedBy) rpc(t *testing.T, m *mesh.Mesh) {
	t.Helper()
	srv := grpc.NewServer(m.ServerOptions()...)
	healthpb.RegisterHealthServer(srv, &countingHealth{Server: health.NewServer(), by: s})
	s.serve(t, m, srv.Serve, srv.Stop)
}

type countingHealth struct {
	*health.Server
	by *servedBy
}

func (h *countingHealth) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	h.by.note(ctx)
	return h.Server.Check(ctx, r)
}

func (h *countingHealth) Watch(r *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	h.by.note(s.Context())
	return h.Server.Watch(r, s)
}

// raw answers each connection with what it says.
func (s *servedBy) raw(t *testing.T, m *mesh.Mesh) {
	t.Helper()
	var running sync.WaitGroup
	s.serve(t, m, func(ln net.Listener) error {
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			running.Go(func() {
				defer c.Close()
				one := make([]byte, 1)
				if _, err := io.ReadFull(c, one); err != nil {
					return
				}
				s.calls.Add(1)
				if p, ok := mesh.PeerFromConn(c); ok {
					s.peers.Store(p.ID.String(), true)
				} else {
					s.peers.Store("", true)
				}
				for {
					if _, err := c.Write(one); err != nil {
						return
					}
					if _, err := io.ReadFull(c, one); err != nil {
						return
					}
				}
			})
		}
	}, running.Wait)
}

func (s *servedBy) serve(t *testing.T, m *mesh.Mesh, serve func(net.Listener) error, stop func()) {
	t.Helper()
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(ln)
	}()
	t.Cleanup(func() {
		ln.Close()
		stop()
		<-done
	})
}

// get calls a URL and returns status and body.
func get(ctx context.Context, door http.RoundTripper, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := door.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(body)), err
}

const soon = 20 * time.Second

// eventually waits for something that is bound to come.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(soon); ; {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %v", what, soon)
		}
	}
}

package mesh_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Why the mesh got no answer is told to the caller by a kind and a status, and to who watches by flags, over HTTP and gRPC alike.
func TestKindsOfErrors(t *testing.T) {
	const short = 200 * time.Millisecond
	try := resilience.Retry{Attempts: 1, On: resilience.OnReset | resilience.OnDeadlineExceeded, TryTimeout: short, Unguarded: true}
	for _, tc := range []struct {
		name    string
		service string // "payments" if empty
		path    string // what servers do, too
		addr    string // of no server if it is said
		policy  resilience.Policy
		cluster resolver.Cluster
		wait    time.Duration // the caller's own, if it is not long
		gives   time.Duration // the caller up after it
		before  int           // calls that are not looked at
		kind    mesh.Kind
		code    codes.Code
		flags   string
	}{
		{name: "nobody", service: "nobody", kind: mesh.NoService, code: codes.Unavailable, flags: "NR"},
		{name: "no route", path: "/elsewhere", kind: mesh.NoRoute, code: codes.Unavailable, flags: "NR"},
		{name: "no host", addr: "-", kind: mesh.NoHost, code: codes.Unavailable, flags: "UH"},
		{name: "no connection", addr: "127.0.0.1:1", kind: mesh.Unreachable, code: codes.Unavailable, flags: "UF"},
		{name: "connection broken", path: "/a/break", kind: mesh.Reset, code: codes.Unavailable, flags: "UC"},
		{name: "the route's time", path: "/a/hang", policy: resilience.Policy{Timeout: short}, kind: mesh.Deadline, code: codes.DeadlineExceeded, flags: "UT"},
		{name: "the tries' time", path: "/a/hang", policy: resilience.Policy{Retry: try}, kind: mesh.Deadline, code: codes.DeadlineExceeded, flags: "UT,URX"},
		{name: "idle", path: "/a/hang", policy: resilience.Policy{Idle: short}, kind: mesh.Deadline, code: codes.DeadlineExceeded, flags: "UT"},
		{name: "the caller's time", path: "/a/hang", wait: short, kind: mesh.Deadline, code: codes.DeadlineExceeded, flags: "UT"},
		{name: "given up", path: "/a/hang", gives: short, kind: mesh.Canceled, code: codes.Canceled, flags: "DC"},
		{name: "threshold", cluster: resolver.Cluster{Thresholds: new([resilience.Priorities]resilience.Thresholds)}, kind: mesh.Overloaded, code: codes.Unavailable, flags: "UO"},
		{name: "breaker", path: "/a/fail", cluster: resolver.Cluster{Breaker: &resilience.Trip{Failures: 1}}, before: 1, kind: mesh.Overloaded, code: codes.Unavailable, flags: "UO"},
		{name: "rate", policy: resilience.Policy{Rate: &resilience.Rate{TokenBucket: resilience.TokenBucket{MaxTokens: 1, FillInterval: time.Hour}}},
			before: 1, kind: mesh.RateLimited, code: codes.ResourceExhausted, flags: "RL"},
	} {
		for protocol, serve := range map[string]func(*testing.T) string{"http": behavingHTTP, "grpc": behavingGRPC} {
			t.Run(tc.name+"/"+protocol, func(t *testing.T) {
				c := tc.cluster
				c.Name = "c"
				switch tc.addr {
				case "-":
				case "":
					c.Endpoints = []balancer.Endpoint{{Addr: serve(t)}}
				default:
					c.Endpoints = []balancer.Endpoint{{Addr: tc.addr}}
				}
				route := resolver.Route{Name: "r", To: []resolver.Target{{Cluster: "c"}}, Policy: tc.policy}
				route.Match.Path = resolver.PathMatch{Kind: resolver.PathPrefix, Value: "/a/"}
				tel, option := newTelemetry()
				m, err := mesh.New(t.Context(), option, mesh.WithOutbound(mesh.RegistryOnly), mesh.WithResolver(resolver.Static{"payments": &resolver.Service{
					Name:         "payments",
					VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{route}}},
					Clusters:     map[string]resolver.Cluster{"c": c},
				}}))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { m.Close() })
				s := &stage{t: t, protocol: protocol}
				from := s.newCaller(m)
				service, path := tc.service, tc.path
				if service == "" {
					service = "payments"
				}
				if path == "" {
					path = "/a/b"
				}
				for range tc.before {
					from.ask(service, path, nil)
				}
				wait := patience
				if tc.wait > 0 {
					wait = tc.wait
				}
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				if tc.gives > 0 {
					defer time.AfterFunc(tc.gives, cancel).Stop()
				}
				got := from.askWithin(ctx, service, path, nil)
				var e *mesh.Error
				if !errors.As(got.err, &e) || e.Kind != tc.kind {
					t.Fatalf("got %v, want %v", got.err, tc.kind)
				}
				want := map[string]string{"response_flags": tc.flags, "request_protocol": protocol}
				if protocol == "grpc" {
					want["grpc_response_status"] = strconv.Itoa(int(tc.code))
					if got := status.Code(got.err); got != tc.code {
						t.Errorf("status %v, want %v", got, tc.code)
					}
				}
				counts := slices.DeleteFunc(tel.counts(t), func(p metricdata.DataPoint[int64]) bool {
					flags, _ := p.Attributes.Value("response_flags")
					return tc.before > 0 && flags.AsString() == "-"
				})
				if len(counts) != 1 {
					t.Fatalf("counts %+v", counts)
				}
				wantLabels(t, counts[0], want)
			})
		}
	}
}

// behavingHTTP is the address of a server that does as paths say.
func behavingHTTP(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/a/hang":
			<-r.Context().Done()
		case "/a/break":
			panic(http.ErrAbortHandler)
		case "/a/fail":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// behavingGRPC is behavingHTTP for gRPC.
func behavingGRPC(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wires := &wires{Listener: l}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		switch method, _ := grpc.MethodFromServerStream(stream); method {
		case "/a/hang":
			<-stream.Context().Done()
			return stream.Context().Err()
		case "/a/break":
			wires.breakAll()
			<-stream.Context().Done()
			return stream.Context().Err()
		case "/a/fail":
			return status.Error(codes.Unavailable, "not today")
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	done := make(chan error, 1)
	go func() { done <- s.Serve(wires) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String()
}

// wires are a listener and the connections it has taken.
type wires struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *wires) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, c)
	}
	return c, err
}

func (l *wires) breakAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
}

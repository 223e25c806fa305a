package extauthz

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/mesh/internal/grpcadapter"
	"github.com/weftmesh/weft/mesh/internal/httpadapter"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// at is a service of one host.
func at(name, addr string) *resolver.Service {
	return &resolver.Service{
		Name: name,
		VirtualHosts: []resolver.VirtualHost{{Name: name, Domains: []string{name}, Routes: []resolver.Route{{
			Name: "all", To: []resolver.Target{{Cluster: name, Weight: 1}},
		}}}},
		Clusters: map[string]resolver.Cluster{name: {Name: name, Endpoints: []balancer.Endpoint{{Addr: addr}}}},
	}
}

// Services are asked by their names in the mesh; what the mesh does not know is asked nowhere else. What the call that is asked about says of
// how it is to be treated is not handed on.
func TestAsksThroughTheMesh(t *testing.T) {
	j := &judge{answer: gives(&auth.CheckResponse{}, nil)}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(err)
	s := grpc.NewServer()
	auth.RegisterAuthorizationServer(s, j)
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(ln) })
	defer func() { s.Stop(); wg.Wait() }()

	var mu sync.Mutex
	var host, criticality string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		host, criticality = r.Host, r.Header.Get("X-Weft-Criticality")
		io.WriteString(w, "fine")
	}))
	defer web.Close()

	e := engine.New(engine.Config{
		Resolver: resolver.Static{"authz:9000": at("authz:9000", ln.Addr().String()), "authz:8000": at("authz:8000", web.Listener.Addr().String())},
		Logger:   slog.New(slog.DiscardHandler),
	})
	defer e.Close()
	rt := httpadapter.New(e, httpadapter.Config{})
	defer rt.Close()
	a := New(Config{HTTP: rt, Dial: func(service string) (Conn, error) {
		return grpc.NewClient("mesh:///"+service, grpcadapter.DialOptions(e)...)
	}})
	defer a.Close()

	call := &engine.InboundCall{Protocol: engine.HTTP, Request: resolver.Request{Header: lines("x-weft-criticality", "sheddable")}}
	e.Serve(t.Context(), call, func(ctx context.Context) (out resilience.Outcome) {
		if engine.Caused(ctx) != call {
			t.Error("control: it is no context of a call")
		}
		for _, ask := range []*identity.ExtAuthz{
			{Service: "authz:9000", Timeout: patient}, {Service: "authz:8000", HTTP: true, Timeout: patient},
		} {
			if v := a.Ask(ctx, ask, asked(lines("x-weft-criticality", "sheddable")), nil); !v.Allowed || v.Failed != nil {
				t.Errorf("%s: %+v", ask.Service, v)
			}
		}
		for _, ask := range []*identity.ExtAuthz{
			{Service: "nobody:9000", Timeout: patient}, {Service: web.Listener.Addr().String(), HTTP: true, Timeout: patient},
		} {
			if v := a.Ask(ctx, ask, asked(lines()), nil); v.Allowed || v.Failed == nil {
				t.Errorf("%s: %+v", ask.Service, v)
			}
		}
		return out
	})
	if _, md, n := j.seen(); n != 1 || len(md.Get("x-weft-criticality")) > 0 {
		t.Errorf("asked %d times: %v", n, md)
	}
	mu.Lock()
	defer mu.Unlock()
	if host != "shop.example" || criticality != "" {
		t.Errorf("host %q, criticality %q", host, criticality)
	}
}

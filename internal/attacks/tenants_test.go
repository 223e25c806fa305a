package attacks

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

const listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"

// Who may call a server is told to servers of its own namespace, whatever address or name another asks by (H4).
func TestH4RulesOfOthers(t *testing.T) {
	kit := meshtest.Secure(t, entry("payments", "shop"), `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: friends, namespace: shop}
spec:
  selector: {matchLabels: {app: payments}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [mesh.test/ns/bank/sa/hidden-friend]}}]
`)
	addr, _ := kit.HTTPBackend("payments.shop", map[string]string{"app": "payments"}, http.NotFoundHandler())
	if err := kit.Registered(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	name := "xds.istio.io/grpc/lds/inbound/" + addr
	told := func(wait time.Duration, namespace, account string, names ...string) string {
		t.Helper()
		n := node("sidecar~10.0.0.1~"+account+"."+namespace+"~"+namespace+".svc.cluster.local", namespace, account)
		n.UserAgentName = "weft"
		resp, err := asks(t, kit, kit.Identity(namespace, account), n, wait, listenerType, names...)
		var all strings.Builder
		for _, r := range resp.GetResources() {
			all.Write(r.GetValue())
		}
		t.Logf("%s of %s: %d bytes, %v", account, namespace, all.Len(), err)
		return all.String()
	}
	// The control: a process without labels at that address, in the same namespace, is told what holds there.
	if !strings.Contains(told(patience, "shop", "payments", name), "hidden-friend") {
		t.Error("the server is not told its own rules")
	}
	for _, names := range [][]string{{name}, {"*"}, nil, {name, "*"}, {"xds.istio.io/grpc/lds/inbound/*"}, {"xds.istio.io/grpc/lds/inbound/0.0.0.0:" + addr[strings.LastIndex(addr, ":")+1:]}, {strings.ToUpper(name)}, {name + "?namespace=shop"}, {"xdstp://shop/envoy.config.listener.v3.Listener/" + name}} {
		for _, who := range []string{"payments", "mallory"} {
			if strings.Contains(told(time.Second, "evil", who, names...), "hidden-friend") {
				t.Errorf("%s of evil learns by %q who may call payments", who, names)
			}
		}
	}
}

// A counted is a control server that answers nothing, and says when it was asked.
type counted struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	asked chan struct{}
}

func (c *counted) StreamAggregatedResources(s discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	c.note()
	<-s.Context().Done()
	return s.Context().Err()
}

func (c *counted) DeltaAggregatedResources(s discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	c.note()
	<-s.Context().Done()
	return s.Context().Err()
}

func (c *counted) note() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// A workload of the trust domain that plays the control server is told nothing (E19): its certificate says that it is none.
func TestE19AWorkloadIsNoControlServer(t *testing.T) {
	kit := meshtest.Secure(t)
	for name, tc := range map[string]struct {
		namespace, account string
		good               bool
	}{
		"the control server":              {"weft-system", "control-server", true},
		"a workload":                      {"shop", "mallory", false},
		"a workload of that name":         {"shop", "control-server", false},
		"another of its namespace":        {"weft-system", "mallory", false},
		"a name that begins like it":      {"weft-system", "control-server2", false},
		"a namespace that begins like it": {"weft-system2", "control-server", false},
	} {
		c := &counted{asked: make(chan struct{}, 1)}
		conf := (&identity.ServerTLS{}).Config(kit.Identity(tc.namespace, tc.account), nil)
		conf.NextProtos = []string{"h2"}
		srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
		discovery.RegisterAggregatedDiscoveryServiceServer(srv, c)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			srv.Serve(ln) // ends by Stop
		}()
		m, err := mesh.New(t.Context(), mesh.WithControlServer(ln.Addr().String()), mesh.WithIdentity(kit.Identity("shop", "till")))
		if err != nil {
			t.Fatal(err)
		}
		wait := time.Second
		if tc.good {
			wait = patience
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		called := make(chan struct{})
		go func() {
			defer close(called)
			if req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop/", nil); err == nil {
				if resp, err := m.RoundTripper().RoundTrip(req); err == nil { // it is known nowhere
					resp.Body.Close()
				}
			}
		}()
		select {
		case <-c.asked:
			if !tc.good {
				t.Errorf("%s is asked", name)
			}
		case <-ctx.Done():
			if tc.good {
				t.Errorf("%s is not asked", name)
			}
		}
		cancel()
		<-called
		m.Close()
		srv.Stop()
		<-done
	}
}

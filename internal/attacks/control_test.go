package attacks

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

const (
	clusterType = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	secretType  = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// asks opens a stream to the control server as who and asks for resources as a node; nil is plaintext.
func asks(t *testing.T, kit *meshtest.Kit, who identity.Source, node *corev3.Node, wait time.Duration, typeURL string, names ...string) (*discovery.DiscoveryResponse, error) {
	t.Helper()
	creds := insecure.NewCredentials()
	if who != nil {
		conf, err := (&identity.ClientTLS{Mutual: true}).Config("control", who, nil)
		if err != nil {
			t.Fatal(err)
		}
		conf.NextProtos = []string{"h2"}
		creds = credentials.NewTLS(conf)
	}
	cc, err := grpc.NewClient(kit.Addr(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	s, err := discovery.NewAggregatedDiscoveryServiceClient(cc).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNames: names}); err != nil && err != io.EOF {
		return nil, err
	}
	return s.Recv()
}

func node(id, namespace, account string) *corev3.Node {
	n := &corev3.Node{Id: id, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
	if namespace != "" {
		n.Metadata.Fields["NAMESPACE"] = structpb.NewStringValue(namespace)
	}
	if account != "" {
		n.Metadata.Fields["SERVICE_ACCOUNT"] = structpb.NewStringValue(account)
	}
	return n
}

// A node is who its certificate says, whatever it says itself (H5); who proves nothing is told nothing; and the keys of others are nobody's to
// ask for (H4).
func TestH4H5Nodes(t *testing.T) {
	kit := meshtest.Secure(t, entry("payments", "shop"))
	kit.HTTPBackend("payments.shop", map[string]string{"app": "payments"}, http.NotFoundHandler())
	till := kit.Identity("shop", "till")
	other := meshtest.Secure(t)
	for name, tc := range map[string]struct {
		who  identity.Source
		node *corev3.Node
		code codes.Code
	}{
		"as it is":                  {till, node("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", "shop", "till"), codes.OK},
		"nobody":                    {nil, node("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", "shop", "till"), codes.Unavailable},
		"another namespace":         {till, node("sidecar~10.0.0.1~till.bank~bank.svc.cluster.local", "bank", "till"), codes.PermissionDenied},
		"another namespace in meta": {till, node("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", "bank", "till"), codes.PermissionDenied},
		"another service account":   {till, node("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", "shop", "payments"), codes.PermissionDenied},
		"of another authority":      {other.Identity("shop", "till"), node("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", "shop", "till"), codes.Unavailable},
	} {
		resp, err := asks(t, kit, tc.who, tc.node, patience, clusterType)
		if status.Code(err) != tc.code {
			t.Errorf("H5 %s: %v, want %v", name, err, tc.code)
		}
		if tc.code == codes.PermissionDenied && strings.Contains(status.Convert(err).Message(), "till") {
			t.Errorf("H5 %s: the caller learns %q", name, status.Convert(err).Message())
		}
		if tc.code != codes.OK && resp != nil {
			t.Errorf("H5 %s: it is told %d resources", name, len(resp.GetResources()))
		}
	}
	for _, secret := range []string{"default", "payments", "spiffe://mesh.test/ns/shop/sa/payments", "kubernetes://shop/payments", "file-cert:/etc/shadow", "ca-key"} {
		resp, err := asks(t, kit, till, node("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", "shop", "till"), time.Second, secretType, secret)
		for _, r := range resp.GetResources() {
			if strings.Contains(string(r.GetValue()), "PRIVATE KEY") {
				t.Errorf("H4 %s: a key comes", secret)
			}
		}
		t.Logf("H4 %s: %d resources, %v", secret, len(resp.GetResources()), err)
	}
}

func entry(name, namespace string) string {
	return `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec:
  hosts: [` + name + `.` + namespace + `.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: ` + name + `}}
`
}

// A process does not become an endpoint of a service that is another's, be it by its name or by the labels that a service asks for, whose
// subjectAltNames say whose they are (H11, H19). Without these every process of the namespace may have the labels, as docs/security.md says.
func TestH11H19Registration(t *testing.T) {
	kit := meshtest.Secure(t, entry("payments", "shop")+"  subjectAltNames: [spiffe://mesh.test/ns/shop/sa/payments]\n")
	var right, wrong atomic.Int64
	kit.HTTPBackend("payments.shop", map[string]string{"app": "payments"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { right.Add(1) }))
	labels := map[string]string{"app": "payments"}
	for name, options := range map[string][]mesh.Option{
		"another account of the namespace": {mesh.WithIdentity(kit.Identity("shop", "mallory")), mesh.WithService("payments.shop", labels)},
		"another namespace":                {mesh.WithIdentity(kit.Identity("evil", "payments")), mesh.WithService("payments.shop", labels)},
		"another service of its labels":    {mesh.WithIdentity(kit.Identity("shop", "mallory")), mesh.WithService("mallory.shop", labels)},
		"its labels elsewhere":             {mesh.WithIdentity(kit.Identity("evil", "mallory")), mesh.WithService("mallory.evil", labels)},
	} {
		m := kit.Mesh(options...)
		ln, err := m.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		srv := &http.Server{ReadHeaderTimeout: patience, Handler: m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Logf("%s: a call", name)
			wrong.Add(1)
		}))}
		var running sync.WaitGroup
		running.Go(func() { srv.Serve(ln) })
		t.Cleanup(func() {
			srv.Close()
			running.Wait()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Logf("%s: registered: %v", name, kit.Registered(ctx, ln.Addr().String()) == nil)
		cancel()
	}
	c := &http.Client{Transport: kit.Mesh().RoundTripper()}
	for range 20 {
		resp, err := c.Get("http://payments.shop/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if right.Load() != 20 || wrong.Load() != 0 {
		t.Errorf("%d calls to whom they were for, %d to others", right.Load(), wrong.Load())
	}
}

// The control server speaks TLS 1.3 to who proves himself, and those who only connect do not keep others out (E17, H17).
func TestH17ControlServerDoor(t *testing.T) {
	kit := meshtest.Secure(t)
	for range 200 {
		c, err := net.Dial("tcp", kit.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := tls.Dial("tcp", kit.Addr(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}); err == nil {
		t.Error("TLS 1.2 is spoken")
	}
	if _, err := asks(t, kit, kit.Identity("shop", "till"), node("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", "shop", "till"), patience, clusterType); err != nil {
		t.Errorf("an honest client: %v", err)
	}
}

// An identity without a bundle is none: nothing is sent to a control server that can't prove itself (E1).
func TestE1ControlServerProves(t *testing.T) {
	kit, twin := meshtest.Secure(t), meshtest.Secure(t)
	mine := kit.Identity("shop", "till")
	m, err := mesh.New(t.Context(), mesh.WithControlServer(twin.Addr()), mesh.WithIdentity(mine))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := m.Ready(ctx); err == nil {
		t.Error("a control server of the same trust domain's name, and another root, is believed")
	}
}

//go:build envoy

package wire

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// envoyAccepts asks a real Envoy, which WEFT_ENVOY names, whether it would begin with these resources.
func envoyAccepts(t *testing.T, listeners []*listenerv3.Listener, clusters []*clusterv3.Cluster) (accepted bool, said string) {
	t.Helper()
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Fatal("WEFT_ENVOY does not name an envoy: source .ci/peers first")
	}
	b, err := proto.Marshal(&bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: "test", Cluster: "test"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: listeners, Clusters: clusters, Secrets: ownSecrets()},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.pb")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "-l", "error", "-c", file).CombinedOutput()
	return err == nil, string(out)
}

// ownSecrets are the process's own, as an Envoy has them in its bootstrap.
func ownSecrets() []*tlsv3.Secret {
	return []*tlsv3.Secret{
		EncodeSecret(Secret{Name: ownCertificate, Certificates: testRoot, Key: testKey}).(*tlsv3.Secret),
		EncodeSecret(Secret{Name: OwnRoots, Roots: testRoot}).(*tlsv3.Secret),
		EncodeSecret(Secret{Name: systemRoots, Roots: testRoot}).(*tlsv3.Secret),
	}
}

// asked are the clusters that filters which guard a server ask.
func asked(m protoreflect.Message, into map[string]bool) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		if inner, err := a.UnmarshalNew(); err == nil {
			asked(inner.ProtoReflect(), into)
		}
		return
	}
	switch m := m.Interface().(type) {
	case *corev3.GrpcService_EnvoyGrpc:
		into[m.GetClusterName()] = true
	case *corev3.HttpUri:
		into[m.GetCluster()] = true
	case *tcpv3.TcpProxy:
		into[m.GetCluster()] = true
	}
	for _, below := range messages(m) {
		asked(below, into)
	}
}

func TestRealEnvoyAcceptsWhatIsEncoded(t *testing.T) {
	var (
		listeners []*listenerv3.Listener
		clusters  []*clusterv3.Cluster
	)
	named := map[string]bool{limitsCluster: true}
	for seed := range uint64(90) {
		g := newGen(seed)
		g.modest = true
		l := g.listener()
		l.Name, l.Inbound, l.Proxy, l.Address, l.RouteConfig = fmt.Sprint("l", seed), nil, nil, fmt.Sprintf("127.0.0.1:%d", seed+1), ""
		l.VirtualHosts = g.hosts()
		if l.Global != nil {
			l.Global.Cluster = limitsCluster
		}
		if seed%2 == 0 {
			g.inbound(&l)
			l.Inbound.Addr, l.Secrets = l.Address, SDS
		}
		m := EncodeListener(l).(*listenerv3.Listener)
		asked(m.ProtoReflect(), named)
		listeners = append(listeners, m)
		c := g.cluster()
		c.Name, c.EndpointsName, c.Endpoints, c.Secrets = fmt.Sprint("c", seed), "", nil, SDS
		if c.TLS != nil { // an Envoy reads files at once
			c.TLS.CertificateFile, c.TLS.KeyFile, c.TLS.RootCAFile, c.TLS.RevocationFile = "", "", "", ""
		}
		clusters = append(clusters, EncodeCluster(c).(*clusterv3.Cluster))
	}
	for name := range named {
		var c Cluster
		c.Name = name
		clusters = append(clusters, EncodeCluster(c).(*clusterv3.Cluster))
	}
	if ok, said := envoyAccepts(t, listeners, clusters); !ok {
		t.Error(said)
	}
}

// TestRealEnvoyRefusesTheSame compares what the table says of Envoy with an Envoy.
func TestRealEnvoyRefusesTheSame(t *testing.T) {
	var a Cluster
	a.Name = outside
	for _, k := range slices.Concat(badKinds, badGuards) {
		for _, c := range k.cases {
			clusters := `name: "c" type: STATIC `
			var listeners []*listenerv3.Listener
			if k.cluster != nil {
				clusters += k.cluster(c.text)
			} else {
				l := &listenerv3.Listener{}
				if err := prototext.Unmarshal([]byte(`name: "l" address { socket_address { address: "127.0.0.1" port_value: 1 } } `+k.listener(c.text)), l); err != nil {
					t.Fatal(err)
				}
				listeners = append(listeners, l)
			}
			m := &clusterv3.Cluster{}
			if err := prototext.Unmarshal([]byte(clusters), m); err != nil {
				t.Fatal(err)
			}
			if ok, said := envoyAccepts(t, listeners, []*clusterv3.Cluster{m, EncodeCluster(a).(*clusterv3.Cluster)}); ok == bool(c.envoy) {
				t.Errorf("%s: %s: Envoy accepts it: %v %s", k.name, c.name, ok, fmt.Sprintf("%.600s", said))
			}
		}
	}
}

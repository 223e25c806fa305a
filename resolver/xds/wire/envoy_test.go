//go:build envoy

package wire

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/resolver"
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
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: listeners, Clusters: clusters},
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

func TestRealEnvoyAcceptsWhatIsEncoded(t *testing.T) {
	var (
		listeners []*listenerv3.Listener
		clusters  []*clusterv3.Cluster
	)
	var c Cluster
	c.Name = limitsCluster
	limits := EncodeCluster(c).(*clusterv3.Cluster)
	clusters = append(clusters, limits)
	for seed := range uint64(60) {
		g := newGen(seed)
		g.modest = true
		l := g.listener()
		l.Name, l.Inbound, l.Address, l.RouteConfig = fmt.Sprint("l", seed), nil, fmt.Sprintf("127.0.0.1:%d", seed+1), ""
		l.VirtualHosts = g.hosts()
		if l.Global != nil {
			l.Global.Cluster = limitsCluster
		}
		if seed%3 == 0 {
			l.Inbound = &resolver.Inbound{Addr: l.Address, Serving: g.serving()}
		}
		listeners = append(listeners, EncodeListener(l).(*listenerv3.Listener))
		c := g.cluster()
		c.Name, c.TLS, c.EndpointsName, c.Endpoints = fmt.Sprint("c", seed), nil, "", nil
		clusters = append(clusters, EncodeCluster(c).(*clusterv3.Cluster))
	}
	if ok, said := envoyAccepts(t, listeners, clusters); !ok {
		t.Error(said)
	}
}

// TestRealEnvoyRefusesTheSame compares what the table says of Envoy with an Envoy.
func TestRealEnvoyRefusesTheSame(t *testing.T) {
	for _, k := range badKinds {
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
			if ok, said := envoyAccepts(t, listeners, []*clusterv3.Cluster{m}); ok == bool(c.envoy) {
				t.Errorf("%s: %s: Envoy accepts it: %v %s", k.name, c.name, ok, fmt.Sprintf("%.600s", said))
			}
		}
	}
}

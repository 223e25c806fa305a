package publish

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// revocation takes back what the spec says.
func revocation(spec string) string {
	return strings.NewReplacer("VERSION", catalog.Version, "SPEC", spec).Replace(`
apiVersion: VERSION
kind: Revocation
metadata: {name: r, namespace: istio-system}
spec: SPEC
`)
}

// validation is what an Envoy asks of the certificates of a listener's clients, or of a cluster's servers.
func validation(t *testing.T, v *View, typeURL, name string) *tlsv3.CertificateValidationContext {
	t.Helper()
	switch m := v.Message(typeURL, name).(type) {
	case *listenerv3.Listener:
		var down tlsv3.DownstreamTlsContext
		if err := m.GetFilterChains()[0].GetTransportSocket().GetTypedConfig().UnmarshalTo(&down); err != nil {
			t.Fatal(err)
		}
		return down.GetCommonTlsContext().GetCombinedValidationContext().GetDefaultValidationContext()
	case *clusterv3.Cluster:
		var up tlsv3.UpstreamTlsContext
		if err := m.GetTransportSocketMatches()[0].GetTransportSocket().GetTypedConfig().UnmarshalTo(&up); err != nil {
			t.Fatal(err)
		}
		return up.GetCommonTlsContext().GetCombinedValidationContext().GetDefaultValidationContext()
	}
	t.Fatalf("no %s", name)
	return nil
}

// Proxies have the authority's lists beside the mesh's own roots, as servers and as clients, as long as serial numbers are revoked.
func TestProxiesGetListsOfRevokedSerialNumbers(t *testing.T) {
	const (
		listener = "inbound|10.3.0.1:8080"
		cluster  = "outbound|8080||srv.demo.svc.cluster.local"
		lists    = "the authority's lists"
	)
	base := strings.Replace(server, "weft.dev/v1", catalog.Version, 1)
	client := Client{Dialect: Envoy, Namespace: "demo", Listen: "127.0.0.1:1", Inbound: []Forward{{Listen: "10.3.0.1:8080", To: "127.0.0.1:1", Port: 8080}}}
	for _, tc := range []struct {
		spec, lists string
		want        bool
		lost        int
	}{
		{`{serials: ["0a"]}`, lists, true, 0},
		{`{serials: ["0a"], identities: ["spiffe://td/ns/a/sa/b"]}`, lists, true, 0},
		{`{identities: ["spiffe://td/ns/a/sa/b"]}`, lists, false, 0},
		{`{serials: ["0a"]}`, "", false, 1},
	} {
		var said []Loss
		v := publisherWith(t, base+"\n---\n"+revocation(tc.spec), Config{TrustDomain: "td", DefaultMode: identity.Strict, RevocationLists: tc.lists, Lost: func(l Loss) { said = append(said, l) }}).View(client)
		for typeURL, name := range map[string]string{wire.ListenerType: listener, wire.ClusterType: cluster} {
			got := validation(t, v, typeURL, name)
			if (got.GetCrl().GetInlineString() == lists) != tc.want || got.GetOnlyVerifyLeafCertCrl() != tc.want {
				t.Errorf("%s, lists %q: %s is told %v", tc.spec, tc.lists, name, got)
			}
		}
		if len(said) != tc.lost {
			t.Errorf("%s, lists %q: %v", tc.spec, tc.lists, said)
		}
		for _, l := range said {
			if !strings.Contains(l.String(), "Revocation/istio-system/r: spec.serials: ") {
				t.Errorf("%s", l)
			}
		}
	}
}

// What nobody can be told of a Revocation is said where that stands, whatever else is configured.
func TestWhatOfRevocationsCannotBeTold(t *testing.T) {
	both := revocation(`{serials: ["0a"], identities: ["spiffe://td/ns/demo/sa/client"]}`)
	for d, want := range map[Dialect]string{Weft: "", Envoy: "", GRPC: "spec.serials"} {
		_, lost := told(t, d, Config{TrustDomain: "td", DefaultMode: identity.Strict}, both)
		if (len(lost) > 0) != (want != "") || len(lost) > 0 && lost[0].Field != want {
			t.Errorf("a server of %v: %v", d, lost)
		}
	}
	base := strings.Replace(server, "weft.dev/v1", catalog.Version, 1)
	const web = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: srv, namespace: demo}
spec: {host: srv.demo.svc.cluster.local, trafficPolicy: {tls: {mode: SIMPLE}}}
`
	for _, tc := range []struct {
		dialect Dialect
		yaml    string
		want    string
	}{
		{Envoy, both, ""},
		{GRPC, both, "spec.serials"},
		{Envoy, both + "\n---\n" + web, "spec.serials"},
		{Weft, both, ""},
	} {
		v := publisherWith(t, base+"\n---\n"+tc.yaml, Config{TrustDomain: "td", DefaultMode: identity.Strict}).View(Client{Dialect: tc.dialect, Namespace: "demo"})
		c, ok := v.Configured("outbound|8080||srv.demo.svc.cluster.local")
		if !ok {
			t.Fatal("no cluster")
		}
		lost := c.Lost(tc.dialect)
		if (len(lost) > 0) != (tc.want != "") || len(lost) > 0 && lost[0].Field != tc.want {
			t.Errorf("a client of %v: %v", tc.dialect, lost)
		}
	}
}

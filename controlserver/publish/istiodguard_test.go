package publish

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A chain is one filter chain of what istiod tells a server's sidecar, as far as it matters here.
type chain struct {
	HTTP  bool
	RBAC  []json.RawMessage
	TLS   json.RawMessage
	Match struct {
		Port      uint32 `json:"destination_port"`
		Transport string `json:"transport_protocol"`
	}
}

func chains(t *testing.T, test string) (config string, servers map[string][]chain) {
	t.Helper()
	yaml, err := os.ReadFile(filepath.Join("testdata", "istiod", test+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("testdata", "istiod", test+".servers.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &servers); err != nil {
		t.Fatal(err)
	}
	return string(yaml), servers
}

// steps are what istiod's filters decide, in the words of identity.
func (c chain) steps(t *testing.T) []identity.Step {
	t.Helper()
	var filters []*hcmv3.HttpFilter
	for _, raw := range c.RBAC {
		var f struct {
			Name   string
			Config json.RawMessage `json:"typed_config"`
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		a := new(anypb.Any)
		if err := protojson.Unmarshal(f.Config, a); err != nil {
			t.Fatal(err)
		}
		var onConnections netrbacv3.RBAC
		if a.MessageIs(&onConnections) {
			if err := a.UnmarshalTo(&onConnections); err != nil {
				t.Fatal(err)
			}
			var err error
			if a, err = anypb.New(&rbacv3.RBAC{Rules: onConnections.GetRules(), ShadowRules: onConnections.GetShadowRules()}); err != nil {
				t.Fatal(err)
			}
		}
		filters = append(filters, &hcmv3.HttpFilter{Name: f.Name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: a}})
	}
	g, err := wire.DecodeGuard("istiod", filters)
	if err != nil {
		t.Fatal(err)
	}
	return g.Steps
}

// addresses of the servers in the configuration.
var servers = map[string]string{
	"srv-allow": "10.3.0.1", "srv-deny": "10.3.0.2", "srv-allow-nothing": "10.3.0.3", "srv-deny-all": "10.3.0.4", "srv-rich": "10.3.0.5",
	"srv-jwt": "10.3.0.6", "srv-custom": "10.3.0.7", "srv-audit": "10.3.0.8", "srv-tcp": "10.3.0.9", "srv-none": "10.3.0.10",
	"srv-path": "10.3.0.11", "srv-allow-all": "10.3.0.12", "srv-dryrun": "10.3.0.20",
}

// notAlike are servers whose rules mean what istiod's do and are phrased otherwise.
var notAlike = map[string]string{
	"srv-deny": "a namespace is told by an expression that is anchored and takes its name literally",
	"srv-rich": "as srv-deny, service accounts and the ends of principals, too; any identity needs no expression",
	"srv-tcp":  "as srv-deny",
	"srv-jwt":  "nobody verifies tokens of which the rule speaks: it names nobody",
}

// Which servers let in some of the requests, and keep out some.
var (
	allows = set("srv-allow", "srv-deny", "srv-rich", "srv-custom", "srv-audit", "srv-tcp", "srv-none", "srv-path", "srv-allow-all", "srv-dryrun")
	denies = set("srv-allow", "srv-deny", "srv-allow-nothing", "srv-deny-all", "srv-rich", "srv-jwt", "srv-custom", "srv-tcp", "srv-path")
)

func set(names ...string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

// What a server of the mesh's library lets in is what istiod has a sidecar let in before it.
func TestAuthorizationIsIstiods(t *testing.T) {
	config, all := chains(t, "09-authorization")
	v := publisherWith(t, config, Config{TrustDomain: "cluster.local"}).View(Client{Namespace: "demo"})
	for name, address := range servers {
		t.Run(name, func(t *testing.T) {
			if len(all[name]) != 2 {
				t.Fatalf("%d chains", len(all[name]))
			}
			in, _ := v.inbound(address + ":8080")
			differs, verdicts := false, map[bool]int{}
			for _, c := range all[name] {
				ours, theirs := in.Guard.Steps, c.steps(t)
				if !c.HTTP {
					ours = in.Guard.Connections
				}
				if !reflect.DeepEqual(unnamed(ours), unnamed(theirs)) {
					if differs = true; notAlike[name] == "" {
						t.Errorf("HTTP %t: phrased otherwise\n%s\nistiod:\n%s", c.HTTP, printed(ours), printed(theirs))
					}
				}
				ourGate, theirGate := gateOf(t, ours, c.HTTP), gateOf(t, theirs, c.HTTP)
				requests(address, !c.HTTP, func(r *identity.Request) {
					a, b := ourGate.Check(t.Context(), r, nil, nil), theirGate.Check(t.Context(), r, nil, nil)
					for i := range a.Shadow {
						a.Shadow[i].Step = ""
					}
					for i := range b.Shadow {
						b.Shadow[i].Step = ""
					}
					if a.Allowed != b.Allowed || a.Policy != b.Policy || !slices.Equal(a.Shadow, b.Shadow) {
						t.Errorf("%s: %+v\nistiod: %+v", printed(r), a, b)
					}
					if c.HTTP {
						verdicts[a.Allowed]++
					}
				})
			}
			if !differs && notAlike[name] != "" {
				t.Errorf("no longer phrased otherwise: %s", notAlike[name])
			}
			if (verdicts[true] == 0) == allows[name] || (verdicts[false] == 0) == denies[name] {
				t.Errorf("requests that show nothing: %v", verdicts)
			}
		})
	}
}

func gateOf(t *testing.T, steps []identity.Step, http bool) *identity.Gate {
	t.Helper()
	g := identity.Guard{Connections: steps}
	if http {
		g = identity.Guard{Steps: steps}
	}
	gate, err := identity.NewGate(g)
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

// unnamed are steps without the names of their filters, which are all one with istiod.
func unnamed(steps []identity.Step) []identity.Step {
	out := slices.Clone(steps)
	for i := range out {
		out[i].Name = ""
	}
	return out
}

// requests yields every mixture of what the rules of the configuration look at.
func requests(address string, connection bool, yield func(*identity.Request)) {
	ids := []string{
		"", "cluster.local/ns/demo/sa/client", "cluster.local/ns/demo/sa/client2", "cluster.local/ns/demo/sa/evil",
		"cluster.local/ns/other/sa/admin", "cluster.local/ns/prod-1/sa/x", "else.where/ns/demo/sa/client", "cluster.local/ns/demo2/sa/client",
	}
	sources := []string{"10.1.2.3:9", "10.9.1.1:9", "192.168.1.1:9", "8.8.8.8:9"}
	for _, id := range ids {
		for _, source := range sources {
			for _, port := range []uint16{8080, 9000} {
				at := netip.MustParseAddrPort(source)
				r := identity.Request{Peer: peer(id), Source: at, Local: netip.AddrPortFrom(netip.MustParseAddr(address), port), Connection: connection}
				if r.Peer != nil {
					r.Peer.ServerName = "a.b.c"
				}
				for _, client := range []string{"", "10.2.0.1", "1.2.3.4"} {
					if client != "" && port == 9000 {
						continue
					}
					if client != "" {
						r.Client = netip.MustParseAddr(client)
					}
					if connection {
						yield(&r)
						continue
					}
					httpRequests(r, yield)
				}
			}
		}
	}
}

func httpRequests(r identity.Request, yield func(*identity.Request)) {
	r.Scheme = "http"
	paths := []string{"/grpc.health.v1.Health/Check", "/a", "/a/no", "/b/1", "/z/c", "/t/1/x", "/t/1/2/x", "/u/1/2", "/admin/x", "/x/secret", "/x"}
	for i, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			for j, host := range []string{"srv-rich.demo.svc.cluster.local", "a.example.com", "bad.example.com"} {
				if j > 0 && method != http.MethodGet {
					continue // all mixtures would be many and no wiser
				}
				headers := []headers{{}, {"x-bad": {"1"}}, {"x-bad": {"twofold"}}, {"x-env": {"prod"}}, {"x-env": {"dev"}}}
				for _, h := range []int{3, (i + j) % 5} {
					r.Path, r.Method, r.Authority, r.Header = path, method, host, headers[h]
					one := r
					yield(&one)
				}
			}
		}
	}
}

// Connections to a server are TLS, plaintext or both as istiod has a sidecar take them.
func TestServerTLSIsIstiods(t *testing.T) {
	config, all := chains(t, "10-peerauth-mtls")
	v := publisherWith(t, config, Config{TrustDomain: "cluster.local"}).View(Client{Namespace: "demo"})
	for name, address := range map[string]string{
		"srv-strict": "10.3.0.1", "srv-permissive": "10.3.0.2", "srv-disable": "10.3.0.3", "srv-port": "10.3.0.4", "srv-unset": "10.3.0.5",
		"srv-perm-label": "10.3.0.9",
	} {
		ports := map[uint32]map[string]bool{}
		for _, c := range all[name] {
			if ports[c.Match.Port] == nil {
				ports[c.Match.Port] = map[string]bool{}
			}
			ports[c.Match.Port][c.Match.Transport] = true
			if c.Match.Transport == "tls" && !requiresClients(t, c.TLS) {
				t.Errorf("%s: TLS without certificates of clients", name)
			}
		}
		for port, takes := range ports {
			want := map[[2]bool]identity.Mode{{true, true}: identity.Permissive, {true, false}: identity.Strict, {false, true}: identity.Disable}[[2]bool{takes["tls"], takes["raw_buffer"]}]
			in, _ := v.inbound(netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port)).String())
			if in.TLS.Mode != want {
				t.Errorf("%s:%d: %v, istiod %v", name, port, in.TLS.Mode, want)
			}
		}
		if len(ports) != 2 {
			t.Errorf("%s: ports %v", name, slices.Sorted(maps.Keys(ports)))
		}
	}
}

func requiresClients(t *testing.T, raw json.RawMessage) bool {
	t.Helper()
	var socket struct {
		Config json.RawMessage `json:"typed_config"`
	}
	if err := json.Unmarshal(raw, &socket); err != nil {
		t.Fatal(err)
	}
	a, down := new(anypb.Any), new(tlsv3.DownstreamTlsContext)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(socket.Config, a); err != nil {
		t.Fatal(err)
	}
	if err := a.UnmarshalTo(down); err != nil {
		t.Fatal(err)
	}
	return down.GetRequireClientCertificate().GetValue()
}

// What a client demands of a cluster's servers is what istiod tells a sidecar, and so is which of them are called by mTLS.
func TestClientTLSIsIstiods(t *testing.T) {
	config, _ := chains(t, "10-peerauth-mtls")
	v := publisherWith(t, config, Config{TrustDomain: "cluster.local"}).View(Client{Namespace: "demo"})
	istiod := recorded(t, "10-peerauth-mtls.sidecar", "cds", "eds")
	if len(istiod["cds"]) != 12 || len(istiod["eds"]) != 12 {
		t.Fatalf("%d clusters, %d endpoints", len(istiod["cds"]), len(istiod["eds"]))
	}
	own := map[string]bool{} // whose servers have certificates that are not the mesh's
	for _, a := range istiod["cds"] {
		want := decoded(t, a, wire.DecodeCluster)
		got := sent(t, v, wire.ClusterType, want.Name, wire.DecodeCluster)
		own[want.Name] = !want.AutoTLS && (want.TLS == nil || !want.TLS.Mutual)
		if got.AutoTLS != want.AutoTLS || !got.TLS.Equal(want.TLS) {
			t.Errorf("%s: %t %s\nistiod: %t %s", want.Name, got.AutoTLS, printed(got.TLS), want.AutoTLS, printed(want.TLS))
		}
	}
	for _, a := range istiod["eds"] {
		want := decoded(t, a, wire.DecodeEndpoints)
		got := sent(t, v, wire.EndpointType, want.Name, wire.DecodeEndpoints)
		if own[want.Name] {
			continue // istiod says of such that they take no mTLS, whether or not they do; nobody asks
		}
		if len(got.Endpoints) != 1 || got.Endpoints[0].MutualTLS != want.Endpoints[0].MutualTLS {
			t.Errorf("%s: %s\nistiod: %s", want.Name, printed(got.Endpoints), printed(want.Endpoints))
		}
	}
}

// Names of TLS, and of the mesh's own trust domain, are literal: no character of a policy is an expression.
func TestValuesAreLiteral(t *testing.T) {
	for _, value := range []string{"a.b", "a|b", "(", "[a]", `a\b`, "a+", "^$"} {
		for _, c := range []identity.Condition{
			of(t, inNamespace, value), of(t, hasServiceAccount(value), "x"), of(t, isPrincipal, "*"+value), of(t, inTrustDomain, value+"*"),
		} {
			if _, err := c.Is.Compile(); err != nil || c.Is.Kind == match.Regex && !strings.Contains(c.Is.Value, regexp.QuoteMeta(value)) {
				t.Errorf("%q: %+v %v", value, c.Is, err)
			}
		}
	}
}

func of(t *testing.T, f func(string, bool) (identity.Condition, error), value string) identity.Condition {
	t.Helper()
	c, err := f(value, true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

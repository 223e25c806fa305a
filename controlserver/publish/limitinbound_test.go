package publish

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// What gRPC's own servers can't tell lets nobody in and keeps out, and it is said where that stands.
func TestWhatGRPCCannotTellKeepsOut(t *testing.T) {
	const (
		sni    = `[{when: [{key: connection.sni, values: [a.b]}]}]`
		claims = `[{when: [{key: "request.auth.claims[groups]", values: [x]}]}]`
		noSNI  = `[{when: [{key: connection.sni, notValues: [a.b]}]}]`
		hop    = `[{when: [{key: "request.headers[grpc-timeout]", values: ["*"]}]}]`
	)
	for _, rules := range []string{sni, claims, noSNI, hop} {
		for _, action := range []string{"ALLOW", "DENY"} {
			in, lost := told(t, GRPC, Config{TrustDomain: "td"}, rule(action, rules), tokensOfTwo)
			if d := ask(t, in.Guard, base()); d.Allowed {
				t.Errorf("%s %s: %+v", action, rules, d)
			}
			if i := len(lost) - 1; i < 0 || lost[i].Part != Authorization || !strings.Contains(lost[i].String(), "spec.rules[0]: gRPC's own server can't tell") {
				t.Errorf("%s %s: %v", action, rules, lost)
			}
		}
	}
	paths := `[{to: [{operation: {paths: ["/t/{*}/x", "/u/{**}"], hosts: [Shop.Example.com]}}]}]`
	in, lost := told(t, GRPC, Config{}, rule("ALLOW", paths))
	for path, want := range map[string]bool{"/t/1/x": true, "/u/1/2": true, "/u/": true, "/t/1/2/x": false, "/t//x": false, "/u": false} {
		r := base()
		r.Path, r.Authority = path, "shop.example.com"
		if got := ask(t, in.Guard, r).Allowed; got != want || len(lost) > 0 {
			t.Errorf("%s: %t %v", path, got, lost)
		}
	}
	if is := in.Guard.Steps[0].Rules.Policies[0].Permissions[0].Of[0].Of[0].Is; !is.Holds("Shop.example.com:9000") || is.Holds("shop.example.com.evil") || is.Holds("shopXexample.com") {
		t.Errorf("authority: %+v", is)
	}
	// A line beside another does not hide it, since gRPC's server sees both as one.
	in, _ = told(t, GRPC, Config{}, rule("DENY", `[{when: [{key: "request.headers[x-a]", values: [bad, "evil*", "*worse"]}]}]`))
	all := in.Guard.Steps[0].Rules.Policies[0].Principals[0].Of[0].Of
	for joined, want := range map[string][3]bool{
		"bad": {true}, "ok,bad": {true}, "bad, ok": {true}, "ok, evil1": {false, true}, "much worse ,ok": {false, false, true}, "badly": {}, "good": {},
	} {
		for i, c := range all {
			if c.Is.Holds(joined) != want[i] {
				t.Errorf("%q: %+v", joined, c.Is)
			}
		}
	}
}

func TestGRPCServersAskNobodyAndVerifyNothing(t *testing.T) {
	custom := strings.Replace(rule("CUSTOM", "[{to: [{operation: {paths: [/x]}}]}]"), "spec: {", "spec: {provider: {name: outside}, ", 1)
	in, lost := told(t, GRPCLeast, Config{TrustDomain: "td"}, custom, rule("AUDIT", "[{}]"))
	x := base()
	if !ask(t, in.Guard, x).Allowed {
		t.Error("what nobody is asked about is denied")
	}
	x.Path = "/x"
	if ask(t, in.Guard, x).Allowed || len(in.Guard.Steps) != 1 || len(lost) != 2 {
		t.Errorf("%+v %v", in.Guard.Steps, lost)
	}
	in, _ = told(t, GRPC, Config{}, strings.Replace(tokensOfTwo, `{issuer: "https://a"`, `{presence: REQUIRED, issuer: "https://a"`, 1))
	if ask(t, in.Guard, base()).Allowed {
		t.Error("a token that must be there is not looked for")
	}
	in, _ = told(t, GRPC, Config{}, tokensOfTwo)
	if !ask(t, in.Guard, base()).Allowed || in.Guard.JWT != nil {
		t.Error("a token that need not be there keeps out")
	}
}

func TestGRPCServersTakePlaintextOrTLS(t *testing.T) {
	const mode = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: pa, namespace: demo}
spec: {mtls: {mode: %s}}
`
	for want, said := range map[identity.Mode]string{identity.Strict: "STRICT", identity.Disable: "DISABLE"} {
		if in, _ := told(t, GRPC, Config{TrustDomain: "td"}, strings.Replace(mode, "%s", said, 1)); in.TLS.Mode != want {
			t.Errorf("%s: %v", said, in.TLS.Mode)
		}
	}
	in, lost := told(t, GRPC, Config{TrustDomain: "td"}, strings.Replace(mode, "%s", "PERMISSIVE", 1))
	if in.TLS.Mode != identity.Disable || len(lost) != 1 || lost[0].Part != TLS {
		t.Errorf("%v %v", in.TLS.Mode, lost)
	}
	in, lost = told(t, Weft, Config{}, strings.Replace(mode, "%s", "STRICT", 1))
	if in.TLS.Mode != identity.Unset {
		t.Errorf("without a trust domain: %v %v", in.TLS.Mode, lost)
	}
	for _, def := range []identity.Mode{identity.Unset, identity.Strict} {
		in, _ := told(t, Weft, Config{TrustDomain: "td", DefaultMode: def})
		if want := max(def, identity.Permissive); in.TLS.Mode != want {
			t.Errorf("default %v: %v", def, in.TLS.Mode)
		}
	}
}

// Where both would do, a server of gRPC's own is told what its callers will take it to speak: mTLS if it has a service account, unless its
// label says otherwise. Nobody is told what is for another.
func TestPermissiveServersOfGRPCSpeakWhatTheirCallersExpect(t *testing.T) {
	p := publisherWith(t, `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: pa, namespace: demo}
spec: {mtls: {mode: PERMISSIVE}}
`, Config{TrustDomain: "td"})
	label := func(mode string) map[string]string { return map[string]string{"security.istio.io/tlsMode": mode} }
	for _, c := range []struct {
		account string
		labels  map[string]string
		want    identity.Mode
	}{
		{"", nil, identity.Disable},
		{"srv", nil, identity.Strict},
		{"srv", label("disabled"), identity.Disable},
		{"", label("istio"), identity.Strict},
		{"other", nil, identity.Strict},
	} {
		v := p.View(Client{Dialect: GRPC, Namespace: "demo", ServiceAccount: c.account, Labels: c.labels})
		if in, _ := v.limitInbound(v.inbound("10.3.0.99:8080")); in.TLS.Mode != c.want {
			t.Errorf("account %q, labels %v: %v", c.account, c.labels, in.TLS.Mode)
		}
	}
}

func TestRevokedIdentitiesAreDeniedByWhoHasNoListOfThem(t *testing.T) {
	revocation := strings.Replace(`
apiVersion: VERSION
kind: Revocation
metadata: {name: r, namespace: istio-system}
spec: {identities: ["spiffe://td/ns/demo/sa/client"]}
`, "VERSION", catalog.Version, 1)
	for _, d := range []Dialect{GRPC, Envoy} {
		in, _ := told(t, d, Config{TrustDomain: "td"}, revocation, rule("ALLOW", "[{}]"))
		r := base()
		if ask(t, in.Guard, r).Allowed || in.Guard.Revoked != nil {
			t.Errorf("%v: a revoked identity gets in", d)
		}
		r.Peer = peer("td/ns/demo/sa/other")
		if !ask(t, in.Guard, r).Allowed {
			t.Errorf("%v: others do not", d)
		}
	}
}

func TestTrustedCallers(t *testing.T) {
	policy := func(callers string) string {
		return strings.NewReplacer("VERSION", catalog.Version, "CALLERS", callers).Replace(`
apiVersion: VERSION
kind: TrafficPolicy
metadata: {name: tp, namespace: demo}
spec: {server: {trustedCallers: CALLERS}}
`)
	}
	for callers, want := range map[string][]match.String{
		"[]":                      {},
		"[td/ns/demo/sa/gateway]": {{Value: "spiffe://td/ns/demo/sa/gateway"}, {Value: "spiffe://old/ns/demo/sa/gateway"}},
		`["*"]`:                   {{Kind: match.Prefix, Value: "spiffe://"}},
	} {
		in, _ := told(t, Weft, Config{TrustDomain: "td"}, policy(callers))
		if !reflect.DeepEqual(in.Guard.Trusted, want) {
			t.Errorf("%s: %#v", callers, in.Guard.Trusted)
		}
	}
	if in, _ := told(t, Weft, Config{TrustDomain: "td"}); in.Guard.Trusted != nil {
		t.Error("nobody said who is trusted")
	}
}

// An Envoy that asks for it gets a listener before a server that its reader takes, and says what our own servers are told.
func TestEnvoyBeforeAServer(t *testing.T) {
	metadata, err := structpb.NewStruct(map[string]any{"WEFT_INBOUND": []any{
		map[string]any{"listen": "10.3.0.1:8080", "forward": "127.0.0.1:8081"},
		map[string]any{"listen": "10.3.0.1:9000", "forward": "127.0.0.1:9001", "port": 7000, "protocol": "TCP"},
		map[string]any{"listen": "nonsense", "forward": "127.0.0.1:1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	inbound := InboundOf(&corev3.Node{Metadata: metadata})
	if want := []Forward{{"10.3.0.1:8080", "127.0.0.1:8081", 8080, false}, {"10.3.0.1:9000", "127.0.0.1:9001", 7000, true}}; !reflect.DeepEqual(inbound, want) {
		t.Fatalf("%+v", inbound)
	}
	custom := strings.Replace(rule("CUSTOM", "[{to: [{operation: {paths: [/x]}}]}]"), "spec: {", "spec: {provider: {name: outside}, ", 1)
	all := strings.Join([]string{strings.Replace(server, "weft.dev/v1", catalog.Version, 1), custom, tokensOfTwo,
		rule("ALLOW", `[{from: [{source: {namespaces: [demo]}}], to: [{operation: {paths: ["/a/{*}"]}}]}]`)}, "\n---\n")
	v := publisherWith(t, all, Config{TrustDomain: "td"}).View(Client{Dialect: Envoy, Namespace: "demo", Listen: "127.0.0.1:1", Inbound: inbound})
	if got := v.All(wire.ListenerType); !reflect.DeepEqual(got, []string{"outbound", "inbound|10.3.0.1:8080", "inbound|10.3.0.1:9000"}) {
		t.Errorf("%v", got)
	}
	clusters := strings.Join(v.All(wire.ClusterType), " ")
	for _, name := range []string{"inbound|10.3.0.1:8080", "inbound|10.3.0.1:9000", "outbound|9000||authz.demo.svc.cluster.local"} {
		if !strings.Contains(clusters, name) {
			t.Errorf("no cluster %s among %s", name, clusters)
		}
	}
	l := sent(t, v, wire.ListenerType, "inbound|10.3.0.1:8080", wire.DecodeListener)
	if l.Inbound == nil || l.Inbound.TLS.Mode != identity.Permissive || l.Proxy == nil || l.Proxy.Cluster != "inbound|10.3.0.1:8080" || l.Inbound.Guard.JWT == nil {
		t.Errorf("%s", printed(l))
	}
	if names := l.Inbound.TLS.SubjectAltNames; len(names) != 2 || !names[0].Is.Holds("spiffe://td/ns/x/sa/y") || names[0].Is.Holds("spiffe://td2/x") {
		t.Errorf("who is believed: %s", printed(names))
	}
	ours, _ := publisherWith(t, all, Config{TrustDomain: "td"}).View(Client{Namespace: "demo"}).inbound("10.3.0.1:8080")
	for i, s := range ours.Guard.Steps {
		if i >= len(l.Inbound.Guard.Steps) || l.Inbound.Guard.Steps[i].Name != s.Name {
			t.Errorf("step %d is not %s: %s", i, s.Name, printed(l.Inbound.Guard.Steps))
		}
	}
	tcp := sent(t, v, wire.ListenerType, "inbound|10.3.0.1:9000", wire.DecodeListener)
	conn := &identity.Request{Connection: true, Source: base().Source, Local: netip.MustParseAddrPort("10.3.0.1:9000"), Peer: base().Peer}
	if ask(t, tcp.Inbound.Guard, conn).Allowed {
		t.Error("a rule on requests allows connections")
	}
	c := sent(t, v, wire.ClusterType, "inbound|10.3.0.1:8080", wire.DecodeCluster)
	if len(c.Endpoints) != 1 || c.Endpoints[0].Addr != "127.0.0.1:8081" || c.TLS != nil {
		t.Errorf("%s", printed(c))
	}
}

// Envoy refuses a listener for keys that are none, and fetches them from clusters alone: such tokens are refused instead.
func TestEnvoyAlwaysHasKeys(t *testing.T) {
	for _, keys := range []string{`jwks: '{"keys":[]}'`, `jwksUri: "https://a/keys"`, ``} {
		in, lost := told(t, Envoy, Config{}, strings.Replace(tokensOfTwo, `jwks: '{"keys":[]}'`, keys, 1))
		if p := in.Guard.JWT.Providers[0]; p.JWKS != noKeys || p.URI != "" || (len(lost) > 0) != strings.Contains(keys, "https") {
			t.Errorf("%s: %+v %v", keys, p, lost)
		}
	}
	in, lost := told(t, Envoy, Config{}, strings.Replace(tokensOfTwo, `jwks: '{"keys":[]}'`, `jwksUri: "http://authz.demo:9000/keys"`, 1))
	if p := in.Guard.JWT.Providers[0]; p.Service != "authz.demo.svc.cluster.local:9000" || p.JWKS != "" || len(lost) > 0 {
		t.Errorf("%+v %v", p, lost)
	}
}

// What each dialect is told of every server of istiod's cases is what its reader takes.
func TestInboundListenersAreRead(t *testing.T) {
	config, _ := chains(t, "09-authorization")
	for _, d := range []Dialect{Weft, GRPC} {
		v := publisherWith(t, config, Config{TrustDomain: "cluster.local", DefaultMode: identity.Strict}).View(Client{Dialect: d, Namespace: "demo"})
		for _, address := range servers {
			name := inboundPrefix + address + ":8080"
			l, _ := v.Listener(name)
			got := sent(t, v, wire.ListenerType, name, wire.DecodeListener)
			if d == Weft && !reflect.DeepEqual(got.Inbound.Guard.Steps, l.Inbound.Guard.Steps) {
				t.Errorf("%s\nread as\n%s", printed(l.Inbound.Guard), printed(got.Inbound.Guard))
			}
			a, err := anypb.New(v.Message(wire.ListenerType, name))
			if err != nil {
				t.Fatal(err)
			}
			if d == GRPC && (strings.Contains(a.String(), "uri_template") || strings.Contains(a.String(), "requested_server_name")) {
				t.Errorf("%s: gRPC is told what it refuses: %v", name, a)
			}
			if d == GRPC && got.Secrets != wire.Providers {
				t.Errorf("%s: secrets are not of certificate providers", name)
			}
		}
	}
}

package publish

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

const server = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: srv, namespace: demo}
spec:
  hosts: [srv.demo.svc.cluster.local]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.3.0.1, labels: {app: srv}, serviceAccount: srv}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: authz, namespace: demo}
spec:
  hosts: [authz.demo.svc.cluster.local]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 9000, name: grpc, protocol: GRPC}]
  endpoints: [{address: 10.3.0.2}]
---
apiVersion: weft.dev/v1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec:
  trustDomain: td
  trustDomainAliases: [old]
  extensionProviders:
  - {name: outside, envoyExtAuthzGrpc: {service: authz.demo.svc.cluster.local, port: 9000, timeout: 1s}}
  - {name: web, envoyExtAuthzHttp: {service: authz.demo.svc.cluster.local, port: 9000, includeRequestHeadersInCheck: [cookie, "x-*"]}}
`

// told is what a server of the dialect at 10.3.0.1:8080 is told.
func told(t *testing.T, d Dialect, config Config, yaml ...string) (Inbound, []Loss) {
	t.Helper()
	all := strings.Replace(server, "weft.dev/v1", catalog.Version, 1) + "\n---\n" + strings.Join(yaml, "\n---\n")
	objects, findings := catalog.Parse("test.yaml", []byte(all))
	for _, f := range findings {
		if f.Severity == catalog.Error {
			t.Fatal(f)
		}
	}
	v := New(catalog.Merge(catalog.Fragment{Objects: objects}), config).View(Client{Dialect: d, Namespace: "demo"})
	in, w := v.inbound("10.3.0.1:8080")
	return v.limitInbound(in, w)
}

// rule is an AuthorizationPolicy of one action with rules.
func rule(action, rules string) string {
	return fmt.Sprintf(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p-%s, namespace: demo}
spec: {selector: {matchLabels: {app: srv}}, action: %s, rules: %s}
`, strings.ToLower(action), action, rules)
}

const tokensOfTwo = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ra, namespace: demo}
spec:
  jwtRules:
  - {issuer: "https://a", jwks: '{"keys":[]}'}
  - {issuer: "https://b", jwks: '{"keys":[]}'}
`

type headers map[string][]string

func (h headers) Values(n match.HeaderName) []string { return h[n.Lower] }

func peer(id string) *identity.Peer {
	if id == "" {
		return nil
	}
	return &identity.Peer{ID: spiffeid.RequireFromString("spiffe://" + id)}
}

func ask(t *testing.T, g identity.Guard, r *identity.Request) identity.Decision {
	t.Helper()
	gate, err := identity.NewGate(g)
	if err != nil {
		t.Fatal(err)
	}
	return gate.Check(context.Background(), r, nil, nil)
}

// base is a request that the tables change.
func base() *identity.Request {
	return &identity.Request{
		Method: http.MethodGet, Scheme: "http", Authority: "srv.demo", Path: "/a", Header: headers{},
		Peer: peer("td/ns/demo/sa/client"), Source: netip.MustParseAddrPort("10.1.2.3:4"), Local: netip.MustParseAddrPort("10.3.0.1:8080"),
	}
}

func TestRulesAllowWhatTheyName(t *testing.T) {
	from := func(id string) func(*identity.Request) { return func(r *identity.Request) { r.Peer = peer(id) } }
	header := func(k string, v ...string) func(*identity.Request) {
		return func(r *identity.Request) { r.Header = headers{k: v} }
	}
	path := func(p string) func(*identity.Request) { return func(r *identity.Request) { r.Path = p } }
	host := func(h string) func(*identity.Request) { return func(r *identity.Request) { r.Authority = h } }
	claims := func(all ...identity.Claims) func(*identity.Request) {
		return func(r *identity.Request) { r.Claims = all }
	}
	of := func(provider int, iss, sub string, more map[string]any) identity.Claims {
		payload := map[string]any{"iss": iss, "sub": sub}
		maps.Copy(payload, more)
		return identity.Claims{Provider: fmt.Sprintf("ns[demo]-policy[ra]-rule[%d]", provider), Issuer: iss, Subject: sub, Payload: payload}
	}
	at := func(a string) func(*identity.Request) {
		return func(r *identity.Request) { r.Source = netip.MustParseAddrPort(a) }
	}
	for rules, cases := range map[string]struct{ yes, no []func(*identity.Request) }{
		`[{}]`: {yes: []func(*identity.Request){from(""), path("/x")}},
		`[{from: [{source: {principals: [td/ns/demo/sa/client]}}]}]`: {
			[]func(*identity.Request){from("td/ns/demo/sa/client"), from("old/ns/demo/sa/client")},
			[]func(*identity.Request){from(""), from("td/ns/demo/sa/client2"), from("other/ns/demo/sa/client")},
		},
		`[{from: [{source: {principals: ["cluster.local/ns/demo/*"]}}]}]`: {
			[]func(*identity.Request){from("td/ns/demo/sa/x")}, []func(*identity.Request){from("td/ns/demo2/sa/x"), from("cluster.local/ns/demo/sa/x")},
		},
		`[{from: [{source: {principals: ["*/sa/a.b"]}}]}]`: {
			[]func(*identity.Request){from("td/ns/x/sa/a.b")}, []func(*identity.Request){from("td/ns/x/sa/aXb"), from("")},
		},
		`[{from: [{source: {principals: ["*"]}}]}]`: {[]func(*identity.Request){from("any/x")}, []func(*identity.Request){from("")}},
		`[{from: [{source: {namespaces: ["de.o", "prod-*"]}}]}]`: {
			[]func(*identity.Request){from("td/ns/de.o/sa/x"), from("td/ns/prod-1/sa/x")},
			[]func(*identity.Request){from("td/ns/demo/sa/x"), from("td/ns/prod/sa/x"), from("td/ns/other/sa/ns/de.o/x"), from("")},
		},
		`[{from: [{source: {notNamespaces: [demo]}}]}]`: {
			[]func(*identity.Request){from("td/ns/other/sa/x"), from("")}, []func(*identity.Request){from("td/ns/demo/sa/x")},
		},
		`[{from: [{source: {serviceAccounts: [client, other/x]}}]}]`: {
			[]func(*identity.Request){from("td/ns/demo/sa/client"), from("old/ns/other/sa/x")},
			[]func(*identity.Request){from("td/ns/other/sa/client"), from("td/ns/demo/sa/client-2"), from("td/ns/demo/sa/my-client"), from("")},
		},
		`[{from: [{source: {trustDomains: [old, "par*"]}}]}]`: {
			[]func(*identity.Request){from("td/x"), from("old/x"), from("partner/x")}, []func(*identity.Request){from("other/x"), from("")},
		},
		`[{from: [{source: {ipBlocks: [10.1.0.0/16, 192.0.2.1], notIpBlocks: [10.1.9.0/24]}}]}]`: {
			[]func(*identity.Request){at("10.1.2.3:1"), at("192.0.2.1:1")}, []func(*identity.Request){at("10.2.0.1:1"), at("10.1.9.9:1"), at("192.0.2.2:1")},
		},
		`[{to: [{operation: {hosts: ["Shop.example.com", "*.API.example.com", "x.*"]}}]}]`: {
			[]func(*identity.Request){host("shop.example.com"), host("a.api.example.com"), host("x.y")},
			[]func(*identity.Request){host("shop.example.com.evil"), host("api.example.com")},
		},
		`[{to: [{operation: {hosts: ["shop.example.com:8080"]}}]}]`: {
			[]func(*identity.Request){host("shop.example.com")},
			[]func(*identity.Request){func(r *identity.Request) {
				r.Authority, r.Local = "shop.example.com", netip.MustParseAddrPort("10.3.0.1:9999")
			}},
		},
		`[{to: [{operation: {paths: ["/a", "/b/*", "*/c", "/t/{*}/x", "/u/{**}"], notPaths: [/b/no], methods: [GET, "P*"]}}]}]`: {
			[]func(*identity.Request){path("/a"), path("/b/1"), path("/z/c"), path("/t/1/x"), path("/u/1/2"), func(r *identity.Request) { r.Method = "PUT" }},
			[]func(*identity.Request){path("/a/"), path("/b/no"), path("/t/1/2/x"), path("/A"), func(r *identity.Request) { r.Method = "DELETE" }},
		},
		`[{to: [{operation: {ports: ["8080"]}}]}]`: {yes: []func(*identity.Request){path("/x")}},
		`[{when: [{key: "request.headers[X-Env]", values: [prod], notValues: [dev]}]}]`: {
			[]func(*identity.Request){header("x-env", "prod")},
			[]func(*identity.Request){header("x-env", "prod", "dev"), header("x-env", "dev"), header("x-other", "prod")},
		},
		`[{from: [{source: {requestPrincipals: ["https://a/*"], notRequestPrincipals: ["https://a/mallory"]}}]}]`: {
			[]func(*identity.Request){claims(of(0, "https://a", "alice", nil))},
			[]func(*identity.Request){claims(), claims(of(0, "https://a", "mallory", nil)), claims(of(1, "https://b", "alice", nil))},
		},
		`[{from: [{source: {requestPrincipals: ["https://a/alice"]}}], when: [{key: "request.auth.claims[groups][x]", values: [admin]}]}]`: {
			[]func(*identity.Request){claims(of(0, "https://a", "alice", map[string]any{"groups": map[string]any{"x": []any{"admin", "y"}}}))},
			[]func(*identity.Request){ // two tokens make no third
				claims(of(0, "https://a", "alice", nil), of(1, "https://b", "bob", map[string]any{"groups": map[string]any{"x": "admin"}})),
				claims(of(0, "https://a", "bob", nil), of(1, "https://b", "alice", nil)),
			},
		},
		`[{when: [{key: request.auth.audiences, values: [me]}, {key: request.auth.presenter, values: ["app-*"]}]}]`: {
			[]func(*identity.Request){claims(of(0, "https://a", "x", map[string]any{"aud": []any{"me"}, "azp": "app-1"}))},
			[]func(*identity.Request){claims(of(0, "https://a", "x", map[string]any{"aud": "you", "azp": "app-1"}))},
		},
		`[{when: [{key: destination.ip, values: [10.3.0.1]}, {key: destination.port, values: ["8080"]}, {key: source.namespace, values: [demo]}, {key: source.principal, values: [td/ns/demo/sa/client]}, {key: source.ip, values: [10.0.0.0/8]}]}]`: {
			[]func(*identity.Request){path("/")}, []func(*identity.Request){from("td/ns/demo/sa/other")},
		},
	} {
		allow, _ := told(t, Weft, Config{TrustDomain: "td"}, rule("ALLOW", rules), tokensOfTwo)
		deny, _ := told(t, Weft, Config{TrustDomain: "td"}, rule("DENY", rules), tokensOfTwo)
		for want, changes := range map[bool][]func(*identity.Request){true: cases.yes, false: cases.no} {
			for i, change := range changes {
				r := base()
				change(r)
				if d := ask(t, allow.Guard, r); d.Allowed != want {
					t.Errorf("ALLOW %s: %v %d: %+v", rules, want, i, d)
				}
				// What denies sees the same, but for headers of several lines and several tokens, of which it may see more.
				if d := ask(t, deny.Guard, r); d.Allowed == want && (want || r.Header.Values(match.Named("x-env")) == nil && len(r.Claims) < 2) && !strings.Contains(rules, ":8080") {
					t.Errorf("DENY %s: %v %d: %+v", rules, want, i, d)
				}
			}
		}
	}
}

func TestStepsComeInIstiosOrder(t *testing.T) {
	dry := strings.Replace(rule("DENY", "[{}]"), "namespace: demo}", `namespace: demo, annotations: {istio.io/dry-run: "true"}}`, 1)
	dry = strings.Replace(dry, "p-deny", "dry", 1)
	custom := func(provider string) string {
		p := strings.Replace(rule("CUSTOM", "[{to: [{operation: {paths: [/x]}}]}]"), "p-custom", "c-"+provider, 1)
		return strings.Replace(p, "spec: {", "spec: {provider: {name: "+provider+"}, ", 1)
	}
	in, _ := told(t, Weft, Config{TrustDomain: "td"}, rule("ALLOW", "[{}]"), rule("AUDIT", "[{}]"), dry,
		rule("DENY", "[{to: [{operation: {paths: [/no]}}]}]"), custom("outside"), custom("nobody"), custom("web"))
	var got []string
	for _, s := range in.Guard.Steps {
		got = append(got, fmt.Sprintf("%s %t %t %t", strings.TrimPrefix(s.Name, "istio.authorization."), s.Ask != nil, s.Rules != nil, s.Shadow != nil))
	}
	want := "custom.nobody false true false, custom.outside true false false, custom.web true false false, audit false true false, deny false true true, allow false true false"
	if strings.Join(got, ", ") != want {
		t.Error(got)
	}
	if e := in.Guard.Steps[1].Ask; e.Service != "authz.demo.svc.cluster.local:9000" || e.HTTP || e.Timeout.Seconds() != 1 || e.When == nil {
		t.Errorf("%+v", e)
	}
	if e := in.Guard.Steps[2].Ask; !e.HTTP || len(e.RequestHeaders) != 2 || !e.RequestHeaders[1].Holds("x-a") {
		t.Errorf("%+v", e)
	}
	x := base()
	x.Path = "/x"
	if d := ask(t, in.Guard, x); d.Allowed || d.Policy != "istio-ext-authz-nobody-ns[demo]-policy[c-nobody]-rule[0]"+badCustom {
		t.Errorf("what nobody could be asked about: %+v", d)
	}
	d := ask(t, in.Guard, base())
	if !d.Allowed || len(d.Shadow) != 2 || d.Shadow[1].Policy != "ns[demo]-policy[dry]-rule[0]" {
		t.Errorf("%+v", d)
	}
	// Of connections HTTP can't be asked about.
	if s := in.Guard.Connections; s[1].Ask == nil || s[2].Ask != nil || s[2].Rules.Policies[0].Permissions[0].Of[0].Kind != identity.Always {
		t.Errorf("%+v", s)
	}
}

// Policies stand in the order of their names, as on the wire, whatever their age.
func TestPoliciesAreSorted(t *testing.T) {
	old := func(name, when string) string {
		p := strings.Replace(rule("ALLOW", "[{}]"), "p-allow", name, 1)
		return strings.Replace(p, "namespace: demo}", `namespace: demo, creationTimestamp: "`+when+`"}`, 1)
	}
	in, _ := told(t, Weft, Config{}, old("b", "2020-01-01T00:00:00Z"), old("a", "2021-01-01T00:00:00Z"))
	if p := in.Guard.Steps[0].Rules.Policies; len(p) != 2 || p[0].Name != "ns[demo]-policy[a]-rule[0]" {
		t.Errorf("%+v", p)
	}
}

// A server is open to nobody for lack of rules that could be understood.
func TestNothingIsOpenByMistake(t *testing.T) {
	none := rule("ALLOW", "[]")
	for _, d := range []Dialect{Weft, GRPC, GRPCLeast, Envoy} {
		in, _ := told(t, d, Config{}, none)
		if got := ask(t, in.Guard, base()); got.Allowed {
			t.Errorf("%v: an ALLOW without rules allows", d)
		}
		dry := strings.Replace(rule("DENY", "[{}]"), "namespace: demo}", `namespace: demo, annotations: {istio.io/dry-run: "true"}}`, 1)
		if in, _ := told(t, d, Config{}, dry); !ask(t, in.Guard, base()).Allowed {
			t.Errorf("%v: what is only tried denies", d)
		}
	}
	// Rules see no port in the authority, and nobody can tell of tokens that nobody verifies: neither opens anything.
	for _, p := range []string{
		rule("DENY", `[{to: [{operation: {hosts: ["srv.demo:9999"]}}]}]`),
		rule("ALLOW", `[{to: [{operation: {hosts: ["srv.demo:9999"]}}]}]`),
		rule("ALLOW", `[{to: [{operation: {notHosts: ["srv.demo:9999"]}}]}]`),
		rule("DENY", `[{from: [{source: {requestPrincipals: ["x/y"]}}]}]`),
		rule("DENY", `[{from: [{source: {notRequestPrincipals: ["x/y"]}}]}]`),
		rule("ALLOW", `[{from: [{source: {requestPrincipals: ["x/y"]}}]}]`),
		rule("ALLOW", `[{from: [{source: {notRequestPrincipals: ["x/y"]}}]}]`),
	} {
		if in, _ := told(t, Weft, Config{}, p); ask(t, in.Guard, base()).Allowed {
			t.Errorf("opens: %s", p)
		}
	}
	http := rule("ALLOW", `[{to: [{operation: {paths: [/x]}}, {operation: {ports: ["8080"]}}]}]`)
	in, _ := told(t, Weft, Config{}, http)
	conn := &identity.Request{Connection: true, Source: base().Source, Local: base().Local}
	if ask(t, in.Guard, conn).Allowed {
		t.Error("a rule on requests allows connections")
	}
	in, _ = told(t, Weft, Config{}, rule("DENY", `[{to: [{operation: {paths: [/x], notMethods: [GET]}}]}]`))
	if ask(t, in.Guard, conn).Allowed {
		t.Error("a rule on requests does not deny connections")
	}
}

package wire

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
)

// readJSON reads what a real istiod said.
func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/security/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func fromJSON[M proto.Message](t *testing.T, raw json.RawMessage, m M) M {
	t.Helper()
	if err := protojson.Unmarshal(raw, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// golden compares with the file, and writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	file = "testdata/security/" + file
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestIstiodsServersAreUnderstood: what istiod tells gRPC's servers of who may call them.
func TestIstiodsServersAreUnderstood(t *testing.T) {
	var servers map[string][]json.RawMessage
	readJSON(t, "servers.grpc.json", &servers)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		for _, raw := range servers[name] {
			l, err := DecodeListener(fromJSON(t, raw, new(anypb.Any)))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			fmt.Fprintf(&b, "%s %s %v\n", name, l.Inbound.Addr, l.Inbound.TLS.Mode)
			for _, s := range l.Inbound.Guard.Steps {
				fmt.Fprintf(&b, "  %s\n", brief(s))
			}
			for _, w := range l.Warnings {
				fmt.Fprintf(&b, "  warning %s\n", w)
			}
			l.Warnings = nil
			mirrored(t, *l, EncodeListener, DecodeListener)
		}
	}
	golden(t, "servers.grpc.golden", b.String())
}

// TestIstiodsFiltersAreUnderstood: what istiod tells sidecars, as it is and as gRPC's servers should have been told.
func TestIstiodsFiltersAreUnderstood(t *testing.T) {
	var servers map[string]struct{ HTTP, Network []json.RawMessage }
	readJSON(t, "servers.sidecar.json", &servers)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		for _, raw := range servers[name].HTTP {
			var list []json.RawMessage
			if err := json.Unmarshal(raw, &list); err != nil {
				t.Fatal(err)
			}
			var filters []*hcmv3.HttpFilter
			for _, f := range list {
				filters = append(filters, fromJSON(t, f, new(hcmv3.HttpFilter)))
			}
			g, err := DecodeGuard(name, filters)
			if err != nil {
				t.Error(err)
				continue
			}
			fmt.Fprintf(&b, "%s requests\n", name)
			for _, s := range g.Steps {
				fmt.Fprintf(&b, "  %s\n", brief(s))
			}
		}
		for _, raw := range servers[name].Network {
			l, err := DecodeListener(listenerText(t, `name: "l" traffic_direction: INBOUND address { socket_address { address: "127.0.0.1" port_value: 1 } } filter_chains { filters { `+
				protoText(t, raw)+` } filters { name: "tcp" typed_config { [type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy] { cluster: "c" } } } }`))
			if err != nil {
				t.Error(name, err)
				continue
			}
			fmt.Fprintf(&b, "%s connections\n", name)
			for _, s := range l.Inbound.Guard.Connections {
				fmt.Fprintf(&b, "  %s\n", brief(s))
			}
			if !reflect.DeepEqual(l.Inbound.Guard.Steps, l.Inbound.Guard.Connections) {
				t.Errorf("%s: requests on a server of TCP alone have other rules than connections", name)
			}
		}
	}
	golden(t, "servers.sidecar.golden", b.String())
}

func TestIstiodsClustersAreUnderstood(t *testing.T) {
	var clients map[string][]json.RawMessage
	readJSON(t, "clusters.json", &clients)
	var b strings.Builder
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		for _, raw := range clients[client] {
			c, err := DecodeCluster(fromJSON(t, raw, new(anypb.Any)))
			if err != nil {
				t.Error(client, err)
				continue
			}
			fmt.Fprintf(&b, "%s %s auto %v secrets %d %s\n", client, c.Name, c.AutoTLS, c.Secrets, brief(c.TLS))
			c.Warnings = nil
			mirrored(t, *c, EncodeCluster, DecodeCluster)
		}
	}
	golden(t, "clusters.golden", b.String())
}

func TestSecrets(t *testing.T) {
	for _, s := range []Secret{
		{Name: "default", Certificates: testRoot, Key: testKey},
		{Name: "ROOTCA", Roots: testRoot + testRoot},
		{Name: "ROOTCA", Bundles: map[string]string{"a": testRoot, "b": testRoot}},
	} {
		mirrored(t, s, EncodeSecret, DecodeSecret)
		if strings.Contains(fmt.Sprintf("%v %+v %#v %s", s, s, s, s), "KEY") {
			t.Error("a secret tells its key")
		}
	}
	for _, c := range []struct{ text, want string }{
		{`name: "s"`, `type: only tls_certificate and validation_context are supported`},
		{`name: "s" session_ticket_keys { }`, `type: only tls_certificate and validation_context are supported`},
		{`name: "s" tls_certificate { }`, `tls_certificate.certificate_chain: only what is inline is supported`},
		{`name: "s" tls_certificate { certificate_chain { filename: "/c" } private_key { filename: "/k" } }`, `tls_certificate.certificate_chain: only what is inline is supported`},
		{`name: "s" tls_certificate { certificate_chain { inline_string: "c" } private_key { inline_string: "private words" } }`, `tls_certificate: tls: failed to find any PEM data in certificate input`},
		{`name: "s" validation_context { }`, `validation_context.trusted_ca: only what is inline is supported`},
		{`name: "s" validation_context { trusted_ca { inline_string: "x" } crl { inline_string: "x" } }`, `validation_context.crl: not supported`},
		{`name: "s" validation_context { custom_validator_config { name: "x" } }`, `validation_context.custom_validator_config.typed_config: missing`},
		{`name: "s" validation_context { custom_validator_config { typed_config { [type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig] { } } } }`, `typed_config.trust_domains: none`},
	} {
		_, err := DecodeSecret(text(t, EncodeSecret(Secret{}), c.text))
		if err == nil || !strings.Contains(err.Error(), `secret "s": `) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.text, err)
		} else if strings.Contains(err.Error(), "private words") {
			t.Error("an error tells a key")
		}
	}
}

// TestServiceOutsideIsAskedAsIstioSays: shadow rules note which policy holds, and by its name it is known who is asked.
func TestServiceOutsideIsAskedAsIstioSays(t *testing.T) {
	const (
		shadow = `http_filters { name: "w" typed_config { [` + httpFilters + `rbac.v3.RBAC] { shadow_rules_stat_prefix: "istio_ext_authz_" shadow_rules { action: DENY ` +
			`policies { key: "istio-ext-authz-a-ns[x]" value { permissions { any: true } principals { any: true } } } ` +
			`policies { key: "istio-ext-authz-b-ns[x]" value { permissions { any: true } principals { any: true } } } } } } } `
		ask = `http_filters { name: "ask-%s" typed_config { [` + httpFilters + `ext_authz.v3.ExtAuthz] { transport_api_version: V3 grpc_service { envoy_grpc { cluster_name: "outbound|9000||authz.test" } } ` +
			`filter_enabled_metadata { filter: "envoy.filters.http.rbac" path { key: "istio_ext_authz_shadow_effective_policy_id" } value { string_match { prefix: "istio-ext-authz-%s" } } } } } } `
	)
	l, err := DecodeListener(listenerText(t, `name: "l" address { socket_address { address: "127.0.0.1" port_value: 1 } } `+
		guarded(shadow+fmt.Sprintf(ask, "a", "a")+fmt.Sprintf(ask, "b", "b"), "")))
	if err != nil {
		t.Fatal(err)
	}
	all := []identity.Condition{{Kind: identity.Always}}
	step := func(name string) identity.Step {
		return identity.Step{Name: "ask-" + name, Ask: &identity.ExtAuthz{Service: "authz.test:9000", When: &identity.Rules{
			Action: identity.Deny, Policies: []identity.Policy{{Name: "istio-ext-authz-" + name + "-ns[x]", Permissions: all, Principals: all}},
		}}}
	}
	if want := []identity.Step{step("a"), step("b")}; !reflect.DeepEqual(l.Inbound.Guard.Steps, want) {
		t.Error(difference(l.Inbound.Guard.Steps, want))
	}
	if got := l.Inbound.Guard.Connections; len(got) != 1 || got[0].Rules == nil || len(got[0].Rules.Policies) > 0 {
		t.Errorf("who can't be asked of connections lets them in: %+v", got)
	}
	mirrored(t, *l, EncodeListener, DecodeListener)
}

// TestRulesAreNotLost: where a resource has no place for one of two, readers refuse it.
func TestRulesAreNotLost(t *testing.T) {
	all := []identity.Condition{{Kind: identity.Always}}
	twice := &identity.Rules{Action: identity.Deny, Policies: []identity.Policy{{Name: "p", Permissions: all, Principals: all}, {Name: "p", Permissions: all, Principals: all}}}
	for name, g := range map[string]identity.Guard{
		"policies of one name":    {Steps: []identity.Step{{Name: "s", Rules: twice}}},
		"providers of one name":   {JWT: &identity.JWT{Providers: []identity.Provider{{Name: "p", JWKS: testKeys}, {Name: "p", JWKS: testKeys}}}},
		"a principal's condition": {Steps: []identity.Step{{Name: "s", Rules: &identity.Rules{Policies: []identity.Policy{{Name: "p", Permissions: []identity.Condition{{Kind: identity.Authentic}}, Principals: all}}}}}},
		"no condition":            {Steps: []identity.Step{{Name: "s", Rules: &identity.Rules{Policies: []identity.Policy{{Name: "p", Permissions: all}}}}}},
		"a requirement's path":    {JWT: &identity.JWT{Requirements: []identity.PathRequirement{{Path: identity.Condition{Kind: identity.Not, Of: all}}}}},
	} {
		l := Listener{Name: "l", Inbound: inboundOf(g)}
		if got, err := DecodeListener(marshal(t, EncodeListener(l))); err == nil {
			t.Errorf("%s: accepted as %+v", name, got.Inbound.Guard)
		}
	}
}

// protoText is a network filter as text.
func protoText(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	return prototext.Format(fromJSON(t, raw, new(listenerv3.Filter)))
}

func inboundOf(g identity.Guard) *resolver.Inbound {
	return &resolver.Inbound{Addr: "127.0.0.1:1", Guard: g}
}

package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
)

func TestSecurityFindings(t *testing.T) {
	tests := []struct {
		name, kind, spec string
		want             []string // all findings
	}{
		{"deny all", catalog.KindAuthorizationPolicy, "{}", nil},
		{"whole", catalog.KindAuthorizationPolicy, `{selector: {matchLabels: {app: a}}, action: ALLOW, rules: [{from: [{source: {principals: ["td/ns/a/sa/b", "td/ns/*", "*/sa/b", "*"], notPrincipals: [td/ns/a/sa/c], requestPrincipals: [iss/sub], namespaces: [a, "b-*"], ipBlocks: [10.0.0.0/8, 1.2.3.4, "fd00::/8"], remoteIpBlocks: [1.1.1.1], trustDomains: [td, "*"]}}], to: [{operation: {hosts: [a.com, "*.b.com"], methods: [GET, "P*"], paths: [/a, "/b*", "*/c", "/d/{*}/e", "/f/{**}"], ports: ["80"]}}], when: [{key: "request.headers[x-a]", values: [a]}, {key: "request.auth.claims[a][b]", notValues: [c]}, {key: destination.port, values: ["80"]}]}]}`, nil},
		{"unknown field", catalog.KindAuthorizationPolicy, "{rule: [{}]}", []string{
			`error spec.rule: unknown field "rule"; did you mean "rules"?`,
		}},
		{"unknown action", catalog.KindAuthorizationPolicy, "{action: MAYBE, rules: [{}]}", []string{
			`error spec.action: unknown value "MAYBE"; there are ALLOW, DENY, AUDIT, CUSTOM`,
		}},
		{"wrong types", catalog.KindAuthorizationPolicy, "{selector: a, rules: {}, action: [ALLOW]}", []string{
			`error spec.selector: must be an object, not "a"`,
			"error spec.rules: must be a list, not an object",
			"error spec.action: must be a name, not a list",
		}},
		{"number for a text", catalog.KindAuthorizationPolicy, "{rules: [{to: [{operation: {ports: [80]}}]}]}", []string{
			"error spec.rules[0].to[0].operation.ports[0]: `80` is a number: quote it",
		}},
		{"deny without rules", catalog.KindAuthorizationPolicy, "{action: DENY}", []string{
			"error spec.rules: is missing, and action is DENY: it names no request; [{}] names every one",
		}},
		{"audit without rules", catalog.KindAuthorizationPolicy, "{action: AUDIT}", []string{
			"warning spec.rules: is missing: it names no request",
		}},
		{"custom without rules", catalog.KindAuthorizationPolicy, "{action: CUSTOM, provider: {name: x}}", []string{
			"error spec.rules: is missing, and action is CUSTOM: it names no request; [{}] names every one",
		}},
		{"custom without provider", catalog.KindAuthorizationPolicy, "{action: CUSTOM, rules: [{}]}", []string{
			"error spec.provider.name: is missing, and action is CUSTOM",
		}},
		{"provider for allow", catalog.KindAuthorizationPolicy, "{provider: {name: x}}", []string{
			"error spec.provider: is for action CUSTOM, and action is ALLOW",
		}},
		{"custom on identities", catalog.KindAuthorizationPolicy, `{action: CUSTOM, provider: {name: x}, rules: [{from: [{source: {principals: ["*"], notNamespaces: [a]}}], when: [{key: request.auth.principal, values: ["*"]}, {key: source.namespace, values: [a]}, {key: source.ip, values: [1.1.1.1]}]}]}`, []string{
			"error spec.rules[0].from[0].source.principals: is not supported with action CUSTOM (Istio)",
			"error spec.rules[0].from[0].source.notNamespaces: is not supported with action CUSTOM (Istio)",
			`error spec.rules[0].when[0].key: "request.auth.principal" is not supported with action CUSTOM (Istio)`,
			`error spec.rules[0].when[1].key: "source.namespace" is not supported with action CUSTOM (Istio)`,
		}},
		{"selector and target", catalog.KindAuthorizationPolicy, "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: x}]}", []string{
			"error spec.selector: only one of selector, targetRef and targetRefs may be given",
			"warning spec.targetRefs[0]: holds for gateways and waypoints, of which there are none: the policy holds for nothing; use selector",
		}},
		{"selector without labels", catalog.KindAuthorizationPolicy, "{selector: {}}", []string{
			"warning spec.selector: has no labels: it selects every workload",
		}},
		{"selector with a star", catalog.KindAuthorizationPolicy, `{selector: {matchLabels: {a: "b*"}}}`, []string{
			`error spec.selector.matchLabels[a]: "b*" is not a label value`,
		}},
		{"targets", catalog.KindAuthorizationPolicy, "{targetRefs: [{kind: Service}, {kind: Pod, name: x}, {kind: Gateway, group: gateway.networking.k8s.io, name: x, namespace: z}]}", []string{
			"error spec.targetRefs[0].name: is missing",
			"warning spec.targetRefs[0]: holds for gateways and waypoints, of which there are none: the policy holds for nothing; use selector",
			`error spec.targetRefs[1].kind: "Pod" of group "" is not a Service, ServiceEntry, Gateway or GatewayClass`,
			"error spec.targetRefs[2].namespace: must be left out: it is the policy's own",
			"warning spec.targetRefs[2]: holds for gateways and waypoints, of which there are none: the policy holds for nothing; use selector",
		}},
		{"empty lists", catalog.KindAuthorizationPolicy, "{rules: [{from: [], to: [{operation: {paths: [], methods: [GET]}}], when: []}]}", []string{
			"warning spec.rules[0].from: is empty, which counts as if it were left out",
			"warning spec.rules[0].to[0].operation.paths: is empty, which counts as if it were left out",
			"warning spec.rules[0].when: is empty, which counts as if it were left out",
		}},
		{"empty parts", catalog.KindAuthorizationPolicy, "{rules: [{from: [{}, {source: {}}], to: [{}, {operation: {}}], when: [{}, {key: source.ip}]}]}", []string{
			"error spec.rules[0].from[0].source: is missing: from without it names nobody",
			"error spec.rules[0].from[1].source: is empty: it names everybody; leave from out for that",
			"error spec.rules[0].to[0].operation: is missing: to without it names nothing",
			"error spec.rules[0].to[1].operation: is empty: it names every request; leave to out for that",
			"error spec.rules[0].when[0].key: is missing",
			"error spec.rules[0].when[1]: needs values or notValues",
		}},
		{"empty values", catalog.KindAuthorizationPolicy, `{rules: [{from: [{source: {principals: [""], notIpBlocks: [""]}}], to: [{operation: {paths: [""]}}], when: [{key: connection.sni, notValues: [""]}]}]}`, []string{
			"error spec.rules[0].from[0].source.principals[0]: is empty",
			"error spec.rules[0].from[0].source.notIpBlocks[0]: is empty",
			"error spec.rules[0].to[0].operation.paths[0]: is empty",
			"error spec.rules[0].when[0].notValues[0]: is empty",
		}},
		{"nulls", catalog.KindAuthorizationPolicy, "{rules: [{from: [null], when: [~]}]}", []string{
			"error spec.rules[0].from[0]: must be an object, not null",
			"error spec.rules[0].when[0]: must be an object, not null",
			"error spec.rules[0].from[0].source: is missing: from without it names nobody",
			"error spec.rules[0].when[0].key: is missing",
		}},
		{"principals", catalog.KindAuthorizationPolicy, `{rules: [{from: [{source: {principals: [spiffe://td/ns/a/sa/b, a, "td/*/a"], notPrincipals: ["spiffe://*"]}}]}]}`, []string{
			`warning spec.rules[0].from[0].source.notPrincipals[0]: "spiffe://*" is nobody's: principals are written without the scheme, as TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`,
			`warning spec.rules[0].from[0].source.principals[0]: "spiffe://td/ns/a/sa/b" is nobody's: principals are written without the scheme, as TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`,
			`warning spec.rules[0].from[0].source.principals[1]: "a" is nobody's: an identity is TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`,
			`warning spec.rules[0].from[0].source.principals[2]: "td/*/a": a "*" stands for something at the beginning or at the end alone; this one is taken as it is`,
		}},
		{"request principals", catalog.KindAuthorizationPolicy, `{rules: [{from: [{source: {requestPrincipals: [me, "a*b/c"]}}]}]}`, []string{
			`warning spec.rules[0].from[0].source.requestPrincipals[0]: "me" is no token's: it is ISSUER/SUBJECT`,
			`warning spec.rules[0].from[0].source.requestPrincipals[1]: "a*b/c": a "*" stands for something at the beginning or at the end alone; this one is taken as it is`,
		}},
		{"accounts", catalog.KindAuthorizationPolicy, `{rules: [{from: [{source: {serviceAccounts: [a, a/b, "a/*", a/b/c, /b, a/]}}]}]}`, []string{
			`error spec.rules[0].from[0].source.serviceAccounts[2]: "a/*": "*" is not allowed; use principals`,
			`error spec.rules[0].from[0].source.serviceAccounts[3]: "a/b/c" is not SERVICEACCOUNT or NAMESPACE/SERVICEACCOUNT`,
			`error spec.rules[0].from[0].source.serviceAccounts[4]: "/b" is not SERVICEACCOUNT or NAMESPACE/SERVICEACCOUNT`,
			`error spec.rules[0].from[0].source.serviceAccounts[5]: "a/" is not SERVICEACCOUNT or NAMESPACE/SERVICEACCOUNT`,
		}},
		{"accounts beside", catalog.KindAuthorizationPolicy, "{rules: [{from: [{source: {serviceAccounts: [a], notNamespaces: [b]}}]}]}", []string{
			"error spec.rules[0].from[0].source: serviceAccounts cannot stand beside principals and namespaces, which they are made of",
		}},
		{"many accounts", catalog.KindAuthorizationPolicy, "{rules: [{when: [{key: source.serviceAccount, values: [a,b,c,d,e,f,g,h,i,j,k,l,m,o,p,q,r]}]}]}", []string{
			"error spec.rules[0].when[0].values: has 17 values; at most 16",
		}},
		{"trust domains", catalog.KindAuthorizationPolicy, `{rules: [{from: [{source: {trustDomains: [td/ns, "a*b", "*a*", "a*"]}}]}]}`, []string{
			`error spec.rules[0].from[0].source.trustDomains[0]: "td/ns" is not a trust domain: it has a "/"`,
			`error spec.rules[0].from[0].source.trustDomains[1]: "a*b": one "*" may stand at the beginning or at the end`,
			`error spec.rules[0].from[0].source.trustDomains[2]: "*a*": one "*" may stand at the beginning or at the end`,
		}},
		{"addresses", catalog.KindAuthorizationPolicy, `{rules: [{from: [{source: {ipBlocks: [x, 10.0.0.0/33, "::ffff:10.0.0.1", "fe80::1%eth0"], notRemoteIpBlocks: [1.2.3]}}]}]}`, []string{
			`error spec.rules[0].from[0].source.ipBlocks[0]: "x" is not an IP address or CIDR`,
			`error spec.rules[0].from[0].source.ipBlocks[1]: "10.0.0.0/33" is not an IP address or CIDR`,
			`warning spec.rules[0].from[0].source.ipBlocks[2]: "::ffff:10.0.0.1" is an IPv4 address in IPv6's form, which no peer has: write it as IPv4`,
			`warning spec.rules[0].from[0].source.ipBlocks[3]: "fe80::1%eth0": the zone does not count`,
			`error spec.rules[0].from[0].source.notRemoteIpBlocks[0]: "1.2.3" is not an IP address or CIDR`,
		}},
		{"ports", catalog.KindAuthorizationPolicy, `{rules: [{to: [{operation: {ports: ["http", "0", "65536", "-1"]}}]}]}`, []string{
			`error spec.rules[0].to[0].operation.ports[0]: "http" is not the number of a port`,
			"warning spec.rules[0].to[0].operation.ports[1]: port 0 is nobody's",
			`error spec.rules[0].to[0].operation.ports[2]: "65536" is not the number of a port`,
			`error spec.rules[0].to[0].operation.ports[3]: "-1" is not the number of a port`,
		}},
		{"methods", catalog.KindAuthorizationPolicy, `{rules: [{to: [{operation: {methods: [get, /a.B/C, "G*T"]}}]}]}`, []string{
			`warning spec.rules[0].to[0].operation.methods[0]: "get" is not an HTTP method: they are in upper case`,
			`warning spec.rules[0].to[0].operation.methods[1]: "/a.B/C" is not an HTTP method: gRPC's is POST, and /package.Service/Method is its path`,
			`warning spec.rules[0].to[0].operation.methods[2]: "G*T": a "*" stands for something at the beginning or at the end alone; this one is taken as it is`,
		}},
		{"hosts", catalog.KindAuthorizationPolicy, `{rules: [{to: [{operation: {hosts: ["a.com:8080", "fd00::1", "a.*.com"]}}]}]}`, []string{
			`warning spec.rules[0].to[0].operation.hosts[0]: "a.com:8080": hosts are compared without their port, which counts as the one that was connected to: write "a.com", and the port in ports`,
			`warning spec.rules[0].to[0].operation.hosts[2]: "a.*.com": a "*" stands for something at the beginning or at the end alone; this one is taken as it is`,
		}},
		{"paths", catalog.KindAuthorizationPolicy, `{rules: [{to: [{operation: {paths: [a, "/a?b", "//a", /a/../b, "/%61", "/a*b", "/a b", "/a%2Fb", "//a/*", "*/%41", "/%2e*", "/a%zz"], notPaths: ["/a/.", "/a#b", "*", "/a/*", "*/b"]}}]}]}`, []string{
			`warning spec.rules[0].to[0].operation.notPaths[0]: "/a/." is no request's: it is compared in the form "/a/"`,
			`warning spec.rules[0].to[0].operation.notPaths[1]: "/a#b" is no request's: paths are compared without query and fragment`,
			`warning spec.rules[0].to[0].operation.paths[0]: "a" is no request's: paths begin with "/"`,
			`warning spec.rules[0].to[0].operation.paths[1]: "/a?b" is no request's: paths are compared without query and fragment`,
			`warning spec.rules[0].to[0].operation.paths[2]: "//a" is no request's: it is compared in the form "/a"`,
			`warning spec.rules[0].to[0].operation.paths[3]: "/a/../b" is no request's: it is compared in the form "/b"`,
			`warning spec.rules[0].to[0].operation.paths[4]: "/%61" is no request's: it is compared in the form "/a"`,
			`warning spec.rules[0].to[0].operation.paths[5]: "/a*b": a "*" stands for something at the beginning or at the end alone; this one is taken as it is`,
			`warning spec.rules[0].to[0].operation.paths[6]: "/a b" is no request's: it is compared in the form "/a%20b"`,
			`warning spec.rules[0].to[0].operation.paths[7]: "/a%2Fb" is no request's: path: has an escaped slash`,
			`warning spec.rules[0].to[0].operation.paths[8]: "//a/*" is no request's: paths are compared without "//", "/./" and "/../", and with %XX for what may not stand in them`,
			`warning spec.rules[0].to[0].operation.paths[9]: "*/%41" is no request's: paths are compared without "//", "/./" and "/../", and with %XX for what may not stand in them`,
			`warning spec.rules[0].to[0].operation.paths[10]: "/%2e*" is no request's: paths are compared without "//", "/./" and "/../", and with %XX for what may not stand in them`,
			`warning spec.rules[0].to[0].operation.paths[11]: "/a%zz" is no request's: path: has a broken escape`,
		}},
		{"templates", catalog.KindAuthorizationPolicy, `{rules: [{to: [{operation: {paths: ["/{**}/a/{*}", "/a/{b}", "/{*}.txt", "/*/{*}", "a/{*}", "/a/{**}/b"]}}]}]}`, []string{
			`error spec.rules[0].to[0].operation.paths[0]: "/{**}/a/{*}": nothing may be left open behind {**}`,
			`error spec.rules[0].to[0].operation.paths[1]: "/a/{b}": "{b}" is not a template; {*} is one part of a path, and {**} the rest`,
			`error spec.rules[0].to[0].operation.paths[2]: "/{*}.txt": "{*}.txt" is not a template; {*} is one part of a path, and {**} the rest`,
			`error spec.rules[0].to[0].operation.paths[3]: "/*/{*}": "*" cannot stand in a path with a template`,
			`warning spec.rules[0].to[0].operation.paths[4]: "a/{*}" is no request's: paths begin with "/"`,
		}},
		{"attributes", catalog.KindAuthorizationPolicy, `{rules: [{when: [{key: source.ipp, values: [a]}, {key: request.headers, values: [a]}, {key: "request.headers[]", values: [a]}, {key: "request.headers[a b]", values: [a]}, {key: "request.headers[:authority]", values: [a]}, {key: "request.auth.claims[a", values: [b]}, {key: "request.auth.claims[a]b", values: [b]}, {key: "destination.labels[a]", values: [b]}, {key: destination.user, values: [b]}, {key: nonsense.of.somebody, values: [b]}, {key: "experimental.envoy.filters.a[b]", values: [c]}, {key: source.ip, values: [x]}]}]}`, []string{
			`error spec.rules[0].when[0].key: unknown attribute "source.ipp"; did you mean "source.ip"?`,
			`error spec.rules[0].when[1].key: "request.headers" needs a name in brackets: request.headers[NAME]`,
			"error spec.rules[0].when[2].key: must be request.headers[NAME]",
			`error spec.rules[0].when[3].key: "a b" is not the name of a header`,
			"error spec.rules[0].when[5].key: must be request.auth.claims[NAME] or request.auth.claims[NAME][NAME]",
			"error spec.rules[0].when[6].key: must be request.auth.claims[NAME] or request.auth.claims[NAME][NAME]",
			`error spec.rules[0].when[7].key: "destination.labels[a]" is no attribute any more: a policy holds for what its selector names`,
			`error spec.rules[0].when[8].key: "destination.user" is no attribute any more: a policy holds for what its selector names`,
			`error spec.rules[0].when[9].key: unknown attribute "nonsense.of.somebody"; there are request.headers[NAME], request.auth.claims[NAME], source.ip, remote.ip, source.namespace, source.serviceAccount, source.principal, source.trustDomain, request.auth.principal, request.auth.audiences, request.auth.presenter, destination.ip, destination.port, connection.sni`,
			`error spec.rules[0].when[10].key: "experimental.envoy.filters.a[b]" is not supported: there are no filters of Envoy to ask; what can't be told must not be passed over`,
			`error spec.rules[0].when[11].values[0]: "x" is not an IP address or CIDR`,
		}},
		{"strict", catalog.KindPeerAuthentication, "{mtls: {mode: STRICT}}", nil},
		{"unknown mode", catalog.KindPeerAuthentication, "{mtls: {mode: STRIKT}}", []string{
			`error spec.mtls.mode: unknown value "STRIKT"; did you mean "STRICT"?`,
		}},
		{"nothing", catalog.KindPeerAuthentication, "{}", []string{
			"warning spec: says nothing: it has neither mtls nor portLevelMtls",
		}},
		{"port without selector", catalog.KindPeerAuthentication, "{portLevelMtls: {80: {mode: STRICT}}}", []string{
			"error spec.portLevelMtls: needs a selector: ports are those of single workloads",
		}},
		{"no ports", catalog.KindPeerAuthentication, "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}", []string{
			"error spec.portLevelMtls: is empty",
		}},
		{"ports", catalog.KindPeerAuthentication, `{selector: {matchLabels: {a: b}}, portLevelMtls: {0: {mode: STRICT}, 70000: {}, http: {}, "443": {}, 80: {mode: UNSET}}}`, []string{
			`error spec.portLevelMtls[http]: must be a number, not "http"`,
			"error spec.portLevelMtls[0]: port 0 is out of range: 1 to 65535",
			"error spec.portLevelMtls[70000]: port 70000 is out of range: 1 to 65535",
		}},
		{"port twice", catalog.KindPeerAuthentication, "{selector: {matchLabels: {a: b}}, portLevelMtls: {80: {}, 0x50: {}}}", []string{
			"error spec.portLevelMtls[0x50]: 0x50 given twice",
		}},
		{"sound", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: "https://a", jwksUri: "https://a/keys", audiences: [b], fromHeaders: [{name: x-token, prefix: "Bearer "}], fromParams: [t], fromCookies: [c], outputPayloadToHeader: x-payload, outputClaimToHeaders: [{header: x-sub, claim: sub}], forwardOriginalToken: true, timeout: 5s, spaceDelimitedClaims: [roles], presence: REQUIRED}]}`, nil},
		{"nothing", catalog.KindRequestAuthentication, "{}", []string{
			"warning spec.jwtRules: is missing: no token is verified",
		}},
		{"keys nowhere", catalog.KindRequestAuthentication, "{jwtRules: [{issuer: a}]}", []string{
			"warning spec.jwtRules[0].jwksUri: is missing, and there is no jwks: keys are not looked for at the issuer, and every token of it is refused",
		}},
		{"neither", catalog.KindRequestAuthentication, "{jwtRules: [{audiences: [a]}]}", []string{
			"error spec.jwtRules[0]: needs issuer or jwksUri",
			"warning spec.jwtRules[0].jwksUri: is missing, and there is no jwks: keys are not looked for at the issuer, and every token of it is refused",
		}},
		{"no issuer", catalog.KindRequestAuthentication, `{jwtRules: [{jwksUri: "https://a"}]}`, []string{
			"warning spec.jwtRules[0].issuer: is missing: the tokens of any issuer are believed that the keys fit",
		}},
		{"both keys", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwksUri: "https://a", jwks: "{}"}]}`, []string{
			"error spec.jwtRules[0].jwksUri: only one of jwks and jwksUri may be given",
		}},
		{"urls", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwksUri: "ftp://x"}, {issuer: a, jwksUri: "file:///etc/shadow"}, {issuer: a, jwksUri: "https://"}, {issuer: a, jwksUri: "https://me:secret@x"}, {issuer: a, jwksUri: "http://[::1"}]}`, []string{
			`error spec.jwtRules[0].jwksUri: "ftp://x" is not a URL with https:// or http://`,
			`error spec.jwtRules[1].jwksUri: "file:///etc/shadow" is not a URL with https:// or http://`,
			`error spec.jwtRules[2].jwksUri: "https://" names no host`,
			"error spec.jwtRules[3].jwksUri: has a user or a password in it, which everybody would see who is told of it",
			`error spec.jwtRules[4].jwksUri: "http://[::1" is not a URL`,
		}},
		{"key sets", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwks: nope}, {issuer: a, jwks: "[]"}, {issuer: a, jwks: "{}"}, {issuer: a, jwks: '{"keys": []}'}, {issuer: a, jwks: '{"keys": [{"kty": "RSA", "d": "x"}, {"kty": "oct", "k": "x"}, {}, {"kty": "EC", "use": "enc"}]}'}, {issuer: a, jwks: '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'}, {issuer: a, jwks: '{"kty": "EC"}'}, {issuer: a, jwks: '{"keys": 1}'}]}`, []string{
			"error spec.jwtRules[0].jwks: is not a set of keys in JSON (RFC 7517)",
			"error spec.jwtRules[1].jwks: is not a set of keys in JSON (RFC 7517)",
			`error spec.jwtRules[2].jwks: is not a set of keys: it has no "keys" (RFC 7517)`,
			"warning spec.jwtRules[3].jwks: no token of the issuer is believed: JWKS: has no keys",
			"warning spec.jwtRules[4].jwks: keys[0] is a private key, and stands here to be read: only public keys are needed",
			"warning spec.jwtRules[4].jwks: keys[1] is a shared secret, with which everybody who reads it can make tokens: use public keys",
			`error spec.jwtRules[4].jwks: keys[2] has no "kty" (RFC 7517)`,
			"warning spec.jwtRules[4].jwks: no token of the issuer is believed: JWKS: key 3: is not understood",
			`error spec.jwtRules[6].jwks: is one key: a set of keys is {"keys": [...]} (RFC 7517)`,
			"error spec.jwtRules[7].jwks: is not a set of keys in JSON (RFC 7517)",
		}},
		{"places", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwksUri: "https://a", audiences: [""], fromHeaders: [{}, {name: "a b"}, {name: x, prefix: Bearer}], fromParams: [""], fromCookies: ["", "a b"]}]}`, []string{
			"error spec.jwtRules[0].audiences[0]: is empty",
			"error spec.jwtRules[0].fromHeaders[0].name: is missing",
			`error spec.jwtRules[0].fromHeaders[1].name: "a b" is not the name of a header`,
			`warning spec.jwtRules[0].fromHeaders[2].prefix: "Bearer" is followed by a space, which belongs to the prefix`,
			"error spec.jwtRules[0].fromParams[0]: is empty",
			"error spec.jwtRules[0].fromCookies[0]: is empty",
			`warning spec.jwtRules[0].fromCookies[1]: "a b" is no cookie's name`,
		}},
		{"places that nobody can look at", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwksUri: "https://a", fromHeaders: [{name: x, prefix: "a\nb"}], fromCookies: ["a;b"], outputPayloadToHeader: x-envoy-a}]}`, []string{
			`warning spec.jwtRules[0].fromCookies[0]: "a;b" is no cookie's name`,
		}},
		{"outputs", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwksUri: "https://a", outputPayloadToHeader: "a b", outputClaimToHeaders: [{header: x}, {claim: x}, {header: Host, claim: a}, {header: x-a, claim: a}, {header: X-A, claim: b}, {header: x-forwarded-client-cert, claim: c}]}]}`, []string{
			`error spec.jwtRules[0].outputPayloadToHeader: "a b" must be letters, digits, '-' and '_'`,
			"error spec.jwtRules[0].outputClaimToHeaders[0].claim: is missing",
			"error spec.jwtRules[0].outputClaimToHeaders[1].header: is missing",
			`error spec.jwtRules[0].outputClaimToHeaders[2].header: "Host" cannot be made of a token: requests are read by it`,
			`error spec.jwtRules[0].outputClaimToHeaders[4].header: "X-A" given twice, first as outputClaimToHeaders[3]`,
			`error spec.jwtRules[0].outputClaimToHeaders[5].header: "x-forwarded-client-cert" cannot be made of a token: requests are read by it`,
		}},
		{"rest", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwksUri: "https://a", timeout: 1us, spaceDelimitedClaims: [""], presence: SOMETIMES}, {issuer: a, jwksUri: "https://a", presence: REQUIERD}, {issuer: a, jwksUri: "https://a", presence: 1}]}`, []string{
			`error spec.jwtRules[0].presence: unknown value "SOMETIMES"; there are OPTIONAL, REQUIRED`,
			`error spec.jwtRules[1].presence: unknown value "REQUIERD"; did you mean "REQUIRED"?`,
			"error spec.jwtRules[2].presence: `1` is a number: quote it",
			"error spec.jwtRules[0].timeout: 1µs is shorter than 1ms",
			"error spec.jwtRules[0].spaceDelimitedClaims[0]: is empty",
		}},
		{"unknown field", catalog.KindRequestAuthentication, `{jwtRules: [{issuer: a, jwksURI: "https://a"}]}`, []string{
			`error spec.jwtRules[0].jwksURI: unknown field "jwksURI"; did you mean "jwksUri"?`,
			"warning spec.jwtRules[0].jwksUri: is missing, and there is no jwks: keys are not looked for at the issuer, and every token of it is refused",
		}},
		{"trust domain", catalog.KindMeshConfig, "{trustDomain: Example, trustDomainAliases: [spiffe://a, b, b], rootNamespace: Root}", []string{
			`error spec.trustDomain: "Example" is not a trust domain: lower-case letters, digits, '.', '-' and '_'`,
			`error spec.trustDomainAliases[0]: "spiffe://a" is not a trust domain: lower-case letters, digits, '.', '-' and '_'`,
			`error spec.trustDomainAliases[2]: "b" given twice, first as trustDomainAliases[1]`,
			`error spec.rootNamespace: "Root" is not a namespace`,
		}},
		{"alias of itself", catalog.KindMeshConfig, "{trustDomain: a, trustDomainAliases: [a]}", []string{
			`error spec.trustDomainAliases[0]: "a" is the trust domain itself`,
		}},
		{"providers", catalog.KindMeshConfig, "{extensionProviders: [{name: A_, envoyExtAuthzGrpc: {service: a.b, port: 9000}}, {name: b}, {name: c, envoyExtAuthzGrpc: {service: a, port: 1}, envoyExtAuthzHttp: {service: a, port: 1}}, {name: c, envoyExtAuthzGrpc: {service: a/b/c, port: 70000}}, {envoyExtAuthzGrpc: {}}]}", []string{
			"error spec.extensionProviders[3].envoyExtAuthzGrpc.port: 70000 is out of range: 1 to 65535",
			"error spec.extensionProviders[4].name: is missing",
			"error spec.extensionProviders[4].envoyExtAuthzGrpc.service: is missing",
			"error spec.extensionProviders[4].envoyExtAuthzGrpc.port: is missing",
			`error spec.extensionProviders[0].name: "A_" must be lower-case letters, digits and '-'`,
			"error spec.extensionProviders[1]: needs envoyExtAuthzGrpc or envoyExtAuthzHttp",
			"error spec.extensionProviders[2].envoyExtAuthzHttp: only one of envoyExtAuthzGrpc and envoyExtAuthzHttp may be given",
			`error spec.extensionProviders[3].name: "c" given twice, first as extensionProviders[2]`,
			`error spec.extensionProviders[3].envoyExtAuthzGrpc.service: "b/c" is not a host name: label "b/c"`,
		}},
		{"grpc", catalog.KindMeshConfig, `{extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a_!, port: 0, timeout: 0s, statusOnError: "200", includeRequestBodyInCheck: {}}}]}`, []string{
			`error spec.extensionProviders[0].envoyExtAuthzGrpc.port: "0" is no value for it: leave the field out for its default`,
			`error spec.extensionProviders[0].envoyExtAuthzGrpc.timeout: "0s" is no value for it: leave the field out for its default`,
			`error spec.extensionProviders[0].envoyExtAuthzGrpc.statusOnError: "200" is not the HTTP status of an error, "400" to "599"`,
			"error spec.extensionProviders[0].envoyExtAuthzGrpc.includeRequestBodyInCheck.maxRequestBytes: is missing",
			`error spec.extensionProviders[0].envoyExtAuthzGrpc.service: "a_!" is not a host name: label "a_!"`,
		}},
		{"http", catalog.KindMeshConfig, `{extensionProviders: [{name: a, envoyExtAuthzHttp: {service: a, port: 1, statusOnError: 503, pathPrefix: x, includeRequestHeadersInCheck: ["*", "a*b"], includeAdditionalHeadersInCheck: {"a b": c, Host: d, x: "e\nf"}, headersToUpstreamOnAllow: [], includeRequestBodyInCheck: {maxRequestBytes: 1, packAsBytes: true}}}]}`, []string{
			`error spec.extensionProviders[0].envoyExtAuthzHttp.pathPrefix: "x" is not a path such as "/healthz"`,
			`error spec.extensionProviders[0].envoyExtAuthzHttp.includeRequestHeadersInCheck[0]: "*" is not the name of a header, nor the beginning or end of some with one "*"`,
			`error spec.extensionProviders[0].envoyExtAuthzHttp.includeRequestHeadersInCheck[1]: "a*b" is not the name of a header, nor the beginning or end of some with one "*"`,
			"error spec.extensionProviders[0].envoyExtAuthzHttp.headersToUpstreamOnAllow: is empty: leave the field out for its default",
			"error spec.extensionProviders[0].envoyExtAuthzHttp.includeRequestBodyInCheck.packAsBytes: has no effect: HTTP has bytes anyway",
			`error spec.extensionProviders[0].envoyExtAuthzHttp.includeAdditionalHeadersInCheck[Host]: "Host" cannot be set: requests are read by it`,
			`error spec.extensionProviders[0].envoyExtAuthzHttp.includeAdditionalHeadersInCheck[a b]: "a b" is not the name of a header`,
			"error spec.extensionProviders[0].envoyExtAuthzHttp.includeAdditionalHeadersInCheck[x]: the value has a line break",
		}},
		{"unknown field", catalog.KindMeshConfig, "{accessLogFile: /dev/stdout}", []string{
			`error spec.accessLogFile: unknown field "accessLogFile"; there are trustDomain, trustDomainAliases, rootNamespace, extensionProviders`,
		}},
		{"nothing", catalog.KindRevocation, "{reason: x}", []string{
			"error spec: takes nothing back: it needs serials or identities",
		}},
		{"serials", catalog.KindRevocation, `{serials: ["0a:1b", xyz, "", "0a::1b", "00112233445566778899aabbccddeeff0011223344556677"]}`, []string{
			`error spec.serials[1]: "xyz" is not a serial number in hexadecimal, such as "0a:1b:2c"`,
			`error spec.serials[2]: "" is not a serial number in hexadecimal, such as "0a:1b:2c"`,
			`error spec.serials[3]: "0a::1b" is not a serial number in hexadecimal, such as "0a:1b:2c"`,
			`error spec.serials[4]: "00112233445566778899aabbccddeeff0011223344556677" is not a serial number in hexadecimal, such as "0a:1b:2c"`,
		}},
		{"identities", catalog.KindRevocation, `{identities: [spiffe://td/ns/a/sa/b, td/ns/a/sa/b, "spiffe://td", "spiffe://TD/a", "spiffe://td/a/../b"]}`, []string{
			`error spec.identities[1]: "td/ns/a/sa/b" is not a SPIFFE ID such as "spiffe://example.org/ns/shop/sa/payments": scheme is missing or invalid`,
			`error spec.identities[2]: "spiffe://td" is a whole trust domain, and not one identity`,
			`error spec.identities[3]: "spiffe://TD/a" is not a SPIFFE ID such as "spiffe://example.org/ns/shop/sa/payments": trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores`,
			`error spec.identities[4]: "spiffe://td/a/../b" is not a SPIFFE ID such as "spiffe://example.org/ns/shop/sa/payments": path cannot contain dot segments`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.kind+" "+tt.name, func(t *testing.T) {
			_, findings := catalog.Parse("f", []byte(doc(tt.kind, "p", "istio-system", tt.spec)))
			var got []string
			for _, s := range strs(findings) {
				got = append(got, strings.Replace(s, fmt.Sprintf("f:4: %s/istio-system/p: ", tt.kind), "", 1))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
		})
	}
}

func TestSecurityFindingsStandWhereTheFieldIs(t *testing.T) {
	text := `apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata:
  name: p
  namespace: demo
  annotations:
    istio.io/dry-run: "maybe"
spec:
  rules:
  - from:
    - source:
        ipBlocks:
        - 10.0.0.0/8
        - 10.0.0.0/99
    when:
    - key: request.headers[x-a]
      values: []
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: q, namespace: demo}
spec:
  selector:
    matchLabels: {a: b}
  portLevelMtls:
    8080: {mode: STRICT}
    99999: {mode: STRICT}
`
	_, findings := catalog.Parse("f", []byte(text))
	want := []string{
		"warning f:17: AuthorizationPolicy/demo/p: spec.rules[0].when[0].values: is empty, which counts as if it were left out",
		`error f:7: AuthorizationPolicy/demo/p: metadata.annotations[istio.io/dry-run]: "maybe" is neither "true" nor "false"`,
		`error f:14: AuthorizationPolicy/demo/p: spec.rules[0].from[0].source.ipBlocks[1]: "10.0.0.0/99" is not an IP address or CIDR`,
		"error f:16: AuthorizationPolicy/demo/p: spec.rules[0].when[0]: needs values or notValues",
		"error f:27: PeerAuthentication/demo/q: spec.portLevelMtls[99999]: port 99999 is out of range: 1 to 65535",
	}
	if got := strs(findings); !slices.Equal(got, want) {
		t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestDryRunOfWhatHasNone(t *testing.T) {
	for spec, want := range map[string]string{
		"{action: CUSTOM, provider: {name: x}, rules: [{}]}": "is for ALLOW and DENY: nobody is asked, and what a provider would say is not known without asking it",
		"{action: AUDIT, rules: [{}]}":                       "is for ALLOW and DENY, and action is AUDIT",
		"{rules: [{}]}":                                      "",
	} {
		text := strings.Replace(doc("AuthorizationPolicy", "p", "demo", spec), "namespace:", `annotations: {istio.io/dry-run: "true"}, namespace:`, 1)
		_, findings := catalog.Parse("f", []byte(text))
		got := ""
		for _, f := range findings {
			got += f.Message
		}
		if got != want {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
}

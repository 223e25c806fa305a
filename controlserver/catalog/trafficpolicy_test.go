package catalog_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/resilience"
)

// traffic is a TrafficPolicy, whose spec stands on line 4.
func traffic(name, namespace, spec string) string {
	return "apiVersion: weft.dev/v1\nkind: TrafficPolicy\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec + "\n---\n"
}

func TestTrafficPolicyFindings(t *testing.T) {
	const at = "error f:4: TrafficPolicy/demo/p: spec"
	client := func(text string) string { return "{client: {" + text + "}}" }
	server := func(text string) string { return "{server: {" + text + "}}" }
	limits := func(text string) string {
		return "{server: {rateLimit: {limits: [{by: [caller], requests: 1, per: 1s}, {" + text + "}]}}}"
	}
	shared := func(text string) string {
		return "{server: {globalRateLimit: {limits: [{requests: 1, per: 1s}, {" + text + "}]}}}"
	}
	for _, tc := range []struct {
		name, spec string
		want       []string // all findings
	}{
		{"nothing", "", []string{": is missing"}},
		{"no object", "[]", []string{": must be an object, not a list"}},
		{"empty", "{}", []string{": says nothing: it needs client, server or disable"}},
		{"nulls", "{target: null, client: ~, disable: [hedges]}", nil},
		{"unknown field", "{clint: {}, disable: [hedges]}", []string{`.clint: unknown field "clint"; did you mean "client"?`}},
		{"field of another", client("hedge: {delay: 1s, window: 1s}"), []string{`.client.hedge.window: unknown field "window"; there are delay, percentile, max, chance`}},
		{"a word that is a boolean", "{off: [hedges]}", []string{".off: key `off` is a boolean in YAML 1.1: quote it"}},
		{"a key twice", "{client: {hedge: {delay: 1s}, hedge: {delay: 2s}}}", []string{`.client.hedge: key "hedge" given twice`}},

		{"target without a service", "{target: {port: 80}, disable: [hedges]}", []string{".target.service: is missing"}},
		{"target of all", `{target: {service: "*"}, disable: [hedges]}`, []string{`.target.service: "*" is not one service; without a target a policy holds for all`}},
		{"no host name", "{target: {service: a_!}, disable: [hedges]}", []string{`.target.service: "a_!" is not a host name: label "a_!"`}},
		{"port 0", "{target: {service: a, port: 0}, disable: [hedges]}", []string{`.target.port: "0" is no value for it: leave the field out for its default`}},
		{"port overflows", "{target: {service: a, port: 65536}, disable: [hedges]}", []string{".target.port: 65536 is out of range: 1 to 65535"}},
		{"server by route", "{target: {service: a, route: r}, server: {shedding: {}}}", []string{".server: a server knows no routes: leave target.route out"}},
		{"cluster's by route", "{target: {service: a, route: r}, client: {admission: {}}, disable: [outliers, retries, shedding]}", []string{
			`.disable[0]: "outliers" is the same for all routes to a service: leave target.route out`,
			`.disable[2]: "shedding" is a server's, which knows neither routes nor this policy's callers: leave target.route and from out`,
			".client.admission: is the same for all routes to a service: leave target.route out"}},
		{"from nobody", "{from: {}, disable: [hedges]}", []string{".from: is empty: leave it out for all callers"}},
		{"from for a server", "{from: {namespace: a}, server: {shedding: {}}}",
			[]string{".server: is the same for all callers: leave from out; a rateLimit tells them apart by the fact caller"}},
		{"bad from", `{from: {namespace: A, labels: {"a b": c, d: 1}}, disable: [hedges]}`, []string{
			".from.labels[d]: `1` is a number: quote it", `.from.namespace: "A" is not a namespace`, `.from.labels[a b]: "a b" is not a label name`}},
		{"switch misspelt", "{disable: [hedgs]}", []string{`.disable[0]: unknown value "hedgs"; did you mean "hedges"?`}},
		{"switch twice", "{disable: [hedges, faults, hedges]}", []string{`.disable[2]: "hedges" given twice, first as disable[0]`}},
		{"no switches", "{disable: []}", []string{".disable: is empty: leave the field out for its default"}},

		{"rate of nothing", client("rateLimit: {}"), []string{".client.rateLimit: bounds nothing: it needs requests or limits"}},
		{"zero requests", client("rateLimit: {requests: 0, per: 1s}"), []string{`.client.rateLimit.requests: "0" is no value for it: leave the field out for its default`}},
		{"negative requests", client("rateLimit: {requests: -1, per: 1s}"), []string{".client.rateLimit.requests: -1 is out of range: at most 4294967295, and not negative"}},
		{"half a request", client("rateLimit: {requests: 0.5, per: 1s}"), []string{".client.rateLimit.requests: must be a whole number, not 0.5"}},
		{"quoted requests", client(`rateLimit: {requests: "5", per: 1s}`), []string{`.client.rateLimit.requests: must be a number, not "5"`}},
		{"requests overflow", client("rateLimit: {requests: 4294967296, per: 1s}"), []string{".client.rateLimit.requests: 4294967296 is out of range: at most 4294967295, and not negative"}},
		{"more requests than a bucket holds", client("rateLimit: {requests: 2147483648, per: 1s}"), []string{".client.rateLimit.requests: 2147483648 is not in 1 to 2147483647"}},
		{"more burst than a bucket holds", client("rateLimit: {requests: 1, per: 1s, burst: 4294967295}"), []string{".client.rateLimit.burst: 4294967295 is not in 1 to 2147483647"}},
		{"no time", client("rateLimit: {requests: 1}"), []string{".client.rateLimit.per: is missing"}},
		{"time alone", client("rateLimit: {per: 1s}"), []string{".client.rateLimit: bounds nothing: it needs requests or limits"}},
		{"zero time", client("rateLimit: {requests: 1, per: 0s}"), []string{`.client.rateLimit.per: "0s" is no value for it: leave the field out for its default`}},
		{"negative time", client("rateLimit: {requests: 1, per: -1s}"), []string{".client.rateLimit.per: -1s is negative"}},
		{"time without a unit", client("rateLimit: {requests: 1, per: 5}"), []string{`.client.rateLimit.per: "5" is not a duration such as "1.5s" or "2m"`}},
		{"too short a time", client("rateLimit: {requests: 1, per: 49ms}"), []string{".client.rateLimit.per: 49ms is less than 50ms"}},
		{"common for nothing", client("rateLimit: {requests: 1, per: 1s, common: others}"), []string{".client.rateLimit.common: has no effect without both requests and limits"}},
		{"too many keys", server("rateLimit: {maxKeys: 1000001, limits: [{by: [caller], requests: 1, per: 1s}]}"), []string{".server.rateLimit.maxKeys: 1000001 is out of range: 1 to 1000000"}},
		{"limit of all", limits("requests: 1, per: 1s"), []string{".server.rateLimit.limits[1]: has neither match nor by: a limit for all calls is the common one, requests"}},
		{"limit of the same", limits("by: [caller], requests: 2, per: 60s"), []string{".server.rateLimit.limits[1]: is for the same calls as limits[0]"}},
		{"limit without a rate", limits("by: [path]"), []string{".server.rateLimit.limits[1].requests: is missing", ".server.rateLimit.limits[1].per: is missing"}},
		{"unknown fact", limits("by: [cookie], requests: 1, per: 1s"),
			[]string{`.server.rateLimit.limits[1].by[0]: "cookie" is no fact about calls; there are method, path, header:NAME, remote_address and caller`}},
		{"fact of any value", limits(`match: {path: ""}, requests: 1, per: 1s`), []string{".server.rateLimit.limits[1].match[path]: is empty; for a limit for each value, use by"}},
		{"fact twice", limits("match: {path: /a}, by: [path, method, method], requests: 1, per: 1s"), []string{
			`.server.rateLimit.limits[1].by[0]: "path" stands in match already`, `.server.rateLimit.limits[1].by[2]: "method" given twice`}},
		{"header twice", limits("match: {header:A: v1, header:a: v2}, requests: 1, per: 1s"), []string{`.server.rateLimit.limits[1].match[header:a]: "header:a" given twice`}},
		{"fact that a client lacks", client("rateLimit: {limits: [{by: [caller], match: {remote_address: 1.2.3.4}, requests: 1, per: 1s}]}"), []string{
			".client.rateLimit.limits[0].match[remote_address]: only a server knows it; a client knows method, path and header:NAME",
			`.client.rateLimit.limits[0].by[0]: only a server knows "caller"; a client knows method, path and header:NAME`}},

		{"shared without limits", server("globalRateLimit: {failClosed: true}"), []string{".server.globalRateLimit.limits: is missing"}},
		{"shared for too short", shared("requests: 1, per: 999ms"), []string{".server.globalRateLimit.limits[1].per: 999ms is less than 1s"}},
		{"shared name", shared("name: A, requests: 1, per: 1s"), []string{`.server.globalRateLimit.limits[1].name: "A" must be lower-case letters, digits and '-'`}},
		{"shared name twice", shared(`name: "0", requests: 1, per: 1s`), []string{`.server.globalRateLimit.limits[1].name: "0" is the name of limits[0]`}},
		{"lease inverted", server("globalRateLimit: {limits: [{requests: 1, per: 1s}], lease: {batch: 10, ahead: 10}}"), []string{".server.globalRateLimit.lease.ahead: 10 is not less than batch 10"}},

		{"hedge of nothing", client("hedge: {max: 1}"), []string{".client.hedge: never sends anything: it needs delay, percentile or chance"}},
		{"hedge of 0", client("hedge: {delay: 0ms}"), []string{`.client.hedge.delay: "0ms" is no value for it: leave the field out for its default`}},
		{"no percentile", client("hedge: {percentile: 100}"), []string{".client.hedge.percentile: 100 is not in 0 to 100, without 100"}},
		{"percentage in quotes", client(`hedge: {chance: "5%"}`), []string{`.client.hedge.chance: must be a number, not "5%"`}},
		{"percentage too fine", client("hedge: {chance: 0.00001}"), []string{".client.hedge.chance: 1e-05 is finer than a ten-thousandth of a percent"}},
		{"percentage over 100", client("hedge: {chance: 100.5}"), []string{".client.hedge.chance: 100.5 is no percentage"}},
		{"breaker of nothing", client("breaker: {open: 5s}, hostBreaker: {}"), []string{
			".client.breaker: never opens: it needs failures or percent", ".client.hostBreaker: never opens: it needs failures or percent"}},
		{"no number", client("breaker: {percent: .nan}"), []string{`.client.breaker.percent: must be a number, not ".nan"`}},
		{"endless number", client("breaker: {percent: .inf}"), []string{`.client.breaker.percent: must be a number, not ".inf"`}},
		{"negative percentage", client("breaker: {percent: -0.5}"), []string{".client.breaker.percent: -0.5 is no percentage"}},
		{"window for nothing", client("breaker: {failures: 5, window: 10s, volume: 5}"), []string{
			".client.breaker.volume: has no effect without percent", ".client.breaker.window: has no effect without percent"}},
		{"admission", client("admission: {threshold: 0.5, aggression: 0.1, minRate: -1}"), []string{
			".client.admission.minRate: -1 is no amount", ".client.admission.threshold: 0.5 is less than 1", ".client.admission.aggression: 0.1 is less than 1"}},
		{"empty admission", client("admission: {}"), nil},
		{"idle", client("idleTimeout: -1s"), []string{".client.idleTimeout: -1s is negative"}},

		{"fallback of nothing", client("fallback: {maxBytes: 1KiB, maxAnswers: 1}"), []string{
			".client.fallback: has no answer: it needs maxAge or answer", ".client.fallback.maxAnswers: has no effect without maxAge",
			".client.fallback.maxBytes: has no effect without maxAge"}},
		{"fallback too large", client("fallback: {maxAge: 1s, maxBytes: 65MiB}"), []string{".client.fallback.maxBytes: 68157440 is out of range: 1 to 67108864"}},
		{"answer of both", client("fallback: {answer: {httpStatus: 200, grpcStatus: OK}}"), []string{".client.fallback.answer.grpcStatus: only one of httpStatus and grpcStatus may be given"}},
		{"answer of none", client("fallback: {answer: {body: x}}"), []string{
			".client.fallback.answer: needs httpStatus or grpcStatus", ".client.fallback.answer.body: is an HTTP answer's; a gRPC answer has a message"}},
		{"no status", client("fallback: {answer: {httpStatus: 199}}"), []string{".client.fallback.answer.httpStatus: 199 is out of range: 200 to 599"}},
		{"no header", client(`fallback: {answer: {httpStatus: 200, headers: {"a b": c, d: "e\nf"}}}`), []string{
			`.client.fallback.answer.headers[a b]: "a b" is not the name of a header`, ".client.fallback.answer.headers[d]: the value has a line break"}},
		{"message of a failure", client("fallback: {answer: {grpcStatus: UNAVAILABLE, message: CgFh}}"), []string{".client.fallback.answer.message: needs grpcStatus OK"}},
		{"no base64", client("fallback: {answer: {grpcStatus: OK, message: hello}}"), []string{`.client.fallback.answer.message: "hello" is not base64`}},

		{"fault of nothing", server("fault: {maxActive: 1}"), []string{".server.fault: does nothing: it needs delay, abort, responseRate or connection"}},
		{"faults without a share", server("fault: {delay: {duration: 1s}, abort: {httpStatus: 503}}"), []string{
			".server.fault.delay.percent: is missing", ".server.fault.abort.percent: is missing"}},
		{"faults of nobody", server("fault: {delay: {duration: 1s, percent: 0}}"), nil},
		{"faults by header", server("fault: {byHeader: true, delay: {percent: 100}, abort: {percent: 100}, responseRate: {percent: 100}}"), nil},
		{"faults without what", server("fault: {delay: {percent: 1}, abort: {percent: 1}, responseRate: {percent: 1}}"), []string{
			".server.fault.delay.duration: is missing", ".server.fault.abort: needs httpStatus or grpcStatus", ".server.fault.responseRate.bytesPerSecond: is missing"}},
		{"abort of both", server("fault: {byHeader: true, abort: {httpStatus: 503, grpcStatus: OK, percent: 1}}"),
			[]string{".server.fault.abort.grpcStatus: only one of httpStatus and grpcStatus may be given"}},
		{"share over 100", server("fault: {delay: {duration: 1s, percent: 101}}"), []string{".server.fault.delay.percent: 101 is no percentage"}},
		{"share too fine", server("fault: {delay: {duration: 1s, percent: 0.00005}}"), []string{".server.fault.delay.percent: 5e-05 is finer than a ten-thousandth of a percent"}},
		{"unknown break", server("fault: {connection: {break: refuse, percent: 1}}"), []string{`.server.fault.connection.break: unknown value "refuse"; did you mean "refused"?`}},
		{"slow body", server("fault: {connection: {break: slowBody, percent: 1}}"), []string{
			".server.fault.connection.after: is missing", ".server.fault.connection.pause: none, so that nothing is slow"}},
		{"break of no body", server("fault: {connection: {break: refused, after: 1B, pause: 1s, percent: 1}}"), []string{
			".server.fault.connection.after: has no effect: refused has no body", ".server.fault.connection.pause: has no effect: refused does not pause"}},
		{"bandwidth of nothing", server("bandwidth: {}"), []string{".server.bandwidth: bounds nothing: it needs request or response"}},
		{"bandwidth without a unit", server("bandwidth: {request: {bytesPerSecond: 1000}}"), []string{`.server.bandwidth.request.bytesPerSecond: "1000" is not a size such as "64KiB" or "1.5MB"`}},
		{"bandwidth of 0", server("bandwidth: {request: {bytesPerSecond: 0B}}"), []string{`.server.bandwidth.request.bytesPerSecond: "0B" is no value for it: leave the field out for its default`}},
		{"fill", server("bandwidth: {request: {bytesPerSecond: 1KiB, fill: 19ms}, response: {bytesPerSecond: 1KiB, fill: 2s}}"), []string{
			".server.bandwidth.request.fill: 19ms is not in 20ms to 1s", ".server.bandwidth.response.fill: 2s is not in 20ms to 1s"}},

		{"concurrency of 0", server("concurrency: {max: 0}"), []string{`.server.concurrency.max: "0" is no value for it: leave the field out for its default`}},
		{"concurrency of nothing", server("concurrency: {}"), []string{".server.concurrency: needs max or adaptive"}},
		{"concurrency of both", server("concurrency: {max: 1, adaptive: {}}"), []string{".server.concurrency.adaptive: only one of max and adaptive may be given"}},
		{"concurrency inverted", server("concurrency: {adaptive: {min: 10, max: 9, jitter: 101}}"), []string{
			".server.concurrency.adaptive.jitter: 101 is no percentage", ".server.concurrency.adaptive.max: 9 is less than min 10"}},
		{"shedding inverted", server("shedding: {target: 100ms}"), []string{".server.shedding.target: 100ms is not less than interval 100ms"}},
		{"lateness", server("lateness: {tolerance: -1s, maxPercent: 0}"), []string{
			".server.lateness.tolerance: -1s is negative", `.server.lateness.maxPercent: "0" is no value for it: leave the field out for its default`}},
		{"trusted callers", server(`trustedCallers: ["*", td/ns/a/sa/b, td/ns/*, "*/sa/gateway"]`), nil},
		{"trusted is nobody", server("trustedCallers: []"), nil},
		{"trusted and wrong", server(`trustedCallers: [spiffe://td/ns/a/sa/b, td/gateway, "td*", "*a*", "*"]`), []string{
			`.server.trustedCallers[0]: "spiffe://td/ns/a/sa/b": a principal is written without spiffe://`,
			`.server.trustedCallers[1]: "td/gateway" is nobody's identity, which is TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`,
			`.server.trustedCallers[2]: "td*" is not a principal such as "example.org/ns/edge/sa/gateway", "example.org/ns/edge/*" or "*"`,
			`.server.trustedCallers[3]: "*a*" is not a principal such as "example.org/ns/edge/sa/gateway", "example.org/ns/edge/*" or "*"`,
		}},
		{"paths", server("healthPaths: [up]"), []string{`.server.healthPaths[0]: "up" is not a path such as "/healthz"`}},
		{"wrong shapes", "{client: {hedge: 5, rateLimit: [], admission: {window: {}}}, server: {healthPaths: /x, rateLimit: {headers: 1, limits: [{match: [path], by: [{}], requests: 1, per: 1s}]}}}", []string{
			`.client.hedge: must be an object, not "5"`, ".client.rateLimit: must be an object, not a list", ".client.admission.window: must be a string, not an object",
			`.server.healthPaths: must be a list, not "/x"`, `.server.rateLimit.headers: must be true or false, not "1"`,
			".server.rateLimit.limits[0].match: must be an object, not a list", ".server.rateLimit.limits[0].by[0]: must be a string, not an object"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects, findings := catalog.Parse("f", []byte(traffic("p", "demo", tc.spec)))
			var want []string
			for _, w := range tc.want {
				want = append(want, at+w)
			}
			got := strs(findings)
			if tc.spec == "" && len(got) == 1 {
				got[0] = strings.Replace(got[0], "f:1:", "f:4:", 1)
			}
			if !slices.Equal(got, want) {
				t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
			}
			if (len(objects) == 1) != (len(want) == 0) {
				t.Errorf("there are %d objects", len(objects))
			}
		})
	}
}

func TestTrafficPolicyOfAnotherVersion(t *testing.T) {
	for from, want := range map[string]string{
		"weft.dev/v2":            "error f:1: TrafficPolicy/demo/p: apiVersion: weft.dev/v2 is not one of weft.dev/v1",
		"networking.istio.io/v1": "error f:1: TrafficPolicy/demo/p: apiVersion: networking.istio.io/v1 is not one of weft.dev/v1",
	} {
		_, findings := catalog.Parse("f", []byte(strings.Replace(traffic("p", "demo", "{disable: [hedges]}"), "weft.dev/v1", from, 1)))
		if got := strs(findings); !slices.Equal(got, []string{want}) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestExampleOfTheReference(t *testing.T) {
	text, err := os.ReadFile("../trafficpolicy/testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, findings := catalog.Parse("example.yaml", text)
	if len(objects) != 3 || len(findings) > 0 {
		t.Errorf("%d objects, findings %q", len(objects), strs(findings))
	}
}

func TestTrafficPoliciesThatLeadNowhere(t *testing.T) {
	se := doc("ServiceEntry", "echo", "demo", echoService)
	vs := doc("VirtualService", "echo", "demo", `{hosts: [echo], http: [{name: read, route: [{destination: {host: echo}}]}]}`)
	target := func(text string) string {
		return traffic("p", "demo", "{target: {"+text+"}, client: {admission: {}}}")
	}
	route := func(text string) string {
		return traffic("p", "demo", "{target: {"+text+"}, client: {idleTimeout: 1s}}")
	}
	for _, tc := range []struct {
		name, docs string
		want       []string
	}{
		{"sound", se + vs + route("service: echo, port: 80, route: read"), nil},
		{"wildcard", se + target(`service: "*.demo.svc.cluster.local"`), nil},
		{"host", se + target("service: ecko"), []string{`warning f:9: TrafficPolicy/demo/p: spec.target.service: no service has the host "ecko"; did you mean echo.demo.svc.cluster.local?`}},
		{"port", se + target("service: echo, port: 81"), []string{"warning f:9: TrafficPolicy/demo/p: spec.target.port: echo.demo.svc.cluster.local has no port 81; there is 80"}},
		{"route misspelt", se + vs + route("service: echo, route: reed"),
			[]string{`warning f:14: TrafficPolicy/demo/p: spec.target.route: no route for echo.demo.svc.cluster.local has the name "reed"; did you mean "read"?`}},
		{"other route", se + vs + route("service: echo, route: writes"),
			[]string{`warning f:14: TrafficPolicy/demo/p: spec.target.route: no route for echo.demo.svc.cluster.local has the name "writes"; there are read`}},
		{"no routes", se + route("service: echo, route: read"), []string{"warning f:9: TrafficPolicy/demo/p: spec.target.route: no VirtualService has routes for echo.demo.svc.cluster.local"}},
		{"routes without names", se + strings.Replace(vs, "name: read, ", "", 1) + route("service: echo, route: read"),
			[]string{"warning f:14: TrafficPolicy/demo/p: spec.target.route: no route for echo.demo.svc.cluster.local has a name (http[].name)"}},
		{"server of another namespace", se + traffic("p", "other", "{target: {service: echo.demo}, server: {shedding: {}}}"), []string{
			"warning f:9: TrafficPolicy/other/p: spec.server: the servers of echo.demo.svc.cluster.local do not obey it: it would have to stand in their namespace, demo, or in istio-system"}},
		{"callers of another namespace", se + traffic("p", "other", "{target: {service: echo.demo}, from: {namespace: third}, client: {admission: {}}}"), []string{
			"warning f:9: TrafficPolicy/other/p: spec.from.namespace: callers in third do not obey it: it would have to stand in their namespace, in demo or in istio-system"}},
		{"default for callers of another namespace", traffic("p", "demo", "{from: {namespace: third}, client: {admission: {}}}"), []string{
			"warning f:4: TrafficPolicy/demo/p: spec.from.namespace: callers in third do not obey it: without a target it is for those in demo"}},
		{"two for one", traffic("b", "demo", "{client: {admission: {}, idleTimeout: 1s}, disable: [hedges]}") + traffic("a", "demo", "{client: {admission: {}}, disable: [hedges]}"), []string{
			"warning f:4: TrafficPolicy/demo/b: spec.client.admission: TrafficPolicy/demo/a at f:6 is older and has one for the same calls: this one is not used"}},
		{"two that differ", traffic("b", "demo", "{client: {admission: {}}}") + traffic("a", "demo", "{from: {namespace: demo}, client: {admission: {}}}"), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := strs(merge(t, tc.docs).Check()); !slices.Equal(got, tc.want) {
				t.Errorf("findings\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tc.want, "\n     "))
			}
		})
	}
}

func TestTrafficPolicyIsKeptLastGood(t *testing.T) {
	var last catalog.LastGood
	idle := func(docs string) string {
		c, _ := last.Merge(fragment(t, "f", doc("ServiceEntry", "echo", "demo", echoService)+docs))
		s, _ := c.Service("demo", "echo")
		return c.ClientPolicy(trafficpolicy.Caller{Namespace: "demo"}, s, 80, "").Idle.String()
	}
	one := traffic("p", "demo", "{client: {idleTimeout: 1s}}")
	for _, step := range []struct{ docs, want string }{
		{"", "0s"},
		{one, "1s"},
		{strings.Replace(one, "1s", "2s", 1), "2s"},
		{strings.Replace(one, "1s", "-3s", 1), "2s"},
		{strings.Replace(one, "client", "clint", 1), "2s"},
		{strings.Replace(one, "weft.dev/v1", "weft.dev/v2", 1), "2s"},
		{strings.Replace(one, "1s", "4s", 1), "4s"},
		{"", "0s"},
	} {
		if got := idle(step.docs); got != step.want {
			t.Errorf("%s: %s, want %s", step.docs, got, step.want)
		}
	}
}

func TestSharedLimits(t *testing.T) {
	c := merge(t, traffic("p", "shop", "{server: {globalRateLimit: {limits: [{by: [caller], requests: 2, per: 1s}]}}, client: {globalRateLimit: {limits: [{name: all, requests: 1, per: 1s}]}}}")+
		traffic("a", "shop", "{client: {globalRateLimit: {limits: [{match: {method: GET}, requests: 3, per: 60s}]}}}"))
	var got []string
	for _, l := range c.SharedLimits() {
		if l.Domain != trafficpolicy.Domain || l.Entries[0] != (resilience.Entry{Key: trafficpolicy.LimitKey, Value: l.Name}) {
			t.Errorf("limit %+v", l)
		}
		got = append(got, l.Name)
	}
	if want := []string{"shop/a/client/0", "shop/p/client/all", "shop/p/server/0"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

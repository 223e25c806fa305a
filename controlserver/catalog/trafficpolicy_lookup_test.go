package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/resilience"
)

// The policies below are told apart by an idle timeout, whose number is the policy's rank: the caller of the
// test obeys each that is still there when those of a lower rank are gone.
func TestMostSpecificPolicyHolds(t *testing.T) {
	const (
		echo = "service: echo.shop"
		from = "from: {serviceAccount: checkout}, "
	)
	policies := []struct{ namespace, spec string }{
		{"cart", "target: {" + echo + ", port: 80, route: read}, " + from},
		{"cart", "target: {" + echo + ", port: 80, route: read}, "},
		{"shop", "target: {service: echo, route: read}, " + from},
		{"cart", "target: {" + echo + ", route: read}, "},
		{"shop", "target: {service: echo, route: read}, "},
		{"istio-system", "target: {" + echo + ", route: read}, "},
		{"cart", `target: {service: "*.shop.svc.cluster.local", route: read}, `},
		{"shop", "target: {service: echo, port: 80}, "},
		{"shop", "target: {service: echo}, " + from},
		{"istio-system", "target: {" + echo + "}, from: {labels: {app: checkout}, namespace: cart}, "},
		{"cart", "target: {" + echo + "}, "},
		{"shop", "target: {service: echo}, "},
		{"istio-system", "target: {" + echo + "}, "},
		{"cart", `target: {service: "*.shop.svc.cluster.local"}, `},
		{"cart", `target: {service: "*.local"}, `},
		{"cart", from},
		{"cart", ""},
		{"istio-system", from},
		{"istio-system", ""},
	}
	never := []struct{ namespace, spec string }{
		{"shop", ""}, // it is for callers in shop
		{"third", "target: {" + echo + ", port: 80, route: read}, " + from},
		{"cart", "target: {" + echo + ", port: 81}, "},
		{"cart", "target: {" + echo + ", route: write}, "},
		{"cart", "target: {" + echo + "}, from: {serviceAccount: other}, "},
		{"cart", "target: {" + echo + "}, from: {labels: {app: other}}, "},
		{"shop", "target: {service: echo}, from: {namespace: third}, "},
		{"cart", "target: {service: echo}, "}, // of cart's own, which there is none of
	}
	caller := trafficpolicy.Caller{Namespace: "cart", ServiceAccount: "checkout", Labels: map[string]string{"app": "checkout", "v": "1"}}
	service := doc("ServiceEntry", "echo", "shop", strings.ReplaceAll(echoService, "demo", "shop"))
	text := func(i int, p struct{ namespace, spec string }, seconds string) string {
		return traffic(fmt.Sprintf("p%03d", i), p.namespace, "{"+p.spec+"client: {idleTimeout: "+seconds+"}}")
	}
	for rank := range len(policies) + 1 {
		var docs []string
		for i := len(policies) - 1; i >= rank; i-- { // the name of the most specific one is the last
			docs = append(docs, text(len(policies)-i, policies[i], "1h"+strings.Repeat("1s", i)))
		}
		for i, p := range never {
			docs = append(docs, text(100+i, p, "9h"))
		}
		c := merge(t, service+strings.Join(docs, ""))
		s, _ := c.Service("cart", "echo.shop")
		got := c.ClientPolicy(caller, s, 80, "read")
		if rank == len(policies) {
			if got.Idle != 0 || len(got.Origins) > 0 {
				t.Errorf("none holds: got %+v", got)
			}
			continue
		}
		if n := int(got.Idle.Seconds()) - 3600; n != rank {
			t.Errorf("%+v holds before %+v", policies[max(n, 0)], policies[rank])
		}
		if again := c.ClientPolicy(caller, s, 80, "read"); again.Rate != got.Rate {
			t.Error("other pointers")
		}
		if !c.TellsCallersApart() {
			t.Error("callers are the same")
		}
	}
}

func TestBlocksOfSeveralPolicies(t *testing.T) {
	c := merge(t, doc("ServiceEntry", "echo", "demo", echoService),
		traffic("b", "demo", "{target: {service: echo}, client: {breaker: {failures: 2}, idleTimeout: 2s}, disable: [hedges]}"),
		traffic("a", "demo", "{client: {breaker: {failures: 3, open: 1s}, hedge: {delay: 1s}}, disable: [retries]}"),
		traffic("m", "istio-system", "{client: {admission: {}, idleTimeout: 4s}, server: {shedding: {}}, disable: [faults]}"))
	s, _ := c.Service("demo", "echo")
	got := c.ClientPolicy(trafficpolicy.Caller{Namespace: "demo"}, s, 80, "")
	if *got.Breaker != (resilience.Trip{Failures: 2}) || got.Idle.String() != "2s" || got.Hedge == nil || got.Admission == nil ||
		got.Off != resilience.NoHedges|resilience.NoRetries|resilience.NoFaults {
		t.Errorf("got %+v", got)
	}
	want := map[string]string{"client.breaker": "b", "client.idleTimeout": "b", "client.hedge": "a", "client.admission": "m"}
	for _, o := range got.Origins {
		if o.Block == trafficpolicy.Disable {
			continue
		}
		if !strings.HasPrefix(o.Policy, "TrafficPolicy/") || !strings.Contains(o.Policy, "/"+want[o.Block]+" at f:") {
			t.Errorf("%s is of %s", o.Block, o.Policy)
		}
		delete(want, o.Block)
	}
	if len(want) > 0 || c.TellsCallersApart() {
		t.Errorf("missing %v, apart %v", want, c.TellsCallersApart())
	}
}

func TestServerPolicy(t *testing.T) {
	service := doc("ServiceEntry", "echo", "demo", strings.Replace(echoService, "number: 80, name: http", "number: 80, name: http, targetPort: 8080}, {number: 90, name: grpc", 1)) +
		doc("WorkloadEntry", "w", "demo", "{address: 10.0.0.1, labels: {app: echo, v: one}}")
	server := func(name, namespace, spec, paths string) string {
		return traffic(name, namespace, "{"+spec+"server: {healthPaths: [/"+paths+"]}}")
	}
	at := func(address string, port uint32) trafficpolicy.Workload {
		return trafficpolicy.Workload{Namespace: "demo", Address: address, Port: port}
	}
	named := at("10.9.9.9", 1)
	named.Service = "Echo"
	labelled := at("0.0.0.0", 8080)
	labelled.Labels = map[string]string{"app": "echo", "v": "one"}
	stranger := labelled
	stranger.Labels = map[string]string{"app": "echo"}
	other := at("10.0.0.1", 8080)
	other.Namespace = "other"

	ported := server("a", "demo", "target: {service: echo, port: 80}, ", "port")
	targeted := server("b", "demo", "target: {service: echo}, ", "service")
	mesh := server("c", "istio-system", "target: {service: echo.demo}, ", "mesh-service")
	own := server("d", "demo", "", "namespace")
	all := server("e", "istio-system", "", "mesh")
	foreign := server("f", "other", "target: {service: echo.demo}, ", "foreign") + server("g", "other", "", "foreign")
	for _, tc := range []struct {
		name string
		docs string
		w    trafficpolicy.Workload
		want string
	}{
		{"port", all + own + mesh + targeted + ported + foreign, at("10.0.0.1", 8080), "/port"},
		{"other port", all + own + mesh + targeted + ported + foreign, at("10.0.0.1", 90), "/service"},
		{"service by the mesh", all + own + mesh + foreign, at("10.0.0.1", 8080), "/mesh-service"},
		{"namespace", all + own + foreign, at("10.0.0.1", 8080), "/namespace"},
		{"mesh", all + foreign, at("10.0.0.1", 8080), "/mesh"},
		{"nobody's", foreign, at("10.0.0.1", 8080), ""},
		{"other address", own + targeted, at("10.0.0.2", 8080), "/namespace"},
		{"other namespace", ported + targeted + mesh + all, other, "/mesh-service"},
		{"name before it is registered", own + ported + targeted, named, "/service"},
		{"any address by labels", own + ported, labelled, "/port"},
		{"any address by other labels", own + ported, stranger, "/namespace"},
	} {
		got := merge(t, service+tc.docs).ServerPolicy(tc.w)
		if strings.Join(got.HealthPaths, " ") != tc.want {
			t.Errorf("%s: got %v", tc.name, got.HealthPaths)
		}
	}

	c := merge(t, service, ported, traffic("x", "demo", "{target: {service: echo}, server: {concurrency: {max: 7}, shedding: {}}, disable: [shedding]}"),
		traffic("w", "demo", "{target: {service: echo, route: r}, disable: [faults]}"), traffic("z", "demo", "{from: {namespace: demo}, disable: [faults]}"),
		traffic("v", "istio-system", "{server: {concurrency: {adaptive: {}}}}"))
	got := c.ServerPolicy(at("10.0.0.1", 8080))
	if got.MaxRequests != 7 || got.Adaptive != nil || got.Shedding == nil || got.HealthPaths[0] != "/port" || got.Off != resilience.NoShedding || len(got.Origins) != 4 {
		t.Errorf("got %+v", got)
	}
	if none := catalog.Merge().ServerPolicy(at("10.0.0.1", 8080)); len(none.Origins) > 0 {
		t.Errorf("got %+v of nothing", none)
	}
}

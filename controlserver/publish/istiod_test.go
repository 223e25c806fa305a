package publish

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A difference is where we mean to differ from istiod.
type difference struct{ test, what, why string }

var differences = map[Dialect][]difference{
	Weft: {
		{"06-destinationrule", "cluster outbound|8080||echo.demo.svc.cluster.local", random},
		{"06-destinationrule", "cluster outbound|8080|v2|echo.demo.svc.cluster.local", random},
	},
	GRPC: append(gRPC,
		difference{"06-destinationrule", "cluster outbound|9000||echo.demo.svc.cluster.local", least},
		difference{"06-destinationrule", "cluster outbound|9000|v2|echo.demo.svc.cluster.local", least},
	),
	GRPCLeast: gRPC,
}

var gRPC = []difference{
	{"02-match", "route without-header", absent},
	{"02-match", "route method", constant},
	{"02-match", "route scheme", constant},
	{"02-match", "route query", noQuery},
}

// Reasons. That clients get least request where nothing is said, as sidecars do,
// is left to normalCluster.
const (
	absent   = "gRPC's client never matches an absent header: two routes say what istiod's one means"
	constant = "an RPC's method and scheme are known: gRPC's client would never match them, and does not have to"
	noQuery  = "an RPC has no query: the route can match nothing"
	random   = "our own client knows RANDOM; istiod drops it for lack of support in gRPC"
	least    = "most gRPC clients refuse a cluster with LEAST_REQUEST"
)

func TestAnswersAreIstiods(t *testing.T) {
	for dialect, meant := range differences {
		used := map[difference]bool{}
		for _, test := range []string{"01-weighted-split", "02-match", "03-retries-timeouts", "06-destinationrule"} {
			t.Run(dialect.String()+"/"+test, func(t *testing.T) {
				for what, pair := range answers(t, dialect, test) {
					if reflect.DeepEqual(pair[0], pair[1]) {
						continue
					}
					what, _, _ = strings.Cut(what, " of ")
					if i := slices.IndexFunc(meant, func(d difference) bool { return d.test == test && d.what == what }); i >= 0 {
						used[meant[i]] = true
						continue
					}
					t.Errorf("%s:\n%s\nistiod:\n%s", what, printed(pair[0]), printed(pair[1]))
				}
			})
		}
		for _, d := range meant {
			if !used[d] {
				t.Errorf("%v no longer differs in %s of %s: %s", dialect, d.what, d.test, d.why)
			}
		}
	}
}

// answers are what we and istiod tell a client, side by side.
func answers(t *testing.T, dialect Dialect, test string) map[string][2]any {
	t.Helper()
	yaml, err := os.ReadFile(filepath.Join("testdata", "istiod", test+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v := publisherWith(t, string(yaml), Config{TrustDomain: "cluster.local"}).View(Client{Dialect: dialect, Namespace: "demo", Labels: map[string]string{"app": "client", "team": "blue"}})
	out := map[string][2]any{}
	istiod := recorded(t, test, "lds", "rds", "cds", "eds")
	for _, a := range istiod["lds"] {
		want := decoded(t, a, wire.DecodeListener)
		got := sent(t, v, wire.ListenerType, want.Name, wire.DecodeListener)
		out["listener "+want.Name] = [2]any{got.RouteConfig, want.RouteConfig}
	}
	for _, a := range istiod["rds"] {
		want := decoded(t, a, wire.DecodeRouteTable)
		got := sent(t, v, wire.RouteType, want.Name, wire.DecodeRouteTable)
		ours, ourOrder := routesByName(got)
		theirs, theirOrder := routesByName(want)
		for name := range theirs {
			out["route "+name+" of "+want.Name] = [2]any{ours[name], theirs[name]}
		}
		theirOrder = slices.DeleteFunc(theirOrder, func(name string) bool { return ours[name] == nil }) // told above
		out["order of "+want.Name] = [2]any{ourOrder, theirOrder}
	}
	for _, a := range istiod["cds"] {
		want := decoded(t, a, wire.DecodeCluster)
		got := sent(t, v, wire.ClusterType, want.Name, wire.DecodeCluster)
		if !strings.Contains(string(yaml), "loadBalancer") && dialect != GRPC && got.Balance.Kind == balancer.LeastRequest {
			got.Balance = want.Balance // istiod gives gRPC round robin where nothing is said
		}
		out["cluster "+want.Name] = [2]any{normalCluster(got), normalCluster(want)}
	}
	for _, a := range istiod["eds"] {
		want := decoded(t, a, wire.DecodeEndpoints)
		got := sent(t, v, wire.EndpointType, want.Name, wire.DecodeEndpoints)
		out["endpoints "+want.Name] = [2]any{normalEndpoints(got), normalEndpoints(want)}
	}
	return out
}

// recorded are istiod's answers to a proxyless client.
func recorded(t *testing.T, test string, kinds ...string) map[string][]*anypb.Any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "istiod", test+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var types map[string]struct{ Resources []json.RawMessage }
	if err := json.Unmarshal(b, &types); err != nil {
		t.Fatal(err)
	}
	out := map[string][]*anypb.Any{}
	for _, typ := range kinds {
		for _, r := range types[typ].Resources {
			a := new(anypb.Any)
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(r, a); err != nil {
				t.Fatal(err)
			}
			out[typ] = append(out[typ], a)
		}
		if len(out[typ]) == 0 {
			t.Fatalf("%s: no %s", test, typ)
		}
	}
	return out
}

func decoded[T any](t *testing.T, a *anypb.Any, decode func(*anypb.Any) (*T, error)) *T {
	t.Helper()
	v, err := decode(a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sent is what a client reads in the resource it would get from us.
func sent[T any](t *testing.T, v *View, typeURL, name string, decode func(*anypb.Any) (*T, error)) *T {
	t.Helper()
	m := v.Message(typeURL, name)
	if m == nil {
		t.Errorf("no %s %s", typeURL, name)
		return new(T)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, a, decode)
}

// routesByName are the routes without what stands for nothing, and the order of
// their names; one name may have several.
func routesByName(t *wire.RouteTable) (routes map[string][]resolver.Route, order []string) {
	routes = map[string][]resolver.Route{}
	for _, vh := range t.VirtualHosts {
		for _, r := range vh.Routes {
			if r.Match.Path == (resolver.PathMatch{Kind: resolver.PathPrefix, Value: "/"}) {
				r.Match.Path = resolver.PathMatch{}
			}
			if routes[r.Name] == nil {
				order = append(order, r.Name)
			}
			routes[r.Name] = append(routes[r.Name], r)
		}
	}
	return routes, order
}

// normalCluster leaves out what has no meaning for gRPC, and the defaults. What else
// bounds a cluster is compared with what istiod tells a sidecar.
func normalCluster(c *wire.Cluster) wire.Cluster {
	out := *c
	out.Warnings, out.TLS, out.AutoTLS, out.Secrets = nil, nil, false, 0 // TestClientTLSIsIstiods
	out.HTTP2 = false
	out.ConnectTimeout = 0
	out.Balance.Choices = 0
	out.Budget, out.Outlier = nil, nil
	if all := c.Thresholds; all != nil && all[resilience.DefaultPriority].MaxRequests == unlimited {
		out.Thresholds = nil
	} else if all != nil {
		out.Thresholds = &[resilience.Priorities]resilience.Thresholds{{MaxRequests: all[resilience.DefaultPriority].MaxRequests}}
	}
	return out
}

// normalEndpoints leaves out the labels that istiod adds, and the weights it computes for localities.
func normalEndpoints(e *wire.Endpoints) []balancer.Endpoint {
	out := slices.Clone(e.Endpoints)
	for i := range out {
		out[i].Labels = maps.Clone(out[i].Labels)
		for _, k := range []string{"cluster", "namespace", "workload"} {
			delete(out[i].Labels, k)
		}
		out[i].LocalityWeight = 0
	}
	return out
}

func printed(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

package mesh_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func TestDebugHandlerShowsWhatTheProcessBelieves(t *testing.T) {
	kit := meshtest.New(t, telemetryYAML)
	addr, _ := kit.HTTPBackend("payments.shop", map[string]string{"app": "payments"}, http.NotFoundHandler())
	m := kit.Mesh(mesh.WithService("orders.shop", nil))
	for _, url := range []string{"http://payments/", "http://<b>/"} {
		if resp, err := (&http.Client{Transport: m.RoundTripper()}).Get(url); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	get := func(target string) string {
		w := httptest.NewRecorder()
		m.DebugHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		return w.Body.String()
	}
	var belief struct {
		Services []struct {
			Name  string
			Hosts []struct{ Addr, Cluster, Health string }
		}
		ControlPlane struct{ Server string }
	}
	if err := json.Unmarshal([]byte(get("/?format=json")), &belief); err != nil {
		t.Fatal(err)
	}
	if len(belief.Services) == 0 || belief.ControlPlane.Server != kit.Addr() {
		t.Fatalf("%+v", belief)
	}
	found := false
	for _, s := range belief.Services {
		found = found || s.Name == "payments" && len(s.Hosts) == 1 && s.Hosts[0].Addr == addr
	}
	if !found {
		t.Errorf("the host %s is not shown: %+v", addr, belief.Services)
	}
	page := get("/")
	if !strings.Contains(page, addr) || !strings.Contains(page, "weft: orders.shop") {
		t.Errorf("page does not show %s:\n%s", addr, page)
	}
}

// What is turned off, and what keeps calls away, is shown.
func TestDebugHandlerShowsPolicies(t *testing.T) {
	trip := &resilience.Trip{Failures: 1}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer server.Close()
	m, err := mesh.New(t.Context(), mesh.WithResolver(resolver.Static{"payments": &resolver.Service{
		Name: "payments",
		VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{
			{Name: "r", To: []resolver.Target{{Cluster: "c"}}, Policy: resilience.Policy{Off: resilience.NoHedges | resilience.NoFaults}},
		}}},
		Clusters: map[string]resolver.Cluster{"c": {
			Name: "c", Breaker: trip, HostBreaker: trip, Admission: &resilience.Admission{}, Off: resilience.NoOutliers,
			Endpoints: []balancer.Endpoint{{Addr: server.Listener.Addr().String()}},
		}},
	}}))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	resp, err := (&http.Client{Transport: m.RoundTripper()}).Get("http://payments/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	_, err = (&http.Client{Transport: m.RoundTripper()}).Get("http://payments/")
	if e, ok := errors.AsType[*mesh.Error](err); !ok || e.Kind != mesh.Overloaded {
		t.Errorf("%v", err)
	}
	show := func(target string) string {
		w := httptest.NewRecorder()
		m.DebugHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		return w.Body.String()
	}
	page, data := show("/"), show("/?format=json")
	for _, want := range []string{"hedges,faults", "outliers", "open", "Served here"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	for _, want := range []string{`"off": "hedges,faults"`, `"breaker": "open"`, `"refusing": 0.`, `"maxRequests": 1024`, `"inbounds"`} {
		if !strings.Contains(data, want) {
			t.Errorf("JSON does not say %q:\n%s", want, data)
		}
	}
}

// The errors of a start say what to set.
func TestNewSaysWhatIsMissing(t *testing.T) {
	t.Setenv("GRPC_XDS_BOOTSTRAP", "")
	t.Setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "")
	for name, tc := range map[string]struct {
		opts []mesh.Option
		want string
	}{
		"nothing":      {nil, "GRPC_XDS_BOOTSTRAP"},
		"no such file": {[]mesh.Option{mesh.WithBootstrap("/no/such/file")}, "/no/such/file"},
		"bad JSON":     {[]mesh.Option{mesh.WithBootstrap(`{"xds_servers": 1}`)}, "xds_servers"},
		"no port":      {[]mesh.Option{mesh.WithControlServer("127.0.0.1")}, `"host:port"`},
		"two words":    {[]mesh.Option{mesh.WithControlServer("a:1"), mesh.WithService("pay ments", nil)}, "NAME.NAMESPACE"},
		"no name":      {[]mesh.Option{mesh.WithControlServer("a:1"), mesh.WithService(".shop", nil)}, "NAME.NAMESPACE"},
		"capitals":     {[]mesh.Option{mesh.WithControlServer("a:1"), mesh.WithService("Payments", nil)}, "NAME.NAMESPACE"},
		"two ways":     {[]mesh.Option{mesh.WithBootstrap("{}"), mesh.WithControlServer("a:1")}, "choose one"},
	} {
		if m, err := mesh.New(t.Context(), tc.opts...); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one sentence with %q", name, err, tc.want)
			if m != nil {
				m.Close()
			}
		}
	}
}

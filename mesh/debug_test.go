package mesh_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
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

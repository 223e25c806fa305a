package interop

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh"
)

// An echo is the service of the recorded cases, live: two versions, each with a
// gRPC and an HTTP backend, and a door of ours to each port.
type echo struct {
	replay     *replay
	grpc, http map[string]*backend // by version
	byGRPC     door
	byHTTP     door
}

const echoHost = "echo.demo.svc.cluster.local"

// startEcho replays a case of testdata/istiod. What is expected of it stands in the case's config.yaml.
func startEcho(t *testing.T, name string) *echo {
	t.Helper()
	e := &echo{
		grpc: map[string]*backend{"v1": grpcBackend(t, "v1"), "v2": grpcBackend(t, "v2")},
		http: map[string]*backend{"v1": httpBackend(t, "v1"), "v2": httpBackend(t, "v2")},
	}
	e.replay = startReplay(t, name, map[string]string{
		"10.0.1.1:9000": e.grpc["v1"].addr, "10.0.1.2:9000": e.grpc["v2"].addr,
		"10.0.1.1:8080": e.http["v1"].addr, "10.0.1.2:8080": e.http["v2"].addr,
	})
	e.byGRPC, e.byHTTP = e.doors(t)
	t.Cleanup(func() { // after the mesh is closed: nothing was refused
		if r := e.replay.refusals(); len(r) > 0 {
			t.Errorf("refused: %v", r)
		}
	})
	return e
}

// doors are those of a mesh of their own. The server has no delta protocol, and the mesh finds out.
func (e *echo) doors(t *testing.T) (byGRPC, byHTTP door) {
	t.Helper()
	m := newMesh(t, mesh.WithControlServer(e.replay.addr))
	return grpcDoor(dialWeft(t, m, echoHost+":9000")),
		httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://"+echoHost+":8080")
}

// calls sends a request that need not be answered and returns how many attempts reached a backend.
func (e *echo) calls(t *testing.T, d door, r request) (attempts int64, err error) {
	t.Helper()
	before := e.count()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = d(ctx, r)
	if ctx.Err() != nil {
		t.Fatalf("%+v: no end", r)
	}
	return e.count() - before, err
}

func (e *echo) count() (n int64) {
	for _, m := range []map[string]*backend{e.grpc, e.http} {
		for b := range maps.Values(m) {
			n += b.calls.Load()
		}
	}
	return n
}

func TestIstiodWeightedSplit(t *testing.T) {
	e := startEcho(t, "01-weighted-split")
	e.byGRPC.split(t, 1000, request{}, map[string]int{"v1": 80, "v2": 20})
	e.byHTTP.split(t, 1000, request{}, map[string]int{"v1": 80, "v2": 20})
}

// both is the default route's cluster, in which both versions are.
const both = "both"

func TestIstiodMatch(t *testing.T) {
	e := startEcho(t, "02-match")
	header := func(kv ...string) map[string]string {
		h := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			h[kv[i]] = kv[i+1]
		}
		return h
	}
	const plain = "/other.Svc/Method"
	for _, tc := range []struct {
		name    string
		request request // POST, as gRPC is, unless it says otherwise
		grpc    string  // who answers
		http    string  // the same; on this port there is a catch-all to v1 before what is left
	}{
		{"default", request{path: plain}, both, "v1"},
		{"header exact", request{path: plain, header: header("x-user", "alice")}, "v2", "v2"},
		{"header exact, other", request{path: plain, header: header("x-user", "alice2")}, both, "v1"},
		{"prefix and regex", request{path: plain, header: header("x-a", "prefix", "x-b", "bb1")}, "v2", "v2"},
		{"prefix only", request{path: plain, header: header("x-a", "prefix")}, both, "v1"},
		{"prefix, regex not of the whole", request{path: plain, header: header("x-a", "prefix", "x-b", "bb12")}, both, "v1"},
		{"present", request{path: plain, header: header("x-present", "")}, "v2", "v2"},
		{"without, absent", request{path: plain, header: header("x-c", "c")}, "v2", "v2"},
		{"without, other", request{path: plain, header: header("x-c", "c", "x-not", "good")}, "v2", "v2"},
		{"without, there", request{path: plain, header: header("x-c", "c", "x-not", "bad")}, both, "v1"},
		{"headers come first", request{path: "/pkg.Svc/Method", header: header("x-user", "alice")}, "v2", "v2"},
		{"uri exact", request{path: "/pkg.Svc/Method"}, "v1", "v1"},
		{"uri prefix", request{path: "/pkg.Svc/Other"}, "v1", "v1"},
		{"uri prefix without slash", request{path: "/pkgs.Svc/M"}, "v1", "v1"},
		{"uri prefix, other case", request{path: "/PKG.Svc/M"}, both, "v1"},
		{"uri regex", request{path: "/r12/M"}, "v1", "v1"},
		{"uri regex, no match", request{path: "/r/M"}, both, "v1"},
		{"uri ignore case", request{path: "/cASEd.Svc/M"}, "v1", "v1"},
		{"source label", request{path: plain, header: header("x-src", "label")}, "v2", "v1"},
		{"or, one", request{path: plain, header: header("x-or", "one")}, "v2", "v1"},
		{"or, two", request{path: plain, header: header("x-or", "two")}, "v2", "v1"},
		{"or, three", request{path: plain, header: header("x-or", "three")}, both, "v1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answeredBy(t, e.byGRPC, tc.request, tc.grpc)
			tc.request.method = http.MethodPost
			answeredBy(t, e.byHTTP, tc.request, tc.http)
		})
	}
}

// gRPC's own port has no catch-all, so that there the routes that only HTTP can take show too.
func TestIstiodMatchOfHTTPAlone(t *testing.T) {
	v1, v2 := httpBackend(t, "v1"), httpBackend(t, "v2")
	r := startReplay(t, "02-match", map[string]string{
		"10.0.1.1:9000": v1.addr, "10.0.1.2:9000": v2.addr, "10.0.1.1:8080": v1.addr, "10.0.1.2:8080": v2.addr,
	})
	m := newMesh(t, mesh.WithControlServer(r.addr))
	byHTTP := httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://"+echoHost+":9000")
	for _, tc := range []struct {
		name    string
		request request
		want    string
	}{
		{"default", request{method: "PUT", path: "/x"}, both},
		{"method", request{method: "GET", path: "/x"}, "v1"},
		{"authority", request{method: "PUT", path: "/x", host: "echo.other"}, "v1"},
		{"query", request{method: "PUT", path: "/x?p=xyz&q=1"}, "v1"},
		{"query, escaped", request{method: "PUT", path: "/x?%70=x%20z&q=%31"}, "v1"},
		{"query, one of two", request{method: "PUT", path: "/x?q=1"}, both},
		{"query, other value", request{method: "PUT", path: "/x?p=xyz&q=12"}, both},
		{"path without query", request{method: "PUT", path: "/pkg.Svc/Method?a=b"}, "v1"},
		{"header before method", request{method: "GET", path: "/x", header: map[string]string{"X-User": "alice"}}, "v2"},
	} {
		t.Run(tc.name, func(t *testing.T) { answeredBy(t, byHTTP, tc.request, tc.want) })
	}
}

// answeredBy checks who answers a request, several times. A cluster of both may
// need a moment: hosts that are not connected yet are passed over.
func answeredBy(t *testing.T, d door, r request, want string) {
	t.Helper()
	if want == both {
		if !eventually(func() bool { return len(d.many(t, 20, r)) == 2 }) {
			t.Errorf("%+v is not answered by both", r)
		}
		return
	}
	if counts := d.many(t, 20, r); counts[want] != 20 {
		t.Errorf("%+v is answered by %v, want %s", r, counts, want)
	}
}

// Retries are counted at the backends; a route's timeout shows by its status while the caller has time left.
func TestIstiodRetriesAndTimeouts(t *testing.T) {
	e := startEcho(t, "03-retries-timeouts")
	for _, tc := range []struct {
		route    string
		attempts int64
	}{{"full", 1 + 3}, {"off", 1}, {"attempts", 1 + 5}, {"timeout", 1 + 2}, {"defaults", 1 + 2}} {
		r := request{header: map[string]string{"x-case": tc.route, "x-do": "unavailable"}}
		n, err := e.calls(t, e.byGRPC, r)
		if n != tc.attempts || status.Code(err) != codes.Unavailable {
			t.Errorf("gRPC, %s: %d attempts and %v, want %d and UNAVAILABLE", tc.route, n, err, tc.attempts)
		}
	}

	hang := request{header: map[string]string{"x-case": "timeout", "x-do": "hang"}}
	if n, err := e.calls(t, e.byGRPC, hang); n != 1 || status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("gRPC: %d attempts and %v, want 1 and DEADLINE_EXCEEDED", n, err)
	}
	n, err := e.calls(t, e.byHTTP, hang)
	if failed := meshError(err); n != 1 || failed == nil || failed.Kind != mesh.Deadline {
		t.Errorf("HTTP: %d attempts and %v, want 1 and the route's deadline", n, err)
	}
}

// The conditions of these routes are gRPC's and those of requests that no server has seen: over HTTP
// only the latter are retried. All hosts are gone here, so that every attempt is one of them.
func TestIstiodRetriesOverHTTP(t *testing.T) {
	dead := listen(t)
	dead.Close()
	other := listen(t)
	other.Close()
	r := startReplay(t, "03-retries-timeouts", map[string]string{
		"10.0.1.1:9000": dead.Addr().String(), "10.0.1.2:9000": other.Addr().String(),
		"10.0.1.1:8080": dead.Addr().String(), "10.0.1.2:8080": other.Addr().String(),
	})
	m := newMesh(t, mesh.WithControlServer(r.addr))
	byHTTP := httpDoor(&http.Client{Transport: m.RoundTripper()}, "http://"+echoHost+":8080")
	for _, tc := range []struct {
		route    string
		attempts int
	}{{"off", 1}, {"attempts", 1 + 5}, {"timeout", 1 + 2}, {"defaults", 1 + 2}} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := byHTTP(ctx, request{header: map[string]string{"x-case": tc.route}})
		cancel()
		if failed := meshError(err); failed == nil || failed.Kind != mesh.Unreachable || failed.Attempts != tc.attempts {
			t.Errorf("%s: %v, want %d attempts", tc.route, err, tc.attempts)
		}
	}
}

func meshError(err error) *mesh.Error {
	var failed *mesh.Error
	errors.As(err, &failed)
	return failed
}

func TestIstiodDestinationRule(t *testing.T) {
	e := startEcho(t, "06-destinationrule")
	for name, d := range map[string]door{"gRPC": e.byGRPC, "HTTP": e.byHTTP} {
		for _, v := range []string{"v1", "v2"} { // round robin; least request over gRPC
			answeredBy(t, d, request{header: map[string]string{"x-v": v}}, v)
		}
		answeredBy(t, d, request{}, both)
		counts := d.many(t, 400, request{}) // least request over gRPC, round robin over HTTP
		if name == "HTTP" && (counts["v1"] != 200 || counts["v2"] != 200) {
			t.Errorf("round robin over HTTP: %v", counts)
		}
		checkSplit(t, counts, map[string]int{"v1": 50, "v2": 50})
	}
}

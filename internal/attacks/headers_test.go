package attacks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/mesh"
)

// What tells the mesh what to do, or names others' callers, counts only from who is trusted; in x-forwarded-client-cert, however it is
// written, nobody says who he is (B10, B11).
func TestB10B11SteeringHeaders(t *testing.T) {
	guard := only(aliceID, malloryID)
	guard.Trusted = []match.String{exactly(aliceID)}
	g := serve(t, strictly(guard))
	const king = "URI=spiffe://td/ns/a/sa/king"
	a := &Attack{Header: [][2]string{
		{"x-weft-criticality", "sheddable"}, {"x_weft_criticality", "sheddable"}, {"X-Envoy-Upstream-Rq-Timeout-Ms", "1"},
		{"x-envoy-fault-abort-request", "503"}, {"x-envoy-external-address", "10.0.0.1"}, {"x-envoy-internal", "true"}, {"x-envoy-original-path", "/admin"},
		{"l5d-client-id", "king"}, {"x-mesh-identity", "king"}, {"X_Mesh-Identity", "king"}, {"x-istio-attributes", "a2luZw=="}, {"x-ext-authz-check-result", "allowed"},
		{"x-forwarded-client-cert", king}, {"x_forwarded_client_cert", king}, {"X-Forwarded_Client-Cert", king}, {"x-forwarded-client-cert", king}, {"x-honest", "yes"},
	}}
	for _, w := range both {
		for _, who := range []string{aliceID, malloryID} {
			if o := g.attack(a, w, g.ca.Source(who)); o.Reached != 1 {
				t.Fatalf("%v: %s: %+v", w, who, o)
			}
			h := &g.web.handled
			if w == GRPC {
				h = &g.rpc.handled
			}
			seen := map[string]int{}
			for name, values := range h.header {
				lower := strings.ToLower(name)
				for _, v := range values {
					if strings.Contains(v, "king") && (who == malloryID || strings.HasPrefix(v, "URI=")) {
						t.Errorf("%v: %s gets %s: %s through", w, who, name, v)
					}
				}
				if identity.Steering(lower) {
					seen[lower] += len(values)
				}
			}
			if seen["x-forwarded-client-cert"] != 1 || h.peer == nil || h.peer.ID.String() != who {
				t.Errorf("%v: %s is %+v", w, who, h.peer)
			}
			if trusted := seen["x-weft-criticality"] == 1; trusted != (who == aliceID) || who == malloryID && len(seen) != 1 {
				t.Errorf("%v: of %s count %v", w, who, seen)
			}
		}
	}
}

// Timeouts that no clock can hold are no timeouts, and do no harm (B14). What is left of one as milliseconds is either no number or hours.
func TestB14Timeouts(t *testing.T) {
	g := serve(t, strictly(only(aliceID)))
	alice := g.ca.Source(aliceID)
	for _, value := range []string{"99999999H", "99999999S", "-1S", "", "12345678901234567890S", "7000000", "S", "1.5S", "0x1S", "18446744073709551616n"} {
		a := &Attack{Header: [][2]string{{"grpc-timeout", value}, {"x-envoy-expected-rq-timeout-ms", strings.TrimRight(value, "SHn")}}}
		for _, w := range both {
			o := g.attack(a, w, alice)
			if long := value == "99999999H"; o.Answer == "no answer" || long && o.Reached != 1 || w != GRPC && o.Reached != 1 {
				t.Errorf("%v: %q: %+v", w, value, o)
			}
		}
	}
	for _, w := range both {
		if o := g.attack(&Attack{}, w, alice); o.Reached != 1 {
			t.Errorf("%v: afterwards: %+v", w, o)
		}
	}
}

// What callers write does not make up lines of the log, nor speak to a terminal (B22), and what they prove themselves by is not in it (B25).
func TestB22B25Log(t *testing.T) {
	var log lockedBuffer
	guard := policies()
	guard.JWT = tokens().jwt()
	g := serve(t, strictly(guard), mesh.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	alice := g.ca.Source(aliceID)
	secret := tokens().sign(map[string]any{"sub": "alice"})
	for _, h := range [][2]string{
		{"authorization", "Bearer " + secret}, {"authorization", "Bearer " + secret[:len(secret)-4]}, {"user-agent", "\x1b[31mred"}, {"x-role", "admin"},
	} {
		for _, path := range []string{"/admin", "/admin/\x1b[2J", "/admin/%0a%7b%22a%22", "/admin/x?access_token=" + secret, "/admin/\"}"} {
			for _, w := range web {
				if o := g.attack(&Attack{Path: path, Header: [][2]string{h}}, w, alice); o.Reached != 0 {
					t.Errorf("%v: %q: %+v", w, path, o)
				}
			}
		}
	}
	text := log.String()
	if !strings.Contains(text, "call denied") {
		t.Fatalf("nothing is said of denials:\n%s", text)
	}
	for _, not := range []string{"\x1b", secret, secret[:40], strings.Split(secret, ".")[2]} {
		if strings.Contains(text, not) {
			t.Errorf("the log has %q", not)
		}
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if !json.Valid(lines.Bytes()) {
			t.Errorf("a line that is none of the log's: %q", lines.Text())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Trailers of gRPC's callers are no headers, and no second request (B17).
func TestB17TrailersOfGRPC(t *testing.T) {
	g := serve(t, strictly(policies()))
	alice := g.ca.Source(aliceID)
	if o := g.attack(&Attack{Path: "/shop.Team/Plan", Header: [][2]string{{"x-team", "blue"}}}, GRPC, alice); o.Reached != 1 {
		t.Errorf("the team: %+v", o)
	}
	for name, a := range map[string]*Attack{
		"ALLOW: the team": {Path: "/shop.Team/Plan", Trailer: [][2]string{{"x-team", "blue"}}},
		"a path":          {Path: "/shop.Vault/Open", Trailer: [][2]string{{":path", "/shop.Shop/Read"}}},
		"a host":          {Host: "secret.com", Trailer: [][2]string{{"host", "shop"}}},
	} {
		if o := g.attack(a, GRPC, alice); o.Reached != 0 {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if o := g.attack(&Attack{Method: "POST", Path: "/admin", Trailer: [][2]string{{":path", "/ok"}}}, HTTP2, alice); o.Reached != 0 {
		t.Errorf("a path by HTTP/2: %+v", o)
	}
}

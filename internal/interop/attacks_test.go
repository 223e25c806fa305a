package interop

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/authz"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/internal/attacks"
)

// updateAttacks has the table in docs/security.md written.
var updateAttacks = flag.Bool("update", false, "write the results of attacks to docs/security.md")

const attacksPage = "../../docs/security.md"

// A victim counts what reaches its handlers.
type victim struct {
	mu    sync.Mutex
	calls int
	path  string
}

func (v *victim) note(path string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	v.path = path
}

func (v *victim) ServeHTTP(_ http.ResponseWriter, r *http.Request) { v.note(r.URL.Path) }

// serveGRPC takes every method.
func (v *victim) serveGRPC(_ any, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	v.note(method)
	if err := s.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	return s.SendMsg(&emptypb.Empty{})
}

// rpc serves gRPC without TLS.
func (v *victim) rpc(t *testing.T, opts ...grpc.ServerOption) (addr string) {
	t.Helper()
	srv := grpc.NewServer(append(opts, grpc.UnknownServiceHandler(v.serveGRPC))...)
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln) // ends by Stop
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return ln.Addr().String()
}

// try sends each attack on the wires that there are addresses for, but for those that the policies have no words for, and holds the
// table to what comes of it. What others let through is their affair; honest requests must pass, or nothing is shown.
func (v *victim) try(t *testing.T, column string, addrs map[attacks.Wire]string, without func(*attacks.Attack) bool) {
	t.Helper()
	results := attacks.Results{}
	rows := attacks.Rows()
	for i := range rows {
		a := &rows[i]
		by := map[attacks.Wire]attacks.Outcome{}
		for _, w := range a.On {
			if addrs[w] == "" || without(a) {
				continue
			}
			conn, err := net.Dial("tcp", addrs[w])
			if err != nil {
				t.Fatal(err)
			}
			v.mu.Lock()
			before := v.calls
			v.mu.Unlock()
			answer := a.Send(w, conn)
			v.mu.Lock()
			o := attacks.Outcome{Reached: v.calls - before, Saw: v.path, Answer: answer}
			v.mu.Unlock()
			if bad := a.Bad(o); bad != "" && (a.Want == attacks.Passes || a.Plain()) {
				t.Errorf("%s by %v: %s", a.Name(), w, bad)
			}
			by[w] = o
		}
		results.Outcomes(a, by)
	}
	if t.Failed() {
		return
	}
	if err := results.Check(attacksPage, column, *updateAttacks); err != nil {
		t.Error(err)
	}
}

// The attacks on a server of gRPC alone, with its own authorization policy (gRFC A43). It has no words for hosts, nor for what is not.
func TestAttacksOnGRPCGo(t *testing.T) {
	v := &victim{}
	policy, err := authz.NewStatic(`{
		"name": "attacks",
		"deny_rules": [
			{"name": "methods", "request": {"paths": ["/shop.Vault/Open"]}},
			{"name": "roles", "request": {"headers": [{"key": "x-role", "values": ["admin"]}]}},
			{"name": "tiers", "request": {"headers": [{"key": "X-Tier", "values": ["gold"]}]}}
		],
		"allow_rules": [{"name": "others"}]
	}`)
	if err != nil {
		t.Fatal(err)
	}
	addr := v.rpc(t, grpc.ChainUnaryInterceptor(policy.UnaryInterceptor), grpc.ChainStreamInterceptor(policy.StreamInterceptor))
	v.try(t, "grpc-go RBAC", map[attacks.Wire]string{attacks.GRPC: addr}, func(a *attacks.Attack) bool {
		return slices.Contains([]string{"A13", "A14", "A16"}, a.ID) || strings.HasPrefix(a.What, "ALLOW")
	})
}

// The attacks on a server behind an Envoy that normalises paths as Istio's sidecars do by default.
func TestAttacksOnEnvoy(t *testing.T) {
	t.Parallel()
	binary := peer(t, "WEFT_ENVOY", "Envoy")
	v := &victim{}
	web := &http.Server{Handler: v, ReadHeaderTimeout: patience}
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		web.Serve(ln) // ends by Close
	}()
	t.Cleanup(func() {
		web.Close()
		<-done
	})
	_, webPort, _ := net.SplitHostPort(ln.Addr().String())
	_, rpcPort, _ := net.SplitHostPort(v.rpc(t))
	e := startStatic(t, binary, fmt.Sprintf(read(t, "attacks-envoy.json"), webPort, rpcPort))
	addr := e.proxy[len("http://"):]
	v.try(t, "Envoy", map[attacks.Wire]string{attacks.HTTP1: addr, attacks.HTTP2: addr, attacks.GRPC: addr}, func(a *attacks.Attack) bool { return a.Behind })
}

// startStatic starts an Envoy that no control server configures.
func startStatic(t *testing.T, binary, config string) *envoy {
	t.Helper()
	dir := t.TempDir()
	file, address := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &envoy{log: filepath.Join(dir, "log")}
	log, err := os.Create(e.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "-c", file, "--admin-address-path", address, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // it is told to go
	}()
	t.Cleanup(func() { e.end(t, cmd, exited) })
	ok := eventually(func() bool {
		b, err := os.ReadFile(address)
		e.admin = "http://" + string(b)
		return err == nil && len(b) > 0 && e.listening(t)
	})
	if !ok {
		b, _ := os.ReadFile(e.log)
		t.Fatalf("Envoy is not ready:\n%s", b)
	}
	return e
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh"
)

const benchDomain = "bench.example"

// A vault is a trust domain with servers of the mesh and others, all of which speak mTLS, in this process.
type vault struct {
	authority *ca.CA
	control   string
	closing   []func()
}

// compareSecure compares calls over mTLS, which rules let through, with those over TLS of gRPC's and net/http's own.
func compareSecure(e effort) (t table, err error) {
	t = table{
		Title: "Processor time of both ends a call, over mTLS",
		Note: "Client and server are in one process; one backend, 1 at a time. All have certificates of the same authority (ECDSA P-256, TLS 1.3) and ask for those\n" +
			"of the other; HTTP of the mesh is HTTP/2 then. 10 rules: an AuthorizationPolicy, the last of whose rules lets the caller in.",
	}
	v := &vault{}
	defer v.close()
	if err := v.open(); err != nil {
		return t, err
	}
	m, err := v.member("caller")
	if err != nil {
		return t, err
	}
	c := &clients{ctx: context.Background(), mesh: m}
	own, err := v.plainServers()
	if err != nil {
		return t, err
	}
	for _, name := range []string{"rpc", "ruledrpc", "web", "ruledweb"} {
		if err := v.serve(name); err != nil {
			return t, err
		}
	}
	var sides []side
	add := func(s side, err2 error) { sides, err = append(sides, s), errors.Join(err, err2) }
	conf := v.clientTLS()
	withTLS := grpc.WithTransportCredentials(credentials.NewTLS(conf))
	add(unary("weft, 10 rules", "mesh:///ruledrpc.bench", nil, m.DialOptions()))
	add(unary("weft, no rules", "mesh:///rpc.bench", nil, m.DialOptions()))
	add(unary("grpc-go, TLS", own.plain, nil, []grpc.DialOption{withTLS}))
	add(unary("grpc-go, TLS, same windows", own.windows, nil, append(windows(), withTLS)))
	if err != nil {
		return t, err
	}
	one := &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: 128}
	two := &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true}
	sides = append(sides,
		c.request("weft, 10 rules", m.RoundTripper(), http.MethodGet, "http://ruledweb.bench/", 0),
		c.request("weft, no rules", m.RoundTripper(), http.MethodGet, "http://web.bench/", 0),
		c.request("net/http, TLS, HTTP/1.1", one, http.MethodGet, "https://"+own.web+"/", 0),
		c.request("net/http, TLS, HTTP/2", two, http.MethodGet, "https://"+own.web+"/", 0))
	const ruledRPC, rpc, plain, plainSame, ruledWeb, web, oneWeb, twoWeb = 0, 1, 2, 3, 4, 5, 6, 7
	for _, i := range []int{ruledWeb, web} {
		if err := patiently(sides[i].call); err != nil {
			return t, fmt.Errorf("%s: %w", sides[i].name, err)
		}
	}
	s, err := rounds(e, 1, sides)
	if err != nil {
		return t, err
	}
	row := func(what string, subject, peer int) {
		t.Rows = append(t.Rows, compared(what, sides[subject], sides[peer], s[subject], s[peer], "us", true, nil))
	}
	row("gRPC unary", ruledRPC, plain)
	row("gRPC unary", ruledRPC, plainSame)
	row("gRPC unary", ruledRPC, rpc)
	row("gRPC unary", rpc, plainSame)
	row("HTTP GET", ruledWeb, twoWeb)
	row("HTTP GET", ruledWeb, oneWeb)
	row("HTTP GET", ruledWeb, web)
	row("HTTP GET", web, twoWeb)
	row("HTTP GET", oneWeb, twoWeb)
	return t, nil
}

// patiently makes a call until it succeeds: those who serve may not be known yet.
func patiently(call func() error) (err error) {
	for range 100 {
		if err = call(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// open starts a control server that is the authority of the domain.
func (v *vault) open() error {
	dir, err := os.MkdirTemp("", "weft-bench")
	if err != nil {
		return err
	}
	v.closing = append(v.closing, func() { os.RemoveAll(dir) }) //nolint:errcheck // it is a temporary one
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(tenRules("ruledrpc")+tenRules("ruledweb")), 0o600); err != nil {
		return err
	}
	s, err := controlserver.New(controlserver.Config{
		Dir: dir, Logger: slog.New(slog.DiscardHandler), CA: &ca.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(benchDomain)},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	v.closing = append(v.closing, func() {
		cancel()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	})
	v.authority, v.control = s.CA(), s.Addr()
	return nil
}

// tenRules let the caller in, by the last of ten.
func tenRules(app string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s, namespace: bench}\nspec:\n  selector: {matchLabels: {app: %[1]s}}\n  action: ALLOW\n  rules:\n", app)
	for i := range 9 {
		fmt.Fprintf(&b, "  - {from: [{source: {principals: [%s/ns/bench/sa/other-%d]}}], to: [{operation: {paths: [/other/%[2]d/*]}}]}\n", benchDomain, i)
	}
	fmt.Fprintf(&b, "  - {from: [{source: {principals: [%s/ns/bench/sa/caller]}}]}\n", benchDomain)
	return b.String()
}

func (v *vault) source(name string) identity.Source {
	return v.authority.Source(spiffeid.RequireFromString("spiffe://" + benchDomain + "/ns/bench/sa/" + name))
}

// member is a mesh of its own.
func (v *vault) member(name string) (*mesh.Mesh, error) {
	m, err := mesh.New(context.Background(), mesh.WithControlServer(v.control), mesh.WithIdentity(v.source(name)),
		mesh.WithService(name+".bench", map[string]string{"app": name}), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err == nil {
		v.closing = append(v.closing, func() { m.Close() }) //nolint:errcheck // measured it has
	}
	return m, err
}

// serve runs a service of the mesh, of gRPC or HTTP by its name.
func (v *vault) serve(name string) error {
	m, err := v.member(name)
	if err != nil {
		return err
	}
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if strings.HasSuffix(name, "web") {
		v.serveHTTP(ln, m.Handler(http.HandlerFunc(empty)))
	} else {
		v.serveGRPC(ln, m.ServerOptions()...)
	}
	return nil
}

// peers are where servers without the mesh listen.
type peers struct{ plain, windows, web string }

func (v *vault) plainServers() (p peers, err error) {
	source := v.source("server")
	conf := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeMemberOf(v.authority.TrustDomain()))
	conf.MinVersion = tls.VersionTLS13
	for _, kind := range []struct {
		addr *string
		opts []grpc.ServerOption
	}{
		{&p.plain, nil},
		{&p.windows, []grpc.ServerOption{grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow)}},
	} {
		ln, err := listen()
		if err != nil {
			return p, err
		}
		*kind.addr = ln.Addr().String()
		v.serveGRPC(ln, append(kind.opts, grpc.Creds(credentials.NewTLS(conf)))...)
	}
	ln, err := listen()
	if err != nil {
		return p, err
	}
	p.web = ln.Addr().String()
	conf = conf.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"}
	v.serveHTTP(tls.NewListener(ln, conf), http.HandlerFunc(empty))
	return p, nil
}

func (v *vault) clientTLS() *tls.Config {
	source := v.source("caller")
	conf := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeMemberOf(v.authority.TrustDomain()))
	conf.MinVersion = tls.VersionTLS13
	return conf
}

func (v *vault) serveGRPC(ln net.Listener, opts ...grpc.ServerOption) {
	s := grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(s, echo{})
	go s.Serve(ln) //nolint:errcheck // until it is stopped
	v.closing = append(v.closing, s.Stop)
}

func (v *vault) serveHTTP(ln net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	go s.Serve(ln) //nolint:errcheck // until it is closed
	v.closing = append(v.closing, func() { s.Close() })
}

func empty(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
}

func (v *vault) close() {
	for _, f := range slices.Backward(v.closing) {
		f()
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/examples/shop/shoppb"
	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/enroll"
	"github.com/weftmesh/weft/mesh"
)

// A part is one process of the story.
type part struct {
	role, name, control, config, state string
	accounts, payments                 string
	rate                               int

	caller caller
}

// play runs the part until the director is gone.
func (p *part) play() int { return stage.Play("identity: "+p.name, p.serve, p.caller.hear) }

func (p *part) serve(ctx context.Context) error {
	p.caller.name, p.caller.rate = p.name, p.rate
	switch p.role {
	case "control":
		s, err := controlserver.New(controlserver.Config{
			Dir: p.config, Listen: "127.0.0.1:0", Web: "127.0.0.1:0", CA: authority(p.state), Logger: stage.Quiet("control"),
		})
		if err != nil {
			return err
		}
		fmt.Println(s.Addr(), s.WebAddr())
		return s.Run(ctx)
	case "plain", "impostor":
		return p.outside(ctx)
	}
	return p.inside(ctx)
}

// inside is a part that is of the mesh: a source of its identity is all that it takes.
func (p *part) inside(ctx context.Context) error {
	cfg, ok := enroll.FromEnv()
	if !ok {
		return fmt.Errorf("%s needs an authority: WEFT_CA", p.role)
	}
	cfg.Logger = stage.Quiet(p.name)
	source, err := enroll.New(cfg)
	if err != nil {
		return err
	}
	defer source.Close()
	m, err := mesh.New(ctx,
		mesh.WithControlServer(p.control),
		mesh.WithIdentity(source),
		mesh.WithService(p.service()+".bank", map[string]string{"app": p.service()}),
		mesh.WithLogger(stage.Quiet(p.name)))
	if err != nil {
		return err
	}
	defer m.Close()
	if p.role == "member" {
		// What is called first is a call of the story, which may not fail: it waits for the certificate.
		patient, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		if err := m.Ready(patient); err != nil {
			return err
		}
		bank, err := grpc.NewClient("mesh:///payments", m.DialOptions()...)
		if err != nil {
			return err
		}
		defer bank.Close()
		return p.call(ctx, source, "http://accounts/balance", &http.Client{Transport: m.RoundTripper()}, bank)
	}

	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	v := &visitors{seen: map[string]map[string]int{}}
	where, leave, err := desk(func() any { return served{papers: look(source), Seen: v.list(), Plain: v.plain()} }, m.DebugHandler())
	if err != nil {
		return err
	}
	defer leave()
	fmt.Println(ln.Addr(), where)
	if p.role == "accounts" {
		return stage.ServeHTTP(ctx, ln, m.Handler(accounts{v}))
	}
	srv := grpc.NewServer(m.ServerOptions()...)
	shoppb.RegisterPaymentsServer(srv, payments{visitors: v})
	shoppb.RegisterShippingServer(srv, postings{visitors: v})
	return stage.ServeGRPC(ctx, ln, srv)
}

// service is what the part is an instance of.
func (p *part) service() string {
	if p.role == "member" {
		return p.name
	}
	return p.role
}

// call makes calls until ctx is done.
func (p *part) call(ctx context.Context, source identity.Source, url string, client *http.Client, bank *grpc.ClientConn) error {
	p.caller.url, p.caller.client = url, client
	p.caller.payments, p.caller.postings = shoppb.NewPaymentsClient(bank), shoppb.NewShippingClient(bank)
	where, leave, err := desk(func() any { return called{papers: look(source), calls: p.caller.sum()} }, nil)
	if err != nil {
		return err
	}
	defer leave()
	fmt.Println("-", where)
	p.caller.run(ctx)
	<-ctx.Done() // who has fallen silent can be asked still
	return nil
}

// papers are what a part has to show for itself.
type papers struct {
	ID    string
	Root  string // the beginning of the key ID of the root that its certificate leads to
	Roots int    // that it believes
}

// look is how a source stands; nil is for those who have none.
func look(source identity.Source) (p papers) {
	if source == nil {
		return p
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		return p
	}
	p.ID = svid.ID.String()
	p.Root = fmt.Sprintf("%.2x", svid.Certificates[len(svid.Certificates)-1].AuthorityKeyId)
	if b, err := source.GetX509BundleForTrustDomain(svid.ID.TrustDomain()); err == nil {
		p.Roots = len(b.X509Authorities())
	}
	return p
}

// desk is where the director asks a part how things stand. It is none of the mesh's doors.
func desk(report func() any, debug http.Handler) (addr string, leave func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(report()) })
	if debug != nil {
		mux.Handle("/debug", debug)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		stage.ServeHTTP(ctx, ln, mux)
	}()
	return ln.Addr().String(), func() { stop(); <-done }, nil
}

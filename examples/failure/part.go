package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/examples/shop/shoppb"
	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/mesh"
)

// A part is one process of the chain.
type part struct {
	role, name, control, config string

	ledger ledger
}

// play runs the part until the director is gone.
func (p *part) play() int { return stage.Play("failure: "+p.name, p.serve, p.ledger.hear) }

func (p *part) serve(ctx context.Context) error {
	if p.role == "control" {
		s, err := controlserver.New(controlserver.Config{
			Dir: p.config, Listen: "127.0.0.1:0", Web: "127.0.0.1:0", Logger: stage.Quiet("control"),
		})
		if err != nil {
			return err
		}
		fmt.Println(s.Addr(), s.WebAddr())
		return s.Run(ctx)
	}
	m, err := mesh.New(ctx,
		mesh.WithControlServer(p.control),
		mesh.WithService(p.role+".shop", map[string]string{"app": p.role}),
		mesh.WithLogger(stage.Quiet(p.name)))
	if err != nil {
		return err
	}
	defer m.Close()
	ln, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	switch p.role {
	case "checkout":
		payments, err := grpc.NewClient("mesh:///payments", m.DialOptions()...)
		if err != nil {
			return err
		}
		defer payments.Close()
		return stage.ServeHTTP(ctx, ln, m.Handler(checkout{shoppb.NewPaymentsClient(payments)}))
	case "payments":
		srv := grpc.NewServer(m.ServerOptions()...)
		shoppb.RegisterPaymentsServer(srv, payments{ledger: &http.Client{Transport: m.RoundTripper()}})
		return stage.ServeGRPC(ctx, ln, srv)
	case "ledger":
		p.ledger.name, p.ledger.desk = p.name, newDesk()
		return stage.ServeHTTP(ctx, ln, m.Handler(&p.ledger))
	}
	return fmt.Errorf("no such role %q", p.role)
}

// checkout is the first of the chain. It asks payments over gRPC and answers who kept the books.
type checkout struct{ payments shoppb.PaymentsClient }

func (c checkout) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, err := c.payments.Charge(r.Context(), &shoppb.ChargeRequest{Order: r.FormValue("order")})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprint(w, reply.GetInstance())
}

// payments is the second. It reads the account from a ledger over HTTP.
type payments struct {
	shoppb.UnimplementedPaymentsServer
	ledger *http.Client
}

// Charge implements shoppb.PaymentsServer.
func (p payments) Charge(ctx context.Context, r *shoppb.ChargeRequest) (*shoppb.ChargeReply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ledger/account?order="+r.GetOrder(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.ledger.Do(req)
	if err != nil {
		return nil, unavailable(err.Error())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, unavailable(err.Error())
	}
	if resp.StatusCode != http.StatusOK {
		return nil, unavailable("ledger answers " + resp.Status)
	}
	return &shoppb.ChargeReply{Receipt: "R" + r.GetOrder(), Instance: string(body)}, nil
}

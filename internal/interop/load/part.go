package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/mesh"
)

// Where backends listen, each on an address of its own.
const (
	httpPort  = "8080"
	grpcPort  = "9090"
	adminPort = "8081" // outside the mesh
)

// A part is one process that is measured.
type part struct {
	role, name, ip, control, next, config string

	state, roots string // of an authority, and of who asks it
	ttl          time.Duration

	tries, workers int
	work           time.Duration
	limit          int64 // of calls inside; 0 is none

	desk    chan struct{} // nil if there is room for all
	inside  atomic.Int64
	calls   atomic.Int64
	slow    atomic.Int64 // nanoseconds that calls take longer
	oneIn   atomic.Int64 // only every so-manieth of them
	failing atomic.Bool
}

// hear obeys: "slow 500ms", "sometimes 100ms" (1 % of calls), "fail" or "heal".
func (p *part) hear(line string) {
	word, arg, _ := strings.Cut(line, " ")
	d, _ := time.ParseDuration(arg) // none for words without
	every := int64(1)
	if word == "sometimes" {
		every = 100
	}
	p.oneIn.Store(every)
	p.slow.Store(int64(d))
	p.failing.Store(word == "fail")
}

func (p *part) serve(ctx context.Context) error {
	if p.role == "control" {
		s, err := controlserver.New(controlserver.Config{Dir: p.config, Listen: "127.0.0.1:0", Logger: stage.Quiet("control")})
		if err != nil {
			return err
		}
		fmt.Println(s.Addr())
		return s.Run(ctx)
	}
	if p.role == "authority" {
		return p.serveAuthority(ctx)
	}
	if p.role == "member" {
		return p.serveMember(ctx)
	}
	if p.workers > 0 {
		p.desk = make(chan struct{}, p.workers)
	}
	p.oneIn.Store(1)
	var (
		handler http.Handler = http.HandlerFunc(p.handle)
		opts    []grpc.ServerOption
		listen  = func(addr string) (net.Listener, error) { return new(net.ListenConfig).Listen(ctx, "tcp", addr) }
		client  = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	)
	if p.control != "" {
		m, err := mesh.New(ctx, mesh.WithControlServer(p.control), mesh.WithService(p.role+".load", map[string]string{"app": p.role}),
			mesh.WithLogger(stage.Quiet(p.name)))
		if err != nil {
			return err
		}
		defer m.Close() //nolint:errcheck // the process ends
		opts = m.ServerOptions()
		listen = func(addr string) (net.Listener, error) { return m.Listen("tcp", addr) }
		client.Transport = m.RoundTripper()
		if p.role == "hop" {
			handler = p.hop(client)
		}
		handler = m.Handler(handler)
	} else if p.role == "hop" {
		handler = p.hop(client)
	}
	return p.listen(ctx, handler, opts, listen)
}

// listen serves on all doors until ctx is done.
func (p *part) listen(ctx context.Context, h http.Handler, opts []grpc.ServerOption, listen func(string) (net.Listener, error)) error {
	web, err := listen(net.JoinHostPort(p.ip, httpPort))
	if err != nil {
		return err
	}
	rpc, err := listen(net.JoinHostPort(p.ip, grpcPort))
	if err != nil {
		return err
	}
	admin, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(p.ip, adminPort))
	if err != nil {
		return err
	}
	fmt.Println(p.ip)
	srv := grpc.NewServer(append(opts, grpc.UnknownServiceHandler(p.stream))...)
	ended := make(chan error, 3)
	go func() { ended <- stage.ServeHTTP(ctx, web, h) }()
	go func() { ended <- stage.ServeGRPC(ctx, rpc, srv) }()
	go func() {
		ended <- stage.ServeHTTP(ctx, admin, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, p.calls.Load()) }))
	}()
	return errors.Join(<-ended, <-ended, <-ended)
}

// enter refuses what is more than the limit, as who writes a server by hand would. A call that is let in must leave.
func (p *part) enter() bool {
	if n := p.inside.Add(1); p.limit > 0 && n > p.limit {
		p.leave()
		return false
	}
	return true
}

func (p *part) leave() { p.inside.Add(-1) }

// toil works on a call. Like most servers, it does not look whether somebody still waits for the result.
func (p *part) toil() (ok bool) {
	n := p.calls.Add(1)
	if p.failing.Load() {
		return false
	}
	if d := p.slow.Load(); d > 0 && n%p.oneIn.Load() == 0 {
		time.Sleep(time.Duration(d))
	}
	if p.desk != nil {
		p.desk <- struct{}{}
		defer func() { <-p.desk }()
	}
	if p.work > 0 {
		time.Sleep(p.work)
	}
	return true
}

func (p *part) handle(w http.ResponseWriter, _ *http.Request) {
	if !p.enter() {
		http.Error(w, "full", http.StatusServiceUnavailable)
		return
	}
	defer p.leave()
	if !p.toil() {
		http.Error(w, "told to fail", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, p.name) //nolint:errcheck // the caller went away, if anything
}

func (p *part) stream(_ any, s grpc.ServerStream) error {
	if !p.enter() {
		return status.Error(codes.Unavailable, "full")
	}
	defer p.leave()
	if err := s.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	if !p.toil() {
		return status.Error(codes.Unavailable, "told to fail")
	}
	return s.SendMsg(wrapperspb.String(p.name))
}

// hop hands calls on to the next service: through the mesh, or trying as often as it was told to.
func (p *part) hop(client *http.Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		var who string
		err := errors.New("not tried")
		for range max(p.tries, 1) {
			if who, err = get(r.Context(), client, p.next, nil); err == nil {
				break
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, who) //nolint:errcheck // the caller went away, if anything
	})
}

// get makes one call over HTTP and returns who answered.
func get(ctx context.Context, client *http.Client, url string, header http.Header) (who string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	maps.Copy(req.Header, header)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(body), err
}

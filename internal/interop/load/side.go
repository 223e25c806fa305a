package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcresolver "google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/mesh"
)

// A caller makes one call and returns who answered.
type caller func(ctx context.Context, header http.Header) (who string, err error)

// A side is one way to call the services "api" (HTTP) and "rpc" (gRPC).
type side struct {
	name       string
	http, grpc caller
	close      func()
}

// method is what is called over gRPC.
const method = "/weft.Load/Call"

func overGRPC(cc *grpc.ClientConn) caller {
	return func(ctx context.Context, _ http.Header) (string, error) {
		var who wrapperspb.StringValue
		err := cc.Invoke(ctx, method, new(emptypb.Empty), &who)
		return who.GetValue(), err
	}
}

// open makes the side of a name; backends are addresses without ports.
func (b *bench) open(ctx context.Context, name, control string, backends []string) (*side, error) {
	switch name {
	case "weft":
		return openWeft(ctx, control)
	case "plain":
		return openPlain(backends)
	case "envoy":
		return b.openEnvoy(ctx, control)
	}
	return nil, fmt.Errorf("no such side %q", name)
}

func openWeft(ctx context.Context, control string) (*side, error) {
	m, err := mesh.New(ctx, mesh.WithControlServer(control), mesh.WithService("load", map[string]string{"app": "load"}), mesh.WithLogger(stage.Quiet("load")))
	if err != nil {
		return nil, err
	}
	cc, err := grpc.NewClient("mesh:///rpc.load", m.DialOptions()...)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	client := &http.Client{Transport: m.RoundTripper()}
	return &side{
		name: "weft",
		http: func(ctx context.Context, h http.Header) (string, error) {
			return get(ctx, client, "http://api.load/", h)
		},
		grpc:  overGRPC(cc),
		close: func() { cc.Close(); m.Close() }, //nolint:errcheck // measured it has
	}, nil
}

// openPlain calls as one does without a mesh: gRPC's round_robin, and net/http to one address after the other.
func openPlain(backends []string) (*side, error) {
	r := manual.NewBuilderWithScheme("load")
	var state grpcresolver.State
	for _, ip := range backends {
		state.Addresses = append(state.Addresses, grpcresolver.Address{Addr: net.JoinHostPort(ip, grpcPort)})
	}
	r.InitialState(state)
	cc, err := grpc.NewClient("load:///rpc", grpc.WithResolvers(r), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	client := &http.Client{Transport: transport}
	var n atomic.Uint64
	return &side{
		name: "plain",
		http: func(ctx context.Context, h http.Header) (string, error) {
			ip := backends[n.Add(1)%uint64(len(backends))]
			return get(ctx, client, "http://"+net.JoinHostPort(ip, httpPort)+"/", h)
		},
		grpc:  overGRPC(cc),
		close: func() { cc.Close(); transport.CloseIdleConnections() },
	}, nil
}

// openEnvoy calls plainly through an Envoy beside this process.
func (b *bench) openEnvoy(ctx context.Context, control string) (*side, error) {
	b.envoys++
	_, port, err := net.SplitHostPort(control)
	if err != nil {
		return nil, err
	}
	template, err := os.ReadFile(envoyConfig())
	if err != nil {
		return nil, err
	}
	base := filepath.Join(b.dir, fmt.Sprintf("envoy-%d", b.envoys))
	//nolint:gosec // the directory is ours
	if err := os.WriteFile(base+".json", fmt.Appendf(nil, string(template), fmt.Sprintf("load-%d", b.envoys), "DELTA_GRPC", port), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(base + ".log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	//nolint:gosec // whoever measures names the binary
	cmd := exec.CommandContext(ctx, os.Getenv("WEFT_ENVOY"), "-c", base+".json", "--admin-address-path", base+".admin",
		"--concurrency", "2", "--disable-hot-restart", "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() {
		cmd.Process.Kill()
		cmd.Wait() //nolint:errcheck // so it ends
	}
	proxy, err := envoyListener(ctx, base+".admin")
	if err != nil {
		stop()
		text, _ := os.ReadFile(base + ".log") // as far as there is one
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	cc, err := grpc.NewClient("passthrough:///"+proxy, grpc.WithAuthority("rpc.load:9000"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		stop()
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 1000, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, proxy)
	}}
	client := &http.Client{Transport: transport}
	return &side{
		name: "envoy",
		http: func(ctx context.Context, h http.Header) (string, error) {
			return get(ctx, client, "http://api.load/", h)
		},
		grpc:  overGRPC(cc),
		close: func() { cc.Close(); transport.CloseIdleConnections(); stop() },
	}, nil
}

// envoyConfig is the bootstrap that the interoperability tests use.
func envoyConfig() string {
	for _, dir := range []string{"testdata", "../testdata", "internal/interop/testdata"} {
		if path := filepath.Join(dir, "envoy.json"); exists(path) {
			return path
		}
	}
	return "testdata/envoy.json"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// envoyListener waits until an Envoy listens for the application, and returns where.
func envoyListener(ctx context.Context, addressFile string) (string, error) {
	late := time.After(20 * time.Second)
	for {
		if admin, err := os.ReadFile(addressFile); err == nil && len(admin) > 0 {
			if addr := askListener(ctx, "http://"+string(admin)+"/listeners?format=json"); addr != "" {
				return addr, nil
			}
		}
		select {
		case <-late:
			return "", errors.New("no Envoy listens after 20 s")
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func askListener(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return ""
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var all struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || json.NewDecoder(strings.NewReader(string(text))).Decode(&all) != nil {
		return ""
	}
	for _, l := range all.Statuses {
		if l.Name == "outbound" && l.Local.Socket.Port != 0 {
			return fmt.Sprintf("127.0.0.1:%d", l.Local.Socket.Port)
		}
	}
	return ""
}

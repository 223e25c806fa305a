package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/xds"
)

// windows are the flow-control windows of the mesh's dial options.
func windows() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow)}
}

// roundRobin calls addresses with plain gRPC.
func (c *clients) roundRobin(name string, addrs []string, md metadata.MD, opts ...grpc.DialOption) (side, error) {
	r := manual.NewBuilderWithScheme("plain")
	var s resolver.State
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	r.InitialState(s)
	return unary(name, "plain:///backends", md, append([]grpc.DialOption{
		grpc.WithResolvers(r), plaintext(), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
	}, opts...))
}

// weft calls a service through the mesh.
func (c *clients) weft(name, service string, md metadata.MD) (side, error) {
	return unary(name, "mesh:///"+service+":9000", md, c.mesh.DialOptions())
}

// grpcXDS calls a service with gRPC's own xDS client.
func (c *clients) grpcXDS(name, service string, md metadata.MD, opts ...grpc.DialOption) (side, error) {
	bootstrap := fmt.Sprintf(`{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
		"node": {"id": "grpc-go"}
	}`, c.where.Control)
	builder, err := xds.NewXDSResolverWithConfigForTesting([]byte(bootstrap))
	if err != nil {
		return side{}, err
	}
	return unary(name, "xds:///"+service+":9000", md, append([]grpc.DialOption{grpc.WithResolvers(builder), plaintext()}, opts...))
}

func plaintext() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }

// unary is a side that makes unary calls of 100 bytes each way. All backends
// are connected when it is returned. It is open until the process ends.
func unary(name, target string, md metadata.MD, opts []grpc.DialOption) (side, error) {
	cc, err := grpc.NewClient(target, opts...)
	if err != nil {
		return side{}, err
	}
	client := pb.NewTestServiceClient(cc)
	ctx := context.Background()
	if md != nil {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	payload := &pb.Payload{Body: make([]byte, 100)}
	call := func() error {
		_, err := client.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload})
		return err
	}
	cc.Connect()
	deadline, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for s := cc.GetState(); s != connectivity.Ready; s = cc.GetState() {
		if !cc.WaitForStateChange(deadline, s) {
			return side{}, fmt.Errorf("%s: %s is %v", name, target, s)
		}
	}
	for range 20 * manyBackends {
		if err := call(); err != nil {
			return side{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return side{name, call}, nil
}

// A web is a kind of HTTP request, through the mesh and without it.
type web struct {
	what        string
	weft, plain side
}

func (c *clients) webs() []web {
	var all []web
	for _, v := range []struct {
		protocol, service string
		h2c               bool
	}{{"HTTP/1.1", serviceWeb, false}, {"h2c", serviceH2C, true}} {
		plain := &http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 128}
		plain.Protocols.SetHTTP1(!v.h2c)
		plain.Protocols.SetUnencryptedHTTP2(v.h2c)
		for _, r := range []struct {
			method string
			size   int
		}{{http.MethodGet, 0}, {http.MethodPost, 1024}} {
			all = append(all, web{
				what:  v.protocol + " " + r.method,
				weft:  c.request("weft", c.mesh.RoundTripper(), r.method, "http://"+v.service+"/", r.size),
				plain: c.request("plain http.Transport", plain, r.method, "http://"+c.where.Web+"/", r.size),
			})
		}
	}
	return all
}

// request is a side that makes HTTP requests.
func (c *clients) request(name string, rt http.RoundTripper, method, url string, size int) side {
	payload := bytes.Repeat([]byte("x"), size)
	return side{name, func() error {
		var body io.Reader
		if size > 0 {
			body = bytes.NewReader(payload)
		}
		req, err := http.NewRequestWithContext(c.ctx, method, url, body)
		if err != nil {
			return err
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if err == nil && (n != int64(size) || resp.StatusCode != http.StatusOK) {
			err = fmt.Errorf("%s: %d bytes, want %d", resp.Status, n, size)
		}
		return err
	}}
}

// Package grpcadapter carries RPCs through the engine. It is the only place of
// the data path that knows gRPC.
//
// On the client a call meets three parts of ours. The interceptor makes the call
// an engine.Call and is its transport: for each attempt it gives gRPC a context that
// carries the attempt. gRPC asks the picker for a connection, and the picker only looks
// up that of the host the engine has already picked. The resolver reports to gRPC that
// the hosts of the service have changed, and the balancer behind the picker
// keeps a connection to each of them. So gRPC connects, encodes and
// transmits, and the engine alone decides where a call goes and whether again.
package grpcadapter

import (
	"maps"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	grpcresolver "google.golang.org/grpc/resolver"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// DialOptions lets ClientConns call the services of e as mesh:///name. One value
// serves any number of ClientConns and targets. It brings transport credentials: each
// connection is plaintext or TLS as the host's cluster demands.
//
// Interceptors that stand before it in the list see a call once; those after
// it see each attempt. A dialer of the user's must stand after it, and does not learn how long a
// cluster gives a connection.
//
// There is one connection to a host, so a cluster's bound of connections (Envoy max_connections) holds
// nothing back here; calls that wait for the connection are bounded (Envoy max_pending_requests).
func DialOptions(e *engine.Engine) []grpc.DialOption {
	c := &client{engine: e}
	c.channels.Store(&map[*grpc.ClientConn]*channel{})
	return []grpc.DialOption{
		grpc.WithResolvers(c),
		// The resolver says the same, which wins over a default of the
		// user's; this one is for users who disable the resolver's.
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithTransportCredentials(transportCredentials{}),
		grpc.WithChainUnaryInterceptor(c.unary),
		grpc.WithChainStreamInterceptor(c.stream),
		grpc.WithDisableRetry(), // the engine retries
		grpc.WithNoProxy(),      // hosts are dialed by their own address
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: maxConnectTimeout}),
		grpc.WithContextDialer(connect),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
	}
}

const scheme = "mesh"

// A client is what one value of DialOptions shares.
type client struct {
	engine *engine.Engine

	mu sync.Mutex
	// channels are the connections of each ClientConn that has made a call; copied on write.
	channels atomic.Pointer[map[*grpc.ClientConn]*channel]
}

// channelOf is the connections of cc; nil while they are not known.
func (c *client) channelOf(cc *grpc.ClientConn) *channel { return (*c.channels.Load())[cc] }

// introduce makes it known that ch is the connections of cc. gRPC shows its
// ClientConn only to interceptors and our balancer only to pickers, so it
// takes a call that reaches both.
func (c *client) introduce(ch *channel, cc *grpc.ClientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.closed.Load() || ch.owner != nil {
		return
	}
	ch.owner = cc
	next := maps.Clone(*c.channels.Load())
	next[cc] = ch
	c.channels.Store(&next)
	ch.known.Store(true)
}

// forget undoes introduce when the balancer is closed: with the ClientConn or because that goes idle.
func (c *client) forget(ch *channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch.closed.Store(true)
	if ch.owner == nil || c.channelOf(ch.owner) != ch {
		return
	}
	next := maps.Clone(*c.channels.Load())
	delete(next, ch.owner)
	c.channels.Store(&next)
}

// service is what cc calls; nil if that is not a service of the mesh.
func (c *client) service(cc *grpc.ClientConn, ch *channel) *engine.Service {
	if ch != nil {
		return ch.service
	}
	if !strings.HasPrefix(cc.Target(), scheme+":") {
		return nil
	}
	u, err := url.Parse(cc.Target())
	if err != nil {
		return nil
	}
	return c.engine.Service(grpcresolver.Target{URL: *u}.Endpoint())
}

package xds

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
)

// Config is what a Client is made of. The zero Config takes everything from the environment.
type Config struct {
	// Bootstrap says where the control servers are; nil means [BootstrapFromEnv], read by New.
	Bootstrap *Bootstrap
	// Service is the service this process is an instance of, "payments" or
	// "payments.shop" with a namespace; empty means it only calls.
	Service string
	// Labels are those of this instance, such as version. Not to be modified after New.
	Labels map[string]string
	// Locality says where this process runs.
	Locality balancer.Locality
	// Identity is what this process proves who it is with to control servers that are spoken to by the mesh's mTLS, as those of
	// [BootstrapFor] are then; nil is none.
	Identity identity.Source
	// Logger; nil discards.
	Logger *slog.Logger
	// DialOptions are added to those of the connection to the control server.
	DialOptions []grpc.DialOption
}

// A Client is a [resolver.Resolver] that asks a control server. Its methods are
// safe for concurrent use.
//
// All sinks are called from one goroutine, one after the other. A sink may call Watch
// and Serve, and the stop of another watch, but nothing else of the Client.
type Client struct {
	bootstrap *Bootstrap
	node      *corev3.Node
	log       *slog.Logger
	dial      []grpc.DialOption

	mail  mailbox
	close sync.Once
	done  chan struct{} // closed when run has ended
	last  Status        // when it ended
}

var _ resolver.Resolver = (*Client)(nil)

var errClosed = errors.New("xds: the client is closed")

// New starts a client. It fails, saying in one sentence what to set, if the
// bootstrap is missing or wrong; it does not wait for the control server, which
// is connected to when there is something to ask for: see [Client.Ready].
func New(config Config) (*Client, error) {
	var err error
	b := config.Bootstrap
	if b == nil {
		if b, err = BootstrapFromEnv(); err != nil {
			return nil, err
		}
	}
	b, err = b.as(config.Identity)
	if err != nil {
		return nil, err
	}
	c := &Client{
		bootstrap: b,
		node:      newNode(config, b.node),
		log:       config.Logger,
		dial:      config.DialOptions,
		mail:      mailbox{signal: make(chan struct{}, 1)},
		done:      make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	go newCore(c).run()
	return c, nil
}

// Watch reports the service that the caller knows by name, as [resolver.Resolver] says.
func (c *Client) Watch(name string, sink func(*resolver.Service, error)) (stop func()) {
	w := &watch[resolver.Service]{sink: sink}
	return c.start(w.stop, func(k *core) { k.watch(name, w) }, func(k *core) { k.unwatch(name, w) }, func() { w.tell(nil, errClosed) })
}

// Serve registers this process as serving addr ("ip:port") and reports what it must
// know for that. A control server that has nothing to say of the address is no error.
func (c *Client) Serve(addr string, sink func(*resolver.Inbound, error)) (stop func()) {
	w := &watch[resolver.Inbound]{sink: sink}
	return c.start(w.stop, func(k *core) { k.serve(addr, w) }, func(k *core) { k.unserve(addr, w) }, func() { w.tell(nil, errClosed) })
}

// start hands begin to the core and returns what stops and hands it end, once.
func (c *Client) start(stop func(), begin, end func(*core), refused func()) func() {
	if !c.mail.post(begin) {
		refused()
		return func() {}
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			stop()
			c.mail.post(end)
		})
	}
}

// SetHealth tells the control server how fit this process is to serve; it is
// Healthy at first. text, which may be empty, is shown to operators.
func (c *Client) SetHealth(h balancer.Health, text string) {
	c.mail.post(func(k *core) { k.health.set(h, text) })
}

// Ready waits until the control server is connected and has answered every watch
// made so far, and was told of every address served so far. When ctx ends first, the
// error says which server, what is wrong and what to do.
func (c *Client) Ready(ctx context.Context) error {
	w := &waiter{done: make(chan struct{})}
	if !c.mail.post(func(k *core) { k.await(w) }) {
		return errClosed
	}
	select {
	case <-w.done:
		return nil
	case <-c.done:
		return errClosed
	case <-ctx.Done():
	}
	why := make(chan error, 1)
	if !c.mail.post(func(k *core) { why <- k.giveUp(w, ctx.Err()) }) {
		return errClosed
	}
	select {
	case err := <-why:
		return err
	case <-c.done:
		return errClosed
	}
}

// Status is what the client believes right now; after Close, what it believed last.
func (c *Client) Status() Status {
	got := make(chan Status, 1)
	if c.mail.post(func(k *core) { got <- k.status() }) {
		select {
		case s := <-got:
			return s
		case <-c.done:
		}
	}
	<-c.done
	return c.last
}

// Server is the control server in use, or tried last.
func (c *Client) Server() string {
	s, err := c.server()
	if err != nil {
		return c.last.Server
	}
	return s.uri
}

// Dial makes a connection of its own to [Client.Server], for what else than configuration it serves. It is not
// made before it is used, and is the caller's to close. The options are added to those of the configuration's connection.
func (c *Client) Dial(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	s, err := c.server()
	if err != nil {
		return nil, err
	}
	return s.dial(slices.Concat(c.dial, options))
}

func (c *Client) server() (server, error) {
	got := make(chan server, 1)
	if c.mail.post(func(k *core) { got <- *k.link.server() }) {
		select {
		case s := <-got:
			return s, nil
		case <-c.done:
		}
	}
	<-c.done
	return server{}, errClosed
}

// Close unsubscribes from everything, so that the control server deregisters this
// process at once, says goodbye, and waits, at most a second for the server, until
// everything has ended. No sink is called afterwards.
func (c *Client) Close() error {
	c.close.Do(func() { c.mail.post((*core).shutdown) })
	<-c.done
	return nil
}

// A mailbox hands commands to the core, in order. It holds what callers have asked for and the core has not yet taken.
type mailbox struct {
	mu     sync.Mutex
	list   []func(*core)
	closed bool
	signal chan struct{} // has room for one
}

// post reports false when nobody will take the command anymore.
func (m *mailbox) post(f func(*core)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.list = append(m.list, f)
	select {
	case m.signal <- struct{}{}:
	default:
	}
	return true
}

func (m *mailbox) take() []func(*core) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	m.list = nil
	return list
}

func (m *mailbox) shut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.list = true, nil
}

// A watch is one caller's sink.
type watch[T any] struct {
	mu      sync.Mutex // held while sink runs
	stopped bool
	sink    func(*T, error)
}

func (w *watch[T]) tell(v *T, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.sink(v, err)
	}
}

// stop waits for a running sink.
func (w *watch[T]) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
}

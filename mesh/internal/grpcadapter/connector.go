package grpcadapter

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	grpcbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	grpcresolver "google.golang.org/grpc/resolver"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
)

const (
	balancerName  = "weft"
	serviceConfig = `{"loadBalancingConfig":[{"` + balancerName + `":{}}]}`
)

func init() { grpcbalancer.Register(connector{}) }

// A connector builds the one gRPC balancer of the mesh. It has no state: what it
// serves comes with the resolver's attributes.
type connector struct{}

func (connector) Name() string { return balancerName }

func (connector) Build(cc grpcbalancer.ClientConn, o grpcbalancer.BuildOptions) grpcbalancer.Balancer {
	_, ours := o.DialCreds.(transportCredentials)
	ch := &channel{name: rand.Text(), cc: cc, secure: ours, conns: map[string][]*conn{}, all: new(tally)}
	ch.picker.Store(&picker{channel: ch})
	return ch
}

// A channel keeps one connection to each host of a service, for one ClientConn.
// It connects to all of them ahead, and anew whenever a connection ends, at
// gRPC's back-off. A host's connection is never dropped while it is configured;
// one that leaves ends the calls it carries in peace.
type channel struct {
	name   string // as no other channel has
	cc     grpcbalancer.ClientConn
	secure bool // the ClientConn uses our transport credentials, which can meet a cluster's demands
	picker atomic.Pointer[picker]
	closed atomic.Bool
	known  atomic.Bool // owner is set

	retries atomic.Pointer[retries] // see mayRetry
	sight   atomic.Uint32           // see blind

	// Set by the first report of the resolver, before any call can see the channel.
	client  *client
	service *engine.Service

	owner *grpc.ClientConn // under client.mu

	mu    sync.Mutex
	conns map[string][]*conn // by address; more than one if clusters disagree about TLS
	all   *tally             // of conns
	state connectivity.State // as gRPC was told
	told  time.Time
	timer *time.Timer // runs when there is a change gRPC was not told of
	ended bool
}

// A conn is the connection to one address under one demand of TLS.
type conn struct {
	sub  grpcbalancer.SubConn
	tls  *engine.Demand              // nil over plaintext
	made atomic.Pointer[engine.Made] // the newest over TLS
	connecting
	// state is Ready, Connecting or TransientFailure. A connection that has
	// failed stays so until it is Ready: new attempts of it are no reason for calls to wait.
	state   atomic.Uint32
	failure atomic.Pointer[error] // of the last attempt to connect; set before state says so

	tallies []*tally // under channel.mu
	used    bool     // under channel.mu; scratch of update
}

func (n *conn) now() connectivity.State { return connectivity.State(n.state.Load()) }

// count lets t follow the connection's state.
func (n *conn) count(t *tally) {
	n.tallies = append(n.tallies, t)
	t.add(n.now(), 1)
}

// A tally counts connections by their state.
type tally struct{ ready, connecting atomic.Int32 }

func (t *tally) add(s connectivity.State, n int32) {
	switch s {
	case connectivity.Ready:
		t.ready.Add(n)
	case connectivity.Connecting:
		t.connecting.Add(n)
	}
}

// UpdateClientConnState connects to what has come and drops what has left.
func (ch *channel) UpdateClientConnState(s grpcbalancer.ClientConnState) error {
	t, _ := s.ResolverState.Attributes.Value(targetKey{}).(*target)
	if t == nil {
		ch.cc.UpdateState(grpcbalancer.State{ConnectivityState: connectivity.TransientFailure, Picker: failing{errNoTarget}})
		return errNoTarget
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.client == nil {
		ch.client, ch.service = t.client, t.service
	}
	left := ch.update()
	ch.tell()
	// After the new picker is there, so that no call is sent where it is refused.
	for _, n := range left {
		n.sub.Shutdown()
	}
	return nil
}

// update makes the picker of the hosts there are now and returns the connections none of them needs.
func (ch *channel) update() (left []*conn) {
	hosts := ch.service.Hosts()
	old := ch.picker.Load()
	ch.all = new(tally)
	next := &picker{channel: ch, links: make(map[*balancer.Host]link, len(hosts))}
	for _, list := range ch.conns {
		for _, n := range list {
			n.used, n.tallies = false, n.tallies[:0]
		}
	}
	groups := groupsOf(hosts)
	for _, h := range hosts {
		l := link{conn: old.links[h.Host].conn}
		if h.Cluster != nil {
			l.conn = ch.connect(h)
		}
		if l.conn == nil { // of a removed cluster, whose demands are not known any more
			continue
		}
		if h.Cluster != nil {
			l.conn.within(h.Cluster.ConnectTimeout, !l.conn.used)
		}
		if !l.conn.used {
			l.conn.used = true
			l.conn.count(ch.all)
		}
		if g := groups[h.Cluster]; g != nil {
			l.tally = &g.tally
			if g.uses(h) {
				l.conn.count(l.tally)
			}
		}
		next.links[h.Host] = l
	}
	for addr, list := range ch.conns {
		kept := list[:0]
		for _, n := range list {
			if n.used {
				kept = append(kept, n)
			} else {
				n.tallies = nil
				left = append(left, n)
			}
		}
		ch.conns[addr] = kept
		if len(kept) == 0 {
			delete(ch.conns, addr)
		}
	}
	ch.picker.Store(next)
	return left
}

// connect returns the connection to a host, making one if there is none.
func (ch *channel) connect(h engine.Target) *conn {
	addr := h.Addr()
	demand, err := ch.service.TLS(h.Cluster, h.Host)
	if err != nil {
		return broken(err)
	}
	for _, n := range ch.conns[addr] {
		if n.tls.Is(demand) {
			if n.tls.Follow(demand) {
				n.doubt()
			}
			return n
		}
	}
	if demand != nil && !ch.secure {
		return broken(fmt.Errorf("cluster %s demands TLS: the ClientConn must use the transport credentials of the mesh", h.Cluster.Name))
	}
	n := &conn{}
	if demand != nil {
		n.tls = ch.client.engine.Demand(demand)
	}
	n.state.Store(uint32(connectivity.Connecting))
	n.within(h.Cluster.ConnectTimeout, true)
	a := grpcresolver.Address{Addr: addr, Attributes: attributes.New(connKey{}, n)}
	//nolint:staticcheck // what is deprecated is several addresses for one connection
	sub, err := ch.cc.NewSubConn([]grpcresolver.Address{a}, grpcbalancer.NewSubConnOptions{
		StateListener: func(s grpcbalancer.SubConnState) { ch.changed(n, s) },
	})
	if err != nil {
		return broken(err)
	}
	n.sub = sub
	ch.conns[addr] = append(ch.conns[addr], n)
	sub.Connect()
	return n
}

// doubt ends the connection if its server is not believed any more.
func (n *conn) doubt() {
	if made := n.made.Load(); made != nil {
		made.Doubt()
	}
}

// broken is a connection that cannot be made.
func broken(why error) *conn {
	n := new(conn)
	n.state.Store(uint32(connectivity.TransientFailure))
	n.failure.Store(&why)
	return n
}

// changed follows the state of one connection.
func (ch *channel) changed(n *conn, s grpcbalancer.SubConnState) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.ended || !n.used {
		return
	}
	old, next := n.now(), s.ConnectivityState
	switch next {
	case connectivity.Shutdown:
		return
	case connectivity.Idle:
		n.sub.Connect() // gRPC has kept its back-off before it says so
		next = connectivity.Connecting
	case connectivity.TransientFailure:
		n.failure.Store(&s.ConnectionError)
	}
	if old == connectivity.TransientFailure && next == connectivity.Connecting || next == old {
		return
	}
	n.state.Store(uint32(next))
	for _, t := range n.tallies {
		t.add(next, 1)
		t.add(old, -1)
	}
	ch.tellSoon()
}

// pause is the least time between two reports of changed connections to gRPC. Each
// wakes all calls that wait, and a channel of thousands of hosts begins with as many changes.
const pause = 2 * time.Millisecond

// tellSoon reports to gRPC at once what turns the channel as a whole, and the rest after a pause.
func (ch *channel) tellSoon() {
	if ch.total() != ch.state {
		ch.tell()
		return
	}
	if ch.timer != nil {
		return
	}
	wait := pause - time.Since(ch.told)
	if wait <= 0 {
		ch.tell()
		return
	}
	ch.timer = time.AfterFunc(wait, func() {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		if ch.timer != nil && !ch.ended {
			ch.tell()
		}
	})
}

// tell gives gRPC the state and the picker there are now, whereupon calls that wait ask again.
func (ch *channel) tell() {
	if ch.timer != nil {
		ch.timer.Stop()
		ch.timer = nil
	}
	ch.state, ch.told = ch.total(), time.Now()
	ch.cc.UpdateState(grpcbalancer.State{ConnectivityState: ch.state, Picker: ch.picker.Load()})
}

// total is the state of the channel as a whole: Ready if any connection is. A
// channel without hosts is connecting until the service is known, and has failed then.
func (ch *channel) total() connectivity.State {
	switch {
	case ch.all.ready.Load() > 0:
		return connectivity.Ready
	case ch.all.connecting.Load() > 0:
		return connectivity.Connecting
	case ch.service.Value() == nil && ch.service.Err() == nil:
		return connectivity.Connecting
	default:
		return connectivity.TransientFailure
	}
}

// ResolverError does nothing: our resolver reports no errors, the engine does.
func (ch *channel) ResolverError(error) {}

// UpdateSubConnState does nothing: each connection has its listener.
func (ch *channel) UpdateSubConnState(grpcbalancer.SubConn, grpcbalancer.SubConnState) {}

// ExitIdle does nothing: the balancer of an idle channel is closed, and a new one connects.
func (ch *channel) ExitIdle() {}

// Close ends the channel. gRPC closes its connections.
func (ch *channel) Close() {
	ch.mu.Lock()
	ch.ended = true
	if ch.timer != nil {
		ch.timer.Stop()
		ch.timer = nil
	}
	c := ch.client
	ch.mu.Unlock()
	ch.picker.Store(&picker{channel: ch})
	if c != nil {
		c.forget(ch)
	}
}

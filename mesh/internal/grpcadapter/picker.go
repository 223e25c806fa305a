package grpcadapter

import (
	"errors"
	"fmt"

	grpcbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// A picker looks up the connection of the host that the engine has picked. Its
// map is never changed; the states of the connections in it are live.
type picker struct {
	channel *channel
	links   map[*balancer.Host]link
}

// A link is a host's connection and what is known of the others of its cluster.
type link struct {
	conn  *conn
	tally *tally // nil if the cluster was removed
}

// maxMoves is how often a call leaves a host it has not been sent to because
// another one is connected. Once is enough, since the engine avoids what is not
// connected; the bound is for when it has its reasons to pick the host again.
const maxMoves = 3

// Pick is called by gRPC for each attempt, again whenever the picker was
// replaced while the call waits, and once more if gRPC learns that the server
// has not processed what was sent.
func (p *picker) Pick(info grpcbalancer.PickInfo) (grpcbalancer.PickResult, error) {
	t, _ := info.Ctx.Value(tryKey{}).(*try)
	if t == nil {
		return grpcbalancer.PickResult{}, errNoAttempt
	}
	if !p.channel.known.Load() {
		p.channel.client.introduce(p.channel, t.rpc.cc)
	}
	if t.sent.Load() && t.elsewhere {
		return t.refuse(resilience.Refused, errRefused)
	}
	host := t.attempt.Host
	l := p.links[host]
	if l.conn == nil {
		if host.Left() {
			return t.refuse(resilience.HostLeft, errLeft)
		}
		// The report of this host is on its way, and brings a new picker.
		return t.wait()
	}
	state := l.conn.now() // once, as it may change under us
	switch {
	case state == connectivity.Ready:
		t.leave()
		t.cause.Store(uint32(resilience.None))
		if made := l.conn.made.Load(); made != nil {
			t.attempt.ProvedBy(made.Principal())
		}
		return grpcbalancer.PickResult{SubConn: l.conn.sub, Done: t.done}, nil
	case l.tally != nil && l.tally.ready.Load() > 0 && t.rpc.moves.Load() < maxMoves:
		// As a balancer of gRPC's would, which picks among the connected only.
		t.rpc.moves.Add(1)
		return t.refuse(resilience.HostLeft, errMoved)
	case state == connectivity.Connecting:
		return t.wait()
	case l.tally != nil && l.tally.connecting.Load() > 0:
		// Somebody will be connected, or nobody: both bring a new picker.
		return t.wait()
	}
	// No status: of a call that waits for ready gRPC makes this a wait.
	t.cause.Store(uint32(resilience.ConnectFailure))
	return grpcbalancer.PickResult{}, fmt.Errorf("no connection to %s: %w", host.Addr(), *l.conn.failure.Load())
}

// wait lets the call wait for a connection, if not too many do (Envoy max_pending_requests). A call that waits
// until gRPC has a balancer at all is not counted: there is no picker to do it.
func (t *try) wait() (grpcbalancer.PickResult, error) {
	if !t.pending.Load() {
		now, most := t.attempt.InUse()
		if !now.Pending.Enter(most.MaxPending) {
			t.full.Store(true)
			return t.refuse(resilience.Unsent, errFull)
		}
		t.pending.Store(true)
	}
	t.cause.Store(uint32(resilience.None))
	return grpcbalancer.PickResult{}, grpcbalancer.ErrNoSubConnAvailable
}

// leave ends the wait for a connection, if there is one.
func (t *try) leave() {
	if t.pending.Load() && t.pending.Swap(false) {
		now, _ := t.attempt.InUse()
		now.Pending.Leave()
	}
}

// refuse ends the attempt, so that the engine may go elsewhere.
func (t *try) refuse(why resilience.Cause, err error) (grpcbalancer.PickResult, error) {
	t.cause.Store(uint32(why))
	return grpcbalancer.PickResult{}, err
}

// A status ends the RPC, whatever its options.
var (
	errNoAttempt = status.Error(codes.Internal, "mesh: the call did not come through the mesh's interceptor")
	errRefused   = status.Error(codes.Unavailable, "the host did not process the call")
	errLeft      = status.Error(codes.Unavailable, "the host left the configuration")
	errFull      = status.Error(codes.Unavailable, "too many calls wait for a connection")
	errMoved     = status.Error(codes.Unavailable, "the host is not connected, others are")
)

// connected reports whether there is a ready connection to the host.
func (p *picker) connected(h *balancer.Host) bool {
	n := p.links[h].conn
	return n != nil && n.now() == connectivity.Ready
}

// failing is the picker of a ClientConn that the mesh cannot serve.
type failing struct{ err error }

func (f failing) Pick(grpcbalancer.PickInfo) (grpcbalancer.PickResult, error) {
	return grpcbalancer.PickResult{}, f.err
}

var errNoTarget = errors.New("dial options of the mesh serve targets of the form mesh:///name only")

// A group is the hosts of one cluster that may be picked now.
type group struct {
	priority uint32
	tally    tally
}

// groupsOf finds for each cluster the first priority that has hosts which serve.
func groupsOf(hosts []engine.Target) map[*resolver.Cluster]*group {
	groups := map[*resolver.Cluster]*group{}
	for _, h := range hosts {
		if h.Cluster == nil || !h.Endpoint().Serves() {
			continue
		}
		if g := groups[h.Cluster]; g == nil {
			groups[h.Cluster] = &group{priority: h.Endpoint().Priority}
		} else {
			g.priority = min(g.priority, h.Endpoint().Priority)
		}
	}
	return groups
}

func (g *group) uses(h engine.Target) bool {
	return h.Endpoint().Serves() && h.Endpoint().Priority == g.priority
}

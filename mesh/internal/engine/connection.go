package engine

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
)

// A Connection is one that was made to an Inbound, as its listener hands it out. The listener sets the exported fields,
// and tells of its beginning and end by [Inbound.Enter] and [Inbound.Leave].
type Connection struct {
	Peer *identity.Peer // nil over plaintext
	// Local is the connection's own: by the pointer the calls that come on it are told from those on others.
	Local  *net.TCPAddr
	Remote *net.TCPAddr
	// HTTP says that requests will come on it, as far as can be told before: it was agreed on (ALPN), or the first byte is that of a
	// method. Rules of requests decide on these then, and those of connections on others.
	HTTP bool
	// Shut ends the connection at once. It may be called at any time.
	Shut func()
	// Moved counts what was sent either way: by it one who waits sees that nothing is.
	Moved func() uint64

	names   []string     // by which the peer may be revoked: its identity and the serial numbers of its certificates
	kin     bool         // the peer is of this process's own trust domain
	cert    string       // what x-forwarded-client-cert says of the peer
	calls   underway     // that are being served on it
	active  atomic.Int64 // how many these are
	streams atomic.Int64 // of these, those that last as long as the peers like
	since   atomic.Int64 // when it was asked to end, in UnixNano; 0 if it was not
	barred  atomic.Bool  // and not for what it is, but for who the peer is: no call on it may go on
	moved   uint64       // what Moved was when it was last looked at; of the sweep alone
	noted   atomic.Bool  // as one over plaintext that is told of
	used    atomic.Int64 // when the last call came over plaintext, in UnixNano; 0 if none did
}

// Leaving reports whether the connection is to end as soon as its calls have.
func (c *Connection) Leaving() bool { return c != nil && c.since.Load() != 0 }

// begin counts a call in.
func (c *Connection) begin(stream bool) {
	c.active.Add(1)
	if !c.Peer.Secure() {
		c.used.Store(time.Now().UnixNano())
	}
	if stream {
		c.streams.Add(1)
	}
}

// end counts it out.
func (c *Connection) end(stream bool) {
	if stream {
		c.streams.Add(-1)
	}
	c.active.Add(-1)
}

// inUse is when a plaintext connection was last used. One that carries no calls is in use as long as it lasts.
func (c *Connection) inUse(now time.Time) time.Time {
	used := c.used.Load()
	if used == 0 || c.active.Load() > 0 {
		return now
	}
	return time.Unix(0, used)
}

const (
	// lingering is how long a connection that may not be there any more may take to become quiet. Calls on it that are
	// no streams may take longest.
	lingering = time.Second
	longest   = 30 * time.Second
	// farewell is how long one may take that is barred, for who called to learn it.
	farewell = 250 * time.Millisecond
	// glance is how often that is looked at. A connection without calls on which nothing was sent meanwhile is quiet.
	glance = 50 * time.Millisecond
)

// expired reports whether no new call is to be taken on the connection.
func (c *Connection) expired() bool {
	since := c.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= lingering
}

// dismiss asks the connection to end.
func (c *Connection) dismiss(now time.Time) {
	if c.since.Load() == 0 {
		c.moved = c.Moved()
		c.since.Store(now.UnixNano())
	}
}

// overdue reports whether a connection that was asked to end has to. It is asked once a glance.
func (c *Connection) overdue(now time.Time) bool {
	waited := now.Sub(time.Unix(0, c.since.Load()))
	calls, moved := c.active.Load(), c.Moved()
	quiet := calls == 0 && moved == c.moved
	c.moved = moved
	switch {
	case c.barred.Load():
		return quiet || waited >= farewell
	case c.streams.Load() == calls:
		return quiet || waited >= lingering
	}
	return quiet || waited >= longest
}

// describe notes what does not change as long as the connection lasts. own is the identity of this process, which may be zero.
func (c *Connection) describe(own spiffeid.ID) {
	if !c.Peer.Secure() {
		return
	}
	c.kin = !c.Peer.ID.IsZero() && c.Peer.ID.MemberOf(own.TrustDomain())
	c.cert = forwarded(own, c.Peer)
	c.names = namesIn(c.Peer.ID, c.Peer.Certificates)
}

// namesIn are the names by which a peer may be revoked.
func namesIn(id spiffeid.ID, shown []*x509.Certificate) (names []string) {
	if !id.IsZero() {
		names = append(names, id.String())
	}
	for _, c := range shown {
		names = append(names, identity.Serial(c.SerialNumber))
	}
	return names
}

// forwarded is the element of x-forwarded-client-cert of a verified peer (Envoy, set_current_client_cert_details of subject and
// uri).
func forwarded(own spiffeid.ID, p *identity.Peer) string {
	leaf := p.Certificates[0]
	sum := sha256.Sum256(leaf.Raw)
	var b strings.Builder
	if !own.IsZero() {
		b.WriteString("By=" + own.String() + ";")
	}
	b.WriteString("Hash=" + hex.EncodeToString(sum[:]))
	b.WriteString(`;Subject="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable(leaf.Subject.String())) + `"`)
	if !p.ID.IsZero() {
		b.WriteString(";URI=" + p.ID.String())
	}
	return b.String()
}

// printable is s without what a header can't carry.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// request is the connection as rules see it before anything was asked on it.
func (c *Connection) request() *identity.Request {
	return &identity.Request{Connection: true, Peer: c.Peer, Source: addrPort(c.Remote), Local: addrPort(c.Local)}
}

// addrPort is a, as rules compare it: IPv4 is IPv4, and there are no zones.
func addrPort(a *net.TCPAddr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	return plainAddr(a.AddrPort())
}

func plainAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// ownID is who this process is; zero if it does not know.
func (e *Engine) ownID() spiffeid.ID {
	if e.config.Source == nil {
		return spiffeid.ID{}
	}
	svid, err := e.config.Source.GetX509SVID()
	if err != nil || svid == nil {
		return spiffeid.ID{}
	}
	return svid.ID
}

// connections are those that came in by one door.
type connections struct {
	all   sync.Map // *net.TCPAddr -> *Connection
	state atomic.Int64
}

// shutDoor is added to the state, which is how many connections there are, when there will be no others.
const shutDoor = 1 << 62

func (s *connections) add(c *Connection) {
	s.state.Add(1)
	s.all.Store(c.Local, c)
}

// remove takes a connection out. The last one, once the door is shut, calls last.
func (s *connections) remove(c *Connection, last func()) {
	if _, was := s.all.LoadAndDelete(c.Local); was && s.state.Add(-1) == shutDoor {
		last()
	}
}

// close says that the door is shut, and calls last if there is no connection.
func (s *connections) close(last func()) {
	if s.state.Load() < shutDoor && s.state.Add(shutDoor) == shutDoor {
		last()
	}
}

// of is the connection whose own address that is; nil if there is none.
func (s *connections) of(local net.Addr) *Connection {
	a, ok := local.(*net.TCPAddr)
	if !ok || s.state.Load() == 0 {
		return nil
	}
	if c, ok := s.all.Load(a); ok {
		return c.(*Connection)
	}
	return nil
}

func (s *connections) each(do func(*Connection)) {
	s.all.Range(func(_, c any) bool {
		do(c.(*Connection))
		return true
	})
}

package tcpadapter

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
)

const (
	// handshakeTime is how long a connection may take to say who it is, its first byte included.
	handshakeTime = 10 * time.Second
	// firstWord is how long one may be silent where it may speak TLS or not. Who speaks TLS speaks first, so who does
	// not is taken for plaintext then: the server may have to begin, as it does in some protocols.
	firstWord = 3 * time.Second
	// mostWaiting bounds the connections of a process that have not said who they are. Beyond it the oldest goes.
	mostWaiting = 2048
	// mostPending bounds all that a listener has accepted and not handed out. Beyond it others wait in the system's queue.
	mostPending = 2 * mostWaiting
	// handshakeRecord is the first byte of TLS (RFC 8446, 5.1).
	handshakeRecord = 0x16
)

// A Lobby is where the connections of a process wait until they have said who they are. The zero Lobby is empty.
type Lobby struct {
	mu      sync.Mutex
	waiting map[*accepted]uint64
	came    uint64
}

// enter lets a connection wait, and returns the one that has to go for it; nil if there is room.
func (l *Lobby) enter(c *accepted) (out *accepted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[*accepted]uint64{}
	}
	if len(l.waiting) >= mostWaiting {
		out = c
		for other, came := range l.waiting {
			if out == c || came < l.waiting[out] {
				out = other
			}
		}
		delete(l.waiting, out)
	}
	l.came++
	l.waiting[c] = l.came
	return out
}

func (l *Lobby) leave(c *accepted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, c)
}

// A Listener lets connections in as its Inbound demands: over mutual TLS, plaintext, or either, which it tells by the first byte.
// What it demands is asked anew for each connection. Accept returns *tls.Conn for those over TLS, whose handshake is done.
// Until that is so, and until the Inbound knows what it demands, connections wait, and others do not wait for them.
type Listener struct {
	net.Listener
	inbound *engine.Inbound
	lobby   *Lobby
	patience

	asked   chan struct{} // closed by the first Accept
	asking  sync.Once
	spoil   sync.Once
	corrupt tls.Certificate // see spoiled
	web     bool            // who accepts serves requests; set before asked is closed
	slots   chan struct{}   // of connections that were not handed out yet
	ready   chan net.Conn
	failed  chan struct{} // closed when the listener beneath accepts no more; err says why
	err     error
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	once    sync.Once
}

// A patience is for how long connections may be silent.
type patience struct{ handshake, firstWord time.Duration }

// NewListener lets in what ln accepts. Closing it closes ln, and what waits.
func NewListener(ln net.Listener, in *engine.Inbound, lobby *Lobby) *Listener {
	return newListener(ln, in, lobby, patience{handshakeTime, firstWord})
}

func newListener(ln net.Listener, in *engine.Inbound, lobby *Lobby, p patience) *Listener {
	l := &Listener{Listener: ln, inbound: in, lobby: lobby, patience: p, asked: make(chan struct{}), slots: make(chan struct{}, mostPending), ready: make(chan net.Conn), failed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.running.Go(l.run)
	return l
}

// Accept returns the next connection that is let in.
func (l *Listener) Accept() (net.Conn, error) {
	l.asking.Do(func() {
		l.web = servesRequests()
		close(l.asked)
	})
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.failed:
		return nil, l.err
	}
}

// Close accepts no more, and waits until those that waited are closed.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		err = l.Listener.Close()
		l.cancel()
		l.running.Wait()
	})
	return err
}

func (l *Listener) run() {
	defer close(l.failed)
	if !l.inbound.Trusting() {
		select {
		case <-l.inbound.Known():
		case <-l.ctx.Done():
			l.err = net.ErrClosed
			return
		}
	}
	for wait := time.Duration(0); ; {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			l.err = net.ErrClosed
			return
		}
		raw, err := l.Listener.Accept()
		if err != nil {
			if passing(err) && l.pause(&wait) {
				<-l.slots
				continue
			}
			l.err = err
			return
		}
		wait = 0
		c := newAccepted(raw.(*net.TCPConn), l.inbound)
		if out := l.lobby.enter(c); out != nil {
			out.turn(engine.Crowded, nil)
		}
		l.running.Go(func() { l.admit(c) })
	}
}

// passing reports that an Accept failed for want of something that others give back, such as file descriptors.
func passing(err error) bool {
	var e interface{ Temporary() bool }
	return errors.As(err, &e) && e.Temporary()
}

// pause waits before another try, longer each time, as net/http does.
func (l *Listener) pause(wait *time.Duration) bool {
	*wait = min(max(2**wait, 5*time.Millisecond), time.Second)
	select {
	case <-time.After(*wait):
		return true
	case <-l.ctx.Done():
		return false
	}
}

// admit finds out who c is and hands it out if it may come in.
func (l *Listener) admit(c *accepted) {
	defer func() { <-l.slots }()
	conn, why := l.greet(c)
	l.lobby.leave(c)
	if why != engine.Welcome {
		c.turn(why, c.failure)
		return
	}
	select {
	case l.ready <- conn:
	case <-l.ctx.Done():
		conn.Close()
	case <-l.failed:
		conn.Close()
	}
}

// greet takes the steps from a connection to a peer.
func (l *Listener) greet(c *accepted) (net.Conn, engine.Unwelcome) {
	ctx, cancel := context.WithTimeout(l.ctx, l.handshake)
	defer cancel()
	unblock := context.AfterFunc(l.ctx, func() { _ = c.TCPConn.Close() })
	defer unblock()
	door := l.inbound.Door()
	if door.Closed != nil {
		return nil, engine.ClosedDoor
	}
	if door.TLS != nil || door.Tells {
		secure, why := l.look(c, door.Mode)
		switch {
		case why != engine.Welcome:
			return nil, why
		case secure && door.TLS != nil:
			return l.shake(ctx, c, door.TLS)
		}
	}
	c.watchful = door.TLS != nil
	return l.enter(ctx, c, c)
}

// look reads the first byte, and puts it back.
func (l *Listener) look(c *accepted, mode identity.Mode) (secure bool, why engine.Unwelcome) {
	wait := l.handshake
	if mode != identity.Strict {
		wait = l.firstWord
	}
	switch first, err := c.peek(time.Now().Add(wait)); {
	case err == nil && first == handshakeRecord:
		return true, engine.Welcome
	case err == nil && mode == identity.Strict:
		return false, engine.Plaintext
	case err == nil:
		c.known.HTTP = 'A' <= first && first <= 'Z'
		return false, engine.Welcome
	case timedOut(err) && mode != identity.Strict:
		// It is still to say something, or to be spoken to, in its time.
		c.hurry(l.handshake - l.firstWord)
		return false, engine.Welcome
	case timedOut(err):
		return false, engine.Silent
	}
	return false, engine.Gone
}

func (l *Listener) shake(ctx context.Context, c *accepted, conf *tls.Config) (net.Conn, engine.Unwelcome) {
	if l.inbound.Spoils() {
		conf = l.spoiled(conf)
	}
	conn := tls.Server(c, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, engine.Silent
		}
		c.failure = err
		return nil, engine.Unproved
	}
	peer, err := identity.PeerOf(conn.ConnectionState())
	if err != nil || !peer.Secure() || peer.ID.IsZero() {
		return nil, engine.Unproved
	}
	c.known.Peer, c.known.HTTP = peer, peer.Protocol == "h2" || peer.Protocol == "http/1.1"
	return l.enter(ctx, c, conn)
}

// enter registers the connection with the Inbound, as out.
func (l *Listener) enter(ctx context.Context, c *accepted, out net.Conn) (net.Conn, engine.Unwelcome) {
	if c.known.HTTP {
		// It looks like HTTP. But if its server speaks something else, nobody would ask rules of requests about what it says.
		select {
		case <-l.asked:
			c.known.HTTP = l.web
		case <-ctx.Done():
			return nil, engine.Silent
		}
	}
	if why := l.inbound.Enter(ctx, &c.known); why != engine.Welcome {
		return nil, why
	}
	c.entered.Store(true)
	if c.closed.Load() { // meanwhile
		c.leave()
		return nil, engine.Gone
	}
	return out, engine.Welcome
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// PeerOf is who is on the other side of a connection that a Listener accepted; nil if that was not proved.
func PeerOf(conn net.Conn) *identity.Peer {
	for {
		switch c := conn.(type) {
		case *accepted:
			return c.known.Peer
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

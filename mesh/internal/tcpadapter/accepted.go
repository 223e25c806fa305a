package tcpadapter

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
)

// accepted is a connection that a Listener has accepted. It counts what is sent, gives back the byte that was looked at,
// and says when it is closed. All else is the connection's own, half-close included.
type accepted struct {
	*net.TCPConn
	inbound *engine.Inbound
	known   engine.Connection

	first    byte
	peeked   bool  // first is still to be read; of the reader alone
	watchful bool  // TLS must not begin on it; until the first byte came
	failure  error // of the handshake; of who admits it alone
	moved    atomic.Uint64
	timer    atomic.Pointer[time.Timer] // ends it unless something is sent

	entered atomic.Bool
	closed  atomic.Bool
	turned  atomic.Bool
	left    atomic.Bool
}

func newAccepted(c *net.TCPConn, in *engine.Inbound) *accepted {
	a := &accepted{TCPConn: c, inbound: in}
	local, _ := c.LocalAddr().(*net.TCPAddr)
	remote, _ := c.RemoteAddr().(*net.TCPAddr)
	a.known = engine.Connection{Local: local, Remote: remote, Shut: func() { _ = a.Close() }, Moved: a.moved.Load}
	return a
}

// peek waits for the first byte, which is read again.
func (a *accepted) peek(until time.Time) (byte, error) {
	if err := a.SetReadDeadline(until); err != nil {
		return 0, err
	}
	var one [1]byte
	if _, err := io.ReadFull(a.TCPConn, one[:]); err != nil {
		_ = a.SetReadDeadline(time.Time{}) // it fails where the connection is closed, which Read will tell
		return 0, err
	}
	a.first, a.peeked = one[0], true
	return a.first, a.SetReadDeadline(time.Time{})
}

// hurry closes the connection unless something is sent either way in that time.
func (a *accepted) hurry(d time.Duration) {
	a.timer.Store(time.AfterFunc(d, func() {
		if a.moved.Load() == 0 {
			a.turn(engine.Silent, nil)
		}
	}))
}

// moves notes that something was sent.
func (a *accepted) moves() {
	if a.moved.Add(1) == 1 {
		if t := a.timer.Swap(nil); t != nil {
			t.Stop()
		}
	}
}

// turn closes a connection that is not let in, and counts why, once. err says more of it, or is nil.
func (a *accepted) turn(why engine.Unwelcome, err error) {
	if !a.turned.Swap(true) {
		a.inbound.Turn(why, a.known.Remote, err)
	}
	_ = a.Close() // there is nobody to be told
}

var errEncrypted = errors.New("TLS on a connection that is to be plaintext")

func (a *accepted) Read(p []byte) (int, error) {
	if a.peeked && len(p) > 0 {
		a.peeked, p[0] = false, a.first
		a.watchful = false
		a.moves()
		return 1, nil
	}
	n, err := a.TCPConn.Read(p)
	if n > 0 {
		if a.watchful {
			if a.watchful = false; p[0] == handshakeRecord {
				a.turn(engine.Encrypted, nil)
				return 0, errEncrypted
			}
		}
		a.moves()
	}
	return n, err
}

func (a *accepted) Write(p []byte) (int, error) {
	n, err := a.TCPConn.Write(p)
	if n > 0 {
		a.moves()
	}
	return n, err
}

// ReadFrom lets the system copy.
func (a *accepted) ReadFrom(r io.Reader) (int64, error) {
	a.moves()
	n, err := a.TCPConn.ReadFrom(r)
	a.moves()
	return n, err
}

// WriteTo lets the system copy, but for what was looked at.
func (a *accepted) WriteTo(w io.Writer) (int64, error) {
	var began int64
	for a.peeked || a.watchful {
		var few [512]byte
		n, err := a.Read(few[:])
		if n > 0 {
			m, werr := w.Write(few[:n])
			began += int64(m)
			if werr != nil {
				return began, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return began, nil
		}
		if err != nil {
			return began, err
		}
	}
	n, err := a.TCPConn.WriteTo(w)
	a.moves()
	return began + n, err
}

func (a *accepted) Close() error {
	err := a.TCPConn.Close()
	a.closed.Store(true)
	if t := a.timer.Swap(nil); t != nil {
		t.Stop()
	}
	if a.entered.Load() {
		a.leave()
	}
	return err
}

func (a *accepted) leave() {
	if !a.left.Swap(true) {
		a.inbound.Leave(&a.known)
	}
}

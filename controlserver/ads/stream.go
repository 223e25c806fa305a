package ads

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A stream is one client. One goroutine receives for as long as the stream
// lives; another sends for as long as there is something to send.
type stream struct {
	server   *Server
	grpc     grpc.ServerStream
	id       uint64
	protocol Protocol
	peer     netip.AddrPort
	identity Identity
	since    time.Time

	opened chan struct{} // closed when the node is known
	over   chan struct{} // closed when the stream is to end, or has

	turn sync.Mutex // of what the observer is told; held while it is
	gone bool       // the observer was told that the stream is over

	gate    sync.Mutex // never held for long, so that a publication waits for nobody
	ended   bool
	err     error // what the client is told at the end
	sending bool  // the sending goroutine lives
	pending bool  // and must look once more

	mu          sync.Mutex
	node        *Node
	publication *publication // that the client has, or is being sent
	snapshot    Snapshot
	returning   bool // it brings resources from an earlier stream
	subs        [kinds]subscription
	nonces      uint64
	active      time.Time // last request, or last message but removals
	goneSince   time.Time // zero if nothing waits to be removed
	timer       *time.Timer
	unknown     map[string]bool // type URLs that were logged
	telling     bool            // the observer is being told what the client took

	watchdog *time.Timer // of the sending goroutine
}

// serve runs the stream. It returns when the stream is over.
func (st *stream) serve() error {
	go st.receive() // counted in tasks since admit
	first := time.NewTimer(st.server.limits.FirstRequest)
	defer first.Stop()
	select {
	case <-st.opened:
	case <-st.over:
	case <-first.C:
		st.end(status.Errorf(codes.DeadlineExceeded, "no request within %v", st.server.limits.FirstRequest))
	}
	if until := st.identity.Until; !until.IsZero() {
		outlived := time.AfterFunc(time.Until(until), func() { st.end(errOutlived) })
		defer outlived.Stop()
	}
	<-st.over
	return st.err
}

var errOutlived = status.Error(codes.Unauthenticated, "the certificate of this connection has expired; connect again with the new one")

// end ends the stream, once: the client is told err, nil meaning OK.
func (st *stream) end(err error) {
	st.gate.Lock()
	defer st.gate.Unlock()
	if !st.ended {
		st.ended, st.err = true, err
		close(st.over)
	}
}

// receive takes requests until the client leaves or the stream is over, and
// tells the observer. It calls the observer from one goroutine.
func (st *stream) receive() {
	defer st.server.forget(st)
	err := st.guard(st.requests)
	clean := errors.Is(err, io.EOF)
	if clean {
		err = nil
	}
	st.end(err)
	st.stop()
	select {
	case <-st.opened:
		st.end(st.guard(func() error {
			st.observe(func(o Observer) { st.gone = true; o.StreamClosed(st.id, clean) })
			return nil
		}))
	default:
	}
}

// guard turns a panic into an error that ends this stream only.
func (st *stream) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			st.log().Error("panic in an ADS stream", "panic", p, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error; the server's log has it")
		}
	}()
	return f()
}

func (st *stream) requests() error {
	if st.protocol == StateOfTheWorld {
		var req discoveryv3.DiscoveryRequest
		for {
			if err := st.grpc.RecvMsg(&req); err != nil {
				return err
			}
			if err := st.open(req.GetNode()); err != nil {
				return err
			}
			if err := st.sotw(&req); err != nil {
				return err
			}
		}
	}
	var req discoveryv3.DeltaDiscoveryRequest
	for {
		if err := st.grpc.RecvMsg(&req); err != nil {
			return err
		}
		if err := st.open(req.GetNode()); err != nil {
			return err
		}
		if err := st.delta(&req); err != nil {
			return err
		}
	}
}

// health passes on what a client says of itself.
func (st *stream) health(detail *rpcstatus.Status) {
	st.observe(func(o Observer) { o.Health(st.id, detail == nil, detail.GetMessage()) })
}

// other takes a request of a type that is no resource's.
func (st *stream) other(typeURL string, detail *rpcstatus.Status) error {
	switch typeURL {
	case "":
		return invalid("type_url: empty")
	case HealthType:
		st.health(detail)
	default:
		st.ignore(typeURL)
	}
	return nil
}

// ignore notes a type the server does not serve, once.
func (st *stream) ignore(typeURL string) {
	const most = 16
	if len(st.unknown) < most && !st.unknown[typeURL] {
		if st.unknown == nil {
			st.unknown = make(map[string]bool)
		}
		st.unknown[typeURL] = true
		st.log().Info("subscription to a type that is not served", "type", typeURL)
	}
}

// settle takes the answer to a response and returns what the client took of it, which the observer is to be told.
func (st *stream) settle(s *subscription, nonce string, detail *rpcstatus.Status) []*Resource {
	took, refused := s.ledger.settle(nonce, detail != nil, detail.GetMessage(), time.Now())
	for _, f := range refused {
		st.log().Warn("client refuses a resource", "type", shortType(s.kind.url()), "resource", f.Resource, "version", f.Version, "error", f.Error)
	}
	st.telling = len(took) > 0
	return took
}

// kick makes the stream look whether its client must be told something.
func (st *stream) kick() {
	st.gate.Lock()
	defer st.gate.Unlock()
	st.pending = true
	if st.ended || st.sending {
		return
	}
	st.sending = true
	st.server.tasks.Go(st.send)
}

// proceed reports whether to look again; if not, the sending goroutine is done.
func (st *stream) proceed() bool {
	st.gate.Lock()
	defer st.gate.Unlock()
	st.sending = st.pending && !st.ended
	st.pending = false
	return st.sending
}

func (st *stream) idle() bool {
	st.gate.Lock()
	defer st.gate.Unlock()
	return st.ended || !st.sending && !st.pending
}

// send brings the client up to date and returns when there is nothing more to say.
func (st *stream) send() {
	err := st.guard(func() error {
		for st.proceed() {
			messages, brought := st.update(time.Now())
			st.took(brought)
			for _, m := range messages {
				if err := st.transmit(m); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		st.end(err)
	}
	st.server.poke()
}

// transmit blocks until the client has room for the message.
func (st *stream) transmit(m message) error {
	f, err := newFrame(m.response, m.nonce)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	limit := st.server.limits.Send
	if st.watchdog == nil {
		st.watchdog = time.AfterFunc(limit, func() {
			st.end(status.Errorf(codes.ResourceExhausted, "the client made no room for a message within %v", limit))
		})
	} else {
		st.watchdog.Reset(limit)
	}
	defer st.watchdog.Stop()
	return st.grpc.SendMsg(f)
}

// stop stops the timer when the stream is over.
func (st *stream) stop() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.timer != nil {
		st.timer.Stop()
	}
}

// settled reports whether the client has, and has answered for, all of p, or is not there any more.
func (st *stream) settled(p *publication) bool {
	select {
	case <-st.over:
		return true
	default:
	}
	if !st.idle() {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.node == nil {
		return true
	}
	if st.publication != p {
		return false
	}
	for k := range st.subs {
		s := &st.subs[k]
		if st.telling || len(s.ledger.waiting) > 0 || len(s.gone) > 0 && !st.withheld(s) {
			return false
		}
	}
	return true
}

// log names the stream in every line.
func (st *stream) log() *slog.Logger {
	l := st.server.log.With("stream", st.id)
	if st.node != nil { // written once, before anything is sent
		l = l.With("node", st.node.ID)
	}
	return l
}

// open takes the node of the first request; it does nothing later.
func (st *stream) open(p *corev3.Node) error {
	if st.node != nil { // only this goroutine writes it
		return nil
	}
	if err := st.server.limits.checkNode(p); err != nil {
		return err
	}
	n := newNode(p, st.peer)
	n.Identity, n.Serial = st.identity.ID, st.identity.Serial
	if admits := st.server.admits; admits != nil {
		if err := admits(n); err != nil {
			return err
		}
	}
	st.mu.Lock()
	st.node = n
	for k := range st.subs {
		st.subs[k].kind = kind(k)
	}
	st.mu.Unlock()
	st.observe(func(o Observer) { o.StreamOpened(st.id, n) })
	close(st.opened)
	return nil
}

// watch tells the observer what the client subscribed to.
func (st *stream) watch(k kind, added, removed []string) {
	st.observe(func(o Observer) {
		if len(added) > 0 {
			o.Subscribed(st.id, k.url(), added)
		}
		if len(removed) > 0 {
			o.Unsubscribed(st.id, k.url(), removed)
		}
	})
}

// took tells the observer what the client uses from now on.
func (st *stream) took(resources []*Resource) {
	if len(resources) > 0 {
		st.observe(func(o Observer) { o.Took(st.id, resources) })
	}
}

// answered is took for what settle returned.
func (st *stream) answered(took []*Resource) {
	if len(took) == 0 {
		return
	}
	st.took(took)
	st.mu.Lock()
	st.telling = false
	st.mu.Unlock()
}

// observe tells the observer something, unless it was told that the stream is over. Both goroutines do.
func (st *stream) observe(tell func(Observer)) {
	o := st.server.observer
	if o == nil {
		return
	}
	st.turn.Lock()
	defer st.turn.Unlock()
	if !st.gone {
		tell(o)
	}
}

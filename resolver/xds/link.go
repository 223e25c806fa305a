package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// Reconnecting (gRFC A57).
	firstBackoff  = time.Second
	mostBackoff   = 2 * time.Minute
	backoffFactor = 1.6
	backoffJitter = 0.2

	// timeToAnswer is how long a server may leave a resource unanswered (gRFC A57),
	// and where that counts as its failure (gRFC A88).
	timeToAnswer          = 15 * time.Second
	timeToAnswerTransient = 30 * time.Second

	// goodbye bounds the wait for the server to end the stream that we ended.
	goodbye = time.Second
)

// A link is the one connection to the control plane, and when to try the next one.
type link struct {
	servers []server
	index   int          // the server in use, or to be tried next
	sotw    map[int]bool // servers that have no delta; for the life of the client

	stream    *stream // nil between attempts
	events    chan event
	responses chan *response

	since   time.Time // when the state was entered
	retryAt time.Time // not to be tried before
	backoff time.Duration
	tried   []string // why the servers of this round could not be used
	err     error    // why there is no connection; nil from the first response on
	told    string   // the err that was logged last
	log     *slog.Logger
}

// An event is what a stream has to say but responses: it is up, has sent a
// request, or is over. Over is its last.
type event struct {
	up   bool
	sent *request
	err  error
}

func newLink(c *Client) link {
	return link{
		servers:   c.bootstrap.servers,
		sotw:      make(map[int]bool),
		events:    make(chan event),
		responses: make(chan *response),
		since:     time.Now(),
		log:       c.log,
	}
}

func (l *link) server() *server { return &l.servers[l.index] }

func (l *link) patience() time.Duration {
	if l.server().features.timerTransient {
		return timeToAnswerTransient
	}
	return timeToAnswer
}

func (l *link) state() string {
	switch {
	case l.stream != nil && l.stream.up:
		return "connected"
	case l.stream != nil:
		return "connecting"
	case !l.retryAt.IsZero():
		return "waiting"
	}
	return "idle"
}

// needed says that there is something to ask or to tell.
func (c *core) needed() bool {
	if len(c.services)+len(c.inbounds)+len(c.secrets)+len(c.waiters) > 0 || c.health.bad() {
		return true
	}
	for k := range c.subs {
		if len(c.subs[k].touched) > 0 || c.subs[k].ack != nil {
			return true
		}
	}
	return false
}

// connect begins an attempt if one is due, and returns when the next one is.
func (c *core) connect(now time.Time) time.Time {
	l := &c.link
	if l.stream != nil || c.closing || !c.needed() {
		return time.Time{}
	}
	if l.retryAt.After(now) {
		return l.retryAt
	}
	delta := !l.server().features.sotw && !l.sotw[l.index]
	ctx, cancel := context.WithCancel(context.Background())
	l.stream = &stream{
		ctx: ctx, cancel: cancel,
		server: *l.server(), delta: delta, node: c.client.node, dial: c.client.dial,
		out: make(chan *request), events: l.events, in: l.responses,
		started: now,
	}
	l.since, l.retryAt = now, time.Time{}
	go l.stream.run()
	return time.Time{}
}

// opened begins the conversation: all that is wanted is asked for.
func (c *core) opened() {
	st := c.link.stream
	st.up = true
	c.link.since = time.Now()
	for k := range c.subs {
		c.subs[k].reset()
	}
	c.health.pending = c.health.bad()
	if c.closing {
		st.cancel()
	}
}

// responded notes that the server is one that answers.
func (l *link) responded() {
	l.stream.responses++
	if l.stream.responses > 1 {
		return
	}
	l.backoff, l.tried, l.err = 0, nil, nil
	if l.told != "" {
		l.told = ""
		l.log.Info("xds: control server answers again", "server", l.server().uri)
	}
}

// broke plans the next attempt after a stream is over.
func (c *core) broke(err error) {
	l, now := &c.link, time.Now()
	st := l.stream
	l.stream, l.since, c.waits = nil, now, nil
	for k := range c.subs {
		c.subs[k].reset()
	}
	code := status.Code(err)
	switch {
	case c.closing:
	case st.finished, !st.greeted && !c.needed():
		// Nothing was wanted anymore, or yet.
		l.retryAt = time.Time{}
		if !st.finished {
			l.retryAt = st.started.Add(firstBackoff)
		}
	case st.delta && st.responses == 0 && code == codes.Unimplemented:
		l.sotw[l.index] = true
		l.retryAt = now
		c.restart()
		l.log.Info("xds: control server has no delta protocol; using state-of-the-world", "server", l.server().uri)
	case st.responses > 0 && code != codes.ResourceExhausted:
		// The server was well: at once, but not faster than it can be meant (gRFC A57).
		l.log.Info("xds: stream to the control server ended", "server", l.server().uri, "reason", reason(err))
		l.retryAt = st.started.Add(firstBackoff)
		l.move(0, c)
	default:
		c.unreachable(err, now)
	}
}

// unreachable goes to the next server, or waits when all were tried.
func (c *core) unreachable(err error, now time.Time) {
	l := &c.link
	verb := "unreachable"
	if code := status.Code(err); code != codes.Unavailable && code != codes.Unknown {
		verb = "refuses to talk"
	}
	l.tried = append(l.tried, fmt.Sprintf("control server %s %s: %s", l.server().uri, verb, reason(err)))
	if len(l.tried) < len(l.servers) {
		l.log.Warn("xds: "+l.tried[len(l.tried)-1]+"; trying the next", "next", l.servers[(l.index+1)%len(l.servers)].uri)
		l.move((l.index+1)%len(l.servers), c)
		l.retryAt = now
		return
	}
	l.err = errors.New(strings.Join(l.tried, ", "))
	l.tried = nil
	if l.backoff = min(time.Duration(float64(l.backoff)*backoffFactor), mostBackoff); l.backoff == 0 {
		l.backoff = firstBackoff
	}
	l.retryAt = now.Add(jittered(l.backoff))
	if l.told != l.err.Error() {
		l.told = l.err.Error()
		l.log.Warn("xds: "+l.told+"; what is known stays in use", "retry", l.retryAt.Sub(now).Round(time.Millisecond))
	}
	l.move(0, c)
	for _, s := range c.services {
		s.unreachable(l.err)
	}
}

// move makes another server the one to try. Its versions are not the last one's.
func (l *link) move(to int, c *core) {
	if l.index != to {
		l.index = to
		c.restart()
	}
}

func (c *core) restart() {
	for k := range c.subs {
		c.subs[k].version = ""
		for _, r := range c.subs[k].resources {
			r.origin = -1
		}
	}
}

func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + backoffJitter*(2*rand.Float64()-1)))
}

// unreachable tells who has nothing yet why; the others go on with what they have
// (gRFC A57).
func (s *service) unreachable(err error) {
	if s.answered || s.err != nil && s.err.Error() == err.Error() {
		return
	}
	s.err = err
	s.tell(nil, err)
}

// finish ends a stream that has no more use, and returns when to stop being polite.
func (c *core) finish(now time.Time) time.Time {
	st := c.link.stream
	if st == nil {
		return time.Time{}
	}
	if !st.closeBy.IsZero() && !st.closeBy.After(now) {
		st.cancel()
		return time.Time{}
	}
	if st.up && !st.finished && (c.closing || st.greeted && !c.needed()) && c.next(now) == nil {
		st.finished = true
		close(st.out)
		if st.closeBy.IsZero() {
			st.closeBy = now.Add(goodbye)
		}
	}
	return st.closeBy
}

// reason is the part of a gRPC error that a person wants to read.
func reason(err error) string {
	s := status.Convert(err)
	text := s.Message()
	if err == nil || text == "EOF" {
		return "the server ended the stream"
	}
	for _, prefix := range []string{"last connection error: ", "connection error: desc = "} {
		if _, after, ok := strings.Cut(text, prefix); ok {
			text = after
		}
	}
	text = strings.Trim(text, `"`)
	for _, prefix := range []string{"transport: Error while dialing: ", "transport: authentication handshake failed: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	if strings.HasPrefix(text, "dial ") {
		if _, after, ok := strings.Cut(text, ": "); ok {
			text = strings.TrimPrefix(after, "connect: ")
		}
	}
	if c := s.Code(); c != codes.Unavailable && c != codes.Unknown {
		text = c.String() + ": " + text
	}
	if strings.HasPrefix(text, "error reading server preface") {
		text += " (it is none, or wants TLS, for which this process needs an identity)"
	}
	return text
}

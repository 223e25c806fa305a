package ads

import (
	"strconv"
	"time"
)

const (
	// linger is how long a client must have been quiet, after it took everything
	// new, before it is told what is gone: it may be about to ask for more, and
	// then drops the old by itself.
	linger = 100 * time.Millisecond
	// patience ends the wait for a client that does not answer.
	patience = 5 * time.Second
)

// A message is a response with its nonce.
type message struct {
	*response
	nonce string
}

// update returns what must be sent to bring the client to the newest snapshot,
// in order, and what it has brought of that from an earlier stream.
func (st *stream) update(now time.Time) (out []message, brought []*Resource) {
	p := st.server.published.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	if p == nil || st.node == nil {
		return nil, nil
	}
	if wait := st.server.warm.Sub(now); st.returning && wait > 0 {
		st.later(wait)
		return nil, nil
	}
	next := st.snapshot
	if p != st.publication {
		if v := p.view(st.node); v != nil {
			next = v
		}
		st.publication = p
	}
	if next == nil {
		return nil, nil
	}
	add := func(s *subscription, r *response) {
		st.nonces++
		m := message{p.shelf.share(r), strconv.FormatUint(st.nonces, 36)}
		s.nonce = m.nonce
		s.ledger.note(m.nonce, m.response)
		out = append(out, m)
	}
	for k := range st.subs {
		s := &st.subs[k]
		if !s.requested {
			continue
		}
		returns := s.initial != nil
		d := s.diff(st.snapshot, next)
		brought = append(brought, d.brought...)
		if len(d.sent)+len(d.lost) > 0 || s.first && (s.wildcard || returns) {
			for _, r := range st.divide(s, next, d) {
				add(s, r)
			}
		}
		s.first = false
		if s.kind == clusters {
			st.subs[endpoints].again(d.sent)
		}
	}
	if len(out) > 0 {
		st.active = now
	}
	st.snapshot = next

	if wait, due := st.due(now); due {
		for k := len(st.subs) - 1; k >= 0; k-- {
			if s := &st.subs[k]; len(s.gone) > 0 && !st.withheld(s) {
				if gone, lost := s.takeGone(next); len(gone) > 0 {
					add(s, st.removal(s, next, gone, lost))
				}
			}
		}
	} else if wait > 0 {
		st.later(wait)
	}
	return out, brought
}

// divide makes the responses for a difference.
func (st *stream) divide(s *subscription, next Snapshot, d difference) []*response {
	r := &response{protocol: st.protocol, kind: s.kind, version: next.Version(), sent: d.sent, lost: d.lost}
	if st.protocol == Delta {
		for _, l := range d.lost {
			r.gone = append(r.gone, l.name)
		}
	} else if s.kind.whole() {
		r.sent = s.held() // with what is about to go: that is told last
		return []*response{r}
	}
	return r.divide(st.server.limits.ResponseBytes)
}

// removal makes the response that takes names away.
func (st *stream) removal(s *subscription, next Snapshot, gone []string, lost []loss) *response {
	r := &response{protocol: st.protocol, kind: s.kind, version: next.Version(), lost: lost}
	if st.protocol == Delta {
		r.gone = gone
	} else if s.kind.whole() {
		r.sent = s.held()
	}
	return r
}

// due reports whether what is gone may be told now; if not, when to look again,
// 0 if nothing waits. Removals wait until the client took all that is new and
// was quiet for a moment.
func (st *stream) due(now time.Time) (wait time.Duration, due bool) {
	some, waiting := false, 0
	for k := range st.subs {
		s := &st.subs[k]
		some = some || len(s.gone) > 0 && !st.withheld(s)
		waiting += len(s.ledger.waiting)
	}
	if !some {
		st.goneSince = time.Time{}
		return 0, false
	}
	if st.goneSince.IsZero() {
		st.goneSince = now
	}
	left := patience - now.Sub(st.goneSince)
	if waiting == 0 {
		left = min(left, linger-now.Sub(st.active))
	}
	if left > 0 {
		return left, false
	}
	st.goneSince = time.Time{}
	return 0, true
}

// concerns reports whether something waits to be removed, so that every request
// is a reason to look whether its time has come.
func (st *stream) concerns() bool {
	for k := range st.subs {
		if len(st.subs[k].gone) > 0 {
			return true
		}
	}
	return false
}

// withheld says that clusters and endpoints stay because the client refused a
// listener or a route, and so goes on with older ones that may need them.
func (st *stream) withheld(s *subscription) bool {
	return (s.kind == clusters || s.kind == endpoints) && len(st.subs[listeners].ledger.refused)+len(st.subs[routes].ledger.refused) > 0
}

// later kicks the stream after a while.
func (st *stream) later(wait time.Duration) {
	select {
	case <-st.over:
		return
	default:
	}
	if st.timer == nil {
		st.timer = time.AfterFunc(wait, st.kick)
	} else {
		st.timer.Reset(wait)
	}
}

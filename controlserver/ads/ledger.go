package ads

import (
	"slices"
	"strings"
	"time"
)

// A ledger is what was sent of a type and what the client answered.
type ledger struct {
	sent, acked string // versions
	waiting     []inflight
	refused     map[string]Refusal
}

type inflight struct {
	nonce string
	*response
}

// A Refusal is a resource a client would not take.
type Refusal struct {
	Resource string
	Version  string // of the resource; empty if its removal was refused
	Error    string // as the client wrote it
	Time     time.Time
}

// maxWaiting bounds the responses remembered for a client that never answers.
const maxWaiting = 64

// note remembers a response until it is answered.
func (l *ledger) note(nonce string, r *response) {
	if len(l.waiting) == maxWaiting {
		l.waiting = slices.Delete(l.waiting, 0, 1)
	}
	l.waiting = append(l.waiting, inflight{nonce, r})
	l.sent = r.version
}

// settle takes the client's answer to the response with the nonce: text is empty
// when it took it. A nonce that is not waited for changes nothing. It returns what the client took of
// the response, and what it had not refused before.
func (l *ledger) settle(nonce string, refused bool, text string, now time.Time) (took []*Resource, fresh []Refusal) {
	i := slices.IndexFunc(l.waiting, func(w inflight) bool { return w.nonce == nonce })
	if i < 0 {
		return nil, nil
	}
	r := l.waiting[i].response
	// Answers come in order: what is older was not answered and will not be.
	if l.waiting = slices.Delete(l.waiting, 0, i+1); len(l.waiting) == 0 {
		l.waiting = nil
	}
	if !refused {
		l.acked = r.version
		if len(l.refused) > 0 {
			delete(l.refused, "")
			r.names(func(name, _ string) { delete(l.refused, name) })
		}
		return r.sent, nil
	}
	if l.refused == nil {
		l.refused = make(map[string]Refusal)
	}
	note := func(name, version string) {
		f := Refusal{Resource: name, Version: version, Error: text, Time: now}
		if old := l.refused[name]; old.Error != text || old.Version != version {
			fresh = append(fresh, f)
		}
		l.refused[name] = f
	}
	// A client refuses a response but takes the good resources of it (gRFC A46):
	// those it does not name are good, unless it names none.
	named := false
	r.names(func(name, version string) {
		if strings.Contains(text, name) {
			named = true
			note(name, version)
		} else {
			delete(l.refused, name)
		}
	})
	if !named {
		r.names(note)
	}
	for _, res := range r.sent {
		if _, bad := l.refused[res.Name]; !bad {
			took = append(took, res)
		}
	}
	if len(l.refused) == 0 {
		note("", "") // a response without resources
	}
	return took, fresh
}

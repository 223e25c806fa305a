package ads

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// A ClientStatus is what the server knows of a connected client.
type ClientStatus struct {
	Stream    uint64
	Node      string // its id
	Identity  string // SPIFFE ID that it has proved; empty if it was not asked to
	Service   string
	Namespace string
	Address   netip.AddrPort // where it connects from
	Since     time.Time
	Protocol  Protocol
	// Settled says that the client has answered for all of the last publication.
	Settled bool
	// Types are those the client subscribed to, in the order they are made.
	Types []TypeStatus
}

// A TypeStatus is the state of a client's subscription to one type.
type TypeStatus struct {
	TypeURL    string
	Wildcard   bool // it gets everything
	Subscribed int  // names it asked for
	Held       int  // resources it was sent and not told are gone
	Sent       string
	Acked      string    // versions of [Snapshot], empty for none
	Refused    []Refusal // by resource; empty when the client is content
}

// Status returns the connected clients, the longest connected first.
func (s *Server) Status() []ClientStatus {
	s.mu.Lock()
	p, open := s.published.Load(), s.all()
	s.mu.Unlock()
	list := make([]ClientStatus, 0, len(open))
	for _, st := range open {
		if c, ok := st.status(p); ok {
			list = append(list, c)
		}
	}
	return list
}

// status reports false as long as the client has not said who it is.
func (st *stream) status(p *publication) (ClientStatus, bool) {
	settled := st.settled(p)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.node == nil {
		return ClientStatus{}, false
	}
	c := ClientStatus{
		Stream: st.id, Node: st.node.ID, Identity: st.node.Identity, Service: st.node.Service, Namespace: st.node.Namespace,
		Address: st.peer, Since: st.since, Protocol: st.protocol, Settled: settled,
	}
	for k := range st.subs {
		if s := &st.subs[k]; s.requested {
			c.Types = append(c.Types, s.status())
		}
	}
	return c, true
}

func (s *subscription) status() TypeStatus {
	t := TypeStatus{
		TypeURL: s.kind.url(), Wildcard: s.wildcard, Subscribed: s.asked, Sent: s.ledger.sent, Acked: s.ledger.acked,
		Refused: slices.SortedFunc(maps.Values(s.ledger.refused), func(a, b Refusal) int { return cmp.Compare(a.Resource, b.Resource) }),
	}
	for _, e := range s.entries {
		if e.res != nil {
			t.Held++
		}
	}
	return t
}

// name is how messages call the stream.
func (st *stream) name() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.node == nil {
		return st.peer.String()
	}
	return st.node.ID
}

package ads

import (
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// sotw takes a request of the state-of-the-world protocol. Each request carries
// the whole list of names, and answers the last response if it has its nonce.
func (st *stream) sotw(req *discoveryv3.DiscoveryRequest) error {
	k, ok := kindOf(req.GetTypeUrl())
	if !ok {
		return st.other(req.GetTypeUrl(), req.GetErrorDetail())
	}
	if len(req.GetResourceLocators()) > 0 {
		return invalid("resource_locators: not supported; use resource_names")
	}
	names := req.GetResourceNames()
	if err := st.server.limits.checkNames("resource_names", names); err != nil {
		return err
	}

	added, removed, took, look := st.listed(k, req)
	st.watch(k, added, removed)
	st.answered(took)
	if look {
		st.kick()
	} else {
		st.server.poke()
	}
	return nil
}

// listed applies a request to the stream's state. took is what the client took of what was sent; look says that it may
// have to be told something.
func (st *stream) listed(k kind, req *discoveryv3.DiscoveryRequest) (added, removed []string, took []*Resource, look bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := &st.subs[k]
	nonce := req.GetResponseNonce()
	st.active = time.Now()
	if nonce != "" {
		took = st.settle(s, nonce, req.GetErrorDetail())
	}
	if s.requested && nonce != "" && nonce != s.nonce {
		// The response it answers was replaced by a later one: the client will
		// give its list again when it answers that.
		return nil, nil, took, st.concerns()
	}
	if !s.requested {
		s.requested, s.first, look = true, true, true
		st.returning = st.returning || req.GetVersionInfo() != ""
	}
	added, removed, changed := s.list(req.GetResourceNames())
	return added, removed, took, look || changed || st.concerns()
}

// list makes names the subscription. An empty list means everything as long as
// the client never named anything (xDS protocol, wildcard subscriptions).
func (s *subscription) list(names []string) (added, removed []string, changed bool) {
	s.named = s.named || len(names) > 0
	s.round++
	all := !s.named && s.kind.whole()
	for _, name := range names {
		if name == "*" && s.kind.whole() {
			all = true
			continue
		}
		e := s.entries[name]
		if !e.asked {
			s.subscribe(name)
			added = append(added, name)
			e = s.entries[name]
		}
		e.round = s.round
		s.entries[name] = e
	}
	for name, e := range s.entries {
		if e.asked && e.round != s.round && s.unsubscribe(name, StateOfTheWorld) {
			removed = append(removed, name)
		}
	}
	if changed = all != s.wildcard; changed && all {
		s.subscribeAll()
	} else if changed {
		s.unsubscribeAll()
	}
	return added, removed, changed || len(added)+len(removed) > 0
}

package ads

import (
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// delta takes a request of the incremental protocol: an answer to a response, a
// change of the subscription, or both.
func (st *stream) delta(req *discoveryv3.DeltaDiscoveryRequest) error {
	k, ok := kindOf(req.GetTypeUrl())
	if !ok {
		return st.other(req.GetTypeUrl(), req.GetErrorDetail())
	}
	if err := st.server.limits.checkDelta(req); err != nil {
		return err
	}
	added, removed, took, look, err := st.changed(k, req)
	if err != nil {
		return err
	}
	st.watch(k, added, removed)
	st.answered(took)
	if look {
		st.kick()
	} else {
		st.server.poke()
	}
	return nil
}

// changed applies a request to the stream's state. took is what the client took of what was sent; look says that it may
// have to be told something.
func (st *stream) changed(k kind, req *discoveryv3.DeltaDiscoveryRequest) (added, removed []string, took []*Resource, look bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.active = time.Now()
	s := &st.subs[k]
	if nonce := req.GetResponseNonce(); nonce != "" {
		took = st.settle(s, nonce, req.GetErrorDetail())
	}
	subscribe, unsubscribe := req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe()
	look = len(subscribe)+len(unsubscribe) > 0
	if !s.requested {
		s.requested, s.first, look = true, true, true
		s.initial = req.GetInitialResourceVersions()
		st.returning = st.returning || len(s.initial) > 0
		if len(subscribe) == 0 && k.whole() {
			s.subscribeAll() // a client that knows no "*" (xDS incremental protocol)
		}
	}
	for _, name := range subscribe {
		if name == "*" && k.whole() {
			s.subscribeAll()
		} else if s.subscribe(name) {
			added = append(added, name)
		}
	}
	for _, name := range unsubscribe {
		if name == "*" && k.whole() {
			s.unsubscribeAll()
		} else if s.unsubscribe(name, Delta) {
			removed = append(removed, name)
		}
	}
	if limit := st.server.limits.Subscriptions; s.asked > limit {
		return nil, nil, nil, false, invalid("resource_names_subscribe: %d names of type %s on this stream, more than the limit of %d", s.asked, shortType(k.url()), limit)
	}
	return added, removed, took, look || st.concerns(), nil
}

// checkDelta returns why a request is not acceptable.
func (l Limits) checkDelta(req *discoveryv3.DeltaDiscoveryRequest) error {
	if len(req.GetResourceLocatorsSubscribe()) > 0 {
		return invalid("resource_locators_subscribe: not supported; use resource_names_subscribe")
	}
	if err := l.checkNames("resource_names_subscribe", req.GetResourceNamesSubscribe()); err != nil {
		return err
	}
	if err := l.checkNames("resource_names_unsubscribe", req.GetResourceNamesUnsubscribe()); err != nil {
		return err
	}
	if n := len(req.GetInitialResourceVersions()); n > l.Subscriptions {
		return invalid("initial_resource_versions: %d names, more than the limit of %d", n, l.Subscriptions)
	}
	for name := range req.GetInitialResourceVersions() {
		if err := l.checkName(name); err != nil {
			return invalid("initial_resource_versions: %w", err)
		}
	}
	return nil
}

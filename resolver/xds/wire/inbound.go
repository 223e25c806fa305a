package wire

import (
	"reflect"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
)

const tcpFilter = "envoy.filters.network.tcp_proxy"

// connectionsKey is where a listener's typed metadata has, as a chain, the filters of a server that speaks no HTTP.
const connectionsKey = "weft.connections"

// A served is what a filter chain says.
type served struct {
	at       place
	proof    *proof // nil is plaintext
	inbound  resolver.Inbound
	proxy    *Proxy
	server   bool
	manager  *hcmv3.HttpConnectionManager // of HTTP
	chain    chain
	managers place
}

// decodeSocket reads a listener with an address.
func decodeSocket(p *place, m *listenerv3.Listener, own *own, l *Listener) {
	addr := decodeAddress(p, m.GetAddress())
	decodeListenerFilters(p, m.GetListenerFilters())
	if m.GetUseOriginalDst().GetValue() {
		p.refuse("use_original_dst", "not supported")
	}
	if m.GetFilterChainMatcher() != nil {
		p.refuse("filter_chain_matcher", "not supported")
	}
	inbound := m.GetTrafficDirection() == corev3.TrafficDirection_INBOUND
	chains := map[string]*served{}
	var all []*served
	take := func(q place, kind string, c *listenerv3.FilterChain) {
		s := decodeChainOf(q, c, own, inbound)
		if chains[kind] != nil {
			q.refuse("filter_chain_match", "is that of another chain, too")
		}
		chains[kind] = s
		all = append(all, s)
	}
	for i, c := range m.GetFilterChains() {
		q := p.at("filter_chains", i)
		in := q.in("filter_chain_match")
		take(q, decodeChainMatch(&in, c.GetFilterChainMatch()), c)
	}
	if c := m.GetDefaultFilterChain(); c != nil {
		take(p.in("default_filter_chain"), "", c)
	}
	servers := 0
	for _, s := range all {
		if s.server {
			servers++
		}
	}
	switch {
	case len(all) == 0:
		p.refuse("filter_chains", "none")
	case servers == len(all):
		l.decodeServer(p, addr, own, chains)
		decodeConnections(p, m.GetMetadata(), l)
		decidable(p, &l.Inbound.Guard)
	case len(all) > 1:
		p.refuse("filter_chains", "%d, but only one is supported of what is not a server's", len(all))
	default:
		s := all[0]
		if chains[""] == nil {
			s.at.refuse("filter_chain_match", "not supported")
		}
		if s.proof != nil {
			s.at.refuse("transport_socket", "not supported but of a server")
		}
		if s.manager != nil {
			decodeRoutes(&s.managers, s.manager, s.chain, l)
			l.Address = addr
		}
	}
}

// decodeServer makes one of the chains, which must say the same but for TLS.
func (l *Listener) decodeServer(p *place, addr string, own *own, chains map[string]*served) {
	tls, plain := chains[matchesTLS], chains[matchesPlain]
	if tls == nil {
		tls = chains[""]
	}
	if plain == nil {
		plain = chains[""]
	}
	s := tls
	if s == nil {
		s = plain
	}
	l.Inbound, l.Proxy = &s.inbound, s.proxy
	l.Inbound.Addr = addr
	if tls != nil && plain != nil && (!reflect.DeepEqual(tls.inbound.Serving, plain.inbound.Serving) ||
		!reflect.DeepEqual(tls.inbound.Guard, plain.inbound.Guard) || !reflect.DeepEqual(tls.proxy, plain.proxy)) {
		p.refuse("filter_chains", "chains that differ in more than TLS are not supported")
	}
	l.Inbound.TLS.Mode = modeOf(p, own, tls, plain)
	for _, s := range []*served{plain, tls} {
		if s != nil && s.proof != nil {
			l.Inbound.TLS.SubjectAltNames, l.Secrets, l.Instances = s.proof.names, s.proof.secrets, s.proof.instances
		}
	}
}

// decodeChainOf reads a filter chain.
func decodeChainOf(p place, m *listenerv3.FilterChain, own *own, inbound bool) *served {
	s := &served{at: p, server: inbound}
	p.only(m, "name", "filters", "metadata", "filter_chain_match", "transport_socket", "transport_socket_connect_timeout")
	tp := p.in("transport_socket")
	s.proof = decodeServerTLS(&tp, m.GetTransportSocket())
	filters := m.GetFilters()
	g := guarding{ruler: ruler{connection: true}}
	for len(filters) > 0 {
		q := s.at.at("filters", len(m.GetFilters())-len(filters))
		if !g.networkFilter(&q, filters[0].GetName(), filters[0].GetTypedConfig()) {
			break
		}
		filters = filters[1:]
	}
	steps := g.finish()
	if len(filters) != 1 {
		s.at.refuse("filters", "%d besides those that guard connections, but only one HTTP connection manager or TCP proxy is supported", len(filters))
		return s
	}
	s.managers = s.at.at("filters", len(m.GetFilters())-1)
	guard := &s.inbound.Guard
	if inbound && filters[0].GetTypedConfig().MessageIs((*tcpv3.TcpProxy)(nil)) {
		s.proxy = decodeTCPProxy(&s.managers, filters[0].GetTypedConfig())
		decodeGuardRest(guard, own)
		guard.Connections, guard.Steps = steps, slices.Clone(steps)
		return s
	}
	if s.manager, s.chain, s.server = decodeManager(&s.managers, filters[0].GetTypedConfig(), own, inbound); s.manager == nil {
		return s
	}
	if !s.server {
		if len(steps) > 0 {
			s.at.refuse("filters", "those that guard connections are not supported but of a server")
		}
		return s
	}
	decodeRoutes(&s.managers, s.manager, s.chain, new(Listener))
	securedRoutes(&s.managers, s.manager, &s.chain.guards)
	s.proxy = proxyOf(s.manager)
	s.inbound.Serving = decodeServing(&s.chain, own)
	*guard = s.chain.guards.guard
	decodeGuardRest(guard, own)
	guard.Steps = distinct(append(steps, s.chain.guards.finish()...))
	guard.Connections = connectionSteps(guard)
	return s
}

func decodeGuardRest(g *identity.Guard, own *own) {
	g.Trusted, g.Revoked = own.matches("trusted"), own.revoked("revoked")
}

// connectionSteps are those of a server that speaks no HTTP, where nothing is said of it: the same if connections
// have what they look at, else none is let in.
func connectionSteps(g *identity.Guard) []identity.Step {
	if len(g.Steps) == 0 && g.JWT == nil {
		return nil
	}
	closed := []identity.Step{{Name: "no rules for connections", Rules: &identity.Rules{}}}
	if g.JWT != nil {
		return closed
	}
	for i := range g.Steps {
		s := &g.Steps[i]
		if s.Ask != nil || !ofConnections(s.Rules) || !ofConnections(s.Shadow) {
			return closed
		}
	}
	return slices.Clone(g.Steps)
}

func ofConnections(r *identity.Rules) bool {
	switch {
	case r == nil:
		return true
	case r.Tree != nil:
		return false
	}
	for i := range r.Policies {
		if wantRequests(r.Policies[i].Permissions) || wantRequests(r.Policies[i].Principals) {
			return false
		}
	}
	return true
}

func wantRequests(list []identity.Condition) bool {
	return slices.ContainsFunc(list, func(c identity.Condition) bool {
		switch c.Kind {
		case identity.HeaderIs, identity.PathIs, identity.PathFits, identity.ClaimIs:
			return true
		}
		return wantRequests(c.Of)
	})
}

// decodeConnections reads what is said of a server that speaks no HTTP.
func decodeConnections(p *place, m *corev3.Metadata, l *Listener) {
	a := m.GetTypedFilterMetadata()[connectionsKey]
	if a == nil {
		return
	}
	mp := p.in("metadata")
	q := mp.in(connectionsKey)
	var c listenerv3.FilterChain
	if !unpackAt(&q, a, &c) {
		return
	}
	if l.Proxy != nil && l.Proxy.TCP {
		q.refuse("", "not supported beside a TCP proxy")
	}
	q.only(&c, "filters")
	g := guarding{ruler: ruler{connection: true}}
	for i, f := range c.GetFilters() {
		in := q.at("filters", i)
		if !g.networkFilter(&in, f.GetName(), f.GetTypedConfig()) {
			in.refuse("typed_config", "%s is not supported", f.GetTypedConfig().MessageName())
		}
	}
	l.Inbound.Guard.Connections = g.finish()
}

// decidable refuses a guard that can't be told whom to let in.
func decidable(p *place, g *identity.Guard) {
	if len(p.errs) > 0 {
		return
	}
	_, err := identity.NewGate(*g)
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, each := range many.Unwrap() {
			p.refuse("filter_chains", "%w", each)
		}
	} else if err != nil {
		p.refuse("filter_chains", "%w", err)
	}
}

func decodeTCPProxy(p *place, a *anypb.Any) *Proxy {
	q := p.in("typed_config")
	var m tcpv3.TcpProxy
	if !unpackAt(&q, a, &m) || m.GetCluster() == "" {
		return nil
	}
	return &Proxy{Cluster: m.GetCluster(), TCP: true}
}

// proxyOf is the Envoy whose only route leads to a server; nil if it has others.
func proxyOf(m *hcmv3.HttpConnectionManager) *Proxy {
	hosts := m.GetRouteConfig().GetVirtualHosts()
	if len(hosts) != 1 || len(hosts[0].GetRoutes()) != 1 || hosts[0].GetRoutes()[0].GetRoute().GetCluster() == "" {
		return nil
	}
	return &Proxy{Cluster: hosts[0].GetRoutes()[0].GetRoute().GetCluster()}
}

// encodeInbound writes the listener of a server. It answers every route itself, which is the form gRPC's servers take
// too, or has an Envoy before it, which forwards all of them.
func encodeInbound(m *listenerv3.Listener, l *Listener) {
	in, rest := l.Inbound, fields{}
	m.TrafficDirection = corev3.TrafficDirection_INBOUND
	m.Address = encodeAddress(in.Addr)
	filters := l.inboundFilters(rest)
	chain := func(protocol string, secure bool) {
		c := &listenerv3.FilterChain{Filters: filters}
		if protocol != "" {
			c.Name, c.FilterChainMatch = protocol, &listenerv3.FilterChainMatch{TransportProtocol: protocol}
		}
		if secure {
			c.TransportSocket = encodeServerTLS(&in.TLS, l.Secrets, l.RevocationLists)
		}
		m.FilterChains = append(m.FilterChains, c)
	}
	switch in.TLS.Mode {
	case identity.Unset:
		rest.text(modeField, in.TLS.Mode.String())
		chain("", false)
	case identity.Disable:
		chain("", false)
	case identity.Permissive:
		if l.Proxy == nil { // who does not know of it serves none but mTLS
			rest.text(modeField, in.TLS.Mode.String())
			chain("", true)
			break
		}
		m.ListenerFilters = []*listenerv3.ListenerFilter{{
			Name: inspectorFilter, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&inspectorv3.TlsInspector{})},
		}}
		chain(matchesTLS, true)
		chain(matchesPlain, false)
	default:
		chain("", true)
	}
	m.Metadata = rest.metadata()
	if own := encodeConnections(in, l.Proxy); own != nil {
		if m.Metadata == nil {
			m.Metadata = &corev3.Metadata{}
		}
		m.Metadata.TypedFilterMetadata = map[string]*anypb.Any{connectionsKey: own}
	}
}

// encodeConnections is the chain of a server that speaks no HTTP; nil if readers know without.
func encodeConnections(in *resolver.Inbound, proxy *Proxy) *anypb.Any {
	if proxy != nil && proxy.TCP || reflect.DeepEqual(in.Guard.Connections, connectionSteps(&in.Guard)) {
		return nil
	}
	c := &listenerv3.FilterChain{}
	for _, n := range encodeSteps(in.Guard.Connections, true) {
		c.Filters = append(c.Filters, networkFilter(n))
	}
	return pack(c)
}

// inboundFilters are those of each chain.
func (l *Listener) inboundFilters(rest fields) (out []*listenerv3.Filter) {
	in := l.Inbound
	if l.Proxy != nil && l.Proxy.TCP {
		rest.matches("trusted", in.Guard.Trusted)
		rest.revoked("revoked", in.Guard.Revoked)
		for _, n := range encodeSteps(in.Guard.Connections, true) {
			out = append(out, networkFilter(n))
		}
		return append(out, networkFilter(named{tcpFilter, &tcpv3.TcpProxy{
			StatPrefix: l.Name, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: l.Proxy.Cluster},
		}}))
	}
	c := encodeServing(&in.Serving, rest)
	c.before = encodeGuard(&in.Guard, rest)
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: l.Name, HttpFilters: encodeChain(&c, rest, true),
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: inboundRoutes(l.Proxy)},
	}
	if l.Proxy != nil {
		proxied(manager)
	}
	return append(out, networkFilter(named{hcmFilter, manager}))
}

// proxied makes an Envoy see requests as the library does: by the peer that is connected, by one form of path and authority,
// and without what only a certificate can say.
func proxied(m *hcmv3.HttpConnectionManager) {
	m.UseRemoteAddress = wrapperspb.Bool(true)
	m.NormalizePath = wrapperspb.Bool(true)
	m.MergeSlashes = true
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_REJECT_REQUEST
	m.StripPortMode = &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true}
	m.StripTrailingHostDot = true
	m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
	m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Subject: wrapperspb.Bool(true), Uri: true}
	m.ServerHeaderTransformation = hcmv3.HttpConnectionManager_PASS_THROUGH
	m.StreamIdleTimeout = durationpb.New(0) // a quiet stream is not a dead one
	m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
}

func inboundRoutes(proxy *Proxy) *routev3.RouteConfiguration {
	r := &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
	}
	if proxy != nil {
		r.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: proxy.Cluster}, Timeout: durationpb.New(0),
		}}
	}
	return &routev3.RouteConfiguration{Name: "inbound", ValidateClusters: wrapperspb.Bool(false), VirtualHosts: []*routev3.VirtualHost{{
		Name: "inbound", Domains: []string{"*"}, Routes: []*routev3.Route{r},
	}}}
}

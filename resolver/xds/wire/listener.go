package wire

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/resolver"
)

const (
	hcmFilter    = "envoy.filters.network.http_connection_manager"
	routerFilter = "envoy.filters.http.router"
)

// DecodeListener reads a Listener: an api_listener, or a socket with one HTTP
// connection manager. The latter is that of a server (Inbound) if its traffic
// direction is INBOUND or if none of its routes forwards; it is refused if it asks for
// TLS or for filters, which a server must not be without.
func DecodeListener(a *anypb.Any) (*Listener, error) {
	var m listenerv3.Listener
	r, err := open(a, "listener", &m)
	if err != nil {
		return nil, err
	}
	p := r.root()
	l := &Listener{Name: m.GetName()}
	if api := m.GetApiListener(); api != nil {
		q := p.in("api_listener.api_listener")
		decodeManager(&q, api.GetApiListener(), l)
	} else {
		decodeSocket(&p, &m, l)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	l.Warnings = r.warnings()
	return l, nil
}

// decodeSocket reads a listener with an address.
func decodeSocket(p *place, m *listenerv3.Listener, l *Listener) {
	addr := decodeAddress(p, m.GetAddress())
	if len(m.GetListenerFilters()) > 0 {
		p.refuse("listener_filters", "not supported")
	}
	if m.GetUseOriginalDst().GetValue() {
		p.refuse("use_original_dst", "not supported")
	}
	if m.GetFilterChainMatcher() != nil {
		p.refuse("filter_chain_matcher", "not supported")
	}
	chains := m.GetFilterChains()
	if d := m.GetDefaultFilterChain(); d != nil {
		chains = append(slices.Clip(chains), d)
	}
	if len(chains) != 1 {
		p.refuse("filter_chains", "%d, but only one is supported", len(chains))
		return
	}
	q := p.at("filter_chains", 0)
	chain := chains[0]
	q.only(chain, "name", "filters", "metadata")
	if len(chain.GetFilters()) != 1 {
		q.refuse("filters", "%d, but only one HTTP connection manager is supported", len(chain.GetFilters()))
		return
	}
	mp := q.at("filters", 0)
	inline := decodeManager(&mp, chain.GetFilters()[0].GetTypedConfig(), l)
	if m.GetTrafficDirection() == corev3.TrafficDirection_INBOUND || endsHere(inline) {
		if l.RateLimits {
			mp.warn("http_filters", "a server does not limit rates yet, has no effect")
		}
		*l = Listener{Name: l.Name, Inbound: &resolver.Inbound{Addr: addr}}
		return
	}
	l.Address = addr
}

// endsHere reports whether all routes are for a server: it has some, and none forwards.
func endsHere(m *routev3.RouteConfiguration) bool {
	n := 0
	for _, v := range m.GetVirtualHosts() {
		for _, r := range v.GetRoutes() {
			if r.GetNonForwardingAction() == nil {
				return false
			}
			n++
		}
	}
	return n > 0
}

// decodeManager reads the routes of an HTTP connection manager into l, and returns
// them too if they are inline. The rest of its fields is about a proxy's own sockets.
func decodeManager(p *place, a *anypb.Any, l *Listener) *routev3.RouteConfiguration {
	var m hcmv3.HttpConnectionManager
	if err := unpack(a, &m); err != nil {
		p.refuse("", "%w", err)
		return nil
	}
	if m.GetXffNumTrustedHops() != 0 { // gRFC A41, as the next
		p.refuse("xff_num_trusted_hops", "not supported")
	}
	if len(m.GetOriginalIpDetectionExtensions()) > 0 {
		p.refuse("original_ip_detection_extensions", "not supported")
	}
	if m.GetCommonHttpProtocolOptions().GetMaxStreamDuration() != nil {
		p.warn("common_http_protocol_options", "max_stream_duration is not supported here yet, has no effect")
	}
	l.RateLimits = decodeFilters(p, m.GetHttpFilters())
	switch s := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		q := p.in("rds")
		decodeSource(&q, "config_source", s.Rds.GetConfigSource())
		if l.RouteConfig = s.Rds.GetRouteConfigName(); l.RouteConfig == "" {
			q.refuse("route_config_name", "empty")
		}
	case *hcmv3.HttpConnectionManager_RouteConfig:
		q := p.in("route_config")
		l.VirtualHosts = decodeHosts(&q, s.RouteConfig)
		return s.RouteConfig
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		p.refuse("scoped_routes", "not supported")
	default:
		p.refuse("route_specifier", "missing: neither rds nor route_config")
	}
	return nil
}

// decodeFilters looks whether the filters can be done without (gRFC A39), and reports
// whether one is there that limits the rates of routes.
func decodeFilters(p *place, filters []*hcmv3.HttpFilter) (rates bool) {
	names := map[string]bool{}
	for i, f := range filters {
		q := p.at("http_filters", i)
		name := f.GetName()
		if name == "" {
			q.refuse("name", "empty")
		} else if names[name] {
			q.refuse("name", "%q is there twice", name)
		}
		names[name] = true
		a := f.GetTypedConfig()
		if a.MessageIs((*routerv3.Router)(nil)) {
			if err := unpack(a, new(routerv3.Router)); err != nil {
				q.refuse("typed_config", "%w", err)
			}
			if i != len(filters)-1 {
				q.refuse("typed_config", "the router must be the last filter")
			}
			continue
		}
		if limitsRoutes(&q, f) {
			rates = true
			continue
		}
		decodeFilter(&q, f)
	}
	if n := len(filters); n == 0 || !filters[n-1].GetTypedConfig().MessageIs((*routerv3.Router)(nil)) {
		p.refuse("http_filters", "the last must be the router")
	}
	return rates
}

// limitsRoutes reports whether f limits rates, and only where a route says how.
func limitsRoutes(p *place, f *hcmv3.HttpFilter) bool {
	var m localv3.LocalRateLimit
	if !f.GetTypedConfig().MessageIs(&m) {
		return false
	}
	if err := unpack(f.GetTypedConfig(), &m); err != nil {
		p.refuse("typed_config", "%w", err)
		return false
	}
	return m.GetTokenBucket() == nil && len(m.GetDescriptors()) == 0
}

func decodeFilter(p *place, f *hcmv3.HttpFilter) {
	a := f.GetTypedConfig()
	kind := string(a.MessageName())
	switch kind {
	case "":
		p.refuse("typed_config", "missing")
		return
	case "envoy.extensions.filters.http.fault.v3.HTTPFault":
		if len(a.GetValue()) == 0 { // there for the routes to say more
			return
		}
	case "envoy.extensions.filters.http.cors.v3.Cors", // so is this one
		"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
		"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
		"io.istio.http.peer_metadata.Config",
		"stats.PluginConfig":
		return
	}
	switch {
	case strings.Contains(kind, "rbac"), strings.Contains(kind, "auth"), strings.Contains(kind, "jwt"):
		p.refuse("typed_config", "%s is not supported, and security is never optional", kind)
	case f.GetDisabled():
	case f.GetIsOptional():
		p.warn("typed_config", "the optional filter %s is not supported, has no effect", kind)
	default:
		p.refuse("typed_config", "%s is not supported", kind)
	}
}

// EncodeListener is the reverse of DecodeListener. The listener of a server answers
// every route itself, which is the form gRPC's servers take too.
func EncodeListener(l Listener) proto.Message {
	m := &listenerv3.Listener{Name: l.Name}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: l.Name,
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       routerFilter,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
	}
	if l.RateLimits && l.Inbound == nil {
		manager.HttpFilters = slices.Insert(manager.HttpFilters, 0, &hcmv3.HttpFilter{
			Name:       rateFilter,
			IsOptional: true, // to gRPC, which does not know it
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&localv3.LocalRateLimit{StatPrefix: ratePrefix})},
		})
	}
	if l.RouteConfig != "" {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource: encodeSource(), RouteConfigName: l.RouteConfig,
		}}
	} else {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: encodeHosts(l.Name, l.VirtualHosts)}
	}
	addr := l.Address
	switch {
	case l.Inbound != nil:
		addr = l.Inbound.Addr
		m.TrafficDirection = corev3.TrafficDirection_INBOUND
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: inboundRoutes()}
	case l.Address != "":
		m.TrafficDirection = corev3.TrafficDirection_OUTBOUND
		manager.StreamIdleTimeout = durationpb.New(0) // a quiet stream is not a dead one
		manager.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
	default:
		m.ApiListener = &listenerv3.ApiListener{ApiListener: pack(manager)}
		return m
	}
	m.Address = encodeAddress(addr)
	m.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
		Name:       hcmFilter,
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
	}}}}
	return m
}

func inboundRoutes() *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: "inbound", VirtualHosts: []*routev3.VirtualHost{{
		Name:    "inbound",
		Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
		}},
	}}}
}

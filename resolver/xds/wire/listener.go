package wire

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/resilience"
)

const hcmFilter = "envoy.filters.network.http_connection_manager"

// DecodeListener reads a Listener: an api_listener, or a socket with an HTTP
// connection manager. The latter is that of a server (Inbound) if its traffic
// direction is INBOUND or if none of its routes forwards.
func DecodeListener(a *anypb.Any) (*Listener, error) {
	var m listenerv3.Listener
	r, err := open(a, "listener", &m)
	if err != nil {
		return nil, err
	}
	p := r.root()
	l := &Listener{Name: m.GetName()}
	own := decodeOwn(&p, m.GetMetadata())
	if api := m.GetApiListener(); api != nil {
		q := p.in("api_listener.api_listener")
		if m, c, _ := decodeManager(&q, api.GetApiListener(), own, false); m != nil {
			decodeRoutes(&q, m, c, l)
		}
	} else {
		decodeSocket(&p, &m, own, l)
	}
	own.unknown()
	if err := r.err(); err != nil {
		return nil, err
	}
	l.Warnings = r.warnings()
	return l, nil
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

// decodeManager reads an HTTP connection manager but for its routes, of which it only sees whether they make
// it a server's. The rest of its fields is about a proxy's own sockets.
func decodeManager(p *place, a *anypb.Any, own *own, inbound bool) (_ *hcmv3.HttpConnectionManager, c chain, server bool) {
	var m hcmv3.HttpConnectionManager
	if err := unpack(a, &m); err != nil {
		p.refuse("", "%w", err)
		return nil, c, inbound
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
	server = inbound || endsHere(m.GetRouteConfig())
	return &m, decodeChain(p, m.GetHttpFilters(), own, server), server
}

// decodeRoutes reads where the routes are, or them, and what the filters say for all of them.
func decodeRoutes(p *place, m *hcmv3.HttpConnectionManager, c chain, l *Listener) {
	l.RateLimits, l.Faults, l.Bandwidths = c.listed.Off(resilience.NoRates), c.listed.Off(resilience.NoFaults), c.listed.Off(resilience.NoBandwidths)
	l.Global = c.global
	l.Default = Default{Rate: c.rate, Fault: c.fault, Bandwidth: c.bandwidth, Admission: c.admission}
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
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		p.refuse("scoped_routes", "not supported")
	default:
		p.refuse("route_specifier", "missing: neither rds nor route_config")
	}
}

// EncodeListener is the reverse of DecodeListener.
func EncodeListener(l Listener) proto.Message {
	m := &listenerv3.Listener{Name: l.Name}
	if l.Inbound != nil {
		encodeInbound(m, &l)
		return m
	}
	rest := fields{}
	c := chain{rate: l.Default.Rate, fault: l.Default.Fault, bandwidth: l.Default.Bandwidth, admission: l.Default.Admission}
	c.global = l.Global
	if l.RateLimits {
		c.listed |= resilience.NoRates
	}
	if l.Faults {
		c.listed |= resilience.NoFaults
	}
	if l.Bandwidths {
		c.listed |= resilience.NoBandwidths
	}
	manager := &hcmv3.HttpConnectionManager{StatPrefix: l.Name, HttpFilters: encodeChain(&c, rest, false)}
	m.Metadata = rest.metadata()
	if l.RouteConfig != "" {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource: encodeSource(), RouteConfigName: l.RouteConfig,
		}}
	} else {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: encodeHosts(l.Name, l.VirtualHosts)}
	}
	if l.Address == "" {
		m.ApiListener = &listenerv3.ApiListener{ApiListener: pack(manager)}
		return m
	}
	m.TrafficDirection = corev3.TrafficDirection_OUTBOUND
	manager.StreamIdleTimeout = durationpb.New(0) // a quiet stream is not a dead one
	manager.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
	m.Address = encodeAddress(l.Address)
	m.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{networkFilter(named{hcmFilter, manager})}}}
	return m
}

func networkFilter(n named) *listenerv3.Filter {
	return &listenerv3.Filter{Name: n.name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(n.m)}}
}

package wire

import (
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// codecFilter ends the filters on the way to the hosts.
const codecFilter = "envoy.filters.http.upstream_codec"

// httpOptions is the key of a cluster's HTTP protocol options.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// DecodeCluster reads a Cluster of type EDS or STATIC.
func DecodeCluster(a *anypb.Any) (*Cluster, error) {
	var m clusterv3.Cluster
	r, err := open(a, "cluster", &m)
	if err != nil {
		return nil, err
	}
	p := r.root()
	c := &Cluster{}
	c.Name = m.GetName()
	decodeDiscovery(&p, &m, c)
	c.Balance = decodeBalance(&p, &m)
	c.ConnectTimeout = p.duration("connect_timeout", m.GetConnectTimeout())
	if m.GetConnectTimeout() != nil && c.ConnectTimeout == 0 {
		p.refuse("connect_timeout", "must be more than 0")
	}
	own := decodeOwn(&p, m.GetMetadata())
	decodeProtocol(&p, &m, own, c)
	decodeSockets(&p, &m, own, c)
	q := p.in("circuit_breakers")
	decodeThresholds(&q, m.GetCircuitBreakers(), own, &c.Cluster)
	c.Breaker, c.HostBreaker, c.Off = decodeTrip(own.in("breaker")), decodeTrip(own.in("host_breaker")), own.switches()
	own.unknown()
	q = p.in("outlier_detection")
	c.Outlier = decodeOutlier(&q, m.GetOutlierDetection())
	q = p.in("common_lb_config")
	decodeBalancing(&q, m.GetCommonLbConfig(), c.Outlier)
	p.ignores(&m, "circuit_breakers", "outlier_detection", "common_lb_config", "name", "alt_stat_name", "metadata", "type", "cluster_type", "eds_cluster_config", "load_assignment",
		"connect_timeout", "lb_policy", "load_balancing_policy", "least_request_lb_config", "ring_hash_lb_config",
		"maglev_lb_config", "typed_extension_protocol_options", "http2_protocol_options", "transport_socket",
		"transport_socket_matches", "transport_socket_matcher", "per_connection_buffer_limit_bytes",
		"wait_for_warm_on_init", "track_cluster_stats", "dns_lookup_family", "respect_dns_ttl")
	if err := r.err(); err != nil {
		return nil, err
	}
	c.Warnings = r.warnings()
	return c, nil
}

func decodeDiscovery(p *place, m *clusterv3.Cluster, c *Cluster) {
	switch d := m.GetClusterDiscoveryType().(type) {
	case nil:
		p.refuse("type", "missing")
	case *clusterv3.Cluster_ClusterType:
		p.refuse("cluster_type", "%q is not supported", d.ClusterType.GetName())
	case *clusterv3.Cluster_Type:
		switch d.Type {
		case clusterv3.Cluster_EDS:
			q := p.in("eds_cluster_config")
			decodeSource(&q, "eds_config", m.GetEdsClusterConfig().GetEdsConfig())
			c.EndpointsName = m.GetEdsClusterConfig().GetServiceName()
			if c.EndpointsName == "" {
				c.EndpointsName = c.Name
				if strings.HasPrefix(c.Name, "xdstp:") { // gRFC A47
					q.refuse("service_name", "empty, though the cluster's name is an xdstp one")
				}
			}
		case clusterv3.Cluster_STATIC:
			if m.GetLoadAssignment() == nil {
				p.refuse("load_assignment", "missing in a STATIC cluster")
			}
			q := p.in("load_assignment")
			c.Endpoints = decodeEndpoints(&q, m.GetLoadAssignment())
		default:
			p.refuse("type", "%v is not supported; EDS and STATIC are", d.Type)
		}
	}
}

// decodeSource accepts only the stream that the resource came by.
func decodeSource(p *place, field string, s *corev3.ConfigSource) {
	switch s.GetConfigSourceSpecifier().(type) {
	case *corev3.ConfigSource_Ads, *corev3.ConfigSource_Self:
	case nil:
		p.refuse(field, "missing")
	default:
		p.refuse(field, "only ads and self are supported")
	}
}

func encodeSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// decodeProtocol reads what is spoken to the hosts, and the filters on the way to them.
func decodeProtocol(p *place, m *clusterv3.Cluster, own *own, c *Cluster) {
	c.HTTP2 = m.GetHttp2ProtocolOptions() != nil
	options := m.GetTypedExtensionProtocolOptions()
	admission := own.in("admission")
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if key != httpOptions {
			p.warn("typed_extension_protocol_options", "%q is not supported yet, has no effect", key)
			continue
		}
		q := p.in("typed_extension_protocol_options")
		var o httpv3.HttpProtocolOptions
		if err := unpack(options[key], &o); err != nil {
			q.refuse(key, "%w", err)
			continue
		}
		explicit := o.GetExplicitHttpConfig()
		c.HTTP2 = c.HTTP2 || explicit.GetHttp2ProtocolOptions() != nil
		if explicit.GetHttp3ProtocolOptions() != nil {
			q.refuse(key, "HTTP/3 is not supported")
		}
		q.ignores(&o, "explicit_http_config", "use_downstream_protocol_config", "auto_config", "upstream_http_protocol_options", "http_filters")
		in := q.in(key)
		in.keeps(&o)
		c.Admission = decodeUpstream(&in, o.GetHttpFilters(), admission)
	}
}

// decodeUpstream looks whether the filters can be done without, and reads the one that is known.
func decodeUpstream(p *place, filters []*hcmv3.HttpFilter, own *own) (a *resilience.Admission) {
	for i, f := range filters {
		q := p.at("http_filters", i)
		config := f.GetTypedConfig()
		var m admissionv3.AdmissionControl
		switch {
		case config.MessageIs((*codecv3.UpstreamCodec)(nil)):
		case config.MessageIs(&m):
			in := q.in("typed_config")
			if unpackAt(&in, config, &m) && !f.GetDisabled() && a == nil {
				a = decodeAdmission(&in, &m, own)
			}
		default:
			decodeFilter(&q, f)
		}
	}
	return a
}

// encodeProtocol is the reverse of decodeProtocol, and what no field says.
func encodeProtocol(c *resolver.Cluster, rest fields) map[string]*anypb.Any {
	if !c.HTTP2 && c.Admission == nil {
		return nil
	}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}
	if c.HTTP2 {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}
	}
	m := &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}}
	if c.Admission != nil {
		admission, more := encodeAdmission(*c.Admission)
		rest.some("admission", more)
		for _, f := range []struct {
			name string
			m    proto.Message
		}{{admissionFilter, admission}, {codecFilter, &codecv3.UpstreamCodec{}}} {
			m.HttpFilters = append(m.HttpFilters, &hcmv3.HttpFilter{Name: f.name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(f.m)}})
		}
	}
	return map[string]*anypb.Any{httpOptions: pack(m)}
}

// EncodeCluster is the reverse of DecodeCluster.
func EncodeCluster(c Cluster) proto.Message {
	m := &clusterv3.Cluster{Name: c.Name}
	if c.EndpointsName != "" {
		m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		m.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: encodeSource(), ServiceName: c.EndpointsName}
	} else {
		m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		m.LoadAssignment = encodeEndpoints(c.Name, c.Endpoints)
	}
	encodeBalance(m, c.Balance)
	if c.ConnectTimeout != 0 {
		m.ConnectTimeout = durationpb.New(c.ConnectTimeout)
	}
	rest := fields{}
	m.TypedExtensionProtocolOptions = encodeProtocol(&c.Cluster, rest)
	encodeThresholds(m, &c.Cluster, rest)
	rest.in("breaker", encodeTrip(c.Breaker))
	rest.in("host_breaker", encodeTrip(c.HostBreaker))
	rest.text(offField, c.Off.String())
	encodeSockets(m, &c, rest)
	m.Metadata = rest.metadata()
	encodeOutlier(m, c.Outlier)
	return m
}

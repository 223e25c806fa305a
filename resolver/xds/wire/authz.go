package wire

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

const authzFilter = "envoy.filters.http.ext_authz"

// answerTime is the default of ExtAuthz.Timeout (Envoy).
const answerTime = 200 * time.Millisecond

// decodeAuthz reads ext_authz but for when it is asked.
func decodeAuthz(p *place, m *authzv3.ExtAuthz) *identity.ExtAuthz {
	p.only(m, "grpc_service", "http_service", "transport_api_version", "failure_mode_allow", "with_request_body", "status_on_error",
		"filter_enabled", "filter_enabled_metadata", "deny_at_disable", "include_peer_certificate", "allowed_headers", // obeyed
		"failure_mode_allow_header_add", "include_tls_session", "metadata_context_namespaces", "typed_metadata_context_namespaces",
		"route_metadata_context_namespaces", "route_typed_metadata_context_namespaces", "bootstrap_metadata_labels_key",
		"encode_raw_headers", "max_denied_response_body_bytes", "enforce_response_header_limits", // warned of
		"clear_route_cache", "clear_route_cache_headers", "validate_mutations", "stat_prefix", "charge_cluster_response_stats",
		"enable_dynamic_metadata_ingestion", "filter_metadata", "emit_filter_state_stats", "emit_client_span")
	p.ignores(m, "grpc_service", "http_service", "transport_api_version", "failure_mode_allow", "with_request_body", "status_on_error",
		"filter_enabled", "filter_enabled_metadata", "deny_at_disable", "include_peer_certificate", "allowed_headers",
		"clear_route_cache", "clear_route_cache_headers", "validate_mutations", "stat_prefix", "charge_cluster_response_stats",
		"enable_dynamic_metadata_ingestion", "filter_metadata", "emit_filter_state_stats", "emit_client_span",
		"disallowed_headers", "decoder_header_mutation_rules", "shadow_mode")
	e := &identity.ExtAuthz{FailOpen: m.GetFailureModeAllow(), PeerCertificate: m.GetIncludePeerCertificate()}
	switch s := m.GetServices().(type) {
	case *authzv3.ExtAuthz_GrpcService:
		q := p.in("grpc_service")
		decodeAsked(&q, s.GrpcService, e)
		wantsV3(p, m.GetTransportApiVersion())
		if m.GetAllowedHeaders() != nil {
			p.refuse("allowed_headers", "not supported with grpc_service")
		}
	case *authzv3.ExtAuthz_HttpService:
		q := p.in("http_service")
		decodeAskedHTTP(&q, s.HttpService, e)
		if list := decodeMatchers(p, "allowed_headers", m.GetAllowedHeaders()); list != nil {
			if e.RequestHeaders != nil {
				p.refuse("allowed_headers", "not supported beside http_service.authorization_request.allowed_headers")
			}
			e.RequestHeaders = list
		}
	default:
		p.refuse("services", "missing: neither grpc_service nor http_service")
	}
	if b := m.GetWithRequestBody(); b != nil {
		q := p.in("with_request_body")
		q.only(b, "max_request_bytes", "allow_partial_message", "pack_as_bytes")
		if e.MaxBody = b.GetMaxRequestBytes(); e.MaxBody == 0 {
			q.refuse("max_request_bytes", "0")
		}
		e.PartialBody, e.PackAsBytes = b.GetAllowPartialMessage(), b.GetPackAsBytes()
	}
	if s := m.GetStatusOnError(); s != nil {
		if e.StatusOnError = int(s.GetCode()); e.StatusOnError < 200 || e.StatusOnError > 599 {
			p.refuse("status_on_error.code", "%d is no status", e.StatusOnError)
		}
	}
	if f := m.GetFilterEnabled(); f != nil {
		if n := decodeFraction(p, "filter_enabled.default_value", f.GetDefaultValue()); n != 1_000_000 {
			p.refuse("filter_enabled", "not supported but for all requests")
		}
	}
	if m.GetDenyAtDisable().GetDefaultValue().GetValue() || m.GetDenyAtDisable().GetRuntimeKey() != "" {
		p.refuse("deny_at_disable", "not supported")
	}
	return e
}

func wantsV3(p *place, v corev3.ApiVersion) {
	if v != corev3.ApiVersion_V3 {
		p.refuse("transport_api_version", "%v is not supported", v)
	}
}

func decodeAsked(p *place, m *corev3.GrpcService, e *identity.ExtAuthz) {
	p.only(m, "envoy_grpc", "timeout", "initial_metadata", "retry_policy")
	if m.GetRetryPolicy() != nil {
		p.warn("retry_policy", "not supported yet, has no effect")
	}
	if m.GetEnvoyGrpc() == nil {
		p.refuse("target_specifier", "only envoy_grpc is supported")
		return
	}
	q := p.in("envoy_grpc")
	q.ignores(m.GetEnvoyGrpc(), "cluster_name", "authority")
	e.Service = decodeService(&q, "cluster_name", m.GetEnvoyGrpc().GetClusterName(), "")
	e.Timeout = shortly(p.positive("timeout", m.GetTimeout()))
	e.AddHeaders = decodeAdded(p, "initial_metadata", m.GetInitialMetadata())
}

// shortly is a timeout, of which the default has a form of its own.
func shortly(d time.Duration) time.Duration {
	if d == answerTime {
		return 0
	}
	return d
}

func decodeAskedHTTP(p *place, m *authzv3.HttpService, e *identity.ExtAuthz) {
	p.only(m, "server_uri", "path_prefix", "authorization_request", "authorization_response", "retry_policy")
	if m.GetRetryPolicy() != nil {
		p.warn("retry_policy", "not supported yet, has no effect")
	}
	e.HTTP = true
	if e.PathPrefix = m.GetPathPrefix(); e.PathPrefix != "" && e.PathPrefix[0] != '/' {
		p.refuse("path_prefix", "%q does not begin with /", e.PathPrefix)
	}
	q := p.in("server_uri")
	e.Service = decodeService(&q, "cluster", m.GetServerUri().GetCluster(), "")
	e.Timeout = shortly(decodeURITimeout(&q, m.GetServerUri()))
	req := m.GetAuthorizationRequest()
	rq := p.in("authorization_request")
	rq.only(req, "allowed_headers", "headers_to_add")
	e.RequestHeaders = decodeMatchers(&rq, "allowed_headers", req.GetAllowedHeaders())
	e.AddHeaders = decodeAdded(&rq, "headers_to_add", req.GetHeadersToAdd())
	res := m.GetAuthorizationResponse()
	sq := p.in("authorization_response")
	sq.ignores(res, "allowed_upstream_headers", "allowed_upstream_headers_to_append", "allowed_client_headers", "allowed_client_headers_on_success")
	e.UpstreamHeaders = decodeMatchers(&sq, "allowed_upstream_headers", res.GetAllowedUpstreamHeaders())
	e.AppendHeaders = decodeMatchers(&sq, "allowed_upstream_headers_to_append", res.GetAllowedUpstreamHeadersToAppend())
	e.DeniedHeaders = decodeMatchers(&sq, "allowed_client_headers", res.GetAllowedClientHeaders())
	e.AllowedHeaders = decodeMatchers(&sq, "allowed_client_headers_on_success", res.GetAllowedClientHeadersOnSuccess())
}

func decodeMatchers(p *place, field string, m *matcherv3.ListStringMatcher) (out []match.String) {
	q := p.in(field)
	for i, each := range m.GetPatterns() {
		in := q.at("patterns", i)
		out = append(out, decodeString(&in, each))
	}
	return out
}

func decodeAdded(p *place, field string, list []*corev3.HeaderValue) (out []identity.HeaderField) {
	for i, h := range list {
		q := p.at(field, i)
		q.only(h, "key", "value")
		name := match.ToLower(h.GetKey())
		if name == "" || name[0] == ':' || strings.ContainsAny(name+h.GetValue(), "\r\n\x00") {
			q.refuse("", "%.80q is no header that can be added", name)
		}
		out = append(out, identity.HeaderField{Name: name, Value: h.GetValue()})
	}
	return out
}

// encodeAuthz is the reverse of decodeAuthz.
func encodeAuthz(e *identity.ExtAuthz, when *matcherv3.MetadataMatcher) *authzv3.ExtAuthz {
	m := &authzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3, FailureModeAllow: e.FailOpen, IncludePeerCertificate: e.PeerCertificate,
		FilterEnabledMetadata: when,
	}
	if e.HTTP {
		timeout := e.Timeout
		if timeout == 0 {
			timeout = answerTime
		}
		s := &authzv3.HttpService{
			ServerUri: &corev3.HttpUri{
				Uri: "http://" + e.Service, Timeout: durationpb.New(timeout),
				HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: encodeService(e.Service, "")},
			},
			PathPrefix: e.PathPrefix,
			AuthorizationResponse: &authzv3.AuthorizationResponse{
				AllowedUpstreamHeaders: encodeMatchers(e.UpstreamHeaders), AllowedUpstreamHeadersToAppend: encodeMatchers(e.AppendHeaders),
				AllowedClientHeaders: encodeMatchers(e.DeniedHeaders), AllowedClientHeadersOnSuccess: encodeMatchers(e.AllowedHeaders),
			},
		}
		if len(e.AddHeaders) > 0 {
			s.AuthorizationRequest = &authzv3.AuthorizationRequest{HeadersToAdd: encodeAdded(e.AddHeaders)}
		}
		m.AllowedHeaders = encodeMatchers(e.RequestHeaders)
		m.Services = &authzv3.ExtAuthz_HttpService{HttpService: s}
	} else {
		m.Services = &authzv3.ExtAuthz_GrpcService{GrpcService: encodeAsked(e)}
	}
	if e.MaxBody != 0 {
		m.WithRequestBody = &authzv3.BufferSettings{MaxRequestBytes: e.MaxBody, AllowPartialMessage: e.PartialBody, PackAsBytes: e.PackAsBytes}
	}
	if e.StatusOnError != 0 {
		m.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(e.StatusOnError)}
	}
	return m
}

func encodeAsked(e *identity.ExtAuthz) *corev3.GrpcService {
	s := &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: encodeService(e.Service, "")}},
		InitialMetadata: encodeAdded(e.AddHeaders),
	}
	if e.Timeout != 0 {
		s.Timeout = durationpb.New(e.Timeout)
	}
	return s
}

func encodeMatchers(list []match.String) *matcherv3.ListStringMatcher {
	if len(list) == 0 {
		return nil
	}
	m := &matcherv3.ListStringMatcher{}
	for _, is := range list {
		m.Patterns = append(m.Patterns, encodeString(is))
	}
	return m
}

func encodeAdded(list []identity.HeaderField) (out []*corev3.HeaderValue) {
	for _, h := range list {
		out = append(out, &corev3.HeaderValue{Key: h.Name, Value: h.Value})
	}
	return out
}

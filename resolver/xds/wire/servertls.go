package wire

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/identity"
)

// inspectorFilter lets an Envoy tell TLS from plaintext.
const inspectorFilter = "envoy.filters.listener.tls_inspector"

// How a chain says which connections it is for.
const (
	matchesTLS   = "tls"
	matchesPlain = "raw_buffer"
)

// modeField is where a server's listener says a mode that its chains do not say to all clients alike.
const modeField = "mode"

// decodeServerTLS reads what clients must prove; nil is plaintext. Only the process's own certificate and roots are
// known here, and each client must show a certificate.
func decodeServerTLS(p *place, m *corev3.TransportSocket) *proof {
	if isPlaintext(m) {
		return nil
	}
	q := p.in("typed_config")
	var down tlsv3.DownstreamTlsContext
	if err := unpack(m.GetTypedConfig(), &down); err != nil {
		q.refuse("", "%w", err)
		return new(proof)
	}
	q.only(&down, "common_tls_context", "require_client_certificate", "disable_stateless_session_resumption", "disable_stateful_session_resumption",
		"session_timeout", "full_scan_certs_on_sni_mismatch", "require_sni", "ocsp_staple_policy")
	if down.GetRequireSni().GetValue() {
		q.refuse("require_sni", "not supported")
	}
	if v := down.GetOcspStaplePolicy(); v != tlsv3.DownstreamTlsContext_LENIENT_STAPLING {
		q.refuse("ocsp_staple_policy", "%v is not supported", v)
	}
	if !down.GetRequireClientCertificate().GetValue() {
		q.refuse("require_client_certificate", "must be true")
	}
	cp := q.in("common_tls_context")
	before := len(p.errs)
	s := decodeProof(&cp, down.GetCommonTlsContext())
	switch {
	case len(p.errs) > before:
	case !s.own:
		cp.refuse("", "shows another certificate than the process's own")
	case !s.mesh:
		cp.refuse("", "believes other roots than the process's own")
	case s.crl != "":
		cp.refuse("validation_context.crl", "not supported beside the process's own roots")
	}
	return s
}

func encodeServerTLS(t *identity.ServerTLS, form Secrets, lists string) *corev3.TransportSocket {
	m := &tlsv3.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(true)}
	if form == Providers {
		m.CommonTlsContext = encodeOwn(form, t.SubjectAltNames, "")
	} else {
		m.CommonTlsContext = encodeOwn(form, t.SubjectAltNames, lists, "h2", "http/1.1")
		// A session that is resumed would go on by a certificate that nobody looks at any more.
		m.DisableStatefulSessionResumption = true
		m.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true}
	}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(m)}}
}

// decodeListenerFilters refuses what is done to connections before their chain, but for telling TLS from plaintext.
func decodeListenerFilters(p *place, list []*listenerv3.ListenerFilter) {
	for i, f := range list {
		q := p.at("listener_filters", i)
		if !f.GetTypedConfig().MessageIs((*inspectorv3.TlsInspector)(nil)) || f.GetFilterDisabled() != nil {
			q.refuse("", "%q is not supported", f.GetName())
		}
	}
}

// decodeChainMatch returns which connections a chain is for: "tls", "raw_buffer", or all.
func decodeChainMatch(p *place, m *listenerv3.FilterChainMatch) string {
	p.only(m, "transport_protocol")
	switch v := m.GetTransportProtocol(); v {
	case "", matchesTLS, matchesPlain:
		return v
	default:
		p.refuse("transport_protocol", "%q is not supported", v)
		return ""
	}
}

// modeOf is what two kinds of chain, either of which may lack, come to.
func modeOf(p *place, own *own, tls, plain *served) identity.Mode {
	secure := func(s *served) bool { return s != nil && s.proof != nil }
	if tls != nil && tls != plain && tls.proof == nil {
		tls.at.refuse("transport_socket", "missing: TLS would not be terminated")
	}
	mode := identity.Permissive
	switch {
	case tls == plain && secure(tls), plain == nil:
		mode = identity.Strict
	case tls == plain, tls == nil && !secure(plain):
		mode = identity.Disable
	case tls == nil: // gRPC's servers know no other name for what is on the wire
		mode = identity.Strict
	case secure(plain):
		p.refuse("filter_chains", "two chains of TLS are not supported")
	}
	switch text := own.text(modeField); {
	case text == "":
	case text == identity.Permissive.String() && mode == identity.Strict, text == identity.Unset.String() && mode == identity.Disable:
		if mode = identity.Permissive; text == identity.Unset.String() {
			mode = identity.Unset
		}
	default:
		own.refuse(modeField, "%.40q does not go with chains that are %v", text, mode)
	}
	return mode
}

package wire

import (
	"crypto/x509"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/identity"
)

const (
	tlsSocket       = "envoy.transport_sockets.tls"
	plaintextConfig = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
)

// decodeTLS reads what the servers of a cluster must prove. Anything in it that
// is not known is refused: leaving it out could trust a server that is not meant.
// Where no name is asked for, the certificate must be valid for the SNI even if
// Envoy would check only its chain.
func decodeTLS(p *place, m *corev3.TransportSocket) *identity.ClientTLS {
	if m == nil || string(m.GetTypedConfig().MessageName()) == plaintextConfig {
		return nil
	}
	q := p.in("transport_socket.typed_config")
	var c tlsv3.UpstreamTlsContext
	if err := unpack(m.GetTypedConfig(), &c); err != nil {
		q.refuse("", "%w", err)
		return nil
	}
	q.only(&c, "common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation", "max_session_keys", "enforce_rsa_key_usage")
	if c.GetAutoHostSni() && c.GetSni() != "" {
		q.refuse("auto_host_sni", "not supported beside sni")
	}
	common := c.GetCommonTlsContext()
	cp := q.in("common_tls_context")
	cp.only(common, "alpn_protocols", "validation_context")
	for _, proto := range common.GetAlpnProtocols() {
		if proto != "h2" && proto != "http/1.1" {
			cp.refuse("alpn_protocols", "%q is not supported", proto)
		}
	}
	vp := cp.in("validation_context")
	v := common.GetValidationContext()
	vp.only(v, "trusted_ca", "system_root_certs", "match_typed_subject_alt_names", "match_subject_alt_names")
	t := &identity.ClientTLS{
		ServerName:      c.GetSni(),
		RootCAs:         decodeRoots(&vp, v),
		SubjectAltNames: decodeNames(&vp, v),
	}
	if c.GetAutoSniSanValidation() && len(t.SubjectAltNames) > 0 {
		vp.refuse("match_typed_subject_alt_names", "not supported beside auto_sni_san_validation")
	}
	return t
}

func decodeRoots(p *place, v *tlsv3.CertificateValidationContext) string {
	if v.GetTrustedCa() == nil {
		if v.GetSystemRootCerts() == nil {
			p.refuse("trusted_ca", "missing: the server's certificate would not be verified")
		}
		return ""
	}
	if v.GetSystemRootCerts() != nil {
		p.refuse("system_root_certs", "not supported beside trusted_ca")
	}
	var pem string
	switch s := v.GetTrustedCa().GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		pem = s.InlineString
	case *corev3.DataSource_InlineBytes:
		pem = string(s.InlineBytes)
	default:
		p.refuse("trusted_ca", "only inline certificates are supported")
		return ""
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
		p.refuse("trusted_ca", "holds no PEM certificate")
	}
	return pem
}

func decodeNames(p *place, v *tlsv3.CertificateValidationContext) []identity.SubjectAltName {
	var names []identity.SubjectAltName
	exact := func(field string, i int, m *matcherv3.StringMatcher) {
		q := p.at(field, i)
		if s, ok := m.GetMatchPattern().(*matcherv3.StringMatcher_Exact); !ok || s.Exact == "" || m.GetIgnoreCase() {
			q.refuse("", "only an exact name is supported")
		} else {
			names = append(names, identity.ExactNames(s.Exact)...)
		}
	}
	for i, m := range v.GetMatchTypedSubjectAltNames() {
		if t := m.GetSanType(); t != tlsv3.SubjectAltNameMatcher_DNS && t != tlsv3.SubjectAltNameMatcher_URI {
			q := p.at("match_typed_subject_alt_names", i)
			q.refuse("san_type", "%v is not supported", t)
		}
		exact("match_typed_subject_alt_names", i, m.GetMatcher())
	}
	for i, m := range v.GetMatchSubjectAltNames() {
		exact("match_subject_alt_names", i, m)
	}
	return names
}

func encodeTLS(t *identity.ClientTLS, http2 bool) *corev3.TransportSocket {
	if t == nil {
		return nil
	}
	v := &tlsv3.CertificateValidationContext{}
	if t.RootCAs == "" {
		v.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
	} else {
		v.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: t.RootCAs}}
	}
	for _, name := range t.SubjectAltNames {
		kind := tlsv3.SubjectAltNameMatcher_DNS
		if strings.Contains(name.Is.Value, "://") {
			kind = tlsv3.SubjectAltNameMatcher_URI
		}
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: kind,
			Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name.Is.Value}},
		})
	}
	common := &tlsv3.CommonTlsContext{
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v},
	}
	if http2 {
		common.AlpnProtocols = []string{"h2"}
	}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{
		TypedConfig: pack(&tlsv3.UpstreamTlsContext{
			CommonTlsContext:     common,
			Sni:                  t.ServerName,
			AutoHostSni:          t.ServerName == "",
			AutoSniSanValidation: len(t.SubjectAltNames) == 0,
		}),
	}}
}

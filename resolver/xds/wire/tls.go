package wire

import (
	"crypto/x509"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/identity"
)

const (
	tlsSocket       = "envoy.transport_sockets.tls"
	plaintextSocket = "envoy.transport_sockets.raw_buffer"
	plaintextConfig = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
)

// What of an endpoint says whether it takes the mesh's mTLS (Istio).
const (
	socketMatchKey = "envoy.transport_socket_match"
	tlsModeField   = "tlsMode"
	tlsModeIstio   = "istio"
)

// decodeSockets reads what the servers of a cluster must prove, be it all of them, or those that say that they can.
func decodeSockets(p *place, m *clusterv3.Cluster, own *own, c *Cluster) {
	if m.GetTransportSocketMatcher() != nil {
		p.refuse("transport_socket_matcher", "not supported")
	}
	matches := m.GetTransportSocketMatches()
	if len(matches) == 0 {
		q := p.in("transport_socket")
		c.TLS = decodeTLS(&q, m.GetTransportSocket(), c)
	} else {
		decodeAuto(p, m, c)
	}
	if c.TLS != nil {
		c.TLS.Revoked = own.revoked("revoked")
	}
}

// decodeAuto reads the form that Istio has for mTLS wherever it can be had, and no other.
func decodeAuto(p *place, m *clusterv3.Cluster, c *Cluster) {
	matches := m.GetTransportSocketMatches()
	c.AutoTLS = true
	if m.GetTransportSocket() != nil {
		p.refuse("transport_socket", "not supported beside transport_socket_matches")
	}
	first, last := matches[0].GetMatch().GetFields(), matches[len(matches)-1]
	if len(matches) != 2 || len(first) != 1 || first[tlsModeField].GetStringValue() != tlsModeIstio ||
		len(last.GetMatch().GetFields()) > 0 || !isPlaintext(last.GetTransportSocket()) {
		p.refuse("transport_socket_matches", `not supported but for mTLS where tlsMode is "istio", and plaintext elsewhere`)
		return
	}
	q := p.at("transport_socket_matches", 0)
	in := q.in("transport_socket")
	if c.TLS = decodeTLS(&in, matches[0].GetTransportSocket(), c); c.TLS != nil && !c.TLS.Mutual || isPlaintext(matches[0].GetTransportSocket()) {
		in.refuse("", "not supported but for the mesh's own mTLS")
	}
}

func isPlaintext(m *corev3.TransportSocket) bool {
	return m == nil || string(m.GetTypedConfig().MessageName()) == plaintextConfig
}

// decodeTLS reads what servers must prove. Where no name is asked for, the certificate must be valid for the SNI even if
// Envoy would check only its chain.
func decodeTLS(p *place, m *corev3.TransportSocket, c *Cluster) *identity.ClientTLS {
	if isPlaintext(m) {
		return nil
	}
	q := p.in("typed_config")
	var up tlsv3.UpstreamTlsContext
	if err := unpack(m.GetTypedConfig(), &up); err != nil {
		q.refuse("", "%w", err)
		return nil
	}
	q.only(&up, "common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation", "max_session_keys", "enforce_rsa_key_usage")
	if up.GetAutoHostSni() && up.GetSni() != "" {
		q.refuse("auto_host_sni", "not supported beside sni")
	}
	cp := q.in("common_tls_context")
	s := decodeProof(&cp, up.GetCommonTlsContext())
	t := &identity.ClientTLS{ServerName: up.GetSni(), SubjectAltNames: s.names}
	if s.mesh {
		t.Mutual, c.Secrets, c.Instances = true, s.secrets, s.instances
		switch {
		case s.certificate != "":
			cp.refuse("tls_certificates", "not supported beside the process's own roots")
		case s.crl != "":
			cp.refuse("validation_context.crl", "not supported beside the process's own roots")
		case !s.own:
			cp.warn("", "the process's own certificate is shown, too, to servers that ask for one")
		}
	} else {
		if s.own {
			cp.refuse("", "the process's own certificate is not supported beside roots that are not its own")
		}
		t.RootCAs, t.RootCAFile, t.RevocationFile, t.Insecure = s.pem, s.roots, s.crl, s.insecure
		t.CertificateFile, t.KeyFile = s.certificate, s.key
		if s.system {
			c.Secrets = s.secrets
		}
	}
	if up.GetAutoSniSanValidation() && (len(t.SubjectAltNames) > 0 || t.Mutual || t.Insecure) {
		q.refuse("auto_sni_san_validation", "not supported beside names, the process's own roots, or none")
	}
	return t
}

// decodeRoots returns PEM certificates, of which there must be some.
func decodeRoots(p *place, field string, m *corev3.DataSource) string {
	text, ok := decodeInline(p, field, m)
	if ok && !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		p.refuse(field, "holds no PEM certificate")
	}
	return text
}

func decodeInline(p *place, field string, m *corev3.DataSource) (string, bool) {
	switch s := m.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return s.InlineString, true
	case *corev3.DataSource_InlineBytes:
		return string(s.InlineBytes), true
	}
	p.refuse(field, "only what is inline is supported")
	return "", false
}

// encodeSockets is the reverse of decodeSockets.
func encodeSockets(m *clusterv3.Cluster, c *Cluster, rest fields) {
	socket := encodeTLS(c.TLS, c.HTTP2, c.Secrets, c.RevocationLists)
	if c.TLS != nil {
		rest.revoked("revoked", c.TLS.Revoked)
	}
	if !c.AutoTLS {
		m.TransportSocket = socket
		return
	}
	m.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
		{Name: "tlsMode-istio", Match: tlsMode(), TransportSocket: socket},
		{Name: "tlsMode-disabled", Match: &structpb.Struct{}, TransportSocket: &corev3.TransportSocket{
			Name: plaintextSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&rawv3.RawBuffer{})},
		}},
	}
}

// tlsMode is what endpoints say that take the mesh's mTLS.
func tlsMode() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{tlsModeField: structpb.NewStringValue(tlsModeIstio)}}
}

func encodeTLS(t *identity.ClientTLS, http2 bool, form Secrets, lists string) *corev3.TransportSocket {
	if t == nil {
		return nil
	}
	var protocols []string
	if http2 {
		protocols = []string{"h2"}
	}
	m := &tlsv3.UpstreamTlsContext{Sni: t.ServerName, AutoHostSni: t.ServerName == ""}
	if t.Mutual {
		m.CommonTlsContext = encodeOwn(form, t.SubjectAltNames, lists, protocols...)
	} else {
		m.CommonTlsContext = &tlsv3.CommonTlsContext{AlpnProtocols: protocols}
		encodeBelieved(m.CommonTlsContext, t, form)
		if t.CertificateFile != "" || t.KeyFile != "" {
			m.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: fileSource(t.CertificateFile), PrivateKey: fileSource(t.KeyFile)}}
		}
		m.AutoSniSanValidation = len(t.SubjectAltNames) == 0 && !t.Insecure
	}
	if form == SDS && !t.Mutual { // an Envoy's client offers 1.2 at most unless it is told, and gRPC refuses to be told
		m.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
	}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(m)}}
}

// encodeBelieved says what a certificate must prove, if anything.
func encodeBelieved(m *tlsv3.CommonTlsContext, t *identity.ClientTLS, form Secrets) {
	v := &tlsv3.CertificateValidationContext{}
	m.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	if t.Insecure {
		v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		return
	}
	if t.RevocationFile != "" {
		v.Crl = fileSource(t.RevocationFile)
	}
	encodeNames(v, t.SubjectAltNames)
	switch {
	case t.RootCAs != "":
		v.TrustedCa = inlineSource(t.RootCAs)
	case t.RootCAFile != "":
		v.TrustedCa = fileSource(t.RootCAFile)
	case form == Providers:
		v.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
	default:
		believeSecret(m, v, systemRoots)
	}
}

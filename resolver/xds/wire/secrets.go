package wire

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/identity"
)

// Secrets says by what a resource calls the process's own certificate, and the roots that it believes. weft reads both forms.
type Secrets uint8

// The forms.
const (
	// SDS are secrets named "default" and "ROOTCA", and "file-root:system" for the system's roots (Istio), without a place to
	// have them from: an Envoy finds them in its bootstrap.
	SDS Secrets = iota
	// Providers are the instance "default" of the bootstrap's certificate providers (gRFC A29), and system_root_certs (gRFC A82),
	// which an Envoy does not know.
	Providers
)

// OwnRoots is the name of the secret that holds what a process of the mesh is to believe (Istio).
const OwnRoots = "ROOTCA"

// The names of the process's own secrets (Istio).
const (
	ownCertificate = "default"
	ownInstance    = "default"
)

// What Istio has its agent make secrets of, by their names.
const (
	fileCertificate = "file-cert:" // CHAIN~KEY
	fileRoots       = "file-root:" // PATH, or
	systemRoots     = "file-root:system"
)

// A proof is what a TLS context says one shows and believes.
type proof struct {
	own    bool // shows the process's own certificate
	mesh   bool // believes the process's own roots
	system bool // believes the system's roots
	// insecure believes everybody.
	insecure bool
	secrets  Secrets
	// certificate, key, roots and crl are files; pem are roots.
	certificate, key, roots, crl, pem string
	names                             []identity.SubjectAltName
	instances                         []string // of certificate providers, but for ownInstance
}

// knownProtocols are those of ALPN that are offered anyhow, or that stand for nothing but Istio's proxies.
var knownProtocols = []string{"h2", "http/1.1", "istio-peer-exchange", "istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"}

// decodeProof reads a CommonTlsContext. Anything in it that is not known is refused: leaving it out could trust who is not meant.
func decodeProof(p *place, m *tlsv3.CommonTlsContext) *proof {
	s := new(proof)
	p.only(m, "alpn_protocols", "tls_params", "tls_certificates", "tls_certificate_sds_secret_configs", "tls_certificate_provider_instance",
		"tls_certificate_certificate_provider_instance", "validation_context", "validation_context_sds_secret_config",
		"combined_validation_context", "validation_context_certificate_provider_instance")
	for _, name := range m.GetAlpnProtocols() {
		if !slices.Contains(knownProtocols, name) {
			p.refuse("alpn_protocols", "%q is not supported", name)
		}
	}
	s.decodeShown(p, m)
	s.decodeBelieved(p, m)
	q := p.in("tls_params")
	decodeVersions(&q, m.GetTlsParams(), s.mesh)
	return s
}

// decodeVersions refuses floors that are not held; the mesh's own mTLS is TLS 1.3. A ceiling that is broken weakens nothing.
func decodeVersions(p *place, m *tlsv3.TlsParameters, mesh bool) {
	p.only(m, "tls_minimum_protocol_version", "tls_maximum_protocol_version")
	floor := tlsv3.TlsParameters_TLSv1_2
	if mesh {
		floor = tlsv3.TlsParameters_TLSv1_3
	}
	if v := m.GetTlsMinimumProtocolVersion(); v < 0 || v > floor {
		p.refuse("tls_minimum_protocol_version", "%v is not supported", v)
	}
	if v := m.GetTlsMaximumProtocolVersion(); v != tlsv3.TlsParameters_TLS_AUTO && v != tlsv3.TlsParameters_TLSv1_3 {
		p.warn("tls_maximum_protocol_version", "%v is not obeyed: newer ones are spoken, too", v)
	}
}

// decodeShown reads which certificate is shown.
func (s *proof) decodeShown(p *place, m *tlsv3.CommonTlsContext) {
	kinds := 0
	if list := m.GetTlsCertificates(); len(list) > 0 {
		kinds++
		if len(list) > 1 {
			p.refuse("tls_certificates", "%d, but only one is supported", len(list))
		}
		q := p.at("tls_certificates", 0)
		q.only(list[0], "certificate_chain", "private_key", "watched_directory")
		s.certificate = decodeFile(&q, "certificate_chain", list[0].GetCertificateChain())
		s.key = decodeFile(&q, "private_key", list[0].GetPrivateKey())
	}
	if list := m.GetTlsCertificateSdsSecretConfigs(); len(list) > 0 {
		kinds++
		if len(list) > 1 {
			p.refuse("tls_certificate_sds_secret_configs", "%d, but only one is supported", len(list))
		}
		name := list[0].GetName()
		files, isFile := strings.CutPrefix(name, fileCertificate)
		chain, key, ok := strings.Cut(files, "~")
		switch {
		case name == ownCertificate:
			s.own = true
		case isFile && ok && chain != "" && key != "":
			s.certificate, s.key = chain, key
		default:
			q := p.at("tls_certificate_sds_secret_configs", 0)
			q.refuse("name", "%q is not known: it must be %q", name, ownCertificate)
		}
	}
	old := m.GetTlsCertificateCertificateProviderInstance()
	if i := m.GetTlsCertificateProviderInstance(); i != nil {
		kinds++
		s.own, s.secrets = true, Providers
		s.instance(p, "tls_certificate_provider_instance", i.GetInstanceName())
	} else if old != nil {
		kinds++
		s.own, s.secrets = true, Providers
		s.instance(p, "tls_certificate_certificate_provider_instance", old.GetInstanceName())
	}
	if kinds > 1 {
		p.refuse("", "has certificates of %d kinds, but only one is supported", kinds)
	}
}

func (s *proof) instance(p *place, field, name string) {
	switch {
	case name == "":
		p.refuse(field+".instance_name", "empty")
	case name != ownInstance && !slices.Contains(s.instances, name):
		s.instances = append(s.instances, name)
	}
}

// decodeBelieved reads what those on the other side must prove, and by which roots.
func (s *proof) decodeBelieved(p *place, m *tlsv3.CommonTlsContext) {
	before := len(p.errs)
	switch v := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		q := p.in("validation_context")
		s.decodeValidation(&q, v.ValidationContext)
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		s.secretRoots(p, v.ValidationContextSdsSecretConfig)
	case *tlsv3.CommonTlsContext_ValidationContextCertificateProviderInstance:
		s.mesh = true
		s.instance(p, "validation_context_certificate_provider_instance", v.ValidationContextCertificateProviderInstance.GetInstanceName())
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		c := v.CombinedValidationContext
		q := p.in("combined_validation_context")
		q.only(c, "default_validation_context", "validation_context_sds_secret_config", "validation_context_certificate_provider_instance")
		in := q.in("default_validation_context")
		s.decodeValidation(&in, c.GetDefaultValidationContext())
		if c.GetValidationContextSdsSecretConfig() != nil {
			s.secretRoots(&q, c.GetValidationContextSdsSecretConfig())
		}
		if i := c.GetValidationContextCertificateProviderInstance(); i != nil {
			s.mesh = true
			s.instance(&q, "validation_context_certificate_provider_instance", i.GetInstanceName())
		}
	}
	sources := 0
	for _, there := range []bool{s.mesh, s.system, s.roots != "", s.pem != "", s.insecure} {
		if there {
			sources++
		}
	}
	switch {
	case sources > 1:
		p.refuse("validation_context_type", "has roots of %d kinds, but only one is supported", sources)
	case sources == 0 && len(p.errs) == before:
		p.refuse("validation_context_type", "no roots: nobody's certificate would be verified")
	}
}

func (s *proof) secretRoots(p *place, m *tlsv3.SdsSecretConfig) {
	name := m.GetName()
	file, isFile := strings.CutPrefix(name, fileRoots)
	switch {
	case name == OwnRoots:
		s.mesh = true
	case name == systemRoots:
		s.system = true
	case isFile && file != "":
		s.roots = file
	default:
		p.refuse("validation_context_sds_secret_config.name", "%q is not known: it must be %q", name, OwnRoots)
	}
}

func (s *proof) decodeValidation(p *place, m *tlsv3.CertificateValidationContext) {
	p.only(m, "trusted_ca", "system_root_certs", "ca_certificate_provider_instance", "match_typed_subject_alt_names",
		"match_subject_alt_names", "crl", "watched_directory", "trust_chain_verification")
	if ca := m.GetTrustedCa(); ca != nil {
		if ca.GetFilename() != "" {
			s.roots = ca.GetFilename()
		} else {
			s.pem = decodeRoots(p, "trusted_ca", ca)
		}
	}
	if m.GetSystemRootCerts() != nil {
		s.system, s.secrets = true, Providers
	}
	if i := m.GetCaCertificateProviderInstance(); i != nil {
		s.mesh = true
		s.instance(p, "ca_certificate_provider_instance", i.GetInstanceName())
	}
	s.names = append(s.names, decodeNames(p, m)...)
	if m.GetCrl() != nil {
		s.crl = decodeFile(p, "crl", m.GetCrl())
	}
	switch v := m.GetTrustChainVerification(); v {
	case tlsv3.CertificateValidationContext_VERIFY_TRUST_CHAIN:
	case tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED:
		s.insecure = true
		if len(s.names) > 0 || s.crl != "" {
			p.refuse("trust_chain_verification", "ACCEPT_UNTRUSTED is not supported beside what is to be verified")
		}
	default:
		p.refuse("trust_chain_verification", "unknown value %d", v)
	}
}

// decodeFile returns the path of a file, which must be one.
func decodeFile(p *place, field string, m *corev3.DataSource) string {
	if m.GetFilename() == "" {
		p.refuse(field, "only a file is supported")
	}
	return m.GetFilename()
}

func fileSource(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

func inlineSource(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

// encodeOwn is a context of the process's own secrets. An Envoy looks for the lists of leaves' issuers alone: those of others would take keys that
// the authority seldom has at hand.
func encodeOwn(form Secrets, names []identity.SubjectAltName, lists string, protocols ...string) *tlsv3.CommonTlsContext {
	m := &tlsv3.CommonTlsContext{AlpnProtocols: protocols}
	v := &tlsv3.CertificateValidationContext{}
	encodeNames(v, names)
	if form == Providers {
		m.TlsCertificateProviderInstance = &tlsv3.CertificateProviderPluginInstance{InstanceName: ownInstance, CertificateName: ownCertificate}
		v.CaCertificateProviderInstance = &tlsv3.CertificateProviderPluginInstance{InstanceName: ownInstance, CertificateName: OwnRoots}
		m.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		return m
	}
	// The members of the mesh speak nothing older; an Envoy's client would offer nothing newer than 1.2. gRPC refuses to be told.
	m.TlsParams = &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
	m.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{{Name: ownCertificate}}
	if lists != "" {
		v.Crl, v.OnlyVerifyLeafCertCrl = inlineSource(lists), true
	}
	believeSecret(m, v, OwnRoots)
	return m
}

// believeSecret has roots by the name of a secret, and what else must be proved.
func believeSecret(m *tlsv3.CommonTlsContext, v *tlsv3.CertificateValidationContext, name string) {
	roots := &tlsv3.SdsSecretConfig{Name: name}
	if proto.Size(v) == 0 {
		m.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: roots}
		return
	}
	m.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: v, ValidationContextSdsSecretConfig: roots,
		},
	}
}

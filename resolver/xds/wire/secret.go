package wire

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// SecretType is the type URL of secrets.
const SecretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// spiffeValidator is the validator that knows roots by trust domain.
const spiffeValidator = "envoy.tls.cert_validator.spiffe"

// A Secret is what one proves who one is with, or what others are believed by (SDS). Printed, it does not tell its Key.
type Secret struct {
	Name string
	// Certificates are a chain, leaf first, and Key is its private key, in PEM.
	Certificates, Key string
	// Roots are PEM certificates that are believed whatever a certificate's trust domain is.
	Roots string
	// Bundles are PEM certificates by the trust domain that they are believed of, and no other (Envoy's SPIFFE validator). A Secret has
	// either a Key, or Roots, or Bundles.
	Bundles map[string]string
	// Warnings name what was set but is not obeyed. Not encoded.
	Warnings []string
}

// String is s without its Key.
func (s Secret) String() string {
	return fmt.Sprintf("secret %q (%d bytes of certificates, %d of roots, %d bundles)", s.Name, len(s.Certificates), len(s.Roots), len(s.Bundles))
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// DecodeSecret reads a Secret: an inline tls_certificate or validation_context.
func DecodeSecret(a *anypb.Any) (*Secret, error) {
	var m tlsv3.Secret
	r, err := open(a, "secret", &m)
	if err != nil {
		return nil, err
	}
	p := r.root()
	s := &Secret{Name: m.GetName()}
	switch t := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		q := p.in("tls_certificate")
		decodeCertificate(&q, t.TlsCertificate, s)
	case *tlsv3.Secret_ValidationContext:
		q := p.in("validation_context")
		decodeTrust(&q, t.ValidationContext, s)
	default:
		p.refuse("type", "only tls_certificate and validation_context are supported")
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	s.Warnings = r.warnings()
	return s, nil
}

func decodeCertificate(p *place, m *tlsv3.TlsCertificate, s *Secret) {
	p.only(m, "certificate_chain", "private_key")
	chain, there := decodeInline(p, "certificate_chain", m.GetCertificateChain())
	key, known := decodeInline(p, "private_key", m.GetPrivateKey())
	if !there || !known {
		return
	}
	if _, err := tls.X509KeyPair([]byte(chain), []byte(key)); err != nil {
		p.refuse("", "%w", err)
		return
	}
	s.Certificates, s.Key = chain, key
}

func decodeTrust(p *place, m *tlsv3.CertificateValidationContext, s *Secret) {
	p.only(m, "trusted_ca", "custom_validator_config")
	config := m.GetCustomValidatorConfig()
	if config == nil {
		s.Roots = decodeRoots(p, "trusted_ca", m.GetTrustedCa())
		return
	}
	if m.GetTrustedCa() != nil {
		p.refuse("trusted_ca", "not supported beside custom_validator_config")
	}
	q := p.in("custom_validator_config.typed_config")
	var v tlsv3.SPIFFECertValidatorConfig
	if !unpackAt(&q, config.GetTypedConfig(), &v) {
		return
	}
	q.only(&v, "trust_domains")
	s.Bundles = map[string]string{}
	for i, d := range v.GetTrustDomains() {
		in := q.at("trust_domains", i)
		in.only(d, "name", "trust_bundle")
		name := d.GetName()
		switch _, there := s.Bundles[name]; {
		case name == "":
			in.refuse("name", "empty")
		case there:
			in.refuse("name", "%q is there twice", name)
		}
		s.Bundles[name] = decodeRoots(&in, "trust_bundle", d.GetTrustBundle())
	}
	if len(s.Bundles) == 0 {
		q.refuse("trust_domains", "none")
	}
}

// EncodeSecret is the reverse of DecodeSecret.
func EncodeSecret(s Secret) proto.Message {
	m := &tlsv3.Secret{Name: s.Name}
	if s.Key != "" || s.Certificates != "" {
		m.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inlineSource(s.Certificates), PrivateKey: inlineSource(s.Key),
		}}
		return m
	}
	v := &tlsv3.CertificateValidationContext{}
	if len(s.Bundles) == 0 {
		v.TrustedCa = inlineSource(s.Roots)
	} else {
		config := &tlsv3.SPIFFECertValidatorConfig{}
		for _, domain := range slices.Sorted(maps.Keys(s.Bundles)) {
			config.TrustDomains = append(config.TrustDomains, &tlsv3.SPIFFECertValidatorConfig_TrustDomain{Name: domain, TrustBundle: inlineSource(s.Bundles[domain])})
		}
		v.CustomValidatorConfig = &corev3.TypedExtensionConfig{Name: spiffeValidator, TypedConfig: pack(config)}
	}
	m.Type = &tlsv3.Secret_ValidationContext{ValidationContext: v}
	return m
}

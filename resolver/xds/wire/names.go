package wire

import (
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// nameTypes are the types of names on the wire; AnyName has a field of its own.
var nameTypes = map[tlsv3.SubjectAltNameMatcher_SanType]identity.NameType{
	tlsv3.SubjectAltNameMatcher_DNS:        identity.DNSName,
	tlsv3.SubjectAltNameMatcher_URI:        identity.URIName,
	tlsv3.SubjectAltNameMatcher_IP_ADDRESS: identity.IPName,
	tlsv3.SubjectAltNameMatcher_EMAIL:      identity.EmailName,
}

// decodeNames reads which names, any of them, a certificate must have: those of a type, then those of any.
func decodeNames(p *place, m *tlsv3.CertificateValidationContext) []identity.SubjectAltName {
	var names []identity.SubjectAltName
	for i, n := range m.GetMatchTypedSubjectAltNames() {
		q := p.at("match_typed_subject_alt_names", i)
		q.only(n, "san_type", "matcher")
		kind, ok := nameTypes[n.GetSanType()]
		if !ok {
			q.refuse("san_type", "%v is not supported", n.GetSanType())
		}
		in := q.in("matcher")
		names = append(names, identity.SubjectAltName{Type: kind, Is: decodeName(&in, n.GetMatcher())})
	}
	for i, n := range m.GetMatchSubjectAltNames() {
		q := p.at("match_subject_alt_names", i)
		names = append(names, identity.SubjectAltName{Is: decodeName(&q, n)})
	}
	return names
}

// decodeName reads a condition that no empty name fulfils (gRFC A29).
func decodeName(p *place, m *matcherv3.StringMatcher) match.String {
	is := decodeString(p, m)
	switch {
	case is.Kind == match.Exact && is.Value == "" && m.GetMatchPattern() != nil:
		p.refuse("exact", "empty")
	case is.Kind == match.Regex && m.GetIgnoreCase():
		p.refuse("ignore_case", "not supported beside safe_regex")
	}
	return is
}

// encodeNames puts names of any type after the others.
func encodeNames(m *tlsv3.CertificateValidationContext, names []identity.SubjectAltName) {
	for _, n := range names {
		if n.Type == identity.AnyName {
			m.MatchSubjectAltNames = append(m.MatchSubjectAltNames, encodeString(n.Is))
			continue
		}
		kind := tlsv3.SubjectAltNameMatcher_SAN_TYPE_UNSPECIFIED // which readers refuse
		for t, of := range nameTypes {
			if of == n.Type {
				kind = t
			}
		}
		m.MatchTypedSubjectAltNames = append(m.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: encodeString(n.Is)})
	}
}

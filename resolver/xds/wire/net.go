package wire

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// decodeNet reads a range of addresses. Its length must be said, lest it be all of them.
func decodeNet(p place, m *corev3.CidrRange) netip.Prefix {
	p.only(m, "address_prefix", "prefix_len")
	addr, err := netip.ParseAddr(m.GetAddressPrefix())
	switch {
	case err != nil || addr.Zone() != "":
		p.refuse("address_prefix", "%.80q is no IP address", m.GetAddressPrefix())
		return netip.Prefix{}
	case m.GetPrefixLen() == nil:
		p.refuse("prefix_len", "missing")
		return netip.Prefix{}
	}
	bits := m.GetPrefixLen().GetValue()
	if bits > uint32(addr.BitLen()) {
		p.refuse("prefix_len", "%d is more than %d", bits, addr.BitLen())
		return netip.Prefix{}
	}
	if addr.Is4In6() {
		if bits < 96 {
			p.refuse("prefix_len", "%d is less than 96 of an IPv4 address within IPv6", bits)
			return netip.Prefix{}
		}
		addr, bits = addr.Unmap(), bits-96
	}
	return netip.PrefixFrom(addr, int(bits)).Masked()
}

// encodeNet writes a range that is none as an address that readers refuse.
func encodeNet(n netip.Prefix) *corev3.CidrRange {
	if !n.IsValid() {
		return &corev3.CidrRange{}
	}
	return &corev3.CidrRange{AddressPrefix: n.Masked().Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(n.Bits()))}
}

// templateMatcher is the name that Envoy's routes know it by.
const templateMatcher = "envoy.path.match.uri_template.uri_template_matcher"

// decodeTemplate reads a template of paths.
func decodeTemplate(p *place, field string, m *corev3.TypedExtensionConfig) string {
	in := p.in(field)
	q := in.in("typed_config")
	var t templatev3.UriTemplateMatchConfig
	if !unpackAt(&q, m.GetTypedConfig(), &t) {
		return ""
	}
	if n := len(t.GetPathTemplate()); n == 0 || n > 256 {
		q.refuse("path_template", "%d bytes are not within 1 and 256", n)
	} else if t.GetPathTemplate()[0] != '/' {
		q.refuse("path_template", "%q does not begin with /", t.GetPathTemplate())
	}
	return t.GetPathTemplate()
}

func encodeTemplate(template string) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: templateMatcher, TypedConfig: pack(&templatev3.UriTemplateMatchConfig{PathTemplate: template})}
}

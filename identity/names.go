package identity

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// names are SubjectAltNames made ready. None of them is fulfilled by a name that is empty.
type names []name

type name struct {
	SubjectAltName
	is   match.Matcher
	addr netip.Addr // of an exact address; else invalid
}

func readyNames(all []SubjectAltName) (names, error) {
	var out names
	for i, n := range all {
		is, err := n.Is.Compile()
		if err != nil {
			return nil, fmt.Errorf("subject alt name %d: %w", i, err)
		}
		if n.Type > EmailName {
			return nil, fmt.Errorf("subject alt name %d: unknown type %d", i, n.Type)
		}
		ready := name{SubjectAltName: n, is: is}
		if n.Is.Kind == match.Exact {
			ready.addr, _ = netip.ParseAddr(n.Is.Value)
			ready.addr = ready.addr.Unmap()
		}
		out = append(out, ready)
	}
	return out, nil
}

// in demands one of the names of a certificate whose URIs are these. No names demand nothing.
func (n names) in(cert *x509.Certificate, uris []string) error {
	if len(n) == 0 {
		return nil
	}
	for i := range n {
		if n[i].in(cert, uris) {
			return nil
		}
	}
	wanted := make([]string, 0, len(n))
	for _, w := range n {
		wanted = append(wanted, w.Is.Value)
	}
	return fmt.Errorf("none of its names is %s", strings.Join(wanted, " or "))
}

func (n *name) in(cert *x509.Certificate, uris []string) bool {
	of := func(t NameType) bool { return n.Type == AnyName || n.Type == t }
	if of(DNSName) && slices.ContainsFunc(cert.DNSNames, n.isDNS) {
		return true
	}
	if of(URIName) {
		for _, have := range uris {
			if have != "" && n.is.Matches(have) {
				return true
			}
		}
	}
	if of(IPName) {
		for _, have := range cert.IPAddresses {
			addr, ok := netip.AddrFromSlice(have)
			if ok && n.isAddr(addr.Unmap()) {
				return true
			}
		}
	}
	if of(EmailName) {
		for _, have := range cert.EmailAddresses {
			if have != "" && n.is.Matches(have) {
				return true
			}
		}
	}
	return false
}

// isDNS compares without letter case where the condition is exact, as names are, and has "*." at the beginning of a certificate's name stand
// for one label (RFC 6125 6.4.3, Envoy dnsNameMatch).
func (n *name) isDNS(have string) bool {
	if have == "" {
		return false
	}
	if n.Is.Kind != match.Exact {
		return n.is.Matches(have)
	}
	have, want := match.ToLower(have), match.ToLower(n.Is.Value)
	if have == want {
		return true
	}
	domain, ok := strings.CutPrefix(have, "*.")
	if !ok || domain == "" {
		return false
	}
	label, rest, ok := strings.Cut(want, ".")
	return ok && label != "" && label != "*" && rest == domain
}

func (n *name) isAddr(have netip.Addr) bool {
	if n.Is.Kind == match.Exact {
		return n.addr.IsValid() && n.addr == have
	}
	return n.is.Matches(have.String())
}

// webNames are the URIs of a certificate, as they are compared where it need not be an X509-SVID.
func webNames(cert *x509.Certificate) []string {
	out := make([]string, 0, len(cert.URIs))
	for _, u := range cert.URIs {
		out = append(out, u.String())
	}
	return out
}

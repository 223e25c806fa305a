package catalog

import (
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
)

// A Revocation takes back what was certified: what it names is not believed any more, from within a second of its being
// written on. It stands in the root namespace, and what all of them name adds up. It needs serials or identities. Of one that
// has a mistake, what can be read holds nevertheless.
type Revocation struct {
	// Serials are the serial numbers of certificates, in hexadecimal, with or without colons, quoted. Default: none.
	Serials []Serial `json:"serials"`
	// Identities are SPIFFE IDs such as "spiffe://example.org/ns/shop/sa/payments": no certificate of theirs is believed,
	// however new. Default: none.
	Identities []SPIFFEID `json:"identities"`
	// Reason is for those who read it. Default: none.
	Reason string `json:"reason"`
}

// A Serial is the serial number of a certificate, in hexadecimal, with or without colons.
type Serial string

// Pattern is what a serial number looks like.
func (Serial) Pattern() string { return `^[0-9A-Fa-f]{1,2}(:?[0-9A-Fa-f]{1,2})*$` }

// A SPIFFEID is an identity, such as "spiffe://example.org/ns/shop/sa/payments".
type SPIFFEID string

// Pattern is what an identity looks like.
func (SPIFFEID) Pattern() string { return `^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$` }

// plain is the number as identity.Serial writes it.
func (s Serial) plain() string {
	plain := strings.TrimLeft(strings.ToLower(strings.ReplaceAll(string(s), ":", "")), "0")
	if plain == "" {
		return "0"
	}
	return plain
}

// revoked adds up the Revocations of the root namespace.
func (c *Catalog) revoked() *identity.Revoked {
	var out identity.Revoked
	for _, o := range c.objects {
		if o.Revocation == nil || o.Namespace != c.mesh.RootNamespace {
			continue
		}
		for _, s := range o.Revocation.Serials {
			out.Serials = append(out.Serials, s.plain())
		}
		for _, text := range o.Revocation.Identities {
			if id, err := spiffeid.FromString(string(text)); err == nil {
				out.IDs = append(out.IDs, id)
			}
		}
	}
	if len(out.Serials)+len(out.IDs) == 0 {
		return nil
	}
	slices.Sort(out.Serials)
	out.Serials = slices.Compact(out.Serials)
	slices.SortFunc(out.IDs, func(a, b spiffeid.ID) int { return strings.Compare(a.String(), b.String()) })
	out.IDs = slices.Compact(out.IDs)
	return &out
}

package catalog

import (
	"fmt"
	"regexp"
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

var serials = regexp.MustCompile(`^[0-9A-Fa-f]{1,2}(:?[0-9A-Fa-f]{1,2}){0,20}$`)

// UnmarshalText reads a serial number. None has more than 20 bytes (RFC 5280).
func (s *Serial) UnmarshalText(text []byte) error {
	if !serials.Match(text) {
		return fmt.Errorf("%q is not a serial number in hexadecimal, such as \"0a:1b:2c\"", text)
	}
	*s = Serial(text)
	return nil
}

// Pattern is what a serial number looks like.
func (Serial) Pattern() string { return serials.String() }

// plain is the number as identity.Serial writes it.
func (s Serial) plain() string {
	plain := strings.TrimLeft(strings.ToLower(strings.ReplaceAll(string(s), ":", "")), "0")
	if plain == "" {
		return "0"
	}
	return plain
}

// A SPIFFEID is an identity, such as "spiffe://example.org/ns/shop/sa/payments".
type SPIFFEID string

// UnmarshalText reads an identity.
func (s *SPIFFEID) UnmarshalText(text []byte) error {
	id, err := spiffeid.FromString(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a SPIFFE ID such as \"spiffe://example.org/ns/shop/sa/payments\": %w", text, err)
	case id.Path() == "":
		return fmt.Errorf("%q is a whole trust domain, and not one identity", text)
	}
	*s = SPIFFEID(text)
	return nil
}

// Pattern is what an identity looks like.
func (SPIFFEID) Pattern() string { return `^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$` }

// revocation checks what types do not say of a Revocation.
func (v *validator) revocation(r *Revocation, p *path) {
	if len(r.Serials)+len(r.Identities) == 0 {
		v.fail(p, "takes nothing back: it needs serials or identities")
	}
}

// revoked adds up Revocations.
func revoked(all []*Object) *identity.Revoked {
	var out identity.Revoked
	for _, o := range all {
		for _, s := range o.Revocation.Serials {
			if s != "" { // could not be read
				out.Serials = append(out.Serials, s.plain())
			}
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

package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/explain"
	"github.com/weftmesh/weft/controlserver/publish"
)

// A prover is what is said of a caller on the command line.
type prover struct {
	principal, address string
	plaintext          bool
	claims             []string
}

// caller is who the calling service is.
func (p prover) caller(v *publish.View, from string) (explain.Caller, error) {
	c := explain.Caller{Plaintext: p.plaintext}
	principal := p.principal
	if principal == "" && v.TrustDomain() != "" {
		name, _, _ := strings.Cut(from, ".")
		namespace, accounts := v.Accounts(from)
		principal = v.TrustDomain() + "/ns/" + namespace + "/sa/" + cmp.Or(append(accounts, name)...)
	}
	var err error
	if principal != "" {
		if c.ID, err = spiffeid.FromString("spiffe://" + strings.TrimPrefix(principal, "spiffe://")); err != nil {
			return c, usageError{fmt.Errorf("--principal %q is no identity: %w", principal, err)}
		}
	}
	if p.address != "" {
		if c.Address, err = netip.ParseAddr(p.address); err != nil {
			return c, usageError{fmt.Errorf("--ip %q is no IP address", p.address)}
		}
	}
	for _, text := range p.claims {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return c, usageError{fmt.Errorf("--claim %q is not name=value", text)}
		}
		if c.Claims == nil {
			c.Claims = map[string]any{}
		}
		put(c.Claims, name, value)
	}
	return c, nil
}

// put adds a claim. One that is there already becomes a list.
func put(claims map[string]any, name, value string) {
	path := []string{name}
	if inner, ok := strings.CutPrefix(name, "["); ok && strings.HasSuffix(inner, "]") {
		path = strings.Split(strings.TrimSuffix(inner, "]"), "][")
	}
	for _, outer := range path[:len(path)-1] {
		in, ok := claims[outer].(map[string]any)
		if !ok {
			in = map[string]any{}
			claims[outer] = in
		}
		claims = in
	}
	last := path[len(path)-1]
	switch have := claims[last].(type) {
	case nil:
		claims[last] = value
	case []any:
		claims[last] = append(have, value)
	default:
		claims[last] = []any{have, value}
	}
}

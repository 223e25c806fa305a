package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/ca"
)

// pairs reads "name=value,name=value", each name one of those that are known.
func pairs(text string, known ...string) (map[string][]string, error) {
	out := map[string][]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		if !ok || value == "" {
			return nil, fmt.Errorf("%q is not name=value", part)
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%q is none of %s", name, strings.Join(known, ", "))
		}
		out[name] = append(out[name], value)
	}
	return out, nil
}

func one(values map[string][]string, name string) string {
	if v := values[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func parseIssuer(text string) (ca.Issuer, error) {
	v, err := pairs(text, "issuer", "audience", "jwks-file", "jwks-uri", "root-ca", "token-file", "subject")
	if err != nil {
		return ca.Issuer{}, err
	}
	i := ca.Issuer{
		Issuer: one(v, "issuer"), Audiences: v["audience"], JWKSFile: one(v, "jwks-file"), JWKSURI: one(v, "jwks-uri"),
		RootCAFile: one(v, "root-ca"), TokenFile: one(v, "token-file"),
	}
	for _, s := range v["subject"] {
		sub, path, ok := strings.Cut(s, ">")
		if !ok {
			return i, fmt.Errorf("subject %q is not SUBJECT>/ns/NAMESPACE/sa/ACCOUNT", s)
		}
		if i.Subjects == nil {
			i.Subjects = map[string]string{}
		}
		i.Subjects[sub] = path
	}
	return i, nil
}

func parseFederation(text string) (ca.Federation, error) {
	v, err := pairs(text, "trust-domain", "url", "endpoint-id", "bundle-file", "root-ca")
	if err != nil {
		return ca.Federation{}, err
	}
	f := ca.Federation{URL: one(v, "url"), Profile: ca.HTTPSWeb, BundleFile: one(v, "bundle-file"), RootCAFile: one(v, "root-ca")}
	if f.TrustDomain, err = spiffeid.TrustDomainFromString(one(v, "trust-domain")); err != nil {
		return f, fmt.Errorf("trust-domain: %w", err)
	}
	if id := one(v, "endpoint-id"); id != "" {
		f.Profile = ca.HTTPSSPIFFE
		if f.EndpointID, err = spiffeid.FromString(id); err != nil {
			return f, fmt.Errorf("endpoint-id: %w", err)
		}
	}
	return f, nil
}

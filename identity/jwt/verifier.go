package jwt

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// Check returns all that is wrong with a JWT, each error naming its provider or requirement.
func Check(j *identity.JWT) []error {
	v, faults := newVerifier(j)
	for _, p := range v.providers {
		if p.fault != nil {
			faults = append(faults, fmt.Errorf("provider %s: %w", p.Name, p.fault))
		}
	}
	return faults
}

// A verifier is an identity.JWT made ready.
type verifier struct {
	providers    []*provider
	requirements []requirement
	own          []string // headers that carry claims
	fault        error    // lest what can't be told be passed over, nothing is let through
	used         atomic.Int64
}

// A provider is an identity.Provider made ready, its defaults filled in.
type provider struct {
	identity.Provider
	places   []place
	subjects []match.Matcher
	spaced   []string
	keys     *keySet // those that are configured
	fault    error   // of these: no token verifies
	remote   atomic.Pointer[remote]
}

// newVerifier makes j ready, and returns what is wrong with it besides the keys of providers.
func newVerifier(j *identity.JWT) (v *verifier, faults []error) {
	v = &verifier{}
	for i := range j.Providers {
		p := &provider{}
		v.providers = append(v.providers, p)
		for _, err := range p.init(j.Providers[i]) {
			faults = append(faults, fmt.Errorf("provider %s: %w", p.Name, err))
		}
		if slices.ContainsFunc(j.Providers[:i], func(o identity.Provider) bool { return o.Name == p.Name }) {
			faults = append(faults, fmt.Errorf("provider %s: there are two of that name", p.Name))
		}
		for _, name := range p.carriers() {
			if !slices.Contains(v.own, name) {
				v.own = append(v.own, name)
			}
		}
	}
	for i := range j.Requirements {
		q, err := v.require(&j.Requirements[i])
		if err != nil {
			faults = append(faults, fmt.Errorf("requirement %d: %w", i, err))
		}
		v.requirements = append(v.requirements, q)
	}
	if len(faults) > 0 {
		v.fault = errors.Join(faults...)
	}
	return v, faults
}

func (v *verifier) touch(now time.Time) {
	if s := now.Unix(); v.used.Load() != s {
		v.used.Store(s)
	}
}

// init makes p ready, and returns what is wrong with it besides its keys, which are its fault.
func (p *provider) init(is identity.Provider) (faults []error) {
	p.Provider = is
	say := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if p.Name == "" {
		say("has no name")
	}
	for name, d := range map[string]*time.Duration{"timeout": &p.Timeout, "time to keep keys": &p.CacheFor,
		"time to use old keys": &p.MaxStale, "skew": &p.Skew, "lifetime": &p.MaxLifetime} {
		if *d < 0 {
			say("%s is negative", name)
		}
	}
	p.Timeout, p.CacheFor = or(p.Timeout, 5*time.Second), or(p.CacheFor, 10*time.Minute)
	p.MaxStale, p.Skew = or(p.MaxStale, 24*time.Hour), or(p.Skew, time.Minute)
	for _, s := range p.Subjects {
		m, err := s.Compile()
		if err != nil {
			say("subjects: %w", err)
		}
		p.subjects = append(p.subjects, m)
	}
	from := p.From
	if len(from) == 0 {
		from = []identity.TokenPlace{{Kind: identity.InHeader, Name: "authorization", Prefix: "Bearer "}, {Kind: identity.InQuery, Name: "access_token"}}
	}
	for _, f := range from {
		at, err := newPlace(f)
		if err != nil {
			say("%w", err)
		}
		p.places = append(p.places, at)
	}
	for _, name := range p.carriers() {
		if !match.IsLower(name) || !mayCarry(name) {
			say("header %q can't carry claims", name)
		}
	}
	p.spaced = append([]string{"scope", "permission"}, p.SpaceDelimited...)
	p.keys, p.fault = p.configured()
	return faults
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// configured are the keys of the configuration; nil if keys are fetched.
func (p *provider) configured() (*keySet, error) {
	if p.JWKS != "" {
		return parseKeys([]byte(p.JWKS), false)
	}
	u, err := url.Parse(p.URI)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("has neither keys nor an http(s) URI of keys")
	}
	return nil, nil
}

// carriers are the headers that carry the provider's claims.
func (p *provider) carriers() (names []string) {
	if p.PayloadHeader != "" {
		names = append(names, p.PayloadHeader)
	}
	for _, c := range p.ClaimHeaders {
		names = append(names, c.Header)
	}
	return names
}

// mayCarry reports whether claims may be put into a header: not into what makes a request what it is, nor what the mesh vouches for.
func mayCarry(name string) bool {
	switch name {
	case "", "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "x-forwarded-client-cert":
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return true
}

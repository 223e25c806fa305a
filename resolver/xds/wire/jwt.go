package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

const (
	jwtFilter = "envoy.filters.http.jwt_authn"
	// direct stands for the cluster of a server that is called as its URI says.
	direct = "weft-direct"
)

// fetchTime is the default of Provider.Timeout.
const fetchTime = 5 * time.Second

// alwaysSplit are claims that are lists with spaces between, whatever is said (Istio).
var alwaysSplit = []string{"scope", "permission"}

// decodeJWT reads jwt_authn. The providers' order is that of their names.
func decodeJWT(p *place, m *jwtv3.JwtAuthentication, own *own) (*identity.JWT, claimKey) {
	p.only(m, "providers", "rules", "requirement_map", "bypass_cors_preflight", "strip_failure_response", "stat_prefix")
	if m.GetBypassCorsPreflight() {
		p.warn("bypass_cors_preflight", "not supported yet, has no effect")
	}
	out := new(identity.JWT)
	keys := map[string]string{} // in metadata, by provider
	stale := own.in("max_stale")
	for _, name := range slices.Sorted(maps.Keys(m.GetProviders())) {
		in := p.in("providers")
		q := in.in(name)
		if name == "" {
			q.refuse("", "a provider has no name")
		}
		v := decodeProvider(&q, name, m.GetProviders()[name])
		v.MaxStale = stale.duration(name)
		out.Providers = append(out.Providers, v)
		keys[name] = m.GetProviders()[name].GetPayloadInMetadata()
	}
	if stale != nil {
		stale.closed()
	}
	if own != nil {
		own.closed()
	}
	for i, r := range m.GetRules() {
		q := p.at("rules", i)
		out.Requirements = append(out.Requirements, decodeRequirement(&q, r, m))
	}
	return out, func(key string) (string, error) { return providerOf(keys, key) }
}

// providerOf finds whose tokens' claims are under a key: everybody's, or one provider's.
func providerOf(keys map[string]string, key string) (string, error) {
	var with []string
	for name, k := range keys {
		if k == key {
			with = append(with, name)
		}
	}
	switch {
	case key == anyPayload && len(with) == len(keys):
		return "", nil
	case key != anyPayload && len(with) == 1:
		return with[0], nil
	}
	return "", fmt.Errorf("of %d providers %d have their payload_in_metadata %q, but only one, or all for %q, are supported", len(keys), len(with), key, anyPayload)
}

func decodeProvider(p *place, name string, m *jwtv3.JwtProvider) identity.Provider {
	p.only(m, "issuer", "audiences", "subjects", "require_expiration", "max_lifetime", "remote_jwks", "local_jwks", "forward", "from_headers",
		"from_params", "from_cookies", "forward_payload_header", "pad_forward_payload_header", "payload_in_metadata", "normalize_payload_in_metadata",
		"header_in_metadata", "failed_status_in_metadata", "clock_skew_seconds", "jwt_cache_config", "claim_to_headers", "clear_route_cache")
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"pad_forward_payload_header", m.GetPadForwardPayloadHeader()},
		{"header_in_metadata", m.GetHeaderInMetadata() != ""}, {"failed_status_in_metadata", m.GetFailedStatusInMetadata() != ""},
	} {
		if f.set {
			p.warn(f.name, "not supported yet, has no effect")
		}
	}
	out := identity.Provider{
		Name: name, Issuer: m.GetIssuer(), Audiences: m.GetAudiences(), Forward: m.GetForward(),
		PayloadHeader: match.ToLower(m.GetForwardPayloadHeader()),
		Skew:          time.Duration(m.GetClockSkewSeconds()) * time.Second,
		MaxLifetime:   p.positive("max_lifetime", m.GetMaxLifetime()),
	}
	if m.GetSubjects() != nil {
		q := p.in("subjects")
		out.Subjects = []match.String{decodeString(&q, m.GetSubjects())}
	}
	switch s := m.GetJwksSourceSpecifier().(type) {
	case *jwtv3.JwtProvider_LocalJwks:
		var ok bool
		if out.JWKS, ok = decodeInline(p, "local_jwks", s.LocalJwks); ok && out.JWKS == "" {
			p.refuse("local_jwks", "empty")
		}
	case *jwtv3.JwtProvider_RemoteJwks:
		q := p.in("remote_jwks")
		decodeRemote(&q, s.RemoteJwks, &out)
	default:
		p.refuse("jwks_source_specifier", "missing: neither remote_jwks nor local_jwks")
	}
	decodePlaces(p, m, &out)
	for i, c := range m.GetClaimToHeaders() {
		q := p.at("claim_to_headers", i)
		q.only(c, "header_name", "claim_name", "claim_path")
		h := identity.ClaimHeader{Header: match.ToLower(c.GetHeaderName()), Claim: c.GetClaimName()}
		if path := c.GetClaimPath(); len(path) > 0 {
			q.refuse("claim_path", "not supported")
		}
		if h.Header == "" || h.Claim == "" {
			q.refuse("", "needs a header_name and a claim_name")
		}
		out.ClaimHeaders = append(out.ClaimHeaders, h)
	}
	for _, claim := range m.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims() {
		if !slices.Contains(alwaysSplit, claim) {
			out.SpaceDelimited = append(out.SpaceDelimited, claim)
		}
	}
	return out
}

// decodePlaces reads where a token may stand: headers, then parameters, then cookies.
func decodePlaces(p *place, m *jwtv3.JwtProvider, out *identity.Provider) {
	for i, h := range m.GetFromHeaders() {
		if h.GetName() == "" {
			q := p.at("from_headers", i)
			q.refuse("name", "empty")
		}
		out.From = append(out.From, identity.TokenPlace{Name: match.ToLower(h.GetName()), Prefix: h.GetValuePrefix()})
	}
	for i, name := range m.GetFromParams() {
		if name == "" {
			q := p.at("from_params", i)
			q.refuse("", "empty")
		}
		out.From = append(out.From, identity.TokenPlace{Kind: identity.InQuery, Name: name})
	}
	for i, name := range m.GetFromCookies() {
		if name == "" {
			q := p.at("from_cookies", i)
			q.refuse("", "empty")
		}
		out.From = append(out.From, identity.TokenPlace{Kind: identity.InCookie, Name: name})
	}
}

func decodeRemote(p *place, m *jwtv3.RemoteJwks, out *identity.Provider) {
	p.only(m, "http_uri", "cache_duration", "async_fetch", "retry_policy")
	out.CacheFor = p.positive("cache_duration", m.GetCacheDuration())
	q := p.in("http_uri")
	if out.URI = m.GetHttpUri().GetUri(); out.URI == "" {
		q.refuse("uri", "empty")
	}
	out.Service = decodeService(&q, "cluster", m.GetHttpUri().GetCluster(), direct)
	if out.Timeout = decodeURITimeout(&q, m.GetHttpUri()); out.Timeout == fetchTime {
		out.Timeout = 0
	}
}

func decodeURITimeout(p *place, m *corev3.HttpUri) time.Duration {
	if m.GetTimeout() == nil {
		p.refuse("timeout", "missing")
	}
	return p.positive("timeout", m.GetTimeout())
}

// decodeService is the name by which the mesh calls what a cluster stands for (Istio): "host:port".
func decodeService(p *place, field, cluster, none string) string {
	if none != "" && cluster == none {
		return ""
	}
	parts := strings.Split(cluster, "|")
	if len(parts) != 4 || parts[0] != "outbound" || parts[1] == "" || parts[2] != "" || parts[3] == "" || strings.ContainsAny(parts[3]+parts[1], ":/") ||
		strings.Trim(parts[1], "0123456789") != "" {
		p.refuse(field, `%.120q names no service: it must be "outbound|PORT||HOST"`, cluster)
		return ""
	}
	return parts[3] + ":" + parts[1]
}

func encodeService(service, none string) string {
	i := strings.LastIndexByte(service, ':')
	switch {
	case service == "":
		return none
	case i < 0:
		return service // which readers refuse
	}
	return "outbound|" + service[i+1:] + "||" + service[:i]
}

// encodeJWT is the reverse of decodeJWT, and what no field says. named are the providers whose claims rules ask for by name.
func encodeJWT(v *identity.JWT, named map[string]bool) (*jwtv3.JwtAuthentication, fields) {
	m := &jwtv3.JwtAuthentication{}
	stale := fields{}
	for i := range v.Providers {
		p := &v.Providers[i]
		if m.Providers == nil {
			m.Providers = make(map[string]*jwtv3.JwtProvider, len(v.Providers))
		}
		if m.Providers[p.Name] != nil { // readers refuse, lest one of the two be lost
			m.Providers[p.Name] = &jwtv3.JwtProvider{}
			continue
		}
		m.Providers[p.Name] = encodeProvider(p)
		if named[p.Name] {
			m.Providers[p.Name].PayloadInMetadata = p.Name
		}
		stale.duration(p.Name, p.MaxStale)
	}
	for _, r := range v.Requirements {
		m.Rules = append(m.Rules, encodeRequirement(r))
	}
	rest := fields{}
	rest.some("max_stale", stale)
	return m, rest
}

func encodeProvider(p *identity.Provider) *jwtv3.JwtProvider {
	m := &jwtv3.JwtProvider{
		Issuer: p.Issuer, Audiences: p.Audiences, RequireExpiration: true, Forward: p.Forward, ForwardPayloadHeader: p.PayloadHeader,
		PayloadInMetadata:          anyPayload,
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: slices.Concat(alwaysSplit, p.SpaceDelimited)},
		ClockSkewSeconds:           uint32((p.Skew + time.Second - 1) / time.Second),
	}
	switch len(p.Subjects) {
	case 0:
	case 1:
		m.Subjects = encodeString(p.Subjects[0])
	default:
		m.Subjects = encodeString(match.String{Kind: match.Range}) // one condition only has a form: readers refuse
	}
	if p.MaxLifetime != 0 {
		m.MaxLifetime = durationpb.New(p.MaxLifetime)
	}
	if p.JWKS != "" {
		m.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: inlineSource(p.JWKS)}
	} else {
		timeout := p.Timeout
		if timeout == 0 {
			timeout = fetchTime
		}
		remote := &jwtv3.RemoteJwks{HttpUri: &corev3.HttpUri{
			Uri: p.URI, Timeout: durationpb.New(timeout),
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: encodeService(p.Service, direct)},
		}}
		if p.CacheFor != 0 {
			remote.CacheDuration = durationpb.New(p.CacheFor)
		}
		m.JwksSourceSpecifier = &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: remote}
	}
	for _, f := range p.From {
		switch f.Kind {
		case identity.InHeader:
			m.FromHeaders = append(m.FromHeaders, &jwtv3.JwtHeader{Name: f.Name, ValuePrefix: f.Prefix})
		case identity.InQuery:
			m.FromParams = append(m.FromParams, f.Name)
		case identity.InCookie:
			m.FromCookies = append(m.FromCookies, f.Name)
		}
	}
	for _, h := range p.ClaimHeaders {
		m.ClaimToHeaders = append(m.ClaimToHeaders, &jwtv3.JwtClaimToHeader{HeaderName: h.Header, ClaimName: h.Claim})
	}
	return m
}

package wire

import (
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	mtlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/principals/mtls_authenticated/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resolver"
)

// permission reads what is asked for.
func (r *ruler) permission(p *place, m *rbacv3.Permission, depth int) (c identity.Condition) {
	if depth > maxDepth {
		p.refuse("", "more than %d conditions within each other", maxDepth)
		return c
	}
	p.only(m, "and_rules", "or_rules", "any", "header", "url_path", "destination_ip", "destination_port", "destination_port_range",
		"metadata", "not_rule", "requested_server_name", "matcher", "uri_template", "sourced_metadata")
	below := func(kind identity.ConditionKind, field string, list []*rbacv3.Permission) identity.Condition {
		q := p.in(field)
		out := identity.Condition{Kind: kind}
		for i, each := range list {
			in := q.at("rules", i)
			out.Of = append(out.Of, r.permission(&in, each, depth+1))
		}
		if out.Of == nil {
			q.refuse("rules", "none")
		}
		return out
	}
	switch s := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return below(identity.All, "and_rules", s.AndRules.GetRules())
	case *rbacv3.Permission_OrRules:
		return below(identity.Any, "or_rules", s.OrRules.GetRules())
	case *rbacv3.Permission_NotRule:
		q := p.in("not_rule")
		return identity.Condition{Kind: identity.Not, Of: []identity.Condition{r.permission(&q, s.NotRule, depth+1)}}
	case *rbacv3.Permission_Any:
		return always(p, s.Any)
	case *rbacv3.Permission_Header:
		q := p.in("header")
		return r.header(&q, s.Header)
	case *rbacv3.Permission_UrlPath:
		return r.path(p, s.UrlPath)
	case *rbacv3.Permission_UriTemplate:
		r.wantsRequest(p, "uri_template")
		return identity.Condition{Kind: identity.PathFits, Is: match.String{Value: decodeTemplate(p, "uri_template", s.UriTemplate)}}
	case *rbacv3.Permission_DestinationIp:
		return identity.Condition{Kind: identity.LocalIn, Net: decodeNet(p.in("destination_ip"), s.DestinationIp)}
	case *rbacv3.Permission_DestinationPort:
		if s.DestinationPort > 65535 {
			p.refuse("destination_port", "%d is no port", s.DestinationPort)
		}
		return identity.Condition{Kind: identity.LocalPort, Low: uint16(s.DestinationPort), High: uint16(s.DestinationPort)}
	case *rbacv3.Permission_DestinationPortRange:
		low, end := s.DestinationPortRange.GetStart(), s.DestinationPortRange.GetEnd()
		if low < 0 || end > 65536 || low >= end {
			p.refuse("destination_port_range", "[%d, %d) is no range of ports", low, end)
			return c
		}
		return identity.Condition{Kind: identity.LocalPort, Low: uint16(low), High: uint16(end - 1)}
	case *rbacv3.Permission_RequestedServerName:
		q := p.in("requested_server_name")
		return identity.Condition{Kind: identity.ServerName, Is: decodeString(&q, s.RequestedServerName)}
	case *rbacv3.Permission_Metadata:
		q := p.in("metadata")
		return r.claim(&q, s.Metadata)
	case *rbacv3.Permission_SourcedMetadata:
		q := p.in("sourced_metadata")
		return r.sourced(&q, s.SourcedMetadata)
	case *rbacv3.Permission_Matcher:
		p.refuse("matcher", "%q is not supported", s.Matcher.GetName())
	default:
		p.refuse("rule", "missing")
	}
	return c
}

// principal reads who asks.
func (r *ruler) principal(p *place, m *rbacv3.Principal, depth int) (c identity.Condition) {
	if depth > maxDepth {
		p.refuse("", "more than %d conditions within each other", maxDepth)
		return c
	}
	p.only(m, "and_ids", "or_ids", "any", "authenticated", "source_ip", "direct_remote_ip", "remote_ip", "header", "url_path",
		"metadata", "filter_state", "not_id", "sourced_metadata", "custom")
	below := func(kind identity.ConditionKind, field string, list []*rbacv3.Principal) identity.Condition {
		q := p.in(field)
		out := identity.Condition{Kind: kind}
		for i, each := range list {
			in := q.at("ids", i)
			out.Of = append(out.Of, r.principal(&in, each, depth+1))
		}
		if out.Of == nil {
			q.refuse("ids", "none")
		}
		return out
	}
	switch s := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return below(identity.All, "and_ids", s.AndIds.GetIds())
	case *rbacv3.Principal_OrIds:
		return below(identity.Any, "or_ids", s.OrIds.GetIds())
	case *rbacv3.Principal_NotId:
		q := p.in("not_id")
		return identity.Condition{Kind: identity.Not, Of: []identity.Condition{r.principal(&q, s.NotId, depth+1)}}
	case *rbacv3.Principal_Any:
		return always(p, s.Any)
	case *rbacv3.Principal_Authenticated_:
		q := p.in("authenticated")
		q.only(s.Authenticated, "principal_name")
		c.Kind = identity.Authentic
		if name := s.Authenticated.GetPrincipalName(); name != nil {
			in := q.in("principal_name")
			if c.Is = decodeString(&in, name); c.Is.Value == "" {
				in.refuse("", "an empty name is not supported")
			}
		}
		return c
	case *rbacv3.Principal_SourceIp: // the same where no proxy protocol is spoken (gRFC A41)
		return identity.Condition{Kind: identity.SourceIn, Net: decodeNet(p.in("source_ip"), s.SourceIp)}
	case *rbacv3.Principal_DirectRemoteIp:
		return identity.Condition{Kind: identity.SourceIn, Net: decodeNet(p.in("direct_remote_ip"), s.DirectRemoteIp)}
	case *rbacv3.Principal_RemoteIp:
		return identity.Condition{Kind: identity.RemoteIn, Net: decodeNet(p.in("remote_ip"), s.RemoteIp)}
	case *rbacv3.Principal_Header:
		q := p.in("header")
		return r.header(&q, s.Header)
	case *rbacv3.Principal_UrlPath:
		return r.path(p, s.UrlPath)
	case *rbacv3.Principal_Metadata:
		q := p.in("metadata")
		return r.claim(&q, s.Metadata)
	case *rbacv3.Principal_SourcedMetadata:
		q := p.in("sourced_metadata")
		return r.sourced(&q, s.SourcedMetadata)
	case *rbacv3.Principal_FilterState:
		p.refuse("filter_state", "not supported")
	case *rbacv3.Principal_Custom:
		q := p.in("custom.typed_config")
		var config mtlsv3.Config
		if unpackAt(&q, s.Custom.GetTypedConfig(), &config) {
			q.only(&config, "any_validated_client_certificate")
			if !config.GetAnyValidatedClientCertificate() {
				q.refuse("any_validated_client_certificate", "must be true")
			}
		}
		return identity.Condition{Kind: identity.Authentic}
	default:
		p.refuse("identifier", "missing")
	}
	return c
}

func always(p *place, set bool) identity.Condition {
	if !set {
		p.refuse("any", "false is not supported")
	}
	return identity.Condition{Kind: identity.Always}
}

// header reads a condition on a header that gRPC and HTTP know alike (gRFC A41).
func (r *ruler) header(p *place, m *routev3.HeaderMatcher) identity.Condition {
	r.wantsRequest(p, "")
	h := decodeHeader(p, m)
	if h.Name == "host" {
		h.Name = ":authority"
	}
	if strings.HasPrefix(h.Name, "grpc-") || strings.HasPrefix(h.Name, ":") && h.Name != ":method" && h.Name != ":authority" && h.Name != ":path" {
		p.refuse("name", "%q is not supported", h.Name)
	}
	return identity.Condition{Kind: identity.HeaderIs, Name: h.Name, Is: h.Is, Invert: h.Invert, MissingAsEmpty: h.MissingAsEmpty}
}

func (r *ruler) path(p *place, m *matcherv3.PathMatcher) identity.Condition {
	r.wantsRequest(p, "url_path")
	q := p.in("url_path.path")
	return identity.Condition{Kind: identity.PathIs, Is: decodeString(&q, m.GetPath())}
}

// wantsRequest refuses what no connection has.
func (r *ruler) wantsRequest(p *place, field string) {
	if r.connection {
		p.refuse(field, "not supported of connections")
	}
}

// encodePermission writes what no field can express as nothing, which readers refuse.
func encodePermission(c identity.Condition) *rbacv3.Permission {
	m := &rbacv3.Permission{}
	below := func() *rbacv3.Permission_Set {
		set := &rbacv3.Permission_Set{}
		for _, each := range c.Of {
			set.Rules = append(set.Rules, encodePermission(each))
		}
		return set
	}
	switch c.Kind {
	case identity.Always:
		m.Rule = &rbacv3.Permission_Any{Any: true}
	case identity.All:
		m.Rule = &rbacv3.Permission_AndRules{AndRules: below()}
	case identity.Any:
		if claims := encodeClaims(c.Of); claims != nil {
			m.Rule = &rbacv3.Permission_Metadata{Metadata: claims}
			break
		}
		m.Rule = &rbacv3.Permission_OrRules{OrRules: below()}
	case identity.Not:
		if len(c.Of) == 1 {
			m.Rule = &rbacv3.Permission_NotRule{NotRule: encodePermission(c.Of[0])}
		}
	case identity.HeaderIs:
		m.Rule = &rbacv3.Permission_Header{Header: encodeHeaderIs(c)}
	case identity.PathIs:
		m.Rule = &rbacv3.Permission_UrlPath{UrlPath: encodePathIs(c)}
	case identity.PathFits:
		m.Rule = &rbacv3.Permission_UriTemplate{UriTemplate: encodeTemplate(c.Is.Value)}
	case identity.LocalIn:
		m.Rule = &rbacv3.Permission_DestinationIp{DestinationIp: encodeNet(c.Net)}
	case identity.LocalPort:
		if c.Low == c.High {
			m.Rule = &rbacv3.Permission_DestinationPort{DestinationPort: uint32(c.Low)}
		} else {
			m.Rule = &rbacv3.Permission_DestinationPortRange{DestinationPortRange: &typev3.Int32Range{Start: int32(c.Low), End: int32(c.High) + 1}}
		}
	case identity.ServerName:
		m.Rule = &rbacv3.Permission_RequestedServerName{RequestedServerName: encodeString(c.Is)}
	case identity.ClaimIs:
		m.Rule = &rbacv3.Permission_Metadata{Metadata: encodeClaim(c)}
	}
	return m
}

// encodePrincipal writes what no field can express as nothing, which readers refuse.
func encodePrincipal(c identity.Condition) *rbacv3.Principal {
	m := &rbacv3.Principal{}
	below := func() *rbacv3.Principal_Set {
		set := &rbacv3.Principal_Set{}
		for _, each := range c.Of {
			set.Ids = append(set.Ids, encodePrincipal(each))
		}
		return set
	}
	switch c.Kind {
	case identity.Always:
		m.Identifier = &rbacv3.Principal_Any{Any: true}
	case identity.All:
		m.Identifier = &rbacv3.Principal_AndIds{AndIds: below()}
	case identity.Any:
		if claims := encodeClaims(c.Of); claims != nil {
			m.Identifier = &rbacv3.Principal_Metadata{Metadata: claims}
			break
		}
		m.Identifier = &rbacv3.Principal_OrIds{OrIds: below()}
	case identity.Not:
		if len(c.Of) == 1 {
			m.Identifier = &rbacv3.Principal_NotId{NotId: encodePrincipal(c.Of[0])}
		}
	case identity.HeaderIs:
		m.Identifier = &rbacv3.Principal_Header{Header: encodeHeaderIs(c)}
	case identity.PathIs:
		m.Identifier = &rbacv3.Principal_UrlPath{UrlPath: encodePathIs(c)}
	case identity.Authentic:
		a := &rbacv3.Principal_Authenticated{}
		if c.Is != (match.String{}) {
			a.PrincipalName = encodeString(c.Is)
		}
		m.Identifier = &rbacv3.Principal_Authenticated_{Authenticated: a}
	case identity.SourceIn:
		m.Identifier = &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: encodeNet(c.Net)}
	case identity.RemoteIn:
		m.Identifier = &rbacv3.Principal_RemoteIp{RemoteIp: encodeNet(c.Net)}
	case identity.ClaimIs:
		m.Identifier = &rbacv3.Principal_Metadata{Metadata: encodeClaim(c)}
	}
	return m
}

func encodeHeaderIs(c identity.Condition) *routev3.HeaderMatcher {
	return encodeHeader(resolver.HeaderMatch{Name: c.Name, Is: c.Is, Invert: c.Invert, MissingAsEmpty: c.MissingAsEmpty})
}

func encodePathIs(c identity.Condition) *matcherv3.PathMatcher {
	return &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: encodeString(c.Is)}}
}

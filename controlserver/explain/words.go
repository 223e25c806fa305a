package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
)

// Match says a match in words.
func Match(m resolver.Match) string {
	var parts []string
	if m.Path != (resolver.PathMatch{}) {
		parts = append(parts, "path is "+Path(m.Path))
	}
	for _, h := range m.Headers {
		parts = append(parts, Header(h))
	}
	for _, q := range m.Query {
		parts = append(parts, "query "+q.Name+" "+text(q.Is))
	}
	if m.Fraction != nil {
		parts = append(parts, fmt.Sprintf("%.4g %% of requests", float64(*m.Fraction)/1e4))
	}
	if len(parts) == 0 {
		return "matches every request"
	}
	return strings.Join(parts, " and ")
}

// Path says a path condition in words.
func Path(p resolver.PathMatch) string {
	s := ""
	switch p.Kind {
	case resolver.PathPrefix:
		s = p.Value + "..."
	case resolver.PathExact:
		s = p.Value
	case resolver.PathSegmentPrefix:
		s = p.Value + " or " + p.Value + "/..."
	case resolver.PathRegex:
		s = "regex " + p.Value
	}
	if p.IgnoreCase {
		s += " (in any letter case)"
	}
	return s
}

// Header says a header condition in words.
func Header(h resolver.HeaderMatch) string {
	not := ""
	if h.Invert {
		not = "not "
	}
	return "header " + h.Name + " " + not + text(h.Is)
}

func text(m resolver.StringMatch) string {
	switch m.Kind {
	case resolver.StringPresent:
		return "present"
	case resolver.StringRange:
		return fmt.Sprintf("in [%d, %d)", m.Low, m.High)
	}
	verb := map[resolver.StringKind]string{
		resolver.StringExact: "=", resolver.StringPrefix: "begins with", resolver.StringSuffix: "ends with",
		resolver.StringContains: "contains", resolver.StringRegex: "matches",
	}[m.Kind]
	return fmt.Sprintf("%s %q", verb, m.Value)
}

// Endpoint says who serves, leaving out what goes without saying.
func Endpoint(e balancer.Endpoint) string {
	parts := []string{e.Addr}
	if e.Hostname != "" {
		parts = append(parts, "("+e.Hostname+")")
	}
	if e.Weight > 1 {
		parts = append(parts, fmt.Sprintf("weight %d", e.Weight))
	}
	if e.Health != balancer.HealthUnknown {
		parts = append(parts, e.Health.String())
	}
	if l := e.Locality; l != (balancer.Locality{}) {
		parts = append(parts, "in "+strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.SubZone, "/"))
	}
	for _, k := range slices.Sorted(maps.Keys(e.Labels)) {
		parts = append(parts, k+"="+e.Labels[k])
	}
	return strings.Join(parts, " ")
}

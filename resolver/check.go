package resolver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// Check returns all that is wrong with a service: what [NewTable] refuses, and
// what would make calls fail or configuration count for nothing. Each finding
// names the virtual host, the route and the field.
func Check(s *Service) []error {
	var found []error
	owner := map[string]string{}
	for i := range s.VirtualHosts {
		v := &s.VirtualHosts[i]
		say := func(format string, args ...any) {
			found = append(found, fmt.Errorf("virtual host %q: %w", v.Name, fmt.Errorf(format, args...)))
		}
		if len(v.Domains) == 0 {
			say("domains: none")
		}
		for _, d := range v.Domains {
			key := match.ToLower(d)
			if first, twice := owner[key]; twice {
				say("domains: %q belongs to virtual host %q already", d, first)
			} else {
				owner[key] = v.Name
			}
			if err := checkDomain(d); err != nil {
				say("domains: %q: %w", d, err)
			}
		}
		for j := range v.Routes {
			for _, err := range checkRoute(s, &v.Routes[j]) {
				found = append(found, atRoute(v, j, err))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		c := s.Clusters[name]
		found = append(found, checkCluster(name, &c)...)
	}
	return found
}

// atRoute says where err is.
func atRoute(v *VirtualHost, index int, err error) error {
	return fmt.Errorf("virtual host %q: route %d %q: %w", v.Name, index, v.Routes[index].Name, err)
}

func checkDomain(d string) error {
	star := strings.IndexByte(d, '*')
	switch {
	case d == "":
		return errors.New("empty")
	case star > 0 && star < len(d)-1, strings.Count(d, "*") > 1:
		return errors.New("one star, at the beginning or at the end")
	}
	return nil
}

func checkRoute(s *Service, r *Route) []error {
	_, found := newMatcher(&r.Match)
	say := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	if p := r.Match.Path; p.Value != "" && p.Value[0] != '/' && p.Kind != PathRegex {
		say("match.path: %q matches nothing: paths begin with /", p.Value)
	} else if p.Value == "" && p.Kind == PathExact {
		say("match.path: the empty path matches nothing")
	}
	for i, h := range r.Match.Headers {
		if h.Is.Kind == StringRange && h.Is.Low >= h.Is.High {
			say("match.headers[%d] %q: range [%d, %d) is empty", i, h.Name, h.Is.Low, h.Is.High)
		}
	}
	for i, q := range r.Match.Query {
		if q.Name == "" {
			say("match.query[%d]: no name", i)
		}
		if q.Is.Kind == StringRange && q.Is.Low >= q.Is.High {
			say("match.query[%d] %q: range [%d, %d) is empty", i, q.Name, q.Is.Low, q.Is.High)
		}
	}
	if f := r.Match.Fraction; f != nil && *f > 1_000_000 {
		say("match.fraction: %d is more than a million", *f)
	}
	if r.Unsupported != "" {
		return found
	}
	var total uint64
	for i, t := range r.To {
		if _, known := s.Clusters[t.Cluster]; !known {
			say("to[%d]: cluster %q is not known", i, t.Cluster)
		}
		total += uint64(t.Weight)
	}
	switch {
	case len(r.To) == 0:
		say("to: leads to no cluster")
	case len(r.To) > 1 && total == 0:
		say("to: all weights are 0")
	case len(r.To) > 1 && total > 1<<32-1:
		say("to: the weights' sum %d is more than %d", total, uint32(1<<32-1))
	}
	if p := r.Policy; p.Timeout < 0 {
		say("policy.timeout: %v is negative", p.Timeout)
	}
	if t := r.Policy.Retry; t.Base < 0 || t.Max < 0 {
		say("policy.retry: negative pause")
	} else if t.Max > 0 && t.Max < t.Base {
		say("policy.retry: max %v is less than base %v", t.Max, t.Base)
	}
	return found
}

func checkCluster(name string, c *Cluster) (found []error) {
	say := func(format string, args ...any) {
		found = append(found, fmt.Errorf("cluster %q: %w", name, fmt.Errorf(format, args...)))
	}
	if c.Name != name {
		say("name: is %q", c.Name)
	}
	if c.ConnectTimeout < 0 {
		say("connect timeout: %v is negative", c.ConnectTimeout)
	}
	seen := make(map[string]bool, len(c.Endpoints))
	for i, e := range c.Endpoints {
		switch {
		case e.Addr == "":
			say("endpoints[%d]: no address", i)
		case seen[e.Addr]:
			say("endpoints[%d]: %q is there already", i, e.Addr)
		}
		seen[e.Addr] = true
	}
	return found
}

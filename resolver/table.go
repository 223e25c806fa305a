package resolver

import (
	"errors"
	"math/rand/v2"

	"github.com/weftmesh/weft/resilience"
)

// A Request is what routes may look at. It does not belong to whom it is
// handed to and is not kept.
type Request struct {
	// Authority is the host the caller named, with or without a port.
	Authority string
	Scheme    string
	Method    string // of HTTP; "POST" for gRPC
	Path      string // without query, begins with "/"
	Query     string // raw, without "?"
	Header    Header // nil means none
}

// A Header reads the headers of a request. Reading must not allocate where the
// protocol's own map does not.
type Header = resilience.Header

// A HeaderName is a header's name in the forms that the protocols' maps use.
type HeaderName = resilience.HeaderName

// A Table is the virtual hosts of a Service made ready for matching. It is
// immutable and safe for concurrent use.
type Table struct {
	routes   []Route   // of all virtual hosts, in order
	matchers []matcher // parallel to routes
	domains  domains
	own      *section // of the service's own name; nil if no virtual host names it
}

// A section is the routes of one virtual host, as ascending indices in Table.routes.
type section struct {
	exact map[string][]int // those that want one exact path, by it
	rest  []int            // all others
}

// NewTable compiles the virtual hosts of s. The error names each route and field
// that cannot be compiled, all of them. Where virtual hosts share a domain, the
// first has it.
func NewTable(s *Service) (*Table, error) {
	t := &Table{domains: newDomains()}
	var errs []error
	for i := range s.VirtualHosts {
		v := &s.VirtualHosts[i]
		sec := &section{}
		for j := range v.Routes {
			r := &v.Routes[j]
			m, bad := newMatcher(&r.Match)
			for _, err := range bad {
				errs = append(errs, atRoute(v, j, err))
			}
			sec.add(&r.Match.Path, len(t.routes))
			t.routes = append(t.routes, *r)
			t.matchers = append(t.matchers, m)
		}
		for _, d := range v.Domains {
			t.domains.add(d, sec)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t.domains.sort()
	t.own = t.domains.find(s.Name)
	return t, nil
}

func (s *section) add(p *PathMatch, index int) {
	if p.Kind != PathExact || p.IgnoreCase {
		s.rest = append(s.rest, index)
		return
	}
	if s.exact == nil {
		s.exact = map[string][]int{}
	}
	s.exact[p.Value] = append(s.exact[p.Value], index)
}

// Routes are the routes of all virtual hosts, one after the other. Not to be modified.
func (t *Table) Routes() []Route { return t.routes }

// Match returns the index in Routes of the route the request takes: the first
// that matches in the virtual host of its authority (Envoy: exact before longest
// suffix before longest prefix before "*"). A request whose authority no virtual
// host names is looked up under the service's own name. -1 means none matches.
//
// Match takes no lock and does not allocate, unless a route looks at a header of
// several values, at a query parameter with escapes, or at ":path" of a request with a query.
func (t *Table) Match(r *Request) int {
	s := t.domains.find(r.Authority)
	if s == nil {
		s = t.own
	}
	if s == nil {
		return -1
	}
	exact, rest := s.exact[r.Path], s.rest
	reading := reading{Request: r}
	for len(exact)+len(rest) > 0 {
		var i int
		if len(rest) == 0 || len(exact) > 0 && exact[0] < rest[0] {
			i, exact = exact[0], exact[1:]
		} else {
			i, rest = rest[0], rest[1:]
		}
		if t.matchers[i].matches(&reading) {
			return i
		}
	}
	return -1
}

// drawn says yes to a share of the questions, given in millionths.
func drawn(fraction uint32) bool { return rand.Uint32N(1_000_000) < fraction }

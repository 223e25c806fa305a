package catalog

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Service finds what a client in a namespace means by a name: full, short (of
// its own namespace), "name.ns", "name.ns.svc", an alias or an address; upper
// case, a final dot and ":port" are allowed. The port is the one named, else the
// service's default; 0 when there is no such default. It returns nil when no
// visible service has the name; a port the service does not have is returned all the same.
func (c *Catalog) Service(namespace, name string) (*Service, uint32) {
	host, port := splitPort(name)
	s := c.find(namespace, host)
	if s != nil && port == 0 {
		if p, ok := s.DefaultPort(); ok {
			port = p.Number
		}
	}
	return s, port
}

// Expand returns the canonical name of a host as an object or a client in a
// namespace wrote it, without a port: the service's if there is one, else as
// written, in lower case.
func (c *Catalog) Expand(namespace, host string) string {
	if strings.HasPrefix(host, "*") {
		return strings.ToLower(host)
	}
	if s := c.find(namespace, host); s != nil {
		return s.Host
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Nearest returns the hosts of at most n services that look like the name, best
// first. Names that have little in common with it are left out.
func (c *Catalog) Nearest(name string, n int) []string {
	host, _ := splitPort(name)
	host = strings.ToLower(host)
	type candidate struct {
		host     string
		distance int
	}
	var found []candidate
	for _, s := range c.services {
		best := distance(host, s.Host)
		short, ns, ok := splitHost(s.Host)
		if ok {
			best = min(best, distance(host, short), distance(host, short+"."+ns))
		}
		for _, alias := range s.Aliases {
			best = min(best, distance(host, alias))
		}
		if best <= max(2, len(host)/3) {
			found = append(found, candidate{s.Host, best})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.host, b.host))
	})
	var hosts []string
	for _, f := range found {
		if len(hosts) < n && !slices.Contains(hosts, f.host) {
			hosts = append(hosts, f.host)
		}
	}
	return hosts
}

func (c *Catalog) find(namespace, name string) *Service {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" {
		return nil
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return pick(c.byAddress[addr.String()], namespace)
	}
	dots := strings.Count(name, ".")
	if dots == 0 {
		if s := pick(c.byHost[name+"."+namespace+serviceSuffix], namespace); s != nil {
			return s
		}
	}
	if s := pick(c.byHost[name], namespace); s != nil {
		return s
	}
	switch {
	case dots == 1:
		return pick(c.byHost[name+serviceSuffix], namespace)
	case dots == 2 && strings.HasSuffix(name, ".svc"):
		return pick(c.byHost[name+"."+ClusterDomain], namespace)
	}
	return nil
}

// pick chooses among services of one name: the client's own, then the oldest it may see.
func pick(services []*Service, namespace string) *Service {
	var first *Service
	for _, s := range services {
		if !s.VisibleTo(namespace) {
			continue
		}
		if s.Namespace == namespace {
			return s
		}
		if first == nil {
			first = s
		}
	}
	return first
}

// splitPort takes ":port" off a name, and brackets off an IPv6 address.
func splitPort(name string) (host string, port uint32) {
	host = name
	if i := strings.LastIndexByte(name, ':'); i >= 0 && (!strings.Contains(name[:i], ":") || strings.HasSuffix(name[:i], "]")) {
		if n, err := strconv.ParseUint(name[i+1:], 10, 16); err == nil {
			host, port = name[:i], uint32(n)
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return host, port
}

// distance is the edit distance of two names, a swap of neighbours counting one.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// closest returns the option nearest to a word that may be misspelt, or "".
func closest(word string, options []string) string {
	best, found := max(2, len(word)/3)+1, ""
	for _, o := range options {
		if d := distance(strings.ToLower(word), strings.ToLower(o)); d < best {
			best, found = d, o
		}
	}
	return found
}

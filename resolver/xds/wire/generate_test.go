package wire

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
)

// gen makes values that can stand in a resource, each of which has one form only:
// no weight 0 of a locality, no retry policy that repeats nothing, endpoints of one
// locality side by side.
type gen struct {
	*rand.Rand
	// modest leaves out what Envoy does not take, though its rules allow it: times beyond all use, and
	// descriptors that are not filled in step with their common bucket.
	modest bool
}

func newGen(seed uint64) gen { return gen{Rand: rand.New(rand.NewPCG(seed, 1))} }

func (g gen) chance(n int) bool { return g.IntN(n) == 0 }

func (g gen) word() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 1+g.IntN(8))
	for i := range b {
		b[i] = letters[g.IntN(len(letters))]
	}
	return string(b)
}

func (g gen) name() string {
	return []string{g.word(), "outbound|9000|" + g.word() + "|" + g.word(), g.word() + ":80", "é" + g.word()}[g.IntN(4)]
}

func (g gen) duration() time.Duration {
	if g.modest {
		return time.Duration(g.IntN(3)) * time.Second
	}
	return []time.Duration{0, 1, time.Millisecond, time.Duration(g.Int64N(1e12)), time.Hour, math.MaxInt64}[g.IntN(6)]
}

func list[T any](g gen, most int, each func(int) T) (out []T) {
	for i := range g.IntN(most + 1) {
		out = append(out, each(i))
	}
	return out
}

func (g gen) listener() Listener {
	l := Listener{Name: g.name()}
	switch g.IntN(4) {
	case 0:
		g.inbound(&l)
		return l
	case 1:
		l.Address = g.addr(0)
	}
	g.filters(&l)
	if g.chance(2) {
		l.RouteConfig = g.name()
	} else {
		l.VirtualHosts = g.hosts()
	}
	return l
}

func (g gen) table() RouteTable { return RouteTable{Name: g.name(), VirtualHosts: g.hosts()} }

func (g gen) hosts() []resolver.VirtualHost {
	return list(g, 3, func(i int) resolver.VirtualHost {
		own := fmt.Sprint(i, "-", g.word())
		return resolver.VirtualHost{
			Name:    g.name(),
			Domains: []string{own, own + ":80", "*." + own, own + ".*"}[:1+g.IntN(4)],
			Routes:  list(g, 4, func(int) resolver.Route { return g.route() }),
		}
	})
}

func (g gen) route() resolver.Route {
	r := resolver.Route{Name: g.word(), Match: g.match()}
	if g.chance(6) {
		r.Unsupported = "because of " + g.word()
		return r
	}
	for range 1 + g.IntN(3) {
		r.To = append(r.To, resolver.Target{Cluster: g.name(), Weight: 1 + g.Uint32N(1000)})
	}
	if len(r.To) > 1 && g.chance(3) {
		r.To[0].Weight = 0
	}
	r.Policy = g.policy()
	return r
}

func (g gen) match() resolver.Match {
	var m resolver.Match
	m.Path.Kind = resolver.PathKind(g.IntN(4))
	m.Path.Value = "/" + g.word()
	if m.Path.Kind == resolver.PathRegex {
		m.Path.Value += "[0-9]+(a|b)?"
	} else {
		m.Path.IgnoreCase = g.chance(3)
	}
	if m.Path.Kind == resolver.PathPrefix && g.chance(3) {
		m.Path.Value = []string{"", "/"}[g.IntN(2)]
	}
	m.Headers = list(g, 3, func(int) resolver.HeaderMatch {
		h := resolver.HeaderMatch{
			Name: []string{":method", ":authority", "x-" + g.word()}[g.IntN(3)],
			Is:   g.text(7), Invert: g.chance(3), MissingAsEmpty: g.chance(3),
		}
		return h
	})
	if g.chance(6) {
		m.Headers = append(m.Headers, grpcOnly)
	}
	m.Query = list(g, 2, func(int) resolver.QueryMatch { return resolver.QueryMatch{Name: g.word(), Is: g.text(6)} })
	if g.chance(4) {
		n := g.Uint32N(1_000_001)
		m.Fraction = &n
	}
	return m
}

// text is of one of the first kinds, in their order.
func (g gen) text(kinds int) resolver.StringMatch {
	m := resolver.StringMatch{Kind: resolver.StringKind(g.IntN(kinds))}
	switch m.Kind {
	case resolver.StringPresent:
	case resolver.StringRange:
		m.Low = g.Int64() - math.MaxInt64/2
		m.High = max(m.Low, g.Int64())
	case resolver.StringRegex:
		m.Value = g.word() + ".*[^x]"
	case resolver.StringExact:
		m.Value = strings.Repeat(g.word(), g.IntN(2))
		m.IgnoreCase = g.chance(2)
	default:
		m.Value = g.word()
		m.IgnoreCase = g.chance(2)
	}
	return m
}

func (g gen) cluster() Cluster {
	var c Cluster
	c.Name = g.name()
	c.Balance.Kind = balancer.Kind(g.IntN(3))
	if c.Balance.Kind == balancer.LeastRequest && g.chance(2) {
		c.Balance.Choices = 2 + g.Uint32N(9)
	}
	c.ConnectTimeout = g.duration()
	c.HTTP2 = g.chance(2)
	if g.chance(2) {
		g.clientTLS(&c)
	}
	g.traffic(&c.Cluster)
	if g.chance(2) {
		c.EndpointsName = g.name()
	} else {
		c.Endpoints = g.endpoints()
	}
	return c
}

func (g gen) assignment() Endpoints { return Endpoints{Name: g.name(), Endpoints: g.endpoints()} }

func (g gen) endpoints() []balancer.Endpoint {
	var out []balancer.Endpoint
	for i := range g.IntN(5) {
		locality := balancer.Locality{Region: fmt.Sprint("r", i), Zone: g.word(), SubZone: strings.Repeat("s", g.IntN(2))}
		priority, weight := g.Uint32N(4), 1+g.Uint32N(100)
		for range 1 + g.IntN(3) {
			e := balancer.Endpoint{
				Addr:           g.addr(len(out)),
				Priority:       priority,
				Locality:       locality,
				LocalityWeight: weight,
				Health:         balancer.Health(g.IntN(6)),
			}
			if g.chance(2) {
				e.Weight = 1 + g.Uint32N(100)
			}
			e.MutualTLS = g.chance(3)
			if g.chance(3) {
				e.Hostname = g.word() + ".test"
			}
			if g.chance(2) {
				e.Labels = map[string]string{"app": g.word(), g.word(): "", "é": g.word()}
			}
			out = append(out, e)
		}
	}
	return out
}

// addr differs for each i.
func (g gen) addr(i int) string {
	port := 1 + g.IntN(65535)
	switch g.IntN(3) {
	case 0:
		return fmt.Sprintf("[fd00::%x]:%d", i, port)
	case 1:
		return fmt.Sprintf("host%d.%s:%d", i, g.word(), port)
	}
	return fmt.Sprintf("10.0.%d.%d:%d", i, g.IntN(256), port)
}

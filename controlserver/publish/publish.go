// Package publish turns the catalog into what each client may see, as the
// resolver's values, phrased in the client's dialect.
//
// A [Publisher] holds one catalog. A [View] is what clients alike see of it; it
// makes a resource when somebody asks for it.
package publish

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A Publisher makes the views of one catalog. It is safe for concurrent use.
type Publisher struct {
	config   Config
	catalog  *catalog.Catalog
	policies map[string]*catalog.Object
	asked    resilience.GlobalRate
	where    *places
	// Whether something turns on the caller's labels, and on its service account.
	labelled, accounted bool

	mu    sync.Mutex
	views map[string]*View
}

// Config is what a Publisher knows beside the catalog. The zero Config knows nothing.
type Config struct {
	// Lookup finds the addresses of names; nil finds none.
	Lookup Lookup
	// RateLimits is where the rate limit service is, "host:port", for proxies, which ask it themselves. Empty:
	// they are told no limits of all processes together.
	RateLimits string
	// TrustDomain is that of the mesh's identities. Empty: there are none, and nobody is told to speak the mesh's mTLS.
	TrustDomain string
	// DefaultMode is how servers take connections of which no PeerAuthentication says anything; zero means Permissive (Istio).
	DefaultMode identity.Mode
	// RevocationLists are PEM lists by which proxies know the serial numbers that Revocations name, one of each issuer of certificates; empty if nobody signs
	// any.
	RevocationLists string
	// Lost is called with what clients can't do of what they asked for, for each View once. It must not block; nil is none.
	Lost func(Loss)
}

// A Lookup returns the IP addresses of a name; none if it is not known yet. It
// must not block, and always return the same.
type Lookup func(name string) []string

// New returns the Publisher of a catalog.
func New(c *catalog.Catalog, config Config) *Publisher {
	p := &Publisher{config: config, catalog: c, policies: policiesOf(c), asked: askedOfProxies(c), where: &places{catalog: c}, views: map[string]*View{}}
	p.accounted = c.TellsCallersApart()
	p.labelled = p.accounted || selecting(c)
	for _, vs := range c.VirtualServices() {
		for _, rule := range vs.Spec.GetHttp() {
			for _, m := range rule.GetMatch() {
				p.labelled = p.labelled || len(m.GetSourceLabels()) > 0
			}
		}
	}
	return p
}

// View returns what the client sees. Clients alike share one.
func (p *Publisher) View(c Client) *View {
	key := c.key(p.labelled, p.accounted)
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.views[key]
	if v == nil {
		v = &View{config: p.config, catalog: p.catalog, policies: p.policies, asked: p.asked, where: p.where, client: c, lost: map[Loss]bool{}}
		p.views[key] = v
	}
	return v
}

// Lost returns, in a stable order, what clients can't do of what they asked for so far.
func (p *Publisher) Lost() []Loss {
	p.mu.Lock()
	views := slices.Collect(maps.Values(p.views))
	p.mu.Unlock()
	all := map[Loss]bool{}
	for _, v := range views {
		v.mu.Lock()
		maps.Copy(all, v.lost)
		v.mu.Unlock()
	}
	return slices.SortedFunc(maps.Keys(all), compareLosses)
}

// Names are the names that endpoints of the catalog, and the rate limit service, are known by instead of an IP
// address: what a Lookup has to know.
func Names(c *catalog.Catalog, rateLimits string) map[string]bool {
	names := map[string]bool{}
	if host, _, err := net.SplitHostPort(rateLimits); err == nil && host != "" && !isIP(host) {
		names[host] = true
	}
	for _, s := range c.Services() {
		for _, p := range s.Ports {
			for _, e := range s.Endpoints(p.Number) {
				if e.Port != 0 && !isIP(e.Address) {
					names[e.Address] = true
				}
			}
		}
	}
	return names
}

// A View is the catalog as one sort of client sees it. What it says does not change. It is safe for concurrent use.
type View struct {
	config   Config
	catalog  *catalog.Catalog
	policies map[string]*catalog.Object // by what their origins say
	asked    resilience.GlobalRate      // how proxies ask
	where    *places
	client   Client

	mu   sync.Mutex
	lost map[Loss]bool
}

// Limit is how many bytes a resource may take: a client that is sent more loses
// its stream, and with it all other updates.
func (v *View) Limit() int {
	const rest = 64 << 10 // of the response, and to be safe
	if v.client.Dialect.isGRPC() {
		return 4<<20 - rest // gRPC's default
	}
	return 16<<20 - rest // resolver/xds
}

// Message makes a resource; nil if the client has none of that name.
func (v *View) Message(typeURL, name string) proto.Message {
	switch typeURL {
	case wire.ListenerType:
		if l, ok := v.Listener(name); ok {
			return wire.EncodeListener(l)
		}
	case wire.RouteType:
		if t, ok := v.RouteTable(name); ok {
			return wire.EncodeRouteTable(t)
		}
	case wire.ClusterType:
		if c, ok := v.Cluster(name); ok {
			return wire.EncodeCluster(c)
		}
	case wire.EndpointType:
		if e, ok := v.Endpoints(name); ok {
			return wire.EncodeEndpoints(e)
		}
	}
	return nil
}

// All lists the names of a type that a client gets without asking for names.
func (v *View) All(typeURL string) []string {
	switch {
	case typeURL == wire.ListenerType && v.client.Dialect == Envoy:
		return append([]string{sidecarListener}, v.forwardNames()...)
	case typeURL == wire.ListenerType:
		return v.listenerNames()
	case typeURL == wire.ClusterType:
		return v.clusterNames()
	}
	return nil
}

func (v *View) listenerNames() []string {
	var names []string
	for _, s := range v.catalog.Services() {
		if !s.VisibleTo(v.client.Namespace) {
			continue
		}
		for _, p := range s.Ports {
			names = append(names, s.Host+":"+strconv.FormatUint(uint64(p.Number), 10))
		}
	}
	return names
}

// clusterNames are the clusters that routes lead to, and those that are asked for limits, verdicts and keys, and the servers behind a proxy.
func (v *View) clusterNames() []string {
	var names []string
	seen := map[string]bool{}
	if _, ok := v.Cluster(RateLimitCluster); ok {
		names = append(names, RateLimitCluster)
	}
	add := func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		if _, ok := v.Cluster(name); ok {
			names = append(names, name)
		}
	}
	for _, s := range v.catalog.Services() {
		if !s.VisibleTo(v.client.Namespace) {
			continue
		}
		for _, p := range s.Ports {
			for _, r := range v.told(s, p) {
				for _, t := range r.To {
					add(t.Cluster)
				}
			}
		}
	}
	for _, name := range append(v.forwardNames(), v.askedNames()...) {
		add(name)
	}
	return names
}

// Missing says why there is no such resource, for the person who asked for it.
func (v *View) Missing(typeURL, name string) string {
	if typeURL != wire.ListenerType || strings.HasPrefix(name, inboundPrefix) {
		return fmt.Sprintf("no resource %q", name)
	}
	if s, port := v.catalog.Service(v.client.Namespace, name); s != nil {
		var have []string
		for _, p := range s.Ports {
			have = append(have, strconv.FormatUint(uint64(p.Number), 10))
		}
		if port == 0 {
			return fmt.Sprintf("service %q has several ports: name one of %s", name, strings.Join(have, ", "))
		}
		return fmt.Sprintf("service %q has no port %d; it has %s", name, port, strings.Join(have, ", "))
	}
	text := fmt.Sprintf("no service %q", name)
	if near := v.catalog.Nearest(name, 3); len(near) > 0 {
		text += "; nearest: " + strings.Join(near, ", ")
	}
	return text
}

// inboundPrefix begins the names of what servers ask for themselves (Istio).
const inboundPrefix = "xds.istio.io/grpc/lds/inbound/"

// Listener returns what is behind a name that a client calls, or the address a server serves.
func (v *View) Listener(name string) (wire.Listener, bool) {
	if addr, ok := strings.CutPrefix(name, inboundPrefix); ok {
		if v.client.Dialect == Envoy {
			return wire.Listener{}, false
		}
		in, w := v.inbound(addr)
		told, lost := v.limitInbound(in, w)
		v.lose(lost)
		return wire.Listener{Name: name, Inbound: &told.Inbound, Secrets: v.client.Dialect.secrets()}, true
	}
	if f, ok := v.forward(name); ok {
		return v.before(name, f), true
	}
	if v.client.Dialect == Envoy {
		return v.sidecar(), name == sidecarListener
	}
	s, port := v.find(name)
	if s == nil {
		return wire.Listener{}, false
	}
	// The filter is always there: a listener should not change when a fault comes and goes.
	return wire.Listener{Name: name, RouteConfig: clusterName(port.Number, "", s.Host), Faults: v.client.Dialect.isGRPC()}, true
}

// RouteTable returns the routes of one port of a service, or of all for a sidecar.
func (v *View) RouteTable(name string) (wire.RouteTable, bool) {
	if name == sidecarRoutes && v.client.Dialect == Envoy {
		return wire.RouteTable{Name: name, VirtualHosts: v.sidecarHosts()}, true
	}
	s, port, _, ok := v.parse(name)
	if !ok {
		return wire.RouteTable{}, false
	}
	// A table serves one name of one port: whatever authority a caller writes, it has been found.
	host := resolver.VirtualHost{Name: s.Host, Domains: []string{"*"}, Routes: v.told(s, port)}
	return wire.RouteTable{Name: name, VirtualHosts: []resolver.VirtualHost{host}}, true
}

// Cluster returns the policy of a cluster.
func (v *View) Cluster(name string) (wire.Cluster, bool) {
	if name == RateLimitCluster {
		return v.rateLimits()
	}
	if f, ok := v.forward(name); ok {
		return behind(name, f), true
	}
	s, port, subset, ok := v.parse(name)
	if !ok {
		return wire.Cluster{}, false
	}
	if subset != "" {
		if _, ok := v.catalog.DestinationRule(v.client.Namespace, s).Subset(subset); !ok {
			return wire.Cluster{}, false
		}
	}
	c := v.cluster(s, port, subset)
	if v.client.Dialect.isGRPC() {
		v.settle(&c.Cluster, s, port, subset)
	}
	told, lost := v.client.Dialect.limitCluster(c.Cluster, c.From)
	v.lose(lost)
	out := wire.Cluster{Cluster: told, EndpointsName: name, Secrets: v.client.Dialect.secrets()}
	if told.TLS != nil && told.TLS.Mutual {
		out.RevocationLists = v.lists(c.From)
	}
	return out, true
}

// Endpoints returns who serves a cluster; there may be nobody.
func (v *View) Endpoints(name string) (wire.Endpoints, bool) {
	s, port, subset, ok := v.parse(name)
	if !ok {
		return wire.Endpoints{}, false
	}
	return wire.Endpoints{Name: name, Endpoints: v.endpoints(s, port, subset)}, true
}

// Service returns all that a client is told of a name, in one value, or why there is nothing.
func (v *View) Service(name string) (*resolver.Service, error) {
	l, ok := v.Listener(name)
	if !ok || l.Inbound != nil {
		return nil, &resolver.UnknownError{Name: name, Detail: v.Missing(wire.ListenerType, name)}
	}
	t, _ := v.RouteTable(l.RouteConfig)
	out := &resolver.Service{Name: name, VirtualHosts: t.VirtualHosts, Clusters: map[string]resolver.Cluster{}}
	for _, vh := range t.VirtualHosts {
		for _, r := range vh.Routes {
			for _, to := range r.To {
				if c, ok := v.Cluster(to.Cluster); ok {
					e, _ := v.Endpoints(to.Cluster)
					c.Endpoints = e.Endpoints
					out.Clusters[to.Cluster] = c.Cluster
				}
			}
		}
	}
	return out, nil
}

func (v *View) lose(lost []Loss) {
	if len(lost) == 0 {
		return
	}
	v.mu.Lock()
	lost = slices.DeleteFunc(slices.Clone(lost), func(l Loss) bool { return v.lost[l] })
	for _, l := range lost {
		v.lost[l] = true
	}
	v.mu.Unlock()
	if v.config.Lost != nil {
		for _, l := range lost {
			v.config.Lost(l)
		}
	}
}

// find returns the service and port that a name with or without port means.
func (v *View) find(name string) (*catalog.Service, catalog.Port) {
	s, number := v.catalog.Service(v.client.Namespace, name)
	if s == nil {
		return nil, catalog.Port{}
	}
	port, ok := s.Port(number)
	if !ok {
		return nil, catalog.Port{}
	}
	return s, port
}

// service returns the service of a canonical host.
func (v *View) service(host string) *catalog.Service {
	s, _ := v.catalog.Service(v.client.Namespace, host)
	return s
}

// parse returns what a cluster's name means.
func (v *View) parse(name string) (s *catalog.Service, port catalog.Port, subset string, ok bool) {
	number, subset, host, ok := parseCluster(name)
	if !ok {
		return nil, catalog.Port{}, "", false
	}
	if s = v.service(host); s == nil || s.Host != host {
		return nil, catalog.Port{}, "", false
	}
	port, ok = s.Port(number)
	return s, port, subset, ok
}

package xds

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A kind is a type of resource, in the order they are asked for.
type kind uint8

const (
	listeners kind = iota
	routes
	clusters
	endpoints
	secrets
	kinds // how many there are
)

var kindNames = [kinds]string{"listener", "route", "cluster", "endpoints", "secret"}

var typeURLs = [kinds]string{wire.ListenerType, wire.RouteType, wire.ClusterType, wire.EndpointType, wire.SecretType}

func (k kind) String() string { return kindNames[k] }

func (k kind) typeURL() string { return typeURLs[k] }

// whole says that a state-of-the-world response holds everything that is
// subscribed to, so that what it lacks is gone (xDS protocol, LDS and CDS).
func (k kind) whole() bool { return k == listeners || k == clusters }

func kindOf(typeURL string) (kind, bool) {
	for k, url := range typeURLs {
		if url == typeURL {
			return kind(k), true
		}
	}
	return 0, false
}

// A content is a resource decoded; which fields are used follows from its kind. It is never modified.
type content struct {
	gen  uint64 // no two contents of a client have the same
	name string

	// Of listeners and routes.
	routeConfig  string // of a listener: the route resource that has the virtual hosts
	virtualHosts []resolver.VirtualHost
	targets      []string          // the clusters that the virtual hosts name, each once
	inbound      *resolver.Inbound // of a listener: it is a server's
	over         *overlay          // of a listener: what holds for all routes; nil says nothing
	incomplete   bool              // the routes leave something for their listener to say

	// Of clusters.
	cluster       resolver.Cluster
	endpointsName string // the endpoints resource; empty means the cluster has its own

	// Of endpoints.
	endpoints []balancer.Endpoint

	// Of secrets.
	secret *wire.Secret

	// Of listeners and clusters: the certificate providers that they are by, if not the default.
	instances []string

	warnings []string
}

// decode never panics: what makes a decoder panic is as bad as what it refuses.
func decode(k kind, a *anypb.Any) (c *content, err error) {
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("decoder panicked: %v", p)
		}
	}()
	return decoders[k](a)
}

var decoders = [kinds]func(*anypb.Any) (*content, error){
	listeners: func(a *anypb.Any) (*content, error) {
		l, err := wire.DecodeListener(a)
		if err != nil {
			return nil, err
		}
		over := overlayOf(l)
		if over != nil || incomplete(l.VirtualHosts) {
			l.VirtualHosts = over.apply(l.VirtualHosts)
		}
		return &content{name: l.Name, routeConfig: l.RouteConfig, virtualHosts: l.VirtualHosts,
			targets: targetsOf(l.VirtualHosts), inbound: l.Inbound, over: over, instances: l.Instances, warnings: l.Warnings}, nil
	},
	routes: func(a *anypb.Any) (*content, error) {
		t, err := wire.DecodeRouteTable(a)
		if err != nil {
			return nil, err
		}
		return &content{name: t.Name, virtualHosts: t.VirtualHosts, targets: targetsOf(t.VirtualHosts),
			incomplete: incomplete(t.VirtualHosts), warnings: t.Warnings}, nil
	},
	clusters: func(a *anypb.Any) (*content, error) {
		c, err := wire.DecodeCluster(a)
		if err != nil {
			return nil, err
		}
		return &content{name: c.Name, cluster: c.Cluster, endpointsName: c.EndpointsName, instances: c.Instances, warnings: c.Warnings}, nil
	},
	endpoints: func(a *anypb.Any) (*content, error) {
		e, err := wire.DecodeEndpoints(a)
		if err != nil {
			return nil, err
		}
		return &content{name: e.Name, endpoints: e.Endpoints, warnings: e.Warnings}, nil
	},
	secrets: func(a *anypb.Any) (*content, error) {
		s, err := wire.DecodeSecret(a)
		if err != nil {
			return nil, err
		}
		return &content{name: s.Name, secret: s, warnings: s.Warnings}, nil
	},
}

// targetsOf lists the clusters that the routes name, each once, in order.
func targetsOf(hosts []resolver.VirtualHost) []string {
	var list []string
	seen := make(map[string]bool)
	for i := range hosts {
		for j := range hosts[i].Routes {
			for _, t := range hosts[i].Routes[j].To {
				if !seen[t.Cluster] {
					seen[t.Cluster] = true
					list = append(list, t.Cluster)
				}
			}
		}
	}
	return list
}

// A resource is what is known of one name of one kind. It exists while a consumer
// uses it or the server must still be told that none does.
type resource struct {
	kind  kind
	name  string
	users map[consumer]struct{}
	sent  bool // this stream's server knows that we want it

	content *content // in use; nil if there is none
	sum     uint64   // of the bytes of content
	version string   // of content
	origin  int      // the server that content is of

	err     error  // the newest complaint; nil after a good answer
	badSum  uint64 // of the bytes that were refused last; 0 if err is not a refusal
	missing bool   // err says that there is no such resource
	detail  string // the server's own sentence for that
	dropped bool   // content was there and was taken away

	state State
	at    time.Time
	wait  uint64 // the entry of core.waits that counts; 0 if none
}

// pending says that nothing is known yet.
func (r *resource) pending() bool { return r.content == nil && r.err == nil }

func (r *resource) String() string { return fmt.Sprintf("%s %q", r.kind, r.name) }

func (r *resource) set(s State) { r.state, r.at = s, time.Now() }

// named puts the resource's name before an error that does not carry it.
func named(k kind, name string, err error) error {
	if strings.Contains(err.Error(), strconv.Quote(name)) {
		return err
	}
	return fmt.Errorf("%s %q: %w", k, name, err)
}

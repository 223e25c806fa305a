package wire

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resolver"
)

// The type URLs of the resources.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// A Listener says where the routes of a name are, or what a server must know to
// serve an address (LDS).
type Listener struct {
	Name string
	// RouteConfig names the RouteTable to ask for; empty means VirtualHosts are inline.
	RouteConfig  string
	VirtualHosts []resolver.VirtualHost
	// Address, "ip:port", is where an Envoy listens for this name; empty means an
	// api_listener, which is what a library asks for.
	Address string
	// Inbound, if not nil, makes it the listener of a server: it has no routes, and
	// Address is not used.
	Inbound *resolver.Inbound
	// Warnings name what was set but is not obeyed. Not encoded.
	Warnings []string
}

// A RouteTable is the virtual hosts of a listener that names it (RDS).
type RouteTable struct {
	Name         string
	VirtualHosts []resolver.VirtualHost
	// Warnings name what was set but is not obeyed. Not encoded.
	Warnings []string
}

// A Cluster is a cluster without, or with its endpoints (CDS).
type Cluster struct {
	// Endpoints are those of a STATIC cluster; nil when EndpointsName is set.
	resolver.Cluster
	// EndpointsName names the Endpoints to ask for; empty means a STATIC cluster.
	EndpointsName string
	// Warnings name what was set but is not obeyed. Not encoded.
	Warnings []string
}

// Endpoints are the endpoints of a cluster (EDS).
type Endpoints struct {
	Name      string
	Endpoints []balancer.Endpoint
	// Warnings name what was set but is not obeyed. Not encoded.
	Warnings []string
}

// Marshal packs a resource. Equal messages give equal bytes.
func Marshal(m proto.Message) (*anypb.Any, error) {
	a := new(anypb.Any)
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, err
	}
	return a, nil
}

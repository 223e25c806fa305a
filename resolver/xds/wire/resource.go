package wire

import (
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// The type URLs of the resources.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// wrapperType is what a server may wrap a resource in to name it.
const wrapperType = "type.googleapis.com/envoy.service.discovery.v3.Resource"

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
	// RateLimits, Faults and Bandwidths say that the routes may have such: the filter is listed
	// without which an Envoy, or as for faults gRPC, does not see it. weft does not need it.
	RateLimits, Faults, Bandwidths bool
	// Global lists the filter that asks for the limits of all processes together; nil does not. An
	// Envoy needs it for what routes say. weft needs it only for routes that do not name the Domain.
	Global *GlobalFilter
	// Default is what the filters say for all routes.
	Default Default
	// Inbound, if not nil, makes it the listener of a server: it has no routes, and
	// of the fields above only Name is used.
	Inbound *resolver.Inbound
	// Proxy, if not nil, makes Inbound be served by an Envoy that stands before the server; nil is the server itself.
	Proxy *Proxy
	// Secrets is how the TLS of Inbound names the process's own certificate.
	Secrets Secrets
	// RevocationLists, in PEM, are those by which an Envoy before a server looks at the certificates of its clients: each issuer of one must have a list.
	// Not decoded: weft has Revoked, and refuses lists beside its own roots.
	RevocationLists string
	// Instances are those of certificate providers that it is by, if not "default"; who has none of that name
	// refuses the listener (gRFC A29). Not encoded.
	Instances []string
	// Warnings name what was set but is not obeyed. Not encoded.
	Warnings []string
}

// A Proxy is an Envoy before a server.
type Proxy struct {
	// Cluster is where it forwards to: the server.
	Cluster string
	// TCP says that the server speaks no HTTP: of the Guard the Connections count.
	TCP bool
}

// A Default is what a listener's filters say for the routes that do not say it themselves, and for
// the clusters that these lead to. It is not for their Off.
type Default struct {
	Rate      *resilience.Rate
	Fault     *resilience.Fault
	Bandwidth resilience.Bandwidths
	Admission *resilience.Admission
}

// A RouteTable is the virtual hosts of a listener that names it (RDS).
type RouteTable struct {
	Name         string
	VirtualHosts []resolver.VirtualHost
	// Warnings name what was set but is not obeyed. Not encoded.
	Warnings []string
}

// A Cluster is a cluster, with its endpoints if they are static (CDS).
type Cluster struct {
	// Endpoints are those of a STATIC cluster; not used when EndpointsName is set.
	resolver.Cluster
	// EndpointsName names the Endpoints to ask for; empty means a STATIC cluster.
	EndpointsName string
	// Secrets is how TLS names the process's own certificate, or the system's roots.
	Secrets Secrets
	// RevocationLists are those of a Listener, for the certificates of servers, if TLS is Mutual.
	RevocationLists string
	// Instances are those of certificate providers that it is by, if not "default"; who has none of that name
	// refuses the cluster (gRFC A29). Not encoded.
	Instances []string
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

// Unwrap returns the resource itself if a server wrapped it into an
// envoy.service.discovery.v3.Resource, else a.
func Unwrap(a *anypb.Any) (*anypb.Any, error) {
	if a.GetTypeUrl() != wrapperType {
		return a, nil
	}
	var w discoveryv3.Resource
	if err := unpack(a, &w); err != nil {
		return nil, fmt.Errorf("resource %q: %w", Name(a), err)
	}
	if w.GetResource() == nil {
		return nil, fmt.Errorf("resource %q: resource: missing", w.GetName())
	}
	return w.GetResource(), nil
}

// Name is the name of a resource, wrapped or not, as far as it can be found even
// where the resource does not decode; else "".
func Name(a *anypb.Any) string {
	if a.GetTypeUrl() != wrapperType {
		return string(field(a.GetValue(), 1)) // name, or cluster_name, in all four types
	}
	if name := field(a.GetValue(), 3); len(name) > 0 {
		return string(name)
	}
	return string(field(field(field(a.GetValue(), 2), 2), 1))
}

// field finds the last occurrence of a length-delimited field in what can be read of b.
func field(b []byte, want protowire.Number) (last []byte) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(num, typ, b)
		if size < 0 {
			break
		}
		if num == want && typ == protowire.BytesType {
			last, _ = protowire.ConsumeBytes(b)
		}
		b = b[size:]
	}
	return last
}

// open unwraps and unpacks a resource into m and begins the report on it. what is
// the kind of the resource in findings.
func open(a *anypb.Any, what string, m proto.Message) (*report, error) {
	r := &report{what: what, name: Name(a)}
	if a == nil {
		return nil, fmt.Errorf("%s: no resource", what)
	}
	a, err := Unwrap(a)
	if err != nil {
		return nil, err
	}
	if err := unpack(a, m); err != nil {
		return nil, fmt.Errorf("%s %q: %w", what, r.name, err)
	}
	r.name = Name(a)
	if r.name == "" {
		r.refuse("name", "empty")
	}
	return r, nil
}

// unpack reads a message of m's type.
func unpack(a *anypb.Any, m proto.Message) error {
	if want := m.ProtoReflect().Descriptor().FullName(); a == nil {
		return fmt.Errorf("missing, want a %s", want)
	} else if got := a.MessageName(); got != want {
		return fmt.Errorf("type is %q, not %s", got, want)
	}
	return a.UnmarshalTo(m)
}

// pack is Marshal for messages made here, which always can be packed.
func pack(m proto.Message) *anypb.Any {
	a, err := Marshal(m)
	if err != nil { // a string that is not UTF-8: readers refuse the empty Any
		return new(anypb.Any)
	}
	return a
}

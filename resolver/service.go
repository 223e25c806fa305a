// Package resolver turns the name of a service into routes and clusters.
//
// What a [Resolver] reports are values: built whole, never changed, compared by
// their content. Where they come from (a control server, a file, a literal) is
// the business of the packages below this one.
package resolver

import (
	"math"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
)

// A Service is all that a client must know to call one name. It is never modified.
type Service struct {
	// Name is what the caller asked for: "payments", "payments:9000", "payments.shop.svc.cluster.local".
	Name string
	// VirtualHosts are chosen by the authority of the call (Envoy RouteConfiguration.virtual_hosts).
	VirtualHosts []VirtualHost
	// Clusters by name; every Target of every route names one of them.
	Clusters map[string]Cluster
	// Missing says, of clusters that routes name and Clusters lacks, why; it may lack some, or be nil.
	Missing map[string]string
}

// A VirtualHost is the ordered routes of some authorities.
type VirtualHost struct {
	Name string
	// Domains are exact names, "*.suffix", "prefix.*" or "*"; letter case does not count.
	Domains []string
	// Routes in order: the first that matches is taken.
	Routes []Route
}

// A Route says which requests go to which clusters, under which policy.
type Route struct {
	Name  string
	Match Match
	// To are the weighted clusters the route chooses from.
	To     []Target
	Policy resilience.Policy
	// Unsupported, if not empty, says why calls that match must fail: the
	// configuration asks for an action that this client does not have. The route
	// is kept so that its calls do not fall through to the next one.
	Unsupported string
}

// A Target is one weighted cluster of a Route. Chances are in proportion to Weight;
// where a Route has one Target its Weight does not count.
type Target struct {
	Cluster string
	Weight  uint32
}

// A Cluster is a set of endpoints that are called alike.
type Cluster struct {
	Name      string
	Balance   balancer.Policy
	Endpoints []balancer.Endpoint
	// ConnectTimeout bounds the making of one connection; 0 means 5 s (Envoy connect_timeout).
	ConnectTimeout time.Duration
	// HTTP2 says that plaintext endpoints speak HTTP/2 with prior knowledge (h2c). gRPC does not need it said.
	HTTP2 bool
	// TLS is what the endpoints must prove; nil means plaintext.
	TLS *identity.ClientTLS
	// AutoTLS speaks TLS only with the endpoints that take it (balancer.Endpoint.MutualTLS), and plaintext with the
	// others (Istio auto mTLS).
	AutoTLS bool
	// Thresholds bound what this process has in flight to the cluster, by priority; nil
	// means resilience.DefaultThresholds (Envoy circuit_breakers.thresholds).
	Thresholds *[resilience.Priorities]resilience.Thresholds
	// Budget bounds retries to a share of the calls; nil means Thresholds.MaxRetries
	// bounds them (Envoy retry_budget).
	Budget *resilience.Budget
	// Outlier ejects hosts that fail; nil never does (Envoy outlier_detection).
	Outlier *balancer.Outlier
	// Breaker stops calls to a cluster that fails; nil never does.
	Breaker *resilience.Trip
	// HostBreaker passes over hosts that fail, and probes them; nil never does.
	HostBreaker *resilience.Trip
	// Admission refuses calls the more of them fail; nil never does (Envoy admission_control).
	Admission *resilience.Admission
	// Off are the kinds of policy that are turned off, of those that stand here.
	Off resilience.Switches
}

// InForce is c without the policies that Off turns off, so that whoever follows it need not ask.
func (c Cluster) InForce() Cluster {
	if c.Off.Off(resilience.NoThresholds) {
		all := resilience.Thresholds{MaxConnections: math.MaxUint32, MaxPending: math.MaxUint32, MaxRequests: math.MaxUint32, MaxRetries: math.MaxUint32}
		c.Thresholds = &[resilience.Priorities]resilience.Thresholds{all, all}
	}
	if c.Off.Off(resilience.NoBudgets) {
		c.Budget = nil
	}
	if c.Off.Off(resilience.NoOutliers) {
		c.Outlier = nil
	}
	if c.Off.Off(resilience.NoBreakers) {
		c.Breaker, c.HostBreaker = nil, nil
	}
	if c.Off.Off(resilience.NoAdmission) {
		c.Admission = nil
	}
	return c
}

// An Inbound is all that a server must know to serve one address.
type Inbound struct {
	// Addr is the address as it was asked for.
	Addr string
	// Serving is what the server says of the calls it takes.
	Serving resilience.Serving
	// TLS is what connections must prove, Guard who may call.
	TLS   identity.ServerTLS
	Guard identity.Guard
}

// A Resolver reports services and keeps them current. Its methods are safe for
// concurrent use and do not block on the network.
type Resolver interface {
	// Watch calls sink with the service when it is known and after each change,
	// never concurrently for one watch, until stop returns. sink must not block.
	// An error, without a service, means the service is not to be had for now (unknown
	// name, no control plane and nothing kept): what was reported before stays in
	// use unless the error is an [*UnknownError].
	// Watch itself may call sink before it returns. stop waits for a running
	// sink and must not be called from it.
	Watch(name string, sink func(*Service, error)) (stop func())

	// Serve says that this process serves addr ("ip:port") and reports what it
	// must know for that, under the rules of Watch. stop ends the
	// registration.
	Serve(addr string, sink func(*Inbound, error)) (stop func())
}

// An UnknownError means that the control plane says there is no such service. It
// takes a service that was known before away.
type UnknownError struct {
	Name string
	// Detail is the control plane's own sentence, such as the nearest names; may be empty.
	Detail string
}

func (e *UnknownError) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return "no service " + e.Name
}

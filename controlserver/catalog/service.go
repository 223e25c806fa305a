package catalog

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
)

const (
	// ClusterDomain ends the full name of a service.
	ClusterDomain = "cluster.local"
	// DefaultNamespace is the namespace of what names none.
	DefaultNamespace = "default"
	// RootNamespace holds the MeshConfig, and the policies that hold for the whole mesh unless that names another namespace.
	RootNamespace = "istio-system"

	serviceSuffix = ".svc." + ClusterDomain
)

// A Service is one host that can be called. It is immutable.
type Service struct {
	// Host is the canonical name. A ServiceEntry host without a dot is
	// HOST.NAMESPACE.svc.cluster.local, and keeps the short one among Aliases.
	Host string
	// Namespace is that of the ServiceEntry, or of the registered processes.
	Namespace string
	// Aliases are further names as they were written.
	Aliases []string
	// Addresses are IP addresses or CIDRs the service is also known by.
	Addresses []string
	// Ports in the order they were written.
	Ports []Port
	// Resolution says how Endpoints' addresses become IP addresses.
	Resolution Resolution
	// External says that the service is no member of the mesh (MESH_EXTERNAL).
	External bool
	// ExportTo are the namespaces that may see the service ("*", ".", "~" or a
	// name); empty means all.
	ExportTo []string
	// SubjectAltNames are the names, any of which the certificates of its servers carry; empty where nobody said. A
	// DestinationRule's take their place.
	SubjectAltNames []string
	// Objects are the ServiceEntries that declare the service, oldest first; none
	// for a service born by registering.
	Objects []*Object

	selects   bool // has a workloadSelector, or waits for processes of its name
	selector  map[string]string
	endpoints map[uint32][]Endpoint
}

// Selector are the labels that its workloads have, as its oldest workloadSelector says; nil without one. Not to be modified.
func (s *Service) Selector() map[string]string { return s.selector }

// Port returns the port of that number.
func (s *Service) Port(number uint32) (Port, bool) {
	i := slices.IndexFunc(s.Ports, func(p Port) bool { return p.Number == number })
	if i < 0 {
		return Port{}, false
	}
	return s.Ports[i], true
}

// DefaultPort returns the port of a call that names none: the only one, or 80.
func (s *Service) DefaultPort() (Port, bool) {
	if len(s.Ports) == 1 {
		return s.Ports[0], true
	}
	return s.Port(80)
}

// Endpoints returns who serves the port, in a stable order. With resolution DNS
// addresses may be names. Not to be modified.
func (s *Service) Endpoints(port uint32) []Endpoint { return s.endpoints[port] }

// Born reports whether the service exists only because processes registered.
func (s *Service) Born() bool { return len(s.Objects) == 0 }

// VisibleTo reports whether clients in a namespace may see the service.
func (s *Service) VisibleTo(namespace string) bool {
	return exported(s.ExportTo, s.Namespace, namespace)
}

// Names returns every name by which clients in a namespace reach the service,
// canonical first, addresses last.
func (s *Service) Names(namespace string) []string {
	names := []string{s.Host}
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if name, ns, ok := splitHost(s.Host); ok {
		if ns == namespace {
			add(name)
		}
		add(name + "." + ns)
		add(name + "." + ns + ".svc")
	}
	for _, alias := range s.Aliases {
		add(alias)
	}
	for _, addr := range s.Addresses {
		if !strings.Contains(addr, "/") {
			add(addr)
		}
	}
	return names
}

// A Port is a port callers name.
type Port struct {
	Number   uint32
	Name     string
	Protocol Protocol
	// TargetPort is where workloads listen unless they say otherwise; 0 means Number.
	TargetPort uint32
}

// An Endpoint is one workload behind a port of a service.
type Endpoint struct {
	// Address is an IP address, a name (resolution DNS) or "unix:///path".
	Address string
	// Port is where the workload listens; 0 for a unix socket.
	Port           uint32
	Labels         map[string]string
	Weight         uint32 // 0 means 1
	Locality       balancer.Locality
	Health         balancer.Health
	ServiceAccount string
	// Registered says that the workload speaks for itself; else operators have written down what stands here.
	Registered bool
	// Mode is how the workload takes connections there now, as [WorkloadPort] has it.
	Mode identity.Mode
}

// Matches reports whether the endpoint carries all the labels of a subset.
func (e Endpoint) Matches(labels map[string]string) bool { return selects(labels, e.Labels) }

// MutualTLS reports whether the workload can serve the mesh's mTLS: its label security.istio.io/tlsMode is "istio", or it has
// none, and has a service account (Istio).
func (e Endpoint) MutualTLS() bool {
	if mode, ok := e.Labels[tlsMode]; ok {
		return mode == "istio"
	}
	return e.ServiceAccount != ""
}

const tlsMode = "security.istio.io/tlsMode"

// Protocol is what a port speaks, in upper case; empty where nobody said.
type Protocol string

// The protocols (Istio port.protocol).
const (
	HTTP    Protocol = "HTTP"
	HTTP2   Protocol = "HTTP2"
	GRPC    Protocol = "GRPC"
	GRPCWeb Protocol = "GRPC-WEB"
	HTTPS   Protocol = "HTTPS"
	TLS     Protocol = "TLS"
	TCP     Protocol = "TCP"
	UDP     Protocol = "UDP"
	Mongo   Protocol = "MONGO"
	MySQL   Protocol = "MYSQL"
	Redis   Protocol = "REDIS"
)

// IsHTTP reports whether routes hold for the port: HTTP in any of its forms, or
// nobody said.
func (p Protocol) IsHTTP() bool {
	switch p {
	case "", HTTP, HTTP2, GRPC, GRPCWeb:
		return true
	}
	return false
}

// Resolution says how the addresses of a service's endpoints become IP addresses.
type Resolution uint8

// The resolutions.
const (
	None          Resolution = iota // not served yet
	Static                          // they are IP addresses
	DNS                             // names; every answer is an endpoint
	DNSRoundRobin                   // names; one answer at a time
)

func (r Resolution) String() string {
	return [...]string{"NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"}[r]
}

// splitHost takes NAME.NAMESPACE.svc.cluster.local apart.
func splitHost(host string) (name, namespace string, ok bool) {
	rest, ok := strings.CutSuffix(host, serviceSuffix)
	if !ok {
		return "", "", false
	}
	name, namespace, ok = strings.Cut(rest, ".")
	return name, namespace, ok && name != "" && namespace != "" && !strings.Contains(namespace, ".")
}

// exported reports whether what lives in owner is visible to a namespace (Istio exportTo).
func exported(to []string, owner, namespace string) bool {
	if len(to) == 0 {
		return true
	}
	for _, t := range to {
		if t == "*" || t == namespace || t == "." && owner == namespace {
			return true
		}
	}
	return false
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

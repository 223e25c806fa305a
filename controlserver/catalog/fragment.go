package catalog

import (
	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
)

// A Fragment is all that one source knows. A source reports it whole at every
// change; it must not be modified afterwards.
type Fragment struct {
	// Source names the source in messages, e.g. a directory or "registry".
	Source string
	// Objects are the documents without an Error.
	Objects []Object
	// Workloads are the registered processes.
	Workloads []Workload
	// Findings are about the documents that are not among Objects, and about those that are.
	Findings []Finding
}

// A Workload is a process that registered itself. It joins the ServiceEntries of
// its namespace whose workloadSelector matches its labels; one that no
// ServiceEntry claims gives birth to the service NAME.NAMESPACE.svc.cluster.local.
type Workload struct {
	// Name is the service the process says it is (mesh.WithService).
	Name string
	// Namespace is "default" when empty.
	Namespace string
	// Address is an IP address, without a port.
	Address string
	// Ports are the ports the process listens on, in the order it opened them.
	Ports []WorkloadPort
	// Labels choose subsets and match workload selectors.
	Labels map[string]string
	// Locality is where the process runs.
	Locality balancer.Locality
	// Weight is its share of the load; 0 means 1.
	Weight uint32
	// Health is what the process says of itself; only unknown and healthy ones are given calls.
	Health balancer.Health
	// ServiceAccount is the process's identity within its namespace.
	ServiceAccount string
}

// A WorkloadPort is a port a process listens on.
type WorkloadPort struct {
	Number uint32
	// Name of the port; matches the port name of a ServiceEntry. May be empty.
	Name string
	// Protocol is empty when the process takes what comes.
	Protocol Protocol
	// Mode is how the process takes connections there, as far as it has said so; Unset if it has not. It follows what policies say, which
	// the process has to take first.
	Mode identity.Mode
}

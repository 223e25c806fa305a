package trafficpolicy

// Kind and Version are what a document says of itself.
const (
	Kind    = "TrafficPolicy"
	Version = "weft.dev/v1"
)

// A Spec is the spec of a TrafficPolicy. It needs at least one of client, server and disable.
//
// Of all policies that hold for a call, each block of client and of server (rateLimit, hedge, ...)
// is taken whole from the most specific one that has it: one for the route before one for the
// service's port, the service, the namespace and the mesh; among these one with from before one
// without; among these one in the caller's namespace before one in the service's and in the root
// namespace; among these the oldest. What is listed in disable adds up.
type Spec struct {
	// Target is what the policy holds for. Default: client holds for all calls that the workloads of the
	// policy's namespace make, and server for all that they take; in the root namespace (istio-system),
	// for those of the whole mesh.
	Target *Target `json:"target"`
	// From narrows the policy to some callers. Default: it holds for all. A policy with server may not have it: a
	// server tells callers apart by the fact caller in a rateLimit.
	From *From `json:"from"`
	// Client is what callers do. For a service of another namespace it is obeyed by callers in the policy's own
	// namespace; policies in the service's namespace and in the root namespace are obeyed by all.
	Client *Client `json:"client"`
	// Server is what servers do. It is obeyed if the policy is in the servers' namespace or in the root namespace.
	Server *Server `json:"server"`
	// Disable are kill switches: the kinds of policy that are turned off for whatever the policy holds for, whoever
	// configured them, DestinationRules and VirtualServices included. Default: none.
	Disable []Switch `json:"disable"`
}

// A Target names a service, and what of it.
type Target struct {
	// Service is the service's host, read as that of a DestinationRule: short names are of the policy's
	// namespace, and "*." may stand for the first labels. An exact host is more specific than a longer wildcard, and that
	// than a shorter one.
	Service string `json:"service" rule:"required"`
	// Port is the number of the service's port, as callers name it. Default: all ports.
	Port uint32 `json:"port" rule:"max=65535"`
	// Route is the name of a rule (http[].name) of the VirtualService that holds for the service. Default: all routes.
	// With it the policy may have neither server, nor client.breaker, client.hostBreaker and client.admission, which all
	// routes to a service share.
	Route string `json:"route"`
}

// A From is a condition on callers; all that is given must hold.
type From struct {
	// Namespace is the callers' namespace. Default: any.
	Namespace string `json:"namespace"`
	// ServiceAccount is the name of the callers' service account. Default: any.
	ServiceAccount string `json:"serviceAccount"`
	// Labels are labels that callers have, with these values. Default: none are asked for.
	Labels map[string]string `json:"labels"`
}

// A Client is what a caller does with the calls it makes.
type Client struct {
	// RateLimit bounds how many calls each calling process makes.
	RateLimit *RateLimit `json:"rateLimit"`
	// GlobalRateLimit bounds how many calls all calling processes make together.
	GlobalRateLimit *GlobalRateLimit `json:"globalRateLimit"`
	// Hedge sends calls again before the first attempt has failed. Default: never.
	Hedge *Hedge `json:"hedge"`
	// Breaker stops calls to a service that fails them. Each calling process has its own.
	Breaker *Breaker `json:"breaker"`
	// HostBreaker passes over single instances of the service that fail, and probes them later.
	HostBreaker *Breaker `json:"hostBreaker"`
	// Admission lets a caller refuse its own calls the more of them fail. An empty one is in force with its defaults.
	Admission *Admission `json:"admission"`
	// Fallback is what callers get when all attempts of a call failed.
	Fallback *Fallback `json:"fallback"`
	// Fault is what is done to calls on purpose, before they leave the caller. Where it leaves delay or abort out, those
	// of the VirtualService hold.
	Fault *Fault `json:"fault"`
	// Bandwidth bounds how fast bodies go, in each calling process.
	Bandwidth *Bandwidth `json:"bandwidth"`
	// IdleTimeout ends a call on which neither side has sent anything for so long. Default: none.
	IdleTimeout Duration `json:"idleTimeout"`
}

// A Server is what a server does with the calls it takes.
type Server struct {
	// RateLimit bounds how many calls each serving process takes. A limit by [caller] is a quota per caller.
	RateLimit *RateLimit `json:"rateLimit"`
	// GlobalRateLimit bounds how many calls all serving processes take together.
	GlobalRateLimit *GlobalRateLimit `json:"globalRateLimit"`
	// Concurrency bounds how many calls are in flight in each process. Default: no bound, or, with shedding, an adaptive one.
	Concurrency *Concurrency `json:"concurrency"`
	// Shedding lets calls beyond the bound queue, and refuses some when the queue does not drain. Default: they are
	// refused at once. An empty one is in force with its defaults.
	Shedding *Shedding `json:"shedding"`
	// Lateness is how work is refused whose deadline has passed. Default: as an empty one, with its defaults; to serve
	// such work, disable "deadlines".
	Lateness *Lateness `json:"lateness"`
	// Fault is what is done to calls on purpose, before they reach the handler.
	Fault *Fault `json:"fault"`
	// Bandwidth bounds how fast bodies go, in each serving process.
	Bandwidth *Bandwidth `json:"bandwidth"`
	// HealthPaths are the paths of health checks, which pass rate limits, concurrency and shedding. gRPC's own health
	// service always does. Default: /healthz, /livez and /readyz.
	HealthPaths []Path `json:"healthPaths"`
	// TrustedCallers are those whose headers count that steer the mesh (timeouts, retries, faults, priority); what others
	// send of these is removed. An empty list is nobody. Default: everybody of the server's own trust domain.
	TrustedCallers *[]Principal `json:"trustedCallers"`
}

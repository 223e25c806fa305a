package balancer

// An Endpoint is one address of a cluster as the configuration states it. It is
// a value: never changed after it was handed to a [Group].
type Endpoint struct {
	// Addr is "host:port", with an IP address or a name the transport can dial.
	Addr string
	// Hostname is the name the endpoint is known by, for TLS and authority; may be empty.
	Hostname string
	// Weight is the endpoint's share within its locality; 0 means 1.
	Weight uint32
	// Priority 0 is the first to be used; higher ones are fallbacks.
	Priority uint32
	// Locality says where the endpoint runs.
	Locality Locality
	// LocalityWeight is the share of the endpoint's locality within its priority; 0 means unset.
	LocalityWeight uint32
	// Health is what the control plane knows; only HealthUnknown and Healthy serve.
	Health Health
	// MutualTLS says that the endpoint takes the mesh's mTLS (Istio tlsMode "istio").
	MutualTLS bool
	// Labels are the workload's labels, as far as the configuration carries them. Not to be modified.
	Labels map[string]string
}

// Serves reports whether the endpoint may be given calls (Envoy health_status
// UNKNOWN or HEALTHY).
func (e Endpoint) Serves() bool { return e.Health == HealthUnknown || e.Health == Healthy }

// A Locality is a place in a region (Envoy core.Locality).
type Locality struct{ Region, Zone, SubZone string }

// Health is an endpoint's health as configured (Envoy core.HealthStatus).
type Health uint8

// The values of Health. Their order is that of the wire.
const (
	HealthUnknown Health = iota
	Healthy
	Unhealthy
	Draining
	HealthTimeout
	Degraded
)

var healthNames = [...]string{"UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"}

func (h Health) String() string {
	if int(h) < len(healthNames) {
		return healthNames[h]
	}
	return "INVALID"
}

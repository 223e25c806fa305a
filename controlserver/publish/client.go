package publish

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// A Dialect is how resources must be phrased for a kind of client.
type Dialect uint8

// The dialects.
const (
	// Weft is this project's own client: it is told everything.
	Weft Dialect = iota
	// GRPC is gRPC's own xDS client in any language: it is told nothing that
	// makes it refuse a whole resource.
	GRPC
	// Envoy is a sidecar: it gets one HTTP proxy listener for all services.
	Envoy
	// GRPCLeast is GRPC in the languages whose client has least request (gRFC
	// A48); the others refuse clusters that ask for it.
	GRPCLeast
)

func (d Dialect) String() string {
	return [...]string{"weft", "grpc", "envoy", "grpc, least request"}[d]
}

// isGRPC reports whether gRPC's own client, in whatever language, is spoken to.
func (d Dialect) isGRPC() bool { return d == GRPC || d == GRPCLeast }

// A Client is what of a node decides what it may see.
type Client struct {
	Dialect        Dialect
	Namespace      string
	ServiceAccount string
	Labels         map[string]string
	// Addresses are its IP addresses: by them servers are found that do not say their labels.
	Addresses []string
	// Listen is where an Envoy's listener binds, "ip:port".
	Listen string
}

// DialectOf tells what kind of client a node is.
func DialectOf(n *corev3.Node) Dialect {
	agent := n.GetUserAgentName()
	switch {
	case agent == "weft":
		return Weft
	case agent == "gRPC Go", agent == "gRPC Java":
		return GRPCLeast
	case strings.HasPrefix(strings.ToLower(agent), "grpc"), n.GetMetadata().GetFields()["GENERATOR"].GetStringValue() == "grpc":
		return GRPC
	case agent == "envoy", strings.HasPrefix(n.GetId(), "sidecar~"), strings.HasPrefix(n.GetId(), "router~"):
		return Envoy
	}
	return GRPC // the most cautious one
}

// ListenOf is where a sidecar's listener binds: its node metadata WEFT_LISTEN, or 127.0.0.1:15001.
func ListenOf(n *corev3.Node) string {
	return cmp.Or(n.GetMetadata().GetFields()["WEFT_LISTEN"].GetStringValue(), "127.0.0.1:15001")
}

// key tells apart clients that may see different things. Labels and the service account count only where
// something asks for them.
func (c Client) key(labelled, accounted bool) string {
	parts := []string{c.Dialect.String(), c.Namespace}
	if c.Dialect == Envoy {
		parts = append(parts, c.Listen)
	}
	if accounted {
		parts = append(parts, c.ServiceAccount)
	}
	if labelled {
		for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
			parts = append(parts, k, c.Labels[k])
		}
		if len(c.Labels) == 0 {
			parts = append(parts, c.Addresses...)
		}
	}
	return strings.Join(parts, "\x00")
}

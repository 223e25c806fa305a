package publish

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/resolver/xds/wire"
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

// secrets is how a client's process knows its own certificate.
func (d Dialect) secrets() wire.Secrets {
	if d.isGRPC() {
		return wire.Providers
	}
	return wire.SDS
}

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
	// Inbound is where an Envoy takes calls for a server behind it.
	Inbound []Forward
}

// A Forward is an address at which an Envoy takes calls for a server.
type Forward struct {
	// Listen is the address, and To that of the server, "ip:port" each.
	Listen, To string
	// Port is that of the workload of which policies speak.
	Port uint32
	// TCP says that the server speaks no HTTP.
	TCP bool
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

// InboundOf are the addresses at which a sidecar takes calls for a server behind it: its node metadata WEFT_INBOUND, a list
// of {"listen": "10.0.0.1:8080", "forward": "127.0.0.1:8081", "port": 8080, "protocol": "HTTP"}. The port is the one listened at if it is left
// out, and the protocol HTTP; the other is TCP. What is none of that is left out.
func InboundOf(n *corev3.Node) []Forward {
	var out []Forward
	for _, v := range n.GetMetadata().GetFields()["WEFT_INBOUND"].GetListValue().GetValues() {
		m := v.GetStructValue().GetFields()
		f := Forward{
			Listen: m["listen"].GetStringValue(), To: m["forward"].GetStringValue(),
			Port: uint32(m["port"].GetNumberValue()), TCP: m["protocol"].GetStringValue() == "TCP",
		}
		at, err := netip.ParseAddrPort(f.Listen)
		if _, bad := netip.ParseAddrPort(f.To); err != nil || bad != nil {
			continue
		}
		f.Port = cmp.Or(f.Port, uint32(at.Port()))
		if !slices.ContainsFunc(out, func(o Forward) bool { return o.Listen == f.Listen }) {
			out = append(out, f)
		}
	}
	return out
}

// key tells apart clients that may see different things. Labels and the service account count only where
// something asks for them.
func (c Client) key(labelled, accounted bool) string {
	parts := []string{c.Dialect.String(), c.Namespace}
	if c.Dialect == Envoy {
		parts = append(parts, c.Listen)
		for _, f := range c.Inbound {
			parts = append(parts, fmt.Sprint(f))
		}
	}
	if c.Dialect.isGRPC() { // whose servers are told one way of TLS or the other
		can := (catalog.Endpoint{Labels: c.Labels, ServiceAccount: c.ServiceAccount}).MutualTLS()
		parts = append(parts, strconv.FormatBool(can))
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

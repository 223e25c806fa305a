package ads

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// A Node is a client as it described itself in the first request of its stream.
// It is immutable, and one value for as long as the stream lives.
type Node struct {
	ID             string
	Identity       string            // SPIFFE ID that it has proved; empty if it was not asked to
	Serial         string            // of the certificate by which
	Service        string            // metadata WEFT_SERVICE without its namespace
	Namespace      string            // that of WEFT_SERVICE, or metadata NAMESPACE, or that of a four-part id's domain
	ServiceAccount string            // metadata SERVICE_ACCOUNT
	Labels         map[string]string // metadata LABELS. Not to be modified
	InstanceIPs    []string          // metadata INSTANCE_IPS
	Peer           netip.AddrPort    // where the stream comes from; invalid if that is no IP address
	Proto          *corev3.Node      // everything else it said. Not to be modified
}

func newNode(p *corev3.Node, peer netip.AddrPort) *Node {
	n := &Node{
		ID:             p.GetId(),
		Service:        metadata(p, "WEFT_SERVICE"),
		Namespace:      metadata(p, "NAMESPACE"),
		ServiceAccount: metadata(p, "SERVICE_ACCOUNT"),
		Peer:           peer,
		Proto:          p,
	}
	if name, ns, ok := strings.Cut(n.Service, "."); ok {
		n.Service = name
		n.Namespace, _, _ = strings.Cut(ns, ".")
	}
	if n.Namespace == "" {
		// Istio's id: TYPE~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN.
		if parts := strings.Split(n.ID, "~"); len(parts) == 4 {
			n.Namespace, _, _ = strings.Cut(parts[3], ".")
		}
	}
	if labels := p.GetMetadata().GetFields()["LABELS"].GetStructValue().GetFields(); len(labels) > 0 {
		n.Labels = make(map[string]string, len(labels))
		for k, v := range labels {
			n.Labels[k] = v.GetStringValue()
		}
	}
	for ip := range strings.SplitSeq(metadata(p, "INSTANCE_IPS"), ",") {
		if ip = strings.TrimSpace(ip); ip != "" {
			n.InstanceIPs = append(n.InstanceIPs, ip)
		}
	}
	return n
}

func metadata(p *corev3.Node, key string) string {
	return p.GetMetadata().GetFields()[key].GetStringValue()
}

package xds

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/identity"
)

// meshTLS is the mTLS by which a process of that identity speaks to the control server of its trust domain.
func meshTLS(own identity.Source) (*tls.Config, error) {
	svid, err := own.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("identity: there is none yet to show to the control server: %w", err)
	}
	id, err := spiffeid.FromPath(svid.ID.TrustDomain(), identity.ControlServerPath)
	if err != nil {
		return nil, fmt.Errorf("identity of the control server: %w", err)
	}
	config := tlsconfig.MTLSClientConfig(own, own, tlsconfig.AuthorizeID(id))
	config.MinVersion = tls.VersionTLS13
	return config, nil
}

// identified waits until there is an identity, and returns the node as that identity: a control server lets nobody speak for another's
// namespace. Without an identity the node is as it was.
func (s *stream) identified() (*corev3.Node, error) {
	own := s.server.identity
	if own == nil {
		return s.node, nil
	}
	if w, ok := own.(identity.Waiter); ok {
		ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
		defer cancel()
		if err := w.Ready(ctx); err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
	}
	svid, err := own.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return nodeOf(s.node, svid.ID), nil
}

// nodeOf is a node with the namespace and the service account of an identity, where it is one of Istio's form.
func nodeOf(n *corev3.Node, id spiffeid.ID) *corev3.Node {
	namespace, account, err := identity.WorkloadOf(id)
	if err != nil {
		return n
	}
	n = proto.Clone(n).(*corev3.Node)
	fields := n.Metadata.Fields
	was := fields["NAMESPACE"].GetStringValue()
	fields["NAMESPACE"], fields["SERVICE_ACCOUNT"] = structpb.NewStringValue(namespace), structpb.NewStringValue(account)
	// Istio's id: TYPE~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN.
	if parts := strings.Split(n.Id, "~"); len(parts) == 4 && was != namespace {
		parts[2] = strings.TrimSuffix(parts[2], "."+was) + "." + namespace
		parts[3] = strings.Replace(parts[3], was+".svc.", namespace+".svc.", 1)
		n.Id = strings.Join(parts, "~")
	}
	return n
}

package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
)

// delta is the incremental protocol: requests and responses carry what changed.
type delta struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	node *corev3.Node
}

func (d *delta) send(r *request) error {
	m := &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl:                  r.typeURL,
		ResponseNonce:            r.nonce,
		ErrorDetail:              r.refusal(),
		ResourceNamesSubscribe:   r.subscribe,
		ResourceNamesUnsubscribe: r.unsubscribe,
		InitialResourceVersions:  r.initial,
	}
	if r.node {
		m.Node = d.node
	}
	return d.Send(m)
}

func (d *delta) recv() (*response, error) {
	m, err := d.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{typeURL: m.GetTypeUrl(), nonce: m.GetNonce(), removed: m.GetRemovedResources(), faults: faultsOf(m.GetResourceErrors())}
	for _, n := range m.GetRemovedResourceNames() {
		r.removed = append(r.removed, n.GetName())
	}
	for _, x := range m.GetResources() {
		if x.GetResource() == nil && x.GetTtl() != nil {
			continue // only prolongs a life that we do not end
		}
		e := entry{name: x.GetName(), version: x.GetVersion(), any: x.GetResource()}
		if e.name == "" {
			e.name = x.GetResourceName().GetName()
		}
		r.entries = append(r.entries, e)
	}
	return r, nil
}

func faultsOf(list []*discoveryv3.ResourceError) []fault {
	var out []fault
	for _, e := range list {
		out = append(out, fault{e.GetResourceName().GetName(), codes.Code(e.GetErrorDetail().GetCode()), e.GetErrorDetail().GetMessage()})
	}
	return out
}

package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// sotw is the state-of-the-world protocol: requests carry all names, responses all
// resources, at least of listeners and clusters.
type sotw struct {
	discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	node *corev3.Node
}

func (s *sotw) send(r *request) error {
	m := &discoveryv3.DiscoveryRequest{
		TypeUrl:       r.typeURL,
		VersionInfo:   r.version,
		ResponseNonce: r.nonce,
		ResourceNames: r.names,
		ErrorDetail:   r.refusal(),
	}
	if r.node {
		m.Node = s.node
	}
	return s.Send(m)
}

func (s *sotw) recv() (*response, error) {
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{typeURL: m.GetTypeUrl(), nonce: m.GetNonce(), version: m.GetVersionInfo(), full: true, faults: faultsOf(m.GetResourceErrors())}
	for _, a := range m.GetResources() {
		r.entries = append(r.entries, entry{version: m.GetVersionInfo(), any: a})
	}
	return r, nil
}

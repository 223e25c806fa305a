package wire

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	localityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/balancer"
)

const standIn = "%s is not supported yet; ROUND_ROBIN takes its place"

// decodeBalance reads load_balancing_policy, which goes before lb_policy (gRFC A52).
func decodeBalance(p *place, m *clusterv3.Cluster) balancer.Policy {
	if m.GetLoadBalancingPolicy() != nil {
		q := p.in("load_balancing_policy")
		return decodePolicies(&q, m.GetLoadBalancingPolicy(), true)
	}
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		return balancer.Policy{Kind: balancer.RoundRobin}
	case clusterv3.Cluster_LEAST_REQUEST:
		c := m.GetLeastRequestLbConfig()
		q := p.in("least_request_lb_config")
		q.ignores(c, "choice_count")
		return balancer.Policy{Kind: balancer.LeastRequest, Choices: decodeChoices(&q, c.GetChoiceCount())}
	case clusterv3.Cluster_RANDOM:
		return balancer.Policy{Kind: balancer.Random}
	case clusterv3.Cluster_RING_HASH, clusterv3.Cluster_MAGLEV:
		p.warn("lb_policy", standIn, m.GetLbPolicy())
	case clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG:
		p.refuse("load_balancing_policy", "missing, though lb_policy is %v", m.GetLbPolicy())
	default:
		p.refuse("lb_policy", "%v is not supported", m.GetLbPolicy())
	}
	return balancer.Policy{}
}

// decodePolicies takes the first policy of the list that it knows. A policy for
// localities (outer) may stand around it.
func decodePolicies(p *place, m *clusterv3.LoadBalancingPolicy, outer bool) balancer.Policy {
	var passed []string
	for i, policy := range m.GetPolicies() {
		q := p.at("policies", i)
		a := policy.GetTypedExtensionConfig().GetTypedConfig()
		config := func(m proto.Message) {
			if err := unpack(a, m); err != nil {
				q.refuse("typed_extension_config", "%w", err)
			}
		}
		switch {
		case a.MessageIs((*roundv3.RoundRobin)(nil)):
			var c roundv3.RoundRobin
			config(&c)
			q.ignores(&c, "locality_lb_config")
			return balancer.Policy{Kind: balancer.RoundRobin}
		case a.MessageIs((*leastv3.LeastRequest)(nil)):
			var c leastv3.LeastRequest
			config(&c)
			q.ignores(&c, "choice_count", "locality_lb_config")
			return balancer.Policy{Kind: balancer.LeastRequest, Choices: decodeChoices(&q, c.GetChoiceCount())}
		case a.MessageIs((*randomv3.Random)(nil)):
			var c randomv3.Random
			config(&c)
			q.ignores(&c, "locality_lb_config")
			return balancer.Policy{Kind: balancer.Random}
		case a.MessageIs((*localityv3.WrrLocality)(nil)) && outer:
			var c localityv3.WrrLocality
			config(&c)
			inner := q.in("endpoint_picking_policy")
			return decodePolicies(&inner, c.GetEndpointPickingPolicy(), false)
		}
		passed = append(passed, string(a.MessageName()))
	}
	for _, name := range passed {
		if stoodIn(name) {
			p.warn("policies", standIn, name)
			return balancer.Policy{}
		}
	}
	p.refuse("policies", "none of %q is supported", passed)
	return balancer.Policy{}
}

// stoodIn reports whether round robin may stand in for a policy, with a warning:
// it keeps calls of one kind together or balances finer, but any host can serve any call.
func stoodIn(name string) bool {
	switch name {
	case "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
		"envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
		"envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin":
		return true
	}
	return false
}

func decodeChoices(p *place, n *wrapperspb.UInt32Value) uint32 {
	if n != nil && n.GetValue() < 2 {
		p.refuse("choice_count", "%d is less than 2", n.GetValue())
	}
	return n.GetValue()
}

func encodeBalance(m *clusterv3.Cluster, b balancer.Policy) {
	switch b.Kind {
	case balancer.RoundRobin:
		m.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
	case balancer.LeastRequest:
		m.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if b.Choices > 0 {
			m.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{
				ChoiceCount: wrapperspb.UInt32(b.Choices),
			}}
		}
	case balancer.Random:
		m.LbPolicy = clusterv3.Cluster_RANDOM
	default:
		m.LbPolicy = clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG // and none: refused
	}
}

package wire

import (
	"math"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/balancer"
)

// labelsKey is where an endpoint's metadata carries all of its labels.
const labelsKey = "weft.labels"

// maxPriority is the largest that is allowed (Envoy LocalityLbEndpoints.priority).
const maxPriority = 128

// DecodeEndpoints reads a ClusterLoadAssignment. Endpoints of every health are
// kept; a health status of a later version counts as unhealthy.
//
// Where no locality has a weight each gets the sum of its endpoints' weights, which
// is to say that localities do not matter; where some have, those without, or with
// weight 0, are left out (gRFC A27).
func DecodeEndpoints(a *anypb.Any) (*Endpoints, error) {
	var m endpointv3.ClusterLoadAssignment
	r, err := open(a, "endpoints", &m)
	if err != nil {
		return nil, err
	}
	p := r.root()
	e := &Endpoints{Name: m.GetClusterName(), Endpoints: decodeEndpoints(&p, &m)}
	if err := r.err(); err != nil {
		return nil, err
	}
	e.Warnings = r.warnings()
	return e, nil
}

func decodeEndpoints(p *place, m *endpointv3.ClusterLoadAssignment) []balancer.Endpoint {
	p.ignores(m, "cluster_name", "endpoints", "policy")
	decodeDrops(p, m.GetPolicy())

	weighted := false
	n := 0
	for _, l := range m.GetEndpoints() {
		weighted = weighted || l.GetLoadBalancingWeight() != nil
		n += len(l.GetLbEndpoints())
	}
	type where struct {
		priority uint32
		balancer.Locality
	}
	var (
		out      []balancer.Endpoint
		seen     = make(map[string]bool, n)
		places   = make(map[where]bool, len(m.GetEndpoints()))
		sums     [maxPriority + 1]uint64
		used     [maxPriority + 1]bool
		priority uint32 // the largest
	)
	for i, l := range m.GetEndpoints() {
		q := p.at("endpoints", i)
		q.ignores(l, "locality", "lb_endpoints", "load_balancing_weight", "priority", "metadata",
			"load_balancer_endpoints", "leds_cluster_locality_config")
		if l.GetLbConfig() != nil {
			q.refuse("leds_cluster_locality_config", "not supported")
		}
		if l.GetPriority() > maxPriority {
			q.refuse("priority", "%d is more than %d", l.GetPriority(), maxPriority)
			continue
		}
		at := where{l.GetPriority(), balancer.Locality{
			Region:  l.GetLocality().GetRegion(),
			Zone:    l.GetLocality().GetZone(),
			SubZone: l.GetLocality().GetSubZone(),
		}}
		if places[at] {
			q.refuse("locality", "%+v is there twice with priority %d", at.Locality, at.priority)
		}
		places[at] = true
		used[at.priority] = true
		priority = max(priority, at.priority)

		first := len(out)
		sum := uint64(0)
		for j, h := range l.GetLbEndpoints() {
			hp := q.at("lb_endpoints", j)
			e := decodeEndpoint(&hp, h, seen)
			e.Locality, e.Priority = at.Locality, at.priority
			sum += uint64(max(e.Weight, 1))
			out = append(out, e)
		}
		if sum > math.MaxUint32 {
			q.refuse("lb_endpoints", "the weights' sum %d is more than %d", sum, uint32(math.MaxUint32))
		}
		weight := uint64(l.GetLoadBalancingWeight().GetValue())
		if !weighted {
			weight = sum
		} else if weight == 0 {
			if len(out) > first {
				q.warn("load_balancing_weight", "a locality without a weight is left out, as others have one")
			}
			out = out[:first]
		}
		sums[at.priority] += weight
		for j := range out[first:] {
			out[first+j].LocalityWeight = uint32(weight)
		}
	}
	for i := range priority {
		if !used[i] {
			p.refuse("endpoints", "no locality has priority %d, but one has %d", i, priority)
		}
	}
	for i, sum := range sums {
		if sum > math.MaxUint32 {
			p.refuse("endpoints", "the sum %d of the localities' weights with priority %d is more than %d", sum, i, uint32(math.MaxUint32))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// decodeEndpoint reads one endpoint and enters its addresses in seen.
func decodeEndpoint(p *place, m *endpointv3.LbEndpoint, seen map[string]bool) balancer.Endpoint {
	var out balancer.Endpoint
	p.ignores(m, "endpoint", "endpoint_name", "health_status", "metadata", "load_balancing_weight")
	e := m.GetEndpoint()
	if e == nil {
		p.refuse("endpoint", "missing")
		return out
	}
	q := p.in("endpoint")
	q.ignores(e, "address", "hostname", "health_check_config", "observability_name")
	out.Hostname = e.GetHostname()
	out.Addr = decodeAddress(&q, e.GetAddress())
	if out.Addr != "" && seen[out.Addr] {
		q.refuse("address", "%s is there twice", out.Addr)
	}
	seen[out.Addr] = true
	for i, more := range e.GetAdditionalAddresses() {
		mp := q.at("additional_addresses", i)
		addr := decodeAddress(&mp, more.GetAddress())
		if addr != "" && seen[addr] {
			mp.refuse("address", "%s is there twice", addr)
		}
		seen[addr] = true
	}
	if w := m.GetLoadBalancingWeight(); w != nil {
		if out.Weight = w.GetValue(); out.Weight == 0 {
			p.refuse("load_balancing_weight", "0")
		}
	}
	out.Health = balancer.Health(m.GetHealthStatus())
	if _, known := corev3.HealthStatus_name[int32(m.GetHealthStatus())]; !known {
		p.warn("health_status", "unknown status %d counts as unhealthy", m.GetHealthStatus())
		out.Health = balancer.Unhealthy
	}
	out.Labels = decodeLabels(p, m.GetMetadata())
	out.MutualTLS = m.GetMetadata().GetFilterMetadata()[socketMatchKey].GetFields()[tlsModeField].GetStringValue() == tlsModeIstio
	return out
}

// decodeLabels reads our labels, or else the workload as istiod tells it.
func decodeLabels(p *place, m *corev3.Metadata) map[string]string {
	if fields := m.GetFilterMetadata()[labelsKey].GetFields(); len(fields) > 0 {
		labels := make(map[string]string, len(fields))
		for k, v := range fields {
			if s, ok := v.GetKind().(*structpb.Value_StringValue); ok {
				labels[k] = s.StringValue
			} else {
				p.warn("metadata", "a label that is no string is left out")
			}
		}
		if len(labels) > 0 {
			return labels
		}
	}
	workload := m.GetFilterMetadata()["istio"].GetFields()["workload"].GetStringValue()
	if workload == "" {
		return nil
	}
	labels := map[string]string{}
	parts := strings.Split(workload, ";")
	for i, name := range []string{"workload", "namespace", "app", "version", "cluster"} {
		if i < len(parts) && parts[i] != "" {
			labels[name] = parts[i]
		}
	}
	if len(labels) == 0 {
		return nil
	}
	return labels
}

// decodeDrops warns of drops, after looking at what has let others divide by zero.
func decodeDrops(p *place, m *endpointv3.ClusterLoadAssignment_Policy) {
	q := p.in("policy")
	for i, d := range m.GetDropOverloads() {
		dp := q.at("drop_overloads", i)
		decodeFraction(&dp, "drop_percentage", d.GetDropPercentage())
	}
	q.ignores(m, "overprovisioning_factor", "endpoint_stale_after")
}

// decodeFraction returns millionths, at most a million.
func decodeFraction(p *place, field string, f *typev3.FractionalPercent) uint32 {
	scale := uint64(0)
	switch f.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		scale = 10_000
	case typev3.FractionalPercent_TEN_THOUSAND:
		scale = 100
	case typev3.FractionalPercent_MILLION:
		scale = 1
	default:
		p.refuse(field+".denominator", "unknown value %d", f.GetDenominator())
	}
	return uint32(min(uint64(f.GetNumerator())*scale, 1_000_000))
}

// EncodeEndpoints is the reverse of DecodeEndpoints. Endpoints of one locality and
// priority are put together, in the order of their first; all get the locality weight
// of that first, or, if it is 0, the sum of their weights, since gRPC leaves
// localities without a weight out. A priority that nobody has becomes an empty locality,
// since gaps are refused.
func EncodeEndpoints(e Endpoints) proto.Message { return encodeEndpoints(e.Name, e.Endpoints) }

func encodeEndpoints(name string, endpoints []balancer.Endpoint) *endpointv3.ClusterLoadAssignment {
	type where struct {
		priority uint32
		balancer.Locality
	}
	m := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	groups := map[where]*endpointv3.LocalityLbEndpoints{}
	used := map[uint32]bool{}
	priority := uint32(0)
	for _, e := range endpoints {
		at := where{e.Priority, e.Locality}
		g := groups[at]
		if g == nil {
			g = &endpointv3.LocalityLbEndpoints{
				Locality: &corev3.Locality{Region: e.Locality.Region, Zone: e.Locality.Zone, SubZone: e.Locality.SubZone},
				Priority: e.Priority,
			}
			if e.LocalityWeight > 0 {
				g.LoadBalancingWeight = wrapperspb.UInt32(e.LocalityWeight)
			}
			groups[at] = g
			m.Endpoints = append(m.Endpoints, g)
			used[e.Priority] = true
			priority = max(priority, e.Priority)
		}
		g.LbEndpoints = append(g.LbEndpoints, encodeEndpoint(e))
	}
	for _, g := range m.Endpoints {
		if g.LoadBalancingWeight != nil {
			continue
		}
		sum := uint64(0)
		for _, e := range g.LbEndpoints {
			sum += uint64(max(e.GetLoadBalancingWeight().GetValue(), 1))
		}
		g.LoadBalancingWeight = wrapperspb.UInt32(uint32(min(sum, math.MaxUint32)))
	}
	for i := range min(priority, maxPriority) {
		if !used[i] {
			m.Endpoints = append(m.Endpoints, &endpointv3.LocalityLbEndpoints{
				Locality: &corev3.Locality{}, Priority: i, LoadBalancingWeight: wrapperspb.UInt32(1),
			})
		}
	}
	return m
}

func encodeEndpoint(e balancer.Endpoint) *endpointv3.LbEndpoint {
	m := &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address:  encodeAddress(e.Addr),
			Hostname: e.Hostname,
		}},
		HealthStatus: corev3.HealthStatus(e.Health),
	}
	if e.Weight > 0 {
		m.LoadBalancingWeight = wrapperspb.UInt32(e.Weight)
	}
	if len(e.Labels) > 0 {
		fields := make(map[string]*structpb.Value, len(e.Labels))
		for k, v := range e.Labels {
			fields[k] = structpb.NewStringValue(v)
		}
		m.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{labelsKey: {Fields: fields}}}
	}
	if e.MutualTLS {
		if m.Metadata == nil {
			m.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
		}
		m.Metadata.FilterMetadata[socketMatchKey] = tlsMode()
	}
	return m
}

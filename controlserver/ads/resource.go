package ads

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The types of resource the server serves.
const (
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	SecretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// HealthType is the type of requests by which a client tells its own health; no
// resource has it (Istio HealthInformation).
const HealthType = "type.googleapis.com/istio.v1.HealthInformation"

// A Resource is one xDS resource in the form in which it is sent. It is
// immutable and shared by all streams.
type Resource struct {
	Name    string
	TypeURL string
	// Version is a hash of the content: equal content has an equal version, in
	// every process and after every restart.
	Version string

	entry []byte // as an element of DeltaDiscoveryResponse.resources, with its tag
	plain []byte // as an element of DiscoveryResponse.resources, with its tag; lies in entry
	value []byte // the marshalled message; lies in entry
}

// NewResource marshals and hashes m, which may be changed afterwards.
func NewResource(name string, m proto.Message) (*Resource, error) {
	if name == "" {
		return nil, fmt.Errorf("resource of type %s: name is empty", m.ProtoReflect().Descriptor().FullName())
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("resource %s: %w", name, err)
	}
	sum := sha256.Sum256(raw)
	r := &Resource{
		Name:    name,
		TypeURL: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()),
		Version: hex.EncodeToString(sum[:8]),
	}
	r.encode(raw)
	return r, nil
}

// Any is the resource as it lies in a response. The value is shared and is not
// to be modified.
func (r *Resource) Any() *anypb.Any { return &anypb.Any{TypeUrl: r.TypeURL, Value: r.value} }

// Size is the number of bytes the resource takes in a response.
func (r *Resource) Size() int { return len(r.entry) }

// encode lays the resource out once for both protocols: the Any of a state-of-
// the-world response and that inside a delta response's Resource have the same
// field number, so that one is a part of the other.
func (r *Resource) encode(raw []byte) {
	const resources, version, resource, name = 2, 1, 2, 3 // fields of the responses; of Resource
	const typeURL, value = 1, 2                           // of Any

	wrapped := protowire.SizeTag(typeURL) + protowire.SizeBytes(len(r.TypeURL)) + protowire.SizeTag(value) + protowire.SizeBytes(len(raw))
	plain := protowire.SizeTag(resource) + protowire.SizeBytes(wrapped)
	inner := protowire.SizeTag(version) + protowire.SizeBytes(len(r.Version)) + plain + protowire.SizeTag(name) + protowire.SizeBytes(len(r.Name))

	b := make([]byte, 0, protowire.SizeTag(resources)+protowire.SizeBytes(inner))
	b = protowire.AppendTag(b, resources, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = appendString(b, version, r.Version)
	start := len(b)
	b = protowire.AppendTag(b, resource, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(wrapped))
	b = appendString(b, typeURL, r.TypeURL)
	b = protowire.AppendTag(b, value, protowire.BytesType)
	b = protowire.AppendBytes(b, raw)
	end := len(b)
	b = appendString(b, name, r.Name)

	r.entry, r.plain, r.value = b, b[start:end:end], b[end-len(raw):end:end]
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// SortResources puts resources into the order [Snapshot.All] wants.
func SortResources(rs []*Resource) {
	slices.SortFunc(rs, func(a, b *Resource) int { return cmp.Compare(a.Name, b.Name) })
}

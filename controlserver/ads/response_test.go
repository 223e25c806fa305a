package ads

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestResourceIsWhatProtobufWouldWrite(t *testing.T) {
	m := &clusterv3.Cluster{Name: "a", AltStatName: "b"}
	r, err := NewResource("a", m)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(r.Any(), packed) {
		t.Errorf("Any is %v, want %v", r.Any(), packed)
	}
	for _, tt := range []struct {
		got  []byte
		want proto.Message
	}{
		{r.entry, &discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{{Name: "a", Version: r.Version, Resource: packed}}}},
		{r.plain, &discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{packed}}},
	} {
		want, err := proto.Marshal(tt.want)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(tt.got, want) {
			t.Errorf("%T:\n%x, want\n%x", tt.want, tt.got, want)
		}
	}
	if r.Size() != len(r.entry) {
		t.Errorf("size %d", r.Size())
	}
}

func TestVersionIsAHashOfTheContent(t *testing.T) {
	a, same, other := res(t, "EDS a=1"), res(t, "EDS a=1"), res(t, "EDS a=2")
	if a.Version != same.Version || a.Version == other.Version || a.Version == "" {
		t.Errorf("versions %q, %q, %q", a.Version, same.Version, other.Version)
	}
	if _, err := NewResource("", &clusterv3.Cluster{}); err == nil {
		t.Error("a resource without a name is accepted")
	}
}

func TestStreamsShareOneEncoding(t *testing.T) {
	r := res(t, "CDS a=1")
	shelf := newShelf()
	one := shelf.share(&response{kind: clusters, version: "1", sent: []*Resource{r}})
	for _, tt := range []struct {
		name   string
		r      *response
		shared bool
	}{
		{"the same", &response{kind: clusters, version: "1", sent: []*Resource{r}}, true},
		{"equal content", &response{kind: clusters, version: "1", sent: []*Resource{res(t, "CDS a=1")}}, true},
		{"other content", &response{kind: clusters, version: "1", sent: []*Resource{res(t, "CDS a=2")}}, false},
		{"other protocol", &response{protocol: StateOfTheWorld, kind: clusters, version: "1", sent: []*Resource{r}}, false},
		{"more removed", &response{kind: clusters, version: "1", sent: []*Resource{r}, gone: []string{"b"}}, false},
		{"more errors", &response{kind: clusters, version: "1", sent: []*Resource{r}, lost: []loss{{"b", "no"}}}, false},
	} {
		if got := shelf.share(tt.r); (got == one) != tt.shared {
			t.Errorf("%s: shared is %v", tt.name, got == one)
		}
	}
}

// A server whose options were not used, or an interceptor that looks at
// messages, sees ordinary ones.
func TestFrameIsTheSameToOursAndToAnyCodec(t *testing.T) {
	for _, p := range []Protocol{Delta, StateOfTheWorld} {
		f, err := newFrame(&response{protocol: p, kind: clusters, version: "1", sent: []*Resource{res(t, "CDS a=1")}, lost: []loss{{"b", "no"}}}, "7")
		if err != nil {
			t.Fatal(err)
		}
		plain := encoding.GetCodecV2("proto")
		var got [2][]byte
		for i, c := range []encoding.CodecV2{codec{plain}, plain} {
			b, err := c.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			got[i] = b.Materialize()
			b.Free()
		}
		for i := range got {
			var m proto.Message = &discoveryv3.DeltaDiscoveryResponse{}
			if p == StateOfTheWorld {
				m = &discoveryv3.DiscoveryResponse{}
			}
			if err := proto.Unmarshal(got[i], m); err != nil {
				t.Fatal(err)
			}
			if a := read(t, m); a.String() != "CDS +a=1 !b: no" || a.nonce != "7" || a.version != "1" {
				t.Errorf("%v, codec %d: %v nonce %q version %q", p, i, a, a.nonce, a.version)
			}
		}
	}
}

func TestNode(t *testing.T) {
	meta := func(kv ...any) *structpb.Struct {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		s, err := structpb.NewStruct(m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const id = "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local"
	for _, tt := range []struct {
		name string
		node *corev3.Node
		want string // service, namespace, account, labels, addresses
	}{
		{"nothing", &corev3.Node{Id: "x"}, "| | | map[] []"},
		{"istio id", &corev3.Node{Id: id}, "|shop| | map[] []"},
		{"namespace", &corev3.Node{Id: id, Metadata: meta("NAMESPACE", "a")}, "|a| | map[] []"},
		{"service", &corev3.Node{Id: id, Metadata: meta("WEFT_SERVICE", "pay", "NAMESPACE", "a")}, "pay|a| | map[] []"},
		{"service with namespace", &corev3.Node{Id: id, Metadata: meta("WEFT_SERVICE", "pay.b", "NAMESPACE", "a")}, "pay|b| | map[] []"},
		{"service with domain", &corev3.Node{Id: id, Metadata: meta("WEFT_SERVICE", "pay.b.svc.cluster.local")}, "pay|b| | map[] []"},
		{"all", &corev3.Node{Id: id, Metadata: meta("SERVICE_ACCOUNT", "sa", "LABELS", map[string]any{"v": "1"}, "INSTANCE_IPS", "10.0.0.1, ::1")}, "|shop|sa| map[v:1] [10.0.0.1 ::1]"},
		{"of the wrong types", &corev3.Node{Id: id, Metadata: meta("SERVICE_ACCOUNT", 1, "LABELS", "x", "INSTANCE_IPS", true)}, "|shop| | map[] []"},
	} {
		n := newNode(tt.node, netip.AddrPort{})
		account := n.ServiceAccount
		if account == "" {
			account = " "
		}
		ns := n.Namespace
		if ns == "" {
			ns = " "
		}
		if got := fmt.Sprintf("%s|%s|%s| %v %v", n.Service, ns, account, n.Labels, n.InstanceIPs); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

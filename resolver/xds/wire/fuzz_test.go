package wire

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// fuzz feeds decode with bytes. It must not panic, and what it accepts must come back
// from its encoding as it was.
func fuzz[T any](f *testing.F, kind, typeURL string, seed func(gen) T, clean func(*T), encode func(T) proto.Message, decode func(*anypb.Any) (*T, error)) {
	for i := range uint64(50) {
		f.Add(marshal(f, encode(seed(newGen(i)))).GetValue())
	}
	files, err := filepath.Glob("testdata/istiod/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		for _, a := range readDump(f, file).resources(f, kind) {
			f.Add(a.GetValue())
		}
	}
	for _, k := range slices.Concat(badKinds, badGuards) {
		for _, c := range k.cases {
			switch {
			case kind == "cds" && k.cluster != nil:
				f.Add(clusterText(f, `name: "c" type: EDS eds_cluster_config { eds_config { ads {} } } `+k.cluster(c.text)).GetValue())
			case kind == "lds" && k.listener != nil:
				f.Add(listenerText(f, `name: "l" address { socket_address { address: "127.0.0.1" port_value: 1 } } `+k.listener(c.text)).GetValue())
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &anypb.Any{TypeUrl: typeURL, Value: b}
		name := Name(a)
		v, err := decode(a)
		if err != nil {
			if v != nil || err.Error() == "" {
				t.Fatalf("%v, %q", v, err)
			}
			return
		}
		if name == "" {
			t.Fatal("accepted without a name")
		}
		clean(v)
		again, err := decode(marshal(t, encode(*v)))
		if err != nil {
			t.Fatalf("refused, once encoded: %v\n%+v", err, *v)
		}
		if !reflect.DeepEqual(v, again) {
			t.Fatal(difference(*again, *v))
		}
	})
}

func FuzzDecodeListener(f *testing.F) {
	fuzz(f, "lds", ListenerType, gen.listener, func(v *Listener) { v.Warnings, v.Instances = nil, nil }, EncodeListener, DecodeListener)
}

func FuzzDecodeRoute(f *testing.F) {
	fuzz(f, "rds", RouteType, gen.table, func(v *RouteTable) { v.Warnings = nil }, EncodeRouteTable, DecodeRouteTable)
}

func FuzzDecodeCluster(f *testing.F) {
	fuzz(f, "cds", ClusterType, gen.cluster, func(v *Cluster) { v.Warnings, v.Instances = nil, nil }, EncodeCluster, DecodeCluster)
}

func FuzzDecodeEndpoints(f *testing.F) {
	fuzz(f, "eds", EndpointType, gen.assignment, func(v *Endpoints) { v.Warnings = nil }, EncodeEndpoints, DecodeEndpoints)
}

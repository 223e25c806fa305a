package trafficpolicy

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// numbers calls with each number and time below v, settable.
func numbers(v reflect.Value, at string, with func(at string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			numbers(v.Elem(), at, with)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			numbers(v.Field(i), at+"."+v.Type().Field(i).Tag.Get("json"), with)
		}
	case reflect.Slice:
		for i := range v.Len() {
			numbers(v.Index(i), fmt.Sprintf("%s[%d]", at, i), with)
		}
	case reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float64:
		with(at, v)
	}
}

// taken reports why a client does not take what the control server would send it of s.
func taken(s *Spec) error {
	calls, serving := s.Calls("a/b", ""), s.Serving("a/b", "")
	var route resolver.Route
	route.Match.Path = resolver.PathMatch{Kind: resolver.PathPrefix, Value: "/"}
	route.To = []resolver.Target{{Cluster: "c", Weight: 1}}
	calls.Apply(&route.Policy)
	var cluster wire.Cluster
	cluster.Name, cluster.EndpointsName = "c", "c"
	cluster.Breaker, cluster.HostBreaker, cluster.Admission = calls.Breaker, calls.HostBreaker, calls.Admission
	listener := wire.Listener{Name: "l", Inbound: &resolver.Inbound{Addr: "127.0.0.1:1", Serving: serving.Serving}}
	for _, one := range []struct {
		m      proto.Message
		decode func(proto.Message) error
	}{
		{wire.EncodeRouteTable(wire.RouteTable{Name: "r", VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{route}}}}), func(m proto.Message) error {
			a, err := wire.Marshal(m)
			if err == nil {
				_, err = wire.DecodeRouteTable(a)
			}
			return err
		}},
		{wire.EncodeCluster(cluster), func(m proto.Message) error {
			a, err := wire.Marshal(m)
			if err == nil {
				_, err = wire.DecodeCluster(a)
			}
			return err
		}},
		{wire.EncodeListener(listener), func(m proto.Message) error {
			a, err := wire.Marshal(m)
			if err == nil {
				_, err = wire.DecodeListener(a)
			}
			return err
		}},
	} {
		if err := one.decode(one.m); err != nil {
			return err
		}
	}
	return nil
}

// known is a policy whose server knows what calls take.
func known() *Spec {
	s := whole()
	a := s.Server.Concurrency.Adaptive
	a.Fixed, a.Remeasure, a.Jitter = second, 0, 0
	return s
}

// Clients would refuse a whole resource for one field: check is to have said so.
func TestWhatIsFoundRightClientsTake(t *testing.T) {
	right, wrong := 0, 0
	for _, spec := range []func() *Spec{whole, known} {
		if found := spec().Check("a/b"); len(found) > 0 {
			t.Fatal(found)
		}
		if err := taken(spec()); err != nil {
			t.Fatal(err)
		}
		fields := 0
		numbers(reflect.ValueOf(spec()), "", func(string, reflect.Value) { fields++ })
		for i := range fields {
			for _, x := range []float64{0, 1, 100, 1e6 - 1, 1e6, 19e6, 49e6, 1e9 - 1, 1e9, math.MaxUint32, math.MaxInt64, 1e-4, 99.9999, math.MaxFloat64} {
				s := spec()
				field := set(s, i, x)
				if len(s.Check("a/b")) > 0 {
					wrong++
				} else if err := taken(s); err != nil {
					t.Errorf("%s is found right, but: %v", field, err)
				} else {
					right++
				}
			}
		}
	}
	if right < 100 || wrong < 100 {
		t.Errorf("%d found right and %d wrong: too few to show anything", right, wrong)
	}
}

// set gives one number or time of s a value, and says what it is then.
func set(s *Spec, field int, to float64) (said string) {
	n := 0
	numbers(reflect.ValueOf(s), "", func(at string, v reflect.Value) {
		if n++; n != field+1 {
			return
		}
		switch v.Kind() {
		case reflect.Float64:
			v.SetFloat(to)
		case reflect.Int64:
			v.SetInt(int64(min(to, math.MaxInt64-1024)))
		default:
			v.SetUint(uint64(min(to, math.MaxUint32)))
		}
		said = fmt.Sprint(at, " = ", v.Interface())
	})
	return said
}

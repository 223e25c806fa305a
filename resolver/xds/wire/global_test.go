package wire

import (
	"reflect"
	"slices"
	"testing"

	"github.com/weftmesh/weft/resilience"
)

func TestLimitsAreNamedByAGenericKey(t *testing.T) {
	limits := [][]resilience.Entry{{{Key: "generic_key", Value: "shop/payments/client/0"}, {Key: "header:x-user"}}}
	encoded := encodeLimits(limits, fields{})
	if len(encoded) != 1 || encoded[0].GetActions()[0].GetGenericKey().GetDescriptorValue() != "shop/payments/client/0" {
		t.Errorf("an Envoy is told %v", encoded)
	}
	for _, c := range []struct {
		action string
		want   []resilience.Entry
		warn   []string
	}{
		{`generic_key { descriptor_value: "a" }`, []resilience.Entry{{Key: "generic_key", Value: "a"}}, nil},
		{`generic_key { descriptor_value: "a" descriptor_key: "generic_key" }`, []resilience.Entry{{Key: "generic_key", Value: "a"}}, nil},
		{`generic_key { descriptor_value: "a" descriptor_key: "k" }`, nil, []string{
			`route.rate_limits[0].actions[0].generic_key.descriptor_key: "k" is not the name of a fact ("generic_key"): the limit has no effect`}},
	} {
		p, warn := understood(t, ``, ``, `rate_limits { actions { `+c.action+` } }`)
		var got []resilience.Entry
		if p.Global != nil {
			got = p.Global.Descriptors[0]
		}
		if !reflect.DeepEqual(got, c.want) || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %v, %q", c.action, got, warn)
		}
	}
}

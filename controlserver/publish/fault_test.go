package publish

import (
	"reflect"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

func TestFaultsOfARule(t *testing.T) {
	millionths := func(n uint32) resilience.Fraction { return resilience.Fraction{Numerator: n, Per: 1_000_000} }
	for _, tc := range []struct {
		fault string
		want  *resilience.Fault
	}{
		{"{delay: {percentage: {value: 0.1}, fixedDelay: 5s}}", &resilience.Fault{Delay: 5 * time.Second, DelayPercent: millionths(1000)}},
		{"{delay: {percent: 7, fixedDelay: 5s}}", &resilience.Fault{Delay: 5 * time.Second, DelayPercent: resilience.Percent(7)}},
		{"{delay: {percent: 7, percentage: {value: 33.3333}, fixedDelay: 5s}}", &resilience.Fault{Delay: 5 * time.Second, DelayPercent: millionths(333333)}},
		{"{abort: {percentage: {value: 100}, httpStatus: 404}}", &resilience.Fault{Abort: resilience.Abort{Status: 404}, AbortPercent: millionths(1_000_000)}},
		{"{abort: {percentage: {value: 0.0001}, grpcStatus: OK}}", &resilience.Fault{Abort: resilience.Abort{GRPC: true}, AbortPercent: millionths(1)}},
		{"{delay: {percentage: {value: 50}, fixedDelay: 1s}, abort: {percentage: {value: 10}, grpcStatus: UNAUTHENTICATED}}", &resilience.Fault{
			Delay: time.Second, DelayPercent: millionths(500_000),
			Abort: resilience.Abort{GRPC: true, Code: 16}, AbortPercent: millionths(100_000)}},
		// A share that is left out is no call (Istio).
		{"{delay: {fixedDelay: 5s}, abort: {httpStatus: 500}}", nil},
		{"{delay: {percentage: {value: 0}, fixedDelay: 5s}, abort: {percentage: {value: 1}, httpStatus: 500}}", &resilience.Fault{
			Abort: resilience.Abort{Status: 500}, AbortPercent: millionths(10_000)}},
	} {
		yaml := bounded + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: p, namespace: shop}\nspec:\n  hosts: [payments]\n  http:\n" +
			"  - route: [{destination: {host: payments}}]\n    fault: " + tc.fault + "\n"
		for _, d := range []Dialect{Weft, GRPC, GRPCLeast, Envoy} {
			v := publisher(t, yaml).View(Client{Dialect: d, Namespace: "shop"})
			s, port := v.find("payments:80")
			if got := v.told(s, port)[0].Policy.Fault; !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v: %s: %+v, want %+v", d, tc.fault, got, tc.want)
			}
		}
	}
}

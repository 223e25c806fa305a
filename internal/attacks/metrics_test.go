package attacks

import (
	"fmt"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/weftmesh/weft/mesh"
)

// Nothing that callers make up becomes a label (B23).
func TestB23Labels(t *testing.T) {
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader))
	t.Cleanup(func() { meter.Shutdown(t.Context()) })
	g := serve(t, strictly(only(aliceID)), mesh.WithTelemetry(nil, meter))
	for _, who := range []string{aliceID, malloryID} {
		source := g.ca.Source(who)
		for i := range 60 {
			made := fmt.Sprintf("x%d", i)
			a := &Attack{Path: "/" + made, Host: made + ".test", Method: "M" + made, Header: [][2]string{{"user-agent", made}, {"x-" + made, made}}}
			g.attack(a, web[i%2], source)
			g.attack(&Attack{Path: "/" + made + ".S/" + made, Host: made}, GRPC, source)
		}
	}
	var out metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, scope := range out.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				series = max(series, len(d.DataPoints))
			case metricdata.Histogram[float64]:
				series = max(series, len(d.DataPoints))
			}
		}
	}
	if series == 0 || series > 10 {
		t.Errorf("a metric has %d series, of 240 requests by two callers", series)
	}
}

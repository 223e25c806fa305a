package mesh_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

// telemetry is what one process reports.
type telemetry struct {
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
}

func newTelemetry() (telemetry, mesh.Option) {
	tel := telemetry{tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()}
	return tel, mesh.WithTelemetry(
		sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(tel.spans)),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(tel.reader)))
}

// counts returns the points of istio_requests_total, and checks that the durations agree.
func (tel telemetry) counts(t *testing.T) []metricdata.DataPoint[int64] {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := tel.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	var counts []metricdata.DataPoint[int64]
	var total int64
	var timed uint64
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				if m.Name == "istio_requests_total" {
					counts = data.DataPoints
				}
			case metricdata.Histogram[float64]:
				if m.Name == "istio_request_duration_milliseconds" {
					for _, p := range data.DataPoints {
						timed += p.Count
					}
				}
			}
		}
	}
	for _, p := range counts {
		total += p.Value
	}
	if uint64(total) != timed {
		t.Errorf("%d requests counted, %d timed", total, timed)
	}
	return counts
}

func wantLabels(t *testing.T, p metricdata.DataPoint[int64], want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got, _ := p.Attributes.Value(attribute.Key(k)); got.AsString() != v {
			t.Errorf("%s = %q, want %q", k, got.AsString(), v)
		}
	}
}

const telemetryYAML = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: payments}}
`

func TestHTTPCallsAreCountedAndTracedOnBothSides(t *testing.T) {
	kit := meshtest.New(t, telemetryYAML)
	serving, option := newTelemetry()
	server := kit.Mesh(mesh.WithService("payments.shop", map[string]string{"app": "payments", "version": "v2"}), option)
	var seen trace.SpanContext
	addr := serveHTTP(t, kit, server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = trace.SpanContextFromContext(r.Context())
		w.WriteHeader(http.StatusTeapot)
	}))
	calling, option := newTelemetry()
	client := &http.Client{Transport: kit.Mesh(mesh.WithService("orders.shop", map[string]string{"app": "orders"}), option).RoundTripper()}
	resp, err := client.Get("http://payments/charge")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()

	counts := calling.counts(t)
	if len(counts) != 1 || counts[0].Value != 1 {
		t.Fatalf("caller counts %+v", counts)
	}
	wantLabels(t, counts[0], map[string]string{
		"reporter": "source", "source_app": "orders", "destination_service": "payments.shop.svc.cluster.local",
		"destination_service_name": "payments", "destination_service_namespace": "shop", "destination_app": "payments",
		"destination_version": "v2", "request_protocol": "http", "response_code": "418", "response_flags": "-",
	})
	counts = serving.counts(t)
	if len(counts) != 1 || counts[0].Value != 1 {
		t.Fatalf("server counts %+v", counts)
	}
	wantLabels(t, counts[0], map[string]string{
		"reporter": "destination", "destination_app": "payments", "destination_version": "v2", "response_code": "418", "request_protocol": "http",
	})

	call, attempt := clientSpans(t, calling)
	if attempt.Parent().SpanID() != call.SpanContext().SpanID() {
		t.Error("the attempt is no child of the call")
	}
	servers := serving.spans.Ended()
	if len(servers) != 1 || servers[0].SpanKind() != trace.SpanKindServer {
		t.Fatalf("server's spans: %v", servers)
	}
	if servers[0].Parent().SpanID() != attempt.SpanContext().SpanID() || servers[0].SpanContext().TraceID() != call.SpanContext().TraceID() {
		t.Error("the server's span is no child of the attempt")
	}
	if seen.SpanID() != servers[0].SpanContext().SpanID() {
		t.Error("the handler does not see the server's span")
	}
	if !slices.Contains(attempt.Attributes(), attribute.String("server.address", addr)) {
		t.Errorf("attempt's attributes %v do not name the host %s", attempt.Attributes(), addr)
	}
}

func TestGRPCCallsAreCountedAndTracedOnBothSides(t *testing.T) {
	kit := meshtest.New(t)
	serving, option := newTelemetry()
	server := kit.Mesh(mesh.WithService("checker", map[string]string{"app": "checker"}), option)
	serveGRPC(t, kit, server, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) })
	calling, option := newTelemetry()
	conn, err := grpc.NewClient("mesh:///checker", kit.Mesh(option).DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nobody"})
	if status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	for side, tel := range map[string]telemetry{"source": calling, "destination": serving} {
		counts := tel.counts(t)
		if len(counts) != 1 || counts[0].Value != 1 {
			t.Fatalf("%s counts %+v", side, counts)
		}
		wantLabels(t, counts[0], map[string]string{"reporter": side, "request_protocol": "grpc", "response_code": "200", "grpc_response_status": "5"})
	}
	call, attempt := clientSpans(t, calling)
	if call.Name() != "grpc.health.v1.Health/Check" {
		t.Errorf("span %q", call.Name())
	}
	if servers := serving.spans.Ended(); len(servers) != 1 || servers[0].Parent().SpanID() != attempt.SpanContext().SpanID() {
		t.Errorf("server's spans: %v", servers)
	}
}

func TestWhatTheMeshCannotAnswerIsFlagged(t *testing.T) {
	kit := meshtest.New(t)
	calling, option := newTelemetry()
	client := &http.Client{Transport: kit.Mesh(option, mesh.WithOutbound(mesh.RegistryOnly)).RoundTripper()}
	for range 2 {
		if _, err := client.Get("http://nobody/"); err == nil {
			t.Fatal("a call to nobody succeeded")
		}
	}
	counts := calling.counts(t)
	if len(counts) != 1 || counts[0].Value != 2 {
		t.Fatalf("counts %+v", counts)
	}
	wantLabels(t, counts[0], map[string]string{"response_flags": "NR", "destination_service": "unknown"})
}

// clientSpans returns the span of the only call and that of its only attempt.
func clientSpans(t *testing.T, tel telemetry) (call, attempt sdktrace.ReadOnlySpan) {
	t.Helper()
	for _, s := range tel.spans.Ended() {
		switch s.SpanKind() {
		case trace.SpanKindInternal:
			call = s
		case trace.SpanKindClient:
			attempt = s
		}
	}
	if len(tel.spans.Ended()) != 2 || call == nil || attempt == nil {
		t.Fatalf("caller's spans: %v", tel.spans.Ended())
	}
	return call, attempt
}

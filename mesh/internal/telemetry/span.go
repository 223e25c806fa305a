package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// spanName is the full method for gRPC and the method for HTTP: paths would be
// too many names (OpenTelemetry HTTP and RPC conventions).
func spanName(p engine.Protocol, r *resolver.Request) string {
	switch p {
	case engine.GRPC:
		return strings.TrimPrefix(r.Path, "/")
	case engine.TCP:
		return "connect"
	}
	return r.Method
}

func attemptAttributes(c *engine.Call, a *engine.Attempt) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		attribute.String("server.address", a.Host.Addr()),
		attribute.String("weft.service", c.Service()),
		attribute.String("weft.cluster", a.Cluster.Name),
	}
	if a.Number > 1 {
		attrs = append(attrs, attribute.Int("http.request.resend_count", a.Number-1))
	}
	switch c.Protocol {
	case engine.GRPC:
		attrs = append(attrs, attribute.String("rpc.system", "grpc"))
	case engine.HTTP:
		attrs = append(attrs, attribute.String("http.request.method", c.Request.Method), attribute.String("url.path", c.Request.Path))
	}
	return attrs
}

// endSpan closes the span of ctx with the outcome. The status of a client's or a
// server's own mistake (HTTP 4xx) is not an error of the span.
func endSpan(ctx context.Context, out resilience.Outcome, err error) {
	span := trace.SpanFromContext(ctx)
	if err == nil {
		err = out.Err
	}
	if span.IsRecording() {
		if out.GRPC {
			span.SetAttributes(attribute.Int64("rpc.grpc.status_code", int64(out.Code)))
		} else if out.Status > 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", out.Status))
		}
		switch {
		case err != nil:
			span.SetStatus(codes.Error, err.Error())
		case !out.OK():
			span.SetStatus(codes.Error, "")
		}
	}
	span.End()
}

// outgoing writes trace context to an attempt.
type outgoing engine.Attempt

func (o *outgoing) Get(string) string { return "" }
func (o *outgoing) Keys() []string    { return nil }
func (o *outgoing) Set(key, value string) {
	o.Header = append(o.Header, engine.Field{Name: key, Value: value})
}

// incoming reads trace context from a request.
type incoming struct{ header resolver.Header }

var (
	traceparent = resolver.HeaderName{Lower: "traceparent", Canonical: "Traceparent"}
	tracestate  = resolver.HeaderName{Lower: "tracestate", Canonical: "Tracestate"}
)

func (in incoming) Get(key string) string {
	name := traceparent
	if key == tracestate.Lower {
		name = tracestate
	}
	return strings.Join(in.header.Values(name), ",")
}

func (in incoming) Keys() []string     { return []string{traceparent.Lower, tracestate.Lower} }
func (in incoming) Set(string, string) {}

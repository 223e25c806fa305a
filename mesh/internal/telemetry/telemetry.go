// Package telemetry is the engine's Observer in OpenTelemetry: requests counted
// and timed under Istio's standard metric names and labels, a span for each call and
// for each attempt, and W3C trace context carried from hop to hop. Nothing else
// in weft knows OpenTelemetry.
package telemetry

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

const scope = "github.com/weftmesh/weft/mesh"

// Config says where telemetry goes. Either provider may be nil.
type Config struct {
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// Workload is this process, as it is named in labels.
	Workload Workload
	// Principal is the SPIFFE ID of this process as it is now, which may be empty; nil is empty.
	Principal func() string
}

// A Workload is what labels say of one side of a call. Empty fields become "unknown".
type Workload struct {
	Name, Namespace, App, Version, Cluster string
}

// An Observer reports calls to OpenTelemetry. It is safe for concurrent use.
type Observer struct {
	tracer     trace.Tracer // nil if traces are off
	propagator propagation.TextMapPropagator
	requests   metric.Int64Counter // nil if metrics are off
	duration   metric.Float64Histogram
	decisions  metric.Int64Counter // of who may not call
	labels     labels
}

// New returns an Observer.
func New(c Config) (*Observer, error) {
	o := &Observer{propagator: propagation.TraceContext{}, labels: labels{self: c.Workload, principal: c.Principal}}
	if c.Tracer != nil {
		o.tracer = c.Tracer.Tracer(scope)
	}
	if c.Meter == nil {
		return o, nil
	}
	meter := c.Meter.Meter(scope)
	var err error
	if o.requests, err = meter.Int64Counter("istio_requests_total",
		metric.WithDescription("Requests finished, by both sides' workloads and the answer.")); err != nil {
		return nil, fmt.Errorf("telemetry: istio_requests_total: %w", err)
	}
	if o.duration, err = meter.Float64Histogram("istio_request_duration_milliseconds",
		metric.WithUnit("ms"), metric.WithDescription("Time from a request's first byte to its end, attempts and pauses included."),
		metric.WithExplicitBucketBoundaries(buckets...)); err != nil {
		return nil, fmt.Errorf("telemetry: istio_request_duration_milliseconds: %w", err)
	}
	if o.decisions, err = meter.Int64Counter("weft_authorization_decisions_total",
		metric.WithDescription("Calls that rules refused, or that rules which are only tried would have decided otherwise, by policy.")); err != nil {
		return nil, fmt.Errorf("telemetry: weft_authorization_decisions_total: %w", err)
	}
	return o, nil
}

// buckets are those of Istio's own histogram, so that its dashboards' quantiles mean the same.
var buckets = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000}

// CallStarted opens the call's span.
func (o *Observer) CallStarted(ctx context.Context, c *engine.Call) context.Context {
	if o.tracer == nil {
		return ctx
	}
	ctx, _ = o.tracer.Start(ctx, spanName(c.Protocol, &c.Request), trace.WithSpanKind(trace.SpanKindInternal))
	return ctx
}

// AttemptStarted opens the attempt's span and hands its context to the server.
func (o *Observer) AttemptStarted(ctx context.Context, c *engine.Call, a *engine.Attempt) context.Context {
	if o.tracer == nil {
		return ctx
	}
	ctx, _ = o.tracer.Start(ctx, spanName(c.Protocol, &c.Request),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attemptAttributes(c, a)...))
	o.propagator.Inject(ctx, (*outgoing)(a))
	return ctx
}

// AttemptFinished closes the attempt's span.
func (o *Observer) AttemptFinished(c *engine.Call, a *engine.Attempt, out resilience.Outcome) {
	if o.tracer != nil {
		endSpan(a.Context(), out, nil)
	}
}

// CallFinished closes the call's span and counts it.
func (o *Observer) CallFinished(c *engine.Call, out resilience.Outcome, err error) {
	if o.tracer != nil {
		endSpan(c.Context(), out, err)
	}
	if o.requests != nil {
		o.count(c.Context(), o.labels.outbound(c, out, err), c.Start())
	}
}

// ServeStarted takes up the caller's trace and opens the server's span.
func (o *Observer) ServeStarted(ctx context.Context, c *engine.InboundCall) context.Context {
	if o.tracer == nil {
		return ctx
	}
	if c.Request.Header != nil {
		ctx = o.propagator.Extract(ctx, incoming{c.Request.Header})
	}
	ctx, _ = o.tracer.Start(ctx, spanName(c.Protocol, &c.Request), trace.WithSpanKind(trace.SpanKindServer))
	return ctx
}

// ServeFinished closes the server's span and counts the call.
func (o *Observer) ServeFinished(c *engine.InboundCall, out resilience.Outcome) {
	if o.tracer != nil {
		endSpan(c.Context(), out, nil)
	}
	if o.requests != nil {
		o.count(c.Context(), o.labels.inbound(c, out), c.Start())
	}
	if d := c.Decision(); d != nil && o.decisions != nil {
		o.decided(c, d)
	}
}

// decided counts what was decided against the caller, or would have been.
func (o *Observer) decided(c *engine.InboundCall, d *identity.Decision) {
	if !d.Allowed {
		o.decisions.Add(c.Context(), 1, o.labels.verdict(verdict{"denied", d.Step, d.Policy}))
	}
	for _, s := range d.Shadow {
		would := "would_deny"
		switch {
		case s.Action == identity.Log:
			would = "logged"
		case s.Allowed:
			would = "would_allow"
		}
		o.decisions.Add(c.Context(), 1, o.labels.verdict(verdict{would, s.Step, s.Policy}))
	}
}

func (o *Observer) count(ctx context.Context, labels metric.MeasurementOption, start time.Time) {
	o.requests.Add(ctx, 1, labels)
	o.duration.Record(ctx, float64(time.Since(start))/float64(time.Millisecond), labels)
}

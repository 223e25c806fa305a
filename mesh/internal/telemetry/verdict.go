package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A verdict is what tells one decision of rules from another, as far as labels say.
type verdict struct{ decision, step, policy string }

// verdict is its label set. There are as many as the configuration has policies, and no more than there is room for.
func (l *labels) verdict(v verdict) metric.MeasurementOption {
	if o, ok := l.known.Load(v); ok {
		return o.(metric.MeasurementOption)
	}
	if l.series.Add(1) > maxSeries {
		l.series.Add(-1)
		return overflow
	}
	o, _ := l.known.LoadOrStore(v, metric.WithAttributeSet(attribute.NewSet(
		attribute.String("decision", v.decision),
		attribute.String("step", v.step),
		attribute.String("policy", orUnknown(v.policy)),
		attribute.String("destination_service", orUnknown(l.self.Name)),
	)))
	return o.(metric.MeasurementOption)
}

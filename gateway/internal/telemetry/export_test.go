package telemetry

import (
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Traces returns the provider of t, as a library that knows no rules would use it.
func (t *Telemetry) Traces() trace.TracerProvider {
	if t.traces == nil {
		return tracenoop.NewTracerProvider()
	}
	return t.traces
}

// Metrics returns the provider of t.
func (t *Telemetry) Metrics() metric.MeterProvider {
	if t.metrics == nil {
		return metricnoop.NewMeterProvider()
	}
	return t.metrics
}

// NewCleanSpan is here for its methods.
type NewCleanSpan = cleanSpan

// Reasons returns the closed set of reasons.
func Reasons() map[string]bool { return reasons }

// LogKey reports whether a key is on the allow-list of the log.
func LogKey(key string) bool { return logKeys[key] != nil || key == "method" }

// LogMessage reports whether a message is in the form of ours.
func LogMessage(s string) bool { return messageForm.MatchString(s) }

// MetricKeys returns the keys of all instruments that have no form.
func MetricKeys() (without []attribute.Key) {
	a := newAllowed(nil)
	for _, k := range knownInstruments {
		for _, key := range k.keys {
			if a.metric[key] == nil {
				without = append(without, key)
			}
		}
	}
	return without
}

// NewExporter returns the last door for spans before another exporter.
func NewExporter(out sdktrace.SpanExporter, methods []string) sdktrace.SpanExporter {
	return &exporter{out: out, allowed: newAllowed(methods), resource: serviceResource(Config{}), log: slog.New(slog.DiscardHandler)}
}

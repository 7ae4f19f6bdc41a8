package telemetry

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// ServerOptions returns what a gRPC server needs for spans and durations of its
// calls, or nil if telemetry is off. Every caller is foreign: its trace context
// becomes a link.
func (t *Telemetry) ServerOptions() []grpc.ServerOption {
	if t.off() {
		return nil
	}
	// There is no propagator of baggage: nothing that a caller sends travels on.
	var foreign propagation.TextMapPropagator = propagation.TraceContext{}
	if t.traces == nil {
		foreign = nothing()
	}
	return []grpc.ServerOption{grpc.StatsHandler(registered{
		otelgrpc.NewServerHandler(t.callOptions(foreign, otelgrpc.WithPublicEndpoint())...), t.allowed})}
}

// DialOptions returns what a gRPC client of a neighbour needs for spans and
// durations of its calls, or nil if telemetry is off. Nothing is added to what is
// sent.
func (t *Telemetry) DialOptions() []grpc.DialOption {
	if t.off() {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(registered{
		otelgrpc.NewClientHandler(t.callOptions(nothing())...), t.allowed})}
}

// nothing returns a propagator that neither sends nor takes anything.
func nothing() propagation.TextMapPropagator { return propagation.NewCompositeTextMapPropagator() }

func (t *Telemetry) off() bool { return t == nil || t.traces == nil && t.metrics == nil }

// callOptions returns the options of both sides. What is left out would be the
// global of the process.
func (t *Telemetry) callOptions(p propagation.TextMapPropagator, more ...otelgrpc.Option) []otelgrpc.Option {
	opts := []otelgrpc.Option{otelgrpc.WithPropagators(p)}
	if t.traces != nil {
		opts = append(opts, otelgrpc.WithTracerProvider(t.traces))
	} else {
		opts = append(opts, otelgrpc.WithTracerProvider(tracenoop.NewTracerProvider()))
	}
	if t.metrics != nil {
		opts = append(opts, otelgrpc.WithMeterProvider(t.metrics))
	} else {
		opts = append(opts, otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()))
	}
	return append(opts, more...)
}

// registered hides the names of methods that are not registered: they come from
// whoever calls, and would be names of spans and values of labels.
type registered struct {
	stats.Handler
	allowed *allowed
}

// TagRPC implements stats.Handler.
func (r registered) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	hidden := *info
	hidden.FullMethodName = "/" + r.allowed.method(info.FullMethodName)
	return r.Handler.TagRPC(ctx, &hidden)
}

package telemetry

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// scope is the instrumentation scope of our own spans and metrics.
const scope = "github.com/passerelle/passerelle"

// A Step is a step of a journey that has a span. There are none for what the
// asker does after it has the answer: how long matching and recording take says
// whether there was a match.
type Step uint8

// The steps.
const (
	HolderDecide  Step = iota // policy
	HolderLog                 // an entry in the log, durable
	AskerDecide               // policy
	AskerLog                  // an entry in the log, durable
	AskerExchange             // the call of the holder
	ListPublish               // lists for a neighbour
	ListSync                  // lists of a neighbour
)

var stepNames = [...]string{
	HolderDecide: "holder decide", HolderLog: "holder log", AskerDecide: "asker decide", AskerLog: "asker log",
	AskerExchange: "asker exchange", ListPublish: "list publish", ListSync: "list sync",
}

// String returns the name of the span.
func (s Step) String() string {
	if int(s) < len(stepNames) {
		return stepNames[s]
	}
	return other
}

// An Attr is an attribute of a span.
type Attr struct{ kv attribute.KeyValue }

// Peer is the trust domain of the neighbour at the other end.
func Peer(trustDomain string) Attr { return Attr{keyPeer.String(trustDomain)} }

// Items is the padded number of items of a query. It is rounded up to a power of 4.
func Items(padded int) Attr { return Attr{keyItems.Int64(bucket(int64(padded)))} }

// Trace runs f in a span. Of an error the span says only that there was one.
func Trace[T any](ctx context.Context, t *Telemetry, s Step, f func(context.Context) (T, error), attrs ...Attr) (T, error) {
	if t == nil || t.traces == nil {
		return f(ctx)
	}
	kvs := make([]attribute.KeyValue, len(attrs))
	for i, a := range attrs {
		kvs[i] = a.kv
	}
	ctx, span := t.tracer.Start(ctx, s.String(), trace.WithAttributes(kvs...))
	defer span.End()
	v, err := f(ctx)
	if err != nil {
		span.SetStatus(otelcodes.Error, "")
	}
	return v, err
}

// Limits of the export of traces.
const (
	exportTimeout = 10 * time.Second
	maxQueue      = 2048 // spans; more are dropped
	maxBatch      = 512  // spans
)

// openTraces starts the export of traces, if there is a collector.
func (t *Telemetry) openTraces(ctx context.Context, c Config) error {
	t.tracer = noop.NewTracerProvider().Tracer(scope)
	if c.OTLP == "" {
		return nil
	}
	creds := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13})
	if c.Insecure {
		creds = insecure.NewCredentials()
		if !loopback(c.OTLP) {
			t.log.WarnContext(ctx, "traces leave this machine without tls")
		}
	}
	// Everything is explicit, because what is left out is taken from the environment
	// of the process, and a process may have several gateways.
	out, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(c.OTLP), otlptracegrpc.WithTLSCredentials(creds),
		otlptracegrpc.WithTimeout(exportTimeout), otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout}))
	if err != nil {
		return fmt.Errorf("telemetry: opening the exporter of traces: %v", err)
	}
	e := &exporter{out: out, allowed: t.allowed, resource: serviceResource(c), log: t.log}
	t.traces = sdktrace.NewTracerProvider(
		sdktrace.WithResource(e.resource),
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		// Events and what describes a link are dropped when they are made, and once
		// more on their way out.
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{AttributeCountLimit: 32, AttributeValueLengthLimit: 256, LinkCountLimit: 1}),
		sdktrace.WithoutPanicRecording(),
		sdktrace.WithBatcher(e, sdktrace.WithMaxQueueSize(maxQueue), sdktrace.WithMaxExportBatchSize(maxBatch),
			sdktrace.WithBatchTimeout(5*time.Second), sdktrace.WithExportTimeout(exportTimeout)),
	)
	t.exporter, t.tracer = e, t.traces.Tracer(scope)
	return nil
}

// loopback reports whether addr is on this machine.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// serviceResource returns whose the traces are.
func serviceResource(c Config) *resource.Resource {
	if c.Service == "" {
		c.Service = "passerelle"
	}
	attrs := []attribute.KeyValue{attribute.String("service.name", c.Service)}
	if c.Version != "" {
		attrs = append(attrs, attribute.String("service.version", c.Version))
	}
	if c.Instance != "" {
		attrs = append(attrs, attribute.String("service.instance.id", c.Instance))
	}
	return resource.NewSchemaless(attrs...)
}

// An exporter is the last door for spans: what it does not let through does not
// leave the process, whoever made the span.
type exporter struct {
	out      sdktrace.SpanExporter
	allowed  *allowed
	resource *resource.Resource
	log      *slog.Logger
	down     atomic.Bool // that the collector fails is logged
}

// ExportSpans implements sdktrace.SpanExporter. It returns no errors: the SDK would
// hand them to the handler of the process, and their text may be the collector's.
func (e *exporter) ExportSpans(ctx context.Context, list []sdktrace.ReadOnlySpan) error {
	clean := make([]sdktrace.ReadOnlySpan, len(list))
	for i, s := range list {
		clean[i] = e.clean(s)
	}
	if err := e.out.ExportSpans(ctx, clean); err != nil {
		if !e.down.Swap(true) {
			e.log.WarnContext(ctx, "traces cannot be exported", "code", codeName(status.Code(err)))
		}
	} else if e.down.Swap(false) {
		e.log.InfoContext(ctx, "traces are exported again")
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(ctx context.Context) error { return e.out.Shutdown(ctx) }

// close ends the connection and what is being sent on it, if ctx is over.
func (e *exporter) close(ctx context.Context) error {
	if err := e.out.Shutdown(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("telemetry: closing the exporter of traces: %v", err)
	}
	return nil
}

// A cleanSpan is a span of which only what is allowed can be read. It embeds the
// original because the interface cannot be implemented elsewhere; a test checks
// that it hides every method of it that could tell something.
type cleanSpan struct {
	sdktrace.ReadOnlySpan
	name     string
	attrs    []attribute.KeyValue
	links    []sdktrace.Link
	scope    instrumentation.Scope
	resource *resource.Resource
}

func (e *exporter) clean(s sdktrace.ReadOnlySpan) *cleanSpan {
	c := &cleanSpan{ReadOnlySpan: s, name: s.Name(), attrs: e.allowed.attributes(s.Attributes()), resource: e.resource,
		scope: instrumentation.Scope{Name: s.InstrumentationScope().Name}}
	if !e.allowed.spans[c.name] {
		c.name = other
	}
	if c.scope.Name != scope && c.scope.Name != otelgrpc.ScopeName {
		c.scope.Name = other
	}
	for _, l := range s.Links() {
		c.links = append(c.links, sdktrace.Link{SpanContext: stateless(l.SpanContext)})
	}
	return c
}

// stateless returns a span context without its trace state, which is a text of
// whoever sent it.
func stateless(c trace.SpanContext) trace.SpanContext { return c.WithTraceState(trace.TraceState{}) }

func (s *cleanSpan) Name() string                     { return s.name }
func (s *cleanSpan) Attributes() []attribute.KeyValue { return s.attrs }
func (s *cleanSpan) Events() []sdktrace.Event         { return nil }
func (s *cleanSpan) Links() []sdktrace.Link           { return s.links }
func (s *cleanSpan) Status() sdktrace.Status {
	return sdktrace.Status{Code: s.ReadOnlySpan.Status().Code}
}
func (s *cleanSpan) SpanContext() trace.SpanContext                { return stateless(s.ReadOnlySpan.SpanContext()) }
func (s *cleanSpan) Parent() trace.SpanContext                     { return stateless(s.ReadOnlySpan.Parent()) }
func (s *cleanSpan) Resource() *resource.Resource                  { return s.resource }
func (s *cleanSpan) InstrumentationScope() instrumentation.Scope   { return s.scope }
func (s *cleanSpan) InstrumentationLibrary() instrumentation.Scope { return s.scope }
func (s *cleanSpan) DroppedAttributes() int                        { return 0 }
func (s *cleanSpan) DroppedEvents() int                            { return 0 }
func (s *cleanSpan) DroppedLinks() int                             { return 0 }

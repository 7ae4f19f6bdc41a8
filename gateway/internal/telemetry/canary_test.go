package telemetry_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/passerelle/passerelle/gateway/internal/telemetry"
)

// canary stands for a value about a person. It must be found nowhere.
const canary = "canary1970"

// sweep fails if b has the canary, in any of the forms in which it could be.
func sweep(t *testing.T, where string, b []byte) {
	t.Helper()
	low := strings.ToLower(string(b))
	for _, form := range []string{canary, hex.EncodeToString([]byte(canary)), "y2FuYXJ5MTk3MA", "y2fuyxj5mtk3ma"} {
		if i := strings.Index(low, form); i >= 0 {
			t.Errorf("%s has the canary: ...%q...", where, b[max(0, i-60):min(len(b), i+60)])
		}
	}
}

// refusing answers every export with a text of its own.
type refusing struct {
	coltracepb.UnimplementedTraceServiceServer
}

func (refusing) Export(context.Context, *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	return nil, status.Error(grpccodes.PermissionDenied, "no, "+canary)
}

func newRefusing(t *testing.T) string {
	t.Helper()
	return serve(t, grpc.NewServer(), func(s *grpc.Server) { coltracepb.RegisterTraceServiceServer(s, refusing{}) })
}

// serve starts s on loopback and returns its address.
func serve(t *testing.T, s *grpc.Server, register func(*grpc.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	register(s)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// TestCanarySpans makes spans as a library would that knows no rules, with the
// canary in every place that a span has.
func TestCanarySpans(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tel := open(t, telemetry.Config{OTLP: c.addr, Insecure: true, Version: "1", Instance: "a.example"}, nil)

	state, err := trace.ParseTraceState("vendor=" + canary)
	if err != nil {
		t.Fatal(err)
	}
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2},
		TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true})
	member, err := baggage.NewMember("subject", canary)
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	ctx := baggage.ContextWithBaggage(trace.ContextWithRemoteSpanContext(t.Context(), remote), bag)

	tracer := tel.Traces().Tracer(canary, trace.WithInstrumentationVersion(canary), trace.WithSchemaURL("https://"+canary),
		trace.WithInstrumentationAttributes(attribute.String("a", canary)))
	bad := []attribute.KeyValue{
		attribute.String("subject", canary), attribute.String(canary, "x"), attribute.StringSlice("names", []string{canary}),
		attribute.ByteSlice("bytes", []byte(canary)), attribute.String("rpc.method", canary), attribute.String("rpc.system.name", canary),
		attribute.String("rpc.response.status_code", canary), attribute.String("passerelle.items", canary),
		attribute.Int64("hits", 1970197019701970), attribute.String("server.address", canary),
		attribute.StringSlice("passerelle.peer", []string{canary}), attribute.String("passerelle.peer", canary+" Alice"),
	}
	ctx, span := tracer.Start(ctx, canary, trace.WithAttributes(bad...),
		trace.WithLinks(trace.Link{SpanContext: remote, Attributes: bad}))
	span.AddEvent(canary, trace.WithAttributes(bad...))
	span.AddLink(trace.Link{SpanContext: remote, Attributes: bad})
	span.RecordError(errors.New(canary), trace.WithStackTrace(true))
	span.SetStatus(codes.Error, canary)
	func() {
		defer func() { recover() }()
		telemetry.Trace(ctx, tel, telemetry.HolderDecide, func(ctx context.Context) (int, error) {
			trace.SpanFromContext(ctx).SetName("holder evaluate " + canary)
			panic(canary)
		})
	}()
	telemetry.Trace(ctx, tel, telemetry.AskerExchange, func(ctx context.Context) (int, error) {
		trace.SpanFromContext(ctx).SetAttributes(bad[:7]...)
		return 0, errors.New(canary)
	}, telemetry.Peer("b.example"), telemetry.Items(65))
	span.End()

	b, spans := c.received(t, tel)
	sweep(t, "the export", b)
	for _, name := range []string{"other", "asker exchange"} {
		s := spans[name]
		if s == nil {
			t.Fatalf("no span %q", name)
		}
		if len(s.Events) != 0 || s.TraceState != "" || s.Status.GetMessage() != "" {
			t.Errorf("span %q has events, state or a text: %v", name, s)
		}
		if s.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("span %q: code = %v, want error", name, s.Status.GetCode())
		}
		for _, l := range s.Links {
			if len(l.Attributes) != 0 || l.TraceState != "" {
				t.Errorf("span %q has a link with content: %v", name, l)
			}
		}
	}
	if got, want := attributes(spans["asker exchange"]), "passerelle.peer=b.example passerelle.items=256"; got != want {
		t.Errorf("attributes = %q, want %q", got, want)
	}
	if got := attributes(spans["other"]); got != "" {
		t.Errorf("attributes of a foreign span = %q, want none", got)
	}
	if !strings.Contains(string(b), "a.example") {
		t.Error("the export does not say whose it is")
	}
}

func attributes(s *tracepb.Span) string {
	var list []string
	for _, a := range s.Attributes {
		v := a.Value.GetStringValue()
		if v == "" {
			v = time.Duration(a.Value.GetIntValue()).String()
			v = strings.TrimSuffix(v, "ns")
		}
		list = append(list, a.Key+"="+v)
	}
	return strings.Join(list, " ")
}

// memory keeps what is exported to it.
type memory struct{ spans []sdktrace.ReadOnlySpan }

func (m *memory) ExportSpans(_ context.Context, list []sdktrace.ReadOnlySpan) error {
	m.spans = append(m.spans, list...)
	return nil
}

func (m *memory) Shutdown(context.Context) error { return nil }

// TestExporter tests the last door alone: a provider without limits is before it,
// and everything that can be read of a span is looked at, also what OTLP does not
// send today.
func TestExporter(t *testing.T) {
	t.Parallel()
	var out memory
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(telemetry.NewExporter(&out, methods)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("host", canary))))
	state, err := trace.ParseTraceState("vendor=" + canary)
	if err != nil {
		t.Fatal(err)
	}
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2},
		TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true})
	bad := []attribute.KeyValue{attribute.String("subject", canary), attribute.String("rpc.method", canary)}
	_, span := provider.Tracer(canary).Start(trace.ContextWithRemoteSpanContext(t.Context(), remote), canary,
		trace.WithAttributes(bad...), trace.WithLinks(trace.Link{SpanContext: remote, Attributes: bad}))
	span.AddEvent(canary, trace.WithAttributes(bad...))
	span.SetStatus(codes.Error, canary)
	span.End()
	if len(out.spans) != 1 || len(out.spans[0].Links()) != 1 {
		t.Fatalf("%d spans were exported, want 1 with a link", len(out.spans))
	}
	v := reflect.ValueOf(out.spans[0])
	for i := range v.NumMethod() {
		if m := v.Type().Method(i); m.IsExported() && m.Type.NumIn() == 1 {
			for _, got := range v.Method(i).Call(nil) {
				sweep(t, m.Name, fmt.Appendf(nil, "%+v", got.Interface()))
			}
		}
	}
	for _, l := range out.spans[0].Links() {
		sweep(t, "a link", []byte(l.SpanContext.TraceState().String()+fmt.Sprint(l.Attributes)))
	}
	for _, c := range []trace.SpanContext{out.spans[0].SpanContext(), out.spans[0].Parent()} {
		sweep(t, "a span context", []byte(c.TraceState().String()))
	}
}

// TestCleanSpanHides checks that a method that a newer SDK adds to a span does not
// go past the allow-list unseen.
func TestCleanSpanHides(t *testing.T) {
	t.Parallel()
	harmless := map[string]bool{"SpanKind": true, "StartTime": true, "EndTime": true, "ChildSpanCount": true}
	own := make(map[string]bool)
	// A type that embeds nothing has only its own methods: compare by the receiver.
	inner := reflect.TypeFor[sdktrace.ReadOnlySpan]()
	outer := reflect.TypeFor[*telemetry.NewCleanSpan]()
	for i := range inner.NumMethod() {
		name := inner.Method(i).Name
		if harmless[name] || !inner.Method(i).IsExported() {
			continue
		}
		m, ok := outer.MethodByName(name)
		if !ok {
			t.Errorf("no method %s", name)
			continue
		}
		// A promoted method panics, because there is nothing to promote from; one of
		// ours that asks the original does too, and is listed.
		own[name] = callable(m, reflect.ValueOf(&telemetry.NewCleanSpan{}))
	}
	asks := map[string]bool{"Status": true, "SpanContext": true, "Parent": true}
	for name, ok := range own {
		if !ok && !asks[name] {
			t.Errorf("%s of a span is not behind the allow-list", name)
		}
	}
}

func callable(m reflect.Method, receiver reflect.Value) (ok bool) {
	defer func() { ok = recover() == nil }()
	m.Func.Call([]reflect.Value{receiver})
	return true
}

// echo is a service whose server sees what arrives.
func echo(seen chan<- metadata.MD, code grpccodes.Code) grpc.ServiceDesc {
	handler := func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		if err := dec(new(wrapperspb.StringValue)); err != nil {
			return nil, err
		}
		return nil, status.Error(code, canary)
	}
	return grpc.ServiceDesc{ServiceName: "passerelle.v1.PeerService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Terms", Handler: handler}}}
}

// newServer returns a server as ours are: it answers unknown methods itself.
func newServer(tel *telemetry.Telemetry) *grpc.Server {
	return grpc.NewServer(append(tel.ServerOptions(), grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(grpccodes.Unimplemented, canary)
	}))...)
}

// TestCanaryCalls calls a server, with the canary in everything that a caller and
// an answer may send, and looks at what both sides export.
func TestCanaryCalls(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	cfg := telemetry.Config{OTLP: c.addr, Insecure: true, Prometheus: "127.0.0.1:0"}
	here, there := open(t, cfg, nil), open(t, cfg, nil)
	seen := make(chan metadata.MD, 8)
	addr := serve(t, newServer(there), func(s *grpc.Server) {
		d := echo(seen, 200)
		s.RegisterService(&d, nil)
	})
	conn, err := grpc.NewClient(addr, append(here.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	const foreign = "0af7651916cd43dd8448eb211c80319c"
	own := make(map[string]bool)
	member, _ := baggage.NewMember("subject", canary)
	bag, _ := baggage.New(member)
	telemetry.Trace(baggage.ContextWithBaggage(t.Context(), bag), here, telemetry.AskerExchange, func(ctx context.Context) (int, error) {
		own[trace.SpanContextFromContext(ctx).TraceID().String()] = true
		call := func(ctx context.Context, method string, want grpccodes.Code) {
			err := conn.Invoke(ctx, method, wrapperspb.String(canary), new(wrapperspb.StringValue))
			if got := status.Code(err); got != want {
				t.Errorf("%s: code = %v, want %v", method, got, want)
			}
		}
		call(ctx, methods[0], 200) // with nothing of a caller's own
		call(metadata.AppendToOutgoingContext(ctx, "traceparent", "00-"+foreign+"-b7ad6b7169203331-01",
			"tracestate", "v="+canary, "baggage", "subject="+canary, "grpc-trace-bin", canary), methods[0], 200)
		call(ctx, "/"+canary+".Service/"+canary, grpccodes.Unimplemented)
		call(ctx, "/passerelle.v1.PeerService/"+canary, grpccodes.Unimplemented)
		return 0, nil
	})
	md := <-seen
	for _, key := range []string{"traceparent", "tracestate", "baggage", "grpc-trace-bin"} {
		if got := md.Get(key); got != nil {
			t.Errorf("a neighbour was sent %s = %q", key, got)
		}
	}
	for key, values := range md {
		for id := range own {
			if strings.Contains(strings.Join(values, " "), id) {
				t.Errorf("a neighbour was sent our trace id under %s", key)
			}
		}
	}

	for side, tel := range map[string]*telemetry.Telemetry{"client": here, "server": there} {
		body := scrapeUntil(t, tel, `call_duration_seconds_count{rpc_method="other",rpc_response_status_code="UNIMPLEMENTED"} 2`)
		sweep(t, "metrics of the "+side, []byte(body))
		for _, want := range []string{
			`rpc_` + side + `_call_duration_seconds_count{rpc_method="passerelle.v1.PeerService/Terms"} 2`,
			`rpc_` + side + `_call_duration_seconds_count{rpc_method="other",rpc_response_status_code="UNIMPLEMENTED"} 2`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("metrics of the %s do not have %s:\n%s", side, want, body)
			}
		}
	}
	if err := there.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, _ := c.received(t, here)
	sweep(t, "the export", b)

	links := 0
	for _, s := range c.spans {
		id := hex.EncodeToString(s.TraceId)
		switch s.Kind {
		case tracepb.Span_SPAN_KIND_SERVER:
			if id == foreign || own[id] || len(s.ParentSpanId) != 0 {
				t.Errorf("span of the server %q continues a foreign trace", s.Name)
			}
			for _, l := range s.Links {
				links++
				if got := hex.EncodeToString(l.TraceId); got != foreign {
					t.Errorf("link to %s, want %s", got, foreign)
				}
			}
		default:
			if !own[id] {
				t.Errorf("span %q is of trace %s, not of ours", s.Name, id)
			}
		}
	}
	if links != 1 {
		t.Errorf("%d links to the foreign trace, want 1", links)
	}
	if got, want := len(c.spans), 9; got != want {
		t.Errorf("%d spans, want %d", got, want)
	}
}

// TestCanaryMetrics measures as a library would that knows no rules, and as a
// caller of ours that does not keep to them.
func TestCanaryMetrics(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tel := open(t, telemetry.Config{OTLP: c.addr, Insecure: true, Prometheus: "127.0.0.1:0"}, nil)
	meter := tel.Metrics().Meter(canary, metric.WithInstrumentationVersion(canary), metric.WithSchemaURL(canary),
		metric.WithInstrumentationAttributes(attribute.String(canary, canary)))
	bad := metric.WithAttributes(attribute.String("subject", canary), attribute.String(canary, "x"),
		attribute.String("rpc.method", canary), attribute.String("direction", canary), attribute.String("reason", canary),
		attribute.StringSlice("holder", []string{canary}), attribute.String("collection", canary+" x"))
	// With a span in the context there would be exemplars, with all attributes.
	ctx, span := tel.Traces().Tracer("x").Start(t.Context(), "x")
	defer span.End()
	for _, name := range []string{canary, "passerelle.queries", "passerelle." + canary} {
		i, err := meter.Int64Counter(name, metric.WithDescription(canary), metric.WithUnit(canary))
		if err != nil {
			t.Fatal(err)
		}
		i.Add(ctx, 1970, bad)
	}
	for _, name := range []string{canary + ".duration", "rpc.server.call.duration", "passerelle.query.duration"} {
		i, err := meter.Float64Histogram(name, metric.WithDescription(canary), metric.WithUnit(canary))
		if err != nil {
			t.Fatal(err)
		}
		i.Record(ctx, 1, bad)
	}
	if _, err := meter.Int64ObservableGauge("list.size."+canary, metric.WithInt64Callback(
		func(_ context.Context, o metric.Int64Observer) error { o.Observe(1970, bad); return nil })); err != nil {
		t.Fatal(err)
	}
	tel.QueriesAnswered(canary, canary, canary)
	tel.QueryDuration(canary, time.Second)
	tel.Panics("/" + canary + ".Service/Method")
	tel.Panics(canary)
	tel.LogOldestUnpublished(canary, func() time.Duration { return 0 })
	tel.ListAge(func() []telemetry.ListCopy {
		return []telemetry.ListCopy{{"b.example", "Alice " + canary, 0}, {"Alice " + canary, "watchlist", 0}, {"b.example", "watchlist", 0}}
	})
	for _, accept := range []string{"", "text/plain", "application/openmetrics-text; version=1.0.0; charset=utf-8"} {
		body := scrape(t, tel, accept)
		sweep(t, "metrics as "+accept, []byte(body))
		for _, want := range []string{
			`passerelle_queries_total{decision="other",direction="other",reason="other"} 1`,
			`passerelle_panics_total{rpc_method="other"} 2`,
			`passerelle_list_age_seconds{collection="watchlist",holder="b.example"} 0`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("metrics do not have %s:\n%s", want, body)
			}
		}
	}
}

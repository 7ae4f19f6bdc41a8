package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/passerelle/passerelle/gateway/internal/telemetry"
)

// methods are those that are registered in these tests.
var methods = []string{"/passerelle.v1.PeerService/Terms", "/passerelle.v1.PeerService/Evaluate"}

// open opens telemetry for a test. It is closed when the test ends, if not before.
func open(t *testing.T, c telemetry.Config, log *slog.Logger) *telemetry.Telemetry {
	t.Helper()
	c.Methods = methods
	tel, err := telemetry.Open(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tel.Close(context.Background()) })
	return tel
}

// A collector keeps everything that is exported to it.
type collector struct {
	coltracepb.UnimplementedTraceServiceServer
	addr string

	mu    sync.Mutex
	bytes []byte
	spans []*tracepb.Span
}

// newCollector starts a collector on loopback.
func newCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{addr: l.Addr().String()}
	s := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(s, c)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return c
}

func (c *collector) Export(_ context.Context, r *coltracepb.ExportTraceServiceRequest) (
	*coltracepb.ExportTraceServiceResponse, error) {
	b, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, b...)
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

// received closes tel and returns what came.
func (c *collector) received(t *testing.T, tel *telemetry.Telemetry) ([]byte, map[string]*tracepb.Span) {
	t.Helper()
	if err := tel.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	spans := make(map[string]*tracepb.Span)
	for _, s := range c.spans {
		spans[s.Name] = s
	}
	return c.bytes, spans
}

// scrape returns the metrics of tel.
func scrape(t *testing.T, tel *telemetry.Telemetry, accept string) string {
	t.Helper()
	resp, body := get(t, http.MethodGet, "http://"+tel.Addr()+"/metrics", accept)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics = %s", resp.Status)
	}
	return body
}

// scrapeUntil returns the metrics of tel once they have a text: a server counts a
// call after the client has its answer.
func scrapeUntil(t *testing.T, tel *telemetry.Telemetry, want string) string {
	t.Helper()
	for range 200 {
		if body := scrape(t, tel, ""); strings.Contains(body, want) {
			return body
		}
		time.Sleep(10 * time.Millisecond)
	}
	return scrape(t, tel, "")
}

func get(t *testing.T, method, url, accept string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// A buffer may be written to concurrently.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// use calls everything there is.
func use(t *telemetry.Telemetry) {
	t.QueriesAnswered("answered", "allowed", "")
	t.QueryDuration("asked", time.Second)
	t.LogAppend(time.Millisecond)
	t.Panics(methods[0])
	t.LogOldestUnpublished("shared", func() time.Duration { return time.Second })
	t.ListAge(func() []telemetry.ListCopy { return []telemetry.ListCopy{{"b.example", "watchlist", time.Hour}} })
	telemetry.Trace(context.Background(), t, telemetry.HolderDecide,
		func(context.Context) (int, error) { return 1, errors.New("no") }, telemetry.Peer("b.example"), telemetry.Items(64))
}

// TestOff checks that nothing runs without an address. It is not parallel, because
// it counts the goroutines of the process.
func TestOff(t *testing.T) {
	before := runtime.NumGoroutine()
	tel, err := telemetry.Open(t.Context(), telemetry.Config{Methods: methods}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := runtime.NumGoroutine(); got > before {
		t.Errorf("%d goroutines were started", got-before)
	}
	for _, tel := range []*telemetry.Telemetry{tel, nil} {
		use(tel)
		if got := len(tel.ServerOptions()) + len(tel.DialOptions()); got != 0 {
			t.Errorf("%d options of gRPC, want none", got)
		}
		if got := tel.Addr(); got != "" {
			t.Errorf("Addr = %q, want none", got)
		}
		for range 2 {
			if err := tel.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}
}

// TestClose checks that nothing is left of telemetry that was on. It is not
// parallel, for the same reason.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	// The collector is a port at which nobody answers.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	tel, err := telemetry.Open(t.Context(), telemetry.Config{OTLP: nobody, Insecure: true, Prometheus: "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	use(tel)
	scrape(t, tel, "")
	addr := tel.Addr()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	tel.Close(ctx) // an error, because the span cannot be sent
	use(tel)
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("metrics are served after Close")
	}
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("goroutines are left:\n%s", buf[:runtime.Stack(buf, true)])
}

// TestNoGlobals checks that the process has what it had. It is not parallel.
func TestNoGlobals(t *testing.T) {
	tracers, meters, propagator := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator()
	c := newCollector(t)
	tel := open(t, telemetry.Config{OTLP: c.addr, Insecure: true, Prometheus: "127.0.0.1:0"}, nil)
	use(tel)
	tel.ServerOptions()
	tel.DialOptions()
	if otel.GetTracerProvider() != tracers || otel.GetMeterProvider() != meters || otel.GetTextMapPropagator() != propagator {
		t.Error("a global of OpenTelemetry was set")
	}
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tests := []struct {
		name   string
		config telemetry.Config
		want   string
	}{
		{"collector without port", telemetry.Config{OTLP: "localhost"}, "otlp"},
		{"collector with scheme", telemetry.Config{OTLP: "http://localhost:4317"}, "otlp"},
		{"collector with service name", telemetry.Config{OTLP: "localhost:otlp"}, "otlp"},
		{"metrics without port", telemetry.Config{Prometheus: "9464"}, "prometheus"},
		{"insecure nothing", telemetry.Config{Insecure: true}, "insecure"},
		{"method without slash", telemetry.Config{Methods: []string{"a.B/C"}}, "method"},
		{"method with text", telemetry.Config{Methods: []string{"/a.B/C d"}}, "method"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tel, err := telemetry.Open(t.Context(), tt.config, nil)
			if tel != nil {
				t.Error("Open returned telemetry with an error")
			}
			if !errors.Is(err, telemetry.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open error = %v, want %v about %s", err, telemetry.ErrConfig, tt.want)
			}
		})
	}
	tel, err := telemetry.Open(t.Context(), telemetry.Config{OTLP: "localhost", Prometheus: "x"}, nil)
	if tel != nil || err == nil || !strings.Contains(err.Error(), "otlp") || !strings.Contains(err.Error(), "prometheus") {
		t.Errorf("Open error = %v, want both faults", err)
	}
	tel, err = telemetry.Open(t.Context(), telemetry.Config{Prometheus: busy.Addr().String()}, nil)
	if tel != nil || err == nil {
		t.Errorf("Open at a port in use = %v, %v, want an error", tel, err)
	}
}

// TestIsolation checks that three gateways of one process do not see each other.
func TestIsolation(t *testing.T) {
	t.Parallel()
	var all []*telemetry.Telemetry
	for range 3 {
		all = append(all, open(t, telemetry.Config{Prometheus: "127.0.0.1:0"}, nil))
	}
	for i, tel := range all {
		for range i {
			tel.QueriesAnswered("answered", "allowed", "")
		}
	}
	for i, want := range []string{"", "} 1\n", "} 2\n"} {
		got := scrape(t, all[i], "")
		if i == 0 && strings.Contains(got, "passerelle_queries_total") || !strings.Contains(got, want) {
			t.Errorf("gateway %d has\n%s", i, got)
		}
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	var out buffer
	log := slog.New(telemetry.NewHandler(slog.NewTextHandler(&out, nil), methods))
	tel := open(t, telemetry.Config{OTLP: c.addr, Insecure: true, Prometheus: "127.0.0.1:0"}, log)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				use(tel)
				log.With("peer", "b.example").Info("query failed", "name", "x")
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 10 {
				if body := scrape(t, tel, ""); !strings.Contains(body, "passerelle_log_withheld_total") {
					t.Error("no metric of the log")
				}
			}
		})
	}
	wg.Wait()
	if err := tel.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got, want := strings.Count(out.String(), "withheld=1"), 160; got != want {
		t.Errorf("%d lines say what was withheld, want %d", got, want)
	}
}

// TestCollectorDown checks that a collector that is not there is logged once, and
// with nothing but a code.
func TestCollectorDown(t *testing.T) {
	t.Parallel()
	c := newRefusing(t)
	var out buffer
	tel := open(t, telemetry.Config{OTLP: c, Insecure: true}, slog.New(slog.NewTextHandler(&out, nil)))
	for range 1500 { // more than two batches
		use(tel)
	}
	if err := tel.Close(t.Context()); err != nil {
		t.Error(err)
	}
	const want = `msg="traces cannot be exported" code=PermissionDenied`
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
		t.Errorf("log is %q, want only %q", got, want)
	}
}

// Package telemetry sends traces to an OpenTelemetry collector, serves metrics in
// the format of Prometheus, and stands before the log, each behind an allow-list.
//
//	t, err := telemetry.Open(ctx, telemetry.Config{Prometheus: "127.0.0.1:9464", Methods: methods}, logger)
//	server := grpc.NewServer(t.ServerOptions()...)   // spans and durations of the calls we answer
//	conn, err := grpc.NewClient(addr, t.DialOptions()...)
//	t.QueriesAnswered("answered", "denied", "BUDGET_EXHAUSTED")
//	logger = slog.New(telemetry.NewHandler(inner, methods))
//
// Everything is off by default: without an address there is no exporter, no
// listener and no goroutine.
//
// # The allow-list
//
// What leaves through this package is what allowlist.go names, and nothing else:
//
//	spans    name: a method that is registered, or a [Step]; status without its text
//	         attributes: rpc.system.name, rpc.method, rpc.response.status_code,
//	         passerelle.peer (trust domain), passerelle.items (padded and rounded up)
//	         no events; links without attributes and trace state
//	metrics  the instruments of metrics.go, with labels of closed sets
//	logs     a message in small letters; attributes by key, each of its own form
//
// The list is enforced at the last door (exporter, view, handler) and looks at
// values too, so that neither a library nor a caller who uses an allowed key for
// something else gets past it.
//
// # Who learns what
//
// Whoever reads traces or metrics learns how many queries there were, with which
// reasons they were refused, and how long calls took; not who was asked for, how
// long a list is, or whether anything was found. There are on purpose no metrics of
// the process: its memory tells the size of the lists. The duration of a call of
// an officer includes the steps after the answer, so traces are for the readers of
// our own log, and no one else.
//
// To another country nothing is sent: its gateway gets neither trace context nor
// baggage of ours. A trace context that it sends becomes a link of a trace of our
// own, never a parent, and does not decide what is recorded.
//
// # Concurrency
//
// All methods may be called concurrently, and on a nil *Telemetry, where they do
// nothing. There are no process globals: several gateways may live in one process.
//
// Out of scope: what the rest of the program knows. This package imports none of
// our other packages.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// ErrConfig is wrapped by the errors of Open about a Config that cannot work.
var ErrConfig = errors.New("telemetry: configuration")

// Config says where telemetry goes. The zero Config is telemetry that is off.
type Config struct {
	// OTLP is the host:port of an OTLP/gRPC collector for traces. Empty means no
	// traces.
	OTLP string

	// Insecure sends traces without TLS, for a collector on this machine.
	// Otherwise TLS 1.3 and the roots of this machine are used.
	Insecure bool

	// Prometheus is the host:port on which GET /metrics is served, to anyone who
	// reaches it. Empty means no metrics.
	Prometheus string

	// Service, Version and Instance say in traces whose they are. Empty means
	// "passerelle", and no version and instance.
	Service, Version, Instance string

	// Methods are the full names of all methods that are registered, such as
	// "/passerelle.v1.PeerService/Evaluate". Every other name is told as "other",
	// because a method that is not registered is a text of whoever calls it.
	Methods []string
}

// Telemetry is where traces and metrics of one gateway go.
type Telemetry struct {
	log     *slog.Logger
	allowed *allowed

	// nil if off
	traces   *sdktrace.TracerProvider
	exporter *exporter
	metrics  *sdkmetric.MeterProvider

	tracer      trace.Tracer
	instruments instruments

	listener net.Listener // nil without metrics
	server   *http.Server
	served   sync.WaitGroup

	closeOnce sync.Once
	closeErr  error
}

// Open starts what c asks for. The caller must Close it after everything that
// uses it. Faults of c are errors wrapping [ErrConfig]; a collector that cannot be
// reached is not an error, now or later: it is logged once, and spans are dropped.
// A nil log discards.
func Open(ctx context.Context, c Config, log *slog.Logger) (_ *Telemetry, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	handler, ok := log.Handler().(*Handler)
	if !ok {
		handler = NewHandler(log.Handler(), c.Methods)
	}
	t := &Telemetry{log: slog.New(handler), allowed: newAllowed(c.Methods)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := t.openTraces(ctx, c); err != nil {
		return nil, err
	}
	if err := t.openMetrics(ctx, c, handler); err != nil {
		return nil, err
	}
	return t, nil
}

// check reports everything that is wrong with c.
func (c *Config) check() error {
	var errs []error
	for _, a := range []struct{ field, addr string }{{"otlp", c.OTLP}, {"prometheus", c.Prometheus}} {
		if a.addr == "" {
			continue
		}
		_, port, err := net.SplitHostPort(a.addr)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: %s: %q is not host:port", ErrConfig, a.field, a.addr))
		}
	}
	if c.OTLP == "" && c.Insecure {
		errs = append(errs, fmt.Errorf("%w: insecure: there is no otlp", ErrConfig))
	}
	for _, m := range c.Methods {
		if !methodForm.MatchString(m) {
			errs = append(errs, fmt.Errorf("%w: method %q is not /package.Service/Method", ErrConfig, m))
		}
	}
	return errors.Join(errs...)
}

// closeTimeout bounds Close: a collector or a reader that hangs does not keep a
// gateway from stopping.
const closeTimeout = 3 * time.Second

// Close sends what is left, and ends the listener and all goroutines, within 3
// seconds. Later calls return the same error.
func (t *Telemetry) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		var errs []error
		if t.server != nil {
			if err := t.server.Shutdown(ctx); err != nil {
				errs = append(errs, fmt.Errorf("telemetry: closing the metrics server: %w", errors.Join(err, t.server.Close())))
			}
			t.served.Wait()
		}
		if t.metrics != nil {
			if err := t.metrics.Shutdown(ctx); err != nil {
				errs = append(errs, fmt.Errorf("telemetry: closing metrics: %v", err))
			}
		}
		if t.traces != nil {
			if err := t.traces.Shutdown(ctx); err != nil {
				// The SDK goes on trying in the background; without its connection it ends.
				errs = append(errs, fmt.Errorf("telemetry: closing traces: %v", err), t.exporter.close(ctx))
			}
		}
		t.closeErr = errors.Join(errs...)
	})
	return t.closeErr
}

// Addr returns the host:port at which metrics are served, or "".
func (t *Telemetry) Addr() string {
	if t == nil || t.listener == nil {
		return ""
	}
	return t.listener.Addr().String()
}

package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
)

// cardinality bounds the series of one instrument. It is above the product of the
// closed sets, so that only copies of lists could reach it; what is over it is
// summed up under otel_metric_overflow="true".
const cardinality = 1000

// A known instrument is one whose measurements may leave, with these attributes.
type known struct {
	description, unit string
	keys              []attribute.Key
	bounds            []float64 // of a histogram
}

// Bounds of histograms, in seconds.
var (
	callBounds   = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
	appendBounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
)

// knownInstruments are all. The texts are ours also where a library makes the
// measurements. There is none of sizes of lists, of hits, or of the process.
var knownInstruments = map[string]known{
	"rpc.server.call.duration": {"Duration of the calls we answer.", "s", []attribute.Key{keyMethod, keyStatus}, callBounds},
	"rpc.client.call.duration": {"Duration of our calls of neighbours.", "s", []attribute.Key{keyMethod, keyStatus}, callBounds},

	"passerelle.queries": {"Queries by what was decided; reasons are those of refusals.", "",
		[]attribute.Key{keyDirection, keyDecision, keyReason}, nil},
	"passerelle.query.duration":      {"Duration of queries.", "s", []attribute.Key{keyDirection}, callBounds},
	"passerelle.log.append.duration": {"Time until an entry is durable.", "s", nil, appendBounds},
	"passerelle.log.oldest_unpublished.age": {"Age of the oldest entry that no checkpoint covers.", "s",
		[]attribute.Key{keyLog}, nil},
	"passerelle.list.age": {"Time since our copy of a neighbour's list was known to be current.", "s",
		[]attribute.Key{keyHolder, keyCollection}, nil},
	"passerelle.panics":       {"Calls that ended in a panic.", "", []attribute.Key{keyMethod}, nil},
	"passerelle.log.withheld": {"Messages and attributes that the allow-list kept out of our log.", "", nil, nil},
}

// view is the last door for metrics: an instrument that is not known is dropped,
// and of a known one every attribute that is not its own, or not of its form.
func (a *allowed) view(i sdkmetric.Instrument) (sdkmetric.Stream, bool) {
	k, ok := knownInstruments[i.Name]
	if !ok {
		return sdkmetric.Stream{Name: other, Aggregation: sdkmetric.AggregationDrop{}}, true
	}
	s := sdkmetric.Stream{Name: i.Name, Description: k.description, Unit: k.unit,
		AttributeFilter: func(kv attribute.KeyValue) bool {
			return slices.Contains(k.keys, kv.Key) && a.metric[kv.Key](kv.Value)
		}}
	if k.bounds != nil {
		s.Aggregation = sdkmetric.AggregationExplicitBucketHistogram{Boundaries: k.bounds, NoMinMax: true}
	}
	return s, true
}

// instruments are those that we measure ourselves.
type instruments struct {
	queries       metric.Int64Counter
	queryDuration metric.Float64Histogram
	logAppend     metric.Float64Histogram
	panics        metric.Int64Counter

	mu          sync.Mutex // protects what follows
	unpublished map[string]func() time.Duration
	listAge     func() []ListCopy
}

// openMetrics starts the metrics and their listener, if there is an address.
func (t *Telemetry) openMetrics(ctx context.Context, c Config, h *Handler) error {
	t.instruments.unpublished = make(map[string]func() time.Duration)
	if c.Prometheus == "" {
		return t.newInstruments(metricnoop.NewMeterProvider().Meter(scope), h)
	}
	registry := prometheus.NewRegistry()
	reader, err := promexporter.New(promexporter.WithRegisterer(registry),
		promexporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		promexporter.WithoutTargetInfo(), promexporter.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("telemetry: opening the exporter of metrics: %v", err)
	}
	t.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithView(t.allowed.view),
		sdkmetric.WithCardinalityLimit(cardinality),
		// An exemplar carries the very attributes that a view drops.
		sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter))
	if err := t.newInstruments(t.metrics.Meter(scope), h); err != nil {
		return err
	}

	var listen net.ListenConfig
	if t.listener, err = listen.Listen(ctx, "tcp", c.Prometheus); err != nil {
		return fmt.Errorf("telemetry: listening for metrics: %w", err)
	}
	t.server = &http.Server{
		Handler:           metricsHandler(registry),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // texts about whoever connects
	}
	t.served.Go(func() {
		if err := t.server.Serve(t.listener); !errors.Is(err, http.ErrServerClosed) {
			t.log.Error("metrics are served no more", "err", err)
		}
	})
	return nil
}

// newInstruments makes our own instruments.
func (t *Telemetry) newInstruments(m metric.Meter, h *Handler) error {
	var failed error
	keep := func(err error) {
		if err != nil && failed == nil {
			failed = fmt.Errorf("telemetry: opening metrics: %v", err)
		}
	}
	i := &t.instruments
	var err error
	i.queries, err = m.Int64Counter("passerelle.queries")
	keep(err)
	i.queryDuration, err = m.Float64Histogram("passerelle.query.duration")
	keep(err)
	i.logAppend, err = m.Float64Histogram("passerelle.log.append.duration")
	keep(err)
	i.panics, err = m.Int64Counter("passerelle.panics")
	keep(err)
	_, err = m.Float64ObservableGauge("passerelle.log.oldest_unpublished.age", metric.WithFloat64Callback(i.observeLogs))
	keep(err)
	_, err = m.Float64ObservableGauge("passerelle.list.age", metric.WithFloat64Callback(i.observeLists))
	keep(err)
	_, err = m.Int64ObservableCounter("passerelle.log.withheld",
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(h.Withheld())
			return nil
		}))
	keep(err)
	return failed
}

// metricsHandler serves GET /metrics and nothing else.
func metricsHandler(registry *prometheus.Registry) http.Handler {
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // an error's text would be the answer
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/metrics":
			http.Error(w, "not found; see /metrics", http.StatusNotFound)
		case r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			metrics.ServeHTTP(w, r)
		}
	})
}

// QueriesAnswered counts a query: direction is asked or answered, decision is
// allowed, denied or failed, and reason that of a refusal, or empty.
func (t *Telemetry) QueriesAnswered(direction, decision, reason string) {
	if t == nil {
		return
	}
	if reason == "" {
		reason = none
	}
	t.instruments.queries.Add(context.Background(), 1, metric.WithAttributes(
		keyDirection.String(label(directions, direction)),
		keyDecision.String(label(decisions, decision)),
		keyReason.String(label(reasons, reason))))
}

// QueryDuration measures a query: direction is asked or answered. An asker must
// measure until the answer is checked, and not until the outcome is recorded,
// because recording takes longer when there is a match.
func (t *Telemetry) QueryDuration(direction string, d time.Duration) {
	if t == nil {
		return
	}
	t.instruments.queryDuration.Record(context.Background(), d.Seconds(),
		metric.WithAttributes(keyDirection.String(label(directions, direction))))
}

// LogAppend measures how long it took until an entry was durable.
func (t *Telemetry) LogAppend(d time.Duration) {
	if t == nil {
		return
	}
	t.instruments.logAppend.Record(context.Background(), d.Seconds())
}

// Panics counts a call that ended in a panic, by its full method name.
func (t *Telemetry) Panics(method string) {
	if t == nil {
		return
	}
	t.instruments.panics.Add(context.Background(), 1, metric.WithAttributes(keyMethod.String(t.allowed.method(method))))
}

// LogOldestUnpublished sets what says how old the oldest entry is that no
// checkpoint covers, for the log "shared" or "internal". It is called at every
// scrape, must be quick, and may be called until t is closed.
func (t *Telemetry) LogOldestUnpublished(log string, age func() time.Duration) {
	if t == nil {
		return
	}
	t.instruments.mu.Lock()
	defer t.instruments.mu.Unlock()
	t.instruments.unpublished[label(logs, log)] = age
}

func (i *instruments) observeLogs(_ context.Context, o metric.Float64Observer) error {
	i.mu.Lock()
	ages := maps.Clone(i.unpublished)
	i.mu.Unlock()
	for name, age := range ages {
		o.Observe(age().Seconds(), metric.WithAttributes(keyLog.String(name)))
	}
	return nil
}

// A ListCopy is our copy of one list of a neighbour.
type ListCopy struct {
	Holder     string // trust domain
	Collection string // its name in agreements
	Age        time.Duration
}

// ListAge sets what says how old our copies of lists are: the time since each was
// last known to be the current one. It is called at every scrape, must be quick,
// and may be called until t is closed.
func (t *Telemetry) ListAge(copies func() []ListCopy) {
	if t == nil {
		return
	}
	t.instruments.mu.Lock()
	defer t.instruments.mu.Unlock()
	t.instruments.listAge = copies
}

func (i *instruments) observeLists(_ context.Context, o metric.Float64Observer) error {
	i.mu.Lock()
	copies := i.listAge
	i.mu.Unlock()
	if copies == nil {
		return nil
	}
	for _, c := range copies() {
		if trustDomainForm.MatchString(c.Holder) && nameForm.MatchString(c.Collection) {
			o.Observe(c.Age.Seconds(), metric.WithAttributes(keyHolder.String(c.Holder), keyCollection.String(c.Collection)))
		}
	}
	return nil
}

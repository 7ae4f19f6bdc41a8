package gateway

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/internal/telemetry"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/policy"
)

// The wrappers of this file measure the steps of a query from outside, so that
// the journeys know no telemetry. Nothing of a query's content passes through
// them into it: a step, a duration, a peer, a reason. Nothing is measured after
// an asker has verified an answer, because the time of matching would tell of a
// match.

// openTelemetry starts the exporters of the configuration. It is opened first and
// so closed last, and what is logged from here on passes its allow-list.
func (g *Gateway) openTelemetry(ctx context.Context) error {
	methods := rpc.Methods()
	if g.opts.Logger != nil {
		g.log = slog.New(telemetry.NewHandler(g.opts.Logger.Handler(), methods))
	}
	t, err := telemetry.Open(ctx, telemetry.Config{OTLP: g.cfg.Telemetry.OTLP, Insecure: g.cfg.Telemetry.Insecure,
		Prometheus: g.cfg.Telemetry.Prometheus, Service: "passerelle", Version: Version, Instance: g.cfg.TrustDomain + "/" + g.cfg.Gateway,
		Methods: methods}, g.log)
	if err != nil {
		return err
	}
	g.telemetry = t
	g.onClose(t.Close)
	// Not appended in place: the caller may give the same Options to another gateway.
	g.opts.ServerOptions = slices.Concat(g.opts.ServerOptions, t.ServerOptions())
	g.opts.DialOptions = slices.Concat(g.opts.DialOptions, t.DialOptions())
	return nil
}

// observe adds what is read when metrics are collected.
func (g *Gateway) observe() {
	g.telemetry.LogOldestUnpublished("shared", g.shared.OldestUnpublished)
	g.telemetry.LogOldestUnpublished("internal", g.internal.OldestUnpublished)
	g.telemetry.ListAge(func() []telemetry.ListCopy {
		var all []telemetry.ListCopy
		for _, l := range g.library.Lists() {
			all = append(all, telemetry.ListCopy{Holder: l.Holder, Collection: l.Collection, Age: g.now().Sub(l.Confirmed)})
		}
		return all
	})
}

// measuredLog measures appending to the shared log.
type measuredLog struct {
	*audit.Log
	t *telemetry.Telemetry
}

func (l measuredLog) Append(ctx context.Context, e *entry.Entry) (audit.Position, error) {
	began := time.Now()
	step := telemetry.HolderLog
	if e.Direction == entry.DirectionAsked {
		step = telemetry.AskerLog
	}
	p, err := telemetry.Trace(ctx, l.t, step, func(ctx context.Context) (audit.Position, error) { return l.Log.Append(ctx, e) })
	l.t.LogAppend(time.Since(began))
	return p, err
}

// measuredPolicy measures decisions.
type measuredPolicy struct {
	*policy.Engine
	t *telemetry.Telemetry
}

func (p measuredPolicy) Decide(ctx context.Context, in policy.Input) (policy.Decision, error) {
	step := telemetry.HolderDecide
	if in.Door() == policy.Ask {
		step = telemetry.AskerDecide
	}
	return telemetry.Trace(ctx, p.t, step, func(ctx context.Context) (policy.Decision, error) { return p.Engine.Decide(ctx, in) })
}

// measuredHolder measures answering.
type measuredHolder struct {
	*holder.Holder
	t *telemetry.Telemetry
}

func (h measuredHolder) Answer(ctx context.Context, caller holder.Caller, req *query.Request) (*query.Answer, error) {
	began := time.Now()
	a, err := h.Holder.Answer(ctx, caller, req)
	h.t.QueriesAnswered("answered", outcome(err), string(query.ReasonOf(err)))
	h.t.QueryDuration("answered", time.Since(began))
	return a, err
}

// measuredNeighbour measures asking.
type measuredNeighbour struct {
	asker.Neighbour
	trustDomain string
	t           *telemetry.Telemetry
}

func (n measuredNeighbour) Evaluate(ctx context.Context, r *query.Request) (*query.Answer, error) {
	began := time.Now()
	a, err := telemetry.Trace(ctx, n.t, telemetry.AskerExchange, func(ctx context.Context) (*query.Answer, error) {
		return n.Neighbour.Evaluate(ctx, r)
	}, telemetry.Peer(n.trustDomain), telemetry.Items(int(r.Facts.Items)))
	n.t.QueriesAnswered("asked", outcome(err), string(query.ReasonOf(err)))
	n.t.QueryDuration("asked", time.Since(began))
	return a, err
}

// outcome returns the word of the metrics for how a query went.
func outcome(err error) string {
	switch query.ReasonOf(err) {
	case "":
		return "allowed"
	case query.PolicyDenied, query.BudgetExhausted:
		return "denied"
	}
	return "failed"
}

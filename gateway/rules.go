package gateway

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/policy"
)

// rules holds the engine and knows where its bundle comes from. It implements
// rpc.Reloader.
type rules struct {
	g *Gateway

	mu        sync.Mutex // held while a bundle is activated
	activated time.Time
}

// bundle returns the rules to decide with: those of the configured folder, or
// those we are built with.
func (r *rules) bundle() (policy.Bundle, error) {
	if r.g.cfg.Policy == "" {
		return policy.Default(), nil
	}
	return policy.LoadBundle(os.DirFS(r.g.cfg.Policy))
}

func (g *Gateway) openPolicy(ctx context.Context) error {
	g.rules = &rules{g: g}
	b, err := g.rules.bundle()
	if err != nil {
		return err
	}
	if g.engine, err = policy.NewEngine(ctx, b); err != nil {
		return err
	}
	return g.rules.record(ctx, b, "")
}

// record says in the shared log that a bundle comes into force.
func (r *rules) record(ctx context.Context, b policy.Bundle, officer string) error {
	e := &entry.Entry{Kind: entry.KindBundleActivated, Time: r.g.now().UnixMilli(), Subject: b.Digest()}
	if officer != "" {
		id, err := peer.ParseID(officer)
		if err != nil {
			return err
		}
		e.Officer = r.g.Pseudonym(id.Name) // as in every other entry: the name in the register
	}
	if _, err := r.g.shared.Append(ctx, e); err != nil {
		return err
	}
	r.activated = r.g.now()
	return nil
}

// ActiveBundle implements rpc.Reloader.
func (r *rules) ActiveBundle() rpc.ActiveBundle {
	r.mu.Lock()
	defer r.mu.Unlock()
	return rpc.ActiveBundle{Digest: r.g.engine.BundleDigest(), Revision: r.g.engine.Revision(), Activated: r.activated,
		Rules: r.g.engine.Rules()}
}

// ReloadBundle implements rpc.Reloader. The bundle is proved first, then its
// activation is logged, and then it decides: no decision is made by a bundle that
// the log does not name.
func (r *rules) ReloadBundle(ctx context.Context, officer string, dryRun bool) (rpc.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := r.bundle()
	if err != nil {
		return rpc.Reloaded{Faults: []string{err.Error()}}, nil
	}
	if _, err := policy.NewEngine(ctx, b); err != nil {
		if errors.Is(err, policy.ErrBundle) {
			return rpc.Reloaded{Faults: []string{err.Error()}}, nil
		}
		return rpc.Reloaded{}, err
	}
	var out rpc.Reloaded
	if r.g.cfg.Policy != "" {
		report, err := policy.Test(ctx, os.DirFS(r.g.cfg.Policy))
		if err != nil {
			return rpc.Reloaded{}, err
		}
		out.TestsPassed = report.Passed
	}
	if b.Digest() == r.g.engine.BundleDigest() || dryRun {
		return out, nil
	}
	if err := r.record(ctx, b, officer); err != nil {
		return rpc.Reloaded{}, err
	}
	out.Changed = true
	return out, r.g.engine.Activate(ctx, b)
}

package asker

import (
	"context"
	"sync"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/internal/together"
	"github.com/passerelle/passerelle/gateway/store"
)

const (
	// outcomeDelay is how long an outcome waits in the store, so that those of many
	// queries are appended together. It is shorter than the cadence of checkpoints,
	// from which on an entry is tamper-evident.
	outcomeDelay = 250 * time.Millisecond

	// outcomeBatch is how many outcomes are appended together, each by a goroutine.
	outcomeBatch = 64
)

// An outbox is when outcomes go from the store into the internal log.
//
// The outcome of a query is stored in the commit that ends the query, and nothing is
// reported before. From there it is appended to the internal log, a moment later and
// together with others, and deleted when it is durable there. A crash leaves it in the
// store, and Recover goes on. Whether an outcome is in the log is read from the log, so
// that it is there once whatever happened between the two steps.
//
// If outcomes cannot be logged, nothing is asked and nothing reported until they can.
type outbox struct {
	drain sync.Mutex // held while outcomes are appended

	mu     sync.Mutex
	timer  *time.Timer // nil if nobody will append
	closed bool
	err    error // why the last attempt failed, or nil
}

// fault returns why outcomes cannot be logged, or nil.
func (o *outbox) fault() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// end stores the end of a query with its outcome e.
func (a *Asker) end(ctx context.Context, u store.AskUpdate, e *entry.Entry) error {
	b, err := e.Bytes()
	if err != nil {
		return err
	}
	u.Outcome = &store.Outcome{Query: u.ID, Entry: b, After: a.Internal.Size()}
	if err := a.Store.UpdateAsk(ctx, u); err != nil {
		return err
	}
	a.logOutcomesSoon()
	return nil
}

// logOutcomesSoon sees to it that what is stored now is logged.
func (a *Asker) logOutcomesSoon() {
	o := &a.outcomes
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil || o.closed {
		return
	}
	o.timer = time.AfterFunc(outcomeDelay, func() {
		o.mu.Lock()
		o.timer = nil // whatever is stored from here on needs another
		o.mu.Unlock()
		if err := a.LogOutcomes(context.Background()); err != nil {
			a.logOutcomesSoon()
		}
	})
}

// LogOutcomes appends the outcomes that were stored before the call to the internal
// log, and returns when they are durable there. An error says that some may not be;
// until a later call succeeds every ask is refused.
func (a *Asker) LogOutcomes(ctx context.Context) error {
	o := &a.outcomes
	o.drain.Lock()
	defer o.drain.Unlock()
	err := a.logOutcomes(ctx)
	if err != nil && ctx.Err() != nil {
		return err // the caller's own doing
	}
	o.mu.Lock()
	was := o.err
	o.err = err
	o.mu.Unlock()
	switch {
	case err != nil && was == nil:
		a.log.ErrorContext(ctx, "outcomes not logged", "err", err)
	case err == nil && was != nil:
		a.log.InfoContext(ctx, "outcomes logged again")
	}
	return err
}

func (a *Asker) logOutcomes(ctx context.Context) error {
	for {
		waiting, err := a.Store.Outcomes(ctx, outcomeBatch)
		if err != nil || len(waiting) == 0 {
			return err
		}
		logged, err := a.logged(ctx, waiting)
		if err != nil {
			return err
		}
		errs := make([]error, len(waiting))
		together.Do(len(waiting), func(i int) {
			if logged[entry.LeafHash(waiting[i].Entry)] {
				return
			}
			e, err := entry.ParseEntry(waiting[i].Entry)
			if err == nil {
				_, err = a.Internal.Append(ctx, e)
			}
			errs[i] = err
		})
		done := make([][16]byte, 0, len(waiting))
		for i := range waiting {
			if errs[i] != nil {
				return errs[i]
			}
			done = append(done, waiting[i].Query)
		}
		if err := a.Store.ForgetOutcomes(ctx, done...); err != nil {
			return err
		}
	}
}

// logged returns the leaf hashes of the entries of the internal log among which those
// of waiting are, if they are in it.
func (a *Asker) logged(ctx context.Context, waiting []store.Outcome) (map[[32]byte]bool, error) {
	from := waiting[0].After
	for i := range waiting {
		from = min(from, waiting[i].After)
	}
	leaves := make(map[[32]byte]bool)
	for x, err := range a.Internal.Entries(ctx, from, a.Internal.Size()) {
		if err != nil {
			return nil, err
		}
		if x.Entry.Kind == entry.KindOutcome {
			leaves[x.Leaf] = true
		}
	}
	return leaves, nil
}

// Close logs the outcomes that are stored, and does nothing by itself from then on.
// No ask may be under way. If it returns an error, the next Recover logs them.
func (a *Asker) Close(ctx context.Context) error {
	o := &a.outcomes
	o.mu.Lock()
	o.closed = true
	if o.timer != nil {
		o.timer.Stop()
	}
	o.mu.Unlock()
	return a.LogOutcomes(ctx)
}

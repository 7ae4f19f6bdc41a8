package asker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

const (
	// mergeDelay is how long a holder has until a checkpoint of its log covers a
	// decision.
	mergeDelay = time.Minute

	// proveWithin is how long a proof that did not come is asked for. Then it is
	// left to the auditors: the receipt names an entry that nobody can show.
	proveWithin = 24 * time.Hour
)

// ProveReceipts asks the holders to prove that the decisions of our receipts are
// in their logs, once the merge delay has passed, and keeps the proofs. It asks
// about every answered query alike, whatever was found, so that a holder learns
// nothing from being asked.
//
// It returns how many proofs it kept. A decision that its log does not have is a
// breach of the protocol: it is in the error, and the query is asked about again
// on the next call.
func (a *Asker) ProveReceipts(ctx context.Context) (int, error) {
	now := a.Now()
	asks, err := a.Store.Asks(ctx, store.AskFilter{State: store.AskAnswered, Unproved: true,
		Since: now.Add(-proveWithin), Until: now.Add(-mergeDelay), Limit: 1000})
	if err != nil {
		return 0, err
	}
	kept := 0
	var errs []error
	for i := range asks {
		if err := ctx.Err(); err != nil {
			return kept, errors.Join(append(errs, err)...)
		}
		if err := a.proveReceipt(ctx, &asks[i], now); err != nil {
			errs = append(errs, fmt.Errorf("asker: proof of query %s: %w", query.ID(asks[i].ID), err))
			continue
		}
		kept++
	}
	return kept, errors.Join(errs...)
}

// proveReceipt gets, verifies and keeps the proof of one receipt.
func (a *Asker) proveReceipt(ctx context.Context, ask *store.Ask, now time.Time) error {
	receipt, err := entry.ParseReceipt(ask.Receipt)
	if err != nil {
		return query.Refuse(query.StorageUnavailable, err)
	}
	key, err := a.Directory.LogKey(ask.Holder)
	if err != nil {
		return query.Refuse(query.UnknownPeer, err)
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return query.Refuse(query.Internal, err)
	}
	n, err := a.Directory.Neighbour(ask.Holder)
	if err != nil {
		return query.Refuse(query.Unreachable, err)
	}
	proof, err := n.Prove(ctx, ask.Agreement, query.ID(ask.ID))
	if err != nil {
		return err
	}
	if proof == nil {
		return query.Refuse(query.PeerInvalid, errors.New("asker: the decision is not under a checkpoint in time"))
	}
	index, _, err := entry.CheckProof(proof.Entry, proof.Proof, verifier)
	if err != nil {
		return invalid("%w", err)
	}
	if entry.LeafHash(proof.Entry) != receipt.Leaf || index != receipt.Index || receipt.Origin != verifier.Name() {
		return invalid("the proof is of another entry than the receipt names")
	}
	return a.Store.UpdateAsk(ctx, store.AskUpdate{ID: ask.ID, Proof: proof.Proof, Time: now})
}

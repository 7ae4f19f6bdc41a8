package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

// Durable measures writes that must be on the disk before a query may go on: to a
// log and a database of its own, with the settings of a gateway, in the folder in
// which the gateways have theirs. There is one writer. Close it.
type Durable struct {
	log   *audit.Log
	store *store.Store
	n     int
}

// OpenDurable makes a log and a database in dir. The interval is that of the
// checkpoints of the gateways.
func OpenDurable(ctx context.Context, dir string, interval time.Duration) (*Durable, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	const origin = "bench.example/log/shared"
	signer, verifier, err := audit.NewSigner(origin, key)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	d := &Durable{}
	if d.store, err = store.Open(ctx, filepath.Join(dir, "store")); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if d.log, err = audit.Open(ctx, audit.Config{Dir: filepath.Join(dir, "log"), Origin: origin, Signer: signer, Verifier: verifier,
		Interval: interval}); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: %w", err), d.store.Close())
	}
	return d, nil
}

// Close closes the log and the database.
func (d *Durable) Close(ctx context.Context) error {
	return errors.Join(d.log.Close(ctx), d.store.Close())
}

// Append appends n entries of a holder's decision, one after the other, and
// returns how long each took until it was durable.
func (d *Durable) Append(ctx context.Context, n int) (Samples, error) {
	samples := make(Samples, 0, n)
	for range n {
		d.n++
		e := &entry.Entry{
			Kind: entry.KindDecision, Time: time.Now().UnixMilli(), Query: query.NewID(time.Now()), Direction: entry.DirectionAnswered,
			Asker: "spiffe://asker.example/gateway/main", Holder: "spiffe://holder.example/gateway/main", Agreement: "bench",
			AgreementDigest: [32]byte{1}, Purpose: "ct-travel-screening", Collection: "watchlist", Items: 1,
			Decision: entry.DecisionAllowed, Rules: []string{"RU-01", "RU-02", "RU-03", "RU-11"}, Bundle: [32]byte{2}, Input: [32]byte{3},
			Unit: [16]byte{4}, Protocol: query.Protocol, Normalisation: 1, ListVersion: 1, Request: [32]byte{5, byte(d.n), byte(d.n >> 8)},
			PeerLeaf: [32]byte{6}, PeerSealed: [32]byte{7},
		}
		began := time.Now()
		if _, err := d.log.Append(ctx, e); err != nil {
			return nil, fmt.Errorf("bench: appending: %w", err)
		}
		samples = append(samples, time.Since(began))
	}
	return samples, nil
}

// Commit accepts n queries, one after the other, each with its budget and the
// facts of its decision in one transaction as at a holder, and returns how long
// each took until it was durable.
func (d *Durable) Commit(ctx context.Context, n int) (Samples, error) {
	samples := make(Samples, 0, n)
	for range n {
		d.n++
		now := time.Now()
		input := make([]byte, 3000) // as large as the facts of a query
		copy(input, fmt.Sprint(d.n))
		b := store.Begin{
			QueryKey:      store.QueryKey{Peer: "asker.example", Agreement: "bench", ID: query.NewID(now)},
			RequestDigest: [32]byte{byte(d.n), byte(d.n >> 8), byte(d.n >> 16)}, Time: now,
			Charges: []store.Charge{
				{Counter: "day/bench", Amount: 4, Limit: 1 << 40, Until: now.Add(24 * time.Hour)},
				{Counter: "burst/bench", Amount: 4, Limit: 1 << 40, Until: now.Add(time.Minute)},
			},
			PolicyInput: &store.PolicyInput{Digest: [32]byte{8, byte(d.n), byte(d.n >> 8), byte(d.n >> 16)}, Input: input, Created: now,
				Expires: now.Add(24 * time.Hour)},
		}
		began := time.Now()
		if _, err := d.store.BeginQuery(ctx, b); err != nil {
			return nil, fmt.Errorf("bench: committing: %w", err)
		}
		samples = append(samples, time.Since(began))
	}
	return samples, nil
}

package store

import (
	"context"
	"fmt"
)

// An Outcome is the entry of the internal log about a query that has ended. It is
// stored by [Store.UpdateAsk] in the transaction that ends the query, and stays until
// [Store.ForgetOutcomes]: a crash between the two loses neither.
type Outcome struct {
	Query [16]byte
	Entry []byte // encoded, opaque

	// After is the size of the internal log before the outcome was stored: the entry
	// is not below it.
	After uint64
}

func (t *tx) putOutcome(o *Outcome) error {
	n, err := t.changed("INSERT INTO outcomes (query, entry, after) VALUES ($1, $2, $3) ON CONFLICT (query) DO NOTHING",
		o.Query[:], o.Entry, int64(o.After))
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: outcome", ErrExists)
	}
	return err
}

// Outcomes returns stored outcomes, at most limit, in the order of their queries' ids.
func (s *Store) Outcomes(ctx context.Context, limit int) ([]Outcome, error) {
	var all []Outcome
	err := s.gateway.list(ctx, "listing outcomes", "SELECT query, entry, after FROM outcomes ORDER BY query LIMIT $1", []any{limit},
		func(scan func(...any) error) error {
			var o Outcome
			var id []byte
			var after int64
			if err := scan(&id, &o.Entry, &after); err != nil {
				return err
			}
			o.After = uint64(after)
			if err := fixed(o.Query[:], id); err != nil {
				return err
			}
			all = append(all, o)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// ForgetOutcomes deletes the outcomes of queries: they are in the internal log. One
// that is not stored is no error.
func (s *Store) ForgetOutcomes(ctx context.Context, queries ...[16]byte) error {
	return s.gateway.write(ctx, "deleting outcomes", func(t *tx) error {
		for i := range queries {
			if err := t.exec("DELETE FROM outcomes WHERE query = $1", queries[i][:]); err != nil {
				return err
			}
		}
		return nil
	})
}

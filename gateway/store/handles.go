package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A HandleRow is the name under which a neighbour sees a record, in one epoch.
type HandleRow struct {
	Handle   [8]byte
	RecordID string
}

// PutHandles gives records their handles towards one peer, in one epoch of a
// collection, and returns one row per input, in input order, with the handle that
// is in force: a record that has one keeps it, and the one given is ignored.
//
// Handles must be 8 fresh random bytes each. It returns an error wrapping
// [ErrExists], and then stores none of them, if a handle names another record
// already.
func (s *Store) PutHandles(ctx context.Context, peer, collection string, epoch uint32, rows []HandleRow) ([]HandleRow, error) {
	out := make([]HandleRow, len(rows))
	err := s.records.write(ctx, "putting handles", func(t *tx) error {
		for i := range rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			h := rows[i].Handle[:]
			// A handle that is taken is an error below; one of the same record is not.
			n, err := t.changed(`INSERT INTO handles (peer, collection, epoch, record_id, handle)
				VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, peer, collection, int64(epoch), rows[i].RecordID, h)
			if err != nil {
				return err
			}
			out[i] = rows[i]
			if n == 1 {
				continue
			}
			var old []byte
			err = t.row("SELECT handle FROM handles WHERE peer = $1 AND collection = $2 AND epoch = $3 AND record_id = $4",
				[]any{peer, collection, int64(epoch), rows[i].RecordID}, &old)
			if errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("%w: handle of another record", ErrExists)
			}
			if err == nil {
				err = fixed(out[i].Handle[:], old)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Handles returns the handles of a collection towards one peer in one epoch, by
// record id.
func (s *Store) Handles(ctx context.Context, peer, collection string, epoch uint32) (map[string][8]byte, error) {
	all := make(map[string][8]byte)
	err := s.records.each(ctx, "reading handles",
		"SELECT record_id, handle FROM handles WHERE peer = $1 AND collection = $2 AND epoch = $3",
		[]any{peer, collection, int64(epoch)}, func(scan func(...any) error) error {
			var id string
			var b []byte
			var h [8]byte
			if err := scan(&id, &b); err != nil {
				return err
			}
			if err := fixed(h[:], b); err != nil {
				return err
			}
			all[id] = h
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// AnyHandle reports whether one of the records has a handle towards a peer in an epoch.
func (s *Store) AnyHandle(ctx context.Context, peer, collection string, epoch uint32, records []string) (bool, error) {
	for _, id := range records {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		var b []byte
		err := s.records.get(ctx, "reading a handle",
			"SELECT handle FROM handles WHERE peer = $1 AND collection = $2 AND epoch = $3 AND record_id = $4",
			[]any{peer, collection, int64(epoch), id}, &b)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return false, err
		}
	}
	return false, nil
}

// RecordByHandle returns the id of the record that a peer names, or an error
// wrapping [ErrNotFound]. The record itself may have been deleted since.
func (s *Store) RecordByHandle(ctx context.Context, peer, collection string, epoch uint32, handle [8]byte) (string, error) {
	var id string
	err := s.records.get(ctx, "reading a handle",
		"SELECT record_id FROM handles WHERE peer = $1 AND collection = $2 AND epoch = $3 AND handle = $4",
		[]any{peer, collection, int64(epoch), handle[:]}, &id)
	return id, err
}

// DropHandles deletes the handles of the epochs before epoch, and returns how many
// there were.
func (s *Store) DropHandles(ctx context.Context, peer, collection string, epoch uint32) (n int64, err error) {
	err = s.records.write(ctx, "dropping handles", func(t *tx) error {
		n, err = t.changed("DELETE FROM handles WHERE peer = $1 AND collection = $2 AND epoch < $3", peer, collection, int64(epoch))
		return err
	})
	return n, err
}

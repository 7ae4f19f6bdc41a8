package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrRollback is returned for a checkpoint that is smaller than the one we have,
// or of the same size with another root: the peer's log was rewritten, or restored
// from a backup.
var ErrRollback = errors.New("store: a checkpoint contradicts the one we have")

// A PeerRow is a neighbour.
type PeerRow struct {
	TrustDomain string
	Invite      []byte // signed, opaque here
	State       string // code, such as "active" or "ended"
	Added       time.Time
	Ended       time.Time // zero while the federation lasts
}

// PutPeer adds or replaces a neighbour.
func (s *Store) PutPeer(ctx context.Context, p PeerRow) error {
	return s.gateway.write(ctx, "putting a peer", func(t *tx) error {
		return t.exec(`INSERT INTO peers (trust_domain, invite, state, added, ended) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (trust_domain) DO UPDATE SET invite = excluded.invite, state = excluded.state, added = excluded.added,
				ended = excluded.ended`, p.TrustDomain, bytesOf(p.Invite), p.State, millis(p.Added), millis(p.Ended))
	})
}

// EndPeer ends the federation with a neighbour at a time. It returns an error
// wrapping [ErrNotFound] for a stranger.
func (s *Store) EndPeer(ctx context.Context, trustDomain, state string, at time.Time) error {
	return s.gateway.write(ctx, "ending a federation", func(t *tx) error {
		n, err := t.changed("UPDATE peers SET state = $1, ended = $2 WHERE trust_domain = $3", state, millis(at), trustDomain)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: peer", ErrNotFound)
		}
		return err
	})
}

// Peers returns all neighbours, also former ones, by trust domain.
func (s *Store) Peers(ctx context.Context) ([]PeerRow, error) {
	var all []PeerRow
	err := s.gateway.each(ctx, "reading peers", "SELECT trust_domain, invite, state, added, ended FROM peers ORDER BY trust_domain", nil,
		func(scan func(...any) error) error {
			var p PeerRow
			var added, ended int64
			if err := scan(&p.TrustDomain, &p.Invite, &p.State, &added, &ended); err != nil {
				return err
			}
			p.Added, p.Ended = moment(added), moment(ended)
			all = append(all, p)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// An AgreementRow is one version of an agreement, with who has suspended the
// agreement.
type AgreementRow struct {
	ID          string
	Number      int
	Digest      [32]byte // as it was when the file was accepted
	File        []byte
	SuspendedBy []string // trust domains, sorted; the same for all versions
}

// PutAgreement stores a version of an agreement. It is idempotent; another file
// with the same id and number is refused with an error wrapping [ErrExists]. It
// does not touch suspensions.
func (s *Store) PutAgreement(ctx context.Context, a AgreementRow) error {
	return s.gateway.write(ctx, "putting an agreement", func(t *tx) error {
		n, err := t.changed("INSERT INTO agreements (id, number, digest, file) VALUES ($1, $2, $3, $4) ON CONFLICT (id, number) DO NOTHING",
			a.ID, int64(a.Number), a.Digest[:], bytesOf(a.File))
		if err != nil || n == 1 {
			return err
		}
		var same int64
		if err := t.row("SELECT COUNT(*) FROM agreements WHERE id = $1 AND number = $2 AND digest = $3",
			[]any{a.ID, int64(a.Number), a.Digest[:]}, &same); err != nil {
			return err
		}
		if same == 0 {
			return fmt.Errorf("%w: agreement", ErrExists)
		}
		return nil
	})
}

// SetSuspensions replaces the parties that have suspended an agreement.
func (s *Store) SetSuspensions(ctx context.Context, id string, by []string) error {
	return s.gateway.write(ctx, "putting suspensions", func(t *tx) error {
		if err := t.exec("DELETE FROM suspensions WHERE agreement = $1", id); err != nil {
			return err
		}
		for _, party := range by {
			if err := t.exec("INSERT INTO suspensions (agreement, party) VALUES ($1, $2) ON CONFLICT DO NOTHING", id, party); err != nil {
				return err
			}
		}
		return nil
	})
}

// Agreements returns all versions of all agreements, by id and number.
func (s *Store) Agreements(ctx context.Context) ([]AgreementRow, error) {
	by := make(map[string][]string)
	err := s.gateway.each(ctx, "reading suspensions", "SELECT agreement, party FROM suspensions ORDER BY agreement, party", nil,
		func(scan func(...any) error) error {
			var id, party string
			err := scan(&id, &party)
			by[id] = append(by[id], party)
			return err
		})
	if err != nil {
		return nil, err
	}
	var all []AgreementRow
	err = s.gateway.each(ctx, "reading agreements", "SELECT id, number, digest, file FROM agreements ORDER BY id, number", nil,
		func(scan func(...any) error) error {
			var a AgreementRow
			var digest []byte
			if err := scan(&a.ID, &a.Number, &digest, &a.File); err != nil {
				return err
			}
			a.SuspendedBy = by[a.ID]
			if err := fixed(a.Digest[:], digest); err != nil {
				return err
			}
			all = append(all, a)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// AppendOfficerChange appends a change of the register of officers. Sequence
// numbers begin at 1 and have no gaps: an error wrapping [ErrExists] means that
// somebody else was faster, and one wrapping [ErrInvalid] that one is missing.
func (s *Store) AppendOfficerChange(ctx context.Context, sequence int64, change []byte) error {
	return s.gateway.write(ctx, "appending an officer change", func(t *tx) error {
		var last int64
		if err := t.row("SELECT COALESCE(MAX(sequence), 0) FROM officer_changes", nil, &last); err != nil {
			return err
		}
		switch {
		case sequence <= last:
			return fmt.Errorf("%w: officer change %d", ErrExists, sequence)
		case sequence != last+1:
			return fmt.Errorf("%w: officer change %d after %d", ErrInvalid, sequence, last)
		}
		return t.exec("INSERT INTO officer_changes (sequence, change) VALUES ($1, $2)", sequence, bytesOf(change))
	})
}

// OfficerChanges returns all changes of the register, in order: the first has the
// sequence number 1.
func (s *Store) OfficerChanges(ctx context.Context) ([][]byte, error) {
	var all [][]byte
	err := s.gateway.each(ctx, "reading officer changes", "SELECT change FROM officer_changes ORDER BY sequence", nil,
		func(scan func(...any) error) error {
			var b []byte
			err := scan(&b)
			all = append(all, b)
			return err
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// PutMeta sets a named value.
func (s *Store) PutMeta(ctx context.Context, name string, value []byte) error {
	return s.gateway.write(ctx, "putting a value", func(t *tx) error {
		return t.exec("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
			name, bytesOf(value))
	})
}

// Meta returns a named value, or an error wrapping [ErrNotFound].
func (s *Store) Meta(ctx context.Context, name string) ([]byte, error) {
	var b []byte
	err := s.gateway.get(ctx, "reading a value", "SELECT value FROM meta WHERE name = $1", []any{name}, &b)
	return b, err
}

// A Checkpoint is the newest one that we follow of a peer's log.
type Checkpoint struct {
	Origin string
	Size   uint64   // of the tree
	Root   [32]byte // root hash
	Bytes  []byte   // the signed note, with cosignatures
	At     time.Time
}

// PutCheckpoint keeps a checkpoint whose consistency with the one we have the
// caller has verified, starting from previous, the size that we had (0 for none).
// It returns an error wrapping [ErrRollback] if it is smaller, or of the same size
// with another root, and one wrapping [ErrState] if we have another size than
// previous by now: verify again from there.
func (s *Store) PutCheckpoint(ctx context.Context, previous uint64, c Checkpoint) error {
	return s.gateway.write(ctx, "putting a checkpoint", func(t *tx) error {
		var size int64
		var root []byte
		err := t.row("SELECT size, root FROM checkpoints WHERE origin = $1", []any{c.Origin}, &size, &root)
		switch known := err == nil; {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		case known && (c.Size < uint64(size) || c.Size == uint64(size) && string(root) != string(c.Root[:])):
			return ErrRollback
		case uint64(size) != previous:
			return fmt.Errorf("%w: checkpoint has moved on", ErrState)
		}
		return t.exec(`INSERT INTO checkpoints (origin, size, root, checkpoint, at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, checkpoint = excluded.checkpoint,
				at = excluded.at`, c.Origin, int64(c.Size), c.Root[:], bytesOf(c.Bytes), millis(c.At))
	})
}

// FollowedCheckpoint returns the newest checkpoint of a log that we follow, or an
// error wrapping [ErrNotFound].
func (s *Store) FollowedCheckpoint(ctx context.Context, origin string) (Checkpoint, error) {
	c := Checkpoint{Origin: origin}
	var size, at int64
	var root []byte
	err := s.gateway.get(ctx, "reading a checkpoint", "SELECT size, root, checkpoint, at FROM checkpoints WHERE origin = $1",
		[]any{origin}, &size, &root, &c.Bytes, &at)
	if err == nil {
		err = outside(fixed(c.Root[:], root))
	}
	if err != nil {
		return Checkpoint{}, err
	}
	c.Size, c.At = uint64(size), moment(at)
	return c, nil
}

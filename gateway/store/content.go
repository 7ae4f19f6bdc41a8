package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrErased is returned for sealed content that was erased, lawfully or not:
// [Store.ErasedAt] says when.
var ErrErased = errors.New("store: content was erased")

// A PolicyInput is what the rules saw, in codes and pseudonyms, so that a
// decision can be replayed.
type PolicyInput struct {
	Digest  [32]byte // as in the entry of the log
	Input   []byte
	Created time.Time
	Expires time.Time // deleted then; zero for never
}

// PutPolicyInput stores a policy input. One that is there stays, until the later
// of both times.
func (s *Store) PutPolicyInput(ctx context.Context, in PolicyInput) error {
	return s.gateway.write(ctx, "putting a policy input", func(t *tx) error { return t.putPolicyInput(&in) })
}

func (t *tx) putPolicyInput(in *PolicyInput) error {
	return t.exec(`INSERT INTO policy_inputs (digest, input, created, expires) VALUES ($1, $2, $3, $4)
		ON CONFLICT (digest) DO UPDATE SET expires = CASE
			WHEN policy_inputs.expires = 0 OR excluded.expires = 0 THEN 0
			WHEN policy_inputs.expires > excluded.expires THEN policy_inputs.expires
			ELSE excluded.expires END`,
		in.Digest[:], bytesOf(in.Input), millis(in.Created), millis(in.Expires))
}

// PolicyInput returns the policy input of a digest, or an error wrapping
// [ErrNotFound].
func (s *Store) PolicyInput(ctx context.Context, digest [32]byte) ([]byte, error) {
	var b []byte
	err := s.gateway.get(ctx, "reading a policy input", "SELECT input FROM policy_inputs WHERE digest = $1", []any{digest[:]}, &b)
	return b, err
}

// PolicyInputs calls f for the policy inputs of a time span, oldest first, until f
// returns an error, which it returns. It is for replaying a draft of the rules.
func (s *Store) PolicyInputs(ctx context.Context, since, until time.Time, f func(PolicyInput) error) error {
	return s.gateway.each(ctx, "reading policy inputs",
		"SELECT digest, input, created, expires FROM policy_inputs WHERE created >= $1 AND created < $2 ORDER BY created, digest",
		[]any{millis(since), millis(until)}, func(scan func(...any) error) error {
			var in PolicyInput
			var digest []byte
			var created, expires int64
			if err := scan(&digest, &in.Input, &created, &expires); err != nil {
				return err
			}
			in.Created, in.Expires = moment(created), moment(expires)
			if err := fixed(in.Digest[:], digest); err != nil {
				return err
			}
			return f(in)
		})
}

// SealedContent is a ciphertext for the auditor. Its hash is in an entry of the
// log, so that it cannot be exchanged, only erased.
type SealedContent struct {
	Hash    [32]byte // SHA-256 of Content
	Content []byte
	Expires time.Time // erased then; zero for never
}

// PutSealed stores sealed content. It returns an error wrapping [ErrInvalid] if
// the hash is not that of the content, and one wrapping [ErrErased] if it was
// there and has been erased.
func (s *Store) PutSealed(ctx context.Context, c SealedContent) error {
	return s.gateway.write(ctx, "putting sealed content", func(t *tx) error { return t.putSealed(&c) })
}

func (t *tx) putSealed(c *SealedContent) error {
	if sha256.Sum256(c.Content) != c.Hash {
		return fmt.Errorf("%w: hash of sealed content", ErrInvalid)
	}
	n, err := t.changed("INSERT INTO sealed (hash, content, expires, erased) VALUES ($1, $2, $3, 0) ON CONFLICT (hash) DO NOTHING",
		c.Hash[:], bytesOf(c.Content), millis(c.Expires))
	if err != nil || n == 1 {
		return err
	}
	var erased int64
	if err := t.row("SELECT erased FROM sealed WHERE hash = $1", []any{c.Hash[:]}, &erased); err != nil {
		return err
	}
	if erased != 0 {
		return ErrErased
	}
	return nil
}

// Sealed returns sealed content, or an error wrapping [ErrErased] or
// [ErrNotFound].
func (s *Store) Sealed(ctx context.Context, hash [32]byte) ([]byte, error) {
	var b []byte
	var erased int64
	err := s.gateway.get(ctx, "reading sealed content", "SELECT content, erased FROM sealed WHERE hash = $1", []any{hash[:]}, &b, &erased)
	if err == nil && erased != 0 {
		err = ErrErased
	}
	if err == nil && sha256.Sum256(b) != hash {
		err = failed("reading sealed content", errors.New("its hash differs"))
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// ErasedAt returns when sealed content was erased: the zero time if it was not,
// and an error wrapping [ErrNotFound] if it was never here.
func (s *Store) ErasedAt(ctx context.Context, hash [32]byte) (time.Time, error) {
	var erased int64
	err := s.gateway.get(ctx, "reading sealed content", "SELECT erased FROM sealed WHERE hash = $1", []any{hash[:]}, &erased)
	return moment(erased), err
}

// SealedExpiry returns when sealed content will be erased, the zero time for never,
// or an error wrapping [ErrErased] or [ErrNotFound].
func (s *Store) SealedExpiry(ctx context.Context, hash [32]byte) (time.Time, error) {
	var expires, erased int64
	err := s.gateway.get(ctx, "reading sealed content", "SELECT expires, erased FROM sealed WHERE hash = $1", []any{hash[:]}, &expires, &erased)
	if err == nil && erased != 0 {
		err = ErrErased
	}
	if err != nil {
		return time.Time{}, err
	}
	return moment(expires), nil
}

// A Keep is a later time of erasure, for content that led to a candidate or is under
// challenge.
type Keep struct {
	Hash  [32]byte
	Until time.Time // an earlier time than the present one is ignored
}

// KeepSealed sets a later time of erasure, see [Keep]. It returns an error wrapping
// [ErrNotFound] for unknown content, and [ErrErased] if it is too late.
func (s *Store) KeepSealed(ctx context.Context, hash [32]byte, until time.Time) error {
	return s.gateway.write(ctx, "keeping sealed content", func(t *tx) error { return t.keepSealed(&Keep{hash, until}) })
}

func (t *tx) keepSealed(k *Keep) error {
	var erased int64
	err := t.row("SELECT erased FROM sealed WHERE hash = $1", []any{k.Hash[:]}, &erased)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: sealed content", ErrNotFound)
	case err != nil:
		return err
	case erased != 0:
		return ErrErased
	}
	return t.exec("UPDATE sealed SET expires = $1 WHERE hash = $2 AND expires <> 0 AND expires < $1", millis(k.Until), k.Hash[:])
}

// EraseSealed erases sealed content and remembers when. The log stays valid. It is
// idempotent, and returns an error wrapping [ErrNotFound] if it was never here.
func (s *Store) EraseSealed(ctx context.Context, hash [32]byte, now time.Time) error {
	return s.gateway.write(ctx, "erasing sealed content", func(t *tx) error {
		n, err := t.changed("UPDATE sealed SET content = NULL, erased = CASE WHEN erased = 0 THEN $1 ELSE erased END WHERE hash = $2",
			millis(now), hash[:])
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: sealed content", ErrNotFound)
		}
		return err
	})
}

// A Purged counts what [Store.PurgeExpired] deleted.
type Purged struct {
	PolicyInputs, Sealed, Candidates, Answers, Counters int64
}

// PurgeExpired deletes what has expired at now: policy inputs, sealed content,
// candidates, answers, and counters of past windows. Deleted content is
// overwritten, also in the write-ahead log.
func (s *Store) PurgeExpired(ctx context.Context, now time.Time) (Purged, error) {
	var p Purged
	ms := millis(now)
	err := s.gateway.write(ctx, "purging", func(t *tx) error {
		for _, d := range []struct {
			n     *int64
			query string
		}{
			{&p.PolicyInputs, "DELETE FROM policy_inputs WHERE expires <> 0 AND expires <= $1"},
			{&p.Sealed, "UPDATE sealed SET content = NULL, erased = $1 WHERE erased = 0 AND expires <> 0 AND expires <= $1"},
			{&p.Candidates, "DELETE FROM candidates WHERE expires <> 0 AND expires <= $1"},
			{&p.Counters, "DELETE FROM budgets WHERE ends <> 0 AND ends <= $1"},
		} {
			n, err := t.changed(d.query, ms)
			if err != nil {
				return err
			}
			*d.n = n
		}
		n, err := t.expireAnswers(now)
		p.Answers = n
		return err
	})
	if err != nil {
		return Purged{}, err
	}
	return p, s.gateway.truncateLog(ctx)
}

// truncateLog moves the write-ahead log into the database and empties it, because
// it still holds old pages. Readers at work delay that to the next time.
func (d *database) truncateLog(ctx context.Context) error {
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("store: truncating the log: %w", ctx.Err())
	}
	if d.closed {
		return ErrClosed
	}
	var busy, a, b int64
	if err := d.conn.QueryRowContext(context.WithoutCancel(ctx), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &a, &b); err != nil {
		return failed("truncating the log", err)
	}
	return nil
}

// A Leaf says where an entry about a query is in one of our logs.
type Leaf struct {
	Query [16]byte
	Log   string // "shared", "internal" or another log's name
	Kind  string // kind of entry
	Index uint64
	Hash  [32]byte // leaf hash
}

// PutLeaf notes the position of entries. Noting the same again is no error; another
// entry at the same position is one wrapping [ErrExists].
func (s *Store) PutLeaf(ctx context.Context, leaves ...Leaf) error {
	return s.gateway.write(ctx, "putting a leaf", func(t *tx) error { return t.putLeaves(leaves) })
}

func (t *tx) putLeaves(leaves []Leaf) error {
	for i := range leaves {
		l := &leaves[i]
		n, err := t.changed("INSERT INTO leaves (log, idx, query, kind, hash) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (log, idx) DO NOTHING",
			l.Log, int64(l.Index), l.Query[:], l.Kind, l.Hash[:])
		if err != nil {
			return err
		}
		if n == 1 {
			continue
		}
		var same int64
		if err := t.row("SELECT COUNT(*) FROM leaves WHERE log = $1 AND idx = $2 AND query = $3 AND kind = $4 AND hash = $5",
			[]any{l.Log, int64(l.Index), l.Query[:], l.Kind, l.Hash[:]}, &same); err != nil {
			return err
		}
		if same == 0 {
			return fmt.Errorf("%w: leaf %d of the log", ErrExists, l.Index)
		}
	}
	return nil
}

// Leaves returns the positions of the entries about a query, by log and index.
func (s *Store) Leaves(ctx context.Context, query [16]byte) ([]Leaf, error) {
	var all []Leaf
	err := s.gateway.each(ctx, "reading leaves", "SELECT log, idx, kind, hash FROM leaves WHERE query = $1 ORDER BY log, idx",
		[]any{query[:]}, func(scan func(...any) error) error {
			l := Leaf{Query: query}
			var index int64
			var hash []byte
			if err := scan(&l.Log, &index, &l.Kind, &hash); err != nil {
				return err
			}
			l.Index = uint64(index)
			if err := fixed(l.Hash[:], hash); err != nil {
				return err
			}
			all = append(all, l)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

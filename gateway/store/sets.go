package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrFork is returned for a second successor of a manifest: whoever signed both
	// shows different sets to different people. It is the peer's fault, and serious;
	// the evidence is kept, see [Store.Forks].
	ErrFork = errors.New("store: a manifest has two successors")

	// ErrGap is returned for a manifest that does not follow the head, and for
	// classes that would be at different list versions: fetch what is between.
	ErrGap = errors.New("store: a manifest does not follow the head")
)

// A Side says whose set a chain of manifests describes. The zero Side is invalid.
type Side uint8

// The sides.
const (
	Published Side = 1 // ours, published to the peer
	Accepted  Side = 2 // the peer's, accepted by us
)

// A Head is one manifest in the chain of a class, and usually the last.
type Head struct {
	Side       Side
	Peer       string // trust domain of the other gateway
	Collection string
	Class      string
	Version    uint64 // list version, from 1, without gaps
	Epoch      uint32
	Hash       [32]byte // of the manifest
	Previous   [32]byte // hash of the manifest before; zero for the first
	Manifest   []byte   // signed, opaque here
	Segments   [][32]byte
	Proof      []byte // inclusion proof of the manifest, opaque; nil if there is none yet
	Created    time.Time
}

// AdvanceHeads appends manifests to their chains, in one transaction: all of them,
// or none. All must be of one side, peer and collection. Several of one class must
// be in order, and afterwards all classes that are named must be at one version.
//
// This is the only writer of heads, and a compare-and-swap: a manifest whose
// Previous is not the hash of the head is refused with an error wrapping [ErrFork]
// if the chain has another manifest in its place, and with [ErrGap] otherwise. A
// manifest that the chain has already is skipped, but for the names of segments
// that were dropped. Segments must have been put; an
// error wrapping [ErrNotFound] says that one is missing. A manifest that is not the
// last of its class in the call may come without segments.
func (s *Store) AdvanceHeads(ctx context.Context, heads ...Head) error {
	return s.advance(ctx, heads, nil)
}

func (s *Store) advance(ctx context.Context, heads []Head, then func(*tx) error) error {
	if len(heads) == 0 {
		return fmt.Errorf("%w: no manifests", ErrInvalid)
	}
	for i := range heads {
		h := &heads[i]
		if h.Side != Published && h.Side != Accepted || h.Peer == "" || h.Class == "" || h.Version == 0 ||
			h.Side != heads[0].Side || h.Peer != heads[0].Peer || h.Collection != heads[0].Collection ||
			h.Version == 1 && h.Previous != [32]byte{} {
			return fmt.Errorf("%w: manifest %d", ErrInvalid, i)
		}
	}
	s.segments.RLock()
	defer s.segments.RUnlock()
	for i := range heads {
		for _, hash := range heads[i].Segments {
			if !s.HasSegment(hash) {
				return fmt.Errorf("%w: segment of manifest %d", ErrNotFound, i)
			}
		}
	}
	var fork *Head
	err := s.gateway.write(ctx, "advancing a head", func(t *tx) error {
		at := make(map[string]uint64)
		for i := range heads {
			h := &heads[i]
			version, err := t.advance(h)
			if errors.Is(err, ErrFork) {
				fork = h
			}
			if err != nil {
				return err
			}
			at[h.Class] = version
		}
		for _, v := range at {
			if v != at[heads[0].Class] {
				return fmt.Errorf("%w: classes at different list versions", ErrGap)
			}
		}
		if then != nil {
			return then(t)
		}
		return nil
	})
	if fork != nil {
		// The transaction is undone, but the evidence must stay.
		err = errors.Join(err, s.gateway.write(ctx, "keeping a fork", func(t *tx) error {
			return t.exec(`INSERT INTO forks (side, peer, collection, class, version, hash, manifest, seen)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
				append(fork.chain(), int64(fork.Version), fork.Hash[:], bytesOf(fork.Manifest), millis(fork.Created))...)
		}))
	}
	return err
}

// chain returns the columns that name a chain.
func (h *Head) chain() []any { return []any{int64(h.Side), h.Peer, h.Collection, h.Class} }

// advance appends one manifest and returns the version of its chain then.
func (t *tx) advance(h *Head) (uint64, error) {
	var version int64
	var hash []byte
	err := t.row(`SELECT version, hash FROM manifests WHERE side = $1 AND peer = $2 AND collection = $3 AND class = $4
		ORDER BY version DESC LIMIT 1`, h.chain(), &version, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	if uint64(version) >= h.Version {
		var same int64
		if err := t.row(`SELECT COUNT(*) FROM manifests WHERE side = $1 AND peer = $2 AND collection = $3 AND class = $4
			AND version = $5 AND hash = $6`, append(h.chain(), int64(h.Version), h.Hash[:]), &same); err != nil {
			return 0, err
		}
		if same == 0 {
			return 0, ErrFork
		}
		// The segments may have been dropped since, see DropSets.
		return uint64(version), t.putSegments(h)
	}
	// A class that was added later has its first manifest at a later version.
	first := version == 0 && h.Previous == [32]byte{}
	if h.Version != uint64(version)+1 && !first {
		return 0, fmt.Errorf("%w: version %d after %d", ErrGap, h.Version, version)
	}
	if version > 0 && string(hash) != string(h.Previous[:]) {
		// Its predecessor is another manifest of the version we have.
		return 0, ErrFork
	}
	if err := t.exec(`INSERT INTO manifests (side, peer, collection, class, version, epoch, hash, previous, manifest, proof, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		append(h.chain(), int64(h.Version), int64(h.Epoch), h.Hash[:], h.Previous[:], bytesOf(h.Manifest), h.Proof,
			millis(h.Created))...); err != nil {
		return 0, err
	}
	return h.Version, t.putSegments(h)
}

// putSegments names the segments of a manifest.
func (t *tx) putSegments(h *Head) error {
	for i := range h.Segments {
		if err := t.exec(`INSERT INTO segments (side, peer, collection, class, version, position, hash)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
			append(h.chain(), int64(h.Version), int64(i), h.Segments[i][:])...); err != nil {
			return err
		}
	}
	return nil
}

// Heads returns the last manifest of each class at the newest list version, by
// class. A class that is not part of that version any more is left out. There are
// none if nothing was published or accepted.
func (s *Store) Heads(ctx context.Context, side Side, peer, collection string) ([]Head, error) {
	return s.manifests(ctx, `version = (SELECT MAX(version) FROM manifests
		WHERE side = $1 AND peer = $2 AND collection = $3)`, []any{int64(side), peer, collection})
}

// HeadsAt returns the manifests of one list version, by class.
func (s *Store) HeadsAt(ctx context.Context, side Side, peer, collection string, version uint64) ([]Head, error) {
	return s.manifests(ctx, "version = $4", []any{int64(side), peer, collection, int64(version)})
}

// Manifests returns the chain of one class after a version, oldest first and at
// most limit: what a peer lacks that has that version.
func (s *Store) Manifests(ctx context.Context, side Side, peer, collection, class string, after uint64, limit int) ([]Head, error) {
	return s.manifests(ctx, "class = $4 AND version > $5 AND version <= $6",
		[]any{int64(side), peer, collection, class, int64(after), int64(after) + int64(max(0, limit))})
}

func (s *Store) manifests(ctx context.Context, condition string, args []any) ([]Head, error) {
	var all []Head
	err := s.gateway.each(ctx, "reading manifests",
		`SELECT side, peer, collection, class, version, epoch, hash, previous, manifest, proof, created FROM manifests
		WHERE side = $1 AND peer = $2 AND collection = $3 AND `+condition+` ORDER BY class, version`, args,
		func(scan func(...any) error) error {
			var h Head
			var version, epoch, created int64
			var hash, previous []byte
			if err := scan(&h.Side, &h.Peer, &h.Collection, &h.Class, &version, &epoch, &hash, &previous, &h.Manifest, &h.Proof,
				&created); err != nil {
				return err
			}
			h.Version, h.Epoch, h.Created = uint64(version), uint32(epoch), moment(created)
			if err := fixed(h.Hash[:], hash); err != nil {
				return err
			}
			if err := fixed(h.Previous[:], previous); err != nil {
				return err
			}
			all = append(all, h)
			return nil
		})
	if err != nil {
		return nil, err
	}
	for i := range all {
		h := &all[i]
		err := s.gateway.each(ctx, "reading segments",
			`SELECT hash FROM segments WHERE side = $1 AND peer = $2 AND collection = $3 AND class = $4 AND version = $5
			ORDER BY position`, append(h.chain(), int64(h.Version)), func(scan func(...any) error) error {
				var b []byte
				var hash [32]byte
				if err := scan(&b); err != nil {
					return err
				}
				if err := fixed(hash[:], b); err != nil {
					return err
				}
				h.Segments = append(h.Segments, hash)
				return nil
			})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// SetProof keeps the inclusion proof of a manifest, or returns an error wrapping
// [ErrNotFound].
func (s *Store) SetProof(ctx context.Context, side Side, peer, collection, class string, hash [32]byte, proof []byte) error {
	return s.gateway.write(ctx, "putting a proof", func(t *tx) error {
		n, err := t.changed(`UPDATE manifests SET proof = $6 WHERE side = $1 AND peer = $2 AND collection = $3 AND class = $4
			AND hash = $5`, int64(side), peer, collection, class, hash[:], proof)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: manifest", ErrNotFound)
		}
		return err
	})
}

// A Fork is a manifest that was refused because the chain has another in its
// place.
type Fork struct {
	Side       Side
	Peer       string
	Collection string
	Class      string
	Version    uint64
	Hash       [32]byte
	Manifest   []byte
	Seen       time.Time
}

// Forks returns the evidence of forks, oldest first.
func (s *Store) Forks(ctx context.Context) ([]Fork, error) {
	var all []Fork
	err := s.gateway.each(ctx, "reading forks",
		"SELECT side, peer, collection, class, version, hash, manifest, seen FROM forks ORDER BY seen, hash", nil,
		func(scan func(...any) error) error {
			var f Fork
			var version, seen int64
			var hash []byte
			if err := scan(&f.Side, &f.Peer, &f.Collection, &f.Class, &version, &hash, &f.Manifest, &seen); err != nil {
				return err
			}
			f.Version, f.Seen = uint64(version), moment(seen)
			if err := fixed(f.Hash[:], hash); err != nil {
				return err
			}
			all = append(all, f)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// PruneSegments forgets the segments of versions before the given one, and leaves
// their manifests, which are needed to recognise a fork.
func (s *Store) PruneSegments(ctx context.Context, side Side, peer, collection string, before uint64) error {
	return s.gateway.write(ctx, "pruning segments", func(t *tx) error {
		return t.exec("DELETE FROM segments WHERE side = $1 AND peer = $2 AND collection = $3 AND version < $4",
			int64(side), peer, collection, int64(before))
	})
}

// DropSets deletes the segments of a collection, or of all collections of the peer
// if collection is empty, with their files: the end of an agreement or of a
// federation. It returns the hashes of the segments that are gone, for a purge
// receipt. Manifests stay, so that the chain cannot begin anew with other content.
func (s *Store) DropSets(ctx context.Context, side Side, peer, collection string) ([][32]byte, error) {
	s.segments.Lock()
	defer s.segments.Unlock()
	var dropped [][32]byte
	err := s.gateway.write(ctx, "dropping sets", func(t *tx) error {
		args := []any{int64(side), peer, collection}
		const these = " FROM segments WHERE side = $1 AND peer = $2 AND (collection = $3 OR $3 = '')"
		err := t.rows("SELECT DISTINCT hash"+these+" ORDER BY hash", args, func(scan func(...any) error) error {
			var b []byte
			var hash [32]byte
			if err := scan(&b); err != nil {
				return err
			}
			dropped = append(dropped, hash)
			return fixed(dropped[len(dropped)-1][:], b)
		})
		if err != nil {
			return err
		}
		if err := t.exec("DELETE"+these, args...); err != nil {
			return err
		}
		return t.exec("DELETE FROM synced WHERE peer = $2 AND (collection = $3 OR $3 = '') AND $1 = 2", args...)
	})
	if err != nil {
		return nil, err
	}
	named, err := s.segmentHashes(ctx)
	if err != nil {
		return nil, err
	}
	for _, hash := range dropped {
		if !named[hash] {
			if err := s.removeSegment(hash); err != nil {
				return nil, err
			}
		}
	}
	return dropped, nil
}

// A Publication says from what the set of one peer was last built, so that the
// holder knows when to build it again.
type Publication struct {
	Peer              string
	Collection        string
	Version           uint64 // list version
	Epoch             uint32
	CollectionVersion uint64
	Agreement         [32]byte         // digest
	Bundle            [32]byte         // digest of the policy bundle that decided at "publish"
	Records           int64            // published
	Withheld          int64            // not published
	WithheldBy        map[string]int64 // of those, by the id of each rule that left them out; nil for none
	Created           time.Time
}

// PutPublished advances the heads of a published set and keeps from what it was
// built, in one transaction. See [Store.AdvanceHeads] for the errors.
func (s *Store) PutPublished(ctx context.Context, p Publication, heads ...Head) error {
	for i := range heads {
		if heads[i].Side != Published || heads[i].Peer != p.Peer || heads[i].Collection != p.Collection {
			return fmt.Errorf("%w: manifest %d is not of the publication", ErrInvalid, i)
		}
	}
	by := []byte("{}")
	if len(p.WithheldBy) > 0 {
		var err error
		if by, err = json.Marshal(p.WithheldBy); err != nil {
			return fmt.Errorf("%w: counts by rule", ErrInvalid)
		}
	}
	return s.advance(ctx, heads, func(t *tx) error {
		return t.exec(`INSERT INTO published (peer, collection, version, epoch, collection_version, agreement, bundle, records,
				withheld, created, withheld_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT (peer, collection) DO UPDATE SET version = excluded.version, epoch = excluded.epoch,
				collection_version = excluded.collection_version, agreement = excluded.agreement, bundle = excluded.bundle,
				records = excluded.records, withheld = excluded.withheld, created = excluded.created,
				withheld_by = excluded.withheld_by`,
			p.Peer, p.Collection, int64(p.Version), int64(p.Epoch), int64(p.CollectionVersion), p.Agreement[:], p.Bundle[:],
			p.Records, p.Withheld, millis(p.Created), string(by))
	})
}

// Published returns from what the set of a peer was last built, or an error
// wrapping [ErrNotFound].
func (s *Store) Published(ctx context.Context, peer, collection string) (Publication, error) {
	p := Publication{Peer: peer, Collection: collection}
	var version, epoch, collectionVersion, created int64
	var agreement, bundle []byte
	var by string
	err := s.gateway.get(ctx, "reading a publication", `SELECT version, epoch, collection_version, agreement, bundle, records,
		withheld, created, withheld_by FROM published WHERE peer = $1 AND collection = $2`, []any{peer, collection},
		&version, &epoch, &collectionVersion, &agreement, &bundle, &p.Records, &p.Withheld, &created, &by)
	if err == nil {
		err = outside(errors.Join(fixed(p.Agreement[:], agreement), fixed(p.Bundle[:], bundle)))
	}
	if err != nil {
		return Publication{}, err
	}
	if by != "{}" && json.Unmarshal([]byte(by), &p.WithheldBy) != nil {
		return Publication{}, fmt.Errorf("%w: counts by rule", ErrStorage)
	}
	p.Version, p.Epoch, p.CollectionVersion, p.Created =
		uint64(version), uint32(epoch), uint64(collectionVersion), moment(created)
	return p, nil
}

// A Sync says that at a time the holder's newest list version was the one we had.
type Sync struct {
	Peer       string
	Collection string
	Version    uint64
	At         time.Time
}

// PutSynced keeps the time of a successful synchronisation, from which the age of
// our copy is counted. It never goes back.
func (s *Store) PutSynced(ctx context.Context, y Sync) error {
	return s.gateway.write(ctx, "putting a sync", func(t *tx) error {
		return t.exec(`INSERT INTO synced (peer, collection, version, at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (peer, collection) DO UPDATE SET version = excluded.version, at = excluded.at
			WHERE synced.at <= excluded.at`, y.Peer, y.Collection, int64(y.Version), millis(y.At))
	})
}

// Synced returns the last synchronisation of a collection, or an error wrapping
// [ErrNotFound].
func (s *Store) Synced(ctx context.Context, peer, collection string) (Sync, error) {
	y := Sync{Peer: peer, Collection: collection}
	var version, at int64
	err := s.gateway.get(ctx, "reading a sync", "SELECT version, at FROM synced WHERE peer = $1 AND collection = $2",
		[]any{peer, collection}, &version, &at)
	if err != nil {
		return Sync{}, err
	}
	y.Version, y.At = uint64(version), moment(at)
	return y, nil
}

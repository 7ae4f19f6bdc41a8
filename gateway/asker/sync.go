package asker

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
)

// errSync is the cause of every refusal of what a holder sent.
var errSync = errors.New("asker: what the holder sent does not verify")

// A SyncResult says what became of the copy of one collection. It holds counts and
// no content.
type SyncResult struct {
	Holder, Collection string
	From, To           uint64         // list versions; 0 is none
	Tags               uint64         // in all classes, decoys included
	Bytes              uint64         // of segments that were received
	Refusal            *query.Refusal // why it failed; the old copy stays in use until it ends
}

// SyncProgress is told how many bytes of the segments have come, of how many. It
// may be nil. Calls do not overlap.
type SyncProgress func(holder, collection string, done, total uint64)

// Sync brings our copies of the neighbours' tag sets up to date: of one holder,
// or of all if holder is empty, and likewise for the collection. It reports every
// one, also those that failed, in the order of the agreements. What had verified
// when ctx ends stays; the rest fails.
func (a *Asker) Sync(ctx context.Context, holder, collection string, progress SyncProgress) []SyncResult {
	var results []SyncResult
	seen := make(map[[2]string]bool)
	now := a.Now()
	for _, info := range a.Agreements.List(now) {
		other, err := info.Agreement.Other(a.TrustDomain)
		if err != nil || holder != "" && other.TrustDomain != holder {
			continue
		}
		for _, c := range info.Agreement.Held(other.TrustDomain) {
			if seen[[2]string{c.Holder, c.Name}] || collection != "" && c.Name != collection {
				continue
			}
			seen[[2]string{c.Holder, c.Name}] = true
			r := SyncResult{Holder: c.Holder, Collection: c.Name}
			if err := a.sync(ctx, &r, now, progress); err != nil {
				refusal, ok := errors.AsType[*query.Refusal](err)
				if !ok {
					refusal = query.Refuse(query.Internal, err)
				}
				r.Refusal = refusal
				a.log.WarnContext(ctx, "synchronisation failed", "peer", c.Holder, "collection", c.Name,
					"reason", string(refusal.Reason), "err", err)
			}
			results = append(results, r)
		}
	}
	return results
}

// sync brings one copy up to date. Nothing is taken into use before everything
// has verified:
//
//   - every manifest is signed by the holder's pinned key, and continues the chain
//     of the one we have: a holder that shows two different sets is caught here,
//     and the second one is kept as evidence;
//   - the hash of every manifest is an entry of the holder's log, under one
//     checkpoint that extends the last one we have seen;
//   - every segment has the hash that its manifest says;
//   - the acceptance is in our own shared log.
func (a *Asker) sync(ctx context.Context, r *SyncResult, now time.Time, progress SyncProgress) error {
	agreed, digest, err := a.Agreements.For(r.Holder, r.Collection, now)
	if err != nil {
		return query.Refuse(facts.AgreementReason(err), err)
	}
	c, err := agreed.Collection(r.Holder, r.Collection)
	if err != nil {
		return query.Refuse(query.AgreementUnknown, err)
	}
	if !a.Directory.Active(r.Holder) {
		return query.Refuse(query.UnknownPeer, nil)
	}
	n, err := a.Directory.Neighbour(r.Holder)
	if err != nil {
		return query.Refuse(query.Unreachable, err)
	}
	key, err := a.Directory.StatementKey(r.Holder)
	if err != nil {
		return query.Refuse(query.UnknownPeer, err)
	}
	log, err := a.followed(ctx, r.Holder)
	if err != nil {
		return err
	}
	s := &syncing{a: a, r: r, agreement: agreed, digest: digest, c: c, key: key, log: log, now: now, progress: progress}
	if s.held, err = a.Store.Heads(ctx, store.Accepted, r.Holder, r.Collection); err != nil {
		return query.Refuse(query.StorageUnavailable, err)
	}
	req := query.SyncRequest{Agreement: agreed.ID, AgreementDigest: digest, Collection: r.Collection, FromLogSize: log.seen.Size}
	if len(s.held) > 0 {
		r.From = s.held[0].Version
		req.FromVersion = r.From
	}
	for i := range s.held {
		req.Held = append(req.Held, s.held[i].Segments...)
	}
	if err := n.SyncTagSet(ctx, req, func(h *query.SyncHeader) error { return s.header(ctx, h) },
		func(part query.Segment) error { return s.segment(ctx, part) }); err != nil {
		return err
	}
	return s.accept(ctx)
}

// A followed is a holder's log as far as we have seen it.
type followed struct {
	verifier note.Verifier
	seen     store.Checkpoint // of size 0 if we have seen nothing
}

// followed returns what we have seen of a holder's log.
func (a *Asker) followed(ctx context.Context, holder string) (*followed, error) {
	key, err := a.Directory.LogKey(holder)
	if err != nil {
		return nil, query.Refuse(query.UnknownPeer, err)
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, query.Refuse(query.Internal, err)
	}
	f := &followed{verifier: verifier}
	f.seen, err = a.Store.FollowedCheckpoint(ctx, verifier.Name())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, query.Refuse(query.StorageUnavailable, err)
	}
	return f, nil
}

// advance verifies that a checkpoint extends what we have seen, and keeps it: a
// fork, a rollback or a restored backup of the holder's log is caught here.
func (a *Asker) advance(ctx context.Context, f *followed, p *query.CheckpointProof, now time.Time) error {
	state, c, err := audit.NewFollower(f.verifier).Advance(f.seen.Bytes, p.Checkpoint, p.Consistency)
	if err != nil {
		return invalid("%w", err)
	}
	if c.Size == f.seen.Size {
		return nil
	}
	next := store.Checkpoint{Origin: c.Origin, Size: c.Size, Root: c.Root, Bytes: state, At: now}
	switch err := a.Store.PutCheckpoint(ctx, f.seen.Size, next); {
	case errors.Is(err, store.ErrRollback):
		return invalid("%w", err)
	case err != nil && !errors.Is(err, store.ErrState): // another replica has seen more
		return query.Refuse(query.StorageUnavailable, err)
	}
	f.seen = next
	return nil
}

// A syncing is one synchronisation on its way.
type syncing struct {
	a         *Asker
	r         *SyncResult
	agreement *agreement.Agreement
	digest    agreement.Digest
	c         *agreement.Collection
	key       ed25519.PublicKey
	log       *followed
	now       time.Time
	progress  SyncProgress

	held   []store.Head
	heads  []store.Head   // to append, oldest first in each class
	newest []psi.Manifest // in class order
	part   []byte         // the segment that is coming
	total  uint64
}

// invalid returns the refusal for something that does not verify.
func invalid(format string, args ...any) error {
	return query.Refuse(query.PeerInvalid, fmt.Errorf("%w: %w", errSync, fmt.Errorf(format, args...)))
}

// header verifies everything by which the segments will be judged.
func (s *syncing) header(ctx context.Context, h *query.SyncHeader) error {
	if s.newest != nil {
		return invalid("two headers")
	}
	// The holder's log must extend what we have seen of it.
	if err := s.a.advance(ctx, s.log, &h.Checkpoint, s.now); err != nil {
		return err
	}
	if len(h.Classes) != len(s.c.Classes) || h.ListVersion < s.r.From {
		return invalid("classes or version of the list")
	}
	for i, class := range s.c.Classes {
		if h.Classes[i].Class != class {
			return invalid("classes are not those of the agreement")
		}
		m, err := s.chain(ctx, class, h.Classes[i].Manifests, h.Checkpoint.Checkpoint)
		if err != nil {
			return err
		}
		if m.Version != h.ListVersion {
			return invalid("class %s ends at version %d of %d", class, m.Version, h.ListVersion)
		}
		if err := m.CheckAge(s.now, time.Duration(s.c.MaxAge)+maxManifestLife); err != nil {
			return invalid("%w", err)
		}
		s.newest = append(s.newest, *m)
		s.r.Tags += uint64(m.Count)
		for _, segment := range m.Segments {
			if !s.a.Store.HasSegment(segment.Hash) {
				s.total += segment.Size
			}
		}
	}
	for i := range s.newest {
		if s.newest[i].PublicKey != s.newest[0].PublicKey || s.newest[i].Info.Epoch != s.newest[0].Info.Epoch {
			return invalid("two keys in one version of the list")
		}
	}
	s.r.To = h.ListVersion
	return nil
}

// maxManifestLife bounds how long a holder may say that a manifest is valid.
const maxManifestLife = 8 * 24 * time.Hour

// chain verifies the manifests of one class and returns the newest, which is the
// one we have if there is no newer.
func (s *syncing) chain(ctx context.Context, class string, manifests []query.PublishedManifest, checkpoint []byte) (*psi.Manifest, error) {
	var prev *psi.Manifest
	for i := range s.held {
		if s.held[i].Class == class {
			signed, err := psi.CheckManifest(s.held[i].Manifest, s.key)
			if err != nil {
				return nil, query.Refuse(query.StorageUnavailable, err)
			}
			prev = &signed.Manifest
		}
	}
	for i := range manifests {
		signed, err := psi.CheckManifest(manifests[i].Signed, s.key)
		if err != nil {
			return nil, invalid("manifest of class %s: %w", class, err)
		}
		m := &signed.Manifest
		if err := s.isOurs(class, m); err != nil {
			return nil, err
		}
		if err := s.proved(m, &manifests[i].Proof, checkpoint); err != nil {
			return nil, err
		}
		if err := psi.CheckSuccessor(prev, m); err != nil {
			return nil, s.fork(ctx, m, manifests[i].Signed, err)
		}
		if prev == nil {
			if err := s.pinned(m); err != nil {
				return nil, err
			}
		}
		head := store.Head{Side: store.Accepted, Peer: s.r.Holder, Collection: s.c.Name, Class: class, Version: m.Version,
			Epoch: m.Info.Epoch, Hash: m.Hash(), Previous: m.Previous, Manifest: manifests[i].Signed,
			Proof: manifests[i].Proof.Proof, Created: m.Created}
		s.heads = append(s.heads, head)
		prev = m
	}
	if prev == nil {
		return nil, invalid("class %s has no manifest", class)
	}
	return prev, nil
}

// isOurs checks that m was made for us, for this collection and class, and with
// the key that the agreement pins for the first epoch.
func (s *syncing) isOurs(class string, m *psi.Manifest) error {
	want := psi.Info{Protocol: query.Protocol, Holder: s.r.Holder, Asker: s.a.TrustDomain, Collection: s.c.Name, Class: class,
		Normalisation: record.Version, Epoch: m.Info.Epoch}
	if m.Info != want {
		return invalid("manifest of class %s was made for something else", class)
	}
	if int64(m.Count) > s.c.MaxTags() {
		return invalid("class %s has more tags than the agreement permits", class)
	}
	return nil
}

// pinned checks the first manifest of a chain: the first version of the list has
// the key that the agreement pins. A class that was added later begins with the
// key of the other classes, to which header compares it.
func (s *syncing) pinned(m *psi.Manifest) error {
	if m.Version > 1 && len(s.held) > 0 {
		return nil
	}
	if m.Version != 1 || fmt.Sprintf("%x", m.PublicKey) != s.c.KeyCommitment {
		return invalid("the first key is not the one in the agreement")
	}
	return nil
}

// proved checks that the hash of m is an entry of the holder's log, under the
// given checkpoint.
func (s *syncing) proved(m *psi.Manifest, p *query.LogProof, checkpoint []byte) error {
	if _, _, err := entry.CheckProof(p.Entry, p.Proof, s.log.verifier); err != nil {
		return invalid("proof of a manifest: %w", err)
	}
	if !bytes.HasSuffix(p.Proof, checkpoint) {
		return invalid("proof of a manifest is not under the checkpoint")
	}
	e, err := entry.ParseEntry(p.Entry)
	if err != nil {
		return invalid("entry of a manifest: %w", err)
	}
	if e.Kind != entry.KindManifestPublished || e.Subject != m.Hash() || e.Collection != s.c.Name || e.ListVersion != m.Version ||
		e.Asker != s.a.Gateway {
		return invalid("entry of a manifest is about something else")
	}
	return nil
}

// fork reports a manifest that does not continue the chain. Storing it keeps it as
// evidence, because it is signed, also if the operator has gone away meanwhile.
func (s *syncing) fork(ctx context.Context, m *psi.Manifest, signed []byte, cause error) error {
	err := s.a.Store.AdvanceHeads(context.WithoutCancel(ctx), store.Head{Side: store.Accepted, Peer: s.r.Holder,
		Collection: s.c.Name, Class: m.Info.Class, Version: m.Version, Epoch: m.Info.Epoch, Hash: m.Hash(),
		Previous: m.Previous, Manifest: signed, Created: m.Created})
	return invalid("%w", errors.Join(cause, err))
}

// segment takes one part of a segment. Parts come in order; a segment is stored
// when it is whole and has the hash of its manifest.
func (s *syncing) segment(ctx context.Context, part query.Segment) error {
	if s.newest == nil {
		return invalid("segment before the header")
	}
	i := slices.Index(s.c.Classes, part.Class)
	if i < 0 || int(part.Index) >= len(s.newest[i].Segments) {
		return invalid("segment of no manifest")
	}
	want := &s.newest[i].Segments[part.Index]
	if part.Offset != uint64(len(s.part)) || uint64(len(s.part)+len(part.Data)) > want.Size || len(part.Data) == 0 {
		return invalid("segment out of order")
	}
	if s.part == nil {
		s.part = make([]byte, 0, want.Size)
	}
	s.part = append(s.part, part.Data...)
	s.r.Bytes += uint64(len(part.Data))
	if s.progress != nil {
		s.progress(s.r.Holder, s.r.Collection, s.r.Bytes, s.total)
	}
	if uint64(len(s.part)) < want.Size {
		return nil
	}
	if sha256.Sum256(s.part) != want.Hash {
		return invalid("segment has another hash")
	}
	if _, err := s.a.Store.PutSegment(ctx, s.part); err != nil {
		return query.Refuse(query.StorageUnavailable, err)
	}
	s.part = nil
	return nil
}

// accept takes the list into use: first the sets are opened, which verifies them
// whole, then the acceptance is logged, then the heads advance together.
func (s *syncing) accept(ctx context.Context) error {
	if s.newest == nil || s.part != nil {
		return invalid("the stream ended early")
	}
	// What was ended while the stream was open is not taken into use.
	if !s.a.Directory.Active(s.r.Holder) {
		return query.Refuse(query.UnknownPeer, nil)
	}
	confirm := store.Sync{Peer: s.r.Holder, Collection: s.c.Name, Version: s.r.To, At: s.now}
	if len(s.heads) == 0 && s.complete() {
		if err := s.a.Store.PutSynced(ctx, confirm); err != nil {
			return query.Refuse(query.StorageUnavailable, err)
		}
		s.a.Library.confirm(s.r.Holder, s.c.Name, s.now)
		return nil
	}
	for i := range s.newest {
		m := &s.newest[i]
		var hashes [][32]byte
		for _, segment := range m.Segments {
			hashes = append(hashes, segment.Hash)
		}
		_, mappings, err := openSet(ctx, s.a.Store, m, hashes)
		if err != nil {
			return invalid("%w", err)
		}
		closeAll(mappings)
		s.head(m).Segments = hashes
		if _, err := s.a.Shared.Append(ctx, &entry.Entry{
			Kind: entry.KindManifestAccepted, Time: s.a.Now().UnixMilli(), Asker: s.a.Gateway, Holder: s.holder(),
			Agreement: s.agreement.ID, AgreementDigest: s.digest, Collection: s.c.Name, Protocol: query.Protocol,
			Normalisation: record.Version, ListVersion: m.Version, Subject: m.Hash(),
		}); err != nil {
			return query.Refuse(query.AuditUnavailable, err)
		}
	}
	switch err := s.a.Store.AdvanceHeads(ctx, s.heads...); {
	case errors.Is(err, store.ErrFork):
		return invalid("%w", err)
	case err != nil:
		return query.Refuse(query.StorageUnavailable, err)
	}
	if err := s.a.Store.PutSynced(ctx, confirm); err != nil {
		return query.Refuse(query.StorageUnavailable, err)
	}
	if _, err := s.a.Library.Load(ctx, s.r.Holder, s.c, s.key); err != nil {
		return query.Refuse(query.StorageUnavailable, err)
	}
	if !s.a.Directory.Active(s.r.Holder) {
		// It ended just now, and its lists were dropped before ours came.
		s.a.Library.Drop(s.r.Holder)
		if _, err := s.a.Store.DropSets(ctx, store.Accepted, s.r.Holder, ""); err != nil {
			return query.Refuse(query.StorageUnavailable, err)
		}
		return query.Refuse(query.UnknownPeer, nil)
	}
	// Older versions are not matched against any more.
	if err := s.a.Store.PruneSegments(ctx, store.Accepted, s.r.Holder, s.c.Name, s.r.To); err != nil {
		return query.Refuse(query.StorageUnavailable, err)
	}
	return nil
}

// complete reports whether we have the segments of the version we have: they are
// dropped when a federation ends, and the manifests are not.
func (s *syncing) complete() bool {
	for i := range s.held {
		if len(s.held[i].Segments) == 0 {
			return false
		}
	}
	return len(s.held) > 0
}

// head returns the head of a newest manifest, which may be one that we had.
func (s *syncing) head(m *psi.Manifest) *store.Head {
	hash := m.Hash()
	for i := range s.heads {
		if s.heads[i].Hash == hash {
			return &s.heads[i]
		}
	}
	for i := range s.held {
		if s.held[i].Hash == hash {
			s.heads = append(s.heads, s.held[i])
		}
	}
	return &s.heads[len(s.heads)-1]
}

// holder returns the SPIFFE ID of the holder's gateway.
func (s *syncing) holder() string {
	if p, err := s.agreement.Party(s.r.Holder); err == nil {
		return p.Gateway
	}
	return ""
}

// Load takes every list that was accepted before into use, as at a start of the
// gateway. A list that cannot be opened is reported and left out: nothing is
// matched against it until it is synchronised again.
func (a *Asker) Load(ctx context.Context) error {
	var errs []error
	for _, info := range a.Agreements.List(a.Now()) {
		other, err := info.Agreement.Other(a.TrustDomain)
		if err != nil || info.State != agreement.Active || !a.Directory.Active(other.TrustDomain) {
			continue
		}
		key, err := a.Directory.StatementKey(other.TrustDomain)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, c := range info.Agreement.Held(other.TrustDomain) {
			if _, err := a.Library.Load(ctx, c.Holder, &c, key); err != nil && !errors.Is(err, ErrList) {
				errs = append(errs, fmt.Errorf("asker: loading %s of %s: %w", c.Name, c.Holder, err))
			}
		}
	}
	return errors.Join(errs...)
}

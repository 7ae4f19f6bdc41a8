package holder

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
)

// Terms says what we have in common with the caller. It never names another
// country.
func (h *Holder) Terms(ctx context.Context, caller Caller) (*query.Terms, error) {
	if !h.Peers.Active(caller.TrustDomain) {
		return nil, query.Refuse(query.UnknownPeer, nil)
	}
	now := h.Now()
	t := &query.Terms{Protocols: []uint16{query.Protocol}, Normalisations: []uint16{record.Version}, Software: h.Software, Time: now}
	checkpoint, err := h.Shared.Checkpoint(ctx)
	if err != nil {
		return nil, query.Refuse(query.AuditUnavailable, err)
	}
	t.Checkpoint = checkpoint
	for _, info := range h.Agreements.List(now) {
		if other, err := info.Agreement.Other(h.TrustDomain); err != nil || other.TrustDomain != caller.TrustDomain {
			continue
		}
		at := query.AgreementTerms{Agreement: info.Agreement.ID, Digest: info.Digest, Status: facts.AgreementStatus(&info)}
		for _, c := range info.Agreement.Held(h.TrustDomain) {
			ct := query.CollectionTerms{Collection: c.Name}
			last, err := h.Store.Published(ctx, caller.TrustDomain, c.Name)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, query.Refuse(query.StorageUnavailable, err)
			}
			if err == nil {
				heads, err := h.heads(ctx, caller, c.Name, c.Classes)
				if err != nil {
					return nil, err
				}
				ct.ListVersion, ct.Published = last.Version, last.Created
				for _, head := range heads {
					ct.Heads = append(ct.Heads, query.ManifestHead{Class: head.Class, Epoch: head.Epoch, Hash: head.Hash})
				}
			}
			at.Collections = append(at.Collections, ct)
		}
		t.Agreements = append(t.Agreements, at)
	}
	return t, nil
}

// SyncTagSet sends the caller its tag sets of one collection: first the manifests
// with the proofs that they are in our log, then the segments it does not have.
// The sink is called in that order, and ends the call with its first error.
func (h *Holder) SyncTagSet(ctx context.Context, caller Caller, req query.SyncRequest,
	header func(*query.SyncHeader) error, segment func(query.Segment) error) error {
	if !h.Peers.Active(caller.TrustDomain) {
		return query.Refuse(query.UnknownPeer, nil)
	}
	a, err := h.Agreements.Check(caller.TrustDomain, req.Agreement, agreement.Digest(req.AgreementDigest), h.Now())
	if err != nil {
		return query.Refuse(facts.AgreementReason(err), err)
	}
	c, err := a.Collection(h.TrustDomain, req.Collection)
	if err != nil {
		return query.Refuse(query.AgreementUnknown, err)
	}
	heads, err := h.heads(ctx, caller, req.Collection, c.Classes)
	if err != nil {
		return err
	}
	if len(heads) == 0 {
		// The agreement is new. Its first version is made now, or waited for if it
		// is being made; later ones are made when something changes, never on demand.
		if _, err := h.Publish(ctx, caller.TrustDomain, req.Collection, nil); err != nil {
			return query.Refuse(query.NotFound, err)
		}
		if heads, err = h.heads(ctx, caller, req.Collection, c.Classes); err != nil {
			return err
		}
		if len(heads) == 0 { // the chain was pruned: there is nothing to show
			return query.Refuse(query.NotFound, errors.New("holder: nothing is published"))
		}
	}
	head, err := h.header(ctx, caller, req, heads)
	if err != nil {
		return err
	}
	if err := header(head); err != nil {
		return err
	}
	held := make(map[[32]byte]bool, len(req.Held))
	for _, hash := range req.Held {
		held[hash] = true
	}
	for _, class := range heads {
		for i, hash := range class.Segments {
			if held[hash] {
				continue
			}
			b, err := h.Store.Segment(ctx, hash)
			if err != nil {
				return query.Refuse(query.StorageUnavailable, err)
			}
			for offset := 0; offset < len(b); offset += segmentChunk {
				// A federation that ends stops a stream that is open.
				if !h.Peers.Active(caller.TrustDomain) {
					return query.Refuse(query.UnknownPeer, nil)
				}
				part := b[offset:min(offset+segmentChunk, len(b))]
				if err := segment(query.Segment{Class: class.Class, Index: uint32(i), Offset: uint64(offset), Data: part}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// segmentChunk is the size of a part of a segment in bytes.
const segmentChunk = 256 << 10

// heads returns the newest manifests for the caller, in the class order of the
// agreement.
func (h *Holder) heads(ctx context.Context, caller Caller, collection string, classes []string) ([]store.Head, error) {
	all, err := h.Store.Heads(ctx, store.Published, caller.TrustDomain, collection)
	if err != nil {
		return nil, query.Refuse(query.StorageUnavailable, err)
	}
	slices.SortFunc(all, func(a, b store.Head) int {
		return slices.Index(classes, a.Class) - slices.Index(classes, b.Class)
	})
	return all, nil
}

// header collects the manifests after the caller's version, all proved under one
// checkpoint that extends the one the caller has.
func (h *Holder) header(ctx context.Context, caller Caller, req query.SyncRequest, heads []store.Head) (*query.SyncHeader, error) {
	chains := make([][]store.Head, len(heads))
	last := uint64(0)
	for i := range heads {
		var err error
		chains[i], err = h.Store.Manifests(ctx, store.Published, caller.TrustDomain, req.Collection, heads[i].Class,
			req.FromVersion, maxChain)
		if err != nil {
			return nil, query.Refuse(query.StorageUnavailable, err)
		}
		if n := len(chains[i]); n == maxChain && chains[i][n-1].Version != heads[i].Version {
			return nil, query.Refuse(query.TooLarge, errors.New("holder: the asker is too far behind"))
		}
		for _, m := range chains[i] {
			last = max(last, binary.BigEndian.Uint64(m.Proof))
		}
	}
	// A manifest is not shown before a signed checkpoint covers it.
	if err := h.Shared.Await(ctx, last); err != nil {
		return nil, query.Refuse(query.AuditUnavailable, err)
	}
	// The checkpoint may advance between two proofs; then they are made again.
	for range 10 {
		out, same, err := h.proved(ctx, req, heads, chains)
		if err != nil || same {
			return out, err
		}
	}
	return nil, query.Refuse(query.Overloaded, nil)
}

// maxChain is how many versions an asker may be behind.
const maxChain = 4096

// proved makes the header, and reports whether all of its proofs are under its
// checkpoint.
func (h *Holder) proved(ctx context.Context, req query.SyncRequest, heads []store.Head, chains [][]store.Head) (*query.SyncHeader, bool, error) {
	checkpoint, err := h.checkpoint(ctx, req.FromLogSize)
	if err != nil {
		return nil, false, err
	}
	out := &query.SyncHeader{ListVersion: heads[0].Version, Checkpoint: *checkpoint}
	for i := range heads {
		chain := query.ManifestChain{Class: heads[i].Class}
		for _, m := range chains[i] {
			proof, err := h.prove(ctx, binary.BigEndian.Uint64(m.Proof))
			if err != nil {
				return nil, false, err
			}
			if !bytes.HasSuffix(proof.Proof, checkpoint.Checkpoint) {
				return nil, false, nil
			}
			chain.Manifests = append(chain.Manifests, query.PublishedManifest{Signed: m.Manifest, Proof: *proof})
		}
		out.Classes = append(out.Classes, chain)
	}
	return out, true, nil
}

// isOf reports whether the entry at index is about a query of the caller. It does
// not look at the agreement, of which an entry names only one that is known.
func (h *Holder) isOf(ctx context.Context, index uint64, caller Caller) (bool, error) {
	for e, err := range h.Shared.Entries(ctx, index, index+1) {
		if err != nil {
			return false, query.Refuse(query.AuditUnavailable, err)
		}
		return strings.HasPrefix(e.Entry.Asker, "spiffe://"+caller.TrustDomain+"/"), nil
	}
	return false, query.Refuse(query.AuditUnavailable, errMissing)
}

// errMissing is the cause of a refusal where the log lacks an entry that the store
// knows of.
var errMissing = errors.New("holder: an entry of the log is missing")

// prove returns the entry at index with its proof.
func (h *Holder) prove(ctx context.Context, index uint64) (*query.LogProof, error) {
	proof, err := h.Shared.ProveInclusion(ctx, index)
	if err != nil {
		return nil, query.Refuse(query.AuditUnavailable, err)
	}
	for e, err := range h.Shared.Entries(ctx, index, index+1) {
		if err != nil {
			return nil, query.Refuse(query.AuditUnavailable, err)
		}
		return &query.LogProof{Entry: e.Bytes, Proof: proof}, nil
	}
	return nil, query.Refuse(query.AuditUnavailable, errMissing)
}

// checkpoint returns the latest checkpoint and its consistency with size.
func (h *Holder) checkpoint(ctx context.Context, size uint64) (*query.CheckpointProof, error) {
	var b []byte
	published := h.Shared.Published()
	for before := published + 1; before != published; {
		before = published
		var err error
		if b, err = h.Shared.Checkpoint(ctx); err != nil {
			return nil, query.Refuse(query.AuditUnavailable, err)
		}
		published = h.Shared.Published() // the same, unless it advanced meanwhile
	}
	out := &query.CheckpointProof{Checkpoint: b}
	switch {
	case size > published:
		return nil, query.Refuse(query.Precondition, errors.New("holder: the caller has seen a larger log than ours"))
	case size > 0 && size < published:
		var err error
		if out.Consistency, err = h.Shared.ProveConsistency(ctx, size, published); err != nil {
			return nil, query.Refuse(query.AuditUnavailable, err)
		}
	}
	return out, nil
}

// Checkpoint returns the latest checkpoint of our shared log, and the proof that
// it extends the one of the given size.
func (h *Holder) Checkpoint(ctx context.Context, caller Caller, size uint64) (*query.CheckpointProof, error) {
	if !h.Peers.Active(caller.TrustDomain) {
		return nil, query.Refuse(query.UnknownPeer, nil)
	}
	return h.checkpoint(ctx, size)
}

// Prove proves that the decision about a query of the caller is in our shared
// log. It returns nil if no checkpoint covers it yet, and a refusal with
// [query.NotFound] for a query that is not the caller's.
func (h *Holder) Prove(ctx context.Context, caller Caller, agreementID string, id query.ID) (*query.LogProof, error) {
	if !h.Peers.Active(caller.TrustDomain) {
		return nil, query.Refuse(query.UnknownPeer, nil)
	}
	if _, err := h.Store.LookupQuery(ctx, store.QueryKey{Peer: caller.TrustDomain, Agreement: agreementID, ID: id}); err != nil {
		return nil, query.Refuse(query.NotFound, err)
	}
	leaves, err := h.Store.Leaves(ctx, id)
	if err != nil {
		return nil, query.Refuse(query.StorageUnavailable, err)
	}
	for _, leaf := range leaves {
		if leaf.Kind != entry.KindDecision.String() {
			continue
		}
		// Leaves are found by query id, which another neighbour may have taken too:
		// nobody is shown the entry of somebody else's query.
		theirs, err := h.isOf(ctx, leaf.Index, caller)
		if err != nil {
			return nil, err
		}
		if !theirs {
			continue
		}
		if leaf.Index >= h.Shared.Published() {
			return nil, nil
		}
		return h.prove(ctx, leaf.Index)
	}
	return nil, query.Refuse(query.NotFound, nil)
}

package inspect

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

// A Sealed is the sealed content of one query, and what [Open] and [Recompute]
// need beside the auditor's own key.
type Sealed struct {
	Query      query.ID
	Index      uint64 // of the entry that names the content, in the shared log
	Entry      []byte // its bytes
	Context    []byte // the fields of that entry to which the content is bound
	Ciphertext []byte
	Auditor    [8]byte   // key id of who can open it
	EraseBy    time.Time // zero for never
	Header     []byte    // of the request, see [query.ParseHeader]; nil if there is none

	// Officer is the SPIFFE ID of the officer whom the register has for the
	// pseudonym in the entry, and OfficerKey that officer's key at the time of the
	// entry. Empty if the register has none: the pseudonym key may have been erased.
	Officer    string
	OfficerKey ed25519.PublicKey
}

// Sealed returns the content that was sealed to the auditor before a query was
// asked: that of a query, or that with the given hash if id is zero. It returns a
// refusal with [query.Precondition] for content that was erased, and with
// [query.NotFound] if no entry names any.
func (i *Inspector) Sealed(ctx context.Context, r Reader, id query.ID, hash [32]byte) (*Sealed, error) {
	if id.IsZero() && hash == ([32]byte{}) {
		return nil, query.Refuse(query.Malformed, errors.New("inspect: neither query nor hash"))
	}
	if err := i.permit(ctx, r, readSealed, entry.Entry{Query: id, Sealed: hash}); err != nil {
		return nil, err
	}
	log := i.Shared.Log
	for x, err := range log.Entries(ctx, 0, log.Size()) {
		if err != nil {
			return nil, failed(err)
		}
		e := x.Entry
		if e.Kind != entry.KindIntent || e.Sealed == [32]byte{} || !id.IsZero() && e.Query != id ||
			hash != [32]byte{} && e.Sealed != hash {
			continue
		}
		s := &Sealed{Query: e.Query, Index: x.Index, Entry: x.Bytes, Auditor: e.Auditor}
		if s.Ciphertext, err = i.Store.Sealed(ctx, e.Sealed); errors.Is(err, store.ErrErased) {
			return nil, query.Refuse(query.Precondition, err)
		} else if err != nil {
			return nil, failed(err)
		}
		if s.EraseBy, err = i.Store.SealedExpiry(ctx, e.Sealed); err != nil {
			return nil, failed(err)
		}
		if s.Context, err = e.SealedContext(); err != nil {
			return nil, failed(err)
		}
		switch ask, err := i.Store.Ask(ctx, e.Query); {
		case err == nil:
			s.Header = ask.Header
		case !errors.Is(err, store.ErrNotFound):
			return nil, failed(err)
		}
		s.Officer, s.OfficerKey = i.officerOf(e)
		return s, nil
	}
	return nil, query.Refuse(query.NotFound, nil)
}

// officerOf returns the officer whom the register has for the pseudonym in e.
func (i *Inspector) officerOf(e *entry.Entry) (spiffeID string, key ed25519.PublicKey) {
	for _, o := range i.Officers.List() {
		if i.Pseudonym(o.ID) != e.Officer {
			continue
		}
		if then, ok := i.Officers.LookupAt(o.ID, time.UnixMilli(e.Time)); ok {
			return peer.ID{TrustDomain: i.TrustDomain, Kind: peer.KindOfficer, Name: o.ID}.String(), then.PublicKey
		}
	}
	return "", nil
}

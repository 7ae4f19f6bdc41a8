package inspect

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

// A Result says how a comparison came out.
type Result string

// The results. A finding is Different; Missing means that there was nothing to
// compare with.
const (
	Same      Result = "same"
	Different Result = "different"
	Missing   Result = "missing"
)

// A Check is one thing that was verified, or could not be.
type Check struct {
	Name     string // stable, such as "receipt_signature"
	Result   Result
	Sentence string // in words, without content
}

// A Shown is everything that a gateway has about one query.
type Shown struct {
	Query   query.ID
	Entries []Proven // of both logs, those of the shared log first
	Receipt []byte   // as signed by the holder; nil if there is none
	Inputs  []StoredInput
	Header  []byte   // of the request, see [query.ParseHeader]; nil if we did not ask
	Request [32]byte // digest of the request as we stored it; zero if there is none

	// HolderKey is the key that signs the receipt, nil if it is not known.
	HolderKey ed25519.PublicKey

	Checks []Check // what we could verify
}

// A StoredInput is the facts that a decision was made from, in codes.
type StoredInput struct {
	Digest [32]byte
	JSON   []byte
}

// Show returns everything that the logs and the store have about one query, and
// what can be verified of it here. An auditor verifies again elsewhere.
func (i *Inspector) Show(ctx context.Context, r Reader, id query.ID) (*Shown, error) {
	if err := i.permit(ctx, r, readShow, entry.Entry{Query: id}); err != nil {
		return nil, err
	}
	s := &Shown{Query: id}
	for _, which := range []Which{Shared, Internal} {
		log := i.logs[which]
		for x, err := range log.Log.Entries(ctx, 0, log.Log.Size()) {
			if err != nil {
				return nil, failed(err)
			}
			if x.Entry.Query != id || x.Entry.Kind == entry.KindRead {
				continue // who else looked is no part of the query
			}
			p, err := i.prove(ctx, log, i.row(ctx, which, x))
			if err != nil {
				return nil, err
			}
			s.Entries = append(s.Entries, p)
			s.Checks = append(s.Checks, log.included(p))
		}
	}
	if len(s.Entries) == 0 {
		return nil, query.Refuse(query.NotFound, nil)
	}
	if err := i.stored(ctx, s); err != nil {
		return nil, err
	}
	i.checkReceipt(s)
	i.checkHeader(s)
	return s, i.checkContent(ctx, s)
}

// included verifies the proof of an entry with the key of its log.
func (l source) included(p Proven) Check {
	c := Check{Name: "inclusion", Result: Missing,
		Sentence: fmt.Sprintf("Entry %d of the %s log is durable, and no checkpoint covers it yet.", p.Index, p.Log)}
	if p.Proof == nil {
		return c
	}
	if index, _, err := entry.CheckProof(p.Bytes, p.Proof, l.verifier); err != nil || index != p.Index {
		c.Result, c.Sentence = Different, fmt.Sprintf("The proof of entry %d of the %s log does not verify.", p.Index, p.Log)
		return c
	}
	c.Result, c.Sentence = Same, fmt.Sprintf("Entry %d of the %s log is covered by a signed checkpoint.", p.Index, p.Log)
	return c
}

// stored reads what the store has about the query.
func (i *Inspector) stored(ctx context.Context, s *Shown) error {
	ask, err := i.Store.Ask(ctx, s.Query)
	switch {
	case err == nil:
		s.Receipt, s.Header, s.Request = ask.Receipt, ask.Header, ask.RequestDigest
	case !errors.Is(err, store.ErrNotFound):
		return failed(err)
	}
	seen := make(map[[32]byte]bool)
	for _, p := range s.Entries {
		e := p.Entry
		if e.Input != [32]byte{} && !seen[e.Input] {
			seen[e.Input] = true
			b, err := i.Store.PolicyInput(ctx, e.Input)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return failed(err)
			}
			if err == nil {
				s.Inputs = append(s.Inputs, StoredInput{e.Input, b})
			}
			s.Checks = append(s.Checks, inputCheck(e, b))
		}
		if e.Direction == entry.DirectionAsked && s.HolderKey == nil {
			if key, err := i.Peers.StatementKey(trustDomain(e.Holder)); err == nil {
				s.HolderKey = key
			}
		}
		if e.Kind == entry.KindDecision && s.Receipt == nil {
			s.HolderKey = i.StatementKey
			k := store.QueryKey{Peer: trustDomain(e.Asker), Agreement: e.Agreement, ID: e.Query}
			state, err := i.Store.LookupQuery(ctx, k)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return failed(err)
			}
			if s.Request == [32]byte{} {
				s.Request = state.Digest
			}
			if answer, err := query.ParseAnswer(state.Answer); err == nil {
				s.Receipt = answer.Receipt
			}
		}
	}
	return nil
}

func inputCheck(e *entry.Entry, stored []byte) Check {
	c := Check{Name: "policy_input", Result: Missing, Sentence: "The facts of the decision are not stored any more."}
	switch {
	case stored == nil:
	case sha256.Sum256(stored) == e.Input:
		c.Result, c.Sentence = Same, "The stored facts are those that the "+e.Kind.String()+" entry names."
	default:
		c.Result, c.Sentence = Different, "The stored facts are not those that the "+e.Kind.String()+" entry names."
	}
	return c
}

// find returns the first entry of a kind in the shared log.
func (s *Shown) find(kind entry.Kind) *Proven {
	for j := range s.Entries {
		if s.Entries[j].Entry.Kind == kind && s.Entries[j].Log == Shared {
			return &s.Entries[j]
		}
	}
	return nil
}

// checkReceipt compares the holder's receipt with our entries and its key.
func (i *Inspector) checkReceipt(s *Shown) {
	add := func(name string, result Result, sentence string) {
		s.Checks = append(s.Checks, Check{name, result, sentence})
	}
	ours, decision := s.find(entry.KindReceipt), s.find(entry.KindDecision)
	if s.Receipt == nil {
		switch {
		case ours != nil:
			add("receipt", Different, "The log has the digest of a receipt, and the receipt itself is not stored.")
		case decision != nil && decision.Entry.Decision == entry.DecisionAllowed:
			add("receipt", Missing,
				"The receipt went to the asker with the answer, and was deleted here when the asker had verified it.")
		default:
			add("receipt", Missing, "There is no receipt: the query was not answered.")
		}
		return
	}
	receipt, err := entry.ParseReceipt(s.Receipt)
	if err != nil {
		add("receipt", Different, "The stored receipt is malformed.")
		return
	}
	switch {
	case s.HolderKey == nil:
		add("receipt_signature", Missing, "The key of the holder is not known here.")
	case receipt.CheckSignature(s.HolderKey) != nil:
		add("receipt_signature", Different, "The receipt is not signed with the holder's key.")
	default:
		add("receipt_signature", Same, "The receipt is signed with the holder's key.")
	}
	compare := func(name string, same bool, right, wrong string) {
		if same {
			add(name, Same, right)
		} else {
			add(name, Different, wrong)
		}
	}
	if ours != nil {
		compare("receipt_digest", entry.ReceiptDigest(s.Receipt) == ours.Entry.Receipt && receipt.Leaf == ours.Entry.PeerLeaf,
			"The receipt is the one that our log names.", "The receipt is not the one that our log names.")
		compare("receipt_request", receipt.Query == s.Query && receipt.Request == ours.Entry.Request &&
			receipt.Request == s.Request,
			"The holder signed for the same request that our log has.", "The holder signed for another request than our log has.")
	}
	if decision != nil { // there may be others, of a neighbour who took the same id
		same := slices.ContainsFunc(s.Entries, func(p Proven) bool {
			return p.Entry.Kind == entry.KindDecision && p.Leaf == receipt.Leaf && p.Entry.Request == receipt.Request
		})
		compare("receipt_request", receipt.Query == s.Query && same,
			"The receipt is about the request and the entry of our log.",
			"The receipt is about another request or entry than our log has.")
	}
}

// checkHeader compares the stored header of the request with the intent.
func (i *Inspector) checkHeader(s *Shown) {
	intent := s.find(entry.KindIntent)
	if intent == nil || intent.Entry.Decision != entry.DecisionAllowed {
		return
	}
	c := Check{Name: "request_header", Result: Missing, Sentence: "The header of the request is not stored."}
	if s.Header != nil {
		h, err := query.ParseHeader(s.Header)
		switch {
		case err != nil:
			c.Result, c.Sentence = Different, "The stored header of the request is malformed."
		case headerDiffers(h, intent.Bytes, intent.Entry) != "":
			c.Result, c.Sentence = Different, "The stored header of the request differs from the intent: "+
				headerDiffers(h, intent.Bytes, intent.Entry)+"."
		default:
			c.Result, c.Sentence = Same, "The stored header of the request is that of the intent."
		}
	}
	s.Checks = append(s.Checks, c)
}

// checkContent says whether the sealed content is still there.
func (i *Inspector) checkContent(ctx context.Context, s *Shown) error {
	for _, p := range s.Entries {
		if p.Entry.Sealed == [32]byte{} || p.Entry.Direction != entry.DirectionAsked {
			continue
		}
		c := Check{Name: "sealed", Result: Same, Sentence: "The sealed content is stored, and is the one that the log names."}
		_, err := i.Store.Sealed(ctx, p.Entry.Sealed)
		switch {
		case errors.Is(err, store.ErrErased):
			at, err := i.Store.ErasedAt(ctx, p.Entry.Sealed)
			if err != nil {
				return failed(err)
			}
			c.Result, c.Sentence = Missing, "The sealed content was erased at "+at.UTC().Format(time.RFC3339)+"."
		case errors.Is(err, store.ErrNotFound):
			c.Result, c.Sentence = Different, "The sealed content that the log names was never stored."
		case errors.Is(err, store.ErrStorage):
			c.Result, c.Sentence = Different, "The sealed content cannot be read, or is not the one that the log names."
		case err != nil:
			return failed(err)
		}
		s.Checks = append(s.Checks, c)
	}
	return nil
}

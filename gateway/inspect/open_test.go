package inspect_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/query"
)

// evidence returns what the gateway and the holder's auditor give for q.
func (w *world) evidence(q *asked) (*query.Content, inspect.Evidence) {
	w.t.Helper()
	s, err := w.inspector.Sealed(w.t.Context(), auditor, q.id, [32]byte{})
	ok(w.t, err)
	c, err := inspect.Open(w.identity, s.Ciphertext, s.Query, s.Entry)
	ok(w.t, err)
	header, err := query.ParseHeader(s.Header)
	ok(w.t, err)
	return c, inspect.Evidence{Intent: s.Entry, Header: header, Ours: []*entry.Entry{q.ours}, Theirs: q.decision,
		Receipt:   q.receipt,
		HolderKey: w.holder.Public().(ed25519.PublicKey), Officer: s.Officer, OfficerKey: s.OfficerKey}
}

// TestRecompute seals, opens and recomputes queries of all sizes: the digest is the
// one that both sides have.
func TestRecompute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, n := range []int{1, 3, 70, 1030} {
		q := w.ask(n, false)
		v := inspect.Recompute(w.evidence(q))
		if v.Result != inspect.Same || v.Digest != q.request.Digest() {
			t.Errorf("%d items: %s: %s", n, v.Result, v.Sentence)
		}
		for _, c := range v.Checks {
			if c.Result != inspect.Same {
				t.Errorf("%d items: %s is %s: %s", n, c.Name, c.Result, c.Sentence)
			}
		}
	}
}

// TestRecomputeTampered changes one thing at a time. Each must be found, and be
// named.
func TestRecomputeTampered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q, other := w.ask(3, false), w.ask(3, false)
	tests := []struct {
		name   string
		change func(*query.Content, *inspect.Evidence)
		want   string // the check that finds it
	}{
		{"key", func(c *query.Content, _ *inspect.Evidence) { c.Items[2].Keys[1] = []byte("somebody else") }, "our_log"},
		{"bit of a key", func(c *query.Content, _ *inspect.Evidence) { c.Items[0].Keys[0][0] ^= 1 }, "our_log"},
		{"key left out", func(c *query.Content, _ *inspect.Evidence) { c.Items[0].Keys[0] = nil }, "our_log"},
		{"key put in", func(c *query.Content, _ *inspect.Evidence) { c.Items[1].Keys[0] = []byte("a document") }, "our_log"},
		{"empty key", func(c *query.Content, _ *inspect.Evidence) { c.Items[1].Keys[0] = []byte{} }, "request"},
		{"item left out", func(c *query.Content, _ *inspect.Evidence) { c.Items = c.Items[:2] }, "facts"},
		{"item more", func(c *query.Content, _ *inspect.Evidence) { c.Items = append(c.Items, c.Items[0]) }, "facts"},
		{"items more than were sent", func(c *query.Content, _ *inspect.Evidence) { c.Items = append(c.Items, c.Items...) },
			"request"},
		{"items swapped", func(c *query.Content, _ *inspect.Evidence) { c.Items[0], c.Items[1] = c.Items[1], c.Items[0] },
			"our_log"},
		{"seed", func(c *query.Content, _ *inspect.Evidence) { c.Seed = oprf.GenerateSeed().Bytes() }, "our_log"},
		{"half a seed", func(c *query.Content, _ *inspect.Evidence) { c.Seed = c.Seed[:16] }, "request"},
		{"info", func(c *query.Content, _ *inspect.Evidence) { c.Batches[0].Info = []byte("other") }, "our_log"},
		{"class", func(c *query.Content, _ *inspect.Evidence) { c.Batches[0].Class = "visa" }, "our_log"},
		{"epoch", func(c *query.Content, _ *inspect.Evidence) { c.Batches[0].Epoch++ }, "our_log"},
		{"class twice", func(c *query.Content, _ *inspect.Evidence) { c.Batches[1] = c.Batches[0] }, "request"},
		{"holder", func(c *query.Content, _ *inspect.Evidence) { c.Holder = "c.example" }, "facts"},
		{"officer", func(c *query.Content, _ *inspect.Evidence) { c.Officer = id("lawyer") }, "officer"},
		{"officer in content and register", func(c *query.Content, e *inspect.Evidence) {
			c.Officer, e.Officer, e.OfficerKey = id("lawyer"), id("lawyer"), w.officers["lawyer"].PublicKey()
		}, "officer_signature"},
		{"signature", func(c *query.Content, _ *inspect.Evidence) { c.AskSignature[0] ^= 1 }, "officer_signature"},
		{"no signature", func(c *query.Content, _ *inspect.Evidence) { c.AskSignature = nil }, "officer_signature"},
		{"another ask", func(c *query.Content, _ *inspect.Evidence) { c.AskDigest[0] ^= 1 }, "officer_signature"},
		{"another subject than was signed", func(c *query.Content, _ *inspect.Evidence) { c.Subjects[0].Name += "x" }, "ask"},
		{"another reason than was signed", func(c *query.Content, _ *inspect.Evidence) { c.Justification += "x" }, "ask"},
		{"another key than the subject's", func(c *query.Content, _ *inspect.Evidence) { c.Items[0].Keys[1] = []byte("x") }, "subjects"},
		{"a subject more than was signed", func(c *query.Content, _ *inspect.Evidence) {
			c.Items = append(c.Items, c.Items[0])
		}, "subjects"},
		{"no case", func(c *query.Content, _ *inspect.Evidence) { c.CaseReference = "" }, "facts"},
		{"no justification", func(c *query.Content, _ *inspect.Evidence) { c.Justification = "" }, "facts"},
		{"subject category", func(c *query.Content, _ *inspect.Evidence) { c.SubjectCategory = "victim" }, "facts"},
		{"facts", func(c *query.Content, _ *inspect.Evidence) {
			c.Input = bytes.Replace(c.Input, []byte("ordinary"), []byte("urgent"), 1)
		}, "policy_input"},
		{"query", func(c *query.Content, _ *inspect.Evidence) { c.Query = other.id.String() }, "query"},
		{"header: purpose", func(_ *query.Content, e *inspect.Evidence) { e.Header.Facts.Purpose = "other" }, "request_header"},
		{"header: legal basis", func(_ *query.Content, e *inspect.Evidence) { e.Header.Facts.LegalBasis = "other" }, "facts"},
		{"header: leaf", func(_ *query.Content, e *inspect.Evidence) { e.Header.AskerLeaf[0] ^= 1 }, "request_header"},
		{"header: sealed", func(_ *query.Content, e *inspect.Evidence) { e.Header.Sealed[0] ^= 1 }, "request_header"},
		{"header: statement", func(_ *query.Content, e *inspect.Evidence) { e.Header.Statement.Signature[0] ^= 1 }, "our_log"},
		{"header of another query", func(_ *query.Content, e *inspect.Evidence) { e.Header = other.request }, "query"},
		{"intent of another query", func(_ *query.Content, e *inspect.Evidence) { e.Intent = other.intent }, "query"},
		{"intent that is none", func(_ *query.Content, e *inspect.Evidence) { e.Intent = e.Intent[1:] }, "intent"},
		{"our log", func(_ *query.Content, e *inspect.Evidence) {
			x := *e.Ours[0]
			x.Request[0] ^= 1
			e.Ours[0] = &x
		}, "our_log"},
		{"their log", func(_ *query.Content, e *inspect.Evidence) { e.Theirs.Request[0] ^= 1 }, "their_log"},
		{"their leaf", func(_ *query.Content, e *inspect.Evidence) { e.Theirs.PeerLeaf[0] ^= 1 }, "their_binding"},
		{"their sealed", func(_ *query.Content, e *inspect.Evidence) { e.Theirs.PeerSealed[0] ^= 1 }, "their_binding"},
		{"receipt", func(_ *query.Content, e *inspect.Evidence) { e.Receipt[40] ^= 1 }, "receipt"},
		{"receipt of another query", func(_ *query.Content, e *inspect.Evidence) { e.Receipt = other.receipt }, "receipt"},
		{"key of the holder", func(_ *query.Content, e *inspect.Evidence) { e.HolderKey = w.officers["asker"].PublicKey() },
			"receipt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, e := w.evidence(q)
			theirs := *e.Theirs
			e.Theirs, e.Receipt = &theirs, bytes.Clone(e.Receipt)
			tt.change(c, &e)
			v := inspect.Recompute(c, e)
			if v.Result != inspect.Different {
				t.Errorf("the verdict is %s: %s", v.Result, v.Sentence)
			}
			if !slices.ContainsFunc(v.Checks, func(c inspect.Check) bool {
				return c.Name == tt.want &&
					c.Result == inspect.Different
			}) {
				t.Errorf("%s is not different; checks: %v", tt.want, v.Checks)
			}
		})
	}
}

// TestRecomputeMissing leaves evidence out: without any digest there is no verdict,
// and with one it says what is missing.
func TestRecomputeMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	tests := []struct {
		name    string
		change  func(*inspect.Evidence)
		want    inspect.Result
		missing string
	}{
		{"their log", func(e *inspect.Evidence) { e.Theirs = nil }, inspect.Same, "their_log"},
		{"receipt", func(e *inspect.Evidence) { e.Receipt = nil }, inspect.Same, "receipt"},
		{"key of the holder", func(e *inspect.Evidence) { e.HolderKey = nil }, inspect.Same, "receipt"},
		{"officer", func(e *inspect.Evidence) { e.Officer, e.OfficerKey = "", nil }, inspect.Same, "officer_signature"},
		{"all of the holder", func(e *inspect.Evidence) { e.Theirs, e.Receipt = nil, nil }, inspect.Same, "their_log"},
		{"our entries", func(e *inspect.Evidence) { e.Ours = nil }, inspect.Same, "our_log"},
		{"all digests", func(e *inspect.Evidence) { e.Theirs, e.Receipt, e.Ours = nil, nil, nil }, inspect.Missing, "our_log"},
		{"header", func(e *inspect.Evidence) { e.Header = nil }, inspect.Missing, "request_header"},
	}
	for _, tt := range tests {
		c, e := w.evidence(q)
		tt.change(&e)
		v := inspect.Recompute(c, e)
		if v.Result != tt.want || !slices.ContainsFunc(v.Checks, func(c inspect.Check) bool {
			return c.Name == tt.missing && c.Result == inspect.Missing
		}) {
			t.Errorf("%s: %s: %s, checks %v", tt.name, v.Result, v.Sentence, v.Checks)
		}
	}
}

func TestOpenTampered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q, other := w.ask(1, false), w.ask(1, false)
	stranger, err := sealed.GenerateIdentity()
	ok(t, err)
	changed := *q.ours
	tests := []struct {
		name   string
		change func(i *sealed.Identity, ciphertext *[]byte, id *query.ID, intent *[]byte)
		want   error
	}{
		{"identity", func(i *sealed.Identity, _ *[]byte, _ *query.ID, _ *[]byte) { *i = stranger }, sealed.ErrRecipient},
		{"no identity", func(i *sealed.Identity, _ *[]byte, _ *query.ID, _ *[]byte) { *i = sealed.Identity{} }, sealed.ErrKey},
		{"ciphertext", func(_ *sealed.Identity, c *[]byte, _ *query.ID, _ *[]byte) { (*c)[2000] ^= 1 }, inspect.ErrNotNamed},
		{"query", func(_ *sealed.Identity, _ *[]byte, id *query.ID, _ *[]byte) { *id = other.id }, inspect.ErrNotNamed},
		{"entry of another query", func(_ *sealed.Identity, _ *[]byte, _ *query.ID, e *[]byte) { *e = other.intent },
			inspect.ErrNotNamed},
		{"entry of another kind", func(_ *sealed.Identity, _ *[]byte, _ *query.ID, e *[]byte) { *e, _ = changed.Bytes() },
			inspect.ErrNotNamed},
		{"field of the entry", func(_ *sealed.Identity, _ *[]byte, _ *query.ID, e *[]byte) {
			x, _ := entry.ParseEntry(*e)
			x.Officer[0] ^= 1
			*e, _ = x.Bytes()
		}, sealed.ErrOpen},
		{"half an entry", func(_ *sealed.Identity, _ *[]byte, _ *query.ID, e *[]byte) { *e = (*e)[:100] }, entry.ErrMalformed},
	}
	for _, tt := range tests {
		s, err := w.inspector.Sealed(t.Context(), auditor, q.id, [32]byte{})
		ok(t, err)
		identity := w.identity
		tt.change(&identity, &s.Ciphertext, &s.Query, &s.Entry)
		c, err := inspect.Open(identity, s.Ciphertext, s.Query, s.Entry)
		if !errors.Is(err, tt.want) || c != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

package journey_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
)

// about returns the entries of a log about one query.
func about(t *testing.T, l *audit.Log, id query.ID) (out []audit.Indexed) {
	t.Helper()
	for e, err := range l.Entries(t.Context(), 0, l.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Entry.Query == id {
			out = append(out, e)
		}
	}
	return out
}

// opened returns the content of a query that a asked b, and what the auditors of
// both have on it.
func opened(t *testing.T, a, b *country, id query.ID) (*query.Content, inspect.Evidence) {
	t.Helper()
	ask, err := a.store.Ask(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	header, err := query.ParseHeader(ask.Header)
	if err != nil {
		t.Fatal(err)
	}
	e := inspect.Evidence{Header: header, Receipt: ask.Receipt, HolderKey: b.statement.Public().(ed25519.PublicKey),
		Officer: "spiffe://" + a.td + "/officer/b-bg-2231", OfficerKey: a.officer.PublicKey()}
	var sealed [32]byte
	for _, x := range about(t, a.shared, id) {
		if x.Entry.Kind == entry.KindIntent {
			e.Intent, sealed = x.Bytes, x.Entry.Sealed
		} else {
			e.Ours = append(e.Ours, x.Entry)
		}
	}
	for _, x := range about(t, b.shared, id) {
		e.Theirs = x.Entry
	}
	ciphertext, err := a.store.Sealed(t.Context(), sealed)
	if err != nil {
		t.Fatal(err)
	}
	c, err := inspect.Open(a.auditor, ciphertext, id, e.Intent)
	if err != nil {
		t.Fatal(err)
	}
	return c, e
}

// TestAuditorRecomputes asks as an officer does, and then as two auditors do: the
// content that one opens gives the bytes that both logged. Content about somebody
// else does not.
func TestAuditorRecomputes(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 20, nil)
	for _, subjects := range [][]record.Subject{
		{traveller(7)},
		{traveller(3), {Ref: "name only", Name: "Nobody Atall", Birth: record.Date{Year: 1980}}, traveller(9)},
	} {
		result, err := a.ask(t, nil, subjects...)
		if err != nil || result.Targets[0].Refusal != nil {
			t.Fatalf("Ask: %v, %v", err, result)
		}
		c, e := opened(t, a, b, result.Targets[0].Query)
		v := inspect.Recompute(c, e)
		for _, check := range v.Checks {
			if check.Result != inspect.Same {
				t.Errorf("%s is %s: %s", check.Name, check.Result, check.Sentence)
			}
		}
		if v.Result != inspect.Same || v.Digest != e.Theirs.Request {
			t.Errorf("the verdict is %s: %s", v.Result, v.Sentence)
		}
		c.Items[0].Keys[0] = []byte("the document of somebody else")
		if v := inspect.Recompute(c, e); v.Result != inspect.Different {
			t.Errorf("content about somebody else: %s: %s", v.Result, v.Sentence)
		}
	}
}

// TestAuditorRecomputesFailure does so for a query whose answer never came: what
// the holder may have seen is on record.
func TestAuditorRecomputesFailure(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 5, nil)
	a.peers.tap.lose = true
	result, err := a.ask(t, nil, traveller(1))
	if err != nil || result.Targets[0].Refusal == nil {
		t.Fatalf("Ask: %v, %v", err, result)
	}
	c, e := opened(t, a, b, result.Targets[0].Query)
	if v := inspect.Recompute(c, e); v.Result != inspect.Same || len(e.Ours) != 1 || e.Ours[0].Kind != entry.KindFailure || e.Receipt != nil {
		t.Errorf("the verdict is %s: %s", v.Result, v.Sentence)
	}
}

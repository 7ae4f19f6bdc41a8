package journey_test

import (
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/query"
)

// TestProveOwn has another neighbour, who has learned the id of a query, take that
// id for a query of its own and ask for the proof of the decision: it is shown the
// entry of its own refusal, and never that of the other country's query.
func TestProveOwn(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	var request *query.Request
	a.peers.tap.request = func(r *query.Request) { request = r }
	if _, err := a.ask(t, nil, traveller(1)); err != nil {
		t.Fatal(err)
	}
	const norlanda = "border.norlanda.example"
	b.peers.known[norlanda] = a
	first := holder.Caller{TrustDomain: a.td, Gateway: gatewayID(a.td)}
	other := holder.Caller{TrustDomain: norlanda, Gateway: gatewayID(norlanda)}

	// Before it has a query of its own there is nothing to prove.
	if p, err := b.holder.Prove(t.Context(), other, "a-b", request.ID); query.ReasonOf(err) != query.NotFound || p != nil {
		t.Errorf("Prove for another peer = %v, %v; want NOT_FOUND", p, err)
	}
	if _, err := b.holder.Answer(t.Context(), other, request); query.ReasonOf(err) != query.AgreementUnknown {
		t.Fatalf("Answer to another peer = %v, want AGREEMENT_UNKNOWN", err)
	}
	if err := b.shared.Await(t.Context(), b.shared.Size()-1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []holder.Caller{first, other} {
		p, err := b.holder.Prove(t.Context(), c, "a-b", request.ID)
		if err != nil || p == nil {
			t.Fatalf("Prove for %s = %v, %v", c.TrustDomain, p, err)
		}
		e, err := entry.ParseEntry(p.Entry)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.Asker, "spiffe://"+c.TrustDomain+"/") {
			t.Errorf("%s was shown the entry of a query of %s", c.TrustDomain, e.Asker)
		}
	}
}

package gateway_test

import (
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
)

// TestContactsDistrust checks that a neighbour whose list did not verify stays
// distrusted until that very list verifies, whatever else it does right.
func TestContactsDistrust(t *testing.T) {
	t.Parallel()
	const td = "border.valdera.example"
	var c gateway.Contacts
	terms := &query.Terms{Protocols: []uint16{query.Protocol}, Normalisations: []uint16{record.Version}, Software: "passerelle/0",
		Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	steps := []struct {
		name string
		do   func()
		want admin.PeerState
	}{
		{"nothing", func() {}, admin.PeerNew},
		{"terms", func() { c.Greeted(td, terms) }, admin.PeerOK},
		{"a list that does not verify", func() { c.Synced(td, "watchlist", query.Refuse(query.PeerInvalid, nil)) }, admin.PeerDistrusted},
		{"terms after it", func() { c.Greeted(td, terms) }, admin.PeerDistrusted},
		{"another list that verifies", func() { c.Synced(td, "documents", nil) }, admin.PeerDistrusted},
		{"the same list not fetched", func() { c.Synced(td, "watchlist", query.Refuse(query.Unreachable, nil)) }, admin.PeerDistrusted},
		{"another neighbour's list", func() { c.Synced("border.norlanda.example", "watchlist", nil) }, admin.PeerDistrusted},
		{"the same list verifies", func() { c.Synced(td, "watchlist", nil) }, admin.PeerOK},
	}
	for _, s := range steps {
		s.do()
		if got := c.Get(td); got.State != s.want || (got.State == admin.PeerDistrusted) != (got.Sentence != "") {
			t.Fatalf("after %s: state %d, %q; want %d", s.name, got.State, got.Sentence, s.want)
		}
	}
	old := *terms
	old.Protocols = []uint16{query.Protocol + 1}
	c.Greeted(td, &old)
	if got := c.Get(td); got.State != admin.PeerIncompatible || got.Sentence != "No version in common: this gateway must be upgraded." {
		t.Errorf("with a newer neighbour: %+v", got)
	}
	old.Protocols = nil
	c.Greeted(td, &old)
	if got := c.Get(td); got.State != admin.PeerIncompatible || got.Sentence != "No version in common: the neighbour must upgrade." {
		t.Errorf("with an older neighbour: %+v", got)
	}
}

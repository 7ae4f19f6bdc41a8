package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
)

// contacts is what the last exchanges with the neighbours have shown, for
// operators. It lives in memory: a gateway that starts has met nobody yet.
type contacts struct {
	mu sync.Mutex
	of map[string]admin.Contact // by trust domain
}

func (c *contacts) get(trustDomain string) admin.Contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[trustDomain]
}

func (c *contacts) put(trustDomain string, contact admin.Contact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]admin.Contact)
	}
	c.of[trustDomain] = contact
}

// maxSkew is how far a neighbour's clock may be from ours before operators are
// told: half of what a query id may be ahead.
const maxSkew = 30 * time.Second

// greet asks a neighbour for its terms, so that a clock that is wrong, a
// version that is missing, or a gateway that is down is seen before an officer
// meets it.
func (g *Gateway) greet(ctx context.Context, trustDomain string) {
	contact := g.contacts.get(trustDomain)
	defer func() { g.contacts.put(trustDomain, contact) }()
	n, err := g.directory.Neighbour(trustDomain)
	if err != nil {
		return
	}
	before := g.now()
	terms, err := n.Terms(ctx)
	now := g.now()
	if err != nil {
		contact.State = admin.PeerUnreachable
		contact.Sentence = fmt.Sprintf("It does not answer (%s): check its address, the network, and that it has accepted our newest invite.",
			query.ReasonOf(err))
		return
	}
	contact.LastSeen, contact.Software = now, terms.Software
	// Its clock was read between our two readings.
	contact.Skew = terms.Time.Sub(before.Add(now.Sub(before) / 2))
	contact.Protocol, contact.Normalisation = 0, 0
	if slices.Contains(terms.Protocols, query.Protocol) {
		contact.Protocol = query.Protocol
	}
	if slices.Contains(terms.Normalisations, record.Version) {
		contact.Normalisation = record.Version
	}
	switch {
	case contact.State == admin.PeerDistrusted:
		// It stays so until a synchronisation verifies.
	case contact.Protocol == 0 || contact.Normalisation == 0:
		contact.State = admin.PeerIncompatible
		contact.Sentence = "No version in common: " + upgrade(terms)
	case contact.Skew.Abs() > maxSkew:
		contact.State = admin.PeerOK
		contact.Sentence = fmt.Sprintf("Its clock and ours differ by %v: queries are refused from one minute on.", contact.Skew.Round(time.Second))
	default:
		contact.State, contact.Sentence = admin.PeerOK, ""
	}
}

// upgrade says which side is behind.
func upgrade(t *query.Terms) string {
	if slices.Max(append(t.Protocols, 0)) > query.Protocol || slices.Max(append(t.Normalisations, 0)) > record.Version {
		return "this gateway must be upgraded."
	}
	return "the neighbour must upgrade."
}

// synced notes what a synchronisation has shown of a neighbour.
func (g *Gateway) synced(trustDomain string, refusal *query.Refusal) {
	contact := g.contacts.get(trustDomain)
	switch {
	case refusal == nil && contact.State == admin.PeerDistrusted:
		contact.State, contact.Sentence = admin.PeerOK, ""
	case refusal != nil && refusal.Reason == query.PeerInvalid:
		contact.State = admin.PeerDistrusted
		contact.Sentence = "What it sent does not verify, and nothing of it is used: see the log of this gateway, keep it, and talk to the neighbour."
	}
	g.contacts.put(trustDomain, contact)
}

// greetAll greets all neighbours.
func (g *Gateway) greetAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range g.federation.Peers() {
		if p.State == peer.Active {
			wg.Go(func() { g.greet(ctx, p.TrustDomain) })
		}
	}
	wg.Wait()
}

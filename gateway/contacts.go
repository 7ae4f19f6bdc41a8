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
	mu     sync.Mutex
	of     map[string]admin.Contact // by trust domain
	broken map[[2]string]bool       // by trust domain and collection: what came last did not verify
}

func (c *contacts) get(trustDomain string) admin.Contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[trustDomain]
}

// change changes what is known of a neighbour. Nothing else changes it meanwhile,
// so that what two exchanges have shown at the same time is both kept.
func (c *contacts) change(trustDomain string, f func(*admin.Contact)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]admin.Contact)
	}
	contact := c.of[trustDomain]
	f(&contact)
	c.of[trustDomain] = contact
}

// maxSkew is how far a neighbour's clock may be from ours before operators are
// told: half of what a query id may be ahead.
const maxSkew = 30 * time.Second

// greet asks a neighbour for its terms, so that a clock that is wrong, a
// version that is missing, or a gateway that is down is seen before an officer
// meets it.
func (g *Gateway) greet(ctx context.Context, trustDomain string) {
	n, err := g.directory.Neighbour(trustDomain)
	if err != nil {
		return
	}
	before := g.now()
	terms, err := n.Terms(ctx)
	now := g.now()
	if ctx.Err() != nil {
		return // we are the ones who hung up
	}
	g.contacts.change(trustDomain, func(contact *admin.Contact) {
		if err != nil {
			contact.State = admin.PeerUnreachable
			contact.Sentence = fmt.Sprintf("It does not answer (%s): check its address, the network, and that it has accepted our newest invite.",
				query.ReasonOf(err))
			return
		}
		greeted(contact, terms, before, now)
	})
}

// greeted notes the terms of a neighbour, for which it was asked between before and
// now.
func greeted(contact *admin.Contact, terms *query.Terms, before, now time.Time) {
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
		// It stays so until that list verifies.
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
	newer := func(list []uint16, ours uint16) bool {
		return slices.ContainsFunc(list, func(v uint16) bool { return v > ours })
	}
	if newer(t.Protocols, query.Protocol) || newer(t.Normalisations, record.Version) {
		return "this gateway must be upgraded."
	}
	return "the neighbour must upgrade."
}

// synced notes what the synchronisation of one collection has shown of a neighbour:
// refusal says why it failed, and is nil if everything verified. A list that
// verifies does not excuse another one that did not.
func (c *contacts) synced(trustDomain, collection string, refusal *query.Refusal) {
	c.change(trustDomain, func(contact *admin.Contact) {
		switch key := [2]string{trustDomain, collection}; {
		case refusal == nil:
			delete(c.broken, key)
		case refusal.Reason == query.PeerInvalid:
			if c.broken == nil {
				c.broken = make(map[[2]string]bool)
			}
			c.broken[key] = true
		}
		broken := false
		for key := range c.broken {
			broken = broken || key[0] == trustDomain
		}
		switch {
		case broken:
			contact.State = admin.PeerDistrusted
			contact.Sentence = "What it sent does not verify, and nothing of it is used: see the log of this gateway, keep it, and talk to the neighbour."
		case contact.State == admin.PeerDistrusted:
			contact.State, contact.Sentence = admin.PeerOK, ""
		}
	})
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

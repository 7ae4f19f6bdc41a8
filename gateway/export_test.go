package gateway

import (
	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/internal/notify"
	"github.com/passerelle/passerelle/gateway/query"
)

// Contacts is contacts.
type Contacts = contacts

// Synced is synced.
func (c *contacts) Synced(trustDomain, collection string, refusal *query.Refusal) {
	c.synced(trustDomain, collection, refusal)
}

// Get is get.
func (c *contacts) Get(trustDomain string) admin.Contact { return c.get(trustDomain) }

// Greeted notes terms without a network.
func (c *contacts) Greeted(trustDomain string, terms *query.Terms) {
	c.change(trustDomain, func(contact *admin.Contact) { greeted(contact, terms, terms.Time, terms.Time) })
}

// Notice is notice.
func Notice(self string, e *entry.Entry) notify.Notice { return notice(self, e) }

// Tell gives e to both journeys' Notify.
func (g *Gateway) Tell(e *entry.Entry) {
	g.holder.Notify(e)
	g.asker.Notify(e)
}

package admin

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/store"
)

const (
	// maxUnpublished is how old an entry may be that no checkpoint covers, and
	// graceUnpublished when that is a failure: queries then wait for nothing.
	maxUnpublished   = 90 * time.Second
	graceUnpublished = 4 * time.Hour

	// soon is how long before the end of something it is a warning.
	soon = 10 * time.Minute

	// maxBundleAge is how long a neighbour's trust bundle may not have been
	// confirmed, where a bundle endpoint is to be asked every hour.
	maxBundleAge = 24 * time.Hour
)

// Health is how a part is. The zero Health is invalid.
type Health uint8

// The states of a part.
const (
	OK      Health = 1
	Warning Health = 2 // it works, and needs attention
	Failed  Health = 3 // it does not, and what depends on it is refused
)

// A Component is one part of the gateway.
type Component struct {
	Name     string // store, audit, audit-internal, policy or identity
	Health   Health
	Sentence string // what is the matter and what to do
}

// A Status is how the gateway is.
type Status struct {
	Software          string
	SPIFFEID          string
	Started           time.Time
	Ready             bool // queries are answered and asked
	Components        []Component
	SVIDNotAfter      time.Time
	SharedSize        uint64
	InternalSize      uint64
	OldestUnpublished time.Duration // of both logs
	Revision          string
	Bundle            [32]byte
	Collections       []CollectionStatus
	Warnings          []string
}

// A CollectionStatus is how one collection is.
type CollectionStatus struct {
	Name     string
	Records  int64
	Ingested time.Time // zero: never
	Lists    []PublishedList
}

// A PublishedList is the newest version of a collection for one asker.
type PublishedList struct {
	Asker       string
	ListVersion uint64
	Epoch       uint32
	Tags        uint64           // in all classes, decoys included
	Records     int64            // let through by the rules
	Withheld    int64            // left out by the rules
	WithheldBy  map[string]int64 // of those, by each rule that left them out
	Published   time.Time
}

// Status says how the gateway is. It never fails: what cannot be found out is a
// failed component.
func (a *Admin) Status(ctx context.Context) *Status {
	now := a.Now()
	s := &Status{
		Software: a.Software, SPIFFEID: a.Gateway, Started: a.Started, Revision: a.Policy.Revision(), Bundle: a.Policy.BundleDigest(),
		SharedSize: a.Shared.Size(), InternalSize: a.Internal.Size(),
		OldestUnpublished: max(a.Shared.OldestUnpublished(), a.Internal.OldestUnpublished()),
	}
	s.Components = append(s.Components, a.storeStatus(ctx, s), logStatus("audit", a.Shared), logStatus("audit-internal", a.Internal),
		policyStatus(s), a.identityStatus(now, s))
	s.Ready = !slices.ContainsFunc(s.Components, func(c Component) bool { return c.Health == Failed })
	s.Warnings = a.warnings(ctx, now)
	return s
}

// storeStatus fills in the collections, which shows whether the store works.
func (a *Admin) storeStatus(ctx context.Context, s *Status) Component {
	c := Component{Name: "store", Health: OK, Sentence: "It works."}
	for _, l := range a.Collections {
		v, err := a.collectionStatus(ctx, l.Name)
		if err != nil {
			a.log.ErrorContext(ctx, "status of a collection", "collection", l.Name, "err", err)
			c.Health, c.Sentence = Failed, "The store cannot be read: see the log of the gateway, and whether the disk is full."
			continue
		}
		s.Collections = append(s.Collections, *v)
	}
	return c
}

func (a *Admin) collectionStatus(ctx context.Context, name string) (*CollectionStatus, error) {
	v := &CollectionStatus{Name: name}
	var err error
	if v.Records, err = a.Store.CountRecords(ctx, name); err != nil {
		return nil, err
	}
	var last ingested
	if err := a.getJSON(ctx, "ingested/"+name, &last); err != nil {
		return nil, err
	}
	v.Ingested = last.At
	for _, p := range a.Federation.Peers() {
		published, err := a.Store.Published(ctx, p.TrustDomain, name)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l := PublishedList{Asker: p.TrustDomain, ListVersion: published.Version, Epoch: published.Epoch, Records: published.Records,
			Withheld: published.Withheld, WithheldBy: published.WithheldBy, Published: published.Created}
		heads, err := a.Store.Heads(ctx, store.Published, p.TrustDomain, name)
		if err != nil {
			return nil, err
		}
		for i := range heads {
			signed, err := psi.CheckManifest(heads[i].Manifest, a.StatementKey.Public().(ed25519.PublicKey))
			if err != nil {
				return nil, fmt.Errorf("admin: stored manifest: %w", err)
			}
			l.Tags += uint64(signed.Manifest.Count)
		}
		v.Lists = append(v.Lists, l)
	}
	return v, nil
}

func logStatus(name string, l Log) Component {
	age := l.OldestUnpublished().Round(time.Second)
	switch err := l.Err(); {
	case err != nil:
		return Component{name, Failed, "The log takes no entries, so nothing is answered: see the log of the gateway, then restart it."}
	case age > graceUnpublished:
		return Component{name, Failed, fmt.Sprintf("No checkpoint for %v: see whether the disk is full, then restart the gateway.", age)}
	case age > maxUnpublished:
		return Component{name, Warning, fmt.Sprintf("No checkpoint for %v: see whether the disk is full.", age)}
	}
	return Component{name, OK, "It works."}
}

func policyStatus(s *Status) Component {
	if s.Bundle == ([32]byte{}) {
		return Component{"policy", Failed, "No rules are in force, so everything is denied."}
	}
	return Component{"policy", OK, "Revision " + s.Revision + " is in force."}
}

func (a *Admin) identityStatus(now time.Time, s *Status) Component {
	end, err := a.SVIDNotAfter()
	if err == nil {
		s.SVIDNotAfter = end
	}
	switch left := end.Sub(now).Round(time.Second); {
	case err != nil:
		return Component{"identity", Failed, "The gateway has no certificate: see the authority folder or the Workload API."}
	case left <= 0:
		return Component{"identity", Failed, "The certificate of the gateway has expired, and no new one was issued."}
	case left < soon:
		return Component{"identity", Warning, fmt.Sprintf("The certificate of the gateway ends in %v, and was not renewed.", left)}
	}
	return Component{"identity", OK, "It works."}
}

// warnings says what needs somebody's attention.
func (a *Admin) warnings(ctx context.Context, now time.Time) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, w := range a.Agreements.Warnings(now) {
		days := int(w.ValidTo.Sub(now) / (24 * time.Hour))
		add("agreement %s ends in %d days, on %s: write its next version", w.ID, days, w.ValidTo.Format(time.DateOnly))
	}
	for _, info := range a.Agreements.List(now) {
		if info.State == agreement.Suspended && !info.Superseded {
			add("agreement %s is suspended by %s", info.Agreement.ID, strings.Join(info.SuspendedBy, " and "))
		}
	}
	for _, p := range a.Federation.Peers() {
		if p.State == peer.Active && p.Profile != peer.ProfileInvite && now.Sub(p.Updated) > maxBundleAge {
			add("the trust bundle of %s was last confirmed %s", p.TrustDomain, p.Updated.UTC().Format(time.RFC3339))
		}
	}
	if forks, err := a.Store.Forks(ctx); err == nil {
		var peers []string
		for _, f := range forks {
			if f.Side == store.Accepted {
				peers = append(peers, f.Peer)
			}
		}
		slices.Sort(peers)
		for _, td := range slices.Compact(peers) {
			add("%s has shown two different tag sets under one version: call its operator and both auditors", td)
		}
	}
	if rows, err := a.keys(now); err == nil {
		for _, k := range rows {
			if k.State == KeyActive && !k.RotateBy.IsZero() && now.After(k.RotateBy) {
				add("the key of collection %s, epoch %d, is older than its agreements allow", k.Collection, k.Epoch)
			}
		}
	}
	if n := len(a.Officers.Pending(now)); n > 0 {
		add("%d changes of the register of officers wait for a second administrator", n)
	}
	return all
}

// Sync fetches the tag sets that neighbours publish for us: of one trust domain,
// or of all if it is empty, and likewise for the collection. It reports every one,
// also those that failed.
func (a *Admin) Sync(ctx context.Context, caller, trustDomain, collection string, progress SyncProgress) ([]SyncResult, error) {
	if _, err := a.officerOf(caller, a.Now()); err != nil {
		return nil, err
	}
	return a.Syncer.Sync(ctx, trustDomain, collection, progress), nil
}

// The states of a [Key].
const (
	KeyActive      = "active"
	KeyOverlapping = "overlapping" // an older epoch whose key is not yet destroyed
	KeyDestroyed   = "destroyed"
)

// A Key is what may be shown of a key.
type Key struct {
	Kind       string // collection, log, statement
	KeyID      string // public name
	Collection string // for keys of that kind
	Epoch      uint32 // likewise
	Created    time.Time
	State      string
	RotateBy   time.Time // by the agreements in force; zero: none says
	Ends       time.Time // of an overlapping epoch: when its key is destroyed, as the agreements are now
}

// ListKeys returns the keys of the gateway, by kind, collection and epoch.
func (a *Admin) ListKeys(ctx context.Context) ([]Key, error) {
	all, err := a.keys(a.Now())
	return all, refusal(err)
}

func (a *Admin) keys(now time.Time) ([]Key, error) {
	all := []Key{
		{Kind: "log", KeyID: a.LogVerifier, State: KeyActive},
		{Kind: "statement", KeyID: a.StatementVerifier, State: KeyActive},
	}
	for _, c := range a.Collections {
		epochs, err := a.Keys.Epochs(c.Name)
		if err != nil {
			return nil, err
		}
		for i, e := range epochs {
			k := Key{Kind: "collection", KeyID: e.KeyID, Collection: c.Name, Epoch: e.Number, Created: e.Created, State: KeyActive}
			switch {
			case !e.Destroyed.IsZero():
				k.State = KeyDestroyed
			case i < len(epochs)-1:
				k.State, k.Ends = KeyOverlapping, epochs[i+1].Created.Add(a.Agreements.Overlap(c.Name, now))
			default:
				k.RotateBy = a.Agreements.RotateBy(c.Name, e.Created, now)
			}
			all = append(all, k)
		}
	}
	slices.SortStableFunc(all, func(x, y Key) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Collection, y.Collection), cmp.Compare(x.Epoch, y.Epoch))
	})
	return all, nil
}

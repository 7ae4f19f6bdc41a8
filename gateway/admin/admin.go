// Package admin holds the journey of those who run a gateway: the operator who
// loads records and federates with neighbours, the legal officer who signs,
// accepts and suspends agreements, and the administrators who change the
// register of officers together.
//
//	records      read a file -> one transaction -> publish to the askers
//	federation   invite -> (telephone) -> accept -> end
//	agreements   draft -> sign, here and there -> accept -> suspend, resume
//	officers     propose -> consent of another administrator
//
// # Entries
//
// Every change is an entry of a log, and the entry is durable before the change
// takes effect: nothing happens that has no record. If the change then fails, a
// second entry with a reason that begins with NOT_ says so. Two changes are the
// other way round, because they must not wait for a log: the end of a federation
// and a suspension take effect first, and their entries follow.
//
//	shared log     FEDERATION_ADDED, FEDERATION_ENDED (with the digest of the purge receipt),
//	               AGREEMENT_ACCEPTED, AGREEMENT_SUSPENDED, AGREEMENT_RESUMED
//	internal log   AGREEMENT_SIGNED, OFFICER_CONSENT (the change), OFFICER_ENROLLED, OFFICER_UPDATED,
//	               OFFICER_RETIRED (the head of the register)
//
// Officers are in entries as pseudonyms. Why somebody suspended or ended
// something is free text: it stays in the store of this country.
//
// # Who learns what
//
// Everything here stays inside the country, but for invite and agreement files,
// which hold no personal data besides the SPIFFE IDs of those who signed. Errors
// are a [query.Refusal]; neither they nor reports hold personal data.
//
// Callers have authenticated whoever calls and checked that the register has
// them. This package checks roles where the role is what makes the act valid: the
// legal role for agreements, two administrators for the register.
//
// An [Admin] may be used concurrently. Out of scope: what a tag set is, how a
// query is answered, the wire.
package admin

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

// A Publisher publishes our tag sets. It is the holder's side of this gateway.
type Publisher interface {
	// Publish brings the tag sets of a collection for an asker up to date.
	Publish(ctx context.Context, asker, collection string, progress PublishProgress) (*Publication, error)
}

// PublishProgress is told how far the tag set of one key class is. It may be nil.
type PublishProgress func(class string, done, total int)

// A Publication is what became of a collection for one asker. It holds counts
// only.
type Publication struct {
	Asker, Collection string
	ListVersion       uint64
	Epoch             uint32
	Unchanged         bool   // the version that was there is still right
	Records           int    // of the collection
	Published         int    // let through by the rules
	Tags              uint64 // in all classes, decoys included
}

// A Syncer fetches the tag sets of neighbours. It is the asker's side of this
// gateway.
type Syncer interface {
	// Sync brings our copies up to date: of one holder, or of all if holder is
	// empty, and likewise for the collection. It reports every one.
	Sync(ctx context.Context, holder, collection string, progress SyncProgress) []SyncResult
}

// SyncProgress is told how many bytes have come, of how many; a total of 0 is not
// known. It may be nil. Calls do not overlap.
type SyncProgress func(holder, collection string, done, total uint64)

// A SyncResult is what became of the copy of one collection.
type SyncResult struct {
	Holder, Collection string
	From, To           uint64 // list versions; 0 is none
	Tags, Bytes        uint64
	Refusal            *query.Refusal // why it failed, or nil
}

// A Library holds the tag sets that are matched against.
type Library interface {
	// Drop forgets those of a holder.
	Drop(holder string)
}

// Keys are the epoch keys of our collections, without their secrets.
type Keys interface {
	// OwnCommitments returns the public key of the current epoch of each
	// collection, in any order.
	OwnCommitments() ([]peer.KeyCommitment, error)

	// Epochs returns all epochs of a collection, ascending.
	Epochs(collection string) ([]keys.Epoch, error)
}

// A Rotator begins epochs. It is the holder's side of this gateway.
type Rotator interface {
	// Rotate begins the next epoch of a collection, and returns its number. Of a
	// compromised key all epochs before end at once. An error may come with a number.
	Rotate(ctx context.Context, collection string, compromised bool) (epoch uint32, err error)
}

// A Log is one of the two logs.
type Log interface {
	// Append makes e durable.
	Append(ctx context.Context, e *entry.Entry) (audit.Position, error)

	// Err returns why the log takes no entries, or nil.
	Err() error

	Size() uint64
	OldestUnpublished() time.Duration
}

// A Policy says which rules are in force.
type Policy interface {
	Revision() string
	BundleDigest() [32]byte
}

// A Contact is what is known of a neighbour from the last exchanges with it.
type Contact struct {
	State          PeerState // of PeerNew, PeerOK, PeerUnreachable, PeerIncompatible, PeerDistrusted
	Sentence       string    // what is the matter and what to do
	LastSeen       time.Time // when an answer was last verified
	Skew           time.Duration
	Protocol       uint16 // in use; 0 is none
	Normalisation  uint16
	Software       string
	BundleVerified time.Time // when its trust bundle was last confirmed; zero: as the federation says
}

// Config is what an [Admin] is made of. All of it is required unless it says
// otherwise.
type Config struct {
	TrustDomain string // ours
	Gateway     string // our SPIFFE ID
	Endpoint    string // where neighbours reach us, host:port
	Country     string // ICAO code of three letters
	Agency      string // name for people
	AgencyCode  string // in agreements; capital letters are written small there
	Software    string // name and version

	// Profile and BundleURL are those of our invites. An empty Profile means
	// peer.ProfileInvite.
	Profile, BundleURL string

	// Collections are those that we may share, with their data category.
	Collections []Collection

	Store      *store.Store
	Federation *peer.Federation
	Agreements *agreement.Registry
	Officers   *officer.Register
	Shared     Log
	Internal   Log
	Policy     Policy
	Keys       Keys
	Publisher  Publisher
	Syncer     Syncer
	Library    Library
	Rotator    Rotator

	// Issuer is nil if officers get their certificates from elsewhere, such as a
	// SPIFFE Workload API.
	Issuer Issuer

	// Authorities returns the X.509 authorities of our trust domain, in DER.
	Authorities func() ([][]byte, error)

	// SVIDNotAfter returns when the gateway's certificate ends.
	SVIDNotAfter func() (time.Time, error)

	// Contact returns what is known of a neighbour. Nil means nothing is.
	Contact func(trustDomain string) Contact

	// StatementKey signs invites and attestations. StatementVerifier, LogVerifier
	// and WitnessVerifier are verifier keys (c2sp.org/signed-note) of that key, of
	// our shared log, and of our witness; the last one is empty if there is none.
	StatementKey      ed25519.PrivateKey
	StatementVerifier string
	LogVerifier       string
	WitnessVerifier   string

	Pseudonym func(id string) [16]byte // of officers, erasable
	Started   time.Time                // of the process
	Now       func() time.Time
	Logger    *slog.Logger // nil discards
}

// A Collection is one list that we may share.
type Collection struct {
	Name     string
	Category string
}

// An Admin runs one gateway. Close must be called.
type Admin struct {
	Config
	log *slog.Logger

	// life ends with Close. Publications that nobody waits for run in it.
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards closed
	closed bool

	// registering is held while the register and the proposals in the store
	// change, so that they agree. accepting is held while neighbours and agreements
	// are added, and while what is left of a federation that has ended is removed.
	registering, accepting sync.Mutex
}

// New returns an Admin. Proposals to change the register that were waiting for a
// second administrator when the gateway was last stopped wait again.
func New(ctx context.Context, c Config) (*Admin, error) {
	if c.Profile == "" {
		c.Profile = peer.ProfileInvite
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &Admin{Config: c, log: log}
	a.life, a.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := a.restoreProposals(ctx); err != nil {
		a.end()
		return nil, err
	}
	return a, nil
}

// Close ends what runs in the background, and waits for it until ctx ends.
func (a *Admin) Close(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.end()
	done := make(chan struct{})
	go func() {
		a.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("admin: closing: %w", ctx.Err())
	}
}

// background runs f until it returns, or Close is called.
func (a *Admin) background(f func(ctx context.Context)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.running.Go(func() { f(a.life) })
	}
}

// officerOf returns the officer with a SPIFFE ID, who must be in service.
func (a *Admin) officerOf(spiffeID string, now time.Time) (officer.Officer, error) {
	id, err := peer.ParseID(spiffeID)
	if err != nil || id.Kind != peer.KindOfficer || id.TrustDomain != a.TrustDomain {
		return officer.Officer{}, query.Refuse(query.NotEnrolled, nil)
	}
	o, ok := a.Officers.Lookup(id.Name)
	if !ok || !o.Retired.IsZero() || !a.Officers.HasKey(o.ID, o.PublicKey, now) {
		return officer.Officer{}, query.Refuse(query.NotEnrolled, nil)
	}
	return o, nil
}

// withRole is officerOf for somebody who needs a role.
func (a *Admin) withRole(spiffeID string, r officer.Role, now time.Time) (officer.Officer, error) {
	o, err := a.officerOf(spiffeID, now)
	if err != nil {
		return officer.Officer{}, err
	}
	if !a.Officers.HasRole(o.ID, r, now) {
		return officer.Officer{}, query.Refuse(query.RoleRequired, fmt.Errorf("admin: the role %s is required", r))
	}
	return o, nil
}

// append appends an entry, with the time and the pseudonym of who acted.
func (a *Admin) append(ctx context.Context, l Log, who officer.Officer, e entry.Entry) error {
	e.Time, e.Officer = a.Now().UnixMilli(), a.Pseudonym(who.ID)
	if _, err := l.Append(ctx, &e); err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	return nil
}

// announce appends an entry, and then lets the change take effect. If that fails,
// a second entry says so.
func (a *Admin) announce(ctx context.Context, l Log, who officer.Officer, e entry.Entry, effect func() error) error {
	if err := a.append(ctx, l, who, e); err != nil {
		return err
	}
	err := effect()
	if err == nil {
		return nil
	}
	e.Reason = "NOT_" + e.Reason
	// Also when the caller has gone away: the entry before stands and is wrong.
	return errors.Join(refusal(err), a.append(context.WithoutCancel(ctx), l, who, e))
}

// insist calls f until it returns nil, because what it does must not be undone by
// a restart. It gives up after a few seconds, or when ctx ends.
func insist(ctx context.Context, f func() error) error {
	wait := 10 * time.Millisecond
	for {
		err := f()
		if err == nil || wait > 2*time.Second {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
		wait *= 2
	}
}

// putJSON and getJSON keep small things of ours in the store. getJSON leaves v as
// it is if there is nothing.
func (a *Admin) putJSON(ctx context.Context, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("admin: encoding %s: %w", name, err)
	}
	return a.Store.PutMeta(ctx, metaPrefix+name, b)
}

func (a *Admin) getJSON(ctx context.Context, name string, v any) error {
	b, err := a.Store.Meta(ctx, metaPrefix+name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("admin: what is stored as %s is damaged", name)
	}
	return nil
}

// metaPrefix is before the names of what this package keeps in the store:
//
//	admin/proposals                changes of the register that wait
//	admin/ingested/COLLECTION      when it was last ingested into
//	admin/suspension/ID            who suspended or resumed an agreement on our side, and why
//	admin/ended/TRUST-DOMAIN/TIME  the purge receipt of an ended federation, and why
const metaPrefix = "admin/"

// collection returns one of our collections.
func (a *Admin) collection(name string) (Collection, error) {
	for _, c := range a.Collections {
		if c.Name == name {
			return c, nil
		}
	}
	return Collection{}, query.Refuse(query.NotFound, errors.New("admin: the configuration has no such collection"))
}

// digest hashes b for a purpose.
func digest(purpose string, b []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte("passerelle/v1 " + purpose + "\x00"))
	h.Write(b)
	return [32]byte(h.Sum(nil))
}

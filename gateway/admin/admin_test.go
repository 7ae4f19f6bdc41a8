package admin_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

var start = time.Date(2031, 3, 4, 5, 6, 7, 0, time.UTC)

// A recorder is a log in memory that takes only valid entries.
type recorder struct {
	mu      sync.Mutex
	entries []entry.Entry
	fail    error
}

func (l *recorder) Append(_ context.Context, e *entry.Entry) (audit.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return audit.Position{}, l.fail
	}
	if _, err := e.Bytes(); err != nil {
		return audit.Position{}, err
	}
	l.entries = append(l.entries, *e)
	return audit.Position{Index: uint64(len(l.entries) - 1)}, nil
}

func (l *recorder) Err() error                       { return l.fail }
func (l *recorder) Size() uint64                     { return uint64(len(l.entries)) }
func (l *recorder) OldestUnpublished() time.Duration { return 0 }

// reasons returns the reasons of the entries, in order.
func (l *recorder) reasons() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.entries {
		all = append(all, e.Reason)
	}
	return all
}

// A country is one gateway's Admin with everything below it.
type country struct {
	t        *testing.T
	config   admin.Config
	admin    *admin.Admin
	now      time.Time
	shared   *recorder
	internal *recorder
	keys     map[string]officer.PrivateKey // of officers, by id
	records  [][]byte                      // of the register
	founding [32]byte
	files    string
	drops    []string

	mu           sync.Mutex
	publications []string
	publishing   error
	ring         map[string]oprf.PublicKey
}

type policy struct{}

func (policy) Revision() string       { return "0011223344556677" }
func (policy) BundleDigest() [32]byte { return [32]byte{1} }

func (c *country) Drop(holder string) { c.drops = append(c.drops, holder) }

func (c *country) OwnCommitments() ([]peer.KeyCommitment, error) {
	var all []peer.KeyCommitment
	for name, key := range c.ring {
		all = append(all, peer.KeyCommitment{Collection: name, Epoch: 1, PublicKey: key})
	}
	return all, nil
}

func (c *country) Epochs(string) ([]keys.Epoch, error) {
	return []keys.Epoch{{Number: 1, KeyID: "0123", Created: start}}, nil
}

func (c *country) Rotate(_ context.Context, collection string, compromised bool) (uint32, error) {
	if collection == "documents" {
		return 0, errors.New("test: not rotated")
	}
	return 2, nil
}

func (c *country) Publish(_ context.Context, asker, collection string, _ admin.PublishProgress) (*admin.Publication, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publications = append(c.publications, asker+"/"+collection)
	if c.publishing != nil {
		return nil, c.publishing
	}
	return &admin.Publication{Asker: asker, Collection: collection, ListVersion: 1, Epoch: 1}, nil
}

func (c *country) Sync(_ context.Context, holder, collection string, progress admin.SyncProgress) []admin.SyncResult {
	progress(holder, collection, 1, 2)
	return []admin.SyncResult{{Holder: holder, Collection: collection, To: 3}}
}

// newCountry returns a country with two administrators, a legal officer and an
// operator.
func newCountry(t *testing.T, name, code string) *country {
	t.Helper()
	td := "border." + name + ".example"
	c := &country{t: t, now: start, shared: &recorder{}, internal: &recorder{}, keys: make(map[string]officer.PrivateKey),
		files: t.TempDir(), ring: make(map[string]oprf.PublicKey)}
	clock := func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.now
	}

	a, b := c.person("admin-a", officer.RoleAdministrator), c.person("admin-b", officer.RoleAdministrator)
	record, founding, err := officer.Found(a, b, start.Add(-time.Hour))
	c.ok(err)
	c.records, c.founding = [][]byte{record}, founding

	s, err := store.Open(t.Context(), filepath.Join(c.files, "store"))
	c.ok(err)
	t.Cleanup(func() { s.Close() })
	authority, err := peer.CreateAuthority(filepath.Join(c.files, "authority"), td, clock)
	c.ok(err)
	source, err := authority.Source("main")
	c.ok(err)
	federation, err := peer.NewFederation(td, nil)
	c.ok(err)
	pub, key, err := ed25519.GenerateKey(nil)
	c.ok(err)
	logPub, _, err := ed25519.GenerateKey(nil)
	c.ok(err)
	statement, err := peer.VerifierKey(td+"/statement", pub)
	c.ok(err)
	logKey, err := peer.VerifierKey(td+"/log/shared", logPub)
	c.ok(err)
	c.config = admin.Config{
		TrustDomain: td, Gateway: "spiffe://" + td + "/gateway/main", Endpoint: "gw." + name + ".example:8443", Country: code,
		Agency: "Border Police of " + name, AgencyCode: code + "-BP", Software: "passerelle/test",
		Collections: []admin.Collection{{"watchlist", "watchlist"}, {"documents", "document"}},
		Store:       s, Federation: federation, Shared: c.shared, Internal: c.internal, Policy: policy{}, Keys: c, Publisher: c,
		Syncer: c, Library: c, Rotator: c, Issuer: authority,
		Agreements:   agreement.NewRegistry(td, nil),
		Authorities:  func() ([][]byte, error) { return peer.Authorities(source, td) },
		SVIDNotAfter: func() (time.Time, error) { return clock().Add(time.Hour), nil },
		StatementKey: key, StatementVerifier: statement, LogVerifier: logKey,
		Pseudonym: func(id string) [16]byte { return [16]byte(sha256.New().Sum([]byte(id + strings.Repeat("x", 16)))) },
		Started:   start, Now: clock,
	}
	for _, l := range c.config.Collections {
		c.ring[l.Name] = oprf.GeneratePrivateKey().PublicKey()
	}
	c.restart()
	c.enrol(c.person("legal", officer.RoleLegal))
	c.enrol(c.person("operator", officer.RoleOperator))
	return c
}

func (c *country) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// set sets the clock.
func (c *country) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// restart loads the register again, as a new process would.
func (c *country) restart() {
	c.t.Helper()
	register, err := officer.Load(c.records, c.founding, func(record []byte) error {
		c.records = append(c.records, record)
		return nil
	})
	c.ok(err)
	c.config.Officers = register
	if c.admin != nil {
		c.ok(c.admin.Close(context.Background()))
	}
	c.admin, err = admin.New(c.t.Context(), c.config)
	c.ok(err)
	a := c.admin
	c.t.Cleanup(func() { a.Close(context.Background()) })
}

func (c *country) person(id string, roles ...officer.Role) officer.Officer {
	c.t.Helper()
	key, err := officer.GeneratePrivateKey()
	c.ok(err)
	c.keys[id] = key
	return officer.Officer{ID: id, Unit: "north", Roles: roles, PublicKey: key.PublicKey()}
}

func (c *country) id(name string) string {
	return "spiffe://" + c.config.TrustDomain + "/officer/" + name
}

// consent is the consent of one administrator.
func (c *country) consent(change officer.Change, administrator string) (*admin.Proposal, error) {
	c.t.Helper()
	b, err := change.Bytes()
	c.ok(err)
	sig, err := officer.SignChange(c.keys[administrator], change)
	c.ok(err)
	return c.admin.ProposeOfficerChange(c.t.Context(), c.id(administrator), b, sig[:])
}

func (c *country) enrol(o officer.Officer) {
	c.t.Helper()
	change := c.config.Officers.NewChange(officer.Enrol, o, c.now)
	for _, a := range []string{"admin-a", "admin-b"} {
		_, err := c.consent(change, a)
		c.ok(err)
	}
}

// federate lets c accept the invite of other.
func (c *country) federate(other *country) {
	c.t.Helper()
	i, err := other.admin.Invite(c.t.Context(), other.id("operator"))
	c.ok(err)
	_, err = c.admin.AcceptInvite(c.t.Context(), c.id("operator"), i.File, i.Fingerprint)
	c.ok(err)
}

// sign signs a file as the legal officer of c.
func (c *country) sign(file []byte) (*admin.Agreement, error) {
	c.t.Helper()
	g, err := agreement.Parse(file)
	c.ok(err)
	m := agreement.SigningBytes(g.Digest(), c.id("legal"))
	sig := ed25519.Sign(ed25519.NewKeyFromSeed(c.keys["legal"].Bytes()), m)
	return c.admin.SignAgreement(c.t.Context(), c.id("legal"), file, sig)
}

const draft = `
peer: border.arcadia.example
collections:
  - {name: watchlist, category: watchlist}
  - {name: documents, category: document, holder: ours, classes: [doc, doc+dob]}
purposes:
  - {code: ct-travel-screening}
legal_bases:
  - {ref: Border Act s. 12}
days: 90
`

// neighbours returns two countries that are federated.
func neighbours(t *testing.T) (u, a *country) {
	t.Helper()
	u, a = newCountry(t, "utopia", "UTO"), newCountry(t, "arcadia", "ARC")
	u.federate(a)
	a.federate(u)
	return u, a
}

// agree signs the draft on both sides and returns the file.
func agree(t *testing.T, u, a *country) []byte {
	t.Helper()
	d, err := u.admin.DraftAgreement(t.Context(), u.id("operator"), []byte(draft))
	u.ok(err)
	if d.Agreement == nil {
		t.Fatalf("draft: %q", d.Faults)
	}
	v, err := u.sign(d.Agreement.File)
	u.ok(err)
	v, err = a.sign(v.File)
	u.ok(err)
	for _, s := range v.Signatures {
		if !s.Verified {
			t.Errorf("signature of %s is not verified", s.Party)
		}
	}
	return v.File
}

func TestJourney(t *testing.T) {
	t.Parallel()
	u, a := neighbours(t)
	file := agree(t, u, a)
	var id string
	for _, c := range []*country{u, a} {
		v, err := c.admin.AcceptAgreement(t.Context(), c.id("legal"), file)
		c.ok(err)
		if v.Status != query.Active || len(v.Signatures) != 2 {
			t.Errorf("accepted: status %d, %d signatures", v.Status, len(v.Signatures))
		}
		if _, err := c.admin.AcceptAgreement(t.Context(), c.id("legal"), file); err != nil {
			t.Errorf("accepting again: %v", err)
		}
		id = v.ID
	}
	if id != "border.arcadia.example+border.utopia.example" {
		t.Errorf("id = %q", id)
	}
	want := []string{"FEDERATION_ADDED", "AGREEMENT_ACCEPTED"}
	if got := u.shared.reasons(); !slices.Equal(got, want) {
		t.Errorf("shared entries = %v, want %v", got, want)
	}
	if got := u.internal.reasons(); got[len(got)-1] != "AGREEMENT_SIGNED" {
		t.Errorf("internal entries = %v", got)
	}
	// The publication runs in the background, until Close.
	u.ok(u.admin.Close(t.Context()))
	u.mu.Lock()
	for _, want := range []string{"border.arcadia.example/watchlist", "border.arcadia.example/documents"} {
		if !slices.Contains(u.publications, want) {
			t.Errorf("published %v, without %s", u.publications, want)
		}
	}
	u.mu.Unlock()

	// Suspension by one side, and resumption.
	v, err := u.admin.SuspendAgreement(t.Context(), u.id("legal"), id, "review")
	u.ok(err)
	if v.Status != query.Suspended || v.SuspendedReason != "review" || !slices.Equal(v.SuspendedBy, []string{u.config.TrustDomain}) {
		t.Errorf("suspended: %d %q %v", v.Status, v.SuspendedReason, v.SuspendedBy)
	}
	if _, _, err := u.config.Agreements.For(a.config.TrustDomain, "watchlist", u.now); !errors.Is(err, agreement.ErrSuspended) {
		t.Errorf("For after the suspension: %v", err)
	}
	if v, err = u.admin.ResumeAgreement(t.Context(), u.id("legal"), id, "done"); err != nil || v.Status != query.Active {
		t.Fatalf("resumed: %v, %v", v, err)
	}

	// A second draft of the same id amends.
	d, err := u.admin.DraftAgreement(t.Context(), u.id("legal"), []byte(draft))
	u.ok(err)
	if d.Agreement == nil || d.Agreement.Number != 2 || len(d.Warnings) == 0 {
		t.Fatalf("amendment: %v, faults %q, warnings %q", d.Agreement, d.Faults, d.Warnings)
	}

	// The end of the federation.
	end, err := u.admin.EndPeer(t.Context(), u.id("operator"), a.config.TrustDomain, "they left")
	u.ok(err)
	if !slices.Equal(end.Agreements, []string{id}) || end.Ended.IsZero() || !slices.Equal(u.drops, []string{a.config.TrustDomain}) {
		t.Errorf("ended: %+v, dropped %v", end, u.drops)
	}
	if u.config.Federation.Active(a.config.TrustDomain) {
		t.Error("the federation is active after its end")
	}
	want = append(want, "AGREEMENT_SUSPENDED", "AGREEMENT_RESUMED", "AGREEMENT_SUSPENDED", "FEDERATION_ENDED")
	if got := u.shared.reasons(); !slices.Equal(got, want) {
		t.Errorf("shared entries = %v, want %v", got, want)
	}
	if last := u.shared.entries[len(u.shared.entries)-1]; last.Subject != end.Receipt || last.Holder != a.config.Gateway ||
		last.Officer != u.config.Pseudonym("operator") {
		t.Errorf("last entry = %+v", last)
	}
	for name, call := range map[string]func() error{
		"resume": func() error { _, err := u.admin.ResumeAgreement(t.Context(), u.id("legal"), id, ""); return err },
		"accept": func() error { _, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), file); return err },
		"sign":   func() error { _, err := u.sign(file); return err },
	} {
		if err := call(); query.ReasonOf(err) != query.UnknownPeer {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	peers, err := u.admin.Peers(t.Context(), true)
	u.ok(err)
	if len(peers) != 1 || peers[0].State != admin.PeerEnded || peers[0].Sentence == "" {
		t.Errorf("Peers = %+v", peers)
	}
	if peers, err := u.admin.Peers(t.Context(), false); err != nil || len(peers) != 0 {
		t.Errorf("Peers without ended ones = %v, %v", peers, err)
	}
}

// TestEndDeletes checks that the end of a federation deletes the neighbour's tag
// sets, with a receipt that names each segment.
func TestEndDeletes(t *testing.T) {
	t.Parallel()
	u, a := neighbours(t)
	segment, err := u.config.Store.PutSegment(t.Context(), []byte("a segment"))
	u.ok(err)
	u.ok(u.config.Store.AdvanceHeads(t.Context(), store.Head{Side: store.Accepted, Peer: a.config.TrustDomain,
		Collection: "watchlist", Class: "doc", Version: 1, Epoch: 1, Hash: [32]byte{1}, Manifest: []byte("m"),
		Segments: [][32]byte{segment}, Created: u.now}))
	u.shared.fail = audit.ErrStopped
	if _, err := u.admin.EndPeer(t.Context(), u.id("operator"), a.config.TrustDomain, ""); query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("end without a log: %v", err)
	}
	if u.config.Federation.Active(a.config.TrustDomain) || u.config.Store.HasSegment(segment) {
		t.Error("an end that cannot be logged did not take effect")
	}
	u.shared.fail = nil
	if _, err := u.admin.EndPeer(t.Context(), u.id("operator"), a.config.TrustDomain, ""); err != nil {
		t.Errorf("ending again: %v", err)
	}
	name := fmt.Sprintf("admin/ended/%s/%d", a.config.TrustDomain, u.now.UnixMilli())
	b, err := u.config.Store.Meta(t.Context(), name)
	if err != nil || !bytes.Contains(b, []byte(hex.EncodeToString(segment[:]))) {
		t.Errorf("the stored receipt does not name the segment: %v", err)
	}
	// The receipt in the log is of all that was deleted, also by the first call.
	r := binary.BigEndian.AppendUint16([]byte("passerelle/v1 purge receipt\x00"), uint16(len(a.config.TrustDomain)))
	r = append(r, a.config.TrustDomain...)
	r = binary.BigEndian.AppendUint64(r, uint64(u.now.UnixMilli()))
	r = hex.AppendEncode(r, segment[:])
	if last := u.shared.entries[len(u.shared.entries)-1]; last.Subject != sha256.Sum256(r) {
		t.Error("the receipt in the log is not that of the segment")
	}
}

func TestWrongFingerprint(t *testing.T) {
	t.Parallel()
	u, a := newCountry(t, "utopia", "UTO"), newCountry(t, "arcadia", "ARC")
	i, err := a.admin.Invite(t.Context(), a.id("operator"))
	a.ok(err)
	a.set(a.now.Add(time.Second))
	other, err := a.admin.Invite(t.Context(), a.id("operator"))
	a.ok(err)
	var texts []string
	for _, wrong := range []string{"", other.Fingerprint, strings.ToLower(i.Fingerprint), i.Fingerprint + "A", i.Fingerprint[1:]} {
		_, err := u.admin.AcceptInvite(t.Context(), u.id("operator"), i.File, wrong)
		if !errors.Is(err, admin.ErrFingerprint) {
			t.Fatalf("fingerprint %q: error = %v", wrong, err)
		}
		texts = append(texts, err.Error())
	}
	if len(slices.Compact(texts)) != 1 {
		t.Errorf("the texts differ: %q", texts)
	}
	if len(u.shared.entries) != 0 || len(u.config.Federation.Peers()) != 0 {
		t.Error("a refused invite has left something")
	}
	// An invite that may not be accepted leaves an entry that says so.
	_, err = u.admin.AcceptInvite(t.Context(), u.id("operator"), other.File, other.Fingerprint)
	u.ok(err)
	if _, err = u.admin.AcceptInvite(t.Context(), u.id("operator"), i.File, i.Fingerprint); !errors.Is(err, peer.ErrStale) ||
		query.ReasonOf(err) != query.Precondition {
		t.Errorf("older invite: %v", err)
	}
	if got := u.shared.reasons(); !slices.Equal(got, []string{"FEDERATION_ADDED", "FEDERATION_ADDED", "NOT_FEDERATION_ADDED"}) {
		t.Errorf("entries = %v", got)
	}
	u.set(u.now.Add(admin.InviteLife + time.Hour))
	if _, err = u.admin.AcceptInvite(t.Context(), u.id("operator"), i.File, i.Fingerprint); !errors.Is(err, peer.ErrExpired) {
		t.Errorf("expired invite: %v", err)
	}
	u.set(start)
	u.shared.fail = audit.ErrStopped
	a.set(a.now.Add(time.Minute))
	newer, err := a.admin.Invite(t.Context(), a.id("operator"))
	a.ok(err)
	before, _ := u.config.Federation.Peer(a.config.TrustDomain)
	u.set(a.now)
	if _, err := u.admin.AcceptInvite(t.Context(), u.id("operator"), newer.File, newer.Fingerprint); query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("without a log: %v", err)
	}
	if after, _ := u.config.Federation.Peer(a.config.TrustDomain); !after.Invited.Equal(before.Invited) {
		t.Error("an invite was accepted without an entry")
	}
}

// TestAgreementRefused changes what a file says, or who brings it.
func TestAgreementRefused(t *testing.T) {
	t.Parallel()
	u, a := neighbours(t)
	d, err := u.admin.DraftAgreement(t.Context(), u.id("legal"), []byte(draft))
	u.ok(err)
	change := func(f func(*agreement.Agreement)) []byte {
		g, err := agreement.Parse(d.Agreement.File)
		u.ok(err)
		f(g)
		return g.Bytes()
	}
	ours := func(g *agreement.Agreement) *agreement.Collection {
		c, err := g.Collection(u.config.TrustDomain, "watchlist")
		u.ok(err)
		return c
	}
	theirs := func(g *agreement.Agreement) *agreement.Collection {
		c, err := g.Collection(a.config.TrustDomain, "watchlist")
		u.ok(err)
		return c
	}
	other := hex.EncodeToString(make([]byte, 32))
	for name, tt := range map[string]struct {
		file []byte
		want error
	}{
		"our key":       {change(func(g *agreement.Agreement) { ours(g).KeyCommitment = other }), admin.ErrTerms},
		"their key":     {change(func(g *agreement.Agreement) { theirs(g).KeyCommitment = other }), admin.ErrTerms},
		"our category":  {change(func(g *agreement.Agreement) { ours(g).Category = "api" }), nil},
		"their gateway": {change(func(g *agreement.Agreement) { g.Parties[0].Gateway += "2" }), admin.ErrTerms},
		"our gateway":   {change(func(g *agreement.Agreement) { g.Parties[1].Gateway += "2" }), admin.ErrTerms},
		"strict":        {change(func(g *agreement.Agreement) { g.Strict = true }), admin.ErrTerms},
		"unfinished":    {change(func(g *agreement.Agreement) { theirs(g).KeyCommitment = "" }), nil},
	} {
		if v, err := u.sign(tt.file); err == nil || v != nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	signed, err := u.sign(d.Agreement.File)
	u.ok(err)
	_, err = u.admin.AcceptAgreement(t.Context(), u.id("legal"), signed.File)
	if query.ReasonOf(err) != query.SignatureInvalid || !errors.Is(err, agreement.ErrUnsigned) {
		t.Errorf("accepting with one signature: %v", err)
	}
	// The signature of another officer, and one without the role.
	g, err := agreement.Parse(signed.File)
	u.ok(err)
	sig := ed25519.Sign(ed25519.NewKeyFromSeed(u.keys["operator"].Bytes()), agreement.SigningBytes(g.Digest(), u.id("legal")))
	if _, err := u.admin.SignAgreement(t.Context(), u.id("legal"), d.Agreement.File, sig); query.ReasonOf(err) != query.SignatureInvalid {
		t.Errorf("signature with another key: %v", err)
	}
	sig = ed25519.Sign(ed25519.NewKeyFromSeed(u.keys["operator"].Bytes()), agreement.SigningBytes(g.Digest(), u.id("operator")))
	if _, err := u.admin.SignAgreement(t.Context(), u.id("operator"), d.Agreement.File, sig); query.ReasonOf(err) != query.RoleRequired {
		t.Errorf("signature of an operator: %v", err)
	}
	// A signature that their gateway did not attest.
	forged, err := agreement.Parse(d.Agreement.File)
	u.ok(err)
	_, key, err := ed25519.GenerateKey(nil)
	u.ok(err)
	u.ok(forged.Sign(a.config.TrustDomain, a.id("legal"), ed25519.NewKeyFromSeed(a.keys["legal"].Bytes()), key))
	if _, err := u.sign(forged.Bytes()); !errors.Is(err, agreement.ErrSignature) {
		t.Errorf("signing beside a forged attestation: %v", err)
	}
	u.ok(forged.Sign(u.config.TrustDomain, u.id("legal"), ed25519.NewKeyFromSeed(u.keys["legal"].Bytes()), u.config.StatementKey))
	if _, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), forged.Bytes()); !errors.Is(err, agreement.ErrSignature) {
		t.Errorf("accepting a forged attestation: %v", err)
	}
	// Nothing in force without an entry.
	both, err := a.sign(signed.File)
	u.ok(err)
	u.shared.fail = audit.ErrStopped
	if _, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), both.File); query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("accepting without a log: %v", err)
	}
	if n := len(u.config.Agreements.List(u.now)); n != 0 {
		t.Errorf("%d agreements are in the register", n)
	}
	// A suspension holds without one.
	u.shared.fail = nil
	v, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), both.File)
	u.ok(err)
	u.shared.fail = audit.ErrStopped
	if _, err := u.admin.SuspendAgreement(t.Context(), u.id("legal"), v.ID, ""); query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("suspending without a log: %v", err)
	}
	if _, _, err := u.config.Agreements.Active(v.ID, u.now); !errors.Is(err, agreement.ErrSuspended) {
		t.Errorf("a suspension that cannot be logged does not hold: %v", err)
	}
	if _, err := u.admin.ResumeAgreement(t.Context(), u.id("legal"), v.ID, ""); query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("resuming without a log: %v", err)
	}
	if _, _, err := u.config.Agreements.Active(v.ID, u.now); !errors.Is(err, agreement.ErrSuspended) {
		t.Errorf("a resumption without an entry took effect: %v", err)
	}
}

// A neighbour that comes with another signing key keeps no agreement, until our
// legal officers say so.
func TestSigningKeyChangeSuspends(t *testing.T) {
	t.Parallel()
	u, a := neighbours(t)
	v, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), agree(t, u, a))
	u.ok(err)
	accept := func() {
		t.Helper()
		a.set(a.now.Add(time.Second))
		u.set(a.now)
		u.federate(a)
	}
	accept()
	if _, _, err := u.config.Agreements.Active(v.ID, u.now); err != nil {
		t.Fatalf("after a new invite with the same key: %v", err)
	}
	pub, key, err := ed25519.GenerateKey(nil)
	a.ok(err)
	a.config.StatementVerifier, err = peer.VerifierKey(a.config.TrustDomain+"/statement", pub)
	a.ok(err)
	a.config.StatementKey = key
	a.restart()
	accept()
	if _, _, err := u.config.Agreements.Active(v.ID, u.now); !errors.Is(err, agreement.ErrSuspended) {
		t.Errorf("after a new signing key: %v, want suspended", err)
	}
	if got := u.shared.reasons(); !slices.Contains(got, "AGREEMENT_SUSPENDED") {
		t.Errorf("entries = %v", got)
	}
}

func TestDraftFaults(t *testing.T) {
	t.Parallel()
	u, _ := neighbours(t)
	for name, tt := range map[string]struct{ draft, want string }{
		"unknown key":      {draft + "purpose: x\n", "purpose"},
		"not yaml":         {"{", ""},
		"two documents":    {draft + "---\npeer: x\n", "more than one"},
		"stranger":         {strings.Replace(draft, "arcadia", "nowhere", 1), "exchange invites"},
		"side":             {strings.Replace(draft, "holder: ours", "holder: mine", 1), "collections[1].holder"},
		"category":         {strings.Replace(draft, "category: document", "category: secrets", 1), "is not one of"},
		"our collection":   {strings.Replace(draft, "name: documents", "name: permits", 1), `no collection "permits"`},
		"other category":   {strings.Replace(draft, "category: document", "category: api", 1), "has the category"},
		"days":             {strings.Replace(draft, "days: 90", "days: -1", 1), "days"},
		"strict":           {draft + "strict: true\n", "does not verify witnesses"},
		"no purpose":       {strings.Replace(draft, "  - {code: ct-travel-screening}", "  []", 1), "purposes"},
		"malformed file":   {"passerelle-agreement/v1\n{}\n", ""},
		"nobody's parties": {"passerelle-agreement/v1\n", ""},
	} {
		d, err := u.admin.DraftAgreement(t.Context(), u.id("legal"), []byte(tt.draft))
		if err != nil || d.Agreement != nil || !strings.Contains(strings.Join(d.Faults, "\n"), tt.want) || len(d.Faults) == 0 {
			t.Errorf("%s: %+v, %v, want a fault with %q", name, d, err, tt.want)
		}
	}
	d, err := u.admin.DraftAgreement(t.Context(), u.id("legal"), []byte(draft))
	u.ok(err)
	again, err := u.admin.DraftAgreement(t.Context(), u.id("legal"), d.Agreement.File)
	u.ok(err)
	if again.Agreement == nil || again.Agreement.Digest != d.Agreement.Digest {
		t.Errorf("the canonical file as a draft: %+v", again)
	}
}

func TestOfficers(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "utopia", "UTO")
	n := len(c.internal.entries)
	change := c.config.Officers.NewChange(officer.Enrol, c.person("k-1", officer.RoleAsking), c.now)
	for range 2 { // consenting twice is consenting once
		p, err := c.consent(change, "admin-a")
		c.ok(err)
		if p.Applied || !slices.Equal(p.SignedBy, []string{c.id("admin-a")}) || !p.Expires.Equal(c.now.Add(officer.ProposalLife)) {
			t.Errorf("proposal = %+v", p)
		}
	}
	c.restart()
	list, err := c.admin.ListOfficers(t.Context(), "", false)
	c.ok(err)
	if len(list.Pending) != 1 || list.Pending[0].SignedBy != c.id("admin-a") || list.Sequence != 2 {
		t.Fatalf("after a restart: %+v", list)
	}
	p, err := c.consent(change, "admin-b")
	c.ok(err)
	if !p.Applied || p.Officer == nil || p.Officer.ID != "k-1" || len(p.SignedBy) != 2 {
		t.Errorf("proposal = %+v", p)
	}
	want := []string{"OFFICER_CONSENT", "OFFICER_CONSENT", "OFFICER_ENROLLED"}
	if got := c.internal.reasons()[n:]; !slices.Equal(got, want) {
		t.Errorf("entries = %v, want %v", got, want)
	}
	_, head := c.config.Officers.Head()
	if last := c.internal.entries[len(c.internal.entries)-1]; last.Subject != head {
		t.Error("the last entry is not about the head of the register")
	}
	c.restart() // the proposals in the store are those that wait: none
	if list, err = c.admin.ListOfficers(t.Context(), officer.RoleAsking, false); err != nil || len(list.Pending) != 0 ||
		len(list.Officers) != 1 || list.Head != head {
		t.Errorf("after the change: %+v, %v", list, err)
	}

	// Refusals change nothing, and are no entries.
	n = len(c.internal.entries)
	retire := c.config.Officers.NewChange(officer.Retire, officer.Officer{ID: "k-1"}, c.now)
	stale := retire
	stale.Sequence--
	for name, tt := range map[string]struct {
		change officer.Change
		caller string
		key    string
		want   query.Reason
	}{
		"not an administrator": {retire, "operator", "operator", query.RoleRequired},
		"key of another":       {retire, "admin-a", "operator", query.SignatureInvalid},
		"stale":                {stale, "admin-a", "admin-a", query.Precondition},
		"nobody":               {retire, "nobody", "admin-a", query.NotEnrolled},
	} {
		b, err := tt.change.Bytes()
		c.ok(err)
		sig, err := officer.SignChange(c.keys[tt.key], tt.change)
		c.ok(err)
		if _, err := c.admin.ProposeOfficerChange(t.Context(), c.id(tt.caller), b, sig[:]); query.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	c.internal.fail = audit.ErrStopped
	if _, err := c.consent(retire, "admin-a"); query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("without a log: %v", err)
	}
	c.internal.fail = nil
	if len(c.internal.entries) != n || len(c.config.Officers.Pending(c.now)) != 0 {
		t.Error("a refused consent has left something")
	}
	if _, err := c.admin.ProposeOfficerChange(t.Context(), c.id("admin-a"), []byte("x"), nil); query.ReasonOf(err) != query.Malformed {
		t.Errorf("malformed change: %v", err)
	}
}

func TestIssueSVID(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "utopia", "UTO")
	id, err := officer.CreateIdentity(filepath.Join(c.files, "k-2"), c.id("k-2"))
	c.ok(err)
	csr, err := id.CSR()
	c.ok(err)
	if _, err := c.admin.IssueSVID(t.Context(), csr); query.ReasonOf(err) != query.NotEnrolled {
		t.Errorf("before enrolment: %v", err)
	}
	o := c.person("k-2", officer.RoleAsking)
	o.PublicKey = id.PublicKey()
	c.enrol(o)
	v, err := c.admin.IssueSVID(t.Context(), csr)
	c.ok(err)
	c.ok(id.SetSVID(pemOf(v.Certificates), pemOf(v.Bundle)))
	if _, err := id.Certificate(c.now); err != nil || !v.NotAfter.After(c.now) {
		t.Errorf("the certificate: %v, until %v", err, v.NotAfter)
	}
	other, err := officer.CreateIdentity(filepath.Join(c.files, "other"), c.id("k-2"))
	c.ok(err)
	foreign, err := officer.CreateIdentity(filepath.Join(c.files, "foreign"), "spiffe://border.arcadia.example/officer/k-2")
	c.ok(err)
	var texts []string
	for name, i := range map[string]*officer.Identity{"another key": other, "another country": foreign} {
		csr, err := i.CSR()
		c.ok(err)
		_, err = c.admin.IssueSVID(t.Context(), csr)
		if query.ReasonOf(err) != query.NotEnrolled {
			t.Errorf("%s: %v", name, err)
		}
		texts = append(texts, fmt.Sprint(err))
	}
	change := c.config.Officers.NewChange(officer.Retire, officer.Officer{ID: "k-2"}, c.now)
	for _, a := range []string{"admin-a", "admin-b"} {
		_, err := c.consent(change, a)
		c.ok(err)
	}
	_, err = c.admin.IssueSVID(t.Context(), csr)
	if texts = append(texts, fmt.Sprint(err)); query.ReasonOf(err) != query.NotEnrolled || len(slices.Compact(texts)) != 1 {
		t.Errorf("after retirement: %v; all: %q", err, texts)
	}
	for _, bad := range [][]byte{nil, []byte("x"), make([]byte, peer.MaxCSRSize+1)} {
		if _, err := c.admin.IssueSVID(t.Context(), bad); err == nil {
			t.Error("a malformed request was accepted")
		}
	}
}

func pemOf(ders [][]byte) []byte { return peer.AuthoritiesPEM(ders) }

func TestStatus(t *testing.T) {
	t.Parallel()
	u, a := neighbours(t)
	file := agree(t, u, a)
	_, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), file)
	u.ok(err)
	s := u.admin.Status(t.Context())
	if !s.Ready || len(s.Components) != 5 || len(s.Collections) != 2 || s.SharedSize != 2 {
		t.Errorf("status = %+v", s)
	}
	u.set(u.now.AddDate(0, 0, 70))
	u.shared.fail = audit.ErrStopped
	s = u.admin.Status(t.Context())
	if s.Ready || !slices.ContainsFunc(s.Components, func(c admin.Component) bool {
		return c.Name == "audit" && c.Health == admin.Failed && c.Sentence != ""
	}) {
		t.Errorf("status without a log = %+v", s)
	}
	warnings := strings.Join(s.Warnings, "\n")
	for _, want := range []string{"ends in 20 days", "the key of collection watchlist"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("warnings = %q, want %q", warnings, want)
		}
	}
	keys, err := u.admin.ListKeys(t.Context())
	u.ok(err)
	if len(keys) != 4 || keys[0].Collection != "documents" || keys[1].RotateBy != start.AddDate(0, 0, 30) || keys[2].Kind != "log" {
		t.Errorf("keys = %+v", keys)
	}
	for _, tt := range []struct {
		collection string
		epoch      uint32
		reason     query.Reason
	}{{"watchlist", 2, ""}, {"documents", 0, query.Internal}, {"other", 0, query.NotFound}} {
		epoch, err := u.admin.RotateKey(t.Context(), u.id("operator"), tt.collection, false)
		if epoch != tt.epoch || query.ReasonOf(err) != tt.reason {
			t.Errorf("RotateKey of %s = %d, %v, want %d, %q", tt.collection, epoch, err, tt.epoch, tt.reason)
		}
	}
	done := uint64(0)
	results, err := u.admin.Sync(t.Context(), u.id("operator"), "x", "y", func(_, _ string, n, _ uint64) { done = n })
	if err != nil || len(results) != 1 || results[0].To != 3 || done != 1 {
		t.Errorf("Sync = %v, %v", results, err)
	}
	u.ok(u.config.Store.Close())
	if s := u.admin.Status(t.Context()); s.Ready || s.Components[0].Health != admin.Failed {
		t.Errorf("status without a store = %+v", s)
	}
}

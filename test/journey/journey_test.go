// Package journey_test runs the two journeys of a query against each other with
// real parts and no network: what one side hands to the other is seen by the
// tests, and may be changed by them.
package journey_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// A clock is what all parts of a test see as the time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A country is both sides of a gateway, without its listeners.
type country struct {
	td, dir     string
	secrets     secrets
	clock       *clock
	store       *store.Store
	shared      *audit.Log
	internal    *audit.Log
	sharedLog   holder.Log // what the journeys write to; a test may wrap it
	internalLog asker.InternalLog
	keys        holder.Keys // nil means the country itself
	sharedKey   string      // verifier key of the shared log
	statement   ed25519.PrivateKey
	registry    *agreement.Registry
	register    *officer.Register
	officer     officer.PrivateKey
	auditor     sealed.Identity
	policy      *policy.Engine
	oprf        oprf.PrivateKey // of epoch 1
	epochs      sync.Mutex      // guards what follows
	known       []keys.Epoch
	later       []oprf.PrivateKey // of the epochs from 2 on
	peers       *peers
	library     *asker.Library
	holder      *holder.Holder
	asker       *asker.Asker
}

// peers stands in for the federation: it is a map of the other countries, and
// implements asker.Directory and holder.Peers.
type peers struct {
	mu     sync.Mutex
	known  map[string]*country
	ended  map[string]bool
	caller string
	// tap sees and may change what crosses the border.
	tap tap
}

type tap struct {
	request func(*query.Request) // before the holder sees it
	answer  func(*query.Answer)  // before the asker sees it
	header  func(*query.SyncHeader)
	segment func(*query.Segment)
	proof   func(*query.LogProof)
	lose    bool // the answer is lost on its way
}

func (p *peers) Active(td string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[td] != nil && !p.ended[td]
}

func (p *peers) StatementKey(td string) (ed25519.PublicKey, error) {
	if c := p.known[td]; c != nil {
		return c.statement.Public().(ed25519.PublicKey), nil
	}
	return nil, peer.ErrNotFederated
}

func (p *peers) LogKey(td string) (string, error)  { return p.known[td].sharedKey, nil }
func (p *peers) Gateway(td string) (string, error) { return gatewayID(td), nil }

func (p *peers) Neighbour(td string) (asker.Neighbour, error) {
	return &neighbour{p: p, to: p.known[td]}, nil
}

func gatewayID(td string) string { return "spiffe://" + td + "/gateway/main" }

// A neighbour calls another country's holder directly.
type neighbour struct {
	p  *peers
	to *country
}

func (n *neighbour) caller() holder.Caller {
	return holder.Caller{TrustDomain: n.p.caller, Gateway: gatewayID(n.p.caller)}
}

func (n *neighbour) Terms(ctx context.Context) (*query.Terms, error) {
	return n.to.holder.Terms(ctx, n.caller())
}

func (n *neighbour) Evaluate(ctx context.Context, r *query.Request) (*query.Answer, error) {
	if n.p.tap.request != nil {
		n.p.tap.request(r)
	}
	a, err := n.to.holder.Answer(ctx, n.caller(), r)
	if err != nil {
		return nil, err
	}
	if n.p.tap.lose {
		return nil, query.Refuse(query.Unreachable, nil)
	}
	// As on a wire: the asker gets a copy.
	if a, err = query.ParseAnswer(a.Bytes()); err == nil && n.p.tap.answer != nil {
		n.p.tap.answer(a)
	}
	return a, err
}

func (n *neighbour) Acknowledge(ctx context.Context, agreementID string, id query.ID) error {
	return n.to.holder.Acknowledge(ctx, n.caller(), agreementID, id)
}

func (n *neighbour) Prove(ctx context.Context, agreementID string, id query.ID) (*query.LogProof, error) {
	p, err := n.to.holder.Prove(ctx, n.caller(), agreementID, id)
	if p != nil && n.p.tap.proof != nil {
		n.p.tap.proof(p)
	}
	return p, err
}

func (n *neighbour) SyncTagSet(ctx context.Context, r query.SyncRequest, header func(*query.SyncHeader) error,
	segment func(query.Segment) error) error {
	return n.to.holder.SyncTagSet(ctx, n.caller(), r, func(h *query.SyncHeader) error {
		if n.p.tap.header != nil {
			n.p.tap.header(h)
		}
		return header(h)
	}, func(s query.Segment) error {
		s.Data = append([]byte(nil), s.Data...)
		if n.p.tap.segment != nil {
			n.p.tap.segment(&s)
		}
		return segment(s)
	})
}

// A country implements holder.Keys with the keys in later, and c.oprf for epoch 1. They
// are in memory only.

func (c *country) Collections() []string { return []string{"watchlist"} }

func (c *country) Epochs(string) ([]keys.Epoch, error) {
	c.epochs.Lock()
	defer c.epochs.Unlock()
	if len(c.known) == 0 {
		c.known = []keys.Epoch{{Number: 1, Created: c.clock.Now()}}
	}
	return slices.Clone(c.known), nil
}

func (c *country) Create(_ string, now time.Time) (uint32, error) {
	c.Epochs("")
	c.epochs.Lock()
	defer c.epochs.Unlock()
	next := uint32(len(c.known)) + 1
	c.known = append(c.known, keys.Epoch{Number: next, Created: now})
	c.later = append(c.later, oprf.GeneratePrivateKey())
	return next, nil
}

func (c *country) Destroy(_ string, epoch uint32, now time.Time) error {
	c.epochs.Lock()
	defer c.epochs.Unlock()
	c.known[epoch-1].Destroyed = now
	return nil
}

func (c *country) Server(collection string, epoch uint32) (*oprf.Server, error) {
	all, _ := c.Epochs(collection)
	switch {
	case epoch == 0 || int(epoch) > len(all) || !all[epoch-1].Destroyed.IsZero():
		return nil, errors.New("journey: no such epoch")
	case epoch == 1:
		return oprf.NewServer(c.oprf), nil
	}
	c.epochs.Lock()
	defer c.epochs.Unlock()
	return oprf.NewServer(c.later[epoch-2]), nil
}

func (c *country) Current(collection string) (uint32, *oprf.Server, error) {
	all, _ := c.Epochs(collection)
	epoch := all[len(all)-1].Number
	s, err := c.Server(collection, epoch)
	return epoch, s, err
}

// KeyID and Seal implement asker.Sealer.
func (c *country) KeyID() [8]byte { return c.auditor.Recipient().KeyID() }

func (c *country) Seal(id query.ID, leaf, content []byte) ([]byte, error) {
	return sealed.Seal(c.auditor.Recipient(), sealed.Context{QueryID: id, Leaf: leaf}, content)
}

// engine is shared by all tests: it holds no state of theirs.
var engine = sync.OnceValues(func() (*policy.Engine, error) {
	return policy.NewEngine(context.Background(), policy.Default())
})

// secrets are the keys of a country, kept so that it can be opened again.
type secrets struct {
	Statement, Shared, Internal, Officer, Second, OPRF []byte
	Auditor                                            string
	Register                                           []byte
	Founding                                           [32]byte
	Agreements                                         [][]byte
}

func newCountry(t *testing.T, td string, clk *clock) *country {
	t.Helper()
	return openCountry(t, t.TempDir(), td, clk)
}

// openCountry opens the country in dir, and makes it if there is none.
func openCountry(t *testing.T, dir, td string, clk *clock) *country {
	t.Helper()
	ctx := t.Context()
	c := &country{td: td, dir: dir, clock: clk, peers: &peers{known: map[string]*country{}, ended: map[string]bool{}, caller: td}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "secrets.json"))
	if errors.Is(err, fs.ErrNotExist) {
		b = makeSecrets(t, clk)
		must(os.WriteFile(filepath.Join(dir, "secrets.json"), b, 0o600))
	} else {
		must(err)
	}
	must(json.Unmarshal(b, &c.secrets))
	c.store, err = store.Open(ctx, filepath.Join(dir, "store"))
	must(err)
	t.Cleanup(func() { c.store.Close() })
	open := func(name string, seed []byte, internal bool) *audit.Log {
		key := ed25519.NewKeyFromSeed(seed)
		origin := td + "/log/" + name
		signer, verifier, err := audit.NewSigner(origin, key)
		must(err)
		if !internal {
			c.sharedKey, err = peer.VerifierKey(origin, key.Public().(ed25519.PublicKey))
			must(err)
		}
		l, err := audit.Open(ctx, audit.Config{Dir: filepath.Join(dir, name), Origin: origin, Signer: signer, Verifier: verifier,
			Internal: internal, Interval: audit.MinInterval})
		must(err)
		t.Cleanup(func() { l.Close(context.Background()) })
		return l
	}
	c.shared, c.internal = open("shared", c.secrets.Shared, false), open("internal", c.secrets.Internal, true)
	c.sharedLog, c.internalLog = c.shared, c.internal
	c.statement = ed25519.NewKeyFromSeed(c.secrets.Statement)
	c.policy, err = engine()
	must(err)
	c.auditor, err = sealed.ParseIdentity(c.secrets.Auditor)
	must(err)
	c.officer, err = officer.ParsePrivateKey(c.secrets.Officer)
	must(err)
	c.oprf, err = oprf.ParsePrivateKey(c.secrets.OPRF)
	must(err)
	c.register, err = officer.Load([][]byte{c.secrets.Register}, c.secrets.Founding, nil)
	must(err)
	c.registry = agreement.NewRegistry(td, nil)
	for _, file := range c.secrets.Agreements {
		g, err := agreement.Parse(file)
		must(err)
		_, err = c.registry.Put(file, g.Digest())
		must(err)
	}
	c.library = asker.NewLibrary(c.store)
	c.build()
	t.Cleanup(func() { c.asker.Close(context.Background()) })
	return c
}

// makeSecrets makes the keys of a country and the founding of its register.
func makeSecrets(t *testing.T, clk *clock) []byte {
	t.Helper()
	seed := func() []byte {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		return key.Seed()
	}
	s := secrets{Statement: seed(), Shared: seed(), Internal: seed(), Officer: seed(), Second: seed(),
		OPRF: oprf.GeneratePrivateKey().Bytes()}
	id, err := sealed.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	s.Auditor = id.Reveal()
	public := func(seed []byte) ed25519.PublicKey { return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey) }
	s.Register, s.Founding, err = officer.Found(
		officer.Officer{ID: "b-bg-2231", Unit: "border-north", PublicKey: public(s.Officer),
			Roles:   []officer.Role{officer.RoleAdministrator, officer.RoleAsking},
			Trained: []officer.Training{{Course: "lookup", Until: clk.Now().AddDate(1, 0, 0)}}},
		officer.Officer{ID: "b-bg-2232", Unit: "border-north", PublicKey: public(s.Second),
			Roles: []officer.Role{officer.RoleAdministrator}},
		clk.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// build makes the journeys from the parts, which a test may have changed.
func (c *country) build() {
	keys := c.keys
	if keys == nil {
		keys = c
	}
	c.holder = holder.New(holder.Config{TrustDomain: c.td, Gateway: gatewayID(c.td), Origin: c.td + "/log/shared",
		Software: "test", Peers: c.peers, Agreements: c.registry, Policy: c.policy, Shared: c.sharedLog,
		Internal: c.internalLog, Store: c.store, Keys: keys,
		StatementKey: c.statement, Now: c.clock.Now, Logger: slog.New(slog.DiscardHandler)})
	c.asker = asker.New(asker.Config{TrustDomain: c.td, Gateway: gatewayID(c.td), Country: "UTO", AgencyCode: "uto-bp",
		Officers: c.register, Agreements: c.registry, Directory: c.peers, Policy: c.policy, Shared: c.sharedLog,
		Internal: c.internalLog, Store: c.store, Library: c.library, Sealer: c, StatementKey: c.statement,
		Pseudonym: func(id string) (p [16]byte) { copy(p[:], c.td+id); return p },
		Now:       c.clock.Now})
}

// agree makes, signs and accepts an agreement under which a may ask about b's
// collections, changed by change before it is signed.
func agree(t *testing.T, a, b *country, change func(*agreement.Agreement)) *agreement.Agreement {
	t.Helper()
	party := func(c *country, code, name string) agreement.Party {
		return agreement.Party{Country: name, TrustDomain: c.td, Gateway: gatewayID(c.td), AgencyCode: code, Agency: name + " Border",
			Competences: []string{policy.ControlBorders, policy.CounterTerrorism},
			LegalBases: []agreement.LegalBasis{{Ref: "Border-Act s.14(2)", Purposes: []string{"ct-travel-screening"},
				Categories: []string{"watchlist"}}}}
	}
	g := agreement.New("a-b", party(a, "uto-bp", "UTO"), party(b, "qva-bp", "QVA"), a.clock.Now().Add(-time.Hour))
	for _, c := range []*country{b} {
		l := agreement.NewCollection("watchlist", c.td, "watchlist", "doc", "doc+dob", "name+dob", "name+year")
		pk := c.oprf.PublicKey()
		l.KeyCommitment = hex.EncodeToString(pk[:])
		g.Collections = append(g.Collections, l)
	}
	g.Purposes = []agreement.Purpose{{Code: "ct-travel-screening", Categories: []string{"watchlist"}}}
	g.OffenceClasses = []string{"terrorism"}
	g.Budgets = []agreement.Budget{{Collection: "watchlist", PerDay: 100000, Burst: 50000}}
	if change != nil {
		change(g)
	}
	for _, c := range []*country{a, b} {
		key := ed25519.NewKeyFromSeed(c.officer.Bytes())
		if err := g.Sign(c.td, "spiffe://"+c.td+"/officer/legal-1", key, c.statement); err != nil {
			t.Fatal(err)
		}
	}
	file := g.Bytes()
	for _, c := range []*country{a, b} {
		if _, err := c.registry.Put(file, g.Digest()); err != nil {
			t.Fatal(err)
		}
		c.secrets.Agreements = append(c.secrets.Agreements, file)
		b, err := json.Marshal(&c.secrets)
		if err == nil {
			err = os.WriteFile(filepath.Join(c.dir, "secrets.json"), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a.peers.known[b.td], b.peers.known[a.td] = b, a
	return g
}

// load puts records into a collection, as its own if they name no originator.
func (c *country) load(t *testing.T, records ...record.Record) {
	t.Helper()
	rows := func(yield func(store.RecordRow, error) bool) {
		for i := range records {
			if records[i].Originator == "" {
				records[i].Originator = c.td
			}
			b, err := json.Marshal(&records[i])
			if !yield(store.RecordRow{ID: records[i].ID, JSON: b, State: "active"}, err) {
				return
			}
		}
	}
	if _, err := c.store.PutRecords(t.Context(), "watchlist", "test", iter.Seq2[store.RecordRow, error](rows)); err != nil {
		t.Fatal(err)
	}
}

func listed(i int) record.Record {
	born := record.Date{Year: 1970 + i%30, Month: 1 + i%12, Day: 1 + i%28}
	return record.Record{
		ID:        fmt.Sprintf("r-%d", i),
		Names:     []record.Name{{Text: fmt.Sprintf("Listed%s Person%s", letters(i), letters(i/7)), Kind: record.NamePrimary}},
		Births:    []record.Birth{record.Born(born)},
		Documents: []record.Document{{Type: record.Passport, Issuer: "UTO", Number: fmt.Sprintf("X%07d", i)}},
		Nominator: "QVA-BP", Criterion: "ct", ReliabilityGrade: "B2", ReviewBy: record.Date{Year: 2027, Month: 6, Day: 1}, SubjectCategory: "suspect",
	}
}

func letters(i int) string {
	s := ""
	for ; i > 0; i /= 26 {
		s += string(rune('a' + i%26))
	}
	return s
}

// traveller returns the subject that listed(i) is about.
func traveller(i int) record.Subject {
	r := listed(i)
	return record.Subject{Ref: fmt.Sprintf("row-%d", i), Name: r.Names[0].Text, Birth: r.Births[0].From, Document: r.Documents[0]}
}

// ask returns a signed ask about subjects.
func (c *country) ask(t *testing.T, change func(*asker.Ask), subjects ...record.Subject) (*asker.Result, error) {
	t.Helper()
	a := &asker.Ask{Request: query.NewID(c.clock.Now()), Purpose: "ct-travel-screening", LegalBasis: "Border-Act s.14(2)",
		OffenceClass: "terrorism", CaseReference: "2026-CT-118", SubjectCategory: "suspect",
		Justification: "The traveller booked a one-way ticket to a conflict area and matches an intelligence report.",
		Kind:          query.Single, Subjects: subjects}
	if len(subjects) > 1 {
		a.Kind = query.Set
	}
	if change != nil {
		change(a)
	}
	sig, err := officer.SignAsk(c.officer, a.Digest())
	if err != nil {
		t.Fatal(err)
	}
	return c.asker.Ask(t.Context(), "spiffe://"+c.td+"/officer/b-bg-2231", a, sig[:])
}

// pair returns an asker that has synchronised with a holder of n records.
func pair(t *testing.T, n int, change func(*agreement.Agreement)) (a, b *country) {
	t.Helper()
	clk := newClock()
	a, b = newCountry(t, "border.utopia.example", clk), newCountry(t, "border.valdera.example", clk)
	agree(t, a, b, change)
	var records []record.Record
	for i := range n {
		records = append(records, listed(i))
	}
	b.load(t, records...)
	if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range a.asker.Sync(t.Context(), "", "", nil) {
		if r.Refusal != nil {
			t.Fatalf("sync: %v", r.Refusal)
		}
	}
	return a, b
}

// kinds returns the kinds of the entries of a log from an index on.
func kinds(t *testing.T, l *audit.Log, from uint64) (out []string) {
	t.Helper()
	for e, err := range l.Entries(t.Context(), from, l.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Entry.Kind.String())
	}
	return out
}

func TestLookup(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 50, nil)
	for _, tt := range []struct {
		name    string
		subject record.Subject
		want    int
		classes int
	}{
		{"listed", traveller(7), 1, 4},
		{"not listed", record.Subject{Ref: "x", Name: "Nobody Atall", Birth: record.Date{Year: 1980, Month: 2, Day: 3}}, 0, 0},
		{"name and year only", record.Subject{Ref: "y", Name: traveller(9).Name, Birth: record.Date{Year: traveller(9).Birth.Year}}, 1, 1},
	} {
		sharedA, internalA, sharedB := a.shared.Size(), a.internal.Size(), b.shared.Size()
		result, err := a.ask(t, nil, tt.subject)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if r := result.Targets[0].Refusal; r != nil {
			t.Fatalf("%s: %v", tt.name, r)
		}
		if got := len(result.Candidates); got != tt.want {
			t.Errorf("%s: %d candidates, want %d", tt.name, got, tt.want)
		}
		if tt.want == 1 && len(result.Candidates[0].Classes) != tt.classes {
			t.Errorf("%s: classes %v, want %d", tt.name, result.Candidates[0].Classes, tt.classes)
		}
		if err := a.asker.LogOutcomes(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The shared logs grow by the same for a hit and a miss.
		if got, want := fmt.Sprint(kinds(t, a.shared, sharedA)), "[intent receipt]"; got != want {
			t.Errorf("%s: asker's shared log grew by %s, want %s", tt.name, got, want)
		}
		if got, want := fmt.Sprint(kinds(t, b.shared, sharedB)), "[decision]"; got != want {
			t.Errorf("%s: holder's shared log grew by %s, want %s", tt.name, got, want)
		}
		if got, want := fmt.Sprint(kinds(t, a.internal, internalA)), "[outcome]"; got != want {
			t.Errorf("%s: internal log grew by %s, want %s", tt.name, got, want)
		}
	}
}

package inspect_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// canary is in every place of the content that names somebody, and must be nowhere
// else.
const canary = "KOWALSKACANARY"

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	ours   = "a.example"
	theirs = "b.example"
	us     = "spiffe://a.example/gateway/main"
	them   = "spiffe://b.example/gateway/main"
)

// engine is one engine with the built-in rules for all tests: making it active runs
// the tests of the rules, each of which must end within seconds, so a machine that
// is busy with other things gets a second chance.
var engine = sync.OnceValues(func() (e *policy.Engine, err error) {
	for range 5 {
		if e, err = policy.NewEngine(context.Background(), policy.Default()); err == nil {
			break
		}
	}
	return e, err
})

func pseudonym(id string) [16]byte {
	h := sha256.Sum256([]byte("test pseudonym key" + id))
	return [16]byte(h[:])
}

type peers map[string]ed25519.PublicKey

func (p peers) StatementKey(td string) (ed25519.PublicKey, error) {
	if k, ok := p[td]; ok {
		return k, nil
	}
	return nil, errors.New("unknown")
}

// A world is one gateway with logs, store, rules and officers: auditor (also an
// administrator), asker (also one), lawyer and operator.
type world struct {
	t         *testing.T
	inspector *inspect.Inspector
	shared    *audit.Log
	internal  *audit.Log
	dirs      map[inspect.Which]string
	keys      map[inspect.Which]string
	store     *store.Store
	engine    *policy.Engine
	officers  map[string]officer.PrivateKey
	register  *officer.Register
	holder    ed25519.PrivateKey
	identity  sealed.Identity
	unsettled error // of Settle
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, dirs: make(map[inspect.Which]string), keys: make(map[inspect.Which]string),
		officers: make(map[string]officer.PrivateKey)}
	dir := t.TempDir()
	open := func(which inspect.Which, name string) *audit.Log {
		_, key, err := ed25519.GenerateKey(nil)
		ok(t, err)
		origin := ours + "/" + name
		signer, verifier, err := audit.NewSigner(origin, key)
		ok(t, err)
		line, err := note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
		ok(t, err)
		w.keys[which], w.dirs[which] = line, filepath.Join(dir, name)
		l, err := audit.Open(ctx, audit.Config{Dir: w.dirs[which], Origin: origin, Signer: signer, Verifier: verifier,
			Internal: which == inspect.Internal, Interval: audit.MinInterval})
		ok(t, err)
		t.Cleanup(func() {
			if err := l.Close(context.Background()); err != nil {
				t.Errorf("closing the %s log: %v", name, err)
			}
		})
		return l
	}
	w.shared, w.internal = open(inspect.Shared, "shared"), open(inspect.Internal, "internal")
	var err error
	w.store, err = store.Open(ctx, filepath.Join(dir, "store"))
	ok(t, err)
	t.Cleanup(func() { w.store.Close() })
	w.engine, err = engine()
	ok(t, err)
	_, w.holder, err = ed25519.GenerateKey(nil)
	ok(t, err)
	w.identity, err = sealed.GenerateIdentity()
	ok(t, err)

	person := func(id string, roles ...officer.Role) officer.Officer {
		key, err := officer.GeneratePrivateKey()
		ok(t, err)
		w.officers[id] = key
		return officer.Officer{ID: id, Unit: "unit-" + id, Roles: roles, PublicKey: key.PublicKey()}
	}
	before := noon.Add(-24 * time.Hour)
	record, founding, err := officer.Found(person("auditor", officer.RoleAdministrator, officer.RoleAuditor),
		person("asker", officer.RoleAdministrator, officer.RoleAsking), before)
	ok(t, err)
	w.register, err = officer.Load([][]byte{record}, founding, func([]byte) error { return nil })
	ok(t, err)
	for _, o := range []officer.Officer{person("lawyer", officer.RoleLegal), person("operator", officer.RoleOperator)} {
		c := w.register.NewChange(officer.Enrol, o, before)
		for _, admin := range []string{"auditor", "asker"} {
			sig, err := officer.SignChange(w.officers[admin], c)
			ok(t, err)
			_, err = w.register.Propose(c, admin, sig[:], before)
			ok(t, err)
		}
	}
	w.inspector = w.open(w.engine)
	return w
}

func (w *world) open(p inspect.Policy) *inspect.Inspector {
	_, own, err := ed25519.GenerateKey(nil)
	ok(w.t, err)
	i, err := inspect.New(inspect.Config{
		TrustDomain: ours, Gateway: us,
		Shared:   inspect.Source{Log: w.shared, Files: os.DirFS(w.dirs[inspect.Shared]), Key: w.keys[inspect.Shared]},
		Internal: inspect.Source{Log: w.internal, Files: os.DirFS(w.dirs[inspect.Internal]), Key: w.keys[inspect.Internal]},
		Store:    w.store, Policy: p, Peers: peers{theirs: w.holder.Public().(ed25519.PublicKey)}, Officers: w.register,
		StatementKey: own.Public().(ed25519.PublicKey), Pseudonym: pseudonym,
		Now:    func() time.Time { return noon.Add(time.Hour) },
		Settle: func(context.Context) error { return w.unsettled },
	})
	ok(w.t, err)
	return i
}

func id(officer string) string { return "spiffe://" + ours + "/officer/" + officer }

// auditor is who may read.
var auditor = inspect.Reader{Officer: id("auditor"), Control: policy.CheckLawfulness}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An asked is one query as both sides left it.
type asked struct {
	id       query.ID
	content  *query.Content
	request  *query.Request
	intent   []byte // bytes of the entry
	receipt  []byte
	ours     *entry.Entry // receipt entry
	decision *entry.Entry // of the holder
}

// ask makes one query about n people and puts it on record, as an asker does, with
// the client of package oprf.
func (w *world) ask(n int, found bool) *asked {
	t, ctx := w.t, w.t.Context()
	t.Helper()
	began := noon.Add(time.Duration(w.shared.Size()) * time.Second)
	q := &asked{id: query.NewID(began)}
	items := query.PadItems(n)
	kind := query.Set
	if n == 1 {
		kind = query.Single
	}
	in := policy.AskInput{
		Now: policy.NewTime(began), Self: policy.Gateway{TrustDomain: ours}, Peer: policy.Gateway{TrustDomain: theirs},
		Officer: policy.NewOfficer("asker", pseudonym("asker"), pseudonym("unit/unit-asker"), []string{"asking"}, policy.Time{}),
		Query: policy.AskQuery{Collection: "watchlist", Category: "watchlist", PurposeCode: "ct-travel-screening",
			LegalBasisRef: "Act & s.14(2)",
			OffenceCode:   "terrorism", Urgency: "ordinary", Kind: kind.String(), SubjectCount: int64(n),
			Case:          policy.NewRef("case"),
			Justification: policy.NewText("why")},
		Subject: policy.Subject{Category: "suspect", AgeYears: -1, AgeCertainty: "unknown"},
	}
	stored, inputDigest := in.Stored()
	request := query.NewID(began)
	asked := query.Asked{Purpose: "ct-travel-screening", LegalBasis: "Act & s.14(2)", OffenceClass: "terrorism",
		CaseReference: canary + "-case", Justification: canary + " boards tonight", SubjectCategory: "suspect", Kind: kind.String()}
	pk := oprf.GeneratePrivateKey().PublicKey()
	classes := []string{"doc", "name+dob"}
	var batches []query.ContentBatch
	for _, class := range classes {
		batches = append(batches, query.ContentBatch{Class: class, Epoch: 3, Info: []byte("info " + class), PublicKey: pk[:]})
	}
	var contentItems []query.ContentItem
	for j := range n {
		subject := record.Subject{Ref: canary + "-seat", Name: canary + " Traveller", Birth: record.Date{Year: 1980, Month: 2, Day: 3},
			Document: record.Document{Type: record.Passport, Issuer: "UTO", Number: canary}}
		if j == 1 {
			subject.Document = record.Document{}
		}
		asked.Subjects = append(asked.Subjects, query.AskedSubject{Ref: subject.Ref, Name: subject.Name, Birth: subject.Birth.String(),
			DocType: string(subject.Document.Type), DocIssuer: subject.Document.Issuer, DocNumber: subject.Document.Number})
		item := query.ContentItem{Ref: subject.Ref, Keys: make([][]byte, len(classes))}
		for _, k := range subject.Keys() {
			if c := slices.Index(classes, string(k.Class)); c >= 0 {
				item.Keys[c] = k.Bytes
			}
		}
		contentItems = append(contentItems, item)
	}
	digest := asked.Digest(request)
	sig, err := officer.SignAsk(w.officers["asker"], digest)
	ok(t, err)
	seed := oprf.GenerateSeed()
	q.content = &query.Content{
		Version: query.ContentVersion, Query: q.id.String(), Request: request.String(), Officer: id("asker"),
		Unit: "unit-asker", Asked: asked,
		AskDigest:    digest[:],
		AskSignature: sig[:], Input: stored, Holder: theirs, Seed: seed.Bytes(), Batches: batches, Items: contentItems,
	}

	e := entry.Entry{
		Kind: entry.KindIntent, Time: began.UnixMilli(), Query: q.id, Direction: entry.DirectionAsked, Asker: us, Holder: them,
		Agreement: "a-b-1", AgreementDigest: [32]byte{1}, Purpose: "ct-travel-screening", Collection: "watchlist",
		Items:    uint32(items),
		Protocol: query.Protocol, Normalisation: 1, ListVersion: 7,
		Decision: entry.DecisionAllowed, Rules: []string{"RU-01", "RU-03"}, Bundle: w.engine.BundleDigest(), Input: inputDigest,
		Officer: pseudonym("asker"), Unit: pseudonym("unit/unit-asker"), Auditor: w.identity.Recipient().KeyID(),
	}
	binding, err := e.SealedContext()
	ok(t, err)
	content, err := q.content.Bytes()
	ok(t, err)
	ciphertext, err := sealed.Seal(w.identity.Recipient(), sealed.Context{QueryID: q.id, Leaf: binding}, content)
	ok(t, err)
	e.Sealed = sealed.Digest(ciphertext)
	q.intent, err = e.Bytes()
	ok(t, err)

	q.request = &query.Request{
		ID: q.id, Protocol: query.Protocol, Normalisation: 1, ListVersion: 7, AskerLeaf: entry.LeafHash(q.intent),
		Sealed: e.Sealed,
		Facts: query.Facts{Agreement: "a-b-1", AgreementDigest: e.AgreementDigest, Collection: "watchlist", Purpose: e.Purpose,
			LegalBasis: "Act & s.14(2)", OffenceClass: "terrorism", Urgency: "ordinary", Category: "watchlist", Kind: kind,
			Items: uint32(items),
			Unit:  e.Unit, CaseReference: true, Justification: true},
		Statement: query.Statement{Rules: e.Rules, Bundle: e.Bundle, Signature: [64]byte{1, 2, 3}},
	}
	client, err := oprf.NewClient(pk)
	ok(t, err)
	for c, class := range classes {
		for first := 0; first < items; first += query.MaxChunk {
			inputs := make([][]byte, min(items-first, query.MaxChunk))
			for j := range inputs {
				if first+j < n {
					inputs[j] = q.content.Items[first+j].Keys[c]
				}
			}
			chunk := uint32(first / query.MaxChunk)
			_, elements, err := client.Blind(inputs, seed, oprf.BlindContext{QueryID: q.id, Holder: theirs,
				Info: []byte("info " + class), Chunk: chunk})
			ok(t, err)
			b := query.Batch{Class: class, Epoch: 3, Chunk: chunk}
			for _, x := range elements {
				b.Elements = append(b.Elements, x)
			}
			q.request.Batches = append(q.request.Batches, b)
		}
	}

	a := store.Ask{ID: q.id, Holder: theirs, Collection: "watchlist", Agreement: "a-b-1", Purpose: e.Purpose, Kind: kind.String(),
		Items: int64(n), State: store.AskIntent, Header: q.request.AppendHeader(nil), Created: began}
	ok(t, w.store.PutAsk(ctx, store.Intent{Ask: a, PolicyInput: &store.PolicyInput{Digest: inputDigest, Input: stored,
		Created: began},
		Sealed: &store.SealedContent{Hash: e.Sealed, Content: ciphertext, Expires: began.AddDate(0, 0, 30)}}))
	_, err = w.shared.Append(ctx, &e)
	ok(t, err)

	// The holder.
	d := e
	d.Kind, d.Direction, d.Time = entry.KindDecision, entry.DirectionAnswered, began.Add(time.Second).UnixMilli()
	d.Officer, d.Auditor, d.Sealed = [16]byte{}, [8]byte{}, [32]byte{}
	d.Request, d.PeerLeaf, d.PeerSealed = q.request.Digest(), q.request.AskerLeaf, q.request.Sealed
	leaf, err := d.Leaf()
	ok(t, err)
	q.decision = &d
	q.receipt, err = entry.SignReceipt(entry.Receipt{Query: q.id, Request: d.Request, Answer: [32]byte{9}, ListVersion: 7,
		Decision: entry.DecisionAllowed, Leaf: leaf, Index: 5, Origin: theirs + "/shared", Time: d.Time}, w.holder)
	ok(t, err)

	r := e
	r.Kind, r.Time, r.Rules, r.Bundle, r.Input = entry.KindReceipt, d.Time, nil, [32]byte{}, [32]byte{}
	r.Officer, r.Unit, r.Auditor, r.Sealed = [16]byte{}, [16]byte{}, [8]byte{}, [32]byte{}
	r.Request, r.Receipt, r.PeerLeaf = d.Request, entry.ReceiptDigest(q.receipt), leaf
	q.ours = &r
	_, err = w.shared.Append(ctx, &r)
	ok(t, err)
	ok(t, w.store.UpdateAsk(ctx, store.AskUpdate{ID: q.id, State: store.AskAnswered, RequestDigest: d.Request,
		Receipt: q.receipt, Time: began}))
	o := r
	o.Kind, o.Outcome, o.Decision, o.Request, o.Receipt, o.PeerLeaf = entry.KindOutcome, entry.OutcomeNoCandidate, 0,
		[32]byte{}, [32]byte{}, [32]byte{}
	if found {
		o.Outcome = entry.OutcomeCandidate
	}
	_, err = w.internal.Append(ctx, &o)
	ok(t, err)
	return q
}

// settle waits until checkpoints cover everything.
func (w *world) settle() {
	w.t.Helper()
	for _, l := range []*audit.Log{w.shared, w.internal} {
		if n := l.Size(); n > 0 {
			ok(w.t, l.Await(w.t.Context(), n-1))
		}
	}
}

// last returns the newest entry of the internal log.
func (w *world) last() *entry.Entry {
	w.t.Helper()
	n := w.internal.Size()
	for x, err := range w.internal.Entries(w.t.Context(), n-1, n) {
		ok(w.t, err)
		return x.Entry
	}
	w.t.Fatal("the internal log is empty")
	return nil
}

// readings calls every kind of reading that needs the door.
func (w *world) readings(r inspect.Reader, q *asked) map[string]func() (any, error) {
	ctx, i := w.t.Context(), w.inspector
	return map[string]func() (any, error){
		"LIST": func() (any, error) {
			rows, _, err := i.List(ctx, r, inspect.Shared, inspect.Filter{}, inspect.Page{})
			return rows, err
		},
		"LIST_INTERNAL": func() (any, error) {
			rows, _, err := i.List(ctx, r, inspect.Internal, inspect.Filter{}, inspect.Page{})
			return rows, err
		},
		"LIST_OFFICER": func() (any, error) {
			rows, _, err := i.List(ctx, r, inspect.Shared, inspect.Filter{Officer: id("asker")}, inspect.Page{})
			return rows, err
		},
		"ENTRY": func() (any, error) { p, _, err := i.Entry(ctx, r, inspect.Shared, 0, [32]byte{}); return p.Bytes, err },
		"PROOF": func() (any, error) { p, err := i.Proof(ctx, r, inspect.Shared, 0); return p.Proof, err },
		"SHOW":  func() (any, error) { return i.Show(ctx, r, q.id) },
		"STATS": func() (any, error) {
			return i.Stats(ctx, r, time.Time{}, time.Time{}, []inspect.Criterion{inspect.ByPeer})
		},
		"VERIFY": func() (any, error) { return i.Verify(ctx, r, inspect.Shared) },
		"EXPORT": func() (any, error) {
			var b bytes.Buffer
			err := i.Export(ctx, r, inspect.Shared, time.Time{}, time.Time{}, &b)
			return b.Bytes(), err
		},
		"EXPORT_INTERNAL": func() (any, error) {
			n := 0
			err := i.Files(ctx, r, inspect.Internal, 0, func(string, []byte) error { n++; return nil })
			return make([]byte, n), err
		},
		"SEALED": func() (any, error) { return i.Sealed(ctx, r, q.id, [32]byte{}) },
	}
}

func TestReadingIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	w.settle()
	for what, read := range w.readings(auditor, q) {
		before := w.internal.Size()
		if _, err := read(); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := w.internal.Size(); got != before+1 {
			t.Errorf("%s: %d entries more, want 1", what, got-before)
		}
		e := w.last()
		if e.Kind != entry.KindRead || e.Reason != what || e.Purpose != policy.CheckLawfulness ||
			e.Officer != pseudonym("auditor") {
			t.Errorf("%s: the record is %s %s for %q", what, e.Kind, e.Reason, e.Purpose)
		}
	}
}

func TestReadingIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	w.settle()
	tests := []struct {
		name   string
		r      inspect.Reader
		want   query.Reason
		record bool
	}{
		{"no purpose", inspect.Reader{Officer: id("auditor")}, query.PolicyDenied, true},
		{"not a control", inspect.Reader{Officer: id("auditor"), Control: "investigation of " + canary}, query.PolicyDenied,
			true},
		{"no role", inspect.Reader{Officer: id("asker"), Control: policy.CheckLawfulness}, query.PolicyDenied, true},
		{"legal officer", inspect.Reader{Officer: id("lawyer"), Control: policy.CheckLawfulness}, query.PolicyDenied, true},
		{"stranger", inspect.Reader{Officer: id("nobody"), Control: policy.CheckLawfulness}, query.NotEnrolled, false},
		{"of another country", inspect.Reader{Officer: "spiffe://b.example/officer/auditor", Control: policy.CheckLawfulness},
			query.NotEnrolled, false},
		{"a gateway", inspect.Reader{Officer: us, Control: policy.CheckLawfulness}, query.NotEnrolled, false},
	}
	for _, tt := range tests {
		for what, read := range w.readings(tt.r, q) {
			before := w.internal.Size()
			got, err := read()
			if reason := query.ReasonOf(err); reason != tt.want {
				t.Errorf("%s, %s: reason %q, want %q", tt.name, what, reason, tt.want)
			}
			if !empty(got) {
				t.Errorf("%s, %s: something came with a refusal", tt.name, what)
			}
			recorded := w.internal.Size() - before
			if tt.record != (recorded == 1) {
				t.Errorf("%s, %s: %d records", tt.name, what, recorded)
			}
			if !tt.record {
				continue
			}
			if e := w.last(); e.Reason != "REFUSED_"+what || strings.Contains(e.Purpose, canary) {
				t.Errorf("%s, %s: the record is %s", tt.name, what, e.Reason)
			}
		}
	}
	refusal, _ := errors.AsType[*query.Refusal](func() error {
		_, err := w.inspector.Show(t.Context(), inspect.Reader{Officer: id("auditor")}, q.id)
		return err
	}())
	if len(refusal.Denials) != 1 || refusal.Denials[0].Rule != "RU-40" {
		t.Errorf("denials = %v, want RU-40", refusal.Denials)
	}
}

// empty reports whether v is nil, a nil pointer or nothing of a kind.
func empty(v any) bool {
	b, err := json.Marshal(v)
	return err == nil && (string(b) == "null" || string(b) == `""` || string(b) == "[]")
}

// TestNoRecordNothingRead closes the internal log: then nothing is returned.
func TestNoRecordNothingRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	w.settle()
	ok(t, w.internal.Close(t.Context()))
	for what, read := range w.readings(auditor, q) {
		got, err := read()
		if reason := query.ReasonOf(err); reason != query.AuditUnavailable || !empty(got) {
			t.Errorf("%s: reason %q", what, reason)
		}
	}
}

// TestNothingReadBeforeSettled has entries on their way that cannot be logged: a list of
// the log would miss them, so there is none.
func TestNothingReadBeforeSettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	w.settle()
	w.unsettled = errors.New("test: not logged")
	for what, read := range w.readings(auditor, q) {
		got, err := read()
		if reason := query.ReasonOf(err); reason != query.AuditUnavailable || !empty(got) {
			t.Errorf("%s: reason %q", what, reason)
		}
	}
}

// A broken policy denies with an error.
type broken struct{ *policy.Engine }

func (broken) Decide(context.Context, policy.Input) (policy.Decision, error) {
	return policy.Decision{}, policy.ErrUndefined
}

func TestBrokenPolicyRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	got, err := w.open(broken{w.engine}).Show(t.Context(), auditor, q.id)
	if reason := query.ReasonOf(err); reason != query.PolicyUnavailable || got != nil {
		t.Errorf("reason %q, want %q", reason, query.PolicyUnavailable)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.ask(1, false), w.ask(3, true)
	tests := []struct {
		name  string
		which inspect.Which
		f     inspect.Filter
		want  int
	}{
		{"all", inspect.Shared, inspect.Filter{}, 4},
		{"query", inspect.Shared, inspect.Filter{Query: a.id}, 2},
		{"kind", inspect.Shared, inspect.Filter{Kind: entry.KindIntent}, 2},
		{"peer", inspect.Shared, inspect.Filter{Peer: theirs}, 4},
		{"ourselves are no peer", inspect.Shared, inspect.Filter{Peer: ours}, 0},
		{"purpose", inspect.Shared, inspect.Filter{Purpose: "other"}, 0},
		{"decision", inspect.Shared, inspect.Filter{Decision: entry.DecisionDenied}, 0},
		{"collection", inspect.Shared, inspect.Filter{Collection: "watchlist"}, 4},
		{"officer", inspect.Shared, inspect.Filter{Officer: id("asker")}, 2},
		{"other officer", inspect.Shared, inspect.Filter{Officer: id("lawyer")}, 0},
		{"since", inspect.Shared, inspect.Filter{Since: noon.Add(2 * time.Second)}, 2},
		{"until", inspect.Shared, inspect.Filter{Until: noon.Add(2 * time.Second), Kind: entry.KindReceipt}, 1},
		{"outcomes", inspect.Internal, inspect.Filter{Kind: entry.KindOutcome, Query: b.id}, 1},
		{"reads", inspect.Internal, inspect.Filter{Purpose: policy.CheckLawfulness, Kind: entry.KindRead,
			Collection: "watchlist"}, 1},
	}
	for _, tt := range tests {
		rows, next, err := w.inspector.List(t.Context(), auditor, tt.which, tt.f, inspect.Page{})
		if err != nil || len(rows) != tt.want || next != "" {
			t.Errorf("%s: %d rows, token %q, %v; want %d", tt.name, len(rows), next, err, tt.want)
		}
		for _, r := range rows {
			if r.Log != tt.which || r.Entry.Kind == entry.KindIntent && !r.Sealed {
				t.Errorf("%s: row of %s, sealed %v", tt.name, r.Log, r.Sealed)
			}
		}
	}
	if _, _, err := w.inspector.List(t.Context(), auditor, inspect.Shared, inspect.Filter{Officer: "asker"},
		inspect.Page{}); query.ReasonOf(err) != query.Malformed {
		t.Errorf("a filter by something that is no SPIFFE ID: %v", err)
	}
}

// TestListPages reads the internal log in pages of one: each page adds an entry to
// that very log, and the list still ends.
func TestListPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		w.ask(1, false)
	}
	var indexes []uint64
	for page := (inspect.Page{Size: 1}); ; {
		rows, next, err := w.inspector.List(t.Context(), auditor, inspect.Internal, inspect.Filter{}, page)
		ok(t, err)
		for _, r := range rows {
			indexes = append(indexes, r.Index)
		}
		if next == "" || len(indexes) > 3 {
			break
		}
		page.Token = next
	}
	if want := []uint64{0, 1, 2}; !slices.Equal(indexes, want) {
		t.Errorf("indexes = %v, want %v", indexes, want)
	}
	for _, p := range []inspect.Page{{Size: -1}, {Size: inspect.MaxPage + 1}, {Token: "x"}, {Token: "5"}, {Token: "2-1"},
		{Token: "0-999"}} {
		if _, _, err := w.inspector.List(t.Context(), auditor, inspect.Internal, inspect.Filter{},
			p); query.ReasonOf(err) != query.Malformed {
			t.Errorf("page %v: %v, want %s", p, err, query.Malformed)
		}
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ask(1, false)
	q := w.ask(3, true)
	w.settle()
	s, err := w.inspector.Show(t.Context(), auditor, q.id)
	ok(t, err)
	var got []string
	for _, p := range s.Entries {
		got = append(got, p.Log.String()+" "+p.Entry.Kind.String())
		if p.Proof == nil {
			t.Errorf("no proof of entry %d of the %s log", p.Index, p.Log)
		}
	}
	if want := []string{"shared intent", "shared receipt", "internal outcome"}; !slices.Equal(got, want) {
		t.Errorf("entries = %q, want %q", got, want)
	}
	if !bytes.Equal(s.Receipt, q.receipt) || s.Request != q.request.Digest() || len(s.Inputs) != 1 || s.HolderKey == nil {
		t.Error("receipt, digest, input or key is not that of the query")
	}
	for _, c := range s.Checks {
		if c.Result != inspect.Same {
			t.Errorf("%s is %s: %s", c.Name, c.Result, c.Sentence)
		}
	}
	if len(s.Checks) != 9 {
		t.Errorf("%d checks, want 9", len(s.Checks))
	}

	ok(t, w.store.EraseSealed(t.Context(), q.request.Sealed, noon))
	ok(t, w.store.UpdateAsk(t.Context(), store.AskUpdate{ID: q.id, Receipt: []byte("forged"), Header: []byte("forged")}))
	s, err = w.inspector.Show(t.Context(), auditor, q.id)
	ok(t, err)
	want := map[string]inspect.Result{"receipt": inspect.Different, "request_header": inspect.Different,
		"sealed": inspect.Missing}
	for _, c := range s.Checks {
		if r, changed := want[c.Name]; changed && c.Result != r {
			t.Errorf("%s is %s, want %s", c.Name, c.Result, r)
		}
		delete(want, c.Name)
	}
	if len(want) > 0 {
		t.Errorf("no check of %v", want)
	}
	if _, err := w.inspector.Show(t.Context(), auditor, query.NewID(noon)); query.ReasonOf(err) != query.NotFound {
		t.Errorf("an unknown query: %v", err)
	}
}

func TestEntryAndProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	w.settle()
	verifier, err := note.NewVerifier(w.keys[inspect.Shared])
	ok(t, err)
	byIndex, receipt, err := w.inspector.Entry(t.Context(), auditor, inspect.Shared, 0, [32]byte{})
	ok(t, err)
	byLeaf, _, err := w.inspector.Entry(t.Context(), auditor, inspect.Shared, 0, entry.LeafHash(q.intent))
	ok(t, err)
	if !bytes.Equal(receipt, q.receipt) {
		t.Error("another receipt than that of the query")
	}
	for _, p := range []inspect.Proven{byIndex, byLeaf} {
		if _, _, err := entry.CheckProof(q.intent, p.Proof, verifier); err != nil || !bytes.Equal(p.Bytes, q.intent) {
			t.Errorf("proof: %v", err)
		}
	}
	for _, index := range []uint64{2, 1 << 40, 1<<64 - 1} {
		if _, err := w.inspector.Proof(t.Context(), auditor, inspect.Shared, index); query.ReasonOf(err) != query.NotFound {
			t.Errorf("entry %d: %v", index, err)
		}
	}
	if _, _, err := w.inspector.Entry(t.Context(), auditor, 0, 0, [32]byte{}); query.ReasonOf(err) != query.Malformed {
		t.Errorf("an unknown log: %v", err)
	}
	msg, proof, key, err := w.inspector.Checkpoint(t.Context(), inspect.Shared, 1)
	if err != nil || key != w.keys[inspect.Shared] || len(proof) == 0 {
		t.Errorf("Checkpoint: %v", err)
	}
	if _, err := entry.CheckCheckpoint(msg, verifier); err != nil {
		t.Error(err)
	}
	if _, _, _, err := w.inspector.Checkpoint(t.Context(), inspect.Shared, 99); query.ReasonOf(err) != query.Precondition {
		t.Errorf("Checkpoint from beyond the log: %v", err)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ask(1, true)
	w.ask(3, false)
	q := w.ask(4, false)
	fail := *q.ours
	fail.Kind, fail.Reason, fail.Receipt, fail.Decision = entry.KindFailure, "PEER_UNREACHABLE", [32]byte{}, 0
	denied := *q.ours
	denied.Kind, denied.Reason, denied.Decision, denied.Officer = entry.KindIntent, "POLICY_DENIED", entry.DecisionDenied,
		pseudonym("asker")
	denied.Query, denied.Receipt, denied.Request, denied.PeerLeaf = query.NewID(noon), [32]byte{}, [32]byte{}, [32]byte{}
	denied.Rules, denied.Time = []string{"RU-03", "RU-04"}, noon.AddDate(0, 0, 1).UnixMilli()
	for _, e := range []*entry.Entry{&fail, &denied} {
		_, err := w.shared.Append(t.Context(), e)
		ok(t, err)
	}
	tests := []struct {
		by   []inspect.Criterion
		want []inspect.Count
	}{
		{nil, []inspect.Count{{Queries: 4, Denied: 1, Failed: 1, Items: 13, Candidates: 1}}},
		{[]inspect.Criterion{inspect.ByPeer, inspect.ByItems}, []inspect.Count{
			{Group: []string{theirs, "1"}, Queries: 1, Items: 1, Candidates: 1},
			{Group: []string{theirs, "4"}, Queries: 3, Denied: 1, Failed: 1, Items: 12},
		}},
		{[]inspect.Criterion{inspect.ByReason}, []inspect.Count{
			{Group: []string{""}, Queries: 2, Items: 5, Candidates: 1},
			{Group: []string{"PEER_UNREACHABLE"}, Queries: 1, Failed: 1, Items: 4},
			{Group: []string{"POLICY_DENIED"}, Queries: 1, Denied: 1, Items: 4},
		}},
		{[]inspect.Criterion{inspect.ByDay, inspect.ByDecision, inspect.ByPurpose}, []inspect.Count{
			{Group: []string{"2026-11-22", "allowed", "ct-travel-screening"}, Queries: 3, Failed: 1, Items: 9, Candidates: 1},
			{Group: []string{"2026-11-23", "denied", "ct-travel-screening"}, Queries: 1, Denied: 1, Items: 4},
		}},
		{[]inspect.Criterion{inspect.ByRule}, []inspect.Count{
			{Group: []string{"RU-01"}, Queries: 3, Failed: 1, Items: 9, Candidates: 1},
			{Group: []string{"RU-03"}, Queries: 4, Denied: 1, Failed: 1, Items: 13, Candidates: 1},
			{Group: []string{"RU-04"}, Queries: 1, Denied: 1, Items: 4},
		}},
	}
	for _, tt := range tests {
		got, err := w.inspector.Stats(t.Context(), auditor, time.Time{}, time.Time{}, tt.by)
		ok(t, err)
		if a, b := text(got), text(tt.want); a != b {
			t.Errorf("by %v:\n got %s\nwant %s", tt.by, a, b)
		}
	}
	got, err := w.inspector.Stats(t.Context(), auditor, noon, noon.AddDate(0, 0, 1), []inspect.Criterion{inspect.ByKind})
	ok(t, err)
	counts := make(map[string]uint64)
	for _, c := range got {
		counts[c.Group[0]] = c.Queries
	}
	if counts["intent"] != 3 || counts["receipt"] != 3 || counts["failure"] != 1 || counts["outcome"] != 3 ||
		counts["read"] != 5 {
		t.Errorf("by kind: %v", counts)
	}
	for _, by := range [][]inspect.Criterion{{"officer"}, {"peer", "peer"}, {"peer", "day", "rule", "unit"}} {
		if _, err := w.inspector.Stats(t.Context(), auditor, time.Time{}, time.Time{},
			by); query.ReasonOf(err) != query.Malformed {
			t.Errorf("by %v: %v", by, err)
		}
	}
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// TestVerifyWhileTheLogRuns appends all the time: the log must verify at every
// published size, and a changed entry must be found.
func TestVerifyWhileTheLogRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(1, false)
	done, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					if _, err := w.shared.Append(context.Background(), q.ours); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for n := uint64(0); n < 600; {
		v, err := w.inspector.Verify(t.Context(), auditor, inspect.Shared)
		if err != nil || v.Fault != nil {
			t.Errorf("Verify: %v, %v", err, v)
			break
		}
		n = v.Report.Size
	}
	close(stop)
	<-done
	w.settle()

	bundle := filepath.Join(w.dirs[inspect.Shared], "tile", "entries", "000")
	b, err := os.ReadFile(bundle)
	ok(t, err)
	b[bytes.Index(b, []byte("a-b-1"))] = 'z'
	ok(t, os.WriteFile(bundle, b, 0o600))
	v, err := w.inspector.Verify(t.Context(), auditor, inspect.Shared)
	ok(t, err)
	if v.Fault == nil || v.Fault.Index != 0 || v.Report != nil {
		t.Errorf("a changed entry: %v", v.Fault)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 {
		w.ask(3, true)
	}
	q := w.ask(1, false)
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() { _, _ = w.shared.Append(context.Background(), q.ours) })
	}
	all.Wait()
	w.settle()

	// The files are a log of their own.
	dir := t.TempDir()
	ok(t, w.inspector.Files(t.Context(), auditor, inspect.Shared, 0, func(path string, data []byte) error {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o600)
	}))
	verifier, err := note.NewVerifier(w.keys[inspect.Shared])
	ok(t, err)
	report, err := entry.VerifyFolder(os.DirFS(dir), verifier)
	ok(t, err)
	if report.Size != w.shared.Size() {
		t.Errorf("%d entries exported, want %d", report.Size, w.shared.Size())
	}
	var paths []string
	ok(t, w.inspector.Files(t.Context(), auditor, inspect.Shared, 300, func(path string, _ []byte) error {
		paths = append(paths, path)
		return nil
	}))
	if paths[0] != "tile/entries/001.p/50" || paths[len(paths)-1] != "checkpoint" {
		t.Errorf("paths = %q", paths)
	}
	stop := errors.New("enough")
	if err := w.inspector.Files(t.Context(), auditor, inspect.Shared, 0, func(string,
		[]byte) error {
		return stop
	}); err != stop {
		t.Errorf("Files ended with %v, want the error of emit", err)
	}

	var b bytes.Buffer
	ok(t, w.inspector.Export(t.Context(), auditor, inspect.Shared, noon, noon.Add(4*time.Second), &b))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines, want 4 entries and a checkpoint", len(lines))
	}
	for j, line := range lines[:4] {
		var l struct {
			Index uint64
			Leaf  string
			Raw   []byte
		}
		ok(t, json.Unmarshal([]byte(line), &l))
		if leaf := entry.LeafHash(l.Raw); l.Index != uint64(j) || l.Leaf != hex.EncodeToString(leaf[:]) {
			t.Errorf("line %d is %s", j, line)
		}
	}
	var end inspect.LastLine
	ok(t, json.Unmarshal([]byte(lines[4]), &end))
	if _, err := entry.CheckCheckpoint([]byte(end.Checkpoint), verifier); err != nil {
		t.Error(err)
	}
}

// TestNoSubjectAnywhere looks for the subject of a query in everything that a
// gateway shows: it must be in the opened content and nowhere else.
func TestNoSubjectAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.ask(3, true)
	w.settle()
	for what, read := range w.readings(auditor, q) {
		got, err := read()
		ok(t, err)
		if b, ok := got.([]byte); ok {
			got = string(b)
		}
		if s := text(got); strings.Contains(s, canary) || strings.Contains(s, id("asker")) && what != "SEALED" {
			t.Errorf("%s shows the subject or the officer", what)
		}
	}
	for which, dir := range w.dirs {
		ok(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte(canary)) {
				t.Errorf("the %s log has the subject in %s", which, d.Name())
			}
			return err
		}))
	}
	s, err := w.inspector.Sealed(t.Context(), auditor, q.id, [32]byte{})
	ok(t, err)
	c, err := inspect.Open(w.identity, s.Ciphertext, s.Query, s.Entry)
	ok(t, err)
	if !strings.Contains(c.Justification, canary) {
		t.Error("the auditor does not see the justification")
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ask(1, false)
	q := w.ask(1, false)
	for _, by := range []struct {
		id   query.ID
		hash [32]byte
	}{{q.id, [32]byte{}}, {query.ID{}, q.request.Sealed}, {q.id, q.request.Sealed}} {
		s, err := w.inspector.Sealed(t.Context(), auditor, by.id, by.hash)
		ok(t, err)
		if s.Query != q.id || !bytes.Equal(s.Entry, q.intent) || s.Index != 2 || s.Officer != id("asker") ||
			!s.OfficerKey.Equal(w.officers["asker"].PublicKey()) || s.Auditor != w.identity.Recipient().KeyID() ||
			s.EraseBy.IsZero() {
			t.Errorf("Sealed = query %s, index %d, officer %s", s.Query, s.Index, s.Officer)
		}
		if !bytes.Equal(s.Header, q.request.AppendHeader(nil)) {
			t.Error("another header than was sent")
		}
	}
	for _, tt := range []struct {
		id   query.ID
		hash [32]byte
		want query.Reason
	}{
		{query.ID{}, [32]byte{}, query.Malformed},
		{query.NewID(noon), [32]byte{}, query.NotFound},
		{query.ID{}, [32]byte{1}, query.NotFound},
		{q.id, [32]byte{1}, query.NotFound},
	} {
		if s, err := w.inspector.Sealed(t.Context(), auditor, tt.id, tt.hash); query.ReasonOf(err) != tt.want || s != nil {
			t.Errorf("Sealed(%s) = %v, want %s", tt.id, err, tt.want)
		}
	}
	ok(t, w.store.EraseSealed(t.Context(), q.request.Sealed, noon))
	if s, err := w.inspector.Sealed(t.Context(), auditor, q.id, [32]byte{}); query.ReasonOf(err) != query.Precondition ||
		s != nil {
		t.Errorf("erased content: %v", err)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// No agreement: the built-in rules deny, and say why.
	in := policy.AskInput{Now: policy.NewTime(noon)}
	d, err := w.engine.Decide(t.Context(), in)
	ok(t, err)
	stored, digest := in.Stored()
	ok(t, w.store.PutPolicyInput(t.Context(), store.PolicyInput{Digest: digest, Input: stored, Created: noon}))
	q := query.NewID(noon)
	e := entry.Entry{Kind: entry.KindIntent, Time: noon.UnixMilli(), Query: q, Direction: entry.DirectionAsked, Asker: us,
		Holder:    them,
		Agreement: "a-b-1", Purpose: "p", Decision: entry.DecisionDenied, Reason: string(query.PolicyDenied), Rules: d.Rules(),
		Bundle: d.Bundle(),
		Input:  digest, Officer: pseudonym("asker")}
	_, err = w.shared.Append(t.Context(), &e)
	ok(t, err)

	for _, who := range []string{"lawyer", "auditor"} {
		got, err := w.inspector.Explain(t.Context(), id(who), q, "")
		ok(t, err)
		if len(got) != 1 || !got[0].Reproduced || got[0].Allowed || len(got[0].Denials) == 0 ||
			got[0].Denials[0].Sentence == "" ||
			!bytes.Equal(got[0].Input, stored) {
			t.Fatalf("Explain by the %s = %+v", who, got)
		}
		if last := w.last(); last.Kind != entry.KindRead || last.Reason != "EXPLAIN" || last.Query != q {
			t.Errorf("the record is %s %s", last.Kind, last.Reason)
		}
	}
	if got, err := w.inspector.Explain(t.Context(), id("asker"), q, ""); query.ReasonOf(err) != query.RoleRequired ||
		got != nil ||
		w.last().Reason != "REFUSED_EXPLAIN" {
		t.Errorf("Explain by the asker: %v", err)
	}
	if got, err := w.inspector.Explain(t.Context(), id("lawyer"), q, policy.Answer); query.ReasonOf(err) != query.NotFound ||
		got != nil {
		t.Errorf("Explain at another door: %v", err)
	}

	// With other rules, or without the facts, it says so.
	for _, change := range []func(*entry.Entry){
		func(e *entry.Entry) { e.Bundle[0] ^= 1 },
		func(e *entry.Entry) { e.Input[0] ^= 1 },
		func(e *entry.Entry) { e.Rules = []string{"RU-01"} },
	} {
		changed := e
		changed.Query = query.NewID(noon)
		change(&changed)
		_, err = w.shared.Append(t.Context(), &changed)
		ok(t, err)
		got, err := w.inspector.Explain(t.Context(), id("lawyer"), changed.Query, policy.Ask)
		ok(t, err)
		if got[0].Reproduced || len(got[0].Denials) == 0 || !strings.Contains(got[0].Denials[0].Sentence,
			"cannot be made again") {
			t.Errorf("Explain = %+v", got[0])
		}
	}
}

package journey_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// want fails the test unless the only target of r was refused for reason, with no
// candidate.
func want(t *testing.T, r *asker.Result, err error, reason query.Reason, here bool) *query.Refusal {
	t.Helper()
	if err != nil {
		t.Fatalf("Ask = %v", err)
	}
	got := r.Targets[0].Refusal
	if got == nil || got.Reason != reason || r.Targets[0].RefusedHere != here {
		t.Fatalf("refusal %v (here %v), want %s (here %v)", got, r.Targets[0].RefusedHere, reason, here)
	}
	if len(r.Candidates) != 0 || r.Targets[0].Exchange != nil {
		t.Error("a refused query has a result")
	}
	return got
}

// A brokenLog fails every append.
type brokenLog struct{ *audit.Log }

func (brokenLog) Append(context.Context, *entry.Entry) (audit.Position, error) {
	return audit.Position{}, audit.ErrStopped
}

// A badPolicy errors, or denies without an error.
type badPolicy struct{ holder.Policy }

func (badPolicy) Decide(context.Context, policy.Input) (policy.Decision, error) {
	return policy.Decision{}, policy.ErrUndefined
}

func TestAskerFailsClosed(t *testing.T) {
	t.Parallel()
	// Each case spoils one thing on the asker's own side. Nothing may leave: the
	// holder must not see a request.
	for _, tt := range []struct {
		name   string
		reason query.Reason
		ask    func(*asker.Ask)
		spoil  func(t *testing.T, a, b *country)
	}{
		{name: "policy denies the purpose", reason: query.PolicyDenied,
			ask: func(x *asker.Ask) { x.Purpose = "tax-enforcement" }},
		{name: "no justification", reason: query.PolicyDenied, ask: func(x *asker.Ask) { x.Justification = "check" }},
		{name: "unknown legal basis", reason: query.PolicyDenied, ask: func(x *asker.Ask) { x.LegalBasis = "national security" }},
		{name: "policy fails", reason: query.PolicyUnavailable, spoil: func(t *testing.T, a, b *country) {
			a.asker.Policy = badPolicy{}
		}},
		{name: "log fails", reason: query.AuditUnavailable, spoil: func(t *testing.T, a, b *country) {
			a.asker.Shared = brokenLog{a.shared}
		}},
		{name: "agreement expired", reason: query.AgreementExpired, spoil: func(t *testing.T, a, b *country) {
			a.clock.Add(366 * 24 * time.Hour)
		}},
		{name: "agreement suspended", reason: query.AgreementSuspended, spoil: func(t *testing.T, a, b *country) {
			if err := a.registry.Suspend("a-b", a.td); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "federation ended", reason: query.UnknownPeer, spoil: func(t *testing.T, a, b *country) {
			a.peers.ended[b.td] = true
		}},
		{name: "list is stale", reason: query.ListStale, spoil: func(t *testing.T, a, b *country) {
			a.clock.Add(25 * time.Hour)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t, 3, nil)
			if tt.spoil != nil {
				tt.spoil(t, a, b)
			}
			a.peers.tap.request = func(*query.Request) { t.Error("a request left") }
			r, err := a.ask(t, tt.ask, traveller(1))
			refusal := want(t, r, err, tt.reason, true)
			if tt.reason == query.PolicyDenied && (len(refusal.Denials) == 0 || refusal.Denials[0].Citation == "" ||
				refusal.Denials[0].Sentence == "" || refusal.Denials[0].Rule == "") {
				t.Errorf("denials %+v, want rule, citation and sentence", refusal.Denials)
			}
		})
	}
}

// A faultyLog fails to append outcomes, before or after they are durable.
type faultyLog struct {
	*audit.Log
	before, after atomic.Bool
}

func (l *faultyLog) Append(ctx context.Context, e *entry.Entry) (audit.Position, error) {
	if e.Kind == entry.KindOutcome && l.before.Load() {
		return audit.Position{}, errors.New("test: not appended")
	}
	p, err := l.Log.Append(ctx, e)
	if e.Kind == entry.KindOutcome && l.after.Load() {
		return audit.Position{}, errors.New("test: appended, and nobody knows")
	}
	return p, err
}

// TestOutcomesAreLoggedOnce has the internal log fail after the officer was answered:
// the outcome is kept, nothing more is asked, and when the log works again the outcome
// is in it once.
func TestOutcomesAreLoggedOnce(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*faultyLog) *atomic.Bool{
		"before": func(l *faultyLog) *atomic.Bool { return &l.before },
		"after":  func(l *faultyLog) *atomic.Bool { return &l.after },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := pair(t, 3, nil)
			l := &faultyLog{Log: a.internal}
			a.internalLog = l
			a.build()
			if err := a.asker.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			from := a.internal.Size()
			fault(l).Store(true)
			if r, err := a.ask(t, nil, traveller(1)); err != nil || len(r.Candidates) != 1 {
				t.Fatalf("Ask = %+v, %v, want a candidate", r, err)
			}
			if err := a.asker.LogOutcomes(t.Context()); err == nil {
				t.Fatal("LogOutcomes succeeded")
			}
			a.peers.tap.request = func(*query.Request) { t.Error("a request left") }
			if _, err := a.ask(t, nil, traveller(2)); query.ReasonOf(err) != query.AuditUnavailable {
				t.Errorf("Ask = %v, want %s", err, query.AuditUnavailable)
			}
			a.peers.tap.request = nil
			fault(l).Store(false)
			if err := a.asker.LogOutcomes(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r, err := a.ask(t, nil, traveller(2)); err != nil || len(r.Candidates) != 1 {
				t.Fatalf("Ask = %+v, %v, want a candidate", r, err)
			}
			if err := a.asker.LogOutcomes(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(kinds(t, a.internal, from)); got != "[outcome outcome]" {
				t.Errorf("the internal log grew by %s, want one outcome of each ask", got)
			}
		})
	}
}

// TestNoOutcomeNoAnswer has the asker's store fail when the answer is there: an outcome
// that cannot be recorded is not reported.
func TestNoOutcomeNoAnswer(t *testing.T) {
	t.Parallel()
	a, _ := pair(t, 3, nil)
	a.peers.tap.answer = func(*query.Answer) { a.store.Close() }
	r, err := a.ask(t, nil, traveller(1))
	want(t, r, err, query.AuditUnavailable, false)
}

func TestAskerRefusesTheCaller(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	a.peers.tap.request = func(*query.Request) { t.Error("a request left") }
	ask := &asker.Ask{Request: query.NewID(a.clock.Now()), Purpose: "ct-travel-screening", Kind: query.Single}
	ask.Subjects = append(ask.Subjects, traveller(1))
	for _, tt := range []struct {
		caller string
		reason query.Reason
	}{
		{"spiffe://border.utopia.example/officer/nobody", query.NotEnrolled},
		{"spiffe://border.valdera.example/officer/b-bg-2231", query.NotEnrolled},
		{"spiffe://border.utopia.example/gateway/main", query.NotEnrolled},
		{"spiffe://border.utopia.example/officer/b-bg-2232", query.RoleRequired},
		{"spiffe://border.utopia.example/officer/b-bg-2231", query.SignatureInvalid}, // of nothing
		{"", query.NotEnrolled},
	} {
		if _, err := a.asker.Ask(t.Context(), tt.caller, ask, make([]byte, 64)); query.ReasonOf(err) != tt.reason {
			t.Errorf("Ask by %q = %v, want %s", tt.caller, err, tt.reason)
		}
	}
	// A name that no agreement knows is refused, and the others are not asked.
	for name, change := range map[string]func(*asker.Ask){
		"one holder":  func(x *asker.Ask) { x.Holders = []string{"border.nowhere.example"} },
		"two holders": func(x *asker.Ask) { x.Holders = []string{b.td, "border.nowhere.example"} },
		"collections": func(x *asker.Ask) { x.Collections = []string{"watchlist", "nothing"} },
	} {
		if _, err := a.ask(t, change, traveller(1)); query.ReasonOf(err) != query.AgreementUnknown {
			t.Errorf("%s that nobody knows: %v, want %s", name, err, query.AgreementUnknown)
		}
	}
	// The same ask with the officer's signature is answered.
	a.peers.tap.request = nil
	if _, err := a.ask(t, nil, traveller(1)); err != nil {
		t.Error("the signed ask itself was refused")
	}
}

func TestHolderFailsClosed(t *testing.T) {
	t.Parallel()
	// Each case spoils one thing on the holder's side, or the request on its way.
	// The asker gets the reason and nothing else; whatever was decided is in the
	// holder's log, and nothing is in it for a stranger.
	for _, tt := range []struct {
		name    string
		reason  query.Reason
		agree   func(*agreement.Agreement)
		spoil   func(t *testing.T, a, b *country)
		entries string // new in the holder's shared log
	}{
		{name: "policy fails", reason: query.PolicyUnavailable, entries: "[decision]",
			spoil: func(t *testing.T, a, b *country) { b.holder.Policy = badPolicy{} }},
		{name: "log fails", reason: query.AuditUnavailable, entries: "[]",
			spoil: func(t *testing.T, a, b *country) { b.holder.Shared = brokenLog{b.shared} }},
		{name: "agreement suspended by the holder", reason: query.AgreementSuspended, entries: "[decision]",
			spoil: func(t *testing.T, a, b *country) { b.registry.Suspend("a-b", b.td) }},
		{name: "federation ended by the holder", reason: query.UnknownPeer, entries: "[]",
			spoil: func(t *testing.T, a, b *country) { b.peers.ended[a.td] = true }},
		{name: "over budget", reason: query.BudgetExhausted, entries: "[decision]",
			agree: func(g *agreement.Agreement) { g.Budgets[0].PerDay, g.Budgets[0].Burst = 3, 3 }},
		{name: "clock of the asker is ahead", reason: query.ClockSkew, entries: "[]",
			spoil: func(t *testing.T, a, b *country) {
				b.clock = &clock{now: b.clock.Now().Add(-2 * time.Minute)}
				b.build()
			}},
		{name: "clock of the asker is behind", reason: query.QueryIDExpired, entries: "[]",
			spoil: func(t *testing.T, a, b *country) {
				b.clock = &clock{now: b.clock.Now().Add(25 * time.Hour)}
				b.build()
			}},
		{name: "other agreement", reason: query.AgreementUnknown, entries: "[decision]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) { r.Facts.Agreement = "other" }
			}},
		{name: "other digest", reason: query.AgreementMismatch, entries: "[decision]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) { r.Facts.AgreementDigest[0] ^= 1 }
			}},
		{name: "statement of somebody else", reason: query.StatementInvalid, entries: "[decision]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) { r.Statement.Rules = []string{"RU-99"} }
			}},
		{name: "identity element", reason: query.Malformed, entries: "[decision failure]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) { r.Batches[2].Elements[0] = [32]byte{} }
			}},
		{name: "not canonical", reason: query.Malformed, entries: "[decision failure]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) {
					for i := range r.Batches[0].Elements[0] {
						r.Batches[0].Elements[0][i] = 0xff
					}
				}
			}},
		{name: "unknown epoch", reason: query.ListStale, entries: "[decision]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) {
					for i := range r.Batches {
						r.Batches[i].Epoch = 9
					}
				}
			}},
		{name: "a class is missing", reason: query.Malformed, entries: "[decision]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) { r.Batches = r.Batches[:3] }
			}},
		{name: "more elements than items", reason: query.Malformed, entries: "[]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) {
					r.Batches[0].Elements = append(r.Batches[0].Elements, r.Batches[0].Elements...)
				}
			}},
		{name: "free text as a code", reason: query.Malformed, entries: "[]",
			spoil: func(t *testing.T, a, b *country) {
				a.peers.tap.request = func(r *query.Request) { r.Facts.Purpose = "name\nof a person" }
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t, 3, tt.agree)
			if tt.spoil != nil {
				tt.spoil(t, a, b)
			}
			from := b.shared.Size()
			r, err := a.ask(t, nil, traveller(1))
			want(t, r, err, tt.reason, false)
			if got := fmt.Sprint(kinds(t, b.shared, from)); got != tt.entries {
				t.Errorf("holder's log grew by %s, want %s", got, tt.entries)
			}
		})
	}
}

// TestHolderDenies has a rule of the holder refuse what the asker's rules let
// pass: the answer names rule, citation and sentence.
func TestHolderDenies(t *testing.T) {
	t.Parallel()
	a, _ := pair(t, 3, nil)
	a.peers.tap.request = func(r *query.Request) {
		// The asker's own gateway is made to lie about the justification.
		r.Facts.Justification = false
		copy(r.Statement.Signature[:], ed25519.Sign(a.statement, r.StatementBytes()))
	}
	r, err := a.ask(t, nil, traveller(1))
	refusal := want(t, r, err, query.PolicyDenied, false)
	if len(refusal.Denials) != 1 || refusal.Denials[0].Rule != "RU-06" || refusal.Denials[0].Citation == "" {
		t.Errorf("denials %+v, want RU-06 with its citation", refusal.Denials)
	}
}

func TestAnswerTampered(t *testing.T) {
	t.Parallel()
	// Each change must be refused, and must yield no candidate.
	for _, tt := range []struct {
		name   string
		tamper func(*query.Answer)
	}{
		{"proof bit", func(a *query.Answer) { a.Batches[0].Proof[5] ^= 1 }},
		{"swapped batches", func(a *query.Answer) { a.Batches[0], a.Batches[1] = a.Batches[1], a.Batches[0] }},
		{"element of another batch", func(a *query.Answer) { a.Batches[0].Evaluated[0] = a.Batches[1].Evaluated[0] }},
		{"identity element", func(a *query.Answer) { a.Batches[0].Evaluated[0] = [32]byte{} }},
		{"missing batch", func(a *query.Answer) { a.Batches = a.Batches[1:] }},
		{"other id", func(a *query.Answer) { a.ID[15] ^= 1 }},
		{"no receipt", func(a *query.Answer) { a.Receipt = nil }},
		{"receipt bit", func(a *query.Answer) { a.Receipt[40] ^= 1 }},
		{"receipt signature", func(a *query.Answer) { a.Receipt[len(a.Receipt)-1] ^= 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, _ := pair(t, 3, nil)
			a.peers.tap.answer = tt.tamper
			r, err := a.ask(t, nil, traveller(1))
			want(t, r, err, query.PeerInvalid, false)
		})
	}
}

// TestWrongKey has a malicious holder evaluate with a key that it did not commit
// to, to mark an asker: the proof fails.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	b.oprf = oprf.GeneratePrivateKey()
	r, err := a.ask(t, nil, traveller(1))
	want(t, r, err, query.PeerInvalid, false)
}

// TestRetry repeats a query whose answer was lost: the same bytes come back,
// charged and logged once, even if the budget has run out since.
func TestRetry(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, func(g *agreement.Agreement) { g.Budgets[0].PerDay, g.Budgets[0].Burst = 4, 4 })
	var request *query.Request
	a.peers.tap.request = func(r *query.Request) { request = r }
	a.peers.tap.lose = true
	r, err := a.ask(t, nil, traveller(1))
	want(t, r, err, query.Unreachable, false)

	from := b.shared.Size()
	caller := holder.Caller{TrustDomain: a.td, Gateway: gatewayID(a.td)}
	first, err := b.holder.Answer(t.Context(), caller, request)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.holder.Answer(t.Context(), caller, request)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.Bytes()) != string(second.Bytes()) {
		t.Error("a retry got other bytes")
	}
	if got := b.shared.Size(); got != from {
		t.Errorf("retries were logged: %v", kinds(t, b.shared, from))
	}

	// The same id with other content is refused, and logged.
	request.Facts.Urgency = "urgent"
	if _, err := b.holder.Answer(t.Context(), caller, request); query.ReasonOf(err) != query.QueryIDReused {
		t.Errorf("Answer = %v, want QUERY_ID_REUSED", err)
	}
	if got := fmt.Sprint(kinds(t, b.shared, from)); got != "[decision]" {
		t.Errorf("the reused id was logged as %s, want one decision", got)
	}

	// Another peer does not get this peer's answer.
	b.peers.known["border.norlanda.example"] = a
	request.Facts.Urgency = "ordinary"
	other := holder.Caller{TrustDomain: "border.norlanda.example", Gateway: gatewayID("border.norlanda.example")}
	if answer, err := b.holder.Answer(t.Context(), other, request); query.ReasonOf(err) != query.AgreementUnknown || answer != nil {
		t.Errorf("Answer to another peer = %v, want AGREEMENT_UNKNOWN", err)
	}

	// After the acknowledgement the answer is gone.
	if err := b.holder.Acknowledge(t.Context(), caller, "a-b", request.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.holder.Answer(t.Context(), caller, request); query.ReasonOf(err) != query.QueryFailed {
		t.Errorf("Answer after the acknowledgement = %v, want QUERY_FAILED", err)
	}
}

// TestBudgetNotices uses a budget up: the auditors of both sides are told at 80 % and
// at 100 %, once each, in the internal log and by the operator's command, and the query
// after that is refused by rule RU-11.
func TestBudgetNotices(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, func(g *agreement.Agreement) { g.Budgets[0].PerDay, g.Budgets[0].Burst = 20, 20 })
	from := map[*country]uint64{a: a.internal.Size(), b: b.internal.Size()}
	told := map[*country]*sync.Map{a: {}, b: {}}
	a.asker.Notify = func(e *entry.Entry) { told[a].Store(e.Reason, e.Direction) }
	b.holder.Notify = func(e *entry.Entry) { told[b].Store(e.Reason, e.Direction) }
	for i := range 5 {
		if r, err := a.ask(t, nil, traveller(1)); err != nil || r.Targets[0].Refusal != nil {
			t.Fatalf("query %d: %v, %v", i, r, err)
		}
	}
	for c, direction := range map[*country]entry.Direction{a: entry.DirectionAsked, b: entry.DirectionAnswered} {
		var reasons []string
		for e, err := range c.internal.Entries(t.Context(), from[c], c.internal.Size()) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Entry.Kind != entry.KindBudgetNotice {
				continue
			}
			reasons = append(reasons, e.Entry.Reason)
			if got, ok := told[c].Load(e.Entry.Reason); !ok || got != direction || e.Entry.Direction != direction {
				t.Errorf("%v: %s of direction %v was told as %v", direction, e.Entry.Reason, e.Entry.Direction, got)
			}
		}
		if got, want := fmt.Sprint(reasons), "[BUDGET_WARNING BUDGET_EXHAUSTED]"; got != want {
			t.Errorf("%v: notices %s, want %s", direction, got, want)
		}
	}
	r, err := a.ask(t, nil, traveller(1))
	refusal := want(t, r, err, query.BudgetExhausted, false)
	if len(refusal.Denials) != 2 || refusal.Denials[0].Rule != "RU-11" || refusal.RetryAfter <= 0 { // the day and the minute
		t.Errorf("refusal %+v %v, want RU-11 and when to try again", refusal.Denials, refusal.RetryAfter)
	}
}

// TestRequestIDReused sends one signed ask twice.
func TestRequestIDReused(t *testing.T) {
	t.Parallel()
	a, _ := pair(t, 3, nil)
	id := query.NewID(a.clock.Now())
	same := func(x *asker.Ask) { x.Request = id }
	if _, err := a.ask(t, same, traveller(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ask(t, same, traveller(1)); query.ReasonOf(err) != query.QueryIDReused {
		t.Errorf("the second ask = %v, want QUERY_ID_REUSED", err)
	}
}

// TestRecover closes what a crash left: it is logged as failed, and never
// computed.
func TestRecover(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	var request *query.Request
	a.peers.tap.request = func(r *query.Request) { request = r }
	if _, err := a.ask(t, nil, traveller(1)); err != nil {
		t.Fatal(err)
	}
	// A query that was begun and has no end.
	request.ID = query.NewID(b.clock.Now())
	begin := store.Begin{QueryKey: store.QueryKey{Peer: a.td, Agreement: "a-b", ID: request.ID}, RequestDigest: request.Digest(), Time: b.clock.Now()}
	if _, err := b.store.BeginQuery(t.Context(), begin); err != nil {
		t.Fatal(err)
	}
	from := b.shared.Size()
	if err := b.holder.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(kinds(t, b.shared, from)); got != "[failure]" {
		t.Errorf("recovery logged %s, want one failure", got)
	}
	copy(request.Statement.Signature[:], ed25519.Sign(a.statement, request.StatementBytes()))
	state, err := b.store.LookupQuery(t.Context(), begin.QueryKey)
	if err != nil || state.Progress != store.Failed {
		t.Errorf("state %v, %v, want failed", state.Progress, err)
	}

	// And on the asker's side.
	id := query.NewID(a.clock.Now())
	if err := a.store.PutAsk(t.Context(), store.Intent{Ask: store.Ask{ID: id, Request: id, Holder: b.td, Collection: "watchlist",
		Agreement: "a-b", Purpose: "ct-travel-screening", Kind: "single", State: store.AskIntent, Created: a.clock.Now()}}); err != nil {
		t.Fatal(err)
	}
	if err := a.asker.LogOutcomes(t.Context()); err != nil { // of the asks before
		t.Fatal(err)
	}
	from, internal := a.shared.Size(), a.internal.Size()
	if err := a.asker.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(kinds(t, a.shared, from), kinds(t, a.internal, internal)); got != "[failure] [outcome]" {
		t.Errorf("recovery logged %s, want a failure and an outcome", got)
	}
}

func TestSyncRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		tap  func(a *country) tap
	}{
		{"segment bit", func(*country) tap {
			return tap{segment: func(s *query.Segment) { s.Data[len(s.Data)/2] ^= 1 }}
		}},
		{"segment out of order", func(*country) tap {
			return tap{segment: func(s *query.Segment) { s.Offset++ }}
		}},
		{"segment of no manifest", func(*country) tap {
			return tap{segment: func(s *query.Segment) { s.Index = 99 }}
		}},
		{"manifest bit", func(*country) tap {
			return tap{header: func(h *query.SyncHeader) { h.Classes[1].Manifests[0].Signed[60] ^= 1 }}
		}},
		{"proof bit", func(*country) tap {
			return tap{header: func(h *query.SyncHeader) { h.Classes[0].Manifests[0].Proof.Proof[40] ^= 1 }}
		}},
		{"entry of another manifest", func(*country) tap {
			return tap{header: func(h *query.SyncHeader) {
				h.Classes[0].Manifests[0].Proof = h.Classes[1].Manifests[0].Proof
			}}
		}},
		{"checkpoint bit", func(*country) tap {
			return tap{header: func(h *query.SyncHeader) { h.Checkpoint.Checkpoint[30] ^= 1 }}
		}},
		{"class left out", func(*country) tap {
			return tap{header: func(h *query.SyncHeader) { h.Classes = h.Classes[:3] }}
		}},
		{"no manifest", func(*country) tap {
			return tap{header: func(h *query.SyncHeader) { h.Classes[2].Manifests = nil }}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clk := newClock()
			a, b := newCountry(t, "border.utopia.example", clk), newCountry(t, "border.valdera.example", clk)
			agree(t, a, b, nil)
			b.load(t, listed(1), listed(2))
			if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			a.peers.tap = tt.tap(a)
			for _, r := range a.asker.Sync(t.Context(), "", "", nil) {
				if query.ReasonOf(r.Refusal) != query.PeerInvalid {
					t.Errorf("sync = %v, want PEER_ANSWER_INVALID", r.Refusal)
				}
			}
			if len(a.library.Lists()) != 0 {
				t.Error("something was taken into use")
			}
			// Without the attacker it works, from where it was.
			a.peers.tap = tap{}
			for _, r := range a.asker.Sync(t.Context(), "", "", nil) {
				if r.Refusal != nil {
					t.Errorf("sync afterwards = %v", r.Refusal)
				}
			}
		})
	}
}

// TestDropAndSync drops the copies of a neighbour's lists, as at the end of a
// federation, and fetches them again when it is renewed.
func TestDropAndSync(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	a.library.Drop(b.td)
	if dropped, err := a.store.DropSets(t.Context(), store.Accepted, b.td, ""); err != nil || len(dropped) == 0 {
		t.Fatalf("dropped %d segments, %v", len(dropped), err)
	}
	r, err := a.ask(t, nil, traveller(1))
	want(t, r, err, query.ListStale, true)
	if r := a.asker.Sync(t.Context(), "", "", nil); r[0].Refusal != nil || r[0].To != 1 {
		t.Fatalf("sync %+v", r[0])
	}
	if r, err := a.ask(t, nil, traveller(1)); err != nil || len(r.Candidates) != 1 {
		t.Errorf("after the synchronisation: %+v, %v", r, err)
	}
}

// TestProveReceipts has the holder prove that its decisions are in its log, for a
// hit as for a miss, and refuses proofs of something else.
func TestProveReceipts(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	for i := range 2 {
		if r, err := a.ask(t, nil, traveller(1+100*i)); err != nil || r.Targets[0].Refusal != nil {
			t.Fatal(r, err)
		}
	}
	if n, err := a.asker.ProveReceipts(t.Context()); n != 0 || err != nil {
		t.Errorf("before the merge delay: %d proofs, %v", n, err)
	}
	if err := b.shared.Await(t.Context(), b.shared.Size()-1); err != nil {
		t.Fatal(err)
	}
	a.clock.Add(2 * time.Minute)
	for name, tamper := range map[string]func(*query.LogProof){
		"proof bit": func(p *query.LogProof) { p.Proof[len(p.Proof)/2] ^= 1 },
		"entry bit": func(p *query.LogProof) { p.Entry[20] ^= 1 },
	} {
		a.peers.tap.proof = tamper
		if n, err := a.asker.ProveReceipts(t.Context()); n != 0 || query.ReasonOf(err) != query.PeerInvalid {
			t.Errorf("%s: %d proofs, %v", name, n, err)
		}
	}
	a.peers.tap.proof = nil
	if n, err := a.asker.ProveReceipts(t.Context()); n != 2 || err != nil {
		t.Errorf("%d proofs, %v, want one for each query", n, err)
	}
	if n, err := a.asker.ProveReceipts(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d proofs, %v", n, err)
	}
}

// TestEquivocation has a holder show another list under a version that the asker
// has already, both in its one log: it is caught, and the evidence is kept.
func TestEquivocation(t *testing.T) {
	t.Parallel()
	clk := newClock()
	a := newCountry(t, "border.utopia.example", clk)
	b, evil := newCountry(t, "border.valdera.example", clk), newCountry(t, "border.valdera.example", clk)
	// The same country twice: same keys, another history.
	evil.oprf, evil.statement, evil.officer = b.oprf, b.statement, b.officer
	evil.sharedLog, evil.sharedKey = b.shared, b.sharedKey
	evil.build()
	g := agree(t, a, b, nil)
	if _, err := evil.registry.Put(g.Bytes(), g.Digest()); err != nil {
		t.Fatal(err)
	}
	evil.peers.known[a.td] = a
	b.load(t, listed(1))
	evil.load(t, listed(2))
	for _, c := range []*country{b, evil} {
		if _, err := c.holder.PublishAll(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if r := a.asker.Sync(t.Context(), "", "", nil); r[0].Refusal != nil {
		t.Fatal(r[0].Refusal)
	}
	a.peers.known[b.td] = evil
	evil.load(t, listed(3))
	clk.Add(time.Minute)
	if _, err := evil.holder.PublishAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r := a.asker.Sync(t.Context(), "", "", nil)
	if query.ReasonOf(r[0].Refusal) != query.PeerInvalid {
		t.Fatalf("sync = %v, want PEER_ANSWER_INVALID", r[0].Refusal)
	}
	if forks, err := a.store.Forks(t.Context()); err != nil || len(forks) == 0 {
		t.Errorf("evidence %v, %v, want the second manifest", forks, err)
	}
	if l := a.library.Lists(); len(l) != 1 || l[0].Version != 1 {
		t.Error("the old list is not in use any more")
	}
}

// TestUpdate publishes a changed collection: the removed record is gone from the
// next lookup of a conforming asker, and the new one is found.
func TestUpdate(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 5, nil)
	if err := b.store.DeleteRecord(t.Context(), "watchlist", "r-1"); err != nil {
		t.Fatal(err)
	}
	b.load(t, listed(77))
	if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if r := a.asker.Sync(t.Context(), "", "", nil); r[0].Refusal != nil || r[0].From != 1 || r[0].To != 2 {
		t.Fatalf("sync %+v", r[0])
	}
	for i, found := range map[int]int{1: 0, 2: 1, 77: 1} {
		r, err := a.ask(t, nil, traveller(i))
		if err != nil || len(r.Candidates) != found {
			t.Errorf("record %d: %v candidates, %v, want %d", i, r, err, found)
		}
	}
	// Nothing has changed: no new version.
	p, err := b.holder.Publish(t.Context(), a.td, "watchlist", nil)
	if err != nil || !p.Unchanged || p.ListVersion != 2 {
		t.Errorf("Publish = %+v, %v, want version 2 unchanged", p, err)
	}
}

package asker

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/budget"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/internal/together"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// Ask asks every neighbour that ask names, in parallel, and returns what they
// said. Caller is the SPIFFE ID of the officer on the connection, and signature
// is the officer's own over [Ask.Digest]: nothing in ask says who asks.
//
// A holder that refuses or cannot be reached does not keep the others from
// answering: its TargetResult says so. The error is a [query.Refusal] if nobody
// was asked at all.
func (a *Asker) Ask(ctx context.Context, caller string, ask *Ask, signature []byte) (*Result, error) {
	began := a.Now()

	// What could not be recorded is not asked.
	if err := a.outcomes.fault(); err != nil {
		return nil, query.Refuse(query.AuditUnavailable, err)
	}

	// 1
	who, digest, err := a.authenticate(caller, ask, signature, began)
	if err != nil {
		return nil, err
	}
	if err := ask.Validate(); err != nil {
		return nil, query.Refuse(query.Malformed, err)
	}
	switch err := ask.Request.Check(began, maxAskAge, maxAskAge); {
	case errors.Is(err, query.ErrClock):
		return nil, query.Refuse(query.ClockSkew, err)
	case err != nil:
		return nil, query.Refuse(query.QueryIDExpired, err)
	}
	result := &Result{Request: ask.Request, Subjects: len(ask.Subjects)}
	items := make([]subject, len(ask.Subjects))
	for i := range ask.Subjects {
		s := &ask.Subjects[i]
		items[i] = subject{ref: s.Ref, keys: make(map[string][]byte)}
		for _, k := range s.Keys() {
			items[i].keys[string(k.Class)] = k.Bytes
		}
		if len(items[i].keys) == 0 {
			result.Skipped = append(result.Skipped, s.Ref)
		}
	}

	targets := a.targets(ask, began)
	if !covered(ask, targets) {
		return nil, query.Refuse(query.AgreementUnknown, errors.New("asker: no agreement covers what is asked for"))
	}
	if _, err := a.Store.Request(ctx, ask.Request); err == nil {
		return nil, query.Refuse(query.QueryIDReused, nil) // before the rules are asked again
	}

	result.Targets = make([]TargetResult, len(targets))
	runs := make([]*run, len(targets))
	all := func(f func(i int)) {
		together.Do(len(targets), func(i int) {
			if result.Targets[i].Refusal == nil {
				f(i)
			}
		})
	}

	// 2, and what must be durable before 3
	for i := range targets {
		r := &run{caller: caller, who: who, ask: ask, digest: digest, sign: signature, items: items, t: &targets[i].target,
			id: query.NewID(began), began: began}
		runs[i] = r
		if targets[i].refusal != nil {
			result.Targets[i] = TargetResult{Holder: targets[i].holder, Collection: targets[i].collection.Name,
				Refusal: targets[i].refusal, RefusedHere: true}
		}
	}
	all(func(i int) {
		result.Targets[i] = runs[i].result()
		if refusal := a.prepare(ctx, runs[i]); refusal != nil {
			result.Targets[i].Refusal, result.Targets[i].RefusedHere = refusal, true
		}
	})
	var intents []store.Intent
	var asked []*run // those of intents
	for i := range targets {
		if result.Targets[i].Refusal == nil {
			intents, asked = append(intents, runs[i].row), append(asked, runs[i])
		}
	}
	used, err := a.Store.PutRequest(ctx, store.Request{ID: ask.Request, Digest: a.kept(digest), Created: began}, intents...)
	switch {
	case errors.Is(err, store.ErrRequestReused):
		return nil, query.Refuse(query.QueryIDReused, err)
	case err != nil:
		return nil, query.Refuse(query.StorageUnavailable, err)
	}
	for i, r := range asked {
		r.crossed = budget.Crossed(r.charges, used[i])
	}

	// 3 to 8
	candidates := make([][]Candidate, len(targets))
	obligations := make([][]policy.Obligation, len(targets))
	all(func(i int) {
		result.Targets[i], candidates[i] = a.query(ctx, runs[i])
	})
	for i := range targets {
		obligations[i] = runs[i].decision.Obligations()
	}

	for i := range targets {
		result.Candidates = append(result.Candidates, candidates[i]...)
		for _, o := range obligations[i] {
			if !slices.Contains(result.Obligations, o) {
				result.Obligations = append(result.Obligations, o)
			}
		}
	}
	slices.SortStableFunc(result.Candidates, compareEvidence)
	return result, nil
}

// kept returns the digest of an ask in the form in which it is stored: under the
// national key. The digest itself is a hash of who is asked for, so whoever read it
// in the database could test a guess, even after the sealed content was erased.
func (a *Asker) kept(digest [32]byte) (k [32]byte) {
	text := hex.EncodeToString(digest[:])
	for i, half := range []string{"ask/1/", "ask/2/"} {
		p := a.Pseudonym(half + text) // no officer and no unit has such a name
		copy(k[16*i:], p[:])
	}
	return k
}

// maxAskAge is how old or how far ahead the request id of an officer's client
// may be.
const maxAskAge = 10 * time.Minute

// authenticate is step 1: the caller is an enrolled officer with the asking role,
// and this very ask is signed with the officer's own key.
func (a *Asker) authenticate(caller string, ask *Ask, signature []byte, now time.Time) (officer.Officer, [32]byte, error) {
	id, err := peer.ParseID(caller)
	if err != nil || id.Kind != peer.KindOfficer || id.TrustDomain != a.TrustDomain {
		return officer.Officer{}, [32]byte{}, query.Refuse(query.NotEnrolled, err)
	}
	who, ok := a.Officers.Lookup(id.Name)
	if !ok || !who.Retired.IsZero() {
		return officer.Officer{}, [32]byte{}, query.Refuse(query.NotEnrolled, nil)
	}
	if !a.Officers.HasRole(id.Name, officer.RoleAsking, now) {
		return officer.Officer{}, [32]byte{}, query.Refuse(query.RoleRequired, errors.New("asker: the role asking is required"))
	}
	digest := ask.Digest()
	if err := officer.CheckAsk(who, digest, signature); err != nil {
		return officer.Officer{}, [32]byte{}, query.Refuse(query.SignatureInvalid, err)
	}
	return who, digest, nil
}

// A candidateTarget is a target, or why it cannot be asked.
type candidateTarget struct {
	target
	refusal *query.Refusal
}

// targets returns what ask is about, in the order of holder and collection:
// every collection of every neighbour that some agreement, active or not,
// covers.
func (a *Asker) targets(ask *Ask, now time.Time) []candidateTarget {
	var out []candidateTarget
	seen := make(map[[2]string]bool)
	for _, info := range a.Agreements.List(now) {
		other, err := info.Agreement.Other(a.TrustDomain)
		if err != nil || len(ask.Holders) > 0 && !slices.Contains(ask.Holders, other.TrustDomain) {
			continue
		}
		for _, c := range info.Agreement.Held(other.TrustDomain) {
			if len(ask.Collections) > 0 && !slices.Contains(ask.Collections, c.Name) || seen[[2]string{c.Holder, c.Name}] {
				continue
			}
			seen[[2]string{c.Holder, c.Name}] = true
			out = append(out, a.target(c, now))
		}
	}
	slices.SortFunc(out, func(x, y candidateTarget) int {
		return cmp.Or(cmp.Compare(x.holder, y.holder), cmp.Compare(x.collection.Name, y.collection.Name))
	})
	return out
}

// covered reports whether targets holds something of everything that ask names: a
// name that is misspelt must not be an answer that is missing.
func covered(ask *Ask, targets []candidateTarget) bool {
	for _, name := range ask.Holders {
		if !slices.ContainsFunc(targets, func(t candidateTarget) bool { return t.holder == name }) {
			return false
		}
	}
	for _, name := range ask.Collections {
		if !slices.ContainsFunc(targets, func(t candidateTarget) bool { return t.collection.Name == name }) {
			return false
		}
	}
	return len(targets) > 0
}

// target finds everything needed to ask about c, or the reason why it cannot be.
func (a *Asker) target(c agreement.Collection, now time.Time) candidateTarget {
	t := candidateTarget{target: target{holder: c.Holder, collection: c}}
	refuse := func(reason query.Reason, err error) candidateTarget {
		t.refusal = query.Refuse(reason, err)
		return t
	}
	var err error
	if t.agreement, t.digest, err = a.Agreements.For(c.Holder, c.Name, now); err != nil {
		return refuse(facts.AgreementReason(err), err)
	}
	current, err := t.agreement.Collection(c.Holder, c.Name)
	if err != nil {
		return refuse(query.AgreementUnknown, err)
	}
	t.collection = *current
	if !a.Directory.Active(c.Holder) {
		return refuse(query.UnknownPeer, nil)
	}
	if t.gateway, err = a.Directory.Gateway(c.Holder); err != nil {
		return refuse(query.UnknownPeer, err)
	}
	if t.neighbour, err = a.Directory.Neighbour(c.Holder); err != nil {
		return refuse(query.Unreachable, err)
	}
	if t.list, err = a.Library.Current(c.Holder, &t.collection, now); err != nil {
		return refuse(query.ListStale, err)
	}
	return t
}

// Recover closes the queries that a crash left without an end: whether their
// request left is unknown, and it is never sent again. And it brings the outcomes
// that were stored, and not logged, into the internal log. It must be called before
// the first ask.
func (a *Asker) Recover(ctx context.Context) error {
	for _, state := range []store.AskState{store.AskIntent, store.AskSent} {
		for {
			open, err := a.Store.Asks(ctx, store.AskFilter{State: state})
			if err != nil {
				return err
			}
			if len(open) == 0 {
				break
			}
			for i := range open {
				if err := a.recover(ctx, &open[i]); err != nil {
					return err
				}
			}
		}
	}
	return a.LogOutcomes(ctx)
}

func (a *Asker) recover(ctx context.Context, ask *store.Ask) error {
	holder, err := a.Directory.Gateway(ask.Holder)
	if err != nil {
		holder = "spiffe://" + ask.Holder + "/gateway/unknown"
	}
	e := &entry.Entry{Kind: entry.KindFailure, Time: a.Now().UnixMilli(), Query: ask.ID, Direction: entry.DirectionAsked,
		Asker: a.Gateway, Holder: holder, Agreement: ask.Agreement, Purpose: ask.Purpose, Collection: ask.Collection,
		Reason: string(query.QueryFailed)}
	if _, err := a.Shared.Append(ctx, e); err != nil {
		return err
	}
	o := *e
	o.Kind, o.Outcome = entry.KindOutcome, entry.OutcomeFailed
	return a.end(ctx, store.AskUpdate{ID: ask.ID, State: store.AskFailed, Reason: string(query.QueryFailed), Time: a.Now()}, &o)
}

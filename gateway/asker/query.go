package asker

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/budget"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/internal/together"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// A target is one (holder, collection) that an ask goes to, with what is known
// before anything is decided.
type target struct {
	holder     string // trust domain
	gateway    string // its SPIFFE ID
	collection agreement.Collection
	agreement  *agreement.Agreement
	digest     agreement.Digest
	list       *List
	neighbour  Neighbour
}

// A subject is one item of an ask with its lookup keys by class.
type subject struct {
	ref  string
	keys map[string][]byte
}

// A run is one query on its way through the steps.
type run struct {
	caller string // SPIFFE ID of the officer
	who    officer.Officer
	ask    *Ask
	digest [32]byte // of the ask
	sign   []byte   // the officer's signature over it
	items  []subject
	t      *target
	id     query.ID
	began  time.Time

	facts    policy.Input // for the door `ask`
	decision policy.Decision
	seed     oprf.Seed
	entry    *entry.Entry    // of the intent
	leaf     [32]byte        // its hash
	row      store.Intent    // what must be durable before it
	charges  []budget.Charge // what the holder will charge
	crossed  []budget.Threshold
	intent   audit.Position  // of the intent entry in our shared log
	sealed   [32]byte        // SHA-256 of the sealed content
	request  *query.Request  // from step 3 on, and its batches from step 4 on
	pending  []*oprf.Pending // one for each batch of request
	verified time.Time       // when the answer had verified, before anything was matched
	receipt  audit.Position  // of the receipt entry in our shared log
}

// The steps are those of the package comment, and their order is the security
// argument:
//
//   - nothing is blinded, and nothing leaves, before the intent is durable in the
//     log together with the content that our auditor can open;
//   - the request carries the hash of that leaf and content, so that a later
//     challenge cannot be answered with another file;
//   - no output is computed before the proof and the receipt have verified;
//   - what was found is written to the internal log only;
//   - nothing that was found is stored as a candidate, or leaves this function, before
//     the receipt is durable in the shared log, and the outcome in the store, from
//     which it goes into the internal log, see outbox;
//   - what the holder sees of us after its answer does not depend on what was found.
//
// prepare is step 2 and the half of step 3 that can be made for all holders of an
// ask before anything is written: what must be durable before the intent is in
// r.row then. It returns why the query must not go on, or nil.
func (a *Asker) prepare(ctx context.Context, r *run) *query.Refusal {
	r.facts = facts.Encode(a.input(r))
	if refusal := a.decide(ctx, r); refusal != nil {
		return refusal
	}
	return a.sealIntent(r)
}

// query is what follows when r.row is durable: the rest of step 3, and the steps
// from 4 to 8.
func (a *Asker) query(ctx context.Context, r *run) (TargetResult, []Candidate) {
	result := r.result()

	// 3
	refusal := a.notify(ctx, r)
	if refusal == nil {
		refusal = a.logIntent(ctx, r)
	}
	if refusal != nil {
		result.RefusedHere, result.Refusal = true, refusal
		return result, nil
	}

	// From here on there is an intent in the log: what follows is written even if
	// the officer hangs up.
	written := context.WithoutCancel(ctx)
	fail := func(err error) (TargetResult, []Candidate) {
		result.Refusal = a.logFailure(written, r, err)
		return result, nil
	}

	// 4
	if err := a.blind(r); err != nil {
		return fail(err)
	}

	// 5
	answer, err := r.t.neighbour.Evaluate(ctx, r.request)
	if err != nil {
		return fail(err)
	}

	// 6
	receipt, err := a.check(r, answer)
	if err != nil {
		return fail(query.Refuse(query.PeerInvalid, err))
	}
	outputs, err := finalize(r, answer)
	if err != nil {
		return fail(query.Refuse(query.PeerInvalid, err))
	}
	r.verified = a.Now()
	a.acknowledge(written, r)

	// 7
	candidates := match(r, outputs)

	// The end of 6, and 8: a crash between the two leaves a query without an end, which
	// Recover closes as failed in both logs, and nobody has seen anything. What is
	// written here takes as long for somebody as for nobody.
	if err := a.logReceipt(written, r, receipt, answer.Receipt); err != nil {
		return fail(query.Refuse(query.AuditUnavailable, err))
	}
	if err := a.storeOutcome(written, r, candidates, answer.Receipt); err != nil {
		// What is not recorded is not reported.
		result.Refusal = query.Refuse(query.AuditUnavailable, err)
		return result, nil
	}
	result.Candidates = len(candidates)
	result.Exchange = r.exchange(answer, a.Now())
	return result, candidates
}

// result returns the result of r before anything is known.
func (r *run) result() TargetResult {
	return TargetResult{Holder: r.t.holder, Collection: r.t.collection.Name, Query: r.id}
}

const (
	// acknowledgeAfter is how long after its answer verified the holder is told that
	// it may delete its copy. It is far longer than what else follows takes.
	acknowledgeAfter = 500 * time.Millisecond

	acknowledgeTimeout = 30 * time.Second
)

// acknowledge lets the holder delete its copy of the answer, a fixed time from now:
// matching and recording take longer when somebody was found, and the holder must
// not see that. Nobody waits for it, because a copy that is not acknowledged is
// deleted in a day.
func (a *Asker) acknowledge(ctx context.Context, r *run) {
	neighbour, agreementID, id := r.t.neighbour, r.t.agreement.ID, r.id
	time.AfterFunc(acknowledgeAfter, func() {
		ctx, cancel := context.WithTimeout(ctx, acknowledgeTimeout)
		defer cancel()
		if err := neighbour.Acknowledge(ctx, agreementID, id); err != nil {
			a.log.DebugContext(ctx, "answer not acknowledged", "query_id", id.String())
		}
	})
}

// decide is step 2. It logs a refusal and returns it, or returns nil.
func (a *Asker) decide(ctx context.Context, r *run) *query.Refusal {
	d, err := a.Policy.Decide(ctx, r.facts)
	if err != nil {
		a.log.ErrorContext(ctx, "policy evaluation failed", "query_id", r.id.String(), "err", err)
	}
	r.decision = d
	var refusal *query.Refusal
	// Codes travel, so nothing else may be in their place.
	codes := &query.Facts{Purpose: r.ask.Purpose, LegalBasis: r.ask.LegalBasis, OffenceClass: r.ask.OffenceClass, Urgency: urgency(r.ask)}
	if unable := facts.Able(policy.Ask, d); unable != nil {
		refusal = query.Refuse(query.PolicyUnavailable, unable)
	} else if !d.Allowed() {
		refusal = facts.Refusal(d, err)
	} else if err := facts.CheckCodes(r.t.agreement, a.TrustDomain, codes); err != nil {
		refusal = query.Refuse(query.Malformed, err)
	} else {
		return nil
	}
	// The facts are kept, so that the refusal can be explained; it stands without.
	stored, digest := r.facts.Stored()
	if err := a.Store.PutPolicyInput(ctx, store.PolicyInput{Digest: digest, Input: stored, Created: r.began,
		Expires: r.began.AddDate(0, 0, r.t.agreement.RetentionDays.InputDays)}); err != nil {
		a.log.WarnContext(ctx, "policy input not kept", "query_id", r.id.String(), "err", err)
	}
	e := a.entry(entry.KindIntent, r)
	e.Decision, e.Reason = entry.DecisionDenied, string(refusal.Reason)
	e.Rules, e.Bundle, e.Input = d.Rules(), d.Bundle(), d.Input()
	e.Officer, e.Unit = a.Pseudonym(r.who.ID), a.Pseudonym("unit/"+r.who.Unit)
	e.Fit()
	if _, err := a.Shared.Append(context.WithoutCancel(ctx), e); err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	return refusal
}

// input returns the facts of r for the door `ask`, which sees every fact.
func (a *Asker) input(r *run) policy.AskInput {
	ask, c := r.ask, &r.t.collection
	subject := youngest(ask.Subjects, r.began)
	subject.Category = ask.SubjectCategory
	roles := make([]string, 0, len(r.who.Roles))
	for _, role := range r.who.Roles {
		roles = append(roles, string(role))
	}
	return policy.AskInput{
		Now:       policy.NewTime(r.began),
		Agreement: facts.Agreement(r.t.agreement, r.t.digest, false),
		Self:      facts.Gateway(r.t.agreement, a.TrustDomain, a.Gateway),
		Peer:      facts.Gateway(r.t.agreement, r.t.holder, r.t.gateway),
		Officer: policy.NewOfficer(r.who.ID, a.Pseudonym(r.who.ID), a.Pseudonym("unit/"+r.who.Unit), roles,
			policy.NewTime(trainedUntil(r.who))),
		Query: policy.AskQuery{
			Collection: c.Name, Category: c.Category, PurposeCode: ask.Purpose, LegalBasisRef: ask.LegalBasis,
			OffenceCode: ask.OffenceClass, Urgency: urgency(ask), Kind: ask.Kind.String(),
			SubjectCount: int64(len(ask.Subjects)), Case: policy.NewRef(ask.CaseReference),
			Justification: policy.NewText(ask.Justification),
		},
		Subject: subject,
	}
}

// youngest returns the facts about the age of the youngest subject, and the
// youngest age that the date of birth allows: where age is uncertain the younger
// one is assumed, and where nothing is known the subject may be a minor.
func youngest(subjects []record.Subject, now time.Time) policy.Subject {
	out := policy.Subject{AgeYears: -1, AgeCertainty: "unknown", MinorFlag: true}
	for i := range subjects {
		born := subjects[i].Birth
		if born.Year == 0 {
			return policy.Subject{AgeYears: -1, AgeCertainty: "unknown", MinorFlag: true}
		}
		certainty := "known"
		if born.Month == 0 || born.Day == 0 {
			certainty = "estimated"
		}
		month, day := born.Month, born.Day
		if month == 0 {
			month = 12
		}
		if day == 0 {
			day = 31
		}
		years := now.Year() - born.Year
		if int(now.Month()) < month || int(now.Month()) == month && now.Day() < day {
			years--
		}
		if years = max(years, 0); i == 0 || int64(years) < out.AgeYears {
			out = policy.Subject{AgeYears: int64(years), AgeCertainty: certainty, MinorFlag: years < 18}
		}
	}
	return out
}

// trainedUntil returns when the first of an officer's courses lapses: a course that
// is valid must not hide one that is not.
func trainedUntil(o officer.Officer) (until time.Time) {
	for _, t := range o.Trained {
		if until.IsZero() || t.Until.Before(until) {
			until = t.Until
		}
	}
	return until
}

func urgency(ask *Ask) string {
	if ask.Urgency == "" {
		return "ordinary"
	}
	return ask.Urgency
}

// entry returns what every entry of r in our logs has.
func (a *Asker) entry(kind entry.Kind, r *run) *entry.Entry {
	return &entry.Entry{
		Kind:            kind,
		Time:            a.Now().UnixMilli(),
		Query:           r.id,
		Direction:       entry.DirectionAsked,
		Asker:           a.Gateway,
		Holder:          r.t.gateway,
		Agreement:       r.t.agreement.ID,
		AgreementDigest: r.t.digest,
		Purpose:         facts.KnownPurpose(r.t.agreement, r.ask.Purpose), // an officer may have typed anything
		Collection:      r.t.collection.Name,
		Items:           uint32(query.PadItems(len(r.items))),
		Protocol:        query.Protocol,
		Normalisation:   record.Version,
		ListVersion:     r.t.list.Version,
	}
}

// sealIntent makes the intent's entry, the content sealed to our auditor, the header
// of the request, and the rows that hold them.
func (a *Asker) sealIntent(r *run) *query.Refusal {
	stored, inputDigest := r.facts.Stored()
	r.seed = oprf.GenerateSeed()
	content, err := a.content(r, stored)
	if err != nil {
		return query.Refuse(query.Internal, err)
	}
	e := a.entry(entry.KindIntent, r)
	e.Decision, e.Rules = entry.DecisionAllowed, r.decision.Rules()
	e.Bundle, e.Input = r.decision.Bundle(), inputDigest
	e.Officer, e.Unit = a.Pseudonym(r.who.ID), a.Pseudonym("unit/"+r.who.Unit)
	e.Auditor = a.Sealer.KeyID()
	e.Fit()
	binding, err := e.SealedContext()
	if err != nil {
		return query.Refuse(query.Internal, err)
	}
	ciphertext, err := a.Sealer.Seal(r.id, binding, content)
	if err != nil {
		return query.Refuse(query.Internal, err)
	}
	r.sealed = sha256.Sum256(ciphertext)
	e.Sealed = r.sealed
	leaf, err := e.Leaf()
	if err != nil {
		return query.Refuse(query.Internal, err)
	}
	a.header(r, leaf)

	// A use that no budget covers is refused by the holder.
	r.charges, _ = budget.Plan(limits(r.t.agreement, r.t.collection.Name), a.use(r), r.began)
	counts := make([]store.Count, len(r.charges))
	for i, c := range r.charges {
		counts[i] = store.Count{Counter: c.Counter, Amount: c.Amount, Until: c.Until}
	}
	retention := r.t.agreement.RetentionDays
	officer, unit := a.Pseudonym(r.who.ID), a.Pseudonym("unit/"+r.who.Unit)
	r.entry, r.leaf = e, leaf
	r.row = store.Intent{
		Ask: store.Ask{
			ID: r.id, Request: r.ask.Request, Holder: r.t.holder, Collection: r.t.collection.Name,
			Agreement: r.t.agreement.ID, Purpose: r.ask.Purpose, Kind: r.ask.Kind.String(), Items: int64(len(r.items)),
			Officer: hex.EncodeToString(officer[:]), Unit: hex.EncodeToString(unit[:]), State: store.AskIntent,
			ListVersion: r.t.list.Version, Header: r.request.AppendHeader(nil), Created: r.began,
		},
		PolicyInput: &store.PolicyInput{Digest: inputDigest, Input: stored, Created: r.began,
			Expires: r.began.AddDate(0, 0, retention.InputDays)},
		Sealed: &store.SealedContent{Hash: r.sealed, Content: ciphertext,
			Expires: r.began.AddDate(0, 0, retention.WithoutCandidate)},
		Counts: counts,
	}
	return nil
}

// use returns what r uses of the budgets of its agreement, as the holder sees it.
func (a *Asker) use(r *run) budget.Use {
	u := budget.Use{Agreement: r.t.agreement.ID, Peer: a.TrustDomain, Collection: r.t.collection.Name, Purpose: r.ask.Purpose,
		Unit: a.Pseudonym("unit/" + r.who.Unit), Elements: make(map[string]int64)}
	for _, class := range r.t.list.Classes {
		u.Elements[class.Name] = int64(query.PadItems(len(r.items)))
	}
	return u
}

// limits returns the budgets of an agreement for one collection.
func limits(g *agreement.Agreement, collection string) []budget.Limit {
	var out []budget.Limit
	for _, b := range g.BudgetsOf(collection) {
		out = append(out, budget.Limit(b))
	}
	return out
}

// notify tells our auditors that r takes a budget of the agreement past a mark of
// RU-11, with an entry of the internal log and by Config.Notify. The holder's
// auditors are told by its own gateway. What we count may be more than what it counts:
// a query that did not reach it counts here.
func (a *Asker) notify(ctx context.Context, r *run) *query.Refusal {
	for _, mark := range r.crossed {
		e := &entry.Entry{Kind: entry.KindBudgetNotice, Time: a.Now().UnixMilli(), Query: r.id, Direction: entry.DirectionAsked,
			Asker: a.Gateway, Holder: r.t.gateway, Agreement: r.t.agreement.ID,
			Purpose: facts.KnownPurpose(r.t.agreement, r.ask.Purpose), Collection: r.t.collection.Name, Reason: mark.Code()}
		if _, err := a.Internal.Append(context.WithoutCancel(ctx), e); err != nil {
			return query.Refuse(query.AuditUnavailable, err)
		}
		a.log.WarnContext(ctx, "budget mark passed", "peer", r.t.holder, "agreement", r.t.agreement.ID, "reason", e.Reason)
		if a.Notify != nil {
			a.Notify(e)
		}
	}
	return nil
}

// logIntent ends step 3: the intent is in the shared log, and its content stored,
// before there is anything that could leave.
func (a *Asker) logIntent(ctx context.Context, r *run) *query.Refusal {
	position, err := a.Shared.Append(context.WithoutCancel(ctx), r.entry)
	if err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	if position.Leaf != r.leaf {
		return query.Refuse(query.Internal, errors.New("asker: the log has another leaf than the request names"))
	}
	r.intent = position
	return nil
}

// content returns what is sealed to our auditor.
func (a *Asker) content(r *run, input []byte) ([]byte, error) {
	c := query.Content{
		Version:      query.ContentVersion,
		Query:        r.id.String(),
		Request:      r.ask.Request.String(),
		Officer:      r.caller,
		Unit:         r.who.Unit,
		Asked:        r.ask.asked(),
		AskDigest:    r.digest[:],
		AskSignature: r.sign,
		Input:        input,
		Holder:       r.t.holder,
		Seed:         r.seed.Bytes(),
	}
	for _, class := range r.t.list.Classes {
		key := class.PublicKey
		c.Batches = append(c.Batches, query.ContentBatch{Class: class.Name, Epoch: r.t.list.Epoch,
			Info: class.Info, PublicKey: key[:]})
	}
	for _, item := range r.items {
		i := query.ContentItem{Ref: item.ref}
		for _, class := range r.t.list.Classes {
			i.Keys = append(i.Keys, item.keys[class.Name])
		}
		c.Items = append(c.Items, i)
	}
	return c.Bytes()
}

// header makes the request of r without its batches, which is durable with the
// intent: with the sealed content, our auditor makes the same bytes again, even
// after a crash.
func (a *Asker) header(r *run, leaf [32]byte) {
	req := &query.Request{
		ID:            r.id,
		Protocol:      query.Protocol,
		Normalisation: record.Version,
		Facts: query.Facts{
			Agreement:       r.t.agreement.ID,
			AgreementDigest: r.t.digest,
			Collection:      r.t.collection.Name,
			Purpose:         r.ask.Purpose,
			LegalBasis:      r.ask.LegalBasis,
			OffenceClass:    r.ask.OffenceClass,
			Urgency:         urgency(r.ask),
			Category:        r.t.collection.Category,
			Kind:            r.ask.Kind,
			Items:           uint32(query.PadItems(len(r.items))),
			Unit:            a.Pseudonym("unit/" + r.who.Unit),
			CaseReference:   r.ask.CaseReference != "",
			Justification:   r.ask.Justification != "",
		},
		ListVersion: r.t.list.Version,
		AskerLeaf:   leaf,
		Sealed:      r.sealed,
		Statement:   query.Statement{Rules: r.decision.Rules(), Bundle: r.decision.Bundle()},
	}
	copy(req.Statement.Signature[:], ed25519.Sign(a.StatementKey, req.StatementBytes()))
	r.request = req
}

// blind is step 4. Every item gives exactly one element in every class; an item
// without a key there, and every item of the padding, gives a dummy, so that the
// holder cannot see what is known of a subject.
func (a *Asker) blind(r *run) error {
	items := int(r.request.Facts.Items)
	chunks := (items + query.MaxChunk - 1) / query.MaxChunk
	batches := make([]query.Batch, len(r.t.list.Classes)*chunks)
	r.pending = make([]*oprf.Pending, len(batches))
	err := each(len(batches), func(n int) error {
		class, chunk := &r.t.list.Classes[n/chunks], n%chunks
		first := chunk * query.MaxChunk
		inputs := make([][]byte, min(items-first, query.MaxChunk))
		for i := range inputs {
			if first+i < len(r.items) {
				inputs[i] = r.items[first+i].keys[class.Name]
			}
		}
		pending, elements, err := class.client.Blind(inputs, r.seed, oprf.BlindContext{
			QueryID: r.id, Holder: r.t.holder, Info: class.Info, Chunk: uint32(chunk)})
		if err != nil {
			return fmt.Errorf("asker: blinding: %w", err)
		}
		b := query.Batch{Class: class.Name, Epoch: r.t.list.Epoch, Chunk: uint32(chunk), Elements: make([][32]byte, len(elements))}
		for i, e := range elements {
			b.Elements[i] = e
		}
		batches[n], r.pending[n] = b, pending
		return nil
	})
	if err != nil {
		return err
	}
	r.request.Batches = batches
	return nil
}

// each calls f for 0 to n-1, at the same time, and returns the first error in that
// order. A lookup has one element in each class, so that the classes are what can
// be computed in parallel.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	together.Do(n, func(i int) { errs[i] = f(i) })
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// errAnswer is the cause of every refusal for an answer that does not verify.
var errAnswer = errors.New("asker: answer does not verify")

// check is the first half of step 6: the answer has the shape of the request,
// and the holder signed a receipt for exactly this request and this answer.
func (a *Asker) check(r *run, answer *query.Answer) (*entry.Receipt, error) {
	if err := answer.Matches(r.request); err != nil {
		return nil, err
	}
	key, err := a.Directory.StatementKey(r.t.holder)
	if err != nil {
		return nil, err
	}
	receipt, err := entry.CheckReceipt(answer.Receipt, key, r.id, r.request.Digest(), answer.Digest())
	if err != nil {
		return nil, err
	}
	if receipt.ListVersion != r.t.list.Version || receipt.Decision != entry.DecisionAllowed {
		return nil, fmt.Errorf("%w: the receipt is about something else", errAnswer)
	}
	return receipt, nil
}

// finalize is the second half of step 6: the proof of every batch verifies, or
// there is no output at all.
func finalize(r *run, answer *query.Answer) (map[string][]oprf.Output, error) {
	all := make([][]oprf.Output, len(answer.Batches))
	err := each(len(all), func(i int) error {
		b := &answer.Batches[i]
		evaluated := make([]oprf.Element, len(b.Evaluated))
		for j := range b.Evaluated {
			evaluated[j] = b.Evaluated[j]
		}
		var err error
		if all[i], err = r.pending[i].Finalize(evaluated, b.Proof); err != nil {
			return fmt.Errorf("%w: batch %d: %w", errAnswer, i, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	outputs := make(map[string][]oprf.Output, len(r.t.list.Classes))
	for i := range answer.Batches {
		class := answer.Batches[i].Class
		outputs[class] = append(outputs[class], all[i]...)
	}
	return outputs, nil
}

// logReceipt ends step 6: the holder's word is in our log before we use it.
func (a *Asker) logReceipt(ctx context.Context, r *run, receipt *entry.Receipt, signed []byte) error {
	e := a.entry(entry.KindReceipt, r)
	e.Time = r.verified.UnixMilli() // the shared log does not tell how long matching took
	e.Request, e.PeerLeaf, e.Decision = receipt.Request, receipt.Leaf, receipt.Decision
	e.Receipt = entry.ReceiptDigest(signed)
	position, err := a.Shared.Append(ctx, e)
	r.receipt = position
	return err
}

// storeOutcome is step 8: the query has an end, there is an entry about it for the
// internal log, and candidates can be listed, all in one commit. There is never a
// candidate without the entries that say how it came about.
func (a *Asker) storeOutcome(ctx context.Context, r *run, candidates []Candidate, receipt []byte) error {
	if err := a.outcomes.fault(); err != nil {
		return err
	}
	e := a.entry(entry.KindOutcome, r)
	e.Outcome = entry.OutcomeNoCandidate
	if len(candidates) > 0 {
		e.Outcome = entry.OutcomeCandidate
	}
	keep := r.began.AddDate(0, 0, r.t.agreement.RetentionDays.WithCandidate)
	update := store.AskUpdate{ID: r.id, State: store.AskAnswered, RequestDigest: r.request.Digest(), Receipt: receipt,
		Time: a.Now(), Leaves: r.leaves()}
	if len(candidates) > 0 {
		// The content of a query with a candidate is kept longer, for the follow-up.
		update.Keep = &store.Keep{Hash: r.sealed, Until: keep}
	}
	for i := range candidates {
		update.Candidates = append(update.Candidates, candidates[i].row(r.t.list.Epoch, keep))
	}
	return a.end(ctx, update, e)
}

// leaves returns where the entries about r are in our shared log.
func (r *run) leaves() []store.Leaf {
	return []store.Leaf{
		{Query: r.id, Log: "shared", Kind: entry.KindIntent.String(), Index: r.intent.Index, Hash: r.intent.Leaf},
		{Query: r.id, Log: "shared", Kind: entry.KindReceipt.String(), Index: r.receipt.Index, Hash: r.receipt.Leaf},
	}
}

// logFailure records that an intent came to nothing, in the shared log (so that
// every intent has a constant number of entries: a receipt or a failure) and in
// the internal one, and returns what the officer is told.
func (a *Asker) logFailure(ctx context.Context, r *run, cause error) *query.Refusal {
	refusal, ok := errors.AsType[*query.Refusal](cause)
	if !ok {
		refusal = query.Refuse(query.Internal, cause)
	}
	a.log.WarnContext(ctx, "query failed", "query_id", r.id.String(), "reason", string(refusal.Reason), "err", cause)
	e := a.entry(entry.KindFailure, r)
	e.Reason = string(refusal.Reason)
	var digest [32]byte
	if len(r.request.Batches) > 0 { // it may have left: what it said is on record
		digest = r.request.Digest()
	}
	e.Request = digest
	if _, err := a.Shared.Append(ctx, e); err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	o := a.entry(entry.KindOutcome, r)
	o.Outcome, o.Reason = entry.OutcomeFailed, string(refusal.Reason)
	state := store.AskFailed
	if refusal.Reason == query.PolicyDenied || refusal.Reason == query.BudgetExhausted {
		state = store.AskRefused
	}
	if err := a.end(ctx, store.AskUpdate{ID: r.id, State: state, Reason: string(refusal.Reason), RequestDigest: digest,
		Time: a.Now(), Leaves: r.leaves()[:1]}, o); err != nil {
		return query.Refuse(query.StorageUnavailable, err)
	}
	return refusal
}

// exchange returns what the query moved.
func (r *run) exchange(answer *query.Answer, now time.Time) *Exchange {
	return &Exchange{
		Items: len(r.items), PaddedItems: int(r.request.Facts.Items), Elements: r.request.Elements(),
		BytesUp: len(r.request.Bytes()), BytesDown: len(answer.Bytes()),
		ListVersion: r.t.list.Version, ListTime: r.t.list.Published, ListTags: r.t.list.Tags,
		Duration: now.Sub(r.began), IntentIndex: r.intent.Index, ReceiptIndex: r.receipt.Index,
	}
}

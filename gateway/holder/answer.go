package holder

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/budget"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/internal/together"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// A run is one query on its way through the steps.
type run struct {
	caller     Caller
	req        *query.Request
	digest     [32]byte // of the request
	now        time.Time
	agreement  *agreement.Agreement
	collection *agreement.Collection
	charges    []budget.Charge
	input      *store.PolicyInput
	decision   policy.Decision
	leaf       store.Leaf // of the decision entry
}

// Answer decides and answers one query.
//
// The order is the security argument, do not change it:
//
//	a  the federation with the caller still holds
//	b  the request is of the documented form, of now, and within limits
//	c  an agreement both sides share permits this exchange today
//	d  policy allows it; undefined or failing policy denies
//	e  the budget is charged, durably and once per query id
//	f  the decision is in the log, durably, or there is no answer
//	g  the answer is computed, while the disk is busy with f
//	h  the receipt is signed, and stored with the answer, so that they are never made
//	   twice; only then does anything leave
//
// What g computes is dropped if f fails. Its proofs are under fresh nonces, so that a
// proof which nobody has seen says nothing about the key, and nothing of it is kept.
//
// Every error is a [query.Refusal]. A query that is refused from step c on is
// logged too: it has an entry, and no answer. Until step e a caller that hangs up
// leaves nothing behind; after it, the query is finished, and its answer kept for
// a retry.
func (h *Holder) Answer(ctx context.Context, caller Caller, req *query.Request) (*query.Answer, error) {
	r := &run{caller: caller, req: req, now: h.Now()}

	// a: a stranger and a peer whose federation was ended get one reason.
	if !h.Peers.Active(caller.TrustDomain) {
		return nil, query.Refuse(query.UnknownPeer, nil)
	}

	// b
	if err := check(req, r.now); err != nil {
		return nil, err
	}
	r.digest = req.Digest()

	// c
	if err := h.agreed(r); err != nil {
		return nil, h.refuse(ctx, r, err)
	}

	// A retry gets what the first call got: it is neither decided, charged nor
	// logged again. Step e is what decides between two calls at the same moment.
	if kept, err := h.known(ctx, r); kept != nil || err != nil {
		return kept, err
	}

	// d: an error comes with a Decision that denies. A caller that has hung up may
	// be its cause, and then it says nothing.
	err := h.decide(ctx, r)
	if ctx.Err() != nil {
		return nil, query.Refuse(query.Unreachable, ctx.Err())
	}
	if err != nil {
		return nil, h.refuse(ctx, r, err)
	}

	// From here on a caller that hangs up must not leave half a query behind.
	ctx = context.WithoutCancel(ctx)

	// e
	kept, err := h.begin(ctx, r)
	if kept != nil || err != nil {
		return kept, err
	}

	// f and g
	var answer *query.Answer
	var unlogged error
	together.Do(2, func(i int) {
		switch i {
		case 0:
			unlogged = h.append(ctx, r)
		case 1:
			answer, err = h.evaluate(r)
		}
	})
	if unlogged != nil {
		return nil, h.fail(ctx, r, query.Refuse(query.AuditUnavailable, unlogged))
	}
	if err != nil {
		return nil, h.fail(ctx, r, err)
	}

	// h
	if err := h.finish(ctx, r, answer); err != nil {
		return nil, h.fail(ctx, r, query.Refuse(query.StorageUnavailable, err))
	}
	return answer, nil
}

// check is step b.
func check(req *query.Request, now time.Time) error {
	if err := req.Validate(); err != nil {
		return query.Refuse(query.Malformed, err)
	}
	if req.Normalisation != record.Version {
		return query.Refuse(query.VersionUnsupported, nil)
	}
	switch err := req.ID.Check(now, MaxQueryAge, MaxSkew); {
	case errors.Is(err, query.ErrClock):
		return query.Refuse(query.ClockSkew, err)
	case err != nil:
		return query.Refuse(query.QueryIDExpired, err)
	}
	return nil
}

// agreed is step c: the agreement that the caller names is active and has the
// caller's digest, we are the holder of the collection, the asker's own policy
// allowed the query, and the classes and epochs are ours of today.
func (h *Holder) agreed(r *run) error {
	f := &r.req.Facts
	var err error
	r.agreement, err = h.Agreements.Check(r.caller.TrustDomain, f.Agreement, agreement.Digest(f.AgreementDigest), r.now)
	if err != nil {
		return query.Refuse(facts.AgreementReason(err), err)
	}
	if r.collection, err = r.agreement.Collection(h.TrustDomain, f.Collection); err != nil {
		return query.Refuse(query.AgreementUnknown, err)
	}
	if party, err := r.agreement.Party(r.caller.TrustDomain); err != nil || party.Gateway != r.caller.Gateway {
		return query.Refuse(query.AgreementMismatch, errors.New("holder: the caller is not the gateway of the agreement"))
	}
	if f.Category != r.collection.Category {
		return query.Refuse(query.Malformed, errors.New("holder: category is not that of the collection"))
	}
	key, err := h.Peers.StatementKey(r.caller.TrustDomain)
	if err != nil || !ed25519.Verify(key, r.req.StatementBytes(), r.req.Statement.Signature[:]) {
		return query.Refuse(query.StatementInvalid, err)
	}
	return h.current(r)
}

// current checks that the batches are one per class of the agreement, in its
// order, and under epochs that may still be evaluated.
func (h *Holder) current(r *run) error {
	classes := r.collection.Classes
	i := -1
	for b := range r.req.Batches {
		batch := &r.req.Batches[b]
		if batch.Chunk == 0 {
			i++
		}
		if i >= len(classes) || batch.Class != classes[i] {
			return query.Refuse(query.Malformed, errors.New("holder: classes are not those of the agreement"))
		}
		if _, err := h.Keys.Server(r.collection.Name, batch.Epoch); err != nil {
			return query.Refuse(query.ListStale, err)
		}
	}
	if i != len(classes)-1 {
		return query.Refuse(query.Malformed, errors.New("holder: a class of the agreement is missing"))
	}
	return nil
}

// decide is step d. Everything the rules see travelled with the request, stands
// in the agreement, or is a counter or the health of our own.
func (h *Holder) decide(ctx context.Context, r *run) error {
	f := &r.req.Facts
	charges, err := h.plan(r)
	if err != nil {
		return query.Refuse(query.BudgetExhausted, err)
	}
	var budgets []policy.Budget
	for _, c := range charges {
		used, err := h.Store.BudgetUsed(ctx, c.Counter)
		if err != nil {
			return query.Refuse(query.StorageUnavailable, err)
		}
		r.charges = append(r.charges, c)
		scope, _, _ := strings.Cut(c.Counter, "/")
		budgets = append(budgets, policy.Budget{Scope: scope, Used: used, Requested: c.Amount, Limit: c.Limit,
			ResetsIn: int64(c.Until.Sub(r.now) / time.Second)})
	}
	in := facts.Encode(policy.AnswerInput{
		Now:       policy.NewTime(r.now),
		Agreement: facts.Agreement(r.agreement, agreement.Digest(f.AgreementDigest), false),
		Self:      facts.Gateway(r.agreement, h.TrustDomain, h.Gateway),
		Peer:      facts.Gateway(r.agreement, r.caller.TrustDomain, r.caller.Gateway),
		Query:     facts.AnswerQuery(f, r.req.Statement.Rules),
		Budgets:   budgets,
		Log:       policy.Log{WriteOK: h.Shared.Err() == nil},
	})
	stored, digest := in.Stored()
	r.input = &store.PolicyInput{Digest: digest, Input: stored, Created: r.now, Expires: r.now.AddDate(0, 0, r.agreement.RetentionDays.InputDays)}
	decision, err := h.Policy.Decide(ctx, in)
	r.decision = decision
	if err != nil {
		h.log.ErrorContext(ctx, "policy evaluation failed", "query_id", r.req.ID.String(), "err", err)
	}
	if err := facts.Able(policy.Answer, decision); err != nil {
		r.decision = policy.Decision{}
		return query.Refuse(query.PolicyUnavailable, err)
	}
	if decision.Allowed() {
		// The asker's gateway has checked the same; a hostile one has not.
		if err := facts.CheckCodes(r.agreement, r.caller.TrustDomain, f); err != nil {
			return query.Refuse(query.Malformed, err)
		}
		return nil
	}
	refusal := facts.Refusal(decision, err)
	for _, d := range decision.Denials() {
		if d.Rule == budgetRule {
			refusal.Reason = query.BudgetExhausted
			refusal.RetryAfter = time.Duration(decision.Limits()[policy.RetryAfter]) * time.Second
		}
	}
	return refusal
}

// budgetRule is the rule that refuses a query over budget. Its refusal has a
// reason of its own, because a machine can wait.
const budgetRule = "RU-11"

// plan returns what r is charged to: elements, because the holder cannot see what
// an element is.
func (h *Holder) plan(r *run) ([]budget.Charge, error) {
	f := &r.req.Facts
	use := budget.Use{Agreement: r.agreement.ID, Peer: r.caller.TrustDomain, Collection: r.collection.Name,
		Purpose: f.Purpose, Unit: f.Unit, Elements: make(map[string]int64)}
	for _, class := range r.collection.Classes {
		use.Elements[class] = int64(f.Items)
	}
	var limits []budget.Limit
	for _, b := range r.agreement.BudgetsOf(r.collection.Name) {
		limits = append(limits, budget.Limit(b))
	}
	return budget.Plan(limits, use, r.now)
}

// key names r at our side.
func (r *run) key() store.QueryKey {
	return store.QueryKey{Peer: r.caller.TrustDomain, Agreement: r.req.Facts.Agreement, ID: r.req.ID}
}

// begin is step e. It returns the answer of an earlier call with the same id and
// digest, or a refusal, or neither: then the query is ours to answer, charged,
// and remembered as pending.
func (h *Holder) begin(ctx context.Context, r *run) (*query.Answer, error) {
	charges := make([]store.Charge, len(r.charges))
	for i, c := range r.charges {
		charges[i] = store.Charge(c)
	}
	state, err := h.Store.BeginQuery(ctx, store.Begin{QueryKey: r.key(), RequestDigest: r.digest, Time: r.now,
		Charges: charges, PolicyInput: r.input})
	switch {
	case errors.Is(err, store.ErrQueryIDReused):
		return nil, h.refuse(ctx, r, query.Refuse(query.QueryIDReused, err))
	case errors.Is(err, store.ErrBudget):
		refusal := query.Refuse(query.BudgetExhausted, err)
		if over, ok := errors.AsType[*store.BudgetError](err); ok {
			refusal.RetryAfter = over.Until.Sub(r.now)
		}
		return nil, h.refuse(ctx, r, refusal)
	case err != nil:
		return nil, query.Refuse(query.StorageUnavailable, err)
	}
	if state.Progress == store.New {
		return nil, h.notify(ctx, r, state.Used)
	}
	return replay(state)
}

// notify tells our auditors that the query took a budget past a mark of RU-11:
// with an entry of the internal log, and by Config.Notify. The asker's auditors are
// told by its own gateway, which counts too.
func (h *Holder) notify(ctx context.Context, r *run, used []int64) error {
	for _, mark := range budget.Crossed(r.charges, used) {
		e := &entry.Entry{Kind: entry.KindBudgetNotice, Time: h.Now().UnixMilli(), Query: r.req.ID,
			Direction: entry.DirectionAnswered, Asker: r.caller.Gateway, Holder: h.Gateway, Agreement: r.agreement.ID,
			Purpose: r.req.Facts.Purpose, Collection: r.collection.Name, Reason: mark.Code()}
		if _, err := h.Internal.Append(ctx, e); err != nil {
			return h.fail(ctx, r, query.Refuse(query.AuditUnavailable, err))
		}
		h.log.WarnContext(ctx, "budget mark passed", "peer", r.caller.TrustDomain, "agreement", r.agreement.ID, "reason", e.Reason)
		if h.Notify != nil {
			h.Notify(e)
		}
	}
	return nil
}

// known returns what an earlier call with the same id and digest got, or a
// refusal if the id was used with another digest, or neither.
func (h *Holder) known(ctx context.Context, r *run) (*query.Answer, error) {
	state, err := h.Store.LookupQuery(ctx, r.key())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, query.Refuse(query.StorageUnavailable, err)
	case state.Digest != r.digest:
		return nil, h.refuse(ctx, r, query.Refuse(query.QueryIDReused, nil))
	}
	return replay(state)
}

// replay returns what an earlier call with the same id and digest got.
func replay(state store.QueryState) (*query.Answer, error) {
	switch state.Progress {
	case store.Answered:
		answer, err := query.ParseAnswer(state.Answer)
		if err != nil {
			return nil, query.Refuse(query.Internal, err)
		}
		return answer, nil
	case store.Refused:
		return nil, parseRefusal(state.Decision)
	case store.Pending:
		refusal := query.Refuse(query.InProgress, nil)
		refusal.RetryAfter = time.Second
		return nil, refusal
	}
	return nil, query.Refuse(query.QueryFailed, nil)
}

// entry returns what every entry about r has. Of the codes that the caller sent it
// holds those of the agreement only: any other is free text, which must not get
// into a log that cannot be erased. The request digest binds what was sent.
func (h *Holder) entry(kind entry.Kind, r *run) *entry.Entry {
	f := &r.req.Facts
	e := &entry.Entry{
		Kind: kind, Time: h.Now().UnixMilli(), Query: r.req.ID, Direction: entry.DirectionAnswered,
		Asker: r.caller.Gateway, Holder: h.Gateway, Items: f.Items,
		Protocol: r.req.Protocol, Normalisation: r.req.Normalisation, ListVersion: r.req.ListVersion,
		Request: r.digest, PeerLeaf: r.req.AskerLeaf, PeerSealed: r.req.Sealed,
	}
	if r.agreement != nil {
		e.Agreement, e.AgreementDigest = r.agreement.ID, f.AgreementDigest
		e.Purpose = facts.KnownPurpose(r.agreement, f.Purpose)
	}
	if r.collection != nil {
		e.Collection = r.collection.Name
	}
	return e
}

// decided adds the decision of the policy to e.
func (r *run) decided(e *entry.Entry) *entry.Entry {
	e.Unit = r.req.Facts.Unit
	if r.input != nil {
		e.Bundle, e.Input = r.decision.Bundle(), r.decision.Input()
		if r.decision.Allowed() || r.decision.DiscloseReason() {
			// Of a decision that must not be explained the rules are not shown: the
			// caller can have this entry proved. They follow from bundle and input.
			e.Rules = r.decision.Rules()
		}
	}
	e.Fit() // a peer must not be able to make its own refusal too long to be logged
	return e
}

// append is step f.
func (h *Holder) append(ctx context.Context, r *run) error {
	e := r.decided(h.entry(entry.KindDecision, r))
	e.Decision = entry.DecisionAllowed
	position, err := h.Shared.Append(ctx, e)
	if err != nil {
		return err
	}
	r.leaf = store.Leaf{Query: r.req.ID, Log: h.Origin, Kind: e.Kind.String(), Index: position.Index, Hash: position.Leaf}
	return nil
}

// refuse logs a refusal and remembers it for retries. It returns the refusal, or
// why it could not be logged.
func (h *Holder) refuse(ctx context.Context, r *run, cause error) error {
	refusal, ok := errors.AsType[*query.Refusal](cause)
	if !ok {
		refusal = query.Refuse(query.Internal, cause)
	}
	if state, err := h.Store.LookupQuery(ctx, r.key()); err == nil && state.Digest == r.digest {
		// A retry of what was logged before, perhaps as allowed: there is no second
		// decision about one query.
		if state.Progress == store.Refused {
			return parseRefusal(state.Decision)
		}
		return refusal
	}
	ctx = context.WithoutCancel(ctx)
	e := r.decided(h.entry(entry.KindDecision, r))
	e.Decision, e.Reason = entry.DecisionDenied, string(refusal.Reason)
	position, err := h.Shared.Append(ctx, e)
	if err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	switch refusal.Reason {
	case query.QueryIDReused: // the first query keeps the id
		return refusal
	case query.PolicyUnavailable, query.StorageUnavailable, query.AuditUnavailable, query.Internal:
		return refusal // a passing fault of ours: a retry may be answered
	}
	leaf := store.Leaf{Query: r.req.ID, Log: h.Origin, Kind: e.Kind.String(), Index: position.Index, Hash: position.Leaf}
	begin := store.Begin{QueryKey: r.key(), RequestDigest: r.digest, Time: r.now, PolicyInput: r.input}
	if _, err := h.Store.RefuseQuery(ctx, begin, storedRefusal(refusal), leaf); err != nil && !errors.Is(err, store.ErrQueryIDReused) {
		h.log.WarnContext(ctx, "refusal not remembered", "query_id", r.req.ID.String(), "err", err)
	}
	return refusal
}

// fail closes a query that was begun and cannot be answered: it is logged as
// failed and never computed again. It returns the refusal for the caller.
func (h *Holder) fail(ctx context.Context, r *run, cause error) error {
	refusal, ok := errors.AsType[*query.Refusal](cause)
	if !ok {
		refusal = query.Refuse(query.Internal, cause)
	}
	h.log.ErrorContext(ctx, "query failed", "query_id", r.req.ID.String(), "reason", string(refusal.Reason), "err", cause)
	e := h.entry(entry.KindFailure, r)
	e.Reason = string(refusal.Reason)
	if _, err := h.Shared.Append(ctx, e); err != nil {
		h.log.ErrorContext(ctx, "failure not logged", "query_id", r.req.ID.String(), "err", err)
	}
	if err := h.Store.FinishQuery(ctx, r.key(), store.Finish{Progress: store.Failed, Decision: string(refusal.Reason), Time: h.Now()}); err != nil {
		h.log.ErrorContext(ctx, "failed query not closed", "query_id", r.req.ID.String(), "err", err)
	}
	return refusal
}

// evaluate is step g: one evaluation of every element and one proof a batch. A lookup
// has one element in each batch, so the batches are computed at the same time.
func (h *Holder) evaluate(r *run) (*query.Answer, error) {
	answer := &query.Answer{ID: r.req.ID, Batches: make([]query.AnswerBatch, len(r.req.Batches))}
	servers := make([]*oprf.Server, len(r.req.Batches))
	for i := range r.req.Batches {
		var err error
		if servers[i], err = h.Keys.Server(r.collection.Name, r.req.Batches[i].Epoch); err != nil {
			return nil, query.Refuse(query.ListStale, err)
		}
	}
	errs := make([]error, len(r.req.Batches))
	together.Do(len(r.req.Batches), func(i int) {
		answer.Batches[i], errs[i] = h.evaluateBatch(r, servers[i], &r.req.Batches[i])
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answer, nil
}

func (h *Holder) evaluateBatch(r *run, server *oprf.Server, b *query.Batch) (query.AnswerBatch, error) {
	blinded := make([]oprf.Element, len(b.Elements))
	for j := range b.Elements {
		blinded[j] = b.Elements[j]
	}
	evaluated, proof, err := server.BlindEvaluate(blinded, h.info(r.caller.TrustDomain, r.collection.Name, b.Class, b.Epoch).Bytes())
	switch {
	case errors.Is(err, oprf.ErrMessage):
		return query.AnswerBatch{}, query.Refuse(query.Malformed, err)
	case err != nil:
		return query.AnswerBatch{}, query.Refuse(query.Internal, err)
	}
	t := query.AnswerBatch{Class: b.Class, Chunk: b.Chunk, Proof: proof, Evaluated: make([][32]byte, len(evaluated))}
	for j := range evaluated {
		t.Evaluated[j] = evaluated[j]
	}
	return t, nil
}

// info returns the public information under which one asker's tags of one class
// are made: two askers cannot pool theirs, and no tag of one class or epoch is
// one of another.
func (h *Holder) info(asker, collection, class string, epoch uint32) psi.Info {
	return psi.Info{Protocol: query.Protocol, Holder: h.TrustDomain, Asker: asker, Collection: collection, Class: class,
		Normalisation: record.Version, Epoch: epoch}
}

// finish is step h: the receipt signs what was asked, what is answered, and where
// the decision is in our log; with the answer it is durable before it leaves.
func (h *Holder) finish(ctx context.Context, r *run, answer *query.Answer) error {
	receipt := entry.Receipt{
		Query: r.req.ID, Request: r.digest, Answer: answer.Digest(), ListVersion: r.req.ListVersion,
		Decision: entry.DecisionAllowed, Leaf: r.leaf.Hash, Index: r.leaf.Index, Origin: h.Origin, Time: h.Now().UnixMilli(),
	}
	signed, err := entry.SignReceipt(receipt, h.StatementKey)
	if err != nil {
		return fmt.Errorf("holder: receipt: %w", err)
	}
	answer.Receipt = signed
	return h.Store.FinishQuery(ctx, r.key(), store.Finish{Progress: store.Answered, Decision: "allowed", Answer: answer.Bytes(),
		Time: h.Now(), Leaves: []store.Leaf{r.leaf}})
}

// Acknowledge deletes the stored answer of a query that the caller has verified.
// A query that is not the caller's is not an error: it says nothing.
func (h *Holder) Acknowledge(ctx context.Context, caller Caller, agreementID string, id query.ID) error {
	if !h.Peers.Active(caller.TrustDomain) {
		return query.Refuse(query.UnknownPeer, nil)
	}
	err := h.Store.AcknowledgeAnswer(ctx, store.QueryKey{Peer: caller.TrustDomain, Agreement: agreementID, ID: id})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrState) {
		return query.Refuse(query.StorageUnavailable, err)
	}
	return nil
}

// Recover closes the queries that a crash left without an end. They are never
// computed again, because an answer may have left; a retry is told to ask anew.
// It must be called before the first query is answered.
func (h *Holder) Recover(ctx context.Context) error {
	pending, err := h.Store.PendingQueries(ctx)
	if err != nil {
		return err
	}
	for _, q := range pending {
		e := &entry.Entry{Kind: entry.KindFailure, Time: h.Now().UnixMilli(), Query: q.ID, Direction: entry.DirectionAnswered,
			Asker: "spiffe://" + q.Peer + "/gateway/unknown", Holder: h.Gateway, Agreement: q.Agreement, Request: q.RequestDigest,
			Reason: string(query.QueryFailed)}
		if _, err := h.Shared.Append(ctx, e); err != nil {
			return err
		}
		if err := h.Store.FinishQuery(ctx, q.QueryKey, store.Finish{Progress: store.Failed, Decision: string(query.QueryFailed), Time: h.Now()}); err != nil {
			return err
		}
	}
	if len(pending) > 0 {
		h.log.WarnContext(ctx, "queries without an end were closed as failed", "count", len(pending))
	}
	return nil
}

// storedRefusal and parseRefusal keep a refusal for retries.
func storedRefusal(r *query.Refusal) string {
	b, err := json.Marshal(r)
	if err != nil {
		panic("holder: internal error: " + err.Error())
	}
	return string(b)
}

func parseRefusal(s string) *query.Refusal {
	var r query.Refusal
	if err := json.Unmarshal([]byte(s), &r); err != nil || r.Reason == "" {
		return query.Refuse(query.Internal, err)
	}
	return &r
}

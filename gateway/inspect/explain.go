package inspect

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// An Explained is one decision about a query, as it was logged, and with the
// reasons if they could be made again.
type Explained struct {
	Door    policy.Door
	Time    time.Time
	Allowed bool
	Rules   []string     // that decided, from the entry
	Reason  query.Reason // why not, from the entry
	Bundle  [32]byte     // that decided, from the entry; zero if no rule was asked
	Input   []byte       // facts in codes, one JSON object; nil if they were erased

	// Reproduced says that the active bundle is the one that decided, and decides
	// the same again. Then Denials, Obligations and Approvals are of that decision;
	// otherwise Denials are the rules of the entry as far as the active bundle still
	// has them.
	Reproduced  bool
	Denials     []policy.Denial
	Obligations []policy.Obligation
	Approvals   []policy.ApprovalNeeded
}

// Explain returns the decisions about one query at a door, or at every door if door
// is empty, in the order they were made, evaluated again from the stored facts.
//
// It is for legal officers and auditors. It is a check of lawfulness and nothing
// else, of one decision that the caller can name, so the door read_log, which is
// about who may search the log, is not asked; the reading is on record.
func (i *Inspector) Explain(ctx context.Context, caller string, id query.ID, door policy.Door) ([]Explained, error) {
	who, err := i.enrolled(Reader{Officer: caller})
	if err != nil {
		return nil, err
	}
	allowed := slices.Contains(who.Roles, officer.RoleAuditor) || slices.Contains(who.Roles, officer.RoleLegal)
	if err := i.record(ctx, who, policy.CheckLawfulness, readExplain, !allowed, entry.Entry{Query: id}); err != nil {
		return nil, err
	}
	if !allowed {
		return nil, query.Refuse(query.RoleRequired, errors.New("inspect: the role legal or auditor is required"))
	}
	var out []Explained
	log := i.Shared.Log
	for x, err := range log.Entries(ctx, 0, log.Size()) {
		if err != nil {
			return nil, failed(err)
		}
		if x.Entry.Query != id {
			continue
		}
		at := policy.Door("")
		switch x.Entry.Kind {
		case entry.KindIntent:
			at = policy.Ask
		case entry.KindDecision:
			at = policy.Answer
		}
		if at == "" || door != "" && at != door {
			continue
		}
		e, err := i.explain(ctx, at, x.Entry)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if out == nil {
		return nil, query.Refuse(query.NotFound, nil)
	}
	return out, nil
}

// explain explains the decision of one entry.
func (i *Inspector) explain(ctx context.Context, door policy.Door, e *entry.Entry) (Explained, error) {
	x := Explained{Door: door, Time: time.UnixMilli(e.Time).UTC(), Allowed: e.Decision == entry.DecisionAllowed, Rules: e.Rules,
		Reason: query.Reason(e.Reason), Bundle: e.Bundle}
	if e.Input != [32]byte{} {
		b, err := i.Store.PolicyInput(ctx, e.Input)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Explained{}, failed(err)
		}
		x.Input = b
	}
	if x.Input != nil && e.Bundle == i.Policy.BundleDigest() {
		// An error comes with a decision that denies, and is compared like any other.
		d, _ := i.Policy.Replay(ctx, x.Input)
		if ctx.Err() != nil {
			return Explained{}, ctx.Err()
		}
		if d.Bundle() == e.Bundle && d.Input() == e.Input && slices.Equal(d.Rules(), e.Rules) && fits(d, e) {
			x.Reproduced = true
			x.Denials, x.Obligations, x.Approvals = d.Denials(), d.Obligations(), d.ApprovalsNeeded()
			return x, nil
		}
	}
	if !x.Allowed {
		for _, rule := range i.Policy.Rules() {
			if slices.Contains(e.Rules, rule.ID) {
				x.Denials = append(x.Denials, policy.Denial{Rule: rule.ID, Title: rule.Title, Citation: rule.Citation,
					Verified: rule.Verified,
					Sentence: "This rule took part in the refusal. Its reason cannot be made again: " +
						"the facts were erased, or the rules have changed since."})
			}
		}
	}
	return x, nil
}

// fits reports whether d may be the decision of the rules behind e. What the rules
// allowed may have been refused afterwards for another reason, such as a budget
// that ran out in between.
func fits(d policy.Decision, e *entry.Entry) bool {
	if !d.Allowed() || e.Decision == entry.DecisionAllowed {
		return d.Allowed() == (e.Decision == entry.DecisionAllowed)
	}
	reason := query.Reason(e.Reason)
	return reason != query.PolicyDenied && reason != query.PolicyUnavailable
}

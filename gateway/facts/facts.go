// Package facts turns what the gateway knows into the vocabulary of the rules:
// an agreement, a side of it, and the coded facts of a query become the groups of
// the inputs of package policy.
//
// Both sides of a query, and every door, use the same translation, so that a
// rule sees one meaning of a word. The package adds no fact and decides nothing.
package facts

import (
	"errors"
	"slices"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/policy"
)

// Agreement returns the facts of a, whose digest is d. A nil agreement gives the
// zero facts, under which every rule about an agreement denies.
func Agreement(a *agreement.Agreement, d agreement.Digest, suspended bool) policy.Agreement {
	if a == nil {
		return policy.Agreement{}
	}
	f := policy.Agreement{
		ID:                  a.ID,
		Digest:              policy.Digest(d),
		Categories:          a.Categories(),
		ValidFrom:           policy.NewTime(a.ValidFrom),
		ValidTo:             policy.NewTime(a.ValidTo),
		Suspended:           suspended,
		SetScreeningAllowed: a.SetScreening.Allowed,
		MaxSet:              int64(a.SetScreening.MaxItems),
		Thresholds:          amounts(a.Thresholds),
		MinQuality:          amounts(a.MinQuality),
		RetentionDays: policy.Amounts{"without_candidate": int64(a.RetentionDays.WithoutCandidate),
			"with_candidate": int64(a.RetentionDays.WithCandidate)},
		SLA: policy.Amounts{"urgent": seconds(a.Deadlines.Urgent), "ordinary": seconds(a.Deadlines.Ordinary),
			"confirmed": seconds(a.Deadlines.Confirmed)},
		Regimes:       a.Regimes,
		DisabledRules: a.DisabledRules,
	}
	for i := range a.Parties {
		p := &a.Parties[i]
		g := policy.Party{TrustDomain: p.TrustDomain, Country: p.Country, AgencyCode: p.AgencyCode, Competences: p.Competences}
		for _, b := range p.LegalBases {
			g.LegalBases = append(g.LegalBases, policy.LegalBasis{Ref: b.Ref, Purposes: b.Purposes, Categories: b.Categories})
		}
		f.Parties = append(f.Parties, g)
	}
	for _, c := range a.Collections {
		f.Collections = append(f.Collections, policy.Collection{Name: c.Name, Holder: c.Holder, Category: c.Category, Classes: c.Classes})
	}
	for _, p := range a.Purposes {
		f.Purposes = append(f.Purposes, policy.Purpose{Code: p.Code, Categories: p.Categories})
	}
	return f
}

// Gateway returns the facts of the party of a trust domain under a, as the
// gateway with the given SPIFFE ID. Without an agreement only the identity is
// known.
func Gateway(a *agreement.Agreement, trustDomain, spiffeID string) policy.Gateway {
	g := policy.Gateway{SPIFFEID: spiffeID, TrustDomain: trustDomain}
	if a == nil {
		return g
	}
	if p, err := a.Party(trustDomain); err == nil {
		g.Country, g.AgencyCode = p.Country, p.AgencyCode
	}
	return g
}

var errCode = errors.New("facts: a code that is not one of the agreement")

// CheckCodes reports whether the codes of f are those of a: its purpose, a legal
// basis that the asker's side has registered, an offence class if the agreement
// lists any, and an urgency. A code that nobody agreed on is free text, which must
// not leave a country and must not be taken from another, whatever the rules say of
// it or which of them are switched off. The error does not repeat the code.
func CheckCodes(a *agreement.Agreement, asker string, f *query.Facts) error {
	p, err := a.Party(asker)
	if err != nil {
		return errCode
	}
	purpose := slices.ContainsFunc(a.Purposes, func(p agreement.Purpose) bool { return p.Code == f.Purpose })
	basis := f.LegalBasis == "" || slices.ContainsFunc(p.LegalBases, func(b agreement.LegalBasis) bool { return b.Ref == f.LegalBasis })
	offence := f.OffenceClass == "" && len(a.OffenceClasses) == 0 || slices.Contains(a.OffenceClasses, f.OffenceClass)
	if !purpose || !basis || !offence || !slices.Contains(a.Urgencies, f.Urgency) {
		return errCode
	}
	return nil
}

// UnknownCode stands in an entry for a code that is none of the agreement's.
const UnknownCode = "unknown"

// KnownPurpose returns code if it is a purpose of a, and otherwise [UnknownCode].
func KnownPurpose(a *agreement.Agreement, code string) string {
	if slices.ContainsFunc(a.Purposes, func(p agreement.Purpose) bool { return p.Code == code }) {
		return code
	}
	return UnknownCode
}

// obligations are the duties that a gateway performs at each door: at `ask` by what
// it seals and shows to the officer, at `answer` by the entry of the decision and
// the notices of budgets.
var obligations = map[policy.Door][]string{
	policy.Ask:     {policy.AttachAgreement, policy.LogJustification, policy.HumanReview},
	policy.Answer:  {policy.AttachAgreement, policy.LogJustification, policy.NotifyAuditors},
	policy.Publish: {policy.AttachAgreement},
}

var errUnable = errors.New("facts: the decision asks for what cannot be done at this door")

// Able reports whether everything that a decision asks for is done at a door. A
// caller that cannot do it must act as if it was denied.
func Able(door policy.Door, d policy.Decision) error {
	if !d.Allowed() {
		return nil
	}
	if len(d.Redactions()) > 0 || len(d.ApprovalsNeeded()) > 0 {
		return errUnable
	}
	for _, o := range d.Obligations() {
		if !slices.Contains(obligations[door], o.Kind) {
			return errUnable
		}
	}
	for name := range d.Limits() {
		if name != policy.RetryAfter && !(door == policy.Ask && name == policy.MatchThreshold) {
			return errUnable
		}
	}
	return nil
}

// AnswerQuery returns the facts of a query that travelled.
func AnswerQuery(f *query.Facts, rules []string) policy.AnswerQuery {
	return policy.AnswerQuery{
		Agreement:       f.Agreement,
		AgreementDigest: policy.Digest(f.AgreementDigest),
		Collection:      f.Collection,
		Category:        f.Category,
		PurposeCode:     f.Purpose,
		LegalBasisRef:   f.LegalBasis,
		OffenceCode:     f.OffenceClass,
		Urgency:         f.Urgency,
		Kind:            f.Kind.String(),
		Items:           int64(f.Items),
		Unit:            policy.Pseudonym(f.Unit),
		CaseReference:   f.CaseReference,
		Justification:   f.Justification,
		AskRules:        rules,
	}
}

// Refusal returns what may be told of a decision that denies: the rules with
// their citations and sentences if the decision may be explained, and the bare
// reason otherwise.
func Refusal(d policy.Decision, cause error) *query.Refusal {
	r := query.Refuse(query.PolicyDenied, cause)
	if cause != nil {
		r.Reason = query.PolicyUnavailable
	}
	if !d.DiscloseReason() {
		return r
	}
	for _, n := range d.Denials() {
		r.Denials = append(r.Denials, query.Denial{Rule: n.Rule, Title: n.Title, Citation: citation(n), Sentence: n.Sentence})
	}
	return r
}

// AgreementReason returns the reason for an error of a register of agreements.
func AgreementReason(err error) query.Reason {
	switch {
	case errors.Is(err, agreement.ErrExpired):
		return query.AgreementExpired
	case errors.Is(err, agreement.ErrSuspended):
		return query.AgreementSuspended
	case errors.Is(err, agreement.ErrNotYet):
		return query.AgreementNotYet
	case errors.Is(err, agreement.ErrDigest):
		return query.AgreementMismatch
	}
	return query.AgreementUnknown
}

// citation joins a citation with its regime and says whether it was verified
// against the text.
func citation(n policy.Denial) string {
	s := n.Citation
	if n.Regime != "" {
		s += " [" + n.Regime + "]"
	}
	if !n.Verified {
		s += " (unverified reference)"
	}
	return s
}

func amounts(m map[string]int) policy.Amounts {
	out := make(policy.Amounts, len(m))
	for k, v := range m {
		out[k] = int64(v)
	}
	return out
}

func seconds(d agreement.Duration) int64 { return int64(d) / 1e9 }

// Encode returns in with its canonical form made once: deciding, storing and sealing
// one input otherwise encode the whole agreement each.
func Encode(in policy.Input) policy.Input {
	b, digest := in.Stored()
	return encoded{in.Door(), b, digest}
}

type encoded struct {
	door   policy.Door
	b      []byte
	digest [32]byte
}

func (e encoded) Door() policy.Door          { return e.door }
func (e encoded) Stored() ([]byte, [32]byte) { return e.b, e.digest }

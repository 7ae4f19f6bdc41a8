package policy

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Decision is the result of evaluating one [Input].
//
// The zero Decision denies. Only an [Engine] can make a Decision that allows, so
// a function that takes a Decision cannot be called on a guess. A Decision does
// not change, and its methods may be called concurrently.
type Decision struct {
	door           Door
	allow          bool
	denials        []Denial
	approvals      []ApprovalNeeded
	obligations    []Obligation
	redactions     []string
	limits         map[string]int64
	discloseReason bool
	rules          []string
	bundle, input  [32]byte
}

// A Denial is one reason why a decision denies.
type Denial struct {
	Rule          string `json:"rule"`           // id
	Title         string `json:"title"`          // of the rule
	Citation      string `json:"citation"`       // the text the rule rests on; may be empty
	Regime        string `json:"regime"`         // regimes of the text, separated by commas
	Verified      bool   `json:"verified"`       // the citation was compared with the text; if not, say "unverified reference"
	ModelPractice bool   `json:"model_practice"` // none of the regimes binds under this agreement
	Sentence      string `json:"sentence"`       // for the officer: what is wrong and what to do
}

// An ApprovalNeeded is an approval that is missing: the query waits for it.
type ApprovalNeeded struct {
	Role string `json:"role"` // see [RoleLegal] and the others
	Rule string `json:"rule"` // id
}

// An Obligation is something that the gateway must do because of a decision,
// also of one that denies. A caller that cannot do it must act as if denied.
type Obligation struct {
	Kind      string `json:"kind"`                // see [HumanReview] and the others
	Rule      string `json:"rule"`                // id
	Agreement string `json:"agreement,omitempty"` // for AttachAgreement: its id
	Percent   int64  `json:"percent,omitempty"`   // for NotifyAuditors: 80 or 100
	People    int64  `json:"people,omitempty"`    // for HumanReview: 1 or 2
	Modality  string `json:"modality,omitempty"`  // for LogMatch
	Profile   string `json:"profile,omitempty"`   // for LogMatch
	Threshold int64  `json:"threshold,omitempty"` // for LogMatch, in thousandths
}

// The kinds of obligations, which are those that the gateway performs. A bundle
// that asks for another kind has no usable decision.
const (
	AttachAgreement  = "attach_agreement"  // name the agreement in the entry
	LogJustification = "log_justification" // seal case and justification into the asker's own log
	NotifyAuditors   = "notify_auditors"   // tell both auditors that a budget reached Percent
	HumanReview      = "human_review"      // show candidates to People before anything is done with them
	LogMatch         = "log_match"         // log threshold and profile of the match, and no score
	LogReading       = "log_reading"       // write the reading of the log into the internal log
)

// obligations has the fields of each kind, besides kind and rule.
var obligations = map[string][]string{
	AttachAgreement:  {"agreement"},
	LogJustification: {},
	NotifyAuditors:   {"percent"},
	HumanReview:      {"people"},
	LogMatch:         {"modality", "profile", "threshold"},
	LogReading:       {},
}

// The limits that a decision may set. A bundle that sets another one has no
// usable decision.
const (
	RetryAfter     = "retry_after_s" // do not ask again for so many seconds
	MatchThreshold = "threshold"     // show no candidate with a lower score, in thousandths
)

// Allowed reports whether the rules allow it now: some rule permits, none
// denies, and no approval is missing.
func (d Decision) Allowed() bool { return d.allow }

// Pending reports whether nothing but approvals is missing, see
// [Decision.ApprovalsNeeded].
func (d Decision) Pending() bool {
	return !d.allow && len(d.denials) == 0 && len(d.approvals) > 0
}

// Denials returns every reason against it, in the order of rule ids.
func (d Decision) Denials() []Denial { return slices.Clone(d.denials) }

// ApprovalsNeeded returns the approvals that are missing.
func (d Decision) ApprovalsNeeded() []ApprovalNeeded { return slices.Clone(d.approvals) }

// Obligations returns what the gateway must do. They bind whether or not the
// decision allows.
func (d Decision) Obligations() []Obligation { return slices.Clone(d.obligations) }

// Redactions returns the names of fields that must be left out of an answer,
// sorted.
func (d Decision) Redactions() []string { return slices.Clone(d.redactions) }

// Limits returns numbers to keep to, by name: [RetryAfter], [MatchThreshold].
func (d Decision) Limits() map[string]int64 { return maps.Clone(d.limits) }

// DiscloseReason reports whether rule ids, citations and sentences may be told to
// the other side. If not, a refusal must look exactly like "nothing known".
func (d Decision) DiscloseReason() bool { return d.discloseReason }

// Rules returns the ids of the rules that decided, sorted: those that denied,
// or, if none did, all that were asked and did not object.
func (d Decision) Rules() []string { return slices.Clone(d.rules) }

// Door returns the door of the input.
func (d Decision) Door() Door { return d.door }

// Bundle returns the digest of the bundle that decided.
func (d Decision) Bundle() [32]byte { return d.bundle }

// Input returns the SHA-256 hash of the stored form of the input.
func (d Decision) Input() [32]byte { return d.input }

// MarshalJSON returns the decision for people and scripts. Equal decisions have
// equal bytes.
func (d Decision) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Door           Door                 `json:"door"`
		Allow          bool                 `json:"allow"`
		Denials        List[Denial]         `json:"denials"`
		Approvals      List[ApprovalNeeded] `json:"approvals_needed"`
		Obligations    List[Obligation]     `json:"obligations"`
		Redactions     List[string]         `json:"redactions"`
		Limits         Amounts              `json:"limits"`
		DiscloseReason bool                 `json:"disclose_reason"`
		Rules          List[string]         `json:"rules"`
		Bundle         string               `json:"bundle"`
		Input          string               `json:"input"`
	}{d.door, d.allow, d.denials, d.approvals, d.obligations, d.redactions, d.limits, d.discloseReason, d.rules,
		hex.EncodeToString(d.bundle[:]), hex.EncodeToString(d.input[:])})
}

// failClosed returns the Decision that stands in for one that could not be made.
func failClosed(door Door, bundle, input [32]byte) Decision {
	return Decision{
		door: door,
		denials: []Denial{{
			Rule:     FailClosed,
			Title:    "No usable decision",
			Sentence: "The sharing rules could not be evaluated, so the answer is no. Tell your operator; nothing was sent.",
		}},
		rules:  []string{FailClosed},
		bundle: bundle,
		input:  input,
	}
}

// newDecision reads the document of the rules. It must be exactly of the form
//
//	{"allow": bool, "denials": [{"rule", "sentence"}], "approvals_needed": [{"role", "rule"}],
//	 "obligations": [{"kind", "rule", ...}], "redactions": [string], "limits": {string: number},
//	 "disclose_reason": bool, "rules": [string]}
//
// with no field missing and none besides, and it must not contradict itself.
func (p *program) newDecision(door Door, document any, binding []string) (Decision, error) {
	r := reader{rules: p.rules}
	doc := r.object("decision", document, "allow", "denials", "approvals_needed", "obligations", "redactions", "limits",
		"disclose_reason", "rules")
	d := Decision{
		door:           door,
		allow:          r.boolean("allow", doc["allow"]),
		discloseReason: r.boolean("disclose_reason", doc["disclose_reason"]),
		limits:         make(map[string]int64),
	}
	for _, v := range r.list("denials", doc["denials"]) {
		o := r.object("denial", v, "rule", "sentence")
		id, sentence := r.rule(o["rule"]), r.text("sentence", o["sentence"])
		rule := p.rules[id]
		if id == DefaultDeny {
			rule.Title = "Nothing is allowed unless a rule allows it"
		}
		d.denials = append(d.denials, Denial{
			Rule:     id,
			Title:    rule.Title,
			Citation: rule.Citation,
			Regime:   strings.Join(rule.Regimes, ", "),
			Verified: rule.Verified,
			ModelPractice: len(rule.Regimes) > 0 && !slices.ContainsFunc(rule.Regimes, func(regime string) bool {
				return slices.Contains(binding, regime)
			}),
			Sentence: sentence,
		})
	}
	for _, v := range r.list("approvals_needed", doc["approvals_needed"]) {
		o := r.object("approval", v, "role", "rule")
		role := r.text("role", o["role"])
		if !slices.Contains([]string{RoleVerifying, RoleLegal, RoleChildProtection, RoleOriginator}, role) {
			r.wrong("unknown role of an approval")
		}
		d.approvals = append(d.approvals, ApprovalNeeded{role, r.rule(o["rule"])})
	}
	for _, v := range r.list("obligations", doc["obligations"]) {
		d.obligations = append(d.obligations, r.obligation(v))
	}
	for _, v := range r.list("redactions", doc["redactions"]) {
		d.redactions = append(d.redactions, r.text("redaction", v))
	}
	limits, ok := doc["limits"].(map[string]any)
	if !ok {
		r.wrong("limits")
	}
	for name, v := range limits {
		if name != RetryAfter && name != MatchThreshold {
			r.wrong("unknown limit")
		}
		d.limits[name] = r.number("limit", v)
	}
	for _, v := range r.list("rules", doc["rules"]) {
		d.rules = append(d.rules, r.rule(v))
	}
	switch {
	case d.allow && len(d.denials) > 0:
		r.wrong("allowed, and denied")
	case d.allow && len(d.approvals) > 0:
		r.wrong("allowed, and waiting for an approval")
	case !d.allow && len(d.denials) == 0 && len(d.approvals) == 0:
		r.wrong("not allowed, without a reason")
	case len(d.rules) == 0:
		r.wrong("no rule decided")
	}
	if r.err != nil {
		return Decision{}, r.err
	}
	slices.Sort(d.rules)
	slices.Sort(d.redactions)
	return d, nil
}

// A reader reads one document, and keeps the first thing that is wrong with it.
// Its errors name fields, and never values.
type reader struct {
	rules map[string]Rule
	err   error
}

func (r *reader) wrong(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrUndefined, what)
	}
}

// object returns v, which must have exactly the fields.
func (r *reader) object(what string, v any, fields ...string) map[string]any {
	o, ok := v.(map[string]any)
	if !ok || len(o) != len(fields) {
		r.wrong(what + " has the wrong fields")
		return nil
	}
	for _, f := range fields {
		if _, ok := o[f]; !ok {
			r.wrong(what + " has no " + f)
			return nil
		}
	}
	return o
}

func (r *reader) list(what string, v any) []any {
	l, ok := v.([]any)
	if !ok {
		r.wrong(what + " is not a list")
	}
	return l
}

func (r *reader) boolean(what string, v any) bool {
	b, ok := v.(bool)
	if !ok {
		r.wrong(what + " is not true or false")
	}
	return b
}

// text returns v, which must not be empty.
func (r *reader) text(what string, v any) string {
	s, ok := v.(string)
	if !ok || s == "" {
		r.wrong(what + " is not text")
	}
	return strings.Clone(s) // it may be a part of the whole input
}

// number returns v, which must be a whole number that is not negative.
func (r *reader) number(what string, v any) int64 {
	n, ok := v.(json.Number)
	i, err := strconv.ParseInt(string(n), 10, 64)
	if !ok || err != nil || i < 0 || i > math.MaxInt64/2 {
		r.wrong(what + " is not a whole number")
		return 0
	}
	return i
}

// rule returns v, which must be the id of a rule of the bundle.
func (r *reader) rule(v any) string {
	id := r.text("rule", v)
	if _, ok := r.rules[id]; !ok && id != DefaultDeny {
		r.wrong("unknown rule")
	}
	return id
}

func (r *reader) obligation(v any) Obligation {
	o, _ := v.(map[string]any)
	kind, _ := o["kind"].(string)
	fields, ok := obligations[kind]
	if !ok {
		r.wrong("unknown kind of obligation")
		return Obligation{}
	}
	o = r.object("obligation", v, append([]string{"kind", "rule"}, fields...)...)
	if o == nil {
		return Obligation{}
	}
	out := Obligation{Kind: kind, Rule: r.rule(o["rule"])}
	switch kind {
	case AttachAgreement:
		out.Agreement = r.text("agreement", o["agreement"])
	case NotifyAuditors:
		if out.Percent = r.number("percent", o["percent"]); out.Percent != 80 && out.Percent != 100 {
			r.wrong("percent of an obligation")
		}
	case HumanReview:
		if out.People = r.number("people", o["people"]); out.People != 1 && out.People != 2 {
			r.wrong("people of an obligation")
		}
	case LogMatch:
		out.Modality = r.text("modality", o["modality"])
		out.Profile = r.text("profile", o["profile"])
		out.Threshold = r.number("threshold", o["threshold"])
	}
	return out
}

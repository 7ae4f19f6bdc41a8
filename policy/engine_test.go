package policy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/policy"
)

func encode(t testing.TB, d policy.Decision) string {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestZeroDecisionDenies(t *testing.T) {
	t.Parallel()
	var d policy.Decision
	if d.Allowed() || d.Pending() || d.DiscloseReason() {
		t.Errorf("the zero Decision = %s, want a denial", encode(t, d))
	}
}

func TestZeroEngineDenies(t *testing.T) {
	t.Parallel()
	var e policy.Engine
	d, err := e.Decide(t.Context(), askInput())
	if !errors.Is(err, policy.ErrUndefined) || d.Allowed() || e.BundleDigest() != ([32]byte{}) || e.Revision() != "" || e.Rules() != nil {
		t.Errorf("Decide of the zero Engine = %s, %v, want a denial", encode(t, d), err)
	}
}

func TestDecideAllows(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, in := range passing() {
		t.Run(string(in.Door()), func(t *testing.T) {
			t.Parallel()
			d, err := e.Decide(t.Context(), in)
			if err != nil || !d.Allowed() {
				t.Fatalf("Decide = %s, %v, want it allowed", encode(t, d), err)
			}
			stored, digest := in.Stored()
			if d.Input() != digest || digest != sha256.Sum256(stored) {
				t.Errorf("input digest = %x, want %x", d.Input(), sha256.Sum256(stored))
			}
			if d.Bundle() != e.BundleDigest() || d.Door() != in.Door() || len(d.Rules()) == 0 {
				t.Errorf("Decide = %s, want bundle %x and door %s", encode(t, d), e.BundleDigest(), in.Door())
			}
		})
	}
}

func TestDecideDenies(t *testing.T) {
	t.Parallel()
	in := answerInput()
	in.Query.PurposeCode = "tax-enforcement"
	in.Agreement.Regimes = []string{"UN"}
	d, err := engine(t).Decide(t.Context(), in)
	if err != nil || d.Allowed() || d.Pending() || !d.DiscloseReason() {
		t.Fatalf("Decide = %s, %v, want an explained denial", encode(t, d), err)
	}
	if got, want := fmt.Sprint(d.Rules()), "[RU-03 RU-04]"; got != want {
		t.Errorf("rules = %s, want %s", got, want)
	}
	got := d.Denials()[0]
	if got.Rule != "RU-03" || got.Title != "Purpose is one of the permitted purposes" || !got.Verified || got.ModelPractice ||
		got.Regime != "UN, EU-LED, INTERPOL" || !strings.HasPrefix(got.Citation, "LED Art. 4(1)(b)") ||
		!strings.Contains(got.Sentence, `"tax-enforcement"`) {
		t.Errorf("denial = %+v", got)
	}
	if !d.Denials()[1].ModelPractice {
		t.Error("a rule of a regime that does not bind is not marked as model practice")
	}
}

// TestProtectedRecord checks that no agreement can expose a person with
// international protection, and that nothing of the refusal may be told.
func TestProtectedRecord(t *testing.T) {
	t.Parallel()
	in := publishInput()
	in.Record.ProtectionStatus, in.Record.CountryOfOrigin = "asylum", "CCC"
	for _, disabled := range [][]string{nil, {"RU-23"}, {"RU-01", "RU-02", "RU-21", "RU-23", "RU-29", "RU-36", "RU-40"}} {
		in.Agreement.DisabledRules = disabled
		d, err := engine(t).Decide(t.Context(), in)
		if err != nil || d.Allowed() || d.DiscloseReason() {
			t.Fatalf("without %v: Decide = %s, %v, want an unexplained denial", disabled, encode(t, d), err)
		}
		if got, want := fmt.Sprint(d.Rules()), "[RU-23]"; got != want {
			t.Errorf("without %v: rules = %s, want %s", disabled, got, want)
		}
	}
}

func TestDecideLimitsAndObligations(t *testing.T) {
	t.Parallel()
	d, err := engine(t).Decide(t.Context(), askInput())
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Limits()[policy.MatchThreshold]; got != 850 {
		t.Errorf("threshold = %d, want 850", got)
	}
	want := []policy.Obligation{
		{Kind: policy.AttachAgreement, Rule: "RU-01", Agreement: "A-B-2026"},
		{Kind: policy.HumanReview, Rule: "RU-26", People: 1},
		{Kind: policy.LogJustification, Rule: "RU-06"},
		{Kind: policy.LogMatch, Rule: "RU-26", Modality: "name", Profile: "names-1", Threshold: 850},
	}
	have := make(map[policy.Obligation]bool)
	for _, o := range d.Obligations() {
		have[o] = true
	}
	for _, o := range want {
		if !have[o] {
			t.Errorf("obligations = %+v, want %+v among them", d.Obligations(), o)
		}
	}
	// What the caller does to the results must not change the Decision.
	d.Limits()[policy.MatchThreshold] = 0
	d.Obligations()[0] = policy.Obligation{}
	d.Rules()[0] = "x"
	if d.Limits()[policy.MatchThreshold] != 850 || d.Obligations()[0].Kind == "" || d.Rules()[0] == "x" {
		t.Error("a Decision was changed through its accessors")
	}
}

func TestDecidePending(t *testing.T) {
	t.Parallel()
	in := policy.RetainInput{
		Now: now, Action: policy.ReuseFor, Agreement: agreement(), Self: gatewayB, Peer: gatewayA, Category: "watchlist",
		Reuse: policy.Reuse{
			OriginalPurpose: "ct-travel-screening", NewPurpose: "terrorism-trial", AuthorisedByLaw: true,
			LegalBasisRef: "B-Trial-Act-2020 s.9", Necessity: policy.NewText(justification),
		},
	}
	d, err := engine(t).Decide(t.Context(), in)
	want := policy.ApprovalNeeded{Role: policy.RoleOriginator, Rule: "RU-05"}
	if err != nil || d.Allowed() || !d.Pending() || len(d.ApprovalsNeeded()) != 1 || d.ApprovalsNeeded()[0] != want {
		t.Fatalf("Decide = %s, %v, want it to wait for %+v", encode(t, d), err, want)
	}
	in.Approvals = []policy.Approval{{Role: policy.RoleOriginator, Side: "a.example", Officer: policy.Pseudonym{9}, Granted: true}}
	if d, err = engine(t).Decide(t.Context(), in); err != nil || !d.Allowed() {
		t.Errorf("Decide = %s, %v, want it allowed", encode(t, d), err)
	}
}

// TestUndefined gives the engine rules whose decision is not of the documented
// form, in one way at a time. Attacks covered: a decision that is missing,
// partial, contradictory, of other types, with more in it, or that fails. Each
// must be an error and a denial.
func TestUndefined(t *testing.T) {
	t.Parallel()
	fields := map[string]string{
		"allow": `true`, "denials": `[]`, "approvals_needed": `[]`, "obligations": `[]`, "redactions": `[]`, "limits": `{}`,
		"disclose_reason": `true`, "rules": `["RU-01"]`,
	}
	document := func(change ...string) string {
		doc := make(map[string]string)
		for k, v := range fields {
			doc[k] = v
		}
		for i := 0; i < len(change); i += 2 {
			doc[change[i]] = change[i+1]
		}
		var parts []string
		for k, v := range doc {
			if v != "" {
				parts = append(parts, fmt.Sprintf("%q: %s", k, v))
			}
		}
		return "decision := {" + strings.Join(parts, ", ") + "}\n"
	}
	type test struct{ name, body string }
	tests := []test{
		{"undefined", "decision := {} if input.none\n"},
		{"missing", "other := true\n"},
		{"not an object", "decision := true\n"},
		{"a set", "decision := {1, 2}\n"},
		{"two values", "decision := x if some x in [true, false]\n"},
		{"failing", "decision := 1 / x if x := count(input.budgets) - 1\n"},
		{"failing in a part", document("limits", `{"retry_after_s": 1 % (count(input.budgets) - 1)}`)},
		{"unknown field", document("score", "1")},
		{"allowed and denied", document("denials", `[{"rule": "RU-01", "sentence": "No."}]`)},
		{"allowed and waiting", document("approvals_needed", `[{"role": "originator", "rule": "RU-01"}]`)},
		{"denied without a reason", document("allow", "false")},
		{"nobody decided", document("rules", "[]")},
		{"unknown rule", document("rules", `["RU-99"]`)},
		{"unknown rule denies", document("allow", "false", "denials", `[{"rule": "RU-99", "sentence": "No."}]`)},
		{"denial without sentence", document("allow", "false", "denials", `[{"rule": "RU-01", "sentence": ""}]`)},
		{"denial without rule", document("allow", "false", "denials", `[{"sentence": "No."}]`)},
		{"denial with more", document("allow", "false", "denials", `[{"rule": "RU-01", "sentence": "No.", "citation": "My law"}]`)},
		{"unknown role", document("allow", "false", "approvals_needed", `[{"role": "king", "rule": "RU-01"}]`)},
		{"unknown obligation", document("obligations", `[{"kind": "delete_everything", "rule": "RU-01"}]`)},
		{"obligation without kind", document("obligations", `[{"rule": "RU-01"}]`)},
		{"obligation without rule", document("obligations", `[{"kind": "log_justification"}]`)},
		{"obligation with less", document("obligations", `[{"kind": "human_review", "rule": "RU-01"}]`)},
		{"obligation with more", document("obligations", `[{"kind": "log_justification", "rule": "RU-01", "score": 930}]`)},
		{"obligation out of range", document("obligations", `[{"kind": "human_review", "rule": "RU-01", "people": 3}]`)},
		{"notice out of range", document("obligations", `[{"kind": "notify_auditors", "rule": "RU-01", "percent": 50}]`)},
		{"match log with a score", document("obligations",
			`[{"kind": "log_match", "rule": "RU-26", "modality": "name", "profile": "", "threshold": 1, "score": 2}]`)},
		{"unknown limit", document("limits", `{"speed": 1}`)},
		{"negative limit", document("limits", `{"retry_after_s": -1}`)},
		{"broken limit", document("limits", `{"retry_after_s": 1.5}`)},
		{"limit as text", document("limits", `{"retry_after_s": "1"}`)},
		{"limit beyond numbers", document("limits", `{"retry_after_s": 9223372036854775808}`)},
		{"redaction of a number", document("redactions", `[1]`)},
	}
	for name := range fields {
		tests = append(tests, test{"without " + name, document(name, "")})
		for _, odd := range []string{"null", `"x"`, "7", `{"a": 1}`, "[null]", "[[]]"} {
			tests = append(tests, test{name + " is " + odd, document(name, odd)})
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Rules that cannot be united are left out: only main.rego counts here.
			e, err := policy.NewUntested(t.Context(), load(t, few(t, map[string]string{
				"main.rego": "package passerelle\n\n" + tt.body, "fixtures_test.rego": "",
			})))
			if err != nil {
				t.Fatal(err)
			}
			d, err := e.Decide(t.Context(), answerInput())
			if !errors.Is(err, policy.ErrUndefined) {
				t.Errorf("Decide error = %v, want %v", err, policy.ErrUndefined)
			}
			if d.Allowed() || d.Pending() || d.DiscloseReason() || len(d.Obligations()) != 0 || len(d.Limits()) != 0 ||
				fmt.Sprint(d.Rules()) != "["+policy.FailClosed+"]" || d.Denials()[0].Sentence == "" || d.Bundle() != e.BundleDigest() {
				t.Errorf("Decide = %s, want a denial and nothing more", encode(t, d))
			}
		})
	}

	// The document that all of these differ from is good.
	e, err := policy.NewUntested(t.Context(), load(t, few(t, map[string]string{
		"main.rego": "package passerelle\n\n" + document(), "fixtures_test.rego": "",
	})))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := e.Decide(t.Context(), answerInput()); err != nil || !d.Allowed() {
		t.Errorf("Decide of the good document = %s, %v, want it allowed", encode(t, d), err)
	}
}

func TestDecideContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// A context that ended may still see a short decision through; it must be the same one.
	d, err := engine(t).Decide(ctx, askInput())
	if err != nil && (!errors.Is(err, context.Canceled) || d.Allowed()) {
		t.Errorf("Decide = %s, %v, want %v and a denial", encode(t, d), err, context.Canceled)
	}
}

// TestDecideEnds gives the engine rules that take days: the end of the caller's
// context ends them, and without one the engine does.
func TestDecideEnds(t *testing.T) {
	t.Parallel()
	e, err := policy.NewUntested(t.Context(), load(t, few(t, map[string]string{
		"main.rego": "package passerelle\n\nx := numbers.range(1, 100000)\n\n" +
			"decision := count([1 | some i in x; some j in x; i + j < 0])\n", "fixtures_test.rego": "",
	})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if d, err := e.Decide(ctx, askInput()); !errors.Is(err, context.DeadlineExceeded) || d.Allowed() || len(d.Denials()) == 0 {
		t.Errorf("Decide = %s, %v, want %v and a denial", encode(t, d), err, context.DeadlineExceeded)
	}
	if d, err := e.Decide(context.Background(), askInput()); !errors.Is(err, policy.ErrUndefined) || d.Allowed() || len(d.Denials()) == 0 {
		t.Errorf("Decide = %s, %v, want %v and a denial", encode(t, d), err, policy.ErrUndefined)
	}
}

// TestErrorsHoldNoFacts lets a rule fail on a value, which OPA would print.
func TestErrorsHoldNoFacts(t *testing.T) {
	t.Parallel()
	e, err := policy.NewUntested(t.Context(), load(t, few(t, map[string]string{
		"main.rego": "package passerelle\n\ndecision := time.parse_rfc3339_ns(input.query.collection)\n", "fixtures_test.rego": "",
	})))
	if err != nil {
		t.Fatal(err)
	}
	in := answerInput()
	in.Query.Collection = "canary-zylphia"
	if _, err := e.Decide(t.Context(), in); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("Decide error = %v, want one without the value", err)
	}
}

// TestReplay checks that the stored bytes give the same decision, byte for byte,
// also after another bundle was active and by another engine.
func TestReplay(t *testing.T) {
	t.Parallel()
	e := engine(t)
	inputs := passing()
	for _, spoil := range []func(*policy.AskInput){
		func(in *policy.AskInput) { in.Agreement = policy.Agreement{} },
		func(in *policy.AskInput) { in.Query.Justification = policy.NewText("check") },
		func(in *policy.AskInput) { in.Query.PurposeCode = "" },
	} {
		in := askInput()
		spoil(&in)
		inputs = append(inputs, in)
	}
	inputs = append(inputs, policy.AskInput{}, policy.AnswerInput{}, policy.PublishInput{}, policy.DiscloseInput{}, policy.RetainInput{})
	other, err := policy.NewEngine(t.Context(), policy.Default())
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range inputs {
		stored, digest := in.Stored()
		if again, _ := in.Stored(); !bytes.Equal(again, stored) {
			t.Errorf("input %d is stored in two ways", i)
		}
		want, err := e.Decide(t.Context(), in)
		if err != nil {
			t.Errorf("input %d: %v", i, err)
		}
		for range 3 {
			got, err := other.Replay(t.Context(), stored)
			if err != nil || encode(t, got) != encode(t, want) || got.Input() != digest {
				t.Errorf("input %d: Replay = %s, %v, want %s", i, encode(t, got), err, encode(t, want))
			}
		}
	}
}

func TestZeroInputsAreDenied(t *testing.T) {
	t.Parallel()
	for _, in := range []policy.Input{policy.AskInput{}, policy.AnswerInput{}, policy.PublishInput{}, policy.DiscloseInput{}, policy.RetainInput{}} {
		if d, err := engine(t).Decide(t.Context(), in); err != nil || d.Allowed() || len(d.Denials()) == 0 {
			t.Errorf("%s: Decide = %s, %v, want a denial", in.Door(), encode(t, d), err)
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	stored, _ := askInput().Stored()
	tests := []struct {
		name string
		in   []byte
	}{
		{"nothing", nil},
		{"cut", stored[:len(stored)-1]},
		{"more", append(bytes.Clone(stored), '1')},
		{"two documents", append(bytes.Clone(stored), stored...)},
		{"other version", bytes.Replace(stored, []byte(`"version":1`), []byte(`"version":2`), 1)},
		{"other door", bytes.Replace(stored, []byte(`"door":"ask"`), []byte(`"door":"window"`), 1)},
		{"two doors", append(bytes.Clone(stored[:len(stored)-1]), []byte(`,"door":"publish"}`)...)},
		{"space", append([]byte{' '}, stored...)},
		{"array", []byte(`[]`)},
		{"too long", append(bytes.Clone(stored), bytes.Repeat([]byte{' '}, 1<<20)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := engine(t).Replay(t.Context(), tt.in)
			if !errors.Is(err, policy.ErrInput) || d.Allowed() || len(d.Denials()) == 0 {
				t.Errorf("Replay = %s, %v, want a denial and %v", encode(t, d), err, policy.ErrInput)
			}
		})
	}
}

// TestSwap decides while bundles are exchanged: each decision must be by one
// bundle from end to end, and name it.
func TestSwap(t *testing.T) {
	t.Parallel()
	const old, changed = "Choose one that is.", "Take another."
	text := strings.Replace(read(t, "asks/ru_03_purpose.rego"), old, changed, 1)
	bundles := []policy.Bundle{policy.Default(), load(t, rules(t, map[string]string{"asks/ru_03_purpose.rego": text}))}
	sentence := map[[32]byte]string{bundles[0].Digest(): old, bundles[1].Digest(): changed}
	e, err := policy.NewEngine(t.Context(), bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Activate(t.Context(), bundles[1]); err != nil {
		t.Fatal(err)
	}
	bad := load(t, few(t, nil))
	in := askInput()
	in.Query.PurposeCode = "tax-enforcement"

	var deciders, swapper sync.WaitGroup
	stop := make(chan struct{})
	swapper.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := e.Activate(t.Context(), bundles[i%2]); err != nil {
				t.Error(err)
			}
			if i == 2 {
				if err := e.Activate(t.Context(), bad); !errors.Is(err, policy.ErrBundle) {
					t.Errorf("Activate error = %v, want %v", err, policy.ErrBundle)
				}
			}
		}
	})
	for range 4 {
		deciders.Go(func() {
			for range 50 {
				d, err := e.Decide(t.Context(), in)
				if err != nil || len(d.Denials()) == 0 {
					t.Errorf("Decide = %v, %v", d, err)
					return
				}
				want, ok := sentence[d.Bundle()]
				if !ok || !strings.HasSuffix(d.Denials()[0].Sentence, want) {
					t.Errorf("bundle %x said %q, want it to end in %q", d.Bundle(), d.Denials()[0].Sentence, want)
				}
			}
		})
	}
	deciders.Wait()
	close(stop)
	swapper.Wait()
}

// FuzzReplay gives the rules arbitrary facts. Whatever they are, an error must
// come with a denial, and a decision must be the same a second time.
func FuzzReplay(f *testing.F) {
	for _, in := range passing() {
		stored, _ := in.Stored()
		f.Add(stored)
		f.Add(bytes.ReplaceAll(stored, []byte(`""`), []byte(`null`)))
		f.Add(bytes.ReplaceAll(stored, []byte(`[]`), []byte(`{}`)))
		f.Add(bytes.ReplaceAll(stored, []byte(`0`), []byte(`-1e400`)))
		f.Add(append(bytes.Clone(stored[:20+len(in.Door())]), `":7}`...))
	}
	e := engine(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := e.Replay(t.Context(), b)
		if err != nil && (d.Allowed() || d.Pending() || len(d.Denials()) != 1 || d.Denials()[0].Rule != policy.FailClosed) {
			t.Errorf("Replay = %s with the error %v, want a denial", encode(t, d), err)
		}
		if !d.Allowed() && len(d.Denials()) == 0 && !d.Pending() {
			t.Errorf("Replay = %s, a denial without a reason", encode(t, d))
		}
		if again, errAgain := e.Replay(t.Context(), b); encode(t, again) != encode(t, d) || (errAgain == nil) != (err == nil) {
			t.Errorf("Replay = %s, then %s", encode(t, d), encode(t, again))
		}
	})
}

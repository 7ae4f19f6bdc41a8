package policy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/passerelle/passerelle/policy"
)

// rules returns the built-in bundle with some files replaced; an empty text
// removes the file.
func rules(t testing.TB, change map[string]string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS("rego"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile("rego/" + name)
		out[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range change {
		out[name] = &fstest.MapFile{Data: []byte(text)}
		if text == "" {
			delete(out, name)
		}
	}
	return out
}

// few returns only what every bundle needs, without tests, and some more files.
func few(t testing.TB, more map[string]string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for _, name := range []string{"main.rego", "facts.rego", "asks/ru_01_agreement.rego", "protected/ru_23_asylum.rego", "after/ru_40_log.rego",
		"fixtures_test.rego"} {
		out[name] = &fstest.MapFile{Data: []byte(read(t, name))}
	}
	for name, text := range more {
		out[name] = &fstest.MapFile{Data: []byte(text)}
		if text == "" {
			delete(out, name)
		}
	}
	return out
}

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("rego/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func load(t testing.TB, fsys fs.FS) policy.Bundle {
	t.Helper()
	b, err := policy.LoadBundle(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An extra rule that is good, and its test. Cases below spoil it.
const (
	extraRule = `# METADATA
# title: Extra
# description: A rule of one country.
# custom:
#   doors: [ask]
#   regimes: [National]
#   citation: A-Act s.1
#   verified: false
package passerelle.rules["XX-01"]

doors := rego.metadata.chain()[1].annotations.custom.doors

deny contains "No." if input.query.urgency == "never"
`
	extraTest = `package passerelle.tests["XX-01"]

import data.passerelle.tests.fixtures as f

test_never if f.denied(f.decide(f.with_fact(f.ask, "/query/urgency", "never"))) == {"XX-01"}
`
)

func TestExtraRule(t *testing.T) {
	t.Parallel()
	e, err := policy.NewEngine(t.Context(), load(t, rules(t, map[string]string{"xx.rego": extraRule, "xx_test.rego": extraTest})))
	if err != nil {
		t.Fatal(err)
	}
	in := askInput()
	in.Query.Urgency = "never"
	d, err := e.Decide(t.Context(), in)
	if err != nil || d.Allowed() || len(d.Denials()) != 1 {
		t.Fatalf("Decide = %v, %v, want one denial", d, err)
	}
	want := policy.Denial{Rule: "XX-01", Title: "Extra", Citation: "A-Act s.1", Regime: "National", ModelPractice: true, Sentence: "No."}
	if got := d.Denials()[0]; got != want {
		t.Errorf("denial = %+v, want %+v", got, want)
	}
}

// TestActivateRefuses changes the bundle in one way at a time. Each must be
// refused, with a word of why, and leave the active bundle.
func TestActivateRefuses(t *testing.T) {
	t.Parallel()
	in := func(body string) map[string]string {
		return map[string]string{"xx.rego": extraRule + body, "xx_test.rego": extraTest}
	}
	call := func(expr string) map[string]string { return in("\nhelper := x if x := " + expr + "\n") }
	tests := []struct {
		name   string
		change map[string]string
		want   string
	}{
		{"syntax", in("\ndeny contains if\n"), "xx.rego:15"},
		{"unsafe variable", in("\ndeny contains x if not x\n"), "unsafe"},
		{"unused import", map[string]string{"xx.rego": strings.Replace(extraRule, "doors :=", "import data.passerelle.facts\n\ndoors :=", 1)}, "unused"},
		{"old syntax", in("\ndeny[x] { x := 1 }\n"), "xx.rego"},
		{"empty file", map[string]string{"xx.rego": "# nothing\n"}, "xx.rego"},
		{"package elsewhere", map[string]string{"xx.rego": "package other\n\na := 1\n"}, "not below data.passerelle"},
		{"rule among tests", map[string]string{"xx.rego": "package passerelle.tests.xx\n\na := 1\n"}, "tests, and only tests"},
		{"test among rules", map[string]string{"xx_test.rego": "package passerelle.rules[\"XX-01\"]\n\npermit := true\n"}, "tests, and only tests"},

		{"decision is a function", map[string]string{"main.rego": "package passerelle\n\ndecision(x) := x\n"}, "data.passerelle.decision"},

		{"http.send", call(`http.send({"method": "get", "url": "http://127.0.0.1"})`), "http.send"},
		{"net.lookup_ip_addr", call(`net.lookup_ip_addr("b.example")`), "net.lookup_ip_addr"},
		{"net.cidr_expand", call(`net.cidr_expand("10.0.0.0/8")`), "net.cidr_expand"},
		{"rand.intn", call(`rand.intn("a", 9)`), "rand.intn"},
		{"uuid.rfc4122", call(`uuid.rfc4122("a")`), "uuid.rfc4122"},
		{"time.now_ns", call(`time.now_ns()`), "time.now_ns"},
		{"opa.runtime", call(`opa.runtime()`), "opa.runtime"},
		{"trace", call(`trace("a")`), "trace"},
		{"print", in("\nhelper if {\n\tprint(input)\n\tinput.now\n}\n"), "print"},
		{"rego.parse_module", call(`rego.parse_module("a", "package a")`), "rego.parse_module"},
		{"io.jwt.decode", call(`io.jwt.decode("a")`), "io.jwt.decode"},

		{"failing test", map[string]string{"xx_test.rego": "package passerelle.tests.xx\n\ntest_no if 1 == 2\n"}, "test_no is undefined"},
		{"false test", map[string]string{"xx_test.rego": "package passerelle.tests.xx\n\ntest_no := false\n"}, "test_no is false"},
		{"erring test", map[string]string{"xx_test.rego": "package passerelle.tests.xx\n\ntest_no if {\n\tx := 0\n\t1 / x == 1\n}\n"}, "eval_builtin_error"},
		{"optimisation hides an error", map[string]string{"xx_test.rego": "package passerelle.tests.xx\n\ntest_no if helper\n\n" +
			"helper if 1 == 1\n\nhelper if {\n\tx := 0\n\t1 / x == 1\n}\n"}, "eval_builtin_error"},
		{"clause without a test", in("\ndeny contains \"Never.\" if input.query.urgency == \"maybe\"\n"), "xx.rego:15: no test"},
		{"clause on a line that is reached", in("\npermit if input.query.urgency == \"maybe\"\n"), "xx.rego:15: no test"},

		{"no metadata", map[string]string{"xx.rego": extraRule[strings.Index(extraRule, "package"):]}, "METADATA"},
		{"no citation", map[string]string{"xx.rego": strings.Replace(extraRule, "#   citation: A-Act s.1\n", "", 1)}, "citation is missing"},
		{"verified is text", map[string]string{"xx.rego": strings.Replace(extraRule, "verified: false", `verified: "yes"`, 1)}, "verified must be"},
		{"unknown door", map[string]string{"xx.rego": strings.Replace(extraRule, "[ask]", "[window]", 1)}, "no door"},
		{"unknown metadata", map[string]string{"xx.rego": strings.Replace(extraRule, "verified:", "verifed: true\n#   verified:", 1)}, `"verifed"`},
		{"doors differ", map[string]string{"xx.rego": strings.Replace(extraRule, "doors := rego.metadata.chain()[1].annotations.custom.doors",
			`doors := ["answer"]`, 1)}, "doors must be"},
		{"no doors", map[string]string{"xx.rego": strings.Replace(extraRule, "doors := rego.metadata.chain()[1].annotations.custom.doors", "", 1)},
			"doors must be"},
		{"two files of one rule", map[string]string{"xx.rego": extraRule, "yy.rego": extraRule}, "is also in"},
		{"odd id", map[string]string{"xx.rego": strings.Replace(extraRule, `"XX-01"`, `"default_deny"`, 1)}, "an id has"},
		{"without RU-01", map[string]string{"asks/ru_01_agreement.rego": ""}, "RU-01 is missing"},
		{"without RU-23", map[string]string{"protected/ru_23_asylum.rego": ""}, "RU-23 is missing"},
		{"without RU-40", map[string]string{"after/ru_40_log.rego": ""}, "RU-40 is missing"},

		{"not in front of in", in("\ndeny contains \"Bad.\" if not input.query.urgency in [\"normal\"]\n"), "input.query.urgency is missing"},
		{"not in front of <", in("\ndeny contains \"Bad.\" if not input.now < \"2099\"\n"), "input.now is missing"},
		{"not in front of a call", in("\ndeny contains \"Bad.\" if not startswith(input.now, \"2\")\n"), "input.now is missing"},
		{"not in front of a call in a call", in("\ndeny contains \"Bad.\" if not count(input.a) + 1 > 2\n"), "input.a is missing"},
		{"not in front of a rule in a call", in("\nu := input.query.urgency\n\ndeny contains \"Bad.\" if not u in [\"normal\"]\n"), "u is missing"},
	}
	e := engine(t)
	before := e.BundleDigest()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fsys := few(t, tt.change)
			if strings.Contains(tt.want, "no test") {
				fsys = rules(t, tt.change) // the others have tests
			}
			err := e.Activate(t.Context(), load(t, fsys))
			if !errors.Is(err, policy.ErrBundle) {
				t.Fatalf("Activate error = %v, want %v", err, policy.ErrBundle)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Activate error = %v, want it to name %q", err, tt.want)
			}
			if e.BundleDigest() != before {
				t.Error("another bundle is active")
			}
		})
	}
}

func TestActivateEmpty(t *testing.T) {
	t.Parallel()
	if e, err := policy.NewEngine(t.Context(), policy.Bundle{}); !errors.Is(err, policy.ErrBundle) || e != nil {
		t.Errorf("NewEngine of the zero Bundle = %v, %v, want nil and %v", e, err, policy.ErrBundle)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := policy.NewEngine(ctx, load(t, rules(t, nil))); !errors.Is(err, context.Canceled) || e != nil {
		t.Errorf("NewEngine with an ended context = %v, %v, want nil and %v", e, err, context.Canceled)
	}
}

func TestLoadBundle(t *testing.T) {
	t.Parallel()
	refused := []struct {
		name string
		fsys fstest.MapFS
	}{
		{"data file", fstest.MapFS{"data.json": {Data: []byte("{}")}}},
		{"other file", fstest.MapFS{"a/b.txt": {}}},
		{"symbolic link", fstest.MapFS{"a.rego": {Mode: fs.ModeSymlink, Data: []byte("b.rego")}}},
		{"too large", fstest.MapFS{"a.rego": {Data: make([]byte, policy.MaxBundleSize/2)}, "b.rego": {Data: make([]byte, policy.MaxBundleSize/2+1)}}},
	}
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := policy.LoadBundle(tt.fsys)
			if !errors.Is(err, policy.ErrBundle) || len(b.Files()) != 0 {
				t.Errorf("LoadBundle = %d files, %v, want none and %v", len(b.Files()), err, policy.ErrBundle)
			}
		})
	}
	if _, err := policy.LoadBundle(os.DirFS("no such directory")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadBundle error = %v, want %v", err, fs.ErrNotExist)
	}
	b := load(t, fstest.MapFS{"a/b.rego": {}, "README.md": {}, ".git/x": {}, ".hidden": {}})
	if got := b.Files(); len(got) != 1 || got[0] != "a/b.rego" {
		t.Errorf("Files = %q, want a/b.rego", got)
	}
}

// TestDigest checks that paths, texts and their borders all count.
func TestDigest(t *testing.T) {
	t.Parallel()
	seen := make(map[[32]byte]int)
	for i, fsys := range []fstest.MapFS{
		{},
		{"a.rego": {}},
		{"b.rego": {}},
		{"a.rego": {Data: []byte("x")}},
		{"a.rego": {}, "b.rego": {}},
		{"a.rego": {Data: []byte("x")}, "b.rego": {}},
		{"a.rego": {}, "b.rego": {Data: []byte("x")}},
		{"a/b.rego": {}},
	} {
		d := load(t, fsys).Digest()
		if j, ok := seen[d]; ok {
			t.Errorf("bundles %d and %d have one digest", i, j)
		}
		seen[d] = i
	}
	if got, want := load(t, rules(t, nil)).Digest(), policy.Default().Digest(); got != want {
		t.Errorf("digest of the directory = %x, want the embedded one, %x", got, want)
	}
}

func TestDefaultBundle(t *testing.T) {
	t.Parallel()
	check, err := policy.Check(t.Context(), os.DirFS("rego"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range check.Problems {
		t.Error(p)
	}
	report, err := policy.Test(t.Context(), os.DirFS("rego"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(report.Failures, report.Uncovered...) {
		t.Error(p)
	}
	if !report.OK() || report.Failed != 0 || report.Passed == 0 || report.Coverage < 95 {
		t.Errorf("report = %d passed, %d failed, %.1f %% covered, want all and 95 %%", report.Passed, report.Failed, report.Coverage)
	}
	var ids []string
	for _, r := range check.Rules {
		ids = append(ids, r.ID)
		// Words in quotation marks are only those that were read in the text.
		if strings.Contains(r.Citation, `"`) && !r.Verified {
			t.Errorf("%s quotes a text that was not compared", r.ID)
		}
	}
	if got, want := strings.Join(ids, " "), "RU-01 RU-02 RU-03 RU-04 RU-05 RU-06 RU-08 RU-11 RU-21 RU-23 RU-26 RU-29 RU-36 RU-40"; got != want {
		t.Errorf("rules = %s, want %s", got, want)
	}
}

func TestCheckReportsEverything(t *testing.T) {
	t.Parallel()
	report, err := policy.Check(t.Context(), rules(t, map[string]string{"xx.rego": "package other\n", "yy.rego": "package\n"}))
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) < 2 || report.Rules != nil {
		t.Errorf("Check = %d problems, %d rules, want two problems or more and no rules", len(report.Problems), len(report.Rules))
	}
	if _, err := policy.Test(t.Context(), rules(t, map[string]string{"yy.rego": "package\n"})); !errors.Is(err, policy.ErrBundle) {
		t.Errorf("Test error = %v, want %v", err, policy.ErrBundle)
	}
}

// TestFold adds rules that depend on facts in ways that are easy to overlook. Each
// must see them, and rules that depend on none must keep their value and its type.
func TestFold(t *testing.T) {
	t.Parallel()
	const text = `package passerelle.extra

direct := input.door

whole := input

indirect := direct

function(x) := concat(x, [input.door, ""])

called := function("")

through[name] := x if {
	some name
	x := data.passerelle.extra.by_name[name]
}

by_name.a := input.door

by_name.b := "b"

comprehension := {x | some x in [y | y := direct]}

mocked := x if x := indirect with input as {"door": "mocked"}

default fallback := "none"

fallback := input.door

first := 1 if input.none

else := input.door

fails := 1 / (count(constant) - 3)

constant := {"c", "a", "b"}

nested := {"of": constant, "list": [x | some x in constant], "number": 1e2}
`
	const main = `package passerelle

decision := d if {
	x := data.passerelle.extra
	d := {
		"allow": false, "approvals_needed": [], "obligations": [], "redactions": [], "limits": {}, "disclose_reason": true,
		"rules": ["RU-01"],
		"denials": [{"rule": "RU-01", "sentence": sprintf("%v", [[
			x.direct, x.whole.door, x.indirect, x.called, x.through.a, x.comprehension, x.mocked, x.fallback, x.first,
			is_set(x.constant), is_set(x.nested.of), x.nested,
		]])}],
	}
}
`
	for _, fails := range []string{"", "fails := 1 / (count(constant) - 3)"} {
		// Without the part that fails the sentence holds every value.
		files := map[string]string{
			"extra.rego": strings.Replace(text, "fails := 1 / (count(constant) - 3)", fails, 1),
			"main.rego":  main, "fixtures_test.rego": "",
		}
		b := load(t, few(t, files))
		e, err := policy.NewUntested(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := policy.NewPlain(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range passing() {
			stored, _ := in.Stored()
			got, err := e.Decide(t.Context(), in)
			want, wantErr := plain.Decide(t.Context(), in.Door(), stored)
			if fails != "" {
				if !errors.Is(err, policy.ErrUndefined) || wantErr == nil {
					t.Errorf("Decide error = %v, want %v as from %v", err, policy.ErrUndefined, wantErr)
				}
				continue
			}
			if err != nil || wantErr != nil || encode(t, got) != encode(t, want) || strings.Count(got.Denials()[0].Sentence, string(in.Door())) < 8 {
				t.Errorf("Decide = %s, %v, want %s, %v", encode(t, got), err, encode(t, want), wantErr)
			}
		}
	}
}

// TestFoldMocks puts something in the place of a rule that others, which are the same
// for all facts, look at.
func TestFoldMocks(t *testing.T) {
	t.Parallel()
	b := load(t, few(t, map[string]string{"fixtures_test.rego": "",
		"extra.rego": "package passerelle.extra\n\nbase := 1\n\nderived := base + 1\n\n" +
			"mocked := x if {\n\tinput.door\n\tx := derived with data.passerelle.extra.base as 41\n}\n",
		"main.rego": "package passerelle\n\ndecision := {\n\t\"allow\": false, \"approvals_needed\": [], \"obligations\": [], \"redactions\": [],\n" +
			"\t\"limits\": {}, \"disclose_reason\": true, \"rules\": [\"RU-01\"],\n" +
			"\t\"denials\": [{\"rule\": \"RU-01\", \"sentence\": sprintf(\"%d\", [data.passerelle.extra.mocked])}],\n}\n",
	}))
	e, err := policy.NewUntested(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Decide(t.Context(), askInput())
	if err != nil || len(d.Denials()) != 1 || d.Denials()[0].Sentence != "42" {
		t.Errorf("Decide = %s, %v, want the sentence 42", encode(t, d), err)
	}
}

// TestFoldedIsTested gives a bundle folded rules that are not its own: its tests must
// fail on them.
func TestFoldedIsTested(t *testing.T) {
	t.Parallel()
	good := load(t, rules(t, nil))
	report, err := policy.ProveAsFolded(t.Context(), good, good)
	if err != nil || report.Failed != 0 || report.Passed == 0 {
		t.Fatalf("control: %d passed, %d failed: %v, %v", report.Passed, report.Failed, report.Failures, err)
	}
	other := load(t, rules(t, map[string]string{"main.rego": strings.Replace(read(t, "main.rego"), "count(denials) == 0", "count(denials) >= 0", 1)}))
	if report, err = policy.ProveAsFolded(t.Context(), good, other); err != nil || report.Failed == 0 {
		t.Fatalf("%d passed, %d failed, %v: want failures", report.Passed, report.Failed, err)
	}
	if !strings.Contains(fmt.Sprint(report.Failures), "folding") {
		t.Errorf("failures %v do not tell of folding", report.Failures)
	}
}

package policy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/passerelle/passerelle/policy"
)

var update = flag.Bool("update", false, "write INPUT.md again")

// doors are the inputs in the order of the manual.
var doors = []policy.Input{policy.AskInput{}, policy.AnswerInput{}, policy.PublishInput{}, policy.DiscloseInput{}, policy.RetainInput{}}

// TestInputReference keeps INPUT.md, which legal officers read, equal to the
// types. Write it again with
//
//	go test ./policy -run TestInputReference -update
func TestInputReference(t *testing.T) {
	t.Parallel()
	want := reference(t)
	if *update {
		if err := os.WriteFile("INPUT.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("INPUT.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("INPUT.md is not what the types say; write it again with -update")
	}
}

// reference returns the text of INPUT.md: the members of every input with the
// comments of their fields.
func reference(t *testing.T) []byte {
	file, err := parser.ParseFile(token.NewFileSet(), "input.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	text, err := parser.ParseFile(token.NewFileSet(), "text.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := make(map[string]string) // by Type.Field
	for _, f := range []*ast.File{file, text} {
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					for _, field := range s.Fields.List {
						for _, name := range field.Names {
							comments[spec.Name.Name+"."+name.Name] = strings.TrimSpace(field.Comment.Text())
						}
					}
				}
			}
			return true
		})
	}

	var out bytes.Buffer
	out.WriteString(`# What rules see

Every fact that a rule may read, by door, as ` + "`input.<name>`" + `. The file is written from the types in input.go; a test keeps it
true. Every member is always there: what is not known is "", 0, false, [] or {}. Moments are text such as
"2026-11-22T18:55:58Z" and compare as text; "" is before all of them. Pseudonyms and digests are hexadecimal; "" is none.
Free text is never here: see present, length, words, boilerplate and placeholder. Write rules so that a missing fact denies.
`)
	described := make(map[reflect.Type]bool)
	var queue []reflect.Type
	table := func(typ reflect.Type, rows ...string) {
		out.WriteString("\n| fact | form | meaning |\n|---|---|---|\n")
		for _, r := range rows {
			out.WriteString(r)
		}
		for f := range typ.Fields() {
			comment := comments[typ.Name()+"."+f.Name]
			if comment == "" || f.Tag.Get("json") == "" {
				t.Errorf("%s.%s has no comment or no tag", typ.Name(), f.Name)
			}
			form, group := form(f.Type)
			if group != nil && !described[group] {
				described[group] = true
				queue = append(queue, group)
			}
			comment = strings.NewReplacer("[", "", "]", "", "|", "or").Replace(comment)
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", f.Tag.Get("json"), form, comment)
		}
	}
	for _, in := range doors {
		fmt.Fprintf(&out, "\n## Door `%s`\n", in.Door())
		table(reflect.TypeOf(in), "| `version` | number | 1, of this vocabulary |\n", fmt.Sprintf("| `door` | text | `%s` |\n", in.Door()))
	}
	for len(queue) > 0 {
		typ := queue[0]
		queue = queue[1:]
		fmt.Fprintf(&out, "\n## %s\n", typ.Name())
		table(typ)
	}
	return out.Bytes()
}

// form returns the word for a type, and its group if it is one of ours.
func form(t reflect.Type) (string, reflect.Type) {
	switch {
	case t == reflect.TypeFor[policy.Time]():
		return "moment", nil
	case t == reflect.TypeFor[policy.Digest]() || t == reflect.TypeFor[policy.Pseudonym]():
		return "hexadecimal", nil
	case t == reflect.TypeFor[policy.Amounts]():
		return "numbers by code", nil
	}
	switch t.Kind() {
	case reflect.String:
		return "text", nil
	case reflect.Int64:
		return "number", nil
	case reflect.Bool:
		return "true or false", nil
	case reflect.Slice:
		inner, group := form(t.Elem())
		return "list of " + inner, group
	}
	return t.Name(), t
}

// TestFixtures checks that the inputs of the Rego tests have the members of the
// types: a test of a fact that does not exist would prove nothing.
func TestFixtures(t *testing.T) {
	t.Parallel()
	text := read(t, "fixtures_test.rego")
	for name, in := range map[string]policy.Input{
		"ask": policy.AskInput{}, "answer": policy.AnswerInput{}, "publish": policy.PublishInput{},
		"disclose": policy.DiscloseInput{}, "reuse": policy.RetainInput{}, "read_log": policy.RetainInput{},
	} {
		rs, err := rego.New(
			rego.Query("data.passerelle.tests.fixtures."+name),
			rego.Module("fixtures_test.rego", text),
		).Eval(context.Background())
		if err != nil || len(rs) != 1 {
			t.Fatalf("evaluating %s: %v", name, err)
		}
		compare(t, name, rs[0].Expressions[0].Value, reflect.TypeOf(in), "version", "door")
	}
}

func compare(t *testing.T, path string, value any, typ reflect.Type, more ...string) {
	t.Helper()
	word, group := form(typ)
	switch {
	case typ.Kind() == reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			t.Errorf("%s is %T, want a list", path, value)
		}
		for i, v := range list {
			compare(t, fmt.Sprintf("%s[%d]", path, i), v, typ.Elem())
		}
	case group == nil:
		kind := map[string]reflect.Kind{"number": reflect.String, "true or false": reflect.Bool, "numbers by code": reflect.Map}[word]
		if kind == reflect.Invalid {
			kind = reflect.String
		}
		_, number := value.(json.Number)
		if reflect.TypeOf(value).Kind() != kind || number != (word == "number") {
			t.Errorf("%s is %T, want %s", path, value, word)
		}
	default:
		object, ok := value.(map[string]any)
		if !ok {
			t.Errorf("%s is %T, want an object", path, value)
			return
		}
		want := slices.Clone(more)
		for f := range typ.Fields() {
			name := f.Tag.Get("json")
			want = append(want, name)
			if v, ok := object[name]; ok {
				compare(t, path+"."+name, v, f.Type)
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", path, got, want)
		}
	}
}

// unread are the facts that no built-in rule needs: without them an allowed
// input stays allowed. They are for the rules that countries add.
var unread = []string{
	"version", "agreement.min_quality", "agreement.retention_days", "agreement.sla", "agreement.regimes", "agreement.disabled_rules",
	"agreement.collections[].classes", "spiffe_id", "country_risk_flags", "protection_level", "attests_probe_deletion",
	"overdue_purge_receipts", "false_candidate_reports", "officer.roles", "officer.trained_until", "query.offence_code", "query.urgency",
	"query.contribution_note", "query.necessity_code", "query.prior_checks", "query.prior_check_waiver_reason", "query.ask_rules",
	"query.justification.present", "budgets[].scope", "subject", "match.candidates_count", "match.confirmed_at",
	"match.scored", // without it there is a score, and it must be high enough
	"fields", "approvals", "reuse", "onward",
	"record.source_list", "record.subject_category", "record.not_to", "record.basis", "record.last_verified", "record.created_at",
	"record.masked", "record.alert_kind", "record.action_instruction",
	"record.country_of_origin", // RU-23 needs it of records that are protected
}

// TestMissingFactDenies takes one member after the other out of inputs that are
// allowed. What is left must be denied, unless no rule needs the fact.
func TestMissingFactDenies(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, in := range passing() {
		t.Run(string(in.Door()), func(t *testing.T) {
			t.Parallel()
			stored, _ := in.Stored()
			var doc map[string]any
			if err := json.Unmarshal(stored, &doc); err != nil {
				t.Fatal(err)
			}
			removed := 0
			walk("", doc, func(path string) {
				removed++
				rest, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				rest = slices.Concat([]byte(`{"version":1,"door":"`+string(in.Door())+`",`), dropHead(rest))
				d, err := e.Replay(t.Context(), rest)
				if err == nil && !d.Allowed() {
					return
				}
				for _, u := range unread {
					if path == u || strings.HasPrefix(path, u+".") || strings.HasPrefix(path, u+"[") || strings.HasSuffix(path, "."+u) ||
						strings.Contains(path, "."+u+"[") {
						return
					}
				}
				// Reading the log stands on no agreement.
				if in.Door() == policy.Retain && !strings.HasPrefix(path, "reader") && path != "action" {
					return
				}
				// A.example is not the asker: its competences and register do not count, nor do other bases of b.example.
				if strings.HasPrefix(path, "agreement.parties[0].") || strings.HasPrefix(path, "agreement.parties[1].legal_bases[1]") {
					return
				}
				// One door needs these, the others do not.
				needed := map[string][]policy.Door{
					"agreement.parties[1].competences": {policy.Answer, policy.Publish, policy.Disclose},
					"agreement.parties[1].legal_bases": {policy.Ask, policy.Answer},
					"agreement.purposes":               {policy.Ask, policy.Answer},
					"agreement.thresholds":             {policy.Ask, policy.Disclose},
					"agreement.digest":                 {policy.Answer, policy.Disclose},
					"agreement.set_screening_allowed":  {},
					"agreement.max_set":                {},
					"query":                            {policy.Ask, policy.Answer},
					"record":                           {policy.Publish},
				}
				for prefix, where := range needed {
					if strings.HasPrefix(path, prefix) && !slices.Contains(where, in.Door()) {
						return
					}
				}
				t.Errorf("without %s: allowed = %t, %v, want a denial", path, d.Allowed(), err)
			})
			if removed < 30 {
				t.Errorf("only %d facts were removed", removed)
			}
		})
	}
}

// dropHead removes the members that every stored input begins with, wherever
// the encoder of maps has put them, and the opening brace.
func dropHead(b []byte) []byte {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(b, &doc); err != nil {
		panic(err)
	}
	delete(doc, "version")
	delete(doc, "door")
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return b[1:]
}

// walk calls f once without each member of v, at any depth.
func walk(path string, v any, f func(path string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			old, name := v[k], strings.TrimPrefix(path+"."+k, ".")
			if name == "version" || name == "door" {
				continue
			}
			delete(v, k)
			f(name)
			v[k] = old
			walk(name, old, f)
		}
	case []any:
		for i := range v {
			p := path + "[]"
			if strings.HasSuffix(path, "parties") || strings.HasSuffix(path, "legal_bases") {
				p = fmt.Sprintf("%s[%d]", path, i)
			}
			walk(p, v[i], f)
		}
	}
}

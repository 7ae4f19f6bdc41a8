package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A Rule is what the metadata of a bundle say about one rule of the catalogue.
type Rule struct {
	ID          string   // such as "RU-01"; the last part of its package
	Title       string   // short, for lists
	Description string   // the duty, in one or two sentences
	Doors       []Door   // where it decides
	Regimes     []string // regimes it comes from, such as "EU-LED"
	Citation    string   // the text it rests on; quoted words are in the text if Verified
	Verified    bool     // the citation was compared with the text
	References  []string // further texts that were not compared
	Limits      string   // what the rule cannot do where it stands, if anything
	File        string   // path in the bundle
}

const (
	// rulesPath is the package below which every rule of the catalogue is one
	// package, named by its id.
	rulesPath = "data.passerelle.rules"

	// testsPath is the package below which tests, and only tests, are.
	testsPath = "data.passerelle.tests"

	// testSuffix is how names of files with tests end.
	testSuffix = "_test.rego"

	// DefaultDeny is the rule id of a refusal because no rule permitted.
	DefaultDeny = "default_deny"

	// FailClosed is the rule id of a refusal because there was no usable
	// decision: the error says why.
	FailClosed = "fail_closed"
)

// permanent are the rules that a bundle must have and that no agreement can
// switch off. Main.rego has them too; this is the check that it does not matter
// which bundle is active.
var permanent = []string{"RU-01", "RU-23", "RU-40"}

// catalogue reads the rules of the modules from their package annotations.
func catalogue(modules map[string]*ast.Module) (map[string]Rule, []Problem) {
	rules := make(map[string]Rule)
	var problems []Problem
	for file, m := range modules {
		id, ok := ruleID(m.Package.Path)
		if !ok {
			continue
		}
		var found *ast.Annotations
		for _, a := range m.Annotations {
			if a.Scope == "package" {
				found = a
			}
		}
		if found == nil {
			problems = append(problems, Problem{File: file, Line: 1, Message: id + " has no METADATA on its package"})
			continue
		}
		if old, ok := rules[id]; ok {
			problems = append(problems, Problem{File: file, Line: 1, Message: id + " is also in " + old.File})
			continue
		}
		r, wrong := newRule(id, found)
		r.File = file
		rules[id] = r
		for _, w := range wrong {
			problems = append(problems, Problem{File: file, Line: found.Location.Row, Message: id + ": " + w})
		}
	}
	for _, id := range permanent {
		if _, ok := rules[id]; !ok {
			problems = append(problems, Problem{Message: id + " is missing, and no bundle may be without it"})
		}
	}
	return rules, problems
}

// ruleID returns the id of the rule whose package has the path.
func ruleID(path ast.Ref) (string, bool) {
	s := ast.MustParseRef(rulesPath)
	if len(path) != len(s)+1 || !path.HasPrefix(s) {
		return "", false
	}
	id, ok := path[len(s)].Value.(ast.String)
	return string(id), ok
}

// newRule reads one package annotation.
func newRule(id string, a *ast.Annotations) (r Rule, wrong []string) {
	r = Rule{ID: id, Title: a.Title, Description: strings.TrimSpace(a.Description)}
	if len(id) > 32 || id == DefaultDeny || id == FailClosed || strings.ContainsFunc(id, func(c rune) bool {
		return (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
	}) {
		wrong = append(wrong, "an id has at most 32 capital letters, digits and hyphens")
	}
	text := func(name string) string {
		s, ok := a.Custom[name].(string)
		if _, set := a.Custom[name]; set && !ok {
			wrong = append(wrong, name+" must be text")
		}
		return strings.TrimSpace(s)
	}
	list := func(name string) []string {
		v, set := a.Custom[name]
		items, ok := v.([]any)
		if set && !ok {
			wrong = append(wrong, name+" must be a list")
		}
		var out []string
		for _, item := range items {
			s, ok := item.(string)
			if !ok {
				wrong = append(wrong, name+" must be a list of text")
			}
			out = append(out, s)
		}
		return out
	}
	r.Regimes, r.References = list("regimes"), list("references")
	r.Citation, r.Limits = text("citation"), text("limits")
	verified, isBool := a.Custom["verified"].(bool)
	r.Verified = verified
	for _, d := range list("doors") {
		r.Doors = append(r.Doors, Door(d))
		if !slices.Contains([]Door{Ask, Answer, Publish, Disclose, Retain}, Door(d)) {
			wrong = append(wrong, fmt.Sprintf("%q is no door", d))
		}
	}
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{r.Title == "", "title is missing"},
		{r.Description == "", "description is missing"},
		{len(r.Doors) == 0, "doors are missing"},
		{len(r.Regimes) == 0, "regimes are missing"},
		{r.Citation == "", "citation is missing"},
		{!isBool, "verified must be true or false"},
	} {
		if c.bad {
			wrong = append(wrong, c.text)
		}
	}
	for name := range a.Custom {
		if !slices.Contains([]string{"doors", "regimes", "citation", "verified", "references", "limits"}, name) {
			wrong = append(wrong, fmt.Sprintf("unknown field %q", name))
		}
	}
	slices.Sort(wrong)
	return r, wrong
}

// A Problem is something wrong in a bundle, at a line if Line is not zero.
type Problem struct {
	File    string
	Line    int
	Message string
}

// String returns the problem as file:line: message.
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

func sortProblems(problems []Problem) {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Message, b.Message))
	})
}

package policy

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// A CheckReport says whether a bundle compiles, and what is in it.
type CheckReport struct {
	Digest   [32]byte  // of the bundle
	Revision string    // of the bundle, for people
	Files    []string  // paths, sorted
	Rules    []Rule    // by id; nil with problems
	Problems []Problem // by file and line; none if the bundle is good
}

// Check compiles the bundle in fsys as [Engine.Activate] does, without running
// its tests. What is wrong with the rules is in the report. The error is for a
// bundle that could not be loaded, see [LoadBundle], or a context that ended.
func Check(ctx context.Context, fsys fs.FS) (CheckReport, error) {
	b, err := LoadBundle(fsys)
	if err != nil {
		return CheckReport{}, err
	}
	r := CheckReport{Digest: b.Digest(), Revision: b.Revision(), Files: b.Files()}
	p, problems, err := compile(ctx, b)
	if err != nil {
		return CheckReport{}, err
	}
	if r.Problems = problems; p != nil {
		r.Rules = sortedRules(p.rules)
	}
	return r, nil
}

// A TestReport says how the tests of a bundle went.
type TestReport struct {
	Digest    [32]byte  // of the bundle
	Revision  string    // of the bundle, for people
	Passed    int       // tests that passed in both runs
	Failed    int       // tests that failed in either, or differed
	Failures  []Problem // why, one per failed test
	Coverage  float64   // percent of the lines of the rules that the tests reach
	Uncovered []Problem // clauses of rules that no test makes true
}

// OK reports whether the bundle could be activated.
func (r TestReport) OK() bool { return len(r.problems()) == 0 }

func (r TestReport) problems() []Problem {
	problems := slices.Concat(r.Failures, r.Uncovered)
	if r.Passed+r.Failed == 0 {
		problems = append(problems, Problem{Message: "there is no test"})
	}
	return problems
}

// Test compiles the bundle in fsys and runs its tests as [Engine.Activate] does.
// It returns an error wrapping [ErrBundle] for a bundle that does not compile.
func Test(ctx context.Context, fsys fs.FS) (TestReport, error) {
	b, err := LoadBundle(fsys)
	if err != nil {
		return TestReport{}, err
	}
	p, problems, err := compile(ctx, b)
	if err != nil {
		return TestReport{}, err
	}
	if len(problems) > 0 {
		return TestReport{}, bundleError(problems)
	}
	return p.runTests(ctx)
}

// runTests runs every test twice: on the rules with which decisions are made, which
// are folded and have all optimisations of OPA; and on the rules as they are written,
// without rule indexing and early exit. All of that must change nothing. OPA v1.21.0
// to v1.22.0 could lose a deny to rule indexing. A test that puts something in the
// place of a rule runs on rules as they are written both times: what was folded may
// have looked at that rule.
//
// Package tester of OPA runs a test one way only, and links package testing.
func (p *program) runTests(ctx context.Context) (TestReport, error) {
	report := TestReport{Digest: p.digest, Revision: p.revision}
	reached := &reach{cover: cover.New(), exits: make(map[place]bool)}
	for _, t := range p.testRules() {
		written, err := prepare(ctx, p.tests, t.ref)
		if err != nil {
			return TestReport{}, err
		}
		q := written
		if !t.mocks {
			if q, err = prepare(ctx, p.folded, t.ref); err != nil {
				return TestReport{}, err
			}
		}
		fail := func(format string, args ...any) {
			report.Failed++
			report.Failures = append(report.Failures, Problem{t.file, t.line, t.name + " " + fmt.Sprintf(format, args...)})
		}
		limited, cancel := context.WithTimeout(ctx, proofTimeout)
		fast, errFast := outcome(limited, q)
		plain, errPlain := outcome(limited, written, rego.EvalRuleIndexing(false), rego.EvalEarlyExit(false), rego.EvalQueryTracer(reached))
		cancel()
		switch {
		case ctx.Err() != nil:
			return TestReport{}, fmt.Errorf("policy: running tests: %w", ctx.Err())
		case errFast != nil:
			fail("failed: %v", evalError(ctx, "evaluating", errFast))
		case errPlain != nil:
			fail("failed: %v", evalError(ctx, "evaluating", errPlain))
		case fast != plain:
			fail("is %s, but %s without rule indexing, early exit and folding", fast, plain)
		case fast != "true":
			fail("is %s", fast)
		default:
			report.Passed++
		}
	}
	report.Coverage, report.Uncovered = p.covered(reached)
	return report, nil
}

// outcome returns "true", "undefined", or another JSON value of a test.
func outcome(ctx context.Context, q rego.PreparedEvalQuery, opts ...rego.EvalOption) (string, error) {
	rs, err := q.Eval(ctx, opts...)
	switch {
	case err != nil:
		return "", err
	case len(rs) == 0:
		return "undefined", nil
	case len(rs) == 1 && len(rs[0].Expressions) == 1:
		return fmt.Sprint(rs[0].Expressions[0].Value), nil
	}
	return "ambiguous", nil
}

// A testRule is one test of a bundle.
type testRule struct {
	ref, name, file string
	line            int
	mocks           bool // it puts something in the place of a rule or a function
}

// testRules returns the tests by file and line. Several clauses of one name are
// one test.
func (p *program) testRules() []testRule {
	var tests []testRule
	seen := make(map[string]int) // where in tests, by path
	for _, file := range slices.Sorted(maps.Keys(p.tests.Modules)) {
		m := p.tests.Modules[file]
		if !strings.HasSuffix(file, testSuffix) {
			continue
		}
		for _, r := range m.Rules {
			name := strings.TrimPrefix(r.Ref().String(), m.Package.Path.String()+".")
			ref := r.Ref().String()
			if !strings.HasPrefix(name, "test_") {
				continue
			}
			mocks := p.mocks(r, make(map[*ast.Rule]bool))
			if at, ok := seen[ref]; ok {
				tests[at].mocks = tests[at].mocks || mocks
				continue
			}
			seen[ref] = len(tests)
			tests = append(tests, testRule{ref, name, file, r.Location.Row, mocks})
		}
	}
	return tests
}

// mocks reports whether r, or a rule that it refers to, puts something in the place of
// anything but the input.
func (p *program) mocks(r *ast.Rule, seen map[*ast.Rule]bool) bool {
	if seen[r] {
		return false
	}
	seen[r] = true
	if mocks(r) {
		return true
	}
	for d := range p.tests.Graph.Dependencies(r) {
		if rule, ok := d.(*ast.Rule); ok && p.mocks(rule, seen) {
			return true
		}
	}
	return false
}

// mocks reports whether r puts something in the place of anything but the input.
func mocks(r *ast.Rule) (found bool) {
	ast.WalkWiths(r, func(w *ast.With) bool {
		ref, ok := w.Target.Value.(ast.Ref)
		found = found || !ok || !ref[0].Equal(ast.InputRootDocument)
		return found
	})
	return found
}

// A reach follows an evaluation: which lines it came to, and which clauses of
// rules were true. Coverage by line alone would count a clause on one line as
// covered by its failing.
type reach struct {
	cover *cover.Cover
	exits map[place]bool
}

// A place is where a clause begins.
type place struct {
	file     string
	row, col int
}

func placeOf(l *ast.Location) place { return place{l.File, l.Row, l.Col} }

// Enabled implements [topdown.QueryTracer].
func (r *reach) Enabled() bool { return true }

// Config implements [topdown.QueryTracer].
func (r *reach) Config() topdown.TraceConfig { return r.cover.Config() }

// TraceEvent implements [topdown.QueryTracer].
func (r *reach) TraceEvent(e topdown.Event) {
	if rule, ok := e.Node.(*ast.Rule); ok && e.Op == topdown.ExitOp && rule.Location != nil {
		r.exits[placeOf(rule.Location)] = true
	}
	r.cover.TraceEvent(e)
}

// covered returns the percentage of lines that r came to, and the clauses that
// were never true.
func (p *program) covered(r *reach) (float64, []Problem) {
	covered, notCovered := 0, 0
	var missing []Problem
	for file, report := range r.cover.Report(p.modules).Files {
		m, ok := p.modules[file]
		if !ok {
			continue // a test
		}
		covered += report.CoveredLines
		notCovered += report.NotCoveredLines
		ast.WalkRules(m, func(rule *ast.Rule) bool {
			if !rule.Default && !r.exits[placeOf(rule.Location)] {
				missing = append(missing, Problem{file, rule.Location.Row, "no test makes this clause true"})
			}
			return false
		})
	}
	sortProblems(missing)
	if covered+notCovered == 0 {
		return 0, missing
	}
	return 100 * float64(covered) / float64(covered+notCovered), missing
}

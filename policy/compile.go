package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// builtins are the functions that rules may call: those whose result depends on
// their arguments alone. It is a list of what is allowed, so that a new version
// of OPA adds nothing by itself. Left out are the network (http.send, net.*),
// chance (rand.*, uuid.*), the clock (time.now_ns), the machine (opa.runtime),
// anything printed (print, trace), and keys (crypto.*, io.jwt.*).
var builtins = []string{
	"abs", "and", "array.concat", "array.flatten", "array.reverse", "array.slice", "assign", "ceil", "concat", "contains", "count",
	"div", "endswith", "eq", "equal", "floor", "format_int", "glob.match", "graph.reachable", "gt", "gte", "indexof",
	"internal.member_2", "internal.member_3", "internal.template_string", "intersection", "is_array", "is_boolean", "is_null",
	"is_number", "is_object", "is_set", "is_string", "json.filter", "json.patch", "json.remove", "lower", "lt", "lte", "max", "min", "minus",
	"mul", "neq", "numbers.range", "object.filter", "object.get", "object.keys", "object.remove", "object.subset", "object.union",
	"object.union_n", "or", "plus", "product", "regex.is_valid", "regex.match", "regex.replace", "regex.split", "rego.metadata.chain",
	"rego.metadata.rule", "rem", "replace", "round", "set_diff", "sort", "split", "sprintf", "startswith",
	"strings.any_prefix_match", "strings.any_suffix_match", "strings.count", "strings.replace_n", "substring", "sum",
	"time.add_date", "time.date", "time.diff", "time.format", "time.parse_duration_ns", "time.parse_rfc3339_ns", "time.weekday",
	"to_number", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix", "type_name", "union", "upper",
}

// capabilities returns what the compiler lets rules use.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool {
		return b.Nondeterministic || !slices.Contains(builtins, b.Name)
	})
	c.AllowNet = []string{} // empty, not nil, which would mean every host
	return c
}

// decisionPath is the document that decides.
const decisionPath = "data.passerelle.decision"

// A program is a compiled bundle. It does not change, and may be used
// concurrently.
type program struct {
	digest   [32]byte
	revision string
	rules    map[string]Rule
	query    rego.PreparedEvalQuery
	reads    [][]string // paths of the facts that rules look at, see Facts

	// What tests need: the modules of the rules as they are written, and two
	// compilers that have the tests, too: with these modules, and with the folded
	// ones. Tests are not in query, so they cannot change a decision.
	modules       map[string]*ast.Module
	tests, folded *ast.Compiler
}

// compile compiles b. The problems are the author's to mend; with any of them
// there is no program. An error is of another kind, such as an ended context.
func compile(ctx context.Context, b Bundle) (*program, []Problem, error) {
	var problems []Problem
	production, all := make(map[string]*ast.Module), make(map[string]*ast.Module)
	opts := ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true, Capabilities: capabilities()}
	for _, name := range b.Files() {
		m, err := ast.ParseModuleWithOpts(name, b.files[name], opts)
		if err != nil {
			problems = append(problems, located(name, err)...)
			continue
		}
		if m == nil {
			problems = append(problems, Problem{File: name, Message: "the file is empty"})
			continue
		}
		path, test := m.Package.Path.String(), strings.HasSuffix(name, testSuffix)
		switch {
		case test != m.Package.Path.HasPrefix(ast.MustParseRef(testsPath)):
			problems = append(problems, Problem{File: name, Line: m.Package.Location.Row,
				Message: "tests, and only tests, are in files " + testSuffix + " and below " + testsPath})
		case !m.Package.Path.HasPrefix(ast.MustParseRef("data.passerelle")):
			problems = append(problems, Problem{File: name, Line: m.Package.Location.Row, Message: path + " is not below data.passerelle"})
		}
		all[name] = m
		if !test {
			production[name] = m
		}
	}
	rules, wrong := catalogue(production)
	problems = append(append(problems, wrong...), checkNegations(production)...)
	if len(problems) > 0 {
		sortProblems(problems)
		return nil, problems, nil
	}

	p := &program{digest: b.digest, revision: b.Revision(), rules: rules, modules: production}
	compiler, problems := newCompiler(production, true)
	if len(problems) == 0 {
		p.tests, problems = newCompiler(all, true)
	}
	if len(problems) > 0 {
		return nil, problems, nil
	}
	problems, err := p.checkDoors(ctx, compiler)
	if len(problems) > 0 || err != nil {
		return nil, problems, err
	}
	folded, err := fold(ctx, compiler, production)
	if err != nil {
		return nil, nil, err
	}
	// Not strict: an import may be used only in what was folded.
	if compiler, problems = newCompiler(folded, false); len(problems) > 0 {
		return nil, problems, nil
	}
	maps.Copy(all, folded)
	if p.folded, problems = newCompiler(all, false); len(problems) > 0 {
		return nil, problems, nil
	}
	p.reads = readsOf(compiler.Modules)
	if p.query, err = prepare(ctx, compiler, decisionPath); err != nil {
		if ctx.Err() != nil {
			return nil, nil, err
		}
		return nil, []Problem{{Message: decisionPath + " is not a value"}}, nil
	}
	return p, nil, nil
}

func newCompiler(modules map[string]*ast.Module, strict bool) (*ast.Compiler, []Problem) {
	// The compiler rewrites what it is given.
	own := make(map[string]*ast.Module, len(modules))
	for name, m := range modules {
		own[name] = m.Copy()
	}
	c := ast.NewCompiler().WithStrict(strict).WithCapabilities(capabilities()).WithDefaultRegoVersion(ast.RegoV1).
		WithEnablePrintStatements(true)
	if c.Compile(own); c.Failed() {
		return nil, located("", c.Errors)
	}
	return c, nil
}

func prepare(ctx context.Context, c *ast.Compiler, query string) (rego.PreparedEvalQuery, error) {
	q, err := rego.New(
		rego.Query(query),
		rego.Compiler(c),
		rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
	if err != nil {
		return q, evalError(ctx, "preparing "+query, err)
	}
	return q, nil
}

// checkDoors compares the doors that each rule has for the aggregation with
// those of its metadata: a rule without doors would never be asked.
func (p *program) checkDoors(ctx context.Context, c *ast.Compiler) ([]Problem, error) {
	q, err := prepare(ctx, c, "{id: d | d := "+rulesPath+"[id].doors}")
	if err != nil {
		return nil, err
	}
	rs, err := q.Eval(ctx)
	if err != nil || len(rs) != 1 {
		return nil, evalError(ctx, "reading the doors of the rules", err)
	}
	have, _ := rs[0].Expressions[0].Value.(map[string]any)
	var problems []Problem
	for _, id := range slices.Sorted(maps.Keys(p.rules)) {
		doors, _ := have[id].([]any)
		same := len(doors) == len(p.rules[id].Doors)
		for i := 0; same && i < len(doors); i++ {
			same = doors[i] == string(p.rules[id].Doors[i])
		}
		if !same {
			problems = append(problems, Problem{File: p.rules[id].File, Message: id +
				": doors must be the list of its METADATA: doors := rego.metadata.chain()[1].annotations.custom.doors"})
		}
	}
	return problems, nil
}

// located turns errors of the parser and the compiler into problems.
func located(file string, err error) []Problem {
	var list ast.Errors
	if !errors.As(err, &list) {
		return []Problem{{File: file, Message: err.Error()}}
	}
	var problems []Problem
	for _, e := range list {
		p := Problem{File: file, Message: e.Message}
		if e.Location != nil {
			p.Line = e.Location.Row
			if e.Location.File != "" {
				p.File = e.Location.File
			}
		}
		problems = append(problems, p)
	}
	sortProblems(problems)
	return problems
}

// bundleError returns an error wrapping ErrBundle that names the first problem.
func bundleError(problems []Problem) error {
	if len(problems) == 1 {
		return fmt.Errorf("%w: %v", ErrBundle, problems[0])
	}
	return fmt.Errorf("%w: %v (and %d more)", ErrBundle, problems[0], len(problems)-1)
}

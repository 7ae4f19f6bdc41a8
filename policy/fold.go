package policy

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// fold returns modules in which every rule that depends on no fact is replaced by
// its value, such as the list of rules that decide at each door: a decision would
// otherwise work it out again. c has compiled modules, which do not change.
//
// A rule is folded if neither it nor anything it refers to mentions the input,
// and if it has one clause and a value. All other rules are left as they are. What
// rules may call depends on its arguments alone, see builtins, so nothing else
// could make a difference. A bundle in which a rule puts something in the place of
// another rule is not folded at all: what was folded would not see it.
func fold(ctx context.Context, c *ast.Compiler, modules map[string]*ast.Module) (map[string]*ast.Module, error) {
	clauses := make(map[string][]*ast.Rule) // as compiled, by path
	for _, m := range c.Modules {
		for _, r := range m.Rules {
			if mocks(r) {
				return modules, nil
			}
			clauses[r.Ref().String()] = append(clauses[r.Ref().String()], r)
		}
	}
	out := make(map[string]*ast.Module, len(modules))
	for file, m := range modules {
		out[file] = m.Copy()
		for _, r := range out[file].Rules {
			path := r.Ref().String()
			compiled := clauses[path]
			if len(compiled) != 1 || !foldable(compiled[0]) || !constant(c, compiled[0], make(map[*ast.Rule]bool)) {
				continue
			}
			value, err := evaluate(ctx, c, path)
			if err != nil {
				return nil, err
			}
			if value == nil {
				continue
			}
			r.Head.Value, r.Body = value, ast.NewBody(ast.NewExpr(ast.BooleanTerm(true)))
		}
	}
	return out, nil
}

// foldable reports whether r gives one name one value.
func foldable(r *ast.Rule) bool {
	return !r.Default && r.Else == nil && len(r.Head.Args) == 0 && r.Head.RuleKind() == ast.SingleValue && r.Ref().IsGround()
}

// constant reports whether nothing that r depends on is a fact.
func constant(c *ast.Compiler, r *ast.Rule, seen map[*ast.Rule]bool) bool {
	if seen[r] {
		return true
	}
	seen[r] = true
	facts := false
	ast.WalkTerms(r, func(t *ast.Term) bool {
		v, ok := t.Value.(ast.Var)
		facts = facts || ok && v == ast.InputRootDocument.Value
		return facts
	})
	if facts {
		return false
	}
	for d := range c.Graph.Dependencies(r) {
		if rule, ok := d.(*ast.Rule); !ok || !constant(c, rule, seen) {
			return false
		}
	}
	return true
}

// evaluate returns the value of a rule that depends on no fact, or nil if it has
// none: because it is undefined, or because it fails, which must then happen when
// somebody decides.
func evaluate(ctx context.Context, c *ast.Compiler, path string) (*ast.Term, error) {
	q, err := prepare(ctx, c, path)
	if err != nil {
		return nil, ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, evalTimeout)
	defer cancel()
	rs, err := q.Eval(limited, rego.EvalGenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }))
	if err != nil || len(rs) != 1 || len(rs[0].Expressions) != 1 {
		return nil, ctx.Err()
	}
	value, ok := rs[0].Expressions[0].Value.(*ast.Term)
	if !ok || !value.IsGround() {
		return nil, nil
	}
	return value, nil
}

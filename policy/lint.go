package policy

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// checkNegations finds the trap that would make a rule fail open: "not" in front
// of a call on a fact, such as
//
//	deny contains "..." if not input.reader.role in readers
//
// OPA evaluates input.reader.role first and outside of the "not", so that a
// missing fact makes the whole clause undefined, and it does not deny. The
// comparison == and a plain reference are exempt: OPA treats them as one would
// expect. So is a call on a local variable, which always has a value.
func checkNegations(modules map[string]*ast.Module) []Problem {
	partial := make(map[string]map[ast.Var]bool) // rules without a value for some inputs, by package
	for _, m := range modules {
		path := m.Package.Path.String()
		if partial[path] == nil {
			partial[path] = make(map[ast.Var]bool)
		}
		for _, r := range m.Rules {
			if name, ok := r.Head.Ref()[0].Value.(ast.Var); ok && !alwaysDefined(r) {
				if _, known := partial[path][name]; !known {
					partial[path][name] = true
				}
			} else if ok {
				partial[path][name] = false
			}
		}
	}
	var problems []Problem
	for file, m := range modules {
		names := partial[m.Package.Path.String()]
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			if !e.Negated || !e.IsCall() || e.Operator().Equal(ast.Equality.Ref()) || e.Operator().Equal(ast.Equal.Ref()) {
				return false
			}
			for _, operand := range e.Operands() {
				if fact := absentable(operand, names); fact != "" {
					problems = append(problems, Problem{file, e.Location.Row, fmt.Sprintf(
						"if %s is missing this clause is undefined, and so has no effect: "+
							"put what follows not into a rule of its own, and write not in front of its name", fact)})
					break
				}
			}
			return false
		})
	}
	return problems
}

// alwaysDefined reports whether the rule gives its name a value for every input.
func alwaysDefined(r *ast.Rule) bool {
	set := r.Head.Key != nil || len(r.Head.Ref()) > 1 // contains, or one key of an object
	constant := r.Head.Value != nil && r.Head.Value.IsGround() && len(r.Body) == 1 && r.Body[0].Equal(ast.NewExpr(ast.BooleanTerm(true))) &&
		len(r.Head.Args) == 0
	return r.Default || set || constant && !usesRefs(r.Head.Value)
}

func usesRefs(t *ast.Term) (found bool) {
	ast.WalkRefs(t, func(ast.Ref) bool { found = true; return true })
	return found
}

// absentable returns what in t may be missing: a fact of the input or a rule
// that is not always defined; or else "".
func absentable(t *ast.Term, names map[ast.Var]bool) (fact string) {
	ast.WalkTerms(t, func(x *ast.Term) bool {
		switch v := x.Value.(type) {
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			return true // empty, not undefined
		case ast.Ref:
			head, _ := v[0].Value.(ast.Var)
			if fact == "" && (head == "input" || names[head]) {
				fact = v.String()
			}
		case ast.Var:
			if fact == "" && (v == "input" || names[v]) {
				fact = v.String()
			}
		}
		return fact != ""
	})
	return fact
}

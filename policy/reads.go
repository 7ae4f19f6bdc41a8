package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Facts are the facts that the rules of one bundle look at. The zero Facts are all
// facts.
type Facts struct {
	bundle [32]byte
	paths  [][]string // in the input; nil for all of it
}

// Facts returns the facts that the rules of the active bundle look at. Whoever keeps
// decisions for inputs that come again needs to compare no more than these, for
// decisions by the same bundle.
func (e *Engine) Facts() Facts {
	p := e.load()
	return Facts{p.digest, p.reads}
}

// Bundle returns the digest of the bundle.
func (f Facts) Bundle() [32]byte { return f.bundle }

// Contain reports whether a decision may depend on the fact at a path in the input,
// such as "record", "review_by". If it does not, inputs that differ in nothing else
// have decisions that differ in [Decision.Input] alone.
func (f Facts) Contain(path ...string) bool {
	if f.paths == nil {
		return true
	}
	return slices.ContainsFunc(f.paths, func(read []string) bool {
		n := min(len(read), len(path))
		return slices.Equal(read[:n], path[:n])
	})
}

// readsOf returns the paths of the input that compiled rules mention, or nil if they
// mention the input as a whole. What comes after a part that is not constant, as in
// input.budgets[i].used, is not looked at: the path ends there.
func readsOf(modules map[string]*ast.Module) [][]string {
	paths := make([][]string, 0)
	whole := false
	var visitor *ast.GenericVisitor
	visitor = ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Var:
			whole = whole || x == ast.InputRootDocument.Value
		case ast.Ref:
			if !x[0].Equal(ast.InputRootDocument) {
				return false
			}
			var path []string
			for _, t := range x[1:] {
				name, ok := t.Value.(ast.String)
				if !ok {
					break
				}
				path = append(path, string(name))
			}
			whole = whole || len(path) == 0
			paths = append(paths, path)
			for _, t := range x[1:] {
				visitor.Walk(t)
			}
			return true
		}
		return false
	})
	for _, m := range modules {
		for _, r := range m.Rules {
			visitor.Walk(r)
		}
	}
	if whole {
		return nil
	}
	slices.SortFunc(paths, slices.Compare)
	return slices.CompactFunc(paths, slices.Equal)
}

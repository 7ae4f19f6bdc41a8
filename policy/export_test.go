package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// ParseValue is parseValue, which gives no value with an error.
func ParseValue(b []byte) (ast.Value, error) {
	v, err := parseValue(b)
	return v, err
}

// NewUntested returns an Engine with rules that compile and may fail their
// tests, to see what becomes of decisions that no good bundle makes.
func NewUntested(ctx context.Context, b Bundle) (*Engine, error) {
	p, problems, err := compile(ctx, b)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, bundleError(problems)
	}
	e := new(Engine)
	e.active.Store(p)
	return e, nil
}

// A Plain decides in the plainest way: OPA reads the input, and evaluates the rules
// as they are written, without rule indexing.
type Plain struct {
	p     *program
	query rego.PreparedEvalQuery
}

// NewPlain returns a Plain for b.
func NewPlain(ctx context.Context, b Bundle) (*Plain, error) {
	p, problems, err := compile(ctx, b)
	if err != nil || len(problems) > 0 {
		return nil, fmt.Errorf("%v, %w", problems, err)
	}
	c, problems := newCompiler(p.modules, true)
	if len(problems) > 0 {
		return nil, bundleError(problems)
	}
	query, err := prepare(ctx, c, decisionPath)
	return &Plain{p, query}, err
}

// Decide decides about the stored form of an input of a door.
func (x *Plain) Decide(ctx context.Context, door Door, stored []byte) (Decision, error) {
	value, err := ast.ValueFromReader(bytes.NewReader(stored))
	if err != nil {
		return Decision{}, err
	}
	rs, err := x.query.Eval(ctx, rego.EvalParsedInput(value), rego.EvalRuleIndexing(false))
	if err != nil {
		return Decision{}, err
	}
	d, err := x.p.newDecision(door, rs[0].Expressions[0].Value, regimes(value.(ast.Object)))
	d.bundle, d.input = x.p.digest, sha256.Sum256(stored)
	return d, err
}

// ProveAsFolded runs the tests of b as Test does, with the rules of another bundle in
// the place of the folded ones.
func ProveAsFolded(ctx context.Context, b, other Bundle) (TestReport, error) {
	p, problems, err := compile(ctx, b)
	if err != nil || len(problems) > 0 {
		return TestReport{}, fmt.Errorf("%v, %w", problems, err)
	}
	q, problems, err := compile(ctx, other)
	if err != nil || len(problems) > 0 {
		return TestReport{}, fmt.Errorf("%v, %w", problems, err)
	}
	p.folded = q.folded
	return p.runTests(ctx)
}

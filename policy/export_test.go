package policy

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
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

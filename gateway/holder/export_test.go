package holder

import (
	"context"

	"github.com/passerelle/passerelle/policy"
)

// What the door `publish` is told of a record.
var (
	Minor  = minor
	Origin = origin
)

// Decided remembers the decisions of one publication.
type Decided struct{ d *decided }

// NewDecided returns a Decided without any decision.
func NewDecided(facts policy.Facts) Decided { return Decided{newDecided(facts)} }

// Decide reports whether a record is let through, and otherwise the rules that denied.
func (x Decided) Decide(ctx context.Context, p Policy, in policy.PublishInput) (allowed bool, denied []string, err error) {
	v, err := x.d.decide(ctx, p, in)
	if err != nil {
		return false, nil, err
	}
	return v.allowed, v.denied, nil
}

// Len returns how many decisions are remembered.
func (x Decided) Len() int { return len(x.d.verdicts) }

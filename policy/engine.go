package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

var (
	// ErrUndefined is returned when the rules have no decision for an input, or
	// one that is not of the documented form, or when evaluating them failed. It
	// is a fault of the bundle, not of the peer: page the operator.
	ErrUndefined = errors.New("policy: no usable decision")

	// ErrInput is returned by [Engine.Replay] for bytes that are not the stored
	// form of an input.
	ErrInput = errors.New("policy: not a stored input")
)

const (
	// evalTimeout ends rules that do not come to an end. A decision takes well
	// under a millisecond.
	evalTimeout = 2 * time.Second

	// proofTimeout ends one test of a bundle. Tests run when a bundle is
	// activated, when many may start at once: nobody waits for an answer then.
	proofTimeout = time.Minute

	// maxStored bounds the bytes of a stored input.
	maxStored = 1 << 20
)

// An Engine decides with the active bundle. Its methods may be called
// concurrently; each decision is by exactly one bundle, which it names. Make one
// with [NewEngine]; the zero Engine has no bundle and denies everything.
type Engine struct {
	active atomic.Pointer[program]
}

// NewEngine returns an Engine with b active. See [Engine.Activate] for what is
// demanded of b.
func NewEngine(ctx context.Context, b Bundle) (*Engine, error) {
	e := new(Engine)
	if err := e.Activate(ctx, b); err != nil {
		return nil, err
	}
	return e, nil
}

// Activate compiles b, runs its tests twice, with and without rule indexing and
// early exit, and demands that all pass, that both runs agree, and that the
// tests reach every rule. Then it makes b the active bundle in one step:
// decisions that are under way end under the bundle they began with.
//
// On error the bundle that was active stays active. The error wraps [ErrBundle]
// unless ctx ended.
func (e *Engine) Activate(ctx context.Context, b Bundle) error {
	p, problems, err := b.prove(ctx)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return bundleError(problems)
	}
	e.active.Store(p)
	return nil
}

// BundleDigest returns the digest of the active bundle, see [Bundle.Digest].
func (e *Engine) BundleDigest() [32]byte { return e.load().digest }

// Revision returns the first 16 hexadecimal digits of the digest of the active
// bundle, for people.
func (e *Engine) Revision() string { return e.load().revision }

// Rules returns the rules of the active bundle, by id.
func (e *Engine) Rules() []Rule {
	return sortedRules(e.load().rules)
}

// load returns the active program; of the zero Engine, one without a query.
func (e *Engine) load() *program {
	if p := e.active.Load(); p != nil {
		return p
	}
	return new(program)
}

func sortedRules(rules map[string]Rule) []Rule {
	return slices.SortedFunc(maps.Values(rules), func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
}

// Decide evaluates the rules of the active bundle for in.
//
// If err is not nil then the Decision denies, with the one rule [FailClosed], and
// still names the bundle and the input, so that it can be logged. The error
// wraps [ErrUndefined], or the error of ctx. Callers that only need to know
// whether to go on may look at the Decision alone.
func (e *Engine) Decide(ctx context.Context, in Input) (Decision, error) {
	stored, digest := in.Stored()
	return e.load().decide(ctx, in.Door(), stored, digest)
}

// Replay evaluates the rules of the active bundle for the stored form of an
// input, as [Input.Stored] returned it. With the bundle that decided then, it
// gives the same Decision, byte for byte; with a draft, it shows what the draft
// would change.
//
// It returns an error wrapping [ErrInput] for other bytes.
func (e *Engine) Replay(ctx context.Context, stored []byte) (Decision, error) {
	p := e.load()
	digest := sha256.Sum256(stored)
	for _, d := range []Door{Ask, Answer, Publish, Disclose, Retain} {
		if bytes.HasPrefix(stored, []byte(`{"version":1,"door":"`+string(d)+`",`)) && len(stored) <= maxStored {
			return p.decide(ctx, d, stored, digest)
		}
	}
	return failClosed("", p.digest, digest), ErrInput
}

func (p *program) decide(ctx context.Context, door Door, stored []byte, digest [32]byte) (Decision, error) {
	deny := failClosed(door, p.digest, digest)
	if p.rules == nil {
		return deny, fmt.Errorf("%w: no bundle is active", ErrUndefined)
	}
	value, err := parseValue(stored)
	if err != nil {
		return deny, fmt.Errorf("%w: it is not JSON for rules", ErrInput)
	}
	facts, ok := value.(ast.Object)
	if !ok {
		return deny, fmt.Errorf("%w: it is not an object", ErrInput)
	}
	// The door is read from the front of the bytes; a second member of that name
	// would win in the parsed value.
	if d := facts.Get(ast.StringTerm("door")); d == nil || d.Value.Compare(ast.String(door)) != 0 {
		return deny, fmt.Errorf("%w: it has two doors", ErrInput)
	}

	// OPA would start a goroutine for each decision, to wait for the end of ctx.
	cancel := topdown.NewCancel()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	defer time.AfterFunc(evalTimeout, cancel.Cancel).Stop()
	growStack(0)
	rs, err := p.query.Eval(ctx, rego.EvalParsedInput(value), rego.EvalExternalCancel(cancel), rego.EvalMetrics(metrics.NoOp()))
	if err != nil {
		return deny, evalError(ctx, "evaluating", err)
	}
	if len(rs) != 1 || len(rs[0].Expressions) != 1 {
		return deny, fmt.Errorf("%w: it is undefined", ErrUndefined)
	}
	d, err := p.newDecision(door, rs[0].Expressions[0].Value, regimes(facts))
	if err != nil {
		return deny, err
	}
	d.bundle, d.input = p.digest, digest
	return d, nil
}

// growStack makes the stack of the goroutine large enough for an evaluation, which
// needs between 64 and 128 KiB of it. Most callers are on a new goroutine with a
// few KiB: there the recursion of OPA would double the stack again and again, and
// copy at each step all that is on it. A frame of the final size grows an almost
// empty stack, once. The frame is not used, with an argument of 0 not even cleared.
//
//go:noinline
func growStack(n int) byte {
	if n == 0 {
		return 0
	}
	var frame [120 << 10]byte
	for i := range frame {
		frame[i] = byte(i)
	}
	return frame[n]
}

// regimes returns the regimes of the agreement in the facts.
func regimes(facts ast.Object) (out []string) {
	agreement := facts.Get(ast.StringTerm("agreement"))
	if agreement == nil {
		return nil
	}
	object, ok := agreement.Value.(ast.Object)
	if !ok {
		return nil
	}
	list := object.Get(ast.StringTerm("regimes"))
	if list == nil {
		return nil
	}
	array, ok := list.Value.(*ast.Array)
	if !ok {
		return nil
	}
	array.Foreach(func(t *ast.Term) {
		if s, ok := t.Value.(ast.String); ok {
			out = append(out, string(s))
		}
	})
	return out
}

// evalError returns an error wrapping ErrUndefined, or the error of ctx if that
// ended. Of an error of OPA it keeps the code and the place: the text may hold
// facts.
func evalError(ctx context.Context, what string, err error) error {
	var t *topdown.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("policy: %s: %w", what, ctx.Err())
	case topdown.IsCancel(err):
		return fmt.Errorf("%w: %s: it took too long", ErrUndefined, what)
	case errors.As(err, &t) && t.Location != nil:
		return fmt.Errorf("%w: %s: %s at %s:%d", ErrUndefined, what, t.Code, t.Location.File, t.Location.Row)
	case errors.As(err, &t):
		return fmt.Errorf("%w: %s: %s", ErrUndefined, what, t.Code)
	}
	return fmt.Errorf("%w: %s", ErrUndefined, what)
}

package holder

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/passerelle/passerelle/policy"
)

// maxDecided bounds the decisions that are remembered while a set is built: some
// 10 MB. A list of a million people has several ten thousand different facts that
// rules look at, because of the dates of review.
const maxDecided = 1 << 17

// A verdict is what a publication keeps of a decision.
type verdict struct {
	allowed bool
	denied  []string // ids of the rules that denied, each once
}

// decided remembers the decisions about the records of one publication, by the facts
// that rules look at: everything else in the inputs of one publication is the same,
// so records with equal facts have equal decisions. It holds hashes of facts and ids
// of rules, and does not outlive the publication. Its methods may be called
// concurrently.
type decided struct {
	facts  policy.Facts
	unread []int // fields of policy.Record that no rule looks at

	mu       sync.Mutex // guards what follows
	verdicts map[[sha256.Size]byte]*verdict
	shared   map[string]*verdict // one for all that are equal
}

func newDecided(facts policy.Facts) *decided {
	d := &decided{facts: facts, verdicts: make(map[[sha256.Size]byte]*verdict), shared: make(map[string]*verdict)}
	t := reflect.TypeFor[policy.Record]()
	for i := range t.NumField() {
		if !facts.Contain("record", t.Field(i).Tag.Get("json")) {
			d.unread = append(d.unread, i)
		}
	}
	return d
}

// decide asks the publish door about a record, unless it was asked about equal facts
// before. But for the record, all inputs of one decided must be the same.
func (d *decided) decide(ctx context.Context, p Policy, in policy.PublishInput) (*verdict, error) {
	key, err := d.key(in.Record)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	v, ok := d.verdicts[key]
	d.mu.Unlock()
	if ok {
		return v, nil
	}
	decision, err := p.Decide(ctx, in)
	if err != nil {
		return nil, err
	}
	v = &verdict{allowed: decision.Allowed()}
	for _, n := range decision.Denials() {
		v.denied = append(v.denied, n.Rule)
	}
	slices.Sort(v.denied)
	v.denied = slices.Compact(v.denied)
	// Rules that were activated meanwhile may look at other facts.
	if decision.Bundle() != d.facts.Bundle() {
		return v, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name := fmt.Sprint(v.allowed, " ", strings.Join(v.denied, " "))
	if same, ok := d.shared[name]; ok {
		v = same
	}
	d.shared[name] = v
	if len(d.verdicts) >= maxDecided {
		clear(d.verdicts)
	}
	d.verdicts[key] = v
	return v, nil
}

// key returns the hash of the facts of a record that rules look at.
func (d *decided) key(r policy.Record) ([sha256.Size]byte, error) {
	v := reflect.ValueOf(&r).Elem()
	for _, i := range d.unread {
		v.Field(i).SetZero()
	}
	b, err := json.Marshal(&r)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("holder: encoding facts: %w", err)
	}
	return sha256.Sum256(b), nil
}

package budget_test

import (
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/budget"
)

var now = time.Date(2026, 11, 22, 23, 59, 30, 0, time.FixedZone("", 3600)) // 22:59:30 UTC

func use() budget.Use {
	return budget.Use{
		Agreement: "uto-qva", Peer: "b.example", Collection: "watchlist", Purpose: "ct-travel", Unit: [16]byte{1},
		Elements: map[string]int64{"doc": 64, "name+dob": 64},
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	got, err := budget.Plan([]budget.Limit{
		{Collection: "watchlist", Class: "doc", PerDay: 1000, Burst: 100},
		{Collection: "documents", PerDay: 5},
		{Collection: "watchlist", Purpose: "other", PerDay: 5},
		{Collection: "watchlist", Purpose: "ct-travel", PerDay: 2000, PerUnitDay: 500},
	}, use(), now)
	if err != nil {
		t.Fatal(err)
	}
	want := []budget.Charge{
		{"day/2026-11-22/uto-qva/b.example/watchlist/doc/*", 64, 1000, day},
		{"burst/2026-11-22T22:59/uto-qva/b.example/watchlist/doc/*", 64, 100, time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC)},
		{"day/2026-11-22/uto-qva/b.example/watchlist/*/ct-travel", 128, 2000, day},
		{"unit/2026-11-22/uto-qva/b.example/watchlist/*/ct-travel/01000000000000000000000000000000", 128, 500, day},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Plan =\n%v, want\n%v", got, want)
	}
}

// TestPlanScopes changes each part of the scope: each must have its own counter.
func TestPlanScopes(t *testing.T) {
	t.Parallel()
	plan := func(u budget.Use, at time.Time) string {
		t.Helper()
		c, err := budget.Plan([]budget.Limit{{Collection: u.Collection, Purpose: u.Purpose, PerDay: 1, PerUnitDay: 1}}, u, at)
		if err != nil {
			t.Fatal(err)
		}
		return c[1].Counter
	}
	seen := map[string]string{plan(use(), now): "the first"}
	for name, change := range map[string]func(*budget.Use){
		"agreement":            func(u *budget.Use) { u.Agreement = "other" },
		"peer":                 func(u *budget.Use) { u.Peer = "c.example" },
		"collection":           func(u *budget.Use) { u.Collection = "documents" },
		"purpose":              func(u *budget.Use) { u.Purpose = "other" },
		"wildcard as purpose":  func(u *budget.Use) { u.Purpose = "*" },
		"unit":                 func(u *budget.Use) { u.Unit[15] = 1 },
		"separator":            func(u *budget.Use) { u.Agreement, u.Peer = "uto-qva/b", "example" },
		"separator elsewhere":  func(u *budget.Use) { u.Agreement, u.Peer = "uto-qva", "b/example" },
		"escape of separators": func(u *budget.Use) { u.Agreement = "uto-qva%2Fb" },
	} {
		u := use()
		change(&u)
		c := plan(u, now)
		if seen[c] != "" {
			t.Errorf("%s has the counter of %s: %s", name, seen[c], c)
		}
		seen[c] = name
	}
	if c := plan(use(), now.Add(2*time.Hour)); seen[c] != "" {
		t.Errorf("the next day has the counter of %s: %s", seen[c], c)
	}
	if c := plan(use(), now.Add(-22*time.Hour)); seen[c] != "the first" {
		t.Errorf("another hour of the same UTC day has another counter: %s", c)
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		limits []budget.Limit
		change func(*budget.Use)
		want   error
	}{
		{"no limits", nil, nil, budget.ErrUncovered},
		{"one class without a limit", []budget.Limit{{Collection: "watchlist", Class: "doc", PerDay: 9}}, nil, budget.ErrUncovered},
		{"limit of another purpose", []budget.Limit{{Collection: "watchlist", Purpose: "p", PerDay: 9}}, nil, budget.ErrUncovered},
		{"limit of another collection", []budget.Limit{{Collection: "documents", PerDay: 9}}, nil, budget.ErrUncovered},
		{"no elements", []budget.Limit{{Collection: "watchlist", PerDay: 9}}, func(u *budget.Use) { u.Elements = nil }, budget.ErrInvalid},
		{"negative elements", []budget.Limit{{Collection: "watchlist", PerDay: 9}},
			func(u *budget.Use) { u.Elements["doc"] = -1 }, budget.ErrInvalid},
		{"limit of zero", []budget.Limit{{Collection: "watchlist"}}, nil, budget.ErrInvalid},
	}
	for _, tt := range tests {
		u := use()
		if tt.change != nil {
			tt.change(&u)
		}
		if got, err := budget.Plan(tt.limits, u, now); !errors.Is(err, tt.want) || got != nil {
			t.Errorf("%s: Plan = %v, %v, want no charges and %v", tt.name, got, err, tt.want)
		}
	}
}

// TestCrossed checks which thresholds one counter crosses, and that two counters count
// once.
func TestCrossed(t *testing.T) {
	t.Parallel()
	w, e := budget.Warning, budget.Exhausted
	tests := []struct {
		before, after, limit int64
		want                 []budget.Threshold
	}{
		{0, 79, 100, nil},
		{79, 80, 100, []budget.Threshold{w}},
		{80, 99, 100, nil},
		{80, 100, 100, []budget.Threshold{e}},
		{0, 100, 100, []budget.Threshold{w, e}},
		{100, 100, 100, nil},
		{2, 3, 3, []budget.Threshold{w, e}}, // 80 % of 3 is 2.4
		{1, 2, 3, nil},
		{0, 1, 1, []budget.Threshold{w, e}},
		{0, 5, 0, nil},
		{0, math.MaxInt64, math.MaxInt64, []budget.Threshold{w, e}},
	}
	for _, tt := range tests {
		charge := budget.Charge{Amount: tt.after - tt.before, Limit: tt.limit}
		if got := budget.Crossed([]budget.Charge{charge, charge}, []int64{tt.after, tt.after}); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Crossed(from %d to %d of %d) = %v, want %v", tt.before, tt.after, tt.limit, got, tt.want)
		}
	}
	two := []budget.Charge{{Amount: 1, Limit: 100}, {Amount: 1, Limit: 10}}
	if got := budget.Crossed(two, []int64{80, 10}); !reflect.DeepEqual(got, []budget.Threshold{w, e}) {
		t.Errorf("Crossed by two counters = %v, want %v", got, []budget.Threshold{w, e})
	}
	if w.Code() != "BUDGET_WARNING" || e.Code() != "BUDGET_EXHAUSTED" {
		t.Errorf("codes %s and %s", w.Code(), e.Code())
	}
}

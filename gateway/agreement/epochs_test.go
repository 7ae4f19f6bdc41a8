package agreement_test

import (
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
)

// TestEpochs checks when keys are rotated: by the shortest days of an agreement, or by
// the bound of static Diffie-Hellman over all of them, if that is earlier.
func TestEpochs(t *testing.T) {
	t.Parallel()
	created := noon.Add(time.Hour)
	for _, tt := range []struct {
		name       string
		days       int
		age        time.Duration
		perDay     []int64
		collection string
		now        time.Time
		want       int // days; 0 for never
		overlap    time.Duration
	}{
		{"days of the agreement", 30, 12 * time.Hour, []int64{10_000}, "documents", noon, 30, 12 * time.Hour},
		{"not ours", 30, time.Hour, []int64{10_000}, "watchlist", noon, 0, agreement.MaxOverlap},
		{"not in force", 30, time.Hour, []int64{10_000}, "documents", noon.Add(-1), 0, agreement.MaxOverlap},
		{"ended", 30, time.Hour, []int64{10_000}, "documents", noon.AddDate(9, 0, 0), 0, agreement.MaxOverlap},
		{"copies of a week", 30, 7 * 24 * time.Hour, []int64{10_000}, "documents", noon, 30, agreement.MaxOverlap},
		{"budgets of 2^40 in 16 days", 30, time.Hour, []int64{1 << 36}, "documents", noon, 16, time.Hour},
		{"budgets that add up", 30, time.Hour, []int64{1 << 36, 1 << 36}, "documents", noon, 8, time.Hour},
		{"budgets as large as can be", 30, time.Hour, []int64{1 << 40, 1 << 40, 1 << 40}, "documents", noon, 1, time.Hour},
	} {
		a := draft()
		a.Budgets = a.Budgets[:1]
		c := &a.Collections[1]
		c.RotationDays, c.MaxAge = tt.days, agreement.Duration(tt.age)
		c.Round = agreement.Duration(5 * time.Second)
		for i, n := range tt.perDay {
			a.Budgets = append(a.Budgets, agreement.Budget{Collection: "documents", Class: []string{"", "doc"}[min(i, 1)],
				Purpose: []string{"", "", "ct-travel-screening"}[i], PerDay: n, Burst: 1})
		}
		sign(t, a, quavia, "b")
		sign(t, a, utopia, "a")
		r := agreement.NewRegistry(quavia, nil)
		put(t, r, a)
		want := time.Time{}
		if tt.want > 0 {
			want = created.AddDate(0, 0, tt.want)
		}
		if got := r.RotateBy(tt.collection, created, tt.now); !got.Equal(want) {
			t.Errorf("%s: RotateBy = %v, want %v", tt.name, got, want)
		}
		if got := r.RotateBy(tt.collection, time.Time{}, tt.now); !got.IsZero() {
			t.Errorf("%s: RotateBy of a key of unknown age = %v", tt.name, got)
		}
		if got := r.Overlap(tt.collection, tt.now); got != tt.overlap {
			t.Errorf("%s: Overlap = %v, want %v", tt.name, got, tt.overlap)
		}
	}
}

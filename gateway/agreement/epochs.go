package agreement

import (
	"math"
	"time"
)

const (
	// MaxEvaluations is how many elements may be evaluated with the key of one epoch.
	// Whoever gets Q evaluations with one key reduces its security by up to log2(Q)/2
	// bits (static Diffie-Hellman; RFC 9497, Section 7.2.3): by 20 of about 126.
	MaxEvaluations = 1 << 40

	// MaxOverlap is how long at most the key of an epoch is used after the next epoch
	// has begun. A record that was withheld with the new epoch can be found with the
	// old key for as long by an asker that kept the old set.
	MaxOverlap = 24 * time.Hour
)

// RotateBy returns when the key of an epoch of a collection, made at created, must
// have been replaced by that of the next one: after the shortest time that an active
// agreement about the collection names, or when all askers together could have used
// [MaxEvaluations] within their budgets, if that is earlier. It returns the zero time
// if no agreement is active, or created is zero.
func (r *Registry) RotateBy(collection string, created, now time.Time) time.Time {
	if created.IsZero() {
		return time.Time{}
	}
	days, perDay := math.MaxInt, int64(0)
	for _, c := range r.held(collection, now) {
		days = min(days, c.RotationDays)
		perDay = min(perDay+c.perDay, MaxEvaluations)
	}
	if days == math.MaxInt {
		return time.Time{}
	}
	if perDay > 0 {
		days = int(min(int64(days), MaxEvaluations/perDay))
	}
	return created.AddDate(0, 0, days)
}

// Overlap returns how long the key of an epoch is used after the next epoch of the
// collection has begun: as long as a copy of an asker may be used without being
// confirmed, and at most [MaxOverlap].
func (r *Registry) Overlap(collection string, now time.Time) time.Duration {
	overlap := time.Duration(0)
	for _, c := range r.held(collection, now) {
		overlap = max(overlap, time.Duration(c.MaxAge))
	}
	if overlap == 0 {
		return MaxOverlap
	}
	return min(overlap, MaxOverlap)
}

// A heldCollection is what an agreement says of a collection of ours.
type heldCollection struct {
	Collection
	perDay int64 // elements a day that its budgets allow, at most
}

// held returns what the active agreements say of a collection of ours.
func (r *Registry) held(collection string, now time.Time) []heldCollection {
	var all []heldCollection
	for _, info := range r.List(now) {
		if info.State != Active || info.Superseded {
			continue
		}
		for _, c := range info.Agreement.Held(r.self) {
			if c.Name != collection {
				continue
			}
			h := heldCollection{Collection: c}
			for _, b := range info.Agreement.BudgetsOf(collection) {
				// Budgets may be of one class or purpose, and then add up.
				h.perDay = min(h.perDay+b.PerDay, MaxEvaluations)
			}
			all = append(all, h)
		}
	}
	return all
}

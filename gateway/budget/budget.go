// Package budget counts what a neighbour has evaluated, and says when that is too
// much.
//
// # What is counted
//
// Elements, because an element is what a holder evaluates and all that it sees:
// a padded item has one element in every key class, so a lookup of one person in a
// collection of four classes is charged 1 element in each class, and a screening of
// 70 people, padded to 128 items, 128 in each. Padding is charged, since the holder
// cannot tell it from a real element. A retry of the same query is not charged
// again, and a query that fails after it was charged stays charged.
//
// Each class, purpose and collection has its own counters, and so has each
// agreement and each neighbour. A [Limit] makes up to three of them:
//
//	per day      all elements of the scope in one UTC day
//	burst        all elements of the scope in one UTC minute
//	per unit     those of one officer unit, by its pseudonym, in one UTC day
//
// Windows are fixed, not sliding: across the end of a window up to twice the limit
// can pass within a short time. That is the price of one durable counter per
// window, and the limits of an agreement are chosen with it in mind.
//
// # How it is enforced
//
// [Plan] is a pure function from limits and a use to charges. The charges of one
// query are made in one durable transaction, all or none, before anything is
// computed; that transaction is the store's (store.BeginQuery), and a
// [Charge] has the fields of a store.Charge. Afterwards [Crossed] says whether the
// auditors are to be told (RU-11). The asker's gateway counts what it asks by the same
// plan, and enforces nothing: its auditors are told too.
//
// Counter names hold codes and a pseudonym of the unit, no content. All functions
// may be called concurrently.
//
// Out of scope: durability, what an agreement is, who is notified.
package budget

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// BurstWindow is the length of the window of [Limit.Burst].
const BurstWindow = time.Minute

// ErrUncovered is returned for a use of a class that no limit covers: without a
// limit there is no budget, and so no answer.
var ErrUncovered = errors.New("budget: no limit covers the use")

// ErrInvalid is returned for limits and uses that contradict the documentation.
var ErrInvalid = errors.New("budget: invalid")

// A Limit is one line of the budgets of an agreement.
type Limit struct {
	Collection string
	Class      string // key class; "" counts all classes together
	Purpose    string // purpose code; "" counts all purposes together

	PerDay     int64 // elements in a UTC day, positive
	Burst      int64 // elements in a UTC minute; 0 for no such limit
	PerUnitDay int64 // elements of one unit in a UTC day; 0 for no such limit
}

// covers reports whether l counts elements of the class.
func (l *Limit) covers(u *Use, class string) bool {
	return l.Collection == u.Collection && (l.Class == "" || l.Class == class) && (l.Purpose == "" || l.Purpose == u.Purpose)
}

// A Use is what one query would evaluate.
type Use struct {
	Agreement  string
	Peer       string // trust domain of the asker
	Collection string
	Purpose    string
	Unit       [16]byte         // pseudonym of the officer's unit
	Elements   map[string]int64 // by class, padding included
}

// A Charge adds Amount elements to a counter, which must not exceed Limit
// afterwards. After Until the counter is not needed any more.
type Charge struct {
	Counter string
	Amount  int64
	Limit   int64
	Until   time.Time
}

// Plan returns the charges that u needs at now, in the order of limits.
//
// Every limit that covers some of the classes is charged their sum. It returns an
// error wrapping [ErrUncovered], and then no charges, if a class with elements is
// covered by no limit, and one wrapping [ErrInvalid] for a use without elements or
// with negative ones, and for a limit that is not positive.
func Plan(limits []Limit, u Use, now time.Time) ([]Charge, error) {
	if len(u.Elements) == 0 {
		return nil, fmt.Errorf("%w: use without elements", ErrInvalid)
	}
	for _, class := range slices.Sorted(maps.Keys(u.Elements)) {
		if n := u.Elements[class]; n <= 0 || n > 1<<40 {
			return nil, fmt.Errorf("%w: elements of class %q", ErrInvalid, class)
		}
		if !slices.ContainsFunc(limits, func(l Limit) bool { return l.covers(&u, class) }) {
			return nil, fmt.Errorf("%w: class %q of collection %q for purpose %q", ErrUncovered, class, u.Collection, u.Purpose)
		}
	}
	var charges []Charge
	day := now.UTC().Truncate(24 * time.Hour)
	minute := now.UTC().Truncate(BurstWindow)
	for i := range limits {
		l := &limits[i]
		var sum int64
		for class, n := range u.Elements {
			if l.covers(&u, class) {
				sum += n
			}
		}
		if sum == 0 {
			continue
		}
		if l.PerDay <= 0 || l.Burst < 0 || l.PerUnitDay < 0 {
			return nil, fmt.Errorf("%w: limit %d", ErrInvalid, i)
		}
		scope := []string{u.Agreement, u.Peer, u.Collection, l.Class, l.Purpose}
		charges = append(charges, Charge{
			Counter: name("day", day.Format(time.DateOnly), scope...),
			Amount:  sum, Limit: l.PerDay, Until: day.Add(24 * time.Hour),
		})
		if l.Burst > 0 {
			charges = append(charges, Charge{
				Counter: name("burst", minute.Format("2006-01-02T15:04"), scope...),
				Amount:  sum, Limit: l.Burst, Until: minute.Add(BurstWindow),
			})
		}
		if l.PerUnitDay > 0 {
			charges = append(charges, Charge{
				Counter: name("unit", day.Format(time.DateOnly), append(scope, hex.EncodeToString(u.Unit[:]))...),
				Amount:  sum, Limit: l.PerUnitDay, Until: day.Add(24 * time.Hour),
			})
		}
	}
	return charges, nil
}

// name returns the name of a counter:
//
//	kind/window/agreement/peer/collection/class/purpose[/unit]
//
// Each part is escaped as in a URL, so that no two scopes have one name. An empty
// part is "*".
func name(kind, window string, scope ...string) string {
	parts := []string{kind, window}
	for _, s := range scope {
		if s == "" {
			s = "*"
		} else {
			s = url.QueryEscape(s) // escapes "*" and "/", too
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "/")
}

// A Threshold is a part of a limit at which auditors are told, in percent.
type Threshold int

// The thresholds of RU-11.
const (
	Warning   Threshold = 80
	Exhausted Threshold = 100
)

// Code returns the code of a notice about t, as entries and commands have it.
func (t Threshold) Code() string {
	if t == Exhausted {
		return "BUDGET_EXHAUSTED"
	}
	return "BUDGET_WARNING"
}

// Crossed returns the thresholds that a use took its counters past, each once,
// ascending: used are the counters after the charges, in their order. More than one
// counter may cross a threshold at a time, such as that of the minute and that of the
// day; auditors are told once.
func Crossed(charges []Charge, used []int64) []Threshold {
	var crossed []Threshold
	for i, c := range charges {
		for _, t := range passed(used[i]-c.Amount, used[i], c.Limit) {
			if !slices.Contains(crossed, t) {
				crossed = append(crossed, t)
			}
		}
	}
	slices.Sort(crossed)
	return crossed
}

// passed returns which thresholds a counter crossed when it rose from before to
// after, ascending. Each is crossed once per window, because counters only rise.
//
// A use that is refused for its budget does not change the counter, and so crosses
// nothing; the refusal itself is the notice.
func passed(before, after, limit int64) []Threshold {
	if limit <= 0 {
		return nil
	}
	var crossed []Threshold
	for _, t := range []Threshold{Warning, Exhausted} {
		// The smallest count that is at least t percent of limit, without overflow.
		mark := limit/100*int64(t) + (limit%100*int64(t)+99)/100
		if before < mark && after >= mark {
			crossed = append(crossed, t)
		}
	}
	return crossed
}

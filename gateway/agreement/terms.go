package agreement

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

var (
	// ErrUnknown is returned where no agreement, or none that covers the
	// collection, is known.
	ErrUnknown = errors.New("agreement: unknown")

	// ErrExpired, ErrNotYet and ErrSuspended are returned for an agreement that
	// is not active; see [State].
	ErrExpired   = errors.New("agreement: expired")
	ErrNotYet    = errors.New("agreement: not yet in effect")
	ErrSuspended = errors.New("agreement: suspended")

	// ErrParty is returned where a trust domain is not a party.
	ErrParty = errors.New("agreement: not a party")

	// ErrDigest is returned where two sides, or two copies, mean different
	// versions by one id.
	ErrDigest = errors.New("agreement: digests differ")
)

// A State says whether an agreement is active. The zero State is invalid, so a
// forgotten one does not permit anything.
type State uint8

// The states of an agreement.
const (
	Active State = iota + 1
	NotYet
	Expired
	Suspended
)

// String returns the word for people.
func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case NotYet:
		return "not yet"
	case Expired:
		return "expired"
	case Suspended:
		return "suspended"
	}
	return "invalid"
}

// Err returns nil for Active, and otherwise the sentinel that says why not.
func (s State) Err() error {
	switch s {
	case Active:
		return nil
	case NotYet:
		return ErrNotYet
	case Suspended:
		return ErrSuspended
	}
	return ErrExpired
}

// Status returns the state of this version at now. An agreement whose term has
// ended is expired whether or not it is suspended. That a later version took its
// place only the [Registry] knows.
func (a *Agreement) Status(now time.Time, suspended bool) State {
	switch {
	case !now.Before(a.ValidTo):
		return Expired
	case suspended:
		return Suspended
	case now.Before(a.ValidFrom) || now.Before(a.Start):
		return NotYet
	}
	return Active
}

// Party returns the party of a trust domain, or an error wrapping [ErrParty].
func (a *Agreement) Party(trustDomain string) (*Party, error) {
	for i := range a.Parties {
		if a.Parties[i].TrustDomain == trustDomain && trustDomain != "" {
			return &a.Parties[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrParty, trustDomain)
}

// Other returns the party that the one of trustDomain agreed with, or an error
// wrapping [ErrParty].
func (a *Agreement) Other(trustDomain string) (*Party, error) {
	if _, err := a.Party(trustDomain); err != nil {
		return nil, err
	}
	if a.Parties[0].TrustDomain == trustDomain {
		return &a.Parties[1], nil
	}
	return &a.Parties[0], nil
}

// Collection returns the collection with the given name that holder holds, or an
// error wrapping [ErrUnknown].
func (a *Agreement) Collection(holder, name string) (*Collection, error) {
	for i := range a.Collections {
		if a.Collections[i].Name == name && a.Collections[i].Holder == holder {
			return &a.Collections[i], nil
		}
	}
	// Without the name, which may be any text of a peer.
	return nil, fmt.Errorf("%w: no such collection of %q in agreement %q", ErrUnknown, holder, a.ID)
}

// maxKeysPerRecord is how many keys of one class a record may have on average.
const maxKeysPerRecord = 8

// MaxTags returns how many tags one class of c may have, decoys included: eight
// for each of MaxRecords. A holder must not publish more, and an asker refuses a
// set of more.
func (c *Collection) MaxTags() int64 { return c.MaxRecords * maxKeysPerRecord }

// Shown returns an alert kind and an instruction as a label may show them: 0 in
// place of what c does not list.
func (c *Collection) Shown(alert, instruction uint8) (uint8, uint8) {
	if !slices.Contains(c.Labels, "alert-"+strconv.Itoa(int(alert))) {
		alert = 0
	}
	if !slices.Contains(c.Labels, "instruction-"+strconv.Itoa(int(instruction))) {
		instruction = 0
	}
	return alert, instruction
}

// Held returns the collections that the party of trustDomain holds, in order: the
// other party may ask about them.
func (a *Agreement) Held(trustDomain string) []Collection {
	var held []Collection
	for _, c := range a.Collections {
		if c.Holder == trustDomain {
			held = append(held, c)
		}
	}
	return held
}

// Roles returns the names of the collections that each party holds, in order, by
// trust domain. Both parties are in the map.
func (a *Agreement) Roles() map[string][]string {
	roles := make(map[string][]string)
	for i := range a.Parties {
		roles[a.Parties[i].TrustDomain] = []string{}
	}
	for _, c := range a.Collections {
		roles[c.Holder] = append(roles[c.Holder], c.Name)
	}
	return roles
}

// Categories returns the data categories of the collections, each once, in order.
func (a *Agreement) Categories() []string {
	var all []string
	for _, c := range a.Collections {
		if !slices.Contains(all, c.Category) {
			all = append(all, c.Category)
		}
	}
	return all
}

func (a *Agreement) purpose(code string) *Purpose {
	for i := range a.Purposes {
		if a.Purposes[i].Code == code {
			return &a.Purposes[i]
		}
	}
	return nil
}

// PermitsPurpose reports whether the purpose is permitted for the category.
func (a *Agreement) PermitsPurpose(code, category string) bool {
	p := a.purpose(code)
	return p != nil && slices.Contains(p.Categories, category)
}

// PermitsBasis reports whether the asker's register has the legal basis, for the
// purpose and the category.
func (a *Agreement) PermitsBasis(asker, ref, purpose, category string) bool {
	p, err := a.Party(asker)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(p.LegalBases, func(b LegalBasis) bool {
		return b.Ref == ref && slices.Contains(b.Purposes, purpose) && slices.Contains(b.Categories, category)
	})
}

// BudgetsOf returns the budgets of a collection, in order.
func (a *Agreement) BudgetsOf(collection string) []Budget {
	var all []Budget
	for _, b := range a.Budgets {
		if b.Collection == collection {
			all = append(all, b)
		}
	}
	return all
}

// warnings are the numbers of days before the end of the term at which people are
// warned.
var warnings = []int{7, 30, 60}

// A Warning says that an agreement ends soon.
type Warning struct {
	ID      string
	Number  int
	Days    int // 60, 30 or 7: the latest of these marks that was passed
	ValidTo time.Time
}

// Warning returns the warning due at now. There is none earlier than 60 days
// before the end, and none after it.
func (a *Agreement) Warning(now time.Time) (Warning, bool) {
	if !now.Before(a.ValidTo) {
		return Warning{}, false
	}
	for _, days := range warnings {
		if !now.Before(a.ValidTo.AddDate(0, 0, -days)) {
			return Warning{ID: a.ID, Number: a.Number, Days: days, ValidTo: a.ValidTo}, true
		}
	}
	return Warning{}, false
}

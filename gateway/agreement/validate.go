package agreement

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxCollections = 256
	maxClasses     = 32
	maxList        = 1024
	maxDays        = 3660
	maxElements    = 65536 // of one request, over all classes
)

// Validate reports everything that is wrong with a, not only the first thing. A
// draft, an agreement without signatures, may lack key commitments.
func (a *Agreement) Validate() error { return a.validate(len(a.Signatures) > 0) }

// Complete reports whether a may be signed: it is valid and lacks nothing.
func (a *Agreement) Complete() error { return a.validate(true) }

// A checker collects faults.
type checker struct{ errs []error }

func (c *checker) bad(field, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("agreement: %s: "+format, append([]any{field}, args...)...))
}

func (c *checker) code(field, s string) {
	if !isCode(s) {
		c.bad(field, "is not a code: 1 to 64 of a-z, 0-9, -._+, first a letter or digit")
	}
}

// codes checks a list of distinct codes with at least min elements.
func (c *checker) codes(field string, list []string, min int) {
	if len(list) < min {
		c.bad(field, "must name at least %d", min)
	}
	if len(list) > maxList {
		c.bad(field, "names more than %d", maxList)
	}
	seen := make(map[string]bool)
	for i, s := range list {
		c.code(fmt.Sprintf("%s[%d]", field, i), s)
		if seen[s] {
			c.bad(field, "names one twice")
		}
		seen[s] = true
	}
}

func (c *checker) categories(field string, list []string) {
	c.codes(field, list, 1)
	for i, s := range list {
		if !categories[s] {
			c.bad(fmt.Sprintf("%s[%d]", field, i), "is not one of %s", strings.Join(Categories(), ", "))
		}
	}
}

func (c *checker) between(field string, v, lo, hi int64) {
	if v < lo || v > hi {
		c.bad(field, "%d is not between %d and %d", v, lo, hi)
	}
}

func (c *checker) duration(field string, d Duration, lo, hi time.Duration) {
	if v := time.Duration(d); v < lo || v > hi || v%time.Second != 0 {
		c.bad(field, "%v is not between %v and %v in whole seconds", v, Duration(lo), Duration(hi))
	}
}

func (a *Agreement) validate(complete bool) error {
	c := &checker{}
	if a.Version != Version {
		c.bad("version", "%d is not %d", a.Version, Version)
	}
	c.code("id", a.ID)
	c.between("number", int64(a.Number), 1, 1<<31-1)
	if (a.Number == 1) != (a.Supersedes == Digest{}) {
		c.bad("supersedes", "must be set for an amendment, and only for one")
	}
	a.validateParties(c)
	a.validatePurposes(c)
	a.validateCollections(c, complete)
	a.validateBudgets(c)

	c.codes("offence_classes", a.OffenceClasses, 0)
	c.codes("urgencies", a.Urgencies, 1)
	c.codes("profiles", a.Profiles, 0)
	if a.SetScreening.Allowed {
		c.between("set_screening.max_items", int64(a.SetScreening.MaxItems), 1, maxElements)
	} else if a.SetScreening.MaxItems != 0 {
		c.bad("set_screening.max_items", "must be 0 where set screening is not allowed")
	}
	for _, k := range slices.Sorted(maps.Keys(a.Thresholds)) {
		c.code("thresholds", k)
		c.between("thresholds", int64(a.Thresholds[k]), 1, 1<<31-1)
	}
	for _, k := range slices.Sorted(maps.Keys(a.MinQuality)) {
		c.code("min_quality", k)
		c.between("min_quality", int64(a.MinQuality[k]), 0, 100)
	}
	c.between("caps.candidates_per_query", int64(a.Caps.CandidatesPerQuery), 1, 100)
	c.between("caps.searches_per_day", int64(a.Caps.SearchesPerDay), 0, 1_000_000)
	c.between("enumeration_bound_ppm", int64(a.EnumerationBound), 1, 1_000_000)

	r := a.RetentionDays
	c.between("retention_days.without_candidate", int64(r.WithoutCandidate), 1, maxDays)
	c.between("retention_days.with_candidate", int64(r.WithCandidate), int64(max(1, r.WithoutCandidate)), maxDays)
	c.between("retention_days.input_days", int64(r.InputDays), 1, maxDays)

	const longest = 366 * 24 * time.Hour
	c.duration("deadlines.urgent", a.Deadlines.Urgent, time.Minute, longest)
	c.duration("deadlines.ordinary", a.Deadlines.Ordinary, time.Minute, longest)
	c.duration("deadlines.confirmed", a.Deadlines.Confirmed, time.Minute, longest)

	if len(a.Regimes) == 0 || len(a.Regimes) > maxList {
		c.bad("regimes", "must name at least one")
	}
	for i, s := range a.Regimes {
		if !isText(s, 64) || slices.Contains(a.Regimes[:i], s) {
			c.bad(fmt.Sprintf("regimes[%d]", i), "is not 1 to 64 printable ASCII characters, or there twice")
		}
	}
	if len(a.DisabledRules) > maxList {
		c.bad("disabled_rules", "names more than %d", maxList)
	}
	for i, s := range a.DisabledRules {
		if !isText(s, 32) || slices.Contains(a.DisabledRules[:i], s) {
			c.bad(fmt.Sprintf("disabled_rules[%d]", i), "is not 1 to 32 printable ASCII characters, or there twice")
		}
	}
	a.validateDates(c)
	return errors.Join(c.errs...)
}

func (a *Agreement) validateDates(c *checker) {
	for _, d := range []struct {
		field string
		t     time.Time
	}{{"valid_from", a.ValidFrom}, {"valid_to", a.ValidTo}, {"start", a.Start}} {
		if d.t.Nanosecond() != 0 || d.t.UTC().Year() < 2000 || d.t.UTC().Year() > 9999 {
			c.bad(d.field, "is not a date from the year 2000 on in whole seconds")
		}
	}
	if !a.ValidFrom.Before(a.ValidTo) {
		c.bad("valid_to", "is not after valid_from")
	}
	if a.Start.Before(a.ValidFrom) || !a.Start.Before(a.ValidTo) {
		c.bad("start", "is not within the term")
	}
}

func (a *Agreement) validateParties(c *checker) {
	if a.Parties[0].TrustDomain >= a.Parties[1].TrustDomain {
		c.bad("parties", "must be two, in the order of their trust domains")
	}
	for i := range a.Parties {
		p, field := &a.Parties[i], fmt.Sprintf("parties[%d].", i)
		if len(p.Country) != 3 || strings.Trim(p.Country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			c.bad(field+"country", "%q is not three capital letters", p.Country)
		}
		if !isTrustDomain(p.TrustDomain) {
			c.bad(field+"trust_domain", "%q is not a SPIFFE trust domain", p.TrustDomain)
		}
		if !isMember(p.Gateway, p.TrustDomain, "gateway") {
			c.bad(field+"gateway", "%q is not spiffe://<trust domain>/gateway/<name>", p.Gateway)
		}
		c.code(field+"agency_code", p.AgencyCode)
		if p.Agency == "" || len(p.Agency) > 200 || !utf8.ValidString(p.Agency) || strings.ContainsFunc(p.Agency, isControl) {
			c.bad(field+"agency", "is not 1 to 200 bytes of text")
		}
		c.codes(field+"competences", p.Competences, 1)
		if len(p.LegalBases) == 0 || len(p.LegalBases) > maxList {
			c.bad(field+"legal_bases", "must name at least one")
		}
		for j := range p.LegalBases {
			b, field := &p.LegalBases[j], fmt.Sprintf("%slegal_bases[%d].", field, j)
			if !isText(b.Ref, 128) {
				c.bad(field+"ref", "is not 1 to 128 printable ASCII characters")
			}
			if slices.ContainsFunc(p.LegalBases[:j], func(o LegalBasis) bool { return o.Ref == b.Ref }) {
				c.bad(field+"ref", "%q is there twice", b.Ref)
			}
			c.codes(field+"purposes", b.Purposes, 1)
			for _, code := range b.Purposes {
				if a.purpose(code) == nil {
					c.bad(field+"purposes", "%q is not a purpose of the agreement", code)
				}
			}
			c.categories(field+"categories", b.Categories)
		}
	}
}

func (a *Agreement) validatePurposes(c *checker) {
	if len(a.Purposes) == 0 || len(a.Purposes) > maxList {
		c.bad("purposes", "must name at least one")
	}
	for i := range a.Purposes {
		p, field := &a.Purposes[i], fmt.Sprintf("purposes[%d].", i)
		c.code(field+"code", p.Code)
		if slices.ContainsFunc(a.Purposes[:i], func(o Purpose) bool { return o.Code == p.Code }) {
			c.bad(field+"code", "%q is there twice", p.Code)
		}
		c.categories(field+"categories", p.Categories)
	}
}

func (a *Agreement) validateCollections(c *checker, complete bool) {
	if len(a.Collections) == 0 || len(a.Collections) > maxCollections {
		c.bad("collections", "must be 1 to %d", maxCollections)
	}
	for i := range a.Collections {
		l, field := &a.Collections[i], fmt.Sprintf("collections[%d].", i)
		c.code(field+"name", l.Name)
		if slices.ContainsFunc(a.Collections[:i], func(o Collection) bool { return o.Name == l.Name && o.Holder == l.Holder }) {
			c.bad(field+"name", "%q is there twice", l.Name)
		}
		if _, err := a.Party(l.Holder); err != nil {
			c.bad(field+"holder", "%q is not a party", l.Holder)
		}
		if !categories[l.Category] {
			c.bad(field+"category", "%q is not one of %s", l.Category, strings.Join(Categories(), ", "))
		}
		c.codes(field+"classes", l.Classes, 1)
		if len(l.Classes) > maxClasses {
			c.bad(field+"classes", "are more than %d", maxClasses)
		}
		for j, class := range l.Classes {
			if len(class) > 32 {
				c.bad(fmt.Sprintf("%sclasses[%d]", field, j), "is longer than 32 bytes")
			}
		}
		if n := (a.SetScreening.MaxItems + 63) / 64 * 64; n > 0 && n*len(l.Classes) > maxElements {
			c.bad(field+"classes", "%d classes of %d items are more than the %d elements of one request",
				len(l.Classes), n, maxElements)
		}
		if l.Mode != "tagset" {
			c.bad(field+"mode", "%q is not tagset", l.Mode)
		}
		if k, err := hex.DecodeString(l.KeyCommitment); l.KeyCommitment != "" &&
			(err != nil || len(k) != 32 || strings.ToLower(l.KeyCommitment) != l.KeyCommitment) {
			c.bad(field+"key_commitment", "is not 64 lower-case hex digits")
		}
		if l.KeyCommitment == "" && complete {
			c.bad(field+"key_commitment", "is missing: the holder %s adds it before the agreement is signed", l.Holder)
		}
		c.between(field+"max_records", l.MaxRecords, 1, 1<<40)
		c.duration(field+"round", l.Round, 5*time.Second, 24*time.Hour)
		c.duration(field+"max_age", l.MaxAge, max(time.Duration(l.Round), 5*time.Second), 366*24*time.Hour)
		c.between(field+"rotation_days", int64(l.RotationDays), 1, 366)
		c.codes(field+"labels", l.Labels, 0)
	}
}

func (a *Agreement) validateBudgets(c *checker) {
	if len(a.Budgets) > maxList {
		c.bad("budgets", "are more than %d", maxList)
	}
	for i := range a.Budgets {
		b, field := &a.Budgets[i], fmt.Sprintf("budgets[%d].", i)
		var classes []string
		for j := range a.Collections {
			if a.Collections[j].Name == b.Collection {
				classes = append(classes, a.Collections[j].Classes...)
			}
		}
		if len(classes) == 0 {
			c.bad(field+"collection", "%q is not a collection of the agreement", b.Collection)
		}
		if b.Class != "" && !slices.Contains(classes, b.Class) {
			c.bad(field+"class", "%q is not a class of the collection", b.Class)
		}
		if b.Purpose != "" && a.purpose(b.Purpose) == nil {
			c.bad(field+"purpose", "%q is not a purpose of the agreement", b.Purpose)
		}
		if slices.ContainsFunc(a.Budgets[:i], func(o Budget) bool {
			return o.Collection == b.Collection && o.Class == b.Class && o.Purpose == b.Purpose
		}) {
			c.bad(field+"collection", "has this budget twice")
		}
		c.between(field+"per_day", b.PerDay, 1, 1<<40)
		c.between(field+"burst", b.Burst, 1, max(1, b.PerDay))
		c.between(field+"per_unit_day", b.PerUnitDay, 0, max(0, b.PerDay))
	}
	for i := range a.Collections {
		l := &a.Collections[i]
		for _, class := range l.Classes {
			if !slices.ContainsFunc(a.Budgets, func(b Budget) bool {
				return b.Collection == l.Name && (b.Class == "" || b.Class == class)
			}) {
				c.bad("budgets", "none covers class %q of collection %q", class, l.Name)
			}
		}
	}
}

func isControl(r rune) bool {
	return r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError
}

// isCode reports whether s is a code as documented at [Agreement].
func isCode(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '.' || c == '_' || c == '+'):
		default:
			return false
		}
	}
	return true
}

// isText reports whether s is 1 to max printable ASCII characters.
func isText(s string, max int) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return s != "" && len(s) <= max
}

// isTrustDomain reports whether s is the name of a trust domain, SPIFFE-ID,
// Section 2.1.
func isTrustDomain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// isMember reports whether id is spiffe://<trust domain>/<kind>/<name>, with one
// path segment as name, SPIFFE-ID, Section 2.2.
func isMember(id, trustDomain, kind string) bool {
	name, ok := strings.CutPrefix(id, "spiffe://"+trustDomain+"/"+kind+"/")
	if !ok || trustDomain == "" || name == "" || name == "." || name == ".." || len(id) > 2048 {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}

package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// A Class is a kind of lookup key.
type Class string

const (
	ClassDoc      Class = "doc"
	ClassDocDOB   Class = "doc+dob"
	ClassNameDOB  Class = "name+dob"
	ClassNameYear Class = "name+year"
)

// ExactClasses returns the classes of this version, in the order they have in a
// query.
func ExactClasses() []Class { return []Class{ClassDoc, ClassDocDOB, ClassNameDOB, ClassNameYear} }

// A Key is one lookup key: a class, and the canonical encoding described in the
// package comment, at most 512 bytes.
type Key struct {
	Class Class
	Bytes []byte
}

const (
	// MaxYears is how many years of a range of birth give keys: the first ones.
	MaxYears = 30

	// MaxKeys is how many keys a record gives. The rest is reported by Gaps.
	MaxKeys = 4096
)

// newKey encodes a key.
func newKey(class Class, fields ...string) Key {
	n := 1 + len(class) + 2
	for _, f := range fields {
		n += 2 + len(f)
	}
	b := make([]byte, 0, n)
	b = append(b, byte(len(class)))
	b = append(b, class...)
	b = binary.BigEndian.AppendUint16(b, Version)
	for _, f := range fields {
		b = binary.BigEndian.AppendUint16(b, uint16(len(f)))
		b = append(b, f...)
	}
	return Key{Class: class, Bytes: b}
}

// day returns the field for a full date.
func (d Date) day() string { return fmt.Sprintf("%04d%02d%02d", d.Year, d.Month, d.Day) }

// year returns the field for the year of a date.
func (d Date) year() string { return fmt.Sprintf("%04d", d.Year) }

// documentFields returns the normal form of d, or why it has none.
func documentFields(d Document) (fields [3]string, gap string) {
	if d.Number == "" {
		return fields, "no number"
	}
	if !d.Type.Known() {
		return fields, "type unknown"
	}
	issuer, ok := CountryCode(d.Issuer)
	if !ok {
		return fields, "issuing State unknown"
	}
	number, ok := NormalizeDocumentNumber(d.Number)
	if !ok {
		return fields, "number has no normal form: want 1 to 32 letters A-Z and digits"
	}
	return [3]string{string(d.Type), issuer, number}, ""
}

// Keys returns the keys of r: distinct, sorted by class in the order of
// [ExactClasses] and then by bytes. All names are combined with all births, and
// all documents with all births. Low quality aliases give keys too: what they are
// worth is for the agreement to say.
//
// A name gives its normal form, and also the one with bare letters where ICAO Doc
// 9303-3 expands them (MUELLER and MULLER), since a record must be found by a
// traveller who writes either. A Subject has only the first.
//
// A birth gives name+year keys for each of its years, of a range the first
// [MaxYears]. A birth with a full date, From equal to To, gives doc+dob and
// name+dob keys, also when it is approximate: documents carry the date they were
// issued with.
func (r *Record) Keys() []Key {
	keys, _ := r.keys(false)
	return keys
}

// Gaps says what of r gives no key, and why, with positions that count from one
// and without personal data, such as "document 2: issuing State unknown". It is
// empty if every name, birth and document gives keys.
func (r *Record) Gaps() []string {
	_, gaps := r.keys(true)
	return gaps
}

func (r *Record) keys(wantGaps bool) ([]Key, []string) {
	var gaps []string
	gap := func(format string, args ...any) {
		if wantGaps {
			gaps = append(gaps, fmt.Sprintf(format, args...))
		}
	}

	var names []string
	for i, n := range r.Names {
		forms := nameForms(n.Text)
		if len(forms) == 0 {
			gap("name %d: has no form in the letters A-Z", i+1)
		}
		names = append(names, forms...)
	}

	var days, years []string
	for i, b := range r.Births {
		if b.From == b.To && b.From.Known() && b.From.Validate() == nil {
			days = append(days, b.From.day())
		}
		first, last := b.From.Year, b.To.Year
		if first == 0 {
			first = last
		}
		if last == 0 {
			last = first
		}
		switch {
		case first == 0:
			gap("birth %d: no year", i+1)
			continue
		case b.From.Validate() != nil || b.To.Validate() != nil || last < first:
			gap("birth %d: not a valid range", i+1)
			continue
		case b.From.Year == 0 || b.To.Year == 0:
			gap("birth %d: range with one end, only its year gives keys", i+1)
		case last-first >= MaxYears:
			gap("birth %d: range of %d years, only the first %d give keys", i+1, last-first+1, MaxYears)
			last = first + MaxYears - 1
		}
		for y := first; y <= last; y++ {
			years = append(years, Date{Year: y}.year())
		}
	}
	switch {
	case len(names) == 0:
		gap("no name gives a key")
	case len(years) == 0:
		gap("no year of birth: names give no key")
	}

	var documents [][3]string
	for i, d := range r.Documents {
		fields, why := documentFields(d)
		if why != "" {
			gap("document %d: %s", i+1, why)
			continue
		}
		documents = append(documents, fields)
	}

	names, days, years = distinct(names), distinct(days), distinct(years)
	keys := make([]Key, 0, len(documents)*(1+len(days))+len(names)*(len(days)+len(years)))
	for _, d := range documents {
		keys = append(keys, newKey(ClassDoc, d[:]...))
	}
	for _, d := range documents {
		for _, day := range days {
			keys = append(keys, newKey(ClassDocDOB, d[0], d[1], d[2], day))
		}
	}
	for _, n := range names {
		for _, day := range days {
			keys = append(keys, newKey(ClassNameDOB, n, day))
		}
	}
	for _, n := range names {
		for _, y := range years {
			keys = append(keys, newKey(ClassNameYear, n, y))
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		if c := rank(a.Class) - rank(b.Class); c != 0 {
			return c
		}
		return bytes.Compare(a.Bytes, b.Bytes)
	})
	keys = slices.CompactFunc(keys, func(a, b Key) bool { return bytes.Equal(a.Bytes, b.Bytes) })
	if len(keys) > MaxKeys {
		gap("%d keys, only the first %d are used", len(keys), MaxKeys)
		keys = keys[:MaxKeys]
	}
	return keys, gaps
}

// rank returns the place of c in the order of ExactClasses.
func rank(c Class) int {
	switch c {
	case ClassDoc:
		return 0
	case ClassDocDOB:
		return 1
	case ClassNameDOB:
		return 2
	}
	return 3
}

// distinct sorts s and drops repetitions.
func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// Keys returns the keys of s: at most one of each class, in the order of
// [ExactClasses]. It is empty if s has neither a document with type, issuing
// State and number, nor a name with a year of birth.
func (s *Subject) Keys() []Key {
	keys := make([]Key, 0, 4)
	born := s.Birth
	if born.Validate() != nil {
		born = Date{}
	}
	if d, why := documentFields(s.Document); why == "" {
		keys = append(keys, newKey(ClassDoc, d[:]...))
		if born.Known() {
			keys = append(keys, newKey(ClassDocDOB, d[0], d[1], d[2], born.day()))
		}
	}
	if n, ok := NormalizeName(s.Name); ok && !born.IsZero() {
		if born.Known() {
			keys = append(keys, newKey(ClassNameDOB, n, born.day()))
		}
		keys = append(keys, newKey(ClassNameYear, n, born.year()))
	}
	return keys
}

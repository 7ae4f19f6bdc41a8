package record

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrInvalid is returned for a Record or Subject outside the documented limits.
// Its text names fields and positions, never content.
var ErrInvalid = errors.New("record: invalid")

// A checker gathers everything that is wrong, not only the first thing.
type checker struct{ errs []error }

func (c *checker) bad(format string, args ...any) {
	if len(c.errs) < 16 {
		c.errs = append(c.errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
}

func (c *checker) text(field, s string, max int) {
	if len(s) > max {
		c.bad("%s is longer than %d bytes", field, max)
	} else if !utf8.ValidString(s) {
		c.bad("%s is not UTF-8", field)
	}
}

func (c *checker) list(field string, list []string) {
	if len(list) > MaxLines {
		c.bad("%s has more than %d elements", field, MaxLines)
		return
	}
	for i, s := range list {
		c.text(fmt.Sprintf("%s %d", field, i+1), s, MaxText)
	}
}

func (c *checker) date(field string, d Date) {
	if err := d.Validate(); err != nil {
		c.bad("%s: %w", field, err)
	}
}

func (c *checker) country(field, code string) {
	if code == "" {
		return
	}
	if got, ok := CountryCode(code); !ok || got != code {
		c.bad("%s is not a code of ICAO Doc 9303-3", field)
	}
}

func (c *checker) sex(s string) {
	switch s {
	case "", SexMale, SexFemale, SexUnspecified:
	default:
		c.bad("sex is not M, F, X or empty")
	}
}

func (c *checker) document(field string, d Document) {
	if d.Type != "" && !d.Type.Known() {
		c.bad("%s has an unknown type", field)
	}
	c.country(field+" issuing State", d.Issuer)
	c.text(field+" number", d.Number, MaxText)
}

// Validate reports everything that is wrong with r, each error wrapping
// [ErrInvalid]. A valid record has an id, at least one name or document, codes of
// ICAO for States, and dates that exist. It need not give a key: see [Record.Gaps].
func (r *Record) Validate() error {
	var c checker
	if r.ID == "" {
		c.bad("id is missing")
	}
	c.text("id", r.ID, MaxID)
	if len(r.Names) == 0 && len(r.Documents) == 0 {
		c.bad("neither a name nor a document")
	}
	if len(r.Names) > MaxNames || len(r.Births) > MaxBirths || len(r.Documents) > MaxDocuments {
		c.bad("more than %d names, %d births or %d documents", MaxNames, MaxBirths, MaxDocuments)
		return errors.Join(c.errs...)
	}
	for i, n := range r.Names {
		field := fmt.Sprintf("name %d", i+1)
		if n.Text == "" {
			c.bad("%s is empty", field)
		}
		c.text(field, n.Text, MaxText)
		switch n.Quality {
		case QualityUnspecified, QualityGood, QualityLow:
		default:
			c.bad("%s has an unknown quality", field)
		}
		switch n.Kind {
		case NamePrimary, NameAlias, NameOriginal:
		default:
			c.bad("%s has an unknown kind", field)
		}
	}
	for i, b := range r.Births {
		field := fmt.Sprintf("birth %d", i+1)
		c.date(field, b.From)
		c.date(field, b.To)
		if b.From.IsZero() && b.To.IsZero() {
			c.bad("%s says nothing", field)
		}
		if b.To.Year != 0 && b.From.Year > b.To.Year {
			c.bad("%s ends before it begins", field)
		}
	}
	for i, d := range r.Documents {
		c.document(fmt.Sprintf("document %d", i+1), d)
	}
	if len(r.Nationalities) > MaxLines {
		c.bad("nationalities has more than %d elements", MaxLines)
	} else {
		for i, n := range r.Nationalities {
			if n == "" {
				c.bad("nationality %d is empty", i+1)
			}
			c.country(fmt.Sprintf("nationality %d", i+1), n)
		}
	}
	c.sex(r.Sex)
	c.list("place of birth", r.PlacesOfBirth)
	c.list("address", r.Addresses)
	c.list("title", r.Titles)
	c.list("designation", r.Designations)
	c.list("remark", r.Remarks)
	if len(r.Source) > MaxLines {
		c.bad("source has more than %d elements", MaxLines)
	} else {
		for i, f := range r.Source {
			c.text(fmt.Sprintf("source field %d name", i+1), f.Name, MaxCode)
			c.text(fmt.Sprintf("source field %d", i+1), f.Value, MaxText)
		}
	}
	for _, f := range []struct{ name, value string }{
		{"source list", r.SourceList}, {"originator", r.Originator}, {"nominator", r.Nominator},
		{"criterion", r.Criterion}, {"subject category", r.SubjectCategory}, {"protection status", r.ProtectionStatus},
		{"basis", r.Basis}, {"reliability grade", r.ReliabilityGrade}, {"redress state", r.RedressState},
	} {
		c.text(f.name, f.value, MaxCode)
	}
	c.country("country of origin", r.CountryOfOrigin)
	c.date("last verified", r.LastVerified)
	c.date("review by", r.ReviewBy)
	c.date("listed on", r.ListedOn)
	return errors.Join(c.errs...)
}

// Validate reports everything that is wrong with s, each error wrapping
// [ErrInvalid]. A valid subject has a name or a document number, codes of ICAO for
// States, and dates that exist. It need not give a key.
func (s *Subject) Validate() error {
	var c checker
	if s.Name == "" && s.Document.Number == "" {
		c.bad("neither a name nor a document number")
	}
	c.text("name", s.Name, MaxText)
	c.text("reference", s.Ref, MaxID)
	c.date("date of birth", s.Birth)
	c.document("document", s.Document)
	c.country("nationality", s.Nationality)
	c.sex(s.Sex)
	return errors.Join(c.errs...)
}

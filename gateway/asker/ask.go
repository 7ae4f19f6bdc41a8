package asker

import (
	"errors"
	"fmt"

	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
)

// MaxSubjects bounds the subjects of one ask, so that its sealed content fits into
// the largest envelope. An agreement may say less.
const MaxSubjects = 5000

// ErrAsk is returned for an ask outside the documented limits. The text names
// the field and never repeats its content.
var ErrAsk = errors.New("asker: invalid ask")

// An Ask is what an officer wants to know, with the reason for it. All of it is
// secret but the codes that [query.Facts] lists, and all of it goes into the
// content sealed to the country's own auditor.
type Ask struct {
	Request         query.ID // made by the officer's client; a repeated id is refused
	Purpose         string   // code of the agreement
	LegalBasis      string   // reference in our register of the agreement
	OffenceClass    string   // code, may be empty
	Urgency         string   // code; empty means "ordinary"
	CaseReference   string   // at most 128 bytes
	Justification   string   // free text, at most 2048 bytes
	SubjectCategory string   // suspect, convicted, victim, witness_or_contact, missing, other
	ThreatNote      string   // free text, at most 2048 bytes
	Kind            query.Kind
	Subjects        []record.Subject // 1 of them, or 1 to MaxSubjects for a set
	Holders         []string         // trust domains to ask; empty means all neighbours
	Collections     []string         // collections to ask about; empty means all
}

// Digest returns what the officer signs with the officer's own key, see
// [query.Asked.Digest].
func (a *Ask) Digest() [32]byte {
	asked := a.asked()
	return asked.Digest(a.Request)
}

// asked returns what the officer asked in the form in which it is signed and
// sealed.
func (a *Ask) asked() query.Asked {
	q := query.Asked{Purpose: a.Purpose, LegalBasis: a.LegalBasis, OffenceClass: a.OffenceClass, Urgency: a.Urgency,
		CaseReference: a.CaseReference, Justification: a.Justification, SubjectCategory: a.SubjectCategory,
		ThreatNote: a.ThreatNote, Kind: a.Kind.String(), Holders: a.Holders, Collections: a.Collections,
		Subjects: make([]query.AskedSubject, len(a.Subjects))}
	for i := range a.Subjects {
		s := &a.Subjects[i]
		q.Subjects[i] = query.AskedSubject{Ref: s.Ref, Name: s.Name, Birth: s.Birth.String(), DocType: string(s.Document.Type),
			DocIssuer: s.Document.Issuer, DocNumber: s.Document.Number, Nationality: s.Nationality, Sex: s.Sex}
	}
	return q
}

// Validate reports whether a is within the documented limits.
func (a *Ask) Validate() error {
	if a.Request.IsZero() {
		return fmt.Errorf("%w: request id is missing", ErrAsk)
	}
	for _, f := range []struct {
		name, value string
		max         int
	}{
		{"purpose", a.Purpose, 64}, {"legal basis", a.LegalBasis, 128}, {"offence class", a.OffenceClass, 64},
		{"urgency", a.Urgency, 64}, {"case reference", a.CaseReference, 128}, {"justification", a.Justification, 2048},
		{"subject category", a.SubjectCategory, 32}, {"threat note", a.ThreatNote, 2048},
	} {
		if len(f.value) > f.max {
			return fmt.Errorf("%w: %s is longer than %d bytes", ErrAsk, f.name, f.max)
		}
	}
	switch n := len(a.Subjects); {
	case n == 0:
		return fmt.Errorf("%w: no subject", ErrAsk)
	case a.Kind == query.Single && n != 1:
		return fmt.Errorf("%w: %d subjects in a lookup of one; use a screening", ErrAsk, n)
	case a.Kind != query.Single && a.Kind != query.Set:
		return fmt.Errorf("%w: kind is missing", ErrAsk)
	case n > MaxSubjects:
		return fmt.Errorf("%w: %d subjects, at most %d; split the manifest", ErrAsk, n, MaxSubjects)
	}
	for i := range a.Subjects {
		if err := a.Subjects[i].Validate(); err != nil {
			return fmt.Errorf("%w: subject %d: %w", ErrAsk, i+1, err)
		}
		if a.Kind == query.Single && len(a.Subjects[i].Keys()) == 0 {
			return fmt.Errorf("%w: subject %d gives no lookup key: give a document with its issuing State, "+
				"or a name with a year of birth", ErrAsk, i+1)
		}
	}
	return nil
}

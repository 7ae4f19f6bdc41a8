package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// askFlags are the reason of a lookup or screening, and whom to ask.
type askFlags struct {
	purpose, basis, offence, urgency     string
	caseReference, justification, threat string
	category                             string
	holders, collections                 []string
}

func (f *askFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.purpose, "purpose", "", "purpose code of the agreement (required)")
	s.StringVar(&f.basis, "legal-basis", "", "reference of the legal basis in our register (required)")
	s.StringVar(&f.offence, "offence", "", "offence class code")
	s.StringVar(&f.urgency, "urgency", "", "urgency code (default ordinary)")
	s.StringVar(&f.caseReference, "case", "", "reference of the case; stays in the country")
	s.StringVar(&f.justification, "justification", "", "why it is necessary, for the auditor; stays in the country")
	s.StringVar(&f.threat, "threat", "", "what the threat is, if the urgency needs it; stays in the country")
	s.StringVar(&f.category, "category", "", "suspect, convicted, victim, witness_or_contact, missing or other; stays in the country")
	s.StringSliceVar(&f.holders, "holder", nil, "trust domain to ask (default: every neighbour with a fitting agreement)")
	s.StringSliceVar(&f.collections, "collection", nil, "collection to ask about (default: all)")
}

// ask returns the ask of the flags.
func (f *askFlags) ask(cmd *cobra.Command, kind query.Kind, subjects []record.Subject, now time.Time) (*asker.Ask, error) {
	if err := need(cmd, "purpose", "legal-basis"); err != nil {
		return nil, err
	}
	a := &asker.Ask{
		Request: query.NewID(now), Purpose: f.purpose, LegalBasis: f.basis, OffenceClass: f.offence, Urgency: f.urgency,
		CaseReference: f.caseReference, Justification: f.justification, SubjectCategory: f.category, ThreatNote: f.threat,
		Kind: kind, Subjects: subjects, Holders: f.holders, Collections: f.collections,
	}
	if err := a.Validate(); err != nil {
		return nil, usageError{err}
	}
	return a, nil
}

// askMessage returns the reason of an ask as a message.
func askMessage(a *asker.Ask) *passerellev1.Ask {
	return &passerellev1.Ask{
		RequestId: a.Request.String(), Purpose: a.Purpose, LegalBasis: a.LegalBasis, OffenceClass: a.OffenceClass,
		Urgency: a.Urgency, CaseReference: a.CaseReference, Justification: a.Justification, SubjectCategory: a.SubjectCategory,
		ThreatNote: a.ThreatNote, Holders: a.Holders, Collections: a.Collections,
	}
}

// subjectMessage returns a subject as a message, with the very strings that are
// signed.
func subjectMessage(s *record.Subject) *passerellev1.Subject {
	m := &passerellev1.Subject{Ref: s.Ref, Name: s.Name, BirthDate: s.Birth.String(), Nationality: s.Nationality, Sex: s.Sex}
	if s.Document != (record.Document{}) {
		m.Document = &passerellev1.Document{Type: string(s.Document.Type), Issuer: s.Document.Issuer, Number: s.Document.Number}
	}
	return m
}

// signAsk signs an ask with the officer's own key.
func signAsk(c *client, a *asker.Ask) (*passerellev1.OfficerSignature, error) {
	signature, err := c.id.Sign(officer.PurposeAsk, a.Digest())
	if err != nil {
		return nil, err
	}
	return &passerellev1.OfficerSignature{Signature: signature[:]}, nil
}

// subjectFlags are the traveller of a lookup.
type subjectFlags struct{ name, born, document, nationality, sex string }

func (f *subjectFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.name, "name", "", "name as in the document, in any script: \"SURNAME, GIVEN NAMES\"")
	s.StringVar(&f.born, "born", "", "date of birth: YYYY-MM-DD, YYYY-MM or YYYY")
	s.StringVar(&f.document, "document", "", "TYPE:ISSUER:NUMBER, such as passport:UTO:L898902C3 (P, I and V are short forms)")
	s.StringVar(&f.nationality, "nationality", "", "nationality, a code of ICAO 9303 or a name")
	s.StringVar(&f.sex, "sex", "", "F, M or X, as in the document")
}

// documentCodes are the letters with which the codes of machine readable zones
// begin (ICAO Doc 9303-4 to 9303-7).
var documentCodes = map[string]record.DocumentType{
	"P": record.Passport, "I": record.IdentityCard, "ID": record.IdentityCard, "A": record.IdentityCard, "C": record.IdentityCard,
	"V": record.Visa,
}

// subject returns the traveller of the flags. Errors never repeat what was given:
// it is personal data.
func (f *subjectFlags) subject() (record.Subject, error) {
	s := record.Subject{Name: f.name, Sex: strings.ToUpper(f.sex)}
	if f.name == "" && f.document == "" {
		return s, usagef("whom to ask for? give --document, or --name with --born")
	}
	if f.born != "" {
		d, err := record.ParseDate(f.born)
		if err != nil {
			return s, usagef("--born: want YYYY-MM-DD, YYYY-MM or YYYY, of the Gregorian calendar")
		}
		s.Birth = d
	}
	if f.nationality != "" {
		code, ok := record.CountryCode(f.nationality)
		if !ok {
			return s, usagef("--nationality: not a State that is known; want a code of ICAO 9303, such as UTO")
		}
		s.Nationality = code
	}
	if f.document != "" {
		parts := strings.SplitN(f.document, ":", 3)
		if len(parts) != 3 || parts[2] == "" {
			return s, usagef("--document: want TYPE:ISSUER:NUMBER, such as passport:UTO:L898902C3")
		}
		kind := record.DocumentType(strings.ToLower(parts[0]))
		if short, ok := documentCodes[strings.ToUpper(parts[0])]; ok {
			kind = short
		}
		if !kind.Known() {
			return s, usagef("--document: the type is not one of %s", strings.Join(documentTypes(), ", "))
		}
		issuer, ok := record.CountryCode(parts[1])
		if !ok {
			return s, usagef("--document: the issuer is not a State that is known; want a code of ICAO 9303, such as UTO")
		}
		s.Document = record.Document{Type: kind, Issuer: issuer, Number: parts[2]}
	}
	return s, nil
}

func documentTypes() []string {
	var names []string
	for _, t := range record.DocumentTypes() {
		names = append(names, string(t))
	}
	return names
}

func (a *app) lookupCommand() *cobra.Command {
	var reason askFlags
	var who subjectFlags
	c := &cobra.Command{
		Use:   "lookup",
		Short: "Ask the neighbours about one traveller",
		Long: "Asks the neighbours about one traveller. The ask is signed with your own key; your name, the traveller's and every\n" +
			"free text stay in this country, sealed to its auditor. A candidate is a record abroad that may be about the\n" +
			"traveller, and no identity: a person must compare before anything is done.\n\n" +
			"The exit code is 0 only if everybody who was asked answered. A collection that our own rules leave out for this\n" +
			"purpose does not count, if another one was asked.",
		Example: "  passerelle lookup --document passport:UTO:L898902C3 --name 'ERIKSSON, ANNA MARIA' --born 1974-08-12 \\\n" +
			"    --purpose ct-travel-screening --legal-basis 'Border Act s. 12' --case BP-2026-1187 --category other \\\n" +
			"    --justification 'Secondary inspection after a damaged chip'",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			subject, err := who.subject()
			if err != nil {
				return err
			}
			ask, err := reason.ask(cmd, query.Single, []record.Subject{subject}, a.now())
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				signature, err := signAsk(c, ask)
				if err != nil {
					return err
				}
				r, err := c.national().Lookup(ctx, &passerellev1.LookupRequest{Ask: askMessage(ask),
					Subject: subjectMessage(&subject), Signature: signature})
				if err != nil {
					return err
				}
				if a.json {
					err = a.printJSON(r)
				} else {
					err = a.printLookup(r, ask)
				}
				return errors.Join(err, outcome(r.GetResults()))
			})
		},
	}
	who.add(c)
	reason.add(c)
	return c
}

// outcome returns the error of a lookup that is not complete, or nil. What our own
// rules left out does not make it incomplete, if somebody else answered.
func outcome(results []*passerellev1.HolderResult) error {
	worst, leftOut := exitDone, exitDone
	for _, r := range results {
		if r.GetRefusal() == nil {
			continue
		}
		switch exit := explainRefusal(r.GetRefusal()).Code; {
		case r.GetRefusedHere() && exit == exitDenied:
			leftOut = exit
		default:
			worst = worse(worst, exit)
		}
	}
	if answeredBy(results) == 0 {
		worst = worse(worst, worse(exitFailed, leftOut))
	}
	if worst == exitDone {
		return nil
	}
	return exited(worst)
}

// printLookup prints what the neighbours said about one traveller.
func (a *app) printLookup(r *passerellev1.LookupResponse, ask *asker.Ask) error {
	a.outf("Request %s\n\n", printable(r.GetRequestId()))
	switch n := len(r.GetCandidates()); {
	case answeredBy(r.GetResults()) == 0:
		a.outf("Nobody answered%s: nothing is known about the traveller.\n", qualified(r.GetResults()))
	case n == 0:
		a.outf("No candidate%s.\n", qualified(r.GetResults()))
	default:
		a.outf("%s%s. A candidate is a record abroad that may be about the traveller: compare before you act.\n\n",
			plural(n, "candidate"), qualified(r.GetResults()))
		if err := a.tableCandidates(r.GetCandidates(), "  "); err != nil {
			return err
		}
	}
	if len(r.GetObligations()) > 0 {
		a.outf("\n")
		a.printObligations(r.GetObligations(), "")
	}
	return a.printResults(r.GetResults(), ask)
}

// answeredBy returns how many of those who should have answered did.
func answeredBy(results []*passerellev1.HolderResult) int {
	n := 0
	for _, r := range results {
		if r.GetRefusal() == nil {
			n++
		}
	}
	return n
}

// qualified says that a result is not about everybody who should have answered.
func qualified(results []*passerellev1.HolderResult) string {
	switch n := answeredBy(results); {
	case len(results) == 0:
		return ", because no agreement fits"
	case n == 0:
		return ""
	case n < len(results):
		return fmt.Sprintf(" in %d of %d collections; about the others see below", n, len(results))
	}
	return ""
}

// printResults prints what each holder said, and what each side learned.
func (a *app) printResults(results []*passerellev1.HolderResult, ask *asker.Ask) error {
	if len(results) == 0 {
		return nil
	}
	a.outf("\n")
	t := newTable(a.stdout, "", "HOLDER", "COLLECTION", "RESULT", "CANDIDATES", "LIST", "PUBLISHED", "TIME")
	for _, r := range results {
		if r.GetRefusal() != nil {
			t.row(r.GetHolder(), r.GetCollection(), reasonName(r.GetRefusal().GetReason()), "", "", "", "")
			continue
		}
		x := r.GetExchange()
		t.row(r.GetHolder(), r.GetCollection(), "answered", r.GetCandidates(), x.GetListVersion(), shown(x.GetListTime()),
			fmt.Sprintf("%d ms", x.GetDurationMs()))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.GetRefusal() == nil {
			continue
		}
		who := r.GetHolder()
		if r.GetRefusedHere() {
			who = "our own gateway, about " + who
		}
		a.outf("\n")
		explainRefusal(r.GetRefusal()).print(a.stdout, printable(who+", "+r.GetCollection())+": ", "")
	}
	a.outf("\nWhat each side learned:\n")
	for _, r := range results {
		a.printLearned(r, ask)
	}
	return nil
}

// printLearned says what one query told each side. The words follow DESIGN,
// section 2, and are tested.
func (a *app) printLearned(r *passerellev1.HolderResult, ask *asker.Ask) {
	x := r.GetExchange()
	a.outf("  %s, %s", printable(r.GetHolder()), printable(r.GetCollection()))
	switch {
	case r.GetRefusedHere() || x == nil && r.GetQueryId() == "":
		a.outf("\n    nothing was sent: neither side learned anything\n")
		return
	case x == nil:
		a.outf(", query %s\n", printable(r.GetQueryId()))
		a.paragraph("    it was sent:  ",
			"if it arrived, the holder learned who asked, the codes, a padded number of items, and when; we learned nothing")
		return
	}
	a.outf(", query %s\n", printable(r.GetQueryId()))
	codes := []string{"purpose " + ask.Purpose, "legal basis " + ask.LegalBasis}
	if ask.OffenceClass != "" {
		codes = append(codes, "offence "+ask.OffenceClass)
	}
	urgency := ask.Urgency
	if urgency == "" {
		urgency = "ordinary"
	}
	codes = append(codes, "urgency "+urgency, "whether there is a case and a justification")
	items := plural(x.GetPaddedItems(), "item")
	if x.GetPaddedItems() != x.GetItems() {
		items += fmt.Sprintf(" (%d and padding)", x.GetItems())
	}
	a.paragraph("    it learned:   ", fmt.Sprintf("that our gateway and a unit under a pseudonym asked, when, about %s, with the codes %s",
		items, strings.Join(codes, "; ")))
	a.paragraph("    it did not:   ", "who was asked for, the officer, the case, or whether there is a candidate")
	a.paragraph("    we learned:   ", fmt.Sprintf("%s; its list %d of %s has %d tags, decoys included",
		plural(r.GetCandidates(), "candidate"), x.GetListVersion(), shown(x.GetListTime()), x.GetListTags()))
	receipt := "its receipt verified"
	if !x.GetReceiptVerified() {
		receipt = "its receipt did NOT verify"
	}
	if r.GetRefusal() != nil {
		receipt = "it refused"
	}
	a.paragraph("    moved:        ", fmt.Sprintf("%s blinded in %s out, %s in; %s; entries %d and %d of our shared log",
		plural(x.GetElements(), "element"), bytesOf(x.GetBytesUp()), bytesOf(x.GetBytesDown()), receipt, x.GetIntentIndex(),
		x.GetReceiptIndex()))
}

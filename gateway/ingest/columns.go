package ingest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle/passerelle/gateway/record"
)

// A column is what a heading means. Its text is the heading we suggest.
type column string

const (
	other column = "" // kept as a source field

	colID       column = "id"
	colName     column = "name"
	colGiven    column = "given_name"
	colMiddle   column = "middle_name"
	colSurname  column = "surname"
	colAlias    column = "aliases"
	colLowAlias column = "low_quality_aliases"
	colOriginal column = "name_original_script"

	colBirth     column = "date_of_birth"
	colBirthYear column = "year_of_birth"
	colBirthFrom column = "birth_from"
	colBirthTo   column = "birth_to"

	colSex         column = "sex"
	colNationality column = "nationality"

	colDocType    column = "document_type"
	colDocNumber  column = "document_number"
	colDocIssuer  column = "document_issuer"
	colPassport   column = "passport_number"
	colNationalID column = "national_id"
	colIDIssuer   column = "national_id_issuer"

	colPlace       column = "place_of_birth"
	colAddress     column = "address"
	colTitle       column = "title"
	colDesignation column = "designation"
	colRemark      column = "remarks"

	colSourceList  column = "source_list"
	colOriginator  column = "originator"
	colNominator   column = "nominator"
	colCriterion   column = "criterion"
	colCategory    column = "subject_category"
	colProtection  column = "protection_status"
	colOrigin      column = "country_of_origin"
	colBasis       column = "basis"
	colGrade       column = "reliability_grade"
	colVerified    column = "last_verified"
	colReview      column = "review_by"
	colListed      column = "listed_on"
	colRedress     column = "redress_state"
	colKind        column = "alert_kind"
	colInstruction column = "instruction"
	colWeight      column = "weight"
)

// list reports whether several columns may have this meaning, or a cell several
// values.
func (c column) list() bool {
	switch c {
	case colAlias, colLowAlias, colOriginal, colNationality, colPlace, colAddress, colTitle, colDesignation, colRemark:
		return true
	}
	return false
}

// columnOf returns the meaning of a heading.
func columnOf(heading string) column { return columnNames[fold(heading)] }

// columnNames are the spellings of headings, folded. Those of GTAS, of common
// open test data, and of French and Spanish forms are among them.
var columnNames = func() map[string]column {
	m := make(map[string]column)
	for c, spellings := range map[column]string{
		colID:       "id uid recordid recid ref reference referencenumber entryid personid passengerid identifier",
		colName:     "name fullname wholename primaryname completename personname passengername nomcomplet nombrecompleto",
		colGiven:    "givenname givennames firstname firstnames forename forenames prenom prénom prenoms prénoms nombre nombres",
		colMiddle:   "middlename middlenames secondname",
		colSurname:  "surname surnames lastname lastnames familyname familynames nom nomdefamille apellido apellidos",
		colAlias:    "alias aliases aka akas alternativename alternativenames alternatename alternatenames goodaliases othernames",
		colLowAlias: "lowqualityalias lowqualityaliases weakalias weakaliases weakaka lowaliases",
		colOriginal: "nameoriginalscript originalscript originalname nativename nameinoriginalscript",
		colBirth: "dateofbirth dob birthdate birth born birthday datedenaissance datenaissance fechadenacimiento " +
			"fechanacimiento",
		colBirthYear:   "yearofbirth birthyear yob bornyear",
		colBirthFrom:   "birthfrom bornfrom dobfrom birthyearfrom fromyear dateofbirthfrom",
		colBirthTo:     "birthto bornto dobto birthyearto toyear dateofbirthto",
		colSex:         "sex gender sexe sexo genre",
		colNationality: "nationality nationalities citizenship citizenships countryofcitizenship coc nationalite nationalité nacionalidad",
		colDocType:     "documenttype doctype typeofdocument documentkind documentcode traveldocumenttype",
		colDocNumber: "documentnumber docnumber documentno docno numberofdocument traveldocumentnumber traveldocnumber document " +
			"numerodocument numerodocumento",
		colDocIssuer: "documentissuer documentcountry doccountry issuingcountry issuingstate issuer issuedby countryofissue " +
			"issuecountry stateofissue documentissuingcountry documentissuingstate passportcountry passportissuer",
		colPassport:    "passport passportnumber passportno passeport numeropasseport pasaporte",
		colNationalID:  "nationalid nationalidnumber nationalidentificationnumber nationalnumber personalnumber",
		colIDIssuer:    "nationalidissuer nationalidcountry",
		colPlace:       "placeofbirth birthplace pob placesofbirth lieudenaissance lugardenacimiento",
		colAddress:     "address addresses adresse direccion dirección residence",
		colTitle:       "title titles",
		colDesignation: "designation designations position positions",
		colRemark:      "remark remarks comment comments note notes",
		colSourceList:  "sourcelist list listname listtype program programme",
		colOriginator:  "originator", colNominator: "nominator",
		colCriterion:   "criterion criteria",
		colCategory:    "subjectcategory category",
		colProtection:  "protectionstatus protection",
		colOrigin:      "countryoforigin",
		colBasis:       "basis legalbasis",
		colGrade:       "reliabilitygrade reliability grade",
		colVerified:    "lastverified verifiedon lastverifiedon",
		colReview:      "reviewby reviewdate nextreview",
		colListed:      "listedon dateoflisting listingdate datelisted",
		colRedress:     "redressstate redress",
		colKind:        "alertkind",
		colInstruction: "instruction",
		colWeight:      "weight",
	} {
		for s := range strings.FieldsSeq(spellings) {
			if _, twice := m[s]; twice {
				panic("ingest: internal error: heading " + s + " has two meanings")
			}
			m[s] = c
		}
	}
	return m
}()

// person is what records and subjects have in common in a row.
type person struct {
	names         map[column]string // the parts of the primary name
	document      record.Document
	nationalities []string
	sex           string
}

// parse reads the columns that records and subjects share. Values it cannot use
// are given to keep.
func (w row) parse(report *Report, keep func(cell)) (p person, reason string) {
	p.names = make(map[column]string)
	passport := ""
	for _, c := range w.cells {
		switch c.column {
		case colName, colGiven, colMiddle, colSurname:
			p.names[c.column] = strings.Join(strings.Fields(c.value), " ")
		case colDocNumber:
			p.document.Number = c.value
		case colPassport:
			passport = c.value
		case colDocType:
			var ok bool
			if p.document.Type, ok = documentType(c.value); !ok {
				p.document.Type = record.OtherDocument
				keep(c)
				report.note(w.line, "%s: type of document is not known, taken as %q", c.place, record.OtherDocument)
			}
		case colDocIssuer:
			code, ok := record.CountryCode(c.value)
			if !ok {
				keep(c)
				report.note(w.line, "%s: issuing State is not known; use a code of three letters", c.place)
			}
			p.document.Issuer = code
		case colNationality:
			for _, v := range splitList(c.value) {
				code, ok := record.CountryCode(v)
				if !ok {
					keep(cell{c.column, c.head, c.place, v})
					report.note(w.line, "%s: nationality is not known; use a code of three letters", c.place)
				} else if !slices.Contains(p.nationalities, code) {
					p.nationalities = append(p.nationalities, code)
				}
			}
		case colSex:
			var ok bool
			if p.sex, ok = sex(c.value); !ok {
				keep(c)
				report.note(w.line, "%s: sex is not known; use M, F or X", c.place)
			}
		}
	}
	if passport != "" {
		if p.document.Number != "" {
			return p, "a passport number and a document number in two columns: leave one empty"
		}
		p.document.Number = passport
		if p.document.Type == "" {
			p.document.Type = record.Passport
		}
	}
	switch {
	case p.document.Number == "":
		p.document = record.Document{}
	case p.document.Type == "":
		p.document.Type = record.Passport
		if !w.untyped {
			report.note(w.line, "no type of document: taken to be a passport")
		}
	}
	return p, ""
}

// name returns the primary name, and whether the row has one.
func (p person) name() (string, bool) {
	if n := p.names[colName]; n != "" {
		return n, true
	}
	var parts []string
	for _, c := range []column{colGiven, colMiddle, colSurname} {
		if n := p.names[c]; n != "" {
			// A comma in one part must not turn the whole name round.
			parts = append(parts, strings.ReplaceAll(n, ",", " "))
		}
	}
	return strings.Join(parts, " "), len(parts) > 0
}

// splitList splits a cell with several values.
func splitList(s string) []string {
	var out []string
	for v := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ';' || r == '|' || r == '\n' }) {
		if v = strings.Join(strings.Fields(v), " "); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// sex reads a sex.
func sex(s string) (string, bool) {
	switch fold(s) {
	case "m", "male", "man", "masculin", "masculino", "homme":
		return record.SexMale, true
	case "f", "female", "woman", "féminin", "feminin", "femenino", "femme":
		return record.SexFemale, true
	case "x", "unspecified", "nonbinary":
		return record.SexUnspecified, true
	case "u", "unknown", "unk", "notknown":
		return "", true
	}
	return "", false
}

// documentType reads a type of document: our own words, the codes of a machine
// readable zone, and what lists and airlines write.
func documentType(s string) (record.DocumentType, bool) {
	if t := record.DocumentType(strings.ToLower(strings.TrimSpace(s))); t.Known() {
		return t, true
	}
	f := fold(s)
	if len(f) <= 2 {
		switch {
		case f == "":
			return "", false
		case f == "pt", f == "td":
			return record.TravelDocument, true
		case f == "rp", f == "ir", f == "ar":
			return record.ResidencePermit, true
		case f[0] == 'p':
			return record.Passport, true
		case f[0] == 'v':
			return record.Visa, true
		case f[0] == 'i', f[0] == 'a' && len(f) == 1, f[0] == 'c' && len(f) == 1:
			return record.IdentityCard, true
		case f == "o":
			return record.OtherDocument, true
		}
		return "", false
	}
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(f, w) })
	}
	switch {
	case has("passport", "passeport", "pasaporte"):
		return record.Passport, true
	case has("residencepermit", "residencecard", "residentialcard", "titredeséjour", "residenceid"):
		return record.ResidencePermit, true
	case has("traveldocument", "laissezpasser", "titredevoyage", "documentodeviaje", "refugee"):
		return record.TravelDocument, true
	case has("visa"):
		return record.Visa, true
	case has("identitycard", "identificationcard", "idcard", "carteidentité", "cartedidentité", "cartenationaledidentité",
		"cédula", "cedula", "tarjetadeidentidad", "documentonacionaldeidentidad", "tazkira", "personalausweis") &&
		!has("military", "serviceman", "student", "voter", "ration"):
		return record.IdentityCard, true
	case has("nationalid", "nationalnumber", "nationalno", "personalnumber", "personalidentification", "civilidentification",
		"identificationnumber", "numéronationaldidentification", "númeronacionaldeidentidad", "númerodeidentificaciónnacional",
		"socialsecurity", "fiscalcode") && !has("military"):
		return record.NationalID, true
	case f == "other":
		return record.OtherDocument, true
	}
	return "", false
}

// parseDate reads a date in the forms of record.ParseDate, in forms that name the
// month, and in the given order of parts. When the year is plain but the month or
// day does not exist, it returns the year and partly: a slip of the pen must not
// hide the rest.
func parseDate(s string, order DateOrder) (d record.Date, partly, ok bool) {
	if d, err := record.ParseDate(s); err == nil {
		return d, false, true
	}
	if len(s) > 10 && strings.Contains("TZ+- ", s[10:11]) { // a time or a zone after the date
		if d, err := record.ParseDate(s[:10]); err == nil && d.Known() {
			return d, false, true
		}
	}
	s = strings.Join(strings.Fields(s), " ")
	for _, layout := range []string{"2 Jan 2006", "2 January 2006", "02-Jan-2006", "2-Jan-2006", "Jan 2, 2006", "January 2, 2006",
		"2 Jan. 2006", "02Jan2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			d := record.Date{Year: t.Year(), Month: int(t.Month()), Day: t.Day()}
			return d, false, d.Validate() == nil
		}
	}
	for _, layout := range []string{"Jan 2006", "January 2006", "Jan. 2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			d := record.Date{Year: t.Year(), Month: int(t.Month())}
			return d, false, d.Validate() == nil
		}
	}
	if order != DateOrderNone {
		layout := map[DateOrder]string{DateOrderDMY: "2/1/2006", DateOrderMDY: "1/2/2006"}[order]
		if t, err := time.Parse(layout, strings.NewReplacer("-", "/", ".", "/").Replace(s)); err == nil {
			d := record.Date{Year: t.Year(), Month: int(t.Month()), Day: t.Day()}
			return d, false, d.Validate() == nil
		}
	}
	if len(s) == 10 && strings.Contains("-/.", s[4:5]) && s[7] == s[4] || len(s) == 8 {
		_, err := strconv.ParseUint(strings.NewReplacer("-", "", "/", "", ".", "").Replace(s), 10, 32)
		if d, err2 := record.ParseDate(s[:4]); err == nil && err2 == nil {
			return d, true, true
		}
	}
	return record.Date{}, false, false
}

const dateHelp = "use YYYY-MM-DD, or YYYY if only the year is known"

// date reads the date in a cell, and notes when only its year could be used.
func (w row) date(report *Report, c cell, order DateOrder) (record.Date, string) {
	d, partly, ok := parseDate(c.value, order)
	if !ok {
		return d, fmt.Sprintf("%s (%s): not a date; %s", c.place, c.column, dateHelp)
	}
	if partly {
		report.note(w.line, "%s (%s): no such day; only the year is used", c.place, c.column)
	}
	return d, ""
}

// subject turns a row into a subject, or says why it cannot.
func (w row) subject(report *Report) (s record.Subject, reason string) {
	p, reason := w.parse(report, func(cell) {})
	if reason != "" {
		return record.Subject{}, reason
	}
	s = record.Subject{Document: p.document, Sex: p.sex, Ref: fmt.Sprintf("line %d", w.line)}
	s.Name, _ = p.name()
	if len(p.nationalities) > 0 {
		s.Nationality = p.nationalities[0]
	}
	for _, c := range w.cells {
		switch c.column {
		case colID:
			s.Ref = c.value
		case colBirth, colBirthYear:
			if c.column == colBirthYear && !s.Birth.IsZero() {
				continue
			}
			d, reason := w.date(report, c, DateOrderNone)
			if reason != "" {
				return record.Subject{}, reason
			}
			s.Birth = d
		case colNationalID:
			if s.Document.Number == "" {
				s.Document = record.Document{Type: record.NationalID, Issuer: w.idIssuer(), Number: c.value}
			}
		}
	}
	if s.Name == "" && s.Document.Number == "" {
		return record.Subject{}, "neither a name nor a document number"
	}
	return s, ""
}

// idIssuer returns the State of a national identity number, if the row says it.
func (w row) idIssuer() string {
	for _, c := range w.cells {
		if c.column == colIDIssuer {
			code, _ := record.CountryCode(c.value)
			return code
		}
	}
	return ""
}

// record turns a row into a record, or says why it cannot.
func (w row) record(report *Report, order DateOrder) (r record.Record, reason string) {
	keep := func(c cell) {
		head := short(strings.TrimSpace(c.head), record.MaxCode)
		r.Source = append(r.Source, record.Field{Name: head, Value: c.value})
	}
	p, reason := w.parse(report, keep)
	if reason != "" {
		return record.Record{}, reason
	}
	r.Sex, r.Nationalities = p.sex, p.nationalities
	if name, ok := p.name(); ok {
		r.Names = append(r.Names, record.Name{Text: name, Kind: record.NamePrimary})
	}
	if p.names[colName] != "" {
		for _, c := range w.cells { // parts of a name beside the whole of it
			if c.column == colGiven || c.column == colMiddle || c.column == colSurname {
				keep(c)
			}
		}
	}
	if p.document.Number != "" {
		r.Documents = append(r.Documents, p.document)
	}
	var from, to record.Date
	for _, c := range w.cells {
		var date *record.Date
		switch c.column {
		case other:
			keep(c)
		case colID:
			r.ID = c.value
		case colAlias:
			for _, n := range splitList(c.value) {
				r.Names = append(r.Names, record.Name{Text: n, Kind: record.NameAlias})
			}
		case colLowAlias:
			for _, n := range splitList(c.value) {
				r.Names = append(r.Names, record.Name{Text: n, Kind: record.NameAlias, Quality: record.QualityLow})
			}
		case colOriginal:
			for _, n := range splitList(c.value) {
				r.Names = append(r.Names, record.Name{Text: n, Kind: record.NameOriginal})
			}
		case colBirth, colBirthYear:
			for _, v := range splitList(c.value) {
				d, reason := w.date(report, cell{c.column, c.head, c.place, v}, order)
				if reason != "" {
					return record.Record{}, reason
				}
				if b := record.Born(d); !slices.Contains(r.Births, b) {
					r.Births = append(r.Births, b)
				}
			}
		case colBirthFrom:
			date = &from
		case colBirthTo:
			date = &to
		case colNationalID:
			r.Documents = append(r.Documents, record.Document{Type: record.NationalID, Issuer: w.idIssuer(), Number: c.value})
		case colIDIssuer:
			if w.idIssuer() == "" {
				keep(c)
				report.note(w.line, "%s: issuing State is not known; use a code of three letters", c.place)
			}
		case colPlace:
			r.PlacesOfBirth = append(r.PlacesOfBirth, c.value)
		case colAddress:
			r.Addresses = append(r.Addresses, c.value)
		case colTitle:
			r.Titles = append(r.Titles, c.value)
		case colDesignation:
			r.Designations = append(r.Designations, c.value)
		case colRemark:
			r.Remarks = append(r.Remarks, c.value)
		case colSourceList:
			r.SourceList = c.value
		case colOriginator:
			r.Originator = c.value
		case colNominator:
			r.Nominator = c.value
		case colCriterion:
			r.Criterion = c.value
		case colCategory:
			r.SubjectCategory = c.value
		case colProtection:
			r.ProtectionStatus = c.value
		case colOrigin:
			code, ok := record.CountryCode(c.value)
			if !ok {
				// A rule may protect people from a country: do not load without it.
				return record.Record{}, fmt.Sprintf("%s (%s): not a country; use a code of three letters", c.place, c.column)
			}
			r.CountryOfOrigin = code
		case colBasis:
			r.Basis = c.value
		case colGrade:
			r.ReliabilityGrade = c.value
		case colVerified:
			date = &r.LastVerified
		case colReview:
			date = &r.ReviewBy
		case colListed:
			date = &r.ListedOn
		case colRedress:
			r.RedressState = c.value
		case colKind, colInstruction, colWeight:
			limit := uint64(math.MaxUint8)
			if c.column == colWeight {
				limit = math.MaxUint16
			}
			n, err := strconv.ParseUint(c.value, 10, 16)
			if err != nil || n > limit {
				return record.Record{}, fmt.Sprintf("%s (%s): not a number from 0 to %d", c.place, c.column, limit)
			}
			switch c.column {
			case colKind:
				r.AlertKind = uint8(n)
			case colInstruction:
				r.Instruction = uint8(n)
			case colWeight:
				r.Weight = uint16(n)
			}
		}
		if date != nil {
			if *date, reason = w.date(report, c, order); reason != "" {
				return record.Record{}, reason
			}
		}
	}
	if !from.IsZero() || !to.IsZero() {
		r.Births = append(r.Births, record.Birth{From: from, To: to, Approximate: true})
	}
	if len(r.Names) == 0 && len(r.Documents) == 0 {
		return record.Record{}, "neither a name nor a document number"
	}
	return r, ""
}

// contentID derives an id from the normal forms of a record.
func contentID(r *record.Record) string {
	var parts []string
	add := func(kind string, s ...string) { parts = append(parts, kind+"\x00"+strings.Join(s, "\x00")) }
	for _, n := range r.Names {
		if normal, ok := record.NormalizeName(n.Text); ok {
			add("name", normal)
		} else {
			add("text", n.Text)
		}
	}
	for _, b := range r.Births {
		add("birth", b.From.String(), b.To.String())
	}
	for _, d := range r.Documents {
		number, ok := record.NormalizeDocumentNumber(d.Number)
		if !ok {
			number = d.Number
		}
		add("document", string(d.Type), d.Issuer, number)
	}
	for _, n := range r.Nationalities {
		add("nationality", n)
	}
	add("sex", r.Sex)
	slices.SortFunc(parts, cmp.Compare[string])
	parts = slices.Compact(parts)
	h := sha256.New()
	h.Write([]byte("passerelle/v1 content id"))
	for _, p := range parts {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return "c-" + hex.EncodeToString(h.Sum(nil)[:16])
}

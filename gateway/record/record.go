// Package record holds what a country knows of a person, the normal forms of it,
// and the lookup keys by which two countries can find that they know the same
// person or document.
//
// A [Record] is one entry of a collection and may have many names, births and
// documents. A [Subject] is one person an officer asks about, with at most one of
// each. Both are turned into keys, and a record answers for a subject if they
// share a key:
//
//	class       fields                                one key of a record for each
//	doc         document type, issuing State, number  document
//	doc+dob     the same, and a full date of birth    document x full date of birth
//	name+dob    name, and a full date of birth        name x full date of birth
//	name+year   name, and a year of birth             name x year of birth
//
// A key is encoded, in the presentation language of RFC 8446, Section 3, as
//
//	struct {
//	    opaque class<1..2^8-1>;
//	    uint16 version;             // Version, of the normal forms
//	    opaque field<1..2^16-1>[n]; // n and their order are fixed by the class
//	} Key;
//
// There is one encoding of every key, and none is the prefix of another. A date
// of birth is the field "YYYYMMDD", a year "YYYY". The normal form of a name is
// defined at [NormalizeName], of a number at [NormalizeDocumentNumber], of a
// State at [CountryCode]. Both countries must use the same [Version] of them:
// any change to a table of this package that changes a key needs a new one.
//
// Everything in a Record, a Subject and a Key is personal data. These types, and
// Name, Birth, Document and Field, print as a placeholder with package fmt and
// log/slog. Encoding a Record or a Subject with encoding/json gives the content,
// because the store keeps it so: a struct that holds one must not be given to a
// JSON log handler. The errors and gaps of this package give positions, never
// content.
//
// Nothing here is secret from its caller, so nothing is constant time. Values may
// be read concurrently.
//
// Out of scope in this version: keys for variants of a name (order of its parts,
// spelling, sound), names that a machine readable zone has truncated, and keys of
// vehicles, vessels, containers and firearms.
package record

// Version is the version of the normal forms. Both sides of a query must share it.
const Version uint16 = 1

// Limits of the fields of a Record or Subject, in bytes or in elements.
const (
	MaxID        = 128  // bytes of an ID or a Ref
	MaxText      = 8192 // bytes of a name, place, address, remark or source field
	MaxCode      = 128  // bytes of a coded field such as Criterion
	MaxNames     = 512
	MaxBirths    = 128
	MaxDocuments = 256
	MaxLines     = 1024 // elements of any other list
)

// A NameQuality says how well a name identifies the person, in the judgement of
// the source.
type NameQuality string

// The qualities of the UN Consolidated List.
const (
	QualityUnspecified NameQuality = ""
	QualityGood        NameQuality = "good"
	QualityLow         NameQuality = "low"
)

// A NameKind says what a name is to the person.
type NameKind string

const (
	NamePrimary  NameKind = "primary"
	NameAlias    NameKind = "alias"
	NameOriginal NameKind = "original-script" // the name in the person's own script
)

// A Name is one name of a person, as the source writes it.
type Name struct {
	Text    string      `json:"text"`
	Quality NameQuality `json:"quality,omitempty"`
	Kind    NameKind    `json:"kind"`
}

// A Birth is one statement about when a person was born. An exact one has From
// equal to To. Otherwise it is a range, both ends included.
type Birth struct {
	From        Date `json:"from,omitzero"`
	To          Date `json:"to,omitzero"`
	Approximate bool `json:"approximate,omitempty"`
}

// Born returns the Birth of a person born on d, which may lack day or month.
func Born(d Date) Birth { return Birth{From: d, To: d} }

// A DocumentType is the kind of a document. The zero value is not valid: a
// document whose kind is unknown gives no key.
type DocumentType string

const (
	Passport        DocumentType = "passport"
	IdentityCard    DocumentType = "identity-card"
	Visa            DocumentType = "visa"
	TravelDocument  DocumentType = "travel-document" // of a refugee or stateless person, or for one journey
	ResidencePermit DocumentType = "residence-permit"
	NationalID      DocumentType = "national-id" // a personal number, not the number of a card
	OtherDocument   DocumentType = "other"
)

// DocumentTypes returns all valid document types.
func DocumentTypes() []DocumentType {
	return []DocumentType{Passport, IdentityCard, Visa, TravelDocument, ResidencePermit, NationalID, OtherDocument}
}

// Known reports whether t is a valid document type.
func (t DocumentType) Known() bool {
	switch t {
	case Passport, IdentityCard, Visa, TravelDocument, ResidencePermit, NationalID, OtherDocument:
		return true
	}
	return false
}

// A Document is one travel or identity document.
type Document struct {
	Type   DocumentType `json:"type,omitempty"`
	Issuer string       `json:"issuer,omitempty"` // code of ICAO Doc 9303-3, Section 5, such as "FRA" or "D"; empty if unknown
	Number string       `json:"number,omitempty"` // as the source writes it
}

// A Field is something a source says that has no place of its own in a Record.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// The values of Sex, as in a machine readable zone; empty if unknown.
const (
	SexMale        = "M"
	SexFemale      = "F"
	SexUnspecified = "X"
)

// A Record is one person in a collection. Its JSON encoding is what the store
// keeps: a field may be added, but not renamed.
type Record struct {
	ID            string     `json:"id"`
	Names         []Name     `json:"names,omitempty"`
	Births        []Birth    `json:"births,omitempty"`
	Documents     []Document `json:"documents,omitempty"`
	Nationalities []string   `json:"nationalities,omitempty"` // ICAO codes
	Sex           string     `json:"sex,omitempty"`

	PlacesOfBirth []string `json:"places_of_birth,omitempty"`
	Addresses     []string `json:"addresses,omitempty"`
	Titles        []string `json:"titles,omitempty"`
	Designations  []string `json:"designations,omitempty"`
	Remarks       []string `json:"remarks,omitempty"`
	Source        []Field  `json:"source,omitempty"` // all else, so that nothing of a source is dropped

	SourceList       string `json:"source_list,omitempty"`
	Originator       string `json:"originator,omitempty"` // who put the record into the list
	Nominator        string `json:"nominator,omitempty"`
	Criterion        string `json:"criterion,omitempty"`
	SubjectCategory  string `json:"subject_category,omitempty"`
	ProtectionStatus string `json:"protection_status,omitempty"`
	CountryOfOrigin  string `json:"country_of_origin,omitempty"` // ICAO code
	Basis            string `json:"basis,omitempty"`
	ReliabilityGrade string `json:"reliability_grade,omitempty"`
	LastVerified     Date   `json:"last_verified,omitzero"`
	ReviewBy         Date   `json:"review_by,omitzero"`
	ListedOn         Date   `json:"listed_on,omitzero"`
	RedressState     string `json:"redress_state,omitempty"`

	// What a label may carry to another country, if the agreement lists it.
	AlertKind   uint8  `json:"alert_kind,omitempty"`
	Instruction uint8  `json:"instruction,omitempty"`
	Weight      uint16 `json:"weight,omitempty"`
}

// A Subject is one person that is asked about.
type Subject struct {
	Name        string   `json:"name,omitempty"`
	Birth       Date     `json:"birth,omitzero"`
	Document    Document `json:"document,omitzero"`
	Nationality string   `json:"nationality,omitempty"` // ICAO code
	Sex         string   `json:"sex,omitempty"`
	Ref         string   `json:"ref,omitempty"` // the caller's own reference, such as a row of a manifest
}

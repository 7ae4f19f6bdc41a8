package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// A Door is a place where rules stand between a request and an effect.
type Door string

// The five doors. What a door cannot know is not in the type of its input.
const (
	Ask      Door = "ask"      // the asker's side, before anything leaves: sees every fact
	Answer   Door = "answer"   // the holder's side: sees only the facts that travel
	Publish  Door = "publish"  // the holder's side: may this record be exposed to this asker
	Disclose Door = "disclose" // the holder's side, after people confirmed a candidate
	Retain   Door = "retain"   // either side, about data it has: purge, recall, onward, reuse, read_log
)

// An Input is everything that one decision may depend on: an [AskInput],
// [AnswerInput], [PublishInput], [DiscloseInput] or [RetainInput].
//
// An Input holds codes, counts, dates and pseudonyms, and no free text: see
// [Text] and [Ref].
type Input interface {
	// Door returns the door that the input belongs to.
	Door() Door

	// Stored returns the canonical form of the input, which is the very document
	// that the rules evaluate, and its SHA-256 hash. Keep the bytes to replay the
	// decision with [Engine.Replay]; log the hash.
	Stored() ([]byte, [32]byte)
}

// AskInput is the input of the door [Ask]. Self is the asker, Peer the holder.
type AskInput struct {
	Now       Time      `json:"now"`       // when the query is decided
	Agreement Agreement `json:"agreement"` // the agreement in force; zero if there is none
	Self      Gateway   `json:"self"`      // the asker, which is us
	Peer      Gateway   `json:"peer"`      // the holder who would be asked
	Officer   Officer   `json:"officer"`   // who asks
	Query     AskQuery  `json:"query"`     // what is asked
	Subject   Subject   `json:"subject"`   // what is known of the person asked for
}

// AnswerInput is the input of the door [Answer]. Self is the holder, Peer the
// asker. It has no subject and no officer: they do not travel.
type AnswerInput struct {
	Now       Time         `json:"now"`       // when the query is decided
	Agreement Agreement    `json:"agreement"` // the agreement in force; zero if there is none
	Self      Gateway      `json:"self"`      // the holder, which is us
	Peer      Gateway      `json:"peer"`      // the asker, as authenticated
	Query     AnswerQuery  `json:"query"`     // the coded facts that travelled
	Budgets   List[Budget] `json:"budgets"`   // every budget that the query is charged to
	Log       Log          `json:"log"`       // health of our own log
}

// PublishInput is the input of the door [Publish]. Self is the holder, Peer the
// asker to whose tag set or gallery the record would be added.
type PublishInput struct {
	Now        Time      `json:"now"`        // when the set is built
	Agreement  Agreement `json:"agreement"`  // the agreement in force; zero if there is none
	Self       Gateway   `json:"self"`       // the holder, which is us
	Peer       Gateway   `json:"peer"`       // the asker
	Collection string    `json:"collection"` // name in the agreement
	Category   string    `json:"category"`   // data category of the collection
	Record     Record    `json:"record"`     // facts about the record
}

// DiscloseInput is the input of the door [Disclose]. Self is the holder, Peer
// the asker.
type DiscloseInput struct {
	Now       Time           `json:"now"`       // when the request is decided
	Agreement Agreement      `json:"agreement"` // the agreement in force; zero if there is none
	Self      Gateway        `json:"self"`      // the holder, which is us
	Peer      Gateway        `json:"peer"`      // the asker
	Stage     string         `json:"stage"`     // "verify" (comparison material) or "full"
	Query     AnswerQuery    `json:"query"`     // the coded facts of the query that gave the candidate
	Subject   Subject        `json:"subject"`   // what the asker says of the person, from follow-up on
	Record    Record         `json:"record"`    // facts about the record
	Match     Match          `json:"match"`     // how the candidate was found and confirmed
	Approvals List[Approval] `json:"approvals"` // approvals given so far
	Fields    List[string]   `json:"fields"`    // names of the fields that would be disclosed
	Log       Log            `json:"log"`       // health of our own log
}

// RetainInput is the input of the door [Retain]. Which of its groups matter
// depends on Action; the others stay zero.
type RetainInput struct {
	Now       Time           `json:"now"`       // when the action is decided
	Action    Action         `json:"action"`    // what would be done
	Agreement Agreement      `json:"agreement"` // the agreement the data came under; zero for read_log
	Self      Gateway        `json:"self"`      // whoever would act, which is us
	Peer      Gateway        `json:"peer"`      // the originator of the data; zero for read_log
	Category  string         `json:"category"`  // data category of the data
	Reuse     Reuse          `json:"reuse"`     // for the action reuse
	Onward    Onward         `json:"onward"`    // for the action onward
	Reader    Reader         `json:"reader"`    // for the action read_log
	Approvals List[Approval] `json:"approvals"` // approvals given so far
}

// An Action is what a [RetainInput] is about.
type Action string

// The actions of the door [Retain].
const (
	Purge      Action = "purge"    // erase data that was received
	Recall     Action = "recall"   // call back or correct data that was sent
	OnwardTo   Action = "onward"   // pass data that was received to somebody else
	ReuseFor   Action = "reuse"    // use data that was received for another purpose
	ReadingLog Action = "read_log" // read the query log
)

// An Agreement is what the two countries agreed, as far as rules look at it. The
// zero Agreement stands for "there is none" and every rule about one denies.
type Agreement struct {
	ID                  string           `json:"id"`                    // identifier of the agreement
	Digest              Digest           `json:"digest"`                // SHA-256 of its canonical file
	Parties             List[Party]      `json:"parties"`               // the agencies of both sides
	Collections         List[Collection] `json:"collections"`           // what may be searched
	Categories          List[string]     `json:"categories"`            // data categories it covers
	Purposes            List[Purpose]    `json:"purposes"`              // the closed list of purposes
	ValidFrom           Time             `json:"valid_from"`            // first moment in force
	ValidTo             Time             `json:"valid_to"`              // first moment no longer in force
	Suspended           bool             `json:"suspended"`             // suspended by either side
	SetScreeningAllowed bool             `json:"set_screening_allowed"` // a set, such as a flight list, may be screened
	MaxSet              int64            `json:"max_set"`               // most subjects of one set
	Thresholds          Amounts          `json:"thresholds"`            // least score by modality, in thousandths
	MinQuality          Amounts          `json:"min_quality"`           // least probe quality by modality
	RetentionDays       Amounts          `json:"retention_days"`        // days that disclosed data may be kept, by category
	SLA                 Amounts          `json:"sla"`                   // seconds to answer a follow-up, by urgency
	Regimes             List[string]     `json:"regimes"`               // regimes that bind both countries, such as EU-LED
	DisabledRules       List[string]     `json:"disabled_rules"`        // ids of rules switched off under the agreement
}

// A Party is one agency of one side of an agreement, with what its country has
// registered for it.
type Party struct {
	TrustDomain string           `json:"trust_domain"` // SPIFFE trust domain of the country
	Country     string           `json:"country"`      // ISO 3166-1 alpha-3 code
	AgencyCode  string           `json:"agency_code"`  // code of the agency in the agreement
	Competences List[string]     `json:"competences"`  // see [PreventOffences] and the others
	LegalBases  List[LegalBasis] `json:"legal_bases"`  // the register of legal bases
}

// The competences that make an agency one that may receive data, Directive (EU)
// 2016/680, Article 1(1), and border control where an agreement lists it.
// Agencies may have other competences, which do not count.
const (
	PreventOffences     = "prevention"
	InvestigateOffences = "investigation"
	DetectOffences      = "detection"
	ProsecuteOffences   = "prosecution"
	ExecutePenalties    = "execution"
	CounterTerrorism    = "terrorism"
	ControlBorders      = "border_control"
)

// A LegalBasis is a provision of domestic law in the register of a [Party].
type LegalBasis struct {
	Ref        string       `json:"ref"`        // such as "B-Border-Act-2021 s.14(2)"
	Purposes   List[string] `json:"purposes"`   // purpose codes it covers
	Categories List[string] `json:"categories"` // data categories it covers
}

// A Purpose is one of the purposes of an agreement.
type Purpose struct {
	Code       string       `json:"code"`       // such as "ct-travel-screening"
	Categories List[string] `json:"categories"` // data categories that may be asked for it
}

// A Collection is something that may be searched under an agreement.
type Collection struct {
	Name     string       `json:"name"`     // unique in the agreement
	Holder   string       `json:"holder"`   // trust domain of the country that has it
	Category string       `json:"category"` // its data category
	Classes  List[string] `json:"classes"`  // key classes of its tag sets
}

// A Gateway is one of the two sides, as authenticated.
type Gateway struct {
	SPIFFEID              string       `json:"spiffe_id"`               // from the SVID
	TrustDomain           string       `json:"trust_domain"`            // of the SPIFFE ID
	Country               string       `json:"country"`                 // ISO 3166-1 alpha-3 code, by agreement
	AgencyCode            string       `json:"agency_code"`             // agency on whose behalf it acts, by agreement
	RiskFlags             List[string] `json:"country_risk_flags"`      // our own list, such as "torture"
	ProtectionLevel       string       `json:"protection_level"`        // data protection level by our own assessment
	AttestsProbeDeletion  bool         `json:"attests_probe_deletion"`  // deletes probes, with receipts
	OverduePurgeReceipts  int64        `json:"overdue_purge_receipts"`  // purge receipts it owes
	FalseCandidateReports int64        `json:"false_candidate_reports"` // its candidates whose reference did not match
}

// An Officer is who asks, by role and pseudonym. Make one with [NewOfficer].
type Officer struct {
	Pseudonym    Pseudonym    `json:"pseudonym"`     // erasable pseudonym of the officer
	Named        bool         `json:"named"`         // a person, not a shared or technical account
	Unit         Pseudonym    `json:"unit"`          // erasable pseudonym of the unit
	Roles        List[string] `json:"roles"`         // roles in the register
	TrainedUntil Time         `json:"trained_until"` // end of the training's validity
}

// AskQuery is what is asked, as the asker's own side sees it.
type AskQuery struct {
	Collection       string           `json:"collection"`                // name in the agreement
	Category         string           `json:"category"`                  // data category
	PurposeCode      string           `json:"purpose_code"`              // code of the agreement
	LegalBasisRef    string           `json:"legal_basis_ref"`           // reference in the asker's register
	OffenceCode      string           `json:"offence_code"`              // offence class of the agreement
	Urgency          string           `json:"urgency"`                   // code of the agreement
	Kind             string           `json:"kind"`                      // "single" or "set"
	SubjectCount     int64            `json:"subject_count"`             // subjects, before padding
	Modality         string           `json:"modality"`                  // such as "name", "face"; empty for exact keys only
	Profile          string           `json:"profile"`                   // version of the comparison; required with a modality
	Case             Ref              `json:"case_ref"`                  // the case reference, coded
	Justification    Text             `json:"justification"`             // the justification, coded
	NecessityCode    string           `json:"necessity_code"`            // why biometrics are strictly necessary
	Contribution     Text             `json:"contribution_note"`         // why the search will contribute, coded
	PriorChecks      List[PriorCheck] `json:"prior_checks"`              // own databases searched before
	PriorCheckWaiver string           `json:"prior_check_waiver_reason"` // code, if none was searched
}

// A PriorCheck is a search of an own database before asking abroad.
type PriorCheck struct {
	Database string `json:"database"` // code of the database
	Time     Time   `json:"time"`     // when it was searched
	Hit      bool   `json:"hit"`      // whether it knew the subject
}

// AnswerQuery is the coded facts of a query that travel to the holder, and
// nothing else.
type AnswerQuery struct {
	Agreement       string       `json:"agreement"`        // identifier the asker sent
	AgreementDigest Digest       `json:"agreement_digest"` // digest the asker sent
	Collection      string       `json:"collection"`       // name in the agreement
	Category        string       `json:"category"`         // data category
	PurposeCode     string       `json:"purpose_code"`     // code of the agreement
	LegalBasisRef   string       `json:"legal_basis_ref"`  // reference in the asker's register
	OffenceCode     string       `json:"offence_code"`     // offence class of the agreement
	Urgency         string       `json:"urgency"`          // code of the agreement
	Kind            string       `json:"kind"`             // "single" or "set"
	Items           int64        `json:"items"`            // subjects, padded
	Unit            Pseudonym    `json:"unit"`             // pseudonym of the officer's unit
	CaseReference   bool         `json:"case_reference"`   // a case reference is in the sealed content
	Justification   bool         `json:"justification"`    // a justification is in the sealed content
	AskRules        List[string] `json:"ask_rules"`        // rule ids of the asker's signed statement
}

// A Subject is what the asker knows of the person asked for.
type Subject struct {
	Category     string `json:"category"`      // suspect, convicted, victim, witness_or_contact, missing, other
	AgeYears     int64  `json:"age_years"`     // youngest possible age; -1 if not known
	AgeCertainty string `json:"age_certainty"` // "known", "estimated" or "unknown"
	MinorFlag    bool   `json:"minor_flag"`    // is or may be under 18
}

// A Record is the facts about one record that decide who may be shown it. It
// holds nothing of its content.
type Record struct {
	Originator       string       `json:"originator"`         // who supplied it: a trust domain, a country code, or a name
	SourceList       string       `json:"source_list"`        // code of the list; "UN List: " and its name for the UN Consolidated List
	SubjectCategory  string       `json:"subject_category"`   // as in [Subject]
	ProtectionStatus string       `json:"protection_status"`  // "none", "asylum", "refugee", "subsidiary", "minor", "court"
	CountryOfOrigin  string       `json:"country_of_origin"`  // ISO 3166-1 alpha-3 code; empty if not known, or of no State
	NotTo            List[string] `json:"not_to"`             // countries the originator excludes
	Basis            string       `json:"basis"`              // "fact" or "assessment"
	ReliabilityGrade string       `json:"reliability_grade"`  // such as "B2"
	LastVerified     Time         `json:"last_verified"`      // last check
	ReviewBy         Time         `json:"review_by"`          // next review
	CriterionCode    string       `json:"criterion_code"`     // criterion of the listing
	Nominator        string       `json:"nominator"`          // agency that nominated it
	RedressState     string       `json:"redress_state"`      // "none", "contested" or "upheld", of a complaint about the record
	CreatedAt        Time         `json:"created_at"`         // when it was made
	Masked           bool         `json:"masked"`             // identity fields are masked
	State            string       `json:"state"`              // "active", "withdrawn", "corrected", "expired"
	Minor            bool         `json:"minor"`              // the person is or may be under 18; false if nothing says an age
	AlertKind        string       `json:"alert_kind"`         // as agreed
	Instruction      string       `json:"action_instruction"` // as agreed
}

// A Match says how a candidate was found and who confirmed it.
type Match struct {
	Modality        string `json:"modality"`         // such as "name", "face"; empty for exact keys only
	Profile         string `json:"profile"`          // version of the comparison; required with a modality
	Threshold       int64  `json:"threshold"`        // that was applied, in thousandths
	WithinThreshold bool   `json:"within_threshold"` // the comparison was within it
	Scored          bool   `json:"scored"`           // there is a score; biometric search yields none
	Score           int64  `json:"score"`            // in thousandths, if Scored
	Candidates      int64  `json:"candidates_count"` // candidates of the same probe
	Confirmed       bool   `json:"confirmed"`        // people confirmed it
	ConfirmedBy     int64  `json:"confirmed_by"`     // how many trained people, none of them the one who asked
	ConfirmedAt     Time   `json:"confirmed_at"`     // when the last of them did
}

// An Approval is a person's word in a named role.
type Approval struct {
	Role    string    `json:"role"`    // see [RoleLegal] and the others
	Side    string    `json:"side"`    // trust domain of the approver
	Officer Pseudonym `json:"officer"` // pseudonym of the approver
	Unit    Pseudonym `json:"unit"`    // pseudonym of the approver's unit
	Time    Time      `json:"time"`    // when it was given
	Granted bool      `json:"granted"` // false if refused
}

// Reuse is the facts of a wish to use data for another purpose.
type Reuse struct {
	OriginalPurpose string `json:"original_purpose"`  // purpose code the data was received for
	NewPurpose      string `json:"new_purpose"`       // purpose code wished for
	AuthorisedByLaw bool   `json:"authorised_by_law"` // the legal officer says that the law allows it
	LegalBasisRef   string `json:"legal_basis_ref"`   // the provision, in our own register
	Necessity       Text   `json:"necessity_note"`    // why it is necessary and proportionate, coded
}

// Onward is the facts of a wish to pass data on.
type Onward struct {
	Destination string `json:"destination"` // ISO 3166-1 alpha-3 code
	Agency      string `json:"agency"`      // code of the agency
	Reason      Text   `json:"reason"`      // coded
}

// A Reader is who wants to read the log.
type Reader struct {
	Role    string `json:"role"`    // see [RoleAuditor] and [RoleSupervisor]
	Purpose string `json:"purpose"` // see [CheckLawfulness] and the others
}

// Roles that rules look at.
const (
	RoleVerifying       = "verifying_officer"
	RoleLegal           = "legal_officer"
	RoleChildProtection = "child_protection"
	RoleOriginator      = "originator"
	RoleAuditor         = "auditor"
	RoleSupervisor      = "supervisor"
)

// The purposes for which a log may be read, Directive (EU) 2016/680, Article 25(2).
const (
	CheckLawfulness     = "lawfulness"
	SelfMonitoring      = "self_monitoring"
	CheckIntegrity      = "integrity"
	CheckSecurity       = "security"
	CriminalProceedings = "criminal_proceedings"
)

// Log is the health of our own log.
type Log struct {
	WriteOK      bool  `json:"write_ok"`            // it accepts entries
	TimestampAge int64 `json:"timestamp_age_s"`     // seconds since an outside party last vouched for it; 0 if it need not
	MaxAge       int64 `json:"max_timestamp_age_s"` // most seconds allowed by configuration; 0 for the rule's own limit
}

// A Budget is one counter that a query is charged to.
type Budget struct {
	Scope     string `json:"scope"`       // "peer", "agency", "unit", "class", "collection" or another code
	Used      int64  `json:"used"`        // used today, without this query
	Requested int64  `json:"requested"`   // what this query would add
	Limit     int64  `json:"limit"`       // most in one day
	ResetsIn  int64  `json:"resets_in_s"` // seconds until the count starts again
}

// Door implements [Input].
func (AskInput) Door() Door { return Ask }

// Door implements [Input].
func (AnswerInput) Door() Door { return Answer }

// Door implements [Input].
func (PublishInput) Door() Door { return Publish }

// Door implements [Input].
func (DiscloseInput) Door() Door { return Disclose }

// Door implements [Input].
func (RetainInput) Door() Door { return Retain }

// Stored implements [Input].
func (in AskInput) Stored() ([]byte, [32]byte) { return store(Ask, in) }

// Stored implements [Input].
func (in AnswerInput) Stored() ([]byte, [32]byte) { return store(Answer, in) }

// Stored implements [Input].
func (in PublishInput) Stored() ([]byte, [32]byte) { return store(Publish, in) }

// Stored implements [Input].
func (in DiscloseInput) Stored() ([]byte, [32]byte) { return store(Disclose, in) }

// Stored implements [Input].
func (in RetainInput) Stored() ([]byte, [32]byte) { return store(Retain, in) }

// store encodes facts with two more members in front: the version of the
// vocabulary, and the door.
func store(d Door, facts any) ([]byte, [32]byte) {
	body, err := json.Marshal(facts)
	if err != nil {
		// The types above hold nothing that JSON cannot express.
		panic("policy: internal error: encoding an input: " + err.Error())
	}
	b := make([]byte, 0, len(body)+32)
	b = append(b, `{"version":1,"door":"`...)
	b = append(b, d...)
	b = append(b, `",`...)
	b = append(b, body[1:]...)
	return b, sha256.Sum256(b)
}

// A List is a slice that is an array in JSON also when it is nil, so that a rule
// may count it.
type List[T any] []T

// MarshalJSON implements [json.Marshaler].
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Amounts are numbers by code.
type Amounts map[string]int64

// MarshalJSON implements [json.Marshaler]. A nil map is an empty object.
func (a Amounts) MarshalJSON() ([]byte, error) {
	if a == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]int64(a))
}

// A Digest is a SHA-256 hash, in JSON as 64 hexadecimal digits. The zero Digest
// means that there is none, and is the empty string.
type Digest [32]byte

// MarshalText implements [encoding.TextMarshaler].
func (d Digest) MarshalText() ([]byte, error) { return hexOrEmpty(d[:], d == Digest{}), nil }

// A Pseudonym stands for an officer or a unit; the country that made it can
// erase what it stands for. In JSON it is 32 hexadecimal digits. The zero
// Pseudonym means that there is none, and is the empty string.
type Pseudonym [16]byte

// MarshalText implements [encoding.TextMarshaler].
func (p Pseudonym) MarshalText() ([]byte, error) { return hexOrEmpty(p[:], p == Pseudonym{}), nil }

func hexOrEmpty(b []byte, zero bool) []byte {
	if zero {
		return nil
	}
	return hex.AppendEncode(nil, b)
}

// A Time is a moment in whole seconds, UTC. In JSON it is RFC 3339 with the
// fixed form "2026-11-22T18:55:58Z", so that rules compare moments as text. The
// zero Time means that there is none; it is the empty string, which is before
// every moment.
type Time struct {
	s string
}

// NewTime returns t, rounded down to a second. It returns the zero Time for the
// zero t and for years that RFC 3339 cannot express.
func NewTime(t time.Time) Time {
	t = t.UTC()
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return Time{}
	}
	return Time{t.Format("2006-01-02T15:04:05Z")}
}

// String returns the JSON form.
func (t Time) String() string { return t.s }

// MarshalText implements [encoding.TextMarshaler].
func (t Time) MarshalText() ([]byte, error) { return []byte(t.s), nil }

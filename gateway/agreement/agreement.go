// Package agreement defines the agreement between two countries: one canonical
// file that both sign, and the register of the agreements of one gateway.
//
// # The file
//
//	passerelle-agreement/v1
//	{
//	  "version": 1,
//	  ...
//	}
//
//	— <trust domain> <officer ID> <base64>
//	— <trust domain> <officer ID> <base64>
//
// The body is everything up to and including the empty line: a header, then JSON
// with keys in the order of [Agreement], maps sorted by key, two spaces of
// indentation and no escaping of <, > and &. A body has exactly one encoding, and
// Parse accepts no other. Its digest is SHA-256 over a domain string and the body;
// entries of both logs name an agreement by it.
//
// After the body there is at most one line for each party, in the order of the
// parties: an em dash, the party's trust domain, the SPIFFE ID of the legal
// officer who signed, and 161 bytes in standard base64:
//
//	struct {
//	    uint8  version = 1;
//	    opaque officer_key[32];        // Ed25519
//	    opaque officer_signature[64];  // over SigningBytes
//	    opaque gateway_signature[64];  // over attestation
//	} Signature;
//
// The officer signs the digest with their own key. With the second signature the
// gateway of that party states that the key belongs to an enrolled legal officer
// of its country, so that the neighbour needs no register of foreign officers.
// Signatures are not part of the digest. A file without signatures is a draft.
//
// # Amendments
//
// An amendment has the same id, the next number, and the digest of the version it
// supersedes. It takes effect at its Start; until then the older one stays active.
// Suspension is not in the file: either party may suspend at any time, see
// [Registry.Suspend].
//
// # Who learns what
//
// An agreement is known to both parties and to their auditors. It holds no
// personal data besides the SPIFFE IDs of the two officers who signed.
//
// An Agreement must not be changed while others read it; those from a [Registry]
// must not be changed at all. A Registry may be used concurrently.
//
// Out of scope: how an agreement is enforced, where it is stored, who is enrolled
// as a legal officer.
package agreement

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// Version is the version of the format.
	Version = 1

	// MaxSize bounds a file, in bytes.
	MaxSize = 1 << 20

	header = "passerelle-agreement/v1\n"
	domain = "passerelle/v1 agreement\x00"
)

// ErrMalformed is returned for bytes that are not the file of an agreement in its
// one canonical form. It is the fault of whoever sent them.
var ErrMalformed = errors.New("agreement: malformed file")

// A Digest is the SHA-256 digest that names one version of an agreement. The zero
// Digest names none; in a file it is the empty string.
type Digest [32]byte

// String returns the digest in lower-case hex, or "" for the zero Digest.
func (d Digest) String() string {
	if d == (Digest{}) {
		return ""
	}
	return hex.EncodeToString(d[:])
}

// ParseDigest parses the form that [Digest.String] returns, including "".
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if s == "" {
		return d, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return Digest{}, fmt.Errorf("%w: digest", ErrMalformed)
	}
	copy(d[:], b)
	if d.String() != s {
		return Digest{}, fmt.Errorf("%w: digest", ErrMalformed)
	}
	return d, nil
}

// MarshalText and UnmarshalText are the form in a file.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses what MarshalText returned.
func (d *Digest) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDigest(string(b))
	return err
}

// A Duration is a time span of whole seconds. In a file it is a number and one
// unit, the largest that needs no fraction: "48h", "5m", "90s", "0s".
type Duration time.Duration

// String returns the form in a file. Parts below a second are dropped.
func (d Duration) String() string {
	s := int64(time.Duration(d) / time.Second)
	switch {
	case s != 0 && s%3600 == 0:
		return strconv.FormatInt(s/3600, 10) + "h"
	case s != 0 && s%60 == 0:
		return strconv.FormatInt(s/60, 10) + "m"
	}
	return strconv.FormatInt(s, 10) + "s"
}

// MarshalText and UnmarshalText are the form in a file.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses what MarshalText returned.
func (d *Duration) UnmarshalText(b []byte) error {
	unit := map[byte]time.Duration{'h': time.Hour, 'm': time.Minute, 's': time.Second}
	if len(b) < 2 {
		return fmt.Errorf("%w: duration", ErrMalformed)
	}
	u := unit[b[len(b)-1]]
	n, err := strconv.ParseInt(string(b[:len(b)-1]), 10, 32)
	if err != nil || u == 0 || Duration(time.Duration(n)*u).String() != string(b) {
		return fmt.Errorf("%w: duration", ErrMalformed)
	}
	*d = Duration(time.Duration(n) * u)
	return nil
}

// An Agreement is what two countries agreed. The comments say what each field
// means and which values are valid; [Agreement.Validate] checks them.
//
// Codes are 1 to 64 characters from a-z, 0-9 and "-._+", beginning with a letter
// or digit, unless said otherwise.
type Agreement struct {
	// Version is the version of the format, 1.
	Version int `json:"version"`

	// ID names the agreement, across its amendments. A code.
	ID string `json:"id"`

	// Number is 1 for the first version and one more for each amendment.
	Number int `json:"number"`

	// Supersedes is the digest of the version with the number before, and zero
	// for the first.
	Supersedes Digest `json:"supersedes"`

	// Parties are the two countries, in the order of their trust domains.
	Parties [2]Party `json:"parties"`

	// Collections are what may be asked about, at least one, each by a unique name
	// per holder and at most 256.
	Collections []Collection `json:"collections"`

	// Purposes are the permitted purposes, each with the data categories for which
	// it is permitted. At least one.
	Purposes []Purpose `json:"purposes"`

	// OffenceClasses are the codes that a query may name. Empty means that no
	// query has to name one.
	OffenceClasses []string `json:"offence_classes"`

	// Urgencies are the codes of the urgencies a query may have. At least one.
	Urgencies []string `json:"urgencies"`

	// SetScreening says whether many subjects may be asked for at once.
	SetScreening SetScreening `json:"set_screening"`

	// Thresholds are the scores from which a comparison is a candidate, by modality
	// ("name": evidence weight; "face": Hamming distance of the profile). Scores
	// are positive.
	Thresholds map[string]int `json:"thresholds"`

	// MinQuality are the lowest qualities of a biometric probe, 0 to 100, by
	// modality.
	MinQuality map[string]int `json:"min_quality"`

	// Profiles are the codes of the biometric profiles both sides use.
	Profiles []string `json:"profiles"`

	// Caps bound candidates and searches.
	Caps Caps `json:"caps"`

	// Budgets bound the elements that a party may have evaluated. A class of a
	// collection that no budget covers cannot be asked about.
	Budgets []Budget `json:"budgets"`

	// EnumerationBound is the largest part of the likely keys of a class that may
	// be asked for within an epoch, in parts per million. 1 to 1,000,000.
	EnumerationBound int `json:"enumeration_bound_ppm"`

	// RetentionDays say how long each side keeps what.
	RetentionDays Retention `json:"retention_days"`

	// Deadlines are the times to answer a request for disclosure.
	Deadlines Deadlines `json:"deadlines"`

	// Regimes are the legal regimes whose rules apply, such as "UN" or "EU-LED":
	// 1 to 64 printable ASCII characters each. At least one.
	Regimes []string `json:"regimes"`

	// DisabledRules are the ids of rules both sides agreed to switch off, "RU-07".
	DisabledRules []string `json:"disabled_rules"`

	// Strict demands a checkpoint cosigned by a witness that is neither party
	// before anything is answered.
	Strict bool `json:"strict"`

	// ValidFrom and ValidTo are the term: valid at ValidFrom, not any more at
	// ValidTo. UTC, whole seconds.
	ValidFrom time.Time `json:"valid_from"`
	ValidTo   time.Time `json:"valid_to"`

	// Start is when this version takes effect, within the term.
	Start time.Time `json:"start"`

	// Signatures are of the parties, at most one each. They are no part of the
	// body and its digest.
	Signatures []Signature `json:"-"`
}

// A Party is one of the two countries.
type Party struct {
	// Country is the ICAO 9303 code of the State, three capital letters.
	Country string `json:"country"`

	// TrustDomain is its SPIFFE trust domain.
	TrustDomain string `json:"trust_domain"`

	// Gateway is the SPIFFE ID of its gateway, within the trust domain.
	Gateway string `json:"gateway"`

	// AgencyCode and Agency name the authority. Agency is for people, at most 200
	// bytes of UTF-8.
	AgencyCode string `json:"agency_code"`
	Agency     string `json:"agency"`

	// Competences are the codes of what the authority is competent for (RU-02). At
	// least one.
	Competences []string `json:"competences"`

	// LegalBases are the register of provisions that a query of this party may name
	// (RU-04). At least one.
	LegalBases []LegalBasis `json:"legal_bases"`
}

// A LegalBasis is a provision of domestic law, with the purposes and categories
// it covers.
type LegalBasis struct {
	// Ref is the reference, 1 to 128 printable ASCII characters.
	Ref string `json:"ref"`

	Purposes   []string `json:"purposes"`
	Categories []string `json:"categories"`
}

// A Collection is one list of a holder.
type Collection struct {
	Name string `json:"name"`

	// Holder is the trust domain of the party that holds it. The other one asks.
	Holder string `json:"holder"`

	// Category is the data category, one of [Categories].
	Category string `json:"category"`

	// Classes are the key classes, in the order of a request. 1 to 32.
	Classes []string `json:"classes"`

	// Mode says how a query is answered. "tagset" is the only one.
	Mode string `json:"mode"`

	// KeyCommitment is the holder's public OPRF key of the first epoch, in
	// lower-case hex. A later epoch's key is committed in the chain of signed
	// manifests that begins with this one. It may be empty in a draft only.
	KeyCommitment string `json:"key_commitment"`

	// MaxRecords bounds what the holder may publish, padding included: a holder
	// that shows more breaks the agreement. Positive.
	MaxRecords int64 `json:"max_records"`

	// MaxAge is the oldest copy the asker may match with. At least Round.
	MaxAge Duration `json:"max_age"`

	// Round is the cadence of updates. At least 5s.
	Round Duration `json:"round"`

	// RotationDays is the longest life of an epoch's key, 1 to 366.
	RotationDays int `json:"rotation_days"`

	// Labels are the alert kinds and instructions that a label may show, as
	// "alert-3" and "instruction-7" for the holder's codes 3 and 7. Empty means
	// none. What is not listed is left out of the label by the holder, and not
	// shown by the asker.
	Labels []string `json:"labels"`
}

// A Purpose is a purpose code with the data categories it is permitted for.
type Purpose struct {
	Code       string   `json:"code"`
	Categories []string `json:"categories"`
}

// SetScreening says whether and how many subjects may be in one request.
type SetScreening struct {
	Allowed bool `json:"allowed"`

	// MaxItems is positive if Allowed, and 0 otherwise.
	MaxItems int `json:"max_items"`
}

// Caps bound what one query and one day may yield.
type Caps struct {
	CandidatesPerQuery int `json:"candidates_per_query"` // 1 to 100
	SearchesPerDay     int `json:"searches_per_day"`     // biometric searches, 0 or more
}

// A Budget bounds the elements of one collection that the asker may have
// evaluated. An empty Class or Purpose means that all of them are counted
// together.
type Budget struct {
	Collection string `json:"collection"`
	Class      string `json:"class"`
	Purpose    string `json:"purpose"`

	PerDay     int64 `json:"per_day"`      // elements in a UTC day, positive
	Burst      int64 `json:"burst"`        // elements in a UTC minute, 1 to PerDay
	PerUnitDay int64 `json:"per_unit_day"` // elements of one unit in a UTC day, 0 for no such limit
}

// Retention says, in days, how long sealed content is kept for queries without
// and with a candidate, and how long policy inputs are kept.
type Retention struct {
	WithoutCandidate int `json:"without_candidate"` // 1 to 3660
	WithCandidate    int `json:"with_candidate"`    // WithoutCandidate to 3660
	InputDays        int `json:"input_days"`        // 1 to 3660
}

// Deadlines are the times within which a request is answered, by its urgency, and
// the core data after a confirmed match (RU-30).
type Deadlines struct {
	Urgent    Duration `json:"urgent"`
	Ordinary  Duration `json:"ordinary"`
	Confirmed Duration `json:"confirmed"`
}

// Categories are the data categories of the rule catalogue.
var categories = map[string]bool{
	"biometric": true, "document": true, "watchlist": true, "api": true,
	"pnr": true, "vehicle": true, "cargo": true, "firearm": true,
}

// Categories returns the data categories that a collection may have, sorted.
func Categories() []string {
	return []string{"api", "biometric", "cargo", "document", "firearm", "pnr", "vehicle", "watchlist"}
}

// New returns a draft between two parties that begins at from and ends a year
// later, with the defaults of the design for limits, retention and deadlines. The
// caller adds collections (see [NewCollection]), purposes, legal bases and
// budgets, and calls [Agreement.Validate].
func New(id string, a, b Party, from time.Time) *Agreement {
	if b.TrustDomain < a.TrustDomain {
		a, b = b, a
	}
	from = from.UTC().Truncate(time.Second)
	return &Agreement{
		Version:          Version,
		ID:               id,
		Number:           1,
		Parties:          [2]Party{a, b},
		Urgencies:        []string{"ordinary", "urgent", "immediate_threat"},
		SetScreening:     SetScreening{Allowed: true, MaxItems: 1024},
		Thresholds:       map[string]int{},
		MinQuality:       map[string]int{},
		Caps:             Caps{CandidatesPerQuery: 10, SearchesPerDay: 100},
		EnumerationBound: 10_000,
		RetentionDays:    Retention{WithoutCandidate: 30, WithCandidate: 180, InputDays: 30},
		Deadlines: Deadlines{Urgent: Duration(time.Hour), Ordinary: Duration(24 * time.Hour),
			Confirmed: Duration(48 * time.Hour)},
		Regimes:   []string{"UN"},
		ValidFrom: from,
		ValidTo:   from.AddDate(1, 0, 0),
		Start:     from,
	}
}

// NewCollection returns a collection with the defaults of the design: tag sets
// renewed every 5 minutes, not used when older than a day, keys of 30 days.
func NewCollection(name, holder, category string, classes ...string) Collection {
	return Collection{
		Name: name, Holder: holder, Category: category, Classes: classes, Mode: "tagset",
		MaxRecords: 1_000_000, MaxAge: Duration(24 * time.Hour), Round: Duration(5 * time.Minute), RotationDays: 30,
	}
}

// Amend returns a draft of the next version of a, to take effect at start. It
// shares nothing with a.
func (a *Agreement) Amend(start time.Time) *Agreement {
	next := a.clone()
	next.Number++
	next.Supersedes = a.Digest()
	next.Start = start.UTC().Truncate(time.Second)
	next.Signatures = nil
	return next
}

// clone returns a deep copy, with empty instead of nil slices and maps.
func (a *Agreement) clone() *Agreement {
	c := *a
	for i := range c.Parties {
		p := &c.Parties[i]
		p.Competences = list(p.Competences)
		p.LegalBases = list(p.LegalBases)
		for j := range p.LegalBases {
			b := &p.LegalBases[j]
			b.Purposes, b.Categories = list(b.Purposes), list(b.Categories)
		}
	}
	c.Collections = list(c.Collections)
	for i := range c.Collections {
		l := &c.Collections[i]
		l.Classes, l.Labels = list(l.Classes), list(l.Labels)
	}
	c.Purposes = list(c.Purposes)
	for i := range c.Purposes {
		c.Purposes[i].Categories = list(c.Purposes[i].Categories)
	}
	c.OffenceClasses, c.Urgencies = list(c.OffenceClasses), list(c.Urgencies)
	c.Thresholds, c.MinQuality = table(c.Thresholds), table(c.MinQuality)
	c.Profiles, c.Budgets = list(c.Profiles), list(c.Budgets)
	c.Regimes, c.DisabledRules = list(c.Regimes), list(c.DisabledRules)
	c.ValidFrom, c.ValidTo, c.Start = c.ValidFrom.UTC(), c.ValidTo.UTC(), c.Start.UTC()
	if c.Signatures != nil {
		c.Signatures = list(c.Signatures)
	}
	return &c
}

func list[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

func table(m map[string]int) map[string]int {
	c := make(map[string]int, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Body returns the part of the file that is signed. Nil slices and maps are
// written as empty ones. It panics if a date has a year that RFC 3339 cannot
// write; [Agreement.Validate] refuses those.
func (a *Agreement) Body() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(a.clone()); err != nil {
		panic("agreement: internal error: encoding: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// Digest returns the digest of the body. Signatures do not change it.
func (a *Agreement) Digest() Digest {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(a.Body())
	return Digest(h.Sum(nil))
}

// Bytes returns the file: the body and the signatures there are.
func (a *Agreement) Bytes() []byte {
	b := a.Body()
	for i := range a.Signatures {
		b = append(b, a.Signatures[i].line()...)
	}
	return b
}

// Parse parses a file, signed or not. It accepts exactly what [Agreement.Bytes]
// returns, and returns an error wrapping [ErrMalformed] for everything else. It
// checks the form only: see [Agreement.Validate] for the content, and
// [Agreement.CheckSignatures].
func Parse(file []byte) (*Agreement, error) {
	bad := func(what string) (*Agreement, error) { return nil, fmt.Errorf("%w: %s", ErrMalformed, what) }
	if len(file) > MaxSize {
		return bad("too large")
	}
	rest, ok := bytes.CutPrefix(file, []byte(header))
	if !ok {
		return bad("header")
	}
	// JSON as we indent it has no empty line, not even in a string.
	text, lines, ok := bytes.Cut(rest, []byte("\n\n"))
	if !ok {
		return bad("no empty line after the body")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var a Agreement
	if err := d.Decode(&a); err != nil {
		return bad("body") // the cause may quote the content
	}
	for _, t := range []time.Time{a.ValidFrom, a.ValidTo, a.Start} {
		if y := t.UTC().Year(); y < 0 || y > 9999 {
			return bad("date")
		}
	}
	for line := range strings.Lines(string(lines)) {
		s, err := parseSignature(line)
		if err != nil {
			return nil, err
		}
		if len(a.Signatures) == len(a.Parties) {
			return bad("too many signatures")
		}
		a.Signatures = append(a.Signatures, s)
	}
	if err := a.ordered(); err != nil {
		return nil, err
	}
	if !bytes.Equal(a.Bytes(), file) {
		return bad("not in canonical form")
	}
	return &a, nil
}

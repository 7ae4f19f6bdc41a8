package entry

import (
	"fmt"
	"math/bits"
	"strings"
)

// A Kind says what an Entry records. The zero Kind is invalid.
type Kind uint8

// The kinds of entries. Their numbers are part of the format and never reused.
const (
	KindIntent            Kind = 1  // asker: a query is about to be sent, or was refused by our own policy
	KindDecision          Kind = 2  // holder: a query was allowed or denied
	KindFailure           Kind = 3  // either: what an intent or a decision announced did not happen
	KindReceipt           Kind = 4  // asker: the holder's answer was verified
	KindManifestPublished Kind = 5  // holder: a version of a collection was published to an asker
	KindManifestAccepted  Kind = 6  // asker: the same version was taken into use
	KindBundleActivated   Kind = 7  // a policy bundle came into force
	KindAgreement         Kind = 8  // an agreement was signed, accepted, suspended, resumed or ended
	KindFederation        Kind = 9  // a peer was added or changed, or its federation ended
	KindRegister          Kind = 10 // the register of officers changed
	KindOutcome           Kind = 11 // internal: what the asker found
	KindRead              Kind = 12 // internal: somebody read audit content or a candidate
	KindBudgetNotice      Kind = 13 // internal: a share of a budget is used up
	KindStarted           Kind = 14 // a gateway opened this log
	KindRecovery          Kind = 15 // first entry of a log that continues a lost one
	KindEpoch             Kind = 16 // holder: an epoch of a collection began, or its key was destroyed
)

// kinds are the names of all kinds, as in JSON and the command line.
var kinds = [...]string{
	KindIntent:            "intent",
	KindDecision:          "decision",
	KindFailure:           "failure",
	KindReceipt:           "receipt",
	KindManifestPublished: "manifest_published",
	KindManifestAccepted:  "manifest_accepted",
	KindBundleActivated:   "bundle_activated",
	KindAgreement:         "agreement",
	KindFederation:        "federation",
	KindRegister:          "register",
	KindOutcome:           "outcome",
	KindRead:              "read",
	KindBudgetNotice:      "budget_notice",
	KindStarted:           "started",
	KindRecovery:          "recovery",
	KindEpoch:             "epoch",
}

// String returns the name of k, or "invalid".
func (k Kind) String() string { return name(kinds[:], int(k)) }

// ParseKind returns the Kind with the given name.
func ParseKind(s string) (Kind, error) {
	for k, n := range kinds {
		if n == s && n != "" {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("%w: unknown kind", ErrMalformed)
}

// Internal reports whether entries of kind k say, or exist only because of, what
// a query found or who looked at it. They must not be in a log whose size or
// entries another country can see.
func (k Kind) Internal() bool {
	return k == KindOutcome || k == KindRead || k == KindBudgetNotice
}

// A Direction says on which side of a query a gateway was.
type Direction uint8

// The directions. The zero Direction is for entries that are not about a query.
const (
	DirectionNone     Direction = 0
	DirectionAsked    Direction = 1 // this gateway is the asker
	DirectionAnswered Direction = 2 // this gateway is the holder
)

// String returns the name of d, or "invalid".
func (d Direction) String() string { return name([]string{"none", "asked", "answered"}, int(d)) }

// A Decision is what the policy of this gateway decided. The zero Decision is for
// entries without one.
type Decision uint8

// The decisions.
const (
	DecisionNone    Decision = 0
	DecisionAllowed Decision = 1
	DecisionDenied  Decision = 2
)

// String returns the name of d, or "invalid".
func (d Decision) String() string { return name([]string{"none", "allowed", "denied"}, int(d)) }

// An Outcome is what an asker found. It appears in internal logs only.
type Outcome uint8

// The outcomes.
const (
	OutcomeNone        Outcome = 0
	OutcomeNoCandidate Outcome = 1
	OutcomeCandidate   Outcome = 2
	OutcomeFailed      Outcome = 3 // no result: refused, unreachable, or not verifiable
)

// String returns the name of o, or "invalid".
func (o Outcome) String() string {
	return name([]string{"none", "no_candidate", "candidate", "failed"}, int(o))
}

// name returns the i-th name, or "invalid".
func name(names []string, i int) string {
	if i >= len(names) || names[i] == "" {
		return "invalid"
	}
	return names[i]
}

// A fields is a set of fields of an Entry, beside Kind and Time.
type fields uint32

const (
	fQuery fields = 1 << iota
	fDirection
	fAsker
	fHolder
	fAgreement
	fAgreementDigest
	fPurpose
	fCollection
	fProfile
	fItems
	fDecision
	fRules
	fBundle
	fInput
	fOfficer
	fUnit
	fProtocol
	fNormalisation
	fListVersion
	fRequest
	fReceipt
	fAuditor
	fSealed
	fSubject
	fReason
	fOutcome
	fPeerLeaf
	fPeerSealed
)

// fieldNames are the names of the fields, in the order of the constants above.
var fieldNames = strings.Fields(`query direction asker holder agreement agreement_digest purpose collection profile
	items decision rules bundle input officer unit protocol normalisation list_version request receipt auditor sealed
	subject reason outcome peer_leaf peer_sealed`)

// String returns the names of the fields in f, for errors.
func (f fields) String() string {
	var names []string
	for ; f != 0; f &= f - 1 {
		names = append(names, fieldNames[bits.TrailingZeros32(uint32(f))])
	}
	return strings.Join(names, ", ")
}

// set returns the fields of e that are not zero.
func (e *Entry) set() (f fields) {
	for i, ok := range [...]bool{
		e.Query != [16]byte{}, e.Direction != 0, e.Asker != "", e.Holder != "", e.Agreement != "",
		e.AgreementDigest != [32]byte{}, e.Purpose != "", e.Collection != "", e.Profile != "",
		e.Items != 0, e.Decision != 0, len(e.Rules) > 0, e.Bundle != [32]byte{}, e.Input != [32]byte{},
		e.Officer != [16]byte{}, e.Unit != [16]byte{}, e.Protocol != 0, e.Normalisation != 0,
		e.ListVersion != 0, e.Request != [32]byte{}, e.Receipt != [32]byte{}, e.Auditor != [8]byte{},
		e.Sealed != [32]byte{}, e.Subject != [32]byte{}, e.Reason != "", e.Outcome != 0,
		e.PeerLeaf != [32]byte{}, e.PeerSealed != [32]byte{},
	} {
		if ok {
			f |= 1 << i
		}
	}
	return f
}

const (
	// fPolicy is what a decision of the policy engine adds to any entry.
	fPolicy = fRules | fBundle | fInput

	// fTerms is what a query was about, as far as the gateway could read it.
	fTerms = fAgreement | fAgreementDigest | fPurpose | fCollection | fProfile | fItems |
		fProtocol | fNormalisation | fListVersion

	// fQueryOf is what makes an entry one of a query between two gateways.
	fQueryOf = fQuery | fDirection | fAsker | fHolder
)

// fields returns which fields an entry of e's kind must have, and which it may
// have besides. All others must be zero.
//
// What is allowed without a decision that allows is the wider set: a refusal must
// always be writable, with as much as was understood of the query.
func (e *Entry) fields() (must, may fields) {
	allowed := e.Decision == DecisionAllowed
	switch e.Kind {
	case KindIntent:
		// No request digest: the request carries the hash of this very leaf.
		must, may = fQueryOf|fAgreement|fPurpose|fDecision|fOfficer, fTerms|fPolicy|fUnit|fAuditor|fSealed
		if allowed {
			must |= fAgreementDigest | fItems | fProtocol | fBundle | fInput | fAuditor | fSealed
		} else {
			must |= fReason
		}
	case KindDecision:
		must, may = fQueryOf|fDecision, fTerms|fPolicy|fUnit|fRequest|fPeerLeaf|fPeerSealed|fAuditor|fSealed
		if allowed {
			must |= fAgreement | fAgreementDigest | fPurpose | fItems | fProtocol | fBundle | fInput |
				fRequest | fPeerLeaf | fPeerSealed
		} else {
			must |= fReason
		}
	case KindFailure:
		must, may = fQueryOf|fReason, fTerms|fRequest|fReceipt|fPeerLeaf|fPeerSealed
	case KindReceipt:
		must, may = fQueryOf|fRequest|fReceipt|fDecision, fTerms|fPeerLeaf
	case KindManifestPublished, KindManifestAccepted:
		must, may = fAsker|fHolder|fSubject|fListVersion, fAgreement|fAgreementDigest|fCollection|fProfile|fProtocol|fNormalisation
	case KindBundleActivated:
		must, may = fSubject, fBundle|fOfficer|fReason
	case KindAgreement:
		must, may = fAgreement|fSubject, fAgreementDigest|fAsker|fHolder|fOfficer|fReason
	case KindFederation:
		must, may = fSubject, fAsker|fHolder|fOfficer|fReason
	case KindRegister:
		must, may = fSubject, fOfficer|fUnit|fReason
	case KindOutcome:
		must, may = fQuery|fOutcome, fDirection|fAsker|fHolder|fTerms|fOfficer|fUnit|fRequest|fReceipt|fPeerLeaf|
			fSubject|fReason|fAuditor|fSealed
	case KindRead:
		must, may = fOfficer, fUnit|fQuery|fAsker|fHolder|fAgreement|fPurpose|fCollection|fProfile|fSubject|fReason|
			fAuditor|fSealed|fPeerLeaf
	case KindBudgetNotice:
		must, may = fAgreement|fReason, fAgreementDigest|fAsker|fHolder|fPurpose|fCollection|fProfile|fItems|fQuery|fDirection
	case KindStarted:
		must, may = 0, fAsker|fHolder|fSubject|fBundle|fProtocol|fNormalisation|fReason
	case KindEpoch:
		must, may = fHolder|fCollection|fSubject|fReason, fOfficer
	case KindRecovery:
		must, may = fSubject|fReason, fAsker|fHolder|fOfficer|fPeerLeaf|fSealed|fAuditor
	}
	return must, may
}

// Validate reports whether e may be written. It returns an error wrapping
// [ErrInvalid] that names the fields.
//
// The kinds ask for:
//
//	intent             query, direction asked, both IDs, agreement, purpose, decision, officer; if allowed also
//	                   collection or profile, agreement digest, items, protocol, bundle, input, auditor, sealed;
//	                   if denied a reason
//	decision           query, direction answered, both IDs, decision; if allowed also agreement with digest, purpose,
//	                   collection or profile, items, protocol, bundle, input, request, peer leaf and peer sealed;
//	                   if denied a reason
//	failure            query, direction, both IDs, reason
//	receipt            query, direction asked, both IDs, request, receipt, the holder's decision
//	manifest_*         both IDs, subject, list version, collection or profile
//	bundle_activated   subject
//	agreement          agreement, subject
//	federation         subject, and asker or holder: the peer
//	register           subject
//	outcome            query, outcome
//	read               officer
//	budget_notice      agreement, reason
//	started            nothing
//	recovery           subject, reason
//	epoch              holder, collection, subject (the public key), reason
//
// A reason never stands beside a decision that allows, an outcome only in the kind
// of that name, and officer, case or match never in a holder's entry. A query about
// neither or both of a collection and a profile is not allowed.
func (e *Entry) Validate() error {
	switch {
	case e.Kind.String() == "invalid":
		return invalid("kind")
	case e.Time <= 0:
		return invalid("time")
	case e.Direction > DirectionAnswered:
		return invalid("direction")
	case e.Decision > DecisionDenied:
		return invalid("decision")
	case e.Outcome > OutcomeFailed:
		return invalid("outcome")
	case e.Asker != "" && !isID(e.Asker):
		return invalid("asker")
	case e.Holder != "" && !isID(e.Holder):
		return invalid("holder")
	case !isCode(e.Agreement, MaxCode):
		return invalid("agreement")
	case !isCode(e.Purpose, MaxCode):
		return invalid("purpose")
	case !isCode(e.Collection, MaxCode):
		return invalid("collection")
	case !isCode(e.Profile, MaxCode):
		return invalid("profile")
	case !isReason(e.Reason):
		return invalid("reason")
	case len(e.Rules) > MaxRules:
		return invalid("rules")
	}
	for _, r := range e.Rules {
		if r == "" || !isCode(r, MaxRule) {
			return invalid("rules")
		}
	}
	set := e.set()
	must, may := e.fields()
	if missing := must &^ set; missing != 0 {
		return fmt.Errorf("%w %s entry: missing %s", ErrInvalid, e.Kind, missing)
	}
	if extra := set &^ (must | may); extra != 0 {
		return fmt.Errorf("%w %s entry: must not have %s", ErrInvalid, e.Kind, extra)
	}
	about := e.Collection != "" || e.Profile != ""
	switch {
	case e.Collection != "" && e.Profile != "":
		return fmt.Errorf("%w %s entry: both collection and profile", ErrInvalid, e.Kind)
	case !about && (e.Kind == KindManifestPublished || e.Kind == KindManifestAccepted ||
		e.Decision == DecisionAllowed && (e.Kind == KindIntent || e.Kind == KindDecision)):
		return fmt.Errorf("%w %s entry: missing collection or profile", ErrInvalid, e.Kind)
	case (e.Kind == KindIntent || e.Kind == KindReceipt) && e.Direction != DirectionAsked,
		e.Kind == KindDecision && e.Direction != DirectionAnswered:
		return fmt.Errorf("%w %s entry: direction", ErrInvalid, e.Kind)
	case e.Kind == KindFederation && e.Asker == "" && e.Holder == "":
		return fmt.Errorf("%w %s entry: missing asker or holder", ErrInvalid, e.Kind)
	}
	return nil
}

func invalid(field string) error { return fmt.Errorf("%w entry: %s", ErrInvalid, field) }

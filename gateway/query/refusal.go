package query

import (
	"errors"
	"time"
)

// A Reason is the stable name of why a query was not answered. It is the reason
// of google.rpc.ErrorInfo on the wire, the reason of an entry, and what scripts
// may test. Reasons are never renamed.
type Reason string

// The reasons, by who must act.
const (
	// What the asker's side must mend.
	Malformed          Reason = "MALFORMED_REQUEST"
	TooLarge           Reason = "TOO_LARGE"
	VersionUnsupported Reason = "VERSION_UNSUPPORTED"
	QueryIDReused      Reason = "QUERY_ID_REUSED"
	QueryIDExpired     Reason = "QUERY_ID_EXPIRED"
	ClockSkew          Reason = "CLOCK_SKEW"
	ListStale          Reason = "LIST_STALE"
	StatementInvalid   Reason = "STATEMENT_INVALID"

	// What the two countries must agree on. A stranger and a peer whose
	// federation was ended get the same one.
	UnknownPeer        Reason = "UNKNOWN_PEER"
	AgreementUnknown   Reason = "AGREEMENT_UNKNOWN"
	AgreementMismatch  Reason = "AGREEMENT_MISMATCH"
	AgreementNotYet    Reason = "AGREEMENT_NOT_YET_VALID"
	AgreementExpired   Reason = "AGREEMENT_EXPIRED"
	AgreementSuspended Reason = "AGREEMENT_SUSPENDED"

	// What the officer must mend or accept.
	PolicyDenied     Reason = "POLICY_DENIED"
	BudgetExhausted  Reason = "BUDGET_EXHAUSTED"
	RoleRequired     Reason = "ROLE_REQUIRED"
	NotEnrolled      Reason = "NOT_ENROLLED"
	SignatureInvalid Reason = "SIGNATURE_INVALID"
	NotFound         Reason = "NOT_FOUND"
	Precondition     Reason = "PRECONDITION_FAILED"

	// A passing fault of the answering gateway: try again later.
	AuditUnavailable   Reason = "AUDIT_UNAVAILABLE"
	StorageUnavailable Reason = "STORAGE_UNAVAILABLE"
	PolicyUnavailable  Reason = "POLICY_UNAVAILABLE"
	Overloaded         Reason = "OVERLOADED"
	InProgress         Reason = "QUERY_IN_PROGRESS"
	QueryFailed        Reason = "QUERY_FAILED"
	Unreachable        Reason = "PEER_UNREACHABLE"
	Internal           Reason = "INTERNAL"

	// The peer did not keep the protocol: no result of it is used.
	PeerInvalid Reason = "PEER_ANSWER_INVALID"
)

// A Denial is one rule that refused, in words that an officer and a legal
// officer can use. It holds no fact of the query.
type Denial struct {
	Rule     string `json:"rule"`     // identifier, such as RU-03
	Title    string `json:"title"`    //
	Citation string `json:"citation"` // with its regime and whether it was verified
	Sentence string `json:"sentence"` // for the officer, with what to do
}

// A Refusal is the error for every query that is not answered. Everything in it
// may be shown to whoever sent the query; the cause may not, and stays in the
// log of the side that refused.
type Refusal struct {
	Reason     Reason
	Denials    []Denial      // of an explainable decision, else none
	RetryAfter time.Duration // zero: do not retry as it is
	cause      error
}

// Refuse returns a Refusal for the given reason. The cause is for our own log
// and for errors.Is; it may be nil.
func Refuse(reason Reason, cause error) *Refusal { return &Refusal{Reason: reason, cause: cause} }

// Error returns the reason, and the cause for our own log. What is sent to a
// peer is made from the exported fields only.
func (r *Refusal) Error() string {
	if r.cause == nil {
		return "query: refused: " + string(r.Reason)
	}
	return "query: refused: " + string(r.Reason) + ": " + r.cause.Error()
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.cause }

// ReasonOf returns the reason of err: that of the Refusal it wraps, [Internal]
// for any other error, and "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Reason
	}
	return Internal
}

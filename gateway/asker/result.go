package asker

import (
	"time"

	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/policy"
)

// A Result is what an officer gets for an ask: what every neighbour said about
// every collection, in the order of holder and collection.
type Result struct {
	Request    query.ID
	Subjects   int
	Skipped    []string // refs of subjects that give no lookup key; nobody was asked about them
	Targets    []TargetResult
	Candidates []Candidate // strongest evidence first
	// Obligations are the duties that come with the permission, united over all
	// targets.
	Obligations []policy.Obligation
}

// A TargetResult is what one holder said about one collection.
type TargetResult struct {
	Holder     string
	Collection string
	Query      query.ID // zero if nothing was made
	Refusal    *query.Refusal
	// RefusedHere says that our own gateway refused, and nothing was sent.
	RefusedHere bool
	Exchange    *Exchange // nil if nothing was exchanged
	Candidates  int
}

// An Exchange is what one query moved: the facts that the sentences of DESIGN,
// section 2 are about.
type Exchange struct {
	Items, PaddedItems, Elements int
	BytesUp, BytesDown           int
	ListVersion                  uint64
	ListTime                     time.Time
	ListTags                     uint64
	Duration                     time.Duration
	IntentIndex, ReceiptIndex    uint64 // leaf indexes in our shared log
}

// A Candidate is a record abroad that may be about a subject. It is for a person
// to compare, never an identity.
type Candidate struct {
	ID          query.ID // at this gateway
	Request     query.ID
	Query       query.ID
	Holder      string
	Collection  string
	Ref         string   // of the subject
	Item        int      // its index among the subjects of the ask
	Handle      [8]byte  // random, by the holder, for this asker and epoch only
	Classes     []string // key classes that matched, in wire order
	Weight      uint32   // sum of their evidence
	AlertKind   uint8    // code of the agreement, 0 if it is not shared
	Instruction uint8
	ListVersion uint64
	Time        time.Time
}

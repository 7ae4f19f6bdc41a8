// Package asker holds the journey of a query on the asking side: an officer's
// ask becomes one private query to each neighbour, and what comes back becomes
// candidates.
//
//	officer ->  1 authenticate            the officer's own key signed this ask
//	            2 policy `ask`            sees every fact; undefined denies
//	            3 log intent              durable, with the content sealed to our auditor
//	            4 blind                   from a seed that is in the sealed content
//	            5 call the holders        in parallel
//	            6 verify proof, receipt   log the receipt; anything unverifiable is no result at all
//	            7 finalize, match         against the local copy of the holder's tags
//	            8 record the outcome      for the internal log only: a neighbour must not see a hit
//	            9 candidates -> officer   with obligations; a candidate is not an identity
//
// Steps 2 to 8 are the method query, in that order; the order is the security
// argument.
//
// # Who learns what
//
// The officer learns which subjects have a candidate, and its label. The holder
// learns the facts of [query.Facts] and a padded number of items. Our own
// auditor can open who asked for whom and why, and recompute every byte that was
// sent. Nobody else learns anything; logs, errors and metrics hold no subject.
//
// This package knows neither the keys of a holder, nor how logs are stored, nor
// Rego, nor the network: a neighbour is a [Neighbour].
package asker

import (
	"context"
	"crypto/ed25519"
	"iter"
	"log/slog"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// A Neighbour is another country's gateway, as an asker calls it. Implementations
// carry messages: they check sizes and nothing else, everything is verified here.
// Errors are a [query.Refusal], with [query.Unreachable] if there was no answer.
type Neighbour interface {
	Terms(ctx context.Context) (*query.Terms, error)
	Evaluate(ctx context.Context, r *query.Request) (*query.Answer, error)
	Acknowledge(ctx context.Context, agreementID string, id query.ID) error

	// Prove returns the holder's decision entry of a query with the proof that its
	// log has it, or nil if no checkpoint covers it yet.
	Prove(ctx context.Context, agreementID string, id query.ID) (*query.LogProof, error)

	// SyncTagSet calls header once, then segment for each part in order, and
	// ends with the first error of either.
	SyncTagSet(ctx context.Context, r query.SyncRequest, header func(*query.SyncHeader) error,
		segment func(query.Segment) error) error
}

// A Directory gives the neighbours that federation knows.
type Directory interface {
	// Active reports whether the federation with a trust domain holds now.
	Active(trustDomain string) bool

	// Neighbour returns the gateway of an active federation.
	Neighbour(trustDomain string) (Neighbour, error)

	// StatementKey returns the key with which that gateway signs receipts and
	// manifests, and LogKey the verifier key of its shared log, both pinned at
	// the invite.
	StatementKey(trustDomain string) (ed25519.PublicKey, error)
	LogKey(trustDomain string) (string, error)

	// Gateway returns the SPIFFE ID of that gateway.
	Gateway(trustDomain string) (string, error)
}

// A Log is a tamper-evident log that a query writes to.
type Log interface {
	// Append makes e durable, or returns an error; then nothing may go on.
	Append(ctx context.Context, e *entry.Entry) (audit.Position, error)
}

// An InternalLog is the log that no other country sees. Outcomes reach it from the
// store, so what is in it must be readable.
type InternalLog interface {
	Log

	// Size returns the number of entries that are durable, and Entries those from
	// index from to before index to, in order, and at most one error, last.
	Size() uint64
	Entries(ctx context.Context, from, to uint64) iter.Seq2[audit.Indexed, error]
}

// A Sealer seals content to the country's own auditor.
type Sealer interface {
	KeyID() [8]byte

	// Seal binds the content to a query and to the fields of its entry.
	Seal(id query.ID, leaf, content []byte) ([]byte, error)
}

// A Policy decides. An error comes with a Decision that denies.
type Policy interface {
	Decide(ctx context.Context, in policy.Input) (policy.Decision, error)
}

// Config is what an [Asker] is made of. All of it is required but Logger.
type Config struct {
	TrustDomain  string // ours
	Gateway      string // our SPIFFE ID
	Country      string
	AgencyCode   string
	Officers     *officer.Register
	Agreements   *agreement.Registry
	Directory    Directory
	Policy       Policy
	Shared       Log         // what both sides know
	Internal     InternalLog // outcomes and reads
	Store        *store.Store
	Library      *Library
	Sealer       Sealer
	StatementKey ed25519.PrivateKey
	Pseudonym    func(id string) [16]byte // of officers and units, erasable
	Now          func() time.Time
	Notify       func(*entry.Entry) // told of notices after they are in the internal log; must not wait; may be nil
	Logger       *slog.Logger       // nil discards
}

// An Asker asks neighbours on behalf of our officers. Its methods may be called
// concurrently. Whoever has asked must [Asker.Close] it.
type Asker struct {
	Config
	log      *slog.Logger
	outcomes outbox
}

// New returns an Asker.
func New(c Config) *Asker {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Asker{Config: c, log: log}
}

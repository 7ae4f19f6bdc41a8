// Package holder holds the journey of a query on the answering side, and the
// publication of the tag sets that askers match against.
//
//	asker -> a federation   the caller is a peer, and still is
//	         b parse        the request is of the documented form, of now, within limits
//	         c agreement    one that both sides share, active, by the same digest
//	         d policy       `answer`; undefined denies
//	         e budget       charged durably, once per query id
//	         f log          the decision is durable, or there is no answer
//	         g compute      one POPRF evaluation of every element, one proof a batch; while f
//	                        is written, and dropped if that fails
//	         h answer       stored with its receipt, never computed twice
//
// The order is the security argument; [Holder.Answer] has it in one place.
//
// # Who learns what
//
// The holder learns what [query.Facts] lists: who asks, coded purpose, legal
// basis and urgency, how many items (padded), when. It learns neither who was
// asked for nor whether anybody was found. The asker learns the outputs for its
// own elements, and a receipt.
//
// This package knows no group elements, no Rego, no certificates and no file
// formats.
package holder

import (
	"context"
	"crypto/ed25519"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

const (
	// MaxQueryAge is how old a query id may be, and how long an answer is kept
	// for a retry.
	MaxQueryAge = 24 * time.Hour

	// MaxSkew is how far ahead of our clock a query id may be.
	MaxSkew = time.Minute
)

// Peers says which federations hold.
type Peers interface {
	// Active reports whether the federation with a trust domain holds now.
	Active(trustDomain string) bool

	// StatementKey returns the key with which a peer signs its statements.
	StatementKey(trustDomain string) (ed25519.PublicKey, error)
}

// A Log is the shared log, as far as a holder uses it.
type Log interface {
	// Append makes e durable, or returns an error; then nothing may be answered.
	Append(ctx context.Context, e *entry.Entry) (audit.Position, error)

	// Await returns when a signed checkpoint covers the entry at index.
	Await(ctx context.Context, index uint64) error

	// Err returns why the log takes no entries, or nil.
	Err() error

	// Published returns the size of the checkpoint that Checkpoint returns.
	Published() uint64
	Checkpoint(ctx context.Context) ([]byte, error)

	Entries(ctx context.Context, from, to uint64) iter.Seq2[audit.Indexed, error]
	ProveInclusion(ctx context.Context, index uint64) ([]byte, error)
	ProveConsistency(ctx context.Context, old, new uint64) ([][32]byte, error)
}

// Internal is the internal log, as far as a holder uses it: for what the
// neighbours must not see, such as how far a budget is used.
type Internal interface {
	Append(ctx context.Context, e *entry.Entry) (audit.Position, error)
}

// Keys gives the server of a collection's epoch. A destroyed epoch has none.
type Keys interface {
	// Server returns the server of an epoch that may still be evaluated.
	Server(collection string, epoch uint32) (*oprf.Server, error)

	// Current returns the epoch under which sets are published now.
	Current(collection string) (epoch uint32, server *oprf.Server, err error)

	// Collections returns the names of our collections.
	Collections() []string

	// Epochs returns all epochs of a collection, ascending, destroyed ones too.
	Epochs(collection string) ([]keys.Epoch, error)

	// Create makes the key of the epoch after the last one, durably.
	Create(collection string, now time.Time) (epoch uint32, err error)

	// Destroy destroys the key of an epoch: when it returns nil nobody can use it any
	// more, also not from a backup.
	Destroy(collection string, epoch uint32, now time.Time) error
}

// A Policy decides. An error comes with a Decision that denies.
type Policy interface {
	Decide(ctx context.Context, in policy.Input) (policy.Decision, error)
	BundleDigest() [32]byte
	Facts() policy.Facts
}

// Config is what a [Holder] is made of. All of it is required but Notify and Logger.
type Config struct {
	TrustDomain  string // ours
	Gateway      string // our SPIFFE ID
	Origin       string // of our shared log
	Software     string // name and version, for peers that must upgrade
	Peers        Peers
	Agreements   *agreement.Registry
	Policy       Policy
	Shared       Log
	Internal     Internal
	Store        *store.Store
	Keys         Keys
	StatementKey ed25519.PrivateKey
	Now          func() time.Time
	Notify       func(*entry.Entry) // told of notices after they are in the internal log; must not wait
	Logger       *slog.Logger       // nil discards
}

// A Holder answers queries and publishes tag sets. Its methods may be called
// concurrently.
type Holder struct {
	Config
	log *slog.Logger

	mu         sync.Mutex
	publishing map[string]chan struct{} // one token a list: whoever publishes it
}

// New returns a Holder.
func New(c Config) *Holder {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Holder{Config: c, log: log, publishing: make(map[string]chan struct{})}
}

// A Caller is the gateway at the other end of an authenticated connection.
type Caller struct {
	TrustDomain string // of its SVID
	Gateway     string // its SPIFFE ID
}

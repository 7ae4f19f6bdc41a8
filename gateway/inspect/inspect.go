// Package inspect holds the journey of an auditor: what the logs of one gateway
// say, what was sealed about a query, and whether the one fits the other.
//
//	auditor -> gateway   List, Show, Stats, Proof, Verify, Export, Sealed, Explain
//	                     each is permitted by the rules (retain, read_log) and is an
//	                     entry of the internal log before anything is returned
//	auditor, elsewhere   Open        the content of a query, with the auditor's own key
//	                     Recompute   the request that the content describes, byte for
//	                                 byte, against the digests in both countries' logs
//
// Open and Recompute need no gateway: the key that opens content is never near one.
//
// # Who learns what
//
// Entries hold no personal data, and neither does anything here but two results:
// a [Sealed] names the officer whom the register has for the pseudonym of an entry,
// and [Open] returns the content itself. Who reads, when and for which control is
// on record for other auditors; so is who tried and was refused.
//
// # Cost
//
// The logs have no index: an index is not signed, and an auditor must not be shown
// less than the log has. Listings, Show, Stats and Sealed read a log from end to
// end, about a million entries in some seconds.
//
// An [Inspector] and the functions may be used concurrently. Out of scope: how
// queries are answered, and what another country's log says.
package inspect

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// A Policy decides and explains. An error comes with a Decision that denies.
type Policy interface {
	Decide(ctx context.Context, in policy.Input) (policy.Decision, error)

	// Replay decides again from a stored input, with the active bundle.
	Replay(ctx context.Context, stored []byte) (policy.Decision, error)
	BundleDigest() [32]byte
	Rules() []policy.Rule
}

// A Peers gives the keys of neighbours, also of former ones.
type Peers interface {
	// StatementKey returns the key with which a neighbour signs receipts, as pinned
	// at its invite.
	StatementKey(trustDomain string) (ed25519.PublicKey, error)
}

// A Which names one of the two logs. The zero Which is invalid.
type Which uint8

// The logs.
const (
	Shared   Which = 1 // what both sides of a query know
	Internal Which = 2 // outcomes, reads and administration
)

// String returns "shared" or "internal".
func (w Which) String() string {
	switch w {
	case Shared:
		return "shared"
	case Internal:
		return "internal"
	}
	return "invalid"
}

// A Source is one log with what proves it.
type Source struct {
	Log   *audit.Log
	Files fs.FS  // its folder
	Key   string // verifier key, a line of golang.org/x/mod/sumdb/note
}

// Config is what an [Inspector] is made of. All of it is required.
type Config struct {
	TrustDomain  string // ours
	Gateway      string // our SPIFFE ID
	Shared       Source
	Internal     Source
	Store        *store.Store
	Policy       Policy
	Peers        Peers
	Officers     *officer.Register
	StatementKey ed25519.PublicKey        // with which we sign receipts as a holder
	Pseudonym    func(id string) [16]byte // of officers and units
	Now          func() time.Time

	// Settle brings into the internal log what is on its way there, before anything is
	// read.
	Settle func(context.Context) error
}

// An Inspector shows the logs of one gateway to its country's auditors. Its
// methods may be called concurrently.
type Inspector struct {
	Config
	logs map[Which]source
}

// A source is a Source with its verifier.
type source struct {
	Source
	verifier note.Verifier
}

// New returns an Inspector, or an error if a verifier key is malformed.
func New(c Config) (*Inspector, error) {
	i := &Inspector{Config: c, logs: make(map[Which]source)}
	for which, s := range map[Which]Source{Shared: c.Shared, Internal: c.Internal} {
		v, err := note.NewVerifier(s.Key)
		if err != nil {
			return nil, fmt.Errorf("inspect: verifier key of the %s log: %w", which, err)
		}
		i.logs[which] = source{s, v}
	}
	return i, nil
}

// A Reader is who reads, as authenticated, and for which control: one of
// [policy.CheckLawfulness] and the others, named by the reader.
type Reader struct {
	Officer string // SPIFFE ID
	Control string
}

// controls are the purposes for which a log may be read.
var controls = []string{policy.CheckLawfulness, policy.SelfMonitoring, policy.CheckIntegrity, policy.CheckSecurity,
	policy.CriminalProceedings}

// permit asks the rules whether r may read, and puts the reading on record: e has
// what is read, and gets who, when and why. Only when permit returns nil may
// anything be returned. A refusal is on record too, unless the reader is unknown.
func (i *Inspector) permit(ctx context.Context, r Reader, what string, e entry.Entry) error {
	who, err := i.enrolled(r)
	if err != nil {
		return err
	}
	now := i.Now()
	d, err := i.Policy.Decide(ctx, policy.RetainInput{
		Now:    policy.NewTime(now),
		Action: policy.ReadingLog,
		Self:   facts.Gateway(nil, i.TrustDomain, i.Gateway),
		Reader: policy.Reader{Role: role(who), Purpose: r.Control},
	})
	var refusal *query.Refusal
	switch {
	case !d.Allowed():
		refusal = facts.Refusal(d, err)
	case !able(d):
		refusal = query.Refuse(query.PolicyUnavailable, errors.New("inspect: an obligation that cannot be met"))
	}
	if err := i.record(ctx, who, r.Control, what, refusal != nil, e); err != nil {
		return err
	}
	if refusal != nil {
		return refusal
	}
	return nil
}

// enrolled returns the reader's entry in the register.
func (i *Inspector) enrolled(r Reader) (officer.Officer, error) {
	id, ok := i.officerID(r.Officer)
	if !ok {
		return officer.Officer{}, query.Refuse(query.NotEnrolled, nil)
	}
	who, ok := i.Officers.Lookup(id)
	if !ok || !who.Retired.IsZero() {
		return officer.Officer{}, query.Refuse(query.NotEnrolled, nil)
	}
	return who, nil
}

// officerID returns the id in the SPIFFE ID of one of our officers.
func (i *Inspector) officerID(spiffeID string) (string, bool) {
	id, err := peer.ParseID(spiffeID)
	return id.Name, err == nil && id.Kind == peer.KindOfficer && id.TrustDomain == i.TrustDomain
}

// role returns the role in which who reads: that of an auditor, or else the first
// one, in the words of the rules.
func role(who officer.Officer) string {
	switch {
	case slices.Contains(who.Roles, officer.RoleAuditor):
		return policy.RoleAuditor
	case len(who.Roles) == 0:
		return ""
	case who.Roles[0] == officer.RoleLegal:
		return policy.RoleLegal
	case who.Roles[0] == officer.RoleVerifying:
		return policy.RoleVerifying
	}
	return string(who.Roles[0])
}

// able reports whether everything that d asks for is done: reading is logged, and
// nothing else can be.
func able(d policy.Decision) bool {
	for _, o := range d.Obligations() {
		if o.Kind != policy.LogReading {
			return false
		}
	}
	return len(d.Redactions()) == 0
}

// record appends the entry about one reading.
func (i *Inspector) record(ctx context.Context, who officer.Officer, control, what string, refused bool, e entry.Entry) error {
	e.Kind, e.Time = entry.KindRead, i.Now().UnixMilli()
	e.Officer, e.Unit = i.Pseudonym(who.ID), i.Pseudonym("unit/"+who.Unit)
	if slices.Contains(controls, control) { // and no other text of the reader's
		e.Purpose = control
	}
	e.Reason = what
	if refused {
		e.Reason = "REFUSED_" + what
	}
	if err := i.Settle(ctx); err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	if _, err := i.Internal.Log.Append(context.WithoutCancel(ctx), &e); err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	return nil
}

// What a reading is, in its entry.
const (
	readList    = "LIST"
	readOfficer = "LIST_OFFICER" // of one officer: Subject says which
	readEntry   = "ENTRY"
	readShow    = "SHOW"
	readStats   = "STATS"
	readProof   = "PROOF"
	readVerify  = "VERIFY"
	readExport  = "EXPORT"
	readSealed  = "SEALED"
	readExplain = "EXPLAIN"
)

// name returns the code of a reading of one log.
func name(what string, which Which) string {
	if which == Internal {
		return what + "_INTERNAL"
	}
	return what
}

// log returns a log, or a refusal for one that there is not.
func (i *Inspector) log(which Which) (source, error) {
	s, ok := i.logs[which]
	if !ok {
		return source{}, query.Refuse(query.Malformed, errors.New("inspect: unknown log"))
	}
	return s, nil
}

// trustDomain returns the trust domain of a SPIFFE ID, "" if it is none.
func trustDomain(id string) string {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok {
		return ""
	}
	td, _, _ := strings.Cut(rest, "/")
	return td
}

// peerOf returns the trust domain of the other side of an entry, "" if there is
// none.
func (i *Inspector) peerOf(e *entry.Entry) string {
	for _, id := range []string{e.Asker, e.Holder} {
		if td := trustDomain(id); td != "" && td != i.TrustDomain {
			return td
		}
	}
	return ""
}

// failed turns an error of the store or a log into a refusal.
func failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrErased):
		return query.Refuse(query.NotFound, err)
	case errors.Is(err, audit.ErrNotCovered):
		return query.Refuse(query.Precondition, err)
	case errors.Is(err, store.ErrStorage), errors.Is(err, store.ErrClosed):
		return query.Refuse(query.StorageUnavailable, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return query.Refuse(query.Internal, err)
}

package inspect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

const (
	// DefaultPage and MaxPage are how many rows one page of a listing has.
	DefaultPage = 100
	MaxPage     = 1000
)

// A Filter selects entries. All of its fields that are not zero must hold.
type Filter struct {
	Since      time.Time // made at or after
	Until      time.Time // made before
	Query      query.ID
	Kind       entry.Kind
	Peer       string // trust domain of the other side
	Purpose    string // code of an agreement, or the control of a read
	Collection string
	Decision   entry.Decision

	// Officer is the SPIFFE ID of an officer of ours, of which only the pseudonym
	// is used. It is personal data.
	Officer string
}

// A Page says which part of a list is wanted.
type Page struct {
	Size  int    // rows, 0 for DefaultPage, at most MaxPage
	Token string // of the page before, empty for the first
}

// A Row is one entry of a listing.
type Row struct {
	audit.Indexed
	Log    Which
	Sealed bool // whether the content that the entry names is still here
}

// List returns the entries of one log that match f, in the order of the log, and
// the token of the next page, empty after the last. The pages of one list are of
// the log as it was at the first of them.
func (i *Inspector) List(ctx context.Context, r Reader, which Which, f Filter, p Page) ([]Row, string, error) {
	s, err := i.log(which)
	if err != nil {
		return nil, "", err
	}
	size := p.Size
	if size == 0 {
		size = DefaultPage
	}
	if size < 0 || size > MaxPage {
		return nil, "", query.Refuse(query.Malformed, errors.New("inspect: size of a page"))
	}
	next, end := uint64(0), s.Log.Size()
	if p.Token != "" {
		if next, end, err = parseToken(p.Token, end); err != nil {
			return nil, "", err
		}
	}
	what, about := readList, entry.Entry{Query: f.Query, Collection: f.Collection}
	var officer [16]byte
	if f.Officer != "" {
		id, ok := i.officerID(f.Officer)
		if !ok {
			return nil, "", query.Refuse(query.Malformed, errors.New("inspect: officer is not one of ours"))
		}
		officer = i.Pseudonym(id)
		what, about.Subject = readOfficer, officerSubject(officer)
	}
	if err := i.permit(ctx, r, name(what, which), about); err != nil {
		return nil, "", err
	}
	rows := []Row{}
	for x, err := range s.Log.Entries(ctx, next, end) {
		if err != nil {
			return nil, "", failed(err)
		}
		if !i.match(&f, officer, x.Entry) {
			continue
		}
		if len(rows) == size {
			return rows, fmt.Sprintf("%d-%d", x.Index, end), nil
		}
		rows = append(rows, i.row(ctx, which, x))
	}
	return rows, "", nil
}

// officerSubject is what the record of a listing says of the officer it was about:
// a hash of the pseudonym, which only those who can make the pseudonym can guess.
func officerSubject(pseudonym [16]byte) [32]byte {
	return sha256.Sum256(append([]byte("passerelle/v1 read of officer\x00"), pseudonym[:]...))
}

// parseToken parses the token of a page: next index and end of the list.
func parseToken(token string, size uint64) (next, end uint64, err error) {
	a, b, _ := strings.Cut(token, "-")
	next, err1 := strconv.ParseUint(a, 10, 64)
	end, err2 := strconv.ParseUint(b, 10, 64)
	if err := errors.Join(err1, err2); err != nil || next > end || end > size {
		return 0, 0, query.Refuse(query.Malformed, errors.New("inspect: token of a page"))
	}
	return next, end, nil
}

// match reports whether e passes f, whose officer has the given pseudonym.
func (i *Inspector) match(f *Filter, officer [16]byte, e *entry.Entry) bool {
	switch {
	case !within(e, f.Since, f.Until),
		!f.Query.IsZero() && e.Query != f.Query,
		f.Kind != 0 && e.Kind != f.Kind,
		f.Peer != "" && i.peerOf(e) != f.Peer,
		f.Purpose != "" && e.Purpose != f.Purpose,
		f.Collection != "" && e.Collection != f.Collection,
		f.Decision != 0 && e.Decision != f.Decision,
		f.Officer != "" && e.Officer != officer:
		return false
	}
	return true
}

// within reports whether e was made in a span of time; a zero time is no limit.
func within(e *entry.Entry, since, until time.Time) bool {
	return (since.IsZero() || e.Time >= since.UnixMilli()) && (until.IsZero() || e.Time < until.UnixMilli())
}

// row completes an entry that was read.
func (i *Inspector) row(ctx context.Context, which Which, x audit.Indexed) Row {
	r := Row{Indexed: x, Log: which}
	if x.Entry.Sealed != [32]byte{} {
		_, err := i.Store.SealedExpiry(ctx, x.Entry.Sealed)
		r.Sealed = err == nil
	}
	return r
}

// Entry returns one entry by its index or, if leaf is not zero, by its leaf hash,
// with its .tlog-proof file, which is nil while no checkpoint covers it, and the
// receipt of its query, nil if we did not ask or there is none.
func (i *Inspector) Entry(ctx context.Context, r Reader, which Which, index uint64, leaf [32]byte) (p Proven, receipt []byte,
	err error) {
	if p, err = i.proven(ctx, r, readEntry, which, index, leaf); err != nil {
		return Proven{}, nil, err
	}
	if p.Entry.Direction == entry.DirectionAsked {
		ask, err := i.Store.Ask(ctx, p.Entry.Query)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Proven{}, nil, failed(err)
		}
		receipt = ask.Receipt
	}
	return p, receipt, nil
}

// Proof returns an entry with its proof. It returns a refusal with
// [query.Precondition] while no checkpoint covers the entry.
func (i *Inspector) Proof(ctx context.Context, r Reader, which Which, index uint64) (Proven, error) {
	p, err := i.proven(ctx, r, readProof, which, index, [32]byte{})
	if err == nil && p.Proof == nil {
		return Proven{}, query.Refuse(query.Precondition, audit.ErrNotCovered)
	}
	return p, err
}

func (i *Inspector) proven(ctx context.Context, r Reader, what string, which Which, index uint64, leaf [32]byte) (Proven, error) {
	s, err := i.log(which)
	if err != nil {
		return Proven{}, err
	}
	size := s.Log.Size() // without the entry about this reading
	if err := i.permit(ctx, r, name(what, which), entry.Entry{PeerLeaf: leaf}); err != nil {
		return Proven{}, err
	}
	from, to := uint64(0), size
	if leaf == ([32]byte{}) {
		from, to = index, index+1 // which is 0 for the last number there is
	}
	for x, err := range s.Log.Entries(ctx, from, min(to, size)) {
		if err != nil {
			return Proven{}, failed(err)
		}
		if leaf == ([32]byte{}) && x.Index == index || x.Leaf == leaf {
			return i.prove(ctx, s, i.row(ctx, which, x))
		}
	}
	return Proven{}, query.Refuse(query.NotFound, nil)
}

// A Proven is an entry with the proof that its log has it.
type Proven struct {
	Row
	Proof []byte // .tlog-proof file; nil while no checkpoint covers the entry
}

func (i *Inspector) prove(ctx context.Context, s source, row Row) (Proven, error) {
	p := Proven{Row: row}
	proof, err := s.Log.ProveInclusion(ctx, row.Index)
	if err != nil && !errors.Is(err, audit.ErrNotCovered) {
		return Proven{}, failed(err)
	}
	p.Proof = proof
	return p, nil
}

// Checkpoint returns the latest published checkpoint of a log, its verifier key,
// and the consistency proof from an older size, none from 0. It is no reading:
// witnesses and neighbours see as much.
func (i *Inspector) Checkpoint(ctx context.Context, which Which, from uint64) (checkpoint []byte, proof [][32]byte, key string,
	err error) {
	s, err := i.log(which)
	if err != nil {
		return nil, nil, "", err
	}
	msg, c, err := s.checkpoint(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	if from > c.Size {
		return nil, nil, "", query.Refuse(query.Precondition, audit.ErrNotCovered)
	}
	if proof, err = s.Log.ProveConsistency(ctx, from, c.Size); err != nil {
		return nil, nil, "", failed(err)
	}
	return msg, proof, s.Key, nil
}

package asker

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

const (
	// MaxPage is how many rows one page of a list has at most, and defaultPage how
	// many it has if none are asked for.
	MaxPage     = 1000
	defaultPage = 100

	// maxScan is how many rows of the store are looked at for one page. A page may
	// end there, and the next one goes on.
	maxScan = 20_000
)

// A CandidateFilter selects candidates. Zero fields select all.
type CandidateFilter struct {
	Since, Until time.Time // found at or after, and before
	Request      query.ID
	Holder       string   // trust domain
	State        string   // such as CandidateOpen
	After        query.ID // the cursor of the page before
	Limit        int      // rows of a page; 0 means 100, and 1000 is the most
}

// A KeptCandidate is a candidate as it is stored.
type KeptCandidate struct {
	Candidate
	State   string    // CandidateOpen, or what the follow-up made of it
	PurgeBy time.Time // when it is deleted
}

// An AskFilter selects asks. Zero fields select all of the caller's own.
type AskFilter struct {
	Since, Until time.Time
	Unit         bool // those of the caller's unit, not only the caller's own
	After        query.ID
	Limit        int
}

// An AskSummary is one lookup or screening, without its subjects.
type AskSummary struct {
	Request    query.ID
	Time       time.Time
	Kind       query.Kind
	Purpose    string
	Subjects   int
	Candidates int
	Targets    []TargetResult // without what was exchanged
}

// Candidates returns the candidates that an officer may see, newest first, and the
// cursor of the next page, which is zero after the last. Who asks sees the
// candidates of the own asks; who verifies, those of the own unit, because nobody
// verifies what they asked for themselves.
//
// The read is in the internal log before anything is returned. Every error is a
// [query.Refusal].
func (a *Asker) Candidates(ctx context.Context, caller string, f CandidateFilter) ([]KeptCandidate, query.ID, error) {
	r, err := a.reader(caller)
	if err != nil {
		return nil, query.ID{}, err
	}
	limit := pageSize(f.Limit)
	mine := make(map[[16]byte]bool) // by query
	var out []KeptCandidate
	cursor, more := f.After, true
	for scanned := 0; more && len(out) < limit && scanned < maxScan; {
		rows, err := a.Store.Candidates(ctx, store.CandidateFilter{Request: f.Request, Holder: f.Holder, State: f.State,
			Since: f.Since, Until: f.Until, After: cursor, Limit: MaxPage})
		if err != nil {
			return nil, query.ID{}, query.Refuse(query.StorageUnavailable, err)
		}
		more = len(rows) == MaxPage
		for i := range rows {
			row := &rows[i]
			seen, ok := mine[row.Query]
			if !ok {
				ask, err := a.Store.Ask(ctx, row.Query)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return nil, query.ID{}, query.Refuse(query.StorageUnavailable, err)
				}
				seen = err == nil && r.maySee(&ask)
				mine[row.Query] = seen
			}
			scanned++
			cursor = row.ID
			if seen {
				out = append(out, kept(row))
			}
			if len(out) == limit {
				more = more || i < len(rows)-1
				break
			}
		}
	}
	if err := a.logRead(ctx, r, "LIST_CANDIDATES"); err != nil {
		return nil, query.ID{}, err
	}
	if !more {
		cursor = query.ID{}
	}
	return out, cursor, nil
}

// kept returns a stored row as a candidate.
func kept(row *store.Candidate) KeptCandidate {
	return KeptCandidate{
		Candidate: Candidate{
			ID: row.ID, Request: row.Request, Query: row.Query, Holder: row.Holder, Collection: row.Collection, Ref: row.Item,
			Handle: row.Handle, Classes: strings.Fields(string(row.Detail)), Weight: uint32(row.Weight), AlertKind: row.Kind,
			Instruction: row.Instruction, ListVersion: row.ListVersion, Time: row.Created,
		},
		State: row.State, PurgeBy: row.Expires,
	}
}

// Asks returns the lookups and screenings of an officer, or of the officer's unit
// for one who verifies, newest first, and the cursor of the next page, which is
// zero after the last.
//
// The read is in the internal log before anything is returned. Every error is a
// [query.Refusal].
func (a *Asker) Asks(ctx context.Context, caller string, f AskFilter) ([]AskSummary, query.ID, error) {
	r, err := a.reader(caller)
	if err != nil {
		return nil, query.ID{}, err
	}
	filter := store.AskFilter{Since: f.Since, Until: f.Until, After: f.After, Limit: MaxPage}
	switch {
	case !f.Unit:
		filter.Officer = r.officer
	case !r.verifies:
		return nil, query.ID{}, query.Refuse(query.RoleRequired, errors.New("asker: the role verifying is required"))
	default:
		filter.Unit = r.unit
	}
	limit := pageSize(f.Limit)
	listed := make(map[[16]byte]bool)
	var out []AskSummary
	more := true
	for scanned := 0; more && len(out) < limit && scanned < maxScan; {
		rows, err := a.Store.Asks(ctx, filter)
		if err != nil {
			return nil, query.ID{}, query.Refuse(query.StorageUnavailable, err)
		}
		more = len(rows) == MaxPage
		for i := range rows {
			filter.After = rows[i].ID
			scanned++
			if listed[rows[i].Request] {
				continue
			}
			listed[rows[i].Request] = true
			all, err := a.Store.Asks(ctx, store.AskFilter{Request: rows[i].Request, Limit: MaxPage})
			if err != nil {
				return nil, query.ID{}, query.Refuse(query.StorageUnavailable, err)
			}
			// A request is on the page of its newest query, and on no other.
			if len(all) == 0 || f.After != (query.ID{}) && slices.Compare(all[0].ID[:], f.After[:]) >= 0 {
				continue
			}
			out = append(out, summary(all))
			if len(out) == limit {
				more = more || i < len(rows)-1
				break
			}
		}
	}
	if err := a.logRead(ctx, r, "LIST_ASKS"); err != nil {
		return nil, query.ID{}, err
	}
	if !more {
		return out, query.ID{}, nil
	}
	return out, filter.After, nil
}

// summary puts the queries of one request together.
func summary(all []store.Ask) AskSummary {
	s := AskSummary{Request: all[0].Request, Time: all[0].Created, Purpose: all[0].Purpose, Kind: query.Set}
	if all[0].Kind == query.Single.String() {
		s.Kind = query.Single
	}
	for i := range all {
		q := &all[i]
		s.Subjects = max(s.Subjects, int(q.Items))
		s.Candidates += int(q.Candidates)
		t := TargetResult{Holder: q.Holder, Collection: q.Collection, Query: q.ID, Candidates: int(q.Candidates)}
		switch {
		case q.Reason != "":
			t.Refusal = query.Refuse(query.Reason(q.Reason), nil)
		case q.State == store.AskIntent || q.State == store.AskSent:
			t.Refusal = query.Refuse(query.InProgress, nil)
		}
		s.Targets = append(s.Targets, t)
	}
	return s
}

// A reading is an officer who reads lists.
type reading struct {
	who           officer.Officer
	officer, unit string // pseudonyms, as stored with an ask
	verifies      bool
}

func (r *reading) maySee(ask *store.Ask) bool {
	return ask.Officer == r.officer || r.verifies && ask.Unit == r.unit
}

// reader returns the officer who reads: enrolled, and asking or verifying.
func (a *Asker) reader(caller string) (*reading, error) {
	id, err := peer.ParseID(caller)
	if err != nil || id.Kind != peer.KindOfficer || id.TrustDomain != a.TrustDomain {
		return nil, query.Refuse(query.NotEnrolled, err)
	}
	who, ok := a.Officers.Lookup(id.Name)
	if !ok || !who.Retired.IsZero() {
		return nil, query.Refuse(query.NotEnrolled, nil)
	}
	now := a.Now()
	verifies := a.Officers.HasRole(who.ID, officer.RoleVerifying, now)
	if !verifies && !a.Officers.HasRole(who.ID, officer.RoleAsking, now) {
		return nil, query.Refuse(query.RoleRequired, errors.New("asker: the role asking or verifying is required"))
	}
	name, unit := a.Pseudonym(who.ID), a.Pseudonym("unit/"+who.Unit)
	return &reading{who: who, officer: hex.EncodeToString(name[:]), unit: hex.EncodeToString(unit[:]), verifies: verifies}, nil
}

// logRead writes who read into the internal log: what is not recorded is not
// shown.
func (a *Asker) logRead(ctx context.Context, r *reading, what string) error {
	_, err := a.Internal.Append(ctx, &entry.Entry{Kind: entry.KindRead, Time: a.Now().UnixMilli(),
		Officer: a.Pseudonym(r.who.ID), Unit: a.Pseudonym("unit/" + r.who.Unit), Reason: what})
	if err != nil {
		return query.Refuse(query.AuditUnavailable, err)
	}
	return nil
}

func pageSize(n int) int {
	if n <= 0 {
		return defaultPage
	}
	return min(n, MaxPage)
}

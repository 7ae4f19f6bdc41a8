package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrRequestReused is returned for the id of an officer's request that came
// before. It is the client's fault.
var ErrRequestReused = errors.New("store: request id reused")

// A Request is one lookup or screening of an officer.
type Request struct {
	ID      [16]byte
	Digest  [32]byte // of what the officer signed
	Created time.Time
}

// An AskState says how far a query that we ask has come.
type AskState uint8

// The states of an ask. The zero AskState is invalid.
const (
	AskIntent   AskState = iota + 1 // in our log, and not known to be sent
	AskSent                         // sent, and no answer yet
	AskAnswered                     // answered and matched
	AskRefused                      // the holder refused
	AskFailed                       // no answer, or none that verifies
)

// String returns the word for people.
func (s AskState) String() string {
	if int(s) < len(askNames) {
		return askNames[s]
	}
	return "invalid"
}

var askNames = [...]string{"invalid", "intent", "sent", "answered", "refused", "failed"}

// An Ask is one query that we ask a holder.
type Ask struct {
	ID            [16]byte // query id
	Request       [16]byte // of the officer
	Holder        string   // trust domain
	Collection    string
	Agreement     string
	Purpose       string
	Kind          string
	Items         int64  // real items
	Officer       string // pseudonym
	Unit          string // pseudonym
	State         AskState
	Reason        string // code of a refusal or failure
	ListVersion   uint64
	RequestDigest [32]byte
	Header        []byte // of the request that was sent, opaque; nil if none was
	Receipt       []byte // of the holder
	Proof         []byte // that the holder's log has the decision, opaque; nil if there is none yet
	Candidates    int64
	Created       time.Time
	Updated       time.Time
}

// An Intent is an ask with what must be kept before it may be sent: all of it is
// stored in one transaction.
type Intent struct {
	Ask         Ask
	PolicyInput *PolicyInput
	Sealed      *SealedContent
	Leaves      []Leaf
	Counts      []Count
}

// A Count adds to one counter of our own asks, without a limit: it is the holder who
// enforces the budget.
type Count struct {
	Counter string
	Amount  int64
	Until   time.Time // the counter may be deleted after it; zero for never
}

// PutRequest stores an officer's request and the queries it fans out into, in one
// transaction, and returns the counters of each query after its counts, in order. It
// returns an error wrapping [ErrRequestReused] if the request is known, and
// [ErrExists] if a query is.
func (s *Store) PutRequest(ctx context.Context, r Request, intents ...Intent) (used [][]int64, err error) {
	err = s.gateway.write(ctx, "putting a request", func(t *tx) error {
		n, err := t.changed("INSERT INTO requests (id, digest, created) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
			r.ID[:], r.Digest[:], millis(r.Created))
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrRequestReused
		}
		if err := t.putAsks(intents); err != nil {
			return err
		}
		used, err = t.count(intents)
		return err
	})
	if err != nil {
		return nil, err
	}
	return used, nil
}

// count adds the counts of intents and returns the counters after them.
func (t *tx) count(intents []Intent) ([][]int64, error) {
	used := make([][]int64, len(intents))
	for i := range intents {
		for _, c := range intents[i].Counts {
			n, err := t.charge(Charge{Counter: c.Counter, Amount: c.Amount, Limit: math.MaxInt64, Until: c.Until})
			if err != nil {
				return nil, err
			}
			used[i] = append(used[i], n)
		}
	}
	return used, nil
}

// PutAsk stores queries of a request that is known already, or of none.
func (s *Store) PutAsk(ctx context.Context, intents ...Intent) error {
	return s.gateway.write(ctx, "putting an ask", func(t *tx) error { return t.putAsks(intents) })
}

func (t *tx) putAsks(intents []Intent) error {
	for i := range intents {
		a := &intents[i].Ask
		if a.State < AskIntent || a.State > AskFailed {
			return fmt.Errorf("%w: state of an ask", ErrInvalid)
		}
		n, err := t.changed(`INSERT INTO asks (id, request, holder, collection, agreement, purpose, kind, items, officer, unit,
				state, reason, list_version, request_digest, header, receipt, candidates, created, updated)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18)
			ON CONFLICT (id) DO NOTHING`,
			a.ID[:], a.Request[:], a.Holder, a.Collection, a.Agreement, a.Purpose, a.Kind, a.Items, a.Officer, a.Unit,
			int64(a.State), a.Reason, int64(a.ListVersion), a.RequestDigest[:], a.Header, a.Receipt, a.Candidates,
			millis(a.Created))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: query", ErrExists)
		}
		if in := intents[i].PolicyInput; in != nil {
			if err := t.putPolicyInput(in); err != nil {
				return err
			}
		}
		if c := intents[i].Sealed; c != nil {
			if err := t.putSealed(c); err != nil {
				return err
			}
		}
		if err := t.putLeaves(intents[i].Leaves); err != nil {
			return err
		}
	}
	return nil
}

// An AskUpdate is a step of a query. Fields that are nil or zero are left as they
// are.
type AskUpdate struct {
	ID            [16]byte
	State         AskState
	Reason        string
	RequestDigest [32]byte
	Header        []byte
	Receipt       []byte
	Proof         []byte // that the holder's log has the decision, opaque
	Time          time.Time
	Leaves        []Leaf
	Candidates    []Candidate
	Keep          *Keep    // sealed content to keep longer, in the same transaction
	Outcome       *Outcome // of the query, for the internal log
}

// UpdateAsk stores steps of queries with their leaves and candidates, in one
// transaction. An ask that is answered, refused or failed does not change its
// state any more: an error wrapping [ErrState]; one wrapping [ErrNotFound] is for
// an unknown query or unknown sealed content, and one wrapping [ErrErased] for
// content that cannot be kept any more.
func (s *Store) UpdateAsk(ctx context.Context, updates ...AskUpdate) error {
	return s.gateway.write(ctx, "updating an ask", func(t *tx) error {
		for i := range updates {
			if err := t.updateAsk(&updates[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tx) updateAsk(u *AskUpdate) error {
	var old int64
	err := t.row("SELECT state FROM asks WHERE id = $1", []any{u.ID[:]}, &old)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: query", ErrNotFound)
	}
	if err != nil {
		return err
	}
	if was := AskState(old); u.State != 0 && u.State != was && (u.State < was || was >= AskAnswered || u.State > AskFailed) {
		return fmt.Errorf("%w: ask is %v, and cannot become %v", ErrState, was, u.State)
	}
	var digest []byte
	if u.RequestDigest != ([32]byte{}) {
		digest = u.RequestDigest[:]
	}
	if err := t.exec(`UPDATE asks SET state = CASE WHEN $2 = 0 THEN state ELSE $2 END,
			reason = CASE WHEN $3 = '' THEN reason ELSE $3 END,
			request_digest = COALESCE($4, request_digest), receipt = COALESCE($5, receipt), header = COALESCE($8, header),
			proof = COALESCE($9, proof),
			candidates = candidates + $6, updated = CASE WHEN $7 = 0 THEN updated ELSE $7 END WHERE id = $1`,
		u.ID[:], int64(u.State), u.Reason, digest, u.Receipt, int64(len(u.Candidates)), millis(u.Time), u.Header, u.Proof); err != nil {
		return err
	}
	if u.Keep != nil {
		if err := t.keepSealed(u.Keep); err != nil {
			return err
		}
	}
	if err := t.putLeaves(u.Leaves); err != nil {
		return err
	}
	if u.Outcome != nil {
		if err := t.putOutcome(u.Outcome); err != nil {
			return err
		}
	}
	return t.putCandidates(u.Candidates)
}

const askColumns = `id, request, holder, collection, agreement, purpose, kind, items, officer, unit,
	state, reason, list_version, request_digest, header, receipt, proof, candidates, created, updated`

func scanAsk(scan func(...any) error) (Ask, error) {
	var a Ask
	var id, request, digest []byte
	var state, version, created, updated int64
	if err := scan(&id, &request, &a.Holder, &a.Collection, &a.Agreement, &a.Purpose, &a.Kind, &a.Items, &a.Officer, &a.Unit,
		&state, &a.Reason, &version, &digest, &a.Header, &a.Receipt, &a.Proof, &a.Candidates, &created, &updated); err != nil {
		return Ask{}, err
	}
	a.State, a.ListVersion, a.Created, a.Updated = AskState(state), uint64(version), moment(created), moment(updated)
	for _, f := range []struct{ dst, src []byte }{{a.ID[:], id}, {a.Request[:], request}, {a.RequestDigest[:], digest}} {
		if err := fixed(f.dst, f.src); err != nil {
			return Ask{}, err
		}
	}
	return a, nil
}

// Ask returns one query that we asked, or an error wrapping [ErrNotFound].
func (s *Store) Ask(ctx context.Context, id [16]byte) (Ask, error) {
	a, err := scanAsk(func(dest ...any) error {
		return s.gateway.get(ctx, "reading an ask", "SELECT "+askColumns+" FROM asks WHERE id = $1", []any{id[:]}, dest...)
	})
	return a, outside(err)
}

// Request returns one request, or an error wrapping [ErrNotFound].
func (s *Store) Request(ctx context.Context, id [16]byte) (Request, error) {
	r := Request{ID: id}
	var digest []byte
	var created int64
	err := s.gateway.get(ctx, "reading a request", "SELECT digest, created FROM requests WHERE id = $1", []any{id[:]}, &digest, &created)
	if err == nil {
		err = outside(fixed(r.Digest[:], digest))
	}
	if err != nil {
		return Request{}, err
	}
	r.Created = moment(created)
	return r, nil
}

// An AskFilter selects asks. Zero fields select all.
type AskFilter struct {
	Request    [16]byte
	Holder     string
	Collection string
	Purpose    string
	Officer    string
	Unit       string
	State      AskState
	Unproved   bool      // only those without a proof
	Since      time.Time // created at or after
	Until      time.Time // created before
	After      [16]byte  // the last id of the page before
	Limit      int       // page size; 0 means 100, and 1000 is the most
}

// Asks returns the queries we asked that match f, newest id first.
func (s *Store) Asks(ctx context.Context, f AskFilter) ([]Ask, error) {
	w := &where{}
	w.id("request", f.Request)
	w.text("holder", f.Holder)
	w.text("collection", f.Collection)
	w.text("purpose", f.Purpose)
	w.text("officer", f.Officer)
	w.text("unit", f.Unit)
	w.number("state", int64(f.State))
	if f.Unproved {
		w.conditions = append(w.conditions, "proof IS NULL")
	}
	w.times(f.Since, f.Until)
	w.after(f.After)
	var all []Ask
	err := s.gateway.list(ctx, "listing asks", "SELECT "+askColumns+" FROM asks"+w.page(f.Limit), w.args,
		func(scan func(...any) error) error {
			a, err := scanAsk(scan)
			all = append(all, a)
			return err
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// A Candidate is a match: a record of a holder that may be the subject of an
// item. It is never an identity.
type Candidate struct {
	ID          [16]byte // unique, time-ordered such as a UUIDv7
	Query       [16]byte
	Request     [16]byte
	Holder      string // trust domain
	Collection  string
	Epoch       uint32
	ListVersion uint64
	Handle      [8]byte
	Item        string // the caller's reference for the item
	Weight      int64
	Kind        uint8  // alert kind, 0 if not shown
	Instruction uint8  // 0 if not shown
	State       string // code of the follow-up, "open" at first
	Detail      []byte // opaque, such as the evidence by class
	Created     time.Time
	Expires     time.Time // deleted then; zero for never
}

// PutCandidates stores candidates of a query outside of UpdateAsk. It does not
// count them at the ask.
func (s *Store) PutCandidates(ctx context.Context, all ...Candidate) error {
	return s.gateway.write(ctx, "putting candidates", func(t *tx) error { return t.putCandidates(all) })
}

func (t *tx) putCandidates(all []Candidate) error {
	for i := range all {
		c := &all[i]
		n, err := t.changed(`INSERT INTO candidates (id, query, request, holder, collection, epoch, list_version, handle, item,
				weight, kind, instruction, state, detail, created, expires)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT (id) DO NOTHING`,
			c.ID[:], c.Query[:], c.Request[:], c.Holder, c.Collection, int64(c.Epoch), int64(c.ListVersion), c.Handle[:], c.Item,
			c.Weight, int64(c.Kind), int64(c.Instruction), c.State, c.Detail, millis(c.Created), millis(c.Expires))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: candidate", ErrExists)
		}
	}
	return nil
}

// SetCandidateState moves a candidate from one state to another. It returns an
// error wrapping [ErrState] if it is not in the first.
func (s *Store) SetCandidateState(ctx context.Context, id [16]byte, from, to string) error {
	return s.gateway.write(ctx, "updating a candidate", func(t *tx) error {
		n, err := t.changed("UPDATE candidates SET state = $1 WHERE id = $2 AND state = $3", to, id[:], from)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: candidate", ErrState)
		}
		return err
	})
}

// A CandidateFilter selects candidates. Zero fields select all.
type CandidateFilter struct {
	ID         [16]byte
	Query      [16]byte
	Request    [16]byte
	Holder     string
	Collection string
	State      string
	Since      time.Time // created at or after
	Until      time.Time // created before
	After      [16]byte  // the last id of the page before
	Limit      int       // page size; 0 means 100, and 1000 is the most
}

// Candidates returns the candidates that match f, newest id first.
func (s *Store) Candidates(ctx context.Context, f CandidateFilter) ([]Candidate, error) {
	w := &where{}
	w.id("id", f.ID)
	w.id("query", f.Query)
	w.id("request", f.Request)
	w.text("holder", f.Holder)
	w.text("collection", f.Collection)
	w.text("state", f.State)
	w.times(f.Since, f.Until)
	w.after(f.After)
	var all []Candidate
	err := s.gateway.list(ctx, "listing candidates", `SELECT id, query, request, holder, collection, epoch, list_version, handle,
		item, weight, kind, instruction, state, detail, created, expires FROM candidates`+w.page(f.Limit), w.args,
		func(scan func(...any) error) error {
			var c Candidate
			var id, query, request, handle []byte
			var epoch, version, created, expires int64
			if err := scan(&id, &query, &request, &c.Holder, &c.Collection, &epoch, &version, &handle,
				&c.Item, &c.Weight, &c.Kind, &c.Instruction, &c.State, &c.Detail, &created, &expires); err != nil {
				return err
			}
			c.Epoch, c.ListVersion, c.Created, c.Expires = uint32(epoch), uint64(version), moment(created), moment(expires)
			for _, f := range []struct{ dst, src []byte }{
				{c.ID[:], id}, {c.Query[:], query}, {c.Request[:], request}, {c.Handle[:], handle}} {
				if err := fixed(f.dst, f.src); err != nil {
					return err
				}
			}
			all = append(all, c)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// A where puts together the conditions of a list.
type where struct {
	conditions []string
	args       []any
}

func (w *where) add(condition string, arg any) {
	w.args = append(w.args, arg)
	w.conditions = append(w.conditions, condition+" $"+strconv.Itoa(len(w.args)))
}

func (w *where) text(column, v string) {
	if v != "" {
		w.add(column+" =", v)
	}
}

func (w *where) number(column string, v int64) {
	if v != 0 {
		w.add(column+" =", v)
	}
}

func (w *where) id(column string, v [16]byte) {
	if v != ([16]byte{}) {
		w.add(column+" =", v[:])
	}
}

func (w *where) times(since, until time.Time) {
	if !since.IsZero() {
		w.add("created >=", millis(since))
	}
	if !until.IsZero() {
		w.add("created <", millis(until))
	}
}

func (w *where) after(id [16]byte) {
	if id != ([16]byte{}) {
		w.add("id <", id[:])
	}
}

// page returns the rest of the statement.
func (w *where) page(limit int) string {
	if limit <= 0 {
		limit = 100
	}
	text := " ORDER BY id DESC LIMIT " + strconv.Itoa(min(limit, 1000))
	if len(w.conditions) > 0 {
		text = " WHERE " + strings.Join(w.conditions, " AND ") + text
	}
	return text
}

// outside turns an error of decoding a row into one for the caller.
func outside(err error) error {
	if db := (*dbError)(nil); errors.As(err, &db) {
		return failed("reading", db.err)
	}
	return err
}

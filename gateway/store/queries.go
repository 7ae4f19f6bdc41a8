package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	// AnswerLife is how long an answer is kept for retries, if it is not
	// acknowledged before.
	AnswerLife = 24 * time.Hour

	// queryLife is how long the id of a query is remembered. It is longer than any
	// id is accepted: see query.ID.Check.
	queryLife = 26 * time.Hour
)

var (
	// ErrQueryIDReused is returned for a query id that came before with another
	// request. It is the peer's fault, and worth a look.
	ErrQueryIDReused = errors.New("store: query id reused for another request")

	// ErrBudget is wrapped by every [BudgetError].
	ErrBudget = errors.New("store: over budget")

	// ErrState is returned for a change that the state does not permit, such as
	// finishing a query that is not pending.
	ErrState = errors.New("store: not in the state for this")
)

// A BudgetError says which counter a query would have driven over its limit.
// Nothing was charged.
type BudgetError struct {
	Counter             string
	Used, Amount, Limit int64     // elements; Used is without this query
	Until               time.Time // end of the counter's window: try again then
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("store: over budget: %s: %d used and %d asked for of %d", e.Counter, e.Used, e.Amount, e.Limit)
}

// Is makes errors.Is(err, ErrBudget) true.
func (e *BudgetError) Is(target error) bool { return target == ErrBudget }

// A QueryKey names a query that a neighbour asked us. The peer is part of it, so
// that nobody gets the answer to somebody else's query.
type QueryKey struct {
	Peer      string // trust domain, as authenticated
	Agreement string
	ID        [16]byte
}

// A Charge adds Amount to a counter, which must not exceed Limit afterwards.
type Charge struct {
	Counter string
	Amount  int64     // elements, at least 0
	Limit   int64     // elements, at least 0
	Until   time.Time // when the counter may be forgotten; zero for never
}

// A Begin is what is recorded when a query is accepted.
type Begin struct {
	QueryKey
	RequestDigest [32]byte
	Time          time.Time
	Charges       []Charge
	PolicyInput   *PolicyInput // kept in the same transaction, if not nil
}

// A Progress says how far a query has come. The zero Progress is invalid, so that
// a forgotten error does not look like a query to go on with.
type Progress uint8

// The progress of a query. Answered and Gone differ in whether the answer is
// still there.
const (
	Pending  Progress = iota + 1 // accepted before: being answered right now, or left over from a crash
	Answered                     // the answer is there
	Refused                      // the decision was no
	Failed                       // it was accepted, and then failed: it is never answered
	Gone                         // the answer was acknowledged or has expired
	New                          // just accepted and charged: go on with it. Never stored
)

// String returns the word for logs.
func (p Progress) String() string {
	if int(p) < len(progressNames) {
		return progressNames[p]
	}
	return "invalid"
}

var progressNames = [...]string{"invalid", "pending", "answered", "refused", "failed", "gone", "new"}

// A QueryState is what BeginQuery found.
type QueryState struct {
	Digest   [32]byte // of the request, by LookupQuery
	Progress Progress
	Decision string  // as given to FinishQuery
	Answer   []byte  // if Answered
	Used     []int64 // if New: the counters after the charge, one per Charge, in order
}

// BeginQuery accepts a query and charges it, in one transaction.
//
// If the same peer asked the same before, by id and digest, it returns how far
// that has come, and charges nothing: only [New] means go on. It returns an error
// wrapping [ErrQueryIDReused] for the same id with another digest, and a
// [*BudgetError] for the first counter that would exceed its limit. Then nothing
// is charged and the query is not remembered: use [Store.RefuseQuery] to remember
// it as refused.
func (s *Store) BeginQuery(ctx context.Context, b Begin) (QueryState, error) {
	for _, c := range b.Charges {
		if c.Amount < 0 || c.Limit < 0 || c.Counter == "" {
			return QueryState{}, fmt.Errorf("%w: charge", ErrInvalid)
		}
	}
	var state QueryState
	err := s.gateway.write(ctx, "beginning a query", func(t *tx) error {
		known, err := t.query(b.QueryKey, b.RequestDigest, &state)
		if known || err != nil {
			return err
		}
		for _, c := range b.Charges {
			used, err := t.charge(c)
			if err != nil {
				return err
			}
			state.Used = append(state.Used, used)
		}
		if b.PolicyInput != nil {
			if err := t.putPolicyInput(b.PolicyInput); err != nil {
				return err
			}
		}
		state.Progress = New
		return t.exec(insertQuery, b.Peer, b.Agreement, b.ID[:], b.RequestDigest[:], int64(Pending), millis(b.Time), int64(0), "", nil)
	})
	if err != nil {
		return QueryState{}, err
	}
	return state, nil
}

const insertQuery = `INSERT INTO queries (peer, agreement, id, digest, state, begun, finished, decision, answer)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

// query looks up a query and fills state if it is known.
func (t *tx) query(k QueryKey, digest [32]byte, state *QueryState) (known bool, err error) {
	var stored []byte
	var progress int64
	err = t.row("SELECT digest, state, decision, answer FROM queries WHERE peer = $1 AND agreement = $2 AND id = $3",
		[]any{k.Peer, k.Agreement, k.ID[:]}, &stored, &progress, &state.Decision, &state.Answer)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if string(stored) != string(digest[:]) {
		return false, ErrQueryIDReused
	}
	state.Progress = Progress(progress)
	if state.Progress < Pending || state.Progress > Gone {
		return false, &dbError{errors.New("a query has an unknown state")}
	}
	return true, nil
}

// charge adds to one counter and returns its new value.
func (t *tx) charge(c Charge) (int64, error) {
	var used int64
	if c.Amount <= c.Limit {
		err := t.row(`INSERT INTO budgets (counter, used, ends) VALUES ($1, $2, $3)
			ON CONFLICT (counter) DO UPDATE SET used = budgets.used + excluded.used, ends = excluded.ends
			WHERE budgets.used <= $4 - excluded.used RETURNING used`,
			[]any{c.Counter, c.Amount, millis(c.Until), c.Limit}, &used)
		if !errors.Is(err, sql.ErrNoRows) {
			return used, err
		}
	}
	err := t.row("SELECT used FROM budgets WHERE counter = $1", []any{c.Counter}, &used)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	return 0, &BudgetError{Counter: c.Counter, Used: used, Amount: c.Amount, Limit: c.Limit, Until: c.Until}
}

// BudgetUsed returns the value of a counter, 0 for one that was never charged.
func (s *Store) BudgetUsed(ctx context.Context, counter string) (int64, error) {
	var used int64
	err := s.gateway.get(ctx, "reading a budget", "SELECT used FROM budgets WHERE counter = $1", []any{counter}, &used)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return used, err
}

// A Finish is the end of a query: Answered with the bytes of the answer, Refused,
// or Failed.
type Finish struct {
	Progress Progress
	Decision string // for retries: codes, such as a reason and rule ids
	Answer   []byte
	Time     time.Time
	Leaves   []Leaf // entries to note in the same transaction
}

// FinishQuery stores the end of a pending query. When it returns nil, a retry
// gets the same bytes. It returns an error wrapping [ErrState] if the query is not
// pending.
func (s *Store) FinishQuery(ctx context.Context, k QueryKey, f Finish) error {
	if f.Progress != Answered && f.Progress != Refused && f.Progress != Failed || (f.Progress == Answered) != (f.Answer != nil) {
		return fmt.Errorf("%w: end of a query", ErrInvalid)
	}
	return s.gateway.write(ctx, "finishing a query", func(t *tx) error {
		n, err := t.changed(`UPDATE queries SET state = $1, decision = $2, answer = $3, finished = $4
			WHERE peer = $5 AND agreement = $6 AND id = $7 AND state = $8`,
			int64(f.Progress), f.Decision, f.Answer, millis(f.Time), k.Peer, k.Agreement, k.ID[:], int64(Pending))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: query is not pending", ErrState)
		}
		return t.putLeaves(f.Leaves)
	})
}

// RefuseQuery remembers a query as refused in one transaction, without charging
// it. A query that is known already is left as it is, and returned; otherwise the
// result is New.
func (s *Store) RefuseQuery(ctx context.Context, b Begin, decision string, leaves ...Leaf) (QueryState, error) {
	var state QueryState
	err := s.gateway.write(ctx, "refusing a query", func(t *tx) error {
		known, err := t.query(b.QueryKey, b.RequestDigest, &state)
		if known || err != nil {
			return err
		}
		if b.PolicyInput != nil {
			if err := t.putPolicyInput(b.PolicyInput); err != nil {
				return err
			}
		}
		if err := t.exec(insertQuery, b.Peer, b.Agreement, b.ID[:], b.RequestDigest[:], int64(Refused),
			millis(b.Time), millis(b.Time), decision, nil); err != nil {
			return err
		}
		state.Progress = New
		return t.putLeaves(leaves)
	})
	if err != nil {
		return QueryState{}, err
	}
	return state, nil
}

// LookupQuery returns how far a query has come without changing anything, or an
// error wrapping [ErrNotFound].
func (s *Store) LookupQuery(ctx context.Context, k QueryKey) (QueryState, error) {
	var state QueryState
	var progress int64
	var digest []byte
	err := s.gateway.get(ctx, "reading a query",
		"SELECT digest, state, decision, answer FROM queries WHERE peer = $1 AND agreement = $2 AND id = $3",
		[]any{k.Peer, k.Agreement, k.ID[:]}, &digest, &progress, &state.Decision, &state.Answer)
	if err == nil {
		err = outside(fixed(state.Digest[:], digest))
	}
	if err != nil {
		return QueryState{}, err
	}
	state.Progress = Progress(progress)
	return state, nil
}

// AcknowledgeAnswer deletes the answer of a query, which the peer has. It is
// idempotent, and returns an error wrapping [ErrNotFound] for an unknown query,
// and one wrapping [ErrState] for one that was not answered.
func (s *Store) AcknowledgeAnswer(ctx context.Context, k QueryKey) error {
	return s.gateway.write(ctx, "acknowledging an answer", func(t *tx) error {
		var progress int64
		err := t.row("SELECT state FROM queries WHERE peer = $1 AND agreement = $2 AND id = $3",
			[]any{k.Peer, k.Agreement, k.ID[:]}, &progress)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("%w: query", ErrNotFound)
		case err != nil:
			return err
		case Progress(progress) == Gone:
			return nil
		case Progress(progress) != Answered:
			return fmt.Errorf("%w: query was not answered", ErrState)
		}
		return t.exec("UPDATE queries SET state = $1, answer = NULL WHERE peer = $2 AND agreement = $3 AND id = $4",
			int64(Gone), k.Peer, k.Agreement, k.ID[:])
	})
}

// ExpireAnswers deletes the answers that are older than [AnswerLife] at now, and
// forgets queries whose ids are not accepted any more. Pending queries stay. It
// returns how many answers were deleted.
func (s *Store) ExpireAnswers(ctx context.Context, now time.Time) (n int64, err error) {
	err = s.gateway.write(ctx, "expiring answers", func(t *tx) error {
		n, err = t.expireAnswers(now)
		return err
	})
	return n, err
}

func (t *tx) expireAnswers(now time.Time) (int64, error) {
	n, err := t.changed("UPDATE queries SET state = $1, answer = NULL WHERE state = $2 AND begun <= $3",
		int64(Gone), int64(Answered), millis(now.Add(-AnswerLife)))
	if err != nil {
		return 0, err
	}
	return n, t.exec("DELETE FROM queries WHERE begun < $1 AND state <> $2", millis(now.Add(-queryLife)), int64(Pending))
}

// A PendingQuery was accepted, and has no end.
type PendingQuery struct {
	QueryKey
	RequestDigest [32]byte
	Begun         time.Time
}

// PendingQueries returns the queries that have no end, oldest first. At start they
// are left over from a crash: they are never computed again, because whether an
// answer left is unknown. Close them as Failed, with an entry in the log.
func (s *Store) PendingQueries(ctx context.Context) ([]PendingQuery, error) {
	var all []PendingQuery
	err := s.gateway.each(ctx, "reading pending queries",
		"SELECT peer, agreement, id, digest, begun FROM queries WHERE state = 1 ORDER BY begun", nil,
		func(scan func(...any) error) error {
			var q PendingQuery
			var id, digest []byte
			var begun int64
			if err := scan(&q.Peer, &q.Agreement, &id, &digest, &begun); err != nil {
				return err
			}
			q.Begun = moment(begun)
			if err := fixed(q.ID[:], id); err != nil {
				return err
			}
			if err := fixed(q.RequestDigest[:], digest); err != nil {
				return err
			}
			all = append(all, q)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

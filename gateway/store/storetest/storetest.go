// Package storetest checks that a store keeps the promises of package store,
// whatever database is below it.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/store"
)

// Noon is the time at which the tests take place.
var Noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	peer       = "b.example"
	collection = "watchlist"
)

// Run runs the suite. Open must return a new, empty store for each call, and close
// it when the test ends.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *store.Store)
	}{
		{"Records", testRecords},
		{"RecordsAtomic", testRecordsAtomic},
		{"Handles", testHandles},
		{"QueryOnce", testQueryOnce},
		{"QueryEnds", testQueryEnds},
		{"QueryRefuse", testQueryRefuse},
		{"Budget", testBudget},
		{"BudgetConcurrent", testBudgetConcurrent},
		{"QueryOnceConcurrent", testQueryOnceConcurrent},
		{"ExpireAnswers", testExpireAnswers},
		{"Asks", testAsks},
		{"AskStates", testAskStates},
		{"Outcomes", testOutcomes},
		{"Candidates", testCandidates},
		{"PolicyInputs", testPolicyInputs},
		{"Sealed", testSealed},
		{"Purge", testPurge},
		{"Leaves", testLeaves},
		{"Segments", testSegments},
		{"Heads", testHeads},
		{"Forks", testForks},
		{"HeadsConcurrent", testHeadsConcurrent},
		{"DropSets", testDropSets},
		{"Published", testPublished},
		{"Peers", testPeers},
		{"Agreements", testAgreements},
		{"Officers", testOfficers},
		{"Meta", testMeta},
		{"Checkpoints", testCheckpoints},
		{"Cancelled", testCancelled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			tt.run(t, s)
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("Check after the test: %v", err)
			}
		})
	}
}

// ok stops the test on an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is reports an error that is not the wanted one.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error = %v, want %v", what, err, want)
	}
}

// same reports two values that differ.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s =\n %+v, want\n %+v", what, got, want)
	}
}

func id(n int) (b [16]byte) {
	b[0], b[14], b[15] = 1, byte(n>>8), byte(n)
	return b
}

func hash(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func seq(rows ...store.RecordRow) iter.Seq2[store.RecordRow, error] {
	return func(yield func(store.RecordRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func row(n int, json string) store.RecordRow {
	return store.RecordRow{ID: fmt.Sprintf("r%04d", n), JSON: []byte(json), BirthDate: "1980-01-02", ReviewBy: "2027-01-31",
		Originator: "A", AlertKind: "refuse"}
}

func all(t *testing.T, s *store.Store, collection string) []store.RecordRow {
	t.Helper()
	var rows []store.RecordRow
	for r, err := range s.Records(t.Context(), collection) {
		ok(t, err)
		rows = append(rows, r)
	}
	return rows
}

func testRecords(t *testing.T, s *store.Store) {
	ctx := t.Context()
	n, err := s.PutRecords(ctx, collection, "list.csv", seq(row(2, "{}"), row(1, `{"a":1}`), row(3, "{}")))
	ok(t, err)
	same(t, "first file", n, store.PutResult{Added: 3})
	v1, err := s.CollectionVersion(ctx, collection)
	ok(t, err)

	changed := row(3, "{}")
	changed.ProtectionStatus = "asylum"
	n, err = s.PutRecords(ctx, collection, "more.csv", seq(row(1, `{"a":2}`), row(2, "{}"), changed, row(4, "{}")))
	ok(t, err)
	same(t, "second file", n, store.PutResult{Added: 1, Changed: 2, Unchanged: 1})
	v2, err := s.CollectionVersion(ctx, collection)
	ok(t, err)
	if v1 == 0 || v2 <= v1 {
		t.Errorf("version went from %d to %d, want it to grow from above 0", v1, v2)
	}

	n, err = s.PutRecords(ctx, collection, "same.csv", seq(row(2, "{}")))
	ok(t, err)
	same(t, "unchanged file", n, store.PutResult{Unchanged: 1})
	if v, _ := s.CollectionVersion(ctx, collection); v != v2 {
		t.Errorf("version = %d after no change, want %d", v, v2)
	}

	want := []store.RecordRow{row(1, `{"a":2}`), row(2, "{}"), changed, row(4, "{}")}
	for i, v := range []int64{2, 1, 2, 1} {
		want[i].Version, want[i].File = v, "more.csv"
	}
	want[1].File = "list.csv"
	same(t, "Records", all(t, s, collection), want)
	got, err := s.Record(ctx, collection, "r0003")
	ok(t, err)
	same(t, "Record", got, want[2])
	same(t, "Records of an unknown collection", len(all(t, s, "other")), 0)

	ok(t, s.DeleteRecord(ctx, collection, "r0001"))
	is(t, "deleting twice", s.DeleteRecord(ctx, collection, "r0001"), store.ErrNotFound)
	_, err = s.Record(ctx, collection, "r0001")
	is(t, "reading a deleted record", err, store.ErrNotFound)
	if v, _ := s.CollectionVersion(ctx, collection); v <= v2 {
		t.Errorf("version = %d after a deletion, want more than %d", v, v2)
	}
	count, err := s.CountRecords(ctx, collection)
	ok(t, err)
	same(t, "CountRecords", count, int64(3))

	_, err = s.PutRecords(ctx, "empty", "empty.csv", seq())
	ok(t, err)
	infos, err := s.Collections(ctx)
	ok(t, err)
	same(t, "Collections", infos, []store.CollectionInfo{{Name: "empty"}, {Name: collection, Version: v2 + 1, Records: 3}})

	// Whoever stops reading early does not leave the reader stuck.
	for range 50 {
		for range s.Records(ctx, collection) {
			break
		}
	}
}

// testRecordsAtomic ends files by an error in the middle: nothing of them must be
// there.
func testRecordsAtomic(t *testing.T, s *store.Store) {
	ctx := t.Context()
	_, err := s.PutRecords(ctx, collection, "first", seq(row(1, "old")))
	ok(t, err)
	before, _ := s.CollectionVersion(ctx, collection)

	broken := errors.New("line 3 is broken")
	n, err := s.PutRecords(ctx, collection, "second", func(yield func(store.RecordRow, error) bool) {
		if yield(row(1, "new"), nil) && yield(row(2, "new"), nil) {
			yield(store.RecordRow{}, broken)
		}
	})
	is(t, "file with an error", err, broken)
	same(t, "counts of a file with an error", n, store.PutResult{})

	_, err = s.PutRecords(ctx, collection, "third", seq(row(1, "new"), store.RecordRow{JSON: []byte("{}")}))
	is(t, "record without id", err, store.ErrInvalid)

	cancelled, cancel := context.WithCancel(ctx)
	_, err = s.PutRecords(cancelled, collection, "fourth", func(yield func(store.RecordRow, error) bool) {
		for i := 0; yield(row(i, "new"), nil); i++ {
			if i == 10 {
				cancel()
			}
		}
	})
	is(t, "cancelled file", err, context.Canceled)

	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of the caller was swallowed")
			}
		}()
		s.PutRecords(ctx, collection, "fifth", func(yield func(store.RecordRow, error) bool) {
			yield(row(1, "new"), nil)
			panic("reader")
		})
	}()

	rows := all(t, s, collection)
	if len(rows) != 1 || string(rows[0].JSON) != "old" {
		t.Errorf("%d records after files that failed, want the old one", len(rows))
	}
	if v, _ := s.CollectionVersion(ctx, collection); v != before {
		t.Errorf("version = %d after files that failed, want %d", v, before)
	}
}

func testHandles(t *testing.T, s *store.Store) {
	ctx := t.Context()
	h := func(n byte) (b [8]byte) { b[7] = n; return b }
	first := []store.HandleRow{{Handle: h(1), RecordID: "r1"}, {Handle: h(2), RecordID: "r2"}}
	got, err := s.PutHandles(ctx, peer, collection, 1, first)
	ok(t, err)
	same(t, "new handles", got, first)

	got, err = s.PutHandles(ctx, peer, collection, 1, []store.HandleRow{{Handle: h(9), RecordID: "r2"}, {Handle: h(3), RecordID: "r3"}})
	ok(t, err)
	same(t, "a record keeps its handle", got, []store.HandleRow{{Handle: h(2), RecordID: "r2"}, {Handle: h(3), RecordID: "r3"}})

	_, err = s.PutHandles(ctx, peer, collection, 1, []store.HandleRow{{Handle: h(4), RecordID: "r4"}, {Handle: h(1), RecordID: "r5"}})
	is(t, "handle of another record", err, store.ErrExists)

	// Another epoch and another peer are another world.
	_, err = s.PutHandles(ctx, peer, collection, 2, []store.HandleRow{{Handle: h(2), RecordID: "r1"}})
	ok(t, err)
	_, err = s.PutHandles(ctx, "c.example", collection, 1, []store.HandleRow{{Handle: h(1), RecordID: "r7"}})
	ok(t, err)

	m, err := s.Handles(ctx, peer, collection, 1)
	ok(t, err)
	same(t, "Handles", m, map[string][8]byte{"r1": h(1), "r2": h(2), "r3": h(3)})
	for _, tt := range []struct {
		peer  string
		epoch uint32
		h     [8]byte
		want  string
	}{{peer, 1, h(2), "r2"}, {peer, 2, h(2), "r1"}, {"c.example", 1, h(1), "r7"}} {
		got, err := s.RecordByHandle(ctx, tt.peer, collection, tt.epoch, tt.h)
		ok(t, err)
		same(t, "RecordByHandle", got, tt.want)
	}
	_, err = s.RecordByHandle(ctx, "c.example", collection, 1, h(2))
	is(t, "handle of another peer", err, store.ErrNotFound)

	for _, tt := range []struct {
		peer    string
		epoch   uint32
		records []string
		want    bool
	}{{peer, 1, []string{"r9", "r3"}, true}, {peer, 1, []string{"r9", "r7"}, false}, {peer, 2, []string{"r2", "r3"}, false},
		{peer, 1, nil, false}, {"c.example", 1, []string{"r7"}, true}} {
		got, err := s.AnyHandle(ctx, tt.peer, collection, tt.epoch, tt.records)
		ok(t, err)
		same(t, fmt.Sprint("AnyHandle of ", tt.records), got, tt.want)
	}

	n, err := s.DropHandles(ctx, peer, collection, 2)
	ok(t, err)
	same(t, "dropped", n, int64(3))
	_, err = s.RecordByHandle(ctx, peer, collection, 1, h(2))
	is(t, "handle of a dropped epoch", err, store.ErrNotFound)
}

func begin(n int, charges ...store.Charge) store.Begin {
	return store.Begin{QueryKey: store.QueryKey{Peer: peer, Agreement: "a", ID: id(n)}, RequestDigest: hash("request"),
		Time: Noon, Charges: charges}
}

func testQueryOnce(t *testing.T, s *store.Store) {
	ctx := t.Context()
	b := begin(1, store.Charge{Counter: "day", Amount: 4, Limit: 10}, store.Charge{Counter: "burst", Amount: 4, Limit: 5})
	st, err := s.BeginQuery(ctx, b)
	ok(t, err)
	same(t, "first", st, store.QueryState{Progress: store.New, Used: []int64{4, 4}})

	st, err = s.BeginQuery(ctx, b)
	ok(t, err)
	same(t, "while pending", st, store.QueryState{Progress: store.Pending})
	pending, err := s.PendingQueries(ctx)
	ok(t, err)
	same(t, "PendingQueries", pending, []store.PendingQuery{{QueryKey: b.QueryKey, RequestDigest: b.RequestDigest, Begun: Noon}})

	leaf := store.Leaf{Query: b.ID, Log: "shared", Kind: "decision", Index: 7, Hash: hash("leaf")}
	ok(t, s.FinishQuery(ctx, b.QueryKey, store.Finish{Progress: store.Answered, Decision: "RU-01", Answer: []byte("bytes"),
		Time: Noon, Leaves: []store.Leaf{leaf}}))
	for range 2 {
		st, err = s.BeginQuery(ctx, b)
		ok(t, err)
		same(t, "retry", st, store.QueryState{Progress: store.Answered, Decision: "RU-01", Answer: []byte("bytes")})
	}
	leaves, err := s.Leaves(ctx, b.ID)
	ok(t, err)
	same(t, "Leaves", leaves, []store.Leaf{leaf})
	used, err := s.BudgetUsed(ctx, "day")
	ok(t, err)
	same(t, "charged once", used, int64(4))

	// The same id with another request.
	other := b
	other.RequestDigest = hash("other")
	st, err = s.BeginQuery(ctx, other)
	is(t, "another request", err, store.ErrQueryIDReused)
	same(t, "state with an error", st, store.QueryState{})
	_, err = s.RefuseQuery(ctx, other, "RU-01")
	is(t, "refusing another request", err, store.ErrQueryIDReused)

	// Another peer, or another agreement, does not get the answer.
	for _, k := range []store.QueryKey{{Peer: "c.example", Agreement: "a", ID: id(1)}, {Peer: peer, Agreement: "b", ID: id(1)}} {
		other := b
		other.QueryKey, other.Charges = k, nil
		st, err = s.BeginQuery(ctx, other)
		ok(t, err)
		same(t, "another key", st, store.QueryState{Progress: store.New})
		ok(t, s.FinishQuery(ctx, k, store.Finish{Progress: store.Failed, Time: Noon}))
	}

	ok(t, s.AcknowledgeAnswer(ctx, b.QueryKey))
	ok(t, s.AcknowledgeAnswer(ctx, b.QueryKey))
	st, err = s.BeginQuery(ctx, b)
	ok(t, err)
	same(t, "after the acknowledgement", st, store.QueryState{Progress: store.Gone, Decision: "RU-01"})
}

func testQueryEnds(t *testing.T, s *store.Store) {
	ctx := t.Context()
	for i, end := range []store.Progress{store.Answered, store.Refused, store.Failed} {
		b := begin(i)
		is(t, "finishing an unknown query", s.FinishQuery(ctx, b.QueryKey, store.Finish{Progress: store.Failed}), store.ErrState)
		_, err := s.BeginQuery(ctx, b)
		ok(t, err)
		f := store.Finish{Progress: end, Decision: "d", Time: Noon}
		if end == store.Answered {
			is(t, "answer without bytes", s.FinishQuery(ctx, b.QueryKey, f), store.ErrInvalid)
			f.Answer = []byte("bytes")
		}
		ok(t, s.FinishQuery(ctx, b.QueryKey, f))
		is(t, "finishing twice", s.FinishQuery(ctx, b.QueryKey, f), store.ErrState)
		st, err := s.LookupQuery(ctx, b.QueryKey)
		ok(t, err)
		same(t, "LookupQuery", st, store.QueryState{Digest: b.RequestDigest, Progress: end, Decision: "d", Answer: f.Answer})
		if end != store.Answered {
			is(t, "acknowledging no answer", s.AcknowledgeAnswer(ctx, b.QueryKey), store.ErrState)
		}
	}
	for _, p := range []store.Progress{0, store.New, store.Pending, store.Gone} {
		is(t, "finishing as "+p.String(), s.FinishQuery(ctx, begin(0).QueryKey, store.Finish{Progress: p}), store.ErrInvalid)
	}
	_, err := s.LookupQuery(ctx, begin(99).QueryKey)
	is(t, "looking up an unknown query", err, store.ErrNotFound)
	is(t, "acknowledging an unknown query", s.AcknowledgeAnswer(ctx, begin(99).QueryKey), store.ErrNotFound)
	pending, err := s.PendingQueries(ctx)
	ok(t, err)
	same(t, "pending", len(pending), 0)
}

func testQueryRefuse(t *testing.T, s *store.Store) {
	ctx := t.Context()
	b := begin(1, store.Charge{Counter: "day", Amount: 1, Limit: 1})
	b.PolicyInput = &store.PolicyInput{Digest: hash("input"), Input: []byte("{}"), Created: Noon}
	st, err := s.RefuseQuery(ctx, b, "RU-03", store.Leaf{Query: b.ID, Log: "shared", Kind: "decision", Index: 1})
	ok(t, err)
	same(t, "first refusal", st.Progress, store.New)
	st, err = s.BeginQuery(ctx, b)
	ok(t, err)
	same(t, "retry", st, store.QueryState{Progress: store.Refused, Decision: "RU-03"})
	st, err = s.RefuseQuery(ctx, b, "RU-04")
	ok(t, err)
	same(t, "second refusal", st, store.QueryState{Progress: store.Refused, Decision: "RU-03"})
	if used, _ := s.BudgetUsed(ctx, "day"); used != 0 {
		t.Errorf("a refusal was charged %d", used)
	}
	in, err := s.PolicyInput(ctx, hash("input"))
	ok(t, err)
	same(t, "PolicyInput", string(in), "{}")
}

func testBudget(t *testing.T, s *store.Store) {
	ctx := t.Context()
	day := store.Charge{Counter: "day", Amount: 6, Limit: 10, Until: Noon.Add(12 * time.Hour)}
	unit := store.Charge{Counter: "unit", Amount: 6, Limit: 100}
	_, err := s.BeginQuery(ctx, begin(1, unit, day))
	ok(t, err)

	st, err := s.BeginQuery(ctx, begin(2, unit, day))
	is(t, "over budget", err, store.ErrBudget)
	same(t, "state over budget", st, store.QueryState{})
	over := new(store.BudgetError)
	if !errors.As(err, &over) {
		t.Fatalf("error is %T, want a *BudgetError", err)
	}
	same(t, "BudgetError", *over, store.BudgetError{Counter: "day", Used: 6, Amount: 6, Limit: 10, Until: Noon.Add(12 * time.Hour)})
	if used, _ := s.BudgetUsed(ctx, "unit"); used != 6 {
		t.Errorf("a query over budget was charged: unit is at %d, want 6", used)
	}
	_, err = s.LookupQuery(ctx, begin(2).QueryKey)
	is(t, "a query over budget is not remembered", err, store.ErrNotFound)

	day.Amount = 4
	st, err = s.BeginQuery(ctx, begin(2, unit, day))
	ok(t, err)
	same(t, "up to the limit", st.Used, []int64{12, 10})
	day.Amount = 0
	_, err = s.BeginQuery(ctx, begin(3, day))
	ok(t, err)

	// More than the limit at once, on a counter that does not exist.
	_, err = s.BeginQuery(ctx, begin(4, store.Charge{Counter: "new", Amount: 11, Limit: 10}))
	is(t, "more than the limit", err, store.ErrBudget)
	// A lowered limit.
	_, err = s.BeginQuery(ctx, begin(5, store.Charge{Counter: "day", Amount: 1, Limit: 5}))
	is(t, "lowered limit", err, store.ErrBudget)
	for _, c := range []store.Charge{{Counter: "x", Amount: -1, Limit: 1}, {Counter: "x", Amount: 1, Limit: -1}, {Amount: 1, Limit: 1}} {
		_, err = s.BeginQuery(ctx, begin(6, c))
		is(t, "invalid charge", err, store.ErrInvalid)
	}
}

// testBudgetConcurrent charges one counter from all sides: it must end exactly at
// its limit, and the queries that were accepted must account for all of it.
func testBudgetConcurrent(t *testing.T, s *store.Store) {
	const limit, amount, queries = 30, 2, 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for i := range queries {
		wg.Go(func() {
			st, err := s.BeginQuery(t.Context(), begin(i, store.Charge{Counter: "day", Amount: amount, Limit: limit}))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && st.Progress == store.New:
				accepted++
			case !errors.Is(err, store.ErrBudget):
				t.Errorf("BeginQuery = %v, %v", st.Progress, err)
			}
		})
	}
	wg.Wait()
	used, err := s.BudgetUsed(t.Context(), "day")
	ok(t, err)
	if accepted != limit/amount || used != limit {
		t.Errorf("%d queries accepted and %d used, want %d and %d", accepted, used, limit/amount, limit)
	}
	pending, err := s.PendingQueries(t.Context())
	ok(t, err)
	same(t, "pending", len(pending), accepted)
}

// testQueryOnceConcurrent sends one query many times at once: it must be new
// exactly once.
func testQueryOnceConcurrent(t *testing.T, s *store.Store) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[store.Progress]int)
	for range 16 {
		wg.Go(func() {
			st, err := s.BeginQuery(t.Context(), begin(1, store.Charge{Counter: "day", Amount: 1, Limit: 100}))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			seen[st.Progress]++
		})
	}
	wg.Wait()
	same(t, "progress", seen, map[store.Progress]int{store.New: 1, store.Pending: 15})
	if used, _ := s.BudgetUsed(t.Context(), "day"); used != 1 {
		t.Errorf("charged %d times, want once", used)
	}
}

func testExpireAnswers(t *testing.T, s *store.Store) {
	ctx := t.Context()
	for i := range 3 {
		b := begin(i)
		b.Time = Noon.Add(time.Duration(i) * time.Hour)
		_, err := s.BeginQuery(ctx, b)
		ok(t, err)
		if i < 2 {
			ok(t, s.FinishQuery(ctx, b.QueryKey, store.Finish{Progress: store.Answered, Answer: []byte("x"), Time: b.Time}))
		}
	}
	n, err := s.ExpireAnswers(ctx, Noon.Add(store.AnswerLife-time.Millisecond))
	ok(t, err)
	same(t, "expired early", n, int64(0))
	n, err = s.ExpireAnswers(ctx, Noon.Add(store.AnswerLife))
	ok(t, err)
	same(t, "expired", n, int64(1))
	st, err := s.BeginQuery(ctx, begin(0))
	ok(t, err)
	same(t, "expired answer", st, store.QueryState{Progress: store.Gone})

	_, err = s.ExpireAnswers(ctx, Noon.Add(72*time.Hour))
	ok(t, err)
	_, err = s.LookupQuery(ctx, begin(1).QueryKey)
	is(t, "forgotten query", err, store.ErrNotFound)
	st, err = s.LookupQuery(ctx, begin(2).QueryKey)
	ok(t, err)
	same(t, "a pending query is not forgotten", st.Progress, store.Pending)
}

func ask(n int) store.Ask {
	return store.Ask{ID: id(n), Request: id(1000), Holder: peer, Collection: collection, Agreement: "a", Purpose: "ct",
		Kind: "single", Items: 1, Officer: "f00d", Unit: "cafe", State: store.AskIntent, ListVersion: 7,
		RequestDigest: hash("request"), Created: Noon.Add(time.Duration(n) * time.Minute)}
}

func stored(a store.Ask) store.Ask {
	if a.Updated.IsZero() {
		a.Updated = a.Created
	}
	return a
}

func testAsks(t *testing.T, s *store.Store) {
	ctx := t.Context()
	content := store.SealedContent{Hash: hash("sealed"), Content: []byte("sealed"), Expires: Noon.Add(time.Hour)}
	input := store.PolicyInput{Digest: hash("input"), Input: []byte("{}"), Created: Noon}
	leaf := store.Leaf{Query: id(1), Log: "shared", Kind: "intent", Index: 3, Hash: hash("leaf")}
	r := store.Request{ID: id(1000), Digest: hash("signed"), Created: Noon}
	other := ask(2)
	other.Holder, other.Kind, other.Officer = "c.example", "set", "beef"
	counts := []store.Count{{Counter: "asked day", Amount: 4}, {Counter: "asked minute", Amount: 4, Until: Noon}}
	used, err := s.PutRequest(ctx, r, store.Intent{Ask: ask(1), PolicyInput: &input, Sealed: &content, Leaves: []store.Leaf{leaf},
		Counts: counts}, store.Intent{Ask: other, Counts: counts[:1]})
	ok(t, err)
	same(t, "counters", used, [][]int64{{4, 4}, {8}})

	got, err := s.Ask(ctx, id(1))
	ok(t, err)
	same(t, "Ask", got, stored(ask(1)))
	req, err := s.Request(ctx, id(1000))
	ok(t, err)
	same(t, "Request", req, r)
	b, err := s.Sealed(ctx, content.Hash)
	ok(t, err)
	same(t, "sealed content", b, content.Content)
	expiry, err := s.SealedExpiry(ctx, content.Hash)
	ok(t, err)
	same(t, "expiry", expiry.UTC(), content.Expires.UTC())
	_, err = s.SealedExpiry(ctx, hash("unknown"))
	is(t, "expiry of unknown content", err, store.ErrNotFound)
	leaves, err := s.Leaves(ctx, id(1))
	ok(t, err)
	same(t, "leaves", leaves, []store.Leaf{leaf})
	_, err = s.PolicyInput(ctx, input.Digest)
	ok(t, err)

	_, err = s.PutRequest(ctx, r, store.Intent{Ask: ask(3), Counts: counts})
	is(t, "same request", err, store.ErrRequestReused)
	_, err = s.Ask(ctx, id(3))
	is(t, "ask of a refused request", err, store.ErrNotFound)
	r.ID = id(1001)
	_, err = s.PutRequest(ctx, r, store.Intent{Ask: ask(4), Counts: counts}, store.Intent{Ask: ask(1)})
	is(t, "same query", err, store.ErrExists)
	n, err := s.BudgetUsed(ctx, "asked day")
	ok(t, err)
	same(t, "counted only what was stored", n, int64(8))
	_, err = s.Request(ctx, id(1001))
	is(t, "request with a known query", err, store.ErrNotFound)
	_, err = s.Ask(ctx, id(99))
	is(t, "unknown ask", err, store.ErrNotFound)

	for i := 5; i < 10; i++ {
		a := ask(i)
		a.Request = id(2000)
		ok(t, s.PutAsk(ctx, store.Intent{Ask: a}))
	}
	for _, tt := range []struct {
		name string
		f    store.AskFilter
		want []int
	}{
		{"all", store.AskFilter{}, []int{9, 8, 7, 6, 5, 2, 1}},
		{"page", store.AskFilter{Limit: 2}, []int{9, 8}},
		{"next page", store.AskFilter{Limit: 2, After: id(8)}, []int{7, 6}},
		{"request", store.AskFilter{Request: id(1000)}, []int{2, 1}},
		{"holder", store.AskFilter{Holder: "c.example"}, []int{2}},
		{"officer", store.AskFilter{Officer: "beef"}, []int{2}},
		{"unit and purpose", store.AskFilter{Unit: "cafe", Purpose: "ct", Limit: 1}, []int{9}},
		{"time", store.AskFilter{Since: Noon.Add(5 * time.Minute), Until: Noon.Add(7 * time.Minute)}, []int{6, 5}},
		{"state", store.AskFilter{State: store.AskAnswered}, nil},
		{"nothing", store.AskFilter{Collection: "other"}, nil},
	} {
		found, err := s.Asks(ctx, tt.f)
		ok(t, err)
		var ids []int
		for _, a := range found {
			ids = append(ids, int(a.ID[15]))
		}
		same(t, "Asks by "+tt.name, ids, tt.want)
	}
}

func testAskStates(t *testing.T, s *store.Store) {
	ctx := t.Context()
	content := store.SealedContent{Hash: hash("sealed"), Content: []byte("sealed"), Expires: Noon.Add(time.Hour)}
	ok(t, s.PutAsk(ctx, store.Intent{Ask: ask(1), Sealed: &content}, store.Intent{Ask: ask(2)}))
	ok(t, s.UpdateAsk(ctx, store.AskUpdate{ID: id(1), State: store.AskSent, Time: Noon.Add(time.Hour)}))
	c := candidate(1, 1)
	leaf := store.Leaf{Query: id(1), Log: "internal", Kind: "outcome", Index: 9, Hash: hash("leaf")}
	ok(t, s.UpdateAsk(ctx, store.AskUpdate{ID: id(1), State: store.AskAnswered, Receipt: []byte("receipt"),
		RequestDigest: hash("final"), Header: []byte("header"), Time: Noon.Add(2 * time.Hour), Leaves: []store.Leaf{leaf}, Candidates: []store.Candidate{c},
		Keep: &store.Keep{Hash: content.Hash, Until: Noon.Add(3 * time.Hour)}},
		store.AskUpdate{ID: id(2), State: store.AskFailed, Reason: "UNREACHABLE"}))

	want := stored(ask(1))
	want.State, want.Receipt, want.RequestDigest, want.Candidates = store.AskAnswered, []byte("receipt"), hash("final"), 1
	want.Updated, want.Header = Noon.Add(2*time.Hour), []byte("header")
	got, err := s.Ask(ctx, id(1))
	ok(t, err)
	same(t, "answered", got, want)
	want2 := stored(ask(2))
	want2.State, want2.Reason = store.AskFailed, "UNREACHABLE"
	got, err = s.Ask(ctx, id(2))
	ok(t, err)
	same(t, "failed", got, want2)
	found, err := s.Candidates(ctx, store.CandidateFilter{Query: id(1)})
	ok(t, err)
	same(t, "candidates", found, []store.Candidate{c})
	expiry, err := s.SealedExpiry(ctx, content.Hash)
	ok(t, err)
	same(t, "kept until", expiry.UTC(), Noon.Add(3*time.Hour).UTC())

	for _, st := range []store.AskState{store.AskIntent, store.AskSent, store.AskFailed, store.AskFailed + 1} {
		is(t, "changing the end to "+st.String(), s.UpdateAsk(ctx, store.AskUpdate{ID: id(1), State: st}), store.ErrState)
	}
	// What belongs to an end may still come: a proof, a leaf.
	ok(t, s.UpdateAsk(ctx, store.AskUpdate{ID: id(1), Receipt: []byte("receipt with proof")}))
	got, _ = s.Ask(ctx, id(1))
	same(t, "receipt", string(got.Receipt), "receipt with proof")

	// One update that fails undoes the others of the call.
	is(t, "unknown ask", s.UpdateAsk(ctx, store.AskUpdate{ID: id(2), Reason: "OTHER"}, store.AskUpdate{ID: id(99)}), store.ErrNotFound)
	got, _ = s.Ask(ctx, id(2))
	same(t, "undone", got.Reason, "UNREACHABLE")
	is(t, "keeping unknown content", s.UpdateAsk(ctx, store.AskUpdate{ID: id(2), Reason: "OTHER", Keep: &store.Keep{Hash: hash("unknown"), Until: Noon}}),
		store.ErrNotFound)
	ok(t, s.EraseSealed(ctx, content.Hash, Noon))
	is(t, "keeping erased content", s.UpdateAsk(ctx, store.AskUpdate{ID: id(2), Reason: "OTHER", Keep: &store.Keep{Hash: content.Hash, Until: Noon}}),
		store.ErrErased)
	got, _ = s.Ask(ctx, id(2))
	same(t, "undone, without the content", got.Reason, "UNREACHABLE")
	is(t, "invalid state", s.PutAsk(ctx, store.Intent{Ask: store.Ask{ID: id(5)}}), store.ErrInvalid)
}

func candidate(n, query int) store.Candidate {
	return store.Candidate{ID: id(n), Query: id(query), Request: id(1000), Holder: peer, Collection: collection, Epoch: 3,
		ListVersion: 7, Handle: [8]byte{1, 2, 3, 4, 5, 6, 7, byte(n)}, Item: "seat 12A", Weight: 61, Kind: 2, Instruction: 1,
		State: "new", Detail: []byte(`["doc"]`), Created: Noon, Expires: Noon.Add(24 * time.Hour)}
}

func testOutcomes(t *testing.T, s *store.Store) {
	ctx := t.Context()
	for n := range 4 {
		ok(t, s.PutAsk(ctx, store.Intent{Ask: ask(n)}))
	}
	outcome := func(n int) store.Outcome {
		return store.Outcome{Query: id(n), Entry: fmt.Appendf(nil, "entry %d", n), After: uint64(10 + n)}
	}
	end := func(n int) store.AskUpdate {
		o := outcome(n)
		return store.AskUpdate{ID: id(n), State: store.AskAnswered, Outcome: &o}
	}
	waiting := func(limit int, want ...store.Outcome) {
		t.Helper()
		got, err := s.Outcomes(ctx, limit)
		ok(t, err)
		same(t, "outcomes", got, want)
	}
	waiting(10)
	ok(t, s.UpdateAsk(ctx, end(2), end(0), end(1)))
	waiting(10, outcome(0), outcome(1), outcome(2))
	waiting(2, outcome(0), outcome(1))

	// A query ends once, and has no other outcome than that of its end.
	again := end(0)
	is(t, "a second end", s.UpdateAsk(ctx, store.AskUpdate{ID: id(0), State: store.AskFailed, Outcome: again.Outcome}), store.ErrState)
	is(t, "a second outcome", s.UpdateAsk(ctx, again), store.ErrExists)
	// An end that fails leaves none.
	is(t, "unknown ask", s.UpdateAsk(ctx, end(3), end(99)), store.ErrNotFound)
	waiting(10, outcome(0), outcome(1), outcome(2))

	ok(t, s.ForgetOutcomes(ctx, id(0), id(2), id(77)))
	waiting(10, outcome(1))
	ok(t, s.ForgetOutcomes(ctx))
	waiting(10, outcome(1))
}

func testCandidates(t *testing.T, s *store.Store) {
	ctx := t.Context()
	ok(t, s.PutCandidates(ctx, candidate(1, 1), candidate(2, 1), candidate(3, 2)))
	is(t, "same candidate", s.PutCandidates(ctx, candidate(4, 1), candidate(3, 2)), store.ErrExists)
	found, err := s.Candidates(ctx, store.CandidateFilter{})
	ok(t, err)
	same(t, "Candidates", found, []store.Candidate{candidate(3, 2), candidate(2, 1), candidate(1, 1)})
	found, err = s.Candidates(ctx, store.CandidateFilter{Query: id(1), After: id(2)})
	ok(t, err)
	same(t, "next page of a query", found, []store.Candidate{candidate(1, 1)})

	ok(t, s.SetCandidateState(ctx, id(1), "new", "rejected"))
	is(t, "second decision", s.SetCandidateState(ctx, id(1), "new", "confirmed"), store.ErrState)
	found, err = s.Candidates(ctx, store.CandidateFilter{State: "rejected", Holder: peer, Collection: collection})
	ok(t, err)
	want := candidate(1, 1)
	want.State = "rejected"
	same(t, "rejected", found, []store.Candidate{want})
	found, err = s.Candidates(ctx, store.CandidateFilter{ID: id(2)})
	ok(t, err)
	same(t, "by id", found, []store.Candidate{candidate(2, 1)})
}

func testPolicyInputs(t *testing.T, s *store.Store) {
	ctx := t.Context()
	in := func(n int, expires time.Time) store.PolicyInput {
		return store.PolicyInput{Digest: hash(fmt.Sprint(n)), Input: []byte{byte(n)}, Created: Noon.Add(time.Duration(n) * time.Hour),
			Expires: expires}
	}
	for n := range 3 {
		ok(t, s.PutPolicyInput(ctx, in(n, Noon.Add(10*time.Hour))))
	}
	ok(t, s.PutPolicyInput(ctx, in(1, Noon.Add(20*time.Hour))))
	ok(t, s.PutPolicyInput(ctx, in(1, Noon.Add(5*time.Hour))))
	b, err := s.PolicyInput(ctx, hash("1"))
	ok(t, err)
	same(t, "PolicyInput", b, []byte{1})
	_, err = s.PolicyInput(ctx, hash("9"))
	is(t, "unknown input", err, store.ErrNotFound)

	var got []store.PolicyInput
	ok(t, s.PolicyInputs(ctx, Noon.Add(time.Hour), Noon.Add(3*time.Hour), func(in store.PolicyInput) error {
		got = append(got, in)
		return nil
	}))
	same(t, "PolicyInputs", got, []store.PolicyInput{in(1, Noon.Add(20*time.Hour)), in(2, Noon.Add(10*time.Hour))})
	stop := errors.New("stop")
	is(t, "error of the caller", s.PolicyInputs(ctx, Noon, Noon.Add(time.Hour), func(store.PolicyInput) error { return stop }), stop)

	p, err := s.PurgeExpired(ctx, Noon.Add(10*time.Hour))
	ok(t, err)
	same(t, "Purged", p, store.Purged{PolicyInputs: 2})
}

func testSealed(t *testing.T, s *store.Store) {
	ctx := t.Context()
	c := store.SealedContent{Hash: hash("secret"), Content: []byte("secret"), Expires: Noon.Add(time.Hour)}
	ok(t, s.PutSealed(ctx, c))
	ok(t, s.PutSealed(ctx, c))
	is(t, "wrong hash", s.PutSealed(ctx, store.SealedContent{Hash: hash("x"), Content: []byte("y")}), store.ErrInvalid)
	b, err := s.Sealed(ctx, c.Hash)
	ok(t, err)
	same(t, "Sealed", b, c.Content)
	at, err := s.ErasedAt(ctx, c.Hash)
	ok(t, err)
	same(t, "erased", at, time.Time{})

	ok(t, s.EraseSealed(ctx, c.Hash, Noon))
	ok(t, s.EraseSealed(ctx, c.Hash, Noon.Add(time.Hour)))
	_, err = s.Sealed(ctx, c.Hash)
	is(t, "erased content", err, store.ErrErased)
	at, err = s.ErasedAt(ctx, c.Hash)
	ok(t, err)
	same(t, "erased at", at, Noon)
	is(t, "putting it again", s.PutSealed(ctx, c), store.ErrErased)
	is(t, "keeping it", s.KeepSealed(ctx, c.Hash, Noon), store.ErrErased)
	for _, err := range []error{s.EraseSealed(ctx, hash("x"), Noon), s.KeepSealed(ctx, hash("x"), Noon),
		func() error { _, err := s.Sealed(ctx, hash("x")); return err }(),
		func() error { _, err := s.ErasedAt(ctx, hash("x")); return err }()} {
		is(t, "unknown content", err, store.ErrNotFound)
	}
}

func testPurge(t *testing.T, s *store.Store) {
	ctx := t.Context()
	put := func(name string, expires time.Time) {
		ok(t, s.PutSealed(ctx, store.SealedContent{Hash: hash(name), Content: []byte(name), Expires: expires}))
	}
	put("early", Noon)
	put("late", Noon.Add(time.Hour))
	put("kept", Noon)
	put("never", time.Time{})
	ok(t, s.KeepSealed(ctx, hash("kept"), Noon.Add(time.Hour)))
	ok(t, s.KeepSealed(ctx, hash("late"), Noon)) // earlier: ignored
	ok(t, s.KeepSealed(ctx, hash("never"), Noon))
	gone, forever := candidate(1, 1), candidate(2, 1)
	gone.Expires, forever.Expires = Noon, time.Time{}
	ok(t, s.PutCandidates(ctx, gone, forever, candidate(3, 1)))
	_, err := s.BeginQuery(ctx, begin(1, store.Charge{Counter: "past", Amount: 1, Limit: 1, Until: Noon},
		store.Charge{Counter: "today", Amount: 1, Limit: 1, Until: Noon.Add(time.Hour)}, store.Charge{Counter: "epoch", Amount: 1, Limit: 1}))
	ok(t, err)

	p, err := s.PurgeExpired(ctx, Noon)
	ok(t, err)
	same(t, "Purged", p, store.Purged{Sealed: 1, Candidates: 1, Counters: 1})
	_, err = s.Sealed(ctx, hash("early"))
	is(t, "expired content", err, store.ErrErased)
	for _, name := range []string{"late", "kept", "never"} {
		_, err = s.Sealed(ctx, hash(name))
		ok(t, err)
	}
	p, err = s.PurgeExpired(ctx, Noon)
	ok(t, err)
	same(t, "purging twice", p, store.Purged{})
	for counter, want := range map[string]int64{"past": 0, "today": 1, "epoch": 1} {
		used, err := s.BudgetUsed(ctx, counter)
		ok(t, err)
		same(t, counter, used, want)
	}
}

func testLeaves(t *testing.T, s *store.Store) {
	ctx := t.Context()
	l := store.Leaf{Query: id(1), Log: "shared", Kind: "intent", Index: 1 << 40, Hash: hash("a")}
	ok(t, s.PutLeaf(ctx, l))
	ok(t, s.PutLeaf(ctx, l))
	other := l
	other.Hash = hash("b")
	is(t, "other entry at the position", s.PutLeaf(ctx, other), store.ErrExists)
	internal := store.Leaf{Query: id(1), Log: "internal", Kind: "outcome", Index: 0, Hash: hash("c")}
	ok(t, s.PutLeaf(ctx, internal))
	got, err := s.Leaves(ctx, id(1))
	ok(t, err)
	same(t, "Leaves", got, []store.Leaf{internal, l})
	got, err = s.Leaves(ctx, id(2))
	ok(t, err)
	same(t, "leaves of an unknown query", len(got), 0)
}

func segment(t *testing.T, s *store.Store, content string) [32]byte {
	t.Helper()
	h, err := s.PutSegment(t.Context(), []byte(content))
	ok(t, err)
	same(t, "hash of a segment", h, hash(content))
	return h
}

func testSegments(t *testing.T, s *store.Store) {
	ctx := t.Context()
	named, loose := segment(t, s, "named"), segment(t, s, "loose")
	segment(t, s, "loose")
	ok(t, s.AdvanceHeads(ctx, head(t, s, "doc", 1, "named")))
	b, err := s.Segment(ctx, named)
	ok(t, err)
	same(t, "Segment", string(b), "named")

	n, err := s.CollectSegments(ctx, time.Now().Add(-time.Hour))
	ok(t, err)
	same(t, "collected of the last hour", n, 0)
	n, err = s.CollectSegments(ctx, time.Now().Add(time.Hour))
	ok(t, err)
	same(t, "collected", n, 1)
	_, err = s.Segment(ctx, loose)
	is(t, "collected segment", err, store.ErrNotFound)
	if !s.HasSegment(named) || s.HasSegment(loose) {
		t.Errorf("HasSegment = %v and %v, want true and false", s.HasSegment(named), s.HasSegment(loose))
	}
}

// head returns a manifest whose hash depends on its content, and its predecessor.
func head(t *testing.T, s *store.Store, class string, version uint64, content string) store.Head {
	t.Helper()
	h := store.Head{Side: store.Accepted, Peer: peer, Collection: collection, Class: class, Version: version, Epoch: 2,
		Manifest: []byte("manifest " + content), Hash: hash(class + content), Created: Noon,
		Segments: [][32]byte{segment(t, s, content)}}
	return h
}

func next(t *testing.T, s *store.Store, prev store.Head, content string) store.Head {
	t.Helper()
	h := head(t, s, prev.Class, prev.Version+1, content)
	h.Previous = prev.Hash
	return h
}

func testHeads(t *testing.T, s *store.Store) {
	ctx := t.Context()
	doc1, name1 := head(t, s, "doc", 1, "one"), head(t, s, "name", 1, "one")
	ok(t, s.AdvanceHeads(ctx, name1, doc1))
	ok(t, s.AdvanceHeads(ctx, doc1, name1)) // again
	got, err := s.Heads(ctx, store.Accepted, peer, collection)
	ok(t, err)
	same(t, "Heads", got, []store.Head{doc1, name1})

	doc2, name2 := next(t, s, doc1, "two"), next(t, s, name1, "two")
	is(t, "one class alone, then another version", s.AdvanceHeads(ctx, doc2, name1), store.ErrGap)
	doc3 := next(t, s, doc2, "three")
	is(t, "gap", s.AdvanceHeads(ctx, doc3), store.ErrGap)
	missing := doc2
	missing.Segments = [][32]byte{hash("nowhere")}
	is(t, "missing segment", s.AdvanceHeads(ctx, missing, name2), store.ErrNotFound)
	got, _ = s.Heads(ctx, store.Accepted, peer, collection)
	same(t, "Heads after errors", got, []store.Head{doc1, name1})

	// Several versions at once; a class that is dropped; those between without segments.
	doc2.Segments = nil
	ok(t, s.AdvanceHeads(ctx, doc2, doc3))
	got, err = s.Heads(ctx, store.Accepted, peer, collection)
	ok(t, err)
	same(t, "Heads at version 3", got, []store.Head{doc3})
	got, err = s.HeadsAt(ctx, store.Accepted, peer, collection, 1)
	ok(t, err)
	same(t, "HeadsAt", got, []store.Head{doc1, name1})
	got, err = s.Manifests(ctx, store.Accepted, peer, collection, "doc", 1, 10)
	ok(t, err)
	same(t, "Manifests", got, []store.Head{doc2, doc3})

	ok(t, s.SetProof(ctx, store.Accepted, peer, collection, "doc", doc3.Hash, []byte("proof")))
	is(t, "proof of an unknown manifest", s.SetProof(ctx, store.Accepted, peer, collection, "doc", hash("x"), nil), store.ErrNotFound)
	got, _ = s.Heads(ctx, store.Accepted, peer, collection)
	same(t, "Proof", string(got[0].Proof), "proof")

	// The other side, and another peer, are other chains.
	for _, h := range []store.Head{{Side: store.Published, Peer: peer}, {Side: store.Accepted, Peer: "c.example"}} {
		got, err = s.Heads(ctx, h.Side, h.Peer, collection)
		ok(t, err)
		same(t, "other chain", len(got), 0)
	}

	ok(t, s.PruneSegments(ctx, store.Accepted, peer, collection, 3))
	got, _ = s.HeadsAt(ctx, store.Accepted, peer, collection, 1)
	same(t, "segments after pruning", len(got[0].Segments), 0)
	_, err = s.CollectSegments(ctx, time.Now().Add(time.Hour))
	ok(t, err)
	if s.HasSegment(doc1.Segments[0]) || !s.HasSegment(doc3.Segments[0]) {
		t.Error("pruning removed the wrong segments")
	}

	for name, change := range map[string]func(*store.Head){
		"no side":                func(h *store.Head) { h.Side = 0 },
		"version 0":              func(h *store.Head) { h.Version = 0 },
		"first with predecessor": func(h *store.Head) { h.Version = 1 },
		"no class":               func(h *store.Head) { h.Class = "" },
	} {
		h := next(t, s, doc3, "four")
		change(&h)
		is(t, name, s.AdvanceHeads(ctx, h), store.ErrInvalid)
	}
	forgotten := next(t, s, doc3, "four")
	forgotten.Previous = [32]byte{}
	is(t, "no predecessor", s.AdvanceHeads(ctx, forgotten), store.ErrFork)
	is(t, "nothing", s.AdvanceHeads(ctx), store.ErrInvalid)
	mixed := next(t, s, doc3, "four")
	mixed.Peer = "c.example"
	is(t, "two peers", s.AdvanceHeads(ctx, next(t, s, doc3, "four"), mixed), store.ErrInvalid)
}

// testForks shows second successors at every place of a chain.
func testForks(t *testing.T, s *store.Store) {
	ctx := t.Context()
	one := head(t, s, "doc", 1, "one")
	two := next(t, s, one, "two")
	ok(t, s.AdvanceHeads(ctx, one, two))

	first := head(t, s, "doc", 1, "other one")
	second := next(t, s, one, "other two")
	third := next(t, s, second, "three") // follows a manifest that we did not see
	for _, h := range []store.Head{first, second, third} {
		is(t, fmt.Sprintf("second manifest of version %d", h.Version), s.AdvanceHeads(ctx, h), store.ErrFork)
	}
	is(t, "the same fork again", s.AdvanceHeads(ctx, second), store.ErrFork)
	got, err := s.Heads(ctx, store.Accepted, peer, collection)
	ok(t, err)
	same(t, "Heads after forks", got, []store.Head{two})
	forks, err := s.Forks(ctx)
	ok(t, err)
	same(t, "number of forks kept", len(forks), 3)
	for _, f := range forks {
		if f.Hash == second.Hash && (string(f.Manifest) != string(second.Manifest) || f.Version != 2 || f.Seen != Noon) {
			t.Errorf("evidence is %+v, want the manifest that was refused", f)
		}
	}
	ok(t, s.AdvanceHeads(ctx, next(t, s, two, "three")))
}

// testHeadsConcurrent lets replicas advance one head to different manifests: one
// must win.
func testHeadsConcurrent(t *testing.T, s *store.Store) {
	one := head(t, s, "doc", 1, "one")
	ok(t, s.AdvanceHeads(t.Context(), one))
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		h := next(t, s, one, fmt.Sprint("two by ", i))
		wg.Go(func() { results[i] = s.AdvanceHeads(t.Context(), h) })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else {
			is(t, "the others", err, store.ErrFork)
		}
	}
	same(t, "winners", won, 1)
}

func testDropSets(t *testing.T, s *store.Store) {
	ctx := t.Context()
	one := head(t, s, "doc", 1, "one")
	shared := head(t, s, "doc", 1, "shared")
	one.Segments = append(one.Segments, shared.Segments[0])
	shared.Peer = "c.example"
	ok(t, s.AdvanceHeads(ctx, one))
	ok(t, s.AdvanceHeads(ctx, shared))
	ok(t, s.PutSynced(ctx, store.Sync{Peer: peer, Collection: collection, Version: 1, At: Noon}))

	dropped, err := s.DropSets(ctx, store.Accepted, peer, "")
	ok(t, err)
	want := [][32]byte{hash("one"), hash("shared")}
	slices.SortFunc(want, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
	same(t, "dropped", dropped, want)
	if s.HasSegment(hash("one")) || !s.HasSegment(hash("shared")) {
		t.Error("the wrong files are gone: want the segments that nobody else names")
	}
	_, err = s.Synced(ctx, peer, collection)
	is(t, "sync of a dropped set", err, store.ErrNotFound)
	got, err := s.Heads(ctx, store.Accepted, peer, collection)
	ok(t, err)
	if len(got) != 1 || len(got[0].Segments) != 0 {
		t.Errorf("heads after dropping: %+v, want the manifest without segments", got)
	}
	dropped, err = s.DropSets(ctx, store.Accepted, peer, collection)
	ok(t, err)
	same(t, "dropped again", len(dropped), 0)
}

func testPublished(t *testing.T, s *store.Store) {
	ctx := t.Context()
	_, err := s.Published(ctx, peer, collection)
	is(t, "nothing published", err, store.ErrNotFound)
	h := head(t, s, "doc", 1, "one")
	p := store.Publication{Peer: peer, Collection: collection, Version: 1, Epoch: 2, CollectionVersion: 5,
		Agreement: hash("agreement"), Bundle: hash("bundle"), Records: 90, Withheld: 10,
		WithheldBy: map[string]int64{"RU-21": 9, "RU-29": 2}, Created: Noon}
	is(t, "manifest of the other side", s.PutPublished(ctx, p, h), store.ErrInvalid)
	h.Side = store.Published
	ok(t, s.PutPublished(ctx, p, h))
	got, err := s.Published(ctx, peer, collection)
	ok(t, err)
	same(t, "Published", got, p)

	other := h
	other.Hash = hash("other")
	p2 := p
	p2.Records = 1
	is(t, "fork of ourselves", s.PutPublished(ctx, p2, other), store.ErrFork)
	got, _ = s.Published(ctx, peer, collection)
	same(t, "Published after an error", got, p)

	y := store.Sync{Peer: peer, Collection: collection, Version: 4, At: Noon}
	ok(t, s.PutSynced(ctx, y))
	ok(t, s.PutSynced(ctx, store.Sync{Peer: peer, Collection: collection, Version: 3, At: Noon.Add(-time.Second)}))
	gotSync, err := s.Synced(ctx, peer, collection)
	ok(t, err)
	same(t, "Synced", gotSync, y)
}

func testPeers(t *testing.T, s *store.Store) {
	ctx := t.Context()
	b := store.PeerRow{TrustDomain: peer, Invite: []byte("invite"), State: "active", Added: Noon}
	a := store.PeerRow{TrustDomain: "a.example", Invite: []byte("other"), State: "active", Added: Noon}
	ok(t, s.PutPeer(ctx, b))
	ok(t, s.PutPeer(ctx, a))
	ok(t, s.EndPeer(ctx, peer, "ended", Noon.Add(time.Hour)))
	is(t, "stranger", s.EndPeer(ctx, "x.example", "ended", Noon), store.ErrNotFound)
	b.State, b.Ended = "ended", Noon.Add(time.Hour)
	got, err := s.Peers(ctx)
	ok(t, err)
	same(t, "Peers", got, []store.PeerRow{a, b})
	b.State, b.Ended = "active", time.Time{}
	ok(t, s.PutPeer(ctx, b))
	got, _ = s.Peers(ctx)
	same(t, "Peers", got, []store.PeerRow{a, b})
}

func testAgreements(t *testing.T, s *store.Store) {
	ctx := t.Context()
	one := store.AgreementRow{ID: "a", Number: 1, Digest: hash("1"), File: []byte("one")}
	two := store.AgreementRow{ID: "a", Number: 2, Digest: hash("2"), File: []byte("two")}
	ok(t, s.PutAgreement(ctx, two))
	ok(t, s.PutAgreement(ctx, one))
	ok(t, s.PutAgreement(ctx, one))
	other := one
	other.Digest = hash("x")
	is(t, "another file", s.PutAgreement(ctx, other), store.ErrExists)
	ok(t, s.SetSuspensions(ctx, "a", []string{peer, "a.example"}))
	got, err := s.Agreements(ctx)
	ok(t, err)
	one.SuspendedBy = []string{"a.example", peer}
	two.SuspendedBy = one.SuspendedBy
	same(t, "Agreements", got, []store.AgreementRow{one, two})
	ok(t, s.SetSuspensions(ctx, "a", nil))
	got, _ = s.Agreements(ctx)
	same(t, "suspensions", len(got[0].SuspendedBy), 0)
}

func testOfficers(t *testing.T, s *store.Store) {
	ctx := t.Context()
	ok(t, s.AppendOfficerChange(ctx, 1, []byte("one")))
	ok(t, s.AppendOfficerChange(ctx, 2, []byte("two")))
	is(t, "taken number", s.AppendOfficerChange(ctx, 2, []byte("other")), store.ErrExists)
	is(t, "gap", s.AppendOfficerChange(ctx, 4, []byte("four")), store.ErrInvalid)
	is(t, "number 0", s.AppendOfficerChange(ctx, 0, []byte("zero")), store.ErrExists)
	got, err := s.OfficerChanges(ctx)
	ok(t, err)
	same(t, "OfficerChanges", got, [][]byte{[]byte("one"), []byte("two")})
}

func testMeta(t *testing.T, s *store.Store) {
	ctx := t.Context()
	_, err := s.Meta(ctx, "x")
	is(t, "unset value", err, store.ErrNotFound)
	for _, v := range []string{"one", "", "two"} {
		ok(t, s.PutMeta(ctx, "x", []byte(v)))
		got, err := s.Meta(ctx, "x")
		ok(t, err)
		same(t, "Meta", string(got), v)
	}
	ok(t, s.PutMeta(ctx, "x", nil))
}

func testCheckpoints(t *testing.T, s *store.Store) {
	ctx := t.Context()
	c := func(size uint64, root string) store.Checkpoint {
		return store.Checkpoint{Origin: "b.example/shared", Size: size, Root: hash(root), Bytes: []byte("note " + root), At: Noon}
	}
	_, err := s.FollowedCheckpoint(ctx, "b.example/shared")
	is(t, "no checkpoint", err, store.ErrNotFound)
	ok(t, s.PutCheckpoint(ctx, 0, c(10, "a")))
	is(t, "from another size", s.PutCheckpoint(ctx, 9, c(20, "b")), store.ErrState)
	is(t, "smaller", s.PutCheckpoint(ctx, 10, c(9, "b")), store.ErrRollback)
	is(t, "other root", s.PutCheckpoint(ctx, 10, c(10, "b")), store.ErrRollback)
	ok(t, s.PutCheckpoint(ctx, 10, c(10, "a")))
	ok(t, s.PutCheckpoint(ctx, 10, c(20, "b")))
	got, err := s.FollowedCheckpoint(ctx, "b.example/shared")
	ok(t, err)
	same(t, "FollowedCheckpoint", got, c(20, "b"))
}

// testCancelled calls methods with a context that has ended: they must say so, and
// change nothing.
func testCancelled(t *testing.T, s *store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Meta(ctx, "x")
	is(t, "reading", err, context.Canceled)
	_, err = s.Asks(ctx, store.AskFilter{})
	is(t, "listing", err, context.Canceled)
	_, err = s.PutSegment(ctx, []byte("x"))
	is(t, "putting a segment", err, context.Canceled)
	for _, err := range s.Records(ctx, collection) {
		is(t, "reading records", err, context.Canceled)
	}
	// While another one writes, a writer waits no longer than its context.
	blocked, release := make(chan bool), make(chan bool)
	done := make(chan error)
	go func() {
		_, err := s.PutRecords(t.Context(), collection, "slow", func(yield func(store.RecordRow, error) bool) {
			close(blocked)
			<-release
			yield(row(1, "{}"), nil)
		})
		done <- err
	}()
	<-blocked
	is(t, "waiting to write", s.DeleteRecord(ctx, collection, "r0001"), context.Canceled)
	// A file that is being loaded keeps no query waiting.
	_, err = s.BeginQuery(t.Context(), begin(1))
	ok(t, err)
	close(release)
	ok(t, <-done)
}

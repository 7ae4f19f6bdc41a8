package asker_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

var noon = time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)

// A memoryLog keeps entries, or refuses them.
type memoryLog struct {
	entries []*entry.Entry
	err     error
}

func (l *memoryLog) Append(_ context.Context, e *entry.Entry) (audit.Position, error) {
	if l.err != nil {
		return audit.Position{}, l.err
	}
	if _, err := e.Bytes(); err != nil {
		return audit.Position{}, err
	}
	l.entries = append(l.entries, e)
	return audit.Position{}, nil
}

func (l *memoryLog) Size() uint64 { return uint64(len(l.entries)) }

func (l *memoryLog) Entries(context.Context, uint64, uint64) iter.Seq2[audit.Indexed, error] {
	return func(func(audit.Indexed, error) bool) {} // there are no outcomes
}

func pseudonym(id string) [16]byte {
	h := sha256.Sum256([]byte(id))
	return [16]byte(h[:16])
}

func hexOf(id string) string {
	p := pseudonym(id)
	return hex.EncodeToString(p[:])
}

// A readingRoom is an Asker with officers of two units and nothing to ask with.
type readingRoom struct {
	*asker.Asker
	log *memoryLog
}

func newReadingRoom(t *testing.T) *readingRoom {
	t.Helper()
	person := func(id, unit string, roles ...officer.Role) (officer.Officer, officer.PrivateKey) {
		key, err := officer.GeneratePrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		return officer.Officer{ID: id, Unit: unit, Roles: roles, PublicKey: key.PublicKey()}, key
	}
	a, aKey := person("admin1", "hq", officer.RoleAdministrator)
	b, bKey := person("admin2", "hq", officer.RoleAdministrator)
	founding, digest, err := officer.Found(a, b, noon.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	register, err := officer.Load([][]byte{founding}, digest, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	change := func(c officer.Change) {
		for id, key := range map[string]officer.PrivateKey{"admin1": aKey, "admin2": bKey} {
			sig, err := officer.SignChange(key, c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := register.Propose(c, id, sig[:], noon); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range []struct {
		id, unit string
		roles    []officer.Role
	}{
		{"anna", "north", []officer.Role{officer.RoleAsking}}, {"ben", "north", []officer.Role{officer.RoleAsking}},
		{"vera", "north", []officer.Role{officer.RoleVerifying}}, {"sven", "south", []officer.Role{officer.RoleVerifying}},
		{"otto", "north", []officer.Role{officer.RoleOperator}}, {"rita", "north", []officer.Role{officer.RoleAsking}},
	} {
		o, _ := person(p.id, p.unit, p.roles...)
		change(register.NewChange(officer.Enrol, o, noon))
	}
	change(register.NewChange(officer.Retire, officer.Officer{ID: "rita"}, noon))
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	_, statement, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log := new(memoryLog)
	return &readingRoom{asker.New(asker.Config{TrustDomain: "a.example", Officers: register, Internal: log, Store: s,
		StatementKey: statement, Pseudonym: pseudonym, Now: func() time.Time { return noon }}), log}
}

func id(officer string) string { return "spiffe://a.example/officer/" + officer }

// put stores a request by an officer of the unit north, made some minutes after
// noon, which went to two holders and found n candidates at the first.
func (r *readingRoom) put(t *testing.T, who string, minutes, n int) query.ID {
	t.Helper()
	ctx := t.Context()
	at := noon.Add(time.Duration(minutes) * time.Minute)
	request := query.NewID(at)
	for i, holder := range []string{"b.example", "c.example"} {
		q := query.NewID(at)
		ask := store.Ask{ID: q, Request: request, Holder: holder, Collection: "watchlist", Agreement: "x", Purpose: "border-check", Kind: "set",
			Items: 7, Officer: hexOf(who), Unit: hexOf("unit/north"), State: store.AskIntent, Created: at}
		if err := r.Store.PutAsk(ctx, store.Intent{Ask: ask}); err != nil {
			t.Fatal(err)
		}
		update := store.AskUpdate{ID: q, State: store.AskAnswered, Time: at}
		if i == 1 {
			update = store.AskUpdate{ID: q, State: store.AskRefused, Reason: string(query.BudgetExhausted), Time: at}
		} else {
			for j := range n {
				update.Candidates = append(update.Candidates, store.Candidate{ID: query.NewID(at), Query: q, Request: request, Holder: holder,
					Collection: "watchlist", ListVersion: 3, Handle: [8]byte{byte(j + 1)}, Item: fmt.Sprint("row ", j), Weight: 900, Kind: 2,
					State: asker.CandidateOpen, Detail: []byte("doc name+dob"), Created: at, Expires: at.Add(time.Hour)})
			}
		}
		if err := r.Store.UpdateAsk(ctx, update); err != nil {
			t.Fatal(err)
		}
	}
	return request
}

// TestCandidatesSeen holds who sees which candidates, and that each read is in the
// internal log.
func TestCandidatesSeen(t *testing.T) {
	t.Parallel()
	r := newReadingRoom(t)
	annas, bens := r.put(t, "anna", 0, 3), r.put(t, "ben", 1, 2)
	ctx := t.Context()
	for _, tt := range []struct {
		who    string
		want   int
		reason query.Reason
	}{
		{"anna", 3, ""}, {"ben", 2, ""}, {"vera", 5, ""}, {"sven", 0, ""},
		{"otto", 0, query.RoleRequired}, {"rita", 0, query.NotEnrolled}, {"nobody", 0, query.NotEnrolled},
	} {
		before := len(r.log.entries)
		list, next, err := r.Candidates(ctx, id(tt.who), asker.CandidateFilter{})
		if len(list) != tt.want || query.ReasonOf(err) != tt.reason || next != (query.ID{}) {
			t.Errorf("%s sees %d candidates, next %v, %v; want %d, %q", tt.who, len(list), next, err, tt.want, tt.reason)
		}
		read := r.log.entries[before:]
		switch {
		case tt.reason != "" && len(read) != 0:
			t.Errorf("%s: a refused read is in the log", tt.who)
		case tt.reason == "" && (len(read) != 1 || read[0].Kind != entry.KindRead || read[0].Officer != pseudonym(tt.who)):
			t.Errorf("%s: the read is not in the log: %v", tt.who, read)
		}
	}
	list, _, err := r.Candidates(ctx, id("vera"), asker.CandidateFilter{Request: annas, Limit: 1})
	if err != nil || len(list) != 1 || list[0].Request != annas || list[0].State != asker.CandidateOpen || list[0].AlertKind != 2 ||
		!slices.Equal(list[0].Classes, []string{"doc", "name+dob"}) || !list[0].PurgeBy.Equal(noon.Add(time.Hour)) || list[0].Ref == "" {
		t.Errorf("a candidate = %+v, %v", list, err)
	}
	if list, _, err := r.Candidates(ctx, id("vera"), asker.CandidateFilter{Since: noon.Add(30 * time.Second)}); err != nil || len(list) != 2 || list[0].Request != bens {
		t.Errorf("since a moment: %d, %v", len(list), err)
	}
	for _, caller := range []string{"", "anna", "spiffe://b.example/officer/anna", "spiffe://a.example/gateway/anna"} {
		if _, _, err := r.Candidates(ctx, caller, asker.CandidateFilter{}); query.ReasonOf(err) != query.NotEnrolled {
			t.Errorf("caller %q: %v", caller, err)
		}
	}
}

// TestCandidatePages reads page by page what one page has, with candidates of others
// between one's own.
func TestCandidatePages(t *testing.T) {
	t.Parallel()
	r := newReadingRoom(t)
	for i := range 12 {
		r.put(t, []string{"anna", "ben", "ben"}[i%3], i, 3)
	}
	all, next, err := r.Candidates(t.Context(), id("anna"), asker.CandidateFilter{})
	if err != nil || len(all) != 12 || next != (query.ID{}) {
		t.Fatalf("%d candidates, next %v, %v", len(all), next, err)
	}
	for _, limit := range []int{1, 5, 12} {
		var paged []asker.KeptCandidate
		f := asker.CandidateFilter{Limit: limit}
		for {
			page, next, err := r.Candidates(t.Context(), id("anna"), f)
			if err != nil || len(page) > limit {
				t.Fatalf("a page of %d: %d, %v", limit, len(page), err)
			}
			paged = append(paged, page...)
			if f.After = next; next == (query.ID{}) {
				break
			}
		}
		if !slices.EqualFunc(paged, all, func(a, b asker.KeptCandidate) bool { return a.ID == b.ID }) {
			t.Errorf("pages of %d have other candidates than one page", limit)
		}
	}
}

// TestAskPages does the same with asks.
func TestAskPages(t *testing.T) {
	t.Parallel()
	r := newReadingRoom(t)
	var want []query.ID
	for i := range 8 {
		request := r.put(t, []string{"anna", "ben"}[i%2], i/2, 1) // two requests at a moment
		if i%2 == 0 {
			want = append(want, request)
		}
	}
	slices.Reverse(want)
	for _, limit := range []int{0, 1, 3} {
		for _, unit := range []bool{false, true} {
			who := "anna"
			if unit {
				who = "vera"
			}
			var got []query.ID
			f := asker.AskFilter{Limit: limit, Unit: unit}
			for {
				page, next, err := r.Asks(t.Context(), id(who), f)
				if err != nil || limit > 0 && len(page) > limit {
					t.Fatalf("a page of %d: %d, %v", limit, len(page), err)
				}
				for _, s := range page {
					got = append(got, s.Request)
					if s.Subjects != 7 || s.Candidates != 1 || s.Kind != query.Set || s.Purpose != "border-check" || len(s.Targets) != 2 {
						t.Errorf("an ask = %+v", s)
					}
					for _, target := range s.Targets {
						if refused := target.Holder == "c.example"; refused != (target.Refusal != nil) ||
							refused && target.Refusal.Reason != query.BudgetExhausted {
							t.Errorf("a target = %+v", target)
						}
					}
				}
				if f.After = next; next == (query.ID{}) {
					break
				}
			}
			if !unit && !slices.Equal(got, want) {
				t.Errorf("pages of %d: %v, want %v", limit, got, want)
			}
			distinct := make(map[query.ID]bool)
			for _, request := range got {
				distinct[request] = true
			}
			if unit && (len(got) != 8 || len(distinct) != 8) {
				t.Errorf("the unit's pages of %d have %d asks, %d distinct, want 8", limit, len(got), len(distinct))
			}
		}
	}
	if _, _, err := r.Asks(t.Context(), id("anna"), asker.AskFilter{Unit: true}); query.ReasonOf(err) != query.RoleRequired {
		t.Errorf("the unit's asks for one who does not verify: %v", err)
	}
	if list, _, err := r.Asks(t.Context(), id("sven"), asker.AskFilter{Unit: true}); err != nil || len(list) != 0 {
		t.Errorf("another unit sees %d asks, %v", len(list), err)
	}
}

// TestReadNotLogged checks that what cannot be recorded is not shown.
func TestReadNotLogged(t *testing.T) {
	t.Parallel()
	r := newReadingRoom(t)
	r.put(t, "anna", 0, 1)
	r.log.err = errors.New("disk")
	if list, _, err := r.Candidates(t.Context(), id("anna"), asker.CandidateFilter{}); list != nil || query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("%d candidates, %v", len(list), err)
	}
	if list, _, err := r.Asks(t.Context(), id("anna"), asker.AskFilter{}); list != nil || query.ReasonOf(err) != query.AuditUnavailable {
		t.Errorf("%d asks, %v", len(list), err)
	}
}

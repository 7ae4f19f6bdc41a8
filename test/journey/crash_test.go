package journey_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

// The crash tests end a process with SIGKILL at each point between two steps of a
// query (DESIGN, section 5), on both sides, open what is left, and check that
//
//   - both logs verify;
//   - after recovery every intent has a receipt or a failure and exactly one outcome,
//     and every accepted query an answer or a failure;
//   - the budget was charged exactly once for each accepted query;
//   - the same query, asked again, gets the stored bytes or a refusal, and is
//     never computed.
//
// The process is this test binary, which runs [crashChild] instead of tests when
// the variables below are set.
const (
	crashDir   = "PASSERELLE_TEST_CRASH_DIR"
	crashPoint = "PASSERELLE_TEST_CRASH_POINT"
)

// crashPoints are named by side and by what has just happened.
var crashPoints = []string{
	"asker before intent", "asker after intent", "holder before decision", "holder after decision",
	"holder before evaluation", "holder after answer", "asker before receipt", "asker after receipt",
	"asker before outcome", "asker after outcome",
}

// die ends the process as a power cut would.
func die() { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }

// A dyingLog ends the process before or after it has appended an entry of a kind.
type dyingLog struct {
	*audit.Log
	kind          entry.Kind
	before, after bool
}

func (l dyingLog) Append(ctx context.Context, e *entry.Entry) (audit.Position, error) {
	if e.Kind == l.kind && l.before {
		die()
	}
	p, err := l.Log.Append(ctx, e)
	if e.Kind == l.kind && l.after {
		die()
	}
	return p, err
}

// dyingKeys ends the process when an element is about to be evaluated. The first
// calls check that the epochs exist.
type dyingKeys struct {
	holder.Keys
	calls *int
	after int
}

func (k dyingKeys) Server(collection string, epoch uint32) (*oprf.Server, error) {
	if *k.calls++; *k.calls > k.after {
		die()
	}
	return k.Keys.Server(collection, epoch)
}

// spoil arranges for the process to die at a point.
func spoil(point string, a, b *country) {
	side, what, _ := strings.Cut(point, " ")
	when, kind, _ := strings.Cut(what, " ")
	before, after := when == "before", when == "after"
	switch side + " " + kind {
	case "asker intent":
		a.sharedLog = dyingLog{a.shared, entry.KindIntent, before, after}
	case "asker receipt":
		a.sharedLog = dyingLog{a.shared, entry.KindReceipt, before, after}
	case "asker outcome":
		a.internalLog = dyingLog{a.internal, entry.KindOutcome, before, after}
	case "holder decision":
		b.sharedLog = dyingLog{b.shared, entry.KindDecision, before, after}
	case "holder evaluation":
		b.keys = dyingKeys{b, new(int), 4}
	case "holder answer":
		a.peers.tap.answer = func(*query.Answer) { die() }
	default:
		panic("unknown point " + point)
	}
	a.build()
	b.build()
}

// reopen opens the two countries of dir and lets them know each other.
func reopen(t *testing.T, dir string) (a, b *country) {
	clk := newClock()
	a = openCountry(t, filepath.Join(dir, "a"), "border.utopia.example", clk)
	b = openCountry(t, filepath.Join(dir, "b"), "border.valdera.example", clk)
	a.peers.known[b.td], b.peers.known[a.td] = b, a
	return a, b
}

// TestCrashChild is the process that dies. It is no test of its own.
func TestCrashChild(t *testing.T) {
	dir, point := os.Getenv(crashDir), os.Getenv(crashPoint)
	if dir == "" {
		t.Skip("runs only as the child of TestCrash")
	}
	a, b := reopen(t, dir)
	if err := a.asker.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	spoil(point, a, b)
	a.peers.tap.request = func(r *query.Request) {
		// The parent will ask the same again.
		req, err := json.Marshal(r)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "request.json"), req, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	result, err := a.ask(t, nil, traveller(1))
	if strings.HasSuffix(point, " outcome") && err == nil { // the officer has an answer, and the log not yet its outcome
		err = a.asker.LogOutcomes(t.Context())
	}
	t.Fatalf("survived: %+v, %v", result, err)
}

func TestCrash(t *testing.T) {
	t.Parallel()
	long := os.Getenv("PASSERELLE_LONG") != ""
	for i, point := range crashPoints {
		if !long && i%2 == 1 {
			continue // every second point; all of them in the long run
		}
		t.Run(point, func(t *testing.T) { // one at a time: each is two processes
			dir := t.TempDir()
			prepareCrash(t, dir)

			cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
			cmd.Env = append(os.Environ(), crashDir+"="+dir, crashPoint+"="+point)
			out, err := cmd.CombinedOutput()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %v\n%s", err, out)
			}
			checkCrash(t, dir, point)
		})
	}
}

// prepareCrash makes two countries that have synchronised, and closes them.
func prepareCrash(t *testing.T, dir string) {
	t.Run("prepare", func(t *testing.T) {
		for _, sub := range []string{"a", "b"} {
			if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		a, b := reopen(t, dir)
		agree(t, a, b, nil)
		b.load(t, listed(1), listed(2))
		if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if r := a.asker.Sync(t.Context(), "", "", nil); r[0].Refusal != nil {
			t.Fatal(r[0].Refusal)
		}
	})
}

func checkCrash(t *testing.T, dir, point string) {
	a, b := reopen(t, dir)
	ctx := t.Context()
	if err := b.holder.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if err := a.asker.Recover(ctx); err != nil {
		t.Fatal(err)
	}

	// What each side knows of the query.
	intents, receipts, failures := 0, 0, 0
	for e, err := range a.shared.Entries(ctx, 0, a.shared.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Entry.Kind {
		case entry.KindIntent:
			intents++
		case entry.KindReceipt:
			receipts++
		case entry.KindFailure:
			failures++
		}
	}
	asks, err := a.store.Asks(ctx, store.AskFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range asks {
		if ask.State < store.AskAnswered {
			t.Errorf("an ask is left %v", ask.State)
		}
	}
	if answered := strings.HasSuffix(point, " outcome"); answered && (len(asks) != 1 || asks[0].State != store.AskAnswered) {
		t.Errorf("asks %+v, want one that is answered: the officer has seen it", asks)
	}
	if intents > 0 && receipts+failures == 0 {
		t.Errorf("%d intents, %d receipts, %d failures", intents, receipts, failures)
	}
	outcomes := make(map[[16]byte]entry.Outcome)
	for e, err := range a.internal.Entries(ctx, 0, a.internal.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Entry.Kind == entry.KindOutcome {
			if _, twice := outcomes[e.Entry.Query]; twice {
				t.Errorf("two outcomes of one query")
			}
			outcomes[e.Entry.Query] = e.Entry.Outcome
		}
	}
	if len(outcomes) != len(asks) {
		t.Errorf("%d outcomes of %d asks", len(outcomes), len(asks))
	}
	for _, ask := range asks {
		want := entry.OutcomeFailed
		if ask.State == store.AskAnswered {
			want = entry.OutcomeCandidate
		}
		if got := outcomes[ask.ID]; got != want {
			t.Errorf("an ask that is %v has the outcome %v, want %v", ask.State, got, want)
		}
	}
	decisions := 0
	for e, err := range b.shared.Entries(ctx, 0, b.shared.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Entry.Kind == entry.KindDecision {
			decisions++
		}
	}
	if pending, err := b.store.PendingQueries(ctx); err != nil || len(pending) != 0 {
		t.Errorf("%d queries are pending, %v", len(pending), err)
	}

	// The same query again.
	raw, err := os.ReadFile(filepath.Join(dir, "request.json"))
	if err == nil {
		var req query.Request
		if err := json.Unmarshal(raw, &req); err != nil {
			t.Fatal(err)
		}
		state, err := b.store.LookupQuery(ctx, store.QueryKey{Peer: a.td, Agreement: req.Facts.Agreement, ID: req.ID})
		if err != nil {
			t.Fatalf("the holder has forgotten the query: %v", err)
		}
		used := usedBudget(t, b, a)
		before := b.shared.Size()
		answer, err := b.holder.Answer(ctx, holder.Caller{TrustDomain: a.td, Gateway: gatewayID(a.td)}, &req)
		switch state.Progress {
		case store.Answered:
			if err != nil || hex.EncodeToString(answer.Bytes()) != hex.EncodeToString(state.Answer) {
				t.Errorf("a retry got other bytes, %v", err)
			}
		default:
			if reason := query.ReasonOf(err); reason != query.QueryFailed || answer != nil {
				t.Errorf("a retry of a query that is %v = %v, want QUERY_FAILED", state.Progress, err)
			}
		}
		if after := usedBudget(t, b, a); used != 4 || after != used {
			t.Errorf("the budget was charged %d, and %d after a retry, want 4", used, after)
		}
		if b.shared.Size() != before {
			t.Error("a retry was logged again")
		}
	}

	// A new query works, and both logs verify.
	if err := a.asker.Load(ctx); err != nil {
		t.Fatal(err)
	}
	result, err := a.ask(t, nil, traveller(1))
	if err != nil || len(result.Candidates) != 1 {
		t.Errorf("a new query = %+v, %v, want one candidate", result, err)
	}
	for _, c := range []*country{a, b} {
		if err := c.shared.Await(ctx, c.shared.Size()-1); err != nil {
			t.Fatal(err)
		}
		v, err := note.NewVerifier(c.sharedKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.VerifyFolder(os.DirFS(filepath.Join(c.dir, "shared")), v); err != nil {
			t.Errorf("log of %s: %v", c.td, err)
		}
	}
}

// usedBudget returns how many elements of a's daily budget b has counted.
func usedBudget(t *testing.T, b, a *country) int64 {
	t.Helper()
	counter := fmt.Sprintf("day/%s/a-b/%s/watchlist/*/*", b.clock.Now().Format("2006-01-02"), a.td)
	used, err := b.store.BudgetUsed(t.Context(), counter)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

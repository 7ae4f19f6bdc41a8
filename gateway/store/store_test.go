package store_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/gateway/store/storetest"
)

var noon = storetest.Noon

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, open)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s := open(t)
	want := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1"}
	got, err := s.Pragmas(t.Context(), "journal_mode", "synchronous", "foreign_keys", "secure_delete")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("settings = %v, %v, want %v", got, err, want)
	}
}

// TestModes checks that nobody else can read a file of the store. The name of the
// directory has characters that mean something in a URI.
func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "état?mode=ro#100%")
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.PutSegment(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.PutMeta(t.Context(), "x", nil); err != nil {
		t.Fatal(err)
	}
	files := 0
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		st, err := d.Info()
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if got := st.Mode().Perm(); got != want {
			t.Errorf("mode of %s is %v, want %v", d.Name(), got, want)
		}
		return nil
	})
	if files < 6 { // two databases with log and index, lock, segment
		t.Errorf("%d files in the directory, want them all there", files)
	}
}

func TestOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := store.Open(t.Context(), dir); !errors.Is(err, store.ErrLocked) || again != nil {
		t.Errorf("second Open = %v, %v, want nil and ErrLocked", again, err)
	}
	if err := s.SetSchemaVersion(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if err := s.PutMeta(t.Context(), "x", nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("writing after Close: %v, want ErrClosed", err)
	}
	if _, err := s.Meta(t.Context(), "x"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("reading after Close: %v, want ErrClosed", err)
	}
	if s, err := store.Open(t.Context(), dir); !errors.Is(err, store.ErrNewerSchema) || s != nil {
		t.Errorf("opening a newer schema = %v, %v, want nil and ErrNewerSchema", s, err)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 3 {
		s, err := store.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			b, err := s.Meta(t.Context(), "run")
			if err != nil || string(b) != strconv.Itoa(i-1) {
				t.Errorf("Meta = %q, %v, want what the run before left", b, err)
			}
		}
		if err := s.PutMeta(t.Context(), "run", []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func begin(n int, charges ...store.Charge) store.Begin {
	b := store.Begin{QueryKey: store.QueryKey{Peer: "b.example", Agreement: "a"}, Time: noon, Charges: charges}
	b.ID = [16]byte{1, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
	return b
}

// TestDiskFull fills the disk in the middle of everything: each call must say
// ErrStorage, must leave nothing half-written, and must work again later.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t)
	big := bytes.Repeat([]byte("x"), 20_000)
	put := func(name string) error {
		_, err := s.PutRecords(ctx, name, "file", func(yield func(store.RecordRow, error) bool) {
			for i := range 50 {
				if !yield(store.RecordRow{ID: strconv.Itoa(i), JSON: big}, nil) {
					return
				}
			}
		})
		return err
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginQuery(ctx, begin(1, store.Charge{Counter: "day", Amount: 1, Limit: 1 << 40})); err != nil {
		t.Fatal(err)
	}
	if err := s.SetMaxPages(ctx, 3); err != nil {
		t.Fatal(err)
	}

	if err := put("during"); !errors.Is(err, store.ErrStorage) {
		t.Errorf("PutRecords on a full disk: %v, want ErrStorage", err)
	}
	if n, err := s.CountRecords(ctx, "during"); n != 0 || err != nil {
		t.Errorf("%d records of a file that failed, %v", n, err)
	}
	finish := store.Finish{Progress: store.Answered, Answer: bytes.Repeat(big, 10), Time: noon,
		Leaves: []store.Leaf{{Query: begin(1).ID, Log: "shared", Index: 1}}}
	if err := s.FinishQuery(ctx, begin(1).QueryKey, finish); !errors.Is(err, store.ErrStorage) {
		t.Errorf("FinishQuery on a full disk: %v, want ErrStorage", err)
	}
	if st, err := s.LookupQuery(ctx, begin(1).QueryKey); err != nil || st.Progress != store.Pending {
		t.Errorf("query is %v, %v after a finish that failed, want pending", st.Progress, err)
	}
	b := begin(2, store.Charge{Counter: "day", Amount: 1, Limit: 1 << 40})
	b.PolicyInput = &store.PolicyInput{Input: bytes.Repeat(big, 10)}
	if st, err := s.BeginQuery(ctx, b); !errors.Is(err, store.ErrStorage) || st.Progress != 0 {
		t.Errorf("BeginQuery on a full disk = %v, %v, want no progress and ErrStorage", st.Progress, err)
	}
	if used, err := s.BudgetUsed(ctx, "day"); used != 1 || err != nil {
		t.Errorf("%d used, %v after a charge that failed, want 1", used, err)
	}

	if err := s.SetMaxPages(ctx, -1); err != nil {
		t.Fatal(err)
	}
	if err := put("during"); err != nil {
		t.Errorf("PutRecords after the disk was full: %v", err)
	}
	if err := s.FinishQuery(ctx, begin(1).QueryKey, finish); err != nil {
		t.Errorf("FinishQuery after the disk was full: %v", err)
	}
	if st, err := s.BeginQuery(ctx, b); err != nil || st.Progress != store.New || !reflect.DeepEqual(st.Used, []int64{2}) {
		t.Errorf("BeginQuery after the disk was full = %v, %v", st, err)
	}
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
}

// TestDamagedSegment changes a file behind the store's back.
func TestDamagedSegment(t *testing.T) {
	t.Parallel()
	s := open(t)
	hash, err := s.PutSegment(t.Context(), []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AdvanceHeads(t.Context(), store.Head{Side: store.Accepted, Peer: "b.example", Class: "doc", Version: 1,
		Hash: [32]byte{1}, Segments: [][32]byte{hash}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.SegmentPath(hash), []byte("CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Segment(t.Context(), hash); !errors.Is(err, store.ErrStorage) || b != nil {
		t.Errorf("Segment = %q, %v, want nothing and ErrStorage", b, err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, store.ErrStorage) {
		t.Errorf("Check = %v, want ErrStorage", err)
	}
	if err := os.Remove(s.SegmentPath(hash)); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Check = %v, want ErrNotFound", err)
	}
}

// TestErased looks for erased content in the files of the store.
func TestErased(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	secret := []byte("a traveller's name, sealed or not")
	if err := s.PutPolicyInput(t.Context(), store.PolicyInput{Input: secret, Expires: noon}); err != nil {
		t.Fatal(err)
	}
	found := func() (names []string) {
		for _, name := range []string{"gateway.db", "gateway.db-wal"} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			} else if bytes.Contains(b, secret) {
				names = append(names, name)
			}
		}
		return names
	}
	if len(found()) == 0 {
		t.Fatal("the content was never in a file: the test looks in the wrong place")
	}
	if _, err := s.PurgeExpired(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	if names := found(); names != nil {
		t.Errorf("purged content is still in %v", names)
	}
}

// TestErrorsHoldNoContent provokes an error of the driver and looks for the values.
func TestErrorsHoldNoContent(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.SetMaxPages(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	_, err := s.PutRecords(t.Context(), "c", "f", func(yield func(store.RecordRow, error) bool) {
		yield(store.RecordRow{ID: "JOHN DOE", JSON: bytes.Repeat([]byte("JOHN DOE"), 10_000), BirthDate: "JOHN DOE"}, nil)
	})
	if err == nil || strings.Contains(err.Error(), "JOHN DOE") {
		t.Errorf("error is %v, want one without content", err)
	}
}

// TestManyAtOnce runs readers and writers of all kinds together, for the race
// detector.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t)
	var wg sync.WaitGroup
	run := func(f func(i int) error) {
		wg.Go(func() {
			for i := range 20 {
				if err := f(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range 3 {
		run(func(i int) error {
			b := begin(w*1000+i, store.Charge{Counter: "day", Amount: 1, Limit: 1000})
			if _, err := s.BeginQuery(ctx, b); err != nil {
				return err
			}
			return s.FinishQuery(ctx, b.QueryKey, store.Finish{Progress: store.Answered, Answer: []byte("x"), Time: noon,
				Leaves: []store.Leaf{{Query: b.ID, Log: "shared", Index: uint64(w*1000 + i)}}})
		})
		run(func(i int) error {
			_, err := s.PutRecords(ctx, "list", "file", func(yield func(store.RecordRow, error) bool) {
				yield(store.RecordRow{ID: strconv.Itoa(i), JSON: []byte{byte(w)}}, nil)
			})
			return err
		})
		run(func(i int) error {
			for _, err := range s.Records(ctx, "list") {
				if err != nil {
					return err
				}
			}
			_, err := s.PendingQueries(ctx)
			return err
		})
		run(func(i int) error {
			_, err := s.PutSegment(ctx, []byte(strconv.Itoa(i)))
			return err
		})
		run(func(i int) error {
			if _, err := s.CollectSegments(ctx, time.Now().Add(-time.Hour)); err != nil {
				return err
			}
			_, err := s.PurgeExpired(ctx, noon)
			return err
		})
	}
	wg.Wait()
	if used, err := s.BudgetUsed(ctx, "day"); used != 60 || err != nil {
		t.Errorf("%d used, %v, want 60", used, err)
	}
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
}

const crashDir = "PASSERELLE_STORE_CRASH_DIR"

// TestMain is the process that is killed, if its environment says so.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crash(dir)
		return
	}
	os.Exit(m.Run())
}

// crash writes without end, and prints the number of each step after the store has
// said that it is durable.
func crash(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	s, err := store.Open(ctx, dir)
	fail(err)
	first := 0
	if b, err := s.Meta(ctx, "next"); err == nil {
		first, err = strconv.Atoi(string(b))
		fail(err)
	}
	var prev [32]byte
	for i := first; ; i++ {
		b := begin(i, store.Charge{Counter: "day", Amount: 1, Limit: 1 << 40})
		st, err := s.BeginQuery(ctx, b)
		fail(err)
		if st.Progress == store.New { // else the process before died in this step
			fail(s.FinishQuery(ctx, b.QueryKey, store.Finish{Progress: store.Answered, Answer: []byte(strconv.Itoa(i)), Time: noon}))
		}
		_, err = s.PutRecords(ctx, "list", "file", func(yield func(store.RecordRow, error) bool) {
			for j := range 20 {
				if !yield(store.RecordRow{ID: strconv.Itoa(i) + "/" + strconv.Itoa(j), JSON: bytes.Repeat([]byte("x"), 500)}, nil) {
					return
				}
			}
		})
		fail(err)
		hash, err := s.PutSegment(ctx, bytes.Repeat([]byte(strconv.Itoa(i)), 10_000))
		fail(err)
		h := store.Head{Side: store.Accepted, Peer: "b.example", Collection: "list", Class: strconv.Itoa(first),
			Version: uint64(i - first + 1), Hash: [32]byte{1, byte(i), byte(i >> 8)}, Previous: prev, Segments: [][32]byte{hash}}
		fail(s.AdvanceHeads(ctx, h))
		prev = h.Hash
		fail(s.PutMeta(ctx, "next", []byte(strconv.Itoa(i+1))))
		fmt.Println(i)
	}
}

// TestCrash kills a writing process again and again. What it was told to be
// durable must be there, the rest must be there whole or not at all, and the
// databases must be sound.
func TestCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	last := -1
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if last, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatalf("the process said %q", lines.Text())
			}
			// Somewhere in the middle of the next step.
			if n == 3+2*round {
				time.Sleep(time.Duration(round) * 700 * time.Microsecond)
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it died
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				last = n
			}
		}
		cmd.Wait()
		checkCrashed(t, dir, last)
	}
	if last < rounds {
		t.Errorf("the processes made %d steps, want more", last)
	}
}

func checkCrashed(t *testing.T, dir string, last int) {
	t.Helper()
	ctx := t.Context()
	s, err := store.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Check(ctx); err != nil {
		t.Fatal(err)
	}
	queries := 0
	for i := range last + 2 {
		st, err := s.LookupQuery(ctx, begin(i).QueryKey)
		switch {
		case errors.Is(err, store.ErrNotFound) && i > last:
		case err != nil:
			t.Fatalf("query %d of %d: %v", i, last, err)
		case st.Progress == store.Answered && string(st.Answer) == strconv.Itoa(i):
			queries++
		case st.Progress == store.Pending && i > last, st.Progress == store.Failed: // cut, now or in a round before
			queries++
		default:
			t.Errorf("query %d of %d is %v", i, last, st.Progress)
		}
	}
	if used, err := s.BudgetUsed(ctx, "day"); int(used) != queries || err != nil {
		t.Errorf("%d charged, %v, want %d, one per query", used, err, queries)
	}
	n, err := s.CountRecords(ctx, "list")
	if err != nil || n%20 != 0 || int(n) < 20*(last+1) {
		t.Errorf("%d records, %v, want 20 for each of %d files, and no part of one", n, err, last+1)
	}
	// As a gateway does when it starts.
	pending, err := s.PendingQueries(ctx)
	if err != nil || len(pending) > 1 {
		t.Errorf("%d pending queries, %v, want at most the last", len(pending), err)
	}
	for _, q := range pending {
		if err := s.FinishQuery(ctx, q.QueryKey, store.Finish{Progress: store.Failed, Time: noon}); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.CollectSegments(ctx, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
}

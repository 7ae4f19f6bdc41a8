package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
)

const (
	origin = "gw.qvarnia.example/log/shared"
	asker  = "spiffe://gw.utopia.example/gateway/main"
	holder = "spiffe://gw.qvarnia.example/gateway/main"
	noon   = 1795348800000 // 2026-11-22T12:00:00Z
)

func testKey(c byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{c}, ed25519.SeedSize))
}

func config(t testing.TB, dir string) audit.Config {
	t.Helper()
	s, v, err := audit.NewSigner(origin, testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	return audit.Config{Dir: dir, Origin: origin, Signer: s, Verifier: v, Interval: audit.MinInterval}
}

func open(t testing.TB, cfg audit.Config) *audit.Log {
	t.Helper()
	l, err := audit.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

func mustClose(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// denied returns a valid entry that tells n from others.
func denied(n int) *entry.Entry {
	return &entry.Entry{
		Kind: entry.KindDecision, Time: noon + int64(n), Query: [16]byte{1, byte(n), byte(n >> 8), 15: 1},
		Direction: entry.DirectionAnswered, Asker: asker, Holder: holder,
		Decision: entry.DecisionDenied, Reason: "POLICY_DENIED",
	}
}

func mustAppend(t testing.TB, l *audit.Log, e *entry.Entry) audit.Position {
	t.Helper()
	p, err := l.Append(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustVerify(t testing.TB, cfg audit.Config) *entry.Report {
	t.Helper()
	r, err := entry.VerifyFolder(os.DirFS(cfg.Dir), cfg.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// all returns the leaf hashes of the log.
func all(t testing.TB, l *audit.Log) (leaves [][32]byte) {
	t.Helper()
	for e, err := range l.Entries(context.Background(), 0, 1<<62) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index != uint64(len(leaves)) || entry.LeafHash(e.Bytes) != e.Leaf {
			t.Fatalf("entry %d at %d", e.Index, len(leaves))
		}
		leaves = append(leaves, e.Leaf)
	}
	return leaves
}

func TestAppendAndProve(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cfg := config(t, t.TempDir())
	l := open(t, cfg)
	if l.Size() != 0 || l.Published() != 0 || l.OldestUnpublished() != 0 || l.Origin() != origin || l.Err() != nil {
		t.Errorf("a new log has size %d, published %d", l.Size(), l.Published())
	}
	var want [][32]byte
	for i := range 5 {
		p := mustAppend(t, l, denied(i))
		leaf, err := denied(i).Leaf()
		if err != nil || p.Index != uint64(i) || p.Leaf != leaf {
			t.Fatalf("position %+v, %v", p, err)
		}
		want = append(want, leaf)
	}
	if err := l.Await(ctx, 4); err != nil {
		t.Fatal(err)
	}
	early, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	older, err := entry.CheckCheckpoint(early, cfg.Verifier)
	if err != nil || older.Size != 5 {
		t.Fatalf("checkpoint %+v, %v", older, err)
	}
	// Enough for a second bundle and a full first tile.
	var wg sync.WaitGroup
	for i := 5; i < 300; i++ {
		wg.Go(func() {
			if _, err := l.Append(ctx, denied(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := l.Await(ctx, 299); err != nil {
		t.Fatal(err)
	}
	if d := l.OldestUnpublished(); d != 0 {
		t.Errorf("OldestUnpublished = %v with everything published", d)
	}
	got := all(t, l)
	if len(got) != 300 || !slices.Equal(got[:5], want) {
		t.Errorf("%d entries", len(got))
	}
	n := 0
	for e, err := range l.Entries(ctx, 250, 260) {
		if err != nil || e.Index != uint64(250+n) || e.Leaf != got[e.Index] || e.Entry.Kind != entry.KindDecision {
			t.Fatalf("entry %+v, %v", e, err)
		}
		file, err := l.ProveInclusion(ctx, e.Index)
		if err != nil {
			t.Fatal(err)
		}
		if index, _, err := entry.CheckProof(e.Bytes, file, cfg.Verifier); err != nil || index != e.Index {
			t.Errorf("CheckProof = %d, %v", index, err)
		}
		n++
	}
	if n != 10 {
		t.Errorf("%d entries from 250 to 260", n)
	}
	late, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := entry.CheckCheckpoint(late, cfg.Verifier)
	if err != nil || newer.Size != 300 {
		t.Fatalf("checkpoint %+v, %v", newer, err)
	}
	hashes, err := l.ProveConsistency(ctx, 5, 300)
	if err != nil {
		t.Fatal(err)
	}
	if err := entry.CheckConsistency(older, newer, hashes); err != nil {
		t.Error(err)
	}
	if _, err := l.ProveInclusion(ctx, 300); !errors.Is(err, audit.ErrNotCovered) {
		t.Errorf("proof of the future: %v", err)
	}
	if _, err := l.ProveConsistency(ctx, 5, 301); !errors.Is(err, audit.ErrNotCovered) {
		t.Errorf("consistency with the future: %v", err)
	}
	if _, err := l.ProveConsistency(ctx, 5, 4); err == nil {
		t.Error("consistency with the past")
	}
	mustClose(t, l)
	if r := mustVerify(t, cfg); r.Size != 300 || r.Kinds["decision"] != 300 {
		t.Errorf("report %+v", r)
	}
	if _, err := l.Append(ctx, denied(0)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if err := l.Await(ctx, 1000); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Await after Close: %v", err)
	}

	again := open(t, cfg)
	if got := all(t, again); len(got) != 300 || again.Published() != 300 {
		t.Errorf("%d entries after opening again", len(got))
	}
	if p := mustAppend(t, again, denied(300)); p.Index != 300 {
		t.Errorf("position %+v", p)
	}
	mustClose(t, again)
	if r := mustVerify(t, cfg); r.Size != 301 {
		t.Errorf("report %+v", r)
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cfg := config(t, t.TempDir())
	l := open(t, cfg)
	if _, err := l.Append(ctx, &entry.Entry{}); !errors.Is(err, entry.ErrInvalid) {
		t.Errorf("invalid entry: %v", err)
	}
	outcome := &entry.Entry{Kind: entry.KindOutcome, Time: noon, Query: [16]byte{1}, Outcome: entry.OutcomeCandidate}
	if _, err := l.Append(ctx, outcome); !errors.Is(err, audit.ErrInternal) {
		t.Errorf("outcome in a shared log: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.Append(ended, denied(1)); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if err := l.Await(ended, 99); !errors.Is(err, context.Canceled) {
		t.Errorf("Await with an ended context: %v", err)
	}
	if _, err := audit.Open(ctx, cfg); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	// A failed Open does not release the lock of the first.
	if _, err := audit.Open(ctx, cfg); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("third Open: %v", err)
	}

	internal := config(t, t.TempDir())
	internal.Internal = true
	il := open(t, internal)
	mustAppend(t, il, outcome)
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	_, other, err := audit.NewSigner(origin, testKey(2))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*audit.Config)
	}{
		{"Dir", func(c *audit.Config) { c.Dir = "" }},
		{"Origin", func(c *audit.Config) { c.Origin = "" }},
		{"Signer", func(c *audit.Config) { c.Signer = nil }},
		{"Signer", func(c *audit.Config) { c.Origin = "other" }},
		{"Verifier", func(c *audit.Config) { c.Verifier = nil }},
		{"Verifier", func(c *audit.Config) { c.Verifier = other }},
		{"Interval", func(c *audit.Config) { c.Interval = time.Millisecond }},
		{"Interval", func(c *audit.Config) { c.Interval = time.Hour }},
	}
	for _, tt := range tests {
		cfg := config(t, t.TempDir())
		tt.change(&cfg)
		l, err := audit.Open(context.Background(), cfg)
		if l != nil || err == nil || !strings.Contains(err.Error(), "config: "+tt.name) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for _, bad := range []string{"", "a b", "a+b"} {
		if _, _, err := audit.NewSigner(bad, testKey(1)); err == nil {
			t.Errorf("NewSigner(%q) succeeded", bad)
		}
	}
	if _, _, err := audit.NewSigner(origin, nil); err == nil {
		t.Error("NewSigner without a key succeeded")
	}
}

// TestCadence states that no checkpoint leaves between two ticks, whatever was
// appended, and that health sees what waits.
func TestCadence(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cfg := config(t, t.TempDir())
	cfg.Interval = audit.MaxInterval
	l := open(t, cfg)
	mustAppend(t, l, denied(1))
	for { // until the driver has signed
		msg, err := os.ReadFile(filepath.Join(cfg.Dir, "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := entry.CheckCheckpoint(msg, cfg.Verifier); err != nil {
			t.Fatal(err)
		} else if c.Size == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	msg, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := entry.CheckCheckpoint(msg, cfg.Verifier); err != nil || c.Size != 0 || l.Published() != 0 {
		t.Errorf("published %+v before the tick, %v", c, err)
	}
	if l.OldestUnpublished() == 0 {
		t.Error("nothing is unpublished")
	}
	if _, err := l.ProveInclusion(ctx, 0); !errors.Is(err, audit.ErrNotCovered) {
		t.Errorf("proof before the tick: %v", err)
	}
}

// TestStopped makes the folder unusable in several ways: an append must fail, and
// must go on failing when the folder is back.
func TestStopped(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		break_, fix func(dir string) error
	}{
		{"folder moved away", func(dir string) error { return os.Rename(dir, dir+".away") },
			func(dir string) error { return os.Rename(dir+".away", dir) }},
		{"folder replaced by a file", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600))
		}, func(dir string) error { return errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)) }},
		{"folder replaced by another", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".away"), os.MkdirAll(filepath.Join(dir, ".state"), 0o700))
		}, func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Rename(dir+".away", dir)) }},
		{"entries cannot be written", func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "tile/entries"), filepath.Join(dir, "away")),
				os.WriteFile(filepath.Join(dir, "tile/entries"), nil, 0o600))
		}, func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "tile/entries")),
				os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "tile/entries")))
		}},
		{"tiles cannot be written", func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "tile/0"), filepath.Join(dir, "away")),
				os.WriteFile(filepath.Join(dir, "tile/0"), nil, 0o600))
		}, func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "tile/0")),
				os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "tile/0")))
		}},
		{"state cannot be written", func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, ".state/treeState"), filepath.Join(dir, "away")),
				os.MkdirAll(filepath.Join(dir, ".state/treeState/x"), 0o700))
		}, func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, ".state/treeState")),
				os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, ".state/treeState")))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			cfg := config(t, filepath.Join(t.TempDir(), "log"))
			l := open(t, cfg)
			mustAppend(t, l, denied(0))
			if err := l.Await(ctx, 0); err != nil {
				t.Fatal(err)
			}
			if err := tt.break_(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					p, err := l.Append(ctx, denied(1+i))
					if !errors.Is(err, audit.ErrStopped) || p != (audit.Position{}) {
						t.Errorf("Append = %+v, %v, want ErrStopped", p, err)
					}
				})
			}
			wg.Wait()
			if err := tt.fix(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append(ctx, denied(9)); !errors.Is(err, audit.ErrStopped) {
				t.Errorf("Append after the repair: %v, want ErrStopped", err)
			}
			if err := l.Await(ctx, 5); !errors.Is(err, audit.ErrStopped) {
				t.Errorf("Await: %v, want ErrStopped", err)
			}
			if !errors.Is(l.Err(), audit.ErrStopped) {
				t.Errorf("Err = %v", l.Err())
			}
			if err := l.Close(ctx); !errors.Is(err, audit.ErrStopped) {
				t.Errorf("Close: %v, want ErrStopped", err)
			}
			again := open(t, cfg)
			if again.Size() != 1 {
				t.Errorf("%d entries after the repair, want 1", again.Size())
			}
			mustAppend(t, again, denied(10))
			mustClose(t, again)
			if r := mustVerify(t, cfg); r.Size != 2 {
				t.Errorf("report %+v", r)
			}
		})
	}
}

// copyDir copies a folder, so that a test can go back in time.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestRecoverTorn gives a log everything that a batch had written when the process
// ended, but not the state: the batch was not acknowledged, and must be gone.
func TestRecoverTorn(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 5, 254, 256, 260} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			cfg := config(t, filepath.Join(t.TempDir(), "log"))
			grow := func(l *audit.Log, from, n int) {
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() {
						if _, err := l.Append(ctx, denied(from+i)); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			l := open(t, cfg)
			grow(l, 0, size)
			mustClose(t, l)
			before := copyDir(t, cfg.Dir)

			l = open(t, cfg)
			for i := range 3 {
				mustAppend(t, l, denied(1000+i))
			}
			mustClose(t, l)
			for _, name := range []string{".state/treeState", "checkpoint"} {
				b, err := os.ReadFile(filepath.Join(before, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(cfg.Dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var logged bytes.Buffer
			cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			l = open(t, cfg)
			if l.Size() != uint64(size) {
				t.Fatalf("size %d, want %d", l.Size(), size)
			}
			mustClose(t, l)
			if !strings.Contains(logged.String(), "crash") {
				t.Errorf("nothing was logged: %q", logged.String())
			}
			mustVerify(t, cfg)

			// Other entries in the place of the lost ones, in a batch of another size.
			cfg.Logger = nil
			l = open(t, cfg)
			grow(l, 2000, 2)
			mustClose(t, l)
			if r := mustVerify(t, cfg); r.Size != uint64(size+2) {
				t.Errorf("report %+v", r)
			}
		})
	}
}

// TestOpenCorrupt changes what is stored: the log must not open, because appending
// would sign the change.
func TestOpenCorrupt(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(t.TempDir(), "log"))
	l := open(t, cfg)
	mustAppend(t, l, denied(0))
	mustAppend(t, l, denied(1))
	mustClose(t, l)
	older := copyDir(t, cfg.Dir)
	l = open(t, cfg)
	mustAppend(t, l, denied(2))
	mustClose(t, l)
	flip := func(name string) func(string) error {
		return func(dir string) error {
			name := filepath.Join(dir, name)
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 1
			return os.WriteFile(name, b, 0o600)
		}
	}
	restore := func(name string) func(string) error {
		return func(dir string) error {
			b, err := os.ReadFile(filepath.Join(older, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.RemoveAll(filepath.Join(dir, name)) }
	}
	tests := []struct {
		name   string
		change func(dir string) error
	}{
		{"checkpoint changed", flip("checkpoint")},
		{"checkpoint removed", remove("checkpoint")},
		{"entries changed", flip("tile/entries/000.p/3")},
		{"entries removed", remove("tile/entries")},
		{"tile changed", flip("tile/0/000.p/3")},
		{"tile removed", remove("tile/0")},
		{"state older than the checkpoint", restore(".state/treeState")},
		{"state removed", remove(".state")},
		{"state empty", func(dir string) error { return os.WriteFile(filepath.Join(dir, ".state/treeState"), nil, 0o600) }},
		{"state of an empty log", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, ".state/treeState"), []byte(`{"size":0,"root":""}`), 0o600)
		}},
		{"state of a larger log", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, ".state/treeState"),
				[]byte(`{"size":4,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`), 0o600)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := cfg
			c.Dir = copyDir(t, cfg.Dir)
			if err := tt.change(c.Dir); err != nil {
				t.Fatal(err)
			}
			l, err := audit.Open(context.Background(), c)
			if l != nil || !errors.Is(err, audit.ErrCorrupt) {
				t.Errorf("Open = %v, want ErrCorrupt", err)
			}
		})
	}
	t.Run("another key", func(t *testing.T) {
		t.Parallel()
		c := cfg
		c.Dir = copyDir(t, cfg.Dir)
		var err error
		if c.Signer, c.Verifier, err = audit.NewSigner(origin, testKey(2)); err != nil {
			t.Fatal(err)
		}
		if l, err := audit.Open(context.Background(), c); l != nil || !errors.Is(err, audit.ErrCorrupt) {
			t.Errorf("Open = %v, want ErrCorrupt", err)
		}
	})
	t.Run("crashed before the first checkpoint", func(t *testing.T) {
		t.Parallel()
		c := config(t, filepath.Join(t.TempDir(), "log"))
		mustClose(t, open(t, c))
		if err := os.Remove(filepath.Join(c.Dir, "checkpoint")); err != nil {
			t.Fatal(err)
		}
		l := open(t, c)
		mustAppend(t, l, denied(0))
		mustClose(t, l)
		mustVerify(t, c)
	})
}

// TestTampered flips one bit of every byte of every file of a log that Tessera
// wrote, beside the driver's own state.
func TestTampered(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(t.TempDir(), "log"))
	l := open(t, cfg)
	for i := range 4 {
		mustAppend(t, l, denied(i))
	}
	mustClose(t, l)
	mustVerify(t, cfg)
	files := make(fstest.MapFS)
	err := fs.WalkDir(os.DirFS(cfg.Dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, ".") {
			return err
		}
		b, err := os.ReadFile(filepath.Join(cfg.Dir, name))
		files[name] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for name, f := range files {
		for i := range f.Data {
			f.Data[i] ^= 1
			if r, err := entry.VerifyFolder(files, cfg.Verifier); r != nil || !errors.Is(err, entry.ErrFolder) {
				t.Fatalf("%s byte %d: %v", name, i, err)
			}
			f.Data[i] ^= 1
		}
	}
	if _, err := entry.VerifyFolder(files, cfg.Verifier); err != nil {
		t.Error(err)
	}
}

// TestCrash kills a process that appends, again and again, and checks each time that
// every entry it acknowledged is there.
func TestCrash(t *testing.T) {
	t.Parallel()
	if os.Getenv("AUDIT_CRASH_DIR") != "" {
		return
	}
	cfg := config(t, filepath.Join(t.TempDir(), "log"))
	acknowledged := make(map[uint64]string)
	for round := range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
		cmd.Env = append(os.Environ(), "AUDIT_CRASH_DIR="+cfg.Dir, fmt.Sprintf("AUDIT_CRASH_ROUND=%d", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 40+30*round {
				cmd.Process.Kill()
			}
			// After the kill, go on reading what was acknowledged before it.
			var index uint64
			var leaf string
			if _, err := fmt.Sscanf(lines.Text(), "ack %d %s", &index, &leaf); err != nil || len(leaf) != 64 {
				continue
			}
			if old, ok := acknowledged[index]; ok {
				t.Fatalf("index %d given twice: %s and %s", index, old, leaf)
			}
			acknowledged[index] = leaf
		}
		cmd.Wait()
		l := open(t, cfg)
		leaves := all(t, l)
		for index, leaf := range acknowledged {
			if index >= uint64(len(leaves)) || fmt.Sprintf("%x", leaves[index]) != leaf {
				t.Fatalf("round %d: acknowledged entry %d of %d is not there", round, index, len(leaves))
			}
		}
		mustClose(t, l)
		if r := mustVerify(t, cfg); r.Size != uint64(len(leaves)) {
			t.Errorf("report %+v of %d entries", r, len(leaves))
		}
	}
	if len(acknowledged) < 200 {
		t.Errorf("only %d entries were acknowledged", len(acknowledged))
	}
}

// TestCrashChild is the process that TestCrash kills.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv("AUDIT_CRASH_DIR")
	if dir == "" {
		t.Skip("only in the child of TestCrash")
	}
	var round int
	fmt.Sscan(os.Getenv("AUDIT_CRASH_ROUND"), &round)
	l := open(t, config(t, dir))
	var mu sync.Mutex
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				p, err := l.Append(context.Background(), denied(round<<20|w<<16|i))
				if err != nil {
					return
				}
				mu.Lock()
				fmt.Printf("ack %d %x\n", p.Index, p.Leaf)
				mu.Unlock()
			}
		}()
	}
	time.Sleep(time.Minute) // until killed
}

// TestKlog states where the driver's messages go.
func TestKlog(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var logged bytes.Buffer
	cfg := config(t, filepath.Join(t.TempDir(), "log"))
	cfg.Logger = slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return logged.Write(b)
	}), nil))
	mustClose(t, open(t, cfg))
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(logged.String(), "Initializing directory") {
		t.Errorf("the driver's messages are not in the log: %q", logged.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// BenchmarkAppend reports the median time of one durable append.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			cfg := config(b, b.TempDir())
			cfg.Interval = audit.DefaultInterval
			l := open(b, cfg)
			times := make([]time.Duration, b.N)
			work := make(chan int)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for i := range work {
						start := time.Now()
						if _, err := l.Append(context.Background(), denied(i)); err != nil {
							b.Error(err)
						}
						times[i] = time.Since(start)
					}
				})
			}
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

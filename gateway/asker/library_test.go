package asker_test

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/store"
)

// A shelf is a store with one list of one class, of which there may be versions.
type shelf struct {
	dir       string
	store     *store.Store
	library   *asker.Library
	server    *oprf.Server
	statement ed25519.PrivateKey
	head      store.Head
}

var shelved = &agreement.Collection{Holder: "b.example", Name: "watchlist", Classes: []string{"doc"}}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &shelf{dir: dir, store: s, library: asker.NewLibrary(s), server: oprf.NewServer(oprf.GeneratePrivateKey()),
		statement: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
}

func (s *shelf) info() psi.Info {
	return psi.Info{Protocol: 1, Holder: "b.example", Asker: "a.example", Collection: "watchlist", Class: "doc", Normalisation: 1, Epoch: 1}
}

// accept stores the next version, with keys that several records share.
func (s *shelf) accept(t *testing.T, keys, sharers int) {
	t.Helper()
	records := make([]psi.Record, 0, keys*sharers)
	for i := range keys {
		for range sharers {
			records = append(records, psi.Record{Key: fmt.Append(nil, "key ", i), Label: psi.Label{Handle: psi.GenerateHandle()}})
		}
	}
	set, err := psi.Build(t.Context(), s.server, psi.Params{Info: s.info(), PublicKey: s.server.PublicKey(),
		Version: s.head.Version + 1, Previous: s.head.Hash, Created: noon, NotAfter: noon.Add(time.Hour)}, records)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := set.Manifest().Sign(s.statement)
	if err != nil {
		t.Fatal(err)
	}
	m := set.Manifest()
	s.head = store.Head{Side: store.Accepted, Peer: "b.example", Collection: "watchlist", Class: "doc", Version: m.Version, Epoch: 1,
		Hash: m.Hash(), Previous: m.Previous, Manifest: signed.Bytes(), Created: m.Created}
	for _, b := range set.Segments() {
		hash, err := s.store.PutSegment(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		s.head.Segments = append(s.head.Segments, hash)
	}
	if err := s.store.AdvanceHeads(t.Context(), s.head); err != nil {
		t.Fatal(err)
	}
	if err := s.store.PutSynced(t.Context(), store.Sync{Peer: "b.example", Collection: "watchlist", Version: m.Version, At: noon}); err != nil {
		t.Fatal(err)
	}
}

func (s *shelf) load(t *testing.T) *asker.List {
	t.Helper()
	list, err := s.library.Load(t.Context(), "b.example", shelved, s.statement.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (s *shelf) evaluate(t *testing.T, key string) oprf.Output {
	t.Helper()
	out, err := s.server.Evaluate([]byte(key), s.info().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// removed deletes the files of segments that no version names.
func (s *shelf) removed(t *testing.T, before uint64) {
	t.Helper()
	if err := s.store.PruneSegments(t.Context(), store.Accepted, "b.example", "watchlist", before); err != nil {
		t.Fatal(err)
	}
	if n, err := s.store.CollectSegments(t.Context(), time.Now().Add(time.Hour)); err != nil || n == 0 {
		t.Fatalf("CollectSegments = %d, %v", n, err)
	}
}

// TestListReplaced searches a list while a newer one takes its place and its files
// are removed, and checks that it is let go when nobody searches it any more.
func TestListReplaced(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.accept(t, 10, 1)
	old := s.load(t)
	file := filepath.Base(s.store.SegmentPath(s.head.Segments[0]))
	hit, miss := s.evaluate(t, "key 3"), s.evaluate(t, "key 30")
	s.accept(t, 40, 1)
	current := s.load(t)
	s.removed(t, 2)
	if _, err := os.Stat(filepath.Join(s.dir, "sets", file[:2], file)); !os.IsNotExist(err) {
		t.Errorf("control: the file is still there, %v", err)
	}
	for range 3 {
		runtime.GC()
		if got := len(old.Classes[0].Lookup(hit)); got != 1 {
			t.Errorf("%d labels in the old list", got)
		}
		if got := len(old.Classes[0].Lookup(miss)); got != 0 {
			t.Errorf("%d labels in the old list of a record that came later", got)
		}
		if got := len(current.Classes[0].Lookup(miss)); got != 1 {
			t.Errorf("%d labels in the new list", got)
		}
	}
	runtime.KeepAlive(old)
	maps := func() string {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Skip("this system does not list mappings")
		}
		return string(b)
	}
	if !strings.Contains(maps(), file) {
		t.Fatal("control: the old list is not mapped")
	}
	old = nil
	for range 100 {
		if runtime.GC(); !strings.Contains(maps(), file) {
			runtime.KeepAlive(current)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the old list stays mapped")
}

// TestLoadDamaged changes a byte of every part of a segment's file.
func TestLoadDamaged(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.accept(t, 10, 1)
	path := s.store.SegmentPath(s.head.Segments[0])
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 21, 60, 1000, len(good) - 1} {
		b := append([]byte(nil), good...)
		b[at] ^= 4
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := s.library.Load(t.Context(), "b.example", shelved, s.statement.Public().(ed25519.PublicKey)); err == nil || list != nil {
			t.Errorf("a list is loaded with byte %d changed", at)
		}
	}
	if got := len(s.library.Lists()); got != 0 {
		t.Errorf("%d lists in use", got)
	}
}

// TestListMemory loads and searches the tag sets of a list of a million records, and
// a second version of it, as a synchronisation does.
func TestListMemory(t *testing.T) {
	if os.Getenv("PASSERELLE_LONG") == "" {
		t.Skip("a minute; set PASSERELLE_LONG")
	}
	s := newShelf(t)
	const keys = 4_600_000 / 64 // 64 records a key, so that the set is ready in a minute
	for range 2 {
		s.accept(t, keys, 64)
	}
	var outputs []oprf.Output
	for i := range 2000 {
		outputs = append(outputs, s.evaluate(t, fmt.Sprint("key ", 35*i)))
	}
	status := func(name string) int {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Skip("this system does not tell the memory in use")
		}
		_, line, _ := strings.Cut(string(b), name+":")
		var kb int
		if _, err := fmt.Sscan(line, &kb); err != nil {
			t.Fatal(err)
		}
		return kb >> 10
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // resets VmHWM
		t.Skip("the most memory in use cannot be reset")
	}
	before := status("VmRSS")
	first := s.load(t)
	list := s.load(t)
	loaded := status("VmRSS")
	for _, l := range []*asker.List{first, list} {
		for i := range outputs {
			if got := len(l.Classes[0].Lookup(outputs[i])); got != 64 {
				t.Fatalf("%d labels of key %d, want 64", got, 35*i)
			}
		}
	}
	most := status("VmHWM") - before
	t.Logf("%d tags: %d MiB more once loaded, %d MiB more after 4,000 lookups, %d MiB more at most", list.Tags, loaded-before,
		status("VmRSS")-before, most)
	if most > 300 {
		t.Errorf("%d MiB more than before, want at most 300", most)
	}
}

package keys_test

// Attacks on stored keys. Covered: each byte of a wrapped key, keys moved between
// epochs and collections, a restored backup, a lost folder, crashes within Create
// and Destroy, wide permissions, printing. Not covered: file systems that keep old
// blocks, and who can read the memory of the process.

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/oprf"
)

var now = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

type place struct{ root, dir, wrap string }

func newPlace(t testing.TB) place {
	t.Helper()
	root := t.TempDir()
	return place{root, filepath.Join(root, "keys"), filepath.Join(root, "wrap")}
}

func (p place) open(t testing.TB) *keys.Ring {
	t.Helper()
	r, err := keys.OpenRing(p.dir, p.wrap, "watchlist")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error = %v, want %v", what, err, want)
	}
}

// snapshot returns the content of all files below a folder.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	}))
	return out
}

// restore makes a folder what it was at the snapshot.
func restore(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for path := range snapshot(t, dir) {
		must(t, os.Remove(path))
	}
	for path, b := range files {
		must(t, os.WriteFile(path, []byte(b), 0o600))
	}
}

// TestRing follows a collection through three epochs.
func TestRing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	_, err := r.Current()
	want(t, "Current of none", err, keys.ErrNotFound)
	_, err = r.Load(1)
	want(t, "Load of none", err, keys.ErrNotFound)
	want(t, "Destroy of none", r.Destroy(1, now), keys.ErrNotFound)

	made := map[uint32]oprf.PrivateKey{}
	for n := uint32(1); n <= 3; n++ {
		k := oprf.GeneratePrivateKey()
		made[n] = k
		must(t, r.Create(n, k.KeyID(), k.Bytes(), now.AddDate(0, 0, int(n))))
		want(t, "Create twice", r.Create(n, "x", []byte("other"), now), keys.ErrExists)
	}
	r = p.open(t) // as after a restart
	for n, k := range made {
		got, err := r.Load(n)
		must(t, err)
		parsed, err := oprf.ParsePrivateKey(got.Bytes())
		if err != nil || parsed.KeyID() != k.KeyID() || got.KeyID() != k.KeyID() || got.Epoch() != n {
			t.Errorf("epoch %d: got %v (%v), want %v", n, got, err, k)
		}
	}
	current, err := r.Current()
	if err != nil || current.Epoch() != 3 {
		t.Errorf("Current = epoch %d, %v, want 3", current.Epoch(), err)
	}

	must(t, r.Destroy(3, now.AddDate(0, 1, 0)))
	must(t, r.Destroy(3, now.AddDate(0, 2, 0)))
	must(t, r.Destroy(1, now.AddDate(0, 1, 0)))
	for _, ring := range []*keys.Ring{r, p.open(t)} {
		for _, n := range []uint32{1, 3} {
			k, err := ring.Load(n)
			want(t, "Load of a destroyed key", err, keys.ErrDestroyed)
			if k.Bytes() != nil {
				t.Error("a key with an error")
			}
			want(t, "Create of a destroyed epoch", ring.Create(n, "x", []byte("k"), now), keys.ErrDestroyed)
		}
		if current, err := ring.Current(); err != nil || current.Epoch() != 2 {
			t.Errorf("Current = epoch %d, %v, want 2", current.Epoch(), err)
		}
		all, err := ring.Epochs()
		must(t, err)
		for i, e := range all {
			n := uint32(i + 1)
			wantAt := time.Time{}
			if n != 2 {
				wantAt = now.AddDate(0, 1, 0)
			}
			if e.Number != n || e.KeyID != made[n].KeyID() || !e.Created.Equal(now.AddDate(0, 0, int(n))) || !e.Destroyed.Equal(wantAt) {
				t.Errorf("epoch %d = %+v", n, e)
			}
		}
		if len(all) != 3 {
			t.Errorf("%d epochs, want 3", len(all))
		}
	}
	must(t, r.Destroy(2, now))
	_, err = r.Current()
	want(t, "Current of destroyed ones", err, keys.ErrNotFound)
}

// TestDestroyForGood restores the first folder from a backup after Destroy, and
// looks for the wrapping key in all that is left.
func TestDestroyForGood(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	key := bytes.Repeat([]byte("secret"), 5)
	must(t, r.Create(7, "id7", key, now))
	backup := snapshot(t, p.dir)
	if len(backup) != 1 {
		t.Fatalf("%d files in the folder of keys", len(backup))
	}
	wrapping := ""
	for _, b := range snapshot(t, p.wrap) {
		wrapping = b
	}
	for _, b := range backup {
		if strings.Contains(b, string(key)) || strings.Contains(b, wrapping) {
			t.Error("the wrapped key shows a secret")
		}
		if got, err := keys.Unwrap([]byte(b), []byte(wrapping)); err != nil || !bytes.Equal(got, key) {
			t.Errorf("the backup does not open before: %v", err)
		}
	}
	must(t, r.Destroy(7, now))
	for path, b := range snapshot(t, p.root) {
		if strings.Contains(b, wrapping) || strings.HasSuffix(path, ".wrap") {
			t.Errorf("%s still has the wrapping key", filepath.Base(path))
		}
	}
	restore(t, p.dir, backup)
	_, err := r.Load(7)
	want(t, "Load after a restore", err, keys.ErrDestroyed)
	r = p.open(t)
	_, err = r.Load(7)
	want(t, "Load after a restore and a restart", err, keys.ErrDestroyed)
	if left := snapshot(t, p.dir); len(left) != 0 {
		t.Errorf("the restored key is still there")
	}
	// Whatever the mark holds.
	mark := filepath.Join(p.wrap, "watchlist", "0000000007.destroyed")
	must(t, os.WriteFile(mark, nil, 0o600))
	_, err = r.Load(7)
	want(t, "Load with a damaged mark", err, keys.ErrDestroyed)
	all, err := r.Epochs()
	if err != nil || len(all) != 1 || all[0].Destroyed.IsZero() {
		t.Errorf("Epochs with a damaged mark = %+v, %v", all, err)
	}
}

// TestOverwritten checks that the bytes of a file change before it is removed, by
// a second name for the same file.
func TestOverwritten(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	must(t, r.Create(1, "id", []byte("key"), now))
	wrap := filepath.Join(p.wrap, "watchlist", "0000000001.wrap")
	second := filepath.Join(p.root, "second")
	must(t, os.Link(wrap, second))
	before, err := os.ReadFile(second)
	must(t, err)
	must(t, r.Destroy(1, now))
	after, err := os.ReadFile(second)
	must(t, err)
	if len(before) != 32 || len(after) != 32 || bytes.Equal(before, after) {
		t.Error("the wrapping key is not overwritten")
	}
}

// TestCrashes puts together every state that a crash can leave behind.
func TestCrashes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	must(t, r.Create(1, "id", []byte("key"), now))
	keyDir, wrapDir := snapshot(t, p.dir), snapshot(t, p.wrap)
	must(t, r.Destroy(1, now))
	marked := snapshot(t, p.wrap)

	// Destroy: the mark is written, nothing or only the wrapping key is erased.
	both := maps.Clone(marked)
	maps.Copy(both, wrapDir)
	for name, state := range map[string]map[string]string{"mark": both, "wrapping key": marked} {
		restore(t, p.dir, keyDir)
		restore(t, p.wrap, state)
		_, err := r.Load(1)
		want(t, "Load after a crash at "+name, err, keys.ErrDestroyed)
		must(t, r.Destroy(1, now))
		restore(t, p.dir, keyDir)
		restore(t, p.wrap, state)
		_, err = p.open(t).Load(1)
		want(t, "Load after a crash at "+name+" and a restart", err, keys.ErrDestroyed)
		if len(snapshot(t, p.dir)) != 0 || len(snapshot(t, p.wrap)) != 1 {
			t.Errorf("crash at %s: keys are left", name)
		}
	}

	// Create: there is a wrapping key, or a part of it, and no key.
	for path, b := range wrapDir {
		for _, part := range []string{b, b[:5], ""} {
			restore(t, p.dir, nil)
			restore(t, p.wrap, map[string]string{path: part})
			r := p.open(t)
			_, err := r.Load(1)
			want(t, "Load after a crash in Create", err, keys.ErrNotFound)
			must(t, r.Create(1, "again", []byte("new"), now))
			if k, err := r.Load(1); err != nil || k.KeyID() != "again" {
				t.Errorf("Load after Create again = %v, %v", k, err)
			}
		}
	}

	// A key that was lost can be destroyed: a copy may turn up.
	restore(t, p.dir, nil)
	restore(t, p.wrap, wrapDir)
	must(t, r.Destroy(1, now))
	restore(t, p.dir, keyDir)
	_, err := r.Load(1)
	want(t, "Load of a copy that turned up", err, keys.ErrDestroyed)
}

// TestDamaged changes files in every way; none gives a key.
func TestDamaged(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	must(t, r.Create(1, "id1", []byte("key 1"), now))
	must(t, r.Create(2, "id2", []byte("key 2"), now))
	must(t, r.Create(3, "id3", []byte("key 3"), now))
	path := func(n int, suffix string) string {
		dir := p.dir
		if suffix == "wrap" {
			dir = p.wrap
		}
		return filepath.Join(dir, "watchlist", fmt.Sprintf("%010d.%s", n, suffix))
	}
	check := func(name string) {
		t.Helper()
		if k, err := r.Load(2); !errors.Is(err, keys.ErrDamaged) || k.Bytes() != nil || k.KeyID() != "" {
			t.Errorf("%s: Load = %v, %v, want %v", name, k, err, keys.ErrDamaged)
		}
	}
	good, err := os.ReadFile(path(2, "key"))
	must(t, err)
	wrapping, err := os.ReadFile(path(2, "wrap"))
	must(t, err)
	put := func(suffix string, b []byte) { must(t, os.WriteFile(path(2, suffix), b, 0o600)) }
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1 << (i % 8)
		put("key", b)
		check(fmt.Sprintf("byte %d", i))
	}
	for n := range good {
		put("key", good[:n])
		check(fmt.Sprintf("%d bytes", n))
	}
	put("key", append(bytes.Clone(good), 0))
	check("longer")
	put("key", make([]byte, 1<<18))
	check("huge")
	// The key and wrapping key of another epoch, which open together.
	other, err := os.ReadFile(path(3, "key"))
	must(t, err)
	otherWrapping, err := os.ReadFile(path(3, "wrap"))
	must(t, err)
	put("key", other)
	check("the key of another epoch")
	put("wrap", otherWrapping)
	check("both keys of another epoch")
	put("key", keys.Wrap(2, "other", "id2", wrapping, []byte("key 2")))
	put("wrap", wrapping)
	check("another collection")
	put("key", good)
	put("wrap", wrapping[:31])
	check("short wrapping key")
	put("wrap", otherWrapping)
	check("another wrapping key")
	must(t, os.Remove(path(2, "wrap")))
	check("no wrapping key")
	put("wrap", wrapping)
	if k, err := r.Load(2); err != nil || string(k.Bytes()) != "key 2" {
		t.Errorf("Load of the good file = %v, %v", k, err)
	}
	// An older key does not take the place of one that is damaged.
	must(t, os.Remove(path(3, "wrap")))
	_, err = r.Current()
	want(t, "Current with a damaged key", err, keys.ErrDamaged)
	// A damaged key can be destroyed.
	must(t, r.Destroy(3, now))
	if k, err := r.Current(); err != nil || k.Epoch() != 2 {
		t.Errorf("Current = %v, %v", k, err)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.open(t)
	must(t, r.Create(1, "id", []byte("key"), now))
	signing, pseudonym := filepath.Join(p.root, "s"), filepath.Join(p.root, "p")
	_, err := keys.CreateSigningKey(signing)
	must(t, err)
	_, err = keys.CreatePseudonymKey(pseudonym)
	must(t, err)
	must(t, keys.StoreSecret(filepath.Join(p.root, "o"), "OTHER KEY", []byte("x")))
	must(t, filepath.WalkDir(p.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == p.root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has %04o, want %04o", path, got, want)
		}
		return nil
	}))
	load := map[string]func() error{
		filepath.Join(p.dir, "watchlist", "0000000001.key"):   func() error { _, err := r.Load(1); return err },
		filepath.Join(p.wrap, "watchlist", "0000000001.wrap"): func() error { _, err := r.Load(1); return err },
		signing:                    func() error { _, err := keys.LoadSigningKey(signing); return err },
		pseudonym:                  func() error { _, err := keys.LoadPseudonymKey(pseudonym); return err },
		filepath.Join(p.root, "o"): func() error { _, err := keys.LoadSecret(filepath.Join(p.root, "o"), "OTHER KEY"); return err },
	}
	for path, f := range load {
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o610, 0o601} {
			must(t, os.Chmod(path, mode))
			want(t, fmt.Sprintf("%s with %04o", filepath.Base(path), mode), f(), keys.ErrPermissions)
		}
		must(t, os.Chmod(path, 0o400))
		want(t, "0400", f(), nil)
	}
	for _, dir := range []string{p.dir, p.wrap} {
		must(t, os.Chmod(dir, 0o777))
		_, err := keys.OpenRing(p.dir, p.wrap, "watchlist")
		want(t, "wide folder", err, keys.ErrPermissions)
		must(t, os.Chmod(dir, 0o700))
	}
}

func TestRingRefuses(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	join := func(s string) string { return filepath.Join(root, s) }
	must(t, os.Mkdir(join("real"), 0o700))
	must(t, os.Symlink(join("real"), join("link")))
	for _, c := range [][3]string{
		{"a", "b", ""}, {"a", "b", "."}, {"a", "b", ".."}, {"a", "b", "x/y"}, {"a", "b", "../x"}, {"a", "b", "ä"},
		{"a", "b", "-x"}, {"a", "b", "a b"}, {"a", "b", strings.Repeat("a", 65)},
		{"a", "a", "c"}, {"a", "a/b", "c"}, {"a/b", "a", "c"}, {"real", "link", "c"}, {"real", "link/x", "c"},
	} {
		if r, err := keys.OpenRing(join(c[0]), join(c[1]), c[2]); !errors.Is(err, keys.ErrInput) || r != nil {
			t.Errorf("OpenRing(%q) error = %v, want %v", c, err, keys.ErrInput)
		}
	}
	_, err := keys.OpenRing("", join("b"), "c")
	want(t, "no folder", err, keys.ErrInput)
	_, err = keys.OpenRing(join("x"), join("xy"), "c")
	want(t, "folders with a common prefix", err, nil)

	r, err := keys.OpenRing(join("keys"), join("wrap"), "Stolen-docs_2.x")
	must(t, err)
	for name, err := range map[string]error{
		"no key ID":   r.Create(1, "", []byte("k"), now),
		"bad key ID":  r.Create(1, "a\nb", []byte("k"), now),
		"no key":      r.Create(1, "id", nil, now),
		"long key":    r.Create(1, "id", make([]byte, keys.MaxKeySize+1), now),
		"no time":     r.Create(1, "id", []byte("k"), time.Time{}),
		"no time (D)": r.Destroy(1, time.Time{}),
	} {
		want(t, name, err, keys.ErrInput)
	}
	if n := len(snapshot(t, join("keys"))) + len(snapshot(t, join("wrap"))); n != 0 {
		t.Errorf("%d files after refusals", n)
	}
	must(t, r.Create(0, "id", make([]byte, keys.MaxKeySize), now))
	must(t, r.Create(1<<32-1, "id", []byte("k"), now))
	if k, err := r.Load(0); err != nil || len(k.Bytes()) != keys.MaxKeySize {
		t.Errorf("Load of the longest key: %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	r := newPlace(t).open(t)
	must(t, r.Create(1, "id", []byte("key"), now))
	var wg sync.WaitGroup
	created := make([]error, 8)
	for i := range created {
		wg.Go(func() { created[i] = r.Create(2, fmt.Sprintf("id%d", i), []byte("key"), now) })
		wg.Go(func() {
			if _, err := r.Load(1); err != nil && !errors.Is(err, keys.ErrDestroyed) {
				t.Error(err)
			}
			if _, err := r.Epochs(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() { want(t, "Destroy", r.Destroy(1, now), nil) })
	wg.Wait()
	ok := 0
	for _, err := range created {
		if err == nil {
			ok++
		} else {
			want(t, "Create", err, keys.ErrExists)
		}
	}
	if ok != 1 {
		t.Errorf("%d of the calls created epoch 2, want 1", ok)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, p, o := filepath.Join(dir, "signing"), filepath.Join(dir, "pseudonym"), filepath.Join(dir, "other")
	_, err := keys.LoadSigningKey(s)
	want(t, "LoadSigningKey", err, keys.ErrNotFound)
	_, err = keys.LoadPseudonymKey(p)
	want(t, "LoadPseudonymKey", err, keys.ErrNotFound)

	sk, err := keys.CreateSigningKey(s)
	must(t, err)
	_, err = keys.CreateSigningKey(s)
	want(t, "CreateSigningKey twice", err, keys.ErrExists)
	got, err := keys.LoadSigningKey(s)
	if err != nil || !got.Key().Equal(sk.Key()) || got.KeyID() != sk.KeyID() || len(sk.KeyID()) != 16 {
		t.Errorf("LoadSigningKey = %v, %v", got, err)
	}
	sig, err := got.Sign(rand.Reader, []byte("m"), &ed25519.Options{})
	if err != nil || !ed25519.Verify(sk.PublicKey(), []byte("m"), sig) || !sk.PublicKey().Equal(got.Public()) {
		t.Errorf("Sign: %v", err)
	}
	next := keys.GenerateSigningKey()
	must(t, next.Store(s))
	if got, err := keys.LoadSigningKey(s); err != nil || !got.Key().Equal(next.Key()) {
		t.Errorf("a key is not replaced: %v", err)
	}

	pk, err := keys.CreatePseudonymKey(p)
	must(t, err)
	_, err = keys.CreatePseudonymKey(p)
	want(t, "CreatePseudonymKey twice", err, keys.ErrExists)
	again, err := keys.LoadPseudonymKey(p)
	if err != nil || keys.Pseudonym(again, "x") != keys.Pseudonym(pk, "x") {
		t.Errorf("LoadPseudonymKey: %v", err)
	}
	must(t, keys.GeneratePseudonymKey().Store(p))
	if again, err := keys.LoadPseudonymKey(p); err != nil || keys.Pseudonym(again, "x") == keys.Pseudonym(pk, "x") {
		t.Errorf("a key is not replaced: %v", err)
	}

	must(t, keys.StoreSecret(o, "OTHER KEY", []byte("secret")))
	must(t, keys.StoreSecret(o, "OTHER KEY", []byte("secret 2")))
	if b, err := keys.LoadSecret(o, "OTHER KEY"); err != nil || string(b) != "secret 2" {
		t.Errorf("LoadSecret = %q, %v", b, err)
	}
	// No file serves for another.
	_, err = keys.LoadSecret(o, "ANOTHER KEY")
	want(t, "other kind", err, keys.ErrDamaged)
	_, err = keys.LoadSigningKey(p)
	want(t, "pseudonym key as signing key", err, keys.ErrDamaged)
	_, err = keys.LoadPseudonymKey(s)
	want(t, "signing key as pseudonym key", err, keys.ErrDamaged)
	must(t, keys.StoreSecret(o, "PSEUDONYM KEY", []byte("short")))
	_, err = keys.LoadPseudonymKey(o)
	want(t, "short pseudonym key", err, keys.ErrDamaged)
	for _, kind := range []string{"", "lower", " X", "X ", "A-B", strings.Repeat("A", 65)} {
		want(t, "kind", keys.StoreSecret(o, kind, []byte("x")), keys.ErrInput)
		_, err := keys.LoadSecret(o, kind)
		want(t, "kind", err, keys.ErrInput)
	}
	want(t, "no secret", keys.StoreSecret(o, "X", nil), keys.ErrInput)
	want(t, "long secret", keys.StoreSecret(o, "X", make([]byte, keys.MaxKeySize+1)), keys.ErrInput)
	want(t, "folder", keys.StoreSecret(filepath.Join(dir, "none", "x"), "X", []byte("x")), keys.ErrNotFound)
	_, err = keys.LoadSecret(dir, "X")
	want(t, "a folder as a file", err, keys.ErrDamaged)

	text, err := os.ReadFile(s)
	must(t, err)
	for name, b := range map[string]string{
		"empty": "", "cut": string(text[:40]), "two": string(text) + string(text), "space": " " + string(text),
		"text before": "x\n" + string(text), "header": strings.Replace(string(text), "KEY-----\n", "KEY-----\nA: b\n\n", 1),
		"no end of line": strings.TrimSpace(string(text)),
		"not a key":      "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		must(t, os.WriteFile(s, []byte(b), 0o600))
		_, err := keys.LoadSigningKey(s)
		want(t, name, err, keys.ErrDamaged)
	}
	must(t, keys.Erase(s))
	must(t, keys.Erase(s))
	_, err = keys.LoadSigningKey(s)
	want(t, "erased", err, keys.ErrNotFound)
	if err := keys.Erase(dir); err == nil {
		t.Error("a folder is erased")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(files) != 0 {
		t.Errorf("temporary files are left: %v", files)
	}
}

func TestPseudonym(t *testing.T) {
	t.Parallel()
	b := bytes.Repeat([]byte{7}, 32)
	k, err := keys.ParsePseudonymKey(b)
	must(t, err)
	h := hmac.New(sha256.New, b)
	h.Write([]byte("passerelle/keys/v1 pseudonym\nspiffe://a.example/officer/1"))
	if got := keys.Pseudonym(k, "spiffe://a.example/officer/1"); !bytes.Equal(got[:], h.Sum(nil)[:16]) {
		t.Errorf("Pseudonym = %x", got)
	}
	if keys.Pseudonym(k, "a") == keys.Pseudonym(k, "b") ||
		keys.Pseudonym(k, "a") == keys.Pseudonym(keys.GeneratePseudonymKey(), "a") {
		t.Error("equal pseudonyms")
	}
	for _, n := range []int{0, 31, 33} {
		_, err := keys.ParsePseudonymKey(make([]byte, n))
		want(t, "length", err, keys.ErrInput)
	}
}

// TestUnprintable prints every secret, and structs that hold it, in every way.
func TestUnprintable(t *testing.T) {
	t.Parallel()
	r := newPlace(t).open(t)
	secret := make([]byte, 32)
	rand.Read(secret)
	must(t, r.Create(1, "theid", secret, now))
	k, err := r.Load(1)
	must(t, err)
	s, p := keys.GenerateSigningKey(), keys.GeneratePseudonymKey()
	type holder struct {
		K keys.Key
		S keys.SigningKey
		P keys.PseudonymKey
		k keys.Key
		s keys.SigningKey
		p keys.PseudonymKey
		r *keys.Ring
	}
	h := holder{k, s, p, k, s, p, r}
	var text strings.Builder
	for _, v := range []any{k, &k, s, &s, p, &p, h, &h, []keys.Key{k}, r} {
		for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
			for _, flag := range []string{"", "+", "#", " "} {
				fmt.Fprintf(&text, "%"+flag+string(verb)+"\n", v)
			}
		}
		if b, err := json.Marshal(v); err == nil {
			text.Write(b)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("m", "v", v)
	}
	got := text.String()
	for _, b := range [][]byte{secret, keys.PrivateSeed(s), keys.PseudonymBytes(p)} {
		for _, form := range []string{"%x", "%X", "%d", "%v", "%s", "%q", "%o", "%b", "%#v", "% x"} {
			if strings.Contains(got, strings.Trim(fmt.Sprintf(form, b), "[]\"")) {
				t.Errorf("a secret is printed with %s", form)
			}
		}
	}
	if !strings.Contains(got, "keys.Key(theid)") || !strings.Contains(got, s.KeyID()) {
		t.Error("key IDs are not printed")
	}
}

func FuzzParseWrapped(f *testing.F) {
	f.Add(keys.Wrap(1, "c", "id", make([]byte, 32), []byte("key")))
	f.Add([]byte("passerelle destroyed\n\x01\x00\x00\x00\x01\x01c\x02id" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		again, ok := keys.Reencode(b)
		if ok && !bytes.Equal(again, b) {
			t.Errorf("not canonical:\n got %x\nfrom %x", again, b)
		}
		if !ok && again != nil {
			t.Error("bytes with an error")
		}
		if key, err := keys.Unwrap(b, make([]byte, 32)); err != nil && key != nil {
			t.Error("a key with an error")
		}
	})
}

func FuzzParsePEM(f *testing.F) {
	f.Add([]byte("-----BEGIN X-----\nAAAA\n-----END X-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, ok := keys.ReencodePEM("X", b); ok && !bytes.Equal(again, b) {
			t.Errorf("not canonical:\n got %q\nfrom %q", again, b)
		}
	})
}

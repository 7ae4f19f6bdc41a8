package keys

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// A Ring keeps the epoch keys of one collection. See the package comment.
type Ring struct {
	dir, wrapDir string // with the collection
	collection   string
	mu           sync.Mutex // held while files are read or changed
}

// An Epoch says what is known of the key of one epoch, all of it public.
type Epoch struct {
	Number  uint32
	KeyID   string
	Created time.Time

	// Destroyed is when the key was destroyed, and zero if it was not.
	Destroyed time.Time
}

// OpenRing opens the ring of a collection, and makes its folders if there are
// none. It finishes what a crash interrupted in Destroy.
//
// The name of a collection has 1 to MaxNameSize letters, digits, and ".", "_" and
// "-" after the first. OpenRing returns an error wrapping [ErrInput] for another
// name, or if one of the folders is the other or lies in it; and [ErrPermissions],
// which see.
func OpenRing(dir, wrapDir, collection string) (*Ring, error) {
	if err := checkName(collection); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, wrapDir} {
		if d == "" {
			return nil, fmt.Errorf("%w: no folder", ErrInput)
		}
		if err := makeDir(d); err != nil {
			return nil, err
		}
	}
	// A backup of one must not take the other with it.
	a, err := realPath(dir)
	if err != nil {
		return nil, err
	}
	b, err := realPath(wrapDir)
	if err != nil {
		return nil, err
	}
	if within(a, b) || within(b, a) {
		return nil, fmt.Errorf("%w: the folder of wrapping keys must lie outside of that of keys, and the other way round", ErrInput)
	}
	r := &Ring{dir: filepath.Join(dir, collection), wrapDir: filepath.Join(wrapDir, collection), collection: collection}
	for _, d := range []string{r.dir, r.wrapDir} {
		if err := makeDir(d); err != nil {
			return nil, err
		}
	}
	destroyed, err := numbers(r.wrapDir, ".destroyed")
	if err != nil {
		return nil, err
	}
	for _, n := range destroyed {
		if err := r.eraseEpoch(n); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func realPath(dir string) (string, error) {
	p, err := filepath.EvalSymlinks(dir)
	if err == nil {
		p, err = filepath.Abs(p)
	}
	return p, pathError(err)
}

// within reports whether a is b or lies in it.
func within(a, b string) bool {
	rel, err := filepath.Rel(b, a)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (r *Ring) path(n uint32) string { return filepath.Join(r.dir, fmt.Sprintf("%010d.key", n)) }
func (r *Ring) wrapPath(n uint32) string {
	return filepath.Join(r.wrapDir, fmt.Sprintf("%010d.wrap", n))
}
func (r *Ring) markPath(n uint32) string {
	return filepath.Join(r.wrapDir, fmt.Sprintf("%010d.destroyed", n))
}

// numbers returns the epochs that have a file with a suffix in a folder, in
// ascending order.
func numbers(dir, suffix string) ([]uint32, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, pathError(err)
	}
	var out []uint32
	for _, f := range files {
		digits, ok := strings.CutSuffix(f.Name(), suffix)
		if !ok || len(digits) != 10 {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	slices.Sort(out)
	return out, nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, pathError(err)
}

// Create wraps and stores the key of an epoch, 1 to MaxKeySize bytes, with its
// public name and the time now. When it returns nil the key is durable.
//
// It returns an error wrapping [ErrExists] if the epoch has a key, and
// [ErrDestroyed] if it had one: no number is used twice. The name has the form of
// that of a collection.
func (r *Ring) Create(epoch uint32, keyID string, key []byte, now time.Time) error {
	if err := checkName(keyID); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > MaxKeySize {
		return fmt.Errorf("%w: key of %d bytes", ErrInput, len(key))
	}
	if ms := now.UnixMilli(); ms < 0 || ms > maxMillis {
		return fmt.Errorf("%w: time", ErrInput)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.checkAlive(epoch); err != nil {
		return err
	}
	if ok, err := exists(r.path(epoch)); err != nil {
		return err
	} else if ok {
		return fmt.Errorf("%w: epoch %d of %s", ErrExists, epoch, r.collection)
	}
	// A wrapping key without a key is left from a Create that a crash cut short.
	if err := erase(r.wrapPath(epoch)); err != nil {
		return err
	}
	wrappingKey := make([]byte, wrappingKeySize)
	rand.Read(wrappingKey) // never fails, see its documentation
	h := &header{epoch: epoch, collection: r.collection, keyID: keyID, created: now}
	wrapped, err := wrap(h, wrappingKey, key)
	if err != nil {
		return err
	}
	// The wrapping key first: a wrapped key that is there can always be opened.
	if err := createFile(r.wrapPath(epoch), wrappingKey); err != nil {
		return err
	}
	return writeFile(r.path(epoch), wrapped, false)
}

// checkAlive returns an error wrapping ErrDestroyed if an epoch has a mark. What
// the mark holds does not matter.
func (r *Ring) checkAlive(epoch uint32) error {
	ok, err := exists(r.markPath(epoch))
	if err != nil {
		return err
	}
	if ok {
		return fmt.Errorf("%w: epoch %d of %s", ErrDestroyed, epoch, r.collection)
	}
	return nil
}

// Load returns the key of an epoch. It returns an error wrapping [ErrNotFound],
// [ErrDestroyed], [ErrDamaged] or [ErrPermissions], which see. Callers compare the
// KeyID with that of the key which they make of the bytes.
func (r *Ring) Load(epoch uint32) (Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.load(epoch)
}

func (r *Ring) load(epoch uint32) (Key, error) {
	if err := r.checkAlive(epoch); err != nil {
		return Key{}, err
	}
	wrapped, err := readPrivate(r.path(epoch))
	if err != nil {
		return Key{}, err
	}
	wrappingKey, err := readPrivate(r.wrapPath(epoch))
	if errors.Is(err, ErrNotFound) {
		return Key{}, fmt.Errorf("%w: epoch %d of %s has no wrapping key, nor a mark that it was destroyed",
			ErrDamaged, epoch, r.collection)
	}
	if err != nil {
		return Key{}, err
	}
	h, key, err := unwrap(wrapped, wrappingKey)
	if err != nil {
		return Key{}, fmt.Errorf("%w (epoch %d of %s)", err, epoch, r.collection)
	}
	if h.epoch != epoch || h.collection != r.collection {
		return Key{}, fmt.Errorf("%w: the file of epoch %d of %s is that of another key", ErrDamaged, epoch, r.collection)
	}
	return Key{id: h.keyID, epoch: epoch, b: func() []byte { return key }}, nil
}

// Current returns the key of the highest epoch that is not destroyed. It returns
// the errors of [Ring.Load]: if that key is damaged, an older one is not taken in
// its place. With no epoch that is not destroyed the error wraps [ErrNotFound].
func (r *Ring) Current() (Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := numbers(r.dir, ".key")
	if err != nil {
		return Key{}, err
	}
	for _, n := range slices.Backward(all) {
		k, err := r.load(n)
		if errors.Is(err, ErrDestroyed) {
			continue
		}
		return k, err
	}
	return Key{}, fmt.Errorf("%w: %s has no epoch", ErrNotFound, r.collection)
}

// Epochs returns all epochs that the ring knows, destroyed ones too, in ascending
// order. It reads no secret. An epoch whose files are damaged has its number only.
func (r *Ring) Epochs() ([]Epoch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	alive, err := numbers(r.dir, ".key")
	if err != nil {
		return nil, err
	}
	dead, err := numbers(r.wrapDir, ".destroyed")
	if err != nil {
		return nil, err
	}
	all := append(slices.Clone(alive), dead...)
	slices.Sort(all)
	all = slices.Compact(all)
	out := make([]Epoch, len(all))
	for i, n := range all {
		e := &out[i]
		e.Number = n
		if slices.Contains(dead, n) {
			// A mark that cannot be read is a mark.
			e.Destroyed = time.UnixMilli(0).UTC()
			if b, err := readPrivate(r.markPath(n)); err == nil {
				if h, at, ok := parseMark(b); ok {
					e.KeyID, e.Created, e.Destroyed = h.keyID, h.created, at
				}
			}
			continue
		}
		if b, err := readPrivate(r.path(n)); err == nil {
			if h, _, _, _, ok := parseWrapped(b); ok {
				e.KeyID, e.Created = h.keyID, h.created
			}
		}
	}
	return out, nil
}

// Destroy destroys the key of an epoch, at the time now. When it returns nil, the
// wrapping key is overwritten and removed, so that no copy of the wrapped key can
// be opened any more; every later Load returns an error wrapping [ErrDestroyed],
// also after a restore of the first folder. If it returns an error, or the machine
// fails, then Load already returns ErrDestroyed or Destroy has done nothing;
// Destroy again, or OpenRing, finishes. To destroy twice is no error.
//
// It returns an error wrapping [ErrNotFound] for an epoch without a key. Copies of
// the key in the memory of running programs are not its matter.
func (r *Ring) Destroy(epoch uint32, now time.Time) error {
	if ms := now.UnixMilli(); ms < 0 || ms > maxMillis {
		return fmt.Errorf("%w: time", ErrInput)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.checkAlive(epoch); errors.Is(err, ErrDestroyed) {
		return r.eraseEpoch(epoch)
	} else if err != nil {
		return err
	}
	h := header{epoch: epoch, collection: r.collection, keyID: "unknown", created: now}
	b, err := readPrivate(r.path(epoch))
	switch {
	case err == nil:
		// A damaged key is destroyed all the same.
		if w, _, _, _, ok := parseWrapped(b); ok {
			h.keyID, h.created = w.keyID, w.created
		}
	case errors.Is(err, ErrNotFound):
		// The wrapped key is lost, but copies of it may exist.
		ok, err := exists(r.wrapPath(epoch))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: epoch %d of %s", ErrNotFound, epoch, r.collection)
		}
	case !errors.Is(err, ErrPermissions) && !errors.Is(err, ErrDamaged):
		return err
	}
	// The mark first: from here on, whatever happens, the key is not used.
	if err := writeFile(r.markPath(epoch), markBytes(h, now), false); err != nil {
		return err
	}
	return r.eraseEpoch(epoch)
}

// eraseEpoch erases both keys of an epoch. The wrapping key is what counts.
func (r *Ring) eraseEpoch(epoch uint32) error {
	if err := erase(r.wrapPath(epoch)); err != nil {
		return err
	}
	return erase(r.path(epoch))
}

// markBytes returns the content of a mark: the header of the wrapped key, with
// the magic "passerelle destroyed\n", and the time in milliseconds.
func markBytes(h header, at time.Time) []byte {
	b := cryptobyte.NewBuilder(h.bytes(destroyedMagic))
	b.AddUint64(uint64(at.UnixMilli()))
	return b.BytesOrPanic()
}

func parseMark(b []byte) (h header, at time.Time, ok bool) {
	s := cryptobyte.String(b)
	var ms uint64
	h, ok = readHeader(&s, destroyedMagic)
	if !ok || !s.ReadUint64(&ms) || ms > maxMillis || !s.Empty() {
		return header{}, time.Time{}, false
	}
	return h, time.UnixMilli(int64(ms)).UTC(), true
}

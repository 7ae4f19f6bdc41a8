package entry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

const (
	width       = 256                   // entries in a bundle, hashes in a tile
	maxTile     = width * 32            // bytes
	maxBundle   = width * (2 + MaxSize) // bytes
	tileLevels  = 8                     // levels of the tree in one level of tiles
	noIndex     = -1                    // a FolderError that is not about an entry
	checkpointF = "checkpoint"
)

// ErrFolder is wrapped by every [FolderError]: the folder is not the log that was
// signed.
var ErrFolder = errors.New("entry: log folder does not verify")

// A FolderError says what is the first thing wrong in a log folder.
type FolderError struct {
	File  string // below the folder, with slashes
	Index int64  // of the first wrong entry, or -1 if the entries are right or it cannot be told
	What  string
	cause error
}

// Error names the file and the entry, and no content of either.
func (e *FolderError) Error() string {
	s := ErrFolder.Error() + ": " + e.File
	if e.Index >= 0 {
		s += fmt.Sprintf(": entry %d", e.Index)
	}
	return s + ": " + e.What
}

// Unwrap returns [ErrFolder] and the cause, if there is one.
func (e *FolderError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrFolder}
	}
	return []error{ErrFolder, e.cause}
}

// A Report describes a log folder in which everything is right.
type Report struct {
	Origin string            // of the checkpoint
	Size   uint64            // entries under the checkpoint
	Root   [32]byte          // root hash, computed from the entries
	Kinds  map[string]uint64 // number of entries of each kind, by its name
	First  int64             // earliest time of an entry, in milliseconds since the Unix epoch; 0 if empty
	Last   int64             // latest time of an entry
	Files  int               // files that were compared
}

// VerifyFolder checks a whole log folder against its checkpoint, which v must have
// signed. The layout is that of [c2sp.org/tlog-tiles], as Tessera keeps it on disk:
//
//	checkpoint                     signed note
//	tile/entries/<N>               256 entries, each opaque<0..2^16-1>
//	tile/entries/<N>.p/<W>         the first W of them, while or after the bundle grew
//	tile/<L>/<N>, tile/<L>/<N>.p/<W>   hashes of level 8*L of the tree
//
// It reads every entry, which must parse; computes the root hash from the entries
// and compares it with the checkpoint; and compares every stored tile and every
// partial copy with what follows from the entries. Entries that were appended
// after the checkpoint was signed are not judged, and neither are files of other
// names. It needs memory for a few tiles, whatever the size of the log.
//
// It returns a [*FolderError] for the first thing that is wrong. An older state of
// the log, such as a restored backup, is right in itself: only somebody who remembers
// a newer checkpoint can tell. Any checkpoints given as seen, which the caller has
// verified, must be states that this log had.
//
// [c2sp.org/tlog-tiles]: https://c2sp.org/tlog-tiles
func VerifyFolder(fsys fs.FS, v note.Verifier, seen ...*Checkpoint) (*Report, error) {
	f := &folder{fsys: fsys}
	msg, err := f.read(checkpointF, MaxCheckpointSize)
	if err != nil {
		return nil, &FolderError{File: checkpointF, Index: noIndex, What: "cannot be read", cause: err}
	}
	c, err := CheckCheckpoint(msg, v)
	if err != nil {
		return nil, &FolderError{File: checkpointF, Index: noIndex, What: err.Error(), cause: err}
	}
	f.report = Report{Origin: c.Origin, Size: c.Size, Kinds: make(map[string]uint64)}
	for _, s := range seen {
		switch {
		case s.Origin != c.Origin:
			return nil, &FolderError{File: checkpointF, Index: noIndex, What: "is of another log than a checkpoint seen earlier"}
		case s.Size > c.Size:
			return nil, &FolderError{File: checkpointF, Index: noIndex,
				What: fmt.Sprintf("is of %d entries, and one of %d was seen earlier: the log has gone back", c.Size, s.Size)}
		}
	}

	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for first := uint64(0); first < c.Size; first += width {
		bundle, err := f.bundle(first, int(min(width, c.Size-first)))
		if err != nil {
			return nil, err
		}
		for _, b := range bundle {
			leaf := LeafHash(b)
			if err := tree.Append(leaf[:], f.node); err != nil {
				return nil, fmt.Errorf("entry: internal error: %w", err)
			}
			if err := f.remember(tree, seen); err != nil {
				return nil, err
			}
		}
	}
	for level := range f.rows { // the right edge of the tree
		f.tile(level)
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return nil, fmt.Errorf("entry: internal error: %w", err)
	}
	if c.Size == 0 {
		root = rfc6962.DefaultHasher.EmptyRoot()
	}

	// The checkpoint is the one thing here that is signed. If the entries lead to
	// it, they are right, and whatever disagrees with them is wrong. If not, the
	// stored hashes say which entry is not the one they were made from.
	signed := bytes.Equal(root, c.Root[:])
	switch {
	case !signed && f.wrong != nil:
		return nil, f.wrong
	case !signed:
		return nil, &FolderError{File: checkpointF, Index: noIndex,
			What: "entries and tiles agree with each other, and not with the signed root hash"}
	case f.wrong != nil:
		return nil, &FolderError{File: f.wrongTile, Index: noIndex,
			What: "does not follow from the entries, which are as signed", cause: f.wrong.cause}
	case f.copy != nil:
		return nil, f.copy
	case f.forked != nil:
		return nil, f.forked
	}
	f.report.Root = [32]byte(root)
	return &f.report, nil
}

// A folder is the state of one VerifyFolder.
type folder struct {
	fsys   fs.FS
	report Report

	rows []row // the unfinished tile of each level

	wrong     *FolderError // first entry that a stored tile contradicts
	wrongTile string       // that tile
	copy      *FolderError // first partial copy that contradicts its whole
	forked    *FolderError // first seen checkpoint that this log never had
}

// remember compares tree with the seen checkpoints of its size.
func (f *folder) remember(tree *compact.Range, seen []*Checkpoint) error {
	for _, s := range seen {
		if s.Size != tree.End() || f.forked != nil {
			continue
		}
		root, err := tree.GetRootHash(nil)
		if err != nil {
			return fmt.Errorf("entry: internal error: %w", err)
		}
		if !bytes.Equal(root, s.Root[:]) {
			f.forked = &FolderError{File: checkpointF, Index: noIndex,
				What: fmt.Sprintf("does not continue one of %d entries that was seen earlier: the log has two histories", s.Size)}
		}
	}
	return nil
}

// A row is the hashes of one tile so far.
type row struct {
	tile   uint64 // its number
	hashes []byte
}

// bundle returns the n encoded entries from index first on, which starts a bundle.
func (f *folder) bundle(first uint64, n int) ([][]byte, error) {
	path := "tile/entries/" + number(first/width)
	name, data, err := f.readCopy(path, n, maxBundle)
	if err != nil {
		return nil, &FolderError{File: path, Index: int64(first), What: "cannot be read", cause: err}
	}
	entries := make([][]byte, n)
	ends := make([]int, n+1) // ends[w] is the length of the first w entries
	for i := range entries {
		rest := data[ends[i]:]
		index := int64(first) + int64(i)
		if len(rest) < 2 || len(rest)-2 < int(rest[0])<<8|int(rest[1]) {
			return nil, &FolderError{File: name, Index: index, What: "is cut off"}
		}
		size := int(rest[0])<<8 | int(rest[1])
		ends[i+1] = ends[i] + 2 + size
		entries[i] = rest[2 : 2+size]
		e, err := ParseEntry(entries[i])
		if err != nil {
			return nil, &FolderError{File: name, Index: index, What: err.Error(), cause: err}
		}
		f.report.Kinds[e.Kind.String()]++
		if f.report.First == 0 || e.Time < f.report.First {
			f.report.First = e.Time
		}
		f.report.Last = max(f.report.Last, e.Time)
	}
	if f.wide(path, name) == n && ends[n] != len(data) {
		return nil, &FolderError{File: name, Index: noIndex, What: "has more than its entries"}
	}
	f.copies(path, name, n, maxBundle, func(w int) []byte { return data[:ends[w]] })
	return entries, nil
}

// node collects the hashes of the levels that are stored. It is called for every
// complete node, from left to right in each level.
func (f *folder) node(id compact.NodeID, hash []byte) {
	if id.Level%tileLevels != 0 {
		return
	}
	level := int(id.Level / tileLevels)
	if level == len(f.rows) {
		f.rows = append(f.rows, row{})
	}
	r := &f.rows[level]
	r.hashes = append(r.hashes, hash...)
	if len(r.hashes) == maxTile {
		f.tile(level)
		r.tile++
		r.hashes = r.hashes[:0]
	}
}

// tile compares the tile that f.rows holds for level with what is stored.
func (f *folder) tile(level int) {
	r := f.rows[level]
	if len(r.hashes) == 0 {
		return
	}
	n := len(r.hashes) / 32
	path := "tile/" + strconv.Itoa(level) + "/" + number(r.tile)
	name, data, err := f.readCopy(path, n, maxTile)
	for i := 0; i < n && f.wrong == nil; i++ {
		if err == nil && len(data) >= 32*(i+1) && bytes.Equal(data[32*i:32*(i+1)], r.hashes[32*i:32*(i+1)]) {
			continue
		}
		// The first entry below node i of the tile.
		first := (r.tile*width + uint64(i)) << (tileLevels * level)
		f.wrong = &FolderError{
			File: "tile/entries/" + number(first/width), Index: int64(first),
			What: "or one after it is not what " + name + " was made from", cause: err,
		}
		f.wrongTile = name
	}
	if f.wrong == nil && f.wide(path, name) == n && len(data) != 32*n {
		f.note(name)
	}
	f.copies(path, name, n, maxTile, func(w int) []byte { return r.hashes[:32*w] })
}

// copies compares all other stored widths of the tile or bundle at path with the n
// items that it has under the checkpoint. Tessera leaves narrower ones behind until
// it collects them, and wider ones are there when the log has grown.
func (f *folder) copies(path, used string, n, limit int, first func(w int) []byte) {
	names := []string{path}
	list, err := fs.ReadDir(f.fsys, path+".p")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.note(path + ".p")
	}
	for _, d := range list {
		if w, err := strconv.Atoi(d.Name()); err == nil && 0 < w && w < width && strconv.Itoa(w) == d.Name() {
			names = append(names, path+".p/"+d.Name())
		}
	}
	for _, name := range names {
		if name == used {
			continue
		}
		data, err := f.read(name, limit)
		if errors.Is(err, fs.ErrNotExist) { // collected meanwhile
			continue
		}
		w := f.wide(path, name)
		want := first(min(w, n))
		if err != nil || !bytes.HasPrefix(data, want) || w <= n && len(data) != len(want) {
			f.note(name)
		}
	}
}

// note remembers the first stored file that contradicts the rest.
func (f *folder) note(name string) {
	if f.copy == nil {
		f.copy = &FolderError{File: name, Index: noIndex, What: "does not follow from the entries, which are as signed"}
	}
}

// wide returns how many items the file with the given name should hold.
func (f *folder) wide(path, name string) int {
	if name == path {
		return width
	}
	w, _ := strconv.Atoi(name[len(path)+len(".p/"):])
	return w
}

// readCopy reads the tile or bundle at path, of which n items are needed: the copy
// of that width, or else the full one.
func (f *folder) readCopy(path string, n, limit int) (name string, data []byte, err error) {
	if n < width {
		name = path + ".p/" + strconv.Itoa(n)
		if data, err = f.read(name, limit); !errors.Is(err, fs.ErrNotExist) {
			return name, data, err
		}
	}
	data, err = f.read(path, limit)
	return path, data, err
}

// read returns the content of a file of at most limit bytes.
func (f *folder) read(name string, limit int) ([]byte, error) {
	r, err := f.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	f.report.Files++
	return b, nil
}

// number returns the path of the n-th tile, c2sp.org/tlog-tiles: 1234067 is
// x001/x234/067.
func number(n uint64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	return s
}

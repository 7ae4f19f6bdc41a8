package entry_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

const origin = "gw.qvarnia.example/log/shared"

func verifier(t testing.TB, c byte) note.Verifier {
	t.Helper()
	v, err := entry.NewVerifier(origin, testKey(c).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// signer is a note.Signer for the verifier of the same number.
type signer struct {
	note.Verifier
	key ed25519.PrivateKey
}

func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

func sign(t testing.TB, text string, keys ...byte) []byte {
	t.Helper()
	var signers []note.Signer
	for _, c := range keys {
		signers = append(signers, signer{verifier(t, c), testKey(c)})
	}
	b, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A log is a small log in memory, written by other code than what checks it.
type log struct {
	entries [][]byte
	nodes   map[compact.NodeID][]byte
	tree    *compact.Range
}

func newLog(t testing.TB, n int) *log {
	t.Helper()
	l := &log{
		nodes: make(map[compact.NodeID][]byte),
		tree:  (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0),
	}
	kinds := samples()
	for i := range n {
		e := kinds[i%len(kinds)]
		e.Time += int64(i)
		var b []byte
		if n < 1000 || i < len(kinds) {
			b = mustBytes(t, &e)
		} else { // only the hashes matter
			b = bytes.Clone(l.entries[i%len(kinds)])
			binary.BigEndian.PutUint64(b[2:], uint64(e.Time))
		}
		l.entries = append(l.entries, b)
		l.tree.Append(rfc6962.DefaultHasher.HashLeaf(b), func(id compact.NodeID, h []byte) { l.nodes[id] = h })
	}
	return l
}

// checkpoint returns the checkpoint of the first n entries.
func (l *log) checkpoint(t testing.TB, n int) *entry.Checkpoint {
	t.Helper()
	c := &entry.Checkpoint{Origin: origin, Size: uint64(n), Root: [32]byte(rfc6962.DefaultHasher.EmptyRoot())}
	if n > 0 {
		tree := l.tree
		if n < len(l.entries) {
			tree = (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
			for _, b := range l.entries[:n] {
				tree.Append(rfc6962.DefaultHasher.HashLeaf(b), nil)
			}
		}
		root, err := tree.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Root = [32]byte(root)
	}
	return c
}

// hashes fetches and folds the nodes of a proof.
func (l *log) hashes(t testing.TB, nodes proof.Nodes, err error) (out [][32]byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var h [][]byte
	for _, id := range nodes.IDs {
		h = append(h, l.nodes[id])
	}
	h, err = nodes.Rehash(h, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range h {
		out = append(out, [32]byte(x))
	}
	return out
}

// folder returns the files of a log that grew entry by entry, with every partial
// copy of the last tiles and with a checkpoint of the first n entries.
func (l *log) folder(t testing.TB, n int) fstest.MapFS {
	t.Helper()
	files := make(fstest.MapFS)
	put := func(name string, b []byte) { files[name] = &fstest.MapFile{Data: bytes.Clone(b)} }
	put("checkpoint", sign(t, l.checkpoint(t, n).Text(), 1))
	write := func(dir string, total int, item func(i int) []byte) {
		for tile := 0; tile*256 < total; tile++ {
			path := fmt.Sprintf("%s/%03d", dir, tile%1000)
			if tile >= 1000 {
				t.Fatal("too many tiles for this helper")
			}
			var b []byte
			last := tile*256+256 >= total
			for w := 1; w <= min(256, total-tile*256); w++ {
				b = append(b, item(tile*256+w-1)...)
				switch {
				case w == 256:
					put(path, b)
				case last:
					put(fmt.Sprintf("%s.p/%d", path, w), b)
				}
			}
		}
	}
	write("tile/entries", len(l.entries), func(i int) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(l.entries[i]))), l.entries[i]...)
	})
	for level := 0; len(l.entries)>>(8*level) > 0; level++ {
		write(fmt.Sprintf("tile/%d", level), len(l.entries)>>(8*level), func(i int) []byte {
			return l.nodes[compact.NewNodeID(uint(8*level), uint64(i))]
		})
	}
	return files
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	c := newLog(t, 5).checkpoint(t, 5)
	msg := sign(t, c.Text(), 1, 2)
	got, err := entry.CheckCheckpoint(msg, verifier(t, 1))
	if err != nil || *got != *c {
		t.Fatalf("CheckCheckpoint = %+v, %v, want %+v", got, err, c)
	}
	signed := string(sign(t, c.Text(), 1))
	sigLine := signed[strings.Index(signed, "\n\n")+2:]
	root := base64.StdEncoding.EncodeToString(c.Root[:])
	tests := []struct {
		name string
		msg  string
	}{
		{"empty", ""},
		{"no signature", c.Text() + "\n"},
		{"another key", string(sign(t, c.Text(), 2))},
		{"another origin", string(sign(t, strings.Replace(c.Text(), origin, "other", 1), 1))},
		{"leading zero", string(sign(t, strings.Replace(c.Text(), "\n5\n", "\n05\n", 1), 1))},
		{"sign", string(sign(t, strings.Replace(c.Text(), "\n5\n", "\n+5\n", 1), 1))},
		{"huge size", string(sign(t, strings.Replace(c.Text(), "\n5\n", "\n18446744073709551616\n", 1), 1))},
		{"short root", string(sign(t, strings.Replace(c.Text(), root, root[:40], 1), 1))},
		{"root in loose base64", string(sign(t, strings.Replace(c.Text(), root, root[:42]+loose(root[42])+"=", 1), 1))},
		{"extension line", string(sign(t, c.Text()+"more\n", 1))},
		{"empty tree with a root", string(sign(t, strings.Replace(c.Text(), "\n5\n", "\n0\n", 1), 1))},
		{"signature twice", signed + sigLine},
		{"signature in loose base64", signed[:len(signed)-3] + loose(signed[len(signed)-3]) + "=\n"},
		{"too long", signed + strings.Repeat("— x AAAAAAAA\n", 1000)},
	}
	for _, tt := range tests {
		got, err := entry.CheckCheckpoint([]byte(tt.msg), verifier(t, 1))
		if got != nil || !errors.Is(err, entry.ErrCheckpoint) {
			t.Errorf("%s: %+v, %v, want ErrCheckpoint", tt.name, got, err)
		}
	}
	for i := range signed {
		bad := []byte(signed)
		bad[i] ^= 1
		if got, err := entry.CheckCheckpoint(bad, verifier(t, 1)); got != nil || !errors.Is(err, entry.ErrCheckpoint) {
			t.Fatalf("byte %d: %+v, %v", i, got, err)
		}
	}
}

// loose returns another base64 digit with the same upper bits.
func loose(c byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(digits[strings.IndexByte(digits, c)^1])
}

func TestProof(t *testing.T) {
	t.Parallel()
	l := newLog(t, 23)
	c := l.checkpoint(t, 21)
	msg := sign(t, c.Text(), 1)
	for i := range uint64(21) {
		nodes, err := proof.Inclusion(i, 21)
		p := entry.Proof{Index: i, Hashes: l.hashes(t, nodes, err), Checkpoint: msg}
		file := p.Bytes()
		index, got, err := entry.CheckProof(l.entries[i], file, verifier(t, 1))
		if err != nil || index != i || *got != *c {
			t.Fatalf("CheckProof of %d = %d, %+v, %v", i, index, got, err)
		}
		if _, _, err := entry.CheckLeafProof(entry.LeafHash(l.entries[i]), file, verifier(t, 1)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := entry.CheckProof(l.entries[(i+1)%21], file, verifier(t, 1)); got != nil || !errors.Is(err, entry.ErrProof) {
			t.Errorf("another entry: %v", err)
		}
		if _, got, err := entry.CheckProof(l.entries[i], file, verifier(t, 2)); got != nil || !errors.Is(err, entry.ErrCheckpoint) {
			t.Errorf("another key: %v", err)
		}
		for j := range file {
			bad := bytes.Clone(file)
			bad[j] ^= 1
			if _, got, err := entry.CheckProof(l.entries[i], bad, verifier(t, 1)); got != nil || err == nil {
				t.Fatalf("byte %d of the proof of %d: accepted", j, i)
			}
		}
	}
}

func TestConsistency(t *testing.T) {
	t.Parallel()
	l := newLog(t, 40)
	for older := 1; older <= 40; older += 3 {
		for newer := older; newer <= 40; newer += 5 {
			a, b := l.checkpoint(t, older), l.checkpoint(t, newer)
			nodes, err := proof.Consistency(uint64(older), uint64(newer))
			hashes := l.hashes(t, nodes, err)
			if err := entry.CheckConsistency(a, b, hashes); err != nil {
				t.Fatalf("%d to %d: %v", older, newer, err)
			}
			bad := *b
			bad.Root[0] ^= 1
			if err := entry.CheckConsistency(a, &bad, hashes); !errors.Is(err, entry.ErrProof) {
				t.Errorf("%d to %d, another root: %v", older, newer, err)
			}
			if err := entry.CheckConsistency(a, b, append(hashes, [32]byte{})); !errors.Is(err, entry.ErrProof) {
				t.Errorf("%d to %d, one hash more: %v", older, newer, err)
			}
			bad = *b
			bad.Origin = "other"
			if err := entry.CheckConsistency(a, &bad, hashes); !errors.Is(err, entry.ErrProof) {
				t.Errorf("two logs: %v", err)
			}
			if newer > older {
				if err := entry.CheckConsistency(b, a, hashes); !errors.Is(err, entry.ErrProof) {
					t.Errorf("%d back to %d: %v", newer, older, err)
				}
			}
		}
	}
}

func TestVerifyFolder(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 2, 5, 255, 256, 257, 512, 700}
	if !testing.Short() {
		sizes = append(sizes, 66000) // three levels of tiles
	}
	for _, n := range sizes {
		l := newLog(t, n)
		r, err := entry.VerifyFolder(l.folder(t, n), verifier(t, 1))
		if err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		var kinds uint64
		for _, k := range r.Kinds {
			kinds += k
		}
		if r.Size != uint64(n) || kinds != uint64(n) || r.Root != l.checkpoint(t, n).Root || r.Origin != origin {
			t.Errorf("%d entries: %+v", n, r)
		}
		if n > 0 && (r.First != noon || r.Last != noon+int64(n)-1) {
			t.Errorf("%d entries: from %d to %d", n, r.First, r.Last)
		}
	}
}

// TestVerifyFolderGrown has a checkpoint that is behind the stored entries, as
// while a gateway runs or after it was killed.
func TestVerifyFolderGrown(t *testing.T) {
	t.Parallel()
	l := newLog(t, 300)
	for _, n := range []int{0, 1, 200, 255, 256, 257, 299} {
		files := l.folder(t, n)
		r, err := entry.VerifyFolder(files, verifier(t, 1))
		if err != nil || r.Size != uint64(n) {
			t.Errorf("%d of 300 entries: %+v, %v", n, r, err)
		}
	}
	// Garbage collection has taken the partial copies of what is full now.
	files := l.folder(t, 200)
	r, err := entry.VerifyFolder(files, verifier(t, 1))
	if err != nil || files["tile/entries/000.p/200"] != nil || r.Size != 200 {
		t.Errorf("without partial copies: %+v, %v", r, err)
	}
}

// TestVerifyFolderTampered flips one bit of every byte of every file of a log, and of
// some bytes of a larger one.
func TestVerifyFolderTampered(t *testing.T) {
	t.Parallel()
	for n, step := range map[int]int{3: 1, 258: 199} {
		l := newLog(t, n)
		files := l.folder(t, n)
		for name, f := range files {
			for i := 0; i < len(f.Data); i += step {
				f.Data[i] ^= 0x20
				r, err := entry.VerifyFolder(files, verifier(t, 1))
				fe, ok := errors.AsType[*entry.FolderError](err)
				if r != nil || !ok || !errors.Is(err, entry.ErrFolder) {
					t.Fatalf("%d entries, %s byte %d: %+v, %v", n, name, i, r, err)
				}
				// A change of a hash is told from a change of an entry.
				if strings.HasPrefix(name, "tile/0") && (fe.File != name || fe.Index >= 0) {
					t.Fatalf("%s byte %d: %v", name, i, err)
				}
				f.Data[i] ^= 0x20
			}
		}
	}
}

func TestVerifyFolderWrong(t *testing.T) {
	t.Parallel()
	l := newLog(t, 300)
	other := newLog(t, 300)
	e := samples()[0]
	e.ListVersion = 99
	other.entries[270] = mustBytes(t, &e)
	tests := []struct {
		name   string
		change func(fstest.MapFS)
		file   string
		index  int64
	}{
		{"entry replaced by a valid one", func(f fstest.MapFS) {
			f["tile/entries/001.p/44"] = other.folder(t, 300)["tile/entries/001.p/44"]
		}, "tile/entries/001", 270},
		{"no checkpoint", func(f fstest.MapFS) { delete(f, "checkpoint") }, "checkpoint", -1},
		{"bundle missing", func(f fstest.MapFS) { delete(f, "tile/entries/000") }, "tile/entries/000", 0},
		{"tile missing", func(f fstest.MapFS) { delete(f, "tile/0/000") }, "tile/0/000", -1},
		{"upper tile missing", func(f fstest.MapFS) { delete(f, "tile/1/000.p/1") }, "tile/1/000", -1},
		{"bundle cut", func(f fstest.MapFS) {
			f["tile/entries/001.p/44"].Data = f["tile/entries/001.p/43"].Data
		}, "tile/entries/001.p/44", 299},
		{"bundle longer", func(f fstest.MapFS) {
			f["tile/entries/001.p/44"].Data = append(f["tile/entries/001.p/44"].Data, 0)
		}, "tile/entries/001.p/44", -1},
		{"tile longer", func(f fstest.MapFS) {
			f["tile/0/001.p/44"].Data = append(f["tile/0/001.p/44"].Data, make([]byte, 32)...)
		}, "tile/0/001.p/44", -1},
		{"bundle too large", func(f fstest.MapFS) {
			f["tile/entries/000"].Data = make([]byte, 300<<10)
		}, "tile/entries/000", 0},
		{"checkpoint too large", func(f fstest.MapFS) {
			f["checkpoint"].Data = make([]byte, 300<<10)
		}, "checkpoint", -1},
		{"entries and tiles of another log", func(f fstest.MapFS) {
			for name, file := range relabel(t, other).folder(t, 300) {
				if name != "checkpoint" {
					f[name] = file
				}
			}
		}, "checkpoint", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := l.folder(t, 300)
			tt.change(files)
			r, err := entry.VerifyFolder(files, verifier(t, 1))
			fe, ok := errors.AsType[*entry.FolderError](err)
			if r != nil || !ok || fe.File != tt.file || fe.Index != tt.index {
				t.Errorf("%+v, %v, want file %s, entry %d", r, err, tt.file, tt.index)
			}
		})
	}
}

// TestVerifyFolderSeen is a log that is right in itself, beside what others remember.
func TestVerifyFolderSeen(t *testing.T) {
	t.Parallel()
	l := newLog(t, 300)
	other := l.checkpoint(t, 257)
	other.Root[0] ^= 1
	elsewhere := l.checkpoint(t, 5)
	elsewhere.Origin = "other"
	tests := []struct {
		name string
		seen []*entry.Checkpoint
		want string
	}{
		{"older states", []*entry.Checkpoint{l.checkpoint(t, 0), l.checkpoint(t, 1), l.checkpoint(t, 256), l.checkpoint(t, 290)}, ""},
		{"newer state", []*entry.Checkpoint{l.checkpoint(t, 5), l.checkpoint(t, 291)}, "gone back"},
		{"another history", []*entry.Checkpoint{l.checkpoint(t, 5), other}, "two histories"},
		{"another log", []*entry.Checkpoint{elsewhere}, "another log"},
	}
	for _, tt := range tests {
		r, err := entry.VerifyFolder(l.folder(t, 290), verifier(t, 1), tt.seen...)
		if tt.want == "" {
			if err != nil || r.Size != 290 {
				t.Errorf("%s: %+v, %v", tt.name, r, err)
			}
			continue
		}
		if r != nil || !errors.Is(err, entry.ErrFolder) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v, want %q", tt.name, r, err, tt.want)
		}
	}
}

// relabel computes the tree of l's entries anew.
func relabel(t testing.TB, l *log) *log {
	t.Helper()
	fresh := newLog(t, 0)
	fresh.entries = l.entries
	for _, b := range l.entries {
		fresh.tree.Append(rfc6962.DefaultHasher.HashLeaf(b), func(id compact.NodeID, h []byte) { fresh.nodes[id] = h })
	}
	return fresh
}

// FuzzParseProof checks that the file form is canonical, and that an error comes
// with no proof.
func FuzzParseProof(f *testing.F) {
	for _, v := range readVectors(f, "tlogproof") {
		f.Add(v.body)
	}
	p := entry.Proof{Index: 3, Hashes: [][32]byte{b32(1), b32(2)}, Checkpoint: []byte("checkpoint\n")}
	f.Add(p.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := entry.ParseProof(b)
		if err != nil {
			if p != nil {
				t.Error("a proof beside an error")
			}
			return
		}
		if got := p.Bytes(); !bytes.Equal(got, b) {
			t.Errorf("not canonical:\n got %q\nfrom %q", got, b)
		}
	})
}

// FuzzCheckCheckpoint signs arbitrary text: what is accepted is the text of the
// checkpoint that comes out.
func FuzzCheckCheckpoint(f *testing.F) {
	c := entry.Checkpoint{Origin: origin, Size: 5, Root: b32(1)}
	f.Add(c.Text())
	f.Add(origin + "\n05\n")
	f.Fuzz(func(t *testing.T, text string) {
		msg, err := note.Sign(&note.Note{Text: text}, signer{verifier(t, 1), testKey(1)})
		if err != nil {
			return
		}
		c, err := entry.CheckCheckpoint(msg, verifier(t, 1))
		if err != nil {
			if c != nil {
				t.Error("a checkpoint beside an error")
			}
			return
		}
		if c.Text() != text {
			t.Errorf("not canonical: got %q from %q", c.Text(), text)
		}
	})
}

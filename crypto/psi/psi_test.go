package psi_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
)

// A fixed key makes failures repeatable.
var server = sync.OnceValue(func() *oprf.Server { return newServer(1) })

func newServer(n byte) *oprf.Server {
	k, err := oprf.ParsePrivateKey(append([]byte{n, 2, 3}, make([]byte, 29)...))
	if err != nil {
		panic(err)
	}
	return oprf.NewServer(k)
}

func info() psi.Info {
	return psi.Info{
		Protocol: 1, Holder: "b.example", Asker: "a.example", Collection: "watchlist", Class: "doc+dob",
		Normalisation: 1, Epoch: 7,
	}
}

func params() psi.Params {
	created := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	return psi.Params{Info: info(), PublicKey: server().PublicKey(), Version: 1,
		Created: created, NotAfter: created.Add(24 * time.Hour)}
}

func handle(n int) psi.Handle { return psi.Handle{byte(n >> 8), byte(n), 1} }

func record(key string, n int) psi.Record {
	return psi.Record{Key: []byte(key),
		Label: psi.Label{Handle: handle(n), Weight: uint16(1000 + n), Kind: byte(n % 7), Instruction: 3}}
}

func records(n int) []psi.Record {
	var out []psi.Record
	for i := range n {
		out = append(out, record(fmt.Sprintf("key %d", i), i))
	}
	return out
}

func build(t testing.TB, p psi.Params, recs []psi.Record) *psi.Set {
	t.Helper()
	s, err := psi.Build(t.Context(), server(), p, recs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func evaluate(t testing.TB, key string) oprf.Output {
	t.Helper()
	out, err := server().Evaluate([]byte(key), info().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestLookup finds every record and nothing else, in a set of which several
// records share keys, after it went over the wire.
func TestLookup(t *testing.T) {
	t.Parallel()
	recs := records(100)
	for i := range 5 {
		recs = append(recs, record("shared", 200+i))
	}
	built := build(t, params(), recs)
	if got, want := built.Sharers(), 8; got != want {
		t.Errorf("Sharers = %d, want %d", got, want)
	}
	if got, want := built.TagBits(), 40+10+3; got != want {
		t.Errorf("TagBits = %d, want %d", got, want)
	}
	if got, want := built.Len(), psi.MinCount; got != want {
		t.Errorf("Len = %d, want %d", got, want)
	}
	if got := built.Size() - 16*1024; got > 6*1024 {
		t.Errorf("%d bytes of 1024 tags", got)
	}
	m, err := psi.ParseManifest(built.Manifest().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	s, err := psi.OpenSet(m, built.Segments())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs[:100] {
		got := s.Lookup(evaluate(t, string(r.Key)))
		if len(got) != 1 || got[0] != r.Label {
			t.Errorf("Lookup(%s) = %v, want %v", r.Key, got, r.Label)
		}
	}
	got := s.Lookup(evaluate(t, "shared"))
	if len(got) != 5 {
		t.Fatalf("%d labels of the shared key, want 5", len(got))
	}
	for i, l := range got {
		if l != recs[100+i].Label {
			t.Errorf("label %d of the shared key = %v, want %v", i, l, recs[100+i].Label)
		}
	}
	for i := range 100 {
		if got := s.Lookup(evaluate(t, fmt.Sprintf("other %d", i))); got != nil {
			t.Errorf("Lookup of a key that is not in the set = %v", got)
		}
	}
	if got := s.Lookup(oprf.Output{}); got != nil {
		t.Errorf("Lookup of a dummy = %v", got)
	}
}

// TestProtocol is a whole lookup with both parties. What each sees is compared:
// the holder gets only elements, and they are the same number for any inputs.
func TestProtocol(t *testing.T) {
	t.Parallel()
	set := build(t, params(), records(10))
	client, err := oprf.NewClient(set.Manifest().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	bc := oprf.BlindContext{QueryID: [16]byte{1}, Holder: "b.example", Info: set.Manifest().Info.Bytes()}
	pending, req, err := client.Blind([][]byte{[]byte("key 3"), []byte("nobody"), nil, nil}, oprf.GenerateSeed(), bc)
	if err != nil {
		t.Fatal(err)
	}
	evaluated, proof, err := server().BlindEvaluate(req, info().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := pending.Finalize(evaluated, proof)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0, 0, 0} {
		if got := len(set.Lookup(outputs[i])); got != want {
			t.Errorf("item %d: %d labels, want %d", i, got, want)
		}
	}
}

// TestFormula holds tags and labels to the package comment, with other code.
func TestFormula(t *testing.T) {
	t.Parallel()
	recs := []psi.Record{record("k", 2), record("k", 1)}
	set := build(t, params(), recs)
	out, m, cells := evaluate(t, "k"), set.Manifest(), cellsOf(t, set.Segments()[0])
	expand := func(info string, n int) []byte {
		b, err := hkdf.Expand(sha256.New, out[:], info, n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if set.TagBits() != 51 { // 40 + 10 + 1
		t.Fatalf("TagBits = %d", set.TagBits())
	}
	for j := range 2 {
		f := expand("passerelle/psi/v1 tag"+string(rune(j)), 16)
		// 1024 buckets are the first 10 bits; 41 bits of the next eight bytes follow.
		tag := psi.Tag{Bucket: uint32(f[0])<<2 | uint32(f[1])>>6, Rest: binary.BigEndian.Uint64(f[8:]) >> 23}
		pos := slices.IndexFunc(cells, func(c cell) bool { return c.tag == tag })
		if pos < 0 {
			t.Fatalf("tag %d is not in the set", j)
		}
		label := cells[pos].label[:]
		for i, p := range expand("passerelle/psi/v1 label"+string(rune(j))+string(m.Segments[0].Nonce[:]), 16) {
			label[i] ^= p
		}
		// Handles 1 and 2, in that order, whatever the order of the records.
		n := j + 1
		want := []byte{0, byte(n), 1, 0, 0, 0, 0, 0, byte((1000 + n) >> 8), byte((1000 + n) & 0xff), byte(n), 3, 0, 0, 0, 0}
		if !bytes.Equal(label, want) {
			t.Errorf("label %d = %x, want %x", j, label, want)
		}
	}
}

// TestPadsAreFresh builds one set twice and as two versions. Tags must be the
// same, decoys included, and no label may be masked with the same pad.
func TestPadsAreFresh(t *testing.T) {
	t.Parallel()
	a := build(t, params(), records(50))
	p := params()
	p.Version, p.Previous = 2, a.Manifest().Hash()
	b := build(t, p, records(50))
	sa, sb := a.Segments()[0], b.Segments()[0]
	n := len(sa) - 16*a.Len()
	if !bytes.Equal(sa[:n], sb[:n]) {
		t.Error("tags change between versions: decoys can be told by it")
	}
	for i := range a.Len() {
		at := n + 16*i
		if bytes.Equal(sa[at:at+16], sb[at:at+16]) {
			t.Fatalf("label %d is the same in two versions", i)
		}
	}
	if a.Manifest().Segments[0].Nonce == b.Manifest().Segments[0].Nonce {
		t.Error("nonce is used twice")
	}
}

func tagsOf(t *testing.T, s *psi.Set) map[psi.Tag]bool {
	out := map[psi.Tag]bool{}
	for _, seg := range s.Segments() {
		for _, c := range cellsOf(t, seg) {
			out[c.tag] = true
		}
	}
	return out
}

// TestChangesLookAlike checks that an addition, a removal and a replacement each
// show as one tag that comes and one that goes.
func TestChangesLookAlike(t *testing.T) {
	t.Parallel()
	before := tagsOf(t, build(t, params(), records(50)))
	for name, recs := range map[string][]psi.Record{
		"addition":    records(51),
		"removal":     records(49),
		"replacement": append(records(49), record("another", 99)),
	} {
		after := tagsOf(t, build(t, params(), recs))
		gone, come := 0, 0
		for tag := range before {
			if !after[tag] {
				gone++
			}
		}
		for tag := range after {
			if !before[tag] {
				come++
			}
		}
		if gone != 1 || come != 1 {
			t.Errorf("%s: %d tags go and %d come, want 1 and 1", name, gone, come)
		}
	}
}

// TestDecoysLookAlike checks that nothing about a set depends on how many of its
// tags are decoys: not its shape, and not the distribution of any bit.
func TestDecoysLookAlike(t *testing.T) {
	t.Parallel()
	empty, full := build(t, params(), nil), build(t, params(), records(psi.MinCount))
	a, b := empty.Manifest(), full.Manifest()
	for _, m := range []*psi.Manifest{a, b} {
		// The size tells where the gaps are, which are those of uniform numbers.
		if size := int(m.Segments[0].Size); size < 1024*(16+5)+100 || size > 1024*(16+6) {
			t.Errorf("a segment of %d bytes", size)
		}
		m.Segments[0].Hash, m.Segments[0].Nonce, m.Segments[0].Size = [32]byte{}, [16]byte{}, 22_000
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) || a.Bytes() == nil {
		t.Error("manifests differ by more than hash, nonce and size")
	}
	for name, s := range map[string]*psi.Set{"decoys": empty, "records": full} {
		cells := cellsOf(t, s.Segments()[0])
		// 1024 fair bits have a mean of 512 and a deviation of 16: 6 deviations.
		for bit := range 10 + 40 + 16*8 {
			ones := 0
			for _, c := range cells {
				switch {
				case bit < 10:
					ones += int(c.tag.Bucket >> bit & 1)
				case bit < 50:
					ones += int(c.tag.Rest >> (bit - 10) & 1)
				default:
					ones += int(c.label[(bit-50)/8] >> (bit % 8) & 1)
				}
			}
			if ones < 512-96 || ones > 512+96 {
				t.Errorf("%s: bit %d is set %d times in %d", name, bit, ones, len(cells))
			}
		}
	}
}

// TestFalsePositives measures the rate with tags that are 32 bits shorter, and
// finds none with tags of the full length.
func TestFalsePositives(t *testing.T) {
	t.Parallel()
	var shared []psi.Record // of 1,088, padded to a size that is no power of two
	for i := range 17 * 64 {
		shared = append(shared, record(fmt.Sprint("shared ", i/64), i))
	}
	for _, tt := range []struct {
		sharers, count int
		recs           []psi.Record
		n              int // lookups
	}{{1, 1024, records(3), 40_000}, {8, 1024, records(3), 20_000}, {64, 1152, shared, 5000}} {
		p := params()
		p.Sharers = tt.sharers
		short, err := psi.BuildShort(t.Context(), server(), p, tt.recs, 8)
		if err != nil {
			t.Fatal(err)
		}
		full := build(t, p, tt.recs)
		if full.Len() != tt.count || full.Sharers() != tt.sharers {
			t.Fatalf("%d tags and J = %d", full.Len(), full.Sharers())
		}
		hits := 0
		for i := range tt.n {
			var out oprf.Output
			rand.Read(out[:])
			hits += short.Tags(out)
			if i%8 == 0 && (full.Tags(out) != 0 || full.Lookup(out) != nil) {
				t.Error("false positive with tags of full length")
			}
			if i%8 == 0 && short.Lookup(out) != nil {
				t.Error("a label opens with the wrong key")
			}
		}
		// The set is exactly full, so the rate is 2^-8. Six standard deviations.
		want := float64(tt.n) / 256
		if math.Abs(float64(hits)-want) > 6*math.Sqrt(want) || hits == 0 {
			t.Errorf("J = %d: %d false tags in %d, want about %.0f", tt.sharers, hits, tt.n, want)
		}
	}
}

// TestLookupAllocates checks that a lookup takes no memory.
func TestLookupAllocates(t *testing.T) {
	s := build(t, params(), append(records(100), record("key 1", 200)))
	hit, miss := evaluate(t, "key 1"), evaluate(t, "none")
	labels := make([]psi.Label, 0, 2)
	if n := testing.AllocsPerRun(100, func() {
		if labels = s.AppendLookup(labels[:0], &hit); len(labels) != 2 {
			t.Errorf("%d labels, want 2", len(labels))
		}
		if labels = s.AppendLookup(labels[:0], &miss); len(labels) != 0 {
			t.Errorf("%d labels, want none", len(labels))
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPadCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 1024, 1: 1024, 1024: 1024, 1025: 1152, 1152: 1152, 1153: 1280, 2048: 2048,
		2049: 2304, 100_000: 106_496, 1 << 20: 1 << 20, 1<<20 + 1: 1<<20 + 1<<17} {
		if got := psi.PadCount(n); got != want {
			t.Errorf("PadCount(%d) = %d, want %d", n, got, want)
		}
	}
	for n := range 20_000 {
		got := psi.PadCount(n)
		if got < n || psi.PadCount(got) != got || n > 1024 && got > n+n/8+1 {
			t.Fatalf("PadCount(%d) = %d", n, got)
		}
	}
}

// TestManySegments builds a set that is larger than a segment.
func TestManySegments(t *testing.T) {
	t.Parallel()
	// Few keys that many records share cost few evaluations.
	var recs []psi.Record
	for i := range 1040 {
		for j := range 64 {
			r := record(fmt.Sprintf("key %d", i), j)
			r.Label.Weight = uint16(i)
			recs = append(recs, r)
		}
	}
	s := build(t, params(), recs)
	m := s.Manifest()
	if len(m.Segments) != 2 || m.Count != 73728 || s.TagBits() != 40+17+6 {
		t.Fatalf("%d segments, %d tags of %d bits", len(m.Segments), m.Count, s.TagBits())
	}
	if m.Segments[0].Nonce == m.Segments[1].Nonce {
		t.Error("one nonce for two segments")
	}
	for _, i := range []int{0, 500, 1039} {
		got := s.Lookup(evaluate(t, fmt.Sprintf("key %d", i)))
		if len(got) != 64 {
			t.Fatalf("%d labels, want 64", len(got))
		}
		for j, l := range got {
			if l.Handle != handle(j) || int(l.Weight) != i {
				t.Errorf("label %d = %v", j, l)
			}
		}
	}
	swapped := [][]byte{s.Segments()[1], s.Segments()[0]}
	if set, err := psi.OpenSet(m, swapped); !errors.Is(err, psi.ErrSet) || set != nil {
		t.Errorf("OpenSet of swapped segments: %v", err)
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	good := params()
	many := []psi.Record{}
	for i := range psi.MaxSharers + 1 {
		many = append(many, record("same", i))
	}
	tests := []struct {
		name   string
		change func(*psi.Params)
		recs   []psi.Record
	}{
		{"other key", func(p *psi.Params) { p.PublicKey = newServer(9).PublicKey() }, nil},
		{"no key", func(p *psi.Params) { p.PublicKey = oprf.PublicKey{} }, nil},
		{"info", func(p *psi.Params) { p.Info.Holder = "" }, nil},
		{"version", func(p *psi.Params) { p.Version = 0 }, nil},
		{"previous of the first", func(p *psi.Params) { p.Previous[0] = 1 }, nil},
		{"no time", func(p *psi.Params) { p.Created = time.Time{} }, nil},
		{"ends before it begins", func(p *psi.Params) { p.NotAfter = p.Created }, nil},
		{"sharers", func(p *psi.Params) { p.Sharers = 65 }, nil},
		{"workers", func(p *psi.Params) { p.Workers = -1 }, nil},
		{"empty key", nil, []psi.Record{record("", 1)}},
		{"long key", nil, []psi.Record{record(string(make([]byte, 513)), 1)}},
		{"no handle", nil, []psi.Record{{Key: []byte("k")}}},
		{"duplicate", nil, []psi.Record{record("k", 1), record("l", 1), record("k", 1)}},
		{"too many sharers", nil, many},
	}
	for _, tt := range tests {
		p := good
		if tt.change != nil {
			tt.change(&p)
		}
		if s, err := psi.Build(t.Context(), server(), p, tt.recs); !errors.Is(err, psi.ErrInput) || s != nil {
			t.Errorf("%s: Build error = %v, want %v", tt.name, err, psi.ErrInput)
		}
	}
}

func TestBuildProgressAndCancel(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{0, 1, 3} {
		p := params()
		p.Workers = workers
		last, calls := 0, 0
		p.Progress = func(done, total int) {
			if done <= last || total != 700 {
				t.Errorf("Progress(%d, %d) after %d", done, total, last)
			}
			last = done
			calls++
		}
		build(t, p, records(700))
		if last != 700 || calls < 2 {
			t.Errorf("the last of %d calls is at %d", calls, last)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	p := params()
	p.Progress = func(done, total int) { cancel() }
	if s, err := psi.Build(ctx, server(), p, records(3000)); !errors.Is(err, context.Canceled) || s != nil {
		t.Errorf("Build error = %v, want %v", err, context.Canceled)
	}
	if s, err := psi.Build(ctx, server(), params(), records(1)); !errors.Is(err, context.Canceled) || s != nil {
		t.Errorf("Build error = %v, want %v", err, context.Canceled)
	}
	called := false
	p.Progress = func(done, total int) { called = done == 0 && total == 0 }
	build(t, p, nil)
	if !called {
		t.Error("Progress is not called for no records")
	}
}

// TestCollision builds with tags so short that two keys must collide.
func TestCollision(t *testing.T) {
	t.Parallel()
	// 1024 tags of 2+10 bits: about 128 pairs collide.
	s, err := psi.BuildShort(t.Context(), server(), params(), records(psi.MinCount), 2)
	if !errors.Is(err, psi.ErrCollision) || s != nil {
		t.Errorf("Build error = %v, want %v", err, psi.ErrCollision)
	}
}

func TestInfosSeparate(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, change := range []func(*psi.Info){
		func(*psi.Info) {}, func(i *psi.Info) { i.Protocol++ }, func(i *psi.Info) { i.Holder = "c" }, func(i *psi.Info) { i.Asker = "c" },
		func(i *psi.Info) { i.Collection = "c" }, func(i *psi.Info) { i.Class = "c" }, func(i *psi.Info) { i.Normalisation++ },
		func(i *psi.Info) { i.Epoch++ }, func(i *psi.Info) { i.Holder, i.Asker = i.Asker, i.Holder },
		func(i *psi.Info) { i.Holder, i.Asker = "b.examplea", ".example" },
	} {
		i := info()
		change(&i)
		if len(i.Bytes()) == 0 || seen[string(i.Bytes())] {
			t.Errorf("Info %+v has no encoding of its own", i)
		}
		seen[string(i.Bytes())] = true
	}
	for _, bad := range []func(*psi.Info){
		func(i *psi.Info) { i.Protocol = 0 }, func(i *psi.Info) { i.Class = "" }, func(i *psi.Info) { i.Class = "a b" },
		func(i *psi.Info) { i.Asker = "ä" }, func(i *psi.Info) { i.Asker = string(bytes.Repeat([]byte("a"), 129)) },
	} {
		i := info()
		bad(&i)
		if i.Bytes() != nil || !errors.Is(i.Validate(), psi.ErrMalformed) {
			t.Errorf("Info %+v is accepted", i)
		}
	}
}

func TestGenerateHandle(t *testing.T) {
	t.Parallel()
	a, b := psi.GenerateHandle(), psi.GenerateHandle()
	if a == b || a == (psi.Handle{}) {
		t.Errorf("handles %x and %x", a, b)
	}
}

func signingKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append([]byte{n}, make([]byte, 31)...))
}

func publicKey(n byte) ed25519.PublicKey { return signingKey(n).Public().(ed25519.PublicKey) }

func benchmarkSet(b *testing.B) *psi.Set {
	var recs []psi.Record
	for i := range 100_000 {
		// 64 records a key, so that the set is ready in a second.
		recs = append(recs, record(fmt.Sprint(i/64), i%64))
	}
	return build(b, params(), recs)
}

func BenchmarkOpenSet100k(b *testing.B) {
	s := benchmarkSet(b)
	m, segs := s.Manifest(), s.Segments()
	for b.Loop() {
		if _, err := psi.OpenSet(m, segs); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	p := params()
	for _, n := range []int{1, 64} {
		p.Sharers = n
		var recs []psi.Record
		for i := range 2000 {
			recs = append(recs, record(fmt.Sprint(i), i))
		}
		s := build(b, p, recs)
		hit, miss := evaluate(b, "7"), evaluate(b, "none")
		b.Run(fmt.Sprintf("hit/J=%d", n), func(b *testing.B) {
			for b.Loop() {
				s.Lookup(hit)
			}
		})
		b.Run(fmt.Sprintf("miss/J=%d", n), func(b *testing.B) {
			for b.Loop() {
				s.Lookup(miss)
			}
		})
	}
}

func BenchmarkBuild10k(b *testing.B) {
	recs := records(10_000)
	for b.Loop() {
		build(b, params(), recs)
	}
}

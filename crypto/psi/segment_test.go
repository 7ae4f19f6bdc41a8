package psi_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/passerelle/passerelle/crypto/psi"
)

// bitString reads b from the highest bit of its first byte on.
type bitString struct {
	b  []byte
	at int
}

func (s *bitString) next() uint64 {
	v := s.b[s.at/8] >> (7 - s.at%8) & 1
	s.at++
	return uint64(v)
}

// A cell is a tag with its masked label.
type cell struct {
	tag   psi.Tag
	label [16]byte
}

// cellsOf decodes a segment bit by bit, as the package comment says and with code
// that is not that of the package.
func cellsOf(t rapid.TB, b []byte) []cell {
	t.Helper()
	u16 := func(at int) int { return int(binary.BigEndian.Uint16(b[at:])) }
	u32 := func(at int) int { return int(binary.BigEndian.Uint32(b[at:])) }
	l, n, first, blocks, size := int(b[2]), u32(4), u32(8), u32(12), u32(16)
	quotients := bitString{b: b[20+4*blocks:][:size]}
	rests := bitString{b: b[20+4*blocks+size:][:(n*l+7)/8]}
	labels := b[20+4*blocks+size+(n*l+7)/8:]
	if len(labels) != 16*n {
		t.Fatalf("%d bytes of labels for %d tags", len(labels), n)
	}
	var cells []cell
	for block := range blocks {
		if u16(20+4*block) != len(cells) || u16(22+4*block) != quotients.at-len(cells) {
			t.Fatalf("index of block %d", block)
		}
		end := n
		if block+1 < blocks {
			end = u16(24 + 4*block)
		}
		position := uint64(0)
		for k := len(cells); k < end; k++ {
			q, r := uint64(0), uint64(0)
			for quotients.next() == 0 {
				q++
			}
			for range l {
				r = r<<1 | rests.next()
			}
			position += q<<l + r
			tag := psi.Tag{Bucket: uint32(first+128*block) + uint32(position>>l), Rest: position & (1<<l - 1)}
			cells = append(cells, cell{tag, [16]byte(labels[16*k:])})
		}
	}
	return cells
}

// decode returns the tags of a segment that the package accepts.
func decode(t rapid.TB, b []byte) ([]psi.Tag, error) {
	t.Helper()
	last, err := psi.LastTag(b)
	if err != nil {
		return nil, err
	}
	var tags []psi.Tag
	for _, c := range cellsOf(t, b) {
		tags = append(tags, c.tag)
	}
	if !slices.IsSortedFunc(tags, psi.Tag.Compare) || tags[len(tags)-1] != last {
		t.Errorf("tags are not in order, or the last is not %v", last)
	}
	return tags, nil
}

// randomTags returns n ascending tags below a number of buckets.
func randomTags(n, buckets, restBits int, seed uint64) []psi.Tag {
	r := rand.New(rand.NewPCG(seed, 0))
	seen := make(map[psi.Tag]bool, n)
	tags := make([]psi.Tag, 0, n)
	for len(tags) < n {
		t := psi.Tag{Bucket: uint32(r.IntN(buckets)), Rest: r.Uint64N(1 << restBits)}
		if !seen[t] {
			seen[t] = true
			tags = append(tags, t)
		}
	}
	slices.SortFunc(tags, psi.Tag.Compare)
	return tags
}

// TestSegments checks of any tags that they survive, that an independent decoder
// reads the same, that membership is that of a map, and that changing any byte of
// anything but the labels gives an error or other tags, never another encoding of
// the same.
func TestSegments(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		restBits := rapid.IntRange(1, 46).Draw(t, "rest bits")
		n := rapid.IntRange(1, 600).Draw(t, "tags")
		first := rapid.IntRange(0, 1<<28-n).Draw(t, "first bucket")
		// A few shapes: spread, crowded, and as far apart as is allowed.
		span := rapid.SampledFrom([]int{n, n/4 + 1, 128 * (n/64 + 2), 1}).Draw(t, "span")
		span = min(span, 1<<28-first)
		n = min(n, span<<min(restBits, 12)/2)
		if n == 0 {
			n = 1
		}
		tags := randomTags(n, span, restBits, rapid.Uint64().Draw(t, "seed"))
		for i := range tags {
			tags[i].Bucket += uint32(first)
		}
		b := psi.EncodeSegment(tags, restBits)
		got, err := decode(t, b)
		if err != nil || !slices.Equal(got, tags) {
			t.Fatalf("%d tags, %d after decoding, error %v", len(tags), len(got), err)
		}
		in := make(map[psi.Tag]int)
		for i, tag := range tags {
			in[tag] = i
		}
		find := psi.Finder(b)
		probe := func(tag psi.Tag) {
			k, ok := find(tag)
			want, member := in[tag]
			if ok != member || ok && k != want {
				t.Fatalf("%+v is at %d, %t, want %d, %t", tag, k, ok, want, member)
			}
		}
		for _, tag := range tags {
			probe(tag)
			mask := uint64(1)<<restBits - 1
			for _, near := range []psi.Tag{{Bucket: tag.Bucket, Rest: (tag.Rest + 1) & mask}, {Bucket: tag.Bucket + 1, Rest: tag.Rest},
				{Bucket: tag.Bucket - 1, Rest: tag.Rest}, {Bucket: tag.Bucket ^ 128, Rest: tag.Rest}, {Bucket: tag.Bucket, Rest: 0}} {
				probe(near)
			}
		}
		at := rapid.IntRange(0, len(b)-16*n-1).Draw(t, "changed byte")
		c := slices.Clone(b)
		c[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "change"))
		// Rests of another length are other tags, also where the numbers are the same.
		if other, err := decode(t, c); err == nil && c[2] == b[2] && slices.Equal(other, tags) {
			t.Fatalf("byte %d of the encoding has no meaning", at)
		}
	})
}

// TestSegmentDecoder holds segments to the independent decoder.
func TestSegmentDecoder(t *testing.T) {
	t.Parallel()
	for _, restBits := range []int{1, 7, 40, 41, 46} {
		for _, n := range []int{1, 2, 127, 128, 129, 2000} {
			tags := randomTags(n, 2*n, restBits, 1)
			for i, c := range cellsOf(t, psi.EncodeSegment(tags, restBits)) {
				if c.tag != tags[i] {
					t.Fatalf("tag %d of %d with rests of %d bits is %v, want %v", i, n, restBits, c.tag, tags[i])
				}
			}
		}
	}
}

// TestSegmentRefuses changes each field of a small segment.
func TestSegmentRefuses(t *testing.T) {
	t.Parallel()
	// Two blocks: 2 tags in the first and 3 in the second.
	tags := []psi.Tag{{Bucket: 5, Rest: 9}, {Bucket: 5, Rest: 10}, {Bucket: 133, Rest: 0}, {Bucket: 135, Rest: 3}, {Bucket: 135, Rest: 4}}
	good := psi.EncodeSegment(tags, 5)
	const index, quotients, rests, labels = 20, 28, 29, 33
	if len(good) != labels+5*16 {
		t.Fatalf("the segment has %d bytes", len(good))
	}
	// 1 1 1 001 1, and a bit of padding; rests in steps of five bits.
	if good[quotients] != 0b1110_0110 {
		t.Fatalf("quotients %08b", good[quotients])
	}
	cut := func(b []byte, from, to int) []byte { return append(b[:from:from], b[to:]...) }
	insert := func(b []byte, at int, more ...byte) []byte { return slices.Concat(b[:at], more, b[at:]) }
	tests := []struct {
		name   string
		change func(b []byte) []byte
	}{
		{"nothing there", func(b []byte) []byte { return nil }},
		{"header cut", func(b []byte) []byte { return b[:19] }},
		{"coding", func(b []byte) []byte { b[0]++; return b }},
		{"kind", func(b []byte) []byte { b[1]++; return b }},
		{"no rests", func(b []byte) []byte { b[2] = 0; return b }},
		{"longer rests", func(b []byte) []byte { b[2] = 7; return b }},
		{"long rests", func(b []byte) []byte { b[2] = 47; return b }},
		{"label size", func(b []byte) []byte { b[3]++; return b }},
		{"no tags", func(b []byte) []byte { b[7] = 0; return b }},
		{"fewer tags", func(b []byte) []byte { b[7]--; return b }},
		{"many tags", func(b []byte) []byte { b[4] = 0xff; return b }},
		{"other count, right size", func(b []byte) []byte { b[7] = 4; return b[:len(b)-16] }},
		{"first bucket too large", func(b []byte) []byte { b[8] = 0x10; return b }},
		{"last bucket too large", func(b []byte) []byte { copy(b[8:], []byte{0x0f, 0xff, 0xff, 0xf0}); return b }},
		{"no blocks", func(b []byte) []byte { b[15] = 0; return cut(b, index, quotients) }},
		{"one block", func(b []byte) []byte { b[15] = 1; return cut(b, index+4, quotients) }},
		{"three blocks", func(b []byte) []byte { b[15] = 3; return insert(b, quotients, 0, 5, 0, 2) }},
		{"many blocks", func(b []byte) []byte { b[12] = 0x7f; return b }},
		{"many quotients", func(b []byte) []byte { b[16] = 0xff; return b }},
		{"another byte of quotients", func(b []byte) []byte { b[19]++; return insert(b, rests, 0) }},
		{"no quotients", func(b []byte) []byte { b[19] = 0; return cut(b, quotients, rests) }},
		{"first block begins later", func(b []byte) []byte { b[index+1] = 1; return b }},
		{"first block has quotients before it", func(b []byte) []byte { b[index+3] = 1; return b }},
		{"second block begins earlier", func(b []byte) []byte { b[index+5]--; return b }},
		{"second block begins later", func(b []byte) []byte { b[index+5]++; return b }},
		{"second block begins far away", func(b []byte) []byte { b[index+4] = 0xff; return b }},
		{"second block has other quotients", func(b []byte) []byte { b[index+7]++; return b }},
		{"first quotient", func(b []byte) []byte { b[quotients] = 0b0110_0110; return b }},
		{"a quotient less", func(b []byte) []byte { b[quotients] = 0b1110_0100; return b }},
		{"bit after the quotients", func(b []byte) []byte { b[quotients] |= 1; return b }},
		{"tag twice", func(b []byte) []byte { b[rests] &^= 0b111; b[rests+1] &^= 0b1100_0000; return b }},
		{"bits after the rests", func(b []byte) []byte { b[labels-1] |= 1; return b }},
		{"shorter", func(b []byte) []byte { return b[:len(b)-1] }},
		{"longer", func(b []byte) []byte { return append(b, 0) }},
	}
	for _, tt := range tests {
		b := tt.change(slices.Clone(good))
		if got, err := decode(t, b); err == nil {
			t.Errorf("%s: decoded as %v", tt.name, got)
		}
	}
	// Blocks that are empty, where there may be two.
	for name, entry := range map[string][]byte{"beginning": {0, 0, 0, 0}, "end": {0, 2, 0, 0}} {
		one := psi.EncodeSegment([]psi.Tag{{Bucket: 5, Rest: 9}, {Bucket: 5, Rest: 10}}, 5)
		one[15] = 2
		if got, err := psi.LastTag(insert(one, 24, entry...)); err == nil {
			t.Errorf("an empty block at the %s: decoded to %v", name, got)
		}
	}
	// A tag that belongs to the block after: a quotient of 127 grows to 128.
	far := psi.EncodeSegment([]psi.Tag{{Bucket: 5}, {Bucket: 132}}, 5)
	far[24+16] = 0b0100_0000
	if got, err := decode(t, far); err == nil {
		t.Errorf("a changed quotient: decoded as %v", got)
	}
}

// TestSpecExample holds the worked example of proto/SPEC.md to the code.
func TestSpecExample(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../../proto/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(spec), "<!-- segment example -->\n```\n")
	if !ok {
		t.Fatal("proto/SPEC.md has no example of a segment")
	}
	text, _, _ = strings.Cut(text, "```")
	var want []byte
	for line := range strings.Lines(text) {
		digits, _, _ := strings.Cut(line, "//")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want = append(want, b...)
	}
	tags := []psi.Tag{{Bucket: 7, Rest: 0x1234567890}, {Bucket: 7, Rest: 0x1234567891}, {Bucket: 10, Rest: 0}, {Bucket: 136, Rest: 5}}
	got := psi.EncodeSegment(tags, 40)
	if !bytes.Equal(got, want) {
		t.Errorf("the example is\n%x\nand the encoding\n%x", want, got)
	}
}

// TestSegmentSizes holds sets of every shape to six bytes a tag, without labels.
func TestSegmentSizes(t *testing.T) {
	t.Parallel()
	for _, restBits := range []int{40, 46} { // J = 1 and 64
		for _, n := range []int{psi.PadCount(100_000), 1 << 17, 9 << 14} {
			if got := bytesPerTag(n, restBits); got > 6 {
				t.Errorf("%d tags with rests of %d bits: %.3f bytes a tag", n, restBits, got)
			}
		}
	}
}

// bytesPerTag encodes a set of n tags and returns its size without labels.
func bytesPerTag(n, restBits int) float64 {
	size := 0
	for part := range slices.Chunk(randomTags(n, n, restBits, 7), psi.SegmentTags) {
		size += len(psi.EncodeSegment(part, restBits)) - 16*len(part)
	}
	return float64(size) / float64(n)
}

func FuzzOpenSegment(f *testing.F) {
	for _, restBits := range []int{1, 40} {
		for _, n := range []int{1, 3, 300} {
			f.Add(psi.EncodeSegment(randomTags(n, n, restBits, 1), restBits))
		}
	}
	f.Add(psi.EncodeSegment([]psi.Tag{{Bucket: 5}, {Bucket: 300}}, 8))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<14 {
			t.Skip("longer than a test of every tag may be; what happens there happens before")
		}
		tags, err := decode(t, b)
		if err != nil {
			if tags != nil {
				t.Errorf("%d tags with an error", len(tags))
			}
			return
		}
		again := psi.EncodeSegment(tags, int(b[2]))
		if labels := len(b) - 16*len(tags); !bytes.Equal(again[:labels], b[:labels]) || len(again) != len(b) {
			t.Errorf("not canonical:\n got %x\nfrom %x", again, b)
		}
		find := psi.Finder(b)
		for i, tag := range tags {
			if k, ok := find(tag); !ok || k != i {
				t.Errorf("tag %d is at %d, %t", i, k, ok)
			}
		}
	})
}

// FuzzFind searches a segment that has changed since it was opened, as a file that
// is mapped may.
func FuzzFind(f *testing.F) {
	good := psi.EncodeSegment(randomTags(600, 600, 40, 1), 40)
	f.Add(20, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint32(3), uint64(5))
	f.Add(60, make([]byte, 200), uint32(500), uint64(1)<<39)
	f.Fuzz(func(t *testing.T, at int, patch []byte, bucket uint32, rest uint64) {
		if at < 0 || at > len(good) {
			t.Skip("not a place in the segment")
		}
		b := slices.Clone(good)
		find := psi.Finder(b)
		copy(b[at:], patch)
		if k, ok := find(psi.Tag{Bucket: bucket, Rest: rest % (1 << 40)}); ok && (k < 0 || k >= 600) {
			t.Errorf("found at %d", k)
		}
	})
}

// BenchmarkSegments reports the bytes a tag, without labels, and what it costs to
// encode and to verify one and to find one.
func BenchmarkSegments(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		for _, restBits := range []int{40, 46} {
			padded := psi.PadCount(n)
			tags := randomTags(padded, padded, restBits, 7)
			var segments [][]byte
			var finders []func(psi.Tag) (int, bool)
			size := 0
			for part := range slices.Chunk(tags, psi.SegmentTags) {
				s := psi.EncodeSegment(part, restBits)
				size += len(s) - 16*len(part)
				segments = append(segments, s)
				finders = append(finders, psi.Finder(s))
			}
			b.Run(fmt.Sprintf("n=%d/rest=%d/open", n, restBits), func(b *testing.B) {
				for b.Loop() {
					for _, s := range segments {
						if _, err := psi.LastTag(s); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(size)/float64(padded), "bytes/tag")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(padded), "ns/tag")
			})
			b.Run(fmt.Sprintf("n=%d/rest=%d/find", n, restBits), func(b *testing.B) {
				i := 0
				for b.Loop() {
					i = (i + 7919) % padded
					if _, ok := finders[i/psi.SegmentTags](tags[i]); !ok {
						b.Fatal("not found")
					}
				}
			})
		}
	}
}

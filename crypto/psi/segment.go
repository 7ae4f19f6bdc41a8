package psi

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

const (
	segmentHeader = 20 // bytes
	blockEntry    = 4  // bytes of the index for each block

	// blockBuckets is how many buckets are in a block, of which a lookup decodes a
	// half. Twice as many save an eighth of a bit a tag, half as many cost a quarter.
	blockBuckets = 1 << 7

	// maxRestBits keeps the position of a tag within its block below 2^53.
	maxRestBits = falsePositiveBits + 6
)

// maxBlocks returns how many blocks a segment may have. Tags are evenly spread, so
// there is about one for each 128 tags; the bound is twice that, and keeps a holder
// who makes them up from sending an index that is larger than the tags.
func maxBlocks(count int) int { return 2*count/blockBuckets + 2 }

// segmentSizes returns the least and the greatest size of a segment, in bytes.
func segmentSizes(count, restBits int) (least, greatest uint64) {
	fixed := segmentHeader + (count*restBits+7)/8 + count*LabelSize
	blocks := maxBlocks(count)
	return uint64(fixed + blockEntry + (count+7)/8),
		uint64(fixed + blockEntry*blocks + (count+blockBuckets*blocks+7)/8)
}

// A tag is a number: the bucket, and the rest as that many low bits.
type tag struct {
	bucket uint32
	rest   uint64
}

func (t tag) compare(u tag) int {
	return cmp.Or(cmp.Compare(t.bucket, u.bucket), cmp.Compare(t.rest, u.rest))
}

// A segment is searched where it lies: b may be mapped from a file. What is kept
// beside it is what a lookup must not read twice.
type segment struct {
	b         []byte
	restBits  int
	count     int    // tags
	first     uint32 // bucket of the first tag, where the first block begins
	blocks    int
	quotients int // where they begin in b, in bytes
	rests     int
	labels    int
}

// layout fills in where the parts of a segment begin, and returns its size.
func (s *segment) layout(quotientBytes int) int {
	s.quotients = segmentHeader + s.blocks*blockEntry
	s.rests = s.quotients + quotientBytes
	s.labels = s.rests + (s.count*s.restBits+7)/8
	return s.labels + s.count*LabelSize
}

// newSegment encodes tags, which are ascending, distinct and at least one. The
// labels are zero, for the caller to fill in.
func newSegment(tags []tag, restBits int) segment {
	s := segment{restBits: restBits, count: len(tags), first: tags[0].bucket}
	s.blocks = s.block(tags[len(tags)-1]) + 1
	quotientBits := 0
	s.gaps(tags, func(_ int, gap uint64) { quotientBits += int(gap>>restBits) + 1 })
	s.b = make([]byte, s.layout((quotientBits+7)/8))

	b := append(s.b[:0], byte(CodingRice), byte(KindBase), byte(restBits), LabelSize)
	b = binary.BigEndian.AppendUint32(b, uint32(s.count))
	b = binary.BigEndian.AppendUint32(b, s.first)
	b = binary.BigEndian.AppendUint32(b, uint32(s.blocks))
	binary.BigEndian.AppendUint32(b, uint32(s.rests-s.quotients))

	at, blocks := 8*s.quotients, 0 // in bits
	s.gaps(tags, func(k int, gap uint64) {
		for ; blocks <= s.block(tags[k]); blocks++ {
			zeros := at - 8*s.quotients - k
			if zeros > math.MaxUint16 { // 38,000 are expected, and 40,000 never seen
				panic("psi: internal error: tags are not evenly spread")
			}
			e := s.b[segmentHeader+blocks*blockEntry:]
			binary.BigEndian.PutUint16(e, uint16(k))
			binary.BigEndian.PutUint16(e[2:], uint16(zeros))
		}
		at += int(gap >> restBits)
		s.b[at/8] |= 0x80 >> (at % 8)
		at++
		// The labels follow, so that there are eight bytes to write to.
		rest := 8*s.rests + k*restBits
		to := s.b[rest/8:]
		low := gap & (1<<restBits - 1) << (64 - restBits - rest%8)
		binary.BigEndian.PutUint64(to, binary.BigEndian.Uint64(to)|low)
	})
	return s
}

// block returns the block of a tag.
func (s *segment) block(t tag) int { return int(t.bucket-s.first) / blockBuckets }

// position returns where a tag is in its block.
func (s *segment) position(t tag) uint64 {
	return uint64((t.bucket-s.first)%blockBuckets)<<s.restBits | t.rest
}

// gaps calls f with the distance of each tag from the one before it in its block,
// or from the beginning of the block.
func (s *segment) gaps(tags []tag, f func(k int, gap uint64)) {
	block, last := 0, uint64(0)
	for k, t := range tags {
		if n := s.block(t); n != block {
			block, last = n, 0
		}
		p := s.position(t)
		f(k, p-last)
		last = p
	}
}

// openSegment checks everything about b that does not need its manifest, and
// returns its last tag, too. There is exactly one encoding of the same tags and
// labels. It takes no memory that depends on b.
func openSegment(b []byte) (s segment, last tag, err error) {
	bad := func(what string) (segment, tag, error) { return segment{}, tag{}, errors.New(what) }
	if len(b) < segmentHeader || b[0] != byte(CodingRice) || b[1] != byte(KindBase) || b[3] != LabelSize {
		return bad("header")
	}
	count, first := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	blocks, quotientBytes := binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])
	s = segment{b: b, restBits: int(b[2]), count: int(count), first: first, blocks: int(blocks)}
	switch {
	case s.restBits < 1 || s.restBits > maxRestBits:
		return bad("length of the rests")
	case count < 1 || count > SegmentTags:
		return bad("number of tags")
	case first >= MaxCount:
		return bad("first bucket")
	case blocks < 1 || int64(blocks) > int64(maxBlocks(s.count)):
		return bad("number of blocks")
	case int64(quotientBytes) > int64(len(b)) || s.layout(int(quotientBytes)) != len(b):
		return bad("size")
	}
	tags, at, position := 0, 0, uint64(0)
	for block := range s.blocks {
		if k, begins := s.entry(block); k != tags || begins != at || s.end(block) > s.count {
			return bad("index")
		}
		before, ok := tags, false
		if tags, at, position, ok = s.scan(block, math.MaxUint64); !ok {
			return bad("tags")
		}
		if (block == 0 || block == s.blocks-1) && tags == before {
			return bad("first or last block")
		}
	}
	if b[s.quotients]&0x80 == 0 {
		return bad("first bucket")
	}
	bucket := uint64(first) + uint64(s.blocks-1)*blockBuckets + position>>s.restBits
	if bucket >= MaxCount {
		return bad("bucket")
	}
	if (at+7)/8 != int(quotientBytes) || at%8 != 0 && b[s.rests-1]<<(at%8) != 0 {
		return bad("bits after the last quotient")
	}
	if used := s.count * s.restBits % 8; used != 0 && b[s.labels-1]<<used != 0 {
		return bad("bits after the last rest")
	}
	return s, tag{uint32(bucket), position & (1<<s.restBits - 1)}, nil
}

// entry returns what the index says of a block: how many tags and how many bits
// of quotients come before it.
func (s *segment) entry(block int) (tags, quotientBits int) {
	e := s.b[segmentHeader+block*blockEntry:][:blockEntry]
	tags = int(binary.BigEndian.Uint16(e))
	return tags, tags + int(binary.BigEndian.Uint16(e[2:]))
}

// end returns how many tags come before the end of a block.
func (s *segment) end(block int) int {
	if block+1 == s.blocks {
		return s.count
	}
	n, _ := s.entry(block + 1)
	return n
}

// word returns 64 bits from a bit of b on, of which up to 7 at the end are zero.
func word(b []byte, at int) uint64 { return binary.BigEndian.Uint64(b[at>>3:]) << (at & 7) }

// scan decodes a block as far as the first tag at or after the position want. It
// returns that tag and its position, or else how many tags come before the end of
// the block and the position of the last, and where the quotients after it begin.
// It is not ok if the block is not the encoding of ascending tags that are in it.
//
// It reads nothing outside of b, whatever is in it. There are eight bytes to read
// from everywhere, because at least one label follows.
func (s *segment) scan(block int, want uint64) (k, quotientBits int, position uint64, ok bool) {
	b, restBits := s.b, s.restBits
	k, at := s.entry(block)
	from, to := k, min(s.end(block), s.count)
	at += 8 * s.quotients
	rests, w := 8*s.rests+k*restBits, uint64(0)
	for ; k < to; k++ {
		q := 0
		for w == 0 {
			if at >= 8*s.rests {
				return 0, 0, 0, false
			}
			if w = word(b, at); w == 0 {
				at, q = at+57, q+57
			}
		}
		n := bits.LeadingZeros64(w)
		w = w << (n & 63) << 1
		at, q = at+n+1, q+n
		rest := word(b, rests) >> ((64 - restBits) & 63)
		rests += restBits
		position += uint64(q)<<(restBits&63) | rest
		if q >= blockBuckets || position>>(restBits&63) >= blockBuckets || uint64(q)|rest == 0 && k > from {
			return 0, 0, 0, false
		}
		if position >= want {
			break
		}
	}
	return k, at - 8*s.quotients, position, true
}

// firstTag returns the first tag.
func (s *segment) firstTag() tag {
	return tag{s.first, word(s.b, 8*s.rests) >> (64 - s.restBits)}
}

// find returns where t is. It decodes the block of t as far as t. It reads nothing
// outside of b, even if the file from which b is mapped has changed.
func (s *segment) find(t tag) (k int, ok bool) {
	if t.bucket < s.first {
		return 0, false
	}
	block := s.block(t)
	if block >= s.blocks {
		return 0, false
	}
	want := s.position(t)
	k, _, position, ok := s.scan(block, want)
	return k, ok && position == want && k < min(s.end(block), s.count)
}

// label returns the masked label of tag k.
func (s *segment) label(k int) *[LabelSize]byte {
	return (*[LabelSize]byte)(s.b[s.labels+k*LabelSize:])
}

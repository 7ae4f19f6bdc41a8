package psi

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/passerelle/passerelle/crypto/oprf"
)

const segmentHeader = 8

// segmentSize returns the size of a plain segment, in bytes.
func segmentSize(count, tagSize int) uint64 {
	return segmentHeader + uint64(count)*uint64(tagSize+LabelSize)
}

// appendSegmentHeader appends the header of a plain base segment.
func appendSegmentHeader(b []byte, tagBits uint8, count uint32) []byte {
	b = append(b, byte(CodingPlain), byte(KindBase), tagBits, LabelSize)
	return binary.BigEndian.AppendUint32(b, count)
}

// A Set is one version of a collection's tags and labels. It is searched where it
// lies, in the bytes of its segments, and takes no memory besides.
type Set struct {
	m        *Manifest
	segments [][]byte
	tagSize  int
}

// OpenSet checks segments against manifest, and returns the set that they are. It
// keeps segments, which must not be modified from then on; they may be mapped
// from files.
//
// It checks everything that can be checked without the key: that the manifest is
// well formed, and that each segment has the size and hash that it says, that tags
// are of the right length, ascending and distinct, and as many as it says. It
// returns an error wrapping [ErrMalformed] for the manifest and [ErrSet] for the
// segments. Callers check the signature, the chain and the age of the manifest.
func OpenSet(manifest *Manifest, segments [][]byte) (*Set, error) {
	return openSet(manifest, segments, falsePositiveBits)
}

func openSet(manifest *Manifest, segments [][]byte, fp int) (*Set, error) {
	if manifest == nil {
		return nil, fmt.Errorf("%w: no manifest", ErrMalformed)
	}
	m := manifest.clone()
	if err := m.validate(fp); err != nil {
		return nil, err
	}
	if len(segments) != len(m.Segments) {
		return nil, fmt.Errorf("%w: %d segments, not %d", ErrSet, len(segments), len(m.Segments))
	}
	s := &Set{m: m, segments: slices.Clone(segments), tagSize: m.tagSize()}
	var last []byte
	for i, b := range segments {
		d := &m.Segments[i]
		if uint64(len(b)) != d.Size || sha256.Sum256(b) != d.Hash {
			return nil, fmt.Errorf("%w: segment %d has another size or hash", ErrSet, i)
		}
		header := appendSegmentHeader(nil, m.TagBits, d.Count)
		if !bytes.Equal(b[:segmentHeader], header) {
			return nil, fmt.Errorf("%w: segment %d has another header", ErrSet, i)
		}
		for k := range int(d.Count) {
			tag := s.tag(i, k)
			if last != nil && bytes.Compare(last, tag) >= 0 {
				return nil, fmt.Errorf("%w: tags of segment %d are not ascending", ErrSet, i)
			}
			last = tag
		}
	}
	// Tags ascend, so the last one has the highest bit of all.
	if surplus := 8*s.tagSize - int(m.TagBits); last[0]>>(8-surplus) != 0 {
		return nil, fmt.Errorf("%w: a tag is too long", ErrSet)
	}
	return s, nil
}

// tag returns the tag at position k of segment i.
func (s *Set) tag(i, k int) []byte {
	at := segmentHeader + k*s.tagSize
	return s.segments[i][at : at+s.tagSize : at+s.tagSize]
}

// label returns the masked label at position k of segment i.
func (s *Set) label(i, k int) [LabelSize]byte {
	at := segmentHeader + int(s.m.Segments[i].Count)*s.tagSize + k*LabelSize
	return [LabelSize]byte(s.segments[i][at : at+LabelSize])
}

// find returns where tag is.
func (s *Set) find(tag []byte) (i, k int, ok bool) {
	// The last segment that begins at or before tag.
	i = sort.Search(len(s.segments), func(i int) bool { return bytes.Compare(s.tag(i, 0), tag) > 0 }) - 1
	if i < 0 {
		return 0, 0, false
	}
	k, ok = sort.Find(int(s.m.Segments[i].Count), func(k int) int { return bytes.Compare(tag, s.tag(i, k)) })
	return i, k, ok
}

// Lookup returns the labels of all records that have the key whose output is out,
// at most Sharers, in the order of their numbers. It probes all numbers. A tag
// whose label does not open is not a match. The zero Output, which is that of a
// dummy, matches nothing.
func (s *Set) Lookup(out oprf.Output) []Label {
	labels, _ := s.lookup(out)
	return labels
}

// lookup also returns how many tags were in the set.
func (s *Set) lookup(out oprf.Output) (labels []Label, tags int) {
	if out == (oprf.Output{}) {
		return nil, 0
	}
	x := newOutputExpander(&out)
	var buf [maxTagSize]byte
	tag := buf[:s.tagSize]
	for j := range int(s.m.Sharers) {
		x.tag(tag, j, int(s.m.TagBits))
		i, k, ok := s.find(tag)
		if !ok {
			continue
		}
		tags++
		b := s.label(i, k)
		x.mask(&b, j, &s.m.Segments[i].Nonce)
		if l, ok := parseLabel(&b); ok {
			labels = append(labels, l)
		}
	}
	return labels, tags
}

// Len returns the number of tags, with decoys.
func (s *Set) Len() int { return int(s.m.Count) }

// TagBits returns the length of tags.
func (s *Set) TagBits() int { return int(s.m.TagBits) }

// Sharers returns J, how many numbers a lookup probes.
func (s *Set) Sharers() int { return int(s.m.Sharers) }

// Size returns the size of all segments, in bytes.
func (s *Set) Size() int {
	n := 0
	for _, b := range s.segments {
		n += len(b)
	}
	return n
}

// Manifest returns a copy of the manifest of s.
func (s *Set) Manifest() *Manifest { return s.m.clone() }

// Segments returns the segments of s, which must not be modified.
func (s *Set) Segments() [][]byte { return slices.Clone(s.segments) }

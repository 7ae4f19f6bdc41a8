package psi

import (
	"crypto/sha256"
	"fmt"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// A Set is one version of a collection's tags and labels. It is searched where it
// lies, in the bytes of its segments, and takes no memory besides.
type Set struct {
	m        *Manifest
	segments []segment
}

// OpenSet checks segments against manifest, and returns the set that they are. It
// keeps segments, which must not be modified from then on. They may be mapped from
// files, and then must stay mapped for as long as the set is searched; if a file
// changes nevertheless, a lookup may find a wrong answer, but reads nothing else.
//
// It checks everything that can be checked without the key: that the manifest is
// well formed, that each segment has the size and hash that it says and is the one
// encoding of as many tags as it says, and that tags are ascending and distinct over
// all segments and below the number of buckets. It takes no memory that depends on
// the size of segments. It returns an error wrapping [ErrMalformed] for the manifest
// and [ErrSet] for the segments. Callers check the signature, the chain and the age
// of the manifest.
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
	s := &Set{m: m, segments: make([]segment, len(segments))}
	var last tag
	for i, b := range segments {
		d := &m.Segments[i]
		if uint64(len(b)) != d.Size || sha256.Sum256(b) != d.Hash {
			return nil, fmt.Errorf("%w: segment %d has another size or hash", ErrSet, i)
		}
		g, end, err := openSegment(b)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: segment %d: %w", ErrSet, i, err)
		case g.count != int(d.Count) || g.restBits != m.restBits():
			return nil, fmt.Errorf("%w: segment %d has another header", ErrSet, i)
		case i > 0 && last.compare(g.firstTag()) >= 0:
			return nil, fmt.Errorf("%w: segment %d does not follow the one before", ErrSet, i)
		}
		s.segments[i], last = g, end
	}
	if last.bucket >= m.Count {
		return nil, fmt.Errorf("%w: a tag is in no bucket", ErrSet)
	}
	return s, nil
}

// find returns where t is.
func (s *Set) find(t tag) (i, k int, ok bool) {
	// The last segment that begins at or before t.
	from, to := 0, len(s.segments)
	for from < to {
		if i := (from + to) / 2; s.segments[i].firstTag().compare(t) <= 0 {
			from = i + 1
		} else {
			to = i
		}
	}
	if from == 0 {
		return 0, 0, false
	}
	k, ok = s.segments[from-1].find(t)
	return from - 1, k, ok
}

// Lookup returns the labels of all records that have the key whose output is out,
// at most Sharers, in the order of their numbers. It probes all numbers. A tag
// whose label does not open is not a match. The zero Output, which is that of a
// dummy, matches nothing.
func (s *Set) Lookup(out oprf.Output) []Label { return s.AppendLookup(nil, &out) }

// AppendLookup appends what [Set.Lookup] returns to dst, and allocates nothing if
// there is room.
func (s *Set) AppendLookup(dst []Label, out *oprf.Output) []Label {
	dst, _ = s.lookup(dst, out)
	return dst
}

// lookup also returns how many tags were in the set.
func (s *Set) lookup(dst []Label, out *oprf.Output) (labels []Label, tags int) {
	if *out == (oprf.Output{}) {
		return dst, 0
	}
	var x expander
	x.set(out)
	for j := range int(s.m.Sharers) {
		i, k, ok := s.find(x.tag(j, s.m.Count, s.m.restBits()))
		if !ok {
			continue
		}
		tags++
		b := *s.segments[i].label(k)
		x.mask(&b, j, &s.m.Segments[i].Nonce)
		if l, ok := parseLabel(&b); ok {
			dst = append(dst, l)
		}
	}
	return dst, tags
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
	for i := range s.segments {
		n += len(s.segments[i].b)
	}
	return n
}

// Manifest returns a copy of the manifest of s.
func (s *Set) Manifest() *Manifest { return s.m.clone() }

// Segments returns the segments of s, which must not be modified.
func (s *Set) Segments() [][]byte {
	all := make([][]byte, len(s.segments))
	for i := range s.segments {
		all[i] = s.segments[i].b
	}
	return all
}

package psi

import (
	"context"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// BuildShort is Build with a false-positive rate of 2^-fp, to measure it.
func BuildShort(ctx context.Context, s *oprf.Server, p Params, recs []Record, fp int) (*Set, error) {
	return build(ctx, s, p, recs, fp)
}

// Tags returns how many tags of out are in s, whether or not their labels open.
func (s *Set) Tags(out oprf.Output) int {
	_, n := s.lookup(nil, &out)
	return n
}

// A Tag is a tag of a segment.
type Tag struct {
	Bucket uint32
	Rest   uint64
}

// Compare orders tags.
func (t Tag) Compare(u Tag) int { return t.inner().compare(u.inner()) }

func (t Tag) inner() tag { return tag{t.Bucket, t.Rest} }

// EncodeSegment encodes tags in order, with labels of zeros.
func EncodeSegment(tags []Tag, restBits int) []byte {
	inner := make([]tag, len(tags))
	for i, t := range tags {
		inner[i] = t.inner()
	}
	return newSegment(inner, restBits).b
}

// LastTag checks a segment by itself and returns its last tag.
func LastTag(b []byte) (Tag, error) {
	_, t, err := openSegment(b)
	return Tag{t.bucket, t.rest}, err
}

// Finder returns the search in a segment, which must be valid.
func Finder(b []byte) func(Tag) (int, bool) {
	s, _, err := openSegment(b)
	if err != nil {
		panic(err)
	}
	return func(t Tag) (int, bool) { return s.find(t.inner()) }
}

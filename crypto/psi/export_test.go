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
	_, n := s.lookup(out)
	return n
}

package oprf

import "github.com/cloudflare/circl/group"

// BlindWith is Blind with given blinds, for the vectors of the RFC.
func BlindWith(c *Client, inputs, blinds [][]byte, info []byte) (*Pending, []Element, error) {
	scalars := make([]group.Scalar, len(blinds))
	for i, b := range blinds {
		s, ok := parseScalar(b)
		if !ok {
			return nil, nil, ErrInput
		}
		scalars[i] = s
	}
	p, err := blindWith(inputs, scalars, make([]group.Element, len(inputs)))
	if err != nil {
		return nil, nil, err
	}
	return c.begin(p, info)
}

// BlindEvaluateWith is BlindEvaluate with a given nonce, for the vectors of the
// RFC.
func BlindEvaluateWith(s *Server, req []Element, info, r []byte) ([]Element, Proof, error) {
	return s.blindEvaluate(req, info, func(*statement, group.Scalar, group.Scalar) group.Scalar {
		n, ok := parseScalar(r)
		if !ok {
			panic("not a scalar")
		}
		return n
	})
}

// BlindEvaluateStuck is BlindEvaluate with a random source that always returns
// zeros. It also returns the nonce.
func BlindEvaluateStuck(s *Server, req []Element, info []byte) (nonce [32]byte, proof Proof, err error) {
	_, proof, err = s.blindEvaluate(req, info, func(st *statement, skS, t group.Scalar) group.Scalar {
		r := st.nonce(skS, t, new([64]byte))
		nonce = scalarBytes(r)
		return r
	})
	return nonce, proof, err
}

// DeriveBlind returns the blind of one element, serialized.
func DeriveBlind(seed Seed, bc BlindContext, index uint32) []byte {
	b := scalarBytes(newDeriver(seed, bc).blind(index))
	return b[:]
}

// FirstNonZero reports which counter is taken when the first n give zero.
func FirstNonZero(n int) int {
	taken := -1
	firstNonZero(func(counter uint8) group.Scalar {
		taken = int(counter)
		s := g.NewScalar()
		if int(counter) >= n {
			s.SetUint64(1)
		}
		return s
	})
	return taken
}

// Reduce is reduce, serialized.
func Reduce(b *[64]byte) [32]byte { return scalarBytes(reduce(b)) }

// SumOfProducts is sumOfProducts.
func SumOfProducts(s []group.Scalar, e []group.Element) group.Element { return sumOfProducts(s, e) }

// HashToGroup and Encode are for benchmarks.
func HashToGroup(b []byte) group.Element { return hashToGroup(b) }
func Encode(e group.Element) Element     { return encode(e) }

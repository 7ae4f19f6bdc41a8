package oprf

import "github.com/gtank/ristretto255"

// BlindWith is Blind with given blinds, for the vectors of the RFC.
func BlindWith(c *Client, inputs, blinds [][]byte, info []byte) (*Pending, []Element, error) {
	scalars := make([]ristretto255.Scalar, len(blinds))
	for i, b := range blinds {
		s, ok := parseScalar(b)
		if !ok {
			return nil, nil, ErrInput
		}
		scalars[i] = *s
	}
	p, err := blindWith(inputs, scalars, make([]ristretto255.Element, len(inputs)))
	if err != nil {
		return nil, nil, err
	}
	return c.begin(p, info)
}

// BlindEvaluateWith is BlindEvaluate with a given nonce, for the vectors of the
// RFC.
func BlindEvaluateWith(s *Server, req []Element, info, r []byte) ([]Element, Proof, error) {
	return s.blindEvaluate(req, info, func(*statement, *ristretto255.Scalar, *ristretto255.Scalar) *ristretto255.Scalar {
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
	_, proof, err = s.blindEvaluate(req, info, func(st *statement, skS, t *ristretto255.Scalar) *ristretto255.Scalar {
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
	firstNonZero(func(counter uint8) *ristretto255.Scalar {
		taken = int(counter)
		if int(counter) >= n {
			return one()
		}
		return ristretto255.NewScalar()
	})
	return taken
}

// Reduce is reduce, serialized.
func Reduce(b *[64]byte) [32]byte { return scalarBytes(reduce(b)) }

// SumsOfProducts is sumsOfProducts of serialized values.
func SumsOfProducts(s [][32]byte, lists ...[]Element) []Element {
	scalars := make([]ristretto255.Scalar, len(s))
	for i := range s {
		x, ok := parseScalar(s[i][:])
		if !ok {
			panic("not a scalar")
		}
		scalars[i] = *x
	}
	decoded := make([][]ristretto255.Element, len(lists))
	for i, l := range lists {
		decoded[i] = make([]ristretto255.Element, len(l))
		for j := range l {
			if _, err := decoded[i][j].SetCanonicalBytes(l[j][:]); err != nil {
				panic(err)
			}
		}
	}
	var out []Element
	for _, e := range sumsOfProducts(scalars, decoded...) {
		out = append(out, encode(&e))
	}
	return out
}

// Decode is decode, and encodes again.
func Decode(b Element) (again Element, ok bool) {
	var e ristretto255.Element
	if !decode(&e, (*[ElementSize]byte)(&b)) {
		return Element{}, false
	}
	return encode(&e), true
}

// ParseScalar is parseScalar, and serializes again.
func ParseScalar(b []byte) (again [32]byte, ok bool) {
	s, ok := parseScalar(b)
	if !ok {
		return again, false
	}
	return scalarBytes(s), true
}

// HashToGroup is hashTo, serialized.
func HashToGroup(msg []byte, dst string) Element {
	var e ristretto255.Element
	hashTo(&e, msg, dst)
	return encode(&e)
}

// HashToScalar is hashToScalar, serialized.
func HashToScalar(msg []byte) [32]byte { return scalarBytes(hashToScalar(msg)) }

// MaxTweaks is maxTweaks, and Tweaks how many s keeps now.
const MaxTweaks = maxTweaks

func Tweaks(s *Server) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.tweaks)
}

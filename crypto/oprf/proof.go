package oprf

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"

	"github.com/gtank/ristretto255"
)

// A statement is what a proof shows: one scalar k, with A = k*G, for which
// D[i] = k*C[i] for all i. In the POPRF k is the tweaked key t, C are the
// evaluated and D the blinded elements. All of it is public, and is sent or
// received in the clear, but for k.
type statement struct {
	a        Element
	c, d     []ristretto255.Element
	cEn, dEn []Element
}

// weights returns the scalars di of ComputeComposites, RFC 9497, Section 2.2.1.
// They are public: hashes of the elements.
func (st *statement) weights() []ristretto255.Scalar {
	// seed = Hash(I2OSP(len(Bm), 2) || Bm || I2OSP(len(seedDST), 2) || seedDST)
	seed := sha512.Sum512(appendVector(appendVector(nil, st.a[:]), []byte(dstSeed)))
	out := make([]ristretto255.Scalar, len(st.c))
	parallel(len(out), 32, func(i int) {
		// compositeTranscript = I2OSP(len(seed), 2) || seed || I2OSP(i, 2) ||
		//   I2OSP(len(Ci), 2) || Ci || I2OSP(len(Di), 2) || Di || "Composite"
		var buf [160]byte
		b := appendVector(buf[:0], seed[:])
		b = binary.BigEndian.AppendUint16(b, uint16(i))
		b = appendVector(b, st.cEn[i][:])
		b = appendVector(b, st.dEn[i][:])
		b = append(b, "Composite"...)
		out[i] = *hashToScalar(b)
	})
	return out
}

// challenge returns the challenge c for the values of a proof.
func (st *statement) challenge(m, z, t2, t3 *ristretto255.Element) *ristretto255.Scalar {
	var buf [192]byte
	b := appendVector(buf[:0], st.a[:])
	for _, e := range [...]*ristretto255.Element{m, z, t2, t3} {
		en := encode(e)
		b = appendVector(b, en[:])
	}
	b = append(b, "Challenge"...)
	return hashToScalar(b)
}

// prove implements GenerateProof, RFC 9497, Section 2.2.1. The nonce r must be
// secret, and never be used for another statement.
//
// Only the composites are computed in variable time, from elements that are sent
// and from their weights. What k and r multiply takes constant time.
func (st *statement) prove(k, r *ristretto255.Scalar) Proof {
	var m, z *ristretto255.Element
	if w := st.weights(); len(w) == 1 {
		mz := sumsOfProducts(w, st.c, st.d)
		m, z = &mz[0], &mz[1]
	} else {
		m = &sumsOfProducts(w, st.c)[0]
		z = ristretto255.NewIdentityElement().ScalarMult(k, m) // ComputeCompositesFast
	}
	var t2, t3 ristretto255.Element
	t2.ScalarBaseMult(r)
	t3.ScalarMult(r, m)
	c := st.challenge(m, z, &t2, &t3)
	var s ristretto255.Scalar
	s.Multiply(c, k)
	s.Subtract(r, &s)

	var p Proof
	cb, sb := scalarBytes(c), scalarBytes(&s)
	copy(p[:32], cb[:])
	copy(p[32:], sb[:])
	return p
}

// check implements VerifyProof, RFC 9497, Section 2.2.2. a is st.a decoded.
//
// It takes variable time. It knows no secret: a is a public key tweaked by a
// public info, the elements and the proof were sent in the clear, and whether
// the proof verifies is not hidden.
func (st *statement) check(a *ristretto255.Element, p *Proof) bool {
	c, ok1 := parseScalar(p[:32])
	s, ok2 := parseScalar(p[32:])
	if !ok1 || !ok2 {
		return false
	}
	mz := sumsOfProducts(st.weights(), st.c, st.d)
	m, z := &mz[0], &mz[1]

	// t2 = s*G + c*A, t3 = s*M + c*Z
	var t2, t3 ristretto255.Element
	t2.VarTimeDoubleScalarBaseMult(c, a, s)
	t3.VarTimeMultiScalarMult([]*ristretto255.Scalar{s, c}, []*ristretto255.Element{m, z})
	return st.challenge(m, z, &t2, &t3).Equal(c) == 1
}

// nonce returns the scalar r for one proof: HMAC-SHA-512, keyed with both secret
// scalars, over fresh bytes and the whole statement, reduced.
//
// If the random source repeats itself, equal statements get equal proofs and
// different ones unrelated nonces; if the key were known to nobody, fresh bytes
// alone would do. Either is enough.
func (st *statement) nonce(skS, t *ristretto255.Scalar, fresh *[64]byte) *ristretto255.Scalar {
	kb, tb := scalarBytes(skS), scalarBytes(t)
	h := hmac.New(sha512.New, append(kb[:], tb[:]...))
	h.Write([]byte("passerelle/oprf/v1 proof nonce"))
	h.Write(fresh[:])
	h.Write(st.a[:])
	for i := range st.cEn {
		h.Write(st.cEn[i][:])
		h.Write(st.dEn[i][:])
	}
	return reduce((*[64]byte)(h.Sum(nil)))
}

// freshNonce returns a nonce with bytes from crypto/rand, never zero.
func (st *statement) freshNonce(skS, t *ristretto255.Scalar) *ristretto255.Scalar {
	for {
		var fresh [64]byte
		rand.Read(fresh[:]) // never fails, see its documentation
		if r := st.nonce(skS, t, &fresh); !isZero(r) {
			return r
		}
	}
}

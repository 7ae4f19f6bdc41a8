package oprf

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"

	"github.com/cloudflare/circl/group"
)

// A statement is what a proof shows: one scalar k, with A = k*G, for which
// D[i] = k*C[i] for all i. In the POPRF k is the tweaked key t, C are the
// evaluated and D the blinded elements.
type statement struct {
	a        Element
	c, d     []group.Element
	cEn, dEn []Element
}

// weights returns the scalars di of ComputeComposites, RFC 9497, Section 2.2.1.
// They are public.
func (st *statement) weights() []group.Scalar {
	// seed = Hash(I2OSP(len(Bm), 2) || Bm || I2OSP(len(seedDST), 2) || seedDST)
	seed := sha512.Sum512(appendVector(appendVector(nil, st.a[:]), []byte(dstSeed)))
	prefix := appendVector(nil, seed[:])
	out := make([]group.Scalar, len(st.c))
	parallel(len(out), func(i int) {
		// compositeTranscript = I2OSP(len(seed), 2) || seed || I2OSP(i, 2) ||
		//   I2OSP(len(Ci), 2) || Ci || I2OSP(len(Di), 2) || Di || "Composite"
		b := make([]byte, 0, len(prefix)+2*(2+ElementSize)+2+9)
		b = append(b, prefix...)
		b = binary.BigEndian.AppendUint16(b, uint16(i))
		b = appendVector(b, st.cEn[i][:])
		b = appendVector(b, st.dEn[i][:])
		b = append(b, "Composite"...)
		out[i] = g.HashToScalar(b, []byte(dstHashToScalar))
	})
	return out
}

// challenge returns the challenge c for the values of a proof.
func (st *statement) challenge(m, z, t2, t3 group.Element) group.Scalar {
	b := appendVector(nil, st.a[:])
	for _, e := range []group.Element{m, z, t2, t3} {
		en := encode(e)
		b = appendVector(b, en[:])
	}
	b = append(b, "Challenge"...)
	return g.HashToScalar(b, []byte(dstHashToScalar))
}

// prove implements GenerateProof, RFC 9497, Section 2.2.1. The nonce r must be
// secret, and never be used for another statement.
func (st *statement) prove(k, r group.Scalar) Proof {
	m := sumOfProducts(st.weights(), st.c)
	z := g.NewElement().Mul(m, k) // ComputeCompositesFast
	t2 := g.NewElement().MulGen(r)
	t3 := g.NewElement().Mul(m, r)
	c := st.challenge(m, z, t2, t3)
	s := g.NewScalar().Mul(c, k)
	s.Sub(r, s)

	var p Proof
	cb, sb := scalarBytes(c), scalarBytes(s)
	copy(p[:32], cb[:])
	copy(p[32:], sb[:])
	return p
}

// check implements VerifyProof, RFC 9497, Section 2.2.2. a is st.a decoded.
func (st *statement) check(a group.Element, p *Proof) bool {
	c, ok1 := parseScalar(p[:32])
	s, ok2 := parseScalar(p[32:])
	if !ok1 || !ok2 {
		return false
	}
	w := st.weights()
	var mz [2]group.Element
	both := [2][]group.Element{st.c, st.d}
	done := make(chan struct{})
	go func() {
		mz[1] = sumOfProducts(w, both[1])
		close(done)
	}()
	mz[0] = sumOfProducts(w, both[0])
	<-done
	m, z := mz[0], mz[1]

	// t2 = s*G + c*A, t3 = s*M + c*Z
	t2 := g.NewElement().MulGen(s)
	t2.Add(t2, g.NewElement().Mul(a, c))
	t3 := g.NewElement().Mul(m, s)
	t3.Add(t3, g.NewElement().Mul(z, c))
	return st.challenge(m, z, t2, t3).IsEqual(c)
}

// nonce returns the scalar r for one proof: HMAC-SHA-512, keyed with both secret
// scalars, over fresh bytes and the whole statement, reduced.
//
// If the random source repeats itself, equal statements get equal proofs and
// different ones unrelated nonces; if the key were known to nobody, fresh bytes
// alone would do. Either is enough.
func (st *statement) nonce(skS, t group.Scalar, fresh *[64]byte) group.Scalar {
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
func (st *statement) freshNonce(skS, t group.Scalar) group.Scalar {
	for {
		var fresh [64]byte
		rand.Read(fresh[:]) // never fails, see its documentation
		if r := st.nonce(skS, t, &fresh); !r.IsZero() {
			return r
		}
	}
}

// sumOfProducts returns the sum of s[i]*e[i] in variable time. Its arguments
// must be public.
//
// It is the bucket method of Pippenger: for each window of w bits, elements are
// added up by digit, and the sums weighted by running addition.
func sumOfProducts(s []group.Scalar, e []group.Element) group.Element {
	sum := g.Identity()
	if len(s) < 6 {
		for i := range s {
			sum.Add(sum, g.NewElement().Mul(e[i], s[i]))
		}
		return sum
	}
	const bits = 253 // of a reduced scalar
	w, cost := 1, 1<<62
	for try := 2; try <= 12; try++ {
		if c := (bits + try - 1) / try * (len(s) + 2<<try); c < cost {
			w, cost = try, c
		}
	}
	digits := make([][32]byte, len(s))
	for i := range s {
		digits[i] = scalarBytes(s[i])
	}
	buckets := make([]group.Element, 1<<w) // buckets[0] is not used
	for i := range buckets {
		buckets[i] = g.NewElement()
	}
	used := make([]bool, len(buckets))
	zero := g.Identity()
	running, part := g.NewElement(), g.NewElement()
	for win := (bits+w-1)/w - 1; win >= 0; win-- {
		for range w {
			sum.Dbl(sum)
		}
		clear(used)
		for i := range e {
			d := digit(&digits[i], win*w, w)
			switch {
			case d == 0:
			case used[d]:
				buckets[d].Add(buckets[d], e[i])
			default:
				buckets[d].Set(e[i])
				used[d] = true
			}
		}
		running.Set(zero)
		part.Set(zero)
		for d := len(buckets) - 1; d > 0; d-- {
			if used[d] {
				running.Add(running, buckets[d])
			}
			part.Add(part, running)
		}
		sum.Add(sum, part)
	}
	return sum
}

// digit returns w bits of the little-endian number b, from bit at.
func digit(b *[32]byte, at, w int) int {
	var v uint32
	for i := range 3 {
		if j := at/8 + i; j < len(b) {
			v |= uint32(b[j]) << (8 * i)
		}
	}
	return int(v>>(at%8)) & (1<<w - 1)
}

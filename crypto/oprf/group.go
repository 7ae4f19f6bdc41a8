package oprf

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/gtank/ristretto255"
)

const (
	dstHashToGroup  = "HashToGroup-OPRFV1-\x02-ristretto255-SHA512"
	dstHashToScalar = "HashToScalar-OPRFV1-\x02-ristretto255-SHA512"
	dstSeed         = "Seed-OPRFV1-\x02-ristretto255-SHA512"
	dstDummy        = "passerelle-dummy-v1-ristretto255-SHA512"
)

// decode rejects encodings that are not canonical and the identity element, as
// required of DeserializeElement by RFC 9497, Section 2.1. b is public: how long
// decode takes depends on whether and why it rejects.
func decode(e *ristretto255.Element, b *[ElementSize]byte) bool {
	// The canonical encoding of the identity is all zeros.
	if *b == [ElementSize]byte{} {
		return false
	}
	_, err := e.SetCanonicalBytes(b[:])
	return err == nil
}

// decodeAll decodes a batch of the peer.
func decodeAll(in []Element) ([]ristretto255.Element, error) {
	n := len(in)
	if n == 0 || n > MaxBatch {
		return nil, fmt.Errorf("%w: batch of %d elements", ErrMessage, n)
	}
	out := make([]ristretto255.Element, n)
	var bad atomic.Int64 // the lowest index of one that is rejected
	bad.Store(int64(n))
	parallel(n, 16, func(i int) {
		if decode(&out[i], (*[ElementSize]byte)(&in[i])) {
			return
		}
		for {
			if b := bad.Load(); int64(i) >= b || bad.CompareAndSwap(b, int64(i)) {
				return
			}
		}
	})
	if b := int(bad.Load()); b < n {
		return nil, fmt.Errorf("%w: element %d", ErrMessage, b)
	}
	return out, nil
}

// encode serializes an element.
func encode(e *ristretto255.Element) Element { return Element(e.Bytes()) }

// isIdentity reports whether e is the identity element.
func isIdentity(e *ristretto255.Element) bool {
	return e.Equal(ristretto255.NewIdentityElement()) == 1
}

// scalarBytes serializes a scalar.
func scalarBytes(s *ristretto255.Scalar) [32]byte { return [32]byte(s.Bytes()) }

// parseScalar rejects encodings that are not canonical. Its time shows up to which
// byte, from the highest, b equals the group order. For all but one in 2^127
// scalars that is none, so that nothing of a key is shown.
func parseScalar(b []byte) (*ristretto255.Scalar, bool) {
	s, err := ristretto255.NewScalar().SetCanonicalBytes(b)
	return s, err == nil
}

// isZero reports whether s is zero.
func isZero(s *ristretto255.Scalar) bool { return s.Equal(ristretto255.NewScalar()) == 1 }

// one returns the scalar 1.
func one() *ristretto255.Scalar {
	s, ok := parseScalar(append([]byte{1}, make([]byte, 31)...))
	if !ok {
		panic("oprf: internal error: 1 is not reduced")
	}
	return s
}

// reduce returns the little-endian number b modulo the group order.
func reduce(b *[64]byte) *ristretto255.Scalar {
	s, err := ristretto255.NewScalar().SetUniformBytes(b[:])
	if err != nil {
		panic("oprf: internal error: " + err.Error())
	}
	return s
}

// invertAll replaces each of the non-zero scalars by its inverse, with one
// inversion for all (Montgomery's trick).
func invertAll(s []ristretto255.Scalar) {
	if len(s) == 0 {
		return
	}
	// prefix[i] = s[0] * ... * s[i]
	prefix := make([]ristretto255.Scalar, len(s))
	prefix[0] = s[0]
	for i := 1; i < len(s); i++ {
		prefix[i].Multiply(&prefix[i-1], &s[i])
	}
	var inv, x ristretto255.Scalar
	inv.Invert(&prefix[len(s)-1])
	for i := len(s) - 1; i > 0; i-- {
		x.Multiply(&inv, &prefix[i-1])
		inv.Multiply(&inv, &s[i])
		s[i] = x
	}
	s[0] = inv
}

// expand64 implements expand_message_xmd with SHA-512, RFC 9380, Section 5.3.1,
// for 64 bytes, which are one block. dst is at most 255 bytes long.
func expand64(msg []byte, dst string) [64]byte {
	var buf [768]byte // longer messages go to the heap
	// msg_prime = Z_pad || msg || I2OSP(64, 2) || I2OSP(0, 1) || DST_prime
	b := append(buf[:sha512.BlockSize], msg...)
	b = append(b, 0, 64, 0)
	b = append(b, dst...)
	b = append(b, byte(len(dst)))
	b0 := sha512.Sum512(b)
	// b_1 = H(b_0 || I2OSP(1, 1) || DST_prime)
	b = append(buf[:0], b0[:]...)
	b = append(b, 1)
	b = append(b, dst...)
	b = append(b, byte(len(dst)))
	return sha512.Sum512(b)
}

// hashTo sets e to hash_to_ristretto255, RFC 9380, Appendix B.
func hashTo(e *ristretto255.Element, msg []byte, dst string) {
	uniform := expand64(msg, dst)
	if _, err := e.SetUniformBytes(uniform[:]); err != nil {
		panic("oprf: internal error: " + err.Error())
	}
}

// hashToGroup implements HashToGroup, RFC 9497, Section 4.1.
func hashToGroup(e *ristretto255.Element, input []byte) { hashTo(e, input, dstHashToGroup) }

// hashToScalar implements HashToScalar, RFC 9497, Section 4.1.
func hashToScalar(msg []byte) *ristretto255.Scalar {
	uniform := expand64(msg, dstHashToScalar)
	return reduce(&uniform)
}

// infoScalar returns m of RFC 9497, Section 3.3.3.
func infoScalar(info []byte) *ristretto255.Scalar {
	// framedInfo = "Info" || I2OSP(len(info), 2) || info
	// m = G.HashToScalar(framedInfo)
	return hashToScalar(appendVector([]byte("Info"), info))
}

// finalize returns the PRF output for an input and its unblinded element.
func finalize(input, info []byte, unblinded Element) Output {
	var buf [512]byte // longer ones go to the heap
	b := appendVector(buf[:0], input)
	b = appendVector(b, info)
	b = appendVector(b, unblinded[:])
	b = append(b, "Finalize"...)
	return sha512.Sum512(b)
}

// appendVector appends I2OSP(len(v), 2) || v.
func appendVector(b, v []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}

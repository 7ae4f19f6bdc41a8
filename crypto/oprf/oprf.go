// Package oprf implements the partially oblivious pseudorandom function (POPRF)
// of [RFC 9497], mode 0x02, with the one ciphersuite ristretto255-SHA512.
//
//	Client(pkS, info)                                 Server(skS, info)
//	pending, elements := Blind(inputs, seed, context)
//	                       elements  ---------->
//	                            evaluated, proof := BlindEvaluate(elements, info)
//	                       <----------  evaluated, proof
//	outputs := pending.Finalize(evaluated, proof)
//
// The server learns the public info and the number of elements, nothing else
// about inputs or outputs. The client learns the outputs, and that they were
// computed with the key it expects and for this info. Who holds skS can compute
// every output with [Server.Evaluate].
//
// # Blinds
//
// Unlike the RFC, blinds are not drawn at random but derived from a [Seed], so
// that an auditor who is given inputs and seed recomputes every byte of a
// request. So the secrecy of inputs is computational (it rests on HKDF-SHA-512
// and on the seed) where that of the RFC is unconditional. With
//
//	prk     = HKDF-Extract(salt = "passerelle/oprf/v1", seed)
//	context = u8(len label) || label || query_id[16] || u16(len holder) || holder
//	          || u16(len info) || info || u32(chunk) || u32(index) || u8(counter)
//
// the blind of the element with an index is the 64 bytes HKDF-Expand(prk, context
// with label "blind", 64), read as a little-endian number modulo the group order.
// A zero is rejected and the next counter taken, from 0. A dummy element is
// HashToGroup(HKDF-Expand(prk, context with label "dummy", 64)) with the tag
// "passerelle-dummy-v1-ristretto255-SHA512", and its blind is one. Integers are
// big-endian.
//
// # Proofs
//
// The proof nonce is HMAC-SHA-512, keyed with both secret scalars, over 64 fresh
// bytes of crypto/rand and the whole transcript: neither a broken random source
// nor a replayed request gives two challenges for one nonce.
//
// # Implementation
//
// The group is circl's. The protocol is written here, over circl's group, for
// three reasons: circl draws the proof nonce from crypto/rand alone, does not
// reject the identity element on the server, and multiplies each element of a
// proof separately where a multi-scalar multiplication over public scalars is
// several times faster. Tests hold this package to the vectors of the RFC and, in
// both directions, to circl's own POPRF.
//
// Operations on keys, blinds and inputs are constant time, as far as the source
// of circl v1.6.5 (group/ristretto255.go) and of bwesterb/go-ristretto v1.2.4
// shows it: multiplication scans its whole table, and neither field, scalar nor
// Elligator code branches on a value or indexes by it. Only the multi-scalar
// multiplication is variable time; all of its arguments are sent or received in
// the clear. The sizes of batches and the lengths of inputs are not hidden.
// Secrets are not erased from memory.
//
// All types may be used concurrently. A batch uses several goroutines.
//
// What an input is, how often a client may ask, and how keys are stored are out
// of scope.
//
// [RFC 9497]: https://www.rfc-editor.org/rfc/rfc9497.html
package oprf

import (
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cloudflare/circl/group"
)

const (
	ElementSize    = 32     // Ne, RFC 9497, Section 4.1, bytes
	ProofSize      = 2 * 32 // 2*Ns, bytes
	OutputSize     = 64     // Nh, bytes
	PublicKeySize  = 32     // Ne, bytes
	PrivateKeySize = 32     // Ns, bytes
	SeedSize       = 32     // bytes
	MaxInputSize   = 512    // bytes; the RFC allows more, we do not need it
	MaxInfoSize    = 1024   // bytes; the RFC allows more, we do not need it
	MaxHolderSize  = 255    // bytes of BlindContext.Holder
	MaxBatch       = 1024   // elements under one proof
)

var (
	// ErrInput is returned for an input, an info, a context or a batch of the
	// caller's own that is outside the documented limits. It covers
	// InvalidInputError of RFC 9497, Section 5.3.
	ErrInput = errors.New("oprf: invalid input")

	// ErrKey is returned for bytes that are not a key.
	ErrKey = errors.New("oprf: invalid key")

	// ErrMessage is returned for a malformed message of the peer. It covers
	// DeserializeError and InputValidationError of RFC 9497, Section 5.3.
	ErrMessage = errors.New("oprf: malformed message")

	// ErrVerify is returned when the server's proof does not verify. It is
	// VerifyError of RFC 9497, Section 5.3. The peer must not be trusted further.
	ErrVerify = errors.New("oprf: proof verification failed")

	// ErrInverse is returned for an info for which the key has no inverse. It is
	// InverseError of RFC 9497, Section 5.3: whoever chose the info is to be
	// assumed to know the private key, which must be replaced.
	ErrInverse = errors.New("oprf: the key has no inverse for this info")
)

// An Element is a serialized group element.
type Element [ElementSize]byte

// A Proof is a serialized proof for one batch.
type Proof [ProofSize]byte

// An Output is a PRF output. It is secret: who has the output of a key can find
// the key by trying likely ones only with the server's help, but can look it up
// in every set that was built with the same key and info.
type Output [OutputSize]byte

const (
	dstHashToGroup  = "HashToGroup-OPRFV1-\x02-ristretto255-SHA512"
	dstHashToScalar = "HashToScalar-OPRFV1-\x02-ristretto255-SHA512"
	dstSeed         = "Seed-OPRFV1-\x02-ristretto255-SHA512"
	dstDummy        = "passerelle-dummy-v1-ristretto255-SHA512"
)

// g is the group; its methods have no state.
var g = group.Ristretto255

// decode rejects encodings that are not canonical and the identity element, as
// required of DeserializeElement by RFC 9497, Section 2.1.
func decode(b *[ElementSize]byte) (group.Element, bool) {
	e := g.NewElement()
	if err := e.UnmarshalBinary(b[:]); err != nil || e.IsIdentity() {
		return nil, false
	}
	return e, true
}

// decodeAll decodes a batch of the peer.
func decodeAll(in []Element) ([]group.Element, error) {
	if n := len(in); n == 0 || n > MaxBatch {
		return nil, fmt.Errorf("%w: batch of %d elements", ErrMessage, n)
	}
	out := make([]group.Element, len(in))
	var bad atomic.Bool
	parallel(len(in), func(i int) {
		e, ok := decode((*[ElementSize]byte)(&in[i]))
		if !ok {
			bad.Store(true)
			return
		}
		out[i] = e
	})
	if bad.Load() {
		for i, e := range out {
			if e == nil {
				return nil, fmt.Errorf("%w: element %d", ErrMessage, i)
			}
		}
	}
	return out, nil
}

// encode serializes an element.
func encode(e group.Element) Element {
	b, err := e.MarshalBinaryCompress()
	if err != nil {
		panic("oprf: internal error: " + err.Error())
	}
	return Element(b)
}

// scalarBytes serializes a scalar.
func scalarBytes(s group.Scalar) [32]byte {
	b, err := s.MarshalBinary()
	if err != nil {
		panic("oprf: internal error: " + err.Error())
	}
	return [32]byte(b)
}

// parseScalar rejects encodings that are not canonical.
func parseScalar(b []byte) (group.Scalar, bool) {
	s := g.NewScalar()
	if err := s.UnmarshalBinary(b); err != nil {
		return nil, false
	}
	return s, true
}

// two248 is 2^248, which is below the group order.
var two248 = chunkScalar(append(make([]byte, 31), 1))

// chunkScalar returns the scalar of a little-endian number below 2^249.
func chunkScalar(b []byte) group.Scalar {
	var buf [32]byte
	copy(buf[:], b)
	s, ok := parseScalar(buf[:])
	if !ok {
		panic("oprf: internal error: chunk is not reduced")
	}
	return s
}

// reduce returns the little-endian number b modulo the group order.
//
// circl does not export its reduction of 64 bytes. Limbs of 31 bytes are below
// the order, so that parsing them takes the same time whatever they hold.
func reduce(b *[64]byte) group.Scalar {
	s := chunkScalar(b[62:])
	s.Mul(s, two248)
	s.Add(s, chunkScalar(b[31:62]))
	s.Mul(s, two248)
	return s.Add(s, chunkScalar(b[:31]))
}

// invertAll replaces each of the non-zero scalars by its inverse, with one
// inversion for all (Montgomery's trick).
func invertAll(s []group.Scalar) {
	if len(s) == 0 {
		return
	}
	// prefix[i] = s[0] * ... * s[i]
	prefix := make([]group.Scalar, len(s))
	prefix[0] = s[0].Copy()
	for i := 1; i < len(s); i++ {
		prefix[i] = g.NewScalar().Mul(prefix[i-1], s[i])
	}
	inv := g.NewScalar().Inv(prefix[len(s)-1])
	for i := len(s) - 1; i > 0; i-- {
		x := g.NewScalar().Mul(inv, prefix[i-1])
		inv.Mul(inv, s[i])
		s[i] = x
	}
	s[0] = inv
}

// hashToGroup implements HashToGroup, RFC 9497, Section 4.1.
func hashToGroup(input []byte) group.Element {
	return g.HashToElement(input, []byte(dstHashToGroup))
}

// infoScalar returns m of RFC 9497, Section 3.3.3.
func infoScalar(info []byte) group.Scalar {
	// framedInfo = "Info" || I2OSP(len(info), 2) || info
	framed := appendVector([]byte("Info"), info)
	// m = G.HashToScalar(framedInfo)
	return g.HashToScalar(framed, []byte(dstHashToScalar))
}

// finalize returns the PRF output for an input and its unblinded element.
func finalize(input, info []byte, unblinded Element) Output {
	b := make([]byte, 0, 6+len(input)+len(info)+ElementSize+8)
	b = appendVector(b, input)
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

func checkInput(in []byte) error {
	if n := len(in); n == 0 || n > MaxInputSize {
		return fmt.Errorf("%w: input of %d bytes", ErrInput, n)
	}
	return nil
}

// checkInfo also refuses the empty info, which the RFC allows: with us it can
// only be a mistake that would let two collections share their outputs.
func checkInfo(info []byte) error {
	if n := len(info); n == 0 || n > MaxInfoSize {
		return fmt.Errorf("%w: info of %d bytes", ErrInput, n)
	}
	return nil
}

// parallel calls f for each index below n, on as many goroutines as may run.
// An operation takes tens of microseconds, so small batches stay on this one.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n/4)
	if workers < 2 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

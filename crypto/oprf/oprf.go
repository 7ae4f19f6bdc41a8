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
// The group is github.com/gtank/ristretto255, over filippo.io/edwards25519: its
// multiplication and inversion are faster than those of circl, which has a POPRF
// too, and it has variable-time multiplications for what is public. The protocol
// is written here, because circl draws the proof nonce from crypto/rand alone,
// does not reject the identity element on the server, and multiplies each element
// of a proof separately. Tests hold this package to the vectors of the RFC, to
// circl's group and encodings, and, in both directions, to circl's POPRF.
//
// Operations on keys, blinds, nonces and inputs are constant time, as far as the
// source of gtank/ristretto255 v0.2.0 and of filippo.io/edwards25519 v1.2.0 shows
// it: multiplication scans its whole table, and neither field, scalar nor map code
// branches on a value or indexes by it, but for what parseScalar says.
//
// Three things are variable time, and see public values only: decoding elements,
// which come from the wire; the composites of a proof, made of elements that are
// sent and of hashes of these; and the whole check of a proof, which uses public
// key, info, elements and proof. Who observes their time learns what was sent in
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
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
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

// parallel calls f for each index below n, on as many goroutines as may run, this
// one among them, if each has at least share indexes to do. Callers choose share
// for some tens of microseconds. A batch of one stays on this goroutine, because
// a lookup is several such batches at once.
func parallel(n, share int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n/share)
	if workers < 2 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	step := max(1, n/(8*workers))
	work := func() {
		for {
			end := int(next.Add(int64(step)))
			if end-step >= n {
				return
			}
			for i := end - step; i < min(end, n); i++ {
				f(i)
			}
		}
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

package oprf

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/gtank/ristretto255"
)

// A Client asks the server that has the private key of one public key.
type Client struct {
	pk   *ristretto255.Element
	last atomic.Pointer[tweakedKey] // for the info used last: a tag set has one
}

// A tweakedKey is a public key tweaked for one info. It is public.
type tweakedKey struct {
	info    []byte
	key     ristretto255.Element // m*G + pkS
	encoded Element
}

// NewClient returns a Client for pk. It returns an error wrapping [ErrKey] if pk
// is not a public key.
func NewClient(pk PublicKey) (*Client, error) {
	e := new(ristretto255.Element)
	if !decode(e, (*[ElementSize]byte)(&pk)) {
		return nil, fmt.Errorf("%w: public key is not a group element", ErrKey)
	}
	return &Client{pk: e}, nil
}

// A BlindContext names the place of one batch. Together with the Seed and the
// index in the batch it decides each blind, so it must be different for any two
// batches under the same seed.
type BlindContext struct {
	// QueryID is the identifier of the query.
	QueryID [16]byte

	// Holder names who will evaluate, 1 to MaxHolderSize bytes.
	Holder string

	// Info is the public info of the POPRF, 1 to MaxInfoSize bytes.
	Info []byte

	// Chunk is the position of the batch among those of the same query and info.
	Chunk uint32
}

// A Pending holds the inputs and blinds of one batch until its answer arrives.
// It is secret, and it never leaves the client. It may be used more than once.
type Pending struct {
	// state is a function for the reasons given at PrivateKey.
	state func() *pending
}

type pending struct {
	tweaked *tweakedKey
	inputs  [][]byte // nil is a dummy
	blinds  []ristretto255.Scalar
	sent    []ristretto255.Element // public, as is sentEn
	sentEn  []Element
}

// Format prints a fixed text for every verb.
func (p *Pending) Format(f fmt.State, _ rune) { io.WriteString(f, "oprf.Pending(hidden)") }

// MarshalText returns a fixed text, for log/slog and encoding/json.
func (p *Pending) MarshalText() ([]byte, error) { return []byte("hidden"), nil }

// Blind blinds 1 to MaxBatch inputs, each of 1 to MaxInputSize bytes, and returns
// the elements to send, in input order. A nil input is a dummy: it gets an
// element that the server cannot tell from a blinded one. Blind does not keep or
// modify its arguments.
//
// The elements are a function of the arguments. Callers must not use a seed and
// context for other inputs than the first time.
//
// It returns an error wrapping [ErrInput] for anything outside the limits.
//
// Blind implements Blind, RFC 9497, Section 3.3.3, but for the choice of blinds,
// see the package comment.
func (c *Client) Blind(inputs [][]byte, seed Seed, bc BlindContext) (*Pending, []Element, error) {
	bl, err := blindAll(inputs, seed, bc)
	if err != nil {
		return nil, nil, err
	}
	return c.begin(bl, bc.Info)
}

// Recompute returns the elements that [Client.Blind] returns for the same
// arguments. It is for auditors, who have no use for the answer.
func Recompute(inputs [][]byte, seed Seed, bc BlindContext) ([]Element, error) {
	bl, err := blindAll(inputs, seed, bc)
	if err != nil {
		return nil, err
	}
	return bl.sentEn, nil
}

// begin completes bl with the key that the answer must be for.
func (c *Client) begin(bl *pending, info []byte) (*Pending, []Element, error) {
	var err error
	if bl.tweaked, err = c.tweak(info); err != nil {
		return nil, nil, err
	}
	elements := append([]Element(nil), bl.sentEn...)
	return &Pending{state: func() *pending { return bl }}, elements, nil
}

// tweak returns the key for info.
func (c *Client) tweak(info []byte) (*tweakedKey, error) {
	if tw := c.last.Load(); tw != nil && bytes.Equal(tw.info, info) {
		return tw, nil
	}
	// T = G.ScalarBaseMult(m); tweakedKey = T + pkS
	tw := &tweakedKey{info: append([]byte(nil), info...)}
	tw.key.ScalarBaseMult(infoScalar(info))
	tw.key.Add(&tw.key, c.pk)
	if isIdentity(&tw.key) {
		return nil, fmt.Errorf("%w: info cancels the key", ErrInput)
	}
	tw.encoded = encode(&tw.key)
	c.last.Store(tw)
	return tw, nil
}

// blindAll checks the arguments of Blind, derives the blinds and blinds.
func blindAll(inputs [][]byte, seed Seed, bc BlindContext) (*pending, error) {
	if n := len(inputs); n == 0 || n > MaxBatch {
		return nil, fmt.Errorf("%w: batch of %d inputs", ErrInput, n)
	}
	for i, in := range inputs {
		if in == nil {
			continue
		}
		if err := checkInput(in); err != nil {
			return nil, fmt.Errorf("%w at index %d", err, i)
		}
	}
	if n := len(bc.Holder); n == 0 || n > MaxHolderSize {
		return nil, fmt.Errorf("%w: holder of %d bytes", ErrInput, n)
	}
	if err := checkInfo(bc.Info); err != nil {
		return nil, err
	}
	if seed.b == nil {
		return nil, fmt.Errorf("%w: no seed", ErrInput)
	}
	d := newDeriver(seed, bc)
	blinds := make([]ristretto255.Scalar, len(inputs))
	elements := make([]ristretto255.Element, len(inputs))
	parallel(len(inputs), 8, func(i int) {
		if inputs[i] == nil {
			blinds[i] = *one()
			elements[i] = *d.dummy(uint32(i))
			return
		}
		blinds[i] = *d.blind(uint32(i))
	})
	return blindWith(inputs, blinds, elements)
}

// blindWith blinds with the given blinds. elements holds the dummies.
func blindWith(inputs [][]byte, blinds []ristretto255.Scalar, elements []ristretto255.Element) (*pending, error) {
	p := &pending{
		inputs: make([][]byte, len(inputs)),
		blinds: blinds,
		sent:   elements,
		sentEn: make([]Element, len(inputs)),
	}
	var bad atomic.Bool
	parallel(len(inputs), 2, func(i int) {
		if inputs[i] != nil {
			p.inputs[i] = append([]byte(nil), inputs[i]...)
			// P = G.HashToGroup(input); if P == G.Identity(): raise InvalidInputError
			e := &elements[i]
			hashToGroup(e, inputs[i])
			if isIdentity(e) {
				bad.Store(true)
			}
			e.ScalarMult(&blinds[i], e)
		}
		p.sentEn[i] = encode(&elements[i])
	})
	if bad.Load() {
		return nil, fmt.Errorf("%w: an input hashes to the identity", ErrInput)
	}
	return p, nil
}

// A deriver makes the blinds and dummies of one batch.
type deriver struct {
	prk []byte
	ctx []byte // context after the label, up to the chunk
}

func newDeriver(seed Seed, bc BlindContext) *deriver {
	s := seed.b()
	prk, err := hkdf.Extract(sha512.New, s[:], []byte("passerelle/oprf/v1"))
	if err != nil {
		panic("oprf: internal error: " + err.Error())
	}
	ctx := append([]byte(nil), bc.QueryID[:]...)
	ctx = appendVector(ctx, []byte(bc.Holder))
	ctx = appendVector(ctx, bc.Info)
	ctx = binary.BigEndian.AppendUint32(ctx, bc.Chunk)
	return &deriver{prk: prk, ctx: ctx}
}

// expand returns 64 bytes for a label, an index and a counter.
func (d *deriver) expand(label string, index uint32, counter uint8) *[64]byte {
	b := make([]byte, 0, 1+len(label)+len(d.ctx)+5)
	b = append(b, byte(len(label)))
	b = append(b, label...)
	b = append(b, d.ctx...)
	b = binary.BigEndian.AppendUint32(b, index)
	b = append(b, counter)
	out, err := hkdf.Expand(sha512.New, d.prk, string(b), 64)
	if err != nil {
		panic("oprf: internal error: " + err.Error())
	}
	return (*[64]byte)(out)
}

// blind returns the blind of one element.
func (d *deriver) blind(index uint32) *ristretto255.Scalar {
	return firstNonZero(func(counter uint8) *ristretto255.Scalar {
		return reduce(d.expand("blind", index, counter))
	})
}

// firstNonZero tries the counters from 0. That all 256 give zero has a
// probability of 2^-64000.
func firstNonZero(try func(counter uint8) *ristretto255.Scalar) *ristretto255.Scalar {
	for counter := range 256 {
		if s := try(uint8(counter)); !isZero(s) {
			return s
		}
	}
	panic("oprf: internal error: every blind is zero")
}

// dummy returns a dummy element.
func (d *deriver) dummy(index uint32) *ristretto255.Element {
	e := new(ristretto255.Element)
	for counter := range 256 {
		hashTo(e, d.expand("dummy", index, uint8(counter))[:], dstDummy)
		if !isIdentity(e) {
			return e
		}
	}
	panic("oprf: internal error: every dummy is the identity")
}

// Finalize checks the answer and returns one Output per input, in input order.
// The Output of a dummy is zero. evaluated is not modified.
//
// It returns an error wrapping [ErrMessage] if the number of elements is not that
// of the batch or one is not canonical or is the identity, and [ErrVerify] if the
// proof is wrong in any way; and then no outputs at all, not even for the
// elements that were well formed.
//
// Finalize implements Finalize, RFC 9497, Section 3.3.3.
func (p *Pending) Finalize(evaluated []Element, proof Proof) ([]Output, error) {
	st := p.state()
	if len(evaluated) != len(st.inputs) {
		return nil, fmt.Errorf("%w: %d elements for %d inputs", ErrMessage, len(evaluated), len(st.inputs))
	}
	els, err := decodeAll(evaluated)
	if err != nil {
		return nil, err
	}
	claim := &statement{a: st.tweaked.encoded, c: els, d: st.sent, cEn: evaluated, dEn: st.sentEn}
	if !claim.check(&st.tweaked.key, &proof) {
		return nil, ErrVerify
	}
	inverse := append([]ristretto255.Scalar(nil), st.blinds...)
	invertAll(inverse)
	out := make([]Output, len(els))
	parallel(len(els), 2, func(i int) {
		if st.inputs[i] == nil {
			return
		}
		n := els[i].ScalarMult(&inverse[i], &els[i])
		out[i] = finalize(st.inputs[i], st.tweaked.info, encode(n))
	})
	return out, nil
}

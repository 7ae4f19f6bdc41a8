package psi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// LabelSize is the size of an encoded Label, in bytes.
const LabelSize = 16

// A Handle stands for one record. Handles are random and independent for each
// asker, collection and epoch, so they link nothing. The zero Handle is invalid.
type Handle [8]byte

// GenerateHandle makes a new handle from crypto/rand.
func GenerateHandle() Handle {
	for {
		var h Handle
		rand.Read(h[:]) // never fails, see its documentation
		if h != (Handle{}) {
			return h
		}
	}
}

// A Label is what the asker learns about a record whose key it knows.
type Label struct {
	// Handle stands for the record.
	Handle Handle

	// Weight is the evidence that this key is for this record, in the unit of the
	// normalisation version.
	Weight uint16

	// Kind and Instruction are codes of the agreement for the kind of alert and
	// what to do. Zero is none.
	Kind, Instruction uint8
}

// bytes returns the encoding of l before it is masked:
//
//	struct {
//	    opaque handle[8];
//	    uint16 weight;
//	    uint8  kind;
//	    uint8  instruction;
//	    opaque check[4] = 0;
//	} Label;
func (l Label) bytes() (b [LabelSize]byte) {
	copy(b[:8], l.Handle[:])
	binary.BigEndian.PutUint16(b[8:], l.Weight)
	b[10], b[11] = l.Kind, l.Instruction
	return b
}

// parseLabel returns false if b is not the encoding of a Label.
func parseLabel(b *[LabelSize]byte) (Label, bool) {
	if binary.BigEndian.Uint32(b[12:]) != 0 {
		return Label{}, false
	}
	l := Label{
		Handle:      Handle(b[:8]),
		Weight:      binary.BigEndian.Uint16(b[8:]),
		Kind:        b[10],
		Instruction: b[11],
	}
	return l, l.Handle != Handle{}
}

// An expander makes the tags and pads of one key: it is HKDF-Expand for outputs
// of at most one block, without setting up HMAC for each.
type expander struct {
	h   hash.Hash
	buf []byte
	out []byte
}

func newExpander(key []byte) *expander {
	return &expander{h: hmac.New(sha256.New, key), buf: make([]byte, 0, 64), out: make([]byte, 0, 32)}
}

func newOutputExpander(f *oprf.Output) *expander { return newExpander(f[:]) }

// block returns T(1) = HMAC(key, info || 0x01), RFC 5869, Section 2.3. It is
// valid until the next call.
func (x *expander) block(info []byte) []byte {
	x.h.Reset()
	x.h.Write(info)
	x.h.Write([]byte{1})
	x.out = x.h.Sum(x.out[:0])
	return x.out
}

// tag writes tag_j of bits bits to dst.
func (x *expander) tag(dst []byte, j, bits int) {
	x.buf = append(append(x.buf[:0], "passerelle/psi/v1 tag"...), byte(j))
	truncate(dst, x.block(x.buf), bits)
}

// decoy writes the decoy tag with a number to dst.
func (x *expander) decoy(dst []byte, number uint32, bits int) {
	x.buf = append(x.buf[:0], "passerelle/psi/v1 decoy"...)
	x.buf = binary.BigEndian.AppendUint32(x.buf, number)
	truncate(dst, x.block(x.buf), bits)
}

// mask XORs the pad of label_j into b.
func (x *expander) mask(b *[LabelSize]byte, j int, nonce *[16]byte) {
	x.buf = append(append(x.buf[:0], "passerelle/psi/v1 label"...), byte(j))
	x.buf = append(x.buf, nonce[:]...)
	pad := x.block(x.buf)
	for i := range b {
		b[i] ^= pad[i]
	}
}

// truncate copies a number of bits to dst, which has just enough bytes for them.
func truncate(dst, src []byte, bits int) {
	copy(dst, src)
	dst[0] &= 0xff >> (8*len(dst) - bits)
}

package psi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

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

// An expander makes the tags and pads of one output: it is HKDF-Expand for outputs
// of at most one block, in memory of its own, so that a lookup allocates nothing.
type expander struct {
	inner [sha256.BlockSize + 64]byte          // the key with ipad, and the message
	outer [sha256.BlockSize + sha256.Size]byte // the key with opad, and the inner hash
}

// An output fills one block of SHA-256: as a key of HMAC it is neither hashed nor
// padded, RFC 2104, Section 2.
var _ [sha256.BlockSize]byte = oprf.Output{}

// set makes x the expander of f.
func (x *expander) set(f *oprf.Output) {
	for i, b := range f {
		x.inner[i], x.outer[i] = b^0x36, b^0x5c
	}
}

// block returns T(1) = HMAC(key, info || 0x01), RFC 5869, Section 2.3, where info
// is label || suffix and has at most 63 bytes.
func (x *expander) block(label string, suffix []byte) [sha256.Size]byte {
	n := sha256.BlockSize
	n += copy(x.inner[n:], label)
	n += copy(x.inner[n:], suffix)
	x.inner[n] = 1
	h := sha256.Sum256(x.inner[:n+1])
	copy(x.outer[sha256.BlockSize:], h[:])
	return sha256.Sum256(x.outer[:])
}

// tag returns tag_j for a set of count tags.
func (x *expander) tag(j int, count uint32, restBits int) tag {
	return newTag(x.block("passerelle/psi/v1 tag", []byte{byte(j)}), count, restBits)
}

// decoy returns the decoy tag with a number.
func (x *expander) decoy(number uint32, count uint32, restBits int) tag {
	var suffix [4]byte
	binary.BigEndian.PutUint32(suffix[:], number)
	return newTag(x.block("passerelle/psi/v1 decoy", suffix[:]), count, restBits)
}

// newTag spreads outputs evenly over the buckets of a set, and the rests in them.
func newTag(output [sha256.Size]byte, count uint32, restBits int) tag {
	bucket, _ := bits.Mul64(binary.BigEndian.Uint64(output[:]), uint64(count))
	return tag{uint32(bucket), binary.BigEndian.Uint64(output[8:]) >> (64 - restBits)}
}

// mask XORs the pad of label_j into b.
func (x *expander) mask(b *[LabelSize]byte, j int, nonce *[16]byte) {
	var suffix [17]byte
	suffix[0] = byte(j)
	copy(suffix[1:], nonce[:])
	pad := x.block("passerelle/psi/v1 label", suffix[:])
	for i := range b {
		b[i] ^= pad[i]
	}
}

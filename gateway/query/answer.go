package query

import (
	"crypto/sha256"
	"encoding/binary"
)

// MaxReceiptSize bounds a receipt in an answer, in bytes.
const MaxReceiptSize = 2048

// An AnswerBatch answers the [Batch] at the same position of the request.
type AnswerBatch struct {
	Class     string
	Chunk     uint32
	Evaluated [][ElementSize]byte // one per element, in request order
	Proof     [ProofSize]byte     // one proof for the batch (RFC 9497, Section 2.2)
}

// An Answer is everything that the holder sends back. It does not say, and the
// holder does not know, whether anything matched.
type Answer struct {
	ID      ID
	Batches []AnswerBatch
	Receipt []byte // signed receipt over the digests of request and answer
}

// body appends the encoding without the receipt.
func (a *Answer) body(b []byte) []byte {
	b = append(b, 1)
	b = append(b, a.ID[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Batches)))
	for i := range a.Batches {
		t := &a.Batches[i]
		b = appendString(b, t.Class)
		b = binary.BigEndian.AppendUint32(b, t.Chunk)
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.Evaluated)))
		for j := range t.Evaluated {
			b = append(b, t.Evaluated[j][:]...)
		}
		b = append(b, t.Proof[:]...)
	}
	return b
}

// Bytes returns the encoding of a, with which a holder keeps an answer for
// retries:
//
//	struct {
//	    uint8       version = 1;
//	    opaque      id[16];
//	    uint16      batches;
//	    AnswerBatch batch[batches];
//	    opaque      receipt<0..2^16-1>;
//	} Answer;
//
//	struct {
//	    opaque class<0..2^8-1>;
//	    uint32 chunk;
//	    uint16 elements;
//	    opaque evaluated[32*elements];
//	    opaque proof[64];
//	} AnswerBatch;
func (a *Answer) Bytes() []byte {
	b := a.body(nil)
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Receipt)))
	return append(b, a.Receipt...)
}

// Digest returns the SHA-256 hash of the encoding without the receipt, because
// the receipt signs it.
func (a *Answer) Digest() [32]byte { return sha256.Sum256(a.body(nil)) }

// ParseAnswer parses the encoding returned by [Answer.Bytes]. It returns an error
// wrapping [ErrMalformed] for anything that would not encode to b again.
func ParseAnswer(b []byte) (*Answer, error) {
	p := parser(b)
	var a Answer
	var id []byte
	version, ok := p.uint(1)
	if !ok || version != 1 || !p.take(&id, IDSize) {
		return nil, malformed("answer header")
	}
	copy(a.ID[:], id)
	n, ok := p.uint(2)
	if !a.ID.valid() || !ok {
		return nil, malformed("answer header")
	}
	for i := range int(n) {
		var t AnswerBatch
		var class, elements, proof []byte
		size, ok1 := p.uint(1)
		ok2 := ok1 && p.take(&class, int(size))
		chunk, ok3 := p.uint(4)
		count, ok4 := p.uint(2)
		if !ok2 || !ok3 || !ok4 || count > MaxChunk ||
			!p.take(&elements, ElementSize*int(count)) || !p.take(&proof, ProofSize) {
			return nil, malformed("answer batch %d", i)
		}
		t.Class, t.Chunk = string(class), uint32(chunk)
		t.Evaluated = make([][ElementSize]byte, count)
		for j := range t.Evaluated {
			copy(t.Evaluated[j][:], elements[ElementSize*j:])
		}
		copy(t.Proof[:], proof)
		a.Batches = append(a.Batches, t)
	}
	size, ok := p.uint(2)
	if !ok || size > MaxReceiptSize || !p.take(&a.Receipt, int(size)) || len(p) != 0 {
		return nil, malformed("receipt")
	}
	return &a, nil
}

// Matches reports whether a has the shape of an answer to r: the same id, and
// for every batch of r one of the same class, chunk and length, in order. It
// returns an error wrapping [ErrMalformed] otherwise.
func (a *Answer) Matches(r *Request) error {
	if a.ID != r.ID || len(a.Batches) != len(r.Batches) {
		return malformed("answer does not fit the request")
	}
	for i := range a.Batches {
		t, q := &a.Batches[i], &r.Batches[i]
		if t.Class != q.Class || t.Chunk != q.Chunk || len(t.Evaluated) != len(q.Elements) {
			return malformed("answer batch %d does not fit the request", i)
		}
	}
	return nil
}

// A parser is the unread rest of an encoding.
type parser []byte

// uint reads a big-endian integer of n bytes.
func (p *parser) uint(n int) (v uint64, ok bool) {
	if len(*p) < n {
		return 0, false
	}
	for _, c := range (*p)[:n] {
		v = v<<8 | uint64(c)
	}
	*p = (*p)[n:]
	return v, true
}

// take reads n bytes into a new slice.
func (p *parser) take(out *[]byte, n int) bool {
	if len(*p) < n {
		return false
	}
	*out = append([]byte(nil), (*p)[:n]...)
	*p = (*p)[n:]
	return true
}

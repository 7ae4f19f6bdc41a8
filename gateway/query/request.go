// Package query defines the request and the answer of one query between two
// gateways: which facts travel, their exact bytes, and the digests under which
// both countries log them.
//
//	asker                                             holder
//	Request{Facts, Statement, Batches}  ----------->
//	                                    <-----------  Answer{Batches, Receipt}
//
// A query is one call of one asker to one holder about one collection. An
// officer's lookup or screening fans out into one query per holder and
// collection, each with its own [ID] and its own blinds, so that two holders
// cannot link them.
//
// # Who learns what
//
// Everything in a Request is seen by the holder, so its type is the list of what
// the holder learns: the coded facts of [Facts], a padded number of items, and
// blinded elements, which are uniformly random whatever they hide. There is no
// field for an officer, a case, a name, a document, a free text, or an outcome.
//
// # Bytes
//
// The bytes that are hashed do not depend on how a message was transported. They
// are given in the presentation language of RFC 8446, Section 3, at
// [Request.Bytes] and [Answer.Bytes]; proto/SPEC.md repeats them. There is one
// encoding of every value: what a parser accepts encodes to the same bytes.
//
// Out of scope: keys, clocks, networks, storage.
package query

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// Protocol is the version of the exchange that this package describes.
	Protocol uint16 = 1

	// ElementSize is the length of a blinded or evaluated element in bytes
	// (RFC 9497, Section 4.1, Ne).
	ElementSize = 32

	// ProofSize is the length of one batch's proof in bytes (2*Ns).
	ProofSize = 64

	// MaxChunk is how many elements one batch may hold. A class with more
	// elements is sent in several chunks, each with a proof.
	MaxChunk = 1024

	// MaxElements bounds the elements of one request, over all its batches.
	MaxElements = 65536

	// MaxClasses bounds the key classes of one request.
	MaxClasses = 32
)

// ErrMalformed is returned for a request or an answer that is not of the
// documented form. It is the fault of whoever sent it.
var ErrMalformed = errors.New("query: malformed message")

// Facts are the coded facts that travel with a query, and nothing else does
// (DESIGN, "Facts have sides"). All codes come from the agreement.
type Facts struct {
	Agreement       string   // identifier of the agreement, at most 64 bytes
	AgreementDigest [32]byte // digest of the agreement both sides must share
	Collection      string   // at most 64 bytes
	Purpose         string   // at most 64 bytes
	LegalBasis      string   // reference in the asker's register, at most 128 bytes
	OffenceClass    string   // at most 64 bytes, may be empty
	Urgency         string   // at most 64 bytes
	Category        string   // data category, at most 64 bytes
	Kind            Kind     // one subject or a set
	Items           uint32   // padded number of items, a value of PadItems
	Unit            [16]byte // pseudonym of the officer's unit, erasable by its country
	CaseReference   bool     // a case reference is in the asker's sealed content
	Justification   bool     // a justification is in the asker's sealed content
}

// A Kind says whether a query is about one subject or a set.
type Kind uint8

// The kinds of a query. The zero Kind is invalid.
const (
	Single Kind = 1
	Set    Kind = 2
)

// String returns the word of the policy vocabulary.
func (k Kind) String() string {
	switch k {
	case Single:
		return "single"
	case Set:
		return "set"
	}
	return "invalid"
}

// A Statement is the asker's signed word that its own policy allowed the query.
// The asker's auditor can compare it with the sealed content.
type Statement struct {
	Rules     []string // ids of the rules that decided, at most 64 of 32 bytes
	Bundle    [32]byte // digest of the policy bundle that decided
	Signature [64]byte // Ed25519 by the asker's statement key, over StatementBytes
}

// A Batch is the blinded elements of one chunk of one key class, in item order.
type Batch struct {
	Class    string // at most 32 bytes
	Epoch    uint32 // epoch of the holder's key, from its manifest
	Chunk    uint32 // from 0, without gaps, in each class
	Elements [][ElementSize]byte
}

// A Request is everything that one query sends to the holder.
type Request struct {
	ID            ID
	Protocol      uint16
	Normalisation uint16 // version of the normal forms of the lookup keys
	Facts         Facts
	ListVersion   uint64   // version of the tag sets that the asker will match against
	AskerLeaf     [32]byte // leaf hash of the asker's intent entry
	Sealed        [32]byte // SHA-256 of the asker's sealed content
	Statement     Statement
	Batches       []Batch // classes in the order of the agreement, chunks in order
}

// StatementBytes returns what the asker's statement key signs:
//
//	struct {
//	    opaque domain[30] = "passerelle/v1 ask statement\0\0\0";
//	    opaque id[16];
//	    opaque agreement_digest[32];
//	    opaque purpose<0..2^8-1>;
//	    opaque asker_leaf[32];
//	    opaque bundle[32];
//	    opaque rules<0..2^16-1>;  // each <0..2^8-1>
//	} AskStatement;
func (r *Request) StatementBytes() []byte {
	b := []byte("passerelle/v1 ask statement\x00\x00\x00")
	b = append(b, r.ID[:]...)
	b = append(b, r.Facts.AgreementDigest[:]...)
	b = appendString(b, r.Facts.Purpose)
	b = append(b, r.AskerLeaf[:]...)
	b = append(b, r.Statement.Bundle[:]...)
	return appendStrings(b, r.Statement.Rules)
}

// Bytes returns the encoding of r that both countries hash into their logs:
//
//	struct {
//	    uint8  version = 1;
//	    opaque id[16];
//	    uint16 protocol;
//	    uint16 normalisation;
//	    opaque agreement<0..2^8-1>;
//	    opaque agreement_digest[32];
//	    opaque collection<0..2^8-1>;
//	    opaque purpose<0..2^8-1>;
//	    opaque legal_basis<0..2^8-1>;
//	    opaque offence_class<0..2^8-1>;
//	    opaque urgency<0..2^8-1>;
//	    opaque category<0..2^8-1>;
//	    uint8  kind;
//	    uint32 items;
//	    opaque unit[16];
//	    uint8  flags;              // bit 0 case reference, bit 1 justification
//	    uint64 list_version;
//	    opaque asker_leaf[32];
//	    opaque sealed[32];
//	    opaque rules<0..2^16-1>;   // each <0..2^8-1>
//	    opaque bundle[32];
//	    opaque signature[64];
//	    uint16 batches;
//	    Batch  batch[batches];
//	} Request;
//
//	struct {
//	    opaque class<0..2^8-1>;
//	    uint32 epoch;
//	    uint32 chunk;
//	    uint16 elements;
//	    opaque element[32*elements];
//	} Batch;
//
// The caller must have checked r with [Request.Validate].
func (r *Request) Bytes() []byte {
	n := 1024
	for i := range r.Batches {
		n += 64 + ElementSize*len(r.Batches[i].Elements)
	}
	b := r.AppendHeader(make([]byte, 0, n))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Batches)))
	for i := range r.Batches {
		t := &r.Batches[i]
		b = appendString(b, t.Class)
		b = binary.BigEndian.AppendUint32(b, t.Epoch)
		b = binary.BigEndian.AppendUint32(b, t.Chunk)
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.Elements)))
		for j := range t.Elements {
			b = append(b, t.Elements[j][:]...)
		}
	}
	return b
}

// AppendHeader appends the part of the encoding before the number of batches.
// [ParseHeader] is its inverse.
func (r *Request) AppendHeader(b []byte) []byte {
	f := &r.Facts
	b = append(b, 1)
	b = append(b, r.ID[:]...)
	b = binary.BigEndian.AppendUint16(b, r.Protocol)
	b = binary.BigEndian.AppendUint16(b, r.Normalisation)
	b = appendString(b, f.Agreement)
	b = append(b, f.AgreementDigest[:]...)
	for _, s := range []string{f.Collection, f.Purpose, f.LegalBasis, f.OffenceClass, f.Urgency, f.Category} {
		b = appendString(b, s)
	}
	b = append(b, byte(f.Kind))
	b = binary.BigEndian.AppendUint32(b, f.Items)
	b = append(b, f.Unit[:]...)
	b = append(b, flags(f.CaseReference, f.Justification))
	b = binary.BigEndian.AppendUint64(b, r.ListVersion)
	b = append(b, r.AskerLeaf[:]...)
	b = append(b, r.Sealed[:]...)
	b = appendStrings(b, r.Statement.Rules)
	b = append(b, r.Statement.Bundle[:]...)
	return append(b, r.Statement.Signature[:]...)
}

// Digest returns the SHA-256 hash of [Request.Bytes]: the request digest of
// entries and receipts.
func (r *Request) Digest() [32]byte { return sha256.Sum256(r.Bytes()) }

// Elements returns the number of elements of all batches.
func (r *Request) Elements() int {
	n := 0
	for i := range r.Batches {
		n += len(r.Batches[i].Elements)
	}
	return n
}

// Validate reports whether r is within the documented bounds. It returns an
// error wrapping [ErrMalformed] that names the field.
//
// Validate looks at shapes only: whether a code is one of the agreement's, an
// element is a group element, or a signature verifies, is for others to say.
func (r *Request) Validate() error {
	if err := r.validateHeader(); err != nil {
		return err
	}
	return r.validateBatches()
}

// validateHeader checks everything but the batches.
func (r *Request) validateHeader() error {
	f := &r.Facts
	if !r.ID.valid() {
		return malformed("query id")
	}
	if r.Protocol != Protocol {
		return malformed("protocol version %d", r.Protocol)
	}
	for _, c := range []struct {
		name, value string
		max         int
		empty       bool
	}{
		{"agreement", f.Agreement, 64, false},
		{"collection", f.Collection, 64, false},
		{"purpose", f.Purpose, 64, false},
		{"legal basis", f.LegalBasis, 128, true},
		{"offence class", f.OffenceClass, 64, true},
		{"urgency", f.Urgency, 64, false},
		{"category", f.Category, 64, false},
	} {
		if len(c.value) > c.max || c.value == "" && !c.empty || !isCode(c.value) {
			return malformed("%s", c.name)
		}
	}
	if f.Kind != Single && f.Kind != Set {
		return malformed("kind")
	}
	if f.Items == 0 || f.Items > MaxElements || PadItems(int(f.Items)) != int(f.Items) || f.Kind == Single && f.Items != 1 {
		return malformed("number of items")
	}
	if len(r.Statement.Rules) > 64 {
		return malformed("number of rules")
	}
	for _, rule := range r.Statement.Rules {
		if rule == "" || len(rule) > 32 || !isCode(rule) {
			return malformed("rule id")
		}
	}
	return nil
}

// validateBatches checks that every class has exactly one element per padded
// item, in full chunks without gaps: how many keys a subject really has must
// not show in a size.
func (r *Request) validateBatches() error {
	if len(r.Batches) == 0 || r.Elements() > MaxElements {
		return malformed("number of elements")
	}
	seen := make(map[string]bool)
	for i := 0; i < len(r.Batches); {
		class, epoch := r.Batches[i].Class, r.Batches[i].Epoch
		if class == "" || len(class) > 32 || !isCode(class) || seen[class] || len(seen) == MaxClasses {
			return malformed("class of batch %d", i)
		}
		seen[class] = true
		left := int(r.Facts.Items)
		for chunk := uint32(0); left > 0; chunk, i = chunk+1, i+1 {
			if i == len(r.Batches) || r.Batches[i].Class != class || r.Batches[i].Epoch != epoch ||
				r.Batches[i].Chunk != chunk || len(r.Batches[i].Elements) != min(left, MaxChunk) {
				return malformed("batch %d", i)
			}
			left -= len(r.Batches[i].Elements)
		}
	}
	return nil
}

// PadItems returns the number of items that a query about n items shows to the
// holder: 1, 4, 16, 64, or else the next multiple of 64.
func PadItems(n int) int {
	for _, p := range []int{1, 4, 16} {
		if n <= p {
			return p
		}
	}
	return (n + 63) / 64 * 64
}

// isCode reports whether s is printable ASCII, so that codes cannot carry
// control characters into logs.
func isCode(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func flags(bits ...bool) (b byte) {
	for i, set := range bits {
		if set {
			b |= 1 << i
		}
	}
	return b
}

// appendString appends opaque s<0..2^8-1>. Callers bound s.
func appendString(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	return append(b, s...)
}

// appendStrings appends a vector of opaque<0..2^8-1>, itself <0..2^16-1>.
func appendStrings(b []byte, list []string) []byte {
	n := 0
	for _, s := range list {
		n += 1 + len(s)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

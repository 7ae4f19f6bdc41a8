// Package sealed implements envelopes that only one named person can open: an
// auditor, for the content behind an audit entry, or an officer. They are HPKE
// ([RFC 9180], base mode, one message) with these algorithms:
//
//	KEM   MLKEM768-X25519, hybrid: safe while either of the two is (32-byte identity, 1216-byte recipient)
//	KDF   HKDF-SHA256
//	AEAD  AES-256-GCM
//	info  "passerelle/v1 sealed\0" || key id[8]
//	aad   query id[16] || leaf
//
// # Bytes
//
//	struct {
//	    uint8  version = 1;
//	    opaque key_id[8];
//	    opaque enc[1120];
//	    opaque ciphertext[size - 1129];
//	} Sealed;
//
//	struct {
//	    uint32 length;
//	    opaque content[length];
//	    opaque zeros[...];
//	} Plaintext;
//
// in the presentation language of RFC 8446, Section 3. The size of a Sealed is one
// of [Sizes], so that it tells little of what is inside: not how many people a
// query was about within a size, and not whether there was a hit.
//
// # Who learns what
//
// Whoever stores an envelope learns its recipient (the key id), its size, and when
// it was made. It is bound to one query and one leaf: it cannot be opened as the
// content of another, so an envelope moved elsewhere is found when it is opened.
// HPKE does not say who sealed it; the leaf that holds its hash does.
//
// Two envelopes of the same content differ, because encapsulation is randomised:
// the hash of an envelope can stand in a public log and nobody can guess what is
// inside.
//
// All functions may be called concurrently. This package makes no claim beyond the
// standard library's about constant time. Out of scope: storage, erasure, and who
// may hold an identity.
//
// [RFC 9180]: https://www.rfc-editor.org/rfc/rfc9180.html
package sealed

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	// KeyIDSize is the length of a key id in bytes.
	KeyIDSize = 8

	// RecipientSize and IdentitySize are the lengths of the binary keys in bytes.
	RecipientSize = 1184 + 32
	IdentitySize  = 32

	// MaxContent is the largest content of one envelope in bytes.
	MaxContent = 4<<20 - overhead

	// MaxLeaf bounds the leaf of a Context in bytes.
	MaxLeaf = 64 << 10

	version  = 1
	encSize  = 1088 + 32
	header   = 1 + KeyIDSize + encSize
	overhead = header + 4 + 16

	infoDomain = "passerelle/v1 sealed\x00"
)

// Sizes returns the sizes that an envelope can have, in bytes, in rising order.
func Sizes() []int { return []int{4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20} }

var (
	// ErrKey is returned for text that is not a recipient or an identity, and for
	// the zero value of either.
	ErrKey = errors.New("sealed: invalid key")

	// ErrTooLarge is returned for content over [MaxContent] and for a leaf over
	// [MaxLeaf].
	ErrTooLarge = errors.New("sealed: too large")

	// ErrRecipient is returned by [Open] for an envelope to somebody else.
	ErrRecipient = errors.New("sealed: sealed to another key")

	// ErrOpen is returned by [Open] for whatever else is wrong: the envelope was
	// changed, or it is the content of another query or leaf.
	ErrOpen = errors.New("sealed: cannot be opened")
)

// A Context is what an envelope is bound to. Both values are public.
type Context struct {
	QueryID [16]byte
	Leaf    []byte // fields of the leaf that the content belongs to, without the hash of the envelope; at most MaxLeaf bytes
}

// aad returns the encoding of c: its first part has a fixed length.
func (c Context) aad() []byte { return append(c.QueryID[:], c.Leaf...) }

// Seal returns an envelope with content, which only the identity of r can open and
// only in the same Context. It returns an error wrapping [ErrKey] or [ErrTooLarge].
//
// The length of content is hidden within a step of [Sizes], and nothing more is.
func Seal(r Recipient, c Context, content []byte) ([]byte, error) {
	if r.key == nil {
		return nil, ErrKey
	}
	size, err := sizeFor(len(content))
	if err != nil {
		return nil, err
	}
	if len(c.Leaf) > MaxLeaf {
		return nil, fmt.Errorf("%w: leaf of %d bytes", ErrTooLarge, len(c.Leaf))
	}
	enc, s, err := hpke.NewSender(r.key, hpke.HKDFSHA256(), hpke.AES256GCM(), info(r.id))
	if err != nil {
		return nil, fmt.Errorf("sealed: encapsulating: %v", err)
	}
	padded := make([]byte, size-header-16)
	binary.BigEndian.PutUint32(padded, uint32(len(content)))
	copy(padded[4:], content)
	ct, err := s.Seal(c.aad(), padded)
	if err != nil {
		return nil, fmt.Errorf("sealed: sealing: %v", err)
	}
	out := make([]byte, 0, size)
	out = append(out, version)
	out = append(out, r.id[:]...)
	out = append(out, enc...)
	return append(out, ct...), nil
}

// Open returns the content of an envelope. It returns an error wrapping [ErrKey],
// [ErrRecipient] or [ErrOpen], and then no content.
func Open(i Identity, c Context, envelope []byte) ([]byte, error) {
	if i.secret == nil {
		return nil, ErrKey
	}
	id, err := KeyID(envelope)
	if err != nil {
		return nil, err
	}
	if id != i.recipient.id {
		return nil, ErrRecipient
	}
	r, err := hpke.NewRecipient(envelope[1+KeyIDSize:header], i.secret(), hpke.HKDFSHA256(), hpke.AES256GCM(), info(id))
	if err != nil {
		return nil, ErrOpen
	}
	padded, err := r.Open(c.aad(), envelope[header:])
	if err != nil || len(padded) < 4 {
		return nil, ErrOpen
	}
	n := binary.BigEndian.Uint32(padded)
	padded = padded[4:]
	// The sender is authenticated by nothing but the leaf. Accept only what Seal
	// makes, so that padding is no hiding place.
	if uint64(n) > uint64(len(padded)) || len(bytes.Trim(padded[n:], "\x00")) != 0 {
		return nil, ErrOpen
	}
	if size, err := sizeFor(int(n)); err != nil || size != len(envelope) {
		return nil, ErrOpen
	}
	return padded[:n:n], nil
}

// KeyID returns the key id of the recipient that an envelope names. It returns an
// error wrapping [ErrOpen] for bytes that are not of the form of an envelope.
func KeyID(envelope []byte) ([KeyIDSize]byte, error) {
	ok := false
	for _, size := range Sizes() {
		ok = ok || len(envelope) == size
	}
	if !ok || envelope[0] != version {
		return [KeyIDSize]byte{}, ErrOpen
	}
	return [KeyIDSize]byte(envelope[1 : 1+KeyIDSize]), nil
}

// Digest returns the SHA-256 hash of an envelope, which stands in a log for it.
func Digest(envelope []byte) [32]byte { return sha256.Sum256(envelope) }

// sizeFor returns the size of an envelope with n bytes of content.
func sizeFor(n int) (int, error) {
	if n < 0 || n > math.MaxInt32 {
		return 0, ErrTooLarge
	}
	for _, size := range Sizes() {
		if n <= size-overhead {
			return size, nil
		}
	}
	return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, MaxContent)
}

// info returns the HPKE info for a recipient.
func info(id [KeyIDSize]byte) []byte { return append([]byte(infoDomain), id[:]...) }

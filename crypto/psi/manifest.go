package psi

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// A Coding says how a segment stores its tags. Zero is invalid.
type Coding uint8

// CodingRice stores the gaps between tags in Golomb-Rice codes. It is the only
// coding so far.
const CodingRice Coding = 1

// A Kind says what a segment is for. Zero is invalid.
type Kind uint8

// KindBase is a part of a whole set. It is the only kind so far; 2 is kept for
// the changes of an update round.
const KindBase Kind = 1

// A Segment describes one segment of a set.
type Segment struct {
	Hash   [32]byte // SHA-256 of the segment
	Coding Coding
	Kind   Kind
	Count  uint32   // tags
	Nonce  [16]byte // of the pads of its labels
	Size   uint64   // bytes
}

// A Manifest describes one version of a set and commits the holder to it.
type Manifest struct {
	Info Info

	// PublicKey is the key of the epoch.
	PublicKey oprf.PublicKey

	// Version numbers the published versions of the collection, from 1.
	Version uint64

	// Previous is the Hash of the manifest with the version before, and zero if
	// there is none.
	Previous [32]byte

	// Created is when the set was built, and NotAfter when it must no longer be
	// used; both in whole milliseconds, UTC.
	Created, NotAfter time.Time

	// TagBits is the length of tags, Sharers is J, and Count is the number of
	// tags, with decoys. TagBits follows from the two others.
	TagBits uint8
	Sharers uint8
	Count   uint32

	// Segments are in the order of their tags.
	Segments []Segment
}

const (
	manifestVersion = 1
	segmentEncoding = 32 + 1 + 1 + 4 + 16 + 8
	maxMillis       = 253402300799999 // the end of the year 9999
)

// Validate returns an error wrapping [ErrMalformed] if m is not well formed.
func (m *Manifest) Validate() error { return m.validate(falsePositiveBits) }

func (m *Manifest) validate(fp int) error {
	bad := func(what string) error { return fmt.Errorf("%w: manifest: %s", ErrMalformed, what) }
	if err := m.Info.Validate(); err != nil {
		return err
	}
	if _, err := oprf.ParsePublicKey(m.PublicKey[:]); err != nil {
		return bad("public key")
	}
	if m.Version == 0 || m.Version == 1 && m.Previous != [32]byte{} {
		return bad("version")
	}
	for _, t := range []time.Time{m.Created, m.NotAfter} {
		if !t.Equal(t.Truncate(time.Millisecond)) || t.UnixMilli() < 0 || t.UnixMilli() > maxMillis {
			return bad("time")
		}
	}
	if !m.NotAfter.After(m.Created) {
		return bad("ends before it begins")
	}
	if j := m.Sharers; j == 0 || j > MaxSharers || bits.OnesCount8(j) != 1 {
		return bad("sharers")
	}
	if m.Count > MaxCount || int(m.Count) != PadCount(int(m.Count)) {
		return bad("count")
	}
	if int(m.TagBits) != tagBits(fp, int(m.Count), int(m.Sharers)) {
		return bad("tag length")
	}
	if len(m.Segments) != (int(m.Count)+SegmentTags-1)/SegmentTags {
		return bad("number of segments")
	}
	left := m.Count
	for i := range m.Segments {
		s := &m.Segments[i]
		if s.Coding != CodingRice || s.Kind != KindBase {
			return bad("unknown coding or kind of segment")
		}
		if s.Count != min(left, SegmentTags) {
			return bad("tags in a segment")
		}
		left -= s.Count
		if least, greatest := segmentSizes(int(s.Count), m.restBits()); s.Size < least || s.Size > greatest {
			return bad("size of a segment")
		}
	}
	return nil
}

// restBits returns the length of the rest of a tag, besides its bucket.
func (m *Manifest) restBits() int { return int(m.TagBits) - ceilLog2(int(m.Count)) }

// Bytes returns the encoding of m:
//
//	struct {
//	    uint8   version = 1;
//	    opaque  info<1..2^16-1>;      // Info.Bytes
//	    opaque  public_key[32];
//	    uint64  list_version;
//	    opaque  previous[32];
//	    uint64  created;              // milliseconds since the Unix epoch
//	    uint64  not_after;
//	    uint8   tag_bits;
//	    uint8   sharers;
//	    uint32  count;
//	    uint16  segments;
//	    Segment segment[segments];
//	} Manifest;
//
//	struct {
//	    opaque hash[32];
//	    uint8  coding;
//	    uint8  kind;
//	    uint32 count;
//	    opaque nonce[16];
//	    uint64 size;
//	} Segment;
//
// in the presentation language of RFC 8446, Section 3. It returns nil if Validate
// returns an error.
func (m *Manifest) Bytes() []byte {
	if m.Validate() != nil {
		return nil
	}
	return m.encode()
}

func (m *Manifest) encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(manifestVersion)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Info.Bytes()) })
	b.AddBytes(m.PublicKey[:])
	b.AddUint64(m.Version)
	b.AddBytes(m.Previous[:])
	b.AddUint64(uint64(m.Created.UnixMilli()))
	b.AddUint64(uint64(m.NotAfter.UnixMilli()))
	b.AddUint8(m.TagBits)
	b.AddUint8(m.Sharers)
	b.AddUint32(m.Count)
	b.AddUint16(uint16(len(m.Segments)))
	for i := range m.Segments {
		s := &m.Segments[i]
		b.AddBytes(s.Hash[:])
		b.AddUint8(uint8(s.Coding))
		b.AddUint8(uint8(s.Kind))
		b.AddUint32(s.Count)
		b.AddBytes(s.Nonce[:])
		b.AddUint64(s.Size)
	}
	return b.BytesOrPanic()
}

// ParseManifest parses the encoding returned by [Manifest.Bytes]. There is
// exactly one valid encoding of every Manifest. It returns an error wrapping
// [ErrMalformed] for anything else. It does not check a signature, see
// [CheckManifest].
func ParseManifest(b []byte) (*Manifest, error) {
	malformed := fmt.Errorf("%w: manifest", ErrMalformed)
	var (
		m                 Manifest
		version           uint8
		info              cryptobyte.String
		created, notAfter uint64
		segments          uint16
	)
	s := cryptobyte.String(b)
	if !s.ReadUint8(&version) || version != manifestVersion ||
		!s.ReadUint16LengthPrefixed(&info) ||
		!s.CopyBytes(m.PublicKey[:]) ||
		!s.ReadUint64(&m.Version) ||
		!s.CopyBytes(m.Previous[:]) ||
		!s.ReadUint64(&created) || created > maxMillis ||
		!s.ReadUint64(&notAfter) || notAfter > maxMillis ||
		!s.ReadUint8(&m.TagBits) ||
		!s.ReadUint8(&m.Sharers) ||
		!s.ReadUint32(&m.Count) ||
		!s.ReadUint16(&segments) ||
		len(s) != int(segments)*segmentEncoding {
		return nil, malformed
	}
	var err error
	if m.Info, err = ParseInfo(info); err != nil {
		return nil, err
	}
	m.Created = time.UnixMilli(int64(created)).UTC()
	m.NotAfter = time.UnixMilli(int64(notAfter)).UTC()
	m.Segments = make([]Segment, segments)
	for i := range m.Segments {
		g := &m.Segments[i]
		if !s.CopyBytes(g.Hash[:]) || !s.ReadUint8((*uint8)(&g.Coding)) || !s.ReadUint8((*uint8)(&g.Kind)) ||
			!s.ReadUint32(&g.Count) || !s.CopyBytes(g.Nonce[:]) || !s.ReadUint64(&g.Size) {
			return nil, malformed
		}
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// Hash returns the SHA-256 hash of "passerelle/psi/v1 manifest hash\n" and
// m.Bytes, which is what logs and successors name. It is zero if Validate returns
// an error.
func (m *Manifest) Hash() [32]byte {
	b := m.Bytes()
	if b == nil {
		return [32]byte{}
	}
	return sha256.Sum256(append([]byte("passerelle/psi/v1 manifest hash\n"), b...))
}

// MaxSkew is how far the clocks of two countries may differ.
const MaxSkew = 5 * time.Minute

// CheckAge returns an error wrapping [ErrStale] if at the time now the set must
// not be used: NotAfter has come, Created is more than maxAge ago, or Created is
// in the future by more than MaxSkew.
func (m *Manifest) CheckAge(now time.Time, maxAge time.Duration) error {
	switch {
	case !now.Before(m.NotAfter):
		return fmt.Errorf("%w: it ended %v ago", ErrStale, now.Sub(m.NotAfter).Round(time.Second))
	case now.Sub(m.Created) > maxAge:
		return fmt.Errorf("%w: it is %v old", ErrStale, now.Sub(m.Created).Round(time.Second))
	case m.Created.Sub(now) > MaxSkew:
		return fmt.Errorf("%w: it is from the future", ErrStale)
	}
	return nil
}

// CheckSuccessor returns an error wrapping [ErrChain] unless next may follow prev:
// Previous names prev, the version is one more, creation is not earlier, and Info
// is the same, but for the epoch, the normalisation and the protocol version,
// which may grow. The public key changes when the epoch changes, and only then;
// normalisation and protocol change only with the epoch.
//
// A nil prev means that the asker has no head for the collection and class; then
// next must not name a predecessor. A class that is added to an agreement later
// starts with a version above 1.
//
// Callers must keep one head for all their replicas, and refuse a second
// successor of the same head even if this function accepts it.
func CheckSuccessor(prev, next *Manifest) error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrChain, what) }
	if next == nil || next.Validate() != nil {
		return bad("malformed")
	}
	if prev == nil {
		if next.Previous != [32]byte{} {
			return bad("it names a predecessor that we do not have")
		}
		return nil
	}
	if prev.Validate() != nil {
		return bad("malformed predecessor")
	}
	p, n := prev.Info, next.Info
	switch {
	case n.Holder != p.Holder || n.Asker != p.Asker || n.Collection != p.Collection || n.Class != p.Class:
		return bad("another collection")
	case next.Version == 0 || next.Version-1 != prev.Version:
		return bad("version")
	case next.Previous != prev.Hash():
		return bad("it names another predecessor")
	case next.Created.Before(prev.Created):
		return bad("creation time goes back")
	case n.Epoch < p.Epoch:
		return bad("epoch goes back")
	case n.Epoch == p.Epoch && next.PublicKey != prev.PublicKey:
		return bad("another key in the same epoch")
	case n.Epoch > p.Epoch && next.PublicKey == prev.PublicKey:
		return bad("the same key in another epoch")
	case n.Protocol < p.Protocol || n.Normalisation < p.Normalisation:
		return bad("protocol or normalisation goes back")
	case n.Epoch == p.Epoch && n != p:
		return bad("protocol or normalisation changes within an epoch")
	}
	return nil
}

// A SignedManifest is a Manifest with the signature of its holder.
type SignedManifest struct {
	Manifest  Manifest
	Signature [ed25519.SignatureSize]byte
}

// signed returns what is signed: the text "passerelle/psi/v1 manifest\n" and the
// encoding of the manifest.
func signed(manifest []byte) []byte {
	return append([]byte("passerelle/psi/v1 manifest\n"), manifest...)
}

// Sign signs m. The key must be an Ed25519 key: an ed25519.PrivateKey, or another
// crypto.Signer that has one.
//
// It returns an error wrapping [ErrMalformed] if m is not well formed.
func (m *Manifest) Sign(key crypto.Signer) (*SignedManifest, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: signing key is not an Ed25519 key", ErrInput)
	}
	msg := signed(m.Bytes())
	sig, err := key.Sign(rand.Reader, msg, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("psi: signing: %w", err)
	}
	// A signer that is a device may fail in silence.
	if !ed25519.Verify(pub, msg, sig) {
		return nil, fmt.Errorf("psi: signing: the signer made an invalid signature")
	}
	return &SignedManifest{Manifest: *m.clone(), Signature: [ed25519.SignatureSize]byte(sig)}, nil
}

// Bytes returns the encoding of s, which is that of the manifest followed by the
// 64 bytes of the signature. It returns nil if the manifest is not well formed.
func (s *SignedManifest) Bytes() []byte {
	b := s.Manifest.Bytes()
	if b == nil {
		return nil
	}
	return append(b, s.Signature[:]...)
}

// CheckManifest parses the encoding returned by [SignedManifest.Bytes] and checks
// the signature.
//
// It returns an error wrapping [ErrSignature] if pub has not signed these bytes,
// and [ErrMalformed] if it has but they are no manifest.
func CheckManifest(b []byte, pub ed25519.PublicKey) (*SignedManifest, error) {
	n := len(b) - ed25519.SignatureSize
	if n < 0 || len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, signed(b[:n]), b[n:]) {
		return nil, ErrSignature
	}
	m, err := ParseManifest(b[:n])
	if err != nil {
		return nil, err
	}
	return &SignedManifest{Manifest: *m, Signature: [ed25519.SignatureSize]byte(b[n:])}, nil
}

// clone returns a deep copy of m.
func (m *Manifest) clone() *Manifest {
	c := *m
	c.Segments = slices.Clone(m.Segments)
	return &c
}

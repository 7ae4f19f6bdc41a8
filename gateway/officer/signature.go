package officer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// SignatureSize is the size of a signature, in bytes.
	SignatureSize = ed25519.SignatureSize

	// PrivateKeySize is the size of an encoded private key, in bytes. It is the
	// seed of RFC 8032.
	PrivateKeySize = ed25519.SeedSize

	// MaxPurposeSize is the longest purpose of a signature, in bytes.
	MaxPurposeSize = 64
)

// The purposes of signatures. Others may be added by callers: a purpose is 1 to
// MaxPurposeSize bytes of [a-z0-9._-], starting with [a-z0-9].
const (
	PurposeAsk     = "ask"             // a lookup, a screening or a search
	PurposeConfirm = "confirm"         // a decision on a candidate
	PurposeApprove = "approve"         // an approval of a disclosure
	PurposeRelease = "release"         // a release of data
	PurposeChange  = "register-change" // a change of this register
)

var (
	// ErrSignature is returned for every signature that does not verify,
	// whatever is wrong with it.
	ErrSignature = errors.New("officer: signature does not verify")

	// ErrKey is returned for a key that is not in its encoding.
	ErrKey = errors.New("officer: malformed key")
)

// A PrivateKey is the key of an officer. It is secret. Only its KeyID may be
// shown, and nothing prints more than that.
type PrivateKey struct {
	_    [0]func()                 // not comparable: == is not constant time
	id   string                    // public name of the key
	pub  ed25519.PublicKey         // public
	seed func() ed25519.PrivateKey // a closure, which fmt cannot look into
}

// GeneratePrivateKey returns a new key from crypto/rand.
func GeneratePrivateKey() (PrivateKey, error) {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("officer: generating key: %w", err)
	}
	return newPrivateKey(k), nil
}

// ParsePrivateKey parses the encoding that [PrivateKey.Bytes] returns.
func ParsePrivateKey(b []byte) (PrivateKey, error) {
	if len(b) != PrivateKeySize {
		return PrivateKey{}, fmt.Errorf("%w: %d bytes long", ErrKey, len(b))
	}
	return newPrivateKey(ed25519.NewKeyFromSeed(b)), nil
}

func newPrivateKey(k ed25519.PrivateKey) PrivateKey {
	pub := k.Public().(ed25519.PublicKey)
	return PrivateKey{id: KeyID(pub), pub: pub, seed: func() ed25519.PrivateKey { return k }}
}

// Bytes returns the secret encoding of k, to be stored, or nil for the zero
// PrivateKey.
func (k PrivateKey) Bytes() []byte {
	if k.IsZero() {
		return nil
	}
	return k.seed().Seed()
}

// PublicKey returns the public key of k.
func (k PrivateKey) PublicKey() ed25519.PublicKey { return append(ed25519.PublicKey(nil), k.pub...) }

// KeyID returns the public name of k, which is safe to log.
func (k PrivateKey) KeyID() string { return k.id }

// IsZero reports whether k is the zero PrivateKey, which signs nothing.
func (k PrivateKey) IsZero() bool { return k.seed == nil }

// Format prints the KeyID for every verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { io.WriteString(f, "officer.PrivateKey("+k.id+")") }

// MarshalText returns the KeyID, for log/slog and encoding/json.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(k.id), nil }

// KeyID returns the public name of a public key: 16 hexadecimal digits of its
// SHA-256 hash.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

const publicKeyPrefix = "passerelle-officer1"

// EncodePublicKey returns the key as one word, for an officer to hand to an
// administrator: a prefix and, in unpadded base64url, the 32 bytes of the key and
// the first 4 bytes of their SHA-256 hash, which catch a slip of the hand.
func EncodePublicKey(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return publicKeyPrefix + base64.RawURLEncoding.EncodeToString(append(append([]byte(nil), pub...), sum[:4]...))
}

// ParsePublicKey is the inverse of [EncodePublicKey]. It returns an error
// wrapping [ErrKey], or [ErrOfficer] for a key that nobody may have.
func ParsePublicKey(s string) (ed25519.PublicKey, error) {
	word, ok := strings.CutPrefix(s, publicKeyPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(word)
	if !ok || err != nil || len(b) != ed25519.PublicKeySize+4 {
		return nil, fmt.Errorf("%w: not a public key of an officer", ErrKey)
	}
	pub := ed25519.PublicKey(b[:ed25519.PublicKeySize:ed25519.PublicKeySize])
	if EncodePublicKey(pub) != s {
		return nil, fmt.Errorf("%w: checksum", ErrKey)
	}
	if err := checkPublicKey(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

// Message returns what is signed for a purpose and a digest, for systems that
// have the key of an officer elsewhere, such as in a card.
func Message(purpose string, digest [32]byte) ([]byte, error) {
	if !validName(purpose) || len(purpose) > MaxPurposeSize {
		return nil, errors.New("officer: invalid purpose of a signature")
	}
	b := append([]byte("passerelle officer signature v1\x00"), byte(len(purpose)))
	b = append(b, purpose...)
	return append(b, digest[:]...), nil
}

// Sign signs a SHA-256 digest for a purpose. The digest must cover everything
// that the signature stands for.
func Sign(key PrivateKey, purpose string, digest [32]byte) ([SignatureSize]byte, error) {
	m, err := Message(purpose, digest)
	if err != nil {
		return [SignatureSize]byte{}, err
	}
	if key.IsZero() {
		return [SignatureSize]byte{}, fmt.Errorf("%w: no key", ErrKey)
	}
	return [SignatureSize]byte(ed25519.Sign(key.seed(), m)), nil
}

// Check verifies what [Sign] or [Identity.Sign] made. It returns an error
// wrapping [ErrSignature] if anything is wrong. It does not look at the register:
// callers must take pub from there, and ask for the role.
func Check(pub ed25519.PublicKey, purpose string, digest [32]byte, sig []byte) error {
	m, err := Message(purpose, digest)
	if err != nil || checkPublicKey(pub) != nil || !ed25519.Verify(pub, m, sig) {
		return ErrSignature
	}
	return nil
}

// SignAsk signs the digest of an ask.
func SignAsk(key PrivateKey, digest [32]byte) ([SignatureSize]byte, error) {
	return Sign(key, PurposeAsk, digest)
}

// CheckAsk verifies a signature of SignAsk by an officer of the register. It
// says nothing of roles, nor whether the officer is retired: see
// [Register.HasRole].
func CheckAsk(o Officer, digest [32]byte, sig []byte) error {
	return Check(o.PublicKey, PurposeAsk, digest, sig)
}

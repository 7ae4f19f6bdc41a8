package oprf

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/gtank/ristretto255"
)

// A PublicKey is pkS of RFC 9497, serialized.
type PublicKey [PublicKeySize]byte

// ParsePublicKey parses the 32 bytes of a public key. It returns an error
// wrapping [ErrKey] if they are not canonical or encode the identity element.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != PublicKeySize {
		return PublicKey{}, fmt.Errorf("%w: public key of %d bytes", ErrKey, len(b))
	}
	pk := PublicKey(b)
	if !decode(new(ristretto255.Element), (*[ElementSize]byte)(&pk)) {
		return PublicKey{}, fmt.Errorf("%w: public key is not a group element", ErrKey)
	}
	return pk, nil
}

// KeyID returns the public name of the key pair: the first 8 bytes of the
// SHA-256 hash of pkS, in hexadecimal.
func (pk PublicKey) KeyID() string {
	h := sha256.Sum256(pk[:])
	return hex.EncodeToString(h[:8])
}

// A PrivateKey is skS of RFC 9497. Only its KeyID may be shown. The zero
// PrivateKey is not a key; [NewServer] panics on it.
type PrivateKey struct {
	id string // public name of the key, safe to log

	// k returns the scalar and its public key. It is a function, so that nothing
	// that walks a struct can print the key; and it makes == a compile error,
	// which would not be constant time.
	k func() (*ristretto255.Scalar, PublicKey)
}

// GeneratePrivateKey makes a new key from crypto/rand.
func GeneratePrivateKey() PrivateKey {
	for {
		var b [64]byte
		rand.Read(b[:]) // never fails, see its documentation
		if s := reduce(&b); !isZero(s) {
			return newPrivateKey(s)
		}
	}
}

// ParsePrivateKey parses the bytes returned by [PrivateKey.Bytes]. It returns an
// error wrapping [ErrKey] unless they are 32 bytes, canonical and not zero.
func ParsePrivateKey(b []byte) (PrivateKey, error) {
	if len(b) != PrivateKeySize {
		return PrivateKey{}, fmt.Errorf("%w: private key of %d bytes", ErrKey, len(b))
	}
	s, ok := parseScalar(b)
	if !ok || isZero(s) {
		return PrivateKey{}, fmt.Errorf("%w: private key is not a scalar", ErrKey)
	}
	return newPrivateKey(s), nil
}

func newPrivateKey(s *ristretto255.Scalar) PrivateKey {
	pk := PublicKey(encode(ristretto255.NewIdentityElement().ScalarBaseMult(s)))
	return PrivateKey{id: pk.KeyID(), k: func() (*ristretto255.Scalar, PublicKey) { return s, pk }}
}

// PublicKey returns pkS.
func (k PrivateKey) PublicKey() PublicKey {
	_, pk := k.k()
	return pk
}

// KeyID returns the public name of k, that of its public key.
func (k PrivateKey) KeyID() string { return k.id }

// Bytes returns the 32 secret bytes of k. Only package keys needs them, to wrap
// them.
func (k PrivateKey) Bytes() []byte {
	s, _ := k.k()
	b := scalarBytes(s)
	return b[:]
}

// Format prints the KeyID for every verb, so that no log line, panic, or test
// failure can hold the key.
func (k PrivateKey) Format(f fmt.State, _ rune) {
	io.WriteString(f, "oprf.PrivateKey("+k.id+")")
}

// MarshalText returns the KeyID, for log/slog and encoding/json.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(k.id), nil }

// A Seed is the secret from which the blinds and dummies of one query to one
// holder derive. It must be fresh for each: two queries under one seed show the
// holder which of their elements are equal. The zero Seed is refused.
type Seed struct {
	b func() [SeedSize]byte // a function for the reasons given at PrivateKey
}

// GenerateSeed makes a new seed from crypto/rand.
func GenerateSeed() Seed {
	var b [SeedSize]byte
	rand.Read(b[:]) // never fails, see its documentation
	return Seed{b: func() [SeedSize]byte { return b }}
}

// ParseSeed parses the 32 bytes returned by [Seed.Bytes]. It returns an error
// wrapping [ErrKey] for any other length.
func ParseSeed(b []byte) (Seed, error) {
	if len(b) != SeedSize {
		return Seed{}, fmt.Errorf("%w: seed of %d bytes", ErrKey, len(b))
	}
	a := [SeedSize]byte(b)
	return Seed{b: func() [SeedSize]byte { return a }}, nil
}

// Bytes returns the 32 secret bytes of s, for the content that is sealed to the
// auditor. It returns nil for the zero Seed.
func (s Seed) Bytes() []byte {
	if s.b == nil {
		return nil
	}
	b := s.b()
	return b[:]
}

// Format prints a fixed text for every verb.
func (s Seed) Format(f fmt.State, _ rune) { io.WriteString(f, "oprf.Seed(hidden)") }

// MarshalText returns a fixed text, for log/slog and encoding/json.
func (s Seed) MarshalText() ([]byte, error) { return []byte("hidden"), nil }

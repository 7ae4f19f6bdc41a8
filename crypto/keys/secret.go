package keys

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
)

// encodePEM returns the one PEM encoding that parsePEM accepts.
func encodePEM(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

// parsePEM accepts exactly one block, without headers, as encodePEM writes it.
func parsePEM(kind string, text []byte) ([]byte, bool) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind || len(block.Headers) != 0 || !bytes.Equal(encodePEM(kind, block.Bytes), text) {
		return nil, false
	}
	return block.Bytes, true
}

func loadPEM(path, kind string) ([]byte, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	b, ok := parsePEM(kind, text)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not one PEM block %q", ErrDamaged, path, kind)
	}
	return b, nil
}

const (
	signingKind   = "PRIVATE KEY" // PKCS #8, RFC 5958
	pseudonymKind = "PASSERELLE PSEUDONYM KEY"
)

// A SigningKey is an Ed25519 key. It is a crypto.Signer. The zero SigningKey is
// not a key.
type SigningKey struct {
	pub ed25519.PublicKey

	// key is a function, so that nothing that walks a struct can print the key.
	key func() ed25519.PrivateKey
}

// GenerateSigningKey makes a new key from crypto/rand.
func GenerateSigningKey() SigningKey {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:]) // never fails, see its documentation
	return NewSigningKey(ed25519.NewKeyFromSeed(seed[:]))
}

// NewSigningKey returns the SigningKey for an Ed25519 key. It panics if key has
// another length than such a key.
func NewSigningKey(key ed25519.PrivateKey) SigningKey {
	if len(key) != ed25519.PrivateKeySize {
		panic("keys: internal error: NewSigningKey without a key")
	}
	k := bytes.Clone(key)
	return SigningKey{pub: bytes.Clone(key[32:]), key: func() ed25519.PrivateKey { return k }}
}

// Public returns the public key, an ed25519.PublicKey.
func (k SigningKey) Public() crypto.PublicKey { return k.PublicKey() }

// PublicKey returns the public key.
func (k SigningKey) PublicKey() ed25519.PublicKey { return bytes.Clone(k.pub) }

// KeyID returns the public name of k: the first 8 bytes of the SHA-256 hash of
// the public key, in hexadecimal.
func (k SigningKey) KeyID() string {
	h := sha256.Sum256(k.pub)
	return hex.EncodeToString(h[:8])
}

// Sign signs a message, with the contract of crypto.Signer and of
// ed25519.PrivateKey: opts is crypto.Hash(0) for a message that is not hashed.
func (k SigningKey) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.key().Sign(rand, message, opts)
}

// Key returns a copy of the secret key, for those who need its bytes.
func (k SigningKey) Key() ed25519.PrivateKey { return bytes.Clone(k.key()) }

// Format prints the KeyID for every verb.
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, "keys.SigningKey("+k.KeyID()+")") }

// MarshalText returns the KeyID, for log/slog and encoding/json.
func (k SigningKey) MarshalText() ([]byte, error) { return []byte(k.KeyID()), nil }

// Store writes k to a file and replaces one that exists.
func (k SigningKey) Store(path string) error { return k.store(path, true) }

func (k SigningKey) store(path string, replace bool) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.key())
	if err != nil {
		return fmt.Errorf("keys: internal error: %w", err)
	}
	return writeFile(path, encodePEM(signingKind, der), replace)
}

// CreateSigningKey makes a new key and writes it to a file. It returns an error
// wrapping [ErrExists] if there is a file.
func CreateSigningKey(path string) (SigningKey, error) {
	k := GenerateSigningKey()
	if err := k.store(path, false); err != nil {
		return SigningKey{}, err
	}
	return k, nil
}

// LoadSigningKey reads a key that was stored. It returns an error wrapping
// [ErrNotFound], [ErrDamaged] or [ErrPermissions].
func LoadSigningKey(path string) (SigningKey, error) {
	der, err := loadPEM(path, signingKind)
	if err != nil {
		return SigningKey{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return SigningKey{}, fmt.Errorf("%w: %s is not a PKCS #8 key", ErrDamaged, path)
	}
	k, ok := key.(ed25519.PrivateKey)
	if !ok {
		return SigningKey{}, fmt.Errorf("%w: %s is not an Ed25519 key", ErrDamaged, path)
	}
	return NewSigningKey(k), nil
}

// PseudonymKeySize is the size of a pseudonym key, in bytes.
const PseudonymKeySize = 32

// A PseudonymKey is the national key of pseudonyms. Erasing it makes the
// pseudonyms in old log entries those of nobody. The zero PseudonymKey is not a
// key.
type PseudonymKey struct {
	key func() []byte // a function for the reason given at SigningKey
}

// GeneratePseudonymKey makes a new key from crypto/rand.
func GeneratePseudonymKey() PseudonymKey {
	b := make([]byte, PseudonymKeySize)
	rand.Read(b) // never fails, see its documentation
	return PseudonymKey{key: func() []byte { return b }}
}

// ParsePseudonymKey parses the bytes of a key. It returns an error wrapping
// [ErrInput] unless there are PseudonymKeySize of them.
func ParsePseudonymKey(b []byte) (PseudonymKey, error) {
	if len(b) != PseudonymKeySize {
		return PseudonymKey{}, fmt.Errorf("%w: pseudonym key of %d bytes", ErrInput, len(b))
	}
	k := bytes.Clone(b)
	return PseudonymKey{key: func() []byte { return k }}, nil
}

// Format prints a fixed text for every verb.
func (k PseudonymKey) Format(f fmt.State, _ rune) { io.WriteString(f, "keys.PseudonymKey(hidden)") }

// MarshalText returns a fixed text, for log/slog and encoding/json.
func (k PseudonymKey) MarshalText() ([]byte, error) { return []byte("hidden"), nil }

// Store writes k to a file and replaces one that exists.
func (k PseudonymKey) Store(path string) error {
	return writeFile(path, encodePEM(pseudonymKind, k.key()), true)
}

// CreatePseudonymKey makes a new key and writes it to a file. It returns an error
// wrapping [ErrExists] if there is a file.
func CreatePseudonymKey(path string) (PseudonymKey, error) {
	k := GeneratePseudonymKey()
	if err := writeFile(path, encodePEM(pseudonymKind, k.key()), false); err != nil {
		return PseudonymKey{}, err
	}
	return k, nil
}

// LoadPseudonymKey reads a key that was stored. It returns an error wrapping
// [ErrNotFound], [ErrDamaged] or [ErrPermissions].
func LoadPseudonymKey(path string) (PseudonymKey, error) {
	b, err := loadPEM(path, pseudonymKind)
	if err != nil {
		return PseudonymKey{}, err
	}
	if len(b) != PseudonymKeySize {
		return PseudonymKey{}, fmt.Errorf("%w: %s has a key of %d bytes", ErrDamaged, path, len(b))
	}
	return PseudonymKey{key: func() []byte { return b }}, nil
}

// Pseudonym returns what stands for id in log entries: the first 16 bytes of
// HMAC-SHA-256 under k over "passerelle/keys/v1 pseudonym\n" and id.
//
// Equal ids have equal pseudonyms, so a reader of the log sees that two entries
// are of one officer, but not of whom. Without the key no pseudonym can be tested
// against an id. Pseudonym panics on the zero PseudonymKey.
func Pseudonym(k PseudonymKey, id string) [16]byte {
	h := hmac.New(sha256.New, k.key())
	h.Write([]byte("passerelle/keys/v1 pseudonym\n"))
	h.Write([]byte(id))
	return [16]byte(h.Sum(nil))
}

// secretKind returns the type of the PEM block of a secret.
func secretKind(kind string) (string, error) {
	if len(kind) == 0 || len(kind) > MaxNameSize {
		return "", fmt.Errorf("%w: kind of %d bytes", ErrInput, len(kind))
	}
	for i, c := range []byte(kind) {
		if !('A' <= c && c <= 'Z' || i > 0 && i < len(kind)-1 && c == ' ') {
			return "", fmt.Errorf("%w: kind %q is not in capital letters", ErrInput, kind)
		}
	}
	return "PASSERELLE " + kind, nil
}

// StoreSecret writes other secret bytes, 1 to MaxKeySize, to a file and replaces
// one that exists. The kind, such as "CHANNEL KEY", is checked when it is loaded,
// so that no file serves for another; it has capital letters and spaces.
func StoreSecret(path, kind string, secret []byte) error {
	k, err := secretKind(kind)
	if err != nil {
		return err
	}
	if len(secret) == 0 || len(secret) > MaxKeySize {
		return fmt.Errorf("%w: secret of %d bytes", ErrInput, len(secret))
	}
	return writeFile(path, encodePEM(k, secret), true)
}

// LoadSecret reads what StoreSecret wrote. It returns an error wrapping
// [ErrNotFound], [ErrDamaged] or [ErrPermissions].
func LoadSecret(path, kind string) ([]byte, error) {
	k, err := secretKind(kind)
	if err != nil {
		return nil, err
	}
	return loadPEM(path, k)
}

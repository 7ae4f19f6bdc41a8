package sealed

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

const (
	recipientPrefix = "passerelle-recipient1"
	identityPrefix  = "passerelle-identity1"
	keyIDDomain     = "passerelle/v1 sealed key id\x00"
	checksumSize    = 4
)

// A Recipient is the public key of somebody who can open envelopes. Its zero value
// is invalid.
type Recipient struct {
	id   [KeyIDSize]byte
	text string
	key  hpke.PublicKey
}

// newRecipient returns the Recipient of a public key.
func newRecipient(pk hpke.PublicKey) Recipient {
	raw := pk.Bytes()
	sum := sha256.Sum256(append([]byte(keyIDDomain), raw...))
	return Recipient{id: [KeyIDSize]byte(sum[:]), text: encode(recipientPrefix, raw), key: pk}
}

// ParseRecipient parses the form that [Recipient.String] returns, and only that. It
// returns an error wrapping [ErrKey].
func ParseRecipient(s string) (Recipient, error) {
	raw, err := decode(recipientPrefix, s, RecipientSize)
	if err != nil {
		return Recipient{}, err
	}
	pk, err := hpke.MLKEM768X25519().NewPublicKey(raw)
	if err != nil {
		return Recipient{}, fmt.Errorf("%w: recipient: not a public key", ErrKey)
	}
	return newRecipient(pk), nil
}

// KeyID returns the first 8 bytes of SHA-256("passerelle/v1 sealed key id\0" || key).
func (r Recipient) KeyID() [KeyIDSize]byte { return r.id }

// IsZero reports whether r is the zero Recipient.
func (r Recipient) IsZero() bool { return r.key == nil }

// String returns r as one line: "passerelle-recipient1", then the key and four
// bytes of checksum in unpadded base64url. It returns "" for the zero Recipient.
func (r Recipient) String() string { return r.text }

// MarshalText returns the same as [Recipient.String].
func (r Recipient) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// An Identity is the private key of somebody who can open envelopes. It is secret,
// and only its key id may be shown. Its zero value is invalid.
type Identity struct {
	_         [0]func() // not comparable: == is not constant time
	recipient Recipient
	secret    func() hpke.PrivateKey // a closure, so that fmt cannot print it
}

// GenerateIdentity returns a fresh Identity.
func GenerateIdentity() (Identity, error) {
	k, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return Identity{}, fmt.Errorf("sealed: generating an identity: %v", err)
	}
	return newIdentity(k), nil
}

func newIdentity(k hpke.PrivateKey) Identity {
	return Identity{recipient: newRecipient(k.PublicKey()), secret: func() hpke.PrivateKey { return k }}
}

// ParseIdentity parses the form that [Identity.Reveal] returns, and only that. It
// returns an error wrapping [ErrKey], which does not hold the text.
func ParseIdentity(s string) (Identity, error) {
	raw, err := decode(identityPrefix, s, IdentitySize)
	if err != nil {
		return Identity{}, err
	}
	k, err := hpke.MLKEM768X25519().NewPrivateKey(raw)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: identity: not a private key", ErrKey)
	}
	return newIdentity(k), nil
}

// Recipient returns the public key of i, the zero Recipient for the zero Identity.
func (i Identity) Recipient() Recipient { return i.recipient }

// Reveal returns i as one line: "passerelle-identity1", then the key and four bytes
// of checksum in unpadded base64url. The result is secret: it belongs into a file
// that only its owner can read, and into nothing else. It returns "" for the zero
// Identity.
func (i Identity) Reveal() string {
	if i.secret == nil {
		return ""
	}
	raw, err := i.secret().Bytes()
	if err != nil {
		// Only keys that were made without a seed have no bytes, and there is
		// no way to make an Identity from such.
		panic("sealed: internal error: " + err.Error())
	}
	return encode(identityPrefix, raw)
}

// Format prints the key id for every verb, so that no log line, panic, or test
// failure can hold the key.
func (i Identity) Format(f fmt.State, _ rune) { io.WriteString(f, i.name()) }

// MarshalText returns the key id, for log/slog and encoding/json.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.name()), nil }

func (i Identity) name() string {
	return "sealed.Identity(" + hex.EncodeToString(i.recipient.id[:]) + ")"
}

// encode returns the text form of a key.
func encode(prefix string, raw []byte) string {
	sum := sha256.Sum256(append([]byte(prefix), raw...))
	return prefix + base64.RawURLEncoding.EncodeToString(append(raw[:len(raw):len(raw)], sum[:checksumSize]...))
}

// decode parses what encode returns. The checksum finds slips of the hand; it does
// not authenticate the key.
func decode(prefix, s string, size int) ([]byte, error) {
	kind := strings.TrimSuffix(strings.TrimPrefix(prefix, "passerelle-"), "1")
	body, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return nil, fmt.Errorf("%w: not a %s", ErrKey, kind)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != size+checksumSize {
		return nil, fmt.Errorf("%w: %s: damaged or incomplete", ErrKey, kind)
	}
	if encode(prefix, raw[:size]) != s {
		return nil, fmt.Errorf("%w: %s: checksum", ErrKey, kind)
	}
	return raw[:size], nil
}

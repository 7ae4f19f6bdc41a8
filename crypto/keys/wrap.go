package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

const (
	wrapMagic       = "passerelle epoch key\n"
	destroyedMagic  = "passerelle destroyed\n" // of the same length
	wrapVersion     = 1
	wrappingKeySize = 32
	nonceSize       = 12
	tagSize         = 16

	// MaxKeySize bounds an epoch key, in bytes.
	MaxKeySize = 1 << 14

	// MaxNameSize bounds the name of a collection and a key ID, in bytes.
	MaxNameSize = 64

	maxMillis = 253402300799999 // the end of the year 9999
)

// A header is what may be known of an epoch key.
type header struct {
	epoch      uint32
	collection string
	keyID      string
	created    time.Time
}

func (h *header) bytes(magic string) []byte {
	var b cryptobyte.Builder
	b.AddBytes([]byte(magic))
	b.AddUint8(wrapVersion)
	b.AddUint32(h.epoch)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(h.collection)) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(h.keyID)) })
	b.AddUint64(uint64(h.created.UnixMilli()))
	return b.BytesOrPanic()
}

func readHeader(s *cryptobyte.String, magic string) (h header, ok bool) {
	var (
		m                 []byte
		version           uint8
		collection, keyID cryptobyte.String
		created           uint64
	)
	if !s.ReadBytes(&m, len(magic)) || string(m) != magic ||
		!s.ReadUint8(&version) || version != wrapVersion ||
		!s.ReadUint32(&h.epoch) ||
		!s.ReadUint8LengthPrefixed(&collection) || checkName(string(collection)) != nil ||
		!s.ReadUint8LengthPrefixed(&keyID) || checkName(string(keyID)) != nil ||
		!s.ReadUint64(&created) || created > maxMillis {
		return header{}, false
	}
	h.collection, h.keyID = string(collection), string(keyID)
	h.created = time.UnixMilli(int64(created)).UTC()
	return h, true
}

// checkName accepts letters, digits, and ".", "_", "-" after the first, so that a
// name can be that of a folder.
func checkName(s string) error {
	if len(s) == 0 || len(s) > MaxNameSize {
		return fmt.Errorf("%w: name of %d bytes", ErrInput, len(s))
	}
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return fmt.Errorf("%w: name with a character %q", ErrInput, c)
		}
	}
	return nil
}

// wrap returns the encoding of a wrapped key.
func wrap(h *header, wrappingKey, key []byte) ([]byte, error) {
	aead, err := newAEAD(wrappingKey)
	if err != nil {
		return nil, err
	}
	head := h.bytes(wrapMagic)
	nonce := make([]byte, nonceSize)
	rand.Read(nonce) // never fails, see its documentation
	var b cryptobyte.Builder
	b.AddBytes(head)
	b.AddBytes(nonce)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(aead.Seal(nil, nonce, key, head)) })
	return b.BytesOrPanic(), nil
}

// parseWrapped parses a wrapped key. It is the inverse of wrap for the header.
func parseWrapped(b []byte) (h header, head, nonce, ciphertext []byte, ok bool) {
	s := cryptobyte.String(b)
	h, ok = readHeader(&s, wrapMagic)
	if !ok {
		return header{}, nil, nil, nil, false
	}
	head = b[:len(b)-len(s)]
	var c cryptobyte.String
	if !s.ReadBytes(&nonce, nonceSize) || !s.ReadUint16LengthPrefixed(&c) || !s.Empty() ||
		len(c) <= tagSize || len(c) > MaxKeySize+tagSize {
		return header{}, nil, nil, nil, false
	}
	return h, head, nonce, c, true
}

// unwrap opens a wrapped key.
func unwrap(b, wrappingKey []byte) (h header, key []byte, err error) {
	h, head, nonce, ciphertext, ok := parseWrapped(b)
	if !ok {
		return header{}, nil, fmt.Errorf("%w: malformed wrapped key", ErrDamaged)
	}
	aead, err := newAEAD(wrappingKey)
	if err != nil {
		return header{}, nil, err
	}
	key, err = aead.Open(nil, nonce, ciphertext, head)
	if err != nil {
		return header{}, nil, fmt.Errorf("%w: wrapped key does not open", ErrDamaged)
	}
	return h, key, nil
}

func newAEAD(wrappingKey []byte) (cipher.AEAD, error) {
	if len(wrappingKey) != wrappingKeySize {
		return nil, fmt.Errorf("%w: wrapping key of %d bytes", ErrDamaged, len(wrappingKey))
	}
	block, err := aes.NewCipher(wrappingKey)
	if err != nil {
		return nil, fmt.Errorf("keys: internal error: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("keys: internal error: %w", err)
	}
	return aead, nil
}

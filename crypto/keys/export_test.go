package keys

import "crypto/ed25519"

// Wrap wraps a key as Create does.
func Wrap(epoch uint32, collection, keyID string, wrappingKey, key []byte) []byte {
	b, err := wrap(&header{epoch: epoch, collection: collection, keyID: keyID}, wrappingKey, key)
	if err != nil {
		panic(err)
	}
	return b
}

// Unwrap opens a wrapped key.
func Unwrap(b, wrappingKey []byte) ([]byte, error) {
	_, key, err := unwrap(b, wrappingKey)
	return key, err
}

// Reencode parses a wrapped key or a mark and encodes it again.
func Reencode(b []byte) (again []byte, ok bool) {
	if h, at, ok := parseMark(b); ok {
		return markBytes(h, at), true
	}
	h, _, nonce, c, ok := parseWrapped(b)
	if !ok {
		return nil, false
	}
	again = append(h.bytes(wrapMagic), nonce...)
	again = append(again, byte(len(c)>>8), byte(len(c)))
	return append(again, c...), true
}

// ReencodePEM does the same for a PEM file.
func ReencodePEM(kind string, text []byte) (again []byte, ok bool) {
	b, ok := parsePEM(kind, text)
	if !ok {
		return nil, false
	}
	return encodePEM(kind, b), true
}

// PrivateSeed returns the secret bytes of k.
func PrivateSeed(k SigningKey) []byte { return ed25519.PrivateKey(k.key()).Seed() }

// PseudonymBytes returns the secret bytes of k.
func PseudonymBytes(k PseudonymKey) []byte { return k.key() }

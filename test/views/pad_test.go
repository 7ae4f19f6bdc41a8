package views_test

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// labelPad returns the pad of a label as the comment of package psi defines it. It
// is written again here, so that the test does not trust what it tests.
func labelPad(f oprf.Output, j int, nonce [16]byte) [16]byte {
	h := hmac.New(sha256.New, f[:]) // T(1) of HKDF-Expand, RFC 5869, Section 2.3
	h.Write([]byte("passerelle/psi/v1 label"))
	h.Write([]byte{byte(j)})
	h.Write(nonce[:])
	h.Write([]byte{1})
	return [16]byte(h.Sum(nil))
}

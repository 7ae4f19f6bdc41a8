package peer

import (
	"crypto/ecdsa"
	"crypto/x509"
)

// Signer returns the certificate and key of the newest authority certificate,
// for tests that play a hostile country.
func (a *Authority) Signer() (*x509.Certificate, *ecdsa.PrivateKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.signers[len(a.signers)-1]
	return s.cert, s.key
}

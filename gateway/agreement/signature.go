package agreement

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	signatureVersion = 1
	signatureSize    = 1 + ed25519.PublicKeySize + 2*ed25519.SignatureSize
	officerDomain    = "passerelle/v1 agreement officer\x00"
	gatewayDomain    = "passerelle/v1 agreement gateway\x00"
	linePrefix       = "— "
)

// ErrUnsigned is returned for an agreement that lacks the signature of a party.
var ErrUnsigned = errors.New("agreement: not signed by both parties")

// ErrSignature is returned for an agreement with a signature that does not
// verify, in whatever way it is wrong. It is the fault of whoever sent the file.
var ErrSignature = errors.New("agreement: invalid signature")

// A Signature is that of a legal officer, with the attestation of their gateway
// that the key is theirs.
type Signature struct {
	TrustDomain      string // of the party
	Officer          string // SPIFFE ID, spiffe://<trust domain>/officer/<id>
	OfficerKey       [ed25519.PublicKeySize]byte
	OfficerSignature [ed25519.SignatureSize]byte
	GatewaySignature [ed25519.SignatureSize]byte
}

// line returns the line in a file, with its newline.
func (s *Signature) line() string {
	b := make([]byte, 0, signatureSize)
	b = append(b, signatureVersion)
	b = append(b, s.OfficerKey[:]...)
	b = append(b, s.OfficerSignature[:]...)
	b = append(b, s.GatewaySignature[:]...)
	return linePrefix + s.TrustDomain + " " + s.Officer + " " + base64.StdEncoding.EncodeToString(b) + "\n"
}

// parseSignature parses one line with its newline.
func parseSignature(line string) (Signature, error) {
	bad := fmt.Errorf("%w: signature line", ErrMalformed)
	body, ok1 := strings.CutSuffix(line, "\n")
	body, ok2 := strings.CutPrefix(body, linePrefix)
	f := strings.Split(body, " ")
	if !ok1 || !ok2 || len(f) != 3 || !isTrustDomain(f[0]) || !isMember(f[1], f[0], "officer") {
		return Signature{}, bad
	}
	b, err := base64.StdEncoding.Strict().DecodeString(f[2])
	if err != nil || len(b) != signatureSize || b[0] != signatureVersion {
		return Signature{}, bad
	}
	s := Signature{TrustDomain: f[0], Officer: f[1]}
	b = b[1:]
	b = b[copy(s.OfficerKey[:], b):]
	b = b[copy(s.OfficerSignature[:], b):]
	copy(s.GatewaySignature[:], b)
	return s, nil
}

// ordered checks that signatures are of different parties, in their order.
func (a *Agreement) ordered() error {
	next := 0
	for i := range a.Signatures {
		for next < len(a.Parties) && a.Parties[next].TrustDomain != a.Signatures[i].TrustDomain {
			next++
		}
		if next == len(a.Parties) {
			return fmt.Errorf("%w: signature of no party, twice of one, or out of order", ErrMalformed)
		}
		next++
	}
	return nil
}

// SigningBytes returns what the legal officer with the given SPIFFE ID signs with
// their own Ed25519 key:
//
//	struct {
//	    opaque domain[32] = "passerelle/v1 agreement officer\0";
//	    opaque digest[32];
//	    opaque officer<0..2^16-1>;
//	} OfficerStatement;
func SigningBytes(d Digest, officer string) []byte {
	b := append([]byte(officerDomain), d[:]...)
	return appendString(b, officer)
}

// attestation returns what the gateway signs:
//
//	struct {
//	    opaque domain[32] = "passerelle/v1 agreement gateway\0";
//	    opaque digest[32];
//	    opaque trust_domain<0..2^16-1>;
//	    opaque officer<0..2^16-1>;
//	    opaque officer_key[32];
//	    opaque officer_signature[64];
//	} Attestation;
func (s *Signature) attestation(d Digest) []byte {
	b := append([]byte(gatewayDomain), d[:]...)
	b = appendString(b, s.TrustDomain)
	b = appendString(b, s.Officer)
	b = append(b, s.OfficerKey[:]...)
	return append(b, s.OfficerSignature[:]...)
}

func appendString(b []byte, s string) []byte {
	b = append(b, byte(len(s)>>8), byte(len(s)))
	return append(b, s...)
}

// Sign signs a for the party of trustDomain with the key of one of its legal
// officers, and attests that key with the key of its gateway. Both keys must be
// Ed25519. See [Agreement.AddSignature], which it calls, where the two keys are
// not in one place.
func (a *Agreement) Sign(trustDomain, officer string, officerKey, gatewayKey crypto.Signer) error {
	pub, ok := officerKey.Public().(ed25519.PublicKey)
	if !ok {
		return fmt.Errorf("agreement: signing: the officer's key is not Ed25519")
	}
	sig, err := officerKey.Sign(nil, SigningBytes(a.Digest(), officer), crypto.Hash(0))
	if err != nil {
		return fmt.Errorf("agreement: signing as officer: %w", err)
	}
	return a.AddSignature(trustDomain, officer, pub, sig, gatewayKey)
}

// AddSignature adds the signature that an officer made over [SigningBytes], with
// the attestation of the gateway. It replaces an earlier one of that party.
//
// Callers must have checked that officerKey is the key of an officer who is
// enrolled as a legal officer of the party now, because that is what the
// attestation says. It returns the faults of an agreement that is not complete
// and valid, an error wrapping [ErrParty] if trustDomain is no party, and one
// wrapping [ErrSignature] if the officer's signature does not verify; then a is
// unchanged.
func (a *Agreement) AddSignature(trustDomain, officer string, officerKey ed25519.PublicKey, signature []byte,
	gatewayKey crypto.Signer) error {

	if err := a.validate(true); err != nil {
		return err
	}
	if _, err := a.Party(trustDomain); err != nil {
		return err
	}
	if !isMember(officer, trustDomain, "officer") {
		return fmt.Errorf("agreement: signing: officer is not of the party's trust domain")
	}
	if pub, ok := gatewayKey.Public().(ed25519.PublicKey); !ok || len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("agreement: signing: the gateway's key is not Ed25519")
	}
	d := a.Digest()
	if len(officerKey) != ed25519.PublicKeySize || !ed25519.Verify(officerKey, SigningBytes(d, officer), signature) {
		return ErrSignature
	}
	s := Signature{TrustDomain: trustDomain, Officer: officer}
	copy(s.OfficerKey[:], officerKey)
	copy(s.OfficerSignature[:], signature)
	sig, err := gatewayKey.Sign(nil, s.attestation(d), crypto.Hash(0))
	if err != nil || len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("agreement: signing as gateway: %w", err)
	}
	copy(s.GatewaySignature[:], sig)
	a.put(s)
	return nil
}

// put adds s in the order of the parties.
func (a *Agreement) put(s Signature) {
	all := slices.DeleteFunc(list(a.Signatures), func(o Signature) bool { return o.TrustDomain == s.TrustDomain })
	if s.TrustDomain == a.Parties[0].TrustDomain {
		a.Signatures = slices.Insert(all, 0, s)
	} else {
		a.Signatures = append(all, s)
	}
}

// Merge adds the signatures of other, which must be the same agreement, and
// returns an error wrapping [ErrDigest] if it is not. A neighbour sends its signed
// copy back, and this puts both into one file. It verifies nothing.
func (a *Agreement) Merge(other *Agreement) error {
	if !bytes.Equal(a.Body(), other.Body()) {
		return fmt.Errorf("%w: the copies differ", ErrDigest)
	}
	for _, s := range other.Signatures {
		a.put(s)
	}
	return nil
}

// SignedBy reports whether there is a signature of the party of trustDomain. It
// verifies nothing.
func (a *Agreement) SignedBy(trustDomain string) bool {
	return slices.ContainsFunc(a.Signatures, func(s Signature) bool { return s.TrustDomain == trustDomain })
}

// CheckSignatures verifies that a is complete and valid and signed by both
// parties, each attested by the gateway key of its trust domain in keys. Keys must
// come from the neighbour's invite and from our own configuration, never from the
// file.
//
// It returns an error wrapping [ErrUnsigned] if a signature or the key for one is
// missing, and one wrapping [ErrSignature] if one does not verify.
func (a *Agreement) CheckSignatures(keys map[string]ed25519.PublicKey) error {
	if err := a.validate(true); err != nil {
		return err
	}
	if err := a.ordered(); err != nil {
		return err
	}
	for i := range a.Parties {
		if err := a.CheckSignature(a.Parties[i].TrustDomain, keys[a.Parties[i].TrustDomain]); err != nil {
			return err
		}
	}
	return nil
}

// CheckSignature verifies the signature of one party, as CheckSignatures does for
// both.
func (a *Agreement) CheckSignature(trustDomain string, gatewayKey ed25519.PublicKey) error {
	i := slices.IndexFunc(a.Signatures, func(s Signature) bool { return s.TrustDomain == trustDomain })
	if i < 0 || len(gatewayKey) == 0 {
		return fmt.Errorf("%w: %q", ErrUnsigned, trustDomain)
	}
	s, d := &a.Signatures[i], a.Digest()
	if len(gatewayKey) != ed25519.PublicKeySize || !isMember(s.Officer, trustDomain, "officer") ||
		!ed25519.Verify(gatewayKey, s.attestation(d), s.GatewaySignature[:]) ||
		!ed25519.Verify(s.OfficerKey[:], SigningBytes(d, s.Officer), s.OfficerSignature[:]) {
		return fmt.Errorf("%w: of %q", ErrSignature, trustDomain)
	}
	return nil
}

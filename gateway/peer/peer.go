// Package peer says who is at the other end of a connection: the identity of
// this gateway, the countries it is federated with, and the TLS between them,
// as defined in the SPIFFE standards ([SPIFFE-ID], [X509-SVID], [Federation])
// and RFC 8446.
//
// Each country is one SPIFFE trust domain. Two kinds of identities exist:
//
//	spiffe://<trust domain>/gateway/<name>
//	spiffe://<trust domain>/officer/<id>
//
// The SVID and the bundle of this gateway come from a [Source]: the embedded
// [Authority], or the SPIFFE Workload API ([OpenWorkload]). Everything known of
// the neighbours is in a [Federation], which starts with an [Invite]: one signed
// text file whose [Invite.Fingerprint] two people compare by telephone.
//
// # Rules
//
//   - An SVID is verified only with the bundle of its own trust domain. Bundles
//     are never pooled, so that the authority of one country cannot speak for
//     another.
//   - TLS 1.3 only, no session tickets, and verification in VerifyConnection,
//     which Go also runs on resumed sessions: a resumed session never outlives a
//     federation. A resumed session is refused in any case. Unlike this package,
//     go-spiffe v2.9.0 verifies in VerifyPeerCertificate, which Go does not call
//     on resumption.
//   - A stranger and a country whose federation ended get the same answer.
//   - Handshakes cannot cover connections that stay open. Callers must call
//     [Federation.Authorize] on every RPC, and end streams on [Federation.Done].
//
// # Bundles of a peer
//
// The bundle of a peer changes only in three ways: an operator accepts an invite
// after comparing its fingerprint ([Federation.Accept]); a newer invite signed by
// the key of the accepted one arrives ([Federation.Update]); or the bundle
// endpoint that the invite names is fetched with the profile that the invite
// names ([Federation.Refresh]). There is no fallback from one to another.
//
// # Who learns what
//
// The network sees the trust domain and the name of a gateway only as the
// address it connects to: in TLS 1.3 certificates are encrypted. An active
// attacker who connects to a gateway learns its certificate.
//
// All types may be used concurrently unless they say otherwise.
//
// Out of scope: what a peer may ask (packages agreement and policy), revocation
// of single SVIDs (they live one hour), and HTTP or gRPC on top of the TLS.
//
// [SPIFFE-ID]: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
// [X509-SVID]: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
// [Federation]: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Federation.md
package peer

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	// KindGateway is the first path segment of the ID of a gateway.
	KindGateway = "gateway"

	// KindOfficer is the first path segment of the ID of an officer.
	KindOfficer = "officer"

	// MaxNameSize is the longest name of a gateway or officer, in bytes.
	MaxNameSize = 64
)

var (
	// ErrID is returned for a string that is not an ID of the two forms of this
	// package, or for a certificate that does not hold one.
	ErrID = errors.New("peer: invalid SPIFFE ID")

	// ErrNotFederated is returned for a trust domain that is unknown and for one
	// whose federation ended, without a difference, and for an ID in a federated
	// trust domain that is not one of its gateways. It is the peer's fault.
	ErrNotFederated = errors.New("peer: not federated")

	// ErrRefused is returned by a handshake when the other end has no SVID, or
	// one that does not verify or is not the expected one. The text holds the
	// cause for our log; on the wire there is one alert.
	ErrRefused = errors.New("peer: refused")
)

// An ID is a SPIFFE ID of one of the forms that this package knows. Between
// rooms it travels as the string that [ID.String] returns.
type ID struct {
	TrustDomain string // such as "registry.b.example", at most 255 bytes
	Kind        string // KindGateway or KindOfficer
	Name        string // one path segment, 1 to MaxNameSize bytes of [a-zA-Z0-9._-]
}

// String returns the ID as a URI. The inverse is [ParseID].
func (i ID) String() string {
	return "spiffe://" + i.TrustDomain + "/" + i.Kind + "/" + i.Name
}

// GatewayID returns the ID of a gateway. It returns an error wrapping [ErrID]
// for names that cannot be part of an ID.
func GatewayID(trustDomain, name string) (string, error) {
	return newID(trustDomain, KindGateway, name)
}

// OfficerID returns the ID of an officer. It returns an error wrapping [ErrID]
// for names that cannot be part of an ID.
func OfficerID(trustDomain, id string) (string, error) {
	return newID(trustDomain, KindOfficer, id)
}

func newID(trustDomain, kind, name string) (string, error) {
	s := ID{trustDomain, kind, name}.String()
	if _, err := ParseID(s); err != nil {
		return "", err
	}
	return s, nil
}

// ParseID parses an ID. There is exactly one valid encoding of every ID, so two
// IDs are the same if and only if their strings are.
func ParseID(s string) (ID, error) {
	id, err := spiffeid.FromString(s)
	if err != nil {
		return ID{}, fmt.Errorf("%w: %v", ErrID, err)
	}
	return fromSPIFFE(id)
}

func fromSPIFFE(id spiffeid.ID) (ID, error) {
	path := strings.Split(id.Path(), "/") // "/kind/name"
	if len(path) != 3 || path[1] != KindGateway && path[1] != KindOfficer {
		return ID{}, fmt.Errorf("%w: path must be /gateway/<name> or /officer/<id>", ErrID)
	}
	i := ID{id.TrustDomain().Name(), path[1], path[2]}
	if len(i.TrustDomain) > 255 || len(i.Name) > MaxNameSize {
		return ID{}, fmt.Errorf("%w: too long", ErrID)
	}
	return i, nil
}

// parseTrustDomain accepts the name of a trust domain, and not its URI as
// spiffeid does.
func parseTrustDomain(s string) (spiffeid.TrustDomain, error) {
	td, err := spiffeid.TrustDomainFromString(s)
	if err != nil || td.Name() != s || len(s) > 255 {
		return spiffeid.TrustDomain{}, fmt.Errorf("%w: trust domain %.260q", ErrID, s)
	}
	return td, nil
}

// IDFromCertificate returns the ID in the certificate of a peer. The certificate
// must come from a connection made with a configuration of this package: the ID
// is read here, not verified.
func IDFromCertificate(cert *x509.Certificate) (string, error) {
	if cert == nil {
		return "", fmt.Errorf("%w: no certificate", ErrID)
	}
	id, err := x509svid.IDFromCert(cert)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrID, err)
	}
	i, err := fromSPIFFE(id)
	if err != nil {
		return "", err
	}
	return i.String(), nil
}

// PublicKeyFromCertificate returns the Ed25519 key in the certificate of an
// officer. Callers must compare it with the key in the register: a certificate
// lives on for up to an hour after its officer was retired or changed keys.
func PublicKeyFromCertificate(cert *x509.Certificate) (ed25519.PublicKey, error) {
	if cert == nil {
		return nil, fmt.Errorf("%w: no certificate", ErrID)
	}
	pub, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: the key of the certificate is not an Ed25519 key", ErrID)
	}
	return pub, nil
}

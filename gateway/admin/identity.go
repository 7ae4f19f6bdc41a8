package admin

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
)

// An Issuer issues certificates to officers: the embedded authority.
type Issuer interface {
	// IssueOfficer returns the certificate for a PKCS #10 request, in PEM.
	IssueOfficer(csr []byte, id string, pub ed25519.PublicKey) ([]byte, error)
}

// An SVID is a certificate for an officer.
type SVID struct {
	Certificates [][]byte // DER, that of the officer first
	Bundle       [][]byte // DER of the authorities of our trust domain
	NotAfter     time.Time
}

// IssueSVID issues a certificate to an enrolled officer. The request is PKCS #10
// in DER; its signature, with the key that the register has for the officer that
// it names, is the only authentication.
//
// An officer who is unknown, or retired, or has another key, is one and the same
// refusal: this call must not tell a stranger who works here.
func (a *Admin) IssueSVID(ctx context.Context, csr []byte) (*SVID, error) {
	if a.Issuer == nil {
		return nil, query.Refuse(query.Precondition, errors.New("admin: certificates are issued elsewhere"))
	}
	if len(csr) > peer.MaxCSRSize {
		return nil, query.Refuse(query.TooLarge, peer.ErrRequest)
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil || len(req.URIs) != 1 {
		return nil, query.Refuse(query.Malformed, peer.ErrRequest)
	}
	now := a.Now()
	o, err := a.officerOf(req.URIs[0].String(), now)
	if err != nil {
		return nil, err
	}
	if key, ok := req.PublicKey.(ed25519.PublicKey); !ok || !key.Equal(o.PublicKey) || req.CheckSignature() != nil {
		return nil, query.Refuse(query.NotEnrolled, nil)
	}
	chain, err := a.Issuer.IssueOfficer(csr, o.ID, o.PublicKey)
	if errors.Is(err, peer.ErrRequest) {
		return nil, query.Refuse(query.NotEnrolled, err)
	}
	if err != nil {
		return nil, query.Refuse(query.Internal, err)
	}
	v := &SVID{}
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		v.Certificates = append(v.Certificates, block.Bytes)
	}
	if len(v.Certificates) == 0 {
		return nil, query.Refuse(query.Internal, errors.New("admin: no certificate was issued"))
	}
	leaf, err := x509.ParseCertificate(v.Certificates[0])
	if err != nil {
		return nil, query.Refuse(query.Internal, err)
	}
	v.NotAfter = leaf.NotAfter
	if v.Bundle, err = a.Authorities(); err != nil {
		return nil, query.Refuse(query.Internal, err)
	}
	return v, nil
}

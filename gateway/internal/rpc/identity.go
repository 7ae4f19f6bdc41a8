package rpc

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// An Issuer makes certificates for officers. It is implemented by peer.Authority.
type Issuer interface {
	// IssueOfficer returns the chain, in PEM, for a certificate request by the
	// officer with an id, whose key must be pub. It returns an error wrapping
	// peer.ErrRequest for a request that is not that officer's.
	IssueOfficer(csr []byte, id string, pub ed25519.PublicKey) (chain []byte, err error)
}

// IdentityConfig is what IdentityService is made of.
type IdentityConfig struct {
	TrustDomain string   // ours
	Officers    Officers // the register

	// Issuer is nil where certificates come from elsewhere, such as SPIRE: then
	// the service refuses with PRECONDITION_FAILED.
	Issuer Issuer

	// Bundle returns the authorities of our own trust domain, in DER.
	Bundle func() ([][]byte, error)
}

// NewIdentity returns IdentityService.
func NewIdentity(c IdentityConfig) Service {
	return Service{&pb.IdentityService_ServiceDesc, &identityServer{IdentityConfig: c}}
}

type identityServer struct {
	pb.UnimplementedIdentityServiceServer
	IdentityConfig
}

// IssueSVID implements IdentityService. Its caller is nobody yet: an officer who is
// not enrolled, one who is retired, another key, and a request that does not prove
// possession get the same answer.
func (s *identityServer) IssueSVID(_ context.Context, p *pb.IssueSVIDRequest) (*pb.IssueSVIDResponse, error) {
	if s.Issuer == nil {
		return nil, query.Refuse(query.Precondition, errors.New("rpc: officers' certificates come from elsewhere"))
	}
	csr := p.GetCertificateRequest()
	if len(csr) > peer.MaxCSRSize {
		return nil, query.Refuse(query.TooLarge, form("certificate_request"))
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil || len(req.URIs) != 1 {
		return nil, query.Refuse(query.Malformed, form("certificate_request"))
	}
	id, err := peer.ParseID(req.URIs[0].String())
	if err != nil || id.Kind != peer.KindOfficer || id.TrustDomain != s.TrustDomain {
		return nil, query.Refuse(query.NotEnrolled, errNobody)
	}
	var who officer.Officer
	who, ok := s.Officers.Lookup(id.Name)
	if !ok || !who.Retired.IsZero() {
		return nil, query.Refuse(query.NotEnrolled, errNobody)
	}
	chain, err := s.Issuer.IssueOfficer(csr, id.Name, who.PublicKey)
	switch {
	case errors.Is(err, peer.ErrRequest):
		return nil, query.Refuse(query.NotEnrolled, err)
	case err != nil:
		return nil, query.Refuse(query.Internal, err)
	}
	out := new(pb.IssueSVIDResponse)
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		out.Certificates = append(out.Certificates, block.Bytes)
	}
	if len(out.Certificates) == 0 {
		return nil, query.Refuse(query.Internal, errors.New("rpc: the authority gave no certificate"))
	}
	leaf, err := x509.ParseCertificate(out.Certificates[0])
	if err != nil {
		return nil, query.Refuse(query.Internal, errors.New("rpc: the authority gave no certificate"))
	}
	out.NotAfter = timestamppb.New(leaf.NotAfter)
	if out.Bundle, err = s.Bundle(); err != nil {
		return nil, query.Refuse(query.Internal, err)
	}
	return out, nil
}

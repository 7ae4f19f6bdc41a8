package rpc

import (
	"context"

	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// An Issuer makes certificates for officers. It is implemented by admin.Admin.
type Issuer interface {
	// IssueSVID issues a certificate for a PKCS #10 request in DER, whose proof of
	// possession is the only authentication. An officer who is unknown or retired,
	// or has another key, is one and the same refusal.
	IssueSVID(ctx context.Context, csr []byte) (*admin.SVID, error)
}

// IdentityService returns the service of that name over i. It is the only one that
// answers a connection without a certificate.
func IdentityService(i Issuer) Service {
	return Service{&pb.IdentityService_ServiceDesc, &identityServer{issuer: i}}
}

type identityServer struct {
	pb.UnimplementedIdentityServiceServer
	issuer Issuer
}

// IssueSVID implements IdentityService.
func (s *identityServer) IssueSVID(ctx context.Context, p *pb.IssueSVIDRequest) (*pb.IssueSVIDResponse, error) {
	csr := p.GetCertificateRequest()
	switch n := len(csr); {
	case n == 0:
		return nil, query.Refuse(query.Malformed, form("certificate_request"))
	case n > peer.MaxCSRSize:
		return nil, query.Refuse(query.TooLarge, form("certificate_request"))
	}
	svid, err := s.issuer.IssueSVID(ctx, csr)
	if err != nil {
		return nil, err
	}
	return &pb.IssueSVIDResponse{Certificates: svid.Certificates, Bundle: svid.Bundle, NotAfter: timestamp(svid.NotAfter)}, nil
}

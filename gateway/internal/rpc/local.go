package rpc

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	// maxLocalMessage bounds a message of an officer, in bytes: the largest is an
	// agreement of 1 MiB.
	maxLocalMessage = 2 << 20

	// maxLocal bounds the calls of officers at a time, and maxIssues those
	// without a certificate, which are not yet anybody's.
	maxLocal  = 256
	maxIssues = 8
)

// Officers says who is an officer. It is implemented by officer.Register.
type Officers interface {
	// HasKey reports whether an officer is in service with this key at now.
	HasKey(id string, pub ed25519.PublicKey, now time.Time) bool

	// Lookup returns an officer, retired or not.
	Lookup(id string) (officer.Officer, bool)
}

// LocalConfig is what the server for our own officers is made of.
type LocalConfig struct {
	TrustDomain string           // ours; required
	Register    Officers         // required
	TLS         *tls.Config      // required: peer.LocalServerTLS
	Now         func() time.Time // required

	// Services are what is served: [NationalService], [IdentityService] and the others.
	Services []Service

	// Health says how the gateway is. Nil means that it is serving.
	Health *health.Server

	// MessageTimeout bounds the time between two messages of a stream. Zero means
	// one minute.
	MessageTimeout time.Duration

	Options []grpc.ServerOption
	Logger  *slog.Logger        // nil discards
	Panics  func(method string) // counts panics; may be nil
}

// NewLocalServer returns the server for our own officers, on the Unix socket or a
// national network. Every call is an enrolled officer's, by the key of the
// certificate; a connection without one may call IdentityService.IssueSVID and
// nothing else. The caller serves and stops it.
func NewLocalServer(c LocalConfig) (*grpc.Server, error) {
	if c.TrustDomain == "" || c.Register == nil || c.TLS == nil || c.TLS.VerifyConnection == nil || c.Now == nil {
		return nil, errors.New("rpc: the server for officers needs a trust domain, a register, a clock, and TLS that verifies")
	}
	g := newGuard(c.Logger, c.Panics, c.MessageTimeout, officeTimeout)
	g.admit = func(ctx context.Context, method string) (context.Context, <-chan struct{}, []any, error) {
		if method == pb.IdentityService_IssueSVID_FullMethodName {
			return ctx, nil, nil, nil
		}
		caller, err := c.caller(ctx)
		if err != nil {
			return ctx, nil, nil, query.Refuse(query.NotEnrolled, err)
		}
		return context.WithValue(ctx, callerKey{}, caller), nil, nil, nil
	}
	issues, others := newGate(maxIssues, gateWait), newGate(maxLocal, gateWait)
	g.enter = func(ctx context.Context, method string) (func(), error) {
		if method == pb.IdentityService_IssueSVID_FullMethodName {
			return issues.enter(ctx, "")
		}
		caller, _ := CallerFromContext(ctx)
		return others.enter(ctx, caller.ID)
	}
	s := grpc.NewServer(g.options(credentials.NewTLS(c.TLS), maxLocalMessage, c.Options)...)
	if c.Health == nil {
		c.Health = health.NewServer()
	}
	g.register(s, Service{&healthpb.Health_ServiceDesc, c.Health})
	for _, service := range c.Services {
		g.register(s, service)
	}
	return s, nil
}

// errNobody is the cause of every refusal of a caller who is no enrolled officer.
var errNobody = errors.New("rpc: not the key of an enrolled officer")

// caller returns the officer of the connection of ctx. The certificate says who
// it is, and the register whether it still is.
func (c *LocalConfig) caller(ctx context.Context) (Caller, error) {
	info, ok := tlsInfo(ctx)
	if !ok {
		return Caller{}, errNotTLS
	}
	if len(info.State.PeerCertificates) == 0 {
		return Caller{}, errors.New("rpc: no certificate")
	}
	cert := info.State.PeerCertificates[0]
	now := c.Now()
	// A connection lives longer than the certificate it was made with.
	if now.After(cert.NotAfter) {
		return Caller{}, errors.New("rpc: the certificate of the connection has expired")
	}
	s, err := peer.IDFromCertificate(cert)
	if err != nil {
		return Caller{}, err
	}
	id, err := peer.ParseID(s)
	if err != nil {
		return Caller{}, err
	}
	pub, err := peer.PublicKeyFromCertificate(cert)
	if err != nil {
		return Caller{}, err
	}
	if id.Kind != peer.KindOfficer || id.TrustDomain != c.TrustDomain || !c.Register.HasKey(id.Name, pub, now) {
		return Caller{}, errNobody
	}
	who, ok := c.Register.Lookup(id.Name)
	if !ok {
		return Caller{}, errNobody
	}
	return Caller{ID: s, Officer: who}, nil
}

// A Caller is the officer who makes a call: enrolled, and in service when the call
// began.
type Caller struct {
	ID      string // SPIFFE ID
	Officer officer.Officer
}

// callerKey is the key of the calling officer in a context.
type callerKey struct{}

// CallerFromContext returns the officer who makes the call of ctx.
func CallerFromContext(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// requireRole returns the officer who makes the call of ctx, who must have one of
// roles, or a refusal with ROLE_REQUIRED. Every method of a local service begins
// with it. Without roles, any enrolled officer may call.
func requireRole(ctx context.Context, roles ...officer.Role) (Caller, error) {
	c, ok := CallerFromContext(ctx)
	if !ok {
		return Caller{}, query.Refuse(query.NotEnrolled, errNobody)
	}
	if len(roles) > 0 && !slices.ContainsFunc(roles, func(r officer.Role) bool { return slices.Contains(c.Officer.Roles, r) }) {
		return Caller{}, query.Refuse(query.RoleRequired, nil)
	}
	return c, nil
}

// signatureOf returns the signature in an OfficerSignature. Who has signed is the
// officer of the connection.
//
// A case system that passes on the signature of its user names that user. This
// needs an agreement of the register on which systems may, which there is not: it
// is refused as PRECONDITION_FAILED, and never taken as the word of the system.
func signatureOf(c Caller, s *pb.OfficerSignature) ([]byte, error) {
	if s.GetOfficer() != "" && s.GetOfficer() != c.ID {
		return nil, query.Refuse(query.Precondition, errors.New("rpc: a signature of another officer than the caller"))
	}
	if len(s.GetSignature()) != officer.SignatureSize {
		return nil, query.Refuse(query.SignatureInvalid, form("signature"))
	}
	return s.GetSignature(), nil
}

// Methods returns the full names of all methods of our services, with the leading
// slash: the closed set of names that telemetry may show.
func Methods() []string {
	var all []string
	for _, d := range []*grpc.ServiceDesc{&pb.PeerService_ServiceDesc, &pb.NationalService_ServiceDesc, &pb.AdminService_ServiceDesc,
		&pb.IdentityService_ServiceDesc, &pb.AuditService_ServiceDesc, &pb.PolicyService_ServiceDesc} {
		for _, m := range d.Methods {
			all = append(all, "/"+d.ServiceName+"/"+m.MethodName)
		}
		for _, s := range d.Streams {
			all = append(all, "/"+d.ServiceName+"/"+s.StreamName)
		}
	}
	return all
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	// maxAnswer is the largest message we accept, in bytes: sealed content is at
	// most 4 MiB and 4 KiB.
	maxAnswer = 5 << 20

	// defaultTimeout bounds a call whose duration does not grow with its input.
	defaultTimeout = 2 * time.Minute
)

// A connectionError is why our own gateway cannot be talked to.
type connectionError struct {
	text, advice string
}

func (e connectionError) Error() string { return e.text }

// An address says where a gateway listens.
type address struct {
	network, addr string // "unix" and a path, or "tcp" and host:port
	gatewayID     string // SPIFFE ID; empty: from the officer's trust domain and --gateway-name
}

// address reads --gateway.
func (a *app) address() (address, error) {
	if path, ok := strings.CutPrefix(a.gateway, "unix:"); ok {
		return address{network: "unix", addr: strings.TrimPrefix(path, "//")}, nil
	}
	info, err := os.Stat(a.gateway)
	if err != nil {
		if _, _, splitErr := net.SplitHostPort(a.gateway); splitErr == nil {
			return address{network: "tcp", addr: a.gateway}, nil
		}
		return address{}, connectionError{fmt.Sprintf("there is no gateway at %s", a.gateway),
			"give --gateway a gateway's folder, unix:PATH or host:port, or set PASSERELLE_GATEWAY"}
	}
	path := a.gateway
	if info.IsDir() {
		path = filepath.Join(path, gateway.ConfigFile)
	}
	c, err := gateway.LoadConfig(path)
	if errors.Is(err, fs.ErrNotExist) {
		return address{}, connectionError{fmt.Sprintf("there is no %s in %s", gateway.ConfigFile, a.gateway),
			"give --gateway a gateway's folder, unix:PATH or host:port, or set PASSERELLE_GATEWAY"}
	}
	if err != nil {
		return address{}, err
	}
	return address{network: "unix", addr: c.Socket, gatewayID: c.ID()}, nil
}

// openIdentity opens the officer's identity folder.
func (a *app) openIdentity() (*officer.Identity, error) {
	if a.identity == "" {
		return nil, usagef("which officer? give --identity DIR or set PASSERELLE_IDENTITY; `passerelle officer add` makes such a folder")
	}
	id, err := officer.OpenIdentity(a.identity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("there is no identity in %s; `passerelle officer add` makes such a folder", a.identity)
	}
	return id, err
}

// A client is a connection to our own gateway as an officer.
type client struct {
	conn *grpc.ClientConn
	id   *officer.Identity
	now  func() time.Time
}

func (c *client) national() passerellev1.NationalServiceClient {
	return passerellev1.NewNationalServiceClient(c.conn)
}

func (c *client) admin() passerellev1.AdminServiceClient {
	return passerellev1.NewAdminServiceClient(c.conn)
}

func (c *client) audit() passerellev1.AuditServiceClient {
	return passerellev1.NewAuditServiceClient(c.conn)
}

func (c *client) policy() passerellev1.PolicyServiceClient {
	return passerellev1.NewPolicyServiceClient(c.conn)
}

// call connects to the gateway, gets a certificate if that is due, and calls f.
// The time of f is bounded.
func (a *app) call(cmd *cobra.Command, f func(ctx context.Context, c *client) error) error {
	timeout := a.timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return a.connect(cmd.Context(), timeout, f)
}

// stream is call for what may take long: its time is bounded by --timeout only.
func (a *app) stream(cmd *cobra.Command, f func(ctx context.Context, c *client) error) error {
	return a.connect(cmd.Context(), a.timeout, f)
}

func (a *app) connect(ctx context.Context, timeout time.Duration, f func(ctx context.Context, c *client) error) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	to, err := a.address()
	if err != nil {
		return err
	}
	id, err := a.openIdentity()
	if err != nil {
		return err
	}
	if to.gatewayID == "" {
		name := a.name
		if name == "" {
			name = "main"
		}
		if to.gatewayID, err = peer.GatewayID(id.TrustDomain(), name); err != nil {
			return usagef("--gateway-name: %w", err)
		}
	}
	if id.NeedsSVID(a.now()) {
		err := a.renew(ctx, to, id)
		if _, missing := id.Certificate(a.now()); err != nil && missing != nil {
			return err
		}
	}
	d, err := a.dial(to, id, func() (*tls.Certificate, error) { return id.Certificate(a.now()) })
	if err != nil {
		return err
	}
	defer d.conn.Close()
	return d.explain(f(ctx, &client{d.conn, id, a.now}))
}

// renew asks for a certificate for the officer's key. The proof of possession in
// the request is the authentication, so this connection has no certificate.
func (a *app) renew(ctx context.Context, to address, id *officer.Identity) error {
	csr, err := id.CSR()
	if err != nil {
		return err
	}
	d, err := a.dial(to, id, nil)
	if err != nil {
		return err
	}
	defer d.conn.Close()
	answer, err := passerellev1.NewIdentityServiceClient(d.conn).IssueSVID(ctx,
		&passerellev1.IssueSVIDRequest{CertificateRequest: csr})
	if err != nil {
		return d.explain(err)
	}
	return id.SetSVID(peer.AuthoritiesPEM(answer.GetCertificates()), peer.AuthoritiesPEM(answer.GetBundle()))
}

// A dialled is a connection that remembers why it could not be made, and the id
// of the last call in the gateway's log.
type dialled struct {
	conn    *grpc.ClientConn
	to      address
	last    atomic.Pointer[error]
	request atomic.Pointer[string]
}

// requestKey is the trailer with the id of a call in the gateway's log.
const requestKey = "passerelle-request-id"

// A callError is the error of a call with its id in the gateway's log.
type callError struct {
	error
	request string
}

func (e callError) Unwrap() error { return e.error }

// HandleRPC takes the id from the trailer. It implements stats.Handler.
func (d *dialled) HandleRPC(_ context.Context, s stats.RPCStats) {
	if t, ok := s.(*stats.InTrailer); ok {
		if ids := t.Trailer.Get(requestKey); len(ids) == 1 {
			d.request.Store(&ids[0])
		}
	}
}

// The rest of stats.Handler does nothing.
func (d *dialled) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (d *dialled) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (d *dialled) HandleConn(context.Context, stats.ConnStats)                       {}

// dial prepares a connection. It is made at the first call.
func (a *app) dial(to address, id *officer.Identity, certificate func() (*tls.Certificate, error)) (*dialled, error) {
	bundle := id.Bundle()
	if bundle == nil {
		return nil, connectionError{"the identity folder has no bundle.pem, so the gateway cannot be recognised",
			"copy bundle.pem from the identity folder of an administrator"}
	}
	authorities, err := peer.AuthoritiesFromPEM(bundle)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle in the identity folder: %w", err)
	}
	config, err := peer.LocalClientTLS(certificate, authorities, to.gatewayID, a.now)
	if err != nil {
		return nil, err
	}
	d := &dialled{to: to}
	d.conn, err = grpc.NewClient("passthrough:///gateway",
		grpc.WithTransportCredentials(watched{credentials.NewTLS(config), &d.last}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, to.network, to.addr)
			if err != nil {
				d.last.Store(&err)
			}
			return conn, err
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithStatsHandler(d),
	)
	return d, err
}

// watched remembers why a handshake failed: gRPC keeps the text of the error
// only.
type watched struct {
	credentials.TransportCredentials
	last *atomic.Pointer[error]
}

func (w watched) ClientHandshake(ctx context.Context, name string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := w.TransportCredentials.ClientHandshake(ctx, name, conn)
	if err != nil {
		w.last.Store(&err)
	}
	return c, info, err
}

func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.last}
}

// explain returns a connectionError instead of err if the gateway could not be
// connected to, and adds the id of the call otherwise.
func (d *dialled) explain(err error) error {
	if s, ok := status.FromError(err); err == nil || !ok || s.Code() != codes.Unavailable || explainStatus(s).Reason != "" {
		if id := d.request.Load(); err != nil && id != nil {
			return callError{err, *id}
		}
		return err
	}
	last := d.last.Load()
	if last == nil {
		// The server judges our certificate after our handshake is done.
		return connectionError{"our gateway at " + d.where() + " closed the connection",
			"if the officer of --identity is enrolled and the clock is right, run `passerelle doctor`"}
	}
	return d.cause(*last)
}

// where returns the address for people.
func (d *dialled) where() string {
	if d.to.network == "unix" {
		return "unix:" + d.to.addr
	}
	return d.to.addr
}

// cause says in words why a connection could not be made.
func (d *dialled) cause(err error) error {
	where := d.where()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return connectionError{"our gateway is not running at " + where, "start it with `passerelle serve`, or correct --gateway"}
	case errors.Is(err, fs.ErrPermission):
		return connectionError{"you may not open " + where, "use an account that may open the gateway's socket"}
	case errors.Is(err, peer.ErrRefused):
		return connectionError{"what answers at " + where + " is not " + d.to.gatewayID,
			"check --gateway and the clock; if both are right, copy bundle.pem from the identity folder of an administrator"}
	}
	return connectionError{"our gateway at " + where + " cannot be reached", "run `passerelle doctor`"}
}

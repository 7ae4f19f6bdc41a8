package peer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// maxChain is how many certificates a peer may send: a leaf and intermediates.
const maxChain = 4

// An Authorizer decides on a verified SPIFFE ID: it returns nil to let it in. A
// nil Authorizer lets nobody in.
type Authorizer func(id string) error

// AuthorizeExactly lets in the given IDs and no other.
func AuthorizeExactly(ids ...string) Authorizer {
	ids = slices.Clone(ids)
	return func(id string) error {
		if !slices.Contains(ids, id) {
			return errors.New("not the expected SPIFFE ID")
		}
		return nil
	}
}

// AuthorizeOfficers lets in the IDs of officers of a trust domain. Whether the
// officer is in the register, and what the officer may do, is for the caller to
// ask on every RPC.
func AuthorizeOfficers(trustDomain string) Authorizer {
	return func(id string) error {
		i, err := ParseID(id)
		if err != nil {
			return err
		}
		if i.TrustDomain != trustDomain || i.Kind != KindOfficer {
			return errors.New("not an officer of this trust domain")
		}
		return nil
	}
}

// base is what every configuration of this package has.
func base(now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		// Tickets would let a client come back without a certificate.
		SessionTicketsDisabled: true,
		// No ClientSessionCache: our clients do not resume either.
	}
}

// verify returns the VerifyConnection of a configuration. Go calls it on every
// handshake, and also on resumed ones, where VerifyPeerCertificate is skipped.
func verify(bundles x509bundle.Source, authorize Authorizer, now func() time.Time,
	optional bool) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		switch n := len(cs.PeerCertificates); {
		case cs.DidResume:
			return fmt.Errorf("%w: resumed session", ErrRefused)
		case n == 0 && optional:
			return nil
		case n == 0:
			return fmt.Errorf("%w: no certificate", ErrRefused)
		case n > maxChain:
			return fmt.Errorf("%w: %d certificates", ErrRefused, n)
		}
		// Verify takes the bundle of the trust domain in the leaf, and no other.
		id, _, err := x509svid.Verify(cs.PeerCertificates, bundles, x509svid.WithTime(now()))
		if err != nil {
			return fmt.Errorf("%w: %v", ErrRefused, err)
		}
		if authorize == nil {
			return fmt.Errorf("%w: nobody is authorized", ErrRefused)
		}
		if err := authorize(id.String()); err != nil {
			return fmt.Errorf("%w: %v", ErrRefused, err)
		}
		return nil
	}
}

// certificate returns the current SVID of source for a handshake.
func certificate(source Source) (*tls.Certificate, error) {
	svid, err := source.GetX509SVID()
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, cert := range svid.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c, nil
}

func getCertificate(source Source) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(source) }
}

// ServerTLS returns the configuration of the listener for neighbours. A client
// must have an SVID that verifies with the bundle of its own trust domain in
// federation, and that authorize lets in; that is [Federation.Authorize] unless
// there is a reason for less.
//
// The handshake says who connected, not that the federation lasts: see
// [Federation.Authorize] and [Federation.Done].
func ServerTLS(source Source, federation *Federation, authorize Authorizer, now func() time.Time) *tls.Config {
	c := base(now)
	c.GetCertificate = getCertificate(source)
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = verify(federation, authorize, now, false)
	return c
}

// LocalServerTLS returns the configuration of the listener for the officers of
// the own trust domain, on the Unix socket or on a national network. A client
// may have no certificate, because an officer asks for the first SVID, and for
// one after an expiry, without. A certificate that is given must verify with the
// own bundle and be an officer's, or the handshake fails.
//
// Callers must treat a connection without a certificate as nobody's.
func LocalServerTLS(source Source, trustDomain string, now func() time.Time) *tls.Config {
	c := base(now)
	c.GetCertificate = getCertificate(source)
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = verify(source, AuthorizeOfficers(trustDomain), now, true)
	return c
}

// ClientTLS returns the configuration to connect to the gateway of one peer. The
// server must be one of the Gateways of that peer at the time of the handshake.
//
// It returns an error wrapping [ErrNotFederated] if trustDomain is not an active
// peer. If it ends later, handshakes fail.
func ClientTLS(source Source, federation *Federation, trustDomain string, now func() time.Time) (*tls.Config, error) {
	if !federation.Active(trustDomain) {
		return nil, ErrNotFederated
	}
	authorize := func(id string) error {
		if i, err := ParseID(id); err != nil || i.TrustDomain != trustDomain {
			return errors.New("not the expected peer")
		}
		return federation.Authorize(id)
	}
	c := base(now)
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate(source) }
	// The name that is dialled says nothing here: VerifyConnection looks at the
	// SPIFFE ID, and Go's check of host names is off.
	c.InsecureSkipVerify = true
	c.VerifyConnection = verify(federation, authorize, now, false)
	return c, nil
}

// LocalClientTLS returns the configuration for an officer's machine to connect
// to the own gateway, which must have the SPIFFE ID gatewayID and an SVID that
// verifies with authorities, the bundle of the own trust domain in DER.
//
// client returns the officer's certificate at each handshake. It may be nil, and
// it may return a certificate without chain, to connect without one.
func LocalClientTLS(client func() (*tls.Certificate, error), authorities [][]byte, gatewayID string,
	now func() time.Time) (*tls.Config, error) {
	id, err := ParseID(gatewayID)
	if err != nil {
		return nil, err
	}
	if id.Kind != KindGateway {
		return nil, fmt.Errorf("%w: not the ID of a gateway", ErrID)
	}
	bundle, err := newBundle(id.TrustDomain, authorities)
	if err != nil {
		return nil, err
	}
	c := base(now)
	if client != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client() }
	}
	c.InsecureSkipVerify = true // as in ClientTLS
	c.VerifyConnection = verify(bundle, AuthorizeExactly(gatewayID), now, false)
	return c, nil
}

// newBundle returns the bundle of one trust domain. As a source it has no other.
func newBundle(trustDomain string, authorities [][]byte) (*x509bundle.Bundle, error) {
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		return nil, fmt.Errorf("%w: trust domain", ErrID)
	}
	certs, err := parseAuthorities(td, authorities)
	if err != nil {
		return nil, fmt.Errorf("peer: invalid bundle: %w", err)
	}
	return x509bundle.FromX509Authorities(td, certs), nil
}

// BundleServerTLS returns the configuration of a bundle endpoint with the
// profile https_spiffe: any client may connect, and the server has the SVID of
// source (SPIFFE Federation, Section 5.2.2).
func BundleServerTLS(source Source, now func() time.Time) *tls.Config {
	c := base(now)
	c.GetCertificate = getCertificate(source)
	return c
}

// bundleClientTLS returns the configuration to fetch the bundle of a peer, with
// the profile that was agreed and with no other. roots are for https_web; nil
// means those of the system.
func bundleClientTLS(p Peer, roots *x509.CertPool, now func() time.Time) (*tls.Config, error) {
	c := base(now)
	switch p.Profile {
	case ProfileSPIFFE:
		bundle, err := newBundle(p.TrustDomain, p.Authorities)
		if err != nil {
			return nil, err
		}
		c.InsecureSkipVerify = true // as in ClientTLS
		c.VerifyConnection = verify(bundle, AuthorizeExactly(p.Gateways...), now, false)
	case ProfileWeb:
		c.RootCAs = roots
	default:
		return nil, fmt.Errorf("peer: profile %q has no bundle endpoint", p.Profile)
	}
	return c, nil
}

// AuthoritiesFromPEM reads the certificates of a bundle in PEM, as
// [AuthoritiesPEM] writes them. Nothing else may be between them.
func AuthoritiesFromPEM(b []byte) ([][]byte, error) {
	var ders [][]byte
	for len(bytes.TrimSpace(b)) > 0 {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" || len(ders) == MaxAuthorities {
			return nil, errors.New("peer: malformed bundle")
		}
		ders = append(ders, block.Bytes)
		b = rest
	}
	if len(ders) == 0 {
		return nil, errors.New("peer: empty bundle")
	}
	return ders, nil
}

// AuthoritiesPEM returns the certificates of a bundle in PEM.
func AuthoritiesPEM(authorities [][]byte) []byte {
	var b []byte
	for _, der := range authorities {
		b = append(b, pemBytes("CERTIFICATE", der)...)
	}
	return b
}

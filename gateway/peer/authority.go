package peer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	// AuthorityLife is how long the certificate of the embedded authority is
	// valid. A successor is prepared, and is in the bundle, from half of it on;
	// it signs when a sixth is left. So neighbours have about four months to
	// take the new bundle, by invite or by bundle endpoint.
	AuthorityLife = 365 * 24 * time.Hour

	// SVIDLife is how long an SVID of the embedded authority is valid. A
	// [Source] replaces its SVID at half of it.
	SVIDLife = time.Hour

	// MaxCSRSize is the largest certificate request that IssueOfficer reads, in
	// bytes of DER.
	MaxCSRSize = 4096

	// backdate lets a neighbour with a slow clock accept a new certificate.
	backdate = 5 * time.Minute
)

var (
	// ErrClock is returned when the clock is before the creation of the newest
	// authority certificate. It is a state that an operator must repair: the
	// clock is wrong, or was wrong when the authority was rotated.
	ErrClock = errors.New("peer: clock is before the creation of the authority")

	// ErrRequest is returned for a certificate request that is malformed, does
	// not prove possession of its key, or is for another officer or key than the
	// registered one. It is the requester's fault.
	ErrRequest = errors.New("peer: invalid certificate request")
)

// An Authority is the embedded certificate authority of one trust domain, for
// installations without SPIRE. Its keys are ECDSA P-256 (X509-SVID, Section 4).
//
// Its directory holds, for every authority certificate in the bundle,
//
//	ca-<number>.crt    the certificate, PEM
//	ca-<number>.key    its private key, PKCS #8 in PEM, mode 0600
//
// with numbers from 1 on. The key is written before the certificate and removed
// when a successor signs, so a certificate without a key is one that only
// verifies, and a key without a certificate is the rest of a crash and is
// overwritten. One process owns the directory.
//
// An Authority rotates itself whenever it is used. Callers should also call
// [Authority.Rotate] at least once a day, so that an idle gateway prepares a
// successor in time, and so that they learn of a new bundle.
type Authority struct {
	dir string
	td  spiffeid.TrustDomain
	now func() time.Time

	mu      sync.Mutex
	signers []*signer // in order of number, never empty; guarded by mu
}

// A signer is one authority certificate.
type signer struct {
	number int
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey // nil when a successor signs
}

// CreateAuthority makes a new authority in dir, which is created if needed. It
// returns an error wrapping [fs.ErrExist] if dir holds an authority already.
// When it returns nil the key is durable.
func CreateAuthority(dir, trustDomain string, now func() time.Time) (*Authority, error) {
	td, err := parseTrustDomain(trustDomain)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("peer: creating authority: %w", err)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "ca-*.crt")); err != nil || len(found) > 0 {
		return nil, fmt.Errorf("peer: creating authority: %w", fs.ErrExist)
	}
	a := &Authority{dir: dir, td: td, now: now}
	if err := a.add(1, now()); err != nil {
		return nil, err
	}
	return a, nil
}

// OpenAuthority opens the authority in dir, and rotates it if that is due. It
// returns an error wrapping [fs.ErrNotExist] if dir holds none, and refuses
// private keys that others than the owner may read.
func OpenAuthority(dir string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, now: now}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("peer: opening authority: %w", err)
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "ca-")
		number, ok2 := strings.CutSuffix(number, ".crt")
		if !ok || !ok2 {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || a.path(n, ".crt") != filepath.Join(dir, e.Name()) {
			return nil, fmt.Errorf("peer: opening authority: unexpected file %q", e.Name())
		}
		s, err := a.load(n)
		if err != nil {
			return nil, fmt.Errorf("peer: opening authority: certificate %d: %w", n, err)
		}
		a.signers = append(a.signers, s) // ReadDir sorts, and numbers are padded
	}
	if len(a.signers) == 0 {
		return nil, fmt.Errorf("peer: opening authority: %w", fs.ErrNotExist)
	}
	if _, err := a.Rotate(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Authority) path(number int, ext string) string {
	return filepath.Join(a.dir, fmt.Sprintf("ca-%06d%s", number, ext))
}

// load reads one certificate, and its key if that is still there.
func (a *Authority) load(number int) (*signer, error) {
	b, err := os.ReadFile(a.path(number, ".crt"))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		return nil, errors.New("not one PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if len(cert.URIs) != 1 || !cert.IsCA {
		return nil, errors.New("not an authority certificate")
	}
	td, err := spiffeid.TrustDomainFromURI(cert.URIs[0])
	if err != nil {
		return nil, err
	}
	if a.td.IsZero() {
		a.td = td
	}
	if td != a.td || cert.URIs[0].Path != "" {
		return nil, errors.New("certificate of another trust domain")
	}
	s := &signer{number: number, cert: cert}

	b, err = readPrivateFile(a.path(number, ".key"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, err
	}
	block, _ = pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("private key is not in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("private key is malformed") // without the cause: it may quote the key
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("private key is of another certificate")
	}
	s.key = ec
	return s, nil
}

// add makes the signer with the given number.
func (a *Authority) add(number int, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("peer: generating authority key: %w", err)
	}
	// X509-SVID, Sections 2 and 4.2: an authority certificate of SPIFFE has the
	// ID of its trust domain, without a path.
	template := &x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{"Passerelle"},
			CommonName:   "authority " + strconv.Itoa(number),
		},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(AuthorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: a.td.Name()}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("peer: making authority certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("peer: making authority certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("peer: encoding authority key: %w", err)
	}
	// The certificate commits: once it is there, its key must be.
	if err := writeFile(a.path(number, ".key"), pemBytes("PRIVATE KEY", pkcs8)); err != nil {
		return fmt.Errorf("peer: storing authority key: %w", err)
	}
	if err := writeFile(a.path(number, ".crt"), pemBytes("CERTIFICATE", der)); err != nil {
		return fmt.Errorf("peer: storing authority certificate: %w", err)
	}
	a.signers = append(a.signers, &signer{number, cert, key})
	return nil
}

// TrustDomain returns the trust domain of a.
func (a *Authority) TrustDomain() string { return a.td.Name() }

// Format prints the trust domain for every verb, so that no log line can hold a
// key.
func (a *Authority) Format(f fmt.State, _ rune) {
	io.WriteString(f, "peer.Authority("+a.td.Name()+")")
}

// Rotate does what is due: it prepares a successor at half of the life of the
// newest certificate, destroys the key of a certificate whose successor signs,
// and drops expired certificates. It reports whether the bundle changed. If it
// did, neighbours with the profile [ProfileInvite] need a new invite.
//
// If Rotate returns an error it may have done a part. It may be called again.
func (a *Authority) Rotate() (changed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rotate(a.now())
}

func (a *Authority) rotate(now time.Time) (changed bool, err error) {
	newest := a.signers[len(a.signers)-1]
	if now.Before(newest.cert.NotBefore) {
		// Do not make a certificate for the wrong time, and above all do not
		// take a rotated authority for one that must be replaced.
		return false, ErrClock
	}
	if newest.key == nil || !now.Before(newest.cert.NotBefore.Add(backdate+AuthorityLife/2)) {
		if err := a.add(newest.number+1, now); err != nil {
			return false, err
		}
		changed = true
	}
	active := a.active(now)
	keep := a.signers[:0:0]
	for _, s := range a.signers {
		expired := !now.Before(s.cert.NotAfter)
		if s.key != nil && (expired || active != nil && s.number < active.number) {
			if err := removeFile(a.path(s.number, ".key")); err != nil {
				return changed, fmt.Errorf("peer: destroying authority key: %w", err)
			}
			s.key = nil
		}
		if expired {
			if err := removeFile(a.path(s.number, ".crt")); err != nil {
				return changed, fmt.Errorf("peer: removing authority certificate: %w", err)
			}
			changed = true
			continue
		}
		keep = append(keep, s)
	}
	a.signers = keep
	return changed, nil
}

// active returns the signer to use at now, or nil. It is the oldest that is
// valid, until its successor takes over.
func (a *Authority) active(now time.Time) *signer {
	var active *signer
	for _, s := range a.signers {
		if s.key == nil || now.Before(s.cert.NotBefore) || !now.Before(s.cert.NotAfter) {
			continue
		}
		if active == nil || !now.Before(takeover(active, s)) {
			active = s
		}
	}
	return active
}

// takeover returns when next signs in place of old: when a sixth of the life of
// old is left, but, for a successor that was prepared late because the gateway
// was not running, not before neighbours had a sixth of a life to take the new
// bundle, as far as old lives that long.
func takeover(old, next *signer) time.Time {
	t := old.cert.NotAfter.Add(-AuthorityLife / 6)
	if u := next.cert.NotBefore.Add(AuthorityLife / 6); u.After(t) {
		t = u
	}
	if last := old.cert.NotAfter.Add(-SVIDLife); t.After(last) {
		t = last
	}
	return t
}

// signing rotates and returns the signer to use. The caller holds a.mu.
func (a *Authority) signing(now time.Time) (*signer, error) {
	_, err := a.rotate(now)
	if errors.Is(err, ErrClock) {
		return nil, err
	}
	// Any other fault of rotation is reported by Rotate. While there is a valid
	// signer it is no reason to stop.
	if s := a.active(now); s != nil {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, errors.New("peer: no valid authority certificate")
}

// IssueGateway returns a new SVID for the gateway with the given name, with a
// new ECDSA P-256 key. Most callers should use [Authority.Source].
func (a *Authority) IssueGateway(name string) (*x509svid.SVID, error) {
	s, err := GatewayID(a.td.Name(), name)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("peer: generating gateway key: %w", err)
	}
	id, cert, err := a.issue(s, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{cert}, PrivateKey: key}, nil
}

// IssueOfficer returns an SVID for the officer with the given id, as PEM.
//
// csr is a PKCS #10 request (RFC 2986) in DER, at most [MaxCSRSize] bytes. Its
// only name must be the SPIFFE ID of the officer, its key must be pub, and its
// signature proves that the requester has the private key. Callers must take pub
// from the register, and must not call IssueOfficer for a retired officer.
//
// It returns an error wrapping [ErrRequest] for any other request.
func (a *Authority) IssueOfficer(csr []byte, id string, pub ed25519.PublicKey) ([]byte, error) {
	s, err := OfficerID(a.td.Name(), id)
	if err != nil {
		return nil, err
	}
	if len(csr) > MaxCSRSize {
		return nil, fmt.Errorf("%w: %d bytes long", ErrRequest, len(csr))
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("%w: malformed", ErrRequest)
	}
	key, ok := req.PublicKey.(ed25519.PublicKey)
	switch {
	case !ok || len(pub) != ed25519.PublicKeySize || !key.Equal(pub):
		return nil, fmt.Errorf("%w: not the registered key", ErrRequest)
	case len(req.URIs) != 1 || req.URIs[0].String() != s:
		return nil, fmt.Errorf("%w: not the SPIFFE ID of the officer", ErrRequest)
	case len(req.DNSNames)+len(req.EmailAddresses)+len(req.IPAddresses) > 0:
		return nil, fmt.Errorf("%w: other names than the SPIFFE ID", ErrRequest)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: no proof of possession", ErrRequest)
	}
	_, cert, err := a.issue(s, pub)
	if err != nil {
		return nil, err
	}
	return pemBytes("CERTIFICATE", cert.Raw), nil
}

// issue signs the certificate of a leaf, X509-SVID, Sections 2 and 4.
func (a *Authority) issue(id string, pub any) (spiffeid.ID, *x509.Certificate, error) {
	sid, err := spiffeid.FromString(id)
	if err != nil {
		return spiffeid.ID{}, nil, fmt.Errorf("%w: %v", ErrID, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	s, err := a.signing(now)
	if err != nil {
		return spiffeid.ID{}, nil, err
	}
	template := &x509.Certificate{
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(SVIDLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{sid.URL()},
	}
	if template.NotAfter.After(s.cert.NotAfter) {
		template.NotAfter = s.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, pub, s.key)
	if err != nil {
		return spiffeid.ID{}, nil, fmt.Errorf("peer: signing SVID: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return spiffeid.ID{}, nil, fmt.Errorf("peer: signing SVID: %w", err)
	}
	return sid, cert, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source for the trust domain
// of a, and returns an error for any other.
func (a *Authority) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if td != a.td {
		return nil, ErrNotFederated
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if _, err := a.rotate(now); errors.Is(err, ErrClock) {
		return nil, err
	}
	b := x509bundle.New(td)
	for _, s := range a.signers {
		if now.Before(s.cert.NotAfter) {
			b.AddX509Authority(s.cert)
		}
	}
	return b, nil
}

// Source returns the source of the identity of the gateway with the given name.
func (a *Authority) Source(name string) (Source, error) {
	s := &authoritySource{Authority: a, name: name}
	if _, err := s.GetX509SVID(); err != nil {
		return nil, err
	}
	return s, nil
}

// An authoritySource keeps the current SVID of one gateway.
type authoritySource struct {
	*Authority
	name string

	mu     sync.Mutex
	svid   *x509svid.SVID // guarded by mu, as all below
	issued time.Time
	closed bool
}

// GetX509SVID implements x509svid.Source. The SVID is replaced at half of its
// life, when it is next asked for.
func (s *authoritySource) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	now := s.now()
	if s.svid != nil {
		half := s.issued.Add(s.svid.Certificates[0].NotAfter.Sub(s.issued) / 2)
		if !now.Before(s.issued) && now.Before(half) {
			return s.svid, nil
		}
	}
	svid, err := s.IssueGateway(s.name)
	if err != nil {
		if s.svid != nil {
			if c := s.svid.Certificates[0]; !now.Before(c.NotBefore) && now.Before(c.NotAfter) {
				return s.svid, nil
			}
		}
		return nil, err
	}
	s.svid, s.issued = svid, now
	return svid, nil
}

// Format hides the key of the SVID.
func (s *authoritySource) Format(f fmt.State, verb rune) { s.Authority.Format(f, verb) }

// Close makes every later call fail.
func (s *authoritySource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.svid, s.closed = nil, true
	return nil
}

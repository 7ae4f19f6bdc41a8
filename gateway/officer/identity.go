package officer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The files of an identity.
const (
	keyFile    = "officer.key" // PKCS #8 in PEM, with the SPIFFE ID as a header, mode 0600
	svidFile   = "svid.pem"    // the last certificate chain
	bundleFile = "bundle.pem"  // the authorities of the own trust domain

	idHeader = "SPIFFE-ID"

	maxIdentityFile = 256 << 10 // bytes
)

// ErrNoSVID is returned when there is no valid certificate: none was stored yet,
// or it expired. A new one is asked for with [Identity.CSR].
var ErrNoSVID = errors.New("officer: no valid SVID")

// An Identity is the folder on the machine of an officer that holds the officer's
// key, and the last certificate for it.
//
// The private key never leaves the folder: other machines see the public key,
// certificate requests and signatures.
type Identity struct {
	dir      string
	spiffeID string
	key      PrivateKey

	mu     sync.Mutex
	chain  []*x509.Certificate // nil if there is none; guarded by mu
	bundle []byte              // PEM, nil if there is none; guarded by mu
}

// parseSPIFFEID splits the SPIFFE ID of an officer.
func parseSPIFFEID(s string) (trustDomain, id string, err error) {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	trustDomain, path, ok2 := strings.Cut(rest, "/")
	id, ok3 := strings.CutPrefix(path, "officer/")
	if !ok || !ok2 || !ok3 || !validName(id) || len(trustDomain) < 1 || len(trustDomain) > 255 ||
		strings.Trim(trustDomain, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return "", "", fmt.Errorf("%w: SPIFFE ID must be spiffe://<trust domain>/officer/<id>", ErrOfficer)
	}
	return trustDomain, id, nil
}

// CreateIdentity makes a new key for the officer with the given SPIFFE ID, in
// dir, which is created if needed. It returns an error wrapping fs.ErrExist if
// dir holds a key already. When it returns nil the key is durable.
func CreateIdentity(dir, spiffeID string) (*Identity, error) {
	if _, _, err := parseSPIFFEID(spiffeID); err != nil {
		return nil, err
	}
	key, err := GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("officer: creating identity: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key.seed())
	if err != nil {
		return nil, fmt.Errorf("officer: encoding key: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{
		Type: "PRIVATE KEY", Headers: map[string]string{idHeader: spiffeID}, Bytes: pkcs8,
	})
	// It is linked and not renamed, so that no key is ever overwritten.
	if err := writeFile(filepath.Join(dir, keyFile), block, os.Link); err != nil {
		return nil, fmt.Errorf("officer: storing key: %w", err)
	}
	return &Identity{dir: dir, spiffeID: spiffeID, key: key}, nil
}

// OpenIdentity opens the identity in dir. It returns an error wrapping
// fs.ErrNotExist if there is none, and refuses a key that others than the owner
// may read. A stored certificate that is damaged or of another key is as none.
func OpenIdentity(dir string) (*Identity, error) {
	b, err := readFile(filepath.Join(dir, keyFile), true)
	if err != nil {
		return nil, fmt.Errorf("officer: opening identity: %w", err)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, fmt.Errorf("%w: key file is not in PEM", ErrKey)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: key file", ErrKey) // without the cause: it may quote the key
	}
	ed, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: not an Ed25519 key", ErrKey)
	}
	id := block.Headers[idHeader]
	if _, _, err := parseSPIFFEID(id); err != nil {
		return nil, err
	}
	i := &Identity{dir: dir, spiffeID: id, key: newPrivateKey(ed)}
	if chain, err := readFile(filepath.Join(dir, svidFile), false); err == nil {
		if certs, err := i.parseChain(chain); err == nil {
			i.chain = certs
		}
	}
	if bundle, err := readFile(filepath.Join(dir, bundleFile), false); err == nil {
		i.bundle = bundle
	}
	return i, nil
}

// Format prints the SPIFFE ID and the KeyID for every verb.
func (i *Identity) Format(f fmt.State, _ rune) {
	io.WriteString(f, "officer.Identity("+i.spiffeID+" "+i.key.id+")")
}

// SPIFFEID returns the SPIFFE ID of the officer.
func (i *Identity) SPIFFEID() string { return i.spiffeID }

// ID returns the id of the officer, as in the register.
func (i *Identity) ID() string {
	_, id, _ := parseSPIFFEID(i.spiffeID) // checked when it was made
	return id
}

// TrustDomain returns the trust domain of the officer.
func (i *Identity) TrustDomain() string {
	td, _, _ := parseSPIFFEID(i.spiffeID)
	return td
}

// PublicKey returns the public key, for the register.
func (i *Identity) PublicKey() ed25519.PublicKey { return i.key.PublicKey() }

// Sign signs a digest for a purpose, as [Sign] does.
func (i *Identity) Sign(purpose string, digest [32]byte) ([SignatureSize]byte, error) {
	return Sign(i.key, purpose, digest)
}

// SignChange signs a change of the register, as [SignChange] does.
func (i *Identity) SignChange(c Change) ([SignatureSize]byte, error) { return SignChange(i.key, c) }

// CSR returns a certificate request (PKCS #10, RFC 2986) in DER. It is signed
// with the key, which proves possession of it, and it names the SPIFFE ID only.
// It is not secret.
func (i *Identity) CSR() ([]byte, error) {
	u, err := url.Parse(i.spiffeID)
	if err != nil {
		return nil, fmt.Errorf("officer: making certificate request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{u}}, i.key.seed())
	if err != nil {
		return nil, fmt.Errorf("officer: making certificate request: %w", err)
	}
	return der, nil
}

// parseChain reads a certificate chain for this key and ID.
func (i *Identity) parseChain(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for len(bytes.TrimSpace(b)) > 0 {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" || len(chain) == 4 {
			return nil, errors.New("officer: malformed certificate chain")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("officer: malformed certificate")
		}
		chain, b = append(chain, cert), rest
	}
	if len(chain) == 0 {
		return nil, errors.New("officer: empty certificate chain")
	}
	leaf := chain[0]
	if pub, ok := leaf.PublicKey.(ed25519.PublicKey); !ok || !pub.Equal(i.key.pub) {
		return nil, errors.New("officer: certificate of another key")
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != i.spiffeID {
		return nil, errors.New("officer: certificate of another SPIFFE ID")
	}
	return chain, nil
}

// SetSVID stores a certificate chain for the key, leaf first, and the bundle of
// the own trust domain, both in PEM. The chain must come from a connection whose
// server was verified with the bundle that is stored, or, the first time, from
// an administrator. An empty chain or bundle leaves what is stored.
//
// It returns an error, and changes nothing, if the chain is not for this
// identity.
func (i *Identity) SetSVID(chain, bundle []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	certs := i.chain
	if len(chain) > 0 {
		var err error
		if certs, err = i.parseChain(chain); err != nil {
			return err
		}
	}
	if len(chain) > maxIdentityFile || len(bundle) > maxIdentityFile {
		return errors.New("officer: SVID or bundle is too large")
	}
	// The bundle first: a chain is of no use without a server to show it to.
	if len(bundle) > 0 {
		if err := writeFile(filepath.Join(i.dir, bundleFile), bundle, os.Rename); err != nil {
			return fmt.Errorf("officer: storing bundle: %w", err)
		}
		i.bundle = bytes.Clone(bundle)
	}
	if len(chain) > 0 {
		if err := writeFile(filepath.Join(i.dir, svidFile), chain, os.Rename); err != nil {
			return fmt.Errorf("officer: storing SVID: %w", err)
		}
		i.chain = certs
	}
	return nil
}

// Bundle returns the stored bundle of the own trust domain in PEM, or nil. What
// is in it is for package peer to check.
func (i *Identity) Bundle() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	return bytes.Clone(i.bundle)
}

// Certificate returns the certificate and key for a TLS handshake. It returns an
// error wrapping [ErrNoSVID] if there is none that is valid at now. The result
// holds the private key: it must not be printed.
func (i *Identity) Certificate(now time.Time) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.chain) == 0 || now.Before(i.chain[0].NotBefore) || !now.Before(i.chain[0].NotAfter) {
		return nil, ErrNoSVID
	}
	c := &tls.Certificate{PrivateKey: i.key.seed(), Leaf: i.chain[0]}
	for _, cert := range i.chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c, nil
}

// NeedsSVID reports whether a new certificate should be asked for: there is none
// that is valid, or half of its life is over.
func (i *Identity) NeedsSVID(now time.Time) bool {
	c, err := i.Certificate(now)
	if err != nil {
		return true
	}
	return !now.Before(c.Leaf.NotBefore.Add(c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) / 2))
}

// readFile reads a file of bounded size. A private one must not be readable by
// others than its owner.
func readFile(path string, private bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxIdentityFile {
		return nil, errors.New("not a small regular file")
	}
	if mode := info.Mode().Perm(); private && mode&0o077 != 0 {
		return nil, fmt.Errorf("private key file has mode %v, want 0600", mode)
	}
	return io.ReadAll(io.LimitReader(f, maxIdentityFile))
}

// writeFile makes a file of mode 0600 that holds b, and puts it in its place
// with os.Rename, or with os.Link, which fails if there is one. When it returns
// nil the file is durable.
func writeFile(path string, b []byte, place func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // without effect after a rename
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

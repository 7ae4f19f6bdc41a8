package peer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
)

const day = 24 * time.Hour

func keyBytes(key crypto.Signer) ([]byte, error) { return key.(*ecdsa.PrivateKey).Bytes() }

func TestAuthorityReopen(t *testing.T) {
	t.Parallel()
	c, dir := newClock(), t.TempDir()
	a, err := peer.CreateAuthority(dir, "a.example", c.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.CreateAuthority(dir, "a.example", c.now); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second CreateAuthority: error = %v, want ErrExist", err)
	}
	s, err := a.Source("main")
	if err != nil {
		t.Fatal(err)
	}
	before, err := peer.Authorities(s, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	b, err := peer.OpenAuthority(dir, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.TrustDomain(); got != "a.example" {
		t.Errorf("TrustDomain = %q", got)
	}
	s, err = b.Source("main")
	if err != nil {
		t.Fatal(err)
	}
	after, err := peer.Authorities(s, "a.example")
	if err != nil || len(after) != 1 || !bytes.Equal(before[0], after[0]) {
		t.Errorf("the bundle changed on opening, error %v", err)
	}
	if _, err := peer.Authorities(s, "b.example"); !errors.Is(err, peer.ErrNotFederated) {
		t.Errorf("bundle of another trust domain: error = %v, want ErrNotFederated", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.GetX509SVID(); err == nil {
		t.Error("a closed source has an SVID")
	}
	if _, err := peer.OpenAuthority(t.TempDir(), c.now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenAuthority of an empty folder: error = %v, want ErrNotExist", err)
	}
}

func TestAuthorityFiles(t *testing.T) {
	t.Parallel()
	c, dir := newClock(), t.TempDir()
	if _, err := peer.CreateAuthority(dir, "a.example", c.now); err != nil {
		t.Fatal(err)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "ca-*.key"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys = %v, %v", keys, err)
	}
	info, err := os.Stat(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode of the key = %v, want 0600", got)
	}
	if err := os.Chmod(keys[0], 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.OpenAuthority(dir, c.now); err == nil {
		t.Error("opened a key that the group may read")
	}
	if err := os.Chmod(keys[0], 0o600); err != nil {
		t.Fatal(err)
	}

	// A key without a certificate is the rest of a crash.
	if err := os.WriteFile(filepath.Join(dir, "ca-000002.key"), []byte("rest"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.add(200 * day)
	a, err := peer.OpenAuthority(dir, c.now)
	if err != nil {
		t.Fatalf("opening after a crash: %v", err)
	}
	if s, err := a.Source("main"); err != nil {
		t.Error(err)
	} else if ders, err := peer.Authorities(s, "a.example"); err != nil || len(ders) != 2 {
		t.Errorf("%d authorities after half a life, %v, want 2", len(ders), err)
	}

	// The key of another certificate must not be used.
	b, err := os.ReadFile(filepath.Join(dir, "ca-000002.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.OpenAuthority(dir, c.now); err == nil {
		t.Error("opened a certificate with another key")
	}
}

// TestAuthorityClock sets the clock back to before the creation of the
// authority. Nothing may be made or destroyed then.
func TestAuthorityClock(t *testing.T) {
	t.Parallel()
	c := newClock()
	a := newCountry(t, "a.example", c)
	c.add(-400 * day)
	if _, err := a.authority.Rotate(); !errors.Is(err, peer.ErrClock) {
		t.Errorf("Rotate: error = %v, want ErrClock", err)
	}
	if _, err := a.source.GetX509SVID(); !errors.Is(err, peer.ErrClock) {
		t.Errorf("GetX509SVID: error = %v, want ErrClock", err)
	}
	c.add(400 * day)
	if _, err := a.source.GetX509SVID(); err != nil {
		t.Errorf("after the clock was set right: %v", err)
	}
}

// TestAuthorityIdle rotates an authority that was switched off for long.
func TestAuthorityIdle(t *testing.T) {
	t.Parallel()
	c, dir := newClock(), t.TempDir()
	if _, err := peer.CreateAuthority(dir, "a.example", c.now); err != nil {
		t.Fatal(err)
	}
	// Switched on when the successor should sign already: neighbours do not
	// have it, so the old one goes on.
	c.add(340 * day)
	a, err := peer.OpenAuthority(dir, c.now)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := a.IssueGateway("main")
	if err != nil {
		t.Fatal(err)
	}
	if got := svid.Certificates[0].Issuer.CommonName; got != "authority 1" {
		t.Errorf("issuer = %q, want authority 1", got)
	}
	// Switched on after everything expired: there is a new authority.
	c.add(700 * day)
	if a, err = peer.OpenAuthority(dir, c.now); err != nil {
		t.Fatal(err)
	}
	if svid, err = a.IssueGateway("main"); err != nil {
		t.Fatal(err)
	}
	if got := svid.Certificates[0].Issuer.CommonName; got != "authority 3" {
		t.Errorf("issuer = %q, want authority 3", got)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("%d files, %v, want those of authority 3 only", len(files), err)
	}
}

// request returns a certificate request.
func request(t *testing.T, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func uris(t *testing.T, ids ...string) []*url.URL {
	t.Helper()
	var us []*url.URL
	for _, id := range ids {
		u, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		us = append(us, u)
	}
	return us
}

func TestIssueOfficer(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "a.example", newClock())
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherPub, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const id = "spiffe://a.example/officer/o1"
	good := request(t, key, &x509.CertificateRequest{URIs: uris(t, id)})
	b, err := c.authority.IssueOfficer(good, "o1", pub)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(b)
	if block == nil || len(rest) != 0 {
		t.Fatal("not one PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := peer.IDFromCertificate(cert); got != id || err != nil {
		t.Errorf("ID = %q, %v", got, err)
	}
	if got, err := peer.PublicKeyFromCertificate(cert); !got.Equal(pub) || err != nil {
		t.Errorf("key = %x, %v", got, err)
	}
	if got := cert.NotAfter.Sub(c.clock.now()); got != peer.SVIDLife {
		t.Errorf("life = %v, want %v", got, peer.SVIDLife)
	}

	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	tests := []struct {
		name string
		csr  []byte
		id   string
		pub  ed25519.PublicKey
	}{
		{"other officer", good, "o2", pub},
		{"other registered key", good, "o1", otherPub},
		{"no registered key", good, "o1", nil},
		{"key not registered", request(t, other, &x509.CertificateRequest{URIs: uris(t, id)}), "o1", pub},
		{"signature", forged, "o1", pub},
		{"other trust domain", request(t, key, &x509.CertificateRequest{URIs: uris(t, "spiffe://b.example/officer/o1")}), "o1", pub},
		{"gateway", request(t, key, &x509.CertificateRequest{URIs: uris(t, c.id)}), "o1", pub},
		{"two IDs", request(t, key, &x509.CertificateRequest{URIs: uris(t, id, c.id)}), "o1", pub},
		{"no ID", request(t, key, &x509.CertificateRequest{}), "o1", pub},
		{"DNS name", request(t, key, &x509.CertificateRequest{URIs: uris(t, id), DNSNames: []string{"x.example"}}), "o1", pub},
		{"trailing byte", append(bytes.Clone(good), 0), "o1", pub},
		{"empty", nil, "o1", pub},
		{"too large", make([]byte, peer.MaxCSRSize+1), "o1", pub},
	}
	for _, tt := range tests {
		if b, err := c.authority.IssueOfficer(tt.csr, tt.id, tt.pub); !errors.Is(err, peer.ErrRequest) || b != nil {
			t.Errorf("%s: got %d bytes, error %v, want ErrRequest", tt.name, len(b), err)
		}
	}
	if _, err := c.authority.IssueOfficer(good, "../gateway/x", pub); !errors.Is(err, peer.ErrID) {
		t.Errorf("path as id: error = %v, want ErrID", err)
	}
}

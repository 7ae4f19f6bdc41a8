package officer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/officer"
)

const officerID = "spiffe://a.example/officer/o1"

// certificate lets an authority of this test sign a certificate for a request.
func certificate(t *testing.T, id string, pub crypto.PublicKey, from, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, URIs: []*url.URL{u},
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(2)}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "identity")
	i, err := officer.CreateIdentity(dir, officerID)
	if err != nil {
		t.Fatal(err)
	}
	if i.ID() != "o1" || i.TrustDomain() != "a.example" || i.SPIFFEID() != officerID {
		t.Errorf("identity = %q %q %q", i.ID(), i.TrustDomain(), i.SPIFFEID())
	}
	csr, err := i.CSR()
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.CheckSignature(); err != nil {
		t.Error(err)
	}
	if len(req.URIs) != 1 || req.URIs[0].String() != officerID || !i.PublicKey().Equal(req.PublicKey) {
		t.Errorf("request for %v", req.URIs)
	}
	if _, err := i.Certificate(start); !errors.Is(err, officer.ErrNoSVID) || !i.NeedsSVID(start) {
		t.Errorf("without an SVID: error = %v, want ErrNoSVID", err)
	}

	// What is not ours is refused, and what is there stays.
	end := start.Add(time.Hour)
	good := certificate(t, officerID, i.PublicKey(), start, end)
	if err := i.SetSVID(good, []byte("bundle")); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"other key": certificate(t, officerID, generate(t).PublicKey(), start, end),
		"other ID":  certificate(t, "spiffe://a.example/officer/o2", i.PublicKey(), start, end),
		"malformed": []byte("x"),
		"too many":  bytes.Repeat(good, 5),
	} {
		if err := i.SetSVID(bad, []byte("evil")); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for range 2 {
		c, err := i.Certificate(start)
		if err != nil || len(c.Certificate) != 1 {
			t.Fatalf("Certificate: %v", err)
		}
		if got := i.Bundle(); string(got) != "bundle" {
			t.Errorf("Bundle = %q", got)
		}
		if i.NeedsSVID(start) || !i.NeedsSVID(start.Add(30*time.Minute)) {
			t.Error("NeedsSVID is not at half of the life")
		}
		if _, err := i.Certificate(end); !errors.Is(err, officer.ErrNoSVID) {
			t.Errorf("expired: error = %v, want ErrNoSVID", err)
		}
		if _, err := i.Certificate(start.Add(-time.Second)); !errors.Is(err, officer.ErrNoSVID) {
			t.Errorf("not yet valid: error = %v, want ErrNoSVID", err)
		}
		sig, err := i.Sign(officer.PurposeApprove, [32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		if err := officer.Check(i.PublicKey(), officer.PurposeApprove, [32]byte{1}, sig[:]); err != nil {
			t.Error(err)
		}
		if i, err = officer.OpenIdentity(dir); err != nil { // and once more
			t.Fatal(err)
		}
	}
	if err := i.SetSVID(nil, []byte("next")); err != nil || string(i.Bundle()) != "next" {
		t.Errorf("SetSVID of the bundle alone: %v", err)
	}
	if _, err := i.Certificate(start); err != nil {
		t.Errorf("after a new bundle: %v", err)
	}
}

func TestIdentityFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := officer.OpenIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: error = %v, want ErrNotExist", err)
	}
	i, err := officer.CreateIdentity(dir, officerID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := officer.CreateIdentity(dir, "spiffe://a.example/officer/o2"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second key: error = %v, want ErrExist", err)
	}
	again, err := officer.OpenIdentity(dir)
	if err != nil || again.SPIFFEID() != officerID || !again.PublicKey().Equal(i.PublicKey()) {
		t.Errorf("after a refused second key: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("files = %v, %v, want the key alone", entries, err)
	}
	key := filepath.Join(dir, "officer.key")
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key = %v, %v, want 0600", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "svid.pem"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if i, err = officer.OpenIdentity(dir); err != nil || !i.NeedsSVID(start) {
		t.Errorf("damaged SVID: %v", err)
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := officer.OpenIdentity(dir); err == nil {
		t.Error("opened a key that the group may read")
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if i, err := officer.OpenIdentity(dir); !errors.Is(err, officer.ErrKey) || i != nil {
		t.Errorf("damaged key: error = %v, want ErrKey", err)
	}
	for _, id := range []string{"", "o1", "spiffe://a.example/gateway/o1", "spiffe:///officer/o1", "spiffe://a.example/officer/O1",
		"spiffe://a.example/officer/", "spiffe://a.example/officer/a/b", "spiffe://A/officer/o1"} {
		if _, err := officer.CreateIdentity(t.TempDir(), id); !errors.Is(err, officer.ErrOfficer) {
			t.Errorf("CreateIdentity(%q): error = %v, want ErrOfficer", id, err)
		}
	}
}

// TestCreateIdentityRace makes many keys in one folder at a time. One is made.
func TestCreateIdentityRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		made []*officer.Identity
	)
	for range 8 {
		wg.Go(func() {
			if i, err := officer.CreateIdentity(dir, officerID); err == nil {
				mu.Lock()
				made = append(made, i)
				mu.Unlock()
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	i, err := officer.OpenIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 1 || !made[0].PublicKey().Equal(i.PublicKey()) {
		t.Errorf("%d keys were made, want 1", len(made))
	}
}

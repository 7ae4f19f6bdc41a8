package peer_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
)

// A clock is a time that only the test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A country is one gateway with its own authority.
type country struct {
	td         string
	id         string
	clock      *clock
	authority  *peer.Authority
	source     peer.Source
	federation *peer.Federation
	key        ed25519.PrivateKey
	logKey     ed25519.PublicKey
}

func newCountry(t testing.TB, td string, c *clock) *country {
	t.Helper()
	a, err := peer.CreateAuthority(t.TempDir(), td, c.now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.Source("main")
	if err != nil {
		t.Fatal(err)
	}
	f, err := peer.NewFederation(td, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	logKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.GatewayID(td, "main")
	if err != nil {
		t.Fatal(err)
	}
	return &country{td, id, c, a, s, f, key, logKey}
}

// unsigned returns an invite of c that is not signed.
func (c *country) unsigned(t testing.TB) *peer.Invite {
	t.Helper()
	authorities, err := peer.Authorities(c.source, c.td)
	if err != nil {
		t.Fatal(err)
	}
	return &peer.Invite{
		Version:           peer.InviteVersion,
		TrustDomain:       c.td,
		GatewayID:         c.id,
		Endpoint:          "gateway." + c.td + ":8443",
		Country:           "UTO",
		Agency:            "Border Agency of Utopia",
		AgencyCode:        "uto-border",
		Profile:           peer.ProfileInvite,
		SigningKey:        verifierKey(t, c.td+"/statement", c.key.Public().(ed25519.PublicKey)),
		LogKey:            verifierKey(t, c.td+"/shared", c.logKey),
		Created:           c.clock.now().Truncate(time.Second),
		NotAfter:          c.clock.now().Truncate(time.Second).Add(30 * 24 * time.Hour),
		BundleAuthorities: authorities,
	}
}

func (c *country) invite(t testing.TB) *peer.Invite {
	t.Helper()
	i := c.unsigned(t)
	if err := i.Sign(c.key); err != nil {
		t.Fatal(err)
	}
	return i
}

func verifierKey(t testing.TB, name string, pub ed25519.PublicKey) string {
	t.Helper()
	s, err := peer.VerifierKey(name, pub)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// federate makes c accept other.
func (c *country) federate(t testing.TB, other *country) {
	t.Helper()
	if _, err := c.federation.Accept(other.invite(t), c.clock.now()); err != nil {
		t.Fatal(err)
	}
}

func (c *country) serverTLS() *tls.Config {
	return peer.ServerTLS(c.source, c.federation, c.federation.Authorize, c.clock.now)
}

func (c *country) clientTLS(t testing.TB, to *country) *tls.Config {
	t.Helper()
	config, err := peer.ClientTLS(c.source, c.federation, to.td, c.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// connect makes one connection over loopback and exchanges one byte each way.
// It returns what the server saw of it, and the errors of both ends.
func connect(t testing.TB, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, server)
		if serverErr = conn.Handshake(); serverErr != nil {
			return
		}
		state = conn.ConnectionState()
		var b [1]byte
		if _, serverErr = io.ReadFull(conn, b[:]); serverErr == nil {
			_, serverErr = conn.Write(b[:])
		}
	}()
	clientErr = func() error {
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer raw.Close()
		config := client.Clone()
		config.ServerName = "gateway.test" // as gRPC sets it
		conn := tls.Client(raw, config)
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
		// In TLS 1.3 a client learns of a refusal when it reads.
		_, err = io.ReadFull(conn, make([]byte, 1))
		return err
	}()
	<-done
	return state, serverErr, clientErr
}

func mustConnect(t testing.TB, server, client *tls.Config) tls.ConnectionState {
	t.Helper()
	state, serverErr, clientErr := connect(t, server, client)
	if serverErr != nil || clientErr != nil {
		t.Fatalf("connection failed: server %v, client %v", serverErr, clientErr)
	}
	return state
}

// mustRefuse checks that the server refuses the client, and that the client
// sees nothing but an alert.
func mustRefuse(t testing.TB, server, client *tls.Config) {
	t.Helper()
	_, serverErr, clientErr := connect(t, server, client)
	if !errors.Is(serverErr, peer.ErrRefused) {
		t.Errorf("server error = %v, want ErrRefused", serverErr)
	}
	if clientErr == nil {
		t.Error("the client was served")
	} else if got, want := clientErr.Error(), "remote error: tls: bad certificate"; got != want {
		t.Errorf("client error = %q, want %q", got, want)
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", peer.MaxNameSize)
	for _, s := range []string{
		"spiffe://b.example/gateway/main",
		"spiffe://b.example/officer/a.b-c_1",
		"spiffe://b/gateway/" + long,
	} {
		id, err := peer.ParseID(s)
		if err != nil {
			t.Errorf("ParseID(%q): %v", s, err)
		}
		if got := id.String(); got != s {
			t.Errorf("ParseID(%q).String() = %q", s, got)
		}
	}
	for _, s := range []string{
		"", "b.example", "spiffe://b.example", "spiffe://b.example/", "spiffe://b.example/gateway",
		"spiffe://b.example/gateway/", "spiffe://b.example/gateway/a/b", "spiffe://b.example/gateways/a",
		"spiffe://b.example/gateway/..", "spiffe://b.example/gateway/a b", "spiffe://B.example/gateway/a",
		"https://b.example/gateway/a", "spiffe:///gateway/a", "spiffe://b.example:1/gateway/a",
		"spiffe://b.example/gateway/a?x", "spiffe://b.example//gateway/a", "spiffe://b.example/gateway/%61",
		"spiffe://b.example/gateway/" + long + "a", "spiffe://" + strings.Repeat("a", 256) + "/gateway/a",
	} {
		if id, err := peer.ParseID(s); !errors.Is(err, peer.ErrID) || id != (peer.ID{}) {
			t.Errorf("ParseID(%q) = %v, %v, want ErrID", s, id, err)
		}
	}
	if _, err := peer.OfficerID("b.example", "a/gateway/b"); !errors.Is(err, peer.ErrID) {
		t.Errorf("OfficerID with a slash: error = %v, want ErrID", err)
	}
	if _, err := peer.GatewayID("b.example/gateway/x?", "y"); !errors.Is(err, peer.ErrID) {
		t.Errorf("GatewayID with a path as trust domain: error = %v, want ErrID", err)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("spiffe://b.example/gateway/main")
	f.Add("spiffe://b.example/officer/x1")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := peer.ParseID(s)
		if err != nil {
			if id != (peer.ID{}) {
				t.Error("ID with an error")
			}
			return
		}
		if got := id.String(); got != s {
			t.Errorf("not canonical: got %q from %q", got, s)
		}
	})
}

func TestIDFromCertificate(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "a.example", newClock())
	svid, err := c.source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := peer.IDFromCertificate(svid.Certificates[0]); got != c.id || err != nil {
		t.Errorf("IDFromCertificate = %q, %v, want %q", got, err, c.id)
	}
	if _, err := peer.PublicKeyFromCertificate(svid.Certificates[0]); !errors.Is(err, peer.ErrID) {
		t.Errorf("PublicKeyFromCertificate of a gateway: error = %v, want ErrID", err)
	}
	if _, err := peer.IDFromCertificate(nil); !errors.Is(err, peer.ErrID) {
		t.Errorf("IDFromCertificate(nil): error = %v, want ErrID", err)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "a.example", newClock())
	svid, err := c.source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	key, err := keyBytes(svid.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	secret := [][]byte{[]byte(fmt.Sprintf("%d", key)), []byte(fmt.Sprintf("%x", key)), key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c.authority, c.source, struct{ s peer.Source }{c.source}} {
			got := []byte(fmt.Sprintf(verb, v))
			if slices.ContainsFunc(secret, func(s []byte) bool { return bytes.Contains(got, bytes.Trim(s, "[]")) }) {
				t.Errorf("%s of %T shows a private key", verb, v)
			}
		}
	}
}

package peer_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Attacks on a connection that the tests in this file cover: no certificate;
// stranger; federation ended, also with a resumed session; SVID not yet valid or
// expired; SVID of another path or gateway; SVID for one trust domain signed by
// the authority of another; chain through an authority of another kind; TLS 1.2.
// Not covered: stolen keys, which the life of an SVID bounds, and connections
// that stay open, which Federation.Authorize and Done are for.

func TestConnect(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newCountry(t, "a.example", c), newCountry(t, "b.example", c)
	a.federate(t, b)
	b.federate(t, a)
	state := mustConnect(t, a.serverTLS(), b.clientTLS(t, a))
	if got, want := state.Version, uint16(tls.VersionTLS13); got != want {
		t.Errorf("version = %x, want %x", got, want)
	}
	if got, err := peer.IDFromCertificate(state.PeerCertificates[0]); got != b.id || err != nil {
		t.Errorf("peer = %q, %v, want %q", got, err, b.id)
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b, s := newCountry(t, "a.example", c), newCountry(t, "b.example", c), newCountry(t, "s.example", c)
	a.federate(t, b)
	b.federate(t, a)
	s.federate(t, a)

	t.Run("stranger", func(t *testing.T) { mustRefuse(t, a.serverTLS(), s.clientTLS(t, a)) })
	t.Run("no certificate", func(t *testing.T) {
		_, serverErr, clientErr := connect(t, a.serverTLS(), &tls.Config{InsecureSkipVerify: true})
		if serverErr == nil || clientErr == nil {
			t.Errorf("server %v, client %v, want errors", serverErr, clientErr)
		}
	})
	t.Run("own trust domain", func(t *testing.T) {
		mustRefuse(t, a.serverTLS(), clientWith(t, a, "main"))
	})
	t.Run("other gateway", func(t *testing.T) {
		mustRefuse(t, a.serverTLS(), clientWith(t, b, "other"))
	})
	t.Run("officer", func(t *testing.T) {
		config := b.clientTLS(t, a)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return officerCertificate(t, b, "o1"), nil
		}
		mustRefuse(t, a.serverTLS(), config)
	})
	t.Run("nobody authorized", func(t *testing.T) {
		mustRefuse(t, peer.ServerTLS(a.source, a.federation, nil, c.now), b.clientTLS(t, a))
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		config := b.clientTLS(t, a)
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		_, serverErr, clientErr := connect(t, a.serverTLS(), config)
		if serverErr == nil || clientErr == nil {
			t.Errorf("server %v, client %v, want errors", serverErr, clientErr)
		}
	})
	t.Run("ended", func(t *testing.T) {
		config := b.clientTLS(t, a)
		mustConnect(t, a.serverTLS(), config)
		if err := a.federation.End("b.example", c.now()); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, a.serverTLS(), config) // with the alert that the stranger gets
	})
}

// clientWith returns a client that has another SVID of the authority of c, and
// trusts any server.
func clientWith(t *testing.T, c *country, name string) *tls.Config {
	t.Helper()
	svid, err := c.authority.IssueGateway(name)
	if err != nil {
		t.Fatal(err)
	}
	return clientWithSVID(svid)
}

func clientWithSVID(svid *x509svid.SVID) *tls.Config {
	cert := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}
}

func officerCertificate(t *testing.T, c *country, id string) *tls.Certificate {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sid, err := peer.OfficerID(c.td, id)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(sid)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{u}}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := c.authority.IssueOfficer(csr, id, pub)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(chain)
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// TestResumption is the attack on go-spiffe v2.9.0: a client keeps a session and
// comes back with it after the end of the federation.
func TestResumption(t *testing.T) {
	t.Parallel()
	for _, tickets := range []bool{false, true} {
		c := newClock()
		a, b := newCountry(t, "a.example", c), newCountry(t, "b.example", c)
		a.federate(t, b)
		b.federate(t, a)
		server := a.serverTLS()
		if !server.SessionTicketsDisabled {
			t.Error("session tickets are enabled")
		}
		if tickets { // the second wall must hold without the first
			server.SessionTicketsDisabled = false
		}
		client := b.clientTLS(t, a)
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		client.VerifyConnection = nil // a hostile client accepts anything
		if state := mustConnect(t, server, client); state.DidResume {
			t.Fatal("resumed the first connection")
		}
		if !tickets {
			if state := mustConnect(t, server, client); state.DidResume {
				t.Error("resumed a session")
			}
		}
		if err := a.federation.End("b.example", c.now()); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, server, client)
	}
}

// TestExpired connects with an SVID that is no longer, or not yet, valid for the
// other side.
func TestExpired(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newCountry(t, "a.example", c), newCountry(t, "b.example", c)
	a.federate(t, b)
	b.federate(t, a)
	client := clientWith(t, b, "main")
	mustConnect(t, a.serverTLS(), client)
	c.add(peer.SVIDLife + time.Second)
	mustRefuse(t, a.serverTLS(), client)

	// The clock of d is ten minutes ahead, which is more than is forgiven.
	ahead := newClock()
	ahead.add(peer.SVIDLife + 10*time.Minute)
	d := newCountry(t, "d.example", ahead)
	i := d.unsigned(t)
	i.Created = c.now()
	if err := i.Sign(d.key); err != nil {
		t.Fatal(err)
	}
	if _, err := a.federation.Accept(i, c.now()); err != nil {
		t.Fatal(err)
	}
	client = clientWith(t, d, "main")
	mustRefuse(t, a.serverTLS(), client)
	c.add(6 * time.Minute)
	mustConnect(t, a.serverTLS(), client)
}

// TestBundleConfusion lets the authority of one country sign for another.
func TestBundleConfusion(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b, d := newCountry(t, "a.example", c), newCountry(t, "b.example", c), newCountry(t, "d.example", c)
	a.federate(t, b)
	a.federate(t, d)
	d.federate(t, a)

	// forged is an authority with the keys of d that makes SVIDs for td.
	forge := func(td string) *country {
		evil, err := peer.CreateAuthority(t.TempDir(), td, c.now)
		if err != nil {
			t.Fatal(err)
		}
		s, err := evil.Source("main")
		if err != nil {
			t.Fatal(err)
		}
		return &country{td: td, clock: c, authority: evil, source: s}
	}
	b2 := forge("b.example")
	evilRoots, err := peer.Authorities(b2.source, "b.example")
	if err != nil {
		t.Fatal(err)
	}

	// d cannot put an authority that names b into its own bundle...
	i := d.unsigned(t)
	i.Created = i.Created.Add(time.Second)
	i.BundleAuthorities = append(i.BundleAuthorities, evilRoots...)
	if err := i.Sign(d.key); !errors.Is(err, peer.ErrInvite) {
		t.Errorf("invite with the authority of another: error = %v, want ErrInvite", err)
	}
	// ... and one without a name, or its own, does not speak for b or a.
	for _, td := range []string{"b.example", "a.example"} {
		leaf := signLeaf(t, d, "spiffe://"+td+"/gateway/main")
		mustRefuse(t, a.serverTLS(), clientWithSVID(leaf))
		local := peer.LocalServerTLS(a.source, "a.example", c.now)
		mustRefuse(t, local, clientWithSVID(signLeaf(t, d, "spiffe://"+td+"/officer/o1")))
	}
	// The same leaf for d itself is fine, so the forgery above is well made.
	mustConnect(t, a.serverTLS(), clientWithSVID(signLeaf(t, d, d.id)))
	// A leaf that may sign is not an SVID.
	mustRefuse(t, a.serverTLS(), clientWithSVID(signLeaf(t, d, d.id, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	})))

	// The authority of one peer cannot be claimed by another.
	i = b.unsigned(t)
	i.Created = i.Created.Add(time.Second)
	i.BundleAuthorities = [][]byte{nameless(t, d)}
	if err := i.Sign(b.key); err != nil {
		t.Fatal(err)
	}
	if _, err := a.federation.Accept(i, c.now().Add(time.Minute)); !errors.Is(err, peer.ErrConflict) {
		t.Errorf("authority of another peer: error = %v, want ErrConflict", err)
	}
}

func TestClientRefuses(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b, d := newCountry(t, "a.example", c), newCountry(t, "b.example", c), newCountry(t, "d.example", c)
	for _, x := range []*country{a, b, d} {
		for _, y := range []*country{a, b, d} {
			if x != y {
				x.federate(t, y)
			}
		}
	}
	// d answers in place of a. Both are peers of b.
	_, _, clientErr := connect(t, d.serverTLS(), b.clientTLS(t, a))
	if !errors.Is(clientErr, peer.ErrRefused) {
		t.Errorf("other peer: client error = %v, want ErrRefused", clientErr)
	}
	// An SVID of a with another name.
	other, err := a.authority.Source("other")
	if err != nil {
		t.Fatal(err)
	}
	_, _, clientErr = connect(t, peer.ServerTLS(other, a.federation, a.federation.Authorize, c.now), b.clientTLS(t, a))
	if !errors.Is(clientErr, peer.ErrRefused) {
		t.Errorf("other gateway: client error = %v, want ErrRefused", clientErr)
	}
	// The end of the federation is effective on the client, too.
	config := b.clientTLS(t, a)
	if err := b.federation.End("a.example", c.now()); err != nil {
		t.Fatal(err)
	}
	_, _, clientErr = connect(t, a.serverTLS(), config)
	if !errors.Is(clientErr, peer.ErrRefused) {
		t.Errorf("ended: client error = %v, want ErrRefused", clientErr)
	}
	if _, err := peer.ClientTLS(b.source, b.federation, "a.example", c.now); !errors.Is(err, peer.ErrNotFederated) {
		t.Errorf("ClientTLS: error = %v, want ErrNotFederated", err)
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newCountry(t, "a.example", c), newCountry(t, "b.example", c)
	a.federate(t, b)
	server := peer.LocalServerTLS(a.source, "a.example", c.now)
	roots, err := peer.Authorities(a.source, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	client := func(cert *tls.Certificate) *tls.Config {
		config, err := peer.LocalClientTLS(func() (*tls.Certificate, error) { return cert, nil }, roots, a.id, c.now)
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	if state := mustConnect(t, server, client(&tls.Certificate{})); len(state.PeerCertificates) != 0 {
		t.Error("certificates of a client without any")
	}
	state := mustConnect(t, server, client(officerCertificate(t, a, "o1")))
	if got, err := peer.IDFromCertificate(state.PeerCertificates[0]); got != "spiffe://a.example/officer/o1" || err != nil {
		t.Errorf("officer = %q, %v", got, err)
	}
	// Officers of others, and gateways, are not let in, peers or not.
	mustRefuse(t, server, client(officerCertificate(t, b, "o1")))
	mustRefuse(t, server, clientWith(t, a, "main"))
	mustRefuse(t, server, clientWith(t, b, "main"))
	expired := officerCertificate(t, a, "o1")
	c.add(peer.SVIDLife + time.Second)
	mustRefuse(t, server, client(expired))
	c.add(-peer.SVIDLife)

	// The officer's machine does not talk to anybody else.
	_, _, clientErr := connect(t, peer.LocalServerTLS(b.source, "b.example", c.now), client(&tls.Certificate{}))
	if !errors.Is(clientErr, peer.ErrRefused) {
		t.Errorf("client error = %v, want ErrRefused", clientErr)
	}
	if _, err := peer.LocalClientTLS(nil, roots, "spiffe://b.example/gateway/main", c.now); err == nil {
		t.Error("LocalClientTLS took the bundle of another trust domain")
	}
	again, err := peer.AuthoritiesFromPEM(peer.AuthoritiesPEM(roots))
	if err != nil || len(again) != len(roots) || string(again[0]) != string(roots[0]) {
		t.Errorf("AuthoritiesFromPEM: %v", err)
	}
	for _, s := range []string{"", "x", string(peer.AuthoritiesPEM(roots)) + "x"} {
		if ders, err := peer.AuthoritiesFromPEM([]byte(s)); err == nil || ders != nil {
			t.Errorf("AuthoritiesFromPEM(%.10q) succeeded", s)
		}
	}
}

// TestRotation runs two gateways for two years. SVIDs and authorities are
// replaced many times, and no connection fails.
func TestRotation(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newCountry(t, "a.example", c), newCountry(t, "b.example", c)
	a.federate(t, b)
	b.federate(t, a)
	server, client := a.serverTLS(), b.clientTLS(t, a)

	serials := make(map[string]bool)
	step := func() {
		t.Helper()
		state := mustConnect(t, server, client)
		serials[state.PeerCertificates[0].SerialNumber.String()] = true
	}
	for range 24 { // four hours
		step()
		c.add(10 * time.Minute)
	}
	if got, want := len(serials), 8; got != want {
		t.Errorf("%d SVIDs in four hours, want %d", got, want)
	}
	issuers := make(map[string]bool)
	invites := 0
	for range 105 { // two years
		c.add(7 * day)
		for _, p := range [][2]*country{{a, b}, {b, a}} {
			changed, err := p[0].authority.Rotate()
			if err != nil {
				t.Fatal(err)
			}
			if changed {
				invites++
				if _, err := p[1].federation.Update(p[0].invite(t), c.now()); err != nil {
					t.Fatal(err)
				}
			}
		}
		step()
		svid, err := a.source.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		issuers[svid.Certificates[0].Issuer.CommonName] = true
	}
	if got, want := len(issuers), 4; got < want {
		t.Errorf("%d authorities in two years, want at least %d", got, want)
	}
	if invites < 6 {
		t.Errorf("the bundles changed %d times", invites)
	}
}

// signLeaf lets the authority of c sign an SVID for any ID.
func signLeaf(t *testing.T, c *country, id string, change ...func(*x509.Certificate)) *x509svid.SVID {
	t.Helper()
	ca, caKey := c.authority.Signer()
	svid, err := c.authority.IssueGateway("forged")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		NotBefore:             c.clock.now().Add(-time.Minute),
		NotAfter:              c.clock.now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{u},
	}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, svid.PrivateKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	svid.Certificates = []*x509.Certificate{cert}
	return svid
}

// nameless returns another certificate for the key of the authority of c, one
// without a trust domain in it.
func nameless(t *testing.T, c *country) []byte {
	t.Helper()
	ca, key := c.authority.Signer()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject:               ca.Subject,
		NotBefore:             ca.NotBefore,
		NotAfter:              ca.NotAfter,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

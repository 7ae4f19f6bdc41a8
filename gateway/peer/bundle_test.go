package peer_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
)

// serve starts an HTTPS server with a configuration of ours.
func serve(t *testing.T, config *tls.Config, h http.Handler) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: tls.NewListener(l, config), Config: &http.Server{Handler: h}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	s.URL = "https://" + l.Addr().String()
	t.Cleanup(s.Close)
	return s
}

// acceptEndpoint makes a accept b with a bundle endpoint.
func acceptEndpoint(t *testing.T, a, b *country, profile, url string) {
	t.Helper()
	i := b.unsigned(t)
	if p, ok := a.federation.Peer(b.td); ok {
		i.Created = p.Invited.Add(time.Second)
	}
	i.Profile, i.BundleURL = profile, url
	if err := i.Sign(b.key); err != nil {
		t.Fatal(err)
	}
	if _, err := a.federation.Accept(i, a.clock.now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

// TestRefresh rotates the authority of b, and lets a follow over the bundle
// endpoint, without any invite.
func TestRefresh(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newCountry(t, "a.example", c), newCountry(t, "b.example", c)
	s := serve(t, peer.BundleServerTLS(b.source, c.now), peer.BundleHandler(b.source, b.td))
	acceptEndpoint(t, a, b, peer.ProfileSPIFFE, s.URL+"/bundle")
	b.federate(t, a)
	ctx := context.Background()
	for range 60 { // fourteen months, a rotation and more
		c.add(7 * day)
		if _, err := a.authority.Rotate(); err != nil {
			t.Fatal(err)
		}
		if err := a.federation.Refresh(ctx, b.td, nil, c.now); err != nil {
			t.Fatal(err)
		}
		i := a.invite(t)
		if _, err := b.federation.Update(i, c.now()); err != nil {
			t.Fatal(err)
		}
		mustConnect(t, a.serverTLS(), b.clientTLS(t, a))
	}
	p, _ := a.federation.Peer(b.td)
	if !p.Updated.Equal(c.now()) || p.BundleSequence == 0 {
		t.Errorf("updated %v, sequence %d", p.Updated, p.BundleSequence)
	}
	// An older bundle is a replay.
	if err := a.federation.SetBundle(b.td, p.Authorities, p.BundleSequence-1, c.now()); !errors.Is(err, peer.ErrStale) {
		t.Errorf("older bundle: error = %v, want ErrStale", err)
	}
	if err := a.federation.SetBundle(b.td, nil, p.BundleSequence, c.now()); !errors.Is(err, peer.ErrInvite) {
		t.Errorf("empty bundle: error = %v, want ErrInvite", err)
	}
	if err := a.federation.End(b.td, c.now()); err != nil {
		t.Fatal(err)
	}
	if err := a.federation.Refresh(ctx, b.td, nil, c.now); !errors.Is(err, peer.ErrNotFederated) {
		t.Errorf("after the end: error = %v, want ErrNotFederated", err)
	}
}

// TestRefreshRefuses has endpoints that do not behave.
func TestRefreshRefuses(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b, d := newCountry(t, "a.example", c), newCountry(t, "b.example", c), newCountry(t, "d.example", c)
	a.federate(t, d)
	good := peer.BundleHandler(b.source, b.td)
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/other")
			w.WriteHeader(code)
			good.ServeHTTP(w, r)
		})
	}
	body := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(s)) })
	}
	tests := []struct {
		name    string
		by      *country
		handler http.Handler
	}{
		{"other server", d, good},
		{"redirect", b, status(http.StatusFound)},
		{"not found", b, status(http.StatusNotFound)},
		{"too large", b, body(strings.Repeat(" ", peer.MaxBundleSize) + "{}")},
		{"malformed", b, body("x")},
		{"empty", b, body(`{"keys":[]}`)},
		{"bundle of another", b, peer.BundleHandler(d.source, d.td)},
	}
	for _, tt := range tests {
		s := serve(t, peer.BundleServerTLS(tt.by.source, c.now), tt.handler)
		acceptEndpoint(t, a, b, peer.ProfileSPIFFE, s.URL+"/bundle")
		before, _ := a.federation.Peer(b.td)
		if err := a.federation.Refresh(context.Background(), b.td, nil, c.now); err == nil {
			t.Errorf("%s: Refresh succeeded", tt.name)
		}
		after, _ := a.federation.Peer(b.td)
		if len(before.Authorities) != len(after.Authorities) || string(before.Authorities[0]) != string(after.Authorities[0]) {
			t.Errorf("%s: the bundle changed", tt.name)
		}
	}
	if err := a.federation.Refresh(context.Background(), d.td, nil, c.now); err == nil {
		t.Error("fetched the bundle of a peer without an endpoint")
	}
	if err := a.federation.SetBundle(d.td, [][]byte{nameless(t, d)}, 1, c.now()); !errors.Is(err, peer.ErrConflict) {
		t.Errorf("SetBundle with the profile invite: error = %v, want ErrConflict", err)
	}
}

// TestRefreshWeb has an endpoint with a certificate of the Web PKI. The profiles
// do not stand in for each other.
func TestRefreshWeb(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now().UTC()}
	a, b := newCountry(t, "a.example", c), newCountry(t, "b.example", c)
	s := httptest.NewUnstartedServer(peer.BundleHandler(b.source, b.td))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	acceptEndpoint(t, a, b, peer.ProfileWeb, s.URL+"/bundle")
	if err := a.federation.Refresh(context.Background(), b.td, roots, c.now); err != nil {
		t.Error(err)
	}
	if err := a.federation.Refresh(context.Background(), b.td, x509.NewCertPool(), c.now); err == nil {
		t.Error("fetched from a server of no known root")
	}
	acceptEndpoint(t, a, b, peer.ProfileSPIFFE, s.URL+"/bundle")
	if err := a.federation.Refresh(context.Background(), b.td, roots, c.now); err == nil {
		t.Error("https_spiffe fell back to Web PKI")
	}
	spiffe := serve(t, peer.BundleServerTLS(b.source, c.now), peer.BundleHandler(b.source, b.td))
	acceptEndpoint(t, a, b, peer.ProfileWeb, spiffe.URL+"/bundle")
	if err := a.federation.Refresh(context.Background(), b.td, roots, c.now); err == nil {
		t.Error("https_web fell back to an SVID")
	}
}

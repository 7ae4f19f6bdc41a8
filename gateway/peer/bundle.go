package peer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
)

const (
	// MaxBundleSize is the largest bundle document that is read, in bytes.
	MaxBundleSize = 256 << 10

	// BundleTimeout is how long a fetch takes at most.
	BundleTimeout = 10 * time.Second

	// BundleRefreshHint is what our own bundle asks others to wait between
	// fetches (SPIFFE Trust Domain and Bundle, Section 4.1).
	BundleRefreshHint = time.Hour
)

// Refresh fetches the bundle of an active peer from the bundle endpoint of its
// invite and stores it. roots are for the profile https_web; nil means those of
// the system. Callers should refresh every hour or so, and alarm on the age of
// Peer.Updated.
//
// It returns an error wrapping [ErrNotFederated], or any of [Federation.SetBundle];
// an endpoint that cannot be reached, or that answers with anything but a bundle,
// is an error too. Then the bundle stays as it is.
//
// Unlike federation.FetchBundle of go-spiffe v2.9.0, Refresh follows no redirect,
// demands the status 200, and reads a bounded number of bytes.
func (f *Federation) Refresh(ctx context.Context, trustDomain string, roots *x509.CertPool, now func() time.Time) error {
	p, ok := f.Peer(trustDomain)
	if !ok || p.State != Active {
		return ErrNotFederated
	}
	config, err := bundleClientTLS(p, roots, now)
	if err != nil {
		return err
	}
	td, err := parseTrustDomain(trustDomain)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    BundleTimeout,
		MaxResponseHeaderBytes: 16 << 10,
		DisableKeepAlives:      true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		Timeout:       BundleTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.BundleURL, nil)
	if err != nil {
		return fmt.Errorf("peer: fetching bundle: %v", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("peer: fetching bundle: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("peer: fetching bundle: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBundleSize+1))
	if err != nil {
		return fmt.Errorf("peer: fetching bundle: %w", err)
	}
	if len(body) > MaxBundleSize {
		return errors.New("peer: fetching bundle: too large")
	}
	bundle, err := spiffebundle.Parse(td, body)
	if err != nil {
		return errors.New("peer: fetching bundle: malformed")
	}
	var authorities [][]byte
	for _, c := range bundle.X509Authorities() {
		authorities = append(authorities, c.Raw)
	}
	sequence, _ := bundle.SequenceNumber()
	return f.SetBundle(trustDomain, authorities, sequence, now())
}

// BundleHandler serves the bundle of the own trust domain as a bundle endpoint
// (SPIFFE Federation, Section 5). It holds public keys only.
func BundleHandler(source Source, trustDomain string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		b, err := ownBundle(source, trustDomain)
		if err != nil {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(b) // a client that went away is no fault of ours
	})
}

func ownBundle(source Source, trustDomain string) ([]byte, error) {
	td, err := parseTrustDomain(trustDomain)
	if err != nil {
		return nil, err
	}
	x, err := source.GetX509BundleForTrustDomain(td)
	if err != nil {
		return nil, err
	}
	b := spiffebundle.FromX509Bundle(x)
	b.SetRefreshHint(BundleRefreshHint)
	// The sequence must not go down. The time at which the newest authority
	// starts is known to every replica and only goes up.
	var newest int64
	for _, c := range x.X509Authorities() {
		newest = max(newest, c.NotBefore.Unix())
	}
	if newest > 0 {
		b.SetSequenceNumber(uint64(newest))
	}
	return b.Marshal()
}

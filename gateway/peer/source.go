package peer

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

var errClosed = errors.New("peer: source is closed")

// A Source is where a gateway has its own identity from: its current SVID, and
// the bundle of its own trust domain. It never has bundles of neighbours: these
// are in a [Federation].
//
// [Authority.Source] and [OpenWorkload] return one. Its methods may be called
// concurrently. The SVID changes over time: callers must not keep it.
type Source interface {
	x509svid.Source
	x509bundle.Source

	// Close ends the source. Every later call returns an error.
	Close() error
}

// Authorities returns the X.509 authorities in the bundle that source has for
// its own trust domain, in DER, as they go into an [Invite].
func Authorities(source Source, trustDomain string) ([][]byte, error) {
	td, err := parseTrustDomain(trustDomain)
	if err != nil {
		return nil, err
	}
	b, err := source.GetX509BundleForTrustDomain(td)
	if err != nil {
		return nil, fmt.Errorf("peer: reading own bundle: %w", err)
	}
	var ders [][]byte
	for _, c := range b.X509Authorities() {
		ders = append(ders, c.Raw)
	}
	return ders, nil
}

// OpenWorkload returns the source of the identity gatewayID from a SPIFFE
// Workload API, such as a SPIRE agent. address is of the form that
// SPIFFE_ENDPOINT_SOCKET has, such as "unix:///run/spire/agent.sock" (SPIFFE
// Workload Endpoint, Section 4).
//
// OpenWorkload blocks until the first answer of the Workload API or the end of
// ctx. Later updates arrive in the background until Close. A Workload API that
// does not offer gatewayID is an error, also later: no other SVID is used in its
// place. Federated bundles that the Workload API offers are not used, because
// federation is agreed by invite.
func OpenWorkload(ctx context.Context, address, gatewayID string) (Source, error) {
	want, err := ParseID(gatewayID)
	if err != nil {
		return nil, err
	}
	if want.Kind != KindGateway {
		return nil, fmt.Errorf("%w: not the ID of a gateway", ErrID)
	}
	if err := workloadapi.ValidateAddress(address); err != nil {
		return nil, fmt.Errorf("peer: address of the Workload API: %v", err)
	}
	pick := func(svids []*x509svid.SVID) *x509svid.SVID {
		for _, s := range svids {
			if s.ID.String() == gatewayID {
				return s
			}
		}
		return nil
	}
	// NewX509Source keeps ctx only until its first update.
	x, err := workloadapi.NewX509Source(ctx,
		workloadapi.WithClientOptions(workloadapi.WithAddr(address)),
		workloadapi.WithDefaultX509SVIDPicker(pick))
	if err != nil {
		return nil, fmt.Errorf("peer: opening the Workload API: %w", err)
	}
	td, err := parseTrustDomain(want.TrustDomain)
	if err != nil {
		x.Close()
		return nil, err
	}
	s := &workloadSource{x, td, gatewayID}
	if _, err := s.GetX509SVID(); err != nil {
		x.Close()
		return nil, err
	}
	return s, nil
}

// A workloadSource narrows an X509Source to one SVID and one trust domain.
type workloadSource struct {
	x  *workloadapi.X509Source
	td spiffeid.TrustDomain
	id string
}

func (s *workloadSource) GetX509SVID() (*x509svid.SVID, error) {
	svid, err := s.x.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("peer: the Workload API has no SVID for %s: %v", s.id, err)
	}
	return svid, nil
}

func (s *workloadSource) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if td != s.td {
		return nil, ErrNotFederated
	}
	b, err := s.x.GetX509BundleForTrustDomain(td)
	if err != nil {
		return nil, fmt.Errorf("peer: the Workload API has no bundle for %s: %v", td.Name(), err)
	}
	return b, nil
}

func (s *workloadSource) Close() error { return s.x.Close() }

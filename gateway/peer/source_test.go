package peer_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A workloadAPI is a SPIFFE Workload API on a Unix socket.
type workloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	updates chan *workload.X509SVIDResponse
	closed  chan struct{}
}

func (w *workloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest,
	stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	// SPIFFE Workload Endpoint, Section 6: guards against request forgery.
	md, _ := metadata.FromIncomingContext(stream.Context())
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing")
	}
	for {
		select {
		case u := <-w.updates:
			if err := stream.Send(u); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		case <-w.closed:
			return nil
		}
	}
}

// startWorkloadAPI returns a Workload API and its address.
func startWorkloadAPI(t *testing.T) (*workloadAPI, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	w := &workloadAPI{updates: make(chan *workload.X509SVIDResponse, 1), closed: make(chan struct{})}
	s := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(s, w)
	go s.Serve(l)
	t.Cleanup(func() { close(w.closed); s.Stop() })
	return w, "unix://" + path
}

// response returns an answer with one SVID per id, and a federated bundle.
func response(t *testing.T, c, federated *country, svids ...*x509svid.SVID) *workload.X509SVIDResponse {
	t.Helper()
	bundle := func(c *country) []byte {
		ders, err := peer.Authorities(c.source, c.td)
		if err != nil {
			t.Fatal(err)
		}
		var b []byte
		for _, der := range ders {
			b = append(b, der...)
		}
		return b
	}
	r := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{"spiffe://" + federated.td: bundle(federated)}}
	for _, s := range svids {
		certs, key, err := s.MarshalRaw()
		if err != nil {
			t.Fatal(err)
		}
		r.Svids = append(r.Svids, &workload.X509SVID{
			SpiffeId: s.ID.String(), X509Svid: certs, X509SvidKey: key, Bundle: bundle(c),
		})
	}
	return r
}

func issue(t *testing.T, c *country, name string) *x509svid.SVID {
	t.Helper()
	s, err := c.authority.IssueGateway(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWorkload runs a gateway whose identity comes from a Workload API, and
// connects it with one that has the embedded authority.
func TestWorkload(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Now().UTC()} // the Workload API client has no clock of ours
	a, b, d := newCountry(t, "a.example", c), newCountry(t, "b.example", c), newCountry(t, "d.example", c)
	api, address := startWorkloadAPI(t)
	api.updates <- response(t, a, d, issue(t, a, "other"), issue(t, a, "main"))

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	source, err := peer.OpenWorkload(ctx, address, a.id)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	a.source = source // in place of the embedded authority
	a.federate(t, b)
	b.federate(t, a)
	state := mustConnect(t, b.serverTLS(), a.clientTLS(t, b))
	if got, err := peer.IDFromCertificate(state.PeerCertificates[0]); got != a.id || err != nil {
		t.Errorf("peer = %q, %v, want %q", got, err, a.id)
	}
	mustConnect(t, a.serverTLS(), b.clientTLS(t, a))

	// That the Workload API knows a bundle is no federation.
	d.federate(t, a)
	mustRefuse(t, a.serverTLS(), d.clientTLS(t, a))
	if ders, err := peer.Authorities(source, "d.example"); err == nil || ders != nil {
		t.Error("the source has a federated bundle")
	}

	// An update replaces the SVID without a failed connection.
	next := issue(t, a, "main")
	api.updates <- response(t, a, d, next)
	for {
		svid, err := source.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		mustConnect(t, a.serverTLS(), b.clientTLS(t, a))
		if svid.Certificates[0].Equal(next.Certificates[0]) {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the update did not arrive")
		}
		time.Sleep(time.Millisecond)
	}

	// Another SVID is not used in place of ours.
	api.updates <- response(t, a, d, issue(t, a, "other"))
	for {
		svid, err := source.GetX509SVID()
		if err != nil {
			break
		}
		if svid.ID.String() != a.id {
			t.Fatalf("the source has the SVID of %s", svid.ID)
		}
		if ctx.Err() != nil {
			t.Fatal("the update did not arrive")
		}
		time.Sleep(time.Millisecond)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if _, err := source.GetX509BundleForTrustDomain(next.ID.TrustDomain()); err == nil {
		t.Error("a closed source has a bundle")
	}
}

func TestOpenWorkloadRefuses(t *testing.T) {
	t.Parallel()
	a := newCountry(t, "a.example", &clock{t: time.Now().UTC()})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	api, address := startWorkloadAPI(t)
	api.updates <- response(t, a, a, issue(t, a, "other"))
	if s, err := peer.OpenWorkload(ctx, address, a.id); err == nil || s != nil {
		t.Error("OpenWorkload took another SVID")
	}
	for _, address := range []string{"", "x", "http://localhost", "unix:"} {
		if s, err := peer.OpenWorkload(ctx, address, a.id); err == nil || s != nil {
			t.Errorf("OpenWorkload accepts the address %q", address)
		}
	}
	for _, id := range []string{"", "a.example", "spiffe://a.example/officer/main"} {
		if s, err := peer.OpenWorkload(ctx, address, id); err == nil || s != nil {
			t.Errorf("OpenWorkload accepts the ID %q", id)
		}
	}
	cancel()
	_, silent := startWorkloadAPI(t)
	if s, err := peer.OpenWorkload(ctx, silent, a.id); err == nil || s != nil {
		t.Error("OpenWorkload returned without an answer")
	}
}

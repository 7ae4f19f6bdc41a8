package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"flag"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

var update = flag.Bool("update", false, "write the golden files")

const domain = "border.utopia.example"

// noon is a fixed time of answers.
var noon = timestamppb.New(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))

// A fake is a gateway that answers what a test sets. It is a real server with
// real mutual TLS on a real socket.
type fake struct {
	passerellev1.UnimplementedIdentityServiceServer
	passerellev1.UnimplementedNationalServiceServer
	passerellev1.UnimplementedAdminServiceServer
	passerellev1.UnimplementedAuditServiceServer
	passerellev1.UnimplementedPolicyServiceServer

	authority *peer.Authority
	source    peer.Source
	dir       string
	socket    string

	mu     sync.Mutex
	issued int
	keys   map[string]ed25519.PublicKey // enrolled officers, by id

	lookup    func(*passerellev1.LookupRequest) (*passerellev1.LookupResponse, error)
	screen    func(passerellev1.NationalService_ScreenServer) error
	ingest    func(passerellev1.AdminService_IngestRecordsServer) error
	accept    func(*passerellev1.AcceptInviteRequest) (*passerellev1.AcceptInviteResponse, error)
	officers  func() (*passerellev1.ListOfficersResponse, error)
	propose   func(*passerellev1.ProposeOfficerChangeRequest) (*passerellev1.ProposeOfficerChangeResponse, error)
	sign      func(*passerellev1.SignAgreementRequest) (*passerellev1.SignAgreementResponse, error)
	draft     func(*passerellev1.DraftAgreementRequest) (*passerellev1.DraftAgreementResponse, error)
	show      func(*passerellev1.ShowQueryRequest) (*passerellev1.ShowQueryResponse, error)
	sealed    func(*passerellev1.GetSealedRequest) (*passerellev1.GetSealedResponse, error)
	exportLog func(passerellev1.AuditService_ExportLogServer) error
	syncPeers func(passerellev1.AdminService_SyncPeersServer) error
	status    func() (*passerellev1.GetStatusResponse, error)
}

func (f *fake) IssueSVID(_ context.Context, r *passerellev1.IssueSVIDRequest) (*passerellev1.IssueSVIDResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, key := range f.keys {
		chain, err := f.authority.IssueOfficer(r.GetCertificateRequest(), id, key)
		if err != nil {
			continue
		}
		f.issued++
		bundle, err := peer.Authorities(f.source, domain)
		if err != nil {
			return nil, err
		}
		answer := &passerellev1.IssueSVIDResponse{Bundle: bundle}
		for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
			answer.Certificates = append(answer.Certificates, block.Bytes)
		}
		return answer, nil
	}
	return nil, refused(codes.Unauthenticated, "NOT_ENROLLED", nil, 0)
}

func (f *fake) Lookup(_ context.Context, r *passerellev1.LookupRequest) (*passerellev1.LookupResponse, error) {
	return f.lookup(r)
}
func (f *fake) Screen(s passerellev1.NationalService_ScreenServer) error { return f.screen(s) }
func (f *fake) IngestRecords(s passerellev1.AdminService_IngestRecordsServer) error {
	return f.ingest(s)
}
func (f *fake) AcceptInvite(_ context.Context, r *passerellev1.AcceptInviteRequest) (*passerellev1.AcceptInviteResponse, error) {
	return f.accept(r)
}
func (f *fake) ListOfficers(context.Context, *passerellev1.ListOfficersRequest) (*passerellev1.ListOfficersResponse, error) {
	return f.officers()
}
func (f *fake) ProposeOfficerChange(_ context.Context, r *passerellev1.ProposeOfficerChangeRequest) (*passerellev1.ProposeOfficerChangeResponse, error) {
	return f.propose(r)
}
func (f *fake) SignAgreement(_ context.Context, r *passerellev1.SignAgreementRequest) (*passerellev1.SignAgreementResponse, error) {
	return f.sign(r)
}
func (f *fake) DraftAgreement(_ context.Context, r *passerellev1.DraftAgreementRequest) (*passerellev1.DraftAgreementResponse, error) {
	return f.draft(r)
}
func (f *fake) GetSealed(_ context.Context, r *passerellev1.GetSealedRequest) (*passerellev1.GetSealedResponse, error) {
	return f.sealed(r)
}
func (f *fake) ShowQuery(_ context.Context, r *passerellev1.ShowQueryRequest) (*passerellev1.ShowQueryResponse, error) {
	return f.show(r)
}
func (f *fake) GetCheckpoint(context.Context, *passerellev1.GetCheckpointRequest) (*passerellev1.GetCheckpointResponse, error) {
	return &passerellev1.GetCheckpointResponse{VerifierKey: "utopia+00000000+AQ=="}, nil
}
func (f *fake) ExportLog(_ *passerellev1.ExportLogRequest, s passerellev1.AuditService_ExportLogServer) error {
	return f.exportLog(s)
}
func (f *fake) SyncPeers(_ *passerellev1.SyncPeersRequest, s passerellev1.AdminService_SyncPeersServer) error {
	return f.syncPeers(s)
}
func (f *fake) GetStatus(ctx context.Context, _ *passerellev1.GetStatusRequest) (*passerellev1.GetStatusResponse, error) {
	if err := grpc.SetTrailer(ctx, metadata.Pairs(requestKey, "0123456789abcdef")); err != nil {
		return nil, err
	}
	return f.status()
}

// start runs a fake gateway until the test ends.
func start(t testing.TB) *fake {
	t.Helper()
	// Not t.TempDir: the path of a socket is at most 107 bytes.
	dir, err := os.MkdirTemp("", "pcli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fake{dir: dir, socket: filepath.Join(dir, "s"), keys: make(map[string]ed25519.PublicKey)}
	if f.authority, err = peer.CreateAuthority(filepath.Join(dir, "authority"), domain, time.Now); err != nil {
		t.Fatal(err)
	}
	if f.source, err = f.authority.Source("main"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.source.Close() })
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(peer.LocalServerTLS(f.source, domain, time.Now))))
	passerellev1.RegisterIdentityServiceServer(s, f)
	passerellev1.RegisterNationalServiceServer(s, f)
	passerellev1.RegisterAdminServiceServer(s, f)
	passerellev1.RegisterAuditServiceServer(s, f)
	passerellev1.RegisterPolicyServiceServer(s, f)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return f
}

// enrol makes the identity folder of an officer.
func (f *fake) enrol(t testing.TB, id string) (*officer.Identity, string) {
	t.Helper()
	dir := filepath.Join(f.dir, id)
	spiffeID, err := peer.OfficerID(domain, id)
	if err != nil {
		t.Fatal(err)
	}
	i, err := officer.CreateIdentity(dir, spiffeID)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := peer.Authorities(f.source, domain)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.SetSVID(nil, peer.AuthoritiesPEM(bundle)); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[id] = i.PublicKey()
	return i, dir
}

// as returns the flags to call f as the officer with a folder.
func (f *fake) as(identity string, args ...string) []string {
	return append(args, "--gateway", "unix:"+f.socket, "--identity", identity)
}

// command runs one command line.
func command(t testing.TB, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

// refused returns the error of a gateway.
func refused(c codes.Code, reason string, metadata map[string]string, retry time.Duration) error {
	s, err := status.New(c, "fixed text").WithDetails(&errdetails.ErrorInfo{Domain: "passerelle", Reason: reason, Metadata: metadata})
	if err != nil {
		panic(err)
	}
	if retry > 0 {
		if s, err = s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retry)}); err != nil {
			panic(err)
		}
	}
	return s.Err()
}

// golden compares text with a golden file. Request ids, which differ in each run,
// are replaced before.
func golden(t testing.TB, name, got string) {
	t.Helper()
	got = requestID.ReplaceAllString(got, "01234567-89ab-7cde-8f01-23456789abcd")
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run the test with -update and look at the change\n got:\n%s\nwant:\n%s", path, got, want)
	}
}

var requestID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

package rpc_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// An adminParts is what an admin.Admin needs of its gateway, in memory.
type adminParts struct {
	mu   sync.Mutex
	n    uint64
	keys []peer.KeyCommitment
}

func (p *adminParts) Append(_ context.Context, e *entry.Entry) (audit.Position, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := e.Bytes()
	p.n++
	return audit.Position{Index: p.n - 1}, err
}

func (p *adminParts) Size() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (*adminParts) Err() error                                      { return nil }
func (*adminParts) OldestUnpublished() time.Duration                { return 1500 * time.Millisecond }
func (*adminParts) Revision() string                                { return "0123456789abcdef" }
func (*adminParts) BundleDigest() [32]byte                          { return [32]byte{7} }
func (*adminParts) Drop(string)                                     {}
func (p *adminParts) OwnCommitments() ([]peer.KeyCommitment, error) { return slices.Clone(p.keys), nil }
func (*adminParts) Epochs(string) ([]keys.Epoch, error) {
	return []keys.Epoch{{Number: 1, KeyID: "0123"}}, nil
}
func (*adminParts) Rotate(_ context.Context, collection string, compromised bool) (uint32, error) {
	if collection != "watchlist" || !compromised {
		return 0, errors.New("test: not what was asked for")
	}
	return 7, nil
}
func (*adminParts) Publish(_ context.Context, asker, collection string, _ admin.PublishProgress) (*admin.Publication, error) {
	return &admin.Publication{Asker: asker, Collection: collection}, nil
}
func (*adminParts) Sync(_ context.Context, holder, collection string, progress admin.SyncProgress) []admin.SyncResult {
	progress(holder, collection, 1, 5<<20)
	progress(holder, collection, 2, 5<<20)
	progress(holder, collection, 5<<20, 5<<20)
	return []admin.SyncResult{{Holder: holder, Collection: collection, From: 1, To: 2, Tags: 3, Bytes: 5 << 20},
		{Holder: "c.example", Collection: "documents", Refusal: query.Refuse(query.Unreachable, nil)}}
}

// An office is a country with officers, and the server for them.
type office struct {
	*country
	t          *testing.T
	admin      *admin.Admin
	register   *officer.Register
	identities map[string]*officer.Identity
	endpoint   string
}

// newOffice starts the server of a country with an officer of each name, who has
// the role of that name, and two administrators.
func newOffice(t *testing.T, td, code string, roles ...officer.Role) *office {
	t.Helper()
	o := &office{country: newCountry(t, td), t: t, identities: make(map[string]*officer.Identity)}
	a, b := o.person("administrator", officer.RoleAdministrator), o.person("administrator2", officer.RoleAdministrator)
	founding, digest, err := officer.Found(a, b, time.Now().Add(-time.Minute))
	o.ok(err)
	o.register, err = officer.Load([][]byte{founding}, digest, func([]byte) error { return nil })
	o.ok(err)
	for _, r := range roles {
		o.enrol(o.person(string(r), r))
	}
	s, err := store.Open(t.Context(), t.TempDir())
	o.ok(err)
	t.Cleanup(func() { s.Close() })
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	o.ok(err)
	statement, err := peer.VerifierKey(td+"/statement", pub)
	o.ok(err)
	logPub, _, err := ed25519.GenerateKey(rand.Reader)
	o.ok(err)
	log, err := peer.VerifierKey(td+"/shared", logPub)
	o.ok(err)
	parts := &adminParts{keys: []peer.KeyCommitment{{Collection: "watchlist", Epoch: 1,
		PublicKey: oprf.GeneratePrivateKey().PublicKey()}}}
	o.admin, err = admin.New(t.Context(), admin.Config{
		TrustDomain: td, Gateway: o.id, Endpoint: "gateway." + td + ":8443", Country: code, Agency: "Border Agency of " + code,
		AgencyCode: strings.ToLower(code) + "-bp", Software: "passerelle/test", Store: s, Federation: o.federation,
		Collections: []admin.Collection{{Name: "watchlist", Category: "watchlist"}}, Agreements: agreement.NewRegistry(td, nil),
		Officers: o.register, Shared: parts, Internal: parts, Policy: parts, Keys: parts, Publisher: parts, Syncer: parts,
		Library: parts, Rotator: parts, Issuer: o.authority, Authorities: func() ([][]byte, error) { return peer.Authorities(o.source, td) },
		SVIDNotAfter: func() (time.Time, error) { return time.Now().Add(time.Hour), nil },
		StatementKey: key, StatementVerifier: statement, LogVerifier: log, Started: time.Now(), Now: time.Now,
		Pseudonym: func(id string) [16]byte { h := sha256.Sum256([]byte(id)); return [16]byte(h[:16]) },
	})
	o.ok(err)
	t.Cleanup(func() { o.admin.Close(context.Background()) })
	server, err := rpc.NewLocalServer(rpc.LocalConfig{TrustDomain: td, Register: o.register, Now: time.Now,
		TLS:      peer.LocalServerTLS(o.source, td, time.Now),
		Services: []rpc.Service{rpc.AdminService(o.admin), rpc.IdentityService(o.admin)}})
	o.ok(err)
	o.endpoint = serve(t, server)
	return o
}

func (o *office) ok(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) person(id string, roles ...officer.Role) officer.Officer {
	o.t.Helper()
	spiffeID, err := peer.OfficerID(o.td, strings.ReplaceAll(id, "_", "-"))
	o.ok(err)
	i, err := officer.CreateIdentity(filepath.Join(o.t.TempDir(), id), spiffeID)
	o.ok(err)
	o.identities[id] = i
	return officer.Officer{ID: i.ID(), Unit: "north", Roles: roles, PublicKey: i.PublicKey()}
}

func (o *office) enrol(p officer.Officer) {
	o.t.Helper()
	c := o.register.NewChange(officer.Enrol, p, time.Now())
	for _, a := range []string{"administrator", "administrator2"} {
		sig, err := o.identities[a].SignChange(c)
		o.ok(err)
		_, err = o.register.Propose(c, a, sig[:], time.Now())
		o.ok(err)
	}
}

// dial returns a connection, of an officer or, if the name is empty, of nobody.
func (o *office) dial(name string) *grpc.ClientConn {
	o.t.Helper()
	authorities, err := peer.Authorities(o.source, o.td)
	o.ok(err)
	var client func() (*tls.Certificate, error)
	if name != "" {
		client = func() (*tls.Certificate, error) { return o.identities[name].Certificate(time.Now()) }
	}
	config, err := peer.LocalClientTLS(client, authorities, o.id, time.Now)
	o.ok(err)
	c, err := grpc.NewClient("passthrough:///"+o.endpoint, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	o.ok(err)
	o.t.Cleanup(func() { c.Close() })
	return c
}

// as returns the client of an officer, who first gets a certificate.
func (o *office) as(name string) pb.AdminServiceClient {
	o.t.Helper()
	i := o.identities[name]
	if i.NeedsSVID(time.Now()) {
		csr, err := i.CSR()
		o.ok(err)
		r, err := pb.NewIdentityServiceClient(o.dial("")).IssueSVID(testContext(o.t), &pb.IssueSVIDRequest{CertificateRequest: csr})
		o.ok(err)
		o.ok(i.SetSVID(peer.AuthoritiesPEM(r.GetCertificates()), peer.AuthoritiesPEM(r.GetBundle())))
	}
	return pb.NewAdminServiceClient(o.dial(name))
}

// sign signs an agreement with the key of the legal officer.
func (o *office) sign(file []byte) []byte {
	o.t.Helper()
	g, err := agreement.Parse(file)
	o.ok(err)
	cert, err := o.identities["legal"].Certificate(time.Now())
	o.ok(err)
	return ed25519.Sign(cert.PrivateKey.(ed25519.PrivateKey), agreement.SigningBytes(g.Digest(), o.identities["legal"].SPIFFEID()))
}

// accept lets o accept the invite of other.
func (o *office) accept(other *office) *pb.Peer {
	o.t.Helper()
	i, err := other.as("operator").CreateInvite(testContext(o.t), &pb.CreateInviteRequest{})
	o.ok(err)
	r, err := o.as("operator").AcceptInvite(testContext(o.t), &pb.AcceptInviteRequest{Invite: i.GetInvite(),
		ExpectedFingerprint: i.GetFingerprint()})
	o.ok(err)
	return r.GetPeer()
}

const agreementDraft = `
peer: b.example
collections: [{name: watchlist, category: watchlist}]
purposes: [{code: ct-travel-screening}]
legal_bases: [{ref: Border Act s. 12}]
`

func TestAdminJourney(t *testing.T) {
	t.Parallel()
	a := newOffice(t, "a.example", "UTO", officer.RoleOperator, officer.RoleLegal)
	b := newOffice(t, "b.example", "ARC", officer.RoleOperator, officer.RoleLegal)
	ctx := testContext(t)
	operator, legal, admins := a.as("operator"), a.as("legal"), a.as("administrator")

	if p := a.accept(b); p.GetTrustDomain() != "b.example" || p.GetState() != pb.PeerState_PEER_STATE_NEW || p.GetName() == "" {
		t.Errorf("peer = %v", p)
	}
	b.accept(a)
	d, err := operator.DraftAgreement(ctx, &pb.DraftAgreementRequest{Draft: []byte(agreementDraft)})
	a.ok(err)
	if d.GetAgreement() == nil || d.GetAgreement().GetStatus() != pb.AgreementStatus_AGREEMENT_STATUS_DRAFT {
		t.Fatalf("draft = %v", d)
	}
	file := d.GetAgreement().GetFile()
	for _, o := range []*office{a, b} {
		client := o.as("legal")
		r, err := client.SignAgreement(ctx, &pb.SignAgreementRequest{File: file,
			Signature: &pb.OfficerSignature{Signature: o.sign(file)}})
		a.ok(err)
		file = r.GetAgreement().GetFile()
	}
	accepted, err := legal.AcceptAgreement(ctx, &pb.AcceptAgreementRequest{File: file})
	a.ok(err)
	g := accepted.GetAgreement()
	if g.GetStatus() != pb.AgreementStatus_AGREEMENT_STATUS_ACTIVE || g.GetVersion() != 1 || len(g.GetDigest()) != 32 ||
		len(g.GetSignatures()) != 2 || !g.GetSignatures()[0].GetVerified() || !g.GetSignatures()[1].GetVerified() {
		t.Errorf("accepted = %v", g)
	}
	suspended, err := legal.SuspendAgreement(ctx, &pb.SuspendAgreementRequest{Agreement: g.GetAgreement(), Reason: "review"})
	a.ok(err)
	if s := suspended.GetAgreement(); s.GetStatus() != pb.AgreementStatus_AGREEMENT_STATUS_SUSPENDED ||
		s.GetSuspendedBy() != "a.example" || s.GetSuspendedReason() != "review" {
		t.Errorf("suspended = %v", s)
	}
	resumed, err := legal.ResumeAgreement(ctx, &pb.ResumeAgreementRequest{Agreement: g.GetAgreement()})
	a.ok(err)
	if resumed.GetAgreement().GetSuspendedBy() != "" {
		t.Errorf("resumed = %v", resumed)
	}
	list, err := operator.ListAgreements(ctx, &pb.ListAgreementsRequest{Peer: "b.example"})
	a.ok(err)
	one, err := operator.GetAgreement(ctx, &pb.GetAgreementRequest{Agreement: g.GetAgreement()})
	a.ok(err)
	if len(list.GetAgreements()) != 1 || list.GetAgreements()[0].GetFile() != nil || !bytes.Equal(one.GetAgreement().GetFile(), file) {
		t.Errorf("listed %v", list)
	}

	// A file, in parts.
	stream, err := operator.IngestRecords(ctx)
	a.ok(err)
	a.ok(stream.Send(&pb.IngestRecordsRequest{Message: &pb.IngestRecordsRequest_Header{Header: &pb.IngestHeader{
		Collection: "watchlist", Kind: "watchlist", Filename: "list.csv"}}}))
	for part := range slices.Chunk([]byte("id,name,year_of_birth\n1,Anna Example,1980\n2,,1981\n"), 7) {
		a.ok(stream.Send(&pb.IngestRecordsRequest{Message: &pb.IngestRecordsRequest_Data{Data: part}}))
	}
	report, err := stream.CloseAndRecv()
	a.ok(err)
	if report.GetRead() != 2 || report.GetAdded() != 1 || report.GetRejected() != 1 || report.GetRejections()[0].GetLine() != 3 ||
		report.GetTotal() != 1 || report.GetLookupKeys() == 0 {
		t.Errorf("report = %v", report)
	}

	// Two administrators.
	officers, err := admins.ListOfficers(ctx, &pb.ListOfficersRequest{})
	a.ok(err)
	p := a.person("k1", officer.RoleAsking)
	p.Trained = []officer.Training{{Course: "faces", Until: time.Now().UTC().Truncate(time.Second).Add(time.Hour)}}
	c := officer.Change{Version: officer.ChangeVersion, Kind: officer.Enrol, Sequence: officers.GetSequence() + 1,
		Previous: [32]byte(officers.GetHead()), Time: time.Now().UTC().Truncate(time.Second), Officer: p}
	change, err := c.Bytes()
	a.ok(err)
	for n, name := range []string{"administrator", "administrator2"} {
		sig, err := a.identities[name].SignChange(c)
		a.ok(err)
		r, err := a.as(name).ProposeOfficerChange(ctx, &pb.ProposeOfficerChangeRequest{Change: change,
			Signature: &pb.OfficerSignature{Signature: sig[:]}})
		a.ok(err)
		if r.GetApplied() != (n == 1) || len(r.GetSignedBy()) != n+1 || (r.GetOfficer() != nil) != (n == 1) {
			t.Errorf("proposal %d = %v", n, r)
		}
		officers, err = admins.ListOfficers(ctx, &pb.ListOfficersRequest{Role: "asking"})
		a.ok(err)
		if len(officers.GetPending()) != 1-n || len(officers.GetOfficers()) != n {
			t.Errorf("after %d: %v", n, officers)
		}
	}
	if o := officers.GetOfficers()[0]; o.GetSpiffeId() != "spiffe://a.example/officer/k1" || o.GetTrainings()[0].GetCourse() != "faces" {
		t.Errorf("officer = %v", o)
	}

	status, err := operator.GetStatus(ctx, &pb.GetStatusRequest{})
	a.ok(err)
	if !status.GetReady() || len(status.GetComponents()) != 5 || status.GetComponents()[0].GetHealth() != pb.Health_HEALTH_OK ||
		status.GetOldestUnpublishedMs() != 1500 || status.GetCollections()[0].GetRecords() != 1 {
		t.Errorf("status = %v", status)
	}
	kept, err := operator.ListKeys(ctx, &pb.ListKeysRequest{})
	a.ok(err)
	if len(kept.GetKeys()) != 3 {
		t.Errorf("keys = %v", kept)
	}
	rotated, err := operator.RotateKey(ctx, &pb.RotateKeyRequest{Collection: "watchlist", Compromised: true})
	a.ok(err)
	if rotated.GetEpoch() != 7 {
		t.Errorf("rotated = %v", rotated)
	}
	syncing, err := operator.SyncPeers(ctx, &pb.SyncPeersRequest{TrustDomain: "b.example", Collection: "watchlist"})
	a.ok(err)
	var got []string
	for {
		m, err := syncing.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		a.ok(err)
		if m.GetProgress() != nil {
			got = append(got, "progress")
		} else {
			got = append(got, m.GetResult().GetHolder()+" "+m.GetResult().GetRefusal().GetReason().String())
		}
	}
	want := []string{"progress", "progress", "b.example ERROR_REASON_UNSPECIFIED", "c.example ERROR_REASON_PEER_UNREACHABLE"}
	if !slices.Equal(got, want) {
		t.Errorf("sync = %q, want %q", got, want)
	}

	end, err := operator.EndPeer(ctx, &pb.EndPeerRequest{TrustDomain: "b.example", Reason: "they left"})
	a.ok(err)
	if end.GetEnded() == nil || !slices.Equal(end.GetSuspendedAgreements(), []string{g.GetAgreement()}) {
		t.Errorf("end = %v", end)
	}
	peers, err := operator.ListPeers(ctx, &pb.ListPeersRequest{IncludeEnded: true})
	a.ok(err)
	if len(peers.GetPeers()) != 1 || peers.GetPeers()[0].GetState() != pb.PeerState_PEER_STATE_ENDED {
		t.Errorf("peers = %v", peers)
	}
}

// TestAdminRoles calls every method as every role, and as nobody.
func TestAdminRoles(t *testing.T) {
	t.Parallel()
	roles := []officer.Role{officer.RoleAsking, officer.RoleVerifying, officer.RoleLegal, officer.RoleChildProtection,
		officer.RoleOriginator, officer.RoleAuditor, officer.RoleOperator}
	o := newOffice(t, "a.example", "UTO", roles...)
	const (
		running  = "operator"
		agreeing = "legal"
		drafting = "operator legal"
		changing = "administrator"
		watching = "operator legal auditor administrator"
	)
	may := map[string]string{"GetStatus": watching, "IngestRecords": running, "CreateInvite": running, "AcceptInvite": running,
		"ListPeers": watching, "EndPeer": running, "DraftAgreement": drafting, "SignAgreement": agreeing, "AcceptAgreement": agreeing,
		"ListAgreements": watching, "GetAgreement": watching, "SuspendAgreement": agreeing, "ResumeAgreement": agreeing,
		"ProposeOfficerChange": changing, "ListOfficers": watching, "SyncPeers": running, "ListKeys": watching,
		"RotateKey": running}
	var methods []string
	for _, m := range pb.AdminService_ServiceDesc.Methods {
		methods = append(methods, m.MethodName)
	}
	for _, m := range pb.AdminService_ServiceDesc.Streams {
		methods = append(methods, m.StreamName)
	}
	if len(methods) != len(may) {
		t.Errorf("%d methods, %d in the table", len(methods), len(may))
	}
	conns := map[string]*grpc.ClientConn{"": o.dial("")}
	for _, r := range append(roles, officer.RoleAdministrator) {
		o.as(string(r))
		conns[string(r)] = o.dial(string(r))
	}
	for _, method := range methods {
		for name, conn := range conns {
			// An empty request is enough: roles come first.
			stream, err := conn.NewStream(testContext(t), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
				"/"+pb.AdminService_ServiceDesc.ServiceName+"/"+method)
			if err == nil {
				_ = stream.SendMsg(&pb.GetStatusRequest{})
				_ = stream.CloseSend()
				err = stream.RecvMsg(&pb.GetStatusResponse{})
			}
			reason := reasonOf(err)
			switch allowed := slices.Contains(strings.Fields(may[method]), name); {
			case name == "" && reason != string(query.NotEnrolled):
				t.Errorf("%s as nobody: %s", method, reason)
			case name != "" && allowed == (reason == string(query.RoleRequired)):
				t.Errorf("%s as %s: %s", method, name, reason)
			}
		}
	}
}

// TestAdminRefuses sends what is over a limit or not of the documented form.
func TestAdminRefuses(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "a.example", "UTO", officer.RoleOperator, officer.RoleLegal)
	ctx := testContext(t)
	operator, legal, admins := o.as("operator"), o.as("legal"), o.as("administrator")
	const canary = "canary"
	long, text := strings.Repeat("x", 2000), canary+"\n"
	other := &pb.OfficerSignature{Officer: "spiffe://a.example/officer/canary", Signature: make([]byte, 64)}
	for name, tt := range map[string]struct {
		err  error
		want query.Reason
	}{
		"invite":            {second(operator.AcceptInvite(ctx, &pb.AcceptInviteRequest{Invite: make([]byte, 65<<10), ExpectedFingerprint: "x"})), query.Malformed},
		"no fingerprint":    {second(operator.AcceptInvite(ctx, &pb.AcceptInviteRequest{Invite: []byte(canary)})), query.Malformed},
		"invite for":        {second(operator.CreateInvite(ctx, &pb.CreateInviteRequest{TrustDomain: text})), query.Malformed},
		"end nobody":        {second(operator.EndPeer(ctx, &pb.EndPeerRequest{})), query.Malformed},
		"end stranger":      {second(operator.EndPeer(ctx, &pb.EndPeerRequest{TrustDomain: canary})), query.NotFound},
		"end reason":        {second(operator.EndPeer(ctx, &pb.EndPeerRequest{TrustDomain: canary, Reason: long})), query.Malformed},
		"empty draft":       {second(legal.DraftAgreement(ctx, &pb.DraftAgreementRequest{})), query.Malformed},
		"large draft":       {second(legal.DraftAgreement(ctx, &pb.DraftAgreementRequest{Draft: make([]byte, 1<<20+1)})), query.TooLarge},
		"no signature":      {second(legal.SignAgreement(ctx, &pb.SignAgreementRequest{File: []byte(canary)})), query.SignatureInvalid},
		"signature of else": {second(legal.SignAgreement(ctx, &pb.SignAgreementRequest{File: []byte(canary), Signature: other})), query.Precondition},
		"no agreement":      {second(legal.AcceptAgreement(ctx, &pb.AcceptAgreementRequest{File: []byte(canary)})), query.Malformed},
		"suspend nothing":   {second(legal.SuspendAgreement(ctx, &pb.SuspendAgreementRequest{})), query.Malformed},
		"suspend unknown":   {second(legal.SuspendAgreement(ctx, &pb.SuspendAgreementRequest{Agreement: canary})), query.NotFound},
		"resume unknown":    {second(legal.ResumeAgreement(ctx, &pb.ResumeAgreementRequest{Agreement: canary})), query.NotFound},
		"get unknown":       {second(operator.GetAgreement(ctx, &pb.GetAgreementRequest{Agreement: canary})), query.NotFound},
		"get version":       {second(operator.GetAgreement(ctx, &pb.GetAgreementRequest{Agreement: canary, Version: 1 << 31})), query.Malformed},
		"list of":           {second(operator.ListAgreements(ctx, &pb.ListAgreementsRequest{Peer: text})), query.Malformed},
		"large change":      {second(admins.ProposeOfficerChange(ctx, &pb.ProposeOfficerChangeRequest{Change: make([]byte, 9<<10)})), query.Malformed},
		"change of else":    {second(admins.ProposeOfficerChange(ctx, &pb.ProposeOfficerChangeRequest{Change: []byte(canary), Signature: other})), query.Precondition},
		"role":              {second(admins.ListOfficers(ctx, &pb.ListOfficersRequest{Role: canary})), query.Malformed},
	} {
		if got := reasonOf(tt.err); got != string(tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if tt.err != nil && strings.Contains(tt.err.Error(), canary) {
			t.Errorf("%s: the status holds what was sent: %v", name, tt.err)
		}
	}
	header := &pb.IngestRecordsRequest{Message: &pb.IngestRecordsRequest_Header{Header: &pb.IngestHeader{Collection: "watchlist",
		Kind: "watchlist", Filename: "x.csv"}}}
	data := func(n int) *pb.IngestRecordsRequest {
		return &pb.IngestRecordsRequest{Message: &pb.IngestRecordsRequest_Data{Data: bytes.Repeat([]byte("name\n"), n)}}
	}
	bad := proto.CloneOf(header)
	bad.GetHeader().Filename = long
	for name, tt := range map[string]struct {
		messages []*pb.IngestRecordsRequest
		want     query.Reason
	}{
		"nothing":        {nil, query.Malformed},
		"data first":     {[]*pb.IngestRecordsRequest{data(1)}, query.Malformed},
		"two headers":    {[]*pb.IngestRecordsRequest{header, header}, query.Malformed},
		"large part":     {[]*pb.IngestRecordsRequest{header, data(60000)}, query.TooLarge},
		"long file name": {[]*pb.IngestRecordsRequest{bad}, query.Malformed},
	} {
		stream, err := operator.IngestRecords(ctx)
		o.ok(err)
		for _, m := range tt.messages {
			_ = stream.Send(m) // io.EOF says that the answer is there
		}
		if _, err := stream.CloseAndRecv(); reasonOf(err) != string(tt.want) {
			t.Errorf("ingest, %s: %s, want %s", name, reasonOf(err), tt.want)
		}
	}
}

package rpc

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	maxFilename    = 255
	maxFingerprint = 64
	maxFilePart    = 256 << 10 // bytes of a file in one message

	// syncStep is how many bytes of a synchronisation come between two reports.
	syncStep = 1 << 20
)

// running are those who run a gateway, agreeing those who bind the country, and
// watching those who may see how it is.
var (
	running  = []officer.Role{officer.RoleOperator}
	agreeing = []officer.Role{officer.RoleLegal}
	drafting = []officer.Role{officer.RoleLegal, officer.RoleOperator}
	changing = []officer.Role{officer.RoleAdministrator}
	watching = []officer.Role{officer.RoleOperator, officer.RoleLegal, officer.RoleAuditor, officer.RoleAdministrator}
)

// AdminService returns the service of that name over a.
func AdminService(a *admin.Admin) Service {
	return Service{&pb.AdminService_ServiceDesc, &adminServer{admin: a}}
}

type adminServer struct {
	pb.UnimplementedAdminServiceServer
	admin *admin.Admin
}

// GetStatus implements AdminService.
func (s *adminServer) GetStatus(ctx context.Context, _ *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	if _, err := requireRole(ctx, watching...); err != nil {
		return nil, err
	}
	v := s.admin.Status(ctx)
	out := &pb.GetStatusResponse{
		Version: v.Software, SpiffeId: v.SPIFFEID, Started: timestamp(v.Started), Ready: v.Ready, SvidNotAfter: timestamp(v.SVIDNotAfter),
		SharedLogSize: v.SharedSize, InternalLogSize: v.InternalSize, OldestUnpublishedMs: milliseconds(v.OldestUnpublished),
		BundleRevision: v.Revision, BundleDigest: v.Bundle[:], Warnings: v.Warnings,
	}
	for _, c := range v.Components {
		// Health has the numbers of the message.
		out.Components = append(out.Components, &pb.ComponentStatus{Name: c.Name, Health: pb.Health(c.Health), Sentence: c.Sentence})
	}
	for _, c := range v.Collections {
		out.Collections = append(out.Collections, &pb.CollectionStatus{Collection: c.Name, Records: size(c.Records),
			Ingested: timestamp(c.Ingested), Lists: listsProto(c.Lists)})
	}
	return out, nil
}

// IngestRecords implements AdminService.
func (s *adminServer) IngestRecords(stream grpc.ClientStreamingServer[pb.IngestRecordsRequest, pb.IngestRecordsResponse]) error {
	caller, err := requireRole(stream.Context(), running...)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return unfinished(err)
	}
	h := first.GetHeader()
	if h == nil {
		return query.Refuse(query.Malformed, form("header"))
	}
	var r reader
	header := admin.IngestHeader{
		Collection: r.code("collection", h.GetCollection(), maxCode, false),
		Kind:       r.code("kind", h.GetKind(), maxCode, false),
		Format:     r.code("format", h.GetFormat(), maxCode, true),
		Filename:   r.text("filename", h.GetFilename(), maxFilename),
		Replace:    h.GetReplace(), DryRun: h.GetDryRun(),
	}
	if r.err != nil {
		return query.Refuse(query.Malformed, r.err)
	}
	report, err := s.admin.Ingest(stream.Context(), caller.ID, header, &fileReader{recv: stream.Recv}, nil)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&pb.IngestRecordsResponse{
		Format: report.Format, Read: number(report.Read), Added: number(report.Added), Changed: number(report.Changed),
		Unchanged: number(report.Unchanged), Removed: number(report.Removed), Rejected: number(report.Rejected),
		Rejections: rejectionsProto(report.Rejections), LookupKeys: number(report.LookupKeys), Total: size(report.Total),
		WithoutKeys: number(report.WithoutKeys), Gaps: number(report.Gaps), GapList: rejectionsProto(report.GapList),
		Published: listsProto(report.Published), NotPublished: report.NotPublished,
	})
}

func listsProto(list []admin.PublishedList) (out []*pb.PublishedList) {
	for _, l := range list {
		by := make(map[string]uint64, len(l.WithheldBy))
		for rule, n := range l.WithheldBy {
			by[rule] = size(n)
		}
		out = append(out, &pb.PublishedList{Asker: l.Asker, ListVersion: l.ListVersion, Epoch: l.Epoch, Tags: l.Tags,
			Published: timestamp(l.Published), Records: size(l.Records), Withheld: size(l.Withheld), WithheldBy: by})
	}
	return out
}

// A fileReader is the file in the messages of a stream.
type fileReader struct {
	recv func() (*pb.IngestRecordsRequest, error)
	rest []byte
}

// Read implements io.Reader. A stream that breaks off is an error, and not the
// end of the file.
func (f *fileReader) Read(b []byte) (int, error) {
	for len(f.rest) == 0 {
		m, err := f.recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		data, ok := m.GetMessage().(*pb.IngestRecordsRequest_Data)
		if !ok {
			return 0, query.Refuse(query.Malformed, form("data"))
		}
		if len(data.Data) > maxFilePart {
			return 0, query.Refuse(query.TooLarge, form("data"))
		}
		f.rest = data.Data
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func rejectionsProto(list []admin.Rejection) (out []*pb.Rejection) {
	for _, r := range list {
		out = append(out, &pb.Rejection{Line: number(r.Line), Reason: r.Reason})
	}
	return out
}

// CreateInvite implements AdminService.
func (s *adminServer) CreateInvite(ctx context.Context, p *pb.CreateInviteRequest) (*pb.CreateInviteResponse, error) {
	caller, err := requireRole(ctx, running...)
	if err != nil {
		return nil, err
	}
	var r reader
	if r.code("trust_domain", p.GetTrustDomain(), maxTrustDomain, true); r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	i, err := s.admin.Invite(ctx, caller.ID)
	if err != nil {
		return nil, err
	}
	return &pb.CreateInviteResponse{Invite: i.File, Fingerprint: i.Fingerprint, NotAfter: timestamp(i.NotAfter)}, nil
}

// AcceptInvite implements AdminService.
func (s *adminServer) AcceptInvite(ctx context.Context, p *pb.AcceptInviteRequest) (*pb.AcceptInviteResponse, error) {
	caller, err := requireRole(ctx, running...)
	if err != nil {
		return nil, err
	}
	var r reader
	file := r.bytes("invite", p.GetInvite(), peer.MaxInviteSize)
	fingerprint := r.code("expected_fingerprint", p.GetExpectedFingerprint(), maxFingerprint, false)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	v, err := s.admin.AcceptInvite(ctx, caller.ID, file, fingerprint)
	if err != nil {
		return nil, err
	}
	return &pb.AcceptInviteResponse{Peer: peerProto(v)}, nil
}

// ListPeers implements AdminService.
func (s *adminServer) ListPeers(ctx context.Context, p *pb.ListPeersRequest) (*pb.ListPeersResponse, error) {
	if _, err := requireRole(ctx, watching...); err != nil {
		return nil, err
	}
	list, err := s.admin.Peers(ctx, p.GetIncludeEnded())
	if err != nil {
		return nil, err
	}
	out := new(pb.ListPeersResponse)
	for i := range list {
		out.Peers = append(out.Peers, peerProto(&list[i]))
	}
	return out, nil
}

var peerStates = map[admin.PeerState]pb.PeerState{
	admin.PeerNew: pb.PeerState_PEER_STATE_NEW, admin.PeerOK: pb.PeerState_PEER_STATE_OK,
	admin.PeerUnreachable:  pb.PeerState_PEER_STATE_UNREACHABLE,
	admin.PeerIncompatible: pb.PeerState_PEER_STATE_INCOMPATIBLE,
	admin.PeerDistrusted:   pb.PeerState_PEER_STATE_DISTRUSTED,
	admin.PeerEnded:        pb.PeerState_PEER_STATE_ENDED,
}

func peerProto(v *admin.Peer) *pb.Peer {
	out := &pb.Peer{
		TrustDomain: v.TrustDomain, Name: v.Agency, Endpoint: v.Endpoint, State: peerStates[v.State], Sentence: v.Sentence,
		LastSeen: timestamp(v.LastSeen), SkewMs: v.Skew.Milliseconds(), Protocol: uint32(v.Protocol),
		Normalisation: uint32(v.Normalisation), Software: v.Software, BundleFetched: timestamp(v.BundleVerified),
		LogSize: v.LogSize, CheckpointTime: timestamp(v.CheckpointTime),
	}
	for _, l := range v.Lists {
		out.Lists = append(out.Lists, &pb.HeldList{Collection: l.Collection, ListVersion: l.ListVersion, Published: timestamp(l.Published),
			Tags: l.Tags, Bytes: l.Bytes, NotAfter: timestamp(l.NotAfter)})
	}
	return out
}

// EndPeer implements AdminService.
func (s *adminServer) EndPeer(ctx context.Context, p *pb.EndPeerRequest) (*pb.EndPeerResponse, error) {
	caller, err := requireRole(ctx, running...)
	if err != nil {
		return nil, err
	}
	var r reader
	td := r.code("trust_domain", p.GetTrustDomain(), maxTrustDomain, false)
	reason := r.text("reason", p.GetReason(), admin.MaxReason)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	v, err := s.admin.EndPeer(ctx, caller.ID, td, reason)
	if err != nil {
		return nil, err
	}
	return &pb.EndPeerResponse{Ended: timestamp(v.Ended), PurgedCollections: v.Collections, SuspendedAgreements: v.Agreements}, nil
}

// agreementStates has every status of [query.AgreementStatus].
var agreementStates = map[query.AgreementStatus]pb.AgreementStatus{
	query.Draft:      pb.AgreementStatus_AGREEMENT_STATUS_DRAFT,
	query.NotYet:     pb.AgreementStatus_AGREEMENT_STATUS_NOT_YET_VALID,
	query.Active:     pb.AgreementStatus_AGREEMENT_STATUS_ACTIVE,
	query.Suspended:  pb.AgreementStatus_AGREEMENT_STATUS_SUSPENDED,
	query.Expired:    pb.AgreementStatus_AGREEMENT_STATUS_EXPIRED,
	query.Superseded: pb.AgreementStatus_AGREEMENT_STATUS_SUPERSEDED,
}

// agreementProto returns an agreement as the side with a trust domain holds it.
func agreementProto(v *admin.Agreement, self string) *pb.Agreement {
	if v == nil {
		return nil
	}
	out := &pb.Agreement{
		Agreement: v.ID, Version: uint32(v.Number), Digest: v.Digest[:], Parties: v.Parties[:], Status: agreementStates[v.Status],
		NotBefore: timestamp(v.NotBefore), NotAfter: timestamp(v.NotAfter), File: v.File, SuspendedReason: v.SuspendedReason,
	}
	switch {
	case slices.Contains(v.SuspendedBy, self):
		out.SuspendedBy = self
	case len(v.SuspendedBy) > 0:
		out.SuspendedBy = v.SuspendedBy[0]
	}
	for _, s := range v.Signatures {
		out.Signatures = append(out.Signatures, &pb.AgreementSignature{Party: s.Party, Officer: s.Officer, Verified: s.Verified})
	}
	return out
}

// DraftAgreement implements AdminService.
func (s *adminServer) DraftAgreement(ctx context.Context, p *pb.DraftAgreementRequest) (*pb.DraftAgreementResponse, error) {
	caller, err := requireRole(ctx, drafting...)
	if err != nil {
		return nil, err
	}
	file, err := agreementFile("draft", p.GetDraft())
	if err != nil {
		return nil, err
	}
	v, err := s.admin.DraftAgreement(ctx, caller.ID, file)
	if err != nil {
		return nil, err
	}
	return &pb.DraftAgreementResponse{Agreement: agreementProto(v.Agreement, s.admin.TrustDomain), Faults: v.Faults,
		Warnings: v.Warnings}, nil
}

// agreementFile takes the file of an agreement.
func agreementFile(field string, b []byte) ([]byte, error) {
	if len(b) > agreement.MaxSize {
		return nil, query.Refuse(query.TooLarge, form(field))
	}
	if len(b) == 0 {
		return nil, query.Refuse(query.Malformed, form(field))
	}
	return b, nil
}

// SignAgreement implements AdminService.
func (s *adminServer) SignAgreement(ctx context.Context, p *pb.SignAgreementRequest) (*pb.SignAgreementResponse, error) {
	caller, err := requireRole(ctx, agreeing...)
	if err != nil {
		return nil, err
	}
	file, err := agreementFile("file", p.GetFile())
	if err != nil {
		return nil, err
	}
	signature, err := signatureOf(caller, p.GetSignature())
	if err != nil {
		return nil, err
	}
	v, err := s.admin.SignAgreement(ctx, caller.ID, file, signature)
	if err != nil {
		return nil, err
	}
	return &pb.SignAgreementResponse{Agreement: agreementProto(v, s.admin.TrustDomain)}, nil
}

// AcceptAgreement implements AdminService.
func (s *adminServer) AcceptAgreement(ctx context.Context, p *pb.AcceptAgreementRequest) (*pb.AcceptAgreementResponse, error) {
	caller, err := requireRole(ctx, agreeing...)
	if err != nil {
		return nil, err
	}
	file, err := agreementFile("file", p.GetFile())
	if err != nil {
		return nil, err
	}
	v, err := s.admin.AcceptAgreement(ctx, caller.ID, file)
	if err != nil {
		return nil, err
	}
	return &pb.AcceptAgreementResponse{Agreement: agreementProto(v, s.admin.TrustDomain)}, nil
}

// ListAgreements implements AdminService.
func (s *adminServer) ListAgreements(ctx context.Context, p *pb.ListAgreementsRequest) (*pb.ListAgreementsResponse, error) {
	if _, err := requireRole(ctx, watching...); err != nil {
		return nil, err
	}
	var r reader
	td := r.code("peer", p.GetPeer(), maxTrustDomain, true)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	list, err := s.admin.ListAgreements(ctx, td, p.GetIncludePast())
	if err != nil {
		return nil, err
	}
	out := new(pb.ListAgreementsResponse)
	for i := range list {
		out.Agreements = append(out.Agreements, agreementProto(&list[i], s.admin.TrustDomain))
	}
	return out, nil
}

// GetAgreement implements AdminService.
func (s *adminServer) GetAgreement(ctx context.Context, p *pb.GetAgreementRequest) (*pb.GetAgreementResponse, error) {
	if _, err := requireRole(ctx, watching...); err != nil {
		return nil, err
	}
	var r reader
	id := r.code("agreement", p.GetAgreement(), maxCode, false)
	r.check(p.GetVersion() < 1<<31, "version")
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	v, err := s.admin.Agreement(ctx, id, int(p.GetVersion()))
	if err != nil {
		return nil, err
	}
	return &pb.GetAgreementResponse{Agreement: agreementProto(v, s.admin.TrustDomain)}, nil
}

// SuspendAgreement implements AdminService.
func (s *adminServer) SuspendAgreement(ctx context.Context, p *pb.SuspendAgreementRequest) (*pb.SuspendAgreementResponse, error) {
	v, err := s.suspend(ctx, p.GetAgreement(), p.GetReason(), s.admin.SuspendAgreement)
	if err != nil {
		return nil, err
	}
	return &pb.SuspendAgreementResponse{Agreement: v}, nil
}

// ResumeAgreement implements AdminService.
func (s *adminServer) ResumeAgreement(ctx context.Context, p *pb.ResumeAgreementRequest) (*pb.ResumeAgreementResponse, error) {
	v, err := s.suspend(ctx, p.GetAgreement(), p.GetReason(), s.admin.ResumeAgreement)
	if err != nil {
		return nil, err
	}
	return &pb.ResumeAgreementResponse{Agreement: v}, nil
}

// suspend suspends or resumes an agreement.
func (s *adminServer) suspend(ctx context.Context, id, reason string,
	change func(ctx context.Context, caller, id, reason string) (*admin.Agreement, error)) (*pb.Agreement, error) {

	caller, err := requireRole(ctx, agreeing...)
	if err != nil {
		return nil, err
	}
	var r reader
	r.code("agreement", id, maxCode, false)
	r.text("reason", reason, admin.MaxReason)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	v, err := change(ctx, caller.ID, id, reason)
	if err != nil {
		return nil, err
	}
	return agreementProto(v, s.admin.TrustDomain), nil
}

// ProposeOfficerChange implements AdminService.
func (s *adminServer) ProposeOfficerChange(ctx context.Context,
	p *pb.ProposeOfficerChangeRequest) (*pb.ProposeOfficerChangeResponse, error) {

	caller, err := requireRole(ctx, changing...)
	if err != nil {
		return nil, err
	}
	var r reader
	change := r.bytes("change", p.GetChange(), officer.MaxRecordSize)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	signature, err := signatureOf(caller, p.GetSignature())
	if err != nil {
		return nil, err
	}
	v, err := s.admin.ProposeOfficerChange(ctx, caller.ID, change, signature)
	if err != nil {
		return nil, err
	}
	out := &pb.ProposeOfficerChangeResponse{Applied: v.Applied, ChangeDigest: v.Digest[:], SignedBy: v.SignedBy,
		Expires: timestamp(v.Expires)}
	if v.Officer != nil {
		out.Officer = s.officerProto(v.Officer)
	}
	return out, nil
}

func (s *adminServer) officerProto(o *officer.Officer) *pb.Officer {
	out := &pb.Officer{
		SpiffeId: peer.ID{TrustDomain: s.admin.TrustDomain, Kind: peer.KindOfficer, Name: o.ID}.String(), Unit: o.Unit,
		PublicKey: o.PublicKey, Enrolled: timestamp(o.Enrolled), Retired: timestamp(o.Retired),
	}
	for _, r := range o.Roles {
		out.Roles = append(out.Roles, string(r))
	}
	for _, t := range o.Trained {
		out.Trainings = append(out.Trainings, &pb.Training{Course: t.Course, Until: timestamp(t.Until)})
	}
	return out
}

// ListOfficers implements AdminService.
func (s *adminServer) ListOfficers(ctx context.Context, p *pb.ListOfficersRequest) (*pb.ListOfficersResponse, error) {
	if _, err := requireRole(ctx, watching...); err != nil {
		return nil, err
	}
	role := officer.Role(p.GetRole())
	if role != "" {
		if _, err := officer.ParseRole(p.GetRole()); err != nil {
			return nil, query.Refuse(query.Malformed, form("role"))
		}
	}
	v, err := s.admin.ListOfficers(ctx, role, p.GetIncludeRetired())
	if err != nil {
		return nil, err
	}
	out := &pb.ListOfficersResponse{Sequence: v.Sequence, Head: v.Head[:]}
	for i := range v.Officers {
		out.Officers = append(out.Officers, s.officerProto(&v.Officers[i]))
	}
	for _, w := range v.Pending {
		out.Pending = append(out.Pending, &pb.PendingOfficerChange{Change: w.Change, ChangeDigest: w.Digest[:], SignedBy: w.SignedBy,
			Expires: timestamp(w.Expires)})
	}
	return out, nil
}

// SyncPeers implements AdminService.
func (s *adminServer) SyncPeers(p *pb.SyncPeersRequest, stream grpc.ServerStreamingServer[pb.SyncPeersResponse]) error {
	ctx := stream.Context()
	caller, err := requireRole(ctx, running...)
	if err != nil {
		return err
	}
	var r reader
	td := r.code("trust_domain", p.GetTrustDomain(), maxTrustDomain, true)
	collection := r.code("collection", p.GetCollection(), maxCode, true)
	if r.err != nil {
		return query.Refuse(query.Malformed, r.err)
	}
	// Whoever watches may go away: that is no reason to stop, ctx is.
	var last struct {
		holder, collection string
		done               uint64
	}
	progress := func(holder, collection string, done, total uint64) {
		if holder == last.holder && collection == last.collection && done < last.done+syncStep && done != total {
			return
		}
		last.holder, last.collection, last.done = holder, collection, done
		// Whoever has hung up ends the synchronisation by its context.
		_ = stream.Send(&pb.SyncPeersResponse{Message: &pb.SyncPeersResponse_Progress{Progress: &pb.SyncProgress{
			Holder: holder, Collection: collection, BytesDone: done, BytesTotal: total}}})
	}
	results, err := s.admin.Sync(ctx, caller.ID, td, collection, progress)
	if err != nil {
		return err
	}
	for i := range results {
		v := &results[i]
		if err := stream.Send(&pb.SyncPeersResponse{Message: &pb.SyncPeersResponse_Result{Result: &pb.SyncResult{
			Holder: v.Holder, Collection: v.Collection, FromVersion: v.From, ToVersion: v.To, Tags: v.Tags, Bytes: v.Bytes,
			Refusal: refusalProto(v.Refusal)}}}); err != nil {
			return err
		}
	}
	return nil
}

// ListKeys implements AdminService.
func (s *adminServer) ListKeys(ctx context.Context, _ *pb.ListKeysRequest) (*pb.ListKeysResponse, error) {
	if _, err := requireRole(ctx, watching...); err != nil {
		return nil, err
	}
	list, err := s.admin.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	out := new(pb.ListKeysResponse)
	for _, k := range list {
		out.Keys = append(out.Keys, &pb.Key{Kind: k.Kind, KeyId: k.KeyID, Collection: k.Collection, Epoch: k.Epoch,
			Created: timestamp(k.Created), State: k.State, RotateBy: timestamp(k.RotateBy), Ends: timestamp(k.Ends)})
	}
	return out, nil
}

// RotateKey implements AdminService.
func (s *adminServer) RotateKey(ctx context.Context, p *pb.RotateKeyRequest) (*pb.RotateKeyResponse, error) {
	caller, err := requireRole(ctx, running...)
	if err != nil {
		return nil, err
	}
	var r reader
	collection := r.code("collection", p.GetCollection(), maxCode, false)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	epoch, err := s.admin.RotateKey(ctx, caller.ID, collection, p.GetCompromised())
	if err != nil {
		return nil, err
	}
	return &pb.RotateKeyResponse{Epoch: epoch}, nil
}

func number(n int) uint64 { return uint64(max(n, 0)) }

func size(n int64) uint64 { return uint64(max(n, 0)) }

func milliseconds(d time.Duration) uint64 { return uint64(max(d, 0) / time.Millisecond) }

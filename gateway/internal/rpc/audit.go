package rpc

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	maxControl  = 64 // bytes
	maxSPIFFEID = 255
	maxToken    = 64

	// entriesFile is the one file of an export as JSON lines.
	entriesFile = "entries.jsonl"
)

// An Inspector shows the logs to auditors. It is implemented by inspect.Inspector:
// every call with a Reader is a reading that it permits, and puts on record before
// it returns anything. Every error is a query.Refusal.
type Inspector interface {
	List(ctx context.Context, r inspect.Reader, which inspect.Which, f inspect.Filter, p inspect.Page) ([]inspect.Row, string,
		error)
	Entry(ctx context.Context, r inspect.Reader, which inspect.Which, index uint64, leaf [32]byte) (inspect.Proven, []byte, error)
	Proof(ctx context.Context, r inspect.Reader, which inspect.Which, index uint64) (inspect.Proven, error)
	Show(ctx context.Context, r inspect.Reader, id query.ID) (*inspect.Shown, error)
	Sealed(ctx context.Context, r inspect.Reader, id query.ID, hash [32]byte) (*inspect.Sealed, error)
	Stats(ctx context.Context, r inspect.Reader, since, until time.Time, by []inspect.Criterion) ([]inspect.Count, error)
	Verify(ctx context.Context, r inspect.Reader, which inspect.Which) (*inspect.Verification, error)
	Files(ctx context.Context, r inspect.Reader, which inspect.Which, from uint64, emit func(path string,
		data []byte) error) error
	Export(ctx context.Context, r inspect.Reader, which inspect.Which, since, until time.Time, w io.Writer) error
	Checkpoint(ctx context.Context, which inspect.Which, from uint64) (checkpoint []byte, proof [][32]byte, key string, err error)
}

// AuditService returns the service of that name over i. Of sealed content only the
// ciphertext is here.
func AuditService(i Inspector) Service {
	return Service{&pb.AuditService_ServiceDesc, &auditServer{inspector: i}}
}

type auditServer struct {
	pb.UnimplementedAuditServiceServer
	inspector Inspector
}

// auditor returns who reads, and for which control.
func auditor(ctx context.Context, r *reader, control string) (inspect.Reader, error) {
	caller, err := requireRole(ctx, officer.RoleAuditor)
	if err != nil {
		return inspect.Reader{}, err
	}
	// No control is no fault of form: the rules refuse it, and say why.
	r.code("control", control, maxControl, true)
	if r.err != nil {
		return inspect.Reader{}, query.Refuse(query.Malformed, r.err)
	}
	return inspect.Reader{Officer: caller.ID, Control: control}, nil
}

// log takes the name of a log.
func (r *reader) log(p pb.Log) inspect.Which {
	switch p {
	case pb.Log_LOG_UNSPECIFIED, pb.Log_LOG_SHARED:
		return inspect.Shared
	case pb.Log_LOG_INTERNAL:
		return inspect.Internal
	}
	r.bad("log")
	return 0
}

// ListEntries implements AuditService.
func (s *auditServer) ListEntries(ctx context.Context, p *pb.ListEntriesRequest) (*pb.ListEntriesResponse, error) {
	var r reader
	which := r.log(p.GetLog())
	f := inspect.Filter{
		Peer:       r.code("peer", p.GetPeer(), maxTrustDomain, true),
		Purpose:    r.code("purpose", p.GetPurpose(), maxCode, true),
		Collection: r.code("collection", p.GetCollection(), maxCode, true),
		Officer:    r.code("officer", p.GetOfficer(), maxSPIFFEID, true),
	}
	f.Since, f.Until = r.span(p.GetRange())
	if p.GetQueryId() != "" {
		f.Query = r.textID("query_id", p.GetQueryId())
	}
	if p.GetKind() != "" {
		var err error
		f.Kind, err = entry.ParseKind(p.GetKind())
		r.check(err == nil, "kind")
	}
	switch p.GetDecision() {
	case "":
	case entry.DecisionAllowed.String():
		f.Decision = entry.DecisionAllowed
	case entry.DecisionDenied.String():
		f.Decision = entry.DecisionDenied
	default:
		r.bad("decision")
	}
	r.check(p.GetPage().GetSize() <= inspect.MaxPage, "page.size")
	page := inspect.Page{Size: int(p.GetPage().GetSize()), Token: r.code("page.token", p.GetPage().GetToken(), maxToken, true)}
	who, err := auditor(ctx, &r, p.GetControl())
	if err != nil {
		return nil, err
	}
	rows, next, err := s.inspector.List(ctx, who, which, f, page)
	if err != nil {
		return nil, err
	}
	out := &pb.ListEntriesResponse{NextToken: next}
	for i := range rows {
		out.Entries = append(out.Entries, entryProto(&rows[i]))
	}
	return out, nil
}

// GetEntry implements AuditService.
func (s *auditServer) GetEntry(ctx context.Context, p *pb.GetEntryRequest) (*pb.GetEntryResponse, error) {
	var r reader
	which := r.log(p.GetLog())
	var index uint64
	var leaf [32]byte
	switch by := p.GetBy().(type) {
	case *pb.GetEntryRequest_Index:
		index = by.Index
	case *pb.GetEntryRequest_LeafHash:
		leaf = r.hash("leaf_hash", by.LeafHash)
		r.check(leaf != [32]byte{}, "leaf_hash")
	default:
		r.bad("by")
	}
	who, err := auditor(ctx, &r, p.GetControl())
	if err != nil {
		return nil, err
	}
	x, receipt, err := s.inspector.Entry(ctx, who, which, index, leaf)
	if err != nil {
		return nil, err
	}
	return &pb.GetEntryResponse{Entry: entryProto(&x.Row), Proof: &pb.LogProof{Entry: x.Bytes, TlogProof: x.Proof},
		Receipt: receipt}, nil
}

// ShowQuery implements AuditService.
func (s *auditServer) ShowQuery(ctx context.Context, p *pb.ShowQueryRequest) (*pb.ShowQueryResponse, error) {
	var r reader
	id := r.textID("query_id", p.GetQueryId())
	who, err := auditor(ctx, &r, p.GetControl())
	if err != nil {
		return nil, err
	}
	shown, err := s.inspector.Show(ctx, who, id)
	if err != nil {
		return nil, err
	}
	out := &pb.ShowQueryResponse{Receipt: shown.Receipt, RequestHeader: shown.Header, RequestDigest: digestProto(shown.Request),
		HolderKey: shown.HolderKey}
	for i := range shown.Entries {
		x := &shown.Entries[i]
		out.Entries = append(out.Entries, &pb.ProvenEntry{Entry: entryProto(&x.Row), TlogProof: x.Proof})
	}
	for _, in := range shown.Inputs {
		out.Inputs = append(out.Inputs, &pb.StoredInput{Digest: in.Digest[:], Json: string(in.JSON)})
	}
	for _, c := range shown.Checks {
		out.Checks = append(out.Checks, &pb.AuditCheck{Name: c.Name, Result: string(c.Result), Sentence: c.Sentence})
	}
	return out, nil
}

// GetSealed implements AuditService.
func (s *auditServer) GetSealed(ctx context.Context, p *pb.GetSealedRequest) (*pb.GetSealedResponse, error) {
	var r reader
	var id query.ID
	var hash [32]byte
	if len(p.GetSealed()) > 0 {
		hash = r.hash("sealed", p.GetSealed())
	}
	if p.GetQueryId() != "" {
		id = r.textID("query_id", p.GetQueryId())
	}
	who, err := auditor(ctx, &r, p.GetControl())
	if err != nil {
		return nil, err
	}
	x, err := s.inspector.Sealed(ctx, who, id, hash)
	if err != nil {
		return nil, err
	}
	return &pb.GetSealedResponse{Ciphertext: x.Ciphertext, QueryId: x.Query[:], Leaf: x.Context, AuditorKey: x.Auditor[:],
		EraseBy: timestamp(x.EraseBy), Entry: x.Entry, RequestHeader: x.Header, Officer: x.Officer, OfficerKey: x.OfficerKey}, nil
}

// GetProof implements AuditService.
func (s *auditServer) GetProof(ctx context.Context, p *pb.GetProofRequest) (*pb.GetProofResponse, error) {
	var r reader
	which := r.log(p.GetLog())
	who, err := auditor(ctx, &r, p.GetControl())
	if err != nil {
		return nil, err
	}
	x, err := s.inspector.Proof(ctx, who, which, p.GetIndex())
	if err != nil {
		return nil, err
	}
	return &pb.GetProofResponse{Proof: &pb.LogProof{Entry: x.Bytes, TlogProof: x.Proof}}, nil
}

// GetCheckpoint implements AuditService.
func (s *auditServer) GetCheckpoint(ctx context.Context, p *pb.GetCheckpointRequest) (*pb.GetCheckpointResponse, error) {
	var r reader
	which := r.log(p.GetLog())
	if _, err := auditor(ctx, &r, ""); err != nil {
		return nil, err
	}
	checkpoint, proof, key, err := s.inspector.Checkpoint(ctx, which, p.GetFromSize())
	if err != nil {
		return nil, err
	}
	return &pb.GetCheckpointResponse{VerifierKey: key,
		Checkpoint: checkpointProto(&query.CheckpointProof{Checkpoint: checkpoint, Consistency: proof})}, nil
}

// GetStats implements AuditService.
func (s *auditServer) GetStats(ctx context.Context, p *pb.GetStatsRequest) (*pb.GetStatsResponse, error) {
	var r reader
	since, until := r.span(p.GetRange())
	r.check(len(p.GetGroupBy()) <= inspect.MaxGroups, "group_by")
	who, err := auditor(ctx, &r, p.GetControl())
	if err != nil {
		return nil, err
	}
	var by []inspect.Criterion
	for _, c := range p.GetGroupBy() {
		by = append(by, inspect.Criterion(c))
	}
	counts, err := s.inspector.Stats(ctx, who, since, until, by)
	if err != nil {
		return nil, err
	}
	out := new(pb.GetStatsResponse)
	for _, c := range counts {
		out.Rows = append(out.Rows, &pb.StatsRow{Group: c.Group, Queries: c.Queries, Denied: c.Denied, Failed: c.Failed,
			Items:          c.Items,
			WithCandidates: c.Candidates})
	}
	return out, nil
}

// VerifyLog implements AuditService.
func (s *auditServer) VerifyLog(ctx context.Context, p *pb.VerifyLogRequest) (*pb.VerifyLogResponse, error) {
	var r reader
	which := r.log(p.GetLog())
	who, err := auditor(ctx, &r, p.GetControl())
	if err != nil {
		return nil, err
	}
	v, err := s.inspector.Verify(ctx, who, which)
	if err != nil {
		return nil, err
	}
	out := &pb.VerifyLogResponse{Checkpoint: v.Checkpoint, Index: -1}
	if v.Fault != nil {
		out.Fault, out.Index = v.Fault.Error(), v.Fault.Index
		return out, nil
	}
	out.Ok, out.Kinds, out.Files = true, v.Report.Kinds, uint64(v.Report.Files)
	if v.Report.Size > 0 {
		out.First, out.Last = timestamp(time.UnixMilli(v.Report.First)), timestamp(time.UnixMilli(v.Report.Last))
	}
	return out, nil
}

// ExportLog implements AuditService.
func (s *auditServer) ExportLog(p *pb.ExportLogRequest, stream grpc.ServerStreamingServer[pb.ExportLogResponse]) error {
	var r reader
	which := r.log(p.GetLog())
	since, until := r.span(p.GetRange())
	r.check(p.GetJsonLines() || p.GetRange() == nil, "range")
	r.check(!p.GetJsonLines() || p.GetFromIndex() == 0, "from_index")
	who, err := auditor(stream.Context(), &r, p.GetControl())
	if err != nil {
		return err
	}
	if p.GetJsonLines() {
		w := &fileParts{path: entriesFile, send: stream.Send}
		if err := s.inspector.Export(stream.Context(), who, which, since, until, w); err != nil {
			return err
		}
		return w.end()
	}
	return s.inspector.Files(stream.Context(), who, which, p.GetFromIndex(), func(path string, data []byte) error {
		w := &fileParts{path: path, send: stream.Send}
		if _, err := w.Write(data); err != nil {
			return err
		}
		return w.end()
	})
}

// A fileParts sends a file in parts of a bounded size, the last of which says so.
type fileParts struct {
	path   string
	send   func(*pb.ExportLogResponse) error
	offset uint64
	part   []byte
}

var _ io.Writer = (*fileParts)(nil)

// Write implements io.Writer.
func (f *fileParts) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if len(f.part) == maxFilePart { // there is more, so it is not the last
			if err := f.flush(false); err != nil {
				return 0, err
			}
		}
		take := min(len(b), maxFilePart-len(f.part))
		f.part, b = append(f.part, b[:take]...), b[take:]
	}
	return n, nil
}

func (f *fileParts) end() error { return f.flush(true) }

func (f *fileParts) flush(last bool) error {
	err := f.send(&pb.ExportLogResponse{Path: f.path, Offset: f.offset, Data: f.part, Last: last})
	f.offset += uint64(len(f.part))
	f.part = nil // the message that was sent has it
	return err
}

// entryProto returns an entry with its position. A field that the entry does not
// have is empty.
func entryProto(row *inspect.Row) *pb.Entry {
	e := row.Entry
	p := &pb.Entry{
		Index: row.Index, Log: pb.Log_LOG_SHARED, Time: timestamp(time.UnixMilli(e.Time)), Kind: e.Kind.String(),
		Asker: e.Asker, Holder: e.Holder, Agreement: e.Agreement, AgreementDigest: digestProto(e.AgreementDigest),
		Purpose: e.Purpose, Collection: e.Collection, Profile: e.Profile, Items: e.Items, Rules: e.Rules,
		BundleDigest: digestProto(e.Bundle), InputDigest: digestProto(e.Input), Protocol: uint32(e.Protocol),
		Normalisation: uint32(e.Normalisation), ListVersion: e.ListVersion, RequestDigest: digestProto(e.Request),
		ReceiptDigest: digestProto(e.Receipt), Sealed: digestProto(e.Sealed), Subject: digestProto(e.Subject), Reason: e.Reason,
		PeerLeaf: digestProto(e.PeerLeaf), PeerSealed: digestProto(e.PeerSealed), SealedAvailable: row.Sealed,
		Raw: row.Bytes, LeafHash: row.Leaf[:],
	}
	if row.Log == inspect.Internal {
		p.Log = pb.Log_LOG_INTERNAL
	}
	if e.Query != [16]byte{} {
		p.QueryId = query.ID(e.Query).String()
	}
	if e.Direction != entry.DirectionNone {
		p.Direction = e.Direction.String()
	}
	if e.Decision != entry.DecisionNone {
		p.Decision = e.Decision.String()
	}
	if e.Outcome != entry.OutcomeNone {
		p.Outcome = e.Outcome.String()
	}
	if e.Officer != [16]byte{} {
		p.Officer = e.Officer[:]
	}
	if e.Unit != [16]byte{} {
		p.Unit = e.Unit[:]
	}
	if e.Auditor != [8]byte{} {
		p.AuditorKey = e.Auditor[:]
	}
	return p
}

// digestProto returns a digest, empty if there is none.
func digestProto(d [32]byte) []byte {
	if d == [32]byte{} {
		return nil
	}
	return d[:]
}

package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/policy"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

var auditNoon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// auditRow is the row of a valid entry with every field that an intent may have.
func auditRow(t testing.TB) inspect.Row {
	t.Helper()
	e := &entry.Entry{Kind: entry.KindIntent, Time: auditNoon.UnixMilli(), Query: query.NewID(auditNoon),
		Direction: entry.DirectionAsked,
		Asker:     "spiffe://a.example/gateway/main", Holder: "spiffe://b.example/gateway/main", Agreement: "a-b",
		AgreementDigest: [32]byte{1},
		Purpose:         "p", Collection: "watchlist", Items: 4, Decision: entry.DecisionAllowed, Rules: []string{"RU-01"},
		Bundle: [32]byte{2},
		Input:  [32]byte{3}, Officer: [16]byte{4}, Unit: [16]byte{5}, Protocol: 1, Normalisation: 1, ListVersion: 7,
		Auditor: [8]byte{6},
		Sealed:  [32]byte{7}}
	b, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return inspect.Row{Indexed: audit.Indexed{Index: 12, Leaf: entry.LeafHash(b), Entry: e, Bytes: b}, Log: inspect.Shared,
		Sealed: true}
}

// A fakeInspector returns one row, and remembers how it was called.
type fakeInspector struct {
	row    inspect.Row
	file   []byte
	err    error
	calls  int
	reader inspect.Reader
	filter inspect.Filter
	page   inspect.Page
	which  inspect.Which
	by     []inspect.Criterion
}

func (f *fakeInspector) called(r inspect.Reader, which inspect.Which) error {
	f.calls++
	f.reader, f.which = r, which
	return f.err
}

func (f *fakeInspector) List(_ context.Context, r inspect.Reader, which inspect.Which, filter inspect.Filter,
	p inspect.Page) ([]inspect.Row, string, error) {
	f.filter, f.page = filter, p
	if err := f.called(r, which); err != nil {
		return nil, "", err
	}
	return []inspect.Row{f.row}, "5-9", nil
}

func (f *fakeInspector) Entry(_ context.Context, r inspect.Reader, which inspect.Which, _ uint64, _ [32]byte) (inspect.Proven,
	[]byte, error) {
	return inspect.Proven{Row: f.row, Proof: []byte("proof")}, []byte("receipt"), f.called(r, which)
}

func (f *fakeInspector) Proof(_ context.Context, r inspect.Reader, which inspect.Which, _ uint64) (inspect.Proven, error) {
	return inspect.Proven{Row: f.row, Proof: []byte("proof")}, f.called(r, which)
}

func (f *fakeInspector) Show(_ context.Context, r inspect.Reader, id query.ID) (*inspect.Shown, error) {
	return &inspect.Shown{Query: id, Entries: []inspect.Proven{{Row: f.row, Proof: []byte("proof")}}, Receipt: []byte("receipt"),
		Inputs: []inspect.StoredInput{{Digest: [32]byte{3}, JSON: []byte("{}")}}, Header: []byte("header"), Request: [32]byte{8},
		Checks: []inspect.Check{{Name: "inclusion", Result: inspect.Same, Sentence: "It is there."}}}, f.called(r, 0)
}

func (f *fakeInspector) Sealed(_ context.Context, r inspect.Reader, id query.ID, _ [32]byte) (*inspect.Sealed, error) {
	return &inspect.Sealed{Query: id, Entry: f.row.Bytes, Ciphertext: []byte("ciphertext"),
		Officer: "spiffe://a.example/officer/o1"}, f.called(r, 0)
}

func (f *fakeInspector) Stats(_ context.Context, r inspect.Reader, _, _ time.Time, by []inspect.Criterion) ([]inspect.Count,
	error) {
	f.by = by
	return []inspect.Count{{Group: []string{"b.example"}, Queries: 5, Denied: 1, Failed: 2, Items: 9, Candidates: 3}},
		f.called(r, 0)
}

func (f *fakeInspector) Verify(_ context.Context, r inspect.Reader, which inspect.Which) (*inspect.Verification, error) {
	return &inspect.Verification{Checkpoint: []byte("checkpoint"), Fault: &entry.FolderError{File: "tile/0/000", Index: 3,
			What: "is cut off"}},
		f.called(r, which)
}

func (f *fakeInspector) Files(_ context.Context, r inspect.Reader, which inspect.Which, _ uint64, emit func(string,
	[]byte) error) error {
	if err := f.called(r, which); err != nil {
		return err
	}
	return errors.Join(emit("tile/entries/000", f.file), emit("checkpoint", []byte("checkpoint")))
}

func (f *fakeInspector) Export(_ context.Context, r inspect.Reader, which inspect.Which, _, _ time.Time, w io.Writer) error {
	if err := f.called(r, which); err != nil {
		return err
	}
	_, err := w.Write(f.file)
	return err
}

func (f *fakeInspector) Checkpoint(_ context.Context, which inspect.Which, _ uint64) ([]byte, [][32]byte, string, error) {
	return []byte("checkpoint"), [][32]byte{{1}}, "key", f.called(inspect.Reader{}, which)
}

func auditService(i rpc.Inspector) pb.AuditServiceServer {
	return rpc.AuditService(i).Impl().(pb.AuditServiceServer)
}

// as returns the context of a call by an officer with roles.
func as(t testing.TB, roles ...officer.Role) context.Context {
	return rpc.WithCaller(t.Context(), rpc.Caller{ID: "spiffe://a.example/officer/o1", Officer: officer.Officer{ID: "o1",
		Roles: roles}})
}

// An exportStream keeps what is sent.
type exportStream struct {
	grpc.ServerStream
	ctx  context.Context
	sent []*pb.ExportLogResponse
}

func (s *exportStream) Context() context.Context { return s.ctx }
func (s *exportStream) Send(m *pb.ExportLogResponse) error {
	s.sent = append(s.sent, m)
	return nil
}

// auditCalls calls every method of the service.
func auditCalls(s pb.AuditServiceServer, control string) map[string]func(context.Context) (proto.Message, error) {
	id := query.NewID(auditNoon).String()
	return map[string]func(context.Context) (proto.Message, error){
		"ListEntries": func(ctx context.Context) (proto.Message, error) {
			return s.ListEntries(ctx, &pb.ListEntriesRequest{Control: control})
		},
		"GetEntry": func(ctx context.Context) (proto.Message, error) {
			return s.GetEntry(ctx, &pb.GetEntryRequest{By: &pb.GetEntryRequest_Index{Index: 12}, Control: control})
		},
		"ShowQuery": func(ctx context.Context) (proto.Message, error) {
			return s.ShowQuery(ctx, &pb.ShowQueryRequest{QueryId: id, Control: control})
		},
		"GetSealed": func(ctx context.Context) (proto.Message, error) {
			return s.GetSealed(ctx, &pb.GetSealedRequest{QueryId: id, Control: control})
		},
		"GetProof": func(ctx context.Context) (proto.Message, error) {
			return s.GetProof(ctx, &pb.GetProofRequest{Index: 12, Control: control})
		},
		"GetStats": func(ctx context.Context) (proto.Message, error) {
			return s.GetStats(ctx, &pb.GetStatsRequest{GroupBy: []string{"peer"}, Control: control})
		},
		"VerifyLog": func(ctx context.Context) (proto.Message, error) {
			return s.VerifyLog(ctx, &pb.VerifyLogRequest{Control: control})
		},
		"ExportLog": func(ctx context.Context) (proto.Message, error) {
			stream := &exportStream{ctx: ctx}
			err := s.ExportLog(&pb.ExportLogRequest{Control: control}, stream)
			if err != nil || len(stream.sent) == 0 {
				return nil, err
			}
			return stream.sent[0], nil
		},
		"GetCheckpoint": func(ctx context.Context) (proto.Message, error) {
			return s.GetCheckpoint(ctx, &pb.GetCheckpointRequest{FromSize: 1})
		},
	}
}

func TestAuditServiceRoles(t *testing.T) {
	t.Parallel()
	f := &fakeInspector{row: auditRow(t), file: []byte("entries")}
	s := auditService(f)
	for name, call := range auditCalls(s, policy.CheckLawfulness) {
		for _, ctx := range []context.Context{t.Context(), as(t), as(t, officer.RoleAsking, officer.RoleLegal,
			officer.RoleOperator, officer.RoleAdministrator)} {
			want := query.RoleRequired
			if _, ok := rpc.CallerFromContext(ctx); !ok {
				want = query.NotEnrolled
			}
			if m, err := call(ctx); query.ReasonOf(err) != want || !isNil(m) {
				t.Errorf("%s: %v, want %s and nothing else", name, err, want)
			}
		}
	}
	if f.calls != 0 {
		t.Errorf("the journey was called %d times", f.calls)
	}
	for name, call := range auditCalls(s, policy.CheckLawfulness) {
		if m, err := call(as(t, officer.RoleAuditor)); err != nil || isNil(m) {
			t.Errorf("%s by an auditor: %v", name, err)
		}
		if want := (inspect.Reader{Officer: "spiffe://a.example/officer/o1",
			Control: policy.CheckLawfulness}); name != "GetCheckpoint" && f.reader != want {
			t.Errorf("%s: reader %v, want %v", name, f.reader, want)
		}
	}
	f.err = query.Refuse(query.PolicyDenied, nil)
	for name, call := range auditCalls(s, "") {
		if m, err := call(as(t, officer.RoleAuditor)); query.ReasonOf(err) != query.PolicyDenied || !isNil(m) {
			t.Errorf("%s without a control: %v", name, err)
		}
	}
	for name, call := range auditCalls(s, strings.Repeat("x", 65)) {
		if _, err := call(as(t, officer.RoleAuditor)); name != "GetCheckpoint" && query.ReasonOf(err) != query.Malformed {
			t.Errorf("%s with a long control: %v", name, err)
		}
	}
}

// isNil reports whether m is nil or a nil pointer to a message.
func isNil(m proto.Message) bool { return m == nil || !m.ProtoReflect().IsValid() }

func TestListEntriesFilter(t *testing.T) {
	t.Parallel()
	f := &fakeInspector{row: auditRow(t)}
	s := auditService(f)
	ctx := as(t, officer.RoleAuditor)
	id := query.NewID(auditNoon)
	r, err := s.ListEntries(ctx, &pb.ListEntriesRequest{Log: pb.Log_LOG_INTERNAL, Kind: "read", Peer: "b.example", Purpose: "p",
		Decision: "denied",
		Officer:  "spiffe://a.example/officer/o2", Collection: "watchlist", QueryId: id.String(), Page: &pb.Page{Size: 7,
			Token: "3-5"},
		Range: &pb.TimeRange{Since: timestamppb.New(auditNoon)}, Control: "integrity"})
	if err != nil || r.GetNextToken() != "5-9" {
		t.Fatalf("ListEntries: %v, %v", r, err)
	}
	want := inspect.Filter{Since: auditNoon, Query: id, Kind: entry.KindRead, Peer: "b.example", Purpose: "p",
		Collection: "watchlist",
		Decision:   entry.DecisionDenied, Officer: "spiffe://a.example/officer/o2"}
	if f.filter != want || f.page != (inspect.Page{Size: 7, Token: "3-5"}) || f.which != inspect.Internal {
		t.Errorf("filter = %+v", f.filter)
	}
	e := r.GetEntries()[0]
	if e.GetIndex() != 12 || e.GetKind() != "intent" || e.GetDirection() != "asked" || e.GetDecision() != "allowed" ||
		!e.GetSealedAvailable() ||
		!bytes.Equal(e.GetRaw(), f.row.Bytes) || !bytes.Equal(e.GetLeafHash(), f.row.Leaf[:]) || e.GetOutcome() != "" ||
		e.GetReceiptDigest() != nil ||
		len(e.GetOfficer()) != 16 || len(e.GetAuditorKey()) != 8 || !e.GetTime().AsTime().Equal(auditNoon) {
		t.Errorf("entry = %v", e)
	}
	for name, bad := range map[string]*pb.ListEntriesRequest{
		"log":      {Log: 9},
		"kind":     {Kind: "other"},
		"decision": {Decision: "perhaps"},
		"query":    {QueryId: "1"},
		"page":     {Page: &pb.Page{Size: 1001}},
		"token":    {Page: &pb.Page{Token: strings.Repeat("1", 65)}},
		"peer":     {Peer: "b\n"},
		"time":     {Range: &pb.TimeRange{Since: &timestamppb.Timestamp{Nanos: -1}}},
	} {
		if r, err := s.ListEntries(ctx, bad); query.ReasonOf(err) != query.Malformed || r != nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	for name, call := range map[string]func() error{
		"no name": func() error { _, err := s.GetEntry(ctx, &pb.GetEntryRequest{}); return err },
		"short leaf": func() error {
			_, err := s.GetEntry(ctx, &pb.GetEntryRequest{By: &pb.GetEntryRequest_LeafHash{LeafHash: make([]byte, 31)}})
			return err
		},
		"zero leaf": func() error {
			_, err := s.GetEntry(ctx, &pb.GetEntryRequest{By: &pb.GetEntryRequest_LeafHash{LeafHash: make([]byte, 32)}})
			return err
		},
		"short hash":  func() error { _, err := s.GetSealed(ctx, &pb.GetSealedRequest{Sealed: make([]byte, 31)}); return err },
		"no query":    func() error { _, err := s.ShowQuery(ctx, &pb.ShowQueryRequest{}); return err },
		"many groups": func() error { _, err := s.GetStats(ctx, &pb.GetStatsRequest{GroupBy: make([]string, 4)}); return err },
		"part of a log": func() error {
			return s.ExportLog(&pb.ExportLogRequest{Range: &pb.TimeRange{}}, &exportStream{ctx: ctx})
		},
	} {
		if err := call(); query.ReasonOf(err) != query.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyLogFault(t *testing.T) {
	t.Parallel()
	r, err := auditService(&fakeInspector{}).VerifyLog(as(t, officer.RoleAuditor), &pb.VerifyLogRequest{Control: "integrity"})
	if err != nil || r.GetOk() || r.GetIndex() != 3 || !strings.Contains(r.GetFault(), "tile/0/000") {
		t.Errorf("VerifyLog = %v, %v", r, err)
	}
}

// TestExportParts puts files of all sizes together again.
func TestExportParts(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 256 << 10, 256<<10 + 1, 600 << 10} {
		for _, lines := range []bool{false, true} {
			file := bytes.Repeat([]byte("0123456789abcdef\n"), size/17+1)[:size]
			stream := &exportStream{ctx: as(t, officer.RoleAuditor)}
			if err := auditService(&fakeInspector{file: file}).ExportLog(&pb.ExportLogRequest{JsonLines: lines,
				Control: "integrity"}, stream); err != nil {
				t.Fatal(err)
			}
			files := make(map[string][]byte)
			var done []string
			for _, m := range stream.sent {
				if len(m.GetData()) > 256<<10 || m.GetOffset() != uint64(len(files[m.GetPath()])) || slices.Contains(done,
					m.GetPath()) {
					t.Fatalf("part of %s at %d, %d bytes", m.GetPath(), m.GetOffset(), len(m.GetData()))
				}
				files[m.GetPath()] = append(files[m.GetPath()], m.GetData()...)
				if m.GetLast() {
					done = append(done, m.GetPath())
				}
			}
			want, paths := "tile/entries/000", []string{"tile/entries/000", "checkpoint"}
			if lines {
				want, paths = "entries.jsonl", []string{"entries.jsonl"}
			}
			if !slices.Equal(done, paths) || !bytes.Equal(files[want], file) {
				t.Errorf("%d bytes, lines %v: files %q", size, lines, done)
			}
		}
	}
}

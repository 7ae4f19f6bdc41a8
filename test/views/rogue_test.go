package views_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// A rogue is a gateway with the keys of a neighbour and software of its own.
type rogue struct {
	conn      *grpc.ClientConn
	statement ed25519.PrivateKey
	header    *pb.EvaluateHeader // of a query that was once in order
	batches   []*pb.ElementBatch
}

// newRogue takes the place of a gateway, which is shut, towards h.
func newRogue(t *testing.T, n, h *nation, captured []event) *rogue {
	t.Helper()
	n.shut(t)
	key, err := keys.LoadSigningKey(filepath.Join(n.dir, "keys", "statement.pem"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := peer.OpenAuthority(filepath.Join(n.dir, "authority"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	source, err := authority.Source(n.config.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	r := &rogue{statement: key.Key()}
	r.conn, err = grpc.NewClient("passthrough:///"+h.gateway.Endpoint(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, // whom it asks is not its concern
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close() })
	for i := range captured {
		m, ok := captured[i].message.(*pb.EvaluateRequest)
		if !ok {
			continue
		}
		if x := m.GetHeader(); x != nil {
			r.header = x
		}
		if b := m.GetBatch(); b != nil {
			r.batches = append(r.batches, b)
		}
	}
	if r.header == nil || len(r.batches) == 0 {
		t.Fatal("control: no request was captured")
	}
	return r
}

// evaluate sends the query with a fresh id and a change, with a statement that
// verifies.
func (r *rogue) evaluate(t *testing.T, change func(h *pb.EvaluateHeader, b *pb.ElementBatch)) error {
	t.Helper()
	h, first := proto.CloneOf(r.header), proto.CloneOf(r.batches[0])
	id := query.NewID(time.Now())
	h.QueryId = id[:]
	change(h, first)
	req := query.Request{ID: id, AskerLeaf: [32]byte(h.GetAskerLeaf()), Facts: query.Facts{Purpose: h.GetFacts().GetPurpose(),
		AgreementDigest: [32]byte(h.GetFacts().GetAgreementDigest())},
		Statement: query.Statement{Rules: h.GetStatement().GetRules(), Bundle: [32]byte(h.GetStatement().GetBundle())}}
	h.Statement.Signature = ed25519.Sign(r.statement, req.StatementBytes())
	stream, err := pb.NewPeerServiceClient(r.conn).Evaluate(t.Context())
	if err != nil {
		return err
	}
	messages := []*pb.EvaluateRequest{{Message: &pb.EvaluateRequest_Header{Header: h}}}
	for _, b := range append([]*pb.ElementBatch{first}, r.batches[1:]...) {
		messages = append(messages, &pb.EvaluateRequest{Message: &pb.EvaluateRequest_Batch{Batch: b}})
	}
	for _, m := range messages {
		if stream.Send(m) != nil {
			break // the answer says why
		}
	}
	stream.CloseSend()
	_, err = stream.Recv()
	return err
}

// TestHolderRefusesText is the other side of TestCodesAreNoText: an asker with other
// software gets no answer for free text in place of codes, and its text is in
// neither the holder's answer, nor its log for operators, nor its audit log.
func TestHolderRefusesText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.utopia.newAsk(person(firstUnknown))
	a.Holders = []string{w.valdera.td}
	w.utopia.mustAsk(t, a, 0)
	r := newRogue(t, w.utopia, w.valdera, w.valdera.tap.since(0, func(e *event) bool { return e.incoming }))

	if err := r.evaluate(t, func(*pb.EvaluateHeader, *pb.ElementBatch) {}); err != nil {
		t.Fatalf("control: a query in order: %v", err)
	}
	p := person(firstUnknown + 1)
	s := new(sweeper)
	s.subject("subject", &p)
	out := &outputs{reasons: make(map[string]int)}
	for field, put := range map[string]func(h *pb.EvaluateHeader, b *pb.ElementBatch){
		"agreement":     func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Facts.Agreement = p.Name },
		"collection":    func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Facts.Collection = p.Name },
		"purpose":       func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Facts.Purpose = p.Name },
		"legal basis":   func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Facts.LegalBasis = p.Name },
		"offence class": func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Facts.OffenceClass = p.Name },
		"urgency":       func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Facts.Urgency = p.Name },
		"category":      func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Facts.Category = p.Name },
		"class":         func(_ *pb.EvaluateHeader, b *pb.ElementBatch) { b.Class = p.Document.Number },
		"rule":          func(h *pb.EvaluateHeader, _ *pb.ElementBatch) { h.Statement.Rules = []string{p.Name} },
	} {
		err := r.evaluate(t, put)
		if err == nil && field != "rule" { // which rules there are is the asker's own matter
			t.Errorf("%s: free text was answered", field)
		}
		if err != nil && strings.Contains(err.Error(), "control") {
			t.Fatal(err)
		}
		out.failed(err)
	}
	w.valdera.shut(t)
	if label := s.first(out.all.Bytes()); label != "" && out.reasons["POLICY_DENIED"] == 0 {
		t.Errorf("an answer has %s", label)
	}
	if label := s.first(w.valdera.log.bytes()); label != "" {
		t.Errorf("the holder logs %s", label)
		for l := range strings.Lines(string(w.valdera.log.bytes())) {
			if s.first([]byte(l)) != "" {
				t.Log(l)
			}
		}
	}
	found, swept := s.files(t, filepath.Join(w.valdera.dir, "log"), nil)
	clean(t, "the holder's audit log", found)
	if swept < 5000 || len(out.reasons) < 2 {
		t.Errorf("control: swept %d bytes, refused with %v", swept, out.reasons)
	}
}

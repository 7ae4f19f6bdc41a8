package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// stream returns a function that receives messages and then EOF.
func stream[M any](messages []M) func() (M, error) {
	return func() (m M, err error) {
		if len(messages) == 0 {
			return m, io.EOF
		}
		m, messages = messages[0], messages[1:]
		return m, nil
	}
}

func answerMessages(a *query.Answer) []*pb.EvaluateResponse {
	var out []*pb.EvaluateResponse
	for i := range a.Batches {
		b := &a.Batches[i]
		e := make([]byte, 0, 32*len(b.Evaluated))
		for j := range b.Evaluated {
			e = append(e, b.Evaluated[j][:]...)
		}
		out = append(out, &pb.EvaluateResponse{Message: &pb.EvaluateResponse_Batch{Batch: &pb.EvaluatedBatch{
			Class: b.Class, Chunk: b.Chunk, Evaluated: e, Proof: b.Proof[:]}}})
	}
	return append(out, &pb.EvaluateResponse{Message: &pb.EvaluateResponse_Receipt{Receipt: &pb.EvaluateReceipt{Receipt: a.Receipt}}})
}

// TestHostileAnswers changes everything in an answer that has a size or a place.
// Nothing of it may come through.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	r := request(1500)
	if got, err := rpc.ReadAnswer(r, stream(answerMessages(answerTo(r)))); err != nil || !reflect.DeepEqual(got, answerTo(r)) {
		t.Fatalf("the answer as it was sent: %v", err)
	}
	for name, change := range map[string]func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse{
		"nothing":       func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { return nil },
		"empty message": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { m[0].Message = nil; return m },
		"receipt first": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { return m[len(m)-1:] },
		"no receipt":    func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { return m[:len(m)-1] },
		"empty receipt": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			m[len(m)-1].GetReceipt().Receipt = nil
			return m
		},
		"long receipt": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			m[len(m)-1].GetReceipt().Receipt = make([]byte, 2049)
			return m
		},
		"more after it":   func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { return append(m, m[0]) },
		"a batch missing": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { return m[1:] },
		"a batch twice":   func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { return append(m[:1], m...) },
		"batches swapped": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { m[0], m[1] = m[1], m[0]; return m },
		"another class":   func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { m[0].GetBatch().Class = "visa"; return m },
		"another chunk":   func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse { m[0].GetBatch().Chunk = 7; return m },
		"an element less": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			b := m[0].GetBatch()
			b.Evaluated = b.Evaluated[32:]
			return m
		},
		"an element more": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			b := m[0].GetBatch()
			b.Evaluated = append(b.Evaluated, make([]byte, 32)...)
			return m
		},
		"a byte less": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			b := m[0].GetBatch()
			b.Evaluated = b.Evaluated[1:]
			return m
		},
		"short proof": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			m[0].GetBatch().Proof = make([]byte, 63)
			return m
		},
		"long proof": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			m[0].GetBatch().Proof = make([]byte, 65)
			return m
		},
		"a field not known": func(m []*pb.EvaluateResponse) []*pb.EvaluateResponse {
			m[0].GetBatch().ProtoReflect().SetUnknown([]byte{0xa2, 6, 1, 'x'})
			return m
		},
	} {
		got, err := rpc.ReadAnswer(r, stream(change(answerMessages(answerTo(r)))))
		if query.ReasonOf(err) != query.PeerInvalid || got != nil {
			t.Errorf("%s: %v and %v, want %v and nothing", name, err, got != nil, query.PeerInvalid)
		}
	}
}

// TestHostileLists changes the streams of a synchronisation.
func TestHostileLists(t *testing.T) {
	t.Parallel()
	message := func(v any) *pb.SyncTagSetResponse {
		switch v := v.(type) {
		case *pb.SyncTagSetHeader:
			return &pb.SyncTagSetResponse{Message: &pb.SyncTagSetResponse_Header{Header: v}}
		case *pb.ManifestChain:
			return &pb.SyncTagSetResponse{Message: &pb.SyncTagSetResponse_Manifests{Manifests: v}}
		case *pb.SegmentChunk:
			return &pb.SyncTagSetResponse{Message: &pb.SyncTagSetResponse_Chunk{Chunk: v}}
		}
		return &pb.SyncTagSetResponse{}
	}
	header := func(classes ...string) *pb.SyncTagSetResponse {
		return message(&pb.SyncTagSetHeader{ListVersion: 1, Classes: classes, Checkpoint: &pb.CheckpointProof{Checkpoint: []byte("note")}})
	}
	manifest := func(size int) *pb.PublishedManifest {
		return &pb.PublishedManifest{SignedManifest: make([]byte, size), Proof: &pb.LogProof{Entry: []byte("e"), TlogProof: []byte("p")}}
	}
	chain := func(class string, n, size int) *pb.SyncTagSetResponse {
		c := &pb.ManifestChain{Class: class}
		for range n {
			c.Manifests = append(c.Manifests, manifest(size))
		}
		return message(c)
	}
	chunk := func(class string, size int) *pb.SyncTagSetResponse {
		return message(&pb.SegmentChunk{Class: class, Data: make([]byte, size)})
	}
	repeated := func(n int, first *pb.SyncTagSetResponse, m *pb.SyncTagSetResponse) []*pb.SyncTagSetResponse {
		out := []*pb.SyncTagSetResponse{first}
		for range n {
			out = append(out, m)
		}
		return out
	}
	many := make([]string, 33)
	for i := range many {
		many[i] = strings.Repeat("c", i+1)
	}
	long := header("doc")
	long.GetHeader().Checkpoint.Checkpoint = make([]byte, 8<<10+1)
	proofs := header("doc")
	proofs.GetHeader().Checkpoint.Consistency = make([][]byte, 64)
	short := header("doc")
	short.GetHeader().Checkpoint.Consistency = [][]byte{make([]byte, 31)}
	none := header("doc")
	none.GetHeader().Checkpoint = nil
	zero := header("doc")
	zero.GetHeader().ListVersion = 0
	noProof := chain("doc", 1, 100)
	noProof.GetManifests().Manifests[0].Proof = nil
	longEntry := chain("doc", 1, 100)
	longEntry.GetManifests().Manifests[0].Proof.Entry = make([]byte, 1024)
	type list = []*pb.SyncTagSetResponse
	for name, messages := range map[string]list{
		"nothing":                    nil,
		"empty message":              {{}},
		"manifests first":            {chain("doc", 1, 1)},
		"a segment first":            {chunk("doc", 1)},
		"two headers":                {header("doc"), header("doc")},
		"no classes":                 {header()},
		"a class twice":              {header("doc", "doc")},
		"33 classes":                 {header(many...)},
		"a class with a line feed":   {header("do\nc")},
		"no list version":            {zero},
		"no checkpoint":              {none},
		"long checkpoint":            {long},
		"64 hashes":                  {proofs},
		"short hash":                 {short},
		"manifests of another class": {header("doc"), chain("visa", 1, 1)},
		"classes out of order":       {header("doc", "visa"), chain("visa", 1, 1), chain("doc", 1, 1)},
		"no manifests in a message":  {header("doc"), chain("doc", 0, 1)},
		"65 manifests in a message":  {header("doc"), chain("doc", 65, 1)},
		"empty manifest":             {header("doc"), chain("doc", 1, 0)},
		"long manifest":              {header("doc"), chain("doc", 1, 512<<10+1)},
		"no proof":                   {header("doc"), noProof},
		"long entry":                 {header("doc"), longEntry},
		"4,097 manifests":            repeated(65, header("doc"), chain("doc", 64, 1)),
		"65 MiB of manifests":        repeated(65, header("doc"), chain("doc", 2, 512<<10)),
		"manifests after a segment":  {header("doc"), chunk("doc", 1), chain("doc", 1, 1)},
		"empty segment":              {header("doc"), chunk("doc", 0)},
		"long segment":               {header("doc"), chunk("doc", 256<<10+1)},
		"a segment without class":    {header("doc"), chunk("", 1)},
	} {
		headers := 0
		err := rpc.ReadSync(stream(messages), func(*query.SyncHeader) error { headers++; return nil },
			func(query.Segment) error { return nil })
		if query.ReasonOf(err) != query.PeerInvalid || headers > 1 {
			t.Errorf("%s: %v after %d headers, want %v", name, err, headers, query.PeerInvalid)
		}
	}
	broken := errors.New("broken")
	recv := stream(list{header("doc")})
	err := rpc.ReadSync(func() (*pb.SyncTagSetResponse, error) {
		m, err := recv()
		if err != nil {
			return nil, broken
		}
		return m, nil
	}, func(*query.SyncHeader) error { t.Error("a header of a broken stream"); return nil }, nil)
	if query.ReasonOf(err) != query.Unreachable {
		t.Errorf("a broken stream: %v, want %v", err, query.Unreachable)
	}
}

// TestHostileTerms changes what a gateway says of itself.
func TestHostileTerms(t *testing.T) {
	t.Parallel()
	good := func() *pb.TermsResponse {
		return &pb.TermsResponse{Protocols: []uint32{1}, Normalisations: []uint32{1}, Software: "s", Checkpoint: []byte("note"),
			Time: timestamppb.Now(), Agreements: []*pb.AgreementTerms{{Agreement: "a", Digest: make([]byte, 32), Status: 3,
				Collections: []*pb.CollectionTerms{{Collection: "c", Heads: []*pb.ManifestHead{{Class: "doc", ManifestHash: make([]byte, 32)}}}}}}}
	}
	if _, err := rpc.TermsOf(good()); err != nil {
		t.Fatal(err)
	}
	if got, err := rpc.TermsOf(nil); err == nil || got != nil {
		t.Error("terms that are none")
	}
	for name, change := range map[string]func(*pb.TermsResponse){
		"no protocol":          func(p *pb.TermsResponse) { p.Protocols = nil },
		"5 protocols":          func(p *pb.TermsResponse) { p.Protocols = []uint32{5, 4, 3, 2, 1} },
		"protocol 65536":       func(p *pb.TermsResponse) { p.Protocols[0] = 65536 },
		"long software":        func(p *pb.TermsResponse) { p.Software = strings.Repeat("s", 65) },
		"software with escape": func(p *pb.TermsResponse) { p.Software = "\x1b[2J" },
		"long checkpoint":      func(p *pb.TermsResponse) { p.Checkpoint = make([]byte, 8<<10+1) },
		"no time":              func(p *pb.TermsResponse) { p.Time = nil },
		"time of another age":  func(p *pb.TermsResponse) { p.Time.Seconds = 1 << 60 },
		"65 agreements":        func(p *pb.TermsResponse) { p.Agreements = make([]*pb.AgreementTerms, 65) },
		"short digest":         func(p *pb.TermsResponse) { p.Agreements[0].Digest = make([]byte, 31) },
		"status 0":             func(p *pb.TermsResponse) { p.Agreements[0].Status = 0 },
		"status 256":           func(p *pb.TermsResponse) { p.Agreements[0].Status = 257 },
		"negative status":      func(p *pb.TermsResponse) { p.Agreements[0].Status = -253 },
		"33 heads":             func(p *pb.TermsResponse) { p.Agreements[0].Collections[0].Heads = make([]*pb.ManifestHead, 33) },
		"long class":           func(p *pb.TermsResponse) { p.Agreements[0].Collections[0].Heads[0].Class = strings.Repeat("c", 33) },
	} {
		p := good()
		change(p)
		if got, err := rpc.TermsOf(p); err == nil || got != nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestConnections bounds the connections of one neighbour.
func TestConnections(t *testing.T) {
	t.Parallel()
	h := &fakeHolder{terms: func(context.Context, holder.Caller) (*query.Terms, error) {
		return &query.Terms{Protocols: []uint16{1}, Normalisations: []uint16{1}, Checkpoint: []byte("n"), Time: time.Now()}, nil
	}}
	p := newPair(t, h, func(c *rpc.PeerConfig) { c.Logger = slog.New(slog.DiscardHandler) })
	var open []*tls.Conn
	dial := func() bool {
		config := p.clientTLS(t)
		config.NextProtos = []string{"h2"}
		conn, err := tls.Dial("tcp", p.endpoint, config)
		if err != nil {
			return false
		}
		open = append(open, conn)
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadFull(conn, make([]byte, 9)) // the settings of a server that has accepted us
		return err == nil
	}
	for i := range 16 {
		if !dial() {
			t.Fatalf("connection %d was refused", i+1)
		}
	}
	if dial() {
		t.Error("a connection over the limit was accepted")
	}
	for _, c := range open {
		c.Close()
	}
	// There is room again as soon as the server has seen that they are closed.
	client := p.client(t)
	for ctx := testContext(t); ; {
		_, err := client.Terms(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("no connection after the others were closed: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

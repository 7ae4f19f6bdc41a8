package rpc_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// marshal returns the messages of a request as one string of bytes: each with its
// length before it.
func marshal(t testing.TB, messages ...proto.Message) []byte {
	t.Helper()
	var out []byte
	for _, m := range messages {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(b))), b...)
	}
	return out
}

// next takes one message from what marshal returned.
func next(b []byte) (message, rest []byte, ok bool) {
	if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, false
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	return b[4:n], b[n:], true
}

// FuzzRequest reads messages as a request. What is accepted has the same digest as
// what its own messages give, and nothing comes with an error.
func FuzzRequest(f *testing.F) {
	for _, n := range []int{1, 4} {
		r := request(n)
		r.ID = query.ID{1, 2, 3, 4, 5, 6, 0x70, 7, 0x80, 8}
		messages := []proto.Message{rpc.HeaderProto(r)}
		for i := range r.Batches {
			messages = append(messages, rpc.BatchProto(&r.Batches[i]))
		}
		f.Add(marshal(f, messages...))
		f.Add(marshal(f, messages[0]))
		f.Add(marshal(f, messages[:len(messages)-1]...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		first, rest, ok := next(b)
		header := new(pb.EvaluateHeader)
		if !ok || proto.Unmarshal(first, header) != nil {
			t.Skip("not a stream of these messages")
		}
		var batches []*pb.ElementBatch
		for len(rest) > 0 {
			var m []byte
			if m, rest, ok = next(rest); !ok {
				t.Skip("not a stream of these messages")
			}
			batch := new(pb.ElementBatch)
			if proto.Unmarshal(m, batch) != nil {
				t.Skip("not a stream of these messages")
			}
			batches = append(batches, batch)
		}
		r, err := rpc.RequestOf(header, batches)
		if err != nil {
			if r != nil {
				t.Error("a request with an error")
			}
			switch reason := query.ReasonOf(err); reason {
			case query.Malformed, query.TooLarge, query.VersionUnsupported:
			default:
				t.Errorf("refused as %v", reason)
			}
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("accepted a request that is none: %v", err)
		}
		again := rpc.HeaderProto(r)
		if !proto.Equal(again, header) || len(r.Batches) != len(batches) {
			t.Fatalf("the header became another:\n got %v\nfrom %v", again, header)
		}
		for i := range r.Batches {
			if b := rpc.BatchProto(&r.Batches[i]); !proto.Equal(b, batches[i]) {
				t.Fatalf("batch %d became another", i)
			}
		}
		twice, err := rpc.RequestOf(again, batches)
		if err != nil || twice.Digest() != r.Digest() {
			t.Fatalf("the messages of a request give another: %v", err)
		}
	})
}

// FuzzAnswer reads messages as the answer to a request. What is accepted fits it.
func FuzzAnswer(f *testing.F) {
	r := request(1)
	r.ID = query.ID{1, 2, 3, 4, 5, 6, 0x70, 7, 0x80, 8}
	var messages []proto.Message
	for _, m := range answerMessages(answerTo(r)) {
		messages = append(messages, m)
	}
	f.Add(marshal(f, messages...))
	f.Add(marshal(f, messages[1:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []*pb.EvaluateResponse
		for rest := b; len(rest) > 0; {
			m, r, ok := next(rest)
			p := new(pb.EvaluateResponse)
			if !ok || proto.Unmarshal(m, p) != nil {
				t.Skip("not a stream of these messages")
			}
			rest, list = r, append(list, p)
		}
		a, err := rpc.ReadAnswer(r, stream(list))
		if err != nil {
			if a != nil || query.ReasonOf(err) != query.PeerInvalid {
				t.Errorf("%v, and an answer: %v", err, a != nil)
			}
			return
		}
		if err := a.Matches(r); err != nil {
			t.Errorf("accepted an answer to another request: %v", err)
		}
		again := answerMessages(a)
		for i := range list {
			if !proto.Equal(again[i], list[i]) {
				t.Errorf("message %d became another", i)
			}
		}
	})
}

// FuzzTerms reads a message as terms. What is accepted gives the same message.
func FuzzTerms(f *testing.F) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	b, err := proto.Marshal(rpc.TermsProto(&query.Terms{Protocols: []uint16{2, 1}, Normalisations: []uint16{1}, Software: "s",
		Checkpoint: []byte("note"), Time: now, Agreements: []query.AgreementTerms{{Agreement: "a", Status: query.Active,
			Collections: []query.CollectionTerms{{Collection: "c", ListVersion: 1, Published: now,
				Heads: []query.ManifestHead{{Class: "doc", Epoch: 1}}}}}}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := new(pb.TermsResponse)
		if proto.Unmarshal(b, p) != nil {
			t.Skip("not a stream of these messages")
		}
		terms, err := rpc.TermsOf(p)
		if err != nil {
			if terms != nil {
				t.Error("terms with an error")
			}
			return
		}
		again, err := rpc.TermsOf(rpc.TermsProto(terms))
		if err != nil || !reflect.DeepEqual(again, terms) {
			t.Errorf("terms became others: %v", err)
		}
	})
}

// FuzzSync reads messages as a stream of tag sets. The header comes once and first,
// and gives the same messages.
func FuzzSync(f *testing.F) {
	var messages []proto.Message
	for _, m := range rpc.SyncMessages(&query.SyncHeader{ListVersion: 3, Checkpoint: query.CheckpointProof{Checkpoint: []byte("n"), Consistency: [][32]byte{{1}}},
		Classes: []query.ManifestChain{{Class: "doc", Manifests: []query.PublishedManifest{{Signed: []byte("m"),
			Proof: query.LogProof{Entry: []byte("e"), Proof: []byte("p")}}}}, {Class: "visa"}}}) {
		messages = append(messages, m)
	}
	messages = append(messages, &pb.SyncTagSetResponse{Message: &pb.SyncTagSetResponse_Chunk{Chunk: &pb.SegmentChunk{Class: "doc", Data: []byte("d")}}})
	f.Add(marshal(f, messages...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []*pb.SyncTagSetResponse
		for rest := b; len(rest) > 0; {
			m, r, ok := next(rest)
			p := new(pb.SyncTagSetResponse)
			if !ok || proto.Unmarshal(m, p) != nil {
				t.Skip("not a stream of these messages")
			}
			rest, list = r, append(list, p)
		}
		var header *query.SyncHeader
		var data []byte
		err := rpc.ReadSync(stream(list), func(h *query.SyncHeader) error {
			if header != nil {
				t.Error("two headers")
			}
			header = h
			return nil
		}, func(s query.Segment) error {
			if header == nil {
				t.Error("a segment before the header")
			}
			data = append(data, s.Data...)
			return nil
		})
		if err != nil {
			if query.ReasonOf(err) != query.PeerInvalid {
				t.Errorf("refused as %v", err)
			}
			return
		}
		var again []*pb.SyncTagSetResponse
		again = append(again, rpc.SyncMessages(header)...)
		var twice *query.SyncHeader
		if err := rpc.ReadSync(stream(again), func(h *query.SyncHeader) error { twice = h; return nil }, nil); err != nil || !reflect.DeepEqual(twice, header) {
			t.Errorf("the header became another: %v", err)
		}
		for _, m := range list {
			data = bytes.TrimPrefix(data, m.GetChunk().GetData())
		}
		if len(data) > 0 {
			t.Error("data that was not sent")
		}
	})
}

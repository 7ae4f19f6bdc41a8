package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// TestPeerCalls makes every call of our client to our server over mTLS.
func TestPeerCalls(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.UTC)
	terms := &query.Terms{Protocols: []uint16{1}, Normalisations: []uint16{1}, Software: "passerelle 1.0", Checkpoint: []byte("note"), Time: now,
		Agreements: []query.AgreementTerms{{Agreement: "UTO-ZUB-1", Digest: [32]byte{1}, Status: query.Suspended,
			Collections: []query.CollectionTerms{{Collection: "watchlist", ListVersion: 3, Published: now,
				Heads: []query.ManifestHead{{Class: "doc", Epoch: 2, Hash: [32]byte{3}}}}, {Collection: "documents"}}}}}
	proof := &query.LogProof{Entry: []byte("entry"), Proof: []byte("proof")}
	checkpoint := &query.CheckpointProof{Checkpoint: []byte("note"), Consistency: [][32]byte{{1}, {2}}}
	syncRequest := query.SyncRequest{Agreement: "UTO-ZUB-1", AgreementDigest: [32]byte{1}, Collection: "watchlist", FromVersion: 2,
		FromLogSize: 9, Held: [][32]byte{{7}, {8}}}
	header := &query.SyncHeader{ListVersion: 200, Checkpoint: *checkpoint, Classes: []query.ManifestChain{{Class: "doc"}, {Class: "name+dob"},
		{Class: "name+year"}}}
	for i := range 150 { // more than one message; the second class has none
		for _, class := range []int{0, 2} {
			header.Classes[class].Manifests = append(header.Classes[class].Manifests, query.PublishedManifest{
				Signed: bytes.Repeat([]byte{byte(i)}, 40_000), Proof: query.LogProof{Entry: []byte("e"), Proof: []byte("p")}})
		}
	}
	segments := []query.Segment{{Class: "doc", Data: []byte("first")}, {Class: "doc", Index: 1, Offset: 5, Data: bytes.Repeat([]byte{1}, 256<<10)}}

	var callers sync.Map
	var acknowledged query.ID
	seen := func(c holder.Caller) { callers.Store(c, true) }
	h := echo()
	h.terms = func(_ context.Context, c holder.Caller) (*query.Terms, error) { seen(c); return terms, nil }
	h.acknowledge = func(_ context.Context, c holder.Caller, agreement string, id query.ID) error {
		seen(c)
		acknowledged = id
		return nil
	}
	h.prove = func(_ context.Context, _ holder.Caller, agreement string, id query.ID) (*query.LogProof, error) {
		if agreement == "none" {
			return nil, nil
		}
		return proof, nil
	}
	h.checkpoint = func(_ context.Context, _ holder.Caller, size uint64) (*query.CheckpointProof, error) {
		if size != 42 {
			return nil, query.Refuse(query.Precondition, nil)
		}
		return checkpoint, nil
	}
	h.sync = func(_ context.Context, _ holder.Caller, r query.SyncRequest, head func(*query.SyncHeader) error, part func(query.Segment) error) error {
		if !reflect.DeepEqual(r, syncRequest) {
			return query.Refuse(query.Malformed, nil)
		}
		if err := head(header); err != nil {
			return err
		}
		for _, s := range segments {
			if err := part(s); err != nil {
				return err
			}
		}
		return nil
	}
	p := newPair(t, h)
	c := p.client(t)
	ctx := testContext(t)

	gotTerms, err := c.Terms(ctx)
	if err != nil || !reflect.DeepEqual(gotTerms, terms) {
		t.Errorf("Terms = %+v, %v; want %+v", gotTerms, err, terms)
	}
	for _, n := range []int{1, 5, 3000} {
		r := request(n)
		answer, err := c.Evaluate(ctx, r)
		if err != nil || !reflect.DeepEqual(answer, answerTo(r)) {
			t.Errorf("Evaluate of %d items: %v, or another answer than was sent", n, err)
		}
	}
	id := query.NewID(now)
	if err := c.Acknowledge(ctx, "UTO-ZUB-1", id); err != nil || acknowledged != id {
		t.Errorf("Acknowledge: %v, holder got %v, want %v", err, acknowledged, id)
	}
	if got, err := c.Prove(ctx, "UTO-ZUB-1", id); err != nil || !reflect.DeepEqual(got, proof) {
		t.Errorf("Prove = %v, %v", got, err)
	}
	if got, err := c.Prove(ctx, "none", id); err != nil || got != nil {
		t.Errorf("Prove of what is not published = %v, %v; want nil, nil", got, err)
	}
	if got, err := c.Checkpoint(ctx, 42); err != nil || !reflect.DeepEqual(got, checkpoint) {
		t.Errorf("Checkpoint = %v, %v", got, err)
	}
	var gotHeader *query.SyncHeader
	var gotSegments []query.Segment
	err = c.SyncTagSet(ctx, syncRequest, func(h *query.SyncHeader) error { gotHeader = h; return nil },
		func(s query.Segment) error { gotSegments = append(gotSegments, s); return nil })
	if err != nil || !reflect.DeepEqual(gotHeader, header) || !reflect.DeepEqual(gotSegments, segments) {
		t.Errorf("SyncTagSet: %v, or another header or other segments than were sent", err)
	}
	stop := errors.New("stop")
	if err := c.SyncTagSet(ctx, syncRequest, func(*query.SyncHeader) error { return stop }, nil); !errors.Is(err, stop) {
		t.Errorf("SyncTagSet with a header that is refused = %v, want %v", err, stop)
	}
	callers.Range(func(got, _ any) bool {
		if want := (holder.Caller{TrustDomain: "a.example", Gateway: "spiffe://a.example/gateway/main"}); got != want {
			t.Errorf("caller = %v, want %v", got, want)
		}
		return true
	})
}

// TestStranger has a country that is not federated, an officer, and another
// gateway of a federated country. None gets so far as a call.
func TestStranger(t *testing.T) {
	t.Parallel()
	p := newPair(t, &fakeHolder{})
	stranger := newCountry(t, "c.example")
	stranger.federate(t, p.holder)
	config, err := peer.ClientTLS(stranger.source, stranger.federation, p.holder.td, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rpc.Dial(p.endpoint, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Terms(testContext(t)); query.ReasonOf(err) != query.Unreachable {
		t.Errorf("a stranger got %v, want %v", err, query.Unreachable)
	}
	svid, err := p.asker.authority.IssueGateway("other")
	if err != nil {
		t.Fatal(err)
	}
	other := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{
		Certificate: [][]byte{svid.Certificates[0].Raw}, PrivateKey: svid.PrivateKey}}}
	conn, err := grpc.NewClient("passthrough:///"+p.endpoint, grpc.WithTransportCredentials(credentials.NewTLS(other)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := pb.NewPeerServiceClient(conn).Terms(testContext(t), &pb.TermsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("another gateway got %v, want %v", err, codes.Unavailable)
	}
}

// TestUnknownPeerOnEveryMethod checks that the call, and not only the handshake, is
// authorized, before anything is read, and that a stranger and an ended federation
// get the same.
func TestUnknownPeerOnEveryMethod(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	p := newPair(t, &fakeHolder{}, func(c *rpc.PeerConfig) {
		c.Federation = lateRefusal{c.Federation, &refuse}
	})
	conn := p.raw(t)
	ctx := testContext(t)
	// The connection is made while the federation holds.
	if err := conn.Invoke(ctx, "/passerelle.v1.PeerService/None", &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Fatalf("unknown method: %v", err)
	}
	refuse.Store(true)
	var texts []string
	for _, m := range pb.PeerService_ServiceDesc.Methods {
		err := conn.Invoke(ctx, "/passerelle.v1.PeerService/"+m.MethodName, &emptypb.Empty{}, &emptypb.Empty{})
		if got := reasonOf(err); got != string(query.UnknownPeer) {
			t.Errorf("%s: %v, want %v", m.MethodName, err, query.UnknownPeer)
		}
		texts = append(texts, err.Error())
	}
	for _, m := range []string{"Evaluate", "SyncTagSet", "None"} {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/passerelle.v1.PeerService/"+m)
		if err != nil {
			t.Fatal(err)
		}
		err = stream.RecvMsg(&emptypb.Empty{}) // nothing was sent
		if got := reasonOf(err); got != string(query.UnknownPeer) {
			t.Errorf("%s: %v, want %v", m, err, query.UnknownPeer)
		}
		texts = append(texts, err.Error())
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Errorf("two texts: %q and %q", text, texts[0])
		}
	}
}

// A lateRefusal is a federation that refuses from a moment on, and does not say so.
type lateRefusal struct {
	rpc.Federation
	refuse *atomic.Bool
}

func (l lateRefusal) Authorize(id string) error {
	if l.refuse.Load() {
		return peer.ErrNotFederated
	}
	return l.Federation.Authorize(id)
}

// TestEndedFederation ends a federation while four calls are open: one that is
// being sent, one that computes, one that is being received, and one whose caller
// does not read. All end within 5 seconds, and so do their connections.
func TestEndedFederation(t *testing.T) {
	t.Parallel()
	var open sync.WaitGroup
	open.Add(3)
	var flooded atomic.Int64
	ended := make(chan string, 3)
	h := &fakeHolder{
		terms: func(ctx context.Context, _ holder.Caller) (*query.Terms, error) {
			open.Done()
			<-ctx.Done()
			ended <- "computing"
			return nil, context.Cause(ctx)
		},
		sync: func(ctx context.Context, _ holder.Caller, r query.SyncRequest, _ func(*query.SyncHeader) error, part func(query.Segment) error) error {
			open.Done()
			if r.Collection == "idle" {
				<-ctx.Done()
				ended <- "idle"
				return context.Cause(ctx)
			}
			for { // until the window is full
				if err := part(query.Segment{Class: "doc", Data: make([]byte, 256<<10)}); err != nil {
					ended <- "sending"
					return err
				}
				flooded.Add(1)
			}
		},
	}
	p := newPair(t, h)
	conn := p.raw(t)
	c := pb.NewPeerServiceClient(conn)
	ctx := testContext(t)
	errs := make(chan error, 4)
	go func() {
		_, err := c.Terms(ctx, &pb.TermsRequest{Protocols: []uint32{1}, Normalisations: []uint32{1}})
		errs <- err
	}()
	digest := make([]byte, 32)
	idle, err := c.SyncTagSet(ctx, &pb.SyncTagSetRequest{Agreement: "a", AgreementDigest: digest, Collection: "idle"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { errs <- drain(idle) }()
	evaluate, err := c.Evaluate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := evaluate.Send(&pb.EvaluateRequest{Message: &pb.EvaluateRequest_Header{Header: rpc.HeaderProto(request(1))}}); err != nil {
		t.Fatal(err)
	}
	go func() { errs <- drain(evaluate) }()
	unread, err := c.SyncTagSet(ctx, &pb.SyncTagSetRequest{Agreement: "a", AgreementDigest: digest, Collection: "flood"})
	if err != nil {
		t.Fatal(err)
	}
	open.Wait()

	if err := p.holder.federation.End(p.asker.td, time.Now()); err != nil {
		t.Fatal(err)
	}
	limit := time.After(5 * time.Second)
	for range 3 {
		select {
		case err := <-errs:
			if got := reasonOf(err); got != string(query.UnknownPeer) {
				t.Errorf("an open call ended with %v, want %v", err, query.UnknownPeer)
			}
		case <-limit:
			t.Fatal("an open call did not end")
		}
	}
	for range 3 {
		select {
		case <-ended:
		case <-limit:
			t.Fatal("a handler did not end")
		}
	}
	for state := conn.GetState(); state.String() == "READY"; state = conn.GetState() {
		wait, cancel := context.WithTimeout(ctx, 5*time.Second)
		changed := conn.WaitForStateChange(wait, state)
		cancel()
		if !changed {
			t.Fatal("the connection of an ended federation stays open")
		}
	}
	if err := drain(unread); err == nil {
		t.Error("a stream that was not read came to a good end")
	}
	if _, err := c.Terms(ctx, &pb.TermsRequest{Protocols: []uint32{1}, Normalisations: []uint32{1}}); status.Code(err) != codes.Unavailable {
		t.Errorf("a new connection of an ended federation: %v, want %v", err, codes.Unavailable)
	}
}

// send sends the messages of one request and returns how the call ended.
func send(t *testing.T, c *grpc.ClientConn, messages ...*pb.EvaluateRequest) error {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	stream, err := pb.NewPeerServiceClient(c).Evaluate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			break // the server has answered
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	return drain(stream)
}

func headerMessage(h *pb.EvaluateHeader) *pb.EvaluateRequest {
	return &pb.EvaluateRequest{Message: &pb.EvaluateRequest_Header{Header: h}}
}

func batchMessage(b *pb.ElementBatch) *pb.EvaluateRequest {
	return &pb.EvaluateRequest{Message: &pb.EvaluateRequest_Batch{Batch: b}}
}

// messages returns r as a stream has it.
func messages(r *query.Request) []*pb.EvaluateRequest {
	out := []*pb.EvaluateRequest{headerMessage(rpc.HeaderProto(r))}
	for i := range r.Batches {
		out = append(out, batchMessage(rpc.BatchProto(&r.Batches[i])))
	}
	return out
}

// TestEvaluateRefuses sends requests that are none. The holder must not see them.
func TestEvaluateRefuses(t *testing.T) {
	t.Parallel()
	h := &fakeHolder{answer: func(context.Context, holder.Caller, *query.Request) (*query.Answer, error) {
		t.Error("the holder was given a request that is none")
		return nil, query.Refuse(query.Internal, nil)
	}}
	p := newPair(t, h)
	conn := p.raw(t)
	header := func(change func(*pb.EvaluateHeader)) func() []*pb.EvaluateRequest {
		return func() []*pb.EvaluateRequest {
			m := messages(request(1))
			change(m[0].GetHeader())
			return m
		}
	}
	batch := func(change func(*pb.ElementBatch)) func() []*pb.EvaluateRequest {
		return func() []*pb.EvaluateRequest {
			m := messages(request(1))
			change(m[1].GetBatch())
			return m
		}
	}
	for _, tt := range []struct {
		name string
		make func() []*pb.EvaluateRequest
		want query.Reason
	}{
		{"nothing", func() []*pb.EvaluateRequest { return nil }, query.Malformed},
		{"empty message", func() []*pb.EvaluateRequest { return []*pb.EvaluateRequest{{}} }, query.Malformed},
		{"no header", func() []*pb.EvaluateRequest { return messages(request(1))[1:] }, query.Malformed},
		{"header alone", func() []*pb.EvaluateRequest { return messages(request(1))[:1] }, query.Malformed},
		{"two headers", func() []*pb.EvaluateRequest {
			m := messages(request(1))
			return append(m[:1], m...)
		}, query.Malformed},
		{"last batch missing", func() []*pb.EvaluateRequest { return messages(request(1))[:2] }, query.Malformed},
		{"one batch too many", func() []*pb.EvaluateRequest {
			m := messages(request(1))
			return append(m, m[2])
		}, query.Malformed},
		{"batches swapped within a class", func() []*pb.EvaluateRequest {
			m := messages(request(1500))
			m[1], m[2] = m[2], m[1]
			return m
		}, query.Malformed},
		{"too many declared elements", header(func(h *pb.EvaluateHeader) { h.Elements = 65537 }), query.TooLarge},
		{"too many declared batches", header(func(h *pb.EvaluateHeader) { h.Batches, h.Elements = 65537, 65537 }), query.TooLarge},
		{"declared elements over the maximum of a number", header(func(h *pb.EvaluateHeader) { h.Elements = 1<<32 - 1 }), query.TooLarge},
		{"no declared elements", header(func(h *pb.EvaluateHeader) { h.Elements = 0 }), query.Malformed},
		{"no declared batches", header(func(h *pb.EvaluateHeader) { h.Batches = 0 }), query.Malformed},
		{"fewer declared elements", header(func(h *pb.EvaluateHeader) { h.Elements, h.Batches = 1, 1 }), query.Malformed},
		{"more declared elements", header(func(h *pb.EvaluateHeader) { h.Elements++ }), query.Malformed},
		{"more batches than elements", header(func(h *pb.EvaluateHeader) { h.Batches = 3 }), query.Malformed},
		{"protocol 2", header(func(h *pb.EvaluateHeader) { h.Protocol = 2 }), query.VersionUnsupported},
		{"protocol 65537", header(func(h *pb.EvaluateHeader) { h.Protocol = 65537 }), query.VersionUnsupported},
		{"normalisation 65537", header(func(h *pb.EvaluateHeader) { h.Normalisation = 65537 }), query.VersionUnsupported},
		{"no facts", header(func(h *pb.EvaluateHeader) { h.Facts = nil }), query.Malformed},
		{"no statement", header(func(h *pb.EvaluateHeader) { h.Statement = nil }), query.Malformed},
		{"short id", header(func(h *pb.EvaluateHeader) { h.QueryId = h.QueryId[:15] }), query.Malformed},
		{"id of another version", header(func(h *pb.EvaluateHeader) { h.QueryId = make([]byte, 16) }), query.Malformed},
		{"long digest", header(func(h *pb.EvaluateHeader) { h.Facts.AgreementDigest = make([]byte, 33) }), query.Malformed},
		{"no leaf", header(func(h *pb.EvaluateHeader) { h.AskerLeaf = nil }), query.Malformed},
		{"short signature", header(func(h *pb.EvaluateHeader) { h.Statement.Signature = make([]byte, 63) }), query.Malformed},
		{"65 rules", header(func(h *pb.EvaluateHeader) { h.Statement.Rules = make([]string, 65) }), query.Malformed},
		{"long code", header(func(h *pb.EvaluateHeader) { h.Facts.Purpose = strings.Repeat("p", 65) }), query.Malformed},
		{"control character", header(func(h *pb.EvaluateHeader) { h.Facts.Urgency = "a\nb" }), query.Malformed},
		{"kind", header(func(h *pb.EvaluateHeader) { h.Facts.Kind = 3 }), query.Malformed},
		{"items not padded", header(func(h *pb.EvaluateHeader) { h.Facts.Items = 2 }), query.Malformed},
		{"a fact that we do not know", header(func(h *pb.EvaluateHeader) {
			h.Facts.ProtoReflect().SetUnknown([]byte{0xa2, 0x06, 1, 'x'}) // field 100
		}), query.Malformed},
		{"empty batch", batch(func(b *pb.ElementBatch) { b.Elements = nil }), query.Malformed},
		{"garbage size", batch(func(b *pb.ElementBatch) { b.Elements = b.Elements[:31] }), query.Malformed},
		{"one byte too many", batch(func(b *pb.ElementBatch) { b.Elements = append(b.Elements, 0) }), query.Malformed},
		{"two elements for one item", batch(func(b *pb.ElementBatch) { b.Elements = append(b.Elements, b.Elements...) }), query.Malformed},
		{"oversize batch", batch(func(b *pb.ElementBatch) { b.Elements = make([]byte, 1025*32) }), query.TooLarge},
		// gRPC itself answers what it does not read, without a reason.
		{"oversize message", batch(func(b *pb.ElementBatch) { b.Elements = make([]byte, 2<<20) }), "ResourceExhausted"},
		{"a field in a batch that we do not know", batch(func(b *pb.ElementBatch) {
			b.ProtoReflect().SetUnknown([]byte{0xa2, 0x06, 1, 'x'})
		}), query.Malformed},
		{"long class", batch(func(b *pb.ElementBatch) { b.Class = strings.Repeat("c", 33) }), query.Malformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := reasonOf(send(t, conn, tt.make()...)); got != string(tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	t.Run("not a message", func(t *testing.T) {
		stream, err := conn.NewStream(testContext(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			pb.PeerService_Evaluate_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg([]byte{0xff, 0xff, 0xff}); err != nil {
			t.Fatal(err)
		}
		var b []byte
		if got := reasonOf(stream.RecvMsg(&b)); got != "Internal" {
			t.Errorf("got %s, want Internal, of gRPC itself", got)
		}
	})
}

// TestSmallCallsRefuse sends requests of the other methods that are none.
func TestSmallCallsRefuse(t *testing.T) {
	t.Parallel()
	p := newPair(t, &fakeHolder{})
	c := pb.NewPeerServiceClient(p.raw(t))
	ctx := testContext(t)
	id := query.NewID(time.Now())
	hash := make([]byte, 32)
	sync := func(r *pb.SyncTagSetRequest) error {
		stream, err := c.SyncTagSet(ctx, r)
		if err != nil {
			return err
		}
		return drain(stream)
	}
	held := make([][]byte, 4097)
	for i := range held {
		held[i] = hash
	}
	for name, tt := range map[string]struct {
		err  error
		want query.Reason
	}{
		"terms without versions": {second(c.Terms(ctx, &pb.TermsRequest{})), query.Malformed},
		"terms with a long software": {second(c.Terms(ctx, &pb.TermsRequest{Protocols: []uint32{1}, Normalisations: []uint32{1},
			Software: strings.Repeat("s", 65)})), query.Malformed},
		"acknowledgement without id":      {second(c.AcknowledgeAnswer(ctx, &pb.AcknowledgeAnswerRequest{Agreement: "a"})), query.Malformed},
		"acknowledgement of no agreement": {second(c.AcknowledgeAnswer(ctx, &pb.AcknowledgeAnswerRequest{QueryId: id[:]})), query.Malformed},
		"proof without id":                {second(c.ProveReceipt(ctx, &pb.ProveReceiptRequest{Agreement: "a"})), query.Malformed},
		"sync without digest":             {sync(&pb.SyncTagSetRequest{Agreement: "a", Collection: "c"}), query.Malformed},
		"sync with a short hash":          {sync(&pb.SyncTagSetRequest{Agreement: "a", AgreementDigest: hash, Collection: "c", HeldSegments: [][]byte{hash[1:]}}), query.Malformed},
		"sync with too many hashes":       {sync(&pb.SyncTagSetRequest{Agreement: "a", AgreementDigest: hash, Collection: "c", HeldSegments: held}), query.TooLarge},
	} {
		if got := reasonOf(tt.err); got != string(tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestSlowSender sends a header and then nothing.
func TestSlowSender(t *testing.T) {
	t.Parallel()
	p := newPair(t, &fakeHolder{}, func(c *rpc.PeerConfig) { c.MessageTimeout = 100 * time.Millisecond })
	stream, err := pb.NewPeerServiceClient(p.raw(t)).Evaluate(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(headerMessage(rpc.HeaderProto(request(1)))); err != nil {
		t.Fatal(err)
	}
	if err := drain(stream); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a sender that stopped got %v, want %v", err, codes.DeadlineExceeded)
	}
}

// TestOverloaded has one place, and a share of one: the second query is refused,
// with the time to wait, and a third is answered when there is a place again.
func TestOverloaded(t *testing.T) {
	t.Parallel()
	var inside atomic.Int64
	arrived, release := make(chan struct{}), make(chan struct{})
	h := &fakeHolder{answer: func(_ context.Context, _ holder.Caller, r *query.Request) (*query.Answer, error) {
		if inside.Add(1) > 1 {
			t.Error("two queries at a time")
		}
		defer inside.Add(-1)
		if r.Facts.Items == 4 {
			close(arrived)
			<-release
		}
		return answerTo(r), nil
	}}
	p := newPair(t, h, func(c *rpc.PeerConfig) { c.MaxQueries = 1 })
	c := p.client(t)
	ctx := testContext(t)
	first := make(chan error, 1)
	go func() { first <- second(c.Evaluate(ctx, request(4))) }()
	<-arrived
	_, err := c.Evaluate(ctx, request(1))
	refusal, ok := errors.AsType[*query.Refusal](err)
	if !ok || refusal.Reason != query.Overloaded || refusal.RetryAfter <= 0 {
		t.Errorf("the second query got %v, want %v with the time to wait", err, query.Overloaded)
	}
	close(release)
	if err := <-first; err != nil {
		t.Errorf("the first query: %v", err)
	}
	if _, err := c.Evaluate(ctx, request(1)); err != nil {
		t.Errorf("a query when there is a place again: %v", err)
	}
}

// TestHeaderFlood sends more headers than the limit, and streams over the limit.
func TestHeaderFlood(t *testing.T) {
	t.Parallel()
	h := &fakeHolder{terms: func(context.Context, holder.Caller) (*query.Terms, error) {
		t.Error("a call with too many headers was answered")
		return nil, query.Refuse(query.Internal, nil)
	}}
	p := newPair(t, h)
	ctx := metadata.AppendToOutgoingContext(testContext(t), "flood", strings.Repeat("x", 64<<10))
	_, err := pb.NewPeerServiceClient(p.raw(t)).Terms(ctx, &pb.TermsRequest{Protocols: []uint32{1}, Normalisations: []uint32{1}})
	if err == nil {
		t.Error("64 KiB of headers were accepted")
	}
}

// TestUnknownMethods calls what is not registered.
func TestUnknownMethods(t *testing.T) {
	t.Parallel()
	p := newPair(t, &fakeHolder{})
	conn := p.raw(t)
	for _, method := range []string{
		"/passerelle.v1.PeerService/Nothing",
		"/passerelle.v1.NationalService/Lookup",
		"/passerelle.v1.AdminService/GetStatus",
		"/passerelle.v1.IdentityService/IssueSVID",
		"/grpc.health.v1.Health/Check",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/PeerService/Terms",
		"//passerelle.v1.PeerService/Terms",
		"/passerelle.v1.PeerService/Terms/",
	} {
		err := conn.Invoke(testContext(t), method, &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, want %v", method, err, codes.Unimplemented)
		}
	}
}

// TestPathWithoutSlash sends a path that no gRPC client sends: servers have served
// such a path and authorized another.
func TestPathWithoutSlash(t *testing.T) {
	t.Parallel()
	h := &fakeHolder{terms: func(context.Context, holder.Caller) (*query.Terms, error) {
		t.Error("a path without its slash was served")
		return nil, query.Refuse(query.Internal, nil)
	}}
	p := newPair(t, h)
	for _, path := range []string{"passerelle.v1.PeerService/Terms", "Terms", "*"} {
		if !rawCall(t, p, path) {
			t.Errorf("path %q was answered", path)
		}
	}
}

// rawCall makes one call of a path with frames of our own (RFC 9113), and reports
// whether the server refused it: headers that end the stream, and no message.
func rawCall(t *testing.T, p *pair, path string) (refused bool) {
	t.Helper()
	config := p.clientTLS(t)
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", p.endpoint, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	frame := func(kind, flags byte, stream uint32, payload []byte) []byte {
		b := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags}
		return append(binary.BigEndian.AppendUint32(b, stream), payload...)
	}
	var block []byte // HPACK: literals without indexing, RFC 7541, Section 6.2.2
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", path}, {":authority", "x"},
		{"content-type", "application/grpc"}, {"te", "trailers"}} {
		block = append(append(block, 0, byte(len(h[0]))), h[0]...)
		block = append(append(block, byte(len(h[1]))), h[1]...)
	}
	const data, headers, settings, endStream, endHeaders = 0, 1, 4, 1, 4
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = append(out, frame(settings, 0, 0, nil)...)
	out = append(out, frame(headers, endHeaders, 1, block)...)
	out = append(out, frame(data, endStream, 1, make([]byte, 5))...) // an empty message
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatal(err)
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if _, err := io.CopyN(io.Discard, conn, int64(n)); err != nil {
			t.Fatal(err)
		}
		switch head[3] {
		case data:
			return false
		case headers:
			return head[4]&endStream != 0
		}
	}
}

// A rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// TestPanic has a holder that panics with a name in the value: the caller learns
// nothing, our log nothing of the value, and it is counted.
func TestPanic(t *testing.T) {
	t.Parallel()
	var counted atomic.Int64
	h := &fakeHolder{terms: func(context.Context, holder.Caller) (*query.Terms, error) { panic("canary JANE DOE") }}
	p := newPair(t, h, func(c *rpc.PeerConfig) { c.Panics = func(string) { counted.Add(1) } })
	_, err := p.client(t).Terms(testContext(t))
	if query.ReasonOf(err) != query.Internal || strings.Contains(err.Error(), "canary") {
		t.Errorf("Terms = %v, want %v", err, query.Internal)
	}
	// A stream, too.
	if got := reasonOf(send(t, p.raw(t), messages(request(1))...)); got != string(query.Internal) {
		t.Errorf("Evaluate: %s, want %s", got, query.Internal)
	}
	if counted.Load() != 2 {
		t.Errorf("%d panics were counted, want 2", counted.Load())
	}
	if log := p.log.String(); strings.Contains(log, "canary") || !strings.Contains(log, "panic") {
		t.Errorf("the log has the value of the panic, or not the panic:\n%s", log)
	}
}

// TestRequestID checks that caller and log have the same id.
func TestRequestID(t *testing.T) {
	t.Parallel()
	h := &fakeHolder{terms: func(context.Context, holder.Caller) (*query.Terms, error) {
		return nil, query.Refuse(query.AuditUnavailable, errors.New("the detail"))
	}}
	p := newPair(t, h)
	var trailer metadata.MD
	_, err := pb.NewPeerServiceClient(p.raw(t)).Terms(testContext(t), &pb.TermsRequest{Protocols: []uint32{1}, Normalisations: []uint32{1}},
		grpc.Trailer(&trailer))
	id := trailer.Get(rpc.RequestIDKey)
	if len(id) != 1 || len(id[0]) != 16 || strings.Contains(err.Error(), "detail") {
		t.Fatalf("request id %q, error %v", id, err)
	}
	log := p.log.String()
	for _, want := range []string{"request_id=" + id[0], "peer=a.example", "reason=AUDIT_UNAVAILABLE", "the detail"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("%q is not once in the log:\n%s", want, log)
		}
	}
}

// TestPeerServerRequires holds what has no safe default.
func TestPeerServerRequires(t *testing.T) {
	t.Parallel()
	if s, err := rpc.NewPeerServer(rpc.PeerConfig{Holder: &fakeHolder{}, Federation: new(peer.Federation), TLS: &tls.Config{}}); err == nil || s != nil {
		t.Error("a server whose TLS verifies nothing")
	}
	if c, err := rpc.Dial("127.0.0.1:1", &tls.Config{}); err == nil || c != nil {
		t.Error("a client whose TLS verifies nothing")
	}
}

// TestRetry breaks the connection under a query. The client sends the same request
// once more, and waits while the first call is still being answered.
func TestRetry(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var digests [][32]byte
	computing := 0
	cut := make(chan struct{}, 1)
	h := &fakeHolder{answer: func(ctx context.Context, _ holder.Caller, r *query.Request) (*query.Answer, error) {
		mu.Lock()
		digests = append(digests, r.Digest())
		n := len(digests)
		mu.Unlock()
		switch {
		case n == 1:
			cut <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		case n < 4:
			computing++
			refusal := query.Refuse(query.InProgress, nil)
			refusal.RetryAfter = time.Millisecond
			return nil, refusal
		}
		return answerTo(r), nil
	}}
	p := newPair(t, h)
	proxy := newProxy(t, p.endpoint)
	c, err := rpc.Dial(proxy.addr, p.clientTLS(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		<-cut
		proxy.cut()
	}()
	r := request(5)
	answer, err := c.Evaluate(testContext(t), r)
	if err != nil || !reflect.DeepEqual(answer, answerTo(r)) {
		t.Fatalf("Evaluate over a connection that broke: %v", err)
	}
	if computing != 2 {
		t.Errorf("the client waited %d times, want 2", computing)
	}
	for _, d := range digests {
		if d != r.Digest() {
			t.Error("a retry sent another request")
		}
	}
}

// TestNoRetry checks that what was refused, and what could not be sent, is not sent
// again.
func TestNoRetry(t *testing.T) {
	t.Parallel()
	for _, reason := range []query.Reason{query.PolicyDenied, query.QueryFailed, query.Unreachable, query.InProgress} {
		var calls atomic.Int64
		h := &fakeHolder{answer: func(context.Context, holder.Caller, *query.Request) (*query.Answer, error) {
			calls.Add(1)
			return nil, query.Refuse(reason, nil)
		}}
		_, err := newPair(t, h).client(t).Evaluate(testContext(t), request(1))
		want := int64(1)
		if reason == query.Unreachable {
			want = 2 // the code of such a status is that of a broken connection
		}
		if query.ReasonOf(err) != reason || calls.Load() != want {
			t.Errorf("%v: got %v after %d calls, want %d", reason, err, calls.Load(), want)
		}
	}
	p := newPair(t, echo())
	c, err := rpc.Dial("127.0.0.1:1", p.clientTLS(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Evaluate(testContext(t), request(1)); query.ReasonOf(err) != query.Unreachable {
		t.Errorf("nobody there: %v, want %v", err, query.Unreachable)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Terms(testContext(t)); query.ReasonOf(err) != query.Unreachable {
		t.Errorf("a closed client: %v, want %v", err, query.Unreachable)
	}
	if c.Endpoint() != "127.0.0.1:1" {
		t.Errorf("Endpoint = %q", c.Endpoint())
	}
}

// A proxy forwards TCP, until it is cut.
type proxy struct {
	addr string
	mu   sync.Mutex
	open []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String()}
	t.Cleanup(func() {
		l.Close()
		p.cut()
	})
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, a, b)
			p.mu.Unlock()
			go func() { io.Copy(a, b); a.Close() }()
			go func() { io.Copy(b, a); b.Close() }()
		}
	}()
	return p
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

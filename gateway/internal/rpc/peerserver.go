package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	// maxPeerMessage bounds a message of a neighbour, in bytes: the largest is a
	// request to synchronise with all held segments.
	maxPeerMessage = 256 << 10

	// defaultQueries is how many queries are read, computed and sent at a time.
	defaultQueries = 64

	// maxSyncs bounds the tag sets that are sent at a time, and maxCalls the
	// small calls.
	maxSyncs = 16
	maxCalls = 128

	// requestTimeout is how long a request may take to arrive.
	requestTimeout = time.Minute
)

// A Holder answers neighbours. It is implemented by [holder.Holder].
type Holder interface {
	Terms(ctx context.Context, caller holder.Caller) (*query.Terms, error)

	// SyncTagSet calls header once and then segment in order, and ends with the
	// first error of either.
	SyncTagSet(ctx context.Context, caller holder.Caller, req query.SyncRequest, header func(*query.SyncHeader) error,
		segment func(query.Segment) error) error

	Answer(ctx context.Context, caller holder.Caller, req *query.Request) (*query.Answer, error)
	Acknowledge(ctx context.Context, caller holder.Caller, agreementID string, id query.ID) error

	// Prove returns nil if no checkpoint covers the decision yet.
	Prove(ctx context.Context, caller holder.Caller, agreementID string, id query.ID) (*query.LogProof, error)
	Checkpoint(ctx context.Context, caller holder.Caller, size uint64) (*query.CheckpointProof, error)
}

// A Federation says which neighbours there are. It is implemented by
// peer.Federation.
type Federation interface {
	// Authorize returns nil if id is a gateway of a federation that holds now.
	Authorize(id string) error

	// Done returns a channel that is closed when the federation with a trust
	// domain ends; for a stranger it is closed already.
	Done(trustDomain string) <-chan struct{}
}

// PeerConfig is what the server for neighbours is made of.
type PeerConfig struct {
	Holder     Holder      // required
	Federation Federation  // required
	TLS        *tls.Config // required: peer.ServerTLS

	// MaxQueries bounds the queries that are read, computed and sent at a time;
	// one neighbour may have three quarters of them. Zero means 64.
	MaxQueries int

	// MessageTimeout bounds the time between two messages of a stream. Zero means
	// one minute.
	MessageTimeout time.Duration

	Options []grpc.ServerOption // such as a stats handler
	Logger  *slog.Logger        // nil discards
	Panics  func(method string) // counts panics; may be nil
}

// NewPeerServer returns the server for neighbours, with PeerService and nothing
// else: neither health nor reflection. The caller serves and stops it.
func NewPeerServer(c PeerConfig) (*grpc.Server, error) {
	if c.Holder == nil || c.Federation == nil || c.TLS == nil || c.TLS.VerifyConnection == nil {
		return nil, errors.New("rpc: the server for neighbours needs a holder, a federation, and TLS that verifies")
	}
	if c.MaxQueries <= 0 {
		c.MaxQueries = defaultQueries
	}
	g := newGuard(c.Logger, c.Panics, c.MessageTimeout, callTimeout)
	g.admit = func(ctx context.Context, _ string) (context.Context, <-chan struct{}, []any, error) {
		id, err := peerOf(ctx)
		if err != nil {
			return ctx, nil, nil, query.Refuse(query.UnknownPeer, err)
		}
		attrs := []any{"peer", id.TrustDomain}
		// The channel first: a federation that ends between the two lines ends the
		// call.
		done := c.Federation.Done(id.TrustDomain)
		if err := c.Federation.Authorize(id.String()); err != nil {
			return ctx, nil, attrs, query.Refuse(query.UnknownPeer, err)
		}
		caller := holder.Caller{TrustDomain: id.TrustDomain, Gateway: id.String()}
		return context.WithValue(ctx, neighbourKey{}, caller), done, attrs, nil
	}
	gates := map[string]*gate{
		pb.PeerService_Evaluate_FullMethodName:   newGate(c.MaxQueries, gateWait),
		pb.PeerService_SyncTagSet_FullMethodName: newGate(maxSyncs, gateWait),
	}
	others := newGate(maxCalls, gateWait)
	g.enter = func(ctx context.Context, method string) (func(), error) {
		in, ok := gates[method]
		if !ok {
			in = others
		}
		return in.enter(ctx, neighbour(ctx).TrustDomain)
	}
	creds := &federated{credentials.NewTLS(c.TLS), c.Federation, &connectionCounts{per: make(map[string]int)}}
	s := grpc.NewServer(g.options(creds, maxPeerMessage, c.Options)...)
	g.register(s, Service{&pb.PeerService_ServiceDesc, &peerServer{holder: c.Holder}})
	return s, nil
}

// neighbourKey is the key of the calling gateway in a context.
type neighbourKey struct{}

// neighbour returns the calling gateway. The guard has put it there.
func neighbour(ctx context.Context) holder.Caller {
	c, ok := ctx.Value(neighbourKey{}).(holder.Caller)
	if !ok {
		panic("rpc: internal error: a call without caller")
	}
	return c
}

// A peerServer implements PeerService.
type peerServer struct {
	pb.UnimplementedPeerServiceServer
	holder Holder
}

// Terms implements PeerService.
func (s *peerServer) Terms(ctx context.Context, req *pb.TermsRequest) (*pb.TermsResponse, error) {
	var r reader
	r.versions("protocols", req.GetProtocols())
	r.versions("normalisations", req.GetNormalisations())
	r.code("software", req.GetSoftware(), maxSoftware, true)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	t, err := s.holder.Terms(ctx, neighbour(ctx))
	if err != nil {
		return nil, err
	}
	return termsProto(t), nil
}

// SyncTagSet implements PeerService.
func (s *peerServer) SyncTagSet(p *pb.SyncTagSetRequest, stream grpc.ServerStreamingServer[pb.SyncTagSetResponse]) error {
	req, err := syncRequestOf(p)
	if err != nil {
		return err
	}
	ctx := stream.Context()
	return s.holder.SyncTagSet(ctx, neighbour(ctx), req,
		func(h *query.SyncHeader) error {
			for _, m := range syncMessages(h) {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
			return nil
		},
		func(part query.Segment) error {
			return stream.Send(&pb.SyncTagSetResponse{Message: &pb.SyncTagSetResponse_Chunk{Chunk: segmentProto(&part)}})
		})
}

// Evaluate implements PeerService. The whole request is read, and is a request,
// before the holder sees any of it; and the whole answer is there before any of it
// is sent.
func (s *peerServer) Evaluate(stream grpc.BidiStreamingServer[pb.EvaluateRequest, pb.EvaluateResponse]) error {
	ctx := stream.Context()
	req, err := readRequest(ctx, stream.Recv)
	if err != nil {
		return err
	}
	answer, err := s.holder.Answer(ctx, neighbour(ctx), req)
	if err != nil {
		return err
	}
	for i := range answer.Batches {
		batch := &pb.EvaluateResponse_Batch{Batch: answerBatchProto(&answer.Batches[i])}
		if err := stream.Send(&pb.EvaluateResponse{Message: batch}); err != nil {
			return err
		}
	}
	receipt := &pb.EvaluateResponse_Receipt{Receipt: &pb.EvaluateReceipt{Receipt: answer.Receipt}}
	return stream.Send(&pb.EvaluateResponse{Message: receipt})
}

// readRequest reads one request to its end, which must come soon: a request holds
// a place while it arrives.
func readRequest(ctx context.Context, recv func() (*pb.EvaluateRequest, error)) (*query.Request, error) {
	end := ender(ctx)
	timer := time.AfterFunc(requestTimeout, func() { end(context.DeadlineExceeded) })
	defer timer.Stop()
	first, err := recv()
	if err != nil {
		return nil, unfinished(err)
	}
	if !known(first) {
		return nil, query.Refuse(query.Malformed, form("message"))
	}
	r, err := newRequestReader(first.GetHeader())
	if err != nil {
		return nil, err
	}
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			return r.finish()
		}
		if err != nil {
			return nil, err
		}
		if !known(m) {
			return nil, query.Refuse(query.Malformed, form("message"))
		}
		if err := r.add(m.GetBatch()); err != nil {
			return nil, err
		}
	}
}

// unfinished returns the refusal for a stream that ended too early.
func unfinished(err error) error {
	if errors.Is(err, io.EOF) {
		return query.Refuse(query.Malformed, form("the stream ended early"))
	}
	return err
}

// AcknowledgeAnswer implements PeerService.
func (s *peerServer) AcknowledgeAnswer(ctx context.Context, p *pb.AcknowledgeAnswerRequest) (
	*pb.AcknowledgeAnswerResponse, error) {
	var r reader
	id, agreement := r.id("query_id", p.GetQueryId()), r.code("agreement", p.GetAgreement(), maxCode, false)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	if err := s.holder.Acknowledge(ctx, neighbour(ctx), agreement, id); err != nil {
		return nil, err
	}
	return &pb.AcknowledgeAnswerResponse{}, nil
}

// ProveReceipt implements PeerService.
func (s *peerServer) ProveReceipt(ctx context.Context, p *pb.ProveReceiptRequest) (*pb.ProveReceiptResponse, error) {
	var r reader
	id, agreement := r.id("query_id", p.GetQueryId()), r.code("agreement", p.GetAgreement(), maxCode, false)
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	proof, err := s.holder.Prove(ctx, neighbour(ctx), agreement, id)
	if err != nil {
		return nil, err
	}
	if proof == nil {
		return &pb.ProveReceiptResponse{}, nil
	}
	return &pb.ProveReceiptResponse{Published: true, Proof: logProofProto(proof)}, nil
}

// Checkpoint implements PeerService.
func (s *peerServer) Checkpoint(ctx context.Context, p *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	c, err := s.holder.Checkpoint(ctx, neighbour(ctx), p.GetFromLogSize())
	if err != nil {
		return nil, err
	}
	return &pb.CheckpointResponse{Checkpoint: checkpointProto(c)}, nil
}

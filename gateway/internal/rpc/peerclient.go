package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	// What we read of a neighbour in one message, in bytes.
	maxSyncMessage   = 4<<20 + 64<<10 // manifests
	maxAnswerMessage = 1 << 20

	smallTimeout    = 30 * time.Second // of a call that is not a stream
	evaluateTimeout = 2 * time.Minute  // of a query with its retry
	reconnect       = 5 * time.Second  // how long a retry waits for a connection

	maxRetryWait = 5 * time.Second
)

// A PeerClient is another country's gateway as an asker calls it. It carries
// messages and bounds them; it verifies nothing, because the asker does. It
// implements asker.Neighbour.
//
// The connection is made at the first call and made again when it breaks. Whoever
// ends the federation must Close the client.
type PeerClient struct {
	endpoint string
	conn     *grpc.ClientConn
	peer     pb.PeerServiceClient
	timeout  time.Duration // between two messages of a stream
}

var _ asker.Neighbour = (*PeerClient)(nil)

// Dial returns the client of the gateway at endpoint, as host:port. The TLS
// configuration says who that is: it is that of peer.ClientTLS. Dial does not
// connect.
func Dial(endpoint string, config *tls.Config, options ...grpc.DialOption) (*PeerClient, error) {
	if config == nil || config.VerifyConnection == nil {
		return nil, errors.New("rpc: a neighbour needs TLS that verifies")
	}
	conn, err := grpc.NewClient("passthrough:///"+endpoint, append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerMessage)),
		grpc.WithMaxHeaderListSize(maxHeaderList),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // what may be retried is decided here
		grpc.WithNoProxy(),      // the route to a neighbour is not a matter of the environment
		grpc.WithUserAgent("passerelle"),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 250 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 10 * time.Second},
			MinConnectTimeout: connectionTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 15 * time.Second}),
	}, options...)...)
	if err != nil {
		return nil, errors.New("rpc: invalid endpoint of a neighbour")
	}
	return &PeerClient{endpoint: endpoint, conn: conn, peer: pb.NewPeerServiceClient(conn), timeout: messageTimeout}, nil
}

// Endpoint returns the endpoint that was given to [Dial].
func (c *PeerClient) Endpoint() string { return c.endpoint }

// Close closes the connection. Calls that are open fail.
func (c *PeerClient) Close() error { return c.conn.Close() }

// invalid returns the refusal of an answer that is not of the documented form.
func invalid(err error) error { return query.Refuse(query.PeerInvalid, err) }

// Terms implements asker.Neighbour.
func (c *PeerClient) Terms(ctx context.Context) (*query.Terms, error) {
	ctx, cancel := context.WithTimeout(ctx, smallTimeout)
	defer cancel()
	p, err := c.peer.Terms(ctx, &pb.TermsRequest{Protocols: []uint32{uint32(query.Protocol)},
		Normalisations: []uint32{uint32(record.Version)}})
	if err != nil {
		return nil, RefusalOf(err)
	}
	t, err := termsOf(p)
	if err != nil {
		return nil, invalid(err)
	}
	return t, nil
}

// Evaluate implements asker.Neighbour. If the connection breaks after the request
// may have arrived, it is sent once more, with the same id and the same bytes: the
// holder has then answered it already or does now, and charges and logs it once.
// Nothing is sent again that was refused.
func (c *PeerClient) Evaluate(ctx context.Context, r *query.Request) (*query.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, evaluateTimeout)
	defer cancel()
	answer, sent, err := c.evaluate(ctx, r)
	if err == nil || !sent || query.ReasonOf(err) != query.Unreachable || ctx.Err() != nil {
		return answer, err
	}
	again, cancelAgain := context.WithCancel(ctx)
	defer cancelAgain()
	timer := time.AfterFunc(reconnect, cancelAgain)
	c.conn.Connect()
	for state := c.conn.GetState(); state != connectivity.Ready; state = c.conn.GetState() {
		if !c.conn.WaitForStateChange(again, state) {
			return nil, err
		}
		c.conn.Connect()
	}
	timer.Stop()
	for {
		answer, _, err = c.evaluate(ctx, r)
		refusal, ok := errors.AsType[*query.Refusal](err)
		if !ok || refusal.Reason != query.InProgress {
			return answer, err
		}
		// The first call arrived and is being computed: wait for its answer.
		select {
		case <-time.After(min(max(refusal.RetryAfter, 100*time.Millisecond), maxRetryWait)):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// evaluate makes one attempt. It reports whether a part of the request may have
// been sent.
func (c *PeerClient) evaluate(ctx context.Context, r *query.Request) (answer *query.Answer, sent bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.peer.Evaluate(ctx)
	if err != nil {
		return nil, false, RefusalOf(err)
	}
	// A Send that fails with EOF says that the other side has answered already.
	err = stream.Send(&pb.EvaluateRequest{Message: &pb.EvaluateRequest_Header{Header: headerProto(r)}})
	for i := 0; err == nil && i < len(r.Batches); i++ {
		err = stream.Send(&pb.EvaluateRequest{Message: &pb.EvaluateRequest_Batch{Batch: batchProto(&r.Batches[i])}})
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, true, RefusalOf(err)
	}
	answer, err = readAnswer(r, stream.Recv)
	if err != nil {
		return nil, true, err
	}
	return answer, true, nil
}

// readAnswer reads the answer to r: one batch for each of r, and the receipt.
func readAnswer(r *query.Request, recv func() (*pb.EvaluateResponse, error)) (*query.Answer, error) {
	next := func() (*pb.EvaluateResponse, error) {
		m, err := recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, invalid(form("the answer ended early"))
		case err != nil:
			return nil, RefusalOf(err)
		case !known(m):
			return nil, invalid(form("message"))
		}
		return m, nil
	}
	answer := &query.Answer{ID: r.ID, Batches: make([]query.AnswerBatch, 0, len(r.Batches))}
	for i := range r.Batches {
		m, err := next()
		if err != nil {
			return nil, err
		}
		b, err := answerBatch(m.GetBatch(), &r.Batches[i])
		if err != nil {
			return nil, invalid(err)
		}
		answer.Batches = append(answer.Batches, b)
	}
	m, err := next()
	if err != nil {
		return nil, err
	}
	receipt := m.GetReceipt().GetReceipt()
	if len(receipt) == 0 || len(receipt) > query.MaxReceiptSize {
		return nil, invalid(form("receipt"))
	}
	answer.Receipt = receipt
	switch _, err := recv(); {
	case err == nil:
		return nil, invalid(form("something follows the receipt"))
	case !errors.Is(err, io.EOF):
		return nil, RefusalOf(err)
	}
	return answer, nil
}

// Acknowledge implements asker.Neighbour.
func (c *PeerClient) Acknowledge(ctx context.Context, agreementID string, id query.ID) error {
	ctx, cancel := context.WithTimeout(ctx, smallTimeout)
	defer cancel()
	if _, err := c.peer.AcknowledgeAnswer(ctx, &pb.AcknowledgeAnswerRequest{QueryId: id[:], Agreement: agreementID}); err != nil {
		return RefusalOf(err)
	}
	return nil
}

// Prove asks for the proof that the holder's log has its decision about one of our
// queries. It returns nil if no checkpoint covers it yet.
func (c *PeerClient) Prove(ctx context.Context, agreementID string, id query.ID) (*query.LogProof, error) {
	ctx, cancel := context.WithTimeout(ctx, smallTimeout)
	defer cancel()
	p, err := c.peer.ProveReceipt(ctx, &pb.ProveReceiptRequest{QueryId: id[:], Agreement: agreementID})
	if err != nil {
		return nil, RefusalOf(err)
	}
	if !p.GetPublished() {
		return nil, nil
	}
	var r reader
	proof := r.logProof(p.GetProof())
	if r.err != nil {
		return nil, invalid(r.err)
	}
	return &proof, nil
}

// Checkpoint asks for the latest checkpoint of the holder's shared log, and the
// proof that it extends the one of the given size.
func (c *PeerClient) Checkpoint(ctx context.Context, size uint64) (*query.CheckpointProof, error) {
	ctx, cancel := context.WithTimeout(ctx, smallTimeout)
	defer cancel()
	p, err := c.peer.Checkpoint(ctx, &pb.CheckpointRequest{FromLogSize: size})
	if err != nil {
		return nil, RefusalOf(err)
	}
	var r reader
	proof := r.checkpoint(p.GetCheckpoint())
	if r.err != nil {
		return nil, invalid(r.err)
	}
	return &proof, nil
}

// SyncTagSet implements asker.Neighbour. The time of the whole is not bounded,
// that between two messages is.
func (c *PeerClient) SyncTagSet(ctx context.Context, req query.SyncRequest, header func(*query.SyncHeader) error,
	segment func(query.Segment) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(c.timeout, cancel)
	defer timer.Stop()
	stream, err := c.peer.SyncTagSet(ctx, syncRequestProto(&req), grpc.MaxCallRecvMsgSize(maxSyncMessage))
	if err != nil {
		return RefusalOf(err)
	}
	recv := func() (*pb.SyncTagSetResponse, error) {
		timer.Reset(c.timeout)
		defer timer.Stop() // our own work has no timeout
		return stream.Recv()
	}
	return readSync(recv, header, segment)
}

// readSync reads a stream of SyncTagSet to its end.
func readSync(recv func() (*pb.SyncTagSetResponse, error), header func(*query.SyncHeader) error,
	segment func(query.Segment) error) error {
	var chains *chainReader
	given := false // the header was given on
	give := func() error {
		if given {
			return nil
		}
		given = true
		return header(chains.header)
	}
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			if chains == nil {
				return invalid(form("the stream ended early"))
			}
			return give()
		}
		if err != nil {
			return RefusalOf(err)
		}
		switch m := m.GetMessage().(type) {
		case *pb.SyncTagSetResponse_Header:
			if chains != nil {
				return invalid(form("two headers"))
			}
			if chains, err = newChainReader(m.Header); err != nil {
				return invalid(err)
			}
		case *pb.SyncTagSetResponse_Manifests:
			if chains == nil || given {
				return invalid(form("manifests out of order"))
			}
			if err := chains.add(m.Manifests); err != nil {
				return invalid(err)
			}
		case *pb.SyncTagSetResponse_Chunk:
			if chains == nil {
				return invalid(form("a segment before the header"))
			}
			if err := give(); err != nil {
				return err
			}
			part, err := segmentOf(m.Chunk)
			if err != nil {
				return invalid(err)
			}
			if err := segment(part); err != nil {
				return err
			}
		default:
			return invalid(form("message"))
		}
	}
}

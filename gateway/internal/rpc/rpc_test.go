package rpc_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
)

// A country is one gateway with its own authority.
type country struct {
	td, id     string
	authority  *peer.Authority
	source     peer.Source
	federation *peer.Federation
}

func newCountry(t testing.TB, td string) *country {
	t.Helper()
	a, err := peer.CreateAuthority(t.TempDir(), td, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.Source("main")
	if err != nil {
		t.Fatal(err)
	}
	f, err := peer.NewFederation(td, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.GatewayID(td, "main")
	if err != nil {
		t.Fatal(err)
	}
	return &country{td, id, a, s, f}
}

// federate makes c accept other.
func (c *country) federate(t testing.TB, other *country) {
	t.Helper()
	authorities, err := peer.Authorities(other.source, other.td)
	if err != nil {
		t.Fatal(err)
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signing, err := peer.VerifierKey(other.td+"/statement", pub)
	if err != nil {
		t.Fatal(err)
	}
	logPub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log, err := peer.VerifierKey(other.td+"/shared", logPub)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	i := &peer.Invite{Version: peer.InviteVersion, TrustDomain: other.td, GatewayID: other.id, Endpoint: "gateway." + other.td + ":8443",
		Country: "UTO", Agency: "Border Agency of Utopia", AgencyCode: "uto-bp", Profile: peer.ProfileInvite, SigningKey: signing, LogKey: log,
		Created: now, NotAfter: now.Add(24 * time.Hour), BundleAuthorities: authorities}
	if err := i.Sign(key); err != nil {
		t.Fatal(err)
	}
	if _, err := c.federation.Accept(i, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// A fakeHolder answers with what a test says. A method without a function panics.
type fakeHolder struct {
	terms       func(context.Context, holder.Caller) (*query.Terms, error)
	sync        func(context.Context, holder.Caller, query.SyncRequest, func(*query.SyncHeader) error, func(query.Segment) error) error
	answer      func(context.Context, holder.Caller, *query.Request) (*query.Answer, error)
	acknowledge func(context.Context, holder.Caller, string, query.ID) error
	prove       func(context.Context, holder.Caller, string, query.ID) (*query.LogProof, error)
	checkpoint  func(context.Context, holder.Caller, uint64) (*query.CheckpointProof, error)
}

func (f *fakeHolder) Terms(ctx context.Context, c holder.Caller) (*query.Terms, error) {
	return f.terms(ctx, c)
}

func (f *fakeHolder) SyncTagSet(ctx context.Context, c holder.Caller, r query.SyncRequest, header func(*query.SyncHeader) error,
	segment func(query.Segment) error) error {
	return f.sync(ctx, c, r, header, segment)
}

func (f *fakeHolder) Answer(ctx context.Context, c holder.Caller, r *query.Request) (*query.Answer, error) {
	return f.answer(ctx, c, r)
}

func (f *fakeHolder) Acknowledge(ctx context.Context, c holder.Caller, agreement string, id query.ID) error {
	return f.acknowledge(ctx, c, agreement, id)
}

func (f *fakeHolder) Prove(ctx context.Context, c holder.Caller, agreement string, id query.ID) (*query.LogProof, error) {
	return f.prove(ctx, c, agreement, id)
}

func (f *fakeHolder) Checkpoint(ctx context.Context, c holder.Caller, size uint64) (*query.CheckpointProof, error) {
	return f.checkpoint(ctx, c, size)
}

// A buffer is a log that may be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve serves s on loopback until the end of the test.
func serve(t testing.TB, s *grpc.Server) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	return l.Addr().String()
}

// A pair is two federated countries, and the second one's server.
type pair struct {
	asker, holder *country
	endpoint      string
	log           *buffer
}

// newPair starts the server of a holder. change may change its configuration.
func newPair(t testing.TB, h rpc.Holder, change ...func(*rpc.PeerConfig)) *pair {
	t.Helper()
	p := &pair{asker: newCountry(t, "a.example"), holder: newCountry(t, "b.example"), log: new(buffer)}
	p.asker.federate(t, p.holder)
	p.holder.federate(t, p.asker)
	c := rpc.PeerConfig{Holder: h, Federation: p.holder.federation,
		TLS:    peer.ServerTLS(p.holder.source, p.holder.federation, p.holder.federation.Authorize, time.Now),
		Logger: slog.New(slog.NewTextHandler(p.log, nil))}
	for _, f := range change {
		f(&c)
	}
	s, err := rpc.NewPeerServer(c)
	if err != nil {
		t.Fatal(err)
	}
	p.endpoint = serve(t, s)
	return p
}

func (p *pair) clientTLS(t testing.TB) *tls.Config {
	t.Helper()
	config, err := peer.ClientTLS(p.asker.source, p.asker.federation, p.holder.td, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// client returns the client of the asker.
func (p *pair) client(t testing.TB) *rpc.PeerClient {
	t.Helper()
	c, err := rpc.Dial(p.endpoint, p.clientTLS(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// raw returns a connection of the asker without our client, for what our client
// does not send.
func (p *pair) raw(t testing.TB) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+p.endpoint, grpc.WithTransportCredentials(credentials.NewTLS(p.clientTLS(t))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// reasonOf returns the reason of a status, or its code if it has none.
func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return status.Code(err).String()
}

// drain receives until the end of a stream, and returns why it ended.
func drain[M any](stream interface{ Recv() (M, error) }) error {
	for {
		if _, err := stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// request returns a valid request about n items in two classes.
func request(n int) *query.Request {
	items := query.PadItems(n)
	r := &query.Request{
		ID: query.NewID(time.Now()), Protocol: query.Protocol, Normalisation: 1,
		Facts: query.Facts{Agreement: "UTO-ZUB-1", AgreementDigest: [32]byte{1}, Collection: "watchlist", Purpose: "border-check",
			LegalBasis: "Act 12", OffenceClass: "terrorism", Urgency: "ordinary", Category: "watchlist", Kind: query.Set,
			Items: uint32(items), Unit: [16]byte{2}, CaseReference: true},
		ListVersion: 7, AskerLeaf: [32]byte{3}, Sealed: [32]byte{4},
		Statement: query.Statement{Rules: []string{"RU-01", "RU-02"}, Bundle: [32]byte{5}, Signature: [64]byte{6}},
	}
	if items == 1 {
		r.Facts.Kind = query.Single
	}
	for _, class := range []string{"doc", "name+dob"} {
		for first := 0; first < items; first += query.MaxChunk {
			b := query.Batch{Class: class, Epoch: 1, Chunk: uint32(first / query.MaxChunk)}
			for i := range min(items-first, query.MaxChunk) {
				b.Elements = append(b.Elements, [32]byte{byte(i), byte(i >> 8), 9})
			}
			r.Batches = append(r.Batches, b)
		}
	}
	return r
}

// answerTo returns an answer of the right shape.
func answerTo(r *query.Request) *query.Answer {
	a := &query.Answer{ID: r.ID, Receipt: []byte("receipt")}
	for i := range r.Batches {
		b := query.AnswerBatch{Class: r.Batches[i].Class, Chunk: r.Batches[i].Chunk, Proof: [64]byte{byte(i)}}
		for j := range r.Batches[i].Elements {
			e := r.Batches[i].Elements[j]
			e[31] = 1
			b.Evaluated = append(b.Evaluated, e)
		}
		a.Batches = append(a.Batches, b)
	}
	return a
}

// echo is a holder that answers every query.
func echo() *fakeHolder {
	return &fakeHolder{answer: func(_ context.Context, _ holder.Caller, r *query.Request) (*query.Answer, error) {
		return answerTo(r), nil
	}}
}

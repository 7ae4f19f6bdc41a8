// Package views_test watches everything that each side of a query gets to see, and
// holds it against the sentences of what each side learns: whole gateways, with
// real mutual TLS on loopback, whose messages are read inside of TLS, whose
// connections are counted outside of it, and whose every file is searched.
//
//	officer --socket--> asker --(tap)--mTLS--(line)--mTLS--(tap)--> holder
//
// A tap is a stats.Handler that writes down each message, header and trailer. A
// line is a TCP proxy that writes down the sizes of TLS records. Each search is
// also shown to find what was put there on purpose.
package views_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// An event is something that gRPC sent or received.
type event struct {
	rpc      int    // number of the call at this tap
	method   string // full name
	client   bool   // at the client's end
	incoming bool
	kind     string // "header", "payload", "trailer", "end"
	size     int    // of a payload: bytes of the message as encoded
	data     []byte
	metadata metadata.MD   // of a header or trailer
	message  proto.Message // a payload; must not be modified
}

func (e *event) peerService() bool { return strings.HasPrefix(e.method, "/passerelle.v1.PeerService/") }

// String tells an event without its content.
func (e *event) String() string {
	side, way := "server", "out"
	if e.client {
		side = "client"
	}
	if e.incoming {
		way = "in"
	}
	return fmt.Sprintf("%s %s %s %s %d", e.method[strings.LastIndexByte(e.method, '/')+1:], side, way, e.kind, e.size)
}

// A tap writes down what gRPC sends and receives in one gateway.
type tap struct {
	mu     sync.Mutex
	calls  int
	events []event

	// at is called for each event, in the goroutine of the call. It may be nil.
	at atomic.Pointer[func(*event)]
}

type callKey struct{}

type callTag struct {
	n      int
	method string
}

func (p *tap) TagRPC(ctx context.Context, i *stats.RPCTagInfo) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	return context.WithValue(ctx, callKey{}, callTag{p.calls, i.FullMethodName})
}

func (p *tap) HandleRPC(ctx context.Context, s stats.RPCStats) {
	tag, _ := ctx.Value(callKey{}).(callTag)
	e := event{rpc: tag.n, method: tag.method, client: s.IsClient()}
	// A map of another type than metadata.MD prints what it holds.
	set := func(kind string, md metadata.MD, values ...any) {
		e.kind, e.metadata = kind, md.Copy()
		e.data = fmt.Append(nil, append(values, "\n", map[string][]string(md))...)
	}
	switch s := s.(type) {
	case *stats.InHeader:
		e.incoming = true
		set("header", s.Header, s.FullMethod, "\n", s.Compression)
	case *stats.OutHeader:
		set("header", s.Header, s.FullMethod, "\n", s.Compression)
	case *stats.InPayload:
		e.incoming, e.kind, e.size = true, "payload", s.Length
		e.message, e.data = encoded(s.Payload)
	case *stats.OutPayload:
		e.kind, e.size = "payload", s.Length
		e.message, e.data = encoded(s.Payload)
	case *stats.InTrailer:
		e.incoming = true
		set("trailer", s.Trailer)
	case *stats.OutTrailer:
		set("trailer", s.Trailer)
	case *stats.End:
		set("end", s.Trailer, s.Error)
		if st, ok := status.FromError(s.Error); ok && s.Error != nil {
			e.data = fmt.Appendln(e.data, st.Proto())
		}
	default:
		return
	}
	p.mu.Lock()
	p.events = append(p.events, e)
	p.mu.Unlock()
	if at := p.at.Load(); at != nil {
		(*at)(&e)
	}
}

func (p *tap) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (p *tap) HandleConn(context.Context, stats.ConnStats)                       {}

// encoded returns a copy of a message and its bytes, with fields that are not
// known.
func encoded(m any) (proto.Message, []byte) {
	p, ok := m.(proto.Message)
	if !ok {
		panic(fmt.Sprintf("views: internal error: a message of type %T", m))
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		panic("views: internal error: a message that does not encode")
	}
	return proto.Clone(p), b
}

// mark returns where the tap stands, for since.
func (p *tap) mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.events)
}

// since returns the events after a mark that keep selects.
func (p *tap) since(mark int, keep func(*event) bool) []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []event
	for _, e := range p.events[mark:] {
		if keep == nil || keep(&e) {
			out = append(out, e)
		}
	}
	return out
}

// await waits until calls of a method of PeerService have ended after a mark.
func (p *tap) await(t testing.TB, mark, calls int, method string) {
	t.Helper()
	for range 3000 {
		if len(p.since(mark, func(e *event) bool { return e.kind == "end" && strings.HasSuffix(e.method, "/"+method) })) >= calls {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %d calls of %s ended", calls, method)
}

// A line is a TCP proxy before the listener of a gateway. It writes down the TLS
// records that pass.
type line struct {
	listener net.Listener
	target   atomic.Pointer[string]

	mu      sync.Mutex
	records []tlsRecord
	conns   []net.Conn
}

type tlsRecord struct {
	down bool // from the holder to the asker
	kind byte // 23 is application data
	size int
}

func newLine(t testing.TB) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &line{listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *line) addr() string { return p.listener.Addr().String() }

func (p *line) serve(from net.Conn) {
	target := p.target.Load()
	if target == nil {
		from.Close()
		return
	}
	to, err := net.Dial("tcp", *target)
	if err != nil {
		from.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, from, to)
	p.mu.Unlock()
	go p.pass(to, from, false)
	p.pass(from, to, true)
}

// pass copies one direction record by record.
func (p *line) pass(to, from net.Conn, down bool) {
	defer to.Close()
	defer from.Close()
	var header [5]byte
	for {
		if _, err := io.ReadFull(from, header[:]); err != nil {
			return
		}
		size := int(header[3])<<8 | int(header[4])
		b := make([]byte, 5+size)
		copy(b, header[:])
		if _, err := io.ReadFull(from, b[5:]); err != nil {
			return
		}
		p.mu.Lock()
		p.records = append(p.records, tlsRecord{down, header[0], size})
		p.mu.Unlock()
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

// settled returns how many records have passed, once nothing passes any more.
func (p *line) settled() int {
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.records)
	}
	for n, still := count(), 0; ; {
		time.Sleep(5 * time.Millisecond)
		if now := count(); now != n {
			n, still = now, 0
		} else if still++; still == 5 {
			return n
		}
	}
}

func (p *line) since(mark int) []tlsRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.records[mark:])
}

// close closes the line and what is open on it.
func (p *line) close() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// A sink keeps what a gateway logs, down to debug: as text and as JSON, because a
// value may hide from one and not from the other.
type sink struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *sink) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.buf.Bytes())
}

func (s *sink) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelDebug - 4, AddSource: true}
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(s, o), slog.NewJSONHandler(s, o)))
}

// A nation is one country with its gateway.
type nation struct {
	name, code, td string
	dir            string // of the gateway
	auditor        sealed.Identity
	line           *line
	tap            *tap
	log            *sink
	config         *gateway.Config
	gateway        *gateway.Gateway
	clients        map[string]*client
	ahead          atomic.Int64 // nanoseconds that its clock is ahead

	// atNow is called whenever the gateway asks for the time. It may be nil.
	atNow atomic.Pointer[func()]

	stop context.CancelFunc
	done chan error
}

func (n *nation) now() time.Time {
	if at := n.atNow.Load(); at != nil {
		(*at)()
	}
	return time.Now().Add(time.Duration(n.ahead.Load()))
}

func (n *nation) identity(id string) string { return filepath.Join(n.dir, "officers", id) }

// The officers of every nation besides the clerk, who asks.
const (
	counsel    = "thornewick-12"
	supervisor = "auditrix-9"
)

// clerk returns the officer who asks, and unit the officer's unit. They are looked
// for abroad, so every nation has its own.
func (n *nation) clerk() string { return "kestrelby-" + strings.ToLower(n.name) }
func (n *nation) unit() string  { return "quaysidegate-" + strings.ToLower(n.name) }

// newNation makes a country, starts its gateway and enrols its officers.
func newNation(t testing.TB, dir, name, code string, configure func(*gateway.Config)) *nation {
	t.Helper()
	n := &nation{name: name, code: code, td: "border." + strings.ToLower(name) + ".example",
		dir: filepath.Join(dir, strings.ToLower(name)), line: newLine(t), tap: &tap{}, log: &sink{}, clients: make(map[string]*client)}
	var err error
	if n.auditor, err = sealed.GenerateIdentity(); err != nil {
		t.Fatal(err)
	}
	c := gateway.Config{TrustDomain: n.td, Country: code, Agency: name + " Border Service",
		AgencyCode: strings.ToLower(code) + "-border", Listen: "127.0.0.1:0", Endpoint: n.line.addr(),
		Auditor: n.auditor.Recipient().String(), CheckpointInterval: 200 * time.Millisecond}
	if configure != nil {
		configure(&c)
	}
	if _, err := gateway.Init(t.Context(), gateway.InitOptions{Dir: n.dir, Config: c,
		Admins: [2]gateway.Admin{{ID: "admin-1", Unit: "headquarters"}, {ID: "admin-2", Unit: "headquarters"}}}); err != nil {
		t.Fatal(err)
	}
	if n.config, err = gateway.LoadConfig(filepath.Join(n.dir, gateway.ConfigFile)); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	for _, o := range []officer.Officer{
		{ID: n.clerk(), Unit: n.unit(), Roles: []officer.Role{officer.RoleAsking}},
		{ID: counsel, Unit: "legal-service", Roles: []officer.Role{officer.RoleLegal}},
		{ID: supervisor, Unit: "supervision", Roles: []officer.Role{officer.RoleAuditor}},
	} {
		n.enrol(t, o)
	}
	return n
}

const window = 4 << 20 // bytes

// An undated context ends as the one it is made of, and does not tell when. The
// deadline of a call to a neighbour is a constant of our gateway from the beginning
// of the call; as a header it has digits that differ from call to call, and so the
// bytes of a connection could not be compared to the last one.
type undated struct{ context.Context }

func (undated) Deadline() (time.Time, bool) { return time.Time{}, false }

func undatedUnary(ctx context.Context, method string, req, reply any, c *grpc.ClientConn, call grpc.UnaryInvoker,
	o ...grpc.CallOption) error {
	return call(undated{ctx}, method, req, reply, c, o...)
}

func undatedStream(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string, open grpc.Streamer,
	o ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(undated{ctx}, d, c, method, o...)
}

// start runs the gateway until shut.
func (n *nation) start(t testing.TB) {
	t.Helper()
	g, err := gateway.New(t.Context(), n.config, gateway.Options{Logger: n.log.logger(), Now: n.now,
		// Windows that do not adapt: gRPC's measurements of the bandwidth are frames
		// whose number depends on timing.
		ServerOptions: []grpc.ServerOption{grpc.StatsHandler(n.tap), grpc.StaticStreamWindowSize(window),
			grpc.StaticConnWindowSize(window)},
		DialOptions: []grpc.DialOption{grpc.WithStatsHandler(n.tap), grpc.WithStaticStreamWindowSize(window),
			grpc.WithStaticConnWindowSize(window), grpc.WithUnaryInterceptor(undatedUnary), grpc.WithStreamInterceptor(undatedStream)}})
	if err != nil {
		t.Fatal(err)
	}
	n.gateway = g
	endpoint := g.Endpoint()
	n.line.target.Store(&endpoint)
	ctx, stop := context.WithCancel(context.Background())
	n.stop, n.done = stop, make(chan error, 1)
	go func() { n.done <- g.Serve(ctx) }()
}

// shut stops the gateway, if it runs.
func (n *nation) shut(t testing.TB) {
	t.Helper()
	if n.stop == nil {
		return
	}
	for _, c := range n.clients {
		c.conn.Close()
	}
	clear(n.clients)
	n.stop()
	if err := <-n.done; err != nil {
		t.Errorf("%s: %v", n.name, err)
	}
	n.stop = nil
}

// A client is an officer at the own gateway.
type client struct {
	id   *officer.Identity
	conn *grpc.ClientConn
}

func (c *client) national() pb.NationalServiceClient { return pb.NewNationalServiceClient(c.conn) }
func (c *client) admin() pb.AdminServiceClient       { return pb.NewAdminServiceClient(c.conn) }

// as returns the connection of an officer.
func (n *nation) as(t testing.TB, name string) *client {
	t.Helper()
	if c := n.clients[name]; c != nil {
		return c
	}
	id, err := officer.OpenIdentity(n.identity(name))
	if err != nil {
		t.Fatal(err)
	}
	if id.NeedsSVID(n.now()) {
		csr, err := id.CSR()
		if err != nil {
			t.Fatal(err)
		}
		conn := n.dial(t, id, nil)
		defer conn.Close()
		a, err := pb.NewIdentityServiceClient(conn).IssueSVID(t.Context(), &pb.IssueSVIDRequest{CertificateRequest: csr})
		if err != nil {
			t.Fatal(err)
		}
		if err := id.SetSVID(peer.AuthoritiesPEM(a.GetCertificates()), peer.AuthoritiesPEM(a.GetBundle())); err != nil {
			t.Fatal(err)
		}
	}
	c := &client{id, n.dial(t, id, func() (*tls.Certificate, error) { return id.Certificate(n.now()) })}
	n.clients[name] = c
	return c
}

func (n *nation) dial(t testing.TB, id *officer.Identity, certificate func() (*tls.Certificate, error)) *grpc.ClientConn {
	t.Helper()
	authorities, err := peer.AuthoritiesFromPEM(id.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	config, err := peer.LocalClientTLS(certificate, authorities, n.config.ID(), n.now)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///gateway", grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.config.Socket)
		}), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(5<<20)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// enrol has two administrators enrol an officer.
func (n *nation) enrol(t testing.TB, o officer.Officer) {
	t.Helper()
	first := n.as(t, "admin-1")
	spiffeID, err := peer.OfficerID(n.td, o.ID)
	if err != nil {
		t.Fatal(err)
	}
	id, err := officer.CreateIdentity(n.identity(o.ID), spiffeID)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.SetSVID(nil, first.id.Bundle()); err != nil {
		t.Fatal(err)
	}
	o.PublicKey = id.PublicKey()
	o.Trained = []officer.Training{{Course: "lookup", Until: time.Now().UTC().AddDate(1, 0, 0).Truncate(24 * time.Hour)}}
	list, err := first.admin().ListOfficers(t.Context(), &pb.ListOfficersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	change := officer.Change{Version: officer.ChangeVersion, Kind: officer.Enrol, Sequence: list.GetSequence() + 1,
		Previous: [32]byte(list.GetHead()), Time: n.now().UTC().Truncate(time.Second), Officer: o}
	b, err := change.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for i, admin := range []string{"admin-1", "admin-2"} {
		c := n.as(t, admin)
		signature, err := c.id.SignChange(change)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.admin().ProposeOfficerChange(t.Context(), &pb.ProposeOfficerChangeRequest{Change: b,
			Signature: &pb.OfficerSignature{Signature: signature[:]}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.GetApplied(), i == 1; got != want {
			t.Fatalf("enrolling: applied = %v after %d signatures", got, i+1)
		}
	}
}

// load loads records into a collection.
func (n *nation) load(t testing.TB, collection string, records []record.Record) {
	t.Helper()
	var b bytes.Buffer
	if err := fiction.WriteWatchlistCSV(&b, records); err != nil {
		t.Fatal(err)
	}
	r, err := n.ingest(t, collection, "list.csv", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.GetAdded(), uint64(len(records)); got != want {
		t.Fatalf("loading: %d added, %d rejected, want %d", got, r.GetRejected(), want)
	}
}

func (n *nation) ingest(t testing.TB, collection, name string, file []byte) (*pb.IngestRecordsResponse, error) {
	t.Helper()
	stream, err := n.as(t, "admin-1").admin().IngestRecords(t.Context())
	if err != nil {
		return nil, err
	}
	err = stream.Send(&pb.IngestRecordsRequest{Message: &pb.IngestRecordsRequest_Header{
		Header: &pb.IngestHeader{Collection: collection, Kind: "watchlist", Filename: name}}})
	for len(file) > 0 && err == nil {
		part := file[:min(len(file), 64<<10)]
		file = file[len(part):]
		err = stream.Send(&pb.IngestRecordsRequest{Message: &pb.IngestRecordsRequest_Data{Data: part}})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.CloseAndRecv()
}

// federate makes two nations neighbours.
func federate(t testing.TB, a, b *nation) {
	t.Helper()
	for _, pair := range [][2]*nation{{a, b}, {b, a}} {
		invite, err := pair[0].as(t, "admin-1").admin().CreateInvite(t.Context(), &pb.CreateInviteRequest{TrustDomain: pair[1].td})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair[1].as(t, "admin-1").admin().AcceptInvite(t.Context(), &pb.AcceptInviteRequest{Invite: invite.GetInvite(),
			ExpectedFingerprint: invite.GetFingerprint()}); err != nil {
			t.Fatal(err)
		}
	}
}

// agree makes an agreement by which a may ask b. Draft is what is added to the
// draft, in YAML.
func agree(t testing.TB, id string, a, b *nation, draft string) {
	t.Helper()
	text := "peer: " + b.td + "\nid: " + id + "\nregimes: [UN]\noffence_classes: [terrorism]\n" + draft
	d, err := a.as(t, "admin-1").admin().DraftAgreement(t.Context(), &pb.DraftAgreementRequest{Draft: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.GetFaults()) > 0 {
		t.Fatalf("draft: %q", d.GetFaults())
	}
	file := d.GetAgreement().GetFile()
	for _, n := range []*nation{a, b} {
		g, err := agreement.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		c := n.as(t, counsel)
		cert, err := c.id.Certificate(n.now())
		if err != nil {
			t.Fatal(err)
		}
		signature, err := cert.PrivateKey.(crypto.Signer).Sign(nil, agreement.SigningBytes(g.Digest(), c.id.SPIFFEID()), crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.admin().SignAgreement(t.Context(), &pb.SignAgreementRequest{File: file,
			Signature: &pb.OfficerSignature{Signature: signature}})
		if err != nil {
			t.Fatal(err)
		}
		file = r.GetAgreement().GetFile()
	}
	for _, n := range []*nation{a, b} {
		if _, err := n.as(t, counsel).admin().AcceptAgreement(t.Context(), &pb.AcceptAgreementRequest{File: file}); err != nil {
			t.Fatal(err)
		}
	}
}

// sync fetches all tag sets. It returns what was refused, by holder and collection.
func (n *nation) sync(t testing.TB) map[string]pb.ErrorReason {
	t.Helper()
	stream, err := n.as(t, "admin-1").admin().SyncPeers(t.Context(), &pb.SyncPeersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	refused := make(map[string]pb.ErrorReason)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return refused
		}
		if err != nil {
			t.Fatal(err)
		}
		if r := m.GetResult(); r.GetRefusal() != nil {
			refused[r.GetHolder()+"/"+r.GetCollection()] = r.GetRefusal().GetReason()
		}
	}
}

// The reason that officers give. Its words are looked for abroad.
const (
	caseReference = "HARROWGATE-2026-60931"
	justification = "Photograph peeling off laminate; traveller contradicted boarding declaration regarding Vladivostokian itinerary."
	threatNote    = "Anonymous telephone warning concerning waterfront pyrotechnics"
)

// newAsk returns an ask about subjects as the clerk makes it.
func (n *nation) newAsk(subjects ...record.Subject) *asker.Ask {
	a := &asker.Ask{Request: query.NewID(n.now()), Purpose: "ct-travel-screening", LegalBasis: "Border Act s. 12",
		OffenceClass: "terrorism", CaseReference: caseReference, Justification: justification, ThreatNote: threatNote,
		SubjectCategory: "suspect", Kind: query.Single, Subjects: subjects, Collections: []string{"watchlist"}}
	if len(subjects) != 1 {
		a.Kind = query.Set
	}
	return a
}

func askMessage(a *asker.Ask) *pb.Ask {
	return &pb.Ask{RequestId: a.Request.String(), Purpose: a.Purpose, LegalBasis: a.LegalBasis, OffenceClass: a.OffenceClass,
		Urgency: a.Urgency, CaseReference: a.CaseReference, Justification: a.Justification, SubjectCategory: a.SubjectCategory,
		ThreatNote: a.ThreatNote, Holders: a.Holders, Collections: a.Collections}
}

func subjectMessage(s *record.Subject) *pb.Subject {
	m := &pb.Subject{Ref: s.Ref, Name: s.Name, BirthDate: s.Birth.String(), Nationality: s.Nationality, Sex: s.Sex}
	if s.Document != (record.Document{}) {
		m.Document = &pb.Document{Type: string(s.Document.Type), Issuer: s.Document.Issuer, Number: s.Document.Number}
	}
	return m
}

// An answer is what the officer got.
type answer struct {
	candidates []*pb.Candidate
	results    []*pb.HolderResult
}

// ask asks as the clerk, by a lookup or a screening.
func (n *nation) ask(t testing.TB, a *asker.Ask) (*answer, error) {
	t.Helper()
	c := n.as(t, n.clerk())
	signed, err := c.id.Sign(officer.PurposeAsk, a.Digest())
	if err != nil {
		t.Fatal(err)
	}
	return c.ask(t, a, signed[:])
}

func (c *client) ask(t testing.TB, a *asker.Ask, signed []byte) (*answer, error) {
	t.Helper()
	signature := &pb.OfficerSignature{Signature: signed}
	if a.Kind == query.Single {
		r, err := c.national().Lookup(t.Context(), &pb.LookupRequest{Ask: askMessage(a), Subject: subjectMessage(&a.Subjects[0]),
			Signature: signature})
		if err != nil {
			return nil, err
		}
		return &answer{r.GetCandidates(), r.GetResults()}, nil
	}
	stream, err := c.national().Screen(t.Context())
	if err != nil {
		return nil, err
	}
	chunk := new(pb.SubjectChunk)
	for i := range a.Subjects {
		chunk.Subjects = append(chunk.Subjects, subjectMessage(&a.Subjects[i]))
	}
	for _, m := range []*pb.ScreenRequest{{Message: &pb.ScreenRequest_Ask{Ask: askMessage(a)}},
		{Message: &pb.ScreenRequest_Subjects{Subjects: chunk}}, {Message: &pb.ScreenRequest_Signature{Signature: signature}}} {
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	out := new(answer)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if x := m.GetCandidate(); x != nil {
			out.candidates = append(out.candidates, x)
		}
		if s := m.GetSummary(); s != nil {
			out.results = s.GetResults()
		}
	}
}

// mustAsk asks, and fails the test unless every holder answered and there are as
// many candidates as wanted.
func (n *nation) mustAsk(t testing.TB, a *asker.Ask, want int) *answer {
	t.Helper()
	r, err := n.ask(t, a)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.results {
		if h.GetRefusal() != nil {
			t.Fatalf("%s refused: %v %v", h.GetHolder(), h.GetRefusal().GetReason(), h.GetRefusal().GetDenials())
		}
	}
	if got := len(r.candidates); got != want {
		t.Fatalf("%d candidates, want %d", got, want)
	}
	return r
}

// tempDir returns a folder with a path that is short enough for sockets.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

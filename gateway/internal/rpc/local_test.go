package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/policy"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// A fakeAsker answers with what a test says, and remembers what it was asked.
type fakeAsker struct {
	ask        func(ctx context.Context, caller string, a *asker.Ask, signature []byte) (*asker.Result, error)
	mu         sync.Mutex
	candidates []asker.CandidateFilter
	asks       []asker.AskFilter
}

func (f *fakeAsker) Ask(ctx context.Context, caller string, a *asker.Ask, signature []byte) (*asker.Result, error) {
	return f.ask(ctx, caller, a, signature)
}

func (f *fakeAsker) Candidates(_ context.Context, _ string, c asker.CandidateFilter) ([]asker.KeptCandidate, query.ID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.candidates = append(f.candidates, c)
	return []asker.KeptCandidate{{Candidate: candidate(), State: "confirmed", PurgeBy: noon.Add(time.Hour)}}, candidate().ID, nil
}

func (f *fakeAsker) Asks(_ context.Context, _ string, c asker.AskFilter) ([]asker.AskSummary, query.ID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks = append(f.asks, c)
	return []asker.AskSummary{{Request: someID(1), Time: noon, Kind: query.Set, Purpose: "border-check", Subjects: 2, Candidates: 1,
		Targets: []asker.TargetResult{{Holder: "b.example", Collection: "watchlist", Query: someID(2), Candidates: 1}}}}, query.ID{}, nil
}

var noon = time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)

func someID(n byte) query.ID { return query.ID{1, 2, 3, 4, 5, 6, 0x70, 0, 0x80, n} }

func candidate() asker.Candidate {
	return asker.Candidate{ID: someID(9), Request: someID(1), Query: someID(2), Holder: "b.example", Collection: "watchlist", Ref: "row 7",
		Item: 1, Handle: [8]byte{1, 2, 3}, Classes: []string{"doc", "name+dob"}, Weight: 1700, AlertKind: 3, ListVersion: 12, Time: noon}
}

// result is one with everything in it.
func result(request query.ID) *asker.Result {
	denied := query.Refuse(query.PolicyDenied, errors.New("canary"))
	denied.Denials = []query.Denial{{Rule: "RU-03", Title: "Purpose", Citation: "UNSCR 2396, OP 11", Sentence: "Ask for another."}}
	busy := query.Refuse(query.BudgetExhausted, nil)
	busy.RetryAfter = 1500 * time.Millisecond
	return &asker.Result{Request: request, Subjects: 3, Skipped: []string{"row 9"},
		Targets: []asker.TargetResult{
			{Holder: "b.example", Collection: "watchlist", Query: someID(2), Candidates: 1, Exchange: &asker.Exchange{Items: 3, PaddedItems: 4,
				Elements: 16, BytesUp: 1000, BytesDown: 2000, ListVersion: 12, ListTime: noon, ListTags: 1024, Duration: 7 * time.Millisecond,
				IntentIndex: 5, ReceiptIndex: 6}},
			{Holder: "c.example", Collection: "documents", Refusal: denied, RefusedHere: true},
			{Holder: "d.example", Collection: "documents", Query: someID(3), Refusal: busy},
		},
		Candidates: []asker.Candidate{candidate()},
		Obligations: []policy.Obligation{{Kind: policy.HumanReview, Rule: "RU-20", People: 2},
			{Kind: policy.NotifyAuditors, Rule: "RU-11", Percent: 80}},
	}
}

func candidateMessage() *pb.Candidate {
	id := func(n byte) string { return someID(n).String() }
	return &pb.Candidate{CandidateId: id(9), QueryId: id(2), Holder: "b.example", Collection: "watchlist", SubjectRef: "row 7",
		Handle: []byte{1, 2, 3, 0, 0, 0, 0, 0}, Classes: []string{"doc", "name+dob"}, Weight: 1700, AlertKind: "3", ListVersion: 12,
		Time: timestamppb.New(noon), State: pb.CandidateState_CANDIDATE_STATE_OPEN}
}

func resultMessages() []*pb.HolderResult {
	return []*pb.HolderResult{
		{Holder: "b.example", Collection: "watchlist", QueryId: someID(2).String(), Candidates: 1, Exchange: &pb.Exchange{Items: 3, PaddedItems: 4,
			Elements: 16, BytesUp: 1000, BytesDown: 2000, ListVersion: 12, ListTime: timestamppb.New(noon), ListTags: 1024, DurationMs: 7,
			ReceiptVerified: true, IntentIndex: 5, ReceiptIndex: 6}},
		{Holder: "c.example", Collection: "documents", RefusedHere: true, Refusal: &pb.Refusal{Reason: pb.ErrorReason_ERROR_REASON_POLICY_DENIED,
			Denials: []*pb.Denial{{Rule: "RU-03", Title: "Purpose", Citation: "UNSCR 2396, OP 11", Sentence: "Ask for another."}}}},
		{Holder: "d.example", Collection: "documents", QueryId: someID(3).String(),
			Refusal: &pb.Refusal{Reason: pb.ErrorReason_ERROR_REASON_BUDGET_EXHAUSTED, RetryAfterMs: 1500}},
	}
}

// A desk is the server for officers of a country, with NationalService, on a Unix
// socket.
type desk struct {
	*office
	asker  *fakeAsker
	socket string
	ahead  atomic.Int64 // how far the clock of the server is ahead
}

func newDesk(t *testing.T, roles ...officer.Role) *desk {
	t.Helper()
	d := &desk{office: newOffice(t, "a.example", "UTO", roles...), asker: &fakeAsker{}}
	s, err := rpc.NewLocalServer(rpc.LocalConfig{TrustDomain: d.td, Register: d.register,
		Now:      func() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) },
		TLS:      peer.LocalServerTLS(d.source, d.td, time.Now),
		Services: []rpc.Service{rpc.NationalService(d.asker), rpc.IdentityService(d.admin)}})
	d.ok(err)
	dir, err := os.MkdirTemp("", "passerelle") // a path of a socket is short
	d.ok(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	d.socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", d.socket)
	d.ok(err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	return d
}

// connect returns a connection of an officer, or of nobody.
func (d *desk) connect(name string) *grpc.ClientConn {
	d.t.Helper()
	authorities, err := peer.Authorities(d.source, d.td)
	d.ok(err)
	var client func() (*tls.Certificate, error)
	if name != "" {
		d.as(name) // gets a certificate
		client = func() (*tls.Certificate, error) { return d.identities[name].Certificate(time.Now()) }
	}
	config, err := peer.LocalClientTLS(client, authorities, d.id, time.Now)
	d.ok(err)
	c, err := grpc.NewClient("unix:"+d.socket, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	d.ok(err)
	d.t.Cleanup(func() { c.Close() })
	return c
}

func (d *desk) national(name string) pb.NationalServiceClient {
	d.t.Helper()
	return pb.NewNationalServiceClient(d.connect(name))
}

// ask returns an ask, its message and the officer's signature.
func (d *desk) ask(name string, kind query.Kind, subjects ...record.Subject) (*asker.Ask, *pb.Ask, *pb.OfficerSignature) {
	d.t.Helper()
	a := &asker.Ask{Request: query.NewID(time.Now()), Purpose: "border-check", LegalBasis: "Act 12", OffenceClass: "terrorism",
		Urgency: "urgent", CaseReference: "case 7/Ü", Justification: "because\nof this", SubjectCategory: "suspect", ThreatNote: "note",
		Kind: kind, Subjects: subjects, Holders: []string{"b.example"}, Collections: []string{"watchlist", "documents"}}
	sig, err := d.identities[name].Sign(officer.PurposeAsk, a.Digest())
	d.ok(err)
	return a, &pb.Ask{RequestId: a.Request.String(), Purpose: a.Purpose, LegalBasis: a.LegalBasis, OffenceClass: a.OffenceClass,
		Urgency: a.Urgency, CaseReference: a.CaseReference, Justification: a.Justification, SubjectCategory: a.SubjectCategory,
		ThreatNote: a.ThreatNote, Holders: a.Holders, Collections: a.Collections}, &pb.OfficerSignature{Signature: sig[:]}
}

func subjectMessage(s *record.Subject) *pb.Subject {
	return &pb.Subject{Ref: s.Ref, Name: s.Name, BirthDate: s.Birth.String(), Nationality: s.Nationality, Sex: s.Sex,
		Document: &pb.Document{Type: string(s.Document.Type), Issuer: s.Document.Issuer, Number: s.Document.Number}}
}

func traveller(ref string) record.Subject {
	return record.Subject{Ref: ref, Name: "ERIKSSON, ANNA MARIA", Birth: record.Date{Year: 1974, Month: 8}, Nationality: "UTO", Sex: "F",
		Document: record.Document{Type: record.Passport, Issuer: "UTO", Number: "L898902C3"}}
}

// TestLookup sends a lookup of an officer: what the asker gets has the digest that
// was signed, and what the officer gets is all of the result.
func TestLookup(t *testing.T) {
	t.Parallel()
	d := newDesk(t, officer.RoleAsking)
	subject := traveller("row 7")
	want, message, signature := d.ask("asking", query.Single, subject)
	d.asker.ask = func(_ context.Context, caller string, got *asker.Ask, sig []byte) (*asker.Result, error) {
		if !reflect.DeepEqual(got, want) || got.Digest() != want.Digest() {
			t.Error("the asker got another ask than was signed")
		}
		if caller != "spiffe://a.example/officer/asking" {
			t.Errorf("caller = %q", caller)
		}
		who, _ := d.register.Lookup("asking")
		if err := officer.CheckAsk(who, got.Digest(), sig); err != nil {
			t.Error(err)
		}
		return result(got.Request), nil
	}
	c := d.national("asking")
	got, err := c.Lookup(testContext(t), &pb.LookupRequest{Ask: message, Subject: subjectMessage(&subject), Signature: signature})
	if err != nil {
		t.Fatal(err)
	}
	answer := &pb.LookupResponse{RequestId: want.Request.String(), Candidates: []*pb.Candidate{candidateMessage()}, Results: resultMessages(),
		Obligations: []*pb.Obligation{
			{Kind: "human_review", Value: "2", Rule: "RU-20", Sentence: "A candidate is not an identity: 2 trained officers must compare before anything is done."},
			{Kind: "notify_auditors", Value: "80", Rule: "RU-11", Sentence: "The auditors are told that the budget is used up to this percentage."},
		}}
	if !proto.Equal(got, answer) {
		t.Errorf("Lookup =\n%v, want\n%v", got, answer)
	}
	// The caller's own name beside the signature is no other officer.
	signature.Officer = "spiffe://a.example/officer/asking"
	if _, err := c.Lookup(testContext(t), &pb.LookupRequest{Ask: message, Subject: subjectMessage(&subject), Signature: signature}); err != nil {
		t.Errorf("with the caller named: %v", err)
	}
}

// TestLookupRefuses sends lookups that are none, or are not the caller's. The asker
// must not see them.
func TestLookupRefuses(t *testing.T) {
	t.Parallel()
	d := newDesk(t, officer.RoleAsking)
	d.asker.ask = func(context.Context, string, *asker.Ask, []byte) (*asker.Result, error) {
		t.Error("the asker was given an ask that is none")
		return nil, query.Refuse(query.Internal, nil)
	}
	c := d.national("asking")
	for name, tt := range map[string]struct {
		change func(*pb.LookupRequest)
		want   query.Reason
	}{
		"no ask":                  {func(p *pb.LookupRequest) { p.Ask = nil }, query.Malformed},
		"no subject":              {func(p *pb.LookupRequest) { p.Subject = nil }, query.Malformed},
		"no signature":            {func(p *pb.LookupRequest) { p.Signature = nil }, query.SignatureInvalid},
		"short signature":         {func(p *pb.LookupRequest) { p.Signature.Signature = make([]byte, 63) }, query.SignatureInvalid},
		"another officer":         {func(p *pb.LookupRequest) { p.Signature.Officer = "spiffe://a.example/officer/other" }, query.Precondition},
		"request id in capitals":  {func(p *pb.LookupRequest) { p.Ask.RequestId = strings.ToUpper(p.Ask.RequestId) + "A" }, query.Malformed},
		"no purpose":              {func(p *pb.LookupRequest) { p.Ask.Purpose = "" }, query.Malformed},
		"long justification":      {func(p *pb.LookupRequest) { p.Ask.Justification = strings.Repeat("j", 2049) }, query.Malformed},
		"holder with a line feed": {func(p *pb.LookupRequest) { p.Ask.Holders = []string{"b.example\nc.example"} }, query.Malformed},
		"257 collections":         {func(p *pb.LookupRequest) { p.Ask.Collections = slices.Repeat([]string{"c"}, 257) }, query.Malformed},
		"birth in another form":   {func(p *pb.LookupRequest) { p.Subject.BirthDate = "1974/08" }, query.Malformed},
		"birth that is none":      {func(p *pb.LookupRequest) { p.Subject.BirthDate = "yesterday" }, query.Malformed},
		"long name":               {func(p *pb.LookupRequest) { p.Subject.Name = strings.Repeat("n", 257) }, query.Malformed},
		"long number":             {func(p *pb.LookupRequest) { p.Subject.Document.Number = strings.Repeat("1", 65) }, query.Malformed},
	} {
		s := traveller("row 7")
		_, message, signature := d.ask("asking", query.Single, s)
		p := &pb.LookupRequest{Ask: message, Subject: subjectMessage(&s), Signature: signature}
		tt.change(p)
		_, err := c.Lookup(testContext(t), p)
		if got := reasonOf(err); got != string(tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestScreen sends a manifest in parts.
func TestScreen(t *testing.T) {
	t.Parallel()
	d := newDesk(t, officer.RoleAsking)
	var subjects []record.Subject
	for i := range 700 {
		subjects = append(subjects, traveller(fmt.Sprint("row ", i)))
	}
	want, ask, signature := d.ask("asking", query.Set, subjects...)
	asked := 0
	d.asker.ask = func(_ context.Context, _ string, got *asker.Ask, _ []byte) (*asker.Result, error) {
		asked++
		if got.Digest() != want.Digest() {
			t.Error("the asker got another ask than was signed")
		}
		r := result(got.Request)
		r.Candidates = append(r.Candidates, candidate()) // of the same subject
		return r, nil
	}
	c := d.national("asking")
	part := func(list []record.Subject) *pb.ScreenRequest {
		chunk := new(pb.SubjectChunk)
		for i := range list {
			chunk.Subjects = append(chunk.Subjects, subjectMessage(&list[i]))
		}
		return &pb.ScreenRequest{Message: &pb.ScreenRequest_Subjects{Subjects: chunk}}
	}
	first := &pb.ScreenRequest{Message: &pb.ScreenRequest_Ask{Ask: ask}}
	last := &pb.ScreenRequest{Message: &pb.ScreenRequest_Signature{Signature: signature}}
	screen := func(messages ...*pb.ScreenRequest) (list []*pb.ScreenResponse, err error) {
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		stream, err := c.Screen(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if stream.Send(m) != nil {
				break
			}
		}
		d.ok(stream.CloseSend())
		for {
			m, err := stream.Recv()
			if err != nil {
				if reasonOf(err) != "Unknown" { // io.EOF
					return nil, err
				}
				return list, nil
			}
			list = append(list, m)
		}
	}
	got, err := screen(first, part(subjects[:500]), part(subjects[500:]), last)
	if err != nil || len(got) != 3 || !proto.Equal(got[0].GetCandidate(), candidateMessage()) {
		t.Fatalf("Screen = %v, %v", got, err)
	}
	s := got[2].GetSummary()
	if s.GetRequestId() != want.Request.String() || s.GetSubjects() != 3 || s.GetSubjectsWithCandidates() != 1 ||
		!slices.Equal(s.GetSkipped(), []string{"row 9"}) || len(s.GetObligations()) != 2 || len(s.GetResults()) != 3 {
		t.Errorf("summary = %v", s)
	}
	full := part(subjects[:500])
	for name, tt := range map[string]struct {
		messages []*pb.ScreenRequest
		want     query.Reason
	}{
		"nothing":                   {nil, query.Malformed},
		"no ask":                    {[]*pb.ScreenRequest{part(subjects[:1]), last}, query.Malformed},
		"two asks":                  {[]*pb.ScreenRequest{first, first, last}, query.Malformed},
		"no signature":              {[]*pb.ScreenRequest{first, part(subjects[:1])}, query.Malformed},
		"subjects after signature":  {[]*pb.ScreenRequest{first, last, part(subjects[:1])}, query.Malformed},
		"empty part":                {[]*pb.ScreenRequest{first, part(nil), last}, query.Malformed},
		"501 subjects in a part":    {[]*pb.ScreenRequest{first, part(subjects[:501]), last}, query.Malformed},
		"10,500 subjects in 21":     {append(append([]*pb.ScreenRequest{first}, slices.Repeat([]*pb.ScreenRequest{full}, 21)...), last), query.TooLarge},
		"a message without content": {[]*pb.ScreenRequest{first, {}, last}, query.Malformed},
	} {
		if _, err := screen(tt.messages...); reasonOf(err) != string(tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if asked != 1 {
		t.Errorf("the asker was asked %d times, want 1", asked)
	}
}

// TestLists lists candidates and asks.
func TestLists(t *testing.T) {
	t.Parallel()
	d := newDesk(t, officer.RoleVerifying)
	c := d.national("verifying")
	ctx := testContext(t)
	since, until := noon.Add(-time.Hour), noon
	span := &pb.TimeRange{Since: timestamppb.New(since), Until: timestamppb.New(until)}
	page := &pb.Page{Size: 7, Token: someID(4).String()}
	got, err := c.ListCandidates(ctx, &pb.ListCandidatesRequest{Range: span, RequestId: someID(1).String(), Holder: "b.example",
		State: pb.CandidateState_CANDIDATE_STATE_CONFIRMED, Page: page})
	want := candidateMessage()
	want.State, want.PurgeBy = pb.CandidateState_CANDIDATE_STATE_CONFIRMED, timestamppb.New(noon.Add(time.Hour))
	if err != nil || len(got.GetCandidates()) != 1 || !proto.Equal(got.GetCandidates()[0], want) || got.GetNextToken() != someID(9).String() {
		t.Errorf("ListCandidates = %v, %v", got, err)
	}
	if f := (asker.CandidateFilter{Since: since, Until: until, Request: someID(1), Holder: "b.example", State: "confirmed", After: someID(4),
		Limit: 7}); !reflect.DeepEqual(d.asker.candidates, []asker.CandidateFilter{f}) {
		t.Errorf("filters %+v, want %+v", d.asker.candidates, f)
	}
	asks, err := c.ListAsks(ctx, &pb.ListAsksRequest{Range: span, Unit: true, Page: page})
	summary := &pb.AskSummary{RequestId: someID(1).String(), Time: timestamppb.New(noon), Kind: pb.QueryKind_QUERY_KIND_SET, Purpose: "border-check",
		Subjects: 2, Candidates: 1, Results: []*pb.HolderResult{{Holder: "b.example", Collection: "watchlist", QueryId: someID(2).String(), Candidates: 1}}}
	if err != nil || len(asks.GetAsks()) != 1 || !proto.Equal(asks.GetAsks()[0], summary) || asks.GetNextToken() != "" {
		t.Errorf("ListAsks = %v, %v", asks, err)
	}
	if f := (asker.AskFilter{Since: since, Until: until, Unit: true, After: someID(4), Limit: 7}); !reflect.DeepEqual(d.asker.asks, []asker.AskFilter{f}) {
		t.Errorf("filters %+v, want %+v", d.asker.asks, f)
	}
	for name, p := range map[string]*pb.ListCandidatesRequest{
		"page of 1,001":       {Page: &pb.Page{Size: 1001}},
		"token that is none":  {Page: &pb.Page{Token: "x"}},
		"state not known":     {State: 99},
		"request that is one": {RequestId: "x"},
		"time of another age": {Range: &pb.TimeRange{Since: &timestamppb.Timestamp{Seconds: 1 << 60}}},
	} {
		if _, err := c.ListCandidates(ctx, p); reasonOf(err) != string(query.Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNobody has a connection without a certificate: it may ask for one, and
// nothing else, and learns of no method whether it exists.
func TestNobody(t *testing.T) {
	t.Parallel()
	d := newDesk(t, officer.RoleAsking)
	conn := d.connect("")
	ctx := testContext(t)
	for _, method := range []string{
		"/passerelle.v1.NationalService/Lookup", "/passerelle.v1.NationalService/ListCandidates", "/passerelle.v1.NationalService/ListAsks",
		"/grpc.health.v1.Health/Check", "/passerelle.v1.IdentityService/None", "/passerelle.v1.PeerService/Terms", "/None/None",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "//passerelle.v1.IdentityService/IssueSVID",
	} {
		if err := conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{}); reasonOf(err) != string(query.NotEnrolled) {
			t.Errorf("%s: %v, want %v", method, err, query.NotEnrolled)
		}
	}
	stream, err := pb.NewNationalServiceClient(conn).Screen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := drain(stream); reasonOf(err) != string(query.NotEnrolled) { // nothing was sent
		t.Errorf("Screen: %v, want %v", err, query.NotEnrolled)
	}

	identity := pb.NewIdentityServiceClient(conn)
	csr, err := d.identities["asking"].CSR()
	d.ok(err)
	r, err := identity.IssueSVID(ctx, &pb.IssueSVIDRequest{CertificateRequest: csr})
	if err != nil || len(r.GetCertificates()) == 0 || len(r.GetBundle()) == 0 || !r.GetNotAfter().AsTime().After(time.Now()) {
		t.Errorf("IssueSVID = %v, %v", r, err)
	}
	d.person("stranger")
	csr, err = d.identities["stranger"].CSR()
	d.ok(err)
	for name, tt := range map[string]struct {
		csr  []byte
		want query.Reason
	}{"empty": {nil, query.Malformed}, "garbage": {[]byte("garbage"), query.Malformed}, "long": {make([]byte, 4097), query.TooLarge},
		"a stranger's": {csr, query.NotEnrolled}} {
		if _, err := identity.IssueSVID(ctx, &pb.IssueSVIDRequest{CertificateRequest: tt.csr}); reasonOf(err) != string(tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// TestEnrolledNow checks that what counts is the register, at every call, and not
// what it was when the connection was made.
func TestEnrolledNow(t *testing.T) {
	t.Parallel()
	d := newDesk(t, officer.RoleAsking, officer.RoleVerifying)
	ctx := testContext(t)
	asking, verifying := d.connect("asking"), d.connect("verifying")
	check := func(c *grpc.ClientConn) string {
		_, err := healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{})
		return reasonOf(err)
	}
	if check(asking) != "OK" || check(verifying) != "OK" {
		t.Fatal("an officer is refused")
	}
	change := d.register.NewChange(officer.Retire, officer.Officer{ID: "asking"}, time.Now())
	for _, a := range []string{"administrator", "administrator2"} {
		sig, err := d.identities[a].SignChange(change)
		d.ok(err)
		_, err = d.register.Propose(change, a, sig[:], time.Now())
		d.ok(err)
	}
	if got := check(asking); got != string(query.NotEnrolled) {
		t.Errorf("a retired officer on an open connection: %s", got)
	}
	if got := check(verifying); got != "OK" {
		t.Errorf("another officer: %s", got)
	}
	d.ahead.Store(int64(2 * time.Hour))
	if got := check(verifying); got != string(query.NotEnrolled) {
		t.Errorf("a connection that outlives its certificate: %s", got)
	}
}

// TestNationalRoles holds which role may call what.
func TestNationalRoles(t *testing.T) {
	t.Parallel()
	d := newDesk(t, officer.RoleAsking, officer.RoleVerifying, officer.RoleAuditor, officer.RoleOperator, officer.RoleLegal)
	d.asker.ask = func(_ context.Context, _ string, a *asker.Ask, _ []byte) (*asker.Result, error) {
		return result(a.Request), nil
	}
	ctx := testContext(t)
	for _, role := range []string{"asking", "verifying", "auditor", "operator", "legal", "administrator"} {
		c := d.national(role)
		s := traveller("row 7")
		_, message, signature := d.ask(role, query.Single, s)
		_, lookup := c.Lookup(ctx, &pb.LookupRequest{Ask: message, Subject: subjectMessage(&s), Signature: signature})
		stream, err := c.Screen(ctx)
		d.ok(err)
		d.ok(stream.CloseSend())
		screen := drain(stream)
		_, candidates := c.ListCandidates(ctx, &pb.ListCandidatesRequest{})
		_, asks := c.ListAsks(ctx, &pb.ListAsksRequest{})
		want := [4]string{"ROLE_REQUIRED", "ROLE_REQUIRED", "ROLE_REQUIRED", "ROLE_REQUIRED"}
		switch role {
		case "asking":
			want = [4]string{"OK", "MALFORMED_REQUEST", "OK", "OK"}
		case "verifying":
			want[2], want[3] = "OK", "OK"
		}
		if got := [4]string{reasonOf(lookup), reasonOf(screen), reasonOf(candidates), reasonOf(asks)}; got != want {
			t.Errorf("%s: %v, want %v", role, got, want)
		}
	}
}

// TestRequireRole holds the helper that every local service begins with.
func TestRequireRole(t *testing.T) {
	t.Parallel()
	c := &rpc.Caller{ID: "spiffe://a.example/officer/x", Officer: officer.Officer{ID: "x", Roles: []officer.Role{officer.RoleLegal, officer.RoleAsking}}}
	for _, tt := range []struct {
		c     *rpc.Caller
		roles []officer.Role
		want  query.Reason
	}{
		{nil, nil, query.NotEnrolled},
		{nil, []officer.Role{officer.RoleLegal}, query.NotEnrolled},
		{c, nil, ""},
		{c, []officer.Role{officer.RoleLegal}, ""},
		{c, []officer.Role{officer.RoleOperator, officer.RoleAsking}, ""},
		{c, []officer.Role{officer.RoleOperator}, query.RoleRequired},
	} {
		got, err := rpc.RequireRole(tt.c, tt.roles...)
		if query.ReasonOf(err) != tt.want || (err != nil) != (got.ID == "") {
			t.Errorf("%v of %v: %v, %v; want %q", tt.roles, tt.c, got.ID, err, tt.want)
		}
	}
}

// TestLocalServerRequires holds what has no safe default.
func TestLocalServerRequires(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "a.example")
	good := rpc.LocalConfig{TrustDomain: c.td, Register: new(officer.Register), Now: time.Now, TLS: peer.LocalServerTLS(c.source, c.td, time.Now)}
	if _, err := rpc.NewLocalServer(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*rpc.LocalConfig){
		"trust domain": func(c *rpc.LocalConfig) { c.TrustDomain = "" },
		"register":     func(c *rpc.LocalConfig) { c.Register = nil },
		"clock":        func(c *rpc.LocalConfig) { c.Now = nil },
		"TLS":          func(c *rpc.LocalConfig) { c.TLS = nil },
		"verification": func(c *rpc.LocalConfig) { c.TLS = &tls.Config{} },
	} {
		config := good
		change(&config)
		if s, err := rpc.NewLocalServer(config); err == nil || s != nil {
			t.Errorf("a server without %s", name)
		}
	}
}

package rpc

import (
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/policy"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	maxSubjectsInMessage = 500
	maxTargets           = 256 // holders or collections that one ask names
	maxRef               = 64  // bytes, as the next ones
	maxName              = 256
	maxNumber            = 64
	maxNote              = 2048
	maxTrustDomain       = 255
)

// An Asker asks neighbours on behalf of our officers. It is implemented by
// asker.Asker. Every error is a query.Refusal.
type Asker interface {
	Ask(ctx context.Context, caller string, ask *asker.Ask, signature []byte) (*asker.Result, error)

	// Candidates and Asks return a page and the cursor of the next one.
	Candidates(ctx context.Context, caller string, f asker.CandidateFilter) ([]asker.KeptCandidate, query.ID, error)
	Asks(ctx context.Context, caller string, f asker.AskFilter) ([]asker.AskSummary, query.ID, error)
}

// NationalService returns the service of that name over a.
func NationalService(a Asker) Service {
	return Service{&pb.NationalService_ServiceDesc, &nationalServer{asker: a}}
}

type nationalServer struct {
	pb.UnimplementedNationalServiceServer
	asker Asker
}

// Lookup implements NationalService.
func (s *nationalServer) Lookup(ctx context.Context, p *pb.LookupRequest) (*pb.LookupResponse, error) {
	caller, err := requireRole(ctx, officer.RoleAsking)
	if err != nil {
		return nil, err
	}
	ask, err := askOf(p.GetAsk(), query.Single)
	if err != nil {
		return nil, err
	}
	if p.GetSubject() == nil {
		return nil, query.Refuse(query.Malformed, form("subject"))
	}
	if err := addSubjects(ask, []*pb.Subject{p.GetSubject()}); err != nil {
		return nil, err
	}
	signature, err := signatureOf(caller, p.GetSignature())
	if err != nil {
		return nil, err
	}
	result, err := s.asker.Ask(ctx, caller.ID, ask, signature)
	if err != nil {
		return nil, err
	}
	out := &pb.LookupResponse{RequestId: result.Request.String(), Results: resultsProto(result.Targets),
		Obligations: obligationsProto(result.Obligations)}
	for i := range result.Candidates {
		out.Candidates = append(out.Candidates, candidateProto(&result.Candidates[i]))
	}
	return out, nil
}

// Screen implements NationalService. Nobody is asked before the last message, the
// signature over all of them, has arrived.
func (s *nationalServer) Screen(stream grpc.BidiStreamingServer[pb.ScreenRequest, pb.ScreenResponse]) error {
	ctx := stream.Context()
	caller, err := requireRole(ctx, officer.RoleAsking)
	if err != nil {
		return err
	}
	ask, signature, err := readScreening(caller, stream.Recv)
	if err != nil {
		return err
	}
	result, err := s.asker.Ask(ctx, caller.ID, ask, signature)
	if err != nil {
		return err
	}
	with := make(map[int]bool)
	for i := range result.Candidates {
		with[result.Candidates[i].Item] = true
		m := &pb.ScreenResponse_Candidate{Candidate: candidateProto(&result.Candidates[i])}
		if err := stream.Send(&pb.ScreenResponse{Message: m}); err != nil {
			return err
		}
	}
	return stream.Send(&pb.ScreenResponse{Message: &pb.ScreenResponse_Summary{Summary: &pb.ScreenSummary{
		RequestId: result.Request.String(), Subjects: uint32(result.Subjects), SubjectsWithCandidates: uint32(len(with)),
		Skipped: result.Skipped, Results: resultsProto(result.Targets), Obligations: obligationsProto(result.Obligations),
	}}})
}

// readScreening reads the ask, its subjects and the signature, to the end of the
// stream.
func readScreening(caller Caller, recv func() (*pb.ScreenRequest, error)) (*asker.Ask, []byte, error) {
	first, err := recv()
	if err != nil {
		return nil, nil, unfinished(err)
	}
	ask, err := askOf(first.GetAsk(), query.Set)
	if err != nil {
		return nil, nil, err
	}
	for {
		m, err := recv()
		if err != nil {
			return nil, nil, unfinished(err)
		}
		switch m := m.GetMessage().(type) {
		case *pb.ScreenRequest_Subjects:
			if n := len(m.Subjects.GetSubjects()); n == 0 || n > maxSubjectsInMessage {
				return nil, nil, query.Refuse(query.Malformed, form("subjects of a message"))
			}
			if err := addSubjects(ask, m.Subjects.GetSubjects()); err != nil {
				return nil, nil, err
			}
		case *pb.ScreenRequest_Signature:
			signature, err := signatureOf(caller, m.Signature)
			if err != nil {
				return nil, nil, err
			}
			switch _, err := recv(); {
			case err == nil:
				return nil, nil, query.Refuse(query.Malformed, form("something follows the signature"))
			case !errors.Is(err, io.EOF):
				return nil, nil, err
			}
			return ask, signature, nil
		default:
			return nil, nil, query.Refuse(query.Malformed, form("message"))
		}
	}
}

// ListCandidates implements NationalService.
func (s *nationalServer) ListCandidates(ctx context.Context, p *pb.ListCandidatesRequest) (*pb.ListCandidatesResponse, error) {
	caller, err := requireRole(ctx, officer.RoleAsking, officer.RoleVerifying)
	if err != nil {
		return nil, err
	}
	var r reader
	f := asker.CandidateFilter{Holder: r.code("holder", p.GetHolder(), maxTrustDomain, true)}
	f.Since, f.Until = r.span(p.GetRange())
	f.Limit, f.After = r.page(p.GetPage())
	if p.GetRequestId() != "" {
		f.Request = r.textID("request_id", p.GetRequestId())
	}
	if p.GetState() != pb.CandidateState_CANDIDATE_STATE_UNSPECIFIED {
		f.State = candidateStates[p.GetState()]
		r.check(f.State != "", "state")
	}
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	list, next, err := s.asker.Candidates(ctx, caller.ID, f)
	if err != nil {
		return nil, err
	}
	out := &pb.ListCandidatesResponse{NextToken: token(next)}
	for i := range list {
		c := candidateProto(&list[i].Candidate)
		c.State, c.PurgeBy = stateProto(list[i].State), timestamp(list[i].PurgeBy)
		out.Candidates = append(out.Candidates, c)
	}
	return out, nil
}

// ListAsks implements NationalService.
func (s *nationalServer) ListAsks(ctx context.Context, p *pb.ListAsksRequest) (*pb.ListAsksResponse, error) {
	caller, err := requireRole(ctx, officer.RoleAsking, officer.RoleVerifying)
	if err != nil {
		return nil, err
	}
	var r reader
	f := asker.AskFilter{Unit: p.GetUnit()}
	f.Since, f.Until = r.span(p.GetRange())
	f.Limit, f.After = r.page(p.GetPage())
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	list, next, err := s.asker.Asks(ctx, caller.ID, f)
	if err != nil {
		return nil, err
	}
	out := &pb.ListAsksResponse{NextToken: token(next)}
	for i := range list {
		a := &list[i]
		out.Asks = append(out.Asks, &pb.AskSummary{RequestId: a.Request.String(), Time: timestamp(a.Time), Kind: pb.QueryKind(a.Kind),
			Purpose: a.Purpose, Subjects: count(a.Subjects), Candidates: count(a.Candidates), Results: resultsProto(a.Targets)})
	}
	return out, nil
}

// askOf returns an ask without its subjects. Everything the officer signed is
// taken as it came: another form of the same text would be another digest.
func askOf(p *pb.Ask, kind query.Kind) (*asker.Ask, error) {
	if p == nil {
		return nil, query.Refuse(query.Malformed, form("ask"))
	}
	var r reader
	a := &asker.Ask{
		Request:         r.textID("request_id", p.GetRequestId()),
		Purpose:         r.code("purpose", p.GetPurpose(), maxCode, false),
		LegalBasis:      r.code("legal_basis", p.GetLegalBasis(), maxLegalBasis, true),
		OffenceClass:    r.code("offence_class", p.GetOffenceClass(), maxCode, true),
		Urgency:         r.code("urgency", p.GetUrgency(), maxCode, true),
		CaseReference:   r.text("case_reference", p.GetCaseReference(), maxLegalBasis),
		Justification:   r.text("justification", p.GetJustification(), maxNote),
		SubjectCategory: r.code("subject_category", p.GetSubjectCategory(), maxClass, true),
		ThreatNote:      r.text("threat_note", p.GetThreatNote(), maxNote),
		Kind:            kind,
		Holders:         r.names("holders", p.GetHolders(), maxTrustDomain),
		Collections:     r.names("collections", p.GetCollections(), maxCode),
	}
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	return a, nil
}

// addSubjects appends subjects to an ask.
func addSubjects(a *asker.Ask, list []*pb.Subject) error {
	if len(a.Subjects)+len(list) > asker.MaxSubjects {
		return query.Refuse(query.TooLarge, form("subjects"))
	}
	for _, p := range list {
		var r reader
		d := p.GetDocument()
		s := record.Subject{
			Ref: r.text("ref", p.GetRef(), maxRef), Name: r.text("name", p.GetName(), maxName),
			Document: record.Document{Type: record.DocumentType(r.text("document.type", d.GetType(), maxRef)),
				Issuer: r.text("document.issuer", d.GetIssuer(), maxRef), Number: r.text("document.number", d.GetNumber(), maxNumber)},
			Nationality: r.text("nationality", p.GetNationality(), maxRef), Sex: r.text("sex", p.GetSex(), maxRef),
		}
		if text := p.GetBirthDate(); text != "" {
			var err error
			s.Birth, err = record.ParseDate(text)
			// The officer signed the text, and the digest is over the date.
			r.check(err == nil && s.Birth.String() == text, "birth_date")
		}
		if r.err != nil {
			return query.Refuse(query.Malformed, r.err)
		}
		a.Subjects = append(a.Subjects, s)
	}
	return nil
}

func (r *reader) text(field, s string, size int) string {
	r.check(len(s) <= size, field)
	return s
}

// names takes a list of codes. A line feed would change the digest's meaning, and
// is no code.
func (r *reader) names(field string, list []string, size int) []string {
	r.check(len(list) <= maxTargets, field)
	if r.err != nil {
		return nil
	}
	for _, s := range list {
		r.code(field, s, size, false)
	}
	return list
}

func (r *reader) textID(field, s string) query.ID {
	id, err := query.ParseID(s)
	r.check(err == nil, field)
	return id
}

func (r *reader) span(p *pb.TimeRange) (since, until time.Time) {
	return r.time("range.since", p.GetSince()), r.time("range.until", p.GetUntil())
}

func (r *reader) page(p *pb.Page) (limit int, after query.ID) {
	r.check(p.GetSize() <= asker.MaxPage, "page.size")
	if p.GetToken() != "" {
		after = r.textID("page.token", p.GetToken())
	}
	return int(p.GetSize()), after
}

// token returns the token of the next page.
func token(next query.ID) string {
	if next.IsZero() {
		return ""
	}
	return next.String()
}

func count(n int) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

func candidateProto(c *asker.Candidate) *pb.Candidate {
	return &pb.Candidate{
		CandidateId: c.ID.String(), QueryId: c.Query.String(), Holder: c.Holder, Collection: c.Collection, SubjectRef: c.Ref,
		Handle: c.Handle[:], Classes: c.Classes, Weight: c.Weight, AlertKind: labelCode(c.AlertKind),
		Instruction: labelCode(c.Instruction), ListVersion: c.ListVersion, Time: timestamp(c.Time),
		State: pb.CandidateState_CANDIDATE_STATE_OPEN,
	}
}

// labelCode returns a code of a label as text: empty if it is not shared.
func labelCode(c uint8) string {
	if c == 0 {
		return ""
	}
	return strconv.Itoa(int(c))
}

// candidateStates are the stored states of candidates.
var candidateStates = map[pb.CandidateState]string{
	pb.CandidateState_CANDIDATE_STATE_OPEN:      asker.CandidateOpen,
	pb.CandidateState_CANDIDATE_STATE_CONFIRMED: "confirmed",
	pb.CandidateState_CANDIDATE_STATE_REJECTED:  "rejected",
	pb.CandidateState_CANDIDATE_STATE_PURGED:    "purged",
}

func stateProto(s string) pb.CandidateState {
	for p, name := range candidateStates {
		if name == s {
			return p
		}
	}
	return pb.CandidateState_CANDIDATE_STATE_UNSPECIFIED
}

func resultsProto(list []asker.TargetResult) []*pb.HolderResult {
	var out []*pb.HolderResult
	for i := range list {
		t := &list[i]
		r := &pb.HolderResult{Holder: t.Holder, Collection: t.Collection, Refusal: refusalProto(t.Refusal), RefusedHere: t.RefusedHere,
			Exchange: exchangeProto(t.Exchange), Candidates: count(t.Candidates)}
		if !t.Query.IsZero() {
			r.QueryId = t.Query.String()
		}
		out = append(out, r)
	}
	return out
}

func exchangeProto(e *asker.Exchange) *pb.Exchange {
	if e == nil {
		return nil
	}
	return &pb.Exchange{
		Items: count(e.Items), PaddedItems: count(e.PaddedItems), Elements: count(e.Elements), BytesUp: uint64(max(e.BytesUp, 0)),
		BytesDown: uint64(max(e.BytesDown, 0)), ListVersion: e.ListVersion, ListTime: timestamp(e.ListTime), ListTags: e.ListTags,
		DurationMs: uint64(max(e.Duration, 0) / time.Millisecond), ReceiptVerified: true, IntentIndex: e.IntentIndex,
		ReceiptIndex: e.ReceiptIndex,
	}
}

// obligationsProto returns duties in words. Those that the gateway itself performs
// are among them, because the officer may be asked about them.
func obligationsProto(list []policy.Obligation) []*pb.Obligation {
	var out []*pb.Obligation
	for _, o := range list {
		p := &pb.Obligation{Kind: o.Kind, Rule: o.Rule}
		switch o.Kind {
		case policy.HumanReview:
			p.Value = strconv.FormatInt(o.People, 10)
			p.Sentence = "A candidate is not an identity: one trained officer must compare before anything is done."
			if o.People > 1 {
				p.Sentence = "A candidate is not an identity: " + p.Value + " trained officers must compare before anything is done."
			}
		case policy.AttachAgreement:
			p.Value = o.Agreement
			p.Sentence = "Name this agreement wherever the answer is used."
		case policy.LogJustification:
			p.Sentence = "The case and the justification are sealed for the auditor."
		case policy.NotifyAuditors:
			p.Value = strconv.FormatInt(o.Percent, 10)
			p.Sentence = "The auditors are told that the budget is used up to this percentage."
		case policy.LogMatch:
			p.Value = o.Modality + "/" + o.Profile + "/" + strconv.FormatInt(o.Threshold, 10)
			p.Sentence = "The threshold and the profile of the comparison are in the log."
		case policy.LogReading:
			p.Sentence = "That this was read is in the log."
		}
		out = append(out, p)
	}
	return out
}

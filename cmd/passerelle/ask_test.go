package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

var lookupFlags = []string{"lookup", "--document", "P:Utopia:L898902C3", "--name", "ERIKSSON, ANNA MARIA", "--born", "1974-08-12",
	"--nationality", "UTO", "--sex", "f", "--purpose", "ct-travel-screening", "--legal-basis", "Border Act s. 12",
	"--case", "BP-1187", "--category", "other", "--justification", "Damaged chip"}

func init() {
	// Utopia is the State of the specimens of ICAO Doc 9303, and of our tests.
	if _, ok := record.CountryCode("Utopia"); !ok {
		lookupFlags[2] = "P:UTO:L898902C3"
	}
}

// signedAsk rebuilds the ask of a request as the gateway does, and checks the
// officer's signature over it.
func signedAsk(t *testing.T, m *passerellev1.Ask, kind query.Kind, subjects []*passerellev1.Subject, signature []byte, o *officer.Identity) {
	t.Helper()
	id, err := query.ParseID(m.GetRequestId())
	if err != nil {
		t.Fatal(err)
	}
	a := &asker.Ask{Request: id, Purpose: m.GetPurpose(), LegalBasis: m.GetLegalBasis(), OffenceClass: m.GetOffenceClass(),
		Urgency: m.GetUrgency(), CaseReference: m.GetCaseReference(), Justification: m.GetJustification(),
		SubjectCategory: m.GetSubjectCategory(), ThreatNote: m.GetThreatNote(), Kind: kind, Holders: m.GetHolders(),
		Collections: m.GetCollections()}
	for _, s := range subjects {
		born, err := record.ParseDate(s.GetBirthDate())
		if s.GetBirthDate() != "" && err != nil {
			t.Fatal(err)
		}
		a.Subjects = append(a.Subjects, record.Subject{Ref: s.GetRef(), Name: s.GetName(), Birth: born, Nationality: s.GetNationality(),
			Sex: s.GetSex(), Document: record.Document{Type: record.DocumentType(s.GetDocument().GetType()),
				Issuer: s.GetDocument().GetIssuer(), Number: s.GetDocument().GetNumber()}})
	}
	if err := officer.CheckAsk(officer.Officer{PublicKey: o.PublicKey()}, a.Digest(), signature); err != nil {
		t.Errorf("the ask is not signed with the officer's key: %v", err)
	}
}

func answered(holder, collection string, candidates uint32) *passerellev1.HolderResult {
	return &passerellev1.HolderResult{Holder: holder, Collection: collection, QueryId: "0195a3c0-0000-7000-8000-00000000000a",
		Candidates: candidates, Exchange: &passerellev1.Exchange{Items: 1, PaddedItems: 1, Elements: 4, BytesUp: 412, BytesDown: 690,
			ListVersion: 7, ListTime: noon, ListTags: 4096, DurationMs: 31, ReceiptVerified: true, IntentIndex: 11, ReceiptIndex: 12}}
}

func refusedBy(holder string, here bool, reason passerellev1.ErrorReason, denials ...*passerellev1.Denial) *passerellev1.HolderResult {
	return &passerellev1.HolderResult{Holder: holder, Collection: "watchlist", RefusedHere: here,
		Refusal: &passerellev1.Refusal{Reason: reason, Denials: denials, RetryAfterMs: 0}}
}

var candidate = &passerellev1.Candidate{CandidateId: "c-17", Holder: "arcadia.example", Collection: "watchlist",
	Handle: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Classes: []string{"doc", "name+dob"}, Weight: 140, ListVersion: 7, Time: noon,
	State: passerellev1.CandidateState_CANDIDATE_STATE_OPEN, PurgeBy: noon}

var denial = &passerellev1.Denial{Rule: "RU-03", Title: "Purpose limitation", Citation: "LED Art. 4(1)(b) [EU-LED, verified]",
	Sentence: "The purpose is not one of the agreement. Ask your legal officer."}

func TestLookup(t *testing.T) {
	t.Parallel()
	f := start(t)
	id, dir := f.enrol(t, "k-4711")
	f.lookup = func(r *passerellev1.LookupRequest) (*passerellev1.LookupResponse, error) {
		signedAsk(t, r.GetAsk(), query.Single, []*passerellev1.Subject{r.GetSubject()}, r.GetSignature().GetSignature(), id)
		if d := r.GetSubject().GetDocument(); d.GetType() != "passport" || d.GetNumber() != "L898902C3" {
			t.Errorf("document type = %q", d.GetType())
		}
		return &passerellev1.LookupResponse{RequestId: r.GetAsk().GetRequestId(), Candidates: []*passerellev1.Candidate{candidate},
			Results: []*passerellev1.HolderResult{answered("arcadia.example", "watchlist", 1),
				refusedBy("borduria.example", true, passerellev1.ErrorReason_ERROR_REASON_POLICY_DENIED, denial)},
			Obligations: []*passerellev1.Obligation{{Kind: "purge_by", Value: "2027-05-21", Rule: "RU-33", Sentence: "Purge by 2027-05-21."}}}, nil
	}
	code, out, errOut := command(t, "", f.as(dir, lookupFlags...)...)
	if code != exitDone || errOut != "" {
		t.Errorf("exit code %d, want 0; stderr %q", code, errOut)
	}
	golden(t, "lookup", out)
	for _, word := range []string{"identity", "match", " hit"} {
		if strings.Contains(strings.ToLower(out), word) {
			t.Errorf("the output calls a candidate %q", word)
		}
	}

	code, out, errOut = command(t, "", f.as(dir, append([]string{"--json"}, lookupFlags...)...)...)
	if code != exitDone || errOut != "" {
		t.Errorf("with --json: exit code %d, want 0; stderr %q", code, errOut)
	}
	golden(t, "lookup.json", out)
	if !json.Valid([]byte(out)) || strings.Count(out, "\n") != 1 {
		t.Errorf("with --json it is not one JSON object on one line")
	}
	if f.issued != 1 {
		t.Errorf("%d certificates were issued for two commands, want 1", f.issued)
	}
}

func TestLookupExitCodes(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "k-1")
	const (
		denied      = passerellev1.ErrorReason_ERROR_REASON_POLICY_DENIED
		budget      = passerellev1.ErrorReason_ERROR_REASON_BUDGET_EXHAUSTED
		unreachable = passerellev1.ErrorReason_ERROR_REASON_PEER_UNREACHABLE
		stale       = passerellev1.ErrorReason_ERROR_REASON_LIST_STALE
	)
	tests := []struct {
		name    string
		results []*passerellev1.HolderResult
		err     error
		want    int
	}{
		{"all answered", []*passerellev1.HolderResult{answered("a", "l", 0)}, nil, exitDone},
		{"nobody was asked", nil, nil, exitFailed},
		{"our rules left one out", []*passerellev1.HolderResult{answered("a", "l", 0), refusedBy("b", true, denied)}, nil, exitDone},
		{"our rules left all out", []*passerellev1.HolderResult{refusedBy("b", true, denied)}, nil, exitDenied},
		{"a holder denied", []*passerellev1.HolderResult{answered("a", "l", 0), refusedBy("b", false, denied)}, nil, exitDenied},
		{"a holder's budget", []*passerellev1.HolderResult{refusedBy("b", false, budget)}, nil, exitDenied},
		{"one unreachable", []*passerellev1.HolderResult{answered("a", "l", 3), refusedBy("b", false, unreachable)}, nil, exitUnreachable},
		{"our list is stale", []*passerellev1.HolderResult{answered("a", "l", 3), refusedBy("b", true, stale)}, nil, exitFailed},
		{"error: denied", nil, refused(codes.PermissionDenied, "POLICY_DENIED", nil, 0), exitDenied},
		{"error: role", nil, refused(codes.PermissionDenied, "ROLE_REQUIRED", nil, 0), exitDenied},
		{"error: agreement", nil, refused(codes.FailedPrecondition, "AGREEMENT_EXPIRED", nil, 0), exitDenied},
		{"error: unreachable", nil, refused(codes.Unavailable, "PEER_UNREACHABLE", nil, 0), exitUnreachable},
		{"error: audit", nil, refused(codes.Unavailable, "AUDIT_UNAVAILABLE", nil, 0), exitFailed},
	}
	for _, tt := range tests {
		f.lookup = func(*passerellev1.LookupRequest) (*passerellev1.LookupResponse, error) {
			return &passerellev1.LookupResponse{Results: tt.results}, tt.err
		}
		for _, format := range [][]string{nil, {"--json"}} {
			code, out, errOut := command(t, "", f.as(dir, append(format, lookupFlags...)...)...)
			if code != tt.want {
				t.Errorf("%s: exit code %d, want %d; stderr %q", tt.name, code, tt.want, errOut)
			}
			if format != nil && !json.Valid([]byte(out)) {
				t.Errorf("%s: with --json stdout is %q", tt.name, out)
			}
		}
	}
}

func TestErrorWithDenials(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "k-1")
	f.lookup = func(*passerellev1.LookupRequest) (*passerellev1.LookupResponse, error) {
		return nil, refused(codes.PermissionDenied, "POLICY_DENIED", map[string]string{"denials": `[` +
			`{"rule":"RU-03","title":"Purpose limitation","citation":"LED Art. 4(1)(b) [EU-LED, verified]",` +
			`"sentence":"The purpose is not one of the agreement. Ask your legal officer."},` +
			`{"rule":"RU-08","title":"A specific case","citation":"LED Art. 8 \u001b[31m[EU-LED]","sentence":"Give the reference of the case."}]`}, 0)
	}
	code, out, errOut := command(t, "", f.as(dir, lookupFlags...)...)
	if code != exitDenied || out != "" {
		t.Errorf("exit code %d, want 3; stdout %q", code, out)
	}
	golden(t, "denied", errOut)
	_, out, _ = command(t, "", f.as(dir, append([]string{"--json"}, lookupFlags...)...)...)
	golden(t, "denied.json", out)
}

func TestSubjectFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		flags subjectFlags
		want  string // in the error; empty: none
	}{
		{"document", subjectFlags{document: "passport:UTO:123"}, ""},
		{"short form", subjectFlags{document: "v:UTO:12:3"}, ""},
		{"name and year", subjectFlags{name: "A B", born: "1974"}, ""},
		{"nothing", subjectFlags{born: "1974"}, "whom to ask for"},
		{"no number", subjectFlags{document: "passport:UTO:"}, "--document"},
		{"two parts", subjectFlags{document: "passport:123"}, "--document"},
		{"unknown type", subjectFlags{document: "library-card:UTO:123"}, "the type is not one of"},
		{"unknown issuer", subjectFlags{document: "passport:Freedonia:123"}, "issuer is not a State"},
		{"unknown nationality", subjectFlags{name: "A", nationality: "Freedonia"}, "--nationality"},
		{"wrong date", subjectFlags{name: "A", born: "12.8.1974"}, "--born"},
	} {
		_, err := tt.flags.subject()
		var usage usageError
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &usage)):
			t.Errorf("%s: error = %v, want one of usage with %q", tt.name, err, tt.want)
		case err != nil && (strings.Contains(err.Error(), "Freedonia") || strings.Contains(err.Error(), "12.8.1974")):
			t.Errorf("%s: the error repeats personal data: %v", tt.name, err)
		}
	}
}

func TestScreen(t *testing.T) {
	t.Parallel()
	f := start(t)
	id, dir := f.enrol(t, "k-4711")
	f.screen = func(s passerellev1.NationalService_ScreenServer) error {
		var ask *passerellev1.Ask
		var subjects []*passerellev1.Subject
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if m.GetAsk() != nil {
				ask = m.GetAsk()
			}
			if n := len(m.GetSubjects().GetSubjects()); n > 500 {
				t.Errorf("%d subjects in one message", n)
			}
			subjects = append(subjects, m.GetSubjects().GetSubjects()...)
			if m.GetSignature() != nil {
				signedAsk(t, ask, query.Set, subjects, m.GetSignature().GetSignature(), id)
			}
		}
		found := &passerellev1.Candidate{CandidateId: "c-1", Holder: "arcadia.example", Collection: "watchlist",
			SubjectRef: subjects[0].GetRef(), Classes: []string{"doc"}, Weight: 100, Time: noon}
		for _, m := range []*passerellev1.ScreenResponse{
			{Message: &passerellev1.ScreenResponse_Progress{Progress: &passerellev1.ScreenProgress{Queries: 1, Step: "asking"}}},
			{Message: &passerellev1.ScreenResponse_Candidate{Candidate: found}},
			{Message: &passerellev1.ScreenResponse_Summary{Summary: &passerellev1.ScreenSummary{RequestId: ask.GetRequestId(),
				Subjects: uint32(len(subjects)), SubjectsWithCandidates: 1,
				Results: []*passerellev1.HolderResult{answered("arcadia.example", "watchlist", 1)}}}},
		} {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		return nil
	}
	var csv strings.Builder
	csv.WriteString("ref,name,date of birth\n")
	for range 600 {
		csv.WriteString("S1,\"ERIKSSON, ANNA\",1974-08-12\n")
	}
	flags := []string{"screen", "-", "--purpose", "ct-travel-screening", "--legal-basis", "Border Act s. 12", "--case", "UT-417"}
	code, out, errOut := command(t, csv.String(), f.as(dir, flags...)...)
	if code != exitDone || errOut != "" {
		t.Errorf("exit code %d, want 0; stderr %q", code, errOut)
	}
	golden(t, "screen", out)

	csv.WriteString("S2,\"NAMELESS\",the first of May\n")
	code, out, _ = command(t, csv.String(), f.as(dir, append([]string{"--json"}, flags...)...)...)
	if code != exitFailed {
		t.Errorf("with a row that cannot be read: exit code %d, want 1", code)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], `{"candidate":{`) || !strings.HasPrefix(lines[1], `{"summary":{`) ||
		!strings.Contains(lines[1], `"rejected":[{"file":"stdin","line":602,`) {
		t.Errorf("with --json it printed %q", out)
	}
	if strings.Contains(out, "first of May") {
		t.Errorf("the report repeats the row")
	}
}

func TestScreenWithoutSummary(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "k-1")
	f.screen = func(s passerellev1.NationalService_ScreenServer) error {
		for {
			if _, err := s.Recv(); err != nil {
				return s.Send(&passerellev1.ScreenResponse{Message: &passerellev1.ScreenResponse_Candidate{Candidate: candidate}})
			}
		}
	}
	file := filepath.Join(t.TempDir(), "flight.csv")
	if err := os.WriteFile(file, []byte("name,year of birth\nA B,1974\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := command(t, "", f.as(dir, "screen", file, "--purpose", "p", "--legal-basis", "b")...)
	if code != exitFailed || !strings.Contains(errOut, "without a summary") {
		t.Errorf("exit code %d, want 1; stderr %q", code, errOut)
	}
}

package facts_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/policy"
)

const utopia, valdera = "border.utopia.example", "border.valdera.example"

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newAgreement() *agreement.Agreement {
	party := func(td, country, code string) agreement.Party {
		return agreement.Party{Country: country, TrustDomain: td, Gateway: "spiffe://" + td + "/gateway/main", AgencyCode: code,
			Agency: "Border", Competences: []string{policy.ControlBorders},
			LegalBases: []agreement.LegalBasis{{Ref: "Act of " + country, Purposes: []string{"ct"}, Categories: []string{"watchlist"}}}}
	}
	g := agreement.New("a-b", party(utopia, "UTO", "uto-bp"), party(valdera, "QVA", "qva-bp"), noon)
	g.Collections = []agreement.Collection{agreement.NewCollection("watchlist", valdera, "watchlist", "doc", "name+dob")}
	g.Purposes = []agreement.Purpose{{Code: "ct", Categories: []string{"watchlist"}}}
	g.OffenceClasses = []string{"terrorism"}
	g.Thresholds = map[string]int{"identity": 800}
	return g
}

func TestAgreement(t *testing.T) {
	t.Parallel()
	if got := facts.Agreement(nil, agreement.Digest{1}, true); !reflect.DeepEqual(got, policy.Agreement{}) {
		t.Errorf("no agreement gives the facts %+v", got)
	}
	g := newAgreement()
	got := facts.Agreement(g, agreement.Digest{1}, true)
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"id", got.ID, "a-b"},
		{"digest", got.Digest, policy.Digest{1}},
		{"suspended", got.Suspended, true},
		{"valid from", got.ValidFrom, policy.NewTime(g.ValidFrom)},
		{"valid to", got.ValidTo, policy.NewTime(g.ValidTo)},
		{"categories", got.Categories, []string{"watchlist"}},
		{"sets", got.SetScreeningAllowed, true},
		{"size of sets", got.MaxSet, int64(1024)},
		{"thresholds", got.Thresholds, policy.Amounts{"identity": 800}},
		{"purposes", got.Purposes, []policy.Purpose{{Code: "ct", Categories: []string{"watchlist"}}}},
		{"collections", got.Collections, []policy.Collection{{Name: "watchlist", Holder: valdera, Category: "watchlist",
			Classes: []string{"doc", "name+dob"}}}},
		{"urgent answers, in seconds", got.SLA["urgent"], int64(time.Duration(g.Deadlines.Urgent) / time.Second)},
		{"retention, in days", got.RetentionDays["with_candidate"], int64(g.RetentionDays.WithCandidate)},
		{"parties", len(got.Parties), 2},
		{"legal basis", got.Parties[0].LegalBases, []policy.LegalBasis{{Ref: "Act of UTO", Purposes: []string{"ct"},
			Categories: []string{"watchlist"}}}},
	} {
		if fmt.Sprint(tt.got) != fmt.Sprint(tt.want) {
			t.Errorf("%s = %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestGateway(t *testing.T) {
	t.Parallel()
	g := newAgreement()
	for _, tt := range []struct {
		name string
		a    *agreement.Agreement
		td   string
		want policy.Gateway
	}{
		{"a party", g, valdera, policy.Gateway{SPIFFEID: "id", TrustDomain: valdera, Country: "QVA", AgencyCode: "qva-bp"}},
		{"a stranger", g, "x.example", policy.Gateway{SPIFFEID: "id", TrustDomain: "x.example"}},
		{"no agreement", nil, valdera, policy.Gateway{SPIFFEID: "id", TrustDomain: valdera}},
	} {
		if got := facts.Gateway(tt.a, tt.td, "id"); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestAnswerQuery sets every fact that travels: none may be lost on the way to the
// rules.
func TestAnswerQuery(t *testing.T) {
	t.Parallel()
	f := &query.Facts{Agreement: "a-b", AgreementDigest: [32]byte{1}, Collection: "watchlist", Purpose: "ct", LegalBasis: "Act",
		OffenceClass: "terrorism", Urgency: "urgent", Category: "watchlist", Kind: query.Set, Items: 64, Unit: [16]byte{2},
		CaseReference: true, Justification: true}
	got := reflect.ValueOf(facts.AnswerQuery(f, []string{"RU-01"}))
	for field, v := range got.Fields() {
		if v.IsZero() {
			t.Errorf("the rules do not see %s", field.Name)
		}
	}
	for field, v := range reflect.ValueOf(*f).Fields() {
		if v.IsZero() {
			t.Errorf("the test does not set %s", field.Name)
		}
	}
}

func TestCheckCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		asker  string
		change func(*agreement.Agreement, *query.Facts)
		ok     bool
	}{
		{"as agreed", utopia, func(*agreement.Agreement, *query.Facts) {}, true},
		{"no legal basis", utopia, func(_ *agreement.Agreement, f *query.Facts) { f.LegalBasis = "" }, true},
		{"no offence where none is listed", utopia, func(a *agreement.Agreement, f *query.Facts) {
			a.OffenceClasses, f.OffenceClass = nil, ""
		}, true},
		{"other purpose", utopia, func(_ *agreement.Agreement, f *query.Facts) { f.Purpose = "MUSTERMANN" }, false},
		{"basis of the other side", utopia, func(_ *agreement.Agreement, f *query.Facts) { f.LegalBasis = "Act of QVA" }, false},
		{"other offence", utopia, func(_ *agreement.Agreement, f *query.Facts) { f.OffenceClass = "fraud" }, false},
		{"no offence where some are listed", utopia, func(_ *agreement.Agreement, f *query.Facts) { f.OffenceClass = "" }, false},
		{"offence where none is listed", utopia, func(a *agreement.Agreement, _ *query.Facts) { a.OffenceClasses = nil }, false},
		{"other urgency", utopia, func(_ *agreement.Agreement, f *query.Facts) { f.Urgency = "soon" }, false},
		{"a stranger", "x.example", func(*agreement.Agreement, *query.Facts) {}, false},
	} {
		a := newAgreement()
		f := &query.Facts{Purpose: "ct", LegalBasis: "Act of UTO", OffenceClass: "terrorism", Urgency: "ordinary"}
		tt.change(a, f)
		if err := facts.CheckCodes(a, tt.asker, f); (err == nil) != tt.ok {
			t.Errorf("%s: CheckCodes = %v", tt.name, err)
		}
	}
}

func TestAgreementReason(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want query.Reason
	}{
		{agreement.ErrExpired, query.AgreementExpired},
		{agreement.ErrSuspended, query.AgreementSuspended},
		{agreement.ErrNotYet, query.AgreementNotYet},
		{agreement.ErrDigest, query.AgreementMismatch},
		{agreement.ErrUnknown, query.AgreementUnknown},
		{agreement.ErrParty, query.AgreementUnknown}, // a stranger learns no more
		{errors.New("another"), query.AgreementUnknown},
		{fmt.Errorf("wrapped: %w", agreement.ErrExpired), query.AgreementExpired},
	} {
		if got := facts.AgreementReason(tt.err); got != tt.want {
			t.Errorf("AgreementReason(%v) = %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestAgreementStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		info agreement.Info
		want query.AgreementStatus
	}{
		{agreement.Info{State: agreement.Active}, query.Active},
		{agreement.Info{State: agreement.NotYet}, query.NotYet},
		{agreement.Info{State: agreement.Suspended}, query.Suspended},
		{agreement.Info{State: agreement.Expired}, query.Expired},
		{agreement.Info{State: agreement.Active, Superseded: true}, query.Superseded},
		{agreement.Info{State: agreement.Suspended, Superseded: true}, query.Superseded},
		{agreement.Info{}, query.Expired}, // a forgotten state permits nothing
	} {
		if got := facts.AgreementStatus(&tt.info); got != tt.want {
			t.Errorf("AgreementStatus(%v, superseded %t) = %d, want %d", tt.info.State, tt.info.Superseded, got, tt.want)
		}
	}
}

// TestRefusal checks what is told of decisions by the real rules: all of one that
// may be explained, and nothing but the reason of one that may not.
func TestRefusal(t *testing.T) {
	t.Parallel()
	engine, err := policy.NewEngine(t.Context(), policy.Default())
	if err != nil {
		t.Fatal(err)
	}
	// No agreement: everything about it denies, and the asker's own officer may know why.
	d, err := engine.Decide(t.Context(), policy.AskInput{Now: policy.NewTime(noon), Agreement: facts.Agreement(nil, agreement.Digest{}, false)})
	if err != nil || d.Allowed() {
		t.Fatalf("Decide = %v, %v; want a refusal", d.Allowed(), err)
	}
	r := facts.Refusal(d, nil)
	if r.Reason != query.PolicyDenied || d.DiscloseReason() != (len(r.Denials) > 0) || d.DiscloseReason() && len(r.Denials) != len(d.Denials()) {
		t.Errorf("Refusal = %+v of a decision with %d denials, disclosed %t", r, len(d.Denials()), d.DiscloseReason())
	}
	for _, n := range r.Denials {
		if n.Rule == "" || n.Title == "" || n.Sentence == "" {
			t.Errorf("denial %+v", n)
		}
	}
	cause := errors.New("rules are broken")
	r = facts.Refusal(policy.Decision{}, cause)
	if r.Reason != query.PolicyUnavailable || r.Denials != nil || !errors.Is(r, cause) {
		t.Errorf("Refusal of no decision = %+v", r)
	}
	if r := facts.Refusal(policy.Decision{}, nil); r.Reason != query.PolicyDenied || r.Denials != nil {
		t.Errorf("Refusal of the zero decision = %+v", r)
	}
}

// TestEncode checks that the rules decide the same from an input that was encoded
// once.
func TestEncode(t *testing.T) {
	t.Parallel()
	in := policy.AskInput{Now: policy.NewTime(noon), Agreement: facts.Agreement(newAgreement(), agreement.Digest{1}, false)}
	b, digest := in.Stored()
	once := facts.Encode(in)
	again, digestAgain := once.Stored()
	if once.Door() != in.Door() || string(again) != string(b) || digestAgain != digest {
		t.Error("Encode changes the input")
	}
}

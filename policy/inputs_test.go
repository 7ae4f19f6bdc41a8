package policy_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/policy"
)

// shared is one engine with the built-in rules. Activating takes longer than
// most tests.
var shared = sync.OnceValues(func() (*policy.Engine, error) {
	return policy.NewEngine(context.Background(), policy.Default())
})

func engine(t testing.TB) *policy.Engine {
	t.Helper()
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func moment(s string) policy.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return policy.NewTime(t)
}

var now = moment("2026-11-22T18:55:58Z")

const justification = "Traveller Zylphia Quenneville gave a birth date that differs from her visa file."

func agreement() policy.Agreement {
	return policy.Agreement{
		ID:     "A-B-2026",
		Digest: policy.Digest{1, 2, 3},
		Parties: []policy.Party{
			{TrustDomain: "a.example", Country: "AAA", AgencyCode: "A-POL", Competences: []string{policy.InvestigateOffences}},
			{
				TrustDomain: "b.example", Country: "BBB", AgencyCode: "B-BP",
				Competences: []string{policy.CounterTerrorism, policy.ControlBorders},
				LegalBases: []policy.LegalBasis{
					{Ref: "B-Border-Act-2021 s.14(2)", Purposes: []string{"ct-travel-screening"}, Categories: []string{"watchlist"}},
					{Ref: "B-Trial-Act-2020 s.9", Purposes: []string{"terrorism-trial"}, Categories: []string{"watchlist"}},
				},
			},
		},
		Collections: []policy.Collection{
			{Name: "watchlist", Holder: "a.example", Category: "watchlist", Classes: []string{"doc", "name+dob"}},
		},
		Categories:          []string{"watchlist"},
		Purposes:            []policy.Purpose{{Code: "ct-travel-screening", Categories: []string{"watchlist"}}},
		ValidFrom:           moment("2026-01-01T00:00:00Z"),
		ValidTo:             moment("2027-06-30T00:00:00Z"),
		SetScreeningAllowed: true,
		MaxSet:              190,
		Thresholds:          policy.Amounts{"name": 850},
		Regimes:             []string{"UN", "EU-LED"},
	}
}

var (
	gatewayA = policy.Gateway{SPIFFEID: "spiffe://a.example/gateway/main", TrustDomain: "a.example", Country: "AAA", AgencyCode: "A-POL"}
	gatewayB = policy.Gateway{SPIFFEID: "spiffe://b.example/gateway/main", TrustDomain: "b.example", Country: "BBB", AgencyCode: "B-BP"}
	officer  = policy.NewOfficer("spiffe://b.example/officer/B-BG-2231", policy.Pseudonym{1}, policy.Pseudonym{2}, []string{"asking"}, now)
	healthy  = policy.Log{WriteOK: true, TimestampAge: 20, MaxAge: 3600}
)

func askInput() policy.AskInput {
	return policy.AskInput{
		Now: now, Agreement: agreement(), Self: gatewayB, Peer: gatewayA, Officer: officer,
		Query: policy.AskQuery{
			Collection: "watchlist", Category: "watchlist", PurposeCode: "ct-travel-screening",
			LegalBasisRef: "B-Border-Act-2021 s.14(2)", OffenceCode: "terrorist-travel", Urgency: "normal",
			Kind: "single", SubjectCount: 1, Modality: "name", Profile: "names-1",
			Case: policy.NewRef("2026-CT-118"), Justification: policy.NewText(justification),
		},
		Subject: policy.Subject{Category: "suspect", AgeYears: 34, AgeCertainty: "known"},
	}
}

func answerQuery() policy.AnswerQuery {
	return policy.AnswerQuery{
		Agreement: "A-B-2026", AgreementDigest: policy.Digest{1, 2, 3},
		Collection: "watchlist", Category: "watchlist", PurposeCode: "ct-travel-screening",
		LegalBasisRef: "B-Border-Act-2021 s.14(2)", OffenceCode: "terrorist-travel", Urgency: "normal",
		Kind: "single", Items: 1, Unit: policy.Pseudonym{2}, CaseReference: true, Justification: true,
		AskRules: []string{"RU-01", "RU-06"},
	}
}

func answerInput() policy.AnswerInput {
	return policy.AnswerInput{
		Now: now, Agreement: agreement(), Self: gatewayA, Peer: gatewayB, Query: answerQuery(),
		Budgets: []policy.Budget{{Scope: "peer", Used: 211, Requested: 1, Limit: 500, ResetsIn: 7200}}, Log: healthy,
	}
}

func publishInput() policy.PublishInput {
	return policy.PublishInput{
		Now: now, Agreement: agreement(), Self: gatewayA, Peer: gatewayB, Collection: "watchlist", Category: "watchlist",
		Record: policy.Record{
			Originator: "a.example", SourceList: "national", ProtectionStatus: "none", ReviewBy: moment("2027-09-01T00:00:00Z"),
			CriterionCode: "conviction", Nominator: "A-POL", ReliabilityGrade: "B2", State: "active",
		},
	}
}

func discloseInput() policy.DiscloseInput {
	return policy.DiscloseInput{
		Now: now, Agreement: agreement(), Self: gatewayA, Peer: gatewayB, Stage: "full", Query: answerQuery(),
		Match: policy.Match{
			Modality: "name", Profile: "names-1", Threshold: 850, WithinThreshold: true, Scored: true, Score: 930,
			Confirmed: true, ConfirmedBy: 1, ConfirmedAt: now,
		},
		Log: healthy,
	}
}

func retainInput() policy.RetainInput {
	return policy.RetainInput{
		Now: now, Action: policy.ReadingLog, Self: gatewayA,
		Reader: policy.Reader{Role: policy.RoleAuditor, Purpose: policy.CheckLawfulness},
	}
}

// passing returns one input of each door that the built-in rules allow.
func passing() []policy.Input {
	return []policy.Input{askInput(), answerInput(), publishInput(), discloseInput(), retainInput()}
}

package rpc_test

import (
	"context"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/policy"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// A fakePolicy has one bundle and explains what a test says.
type fakePolicy struct {
	explained []inspect.Explained
	reloads   []bool // dry run or not
	caller    string
	door      policy.Door
}

func (f *fakePolicy) ActiveBundle() rpc.ActiveBundle {
	return rpc.ActiveBundle{Digest: [32]byte{1}, Revision: "r1", Activated: auditNoon, Rules: []policy.Rule{{ID: "RU-01",
		Title: "Agreement",
		Doors: []policy.Door{policy.Ask}, Regimes: []string{"UN"}, Citation: "Res. 2396", Verified: true,
		References: []string{"Res. 1373"}}}}
}

func (f *fakePolicy) ReloadBundle(_ context.Context, caller string, dryRun bool) (rpc.Reloaded, error) {
	f.caller = caller
	f.reloads = append(f.reloads, dryRun)
	return rpc.Reloaded{TestsPassed: 3, Faults: []string{"a.rego:1: wrong"}}, nil
}

func (f *fakePolicy) Explain(_ context.Context, caller string, _ query.ID, door policy.Door) ([]inspect.Explained, error) {
	f.caller, f.door = caller, door
	return f.explained, nil
}

func TestPolicyService(t *testing.T) {
	t.Parallel()
	f := &fakePolicy{explained: []inspect.Explained{
		{Door: policy.Ask, Time: auditNoon, Rules: []string{"RU-03"}, Reason: query.PolicyDenied, Bundle: [32]byte{1},
			Input:      []byte("{}"),
			Reproduced: true, Denials: []policy.Denial{{Rule: "RU-03", Title: "Purpose", Citation: "Art. 4", Regime: "EU-LED",
				ModelPractice: true,
				Sentence:      "Name a purpose."}}},
		{Door: policy.Answer, Time: auditNoon, Reason: query.AgreementExpired},
		{Door: policy.Answer, Time: auditNoon, Allowed: true, Bundle: [32]byte{2}},
	}}
	s := rpc.PolicyService(f, f).Impl().(pb.PolicyServiceServer)
	id := query.NewID(auditNoon).String()

	b, err := s.GetBundle(as(t, officer.RoleAuditor), &pb.GetBundleRequest{})
	if err != nil || b.GetBundle().GetRevision() != "r1" || len(b.GetBundle().GetRules()) != 1 ||
		len(b.GetBundle().GetRules()[0].GetCitations()) != 2 {
		t.Errorf("GetBundle = %v, %v", b, err)
	}
	r, err := s.ReloadBundle(as(t, officer.RoleLegal), &pb.ReloadBundleRequest{DryRun: true})
	if err != nil || r.GetChanged() || r.GetTestsPassed() != 3 || len(r.GetFaults()) != 1 || !f.reloads[0] ||
		f.caller != "spiffe://a.example/officer/o1" {
		t.Errorf("ReloadBundle = %v, %v", r, err)
	}
	x, err := s.ExplainDecision(as(t, officer.RoleLegal), &pb.ExplainDecisionRequest{QueryId: id, Door: "ask"})
	if err != nil || f.door != policy.Ask || len(x.GetDecisions()) != 3 {
		t.Fatalf("ExplainDecision = %v, %v", x, err)
	}
	d := x.GetDecisions()
	if d[0].GetBundleRevision() != "r1" || d[0].GetDenials()[0].GetCitation() !=
		"Art. 4 [EU-LED] (unverified reference) (model practice: it does not bind under this agreement)" {
		t.Errorf("first decision = %v", d[0])
	}
	if n := d[1].GetDenials(); len(n) != 1 || n[0].GetRule() != "AGREEMENT_EXPIRED" ||
		n[0].GetSentence() != "Agreement has expired." {
		t.Errorf("second decision = %v", d[1])
	}
	if d[2].GetBundleRevision() != "" || len(d[2].GetDenials()) != 0 || !d[2].GetAllowed() {
		t.Errorf("third decision = %v", d[2])
	}

	for name, call := range map[string]func(context.Context) error{
		"GetBundle":    func(ctx context.Context) error { _, err := s.GetBundle(ctx, &pb.GetBundleRequest{}); return err },
		"ReloadBundle": func(ctx context.Context) error { _, err := s.ReloadBundle(ctx, &pb.ReloadBundleRequest{}); return err },
		"ExplainDecision": func(ctx context.Context) error {
			_, err := s.ExplainDecision(ctx, &pb.ExplainDecisionRequest{QueryId: id})
			return err
		},
	} {
		if err := call(as(t, officer.RoleAsking, officer.RoleVerifying)); query.ReasonOf(err) != query.RoleRequired {
			t.Errorf("%s by an officer: %v", name, err)
		}
		if err := call(t.Context()); query.ReasonOf(err) != query.NotEnrolled {
			t.Errorf("%s by nobody: %v", name, err)
		}
	}
	if len(f.reloads) != 1 {
		t.Errorf("%d reloads, want 1", len(f.reloads))
	}
	for _, bad := range []*pb.ExplainDecisionRequest{{}, {QueryId: strings.ToUpper(id)}, {QueryId: id, Door: "window"}} {
		if _, err := s.ExplainDecision(as(t, officer.RoleLegal), bad); query.ReasonOf(err) != query.Malformed {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

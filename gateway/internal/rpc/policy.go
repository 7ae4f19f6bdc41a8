package rpc

import (
	"context"
	"strings"
	"time"

	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/policy"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// An ActiveBundle is the rules that decide now.
type ActiveBundle struct {
	Digest    [32]byte
	Revision  string
	Activated time.Time
	Signer    string // name of the key that signed it; empty for the embedded bundle
	Rules     []policy.Rule
}

// A Reloaded says what became of a bundle that was read.
type Reloaded struct {
	Changed     bool // it is active now, and was not before
	TestsPassed int
	Faults      []string // what is wrong with it; then the bundle before stays active
}

// A Reloader has the active bundle, and reads another.
type Reloader interface {
	// ActiveBundle returns the bundle that decides now.
	ActiveBundle() ActiveBundle

	// ReloadBundle reads the bundle from the configured place, and makes it active
	// if it compiles, all of its tests pass, and dryRun is not set. That it is
	// active MUST be an entry of the shared log, with the officer's pseudonym,
	// before ReloadBundle returns. A bundle that cannot be used is no error: the
	// Faults say what is wrong.
	ReloadBundle(ctx context.Context, officer string, dryRun bool) (Reloaded, error)
}

// An Explainer explains decisions, and puts on record that it did. It is
// implemented by inspect.Inspector.
type Explainer interface {
	Explain(ctx context.Context, caller string, id query.ID, door policy.Door) ([]inspect.Explained, error)
}

// PolicyService returns the service of that name.
func PolicyService(r Reloader, e Explainer) Service {
	return Service{&pb.PolicyService_ServiceDesc, &policyServer{reloader: r, explainer: e}}
}

type policyServer struct {
	pb.UnimplementedPolicyServiceServer
	reloader  Reloader
	explainer Explainer
}

// GetBundle implements PolicyService.
func (s *policyServer) GetBundle(ctx context.Context, _ *pb.GetBundleRequest) (*pb.GetBundleResponse, error) {
	if _, err := requireRole(ctx, officer.RoleLegal, officer.RoleAuditor, officer.RoleOperator); err != nil {
		return nil, err
	}
	return &pb.GetBundleResponse{Bundle: bundleProto(s.reloader.ActiveBundle())}, nil
}

// ReloadBundle implements PolicyService.
func (s *policyServer) ReloadBundle(ctx context.Context, p *pb.ReloadBundleRequest) (*pb.ReloadBundleResponse, error) {
	caller, err := requireRole(ctx, officer.RoleLegal, officer.RoleOperator)
	if err != nil {
		return nil, err
	}
	r, err := s.reloader.ReloadBundle(ctx, caller.ID, p.GetDryRun())
	if err != nil {
		return nil, err
	}
	return &pb.ReloadBundleResponse{Active: bundleProto(s.reloader.ActiveBundle()), Changed: r.Changed,
		TestsPassed: count(r.TestsPassed),
		Faults:      r.Faults}, nil
}

// doors are where there is a decision about one query.
var doors = map[string]policy.Door{"": "", "publish": policy.Publish, "ask": policy.Ask, "answer": policy.Answer,
	"disclose": policy.Disclose, "retain": policy.Retain}

// ExplainDecision implements PolicyService.
func (s *policyServer) ExplainDecision(ctx context.Context, p *pb.ExplainDecisionRequest) (*pb.ExplainDecisionResponse, error) {
	caller, err := requireRole(ctx, officer.RoleLegal, officer.RoleAuditor)
	if err != nil {
		return nil, err
	}
	var r reader
	id := r.textID("query_id", p.GetQueryId())
	door, ok := doors[p.GetDoor()]
	r.check(ok, "door")
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	list, err := s.explainer.Explain(ctx, caller.ID, id, door)
	if err != nil {
		return nil, err
	}
	active := s.reloader.ActiveBundle()
	out := new(pb.ExplainDecisionResponse)
	for i := range list {
		out.Decisions = append(out.Decisions, explainedProto(&list[i], &active))
	}
	return out, nil
}

func explainedProto(x *inspect.Explained, active *ActiveBundle) *pb.ExplainedDecision {
	p := &pb.ExplainedDecision{
		Door: string(x.Door), Allowed: x.Allowed, Rules: x.Rules, InputJson: string(x.Input), BundleDigest: digestProto(x.Bundle),
		Reproduced: x.Reproduced, Time: timestamp(x.Time), Obligations: obligationsProto(x.Obligations),
	}
	if x.Bundle == active.Digest {
		p.BundleRevision = active.Revision
	}
	for _, d := range x.Denials {
		p.Denials = append(p.Denials, &pb.Denial{Rule: d.Rule, Title: d.Title, Citation: citation(&d), Sentence: d.Sentence})
	}
	for _, a := range x.Approvals {
		p.ApprovalsNeeded = append(p.ApprovalsNeeded, a.Role)
	}
	if !x.Allowed && len(p.Denials) == 0 && len(p.ApprovalsNeeded) == 0 {
		// It was no rule: an agreement that is not in force, a budget, a fault.
		p.Denials = []*pb.Denial{{Rule: string(x.Reason), Title: "Refused without a rule", Sentence: sentence(x.Reason)}}
	}
	return p
}

// sentence returns the fixed text of a reason as a sentence.
func sentence(r query.Reason) string {
	text := Text(r)
	if text == "" {
		return "The entry gives no known reason."
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// citation returns what a rule rests on, with its regime, whether the text was
// compared, and whether it binds.
func citation(d *policy.Denial) string {
	if d.Citation == "" {
		return ""
	}
	s := d.Citation
	if d.Regime != "" {
		s += " [" + d.Regime + "]"
	}
	if !d.Verified {
		s += " (unverified reference)"
	}
	if d.ModelPractice {
		s += " (model practice: it does not bind under this agreement)"
	}
	return s
}

func bundleProto(b ActiveBundle) *pb.Bundle {
	p := &pb.Bundle{Revision: b.Revision, Digest: b.Digest[:], Activated: timestamp(b.Activated), Signer: b.Signer}
	for i := range b.Rules {
		r := &b.Rules[i]
		rule := &pb.Rule{Id: r.ID, Title: r.Title, Description: r.Description, Limits: r.Limits,
			Citations: []*pb.Citation{{Text: r.Citation, Regime: strings.Join(r.Regimes, ", "), Verified: r.Verified}}}
		for _, text := range r.References {
			rule.Citations = append(rule.Citations, &pb.Citation{Text: text})
		}
		for _, d := range r.Doors {
			rule.Doors = append(rule.Doors, string(d))
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/policy"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) policyCommand() *cobra.Command {
	return group("policy", "The rules of sharing: check, test, show, explain",
		a.policyCheckCommand(), a.policyTestCommand(), a.policyShowCommand(), a.policyExplainCommand())
}

// builtIn names the rules that are built into the gateway.
const builtIn = "the built-in rules"

// rulesIn returns the folder of rules in args, or nil for the built-in rules.
func rulesIn(args []string) (fs.FS, string, error) {
	if len(args) == 0 {
		return nil, builtIn, nil
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return nil, "", err
	}
	if !info.IsDir() {
		return nil, "", usagef("%s is not a folder", args[0])
	}
	return os.DirFS(args[0]), args[0], nil
}

// checkRules is [policy.Check], also for the built-in rules.
func checkRules(ctx context.Context, fsys fs.FS) (policy.CheckReport, error) {
	if fsys != nil {
		return policy.Check(ctx, fsys)
	}
	b := policy.Default()
	e, err := policy.NewEngine(ctx, b)
	if err != nil {
		return policy.CheckReport{}, err
	}
	return policy.CheckReport{Digest: b.Digest(), Revision: b.Revision(), Files: b.Files(), Rules: e.Rules()}, nil
}

// A ruleReport is one rule in JSON.
type ruleReport struct {
	ID       string        `json:"id"`
	Title    string        `json:"title"`
	Doors    []policy.Door `json:"doors"`
	Regimes  []string      `json:"regimes"`
	Citation string        `json:"citation"`
	Verified bool          `json:"verified"`
	Limits   string        `json:"limits"`
	File     string        `json:"file"`
}

// A problemReport is one fault of a bundle in JSON.
type problemReport struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func problemReports(list []policy.Problem) []problemReport {
	out := make([]problemReport, 0, len(list))
	for _, p := range list {
		out = append(out, problemReport(p))
	}
	return out
}

func (a *app) policyCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [DIR]",
		Short: "Check that a folder of rules compiles, and list them",
		Long:  "Checks that a folder of rules compiles and that each has its documentation. Without DIR, the built-in rules.",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			fsys, name, err := rulesIn(args)
			if err != nil {
				return err
			}
			r, err := checkRules(cmd.Context(), fsys)
			if err != nil {
				return err
			}
			return a.printCheck(name, r)
		},
	}
}

// printCheck prints what is in a bundle, and fails if something is wrong with it.
func (a *app) printCheck(name string, r policy.CheckReport) error {
	var err error
	if a.json {
		rules := make([]ruleReport, 0, len(r.Rules))
		for _, x := range r.Rules {
			rules = append(rules, ruleReport{x.ID, x.Title, x.Doors, x.Regimes, x.Citation, x.Verified, x.Limits, x.File})
		}
		err = a.printJSON(map[string]any{"ok": len(r.Problems) == 0, "digest": hex.EncodeToString(r.Digest[:]), "revision": r.Revision,
			"files": r.Files, "rules": rules, "problems": problemReports(r.Problems)})
	} else {
		err = a.tableRules(name, r)
	}
	if err == nil && len(r.Problems) > 0 {
		err = exited(exitFailed)
	}
	return err
}

func (a *app) tableRules(name string, r policy.CheckReport) error {
	if len(r.Problems) > 0 {
		a.outf("%s cannot be used:\n", name)
		for _, p := range r.Problems {
			a.outf("  %s\n", printable(p.String()))
		}
		return nil
	}
	t := newTable(a.stdout, "", "RULE", "TITLE", "DOORS", "REGIMES", "CITATION", "VERIFIED")
	for _, x := range r.Rules {
		doors := make([]string, len(x.Doors))
		for i, d := range x.Doors {
			doors[i] = string(d)
		}
		verified := "yes"
		if !x.Verified {
			verified = "no"
		}
		t.row(x.ID, x.Title, strings.Join(doors, " "), strings.Join(x.Regimes, " "), x.Citation, verified)
	}
	if err := t.flush(); err != nil {
		return err
	}
	a.outf("\n%s: %s in %s, revision %s.\n", name, plural(len(r.Rules), "rule"), plural(len(r.Files), "file"), r.Revision)
	return nil
}

func (a *app) policyTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run the tests of a folder of rules, with coverage",
		Long: "Runs the tests of a folder of rules twice, with and without the engine's optimisations, and says which clauses no\n" +
			"test makes true. A bundle becomes active only if this passes. Without DIR, the built-in rules.",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			fsys, name, err := rulesIn(args)
			if err != nil {
				return err
			}
			if fsys == nil {
				return a.testBuiltIn(cmd.Context())
			}
			if c, err := policy.Check(cmd.Context(), fsys); err != nil {
				return err
			} else if len(c.Problems) > 0 {
				return a.printCheck(name, c)
			}
			r, err := policy.Test(cmd.Context(), fsys)
			if err != nil {
				return err
			}
			if a.json {
				err = a.printJSON(map[string]any{"ok": r.OK(), "digest": hex.EncodeToString(r.Digest[:]), "revision": r.Revision,
					"passed": r.Passed, "failed": r.Failed, "coverage": r.Coverage, "failures": problemReports(r.Failures),
					"uncovered": problemReports(r.Uncovered)})
				if err != nil {
					return err
				}
			} else {
				for _, p := range r.Failures {
					a.outf("FAILED  %s\n", printable(p.String()))
				}
				for _, p := range r.Uncovered {
					a.outf("MISSING %s\n", printable(p.String()))
				}
				a.outf("%s: %d passed, %d failed, %.1f %% of the lines covered, revision %s.\n", name, r.Passed, r.Failed,
					r.Coverage, r.Revision)
			}
			if !r.OK() {
				return exited(exitFailed)
			}
			return nil
		},
	}
}

// testBuiltIn makes the built-in rules active, which demands that all their tests
// pass twice and make every clause true.
func (a *app) testBuiltIn(ctx context.Context) error {
	e, err := policy.NewEngine(ctx, policy.Default())
	if err != nil {
		return err
	}
	digest := e.BundleDigest()
	if a.json {
		return a.printJSON(map[string]any{"ok": true, "digest": hex.EncodeToString(digest[:]), "revision": e.Revision()})
	}
	a.outf("%s: all tests passed, and they make every clause of %s true, revision %s.\n", builtIn,
		plural(len(e.Rules()), "rule"), e.Revision())
	return nil
}

func (a *app) policyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the rules that the gateway decides by", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.policy().GetBundle(ctx, &passerellev1.GetBundleRequest{})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				b := r.GetBundle()
				signer := b.GetSigner()
				if signer == "" {
					signer = "none: built in"
				}
				a.outf("Revision  %s\nDigest    %s\nSigned    %s\nActive    since %s\n\n", printable(b.GetRevision()),
					hex.EncodeToString(b.GetDigest()), printable(signer), shown(b.GetActivated()))
				for _, x := range b.GetRules() {
					a.outf("%s  %s (%s)\n", printable(x.GetId()), printable(x.GetTitle()), printable(strings.Join(x.GetDoors(), ", ")))
					a.paragraph("       ", x.GetDescription())
					for _, q := range x.GetCitations() {
						about := "compared with the text"
						if !q.GetVerified() {
							about = "not compared with the text"
						}
						if q.GetRegime() != "" {
							about = q.GetRegime() + ", " + about
						}
						a.paragraph("       ", q.GetText()+" ["+about+"]")
					}
					if x.GetLimits() != "" {
						a.paragraph("       Limits: ", x.GetLimits())
					}
				}
				return nil
			})
		},
	}
}

func (a *app) policyExplainCommand() *cobra.Command {
	var request passerellev1.ExplainDecisionRequest
	c := &cobra.Command{
		Use:   "explain QUERY-ID",
		Short: "Explain the decisions of one query",
		Long:  "Explains the decisions of one query, evaluated again from the stored facts. It is a read of the log and is logged.",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.QueryId = args[0]
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.policy().ExplainDecision(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				for i, d := range r.GetDecisions() {
					if i > 0 {
						a.outf("\n")
					}
					a.printDecision(d)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&request.Door, "door", "", "only this decision: publish, ask, answer, disclose or retain")
	return c
}

func (a *app) printDecision(d *passerellev1.ExplainedDecision) {
	verdict := "denied"
	if d.GetAllowed() {
		verdict = "allowed"
	}
	a.outf("%s: %s at %s\n", printable(d.GetDoor()), verdict, shown(d.GetTime()))
	for _, x := range d.GetDenials() {
		a.outf("  %s  %s\n", printable(x.GetRule()), printable(x.GetTitle()))
		a.outf("         %s\n         %s\n", printable(x.GetCitation()), printable(x.GetSentence()))
	}
	a.outf("  Rules        %s\n", listed(d.GetRules()))
	a.outf("  Approvals    %s\n", listed(d.GetApprovalsNeeded()))
	a.printObligations(d.GetObligations(), "  ")
	a.outf("  Decided by   %s (%s)\n", printable(d.GetBundleRevision()), short(d.GetBundleDigest()))
	if d.GetReproduced() {
		a.outf("  Evaluated again: the same decision.\n")
	} else {
		a.outf("  Evaluated again: NOT the same decision, or the rules of then are not here any more.\n")
	}
	a.outf("  Facts        %s\n", printable(d.GetInputJson()))
}

// printObligations prints duties, if there are any.
func (a *app) printObligations(list []*passerellev1.Obligation, indent string) {
	for _, o := range list {
		what := o.GetSentence()
		if what == "" {
			what = strings.TrimSpace(o.GetKind() + " " + o.GetValue())
		}
		a.outf("%sYou must     %s (%s)\n", indent, printable(what), printable(o.GetRule()))
	}
}

// paragraph prints a text wrapped, the first line after prefix and the others
// indented by as much.
func (a *app) paragraph(prefix, text string) {
	const width = 110
	line, empty := prefix, true
	for _, w := range strings.Fields(text) {
		w = printable(w)
		if !empty && len(line)+1+len(w) > width {
			fmt.Fprintln(a.stdout, line)
			line, empty = strings.Repeat(" ", len(prefix)), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+w, false
	}
	if !empty {
		fmt.Fprintln(a.stdout, line)
	}
}

package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// pageSize is how many rows are asked for at once.
const pageSize = 500

func (a *app) candidateCommand() *cobra.Command {
	return group("candidate", "Records abroad that may be about a subject", a.candidateListCommand())
}

func (a *app) candidateListCommand() *cobra.Command {
	var request passerellev1.ListCandidatesRequest
	var times timeFlags
	var state string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the candidates that you may see",
		Long: "Lists the candidates that you may see, newest first. Each time is logged.\n" +
			"A candidate is not an identity: a person must compare before anything is done.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if request.Range, err = times.parse(); err != nil {
				return err
			}
			if state != "" {
				n, ok := passerellev1.CandidateState_value["CANDIDATE_STATE_"+strings.ToUpper(state)]
				if !ok || n == 0 {
					return usagef("--state %q: want open, confirmed, rejected or purged", state)
				}
				request.State = passerellev1.CandidateState(n)
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				all := new(passerellev1.ListCandidatesResponse)
				request.Page = &passerellev1.Page{Size: pageSize}
				for {
					r, err := c.national().ListCandidates(ctx, &request)
					if err != nil {
						return err
					}
					all.Candidates = append(all.Candidates, r.GetCandidates()...)
					if request.Page.Token = r.GetNextToken(); request.Page.Token == "" {
						break
					}
				}
				if a.json {
					return a.printJSON(all)
				}
				if len(all.GetCandidates()) == 0 {
					a.outf("No candidates.\n")
					return nil
				}
				return a.tableCandidates(all.GetCandidates(), "")
			})
		},
	}
	f := c.Flags()
	f.StringVar(&request.RequestId, "request", "", "only those of this request")
	f.StringVar(&request.Holder, "holder", "", "only those of this holder")
	f.StringVar(&state, "state", "", "only those in this state: open, confirmed, rejected, purged")
	times.add(c)
	return c
}

// tableCandidates prints candidates. Columns that are empty for all are left out.
func (a *app) tableCandidates(list []*passerellev1.Candidate, indent string) error {
	type column struct {
		head  string
		value func(*passerellev1.Candidate) any
	}
	columns := []column{
		{"CANDIDATE", func(c *passerellev1.Candidate) any { return c.GetCandidateId() }},
		{"SUBJECT", func(c *passerellev1.Candidate) any { return c.GetSubjectRef() }},
		{"HOLDER", func(c *passerellev1.Candidate) any { return c.GetHolder() }},
		{"COLLECTION", func(c *passerellev1.Candidate) any { return c.GetCollection() }},
		{"GRADE", func(c *passerellev1.Candidate) any { return c.GetGrade() }},
		{"EVIDENCE", func(c *passerellev1.Candidate) any { return c.GetWeight() }},
		{"AGREES IN", func(c *passerellev1.Candidate) any { return strings.Join(c.GetClasses(), " ") }},
		{"ALERT", func(c *passerellev1.Candidate) any { return c.GetAlertKind() }},
		{"INSTRUCTION", func(c *passerellev1.Candidate) any { return c.GetInstruction() }},
		{"STATE", func(c *passerellev1.Candidate) any {
			return enumName(c.GetState().Descriptor(), c.GetState().Number())
		}},
		{"FOUND", func(c *passerellev1.Candidate) any { return shown(c.GetTime()) }},
		{"PURGE BY", func(c *passerellev1.Candidate) any { return day(c.GetPurgeBy()) }},
	}
	columns = slices.DeleteFunc(columns, func(x column) bool {
		return !slices.ContainsFunc(list, func(c *passerellev1.Candidate) bool { return x.value(c) != "" })
	})
	heads := make([]string, len(columns))
	for i, x := range columns {
		heads[i] = x.head
	}
	t := newTable(a.stdout, indent, heads...)
	for _, c := range list {
		row := make([]any, len(columns))
		for i, x := range columns {
			row[i] = x.value(c)
		}
		t.row(row...)
	}
	return t.flush()
}

// timeFlags are --since and --until.
type timeFlags struct{ since, until string }

func (t *timeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&t.since, "since", "", "from this time on: RFC 3339, or YYYY-MM-DD in UTC")
	c.Flags().StringVar(&t.until, "until", "", "before this time")
}

// parse returns the range, or nil if neither flag was given.
func (t *timeFlags) parse() (*passerellev1.TimeRange, error) {
	since, err := parseTime("since", t.since)
	if err != nil {
		return nil, err
	}
	until, err := parseTime("until", t.until)
	if err != nil || since == nil && until == nil {
		return nil, err
	}
	return &passerellev1.TimeRange{Since: since, Until: until}, nil
}

func parseTime(flag, s string) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return timestamppb.New(t), nil
		}
	}
	return nil, usagef("--%s %q: want RFC 3339, or YYYY-MM-DD in UTC", flag, s)
}

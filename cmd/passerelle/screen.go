package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/ingest"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// subjectsPerMessage is how many subjects go into one message, at most 500.
const subjectsPerMessage = 250

func (a *app) screenCommand() *cobra.Command {
	var reason askFlags
	var format string
	c := &cobra.Command{
		Use:   "screen MANIFEST",
		Short: "Ask the neighbours about everybody on a manifest",
		Long: "Asks the neighbours about everybody on a manifest: a file of CSV with headings, or of JSON lines; - is the standard\n" +
			"input. The whole is signed with your own key. Rows that cannot be read are reported and not asked about.\n\n" +
			"With --json it prints a line {\"candidate\": ...} for each candidate, and at the end {\"summary\": ..., \"rejected\": ...}.\n" +
			"The exit code is 0 only if every row was asked about and everybody who was asked answered.",
		Example: "  passerelle screen flight.csv --purpose ct-travel-screening --legal-basis 'Border Act s. 12' --case UT-417",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "purpose", "legal-basis"); err != nil {
				return err
			}
			subjects, report, err := a.readManifest(cmd.Context(), args[0], format)
			if err != nil {
				return err
			}
			if len(subjects) == 0 {
				a.noteRejected(report)
				return fmt.Errorf("%s has no row that can be asked about", args[0])
			}
			ask, err := reason.ask(cmd, query.Set, subjects, a.now())
			if err != nil {
				return err
			}
			return a.stream(cmd, func(ctx context.Context, c *client) error { return a.screen(ctx, c, ask, report) })
		},
	}
	c.Flags().StringVar(&format, "format", "", "csv or jsonl (default: detect it)")
	reason.add(c)
	return c
}

// readManifest reads the subjects of a file.
func (a *app) readManifest(ctx context.Context, name, format string) ([]record.Subject, ingest.Report, error) {
	in, base := a.stdin, "stdin"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, ingest.Report{}, err
		}
		defer f.Close()
		in, base = f, filepath.Base(name)
	}
	r := bufio.NewReaderSize(in, 64<<10)
	head, err := r.Peek(4096)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, ingest.Report{}, err
	}
	var f ingest.Format
	if format != "" {
		f, err = ingest.ParseFormat(format)
	} else {
		f, err = ingest.DetectFormat(base, head)
	}
	if err != nil {
		return nil, ingest.Report{}, usageError{err}
	}
	return ingest.Manifest(ctx, base, r, f)
}

// screen sends a manifest and prints what comes back.
func (a *app) screen(ctx context.Context, c *client, ask *asker.Ask, report ingest.Report) error {
	signature, err := signAsk(c, ask)
	if err != nil {
		return err
	}
	stream, err := c.national().Screen(ctx)
	if err != nil {
		return err
	}
	if err := sendManifest(stream, ask, signature); err != nil && !errors.Is(err, io.EOF) {
		return err // io.EOF says that the gateway has already answered
	}
	bar := a.bar()
	defer bar.clear()
	var candidates []*passerellev1.Candidate
	var summary *passerellev1.ScreenSummary
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if p := m.GetProgress(); p != nil {
			bar.show(p.GetStep(), uint64(p.GetDone()), uint64(p.GetQueries()))
		}
		if s := m.GetSummary(); s != nil {
			summary = s
		}
		if x := m.GetCandidate(); x != nil {
			candidates = append(candidates, x)
			if a.json {
				if err := a.printJSON(m); err != nil {
					return err
				}
			}
		}
	}
	bar.clear()
	if summary == nil {
		return errors.New("the gateway ended the screening without a summary: do not rely on what was printed")
	}
	if a.json {
		err = a.jsonSummary(summary, report)
	} else {
		err = a.printScreen(summary, candidates, ask, report)
	}
	if err == nil {
		err = outcome(summary.GetResults())
	}
	if err == nil && len(report.Rejected) > 0 {
		err = exited(exitFailed)
	}
	return err
}

// sendManifest sends the ask, the subjects, and the signature over both.
func sendManifest(stream passerellev1.NationalService_ScreenClient, ask *asker.Ask, signature *passerellev1.OfficerSignature) error {
	err := stream.Send(&passerellev1.ScreenRequest{Message: &passerellev1.ScreenRequest_Ask{Ask: askMessage(ask)}})
	for rest := ask.Subjects; err == nil && len(rest) > 0; {
		n := min(len(rest), subjectsPerMessage)
		chunk := new(passerellev1.SubjectChunk)
		for i := range rest[:n] {
			chunk.Subjects = append(chunk.Subjects, subjectMessage(&rest[i]))
		}
		rest = rest[n:]
		err = stream.Send(&passerellev1.ScreenRequest{Message: &passerellev1.ScreenRequest_Subjects{Subjects: chunk}})
	}
	if err == nil {
		err = stream.Send(&passerellev1.ScreenRequest{Message: &passerellev1.ScreenRequest_Signature{Signature: signature}})
	}
	return errors.Join(err, stream.CloseSend())
}

func (a *app) jsonSummary(summary *passerellev1.ScreenSummary, report ingest.Report) error {
	rejected := report.Rejected
	if rejected == nil {
		rejected = []ingest.Rejection{}
	}
	b, err := json.Marshal(rejected)
	if err != nil {
		return err
	}
	line := append([]byte(`{"summary":`), appendJSON(nil, summary.ProtoReflect())...)
	line = append(append(line, `,"rejected":`...), b...)
	_, err = a.stdout.Write(append(line, '}', '\n'))
	return err
}

func (a *app) printScreen(s *passerellev1.ScreenSummary, candidates []*passerellev1.Candidate, ask *asker.Ask, report ingest.Report) error {
	a.outf("Request %s\n\n", printable(s.GetRequestId()))
	if answeredBy(s.GetResults()) == 0 {
		a.outf("Nobody answered%s: nothing is known about %s.\n", qualified(s.GetResults()), plural(s.GetSubjects(), "traveller"))
	} else {
		a.outf("%s asked about, %d of them with a candidate%s.\n", plural(s.GetSubjects(), "traveller"),
			s.GetSubjectsWithCandidates(), qualified(s.GetResults()))
	}
	if len(candidates) > 0 {
		a.outf("A candidate is a record abroad that may be about the traveller: compare before you act.\n\n")
		if err := a.tableCandidates(candidates, "  "); err != nil {
			return err
		}
	}
	if len(s.GetSkipped()) > 0 {
		a.outf("\nNot asked about, because no lookup key follows (give a document with its issuer, or a name and a year of birth):\n  %s\n",
			listed(s.GetSkipped()))
	}
	a.noteRejected(report)
	if len(s.GetObligations()) > 0 {
		a.outf("\n")
		a.printObligations(s.GetObligations(), "")
	}
	return a.printResults(s.GetResults(), ask)
}

// noteRejected says which rows of the manifest were not asked about.
func (a *app) noteRejected(report ingest.Report) {
	if len(report.Rejected) == 0 {
		return
	}
	a.notef("\nNot asked about, because the row cannot be read:\n")
	for i, r := range report.Rejected {
		if i == 20 {
			a.notef("  and %d more\n", len(report.Rejected)-i)
			break
		}
		a.notef("  %s\n", printable(r.String()))
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// chunk is how many bytes of a file go into one message.
const chunk = 128 << 10

// ingestKinds are the kinds of records. The gateway refuses those that it cannot
// read yet.
var ingestKinds = []string{"watchlist", "documents", "objects", "gallery", "manifest"}

func (a *app) ingestCommand() *cobra.Command {
	var header passerellev1.IngestHeader
	c := &cobra.Command{
		Use:   "ingest KIND FILE...",
		Short: "Read files of records into a collection",
		Long: "Reads files of records into a collection. KIND is " + strings.Join(ingestKinds, ", ") + ".\n" +
			"The file - is the standard input. Records that cannot be read are reported by file and line, and the others stored.",
		Example: "  passerelle ingest watchlist list.csv --collection watchlist\n" +
			"  passerelle ingest documents stolen.csv --collection documents --dry-run",
		Args: arguments(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "collection"); err != nil {
				return err
			}
			header.Kind = args[0]
			switch files := args[1:]; {
			case !slices.Contains(ingestKinds, header.GetKind()):
				return usagef("%q is not a kind: use one of %s", args[0], strings.Join(ingestKinds, ", "))
			case header.GetReplace() && len(files) > 1:
				return usagef("--replace means that one file is all of the collection: give one file")
			default:
				return a.stream(cmd, func(ctx context.Context, c *client) error { return a.ingest(ctx, c, &header, files) })
			}
		},
	}
	f := c.Flags()
	f.StringVar(&header.Collection, "collection", "", "name of the collection (required)")
	f.StringVar(&header.Format, "format", "", "format of the files (default: detect it)")
	f.BoolVar(&header.Replace, "replace", false, "the file is all of the collection: remove records that it does not hold")
	f.BoolVar(&header.DryRun, "dry-run", false, "read and report, and store nothing")
	return c
}

// An ingested is a file with the report of it.
type ingested struct {
	name   string
	report *passerellev1.IngestRecordsResponse
}

func (a *app) ingest(ctx context.Context, c *client, header *passerellev1.IngestHeader, files []string) error {
	var done []ingested
	for _, name := range files {
		r, err := a.ingestFile(ctx, c, header, name)
		if err != nil {
			if perr := a.printIngested(done); perr != nil {
				return perr
			}
			return fmt.Errorf("%s: %w", name, err)
		}
		if name == "-" {
			name = "stdin"
		}
		done = append(done, ingested{name, r})
	}
	return a.printIngested(done)
}

// ingestFile sends one file.
func (a *app) ingestFile(ctx context.Context, c *client, h *passerellev1.IngestHeader, name string) (
	*passerellev1.IngestRecordsResponse, error) {

	in, size, base := a.stdin, uint64(0), "stdin"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fileError(err)
		}
		defer f.Close()
		in, base = f, filepath.Base(name)
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = uint64(info.Size())
		}
	}
	stream, err := c.admin().IngestRecords(ctx)
	if err != nil {
		return nil, err
	}
	send := func(m *passerellev1.IngestRecordsRequest) error {
		// io.EOF says that the gateway has already answered: the answer says why.
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			return err
		} else if err != nil {
			return io.EOF
		}
		return nil
	}
	header := &passerellev1.IngestHeader{Collection: h.GetCollection(), Kind: h.GetKind(), Format: h.GetFormat(),
		Filename: base, Replace: h.GetReplace(), DryRun: h.GetDryRun()}
	err = send(&passerellev1.IngestRecordsRequest{Message: &passerellev1.IngestRecordsRequest_Header{Header: header}})
	bar := a.bar()
	defer bar.clear()
	buf := make([]byte, chunk)
	for sent := uint64(0); err == nil; {
		n, readErr := io.ReadFull(in, buf)
		if n > 0 {
			err = send(&passerellev1.IngestRecordsRequest{Message: &passerellev1.IngestRecordsRequest_Data{Data: buf[:n]}})
			sent += uint64(n)
			bar.show("sending "+base, sent, size)
		}
		if readErr != nil && !errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
			return nil, fileError(readErr)
		}
		if readErr != nil {
			break
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.CloseAndRecv()
}

// printIngested prints the reports of files, and fails if nothing could be read
// from one of them.
func (a *app) printIngested(done []ingested) error {
	if a.json {
		for _, d := range done {
			b := appendString([]byte(`{"file":`), d.name)
			b = append(b, `,"report":`...)
			b = appendJSON(b, d.report.ProtoReflect())
			if _, err := a.stdout.Write(append(b, '}', '\n')); err != nil {
				return err
			}
		}
	} else if len(done) > 0 {
		if err := a.tableIngested(done); err != nil {
			return err
		}
	}
	for _, d := range done {
		if unusable(d.report) {
			a.notef("Nothing of %s was stored, or nothing removed: the reason is above.\n", printable(d.name))
			return exited(exitFailed)
		}
	}
	return nil
}

// unusable reports whether nothing came of a file: all of its records were
// rejected, or it was refused as a whole.
func unusable(r *passerellev1.IngestRecordsResponse) bool {
	return r.GetRead() > 0 && r.GetRejected() == r.GetRead() ||
		slices.ContainsFunc(r.GetRejections(), func(x *passerellev1.Rejection) bool { return x.GetLine() == 0 })
}

func (a *app) tableIngested(done []ingested) error {
	t := newTable(a.stdout, "", "FILE", "FORMAT", "READ", "ADDED", "CHANGED", "UNCHANGED", "REMOVED", "REJECTED", "TOTAL", "KEYS")
	for _, d := range done {
		r := d.report
		t.row(d.name, r.GetFormat(), r.GetRead(), r.GetAdded(), r.GetChanged(), r.GetUnchanged(), r.GetRemoved(),
			r.GetRejected(), r.GetTotal(), r.GetLookupKeys())
	}
	if err := t.flush(); err != nil {
		return err
	}
	err := a.tableRejections("Not stored:", done, (*passerellev1.IngestRecordsResponse).GetRejections,
		(*passerellev1.IngestRecordsResponse).GetRejected)
	if err != nil {
		return err
	}
	err = a.tableRejections("Stored, and these parts cannot be found by anybody:", done,
		(*passerellev1.IngestRecordsResponse).GetGapList, (*passerellev1.IngestRecordsResponse).GetGaps)
	if err != nil {
		return err
	}
	for _, d := range done {
		if n := d.report.GetWithoutKeys(); n > 0 {
			a.outf("\n%s of %s cannot be found at all: no lookup key follows.\n", plural(n, "record"), printable(d.name))
		}
	}
	last := done[len(done)-1].report
	for i, l := range last.GetPublished() {
		if i == 0 {
			a.outf("\n")
		}
		a.outf("Published for %s: version %d, %s, %d withheld by the rules.\n", printable(l.GetAsker()), l.GetListVersion(),
			plural(l.GetRecords(), "record"), l.GetWithheld())
		for _, rule := range slices.Sorted(maps.Keys(l.GetWithheldBy())) {
			a.outf("  %s left out %s.\n", printable(rule), plural(l.GetWithheldBy()[rule], "record"))
		}
	}
	if slices.ContainsFunc(last.GetPublished(), func(l *passerellev1.PublishedList) bool { return l.GetWithheld() > 0 }) {
		a.outf("What each rule asks: passerelle policy show. A record that two rules left out counts for both.\n")
	}
	if len(last.GetNotPublished()) > 0 {
		a.notef("Not published for %s: it is tried again with the next round.\n", listed(last.GetNotPublished()))
	}
	return nil
}

// tableRejections prints places in files under a title, if there are any.
func (a *app) tableRejections(title string, done []ingested, list func(*passerellev1.IngestRecordsResponse) []*passerellev1.Rejection,
	count func(*passerellev1.IngestRecordsResponse) uint64) error {
	if !slices.ContainsFunc(done, func(d ingested) bool { return len(list(d.report)) > 0 || count(d.report) > 0 }) {
		return nil
	}
	a.outf("\n%s\n", title)
	t := newTable(a.stdout, "", "FILE", "LINE", "FIELD", "REASON")
	for _, d := range done {
		for _, r := range list(d.report) {
			line := ""
			if r.GetLine() > 0 {
				line = fmt.Sprint(r.GetLine())
			}
			t.row(d.name, line, r.GetField(), r.GetReason())
		}
		if n := int64(count(d.report)) - int64(len(list(d.report))); n > 0 {
			t.row(d.name, "", "", fmt.Sprintf("and %d more", n))
		}
	}
	return t.flush()
}

// fileError returns the error of a file without the name of the system call.
func fileError(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

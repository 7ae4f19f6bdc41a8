package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/ingest"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
)

// MaxRejections is how many rejected records, and how many gaps, a report names.
const MaxRejections = 1000

// An IngestHeader says what a file is.
type IngestHeader struct {
	Collection string
	Kind       string // "watchlist" or "documents"; both have records of people
	Format     string // as in package ingest; empty: detect it
	Filename   string // for the report

	// Replace says that the file is all of the collection: records that it does
	// not hold are removed.
	Replace bool

	// DryRun says that nothing is stored.
	DryRun bool
}

// A Rejection is a record that was not stored, or one that yields fewer lookup
// keys than it seems to. It names a place and not a content. Line 0 is the whole
// file.
type Rejection struct {
	Line   int
	Reason string
}

// An IngestReport says what became of a file.
type IngestReport struct {
	Format                             string
	Read                               int // records in the file
	Added, Changed, Unchanged, Removed int
	Rejected                           int
	Rejections                         []Rejection     // the first MaxRejections
	LookupKeys                         int             // of the stored records
	WithoutKeys                        int             // stored records that nobody can find
	Gaps                               int             // names, births and documents that yield no key
	GapList                            []Rejection     // the first MaxRejections
	Total                              int64           // records in the collection now
	Published                          []PublishedList // to whom it is up to date
	NotPublished                       []string        // askers for whom publishing failed; the next round tries again
}

// errUnusable is yielded to the store so that it keeps nothing of the file.
var errUnusable = errors.New("admin: the file is unusable")

// Ingest reads one file into a collection, and then publishes the collection to
// every asker that may see it.
//
// All records of the file are stored in one transaction, and none if the file
// cannot be read to its end. Records that cannot be used are reported with their
// line, and the others stored. A file that is unusable as a whole is no error but
// a report: of one rejection, of line 0, and nothing is stored.
//
// With Replace, records that the file does not hold are removed after that, each
// in a transaction of its own: a crash between them leaves records that the next
// such file removes. Nothing is removed if records were rejected, because one of
// them may be a record that is there already, or if the file has none at all; the
// report says so.
//
// progress may be nil. When ctx ends while Ingest publishes, the report says
// which askers are not up to date.
func (a *Admin) Ingest(ctx context.Context, caller string, h IngestHeader, r io.Reader,
	progress PublishProgress) (*IngestReport, error) {

	now := a.Now()
	if _, err := a.officerOf(caller, now); err != nil {
		return nil, err
	}
	if _, err := a.collection(h.Collection); err != nil {
		return nil, err
	}
	if h.Kind != "watchlist" && h.Kind != "documents" {
		return nil, query.Refuse(query.Malformed, errors.New("admin: records of this kind cannot be stored"))
	}
	in := &ingestion{a: a, h: h, now: now, report: &IngestReport{}}
	if err := in.read(ctx, r); err != nil {
		return nil, refusal(err)
	}
	if in.unusable || h.DryRun {
		return in.report, refusal(in.count(ctx))
	}
	if err := in.remove(ctx); err != nil {
		return nil, refusal(err)
	}
	if err := in.count(ctx); err != nil {
		return nil, refusal(err)
	}
	if err := a.putJSON(ctx, "ingested/"+h.Collection, ingested{now}); err != nil {
		return nil, refusal(err)
	}
	a.log.InfoContext(ctx, "records ingested", "collection", h.Collection, "read", in.report.Read,
		"rejected", in.report.Rejected, "total", in.report.Total)
	published, failed := a.publish(ctx, "", h.Collection, progress)
	in.report.NotPublished = failed
	// What is published now, also where nothing had to be built.
	status, err := a.collectionStatus(context.WithoutCancel(ctx), h.Collection)
	if err != nil {
		return nil, refusal(err)
	}
	for _, l := range status.Lists {
		if slices.ContainsFunc(published, func(p Publication) bool { return p.Asker == l.Asker }) {
			in.report.Published = append(in.report.Published, l)
		}
	}
	return in.report, nil
}

// ingested is what is stored of the last file of a collection.
type ingested struct{ At time.Time }

// An ingestion is one file on its way.
type ingestion struct {
	a        *Admin
	h        IngestHeader
	now      time.Time
	report   *IngestReport
	unusable bool
	ids      map[string]bool // of the records of the file, for Replace
}

// read reads the file, and stores its records unless it is a dry run.
func (in *ingestion) read(ctx context.Context, r io.Reader) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	var format ingest.Format
	var err error
	if in.h.Format == "" {
		head, perr := buffered.Peek(4096)
		if perr != nil && !errors.Is(perr, io.EOF) {
			return perr
		}
		format, err = ingest.DetectFormat(in.h.Filename, head)
	} else {
		format, err = ingest.ParseFormat(in.h.Format)
	}
	if err != nil {
		in.fail(err)
		return nil
	}
	in.report.Format = string(format)
	if in.h.Replace {
		in.ids = make(map[string]bool)
	}

	var report ingest.Report
	options := ingest.Options{SourceList: in.h.Collection, Originator: in.a.TrustDomain}
	each := func(yield func(store.RecordRow, error) bool) {
		stopped := false
		report, err = ingest.EachRecord(ctx, in.h.Filename, buffered, format, options, func(rec record.Record) error {
			row, err := in.row(&rec)
			if err != nil {
				return err
			}
			if stopped = !yield(row, nil); stopped {
				return errUnusable
			}
			return nil
		})
		if err != nil && !stopped {
			yield(store.RecordRow{}, errUnusable)
		}
	}
	var stored error
	if in.h.DryRun {
		for row, rowErr := range each {
			if rowErr == nil {
				stored = in.compare(ctx, &row)
			}
			if rowErr != nil || stored != nil {
				break
			}
		}
	} else {
		var n store.PutResult
		if n, stored = in.a.Store.PutRecords(ctx, in.h.Collection, in.h.Filename, each); stored == nil {
			in.report.Added, in.report.Changed, in.report.Unchanged = n.Added, n.Changed, n.Unchanged
		}
	}
	switch {
	case stored != nil && !errors.Is(stored, errUnusable):
		return stored // the store failed, and EachRecord was only stopped by it
	case errors.Is(err, ingest.ErrFile), errors.Is(err, ingest.ErrFormat):
		in.fail(err)
		return nil
	case err != nil:
		return err // the stream broke off
	}
	in.take(&report)
	return nil
}

// fail makes the report of a file that is unusable as a whole. The texts of
// package ingest name lines and what to do, and no content.
func (in *ingestion) fail(err error) {
	in.unusable = true
	*in.report = IngestReport{Format: in.report.Format, Read: 1, Rejected: 1, Rejections: []Rejection{{Reason: err.Error()}}}
}

// take takes over the report of the reader.
func (in *ingestion) take(r *ingest.Report) {
	in.report.Read, in.report.Rejected = r.Read, len(r.Rejected)
	in.report.Gaps = len(r.Notes) + r.NotesOmitted
	in.report.Rejections, in.report.GapList = places(r.Rejected), places(r.Notes)
}

func places(all []ingest.Rejection) []Rejection {
	var out []Rejection
	for _, r := range all[:min(len(all), MaxRejections)] {
		out = append(out, Rejection{r.Line, r.Reason})
	}
	return out
}

// row returns a record as it is stored, and counts its keys.
func (in *ingestion) row(r *record.Record) (store.RecordRow, error) {
	if in.ids != nil {
		in.ids[r.ID] = true
	}
	n := len(r.Keys())
	in.report.LookupKeys += n
	if n == 0 {
		in.report.WithoutKeys++
	}
	return recordRow(r)
}

// recordRow returns a record with the facts on which rules depend beside it. Of
// several births the latest day counts: who may be a minor is treated as one.
func recordRow(r *record.Record) (store.RecordRow, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return store.RecordRow{}, errors.New("admin: encoding a record failed")
	}
	var born string
	for _, d := range r.Births {
		for _, day := range []record.Date{d.From, d.To} {
			born = max(born, day.String())
		}
	}
	return store.RecordRow{
		ID: r.ID, JSON: b, BirthDate: born,
		ProtectionStatus: r.ProtectionStatus, CountryOfOrigin: r.CountryOfOrigin, Originator: r.Originator,
		SourceList: r.SourceList, SubjectCategory: r.SubjectCategory, Basis: r.Basis, ReliabilityGrade: r.ReliabilityGrade,
		LastVerified: r.LastVerified.String(), ReviewBy: r.ReviewBy.String(), Nominator: r.Nominator,
		CriterionCode: r.Criterion, RedressState: r.RedressState, AlertKind: number(r.AlertKind),
		Instruction: number(r.Instruction), State: "active",
	}, nil
}

// number returns a code, and "" for none.
func number(n uint8) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

// compare counts what a record would be, in a dry run.
func (in *ingestion) compare(ctx context.Context, row *store.RecordRow) error {
	old, err := in.a.Store.Record(ctx, in.h.Collection, row.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		in.report.Added++
		return nil
	case err != nil:
		return err
	}
	same := string(old.JSON) == string(row.JSON) && equalFacts(&old, row)
	if same {
		in.report.Unchanged++
	} else {
		in.report.Changed++
	}
	return nil
}

// equalFacts compares everything of two rows but their JSON.
func equalFacts(a, b *store.RecordRow) bool {
	facts := func(r *store.RecordRow) [16]string {
		return [16]string{r.BirthDate, r.ProtectionStatus, r.CountryOfOrigin, r.Originator, r.SourceList, r.SubjectCategory,
			r.Basis, r.ReliabilityGrade, r.LastVerified, r.ReviewBy, r.Nominator, r.CriterionCode, r.RedressState, r.AlertKind,
			r.Instruction, r.State}
	}
	return facts(a) == facts(b)
}

// remove removes the records that the file does not hold.
func (in *ingestion) remove(ctx context.Context) error {
	if !in.h.Replace {
		return nil
	}
	switch {
	case in.report.Rejected > 0:
		in.keep(fmt.Sprintf("%d records were rejected, so no other record was removed: mend them and read the file again",
			in.report.Rejected))
		return nil
	case len(in.ids) == 0:
		in.keep("the file holds no record, so no record was removed")
		return nil
	}
	var absent []string
	for row, err := range in.a.Store.Records(ctx, in.h.Collection) {
		if err != nil {
			return err
		}
		if !in.ids[row.ID] {
			absent = append(absent, row.ID)
		}
	}
	for _, id := range absent {
		err := in.a.Store.DeleteRecord(ctx, in.h.Collection, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		in.report.Removed++
	}
	return nil
}

// keep reports why nothing was removed.
func (in *ingestion) keep(reason string) {
	in.report.Rejections = append([]Rejection{{Reason: reason}}, in.report.Rejections...)
}

// count sets how many records the collection has.
func (in *ingestion) count(ctx context.Context) (err error) {
	in.report.Total, err = in.a.Store.CountRecords(ctx, in.h.Collection)
	return err
}

// publish publishes our collections under agreements in force: to one asker, or
// to all if asker is empty, and likewise for the collection. A failure does not
// keep it from the others.
func (a *Admin) publish(ctx context.Context, asker, collection string, progress PublishProgress) (done []Publication,
	failed []string) {

	seen := make(map[[2]string]bool)
	for _, info := range a.Agreements.List(a.Now()) {
		other, err := info.Agreement.Other(a.TrustDomain)
		if err != nil || info.State != agreement.Active || info.Superseded || asker != "" && other.TrustDomain != asker ||
			!a.Federation.Active(other.TrustDomain) {
			continue
		}
		for _, c := range info.Agreement.Held(a.TrustDomain) {
			key := [2]string{other.TrustDomain, c.Name}
			if seen[key] || collection != "" && c.Name != collection {
				continue
			}
			seen[key] = true
			p, err := a.Publisher.Publish(ctx, other.TrustDomain, c.Name, progress)
			if err != nil {
				a.log.ErrorContext(ctx, "publishing failed", "peer", other.TrustDomain, "collection", c.Name, "err", err)
				failed = append(failed, other.TrustDomain)
				continue
			}
			done = append(done, *p)
		}
	}
	return done, failed
}

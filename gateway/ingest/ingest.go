// Package ingest reads outside formats into records and subjects of package
// record: one reader per format.
//
//	csv     comma, semicolon or tab; headings in any order and several spellings
//	jsonl   one JSON object a line, with the same headings as keys, or a whole record
//	un-xml  the UN Security Council Consolidated List (watch lists only)
//
// Nothing is dropped in silence. A row that cannot be used is in the [Report] with
// its line and what to do about it, and the rest is loaded. A row that is used but
// gives fewer lookup keys than it seems to is noted in the same way. What has no
// place in a record is kept in its Source fields.
//
// Reports and errors hold no personal data: they give file names, lines, columns
// and counts, and never what a row says.
//
// All text must be UTF-8, with or without a byte order mark. A file in another
// encoding is refused whole, because names in it would load wrong. Files, rows,
// fields and XML nesting are bounded; XML with a document type is refused, so
// there are no entities to expand or to fetch.
//
// Functions of this package may be called concurrently. They read their input as
// a stream and do not close it.
//
// Out of scope: passenger messages (PAXLST, PNRGOV), FollowTheMoney, Senzing, and
// records of things.
package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/passerelle/passerelle/gateway/record"
)

// Limits of an input. They are meant to be beyond every honest file.
const (
	MaxFileSize   = 1 << 30   // bytes of a file
	MaxRowSize    = 256 << 10 // bytes of a row, a line, or a token of XML
	MaxFieldSize  = record.MaxText
	MaxColumns    = 256
	MaxRejections = 100000 // rejected rows, after which the file is refused
	MaxNotes      = 100000 // notes kept; more are only counted
	MaxDepth      = 16     // of elements of XML
)

var (
	// ErrFormat is returned if the format of a file is not known, or not one that
	// can be read as what it is wanted for.
	ErrFormat = errors.New("ingest: unknown format")

	// ErrFile is returned if a file is unusable as a whole. The text says why, at
	// which line, and what to do.
	ErrFile = errors.New("ingest: unusable file")
)

// A Format is a format this package reads.
type Format string

const (
	FormatCSV   Format = "csv"
	FormatJSONL Format = "jsonl"
	FormatUN    Format = "un-xml"
)

// Formats returns all formats.
func Formats() []Format { return []Format{FormatCSV, FormatJSONL, FormatUN} }

// ParseFormat returns the format of that name, or an error wrapping [ErrFormat].
func ParseFormat(s string) (Format, error) {
	for _, f := range Formats() {
		if string(f) == s {
			return f, nil
		}
	}
	return "", fmt.Errorf("%w: want csv, jsonl or un-xml", ErrFormat)
}

// DetectFormat tells the format of a file from its beginning, of which a few
// hundred bytes are enough, and from its name if the beginning does not say. It
// returns an error wrapping [ErrFormat] if neither does.
func DetectFormat(name string, head []byte) (Format, error) {
	b := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	switch {
	case len(b) == 0:
		return "", fmt.Errorf("%w: the file is empty", ErrFormat)
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}), bytes.HasPrefix(b, []byte{0xfe, 0xff}), bytes.IndexByte(b, 0) >= 0:
		return "", fmt.Errorf("%w: not text in UTF-8; save the file as UTF-8", ErrFormat)
	case b[0] == '{':
		return FormatJSONL, nil
	case b[0] == '<':
		if bytes.Contains(b, []byte("<CONSOLIDATED_LIST")) {
			return FormatUN, nil
		}
		return "", fmt.Errorf("%w: XML, but not the UN Consolidated List", ErrFormat)
	case b[0] == '[':
		return "", fmt.Errorf("%w: a JSON array; write one object per line", ErrFormat)
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv", ".tsv", ".txt":
		return FormatCSV, nil
	}
	if line, _, _ := bytes.Cut(b, []byte("\n")); bytes.ContainsAny(line, ",;\t") {
		return FormatCSV, nil
	}
	return "", fmt.Errorf("%w: want CSV with headings, JSON lines or the UN Consolidated List", ErrFormat)
}

// A Rejection is a row that was not loaded, or a note about one that was.
type Rejection struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1; 0 means the whole file
	Reason string `json:"reason"` // what is wrong, and in which column; no personal data
}

// String returns file, line and reason in the form of compilers.
func (r Rejection) String() string {
	if r.Line == 0 {
		return r.File + ": " + r.Reason
	}
	return fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Reason)
}

// A Report says what became of a file. Read is Accepted plus the rejected rows.
type Report struct {
	File     string `json:"file"`
	Format   Format `json:"format"`
	Read     int    `json:"read"`     // rows or persons in the file
	Accepted int    `json:"accepted"` // records or subjects returned

	// NotPersons counts the entries of a list that are not about a person, such as
	// companies. They are not loaded, and not in Read.
	NotPersons int `json:"not_persons,omitempty"`

	Rejected []Rejection `json:"rejected,omitempty"`
	Notes    []Rejection `json:"notes,omitempty"`

	// NotesOmitted counts the notes beyond MaxNotes.
	NotesOmitted int `json:"notes_omitted,omitempty"`

	// Counts says how many elements of each kind were read: "names", "aliases",
	// "births", "documents", "original_script" and others of the format.
	Counts map[string]int `json:"counts,omitempty"`
}

func newReport(name string, f Format) *Report {
	return &Report{File: name, Format: f, Counts: make(map[string]int)}
}

// reject records that a row is not loaded. It returns an error wrapping ErrFile
// when there are too many.
func (p *Report) reject(line int, format string, args ...any) error {
	if len(p.Rejected) == MaxRejections {
		return fmt.Errorf("%w: line %d: more than %d rows are rejected", ErrFile, line, MaxRejections)
	}
	p.Rejected = append(p.Rejected, Rejection{p.File, line, fmt.Sprintf(format, args...)})
	return nil
}

func (p *Report) note(line int, format string, args ...any) {
	if len(p.Notes) == MaxNotes {
		p.NotesOmitted++
		return
	}
	p.Notes = append(p.Notes, Rejection{p.File, line, fmt.Sprintf(format, args...)})
}

// A DateOrder says how to read dates such as 03/04/1962. The zero value refuses
// them, because they are ambiguous.
type DateOrder string

const (
	DateOrderNone DateOrder = ""
	DateOrderDMY  DateOrder = "dmy"
	DateOrderMDY  DateOrder = "mdy"
)

// Options are what a watch list cannot say of itself. The zero value works.
type Options struct {
	SourceList string    // SourceList of records that name none
	Originator string    // Originator of records that name none, but for the UN list: that has one
	DateOrder  DateOrder // how to read dates that do not begin with the year
}

// Watchlist reads records. The report is complete also when some rows are
// rejected; the error is only for a file that is unusable as a whole, and wraps
// [ErrFormat], [ErrFile], the error of r or of ctx. Then there are no records,
// and the report is about what was read so far.
//
// Records without an id get one that is derived from the normal forms of names,
// births, documents, nationalities and sex, so that it does not change with the
// order of rows, nor with spelling that gives the same keys. Such an id can be
// tested by guessing: it is personal data like the record.
//
// A second record of the same id is rejected.
func Watchlist(ctx context.Context, name string, r io.Reader, f Format, o Options) ([]record.Record, Report, error) {
	var records []record.Record
	report, err := EachRecord(ctx, name, r, f, o, func(rec record.Record) error {
		records = append(records, rec)
		return nil
	})
	if err != nil {
		return nil, report, err
	}
	return records, report, nil
}

// EachRecord is Watchlist for files that should not be held in memory: it calls
// yield for every record, in the order of the file, and stops with the error that
// yield returns. Records given to yield before an error are of a file that is
// unusable as a whole: the caller must not keep them.
func EachRecord(ctx context.Context, name string, r io.Reader, f Format, o Options,
	yield func(record.Record) error) (Report, error) {

	report := newReport(name, f)
	a := &acceptor{report: report, options: o, yield: yield, seen: make(map[string]int)}
	var err error
	switch f {
	case FormatCSV:
		err = readCSV(ctx, newText(r), report, a.rejects, a.row)
	case FormatJSONL:
		err = readJSONL(ctx, newText(r), report, a.rejects, a.row, a.whole)
	case FormatUN:
		err = readUN(ctx, newText(r), a)
	default:
		err = fmt.Errorf("%w: not a format of watch lists", ErrFormat)
	}
	return *report, err
}

// Manifest reads subjects, such as the passengers of one flight. The report and
// the error are as for [Watchlist].
//
// The Ref of a subject is its reference or id in the file, or "line N". Two
// subjects may be equal, because a list of travellers may name one twice.
func Manifest(ctx context.Context, name string, r io.Reader, f Format) ([]record.Subject, Report, error) {
	report := newReport(name, f)
	var subjects []record.Subject
	row := func(row row) error {
		s, reason := row.subject(report)
		if reason == "" {
			if err := s.Validate(); err != nil {
				reason = plain(err)
			}
		}
		report.Read++
		if reason != "" {
			return report.reject(row.line, "%s", reason)
		}
		if len(s.Keys()) == 0 {
			report.note(row.line, "gives no lookup key: needs a document with its issuing State, or a name in letters and a year of birth")
		}
		report.Accepted++
		subjects = append(subjects, s)
		return nil
	}
	rejects := func(line int, reason string) error {
		report.Read++
		return report.reject(line, "%s", reason)
	}
	var err error
	switch f {
	case FormatCSV:
		err = readCSV(ctx, newText(r), report, rejects, row)
	case FormatJSONL:
		err = readJSONL(ctx, newText(r), report, rejects, row, nil)
	default:
		err = fmt.Errorf("%w: not a format of manifests", ErrFormat)
	}
	if err != nil {
		return nil, *report, err
	}
	return subjects, *report, nil
}

// plain returns the text of a validation error on one line.
func plain(err error) string {
	return strings.ReplaceAll(strings.ReplaceAll(err.Error(), "record: invalid: ", ""), "\n", "; ")
}

// An acceptor checks records and hands them on.
type acceptor struct {
	report  *Report
	options Options
	yield   func(record.Record) error
	seen    map[string]int // line of each id
}

// rejects counts a row that could not even be parsed.
func (a *acceptor) rejects(line int, reason string) error {
	a.report.Read++
	return a.report.reject(line, "%s", reason)
}

func (a *acceptor) row(row row) error {
	rec, reason := row.record(a.report, a.options.DateOrder)
	if reason != "" {
		return a.rejects(row.line, reason)
	}
	return a.whole(row.line, rec)
}

// whole accepts or rejects one record.
func (a *acceptor) whole(line int, rec record.Record) error {
	if rec.SourceList == "" {
		rec.SourceList = a.options.SourceList
	}
	if rec.Originator == "" {
		rec.Originator = a.options.Originator
	}
	derived := rec.ID == ""
	if derived {
		rec.ID = contentID(&rec)
	}
	if err := rec.Validate(); err != nil {
		return a.rejects(line, plain(err))
	}
	if first, ok := a.seen[rec.ID]; ok {
		if derived {
			return a.rejects(line, fmt.Sprintf("same person and documents as line %d: merge the rows, or give each an id", first))
		}
		return a.rejects(line, fmt.Sprintf("id is used in line %d already", first))
	}
	a.seen[rec.ID] = line
	for _, gap := range rec.Gaps() {
		a.report.note(line, "%s", gap)
	}
	a.report.Read++
	a.report.Accepted++
	for _, n := range rec.Names {
		switch n.Kind {
		case record.NameOriginal:
			a.report.Counts["original_script"]++
		case record.NamePrimary:
			a.report.Counts["names"]++
		case record.NameAlias:
			a.report.Counts["aliases"]++
		}
	}
	a.report.Counts["births"] += len(rec.Births)
	a.report.Counts["documents"] += len(rec.Documents)
	return a.yield(rec)
}

// A text is the input: it checks that it is UTF-8, counts lines and bytes, and
// drops a byte order mark.
type text struct {
	r       *bufio.Reader
	begun   bool
	total   int64
	row     int    // bytes since the last call of next
	line    int    // lines that have been read
	partial []byte // an incomplete rune at the end of what was read
}

func newText(r io.Reader) *text { return &text{r: bufio.NewReaderSize(r, 64<<10), line: 1} }

// next says that a row or token was complete.
func (t *text) next() { t.row = 0 }

// Read implements io.Reader. It fails at the first byte that is not UTF-8.
func (t *text) Read(p []byte) (int, error) {
	if !t.begun {
		t.begun = true
		head, _ := t.r.Peek(3)
		switch {
		case bytes.Equal(head, []byte("\ufeff")):
			t.r.Discard(3)
		case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
			return 0, fmt.Errorf("%w: encoded as UTF-16; save it as UTF-8", ErrFile)
		}
	}
	n, err := t.r.Read(p)
	t.total += int64(n)
	t.row += n
	if t.total > MaxFileSize {
		return 0, fmt.Errorf("%w: larger than %d bytes; split it", ErrFile, int64(MaxFileSize))
	}
	if t.row > MaxRowSize+(64<<10) { // readers read ahead by a buffer
		return 0, fmt.Errorf("%w: a row near line %d is longer than %d bytes; look for a quote that is not closed",
			ErrFile, t.line, MaxRowSize)
	}
	if bad := t.check(p[:n]); bad {
		return 0, fmt.Errorf("%w: line %d is not UTF-8; save the file as UTF-8", ErrFile, t.line)
	}
	if err == io.EOF && len(t.partial) > 0 {
		return 0, fmt.Errorf("%w: line %d is not UTF-8; save the file as UTF-8", ErrFile, t.line)
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("ingest: reading: %w", err)
	}
	return n, err
}

// check counts the lines of b, and reports whether it is not UTF-8 or has a NUL.
func (t *text) check(b []byte) (bad bool) {
	for len(t.partial) > 0 && len(b) > 0 {
		t.partial = append(t.partial, b[0])
		b = b[1:]
		if utf8.FullRune(t.partial) {
			if r, size := utf8.DecodeRune(t.partial); r == utf8.RuneError && size <= 1 {
				return true
			}
			t.partial = t.partial[:0]
		}
	}
	end := len(b)
	for i := max(0, len(b)-utf8.UTFMax+1); i < len(b); i++ { // where an incomplete rune begins
		if utf8.RuneStart(b[i]) && !utf8.FullRune(b[i:]) {
			end = i
			break
		}
	}
	t.partial = append(t.partial, b[end:]...)
	b = b[:end]
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		// Count the lines up to the fault, for the message.
		for len(b) > 0 {
			r, size := utf8.DecodeRune(b)
			if r == utf8.RuneError && size == 1 || r == 0 {
				return true
			}
			if r == '\n' {
				t.line++
			}
			b = b[size:]
		}
		return true
	}
	t.line += bytes.Count(b, []byte("\n"))
	return false
}

package ingest

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/passerelle/passerelle/gateway/record"
)

// A cell is one value of a row that is not empty.
type cell struct {
	column column
	head   string // the heading as the file has it
	place  string // "column 3", or the key of JSON if it is a known one
	value  string
}

// A row is one row or object of a file.
type row struct {
	line  int
	cells []cell

	// untyped says that the file has no column for types of documents. The report
	// says so once, and not for every row.
	untyped bool
}

// readCSV calls each for every row below the headings, and rejects for a row that
// has no cells to speak of.
func readCSV(ctx context.Context, t *text, report *Report, rejects func(int, string) error, each func(row) error) error {
	in := bufio.NewReaderSize(t, 32<<10)
	comma, skipped, err := delimiter(in)
	if err != nil {
		return err
	}
	r := csv.NewReader(in)
	r.Comma = comma
	r.FieldsPerRecord = -1
	r.ReuseRecord = true

	heads, err := r.Read()
	if err == io.EOF {
		return fmt.Errorf("%w: it is empty", ErrFile)
	}
	if err != nil {
		return fileError(err, "the headings in line 1 are not CSV")
	}
	heads = slices.Clone(heads)
	columns, err := headings(heads)
	if err != nil {
		return err
	}
	noteColumns(report, columns)
	untyped := !slices.Contains(columns, colDocType)
	places := make([]string, len(columns))
	for i := range places {
		places[i] = fmt.Sprintf("column %d", i+1)
	}

	for n := 0; ; n++ {
		if n%256 == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("ingest: %w", err)
			}
		}
		t.next()
		fields, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			reason := "a quote is not where CSV allows one"
			if parse.Line > parse.StartLine {
				reason = fmt.Sprintf("a quote that is not closed, or closed wrongly in line %d", parse.Line+skipped)
			}
			if err := rejects(parse.StartLine+skipped, reason); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fileError(err, "it is not CSV")
		}
		line, _ := r.FieldPos(0)
		line += skipped
		if len(fields) == 1 && strings.TrimSpace(fields[0]) == "" && len(heads) > 1 {
			continue // a line of spaces
		}
		if len(fields) != len(heads) {
			reason := fmt.Sprintf("%d fields, but %d headings: a separator inside a field must be in quotes", len(fields), len(heads))
			if err := rejects(line, reason); err != nil {
				return err
			}
			continue
		}
		row := row{line: line, cells: make([]cell, 0, len(fields)), untyped: untyped}
		reason := ""
		for i, f := range fields {
			value := strings.TrimSpace(f)
			if len(value) > MaxFieldSize {
				reason = fmt.Sprintf("%s is longer than %d bytes", places[i], MaxFieldSize)
			}
			if !missing(value) {
				row.cells = append(row.cells, cell{columns[i], heads[i], places[i], value})
			}
		}
		if reason != "" {
			err = rejects(line, reason)
		} else if len(row.cells) > 0 {
			err = each(row)
		}
		if err != nil {
			return err
		}
	}
}

// fileError returns err if it is one of ours, and one wrapping ErrFile if it came
// from a parser: its text might quote the file.
func fileError(err error, what string) error {
	if errors.Is(err, ErrFile) {
		return err
	}
	if _, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("%w: %s", ErrFile, what)
	}
	return err
}

// delimiter finds the separator of a CSV file in its first line, and skips a line
// "sep=;" before it, as spreadsheets write.
func delimiter(in *bufio.Reader) (comma rune, skipped int, err error) {
	head, err := in.Peek(16 << 10)
	if err != nil && err != io.EOF {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(head), "\n")
	if sep := strings.TrimRight(line, "\r"); len(sep) == 5 && strings.HasPrefix(sep, "sep=") && strings.Contains(",;\t", sep[4:]) {
		if _, err := in.Discard(len(line) + 1); err != nil && err != io.EOF {
			return 0, 0, err
		}
		return rune(sep[4]), 1, nil
	}
	quoted, best := false, 0
	count := make(map[rune]int)
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case !quoted:
			count[r]++
		}
	}
	comma = ','
	for _, r := range []rune{',', ';', '\t'} {
		if count[r] > best {
			comma, best = r, count[r]
		}
	}
	return comma, 0, nil
}

// headings gives every heading its column.
func headings(heads []string) ([]column, error) {
	if len(heads) > MaxColumns {
		return nil, fmt.Errorf("%w: more than %d columns", ErrFile, MaxColumns)
	}
	columns := make([]column, len(heads))
	where := make(map[column]int)
	for i, h := range heads {
		c := columnOf(h)
		columns[i] = c
		if first, twice := where[c]; twice && c != other && !c.list() {
			return nil, fmt.Errorf("%w: columns %d and %d have headings of the same meaning (%s)", ErrFile, first+1, i+1, c)
		}
		where[c] = i
	}
	if !identifies(columns) {
		return nil, fmt.Errorf("%w: line 1 has no heading for a name or a document number, such as "+
			"name, surname, given_name or document_number; the first line must have the headings", ErrFile)
	}
	return columns, nil
}

// identifies reports whether columns can tell who a row is about.
func identifies(columns []column) bool {
	return slices.ContainsFunc(columns, func(c column) bool {
		switch c {
		case colName, colGiven, colSurname, colDocNumber, colPassport, colNationalID:
			return true
		}
		return false
	})
}

// noteColumns says what the headings lack.
func noteColumns(report *Report, columns []column) {
	if slices.Contains(columns, colDocNumber) && !slices.Contains(columns, colDocType) {
		report.note(0, "no column for the type of document: numbers are taken to be of passports")
	}
	if !slices.Contains(columns, colDocIssuer) && (slices.Contains(columns, colDocNumber) || slices.Contains(columns, colPassport)) {
		report.note(0, "no column for the State that issued the document: document numbers give no lookup key")
	}
	if !slices.ContainsFunc(columns, func(c column) bool { return c == colBirth || c == colBirthYear || c == colBirthFrom }) {
		report.note(0, "no column for the date or year of birth: names give no lookup key")
	}
	var unused []string
	for i, c := range columns {
		if c == other {
			unused = append(unused, fmt.Sprint(i+1))
		}
	}
	if len(unused) > 0 {
		report.note(0, "columns without a known heading, not used for lookup: %s", strings.Join(unused, ", "))
	}
}

// readJSONL calls each for every object, or whole for one that is a record in our
// own form, if whole is not nil.
func readJSONL(ctx context.Context, t *text, report *Report, rejects func(int, string) error,
	each func(row) error, whole func(int, record.Record) error) error {

	in := bufio.NewReaderSize(t, 64<<10)
	for line := 1; ; line++ {
		if line%256 == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("ingest: %w", err)
			}
		}
		b, long, err := readLine(t, in)
		if err != nil && err != io.EOF {
			return err
		}
		last := err == io.EOF
		switch s := strings.TrimSpace(string(b)); {
		case long:
			err = rejects(line, fmt.Sprintf("longer than %d bytes", MaxRowSize))
		case s == "":
			err = nil
		default:
			err = jsonRow(s, line, rejects, each, whole)
		}
		if err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

// readLine reads one line. Of one that is too long it returns nothing, but reads
// to its end.
func readLine(t *text, in *bufio.Reader) (line []byte, long bool, err error) {
	for {
		t.next()
		part, err := in.ReadSlice('\n')
		if !long {
			line = append(line, part...)
		}
		if len(line) > MaxRowSize {
			line, long = nil, true
		}
		if err != bufio.ErrBufferFull {
			return line, long, err
		}
	}
}

// jsonRow reads one object.
func jsonRow(s string, line int, rejects func(int, string) error, each func(row) error,
	whole func(int, record.Record) error) error {

	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &object); err != nil {
		return rejects(line, "not one JSON object")
	}
	if names, ok := object["names"]; ok && whole != nil && strings.HasPrefix(string(names), "[") {
		var rec record.Record
		d := json.NewDecoder(strings.NewReader(s))
		d.DisallowUnknownFields()
		if err := d.Decode(&rec); err != nil {
			return rejects(line, "not a record: a field is not known, or has a value of the wrong type or an impossible date")
		}
		return whole(line, rec)
	}
	row := row{line: line}
	reason := ""
	var add func(prefix string, object map[string]json.RawMessage)
	add = func(prefix string, object map[string]json.RawMessage) {
		keys := make([]string, 0, len(object))
		for k := range object {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			var nested map[string]json.RawMessage
			if prefix == "" && json.Unmarshal(object[k], &nested) == nil && nested != nil {
				add(k+" ", nested)
				continue
			}
			values, ok := jsonValues(object[k])
			col := columnOf(prefix + k)
			place := "a field"
			if col != other {
				place = "field " + string(col)
			}
			if !ok {
				reason = place + " is neither a text, a number nor a list of them"
				return
			}
			if len(values) > 1 && !col.list() && col != other {
				reason = place + " has more than one value"
				return
			}
			for _, v := range values {
				if len(v) > MaxFieldSize {
					reason = fmt.Sprintf("%s is longer than %d bytes", place, MaxFieldSize)
					return
				}
				if v = strings.TrimSpace(v); !missing(v) {
					row.cells = append(row.cells, cell{col, prefix + k, place, v})
				}
			}
		}
	}
	add("", object)
	for i, c := range row.cells {
		if c.column == other || c.column.list() {
			continue
		}
		if slices.ContainsFunc(row.cells[:i], func(b cell) bool { return b.column == c.column }) {
			reason = c.place + " is there twice, under two spellings"
		}
	}
	if reason != "" {
		return rejects(line, reason)
	}
	return each(row)
}

// jsonValues returns the values of a text, a number, a boolean, null or a list.
func jsonValues(raw json.RawMessage) ([]string, bool) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var values []string
	for _, e := range list {
		switch e := e.(type) {
		case nil:
		case string:
			values = append(values, e)
		case json.Number:
			values = append(values, e.String())
		case bool:
			values = append(values, fmt.Sprint(e))
		default:
			return nil, false
		}
	}
	return values, true
}

// missing reports whether a value stands for none.
func missing(s string) bool {
	switch strings.ToLower(s) {
	case "", "-", "--", "-0-", "n/a", "null", "#n/a":
		return true
	}
	return false
}

// fold returns a heading or a coded value for comparison: letters and digits, in
// lower case.
func fold(s string) string {
	if len(s) > 4*record.MaxCode {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// short cuts s to at most n bytes of whole runes.
func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A table is printed with aligned columns.
type table struct {
	w    *tabwriter.Writer
	head string
	rows int
}

// newTable returns a table with the given heads, indented.
func newTable(w io.Writer, indent string, heads ...string) *table {
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.head = indent
	t.line(heads...)
	t.rows = 0
	return t
}

func (t *table) line(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	// The last cell is not followed by a tab, so no line has trailing spaces.
	fmt.Fprintln(t.w, t.head+strings.Join(cells, "\t"))
	t.rows++
}

// row adds a row of values. Empty ones are shown as a dash.
func (t *table) row(values ...any) {
	cells := make([]string, len(values))
	for i, v := range values {
		if cells[i] = fmt.Sprint(v); cells[i] == "" {
			cells[i] = "-"
		}
	}
	t.line(cells...)
}

// flush prints the table.
func (t *table) flush() error { return t.w.Flush() }

// printable returns s without characters that could change the terminal: what is
// printed may come from a neighbour or from a file.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != ' ' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// printJSON prints one message, or another value in its own JSON form, as one
// line.
func (a *app) printJSON(v any) error {
	var b []byte
	if m, ok := v.(proto.Message); ok {
		b = appendJSON(nil, m.ProtoReflect())
	} else {
		var err error
		if b, err = json.Marshal(v); err != nil {
			return err
		}
	}
	_, err := a.stdout.Write(append(b, '\n'))
	return err
}

// outf prints for people on stdout.
func (a *app) outf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// notef prints what to know or to do next on stderr. It is silent with --json.
func (a *app) notef(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.stderr, format, args...)
	}
}

// shown returns a time for people, or "" if it is unset.
func shown(t *timestamppb.Timestamp) string {
	if t == nil || t.AsTime().Unix() <= 0 {
		return ""
	}
	return t.AsTime().UTC().Format("2006-01-02 15:04:05Z")
}

// day returns the date of a time, or "" if it is unset.
func day(t *timestamppb.Timestamp) string {
	s := shown(t)
	return s[:min(len(s), 10)]
}

// short returns the first 8 bytes of a digest in hexadecimal.
func short(digest []byte) string { return hex.EncodeToString(digest[:min(len(digest), 8)]) }

// bytesOf returns a number of bytes for people.
func bytesOf(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// plural returns a count with its noun.
func plural[N uint32 | uint64 | int](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// rounded returns a duration without digits that nobody reads.
func rounded(d time.Duration) time.Duration {
	switch {
	case d > time.Minute:
		return d.Round(time.Second)
	case d > time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// code returns an enumeration's value in lower case, without its prefix.
func code(value, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(value, prefix), "_", " "))
}

// progressAfter is how long something may take before a bar is drawn.
const progressAfter = 2 * time.Second

// A bar shows how far something is, on a terminal and only if it takes long. It
// must not be used concurrently.
type bar struct {
	w     io.Writer // nil: never drawn
	now   func() time.Time
	begun time.Time
	drawn time.Time // zero: not yet
}

// bar returns a bar on stderr, if that is a terminal.
func (a *app) bar() *bar {
	b := &bar{now: a.now, begun: a.now()}
	if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.w = f
	}
	return b
}

// show draws the bar. A total of 0 is not known.
func (b *bar) show(what string, done, total uint64) {
	now := b.now()
	if b.w == nil || now.Sub(b.begun) < progressAfter || !b.drawn.IsZero() && now.Sub(b.drawn) < 100*time.Millisecond {
		return
	}
	b.drawn = now
	if total == 0 {
		fmt.Fprintf(b.w, "\r\x1b[K%s  %d", printable(what), done)
		return
	}
	const width = 30
	full := int(min(done, total) * width / total)
	fmt.Fprintf(b.w, "\r\x1b[K%s  [%s%s] %3d %%", printable(what), strings.Repeat("#", full),
		strings.Repeat(".", width-full), min(done, total)*100/total)
}

// clear removes the bar.
func (b *bar) clear() {
	if !b.drawn.IsZero() {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = time.Time{}
	}
}

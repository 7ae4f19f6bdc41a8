package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/ingest"
	"github.com/passerelle/passerelle/gateway/record"
)

// testdata returns the folder of data made by others, or skips the test.
func testdata(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PASSERELLE_TESTDATA")
	if dir == "" {
		dir = filepath.Join(repository, "../shared/data")
	}
	if _, err := os.Stat(filepath.Join(dir, "lists/un_consolidated.xml")); err != nil {
		t.Skip("skipped: lists/un_consolidated.xml is not there; set PASSERELLE_TESTDATA to the folder that has it")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// The part of names/negatives_us.csv that is screened, in rows.
const negatives = 1000

// TestUNList has one country hold the consolidated list of the United Nations, and
// another screen people who are on it and people who are on no list. Who must be
// found is computed from the lookup keys of both files in the clear, with none of
// the code between the two countries. It prints counts, and nobody's name.
func TestUNList(t *testing.T) {
	t.Parallel()
	data := testdata(t)
	list, positives := filepath.Join(data, "lists/un_consolidated.xml"), filepath.Join(data, "names/un_positives_untreated.csv")
	w := newWorld(t)
	none := filepath.Join(w.dir, "negatives.csv")
	head(t, filepath.Join(data, "names/negatives_us.csv"), none, 1+negatives)

	for _, c := range [][2]string{{"utopia", "UTO"}, {"valdera", "QVA"}} {
		if err := w.country(c[0], c[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.federate("utopia", "valdera"); err != nil {
		t.Fatal(err)
	}
	if err := w.agree("utopia", "valdera", draft("valdera")); err != nil {
		t.Fatal(err)
	}
	var ingested struct {
		Report struct {
			Format                       string
			Read, Added, Total, Rejected int
		}
	}
	if err := w.as("valdera", "a-1", &ingested, "ingest", "watchlist", list, "--collection", "watchlist"); err != nil {
		t.Fatal(err)
	}
	// The 273 entities of the list are no travellers: none of them is counted.
	if r := ingested.Report; r.Read != 730 || r.Added != 730 || r.Total != 730 || r.Rejected != 0 {
		t.Errorf("ingest = %+v, want 730 read and added and 0 rejected", r)
	}
	if err := w.as("utopia", "a-1", nil, "sync"); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name, file string
		want       int
	}{
		{"people on the list", positives, expected(t, list, positives)},
		{"people on no list", none, expected(t, list, none)},
	} {
		screened, found := w.screen(t, tt.file)
		t.Logf("%s: %d of %d found, %d expected", tt.name, found, screened, tt.want)
		if found != tt.want {
			t.Errorf("%s: %d of %d have a candidate, want %d", tt.name, found, screened, tt.want)
		}
		if tt.file == positives && tt.want < screened*9/10 || tt.file == none && tt.want != 0 {
			t.Errorf("%s: %d of %d are expected: look at the normal forms", tt.name, tt.want, screened)
		}
	}
}

// screen screens a manifest and returns how many people were asked about and how
// many of them have a candidate, both as the summary says and as counted.
func (w *world) screen(t *testing.T, file string) (screened, found int) {
	t.Helper()
	out, err := w.passerelle("--json", "--gateway", "utopia", "--identity", "utopia/officers/clerk", "screen", file,
		"--purpose", "ct-travel-screening", "--legal-basis", "Border Act s. 12", "--offence", "terrorism", "--case", "UT-417",
		"--category", "suspect", "--justification", "Screening of an inbound flight named by an intelligence report")
	if err != nil {
		// What it printed has references of rows, and no names.
		t.Fatal(err)
	}
	with := make(map[string]bool)
	for line := range strings.Lines(out) {
		var m struct {
			Candidate *struct {
				Ref string `json:"subject_ref"`
			} `json:"candidate"`
			Summary *struct {
				Subjects int `json:"subjects"`
				With     int `json:"subjects_with_candidates"`
			} `json:"summary"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Candidate != nil {
			with[m.Candidate.Ref] = true
		}
		if m.Summary != nil {
			screened, found = m.Summary.Subjects, m.Summary.With
		}
	}
	if len(with) != found {
		t.Errorf("candidates of %d people were printed, and the summary says %d", len(with), found)
	}
	return screened, found
}

// expected returns how many people in a manifest share a lookup key with a record
// of the list.
func expected(t *testing.T, list, manifest string) (n int) {
	t.Helper()
	open := func(name string) *bufio.Reader {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return bufio.NewReader(bytes.NewReader(b))
	}
	records, _, err := ingest.Watchlist(t.Context(), "list", open(list), ingest.FormatUN, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for i := range records {
		for _, k := range records[i].Keys() {
			listed[string(k.Bytes)] = true
		}
	}
	subjects, _, err := ingest.Manifest(t.Context(), "manifest", open(manifest), ingest.FormatCSV)
	if err != nil {
		t.Fatal(err)
	}
	for i := range subjects {
		for _, k := range subjects[i].Keys() {
			if exact(k.Class) && listed[string(k.Bytes)] {
				n++
				break
			}
		}
	}
	return n
}

// exact reports whether a class is one of those that an agreement has by default.
func exact(c record.Class) bool {
	for _, x := range record.ExactClasses() {
		if x == c {
			return true
		}
	}
	return false
}

// head copies the first lines of a file.
func head(t *testing.T, from, to string, lines int) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	parts := bytes.SplitAfterN(b, []byte("\n"), lines+1)
	if len(parts) <= lines {
		t.Fatalf("%s has fewer than %d lines", filepath.Base(from), lines)
	}
	if err := os.WriteFile(to, bytes.Join(parts[:lines], nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

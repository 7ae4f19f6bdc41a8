package ingest_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/ingest"
	"github.com/passerelle/passerelle/gateway/record"
)

// open opens a file of test data that others made, or skips. It is about real
// people: tests give counts and rows of it, and never content.
func open(t *testing.T, path string) io.Reader {
	t.Helper()
	dir := os.Getenv("PASSERELLE_TESTDATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, path))
	if err != nil {
		t.Skipf("skipped: %s is not there; set PASSERELLE_TESTDATA to the folder with test data", path)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func unList(t *testing.T) ([]record.Record, ingest.Report) {
	t.Helper()
	records, report, err := ingest.Watchlist(t.Context(), "un.xml", open(t, "lists/un_consolidated.xml"),
		ingest.FormatUN, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return records, report
}

func TestUNList(t *testing.T) {
	t.Parallel()
	records, report := unList(t)
	if len(records) != 730 || report.Read != 730 || report.Accepted != 730 || len(report.Rejected) != 0 || report.NotPersons != 273 {
		t.Errorf("read %d, accepted %d, returned %d, rejected %d, not persons %d; want 730, 730, 730, 0, 273",
			report.Read, report.Accepted, len(records), len(report.Rejected), report.NotPersons)
	}
	for kind, want := range map[string]int{
		"names": 730, "alias_elements": 2139, "aliases_good": 1524, "aliases_low": 615,
		"birth_elements": 870, "document_numbers": 454, "original_script_elements": 336,
	} {
		if got := report.Counts[kind]; got != want {
			t.Errorf("%s: %d, want %d", kind, got, want)
		}
	}
	t.Logf("counts: %v; notes: %d", report.Counts, len(report.Notes))

	kinds := make(map[string]int)
	for _, n := range report.Notes {
		kinds[strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, n.Reason)]++
	}
	for k, n := range kinds {
		t.Logf("%5d  %s", n, k)
	}

	keys, names := make(map[record.Class]int), 0
	for i := range records {
		r := &records[i]
		for _, k := range r.Keys() {
			keys[k.Class]++
		}
		names += len(r.Names)
		if r.ListedOn.IsZero() || r.SourceList == "" || r.Originator == "" {
			t.Errorf("record %d lacks list, originator or date of listing", i)
		}
	}
	t.Logf("%d names, keys of each class: %v", names, keys)
}

// TestUNListNothingDropped reads the list a second time, without any knowledge of
// its elements, and looks for every word of every person in the record.
func TestUNListNothingDropped(t *testing.T) {
	t.Parallel()
	records, _ := unList(t)
	held := make(map[string]string)
	for i := range records {
		held[records[i].ID] = ingest.AllText(&records[i])
	}
	dropped := 0
	persons, err := ingest.Persons(open(t, "lists/un_consolidated.xml"))
	if err != nil {
		t.Fatal(err)
	}
	for i, texts := range persons {
		all := held[texts["REFERENCE_NUMBER"][0]]
		for path, list := range texts {
			switch path[strings.LastIndexByte(path, '/')+1:] {
			case "QUALITY", "GENDER", "TYPE_OF_DATE", "TYPE_OF_DOCUMENT", "ISSUING_COUNTRY", "COUNTRY_OF_ISSUE", "NATIONALITY":
				continue // held as codes
			}
			if path == "NATIONALITY/VALUE" {
				continue
			}
			for _, text := range list {
				for word := range strings.FieldsSeq(text) {
					if !strings.Contains(all, strings.Trim(word, ";|")) {
						dropped++
						t.Errorf("person %d: a word of %s is in no field of the record", i+1, path)
					}
				}
			}
		}
	}
	if dropped > 0 || len(persons) != 730 {
		t.Errorf("%d words of %d persons dropped, want 0 of 730", dropped, len(persons))
	}
}

func TestManifestData(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path string
		rows int
	}{
		{"names/un_positives_untreated.csv", 683},
		{"names/negatives_us.csv", 50000},
		{"names/febrl_dataset4a.csv", 5000},
	} {
		subjects, report, err := ingest.Manifest(t.Context(), tt.path, open(t, tt.path), ingest.FormatCSV)
		if err != nil {
			t.Fatalf("%s: %v", tt.path, err)
		}
		if report.Read != tt.rows || report.Accepted != len(subjects) || report.Accepted+len(report.Rejected) != tt.rows {
			t.Errorf("%s: read %d, accepted %d, rejected %d; want %d rows", tt.path, report.Read, report.Accepted,
				len(report.Rejected), tt.rows)
		}
		reasons := make(map[string]int)
		for _, r := range report.Rejected {
			reasons[r.Reason]++
		}
		t.Logf("%s: %d accepted, %d rejected, %d notes %v", tt.path, report.Accepted, len(report.Rejected), len(report.Notes), reasons)
	}
}

// TestUNPositives counts how many people who are on the list are found by one
// exact key.
func TestUNPositives(t *testing.T) {
	t.Parallel()
	records, _ := unList(t)
	listed := make(map[string]bool)
	for i := range records {
		for _, k := range records[i].Keys() {
			listed[string(k.Bytes)] = true
		}
	}
	subjects, _, err := ingest.Manifest(t.Context(), "positives", open(t, "names/un_positives_untreated.csv"), ingest.FormatCSV)
	if err != nil {
		t.Fatal(err)
	}
	found, years := 0, 0
	for i := range subjects {
		s := &subjects[i]
		if !s.Birth.IsZero() {
			years++
		}
		for _, k := range s.Keys() {
			if listed[string(k.Bytes)] {
				found++
				break
			}
		}
	}
	t.Logf("found %d of %d, of whom %d have a year of birth", found, len(subjects), years)
	if len(subjects) != 683 || found < 600 {
		t.Errorf("found %d of %d, want at least 600 of 683", found, len(subjects))
	}
}

package fiction_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway/ingest"
	"github.com/passerelle/passerelle/gateway/record"
)

// TestSamples regenerates the committed files.
func TestSamples(t *testing.T) {
	t.Parallel()
	files, err := fiction.Samples()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", "data", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator makes (error %v): run go generate ./examples/fiction", name, err)
		}
	}
}

// TestStable fixes the data, also of lists too large to commit.
func TestStable(t *testing.T) {
	t.Parallel()
	h := sha256.New()
	e := json.NewEncoder(h)
	var planted []record.Record
	for _, c := range fiction.Countries() {
		list := fiction.Watchlist(c, 3000, 7)
		planted = append(planted, list[:10]...)
		if short := fiction.Watchlist(c, 10, 7); !reflect.DeepEqual(short, list[:10]) {
			t.Errorf("%s: a longer list does not begin with the shorter one", c)
		}
		e.Encode(list)
		e.Encode(fiction.Documents(c, 1000, 7))
	}
	e.Encode(fiction.Manifest(1000, 7, planted))
	const want = "2b209179aab24e9c863346e32bd84034609c0010c5385ea1501460f792bbba59"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("hash of the data = %s, want %s", got, want)
	}
	if reflect.DeepEqual(fiction.Watchlist(fiction.Utopia, 1, 7), fiction.Watchlist(fiction.Utopia, 1, 8)) {
		t.Error("two seeds give the same list")
	}
}

// TestLists reads what was written, and checks what the package promises.
func TestLists(t *testing.T) {
	t.Parallel()
	listed := make(map[string]bool)
	var planted []record.Record
	for _, c := range fiction.Countries() {
		list := fiction.Watchlist(c, 5000, 1)
		planted = append(planted, fiction.Planted(list, 50)...)
		var b bytes.Buffer
		if err := fiction.WriteWatchlistCSV(&b, list); err != nil {
			t.Fatal(err)
		}
		again, report, err := ingest.Watchlist(t.Context(), c, &b, ingest.FormatCSV, ingest.Options{})
		if err != nil || len(report.Rejected) != 0 {
			t.Fatalf("%s: error %v, rejected %v", c, err, report.Rejected)
		}
		if len(report.Notes) != 0 {
			t.Errorf("%s: notes %v", c, report.Notes)
		}
		for i := range list {
			if !reflect.DeepEqual(again[i], list[i]) {
				t.Fatalf("%s: record %d reads as another one", c, i)
			}
			if list[i].ProtectionStatus == "" || list[i].ReviewBy.IsZero() || len(list[i].Keys()) == 0 {
				t.Errorf("%s: record %d lacks facts or keys", c, i)
			}
			for _, k := range list[i].Keys() {
				listed[string(k.Bytes)] = true
			}
		}
		for i, d := range fiction.Documents(c, 1000, 1) {
			if err := d.Validate(); err != nil || len(d.Keys()) != 1 {
				t.Errorf("%s: document %d: %d keys, error %v", c, i, len(d.Keys()), err)
			}
		}
	}

	const n = 5000
	manifest := fiction.Manifest(n, 1, planted)
	var b bytes.Buffer
	if err := fiction.WriteManifestCSV(&b, manifest); err != nil {
		t.Fatal(err)
	}
	again, report, err := ingest.Manifest(t.Context(), "manifest", &b, ingest.FormatCSV)
	if err != nil || len(report.Rejected)+len(report.Notes) != 0 || !reflect.DeepEqual(again, manifest) {
		t.Fatalf("the manifest reads as another one: error %v, rejected %v, notes %v", err, report.Rejected, report.Notes)
	}
	found := 0
	for i := range manifest {
		keys := manifest[i].Keys()
		if len(keys) != 4 {
			t.Errorf("traveller %d has %d keys, want 4", i, len(keys))
		}
		hits := 0
		for _, k := range keys {
			if listed[string(k.Bytes)] {
				hits++
			}
		}
		if hits > 0 {
			found++
		}
	}
	if found != len(planted) || len(planted) != 150 {
		t.Errorf("found %d travellers, planted %d, want 150", found, len(planted))
	}
	if got := len(fiction.Manifest(3, 1, planted)); got != 3 {
		t.Errorf("%d travellers, want 3", got)
	}
	if got := fiction.Manifest(0, 1, planted); len(got) != 0 {
		t.Errorf("%d travellers, want none", len(got))
	}
}

// TestSampleMatches counts the matches of the committed files.
func TestSampleMatches(t *testing.T) {
	t.Parallel()
	files, err := fiction.Samples()
	if err != nil {
		t.Fatal(err)
	}
	subjects, _, err := ingest.Manifest(t.Context(), "manifest.csv", bytes.NewReader(files["manifest.csv"]), ingest.FormatCSV)
	if err != nil || len(subjects) != fiction.SampleTravel {
		t.Fatalf("%d travellers, error %v", len(subjects), err)
	}
	for name, b := range files {
		if name == "manifest.csv" {
			continue
		}
		records, _, err := ingest.Watchlist(t.Context(), name, bytes.NewReader(b), ingest.FormatCSV, ingest.Options{})
		if err != nil || len(records) != fiction.SampleListSize {
			t.Fatalf("%s: %d records, error %v", name, len(records), err)
		}
		listed := make(map[string]bool)
		for i := range records {
			for _, k := range records[i].Keys() {
				listed[string(k.Bytes)] = true
			}
		}
		found := 0
		for i := range subjects {
			for _, k := range subjects[i].Keys() {
				if listed[string(k.Bytes)] {
					found++
					break
				}
			}
		}
		if found != fiction.PlantedInSample {
			t.Errorf("%s: %d travellers found, want %d", name, found, fiction.PlantedInSample)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	r := fiction.Watchlist(fiction.Utopia, 1, 1)
	r[0].Births = append(r[0].Births, r[0].Births...)
	if err := fiction.WriteWatchlistCSV(&bytes.Buffer{}, r); err == nil {
		t.Error("wrote a record with two births")
	}
}

func BenchmarkWatchlist(b *testing.B) {
	for b.Loop() {
		fiction.Watchlist(fiction.Norlanda, 10000, 1)
	}
}

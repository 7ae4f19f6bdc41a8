package fiction

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"github.com/passerelle/passerelle/gateway/record"
)

// WriteWatchlistCSV writes records in the headings that gateway/ingest reads. It
// writes what records of this package have, and returns an error, without any
// content in it, for a record with more: a second birth or document.
func WriteWatchlistCSV(w io.Writer, records []record.Record) error {
	out := csv.NewWriter(w)
	out.Write([]string{"id", "name", "aliases", "low_quality_aliases", "name_original_script", "date_of_birth", "birth_from", "birth_to",
		"sex", "nationality", "document_type", "document_issuer", "document_number", "subject_category", "protection_status",
		"country_of_origin", "basis", "reliability_grade", "nominator", "criterion", "redress_state", "last_verified", "review_by",
		"listed_on", "alert_kind", "instruction", "weight"})
	for i := range records {
		r := &records[i]
		if len(r.Births) > 1 || len(r.Documents) > 1 || len(r.Nationalities) > 1 {
			return fmt.Errorf("fiction: record %d has more than one birth, document or nationality", i+1)
		}
		var name, alias, low, original, born, from, to, nationality string
		for _, n := range r.Names {
			column := map[record.NameKind]*string{record.NamePrimary: &name, record.NameAlias: &alias, record.NameOriginal: &original}[n.Kind]
			if n.Quality == record.QualityLow {
				column = &low
			}
			if *column != "" {
				*column += "; "
			}
			*column += n.Text
		}
		for _, b := range r.Births {
			if b.From == b.To {
				born = b.From.String()
			} else {
				from, to = b.From.String(), b.To.String()
			}
		}
		for _, n := range r.Nationalities {
			nationality = n
		}
		var d record.Document
		for _, d = range r.Documents {
		}
		out.Write([]string{r.ID, name, alias, low, original, born, from, to, r.Sex, nationality, string(d.Type), d.Issuer, d.Number,
			r.SubjectCategory, r.ProtectionStatus, r.CountryOfOrigin, r.Basis, r.ReliabilityGrade, r.Nominator, r.Criterion,
			r.RedressState, r.LastVerified.String(), r.ReviewBy.String(), r.ListedOn.String(), number(r.AlertKind),
			number(r.Instruction), number(r.Weight)})
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("fiction: writing: %w", err)
	}
	return nil
}

// number returns n, and "" for 0.
func number[T uint8 | uint16](n T) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

// WriteManifestCSV writes subjects in the headings that gateway/ingest reads.
func WriteManifestCSV(w io.Writer, subjects []record.Subject) error {
	out := csv.NewWriter(w)
	out.Write([]string{"reference", "name", "date_of_birth", "sex", "nationality", "document_type", "document_issuer", "document_number"})
	for i := range subjects {
		s := &subjects[i]
		out.Write([]string{s.Ref, s.Name, s.Birth.String(), s.Sex, s.Nationality, string(s.Document.Type),
			s.Document.Issuer, s.Document.Number})
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("fiction: writing: %w", err)
	}
	return nil
}

// The sizes of the sample files. Of every list, the first PlantedInSample people
// who are not protected travel in the sample manifest.
const (
	SampleSeed      = 2396
	SampleListSize  = 200
	SampleTravel    = 300
	PlantedInSample = 4
)

// Planted returns the first n records that are about no protected person.
func Planted(records []record.Record, n int) []record.Record {
	var out []record.Record
	for i := range records {
		if len(out) == n {
			break
		}
		if records[i].ProtectionStatus == "none" {
			out = append(out, records[i])
		}
	}
	return out
}

// Samples returns the files of examples/data, by name.
func Samples() (map[string][]byte, error) {
	files := make(map[string][]byte)
	var planted []record.Record
	for _, c := range []struct{ code, name string }{{Utopia, "utopia"}, {Valdera, "valdera"}, {Norlanda, "norlanda"}} {
		records := Watchlist(c.code, SampleListSize, SampleSeed)
		planted = append(planted, Planted(records, PlantedInSample)...)
		var b bytes.Buffer
		if err := WriteWatchlistCSV(&b, records); err != nil {
			return nil, err
		}
		files[c.name+"_watchlist.csv"] = b.Bytes()
	}
	var b bytes.Buffer
	if err := WriteManifestCSV(&b, Manifest(SampleTravel, SampleSeed, planted)); err != nil {
		return nil, err
	}
	files["manifest.csv"] = b.Bytes()
	return files, nil
}

package ingest

import (
	"encoding/xml"
	"io"
	"strings"

	"github.com/passerelle/passerelle/gateway/record"
)

// DocumentNumbers is documentNumbers.
var DocumentNumbers = documentNumbers

// DocumentType is documentType.
var DocumentType = documentType

// Persons returns the texts of every INDIVIDUAL, by path.
func Persons(r io.Reader) ([]map[string][]string, error) {
	var out []map[string][]string
	d := xml.NewDecoder(r)
	var path []string
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			path = append(path, tok.Name.Local)
			if tok.Name.Local == "INDIVIDUAL" {
				out = append(out, make(map[string][]string))
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) > 3 && path[2] == "INDIVIDUAL" {
				if s := strings.TrimSpace(string(tok)); s != "" {
					p := strings.Join(path[3:], "/")
					out[len(out)-1][p] = append(out[len(out)-1][p], s)
				}
			}
		}
	}
}

// AllText returns every text of r.
func AllText(r *record.Record) string {
	parts := []string{r.ID, r.SourceList, r.ListedOn.String()}
	for _, n := range r.Names {
		parts = append(parts, n.Text)
	}
	for _, b := range r.Births {
		parts = append(parts, b.From.String(), b.To.String())
	}
	for _, d := range r.Documents {
		parts = append(parts, d.Number)
	}
	for _, list := range [][]string{r.PlacesOfBirth, r.Addresses, r.Titles, r.Designations, r.Remarks} {
		parts = append(parts, list...)
	}
	for _, f := range r.Source {
		parts = append(parts, f.Value)
	}
	return strings.Join(parts, "\n")
}

package holder

import (
	"strings"
	"time"

	"github.com/passerelle/passerelle/gateway/record"
)

// guess is how many years the birth of somebody may be after the one year or day
// that a source calls approximate. A range has its bounds.
const guess = 2

// minor reports whether the person of r is or may be under 18 at now: where sources
// differ or know less than the day, the latest birth that one of them allows counts.
// A record that says nothing of an age, such as one of a stolen passport, is none
// of a minor.
func minor(r *record.Record, now time.Time) bool {
	if r.ProtectionStatus == "minor" {
		return true
	}
	for _, birth := range r.Births {
		last := birth.To
		if last.Year == 0 {
			return true // a range without an end
		}
		if birth.Approximate && birth.From == birth.To {
			last.Year += guess
		}
		if last.Month == 0 {
			last.Month = 12
		}
		if last.Day == 0 {
			last.Month, last.Day = last.Month+1, 1 // the day after
		}
		if now.Before(time.Date(last.Year+18, time.Month(last.Month), last.Day, 0, 0, 0, 0, time.UTC)) {
			return true
		}
	}
	return false
}

// origin returns a country of origin as the agreement writes countries. Records
// have the codes of travel documents: D is Germany, GBD and others are British, and
// codes of nobody's country, or of one that is no more, are "", not known.
func origin(code, asker string) string {
	switch code {
	case "GBD", "GBN", "GBO", "GBP", "GBS":
		code = "GBR"
	case "SCG", "CSK", "EUE", "UNO", "UNA", "UNK":
		return ""
	}
	if c, ok := record.CountryCode(asker); ok && c == code {
		return asker
	}
	switch {
	case code == "D":
		return "DEU"
	case strings.HasPrefix(code, "X"): // stateless, refugees, organisations
		return ""
	}
	return code
}

package holder_test

import (
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/record"
)

func TestMinor(t *testing.T) {
	t.Parallel()
	day := func(y, m, d int) record.Date { return record.Date{Year: y, Month: m, Day: d} }
	born := func(dates ...record.Date) (r record.Record) {
		for _, d := range dates {
			r.Births = append(r.Births, record.Born(d))
		}
		return r
	}
	between := func(from, to record.Date) record.Record {
		return record.Record{Births: []record.Birth{{From: from, To: to, Approximate: true}}}
	}
	for _, tt := range []struct {
		name string
		r    record.Record
		want bool
	}{
		{"no birth, as of a stolen passport", record.Record{Documents: []record.Document{{Type: record.Passport, Number: "X1"}}}, false},
		{"adult", born(day(1980, 1, 2)), false},
		{"18 today", born(day(2008, 11, 22)), false},
		{"18 tomorrow", born(day(2008, 11, 23)), true},
		{"child", born(day(2020, 1, 2)), true},
		{"not born yet", born(day(2030, 1, 2)), true},
		{"month before this one", born(day(2008, 10, 0)), false},
		{"this month", born(day(2008, 11, 0)), true},
		{"December", born(day(2007, 12, 0)), false},
		{"year in which some are 18", born(day(2008, 0, 0)), true},
		{"year in which all are 18", born(day(2007, 0, 0)), false},
		{"sources differ", born(day(1980, 1, 2), day(2012, 1, 2)), true},
		{"range that ends with an adult", between(day(1990, 0, 0), day(2007, 0, 0)), false},
		{"range that ends with a minor", between(day(1990, 0, 0), day(2009, 0, 0)), true},
		{"range without an end", between(day(1990, 0, 0), record.Date{}), true},
		{"range without a beginning", between(record.Date{}, day(1990, 0, 0)), false},
		{"about 2006", between(day(2006, 0, 0), day(2006, 0, 0)), true},
		{"about 2005", between(day(2005, 0, 0), day(2005, 0, 0)), false},
		{"said to be a minor", record.Record{ProtectionStatus: "minor", Births: born(day(1980, 1, 2)).Births}, true},
		{"said to be protected", record.Record{ProtectionStatus: "court", Births: born(day(1980, 1, 2)).Births}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := holder.Minor(&tt.r, time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)); got != tt.want {
				t.Errorf("minor = %t, want %t", got, tt.want)
			}
		})
	}

	// Born on 29 February: an adult on 1 March, where there is no such day.
	leap := born(day(2008, 2, 29))
	for _, tt := range []struct {
		now  time.Time
		want bool
	}{
		{time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC), true},
		{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		if got := holder.Minor(&leap, tt.now); got != tt.want {
			t.Errorf("minor on %s = %t, want %t", tt.now.Format(time.DateOnly), got, tt.want)
		}
	}
}

// TestOrigin checks that a country of origin and an asker that are the same country
// are written the same: RU-23 compares the texts.
func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ code, asker, want string }{
		{"", "DEU", ""},
		{"SYR", "DEU", "SYR"},
		{"SYR", "SYR", "SYR"},
		{"D", "DEU", "DEU"},
		{"D", "FRA", "DEU"},
		{"GBD", "GBR", "GBR"},
		{"GBR", "FRA", "GBR"},
		{"RKS", "XKX", "XKX"},
		{"RKS", "SRB", "RKS"},
		{"QVA", "QVA", "QVA"},
		{"QVA", "AAA", "QVA"},
		{"XXA", "DEU", ""}, {"XAA", "DEU", ""}, {"XXB", "DEU", ""}, {"XXX", "DEU", ""}, {"XPO", "DEU", ""},
		{"UNO", "DEU", ""}, {"EUE", "DEU", ""}, {"CSK", "CZE", ""}, {"SCG", "SRB", ""},
	} {
		if got := holder.Origin(tt.code, tt.asker); got != tt.want {
			t.Errorf("origin of %q for %q = %q, want %q", tt.code, tt.asker, got, tt.want)
		}
	}
}

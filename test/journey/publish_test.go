package journey_test

import (
	"maps"
	"testing"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/record"
)

// TestPublishWithholds puts records that must not be found among others, and looks
// for everybody. Who is withheld looks like who is on no list. RU-23 holds although
// the agreement switches it off, and the list of the United Nations is published
// although it has no nominator, criterion, grade or review date.
func TestPublishWithholds(t *testing.T) {
	t.Parallel()
	changes := []struct {
		name, rule string // rule is "" for who is published
		change     func(*record.Record)
	}{
		{"adult", "", func(*record.Record) {}},
		{"asylum seeker", "RU-23", func(r *record.Record) { r.ProtectionStatus, r.CountryOfOrigin = "asylum", "FRA" }},
		{"refugee from the asker's country", "RU-23", func(r *record.Record) { r.ProtectionStatus, r.CountryOfOrigin = "refugee", "UTO" }},
		{"word that nobody agreed on", "RU-23", func(r *record.Record) { r.ProtectionStatus, r.CountryOfOrigin = "seeks asylum", "FRA" }},
		{"by court, from the asker's country", "RU-23", func(r *record.Record) { r.ProtectionStatus, r.CountryOfOrigin = "court", "UTO" }},
		{"by court, stateless", "RU-23", func(r *record.Record) { r.ProtectionStatus, r.CountryOfOrigin = "court", "XAA" }},
		{"by court, from elsewhere", "", func(r *record.Record) { r.ProtectionStatus, r.CountryOfOrigin = "court", "FRA" }},
		{"minor by status", "RU-21", func(r *record.Record) { r.ProtectionStatus, r.CountryOfOrigin = "minor", "FRA" }},
		{"perhaps a minor", "RU-21", func(r *record.Record) {
			r.Births = append(r.Births, record.Born(record.Date{Year: 2009}))
		}},
		{"review date of yesterday", "RU-29", func(r *record.Record) { r.ReviewBy = record.Date{Year: 2026, Month: 11, Day: 21} }},
		{"no review date", "RU-29", func(r *record.Record) { r.ReviewBy = record.Date{} }},
		{"contested", "RU-29", func(r *record.Record) { r.RedressState = "contested" }},
		{"UN list", "", func(r *record.Record) {
			r.SourceList, r.Originator = "UN List: Al-Qaida", "United Nations Security Council"
			r.Nominator, r.Criterion, r.ReliabilityGrade, r.ReviewBy = "", "", "", record.Date{}
		}},
		{"of a third country", "RU-36", func(r *record.Record) { r.Originator = "border.norlanda.example" }},
	}
	a, b := pair(t, 0, func(g *agreement.Agreement) { g.DisabledRules = []string{"RU-23"} })
	want := make(map[string]int)
	for i, c := range changes {
		r := listed(i)
		c.change(&r)
		b.load(t, r)
		if c.rule != "" {
			want[c.rule]++
		}
	}
	p, err := b.holder.Publish(t.Context(), a.td, "watchlist", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Records != len(changes) || !maps.Equal(p.Withheld, want) {
		t.Errorf("of %d records %v are withheld, want %v of %d", p.Records, p.Withheld, want, len(changes))
	}
	stored, err := b.store.Published(t.Context(), a.td, "watchlist")
	if err != nil {
		t.Fatal(err)
	}
	for rule, n := range want {
		if stored.WithheldBy[rule] != int64(n) {
			t.Errorf("%s: %d records on record, want %d", rule, stored.WithheldBy[rule], n)
		}
	}
	if r := a.asker.Sync(t.Context(), "", "", nil); len(r) != 1 || r[0].Refusal != nil {
		t.Fatalf("sync: %+v", r)
	}
	for i, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			r, err := a.ask(t, nil, traveller(i))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := len(r.Candidates) == 1, c.rule == ""; got != want {
				t.Errorf("found = %t, want %t", got, want)
			}
		})
	}
}

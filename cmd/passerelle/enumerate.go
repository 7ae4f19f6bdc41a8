package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/passerelle/passerelle/cmd/passerelle/internal/bench"
	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway/agreement"
)

const (
	enumeratedPeople = 200_000    // generated, if none are given
	documentsInUse   = 10_000_000 // of one State and type
)

// enumerateFlags are the flags of `bench identity --enumerate`.
type enumerateFlags struct {
	on         bool
	population string
	question   bench.Enumeration
}

func (f *enumerateFlags) add(s *pflag.FlagSet) {
	terms := agreement.NewCollection("watchlist", "", "watchlist")
	s.BoolVar(&f.on, "enumerate", false, "compute what an asker finds that spends its whole budget on guesses, and measure nothing")
	s.StringVar(&f.population, "population", "", "with --enumerate: people like those listed, in a file as for screen (default: generated)")
	s.Int64Var(&f.question.PerDay, "per-day", 200_000, "with --enumerate: elements a day of the agreement's budget")
	s.Int64Var(&f.question.Days, "days", int64(terms.RotationDays), "with --enumerate: days of an epoch (rotation_days of the agreement)")
	s.Int64Var(&f.question.Documents, "documents", documentsInUse, "with --enumerate: numbers in use of one State and type of document")
	s.Int64Var(&f.question.BoundPPM, "bound-ppm", 10_000, "with --enumerate: the agreement's enumeration_bound_ppm")
}

// enumerate computes, from a sample of people, what guessing finds in each class.
func (a *app) enumerate(ctx context.Context, f *enumerateFlags) error {
	for _, n := range []struct {
		flag  string
		value int64
		max   int64
	}{{"per-day", f.question.PerDay, 1 << 40}, {"days", f.question.Days, 366}, {"documents", f.question.Documents, 1 << 50},
		{"bound-ppm", f.question.BoundPPM, 1_000_000}} {
		if n.value < 1 || n.value > n.max {
			return usagef("--%s %d: want 1 to %d", n.flag, n.value, n.max)
		}
	}
	people := fiction.Manifest(enumeratedPeople, benchSeed, nil)
	if f.population != "" {
		var err error
		if people, _, err = a.readManifest(ctx, f.population, ""); err != nil {
			return err
		}
	}
	all, err := bench.Enumerate(people, f.question)
	if err != nil {
		return usageError{err}
	}
	if a.json {
		return a.printJSON(struct {
			bench.Enumeration
			People    int                `json:"people"`
			Generated bool               `json:"generated"`
			Classes   []bench.Enumerated `json:"classes"`
		}{f.question, len(people), f.population == "", all})
	}
	return bench.EnumerationTable(a.stdout, &f.question, len(people), f.population == "", all)
}

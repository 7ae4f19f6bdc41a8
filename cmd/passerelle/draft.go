package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// A draft is an agreement as a person writes it. The gateway turns it into the
// canonical file: it adds both parties, the key commitments and the dates. Names
// of fields are those of the file (proto/SPEC.md, "Agreements"); a field that is
// missing has the default of the design. help/legal.md describes it for people.
type draft struct {
	// Peer is the trust domain of the neighbour. Required.
	Peer string `yaml:"peer"`

	// ID names the agreement. Empty: made of the two trust domains.
	ID string `yaml:"id,omitempty"`

	Collections []draftCollection `yaml:"collections"`
	Purposes    []draftPurpose    `yaml:"purposes"`
	LegalBases  []draftBasis      `yaml:"legal_bases"`

	// Competences are what both authorities are competent for. Empty:
	// border_control and terrorism.
	Competences []string `yaml:"competences,omitempty"`

	OffenceClasses []string `yaml:"offence_classes,omitempty"`
	Regimes        []string `yaml:"regimes,omitempty"`

	// Budget is for each collection, counted in elements. Empty: the gateway's.
	Budget *draftBudget `yaml:"budget,omitempty"`

	// Days is how long it is in force, from now on. Zero means 365.
	Days int `yaml:"days,omitempty"`
}

type draftCollection struct {
	Name     string   `yaml:"name"`
	Category string   `yaml:"category"`
	Classes  []string `yaml:"classes,omitempty"` // empty: doc, doc+dob, name+dob, name+year

	// Holder is "ours", "theirs", "both", or a trust domain. Empty means "both":
	// each side has a collection of that name, and each may ask.
	Holder string `yaml:"holder,omitempty"`
}

type draftPurpose struct {
	Code       string   `yaml:"code"`
	Categories []string `yaml:"categories,omitempty"` // empty: those of all collections
}

type draftBasis struct {
	Ref string `yaml:"ref"`

	// Party is the side whose law it is: "ours", "theirs", "both", or a trust
	// domain. Empty means "both".
	Party      string   `yaml:"party,omitempty"`
	Purposes   []string `yaml:"purposes,omitempty"`   // empty: all
	Categories []string `yaml:"categories,omitempty"` // empty: all
}

type draftBudget struct {
	PerDay     int64 `yaml:"per_day"`
	Burst      int64 `yaml:"burst,omitempty"`
	PerUnitDay int64 `yaml:"per_unit_day,omitempty"`
}

func (d *draft) yaml() ([]byte, error) { return yaml.Marshal(d) }

// draftFlags are the flags from which a draft can be made.
type draftFlags struct {
	peer, id    string
	collections []string
	purposes    []string
	bases       []string
	competences []string
	offences    []string
	regimes     []string
	budget      string
	days        int
}

func (f *draftFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.peer, "peer", "", "trust domain of the neighbour")
	s.StringVar(&f.id, "id", "", "identifier of the agreement (default: made of the two trust domains)")
	s.StringArrayVar(&f.collections, "collection", nil, "[ours/ or theirs/]NAME:CATEGORY[:CLASS,...]; without a side, both have one")
	s.StringArrayVar(&f.purposes, "purpose", nil, "CODE[:CATEGORY,...]")
	s.StringArrayVar(&f.bases, "legal-basis", nil, "[ours= or theirs=]REFERENCE; without a side, of both; for all purposes")
	s.StringSliceVar(&f.competences, "competence", nil, "what both authorities are competent for (default border_control,terrorism)")
	s.StringSliceVar(&f.offences, "offence-class", nil, "offence classes that a query must name one of")
	s.StringSliceVar(&f.regimes, "regime", nil, "legal regimes whose rules apply (default UN)")
	s.StringVar(&f.budget, "budget", "", "PER-DAY[:PER-MINUTE[:PER-UNIT-AND-DAY]], elements of each collection")
	s.IntVar(&f.days, "days", 365, "days in force, from now on")
}

// changed returns the first of the flags that was given.
func (f *draftFlags) changed(c *cobra.Command) string {
	for _, name := range []string{"peer", "id", "collection", "purpose", "legal-basis", "competence", "offence-class", "regime",
		"budget", "days"} {
		if c.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

// draft parses the flags.
func (f *draftFlags) draft() (*draft, error) {
	d := &draft{Peer: f.peer, ID: f.id, Competences: f.competences, OffenceClasses: f.offences, Regimes: f.regimes, Days: f.days}
	for _, s := range f.collections {
		c, err := parseCollection(s)
		if err != nil {
			return nil, err
		}
		d.Collections = append(d.Collections, c)
	}
	for _, s := range f.purposes {
		name, categories, _ := strings.Cut(s, ":")
		if name == "" {
			return nil, usagef("--purpose %q: want CODE[:CATEGORY,...]", s)
		}
		d.Purposes = append(d.Purposes, draftPurpose{Code: name, Categories: splitList(categories)})
	}
	for _, s := range f.bases {
		party, ref, ok := strings.Cut(s, "=")
		if !ok || party != "ours" && party != "theirs" && party != "both" {
			party, ref = "", s // a reference may have a "=" in it
		}
		if ref == "" {
			return nil, usagef("--legal-basis %q: want [ours= or theirs=]REFERENCE", s)
		}
		d.LegalBases = append(d.LegalBases, draftBasis{Ref: ref, Party: party})
	}
	if f.days < 1 {
		return nil, usagef("--days %d: want 1 or more", f.days)
	}
	if f.budget != "" {
		b, err := parseBudget(f.budget)
		if err != nil {
			return nil, err
		}
		d.Budget = b
	}
	return d, nil
}

// parseCollection parses one --collection.
func parseCollection(s string) (draftCollection, error) {
	var c draftCollection
	rest := s
	if holder, after, ok := strings.Cut(s, "/"); ok {
		c.Holder, rest = holder, after
	}
	parts := strings.Split(rest, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" || strings.HasPrefix(s, "/") {
		return draftCollection{}, usagef("--collection %q: want [ours/ or theirs/]NAME:CATEGORY[:CLASS,...]", s)
	}
	c.Name, c.Category = parts[0], parts[1]
	if len(parts) == 3 {
		c.Classes = splitList(parts[2])
	}
	return c, nil
}

// parseBudget parses --budget.
func parseBudget(s string) (*draftBudget, error) {
	parts := strings.Split(s, ":")
	n := make([]int64, 3)
	for i, p := range parts {
		v, err := strconv.ParseInt(p, 10, 64)
		if i >= len(n) || err != nil || v < 1 {
			return nil, usagef("--budget %q: want PER-DAY[:PER-MINUTE[:PER-UNIT-AND-DAY]], numbers from 1 on", s)
		}
		n[i] = v
	}
	return &draftBudget{PerDay: n[0], Burst: n[1], PerUnitDay: n[2]}, nil
}

// splitList splits at commas. The empty string is no value.
func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// parsePair splits NAME=VALUE.
func parsePair(s, flag, form string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" || value == "" {
		return "", "", usageError{fmt.Errorf("--%s %q: want %s", flag, s, form)}
	}
	return name, value, nil
}

package admin

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
)

// A Draft is an agreement as a person writes it, in YAML. Names are those of the
// canonical file; what is missing has a default. Both parties, the key
// commitments and the dates are added by the gateway.
//
// A draft with the id of an agreement that is known becomes its next version.
type Draft struct {
	// Peer is the trust domain of the neighbour. Required.
	Peer string `yaml:"peer"`

	// ID names the agreement. Empty: made of the two trust domains.
	ID string `yaml:"id"`

	Collections []DraftCollection `yaml:"collections"`
	Purposes    []DraftPurpose    `yaml:"purposes"`
	LegalBases  []DraftBasis      `yaml:"legal_bases"`

	// Competences are what both authorities are competent for. Empty:
	// border_control and terrorism.
	Competences []string `yaml:"competences"`

	OffenceClasses []string       `yaml:"offence_classes"`
	Urgencies      []string       `yaml:"urgencies"`
	Regimes        []string       `yaml:"regimes"`
	DisabledRules  []string       `yaml:"disabled_rules"`
	Thresholds     map[string]int `yaml:"thresholds"`

	// MaxItems is how many subjects one request may have; 0 forbids screening of
	// sets. Nil: 1024.
	MaxItems *int `yaml:"max_items"`

	// Budget is for each collection, counted in elements. Nil: 200,000 a day,
	// 50,000 a minute.
	Budget *DraftBudget `yaml:"budget"`

	Strict bool `yaml:"strict"`

	// From is the first instant in force. Zero: now.
	From time.Time `yaml:"from"`

	// Days is how long it is in force. Zero: 365.
	Days int `yaml:"days"`
}

// A DraftCollection is a collection of a [Draft]. Limits that are zero have the
// defaults of [agreement.NewCollection].
type DraftCollection struct {
	Name     string   `yaml:"name"`
	Category string   `yaml:"category"`
	Classes  []string `yaml:"classes"` // empty: the exact ones

	// Holder is "ours", "theirs", "both", or a trust domain. Empty means "both":
	// each side has a collection of that name, and each may ask.
	Holder string `yaml:"holder"`

	MaxRecords   int64         `yaml:"max_records"`
	MaxAge       time.Duration `yaml:"max_age"`
	Round        time.Duration `yaml:"round"`
	RotationDays int           `yaml:"rotation_days"`
	Labels       []string      `yaml:"labels"`
}

// A DraftPurpose is a purpose of a [Draft].
type DraftPurpose struct {
	Code       string   `yaml:"code"`
	Categories []string `yaml:"categories"` // empty: those of all collections
}

// A DraftBasis is a legal basis of a [Draft].
type DraftBasis struct {
	Ref        string   `yaml:"ref"`
	Party      string   `yaml:"party"`      // as Holder of a collection
	Purposes   []string `yaml:"purposes"`   // empty: all
	Categories []string `yaml:"categories"` // empty: all
}

// A DraftBudget bounds the elements that the asker may have evaluated.
type DraftBudget struct {
	PerDay     int64 `yaml:"per_day"`
	Burst      int64 `yaml:"burst"`        // in a minute; 0: a quarter of PerDay
	PerUnitDay int64 `yaml:"per_unit_day"` // 0: no such limit
}

// A Drafted is the answer to a draft: an agreement, or everything that is wrong.
type Drafted struct {
	Agreement *Agreement // nil if there are faults
	Faults    []string
	Warnings  []string // what is allowed, and should be looked at twice
}

// DraftAgreement turns a draft into the canonical file, without signatures. file
// is a [Draft] in YAML, or a canonical file, which is checked, and in which our
// missing key commitments are filled in.
func (a *Admin) DraftAgreement(ctx context.Context, caller string, file []byte) (*Drafted, error) {
	now := a.Now()
	if _, err := a.officerOf(caller, now); err != nil {
		return nil, err
	}
	if len(file) > agreement.MaxSize {
		return nil, query.Refuse(query.TooLarge, agreement.ErrMalformed)
	}
	out := &Drafted{}
	g := a.parseDraft(file, now, out)
	if g == nil {
		return out, nil
	}
	g.Signatures = nil
	other, err := g.Other(a.TrustDomain)
	if err != nil {
		out.fault("parties: we, %s, are none of the two", a.TrustDomain)
		return out, nil
	}
	p, ok := a.Federation.Peer(other.TrustDomain)
	if !ok || p.State != peer.Active {
		out.fault("parties: %s is not a neighbour: exchange invites first", other.TrustDomain)
		return out, nil
	}
	if err := a.commit(g, &p); err != nil {
		return nil, refusal(err)
	}
	if err := g.Validate(); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			out.fault("%s", strings.TrimPrefix(line, "agreement: "))
		}
	}
	faults, err := a.contradictions(g, &p)
	if err != nil {
		return nil, refusal(err)
	}
	out.Faults = append(out.Faults, faults...)
	a.amends(g, out)
	if len(out.Faults) > 0 {
		return out, nil
	}
	a.lookTwice(g, now, out)
	out.Agreement = a.signed(g)
	return out, nil
}

func (d *Drafted) fault(format string, args ...any) {
	d.Faults = append(d.Faults, fmt.Sprintf(format, args...))
}

func (d *Drafted) warn(format string, args ...any) {
	d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...))
}

// parseDraft returns the agreement of a draft of either form, or nil after a
// fault.
func (a *Admin) parseDraft(file []byte, now time.Time, out *Drafted) *agreement.Agreement {
	if bytes.HasPrefix(file, []byte("passerelle-agreement/")) {
		g, err := agreement.Parse(file)
		if err != nil {
			out.fault("%s", strings.TrimPrefix(err.Error(), "agreement: "))
			return nil
		}
		return g
	}
	dec := yaml.NewDecoder(bytes.NewReader(file))
	dec.KnownFields(true)
	var d Draft
	if err := dec.Decode(&d); err != nil {
		out.fault("%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	if err := dec.Decode(new(Draft)); !errors.Is(err, io.EOF) {
		out.fault("more than one document in the draft")
		return nil
	}
	return a.build(&d, now, out)
}

// build fills in what a draft leaves out.
func (a *Admin) build(d *Draft, now time.Time, out *Drafted) *agreement.Agreement {
	p, ok := a.Federation.Peer(d.Peer)
	if !ok || p.State != peer.Active {
		out.fault("peer: %q is not a neighbour: exchange invites first", d.Peer)
		return nil
	}
	if d.From.IsZero() {
		d.From = now
	}
	if d.Days == 0 {
		d.Days = 365
	}
	if d.Days < 0 || d.Days > 3660 {
		out.fault("days: %d is not between 1 and 3660", d.Days)
		return nil
	}
	competences := orDefault(d.Competences, "border_control", "terrorism")
	ours := agreement.Party{Country: a.Country, TrustDomain: a.TrustDomain, Gateway: a.Gateway,
		AgencyCode: strings.ToLower(a.AgencyCode), Agency: a.Agency, Competences: competences}
	theirs := agreement.Party{Country: p.Country, TrustDomain: p.TrustDomain, Gateway: p.Gateways[0], AgencyCode: p.AgencyCode,
		Agency: p.Agency, Competences: competences}
	g := agreement.New(a.draftID(d), ours, theirs, d.From)
	g.ValidTo = g.ValidFrom.AddDate(0, 0, d.Days)
	if len(d.Urgencies) > 0 {
		g.Urgencies = d.Urgencies
	}
	if len(d.Regimes) > 0 {
		g.Regimes = d.Regimes
	}
	g.OffenceClasses, g.DisabledRules, g.Strict = d.OffenceClasses, d.DisabledRules, d.Strict
	for k, v := range d.Thresholds {
		g.Thresholds[k] = v
	}
	if d.MaxItems != nil {
		g.SetScreening = agreement.SetScreening{Allowed: *d.MaxItems > 0, MaxItems: *d.MaxItems}
	}
	a.buildCollections(d, g, out)
	a.buildPurposes(d, g, out)
	a.buildVersion(g)
	return g
}

// draftID returns the id of a draft.
func (a *Admin) draftID(d *Draft) string {
	if d.ID != "" {
		return d.ID
	}
	names := []string{a.TrustDomain, d.Peer}
	slices.Sort(names)
	id := strings.Join(names, "+")
	if len(id) > 64 {
		sum := digest("agreement id", []byte(id))
		id = id[:47] + "-" + hex.EncodeToString(sum[:8])
	}
	return id
}

// sides returns the trust domains that "ours", "theirs", "both" or a name means.
func (a *Admin) sides(s, theirs string, out *Drafted, field string) []string {
	switch s {
	case "", "both":
		return []string{a.TrustDomain, theirs}
	case "ours", a.TrustDomain:
		return []string{a.TrustDomain}
	case "theirs", theirs:
		return []string{theirs}
	}
	out.fault("%s: %q is not ours, theirs, both or the trust domain of a party", field, s)
	return nil
}

func (a *Admin) buildCollections(d *Draft, g *agreement.Agreement, out *Drafted) {
	if d.Budget == nil {
		d.Budget = &DraftBudget{PerDay: 200_000, Burst: 50_000}
	}
	if d.Budget.Burst == 0 {
		d.Budget.Burst = max(1, d.Budget.PerDay/4)
	}
	for i := range d.Collections {
		l := &d.Collections[i]
		classes := l.Classes
		if len(classes) == 0 {
			for _, c := range record.ExactClasses() {
				classes = append(classes, string(c))
			}
		}
		for _, holder := range a.sides(l.Holder, d.Peer, out, fmt.Sprintf("collections[%d].holder", i)) {
			c := agreement.NewCollection(l.Name, holder, l.Category, slices.Clone(classes)...)
			c.Labels = l.Labels
			if l.MaxRecords != 0 {
				c.MaxRecords = l.MaxRecords
			}
			if l.MaxAge != 0 {
				c.MaxAge = agreement.Duration(l.MaxAge)
			}
			if l.Round != 0 {
				c.Round = agreement.Duration(l.Round)
			}
			if l.RotationDays != 0 {
				c.RotationDays = l.RotationDays
			}
			g.Collections = append(g.Collections, c)
		}
		if !slices.ContainsFunc(g.Budgets, func(b agreement.Budget) bool { return b.Collection == l.Name }) {
			g.Budgets = append(g.Budgets, agreement.Budget{Collection: l.Name, PerDay: d.Budget.PerDay, Burst: d.Budget.Burst,
				PerUnitDay: d.Budget.PerUnitDay})
		}
	}
}

func (a *Admin) buildPurposes(d *Draft, g *agreement.Agreement, out *Drafted) {
	var codes []string
	for _, p := range d.Purposes {
		codes = append(codes, p.Code)
		g.Purposes = append(g.Purposes, agreement.Purpose{Code: p.Code, Categories: orDefault(p.Categories, g.Categories()...)})
	}
	for i, b := range d.LegalBases {
		basis := agreement.LegalBasis{Ref: b.Ref, Purposes: orDefault(b.Purposes, codes...),
			Categories: orDefault(b.Categories, g.Categories()...)}
		for _, td := range a.sides(b.Party, d.Peer, out, fmt.Sprintf("legal_bases[%d].party", i)) {
			if p, err := g.Party(td); err == nil {
				p.LegalBases = append(p.LegalBases, basis)
			}
		}
	}
}

// buildVersion makes g the next version of an agreement that is known.
func (a *Admin) buildVersion(g *agreement.Agreement) {
	for _, info := range a.Agreements.List(a.Now()) {
		if info.Agreement.ID == g.ID && info.Agreement.Number >= g.Number {
			g.Number, g.Supersedes = info.Agreement.Number+1, info.Digest
		}
	}
}

func orDefault(list []string, def ...string) []string {
	if len(list) > 0 {
		return list
	}
	return slices.Clone(def)
}

// commit fills in the key commitments that are missing: ours from our keys, those
// of the neighbour from its invite.
func (a *Admin) commit(g *agreement.Agreement, p *peer.Peer) error {
	own, err := a.Keys.OwnCommitments()
	if err != nil {
		return err
	}
	for i := range g.Collections {
		c := &g.Collections[i]
		if c.KeyCommitment != "" {
			continue
		}
		commitments := own
		if c.Holder != a.TrustDomain {
			commitments = p.KeyCommitments
		}
		var epoch uint32
		for _, k := range commitments {
			if k.Collection == c.Name && k.Epoch >= epoch {
				epoch, c.KeyCommitment = k.Epoch, hex.EncodeToString(k.PublicKey[:])
			}
		}
	}
	return nil
}

// contradictions lists where g says something else of the parties than we know:
// of us from our configuration and keys, of the neighbour from its invite; and what
// it promises that this gateway cannot keep.
func (a *Admin) contradictions(g *agreement.Agreement, p *peer.Peer) ([]string, error) {
	own, err := a.Keys.OwnCommitments()
	if err != nil {
		return nil, err
	}
	out := &Drafted{}
	if g.Strict {
		out.fault("strict: this version does not verify witnesses, and so cannot promise it: leave it out")
	}
	for i := range g.Parties {
		switch q, field := &g.Parties[i], fmt.Sprintf("parties[%d]", i); q.TrustDomain {
		case a.TrustDomain:
			if q.Gateway != a.Gateway || q.Country != a.Country || q.AgencyCode != strings.ToLower(a.AgencyCode) {
				out.fault("%s: gateway, country or agency code are not ours", field)
			}
		case p.TrustDomain:
			if !slices.Contains(p.Gateways, q.Gateway) || q.Country != p.Country || q.AgencyCode != p.AgencyCode {
				out.fault("%s: gateway, country or agency code are not those of the invite of %s", field, p.TrustDomain)
			}
		}
	}
	for i := range g.Collections {
		c, field := &g.Collections[i], fmt.Sprintf("collections[%d]", i)
		if c.Holder != a.TrustDomain {
			// A collection that came after the invite is committed to by the
			// neighbour's signature under this agreement.
			if !committed(p.KeyCommitments, c, true) {
				out.fault("%s: the key of %q is not that of the invite of %s", field, c.Name, p.TrustDomain)
			}
			continue
		}
		ours, err := a.collection(c.Name)
		switch {
		case err != nil:
			out.fault("%s: we have no collection %q", field, c.Name)
		case ours.Category != c.Category:
			out.fault("%s: our collection %q has the category %q", field, c.Name, ours.Category)
		case !committed(own, c, false):
			out.fault("%s: the key of %q is not the one we have", field, c.Name)
		}
	}
	return out.Faults, nil
}

// committed reports whether the key of c is one of commitments. A collection that
// none of them names counts as unknown.
func committed(commitments []peer.KeyCommitment, c *agreement.Collection, unknown bool) bool {
	for _, k := range commitments {
		if k.Collection == c.Name {
			if unknown = hex.EncodeToString(k.PublicKey[:]) == c.KeyCommitment; unknown {
				return true
			}
		}
	}
	return unknown
}

// amends checks g against the versions of it that we have.
func (a *Admin) amends(g *agreement.Agreement, out *Drafted) {
	var last *agreement.Info
	for _, info := range a.Agreements.List(a.Now()) {
		if info.Agreement.ID == g.ID {
			last = &info
		}
	}
	switch {
	case last == nil && g.Number > 1:
		out.warn("version %d of an agreement that is not known here", g.Number)
	case last == nil:
	case g.Number == last.Agreement.Number && g.Digest() == last.Digest:
	case g.Number != last.Agreement.Number+1 || g.Supersedes != last.Digest:
		out.fault("id: version %d of %q is known, and this is not its successor", last.Agreement.Number, g.ID)
	default:
		out.warn("replaces version %d of %q from %s on", last.Agreement.Number, g.ID, g.Start.Format(time.DateOnly))
	}
}

// lookTwice lists what is allowed and may be a mistake.
func (a *Admin) lookTwice(g *agreement.Agreement, now time.Time, out *Drafted) {
	for _, c := range g.Collections {
		if c.KeyCommitment == "" {
			out.warn("the invite of %s commits to no key for %q: it must be added before anybody signs", c.Holder, c.Name)
		}
		if time.Duration(c.MaxAge) > 7*24*time.Hour {
			out.warn("a copy of %q may be %v old when it is matched against", c.Name, time.Duration(c.MaxAge))
		}
	}
	if len(g.DisabledRules) > 0 {
		out.warn("rules are switched off: %s", strings.Join(g.DisabledRules, ", "))
	}
	if days := int(g.ValidTo.Sub(g.ValidFrom).Hours() / 24); days > 5*366 {
		out.warn("it is in force for %d days", days)
	}
	if !now.Before(g.ValidTo) {
		out.warn("its term is over already")
	}
	if g.EnumerationBound > 100_000 {
		out.warn("more than a tenth of the likely keys of a class may be asked for in an epoch")
	}
	var legal bool
	for _, o := range a.Officers.List() {
		legal = legal || a.Officers.HasRole(o.ID, officer.RoleLegal, now)
	}
	if !legal {
		out.warn("no officer with the role legal is enrolled here, so nobody can sign it")
	}
}

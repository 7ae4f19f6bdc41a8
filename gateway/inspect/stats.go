package inspect

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/query"
)

// MaxGroups is how many criteria one table of counts may have.
const MaxGroups = 3

// A Criterion is by what entries are counted. "reason" is why a query came to
// nothing, here or at the other side; "items" is the padded size; "rule" counts a
// query once for each rule that decided; "day" is in UTC; "kind" counts entries of
// all kinds in place of queries.
type Criterion string

// The criteria.
const (
	ByPeer       Criterion = "peer"
	ByDirection  Criterion = "direction"
	ByPurpose    Criterion = "purpose"
	ByCollection Criterion = "collection"
	ByDecision   Criterion = "decision"
	ByReason     Criterion = "reason"
	ByItems      Criterion = "items"
	ByRule       Criterion = "rule"
	ByUnit       Criterion = "unit"
	ByDay        Criterion = "day"
	ByKind       Criterion = "kind"
)

var criteria = []Criterion{ByPeer, ByDirection, ByPurpose, ByCollection, ByDecision, ByReason, ByItems, ByRule, ByUnit, ByDay,
	ByKind}

// A Count is one row of a table of counts.
type Count struct {
	Group   []string // one value for each criterion
	Queries uint64   // or entries, by kind
	Denied  uint64   // of them, denied by our own policy or side
	Failed  uint64   // of them, allowed here and refused or failed afterwards
	Items   uint64   // padded

	// Candidates is how many of them gave a candidate, from the internal log.
	Candidates uint64
}

// Stats counts the queries of a span of time, in which a zero time is no limit: an
// intent in which we asked, or a decision in which we answered. Rows are sorted by
// group.
func (i *Inspector) Stats(ctx context.Context, r Reader, since, until time.Time, by []Criterion) ([]Count, error) {
	if len(by) > MaxGroups {
		return nil, query.Refuse(query.Malformed, errors.New("inspect: too many criteria"))
	}
	for j, c := range by {
		if !slices.Contains(criteria, c) || slices.Contains(by[:j], c) {
			return nil, query.Refuse(query.Malformed, errors.New("inspect: unknown or repeated criterion"))
		}
	}
	shared, internal := i.Shared.Log.Size(), i.Internal.Log.Size()
	if err := i.permit(ctx, r, readStats, entry.Entry{}); err != nil {
		return nil, err
	}
	kinds := slices.Contains(by, ByKind)
	t := &table{i: i, by: by, rows: make(map[string]*Count), candidate: make(map[[16]byte]bool),
		failure: make(map[[16]byte]string)}

	// What became of a query comes after it: read that first.
	for x, err := range i.Internal.Log.Entries(ctx, 0, internal) {
		if err != nil {
			return nil, failed(err)
		}
		if x.Entry.Outcome == entry.OutcomeCandidate {
			t.candidate[x.Entry.Query] = true
		}
		if kinds && within(x.Entry, since, until) {
			t.add(x.Entry)
		}
	}
	if !kinds {
		for x, err := range i.Shared.Log.Entries(ctx, 0, shared) {
			if err != nil {
				return nil, failed(err)
			}
			if x.Entry.Kind == entry.KindFailure {
				t.failure[x.Entry.Query] = x.Entry.Reason
			}
		}
	}
	for x, err := range i.Shared.Log.Entries(ctx, 0, shared) {
		if err != nil {
			return nil, failed(err)
		}
		if e := x.Entry; within(e, since, until) && (kinds || e.Kind == entry.KindIntent || e.Kind == entry.KindDecision) {
			t.add(e)
		}
	}

	counts := make([]Count, 0, len(t.rows))
	for _, c := range t.rows {
		counts = append(counts, *c)
	}
	slices.SortFunc(counts, func(a, b Count) int { return slices.CompareFunc(a.Group, b.Group, cmp.Compare[string]) })
	return counts, nil
}

// A table is counts that are being made.
type table struct {
	i         *Inspector
	by        []Criterion
	rows      map[string]*Count // by group, joined
	candidate map[[16]byte]bool
	failure   map[[16]byte]string // reason why a query came to nothing
}

// add counts e in every group that it is in.
func (t *table) add(e *entry.Entry) {
	groups := [][]string{nil}
	for _, c := range t.by {
		values := t.values(c, e)
		var next [][]string
		for _, g := range groups {
			for _, v := range values {
				next = append(next, append(slices.Clone(g), v))
			}
		}
		groups = next
	}
	for _, g := range groups {
		key := strings.Join(g, "\x00")
		row := t.rows[key]
		if row == nil {
			row = &Count{Group: g}
			t.rows[key] = row
		}
		row.Queries++
		row.Items += uint64(e.Items)
		switch _, failed := t.failure[e.Query]; {
		case e.Decision == entry.DecisionDenied:
			row.Denied++
		case failed:
			row.Failed++
		}
		if e.Direction == entry.DirectionAsked && t.candidate[e.Query] && (e.Kind == entry.KindIntent ||
			e.Kind == entry.KindOutcome) {
			row.Candidates++
		}
	}
}

// values returns the values of e by one criterion; all but rule have one.
func (t *table) values(c Criterion, e *entry.Entry) []string {
	v := ""
	switch c {
	case ByPeer:
		v = t.i.peerOf(e)
	case ByDirection:
		if e.Direction != 0 {
			v = e.Direction.String()
		}
	case ByPurpose:
		v = e.Purpose
	case ByCollection:
		v = e.Collection
	case ByDecision:
		if e.Decision != 0 {
			v = e.Decision.String()
		}
	case ByReason:
		if v = e.Reason; v == "" {
			v = t.failure[e.Query]
		}
	case ByItems:
		v = strconv.FormatUint(uint64(e.Items), 10)
	case ByRule:
		if len(e.Rules) > 0 {
			return slices.Compact(slices.Sorted(slices.Values(e.Rules)))
		}
	case ByUnit:
		if e.Unit != [16]byte{} {
			v = hex.EncodeToString(e.Unit[:])
		}
	case ByDay:
		v = time.UnixMilli(e.Time).UTC().Format(time.DateOnly)
	case ByKind:
		v = e.Kind.String()
	}
	return []string{v}
}

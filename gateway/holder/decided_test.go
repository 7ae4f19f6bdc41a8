package holder_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/policy"
)

var rules = sync.OnceValues(func() (*policy.Engine, error) { return policy.NewEngine(context.Background(), policy.Default()) })

func engine(t testing.TB) *policy.Engine {
	t.Helper()
	e, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// counted counts decisions.
type counted struct {
	*policy.Engine
	n atomic.Int64
}

func (c *counted) Decide(ctx context.Context, in policy.Input) (policy.Decision, error) {
	c.n.Add(1)
	return c.Engine.Decide(ctx, in)
}

var today = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)

// inputs returns what the publish door is asked about n fictional records.
func inputs(n int) []policy.PublishInput {
	a := policy.Gateway{SPIFFEID: "spiffe://a.example/gateway/main", TrustDomain: "a.example", Country: "UTO", AgencyCode: "A"}
	b := policy.Gateway{SPIFFEID: "spiffe://b.example/gateway/main", TrustDomain: "b.example", Country: "QVA", AgencyCode: "B"}
	agreement := policy.Agreement{ID: "a-b", Categories: []string{"watchlist"},
		ValidFrom: policy.NewTime(today.AddDate(-1, 0, 0)), ValidTo: policy.NewTime(today.AddDate(1, 0, 0)),
		Collections: []policy.Collection{{Name: "watchlist", Holder: b.TrustDomain, Category: "watchlist"}},
	}
	for _, g := range []policy.Gateway{a, b} {
		agreement.Parties = append(agreement.Parties, policy.Party{TrustDomain: g.TrustDomain, Country: g.Country, AgencyCode: g.AgencyCode,
			Competences: []string{policy.ControlBorders}})
	}
	day := func(d record.Date) policy.Time {
		if d.Year == 0 {
			return policy.Time{}
		}
		return policy.NewTime(time.Date(d.Year, time.Month(d.Month), d.Day, 0, 0, 0, 0, time.UTC))
	}
	out := make([]policy.PublishInput, n)
	for i, r := range fiction.Watchlist(fiction.Valdera, n, 7) {
		out[i] = policy.PublishInput{Now: policy.NewTime(today), Agreement: agreement, Self: b, Peer: a, Collection: "watchlist",
			Category: "watchlist", Record: policy.Record{
				Originator: b.TrustDomain, SourceList: "national", SubjectCategory: r.SubjectCategory, ProtectionStatus: r.ProtectionStatus,
				CountryOfOrigin: r.CountryOfOrigin, Basis: r.Basis, ReliabilityGrade: r.ReliabilityGrade, CriterionCode: r.Criterion,
				Nominator: r.Nominator, RedressState: r.RedressState, LastVerified: day(r.LastVerified), ReviewBy: day(r.ReviewBy),
				State: "active", Minor: holder.Minor(&r, today)}}
	}
	return out
}

// TestDecided checks that every record gets the decision of its own facts: that of
// the rules, asked about it alone. Half of the records have one fact changed.
func TestDecided(t *testing.T) {
	t.Parallel()
	changes := []func(*policy.Record){
		func(r *policy.Record) { r.ReviewBy = policy.NewTime(today) },
		func(r *policy.Record) { r.ReviewBy = policy.NewTime(today.Add(time.Second)) },
		func(r *policy.Record) { r.ReviewBy, r.Nominator, r.CriterionCode = policy.Time{}, "", " " },
		func(r *policy.Record) { r.Originator = "c.example" },
		func(r *policy.Record) { r.SourceList, r.Nominator = "UN List: Al-Qaida", "" },
		func(r *policy.Record) { r.Minor = true },
		func(r *policy.Record) { r.State = "withdrawn" },
		func(r *policy.Record) { r.RedressState = "upheld" },
		func(r *policy.Record) { r.ProtectionStatus, r.CountryOfOrigin = "court", "UTO" },
		func(r *policy.Record) { r.ProtectionStatus, r.CountryOfOrigin = "court", "QNL" },
		func(r *policy.Record) { r.LastVerified, r.NotTo, r.Masked = policy.Time{}, []string{"UTO"}, true },
	}
	list := inputs(1500)
	for i := range list {
		if i%2 == 0 {
			changes[i/2%len(changes)](&list[i].Record)
		}
	}
	p := &counted{Engine: engine(t)}
	decided := holder.NewDecided(p.Facts())
	withheld, want := make(map[string]int), make(map[string]int)
	for i, in := range slices.Concat(list, list) {
		d, err := p.Engine.Decide(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		allowed, denied, err := decided.Decide(t.Context(), p, in)
		if err != nil || allowed != d.Allowed() || allowed == (len(denied) > 0) || !allowed && !slices.Equal(denied, d.Rules()) {
			t.Fatalf("record %d: %t, denied by %v, %v; want %t, %v", i, allowed, denied, err, d.Allowed(), d.Rules())
		}
		for _, id := range denied {
			withheld[id]++
		}
		if !d.Allowed() {
			for _, id := range d.Rules() {
				want[id]++
			}
		}
	}
	if len(withheld) < 4 {
		t.Errorf("withheld = %v, want records withheld by more rules", withheld)
	}
	for id, n := range want {
		if withheld[id] != n {
			t.Errorf("%s withheld %d records, want %d", id, withheld[id], n)
		}
	}
	if n := p.n.Load(); int(n) != decided.Len() || n > int64(len(list)) {
		t.Errorf("the door was asked %d times about %d records twice, %d are remembered", n, len(list), decided.Len())
	}
}

// swapping decides by a bundle other than the one whose facts it gave.
type swapping struct{ *counted }

func (swapping) Facts() policy.Facts { return policy.Facts{} }

// TestDecidedOtherBundle checks that nothing is remembered of decisions by another
// bundle, which may look at other facts.
func TestDecidedOtherBundle(t *testing.T) {
	t.Parallel()
	p := swapping{&counted{Engine: engine(t)}}
	decided := holder.NewDecided(p.Facts())
	in := inputs(1)[0]
	for range 3 {
		if allowed, _, err := decided.Decide(t.Context(), p, in); err != nil || !allowed {
			t.Fatalf("Decide = %t, %v, want it allowed", allowed, err)
		}
	}
	if p.n.Load() != 3 || decided.Len() != 0 {
		t.Errorf("the door was asked %d times, want 3", p.n.Load())
	}
}

// failing has no usable decision.
type failing struct{ *policy.Engine }

func (failing) Decide(context.Context, policy.Input) (policy.Decision, error) {
	return policy.Decision{}, policy.ErrUndefined
}

func TestDecidedError(t *testing.T) {
	t.Parallel()
	decided := holder.NewDecided(engine(t).Facts())
	in := inputs(1)[0]
	for range 2 {
		if allowed, denied, err := decided.Decide(t.Context(), failing{engine(t)}, in); !errors.Is(err, policy.ErrUndefined) || allowed || denied != nil {
			t.Errorf("Decide = %t, %v, %v, want %v", allowed, denied, err, policy.ErrUndefined)
		}
	}
	if decided.Len() != 0 {
		t.Error("an error is remembered")
	}
}

// BenchmarkDecided asks the publish door about every record of a list, as a
// publication does.
func BenchmarkDecided(b *testing.B) {
	for _, bench := range []struct {
		name  string
		n     int
		facts policy.Facts
	}{
		{"each asked", 2_000, policy.Facts{}}, // nothing is remembered
		{"remembered", 2_000, engine(b).Facts()},
		{"remembered", 100_000, engine(b).Facts()},
	} {
		list, n := inputs(bench.n), bench.n
		b.Run(fmt.Sprintf("%s/%d", bench.name, n), func(b *testing.B) {
			b.ReportAllocs()
			distinct := 0
			for b.Loop() {
				decided := holder.NewDecided(bench.facts)
				for i := range list {
					if _, _, err := decided.Decide(b.Context(), engine(b), list[i]); err != nil {
						b.Fatal(err)
					}
				}
				distinct = decided.Len()
			}
			b.ReportMetric(float64(distinct), "distinct")
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/passerelle/passerelle/gateway/record"
)

// ErrPeople is returned by [Enumerate] for too few people to learn from.
var ErrPeople = errors.New("bench: too few people with a name and a year of birth")

// minPeople is the least number of people in each half.
const minPeople = 1000

// An Enumeration is the question what an asker finds that spends a whole budget on
// guesses.
type Enumeration struct {
	PerDay    int64 `json:"per_day"`   // elements, all spent on one class
	Days      int64 `json:"days"`      // of an epoch: after it the list has another key
	Documents int64 `json:"documents"` // numbers of one State and type that may be in use
	BoundPPM  int64 `json:"bound_ppm"` // of the agreement
}

// Elements returns the elements of an epoch.
func (e *Enumeration) Elements() int64 { return e.PerDay * e.Days }

// An Enumerated is the answer for one class of keys.
type Enumerated struct {
	Class string `json:"class"`

	// FoundPPM is the part of the listed people, in parts per million, who are found
	// by asking for the likeliest keys first.
	FoundPPM float64 `json:"found_ppm"`

	// Effective is the number of likely keys, weighted by frequency: the budget by the
	// part that it finds. It is infinite, and 0 here, if nobody is found.
	Effective float64 `json:"effective_keys"`

	// Within says whether that is no more than the bound.
	Within bool `json:"within_bound"`

	// Allowed is the largest number of elements a day that stays within the bound.
	Allowed int64 `json:"per_day_within_bound"`
}

// Enumerate computes what an asker finds for each exact class. People are a sample of
// those among whom the listed are, such as the travellers of some months: one half is
// what the asker knows, from which it orders its guesses; the other half is who is
// listed. To the asker the number of parts of a name, each part by its place, and the
// year of birth are independent, so that it also guesses names that it has not seen;
// days are equally likely within a year, and so are numbers of documents.
//
// The figures hold for an asker that knows the parts of names no better than that half
// does, and their combinations not at all: one that has a register of people finds more.
// It returns an error wrapping [ErrPeople] if there are fewer than 2,000 people with a
// name and a year of birth.
func Enumerate(people []record.Subject, e Enumeration) ([]Enumerated, error) {
	m, err := newModel(people)
	if err != nil {
		return nil, err
	}
	number := bucket(1 / float64(e.Documents))
	documents := histogram{number: float64(e.Documents)}
	names := m.names()
	var out []Enumerated
	for _, c := range []struct {
		class record.Class
		keys  histogram
		known func(p *person) (int, bool) // the bucket of a listed person's key
	}{
		{record.ClassDoc, documents, func(*person) (int, bool) { return number, true }},
		{record.ClassDocDOB, documents.times(m.years.histogram()).each(daysInYear), func(p *person) (int, bool) {
			y, ok := m.years.bucket(p.year)
			return number + y + bucket(1/daysInYear), ok
		}},
		{record.ClassNameDOB, names.times(m.years.histogram()).each(daysInYear), func(p *person) (int, bool) {
			b, ok := m.bucket(p)
			return b + bucket(1/daysInYear), ok
		}},
		{record.ClassNameYear, names.times(m.years.histogram()), m.bucket},
	} {
		levels := m.levels(c.keys, c.known)
		x := Enumerated{Class: string(c.class)}
		share := found(levels, float64(e.Elements()))
		x.FoundPPM = Round(share * 1e6)
		if share > 0 {
			x.Effective = math.Round(float64(e.Elements()) / share)
		}
		bound := float64(e.BoundPPM) / 1e6
		x.Within = share <= bound
		x.Allowed = int64(min(needed(levels, bound)/float64(e.Days), 1<<40))
		out = append(out, x)
	}
	return out, nil
}

const daysInYear = 365.25

// bucket returns the bucket of a probability: its negative logarithm to the base of the
// eighth root of two, rounded, so that the probabilities of one bucket differ by less
// than a tenth, and the bucket of a product is about the sum of the buckets.
func bucket(p float64) int { return int(math.Round(-8 * math.Log2(p))) }

// A histogram counts keys by the bucket of their probability.
type histogram map[int]float64

// times returns the histogram of pairs of independent values.
func (h histogram) times(other histogram) histogram {
	out := make(histogram)
	for b, n := range h {
		for c, m := range other {
			out[b+c] += n * m
		}
	}
	return out
}

// each returns the histogram of h with one of n equally likely values beside each key.
func (h histogram) each(n float64) histogram {
	out := make(histogram, len(h))
	for b, keys := range h {
		out[b+bucket(1/n)] = keys * n
	}
	return out
}

// counts are how often values of one kind were seen.
type counts[K comparable] struct {
	of map[K]int
	n  int
}

func (c *counts[K]) add(value K) {
	if c.of == nil {
		c.of = make(map[K]int)
	}
	c.of[value]++
	c.n++
}

// bucket returns the bucket of a value, and false if it was never seen.
func (c *counts[K]) bucket(value K) (int, bool) {
	k := c.of[value]
	if k == 0 {
		return 0, false
	}
	return bucket(float64(k) / float64(c.n)), true
}

func (c *counts[K]) histogram() histogram {
	h := make(histogram)
	for _, k := range c.of {
		h[bucket(float64(k)/float64(c.n))]++
	}
	return h
}

// A person is what the model looks at.
type person struct {
	parts []string // of the normal form of the name
	year  int
}

// A model is what the asker knows, and who is listed.
type model struct {
	lengths counts[int]                // number of parts of a name
	parts   map[[2]int]*counts[string] // by number of parts and place
	years   counts[int]
	listed  []person
}

// newModel learns from every second person; the others are listed.
func newModel(people []record.Subject) (*model, error) {
	m := &model{parts: make(map[[2]int]*counts[string])}
	n := 0
	for i := range people {
		name, ok := record.NormalizeName(people[i].Name)
		p := person{strings.Fields(name), people[i].Birth.Year}
		if !ok || p.year == 0 {
			continue
		}
		if n++; n%2 == 0 {
			m.listed = append(m.listed, p)
			continue
		}
		m.years.add(p.year)
		m.lengths.add(len(p.parts))
		for at, part := range p.parts {
			place := [2]int{len(p.parts), at}
			if m.parts[place] == nil {
				m.parts[place] = new(counts[string])
			}
			m.parts[place].add(part)
		}
	}
	if len(m.listed) < minPeople {
		return nil, fmt.Errorf("%w: %d, want %d or more", ErrPeople, n, 2*minPeople)
	}
	return m, nil
}

// names returns the histogram of all names that the asker can put together.
func (m *model) names() histogram {
	all := make(histogram)
	for length := range m.lengths.of {
		first, _ := m.lengths.bucket(length)
		h := histogram{first: 1}
		for at := range length {
			h = h.times(m.parts[[2]int{length, at}].histogram())
		}
		for b, n := range h {
			all[b] += n
		}
	}
	return all
}

// bucket returns the bucket of the name and year of p, and false if the asker cannot
// put that name together or never saw the year.
func (m *model) bucket(p *person) (int, bool) {
	sum, known := m.lengths.bucket(len(p.parts))
	year, ok := m.years.bucket(p.year)
	sum, known = sum+year, known && ok
	for at, part := range p.parts {
		if c := m.parts[[2]int{len(p.parts), at}]; known && c != nil {
			b, ok := c.bucket(part)
			sum, known = sum+b, ok
		}
	}
	return sum, known
}

// A level is keys that the asker holds for equally likely.
type level struct {
	bucket int
	keys   float64 // how many they are
	share  float64 // part of the listed people who have one of them
}

// levels returns keys with the listed people who have them, the likeliest first.
func (m *model) levels(keys histogram, known func(*person) (int, bool)) []level {
	shares := make(map[int]float64)
	for i := range m.listed {
		if b, ok := known(&m.listed[i]); ok {
			shares[b] += 1 / float64(len(m.listed))
		}
	}
	var out []level
	for b, n := range keys {
		out = append(out, level{b, n, shares[b]})
	}
	slices.SortFunc(out, func(x, y level) int { return x.bucket - y.bucket })
	return out
}

// found returns the part of the listed people who are found with so many elements.
func found(l []level, elements float64) (share float64) {
	for _, x := range l {
		if x.keys >= elements {
			return share + x.share*elements/x.keys
		}
		elements -= x.keys
		share += x.share
	}
	return share
}

// needed returns the elements with which a part of the listed people is found, and
// infinity if it never is.
func needed(l []level, part float64) (elements float64) {
	for _, x := range l {
		if x.share >= part && x.share > 0 {
			return elements + x.keys*part/x.share
		}
		elements += x.keys
		part -= x.share
	}
	return math.Inf(1)
}

// EnumerationTable writes the answers for people.
func EnumerationTable(w io.Writer, e *Enumeration, people int, generated bool, all []Enumerated) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	who := "as given"
	if generated {
		who = "generated: their names are fewer than in life, so give your own with --population"
	}
	fmt.Fprintf(t, "%d people, %s\n%d elements a day, %d days an epoch, %d document numbers, bound %.2f %%\n\n", people, who,
		e.PerDay, e.Days, e.Documents, float64(e.BoundPPM)/1e4)
	fmt.Fprint(t, "class\tfound in an epoch\teffective keys\twithin the bound\tat most a day\n")
	for _, x := range all {
		yes := "yes"
		if !x.Within {
			yes = "NO"
		}
		keys := "nobody found"
		if x.Effective > 0 {
			keys = fmt.Sprintf("%.3g", x.Effective)
		}
		fmt.Fprintf(t, "%s\t%.4f %%\t%s\t%s\t%d\n", x.Class, x.FoundPPM/1e4, keys, yes, x.Allowed)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

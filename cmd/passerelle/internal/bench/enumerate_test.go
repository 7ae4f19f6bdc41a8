package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/cmd/passerelle/internal/bench"
	"github.com/passerelle/passerelle/gateway/record"
)

// people returns n subjects, of whom name and year are those of their number.
func people(n int, name func(i int) string, year func(i int) int) []record.Subject {
	all := make([]record.Subject, n)
	for i := range all {
		all[i] = record.Subject{Name: name(i), Birth: record.Date{Year: year(i)}}
	}
	return all
}

func enumerate(t *testing.T, all []record.Subject, e bench.Enumeration) map[string]bench.Enumerated {
	t.Helper()
	classes, err := bench.Enumerate(all, e)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]bench.Enumerated)
	for _, c := range classes {
		out[c.Class] = c
	}
	if len(out) != len(record.ExactClasses()) {
		t.Fatalf("%d classes, want %d", len(out), len(record.ExactClasses()))
	}
	return out
}

// TestEnumerate checks populations of which the answer is known: 64 years, each as
// likely, and names that are all alike, all different, or of 16 times 16 parts.
func TestEnumerate(t *testing.T) {
	t.Parallel()
	// Halves are every second person: both must have every year.
	year := func(i int) int { return 1940 + i/2%64 }
	part := func(i, of int) string { return string(rune('a'+i%of)) + "ak" }
	question := bench.Enumeration{PerDay: 10, Days: 3, Documents: 1000, BoundPPM: 10_000}
	for _, tt := range []struct {
		name  string
		names func(i int) string
		class string
		found float64 // part
	}{
		{"documents", func(int) string { return "Ana Lee" }, "doc", 30. / 1000},
		{"documents and birth", func(int) string { return "Ana Lee" }, "doc+dob", 30. / 1000 / 64 / 365.25},
		{"one name", func(int) string { return "Ana Lee" }, "name+year", 30. / 64},
		{"one name, and day", func(int) string { return "Ana Lee" }, "name+dob", 30. / 64 / 365.25},
		{"unknown names", func(i int) string { return fmt.Sprintf("%s %s", spell(i), spell(i+1)) }, "name+year", 0},
		{"parts that combine", func(i int) string { return part(i/128, 16) + " " + part(i/2048, 16) }, "name+year", 30. / 64 / 256},
	} {
		all := people(1<<16, tt.names, year)
		c := enumerate(t, all, question)[tt.class]
		if got := c.FoundPPM / 1e6; math.Abs(got-tt.found) > 0.01*tt.found+1e-9 {
			t.Errorf("%s: class %s: found %.6f, want %.6f", tt.name, tt.class, got, tt.found)
		}
		if want := tt.found <= 0.01; c.Within != want {
			t.Errorf("%s: class %s: within the bound: %v, want %v", tt.name, tt.class, c.Within, want)
		}
		if tt.found > 0 && math.Abs(c.Effective-30/tt.found) > 0.01*30/tt.found+1 {
			t.Errorf("%s: class %s: %v effective keys, want %v", tt.name, tt.class, c.Effective, 30/tt.found)
		}
		// What is allowed is the largest budget within the bound.
		if c.Allowed > 0 && c.Allowed < 1<<40 {
			q := question
			q.PerDay = c.Allowed
			if x := enumerate(t, all, q)[tt.class]; !x.Within {
				t.Errorf("%s: class %s: %d a day are allowed, and find %v ppm", tt.name, tt.class, c.Allowed, x.FoundPPM)
			}
			q.PerDay = c.Allowed + 2
			if x := enumerate(t, all, q)[tt.class]; x.Within {
				t.Errorf("%s: class %s: %d a day are within the bound, and more than is allowed", tt.name, tt.class, q.PerDay)
			}
		}
	}
}

// spell returns a word of its own for each number.
func spell(i int) string {
	var b strings.Builder
	for ; i > 0 || b.Len() < 3; i /= 20 {
		b.WriteByte("bcdfghjklmnpqrstvwxz"[i%20])
		b.WriteByte('a')
	}
	return b.String()
}

// TestEnumerateFrequency checks that the likeliest keys are asked first: one person in
// two has one name, and a budget of one key finds more than its part of all keys.
func TestEnumerateFrequency(t *testing.T) {
	t.Parallel()
	all := people(1<<14, func(i int) string {
		if i/2%2 == 0 {
			return "Ana Lee"
		}
		return spell(i/4%512) + " Lee"
	}, func(int) int { return 1990 })
	c := enumerate(t, all, bench.Enumeration{PerDay: 1, Days: 1, Documents: 1000, BoundPPM: 10_000})["name+year"]
	if got := c.FoundPPM / 1e6; math.Abs(got-0.5) > 0.01 {
		t.Errorf("one guess finds %.4f, want 0.5", got)
	}
}

func TestEnumeratePeople(t *testing.T) {
	t.Parallel()
	all := people(1999, func(int) string { return "Ana Lee" }, func(int) int { return 1990 })
	all = append(all, record.Subject{Name: "Ana Lee"}, record.Subject{Birth: record.Date{Year: 1990}})
	if _, err := bench.Enumerate(all, bench.Enumeration{PerDay: 1, Days: 1, Documents: 1, BoundPPM: 1}); !errors.Is(err, bench.ErrPeople) {
		t.Errorf("Enumerate of 1999 people: %v, want ErrPeople", err)
	}
}

func TestEnumerationTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	e := bench.Enumeration{PerDay: 200000, Days: 30, Documents: 10000000, BoundPPM: 10000}
	if err := bench.EnumerationTable(&b, &e, 2000, true, []bench.Enumerated{
		{Class: "doc", FoundPPM: 600000, Effective: 1e7, Allowed: 3333}, {Class: "name+dob", Within: true, Allowed: 1 << 40}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2000 people, generated", "bound 1.00 %", "60.0000 %", "NO", "3333", "nobody"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, &b)
		}
	}
}

package views_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
)

// Names are made of words of eight letters or more that are in no file by chance.
var (
	givenNames = strings.Fields("Quorvendrix Zubrowkaline Pfeffermund Xanthorelle Wolframinta Brisingamor Jovialdrake Kumquatova " +
		"Hyacinthopel Dromedaryan Ultramarinek Nightshadeva")
	surnames = strings.Fields("Maltesquine Yggdrasova Chrysoprase Vexillogard Obsidianek Tanglewurm Gobbledegook Rhododendrey " +
		"Fiddlestickov Pumpernickely Woebegonette Skullduggery")
)

// person returns somebody whom no generated list knows.
func person(i int) record.Subject {
	g, s := givenNames[i%len(givenNames)], surnames[(i/len(givenNames)*5+i*7)%len(surnames)]
	return record.Subject{
		Name:        s + ", " + g,
		Birth:       record.Date{Year: 1951 + i%40, Month: 1 + i%12, Day: 13 + i%15},
		Document:    record.Document{Type: record.Passport, Issuer: fiction.Utopia, Number: fmt.Sprintf("MX%05dQZ", 31337+i*7919%60000)},
		Nationality: fiction.Utopia, Sex: record.SexFemale, Ref: fmt.Sprintf("seat-%03d-row-zeppelin", i),
	}
}

// listed returns the record of a person on a list.
func listed(country string, i int) record.Record {
	p := person(i)
	family, given, _ := strings.Cut(p.Name, ", ")
	r := fiction.Watchlist(country, 1, 1)[0]
	r.ID = fmt.Sprintf("%s-canary-%04d", country, i)
	r.Names = []record.Name{{Text: given + " " + family, Kind: record.NamePrimary}}
	r.Births = []record.Birth{record.Born(p.Birth)}
	r.Documents = []record.Document{p.Document}
	r.Nationalities = []string{p.Nationality}
	r.ProtectionStatus, r.CountryOfOrigin = "none", ""
	return r
}

// people returns persons from to before to.
func people(from, to int) []record.Subject {
	var out []record.Subject
	for i := from; i < to; i++ {
		out = append(out, person(i))
	}
	return out
}

const (
	listedPeople = 12 // persons 0 to 11 are on the list of Valdera
	sharedPeople = 4  // of them, the first are on that of Norlanda too
	firstUnknown = 60 // and persons from here on are on nobody's
)

// A world is three countries: Utopia asks both others, and Norlanda asks Valdera.
type world struct {
	utopia, valdera, norlanda *nation
	lists                     map[string][]record.Record // by trust domain
}

func (w *world) all() []*nation { return []*nation{w.utopia, w.valdera, w.norlanda} }

const watchlistDraft = `collections:
  - {name: watchlist, category: watchlist, holder: theirs}
purposes:
  - {code: ct-travel-screening, categories: [watchlist]}
legal_bases:
  - {ref: Border Act s. 12}
`

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := tempDir(t)
	w := &world{lists: make(map[string][]record.Record)}
	w.utopia = newNation(t, dir, "Utopia", fiction.Utopia, nil)
	w.valdera = newNation(t, dir, "Valdera", fiction.Valdera, nil)
	w.norlanda = newNation(t, dir, "Norlanda", fiction.Norlanda, nil)
	t.Cleanup(func() {
		for _, n := range w.all() {
			n.shut(t)
			n.line.close()
		}
	})
	for _, l := range []struct {
		n               *nation
		generated, many int
	}{{w.valdera, 60, listedPeople}, {w.norlanda, 40, sharedPeople}} {
		records := fiction.Watchlist(l.n.code, l.generated, 20260)
		for i := range l.many {
			records = append(records, listed(l.n.code, i))
		}
		w.lists[l.n.td] = records
		l.n.load(t, "watchlist", records)
	}
	for _, pair := range [][2]*nation{{w.utopia, w.valdera}, {w.utopia, w.norlanda}, {w.norlanda, w.valdera}} {
		federate(t, pair[0], pair[1])
		agree(t, strings.ToLower(pair[0].name+"-"+pair[1].name), pair[0], pair[1], watchlistDraft)
	}
	for _, n := range []*nation{w.utopia, w.norlanda} {
		if refused := n.sync(t); len(refused) > 0 {
			t.Fatalf("%s: synchronisation refused: %v", n.name, refused)
		}
	}
	return w
}

func TestProbe(t *testing.T) {
	w := newWorld(t)
	for i := range 8 {
		p := person(firstUnknown + i)
		want := 0
		if i%2 == 1 {
			p, want = person(i), 1
		}
		a := w.utopia.newAsk(p)
		a.Holders = []string{w.valdera.td}
		line, tap := w.valdera.line.settled(), w.valdera.tap.mark()
		r := w.utopia.mustAsk(t, a, want)
		w.valdera.line.settled()
		var up, down []int
		for _, rec := range w.valdera.line.since(line) {
			if rec.down {
				down = append(down, rec.size)
			} else {
				up = append(up, rec.size)
			}
		}
		t.Log(want, r.results[0].GetQueryId(), "up", up, "down", down)
		for _, e := range w.valdera.tap.since(tap, nil) {
			t.Log("   ", e.String())
			if e.kind != "payload" {
				t.Log("         ", strings.ReplaceAll(string(e.data), "\n", " "))
			}
		}
	}
	_ = query.Single
}

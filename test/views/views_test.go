package views_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// Names are made of words of eight letters or more that are in no file by chance,
// and those of people who may be on a list are not those of the others.
var (
	listedGiven = strings.Fields("Quorvendrix Zubrowkaline Pfeffermund Xanthorelle Wolframinta Brisingamor Jovialdrake Kumquatova " +
		"Hyacinthopel Dromedaryan Ultramarinek Nightshadeva")
	listedSurnames = strings.Fields("Maltesquine Yggdrasova Chrysoprase Vexillogard Obsidianek Tanglewurm Gobbledegook Rhododendrey " +
		"Fiddlestickov Pumpernickely Woebegonette Skullduggery")
	otherGiven = strings.Fields("Bartholomund Clementissa Evangelixa Fredegundis Guillemotte Ignatzendra Lysistratova Mnemosynka " +
		"Papagenolina Rumpelstilz Sacharowina Terpsichorin")
	otherSurnames = strings.Fields("Ackerwinde Butterblumova Dreimasterly Eisvogelson Flunkyhausen Grosswardein Hagebuttens " +
		"Immergruenau Klabautermay Lavendelstern Mandragorack Nebelspalter")
)

// firstUnknown is the first of the people who are on nobody's list.
const firstUnknown = 60

// person returns somebody whom no generated list knows.
func person(i int) record.Subject {
	given, surnames := listedGiven, listedSurnames
	if i >= firstUnknown {
		given, surnames = otherGiven, otherSurnames
	}
	return record.Subject{
		Name:        surnames[(i/len(given)*5+i*7)%len(surnames)] + ", " + given[i%len(given)],
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
)

// A world is three countries: Utopia asks both others, and Norlanda asks Valdera.
type world struct {
	utopia, valdera, norlanda *nation
	lists                     map[string][]record.Record // by trust domain
}

func (w *world) all() []*nation { return []*nation{w.utopia, w.valdera, w.norlanda} }

// The draft of every agreement. The list of Valdera is there twice, under two names.
const (
	watchlistDraft = `collections:
  - {name: watchlist, category: watchlist, holder: theirs}
`
	secondDraft = `  - {name: documents, category: watchlist, holder: theirs}
`
	termsDraft = `purposes:
  - {code: ct-travel-screening, categories: [watchlist]}
legal_bases:
  - {ref: Border Act s. 12}
`
)

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, nil)
}

// newWorldWith makes a world whose configurations are changed by configure.
func newWorldWith(t testing.TB, configure func(code string, c *gateway.Config)) *world {
	t.Helper()
	dir := tempDir(t)
	w := &world{lists: make(map[string][]record.Record)}
	found := func(name, code string) *nation {
		return newNation(t, dir, name, code, func(c *gateway.Config) {
			c.Collections = []gateway.CollectionConfig{{Name: "watchlist", Category: "watchlist"},
				{Name: "documents", Category: "watchlist"}}
			if configure != nil {
				configure(code, c)
			}
		})
	}
	w.utopia = found("Utopia", fiction.Utopia)
	w.valdera = found("Valdera", fiction.Valdera)
	w.norlanda = found("Norlanda", fiction.Norlanda)
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
	w.valdera.load(t, "documents", w.lists[w.valdera.td])
	for _, pair := range [][2]*nation{{w.utopia, w.valdera}, {w.utopia, w.norlanda}, {w.norlanda, w.valdera}} {
		federate(t, pair[0], pair[1])
		draft := watchlistDraft + termsDraft
		switch pair {
		case [2]*nation{w.utopia, w.valdera}:
			draft = watchlistDraft + secondDraft + termsDraft
		case [2]*nation{w.norlanda, w.valdera}:
			draft += "budget: {per_day: 40, burst: 40}\n"
		}
		agree(t, strings.ToLower(pair[0].name+"-"+pair[1].name), pair[0], pair[1], draft)
	}
	for _, n := range []*nation{w.utopia, w.norlanda} {
		if refused := n.sync(t); len(refused) > 0 {
			t.Fatalf("%s: synchronisation refused: %v", n.name, refused)
		}
	}
	return w
}

// A view is one ask, with what everybody saw of it.
type view struct {
	name       string
	group      string // asks of one group must look the same abroad; the first of a kind are apart
	ask        *asker.Ask
	signature  []byte
	candidates int
	holders    map[string]*holderView // by trust domain
}

// A holderView is what one holder saw, and what the asker saw of it.
type holderView struct {
	query    query.ID
	events   []event // at the holder
	asker    []event // at the asker, with this holder
	up, down int     // bytes inside of TLS
	counted  bool    // whether up and down say something
}

// watch asks, and returns what everybody saw.
func (w *world) watch(t *testing.T, name, group string, a *asker.Ask, candidates int) *view {
	t.Helper()
	holders := []*nation{w.valdera, w.norlanda}
	if len(a.Holders) == 1 && a.Holders[0] == w.valdera.td {
		holders = holders[:1]
	}
	signature, err := w.utopia.as(t, w.utopia.clerk()).id.Sign(officer.PurposeAsk, a.Digest())
	if err != nil {
		t.Fatal(err)
	}
	v := &view{name: name, group: group, ask: a, signature: signature[:], candidates: candidates,
		holders: make(map[string]*holderView)}
	lines, taps, own := make(map[string]int), make(map[string]int), w.utopia.tap.mark()
	for _, h := range holders {
		lines[h.td], taps[h.td] = h.line.settled(), h.tap.mark()
	}
	r := w.utopia.mustAsk(t, a, candidates)
	w.utopia.tap.await(t, own, len(holders), "AcknowledgeAnswer") // the last call about a query
	for _, h := range holders {
		h.tap.await(t, taps[h.td], 1, "AcknowledgeAnswer")
		h.line.settled()
		hv := &holderView{events: h.tap.since(taps[h.td], (*event).peerService)}
		for _, x := range r.results {
			if x.GetHolder() == h.td {
				if hv.query, err = query.ParseID(x.GetQueryId()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, rec := range h.line.since(lines[h.td]) {
			// TLS 1.3: one byte of type and 16 of the AEAD in each record.
			if n := rec.size - 17; rec.down {
				hv.down += n
			} else {
				hv.up += n
			}
		}
		// The ids of calls fill the table of HPACK, of 4 KiB. What falls out of it is sent
		// in full again: a matter of how many calls there were.
		trailers := h.tap.since(0, func(e *event) bool { return e.peerService() && e.kind == "trailer" })
		hv.counted = len(trailers) <= 56
		// The id of a call in the holder's log is random, and the length of its Huffman
		// code too (RFC 7541, Appendix B).
		for i := range hv.events {
			for _, id := range hv.events[i].metadata["passerelle-request-id"] {
				if hv.events[i].kind == "trailer" {
					hv.down -= huffmanLength(id)
				}
			}
		}
		hv.asker = w.utopia.tap.since(own, func(e *event) bool { return e.client && e.peerService() })
		v.holders[h.td] = hv
	}
	return v
}

// huffmanLength returns the length of the HPACK string of hexadecimal digits.
func huffmanLength(s string) int {
	n := 0
	for _, c := range s {
		if strings.ContainsRune("012ace", c) {
			n += 5
		} else {
			n += 6
		}
	}
	return min(len(s), (n+7)/8)
}

// TestViews runs lookups and screenings, and then looks at everything that each
// side received, stored and logged.
//
// It covers what DESIGN, section 2, says of an identity lookup. It does not cover
// timing: that no message waits for a match is TestAcknowledgeDoesNotWait.
func TestViews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := func(s ...record.Subject) *asker.Ask { return w.utopia.newAsk(s...) }
	one := func(s ...record.Subject) *asker.Ask {
		a := w.utopia.newAsk(s...)
		a.Holders = []string{w.valdera.td}
		return a
	}
	var views []*view
	watch := func(name, group string, a *asker.Ask, candidates int) {
		t.Helper()
		views = append(views, w.watch(t, name, group, a, candidates))
	}

	records := make(map[string][32]byte) // of files of the holders' own lists, before anything is asked
	for _, h := range []*nation{w.valdera, w.norlanda} {
		for name, sum := range recordFiles(t, h) {
			records[name] = sum
		}
	}
	checkpoints := []int{w.utopia.checkpointSize(t, "shared"), w.valdera.checkpointSize(t, "shared")}

	// The first calls of a connection fill the tables of HPACK.
	watch("first miss", "first lookup", one(person(firstUnknown)), 0)
	rounds := 2
	if os.Getenv("PASSERELLE_LONG") != "" {
		rounds = 12
	}
	for i := range rounds {
		watch("miss", "lookup", one(person(firstUnknown+i%10)), 0)
		watch("hit", "lookup", one(person(i%listedPeople)), 1)
	}
	// Whatever is known of the subject, of its age, and of the reasons looks the same.
	for name, change := range map[string]func(*asker.Ask, *record.Subject){
		"document only": func(_ *asker.Ask, s *record.Subject) { s.Name, s.Birth = "", record.Date{} },
		"name and year": func(_ *asker.Ask, s *record.Subject) {
			s.Document, s.Birth = record.Document{}, record.Date{Year: 1977}
		},
		"child":            func(_ *asker.Ask, s *record.Subject) { s.Birth.Year = 2021 },
		"minor victim":     func(a *asker.Ask, s *record.Subject) { s.Birth.Year, a.SubjectCategory = 2016, "victim" },
		"no category":      func(a *asker.Ask, _ *record.Subject) { a.SubjectCategory, a.ThreatNote = "", "" },
		"long explanation": func(a *asker.Ask, _ *record.Subject) { a.Justification = strings.Repeat(justification+" ", 15) },
	} {
		s := person(firstUnknown + 11)
		a := one(s)
		change(a, &a.Subjects[0])
		watch(name, "lookup", a, 0)
	}
	byName := person(3)
	byName.Document = record.Document{}
	watch("hit by name only", "lookup", one(byName), 1)

	screens := []struct {
		name       string
		subjects   []record.Subject
		candidates int
	}{
		{"nobody of 12", people(firstUnknown, firstUnknown+12), 0},
		{"all of 12", people(0, 12), 12},
		{"half of 12", append(people(0, 6), people(firstUnknown, firstUnknown+6)...), 6},
		{"one of 9", append(people(5, 6), people(firstUnknown, firstUnknown+8)...), 1},
		{"one person 12 times", slices.Repeat(people(7, 8), 12), 12},
	}
	for i, s := range screens {
		if i == 0 {
			watch("warming up", "first screening", one(people(firstUnknown+20, firstUnknown+30)...), 0)
		}
		for j := range s.subjects {
			s.subjects[j].Ref = fmt.Sprintf("%s-%d", s.subjects[j].Ref, j)
		}
		watch(s.name, "screening", one(s.subjects...), s.candidates)
	}

	watch("first at both", "first at both", both(person(firstUnknown)), 0)
	watch("on no list", "both", both(person(firstUnknown+1)), 0)
	watch("on both lists", "both", both(person(1)), 2)
	watch("on one list", "both", both(person(8)), 1)
	watch("on both lists again", "both", both(person(1)), 2)

	t.Run("record files", func(t *testing.T) {
		for _, h := range []*nation{w.valdera, w.norlanda} {
			for name, sum := range recordFiles(t, h) {
				if records[name] != sum {
					t.Errorf("%s changed while a neighbour was asking", name)
				}
			}
		}
	})
	for _, n := range w.all() {
		n.shut(t)
	}

	t.Run("subjects at the holder", func(t *testing.T) { testHolderSweep(t, w, views) })
	t.Run("sizes", func(t *testing.T) { testSizes(t, views) })
	t.Run("logs", func(t *testing.T) { testLogs(t, w, views, checkpoints) })
	t.Run("unlinkable", func(t *testing.T) { testUnlinkable(t, w, views) })
	t.Run("facts", func(t *testing.T) { testFacts(t, views) })
	t.Run("lists at the asker", func(t *testing.T) { testAskerSweep(t, w) })
	t.Run("tags and labels", func(t *testing.T) { testTags(t, w) })
	t.Run("subjects at the asker", func(t *testing.T) { testOwnStore(t, w, views) })
}

// recordFiles returns the hashes of the files with a holder's own records. Of them
// only the list itself may tell who is asked for.
func recordFiles(t *testing.T, n *nation) map[string][32]byte {
	t.Helper()
	out := make(map[string][32]byte)
	for _, name := range []string{"records.db", "records.db-wal"} {
		b, err := os.ReadFile(filepath.Join(n.dir, "store", name))
		if err != nil {
			t.Fatal(err)
		}
		out[n.name+"/"+name] = sha256.Sum256(b)
	}
	return out
}

// isRecordFile reports whether a path below the folder of a gateway is one of its
// own lists.
func isRecordFile(path string) bool { return strings.HasPrefix(path, "store/records.db") }

// reasons adds who asks and why: what the asker's own side knows of an ask besides
// the subjects.
func (s *sweeper) reasons(n *nation) {
	s.text("officer", n.clerk())
	s.text("unit", n.unit())
	s.text("case reference", caseReference)
	s.text("justification", justification)
	s.text("threat note", threatNote)
	for _, w := range strings.FieldsFunc(justification+" "+threatNote, func(r rune) bool { return r == ' ' || r == ';' || r == '.' }) {
		if len(w) >= 8 {
			s.text("word of the justification", w)
		}
	}
}

// asked adds what an officer signed: a hash of all of it, and the signature, by
// either of which a guess can be tested.
func (s *sweeper) asked(v *view) {
	digest := v.ask.Digest()
	s.secret("digest of an ask", digest[:])
	s.hashes("digest of an ask", digest[:])
	s.secret("signature of an ask", v.signature)
}

// sweepers return what must not be at a holder: of subjects that are on its own
// list, and of all others.
func sweepers(w *world, views []*view) (known, unknown *sweeper) {
	known, unknown = new(sweeper), new(sweeper)
	unknown.reasons(w.utopia)
	seen := make(map[string]bool)
	for _, v := range views {
		unknown.asked(v)
		for i := range v.ask.Subjects {
			p := &v.ask.Subjects[i]
			unknown.plain("reference of a subject", p.Ref)
			unknown.hashes("reference of a subject", []byte(p.Ref))
			key := p.Name + p.Birth.String() + p.Document.Number
			if seen[key] {
				continue
			}
			seen[key] = true
			s := unknown
			for j := range listedPeople {
				if q := person(j); p.Name == q.Name || p.Document.Number == q.Document.Number {
					s = known
				}
			}
			s.subject(fmt.Sprintf("subject %d", len(seen)), p)
		}
	}
	return known, unknown
}

func testHolderSweep(t *testing.T, w *world, views []*view) {
	known, unknown := sweepers(w, views)
	for _, h := range []*nation{w.valdera, w.norlanda} {
		wire := 0
		for _, e := range h.tap.since(0, (*event).peerService) {
			if !e.incoming {
				continue
			}
			wire += len(e.data)
			for _, s := range []*sweeper{known, unknown} {
				if label := s.first(e.data); label != "" {
					t.Errorf("%s received %s in %s", h.name, label, &e)
				}
			}
		}
		found, swept := unknown.files(t, h.dir, nil)
		clean(t, h.name+" stores", found)
		found, _ = known.files(t, h.dir, isRecordFile)
		clean(t, h.name+" stores, besides its list", found)
		log := h.log.bytes()
		for _, s := range []*sweeper{known, unknown} {
			if label := s.first(log); label != "" {
				t.Errorf("%s logs %s", h.name, label)
			}
		}
		if wire < 10_000 || swept < 100_000 || len(log) < 500 {
			t.Errorf("%s: swept %d bytes of messages, %d of files and %d of logs: too few to say anything", h.name, wire, swept, len(log))
		}
	}

	// The same sweep finds the same people where they are: at the holder's own
	// list, and in what the asker's officers sent to their own gateway.
	if found, _ := known.files(t, w.valdera.dir, nil); len(found) == 0 {
		t.Error("control: listed people were not found in the list")
	}
	for _, s := range []*sweeper{known, unknown} {
		found := 0
		for _, e := range w.utopia.tap.since(0, nil) {
			if !e.peerService() && s.first(e.data) != "" {
				found++
			}
		}
		if found < 10 {
			t.Errorf("control: subjects were found in %d messages of their own officers", found)
		}
	}
	// And it finds what is planted: in a message, in the database, in its log.
	miss := person(firstUnknown)
	header := &pb.EvaluateHeader{Facts: &pb.QueryFacts{LegalBasis: miss.Name}}
	m := &pb.EvaluateRequest{Message: &pb.EvaluateRequest_Header{Header: header}}
	if _, b := encoded(m); unknown.first(b) == "" {
		t.Error("control: a name in a message was not found")
	}
	dir := filepath.Join(tempDir(t), "store")
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sum := sha256.Sum256(miss.Keys()[0].Bytes)
	if err := s.PutMeta(t.Context(), "planted", sum[:16]); err != nil {
		t.Fatal(err)
	}
	if found, _ := unknown.files(t, dir, nil); len(found) == 0 {
		t.Error("control: the hash of a key in the write-ahead log was not found")
	}
}

// TestSweepFinds plants every needle of a subject in random bytes, one by one.
func TestSweepFinds(t *testing.T) {
	t.Parallel()
	s := new(sweeper)
	p := person(firstUnknown)
	s.subject("subject", &p)
	s.secret("key", bytes.Repeat([]byte("0123456789abcdef"), 2))
	n := 0
	for _, m := range []*matcher{&s.exact, &s.folded} {
		for _, list := range m.byFirst {
			for _, want := range list {
				data := append(bytes.Repeat([]byte{0x5b}, 100), want.bytes...)
				found := false
				s.find(append(data, 0x5b, 0x5b), func(got needle, at int) { found = found || at == 100 && bytes.Equal(got.bytes, want.bytes) })
				if !found {
					t.Errorf("%s was planted and not found", want.label)
				}
				n++
			}
		}
	}
	if n < 200 {
		t.Errorf("%d needles, want at least 200", n)
	}
	for what, data := range map[string]string{
		"other letters": "name: " + strings.ToUpper(p.Name),
		"one word":      "x" + strings.ToLower(strings.Fields(p.Name)[1]) + "x",
		"date":          `{"birth":"` + p.Birth.String() + `"}`,
	} {
		if s.first([]byte(data)) == "" {
			t.Errorf("%s: not found", what)
		}
	}
	if label := s.first([]byte("nobody of interest, 1900-01-01, 9876543210")); label != "" {
		t.Errorf("found %s in a text without it", label)
	}
}

// testSizes compares what a holder sees of asks of one group: which calls, which
// messages in which order, of which sizes; and the bytes of the connection, of hits
// and of misses.
func testSizes(t *testing.T, views []*view) {
	first := make(map[string]*view)
	hits, misses := make(map[string]bool), make(map[string]bool)
	for _, v := range views {
		hits[v.group] = hits[v.group] || v.candidates > 0
		misses[v.group] = misses[v.group] || v.candidates == 0
		f := first[v.group]
		if f == nil {
			first[v.group] = v
			continue
		}
		for td, got := range v.holders {
			want := f.holders[td]
			if g, w := shapes(got.events), shapes(want.events); !slices.Equal(g, w) {
				t.Errorf("%s: after %q %s saw\n%s\nand after %q\n%s", v.group, v.name, td, strings.Join(g, "\n"), f.name, strings.Join(w, "\n"))
			}
			if len(v.holders) == 1 {
				g, w := shapes(got.asker), shapes(want.asker)
				slices.Sort(g)
				slices.Sort(w)
				if !slices.Equal(g, w) {
					t.Errorf("%s: in %q the asker saw other messages than in %q", v.group, v.name, f.name)
				}
			}
		}
	}
	// Frames of HTTP/2 that no message causes, such as the answer to a ping, come and
	// go with how busy the machine is. So some hit must be as large as some miss: what
	// a hit adds would be added to every one.
	sizes := make(map[string]map[bool][][2]int) // by group and holder, of hits and misses
	for _, v := range views {
		for td, hv := range v.holders {
			if !hv.counted {
				continue
			}
			key := v.group + " to " + td
			if sizes[key] == nil {
				sizes[key] = make(map[bool][][2]int)
			}
			hit := v.candidates > 0
			sizes[key][hit] = append(sizes[key][hit], [2]int{hv.up, hv.down})
		}
	}
	for key, of := range sizes {
		if len(of[true]) > 0 && len(of[false]) > 0 &&
			!slices.ContainsFunc(of[true], func(b [2]int) bool { return slices.Contains(of[false], b) }) {
			t.Errorf("%s: hits are of %v bytes (up and down), misses of %v", key, of[true], of[false])
		}
	}
	for _, group := range []string{"lookup", "screening", "both"} {
		if !hits[group] || !misses[group] {
			t.Errorf("control: %s has no hit or no miss", group)
		}
		for td, hv := range first[group].holders {
			if os.Getenv("PASSERELLE_LONG") == "" && !hv.counted {
				t.Errorf("control: %s: the bytes to %s are not compared", group, td)
			}
		}
	}
	// It can fail: a lookup is not a screening.
	if slices.Equal(shapes(first["lookup"].holders[first["lookup"].ask.Holders[0]].events),
		shapes(first["screening"].holders[first["lookup"].ask.Holders[0]].events)) {
		t.Error("control: a lookup looks like a screening")
	}
}

func shapes(events []event) []string {
	var out []string
	for i := range events {
		out = append(out, events[i].String())
	}
	return out
}

// testLogs compares the entries of hits and misses in the logs that cross the
// border: kinds, numbers and sizes.
func testLogs(t *testing.T, w *world, views []*view, checkpoints []int) {
	type logs struct {
		n    *nation
		all  []logged
		byID map[[16]byte][]string
	}
	read := func(n *nation) logs {
		all := n.readLog(t, "shared")
		l := logs{n: n, all: all, byID: byQuery(all)}
		for _, e := range all {
			switch e.Kind.String() {
			case "outcome", "read":
				t.Errorf("%s: an entry %s in the shared log", n.name, e.Kind)
			}
			if e.Outcome != 0 {
				t.Errorf("%s: an outcome in the shared log", n.name)
			}
		}
		return l
	}
	utopia := read(w.utopia)
	holders := map[string]logs{w.valdera.td: read(w.valdera), w.norlanda.td: read(w.norlanda)}
	first := make(map[string]*view)
	asked := 0
	for _, v := range views {
		f := first[v.group]
		if f == nil {
			f, first[v.group] = v, v
		}
		for td, hv := range v.holders {
			asked++
			got, want := holders[td].byID[hv.query], holders[td].byID[f.holders[td].query]
			if !slices.Equal(got, want) || len(got) != 1 {
				t.Errorf("%s logged %q for %q, and %q for %q", td, got, v.name, want, f.name)
			}
			got, want = utopia.byID[hv.query], utopia.byID[f.holders[td].query]
			if !slices.Equal(got, want) || len(got) != 2 {
				t.Errorf("the asker logged %q for %q, and %q for %q", got, v.name, want, f.name)
			}
		}
	}
	if got, want := len(utopia.byID), asked; got != want {
		t.Errorf("the asker's shared log is about %d queries, want %d", got, want)
	}
	// Nothing besides is written while queries are asked: after the last entry about
	// anything else come those about queries only, and the last is about a query.
	for _, l := range append([]logs{utopia}, holders[w.valdera.td], holders[w.norlanda.td]) {
		begun := false
		for _, e := range l.all {
			about := e.Query != ([16]byte{})
			begun = begun || about
			if begun && !about {
				t.Errorf("%s: an entry %s while queries were asked", l.n.name, e.Kind)
			}
		}
	}
	for i, n := range []*nation{w.utopia, w.valdera} {
		if got, want := n.checkpointSize(t, "shared"), checkpoints[i]; got != want {
			t.Errorf("%s: a checkpoint of %d bytes, before of %d", n.name, got, want)
		}
	}
	// It can fail: the internal log, which no neighbour sees, does tell.
	internal := w.utopia.readLog(t, "internal")
	outcomes := make(map[string]int)
	for _, e := range internal {
		outcomes[e.Outcome.String()]++
	}
	if outcomes["candidate"] == 0 || outcomes["no_candidate"] == 0 {
		t.Errorf("control: outcomes in the internal log: %v", outcomes)
	}
}

// testUnlinkable looks at the queries that one ask became, and at those of several
// asks about the same person: apart from the facts, nothing is in two of them.
func testUnlinkable(t *testing.T, w *world, views []*view) {
	type place struct{ what, where string }
	seen := make(map[[32]byte]place)
	random := make(map[string]place) // the first 10 bytes of what must be random
	elements := 0
	once := func(b []byte, p place) {
		if len(b) != 32 {
			t.Fatalf("%s of %d bytes", p.what, len(b))
		}
		if old, ok := seen[[32]byte(b)]; ok {
			t.Errorf("%s of %s is also %s of %s", p.what, p.where, old.what, old.where)
		}
		seen[[32]byte(b)] = p
	}
	for _, v := range views {
		for td, hv := range v.holders {
			where := fmt.Sprintf("%q at %s", v.name, td)
			for i := range hv.events {
				switch m := hv.events[i].message.(type) {
				case *pb.EvaluateRequest:
					for b := m.GetBatch().GetElements(); len(b) > 0; b = b[32:] {
						once(b[:32], place{"an element", where})
						elements++
					}
					if h := m.GetHeader(); h != nil {
						once(h.GetAskerLeaf(), place{"the leaf", where})
						once(h.GetSealed(), place{"the sealed content", where})
						for what, b := range map[string][]byte{"query id": h.GetQueryId()[6:], "signature": h.GetStatement().GetSignature()[:32]} {
							if old, ok := random[string(b[:10])]; ok {
								t.Errorf("%s of %s is that of %s", what, where, old.where)
							}
							random[string(b[:10])] = place{what, where}
						}
					}
				case *pb.EvaluateResponse:
					for b := m.GetBatch().GetEvaluated(); len(b) > 0; b = b[32:] {
						once(b[:32], place{"an evaluated element", where})
					}
				}
			}
		}
	}
	if elements < 300 {
		t.Errorf("control: %d elements, want at least 300", elements)
	}
}

// testFacts holds the header of every query against the facts that may travel.
func testFacts(t *testing.T, views []*view) {
	headers := 0
	rules := ""
	for _, v := range views {
		for td, hv := range v.holders {
			for i := range hv.events {
				m, ok := hv.events[i].message.(*pb.EvaluateRequest)
				if !ok || m.GetHeader() == nil {
					continue
				}
				headers++
				h, f := m.GetHeader(), m.GetHeader().GetFacts()
				if got, want := int(f.GetItems()), query.PadItems(len(v.ask.Subjects)); got != want {
					t.Errorf("%q told %s of %d items, want %d", v.name, td, got, want)
				}
				if f.GetPurpose() != v.ask.Purpose || f.GetLegalBasis() != v.ask.LegalBasis || f.GetOffenceClass() != v.ask.OffenceClass ||
					f.GetUrgency() != "ordinary" || !f.GetCaseReference() || !f.GetJustification() || len(f.GetUnit()) != 16 {
					t.Errorf("%q told %s other facts than its codes", v.name, td)
				}
				// Which rules agreed does not depend on the subject.
				got := strings.Join(h.GetStatement().GetRules(), " ")
				if rules == "" {
					rules = got
				}
				if got != rules || got == "" {
					t.Errorf("%q: the statement names the rules %q, others %q", v.name, got, rules)
				}
				for _, unknown := range [][]byte{m.ProtoReflect().GetUnknown(), h.ProtoReflect().GetUnknown(), f.ProtoReflect().GetUnknown()} {
					if len(unknown) > 0 {
						t.Errorf("%q: fields that are not in the schema", v.name)
					}
				}
			}
		}
	}
	if headers < len(views) {
		t.Errorf("control: %d headers of %d asks", headers, len(views))
	}
}

// listSweeper returns what an asker must not know of records: everything but that
// there are some. Of records that were asked for, only ids are secret.
func listSweeper(records []record.Record) *sweeper {
	s := new(sweeper)
	for i := range records {
		r := &records[i]
		s.text("id of a record", r.ID)
		if strings.Contains(r.ID, "canary") {
			continue
		}
		for _, n := range r.Names {
			if len(n.Text) >= 10 {
				s.text("name of a record", n.Text)
			}
			if form, ok := record.NormalizeName(n.Text); ok && len(form) >= 10 {
				s.text("name of a record, normal form", form)
			}
		}
		for _, d := range r.Documents {
			s.text("document of a record", d.Number)
		}
		for _, k := range r.Keys() {
			s.exact.add(needle{"key of a record", k.Bytes, false})
			s.hashes("key of a record", k.Bytes)
		}
	}
	return s
}

func testAskerSweep(t *testing.T, w *world) {
	for _, h := range []*nation{w.valdera, w.norlanda} {
		s := listSweeper(w.lists[h.td])
		for _, e := range w.utopia.tap.since(0, nil) {
			if label := s.first(e.data); label != "" {
				t.Errorf("the asker has %s of %s in %s", label, h.name, &e)
			}
		}
		found, _ := s.files(t, w.utopia.dir, nil)
		clean(t, "the asker stores of "+h.name, found)
		if label := s.first(w.utopia.log.bytes()); label != "" {
			t.Errorf("the asker logs %s of %s", label, h.name)
		}
		if found, _ := s.files(t, h.dir, nil); len(found) < len(w.lists[h.td]) {
			t.Errorf("control: %d finds in the list itself", len(found))
		}
	}
}

// testOwnStore sweeps the asker's own folder: subjects are in sealed content, which
// only the auditor opens, and the reference of a subject is with its candidate.
func testOwnStore(t *testing.T, w *world, views []*view) {
	known, unknown := sweepers(w, nil)
	refs := new(sweeper)
	for _, v := range views {
		known.asked(v)
		for i := range v.ask.Subjects {
			p := &v.ask.Subjects[i]
			known.subject("a subject", p)
			if v.candidates == 0 {
				refs.plain("reference of a subject without candidate", p.Ref)
			}
		}
	}
	_ = unknown // officer and unit are in the register
	known.text("case reference", caseReference)
	known.text("justification", justification)
	known.text("threat note", threatNote)
	found, _ := known.files(t, w.utopia.dir, nil)
	clean(t, "the asker stores", found)
	found, _ = refs.files(t, w.utopia.dir, nil)
	clean(t, "the asker stores", found)
	for _, s := range []*sweeper{known, refs} {
		if label := s.first(w.utopia.log.bytes()); label != "" {
			t.Errorf("the asker logs %s", label)
		}
	}

	// The auditor does find them: content that is sealed is not content that is lost.
	s, err := store.Open(t.Context(), filepath.Join(w.utopia.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v := views[0]
	id := v.holders[w.valdera.td].query
	for _, e := range w.utopia.readLog(t, "shared") {
		if e.Query != id || e.Sealed == ([32]byte{}) {
			continue
		}
		ciphertext, err := s.Sealed(context.Background(), e.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := e.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		content, err := inspect.Open(w.utopia.auditor, ciphertext, id, raw)
		if err != nil {
			t.Fatal(err)
		}
		b, err := content.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		key := v.ask.Subjects[0].Keys()[0].Bytes
		if content.CaseReference != caseReference || !bytes.Equal(content.Items[0].Keys[0], key) || known.first(b) == "" {
			t.Error("the sealed content is not about the subject")
		}
		return
	}
	t.Error("no sealed content of the first query")
}

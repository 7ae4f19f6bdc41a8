// Package fiction makes data about people who do not exist, for the fictional
// countries Utopia (UTO), Valdera (QVA) and Norlanda (QNL): watch lists, lists of
// lost and stolen documents, and manifests of travellers.
//
// Everything is a function of its arguments: the same seed gives the same people
// on every machine and with every version of Go. Person i of a list depends on
// country, seed and i alone, so a longer list begins with the shorter one. Names
// are built of invented syllables, and no list of names was used.
//
// Travellers and listed people never meet by chance: the last syllable of a
// surname and the first letter of a document number come from sets that do not
// overlap. So the matches between a manifest and a list are the planted ones and
// no other. [Samples] are the files of examples/data.
//
// Nothing here is secret, and the randomness must not be used for anything that
// is. Functions may be called concurrently.
package fiction

//go:generate go run ./generate ../data

import (
	"math/bits"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/passerelle/passerelle/gateway/record"
)

// The countries, as codes of ICAO Doc 9303-3.
const (
	Utopia   = "UTO"
	Valdera  = "QVA"
	Norlanda = "QNL"
)

// Countries returns all countries of this package.
func Countries() []string { return []string{Utopia, Valdera, Norlanda} }

// A source is a stream of random numbers. It uses only PCG.Uint64, whose values
// are fixed, and not the methods of rand.Rand, whose values need not be.
type source struct{ pcg rand.PCG }

// newSource returns the stream of one person: what is "list", "documents" or
// "travellers".
func newSource(what, country string, seed uint64, i int) *source {
	h := uint64(14695981039346656037) // FNV-1a
	for _, s := range []string{what, country} {
		for j := range len(s) {
			h = (h ^ uint64(s[j])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	s := new(source)
	s.pcg.Seed(seed^h, uint64(i)*0x9e3779b97f4a7c15+h)
	s.pcg.Uint64() // neighbouring seeds begin alike
	return s
}

// n returns a number from 0 to max-1.
func (s *source) n(max int) int {
	hi, _ := bits.Mul64(s.pcg.Uint64(), uint64(max))
	return int(hi)
}

// percent is true p times of a hundred.
func (s *source) percent(p int) bool { return s.n(100) < p }

// pick returns one of list.
func (s *source) pick(list []string) string { return list[s.n(len(list))] }

// A language has the syllables of the names of a country.
type language struct {
	begin, middle, end []string // of given names
	stem, link         []string // of surnames
	listed, travelling []string // last syllables of surnames: of listed people, of travellers
	particle           []string
}

var languages = map[string]*language{
	Utopia: {
		begin: words("Ab Cel Dru Em Fio Gav Hel Ix Jor Kel Lum Mar Nov Or Pel Quil Ros Sil Tam Ul Ver Wen Yl " +
			"Zan Bri Cas Dol Fen"),
		middle: words("a e i o u ane ile oru emi ala uvi ore ani eta ista unde"),
		end:    words("ra lo na mis vel dor tha quin la ren sor via bel zo phe mon"),
		stem: words("Abra Bolo Cinda Dovo Ferra Gali Hoven Ibra Jolu Kemma Lavo Merri Nolda Opali Perro " +
			"Quessa Rindo Sova Tello Umbra Vesti Wollo Yarra Zembi Corva Dalmo"),
		link:   words("n r l s nd rt lk st m v d t k ss ll rr"),
		listed: words("ano usk elle ivar oth emy aris ond"), travelling: words("ilo abur esset orin uda ethe ilma akko"),
	},
	Valdera: {
		begin: words("Aél Bré Cór Deñ Eli Fró Gañ Hír Ive Jué Kai Leó Mañ Né Oró Pía Qué Riñ Sá Tiñ Ubé Véla " +
			"Xi Yó Zué Lló Ché Tré"),
		middle: words("a e i o u ara eli oña iva era uni ota esi ari olu"),
		end:    words("lda rio vera ne xo tina dé mar zel lia so que ra bán nor tis"),
		stem: words("Alde Barro Cestu Dalva Esco Fuerra Gandu Hierro Istu Jalme Lorva Munde Navo Olmu Pescá " +
			"Quirru Rodha Salvu Tordé Urbi Vascu Xalu Yerba Zorda Cañu Peñu"),
		link:   words("r l s n nd z c m t rd lv st b g d x"),
		listed: words("aguez oride isco uero anza ebra ozo itar"), travelling: words("amún elda irra ouso urdé ayal ivés obal"),
		particle: words("da di D'"),
	},
	Norlanda: {
		begin:  words("Aas Bjø Dagv Eil Fre Grø Hå Inge Jø Kå Lei Mø Njel Od Pø Ra Sø Tå Ulv Vå Yng Æg Øy Stø Skå Tru Gry Hæ"),
		middle: words("a e i o u na ve ri la sta mu di se lo hi"),
		end:    words("rn ld ve nar dis frid mund rik gar bor lin sa lf vin ke ra"),
		stem: words("Ask Berg Dal Elv Fjø Gran Hav Isen Jern Kvit Lind Mose Nord Øst Skog Stein Torv Ulve " +
			"Vind Ørn Bjørke Fure Rå Løv Myr Hegg"),
		link:   words("a e er en s in un ing ar ol or ved il um und esk"),
		listed: words("haug røst vær nut brenn skår tjønn gard"), travelling: words("dalen moen strøm vang sjø lykke holt bakk"),
		particle: words("av til"),
	},
}

func words(s string) []string { return strings.Fields(s) }

// cyrillic are syllables of names in an original script.
var cyrillic = words("Аб Вел Гор Дра Ема Жи Зор Ира Кав Лю Мил Нев Ома Пел Рус Сви Тар Уль Фед Хар Цве Чер Шу Яв")

// given returns a given name.
func (s *source) given(l *language) string {
	name := s.pick(l.begin)
	if s.percent(60) {
		name += s.pick(l.middle)
	}
	return name + s.pick(l.end)
}

// surname returns a surname with a last syllable of ends.
func (s *source) surname(l *language, ends []string) string {
	name := s.pick(l.stem) + s.pick(l.link) + s.pick(ends)
	if len(l.particle) > 0 && s.percent(10) {
		if p := s.pick(l.particle); strings.HasSuffix(p, "'") {
			name = p + name
		} else {
			name = p + " " + name
		}
	}
	return name
}

// name returns given names and surname.
func (s *source) name(l *language, ends []string) string {
	name := s.given(l)
	if s.percent(35) {
		name += " " + s.given(l)
	}
	return name + " " + s.surname(l, ends)
}

// day returns a date from the years first to last.
func (s *source) day(first, last int) record.Date {
	return record.Date{Year: first + s.n(last-first+1), Month: 1 + s.n(12), Day: 1 + s.n(28)}
}

const (
	listedLetters     = "ABCDEFGHJKLM" // first letters of the documents of lists
	travellingLetters = "NPQRSTUVWXYZ" // and of travellers
)

// number returns a document number.
func (s *source) number(letters string) string {
	b := make([]byte, 9)
	b[0] = letters[s.n(len(letters))]
	for i := 1; i < len(b); i++ {
		b[i] = '0' + byte(s.n(10))
	}
	return string(b)
}

// id returns a prefix and a number of seven digits or more.
func id(prefix string, i int) string {
	var b [20]byte
	p := len(b)
	for n := i; n > 0 || p > len(b)-7; n /= 10 {
		p--
		b[p] = '0' + byte(n%10)
	}
	return prefix + string(b[p:])
}

// languageOf returns the language of a country; of one that is not ours, Utopian.
func languageOf(country string) *language {
	if l, ok := languages[country]; ok {
		return l
	}
	return languages[Utopia]
}

// neighbour returns one of the other countries.
func (s *source) neighbour(country string) string {
	for {
		if c := Countries()[s.n(3)]; c != country {
			return c
		}
	}
}

// Watchlist returns n people on the watch list of a country. Of a hundred, about
// 85 have a full date of birth, 10 a year and 5 a range of years; 80 have a
// passport or identity card; 40 have aliases. Two are marked as asylum seekers
// from a neighbour and one as a minor, so that rules have something to protect.
//
// Every record has what rules ask for: subject category, protection status, basis,
// reliability grade, nominator, criterion, last verification (in 2026), next
// review (in 2031) and state of redress. Originator and source list are left to
// whoever loads them.
func Watchlist(country string, n int, seed uint64) []record.Record {
	l := languageOf(country)
	records := make([]record.Record, n)
	for i := range records {
		records[i] = listed(country, l, seed, i)
	}
	return records
}

func listed(country string, l *language, seed uint64, i int) record.Record {
	s := newSource("list", country, seed, i)
	r := record.Record{
		ID:               id(country+"-W", i+1),
		Names:            make([]record.Name, 1, 3),
		Sex:              []string{record.SexMale, record.SexMale, record.SexFemale}[s.n(3)],
		Nationalities:    []string{country},
		SubjectCategory:  []string{"suspect", "suspect", "suspect", "convicted"}[s.n(4)],
		ProtectionStatus: "none",
		Basis:            []string{"fact", "fact", "assessment"}[s.n(3)],
		ReliabilityGrade: []string{"A1", "A2", "B2", "B3"}[s.n(4)],
		Nominator:        []string{"border-police", "state-security", "customs"}[s.n(3)],
		Criterion:        []string{"C1", "C2", "C3"}[s.n(3)],
		RedressState:     "none",
		LastVerified:     s.day(2026, 2026),
		ReviewBy:         s.day(2031, 2031),
		ListedOn:         s.day(2015, 2025),
		AlertKind:        uint8(1 + s.n(3)),
		Instruction:      uint8(1 + s.n(4)),
		Weight:           uint16(100 * (1 + s.n(10))),
	}
	r.LastVerified.Month = 1 + (r.LastVerified.Month-1)%6 // not after June
	r.Names[0] = record.Name{Text: s.name(l, l.listed), Kind: record.NamePrimary}
	if s.percent(40) {
		r.Names = append(r.Names, record.Name{Text: s.name(l, l.listed), Kind: record.NameAlias})
		if s.percent(30) {
			r.Names = append(r.Names, record.Name{Text: s.given(l), Kind: record.NameAlias, Quality: record.QualityLow})
		}
	}
	if s.percent(5) {
		text := s.pick(cyrillic) + strings.ToLower(s.pick(cyrillic)) + " " + s.pick(cyrillic) + strings.ToLower(s.pick(cyrillic)) + "ов"
		r.Names = append(r.Names, record.Name{Text: text, Kind: record.NameOriginal})
	}
	born := s.day(1945, 2004)
	switch kind := s.n(100); {
	case kind < 85:
		r.Births = []record.Birth{record.Born(born)}
	case kind < 95:
		r.Births = []record.Birth{record.Born(record.Date{Year: born.Year})}
	default:
		r.Births = []record.Birth{{From: record.Date{Year: born.Year}, To: record.Date{Year: born.Year + 1 + s.n(4)}, Approximate: true}}
	}
	if s.percent(80) {
		d := record.Document{Type: record.Passport, Issuer: country, Number: s.number(listedLetters)}
		if s.percent(15) {
			d.Type = record.IdentityCard
		}
		r.Documents = []record.Document{d}
	}
	switch special := s.n(100); {
	case special < 2:
		r.ProtectionStatus, r.CountryOfOrigin = "asylum", s.neighbour(country)
		r.Nationalities = []string{r.CountryOfOrigin}
	case special < 3:
		r.ProtectionStatus = "minor"
		r.Births = []record.Birth{record.Born(s.day(2012, 2020))}
	}
	return r
}

// Documents returns n lost or stolen documents of a country: records of one
// document and nobody's name.
func Documents(country string, n int, seed uint64) []record.Record {
	records := make([]record.Record, n)
	for i := range records {
		s := newSource("documents", country, seed, i)
		records[i] = record.Record{
			ID: id(country+"-D", i+1),
			Documents: []record.Document{{
				Type:   []record.DocumentType{record.Passport, record.Passport, record.IdentityCard, record.Visa}[s.n(4)],
				Issuer: country, Number: s.number(listedLetters),
			}},
			SubjectCategory: "other", ProtectionStatus: "none", Basis: "fact", ReliabilityGrade: "A1", Nominator: "passport-office",
			Criterion: []string{"lost", "stolen", "stolen-blank"}[s.n(3)], RedressState: "none",
			LastVerified: s.day(2026, 2026), ReviewBy: s.day(2031, 2031), ListedOn: s.day(2015, 2025),
			AlertKind: 4, Instruction: uint8(1 + s.n(2)),
		}
		records[i].LastVerified.Month = 1 + (records[i].LastVerified.Month-1)%6
	}
	return records
}

// Manifest returns n travellers. The planted records are among them, at places
// that the seed gives, as these people would be booked: in another spelling with
// the same normal form, and with a full date of birth that the record allows. If
// there are more planted records than travellers, only the first n travel.
//
// A planted traveller carries the document of the record, if it has one.
func Manifest(n int, seed uint64, planted []record.Record) []record.Subject {
	if n <= 0 {
		return nil
	}
	place := make([]int, n) // a permutation: the first places are for the planted
	for i := range place {
		place[i] = i
	}
	mix := newSource("places", "", seed, 0)
	for i := n - 1; i > 0; i-- {
		j := mix.n(i + 1)
		place[i], place[j] = place[j], place[i]
	}
	subjects := make([]record.Subject, n)
	for i := range subjects {
		country := Countries()[i%3]
		s := newSource("travellers", country, seed, i)
		l := languageOf(country)
		subjects[i] = record.Subject{
			Name:        s.booked(s.name(l, l.travelling)),
			Birth:       s.day(1940, 2024),
			Sex:         []string{record.SexMale, record.SexFemale}[s.n(2)],
			Nationality: country,
			Document:    record.Document{Type: record.Passport, Issuer: country, Number: s.number(travellingLetters)},
		}
	}
	for i := range min(n, len(planted)) {
		s := newSource("planted", "", seed, i)
		plant(s, &subjects[place[i]], &planted[i])
	}
	for i := range subjects {
		subjects[i].Ref = id("P", i+1)
	}
	return subjects
}

// plant makes a traveller of a record.
func plant(s *source, t *record.Subject, r *record.Record) {
	if len(r.Names) > 0 {
		t.Name = s.booked(r.Names[0].Text)
	}
	if len(r.Births) > 0 {
		b := r.Births[0]
		if t.Birth = b.From; !b.From.Known() {
			first, last := b.From.Year, b.To.Year
			if first == 0 {
				first = last
			}
			t.Birth = s.day(first, max(first, last))
			if b.From == b.To && b.From.Month != 0 {
				t.Birth.Month = b.From.Month
			}
		}
	}
	if r.Sex != "" {
		t.Sex = r.Sex
	}
	if len(r.Nationalities) > 0 {
		t.Nationality = r.Nationalities[0]
	}
	if len(r.Documents) > 0 {
		t.Document = r.Documents[0]
		if n := t.Document.Number; len(n) > 3 && s.percent(30) {
			t.Document.Number = n[:3] + " " + n[3:]
		}
	} else {
		t.Document.Issuer = t.Nationality
	}
}

// booked returns a name as carriers write it. The normal form is that of name.
func (s *source) booked(name string) string {
	normal, ok := record.NormalizeName(name)
	if !ok || strings.ContainsAny(name, ",<") {
		return name
	}
	cut := strings.LastIndexByte(normal, ' ')
	switch form := s.n(4); {
	case form == 0 && cut > 0: // as in a machine readable zone
		return normal[cut+1:] + "<<" + strings.ReplaceAll(normal[:cut], " ", "<")
	case form == 1 && cut > 0:
		return normal[cut+1:] + ", " + titled(normal[:cut])
	case form == 2:
		return normal
	}
	return name
}

// titled returns words in lower case with a capital first letter each.
func titled(s string) string {
	fields := strings.Fields(strings.ToLower(s))
	for i, w := range fields {
		r, size := utf8.DecodeRuneInString(w)
		fields[i] = string(unicode.ToUpper(r)) + w[size:]
	}
	return strings.Join(fields, " ")
}

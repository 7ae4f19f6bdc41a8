package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/record"
)

func TestNormalizeName(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"Anna Maria Eriksson", "ANNA MARIA ERIKSSON"},
		{"  anna\tmaria\u00a0 ERIKSSON. ", "ANNA MARIA ERIKSSON"},
		{"Jean-Luc O'Neill", "JEAN LUC ONEILL"},
		{"D’Arc", "DARC"},
		{"D´Arc", "DARC"},
		{"Müller", "MUELLER"},
		{"Mu\u0308ller", "MUELLER"},
		{"Weiß", "WEISS"},
		{"Åse Bjørnsen", "AASE BJOERNSEN"},
		{"Łukasz Żółć", "LUKASZ ZOLC"},
		{"Ñandú Çelik", "NANDU CELIK"},
		{"Þór Æsir Đoković", "THOR AESIR DOKOVIC"},
		{"Nguyễn Văn Ơ", "NGUYEN VAN O"},
		{"ıİ Şahin", "II SAHIN"},
		{"Ərəb", "EREB"},
		{"Щукин Юрий Объедков", "SHCHUKIN IURII OBIEEDKOV"},
		{"Соловьёв", "SOLOVEV"},
		{"Ґалаґан Їжак", "GALAGAN IZHAK"},
		{"Љубиша Њего Џон", "LJUBISHA NJEGO DZON"},
		{"\u0645\u062d\u0645\u062f", "MXHMD"},                                              // ICAO Doc 9303-3
		{"\u0645\u062d\u0645\u0651\u062f", "MXHMMD"},                                       // shadda doubles
		{"\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f", "MXHMMD"},                     // vowels vanish
		{"\u0641\u0627\u0637\u0645\u0629", "FAXTTMXAH"},                                    // teh marbuta at the end
		{"\u0641\u0627\u0637\u0645\u0629 \u0627", "FAXTTMXAH A"},                           // of a component
		{"\u0645\u0629\u0645", "MXTAM"},                                                    // and within
		{"\u06a9\u0631\u06cc\u0645", "XKKRXYAM"},                                           // Persian
		{"\ufee3\ufea4\ufee4\ufeaa", "MXHMD"},                                              // presentation forms
		{"\u0645\u0640\u0640\u062d\u0645\u062f", "MXHMD"},                                  // tatweel
		{"\u200f\u0645\u062d\u0645\u062f\u200e", "MXHMD"},                                  // direction marks
		{"Παπαδόπουλος", "PAPADOPOULOS"},                                                   // ELOT 743
		{"Ευάγγελος", "EVANGELOS"},                                                         //
		{"Ευτυχία Μπέης", "EFTYCHIA BEIS"},                                                 //
		{"Λαμπρινή", "LAMPRINI"},                                                           //
		{"Μαΐου Αϋφαντής", "MAIOU AYFANTIS"},                                               // diaeresis
		{"გიორგი ჭავჭავაძე", "GIORGI CHAVCHAVADZE"},                                        //
		{"\u05d3\u05d5\u05d3", "DVD"},                                                      // Hebrew
		{"\u05d3\u05b8\u05bc\u05d5\u05b4\u05d3", "DVD"},                                    // pointed
		{"ERIKSSON, Anna Maria", "ANNA MARIA ERIKSSON"},                                    //
		{"ERIKSSON， Anna", "ANNA ERIKSSON"},                                                // full width comma
		{"Anna Eriksson, Jr.", "ANNA ERIKSSON JR"},                                         //
		{"Eriksson,", "ERIKSSON"},                                                          //
		{"a, b, c", "A B C"},                                                               // more than one comma
		{"ERIKSSON<<ANNA<MARIA<<<<<<<<<<<<", "ANNA MARIA ERIKSSON"},                        //
		{"VAN<DER<BERG<<JAN", "JAN VAN DER BERG"},                                          //
		{"ARKFREITH<<<<<<<<", "ARKFREITH"},                                                 // no given name
		{"Ｅｒｉｋｓｓｏｎ", "ERIKSSON"},                                                           // full width
		{"Anna \"Nan\" Eriksson (2)", "ANNA NAN ERIKSSON"},                                 //
		{strings.Repeat("A", record.MaxNameSize), strings.Repeat("A", record.MaxNameSize)}, //
	}
	for _, tt := range tests {
		got, ok := record.NormalizeName(tt.in)
		if !ok || got != tt.want {
			t.Errorf("NormalizeName(%+q) = %q, %v, want %q", tt.in, got, ok, tt.want)
		}
		if again, ok := record.NormalizeName(got); !ok || again != got {
			t.Errorf("NormalizeName(%q) = %q, %v, want itself", got, again, ok)
		}
	}
	for _, in := range []string{"", " ", "123", "-", "<<<<", ",", "山田", "Yamada 太郎", "김", "अ", "ก", "カナ", "Jos\ufffd",
		strings.Repeat("A", record.MaxNameSize+1), strings.Repeat("-", 2000), "\xff"} {
		if got, ok := record.NormalizeName(in); ok || got != "" {
			t.Errorf("NormalizeName(%+q) = %q, %v, want nothing", in, got, ok)
		}
	}
}

func TestNormalizeDocumentNumber(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"L898902C3", "L898902C3", true},
		{"l-898 902/c3<<", "L898902C3", true},
		{"No. 12", "NO12", true},
		{"№ 12", "12", true},
		{"Ｌ８９", "L89", true},
		{"\u0661\u0662\u0663", "123", true}, // Arabic digits
		{"\u06f1\u06f2", "12", true},        // Persian digits
		{"\u0967\U0001d7ce", "10", true},    // Devanagari, and a range of five runs
		{"O0", "O0", true},
		{strings.Repeat("1", 32), strings.Repeat("1", 32), true},
		{strings.Repeat("1", 33), "", false},
		{"", "", false},
		{"-/-", "", false},
		{"Щ12", "", false},
		{"É12", "", false},
		{"1\xff", "", false},
	}
	for _, tt := range tests {
		if got, ok := record.NormalizeDocumentNumber(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("NormalizeDocumentNumber(%+q) = %q, %v, want %q, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func TestCountryCode(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"FRA", "FRA"}, {"fr", "FRA"}, {"France", "FRA"}, {"  france ", "FRA"},
		{"D", "D"}, {"D<<", "D"}, {"DEU", "D"}, {"de", "D"}, {"Germany", "D"},
		{"GBD", "GBD"}, {"UNO", "UNO"}, {"United Nations", "UNO"}, {"XXA", ""}, {"XAA", "XAA"}, {"XXB", "XXB"},
		{"EUE", "EUE"}, {"UTO", "UTO"}, {"QVA", "QVA"}, {"QNL", "QNL"}, {"QAT", "QAT"}, {"QLL", ""}, {"ZZZ", ""},
		{"United Kingdom of Great Britain and Northern Ireland", "GBR"}, {"UK", "GBR"},
		{"Iran (Islamic Republic of)", "IRN"}, {"Iran, Islamic Republic of", "IRN"},
		{"Democratic People's Republic of Korea", "PRK"}, {"Democratic People’s Republic of Korea", "PRK"},
		{"Republic of Korea", "KOR"}, {"Korea, Republic of", "KOR"}, {"Congo", "COG"},
		{"Congo, The Democratic Republic of the", "COD"}, {"Türkiye", "TUR"}, {"Turkey", "TUR"}, {"Côte d'Ivoire", "CIV"},
		{"Trinidad & Tobago", "TTO"}, {"St. Lucia", "LCA"}, {"The Gambia", "GMB"}, {"Kosovo", "RKS"}, {"XK", "RKS"},
		{"former Soviet Union", "SUN"}, {"ROM", "ROU"}, {"", ""}, {"Atlantis", ""}, {"1", ""}, {"<<<", ""},
		{strings.Repeat("a", 1000), ""},
	}
	for _, tt := range tests {
		got, ok := record.CountryCode(tt.in)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("CountryCode(%q) = %q, %v, want %q", tt.in, got, ok, tt.want)
		}
		if again, _ := record.CountryCode(got); again != got {
			t.Errorf("CountryCode(%q) = %q, want itself", got, again)
		}
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]record.Date{
		"1962-03-04": {1962, 3, 4}, "19620304": {1962, 3, 4}, "1962/03/04": {1962, 3, 4}, "1962.03.04": {1962, 3, 4},
		"1962-03": {1962, 3, 0}, "1962": {1962, 0, 0}, "1962-00-00": {1962, 0, 0}, "19620300": {1962, 3, 0},
		"2000-02-29": {2000, 2, 29},
	} {
		if got, err := record.ParseDate(in); err != nil || got != want {
			t.Errorf("ParseDate(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "62", "620304", "1962-3-4", "04-03-1962", "1962-13-01", "1962-00-04", "1900-02-29",
		"1962-02-30", "1394", "2567-01-01", "1962-03/04", "+962", "1962-03-04T00:00:00Z", "19-62-0304", "１９６２", "0000"} {
		if got, err := record.ParseDate(in); !errors.Is(err, record.ErrDate) || got != (record.Date{}) {
			t.Errorf("ParseDate(%q) = %v, %v, want ErrDate", in, got, err)
		}
	}
	today := day(2026, 11, 22)
	for in, want := range map[string]record.Date{
		"740812": {1974, 8, 12}, "261122": {2026, 11, 22}, "261123": {1926, 11, 23}, "74<<<<": {1974, 0, 0},
		"7408<<": {1974, 8, 0}, "740000": {1974, 0, 0}, "<<<<<<": {},
	} {
		if got, err := record.ParseMRZDate(in, today); err != nil || got != want {
			t.Errorf("ParseMRZDate(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "741312", "74081", "74<<12", "7x0812", "750229"} {
		if got, err := record.ParseMRZDate(in, today); !errors.Is(err, record.ErrDate) || got != (record.Date{}) {
			t.Errorf("ParseMRZDate(%q) = %v, %v, want ErrDate", in, got, err)
		}
	}
}

// testRecord is about nobody.
func testRecord() record.Record {
	return record.Record{
		ID: "r-1",
		Names: []record.Name{
			{Text: "Zyx Canarymüller", Quality: record.QualityGood, Kind: record.NamePrimary},
			{Text: "CANARYMUELLER, Zyx", Kind: record.NameAlias},
			{Text: "山田", Kind: record.NameOriginal},
		},
		Births: []record.Birth{
			record.Born(day(1962, 3, 4)),
			{From: record.Date{Year: 1961}, To: record.Date{Year: 1963}, Approximate: true},
			{From: record.Date{Year: 1900}, To: record.Date{Year: 1999}},
		},
		Documents: []record.Document{
			{Type: record.Passport, Issuer: "UTO", Number: "CANARY-1"},
			{Type: record.Passport, Number: "CANARY-2"},
			{Issuer: "UTO", Number: "CANARY-3"},
			{Type: record.Visa, Issuer: "UTO", Number: "---"},
		},
		Nationalities: []string{"UTO"},
		Remarks:       []string{"CANARY remark"},
		Source:        []record.Field{{Name: "note", Value: "CANARY note"}},
		ListedOn:      day(2020, 1, 2),
	}
}

func TestRecordKeys(t *testing.T) {
	t.Parallel()
	r := testRecord()
	keys := r.Keys()
	count := make(map[record.Class]int)
	for i, k := range keys {
		count[k.Class]++
		if len(k.Bytes) > 512 {
			t.Errorf("key %d has %d bytes, want at most 512", i, len(k.Bytes))
		}
		for j := range keys {
			if i != j && bytes.HasPrefix(keys[j].Bytes, k.Bytes) {
				t.Errorf("key %d is a prefix of key %d", i, j)
			}
		}
	}
	// Two normal forms, one full date, and the years 1900 to 1929, 1961 to 1963.
	want := map[record.Class]int{"doc": 1, "doc+dob": 1, "name+dob": 2, "name+year": 66}
	if !reflect.DeepEqual(count, want) {
		t.Errorf("keys of each class = %v, want %v", count, want)
	}
	first := "\x03doc\x00\x01\x00\x08passport\x00\x03UTO\x00\x07CANARY1"
	if got := string(keys[0].Bytes); got != first {
		t.Errorf("first key = %q, want %q", got, first)
	}
	if got, want := string(keys[2].Bytes), "\x08name+dob\x00\x01\x00\x10ZYX CANARYMULLER\x00\x0819620304"; got != want {
		t.Errorf("third key = %q, want %q", got, want)
	}
	wantGaps := []string{
		"name 3: has no form in the letters A-Z",
		"birth 3: range of 100 years, only the first 30 give keys",
		"document 2: issuing State unknown",
		"document 3: type unknown",
		"document 4: number has no normal form: want 1 to 32 letters A-Z and digits",
	}
	if got := r.Gaps(); !slices.Equal(got, wantGaps) {
		t.Errorf("Gaps = %q, want %q", got, wantGaps)
	}

	empty := record.Record{ID: "r-2", Names: []record.Name{{Text: "Zyx", Kind: record.NamePrimary}}}
	if got := empty.Keys(); len(got) != 0 {
		t.Errorf("%d keys without a year of birth, want 0", len(got))
	}
	if got := empty.Gaps(); len(got) != 1 || !strings.Contains(got[0], "no year of birth") {
		t.Errorf("Gaps = %q, want one about the year", got)
	}

	var many record.Record
	for i := range 200 {
		name := "Zyx " + string(rune('A'+i%26)) + string(rune('A'+i/26))
		many.Names = append(many.Names, record.Name{Text: name, Kind: record.NameAlias})
	}
	many.Births = []record.Birth{{From: record.Date{Year: 1950}, To: record.Date{Year: 1979}}}
	if got := len(many.Keys()); got != record.MaxKeys {
		t.Errorf("%d keys, want %d", got, record.MaxKeys)
	}
	if got := many.Gaps(); len(got) != 1 {
		t.Errorf("Gaps = %q, want one about the number of keys", got)
	}
}

func TestSubjectKeys(t *testing.T) {
	t.Parallel()
	full := record.Subject{Name: "CANARYMUELLER<<ZYX", Birth: day(1962, 3, 4),
		Document: record.Document{Type: record.Passport, Issuer: "UTO", Number: "canary 1"}}
	r := testRecord()
	listed := make(map[string]bool)
	for _, k := range r.Keys() {
		listed[string(k.Bytes)] = true
	}
	var classes []record.Class
	for _, k := range full.Keys() {
		classes = append(classes, k.Class)
		if !listed[string(k.Bytes)] {
			t.Errorf("key of class %s is not one of the record", k.Class)
		}
	}
	if !slices.Equal(classes, record.ExactClasses()) {
		t.Errorf("classes = %v, want %v", classes, record.ExactClasses())
	}
	for name, tt := range map[string]struct {
		change func(*record.Subject)
		want   []record.Class
	}{
		"year only":      {func(s *record.Subject) { s.Birth = record.Date{Year: 1962} }, []record.Class{"doc", "name+year"}},
		"no birth":       {func(s *record.Subject) { s.Birth = record.Date{} }, []record.Class{"doc"}},
		"no such day":    {func(s *record.Subject) { s.Birth.Day = 32 }, []record.Class{"doc"}},
		"no name":        {func(s *record.Subject) { s.Name = "" }, []record.Class{"doc", "doc+dob"}},
		"no State":       {func(s *record.Subject) { s.Document.Issuer = "" }, []record.Class{"name+dob", "name+year"}},
		"type not known": {func(s *record.Subject) { s.Document.Type = "card" }, []record.Class{"name+dob", "name+year"}},
		"no letters":     {func(s *record.Subject) { s.Name = "山" }, []record.Class{"doc", "doc+dob"}},
		"bare spelling":  {func(s *record.Subject) { s.Name = "Zyx Canarymuller" }, record.ExactClasses()},
	} {
		s := full
		tt.change(&s)
		var got []record.Class
		for _, k := range s.Keys() {
			got = append(got, k.Class)
			if !listed[string(k.Bytes)] {
				t.Errorf("%s: key of class %s is not one of the record", name, k.Class)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: classes = %v, want %v", name, got, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	ok := testRecord()
	if err := ok.Validate(); err != nil {
		t.Fatalf("Validate: %v", err)
	}
	for name, change := range map[string]func(*record.Record){
		"id":          func(r *record.Record) { r.ID = "" },
		"long id":     func(r *record.Record) { r.ID = strings.Repeat("x", 129) },
		"empty":       func(r *record.Record) { r.Names, r.Documents = nil, nil },
		"name":        func(r *record.Record) { r.Names[0].Text = "" },
		"name UTF-8":  func(r *record.Record) { r.Names[0].Text = "CANARY\xff" },
		"quality":     func(r *record.Record) { r.Names[0].Quality = "CANARY" },
		"kind":        func(r *record.Record) { r.Names[0].Kind = "CANARY" },
		"day":         func(r *record.Record) { r.Births[0].To.Day = 32 },
		"no birth":    func(r *record.Record) { r.Births[0] = record.Birth{} },
		"range":       func(r *record.Record) { r.Births[1].To.Year = 1960 },
		"type":        func(r *record.Record) { r.Documents[0].Type = "CANARY" },
		"issuer":      func(r *record.Record) { r.Documents[0].Issuer = "Utopia" },
		"nationality": func(r *record.Record) { r.Nationalities = []string{""} },
		"sex":         func(r *record.Record) { r.Sex = "CANARY" },
		"many":        func(r *record.Record) { r.Names = make([]record.Name, record.MaxNames+1) },
		"remark":      func(r *record.Record) { r.Remarks = []string{strings.Repeat("CANARY", 9999)} },
		"source":      func(r *record.Record) { r.Source = make([]record.Field, record.MaxLines+1) },
		"criterion":   func(r *record.Record) { r.Criterion = strings.Repeat("CANARY", 99) },
		"origin":      func(r *record.Record) { r.CountryOfOrigin = "CANARY" },
		"review":      func(r *record.Record) { r.ReviewBy.Month = 1 },
	} {
		r := testRecord()
		change(&r)
		err := r.Validate()
		if !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%s: Validate = %v, want ErrInvalid", name, err)
		} else if strings.Contains(strings.ToUpper(err.Error()), "CANARY") {
			t.Errorf("%s: the error repeats content", name)
		}
	}
	s := record.Subject{Name: "Zyx"}
	if err := s.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	for name, s := range map[string]record.Subject{
		"empty":       {},
		"date":        {Name: "Zyx", Birth: record.Date{Day: 1}},
		"nationality": {Name: "Zyx", Nationality: "CANARY"},
		"document":    {Document: record.Document{Type: "CANARY", Number: "1"}},
		"reference":   {Name: "Zyx", Ref: strings.Repeat("CANARY", 99)},
		"sex":         {Name: "Zyx", Sex: "CANARY"},
	} {
		err := s.Validate()
		if !errors.Is(err, record.ErrInvalid) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: Validate = %v, want ErrInvalid without content", name, err)
		}
	}
}

// TestJSON fixes the encoding, because stores hold it.
func TestJSON(t *testing.T) {
	t.Parallel()
	r := testRecord()
	r.Names, r.Births, r.Documents = r.Names[:1], r.Births[:2], r.Documents[:1]
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"r-1","names":[{"text":"Zyx Canarymüller","quality":"good","kind":"primary"}],` +
		`"births":[{"from":"1962-03-04","to":"1962-03-04"},{"from":"1961","to":"1963","approximate":true}],` +
		`"documents":[{"type":"passport","issuer":"UTO","number":"CANARY-1"}],"nationalities":["UTO"],` +
		`"remarks":["CANARY remark"],"source":[{"name":"note","value":"CANARY note"}],"listed_on":"2020-01-02"}`
	if string(got) != want {
		t.Errorf("JSON = %s, want %s", got, want)
	}
	var again record.Record
	if err := json.Unmarshal(got, &again); err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("Unmarshal gives another record, error %v", err)
	}
}

// TestPrint looks for personal data in every way to print a value.
func TestPrint(t *testing.T) {
	t.Parallel()
	r := testRecord()
	s := record.Subject{Name: "CANARY", Ref: "CANARY", Document: r.Documents[0]}
	var out bytes.Buffer
	text, js := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{
		r, &r, s, &s, r.Names[0], &r.Names[0], r.Births[0], r.Documents[0], r.Source[0], r.Keys()[0],
	} {
		text.Info("x", "v", v)
		js.Info("x", "v", v)
		in := struct{ V any }{v}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
			fmt.Fprintf(&out, verb+"\n", in)
			fmt.Fprintf(&out, verb+"\n", []any{v})
		}
		fmt.Fprintln(&out, v)
	}
	fmt.Fprintf(&out, "%v %+v %v\n", []record.Record{r}, map[string]record.Subject{"a": s}, r.Keys())
	got := strings.ToUpper(out.String())
	for _, canary := range []string{"CANARY", "ZYX", "1962", fmt.Sprintf("%X", "Canary"), fmt.Sprintf("%X", "CANARY")} {
		if strings.Contains(got, canary) {
			t.Errorf("printed %q", canary)
		}
	}
}

func FuzzNormalizeName(f *testing.F) {
	for _, s := range []string{"Anna Maria", "ERIKSSON<<ANNA", "a,b", "Müller", "\u0645\u062d\u0645\u0651\u062f", "Ευάγγελος", "Щ", "´", "ŉ", "ǆ", "ﷲ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := record.NormalizeName(s)
		if !ok {
			if got != "" {
				t.Errorf("%q without ok", got)
			}
			return
		}
		if got == "" || len(got) > record.MaxNameSize {
			t.Errorf("%d bytes", len(got))
		}
		for i := range len(got) {
			space := got[i] == ' ' && i > 0 && i < len(got)-1 && got[i-1] != ' '
			if !space && (got[i] < 'A' || got[i] > 'Z') {
				t.Errorf("NormalizeName(%q) = %q", s, got)
			}
		}
		if again, ok := record.NormalizeName(got); !ok || again != got {
			t.Errorf("NormalizeName(%q) = %q, %v, want itself", got, again, ok)
		}
	})
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"1962-03-04", "19620304", "1962-03", "1962", "1962.00.00", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := record.ParseDate(s)
		if err != nil {
			if d != (record.Date{}) {
				t.Error("a date with an error")
			}
			return
		}
		if err := d.Validate(); err != nil {
			t.Errorf("ParseDate(%q) = %v: %v", s, d, err)
		}
		if again, err := record.ParseDate(d.String()); err != nil || again != d {
			t.Errorf("ParseDate(%q) = %v, %v, want %v", d, again, err, d)
		}
	})
}

func FuzzNormalizeDocumentNumber(f *testing.F) {
	f.Add("L-898 902/c3")
	f.Add("\u0661")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := record.NormalizeDocumentNumber(s)
		if again, ok2 := record.NormalizeDocumentNumber(n); ok2 != ok || again != n {
			t.Errorf("NormalizeDocumentNumber(%q) = %q, %v", n, again, ok2)
		}
	})
}

func BenchmarkKeys(b *testing.B) {
	r := testRecord()
	r.Births = r.Births[:1]
	b.ReportAllocs()
	for b.Loop() {
		r.Keys()
	}
}

// day returns a full date.
func day(year, month, day int) record.Date { return record.Date{Year: year, Month: month, Day: day} }

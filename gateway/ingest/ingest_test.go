package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/passerelle/passerelle/gateway/ingest"
	"github.com/passerelle/passerelle/gateway/record"
)

// The people below do not exist. CANARY marks what no report may repeat.

func watchlist(t *testing.T, f ingest.Format, s string) ([]record.Record, ingest.Report) {
	t.Helper()
	records, report, err := ingest.Watchlist(t.Context(), "list", strings.NewReader(s), f, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Read != report.Accepted+len(report.Rejected) || report.Accepted != len(records) {
		t.Errorf("read %d, accepted %d, rejected %d, returned %d", report.Read, report.Accepted, len(report.Rejected), len(records))
	}
	return records, report
}

func reasons(list []ingest.Rejection) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.String())
	}
	return out
}

func TestDetectFormat(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, head string
		want       ingest.Format
	}{
		{"a.csv", "x", ingest.FormatCSV},
		{"a", "name,dob\n", ingest.FormatCSV},
		{"a.xml", "\ufeff<?xml version='1.0'?>\n<CONSOLIDATED_LIST>", ingest.FormatUN},
		{"a.csv", "{\"name\":", ingest.FormatJSONL},
		{"a.xml", "<html>", ""},
		{"a.json", "[{}]", ""},
		{"a.csv", "", ""},
		{"a.csv", "\xff\xfen\x00", ""},
		{"a.bin", "what", ""},
	}
	for _, tt := range tests {
		got, err := ingest.DetectFormat(tt.name, []byte(tt.head))
		if got != tt.want || (tt.want == "") != errors.Is(err, ingest.ErrFormat) {
			t.Errorf("DetectFormat(%q, %q) = %q, %v, want %q", tt.name, tt.head, got, err, tt.want)
		}
	}
	for _, f := range ingest.Formats() {
		if got, err := ingest.ParseFormat(string(f)); got != f || err != nil {
			t.Errorf("ParseFormat(%q) = %q, %v", f, got, err)
		}
	}
	if _, err := ingest.ParseFormat("CANARY"); !errors.Is(err, ingest.ErrFormat) || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("ParseFormat = %v, want ErrFormat", err)
	}
}

// TestCSVDialects reads the same row in every dialect.
func TestCSVDialects(t *testing.T) {
	t.Parallel()
	want := record.Record{ID: "1", Names: []record.Name{{Text: "Ana Quill", Kind: record.NamePrimary}},
		Births:        []record.Birth{record.Born(record.Date{Year: 1962, Month: 3, Day: 4})},
		Documents:     []record.Document{{Type: record.Passport, Issuer: "UTO", Number: "U12"}},
		Nationalities: []string{"UTO"}, Sex: "F"}
	for _, s := range []string{
		"id,name,dob,sex,nationality,document_type,document_issuer,document_number\n1,Ana Quill,1962-03-04,F,UTO,P,UTO,U12\n",
		"\ufeffID;Full Name;Date of Birth;Gender;Nationality;Doc Type;Issuing State;Document No.\r\n1;Ana  Quill;19620304;female;utopia;passport;Utopia;U12\r\n",
		"documentcountry\tdocumenttype\tdocumentnumber\tcoc\tfirstname\tlastname\tuid\tSEX\tBirth_Date\nUTO\tP\tU12\tUTO\tAna\tQuill\t1\tf\t4 Mar 1962",
		"sep=;\nid;nom;prénom;sexe;date de naissance;nationalité;passport;issuing country\n1;Quill;Ana;féminin;1962/03/04;UTO;U12;UTO\n",
		`id,name,dob,sex,nationality,"document_type",document_issuer,document_number` + "\n\n" + `"1","Ana Quill","1962-03-04T00:00:00Z","F","UTO","P","UTO","U12"` + "\n   \n",
	} {
		records, report := watchlist(t, ingest.FormatCSV, s)
		if len(records) != 1 || !reflect.DeepEqual(records[0], want) || len(report.Notes) != 0 && !strings.Contains(s, "passport;") {
			t.Errorf("%.20q: %d records, rejected %v, notes %v", s, len(records), reasons(report.Rejected), reasons(report.Notes))
		}
	}
}

func TestCSVRecord(t *testing.T) {
	t.Parallel()
	const s = `name,given_name,aliases,weak aliases,original script,dob,yob,birth from,birth to,place of birth,address,title,remarks,` +
		`list,originator,nominator,criterion,category,protection,country of origin,basis,reliability,last verified,review by,` +
		`listed on,redress,alert kind,instruction,weight,nationality,nationality,national id,national id issuer,Eye colour,sex` + "\n" +
		`"Quill, Ana",Ana,A Quill;Annie|Q,Quilly,Ана,1962-03-04;1963,,1960,1964-05,Port Utopia,1 Quay,Dr,said nothing,` +
		`L1,O,N,C,suspect,none,UTO,B,A1,2026-01-02,2027-01-02,` +
		`2020-02-03,open,3,4,500,QVA;QNL,Nowhere,N-77,UTO,green,-` + "\n"
	records, report := watchlist(t, ingest.FormatCSV, s)
	if len(records) != 1 {
		t.Fatalf("rejected: %v", reasons(report.Rejected))
	}
	r := records[0]
	if !strings.HasPrefix(r.ID, "c-") || len(r.ID) != 34 {
		t.Errorf("id = %q, want one of the content", r.ID)
	}
	r.ID = ""
	want := record.Record{
		Names: []record.Name{{Text: "Quill, Ana", Kind: "primary"}, {Text: "A Quill", Kind: "alias"}, {Text: "Annie", Kind: "alias"},
			{Text: "Q", Kind: "alias"}, {Text: "Quilly", Kind: "alias", Quality: "low"}, {Text: "Ана", Kind: "original-script"}},
		Births: []record.Birth{record.Born(record.Date{Year: 1962, Month: 3, Day: 4}), record.Born(record.Date{Year: 1963}),
			{From: record.Date{Year: 1960}, To: record.Date{Year: 1964, Month: 5}, Approximate: true}},
		Documents:     []record.Document{{Type: "national-id", Issuer: "UTO", Number: "N-77"}},
		Nationalities: []string{"QVA", "QNL"}, PlacesOfBirth: []string{"Port Utopia"}, Addresses: []string{"1 Quay"},
		Titles: []string{"Dr"}, Remarks: []string{"said nothing"},
		Source:     []record.Field{{Name: "nationality", Value: "Nowhere"}, {Name: "given_name", Value: "Ana"}, {Name: "Eye colour", Value: "green"}},
		SourceList: "L1", Originator: "O", Nominator: "N", Criterion: "C", SubjectCategory: "suspect", ProtectionStatus: "none",
		CountryOfOrigin: "UTO", Basis: "B", ReliabilityGrade: "A1", LastVerified: record.Date{Year: 2026, Month: 1, Day: 2},
		ReviewBy: record.Date{Year: 2027, Month: 1, Day: 2}, ListedOn: record.Date{Year: 2020, Month: 2, Day: 3},
		RedressState: "open", AlertKind: 3, Instruction: 4, Weight: 500,
	}
	if !reflect.DeepEqual(r, want) {
		got, exp := reflect.ValueOf(r), reflect.ValueOf(want)
		for i := range got.NumField() {
			if !reflect.DeepEqual(got.Field(i).Interface(), exp.Field(i).Interface()) {
				t.Errorf("field %s differs", got.Type().Field(i).Name)
			}
		}
	}
	wantNotes := []string{
		"list: columns without a known heading, not used for lookup: 34",
		"list:2: column 31: nationality is not known; use a code of three letters",
	}
	if got := reasons(report.Notes); !slices.Equal(got, wantNotes) {
		t.Errorf("notes = %q, want %q", got, wantNotes)
	}
}

// TestCSVRows has one bad row of every kind, and good ones between them.
func TestCSVRows(t *testing.T) {
	t.Parallel()
	const heads = "id,name,dob,document_type,document_issuer,document_number,country_of_origin,weight,sex\n"
	rows := []struct{ row, want, note string }{
		{"1,Ana Quill,1962-03-04,P,UTO,U1,,,", "", ""},
		{"1,CANARY,1962-03-04,P,UTO,U2,,,", "list:3: id is used in line 2 already", ""},
		{"3,CANARY,04/03/1962,P,UTO,U3,,,", "list:4: column 3 (date_of_birth): not a date; use YYYY-MM-DD, or YYYY if only the year is known", ""},
		{"4,CANARY,1962-02-31,P,UTO,U4,,,", "", "list:5: column 3 (date_of_birth): no such day; only the year is used"},
		{"5,CANARY,1962", "list:6: 3 fields, but 9 headings: a separator inside a field must be in quotes", ""},
		{"6,,1962,,,,,,", "list:7: neither a name nor a document number", ""},
		{"7,CANARY,1962,P,CANARYLAND,U7,,,", "", "list:8: column 5: issuing State is not known; use a code of three letters"},
		{"8,CANARY,1962,CANARYTYPE,UTO,U8,,,", "", "list:9: column 4: type of document is not known, taken as \"other\""},
		{"9,CANARY,1962,,UTO,U9,,,", "", "list:10: no type of document: taken to be a passport"},
		{"10,CANARY,1962,P,UTO,U10,CANARYLAND,,", "list:11: column 7 (country_of_origin): not a country; use a code of three letters", ""},
		{"11,CANARY,1962,P,UTO,U11,,65536,", "list:12: column 8 (weight): not a number from 0 to 65535", ""},
		{"12,CANARY \"x\" y,1962,P,UTO,U12,,,", "list:13: a quote is not where CSV allows one", ""},
		{"13,CANARY,1962,P,UTO,U13,,,CANARY", "", "list:14: column 9: sex is not known; use M, F or X"},
		{strings.Repeat("c", 200) + ",CANARY,1962,P,UTO,U14,,,", "list:15: id is longer than 128 bytes", ""},
		{"15," + strings.Repeat("CANARY", 2000) + ",1962,P,UTO,U15,,,", "list:16: column 2 is longer than 8192 bytes", ""},
		{"16,山,1962,P,UTO,U16,,,", "", "list:17: name 1: has no form in the letters A-Z"},
		{"17,Last Row,1970,P,UTO,U17,,,F", "", ""},
	}
	var in strings.Builder
	in.WriteString(heads)
	var wantRejected, wantNotes []string
	accepted := 0
	for _, r := range rows {
		in.WriteString(r.row + "\n")
		if r.want != "" {
			wantRejected = append(wantRejected, r.want)
		} else {
			accepted++
		}
		if r.note != "" {
			wantNotes = append(wantNotes, r.note)
		}
	}
	records, report := watchlist(t, ingest.FormatCSV, in.String())
	if len(records) != accepted {
		t.Errorf("%d records, want %d", len(records), accepted)
	}
	if got := reasons(report.Rejected); !slices.Equal(got, wantRejected) {
		t.Errorf("rejected\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantRejected, "\n"))
	}
	got := reasons(report.Notes)
	for _, w := range wantNotes {
		if !slices.Contains(got, w) {
			t.Errorf("no note %q in %q", w, got)
		}
	}
	if s := fmt.Sprintf("%+v", report); strings.Contains(s, "CANARY") {
		t.Error("the report repeats content")
	}
}

// TestContentID checks that an id depends neither on order nor on spelling.
func TestContentID(t *testing.T) {
	t.Parallel()
	a, _ := watchlist(t, ingest.FormatCSV, "name,dob\nAna Quill,1962\nBo Reed,1970\n")
	b, _ := watchlist(t, ingest.FormatCSV, "dob;surname;given name\n1970;REED;Bo\n1962;quill;ANA\n")
	if a[0].ID != b[1].ID || a[1].ID != b[0].ID || a[0].ID == a[1].ID {
		t.Error("ids depend on the order of rows or on spelling")
	}
	_, report := watchlist(t, ingest.FormatCSV, "name,dob\nAna Quill,1962\nana quill,1962\n")
	want := []string{"list:3: same person and documents as line 2: merge the rows, or give each an id"}
	if got := reasons(report.Rejected); !slices.Equal(got, want) {
		t.Errorf("rejected %q, want %q", got, want)
	}
}

func TestUnusableFiles(t *testing.T) {
	t.Parallel()
	un := func(s string) string {
		return "<CONSOLIDATED_LIST><INDIVIDUALS>" + s + "</INDIVIDUALS></CONSOLIDATED_LIST>"
	}
	tests := []struct {
		name   string
		format ingest.Format
		in     string
		want   error
		text   string
	}{
		{"empty", ingest.FormatCSV, "", ingest.ErrFile, "empty"},
		{"no headings", ingest.FormatCSV, "CANARY,1962-03-04\n", ingest.ErrFile, "line 1 has no heading"},
		{"headings twice", ingest.FormatCSV, "name,dob,date of birth\n", ingest.ErrFile, "columns 2 and 3"},
		{"latin 1", ingest.FormatCSV, "name,dob\nCANARY,1962\nCANARY\xe9,1962\n", ingest.ErrFile, "line 3 is not UTF-8"},
		{"cut rune", ingest.FormatCSV, "name,dob\nCANARY\xc3", ingest.ErrFile, "line 2 is not UTF-8"},
		{"NUL", ingest.FormatCSV, "name,dob\nCANARY\x00,1\n", ingest.ErrFile, "line 2 is not UTF-8"},
		{"utf-16", ingest.FormatCSV, "\xff\xfen\x00a\x00", ingest.ErrFile, "UTF-16"},
		{"open quote", ingest.FormatCSV, "name,dob\n\"CANARY,1\n" + strings.Repeat("CANARY,1\n", 100000), ingest.ErrFile, "quote that is not closed"},
		{"columns", ingest.FormatCSV, "name" + strings.Repeat(",a", 300) + "\n", ingest.ErrFile, "columns"},
		{"json utf-8", ingest.FormatJSONL, "{\"name\":\"CANARY\xe9\"}\n", ingest.ErrFile, "UTF-8"},
		{"rejections", ingest.FormatJSONL, strings.Repeat("CANARY\n", ingest.MaxRejections+1), ingest.ErrFile, "more than"},
		{"empty xml", ingest.FormatUN, "", ingest.ErrFile, "empty"},
		{"other xml", ingest.FormatUN, "<CANARY/>", ingest.ErrFile, "not the UN"},
		{"no person", ingest.FormatUN, un(""), ingest.ErrFile, "no INDIVIDUAL"},
		{"broken", ingest.FormatUN, un("<INDIVIDUAL><CANARY></INDIVIDUAL>"), ingest.ErrFile, "line 1 is not well-formed"},
		{"cut", ingest.FormatUN, "<CONSOLIDATED_LIST>\n<INDIVIDUAL><CANARY>", ingest.ErrFile, "line 2 is not well-formed"},
		{"entity", ingest.FormatUN, un("<INDIVIDUAL><FIRST_NAME>&CANARY;</FIRST_NAME></INDIVIDUAL>"), ingest.ErrFile, "well-formed"},
		{"doctype", ingest.FormatUN, `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///CANARY">]>` + un(""), ingest.ErrFile, "document type"},
		{"encoding", ingest.FormatUN, `<?xml version="1.0" encoding="ISO-8859-1"?>` + un(""), ingest.ErrFile, "UTF-8"},
		{"deep", ingest.FormatUN, un("<INDIVIDUAL>" + strings.Repeat("<A>", 100) + strings.Repeat("</A>", 100) + "</INDIVIDUAL>"), ingest.ErrFile, "deeper"},
		{"deep outside", ingest.FormatUN, un(strings.Repeat("<A>", 100) + strings.Repeat("</A>", 100)), ingest.ErrFile, "deeper"},
		{"long token", ingest.FormatUN, un("<INDIVIDUAL><A>" + strings.Repeat("CANARY ", 100000) + "</A></INDIVIDUAL>"), ingest.ErrFile, "longer"},
		{"format", "CANARY", "", ingest.ErrFormat, "format"},
	}
	for _, tt := range tests {
		records, _, err := ingest.Watchlist(t.Context(), "x", strings.NewReader(tt.in), tt.format, ingest.Options{})
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: error = %v, want %v with %q", tt.name, err, tt.want, tt.text)
		}
		if records != nil {
			t.Errorf("%s: %d records with an error", tt.name, len(records))
		}
	}
	if _, _, err := ingest.Manifest(t.Context(), "x", strings.NewReader(""), ingest.FormatUN); !errors.Is(err, ingest.ErrFormat) {
		t.Errorf("a list as a manifest: error = %v, want ErrFormat", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for f, in := range map[ingest.Format]string{ingest.FormatCSV: "name\nx\n", ingest.FormatUN: un("<INDIVIDUAL/>"),
		ingest.FormatJSONL: strings.Repeat("\n", 300)} {
		if _, _, err := ingest.Watchlist(ctx, "x", strings.NewReader(in), f, ingest.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error = %v, want context.Canceled", f, err)
		}
		broken := io.MultiReader(strings.NewReader(in), iotest.ErrReader(io.ErrClosedPipe))
		if _, _, err := ingest.Watchlist(t.Context(), "x", broken, f, ingest.Options{}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: error = %v, want that of the reader", f, err)
		}
	}
}

// TestSmallReads splits the input between all bytes, also within runes.
func TestSmallReads(t *testing.T) {
	t.Parallel()
	const in = "\ufeffname;dob\nÅse Øre 山;1962\n"
	records, _, err := ingest.Watchlist(t.Context(), "x", iotest.OneByteReader(strings.NewReader(in)), ingest.FormatCSV, ingest.Options{})
	if err != nil || len(records) != 1 || records[0].Names[0].Text != "Åse Øre 山" {
		t.Errorf("%d records, error %v", len(records), err)
	}
}

func TestJSONL(t *testing.T) {
	t.Parallel()
	const in = `{"id":"1","name":"Ana Quill","dob":1962,"aliases":["A","B"],"document":{"type":"passport","issuer":"UTO","number":"U1"},"x":[1,true]}

{"id":"2","names":[{"text":"Bo","kind":"primary"}],"births":[{"from":"1970","to":"1970"}]}
{"id":"3","names":[{"text":"CANARY","kind":"CANARY"}]}
{"id":"4","names":[{"text":"CANARY","kind":"primary"}],"CANARY":1}
{"id":"5","name":"CANARY","dob":{"a":1}}
{"id":"6","name":{"CANARY":{}}}
{"id":"7","name":["CANARY","b"]}
{"id":"8","name":"CANARY","full name":"CANARY"}
["CANARY"]
{"id":"9","name":"CANARY"} {}
{"id":"1","name":"CANARY"}
{"id":"10","name":"Cy","dob":"1980-01-02","document_number":"U2","issuing_state":"UTO"}`
	records, report := watchlist(t, ingest.FormatJSONL, in)
	if len(records) != 4 {
		t.Errorf("%d records, want 4", len(records))
	}
	want := []string{
		"list:4: name 1 has an unknown kind",
		"list:5: not a record: a field is not known, or has a value of the wrong type or an impossible date",
		"list:7: a field is neither a text, a number nor a list of them",
		"list:8: field name has more than one value",
		"list:9: field name is there twice, under two spellings",
		"list:10: not one JSON object",
		"list:11: not one JSON object",
		"list:12: id is used in line 1 already",
	}
	got := reasons(report.Rejected)
	if !slices.Equal(got, want) {
		t.Errorf("rejected\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(fmt.Sprintf("%+v", report), "CANARY") {
		t.Error("the report repeats content")
	}
	if len(records) == 4 {
		if r := records[0]; len(r.Names) != 3 || len(r.Births) != 1 || len(r.Documents) != 1 || len(r.Source) != 2 {
			t.Errorf("first record: %d names, %d births, %d documents, %d source fields", len(r.Names), len(r.Births), len(r.Documents), len(r.Source))
		}
	}

	long := `{"name":"` + strings.Repeat("CANARY", 100000) + "\"}\n" + `{"name":"Ana","dob":"1962"}`
	records, report = watchlist(t, ingest.FormatJSONL, long)
	if len(records) != 1 || len(report.Rejected) != 1 || report.Rejected[0].Line != 1 {
		t.Errorf("after a long line: %d records, rejected %v", len(records), reasons(report.Rejected))
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	const in = "reference,surname,given names,dob,gender,nationality,document type,issuing state,document number\n" +
		"A1,Quill,Ana Bo,1962-03-04,F,utopia,P,UTO,U1\n" +
		",Reed,,1974-01-32,,,,,\n" +
		",,,,,,V,UTO,V1\n" +
		",CANARY,,,,,,,\n" +
		",CANARY,,soon,,,,,\n" +
		",,,1970,,,,,\n"
	subjects, report, err := ingest.Manifest(t.Context(), "m", strings.NewReader(in), ingest.FormatCSV)
	if err != nil {
		t.Fatal(err)
	}
	want := []record.Subject{
		{Name: "Ana Bo Quill", Birth: record.Date{Year: 1962, Month: 3, Day: 4}, Sex: "F", Nationality: "UTO", Ref: "A1",
			Document: record.Document{Type: record.Passport, Issuer: "UTO", Number: "U1"}},
		{Name: "Reed", Birth: record.Date{Year: 1974}, Ref: "line 3"},
		{Document: record.Document{Type: record.Visa, Issuer: "UTO", Number: "V1"}, Ref: "line 4"},
		{Name: "CANARY", Ref: "line 5"},
	}
	if !reflect.DeepEqual(subjects, want) {
		t.Errorf("%d subjects, not those wanted", len(subjects))
	}
	wantRejected := []string{
		"m:6: column 4 (date_of_birth): not a date; use YYYY-MM-DD, or YYYY if only the year is known",
		"m:7: neither a name nor a document number",
	}
	if got := reasons(report.Rejected); !slices.Equal(got, wantRejected) {
		t.Errorf("rejected %q, want %q", got, wantRejected)
	}
	wantNotes := []string{
		"m:3: column 4 (date_of_birth): no such day; only the year is used",
		"m:5: gives no lookup key: needs a document with its issuing State, or a name in letters and a year of birth",
	}
	if got := reasons(report.Notes); !slices.Equal(got, wantNotes) {
		t.Errorf("notes %q, want %q", got, wantNotes)
	}
	if strings.Contains(fmt.Sprintf("%+v", report), "CANARY") {
		t.Error("the report repeats content")
	}

	subjects, _, err = ingest.Manifest(t.Context(), "m", strings.NewReader(
		`{"ref":"A1","name":"QUILL<<ANA<BO","birth":"1962-03-04","document":{"type":"passport","issuer":"UTO","number":"U1"}}`+"\n"+
			`{"national_id":"77","national_id_issuer":"UTO"}`), ingest.FormatJSONL)
	if err != nil || len(subjects) != 2 || len(subjects[0].Keys()) != 4 || len(subjects[1].Keys()) != 1 {
		t.Errorf("JSON lines: %d subjects, error %v", len(subjects), err)
	}
}

func TestDateOrder(t *testing.T) {
	t.Parallel()
	for order, want := range map[ingest.DateOrder]record.Date{
		ingest.DateOrderDMY: {Year: 1962, Month: 4, Day: 3}, ingest.DateOrderMDY: {Year: 1962, Month: 3, Day: 4},
	} {
		for _, s := range []string{"03/04/1962", "3.4.1962", "03-04-1962"} {
			records, report, err := ingest.Watchlist(t.Context(), "x", strings.NewReader("name,dob\nAna,"+s+"\n"),
				ingest.FormatCSV, ingest.Options{DateOrder: order, SourceList: "L", Originator: "O"})
			if err != nil || len(records) != 1 || records[0].Births[0].From != want {
				t.Errorf("%s in %s: error %v, rejected %v", s, order, err, reasons(report.Rejected))
			} else if records[0].SourceList != "L" || records[0].Originator != "O" {
				t.Error("options are not in the record")
			}
		}
	}
}

// unSample has the shapes of the UN list that matter, about nobody.
const unSample = `<?xml version="1.0" encoding="UTF-8"?>
<CONSOLIDATED_LIST dateGenerated="2026-01-01T00:00:00Z">
<INDIVIDUALS>
<INDIVIDUAL>
  <DATAID>1</DATAID><VERSIONNUM>2</VERSIONNUM>
  <FIRST_NAME>ANA</FIRST_NAME><SECOND_NAME>BO</SECOND_NAME><THIRD_NAME/><FOURTH_NAME>QUILL</FOURTH_NAME>
  <UN_LIST_TYPE>Utopia</UN_LIST_TYPE><REFERENCE_NUMBER>UTi.001</REFERENCE_NUMBER><LISTED_ON>2001-01-25-05:00</LISTED_ON>
  <GENDER>Female</GENDER><NAME_ORIGINAL_SCRIPT>Ана Куилл</NAME_ORIGINAL_SCRIPT>
  <COMMENTS1>A remark &amp; more.</COMMENTS1>
  <TITLE><VALUE>Dr</VALUE><VALUE>Captain</VALUE></TITLE><DESIGNATION><VALUE>Clerk</VALUE></DESIGNATION>
  <NATIONALITY><VALUE>Utopia</VALUE></NATIONALITY><NATIONALITY><VALUE>na</VALUE></NATIONALITY>
  <LIST_TYPE><VALUE>UN List</VALUE></LIST_TYPE>
  <INDIVIDUAL_ALIAS><QUALITY>Good</QUALITY><ALIAS_NAME>Annie Quill; Bo Quill</ALIAS_NAME><DATE_OF_BIRTH>1959-01-01</DATE_OF_BIRTH><NOTE>used once</NOTE></INDIVIDUAL_ALIAS>
  <INDIVIDUAL_ALIAS><QUALITY>Low</QUALITY><ALIAS_NAME>Q</ALIAS_NAME></INDIVIDUAL_ALIAS>
  <INDIVIDUAL_ALIAS><QUALITY/><ALIAS_NAME/></INDIVIDUAL_ALIAS>
  <INDIVIDUAL_DATE_OF_BIRTH><TYPE_OF_DATE>EXACT</TYPE_OF_DATE><DATE>1962-03-04</DATE></INDIVIDUAL_DATE_OF_BIRTH>
  <INDIVIDUAL_DATE_OF_BIRTH><TYPE_OF_DATE>APPROXIMATELY</TYPE_OF_DATE><YEAR>1961</YEAR></INDIVIDUAL_DATE_OF_BIRTH>
  <INDIVIDUAL_DATE_OF_BIRTH><TYPE_OF_DATE>BETWEEN</TYPE_OF_DATE><FROM_YEAR>1955</FROM_YEAR><TO_YEAR>1957</TO_YEAR><NOTE>between</NOTE></INDIVIDUAL_DATE_OF_BIRTH>
  <INDIVIDUAL_DATE_OF_BIRTH><TYPE_OF_DATE>EXACT</TYPE_OF_DATE><NOTE>Approximately 1970</NOTE></INDIVIDUAL_DATE_OF_BIRTH>
  <INDIVIDUAL_PLACE_OF_BIRTH><CITY>Port</CITY><COUNTRY>Utopia</COUNTRY></INDIVIDUAL_PLACE_OF_BIRTH>
  <INDIVIDUAL_ADDRESS><STREET>1 Quay</STREET><COUNTRY>Utopia</COUNTRY><NOTE>until 1999</NOTE></INDIVIDUAL_ADDRESS>
  <INDIVIDUAL_DOCUMENT><TYPE_OF_DOCUMENT>Numéro de passeport</TYPE_OF_DOCUMENT><NUMBER>U 12; Utopian passport number U13 (issued in 1999)</NUMBER><ISSUING_COUNTRY>Utopia</ISSUING_COUNTRY></INDIVIDUAL_DOCUMENT>
  <INDIVIDUAL_DOCUMENT><TYPE_OF_DOCUMENT>National Identification
     Number</TYPE_OF_DOCUMENT><NUMBER>77-8</NUMBER><COUNTRY_OF_ISSUE>Utopia</COUNTRY_OF_ISSUE><DATE_OF_ISSUE>1999-01-01</DATE_OF_ISSUE></INDIVIDUAL_DOCUMENT>
  <INDIVIDUAL_DOCUMENT><TYPE_OF_DOCUMENT>Passport</TYPE_OF_DOCUMENT><NUMBER>V1</NUMBER></INDIVIDUAL_DOCUMENT>
  <INDIVIDUAL_DOCUMENT><TYPE_OF_DOCUMENT2>Ration card</TYPE_OF_DOCUMENT2><NUMBER>R1</NUMBER><ISSUING_COUNTRY>Utopia</ISSUING_COUNTRY></INDIVIDUAL_DOCUMENT>
  <INDIVIDUAL_DOCUMENT/>
  <SORT_KEY/><NEW_THING><PART>kept</PART></NEW_THING>
</INDIVIDUAL>
<INDIVIDUAL><FIRST_NAME>CANARY</FIRST_NAME><REFERENCE_NUMBER>UTi.001</REFERENCE_NUMBER></INDIVIDUAL>
</INDIVIDUALS>
<ENTITIES><ENTITY><FIRST_NAME>CANARY COMPANY</FIRST_NAME></ENTITY></ENTITIES>
</CONSOLIDATED_LIST>`

func TestUNSample(t *testing.T) {
	t.Parallel()
	records, report := watchlist(t, ingest.FormatUN, unSample)
	if len(records) != 1 || report.NotPersons != 1 {
		t.Fatalf("%d records, %d not persons, rejected %v", len(records), report.NotPersons, reasons(report.Rejected))
	}
	want := record.Record{
		ID: "UTi.001",
		Names: []record.Name{{Text: "ANA BO QUILL", Kind: "primary"}, {Text: "Annie Quill", Kind: "alias", Quality: "good"},
			{Text: "Bo Quill", Kind: "alias", Quality: "good"}, {Text: "Q", Kind: "alias", Quality: "low"},
			{Text: "Ана Куилл", Kind: "original-script"}},
		Births: []record.Birth{record.Born(record.Date{Year: 1959, Month: 1, Day: 1}), record.Born(record.Date{Year: 1962, Month: 3, Day: 4}),
			{From: record.Date{Year: 1961}, To: record.Date{Year: 1961}, Approximate: true},
			{From: record.Date{Year: 1955}, To: record.Date{Year: 1957}, Approximate: true}},
		Documents: []record.Document{{Type: "passport", Issuer: "UTO", Number: "U 12"}, {Type: "passport", Issuer: "UTO", Number: "U13"},
			{Type: "national-id", Issuer: "UTO", Number: "77-8"}, {Type: "passport", Number: "V1"}, {Type: "other", Issuer: "UTO", Number: "R1"}},
		Nationalities: []string{"UTO"}, Sex: "F", PlacesOfBirth: []string{"Port, Utopia"}, Addresses: []string{"1 Quay, Utopia, until 1999"},
		Titles: []string{"Dr", "Captain"}, Designations: []string{"Clerk"}, Remarks: []string{"A remark & more."},
		SourceList: "UN List: Utopia", Originator: "United Nations Security Council", ListedOn: record.Date{Year: 2001, Month: 1, Day: 25},
		Source: []record.Field{
			{Name: "alias 1 DATE_OF_BIRTH", Value: "1959-01-01"}, {Name: "alias 1/NOTE", Value: "used once"},
			{Name: "birth 3/NOTE", Value: "between"}, {Name: "birth 4/NOTE", Value: "Approximately 1970"},
			{Name: "document 1 NUMBER", Value: "U 12; Utopian passport number U13 (issued in 1999)"},
			{Name: "document 2/DATE_OF_ISSUE", Value: "1999-01-01"}, {Name: "document 4 TYPE_OF_DOCUMENT2", Value: "Ration card"},
			{Name: "NATIONALITY", Value: "na"}, {Name: "LISTED_ON", Value: "2001-01-25-05:00"},
			{Name: "DATAID", Value: "1"}, {Name: "VERSIONNUM", Value: "2"}, {Name: "NEW_THING/PART", Value: "kept"},
		},
	}
	if got, exp := reflect.ValueOf(records[0]), reflect.ValueOf(want); !reflect.DeepEqual(records[0], want) {
		for i := range got.NumField() {
			if !reflect.DeepEqual(got.Field(i).Interface(), exp.Field(i).Interface()) {
				t.Errorf("field %s differs", got.Type().Field(i).Name)
			}
		}
		for _, f := range records[0].Source {
			t.Logf("%s = %s", f.Name, f.Value)
		}
	}
	wantNotes := []string{
		"list:4: birth 4: only a note says when, kept as text",
		"list:4: a nationality is not known, kept as text",
		"list:4: document 4: issuing State unknown",
		"list: 1 entities are not persons, and are not loaded",
	}
	if got := reasons(report.Notes); !slices.Equal(got, wantNotes) {
		t.Errorf("notes %q, want %q", got, wantNotes)
	}
	wantRejected := []string{"list:30: id is used in line 4 already"}
	if got := reasons(report.Rejected); !slices.Equal(got, wantRejected) {
		t.Errorf("rejected %q, want %q", got, wantRejected)
	}
}

func TestDocumentNumbers(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"A123": "A123", "A 123": "A 123", "AB-1/2": "AB-1/2", "12 34 56": "12 34 56", "A1; B2, C3": "A1|B2|C3", "A1 and B2": "A1|B2",
		"Passport No. A 12": "A 12", "Utopian card NO 12": "12", "12 (expires 19 Mar. 2010)": "12", "12, issued on 3 May 1999": "12",
		"Number:A12": "A12", "No. 12 issued 1999": "12", "A1 A1": "A1 A1", "A1; A1": "A1", "unknown": "", "expired 1999": "",
		"12 B": "12 B", "№ 12": "12", "": "", strings.Repeat("1", 40): "",
	} {
		if got := strings.Join(ingest.DocumentNumbers(in), "|"); got != want {
			t.Errorf("documentNumbers(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDocumentTypes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]record.DocumentType{
		"Passport": "passport", "P": "passport", "PD": "passport", "Número de pasaporte": "passport", "national-id": "national-id",
		"National Identification Number": "national-id", "national identity card no.": "identity-card", "ID": "identity-card",
		"I": "identity-card", "V": "visa", "Laissez-passer": "travel-document", "Residence permit": "residence-permit",
		"Student ID": "", "Voter ID card": "", "Driver's Permit": "", "": "", "military identification number": "", "other": "other",
	} {
		if got, ok := ingest.DocumentType(in); got != want || ok != (want != "") {
			t.Errorf("documentType(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
}

// FuzzWatchlist reads anything in every format: all rows must be accounted for,
// accepted records must be valid, and an error must come with no records.
func FuzzWatchlist(f *testing.F) {
	f.Add([]byte("name,dob\nAna,1962\n\"x"), uint8(0))
	f.Add([]byte("{\"name\":\"Ana\",\"document\":{\"number\":1}}\n"), uint8(1))
	f.Add([]byte(unSample), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		format := ingest.Formats()[int(which)%len(ingest.Formats())]
		ingest.DetectFormat("x", b)
		if format != ingest.FormatUN {
			subjects, report, err := ingest.Manifest(t.Context(), "x", bytes.NewReader(b), format)
			if err != nil && subjects != nil {
				t.Error("subjects with an error")
			}
			for i := range subjects {
				if err := subjects[i].Validate(); err != nil {
					t.Error(err)
				}
			}
			if err == nil && report.Read != report.Accepted+len(report.Rejected) {
				t.Error("rows are not accounted for")
			}
		}
		records, report, err := ingest.Watchlist(t.Context(), "x", bytes.NewReader(b), format, ingest.Options{})
		if err != nil {
			if records != nil {
				t.Error("records with an error")
			}
			return
		}
		if report.Read != report.Accepted+len(report.Rejected) || report.Accepted != len(records) {
			t.Error("rows are not accounted for")
		}
		for i := range records {
			if err := records[i].Validate(); err != nil {
				t.Error(err)
			}
		}
	})
}

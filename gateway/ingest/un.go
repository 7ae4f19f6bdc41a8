package ingest

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/passerelle/passerelle/gateway/record"
)

// Limits of one person in XML.
const (
	maxNodes    = 20000
	maxNodeText = 4 << 20 // bytes of text of all elements
)

// A node is an XML element. What readers take from it is cleared, so that what
// they do not know is left, and kept.
type node struct {
	name     string
	text     string
	children []*node
}

// take returns the text of the child of that name, with single spaces, and clears
// it. Of several children it takes the first that has text.
func (n *node) take(name string) string {
	for _, c := range n.children {
		if c.name == name && c.text != "" {
			s := strings.Join(strings.Fields(c.text), " ")
			c.text = ""
			return s
		}
	}
	return ""
}

// all returns the children of that name.
func (n *node) all(name string) []*node {
	var out []*node
	for _, c := range n.children {
		if c.name == name {
			out = append(out, c)
		}
	}
	return out
}

// values takes the texts of VALUE in all children of that name.
func (n *node) values(name string) []string {
	var out []string
	for _, c := range n.all(name) {
		for v := c.take("VALUE"); v != ""; v = c.take("VALUE") {
			out = append(out, v)
		}
	}
	return out
}

// rest calls keep for every text that was not taken, with the path to it.
func (n *node) rest(path string, keep func(path, text string)) {
	if s := strings.TrimSpace(n.text); s != "" {
		keep(path, s)
		n.text = ""
	}
	for _, c := range n.children {
		p := c.name
		if path != "" {
			p = path + "/" + c.name
		}
		c.rest(p, keep)
	}
}

// xmlError returns the error for XML that cannot be read on. Texts of package xml
// may quote the file, so they are not passed on.
func xmlError(d *xml.Decoder, err error) error {
	if errors.Is(err, ErrFile) || strings.HasPrefix(err.Error(), "ingest: ") {
		return err
	}
	line, _ := d.InputPos()
	return fmt.Errorf("%w: line %d is not well-formed XML in UTF-8; get the file again", ErrFile, line)
}

// readUN reads the UN Security Council Consolidated List.
//
// Every text of an INDIVIDUAL ends in the record: in its own field, or else in
// Source, under the path of its element. Dates in notes stay text. An ENTITY is
// not a person and is counted. A document number with words around it is reduced
// to the number, and several numbers in one element become several documents; the
// original text is kept beside them.
func readUN(ctx context.Context, t *text, a *acceptor) error {
	d := xml.NewDecoder(t)
	depth, persons := 0, 0
	var begun bool
	for {
		t.next()
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return xmlError(d, err)
		}
		line, _ := d.InputPos()
		switch tok := tok.(type) {
		case xml.Directive:
			return fmt.Errorf("%w: line %d: a document type is not accepted", ErrFile, line)
		case xml.StartElement:
			depth++
			switch {
			case depth == 1 && tok.Name.Local != "CONSOLIDATED_LIST":
				return fmt.Errorf("%w: not the UN Consolidated List", ErrFile)
			case depth > MaxDepth:
				return fmt.Errorf("%w: line %d: elements are nested deeper than %d", ErrFile, line, MaxDepth)
			case tok.Name.Local == "INDIVIDUAL" || tok.Name.Local == "ENTITY":
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("ingest: %w", err)
				}
				n, tooMuch, err := readNode(d, t, tok, depth)
				if err != nil {
					return err
				}
				depth--
				if tok.Name.Local == "ENTITY" {
					a.report.NotPersons++
					break
				}
				persons++
				if tooMuch {
					err = a.rejects(line, fmt.Sprintf("more than %d elements or %d bytes", maxNodes, maxNodeText))
				} else {
					err = a.individual(n, line)
				}
				if err != nil {
					return err
				}
			}
			begun = true
		case xml.EndElement:
			depth--
		}
	}
	switch {
	case !begun:
		return fmt.Errorf("%w: it is empty", ErrFile)
	case persons+a.report.NotPersons == 0:
		return fmt.Errorf("%w: the list has no INDIVIDUAL and no ENTITY", ErrFile)
	case a.report.NotPersons > 0:
		a.report.note(0, "%d entities are not persons, and are not loaded", a.report.NotPersons)
	}
	return nil
}

// readNode reads the element that begins with start, to its end. Of one that is
// too large it keeps only the beginning.
func readNode(d *xml.Decoder, t *text, start xml.StartElement, depth int) (root *node, tooMuch bool, err error) {
	root = &node{name: start.Name.Local}
	stack := []*node{root}
	nodes, size := 1, 0
	for len(stack) > 0 {
		t.next()
		tok, err := d.Token()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, false, xmlError(d, err)
		}
		top := stack[len(stack)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth+len(stack) > MaxDepth {
				line, _ := d.InputPos()
				return nil, false, fmt.Errorf("%w: line %d: elements are nested deeper than %d", ErrFile, line, MaxDepth)
			}
			n := &node{name: tok.Name.Local}
			if nodes++; nodes <= maxNodes {
				top.children = append(top.children, n)
			}
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if size += len(tok); size <= maxNodeText {
				top.text += string(tok)
			}
		}
	}
	trim(root)
	return root, nodes > maxNodes || size > maxNodeText, nil
}

// trim clears texts of white space.
func trim(n *node) {
	n.text = strings.TrimSpace(n.text)
	for _, c := range n.children {
		trim(c)
	}
}

// unCountry returns the code of a country that the list writes in words. Short
// texts are not codes there: "na" means that it is not available.
func unCountry(s string) (string, bool) {
	if len(s) <= 3 {
		return "", false
	}
	return record.CountryCode(s)
}

// individual makes a record of an INDIVIDUAL.
func (a *acceptor) individual(n *node, line int) error {
	count := a.report.Counts
	r := record.Record{ID: n.take("REFERENCE_NUMBER")}
	keep := func(name, value string) {
		for value != "" { // the source may say more than one field may hold
			part := short(value, record.MaxText)
			r.Source = append(r.Source, record.Field{Name: short(name, record.MaxCode), Value: part})
			value = value[len(part):]
		}
	}
	names := func(text string, quality record.NameQuality, kind record.NameKind) {
		for _, s := range splitList(text) {
			r.Names = append(r.Names, record.Name{Text: s, Quality: quality, Kind: kind})
		}
	}

	var parts []string
	for _, tag := range []string{"FIRST_NAME", "SECOND_NAME", "THIRD_NAME", "FOURTH_NAME"} {
		if s := n.take(tag); s != "" {
			parts = append(parts, s)
		}
	}
	names(strings.Join(parts, " "), record.QualityUnspecified, record.NamePrimary)
	for i, al := range n.all("INDIVIDUAL_ALIAS") {
		var quality record.NameQuality
		switch q := al.take("QUALITY"); strings.ToLower(q) {
		case "":
		case "good":
			quality = record.QualityGood
		case "low":
			quality = record.QualityLow
		default:
			keep(fmt.Sprintf("alias %d quality", i+1), q)
		}
		if s := al.take("ALIAS_NAME"); s != "" {
			count["alias_elements"]++
			switch quality {
			case record.QualityGood:
				count["aliases_good"]++
			case record.QualityLow:
				count["aliases_low"]++
			}
			names(s, quality, record.NameAlias)
		}
		if s := al.take("DATE_OF_BIRTH"); s != "" {
			keep(fmt.Sprintf("alias %d DATE_OF_BIRTH", i+1), s)
			if d, _, ok := parseDate(s, DateOrderNone); ok {
				r.Births = append(r.Births, record.Born(d))
			}
		}
		al.rest(fmt.Sprintf("alias %d", i+1), keep)
	}
	if s := n.take("NAME_ORIGINAL_SCRIPT"); s != "" {
		count["original_script_elements"]++
		names(s, record.QualityUnspecified, record.NameOriginal)
	}

	for i, b := range n.all("INDIVIDUAL_DATE_OF_BIRTH") {
		a.birth(&r, b, i+1, line, keep)
	}
	for i, doc := range n.all("INDIVIDUAL_DOCUMENT") {
		a.document(&r, doc, i+1, line, keep)
	}

	for _, v := range n.values("NATIONALITY") {
		code, ok := unCountry(v)
		if !ok {
			keep("NATIONALITY", v)
			a.report.note(line, "a nationality is not known, kept as text")
		} else if !slices.Contains(r.Nationalities, code) {
			r.Nationalities = append(r.Nationalities, code)
		}
	}
	if s := n.take("GENDER"); s != "" {
		var ok bool
		if r.Sex, ok = sex(s); !ok {
			keep("GENDER", s)
		}
	}
	place := func(p *node) string {
		var parts []string
		for _, tag := range []string{"STREET", "CITY", "STATE_PROVINCE", "ZIP_CODE", "COUNTRY", "NOTE"} {
			if s := p.take(tag); s != "" {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, ", ")
	}
	for _, p := range n.all("INDIVIDUAL_PLACE_OF_BIRTH") {
		if s := place(p); s != "" {
			r.PlacesOfBirth = append(r.PlacesOfBirth, s)
		}
	}
	for _, p := range n.all("INDIVIDUAL_ADDRESS") {
		if s := place(p); s != "" {
			r.Addresses = append(r.Addresses, s)
		}
	}
	r.Titles = n.values("TITLE")
	r.Designations = n.values("DESIGNATION")
	for _, tag := range []string{"COMMENTS1", "COMMENTS2"} {
		for s := n.take(tag); s != ""; s = n.take(tag) {
			for s != "" {
				part := short(s, record.MaxText)
				r.Remarks = append(r.Remarks, part)
				s = s[len(part):]
			}
		}
	}

	lists := n.values("LIST_TYPE")
	r.SourceList = strings.Join(append(lists, n.take("UN_LIST_TYPE")), ": ")
	r.Originator = "United Nations Security Council" // whoever reads the list
	if s := n.take("LISTED_ON"); s != "" {
		d, _, ok := parseDate(s, DateOrderNone)
		if ok {
			r.ListedOn = d
		}
		if d.String() != s {
			keep("LISTED_ON", s)
		}
	}
	n.rest("", keep)
	return a.whole(line, r)
}

// birth reads an INDIVIDUAL_DATE_OF_BIRTH.
func (a *acceptor) birth(r *record.Record, n *node, i, line int, keep func(string, string)) {
	kind := n.take("TYPE_OF_DATE")
	approximate := false
	switch kind {
	case "", "EXACT":
	case "APPROXIMATELY":
		approximate = true
	case "BETWEEN":
		approximate = true
	default:
		approximate = true
		keep(fmt.Sprintf("birth %d TYPE_OF_DATE", i), kind)
	}
	if kind != "" {
		a.report.Counts["birth_elements"]++
	}
	before := len(r.Births)
	for _, tag := range []string{"DATE", "YEAR"} {
		s := n.take(tag)
		if s == "" {
			continue
		}
		d, _, ok := parseDate(s, DateOrderNone)
		if d.String() != s {
			keep(fmt.Sprintf("birth %d %s", i, tag), s)
		}
		if ok {
			r.Births = append(r.Births, record.Birth{From: d, To: d, Approximate: approximate})
		} else {
			a.report.note(line, "birth %d: not a date, kept as text", i)
		}
	}
	from, to := n.take("FROM_YEAR"), n.take("TO_YEAR")
	if from != "" || to != "" {
		f, _, okFrom := parseDate(from, DateOrderNone)
		t, _, okTo := parseDate(to, DateOrderNone)
		if okFrom || okTo {
			r.Births = append(r.Births, record.Birth{From: f, To: t, Approximate: true})
		}
		if f.String() != from || t.String() != to {
			keep(fmt.Sprintf("birth %d FROM_YEAR TO_YEAR", i), from+" "+to)
			a.report.note(line, "birth %d: a range with a year that is missing or none, kept as text too", i)
		}
	}
	if kind != "" && len(r.Births) == before {
		a.report.note(line, "birth %d: only a note says when, kept as text", i)
	}
	n.rest(fmt.Sprintf("birth %d", i), keep)
}

// document reads an INDIVIDUAL_DOCUMENT.
func (a *acceptor) document(r *record.Record, n *node, i, line int, keep func(string, string)) {
	typeText, type2, number := n.take("TYPE_OF_DOCUMENT"), n.take("TYPE_OF_DOCUMENT2"), n.take("NUMBER")
	issuing, issue := n.take("ISSUING_COUNTRY"), n.take("COUNTRY_OF_ISSUE")

	// The second type is the more exact one, when it says something we know.
	doc := record.Document{}
	known := false
	if type2 != "" {
		if doc.Type, known = documentType(type2); doc.Type == record.NationalID && typeText != "" {
			known = false
		}
		keep(fmt.Sprintf("document %d TYPE_OF_DOCUMENT2", i), type2)
	}
	if !known {
		doc.Type, known = documentType(typeText)
	}
	if !known && (typeText != "" || type2 != "") {
		doc.Type = record.OtherDocument
		keep(fmt.Sprintf("document %d TYPE_OF_DOCUMENT", i), typeText)
	}

	// ISSUING_COUNTRY is the issuing State. Where it is missing, COUNTRY_OF_ISSUE
	// is all there is.
	var ok bool
	if issuing != "" {
		if doc.Issuer, ok = unCountry(issuing); !ok {
			keep(fmt.Sprintf("document %d ISSUING_COUNTRY", i), issuing)
		}
	}
	if issue != "" {
		code, known := unCountry(issue)
		if doc.Issuer == "" && known {
			doc.Issuer = code
		}
		if doc.Issuer != code || !known {
			keep(fmt.Sprintf("document %d COUNTRY_OF_ISSUE", i), issue)
		}
	}

	if number != "" {
		a.report.Counts["document_numbers"]++
		numbers := documentNumbers(number)
		if len(numbers) != 1 || numbers[0] != number {
			keep(fmt.Sprintf("document %d NUMBER", i), number)
		}
		if len(numbers) == 0 {
			a.report.note(line, "document %d: number not found in the text of it, kept as text", i)
		}
		for _, s := range numbers {
			doc.Number = s
			r.Documents = append(r.Documents, doc)
		}
	} else if type2 != "" || typeText != "" || doc.Issuer != "" {
		keep(fmt.Sprintf("document %d without number", i), strings.TrimSpace(typeText+" "+doc.Issuer))
		a.report.note(line, "document %d: no number, kept as text", i)
	}
	n.rest(fmt.Sprintf("document %d", i), keep)
}

// documentNumbers finds the document numbers in a text such as "A123456",
// "Passport No. A 123456 (issued in 1999)" or "123; 456".
//
// Text in parentheses is not part of a number. Separate numbers are separated by
// a semicolon, a comma, a line, "and" or "or". In each part the number begins at
// the first word with a digit, or at a prefix of one to three capitals before it,
// and ends before the next word without a digit that is not one or two capitals.
// A part about a date gives none.
func documentNumbers(s string) []string {
	var flat strings.Builder
	nested := 0
	for _, r := range s {
		switch r {
		case '(', '[':
			nested++
		case ')', ']':
			nested = max(0, nested-1)
		case ';', ',', '\n', '|':
			if nested == 0 {
				flat.WriteRune('\n')
			}
		default:
			if nested == 0 {
				flat.WriteRune(r)
			}
		}
	}
	var out []string
	for part := range strings.SplitSeq(flat.String(), "\n") {
		var words []string
		add := func() {
			if n := number(words); n != "" && !slices.Contains(out, n) {
				out = append(out, n)
			}
			words = nil
		}
		for w := range strings.FieldsSeq(part) {
			switch strings.ToLower(w) {
			case "and", "or":
				add()
				continue
			}
			words = append(words, w)
		}
		add()
	}
	return out
}

// number returns the number in words, or "".
func number(words []string) string {
	first := -1
	for i, w := range words {
		switch strings.ToLower(strings.Trim(w, ".:,")) {
		case "issued", "issue", "expires", "expired", "expiry", "expiration", "valid", "date", "on", "until", "dated":
			if first < 0 {
				return ""
			}
		}
		if first < 0 && strings.ContainsFunc(w, unicode.IsDigit) {
			first = i
		}
	}
	if first < 0 {
		return ""
	}
	// "Number:A12": what comes before the colon is a word.
	if before, after, ok := strings.Cut(words[first], ":"); ok && strings.ContainsFunc(after, unicode.IsDigit) &&
		!strings.ContainsFunc(before, unicode.IsDigit) {
		words[first] = after
	} else if first > 0 && capitals(words[first-1], 3) {
		first--
	}
	last := first + 1
	for last < len(words) && (strings.ContainsFunc(words[last], unicode.IsDigit) || capitals(words[last], 2)) {
		last++
	}
	n := strings.Trim(strings.Join(words[first:last], " "), " .:-/\"“”'#")
	if _, ok := record.NormalizeDocumentNumber(n); !ok || !strings.ContainsFunc(n, unicode.IsDigit) {
		return ""
	}
	return n
}

// capitals reports whether w is 1 to n capital letters, and not "NO".
func capitals(w string, n int) bool {
	for _, r := range w {
		if r < 'A' || r > 'Z' {
			return false
		}
	}
	return len(w) >= 1 && len(w) <= n && w != "NO"
}

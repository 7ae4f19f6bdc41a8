package record

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of a name that gives a key, in bytes.
const (
	maxNameInput = 1024
	MaxNameSize  = 256 // of the normal form
)

// NormalizeName returns the normal form of a name: tokens of the letters A-Z, in
// the order of the source, with one space between them.
//
//   - Latin national characters, Cyrillic and Arabic (with Persian, Pashto and
//     Urdu) are transliterated by the tables of ICAO Doc 9303-3, Section 6, in the
//     form the standard lists first and without regard to language: Ü is UE, Г is
//     G, and Arabic keeps its reversible spelling with X. Letters the tables do not
//     list lose their diacritics.
//   - Greek follows ELOT 743 (ISO 843, type 2), Georgian the national system of
//     2002, as passports of those States do. Hebrew has one Latin letter or
//     digraph per consonant, and points are dropped: pointed and unpointed
//     spellings are equal.
//   - Apostrophes and marks like them, and invisible characters, are deleted. Everything
//     else that is not a letter separates tokens, as a hyphen does.
//   - "SURNAME, GIVEN" and the "SURNAME<<GIVEN<NAMES" of a machine readable zone
//     are turned round, so that both become GIVEN NAMES SURNAME. The comma counts
//     if it is the only one and has letters on both sides; JR, SR, II, III and IV
//     after it stay last. The name field of the zone is wanted, without document
//     code and State.
//
// ok is false, and the result empty, if s has a letter of a script that has no
// table here, such as Han, Hangul, Kana, Devanagari or Thai, or a character that
// was lost in conversion (U+FFFD), or no letter at all, or is longer than 1024
// bytes before or [MaxNameSize] after. No part of such a name is used, because the
// rest would be another name.
//
// NormalizeName is idempotent.
func NormalizeName(s string) (name string, ok bool) { return normalizeName(s, false) }

// nameForms returns the normal form of s, and the one with bare letters if it is
// another, or nothing if s has none.
func nameForms(s string) []string {
	name, ok := normalizeName(s, false)
	if !ok {
		return nil
	}
	if isASCII(s) {
		return []string{name}
	}
	if bare, ok := normalizeName(s, true); ok && bare != name {
		return []string{name, bare}
	}
	return []string{name}
}

func normalizeName(s string, bare bool) (string, bool) {
	if len(s) > maxNameInput {
		return "", false
	}
	s = prepare(s)
	var out []byte
	var ok bool
	if strings.Contains(s, "<") {
		surname, given, _ := strings.Cut(strings.Trim(s, "< "), "<<")
		out, ok = join(given, surname, bare)
	} else if surname, given, found := strings.Cut(s, ","); found && !strings.Contains(given, ",") {
		if g, _ := letters(nil, given, bare); isSuffix(string(g)) {
			surname, given = given, surname
		}
		out, ok = join(given, surname, bare)
	} else {
		out, ok = letters(make([]byte, 0, len(s)+8), s, bare)
	}
	if !ok || len(out) == 0 || len(out) > MaxNameSize {
		return "", false
	}
	return string(out), true
}

// join returns the letters of a and then of b.
func join(a, b string, bare bool) ([]byte, bool) {
	out, ok := letters(nil, a, bare)
	if !ok {
		return nil, false
	}
	return letters(out, b, bare)
}

// isSuffix reports whether a token in normal form follows a name.
func isSuffix(s string) bool {
	switch s {
	case "JR", "SR", "II", "III", "IV":
		return true
	}
	return false
}

// prepare composes s and deletes what leaves no trace, so that a letter and its
// diacritics are one rune where Unicode has one.
func prepare(s string) string {
	if isASCII(s) && !strings.ContainsAny(s, "'`") {
		return s
	}
	// Twice: a lone acute accent composes to a space, and 'n is composed with one.
	return strings.Map(vanish, norm.NFKC.String(strings.Map(vanish, s)))
}

// isASCII reports whether s has no byte beyond ASCII.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// vanish maps the characters that are deleted to -1.
func vanish(r rune) rune {
	switch r {
	case '\'', '`', '´', '‘', '’', '‛', '′', '‵', 'ʹ', 'ʺ', 'ʻ', 'ʼ', 'ʽ', 'ʾ', 'ʿ', 'ˈ', 'ˊ', 'ˋ', 'Ꞌ', 'ꞌ',
		'\u055a', '\u05f3', '\u05f4', '\uff07', // Armenian apostrophe, Hebrew geresh and gershayim, full width
		'\u0640',           // Arabic tatweel, which only makes a word longer
		'\u0384', '\u1ffd': // Greek tonos and oxia
		return -1
	case '،', '、': // commas
		return ','
	}
	if r >= 0x80 && unicode.Is(unicode.Cf, r) {
		return -1
	}
	return r
}

// letters appends the tokens of s to out.
func letters(out []byte, s string, bare bool) ([]byte, bool) {
	var (
		runes   = []rune(s)
		pending = len(out) > 0 // a space is due before the next letter
		last    string         // what the last letter gave, for the shadda
	)
	emit := func(t string) {
		last = t
		if t == "" {
			return
		}
		if pending {
			out = append(out, ' ')
			pending = false
		}
		out = append(out, t...)
	}
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case r >= 'A' && r <= 'Z':
			emit(asciiLetters[r-'A' : r-'A'+1])
			continue
		case r >= 'a' && r <= 'z':
			emit(asciiLetters[r-'a' : r-'a'+1])
			continue
		case r == unicode.ReplacementChar:
			return nil, false
		case unicode.Is(unicode.M, r):
			if r == shadda && !bare {
				out = append(out, last...)
			}
			continue
		case !unicode.IsLetter(r):
			pending = len(out) > 0
			last = ""
			continue
		}
		if bare {
			if t, ok := bareLetters[unicode.ToUpper(r)]; ok {
				emit(t)
				continue
			}
		}
		if r == tehMarbuta {
			if endsToken(runes[i+1:]) {
				emit("XAH")
			} else {
				emit("XTA")
			}
			continue
		}
		if unicode.Is(unicode.Greek, r) {
			t, n, ok := greek(runes, i)
			if !ok {
				return nil, false
			}
			emit(t)
			i += n - 1
			continue
		}
		t, ok := letter(r)
		if !ok {
			return nil, false
		}
		emit(t)
	}
	return out, true
}

const asciiLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// endsToken reports whether the token ends before rest.
func endsToken(rest []rune) bool {
	for _, r := range rest {
		if !unicode.Is(unicode.M, r) {
			return !unicode.IsLetter(r)
		}
	}
	return true
}

// letter transliterates one letter: by the tables, else by its base letter.
func letter(r rune) (string, bool) {
	if t, ok := table[r]; ok {
		return t, true
	}
	if t, ok := table[unicode.ToUpper(r)]; ok {
		return t, true
	}
	base, _ := utf8.DecodeRuneInString(norm.NFKD.String(string(r))) // which is never empty
	if base == r {
		return "", false
	}
	base = unicode.ToUpper(base)
	if base >= 'A' && base <= 'Z' {
		return asciiLetters[base-'A' : base-'A'+1], true
	}
	t, ok := table[base]
	return t, ok
}

// greekBase returns a Greek letter in upper case without its marks, and whether it has
// a diaeresis.
func greekBase(r rune) (base rune, diaeresis bool) {
	for i, d := range []rune(norm.NFD.String(string(r))) {
		if i == 0 {
			base = unicode.ToUpper(d)
		} else if d == '\u0308' {
			diaeresis = true
		}
	}
	return base, diaeresis
}

// greek transliterates the letter or digraph at runes[i], and returns how many
// runes it took. ELOT 743, second type.
func greek(runes []rune, i int) (text string, n int, ok bool) {
	a, _ := greekBase(runes[i])
	var b rune
	var apart bool // a diaeresis keeps two vowels apart
	if i+1 < len(runes) {
		b, apart = greekBase(runes[i+1])
	}
	switch {
	case a == 'Ο' && b == 'Υ' && !apart:
		return "OU", 2, true
	case (a == 'Α' || a == 'Ε' || a == 'Η') && b == 'Υ' && !apart:
		t := map[rune]string{'Α': "A", 'Ε': "E", 'Η': "I"}[a]
		if i+2 < len(runes) {
			if next, _ := greekBase(runes[i+2]); strings.ContainsRune("ΑΒΓΔΕΖΗΙΛΜΝΟΡΥΩ", next) {
				return t + "V", 2, true
			}
		}
		return t + "F", 2, true
	case a == 'Γ' && b == 'Γ':
		return "NG", 2, true
	case a == 'Γ' && b == 'Ξ':
		return "NX", 2, true
	case a == 'Γ' && b == 'Χ':
		return "NCH", 2, true
	case a == 'Μ' && b == 'Π':
		if i == 0 || !unicode.IsLetter(runes[i-1]) {
			return "B", 2, true
		}
		if endsToken(runes[i+2:]) {
			return "B", 2, true
		}
		return "MP", 2, true
	}
	text, ok = greekTable[a]
	return text, 1, ok
}

package record

import (
	"unicode"
)

// MaxNumberSize is the greatest length of the normal form of a document number,
// in bytes.
const MaxNumberSize = 32

// NormalizeDocumentNumber returns the normal form of a document number: 1 to
// [MaxNumberSize] of the letters A-Z, in upper case, and the digits 0-9, without
// anything between them. It is its own normal form.
//
// Decimal digits of any script are digits. O and 0 stay different, as they are in
// a machine readable zone. ok is false, and the result empty, if s has a letter
// beyond A-Z or the normal form would be empty or too long.
func NormalizeDocumentNumber(s string) (number string, ok bool) {
	if len(s) > MaxText {
		return "", false
	}
	b := make([]byte, 0, MaxNumberSize)
	for _, r := range s {
		if r >= 0xff01 && r <= 0xff5e { // full width forms
			r -= 0xff01 - '!'
		}
		switch {
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		case r == 'º' || r == 'ª': // letters to Unicode, "number" to who writes them
			continue
		case unicode.Is(unicode.Nd, r):
			r = '0' + digit(r)
		case unicode.IsLetter(r) || r == unicode.ReplacementChar:
			return "", false
		default:
			continue
		}
		if len(b) == MaxNumberSize {
			return "", false
		}
		b = append(b, byte(r))
	}
	return string(b), len(b) > 0
}

// digit returns the value of a decimal digit: those of a script are in order, in
// runs of ten that begin where the category begins.
func digit(r rune) rune {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	return 0
}

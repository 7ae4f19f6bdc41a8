package policy

import (
	"slices"
	"strings"
	"unicode"
)

// A Text is what rules may know of a free text: that it is there, how long it
// is, and whether it says anything. The text itself is not in it, so it cannot
// come into a decision, a stored input, or a log. Make one with [NewText].
type Text struct {
	Present     bool  `json:"present"`     // there is some text
	Length      int64 `json:"length"`      // characters, rounded down to 0, 1, 10, 20, 40, 80, 160, 320 or 640
	Words       int64 `json:"words"`       // different words, at most 8
	Boilerplate bool  `json:"boilerplate"` // a phrase that fits every case, or no language at all
}

// lengths are the buckets of [Text.Length]; the exact length could identify a text.
var lengths = [...]int64{1, 10, 20, 40, 80, 160, 320, 640}

// NewText returns the codes of s and keeps nothing else of it.
//
// A character of a script that is written without spaces between words counts
// as two, and two of them as a word, so that a sentence is a sentence in every
// language.
func NewText(s string) Text {
	words, length := split(s)
	t := Text{Present: length > 0}
	for _, l := range lengths {
		if length >= l {
			t.Length = l
		}
	}
	slices.Sort(words)
	t.Words = min(int64(len(slices.Compact(slices.Clone(words)))), 8)
	t.Boilerplate = t.Present && boilerplate(s, words)
	return t
}

// split returns the words of s in lower case, and the number of its letters,
// digits and single spaces between words.
func split(s string) (words []string, length int64) {
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, string(word))
			word = word[:0]
		}
	}
	spaced := true
	for _, r := range s {
		switch {
		case unspaced(r):
			if len(word) > 0 && !unspaced(word[len(word)-1]) {
				end()
			}
			word = append(word, r)
			length += 2
			if len(word) == 2 {
				end()
			}
			spaced = false
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) && len(word) > 0:
			if len(word) > 0 && unspaced(word[len(word)-1]) {
				end()
			}
			word = append(word, unicode.ToLower(r))
			length++
			spaced = false
		default:
			end()
			if !spaced {
				length++
			}
			spaced = true
		}
	}
	end()
	if spaced && length > 0 {
		length--
	}
	return words, length
}

// unspaced reports whether r belongs to a script without spaces between words.
func unspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// phrases are answers to "why" that fit every case. They are in the form that
// split gives, joined with single spaces.
var phrases = []string{
	"as discussed", "as required", "as requested", "as per instructions", "by order", "check", "checking", "confidential",
	"for check", "for verification", "in the course of duty", "investigation", "investigation purposes", "for investigation purposes",
	"law enforcement", "for law enforcement purposes", "law enforcement purposes", "lookup", "n a", "na", "national security",
	"for national security", "for reasons of national security", "for national security reasons", "none", "not applicable",
	"official use", "for official use", "for official use only", "official duty", "ok", "operational reasons", "for operational reasons",
	"please check", "please check this person", "police work", "query", "reason", "request", "routine", "routine check",
	"routine border check", "search", "security", "security check", "routine security check", "security reasons",
	"for security reasons", "see case", "see case file", "see file", "standard check", "standard procedure", "suspicious",
	"suspicious person", "tbd", "terrorism", "test", "testing", "this is a test", "verification", "verify", "work", "xxx",
	"lorem ipsum dolor sit amet",
}

// boilerplate reports whether the text of these words says nothing about a case.
func boilerplate(s string, sorted []string) bool {
	words, _ := split(s)
	joined := strings.Join(words, " ")
	if slices.Contains(phrases, joined) || strings.HasPrefix(joined, "lorem ipsum") {
		return true
	}
	// The same words again and again, such as "check check check".
	distinct := slices.Compact(slices.Clone(sorted))
	if len(words) >= 4 && len(distinct)*2 <= len(words) && len(distinct) < 4 {
		return true
	}
	// No language: all one letter, or a run such as "qwertyuiop" without a break.
	kinds := make(map[rune]bool)
	letters := 0
	for _, r := range joined {
		if unicode.IsLetter(r) {
			kinds[r] = true
			letters++
		}
	}
	return letters == 0 || letters >= 8 && len(kinds) < 4
}

// A Ref is what rules may know of a reference to a case. Make one with [NewRef].
type Ref struct {
	Present     bool `json:"present"`     // there is some text
	Placeholder bool `json:"placeholder"` // it cannot be the reference of one case, such as "n/a" or "0000"
}

// NewRef returns the codes of s and keeps nothing else of it.
func NewRef(s string) Ref {
	words, length := split(s)
	r := Ref{Present: length > 0}
	if !r.Present {
		return r
	}
	// A reference is one among many, so it has a number that is not zero.
	number := strings.IndexFunc(s, func(r rune) bool { return unicode.IsDigit(r) && r != '0' }) >= 0
	runs := make(map[rune]bool)
	for _, w := range words {
		for _, c := range w {
			runs[c] = true
		}
	}
	generic := slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains([]string{"test", "none", "unknown", "tbd", "xxx", "dummy", "sample"}, w)
	})
	r.Placeholder = !number || length < 3 || len(runs) < 2 || generic || strings.Contains("1234567890", strings.Join(words, ""))
	return r
}

// NewOfficer returns who asks. Of id, which is the last part of the SPIFFE ID
// of the officer or another identifier in the register, it keeps only whether
// it names a person.
func NewOfficer(id string, pseudonym, unit Pseudonym, roles []string, trainedUntil Time) Officer {
	return Officer{
		Pseudonym:    pseudonym,
		Named:        named(id),
		Unit:         unit,
		Roles:        slices.Clone(roles),
		TrainedUntil: trainedUntil,
	}
}

// accounts are words of identifiers that many people or machines share.
var accounts = []string{
	"account", "admin", "administrator", "anonymous", "api", "automatic", "batch", "bot", "cron", "daemon", "default", "everyone",
	"gateway", "generic", "guest", "job", "nobody", "none", "null", "operator", "public", "robot", "root", "scheduler", "script",
	"service", "shared", "shift", "svc", "system", "team", "temp", "test", "tmp", "unknown", "user", "worker",
}

// named reports whether id can be the identifier of one person: it has three
// characters or more, and none of its words is a kind of account.
func named(id string) bool {
	words, length := split(id[strings.LastIndexByte(id, '/')+1:])
	return length >= 3 && !slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains(accounts, strings.TrimRight(w, "0123456789"))
	})
}

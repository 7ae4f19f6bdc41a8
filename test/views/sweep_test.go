package views_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/passerelle/passerelle/gateway/record"
)

// A needle is a byte string that must not be somewhere.
type needle struct {
	label   string // says what it is, and not the thing itself
	bytes   []byte
	bounded bool // only between bytes that are no hexadecimal digits
}

// A sweeper looks for many needles in one pass. Texts are found in capital and
// small letters. Needles have four bytes or more.
type sweeper struct {
	exact, folded matcher
}

// A matcher finds needles by their first four bytes.
type matcher struct {
	filter  []uint64 // one bit for a hash of four bytes
	byFirst map[uint32][]needle
}

const filterBits = 22

func filterHash(k uint32) uint32 { return k * 0x9e3779b1 >> (32 - filterBits) }

func (m *matcher) add(n needle) {
	if len(n.bytes) < 4 {
		panic("views: internal error: a needle of less than four bytes: " + n.label)
	}
	if m.byFirst == nil {
		m.filter, m.byFirst = make([]uint64, 1<<filterBits/64), make(map[uint32][]needle)
	}
	k := binary.LittleEndian.Uint32(n.bytes)
	for _, o := range m.byFirst[k] {
		if bytes.Equal(o.bytes, n.bytes) {
			return
		}
	}
	h := filterHash(k)
	m.filter[h/64] |= 1 << (h % 64)
	m.byFirst[k] = append(m.byFirst[k], n)
}

func (m *matcher) find(data []byte, found func(n needle, at int)) {
	if m.byFirst == nil {
		return
	}
	for i := 0; i+4 <= len(data); i++ {
		k := binary.LittleEndian.Uint32(data[i:])
		if h := filterHash(k); m.filter[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, n := range m.byFirst[k] {
			if !bytes.HasPrefix(data[i:], n.bytes) {
				continue
			}
			if n.bounded && (i > 0 && isHex(data[i-1]) || i+len(n.bytes) < len(data) && isHex(data[i+len(n.bytes)])) {
				continue
			}
			found(n, i)
		}
	}
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// fold returns b with the letters A to Z in small letters.
func fold(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

// find calls found for each needle in data.
func (s *sweeper) find(data []byte, found func(n needle, at int)) {
	s.exact.find(data, found)
	if s.folded.byFirst != nil {
		s.folded.find(fold(data), found)
	}
}

// first returns the label of a needle that is in data, or "".
func (s *sweeper) first(data []byte) string {
	label := ""
	s.find(data, func(n needle, _ int) {
		if label == "" {
			label = n.label
		}
	})
	return label
}

// text adds a text: as it is in any case, in hex, in base64 wherever it begins in
// what is encoded, in UTF-16, and by its hashes.
func (s *sweeper) text(label, v string) {
	s.plain(label, v)
	s.binary(label, []byte(v))
	for _, form := range []string{v, strings.ToLower(v), strings.ToUpper(v)} {
		s.hashes(label, []byte(form))
	}
}

// plain adds a text as it is, in any case, and in UTF-16.
func (s *sweeper) plain(label, v string) {
	if len(v) < 4 {
		return
	}
	digits := strings.IndexFunc(strings.ToLower(v), func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) < 0
	s.folded.add(needle{label, fold([]byte(v)), digits})
	var le, be []byte
	for _, u := range utf16.Encode([]rune(v)) {
		le, be = binary.LittleEndian.AppendUint16(le, u), binary.BigEndian.AppendUint16(be, u)
	}
	s.exact.add(needle{label + ", UTF-16LE", le, false})
	s.exact.add(needle{label + ", UTF-16BE", be, false})
}

// binary adds bytes in hex, in base64 wherever they begin in what is encoded, and
// as fmt prints a slice.
func (s *sweeper) binary(label string, b []byte) {
	if len(b) < 6 {
		return
	}
	s.folded.add(needle{label + ", hex", []byte(hex.EncodeToString(b)), false})
	for skip := range 3 {
		part := b[skip:]
		part = part[:len(part)/3*3]
		if len(part) < 6 {
			continue
		}
		s.exact.add(needle{label + ", base64", []byte(base64.StdEncoding.EncodeToString(part)), false})
		s.exact.add(needle{label + ", base64url", []byte(base64.URLEncoding.EncodeToString(part)), false})
	}
	list := strings.Trim(fmt.Sprint(b[:min(len(b), 12)]), "[]")
	s.exact.add(needle{label + ", list", []byte(list), false})
	s.exact.add(needle{label + ", list", []byte(strings.ReplaceAll(list, " ", ",")), false})
	s.exact.add(needle{label + ", list", []byte(strings.ReplaceAll(list, " ", ", ")), false})
}

// hashes adds the first 8 bytes of hashes of b: raw, in hex and in base64. A longer
// or a whole hash begins with them.
func (s *sweeper) hashes(label string, b []byte) {
	h1, h2, h3, h4 := sha256.Sum256(b), sha1.Sum(b), md5.Sum(b), sha512.Sum512(b)
	for _, h := range []struct {
		name string
		sum  []byte
	}{{"SHA-256", h1[:]}, {"SHA-1", h2[:]}, {"MD5", h3[:]}, {"SHA-512", h4[:]}} {
		name := h.name + " of " + label
		s.exact.add(needle{name, h.sum[:8], false})
		s.folded.add(needle{name + ", hex", []byte(hex.EncodeToString(h.sum[:8])), false})
		// 8 bytes are 10 whole characters of base64, whatever follows.
		s.exact.add(needle{name + ", base64", []byte(base64.StdEncoding.EncodeToString(h.sum[:9])[:10]), false})
		s.exact.add(needle{name + ", base64url", []byte(base64.URLEncoding.EncodeToString(h.sum[:9])[:10]), false})
	}
}

// secret adds a key: raw from its beginning, from its middle, encoded, and as a text
// that is quoted.
func (s *sweeper) secret(label string, key []byte) {
	// Up to a byte that no letter goes on from.
	for i := 8; i < len(key); i++ {
		if key[i] < 0x80 {
			quoted := strconv.Quote(string(key[:i]))
			s.exact.add(needle{label + ", quoted", []byte(quoted[1 : len(quoted)-1]), false})
			break
		}
	}
	s.exact.add(needle{label, key[:8], false})
	s.exact.add(needle{label + ", middle", key[len(key)/2:][:8], false})
	s.binary(label, key[:12])
	s.binary(label+", middle", key[len(key)/2:][:12])
}

// subject adds everything that tells who somebody is. Short words are left out:
// three letters are in any file.
func (s *sweeper) subject(label string, p *record.Subject) {
	s.text(label+": name", p.Name)
	if n, ok := record.NormalizeName(p.Name); ok {
		s.text(label+": normal form", n)
		s.text(label+": normal form without spaces", strings.ReplaceAll(n, " ", ""))
		s.text(label+": normal form with fillers", strings.ReplaceAll(n, " ", "<"))
		words := strings.Fields(n)
		slices.Reverse(words)
		s.text(label+": normal form, reversed", strings.Join(words, " "))
		for _, w := range words {
			if len(w) >= 8 {
				s.text(label+": word of the name", w)
			}
		}
	}
	if b := p.Birth; b.Known() {
		for _, form := range []string{
			fmt.Sprintf("%04d-%02d-%02d", b.Year, b.Month, b.Day), fmt.Sprintf("%04d%02d%02d", b.Year, b.Month, b.Day),
			fmt.Sprintf("%02d.%02d.%04d", b.Day, b.Month, b.Year), fmt.Sprintf("%02d/%02d/%04d", b.Day, b.Month, b.Year),
			fmt.Sprintf("%02d/%02d/%04d", b.Month, b.Day, b.Year), fmt.Sprintf("%02d%02d%04d", b.Day, b.Month, b.Year),
		} {
			s.plain(label+": birth", form)
			s.hashes(label+": birth", []byte(form))
		}
	}
	if p.Document.Number != "" {
		s.text(label+": document number", p.Document.Number)
		if n, ok := record.NormalizeDocumentNumber(p.Document.Number); ok {
			s.text(label+": document number, normal form", n)
		}
	}
	for _, k := range p.Keys() {
		s.exact.add(needle{label + ": key " + string(k.Class), k.Bytes, false})
		s.binary(label+": key "+string(k.Class), k.Bytes)
		s.hashes(label+": key "+string(k.Class), k.Bytes)
	}
}

// files sweeps every file below dir, and the names of the files. Skip may leave
// files out, by their path below dir.
func (s *sweeper) files(t testing.TB, dir string, skip func(path string) bool) (found []string, swept int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if label := s.first([]byte(rel)); label != "" {
			found = append(found, "a file name has "+label)
		}
		if !e.Type().IsRegular() || skip != nil && skip(filepath.ToSlash(rel)) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		swept += len(b)
		s.find(b, func(n needle, at int) { found = append(found, fmt.Sprintf("%s has %s at byte %d", rel, n.label, at)) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, swept
}

// clean fails the test if a sweep found something. It reports a few of them.
func clean(t testing.TB, what string, found []string) {
	t.Helper()
	for i, f := range found {
		if i == 10 {
			t.Errorf("%s: and %d more", what, len(found)-i)
			return
		}
		t.Errorf("%s: %s", what, f)
	}
}

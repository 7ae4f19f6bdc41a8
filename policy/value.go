package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

var errNotJSON = errors.New("policy: not JSON")

// parseValue returns the one JSON document in b as the value that rules see. It
// is the value that ast.ValueFromReader returns, without that function's detour
// over maps, and nothing may follow it: of two members of one name the last one
// counts, and bytes that are not UTF-8 become U+FFFD.
func parseValue(b []byte) (ast.Value, error) {
	// What follows relies on the syntax being right.
	if !json.Valid(b) {
		return nil, errNotJSON
	}
	p := parser{s: string(b)}
	v := p.value()
	if p.err != nil {
		return nil, p.err
	}
	return v, nil
}

// A parser reads JSON that is valid.
type parser struct {
	s   string
	pos int
	err error // of a number that rules cannot have
}

// next skips white space, and the commas and colons between values, and returns
// the byte that follows.
func (p *parser) next() byte {
	for {
		switch c := p.s[p.pos]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			p.pos++
		default:
			return c
		}
	}
}

func (p *parser) value() ast.Value {
	switch p.next() {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		return p.leaf(p.text())
	case 't':
		p.pos += len("true")
		return p.leaf(true)
	case 'f':
		p.pos += len("false")
		return p.leaf(false)
	case 'n':
		p.pos += len("null")
		return p.leaf(nil)
	}
	start := p.pos
	for p.pos < len(p.s) && strings.IndexByte("+-.0123456789Ee", p.s[p.pos]) >= 0 {
		p.pos++
	}
	return p.leaf(json.Number(p.s[start:p.pos]))
}

// leaf returns x as OPA itself does, which shares the values that are frequent.
func (p *parser) leaf(x any) ast.Value {
	v, err := ast.InterfaceToValue(x)
	if err != nil {
		p.err = errNotJSON
		return ast.NullValue
	}
	return v
}

// smallObject is how many members are compared one by one.
const smallObject = 32

func (p *parser) object() ast.Value {
	var members [][2]*ast.Term
	var place map[string]int // of a name in members, for objects that are not small
	for p.pos++; p.next() != '}'; {
		name := p.text()
		terms := new([2]ast.Term)
		terms[0].Value, terms[1].Value = p.leaf(name), p.value()
		member := [2]*ast.Term{&terms[0], &terms[1]}
		i, twice := place[name]
		if place == nil {
			i = slices.IndexFunc(members, func(m [2]*ast.Term) bool { return m[0].Value.(ast.String) == ast.String(name) })
			twice = i >= 0
		}
		if twice {
			members[i] = member
			continue
		}
		if place != nil {
			place[name] = len(members)
		}
		if members = append(members, member); len(members) == smallObject {
			place = make(map[string]int)
			for i, m := range members {
				place[string(m[0].Value.(ast.String))] = i
			}
		}
	}
	p.pos++
	return ast.NewObject(members...)
}

func (p *parser) array() ast.Value {
	var elements []*ast.Term
	for p.pos++; p.next() != ']'; {
		elements = append(elements, &ast.Term{Value: p.value()})
	}
	p.pos++
	return ast.NewArray(elements...)
}

// text reads a string. Nearly all are as they stand; the others are left to
// encoding/json.
func (p *parser) text() string {
	start := p.pos
	plain := true
	for p.pos++; p.s[p.pos] != '"'; p.pos++ {
		if p.s[p.pos] == '\\' {
			plain = false
			p.pos++ // whatever follows does not end the string
		}
	}
	p.pos++
	if s := p.s[start+1 : p.pos-1]; plain && utf8.ValidString(s) {
		return s
	}
	var s string
	if err := json.Unmarshal([]byte(p.s[start:p.pos]), &s); err != nil {
		p.err = errNotJSON
	}
	return s
}

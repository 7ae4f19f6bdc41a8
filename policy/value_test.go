package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/passerelle/passerelle/policy"
)

// valueSeeds are documents in which readers of JSON differ.
var valueSeeds = []string{
	``, ` `, `{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `-1`, `1.50`, `1e3`, `1E+3`, `-0.0e-7`, `1e400`, `123456789012345678901234567890`,
	`"a"`, `""`, `"\u0041\n\"\\\/"`, `"\ud83d\ude00"`, `"\ud83d"`, `"é"`, "\"\xff\xfe\"", "\"\xed\xa0\x80\"", "\"a\x00\"", `"a`, `"\`, `"\"`, `"\\"`,
	`{"a":1,"a":2}`, `{"a":{"b":[1,2,{"c":null}]}}`, " { \"a\" :\t[ 1 ,\r\n 2 ] } ", `{"a":1}x`, `{"a":1} {"a":2}`, `{"a":1,}`, `[1,]`, `[,1]`,
	`{"\u0061":1,"a":2}`, `{"a" 1}`, `{1:2}`, `01`, `1.`, `.5`, `+1`, `NaN`, `tru`, `nul`, `[1 2]`, `{"a":1 "b":2}`, "\ufeff{}",
	`{"": 0, "0": "", "null": null}`, `[[[[[[]]]]]]`, `[1e0, 10e-1, 1.0, 1]`,
}

// checkValue compares [policy.ParseValue] with the parser of OPA, which stops at
// the end of the first value and so is asked only about what is one value.
func checkValue(t *testing.T, b []byte) {
	t.Helper()
	got, err := policy.ParseValue(b)
	if !json.Valid(b) {
		if err == nil || got != nil {
			t.Fatalf("%q is not JSON, and is read as %v", b, got)
		}
		return
	}
	want, wantErr := ast.ValueFromReader(bytes.NewReader(b))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: error = %v, want %v", b, err, wantErr)
	}
	if err == nil && (got.Compare(want) != 0 || got.String() != want.String() || got.Hash() != want.Hash()) {
		t.Fatalf("%q is read as %v, want %v", b, got, want)
	}
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	for _, s := range valueSeeds {
		checkValue(t, []byte(s))
	}
	var many strings.Builder // more members than are compared one by one, some of them twice
	for i := range 200 {
		fmt.Fprintf(&many, `,"m%d":%d`, i%70, i)
	}
	checkValue(t, []byte("{"+many.String()[1:]+"}"))
	checkValue(t, []byte(strings.Repeat("[", 10001)+strings.Repeat("]", 10001)))
	checkValue(t, []byte(strings.Repeat("[", 9000)+strings.Repeat("]", 9000)))
	for _, in := range passing() {
		b, _ := in.Stored()
		checkValue(t, b)
		for i := 0; i < len(b); i += 23 {
			checkValue(t, b[:i])
			for _, c := range []byte("\"\\{}[],:0-e.t \xff") {
				changed := bytes.Clone(b)
				changed[i] = c
				checkValue(t, changed)
			}
		}
	}
}

// FuzzParseValue checks that whatever the bytes are, rules see what OPA would
// have read.
func FuzzParseValue(f *testing.F) {
	for _, s := range valueSeeds {
		f.Add([]byte(s))
	}
	for _, in := range passing() {
		b, _ := in.Stored()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkValue(t, b) })
}

package agreement_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/agreement"
)

var update = flag.Bool("update", false, "write test/vectors/agreement_*.txt again")

const vectors = "../../test/vectors"

// outcome says what becomes of a file: the word of the "expect" line.
func outcome(a *agreement.Agreement, err error, keys map[string]ed25519.PublicKey) string {
	switch {
	case err != nil:
		return "malformed"
	case a.Validate() != nil:
		return "invalid"
	}
	switch err := a.CheckSignatures(keys); {
	case err == nil:
		return "signed"
	case errors.Is(err, agreement.ErrUnsigned):
		return "unsigned"
	case errors.Is(err, agreement.ErrSignature):
		return "signature"
	}
	return "incomplete"
}

// TestVectors reads each vector: a header of "name: value" lines, an empty line,
// and the bytes of a file. Another implementation must come to the same outcome.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	files, err := filepath.Glob(vectors + "/agreement_*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d vectors, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, file, ok := bytes.Cut(b, []byte("\n\n"))
		if !ok {
			t.Errorf("%s: no header", name)
			continue
		}
		keys := make(map[string]ed25519.PublicKey)
		var expect, digest string
		for line := range strings.Lines(string(head) + "\n") {
			k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch k {
			case "expect":
				expect = v
			case "digest":
				digest = v
			case "key":
				td, h, _ := strings.Cut(v, " ")
				if keys[td], err = hex.DecodeString(h); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case "comment":
			default:
				t.Errorf("%s: unknown header %q", name, k)
			}
		}
		a, err := agreement.Parse(file)
		if got := outcome(a, err, keys); got != expect {
			t.Errorf("%s: is %s (%v), want %s", name, got, err, expect)
		}
		if err == nil && a.Digest().String() != digest {
			t.Errorf("%s: digest is %v, want %s", name, a.Digest(), digest)
		}
	}
}

func writeVectors(t *testing.T) {
	both := signed(t)
	one := draft()
	sign(t, one, quavia, "b")
	incomplete := draft()
	incomplete.Collections[0].KeyCommitment = ""
	invalid := draft()
	invalid.EnumerationBound = 0
	amendment := amended(t, both, noon.AddDate(0, 6, 0))
	otherKey := signed(t)
	otherKey.Signatures[1].OfficerKey = [32]byte(public("officer x"))
	stranger := signed(t)
	stranger.Signatures[0].GatewaySignature = stranger.Signatures[1].GatewaySignature
	change := func(old, new string) []byte { return bytes.Replace(both.Bytes(), []byte(old), []byte(new), 1) }
	for name, v := range map[string]struct {
		comment string
		file    []byte
	}{
		"draft":            {"complete and valid, and not signed", draft().Bytes()},
		"draft_incomplete": {"a draft that lacks a key commitment", incomplete.Bytes()},
		"draft_invalid":    {"well-formed, with an enumeration bound of 0", invalid.Bytes()},
		"signed_by_one":    {"signed by one party", one.Bytes()},
		"signed_by_both":   {"in force", both.Bytes()},
		"amendment":        {"the amendment of signed_by_both", amendment.Bytes()},
		"tampered_body":    {"one number of the body changed after signing", change(`"per_day": 40000`, `"per_day": 40001`)},
		"tampered_officer": {"the key of another officer", otherKey.Bytes()},
		"tampered_gateway": {"the attestation of the other gateway", stranger.Bytes()},
		"spaces":           {"two spaces after a colon", change(`"version": 1`, `"version":  1`)},
		"null_list":        {"null for an empty list", change(`"profiles": []`, `"profiles": null`)},
		"key_twice":        {"a key twice", change(`"version": 1,`, "\"version\": 1,\n  \"version\": 1,")},
		"escaped":          {"an escape where none is needed", change("<des>", `\u003cdes>`)},
		"duration_unit":    {"a duration that is not in its largest unit", change(`"24h"`, `"1440m"`)},
		"time_zone":        {"a date that is not in UTC", change("2026-11-22T12:00:00Z", "2026-11-22T13:00:00+01:00")},
		"trailing_line":    {"an empty line at the end", append(both.Bytes(), '\n')},
		"signature_of_nobody": {"a signature of a trust domain that is no party",
			change("— a.example spiffe://a.example", "— c.example spiffe://c.example")},
	} {
		a, err := agreement.Parse(v.file)
		var b bytes.Buffer
		fmt.Fprintf(&b, "comment: %s\nexpect: %s\n", v.comment, outcome(a, err, keys()))
		if err == nil {
			fmt.Fprintf(&b, "digest: %v\n", a.Digest())
		}
		for _, td := range []string{utopia, quavia} {
			fmt.Fprintf(&b, "key: %s %x\n", td, []byte(keys()[td]))
		}
		b.WriteByte('\n')
		b.Write(v.file)
		if err := os.WriteFile(filepath.Join(vectors, "agreement_"+name+".txt"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

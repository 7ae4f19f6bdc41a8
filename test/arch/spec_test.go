package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// wire are the rooms whose formats another implementation must know.
var wire = []string{"crypto/oprf", "crypto/psi", "crypto/sealed", "gateway/query", "gateway/agreement", "gateway/officer",
	"gateway/peer", "gateway/record", "gateway/asker", "gateway/audit/entry"}

// notWire are strings of those rooms that only their own country ever computes,
// or that are no part of a format.
var notWire = map[string]string{
	"passerelle/oprf/v1 proof nonce": "the nonce is the server's own business, as long as it does not repeat",
	"passerelle officer founding v1": "the founding stays in its gateway",
	"passerelle officer record v1":   "records stay in their gateway",
	"passerelle-officer1":            "how an officer hands over a key on paper",
	"passerelle-recipient1":          "how an auditor hands over a key on paper",
	"passerelle-identity1":           "how an auditor keeps a key",
}

// TestSpecNamesDomains checks that every string that separates one hash or
// signature from another is in proto/SPEC.md: who writes a second gateway has
// nothing else.
func TestSpecNamesDomains(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../../proto/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, room := range wire {
		err := filepath.WalkDir(filepath.Join("../..", room), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if _, ok := n.(*ast.ImportSpec); ok {
					return false
				}
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return true
				}
				s = strings.TrimRight(s, "\x00\n")
				if !strings.HasPrefix(s, "passerelle") || !strings.ContainsAny(s, "0123456789") || notWire[s] != "" {
					return true
				}
				found++
				if !strings.Contains(string(spec), s) {
					t.Errorf("%s: %q is not in proto/SPEC.md", path, s)
				}
				return true
			})
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
	if found < 10 {
		t.Errorf("found %d domain strings, want at least 10: has a room moved?", found)
	}
}

package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// TestReasons checks that the reasons of refusals in gateway/query and those in
// the messages are the same: a reason that has no message, or a message that
// nobody sends, is a hole in the contract with other implementations.
func TestReasons(t *testing.T) {
	t.Parallel()
	f, err := parser.ParseFile(token.NewFileSet(), "../../gateway/query/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Reason" {
			return true
		}
		for _, v := range spec.Values {
			s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, s)
		}
		return true
	})
	var want []string
	for n, name := range passerellev1.ErrorReason_name {
		if n != 0 {
			want = append(want, strings.TrimPrefix(name, "ERROR_REASON_"))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("reasons of gateway/query and of the messages differ:\n got %q\nwant %q", got, want)
	}
}

package arch_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/test/arch"
)

// TestHouse checks the packages of this module by the rules of the house.
func TestHouse(t *testing.T) {
	t.Parallel()
	g, err := arch.List(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range arch.House.Check(g) {
		t.Error(fault)
	}
}

// graph returns a made-up module: one package for each line "path: imports".
// A path that starts with "std:" is of the standard library.
func graph(lines ...string) arch.Graph {
	g := make(arch.Graph)
	full := func(p string) string {
		for _, area := range []string{"cmd", "gateway", "policy", "crypto", "proto", "test", "examples", "strange"} {
			if p == area || strings.HasPrefix(p, area+"/") {
				return arch.Module + "/" + p
			}
		}
		return strings.TrimPrefix(p, "std:")
	}
	add := func(p string) *arch.Package {
		name := full(p)
		if g[name] == nil {
			first, _, _ := strings.Cut(name, "/")
			g[name] = &arch.Package{ImportPath: name, Doc: "Package is made up.", GoFiles: []string{"role.go"},
				Standard: !strings.Contains(first, ".")}
		}
		return g[name]
	}
	for _, line := range lines {
		from, imports, _ := strings.Cut(line, ":")
		p := add(from)
		for _, imp := range strings.Fields(imports) {
			add(imp)
			p.Imports = append(p.Imports, full(imp))
		}
	}
	return g
}

// TestCheckPasses checks that what DESIGN draws is allowed.
func TestCheckPasses(t *testing.T) {
	t.Parallel()
	g := graph(
		"cmd/passerelle: gateway proto/passerelle/v1 github.com/spf13/cobra google.golang.org/grpc",
		"cmd/passerelle-verify: gateway/audit/entry golang.org/x/mod/sumdb/tlog",
		"cmd/passerelle/help: std:embed",
		"gateway: gateway/internal/rpc gateway/holder gateway/store gateway/peer crypto/keys",
		"gateway/internal/rpc: gateway/holder gateway/query proto/passerelle/v1 google.golang.org/grpc/status",
		"gateway/holder: gateway/audit gateway/budget gateway/query policy crypto/psi",
		"gateway/audit: gateway/audit/entry github.com/transparency-dev/tessera crypto/sealed",
		"gateway/store: gateway/record std:database/sql modernc.org/sqlite",
		"gateway/store/storetest: gateway/store std:testing",
		"gateway/audit/entry: golang.org/x/mod/sumdb/note github.com/transparency-dev/merkle/proof",
		"gateway/peer: github.com/spiffe/go-spiffe/v2/spiffeid",
		"crypto/psi: crypto/oprf",
		"crypto/oprf: github.com/cloudflare/circl/oprf github.com/gtank/ristretto255",
		"policy: policy/rego github.com/open-policy-agent/opa/v1/rego",
		"github.com/cloudflare/circl/oprf: std:net",
		"test/e2e: cmd/passerelle/help gateway",
	)
	if faults := arch.House.Check(g); len(faults) > 0 {
		t.Errorf("a house by the rules has faults:\n%s", strings.Join(faults, "\n"))
	}
}

// TestCheckFails checks that each kind of violation is found, and named.
func TestCheckFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		graph arch.Graph
		want  string // part of one fault
	}{
		{"arrow up", graph("gateway/record: gateway/store"), "gateway/record must not import gateway/store: arrows go down only"},
		{"arrow up to assembly", graph("gateway/holder: gateway"), "arrows go down only"},
		{"arrow across", graph("gateway/holder: gateway/asker"), "rooms on one floor"},
		{"arrow across the ground", graph("gateway/agreement: gateway/officer"), "rooms on one floor"},
		{"ground to crypto", graph("gateway/record: crypto/psi"), "rooms on one floor"},
		{"crypto to gateway", graph("crypto/psi: gateway/query"), "rooms on one floor"},
		{"sub-package", graph("gateway/holder/steps: gateway/asker"), "gateway/holder/steps must not import gateway/asker"},
		{"imported test", graph("gateway/holder: test/fixtures"), "arrows go down only"},
		{"door", graph("gateway/asker: github.com/cloudflare/circl/group"), "its only door is crypto/oprf"},
		{"door of a driver", graph("gateway/budget: modernc.org/sqlite"), "its only door is gateway/store"},
		{"door, parent room", graph("gateway/audit/entry: github.com/transparency-dev/tessera/client"), "its only door is gateway/audit"},
		{"indirect", graph("gateway/audit: gateway/record", "gateway/record: policy"),
			"gateway/audit must not depend on policy (gateway/record -> policy)"},
		{"policy sees content", graph("policy: crypto/oprf"), "policy must not depend on crypto/oprf"},
		{"crypto with a network", graph("crypto/keys: std:net/http"), "crypto/keys must not import net/http"},
		{"verifier with gRPC", graph("cmd/passerelle-verify: example.com/x", "example.com/x: google.golang.org/grpc"),
			"cmd/passerelle-verify must not depend on google.golang.org/grpc (example.com/x -> google.golang.org/grpc)"},
		{"query with a module", graph("gateway/query: golang.org/x/text/unicode/norm"), "nothing but the standard library"},
		{"entry with a module", graph("gateway/audit/entry: example.com/x"), "nothing but the standard library"},
		{"telemetry with content", graph("gateway/internal/telemetry: gateway/query"), "telemetry must not be able to see"},
		{"no room", graph("strange/thing: std:fmt"), "strange/thing is in no room"},
		{"unknown room of the gateway", graph("gateway/kitchen: std:fmt"), "gateway/kitchen is in no room"},
		{"testing", graph("gateway/holder: std:testing"), "gateway/holder must not import testing"},
		{"testing, below", graph("gateway/holder: std:testing/fstest"), "must not import testing/fstest"},
		{"unlisted test package", graph("gateway/holder/holdertest: std:testing"), "must not import testing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			faults := arch.House.Check(tt.graph)
			if !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, tt.want) }) {
				t.Errorf("Check = %q, want a fault with %q", faults, tt.want)
			}
		})
	}
}

// TestCheckNames checks the rules on comments and names.
func TestCheckNames(t *testing.T) {
	t.Parallel()
	g := graph("gateway/holder: std:fmt", "gateway/holder/utils: std:fmt", "gateway/asker: std:fmt")
	g[arch.Module+"/gateway/holder"].Doc = ""
	g[arch.Module+"/gateway/asker"].GoFiles = []string{"ask.go", "types.go"}
	got := arch.House.Check(g)
	want := []string{
		"gateway/asker/types.go: name a file for its role, not for its shape",
		"gateway/holder has no package comment",
		"gateway/holder/utils: name a package for what it knows",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Check = %q, want %q", got, want)
	}
}

// TestRulesAreReasoned checks that no exception stands without its reason.
func TestRulesAreReasoned(t *testing.T) {
	t.Parallel()
	for pkg, why := range arch.House.Testing {
		if why == "" || !strings.HasSuffix(pkg, "test") {
			t.Errorf("Testing[%q] = %q, want a reason and a name that ends in test", pkg, why)
		}
	}
	for _, d := range arch.House.Denials {
		if d.Why == "" {
			t.Errorf("denial of %s has no reason", d.Room)
		}
	}
}

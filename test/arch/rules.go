package arch

// Rules is a statement of policy about a module.
type Rules struct {
	// Floors are the rooms, from the ground up. A package may import its own room
	// and rooms on floors below. A name with "!" at the end is the folder without
	// what is below it.
	Floors [][]string

	// Free are areas whose rooms may import each other on the same floor.
	Free []string

	// Doors are the dependencies that only some rooms may import.
	Doors []Door

	// Denials are what a room must not know, beyond floors and doors.
	Denials []Denial

	// OnlyModules are the packages that depend, even indirectly, on nothing but
	// the standard library and what is listed.
	OnlyModules map[string][]string

	// Testing are the packages that may import "testing" outside of tests, and
	// why.
	Testing map[string]string

	// ForbiddenNames are names of files and packages that say nothing.
	ForbiddenNames []string
}

// A Door is a heavy dependency and the only rooms that import it, so that it can
// be replaced, bounded and reviewed in one place.
type Door struct {
	Dependency string
	Rooms      []string
}

// A Denial says what a room must not know.
type Denial struct {
	Room   string   // and every room below it
	Direct []string // must not be imported
	Deps   []string // must not be depended on, even indirectly
	Why    string
}

// House is the architecture of Passerelle.
var House = Rules{
	Floors: [][]string{
		{ // the ground: each knows one thing, and none of the others
			"crypto/oprf", "crypto/psi", "crypto/fuzzy", "crypto/sealed", "crypto/keys",
			"policy", "proto",
			"gateway/record", "gateway/agreement", "gateway/officer", "gateway/peer", "gateway/query",
			"gateway/audit/entry", "gateway/internal/notify", "gateway/internal/telemetry", "gateway/internal/together",
		},
		// examples/fiction makes records for the demo, the benchmark and tests
		{"gateway/ingest", "gateway/store", "gateway/audit", "gateway/budget", "gateway/facts", "examples/fiction"},
		{"gateway/holder", "gateway/asker", "gateway/admin", "gateway/followup", "gateway/inspect"},
		{"gateway/internal/rpc"},
		{"gateway!"},
		{"cmd/passerelle", "cmd/passerelle-verify"},
		{"examples", "test"},
	},
	Free: []string{"crypto"},
	Doors: []Door{
		{"github.com/cloudflare/circl", []string{"crypto/oprf"}},
		{"github.com/gtank/ristretto255", []string{"crypto/oprf"}},
		{"filippo.io/edwards25519", []string{"crypto/oprf"}},
		{"github.com/tuneinsight/lattigo", []string{"crypto/fuzzy"}},
		{"crypto/hpke", []string{"crypto/sealed"}},
		{"github.com/open-policy-agent/opa", []string{"policy"}},
		{"github.com/spiffe/go-spiffe", []string{"gateway/peer"}},
		{"github.com/transparency-dev/tessera", []string{"gateway/audit"}},
		{"github.com/transparency-dev/merkle", []string{"gateway/audit", "gateway/audit/entry"}},
		{"modernc.org/sqlite", []string{"gateway/store"}},
		{"github.com/jackc/pgx", []string{"gateway/store"}},
		{"database/sql", []string{"gateway/store"}},
		{"google.golang.org/grpc", []string{"proto", "gateway/internal/rpc", "gateway/internal/telemetry", "gateway", "cmd/passerelle", "test"}},
		{"github.com/spf13/cobra", []string{"cmd/passerelle"}},
	},
	Denials: []Denial{
		{
			Room: "crypto", Deps: []string{"gateway", "policy", "proto", "cmd"},
			Direct: []string{"net", "os/exec", "log", "context/log", "database/sql"},
			Why:    "cryptography is a function of its arguments: no network, no logs, no messages",
		},
		{
			Room: "policy", Deps: []string{"crypto/oprf", "crypto/psi", "crypto/fuzzy", "crypto/sealed", "crypto/keys", "gateway", "proto"},
			Direct: []string{"net", "log"},
			Why:    "rules must not be able to see identifiers, elements, templates or messages",
		},
		{
			Room: "proto", Deps: []string{"crypto/oprf", "crypto/psi", "crypto/fuzzy", "crypto/sealed", "crypto/keys", "gateway", "policy"},
			Why: "messages are data",
		},
		{
			Room: "gateway/audit", Deps: []string{"crypto/oprf", "crypto/psi", "crypto/fuzzy", "policy", "proto"},
			Why: "the log must be verifiable by a program that has none of our keys, rules or messages",
		},
		{
			Room: "cmd/passerelle-verify", Deps: []string{"crypto/oprf", "crypto/psi", "crypto/fuzzy", "policy", "proto",
				"github.com/open-policy-agent/opa", "google.golang.org/grpc", "database/sql", "net/http", "testing"},
			Why: "the verifier is small enough to read in an hour, and makes no connection",
		},
		{
			Room: "gateway/record", Deps: []string{"crypto/oprf", "crypto/psi", "crypto/fuzzy", "crypto/sealed", "crypto/keys"},
			Direct: []string{"net/http", "database/sql"},
			Why:    "records know neither keys nor networks",
		},
		{
			Room: "gateway/ingest", Deps: []string{"crypto/oprf", "crypto/psi", "crypto/fuzzy", "crypto/sealed", "crypto/keys"},
			Direct: []string{"net/http", "database/sql"},
			Why:    "readers turn files into records and do nothing with them",
		},
		{
			Room: "gateway/officer", Deps: []string{"gateway/query", "crypto/oprf", "crypto/psi"},
			Why: "the register knows people and no queries",
		},
		{
			Room: "gateway/budget", Deps: []string{"crypto/oprf", "crypto/psi", "gateway/record", "policy"},
			Why: "budgets count, and know no content",
		},
		{
			Room: "gateway/store", Deps: []string{"policy", "github.com/open-policy-agent/opa", "google.golang.org/grpc"},
			Direct: []string{"net/http"},
			Why:    "storage decides nothing and talks to nobody",
		},
		{
			Room: "gateway/holder", Direct: []string{"proto", "crypto/tls", "crypto/x509", "net/http", "encoding/csv", "encoding/xml"},
			Why: "the holder's journey is the order of steps: no messages, certificates or file formats",
		},
		{
			Room: "gateway/asker", Direct: []string{"proto", "crypto/tls", "crypto/x509", "net/http", "encoding/csv", "encoding/xml"},
			Why: "the asker's journey is the order of steps: no messages, certificates or file formats",
		},
		{
			Room: "gateway/internal/rpc", Direct: []string{"gateway/store", "gateway/budget", "crypto/keys", "crypto/oprf", "os/exec"},
			Why: "the boundary turns messages into our types: no keys, no storage",
		},
		{
			Room: "gateway/internal/telemetry", Deps: []string{"crypto/oprf", "crypto/psi", "crypto/fuzzy", "crypto/sealed", "crypto/keys",
				"policy", "proto", "gateway"},
			Why: "telemetry must not be able to see what a query is about",
		},
	},
	OnlyModules: map[string][]string{
		"gateway/query": {"gateway/query"},
		"gateway/audit/entry": {"gateway/audit/entry", "golang.org/x/mod", "golang.org/x/crypto", "golang.org/x/sys",
			"github.com/transparency-dev/merkle"},
	},
	Testing: map[string]string{
		"gateway/store/storetest":      "conformance suite that every Store runs",
		"gateway/audit/audittest":      "conformance suite that every log storage runs",
		"gateway/internal/rpc/rpctest": "real server on loopback with real mTLS, for the tests of the rooms above",
		"crypto/oprf/oprftest":         "fixed randomness for vectors, which must not be reachable from a gateway",
		"crypto/psi/psitest":           "small sets for the tests of the rooms above",
		"gateway/peer/peertest":        "a fake Workload API on a real socket",
	},
	ForbiddenNames: []string{"types", "utils", "util", "interfaces", "helpers", "misc"},
}

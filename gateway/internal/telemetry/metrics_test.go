package telemetry_test

import (
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/passerelle/passerelle/gateway/internal/telemetry"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt anew")

// TestGolden compares the names, labels and texts of all metrics with a file,
// because dashboards and alarms of operators depend on them.
func TestGolden(t *testing.T) {
	t.Parallel()
	tel := open(t, telemetry.Config{Prometheus: "127.0.0.1:0"}, nil)
	for _, d := range []string{"asked", "answered"} {
		tel.QueriesAnswered(d, "allowed", "")
		tel.QueriesAnswered(d, "denied", "BUDGET_EXHAUSTED")
		tel.QueriesAnswered(d, "failed", "AUDIT_UNAVAILABLE")
		tel.QueryDuration(d, 30*time.Millisecond)
	}
	tel.QueriesAnswered("sideways", "perhaps", "because")
	tel.LogAppend(3 * time.Millisecond)
	tel.Panics(methods[1])
	tel.LogOldestUnpublished("shared", func() time.Duration { return 1500 * time.Millisecond })
	tel.LogOldestUnpublished("internal", func() time.Duration { return 0 })
	tel.ListAge(func() []telemetry.ListCopy { return []telemetry.ListCopy{{"b.example", "watchlist", time.Hour}} })

	seen := make(chan metadata.MD, 1)
	addr := serve(t, newServer(tel), func(s *grpc.Server) {
		d := echo(seen, grpccodes.PermissionDenied)
		s.RegisterService(&d, nil)
	})
	conn, err := grpc.NewClient(addr, append(tel.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, method := range []string{methods[0], "/unknown.Service/Method"} {
		conn.Invoke(t.Context(), method, wrapperspb.String(""), new(wrapperspb.StringValue))
	}
	body := scrapeUntil(t, tel, `rpc_server_call_duration_seconds_count{rpc_method="other"`)
	var b strings.Builder
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "rpc_") { // real durations
			line = line[:strings.LastIndexByte(line, ' ')] + " N\n"
		}
		b.WriteString(line)
	}
	const file = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("metrics differ from %s; if that is meant, run with -update and tell operators:\n%s", file, got)
	}
}

// TestServer checks what the listener answers.
func TestServer(t *testing.T) {
	t.Parallel()
	tel := open(t, telemetry.Config{Prometheus: "127.0.0.1:0"}, nil)
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/metrics", 200},
		{"HEAD", "/metrics", 405},
		{"POST", "/metrics", 405},
		{"DELETE", "/metrics", 405},
		{"GET", "/", 404},
		{"GET", "/metrics/", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/debug/vars", 404},
		{"POST", "/" + canary, 404},
	}
	for _, tt := range tests {
		resp, body := get(t, tt.method, "http://"+tel.Addr()+tt.path, "")
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s = %d, want %d", tt.method, tt.path, resp.StatusCode, tt.want)
		}
		if resp.StatusCode == http.StatusMethodNotAllowed && resp.Header.Get("Allow") != "GET" {
			t.Errorf("%s %s: Allow = %q", tt.method, tt.path, resp.Header.Get("Allow"))
		}
		sweep(t, "the answer", []byte(body))
	}
}

// TestCardinality checks that many series become one.
func TestCardinality(t *testing.T) {
	t.Parallel()
	tel := open(t, telemetry.Config{Prometheus: "127.0.0.1:0"}, nil)
	tel.ListAge(func() []telemetry.ListCopy {
		var list []telemetry.ListCopy
		for i := range 3000 {
			list = append(list, telemetry.ListCopy{Holder: "b.example", Collection: fmt.Sprint("c", i)})
		}
		return list
	})
	for i := range 3000 {
		tel.QueriesAnswered(fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i))
	}
	body := scrape(t, tel, "")
	over := strings.Contains(body, `{otel_metric_overflow="true"}`)
	if got := strings.Count(body, "passerelle_list_age_seconds{"); got > 1000 || !over {
		t.Errorf("%d series of one instrument, and overflow %v", got, over)
	}
	if got := strings.Count(body, "passerelle_queries_total{"); got != 1 {
		t.Errorf("%d series of queries, want 1", got)
	}
}

// TestKeysHaveForms checks that the keys of instruments are on the allow-list.
func TestKeysHaveForms(t *testing.T) {
	t.Parallel()
	if got := telemetry.MetricKeys(); len(got) != 0 {
		t.Errorf("keys without a form: %v", got)
	}
}

// TestReasons checks that the closed set has every reason of gateway/query, which
// this package cannot import.
func TestReasons(t *testing.T) {
	t.Parallel()
	f, err := parser.ParseFile(token.NewFileSet(), "../../query/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"none"}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Reason" {
				for _, v := range spec.Values {
					s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, s)
				}
			}
		}
		return true
	})
	var got []string
	for r := range telemetry.Reasons() {
		got = append(got, r)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("reasons differ from those of gateway/query:\n got %q\nwant %q", got, want)
	}
}

// TestSteps checks that every step has a name of its own.
func TestSteps(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for s := telemetry.HolderDecide; s <= telemetry.ListSync; s++ {
		name := s.String()
		if name == "" || name == "other" || seen[name] {
			t.Errorf("step %d has the name %q", s, name)
		}
		seen[name] = true
	}
	if got := telemetry.Step(255).String(); got != "other" {
		t.Errorf("a step that is none has the name %q", got)
	}
	c := newCollector(t)
	tel := open(t, telemetry.Config{OTLP: c.addr, Insecure: true}, nil)
	for s := telemetry.HolderDecide; s <= telemetry.ListSync; s++ {
		telemetry.Trace(t.Context(), tel, s, func(context.Context) (int, error) { return 0, nil },
			telemetry.Peer("b.example"), telemetry.Items(17))
	}
	_, spans := c.received(t, tel)
	for name := range seen {
		if s := spans[name]; s == nil || attributes(s) != "passerelle.peer=b.example passerelle.items=64" {
			t.Errorf("span of %q is %v", name, s)
		}
	}
}

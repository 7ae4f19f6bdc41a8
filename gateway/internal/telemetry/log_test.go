package telemetry_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/internal/telemetry"
)

// newLog returns a Logger behind the allow-list, and what it writes.
func newLog() (*slog.Logger, *telemetry.Handler, *buffer) {
	var out buffer
	h := telemetry.NewHandler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}), methods)
	return slog.New(h), h, &out
}

// A valuer gives its own value, as types that hide themselves do.
type valuer struct{ v slog.Value }

func (v valuer) LogValue() slog.Value { return v.v }

// panicking is an error whose text cannot be had.
type panicking struct{}

func (*panicking) Error() string { panic(canary) }

func TestHandler(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"all keys", func(l *slog.Logger) {
			l.Warn("query failed", "query_id", "0199b2c4-7d1e-7abc-8def-0123456789ab", "request_id", "00112233445566ff",
				"peer", "border.b.example", "agreement", "uto-rut-1", "collection", "watchlist", "origin", "a.example/log/shared",
				"gateway", "spiffe://a.example/gateway/main", "endpoint", "[::1]:8443", "bundle", "00ff00ff",
				"revision", "00ff00ff", "reason", "OVERLOADED", "code", "Unavailable", "list_version", uint64(7),
				"count", 3, "files", 2, "lists_deleted", 1, "method", methods[0], "err", errors.New("store: no space"))
		}, `level=WARN msg="query failed" query_id=0199b2c4-7d1e-7abc-8def-0123456789ab request_id=00112233445566ff ` +
			`peer=border.b.example agreement=uto-rut-1 collection=watchlist origin=a.example/log/shared ` +
			`gateway=spiffe://a.example/gateway/main endpoint=[::1]:8443 bundle=00ff00ff revision=00ff00ff ` +
			`reason=OVERLOADED code=Unavailable list_version=7 count=3 files=2 lists_deleted=1 ` +
			`method=/passerelle.v1.PeerService/Terms err="store: no space"`},
		{"unknown key", func(l *slog.Logger) { l.Info("call refused", "name", "x", "peer", "b.example", "dob", 1970) },
			`level=INFO msg="call refused" peer=b.example withheld=2`},
		{"unknown method", func(l *slog.Logger) { l.Info("call refused", "method", "/a.B/C") },
			`level=INFO msg="call refused" method=other`},
		{"unknown reason", func(l *slog.Logger) { l.Info("call refused", "reason", "ALICE") },
			`level=INFO msg="call refused" withheld=1`},
		{"kept by a derived logger", func(l *slog.Logger) { l.With("request_id", "00112233445566ff", "x", 1).Info("panic") },
			`level=INFO msg=panic request_id=00112233445566ff`},
		{"group", func(l *slog.Logger) { l.Info("panic", slog.Group("who", "peer", "b.example", "name", "x")) },
			`level=INFO msg=panic peer=b.example withheld=2`},
		{"inline group", func(l *slog.Logger) { l.Info("panic", slog.Group("", "peer", "b.example")) },
			`level=INFO msg=panic peer=b.example`},
		{"in a group", func(l *slog.Logger) { l.WithGroup("alice").Info("panic", "peer", "b.example") },
			`level=INFO msg=panic peer=b.example`},
		{"error as text", func(l *slog.Logger) { l.Info("panic", "err", "rpc: no") }, `level=INFO msg=panic err="rpc: no"`},
		{"error that is none", func(l *slog.Logger) { l.Info("panic", "err", struct{ Name string }{"x"}) },
			`level=INFO msg=panic withheld=1`},
		{"error that panics", func(l *slog.Logger) { l.Info("panic", "err", (*panicking)(nil)) },
			`level=INFO msg=panic err="telemetry: an error without a text"`},
		{"long error", func(l *slog.Logger) { l.Info("panic", "err", errors.New(strings.Repeat("ü", 2000))) },
			`level=INFO msg=panic err=` + strings.Repeat("ü", 512) + `...`},
		{"value that resolves", func(l *slog.Logger) { l.Info("panic", "peer", valuer{slog.StringValue("b.example")}) },
			`level=INFO msg=panic peer=b.example`},
		{"float", func(l *slog.Logger) { l.Info("panic", "count", 0.5) }, `level=INFO msg=panic withheld=1`},
		{"no key", func(l *slog.Logger) { l.Info("panic", []any{"peer"}...) }, `level=INFO msg=panic withheld=1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, _, out := newLog()
			tt.log(l)
			if got := strings.TrimSuffix(out.String(), "\n"); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestMessage checks that a message that is not constant is replaced, and that its
// place in the code is told.
func TestMessage(t *testing.T) {
	t.Parallel()
	l, h, out := newLog()
	for _, m := range []string{"", "Query failed", "query of " + canary + " failed", "query failed: " + canary, "query\nfailed",
		"query \"x\" failed", "query of ängström failed", "query of " + strings.Repeat("a", 200)} {
		before := h.Withheld()
		l.Info(m)
		if got := h.Withheld() - before; got != 1 {
			t.Errorf("message %q: %d withheld, want 1", m, got)
		}
	}
	sweep(t, "the log", []byte(out.String()))
	want := regexp.MustCompile(`^level=INFO msg="message withheld" source=\S*telemetry_test.TestMessage:\d+ withheld=1$`)
	for line := range strings.Lines(out.String()) {
		if !want.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("line is %q", line)
		}
	}
}

// TestCanaryLog logs the canary in every way but in an error's text.
func TestCanaryLog(t *testing.T) {
	t.Parallel()
	var text, object bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&object, nil)} {
		l := slog.New(telemetry.NewHandler(h, methods))
		person := struct{ Name string }{canary}
		values := []any{canary, canary + " x", []byte(canary), []string{canary}, person, &person, map[string]string{canary: canary},
			fmt.Errorf("x %s", canary), valuer{slog.StringValue(canary + " x")}, valuer{slog.GroupValue(slog.String("name", canary))},
			slog.GroupValue(slog.String(canary, canary)), 1970 * time.Second, time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}
		for _, v := range values {
			for _, key := range []string{"name", canary, "", "query_id", "request_id", "reason", "origin", "revision", "method",
				"gateway", "bundle", "lists_deleted", "list_version", "count", "stack"} {
				l.Info("query failed", key, v)
				l.With(key, v).Info("query failed")
				l.With(slog.Group(canary, key, v)).WithGroup(canary).Info("query failed", slog.Group("x", key, v))
			}
		}
		for _, key := range []string{"peer", "agreement", "collection", "code"} {
			l.Info("query failed", key, canary+" Alice", key, []byte(canary), key, person)
		}
		l.Info(canary, []any{canary, canary, canary}...)
	}
	sweep(t, "the log", text.Bytes())
	sweep(t, "the log as JSON", object.Bytes())
	if bytes.Contains(object.Bytes(), []byte("1970-")) {
		t.Error("the log has a date")
	}
}

// born is a function whose arguments are in a stack.
//
//go:noinline
func born(year, month int, name string, do func()) { do() }

type receiver struct{}

//go:noinline
func (*receiver) born(year int, do func()) { born(year, 11, canary, do) }

func TestStack(t *testing.T) {
	t.Parallel()
	l, _, out := newLog()
	func() {
		defer func() {
			v := recover()
			l.Error("panic", "stack", string(debug.Stack()), "value", v)
		}()
		(&receiver{}).born(0x7b2ee, func() { panic(canary) })
	}()
	got := out.String()
	sweep(t, "the stack", []byte(got))
	for _, want := range []string{"telemetry_test.born(...)", "telemetry_test.(*receiver).born(...)", "TestStack(...)", "log_test.go:",
		"goroutine ", "panic(...)"} {
		if !strings.Contains(got, want) {
			t.Errorf("the stack has no %s:\n%s", want, got)
		}
	}
	for _, not := range []string{"7b2ee", "0xb", "+0x"} {
		if strings.Contains(got, not) {
			t.Errorf("the stack has %s:\n%s", not, got)
		}
	}
}

// kept are keys that are used on purpose although the allow-list keeps them out,
// each with the reason.
var kept = map[string]string{
	"read":     "size of a list",
	"rejected": "size of a list",
	"total":    "size of a list",
}

// TestRepository checks every log call of this module: messages are constant and
// in our form, keys are constant and on the list, and no call is to the logger of
// the process.
func TestRepository(t *testing.T) {
	t.Parallel()
	calls := []string{"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "With"}
	found := 0
	for _, root := range []string{"../../../gateway", "../../../crypto", "../../../policy"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(src, []byte("og.")) {
				return err
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				fun, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || !slices.Contains(calls, fun.Sel.Name) || !isLogger(fun.X) {
					return true
				}
				found++
				at := set.Position(call.Pos())
				if x, ok := fun.X.(*ast.Ident); ok && x.Name == "slog" {
					t.Errorf("%s: logs to the logger of the process", at)
				}
				args := call.Args
				if strings.HasSuffix(fun.Sel.Name, "Context") {
					args = args[1:]
				}
				if fun.Sel.Name != "With" {
					if m, ok := literal(args[0]); !ok || !telemetry.LogMessage(m) {
						t.Errorf("%s: the message is not a constant in our form", at)
					}
					args = args[1:]
				}
				if call.Ellipsis.IsValid() {
					return true
				}
				for i := 0; i < len(args); i += 2 {
					key, ok := literal(args[i])
					switch {
					case !ok:
						t.Errorf("%s: a key is not a constant", at)
					case !telemetry.LogKey(key) && kept[key] == "":
						t.Errorf("%s: key %q is not on the allow-list in gateway/internal/telemetry/log.go", at, key)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 10 {
		t.Errorf("%d log calls were found; the test looks at the wrong places", found)
	}
}

// isLogger reports whether x is a logger by the names of the house.
func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "logger" || x.Name == "slog"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log" || x.Sel.Name == "Logger"
	case *ast.CallExpr:
		fun, ok := x.Fun.(*ast.SelectorExpr)
		return ok && fun.Sel.Name == "With" && isLogger(fun.X)
	}
	return false
}

func literal(x ast.Expr) (string, bool) {
	l, ok := x.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

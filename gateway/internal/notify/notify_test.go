package notify_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/internal/notify"
)

// newRunner returns a Runner of a shell script with arguments. Only the test and the
// Runner write to log, never at the same time.
func newRunner(t *testing.T, log *bytes.Buffer, script string, args ...string) *notify.Runner {
	t.Helper()
	r, err := notify.New(append([]string{"/bin/sh", "-c", script, "sh"}, args...), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNotify(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	var log bytes.Buffer
	r := newRunner(t, &log, `cat >> "$1"`, out)
	n := notify.Notice{Time: time.Date(2026, 11, 22, 13, 0, 0, 0, time.FixedZone("", 3600)), Gateway: "spiffe://border.utopia.example/gateway/main",
		Kind: "budget_notice", Reason: "BUDGET_WARNING", Direction: "answered", Peer: "border.valdera.example",
		Agreement: "uto-val-1", Collection: "watchlist"}
	r.Notify(n)
	n.Reason = "BUDGET_EXHAUSTED"
	r.Notify(n)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Notify(n) // too late, and no panic
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	const line = `{"time":"2026-11-22T12:00:00Z","gateway":"spiffe://border.utopia.example/gateway/main","kind":"budget_notice",` +
		`"reason":"BUDGET_WARNING","direction":"answered","peer":"border.valdera.example","agreement":"uto-val-1","collection":"watchlist"}` + "\n"
	if want := line + strings.Replace(line, "WARNING", "EXHAUSTED", 1); string(got) != want {
		t.Errorf("the command read\n%swant\n%s", got, want)
	}
	if log.String() != "" {
		t.Errorf("logged: %s", &log)
	}
}

// TestFailure checks that a command that fails is told of, shortly, and stops nothing.
func TestFailure(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	var log bytes.Buffer
	r := newRunner(t, &log, `echo x >> "$1"; echo no mail server; yes | head -c 100000; exit 3`, out)
	for range 3 {
		r.Notify(notify.Notice{Reason: "BUDGET_WARNING"})
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(out); string(b) != "x\nx\nx\n" {
		t.Errorf("the command ran %d times, want 3", len(b)/2)
	}
	if n := strings.Count(log.String(), "notice not delivered"); n != 3 || !strings.Contains(log.String(), "exit status 3: no mail server") || len(log.String()) > 8<<10 {
		t.Errorf("%d failures logged in %d bytes, want 3:\n%.2000s", n, len(log.String()), &log)
	}
}

// TestHang checks that a command that does not end delays no caller, that the queue
// is bounded, and that Close ends it.
func TestHang(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	started := filepath.Join(t.TempDir(), "started")
	r := newRunner(t, &log, `echo >> "$1"; sleep 600`, started)
	r.Notify(notify.Notice{})
	for { // until it hangs: the queue is empty then
		if b, _ := os.ReadFile(started); len(b) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for range 64 + 3 {
		r.Notify(notify.Notice{Reason: "BUDGET_WARNING"})
	}
	if n := strings.Count(log.String(), "too many are waiting"); n != 3 {
		t.Errorf("%d notices were dropped, want 3", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v, want context.Canceled", err)
	}
	if b, _ := os.ReadFile(started); string(b) != "\n" {
		t.Errorf("the command ran %d times, want once", len(b))
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	r, err := notify.New(nil, nil)
	if r != nil || err != nil {
		t.Errorf("no command: %v, %v", r, err)
	}
	r.Notify(notify.Notice{})
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"sh", "./sh", "", filepath.Join(t.TempDir(), "missing"), file} {
		if _, err := notify.New([]string{command}, nil); err == nil {
			t.Errorf("New(%q): no error", command)
		}
	}
}

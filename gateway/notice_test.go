package gateway_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/internal/notify"
)

// TestNotice checks that a notice names the neighbour, on whichever side it is, and
// has no query id and no purpose.
func TestNotice(t *testing.T) {
	t.Parallel()
	const utopia, valdera = "spiffe://border.utopia.example/gateway/main", "spiffe://border.valdera.example/gateway/main"
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	e := &entry.Entry{Kind: entry.KindBudgetNotice, Time: noon.UnixMilli(), Query: [16]byte{1}, Direction: entry.DirectionAsked,
		Asker: utopia, Holder: valdera, Agreement: "uto-val-1", Purpose: "ct-travel-screening", Collection: "watchlist", Reason: "BUDGET_WARNING"}
	want := notify.Notice{Time: noon, Gateway: utopia, Kind: "budget_notice", Reason: "BUDGET_WARNING", Direction: "asked",
		Peer: "border.valdera.example", Agreement: "uto-val-1", Collection: "watchlist"}
	check := func(self string) {
		t.Helper()
		got := gateway.Notice(self, e)
		got.Time = got.Time.UTC()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("notice = %+v\nwant %+v", got, want)
		}
	}
	check(utopia)
	e.Direction = entry.DirectionAnswered
	want.Direction, want.Peer, want.Gateway = "answered", "border.utopia.example", valdera
	check(valdera)
}

// TestNotifyCommand checks that a gateway runs the command of its configuration for
// what either journey tells, before it is closed, and does not open with a command that
// cannot be run.
func TestNotifyCommand(t *testing.T) {
	t.Parallel()
	c := made(t)
	wrong := *c
	wrong.Notify = []string{filepath.Join(t.TempDir(), "missing")}
	if g, err := gateway.New(t.Context(), &wrong, gateway.Options{}); err == nil || g != nil || !strings.Contains(err.Error(), "notify") {
		t.Errorf("New with a command that is not there = %v, %v", g, err)
	}
	out := filepath.Join(t.TempDir(), "out")
	c.Notify = []string{"/bin/sh", "-c", `cat >> "$1"`, "sh", out}
	g, err := gateway.New(t.Context(), c, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g.Tell(&entry.Entry{Kind: entry.KindBudgetNotice, Direction: entry.DirectionAnswered, Reason: "BUDGET_WARNING",
		Asker: "spiffe://border.valdera.example/gateway/main", Agreement: "uto-val-1"})
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if n := strings.Count(string(b), `"reason":"BUDGET_WARNING","direction":"answered","peer":"border.valdera.example"`); err != nil || n != 2 {
		t.Errorf("the command read %q, %v: want both notices", b, err)
	}
}

package gateway_test

import (
	"reflect"
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

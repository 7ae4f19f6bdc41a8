package journey_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/query"
)

// finds reports whether a has a candidate for listed(i), or why it was not answered.
func finds(t *testing.T, a *country, i int) (bool, query.Reason) {
	t.Helper()
	r, err := a.ask(t, nil, traveller(i))
	if err != nil {
		return false, query.ReasonOf(err)
	}
	if refusal := r.Targets[0].Refusal; refusal != nil {
		return false, refusal.Reason
	}
	return len(r.Candidates) == 1, ""
}

// publish publishes everything of b and synchronises a.
func publish(t *testing.T, a, b *country) {
	t.Helper()
	if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range a.asker.Sync(t.Context(), "", "", nil) {
		if r.Refusal != nil {
			t.Fatalf("sync: %v", r.Refusal)
		}
	}
}

// alive returns the epochs of b that have a key.
func alive(t *testing.T, b *country) (out []uint32) {
	t.Helper()
	all, err := b.Epochs("watchlist")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Destroyed.IsZero() {
			out = append(out, e.Number)
		}
	}
	return out
}

// TestRotationUnderLoad begins an epoch, publishes it, synchronises it, and ends the
// one before, while two officers look people up: no lookup fails, and each finds who is
// on the list and nobody else.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 5, nil)
	var stop atomic.Bool
	var asked [4]atomic.Int64 // by stage
	var stage atomic.Int64
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for n := w; !stop.Load(); n++ {
				at := stage.Load()
				if found, reason := finds(t, a, n%10); reason != "" || found != (n%10 < 5) {
					t.Errorf("stage %d: subject %d found %t, refused %q", at, n%10, found, reason)
					return
				}
				asked[at].Add(1)
			}
		})
	}
	next := func() {
		for n := asked[stage.Load()].Load(); asked[stage.Load()].Load() < n+4 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		stage.Add(1)
	}
	next()
	if _, err := b.holder.Rotate(t.Context(), "watchlist", false); err != nil {
		t.Error(err)
	}
	next() // the asker has the old list, and the holder publishes none under the new key
	if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
		t.Error(err)
	}
	next()
	if r := a.asker.Sync(t.Context(), "", "", nil); r[0].Refusal != nil || r[0].To != 2 {
		t.Errorf("sync: %+v", r[0])
	}
	for n := asked[3].Load(); asked[3].Load() < n+4 && !t.Failed(); {
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	wg.Wait()

	// The overlap ends with the age that a copy may have, and not before.
	if got := fmt.Sprint(alive(t, b)); got != "[1 2]" {
		t.Errorf("epochs %s, want both", got)
	}
	b.clock.Add(24*time.Hour - time.Minute)
	publish(t, a, b)
	for _, want := range []string{"[1 2]", "[2]"} {
		if err := b.holder.MaintainEpochs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(alive(t, b)); got != want {
			t.Errorf("epochs %s, want %s", got, want)
		}
		if found, reason := finds(t, a, 1); !found {
			t.Errorf("a lookup after the overlap: refused %q", reason)
		}
		b.clock.Add(time.Minute)
	}
	// Of both ends of an epoch there is an entry.
	n := 0
	for _, kind := range kinds(t, b.shared, 0) {
		if kind == "epoch" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d entries about epochs, want 2", n)
	}
}

// TestProtectedRecordTakesTheEpochWithIt has the rules withhold a record that was
// published: it goes in a new epoch, in which every tag is another, while a record
// that is only deleted does not begin one. Whoever kept the old set finds the record
// until the old key is destroyed, and then nobody.
func TestProtectedRecordTakesTheEpochWithIt(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 4, nil)
	if err := b.store.DeleteRecord(t.Context(), "watchlist", listed(3).ID); err != nil {
		t.Fatal(err)
	}
	publish(t, a, b)
	if got := fmt.Sprint(alive(t, b)); got != "[1]" {
		t.Fatalf("epochs %s after a removal, want one", got)
	}
	if found, _ := finds(t, a, 3); found {
		t.Error("a removed record is found")
	}
	withheld := listed(1)
	withheld.ProtectionStatus, withheld.CountryOfOrigin = "asylum", "FRA"
	b.load(t, withheld)
	if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(alive(t, b)); got != "[1 2]" {
		t.Fatalf("epochs %s, want a second", got)
	}
	p, err := b.store.Published(t.Context(), a.td, "watchlist")
	if err != nil || p.Epoch != 2 || p.Version != 3 {
		t.Fatalf("published %+v, %v, want version 3 in epoch 2", p, err)
	}
	// What comes later begins no other.
	b.load(t, listed(9))
	if _, err := b.holder.PublishAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(alive(t, b)); got != "[1 2]" {
		t.Fatalf("epochs %s, want no third", got)
	}

	// An asker that keeps its old set.
	if found, reason := finds(t, a, 1); !found {
		t.Errorf("control: the old set does not find the record (%q)", reason)
	}
	if err := b.Destroy("watchlist", 1, b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if found, reason := finds(t, a, 1); found || reason != query.ListStale {
		t.Errorf("with the key destroyed: found %t, refused %q, want %s", found, reason, query.ListStale)
	}
	if r := a.asker.Sync(t.Context(), "", "", nil); r[0].Refusal != nil {
		t.Fatal(r[0].Refusal)
	}
	for i, want := range []bool{true, false, true, false} {
		if found, reason := finds(t, a, i); found != want || reason != "" {
			t.Errorf("subject %d: found %t, want %t; refused %q", i, found, want, reason)
		}
	}
}

// TestCompromisedKey ends every epoch before at once: what is under way is refused
// until the next sets are there.
func TestCompromisedKey(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	from := b.shared.Size()
	if epoch, err := b.holder.Rotate(t.Context(), "watchlist", false); epoch != 2 || err != nil {
		t.Fatalf("Rotate = %d, %v", epoch, err)
	}
	if epoch, err := b.holder.Rotate(t.Context(), "watchlist", true); epoch != 3 || err != nil {
		t.Fatalf("Rotate = %d, %v", epoch, err)
	}
	if got := fmt.Sprint(alive(t, b)); got != "[3]" {
		t.Errorf("epochs %s, want the third", got)
	}
	if got := fmt.Sprint(kinds(t, b.shared, from)); got != "[epoch epoch epoch epoch]" {
		t.Errorf("logged %s, want two beginnings and two ends", got)
	}
	if found, reason := finds(t, a, 1); found || reason != query.ListStale {
		t.Errorf("found %t, refused %q, want %s", found, reason, query.ListStale)
	}
	publish(t, a, b)
	if found, reason := finds(t, a, 1); !found {
		t.Errorf("with the new list: refused %q", reason)
	}
}

// TestEpochsAreDue lets time pass: the agreement names how long a key lives, and the
// one before ends although nothing can be published.
func TestEpochsAreDue(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, func(g *agreement.Agreement) { g.Collections[0].RotationDays = 3 })
	maintained := func(want string) {
		t.Helper()
		if err := b.holder.MaintainEpochs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(alive(t, b)); got != want {
			t.Errorf("epochs %s, want %s", got, want)
		}
	}
	if _, err := b.Epochs("watchlist"); err != nil {
		t.Fatal(err)
	}
	maintained("[1]")
	b.clock.Add(3*24*time.Hour - time.Second)
	maintained("[1]")
	b.clock.Add(time.Second)
	maintained("[1 2]")
	maintained("[1 2]")
	if err := b.registry.Suspend("a-b", b.td); err != nil {
		t.Fatal(err)
	}
	b.clock.Add(24 * time.Hour)
	maintained("[2]")
	b.clock.Add(300 * 24 * time.Hour)
	maintained("[2]") // no agreement: nobody has anything of it
	_ = a
}

// TestFirstListHasTheAgreedKey begins an epoch before the first list is published. The
// list begins with the key that the agreement names and goes on with the next, or does
// not begin if that key is destroyed.
func TestFirstListHasTheAgreedKey(t *testing.T) {
	t.Parallel()
	for _, destroyed := range []bool{false, true} {
		clk := newClock()
		a, b := newCountry(t, "border.utopia.example", clk), newCountry(t, "border.valdera.example", clk)
		agree(t, a, b, nil)
		b.load(t, listed(1))
		if _, err := b.holder.Rotate(t.Context(), "watchlist", destroyed); err != nil {
			t.Fatal(err)
		}
		if destroyed {
			if _, err := b.holder.PublishAll(t.Context(), nil); !errors.Is(err, holder.ErrCommitment) {
				t.Errorf("PublishAll = %v, want ErrCommitment", err)
			}
			continue
		}
		for _, epoch := range []uint32{1, 2} {
			publish(t, a, b)
			if p, err := b.store.Published(t.Context(), a.td, "watchlist"); err != nil || p.Epoch != epoch || p.Version != uint64(epoch) {
				t.Errorf("published %+v, %v, want epoch %d", p, err, epoch)
			}
			if found, reason := finds(t, a, 1); !found {
				t.Errorf("epoch %d: refused %q", epoch, reason)
			}
		}
	}
}

// TestNoEntryNoEpoch has the log fail: then there is no epoch, and the old one goes on.
func TestNoEntryNoEpoch(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 3, nil)
	b.holder.Shared = brokenLog{b.shared}
	if epoch, err := b.holder.Rotate(t.Context(), "watchlist", true); epoch != 0 || err == nil {
		t.Errorf("Rotate = %d, %v, want an error", epoch, err)
	}
	if got := fmt.Sprint(alive(t, b)); got != "[1]" {
		t.Errorf("epochs %s, want the first", got)
	}
	b.holder.Shared = b.shared
	if found, reason := finds(t, a, 1); !found {
		t.Errorf("refused %q", reason)
	}
}

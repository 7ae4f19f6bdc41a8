package views_test

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/asker"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// TestAcknowledgeDoesNotWait stops the asker's clock between match and outcome: the
// holder gets the last message about the query all the same. So it cannot see how
// long matching and recording take, which is longer if somebody was found.
func TestAcknowledgeDoesNotWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.utopia.mustAsk(t, w.utopia.newAsk(person(0)), 2) // connections are open from here on
	mark := w.valdera.tap.mark()
	matched, acknowledged := make(chan struct{}, 10), make(chan struct{})
	stop := func() {
		stack := string(debug.Stack())
		if strings.Contains(stack, "asker.(*Asker).logReceipt") || strings.Contains(stack, "asker.(*Asker).storeOutcome") {
			w.utopia.ahead.Store(int64(time.Minute))
		}
		if strings.Contains(stack, "asker.(*Asker).storeOutcome") {
			matched <- struct{}{}
			<-acknowledged
		}
	}
	w.utopia.atNow.Store(&stop)
	done := make(chan error, 1)
	a := w.utopia.newAsk(person(1))
	a.Holders = []string{w.valdera.td}
	go func() {
		_, err := w.utopia.ask(t, a)
		done <- err
	}()
	select {
	case <-matched:
	case <-time.After(time.Minute):
		t.Fatal("control: the clock was not asked for at the outcome")
	}
	w.valdera.tap.await(t, mark, 1, "AcknowledgeAnswer")
	select {
	case err := <-done:
		t.Errorf("control: the officer had an answer (%v) before the outcome", err)
	default:
	}
	close(acknowledged)
	if err := <-done; err != nil {
		t.Error(err)
	}

	// Nor does the shared log tell: the receipt has the time before the match, and only
	// the internal log the one after it.
	asked := a.Request.Time()
	w.utopia.atNow.Store(nil)
	w.utopia.shut(t)
	after := make(map[string]time.Duration)
	for _, e := range append(w.utopia.readLog(t, "shared"), w.utopia.readLog(t, "internal")...) {
		if e.Query != ([16]byte{}) && time.UnixMilli(e.Time).After(asked.Add(-time.Second)) {
			after[e.Kind.String()] = time.UnixMilli(e.Time).Sub(asked)
		}
	}
	if after["receipt"] > 50*time.Second || after["outcome"] < 50*time.Second {
		t.Errorf("entries after the ask: %v, want the receipt at once and the outcome in a minute", after)
	}
}

// TestCodesAreNoText puts a name into each field that travels as a code. The ask is
// refused at home, and nothing of it reaches the holder.
func TestCodesAreNoText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := new(sweeper)
	p := person(firstUnknown)
	s.subject("subject", &p)
	for field, put := range map[string]func(a *asker.Ask, text string){
		"purpose":       func(a *asker.Ask, text string) { a.Purpose = text },
		"legal basis":   func(a *asker.Ask, text string) { a.LegalBasis = text },
		"offence class": func(a *asker.Ask, text string) { a.OffenceClass = text },
		"urgency":       func(a *asker.Ask, text string) { a.Urgency = text },
		"collection":    func(a *asker.Ask, text string) { a.Collections = []string{text} },
		"holder":        func(a *asker.Ask, text string) { a.Holders = []string{text} },
	} {
		a := w.utopia.newAsk(person(firstUnknown))
		put(a, p.Name)
		r, err := w.utopia.ask(t, a)
		if err != nil {
			continue // refused as a whole
		}
		for _, h := range r.results {
			if h.GetRefusal() == nil || !h.GetRefusedHere() {
				t.Errorf("%s: a name in place of the code was sent to %s (refusal %v)", field, h.GetHolder(), h.GetRefusal().GetReason())
			}
		}
	}
	// No code is as bad as another one, where the agreement lists some.
	a := w.utopia.newAsk(person(firstUnknown))
	a.OffenceClass = ""
	r, err := w.utopia.ask(t, a)
	if err != nil || r.results[0].GetRefusal().GetReason() != pb.ErrorReason_ERROR_REASON_MALFORMED_REQUEST {
		t.Errorf("an ask without an offence class: %v", err)
	}
	for _, h := range []*nation{w.valdera, w.norlanda} {
		for _, e := range h.tap.since(0, (*event).peerService) {
			if label := s.first(e.data); e.incoming && label != "" {
				t.Errorf("%s received %s in %s", h.name, label, &e)
			}
		}
	}
	// Nor is it in a log at home, from which nobody can ever erase it. The facts of a
	// refused ask are in the database, until their retention ends, so that the refusal
	// can be explained: what was typed as a code is there too.
	w.utopia.shut(t)
	found, _ := s.files(t, w.utopia.dir, func(path string) bool { return strings.HasPrefix(path, "store/gateway.db") })
	clean(t, "the asker stores", found)
	if label := s.first(w.utopia.log.bytes()); label != "" {
		t.Errorf("the asker logs %s", label)
	}
}

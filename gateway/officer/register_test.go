package officer_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/officer"
)

// Attacks on the register that these tests cover: a change by one administrator,
// twice by the same, by somebody else, by one who was retired; a consent moved to
// another change or another place in the order; records changed, dropped,
// reordered, repeated, or of another register; a key used twice; an id given
// again; the last administrators removed. Not covered here: a cut at the end,
// which Head and the audit log show.

func TestTwoAdministrators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, _ := person(t, "o1", officer.RoleLegal, officer.RoleAsking)
	o.Trained = []officer.Training{{"search", start.Add(time.Hour)}, {"faces", start.Add(2 * time.Hour)}}
	c := w.register.NewChange(officer.Enrol, o, w.now)
	for range 2 { // the same administrator twice is one
		if done, err := w.propose(c, "admin-a"); done || err != nil {
			t.Fatalf("first administrator: done %v, error %v", done, err)
		}
	}
	if _, ok := w.register.Lookup("o1"); ok || w.register.HasRole("o1", officer.RoleAsking, w.now) {
		t.Error("enrolled by one administrator")
	}
	if ps := w.register.Pending(w.now); len(ps) != 1 || ps[0].Consent.Administrator != "admin-a" {
		t.Errorf("Pending = %v", ps)
	}
	w.now = w.now.Add(time.Minute)
	if done, err := w.propose(c, "admin-b"); !done || err != nil {
		t.Fatalf("second administrator: done %v, error %v", done, err)
	}
	got, ok := w.register.Lookup("o1")
	if !ok || !got.Enrolled.Equal(w.now) || !got.Retired.IsZero() || !got.PublicKey.Equal(o.PublicKey) {
		t.Errorf("Lookup = %v, %v", got, ok)
	}
	if len(w.register.Pending(w.now)) != 0 {
		t.Error("a change waits after it took effect")
	}
	checks := []struct {
		name      string
		got, want bool
	}{
		{"role", w.register.HasRole("o1", officer.RoleAsking, w.now), true},
		{"other role", w.register.HasRole("o1", officer.RoleAuditor, w.now), false},
		{"before", w.register.HasRole("o1", officer.RoleAsking, w.now.Add(-time.Second)), false},
		{"unknown", w.register.HasRole("o2", officer.RoleAsking, w.now), false},
		{"trained", w.register.Trained("o1", "search", w.now), true},
		{"lapsed", w.register.Trained("o1", "search", start.Add(time.Hour)), false},
		{"other course", w.register.Trained("o1", "names", w.now), false},
		{"key", w.register.HasKey("o1", o.PublicKey, w.now), true},
		{"key of another", w.register.HasKey("admin-a", o.PublicKey, w.now), false},
	}
	for _, c := range checks {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
	// What is returned is not the register itself.
	got.Roles[0], got.PublicKey[0] = officer.RoleAuditor, got.PublicKey[0]^1
	if again, _ := w.register.Lookup("o1"); again.Roles[0] == officer.RoleAuditor || !again.PublicKey.Equal(o.PublicKey) {
		t.Error("Lookup returns the register itself")
	}
	if _, err := w.propose(c, "admin-b"); !errors.Is(err, officer.ErrStale) {
		t.Errorf("the same change again: error = %v, want ErrStale", err)
	}
}

func TestProposeRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asker := w.enrol("asker", officer.RoleAsking)
	w.enrol("admin-c", officer.RoleAdministrator)
	if err := w.both(officer.Retire, officer.Officer{ID: "admin-c"}); err != nil {
		t.Fatal(err)
	}
	o, _ := person(t, "o1", officer.RoleAsking)
	good := w.register.NewChange(officer.Enrol, o, w.now)
	sign := func(c officer.Change, admin string) []byte {
		sig, err := officer.SignChange(w.keys[admin], c)
		if err != nil {
			t.Fatal(err)
		}
		return sig[:]
	}
	change := func(f func(c *officer.Change)) officer.Change {
		c := good
		f(&c)
		return c
	}
	sequence := change(func(c *officer.Change) { c.Sequence++ })
	previous := change(func(c *officer.Change) { c.Previous[0] ^= 1 })
	future := change(func(c *officer.Change) { c.Time = w.now.Add(6 * time.Minute) })
	past := change(func(c *officer.Change) { c.Time = w.now.Add(-officer.ProposalLife - time.Second) })
	again := change(func(c *officer.Change) { c.Officer.ID = "asker" })
	retired := change(func(c *officer.Change) { c.Officer.ID = "admin-c" })
	key := change(func(c *officer.Change) { c.Officer.PublicKey = asker.PublicKey })
	update := change(func(c *officer.Change) { c.Kind = officer.Update })
	unknown := w.register.NewChange(officer.Retire, officer.Officer{ID: "o1"}, w.now)
	tests := []struct {
		name   string
		change officer.Change
		admin  string
		sig    []byte
		want   error
	}{
		{"not an administrator", good, "asker", sign(good, "asker"), officer.ErrNotAdministrator},
		{"retired administrator", good, "admin-c", sign(good, "admin-c"), officer.ErrNotAdministrator},
		{"unknown", good, "x", sign(good, "admin-a"), officer.ErrNotAdministrator},
		{"signature of another", good, "admin-a", sign(good, "admin-b"), officer.ErrSignature},
		{"signature of another change", good, "admin-a", sign(key, "admin-a"), officer.ErrSignature},
		{"no signature", good, "admin-a", nil, officer.ErrSignature},
		{"sequence", sequence, "admin-a", sign(sequence, "admin-a"), officer.ErrStale},
		{"previous", previous, "admin-a", sign(previous, "admin-a"), officer.ErrStale},
		{"future", future, "admin-a", sign(future, "admin-a"), officer.ErrStale},
		{"past", past, "admin-a", sign(past, "admin-a"), officer.ErrStale},
		{"id again", again, "admin-a", sign(again, "admin-a"), officer.ErrChange},
		{"retired id again", retired, "admin-a", sign(retired, "admin-a"), officer.ErrChange},
		{"key of another", key, "admin-a", sign(key, "admin-a"), officer.ErrChange},
		{"update of nobody", update, "admin-a", sign(update, "admin-a"), officer.ErrChange},
		{"retire nobody", unknown, "admin-a", sign(unknown, "admin-a"), officer.ErrChange},
		{"kind", change(func(c *officer.Change) { c.Kind = 1 }), "admin-a", make([]byte, 64), officer.ErrChange},
		{"version", change(func(c *officer.Change) { c.Version = 2 }), "admin-a", make([]byte, 64), officer.ErrChange},
	}
	for _, tt := range tests {
		if done, err := w.register.Propose(tt.change, tt.admin, tt.sig, w.now); done || !errors.Is(err, tt.want) {
			t.Errorf("%s: done %v, error = %v, want %v", tt.name, done, err, tt.want)
		}
	}
	if len(w.register.Pending(w.now)) != 0 {
		t.Error("a refused change waits")
	}
	// Two consents for two different changes are not two for one.
	other := change(func(c *officer.Change) { c.Officer.Roles = []officer.Role{officer.RoleAuditor} })
	for c, admin := range map[*officer.Change]string{&good: "admin-a", &other: "admin-b"} {
		if done, err := w.propose(*c, admin); done || err != nil {
			t.Errorf("done %v, error %v", done, err)
		}
	}
	// A proposal does not wait for ever.
	w.now = w.now.Add(officer.ProposalLife + time.Second)
	if len(w.register.Pending(w.now)) != 0 {
		t.Error("proposals wait for ever")
	}
	if done, err := w.propose(good, "admin-b"); done || !errors.Is(err, officer.ErrStale) {
		t.Errorf("late: done %v, error %v", done, err)
	}
}

// TestLastAdministrators tries to get below two.
func TestLastAdministrators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, _ := w.register.Lookup("admin-a")
	demoted := a
	demoted.Roles = []officer.Role{officer.RoleOperator}
	if err := w.both(officer.Retire, officer.Officer{ID: "admin-b"}); !errors.Is(err, officer.ErrChange) {
		t.Errorf("retire: error = %v, want ErrChange", err)
	}
	if err := w.both(officer.Update, demoted); !errors.Is(err, officer.ErrChange) {
		t.Errorf("update: error = %v, want ErrChange", err)
	}
	w.enrol("admin-c", officer.RoleAdministrator)
	if err := w.both(officer.Update, demoted); err != nil {
		t.Errorf("update with three: %v", err)
	}
	c := w.register.NewChange(officer.Retire, officer.Officer{ID: "admin-b"}, w.now)
	if _, err := w.propose(c, "admin-c"); !errors.Is(err, officer.ErrChange) {
		t.Errorf("retire: error = %v, want ErrChange", err)
	}
}

func TestUpdateAndRetire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.enrol("o1", officer.RoleAsking)
	enrolled := w.now

	w.now = w.now.Add(time.Hour)
	next, k := person(t, "o1", officer.RoleVerifying)
	if err := w.both(officer.Update, next); err != nil {
		t.Fatal(err)
	}
	updated := w.now
	if w.register.HasRole("o1", officer.RoleAsking, w.now) || !w.register.HasRole("o1", officer.RoleVerifying, w.now) {
		t.Error("the update did not replace the roles")
	}
	if w.register.HasKey("o1", first.PublicKey, w.now) {
		t.Error("the old key is still good")
	}
	// Old signatures stay verifiable.
	if o, ok := w.register.LookupAt("o1", updated.Add(-time.Second)); !ok || !o.PublicKey.Equal(first.PublicKey) {
		t.Errorf("LookupAt = %v, %v", o, ok)
	}
	if _, ok := w.register.LookupAt("o1", enrolled.Add(-time.Second)); ok {
		t.Error("LookupAt before the officer was enrolled")
	}
	// The old key does not come back.
	if err := w.both(officer.Update, first); !errors.Is(err, officer.ErrChange) {
		t.Errorf("old key: error = %v, want ErrChange", err)
	}
	// The same key may stay.
	next.Roles = []officer.Role{officer.RoleAsking, officer.RoleVerifying}
	if err := w.both(officer.Update, next); err != nil {
		t.Errorf("same key: %v", err)
	}

	w.now = w.now.Add(time.Hour)
	if err := w.both(officer.Retire, officer.Officer{ID: "o1"}); err != nil {
		t.Fatal(err)
	}
	o, ok := w.register.Lookup("o1")
	if !ok || !o.Retired.Equal(w.now) || !o.Enrolled.Equal(enrolled) || !o.PublicKey.Equal(k.PublicKey()) {
		t.Errorf("Lookup = %v, %v", o, ok)
	}
	if w.register.HasRole("o1", officer.RoleAsking, w.now) || w.register.HasKey("o1", k.PublicKey(), w.now) {
		t.Error("a retired officer has a role or a key")
	}
	if !w.register.HasRole("o1", officer.RoleAsking, w.now.Add(-time.Second)) {
		t.Error("the officer had no role before")
	}
	for _, kind := range []officer.Kind{officer.Enrol, officer.Update, officer.Retire} {
		if err := w.both(kind, next); !errors.Is(err, officer.ErrChange) {
			t.Errorf("%v after retirement: error = %v, want ErrChange", kind, err)
		}
	}
	if got := len(w.register.List()); got != 3 {
		t.Errorf("List has %d officers, want 3", got)
	}
	w.reload()
}

// reload checks that the records make the same register.
func (w *world) reload() {
	w.t.Helper()
	again, err := officer.Load(w.store.records, w.founding, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if !reflect.DeepEqual(again.List(), w.register.List()) {
		w.t.Errorf("after loading: %v\nwant %v", again.List(), w.register.List())
	}
	n1, h1 := again.Head()
	n2, h2 := w.register.Head()
	if n1 != n2 || h1 != h2 || again.Founding() != w.founding {
		w.t.Errorf("after loading: head %d %x, want %d %x", n1, h1, n2, h2)
	}
	c := again.NewChange(officer.Retire, officer.Officer{ID: "o1"}, w.now)
	if _, err := again.Propose(c, "admin-a", nil, w.now); err == nil {
		w.t.Error("a register without save was changed")
	}
}

// TestLoadTampered changes the stored records in every way.
func TestLoadTampered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.enrol("o1", officer.RoleAsking)
	w.now = w.now.Add(time.Hour)
	w.enrol("admin-c", officer.RoleAdministrator)
	w.enrol("o2", officer.RoleAuditor)
	w.reload()
	other := newWorld(t)
	other.enrol("o1", officer.RoleAsking)

	refuse := func(name string, records [][]byte) {
		t.Helper()
		if r, err := officer.Load(records, w.founding, nil); !errors.Is(err, officer.ErrBroken) || r != nil {
			t.Errorf("%s: error = %v, want ErrBroken", name, err)
		}
	}
	rs := w.store.records
	refuse("none", nil)
	refuse("no founding", rs[1:])
	refuse("other founding", other.store.records)
	refuse("record of another", [][]byte{rs[0], other.store.records[1]})
	refuse("dropped", [][]byte{rs[0], rs[1], rs[3]})
	refuse("reordered", [][]byte{rs[0], rs[2], rs[1], rs[3]})
	refuse("repeated", [][]byte{rs[0], rs[1], rs[1]})
	refuse("founding again", [][]byte{rs[0], rs[0]})
	for n := range rs {
		for k := range rs[n] {
			changed := slices.Clone(rs)
			changed[n] = bytes.Clone(rs[n])
			changed[n][k] ^= 1
			if n == len(rs)-1 {
				// The time of effect of the last record is covered by Head only.
				rec, err := officer.ParseRecord(changed[n])
				was, _ := officer.ParseRecord(rs[n])
				if err == nil && !rec.Effective.Equal(was.Effective) {
					continue
				}
			}
			if r, err := officer.Load(changed, w.founding, nil); !errors.Is(err, officer.ErrBroken) || r != nil {
				t.Fatalf("record %d, byte %d: error = %v, want ErrBroken", n, k, err)
			}
		}
	}

	// Somebody with the key of one administrator, and with the database.
	rec, err := officer.ParseRecord(rs[3])
	if err != nil {
		t.Fatal(err)
	}
	rec.Change.Officer.Roles = []officer.Role{officer.RoleAdministrator}
	sig, err := officer.SignChange(w.keys["admin-a"], rec.Change)
	if err != nil {
		t.Fatal(err)
	}
	for n := range rec.Consents {
		rec.Consents[n].Signature = sig
	}
	b, err := rec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	refuse("one administrator for two", [][]byte{rs[0], rs[1], rs[2], b})
	rec.Consents[1] = rec.Consents[0]
	if _, err := rec.Bytes(); !errors.Is(err, officer.ErrChange) {
		t.Errorf("the same administrator twice: error = %v, want ErrChange", err)
	}
}

func TestSaveFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.err = errors.New("disk is full")
	o, _ := person(t, "o1", officer.RoleAsking)
	if err := w.both(officer.Enrol, o); !errors.Is(err, w.store.err) {
		t.Errorf("error = %v, want that of the disk", err)
	}
	if _, ok := w.register.Lookup("o1"); ok {
		t.Error("a change that is not stored took effect")
	}
	w.store.err = nil
	if done, err := w.propose(w.register.Pending(w.now)[0].Change, "admin-a"); !done || err != nil {
		t.Errorf("again: done %v, error %v", done, err)
	}
	w.reload()
}

func TestProposalLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var last officer.Change
	for n := range officer.MaxProposals + 1 {
		o, _ := person(t, fmt.Sprintf("o%d", n), officer.RoleAsking)
		last = w.register.NewChange(officer.Enrol, o, w.now)
		if _, err := w.propose(last, "admin-a"); (n == officer.MaxProposals) != errors.Is(err, officer.ErrChange) {
			t.Errorf("proposal %d: error = %v", n, err)
		}
	}
	// The other administrator is not stopped by that.
	if _, err := w.propose(last, "admin-b"); err != nil {
		t.Errorf("other administrator: %v", err)
	}
	if done, err := w.propose(last, "admin-a"); !done || err != nil {
		t.Errorf("consent over the limit: done %v, error %v", done, err)
	}
}

func TestFoundRefuses(t *testing.T) {
	t.Parallel()
	a, _ := person(t, "a", officer.RoleAdministrator)
	b, _ := person(t, "b", officer.RoleAdministrator)
	sameKey, sameID, noAdmin := b, b, b
	sameKey.PublicKey, sameID.ID, noAdmin.Roles = a.PublicKey, "a", []officer.Role{officer.RoleOperator}
	for name, b := range map[string]officer.Officer{"key": sameKey, "id": sameID, "role": noAdmin, "zero": {}} {
		record, founding, err := officer.Found(a, b, start)
		if err == nil || record != nil || founding != [32]byte{} {
			t.Errorf("%s: Found succeeded", name)
		}
	}
}

func TestRegisterConcurrent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for range 50 {
				w.register.HasRole("o1", officer.RoleAsking, start)
				w.register.List()
				w.register.Pending(start)
				w.register.Head()
				if n == 0 {
					w.register.LookupAt("admin-a", start)
				}
			}
		})
	}
	for n := range 5 {
		w.enrol(fmt.Sprintf("o%d", n), officer.RoleAsking)
	}
	wg.Wait()
}

func FuzzParseRecord(f *testing.F) {
	w := newWorld(f)
	w.enrol("o1", officer.RoleAsking, officer.RoleLegal)
	if err := w.both(officer.Retire, officer.Officer{ID: "o1"}); err != nil {
		f.Fatal(err)
	}
	for _, b := range w.store.records[1:] {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := officer.ParseRecord(b)
		if err != nil {
			if !reflect.DeepEqual(r, officer.Record{}) {
				t.Error("record with an error")
			}
			return
		}
		again, err := r.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("not canonical: %v\n got %x\nfrom %x", err, again, b)
		}
	})
}

func FuzzParseChange(f *testing.F) {
	w := newWorld(f)
	o, _ := person(f, "o1", officer.RoleAsking)
	o.Trained = []officer.Training{{"search", start}}
	b, err := w.register.NewChange(officer.Enrol, o, start).Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := officer.ParseChange(b)
		if err != nil {
			if !reflect.DeepEqual(c, officer.Change{}) {
				t.Error("change with an error")
			}
			return
		}
		again, err := c.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("not canonical: %v\n got %x\nfrom %x", err, again, b)
		}
	})
}

func FuzzParseFounding(f *testing.F) {
	f.Add(newWorld(f).store.records[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := officer.ParseFounding(b)
		if err != nil {
			if !reflect.DeepEqual(v, officer.Founding{}) {
				t.Error("founding with an error")
			}
			return
		}
		again, err := v.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("not canonical: %v\n got %x\nfrom %x", err, again, b)
		}
	})
}

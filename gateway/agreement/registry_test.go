package agreement_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
)

func put(t *testing.T, r *agreement.Registry, a *agreement.Agreement) {
	t.Helper()
	if _, err := r.Put(a.Bytes(), a.Digest()); err != nil {
		t.Fatal(err)
	}
}

// amended returns the next version of a, signed, to start at start.
func amended(t *testing.T, a *agreement.Agreement, start time.Time) *agreement.Agreement {
	t.Helper()
	next := a.Amend(start)
	sign(t, next, utopia, "a")
	sign(t, next, quavia, "b")
	return next
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := agreement.NewRegistry(quavia, nil)
	one := signed(t)
	if _, err := r.Check(utopia, one.ID, one.Digest(), noon); !errors.Is(err, agreement.ErrUnknown) {
		t.Errorf("empty registry: %v, want ErrUnknown", err)
	}
	put(t, r, one)
	put(t, r, one)

	tests := []struct {
		name   string
		peer   string
		id     string
		digest agreement.Digest
		now    time.Time
		want   error
	}{
		{"active", utopia, one.ID, one.Digest(), noon, nil},
		{"unknown id", utopia, "other", one.Digest(), noon, agreement.ErrUnknown},
		{"stranger", "c.example", one.ID, one.Digest(), noon, agreement.ErrParty},
		{"stranger after the end", "c.example", one.ID, one.Digest(), one.ValidTo, agreement.ErrParty},
		{"ourselves", quavia, one.ID, one.Digest(), noon, agreement.ErrParty},
		{"other digest", utopia, one.ID, agreement.Digest{1}, noon, agreement.ErrDigest},
		{"before", utopia, one.ID, one.Digest(), noon.Add(-1), agreement.ErrNotYet},
		{"after", utopia, one.ID, one.Digest(), one.ValidTo, agreement.ErrExpired},
	}
	for _, tt := range tests {
		a, err := r.Check(tt.peer, tt.id, tt.digest, tt.now)
		if !errors.Is(err, tt.want) || (a == nil) != (tt.want != nil) {
			t.Errorf("%s: Check = %v, %v, want %v", tt.name, a != nil, err, tt.want)
		}
	}

	if a, d, err := r.For(utopia, "watchlist", noon); err != nil || a.ID != one.ID || d != one.Digest() {
		t.Errorf("For = %v, %v", d, err)
	}
	if _, _, err := r.ForAsker(utopia, "documents", noon); err != nil {
		t.Errorf("ForAsker = %v", err)
	}
	for _, tt := range []struct {
		peer, collection string
		now              time.Time
		want             error
	}{
		{utopia, "documents", noon, agreement.ErrUnknown}, // ours, not theirs
		{utopia, "other", noon, agreement.ErrUnknown},
		{"c.example", "watchlist", noon, agreement.ErrUnknown},
		{quavia, "documents", noon, agreement.ErrUnknown},
		{utopia, "watchlist", one.ValidTo, agreement.ErrExpired},
		{utopia, "watchlist", noon.Add(-1), agreement.ErrNotYet},
	} {
		if a, _, err := r.For(tt.peer, tt.collection, tt.now); !errors.Is(err, tt.want) || a != nil {
			t.Errorf("For(%s, %s) = %v, want %v", tt.peer, tt.collection, err, tt.want)
		}
	}
	if file, err := r.File(one.ID, 1); err != nil || string(file) != string(one.Bytes()) {
		t.Errorf("File: %v", err)
	}
	if _, err := r.File(one.ID, 2); !errors.Is(err, agreement.ErrUnknown) {
		t.Errorf("File of an unknown version: %v, want ErrUnknown", err)
	}
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	one := signed(t)
	half := draft()
	sign(t, half, utopia, "a")
	for _, tt := range []struct {
		name, self string
		a          *agreement.Agreement
		digest     agreement.Digest
		want       error
	}{
		{"other digest", utopia, one, agreement.Digest{1}, agreement.ErrDigest},
		{"not ours", "c.example", one, one.Digest(), agreement.ErrParty},
		{"signed by one", utopia, half, half.Digest(), agreement.ErrUnsigned},
		{"draft", utopia, draft(), draft().Digest(), agreement.ErrUnsigned},
	} {
		r := agreement.NewRegistry(tt.self, func(agreement.Change) error { t.Errorf("%s: was saved", tt.name); return nil })
		if a, err := r.Put(tt.a.Bytes(), tt.digest); !errors.Is(err, tt.want) || a != nil {
			t.Errorf("%s: Put = %v, want %v", tt.name, err, tt.want)
		}
		if len(r.List(noon)) != 0 {
			t.Errorf("%s: is in the registry", tt.name)
		}
	}
	r := agreement.NewRegistry(utopia, nil)
	if _, err := r.Put([]byte("x"), one.Digest()); !errors.Is(err, agreement.ErrMalformed) {
		t.Errorf("Put of no file = %v, want ErrMalformed", err)
	}
}

func TestRegistryAmendments(t *testing.T) {
	t.Parallel()
	one := signed(t)
	start := noon.AddDate(0, 6, 0)
	two := one.Amend(start)
	two.ValidTo = one.ValidTo.AddDate(1, 0, 0)
	sign(t, two, utopia, "a")
	sign(t, two, quavia, "b")
	three := amended(t, two, start.AddDate(0, 6, 0))

	// In any order, as they may be loaded.
	for _, order := range [][]*agreement.Agreement{{one, two, three}, {three, one, two}, {two, three, one}} {
		r := agreement.NewRegistry(utopia, nil)
		for _, a := range order {
			put(t, r, a)
		}
		for _, tt := range []struct {
			now  time.Time
			want *agreement.Agreement
		}{{noon, one}, {start.Add(-1), one}, {start, two}, {three.Start, three}} {
			if _, d, err := r.Active(one.ID, tt.now); err != nil || d != tt.want.Digest() {
				t.Errorf("Active at %v = %v, %v, want version %d", tt.now, d, err, tt.want.Number)
			}
		}
		if _, err := r.Check(quavia, one.ID, one.Digest(), start); !errors.Is(err, agreement.ErrDigest) {
			t.Errorf("superseded version: %v, want ErrDigest", err)
		}
		infos := r.List(start)
		if len(infos) != 3 || !infos[0].Superseded || infos[1].Superseded || infos[1].State != agreement.Active ||
			infos[2].Superseded || infos[2].State != agreement.NotYet {
			t.Errorf("List = %+v", infos)
		}
		// The amendment extended the term, so there is no warning for the first.
		if w := r.Warnings(one.ValidTo.AddDate(0, 0, -1)); w != nil {
			t.Errorf("Warnings = %v, want none", w)
		}
		if w := r.Warnings(three.ValidTo.AddDate(0, 0, -10)); len(w) != 1 || w[0].Days != 30 || w[0].Number != 3 {
			t.Errorf("Warnings = %v, want one of 30 days", w)
		}
	}

	r := agreement.NewRegistry(utopia, nil)
	put(t, r, one)
	other := signed(t)
	other.Strict = true
	sign(t, other, utopia, "a")
	sign(t, other, quavia, "b")
	if _, err := r.Put(other.Bytes(), other.Digest()); !errors.Is(err, agreement.ErrDigest) {
		t.Errorf("second version 1: %v, want ErrDigest", err)
	}
	ofOther := amended(t, other, start)
	if _, err := r.Put(ofOther.Bytes(), ofOther.Digest()); !errors.Is(err, agreement.ErrDigest) {
		t.Errorf("amendment of another version: %v, want ErrDigest", err)
	}
	put(t, r, three) // a gap may be filled later
	wrong := two.Amend(start)
	wrong.Number, wrong.Supersedes, wrong.Strict = 2, one.Digest(), true
	sign(t, wrong, utopia, "a")
	sign(t, wrong, quavia, "b")
	if _, err := r.Put(wrong.Bytes(), wrong.Digest()); !errors.Is(err, agreement.ErrDigest) {
		t.Errorf("not the version that was superseded: %v, want ErrDigest", err)
	}
	put(t, r, two)
}

func TestRegistryNewParties(t *testing.T) {
	t.Parallel()
	r := agreement.NewRegistry(utopia, nil)
	one := signed(t)
	put(t, r, one)
	two := one.Amend(noon)
	two.Parties[1].TrustDomain, two.Parties[1].Gateway = "c.example", "spiffe://c.example/gateway/main"
	two.Collections[1].Holder = "c.example"
	sign(t, two, utopia, "a")
	sign(t, two, "c.example", "c")
	if _, err := r.Put(two.Bytes(), two.Digest()); !errors.Is(err, agreement.ErrParty) {
		t.Errorf("amendment with another party: %v, want ErrParty", err)
	}
}

func TestRegistrySuspension(t *testing.T) {
	t.Parallel()
	var changes []agreement.Change
	r := agreement.NewRegistry(utopia, func(c agreement.Change) error { changes = append(changes, c); return nil })
	one := signed(t)
	put(t, r, one)
	check := func(what string, want error) {
		t.Helper()
		if _, err := r.Check(quavia, one.ID, one.Digest(), noon); !errors.Is(err, want) {
			t.Errorf("%s: Check = %v, want %v", what, err, want)
		}
		if _, _, err := r.For(quavia, "documents", noon); !errors.Is(err, want) {
			t.Errorf("%s: For = %v, want %v", what, err, want)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("at first", nil)
	do(r.Suspend(one.ID, quavia))
	check("suspended by the neighbour", agreement.ErrSuspended)
	do(r.Suspend(one.ID, utopia))
	do(r.Resume(one.ID, quavia))
	check("resumed by one of two", agreement.ErrSuspended)
	do(r.Resume(one.ID, utopia))
	check("resumed by both", nil)
	if err := r.Suspend(one.ID, "c.example"); !errors.Is(err, agreement.ErrParty) {
		t.Errorf("Suspend by a stranger = %v, want ErrParty", err)
	}
	if err := r.Suspend("other", utopia); !errors.Is(err, agreement.ErrUnknown) {
		t.Errorf("Suspend of the unknown = %v, want ErrUnknown", err)
	}
	want := []agreement.Change{
		{ID: one.ID, Number: 1, Digest: one.Digest(), File: one.Bytes()},
		{ID: one.ID, SuspendedBy: []string{quavia}},
		{ID: one.ID, SuspendedBy: []string{utopia, quavia}},
		{ID: one.ID, SuspendedBy: []string{utopia}},
		{ID: one.ID},
	}
	if !reflect.DeepEqual(changes, want) {
		t.Errorf("changes =\n%+v, want\n%+v", changes, want)
	}

	do(r.Restore(one.ID, []string{quavia}))
	check("restored", agreement.ErrSuspended)
	if err := r.Restore("other", nil); !errors.Is(err, agreement.ErrUnknown) {
		t.Errorf("Restore of the unknown = %v, want ErrUnknown", err)
	}
}

// TestRegistryFailsClosed fails to save: a version and a resumption must not
// happen, a suspension must.
func TestRegistryFailsClosed(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	fail := true
	r := agreement.NewRegistry(utopia, func(agreement.Change) error {
		if fail {
			return full
		}
		return nil
	})
	one := signed(t)
	if a, err := r.Put(one.Bytes(), one.Digest()); !errors.Is(err, full) || a != nil {
		t.Errorf("Put = %v, want the error of save", err)
	}
	if _, _, err := r.Active(one.ID, noon); !errors.Is(err, agreement.ErrUnknown) {
		t.Errorf("Active = %v, want ErrUnknown", err)
	}
	fail = false
	put(t, r, one)
	fail = true
	if err := r.Suspend(one.ID, utopia); !errors.Is(err, full) {
		t.Errorf("Suspend = %v, want the error of save", err)
	}
	if _, _, err := r.Active(one.ID, noon); !errors.Is(err, agreement.ErrSuspended) {
		t.Errorf("Active after Suspend = %v, want ErrSuspended", err)
	}
	if err := r.Resume(one.ID, utopia); !errors.Is(err, full) {
		t.Errorf("Resume = %v, want the error of save", err)
	}
	if _, _, err := r.Active(one.ID, noon); !errors.Is(err, agreement.ErrSuspended) {
		t.Errorf("Active after Resume failed = %v, want ErrSuspended", err)
	}
}

func TestRegistryConcurrent(t *testing.T) {
	t.Parallel()
	r := agreement.NewRegistry(utopia, func(agreement.Change) error { return nil })
	var wg sync.WaitGroup
	for i := range 4 {
		a := draft()
		a.ID = fmt.Sprint("agreement-", i)
		sign(t, a, utopia, "a")
		sign(t, a, quavia, "b")
		wg.Go(func() {
			for range 10 {
				put(t, r, a)
				r.Suspend(a.ID, utopia)
				r.Check(quavia, a.ID, a.Digest(), noon)
				r.For(quavia, "documents", noon)
				r.List(noon)
				r.Warnings(noon)
				r.Resume(a.ID, utopia)
			}
		})
	}
	wg.Wait()
	if got := len(r.List(noon)); got != 4 {
		t.Errorf("%d agreements, want 4", got)
	}
}

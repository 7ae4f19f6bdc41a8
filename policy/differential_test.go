package policy_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/policy"
)

// TestDecideAsWritten compares decisions with those of the rules as they are
// written, evaluated in the plainest way. Inputs are those that pass, with one fact
// at a time missing, or of another type or value. A fact that [policy.Facts] leave
// out must make no difference.
func TestDecideAsWritten(t *testing.T) {
	t.Parallel()
	plain, err := policy.NewPlain(t.Context(), policy.Default())
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range passing() {
		t.Run(string(in.Door()), func(t *testing.T) {
			t.Parallel()
			stored, _ := in.Stored()
			tried, unread, denied := 0, 0, make(map[string]bool)
			facts := engine(t).Facts()
			unchanged, err := engine(t).Decide(t.Context(), in)
			if err != nil || facts.Bundle() != unchanged.Bundle() {
				t.Fatalf("Decide = %s, %v, facts of %x", encode(t, unchanged), err, facts.Bundle())
			}
			mutations(t, stored, func(what string, b []byte) {
				want, wantErr := plain.Decide(t.Context(), in.Door(), b)
				got, err := engine(t).Replay(t.Context(), b)
				tried++
				if (err == nil) != (wantErr == nil) {
					t.Errorf("%s: Replay error = %v, want %v", what, err, wantErr)
				}
				if err == nil && encode(t, got) != encode(t, want) {
					t.Errorf("%s: Replay = %s, want %s", what, encode(t, got), encode(t, want))
				}
				path, _, _ := strings.Cut(what, " ")
				if !facts.Contain(strings.Split(path, "/")[1:]...) {
					unread++
					if err != nil || withoutInput(t, got) != withoutInput(t, unchanged) {
						t.Errorf("%s, which no rule looks at: Replay = %s, %v, want %s", what, encode(t, got), err, encode(t, unchanged))
					}
				}
				for _, id := range got.Rules() {
					denied[id] = denied[id] || !got.Allowed()
				}
			})
			if tried < 100 || unread < 100 || len(denied) < 2 {
				t.Errorf("%d inputs, %d of them with a change that no rule looks at, denied by %v: want more", tried, unread,
					slices.Sorted(maps.Keys(denied)))
			}
		})
	}
}

// withoutInput returns d without the digest of its input.
func withoutInput(t *testing.T, d policy.Decision) string {
	t.Helper()
	digest := d.Input()
	return strings.Replace(encode(t, d), hex.EncodeToString(digest[:]), "", 1)
}

// mutations calls try with b, and with b after each change of one fact.
func mutations(t *testing.T, b []byte, try func(what string, b []byte)) {
	t.Helper()
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	front := string(b[:strings.Index(string(b), `"now"`)])
	delete(doc, "version")
	delete(doc, "door")
	var facts any = make(map[string]any)
	for name, v := range doc {
		var x any
		if err := json.Unmarshal(v, &x); err != nil {
			t.Fatal(err)
		}
		facts.(map[string]any)[name] = x
	}
	attempt := func(what string) {
		body, err := json.Marshal(facts)
		if err != nil {
			t.Fatal(err)
		}
		if string(body) != "{}" {
			try(what, []byte(front+string(body[1:])))
		}
	}
	values := []any{nil, true, 0, 1.5, -1e9, "", "x", "2030-01-01T00:00:00Z", []any{"RU-03", "RU-04", "RU-26", "RU-11", "RU-29"},
		[]any{map[string]any{}}, map[string]any{"a": 1}}
	var walk func(path string, x any, set func(any))
	walk = func(path string, x any, set func(any)) {
		for _, v := range values {
			set(v)
			attempt(fmt.Sprintf("%s is %v", path, v))
		}
		set(x)
		switch x := x.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(x)) {
				v := x[name]
				delete(x, name)
				attempt(path + "/" + name + " is missing")
				x[name] = v
				walk(path+"/"+name, v, func(v any) { x[name] = v })
			}
		case []any:
			for i, v := range x {
				walk(fmt.Sprintf("%s/%d", path, i), v, func(v any) { x[i] = v })
			}
		}
	}
	try("/version is what it was", b)
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		all := facts.(map[string]any)
		v := all[name]
		delete(all, name)
		attempt("/" + name + " is missing")
		all[name] = v
		walk("/"+name, v, func(v any) { all[name] = v })
	}
}

package entry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/audit/entry"
)

const (
	asker  = "spiffe://gw.utopia.example/gateway/main"
	holder = "spiffe://gw.qvarnia.example/gateway/main"
	noon   = 1795348800000 // 2026-11-22T12:00:00Z
)

func b32(c byte) (b [32]byte) {
	for i := range b {
		b[i] = c
	}
	return b
}

func b16(c byte) (b [16]byte) {
	for i := range b {
		b[i] = c
	}
	return b
}

// samples returns one valid entry of every kind, with all that it may hold.
func samples() []entry.Entry {
	id := [16]byte{0x01, 0x9a, 0xa0, 1, 2, 3, 0x70, 4, 0x80, 5, 6, 7, 8, 9, 10, 11}
	intent := entry.Entry{
		Kind: entry.KindIntent, Time: noon, Query: id, Direction: entry.DirectionAsked, Asker: asker, Holder: holder,
		Agreement: "uto-qva-1", AgreementDigest: b32(1), Purpose: "ct-travel-screening", Collection: "watchlist",
		Items: 4, Decision: entry.DecisionAllowed, Rules: []string{"RU-01", "RU-03"}, Bundle: b32(2), Input: b32(3),
		Officer: b16(4), Unit: b16(5), Protocol: 1, Normalisation: 1, ListVersion: 7,
		Auditor: [8]byte{6, 6, 6, 6, 6, 6, 6, 6}, Sealed: b32(7),
	}
	decision := intent
	decision.Kind, decision.Direction = entry.KindDecision, entry.DirectionAnswered
	decision.Officer, decision.Auditor, decision.Sealed = [16]byte{}, [8]byte{}, [32]byte{}
	decision.Request, decision.PeerLeaf, decision.PeerSealed = b32(8), b32(9), b32(7)
	denied := entry.Entry{
		Kind: entry.KindDecision, Time: noon, Query: id, Direction: entry.DirectionAnswered, Asker: asker, Holder: holder,
		Decision: entry.DecisionDenied, Reason: "POLICY_DENIED",
	}
	search := intent
	search.Collection, search.Profile, search.ListVersion, search.Normalisation = "", "face-256", 0, 0
	return []entry.Entry{
		intent, decision, denied, search,
		{Kind: entry.KindFailure, Time: noon, Query: id, Direction: entry.DirectionAnswered, Asker: asker, Holder: holder,
			Request: b32(8), Reason: "QUERY_FAILED"},
		{Kind: entry.KindReceipt, Time: noon, Query: id, Direction: entry.DirectionAsked, Asker: asker, Holder: holder,
			Request: b32(8), Receipt: b32(10), Decision: entry.DecisionAllowed, PeerLeaf: b32(11)},
		{Kind: entry.KindManifestPublished, Time: noon, Asker: asker, Holder: holder, Collection: "watchlist",
			ListVersion: 7, Subject: b32(12)},
		{Kind: entry.KindManifestAccepted, Time: noon, Asker: asker, Holder: holder, Collection: "watchlist",
			ListVersion: 7, Subject: b32(12)},
		{Kind: entry.KindBundleActivated, Time: noon, Subject: b32(2), Officer: b16(4)},
		{Kind: entry.KindAgreement, Time: noon, Agreement: "uto-qva-1", Subject: b32(1), Reason: "SUSPENDED"},
		{Kind: entry.KindFederation, Time: noon, Holder: holder, Subject: b32(13), Reason: "ENDED"},
		{Kind: entry.KindRegister, Time: noon, Subject: b32(14), Officer: b16(4), Reason: "RETIRED"},
		{Kind: entry.KindOutcome, Time: noon, Query: id, Outcome: entry.OutcomeCandidate},
		{Kind: entry.KindRead, Time: noon, Officer: b16(4), Query: id, Purpose: "control"},
		{Kind: entry.KindBudgetNotice, Time: noon, Agreement: "uto-qva-1", Reason: "BUDGET_HALF"},
		{Kind: entry.KindStarted, Time: noon},
		{Kind: entry.KindRecovery, Time: noon, Subject: b32(15), Reason: "DISK_LOST"},
		{Kind: entry.KindEpoch, Time: noon, Holder: holder, Collection: "watchlist", Subject: b32(16), Reason: "EPOCH_BEGUN"},
	}
}

func mustBytes(t testing.TB, e *entry.Entry) []byte {
	t.Helper()
	b, err := e.Bytes()
	if err != nil {
		t.Fatalf("Bytes of %s: %v", e.Kind, err)
	}
	return b
}

func TestEntryRoundTrip(t *testing.T) {
	t.Parallel()
	seen := make(map[entry.Kind]bool)
	for _, e := range samples() {
		seen[e.Kind] = true
		b := mustBytes(t, &e)
		got, err := entry.ParseEntry(b)
		if err != nil {
			t.Fatalf("ParseEntry of %s: %v", e.Kind, err)
		}
		if again := mustBytes(t, got); !bytes.Equal(again, b) {
			t.Errorf("%s: got %x, want %x", e.Kind, again, b)
		}
		leaf, err := e.Leaf()
		if err != nil || leaf != entry.LeafHash(b) {
			t.Errorf("%s: Leaf = %x, %v", e.Kind, leaf, err)
		}
	}
	for k := entry.Kind(1); k.String() != "invalid"; k++ {
		if !seen[k] {
			t.Errorf("no sample of kind %s", k)
		}
		if got, err := entry.ParseKind(k.String()); got != k || err != nil {
			t.Errorf("ParseKind(%q) = %v, %v", k.String(), got, err)
		}
	}
}

// TestEntryTampered changes each byte of each entry: the result is refused, or is
// another entry with another leaf hash.
func TestEntryTampered(t *testing.T) {
	t.Parallel()
	for _, e := range samples() {
		b := mustBytes(t, &e)
		leaf := entry.LeafHash(b)
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= 1
			if entry.LeafHash(c) == leaf {
				t.Fatalf("%s: byte %d does not change the leaf hash", e.Kind, i)
			}
			got, err := entry.ParseEntry(c)
			if err != nil {
				if got != nil || !errors.Is(err, entry.ErrMalformed) {
					t.Fatalf("%s byte %d: ParseEntry = %v, %v", e.Kind, i, got, err)
				}
				continue
			}
			if again := mustBytes(t, got); !bytes.Equal(again, c) {
				t.Fatalf("%s byte %d: not canonical", e.Kind, i)
			}
		}
		for n := range b {
			if _, err := entry.ParseEntry(b[:n]); !errors.Is(err, entry.ErrMalformed) {
				t.Fatalf("%s cut at %d: %v", e.Kind, n, err)
			}
		}
		if _, err := entry.ParseEntry(append(bytes.Clone(b), 0)); !errors.Is(err, entry.ErrMalformed) {
			t.Errorf("%s with a trailing byte: %v", e.Kind, err)
		}
	}
}

func TestEntryValidate(t *testing.T) {
	t.Parallel()
	kinds := make(map[string]entry.Entry)
	for _, e := range samples() {
		name := e.Kind.String()
		if e.Decision == entry.DecisionDenied {
			name = "denied"
		}
		if _, ok := kinds[name]; !ok {
			kinds[name] = e
		}
	}
	tests := []struct {
		name, kind string
		change     func(*entry.Entry)
		want       string
	}{
		{"zero kind", "intent", func(e *entry.Entry) { e.Kind = 0 }, "kind"},
		{"unknown kind", "intent", func(e *entry.Entry) { e.Kind = 17 }, "kind"},
		{"no time", "intent", func(e *entry.Entry) { e.Time = 0 }, "time"},
		{"negative time", "intent", func(e *entry.Entry) { e.Time = -1 }, "time"},
		{"no query", "intent", func(e *entry.Entry) { e.Query = [16]byte{} }, "query"},
		{"answered intent", "intent", func(e *entry.Entry) { e.Direction = entry.DirectionAnswered }, "direction"},
		{"asked decision", "decision", func(e *entry.Entry) { e.Direction = entry.DirectionAsked }, "direction"},
		{"unknown direction", "intent", func(e *entry.Entry) { e.Direction = 3 }, "direction"},
		{"no decision", "intent", func(e *entry.Entry) { e.Decision = 0 }, "decision"},
		{"unknown decision", "intent", func(e *entry.Entry) { e.Decision = 3 }, "decision"},
		{"not a SPIFFE ID", "intent", func(e *entry.Entry) { e.Asker = "https://gw.utopia.example/" }, "asker"},
		{"upper-case trust domain", "intent", func(e *entry.Entry) { e.Holder = "spiffe://Gw/gateway/main" }, "holder"},
		{"empty path segment", "intent", func(e *entry.Entry) { e.Holder = "spiffe://gw//main" }, "holder"},
		{"long ID", "intent", func(e *entry.Entry) { e.Asker = "spiffe://gw/" + strings.Repeat("x", 244) }, "asker"},
		{"long code", "intent", func(e *entry.Entry) { e.Purpose = strings.Repeat("x", 65) }, "purpose"},
		{"control character", "intent", func(e *entry.Entry) { e.Agreement = "a\nb" }, "agreement"},
		{"not ASCII", "intent", func(e *entry.Entry) { e.Collection = "é" }, "collection"},
		{"empty rule", "intent", func(e *entry.Entry) { e.Rules = []string{""} }, "rules"},
		{"long rule", "intent", func(e *entry.Entry) { e.Rules = []string{strings.Repeat("x", 33)} }, "rules"},
		{"too many rules", "intent", func(e *entry.Entry) { e.Rules = make([]string, 65) }, "rules"},
		{"too long in all", "intent", func(e *entry.Entry) {
			for range 16 {
				e.Rules = append(e.Rules, strings.Repeat("x", 32))
			}
		}, "bytes"},
		{"collection and profile", "intent", func(e *entry.Entry) { e.Profile = "face-256" }, "collection"},
		{"neither collection nor profile", "decision", func(e *entry.Entry) { e.Collection = "" }, "collection"},
		{"intent with the request", "intent", func(e *entry.Entry) { e.Request = b32(1) }, "request"},
		{"intent without sealed content", "intent", func(e *entry.Entry) { e.Sealed = [32]byte{} }, "sealed"},
		{"intent with an outcome", "intent", func(e *entry.Entry) { e.Outcome = entry.OutcomeCandidate }, "outcome"},
		{"receipt with an outcome", "receipt", func(e *entry.Entry) { e.Outcome = entry.OutcomeNoCandidate }, "outcome"},
		{"decision with an officer", "decision", func(e *entry.Entry) { e.Officer = b16(1) }, "officer"},
		{"decision without the asker's leaf", "decision", func(e *entry.Entry) { e.PeerLeaf = [32]byte{} }, "peer_leaf"},
		{"allowed with a reason", "decision", func(e *entry.Entry) { e.Reason = "X" }, "reason"},
		{"denied without a reason", "denied", func(e *entry.Entry) { e.Reason = "" }, "reason"},
		{"reason in lower case", "denied", func(e *entry.Entry) { e.Reason = "denied" }, "reason"},
		{"outcome without one", "outcome", func(e *entry.Entry) { e.Outcome = 0 }, "outcome"},
		{"unknown outcome", "outcome", func(e *entry.Entry) { e.Outcome = 4 }, "outcome"},
		{"federation without a peer", "federation", func(e *entry.Entry) { e.Holder = "" }, "asker"},
		{"manifest of nothing", "manifest_published", func(e *entry.Entry) { e.Subject = [32]byte{} }, "subject"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := kinds[tt.kind]
			tt.change(&e)
			b, err := e.Bytes()
			if !errors.Is(err, entry.ErrInvalid) || b != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Bytes = %x, %v, want ErrInvalid about %s", b, err, tt.want)
			}
		})
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	short := samples()[0]
	short.Fit()
	if got := strings.Join(short.Rules, " "); got != "RU-01 RU-03" {
		t.Errorf("rules that fit became %q", got)
	}
	// The longest refusal that a peer can provoke.
	code := strings.Repeat("x", entry.MaxCode)
	e := entry.Entry{
		Kind: entry.KindDecision, Time: noon, Query: b16(1), Direction: entry.DirectionAnswered,
		Asker: "spiffe://gw/" + strings.Repeat("x", 243), Holder: "spiffe://gw/" + strings.Repeat("x", 115),
		Agreement: code, Purpose: code, Collection: code, Decision: entry.DecisionDenied, Reason: strings.Repeat("X", entry.MaxCode),
	}
	if len(e.Asker) != entry.MaxID || len(e.Holder) != 127 {
		t.Fatalf("IDs of %d and %d bytes", len(e.Asker), len(e.Holder))
	}
	e.Rules = []string{"RU-01"}
	e.Fit()
	mustBytes(t, &e)
	e.Asker = e.Asker[:100]
	rules := make([]string, entry.MaxRules)
	for i := range rules {
		rules[i] = strings.Repeat("R", entry.MaxRule)
	}
	e.Rules = rules
	if _, err := e.Bytes(); !errors.Is(err, entry.ErrInvalid) {
		t.Fatalf("Bytes before Fit: %v", err)
	}
	e.Fit()
	b := mustBytes(t, &e)
	n := len(e.Rules)
	if n < 2 || e.Rules[n-1] != entry.MoreRules || e.Rules[0] != rules[0] || len(b)+1+entry.MaxRule <= entry.MaxSize {
		t.Errorf("%d bytes with rules %q", len(b), e.Rules)
	}
	if rules[n-1] != rules[0] {
		t.Error("Fit changed the caller's rules")
	}
}

func TestSealedContext(t *testing.T) {
	t.Parallel()
	e := samples()[0]
	after, err := e.SealedContext()
	if err != nil {
		t.Fatal(err)
	}
	e.Sealed = [32]byte{}
	before, err := e.SealedContext()
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("differs with the hash: %v", err)
	}
	e.ListVersion++
	if other, err := e.SealedContext(); err != nil || bytes.Equal(other, after) {
		t.Errorf("does not differ with a field: %v", err)
	}
	e.Officer = [16]byte{}
	if b, err := e.SealedContext(); b != nil || !errors.Is(err, entry.ErrInvalid) {
		t.Errorf("of an invalid entry: %x, %v", b, err)
	}
}

// TestInternalKinds states which entries a neighbour must not even count.
func TestInternalKinds(t *testing.T) {
	t.Parallel()
	for _, e := range samples() {
		want := e.Kind == entry.KindOutcome || e.Kind == entry.KindRead || e.Kind == entry.KindBudgetNotice
		if got := e.Kind.Internal(); got != want {
			t.Errorf("%s: Internal = %v, want %v", e.Kind, got, want)
		}
		if e.Outcome != 0 && !e.Kind.Internal() {
			t.Errorf("%s holds an outcome and is not internal", e.Kind)
		}
	}
}

func TestEntryJSON(t *testing.T) {
	t.Parallel()
	e := samples()[2]
	got, err := json.Marshal(&e)
	want := `{"version":1,"kind":"decision","time":"2026-11-22T12:00:00.000Z","query":"019aa001-0203-7004-8005-060708090a0b",` +
		`"direction":"answered","asker":"` + asker + `","holder":"` + holder + `","decision":"denied","reason":"POLICY_DENIED"}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// FuzzParseEntry checks that the encoding is canonical, and that an error comes
// with no entry.
func FuzzParseEntry(f *testing.F) {
	for _, v := range readVectors(f, "entry") {
		f.Add(v.body)
	}
	for _, e := range samples() {
		b, err := e.Bytes()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := entry.ParseEntry(b)
		if err != nil {
			if e != nil {
				t.Error("an entry beside an error")
			}
			return
		}
		again, err := e.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("not canonical: %v\n got %x\nfrom %x", err, again, b)
		}
	})
}

package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/policy"
)

// enough is what RU-06 and RU-05 ask of a text.
func enough(x policy.Text) bool { return x.Present && !x.Boilerplate && x.Length >= 20 && x.Words >= 4 }

func TestNewText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text   string
		enough bool
	}{
		{justification, true},
		{"Birth date on the ticket differs from the visa.", true},
		{"Le passeport présenté a été déclaré volé en mai.", true},
		{"Документ выглядит поддельным, проверяем владельца", true},
		{"الراكب يحمل جوازا مختلفا عن جواز الحجز", true},
		{"旅客の生年月日が査証の記録と一致しない", true},
		{"ผู้โดยสารแจ้งวันเกิดไม่ตรงกับวีซ่า", true},

		{"", false},
		{"   \n\t ", false},
		{"check", false},
		{"Check.", false},
		{"  CHECK  ", false},
		{"for reasons of national security", false},
		{"For reasons of National Security!!!", false},
		{"routine security check", false},
		{"check check check check check check", false},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
		{"a a a a a a a a a a a a a a a a a a", false},
		{"........................................", false},
		{"1234567890 1234567890 1234567890 12345", false},
		{"Lorem ipsum dolor sit amet, consectetur adipiscing elit", false},
		{"qwertyuiopasdfghjklzxcvbnm", false},
		{"see file", false},
		{"検査", false},
	}
	for _, tt := range tests {
		if got := policy.NewText(tt.text); enough(got) != tt.enough {
			t.Errorf("NewText(%q) = %+v, want enough = %t", tt.text, got, tt.enough)
		}
	}
}

func TestNewRef(t *testing.T) {
	t.Parallel()
	for ref, good := range map[string]bool{
		"2026-CT-118": true, "CT/118/26": true, "Az. 7 Js 1203/26": true, "案件2026-17": true, "B118": true,
		"": false, "  ": false, "n/a": false, "none": false, "0000": false, "1": false, "11111": false, "test-1": false,
		"123456": false, "CASE": false, "----": false, "TBD 1": false,
	} {
		got := policy.NewRef(ref)
		if want := strings.ContainsFunc(ref, func(r rune) bool { return r != ' ' && r != '-' }); got.Present != want {
			t.Errorf("NewRef(%q).Present = %t, want %t", ref, got.Present, want)
		}
		if (got.Present && !got.Placeholder) != good {
			t.Errorf("NewRef(%q) = %+v, want good = %t", ref, got, good)
		}
	}
}

func TestNewOfficer(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"spiffe://b.example/officer/B-BG-2231": true, "B-BG-2231": true, "alice": true, "officer-7": true, "Adminova": true,
		"": false, "batch": false, "BATCH": false, "batch-2": false, "b": false, "system": false, "svc-screening": false,
		"spiffe://b.example/officer/admin": false, "shared.account": false, "test01": false, "spiffe://b.example/officer/": false,
	} {
		if got := policy.NewOfficer(id, policy.Pseudonym{1}, policy.Pseudonym{2}, nil, now).Named; got != want {
			t.Errorf("NewOfficer(%q).Named = %t, want %t", id, got, want)
		}
	}
}

// TestNoFreeText puts words into every text that a caller has, and looks for
// them wherever the input or the decision may be written.
func TestNoFreeText(t *testing.T) {
	t.Parallel()
	canaries := []string{"zylphia", "quenneville", "kanarienvogel", "77123"}
	const said = "Zylphia Quenneville carries document KANARIENVOGEL-77123 of another person."
	in := askInput()
	in.Query.Justification = policy.NewText(said)
	in.Query.Contribution = policy.NewText(said)
	in.Query.Case = policy.NewRef("KANARIENVOGEL-77123")
	in.Officer = policy.NewOfficer("spiffe://b.example/officer/zylphia.quenneville", policy.Pseudonym{1}, policy.Pseudonym{2}, nil, now)
	retain := retainInput()
	retain.Reuse.Necessity, retain.Onward.Reason = policy.NewText(said), policy.NewText(said)
	for _, x := range []policy.Input{in, retain} {
		stored, _ := x.Stored()
		d, err := engine(t).Decide(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("decided", "input", x, "decision", d)
		plain, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		for where, text := range map[string]string{
			"stored input": string(stored), "JSON": string(plain), "%+v": fmt.Sprintf("%+v", x), "%#v": fmt.Sprintf("%#v", x),
			"decision": encode(t, d), "decision by %+v": fmt.Sprintf("%+v", d), "log": log.String(),
		} {
			for _, c := range canaries {
				if strings.Contains(strings.ToLower(text), c) {
					t.Errorf("%s holds %q", where, c)
				}
			}
		}
	}
}

func FuzzNewText(f *testing.F) {
	for _, s := range []string{"", "check", justification, "検査 a1", "\xff\xfe", "ก", "0", "a\u0301"} {
		f.Add(s)
	}
	buckets := map[int64]bool{0: true, 1: true, 10: true, 20: true, 40: true, 80: true, 160: true, 320: true, 640: true}
	f.Fuzz(func(t *testing.T, s string) {
		x := policy.NewText(s)
		if !buckets[x.Length] || x.Words < 0 || x.Words > 8 || x.Present != (x.Length > 0) || x.Boilerplate && !x.Present {
			t.Errorf("NewText = %+v", x)
		}
		if r := policy.NewRef(s); r.Present != x.Present || r.Placeholder && !r.Present {
			t.Errorf("NewRef = %+v, with the text %+v", r, x)
		}
		policy.NewOfficer(s, policy.Pseudonym{}, policy.Pseudonym{}, nil, policy.Time{})
	})
}

func TestNewTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		t    time.Time
		want string
	}{
		{time.Time{}, ""},
		{time.Date(2026, 11, 22, 19, 55, 58, 999, time.FixedZone("", 3600)), "2026-11-22T18:55:58Z"},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "9999-12-31T23:59:59Z"},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ""},
		{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), ""},
	} {
		if got := policy.NewTime(tt.t).String(); got != tt.want {
			t.Errorf("NewTime(%v) = %q, want %q", tt.t, got, tt.want)
		}
	}
}

package agreement_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	utopia = "a.example"
	quavia = "b.example"
)

// key returns a key that is the same in every run, so that vectors are.
func key(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, "test key of "+name)
	return ed25519.NewKeyFromSeed(seed)
}

func public(name string) ed25519.PublicKey { return key(name).Public().(ed25519.PublicKey) }

// A keyring holds gateway keys by trust domain.
type keyring = map[string]ed25519.PublicKey

// keys are the gateway keys of both parties.
func keys() keyring {
	return keyring{utopia: public("gateway a"), quavia: public("gateway b")}
}

func party(country, td, agency string) agreement.Party {
	return agreement.Party{
		Country: country, TrustDomain: td, Gateway: "spiffe://" + td + "/gateway/main",
		AgencyCode: strings.ToLower(country) + "-border", Agency: agency, Competences: []string{"ct", "border"},
		LegalBases: []agreement.LegalBasis{{Ref: "Border-Act-2021 s.14(2)", Purposes: []string{"ct-travel-screening"},
			Categories: []string{"watchlist", "document"}}},
	}
}

// draft returns a complete and valid agreement without signatures.
func draft() *agreement.Agreement {
	a := agreement.New("qva-uto", party("QVA", quavia, "Garde côtière <des> & frontières"), party("UTO", utopia, "Border Police"), noon)
	a.Purposes = []agreement.Purpose{{Code: "ct-travel-screening", Categories: []string{"watchlist", "document"}}}
	w := agreement.NewCollection("watchlist", utopia, "watchlist", "doc", "doc+dob", "name+dob", "name+year")
	w.KeyCommitment = strings.Repeat("0a", 32)
	w.Labels = []string{"refuse-entry"}
	d := agreement.NewCollection("documents", quavia, "document", "doc")
	d.KeyCommitment = strings.Repeat("0b", 32)
	d.Round = agreement.Duration(5 * time.Second)
	a.Collections = []agreement.Collection{w, d}
	a.OffenceClasses = []string{"terrorism"}
	a.Thresholds = map[string]int{"name": 60, "face": 80}
	a.Budgets = []agreement.Budget{
		{Collection: "watchlist", PerDay: 40_000, Burst: 8192, PerUnitDay: 10_000},
		{Collection: "documents", Class: "doc", Purpose: "ct-travel-screening", PerDay: 10_000, Burst: 4096},
	}
	return a
}

func sign(t testing.TB, a *agreement.Agreement, td, who string) {
	t.Helper()
	if err := a.Sign(td, "spiffe://"+td+"/officer/legal-"+who, key("officer "+who), key("gateway "+who)); err != nil {
		t.Fatal(err)
	}
}

func signed(t testing.TB) *agreement.Agreement {
	t.Helper()
	a := draft()
	sign(t, a, quavia, "b") // the order of signing does not matter
	sign(t, a, utopia, "a")
	return a
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	one := draft()
	sign(t, one, quavia, "b")
	amended := signed(t).Amend(noon.AddDate(0, 6, 0))
	for name, a := range map[string]*agreement.Agreement{
		"zero": {}, "draft": draft(), "signed by one": one, "signed by both": signed(t), "amendment": amended,
	} {
		file := a.Bytes()
		got, err := agreement.Parse(file)
		if err != nil {
			t.Errorf("%s: Parse: %v\n%s", name, err, file)
			continue
		}
		if !bytes.Equal(got.Bytes(), file) || got.Digest() != a.Digest() {
			t.Errorf("%s: a parsed file encodes to other bytes", name)
		}
		if name != "zero" {
			if err := got.Validate(); err != nil {
				t.Errorf("%s: Validate: %v", name, err)
			}
		}
	}
	// What was parsed equals what was written, field by field.
	file := signed(t)
	got, err := agreement.Parse(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	again, err := agreement.Parse(got.Bytes())
	if err != nil || !reflect.DeepEqual(got, again) {
		t.Errorf("parsing twice gives different agreements: %v", err)
	}
	if got.ValidTo != file.ValidTo || !reflect.DeepEqual(got.Thresholds, file.Thresholds) ||
		!reflect.DeepEqual(got.Collections[0], file.Collections[0]) || !reflect.DeepEqual(got.Signatures, file.Signatures) {
		t.Errorf("parsed\n%+v, want\n%+v", got, file)
	}
}

// TestDigest changes every field of the body, found by reflection so that a new
// field cannot be forgotten. Each change must change the digest and end both
// signatures.
func TestDigest(t *testing.T) {
	t.Parallel()
	want := signed(t).Digest()
	changes := 0
	var walk func(path string, find func(*agreement.Agreement) reflect.Value)
	check := func(path string, change func(*agreement.Agreement)) {
		a := signed(t)
		change(a)
		changes++
		if a.Digest() == want {
			t.Errorf("changing %s does not change the digest", path)
		}
		for td, k := range keys() {
			if err := a.CheckSignature(td, k); !errors.Is(err, agreement.ErrSignature) {
				t.Errorf("changing %s: signature of %s: %v, want ErrSignature", path, td, err)
			}
		}
	}
	walk = func(path string, find func(*agreement.Agreement) reflect.Value) {
		v := find(signed(t))
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			check(path, func(a *agreement.Agreement) {
				f := find(a)
				f.Set(reflect.ValueOf(f.Interface().(time.Time).Add(time.Second)))
			})
		case v.Type() == reflect.TypeFor[agreement.Duration]():
			check(path, func(a *agreement.Agreement) { f := find(a); f.SetInt(f.Int() + int64(time.Second)) })
		case v.Type() == reflect.TypeFor[agreement.Digest]():
			check(path, func(a *agreement.Agreement) { find(a).Index(0).SetUint(1) })
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				name := v.Type().Field(i).Name
				if name == "Signatures" {
					continue
				}
				walk(path+"."+name, func(a *agreement.Agreement) reflect.Value { return find(a).Field(i) })
			}
		case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
			if v.Kind() == reflect.Slice {
				check(path, func(a *agreement.Agreement) {
					f := find(a)
					f.Set(reflect.Append(f, reflect.Zero(f.Type().Elem())))
				})
			}
			for i := range v.Len() {
				walk(path+"[]", func(a *agreement.Agreement) reflect.Value { return find(a).Index(i) })
			}
		case v.Kind() == reflect.Map:
			check(path, func(a *agreement.Agreement) { f := find(a); f.SetMapIndex(reflect.ValueOf("new"), reflect.ValueOf(1)) })
		case v.Kind() == reflect.String:
			check(path, func(a *agreement.Agreement) { f := find(a); f.SetString(f.String() + "x") })
		case v.Kind() == reflect.Bool:
			check(path, func(a *agreement.Agreement) { f := find(a); f.SetBool(!f.Bool()) })
		case v.CanInt():
			check(path, func(a *agreement.Agreement) { f := find(a); f.SetInt(f.Int() + 1) })
		default:
			t.Errorf("%s is of a kind that this test does not know", path)
		}
	}
	walk("", func(a *agreement.Agreement) reflect.Value { return reflect.ValueOf(a).Elem() })
	if changes < 60 {
		t.Errorf("%d changes tried, want all fields", changes)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := string(signed(t).Bytes())
	lines := strings.SplitAfter(good, "\n")
	first, second := lines[len(lines)-3], lines[len(lines)-2]
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the file", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, file := range map[string]string{
		"empty":                       "",
		"other version":               replace("agreement/v1", "agreement/v2"),
		"space":                       replace(`"version": 1`, `"version":  1`),
		"carriage return":             strings.ReplaceAll(good, "\n", "\r\n"),
		"number as float":             replace(`"version": 1,`, `"version": 1.0,`),
		"unknown key":                 replace(`"version": 1,`, "\"version\": 1,\n  \"extra\": 1,"),
		"key twice":                   replace(`"version": 1,`, "\"version\": 1,\n  \"version\": 1,"),
		"key in other case":           replace(`"version"`, `"Version"`),
		"null for a list":             replace(`"profiles": []`, `"profiles": null`),
		"missing key":                 replace("  \"profiles\": [],\n", ""),
		"escaped":                     replace("<des> & ", `\u003cdes> & `),
		"date in another zone":        replace("2026-11-22T12:00:00Z", "2026-11-22T13:00:00+01:00"),
		"date without zone":           replace("2026-11-22T12:00:00Z", "2026-11-22T12:00:00"),
		"duration in another unit":    replace(`"24h"`, `"1440m"`),
		"duration with a sign":        replace(`"24h"`, `"+24h"`),
		"duration of two units":       replace(`"24h"`, `"23h60m"`),
		"duration too long":           replace(`"24h"`, `"99999999999h"`),
		"digest in capitals":          replace(`"supersedes": ""`, `"supersedes": "`+strings.Repeat("AB", 32)+`"`),
		"zero digest":                 replace(`"supersedes": ""`, `"supersedes": "`+strings.Repeat("00", 32)+`"`),
		"map out of order":            replace("\"face\": 80,\n    \"name\": 60", "\"name\": 60,\n    \"face\": 80"),
		"more after the body":         replace("}\n\n", "}\n{}\n\n"),
		"no empty line":               replace("}\n\n", "}\n"),
		"two empty lines":             replace("}\n\n", "}\n\n\n"),
		"no end of line":              good[:len(good)-1],
		"more at the end":             good + "\n",
		"signatures in wrong order":   strings.TrimSuffix(good, first+second) + second + first,
		"signature twice":             good + second,
		"three signatures":            good + strings.ReplaceAll(second, quavia, "c.example"),
		"hyphen for dash":             replace("— ", "- "),
		"signature of no party":       strings.TrimSuffix(good, second) + strings.ReplaceAll(second, quavia, "c.example"),
		"officer of another party":    replace("spiffe://b.example/officer", "spiffe://a.example/officer"),
		"officer who is a gateway":    replace("b.example/officer/", "b.example/gateway/"),
		"base64 without padding":      strings.TrimSuffix(good, "=\n") + "\n",
		"base64 of too few bytes":     strings.TrimSuffix(good, "AAAA\n")[:len(good)-9] + "\n",
		"unknown signature version":   strings.Replace(good, " A", " B", 1),
		"invalid UTF-8":               replace("Border Police", "Border \xff"),
		"three parties":               replace(`"parties": [`, `"parties": [{},`),
		"empty line in the signature": replace(first, "\n"+first),
	} {
		if file == good {
			t.Errorf("%s: the file was not changed", name)
		}
		a, err := agreement.Parse([]byte(file))
		if !errors.Is(err, agreement.ErrMalformed) || a != nil {
			t.Errorf("%s: Parse = %v, %v, want nil and ErrMalformed", name, a, err)
		}
	}
	if a, err := agreement.Parse(bytes.Repeat([]byte("x"), agreement.MaxSize+1)); !errors.Is(err, agreement.ErrMalformed) || a != nil {
		t.Errorf("a large file: Parse = %v, %v", a, err)
	}
}

// TestValidate makes one fault at a time, and asks for its field in the text.
func TestValidate(t *testing.T) {
	t.Parallel()
	if err := draft().Complete(); err != nil {
		t.Fatalf("Complete of the draft: %v", err)
	}
	tests := []struct {
		field  string
		change func(*agreement.Agreement)
	}{
		{"version", func(a *agreement.Agreement) { a.Version = 2 }},
		{"id", func(a *agreement.Agreement) { a.ID = "Capital" }},
		{"id", func(a *agreement.Agreement) { a.ID = "" }},
		{"id", func(a *agreement.Agreement) { a.ID = strings.Repeat("x", 65) }},
		{"number", func(a *agreement.Agreement) { a.Number = 0 }},
		{"supersedes", func(a *agreement.Agreement) { a.Number = 2 }},
		{"supersedes", func(a *agreement.Agreement) { a.Supersedes[0] = 1 }},
		{"parties", func(a *agreement.Agreement) { a.Parties[0], a.Parties[1] = a.Parties[1], a.Parties[0] }},
		{"parties", func(a *agreement.Agreement) { a.Parties[1] = a.Parties[0] }},
		{"parties[0].country", func(a *agreement.Agreement) { a.Parties[0].Country = "Ut" }},
		{"parties[0].trust_domain", func(a *agreement.Agreement) { a.Parties[0].TrustDomain = "A.example" }},
		{"parties[1].gateway", func(a *agreement.Agreement) { a.Parties[1].Gateway = a.Parties[0].Gateway }},
		{"parties[1].gateway", func(a *agreement.Agreement) { a.Parties[1].Gateway += "/more" }},
		{"parties[0].agency_code", func(a *agreement.Agreement) { a.Parties[0].AgencyCode = "" }},
		{"parties[0].agency", func(a *agreement.Agreement) { a.Parties[0].Agency = "two\nlines" }},
		{"parties[0].agency", func(a *agreement.Agreement) { a.Parties[0].Agency = "\xff" }},
		{"parties[0].competences", func(a *agreement.Agreement) { a.Parties[0].Competences = nil }},
		{"parties[0].legal_bases", func(a *agreement.Agreement) { a.Parties[0].LegalBases = nil }},
		{"parties[0].legal_bases[0].ref", func(a *agreement.Agreement) { a.Parties[0].LegalBases[0].Ref = "é" }},
		{"parties[0].legal_bases[0].purposes", func(a *agreement.Agreement) { a.Parties[0].LegalBases[0].Purposes = []string{"other"} }},
		{"parties[0].legal_bases[0].categories[0]", func(a *agreement.Agreement) { a.Parties[0].LegalBases[0].Categories = []string{"tax"} }},
		{"parties[0].legal_bases[1].ref", func(a *agreement.Agreement) {
			p := &a.Parties[0]
			p.LegalBases = append(p.LegalBases, p.LegalBases[0])
		}},
		{"purposes", func(a *agreement.Agreement) { a.Purposes = nil }},
		{"purposes[1].code", func(a *agreement.Agreement) { a.Purposes = append(a.Purposes, a.Purposes[0]) }},
		{"purposes[0].categories", func(a *agreement.Agreement) { a.Purposes[0].Categories = nil }},
		{"collections", func(a *agreement.Agreement) { a.Collections = nil }},
		{"collections[1].name", func(a *agreement.Agreement) { a.Collections[1] = a.Collections[0] }},
		{"collections[0].holder", func(a *agreement.Agreement) { a.Collections[0].Holder = "c.example" }},
		{"collections[0].category", func(a *agreement.Agreement) { a.Collections[0].Category = "tax" }},
		{"collections[0].classes", func(a *agreement.Agreement) { a.Collections[0].Classes = nil }},
		{"collections[0].classes", func(a *agreement.Agreement) { a.Collections[0].Classes = []string{"doc", "doc"} }},
		{"collections[0].classes", func(a *agreement.Agreement) { a.SetScreening.MaxItems = 20_000 }},
		{"collections[0].mode", func(a *agreement.Agreement) { a.Collections[0].Mode = "bucket" }},
		{"collections[0].key_commitment", func(a *agreement.Agreement) { a.Collections[0].KeyCommitment = "" }},
		{"collections[0].key_commitment", func(a *agreement.Agreement) { a.Collections[0].KeyCommitment = strings.Repeat("0A", 32) }},
		{"collections[0].key_commitment", func(a *agreement.Agreement) { a.Collections[0].KeyCommitment = "0a" }},
		{"collections[0].max_records", func(a *agreement.Agreement) { a.Collections[0].MaxRecords = 0 }},
		{"collections[0].round", func(a *agreement.Agreement) { a.Collections[0].Round = agreement.Duration(time.Second) }},
		{"collections[0].max_age", func(a *agreement.Agreement) { a.Collections[0].MaxAge = agreement.Duration(time.Minute) }},
		{"collections[0].max_age", func(a *agreement.Agreement) { a.Collections[0].MaxAge = agreement.Duration(time.Hour + 1) }},
		{"collections[0].rotation_days", func(a *agreement.Agreement) { a.Collections[0].RotationDays = 0 }},
		{"collections[0].labels[0]", func(a *agreement.Agreement) { a.Collections[0].Labels = []string{"x y"} }},
		{"offence_classes[0]", func(a *agreement.Agreement) { a.OffenceClasses = []string{""} }},
		{"urgencies", func(a *agreement.Agreement) { a.Urgencies = nil }},
		{"set_screening.max_items", func(a *agreement.Agreement) { a.SetScreening.MaxItems = 0 }},
		{"set_screening.max_items", func(a *agreement.Agreement) { a.SetScreening.Allowed = false }},
		{"thresholds", func(a *agreement.Agreement) { a.Thresholds["name"] = 0 }},
		{"min_quality", func(a *agreement.Agreement) { a.MinQuality["face"] = 101 }},
		{"profiles", func(a *agreement.Agreement) { a.Profiles = []string{"a", "a"} }},
		{"caps.candidates_per_query", func(a *agreement.Agreement) { a.Caps.CandidatesPerQuery = 0 }},
		{"caps.searches_per_day", func(a *agreement.Agreement) { a.Caps.SearchesPerDay = -1 }},
		{"budgets", func(a *agreement.Agreement) { a.Budgets = nil }},
		{"budgets", func(a *agreement.Agreement) { a.Budgets[0].Class = "doc" }},
		{"budgets[0].collection", func(a *agreement.Agreement) { a.Budgets[0].Collection = "other" }},
		{"budgets[0].class", func(a *agreement.Agreement) { a.Budgets[0].Class = "other" }},
		{"budgets[0].purpose", func(a *agreement.Agreement) { a.Budgets[0].Purpose = "other" }},
		{"budgets[0].per_day", func(a *agreement.Agreement) { a.Budgets[0].PerDay = 0 }},
		{"budgets[0].burst", func(a *agreement.Agreement) { a.Budgets[0].Burst = 0 }},
		{"budgets[0].burst", func(a *agreement.Agreement) { a.Budgets[0].Burst = a.Budgets[0].PerDay + 1 }},
		{"budgets[0].per_unit_day", func(a *agreement.Agreement) { a.Budgets[0].PerUnitDay = -1 }},
		{"budgets[2].collection", func(a *agreement.Agreement) { a.Budgets = append(a.Budgets, a.Budgets[0]) }},
		{"enumeration_bound_ppm", func(a *agreement.Agreement) { a.EnumerationBound = 0 }},
		{"retention_days.without_candidate", func(a *agreement.Agreement) { a.RetentionDays.WithoutCandidate = 0 }},
		{"retention_days.with_candidate", func(a *agreement.Agreement) { a.RetentionDays.WithCandidate = 29 }},
		{"retention_days.input_days", func(a *agreement.Agreement) { a.RetentionDays.InputDays = 4000 }},
		{"deadlines.urgent", func(a *agreement.Agreement) { a.Deadlines.Urgent = 0 }},
		{"deadlines.ordinary", func(a *agreement.Agreement) { a.Deadlines.Ordinary = -1 }},
		{"deadlines.confirmed", func(a *agreement.Agreement) { a.Deadlines.Confirmed = agreement.Duration(time.Hour * 1e5) }},
		{"regimes", func(a *agreement.Agreement) { a.Regimes = nil }},
		{"regimes[1]", func(a *agreement.Agreement) { a.Regimes = []string{"UN", "UN"} }},
		{"disabled_rules[0]", func(a *agreement.Agreement) { a.DisabledRules = []string{""} }},
		{"valid_from", func(a *agreement.Agreement) { a.ValidFrom = a.ValidFrom.Add(1) }},
		{"valid_to", func(a *agreement.Agreement) { a.ValidTo = a.ValidFrom }},
		{"start", func(a *agreement.Agreement) { a.Start = a.ValidTo }},
		{"start", func(a *agreement.Agreement) { a.Start = a.ValidFrom.Add(-time.Second) }},
	}
	for _, tt := range tests {
		a := draft()
		tt.change(a)
		err := a.Complete()
		if err == nil || !strings.Contains(err.Error(), "agreement: "+tt.field+": ") {
			t.Errorf("a fault in %s: Complete = %v", tt.field, err)
		}
		if err := a.Sign(utopia, "spiffe://a.example/officer/x", key("officer a"), key("gateway a")); err == nil || len(a.Signatures) > 0 {
			t.Errorf("a fault in %s: signed it", tt.field)
		}
	}

	// All faults at once, and not only the first.
	a := draft()
	a.ID, a.Urgencies, a.EnumerationBound = "", nil, 0
	if err := a.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("Validate of three faults = %v, want three lines", err)
	}
	// A draft may lack a key.
	a = draft()
	a.Collections[0].KeyCommitment = ""
	if err := a.Validate(); err != nil {
		t.Errorf("Validate of a draft without a key: %v", err)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	a := draft()
	if err := a.CheckSignatures(keys()); !errors.Is(err, agreement.ErrUnsigned) {
		t.Errorf("draft: CheckSignatures = %v, want ErrUnsigned", err)
	}
	digest := a.Digest()
	sign(t, a, quavia, "b")
	if err := a.CheckSignatures(keys()); !errors.Is(err, agreement.ErrUnsigned) {
		t.Errorf("signed by one: CheckSignatures = %v, want ErrUnsigned", err)
	}
	if err := a.CheckSignature(quavia, public("gateway b")); err != nil {
		t.Errorf("CheckSignature: %v", err)
	}

	// The neighbour signs its own copy, and sends it back.
	copied, err := agreement.Parse(draft().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sign(t, copied, utopia, "a")
	if err := a.Merge(copied); err != nil {
		t.Fatal(err)
	}
	if err := a.CheckSignatures(keys()); err != nil {
		t.Errorf("signed by both: CheckSignatures = %v", err)
	}
	if a.Digest() != digest {
		t.Error("signatures changed the digest")
	}
	other := draft()
	other.Strict = true
	if err := a.Merge(other); !errors.Is(err, agreement.ErrDigest) {
		t.Errorf("Merge of another agreement = %v, want ErrDigest", err)
	}

	// Signing again replaces.
	sign(t, a, utopia, "a")
	if len(a.Signatures) != 2 || !a.SignedBy(utopia) || !a.SignedBy(quavia) || a.SignedBy("c.example") {
		t.Errorf("%d signatures after signing again, want one of each party", len(a.Signatures))
	}
}

// TestSignaturesTampered covers: every byte of both lines, exchanged parts, keys of
// others. It does not cover a gateway that attests a key which is not an officer's:
// nobody but its own country can know.
func TestSignaturesTampered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		tamper func(*agreement.Agreement, keyring)
		want   error
	}{
		{"officer key", func(a *agreement.Agreement, _ keyring) { a.Signatures[0].OfficerKey[3] ^= 1 }, agreement.ErrSignature},
		{"officer signature", func(a *agreement.Agreement, _ keyring) { a.Signatures[1].OfficerSignature[3] ^= 1 }, agreement.ErrSignature},
		{"gateway signature", func(a *agreement.Agreement, _ keyring) {
			a.Signatures[0].GatewaySignature[63] ^= 1
		}, agreement.ErrSignature},
		{"officer id", func(a *agreement.Agreement, _ keyring) { a.Signatures[0].Officer += "x" }, agreement.ErrSignature},
		{"officer of another country", func(a *agreement.Agreement, _ keyring) {
			a.Signatures[0].Officer = a.Signatures[1].Officer
		}, agreement.ErrSignature},
		{"signature of the other party", func(a *agreement.Agreement, _ keyring) {
			s := a.Signatures[1]
			s.TrustDomain = a.Signatures[0].TrustDomain
			a.Signatures[0] = s
		}, agreement.ErrSignature},
		{"exchanged gateway keys", func(_ *agreement.Agreement, k keyring) {
			k[utopia], k[quavia] = k[quavia], k[utopia]
		}, agreement.ErrSignature},
		{"short gateway key", func(_ *agreement.Agreement, k keyring) { k[utopia] = k[utopia][:31] }, agreement.ErrSignature},
		{"unknown gateway key", func(_ *agreement.Agreement, k keyring) { delete(k, utopia) }, agreement.ErrUnsigned},
		{"missing signature", func(a *agreement.Agreement, _ keyring) { a.Signatures = a.Signatures[1:] }, agreement.ErrUnsigned},
		{"body", func(a *agreement.Agreement, _ keyring) { a.Budgets[0].PerDay++ }, agreement.ErrSignature},
		{"body that is not valid", func(a *agreement.Agreement, _ keyring) { a.Budgets = nil }, nil},
	}
	for _, tt := range tests {
		a, k := signed(t), keys()
		tt.tamper(a, k)
		if err := a.CheckSignatures(k); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: CheckSignatures = %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name             string
		td, officer      string
		officerK, gateKy crypto.Signer
	}{
		{"stranger", "c.example", "spiffe://c.example/officer/x", key("officer a"), key("gateway a")},
		{"officer of the neighbour", utopia, "spiffe://b.example/officer/x", key("officer a"), key("gateway a")},
		{"no officer", utopia, "spiffe://a.example/gateway/main", key("officer a"), key("gateway a")},
		{"officer key of another kind", utopia, "spiffe://a.example/officer/x", p256, key("gateway a")},
		{"gateway key of another kind", utopia, "spiffe://a.example/officer/x", key("officer a"), p256},
	}
	for _, tt := range tests {
		a := draft()
		if err := a.Sign(tt.td, tt.officer, tt.officerK, tt.gateKy); err == nil || len(a.Signatures) > 0 {
			t.Errorf("%s: signed", tt.name)
		}
	}
	a := draft()
	officer := "spiffe://a.example/officer/x"
	sig := ed25519.Sign(key("officer a"), agreement.SigningBytes(a.Digest(), officer))
	if err := a.AddSignature(utopia, officer, public("officer b"), sig, key("gateway a")); !errors.Is(err, agreement.ErrSignature) {
		t.Errorf("signature by another key: %v, want ErrSignature", err)
	}
	if err := a.AddSignature(utopia, officer, public("officer a"), sig, key("gateway a")); err != nil {
		t.Errorf("AddSignature: %v", err)
	}
}

func TestTerms(t *testing.T) {
	t.Parallel()
	a := signed(t)
	if p, err := a.Party(quavia); err != nil || p.Country != "QVA" {
		t.Errorf("Party = %v, %v", p, err)
	}
	if p, err := a.Other(quavia); err != nil || p.TrustDomain != utopia {
		t.Errorf("Other = %v, %v", p, err)
	}
	for _, td := range []string{"c.example", ""} {
		if p, err := a.Other(td); !errors.Is(err, agreement.ErrParty) || p != nil {
			t.Errorf("Other(%q) = %v, %v, want nil and ErrParty", td, p, err)
		}
	}
	if c, err := a.Collection(utopia, "watchlist"); err != nil || c.Category != "watchlist" {
		t.Errorf("Collection = %v, %v", c, err)
	}
	if c, err := a.Collection(quavia, "watchlist"); !errors.Is(err, agreement.ErrUnknown) || c != nil {
		t.Errorf("Collection of the wrong holder = %v, %v, want nil and ErrUnknown", c, err)
	}
	if got, want := a.Roles(), map[string][]string{utopia: {"watchlist"}, quavia: {"documents"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("Roles = %v, want %v", got, want)
	}
	if got := a.Held(utopia); len(got) != 1 || got[0].Name != "watchlist" {
		t.Errorf("Held = %v", got)
	}
	if got := a.Categories(); !reflect.DeepEqual(got, []string{"watchlist", "document"}) {
		t.Errorf("Categories = %v", got)
	}
	if got := a.BudgetsOf("documents"); len(got) != 1 || got[0].Class != "doc" {
		t.Errorf("BudgetsOf = %v", got)
	}
	for _, tt := range []struct {
		purpose, category string
		want              bool
	}{{"ct-travel-screening", "watchlist", true}, {"ct-travel-screening", "pnr", false}, {"tax", "watchlist", false}, {"", "", false}} {
		if got := a.PermitsPurpose(tt.purpose, tt.category); got != tt.want {
			t.Errorf("PermitsPurpose(%q, %q) = %v", tt.purpose, tt.category, got)
		}
	}
	for _, tt := range []struct {
		asker, ref, purpose, category string
		want                          bool
	}{
		{utopia, "Border-Act-2021 s.14(2)", "ct-travel-screening", "document", true},
		{utopia, "national security", "ct-travel-screening", "document", false},
		{utopia, "Border-Act-2021 s.14(2)", "ct-travel-screening", "pnr", false},
		{utopia, "Border-Act-2021 s.14(2)", "tax", "document", false},
		{"c.example", "Border-Act-2021 s.14(2)", "ct-travel-screening", "document", false},
	} {
		if got := a.PermitsBasis(tt.asker, tt.ref, tt.purpose, tt.category); got != tt.want {
			t.Errorf("PermitsBasis(%q, %q, %q, %q) = %v", tt.asker, tt.ref, tt.purpose, tt.category, got)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	a := signed(t)
	a.Start = noon.Add(time.Hour)
	tests := []struct {
		now       time.Time
		suspended bool
		want      agreement.State
		err       error
	}{
		{noon.Add(-1), false, agreement.NotYet, agreement.ErrNotYet},
		{noon, false, agreement.NotYet, agreement.ErrNotYet},
		{noon.Add(time.Hour - 1), false, agreement.NotYet, agreement.ErrNotYet},
		{noon.Add(time.Hour), false, agreement.Active, nil},
		{noon.Add(time.Hour), true, agreement.Suspended, agreement.ErrSuspended},
		{a.ValidTo.Add(-1), false, agreement.Active, nil},
		{a.ValidTo, false, agreement.Expired, agreement.ErrExpired},
		{a.ValidTo, true, agreement.Expired, agreement.ErrExpired},
	}
	for _, tt := range tests {
		if got := a.Status(tt.now, tt.suspended); got != tt.want || got.Err() != tt.err {
			t.Errorf("Status(%v, %v) = %v, %v, want %v, %v", tt.now, tt.suspended, got, got.Err(), tt.want, tt.err)
		}
	}
	if agreement.State(0).Err() == nil {
		t.Error("the zero State permits")
	}
}

func TestWarning(t *testing.T) {
	t.Parallel()
	a := signed(t)
	for _, tt := range []struct {
		left time.Duration
		want int
	}{
		{60*24*time.Hour + 1, 0}, {60 * 24 * time.Hour, 60}, {30*24*time.Hour + 1, 60}, {30 * 24 * time.Hour, 30},
		{7*24*time.Hour + 1, 30}, {7 * 24 * time.Hour, 7}, {1, 7}, {0, 0}, {-time.Hour, 0},
	} {
		w, ok := a.Warning(a.ValidTo.Add(-tt.left))
		if ok != (tt.want > 0) || w.Days != tt.want {
			t.Errorf("Warning with %v left = %v, %v, want %d days", tt.left, w, ok, tt.want)
		}
	}
}

// TestAmend checks that an amendment shares nothing with what it amends.
func TestAmend(t *testing.T) {
	t.Parallel()
	a := signed(t)
	before := a.Bytes()
	next := a.Amend(noon.AddDate(0, 1, 0))
	if next.Number != 2 || next.Supersedes != a.Digest() || len(next.Signatures) > 0 {
		t.Errorf("Amend = number %d, supersedes %v, %d signatures", next.Number, next.Supersedes, len(next.Signatures))
	}
	if err := next.Complete(); err != nil {
		t.Errorf("Complete of an amendment: %v", err)
	}
	next.Parties[0].LegalBases[0].Purposes[0] = "x"
	next.Collections[0].Classes[0] = "x"
	next.Purposes[0].Categories[0] = "x"
	next.Thresholds["name"] = 1
	next.Budgets[0].PerDay = 1
	if !bytes.Equal(a.Bytes(), before) {
		t.Error("changing the amendment changed the agreement")
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0s": 0, "5s": 5 * time.Second, "90s": 90 * time.Second, "5m": 5 * time.Minute, "90m": 90 * time.Minute, "48h": 48 * time.Hour,
	} {
		var d agreement.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want || d.String() != text {
			t.Errorf("%q parses as %v, %v and prints as %q", text, time.Duration(d), err, d)
		}
	}
	for _, bad := range []string{"", "h", "5", "60s", "60m", "05m", "-0s", "1d", "1.5h", "1h30m", "٥m", "2147483648s"} {
		var d agreement.Duration
		if err := d.UnmarshalText([]byte(bad)); err == nil || d != 0 {
			t.Errorf("%q parses as %v", bad, d)
		}
	}
}

// FuzzParse checks that the encoding is canonical: whatever Parse accepts encodes
// back to the same bytes.
func FuzzParse(f *testing.F) {
	f.Add(draft().Bytes())
	f.Add(signed(f).Bytes())
	f.Add((&agreement.Agreement{}).Bytes())
	files, err := filepath.Glob(vectors + "/agreement_*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, file, _ := bytes.Cut(b, []byte("\n\n"))
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := agreement.Parse(b)
		if err != nil {
			if a != nil {
				t.Error("non-nil agreement with an error")
			}
			if !errors.Is(err, agreement.ErrMalformed) {
				t.Errorf("error = %v, want ErrMalformed", err)
			}
			return
		}
		if got := a.Bytes(); !bytes.Equal(got, b) {
			t.Errorf("not canonical:\n got %q\nfrom %q", got, b)
		}
		a.Validate()
		a.CheckSignatures(keys())
	})
}

// TestSchema lists the keys of the format: a new one needs a new version.
func TestSchema(t *testing.T) {
	t.Parallel()
	body := draft().Body()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(body[bytes.IndexByte(body, '{'):], &m); err != nil {
		t.Fatal(err)
	}
	if len(m) != 24 {
		t.Errorf("the body has %d keys, want the 24 of version 1", len(m))
	}
}

func TestShown(t *testing.T) {
	c := agreement.Collection{Labels: []string{"alert-2", "instruction-1"}}
	for _, tt := range []struct{ alert, instruction, wantAlert, wantInstruction uint8 }{
		{2, 1, 2, 1},
		{1, 2, 0, 0},
		{2, 12, 2, 0},
		{0, 1, 0, 1},
	} {
		if a, i := c.Shown(tt.alert, tt.instruction); a != tt.wantAlert || i != tt.wantInstruction {
			t.Errorf("Shown(%d, %d) = %d, %d, want %d, %d", tt.alert, tt.instruction, a, i, tt.wantAlert, tt.wantInstruction)
		}
	}
	if a, i := (&agreement.Collection{}).Shown(2, 1); a != 0 || i != 0 {
		t.Errorf("without labels: Shown(2, 1) = %d, %d", a, i)
	}
}

package sealed_test

import (
	"bytes"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/crypto/sealed"
)

// These tests cover: an envelope with any byte changed, cut or extended, of another
// context, for another identity, and one whose padding was made by somebody who
// does not follow the format. Not covered, because HPKE in base mode does not
// promise it: that the sender is who they say. The leaf in the log does that.

func identity(t testing.TB) sealed.Identity {
	t.Helper()
	i, err := sealed.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

var testContext = sealed.Context{QueryID: [16]byte{1, 2, 3}, Leaf: []byte("fields of the leaf")}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	i := identity(t)
	for _, n := range []int{0, 1, 100, 2947, 2948, 15235, 15236, 100000, sealed.MaxContent} {
		content := bytes.Repeat([]byte{7}, n)
		b, err := sealed.Seal(i.Recipient(), testContext, content)
		if err != nil {
			t.Fatalf("Seal of %d bytes: %v", n, err)
		}
		ok := false
		for _, size := range sealed.Sizes() {
			ok = ok || len(b) == size
		}
		if !ok {
			t.Errorf("%d bytes make an envelope of %d", n, len(b))
		}
		if id, err := sealed.KeyID(b); id != i.Recipient().KeyID() || err != nil {
			t.Errorf("KeyID = %x, %v", id, err)
		}
		got, err := sealed.Open(i, testContext, b)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("Open of %d bytes: %d bytes, %v", n, len(got), err)
		}
	}
	if b, err := sealed.Seal(i.Recipient(), testContext, make([]byte, sealed.MaxContent+1)); b != nil || !errors.Is(err, sealed.ErrTooLarge) {
		t.Errorf("too much content: %d bytes, %v", len(b), err)
	}
	long := sealed.Context{Leaf: make([]byte, sealed.MaxLeaf+1)}
	if b, err := sealed.Seal(i.Recipient(), long, nil); b != nil || !errors.Is(err, sealed.ErrTooLarge) {
		t.Errorf("long leaf: %d bytes, %v", len(b), err)
	}
}

// TestSizes states that all contents of one size class look alike.
func TestSizes(t *testing.T) {
	t.Parallel()
	r := identity(t).Recipient()
	a, err1 := sealed.Seal(r, testContext, nil)
	b, err2 := sealed.Seal(r, testContext, make([]byte, 2900))
	if err1 != nil || err2 != nil || len(a) != len(b) || len(a) != 4<<10 {
		t.Errorf("sizes %d and %d, %v, %v", len(a), len(b), err1, err2)
	}
	again, err := sealed.Seal(r, testContext, nil)
	if err != nil || sealed.Digest(again) == sealed.Digest(a) {
		t.Errorf("two envelopes of one content have one digest (%v)", err)
	}
}

func TestTampered(t *testing.T) {
	t.Parallel()
	i := identity(t)
	good, err := sealed.Seal(i.Recipient(), testContext, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	for k := range good {
		if k > 1200 && k%61 != 0 { // one AEAD ciphertext
			continue
		}
		bad := bytes.Clone(good)
		bad[k] ^= 1
		got, err := sealed.Open(i, testContext, bad)
		if got != nil || !errors.Is(err, sealed.ErrOpen) && !errors.Is(err, sealed.ErrRecipient) {
			t.Fatalf("byte %d: %q, %v", k, got, err)
		}
	}
	other := identity(t)
	relabelled := bytes.Clone(good)
	id := other.Recipient().KeyID()
	copy(relabelled[1:], id[:])
	tests := []struct {
		name string
		i    sealed.Identity
		c    sealed.Context
		b    []byte
		want error
	}{
		{"another query", i, sealed.Context{QueryID: [16]byte{1, 2, 4}, Leaf: testContext.Leaf}, good, sealed.ErrOpen},
		{"another leaf", i, sealed.Context{QueryID: testContext.QueryID, Leaf: []byte("fields of the leag")}, good, sealed.ErrOpen},
		{"no leaf", i, sealed.Context{QueryID: testContext.QueryID}, good, sealed.ErrOpen},
		{"another identity", other, testContext, good, sealed.ErrRecipient},
		{"another identity, relabelled", other, testContext, relabelled, sealed.ErrOpen},
		{"zero identity", sealed.Identity{}, testContext, good, sealed.ErrKey},
		{"empty", i, testContext, nil, sealed.ErrOpen},
		{"cut", i, testContext, good[:len(good)-1], sealed.ErrOpen},
		{"longer", i, testContext, append(bytes.Clone(good), 0), sealed.ErrOpen},
		{"longer by a size", i, testContext, append(bytes.Clone(good), make([]byte, 12<<10)...), sealed.ErrOpen},
	}
	for _, tt := range tests {
		got, err := sealed.Open(tt.i, tt.c, tt.b)
		if got != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %q, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	if b, err := sealed.Seal(sealed.Recipient{}, testContext, nil); b != nil || !errors.Is(err, sealed.ErrKey) {
		t.Errorf("zero recipient: %d bytes, %v", len(b), err)
	}
}

// TestPadding opens envelopes of a sender who follows HPKE and not the format.
func TestPadding(t *testing.T) {
	t.Parallel()
	i := identity(t)
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(i.Recipient().String(), "passerelle-recipient1"))
	if err != nil {
		t.Fatal(err)
	}
	pk, err := hpke.MLKEM768X25519().NewPublicKey(raw[:sealed.RecipientSize])
	if err != nil {
		t.Fatal(err)
	}
	id := i.Recipient().KeyID()
	forge := func(size int, change func(padded []byte)) []byte {
		enc, s, err := hpke.NewSender(pk, hpke.HKDFSHA256(), hpke.AES256GCM(), append([]byte("passerelle/v1 sealed\x00"), id[:]...))
		if err != nil {
			t.Fatal(err)
		}
		padded := make([]byte, size-1-len(id)-len(enc)-16)
		change(padded)
		ct, err := s.Seal(append(bytes.Clone(testContext.QueryID[:]), testContext.Leaf...), padded)
		if err != nil {
			t.Fatal(err)
		}
		return append(append(append([]byte{1}, id[:]...), enc...), ct...)
	}
	got, err := sealed.Open(i, testContext, forge(4<<10, func(p []byte) { p[3], p[4] = 1, 'x' }))
	if string(got) != "x" || err != nil {
		t.Fatalf("as the format says: %q, %v", got, err)
	}
	tests := []struct {
		name string
		b    []byte
	}{
		{"something behind the content", forge(4<<10, func(p []byte) { p[len(p)-1] = 1 })},
		{"length beyond the end", forge(4<<10, func(p []byte) { p[2] = 0xff })},
		{"huge length", forge(4<<10, func(p []byte) { p[0] = 0xff })},
		{"larger than needed", forge(16<<10, func(p []byte) { p[3] = 1 })},
	}
	for _, tt := range tests {
		if got, err := sealed.Open(i, testContext, tt.b); got != nil || !errors.Is(err, sealed.ErrOpen) {
			t.Errorf("%s: %q, %v, want ErrOpen", tt.name, got, err)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	i := identity(t)
	r, err := sealed.ParseRecipient(i.Recipient().String())
	if err != nil || r.String() != i.Recipient().String() || r.KeyID() != i.Recipient().KeyID() || r.IsZero() {
		t.Fatalf("ParseRecipient: %v", err)
	}
	again, err := sealed.ParseIdentity(i.Reveal())
	if err != nil || again.Reveal() != i.Reveal() || again.Recipient().String() != r.String() {
		t.Fatalf("ParseIdentity: %v", err)
	}
	b, err := sealed.Seal(r, testContext, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sealed.Open(again, testContext, b); string(got) != "x" || err != nil {
		t.Errorf("Open = %q, %v", got, err)
	}
	if strings.ContainsAny(r.String()+i.Reveal(), " \n") {
		t.Error("a key is not one word")
	}
	secret, public := i.Reveal(), r.String()
	for n := range secret {
		if got, err := sealed.ParseIdentity(secret[:n]); got.Reveal() != "" || !errors.Is(err, sealed.ErrKey) {
			t.Fatalf("identity cut at %d: %v", n, err)
		}
	}
	for k := range public {
		bad := []byte(public)
		bad[k] = 'A' + (bad[k]-'A'+1)%26
		if string(bad) == public {
			continue
		}
		if got, err := sealed.ParseRecipient(string(bad)); !got.IsZero() || !errors.Is(err, sealed.ErrKey) {
			t.Fatalf("recipient with another character %d: %v", k, err)
		}
	}
	for _, s := range []string{secret + "\n", " " + secret, secret + "=", strings.ToUpper(secret), public, secret[:30] + "\n" + secret[30:]} {
		_, err := sealed.ParseIdentity(s)
		if !errors.Is(err, sealed.ErrKey) || strings.Contains(err.Error(), secret[25:40]) {
			t.Errorf("ParseIdentity of a variant: %v", err)
		}
	}
	if _, err := sealed.ParseRecipient(secret); !errors.Is(err, sealed.ErrKey) || strings.Contains(err.Error(), secret[25:40]) {
		t.Errorf("ParseRecipient of an identity: %v", err)
	}
}

// TestIdentityHidden prints an Identity, and things that hold one, in every way.
func TestIdentityHidden(t *testing.T) {
	t.Parallel()
	i := identity(t)
	text := i.Reveal()[len("passerelle-identity1"):]
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Public sealed.Identity
		hidden sealed.Identity
		ptr    *sealed.Identity
	}
	h := holder{i, i, &i}
	var out bytes.Buffer
	for _, v := range []any{i, &i, h, &h, []sealed.Identity{i}, map[string]any{"k": h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		j, err := json.Marshal(v)
		if err != nil {
			t.Errorf("json: %v", err)
		}
		out.Write(j)
	}
	for _, secret := range []string{text[:12], fmt.Sprintf("%x", raw[:8]), fmt.Sprintf("%X", raw[:8]), strings.Trim(fmt.Sprint(raw[:8]), "[]"),
		strings.TrimSuffix(fmt.Sprintf("%#v", raw[:6])[len("[]byte{"):], "}")} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("printed the identity as %q", secret)
		}
	}
	if !strings.Contains(out.String(), fmt.Sprintf("sealed.Identity(%x)", i.Recipient().KeyID())) {
		t.Error("the key id is not printed")
	}
}

// FuzzParseRecipient checks that the text form is canonical.
func FuzzParseRecipient(f *testing.F) {
	i, err := sealed.GenerateIdentity()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(i.Recipient().String())
	f.Add("passerelle-recipient1AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := sealed.ParseRecipient(s)
		if err != nil {
			if !r.IsZero() || r.String() != "" {
				t.Error("a recipient beside an error")
			}
			return
		}
		if r.String() != s {
			t.Errorf("not canonical: got %q from %q", r.String(), s)
		}
	})
}

// FuzzParseIdentity checks that the text form is canonical.
func FuzzParseIdentity(f *testing.F) {
	i, err := sealed.GenerateIdentity()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(i.Reveal())
	f.Fuzz(func(t *testing.T, s string) {
		i, err := sealed.ParseIdentity(s)
		if err != nil {
			if i.Reveal() != "" {
				t.Error("an identity beside an error")
			}
			return
		}
		if i.Reveal() != s {
			t.Error("not canonical")
		}
	})
}

// FuzzOpen checks that nothing but an envelope opens, and that errors come alone.
func FuzzOpen(f *testing.F) {
	i, err := sealed.GenerateIdentity()
	if err != nil {
		f.Fatal(err)
	}
	good, err := sealed.Seal(i.Recipient(), testContext, []byte("content"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := sealed.Open(i, testContext, b)
		if err != nil {
			if got != nil {
				t.Error("content beside an error")
			}
			return
		}
		if !bytes.Equal(b, good) || string(got) != "content" {
			t.Errorf("opened something else: %q", got)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	i := identity(b)
	content := make([]byte, 2000)
	for b.Loop() {
		if _, err := sealed.Seal(i.Recipient(), testContext, content); err != nil {
			b.Fatal(err)
		}
	}
}

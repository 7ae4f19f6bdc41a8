package entry_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/passerelle/passerelle/gateway/audit/entry"
)

// These tests cover: a receipt with any byte changed, of another key, about
// another query, request or answer, or signed under another domain. Not covered,
// because it is the caller's: whose key it should be, and whether the holder's log
// really has the leaf (see CheckLeafProof).

func testKey(c byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{c}, ed25519.SeedSize))
}

func receipt() entry.Receipt {
	return entry.Receipt{
		Query: b16(1), Request: b32(2), Answer: b32(3), ListVersion: 7, Decision: entry.DecisionAllowed,
		Leaf: b32(4), Index: 41, Origin: "gw.qvarnia.example/log/shared", Time: noon,
	}
}

func TestReceiptRoundTrip(t *testing.T) {
	t.Parallel()
	key := testKey(1)
	pub := key.Public().(ed25519.PublicKey)
	b, err := entry.SignReceipt(receipt(), key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := entry.CheckReceipt(b, pub, b16(1), b32(2), b32(3))
	if err != nil {
		t.Fatal(err)
	}
	want := receipt()
	want.Signature = r.Signature
	if *r != want {
		t.Errorf("got %+v, want %+v", *r, want)
	}
	if again, err := r.Bytes(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("Bytes = %x, %v", again, err)
	}
	if len(b) > entry.MaxReceiptSize {
		t.Errorf("%d bytes, at most %d", len(b), entry.MaxReceiptSize)
	}
}

func TestReceiptTampered(t *testing.T) {
	t.Parallel()
	key := testKey(1)
	pub := key.Public().(ed25519.PublicKey)
	b, err := entry.SignReceipt(receipt(), key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			r, err := entry.CheckReceipt(c, pub, b16(1), b32(2), b32(3))
			if r != nil || !errors.Is(err, entry.ErrReceipt) && !errors.Is(err, entry.ErrMalformed) {
				t.Fatalf("byte %d bit %d: %v, %v", i, bit, r, err)
			}
		}
	}
	for n := range b {
		if r, err := entry.ParseReceipt(b[:n]); r != nil || !errors.Is(err, entry.ErrMalformed) {
			t.Fatalf("cut at %d: %v, %v", n, r, err)
		}
	}
	naked := ed25519.Sign(key, b[:len(b)-ed25519.SignatureSize]) // without the domain
	undomained := append(bytes.Clone(b[:len(b)-ed25519.SignatureSize]), naked...)
	tests := []struct {
		name            string
		b               []byte
		pub             ed25519.PublicKey
		query           [16]byte
		request, answer [32]byte
		want            error
	}{
		{"another key", b, testKey(2).Public().(ed25519.PublicKey), b16(1), b32(2), b32(3), entry.ErrReceipt},
		{"no key", b, nil, b16(1), b32(2), b32(3), entry.ErrReceipt},
		{"another query", b, pub, b16(9), b32(2), b32(3), entry.ErrReceipt},
		{"another request", b, pub, b16(1), b32(9), b32(3), entry.ErrReceipt},
		{"another answer", b, pub, b16(1), b32(2), b32(9), entry.ErrReceipt},
		{"signature without the domain", undomained, pub, b16(1), b32(2), b32(3), entry.ErrReceipt},
		{"trailing byte", append(bytes.Clone(b), 0), pub, b16(1), b32(2), b32(3), entry.ErrMalformed},
	}
	for _, tt := range tests {
		r, err := entry.CheckReceipt(tt.b, tt.pub, tt.query, tt.request, tt.answer)
		if r != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.name, r, err, tt.want)
		}
	}
}

func TestSignReceiptInvalid(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*entry.Receipt)
	}{
		{"query", func(r *entry.Receipt) { r.Query = [16]byte{} }},
		{"request", func(r *entry.Receipt) { r.Request = [32]byte{} }},
		{"no answer", func(r *entry.Receipt) { r.Answer = [32]byte{} }},
		{"decision", func(r *entry.Receipt) { r.Decision = 0 }},
		{"leaf", func(r *entry.Receipt) { r.Leaf = [32]byte{} }},
		{"origin", func(r *entry.Receipt) { r.Origin = "a b" }},
		{"time", func(r *entry.Receipt) { r.Time = 0 }},
	}
	for _, tt := range tests {
		r := receipt()
		tt.change(&r)
		if b, err := entry.SignReceipt(r, testKey(1)); b != nil || !errors.Is(err, entry.ErrInvalid) {
			t.Errorf("%s: %x, %v", tt.name, b, err)
		}
	}
	if b, err := entry.SignReceipt(receipt(), nil); b != nil || !errors.Is(err, entry.ErrInvalid) {
		t.Errorf("no key: %x, %v", b, err)
	}
}

// FuzzParseReceipt checks that the encoding is canonical, and that an error comes
// with no receipt.
func FuzzParseReceipt(f *testing.F) {
	for _, v := range readVectors(f, "receipt") {
		f.Add(v.body)
	}
	b, err := entry.SignReceipt(receipt(), testKey(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := entry.ParseReceipt(b)
		if err != nil {
			if r != nil {
				t.Error("a receipt beside an error")
			}
			return
		}
		again, err := r.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("not canonical: %v\n got %x\nfrom %x", err, again, b)
		}
	})
}

package psi_test

// Attacks on manifests and segments. Covered: each field and each byte of a signed
// manifest, signatures of others and of other messages, each region of a segment
// with the old hash and, as a malicious holder would, with a new one, and each
// rule of the chain. Not covered: tags of keys that belong to no record, which
// only the holder's auditor can find.

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
)

func sign(t testing.TB, m *psi.Manifest) []byte {
	t.Helper()
	s, err := m.Sign(signingKey(1))
	if err != nil {
		t.Fatal(err)
	}
	return s.Bytes()
}

func TestManifestSigned(t *testing.T) {
	t.Parallel()
	m := build(t, params(), records(3)).Manifest()
	b := sign(t, m)
	got, err := psi.CheckManifest(b, publicKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if got.Manifest.Hash() != m.Hash() || !bytes.Equal(got.Bytes(), b) || m.Hash() == [32]byte{} {
		t.Error("manifest does not survive")
	}
	check := func(name string, b []byte, pub ed25519.PublicKey, want error) {
		t.Helper()
		if s, err := psi.CheckManifest(b, pub); !errors.Is(err, want) || s != nil {
			t.Errorf("%s: CheckManifest error = %v, want %v", name, err, want)
		}
	}
	for i := range b {
		c := slices.Clone(b)
		c[i] ^= 1 << (i % 8)
		check("byte changed", c, publicKey(1), psi.ErrSignature)
	}
	for n := range b {
		if n%7 == 0 {
			check("cut", b[:n], publicKey(1), psi.ErrSignature)
		}
	}
	check("longer", append(slices.Clone(b), 0), publicKey(1), psi.ErrSignature)
	check("other key", b, publicKey(2), psi.ErrSignature)
	check("no key", b, nil, psi.ErrSignature)
	// A signature of the same bytes for another purpose.
	bare := append(m.Bytes(), ed25519.Sign(signingKey(1), m.Bytes())...)
	check("no domain", bare, publicKey(1), psi.ErrSignature)
	// A holder that signs something malformed.
	junk := []byte("no manifest")
	junk = append(junk, ed25519.Sign(signingKey(1), append([]byte("passerelle/psi/v1 manifest\n"), junk...))...)
	check("junk", junk, publicKey(1), psi.ErrMalformed)

	bad := *m
	bad.Version = 0
	if s, err := bad.Sign(signingKey(1)); !errors.Is(err, psi.ErrMalformed) || s != nil {
		t.Errorf("Sign of a malformed manifest: %v", err)
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := m.Sign(k); !errors.Is(err, psi.ErrInput) || s != nil {
		t.Errorf("Sign with an RSA key: %v", err)
	}
}

// TestManifestFields changes each field. The change must change the hash and
// break the signature, or make the manifest malformed; and a set must not open
// under a manifest whose description of its segments is changed.
func TestManifestFields(t *testing.T) {
	t.Parallel()
	set := build(t, params(), records(3))
	m := set.Manifest()
	signature := sign(t, m)[len(m.Bytes()):]
	const malformed, opens, set_ = 1, 2, 3
	tests := []struct {
		name   string
		change func(*psi.Manifest)
		want   int
	}{
		{"protocol", func(m *psi.Manifest) { m.Info.Protocol++ }, opens},
		{"holder", func(m *psi.Manifest) { m.Info.Holder = "c.example" }, opens},
		{"asker", func(m *psi.Manifest) { m.Info.Asker = "c.example" }, opens},
		{"collection", func(m *psi.Manifest) { m.Info.Collection = "other" }, opens},
		{"class", func(m *psi.Manifest) { m.Info.Class = "doc" }, opens},
		{"normalisation", func(m *psi.Manifest) { m.Info.Normalisation++ }, opens},
		{"epoch", func(m *psi.Manifest) { m.Info.Epoch++ }, opens},
		{"empty class", func(m *psi.Manifest) { m.Info.Class = "" }, malformed},
		{"public key", func(m *psi.Manifest) { m.PublicKey = newServer(5).PublicKey() }, opens},
		{"identity key", func(m *psi.Manifest) { m.PublicKey = oprf.PublicKey{} }, malformed},
		{"version", func(m *psi.Manifest) { m.Version++ }, opens},
		{"version zero", func(m *psi.Manifest) { m.Version = 0 }, malformed},
		{"previous", func(m *psi.Manifest) { m.Version, m.Previous[31] = 2, 1 }, opens},
		{"previous of the first", func(m *psi.Manifest) { m.Previous[31] = 1 }, malformed},
		{"created", func(m *psi.Manifest) { m.Created = m.Created.Add(time.Millisecond) }, opens},
		{"created between", func(m *psi.Manifest) { m.Created = m.Created.Add(1) }, malformed},
		{"not after", func(m *psi.Manifest) { m.NotAfter = m.NotAfter.Add(time.Hour) }, opens},
		{"ends first", func(m *psi.Manifest) { m.NotAfter = m.Created.Add(-time.Hour) }, malformed},
		{"far future", func(m *psi.Manifest) { m.NotAfter = m.Created.AddDate(9000, 0, 0) }, malformed},
		{"tag bits", func(m *psi.Manifest) { m.TagBits-- }, malformed},
		{"sharers", func(m *psi.Manifest) { m.Sharers = 2 }, malformed},
		{"sharers and bits", func(m *psi.Manifest) { m.Sharers, m.TagBits = 2, m.TagBits+1 }, malformed},
		{"sharers, bits and size", func(m *psi.Manifest) {
			m.Sharers, m.TagBits, m.Segments[0].Size = 2, m.TagBits+1, m.Segments[0].Size+128
		}, set_},
		{"no sharers", func(m *psi.Manifest) { m.Sharers = 0 }, malformed},
		{"three sharers", func(m *psi.Manifest) { m.Sharers, m.TagBits = 3, m.TagBits+2 }, malformed},
		{"count", func(m *psi.Manifest) { m.Count++ }, malformed},
		{"count zero", func(m *psi.Manifest) { m.Count = 0 }, malformed},
		{"count huge", func(m *psi.Manifest) { m.Count = 1 << 31 }, malformed},
		{"no segments", func(m *psi.Manifest) { m.Segments = nil }, malformed},
		{"segment twice", func(m *psi.Manifest) { m.Segments = append(m.Segments, m.Segments[0]) }, malformed},
		{"segment hash", func(m *psi.Manifest) { m.Segments[0].Hash[0] ^= 1 }, set_},
		{"segment coding", func(m *psi.Manifest) { m.Segments[0].Coding = 2 }, malformed},
		{"segment kind", func(m *psi.Manifest) { m.Segments[0].Kind = 2 }, malformed},
		{"segment count", func(m *psi.Manifest) { m.Segments[0].Count-- }, malformed},
		{"segment nonce", func(m *psi.Manifest) { m.Segments[0].Nonce[0] ^= 1 }, opens},
		{"segment size", func(m *psi.Manifest) { m.Segments[0].Size-- }, set_},
		{"segment too small", func(m *psi.Manifest) { m.Segments[0].Size = 20 + 4 + 128 + 5*1024 + 16*1024 - 1 }, malformed},
		{"segment too large", func(m *psi.Manifest) { m.Segments[0].Size = 20 + 4*18 + 416 + 5*1024 + 16*1024 + 1 }, malformed},
	}
	for _, tt := range tests {
		c := set.Manifest()
		tt.change(c)
		b := c.Bytes()
		if (b == nil) != (tt.want == malformed) || (c.Validate() != nil) != (tt.want == malformed) {
			t.Errorf("%s: Validate = %v", tt.name, c.Validate())
		}
		if b == nil {
			if c.Hash() != [32]byte{} {
				t.Errorf("%s: a malformed manifest has a hash", tt.name)
			}
		} else {
			if c.Hash() == m.Hash() {
				t.Errorf("%s: same hash", tt.name)
			}
			if s, err := psi.CheckManifest(append(b, signature...), publicKey(1)); !errors.Is(err, psi.ErrSignature) || s != nil {
				t.Errorf("%s: CheckManifest error = %v", tt.name, err)
			}
		}
		s, err := psi.OpenSet(c, set.Segments())
		want := map[int]error{malformed: psi.ErrMalformed, opens: nil, set_: psi.ErrSet}[tt.want]
		if !errors.Is(err, want) || (s == nil) != (want != nil) {
			t.Errorf("%s: OpenSet error = %v, want %v", tt.name, err, want)
		}
		if tt.name == "segment nonce" && s != nil && s.Lookup(evaluate(t, "key 1")) != nil {
			t.Errorf("%s: a label opens under another nonce", tt.name)
		}
	}
	if s, err := psi.OpenSet(nil, nil); !errors.Is(err, psi.ErrMalformed) || s != nil {
		t.Errorf("OpenSet without a manifest: %v", err)
	}
}

// TestSegmentTampered changes a segment, first in transit, then as the holder,
// who can make the hash fit.
func TestSegmentTampered(t *testing.T) {
	t.Parallel()
	set := build(t, params(), records(3))
	const n = 1024
	seg := set.Segments()[0]
	labels := len(seg) - 16*n
	first := int(binary.BigEndian.Uint32(seg[8:]))
	tests := []struct {
		name   string
		change func(b []byte) []byte
		rehash error // when the hash fits
	}{
		{"coding", func(b []byte) []byte { b[0]++; return b }, psi.ErrSet},
		{"kind", func(b []byte) []byte { b[1]++; return b }, psi.ErrSet},
		{"rest bits", func(b []byte) []byte { b[2]++; return b }, psi.ErrSet},
		{"label size", func(b []byte) []byte { b[3]++; return b }, psi.ErrSet},
		{"count", func(b []byte) []byte { b[7]++; return b }, psi.ErrSet},
		{"all tags moved out of the buckets", func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[8:], uint32(first+100))
			return b
		}, psi.ErrSet},
		{"blocks", func(b []byte) []byte { b[15]++; return b }, psi.ErrSet},
		{"bytes of quotients", func(b []byte) []byte { b[19]++; return b }, psi.ErrSet},
		{"tags before a block", func(b []byte) []byte { b[20+4+1]++; return b }, psi.ErrSet},
		{"quotients before a block", func(b []byte) []byte { b[20+4+3]++; return b }, psi.ErrSet},
		{"first quotient", func(b []byte) []byte { b[20+4*8] ^= 0x80; return b }, psi.ErrSet},
		{"another tag", func(b []byte) []byte { b[labels-1] ^= 1; return b }, nil},
		{"label", func(b []byte) []byte { b[labels+5] ^= 1; return b }, nil},
		{"last byte", func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }, nil},
		{"shorter", func(b []byte) []byte { return b[:len(b)-1] }, psi.ErrSet},
		{"longer", func(b []byte) []byte { return append(b, 0) }, psi.ErrSet},
		{"empty", func(b []byte) []byte { return nil }, psi.ErrSet},
	}
	for _, tt := range tests {
		b := tt.change(slices.Clone(set.Segments()[0]))
		m := set.Manifest()
		if s, err := psi.OpenSet(m, [][]byte{b}); !errors.Is(err, psi.ErrSet) || s != nil {
			t.Errorf("%s: OpenSet error = %v, want %v", tt.name, err, psi.ErrSet)
		}
		m.Segments[0].Hash, m.Segments[0].Size = sha256.Sum256(b), uint64(len(b))
		want := tt.rehash
		if m.Validate() != nil { // an empty segment is refused before it is opened
			want = psi.ErrMalformed
		}
		if s, err := psi.OpenSet(m, [][]byte{b}); !errors.Is(err, want) || (s == nil) != (err != nil) {
			t.Errorf("%s with a new hash: OpenSet error = %v, want %v", tt.name, err, want)
		}
	}
	for _, segs := range [][][]byte{nil, {}, {set.Segments()[0], set.Segments()[0]}} {
		if s, err := psi.OpenSet(set.Manifest(), segs); !errors.Is(err, psi.ErrSet) || s != nil {
			t.Errorf("OpenSet of %d segments: %v", len(segs), err)
		}
	}

	// The four check bytes: a label whose bits are changed there is no match.
	b := slices.Clone(set.Segments()[0])
	for k := range n {
		binary.BigEndian.PutUint32(b[labels+16*k+12:], ^binary.BigEndian.Uint32(b[labels+16*k+12:]))
	}
	m := set.Manifest()
	m.Segments[0].Hash = sha256.Sum256(b)
	s, err := psi.OpenSet(m, [][]byte{b})
	if err != nil {
		t.Fatal(err)
	}
	if out := evaluate(t, "key 1"); s.Tags(out) != 1 || s.Lookup(out) != nil {
		t.Error("a label with wrong check bytes is a match")
	}
}

func TestCheckSuccessor(t *testing.T) {
	t.Parallel()
	prev := build(t, params(), records(3)).Manifest()
	next := func() *psi.Manifest {
		m := build(t, params(), records(3)).Manifest()
		m.Version, m.Previous = 2, prev.Hash()
		return m
	}
	other := newServer(5).PublicKey()
	tests := []struct {
		name   string
		change func(*psi.Manifest)
		ok     bool
	}{
		{"nothing", func(m *psi.Manifest) {}, true},
		{"holder", func(m *psi.Manifest) { m.Info.Holder = "c" }, false},
		{"asker", func(m *psi.Manifest) { m.Info.Asker = "c" }, false},
		{"collection", func(m *psi.Manifest) { m.Info.Collection = "c" }, false},
		{"class", func(m *psi.Manifest) { m.Info.Class = "c" }, false},
		{"same version", func(m *psi.Manifest) { m.Version = 1 }, false},
		{"version left out", func(m *psi.Manifest) { m.Version = 3 }, false},
		{"other previous", func(m *psi.Manifest) { m.Previous[0]++ }, false},
		{"no previous", func(m *psi.Manifest) { m.Previous = [32]byte{} }, false},
		{"older", func(m *psi.Manifest) { m.Created = m.Created.Add(-time.Millisecond) }, false},
		{"other key", func(m *psi.Manifest) { m.PublicKey = other }, false},
		{"epoch with the key", func(m *psi.Manifest) { m.Info.Epoch++ }, false},
		{"epoch", func(m *psi.Manifest) { m.Info.Epoch++; m.PublicKey = other }, true},
		{"epoch goes back", func(m *psi.Manifest) { m.Info.Epoch--; m.PublicKey = other }, false},
		{"normalisation", func(m *psi.Manifest) { m.Info.Normalisation++ }, false},
		{"normalisation with epoch", func(m *psi.Manifest) { m.Info.Normalisation++; m.Info.Epoch++; m.PublicKey = other }, true},
		{"normalisation goes back", func(m *psi.Manifest) { m.Info.Normalisation--; m.Info.Epoch++; m.PublicKey = other }, false},
		{"protocol", func(m *psi.Manifest) { m.Info.Protocol++ }, false},
		{"protocol with epoch", func(m *psi.Manifest) { m.Info.Protocol++; m.Info.Epoch++; m.PublicKey = other }, true},
		{"malformed", func(m *psi.Manifest) { m.TagBits = 0 }, false},
	}
	for _, tt := range tests {
		m := next()
		tt.change(m)
		err := psi.CheckSuccessor(prev, m)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, psi.ErrChain) {
			t.Errorf("%s: CheckSuccessor = %v", tt.name, err)
		}
	}
	if err := psi.CheckSuccessor(nil, prev); err != nil {
		t.Errorf("the first manifest: %v", err)
	}
	late := build(t, params(), nil).Manifest()
	late.Version = 17
	if err := psi.CheckSuccessor(nil, late); err != nil {
		t.Errorf("the first manifest of a class that came later: %v", err)
	}
	if err := psi.CheckSuccessor(nil, next()); !errors.Is(err, psi.ErrChain) {
		t.Errorf("a manifest whose predecessor is missing: %v", err)
	}
	if err := psi.CheckSuccessor(prev, nil); !errors.Is(err, psi.ErrChain) {
		t.Errorf("no manifest: %v", err)
	}
	if err := psi.CheckSuccessor(&psi.Manifest{}, next()); !errors.Is(err, psi.ErrChain) {
		t.Errorf("malformed predecessor: %v", err)
	}
}

func TestCheckAge(t *testing.T) {
	t.Parallel()
	m := build(t, params(), nil).Manifest()
	tests := []struct {
		now time.Time
		ok  bool
	}{
		{m.Created, true},
		{m.Created.Add(time.Hour), true},
		{m.Created.Add(time.Hour + 1), false},
		{m.Created.Add(-psi.MaxSkew), true},
		{m.Created.Add(-psi.MaxSkew - 1), false},
		{m.NotAfter, false},
	}
	for _, tt := range tests {
		err := m.CheckAge(tt.now, time.Hour)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, psi.ErrStale) {
			t.Errorf("CheckAge at %v after creation = %v", tt.now.Sub(m.Created), err)
		}
	}
	if err := m.CheckAge(m.NotAfter, 1000*time.Hour); !errors.Is(err, psi.ErrStale) {
		t.Errorf("CheckAge at NotAfter = %v", err)
	}
}

// TestCopies checks that nobody can change a set from outside.
func TestCopies(t *testing.T) {
	t.Parallel()
	set := build(t, params(), records(1))
	want := set.Manifest().Hash()
	set.Manifest().Segments[0].Nonce[0] ^= 1
	set.Segments()[0] = nil
	if set.Manifest().Hash() != want || set.Segments()[0] == nil {
		t.Error("the set has changed")
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add(info().Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := psi.ParseInfo(b)
		if err != nil {
			if i != (psi.Info{}) || !errors.Is(err, psi.ErrMalformed) {
				t.Errorf("ParseInfo = %+v, %v", i, err)
			}
			return
		}
		if !bytes.Equal(i.Bytes(), b) {
			t.Errorf("not canonical:\n got %x\nfrom %x", i.Bytes(), b)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	p := params()
	m := build(f, p, records(2)).Manifest()
	f.Add(m.Bytes())
	p.Version, p.Previous, p.Sharers = 2, m.Hash(), 64
	f.Add(build(f, p, records(1100)).Manifest().Bytes())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := psi.ParseManifest(b)
		if err != nil {
			if m != nil || !errors.Is(err, psi.ErrMalformed) {
				t.Errorf("ParseManifest = %+v, %v", m, err)
			}
			return
		}
		if !bytes.Equal(m.Bytes(), b) {
			t.Errorf("not canonical:\n got %x\nfrom %x", m.Bytes(), b)
		}
		if err := m.Validate(); err != nil {
			t.Errorf("accepted an invalid manifest: %v", err)
		}
	})
}

// FuzzOpenSet opens segments of a holder that makes the hash fit.
func FuzzOpenSet(f *testing.F) {
	set := build(f, params(), records(2))
	out := evaluate(f, "key 1")
	f.Add(0, []byte{})
	f.Add(8, []byte{0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		b := slices.Clone(set.Segments()[0])
		if at < 0 || at > len(b) {
			t.Skip("not a place in the segment")
		}
		b = append(b[:at], append(slices.Clone(patch), b[min(len(b), at+len(patch)):]...)...)
		m := set.Manifest()
		m.Segments[0].Hash, m.Segments[0].Size = sha256.Sum256(b), uint64(len(b))
		s, err := psi.OpenSet(m, [][]byte{b})
		if err != nil {
			if s != nil || !errors.Is(err, psi.ErrSet) && m.Validate() == nil {
				t.Errorf("OpenSet = %v, %v", s, err)
			}
			return
		}
		s.Lookup(out)
	})
}

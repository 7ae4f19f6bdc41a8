package officer_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/officer"
)

var start = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func generate(t testing.TB) officer.PrivateKey {
	t.Helper()
	k, err := officer.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func person(t testing.TB, id string, roles ...officer.Role) (officer.Officer, officer.PrivateKey) {
	t.Helper()
	k := generate(t)
	return officer.Officer{ID: id, Unit: "border-1", Roles: roles, PublicKey: k.PublicKey()}, k
}

// A store keeps records.
type store struct {
	records [][]byte
	err     error
}

func (s *store) save(b []byte) error {
	if s.err != nil {
		return s.err
	}
	s.records = append(s.records, b)
	return nil
}

// A world is a register with two administrators.
type world struct {
	t        testing.TB
	register *officer.Register
	store    *store
	founding [32]byte
	now      time.Time
	keys     map[string]officer.PrivateKey
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: new(store), now: start, keys: make(map[string]officer.PrivateKey)}
	b, kb := person(t, "admin-b", officer.RoleAdministrator)
	a, ka := person(t, "admin-a", officer.RoleOperator, officer.RoleAdministrator)
	w.keys["admin-a"], w.keys["admin-b"] = ka, kb
	record, founding, err := officer.Found(b, a, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.store.records, w.founding = [][]byte{record}, founding
	if w.register, err = officer.Load(w.store.records, founding, w.store.save); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) propose(c officer.Change, admin string) (bool, error) {
	w.t.Helper()
	sig, err := officer.SignChange(w.keys[admin], c)
	if err != nil {
		return false, err
	}
	return w.register.Propose(c, admin, sig[:], w.now)
}

// both lets both first administrators consent.
func (w *world) both(kind officer.Kind, o officer.Officer) error {
	w.t.Helper()
	c := w.register.NewChange(kind, o, w.now)
	if done, err := w.propose(c, "admin-b"); err != nil || done {
		return fmt.Errorf("first consent: done %v: %w", done, err)
	}
	done, err := w.propose(c, "admin-a")
	if err != nil {
		return err
	}
	if !done {
		return errors.New("second consent: not done")
	}
	return nil
}

func (w *world) enrol(id string, roles ...officer.Role) officer.Officer {
	w.t.Helper()
	o, k := person(w.t, id, roles...)
	w.keys[id] = k
	if err := w.both(officer.Enrol, o); err != nil {
		w.t.Fatal(err)
	}
	return o
}

func TestSign(t *testing.T) {
	t.Parallel()
	o, k := person(t, "o1", officer.RoleAsking)
	digest := [32]byte{1}
	sig, err := officer.SignAsk(k, digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := officer.CheckAsk(o, digest, sig[:]); err != nil {
		t.Error(err)
	}
	m, err := officer.Message(officer.PurposeAsk, digest)
	if err != nil {
		t.Fatal(err)
	}
	if want := "passerelle officer signature v1\x00\x03ask" + string(digest[:]); string(m) != want {
		t.Errorf("Message = %q, want %q", m, want)
	}
	other, _ := person(t, "o1", officer.RoleAsking)
	bad := bytes.Clone(sig[:])
	bad[63] ^= 1
	tests := []struct {
		name string
		err  error
	}{
		{"digest", officer.CheckAsk(o, [32]byte{2}, sig[:])},
		{"purpose", officer.Check(o.PublicKey, officer.PurposeConfirm, digest, sig[:])},
		{"key", officer.CheckAsk(other, digest, sig[:])},
		{"no key", officer.CheckAsk(officer.Officer{}, digest, sig[:])},
		{"signature", officer.CheckAsk(o, digest, bad)},
		{"short signature", officer.CheckAsk(o, digest, sig[:63])},
		{"long signature", officer.CheckAsk(o, digest, append(sig[:], 0))},
		{"no signature", officer.CheckAsk(o, digest, nil)},
		{"plain signature", func() error {
			return officer.CheckAsk(o, digest, ed25519.Sign(ed25519.NewKeyFromSeed(k.Bytes()), digest[:]))
		}()},
	}
	for _, tt := range tests {
		if tt.err != officer.ErrSignature {
			t.Errorf("%s: error = %v, want ErrSignature", tt.name, tt.err)
		}
	}
	for _, p := range []string{"", "Ask", "a b", "-a", strings.Repeat("a", officer.MaxPurposeSize+1)} {
		if _, err := officer.Sign(k, p, digest); err == nil {
			t.Errorf("Sign accepts the purpose %q", p)
		}
	}
	if _, err := officer.SignAsk(officer.PrivateKey{}, digest); !errors.Is(err, officer.ErrKey) {
		t.Errorf("zero key: error = %v, want ErrKey", err)
	}
}

// TestSmallOrder shows that anybody can sign under a key of small order, and
// that no such key is accepted, however it is encoded.
func TestSmallOrder(t *testing.T) {
	t.Parallel()
	p := func(low, fill, high byte) (b [32]byte) {
		for i := range b {
			b[i] = fill
		}
		b[0], b[31] = low, high
		return b
	}
	keys := [][32]byte{
		p(0, 0, 0), p(1, 0, 0), p(0xec, 0xff, 0x7f), p(0xed, 0xff, 0x7f), p(0xee, 0xff, 0x7f),
		[32]byte{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
			0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
		[32]byte{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
			0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
	}
	forged := 0
	for _, k := range keys {
		for _, sign := range []byte{0, 0x80} {
			k := k
			k[31] |= sign
			// R is the neutral element and S = 0: this verifies for every
			// message whose hash is a multiple of the order of the key.
			sig := append([]byte{1}, make([]byte, 63)...)
			works := false
			for n := range 500 {
				m := fmt.Appendf(nil, "message %d", n)
				works = works || ed25519.Verify(k[:], m, sig)
			}
			if works {
				forged++
			}
			o := officer.Officer{ID: "o1", Unit: "u", Roles: []officer.Role{officer.RoleAsking}, PublicKey: k[:]}
			c := officer.Change{Version: 1, Kind: officer.Enrol, Sequence: 1, Time: start, Officer: o}
			if _, err := c.Bytes(); !errors.Is(err, officer.ErrOfficer) {
				t.Errorf("key %x: error = %v, want ErrOfficer", k, err)
			}
			if _, err := officer.ParsePublicKey(officer.EncodePublicKey(k[:])); !errors.Is(err, officer.ErrOfficer) {
				t.Errorf("ParsePublicKey of %x: error = %v, want ErrOfficer", k, err)
			}
		}
	}
	if forged == 0 {
		t.Error("no signature was forged: the test shows nothing")
	}
}

func TestPublicKeyWord(t *testing.T) {
	t.Parallel()
	pub := generate(t).PublicKey()
	s := officer.EncodePublicKey(pub)
	got, err := officer.ParsePublicKey(s)
	if err != nil || !got.Equal(pub) {
		t.Errorf("ParsePublicKey = %x, %v", got, err)
	}
	for n := range s {
		b := []byte(s)
		b[n] ^= 1
		if got, err := officer.ParsePublicKey(string(b)); err == nil || got != nil {
			t.Errorf("byte %d changed: accepted", n)
		}
		if got, err := officer.ParsePublicKey(s[:n]); err == nil || got != nil {
			t.Errorf("cut to %d bytes: accepted", n)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(officer.EncodePublicKey(generate(f).PublicKey()))
	f.Add("passerelle-officer1AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		pub, err := officer.ParsePublicKey(s)
		if err != nil {
			if pub != nil {
				t.Error("key with an error")
			}
			return
		}
		if got := officer.EncodePublicKey(pub); got != s {
			t.Errorf("not canonical: got %q from %q", got, s)
		}
	})
}

func TestPrivateKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	k := generate(t)
	id, err := officer.CreateIdentity(t.TempDir(), "spiffe://a.example/officer/o1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := officer.ParsePrivateKey(k.Bytes())
	if err != nil || again.KeyID() != k.KeyID() || !again.PublicKey().Equal(k.PublicKey()) {
		t.Errorf("ParsePrivateKey: %v", err)
	}
	if _, err := officer.ParsePrivateKey(k.Bytes()[1:]); !errors.Is(err, officer.ErrKey) {
		t.Errorf("short key: error = %v, want ErrKey", err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t"} {
		for _, v := range []any{k, &k, []officer.PrivateKey{k}, struct{ k officer.PrivateKey }{k}, id,
			struct{ i *officer.Identity }{id}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	l := slog.New(slog.NewJSONHandler(&out, nil))
	l.Info("x", "key", k, "struct", struct{ K officer.PrivateKey }{k})
	j, err := json.Marshal(map[string]any{"k": k})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	got := out.String()
	seed := k.Bytes()
	for _, secret := range []string{
		string(seed), fmt.Sprintf("%x", seed), fmt.Sprintf("%X", seed),
		strings.Trim(fmt.Sprintf("%d", seed), "[]"), strings.Trim(fmt.Sprintf("%#v", seed), "[]byte{}"),
	} {
		if strings.Contains(got, secret) {
			t.Error("a private key was printed")
		}
	}
	if !strings.Contains(got, k.KeyID()) {
		t.Error("the KeyID was not printed")
	}
}

func TestOfficerLimits(t *testing.T) {
	t.Parallel()
	good := officer.Officer{
		ID: "o1", Unit: "unit-1", Roles: []officer.Role{officer.RoleAsking},
		Trained: []officer.Training{{"search", start}}, PublicKey: generate(t).PublicKey(),
	}
	bytesOf := func(o officer.Officer) error {
		_, err := officer.Change{Version: 1, Kind: officer.Enrol, Sequence: 1, Time: start, Officer: o}.Bytes()
		return err
	}
	if err := bytesOf(good); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(o *officer.Officer)
	}{
		{"no id", func(o *officer.Officer) { o.ID = "" }},
		{"upper case", func(o *officer.Officer) { o.ID = "O1" }},
		{"slash", func(o *officer.Officer) { o.ID = "a/b" }},
		{"dots", func(o *officer.Officer) { o.ID = ".." }},
		{"long id", func(o *officer.Officer) { o.ID = strings.Repeat("a", officer.MaxNameSize+1) }},
		{"no unit", func(o *officer.Officer) { o.Unit = "" }},
		{"no role", func(o *officer.Officer) { o.Roles = nil }},
		{"unknown role", func(o *officer.Officer) { o.Roles = []officer.Role{"king"} }},
		{"role twice", func(o *officer.Officer) { o.Roles = []officer.Role{officer.RoleAsking, officer.RoleAsking} }},
		{"roles not sorted", func(o *officer.Officer) { o.Roles = []officer.Role{officer.RoleLegal, officer.RoleAsking} }},
		{"course twice", func(o *officer.Officer) { o.Trained = append(o.Trained, o.Trained[0]) }},
		{"course", func(o *officer.Officer) { o.Trained = []officer.Training{{"A B", start}} }},
		{"until", func(o *officer.Officer) { o.Trained = []officer.Training{{"search", start.Add(1)}} }},
		{"many courses", func(o *officer.Officer) { o.Trained = make([]officer.Training, officer.MaxTraining+1) }},
		{"no key", func(o *officer.Officer) { o.PublicKey = nil }},
		{"long key", func(o *officer.Officer) { o.PublicKey = make([]byte, 33) }},
		{"enrolled", func(o *officer.Officer) { o.Enrolled = start }},
		{"retired", func(o *officer.Officer) { o.Retired = start }},
	}
	for _, tt := range tests {
		o := good
		tt.change(&o)
		if err := bytesOf(o); !errors.Is(err, officer.ErrOfficer) {
			t.Errorf("%s: error = %v, want ErrOfficer", tt.name, err)
		}
	}
	if _, err := officer.ParseRole("king"); !errors.Is(err, officer.ErrOfficer) {
		t.Errorf("ParseRole: error = %v, want ErrOfficer", err)
	}
	if r, err := officer.ParseRole("child_protection"); r != officer.RoleChildProtection || err != nil {
		t.Errorf("ParseRole = %q, %v", r, err)
	}
}

package peer_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
	"golang.org/x/mod/sumdb/note"
)

// full returns a signed invite that has every field.
func full(t testing.TB, c *country) *peer.Invite {
	t.Helper()
	i := c.unsigned(t)
	i.Profile, i.BundleURL = peer.ProfileSPIFFE, "https://gateway."+c.td+":8444/bundle"
	i.WitnessKey = verifierKey(t, c.td+"/witness", c.logKey)
	i.KeyCommitments = []peer.KeyCommitment{
		{"documents", 1, [32]byte{1}}, {"documents", 2, [32]byte{2}}, {"watchlist", 1, [32]byte{3}},
	}
	if err := i.Sign(c.key); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestInviteRoundTrip(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "b.example", newClock())
	for _, i := range []*peer.Invite{c.invite(t), full(t, c)} {
		b, err := i.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		again, err := peer.ParseInvite(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, i) {
			t.Errorf("ParseInvite = %+v\nwant %+v", again, i)
		}
		if again.Fingerprint() != i.Fingerprint() {
			t.Error("the fingerprint changed")
		}
		// The file is a signed note as others know it.
		v, err := note.NewVerifier(i.SigningKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open(b, note.VerifierList(v)); err != nil {
			t.Errorf("note.Open: %v", err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "b.example", newClock())
	i := full(t, c)
	f := i.Fingerprint()
	if !regexp.MustCompile(`^[A-Z2-7]{5}(-[A-Z2-7]{5}){4}$`).MatchString(f) {
		t.Errorf("Fingerprint = %q", f)
	}
	i.Signature[0] ^= 1
	if got := i.Fingerprint(); got != f {
		t.Error("the fingerprint depends on the signature")
	}
	i.Endpoint = "gateway.b.example:8445"
	if got := i.Fingerprint(); got == f {
		t.Error("the fingerprint does not depend on the endpoint")
	}
}

// TestInviteTampered changes every field of a valid invite in turn, without
// signing it again.
func TestInviteTampered(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "b.example", newClock())
	other := newCountry(t, "b.example", newClock())
	tests := []struct {
		name   string
		tamper func(i *peer.Invite)
	}{
		{"version", func(i *peer.Invite) { i.Version++ }},
		{"trust domain", func(i *peer.Invite) { i.TrustDomain = "c.example" }},
		{"gateway", func(i *peer.Invite) { i.GatewayID = "spiffe://b.example/gateway/evil" }},
		{"endpoint", func(i *peer.Invite) { i.Endpoint = "evil.example:8443" }},
		{"country", func(i *peer.Invite) { i.Country = "XAA" }},
		{"agency", func(i *peer.Invite) { i.Agency += "x" }},
		{"agency code", func(i *peer.Invite) { i.AgencyCode += "x" }},
		{"profile", func(i *peer.Invite) { i.Profile = peer.ProfileWeb }},
		{"bundle URL", func(i *peer.Invite) { i.BundleURL = "https://evil.example/bundle" }},
		{"signing key", func(i *peer.Invite) { i.SigningKey = other.unsigned(t).SigningKey }},
		{"log key", func(i *peer.Invite) { i.LogKey = other.unsigned(t).LogKey }},
		{"witness key", func(i *peer.Invite) { i.WitnessKey = "" }},
		{"created", func(i *peer.Invite) { i.Created = i.Created.Add(time.Second) }},
		{"not after", func(i *peer.Invite) { i.NotAfter = i.NotAfter.Add(time.Second) }},
		{"key", func(i *peer.Invite) { i.KeyCommitments[0].PublicKey[31] ^= 1 }},
		{"epoch", func(i *peer.Invite) { i.KeyCommitments[2].Epoch++ }},
		{"key removed", func(i *peer.Invite) { i.KeyCommitments = i.KeyCommitments[1:] }},
		{"authority", func(i *peer.Invite) { i.BundleAuthorities = other.unsigned(t).BundleAuthorities }},
		{"signature", func(i *peer.Invite) { i.Signature[0] ^= 1 }},
	}
	for _, tt := range tests {
		i := full(t, c)
		tt.tamper(i)
		if b, err := i.Bytes(); !errors.Is(err, peer.ErrInvite) || b != nil {
			t.Errorf("%s: Bytes error = %v, want ErrInvite", tt.name, err)
		}
		f, err := peer.NewFederation("a.example", nil)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := f.Accept(i, c.clock.now()); !errors.Is(err, peer.ErrInvite) || p.TrustDomain != "" {
			t.Errorf("%s: Accept error = %v, want ErrInvite", tt.name, err)
		}
	}

	// Every single byte of the file counts.
	b, err := full(t, c).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		bad := bytes.Clone(b)
		bad[n] ^= 1
		if i, err := peer.ParseInvite(bad); !errors.Is(err, peer.ErrInvite) || i != nil {
			t.Fatalf("byte %d changed: error = %v, want ErrInvite", n, err)
		}
	}
	for n := range b {
		if i, err := peer.ParseInvite(b[:n]); !errors.Is(err, peer.ErrInvite) || i != nil {
			t.Fatalf("cut to %d bytes: error = %v, want ErrInvite", n, err)
		}
	}
}

// TestInviteInvalid signs what must not be signed.
func TestInviteInvalid(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "b.example", newClock())
	authority := c.unsigned(t).BundleAuthorities[0]
	svid, err := c.source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	k := func(name string, epoch uint32) peer.KeyCommitment {
		return peer.KeyCommitment{Collection: name, Epoch: epoch}
	}
	tests := []struct {
		name   string
		change func(i *peer.Invite)
	}{
		{"trust domain as URI", func(i *peer.Invite) { i.TrustDomain = "spiffe://b.example" }},
		{"gateway of another", func(i *peer.Invite) { i.GatewayID = "spiffe://c.example/gateway/main" }},
		{"officer as gateway", func(i *peer.Invite) { i.GatewayID = "spiffe://b.example/officer/main" }},
		{"no port", func(i *peer.Invite) { i.Endpoint = "b.example" }},
		{"port 0", func(i *peer.Invite) { i.Endpoint = "b.example:0" }},
		{"port 08443", func(i *peer.Invite) { i.Endpoint = "b.example:08443" }},
		{"port 65536", func(i *peer.Invite) { i.Endpoint = "b.example:65536" }},
		{"upper-case host", func(i *peer.Invite) { i.Endpoint = "B.example:8443" }},
		{"no host", func(i *peer.Invite) { i.Endpoint = ":8443" }},
		{"path in host", func(i *peer.Invite) { i.Endpoint = "b.example/x:8443" }},
		{"lower-case country", func(i *peer.Invite) { i.Country = "uto" }},
		{"long country", func(i *peer.Invite) { i.Country = "UTOP" }},
		{"no agency", func(i *peer.Invite) { i.Agency = "" }},
		{"no agency code", func(i *peer.Invite) { i.AgencyCode = "" }},
		{"capital in agency code", func(i *peer.Invite) { i.AgencyCode = "UTO" }},
		{"line end in agency", func(i *peer.Invite) { i.Agency = "x\nlog-key: y" }},
		{"override in agency", func(i *peer.Invite) { i.Agency = "Border\u202eycnegA" }},
		{"space around agency", func(i *peer.Invite) { i.Agency = " x" }},
		{"long agency", func(i *peer.Invite) { i.Agency = strings.Repeat("x", 129) }},
		{"no profile", func(i *peer.Invite) { i.Profile = "" }},
		{"URL without profile", func(i *peer.Invite) { i.Profile = peer.ProfileInvite }},
		{"profile without URL", func(i *peer.Invite) { i.BundleURL = "" }},
		{"http URL", func(i *peer.Invite) { i.BundleURL = "http://b.example/" }},
		{"user in URL", func(i *peer.Invite) { i.BundleURL = "https://u:p@b.example/" }},
		{"query in URL", func(i *peer.Invite) { i.BundleURL = "https://b.example/?x" }},
		{"signing key", func(i *peer.Invite) { i.SigningKey = "x" }},
		{"log of another trust domain", func(i *peer.Invite) {
			i.LogKey = verifierKey(t, "a.example/log/shared", make(ed25519.PublicKey, ed25519.PublicKeySize))
		}},
		{"statements of another trust domain", func(i *peer.Invite) {
			i.SigningKey = verifierKey(t, "b.example.org/statement", make(ed25519.PublicKey, ed25519.PublicKeySize))
		}},
		{"line end in key", func(i *peer.Invite) { i.LogKey = i.LogKey[:40] + "\n" + i.LogKey[40:] }},
		{"no log key", func(i *peer.Invite) { i.LogKey = "" }},
		{"local time", func(i *peer.Invite) { i.Created = i.Created.In(time.FixedZone("x", 3600)) }},
		{"milliseconds", func(i *peer.Invite) { i.Created = i.Created.Add(time.Millisecond) }},
		{"backwards", func(i *peer.Invite) { i.NotAfter = i.Created }},
		{"too long", func(i *peer.Invite) { i.NotAfter = i.Created.Add(peer.MaxInviteLife + time.Second) }},
		{"keys not sorted", func(i *peer.Invite) { i.KeyCommitments = []peer.KeyCommitment{k("b", 1), k("a", 1)} }},
		{"keys twice", func(i *peer.Invite) { i.KeyCommitments = []peer.KeyCommitment{k("a", 1), k("a", 1)} }},
		{"space in collection", func(i *peer.Invite) { i.KeyCommitments = []peer.KeyCommitment{k("a b", 1)} }},
		{"too many keys", func(i *peer.Invite) {
			i.KeyCommitments = nil
			for n := range peer.MaxKeyCommitments + 1 {
				i.KeyCommitments = append(i.KeyCommitments, k("a", uint32(n)))
			}
		}},
		{"no authority", func(i *peer.Invite) { i.BundleAuthorities = nil }},
		{"authority twice", func(i *peer.Invite) { i.BundleAuthorities = [][]byte{authority, authority} }},
		{"leaf as authority", func(i *peer.Invite) { i.BundleAuthorities = [][]byte{svid.Certificates[0].Raw} }},
		{"no certificate", func(i *peer.Invite) { i.BundleAuthorities = [][]byte{{1}} }},
		{"large authority", func(i *peer.Invite) { i.BundleAuthorities = [][]byte{make([]byte, peer.MaxAuthoritySize+1)} }},
		{"too many authorities", func(i *peer.Invite) {
			i.BundleAuthorities = make([][]byte, peer.MaxAuthorities+1)
		}},
	}
	for _, tt := range tests {
		i := full(t, c)
		tt.change(i)
		if err := i.Sign(c.key); !errors.Is(err, peer.ErrInvite) {
			t.Errorf("%s: error = %v, want ErrInvite", tt.name, err)
		}
	}
	i := full(t, c)
	_, wrong, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Sign(wrong); !errors.Is(err, peer.ErrInvite) {
		t.Errorf("other key: error = %v, want ErrInvite", err)
	}
	if _, err := c.unsigned(t).Bytes(); !errors.Is(err, peer.ErrInvite) {
		t.Errorf("not signed: error = %v, want ErrInvite", err)
	}
	if _, err := peer.VerifierKey("a b", c.logKey); err == nil {
		t.Error("VerifierKey accepts a space in the name")
	}
}

func TestParseInviteForms(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "b.example", newClock())
	b, err := c.invite(t).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	lines := strings.SplitAfter(s, "\n")
	sig := lines[len(lines)-2]
	for name, bad := range map[string]string{
		"empty":              "",
		"second signature":   s + sig,
		"other signature":    s + "— x AAAAAAAA\n",
		"text after":         s + "x\n",
		"line end missing":   strings.TrimSuffix(s, "\n"),
		"carriage returns":   strings.ReplaceAll(s, "\n", "\r\n"),
		"too large":          s + strings.Repeat("x", peer.MaxInviteSize),
		"header":             strings.Replace(s, "/v1\n", "/v2\n", 1),
		"not a note at all":  "x\n\n",
		"line end in base64": strings.Replace(s, sig, sig[:40]+"\r"+sig[40:], 1),
	} {
		if i, err := peer.ParseInvite([]byte(bad)); !errors.Is(err, peer.ErrInvite) || i != nil {
			t.Errorf("%s: error = %v, want ErrInvite", name, err)
		}
	}
}

func FuzzParseInvite(f *testing.F) {
	c := newCountry(f, "b.example", newClock())
	for _, i := range []*peer.Invite{c.invite(f), full(f, c)} {
		b, err := i.Bytes()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte("passerelle-invite/v1\n\n— x y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := peer.ParseInvite(b)
		if err != nil {
			if i != nil {
				t.Error("invite with an error")
			}
			return
		}
		again, err := i.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("not canonical: %v\n got %q\nfrom %q", err, again, b)
		}
	})
}

// TestPublicKey checks that PublicKey is the inverse of VerifierKey, and accepts no
// second form of a key.
func TestPublicKey(t *testing.T) {
	t.Parallel()
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	word := verifierKey(t, "border.utopia.example/statement", pub)
	got, err := peer.PublicKey(word)
	if err != nil || !got.Equal(pub) {
		t.Errorf("PublicKey = %x, %v; want %x", got, err, pub)
	}
	name, rest, _ := strings.Cut(word, "+")
	hash, key, _ := strings.Cut(rest, "+")
	for what, bad := range map[string]string{
		"empty": "", "no hash": name + "+" + key, "other name": "border.valdera.example/statement+" + rest,
		"other hash": name + "+00000000+" + key, "cut off": word[:len(word)-4], "line end": word + "\n", "space": " " + word,
		"other algorithm": name + "+" + hash + "+B" + key[1:], "more": word + "+x",
	} {
		if got, err := peer.PublicKey(bad); err == nil || got != nil {
			t.Errorf("%s: PublicKey(%q) = %x, %v", what, bad, got, err)
		}
	}
}

package peer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/mod/sumdb/note"
)

const (
	// InviteVersion is the only version of invites so far.
	InviteVersion = 1

	// MaxInviteSize is the largest invite file, in bytes.
	MaxInviteSize = 64 << 10

	// MaxAuthorities is how many X.509 authorities a bundle has at most.
	MaxAuthorities = 8

	// MaxAuthoritySize is the largest certificate of an authority, in bytes of
	// DER.
	MaxAuthoritySize = 4096

	// MaxKeyCommitments is how many keys an invite commits to at most.
	MaxKeyCommitments = 128

	// MaxInviteLife is the longest time from Created to NotAfter.
	MaxInviteLife = 366 * 24 * time.Hour

	// FingerprintBits is the size of a fingerprint. An attacker needs about
	// 2^125 attempts for an invite with a given fingerprint.
	FingerprintBits = 125

	inviteHeader = "passerelle-invite/v1"
)

// The profiles say how the bundle of a peer is kept up to date (SPIFFE
// Federation, Section 5). There is no fallback from one to another.
const (
	ProfileInvite = "invite"       // by newer invites only
	ProfileSPIFFE = "https_spiffe" // bundle endpoint, authenticated by its SVID
	ProfileWeb    = "https_web"    // bundle endpoint, authenticated by Web PKI
)

var (
	// ErrInvite is returned for an invite that is malformed or whose signature
	// does not verify.
	ErrInvite = errors.New("peer: invalid invite")

	// ErrExpired is returned for an invite that is not valid now.
	ErrExpired = errors.New("peer: invite is not valid at this time")
)

// A KeyCommitment fixes the OPRF key of one collection and epoch before the
// first query, so that a holder cannot use another key for one asker.
type KeyCommitment struct {
	Collection string   // 1 to 64 visible ASCII characters
	Epoch      uint32   // epoch of the key
	PublicKey  [32]byte // pkS, RFC 9497
}

// An Invite is everything a neighbour must know to federate with a gateway. It
// holds no secret, and no personal data.
//
// As a file it is a signed note (c2sp.org/signed-note) with one signature, by
// the key that is in its own text. So a valid signature says only that the
// holder of the key made the invite: whose key it is, people learn by comparing
// the [Invite.Fingerprint] by telephone.
type Invite struct {
	// Version is InviteVersion.
	Version byte

	// TrustDomain is the SPIFFE trust domain of the country.
	TrustDomain string

	// GatewayID is the SPIFFE ID of the gateway, within TrustDomain.
	GatewayID string

	// Endpoint is where the gateway listens, as host:port.
	Endpoint string

	// Country is the code of the country or organisation in travel documents, 2
	// or 3 upper-case letters (ICAO Doc 9303-3, Section 5).
	Country string

	// Agency is the name of the agency for people to read, 1 to 128 bytes of
	// printable text.
	Agency string

	// AgencyCode is its code in agreements, 1 to 64 of a-z, 0-9, ".", "-", "_", "+".
	AgencyCode string

	// Profile is one of the three profiles above.
	Profile string

	// BundleURL is the https URL of the bundle endpoint. It is present if and
	// only if Profile is not ProfileInvite.
	BundleURL string

	// SigningKey is the Ed25519 verifier key for statements of the gateway, and
	// for this invite (c2sp.org/signed-note).
	SigningKey string

	// LogKey is the verifier key of the shared log.
	LogKey string

	// WitnessKey is the verifier key of the witness of the country, of the
	// signature type Ed25519 or cosignature/v1 (c2sp.org/tlog-cosignature).
	// Empty means that the country runs no witness.
	WitnessKey string

	// Created and NotAfter bound the time in which the invite may be accepted,
	// in whole seconds, UTC, at most MaxInviteLife apart.
	Created, NotAfter time.Time

	// KeyCommitments are sorted by collection and epoch, without duplicates, at
	// most MaxKeyCommitments.
	KeyCommitments []KeyCommitment

	// BundleAuthorities are the X.509 authorities of the trust domain in DER, 1
	// to MaxAuthorities, each at most MaxAuthoritySize bytes, without duplicates.
	BundleAuthorities [][]byte

	// Signature is the Ed25519 signature that Sign makes.
	Signature [ed25519.SignatureSize]byte
}

// VerifierKey returns the encoding of an Ed25519 key as a verifier key with the
// given name (c2sp.org/signed-note). The name must not be empty and must not
// contain spaces or "+"; by convention it starts with the trust domain.
func VerifierKey(name string, pub ed25519.PublicKey) (string, error) {
	s, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return "", fmt.Errorf("peer: encoding verifier key: %v", err)
	}
	if _, err := parseVerifierKey(s, algEd25519); err != nil {
		return "", fmt.Errorf("peer: encoding verifier key: %v", err)
	}
	return s, nil
}

// PublicKey returns the Ed25519 key of a verifier key that VerifierKey encoded,
// such as the SigningKey of an [Invite]. There is exactly one encoding of a key;
// it returns an error for everything else.
func PublicKey(verifierKey string) (ed25519.PublicKey, error) {
	vk, err := parseVerifierKey(verifierKey, algEd25519)
	if err != nil {
		return nil, fmt.Errorf("peer: public key: %w", err)
	}
	return vk.key, nil
}

const (
	algEd25519     = 0x01 // c2sp.org/signed-note, Signature types
	algCosignature = 0x04 // c2sp.org/tlog-cosignature

	maxVerifierKeySize = 256
)

// A verifierKey is a parsed verifier key.
type verifierKey struct {
	name string
	hash [4]byte
	key  ed25519.PublicKey
}

// parseVerifierKey accepts exactly one encoding of a key, unlike x/mod, and also
// the type of cosignatures, which x/mod does not know.
func parseVerifierKey(s string, algs ...byte) (verifierKey, error) {
	name, rest, _ := strings.Cut(s, "+")
	hash, key64, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(key64)
	if len(s) > maxVerifierKeySize || err != nil || len(raw) != 1+ed25519.PublicKeySize ||
		!bytes.Contains(algs, raw[:1]) || !printable(name, 1, 128) || strings.ContainsAny(name, " +") {
		return verifierKey{}, errors.New("malformed verifier key")
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	// Base64 decoding skips line ends, which the comparison does not.
	want := name + "+" + hex.EncodeToString(sum[:4]) + "+" + base64.StdEncoding.EncodeToString(raw)
	if s != want || len(hash) != 8 {
		return verifierKey{}, errors.New("malformed verifier key")
	}
	return verifierKey{name, [4]byte(sum[:4]), ed25519.PublicKey(raw[1:])}, nil
}

// printable reports whether s is valid text for one line that shows what it is:
// no control characters, no directional overrides, no spaces but U+0020, and
// none at the ends.
func printable(s string, minSize, maxSize int) bool {
	if len(s) < minSize || len(s) > maxSize || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// check reports what is wrong with the fields of i, but for its signature.
func (i *Invite) check() error {
	bad := func(field string) error { return fmt.Errorf("%w: %s", ErrInvite, field) }
	if i.Version != InviteVersion {
		return bad("version")
	}
	td, err := parseTrustDomain(i.TrustDomain)
	if err != nil {
		return bad("trust-domain")
	}
	id, err := ParseID(i.GatewayID)
	if err != nil || id.TrustDomain != i.TrustDomain || id.Kind != KindGateway {
		return bad("gateway")
	}
	if !validEndpoint(i.Endpoint) {
		return bad("endpoint")
	}
	if n := len(i.Country); n < 2 || n > 3 || strings.Trim(i.Country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return bad("country")
	}
	if !printable(i.Agency, 1, 128) {
		return bad("agency")
	}
	if n := len(i.AgencyCode); n < 1 || n > 64 || strings.Trim(i.AgencyCode, "abcdefghijklmnopqrstuvwxyz0123456789.-_+") != "" {
		return bad("agency-code")
	}
	switch i.Profile {
	case ProfileInvite:
		if i.BundleURL != "" {
			return bad("bundle-url")
		}
	case ProfileSPIFFE, ProfileWeb:
		if !validBundleURL(i.BundleURL) {
			return bad("bundle-url")
		}
	default:
		return bad("profile")
	}
	// The names are the origins of statements and logs, so nobody may use those of
	// another trust domain.
	for field, key := range map[string]string{"signing-key": i.SigningKey, "log-key": i.LogKey} {
		vk, err := parseVerifierKey(key, algEd25519)
		if err != nil || !strings.HasPrefix(vk.name, i.TrustDomain+"/") {
			return bad(field)
		}
	}
	if i.WitnessKey != "" {
		if _, err := parseVerifierKey(i.WitnessKey, algEd25519, algCosignature); err != nil {
			return bad("witness-key")
		}
	}
	if !validTime(i.Created) {
		return bad("created")
	}
	if !validTime(i.NotAfter) || !i.NotAfter.After(i.Created) || i.NotAfter.Sub(i.Created) > MaxInviteLife {
		return bad("not-after")
	}
	if len(i.KeyCommitments) > MaxKeyCommitments {
		return bad("key")
	}
	for n, k := range i.KeyCommitments {
		if !printable(k.Collection, 1, 64) || strings.ContainsFunc(k.Collection, notVisibleASCII) {
			return bad("key")
		}
		if n > 0 {
			p := i.KeyCommitments[n-1]
			if p.Collection > k.Collection || p.Collection == k.Collection && p.Epoch >= k.Epoch {
				return bad("key")
			}
		}
	}
	if _, err := parseAuthorities(td, i.BundleAuthorities); err != nil {
		return fmt.Errorf("%w: authority: %v", ErrInvite, err)
	}
	return nil
}

func notVisibleASCII(r rune) bool { return r <= ' ' || r >= 0x7f }

// validTime reports whether t has exactly one encoding and survives it.
func validTime(t time.Time) bool {
	return t.Location() == time.UTC && t.Nanosecond() == 0 && t.Year() >= 2000 && t.Year() <= 9999
}

func validEndpoint(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || net.JoinHostPort(host, port) != s {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" && ip.String() == host
	}
	if len(host) < 1 || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if len(label) < 1 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

func validBundleURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > 512 || strings.ContainsFunc(s, notVisibleASCII) || u.String() != s {
		return false
	}
	host := u.Host
	if u.Port() == "" {
		host += ":443"
	}
	// SPIFFE Federation, Section 5.1: no userinfo in the URL.
	return u.Scheme == "https" && u.User == nil && u.Fragment == "" && u.RawQuery == "" && validEndpoint(host)
}

// parseAuthorities checks the X.509 authorities of a bundle.
func parseAuthorities(td spiffeid.TrustDomain, ders [][]byte) ([]*x509.Certificate, error) {
	if n := len(ders); n < 1 || n > MaxAuthorities {
		return nil, fmt.Errorf("%d authorities", n)
	}
	certs := make([]*x509.Certificate, len(ders))
	for n, der := range ders {
		if len(der) > MaxAuthoritySize {
			return nil, fmt.Errorf("certificate %d is too large", n)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil || !bytes.Equal(cert.Raw, der) {
			return nil, fmt.Errorf("certificate %d is malformed", n)
		}
		if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("certificate %d is not an authority", n)
		}
		// X509-SVID, Section 4.1: an authority may have the ID of its trust
		// domain, and no other.
		if len(cert.URIs) > 1 || len(cert.URIs) == 1 && cert.URIs[0].String() != td.IDString() {
			return nil, fmt.Errorf("certificate %d is of another trust domain", n)
		}
		for _, c := range certs[:n] {
			if c.Equal(cert) {
				return nil, fmt.Errorf("certificate %d is there twice", n)
			}
		}
		certs[n] = cert
	}
	return certs, nil
}

// text returns the text that is signed. Every line has one form, optional lines
// are left out, and the order is fixed.
func (i *Invite) text() []byte {
	var b bytes.Buffer
	line := func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, value) }
	b.WriteString(inviteHeader + "\n")
	line("trust-domain", i.TrustDomain)
	line("gateway", i.GatewayID)
	line("endpoint", i.Endpoint)
	line("country", i.Country)
	line("agency", i.Agency)
	line("agency-code", i.AgencyCode)
	line("profile", i.Profile)
	if i.BundleURL != "" {
		line("bundle-url", i.BundleURL)
	}
	line("signing-key", i.SigningKey)
	line("log-key", i.LogKey)
	if i.WitnessKey != "" {
		line("witness-key", i.WitnessKey)
	}
	line("created", i.Created.Format(time.RFC3339))
	line("not-after", i.NotAfter.Format(time.RFC3339))
	for _, k := range i.KeyCommitments {
		line("key", fmt.Sprintf("%s %d %x", k.Collection, k.Epoch, k.PublicKey))
	}
	for _, der := range i.BundleAuthorities {
		line("authority", base64.StdEncoding.EncodeToString(der))
	}
	return b.Bytes()
}

// Sign sets the signature of i. The key must be the private key of SigningKey.
// It returns an error wrapping [ErrInvite] if i is not valid.
func (i *Invite) Sign(key ed25519.PrivateKey) error {
	if err := i.check(); err != nil {
		return err
	}
	vk, err := parseVerifierKey(i.SigningKey, algEd25519)
	if err != nil {
		return fmt.Errorf("%w: signing-key", ErrInvite)
	}
	if len(key) != ed25519.PrivateKeySize || !vk.key.Equal(key.Public()) {
		return fmt.Errorf("%w: signing-key is not of the key given", ErrInvite)
	}
	i.Signature = [ed25519.SignatureSize]byte(ed25519.Sign(key, i.text()))
	return nil
}

// Bytes returns the file:
//
//	passerelle-invite/v1
//	trust-domain: <name>
//	gateway: <SPIFFE ID>
//	endpoint: <host>:<port>
//	country: <2 or 3 letters>
//	agency: <text>
//	agency-code: <code>
//	profile: invite | https_spiffe | https_web
//	bundle-url: <URL>                          with https_ profiles only
//	signing-key: <verifier key>
//	log-key: <verifier key>
//	witness-key: <verifier key>                optional
//	created: <RFC 3339 time, UTC>
//	not-after: <RFC 3339 time, UTC>
//	key: <collection> <epoch> <hex pkS>        any number
//	authority: <base64 DER>                    at least one
//
//	— <name of signing-key> <base64 signature>
//
// It returns an error wrapping [ErrInvite] if i is not valid or not signed.
func (i *Invite) Bytes() ([]byte, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	vk, err := parseVerifierKey(i.SigningKey, algEd25519)
	if err != nil {
		return nil, fmt.Errorf("%w: signing-key", ErrInvite)
	}
	text := i.text()
	if !ed25519.Verify(vk.key, text, i.Signature[:]) {
		return nil, fmt.Errorf("%w: signature", ErrInvite)
	}
	sig := base64.StdEncoding.EncodeToString(append(vk.hash[:], i.Signature[:]...))
	b := append(text, "\n— "+vk.name+" "+sig+"\n"...)
	if len(b) > MaxInviteSize {
		return nil, fmt.Errorf("%w: %d bytes long", ErrInvite, len(b))
	}
	return b, nil
}

// ParseInvite parses the file returned by [Invite.Bytes], and verifies that it
// is signed by the key in it. It does not check the time: see [Invite.CheckTime].
//
// There is exactly one valid encoding of every Invite: if ParseInvite accepts b,
// then Bytes returns b again. It returns an error wrapping [ErrInvite] for
// anything else.
func ParseInvite(b []byte) (*Invite, error) {
	if len(b) > MaxInviteSize {
		return nil, fmt.Errorf("%w: %d bytes long", ErrInvite, len(b))
	}
	end := bytes.Index(b, []byte("\n\n"))
	if end < 0 {
		return nil, fmt.Errorf("%w: no signature", ErrInvite)
	}
	i, err := parseInviteText(string(b[:end]))
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(i.SigningKey)
	if err != nil {
		return nil, fmt.Errorf("%w: signing-key", ErrInvite)
	}
	n, err := note.Open(b, note.VerifierList(verifier))
	if err != nil || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return nil, fmt.Errorf("%w: signature", ErrInvite)
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(raw) != 4+ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: signature", ErrInvite)
	}
	i.Signature = [ed25519.SignatureSize]byte(raw[4:])
	again, err := i.Bytes()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: not canonical", ErrInvite)
	}
	return i, nil
}

// parseInviteText reads the lines. That they have the one valid form is checked
// by encoding the result again.
func parseInviteText(text string) (*Invite, error) {
	lines := strings.Split(text, "\n")
	if lines[0] != inviteHeader {
		return nil, fmt.Errorf("%w: not an invite of version %d", ErrInvite, InviteVersion)
	}
	i := &Invite{Version: InviteVersion}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		var err error
		switch name {
		case "trust-domain":
			i.TrustDomain = value
		case "gateway":
			i.GatewayID = value
		case "endpoint":
			i.Endpoint = value
		case "country":
			i.Country = value
		case "agency":
			i.Agency = value
		case "agency-code":
			i.AgencyCode = value
		case "profile":
			i.Profile = value
		case "bundle-url":
			i.BundleURL = value
		case "signing-key":
			i.SigningKey = value
		case "log-key":
			i.LogKey = value
		case "witness-key":
			i.WitnessKey = value
		case "created":
			i.Created, err = parseTime(value)
		case "not-after":
			i.NotAfter, err = parseTime(value)
		case "key":
			var k KeyCommitment
			k, err = parseKeyCommitment(value)
			i.KeyCommitments = append(i.KeyCommitments, k)
		case "authority":
			var der []byte
			der, err = base64.StdEncoding.Strict().DecodeString(value)
			i.BundleAuthorities = append(i.BundleAuthorities, der)
		default:
			return nil, fmt.Errorf("%w: unknown line", ErrInvite)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s", ErrInvite, name)
		}
		if len(i.KeyCommitments) > MaxKeyCommitments || len(i.BundleAuthorities) > MaxAuthorities {
			return nil, fmt.Errorf("%w: too many lines", ErrInvite)
		}
	}
	if err := i.check(); err != nil {
		return nil, err
	}
	return i, nil
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err
}

func parseKeyCommitment(s string) (KeyCommitment, error) {
	f := strings.Split(s, " ")
	if len(f) != 3 {
		return KeyCommitment{}, ErrInvite
	}
	epoch, err1 := strconv.ParseUint(f[1], 10, 32)
	key, err2 := hex.DecodeString(f[2])
	if err1 != nil || err2 != nil || len(key) != 32 {
		return KeyCommitment{}, ErrInvite
	}
	return KeyCommitment{f[0], uint32(epoch), [32]byte(key)}, nil
}

// CheckTime returns an error wrapping [ErrExpired] if the invite must not be
// accepted at now. Created may be five minutes ahead of our clock.
func (i *Invite) CheckTime(now time.Time) error {
	if now.Before(i.Created.Add(-backdate)) || now.After(i.NotAfter) {
		return ErrExpired
	}
	return nil
}

// Fingerprint returns a short name of the invite, for two people to compare by
// telephone: 25 letters and digits (A to Z and 2 to 7) in five groups, such as
//
//	K3QXA-77DZM-OVC5L-2HTRB-6YWNE
//
// These are the first FingerprintBits bits, in base32 (RFC 4648, Section 6), of
//
//	SHA-256("passerelle invite fingerprint v1" || 0x00 || signed text)
//
// It covers everything but the signature, so every invite that a neighbour
// accepts by hand has its own.
func (i *Invite) Fingerprint() string {
	sum := sha256.Sum256(append([]byte("passerelle invite fingerprint v1\x00"), i.text()...))
	s := base32.StdEncoding.EncodeToString(sum[:])[:FingerprintBits/5]
	return s[0:5] + "-" + s[5:10] + "-" + s[10:15] + "-" + s[15:20] + "-" + s[20:25]
}

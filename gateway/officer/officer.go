// Package officer keeps the register of officers: who may act for a gateway,
// with which key, unit, roles and training; and it makes and checks their
// signatures (Ed25519, RFC 8032).
//
// # The register
//
// The register is a list of records that only grows. The first is the founding,
// which enrols two administrators. Every later one holds one change (enrol,
// update or retire an officer) and the signatures of two different
// administrators over the same bytes. Records are chained by hash:
//
//	Founding  <-previous-  Record 1  <-previous-  Record 2  <- ...
//
// The founding is signed by nobody, because nobody is enrolled before it. Its
// digest is its anchor: [Load] demands it, so it must be kept apart from the
// records, such as in the configuration of the gateway, and both administrators
// should compare it. Whoever replaces records without the keys of two
// administrators is found out by Load; a cut at the end is found out by
// comparing [Register.Head] with the audit log, where callers must write it
// with every change.
//
// A register always has two administrators who are not retired.
//
// # Signatures
//
// An officer signs an ask, a confirmation, an approval, and so on, as
//
//	Ed25519("passerelle officer signature v1" || 0x00 || len(purpose) || purpose || digest)
//
// with the length in one byte and a SHA-256 digest. No two purposes share a
// message, and no message is one that TLS 1.3 (RFC 8446, Section 4.4.3), PKCS #10
// or a signed note has signed with the same key. Keys of small order, under which
// a signature of anybody verifies, cannot be enrolled.
//
// # Who learns what
//
// Register and signatures stay in the country. An id should be a number of
// service and not a name: it is in the SPIFFE ID spiffe://<trust domain>/officer/<id>.
//
// All types may be used concurrently unless they say otherwise. Out of scope:
// certificates (package peer), and what a role may do (package policy).
package officer

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Limits of an officer. Sizes are in bytes.
const (
	MaxNameSize = 64 // of an id, a unit and a course
	MaxTraining = 32 // courses of one officer
)

// ErrOfficer is returned for an officer with a field outside its limits.
var ErrOfficer = errors.New("officer: invalid officer")

// A Role is what an officer may be asked to do.
type Role string

// The roles. An officer has one or more.
const (
	RoleAsking          Role = "asking"           // looks up people
	RoleVerifying       Role = "verifying"        // compares a candidate with a person
	RoleLegal           Role = "legal"            // writes rules, approves disclosure
	RoleChildProtection Role = "child_protection" // decides where children are concerned
	RoleOriginator      Role = "originator"       // owns records
	RoleAuditor         Role = "auditor"          // inspects logs
	RoleOperator        Role = "operator"         // runs the gateway
	RoleAdministrator   Role = "administrator"    // changes the register, with another one
)

var roles = []Role{RoleAsking, RoleVerifying, RoleLegal, RoleChildProtection, RoleOriginator, RoleAuditor,
	RoleOperator, RoleAdministrator}

// ParseRole returns the role with a name. It returns an error wrapping
// [ErrOfficer] if there is none.
func ParseRole(s string) (Role, error) {
	if !slices.Contains(roles, Role(s)) {
		return "", fmt.Errorf("%w: unknown role %.64q", ErrOfficer, s)
	}
	return Role(s), nil
}

// A Training is a course that an officer passed.
type Training struct {
	Course string    // 1 to MaxNameSize bytes of [a-z0-9._-], starting with [a-z0-9]
	Until  time.Time // when it lapses, in whole seconds, UTC
}

// An Officer is one entry of the register.
type Officer struct {
	// ID names the officer forever: it is never given to another. It has the
	// form of a Course.
	ID string

	// Unit is the unit of the officer, in the form of a Course.
	Unit string

	// Roles has no duplicates. It is sorted by name in the register.
	Roles []Role

	// Trained has at most MaxTraining entries, one per course. It is sorted by
	// course in the register.
	Trained []Training

	// PublicKey is the key of the officer. No two officers, and no two keys of
	// one officer over time, are the same.
	PublicKey ed25519.PublicKey

	// Enrolled and Retired are set by the register. Retired is zero for an
	// officer who is not retired. In a Change both are zero.
	Enrolled, Retired time.Time
}

// clone returns a copy of o that shares nothing with it.
func (o Officer) clone() Officer {
	o.Roles = slices.Clone(o.Roles)
	o.Trained = slices.Clone(o.Trained)
	o.PublicKey = slices.Clone(o.PublicKey)
	return o
}

// sorted returns o in the order in which it is encoded.
func (o Officer) sorted() Officer {
	o = o.clone()
	slices.Sort(o.Roles)
	slices.SortFunc(o.Trained, func(a, b Training) int { return cmp.Compare(a.Course, b.Course) })
	return o
}

// hasRole reports whether o has a role, retired or not.
func (o Officer) hasRole(r Role) bool { return slices.Contains(o.Roles, r) }

// at reports whether o was enrolled and not retired at t.
func (o Officer) at(t time.Time) bool {
	return o.ID != "" && !t.Before(o.Enrolled) && (o.Retired.IsZero() || t.Before(o.Retired))
}

// validName reports whether s may name an officer, a unit or a course. Lower
// case only, so that no two names look the same, and fit for a SPIFFE path
// segment (SPIFFE-ID, Section 2.2).
func validName(s string) bool {
	if len(s) < 1 || len(s) > MaxNameSize || strings.ContainsRune("._-", rune(s[0])) {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// validTime reports whether t has exactly one encoding.
func validTime(t time.Time) bool {
	return t.Location() == time.UTC && t.Nanosecond() == 0 && t.Year() >= 2000 && t.Year() <= 9999
}

// check reports what is wrong with o as it stands in a Change.
func (o Officer) check() error {
	switch {
	case !validName(o.ID):
		return fmt.Errorf("%w: id", ErrOfficer)
	case !validName(o.Unit):
		return fmt.Errorf("%w: unit", ErrOfficer)
	case len(o.Roles) == 0:
		return fmt.Errorf("%w: no role", ErrOfficer)
	case len(o.Trained) > MaxTraining:
		return fmt.Errorf("%w: %d courses", ErrOfficer, len(o.Trained))
	case !o.Enrolled.IsZero() || !o.Retired.IsZero():
		return fmt.Errorf("%w: dates are set by the register", ErrOfficer)
	}
	for n, r := range o.Roles {
		if _, err := ParseRole(string(r)); err != nil {
			return err
		}
		if n > 0 && o.Roles[n-1] >= r {
			return fmt.Errorf("%w: roles are not sorted", ErrOfficer)
		}
	}
	for n, t := range o.Trained {
		if !validName(t.Course) || !validTime(t.Until) {
			return fmt.Errorf("%w: training %d", ErrOfficer, n)
		}
		if n > 0 && o.Trained[n-1].Course >= t.Course {
			return fmt.Errorf("%w: training is not sorted", ErrOfficer)
		}
	}
	return checkPublicKey(o.PublicKey)
}

// smallOrder holds the encodings of the points of small order on edwards25519,
// canonical or not, with the sign bit cleared.
var smallOrder = [][32]byte{
	{},  // y = 0, order 4
	{1}, // y = 1, order 1
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05}, // order 8
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a}, // order 8
	high(0xec), // y = p-1, order 2
	high(0xed), // y = p, order 4, not canonical
	high(0xee), // y = p+1, order 1, not canonical
}

// high returns the little-endian number 2^255 - 256 + low.
func high(low byte) (b [32]byte) {
	for i := range b {
		b[i] = 0xff
	}
	b[0], b[31] = low, 0x7f
	return b
}

func checkPublicKey(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: public key", ErrOfficer)
	}
	y := [32]byte(pub)
	y[31] &= 0x7f
	if slices.Contains(smallOrder, y) {
		return fmt.Errorf("%w: public key of small order", ErrOfficer)
	}
	return nil
}

// add appends the encoding of o:
//
//	struct {
//	    opaque id<1..64>;
//	    opaque unit<1..64>;
//	    Role roles<1..255>;            opaque Role<1..32>, sorted
//	    Training trained<0..2^16-1>;   sorted by course
//	    opaque public_key[32];
//	} Officer;
//
//	struct {
//	    opaque course<1..64>;
//	    uint64 until;                  seconds since the Unix epoch
//	} Training;
func (o Officer) add(b *cryptobyte.Builder) {
	addString(b, o.ID)
	addString(b, o.Unit)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, r := range o.Roles {
			addString(b, string(r))
		}
	})
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, t := range o.Trained {
			addString(b, t.Course)
			b.AddUint64(uint64(t.Until.Unix()))
		}
	})
	b.AddBytes(o.PublicKey)
}

// read reads what add appends. The caller checks the values.
func (o *Officer) read(s *cryptobyte.String) bool {
	var rs, ts cryptobyte.String
	if !readString(s, &o.ID) || !readString(s, &o.Unit) ||
		!s.ReadUint8LengthPrefixed(&rs) || !s.ReadUint16LengthPrefixed(&ts) {
		return false
	}
	for !rs.Empty() {
		var r string
		if len(o.Roles) == len(roles) || !readString(&rs, &r) {
			return false
		}
		o.Roles = append(o.Roles, Role(r))
	}
	for !ts.Empty() {
		var t Training
		if len(o.Trained) == MaxTraining || !readString(&ts, &t.Course) || !readTime(&ts, &t.Until) {
			return false
		}
		o.Trained = append(o.Trained, t)
	}
	var key []byte
	if !s.ReadBytes(&key, ed25519.PublicKeySize) {
		return false
	}
	o.PublicKey = bytes.Clone(key)
	return true
}

func addString(b *cryptobyte.Builder, s string) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readString(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&v) {
		return false
	}
	*out = string(v)
	return true
}

func readTime(s *cryptobyte.String, out *time.Time) bool {
	var n uint64
	if !s.ReadUint64(&n) || n > math.MaxInt64 {
		return false
	}
	*out = time.Unix(int64(n), 0).UTC()
	return true
}

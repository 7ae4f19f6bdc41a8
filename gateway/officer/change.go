package officer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

const (
	// ChangeVersion is the only version of changes so far.
	ChangeVersion = 1

	// MaxRecordSize is the largest record of the register, in bytes.
	MaxRecordSize = 8 << 10
)

var (
	// ErrMalformed is returned for bytes that are not an encoding of this
	// package.
	ErrMalformed = errors.New("officer: malformed record")

	// ErrChange is returned for a change that the register must not make, such
	// as one that leaves fewer than two administrators.
	ErrChange = errors.New("officer: change is not possible")
)

// A Kind is what a Change does. The zero Kind is invalid.
type Kind uint8

const (
	// kindFound marks the founding, which is no Change.
	kindFound Kind = 1

	// Enrol adds an officer with a new id.
	Enrol Kind = 2

	// Update replaces unit, roles, training and key of an officer.
	Update Kind = 3

	// Retire ends the service of an officer, for good. Only the ID is given.
	Retire Kind = 4
)

// String returns "enrol", "update" or "retire".
func (k Kind) String() string {
	switch k {
	case Enrol:
		return "enrol"
	case Update:
		return "update"
	case Retire:
		return "retire"
	}
	return "invalid"
}

// A Change is one change of the register, as two administrators sign it.
type Change struct {
	Version  byte     // ChangeVersion
	Kind     Kind     // Enrol, Update or Retire
	Sequence uint64   // 1 for the first change after the founding
	Previous [32]byte // digest of the record before, or of the founding

	// Time is when the change was made, in whole seconds, UTC. It takes effect
	// with the second signature: see Record.Effective.
	Time time.Time

	// Officer is the officer after the change, in sorted order. For Retire it
	// has only the ID.
	Officer Officer
}

func (c Change) check() error {
	switch {
	case c.Version != ChangeVersion:
		return fmt.Errorf("%w: version", ErrChange)
	case c.Sequence == 0 || c.Sequence > math.MaxInt64:
		return fmt.Errorf("%w: sequence", ErrChange)
	case !validTime(c.Time):
		return fmt.Errorf("%w: time", ErrChange)
	}
	switch o := c.Officer; c.Kind {
	case Enrol, Update:
		return o.check()
	case Retire:
		if o.Unit != "" || len(o.Roles) != 0 || len(o.Trained) != 0 || len(o.PublicKey) != 0 ||
			!o.Enrolled.IsZero() || !o.Retired.IsZero() {
			return fmt.Errorf("%w: only the id is given to retire", ErrChange)
		}
		if !validName(o.ID) {
			return fmt.Errorf("%w: id", ErrOfficer)
		}
		return nil
	}
	return fmt.Errorf("%w: kind", ErrChange)
}

// Bytes returns the encoding of c that administrators sign:
//
//	struct {
//	    uint8 version;
//	    uint8 kind;                    enrol(2), update(3), retire(4)
//	    uint64 sequence;
//	    opaque previous[32];
//	    uint64 time;                   seconds since the Unix epoch
//	    select (kind) {
//	        case enrol, update: Officer officer;
//	        case retire:        opaque id<1..64>;
//	    };
//	} Change;
//
// in the presentation language of RFC 8446, Section 3. It returns an error
// wrapping [ErrOfficer] or [ErrChange] for a change that is not valid.
func (c Change) Bytes() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(c.Version)
	b.AddUint8(uint8(c.Kind))
	b.AddUint64(c.Sequence)
	b.AddBytes(c.Previous[:])
	b.AddUint64(uint64(c.Time.Unix()))
	if c.Kind == Retire {
		addString(&b, c.Officer.ID)
	} else {
		c.Officer.add(&b)
	}
	return b.Bytes()
}

// ParseChange parses the encoding returned by [Change.Bytes]. There is exactly
// one valid encoding of every Change. It returns an error wrapping
// [ErrMalformed].
func ParseChange(b []byte) (Change, error) {
	var (
		c    Change
		kind uint8
	)
	s := cryptobyte.String(b)
	if !s.ReadUint8(&c.Version) || !s.ReadUint8(&kind) || !s.ReadUint64(&c.Sequence) ||
		!s.CopyBytes(c.Previous[:]) || !readTime(&s, &c.Time) {
		return Change{}, ErrMalformed
	}
	c.Kind = Kind(kind)
	if c.Kind == Retire {
		if !readString(&s, &c.Officer.ID) {
			return Change{}, ErrMalformed
		}
	} else if !c.Officer.read(&s) {
		return Change{}, ErrMalformed
	}
	if !s.Empty() {
		return Change{}, ErrMalformed
	}
	if err := c.check(); err != nil {
		return Change{}, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return c, nil
}

// Digest returns the hash of c that is signed:
//
//	SHA-256("passerelle officer change v1" || 0x00 || Bytes)
func (c Change) Digest() ([32]byte, error) {
	b, err := c.Bytes()
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(append([]byte("passerelle officer change v1\x00"), b...)), nil
}

// SignChange signs a change as an administrator, for [Register.Propose].
func SignChange(key PrivateKey, c Change) ([SignatureSize]byte, error) {
	digest, err := c.Digest()
	if err != nil {
		return [SignatureSize]byte{}, err
	}
	return Sign(key, PurposeChange, digest)
}

// A Consent is the signature of one administrator under a change.
type Consent struct {
	Administrator string // id
	Signature     [SignatureSize]byte
}

// A Record is a change that took effect.
type Record struct {
	Change Change

	// Effective is when the second signature came, by the clock of the gateway,
	// in whole seconds, UTC. The administrators do not sign it, but the next
	// change does, by its Previous. It is at most ProposalLife after the time of
	// the change, and not before that of the record before.
	Effective time.Time

	// Consents are those of two administrators, in the order of their ids.
	Consents [2]Consent
}

// Bytes returns the encoding of r that is stored:
//
//	struct {
//	    opaque change<1..2^16-1>;      a Change
//	    uint64 effective;              seconds since the Unix epoch
//	    Consent consents[2];           sorted by administrator
//	} Record;
//
//	struct {
//	    opaque administrator<1..64>;
//	    opaque signature[64];
//	} Consent;
func (r Record) Bytes() ([]byte, error) {
	change, err := r.Change.Bytes()
	if err != nil {
		return nil, err
	}
	if !validTime(r.Effective) {
		return nil, fmt.Errorf("%w: time", ErrChange)
	}
	if !validName(r.Consents[0].Administrator) || !validName(r.Consents[1].Administrator) ||
		r.Consents[0].Administrator >= r.Consents[1].Administrator {
		return nil, fmt.Errorf("%w: needs two administrators in order", ErrChange)
	}
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(change) })
	b.AddUint64(uint64(r.Effective.Unix()))
	for _, c := range r.Consents {
		addString(&b, c.Administrator)
		b.AddBytes(c.Signature[:])
	}
	return b.Bytes()
}

// ParseRecord parses the encoding returned by [Record.Bytes]. There is exactly
// one valid encoding of every Record. It verifies no signature: [Load] does. It
// returns an error wrapping [ErrMalformed].
func ParseRecord(b []byte) (Record, error) {
	var (
		r      Record
		change cryptobyte.String
	)
	s := cryptobyte.String(b)
	if len(b) > MaxRecordSize || !s.ReadUint16LengthPrefixed(&change) ||
		!readTime(&s, &r.Effective) || !validTime(r.Effective) {
		return Record{}, ErrMalformed
	}
	for n := range r.Consents {
		c := &r.Consents[n]
		if !readString(&s, &c.Administrator) || !s.CopyBytes(c.Signature[:]) || !validName(c.Administrator) {
			return Record{}, ErrMalformed
		}
	}
	if !s.Empty() || r.Consents[0].Administrator >= r.Consents[1].Administrator {
		return Record{}, ErrMalformed
	}
	var err error
	if r.Change, err = ParseChange(change); err != nil {
		return Record{}, err
	}
	return r, nil
}

// recordDigest returns the hash of an encoded record that the next change names:
//
//	SHA-256("passerelle officer record v1" || 0x00 || Bytes)
func recordDigest(b []byte) [32]byte {
	return sha256.Sum256(append([]byte("passerelle officer record v1\x00"), b...))
}

// A Founding is the first record of a register.
type Founding struct {
	Time           time.Time  // in whole seconds, UTC
	Administrators [2]Officer // in the order of their ids
}

// Bytes returns the encoding of f:
//
//	struct {
//	    uint8 version;                 ChangeVersion
//	    uint8 kind;                    1
//	    uint64 time;                   seconds since the Unix epoch
//	    Officer administrators[2];     sorted by id
//	} Founding;
func (f Founding) Bytes() ([]byte, error) {
	if !validTime(f.Time) {
		return nil, fmt.Errorf("%w: time", ErrChange)
	}
	a, b := f.Administrators[0], f.Administrators[1]
	for _, o := range f.Administrators {
		if err := o.check(); err != nil {
			return nil, err
		}
		if !o.hasRole(RoleAdministrator) {
			return nil, fmt.Errorf("%w: the founders must be administrators", ErrChange)
		}
	}
	if a.ID >= b.ID || a.PublicKey.Equal(b.PublicKey) {
		return nil, fmt.Errorf("%w: the founders must be two, in order", ErrChange)
	}
	var out cryptobyte.Builder
	out.AddUint8(ChangeVersion)
	out.AddUint8(uint8(kindFound))
	out.AddUint64(uint64(f.Time.Unix()))
	a.add(&out)
	b.add(&out)
	return out.Bytes()
}

// ParseFounding parses the encoding returned by [Founding.Bytes]. There is
// exactly one valid encoding of every Founding. It returns an error wrapping
// [ErrMalformed].
func ParseFounding(b []byte) (Founding, error) {
	var (
		f             Founding
		version, kind uint8
	)
	s := cryptobyte.String(b)
	if len(b) > MaxRecordSize || !s.ReadUint8(&version) || version != ChangeVersion ||
		!s.ReadUint8(&kind) || Kind(kind) != kindFound || !readTime(&s, &f.Time) ||
		!f.Administrators[0].read(&s) || !f.Administrators[1].read(&s) || !s.Empty() {
		return Founding{}, ErrMalformed
	}
	if _, err := f.Bytes(); err != nil {
		return Founding{}, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return f, nil
}

// foundingDigest returns the hash of an encoded founding, which is the anchor of
// a register:
//
//	SHA-256("passerelle officer founding v1" || 0x00 || Bytes)
func foundingDigest(b []byte) [32]byte {
	return sha256.Sum256(append([]byte("passerelle officer founding v1\x00"), b...))
}

// Found makes the first record of a register, which enrols two administrators at
// now. It returns the record and its digest, which [Load] demands: see the
// package comment on where to keep it.
func Found(a, b Officer, now time.Time) (record []byte, founding [32]byte, err error) {
	if b.ID < a.ID {
		a, b = b, a
	}
	f := Founding{now.UTC().Truncate(time.Second), [2]Officer{a.sorted(), b.sorted()}}
	record, err = f.Bytes()
	if err != nil {
		return nil, [32]byte{}, err
	}
	return record, foundingDigest(record), nil
}

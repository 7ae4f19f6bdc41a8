package query

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// IDSize is the length of an ID in bytes.
const IDSize = 16

// ErrID is returned for text or bytes that are not a query id, and for an id
// whose time is outside the accepted window. It is the peer's fault.
var ErrID = errors.New("query: invalid query id")

// An ID names one query. It is a UUIDv7 (RFC 9562, Section 5.7): 48 bits of
// milliseconds since the Unix epoch, then 74 random bits, so it says when the
// query was made and nothing about it. The zero ID is invalid.
type ID [IDSize]byte

// NewID returns a fresh ID for a query made at now.
func NewID(now time.Time) ID {
	var id ID
	rand.Read(id[6:])
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(id[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(ms))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseID parses the form that [ID.String] returns, and only that form.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, ErrID
	}
	raw, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return ID{}, ErrID
	}
	copy(id[:], raw)
	if !id.valid() || id.String() != s {
		return ID{}, ErrID
	}
	return id, nil
}

// IDFromBytes returns the ID with the given 16 bytes.
func IDFromBytes(b []byte) (ID, error) {
	var id ID
	if len(b) != IDSize {
		return ID{}, ErrID
	}
	copy(id[:], b)
	if !id.valid() {
		return ID{}, ErrID
	}
	return id, nil
}

// valid reports whether id has the version and variant bits of a UUIDv7.
func (id ID) valid() bool { return id[6]>>4 == 7 && id[8]>>6 == 2 }

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the 36 characters of the UUID, in lower case.
func (id ID) String() string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Time returns when the query was made, by the asker's clock, to the millisecond.
func (id ID) Time() time.Time {
	ms := uint64(binary.BigEndian.Uint16(id[0:]))<<32 | uint64(binary.BigEndian.Uint32(id[2:]))
	return time.UnixMilli(int64(ms)).UTC()
}

// ErrClock is wrapped by [ID.Check] for an id from the future: one of the two
// clocks is wrong, and the officer of the asker should be told so.
var ErrClock = errors.New("query: query id is from the future, compare the clocks")

// ErrExpiredID is wrapped by [ID.Check] for an id that is too old to be accepted:
// answers are kept for idempotent retries at most that long.
var ErrExpiredID = errors.New("query: query id is too old")

// Check reports whether a holder may accept id at now: it must be at most maxAge
// old, and at most skew ahead of now.
func (id ID) Check(now time.Time, maxAge, skew time.Duration) error {
	if !id.valid() {
		return ErrID
	}
	switch d := now.Sub(id.Time()); {
	case d < -skew:
		return fmt.Errorf("%w: ahead by %v", ErrClock, -d.Round(time.Second))
	case d > maxAge:
		return fmt.Errorf("%w: %v, at most %v", ErrExpiredID, d.Round(time.Second), maxAge)
	}
	return nil
}

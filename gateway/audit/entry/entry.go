// Package entry defines the formats of the audit log: the [Entry], the signed
// [Receipt] of a holder, and the [Checkpoint] and [Proof] of
// [c2sp.org/tlog-checkpoint] and [c2sp.org/tlog-proof], and checks all of them,
// up to a whole log folder ([VerifyFolder]).
//
//	entry      leaf data of an RFC 6962 tree, canonical bytes under 1 KiB
//	receipt    what a holder signs about one answer, Ed25519
//	checkpoint origin, tree size and root hash in a signed note
//	proof      leaf index, inclusion proof and checkpoint in one text file
//
// Everything here is a function of bytes and public keys, so that a log can be
// verified by a program that has no key of ours and needs no part of a gateway.
// The package links the standard library, golang.org/x/mod (notes),
// golang.org/x/crypto (cryptobyte) and transparency-dev/merkle, and nothing else.
//
// # Who learns what
//
// An entry holds no name, document, free text, blinded element or match. Officers
// and units are pseudonyms under a key of their country. Digests are hashes of
// signed public objects, of uniformly random elements, or of ciphertexts; never
// hash low-entropy personal data into one of these fields, because whoever reads
// the log could guess it.
//
// What happened to the officer's question ([KindOutcome], [KindRead]) is in
// entries of kinds that [Kind.Internal] names: they belong into a log that no
// neighbour sees, not even its size.
//
// # Parsing
//
// There is exactly one encoding of every value: what a parser of this package
// accepts encodes to the same bytes. With an error every other result is zero.
// All functions may be called concurrently.
//
// [c2sp.org/tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
// [c2sp.org/tlog-proof]: https://c2sp.org/tlog-proof
package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/crypto/cryptobyte"
)

const (
	// Version is the version of the encoding of an Entry, its first byte.
	Version = 1

	// MaxSize is the largest encoding of an Entry in bytes.
	MaxSize = 1023

	// MaxID is the largest SPIFFE ID in an Entry in bytes. SPIFFE allows 2048.
	MaxID = 255

	// MaxCode is the largest code (agreement, purpose, collection, profile,
	// reason) in bytes.
	MaxCode = 64

	// MaxRules is the largest number of rule ids, of at most MaxRule bytes each.
	MaxRules = 64
	MaxRule  = 32
)

var (
	// ErrInvalid is returned for an Entry or a Receipt that must not be written:
	// a field is missing, too long, or not one of its kind. It is a bug of the
	// caller; the text names the field and never its value.
	ErrInvalid = errors.New("entry: invalid")

	// ErrMalformed is returned for bytes that are not the encoding of anything
	// valid. It is the fault of whoever wrote them.
	ErrMalformed = errors.New("entry: malformed")
)

// An Entry is one leaf of a log. Its zero value is invalid; which fields must and
// which may be set depends on its Kind, see [Entry.Validate].
type Entry struct {
	Kind Kind

	// Time is when the gateway decided, in milliseconds since the Unix epoch, UTC.
	Time int64

	// Query is the query id, a UUIDv7.
	Query [16]byte

	// Direction says which side of the query this gateway is.
	Direction Direction

	// Asker and Holder are SPIFFE IDs, at most MaxID bytes each.
	Asker, Holder string

	// Agreement is the identifier, and AgreementDigest the digest of the file that
	// both sides signed.
	Agreement       string
	AgreementDigest [32]byte

	// Purpose, Collection and Profile are codes of the agreement. A query is about
	// a collection (identity lookup) or a profile (biometric search).
	Purpose, Collection, Profile string

	// Items is the padded number of items of the query.
	Items uint32

	Decision Decision

	// Rules are the ids of the policy rules that decided, in the order of the
	// decision.
	Rules []string

	// Bundle is the digest of the policy bundle that decided, Input that of the
	// facts it saw.
	Bundle, Input [32]byte

	// Officer and Unit are pseudonyms: HMACs under a national, erasable key.
	Officer, Unit [16]byte

	// Protocol and Normalisation are the versions in use.
	Protocol, Normalisation uint16

	// ListVersion is the version of the tag sets that the asker matches against.
	ListVersion uint64

	// Request is the digest of the request as both sides compute it, Receipt that
	// of the holder's receipt.
	Request, Receipt [32]byte

	// Auditor is the key id of the recipient of the sealed content, and Sealed the
	// SHA-256 hash of the detached ciphertext.
	Auditor [8]byte
	Sealed  [32]byte

	// Subject is the digest of the object that an administrative entry is about:
	// a manifest, policy bundle, agreement, change of the register, trust bundle
	// or old checkpoint.
	Subject [32]byte

	// Reason is a stable code of A to Z and underscore, at most MaxCode bytes.
	Reason string

	// Outcome is for [KindOutcome] only, which is an internal kind.
	Outcome Outcome

	// PeerLeaf and PeerSealed are the leaf hash and the sealed hash of the asker's
	// intent, as the request carried them. In a receipt entry PeerLeaf is the leaf
	// hash of the holder's decision.
	PeerLeaf, PeerSealed [32]byte
}

// Bytes returns the encoding of e that is hashed into the log:
//
//	struct {
//	    uint8  version = 1;
//	    uint8  kind;
//	    uint64 time;                    // below 2^63
//	    opaque query[16];
//	    uint8  direction;
//	    opaque asker<0..2^8-1>;
//	    opaque holder<0..2^8-1>;
//	    opaque agreement<0..2^8-1>;
//	    opaque agreement_digest[32];
//	    opaque purpose<0..2^8-1>;
//	    opaque collection<0..2^8-1>;
//	    opaque profile<0..2^8-1>;
//	    uint32 items;
//	    uint8  decision;
//	    opaque rules<0..2^16-1>;        // each opaque<1..2^8-1>
//	    opaque bundle[32];
//	    opaque input[32];
//	    opaque officer[16];
//	    opaque unit[16];
//	    uint16 protocol;
//	    uint16 normalisation;
//	    uint64 list_version;
//	    opaque request[32];
//	    opaque receipt[32];
//	    opaque auditor[8];
//	    opaque sealed[32];
//	    opaque subject[32];
//	    opaque reason<0..2^8-1>;
//	    uint8  outcome;
//	    opaque peer_leaf[32];
//	    opaque peer_sealed[32];
//	} Entry;
//
// in the presentation language of RFC 8446, Section 3. It returns an error
// wrapping [ErrInvalid] if e is not valid or longer than [MaxSize].
func (e *Entry) Bytes() ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	b := e.append(make([]byte, 0, 640))
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(b), MaxSize)
	}
	return b, nil
}

// MoreRules stands last in the Rules of an entry that [Entry.Fit] shortened.
const MoreRules = "..."

// Fit leaves out rules from the end of e.Rules, if e would be longer than [MaxSize]
// otherwise, and puts [MoreRules] in their place. Nothing is lost: the decision, with
// all its rules, follows from Bundle and Input.
//
// It is for entries about what a peer sent. A peer chooses its SPIFFE ID, its codes
// and, by what it asks, the rules that refuse it, and must not be able to make its
// refusal too long to be written: without rules an entry fits if our own SPIFFE ID
// has at most 127 bytes.
func (e *Entry) Fit() {
	rules := e.Rules
	for n := len(rules); n > 0 && len(e.append(nil)) > MaxSize; n-- {
		e.Rules = append(rules[:n-1:n-1], MoreRules)
	}
	if len(e.append(nil)) > MaxSize {
		e.Rules = nil
	}
}

// append appends the encoding of e, whose strings are within their bounds.
func (e *Entry) append(b []byte) []byte {
	b = append(b, Version, byte(e.Kind))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time))
	b = append(b, e.Query[:]...)
	b = append(b, byte(e.Direction))
	b = appendString(b, e.Asker)
	b = appendString(b, e.Holder)
	b = appendString(b, e.Agreement)
	b = append(b, e.AgreementDigest[:]...)
	b = appendString(b, e.Purpose)
	b = appendString(b, e.Collection)
	b = appendString(b, e.Profile)
	b = binary.BigEndian.AppendUint32(b, e.Items)
	b = append(b, byte(e.Decision))
	n := 0
	for _, r := range e.Rules {
		n += 1 + len(r)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	for _, r := range e.Rules {
		b = appendString(b, r)
	}
	b = append(b, e.Bundle[:]...)
	b = append(b, e.Input[:]...)
	b = append(b, e.Officer[:]...)
	b = append(b, e.Unit[:]...)
	b = binary.BigEndian.AppendUint16(b, e.Protocol)
	b = binary.BigEndian.AppendUint16(b, e.Normalisation)
	b = binary.BigEndian.AppendUint64(b, e.ListVersion)
	b = append(b, e.Request[:]...)
	b = append(b, e.Receipt[:]...)
	b = append(b, e.Auditor[:]...)
	b = append(b, e.Sealed[:]...)
	b = append(b, e.Subject[:]...)
	b = appendString(b, e.Reason)
	b = append(b, byte(e.Outcome))
	b = append(b, e.PeerLeaf[:]...)
	return append(b, e.PeerSealed[:]...)
}

// ParseEntry parses the encoding returned by [Entry.Bytes], and validates it. It
// returns an error wrapping [ErrMalformed] for everything else.
func ParseEntry(b []byte) (*Entry, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w entry: %d bytes, at most %d", ErrMalformed, len(b), MaxSize)
	}
	var (
		e                                   Entry
		version, kind, direction, decision  uint8
		outcome                             uint8
		time                                uint64
		asker, holder, agreement, purpose   cryptobyte.String
		collection, profile, rules, aReason cryptobyte.String
	)
	s := cryptobyte.String(b)
	if !s.ReadUint8(&version) || version != Version {
		return nil, fmt.Errorf("%w entry: not of version %d", ErrMalformed, Version)
	}
	if !s.ReadUint8(&kind) ||
		!s.ReadUint64(&time) || time > math.MaxInt64 ||
		!s.CopyBytes(e.Query[:]) ||
		!s.ReadUint8(&direction) ||
		!s.ReadUint8LengthPrefixed(&asker) ||
		!s.ReadUint8LengthPrefixed(&holder) ||
		!s.ReadUint8LengthPrefixed(&agreement) ||
		!s.CopyBytes(e.AgreementDigest[:]) ||
		!s.ReadUint8LengthPrefixed(&purpose) ||
		!s.ReadUint8LengthPrefixed(&collection) ||
		!s.ReadUint8LengthPrefixed(&profile) ||
		!s.ReadUint32(&e.Items) ||
		!s.ReadUint8(&decision) ||
		!s.ReadUint16LengthPrefixed(&rules) ||
		!s.CopyBytes(e.Bundle[:]) ||
		!s.CopyBytes(e.Input[:]) ||
		!s.CopyBytes(e.Officer[:]) ||
		!s.CopyBytes(e.Unit[:]) ||
		!s.ReadUint16(&e.Protocol) ||
		!s.ReadUint16(&e.Normalisation) ||
		!s.ReadUint64(&e.ListVersion) ||
		!s.CopyBytes(e.Request[:]) ||
		!s.CopyBytes(e.Receipt[:]) ||
		!s.CopyBytes(e.Auditor[:]) ||
		!s.CopyBytes(e.Sealed[:]) ||
		!s.CopyBytes(e.Subject[:]) ||
		!s.ReadUint8LengthPrefixed(&aReason) ||
		!s.ReadUint8(&outcome) ||
		!s.CopyBytes(e.PeerLeaf[:]) ||
		!s.CopyBytes(e.PeerSealed[:]) ||
		!s.Empty() {
		return nil, fmt.Errorf("%w entry: length", ErrMalformed)
	}
	for !rules.Empty() {
		var rule cryptobyte.String
		if !rules.ReadUint8LengthPrefixed(&rule) {
			return nil, fmt.Errorf("%w entry: rules", ErrMalformed)
		}
		e.Rules = append(e.Rules, string(rule))
	}
	e.Kind, e.Direction, e.Decision, e.Outcome = Kind(kind), Direction(direction), Decision(decision), Outcome(outcome)
	e.Time = int64(time)
	e.Asker, e.Holder, e.Agreement = string(asker), string(holder), string(agreement)
	e.Purpose, e.Collection, e.Profile, e.Reason = string(purpose), string(collection), string(profile), string(aReason)
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("%w entry: %v", ErrMalformed, err)
	}
	return &e, nil
}

// LeafHash returns the leaf hash of an encoded entry, RFC 6962, Section 2.1.
func LeafHash(b []byte) [32]byte { return [32]byte(rfc6962.DefaultHasher.HashLeaf(b)) }

// Leaf returns the leaf hash of e. It returns an error wrapping [ErrInvalid] if e
// cannot be encoded.
func (e *Entry) Leaf() ([32]byte, error) {
	b, err := e.Bytes()
	if err != nil {
		return [32]byte{}, err
	}
	return LeafHash(b), nil
}

// SealedContext returns what the sealed content of e is bound to: the encoding of
// e with a hash of zeros in place of the ciphertext's, which cannot be known before
// it is sealed. It is the same before and after Sealed is set. It returns an error
// wrapping [ErrInvalid] if e, with some hash, cannot be encoded.
func (e *Entry) SealedContext() ([]byte, error) {
	c := *e
	c.Sealed = [32]byte{1}
	if _, err := c.Bytes(); err != nil {
		return nil, err
	}
	c.Sealed = [32]byte{}
	return c.append(nil), nil
}

// appendString appends opaque s<0..2^8-1>. Callers bound s.
func appendString(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	return append(b, s...)
}

// isCode reports whether s is at most max bytes of printable ASCII.
func isCode(s string, max int) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return len(s) <= max
}

// isReason reports whether s is empty or a stable code of A to Z and underscore.
func isReason(s string) bool {
	return len(s) <= MaxCode && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// isID reports whether s looks like a SPIFFE ID with a path: scheme, trust domain
// of lower-case letters, digits, dot, dash and underscore, and non-empty path
// segments (SPIFFE-ID, Section 2). Who may have it is for others to say.
func isID(s string) bool {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok || len(s) > MaxID {
		return false
	}
	for i, segment := range strings.Split(rest, "/") {
		if segment == "" || i > 0 && (segment == "." || segment == "..") {
			return false
		}
		for j := 0; j < len(segment); j++ {
			c := segment[j]
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
			case 'A' <= c && c <= 'Z' && i > 0:
			default:
				return false
			}
		}
	}
	return true
}

package entry

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

const (
	// ReceiptVersion is the version of the encoding of a Receipt, its first byte.
	ReceiptVersion = 1

	// MaxReceiptSize is the largest encoding of a Receipt in bytes.
	MaxReceiptSize = 1 + 16 + 32 + 32 + 8 + 1 + 32 + 8 + 1 + MaxID + 8 + ed25519.SignatureSize

	// receiptDomain separates the signatures of receipts from all others that the
	// same key might make.
	receiptDomain = "passerelle/v1 receipt\x00"
)

// ErrReceipt is returned for a receipt that does not bind the holder to the
// exchange at hand, whatever is wrong with it: signature, query or digests. The
// peer did not keep the protocol, and its answer must not be used.
var ErrReceipt = errors.New("entry: receipt does not verify")

// A Receipt is the holder's signed statement about one query: what was asked, what
// was answered, and where in the holder's log that is recorded.
type Receipt struct {
	Query           [16]byte
	Request, Answer [32]byte // digests; Answer is zero only if Decision denies
	ListVersion     uint64   // version of the tag sets that was queried
	Decision        Decision // allowed or denied
	Leaf            [32]byte // leaf hash of the holder's decision entry
	Index           uint64   // its index in the log below
	Origin          string   // origin of the holder's log, 1 to MaxID bytes
	Time            int64    // in milliseconds since the Unix epoch, UTC
	Signature       [ed25519.SignatureSize]byte
}

// SignReceipt returns the encoding of r with a signature by key, whatever
// r.Signature was. It returns an error wrapping [ErrInvalid] for a receipt that
// must not be signed.
func SignReceipt(r Receipt, key ed25519.PrivateKey) ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w receipt: key of %d bytes", ErrInvalid, len(key))
	}
	body := r.body(nil)
	return append(body, ed25519.Sign(key, append([]byte(receiptDomain), body...))...), nil
}

// CheckReceipt parses b and checks that it is signed by the holder's key pub, and
// that it is about the given query, request digest and answer digest. It returns
// an error wrapping [ErrMalformed] or [ErrReceipt].
//
// The caller compares ListVersion, Decision and Origin with what it knows of the
// holder.
func CheckReceipt(b []byte, pub ed25519.PublicKey, query [16]byte, request, answer [32]byte) (*Receipt, error) {
	r, err := ParseReceipt(b)
	if err != nil {
		return nil, err
	}
	if err := r.CheckSignature(pub); err != nil {
		return nil, err
	}
	if r.Query != query || r.Request != request || r.Answer != answer {
		return nil, ErrReceipt
	}
	return r, nil
}

// CheckSignature checks that r is signed by pub, and returns an error wrapping
// [ErrReceipt] if not. It is for those who have no answer to compare with, such as
// an auditor; an asker calls [CheckReceipt].
func (r *Receipt) CheckSignature(pub ed25519.PublicKey) error {
	// ed25519.Verify panics for another length.
	if len(pub) != ed25519.PublicKeySize || r.validate() != nil ||
		!ed25519.Verify(pub, append([]byte(receiptDomain), r.body(nil)...), r.Signature[:]) {
		return ErrReceipt
	}
	return nil
}

// Bytes returns the encoding of r:
//
//	struct {
//	    uint8  version = 1;
//	    opaque query[16];
//	    opaque request[32];
//	    opaque answer[32];
//	    uint64 list_version;
//	    uint8  decision;
//	    opaque leaf[32];
//	    uint64 index;
//	    opaque origin<1..2^8-1>;
//	    uint64 time;                    // below 2^63
//	    opaque signature[64];
//	} Receipt;
//
// The signature is by Ed25519 (RFC 8032) over the 22 bytes "passerelle/v1
// receipt\0" followed by all that stands before it.
func (r *Receipt) Bytes() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return append(r.body(nil), r.Signature[:]...), nil
}

// ReceiptDigest returns the SHA-256 hash of an encoded receipt, which is the
// Receipt of an asker's entry.
func ReceiptDigest(b []byte) [32]byte { return sha256.Sum256(b) }

// body appends the encoding before the signature.
func (r *Receipt) body(b []byte) []byte {
	b = append(b, ReceiptVersion)
	b = append(b, r.Query[:]...)
	b = append(b, r.Request[:]...)
	b = append(b, r.Answer[:]...)
	b = binary.BigEndian.AppendUint64(b, r.ListVersion)
	b = append(b, byte(r.Decision))
	b = append(b, r.Leaf[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Index)
	b = appendString(b, r.Origin)
	return binary.BigEndian.AppendUint64(b, uint64(r.Time))
}

// ParseReceipt parses the encoding returned by [Receipt.Bytes] without checking
// the signature. It returns an error wrapping [ErrMalformed] for everything else.
func ParseReceipt(b []byte) (*Receipt, error) {
	var (
		r                 Receipt
		version, decision uint8
		origin            cryptobyte.String
		time              uint64
	)
	s := cryptobyte.String(b)
	if !s.ReadUint8(&version) || version != ReceiptVersion ||
		!s.CopyBytes(r.Query[:]) ||
		!s.CopyBytes(r.Request[:]) ||
		!s.CopyBytes(r.Answer[:]) ||
		!s.ReadUint64(&r.ListVersion) ||
		!s.ReadUint8(&decision) ||
		!s.CopyBytes(r.Leaf[:]) ||
		!s.ReadUint64(&r.Index) ||
		!s.ReadUint8LengthPrefixed(&origin) ||
		!s.ReadUint64(&time) || time > math.MaxInt64 ||
		!s.CopyBytes(r.Signature[:]) ||
		!s.Empty() {
		return nil, fmt.Errorf("%w receipt", ErrMalformed)
	}
	r.Decision, r.Origin, r.Time = Decision(decision), string(origin), int64(time)
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("%w receipt: %v", ErrMalformed, err)
	}
	return &r, nil
}

// validate reports whether r may be signed or parsed.
func (r *Receipt) validate() error {
	switch {
	case r.Query == [16]byte{}:
		return fmt.Errorf("%w receipt: query", ErrInvalid)
	case r.Request == [32]byte{}:
		return fmt.Errorf("%w receipt: request", ErrInvalid)
	case r.Decision != DecisionAllowed && r.Decision != DecisionDenied:
		return fmt.Errorf("%w receipt: decision", ErrInvalid)
	case r.Decision == DecisionAllowed && r.Answer == [32]byte{}:
		return fmt.Errorf("%w receipt: answer", ErrInvalid)
	case r.Leaf == [32]byte{}:
		return fmt.Errorf("%w receipt: leaf", ErrInvalid)
	case !isOrigin(r.Origin):
		return fmt.Errorf("%w receipt: origin", ErrInvalid)
	case r.Time <= 0:
		return fmt.Errorf("%w receipt: time", ErrInvalid)
	}
	return nil
}

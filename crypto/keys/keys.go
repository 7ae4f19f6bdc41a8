// Package keys keeps key bytes at rest: the keys of epochs, signing keys, and the
// key of pseudonyms. It does not know what a key computes.
//
// # Epoch keys
//
// A [Ring] keeps the keys of one collection, one for each epoch, in two folders:
//
//	dir/COLLECTION/EPOCH.key           the key, wrapped; may be in backups
//	wrapDir/COLLECTION/EPOCH.wrap      the wrapping key of this epoch alone
//	wrapDir/COLLECTION/EPOCH.destroyed a mark that the epoch's key is destroyed
//
// with EPOCH as ten decimal digits. The second folder must be in no backup, no
// snapshot and no replica: destroying an epoch erases its wrapping key, and with
// it every copy of the wrapped key, wherever it went. Because the mark lies in the
// second folder, a first folder that is restored from a backup does not bring a
// destroyed epoch back.
//
// A wrapped key is, in the presentation language of RFC 8446, Section 3,
//
//	struct {
//	    opaque magic[21] = "passerelle epoch key\n";
//	    uint8  version = 1;
//	    uint32 epoch;
//	    opaque collection<1..64>;
//	    opaque key_id<1..64>;
//	    uint64 created;              // milliseconds since the Unix epoch
//	    opaque nonce[12];
//	    opaque ciphertext<17..2^16-1>;
//	} WrappedKey;
//
// where the ciphertext is AES-256-GCM with the wrapping key, and what is before
// the nonce is additional data: a wrapped key that is moved to another epoch or
// collection does not open.
//
// An overwrite reaches the old bytes on a file system that writes in place. On
// flash storage and on copy-on-write file systems it may not; there put wrapDir on
// an encrypted volume whose own key can be erased, or on a memory file system that
// is filled from an HSM at start.
//
// # Other keys
//
// Signing keys are PEM files with a PKCS #8 Ed25519 key. Other secrets are PEM
// files of the type "PASSERELLE" and a kind.
//
// # Files
//
// Files are created with the permissions 0600, written to the disk with their
// folder before a function returns, and replaced atomically. A secret in a file
// that group or others may use is refused.
//
// Nobody learns anything from this package but who can read the files. All types
// may be used concurrently within one process; two processes must not change one
// ring at once. Secrets are not erased from memory.
package keys

import (
	"errors"
	"fmt"
	"io"
)

var (
	// ErrInput is returned for an argument outside the documented limits.
	ErrInput = errors.New("keys: invalid argument")

	// ErrNotFound is returned if there is no such key, and never was one that
	// this package knows of.
	ErrNotFound = errors.New("keys: no such key")

	// ErrExists is returned instead of overwriting a key.
	ErrExists = errors.New("keys: key exists")

	// ErrDestroyed is returned for the key of an epoch that was destroyed. It is
	// final.
	ErrDestroyed = errors.New("keys: key is destroyed")

	// ErrDamaged is returned for a file that does not hold what it should, and for
	// a wrapped key without its wrapping key. Restore the missing part, or start a
	// new epoch.
	ErrDamaged = errors.New("keys: damaged")

	// ErrPermissions is returned for a secret file or folder that others than its
	// owner may use.
	ErrPermissions = errors.New("keys: permissions are too wide")
)

// A Key is the key of one epoch. Its bytes cannot be printed.
type Key struct {
	id    string
	epoch uint32

	// b is a function, so that nothing that walks a struct can print the key.
	b func() []byte
}

// KeyID returns the public name of k.
func (k Key) KeyID() string { return k.id }

// Epoch returns the epoch of k.
func (k Key) Epoch() uint32 { return k.epoch }

// Bytes returns a copy of the secret bytes, nil for the zero Key.
func (k Key) Bytes() []byte {
	if k.b == nil {
		return nil
	}
	return append([]byte(nil), k.b()...)
}

// Format prints the KeyID for every verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, "keys.Key("+k.id+")") }

// MarshalText returns the KeyID, for log/slog and encoding/json.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.id), nil }

package entry

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// MaxCheckpointSize is the largest checkpoint in bytes, with room for the
// cosignatures of about twenty witnesses.
const MaxCheckpointSize = 8 << 10

var (
	// ErrCheckpoint is returned for a checkpoint that is malformed, of another log,
	// or not signed by the expected key. It says nothing about the log.
	ErrCheckpoint = errors.New("entry: checkpoint does not verify")

	// ErrProof is returned for an inclusion or consistency proof that does not
	// prove what it should. The log, or who speaks for it, must not be trusted.
	ErrProof = errors.New("entry: proof does not verify")
)

// A Checkpoint is the state of a log: its name, size and root hash.
type Checkpoint struct {
	Origin string   // name of the log, without spaces, at most MaxID bytes
	Size   uint64   // number of entries
	Root   [32]byte // root hash, RFC 6962, Section 2.1
}

// NewVerifier returns the verifier of checkpoints of the log origin by its
// Ed25519 key.
func NewVerifier(origin string, pub ed25519.PublicKey) (note.Verifier, error) {
	if !isOrigin(origin) {
		return nil, fmt.Errorf("%w: origin", ErrInvalid)
	}
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return note.NewVerifier(vkey)
}

// Text returns the text of the note that a log signs, c2sp.org/tlog-checkpoint:
//
//	<origin>\n
//	<size in decimal>\n
//	<root hash in base64>\n
func (c *Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// CheckCheckpoint parses a signed checkpoint and checks that it is signed by v,
// whose name is the origin. It returns an error wrapping [ErrCheckpoint].
//
// Cosignatures by others are allowed and not checked. Unlike
// c2sp.org/tlog-checkpoint, extension lines are refused, because no log of ours
// has any, and so are signatures in base64 that is not canonical.
func CheckCheckpoint(msg []byte, v note.Verifier) (*Checkpoint, error) {
	if len(msg) > MaxCheckpointSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrCheckpoint, len(msg))
	}
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCheckpoint, err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return nil, err
	}
	if c.Origin != v.Name() {
		return nil, fmt.Errorf("%w: of another log", ErrCheckpoint)
	}
	// Open drops repeated signatures and takes base64 loosely. Accept only what
	// could have been written in one way.
	lines := bytes.Split(bytes.TrimSuffix(msg[len(n.Text)+1:], []byte("\n")), []byte("\n"))
	if len(lines) != len(n.Sigs)+len(n.UnverifiedSigs) {
		return nil, fmt.Errorf("%w: repeated signature", ErrCheckpoint)
	}
	for _, line := range lines {
		if _, err := base64.StdEncoding.Strict().DecodeString(string(line[bytes.LastIndexByte(line, ' ')+1:])); err != nil {
			return nil, fmt.Errorf("%w: signature encoding", ErrCheckpoint)
		}
	}
	return c, nil
}

// parseCheckpoint parses what [Checkpoint.Text] returns, and nothing else.
func parseCheckpoint(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || !isOrigin(lines[0]) {
		return nil, fmt.Errorf("%w: text", ErrCheckpoint)
	}
	c := &Checkpoint{Origin: lines[0]}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: size", ErrCheckpoint)
	}
	c.Size = size
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return nil, fmt.Errorf("%w: root hash", ErrCheckpoint)
	}
	copy(c.Root[:], root)
	if c.Text() != text || c.Size == 0 && c.Root != sha256.Sum256(nil) {
		return nil, fmt.Errorf("%w: text", ErrCheckpoint)
	}
	return c, nil
}

// CheckConsistency checks that the log of newer is the log of older with entries
// appended, RFC 6962, Section 2.1.2. It returns an error wrapping [ErrProof]. Both
// checkpoints must have been verified and be of the same origin.
func CheckConsistency(older, newer *Checkpoint, hashes [][32]byte) error {
	if older.Origin != newer.Origin {
		return fmt.Errorf("%w: two logs", ErrProof)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, byteSlices(hashes),
		older.Root[:], newer.Root[:]); err != nil {
		return fmt.Errorf("%w: sizes %d and %d", ErrProof, older.Size, newer.Size)
	}
	return nil
}

// byteSlices returns the hashes as the merkle module takes them.
func byteSlices(hashes [][32]byte) [][]byte {
	s := make([][]byte, len(hashes))
	for i := range hashes {
		s[i] = hashes[i][:]
	}
	return s
}

// isOrigin reports whether s may name a log: printable ASCII without spaces and
// plus signs (c2sp.org/signed-note), 1 to MaxID bytes.
func isOrigin(s string) bool {
	return s != "" && isCode(s, MaxID) && !strings.ContainsAny(s, " +")
}

package entry

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

const (
	proofHeader = "c2sp.org/tlog-proof@v1"

	// maxHashes is the longest inclusion proof of a tree of at most 2^63 entries.
	maxHashes = 63
)

// A Proof is an inclusion proof with the checkpoint it leads to, that can be kept
// and checked offline: a .tlog-proof file, c2sp.org/tlog-proof.
type Proof struct {
	Index      uint64     // of the entry
	Hashes     [][32]byte // inclusion proof, RFC 6962, Section 2.1.1, at most 63
	Checkpoint []byte     // signed
}

// Bytes returns the file form of p:
//
//	c2sp.org/tlog-proof@v1\n
//	index <index in decimal>\n
//	<hash in base64>\n               for each hash
//	\n
//	<signed checkpoint>
func (p *Proof) Bytes() []byte {
	b := fmt.Appendf(nil, "%s\nindex %d\n", proofHeader, p.Index)
	for i := range p.Hashes {
		b = base64.StdEncoding.AppendEncode(b, p.Hashes[i][:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, p.Checkpoint...)
}

// ParseProof parses what [Proof.Bytes] returns. It returns an error wrapping
// [ErrMalformed] for everything else. The checkpoint is not looked at.
//
// Unlike c2sp.org/tlog-proof, the optional line of extra data is refused, because
// nothing would be bound to it.
func ParseProof(b []byte) (*Proof, error) {
	head, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(checkpoint) == 0 || len(checkpoint) > MaxCheckpointSize || len(lines) < 2 ||
		len(lines) > 2+maxHashes || lines[0] != proofHeader {
		return nil, fmt.Errorf("%w proof", ErrMalformed)
	}
	p := &Proof{Checkpoint: bytes.Clone(checkpoint)}
	index, ok := strings.CutPrefix(lines[1], "index ")
	n, err := strconv.ParseUint(index, 10, 64)
	if !ok || err != nil {
		return nil, fmt.Errorf("%w proof: index", ErrMalformed)
	}
	p.Index = n
	for _, line := range lines[2:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != 32 {
			return nil, fmt.Errorf("%w proof: hash", ErrMalformed)
		}
		p.Hashes = append(p.Hashes, [32]byte(h))
	}
	if !bytes.Equal(p.Bytes(), b) { // leading zeros, signs, line ends
		return nil, fmt.Errorf("%w proof: not canonical", ErrMalformed)
	}
	return p, nil
}

// CheckProof checks that the encoded entry is in the log of v, as the .tlog-proof
// file says, and returns its index and the checkpoint. It returns an error wrapping
// [ErrMalformed], [ErrCheckpoint] or [ErrProof].
//
// It does not parse the entry, because a proof is about bytes.
func CheckProof(entry, file []byte, v note.Verifier) (index uint64, c *Checkpoint, err error) {
	return CheckLeafProof(LeafHash(entry), file, v)
}

// CheckLeafProof is [CheckProof] for who has only the leaf hash of the entry, such
// as an asker with the holder's receipt.
func CheckLeafProof(leaf [32]byte, file []byte, v note.Verifier) (index uint64, c *Checkpoint, err error) {
	p, err := ParseProof(file)
	if err != nil {
		return 0, nil, err
	}
	c, err = CheckCheckpoint(p.Checkpoint, v)
	if err != nil {
		return 0, nil, err
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, c.Size, leaf[:], byteSlices(p.Hashes), c.Root[:]); err != nil {
		return 0, nil, fmt.Errorf("%w: entry %d of %d", ErrProof, p.Index, c.Size)
	}
	return p.Index, c, nil
}

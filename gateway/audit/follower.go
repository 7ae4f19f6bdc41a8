package audit

import (
	"errors"
	"fmt"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"golang.org/x/mod/sumdb/note"
)

var (
	// ErrRollback is returned by [Follower.Advance] for a checkpoint of fewer
	// entries than were seen before: a restored backup, or a removed entry.
	ErrRollback = errors.New("audit: peer's log has gone back")

	// ErrFork is returned by [Follower.Advance] for a checkpoint that is not shown
	// to continue the one that was seen before: the peer shows two histories, or
	// has a proof that does not hold.
	ErrFork = errors.New("audit: peer's log is not the one seen before")
)

// A Follower checks that the log of another gateway only grows. It holds no state:
// the caller keeps the bytes that Advance returns, one value per log for all its
// replicas, and replaces them only by compare-and-swap.
type Follower struct {
	v note.Verifier
}

// NewFollower returns a Follower of the log of v.
func NewFollower(v note.Verifier) *Follower { return &Follower{v} }

// Advance checks a checkpoint of the peer against the state of the last call, and
// returns the state to keep from now on. The state is nil at first: then any
// checkpoint that verifies is accepted, without proof. The proof is that of
// consistency from the size of the state to that of the checkpoint, empty if the
// size is the same.
//
// It returns an error wrapping [entry.ErrCheckpoint] for a checkpoint, or a state,
// that does not verify, and [ErrRollback] or [ErrFork] for one that must be
// reported: keep both notes, they are evidence signed by the peer. With an error
// the old state stays in force.
func (f *Follower) Advance(state, checkpoint []byte, hashes [][32]byte) (next []byte, c *entry.Checkpoint, err error) {
	c, err = entry.CheckCheckpoint(checkpoint, f.v)
	if err != nil {
		return nil, nil, fmt.Errorf("audit: peer's checkpoint: %w", err)
	}
	if len(state) == 0 {
		return append([]byte(nil), checkpoint...), c, nil
	}
	old, err := entry.CheckCheckpoint(state, f.v)
	if err != nil {
		return nil, nil, fmt.Errorf("audit: stored state of the peer's log: %w", err)
	}
	if c.Size < old.Size {
		return nil, nil, fmt.Errorf("%w: from %d to %d entries", ErrRollback, old.Size, c.Size)
	}
	if err := entry.CheckConsistency(old, c, hashes); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFork, err)
	}
	return append([]byte(nil), checkpoint...), c, nil
}

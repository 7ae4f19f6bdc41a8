package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

const (
	// stateDir is where Tessera v1.0.4 keeps what is not part of the log, and
	// treeState the size and root of what it has stored completely.
	stateDir  = ".state"
	treeState = "treeState"
)

// recoverFolder verifies the stored log in dir and removes what was not stored
// completely when the process ended. It returns the number of entries, and how many
// files were removed. An empty folder is a new log.
//
// Three things are compared: the signed checkpoint, the driver's state, and the
// tiles and entries at the right edge of the tree. The state is not signed, so it
// may only continue the checkpoint.
func recoverFolder(ctx context.Context, dir string, v note.Verifier) (size uint64, removed int, err error) {
	corrupt := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
	}
	raw, err := os.ReadFile(filepath.Join(dir, stateDir, treeState))
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{layout.CheckpointPath, "tile"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				return 0, 0, corrupt("there is a %s and no state", name)
			}
		}
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("audit: reading the state: %w", err)
	}
	var state struct {
		Size uint64 `json:"size"`
		Root []byte `json:"root"`
	}
	if err := json.Unmarshal(raw, &state); err != nil || len(state.Root) != hashSize {
		return 0, 0, corrupt("state cannot be parsed")
	}

	msg, err := os.ReadFile(filepath.Join(dir, layout.CheckpointPath))
	switch {
	case errors.Is(err, fs.ErrNotExist) && state.Size == 0:
		// A new log that ended before its first checkpoint. The driver signs one
		// only when it makes the state.
		if err := os.Remove(filepath.Join(dir, stateDir, treeState)); err != nil {
			return 0, 0, fmt.Errorf("audit: removing the state of an empty log: %w", err)
		}
		return 0, 0, nil
	case errors.Is(err, fs.ErrNotExist):
		return 0, 0, corrupt("there is a state and no checkpoint")
	case err != nil:
		return 0, 0, fmt.Errorf("audit: reading the checkpoint: %w", err)
	}
	c, err := entry.CheckCheckpoint(msg, v)
	if err != nil {
		return 0, 0, corrupt("%w", err)
	}
	if c.Size > state.Size {
		return 0, 0, corrupt("state is of %d entries, the checkpoint of %d", state.Size, c.Size)
	}
	if err := checkEdge(ctx, dir, c, state.Size, state.Root); err != nil {
		return 0, 0, err
	}
	removed, err = removeBeyond(dir, state.Size)
	if err != nil {
		return 0, 0, fmt.Errorf("audit: removing what was not stored completely: %w", err)
	}
	return state.Size, removed, nil
}

// checkEdge checks that the tiles lead to root, that the tree of that root continues
// c, and that the entries of the last bundle and of all after c are in the tiles.
func checkEdge(ctx context.Context, dir string, c *entry.Checkpoint, size uint64, root []byte) error {
	corrupt := func(what string, err error) error { return fmt.Errorf("%w: %s: %v", ErrCorrupt, what, err) }
	if size == 0 {
		if !bytes.Equal(root, rfc6962.DefaultHasher.EmptyRoot()) {
			return corrupt("state", errors.New("root of an empty log"))
		}
		return nil
	}
	tile := func(_ context.Context, level, index uint64, p uint8) ([]byte, error) {
		return readStored(dir, p, func(p uint8) string { return layout.TilePath(level, index, p) })
	}
	hashes, err := client.FetchRangeNodes(ctx, size, tile)
	if err != nil {
		return corrupt("tiles", err)
	}
	tree, err := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewRange(0, size, hashes)
	if err != nil {
		return corrupt("tiles", err)
	}
	if got, err := tree.GetRootHash(nil); err != nil || !bytes.Equal(got, root) {
		return corrupt("tiles", errors.New("do not lead to the stored root"))
	}
	if c.Size > 0 {
		builder, err := client.NewProofBuilder(ctx, size, tile)
		if err != nil {
			return corrupt("tiles", err)
		}
		path, err := builder.ConsistencyProof(ctx, c.Size, size)
		if err != nil {
			return corrupt("tiles", err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, c.Size, size, path, c.Root[:], root); err != nil {
			return corrupt("state", errors.New("does not continue the checkpoint"))
		}
	}
	first := min(c.Size, size-1) / layout.EntryBundleWidth * layout.EntryBundleWidth
	leaves, err := client.FetchLeafHashes(ctx, tile, first, size-first, size)
	if err != nil {
		return corrupt("tiles", err)
	}
	for info := range layout.Range(first, size-first, size) {
		b, err := readStored(dir, info.Partial, func(p uint8) string { return layout.EntriesPath(info.Index, p) })
		if err != nil {
			return corrupt("entries", err)
		}
		entries, err := splitBundle(b)
		if err != nil {
			return err
		}
		if uint(len(entries)) < info.N {
			return corrupt("entries", fmt.Errorf("bundle %d has %d entries, not %d", info.Index, len(entries), info.N))
		}
		for i := range info.N {
			leaf := entry.LeafHash(entries[i])
			if !bytes.Equal(leaf[:], leaves[0]) {
				return corrupt("entries", fmt.Errorf("entry %d is not that of the tree", info.Index*layout.EntryBundleWidth+uint64(i)))
			}
			leaves = leaves[1:]
		}
	}
	return nil
}

// readStored reads a tile or bundle of width p, or else the full one, of which the
// first p items are the same.
func readStored(dir string, p uint8, path func(uint8) string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path(p))))
	if errors.Is(err, fs.ErrNotExist) && p > 0 {
		b, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(path(0))))
	}
	return b, err
}

// removeBeyond removes bundles and tiles that hold anything beyond the first size
// entries. They were written for a batch that was never acknowledged: a later batch
// has other entries, and a narrower or wider copy of the old ones must not remain
// beside it. One batch reaches at most into the next bundle.
//
// The removals need no sync of their own: whoever writes into one of these
// directories syncs it.
func removeBeyond(dir string, size uint64) (removed int, err error) {
	remove := func(path string) error {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		removed++
		return os.RemoveAll(path)
	}
	right := func(path func(index uint64, p uint8) string, items uint64) error {
		index, width := items/layout.TileWidth, int(items%layout.TileWidth)
		list, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(path(index, 0)+".p")))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, d := range list {
			// Temporary files have longer numbers.
			if w, err := strconv.Atoi(d.Name()); err != nil || w > width {
				if err := remove(path(index, 0) + ".p/" + d.Name()); err != nil {
					return err
				}
			}
		}
		return errors.Join(remove(path(index, 0)), remove(path(index+1, 0)), remove(path(index+1, 0)+".p"))
	}
	if err := right(layout.EntriesPath, size); err != nil {
		return removed, err
	}
	for level := uint64(0); level < 8; level++ {
		path := func(index uint64, p uint8) string { return layout.TilePath(level, index, p) }
		if err := right(path, size>>(layout.TileHeight*level)); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

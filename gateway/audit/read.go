package audit

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

// Checkpoint returns the latest published checkpoint, a signed note.
func (l *Log) Checkpoint(context.Context) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.published.note), nil
}

// Published returns the size of the latest published checkpoint.
func (l *Log) Published() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.published.Size
}

// ProveInclusion returns the .tlog-proof file of the entry with the given index,
// under the latest published checkpoint; [entry.CheckProof] checks it. It returns an
// error wrapping [ErrNotCovered] for an entry that is not covered yet.
func (l *Log) ProveInclusion(ctx context.Context, index uint64) ([]byte, error) {
	l.mu.Lock()
	p := l.published
	l.mu.Unlock()
	if index >= p.Size {
		return nil, fmt.Errorf("%w: entry %d of %d", ErrNotCovered, index, p.Size)
	}
	builder, err := client.NewProofBuilder(ctx, p.Size, l.reader.ReadTile)
	if err != nil {
		return nil, fmt.Errorf("audit: proving inclusion: %v", err)
	}
	hashes, err := builder.InclusionProof(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("audit: proving inclusion: %v", err)
	}
	f := entry.Proof{Index: index, Hashes: arrays(hashes), Checkpoint: p.note}
	return f.Bytes(), nil
}

// ProveConsistency returns the proof that the log of newer entries continues that of
// older ones; [entry.CheckConsistency] checks it. It returns an error wrapping
// [ErrNotCovered] if newer is beyond the latest published checkpoint.
func (l *Log) ProveConsistency(ctx context.Context, older, newer uint64) ([][32]byte, error) {
	if size := l.Published(); newer > size {
		return nil, fmt.Errorf("%w: size %d of %d", ErrNotCovered, newer, size)
	}
	if older > newer {
		return nil, fmt.Errorf("audit: proving consistency: from %d back to %d", older, newer)
	}
	if older == 0 || older == newer {
		return nil, nil // by definition
	}
	builder, err := client.NewProofBuilder(ctx, newer, l.reader.ReadTile)
	if err != nil {
		return nil, fmt.Errorf("audit: proving consistency: %v", err)
	}
	hashes, err := builder.ConsistencyProof(ctx, older, newer)
	if err != nil {
		return nil, fmt.Errorf("audit: proving consistency: %v", err)
	}
	return arrays(hashes), nil
}

// arrays returns the hashes as the formats hold them.
func arrays(hashes [][]byte) [][32]byte {
	out := make([][32]byte, len(hashes))
	for i := range hashes {
		copy(out[i][:], hashes[i])
	}
	return out
}

// An Indexed is an entry with its position.
type Indexed struct {
	Index uint64
	Leaf  [32]byte
	Entry *entry.Entry
	Bytes []byte // as hashed
}

// Entries returns the durable entries from index from to before index to, in order.
// A to beyond the end means the end as it is now. It yields one error, last, if an
// entry cannot be read; one wrapping [ErrCorrupt] if it is not an entry.
//
// It does not check that the entries are those of the tree: [entry.VerifyFolder] and
// proofs do.
func (l *Log) Entries(ctx context.Context, from, to uint64) iter.Seq2[Indexed, error] {
	return func(yield func(Indexed, error) bool) {
		size := l.size.Load()
		to := min(to, size)
		if from >= to {
			return
		}
		for info := range layout.Range(from, to-from, size) {
			if err := ctx.Err(); err != nil {
				yield(Indexed{}, fmt.Errorf("audit: reading entries: %w", err))
				return
			}
			raw, err := l.reader.ReadEntryBundle(ctx, info.Index, info.Partial)
			if err != nil {
				yield(Indexed{}, fmt.Errorf("audit: reading entries: %w", err))
				return
			}
			entries, err := splitBundle(raw)
			if err == nil && uint(len(entries)) < info.First+info.N {
				err = fmt.Errorf("%w: bundle %d is short", ErrCorrupt, info.Index)
			}
			if err != nil {
				yield(Indexed{}, err)
				return
			}
			for i := info.First; i < info.First+info.N; i++ {
				index := info.Index*layout.EntryBundleWidth + uint64(i)
				e, err := entry.ParseEntry(entries[i])
				if err != nil {
					yield(Indexed{}, fmt.Errorf("%w: entry %d: %w", ErrCorrupt, index, err))
					return
				}
				if !yield(Indexed{index, entry.LeafHash(entries[i]), e, bytes.Clone(entries[i])}, nil) {
					return
				}
			}
		}
	}
}

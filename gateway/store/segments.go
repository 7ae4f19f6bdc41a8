package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// PutSegment stores the bytes of a segment in a file named by their SHA-256, and
// returns it. When it returns nil the file is durable. It is idempotent.
//
// A segment that no manifest names is removed by [Store.CollectSegments]: put the
// segments first, then advance the head.
func (s *Store) PutSegment(ctx context.Context, b []byte) ([32]byte, error) {
	if err := ctx.Err(); err != nil {
		return [32]byte{}, fmt.Errorf("store: putting a segment: %w", err)
	}
	hash := sha256.Sum256(b)
	s.segments.RLock()
	defer s.segments.RUnlock()
	path := s.SegmentPath(hash)
	if st, err := os.Stat(path); err == nil && st.Size() == int64(len(b)) {
		// A new time keeps an unnamed file from being collected meanwhile.
		now := time.Now()
		if err := os.Chtimes(path, now, now); err == nil {
			return hash, nil
		}
	}
	if err := writeFile(path, b); err != nil {
		return [32]byte{}, failed("putting a segment", err)
	}
	return hash, nil
}

// writeFile makes a file with all of b, or none, and makes it durable with the
// entries of its directories.
func writeFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SegmentPath returns where the segment with the given hash is, if it is there.
func (s *Store) SegmentPath(hash [32]byte) string {
	name := hex.EncodeToString(hash[:])
	return filepath.Join(s.dir, "sets", name[:2], name)
}

// HasSegment reports whether the segment is there, without reading it.
func (s *Store) HasSegment(hash [32]byte) bool {
	st, err := os.Stat(s.SegmentPath(hash))
	return err == nil && st.Mode().IsRegular()
}

// Segment returns the bytes of a segment, whose hash it has verified, or an error
// wrapping [ErrNotFound], or [ErrStorage] if the file is damaged.
func (s *Store) Segment(ctx context.Context, hash [32]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: reading a segment: %w", err)
	}
	b, err := os.ReadFile(s.SegmentPath(hash))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: segment", ErrNotFound)
	case err != nil:
		return nil, failed("reading a segment", err)
	case sha256.Sum256(b) != hash:
		return nil, failed("reading a segment", errors.New("its hash differs"))
	}
	return b, nil
}

// segmentHashes returns the hashes that manifests name.
func (s *Store) segmentHashes(ctx context.Context) (map[[32]byte]bool, error) {
	named := make(map[[32]byte]bool)
	err := s.gateway.each(ctx, "reading segments", "SELECT DISTINCT hash FROM segments", nil,
		func(scan func(...any) error) error {
			var b []byte
			var h [32]byte
			if err := scan(&b); err != nil {
				return err
			}
			if err := fixed(h[:], b); err != nil {
				return err
			}
			named[h] = true
			return nil
		})
	if err != nil {
		return nil, err
	}
	return named, nil
}

// CollectSegments removes the segments that no manifest names and that were put
// before the given time, and what a crash left of unfinished files. It returns how
// many it removed. The time should be at least an hour ago, so that a set that is
// being put is left alone.
func (s *Store) CollectSegments(ctx context.Context, before time.Time) (removed int, err error) {
	s.segments.Lock()
	defer s.segments.Unlock()
	named, err := s.segmentHashes(ctx)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(filepath.Join(s.dir, "sets"), func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || d.IsDir() {
			return err
		}
		var h [32]byte
		if b, err := hex.DecodeString(d.Name()); err == nil && len(b) == len(h) {
			copy(h[:], b)
			if named[h] {
				return nil
			}
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if !st.ModTime().Before(before) {
			return nil
		}
		removed++
		return os.Remove(path)
	})
	if err != nil && ctx.Err() != nil {
		return removed, fmt.Errorf("store: collecting segments: %w", ctx.Err())
	}
	if err != nil {
		return removed, failed("collecting segments", err)
	}
	return removed, nil
}

// removeSegment removes one file. The caller holds s.segments for writing.
func (s *Store) removeSegment(hash [32]byte) error {
	if err := os.Remove(s.SegmentPath(hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("removing a segment", err)
	}
	return nil
}

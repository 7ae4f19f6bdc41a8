package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Mapping is a segment that is read where it lies, in its file: memory is needed
// only for what is read, and given back when it is short.
//
// The file may be removed meanwhile; its bytes stay until the Mapping ends, which is
// when Close is called, or some time after nothing refers to the Mapping any more. The
// bytes themselves do not keep it: whoever reads them must hold the Mapping, with
// [runtime.KeepAlive] after the last read. A disk that fails to give a part of the
// file ends the process; the next start verifies every segment.
type Mapping struct {
	b       []byte
	cleanup runtime.Cleanup
}

// MapSegment maps a segment, or returns an error wrapping [ErrNotFound]. The caller
// verifies the hash, as psi.OpenSet does.
func (s *Store) MapSegment(ctx context.Context, hash [32]byte) (*Mapping, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: mapping a segment: %w", err)
	}
	f, err := os.Open(s.SegmentPath(hash))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: segment", ErrNotFound)
	case err != nil:
		return nil, failed("mapping a segment", err)
	}
	defer f.Close() // a mapping outlives it
	st, err := f.Stat()
	if err != nil {
		return nil, failed("mapping a segment", err)
	}
	if st.Size() == 0 || int64(int(st.Size())) != st.Size() {
		return nil, failed("mapping a segment", errors.New("its size differs"))
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, failed("mapping a segment", err)
	}
	m := &Mapping{b: b}
	m.cleanup = runtime.AddCleanup(m, func(b []byte) { unix.Munmap(b) }, b)
	return m, nil
}

// Bytes returns the segment, which must not be modified, nor read after the Mapping
// has ended.
func (m *Mapping) Bytes() []byte { return m.b }

// Unload gives the memory back that reading has taken so far. What is read again is
// loaded again.
func (m *Mapping) Unload() {
	unix.Madvise(m.b, unix.MADV_DONTNEED) // without it there is only more memory in use
	runtime.KeepAlive(m)
}

// Close ends m. It may be called more than once, but not while somebody reads.
func (m *Mapping) Close() {
	if m.b == nil {
		return
	}
	m.cleanup.Stop()
	unix.Munmap(m.b)
	m.b = nil
}

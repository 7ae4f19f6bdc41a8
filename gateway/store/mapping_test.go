package store_test

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/store"
)

// mapped returns how many mappings this process has of files below a folder.
func mapped(t testing.TB, dir string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("this system does not list mappings")
	}
	return strings.Count(string(maps), dir)
}

func TestMapSegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	content := bytes.Repeat([]byte("segment "), 10_000)
	hash, err := s.PutSegment(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.MapSegment(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.MapSegment(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Bytes(), content) {
		t.Error("the mapping has other bytes")
	}
	m.Unload()
	if err := os.Remove(s.SegmentPath(hash)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Bytes(), content) {
		t.Error("the mapping has other bytes after the file is removed")
	}
	if _, err := s.MapSegment(t.Context(), hash); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("MapSegment of a removed segment: %v", err)
	}
	if got := mapped(t, dir+"/sets"); got == 0 {
		t.Fatal("control: nothing is mapped")
	}
	m.Close()
	m.Close()
	if m.Bytes() != nil {
		t.Error("a closed mapping has bytes")
	}
	runtime.KeepAlive(other)

	// The other one is not closed: it ends because nothing refers to it.
	other = nil
	for range 100 {
		if runtime.GC(); mapped(t, dir+"/sets") == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a mapping stays")
}

func TestMapSegmentRefuses(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	hash, err := s.PutSegment(t.Context(), []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.SegmentPath(hash), 0); err != nil {
		t.Fatal(err)
	}
	if m, err := s.MapSegment(t.Context(), hash); !errors.Is(err, store.ErrStorage) || m != nil {
		t.Errorf("MapSegment of an empty file: %v", err)
	}
	if m, err := s.MapSegment(t.Context(), [32]byte{}); !errors.Is(err, store.ErrNotFound) || m != nil {
		t.Errorf("MapSegment of no segment: %v", err)
	}
}

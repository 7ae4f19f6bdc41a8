package keys

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFileSize bounds what is read from a file, in bytes.
const maxFileSize = 1 << 17

// readPrivate reads a file that only its owner may use.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, pathError(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, pathError(err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrDamaged, path)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has %04o, want 0600", ErrPermissions, path, st.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, pathError(err)
	}
	if len(b) > maxFileSize {
		return nil, fmt.Errorf("%w: %s is too large", ErrDamaged, path)
	}
	return b, nil
}

// pathError wraps an error of package os, and says by a sentinel what callers
// test for.
func pathError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return fmt.Errorf("keys: %w", err)
}

// writeFile writes a file with the permissions 0600. When it returns nil the file
// is durable. A crash leaves the old file, or the new one, and perhaps a temporary
// file beside it. If replace is false then a file that exists is an error wrapping
// ErrExists.
func writeFile(path string, b []byte, replace bool) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // with 0600
	if err != nil {
		return pathError(err)
	}
	name := f.Name()
	defer os.Remove(name) // fails, as it should, after a rename
	if err := writeAndClose(f, b); err != nil {
		return err
	}
	if replace {
		err = os.Rename(name, path)
	} else if err = os.Link(name, path); err == nil {
		err = os.Remove(name)
	}
	if err != nil {
		return pathError(err)
	}
	return syncDir(dir)
}

// createFile is writeFile without replace that never has the bytes in a file of
// another name. A crash may leave a part of the file.
func createFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return pathError(err)
	}
	if err := writeAndClose(f, b); err != nil {
		os.Remove(path)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeAndClose(f *os.File, b []byte) error {
	_, err := f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return pathError(err)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return pathError(err)
	}
	defer d.Close()
	return pathError(d.Sync())
}

// erase overwrites a file with random bytes, which it forgets, and removes it.
// When it returns nil both are durable. A file that does not exist is no error.
func erase(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return pathError(err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return pathError(err)
	}
	junk := make([]byte, min(st.Size(), maxFileSize))
	rand.Read(junk) // never fails, see its documentation
	if err := writeAndClose(f, junk); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return pathError(err)
	}
	return syncDir(filepath.Dir(path))
}

// makeDir makes a folder and its parents with the permissions 0700, and refuses
// one that others may write to.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return pathError(err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return pathError(err)
	}
	if st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: folder %s has %04o, want 0700", ErrPermissions, dir, st.Mode().Perm())
	}
	return syncDir(filepath.Dir(dir))
}

// Erase overwrites and removes a secret file. When it returns nil both are
// durable. A file that does not exist is no error. See the package comment on what
// an overwrite does not reach.
func Erase(path string) error { return erase(path) }

package policy

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// ErrBundle is returned for a bundle that cannot be used: a file that does not
// belong in it, rules that do not compile, tests that fail, rules without a
// test or without their documentation. It is the fault of whoever wrote it; the
// bundle that was active stays active.
var ErrBundle = errors.New("policy: unusable bundle")

const (
	// MaxBundleFiles bounds the files of one bundle.
	MaxBundleFiles = 1000

	// MaxBundleSize bounds the bytes of all files of one bundle.
	MaxBundleSize = 8 << 20
)

//go:embed rego
var embedded embed.FS

// A Bundle is a set of rules and their tests. The zero Bundle is empty, and no
// [Engine] accepts it. A Bundle does not change.
type Bundle struct {
	files  map[string]string
	digest [32]byte
	proof  *proof // shared by copies
}

// A proof remembers that a bundle was found good. Nothing but the bundle goes
// into that, so it is found once.
type proof struct {
	mu      sync.Mutex
	program *program // nil until then
}

// prove compiles b and runs its tests, unless that was done before.
func (b Bundle) prove(ctx context.Context) (*program, []Problem, error) {
	if b.proof == nil {
		return nil, []Problem{{Message: "the bundle is empty"}}, nil
	}
	b.proof.mu.Lock()
	defer b.proof.mu.Unlock()
	if p := b.proof.program; p != nil {
		return p, nil, nil
	}
	p, problems, err := compile(ctx, b)
	if err != nil || len(problems) > 0 {
		return nil, problems, err
	}
	report, err := p.runTests(ctx)
	if err != nil {
		return nil, nil, err
	}
	if problems := report.problems(); len(problems) > 0 {
		return nil, problems, nil
	}
	p.modules, p.tests, p.folded = nil, nil, nil
	b.proof.program = p
	return p, nil, nil
}

// Default returns the rules that are built into the gateway. Every call returns
// the same Bundle.
func Default() Bundle { return builtin() }

var builtin = sync.OnceValue(func() Bundle {
	sub, err := fs.Sub(embedded, "rego")
	if err != nil {
		panic("policy: internal error: " + err.Error())
	}
	b, err := LoadBundle(sub)
	if err != nil {
		panic("policy: internal error: " + err.Error())
	}
	return b
})

// LoadBundle reads all Rego files below the root of fsys. Markdown files and
// names that begin with a dot are left out; any other file is an error, because
// its author expects an effect that it would not have. In particular there are
// no data files: facts come with each input.
//
// It returns an error wrapping [ErrBundle] for what does not belong in a bundle,
// and the error of fsys for what cannot be read.
func LoadBundle(fsys fs.FS) (Bundle, error) {
	files := make(map[string]string)
	size := 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || path.Ext(name) == ".md":
			return nil
		case !d.Type().IsRegular() || path.Ext(name) != ".rego":
			return fmt.Errorf("%w: %q is not a Rego file", ErrBundle, name)
		case len(files) == MaxBundleFiles:
			return fmt.Errorf("%w: more than %d files", ErrBundle, MaxBundleFiles)
		}
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, int64(MaxBundleSize-size)+1))
		if err != nil {
			return err
		}
		if size += len(text); size > MaxBundleSize {
			return fmt.Errorf("%w: more than %d bytes", ErrBundle, MaxBundleSize)
		}
		files[name] = string(text)
		return nil
	})
	if err != nil {
		if errors.Is(err, ErrBundle) {
			return Bundle{}, err
		}
		return Bundle{}, fmt.Errorf("policy: reading a bundle: %w", err)
	}
	return Bundle{files: files, digest: digestFiles(files), proof: new(proof)}, nil
}

// digestFiles returns the SHA-256 hash of
//
//	struct {
//	    opaque domain[27] = "passerelle/v1 policy bundle";
//	    uint32 files;
//	    File   file[files];          // in byte order of their paths
//	} Bundle;
//
//	struct {
//	    opaque path<0..2^32-1>;      // with slashes, from the root of the bundle
//	    opaque text<0..2^32-1>;
//	} File;
//
// in the presentation language of RFC 8446, Section 3.
func digestFiles(files map[string]string) [32]byte {
	h := sha256.New()
	io.WriteString(h, "passerelle/v1 policy bundle")
	number := func(n int) { h.Write(binary.BigEndian.AppendUint32(nil, uint32(n))) }
	number(len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for _, s := range []string{name, files[name]} {
			number(len(s))
			io.WriteString(h, s)
		}
	}
	return [32]byte(h.Sum(nil))
}

// Digest returns the SHA-256 hash over the sorted paths and texts of all Rego
// files, tests included. It names the bundle in entries and decisions.
func (b Bundle) Digest() [32]byte { return b.digest }

// Revision returns the first 16 hexadecimal digits of the digest, for people.
func (b Bundle) Revision() string { return hex.EncodeToString(b.digest[:8]) }

// Files returns the paths of the bundle's Rego files, sorted.
func (b Bundle) Files() []string { return slices.Sorted(maps.Keys(b.files)) }

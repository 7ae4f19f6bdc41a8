package inspect

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
)

// A Verification is what checking a whole log found.
type Verification struct {
	Checkpoint []byte             // what it was checked against, published by the log
	Report     *entry.Report      // nil if something is wrong
	Fault      *entry.FolderError // the first thing that is wrong, or nil
}

// Verify checks all of a log against its latest published checkpoint while the log
// runs: see [entry.VerifyFolder]. What was appended since is not judged.
//
// The error is for a check that could not be made. A log that does not verify is a
// result, and a serious one.
func (i *Inspector) Verify(ctx context.Context, r Reader, which Which) (*Verification, error) {
	s, err := i.log(which)
	if err != nil {
		return nil, err
	}
	if err := i.permit(ctx, r, name(readVerify, which), entry.Entry{}); err != nil {
		return nil, err
	}
	checkpoint, err := s.Log.Checkpoint(ctx)
	if err != nil {
		return nil, failed(err)
	}
	v := &Verification{Checkpoint: checkpoint}
	v.Report, err = entry.VerifyFolder(published(ctx, s.Files, checkpoint), s.verifier)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if fault, ok := errors.AsType[*entry.FolderError](err); ok {
		v.Fault = fault
		return v, nil
	}
	if err != nil {
		return nil, failed(err)
	}
	return v, nil
}

// An opener is a file system by its one method.
type opener func(name string) (fs.File, error)

func (o opener) Open(name string) (fs.File, error) { return o(name) }

// published returns the folder of a log in which the checkpoint is the published
// one: the file of that name moves on while the rest is being read. The folder
// keeps, for every size that was published, tiles of that width or wider ones.
func published(ctx context.Context, files fs.FS, checkpoint []byte) fs.FS {
	return opener(func(name string) (fs.File, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if name == checkpointFile {
			return memory{bytes.NewReader(checkpoint)}, nil
		}
		return files.Open(name)
	})
}

// A memory is a file that is not on disk.
type memory struct{ *bytes.Reader }

func (memory) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (memory) Close() error               { return nil }

const (
	checkpointFile = "checkpoint"
	width          = 256       // entries in a bundle, hashes in a tile
	maxFile        = 512 << 10 // bytes of one file of a log
)

// Files calls emit for each file of a log as it is under its latest published
// checkpoint, by path in the layout of c2sp.org/tlog-tiles: the entries from the
// bundle with index from on, then the tiles, then the checkpoint, so that a folder
// without one is not all there. It ends with the first error of emit, which it
// returns.
func (i *Inspector) Files(ctx context.Context, r Reader, which Which, from uint64, emit func(path string,
	data []byte) error) error {
	s, checkpoint, c, err := i.exported(ctx, r, which)
	if err != nil {
		return err
	}
	row := func(dir string, first, n uint64) error {
		for tile := first / width; tile*width < n; tile++ {
			path, data, err := s.tile(dir+number(tile), min(width, n-tile*width))
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return failed(err)
			}
			if err := emit(path, data); err != nil {
				return err
			}
		}
		return nil
	}
	if err := row("tile/entries/", from, c.Size); err != nil {
		return err
	}
	for level, n := 0, c.Size; n > 0; level, n = level+1, n/width {
		if err := row(fmt.Sprintf("tile/%d/", level), 0, n); err != nil {
			return err
		}
	}
	return emit(checkpointFile, checkpoint)
}

// exported puts an export on record, and returns the log with its latest published
// checkpoint, as signed and as parsed.
func (i *Inspector) exported(ctx context.Context, r Reader, which Which) (source, []byte, *entry.Checkpoint, error) {
	s, err := i.log(which)
	if err != nil {
		return source{}, nil, nil, err
	}
	if err := i.permit(ctx, r, name(readExport, which), entry.Entry{}); err != nil {
		return source{}, nil, nil, err
	}
	msg, c, err := s.checkpoint(ctx)
	if err != nil {
		return source{}, nil, nil, err
	}
	return s, msg, c, nil
}

// checkpoint returns the latest published checkpoint, as signed and as parsed.
func (l source) checkpoint(ctx context.Context) ([]byte, *entry.Checkpoint, error) {
	msg, err := l.Log.Checkpoint(ctx)
	if err != nil {
		return nil, nil, failed(err)
	}
	c, err := entry.CheckCheckpoint(msg, l.verifier)
	if err != nil {
		return nil, nil, failed(err)
	}
	return msg, c, nil
}

// tile reads the tile or bundle at path, of which n items are needed: the copy of
// that width, or else the whole one.
func (l source) tile(path string, n uint64) (name string, data []byte, err error) {
	names := []string{path}
	if n < width {
		names = []string{fmt.Sprintf("%s.p/%d", path, n), path}
	}
	for _, name = range names {
		f, openErr := l.Files.Open(name)
		if err = openErr; errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("inspect: exporting: %w", err)
		}
		data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		f.Close()
		if err == nil && len(data) > maxFile {
			err = errors.New("file is too large")
		}
		if err != nil {
			return "", nil, fmt.Errorf("inspect: exporting: %w", err)
		}
		return name, data, nil
	}
	return "", nil, fmt.Errorf("inspect: exporting: %w", err)
}

// number returns the path of the n-th tile, c2sp.org/tlog-tiles: 1234067 is
// x001/x234/067.
func number(n uint64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	return s
}

// A Line is one line of [Inspector.Export].
type Line struct {
	Log   string       `json:"log"`
	Index uint64       `json:"index"`
	Leaf  string       `json:"leaf"` // leaf hash in hexadecimal
	Entry *entry.Entry `json:"entry"`
	Raw   []byte       `json:"raw"` // as hashed
}

// A LastLine is the last line of [Inspector.Export]: the checkpoint that covers
// the entries before it.
type LastLine struct {
	Log        string `json:"log"`
	Checkpoint string `json:"checkpoint"`
	Key        string `json:"verifier_key"`
}

// Export writes the entries of one log that were made in a span of time, as JSON
// lines, and ends with the checkpoint that covers them. Entries that no published
// checkpoint covers yet are left out. It ends with the first error of w, which it
// returns.
func (i *Inspector) Export(ctx context.Context, r Reader, which Which, since, until time.Time, w io.Writer) error {
	s, checkpoint, c, err := i.exported(ctx, r, which)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	for x, err := range s.Log.Entries(ctx, 0, c.Size) {
		if err != nil {
			return failed(err)
		}
		if !within(x.Entry, since, until) {
			continue
		}
		if err := enc.Encode(Line{which.String(), x.Index, hex.EncodeToString(x.Leaf[:]), x.Entry, x.Bytes}); err != nil {
			return fmt.Errorf("inspect: exporting: %w", err)
		}
	}
	if err := enc.Encode(LastLine{which.String(), string(checkpoint), s.Key}); err != nil {
		return fmt.Errorf("inspect: exporting: %w", err)
	}
	return nil
}

package views_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/gateway/audit/entry"
)

// A logged is one entry of a log with its size in bytes.
type logged struct {
	*entry.Entry
	size int
}

// readLog verifies one of the logs of a gateway that has been shut, and returns its
// entries.
func (n *nation) readLog(t testing.TB, name string) []logged {
	t.Helper()
	dir := filepath.Join(n.dir, "log", name)
	key, err := keys.LoadSigningKey(filepath.Join(n.dir, "keys", "log-"+name+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := entry.NewVerifier(n.td+"/log/"+name, key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	report, err := entry.VerifyFolder(os.DirFS(dir), verifier)
	if err != nil {
		t.Fatal(err)
	}
	var all []logged
	for bundle := 0; uint64(len(all)) < report.Size; bundle++ {
		b := readBundle(t, filepath.Join(dir, "tile", "entries", fmt.Sprintf("%03d", bundle)))
		for len(b) >= 2 {
			size := int(binary.BigEndian.Uint16(b))
			e, err := entry.ParseEntry(b[2 : 2+size])
			if err != nil {
				t.Fatal(err)
			}
			all, b = append(all, logged{e, size}), b[2+size:]
		}
	}
	return all
}

// readBundle returns a bundle of entries: the whole one, or the largest part.
func readBundle(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		return b
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	parts, err := os.ReadDir(path + ".p")
	if err != nil {
		t.Fatal(err)
	}
	largest := 0
	for _, p := range parts {
		if n, err := strconv.Atoi(p.Name()); err == nil {
			largest = max(largest, n)
		}
	}
	b, err = os.ReadFile(filepath.Join(path+".p", strconv.Itoa(largest)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// byQuery returns kinds and sizes of the entries about each query.
func byQuery(log []logged) map[[16]byte][]string {
	out := make(map[[16]byte][]string)
	for _, e := range log {
		if e.Query != ([16]byte{}) {
			out[e.Query] = append(out[e.Query], fmt.Sprintf("%s of %d bytes", e.Kind, e.size))
		}
	}
	return out
}

// checkpointSize returns the size of the latest checkpoint of a log without the
// digits of the number of entries.
func (n *nation) checkpointSize(t testing.TB, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "log", name, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(b), "\n", 3)
	if len(lines) != 3 {
		t.Fatal("a checkpoint of less than three lines")
	}
	return len(b) - len(lines[1])
}

// Command passerelle-verify checks an audit log, or the proof that an entry is in
// one, with nothing but the log's public key. It needs no gateway, no network and no
// secret, and is small enough to be read before it is trusted: this file and the
// package gateway/audit/entry are all of it that is ours.
//
//	passerelle-verify --vkey KEY [--seen CHECKPOINT]... [--json] LOGDIR
//	passerelle-verify --vkey KEY --proof FILE --entry FILE [--json]
//
// KEY is the verifier key of the log as in an invite, name+hash+key, or the name of
// a file that holds it.
//
// The first form reads every entry in LOGDIR, recomputes the root hash, and compares
// it with the signed checkpoint and with every stored tile. With --seen it also
// checks that the log once had the checkpoint in that file: one that a neighbour or
// an auditor kept, so that a restored backup or a second history is found. The second
// form checks a .tlog-proof file against the bytes of one entry.
//
// Exit codes:
//
//	0  everything is as it was signed
//	1  something is not, or cannot be read; stderr says what is first wrong
//	2  wrong use
//
// With --json one JSON object is printed on stdout in both cases, with "ok".
package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"golang.org/x/mod/sumdb/note"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `usage: passerelle-verify --vkey KEY [--seen CHECKPOINT]... [--json] LOGDIR
       passerelle-verify --vkey KEY --proof FILE --entry FILE [--json]

  --vkey KEY         verifier key of the log, or a file with it
  --seen CHECKPOINT  file with a checkpoint that this log must once have had
  --proof FILE       .tlog-proof of an entry
  --entry FILE       bytes of that entry
  --json             print one JSON object
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// A result is what is printed. Times are RFC 3339, the root hash is in base64 as in
// a checkpoint.
type result struct {
	OK      bool              `json:"ok"`
	Origin  string            `json:"origin,omitempty"`
	Size    uint64            `json:"size"`
	Root    string            `json:"root,omitempty"`
	Kinds   map[string]uint64 `json:"kinds,omitempty"`
	First   string            `json:"first,omitempty"`
	Last    string            `json:"last,omitempty"`
	Files   int               `json:"files,omitempty"`
	Index   *uint64           `json:"index,omitempty"` // of the proven entry, or of the first wrong one
	Entry   *entry.Entry      `json:"entry,omitempty"`
	File    string            `json:"file,omitempty"` // first wrong one
	Problem string            `json:"problem,omitempty"`
}

// run is main without the process.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("passerelle-verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	vkey := flags.String("vkey", "", "")
	proofFile := flags.String("proof", "", "")
	entryFile := flags.String("entry", "", "")
	asJSON := flags.Bool("json", false, "")
	var seen []string
	flags.Func("seen", "", func(s string) error { seen = append(seen, s); return nil })
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		io.WriteString(stdout, usage)
		return exitOK
	}
	ofProof := *proofFile != "" || *entryFile != ""
	switch {
	case err != nil:
	case *vkey == "":
		err = errors.New("--vkey is required")
	case ofProof && (*proofFile == "" || *entryFile == "" || flags.NArg() > 0 || len(seen) > 0):
		err = errors.New("--proof and --entry go together, without a log folder")
	case !ofProof && flags.NArg() != 1:
		err = errors.New("one log folder is required, after the flags")
	}
	if err != nil {
		fmt.Fprintf(stderr, "passerelle-verify: %v\n%s", err, usage)
		return exitUsage
	}
	v, err := loadKey(*vkey)
	if err != nil {
		fmt.Fprintf(stderr, "passerelle-verify: --vkey: %v\n", err)
		return exitUsage
	}

	var r *result
	if ofProof {
		r, err = checkProof(*proofFile, *entryFile, v)
	} else {
		r, err = checkFolder(flags.Arg(0), seen, v)
	}
	if err != nil {
		r = &result{Problem: err.Error()}
		if e, ok := errors.AsType[*entry.FolderError](err); ok {
			r.File = e.File
			if e.Index >= 0 {
				i := uint64(e.Index)
				r.Index = &i
			}
		}
		fmt.Fprintf(stderr, "passerelle-verify: %v\n", err)
	} else {
		r.OK = true
	}
	if *asJSON {
		if err := json.NewEncoder(stdout).Encode(r); err != nil {
			fmt.Fprintf(stderr, "passerelle-verify: %v\n", err)
			return exitFailed
		}
	} else if r.OK {
		r.print(stdout)
	}
	if !r.OK {
		return exitFailed
	}
	return exitOK
}

// loadKey parses a verifier key, or reads it from a file.
func loadKey(s string) (note.Verifier, error) {
	if !strings.Contains(s, "+") {
		b, err := readFile(s, 4<<10)
		if err != nil {
			return nil, err
		}
		s = strings.TrimSpace(string(b))
	}
	return note.NewVerifier(s)
}

// checkFolder verifies a log folder.
func checkFolder(dir string, seen []string, v note.Verifier) (*result, error) {
	var checkpoints []*entry.Checkpoint
	for _, name := range seen {
		b, err := readFile(name, entry.MaxCheckpointSize)
		if err != nil {
			return nil, err
		}
		c, err := entry.CheckCheckpoint(b, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		checkpoints = append(checkpoints, c)
	}
	report, err := entry.VerifyFolder(os.DirFS(dir), v, checkpoints...)
	if err != nil {
		return nil, err
	}
	r := &result{
		Origin: report.Origin, Size: report.Size, Root: base64.StdEncoding.EncodeToString(report.Root[:]),
		Kinds: report.Kinds, Files: report.Files,
	}
	if report.Size > 0 {
		r.First, r.Last = stamp(report.First), stamp(report.Last)
	}
	return r, nil
}

// checkProof verifies that an entry is in a log.
func checkProof(proofFile, entryFile string, v note.Verifier) (*result, error) {
	proof, err := readFile(proofFile, 64<<10)
	if err != nil {
		return nil, err
	}
	b, err := readFile(entryFile, entry.MaxSize)
	if err != nil {
		return nil, err
	}
	e, err := entry.ParseEntry(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", entryFile, err)
	}
	index, c, err := entry.CheckProof(b, proof, v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", proofFile, err)
	}
	return &result{
		Origin: c.Origin, Size: c.Size, Root: base64.StdEncoding.EncodeToString(c.Root[:]), Index: &index, Entry: e,
	}, nil
}

// print writes r for people.
func (r *result) print(w io.Writer) {
	line := func(name string, value any) { fmt.Fprintf(w, "%-20s %v\n", name, value) }
	line("log", r.Origin)
	line("entries", r.Size)
	line("root hash", r.Root)
	if r.First != "" {
		line("first", r.First)
		line("last", r.Last)
	}
	if r.Files > 0 {
		line("files compared", r.Files)
	}
	var kinds []string
	for k := range r.Kinds {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		line("  "+k, r.Kinds[k])
	}
	if r.Entry != nil {
		line("index", *r.Index)
		b, err := json.MarshalIndent(r.Entry, "", "  ")
		if err == nil {
			fmt.Fprintf(w, "%s\n", b)
		}
	}
	io.WriteString(w, "ok\n")
}

// stamp returns a time as people read it.
func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return b, err
}

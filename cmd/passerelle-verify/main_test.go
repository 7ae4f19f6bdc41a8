package main_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"golang.org/x/mod/sumdb/note"
)

const origin = "gw.qvarnia.example/log/shared"

// build builds the command.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "passerelle-verify")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// makeLog writes a log with n entries, and returns its folder, verifier key, an
// earlier checkpoint of two entries, and the proof and bytes of entry 1.
func makeLog(t *testing.T, n int, dir string) (vkey string, early, proof, e []byte) {
	t.Helper()
	ctx := context.Background()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	s, v, err := audit.NewSigner(origin, key)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err = note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(ctx, audit.Config{Dir: dir, Origin: origin, Signer: s, Verifier: v, Interval: audit.MinInterval})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		e := &entry.Entry{Kind: entry.KindRegister, Time: 1795348800000 + int64(i), Subject: [32]byte{1, byte(n), byte(i)}}
		if _, err := l.Append(ctx, e); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := l.Await(ctx, 1); err != nil {
				t.Fatal(err)
			}
			if early, err = l.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if proof, err = l.ProveInclusion(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for x, err := range l.Entries(ctx, 1, 2) {
		if err != nil {
			t.Fatal(err)
		}
		e = x.Bytes
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return vkey, early, proof, e
}

func TestCommand(t *testing.T) {
	t.Parallel()
	bin := build(t)
	tmp := t.TempDir()
	file := func(name string, b []byte) string {
		name = filepath.Join(tmp, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	log, bad, other := filepath.Join(tmp, "log"), filepath.Join(tmp, "bad"), filepath.Join(tmp, "other")
	vkey, early, proofBytes, entryBytes := makeLog(t, 5, log)
	_, otherEarly, _, otherEntry := makeLog(t, 4, other)
	if err := os.CopyFS(bad, os.DirFS(log)); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(bad, "tile/entries/000.p/5")
	b, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte{1, 5, 3}) // the subject of entry 3
	b[at+2] = 9
	if err := os.WriteFile(bundle, b, 0o600); err != nil {
		t.Fatal(err)
	}
	full, err := os.ReadFile(filepath.Join(log, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	seen, seenOther, newest := file("seen", early), file("seen-other", otherEarly), file("newest", full)
	proof, e, otherE := file("entry.tlog-proof", proofBytes), file("entry", entryBytes), file("other-entry", otherEntry)
	key := file("key", []byte(vkey+"\n"))

	tests := []struct {
		name string
		args []string
		code int
		want string // on stdout if ok, else on stderr
	}{
		{"folder", []string{"--vkey", vkey, log}, 0, "  register           5"},
		{"key in a file", []string{"--vkey", key, log}, 0, "ok"},
		{"continues what was seen", []string{"--vkey", vkey, "--seen", seen, "--seen", newest, log}, 0, "ok"},
		{"another history", []string{"--vkey", vkey, "--seen", seenOther, log}, 1, "two histories"},
		{"gone back", []string{"--vkey", vkey, "--seen", newest, other}, 1, "gone back"},
		{"seen is no checkpoint", []string{"--vkey", vkey, "--seen", key, log}, 1, "checkpoint does not verify"},
		{"changed entry", []string{"--vkey", vkey, bad}, 1, "entry 3"},
		{"no folder", []string{"--vkey", vkey, filepath.Join(tmp, "nowhere")}, 1, "checkpoint: cannot be read"},
		{"another key", []string{"--vkey", "x+b8ee1ef2+AYqI49wdVmAYd3Q5f4Q2aBSgMHr0yPlIYTdbGm4Ldq2S", log}, 2, "--vkey"},
		{"proof", []string{"--vkey", vkey, "--proof", proof, "--entry", e}, 0, `"kind": "register"`},
		{"proof of another entry", []string{"--vkey", vkey, "--proof", proof, "--entry", otherE}, 1, "proof does not verify"},
		{"proof that is none", []string{"--vkey", vkey, "--proof", e, "--entry", e}, 1, "malformed proof"},
		{"entry that is none", []string{"--vkey", vkey, "--proof", proof, "--entry", key}, 1, "malformed entry"},
		{"help", []string{"--help"}, 0, "usage:"},
		{"nothing", nil, 2, "--vkey is required"},
		{"no folder given", []string{"--vkey", vkey}, 2, "one log folder"},
		{"two folders", []string{"--vkey", vkey, log, bad}, 2, "one log folder"},
		{"proof without entry", []string{"--vkey", vkey, "--proof", proof}, 2, "go together"},
		{"proof and folder", []string{"--vkey", vkey, "--proof", proof, "--entry", e, log}, 2, "go together"},
		{"unknown flag", []string{"--key", vkey}, 2, "usage:"},
		{"no such key file", []string{"--vkey", "nowhere", log}, 2, "--vkey"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, asJSON := range []bool{false, true} {
				args := tt.args
				if asJSON {
					args = append([]string{"--json"}, args...)
				}
				var stdout, stderr bytes.Buffer
				cmd := exec.Command(bin, args...)
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				err := cmd.Run()
				if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
					t.Fatal(err)
				} else if ok && exit.ExitCode() != tt.code || !ok && tt.code != 0 {
					t.Fatalf("%v: %v, want exit code %d: %s", args, err, tt.code, stderr.String())
				}
				if asJSON && tt.code != 2 && tt.name != "help" {
					var r struct {
						OK      bool
						Size    int
						Problem string
						Index   *int
					}
					if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.OK != (tt.code == 0) || r.OK == (r.Problem != "") {
						t.Errorf("%v: %s, %v", args, stdout.String(), err)
					}
					if tt.name == "changed entry" && (r.Index == nil || *r.Index != 3) {
						t.Errorf("%v: %s", args, stdout.String())
					}
					continue
				}
				out := stdout.String()
				if tt.code != 0 {
					out = stderr.String()
				}
				if !strings.Contains(out, tt.want) {
					t.Errorf("%v: %q, want %q", args, out, tt.want)
				}
				if tt.code == 2 && stdout.Len() > 0 {
					t.Errorf("%v: stdout %q", args, stdout.String())
				}
			}
		})
	}
}

// TestDependencies states what the command is made of. An auditor reads this list
// before trusting it: do not add to it for convenience.
func TestDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{
		"github.com/passerelle/passerelle/cmd/passerelle-verify": true,
		"github.com/passerelle/passerelle/gateway/audit/entry":   true,
		"github.com/transparency-dev/merkle":                     true,
		"github.com/transparency-dev/merkle/compact":             true,
		"github.com/transparency-dev/merkle/proof":               true,
		"github.com/transparency-dev/merkle/rfc6962":             true,
		"golang.org/x/crypto/cryptobyte":                         true,
		"golang.org/x/crypto/cryptobyte/asn1":                    true,
		"golang.org/x/mod/sumdb/note":                            true,
	}
	for _, pkg := range strings.Fields(string(out)) {
		if !allowed[pkg] {
			t.Errorf("depends on %s", pkg)
		}
	}
	std, err := exec.Command("go", "list", "-deps", "-f", "{{if .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(std)) {
		switch pkg {
		case "net", "net/http", "os/exec", "plugin", "database/sql":
			t.Errorf("depends on %s", pkg)
		}
	}
}

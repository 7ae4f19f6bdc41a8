// Package e2e_test runs the programs as people run them: binaries built once, real
// gateways on the loopback, files and exit codes.
//
// README.md is a test: its blocks of shell run as they stand there, and print what
// stands below them. The scripts in testdata/script show what is refused and how,
// and TestUNList is the one test with a list of real people: it prints counts only.
//
// The binaries have no race detector, with which the tests of the rules that every
// gateway runs at its start would take most of the time; test/journey and the rooms
// have it. Everything a test starts is stopped by it, by its process id.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is the folder of the binaries, built by TestMain.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	// Unix sockets need short paths, so not below a long TMPDIR.
	dir, err := os.MkdirTemp("/tmp", "passerelle-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", bin+"/", "./cmd/passerelle", "./cmd/passerelle-verify")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, name := range []string{"PASSERELLE_GATEWAY", "PASSERELLE_GATEWAY_NAME", "PASSERELLE_IDENTITY"} {
		os.Unsetenv(name)
	}
	return m.Run()
}

// repository is the folder of the repository, seen from this one.
const repository = "../.."

// patience bounds what is waited for. It is not a measurement: machines may be busy.
const patience = 5 * time.Minute

// A world is some countries in one folder.
type world struct {
	dir string

	mu      sync.Mutex
	running map[string]*exec.Cmd
}

// newWorld returns a world in a short folder, and ends it with the test.
func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "passerelle-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir, running: make(map[string]*exec.Cmd)}
	t.Cleanup(func() {
		w.stopAll()
		os.RemoveAll(dir)
	})
	return w
}

// passerelle runs a command line in the folder of the world, and returns what it
// printed on stdout. Any exit code but 0 is an error with what it printed.
func (w *world) passerelle(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "passerelle", args...)
	c.Dir = w.dir
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return stdout.String(), fmt.Errorf("passerelle %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// as runs a command line with --json as an officer of a country, and decodes the
// last line that it printed into result, if that is not nil.
func (w *world) as(country, officer string, result any, args ...string) error {
	line := append([]string{"--json", "--gateway", country, "--identity", country + "/officers/" + officer}, args...)
	out, err := w.passerelle(line...)
	if err != nil || result == nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), result); err != nil {
		return fmt.Errorf("passerelle %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// country makes a country, starts its gateway, and enrols an officer for each role
// that is needed: clerk asks, counsel is a legal officer, auditor an auditor.
func (w *world) country(name, code string) error {
	if _, err := w.passerelle("audit", "keygen", "--out", name+"-auditor.key"); err != nil {
		return err
	}
	if _, err := w.passerelle("init", name, "--auditor", name+"-auditor.key.recipient", "--country", code,
		"--trust-domain", "border."+name+".example", "--agency", "Border Police of "+name, "--agency-code", strings.ToLower(code)+"-bp",
		"--listen", "127.0.0.1:0", "--admin", "a-1", "--admin", "a-2"); err != nil {
		return err
	}
	if err := w.serve(name); err != nil {
		return err
	}
	for _, o := range [][3]string{{"clerk", "airport-north", "asking"}, {"counsel", "legal-service", "legal"},
		{"auditor", "supervision", "auditor"}} {
		if err := w.enrol(name, o[0], o[1], o[2]); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) enrol(country, id, unit, role string) error {
	var proposed struct {
		Digest string `json:"change_digest"`
	}
	if err := w.as(country, "a-1", &proposed, "officer", "add", id, "--unit", unit, "--role", role,
		"--out", country+"/officers/"+id); err != nil {
		return err
	}
	return w.as(country, "a-2", nil, "officer", "add", "--consent", proposed.Digest)
}

// serve starts a gateway and waits until it is ready.
func (w *world) serve(country string) error {
	log, err := os.OpenFile(filepath.Join(w.dir, country+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command("passerelle", "serve", "--config", country+"/passerelle.yaml")
	c.Dir, c.Stdout, c.Stderr = w.dir, log, log
	if err := c.Start(); err != nil {
		return err
	}
	w.mu.Lock()
	w.running[country] = c
	w.mu.Unlock()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := w.as(country, "a-1", nil, "status")
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s is not ready: %w\n%s", country, err, out)
		}
	}
}

// stop ends a gateway as a service manager does, and fails if it does not end well.
func (w *world) stop(country string) error {
	w.mu.Lock()
	c := w.running[country]
	delete(w.running, country)
	w.mu.Unlock()
	if c == nil {
		return fmt.Errorf("%s does not run", country)
	}
	return end(c)
}

// end sends SIGTERM to a process of ours and waits for it, and kills it if that
// takes too long.
func end(c *exec.Cmd) error {
	if err := c.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.AfterFunc(patience, func() { c.Process.Kill() })
	defer late.Stop()
	return c.Wait()
}

func (w *world) stopAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, c := range w.running {
		end(c)
		delete(w.running, name)
	}
}

// federate exchanges the invites of two countries, with their fingerprints.
func (w *world) federate(x, y string) error {
	for _, pair := range [][2]string{{x, y}, {y, x}} {
		var invite struct {
			Fingerprint string `json:"fingerprint"`
		}
		file := pair[0] + ".invite"
		if err := w.as(pair[0], "a-1", &invite, "peer", "invite", "--out", file); err != nil {
			return err
		}
		if err := w.as(pair[1], "a-1", nil, "peer", "accept", file, "--fingerprint", invite.Fingerprint); err != nil {
			return err
		}
	}
	return nil
}

// agree puts a draft into force, which the asker's legal officer wrote.
func (w *world) agree(asker, holder, draft string) error {
	file := asker + "-" + holder + ".agreement"
	if err := os.WriteFile(filepath.Join(w.dir, "draft.yaml"), []byte(draft), 0o600); err != nil {
		return err
	}
	if err := w.as(asker, "counsel", nil, "agreement", "new", "--from", "draft.yaml", "--out", file); err != nil {
		return err
	}
	for _, verb := range []string{"sign", "accept"} {
		for _, c := range []string{asker, holder} {
			if err := w.as(c, "counsel", nil, "agreement", verb, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// draft returns the draft of an agreement by which the asker may ask about the
// holder's watch list.
func draft(holder string) string {
	return `peer: border.` + holder + `.example
id: watchlists
collections:
  - {name: watchlist, category: watchlist, holder: theirs}
purposes:
  - {code: ct-travel-screening, categories: [watchlist]}
legal_bases:
  - {ref: Border Act s. 12}
offence_classes: [terrorism]
max_items: 10000
budget: {per_day: 1000000, burst: 1000000}
`
}

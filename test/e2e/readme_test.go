package e2e_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A block is a fenced block of shell in README.md, with what stands in the block of
// the kind "output" after it: lines that it prints among others, in this order. "..."
// stands for any text within a line, and blanks count as one.
type block struct {
	line         int
	shell, lines string
}

// blocks returns the blocks of a Markdown file.
func blocks(t *testing.T, name string) []block {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var list []block
	kind, open := "", false
	for i, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "```"); ok {
			kind, open = rest, !open
			if open && kind == "sh" {
				list = append(list, block{line: i + 1})
			}
			if open && kind == "output" && (len(list) == 0 || list[len(list)-1].lines != "") {
				t.Fatalf("%s:%d: output without a block of shell before it", name, i+1)
			}
			continue
		}
		if !open || len(list) == 0 {
			continue
		}
		switch last := &list[len(list)-1]; kind {
		case "sh":
			last.shell += line + "\n"
		case "output":
			last.lines += line + "\n"
		}
	}
	return list
}

// marker is printed before each block, so that its output is found.
const marker = "@@@ block "

// TestReadme runs the shell of README.md as it stands there, in one shell and from
// the folder of the repository, and checks what it prints. Then it looks for what
// must not be where: nothing of the travellers, the officer, the unit or the case may
// be in any file of the holder, or in the logs of the asker.
func TestReadme(t *testing.T) {
	t.Parallel()
	list := blocks(t, repository+"/README.md")
	if len(list) < 5 {
		t.Fatalf("README.md has %d blocks of shell", len(list))
	}
	tmp := t.TempDir()
	where := filepath.Join(tmp, "where")
	var script strings.Builder
	fmt.Fprintf(&script, "trap 'pwd >%s' EXIT\n", where)
	for i, b := range list {
		fmt.Fprintf(&script, "echo; echo '%s%d'\n%s", marker, i, b.shell)
	}
	outFile, err := os.Create(filepath.Join(tmp, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer outFile.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", script.String())
	// A group of its own, which is ended with all that it has started.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	// A file, not a pipe: gateways that are left over would keep that open.
	c.Dir, c.Stdout, c.Stderr = repository, outFile, outFile
	runErr := c.Run()
	if c.Process != nil {
		syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
	}
	pwd, _ := os.ReadFile(where)
	dir := strings.TrimSpace(string(pwd))
	if strings.HasPrefix(dir, "/tmp/passerelle.") {
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	out, err := os.ReadFile(outFile.Name())
	if err != nil {
		t.Fatal(err)
	}
	if runErr != nil {
		t.Fatalf("README.md: %v\n%s\n%s", runErr, out, gatewayLogs(dir))
	}

	for i, b := range list {
		_, printed, _ := strings.Cut(string(out), fmt.Sprintf("\n%s%d\n", marker, i))
		printed, _, _ = strings.Cut(printed, "\n"+marker)
		if missing := missingLine(b.lines, printed); missing != "" {
			t.Errorf("README.md:%d: the block does not print, after the lines before it,\n  %s\nbut:\n%s", b.line, missing, printed)
		}
	}
	checkTraces(t, dir)
}

func gatewayLogs(dir string) string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		fmt.Fprintf(&all, "%s:\n%s", filepath.Base(f), b)
	}
	return all.String()
}

// missingLine returns the first of the wanted lines that is not in out after those
// before it, or "".
func missingLine(want, out string) string {
	rest := strings.Split(out, "\n")
	for line := range strings.Lines(want) {
		parts := strings.Split(strings.Join(strings.Fields(line), " "), "...")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(strings.TrimSpace(parts[i]))
		}
		re := regexp.MustCompile(strings.Join(parts, ".*"))
		at := slices.IndexFunc(rest, func(s string) bool { return re.MatchString(strings.Join(strings.Fields(s), " ")) })
		if at < 0 {
			return strings.TrimSpace(line)
		}
		rest = rest[at+1:]
	}
	return ""
}

func TestMissingLine(t *testing.T) {
	t.Parallel()
	const out = "FILE   FORMAT  READ\na.csv  csv     200\n\ndone (1.5 s)\n"
	for _, tt := range []struct{ want, missing string }{
		{"", ""},
		{"FILE ... READ\ncsv 200\n", ""},
		{"done (1.5 s)\n", ""},
		{"csv 200\nFILE\n", "FILE"},
		{"done (1x5 s)\n", "done (1x5 s)"},
		{"FILE ... 200\n", "FILE ... 200"},
	} {
		if got := missingLine(tt.want, out); got != tt.missing {
			t.Errorf("missingLine(%q) = %q, want %q", tt.want, got, tt.missing)
		}
	}
}

// checkTraces looks through the files that the README leaves. Utopia asked about
// everybody in the manifest; Valdera's list is its own.
func checkTraces(t *testing.T, dir string) {
	t.Helper()
	column := func(file string, i int) map[string]bool {
		f, err := os.Open(repository + "/examples/data/" + file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		values := make(map[string]bool)
		for _, r := range rows[1:] {
			if r[i] != "" {
				values[r[i]] = true
			}
		}
		return values
	}
	asked := column("manifest.csv", 7)
	for name := range column("manifest.csv", 1) {
		asked[name] = true
	}
	listed := column("valdera_watchlist.csv", 12)
	about := []string{"k-4711", "airport-north", "BP-2026-1187", "intelligence report"}
	if len(asked) < 500 || len(listed) < 50 {
		t.Fatalf("%d values were asked about and %d are listed: the columns have moved", len(asked), len(listed))
	}

	// A search that finds nothing must be able to find something.
	inList := traces(t, listed, dir+"/valdera/store")
	if len(inList) != len(listed) {
		t.Errorf("%d of %d documents are found in the holder's own store: the search does not work", len(inList), len(listed))
	}
	file, err := os.ReadFile(repository + "/examples/data/valdera_watchlist.csv")
	if err != nil {
		t.Fatal(err)
	}
	file = bytes.ToLower(file)
	abroad := make(map[string]bool)
	for _, s := range about {
		abroad[s] = true
	}
	for s := range asked {
		if !bytes.Contains(file, bytes.ToLower([]byte(s))) { // who is listed is known there
			abroad[s] = true
		}
	}
	if len(abroad) < 500 {
		t.Fatalf("only %d things are looked for", len(abroad))
	}
	if found := traces(t, abroad, dir+"/valdera", dir+"/valdera.log"); len(found) > 0 {
		t.Errorf("the holder's files have %d things that it must not know, the first in %s", len(found), found[0])
	}
	for s := range listed {
		asked[s] = true
	}
	for _, s := range about {
		asked[s] = true
	}
	if found := traces(t, asked, dir+"/utopia/log", dir+"/utopia.log"); len(found) > 0 {
		t.Errorf("the asker's logs have %d things that must not be there, the first in %s", len(found), found[0])
	}
}

// traces returns, for each of the texts that is in a file of the folders, the name of
// the first such file. It looks for the text as it is, in lower case and in upper case.
func traces(t *testing.T, texts map[string]bool, roots ...string) (found []string) {
	t.Helper()
	seen := make(map[string]bool)
	files := 0
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			b = bytes.ToLower(b)
			for s := range texts {
				if !seen[s] && bytes.Contains(b, bytes.ToLower([]byte(s))) {
					seen[s] = true
					found = append(found, strings.TrimPrefix(path, filepath.Dir(root)))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files == 0 {
		t.Errorf("there is no file in %q", roots)
	}
	return found
}

// TestSecurityNamesTests checks that every test that SECURITY.md names exists, in the
// folder that it names.
func TestSecurityNamesTests(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(repository + "/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string][]string) // folders by name
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(repository, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(src, -1) {
			have[string(m[1])] = append(have[string(m[1])], dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile("`([a-z0-9/-]+)`|\\b(Test[A-Z]\\w*)(?:/(\\w+))?")
	named := 0
	for i, line := range strings.Split(string(b), "\n") {
		if !strings.HasPrefix(line, "| ") || !strings.Contains(line, "Test") {
			continue
		}
		folder := ""
		cell := line[strings.LastIndex(strings.TrimSuffix(line, " |"), " | ")+1:]
		for _, m := range word.FindAllStringSubmatch(cell, -1) {
			if m[1] != "" {
				folder = m[1]
				continue
			}
			named++
			if folders := have[m[2]]; len(folders) == 0 || folder != "" && !slices.Contains(folders, folder) {
				t.Errorf("SECURITY.md:%d: there is no %s in %q", i+1, m[2], folder)
			}
			if m[3] != "" {
				if _, err := os.Stat(filepath.Join("testdata/script", m[3]+".txt")); err != nil {
					t.Errorf("SECURITY.md:%d: %v", i+1, err)
				}
			}
		}
	}
	if named < 50 {
		t.Errorf("found %d names of tests in SECURITY.md: its form has changed", named)
	}
}

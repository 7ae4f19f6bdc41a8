package e2e_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the scripts in testdata/script. Besides the commands of package
// testscript there are
//
//	country NAME CODE          makes a country with officers, and starts its gateway
//	federate NAME NAME         exchanges the invites of two countries
//	agree ASKER HOLDER         puts an agreement about the holder's watch list into force
//	stop NAME                  ends the gateway of a country
//	exits CODE PROGRAM ARG...  runs a program, which must end with this exit code
//	retry PROGRAM ARG...       runs a program until it ends with exit code 0
//	onlyjson                   checks that the last program printed lines of JSON only
//	flip PATTERN               changes one bit in the middle of the last file that matches
//
// and the variable DATA, the folder examples/data.
func TestScripts(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // only its folder is used: each script has its own world in it
	data, err := filepath.Abs(repository + "/examples/data")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		WorkdirRoot:         w.dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			own := &world{dir: env.WorkDir, running: make(map[string]*exec.Cmd)}
			env.Values[worldKey{}] = own
			env.Defer(own.stopAll)
			env.Setenv("PATH", os.Getenv("PATH"))
			env.Setenv("DATA", data)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"country":  command(2, func(w *world, a []string) error { return w.country(a[0], a[1]) }),
			"federate": command(2, func(w *world, a []string) error { return w.federate(a[0], a[1]) }),
			"agree":    command(2, func(w *world, a []string) error { return w.agree(a[0], a[1], draft(a[1])) }),
			"stop":     command(1, func(w *world, a []string) error { return w.stop(a[0]) }),
			"exits":    exits,
			"retry":    retry,
			"onlyjson": onlyJSON,
			"flip":     flip,
		},
	})
}

type worldKey struct{}

// command returns a command of scripts with n arguments that must succeed.
func command(n int, f func(w *world, args []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != n {
			ts.Fatalf("want %d arguments and no !", n)
		}
		ts.Check(f(ts.Value(worldKey{}).(*world), args))
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: retry PROGRAM ARG...")
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%v", err)
		}
	}
}

func onlyJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: onlyjson")
	}
	out := ts.ReadFile("stdout")
	if out == "" {
		ts.Fatalf("nothing was printed")
	}
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) || line[0] != '{' {
			ts.Fatalf("not a JSON object: %s", line)
		}
	}
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flip PATTERN")
	}
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("no file matches %s", args[0])
	}
	name := names[len(names)-1]
	b, err := os.ReadFile(name)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(name, b, 0o600))
}

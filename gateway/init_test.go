package gateway_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/store"
)

// shortDir returns an empty folder whose path is short enough for a Unix socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func initOptions(t testing.TB, dir string) gateway.InitOptions {
	c := validConfig(t)
	c.Founding = ""
	return gateway.InitOptions{Dir: dir, Config: c,
		Admins: [2]gateway.Admin{{ID: "admin-1", Unit: "headquarters"}, {ID: "admin-2", Unit: "headquarters"}}}
}

// made makes a gateway in a new folder and returns its configuration.
func made(t testing.TB) *gateway.Config {
	t.Helper()
	r, err := gateway.Init(t.Context(), initOptions(t, filepath.Join(shortDir(t), "g")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := gateway.LoadConfig(r.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tree returns the contents of all files below dir by path.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestInitRefuses checks that nothing at all is made where a gateway must not be.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(*gateway.InitOptions)
		want  string
	}{
		{"no auditor", func(o *gateway.InitOptions) { o.Config.Auditor = "" }, "gateway: config: auditor: "},
		{"secret in place of the recipient", func(o *gateway.InitOptions) { o.Config.Auditor = "passerelle-identity1abc" },
			"gateway: config: auditor: "},
		{"no country", func(o *gateway.InitOptions) { o.Config.Country = "" }, "gateway: config: country: "},
	} {
		dir := filepath.Join(t.TempDir(), "g")
		o := initOptions(t, dir)
		tt.spoil(&o)
		r, err := gateway.Init(t.Context(), o)
		if err == nil || r != nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: Init = %v, %v", tt.name, r, err)
		}
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the folder was made: %v", tt.name, err)
		}
	}
}

// TestInit checks what Init makes: a gateway that can be opened, whose files only
// its own user can read, and which a second Init leaves alone.
func TestInit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), "g")
	o := initOptions(t, dir)
	r, err := gateway.Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.ConfigFile != filepath.Join(dir, gateway.ConfigFile) || r.Gateway != "spiffe://border.utopia.example/gateway/main" ||
		len(r.Auditor) != 16 {
		t.Errorf("report %+v", r)
	}
	for _, id := range r.Identities {
		if st, err := os.Stat(id); err != nil || !st.IsDir() {
			t.Errorf("identity folder: %v", err)
		}
	}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others must not read it", path, st.Mode())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	before := tree(t, dir)
	if again, err := gateway.Init(t.Context(), o); err == nil || again != nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("second Init = %v, %v", again, err)
	}
	after := tree(t, dir)
	if len(before) != len(after) {
		t.Errorf("a second Init has made files: %d, then %d", len(before), len(after))
	}
	for path, b := range before {
		if after[path] != b {
			t.Errorf("a second Init has changed %s", path)
		}
	}
}

// TestInitHalfMade checks that a folder that lost its configuration is not taken
// for an empty one: its keys are not replaced.
func TestInitHalfMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), "g")
	o := initOptions(t, dir)
	r, err := gateway.Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.ConfigFile); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	if again, err := gateway.Init(t.Context(), o); err == nil || again != nil {
		t.Errorf("Init over keys = %v, %v", again, err)
	}
	for path, b := range tree(t, dir) {
		if old, ok := before[path]; ok && old != b {
			t.Errorf("Init has changed %s", path)
		}
	}
}

// TestNewTwice checks that one folder has one gateway, and that the first is not
// disturbed.
func TestNewTwice(t *testing.T) {
	t.Parallel()
	c := made(t)
	first, err := gateway.New(t.Context(), c, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close(t.Context())
	second, err := gateway.New(t.Context(), c, gateway.Options{})
	if !errors.Is(err, store.ErrLocked) || second != nil {
		t.Errorf("second New = %v, %v; want %v", second, err, store.ErrLocked)
	}
	if _, err := net.Dial("unix", c.Socket); err != nil {
		t.Errorf("the socket of the first gateway is gone: %v", err)
	}
}

// TestNewFails checks that a gateway that cannot be opened leaves nothing open: the
// next attempt succeeds.
func TestNewFails(t *testing.T) {
	t.Parallel()
	c := made(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrong := *c
	wrong.Listen = l.Addr().String()
	if g, err := gateway.New(t.Context(), &wrong, gateway.Options{}); err == nil || g != nil ||
		!strings.HasPrefix(err.Error(), "gateway: config: listen: ") {
		t.Errorf("New on a taken port = %v, %v", g, err)
	}
	invalid := *c
	invalid.Founding = strings.Repeat("00", 32)
	if g, err := gateway.New(t.Context(), &invalid, gateway.Options{}); err == nil || g != nil {
		t.Errorf("New with another founding = %v, %v", g, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(t.Context(), &wrong, gateway.Options{})
	if err != nil {
		t.Fatalf("New after that: %v", err)
	}
	if err := errors.Join(g.Close(t.Context()), g.Close(t.Context())); err != nil {
		t.Errorf("Close, twice: %v", err)
	}
}

// TestServeEnds checks that a gateway ends with its context, lets go of everything,
// and can be started again; also over the socket that a crash left behind.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	c := made(t)
	for range 2 {
		if err := os.WriteFile(c.Socket, nil, 0o600); err != nil { // left behind
			t.Fatal(err)
		}
		g, err := gateway.New(t.Context(), c, gateway.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(c.Socket); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("socket: %v, %v", st, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Serve(ctx) }()
		conn, err := net.Dial("tcp", g.Endpoint())
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve = %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("Serve does not end")
		}
		conn.Close()
		for network, addr := range map[string]string{"tcp": g.Endpoint(), "unix": c.Socket} {
			if conn, err := net.Dial(network, addr); err == nil {
				conn.Close()
				t.Errorf("%s is still open", addr)
			}
		}
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("Close after Serve = %v", err)
		}
	}
}

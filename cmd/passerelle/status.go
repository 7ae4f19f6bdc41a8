package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/officer"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say how the gateway is", Args: noArguments,
		Long: "Says how the gateway is. The exit code is 1 if it does not answer queries now.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().GetStatus(ctx, &passerellev1.GetStatusRequest{})
				if err != nil {
					return err
				}
				if a.json {
					err = a.printJSON(r)
				} else {
					err = a.printStatus(r)
				}
				if err == nil && !r.GetReady() {
					err = exited(exitFailed)
				}
				return err
			})
		},
	}
}

func (a *app) printStatus(r *passerellev1.GetStatusResponse) error {
	ready := "yes"
	if !r.GetReady() {
		ready = "NO"
	}
	a.outf("Gateway      %s, version %s, up since %s\n", printable(r.GetSpiffeId()), printable(r.GetVersion()), shown(r.GetStarted()))
	a.outf("Ready        %s\n", ready)
	a.outf("Certificate  until %s\n", shown(r.GetSvidNotAfter()))
	a.outf("Logs         %d shared and %d internal entries; the oldest without a checkpoint is %s old\n", r.GetSharedLogSize(),
		r.GetInternalLogSize(), rounded(time.Duration(r.GetOldestUnpublishedMs())*time.Millisecond))
	a.outf("Rules        revision %s\n", printable(r.GetBundleRevision()))
	for _, w := range r.GetWarnings() {
		a.outf("Attention    %s\n", printable(w))
	}
	a.outf("\n")
	t := newTable(a.stdout, "", "PART", "HEALTH", "WHAT")
	for _, c := range r.GetComponents() {
		t.row(c.GetName(), code(c.GetHealth().String(), "HEALTH_"), c.GetSentence())
	}
	if err := t.flush(); err != nil || len(r.GetCollections()) == 0 {
		return err
	}
	a.outf("\n")
	t = newTable(a.stdout, "", "COLLECTION", "RECORDS", "INGESTED", "PUBLISHED FOR", "VERSION", "EPOCH", "TAGS", "PUBLISHED")
	for _, c := range r.GetCollections() {
		if len(c.GetLists()) == 0 {
			t.row(c.GetCollection(), c.GetRecords(), shown(c.GetIngested()), "", "", "", "", "")
		}
		for _, l := range c.GetLists() {
			t.row(c.GetCollection(), c.GetRecords(), shown(c.GetIngested()), l.GetAsker(), l.GetListVersion(), l.GetEpoch(),
				l.GetTags(), shown(l.GetPublished()))
		}
	}
	return t.flush()
}

// A finding is one thing that doctor looked at.
type finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Look for what keeps the gateway or this command line from working", Args: noArguments,
		Long: "Looks at the configuration, the folders, the officer's identity and the running gateway, and says what is wrong\n" +
			"and what to do. It changes nothing.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := a.examine(cmd)
			bad := 0
			for _, f := range list {
				if !f.OK {
					bad++
				}
			}
			if a.json {
				if err := a.printJSON(map[string]any{"ok": bad == 0, "findings": list}); err != nil {
					return err
				}
			} else {
				t := newTable(a.stdout, "", "", "WHAT", "DETAIL")
				for _, f := range list {
					mark := "ok"
					if !f.OK {
						mark = "BAD"
					}
					t.row(mark, f.What, f.Detail)
				}
				if err := t.flush(); err != nil {
					return err
				}
			}
			if bad > 0 {
				return exited(exitFailed)
			}
			return nil
		},
	}
}

// examine looks at everything, in the order in which faults follow from each
// other.
func (a *app) examine(cmd *cobra.Command) []finding {
	var list []finding
	found := func(what string, ok bool, format string, args ...any) {
		list = append(list, finding{what, ok, fmt.Sprintf(format, args...)})
	}
	if info, err := os.Stat(a.gateway); err == nil {
		path := a.gateway
		if info.IsDir() {
			path = filepath.Join(path, gateway.ConfigFile)
		}
		c, err := gateway.LoadConfig(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // said below
		case err != nil:
			found("configuration", false, "%s", oneLine(err))
		default:
			found("configuration", true, "%s", path)
			a.examineFolders(c, found)
		}
	}
	id := a.examineIdentity(found)
	to, err := a.address()
	if err != nil {
		found("gateway", false, "%s", explain(err).sentence())
		return list
	}
	conn, err := new(net.Dialer).DialContext(cmd.Context(), to.network, to.addr)
	if err != nil {
		found("gateway", false, "%s", explain((&dialled{to: to}).cause(err)).sentence())
		return list
	}
	conn.Close()
	found("gateway", true, "something listens at %s", to.addr)
	if id == nil {
		return list
	}
	err = a.call(cmd, func(ctx context.Context, c *client) error {
		r, err := c.admin().GetStatus(ctx, &passerellev1.GetStatusRequest{})
		if err != nil {
			return err
		}
		found("ready", r.GetReady(), "version %s", r.GetVersion())
		for _, p := range r.GetComponents() {
			found(p.GetName(), p.GetHealth() != passerellev1.Health_HEALTH_FAILED, "%s", p.GetSentence())
		}
		return nil
	})
	if err != nil {
		found("status", false, "%s", explain(err).sentence())
	}
	return list
}

// sentence returns f in one line.
func (f failure) sentence() string {
	if f.Advice == "" {
		return f.Message
	}
	return f.Message + ": " + f.Advice
}

// minFree is the free space below which a log will soon not be writable, in
// bytes.
const minFree = 1 << 30

func (a *app) examineFolders(c *gateway.Config, found func(string, bool, string, ...any)) {
	for _, d := range []struct{ what, path string }{{"data folder", c.Data}, {"wrapping keys", c.Wrapping}} {
		info, err := os.Stat(d.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found(d.what, false, "%s is not there: run `passerelle init`, or see `passerelle help runbook`", d.path)
		case err != nil:
			found(d.what, false, "%s", oneLine(err))
		case !info.IsDir():
			found(d.what, false, "%s is not a folder", d.path)
		case info.Mode().Perm()&0o077 != 0:
			found(d.what, false, "%s may be read by others (mode %v): chmod 700 it", d.path, info.Mode().Perm())
		default:
			found(d.what, true, "%s", d.path)
		}
	}
	var s unix.Statfs_t
	if err := unix.Statfs(c.Data, &s); err == nil {
		free := s.Bavail * uint64(s.Bsize)
		found("free space", free >= minFree, "%s", bytesOf(free))
	}
	if c.Policy != "" {
		_, err := os.Stat(c.Policy)
		found("policy folder", err == nil, "%s", c.Policy)
	}
}

// examineIdentity looks at the officer's folder, and returns nil if it cannot be
// used.
func (a *app) examineIdentity(found func(string, bool, string, ...any)) *officer.Identity {
	id, err := a.openIdentity()
	if err != nil {
		found("identity", false, "%s", oneLine(err))
		return nil
	}
	found("identity", true, "%s", id.SPIFFEID())
	if id.Bundle() == nil {
		found("bundle", false, "bundle.pem is not in the identity folder: copy it from that of an administrator")
		return nil
	}
	var cert *tls.Certificate
	if cert, err = id.Certificate(a.now()); err != nil {
		found("certificate", true, "none that is valid; the next command gets one")
	} else {
		found("certificate", true, "until %s", cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return id
}

func (a *app) configCommand() *cobra.Command {
	return group("config", "The configuration file of a gateway", &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, and report everything that is wrong",
		Long:  "Checks a configuration file. `passerelle help config` describes every field.",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := gateway.LoadConfig(args[0])
			all, invalid := err.(interface{ Unwrap() []error }) // as Validate returns them
			if err != nil && !invalid {
				return err
			}
			faults := []string{}
			if invalid {
				for _, e := range all.Unwrap() {
					faults = append(faults, oneLine(e))
				}
			}
			if a.json {
				if err := a.printJSON(map[string]any{"ok": err == nil, "faults": faults}); err != nil {
					return err
				}
			} else if err == nil {
				a.outf("%s is right. The gateway is %s, its data is in %s.\n", args[0], c.ID(), c.Data)
			}
			for _, f := range faults {
				fmt.Fprintln(a.stderr, f)
			}
			if err != nil {
				return exited(exitFailed)
			}
			return nil
		},
	})
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(map[string]string{"version": gateway.Version, "go": runtime.Version(),
					"platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			a.outf("passerelle %s (%s, %s/%s)\n", gateway.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

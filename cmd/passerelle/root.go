package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// An app is one invocation of the command line. It holds what commands share;
// there are no package variables, so that several can run in one process.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time

	json     bool          // --json
	gateway  string        // --gateway
	name     string        // --gateway-name
	identity string        // --identity
	timeout  time.Duration // --timeout
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	asJSON, _ := root.PersistentFlags().GetBool("json")
	return report(cmd, err, asJSON, stdout, stderr)
}

// newRoot returns the whole command line.
func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now}
	root := &cobra.Command{
		Use:   "passerelle",
		Short: "Private lookups between countries",
		Long: "Passerelle lets one country ask another about a traveller or a document, and learn nothing but the answer,\n" +
			"while the other learns nothing about who was asked for.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              noArguments,
		RunE:              showHelp,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print JSON on stdout and nothing else")
	f.StringVar(&a.gateway, "gateway", fromEnv("PASSERELLE_GATEWAY", "."),
		"our gateway: its folder or configuration file, unix:PATH, or host:port [PASSERELLE_GATEWAY]")
	f.StringVar(&a.name, "gateway-name", fromEnv("PASSERELLE_GATEWAY_NAME", ""),
		"name in its SPIFFE ID, if --gateway is not a folder (default main) [PASSERELLE_GATEWAY_NAME]")
	f.StringVar(&a.identity, "identity", fromEnv("PASSERELLE_IDENTITY", ""), "identity folder of the officer [PASSERELLE_IDENTITY]")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this time (default 2m0s, and none for ingest, screen, sync and export)")

	root.AddGroup(
		&cobra.Group{ID: "ask", Title: "Officers:"},
		&cobra.Group{ID: "run", Title: "Operators and administrators:"},
		&cobra.Group{ID: "law", Title: "Legal officers and auditors:"},
		&cobra.Group{ID: "more", Title: "More:"},
	)
	root.SetHelpCommand(a.helpCommand())
	root.SetHelpCommandGroupID("more")
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("ask", a.lookupCommand(), a.screenCommand(), a.candidateCommand())
	add("run", a.initCommand(), a.serveCommand(), a.ingestCommand(), a.peerCommand(), a.officerCommand(), a.syncCommand(),
		a.keysCommand(), a.statusCommand(), a.doctorCommand(), a.configCommand())
	add("law", a.agreementCommand(), a.policyCommand(), a.auditCommand())
	add("more", a.demoCommand(), a.benchCommand(), a.versionCommand())
	return root
}

// fromEnv returns an environment variable, or def if it is not set.
func fromEnv(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

// group returns a command that only has others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noArguments, RunE: showHelp}
	c.AddCommand(commands...)
	return c
}

// showHelp is what a command does that only has others: it says which, and
// fails, because nothing was done.
func showHelp(cmd *cobra.Command, _ []string) error {
	cmd.SetOut(cmd.ErrOrStderr())
	if err := cmd.Help(); err != nil {
		return err
	}
	return exited(exitUsage)
}

// noArguments refuses arguments, which in a group of commands are unknown ones.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasAvailableSubCommands() {
		return usageError{fmt.Errorf("%q is one argument too many", args[0])}
	}
	cmd.SuggestionsMinimumDistance = 2
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		return usageError{fmt.Errorf("there is no command %q; did you mean %s?", args[0], strings.Join(s, " or "))}
	}
	return usageError{fmt.Errorf("there is no command %q", args[0])}
}

// arguments makes the error of a check of arguments one of usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// need returns an error of usage for the flags that were not given.
func need(cmd *cobra.Command, flags ...string) error {
	var errs []error
	for _, name := range flags {
		if !cmd.Flags().Changed(name) {
			errs = append(errs, fmt.Errorf("--%s is required", name))
		}
	}
	if len(errs) > 0 {
		return usageError{errors.Join(errs...)}
	}
	return nil
}

// Command passerelle runs a gateway, and is the client with which officers,
// operators, legal officers and auditors use one.
//
//	passerelle serve --config FILE     a gateway
//	passerelle init DIR ...            a new gateway: configuration, keys, two administrators
//	passerelle help TOPIC              the manuals; `passerelle help` lists them and all commands
//
// Only init, serve, policy check and test, audit keygen and verify, config check
// and doctor touch files of a gateway. Everything else is a client: it connects
// to the gateway that --gateway names (PASSERELLE_GATEWAY) as the officer whose
// identity folder --identity names (PASSERELLE_IDENTITY), over the gateway's Unix
// socket or TCP, with mutual TLS 1.3. Identity never comes from a flag or a text
// field: it is the officer's own key, which also signs every ask.
//
// # Output
//
// Results are on stdout: tables for people, or with --json one JSON object, or
// JSON lines for commands with several results. Field names are those of
// proto/passerelle/v1; digests are lower-case hexadecimal, times RFC 3339 in UTC,
// codes of enumerations lower case. With --json a failed command prints one
// object with the only field "error". Everything else is on stderr: errors, what
// to do next, and progress bars, which are only drawn on a terminal.
//
// # Exit codes
//
//	0  done
//	1  failed
//	2  usage: the command line is wrong
//	3  denied: a rule, a budget, a role or an agreement does not permit it
//	4  another country's gateway cannot be reached
//
// A lookup or screening exits with 0 only if everybody who was asked answered.
//
// # Signals
//
// SIGINT and SIGTERM end serve gracefully: queries under way are finished. They
// cancel any other command.
//
// Out of scope: every rule. The gateway decides, the command line shows.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/passerelle/passerelle/gateway/peer"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) peerCommand() *cobra.Command {
	return group("peer", "Federate with neighbours",
		a.peerInviteCommand(), a.peerAcceptCommand(), a.peerListCommand(), a.peerEndCommand())
}

func (a *app) peerInviteCommand() *cobra.Command {
	var out string
	var request passerellev1.CreateInviteRequest
	c := &cobra.Command{
		Use:   "invite",
		Short: "Make our invite file for a neighbour",
		Long: "Makes our invite file. Send it to the neighbour by any way, and read its fingerprint out on the telephone.\n" +
			"It holds no secret. Without --out the file is printed.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().CreateInvite(ctx, &request)
				if err != nil {
					return err
				}
				if out != "" {
					if err := writeFile(out, r.GetInvite(), 0o644); err != nil {
						return err
					}
				}
				if a.json {
					return a.printJSON(r)
				}
				if out == "" {
					a.outf("%s", r.GetInvite())
				}
				w := a.stdout
				if out == "" {
					w = a.stderr
				}
				fmt.Fprintf(w, "Fingerprint: %s\nValid until: %s\n", printable(r.GetFingerprint()), shown(r.GetNotAfter()))
				a.notef("Send the file to the neighbour, and read the fingerprint out on the telephone.\n")
				return nil
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write")
	c.Flags().StringVar(&request.TrustDomain, "for", "", "trust domain of the neighbour (default: anybody who gets the file)")
	return c
}

func (a *app) peerAcceptCommand() *cobra.Command {
	var fingerprint string
	c := &cobra.Command{
		Use:   "accept FILE",
		Short: "Add the neighbour who made an invite file",
		Long: "Adds the neighbour who made an invite file. The fingerprint must be what the neighbour read out on the telephone:\n" +
			"one that was sent along with the file proves nothing.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			invite, err := peer.ParseInvite(b)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if fingerprint == "" {
				if fingerprint, err = a.askFingerprint(invite, args[0]); err != nil {
					return err
				}
			}
			if !strings.EqualFold(strings.TrimSpace(fingerprint), invite.Fingerprint()) {
				return fmt.Errorf("the fingerprint is not that of %s: the file was changed on its way, or is of somebody else; "+
					"do not accept it, and ask the neighbour for the file again", args[0])
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().AcceptInvite(ctx, &passerellev1.AcceptInviteRequest{Invite: b,
					ExpectedFingerprint: invite.Fingerprint()})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				p := r.GetPeer()
				a.outf("Added %s (%s) at %s.\n", printable(p.GetTrustDomain()), printable(p.GetName()), printable(p.GetEndpoint()))
				a.notef("The neighbour must accept our invite too; then agree on what may be asked: passerelle agreement new --peer %s\n",
					printable(p.GetTrustDomain()))
				return nil
			})
		},
	}
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "fingerprint that the neighbour read out")
	return c
}

// askFingerprint asks for the fingerprint on a terminal. It does not show the
// one of the file: it would be typed off, and not be compared.
func (a *app) askFingerprint(invite *peer.Invite, name string) (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usagef("--fingerprint is required: what the neighbour read out on the telephone")
	}
	fmt.Fprintf(a.stderr, "%s says that it is of %s, %s.\nType the fingerprint that they read out on the telephone: ",
		name, printable(invite.TrustDomain), printable(invite.Agency))
	line, err := bufio.NewReader(io.LimitReader(f, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return line, nil
}

func (a *app) peerListCommand() *cobra.Command {
	var request passerellev1.ListPeersRequest
	c := &cobra.Command{
		Use: "list", Short: "List the neighbours and how each federation is", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().ListPeers(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				return a.tablePeers(r.GetPeers())
			})
		},
	}
	c.Flags().BoolVar(&request.IncludeEnded, "all", false, "those whose federation was ended too")
	return c
}

func (a *app) tablePeers(peers []*passerellev1.Peer) error {
	if len(peers) == 0 {
		a.outf("No neighbours. Exchange invites: passerelle peer invite, passerelle peer accept.\n")
		return nil
	}
	t := newTable(a.stdout, "", "NEIGHBOUR", "NAME", "ENDPOINT", "STATE", "PROTOCOL", "NORMAL FORMS", "SKEW", "LAST SEEN")
	lists := 0
	for _, p := range peers {
		t.row(p.GetTrustDomain(), p.GetName(), p.GetEndpoint(), code(p.GetState().String(), "PEER_STATE_"), orDash(p.GetProtocol()),
			orDash(p.GetNormalisation()), fmt.Sprintf("%d ms", p.GetSkewMs()), shown(p.GetLastSeen()))
		lists += len(p.GetLists())
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, p := range peers {
		if p.GetSentence() != "" {
			a.outf("\n%s: %s", printable(p.GetTrustDomain()), printable(p.GetSentence()))
		}
	}
	if lists == 0 {
		a.outf("\nNo tag sets of neighbours here yet: passerelle sync.\n")
		return nil
	}
	a.outf("\n")
	t = newTable(a.stdout, "", "HOLDER", "COLLECTION", "VERSION", "PUBLISHED", "TAGS", "ON DISK", "NOT AFTER")
	for _, p := range peers {
		for _, l := range p.GetLists() {
			t.row(p.GetTrustDomain(), l.GetCollection(), l.GetListVersion(), shown(l.GetPublished()), l.GetTags(),
				bytesOf(l.GetBytes()), shown(l.GetNotAfter()))
		}
	}
	return t.flush()
}

// orDash returns a version, or "" if there is none.
func orDash(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (a *app) peerEndCommand() *cobra.Command {
	var request passerellev1.EndPeerRequest
	c := &cobra.Command{
		Use:   "end TRUST-DOMAIN",
		Short: "End the federation with a neighbour",
		Long: "Ends the federation with a neighbour, within 5 seconds and on open connections too. Its tag sets are deleted here.\n" +
			"To federate again, both sides exchange new invites.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "reason"); err != nil {
				return err
			}
			request.TrustDomain = args[0]
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().EndPeer(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				a.outf("Ended the federation with %s at %s.\n", printable(args[0]), shown(r.GetEnded()))
				a.outf("Tag sets deleted:     %s\n", listed(r.GetPurgedCollections()))
				a.outf("Agreements suspended: %s\n", listed(r.GetSuspendedAgreements()))
				return nil
			})
		},
	}
	c.Flags().StringVar(&request.Reason, "reason", "", "why, for the log (required)")
	return c
}

// listed returns names for people.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return printable(strings.Join(names, ", "))
}

package main

import (
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/gateway/agreement"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) agreementCommand() *cobra.Command {
	return group("agreement", "Agree with a neighbour on what may be asked",
		a.agreementNewCommand(), a.agreementSignCommand(), a.agreementAcceptCommand(), a.agreementListCommand(),
		a.agreementShowCommand(), a.agreementSuspendCommand(), a.agreementResumeCommand())
}

func (a *app) agreementNewCommand() *cobra.Command {
	var from, out string
	var flags draftFlags
	c := &cobra.Command{
		Use:   "new",
		Short: "Write the file of a new agreement",
		Long: "Writes the canonical file of a new agreement, unsigned, from the flags or from a draft in YAML (--from).\n" +
			"The gateway checks it and adds what it knows: both parties, and the key commitments of the collections.\n\n" +
			"Then a legal officer of each side signs the same file with `passerelle agreement sign`, and both sides accept it.\n" +
			"`passerelle help legal` has the whole way and the form of a draft.",
		Example: "  passerelle agreement new --peer border.arcadia.example --out agreement.txt \\\n" +
			"    --collection watchlist:watchlist:doc,doc+dob,name+dob,name+year \\\n" +
			"    --purpose ct-travel-screening:watchlist --legal-basis 'Border Act s. 12' --days 365",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			draft, err := a.readDraft(cmd, from, &flags)
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client) error { return a.draftAgreement(ctx, c, draft, out) })
		},
	}
	c.Flags().StringVar(&from, "from", "", "draft in YAML; - is the standard input")
	c.Flags().StringVar(&out, "out", "", "file to write (default: print it)")
	flags.add(c)
	return c
}

// readDraft returns the draft from --from or from the other flags.
func (a *app) readDraft(cmd *cobra.Command, from string, flags *draftFlags) ([]byte, error) {
	if from != "" {
		if name := flags.changed(cmd); name != "" {
			return nil, usagef("--from and --%s do not go together: write it into the draft", name)
		}
		return a.readFile(from)
	}
	if err := need(cmd, "peer", "collection", "purpose", "legal-basis"); err != nil {
		return nil, err
	}
	d, err := flags.draft()
	if err != nil {
		return nil, err
	}
	return d.yaml()
}

func (a *app) draftAgreement(ctx context.Context, c *client, draft []byte, out string) error {
	r, err := c.admin().DraftAgreement(ctx, &passerellev1.DraftAgreementRequest{Draft: draft})
	if err != nil {
		return err
	}
	if r.GetAgreement() == nil || len(r.GetFaults()) > 0 {
		if a.json {
			if err := a.printJSON(r); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.stderr, "This cannot be an agreement:\n")
		for _, f := range r.GetFaults() {
			fmt.Fprintf(a.stderr, "  %s\n", printable(f))
		}
		return exited(exitFailed)
	}
	file := r.GetAgreement().GetFile()
	if out != "" {
		if err := writeFile(out, file, 0o644); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(r)
	}
	for _, w := range r.GetWarnings() {
		a.notef("Look at this twice: %s\n", printable(w))
	}
	if out == "" {
		a.outf("%s", file)
		return nil
	}
	a.outf("Wrote %s, digest %s.\n", out, hex.EncodeToString(r.GetAgreement().GetDigest()))
	a.notef("A legal officer of each side signs the same file: passerelle agreement sign %s\n", out)
	return nil
}

func (a *app) agreementSignCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign an agreement as a legal officer of this country",
		Long: "Signs an agreement file with the key in the identity folder. The gateway attests that the key is that of a legal\n" +
			"officer. The signed file replaces FILE, or is written to --out. Send it to the other side.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			parsed, err := agreement.Parse(b)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if out == "" {
				out = args[0]
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				signature, err := signAgreement(c, parsed)
				if err != nil {
					return err
				}
				r, err := c.admin().SignAgreement(ctx, &passerellev1.SignAgreementRequest{File: b,
					Signature: &passerellev1.OfficerSignature{Signature: signature}})
				if err != nil {
					return err
				}
				// The gateway must give back what was signed, and nothing else.
				if signed, err := agreement.Parse(r.GetAgreement().GetFile()); err != nil || signed.Digest() != parsed.Digest() {
					return errors.New("the gateway answered with another agreement than the one that was signed; nothing was written")
				}
				return a.signedAgreement(r, out)
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write (default: FILE itself)")
	return c
}

// signAgreement signs with the officer's own key, which is that of the
// certificate.
func signAgreement(c *client, g *agreement.Agreement) ([]byte, error) {
	cert, err := c.id.Certificate(c.now())
	if err != nil {
		return nil, err
	}
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the officer's key cannot sign")
	}
	return key.Sign(nil, agreement.SigningBytes(g.Digest(), c.id.SPIFFEID()), crypto.Hash(0))
}

func (a *app) signedAgreement(r *passerellev1.SignAgreementResponse, out string) error {
	g := r.GetAgreement()
	if out != "-" {
		if err := writeFile(out, g.GetFile(), 0o644); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(r)
	}
	if out == "-" {
		a.outf("%s", g.GetFile())
		return nil
	}
	a.outf("Signed %s version %d, digest %s.\n", printable(g.GetAgreement()), g.GetVersion(), hex.EncodeToString(g.GetDigest()))
	missing := missingSignatures(g)
	if len(missing) == 0 {
		a.notef("Both sides have signed. Each side now runs: passerelle agreement accept %s\n", out)
	} else {
		a.notef("Send %s to %s, whose legal officer signs it too.\n", out, listed(missing))
	}
	return nil
}

// missingSignatures returns the parties that have not signed.
func missingSignatures(g *passerellev1.Agreement) []string {
	var missing []string
	for _, p := range g.GetParties() {
		signed := false
		for _, s := range g.GetSignatures() {
			signed = signed || s.GetParty() == p
		}
		if !signed {
			missing = append(missing, p)
		}
	}
	return missing
}

func (a *app) agreementAcceptCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "accept FILE",
		Short: "Put an agreement that both sides have signed into force",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			if _, err := agreement.Parse(b); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().AcceptAgreement(ctx, &passerellev1.AcceptAgreementRequest{File: b})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				g := r.GetAgreement()
				a.outf("Accepted %s version %d, digest %s: %s until %s.\n", printable(g.GetAgreement()), g.GetVersion(),
					hex.EncodeToString(g.GetDigest()), statusOf(g), day(g.GetNotAfter()))
				a.notef("When both sides have accepted it, fetch the tag sets: passerelle sync\n")
				return nil
			})
		},
	}
}

// statusOf returns the state of an agreement for people.
func statusOf(g *passerellev1.Agreement) string {
	return code(g.GetStatus().String(), "AGREEMENT_STATUS_")
}

func (a *app) agreementListCommand() *cobra.Command {
	var request passerellev1.ListAgreementsRequest
	c := &cobra.Command{
		Use: "list", Short: "List the agreements", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().ListAgreements(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				if len(r.GetAgreements()) == 0 {
					a.outf("No agreements. Write one: passerelle agreement new\n")
					return nil
				}
				t := newTable(a.stdout, "", "AGREEMENT", "VERSION", "PARTIES", "STATE", "FROM", "UNTIL", "DIGEST")
				for _, g := range r.GetAgreements() {
					t.row(g.GetAgreement(), g.GetVersion(), strings.Join(g.GetParties(), " "), statusOf(g), day(g.GetNotBefore()),
						day(g.GetNotAfter()), short(g.GetDigest()))
				}
				return t.flush()
			})
		},
	}
	c.Flags().StringVar(&request.Peer, "peer", "", "only those with this trust domain")
	c.Flags().BoolVar(&request.IncludePast, "all", false, "superseded versions and expired agreements too")
	return c
}

func (a *app) agreementShowCommand() *cobra.Command {
	var request passerellev1.GetAgreementRequest
	c := &cobra.Command{
		Use:   "show AGREEMENT",
		Short: "Show one agreement with its file",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Agreement = args[0]
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().GetAgreement(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				g := r.GetAgreement()
				a.outf("Agreement  %s, version %d\nState      %s\nIn force   %s to %s\nDigest     %s\n", printable(g.GetAgreement()),
					g.GetVersion(), statusOf(g), shown(g.GetNotBefore()), shown(g.GetNotAfter()), hex.EncodeToString(g.GetDigest()))
				if g.GetSuspendedBy() != "" {
					a.outf("Suspended  by %s %s\n", printable(g.GetSuspendedBy()), printable(g.GetSuspendedReason()))
				}
				for _, s := range g.GetSignatures() {
					verified := "verified"
					if !s.GetVerified() {
						verified = "NOT VERIFIED"
					}
					a.outf("Signed     %s by %s, %s\n", printable(s.GetParty()), printable(s.GetOfficer()), verified)
				}
				a.outf("\n%s", g.GetFile())
				return nil
			})
		},
	}
	c.Flags().Uint32Var(&request.Version, "version", 0, "number of the version (default: the one in force)")
	return c
}

func (a *app) agreementSuspendCommand() *cobra.Command {
	var request passerellev1.SuspendAgreementRequest
	c := &cobra.Command{
		Use:   "suspend AGREEMENT",
		Short: "Stop all queries under an agreement, both ways, within 5 seconds",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "reason"); err != nil {
				return err
			}
			request.Agreement = args[0]
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().SuspendAgreement(ctx, &request)
				if err != nil {
					return err
				}
				return a.agreementChanged(r, r.GetAgreement())
			})
		},
	}
	c.Flags().StringVar(&request.Reason, "reason", "", "why, for our log; the other side is not told (required)")
	return c
}

func (a *app) agreementResumeCommand() *cobra.Command {
	var request passerellev1.ResumeAgreementRequest
	c := &cobra.Command{
		Use:   "resume AGREEMENT",
		Short: "End a suspension by this side",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "reason"); err != nil {
				return err
			}
			request.Agreement = args[0]
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().ResumeAgreement(ctx, &request)
				if err != nil {
					return err
				}
				return a.agreementChanged(r, r.GetAgreement())
			})
		},
	}
	c.Flags().StringVar(&request.Reason, "reason", "", "why, for our log (required)")
	return c
}

// agreementChanged prints the state of an agreement after a change.
func (a *app) agreementChanged(answer any, g *passerellev1.Agreement) error {
	if a.json {
		return a.printJSON(answer)
	}
	a.outf("%s version %d is now: %s", printable(g.GetAgreement()), g.GetVersion(), statusOf(g))
	if g.GetSuspendedBy() != "" {
		a.outf(", by %s", printable(g.GetSuspendedBy()))
	}
	a.outf("\n")
	return nil
}

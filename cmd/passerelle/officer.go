package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) officerCommand() *cobra.Command {
	return group("officer", "The register of officers, which two administrators change together",
		a.officerAddCommand(), a.officerListCommand(), a.officerRetireCommand(), a.officerKeygenCommand())
}

const consentHelp = "\n\nOne administrator runs this, and another one consents with --consent DIGEST, where DIGEST is what the first\n" +
	"one was shown. `passerelle officer list` shows the changes that wait."

func (a *app) officerAddCommand() *cobra.Command {
	var out, key, unit, consent string
	var roles, trained []string
	c := &cobra.Command{
		Use:   "add ID",
		Short: "Enrol an officer, or consent to it",
		Long: "Enrols an officer. The key is either made here, in the new identity folder --out, or was made by the officer with\n" +
			"`passerelle officer keygen`, who hands over the word that it prints (--key). The second is better: then nobody else\n" +
			"ever had the key.\n\n" +
			"Roles: asking, verifying, legal, child_protection, originator, auditor, operator, administrator." + consentHelp,
		Example: "  passerelle officer add k-4711 --unit airport-north --role asking --trained data-protection=2027-01-31 --out k-4711\n" +
			"  passerelle officer add --consent 5f2c90a17be3d1c4",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if consent != "" {
				return a.consent(cmd, args, consent, "unit", "role", "trained", "out", "key")
			}
			if len(args) == 0 {
				return usagef("which officer? give an ID, such as a number of service, or --consent DIGEST")
			}
			if err := need(cmd, "unit", "role"); err != nil {
				return err
			}
			if (out == "") == (key == "") {
				return usagef("give one of --out DIR, to make the key here, and --key WORD, as the officer made it")
			}
			o, err := newOfficer(args[0], unit, roles, trained)
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				if o.PublicKey, err = enrolKey(c, args[0], out, key); err != nil {
					return err
				}
				return a.propose(ctx, c, officer.Enrol, o)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", "", "identity folder to make for the officer")
	f.StringVar(&key, "key", "", "public key that the officer handed over")
	f.StringVar(&unit, "unit", "", "unit of the officer (required)")
	f.StringSliceVar(&roles, "role", nil, "role; may be repeated (required)")
	f.StringSliceVar(&trained, "trained", nil, "COURSE=YYYY-MM-DD, valid before that day; may be repeated")
	f.StringVar(&consent, "consent", "", "consent to the change with this digest, as the second administrator")
	return c
}

func (a *app) officerRetireCommand() *cobra.Command {
	var consent string
	c := &cobra.Command{
		Use:   "retire ID",
		Short: "End the service of an officer for good, or consent to it",
		Long:  "Ends the service of an officer for good. An ID is never given to another." + consentHelp,
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if consent != "" {
				return a.consent(cmd, args, consent)
			}
			if len(args) == 0 {
				return usagef("which officer? give an ID or --consent DIGEST")
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				return a.propose(ctx, c, officer.Retire, officer.Officer{ID: args[0]})
			})
		},
	}
	c.Flags().StringVar(&consent, "consent", "", "consent to the change with this digest, as the second administrator")
	return c
}

func (a *app) officerKeygenCommand() *cobra.Command {
	var out, bundle, trustDomain string
	c := &cobra.Command{
		Use:   "keygen ID",
		Short: "Make an identity folder on the officer's own machine",
		Long: "Makes the officer's key in a new identity folder, without a gateway, and prints the public key as one word. An\n" +
			"administrator enrols it with `passerelle officer add ID --key WORD`. The private key never leaves the folder.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "out", "trust-domain"); err != nil {
				return err
			}
			var pem []byte
			if bundle != "" {
				var err error
				if pem, err = a.readFile(bundle); err != nil {
					return err
				}
				if _, err := peer.AuthoritiesFromPEM(pem); err != nil {
					return fmt.Errorf("%s: %w", bundle, err)
				}
			}
			spiffeID, err := peer.OfficerID(trustDomain, args[0])
			if err != nil {
				return usageError{err}
			}
			id, err := officer.CreateIdentity(out, spiffeID)
			if err != nil {
				return err
			}
			if pem != nil {
				if err := id.SetSVID(nil, pem); err != nil {
					return err
				}
			}
			word := officer.EncodePublicKey(id.PublicKey())
			if a.json {
				return a.printJSON(map[string]string{"spiffe_id": spiffeID, "key_id": officer.KeyID(id.PublicKey()), "public_key": word,
					"identity": out})
			}
			a.outf("%s\n", word)
			a.notef("Made %s. Hand the word above to an administrator: passerelle officer add %s --key WORD\n", out, args[0])
			if pem == nil {
				a.notef("Before the first use, copy bundle.pem from the identity folder of an administrator into %s.\n", out)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", "", "identity folder to make (required)")
	f.StringVar(&trustDomain, "trust-domain", "", "our trust domain (required)")
	f.StringVar(&bundle, "bundle", "", "bundle.pem of our trust domain, from an administrator")
	return c
}

// newOfficer returns the officer of the flags, in the order of the register, and
// without a key.
func newOfficer(id, unit string, roles, trained []string) (officer.Officer, error) {
	o := officer.Officer{ID: id, Unit: unit}
	for _, s := range roles {
		r, err := officer.ParseRole(s)
		if err != nil {
			return officer.Officer{}, usageError{err}
		}
		o.Roles = append(o.Roles, r)
	}
	slices.Sort(o.Roles)
	o.Roles = slices.Compact(o.Roles)
	for _, s := range trained {
		course, until, err := parsePair(s, "trained", "COURSE=YYYY-MM-DD")
		if err != nil {
			return officer.Officer{}, err
		}
		t, err := time.Parse(time.DateOnly, until)
		if err != nil {
			return officer.Officer{}, usagef("--trained %q: want COURSE=YYYY-MM-DD", s)
		}
		o.Trained = append(o.Trained, officer.Training{Course: course, Until: t})
	}
	slices.SortFunc(o.Trained, func(x, y officer.Training) int { return strings.Compare(x.Course, y.Course) })
	return o, nil
}

// enrolKey returns the key of a new officer: as handed over, or made in the
// folder out. A folder that an earlier attempt made is used again.
func enrolKey(c *client, id, out, word string) (ed25519.PublicKey, error) {
	if word != "" {
		pub, err := officer.ParsePublicKey(word)
		if err != nil {
			return nil, usagef("--key: %w", err)
		}
		return pub, nil
	}
	spiffeID, err := peer.OfficerID(c.id.TrustDomain(), id)
	if err != nil {
		return nil, usageError{err}
	}
	made, err := officer.OpenIdentity(out)
	if errors.Is(err, fs.ErrNotExist) {
		made, err = officer.CreateIdentity(out, spiffeID)
	}
	if err != nil {
		return nil, err
	}
	if made.SPIFFEID() != spiffeID {
		return nil, fmt.Errorf("%s is the identity folder of another officer", out)
	}
	return made.PublicKey(), made.SetSVID(nil, c.id.Bundle())
}

// propose signs the next change of the register as its first administrator.
func (a *app) propose(ctx context.Context, c *client, kind officer.Kind, o officer.Officer) error {
	list, err := c.admin().ListOfficers(ctx, &passerellev1.ListOfficersRequest{})
	if err != nil {
		return err
	}
	if len(list.GetHead()) != 32 {
		return errors.New("the gateway did not say where the register stands")
	}
	return a.signChange(ctx, c, officer.Change{
		Version: officer.ChangeVersion, Kind: kind, Sequence: list.GetSequence() + 1, Previous: [32]byte(list.GetHead()),
		Time: a.now().UTC().Truncate(time.Second), Officer: o,
	})
}

// consent signs, as the second administrator, a change that waits. What is
// signed is found by the digest that we compute, not by what the gateway says.
func (a *app) consent(cmd *cobra.Command, args []string, digest string, others ...string) error {
	if len(args) > 0 {
		return usagef("--consent takes no ID: the digest names the whole change")
	}
	for _, name := range others {
		if cmd.Flags().Changed(name) {
			return usagef("--consent and --%s do not go together: the digest names the whole change", name)
		}
	}
	digest = strings.ToLower(digest)
	if _, err := hex.DecodeString(digest); err != nil || len(digest) < 16 {
		return usagef("--consent %q: want at least 16 hexadecimal digits", digest)
	}
	return a.call(cmd, func(ctx context.Context, c *client) error {
		list, err := c.admin().ListOfficers(ctx, &passerellev1.ListOfficersRequest{})
		if err != nil {
			return err
		}
		for _, p := range list.GetPending() {
			change, err := officer.ParseChange(p.GetChange())
			if err != nil {
				return err
			}
			d, err := change.Digest()
			if err != nil {
				return err
			}
			if strings.HasPrefix(hex.EncodeToString(d[:]), digest) {
				a.notef("You consent to: %s\n", describeChange(change))
				return a.signChange(ctx, c, change)
			}
		}
		return errors.New("no change with this digest waits; `passerelle officer list` shows those that do")
	})
}

// signChange signs a change with the calling administrator's own key.
func (a *app) signChange(ctx context.Context, c *client, change officer.Change) error {
	b, err := change.Bytes()
	if err != nil {
		return err
	}
	digest, err := change.Digest()
	if err != nil {
		return err
	}
	signature, err := c.id.SignChange(change)
	if err != nil {
		return err
	}
	r, err := c.admin().ProposeOfficerChange(ctx, &passerellev1.ProposeOfficerChangeRequest{Change: b,
		Signature: &passerellev1.OfficerSignature{Signature: signature[:]}})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	if r.GetApplied() {
		a.outf("Done: %s.\n", describeChange(change))
		return nil
	}
	a.outf("Proposed: %s.\nDigest: %s\n", describeChange(change), hex.EncodeToString(digest[:]))
	a.notef("Nothing has changed yet. Another administrator consents before %s:\n  passerelle officer %s --consent %s\n",
		shown(r.GetExpires()), verbs[change.Kind], hex.EncodeToString(digest[:8]))
	return nil
}

// verbs are the commands that make each kind of change.
var verbs = map[officer.Kind]string{officer.Enrol: "add", officer.Update: "add", officer.Retire: "retire"}

// describeChange says in words what an administrator signs.
func describeChange(c officer.Change) string {
	if c.Kind == officer.Retire {
		return "retire " + c.Officer.ID
	}
	roles := make([]string, len(c.Officer.Roles))
	for i, r := range c.Officer.Roles {
		roles[i] = string(r)
	}
	s := fmt.Sprintf("%s %s of unit %s as %s with key %s", c.Kind, c.Officer.ID, c.Officer.Unit, strings.Join(roles, ", "),
		officer.KeyID(c.Officer.PublicKey))
	for _, t := range c.Officer.Trained {
		s += fmt.Sprintf(", %s until %s", t.Course, t.Until.Format(time.DateOnly))
	}
	return s
}

func (a *app) officerListCommand() *cobra.Command {
	var request passerellev1.ListOfficersRequest
	c := &cobra.Command{
		Use: "list", Short: "List the officers, and the changes that wait for a second administrator", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().ListOfficers(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				return a.tableOfficers(r)
			})
		},
	}
	c.Flags().StringVar(&request.Role, "role", "", "only those with this role")
	c.Flags().BoolVar(&request.IncludeRetired, "all", false, "retired officers too")
	return c
}

func (a *app) tableOfficers(r *passerellev1.ListOfficersResponse) error {
	t := newTable(a.stdout, "", "OFFICER", "UNIT", "ROLES", "TRAINED", "ENROLLED", "RETIRED", "KEY")
	for _, o := range r.GetOfficers() {
		id := o.GetSpiffeId()
		var trained []string
		for _, x := range o.GetTrainings() {
			trained = append(trained, x.GetCourse()+" until "+day(x.GetUntil()))
		}
		t.row(id[strings.LastIndexByte(id, '/')+1:], o.GetUnit(), strings.Join(o.GetRoles(), " "), strings.Join(trained, ", "),
			day(o.GetEnrolled()), day(o.GetRetired()), officer.KeyID(o.GetPublicKey()))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for i, p := range r.GetPending() {
		if i == 0 {
			a.outf("\nWaiting for a second administrator:\n")
		}
		change, err := officer.ParseChange(p.GetChange())
		if err != nil {
			return err
		}
		digest, err := change.Digest()
		if err != nil {
			return err
		}
		a.outf("  %s\n    signed by %s, lapses %s\n    passerelle officer %s --consent %s\n", describeChange(change),
			printable(p.GetSignedBy()), shown(p.GetExpires()), verbs[change.Kind], hex.EncodeToString(digest[:8]))
	}
	return nil
}

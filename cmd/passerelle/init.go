package main

import (
	"encoding/hex"
	"strings"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/officer"
)

func (a *app) initCommand() *cobra.Command {
	var config gateway.Config
	var auditor string
	var admins, collections []string
	c := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a new gateway: configuration, keys, embedded authority, two administrators",
		Long: "Makes a new gateway in DIR and overwrites nothing. --auditor is the recipient that the auditor made with\n" +
			"`passerelle audit keygen`, or the file with it; there is no gateway without an auditor. Each --admin is ID[:ROLE,...]:\n" +
			"an administrator, who is an operator too, with further roles. All later officers are enrolled by the two together.\n\n" +
			"`passerelle help operator` has the whole way to a running gateway.",
		Example: "  passerelle init /srv/passerelle --auditor auditor.key.recipient --country UTO --trust-domain border.utopia.example \\\n" +
			"    --agency 'Border Police of Utopia' --agency-code uto-bp --listen 0.0.0.0:7443 --admin a-1 --admin a-2",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if auditor == "" {
				return usagef("--auditor is required: the auditor makes the key elsewhere, with `passerelle audit keygen`, and gives you the recipient")
			}
			if err := need(cmd, "country", "trust-domain", "agency", "agency-code", "listen"); err != nil {
				return err
			}
			options := gateway.InitOptions{Dir: args[0], Config: config, Now: a.now}
			recipient, err := a.recipient(auditor)
			if err != nil {
				return err
			}
			options.Config.Auditor = recipient.String()
			if options.Config.Collections, err = parseCollections(collections); err != nil {
				return err
			}
			if options.Admins, err = parseAdmins(admins); err != nil {
				return err
			}
			r, err := gateway.Init(cmd.Context(), options)
			if err != nil {
				return err
			}
			return a.printInit(args[0], r, recipient)
		},
	}
	f := c.Flags()
	f.StringVar(&auditor, "auditor", "", "the auditor's recipient, or the file with it (required)")
	f.StringVar(&config.Country, "country", "", "our code of ICAO 9303, three letters (required)")
	f.StringVar(&config.TrustDomain, "trust-domain", "", "our SPIFFE trust domain, which never changes (required)")
	f.StringVar(&config.Agency, "agency", "", "our agency's name (required)")
	f.StringVar(&config.AgencyCode, "agency-code", "", "our agency's code in agreements (required)")
	f.StringVar(&config.Listen, "listen", "", "host:port on which neighbours reach us (required)")
	f.StringVar(&config.Endpoint, "endpoint", "", "that address as neighbours see it (default: the same)")
	f.StringVar(&config.Socket, "socket", "", "path of the Unix socket (default: in DIR)")
	f.StringVar(&config.Gateway, "name", "", "this gateway's name in its SPIFFE ID (default main)")
	f.StringArrayVar(&collections, "collection", nil, "NAME:CATEGORY of a list that we may share (default watchlist and documents)")
	f.StringArrayVar(&admins, "admin", nil, "ID[:ROLE,...] of an administrator; give two (default admin-1 and admin-2)")
	return c
}

// recipient parses the recipient in s, or in the file that s names.
func (a *app) recipient(s string) (sealed.Recipient, error) {
	if !strings.HasPrefix(s, "passerelle-recipient1") {
		b, err := a.readFile(s)
		if err != nil {
			return sealed.Recipient{}, usagef("--auditor is neither a recipient nor a file with one; `passerelle audit keygen` makes it")
		}
		s = strings.TrimSpace(string(b))
	}
	r, err := sealed.ParseRecipient(s)
	if err != nil {
		return sealed.Recipient{}, usagef("--auditor is not a recipient: give the whole file FILE.recipient that " +
			"`passerelle audit keygen --out FILE` made")
	}
	return r, nil
}

// parseCollections parses --collection of init.
func parseCollections(list []string) ([]gateway.CollectionConfig, error) {
	var out []gateway.CollectionConfig
	for _, s := range list {
		name, category, ok := strings.Cut(s, ":")
		if !ok || name == "" || category == "" {
			return nil, usagef("--collection %q: want NAME:CATEGORY", s)
		}
		out = append(out, gateway.CollectionConfig{Name: name, Category: category})
	}
	return out, nil
}

// parseAdmins parses --admin.
func parseAdmins(list []string) ([2]gateway.Admin, error) {
	if len(list) == 0 {
		list = []string{"admin-1", "admin-2"}
	}
	var out [2]gateway.Admin
	if len(list) != len(out) {
		return out, usagef("give two administrators, because the register is only changed by two: --admin ID --admin ID")
	}
	for i, s := range list {
		id, roles, _ := strings.Cut(s, ":")
		out[i] = gateway.Admin{ID: id, Unit: "administration"}
		for _, name := range splitList(roles) {
			r, err := officer.ParseRole(name)
			if err != nil {
				return out, usageError{err}
			}
			if r != officer.RoleAdministrator && r != officer.RoleOperator { // which they have anyway
				out[i].Roles = append(out[i].Roles, r)
			}
		}
	}
	return out, nil
}

func (a *app) printInit(dir string, r *gateway.InitReport, auditor sealed.Recipient) error {
	key := auditor.KeyID()
	if a.json {
		return a.printJSON(map[string]any{"config": r.ConfigFile, "gateway": r.Gateway, "identities": r.Identities,
			"auditor_key": hex.EncodeToString(key[:])})
	}
	a.outf("Gateway         %s\nConfiguration   %s\nAuditor key     %x\nAdministrators  %s\n                %s\n", r.Gateway, r.ConfigFile,
		key, r.Identities[0], r.Identities[1])
	a.notef("\nGive each identity folder to its administrator, on a machine of their own, and delete it here.\nThen:\n"+
		"  passerelle serve --config %s\n  passerelle status --gateway %s --identity %s\n", r.ConfigFile, dir, r.Identities[0])
	return nil
}

package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/store"
)

// InitOptions say what a new gateway is to be.
type InitOptions struct {
	// Dir is the folder to fill. It may exist, and must not hold a gateway.
	Dir string

	// Config is what the configuration file will hold. Founding is filled in;
	// everything else that is required must be set.
	Config Config

	// Admins are the two administrators who begin the register. Each is enrolled
	// with the roles administrator and operator; all further officers are enrolled
	// by these two together.
	Admins [2]Admin

	// Now gives the time. Nil means the clock of this machine.
	Now func() time.Time
}

// An Admin is one of the two administrators at the beginning.
type Admin struct {
	ID   string // such as "admin-1"; see package officer for what it may hold
	Unit string

	// Roles are held besides administrator and operator.
	Roles []officer.Role
}

// An InitReport says what was made.
type InitReport struct {
	ConfigFile string    // the configuration
	Gateway    string    // SPIFFE ID of the gateway
	Identities [2]string // folders to hand to the two administrators
	Auditor    string    // key id of the recipient of sealed content
}

// Init makes a new gateway in a folder: configuration, authority, keys, the
// register of officers with its two administrators, and an empty store. It
// overwrites nothing, and refuses without an auditor's recipient.
func Init(ctx context.Context, o InitOptions) (*InitReport, error) {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	file := filepath.Join(dir, ConfigFile)
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("gateway: %s exists already; choose another folder", file)
	}
	c := o.Config
	c.resolve(dir)
	c.Founding = hex.EncodeToString(make([]byte, 32)) // made below; the rest must be valid before anything is
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}

	authority, err := peer.CreateAuthority(filepath.Join(c.Data, "authority"), c.TrustDomain, now)
	if err != nil {
		return nil, err
	}
	source, err := authority.Source(c.Gateway)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if err := createKeys(&c, now()); err != nil {
		return nil, err
	}

	recipient, err := sealed.ParseRecipient(c.Auditor)
	if err != nil {
		return nil, err
	}
	keyID := recipient.KeyID()
	report := &InitReport{ConfigFile: file, Gateway: c.ID(), Auditor: hex.EncodeToString(keyID[:])}
	var admins [2]officer.Officer
	for i, a := range o.Admins {
		report.Identities[i] = filepath.Join(dir, "officers", a.ID)
		if admins[i], err = enrol(authority, source, &c, report.Identities[i], a, now()); err != nil {
			return nil, err
		}
	}
	record, founding, err := officer.Found(admins[0], admins[1], now().UTC().Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, filepath.Join(c.Data, "store"))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.AppendOfficerChange(ctx, 1, record), s.Close()); err != nil {
		return nil, err
	}

	// The configuration comes last: a folder without one is no gateway.
	written := o.Config
	written.Founding = hex.EncodeToString(founding[:])
	b, err := written.YAML()
	if err != nil {
		return nil, err
	}
	header := "# Configuration of a Passerelle gateway. `passerelle help config` explains every field.\n"
	if err := os.WriteFile(file, append([]byte(header), b...), 0o600); err != nil {
		return nil, fmt.Errorf("gateway: writing the configuration: %w", err)
	}
	return report, nil
}

// ConfigFile is the name of the configuration file that Init writes.
const ConfigFile = "passerelle.yaml"

// createKeys makes all keys of a new gateway.
func createKeys(c *Config, now time.Time) error {
	if err := os.MkdirAll(filepath.Join(c.Data, "keys"), 0o700); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	for _, name := range []string{statementKeyFile, sharedKeyFile, internalKeyFile} {
		if _, err := keys.CreateSigningKey(filepath.Join(c.Data, "keys", name)); err != nil {
			return err
		}
	}
	if _, err := keys.CreatePseudonymKey(filepath.Join(c.Data, "keys", pseudonymKeyFile)); err != nil {
		return err
	}
	ring, err := openKeyring(c)
	if err != nil {
		return err
	}
	for _, l := range c.Collections {
		if err := ring.create(l.Name, now); err != nil {
			return err
		}
	}
	return nil
}

// The files of the keys, in the folder "keys".
const (
	statementKeyFile = "statement.pem"
	sharedKeyFile    = "log-shared.pem"
	internalKeyFile  = "log-internal.pem"
	pseudonymKeyFile = "pseudonym.pem"
)

// enrol makes the identity folder of one of the first administrators, with a
// certificate, so that the gateway can be reached as soon as it runs.
func enrol(authority *peer.Authority, source peer.Source, c *Config, dir string, a Admin, now time.Time) (officer.Officer, error) {
	id, err := peer.OfficerID(c.TrustDomain, a.ID)
	if err != nil {
		return officer.Officer{}, err
	}
	identity, err := officer.CreateIdentity(dir, id)
	if err != nil {
		return officer.Officer{}, err
	}
	csr, err := identity.CSR()
	if err != nil {
		return officer.Officer{}, err
	}
	chain, err := authority.IssueOfficer(csr, a.ID, identity.PublicKey())
	if err != nil {
		return officer.Officer{}, err
	}
	authorities, err := peer.Authorities(source, c.TrustDomain)
	if err != nil {
		return officer.Officer{}, err
	}
	if err := identity.SetSVID(chain, peer.AuthoritiesPEM(authorities)); err != nil {
		return officer.Officer{}, err
	}
	return officer.Officer{
		ID: a.ID, Unit: a.Unit, PublicKey: identity.PublicKey(),
		Roles: append([]officer.Role{officer.RoleAdministrator, officer.RoleOperator}, a.Roles...),
	}, nil
}

// Package gateway builds a gateway from its parts, and starts and stops them in
// order.
//
//	cfg, err := gateway.LoadConfig("config.yaml")
//	g, err := gateway.New(ctx, cfg, gateway.Options{})
//	err = g.Serve(ctx)                       // until ctx ends
//
// The parts are opened from the ground up, so that nothing is answered before
// everything that an answer needs is there: store, logs, registers, rules,
// identity, the two journeys, and last the listeners. They are closed the other
// way round. Several gateways may live in one process; none uses process globals.
//
// # Files
//
// In the data folder:
//
//	authority/        the embedded authority
//	keys/             statement key, log keys, pseudonym key, wrapped epoch keys
//	wrapping/         the keys that wrap the epoch keys; never in a backup
//	store/            the database and the tag sets
//	log/shared/       the log of what both sides of a query know
//	log/internal/     the log of outcomes and reads
//	passerelle.sock   for our own officers
//
// This package knows the configuration and the parts; it knows no step of a
// query.
package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/internal/notify"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/internal/telemetry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// Version is the version of the software, as peers and operators see it.
const Version = "0.1.0"

// Software is what peers are told that we run.
const Software = "passerelle/" + Version

// Options are what a gateway may be given besides its configuration.
type Options struct {
	// Logger takes what operators must know. Nil discards it.
	Logger *slog.Logger

	// Now gives the time. Nil means the clock of this machine.
	Now func() time.Time

	// ServerOptions and DialOptions are added to those of the gRPC servers and
	// clients, for telemetry.
	ServerOptions []grpc.ServerOption
	DialOptions   []grpc.DialOption

	// Publishing is told how far the building of tag sets is, for measurements. It
	// may be nil, and must be quick.
	Publishing holder.Progress
}

// A Gateway is one running gateway.
type Gateway struct {
	cfg  *Config
	log  *slog.Logger
	now  func() time.Time
	opts Options

	store      *store.Store
	shared     *audit.Log
	internal   *audit.Log
	register   *officer.Register
	agreements *agreement.Registry
	federation *peer.Federation
	authority  *peer.Authority // nil with a Workload API
	source     peer.Source
	engine     *policy.Engine
	rules      *rules
	keyring    *keyring
	pseudonyms keys.PseudonymKey
	statement  keys.SigningKey
	directory  *directory
	library    *asker.Library
	holder     *holder.Holder
	asker      *asker.Asker
	admin      *admin.Admin
	inspect    *inspect.Inspector
	servers    *servers
	contacts   contacts
	telemetry  *telemetry.Telemetry

	// Verifier keys of the statement key and the two logs (c2sp.org/signed-note).
	statementVerifier, sharedVerifier, internalVerifier string

	closers []func(context.Context) error // in order of opening

	rotated chan struct{} // of one: an epoch has begun, and lists are not published under it
}

// New opens everything that a gateway needs, and its listeners. The caller must
// call Serve, or Close if it does not. If New fails, nothing is left open.
//
// It returns an error wrapping [store.ErrLocked] if another gateway, of this
// process or another one, has the data folder open.
func New(ctx context.Context, c *Config, o Options) (_ *Gateway, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g := &Gateway{cfg: c, log: o.Logger, now: o.Now, opts: o, rotated: make(chan struct{}, 1)}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	defer func() {
		if err != nil {
			closing, cancel := closeContext(ctx)
			defer cancel()
			err = errors.Join(err, g.Close(closing))
		}
	}()
	for _, open := range []func(context.Context) error{
		g.openTelemetry, g.openStore, g.openKeys, g.openLogs, g.openRegisters, g.openPolicy, g.openIdentity, g.openJourneys, g.openServers,
	} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// onClose adds what Close must do.
func (g *Gateway) onClose(f func(context.Context) error) { g.closers = append(g.closers, f) }

// closeTimeout is how long a gateway may take to close: without a limit, a log whose
// disk is full would wait for its last checkpoint for ever.
const closeTimeout = 30 * time.Second

// closeContext returns a context for Close after ctx has ended.
func closeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
}

// Close closes everything that is open, in the opposite order of opening, and
// gives up waiting when ctx ends; then it closes the rest all the same and returns
// an error. It is for a Gateway that does not serve: Serve closes by itself. A
// second call does nothing.
func (g *Gateway) Close(ctx context.Context) error {
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i](ctx))
	}
	g.closers = nil
	return errors.Join(errs...)
}

func (g *Gateway) openStore(ctx context.Context) error {
	s, err := store.Open(ctx, filepath.Join(g.cfg.Data, "store"))
	if err != nil {
		return err
	}
	g.store = s
	g.onClose(func(context.Context) error { return s.Close() })
	return nil
}

func (g *Gateway) openKeys(context.Context) error {
	var err error
	dir := filepath.Join(g.cfg.Data, "keys")
	if g.statement, err = keys.LoadSigningKey(filepath.Join(dir, statementKeyFile)); err != nil {
		return err
	}
	if g.statementVerifier, err = peer.VerifierKey(g.cfg.TrustDomain+"/statement", g.statement.PublicKey()); err != nil {
		return err
	}
	if g.pseudonyms, err = keys.LoadPseudonymKey(filepath.Join(dir, pseudonymKeyFile)); err != nil {
		return err
	}
	if g.keyring, err = openKeyring(g.cfg); err != nil {
		return err
	}
	for _, l := range g.cfg.Collections {
		// A collection that was added to the configuration gets its first key.
		if err := g.keyring.create(l.Name, g.now()); err != nil {
			return err
		}
	}
	return nil
}

// origin returns the name of one of our logs, and logDir its folder.
func (c *Config) origin(name string) string { return c.TrustDomain + "/log/" + name }
func (c *Config) logDir(name string) string { return filepath.Join(c.Data, "log", name) }

func (g *Gateway) openLogs(ctx context.Context) error {
	open := func(name, keyFile string, internal bool, vkey *string) (*audit.Log, error) {
		key, err := keys.LoadSigningKey(filepath.Join(g.cfg.Data, "keys", keyFile))
		if err != nil {
			return nil, err
		}
		if *vkey, err = peer.VerifierKey(g.cfg.origin(name), key.PublicKey()); err != nil {
			return nil, err
		}
		signer, verifier, err := audit.NewSigner(g.cfg.origin(name), key.Key())
		if err != nil {
			return nil, err
		}
		l, err := audit.Open(ctx, audit.Config{Dir: g.cfg.logDir(name), Origin: g.cfg.origin(name),
			Signer: signer, Verifier: verifier, Internal: internal, Interval: g.cfg.CheckpointInterval, Logger: g.log})
		if err != nil {
			return nil, err
		}
		g.onClose(l.Close)
		return l, nil
	}
	var err error
	if g.shared, err = open("shared", sharedKeyFile, false, &g.sharedVerifier); err != nil {
		return err
	}
	g.internal, err = open("internal", internalKeyFile, true, &g.internalVerifier)
	return err
}

func (g *Gateway) openRegisters(ctx context.Context) error {
	// Officers.
	changes, err := g.store.OfficerChanges(ctx)
	if err != nil {
		return err
	}
	founding, err := hex.DecodeString(g.cfg.Founding)
	if err != nil {
		return fmt.Errorf("gateway: config: founding: %w", err)
	}
	next := int64(len(changes)) + 1
	g.register, err = officer.Load(changes, [32]byte(founding), func(record []byte) error {
		err := g.store.AppendOfficerChange(context.WithoutCancel(ctx), next, record)
		if err == nil {
			next++
		}
		return err
	})
	if err != nil {
		return err
	}

	// Agreements. What is stored was verified when it was accepted, and its digest
	// binds it since.
	loaded := false
	g.agreements = agreement.NewRegistry(g.cfg.TrustDomain, func(c agreement.Change) error {
		if !loaded {
			return nil
		}
		ctx := context.WithoutCancel(ctx)
		if c.Number > 0 {
			return g.store.PutAgreement(ctx, store.AgreementRow{ID: c.ID, Number: c.Number, Digest: c.Digest, File: c.File,
				SuspendedBy: c.SuspendedBy})
		}
		return g.store.SetSuspensions(ctx, c.ID, c.SuspendedBy)
	})
	rows, err := g.store.Agreements(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := g.agreements.Put(row.File, row.Digest); err != nil {
			return err
		}
		if err := g.agreements.Restore(row.ID, row.SuspendedBy); err != nil {
			return err
		}
	}
	loaded = true

	// Federation.
	save := func(state []byte) error { return g.store.PutMeta(context.WithoutCancel(ctx), "federation", state) }
	state, err := g.store.Meta(ctx, "federation")
	switch {
	case errors.Is(err, store.ErrNotFound):
		g.federation, err = peer.NewFederation(g.cfg.TrustDomain, save)
	case err == nil:
		g.federation, err = peer.LoadFederation(g.cfg.TrustDomain, state, save)
	}
	return err
}

func (g *Gateway) openIdentity(ctx context.Context) error {
	var err error
	if g.cfg.WorkloadAPI != "" {
		g.source, err = peer.OpenWorkload(ctx, g.cfg.WorkloadAPI, g.cfg.ID())
	} else {
		if g.authority, err = peer.OpenAuthority(filepath.Join(g.cfg.Data, "authority"), g.now); err == nil {
			g.source, err = g.authority.Source(g.cfg.Gateway)
		}
	}
	if err != nil {
		return err
	}
	g.onClose(func(context.Context) error { return g.source.Close() })
	return nil
}

// Pseudonym returns the pseudonym of an officer or a unit in our entries.
func (g *Gateway) Pseudonym(id string) [16]byte { return keys.Pseudonym(g.pseudonyms, id) }

// notice returns what the operator's command is told of an entry about a use of ours
// or of a neighbour's.
func notice(self string, e *entry.Entry) notify.Notice {
	n := notify.Notice{Time: time.UnixMilli(e.Time), Gateway: self, Kind: e.Kind.String(), Reason: e.Reason, Agreement: e.Agreement,
		Collection: e.Collection}
	other := e.Asker
	if n.Direction = "answered"; e.Direction == entry.DirectionAsked {
		n.Direction, other = "asked", e.Holder
	}
	if id, err := peer.ParseID(other); err == nil {
		n.Peer = id.TrustDomain
	}
	return n
}

func (g *Gateway) openJourneys(ctx context.Context) error {
	recipient, err := sealed.ParseRecipient(g.cfg.Auditor)
	if err != nil {
		return err
	}
	g.directory = newDirectory(g)
	g.onClose(func(context.Context) error { return g.directory.close() })
	g.library = asker.NewLibrary(g.store)
	runner, err := notify.New(g.cfg.Notify, g.log)
	if err != nil {
		return err
	}
	g.onClose(runner.Close)
	told := func(e *entry.Entry) { runner.Notify(notice(g.cfg.ID(), e)) }
	shared, rules := measuredLog{g.shared, g.telemetry}, measuredPolicy{g.engine, g.telemetry}
	g.observe()
	g.holder = holder.New(holder.Config{
		TrustDomain: g.cfg.TrustDomain, Gateway: g.cfg.ID(), Origin: g.shared.Origin(), Software: Software,
		Peers: g.directory, Agreements: g.agreements, Policy: rules, Shared: shared, Internal: g.internal,
		Store: g.store, Keys: g.keyring,
		StatementKey: g.statement.Key(), Now: g.now, Notify: told, Logger: g.log,
	})
	g.asker = asker.New(asker.Config{
		TrustDomain: g.cfg.TrustDomain, Gateway: g.cfg.ID(), Country: g.cfg.Country, AgencyCode: g.cfg.AgencyCode,
		Officers: g.register, Agreements: g.agreements, Directory: g.directory, Policy: rules, Shared: shared,
		Internal: g.internal, Store: g.store, Library: g.library, Sealer: sealer{recipient}, StatementKey: g.statement.Key(),
		Pseudonym: g.Pseudonym, Now: g.now, Notify: told, Logger: g.log,
	})
	g.onClose(g.asker.Close)
	started := &entry.Entry{Kind: entry.KindStarted, Time: g.now().UnixMilli(), Holder: g.cfg.ID(),
		Protocol: query.Protocol, Bundle: g.engine.BundleDigest()}
	for _, l := range []*audit.Log{g.shared, g.internal} {
		if _, err := l.Append(ctx, started); err != nil {
			return err
		}
	}
	if err := g.holder.Recover(ctx); err != nil {
		return err
	}
	if err := g.asker.Recover(ctx); err != nil {
		return err
	}
	if err := g.asker.Load(ctx); err != nil {
		// A list that cannot be opened is not matched against; the next
		// synchronisation fetches it again.
		g.log.ErrorContext(ctx, "list not loaded", "err", err)
	}
	return nil
}

// A sealer seals to our auditor. It implements asker.Sealer.
type sealer struct{ recipient sealed.Recipient }

func (s sealer) KeyID() [8]byte { return s.recipient.KeyID() }

func (s sealer) Seal(id query.ID, leaf, content []byte) ([]byte, error) {
	return sealed.Seal(s.recipient, sealed.Context{QueryID: id, Leaf: leaf}, content)
}

// A directory gives the neighbours of the federation. It implements
// asker.Directory and holder.Peers.
type directory struct {
	g *Gateway

	closing chan struct{} // closed by close
	closers sync.WaitGroup

	mu      sync.Mutex
	clients map[string]client // by trust domain
}

// A client is the connection to a neighbour as it was when it was last accepted.
type client struct {
	*rpc.PeerClient
	updated time.Time
}

func newDirectory(g *Gateway) *directory {
	return &directory{g: g, closing: make(chan struct{}), clients: make(map[string]client)}
}

// Active implements asker.Directory and holder.Peers.
func (d *directory) Active(trustDomain string) bool { return d.g.federation.Active(trustDomain) }

func (d *directory) peer(trustDomain string) (peer.Peer, error) {
	p, ok := d.g.federation.Peer(trustDomain)
	if !ok {
		return peer.Peer{}, peer.ErrNotFederated
	}
	return p, nil
}

// StatementKey implements asker.Directory and holder.Peers.
func (d *directory) StatementKey(trustDomain string) (ed25519.PublicKey, error) {
	p, err := d.peer(trustDomain)
	if err != nil {
		return nil, err
	}
	return peer.PublicKey(p.SigningKey)
}

// LogKey implements asker.Directory.
func (d *directory) LogKey(trustDomain string) (string, error) {
	p, err := d.peer(trustDomain)
	return p.LogKey, err
}

// Gateway implements asker.Directory.
func (d *directory) Gateway(trustDomain string) (string, error) {
	p, err := d.peer(trustDomain)
	if err != nil {
		return "", err
	}
	if len(p.Gateways) == 0 {
		return "", peer.ErrNotFederated
	}
	return p.Gateways[0], nil
}

// Neighbour implements asker.Directory. Connections are made when they are first
// used, and kept until the federation ends, or until anything that was accepted of
// the neighbour changes: its authorities count for connections that are there, too.
func (d *directory) Neighbour(trustDomain string) (asker.Neighbour, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	done := d.g.federation.Done(trustDomain) // first: an end between the two lines closes what follows
	p, err := d.peer(trustDomain)
	if err != nil || p.State != peer.Active {
		return nil, peer.ErrNotFederated
	}
	if c, ok := d.clients[trustDomain]; ok {
		if c.updated.Equal(p.Updated) {
			return measuredNeighbour{c.PeerClient, trustDomain, d.g.telemetry}, nil
		}
		d.drop(c, trustDomain)
	}
	select {
	case <-d.closing:
		return nil, peer.ErrNotFederated
	default:
	}
	tls, err := peer.ClientTLS(d.g.source, d.g.federation, trustDomain, d.g.now)
	if err != nil {
		return nil, err
	}
	dialled, err := rpc.Dial(p.Endpoint, tls, d.g.opts.DialOptions...)
	if err != nil {
		return nil, err
	}
	c := client{dialled, p.Updated}
	d.clients[trustDomain] = c
	d.closers.Go(func() {
		select {
		case <-done:
			d.mu.Lock()
			defer d.mu.Unlock()
			d.drop(c, trustDomain)
		case <-d.closing:
		}
	})
	return measuredNeighbour{dialled, trustDomain, d.g.telemetry}, nil
}

// drop closes a connection: what is under way on it ends. The caller holds d.mu.
func (d *directory) drop(c client, trustDomain string) {
	if d.clients[trustDomain].PeerClient == c.PeerClient {
		delete(d.clients, trustDomain)
		c.Close()
	}
}

func (d *directory) close() error {
	d.mu.Lock()
	close(d.closing)
	var errs []error
	for _, c := range d.clients {
		errs = append(errs, c.Close())
	}
	clear(d.clients)
	d.mu.Unlock()
	d.closers.Wait()
	return errors.Join(errs...)
}

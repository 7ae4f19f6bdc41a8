package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"

	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/holder"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/internal/telemetry"
	"github.com/passerelle/passerelle/gateway/peer"
)

// maxConnections bounds the connections of neighbours and strangers together.
const maxConnections = 1024

// stopGrace is how long calls under way may take to end when a gateway stops.
const stopGrace = 10 * time.Second

// servers are the two listeners and what serves them.
type servers struct {
	peers, local            *grpc.Server
	peerSocket, localSocket net.Listener
}

// openServers opens the listeners, so that a wrong address or a socket in use is
// found before anything is served.
func (g *Gateway) openServers(ctx context.Context) error {
	s := &servers{}
	var err error
	if s.peerSocket, err = net.Listen("tcp", g.cfg.Listen); err != nil {
		return fmt.Errorf("gateway: config: listen: %w", err)
	}
	g.onClose(func(context.Context) error { return closed(s.peerSocket.Close()) })
	// Connections are counted by neighbour once it is known who calls; until then
	// strangers may take no more than these.
	s.peerSocket = netutil.LimitListener(s.peerSocket, maxConnections)
	if s.localSocket, err = listenSocket(g.cfg.Socket); err != nil {
		return fmt.Errorf("gateway: config: socket: %w", err)
	}
	g.onClose(func(context.Context) error { return closed(s.localSocket.Close()) })

	g.admin, err = admin.New(ctx, g.adminConfig(s.peerSocket.Addr().String()))
	if err != nil {
		return err
	}
	g.onClose(g.admin.Close)
	if g.inspect, err = inspect.New(g.inspectConfig()); err != nil {
		return err
	}

	if s.peers, err = rpc.NewPeerServer(rpc.PeerConfig{
		Holder: measuredHolder{g.holder, g.telemetry}, Federation: g.federation, MaxQueries: g.cfg.MaxQueries,
		TLS:     peer.ServerTLS(g.source, g.federation, g.federation.Authorize, g.now),
		Options: g.opts.ServerOptions, Logger: g.log, Panics: g.telemetry.Panics,
	}); err != nil {
		return err
	}
	if s.local, err = rpc.NewLocalServer(rpc.LocalConfig{
		Register: g.register, TrustDomain: g.cfg.TrustDomain, Now: g.now,
		TLS: peer.LocalServerTLS(g.source, g.cfg.TrustDomain, g.now),
		Services: []rpc.Service{rpc.NationalService(g.asker), rpc.AdminService(g.admin), rpc.IdentityService(g.admin),
			rpc.AuditService(g.inspect), rpc.PolicyService(g.rules, g.inspect)},
		Options: g.opts.ServerOptions, Logger: g.log, Panics: g.telemetry.Panics,
	}); err != nil {
		return err
	}
	g.servers = s
	return nil
}

// closed forgets that a listener was closed before, by its server.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// listenSocket listens on a Unix socket that only our own user may reach. A socket
// that a crash left behind is replaced; one that answers is in use.
func listenSocket(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, errors.New("another process listens on it")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Endpoint returns the address on which neighbours reach us, as host:port, as this
// machine has it.
func (g *Gateway) Endpoint() string { return g.servers.peerSocket.Addr().String() }

// Serve answers neighbours and officers until ctx ends or a listener fails, and
// then closes the gateway: calls under way are given ten seconds to end. It returns
// nil if ctx was cancelled and everything closed. It must be called once.
func (g *Gateway) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, s := range []struct {
		server *grpc.Server
		socket net.Listener
	}{{g.servers.peers, g.servers.peerSocket}, {g.servers.local, g.servers.localSocket}} {
		wg.Go(func() {
			if err := s.server.Serve(s.socket); err != nil {
				cancel(fmt.Errorf("gateway: serving: %w", err))
			}
		})
	}
	wg.Go(func() { g.maintain(ctx) })
	g.log.InfoContext(ctx, "gateway ready", "gateway", g.cfg.ID(), "endpoint", g.Endpoint(), "bundle", g.engine.Revision())
	<-ctx.Done()

	// Neighbours first: our own officers may still read why.
	for _, s := range []*grpc.Server{g.servers.peers, g.servers.local} {
		stop(s)
	}
	wg.Wait()
	closing, cancelClosing := closeContext(ctx)
	defer cancelClosing()
	err := g.Close(closing)
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// stop stops a server gracefully, and at the end of stopGrace at once.
func stop(s *grpc.Server) {
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopGrace):
		s.Stop()
		<-done
	}
}

const (
	maintainEvery = time.Minute // what follows is looked at
	purgeEvery    = time.Hour   // expired content is erased
	rotateEvery   = 24 * time.Hour
	greetEvery    = 5 * time.Minute

	// syncTime and proveTime bound what one neighbour may take of our time before
	// it is tried again in the next round.
	syncTime  = 30 * time.Minute
	proveTime = 5 * time.Minute
)

// maintain does what a gateway does by itself until ctx ends: it erases what has
// expired, renews the authority, publishes lists that have changed, synchronises
// those of neighbours in the rounds of their agreements, and proves receipts. None
// of these waits for another, and no neighbour for another neighbour: the slowest
// of them, or the largest list, must not keep anything else from happening.
func (g *Gateway) maintain(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { every(ctx, purgeEvery, true, func() { g.purge(ctx, g.now()) }) })
	if g.authority != nil {
		wg.Go(func() { every(ctx, rotateEvery, true, func() { g.rotate(ctx) }) })
	}
	wg.Go(func() { every(ctx, greetEvery, false, func() { g.greetAll(ctx) }) })
	wg.Go(func() { // old keys are destroyed in time, however long it takes to publish
		every(ctx, maintainEvery, true, func() {
			if err := g.holder.MaintainEpochs(ctx); err != nil && ctx.Err() == nil {
				g.log.ErrorContext(ctx, "epochs not maintained", "err", err)
			}
		})
	})
	wg.Go(func() {
		tick := time.NewTicker(maintainEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-g.rotated:
			}
			if _, err := g.holder.PublishAll(ctx, g.opts.Publishing); err != nil && ctx.Err() == nil {
				g.log.ErrorContext(ctx, "lists not published", "err", err)
			}
		}
	})
	wg.Go(func() {
		every(ctx, maintainEvery, false, func() {
			ctx, cancel := context.WithTimeout(ctx, proveTime)
			defer cancel()
			if _, err := g.asker.ProveReceipts(ctx); err != nil && ctx.Err() == nil {
				g.log.ErrorContext(ctx, "receipts not proved", "err", err)
			}
		})
	})
	busy := make(map[string]bool) // neighbours whose lists are being synchronised
	var mu sync.Mutex             // guards busy
	every(ctx, maintainEvery, false, func() {
		for holder, collections := range g.due(g.now()) {
			mu.Lock()
			skip := busy[holder]
			busy[holder] = true
			mu.Unlock()
			if skip {
				continue
			}
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, syncTime)
				defer cancel()
				for _, c := range collections {
					g.sync(ctx, holder, c, nil)
				}
				mu.Lock()
				delete(busy, holder)
				mu.Unlock()
			})
		}
	})
}

// every calls f every d until ctx ends, and also at once if first is true.
func every(ctx context.Context, d time.Duration, first bool, f func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		if first {
			f()
		}
		first = true
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// rotate renews the authority when it is time.
func (g *Gateway) rotate(ctx context.Context) {
	if changed, err := g.authority.Rotate(); err != nil {
		g.log.ErrorContext(ctx, "authority not rotated", "err", err)
	} else if changed {
		g.log.WarnContext(ctx, "the authority has changed: send every neighbour a new invite")
	}
}

// purge erases what has expired.
func (g *Gateway) purge(ctx context.Context, now time.Time) {
	if _, err := g.store.PurgeExpired(ctx, now); err != nil {
		g.log.ErrorContext(ctx, "expired content not erased", "err", err)
	}
	if _, err := g.store.CollectSegments(ctx, now.Add(-purgeEvery)); err != nil {
		g.log.ErrorContext(ctx, "unused segments not removed", "err", err)
	}
}

// due returns the collections whose round has passed, by their holder. Lists that
// we never had are due, too.
func (g *Gateway) due(now time.Time) map[string][]string {
	confirmed := make(map[[2]string]time.Time)
	for _, l := range g.library.Lists() {
		confirmed[[2]string{l.Holder, l.Collection}] = l.Confirmed
	}
	due := make(map[string][]string)
	for _, info := range g.agreements.List(now) {
		other, err := info.Agreement.Other(g.cfg.TrustDomain)
		if err != nil || info.State.Err() != nil || info.Superseded {
			continue
		}
		for _, c := range info.Agreement.Held(other.TrustDomain) {
			if now.Sub(confirmed[[2]string{c.Holder, c.Name}]) >= time.Duration(c.Round) {
				due[c.Holder] = append(due[c.Holder], c.Name)
			}
		}
	}
	return due
}

// sync synchronises, and notes what it shows of the neighbours.
func (g *Gateway) sync(ctx context.Context, holder, collection string, progress asker.SyncProgress) []asker.SyncResult {
	results, _ := telemetry.Trace(ctx, g.telemetry, telemetry.ListSync, func(ctx context.Context) ([]asker.SyncResult, error) {
		return g.asker.Sync(ctx, holder, collection, progress), nil
	})
	seen := make(map[string]bool)
	for _, r := range results {
		g.contacts.synced(r.Holder, r.Collection, r.Refusal)
		if !seen[r.Holder] && g.federation.Active(r.Holder) {
			seen[r.Holder] = true
			g.greet(ctx, r.Holder)
		}
	}
	return results
}

// adminConfig is what the operator's journey is made of.
func (g *Gateway) adminConfig(listening string) admin.Config {
	endpoint := g.cfg.Endpoint
	if _, port, err := net.SplitHostPort(endpoint); err == nil && port == "0" {
		endpoint = listening // the port that the system chose
	}
	c := admin.Config{
		TrustDomain: g.cfg.TrustDomain, Gateway: g.cfg.ID(), Endpoint: endpoint, Country: g.cfg.Country, Agency: g.cfg.Agency,
		AgencyCode: g.cfg.AgencyCode, Software: Software, Store: g.store, Federation: g.federation, Agreements: g.agreements,
		Officers: g.register, Shared: g.shared, Internal: g.internal, Policy: g.engine, Keys: g.keyring,
		Publisher: publisher{g.holder, g.opts.Publishing, g.telemetry}, Syncer: syncer{g}, Library: g.library, Rotator: rotator{g},
		Authorities:       func() ([][]byte, error) { return peer.Authorities(g.source, g.cfg.TrustDomain) },
		SVIDNotAfter:      g.svidNotAfter,
		StatementKey:      g.statement.Key(),
		StatementVerifier: g.statementVerifier, LogVerifier: g.sharedVerifier,
		Contact: g.contacts.get, Pseudonym: g.Pseudonym, Started: g.now(), Now: g.now, Logger: g.log,
	}
	for _, l := range g.cfg.Collections {
		c.Collections = append(c.Collections, admin.Collection{Name: l.Name, Category: l.Category})
	}
	if g.authority != nil {
		c.Issuer = g.authority
	}
	return c
}

func (g *Gateway) svidNotAfter() (time.Time, error) {
	svid, err := g.source.GetX509SVID()
	if err != nil {
		return time.Time{}, err
	}
	return svid.Certificates[0].NotAfter, nil
}

// A rotator begins epochs for the operator's journey. It implements admin.Rotator.
type rotator struct{ g *Gateway }

func (r rotator) Rotate(ctx context.Context, collection string, compromised bool) (uint32, error) {
	epoch, err := r.g.holder.Rotate(ctx, collection, compromised)
	select {
	case r.g.rotated <- struct{}{}: // the lists are published at once
	default: // as they are already
	}
	return epoch, err
}

// A publisher is the holder as the operator's journey sees it.
type publisher struct {
	h     *holder.Holder
	watch holder.Progress // may be nil
	t     *telemetry.Telemetry
}

func (p publisher) Publish(ctx context.Context, asker, collection string, progress admin.PublishProgress) (*admin.Publication, error) {
	both := holder.Progress(progress)
	if p.watch != nil {
		both = func(class string, done, total int) {
			p.watch(class, done, total)
			if progress != nil {
				progress(class, done, total)
			}
		}
	}
	r, err := telemetry.Trace(ctx, p.t, telemetry.ListPublish, func(ctx context.Context) (*holder.Publication, error) {
		return p.h.Publish(ctx, asker, collection, both)
	})
	if err != nil {
		return nil, err
	}
	return &admin.Publication{Asker: r.Asker, Collection: r.Collection, ListVersion: r.ListVersion, Epoch: r.Epoch,
		Unchanged: r.Unchanged, Records: r.Records, Published: r.Published, Tags: r.Tags}, nil
}

// A syncer is the asker as the operator's journey sees it.
type syncer struct{ g *Gateway }

func (s syncer) Sync(ctx context.Context, holder, collection string, progress admin.SyncProgress) []admin.SyncResult {
	var out []admin.SyncResult
	for _, r := range s.g.sync(ctx, holder, collection, asker.SyncProgress(progress)) {
		out = append(out, admin.SyncResult{Holder: r.Holder, Collection: r.Collection, From: r.From, To: r.To, Tags: r.Tags,
			Bytes: r.Bytes, Refusal: r.Refusal})
	}
	return out
}

// inspectConfig is what the auditor's journey is made of.
func (g *Gateway) inspectConfig() inspect.Config {
	source := func(name string, l *audit.Log, key string) inspect.Source {
		return inspect.Source{Log: l, Files: os.DirFS(g.cfg.logDir(name)), Key: key}
	}
	return inspect.Config{
		TrustDomain: g.cfg.TrustDomain, Gateway: g.cfg.ID(),
		Shared:   source("shared", g.shared, g.sharedVerifier),
		Internal: source("internal", g.internal, g.internalVerifier),
		Store:    g.store, Policy: g.engine, Peers: g.directory, Officers: g.register,
		StatementKey: g.statement.PublicKey(), Pseudonym: g.Pseudonym, Now: g.now,
		Settle: g.asker.LogOutcomes,
	}
}

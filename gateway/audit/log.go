// Package audit keeps a gateway's audit logs: append-only Merkle trees (RFC 6962)
// of entries ([entry.Entry]) in the layout of [c2sp.org/tlog-tiles], written by
// [Tessera] to a folder of this machine.
//
//	l, err := audit.Open(ctx, audit.Config{...})
//	pos, err := l.Append(ctx, &e)          // durable when err is nil
//	err = l.Await(ctx, pos.Index)          // covered by a published checkpoint
//	proof, err := l.ProveInclusion(ctx, pos.Index)
//
// # Two logs
//
// A gateway has a shared log, whose checkpoints and entries its neighbours see, and
// an internal log for what happened to its questions. They are two Logs in two
// folders with two origins and two keys. A Log that is not Internal refuses the
// kinds that [entry.Kind.Internal] names, because a neighbour that watches the size
// of the shared log would see it grow after a hit.
//
// # When checkpoints leave
//
// Tessera signs a new checkpoint soon after an entry is appended. What [Log.Checkpoint]
// and the proofs show moves on a fixed cadence instead, [Config.Interval], which
// runs from when the log was opened and not from the entries, so that the time of a
// single query cannot be read off it. The file named checkpoint in the folder is
// Tessera's; do not publish it.
//
// # Crashes
//
// Tessera writes the entries, then the tiles above them, then its state, each to a
// temporary file that is synced, renamed, and whose directory is synced. An entry
// is acknowledged only after all of that. Whatever a crash leaves beyond the stored
// state was never acknowledged, and [Open] removes it. A restored older copy of
// the folder is consistent in itself; only those who remember a newer checkpoint
// notice ([Follower], and the witnesses).
//
// # Traps
//
// Tessera's POSIX driver panics, in a goroutine of its own, when it cannot take its
// lock file: the whole process ends. That is fail-closed, and opening the log again
// recovers. Because it would be a rude way to learn that a volume is gone or
// read-only, the folder is checked before every batch, and a log whose folder is
// unusable stops with [ErrStopped]; a volume that vanishes between that check and
// the lock, or a process without file descriptors, still ends in the panic.
//
// The folder must be on a local file system; Tessera does not support NFS.
//
// Tessera logs through klog, which has one logger for a whole process. The first
// Open routes klog into log/slog for good: each message goes to the Logger of every
// open Log, because klog does not say which log it is about.
//
// Methods of a Log may be called concurrently. Out of scope: who may read entries,
// witnesses, and sealed content.
//
// [Tessera]: https://github.com/transparency-dev/tessera
// [c2sp.org/tlog-tiles]: https://c2sp.org/tlog-tiles
package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"
)

const (
	// DefaultInterval, MinInterval and MaxInterval are the limits of the cadence at
	// which checkpoints are published.
	DefaultInterval = time.Second
	MinInterval     = 100 * time.Millisecond
	MaxInterval     = time.Minute

	// maxBatch is how many entries are written and synced together.
	maxBatch = 256

	// batchAge is how long Tessera waits for more entries. All entries that can go
	// together are handed over at once, see commit, so it only has to be long
	// enough for that. Measured: more of it adds to every append, less does not help.
	batchAge = 20 * time.Microsecond
)

var (
	// ErrStopped is returned by [Log.Append] after the log met an error that leaves
	// its stored state unknown. The gateway must stop answering queries, and be
	// restarted: opening the log again recovers a consistent state.
	ErrStopped = errors.New("audit: log stopped")

	// ErrClosed is returned after [Log.Close].
	ErrClosed = errors.New("audit: log closed")

	// ErrLocked is returned by [Open] if the folder is in use, by this or another
	// process.
	ErrLocked = errors.New("audit: folder is in use by another log")

	// ErrCorrupt is returned when what is stored is not the log that was signed.
	// Nobody must append to it: keep the folder, and see passerelle-verify.
	ErrCorrupt = errors.New("audit: stored log is not the one that was signed")

	// ErrInternal is returned by [Log.Append] for an entry that must not be in a
	// shared log. It is a bug of the caller.
	ErrInternal = errors.New("audit: entry belongs into the internal log")

	// ErrNotCovered is returned for an entry or a size that no published checkpoint
	// covers yet. Wait with [Log.Await].
	ErrNotCovered = errors.New("audit: not covered by a published checkpoint")
)

// Config says where and how to keep one log. All fields without a default are
// required.
type Config struct {
	// Dir is the folder of the log, on a local file system. It is created if needed.
	Dir string

	// Origin is the name of the log, for all time: that of the key, and the first
	// line of every checkpoint. Two logs never share one.
	Origin string

	// Signer signs checkpoints, and Verifier is its public half. See [NewSigner].
	Signer   note.Signer
	Verifier note.Verifier

	// Internal says that no other country sees this log, so that it may hold all
	// kinds of entries. The zero value is for a shared log.
	Internal bool

	// Interval is the cadence of checkpoints, from MinInterval to MaxInterval. Zero
	// means DefaultInterval.
	Interval time.Duration

	// Logger takes what goes wrong. Nil means nothing is logged.
	Logger *slog.Logger
}

// Validate reports everything that is wrong with c, not only the first thing.
func (c *Config) Validate() error {
	var errs []error
	bad := func(field, what string) { errs = append(errs, fmt.Errorf("audit: config: %s: %s", field, what)) }
	if c.Dir == "" {
		bad("Dir", "must be set")
	}
	if c.Origin == "" {
		bad("Origin", "must be set")
	}
	switch {
	case c.Signer == nil:
		bad("Signer", "must be set")
	case c.Signer.Name() != c.Origin:
		bad("Signer", "is of another origin")
	}
	switch {
	case c.Verifier == nil:
		bad("Verifier", "must be set")
	case c.Verifier.Name() != c.Origin:
		bad("Verifier", "is of another origin")
	case c.Signer != nil && c.Signer.KeyHash() != c.Verifier.KeyHash():
		bad("Verifier", "is not of the Signer's key")
	}
	if d := c.Interval; d != 0 && (d < MinInterval || d > MaxInterval) {
		bad("Interval", fmt.Sprintf("%v is not between %v and %v", d, MinInterval, MaxInterval))
	}
	return errors.Join(errs...)
}

// NewSigner returns the signer and the verifier of the log origin for an Ed25519
// key (c2sp.org/signed-note, signature type 1).
func NewSigner(origin string, key ed25519.PrivateKey) (note.Signer, note.Verifier, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, nil, fmt.Errorf("audit: signing key of %d bytes", len(key))
	}
	v, err := entry.NewVerifier(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, nil, fmt.Errorf("audit: origin and key: %w", err)
	}
	const algEd25519 = 1
	secret := base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, key.Seed()...))
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", origin, v.KeyHash(), secret))
	if err != nil {
		return nil, nil, fmt.Errorf("audit: origin and key: %v", err)
	}
	return s, v, nil
}

// A Position is where an entry stands.
type Position struct {
	Index uint64
	Leaf  [32]byte // leaf hash
}

// A Log is one open log. Its methods may be called concurrently.
type Log struct {
	cfg      Config
	log      *slog.Logger
	lock     *os.File
	dir      os.FileInfo // of cfg.Dir when it was opened
	state    os.FileInfo // of the driver's folder in it
	appender *tessera.Appender
	reader   tessera.LogReader
	shutdown func(context.Context) error
	cancel   context.CancelFunc // ends the driver's goroutines
	silence  func()             // no more klog messages to our Logger

	requests  chan request
	closing   chan struct{} // closed by Close
	closeOnce sync.Once
	closeErr  error
	running   sync.WaitGroup

	stopOnce sync.Once
	stopped  chan struct{} // closed after cause is set
	cause    error

	size atomic.Uint64 // entries that are durable; written by commit only

	mu        sync.Mutex
	published *published    // never nil
	advanced  chan struct{} // closed and replaced when published changes
	marks     []mark        // of entries that are durable and not published, in order
}

// A published is one checkpoint that has left.
type published struct {
	note []byte
	entry.Checkpoint
}

// A mark says since when the entries before end are durable.
type mark struct {
	end uint64
	at  time.Time
}

// A request is one entry on its way to commit. Whoever receives it answers.
type request struct {
	data []byte
	done chan response
}

type response struct {
	index uint64
	err   error
}

// Open opens the log in cfg.Dir, and starts a new one if there is none. The caller
// must Close it.
//
// It verifies the stored checkpoint, that the stored tree continues it, and that
// the newest entries are those of the tree; and it removes what a crash left
// behind. It does not read the whole log: [entry.VerifyFolder] does. It returns an
// error wrapping [ErrLocked] or [ErrCorrupt], or one about the configuration or the
// file system. The context is for opening only.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		cfg:      cfg,
		log:      cfg.Logger,
		requests: make(chan request),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
		advanced: make(chan struct{}),
	}
	if err := l.open(ctx); err != nil {
		l.release()
		return nil, err
	}
	l.running.Add(2)
	go l.commit()
	go l.publish()
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	if err := os.MkdirAll(l.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("audit: creating the folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(l.cfg.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("audit: opening the lock: %w", err)
	}
	l.lock = lock
	// The lock is of the open file, so it keeps out other Logs of this process too.
	// The driver's own locks do not: they are of the process.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrLocked
		}
		return fmt.Errorf("audit: locking the folder: %w", err)
	}
	size, removed, err := recoverFolder(ctx, l.cfg.Dir, l.cfg.Verifier)
	if err != nil {
		return err
	}
	if removed > 0 {
		l.log.Warn("removed what a crash left in the audit log", "origin", l.cfg.Origin, "files", removed)
	}
	l.silence = routeKlog(l.log)

	driver, err := posix.New(ctx, posix.Config{Path: l.cfg.Dir})
	if err != nil {
		return fmt.Errorf("audit: opening the driver: %v", err)
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.appender, l.shutdown, l.reader, err = tessera.NewAppender(background, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(l.cfg.Signer).
		WithBatching(maxBatch, batchAge).
		// Soon enough before each tick of publish, and not so often that the
		// syncs of checkpoints slow down those of entries.
		WithCheckpointInterval(min(max(l.cfg.Interval/4, MinInterval), time.Second)).
		WithCheckpointRepublishInterval(0)) // the same tree gives the same bytes
	if err != nil {
		return fmt.Errorf("audit: opening the log: %v", err)
	}
	if l.dir, err = os.Stat(l.cfg.Dir); err != nil {
		return fmt.Errorf("audit: opening the log: %w", err)
	}
	if l.state, err = os.Stat(filepath.Join(l.cfg.Dir, stateDir)); err != nil {
		return fmt.Errorf("audit: opening the log: %w", err)
	}
	l.size.Store(size)
	if l.published, err = l.readCheckpoint(ctx); err != nil {
		return err
	}
	if size > l.published.Size {
		l.marks = []mark{{size, time.Now()}}
	}
	return nil
}

// release undoes open, as far as it came.
func (l *Log) release() {
	if l.cancel != nil {
		l.cancel()
	}
	if l.silence != nil {
		l.silence()
	}
	if l.lock != nil {
		l.lock.Close() // and unlocks
	}
}

// Append adds e to the log and returns its position.
//
// When Append returns nil, the entry is durable: a crash cannot lose it. It is not
// yet covered by a published checkpoint, see [Log.Await]. Concurrent calls share
// their syncs, so that many of them take hardly longer than one.
//
// If ctx ends before the entry is being written, Append returns an error wrapping
// ctx.Err(), and the entry is not in the log. From then on ctx is ignored, because a
// write that was cut short would leave it unknown whether the entry is stored. An
// entry that cannot be encoded gives an error wrapping [entry.ErrInvalid], and one
// that must not be here [ErrInternal]. Any failure to store the entry stops the log:
// this and every later call return an error wrapping [ErrStopped].
func (l *Log) Append(ctx context.Context, e *entry.Entry) (Position, error) {
	data, err := e.Bytes()
	if err != nil {
		return Position{}, err
	}
	if e.Kind.Internal() && !l.cfg.Internal {
		return Position{}, fmt.Errorf("%w: %s", ErrInternal, e.Kind)
	}
	r := request{data, make(chan response, 1)}
	select {
	case l.requests <- r:
	case <-ctx.Done():
		return Position{}, fmt.Errorf("audit: waiting to append: %w", ctx.Err())
	case <-l.stopped:
		return Position{}, l.stopError()
	case <-l.closing:
		return Position{}, ErrClosed
	}
	a := <-r.done
	if a.err != nil {
		return Position{}, a.err
	}
	return Position{a.index, entry.LeafHash(data)}, nil
}

// commit writes entries, one batch after the other. Each batch is whatever was
// waiting when the one before it was done.
func (l *Log) commit() {
	defer l.running.Done()
	batch := make([]request, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case r := <-l.requests:
			batch = append(batch, r)
		case <-l.closing:
			return
		case <-l.stopped:
			l.cancel() // nothing is under way: no future is left unanswered
			return
		}
	fill:
		for len(batch) < maxBatch {
			select {
			case r := <-l.requests:
				batch = append(batch, r)
			default:
				break fill
			}
		}
		l.write(batch)
	}
}

// write stores one batch and answers every request in it.
func (l *Log) write(batch []request) {
	start := time.Now()
	if l.Err() == nil {
		if err := l.usable(); err != nil {
			l.stop(fmt.Errorf("audit: folder is not usable: %w", err))
		}
	}
	if err := l.Err(); err != nil {
		for _, r := range batch {
			r.done <- response{err: err}
		}
		return
	}
	entries := make([]*tessera.Entry, len(batch))
	for i, r := range batch {
		entries[i] = tessera.NewEntry(r.data)
	}
	futures := make([]tessera.IndexFuture, len(batch))
	for i, e := range entries { // all within batchAge, if it goes well
		futures[i] = l.appender.Add(context.Background(), e)
	}
	next := l.size.Load()
	for i, r := range batch {
		index, err := futures[i]()
		switch {
		case err != nil:
			l.stop(fmt.Errorf("audit: storing entry %d: %w", next, err))
		case index.Index != next:
			// Somebody else writes here.
			l.stop(fmt.Errorf("audit: entry was stored at %d in place of %d", index.Index, next))
		default:
			// Stored and synced, even if another entry of this batch is not.
			next++
			l.size.Store(next)
			r.done <- response{index: index.Index}
			continue
		}
		r.done <- response{err: l.stopError()}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if next = l.size.Load(); next > l.published.Size {
		l.marks = appendMark(l.marks, mark{next, start})
	}
}

// appendMark appends m, and keeps the list short: merged marks take the earlier
// time, so that an age is never understated.
func appendMark(marks []mark, m mark) []mark {
	if len(marks) > 0 && marks[len(marks)-1].end >= m.end {
		return marks
	}
	if len(marks) == 1024 {
		for i := range 512 {
			marks[i] = mark{marks[2*i+1].end, marks[2*i].at}
		}
		marks = marks[:512]
	}
	return append(marks, m)
}

// usable reports why the folder cannot be written, if so. It finds before the driver
// does that a volume is gone, replaced or read-only, because the driver panics.
//
// It must not open the driver's lock files: closing them would release its locks.
func (l *Log) usable() error {
	for _, d := range []struct {
		path string
		was  os.FileInfo
	}{{l.cfg.Dir, l.dir}, {filepath.Join(l.cfg.Dir, stateDir), l.state}} {
		is, err := os.Stat(d.path)
		if err != nil {
			return err
		}
		if !os.SameFile(is, d.was) {
			return errors.New("replaced by another folder")
		}
		if err := unix.Access(d.path, unix.W_OK|unix.X_OK); err != nil {
			return err
		}
	}
	return unix.Access(filepath.Join(l.cfg.Dir, stateDir, "treeState.lock"), unix.R_OK|unix.W_OK)
}

// stop stops the log for good, and says why once.
func (l *Log) stop(cause error) {
	l.stopOnce.Do(func() {
		l.cause = cause
		l.log.Error("audit log stopped", "origin", l.cfg.Origin, "err", cause)
		close(l.stopped)
	})
}

// stopError returns the error of a stopped log.
func (l *Log) stopError() error { return fmt.Errorf("%w: %w", ErrStopped, l.cause) }

// Err returns nil while the log works, and an error wrapping [ErrStopped] after it
// was stopped. It is for health checks.
func (l *Log) Err() error {
	select {
	case <-l.stopped:
		return l.stopError()
	default:
		return nil
	}
}

// publish moves the published checkpoint on, at every tick and at no other time.
func (l *Log) publish() {
	defer l.running.Done()
	tick := time.NewTicker(l.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.advance(context.Background())
		case <-l.closing:
			return
		case <-l.stopped:
			return
		}
	}
}

// advance publishes the driver's latest checkpoint.
func (l *Log) advance(ctx context.Context) {
	p, err := l.readCheckpoint(ctx)
	l.mu.Lock()
	old := l.published
	l.mu.Unlock()
	switch {
	case err != nil && errors.Is(err, ErrCorrupt):
		l.stop(err)
		return
	case err != nil:
		l.log.Warn("audit log cannot read its checkpoint", "origin", l.cfg.Origin, "err", err)
		return
	case p.Size < old.Size, p.Size > l.size.Load()+maxBatch:
		// The driver never signs less than before, nor more than one batch that
		// commit has not counted yet.
		l.stop(fmt.Errorf("%w: checkpoint of %d entries", ErrCorrupt, p.Size))
		return
	case p.Size == old.Size:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published = p
	for len(l.marks) > 0 && l.marks[0].end <= p.Size {
		l.marks = l.marks[1:]
	}
	close(l.advanced)
	l.advanced = make(chan struct{})
}

// readCheckpoint returns the driver's latest checkpoint.
func (l *Log) readCheckpoint(ctx context.Context) (*published, error) {
	msg, err := l.reader.ReadCheckpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit: reading the checkpoint: %w", err)
	}
	c, err := entry.CheckCheckpoint(msg, l.cfg.Verifier)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &published{msg, *c}, nil
}

// Await blocks until a published checkpoint covers the entry with the given index.
// It returns an error wrapping ctx.Err(), [ErrStopped] or [ErrClosed] if that does
// not happen.
func (l *Log) Await(ctx context.Context, index uint64) error {
	for {
		l.mu.Lock()
		size, advanced := l.published.Size, l.advanced
		l.mu.Unlock()
		if index < size {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return fmt.Errorf("audit: waiting for a checkpoint: %w", ctx.Err())
		case <-l.stopped:
			return l.stopError()
		case <-l.closing:
			return ErrClosed
		}
	}
}

// Size returns the number of entries that are durable.
func (l *Log) Size() uint64 { return l.size.Load() }

// Origin returns the name of the log.
func (l *Log) Origin() string { return l.cfg.Origin }

// OldestUnpublished returns for how long the oldest entry that no published
// checkpoint covers has been waiting, and 0 if there is none. Appending succeeds
// even when checkpoints cannot be published, so health must look at both. It may
// overstate the age after many batches without a checkpoint.
func (l *Log) OldestUnpublished() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.marks) == 0 {
		return 0
	}
	return time.Since(l.marks[0].at)
}

// Close waits until every entry is covered by a signed checkpoint on disk, and ends
// the log. It returns an error if ctx ends first, and one wrapping [ErrStopped] if
// the log was stopped; it is closed in any case, and the next Open finds all
// acknowledged entries. Later calls return the same error.
func (l *Log) Close(ctx context.Context) error {
	l.closeOnce.Do(func() { l.closeErr = l.close(ctx) })
	return l.closeErr
}

func (l *Log) close(ctx context.Context) error {
	close(l.closing)
	l.running.Wait() // a batch under way is finished first
	defer l.release()
	if err := l.Err(); err != nil {
		return err
	}
	// Wait for the checkpoint first: when it is there, no goroutine of the driver
	// can write an older one over that of whoever opens the folder next.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := l.readCheckpoint(ctx)
		if err != nil {
			return err
		}
		if p.Size >= l.size.Load() {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("audit: closing before a checkpoint covers all entries: %w", ctx.Err())
		}
	}
	l.advance(ctx)
	if err := l.shutdown(ctx); err != nil {
		return fmt.Errorf("audit: closing: %w", err)
	}
	return nil
}

// splitBundle returns the entries of a stored bundle, c2sp.org/tlog-tiles.
func splitBundle(b []byte) ([][]byte, error) {
	var entries [][]byte
	for len(b) > 0 {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, fmt.Errorf("%w: bundle is cut off", ErrCorrupt)
		}
		n := int(binary.BigEndian.Uint16(b))
		entries = append(entries, b[2:2+n])
		b = b[2+n:]
	}
	return entries, nil
}

// hashSize is the length of a hash in a tile in bytes.
const hashSize = sha256.Size

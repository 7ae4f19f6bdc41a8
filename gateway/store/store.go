// Package store keeps what a gateway must not forget: records, queries, budgets,
// candidates, policy inputs, sealed content, documents, and the bytes of tag sets.
//
// # Files
//
//	DIR/records.db     records of our collections and their handles (SQLite)
//	DIR/gateway.db     everything else (SQLite)
//	DIR/sets/xx/HASH   segments of tag sets, named by their SHA-256 in hex
//	DIR/lock           locked by the one process that owns the directory
//
// Directories have mode 0700, files 0600. Two databases, so that loading a million
// records in one transaction does not keep a query from charging its budget.
//
// # Durability
//
// A method that changes something and returns nil has put it on stable storage: a
// crash or a power cut cannot lose it. A method that returns an error has changed
// nothing, with two exceptions that its error cannot tell apart from failure: the
// disk failed during the commit itself, so that after a crash the change may turn
// out to be there; and a segment file that no manifest names, which
// [Store.CollectSegments] removes. Both are harmless: every change is idempotent,
// or refused the second time.
//
// Cancelling a context is heeded while waiting for the write lock, between the
// rows of a file, and by reads, of a single row before it is read. A transaction
// that has begun is finished.
//
// Databases are in write-ahead-log mode with synchronous=FULL, transactions that
// write are immediate and use one connection, and deleted content is overwritten
// (secure_delete). Each hot step of a query is one commit: [Store.BeginQuery] and
// [Store.FinishQuery] at the holder, [Store.PutRequest] and [Store.UpdateAsk] at
// the asker.
//
// # Who learns what
//
// Records, the item references of candidates and the receipts of queries are
// personal data or lead to it. Sealed content is encrypted to the auditor before
// it comes here. Errors and statistics never hold any of it.
//
// Queries use the common subset of SQLite and PostgreSQL; only the migrations, the
// opening of a database and [Store.Check] are SQLite's. Times are kept in
// milliseconds.
//
// All methods may be called concurrently.
//
// Out of scope: what a record, a manifest or an agreement means, who may do what,
// backups.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

var (
	// ErrStorage is returned when the disk or the database fails. It is a fault of
	// ours: retry, or page the operator. The text never holds content.
	ErrStorage = errors.New("store: storage failed")

	// ErrNotFound is returned for what is not there.
	ErrNotFound = errors.New("store: not found")

	// ErrInvalid is returned for arguments that contradict the documentation.
	ErrInvalid = errors.New("store: invalid argument")

	// ErrExists is returned for a second value under a name that is taken.
	ErrExists = errors.New("store: exists already")

	// ErrLocked is returned by Open if another process has the directory open.
	ErrLocked = errors.New("store: another process owns the directory")

	// ErrNewerSchema is returned by Open for a database of a newer program.
	ErrNewerSchema = errors.New("store: the database was written by a newer version")

	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("store: closed")
)

// A Store is the storage of one gateway. Close must be called.
type Store struct {
	dir     string
	lock    *os.File
	records *database
	gateway *database

	// segments is held for reading while files are about to be named by a
	// manifest, and for writing while unnamed files are removed.
	segments sync.RWMutex
}

// Open opens the store in dir, and makes it if there is none. It applies the
// migrations that the databases lack, and returns an error wrapping
// [ErrNewerSchema] or [ErrLocked] where those say so.
func Open(ctx context.Context, dir string) (*Store, error) {
	for _, d := range []string{dir, filepath.Join(dir, "sets")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, failed("making the directory", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, failed("opening the lock file", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, failed("locking the directory", err)
	}
	s := &Store{dir: dir, lock: lock}
	for _, d := range []struct {
		name string
		db   **database
	}{{"records", &s.records}, {"gateway", &s.gateway}} {
		if *d.db, err = open(ctx, dir, d.name); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Close waits for the transaction under way and closes the store.
func (s *Store) Close() error {
	var errs []error
	for _, d := range []*database{s.records, s.gateway} {
		if d != nil {
			errs = append(errs, d.close())
		}
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// Check reads everything and reports what is damaged: pages and indexes of the
// databases, references between rows, and segments that are missing or differ
// from their name. It is slow.
func (s *Store) Check(ctx context.Context) error {
	var errs []error
	for _, d := range []*database{s.records, s.gateway} {
		errs = append(errs, d.check(ctx))
	}
	hashes, err := s.segmentHashes(ctx)
	if err != nil {
		return err
	}
	for hash := range hashes {
		if _, err := s.Segment(ctx, hash); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// A database is one SQLite file: one connection that writes, and a pool that
// reads.
type database struct {
	name    string
	writeDB *sql.DB
	readDB  *sql.DB

	// turn holds one token. Whoever has it owns conn, stmts and closed.
	turn   chan struct{}
	conn   *sql.Conn
	stmts  map[string]*sql.Stmt
	closed bool

	reads sync.Map // query -> *sql.Stmt on readDB
}

func open(ctx context.Context, dir, name string) (*database, error) {
	path, err := filepath.Abs(filepath.Join(dir, name+".db"))
	if err != nil {
		return nil, failed("opening "+name, err)
	}
	// SQLite gives its own files the mode of the database file.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, failed("opening "+name, err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, failed("opening "+name, err)
	}
	dsn := func(pragmas ...string) string {
		q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
		return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
	}
	d := &database{name: name, turn: make(chan struct{}, 1), stmts: make(map[string]*sql.Stmt)}
	ok := false
	defer func() {
		if !ok {
			d.close()
		}
	}()
	d.turn <- struct{}{}
	if d.writeDB, err = sql.Open("sqlite", dsn("journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"secure_delete(1)", "temp_store(MEMORY)", "cache_size(-16384)")); err != nil {
		return nil, failed("opening "+name, err)
	}
	d.writeDB.SetMaxOpenConns(1)
	if d.conn, err = d.writeDB.Conn(ctx); err != nil {
		return nil, failed("opening "+name, err)
	}
	var mode string
	if err := d.conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		return nil, failed("opening "+name+" with a write-ahead log", err)
	}
	if err := d.migrate(ctx); err != nil {
		return nil, err
	}
	if d.readDB, err = sql.Open("sqlite", dsn("query_only(1)", "cache_size(-4096)")); err != nil {
		return nil, failed("opening "+name, err)
	}
	n := max(4, runtime.NumCPU())
	d.readDB.SetMaxOpenConns(n)
	d.readDB.SetMaxIdleConns(n)
	ok = true
	return d, nil
}

func (d *database) close() error {
	<-d.turn
	defer func() { d.turn <- struct{}{} }()
	if d.closed {
		return nil
	}
	d.closed = true
	var errs []error
	d.reads.Range(func(_, s any) bool {
		errs = append(errs, s.(*sql.Stmt).Close())
		return true
	})
	if d.readDB != nil {
		errs = append(errs, d.readDB.Close())
	}
	for _, s := range d.stmts {
		errs = append(errs, s.Close())
	}
	if d.conn != nil {
		errs = append(errs, d.conn.Close())
	}
	if d.writeDB != nil {
		errs = append(errs, d.writeDB.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return failed("closing "+d.name, err)
	}
	return nil
}

// A tx is a write transaction. Its statements are prepared once per store.
type tx struct {
	d   *database
	ctx context.Context // of the caller, without its cancellation
}

// write runs f in one transaction, which is committed if f returns nil and undone
// otherwise. It returns the error of f as it is.
func (d *database) write(ctx context.Context, what string, f func(*tx) error) (err error) {
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("store: %s: waiting to write: %w", what, ctx.Err())
	}
	if d.closed {
		return ErrClosed
	}
	// From here on the context must not interrupt: a commit that was cut short
	// would leave it unknown whether it is there.
	t := &tx{d: d, ctx: context.WithoutCancel(ctx)}
	if err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return failed(what, err)
	}
	committed := false
	defer func() {
		// Also when f panics. SQLite may have rolled back by itself, so the
		// result says nothing.
		if !committed {
			d.conn.ExecContext(t.ctx, "ROLLBACK")
		}
	}()
	if err := f(t); err != nil {
		return annotate(what, err)
	}
	if err := t.exec("COMMIT"); err != nil {
		return failed(what, err)
	}
	committed = true
	return nil
}

func (t *tx) stmt(query string) (*sql.Stmt, error) {
	if s := t.d.stmts[query]; s != nil {
		return s, nil
	}
	s, err := t.d.conn.PrepareContext(t.ctx, query)
	if err != nil {
		return nil, &dbError{err}
	}
	t.d.stmts[query] = s
	return s, nil
}

func (t *tx) exec(query string, args ...any) error {
	_, err := t.changed(query, args...)
	return err
}

// changed returns how many rows the statement changed.
func (t *tx) changed(query string, args ...any) (int64, error) {
	s, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, &dbError{err}
	}
	n, err := r.RowsAffected()
	if err != nil {
		return 0, &dbError{err}
	}
	return n, nil
}

// row scans the first row into dest, or returns sql.ErrNoRows.
func (t *tx) row(query string, args []any, dest ...any) error {
	s, err := t.stmt(query)
	if err != nil {
		return err
	}
	err = s.QueryRowContext(t.ctx, args...).Scan(dest...)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return &dbError{err}
	}
	return err
}

// rows calls each for every row.
func (t *tx) rows(query string, args []any, each func(scan func(...any) error) error) error {
	s, err := t.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(t.ctx, args...)
	if err != nil {
		return &dbError{err}
	}
	return drain(rows, each)
}

// prepared returns the statement of a fixed query for reading.
func (d *database) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := d.reads.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := d.readDB.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := d.reads.LoadOrStore(query, s); loaded {
		s.Close()
		return first.(*sql.Stmt), nil
	}
	return s, nil
}

// get reads the first row of a fixed query into dest. It returns ErrNotFound if
// there is none.
func (d *database) get(ctx context.Context, what, query string, args []any, dest ...any) error {
	s, err := d.prepared(ctx, query)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		// The driver starts a goroutine for every statement that can be interrupted,
		// which takes longer than reading a row.
		err = s.QueryRowContext(context.WithoutCancel(ctx), args...).Scan(dest...)
	}
	return read(ctx, what, err)
}

// each calls f for every row of a fixed query.
func (d *database) each(ctx context.Context, what, query string, args []any, f func(scan func(...any) error) error) error {
	s, err := d.prepared(ctx, query)
	if err != nil {
		return read(ctx, what, err)
	}
	return d.run(ctx, what, func() (*sql.Rows, error) { return s.QueryContext(ctx, args...) }, f)
}

// list is each for a query that is put together from a filter.
func (d *database) list(ctx context.Context, what, query string, args []any, f func(scan func(...any) error) error) error {
	return d.run(ctx, what, func() (*sql.Rows, error) { return d.readDB.QueryContext(ctx, query, args...) }, f)
}

func (d *database) run(ctx context.Context, what string, q func() (*sql.Rows, error), f func(scan func(...any) error) error) error {
	rows, err := q()
	if err != nil {
		return read(ctx, what, err)
	}
	if err := drain(rows, f); err != nil {
		if db := (*dbError)(nil); errors.As(err, &db) {
			return read(ctx, what, db.err)
		}
		return err
	}
	return nil
}

// drain calls each for every row and closes rows.
func drain(rows *sql.Rows, each func(scan func(...any) error) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := each(func(dest ...any) error {
			if err := rows.Scan(dest...); err != nil {
				return &dbError{err}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return &dbError{err}
	}
	return nil
}

// A dbError is an error of the database, to be told from our own ones.
type dbError struct{ err error }

func (e *dbError) Error() string { return e.err.Error() }

// annotate turns an error from inside a transaction into one for the caller.
func annotate(what string, err error) error {
	if db := (*dbError)(nil); errors.As(err, &db) {
		return failed(what, db.err)
	}
	return err
}

// read turns an error of a read into one for the caller.
func read(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: %s", ErrNotFound, what)
	case ctx.Err() != nil:
		return fmt.Errorf("store: %s: %w", what, ctx.Err())
	case err.Error() == "sql: database is closed" || err.Error() == "sql: statement is closed":
		return ErrClosed
	}
	return failed(what, err)
}

// failed returns an error wrapping ErrStorage. The texts of the driver name
// tables and columns, never values.
func failed(what string, err error) error {
	return fmt.Errorf("%w: %s: %v", ErrStorage, what, err)
}

// check is Check for one database.
func (d *database) check(ctx context.Context) error {
	what, damaged := "checking "+d.name, false
	err := d.list(ctx, what, "PRAGMA integrity_check", nil, func(scan func(...any) error) error {
		var result string
		err := scan(&result)
		damaged = damaged || result != "ok" // the text may quote content
		return err
	})
	if err != nil {
		return err
	}
	err = d.list(ctx, what, "PRAGMA foreign_key_check", nil, func(func(...any) error) error {
		damaged = true
		return nil
	})
	if err == nil && damaged {
		err = failed(what, errors.New("it is damaged"))
	}
	return err
}

// millis and moment convert times; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// fixed copies a stored value of fixed length.
func fixed(dst, src []byte) error {
	if len(src) != len(dst) {
		return &dbError{errors.New("a value has the wrong length")}
	}
	copy(dst, src)
	return nil
}

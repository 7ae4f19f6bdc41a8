package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the schema to the version of this program. Each migration is one
// transaction, so that a crash leaves the schema before or after it.
func (d *database) migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/"+d.name+"/*.sql") // sorted
	if err != nil {
		return fmt.Errorf("store: internal error: %w", err)
	}
	var version int
	err = d.write(ctx, "reading the schema version of "+d.name, func(t *tx) error {
		if err := t.exec("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
			return err
		}
		return t.row("SELECT COALESCE(MAX(version), 0) FROM schema_version", nil, &version)
	})
	if err != nil {
		return err
	}
	if version > len(files) {
		return fmt.Errorf("%w: %s has schema %d, this program knows %d", ErrNewerSchema, d.name, version, len(files))
	}
	for i, file := range files[version:] {
		next := version + i + 1
		base := file[strings.LastIndexByte(file, '/')+1:]
		if n, err := strconv.Atoi(strings.SplitN(base, "_", 2)[0]); err != nil || n != next {
			return errors.New("store: internal error: migrations are not numbered without gaps")
		}
		text, err := migrations.ReadFile(file)
		if err != nil {
			return fmt.Errorf("store: internal error: %w", err)
		}
		if err := d.write(ctx, "migrating "+d.name, func(t *tx) error {
			if _, err := d.conn.ExecContext(t.ctx, string(text)); err != nil {
				return &dbError{err}
			}
			return t.exec("INSERT INTO schema_version (version) VALUES ($1)", next)
		}); err != nil {
			return err
		}
	}
	return nil
}

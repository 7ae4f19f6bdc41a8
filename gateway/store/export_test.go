package store

import (
	"context"
	"strconv"
)

// SetMaxPages limits both databases to n pages beyond their size of now, as a full
// disk would. A negative n lifts the limit.
func (s *Store) SetMaxPages(ctx context.Context, n int) error {
	for _, d := range []*database{s.records, s.gateway} {
		<-d.turn
		err := func() error {
			defer func() { d.turn <- struct{}{} }()
			limit := 1 << 30
			if n >= 0 {
				var now int
				if err := d.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&now); err != nil {
					return err
				}
				limit = now + n
			}
			_, err := d.conn.ExecContext(ctx, "PRAGMA max_page_count = "+strconv.Itoa(limit))
			return err
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// SetSchemaVersion pretends that a newer program has been here.
func (s *Store) SetSchemaVersion(ctx context.Context, n int) error {
	return s.gateway.write(ctx, "", func(t *tx) error { return t.exec("INSERT INTO schema_version (version) VALUES ($1)", n) })
}

// Pragmas returns the settings of the writing connection.
func (s *Store) Pragmas(ctx context.Context, names ...string) (map[string]string, error) {
	all := make(map[string]string)
	<-s.gateway.turn
	defer func() { s.gateway.turn <- struct{}{} }()
	for _, name := range names {
		var v string
		if err := s.gateway.conn.QueryRowContext(ctx, "PRAGMA "+name).Scan(&v); err != nil {
			return nil, err
		}
		all[name] = v
	}
	return all, nil
}

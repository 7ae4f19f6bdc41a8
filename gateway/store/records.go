package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// A RecordRow is one record of a collection: its content in JSON, and beside it
// the facts on which the rules for publishing depend. Empty means not stated.
type RecordRow struct {
	ID   string // unique in the collection
	JSON []byte // the record, opaque here

	BirthDate        string
	ProtectionStatus string
	CountryOfOrigin  string
	Originator       string
	SourceList       string
	SubjectCategory  string
	Basis            string
	ReliabilityGrade string
	LastVerified     string
	ReviewBy         string
	Nominator        string
	CriterionCode    string
	RedressState     string
	AlertKind        string
	Instruction      string
	State            string

	// Version and File are set by the store: how often the record was written, and
	// the file it last came from.
	Version int64
	File    string
}

// facts returns the columns after json, in the order of the table.
func (r *RecordRow) facts() []*string {
	return []*string{&r.BirthDate, &r.ProtectionStatus, &r.CountryOfOrigin, &r.Originator, &r.SourceList,
		&r.SubjectCategory, &r.Basis, &r.ReliabilityGrade, &r.LastVerified, &r.ReviewBy, &r.Nominator,
		&r.CriterionCode, &r.RedressState, &r.AlertKind, &r.Instruction, &r.State}
}

// hash returns a hash of everything that is given, so that an unchanged record is
// recognised without being read.
func (r *RecordRow) hash() []byte {
	h := sha256.New()
	field := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	field(r.JSON)
	for _, s := range r.facts() {
		field([]byte(*s))
	}
	return h.Sum(nil)
}

// A PutResult counts what became of the records of one file.
type PutResult struct {
	Added, Changed, Unchanged int
}

const putRecord = `
INSERT INTO records (collection, id, version, file, hash, json,
    birth_date, protection_status, country_of_origin, originator, source_list,
    subject_category, basis, reliability_grade, last_verified, review_by, nominator,
    criterion_code, redress_state, alert_kind, instruction, state)
VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
ON CONFLICT (collection, id) DO UPDATE SET
    version = records.version + 1, file = excluded.file, hash = excluded.hash, json = excluded.json,
    birth_date = excluded.birth_date, protection_status = excluded.protection_status,
    country_of_origin = excluded.country_of_origin, originator = excluded.originator,
    source_list = excluded.source_list, subject_category = excluded.subject_category, basis = excluded.basis,
    reliability_grade = excluded.reliability_grade, last_verified = excluded.last_verified,
    review_by = excluded.review_by, nominator = excluded.nominator, criterion_code = excluded.criterion_code,
    redress_state = excluded.redress_state, alert_kind = excluded.alert_kind,
    instruction = excluded.instruction, state = excluded.state
WHERE records.hash <> excluded.hash
RETURNING version`

// PutRecords adds or replaces the records of one file in one transaction: all of
// them, or none if rows yields an error, which is returned as it is, or if ctx
// ends. A record that is the same as before is left alone. The version of the
// collection grows by one if anything changed.
func (s *Store) PutRecords(ctx context.Context, collection, file string, rows iter.Seq2[RecordRow, error]) (PutResult, error) {
	if collection == "" {
		return PutResult{}, fmt.Errorf("%w: no collection", ErrInvalid)
	}
	var n PutResult
	err := s.records.write(ctx, "putting records", func(t *tx) error {
		args := make([]any, 0, 21)
		for row, err := range rows {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			if row.ID == "" {
				return fmt.Errorf("%w: record without id", ErrInvalid)
			}
			args = append(args[:0], collection, row.ID, file, row.hash(), bytesOf(row.JSON))
			for _, s := range row.facts() {
				args = append(args, *s)
			}
			var version int64
			switch err := t.row(putRecord, args, &version); {
			case errors.Is(err, sql.ErrNoRows):
				n.Unchanged++
			case err != nil:
				return err
			case version == 1:
				n.Added++
			default:
				n.Changed++
			}
		}
		if n.Added+n.Changed == 0 {
			// An empty collection exists, too.
			return t.exec("INSERT INTO collections (name, version) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING", collection)
		}
		return t.bump(collection)
	})
	if err != nil {
		return PutResult{}, err
	}
	return n, nil
}

// bump counts up the version of a collection.
func (t *tx) bump(collection string) error {
	return t.exec(`INSERT INTO collections (name, version) VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET version = collections.version + 1`, collection)
}

const recordColumns = `id, version, file, json, birth_date, protection_status, country_of_origin, originator, source_list,
	subject_category, basis, reliability_grade, last_verified, review_by, nominator,
	criterion_code, redress_state, alert_kind, instruction, state`

func scanRecord(scan func(...any) error) (RecordRow, error) {
	var r RecordRow
	dest := []any{&r.ID, &r.Version, &r.File, &r.JSON}
	for _, s := range r.facts() {
		dest = append(dest, s)
	}
	if err := scan(dest...); err != nil {
		return RecordRow{}, err
	}
	return r, nil
}

// Records returns the records of a collection as they were at one moment, by id.
// The sequence may be used once; it yields at most one error, as its last element.
func (s *Store) Records(ctx context.Context, collection string) iter.Seq2[RecordRow, error] {
	return func(yield func(RecordRow, error) bool) {
		stop := errors.New("stop")
		err := s.records.each(ctx, "reading records",
			"SELECT "+recordColumns+" FROM records WHERE collection = $1 ORDER BY id", []any{collection},
			func(scan func(...any) error) error {
				r, err := scanRecord(scan)
				if err != nil {
					return err
				}
				if !yield(r, nil) {
					return stop
				}
				return nil
			})
		if err != nil && err != stop {
			yield(RecordRow{}, err)
		}
	}
}

// Record returns one record, or an error wrapping [ErrNotFound].
func (s *Store) Record(ctx context.Context, collection, id string) (RecordRow, error) {
	return scanRecord(func(dest ...any) error {
		return s.records.get(ctx, "reading a record",
			"SELECT "+recordColumns+" FROM records WHERE collection = $1 AND id = $2", []any{collection, id}, dest...)
	})
}

// DeleteRecord deletes a record, or returns an error wrapping [ErrNotFound]. Its
// handles stay, so that a neighbour's follow-up is answered with "withdrawn".
func (s *Store) DeleteRecord(ctx context.Context, collection, id string) error {
	return s.records.write(ctx, "deleting a record", func(t *tx) error {
		n, err := t.changed("DELETE FROM records WHERE collection = $1 AND id = $2", collection, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: record", ErrNotFound)
		}
		return t.bump(collection)
	})
}

// CountRecords returns the number of records of a collection, 0 for an unknown
// one.
func (s *Store) CountRecords(ctx context.Context, collection string) (int64, error) {
	var n int64
	err := s.records.get(ctx, "counting records", "SELECT COUNT(*) FROM records WHERE collection = $1", []any{collection}, &n)
	return n, err
}

// CollectionVersion returns the version of a collection: a number that grows with
// each change, and 0 if there was none. Whoever reads it before [Store.Records]
// sees at least what that version had.
func (s *Store) CollectionVersion(ctx context.Context, collection string) (uint64, error) {
	var v int64
	err := s.records.get(ctx, "reading a collection", "SELECT version FROM collections WHERE name = $1", []any{collection}, &v)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return uint64(v), err
}

// A CollectionInfo describes one of our collections.
type CollectionInfo struct {
	Name    string
	Version uint64
	Records int64
}

// Collections returns our collections, by name.
func (s *Store) Collections(ctx context.Context) ([]CollectionInfo, error) {
	var all []CollectionInfo
	err := s.records.each(ctx, "listing collections", `SELECT name, version,
		(SELECT COUNT(*) FROM records WHERE records.collection = collections.name) FROM collections ORDER BY name`, nil,
		func(scan func(...any) error) error {
			var c CollectionInfo
			var v int64
			if err := scan(&c.Name, &v, &c.Records); err != nil {
				return err
			}
			c.Version = uint64(v)
			all = append(all, c)
			return nil
		})
	return all, err
}

// bytesOf returns b, but never nil, which would be NULL.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

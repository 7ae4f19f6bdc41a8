-- Entries of the internal log about queries that have ended, until they are in it.
CREATE TABLE outcomes (
    query BLOB PRIMARY KEY,
    entry BLOB NOT NULL,
    after INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Records of our own collections, and the handles under which neighbours see
-- them. A file of its own, so that loading a million records does not keep the
-- write lock from the queries.
CREATE TABLE collections (
    name    TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT;

CREATE TABLE records (
    seq               INTEGER PRIMARY KEY,
    collection        TEXT NOT NULL,
    id                TEXT NOT NULL,
    version           INTEGER NOT NULL,
    file              TEXT NOT NULL,
    hash              BLOB NOT NULL,
    json              BLOB NOT NULL,
    birth_date        TEXT NOT NULL,
    protection_status TEXT NOT NULL,
    country_of_origin TEXT NOT NULL,
    originator        TEXT NOT NULL,
    source_list       TEXT NOT NULL,
    subject_category  TEXT NOT NULL,
    basis             TEXT NOT NULL,
    reliability_grade TEXT NOT NULL,
    last_verified     TEXT NOT NULL,
    review_by         TEXT NOT NULL,
    nominator         TEXT NOT NULL,
    criterion_code    TEXT NOT NULL,
    redress_state     TEXT NOT NULL,
    alert_kind        TEXT NOT NULL,
    instruction       TEXT NOT NULL,
    state             TEXT NOT NULL,
    UNIQUE (collection, id)
) STRICT;

CREATE TABLE handles (
    peer       TEXT NOT NULL,
    collection TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    record_id  TEXT NOT NULL,
    handle     BLOB NOT NULL,
    PRIMARY KEY (peer, collection, epoch, record_id),
    UNIQUE (peer, collection, epoch, handle)
) STRICT, WITHOUT ROWID;

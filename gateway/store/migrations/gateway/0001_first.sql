-- Times are milliseconds since the Unix epoch, UTC; 0 is none.

-- Queries that neighbours asked us, for idempotent retries.
CREATE TABLE queries (
    peer      TEXT NOT NULL,
    agreement TEXT NOT NULL,
    id        BLOB NOT NULL,
    digest    BLOB NOT NULL,
    state     INTEGER NOT NULL,
    begun     INTEGER NOT NULL,
    finished  INTEGER NOT NULL,
    decision  TEXT NOT NULL,
    answer    BLOB,
    PRIMARY KEY (peer, agreement, id)
) STRICT;
CREATE INDEX queries_begun ON queries (begun);
CREATE INDEX queries_pending ON queries (begun) WHERE state = 1;

CREATE TABLE budgets (
    counter TEXT PRIMARY KEY,
    used    INTEGER NOT NULL,
    ends    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Requests of our officers, and the queries they fanned out into.
CREATE TABLE requests (
    id      BLOB PRIMARY KEY,
    digest  BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE asks (
    id             BLOB PRIMARY KEY,
    request        BLOB NOT NULL,
    holder         TEXT NOT NULL,
    collection     TEXT NOT NULL,
    agreement      TEXT NOT NULL,
    purpose        TEXT NOT NULL,
    kind           TEXT NOT NULL,
    items          INTEGER NOT NULL,
    officer        TEXT NOT NULL,
    unit           TEXT NOT NULL,
    state          INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    list_version   INTEGER NOT NULL,
    request_digest BLOB NOT NULL,
    receipt        BLOB,
    candidates     INTEGER NOT NULL,
    created        INTEGER NOT NULL,
    updated        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX asks_request ON asks (request);

CREATE TABLE candidates (
    id           BLOB PRIMARY KEY,
    query        BLOB NOT NULL,
    request      BLOB NOT NULL,
    holder       TEXT NOT NULL,
    collection   TEXT NOT NULL,
    epoch        INTEGER NOT NULL,
    list_version INTEGER NOT NULL,
    handle       BLOB NOT NULL,
    item         TEXT NOT NULL,
    weight       INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    instruction  INTEGER NOT NULL,
    state        TEXT NOT NULL,
    detail       BLOB,
    created      INTEGER NOT NULL,
    expires      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX candidates_query ON candidates (query);
CREATE INDEX candidates_request ON candidates (request);
CREATE INDEX candidates_expires ON candidates (expires);

-- Erasable content.
CREATE TABLE policy_inputs (
    digest  BLOB PRIMARY KEY,
    input   BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX policy_inputs_expires ON policy_inputs (expires);
CREATE INDEX policy_inputs_created ON policy_inputs (created);

CREATE TABLE sealed (
    hash    BLOB PRIMARY KEY,
    content BLOB,
    expires INTEGER NOT NULL,
    erased  INTEGER NOT NULL
) STRICT;
CREATE INDEX sealed_expires ON sealed (expires) WHERE erased = 0;

CREATE TABLE leaves (
    log   TEXT NOT NULL,
    idx   INTEGER NOT NULL,
    query BLOB NOT NULL,
    kind  TEXT NOT NULL,
    hash  BLOB NOT NULL,
    PRIMARY KEY (log, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX leaves_query ON leaves (query);

-- Chains of manifests: side 1 is what we published, side 2 what we accepted.
CREATE TABLE manifests (
    side       INTEGER NOT NULL,
    peer       TEXT NOT NULL,
    collection TEXT NOT NULL,
    class      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    previous   BLOB NOT NULL,
    manifest   BLOB NOT NULL,
    proof      BLOB,
    created    INTEGER NOT NULL,
    PRIMARY KEY (side, peer, collection, class, version),
    UNIQUE (side, peer, collection, class, previous),
    UNIQUE (side, peer, collection, class, hash)
) STRICT;

CREATE TABLE segments (
    side       INTEGER NOT NULL,
    peer       TEXT NOT NULL,
    collection TEXT NOT NULL,
    class      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    PRIMARY KEY (side, peer, collection, class, version, position),
    FOREIGN KEY (side, peer, collection, class, version)
        REFERENCES manifests (side, peer, collection, class, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX segments_hash ON segments (hash);

CREATE TABLE forks (
    side       INTEGER NOT NULL,
    peer       TEXT NOT NULL,
    collection TEXT NOT NULL,
    class      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    manifest   BLOB NOT NULL,
    seen       INTEGER NOT NULL,
    PRIMARY KEY (side, peer, collection, class, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE published (
    peer               TEXT NOT NULL,
    collection         TEXT NOT NULL,
    version            INTEGER NOT NULL,
    epoch              INTEGER NOT NULL,
    collection_version INTEGER NOT NULL,
    agreement          BLOB NOT NULL,
    bundle             BLOB NOT NULL,
    records            INTEGER NOT NULL,
    withheld           INTEGER NOT NULL,
    created            INTEGER NOT NULL,
    PRIMARY KEY (peer, collection)
) STRICT, WITHOUT ROWID;

CREATE TABLE synced (
    peer       TEXT NOT NULL,
    collection TEXT NOT NULL,
    version    INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (peer, collection)
) STRICT, WITHOUT ROWID;

-- Documents.
CREATE TABLE peers (
    trust_domain TEXT PRIMARY KEY,
    invite       BLOB NOT NULL,
    state        TEXT NOT NULL,
    added        INTEGER NOT NULL,
    ended        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agreements (
    id     TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    file   BLOB NOT NULL,
    PRIMARY KEY (id, number)
) STRICT;

CREATE TABLE suspensions (
    agreement TEXT NOT NULL,
    party     TEXT NOT NULL,
    PRIMARY KEY (agreement, party)
) STRICT, WITHOUT ROWID;

CREATE TABLE officer_changes (
    sequence INTEGER PRIMARY KEY,
    change   BLOB NOT NULL
) STRICT;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    origin     TEXT PRIMARY KEY,
    size       INTEGER NOT NULL,
    root       BLOB NOT NULL,
    checkpoint BLOB NOT NULL,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

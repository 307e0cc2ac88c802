-- The ledger: what this daemon watches and what it made. Nothing in here is secret.
-- Times are milliseconds since 1970, UTC.

CREATE TABLE repositories (
    id            TEXT PRIMARY KEY,
    -- Bytes, because that is what a path is.
    common_dir    BLOB NOT NULL,
    -- Tell a directory from another one that took its path.
    device        INTEGER NOT NULL,
    inode         INTEGER NOT NULL,
    registered_at INTEGER NOT NULL,
    -- Text of the last configuration that was valid; it stays in force while the file is broken.
    last_config   TEXT,
    -- Another repository took its path: kept for its records, never looked at.
    retired       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE branches (
    repository_id TEXT NOT NULL REFERENCES repositories (id),
    -- The service and project that the branch is in. A record is acted on only there.
    origin        TEXT NOT NULL,
    project       TEXT NOT NULL,
    slot          TEXT NOT NULL,
    branch        TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('intent', 'owned', 'adopted', 'quarantined')),
    uid           TEXT,
    source        TEXT,
    since         INTEGER NOT NULL,
    lease_held    INTEGER NOT NULL DEFAULT 0,
    reap_after    INTEGER,
    was_locked    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (repository_id, origin, project, slot)
) STRICT;

-- Two slots never share a branch.
CREATE UNIQUE INDEX branch_names ON branches (origin, project, branch);

-- What we deleted, so that a later look can tell a reaped branch from a lost one.
CREATE TABLE tombstones (
    uid           TEXT NOT NULL,
    origin        TEXT NOT NULL,
    project       TEXT NOT NULL,
    branch        TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    slot          TEXT NOT NULL,
    deleted_at    INTEGER NOT NULL,
    PRIMARY KEY (origin, project, uid)
) STRICT;

-- Names that the service will not give out again yet: a deleted branch holds its name for a while.
CREATE TABLE held_names (
    origin        TEXT NOT NULL,
    project       TEXT NOT NULL,
    branch        TEXT NOT NULL,
    until         INTEGER NOT NULL,
    PRIMARY KEY (origin, project, branch)
) STRICT;

CREATE TABLE events (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    at            INTEGER NOT NULL,
    repository_id TEXT NOT NULL,
    branch        TEXT NOT NULL,
    action        TEXT NOT NULL,
    why           TEXT NOT NULL
) STRICT;

-- What Local Lakebase remembers: projects, branches, endpoints, operations and a few settings. No secret is in here.
CREATE TABLE project (
    name                  TEXT PRIMARY KEY,
    uid                   TEXT NOT NULL UNIQUE,
    display_name          TEXT NOT NULL,
    owner                 TEXT NOT NULL,
    pg_version            INTEGER NOT NULL,
    default_branch        TEXT NOT NULL,
    retention_seconds     INTEGER NOT NULL,
    suspend_seconds       INTEGER,             -- of new endpoints; null: never
    min_cu                REAL NOT NULL,
    max_cu                REAL NOT NULL,
    create_time           TEXT NOT NULL,
    update_time           TEXT NOT NULL
) STRICT;

CREATE TABLE branch (
    uid                   TEXT PRIMARY KEY,
    name                  TEXT NOT NULL UNIQUE,
    project               TEXT NOT NULL REFERENCES project (name) ON DELETE CASCADE,
    phase                 TEXT NOT NULL CHECK (phase IN ('creating', 'ready', 'deleted')),
    source_uid            TEXT,                -- null: a root
    source_name           TEXT,
    source_lsn            TEXT,
    source_time           TEXT,
    is_protected          INTEGER NOT NULL,
    expire_time           TEXT,                -- null: never
    create_time           TEXT NOT NULL,
    update_time           TEXT NOT NULL,
    state_change_time     TEXT NOT NULL,
    delete_time           TEXT,
    purge_time            TEXT
) STRICT;
CREATE INDEX branch_by_project ON branch (project);

CREATE TABLE endpoint (
    uid                   TEXT PRIMARY KEY,
    name                  TEXT NOT NULL UNIQUE,
    branch_uid            TEXT NOT NULL REFERENCES branch (uid) ON DELETE CASCADE,
    address               TEXT,                -- its own loopback address; null: the shared port
    disabled              INTEGER NOT NULL,
    suspend_seconds       INTEGER,             -- null: never
    min_cu                REAL NOT NULL,
    max_cu                REAL NOT NULL,
    create_time           TEXT NOT NULL,
    update_time           TEXT NOT NULL
) STRICT;
CREATE INDEX endpoint_by_branch ON endpoint (branch_uid);

-- Refers to nothing: an operation can be asked for after its resource is gone.
CREATE TABLE operation (
    name                  TEXT PRIMARY KEY,
    create_time           TEXT NOT NULL,
    body                  TEXT NOT NULL
) STRICT;

CREATE TABLE setting (
    key                   TEXT PRIMARY KEY,
    value                 TEXT NOT NULL
) STRICT;

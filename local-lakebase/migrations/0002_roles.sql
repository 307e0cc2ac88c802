-- Roles and databases of a branch. Those that were there before are written at the next start.
ALTER TABLE project ADD COLUMN enable_pg_native_login INTEGER NOT NULL DEFAULT 0;

CREATE TABLE role (
    branch_uid            TEXT NOT NULL REFERENCES branch (uid) ON DELETE CASCADE,
    id                    TEXT NOT NULL,
    postgres_role         TEXT NOT NULL,
    identity_type         TEXT NOT NULL,
    auth_method           TEXT NOT NULL,
    is_superuser_member   INTEGER NOT NULL,
    createdb              INTEGER NOT NULL,
    createrole            INTEGER NOT NULL,
    bypassrls             INTEGER NOT NULL,
    password_nonce        TEXT,                -- what its password is made from, with a key that is not here
    create_time           TEXT NOT NULL,
    update_time           TEXT NOT NULL,
    PRIMARY KEY (branch_uid, id),
    UNIQUE (branch_uid, postgres_role)
) STRICT;

-- Called pg_database because a bare `database` is a word of SQL.
CREATE TABLE pg_database (
    branch_uid            TEXT NOT NULL REFERENCES branch (uid) ON DELETE CASCADE,
    id                    TEXT NOT NULL,
    postgres_database     TEXT NOT NULL,
    role_id               TEXT NOT NULL,       -- its owner
    create_time           TEXT NOT NULL,
    update_time           TEXT NOT NULL,
    PRIMARY KEY (branch_uid, id),
    UNIQUE (branch_uid, postgres_database)
) STRICT;

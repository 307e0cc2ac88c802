-- What the machine can do to a ledger: lose it, bring an older one back, or share it with another machine.

-- Device and inode mean something on one machine only. Empty: registered before this was asked.
ALTER TABLE repositories ADD COLUMN machine TEXT NOT NULL DEFAULT '';
-- When the directory was made, in nanoseconds since 1970: inodes are used again. Missing where the file system does not tell.
ALTER TABLE repositories ADD COLUMN born INTEGER;
-- Where the main worktree is. Only it knows where the git directory is, if that lies elsewhere.
ALTER TABLE repositories ADD COLUMN main_worktree BLOB;

-- One row. The generation counts the changes of `branches`, and is written beside this file too: an older copy has a lower one.
CREATE TABLE ledger (
    only_row       INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation     INTEGER NOT NULL,
    -- This ledger took the place of a lost one, or is an older copy, and nobody has confirmed it: nothing is deleted.
    is_upsert_only INTEGER NOT NULL
) STRICT;

INSERT INTO ledger VALUES (1, 0, 0);

CREATE TRIGGER branch_made AFTER INSERT ON branches BEGIN UPDATE ledger SET generation = generation + 1; END;
CREATE TRIGGER branch_changed AFTER UPDATE ON branches BEGIN UPDATE ledger SET generation = generation + 1; END;
CREATE TRIGGER branch_dropped AFTER DELETE ON branches BEGIN UPDATE ledger SET generation = generation + 1; END;

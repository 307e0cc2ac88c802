-- A ledger that was lost or replaced by an older copy: its registrations come back from the file beside it, and each repository
-- waits until its branches are recovered.

-- Its records are not confirmed: nothing is created or deleted for it.
ALTER TABLE repositories ADD COLUMN unconfirmed INTEGER NOT NULL DEFAULT 0;

-- Registrations are written beside this file too, so their changes count.
CREATE TRIGGER repository_made AFTER INSERT ON repositories BEGIN UPDATE ledger SET generation = generation + 1; END;
CREATE TRIGGER repository_changed AFTER UPDATE ON repositories BEGIN UPDATE ledger SET generation = generation + 1; END;
CREATE TRIGGER repository_dropped AFTER DELETE ON repositories BEGIN UPDATE ledger SET generation = generation + 1; END;

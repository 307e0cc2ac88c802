-- Somebody asked to keep the branch for good.
ALTER TABLE branches ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;

-- The brake counts the deletes of the last hour.
CREATE INDEX tombstones_by_time ON tombstones (origin, project, deleted_at);

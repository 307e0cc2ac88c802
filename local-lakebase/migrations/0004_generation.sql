-- In which state of the catalog a branch was last changed. Its descriptor, beside its data, says the same; one that says more
-- is from a later catalog than this.
ALTER TABLE branch ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

-- Branches whose rows are removed and whose data may still be there: their removal is finished at the next start. Data of no
-- row that are not named here are moved to `lost`.
CREATE TABLE removal (
    project               TEXT NOT NULL,
    uid                   TEXT NOT NULL,
    PRIMARY KEY (project, uid)
) STRICT;

-- Random, so that the catalog of another installation is recognised by the descriptors.
INSERT INTO setting VALUES ('catalog_id', lower(hex(randomblob(16)))), ('generation', '0');

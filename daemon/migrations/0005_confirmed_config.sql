-- The last valid configuration becomes the confirmed one: what serves until the user confirms another. A file in the repository is
-- a proposal.
ALTER TABLE repositories RENAME COLUMN last_config TO confirmed_config;

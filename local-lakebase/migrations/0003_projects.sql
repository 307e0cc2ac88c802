-- Soft-deleted projects, and what the bill says about a project.
ALTER TABLE project ADD COLUMN custom_tags TEXT NOT NULL DEFAULT '[]'; -- JSON, as the API has them
ALTER TABLE project ADD COLUMN budget_policy_id TEXT;
ALTER TABLE project ADD COLUMN delete_time TEXT;
ALTER TABLE project ADD COLUMN purge_time TEXT;

"""Lists a project's branches with the public SDK, mints a credential for one of them, and logs in with it.

usage: branches.py PROJECT BRANCH      (the workspace is the one of DATABRICKS_CONFIG_PROFILE)
"""
import os, subprocess, sys
from databricks.sdk import WorkspaceClient

project, branch = sys.argv[1:]
lakebase = WorkspaceClient().postgres
for found in lakebase.list_branches(f"projects/{project}"):
    print("branch", found.name.rsplit("/", 1)[1])
endpoint = next(iter(lakebase.list_endpoints(f"projects/{project}/branches/{branch}")))
credential = lakebase.generate_database_credential(endpoint=endpoint.name)
env = os.environ | {"PGHOST": endpoint.status.hosts.host, "PGUSER": WorkspaceClient().current_user.me().user_name,
                    "PGPASSWORD": credential.token, "PGDATABASE": "databricks_postgres", "PGSSLMODE": "require"}
query = "SELECT 'psql says ' || current_user || ' on ' || current_database()"
sys.exit(subprocess.run(["psql", "-XAtc", query], env=env).returncode)

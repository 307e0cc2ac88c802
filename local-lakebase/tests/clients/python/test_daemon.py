"""databricks-sdk and psql beside a daemon: what it made for its worktrees is there for everybody.

scripts/test-clients starts the daemon, and says in the environment what it asked of it."""
import os, subprocess


def test_the_branches_of_a_daemon_are_there_for_everybody(workspace):
    parent = f"projects/{os.environ['CLIENTS_PROJECT']}"
    branch = f"{parent}/branches/{os.environ['CLIENTS_BRANCH']}"
    names = [found.name for found in workspace.postgres.list_branches(parent)]
    assert f"{parent}/branches/production" in names and branch in names
    [endpoint] = workspace.postgres.list_endpoints(branch)
    credential = workspace.postgres.generate_database_credential(endpoint.name)
    raw = workspace.api_client.do("GET", f"/api/2.0/postgres/{endpoint.name}")
    env = os.environ | {
        "PGHOST": endpoint.status.hosts.host, "PGPORT": str(raw["status"]["hosts"].get("port", 5432)),
        "PGUSER": workspace.current_user.me().user_name, "PGPASSWORD": credential.token,
        "PGDATABASE": "databricks_postgres", "PGSSLMODE": "require"}
    query = "SELECT current_user || ' on ' || current_database()"
    said = subprocess.run(["psql", "-XAtc", query], env=env, capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.stderr) == (f"{env['PGUSER']} on databricks_postgres\n", "")

"""databricks-sdk and psql beside a daemon: what it made for its worktrees is there for everybody.

scripts/test-clients starts the daemon, and says in the environment what it asked of it."""
import json, os, re, shutil, subprocess
from pathlib import Path

from dotenv import dotenv_values


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


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, **options).stdout


def node_reads_env_files():
    if not shutil.which("node"):
        return False
    major, minor = map(int, re.match(r"v(\d+)\.(\d+)", run("node", "--version")).groups())
    return (major, minor) >= (20, 6)


def test_every_reader_of_the_env_file_finds_the_same():
    worktree = Path(os.environ["CLIENTS_WORKTREE"])
    file = worktree / ".env"
    expected = json.loads(run("lakebase", "env", "--json", cwd=worktree))
    # The daemon does not write it: it holds for Node.js alone, and may be set already.
    expected.pop("NODE_EXTRA_CA_CERTS", None)
    assert "&" in expected["DATABASE_URL"], "a URL that bash would cut"
    assert dict(dotenv_values(file)) == expected
    script = 'set -a; . "$0"; exec python3 -c "import json, os; print(json.dumps(dict(os.environ)))"'
    by_bash = json.loads(run("bash", "-c", script, str(file), env={"PATH": os.environ["PATH"]}))
    assert {key: by_bash.get(key) for key in expected} == expected
    if node_reads_env_files():
        program = "console.log(JSON.stringify(process.env))"
        by_node = json.loads(run("node", f"--env-file={file}", "-e", program, env={"PATH": os.environ["PATH"]}))
        assert {key: by_node.get(key) for key in expected} == expected

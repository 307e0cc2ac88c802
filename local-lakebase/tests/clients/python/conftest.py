"""What the tests of public clients share: the server that scripts/test-clients started, and branches of their own.

Only public packages are used here, as somebody would who has never seen this repository. The one exception is
`aged`, which makes a token older than a test can wait for.
"""
import base64, contextlib, hashlib, hmac, itertools, json, os, pathlib, subprocess, time
from dataclasses import dataclass

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.service.postgres import (Branch, BranchSpec, Endpoint, EndpointSpec, EndpointType, Project,
                                             ProjectSpec)
from google.protobuf.duration_pb2 import Duration

DATABASE = "databricks_postgres"
_numbers = itertools.count(1)


def until(what, met, seconds=30):
    """Polls until `met()` is true and returns that; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.05)
    return found


@dataclass
class Place:
    """A branch that a test may do with as it likes, and how to reach it."""
    workspace: WorkspaceClient
    branch: str
    user: str
    ca: str

    @property
    def endpoint(self):
        return f"{self.branch}/endpoints/primary"

    def found(self):
        return self.workspace.postgres.get_endpoint(self.endpoint)

    def token(self):
        return self.workspace.postgres.generate_database_credential(self.endpoint).token

    def host(self):
        return self.found().status.hosts.host

    def port(self):
        """5432 as on the real service, unless this machine has no loopback addresses to give away. Public clients do
        not know `hosts.port`, so it is read from the raw answer."""
        raw = self.workspace.api_client.do("GET", f"/api/2.0/postgres/{self.endpoint}")
        return raw["status"]["hosts"].get("port", 5432)

    def conninfo(self, **more):
        """Keyword arguments for psycopg and other users of libpq."""
        known = {"host": self.host(), "port": self.port(), "user": self.user, "dbname": DATABASE,
                 "sslmode": "verify-full", "sslrootcert": self.ca, "password": self.token()}
        return known | more

    def env(self, **more):
        """The environment for programs that use libpq; `more` by names as in `PGSSLMODE`."""
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "sslmode": "PGSSLMODE",
                 "sslrootcert": "PGSSLROOTCERT", "password": "PGPASSWORD"}
        known = {names[key]: str(value) for key, value in self.conninfo().items()}
        return os.environ | known | {"PGCONNECT_TIMEOUT": "20", "LC_ALL": "C"} | more

    def psql(self, *args, stdin=None, **env):
        command = ["psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", *args]
        return subprocess.run(command, env=self.env(**env), input=stdin, capture_output=True, text=True, timeout=60)

    def sql(self, query):
        """Runs a query in a session of its own and returns what psql prints."""
        done = self.psql("-c", query)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def state(self):
        return self.found().status.current_state.value

    def sleep(self):
        """Waits until the compute is suspended. The shortest timeout there is is a minute, so it is suspended by
        the switch: disabled and enabled again."""
        for disabled in (True, False):
            spec = EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE, disabled=disabled)
            update = self.workspace.postgres.update_endpoint
            update(self.endpoint, Endpoint(spec=spec), FieldMask(["spec.disabled"])).wait()
            if disabled:
                until("the compute is suspended", lambda: self.state() == "IDLE")


def aged(token):
    """The same token as it would be when it expired a second ago: the server's own key signs it."""
    def pack(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims |= {"iat": int(time.time()) - 3601, "exp": int(time.time()) - 1}
    signed = f"{head}.{pack(json.dumps(claims).encode())}"
    key = pathlib.Path(os.environ["LAKEBASE_LOCAL_CA"]).with_name("signing.key").read_bytes()
    return f"{signed}.{pack(hmac.digest(key, signed.encode(), hashlib.sha256))}"


@pytest.fixture(scope="session")
def workspace():
    return WorkspaceClient()


@pytest.fixture(scope="session")
def lakebase(workspace):
    return workspace.postgres


@pytest.fixture(scope="session")
def user(workspace):
    return workspace.current_user.me().user_name


@pytest.fixture(scope="session")
def ca():
    return os.environ["LAKEBASE_LOCAL_CA"]


@pytest.fixture(scope="session")
def project(lakebase):
    """A project for tests that care for its branches only."""
    return lakebase.create_project(Project(spec=ProjectSpec(display_name="Clients")), "clients").wait().name


@contextlib.contextmanager
def making(lakebase, project):
    """Makes branches, of the default one unless told otherwise; they are purged at the end, youngest first."""
    made = []

    def create(source=None, **spec):
        spec = spec or {"ttl": Duration(seconds=3600)}
        id = f"b{next(_numbers)}"
        made.append(lakebase.create_branch(project, Branch(spec=BranchSpec(source_branch=source, **spec)), id).wait().name)
        return made[-1]

    yield create
    for name in reversed(made):
        if any(branch.name == name for branch in lakebase.list_branches(project, show_deleted=True)):
            lakebase.delete_branch(name, purge=True).wait()


@pytest.fixture
def new_branch(lakebase, project):
    with making(lakebase, project) as create:
        yield create


@pytest.fixture
def new_place(workspace, user, ca, new_branch):
    return lambda *args, **spec: Place(workspace, new_branch(*args, **spec), user, ca)


@pytest.fixture
def place(new_place):
    return new_place()


@pytest.fixture(scope="module")
def module_place(workspace, lakebase, user, ca, project):
    """A branch that the tests of one file share."""
    with making(lakebase, project) as create:
        yield Place(workspace, create(), user, ca)

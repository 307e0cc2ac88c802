"""Records what the public Databricks SDK sends for each call that this project's own client makes too, and what it makes
of the answers. Run by scripts/record-golden; prints the recordings.

Nothing here is ours but the answers, which are those of the documentation; that the SDK knows every field of them is
checked. The server knows nothing: it plays the answers of one recording after the other and writes down the requests.
The recordings are in the order of a life, so that they can be played to a real server too: a project comes before its
branches, and a branch is made before it is deleted.
"""
import base64, http.server, json, sys, threading
from datetime import datetime, timezone

from databricks.sdk import WorkspaceClient
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.postgres import (Branch, BranchSpec, Endpoint, EndpointSpec, EndpointType, Project,
                                             ProjectSpec)
from databricks.sdk.version import __version__
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SHOP = "projects/shop"
PRODUCTION = f"{SHOP}/branches/production"
DEV = f"{SHOP}/branches/dev"
PRIMARY = f"{DEV}/endpoints/primary"
TIME = "2026-08-01T10:00:00Z"
LATER = "2026-08-01T16:00:00Z"
TRACE = " [TraceId: 0f9d2b7c5e8a4c31]"
TYPES = "type.googleapis.com/"
ME = {"id": "7341", "userName": "jane.doe@example.com", "displayName": "jane.doe", "active": True,
      "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "groups": [],
      "emails": [{"value": "jane.doe@example.com", "type": "work", "primary": True}]}
APP = {"id": "7342", "userName": "9d3a0c1e-5b7f-4c55-8f64-8a6f0a6f8d10", "displayName": "shop-app", "active": True,
       "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "groups": []}

# ---- the answers


def project(id="shop", **status):
    return {"name": f"projects/{id}", "project_id": id, "uid": "0b8f5c52-6a1e-4f5c-9d0e-2b8a5a1c7d11",
            "create_time": TIME, "update_time": TIME,
            "status": {"project_id": id, "display_name": "Shop", "owner": "jane.doe@example.com", "pg_version": 17,
                       "default_branch": f"projects/{id}/branches/production",
                       "history_retention_duration": "604800s", "enable_pg_native_login": False,
                       "default_endpoint_settings": {"autoscaling_limit_min_cu": 1, "autoscaling_limit_max_cu": 1,
                                                     "suspend_timeout_duration": "86400s"},
                       "branch_logical_size_limit_bytes": 8796093022208, "synthetic_storage_size_bytes": 0} | status}


def branch(id="dev", **status):
    """A branch that never expires unless told otherwise."""
    return {"name": f"{SHOP}/branches/{id}", "branch_id": id, "parent": SHOP, "uid": "br-quiet-moon-d2x8y1zz",
            "create_time": TIME, "update_time": TIME,
            "status": {"branch_id": id, "current_state": "READY", "default": False, "is_protected": False,
                       "source_branch": PRODUCTION, "source_branch_lsn": "0/1A2B3C8", "source_branch_time": TIME,
                       "logical_size_bytes": 33554432, "state_change_time": TIME} | status}


def production():
    """A root has no source."""
    root = branch("production", default=True)
    for key in ["source_branch", "source_branch_lsn", "source_branch_time"]:
        del root["status"][key]
    return root


def leased(id="dev", **status):
    return branch(id, expire_time=LATER, **status)


def deleted(id="dev"):
    return branch(id, current_state="DELETED", delete_time=TIME, purge_time="2026-08-08T10:00:00Z")


def endpoint(**status):
    return {"name": PRIMARY, "endpoint_id": "primary", "parent": DEV, "uid": "ep-calm-river-e4rrnat1",
            "create_time": TIME, "update_time": TIME,
            "status": {"endpoint_id": "primary", "endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "current_state": "ACTIVE",
                       "disabled": False, "autoscaling_limit_min_cu": 1, "autoscaling_limit_max_cu": 1,
                       "suspend_timeout_duration": "86400s", "settings": {},
                       "group": {"min": 1, "max": 1, "enable_readable_secondaries": False},
                       "hosts": {"host": "ep-calm-river-e4rrnat1.database.us-east-1.cloud.databricks.com"}} | status}


def database():
    return {"name": f"{DEV}/databases/databricks-postgres", "database_id": "databricks-postgres", "parent": DEV,
            "create_time": TIME, "update_time": TIME,
            "status": {"database_id": "databricks-postgres", "postgres_database": "databricks_postgres",
                       "role": f"{DEV}/roles/jane-doe"}}


def operation(of=DEV, response=None, error=None, kind="Branch"):
    """An operation that has ended if there is something to tell, and runs otherwise."""
    begun = {"name": f"{of}/operations/7d1c2f",
             "metadata": {"@type": f"{TYPES}databricks.postgres.v1.{kind}OperationMetadata"}}
    if error:
        return begun | {"done": True, "error": error}
    if response:
        return begun | {"done": True, "response": {"@type": f"{TYPES}databricks.postgres.v1.{kind}"} | response}
    return begun


def emptied(of=DEV):
    """That of a delete."""
    return operation(of) | {"done": True, "response": {"@type": f"{TYPES}google.protobuf.Empty"}}


def of_branch(response):
    return operation(response["name"], response)


def refusal(code, message, *details):
    return {"error_code": code, "message": message + TRACE,
            "details": [*details, {"@type": f"{TYPES}google.rpc.RequestInfo", "request_id": "0f9d2b7c5e8a4c31",
                         "serving_data": ""}]}


MANAGED = {"@type": f"{TYPES}google.rpc.ErrorInfo", "reason": "RESOURCE_CONFLICT", "domain": "databricks.com",
           "metadata": {"declarative_context": "MANAGED_BY_PARENT"}}
CREDENTIAL = {"token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl", "expire_time": "2026-08-01T11:00:00Z"}
ACCESS = {"access_token": "eyJhbGciOiJSUzI1NiJ9.e30.YWNjZXNz", "token_type": "Bearer", "expires_in": 3600,
          "scope": "all-apis"}


# ---- the server


class Server(http.server.ThreadingHTTPServer):
    """Plays answers, and keeps the exchanges."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.exchanges = [], []
        self.host = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        scheme, _, credentials = (self.headers.get("authorization") or "").partition(" ")
        status, headers, answer = self.server.answers.pop(0)
        self.server.exchanges.append({
            "method": self.command, "path": path, "query": query, "body": body,
            "accept": self.headers.get("accept"), "content_type": self.headers.get("content-type"),
            "authorization": f"Basic {base64.b64decode(credentials).decode()}" if scheme == "Basic" else scheme or None,
            "status": status, "headers": headers, "answer": answer})
        text = answer if isinstance(answer, str) else json.dumps(answer).replace("{host}", self.server.host)
        self.send_response(status)
        plain = "text/html" if text.startswith("<") else "text/plain"
        for name, value in ({"content-type": plain if isinstance(answer, str) else "application/json",
                             "content-length": str(len(text.encode()))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


server = Server()
recordings = []


def ok(answer, **headers):
    return 200, headers, answer


def fails(status, code, message, *details, **headers):
    return status, headers, refusal(code, message, *details)


def plain(value):
    """What the SDK made of an answer, as JSON."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    # An operation keeps what it was answered to itself.
    if hasattr(value, "_operation"):
        return value._operation.as_dict()
    return [plain(item) for item in value] if isinstance(value, list) else value


def known(answer, understood, where):
    """Fails for a field of an answer that the SDK does not know: then the answer would be our invention."""
    if isinstance(answer, list):
        assert len(answer) == len(understood or []), f"{where}: the SDK does not show all items"
        for one, other in zip(answer, understood or []):
            known(one, other, where)
    if isinstance(answer, dict):
        for key in answer.keys() - {"@type"}:
            # An empty list or map is dropped by the SDK when it writes.
            assert key in understood or answer[key] in ([], {}), f"{where}: the SDK does not know `{key}`"
            known(answer[key], understood.get(key), f"{where}.{key}")


def check(answer, understood, where):
    """Compares an answer with what the SDK made of it. What an operation has in it, the SDK reads only when it waits."""
    if isinstance(answer, dict) and "response" in answer:
        kind = answer["metadata"]["@type"].rpartition(".")[2].removesuffix("OperationMetadata")
        response, reader = answer["response"], {"Branch": Branch, "Project": Project, "Endpoint": Endpoint}[kind]
        known(response, reader.from_dict(response).as_dict(), where)
    elif isinstance(answer, dict) and isinstance(understood, list):
        # One page of several; the token of the next is not an item.
        for items in (value for value in answer.values() if isinstance(value, list)):
            known(items, [item for item in understood if item["name"] in [one["name"] for one in items]], where)
    else:
        known(answer, understood, where)


def record(name, answers, call):
    """Makes one call, and keeps its exchanges and how it ended."""
    server.answers, server.exchanges = list(answers), []
    try:
        outcome = {"ok": plain(call())}
    except DatabricksError as error:
        outcome = {"error": type(error).__name__, "code": error.error_code}
    except Exception as error:
        outcome = {"error": type(error).__name__}
    if "ok" in outcome:
        check(server.exchanges[-1]["answer"], outcome["ok"], name)
    assert not server.answers, f"{name}: the SDK did not ask for all of its answers"
    recordings.append({"name": name, "exchanges": server.exchanges, "outcome": outcome})


def time(text):
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc))
    return stamp


def spec(**fields):
    return Branch(spec=BranchSpec(**fields))


def hours(number):
    return Duration(seconds=3600 * number)


CONFIG = {"oidc_endpoint": "{host}/oidc", "workspace_id": "1234567890", "host_type": "workspace"}
DISCOVERY = {"issuer": "{host}/oidc", "authorization_endpoint": "{host}/oidc/v1/authorize",
             "token_endpoint": "{host}/oidc/v1/token", "grant_types_supported": ["client_credentials"],
             "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]}


def sign_in():
    """The ways in, as the SDK goes them when it is made and first asked for something."""
    app = lambda secret: WorkspaceClient(host=server.host, client_id="app-id", client_secret=secret, auth_type="oauth-m2m")
    record("sign in: token", [ok(CONFIG), ok(ME)],
           lambda: WorkspaceClient(host=server.host, token="dapi-local", auth_type="pat").current_user.me())
    record("sign in: client", [ok(CONFIG), ok(DISCOVERY), ok(ACCESS), ok(APP)],
           lambda: app("sec").current_user.me())
    record("sign in: wrong secret", [ok(CONFIG), ok(DISCOVERY), (401, {}, {"error": "invalid_client"})],
           lambda: app("wrong").current_user.me())


def users(me):
    record("me", [ok(ME)], me)
    record("me: unknown token", [fails(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type")],
           me)


def projects(api):
    get = lambda: api.get_project(SHOP)
    create = lambda: api.create_project(Project(spec=ProjectSpec(display_name="Shop", pg_version=17)), "shop")
    made = operation(SHOP, project(), kind="Project")
    record("project: missing", [fails(404, "NOT_FOUND", "project id not found")], get)
    record("create_project", [ok(made)], create)
    record("create_project: exists",
           [fails(409, "ALREADY_EXISTS", "project with such id already exists in the workspace")], create)
    record("project", [ok(project())], get)
    record("list_projects", [ok({"projects": [project()]})], lambda: list(api.list_projects()))
    record("project: forbidden", [fails(403, "PERMISSION_DENIED", "assign the user 'Can Use' for Database project shop")],
           get)
    record("project: forbidden without a word", [(403, {}, None)], get)


def new_branches(api):
    create = lambda id, body, **more: lambda: api.create_branch(SHOP, body, id, **more)
    record("create_branch: ttl", [ok(of_branch(leased()))],
           create("dev", spec(source_branch=PRODUCTION, ttl=hours(6))))
    record("create_branch: expire_time", [ok(of_branch(leased("dev2")))],
           create("dev2", spec(source_branch=PRODUCTION, expire_time=time(LATER))))
    record("create_branch: no_expiry", [ok(of_branch(branch("dev3")))], create("dev3", spec(no_expiry=True)))
    record("create_branch: replace_existing", [ok(of_branch(leased("dev2")))],
           create("dev2", spec(source_branch=PRODUCTION, expire_time=time(LATER)), replace_existing=True))
    begun = operation(f"{SHOP}/branches/dev4")
    record("create_branch: wait", [ok(begun), ok(begun), ok(of_branch(leased("dev4")))],
           lambda: api.create_branch(SHOP, spec(ttl=hours(6)), "dev4").wait())
    record("create_branch: wait, failed",
           [ok(begun), ok(operation(f"{SHOP}/branches/dev4", error={"error_code": "BAD_REQUEST", "message": "no" + TRACE}))],
           lambda: api.create_branch(SHOP, spec(ttl=hours(6)), "dev4").wait())
    record("create_branch: exists", [fails(400, "BAD_REQUEST", 'branch already exists; branch_name:"dev"')],
           create("dev", spec(ttl=hours(6))))
    record("create_branch: exists, as documented", [fails(409, "ALREADY_EXISTS", "branch with such id already exists")],
           create("dev", spec(ttl=hours(6))))
    record("create_branch: no expiration",
           [fails(400, "INVALID_PARAMETER_VALUE", "Expiration must be specified when creating a branch")],
           create("dev5", spec(source_branch=PRODUCTION)))
    record("create_branch: of a leased one",
           [fails(400, "BAD_REQUEST", "Branches with an expiration date cannot have child branches")],
           create("dev5", spec(source_branch=DEV, ttl=hours(6))))
    record("create_branch: of an unknown one", [fails(404, "NOT_FOUND", "branch id not found")],
           create("dev5", spec(source_branch=f"{SHOP}/branches/none", ttl=hours(6))))
    record("create_branch: busy",
           [fails(409, "ABORTED", "project already has running conflicting operations")],
           create("dev5", spec(ttl=hours(6))))
    record("create_branch: throttled",
           [fails(429, "RESOURCE_EXHAUSTED", "Too many requests", **{"retry-after": "1"}), ok(of_branch(leased("dev5")))],
           create("dev5", spec(ttl=hours(6))))
    record("create_branch: unavailable",
           [fails(503, "TEMPORARILY_UNAVAILABLE", "try again", **{"retry-after": "1"}), ok(of_branch(leased("dev5")))],
           create("dev5", spec(ttl=hours(6))))
    record("create_branch: broken", [fails(500, "INTERNAL_ERROR", "The request could not be processed.")],
           create("dev5", spec(ttl=hours(6))))


everyone = [leased(), leased("dev2"), branch("dev3"), leased("dev4"), production()]


def known_branches(api):
    get = lambda name: lambda: api.get_branch(name)
    several = lambda **query: lambda: list(api.list_branches(SHOP, **query))
    record("branch", [ok(leased())], get(DEV))
    record("branch: missing", [fails(404, "NOT_FOUND", "branch id not found")], get(f"{SHOP}/branches/none"))
    record("branch: another service",
           [(200, {}, "<!doctype html><html><title>Sign in to the hotel</title></html>")], get(DEV))
    record("branch: a proxy's page", [(404, {}, "<html><body><pre>no such page</pre></body></html>")], get(DEV))
    record("list_branches", [ok({"branches": everyone})], several())
    record("list_branches: none", [ok({})], several())
    record("list_branches: pages",
           [ok({"branches": everyone[:3], "next_page_token": "t 1&x=y"}), ok({"branches": everyone[3:]})], several())
    record("list_branches: page_size",
           [ok({"branches": everyone[:3], "next_page_token": "t 1&x=y"}), ok({"branches": everyone[3:]})],
           several(page_size=3))
    record("list_branches: page_size, show_deleted",
           [ok({"branches": everyone[:3], "next_page_token": "t2"}), ok({"branches": everyone[3:]})],
           several(page_size=3, show_deleted=True))

    update = lambda mask, body: lambda: api.update_branch(DEV, body, FieldMask([mask] if isinstance(mask, str) else mask))
    record("update_branch: expire_time", [ok(of_branch(leased()))],
           update("spec.expiration", spec(expire_time=time(LATER))))
    record("update_branch: expire_time, by name", [ok(of_branch(leased()))],
           update("spec.expiration", Branch(name=DEV, spec=BranchSpec(expire_time=time(LATER)))))
    record("update_branch: ttl", [ok(of_branch(leased()))], update("spec.expiration", spec(ttl=hours(6))))
    record("update_branch: two paths", [ok(of_branch(leased()))],
           update(["spec.is_protected", "spec.expiration"], spec(is_protected=False, ttl=hours(6))))
    record("update_branch: unknown path",
           [fails(400, "INVALID_PARAMETER_VALUE", "Unknown field path in update_mask: 'spec.nope'")],
           update("spec.nope", spec(ttl=hours(6))))
    record("update_branch: no_expiry", [ok(of_branch(branch()))], update("spec.expiration", spec(no_expiry=True)))
    record("update_branch: camelCase", [ok(of_branch(branch(is_protected=True)))],
           update("spec.isProtected", spec(is_protected=True)))
    record("delete_branch: protected", [fails(400, "BAD_REQUEST", "cannot delete protected branch")],
           lambda: api.delete_branch(DEV))
    record("update_branch: is_protected", [ok(of_branch(branch()))],
           update("spec.is_protected", spec(is_protected=False)))


def endpoints(api):
    record("endpoint", [ok(endpoint())], lambda: api.get_endpoint(PRIMARY))
    record("endpoint: missing", [fails(404, "NOT_FOUND", "endpoint id not found")],
           lambda: api.get_endpoint(f"{DEV}/endpoints/none"))
    record("list_endpoints", [ok({"endpoints": [endpoint()]})], lambda: list(api.list_endpoints(DEV)))
    idle = EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE, suspend_timeout_duration=Duration(seconds=60))
    record("update_endpoint: suspension",
           [ok(operation(PRIMARY, endpoint(suspend_timeout_duration="60s"), kind="Endpoint"))],
           lambda: api.update_endpoint(PRIMARY, Endpoint(spec=idle), FieldMask(["spec.suspension"])))
    record("list_databases", [ok({"databases": [database()]})], lambda: list(api.list_databases(DEV)))

    mint = lambda name=PRIMARY, **more: lambda: api.generate_database_credential(name, **more)
    record("credential", [ok(CREDENTIAL)], mint())
    record("credential: ttl", [ok(CREDENTIAL)], mint(ttl=Duration(seconds=900)))
    record("credential: expire_time", [ok(CREDENTIAL)], mint(expire_time=time("2026-08-01T10:50:00Z")))
    record("credential: too short",
           [fails(400, "INVALID_PARAMETER_VALUE", "ttl must be between 300s and 3600s")], mint(ttl=Duration(seconds=60)))
    record("credential: missing", [fails(404, "NOT_FOUND", "endpoint id not found")],
           mint(f"{DEV}/endpoints/none"))


def operations(api):
    get = lambda: api.get_operation(f"{DEV}/operations/7d1c2f")
    record("operation", [ok(of_branch(branch()))], get)
    record("operation: running", [ok(operation())], get)
    record("operation: missing", [fails(404, "NOT_FOUND", "operation id not found")],
           lambda: api.get_operation(f"{DEV}/operations/none"))
    record("operation: throttled",
           [fails(429, "RESOURCE_EXHAUSTED", "Too many requests", **{"retry-after": "1"}), ok(of_branch(branch()))], get)


def ends(api):
    record("delete_branch", [ok(emptied())], lambda: api.delete_branch(DEV))
    record("branch: deleted", [ok(deleted())], lambda: api.get_branch(DEV))
    record("list_branches: show_deleted", [ok({"branches": [deleted(), *everyone[1:]]})],
           lambda: list(api.list_branches(SHOP, show_deleted=True)))
    record("delete_branch: again", [fails(404, "NOT_FOUND", "branch id not found")], lambda: api.delete_branch(DEV))
    record("undelete_branch", [ok(emptied())], lambda: api.undelete_branch(DEV))
    record("delete_branch: root", [fails(400, "BAD_REQUEST", f"Cannot delete root branch '{PRODUCTION}'. Root branches "
                                         "cannot be deleted independently.", MANAGED)], lambda: api.delete_branch(PRODUCTION))
    record("delete_branch: purge", [ok(emptied(f"{SHOP}/branches/dev2"))],
           lambda: api.delete_branch(f"{SHOP}/branches/dev2", purge=True))


def main():
    sign_in()
    server.answers, server.exchanges = [ok(CONFIG)], []
    client = WorkspaceClient(host=server.host, token="dapi-local", auth_type="pat")
    users(client.current_user.me)
    api = client.postgres
    for part in (projects, new_branches, known_branches, endpoints, operations, ends):
        part(api)
    names = [recording["name"] for recording in recordings]
    assert len(set(names)) == len(names), "two recordings have one name"
    made = {"client": f"databricks-sdk {__version__}", "recordings": recordings}
    json.dump(made, sys.stdout, indent=1)
    print()


main()

"""databricks-sdk: every method of roles and databases, and what they come to in PostgreSQL."""
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound
from databricks.sdk.service.postgres import (Branch, BranchSpec, Database, DatabaseDatabaseSpec, Project, ProjectSpec, Role,
                                             RoleAttributes, RoleAuthMethod, RoleIdentityType, RoleMembershipRole,
                                             RoleRoleSpec)
from google.protobuf.duration_pb2 import Duration

from conftest import DATABASE, Place

SUPERUSER = RoleMembershipRole.DATABRICKS_SUPERUSER


@pytest.fixture
def role(lakebase, place):
    """Creates a role in the branch of the test."""
    def create(id, name, **spec):
        made = lakebase.create_role(place.branch, Role(spec=RoleRoleSpec(postgres_role=name, **spec)), role_id=id)
        return made.wait()
    return create


@pytest.fixture
def database(lakebase, place):
    def create(id, name, owner):
        spec = DatabaseDatabaseSpec(postgres_database=name, role=owner)
        return lakebase.create_database(place.branch, Database(spec=spec), database_id=id).wait()
    return create


def rights(place, name):
    return place.sql(f"SELECT rolcanlogin, rolcreatedb, rolcreaterole, rolbypassrls, pg_has_role(oid, "
                     f"'databricks_superuser', 'member') FROM pg_roles WHERE rolname = '{name}'")


def test_a_branch_has_the_role_of_its_creator(lakebase, place, user):
    roles = {found.status.postgres_role: found for found in lakebase.list_roles(place.branch, page_size=1)}
    creator = roles[user].status
    assert set(roles) == {user, "databricks_superuser"}
    assert (creator.identity_type, creator.auth_method, creator.membership_roles) == (
        RoleIdentityType.USER, RoleAuthMethod.LAKEBASE_OAUTH_V1, [SUPERUSER])
    assert roles[user].spec is None and lakebase.get_role(roles[user].name).status == creator
    with pytest.raises(NotFound, match="role id not found"):
        lakebase.get_role(f"{place.branch}/roles/none")


def test_a_role_is_created_and_changed_in_postgres_too(lakebase, place, role):
    made = role("app", "app_role", membership_roles=[SUPERUSER], attributes=RoleAttributes(createrole=True))
    assert made.name == f"{place.branch}/roles/app" and made.status.role_id == "app"
    assert made.status.auth_method is RoleAuthMethod.PG_PASSWORD_SCRAM_SHA_256 and made.status.identity_type is None
    assert rights(place, "app_role") == "t|f|t|f|t"

    def change(path, **spec):
        return lakebase.update_role(made.name, Role(spec=RoleRoleSpec(**spec)), FieldMask([path])).wait().status

    changed = change("spec.attributes.createdb", attributes=RoleAttributes(createdb=True, createrole=False))
    assert (changed.attributes.createdb, changed.attributes.createrole) == (True, True), "the mask names a leaf"
    assert not change("spec.membership_roles").membership_roles, "the SDK drops an empty list; the mask clears it"
    assert rights(place, "app_role") == "t|t|t|f|f"
    for path in ("spec.postgres_role", "spec.auth_method", "spec.identity_type"):
        with pytest.raises(InvalidParameterValue, match="Unknown field path in update_mask"):
            change(path, postgres_role="other")
    nobody = role("owners", "owners", auth_method=RoleAuthMethod.NO_LOGIN)
    assert nobody.status.auth_method is RoleAuthMethod.NO_LOGIN and rights(place, "owners").startswith("f|")


def test_a_role_that_exists_is_refused_or_changed_in_place(lakebase, place, role):
    role("app", "app")
    for id, name in [("app", "app"), ("other", "app"), ("app", "other")]:
        with pytest.raises(BadRequest, match="role with that name already exists"):
            role(id, name)
    spec = Role(spec=RoleRoleSpec(postgres_role="app", membership_roles=[SUPERUSER]))
    replaced = lakebase.create_role(place.branch, spec, role_id="app", replace_existing=True).wait()
    assert replaced.status.membership_roles == [SUPERUSER]
    with pytest.raises(InvalidParameterValue, match="Field 'role.spec.postgres_role' is required"):
        lakebase.create_role(place.branch, Role(spec=RoleRoleSpec()))
    with pytest.raises(InvalidParameterValue, match="role_id"):
        role("7f9c2ba4-e88f-427d-ae67-d7c8a9f1b2c3", "principal")
    unnamed = lakebase.create_role(place.branch, Role(spec=RoleRoleSpec(postgres_role="ann@example.com"))).wait()
    assert unnamed.status.postgres_role == "ann@example.com"


def test_a_role_is_deleted_when_nothing_is_left_of_it(lakebase, place, role, user):
    gone = role("app", "app")
    place.sql("GRANT app TO CURRENT_USER; CREATE TABLE kept (); GRANT CREATE ON SCHEMA public TO app; "
              "ALTER TABLE kept OWNER TO app; SELECT 1")
    with pytest.raises(BadRequest, match="objects depend on it"):
        lakebase.delete_role(gone.name)
    [heir] = [found for found in lakebase.list_roles(place.branch) if found.status.postgres_role == user]
    deletion = lakebase.delete_role(gone.name, reassign_owned_to=heir.name)
    assert deletion.wait() is None and deletion.done() is True
    assert place.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'kept'") == user
    with pytest.raises(NotFound, match="role id not found"):
        lakebase.get_role(gone.name)


def test_the_service_principal_needs_a_role(lakebase, place, role, user):
    principal = WorkspaceClient(profile="local-m2m")
    name = principal.current_user.me().user_name
    theirs = Place(principal, place.branch, name, place.ca)
    said = theirs.psql("-c", "SELECT 1")
    assert said.returncode == 2 and f'FATAL:  role "{name}" does not exist' in said.stderr
    made = role("sp-app", name, identity_type=RoleIdentityType.SERVICE_PRINCIPAL)
    assert made.status.auth_method is RoleAuthMethod.LAKEBASE_OAUTH_V1
    said = theirs.psql("-c", "CREATE TABLE theirs ()")
    assert "ERROR:  permission denied for schema public" in said.stderr
    spec = Role(spec=RoleRoleSpec(membership_roles=[SUPERUSER]))
    lakebase.update_role(made.name, spec, FieldMask(["spec.membership_roles"])).wait()
    assert theirs.sql("CREATE TABLE theirs (); SELECT current_user").endswith(name)
    with pytest.raises(AssertionError, match="must be owner of table theirs"):
        place.sql("ALTER TABLE theirs ADD n int")


def test_a_native_password_opens_the_branch_if_the_project_allows_it(workspace, lakebase, place, role, user, ca):
    refused = role("app", "app")
    password = lakebase.reveal_role_password(refused.name).password
    said = place.psql("-c", "SELECT 1", PGUSER="app", PGPASSWORD=password)
    assert said.returncode == 2 and "native postgres login is disabled for this endpoint" in said.stderr
    [creator] = [found for found in lakebase.list_roles(place.branch) if found.status.postgres_role == user]
    with pytest.raises(BadRequest, match="PG_PASSWORD_SCRAM_SHA_256"):
        lakebase.reveal_role_password(creator.name)

    project = lakebase.create_project(Project(spec=ProjectSpec(enable_pg_native_login=True)), "native").wait()
    assert project.status.enable_pg_native_login is True
    parent = f"{project.name}/branches/production"
    lakebase.create_role(parent, Role(spec=RoleRoleSpec(postgres_role="app")), role_id="app").wait()
    spec = Branch(spec=BranchSpec(ttl=Duration(seconds=3600)))
    child = Place(workspace, lakebase.create_branch(project.name, spec, "child").wait().name, user, ca)
    password = lakebase.reveal_role_password(f"{parent}/roles/app").password
    assert lakebase.reveal_role_password(f"{child.branch}/roles/app").password == password
    said = child.psql("-c", "SELECT current_user", PGUSER="app", PGPASSWORD=password)
    assert (said.stdout, said.stderr) == ("app\n", "")
    said = child.psql("-c", "SELECT 1", PGUSER="app", PGPASSWORD=f"{password}x")
    assert 'password authentication failed for user "app"' in said.stderr


def test_a_database_lives_from_create_to_delete(lakebase, place, role, database, user):
    owner = role("app", "app")
    made = database("app-db", "app", owner.name)
    assert (made.name, made.database_id) == (f"{place.branch}/databases/app-db", "app-db")
    assert (made.status.postgres_database, made.status.role) == ("app", owner.name)
    assert sorted(found.status.postgres_database for found in lakebase.list_databases(place.branch, page_size=1)) == [
        "app", DATABASE]
    owns = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{}'"
    assert place.sql(owns.format("app")) == "app"
    [mine] = [found for found in lakebase.list_roles(place.branch) if found.status.postgres_role == user]
    spec = Database(spec=DatabaseDatabaseSpec(postgres_database="renamed", role=mine.name))
    mask = FieldMask(["spec.postgres_database", "spec.role"])
    changed = lakebase.update_database(made.name, spec, mask).wait()
    assert (changed.name, changed.status.postgres_database) == (made.name, "renamed")
    assert place.sql(owns.format("renamed")) == user
    assert place.psql("-c", "SELECT current_database()", PGDATABASE="renamed").stdout == "renamed\n"
    deletion = lakebase.delete_database(made.name)
    assert deletion.wait() is None and deletion.done() is True
    assert place.sql("SELECT count(*) FROM pg_database WHERE datname = 'renamed'") == "0"
    with pytest.raises(NotFound, match="database id not found"):
        lakebase.get_database(made.name)


def test_what_a_database_needs(lakebase, place, role, database):
    owner = role("app", "app")
    required = "Field 'database.spec.role' is required, expected non-default value"
    with pytest.raises(InvalidParameterValue, match=required):
        database("app-db", "app", None)
    with pytest.raises(NotFound, match="role id not found"):
        database("app-db", "app", f"{place.branch}/roles/none")
    database("app-db", "app", owner.name)
    for id, name in [("app-db", "other"), ("other-db", "app"), ("other-db", DATABASE)]:
        with pytest.raises(BadRequest, match="database with that name already exists"):
            database(id, name, owner.name)
    with pytest.raises(BadRequest, match="default database"):
        lakebase.delete_database(f"{place.branch}/databases/databricks-postgres")

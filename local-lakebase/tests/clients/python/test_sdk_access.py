"""databricks-sdk: the ways in (a personal token, a service principal) and credentials for databases."""
import configparser, datetime, os

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound, Unauthenticated
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def seconds_left(credential):
    return credential.expire_time.ToSeconds() - now().timestamp()


def test_a_personal_token_and_a_service_principal_lead_to_the_same_projects(lakebase, project):
    assert WorkspaceClient(profile="local").config.auth_type == "pat"
    principal = WorkspaceClient(profile="local-m2m")
    assert principal.config.auth_type == "oauth-m2m"
    assert project in [found.name for found in principal.postgres.list_projects()]
    assert principal.current_user.me().user_name


def test_a_wrong_token_or_secret_is_refused(workspace):
    host = workspace.config.host
    with pytest.raises(Unauthenticated):
        list(WorkspaceClient(host=host, token="wrong", auth_type="pat").postgres.list_projects())
    profiles = configparser.ConfigParser()
    profiles.read(os.environ["DATABRICKS_CONFIG_FILE"])
    id = profiles["local-m2m"]["client_id"]
    with pytest.raises(Exception, match="(?i)client"):
        wrong = WorkspaceClient(host=host, client_id=id, client_secret="wrong", auth_type="oauth-m2m")
        list(wrong.postgres.list_projects())


def test_the_workspace_says_its_number(workspace):
    assert int(workspace.config.workspace_id) > 0
    assert workspace.get_workspace_id() == int(workspace.config.workspace_id)


def test_credentials_live_as_long_as_asked(lakebase, place):
    assert 3590 < seconds_left(lakebase.generate_database_credential(place.endpoint)) <= 3601
    short = lakebase.generate_database_credential(place.endpoint, ttl=Duration(seconds=300))
    assert 290 < seconds_left(short) <= 301
    at = Timestamp()
    at.FromDatetime(now() + datetime.timedelta(minutes=30))
    assert lakebase.generate_database_credential(place.endpoint, expire_time=at).expire_time.ToSeconds() == at.ToSeconds()
    assert place.psql("-c", "SELECT 1", PGPASSWORD=short.token).stdout == "1\n"


@pytest.mark.parametrize("ttl", [0, 299, 3601])
def test_credentials_out_of_range_are_refused(lakebase, place, ttl):
    with pytest.raises(InvalidParameterValue, match="between 300s and 3600s"):
        lakebase.generate_database_credential(place.endpoint, ttl=Duration(seconds=ttl))
    at = Timestamp()
    at.FromDatetime(now() + datetime.timedelta(seconds=ttl - 10 if ttl < 300 else ttl + 60))
    with pytest.raises(InvalidParameterValue, match="between 300s and 3600s"):
        lakebase.generate_database_credential(place.endpoint, expire_time=at)


def test_credentials_are_for_endpoints_that_exist(lakebase, project, place):
    with pytest.raises(InvalidParameterValue, match="Only one of"):
        at = Timestamp()
        at.FromDatetime(now() + datetime.timedelta(minutes=30))
        lakebase.generate_database_credential(place.endpoint, ttl=Duration(seconds=600), expire_time=at)
    with pytest.raises(NotFound, match="endpoint id not found"):
        lakebase.generate_database_credential(f"{place.branch}/endpoints/none")
    with pytest.raises(InvalidParameterValue, match="endpoint"):
        lakebase.generate_database_credential(place.branch)
    with pytest.raises(InvalidParameterValue, match="Field 'endpoint' is required"):
        lakebase.generate_database_credential("")

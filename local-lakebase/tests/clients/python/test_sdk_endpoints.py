"""databricks-sdk: every method of endpoints and databases."""
import pytest
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound
from databricks.sdk.service.postgres import (Endpoint, EndpointSpec, EndpointStatusState, EndpointType)
from google.protobuf.duration_pb2 import Duration

from conftest import DATABASE, until

READ_WRITE = EndpointType.ENDPOINT_TYPE_READ_WRITE


def change(lakebase, name, *mask, **spec):
    return lakebase.update_endpoint(name, Endpoint(spec=EndpointSpec(READ_WRITE, **spec)), FieldMask(list(mask))).wait()


def test_a_branch_is_born_with_its_endpoint(lakebase, new_branch):
    branch = new_branch()
    [listed] = lakebase.list_endpoints(branch, page_size=1)
    found = lakebase.get_endpoint(f"{branch}/endpoints/primary")
    assert listed.name == found.name and found.parent == branch and found.endpoint_id == "primary"
    status = found.status
    assert (status.endpoint_type, status.disabled, found.spec) == (READ_WRITE, False, None)
    assert status.hosts.host and found.uid.startswith("ep-")
    assert (status.group.min, status.group.max) == (1, 1)
    with pytest.raises(NotFound, match="endpoint id not found"):
        lakebase.get_endpoint(f"{branch}/endpoints/none")


def test_its_settings_can_be_changed(lakebase, new_branch):
    name = f"{new_branch()}/endpoints/primary"
    changed = change(lakebase, name, "spec.suspension", suspend_timeout_duration=Duration(seconds=300))
    assert changed.status.suspend_timeout_duration.ToSeconds() == 300
    changed = change(lakebase, name, "spec.autoscaling_limit_min_cu", "spec.autoscaling_limit_max_cu",
                     autoscaling_limit_min_cu=0.5, autoscaling_limit_max_cu=2)
    assert (changed.status.autoscaling_limit_min_cu, changed.status.autoscaling_limit_max_cu) == (0.5, 2)
    assert change(lakebase, name, "spec.suspension", no_suspension=True).status.suspend_timeout_duration is None
    for mask, wrong in [
        ("spec.suspension", {"suspend_timeout_duration": Duration(seconds=59)}),
        ("spec.suspension", {"no_suspension": True, "suspend_timeout_duration": Duration(seconds=300)}),
        ("spec.autoscaling_limit_max_cu", {"autoscaling_limit_max_cu": 65}),
        ("spec.nosuch", {"disabled": True}),
        ("spec.disabled", {}),
    ]:
        with pytest.raises(InvalidParameterValue):
            change(lakebase, name, mask, **wrong)


def test_a_disabled_endpoint_ends_its_sessions_sleeps_and_stays_asleep(lakebase, place):
    import psycopg
    with psycopg.connect(**place.conninfo(), autocommit=True) as session:
        assert place.found().status.current_state is EndpointStatusState.ACTIVE
        assert change(lakebase, place.endpoint, "spec.disabled", disabled=True).status.disabled is True
        with pytest.raises(psycopg.OperationalError):
            until("the session is ended", lambda: session.execute("SELECT 1") and None)
    until("the compute is suspended", lambda: place.found().status.current_state is EndpointStatusState.IDLE)
    refused = place.psql("-c", "SELECT 1")
    assert refused.returncode == 2 and "the endpoint is disabled" in refused.stderr
    assert place.found().status.current_state is EndpointStatusState.IDLE
    assert change(lakebase, place.endpoint, "spec.disabled", disabled=False).status.disabled is False
    assert place.sql("SELECT 1") == "1"


def test_there_is_one_read_write_endpoint(lakebase, new_branch):
    branch = new_branch()
    endpoint = Endpoint(spec=EndpointSpec(READ_WRITE, suspend_timeout_duration=Duration(seconds=600)))
    for id in ("primary", "second"):
        with pytest.raises(BadRequest, match="read_write endpoint already exists"):
            lakebase.create_endpoint(branch, endpoint, id)
    replaced = lakebase.create_endpoint(branch, endpoint, "primary", replace_existing=True).wait()
    assert replaced.status.suspend_timeout_duration.ToSeconds() == 600
    with pytest.raises(BadRequest, match="Cannot delete read-write endpoint") as refused:
        lakebase.delete_endpoint(f"{branch}/endpoints/primary")
    assert refused.value.get_error_details().error_info.reason == "RESOURCE_CONFLICT"
    with pytest.raises(NotFound, match="endpoint id not found"):
        lakebase.delete_endpoint(f"{branch}/endpoints/none")


def test_the_database_of_a_branch_is_listed_and_shown(lakebase, new_branch):
    branch = new_branch()
    [database] = lakebase.list_databases(branch, page_size=1)
    assert database.status.postgres_database == DATABASE and database.parent == branch
    assert lakebase.get_database(database.name).status == database.status
    with pytest.raises(NotFound, match="database id not found"):
        lakebase.get_database(f"{branch}/databases/none")

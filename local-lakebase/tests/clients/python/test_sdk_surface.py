"""databricks-sdk: which of its methods are served, so that none is forgotten here or in the table of the README."""
import pathlib, re

import pytest
from databricks.sdk import service
from databricks.sdk.errors import NotFound
from databricks.sdk.service.postgres import PostgresAPI, Snapshot
from databricks.sdk.common.types.fieldmask import FieldMask

BRANCH = "projects/clients/branches/production"

# What Local Lakebase does not serve, each as it is called.
NOT_SERVED = {
    "create_snapshot": lambda api: api.create_snapshot("projects/clients", Snapshot(), "x"),
    "get_snapshot": lambda api: api.get_snapshot("projects/clients/snapshots/x"),
    "list_snapshots": lambda api: list(api.list_snapshots("projects/clients")),
    "delete_snapshot": lambda api: api.delete_snapshot("projects/clients/snapshots/x"),
    "get_snapshot_schedule": lambda api: api.get_snapshot_schedule(f"{BRANCH}/snapshot-schedule"),
    "update_snapshot_schedule": lambda api: api.update_snapshot_schedule(
        f"{BRANCH}/snapshot-schedule", service.postgres.SnapshotSchedule(schedule=[]), FieldMask(["schedule"])),
}

# Unity Catalog and change feeds, which have no place on one machine.
NOT_OURS = re.compile("catalog|cdf|data_api|synced_table")


@pytest.mark.parametrize("method", NOT_SERVED)
def test_what_is_not_served_says_so(lakebase, project, method):
    with pytest.raises(NotFound, match="No API found for '(GET|POST|PATCH|DELETE) /postgres/projects/clients"):
        NOT_SERVED[method](lakebase)


def test_every_other_method_is_tested():
    methods = {name for name in vars(PostgresAPI) if not name.startswith("_") and not NOT_OURS.search(name)}
    here = pathlib.Path(__file__)
    tests = "".join(file.read_text() for file in here.parent.glob("*.py") if file != here)
    tested = {method for method in methods if re.search(rf"\b{method}\(", tests)}
    assert tested | set(NOT_SERVED) == methods and not tested & set(NOT_SERVED)

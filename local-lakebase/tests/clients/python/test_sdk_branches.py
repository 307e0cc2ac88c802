"""databricks-sdk: every method of branches, with its operations, masks and refusals."""
import datetime

import pytest
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound
from databricks.sdk.service.postgres import Branch, BranchSpec, BranchStatusState
from google.protobuf import field_mask_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def in_hours(hours):
    time = Timestamp()
    time.FromDatetime(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours))
    return time


def left(branch):
    """The seconds until a branch expires."""
    return branch.status.expire_time.ToSeconds() - in_hours(0).ToSeconds()


def test_a_project_is_born_with_its_default_branch(lakebase, project):
    found = lakebase.get_branch(f"{project}/branches/production")
    assert found.status.current_state is BranchStatusState.READY
    assert (found.parent, found.branch_id, found.status.default, found.status.is_protected) == (
        project, "production", True, False)
    assert found.uid.startswith("br-") and found.spec is None and found.status.expire_time is None


def test_all_three_expirations(lakebase, project, new_branch):
    with_ttl = lakebase.get_branch(new_branch(ttl=Duration(seconds=21600)))
    assert abs(left(with_ttl) - 21600) < 60
    assert with_ttl.status.source_branch == f"{project}/branches/production"
    assert "/" in with_ttl.status.source_branch_lsn and with_ttl.status.logical_size_bytes > 1 << 20
    at = in_hours(5)
    assert abs(left(lakebase.get_branch(new_branch(expire_time=at))) - 5 * 3600) < 60
    assert lakebase.get_branch(new_branch(no_expiry=True)).status.expire_time is None


@pytest.mark.parametrize("spec, error, text", [
    (BranchSpec(), InvalidParameterValue, "Expiration must be specified when creating a branch"),
    (BranchSpec(no_expiry=False), InvalidParameterValue, "no_expiry"),
    (BranchSpec(no_expiry=True, ttl=Duration(seconds=3600)), InvalidParameterValue, "Only one of"),
    (BranchSpec(ttl=Duration(seconds=2592001)), InvalidParameterValue, "exceeds the maximum expiration time"),
    (BranchSpec(no_expiry=True, source_branch="projects/clients/branches/none"), NotFound, "branch id not found"),
    (BranchSpec(no_expiry=True, source_branch="projects/other/branches/production"), BadRequest,
     "source_branch field must point to the branch from the same Project"),
])
def test_what_cannot_be_created_is_refused(lakebase, project, spec, error, text):
    with pytest.raises(error, match=text) as refused:
        lakebase.create_branch(project, Branch(spec=spec), "refused")
    assert "[TraceId: " in str(refused.value)
    with pytest.raises(NotFound, match="branch id not found"):
        lakebase.get_branch(f"{project}/branches/refused")


def test_an_id_is_required_and_checked(lakebase, project):
    spec = Branch(spec=BranchSpec(no_expiry=True))
    with pytest.raises(InvalidParameterValue, match="Field 'branch_id' is required"):
        lakebase.create_branch(project, spec, "")
    with pytest.raises(InvalidParameterValue, match="branch_id"):
        lakebase.create_branch(project, spec, "Dev")
    with pytest.raises(NotFound, match="project id not found"):
        lakebase.create_branch("projects/none", spec, "dev")


def test_a_branch_that_exists_is_refused_or_changed_in_place(lakebase, project, new_place):
    place = new_place(no_expiry=True)
    place.sql("CREATE TABLE kept (); SELECT 1")
    id = place.branch.rsplit("/", 1)[1]
    again = Branch(spec=BranchSpec(ttl=Duration(seconds=3600)))
    with pytest.raises(BadRequest, match=f'branch already exists; branch_name:"{id}"'):
        lakebase.create_branch(project, again, id)
    before = lakebase.get_branch(place.branch)
    changed = lakebase.create_branch(project, again, id, replace_existing=True).wait()
    assert changed.uid == before.uid and abs(left(changed) - 3600) < 60
    assert place.sql("SELECT to_regclass('kept')") == "kept"


def test_a_branch_with_an_expiration_has_no_children(lakebase, project, new_branch):
    leased, parent = new_branch(), new_branch(no_expiry=True)
    spec = Branch(spec=BranchSpec(no_expiry=True, source_branch=leased))
    with pytest.raises(BadRequest, match="Branches with an expiration date cannot have child branches"):
        lakebase.create_branch(project, spec, "child")
    new_branch(parent)
    with pytest.raises(BadRequest, match="child branches"):
        lease = Branch(spec=BranchSpec(ttl=Duration(seconds=3600)))
        lakebase.update_branch(parent, lease, FieldMask(["spec.expiration"]))
    with pytest.raises(BadRequest, match="child branches"):
        lakebase.delete_branch(parent)


def test_expirations_are_renewed_and_taken_away(lakebase, new_branch):
    name = new_branch()

    def renew(mask, **spec):
        return lakebase.update_branch(name, Branch(spec=BranchSpec(**spec)), FieldMask([mask])).wait()

    assert abs(left(renew("spec.expiration", expire_time=in_hours(7))) - 7 * 3600) < 60
    assert abs(left(renew("spec.expire_time", expire_time=in_hours(2))) - 2 * 3600) < 60
    assert abs(left(renew("spec.expiration", ttl=Duration(seconds=9000))) - 9000) < 60
    assert renew("spec.expiration", no_expiry=True).status.expire_time is None
    assert lakebase.get_branch(name).status.expire_time is None


def test_masks_in_both_spellings(lakebase, new_branch):
    name = new_branch(no_expiry=True)
    protect = Branch(spec=BranchSpec(is_protected=True))
    camel = field_mask_pb2.FieldMask(paths=["spec.is_protected"])
    assert camel.ToJsonString() == "spec.isProtected", "this is the spelling that protobuf sends"
    assert lakebase.update_branch(name, protect, camel).wait().status.is_protected is True
    with pytest.raises(BadRequest, match="cannot delete protected branch"):
        lakebase.delete_branch(name)
    both = Branch(spec=BranchSpec(is_protected=False, ttl=Duration(seconds=3600)))
    changed = lakebase.update_branch(name, both, FieldMask(["spec.is_protected", "spec.expiration"])).wait()
    assert changed.status.is_protected is False and abs(left(changed) - 3600) < 60


def test_a_mask_names_fields_that_are_there(lakebase, new_branch):
    name, spec = new_branch(), Branch(spec=BranchSpec(is_protected=False))
    with pytest.raises(InvalidParameterValue, match="Unknown field path in update_mask: 'spec.nosuch'"):
        lakebase.update_branch(name, spec, FieldMask(["spec.nosuch"]))
    with pytest.raises(InvalidParameterValue, match="spec.expiration"):
        lakebase.update_branch(name, spec, FieldMask(["spec.expiration"]))
    with pytest.raises(InvalidParameterValue, match="'update_mask' is required"):
        lakebase.update_branch(name, spec, FieldMask([""]))


def test_the_root_branch_stays(lakebase, project):
    with pytest.raises(BadRequest, match="Cannot delete root branch") as refused:
        lakebase.delete_branch(f"{project}/branches/production")
    info = refused.value.get_error_details().error_info
    assert (info.reason, info.metadata) == ("RESOURCE_CONFLICT", {"declarative_context": "MANAGED_BY_PARENT"})


def test_a_deleted_branch_comes_back_with_its_data(lakebase, project, place):
    place.sql("CREATE TABLE kept AS SELECT 7 AS n")
    deletion = lakebase.delete_branch(place.branch)
    assert deletion.wait() is None and deletion.done() is True
    assert lakebase.get_branch(place.branch).status.current_state is BranchStatusState.DELETED
    assert place.branch not in [branch.name for branch in lakebase.list_branches(project)]
    [gone] = [b for b in lakebase.list_branches(project, show_deleted=True) if b.name == place.branch]
    assert gone.status.current_state is BranchStatusState.DELETED
    days = (gone.status.purge_time.ToSeconds() - gone.status.delete_time.ToSeconds()) / 86400
    assert days == 7
    assert lakebase.undelete_branch(place.branch).wait() is None
    assert lakebase.get_branch(place.branch).status.current_state is BranchStatusState.READY
    assert place.sql("SELECT n FROM kept") == "7"


def test_a_purged_branch_is_gone_and_its_id_is_free(lakebase, project, new_branch):
    name = new_branch()
    purge = lakebase.delete_branch(name, purge=True)
    purge.wait()
    assert purge.done() is True, "the operation outlives its branch"
    assert name not in [b.name for b in lakebase.list_branches(project, show_deleted=True)]
    with pytest.raises(NotFound, match="branch id not found"):
        lakebase.undelete_branch(name)
    again = Branch(spec=BranchSpec(ttl=Duration(seconds=3600)))
    assert lakebase.create_branch(project, again, name.rsplit("/", 1)[1]).wait().name == name


def test_pages_of_one_show_every_branch_once(lakebase, project, new_branch):
    made = [new_branch() for _ in range(3)]
    lakebase.delete_branch(made[1]).wait()
    names = [branch.name for branch in lakebase.list_branches(project, page_size=1)]
    assert sorted(names) == sorted([f"{project}/branches/production", made[0], made[2]])
    with_deleted = [b.name for b in lakebase.list_branches(project, page_size=1, show_deleted=True)]
    assert sorted(with_deleted) == sorted([*names, made[1]])
    with pytest.raises(InvalidParameterValue, match="page_size"):
        list(lakebase.list_branches(project, page_size=-1))
    with pytest.raises(InvalidParameterValue, match="page_token"):
        list(lakebase.list_branches(project, page_token="not one of yours"))


def test_an_operation_can_be_asked_for(lakebase, project, new_branch):
    name = new_branch()
    creation = lakebase.update_branch(name, Branch(spec=BranchSpec(no_expiry=True)), FieldMask(["spec.expiration"]))
    operation = lakebase.get_operation(creation.name())
    assert creation.name().startswith(f"{name}/operations/") and operation.done is True
    assert operation.response["name"] == name and "spec" not in operation.response
    assert operation.metadata["@type"].endswith("BranchOperationMetadata")
    with pytest.raises(NotFound, match="operation id not found"):
        lakebase.get_operation(f"{name}/operations/none")


def test_a_branch_of_a_time_since_the_last_change(lakebase, project, new_place):
    source = new_place(no_expiry=True)
    source.sql("CREATE TABLE t AS SELECT 1 AS n")
    def now():
        found = Timestamp()
        found.FromJsonString(source.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', "
                                        "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"))
        return found
    time = now()
    same = new_place(source.branch, ttl=Duration(seconds=3600), source_branch_time=time)
    assert same.sql("SELECT n FROM t") == "1"
    assert lakebase.get_branch(same.branch).status.source_branch_time.ToMicroseconds() == time.ToMicroseconds()
    source.sql("UPDATE t SET n = 2")
    spec = BranchSpec(source_branch=source.branch, ttl=Duration(seconds=3600), source_branch_time=time)
    with pytest.raises(BadRequest, match="outside the history of the branch"):
        lakebase.create_branch(project, Branch(spec=spec), "past")

"""databricks-sdk: projects."""
import re

import pytest
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import AlreadyExists, BadRequest, InvalidParameterValue, NotFound
from databricks.sdk.service.postgres import Branch, BranchSpec, Project, ProjectDefaultEndpointSettings, ProjectSpec
from google.protobuf.duration_pb2 import Duration


def test_a_project_is_created_with_its_settings(lakebase, user):
    settings = ProjectDefaultEndpointSettings(autoscaling_limit_min_cu=0.5, autoscaling_limit_max_cu=2,
                                              suspend_timeout_duration=Duration(seconds=300))
    spec = ProjectSpec(display_name="Settings", history_retention_duration=Duration(seconds=172800),
                       default_endpoint_settings=settings)
    creation = lakebase.create_project(Project(spec=spec), "settings")
    created, found = creation.wait(), lakebase.get_project("projects/settings")
    assert creation.done() is True and created.name == found.name == "projects/settings"
    status = found.status
    assert (status.display_name, status.owner) == ("Settings", user) and found.spec is None
    assert status.default_branch == "projects/settings/branches/production" and status.pg_version >= 15
    assert status.history_retention_duration.ToSeconds() == 172800 and status.enable_pg_native_login is False
    assert status.default_endpoint_settings.suspend_timeout_duration.ToSeconds() == 300
    assert re.fullmatch(r"[0-9a-f-]{36}", found.uid) and found.create_time.ToSeconds() > 0
    endpoint = lakebase.get_endpoint(f"{status.default_branch}/endpoints/primary").status
    assert (endpoint.autoscaling_limit_min_cu, endpoint.autoscaling_limit_max_cu) == (0.5, 2)
    assert endpoint.suspend_timeout_duration.ToSeconds() == 300
    with pytest.raises(AlreadyExists, match="project with such id already exists in the workspace"):
        lakebase.create_project(Project(spec=ProjectSpec()), "settings")


def test_pages_of_one_show_every_project_once(lakebase, project):
    lakebase.create_project(Project(spec=ProjectSpec()), "paged").wait()
    names = [found.name for found in lakebase.list_projects(page_size=1)]
    assert names.count("projects/paged") == names.count(project) == 1
    assert names == [found.name for found in lakebase.list_projects()]


@pytest.mark.parametrize("id, spec, text", [
    ("", ProjectSpec(), "Field 'project_id' is required"),
    ("No", ProjectSpec(), "project_id"),
    ("refused", ProjectSpec(display_name=""), "display_name"),
    ("refused", ProjectSpec(history_retention_duration=Duration(seconds=60)), "history_retention_duration"),
])
def test_what_cannot_be_created_is_refused(lakebase, id, spec, text):
    with pytest.raises(InvalidParameterValue, match=text):
        lakebase.create_project(Project(spec=spec), id)


def test_a_project_that_is_not_there(lakebase):
    with pytest.raises(NotFound, match="project id not found"):
        lakebase.get_project("projects/none")
    with pytest.raises(NotFound, match="project id not found"):
        list(lakebase.list_branches("projects/none"))


def test_a_project_is_changed_by_mask(lakebase):
    name = lakebase.create_project(Project(spec=ProjectSpec()), "changed").wait().name
    update = lambda mask, **spec: lakebase.update_project(name, Project(spec=ProjectSpec(**spec)), FieldMask([mask]))
    assert update("spec.display_name", display_name="Changed").wait().status.display_name == "Changed"
    update("spec.historyRetentionDuration", history_retention_duration=Duration(seconds=259200)).wait()
    assert lakebase.get_project(name).status.history_retention_duration.ToSeconds() == 259200
    settings = ProjectDefaultEndpointSettings(suspend_timeout_duration=Duration(seconds=120))
    update("spec.default_endpoint_settings", default_endpoint_settings=settings).wait()
    spec = BranchSpec(no_expiry=True)
    branch = lakebase.create_branch(name, Branch(spec=spec), "staging").wait().name
    assert lakebase.get_endpoint(f"{branch}/endpoints/primary").status.suspend_timeout_duration.ToSeconds() == 120
    update("spec.default_branch", default_branch=branch).wait()
    assert lakebase.get_branch(branch).status.default is True
    with pytest.raises(BadRequest, match="cannot delete default branch"):
        lakebase.delete_branch(branch)
    with pytest.raises(InvalidParameterValue, match="Unknown field path in update_mask: 'spec.none'"):
        update("spec.none")
    with pytest.raises(InvalidParameterValue, match="display_name"):
        update("spec.display_name")
    lakebase.delete_project(name, purge=True).wait()


def test_a_deleted_project_comes_back_and_a_purged_one_does_not(lakebase):
    name = lakebase.create_project(Project(spec=ProjectSpec()), "deleted").wait().name
    lakebase.delete_project(name).wait()
    assert name not in [found.name for found in lakebase.list_projects()]
    deleted = {found.name: found for found in lakebase.list_projects(show_deleted=True)}[name]
    assert deleted.purge_time.ToSeconds() - deleted.delete_time.ToSeconds() == 7 * 24 * 3600
    with pytest.raises(NotFound, match="project id not found"):
        list(lakebase.list_branches(name))
    with pytest.raises(AlreadyExists):
        lakebase.create_project(Project(spec=ProjectSpec()), "deleted")
    lakebase.undelete_project(name).wait()
    assert [found.status.default for found in lakebase.list_branches(name)] == [True]
    lakebase.delete_project(name, purge=True).wait()
    with pytest.raises(NotFound, match="project id not found"):
        lakebase.get_project(name)
    lakebase.create_project(Project(spec=ProjectSpec()), "deleted").wait()
    lakebase.delete_project(name, purge=True).wait()

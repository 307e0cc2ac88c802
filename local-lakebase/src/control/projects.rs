//! The methods of projects.

use std::sync::Arc;

use lakebase_api::{BranchSpec, Empty, EndpointSpec, Project, ProjectName, ProjectSpec};
use serde_json::Value;
use uuid::Uuid;

use super::{Control, Newborn, family, key};
use crate::catalog::Write;
use crate::error::ApiError;
use crate::identity::Caller;
use crate::model::page::{Page, PageRequest, page};
use crate::model::project::{self, Birth};
use crate::model::record::{BranchRecord, Phase, ProjectRecord};
use crate::model::{endpoint, mask, view};
use crate::uid;

/// What a new project is to be like, with the branch and the endpoint that it is born with.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) spec: ProjectSpec,
    pub(crate) branch: BranchSpec,
    pub(crate) endpoint: EndpointSpec,
}

impl Control {
    pub(crate) async fn project(&self, name: &ProjectName) -> Result<Project, ApiError> {
        Ok(view::project(&self.any_project(name).await?))
    }

    /// A project, soft-deleted or not.
    async fn any_project(&self, name: &ProjectName) -> Result<ProjectRecord, ApiError> {
        let project = self.catalog.project(name).await?;
        project.ok_or_else(|| ApiError::not_found("project"))
    }

    pub(crate) async fn projects(&self, request: &PageRequest) -> Result<Page<Project>, ApiError> {
        let mut projects = self.catalog.projects().await?;
        projects.retain(|project| request.show_deleted || project.is_live());
        let page = page(projects, request, |project| project.name.as_str())?;
        let items = page.items.iter().map(view::project).collect();
        Ok(Page {
            items,
            next: page.next,
        })
    }

    pub(crate) async fn create_project(
        self: &Arc<Self>,
        caller: Caller,
        id: Option<&str>,
        wanted: Wanted,
    ) -> Result<Value, ApiError> {
        let name = project::new_name(id)?;
        let make = {
            let name = name.clone();
            |control: Arc<Self>| async move { control.create_project_in_turn(caller, name, &wanted).await }
        };
        self.change(name, make).await
    }

    async fn create_project_in_turn(
        &self,
        caller: Caller,
        name: ProjectName,
        wanted: &Wanted,
    ) -> Result<Value, ApiError> {
        if self.catalog.project(&name).await?.is_some() {
            return Err(project::already_exists());
        }
        let birth = Birth {
            name,
            uid: Uuid::new_v4().to_string(),
            owner: caller.name,
            pg_version: u16::try_from(self.engine.postgres_major()).unwrap_or_default(),
            now: self.clock.now(),
        };
        let project = project::create(birth, &wanted.spec)?;
        let root = BranchRecord {
            is_protected: wanted.branch.is_protected.unwrap_or(false),
            ..BranchRecord::new(project.default_branch.clone(), uid::branch(), project.create_time)
        };
        let mut newborn = Newborn::new(&project, root)?;
        newborn.endpoint = endpoint::born(&newborn.endpoint, &wanted.endpoint)?;
        let [branch, endpoint] = newborn.writes();
        self.catalog
            .commit(&[Write::Project(project.clone()), branch, endpoint])
            .await?;
        let made = self.make_root(&project, &newborn).await;
        if made.is_err() {
            self.abandon(&newborn, Write::RemoveProject(project.name)).await;
        }
        made
    }

    async fn make_root(&self, project: &ProjectRecord, newborn: &Newborn) -> Result<Value, ApiError> {
        let made = self
            .engine
            .create_root(&key(&newborn.branch), &project.owner)
            .await;
        made.map_err(|error| ApiError::failed("create the project", &error))?;
        let (operation, answer) = self.done(project.name.as_str(), "Project", &view::project(project))?;
        let branch = BranchRecord {
            phase: Phase::Ready,
            state_change_time: self.clock.now(),
            ..newborn.branch.clone()
        };
        let mut more = self.born(project, &branch);
        more.push(operation);
        self.settle(newborn, branch, more).await?;
        tracing::info!(project = %project.name, "created");
        Ok(answer)
    }

    pub(crate) async fn update_project(
        self: &Arc<Self>,
        name: ProjectName,
        update_mask: Option<String>,
        spec: ProjectSpec,
    ) -> Result<Value, ApiError> {
        let update = {
            let name = name.clone();
            move |control: Arc<Self>| async move {
                let (project, branches) = control.family(&name).await?;
                let mask = mask::parse(update_mask.as_deref(), project::MASK)?;
                let family = family(&project, &branches);
                let project = project::update(&family, &spec, &mask, control.clock.now())?;
                let shown = view::project(&project);
                let (operation, answer) = control.done(name.as_str(), "Project", &shown)?;
                control
                    .catalog
                    .commit(&[Write::Project(project), operation])
                    .await?;
                for branch in branches.iter().filter(|branch| branch.is_live()) {
                    control.hand_out_passwords(branch).await;
                }
                Ok(answer)
            }
        };
        self.change(name, update).await
    }

    pub(crate) async fn delete_project(
        self: &Arc<Self>,
        name: ProjectName,
        purge: bool,
    ) -> Result<Value, ApiError> {
        let delete = {
            let name = name.clone();
            move |control: Arc<Self>| async move {
                let project = control.any_project(&name).await?;
                if !project.is_live() && !purge {
                    return Err(ApiError::not_found("project"));
                }
                let branches = control.catalog.branches(&name).await?;
                if project.is_live() {
                    project::delete(&family(&project, &branches))?;
                }
                let (operation, answer) = control.done(name.as_str(), "Project", &Empty {})?;
                if purge {
                    control.purge_project(&project, vec![operation]).await?;
                } else {
                    control.bury_project(project, &branches, operation).await?;
                }
                Ok(answer)
            }
        };
        self.change(name, delete).await
    }

    /// Soft-deletes a project: its doors close, its data stay.
    async fn bury_project(
        &self,
        project: ProjectRecord,
        branches: &[BranchRecord],
        operation: Write,
    ) -> Result<(), ApiError> {
        let project = project::tombstone(project, self.clock.now(), &self.limits);
        tracing::info!(project = %project.name, "deleted");
        self.catalog.commit(&[Write::Project(project), operation]).await?;
        for branch in branches {
            self.close_for_good(branch).await;
        }
        Ok(())
    }

    /// Deletes a project for ever: first its rows, so that a crash leaves data that are noted for removal, and not rows without
    /// data.
    pub(super) async fn purge_project(
        &self,
        project: &ProjectRecord,
        more: Vec<Write>,
    ) -> Result<(), ApiError> {
        let branches = self.catalog.branches(&project.name).await?;
        let mut writes = vec![Write::RemoveProject(project.name.clone())];
        writes.extend(more);
        self.catalog.commit(&writes).await?;
        for branch in &branches {
            self.remove_data(branch).await;
        }
        tracing::info!(project = %project.name, "purged");
        Ok(())
    }

    pub(crate) async fn undelete_project(self: &Arc<Self>, name: ProjectName) -> Result<Value, ApiError> {
        let undelete = {
            let name = name.clone();
            move |control: Arc<Self>| async move {
                let project = project::undelete(control.any_project(&name).await?, control.clock.now())?;
                let (operation, answer) = control.done(name.as_str(), "Project", &Empty {})?;
                control
                    .catalog
                    .commit(&[Write::Project(project.clone()), operation])
                    .await?;
                control.open_project(&project).await?;
                tracing::info!(project = %project.name, "undeleted");
                Ok(answer)
            }
        };
        self.change(name, undelete).await
    }
}

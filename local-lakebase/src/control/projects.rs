//! The methods of projects.

use std::sync::Arc;

use lakebase_api::{Project, ProjectName, ProjectSpec};
use serde_json::Value;
use uuid::Uuid;

use super::{Control, Newborn, key};
use crate::catalog::Write;
use crate::error::ApiError;
use crate::identity::Caller;
use crate::model::page::{Page, PageRequest, page};
use crate::model::project::{self, Birth};
use crate::model::record::{BranchRecord, Phase, ProjectRecord};
use crate::model::view;
use crate::uid;

impl Control {
    pub(crate) async fn project(&self, name: &ProjectName) -> Result<Project, ApiError> {
        Ok(view::project(&self.project_record(name).await?))
    }

    pub(crate) async fn projects(&self, request: &PageRequest) -> Result<Page<Project>, ApiError> {
        let projects = self.catalog.projects().await?;
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
        spec: ProjectSpec,
    ) -> Result<Value, ApiError> {
        let name = project::new_name(id)?;
        let make = {
            let name = name.clone();
            |control: Arc<Self>| async move { control.create_project_in_turn(caller, name, &spec).await }
        };
        self.change(name, make).await
    }

    async fn create_project_in_turn(
        &self,
        caller: Caller,
        name: ProjectName,
        spec: &ProjectSpec,
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
        let project = project::create(birth, spec)?;
        let root = BranchRecord::new(project.default_branch.clone(), uid::branch(), project.create_time);
        let newborn = Newborn::new(&project, root)?;
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
}

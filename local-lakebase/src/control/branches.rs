//! The methods of branches.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use lakebase_api::{Branch, BranchName, BranchSpec, Empty, EndpointName, ProjectName};
use serde_json::Value;

use super::{Control, Newborn, family, key, visible};
use crate::catalog::Write;
use crate::engine::{Durability, EngineError};
use crate::error::ApiError;
use crate::model::branch::{self, Creation};
use crate::model::mask;
use crate::model::page::{Page, PageRequest, page};
use crate::model::record::{BranchRecord, PRIMARY, Phase, ProjectRecord};
use crate::uid;

impl Control {
    /// Returns a branch; a soft-deleted one says that it is deleted.
    pub(crate) async fn branch(&self, name: &BranchName) -> Result<Branch, ApiError> {
        let project = self.project_record(&name.project()).await?;
        let branch = self.catalog.branch(name).await?;
        let branch = branch.filter(|branch| visible(branch, true));
        let branch = branch.ok_or_else(|| ApiError::not_found("branch"))?;
        Ok(self.show(&branch, &project.default_branch).await)
    }

    pub(crate) async fn branches(
        self: &Arc<Self>,
        project: &ProjectName,
        request: &PageRequest,
    ) -> Result<Page<Branch>, ApiError> {
        let (project, mut branches) = self.family(project).await?;
        branches.retain(|branch| visible(branch, request.show_deleted));
        let page = page(branches, request, |branch| branch.name.as_str())?;
        let show = |branch| self.show_quickly(branch, &project.default_branch);
        Ok(Page {
            items: page.items.iter().map(show).collect(),
            next: page.next,
        })
    }

    pub(crate) async fn create_branch(
        self: &Arc<Self>,
        project: ProjectName,
        id: Option<String>,
        spec: BranchSpec,
        replace_existing: bool,
    ) -> Result<Value, ApiError> {
        let create = {
            let project = project.clone();
            move |control: Arc<Self>| async move {
                control.project_record(&project).await?;
                let name = branch::new_name(&project, id.as_deref())?;
                control.create_branch_in_turn(name, &spec, replace_existing).await
            }
        };
        self.change(project, create).await
    }

    async fn create_branch_in_turn(
        &self,
        name: BranchName,
        spec: &BranchSpec,
        replace_existing: bool,
    ) -> Result<Value, ApiError> {
        let (project, branches) = self.family(&name.project()).await?;
        let draft = BranchRecord::new(name, uid::branch(), self.clock.now());
        let family = family(&project, &branches);
        match branch::create(&family, draft, spec, replace_existing, &self.limits)? {
            Creation::Update(branch) => self.save(&project, *branch).await,
            Creation::Fork { source, branch } => {
                let newborn = Newborn::new(&project, *branch)?;
                self.catalog.commit(&newborn.writes()).await?;
                let made = self
                    .fork(&project, &source, &newborn, spec.source_branch_time)
                    .await;
                if made.is_err() {
                    self.abandon(&newborn, Write::RemoveBranch(newborn.branch.uid.clone()))
                        .await;
                }
                made
            }
        }
    }

    /// Makes the data of a branch and lets the world see it. A branch that never expires is worth a flush to disk.
    async fn fork(
        &self,
        project: &ProjectRecord,
        source: &BranchRecord,
        newborn: &Newborn,
        since: Option<DateTime<Utc>>,
    ) -> Result<Value, ApiError> {
        let durability = match newborn.branch.expire_time {
            Some(_) => Durability::Ephemeral,
            None => Durability::Durable,
        };
        let forked_at = self.clock.now();
        let forked = self
            .engine
            .fork(&key(source), &key(&newborn.branch), durability, since)
            .await;
        let fork = forked.map_err(refusal)?;
        let branch = BranchRecord {
            phase: Phase::Ready,
            source_lsn: Some(fork.lsn),
            source_time: since.or(Some(forked_at)),
            state_change_time: self.clock.now(),
            ..newborn.branch.clone()
        };
        let shown = self.show(&branch, &project.default_branch).await;
        let (operation, answer) = self.done(branch.name.as_str(), "Branch", &shown)?;
        tracing::info!(branch = %branch.name, uid = branch.uid, took = ?fork.took, "created");
        let inherit = Write::Inherit {
            source_uid: source.uid.clone(),
            child_uid: branch.uid.clone(),
            new_passwords: source.is_protected,
        };
        self.settle(newborn, branch, vec![inherit, operation]).await?;
        Ok(answer)
    }

    pub(crate) async fn update_branch(
        self: &Arc<Self>,
        name: BranchName,
        update_mask: Option<String>,
        spec: BranchSpec,
    ) -> Result<Value, ApiError> {
        let update = {
            let name = name.clone();
            move |control: Arc<Self>| async move {
                let (project, branches) = control.family(&name.project()).await?;
                let mask = mask::parse(update_mask.as_deref(), branch::MASK)?;
                let now = control.clock.now();
                let family = family(&project, &branches);
                let branch = branch::update(&family, &name, &spec, &mask, now, &control.limits)?;
                control.save(&project, branch).await
            }
        };
        self.change(name.project(), update).await
    }

    async fn save(&self, project: &ProjectRecord, branch: BranchRecord) -> Result<Value, ApiError> {
        let shown = self.show(&branch, &project.default_branch).await;
        let (operation, answer) = self.done(branch.name.as_str(), "Branch", &shown)?;
        self.catalog.commit(&[Write::Branch(branch), operation]).await?;
        Ok(answer)
    }

    pub(crate) async fn delete_branch(
        self: &Arc<Self>,
        name: BranchName,
        purge: bool,
    ) -> Result<Value, ApiError> {
        let delete = {
            let name = name.clone();
            move |control: Arc<Self>| async move {
                let (project, branches) = control.family(&name.project()).await?;
                let tombstone = branches
                    .iter()
                    .find(|b| b.name == name && b.phase == Phase::Deleted);
                let (operation, answer) = control.done(name.as_str(), "Branch", &Empty {})?;
                match (tombstone, branch::delete(&family(&project, &branches), &name)) {
                    (Some(tombstone), _) if purge => control.purge(tombstone, vec![operation]).await?,
                    (_, branch) if purge => control.purge(&branch?, vec![operation]).await?,
                    (_, branch) => control.bury(branch?, vec![operation]).await?,
                }
                Ok(answer)
            }
        };
        self.change(name.project(), delete).await
    }

    /// Soft-deletes a branch: its door closes, its data stay.
    pub(super) async fn bury(&self, branch: BranchRecord, more: Vec<Write>) -> Result<(), ApiError> {
        let branch = branch::tombstone(branch, self.clock.now(), &self.limits);
        let mut writes = vec![Write::Branch(branch.clone())];
        writes.extend(more);
        self.catalog.commit(&writes).await?;
        self.close_for_good(&branch).await;
        tracing::info!(branch = %branch.name, uid = branch.uid, "deleted");
        Ok(())
    }

    /// Deletes a branch for ever: first its row, so that a crash leaves data that are noted for removal, and not a row without
    /// data.
    pub(super) async fn purge(&self, branch: &BranchRecord, more: Vec<Write>) -> Result<(), ApiError> {
        let mut writes = vec![Write::RemoveBranch(branch.uid.clone())];
        writes.extend(more);
        self.catalog.commit(&writes).await?;
        self.remove_data(branch).await;
        tracing::info!(branch = %branch.name, uid = branch.uid, "purged");
        Ok(())
    }

    /// Removes what there is of a branch whose row is gone.
    pub(super) async fn remove_data(&self, branch: &BranchRecord) {
        self.close(branch).await;
        self.sizes(|sizes| sizes.remove(&branch.uid));
        if let Err(error) = self.engine.delete(&key(branch)).await {
            tracing::error!(%error, branch = %branch.name, "its data stay until the next start");
            return;
        }
        if let Err(error) = self.catalog.forget_removal(&branch.uid).await {
            tracing::warn!(%error, branch = %branch.name, "its removal is noted until the next start");
        }
    }

    /// Ends the sessions of a branch and lets its compute sleep.
    pub(super) async fn close_for_good(&self, branch: &BranchRecord) {
        self.close(branch).await;
        self.engine
            .set_suspend_timeout(&key(branch), Some(Duration::ZERO));
    }

    pub(super) async fn close(&self, branch: &BranchRecord) {
        if let Ok(endpoint) = EndpointName::new(&branch.name, PRIMARY) {
            self.listeners.close(&endpoint).await;
        }
    }

    pub(crate) async fn undelete_branch(self: &Arc<Self>, name: BranchName) -> Result<Value, ApiError> {
        let undelete = {
            let name = name.clone();
            move |control: Arc<Self>| async move {
                let (project, branches) = control.family(&name.project()).await?;
                let now = control.clock.now();
                let family = family(&project, &branches);
                let branch = branch::undelete(&family, &name, now, &control.limits)?;
                control.check_data(&branch)?;
                let (operation, answer) = control.done(name.as_str(), "Branch", &Empty {})?;
                let mut writes = vec![Write::Branch(branch.clone()), operation];
                for endpoint in control.catalog.endpoints(&branch.uid).await? {
                    writes.push(Write::Endpoint(control.open(&branch, endpoint).await?));
                }
                if let Err(error) = control.catalog.commit(&writes).await {
                    control.close(&branch).await;
                    return Err(error.into());
                }
                control.hand_out_passwords(&branch).await;
                tracing::info!(branch = %branch.name, uid = branch.uid, "undeleted");
                Ok(answer)
            }
        };
        self.change(name.project(), undelete).await
    }
}

/// What a client hears of a fork that came to nothing.
fn refusal(error: EngineError) -> ApiError {
    match error {
        EngineError::Changed { since } => ApiError::bad_request(format!(
            "source_branch_time is outside the history of the branch: Local Lakebase has it as it is since {}",
            since.to_rfc3339_opts(SecondsFormat::Micros, true)
        )),
        error @ EngineError::NoRoom { .. } => {
            ApiError::bad_request(format!("cannot create the branch: {error}"))
        }
        error => ApiError::failed("create the branch", &error),
    }
}

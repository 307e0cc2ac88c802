//! The control plane: what the API's methods do. Each loads what is remembered, lets `model` decide, and has the
//! engine, the listeners and the catalog act. No rule is here, and nothing of HTTP.
//!
//! # Invariants
//!
//! - Changes within a project happen one after another.
//! - A change that has begun goes to its end, also when its caller hangs up.
//! - A row says `creating` before data are made. A row is removed before its data are, and leaves a note that they have
//!   to be; so the next start after a crash knows which data it may remove. Any others are moved to `lost`.

mod branches;
mod databases;
mod endpoints;
mod health;
mod overdue;
mod projects;
mod roles;
mod sweep;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lakebase_api::{BranchName, EndpointName, ProjectName};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::catalog::{Catalog, CatalogError, OperationRow, Write};
use crate::clock::Clock;
use crate::engine::{BranchKey, ComputeState, Engine, Sizes};
use crate::error::ApiError;
use crate::identity::Identity;
use crate::listener::{Listeners, Opening};
use crate::model::branch::Family;
use crate::model::record::{BranchRecord, EndpointRecord, PRIMARY, Phase, ProjectRecord};
use crate::model::view::{OnDisk, Seen};
use crate::model::{Limits, view};
use crate::token::Signer;
use crate::uid;

pub(crate) use self::health::Health;
pub(crate) use self::projects::Wanted;
pub(crate) use self::sweep::sweep;

/// The setting that keeps the port shared by endpoints.
pub(crate) const SHARED_PORT: &str = "shared_port";

/// How long a measured size is shown before it is measured again.
const SIZE_LIFE: Duration = Duration::from_secs(10);

/// Everything the methods work with.
pub(crate) struct Control {
    pub(crate) catalog: Catalog,
    pub(crate) engine: Engine,
    pub(crate) listeners: Listeners,
    pub(crate) clock: Clock,
    pub(crate) signer: Signer,
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    /// The number that stands for this workspace.
    pub(crate) workspace_id: String,
    /// Where the API is served.
    pub(crate) api_url: String,
    /// Where clients find it.
    pub(crate) public_url: String,
    pub(crate) running: Running,
}

/// What goes on at the moment.
#[derive(Default)]
pub(crate) struct Running {
    changes: TaskTracker,
    turns: Mutex<HashMap<ProjectName, Arc<tokio::sync::Mutex<()>>>>,
    measuring: tokio::sync::Mutex<()>,
    sizes: Mutex<HashMap<String, (Instant, Sizes)>>,
    health: Mutex<Health>,
}

/// A branch that is being made, with its endpoint.
#[derive(Clone, Debug)]
struct Newborn {
    branch: BranchRecord,
    endpoint: EndpointRecord,
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        Self::failed("use the catalog", &error)
    }
}

impl Control {
    /// Waits for the changes that have begun.
    pub(crate) async fn drain(&self) {
        self.running.changes.close();
        self.running.changes.wait().await;
    }

    /// Opens the doors of all branches, as after a start.
    pub(crate) async fn open_all(&self) -> Result<(), ApiError> {
        let mut projects = self.catalog.projects().await?;
        projects.retain(ProjectRecord::is_live);
        for project in &projects {
            self.open_project(project).await?;
        }
        Ok(())
    }

    /// Opens the doors of a project's branches.
    async fn open_project(&self, project: &ProjectRecord) -> Result<(), ApiError> {
        let branches = self.catalog.branches(&project.name).await?;
        for branch in &branches {
            self.ensure_born(project, branch).await?;
        }
        for branch in branches.iter().filter(|branch| branch.is_live()) {
            if !self.engine.has_data(&key(branch)) {
                tracing::error!(branch = %branch.name, uid = branch.uid, "its data are missing; it is not served");
                continue;
            }
            for endpoint in self.catalog.endpoints(&branch.uid).await? {
                let opened = self.open(branch, endpoint.clone()).await?;
                if opened != endpoint {
                    tracing::warn!(endpoint = %endpoint.name, "its address was taken; it has a new one");
                    self.catalog.commit(&[Write::Endpoint(opened)]).await?;
                }
            }
            self.hand_out_passwords(branch).await;
        }
        Ok(())
    }

    /// Returns the answer of an operation.
    pub(crate) async fn operation(&self, name: &str) -> Result<Value, ApiError> {
        let body = self.catalog.operation(name).await?;
        let body = body.ok_or_else(|| ApiError::not_found("operation"))?;
        serde_json::from_str(&body).map_err(|error| ApiError::failed("read an operation", &error))
    }

    /// Makes a change when the project's turn has come, and to its end.
    async fn change<F, T>(
        self: &Arc<Self>,
        project: ProjectName,
        act: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>> + Send,
        T: Send + 'static,
    {
        let control = self.clone();
        let change = self.running.changes.spawn(async move {
            let _turn = control.turn(&project).await;
            act(control.clone()).await
        });
        change.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a change broke off");
            Err(ApiError::internal())
        })
    }

    async fn turn(&self, project: &ProjectName) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.running.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(project.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }

    async fn project_record(&self, name: &ProjectName) -> Result<ProjectRecord, ApiError> {
        let project = self.catalog.project(name).await?;
        let project = project.filter(ProjectRecord::is_live);
        project.ok_or_else(|| ApiError::not_found("project"))
    }

    async fn live_branch(&self, name: &BranchName) -> Result<BranchRecord, ApiError> {
        self.project_record(&name.project()).await?;
        let branch = self.catalog.branch(name).await?;
        branch
            .filter(BranchRecord::is_live)
            .ok_or_else(|| ApiError::not_found("branch"))
    }

    /// Refuses a branch whose data are missing: what is served in their place would be an empty database.
    fn check_data(&self, branch: &BranchRecord) -> Result<(), ApiError> {
        if self.engine.has_data(&key(branch)) {
            return Ok(());
        }
        let text = format!(
            "the data of `{}` are missing; see `lakebased local recover`",
            branch.name
        );
        Err(ApiError::new(400, "INVALID_STATE", text))
    }

    async fn endpoint_record(&self, name: &EndpointName) -> Result<(BranchRecord, EndpointRecord), ApiError> {
        let branch = self.live_branch(&name.branch()).await?;
        let endpoint = self.catalog.endpoint(name).await?;
        let endpoint = endpoint.ok_or_else(|| ApiError::not_found("endpoint"))?;
        Ok((branch, endpoint))
    }

    async fn family(&self, project: &ProjectName) -> Result<(ProjectRecord, Vec<BranchRecord>), ApiError> {
        let project = self.project_record(project).await?;
        let branches = self.catalog.branches(&project.name).await?;
        Ok((project, branches))
    }

    /// Opens a branch's door; the endpoint comes back with the address it has now.
    async fn open(
        &self,
        branch: &BranchRecord,
        endpoint: EndpointRecord,
    ) -> Result<EndpointRecord, ApiError> {
        let opening = Opening {
            endpoint: endpoint.name.clone(),
            branch: key(branch),
            disabled: endpoint.disabled,
            address: endpoint.own_address(),
        };
        self.engine
            .set_suspend_timeout(&key(branch), endpoint.suspend_timeout());
        let address = self.listeners.open(opening).await;
        let address = address.map_err(|error| ApiError::failed("open the endpoint", &error))?;
        if let (None, Some(port)) = (address, self.listeners.shared_port()) {
            self.catalog.set(SHARED_PORT, &port.to_string()).await?;
        }
        Ok(EndpointRecord {
            address: address.map(|address| address.to_string()),
            ..endpoint
        })
    }

    /// Opens the door of a branch whose data are there, and lets the world see it.
    async fn settle(
        &self,
        newborn: &Newborn,
        branch: BranchRecord,
        more: Vec<Write>,
    ) -> Result<(), ApiError> {
        let endpoint = self.open(&branch, newborn.endpoint.clone()).await?;
        let mut writes = vec![Write::Branch(branch.clone()), Write::Endpoint(endpoint)];
        writes.extend(more);
        self.catalog.commit(&writes).await?;
        self.hand_out_passwords(&branch).await;
        Ok(())
    }

    /// Takes back what there is of a branch that could not be made.
    async fn abandon(&self, newborn: &Newborn, row: Write) {
        self.close(&newborn.branch).await;
        if let Err(error) = self.catalog.commit(&[row]).await {
            // As long as there is a row the data are its own.
            tracing::error!(%error, branch = %newborn.branch.name, "its row and its data stay until the next start");
            return;
        }
        self.remove_data(&newborn.branch).await;
    }

    /// Makes the record and the answer of an operation that is done.
    fn done(
        &self,
        resource: &str,
        kind: &str,
        response: &impl Serialize,
    ) -> Result<(Write, Value), ApiError> {
        let name = format!("{resource}/operations/{}", Uuid::new_v4());
        let mut response =
            serde_json::to_value(response).map_err(|error| ApiError::failed("write an operation", &error))?;
        let empty = response.as_object().is_some_and(serde_json::Map::is_empty);
        let type_of = if empty {
            "google.protobuf.Empty".to_owned()
        } else {
            format!("databricks.postgres.v1.{kind}")
        };
        response["@type"] = json!(format!("type.googleapis.com/{type_of}"));
        let metadata = format!("type.googleapis.com/databricks.postgres.v1.{kind}OperationMetadata");
        let answer = json!({
            "name": name, "done": true, "metadata": {"@type": metadata}, "response": response,
        });
        let row = OperationRow {
            name,
            create_time: self.clock.now(),
            body: answer.to_string(),
        };
        Ok((Write::Operation(row), answer))
    }

    fn seen(&self, branch: &BranchRecord) -> Seen {
        Seen {
            awake: self.engine.state(&key(branch)) == ComputeState::Running,
            shared_port: self.listeners.shared_port(),
        }
    }

    /// Shows a branch with its size, which is measured unless that was done just now.
    async fn show(&self, branch: &BranchRecord, default: &BranchName) -> lakebase_api::Branch {
        let has_data = self.engine.has_data(&key(branch));
        let sizes = self.measure(branch).await;
        view::branch(branch, default, OnDisk { has_data, sizes })
    }

    /// Shows a branch among many, with its size as last measured, because measuring walks its directory. What is old is
    /// measured meanwhile, for the next who asks.
    fn show_quickly(self: &Arc<Self>, branch: &BranchRecord, default: &BranchName) -> lakebase_api::Branch {
        let measured = self.sizes(|sizes| sizes.get(&branch.uid).copied());
        let has_data = self.engine.has_data(&key(branch));
        if has_data && measured.is_none_or(|(at, _)| at.elapsed() >= SIZE_LIFE) {
            let (control, branch) = (self.clone(), branch.clone());
            self.running.changes.spawn(async move {
                // One at a time: nobody waits for it.
                let _turn = control.running.measuring.lock().await;
                control.measure(&branch).await
            });
        }
        let sizes = measured.map(|(_, sizes)| sizes);
        view::branch(branch, default, OnDisk { has_data, sizes })
    }

    /// Measures all branches once, so that the first list after a start has their sizes.
    pub(crate) async fn measure_all(self: Arc<Self>, stop: CancellationToken) {
        let measure = async {
            let mut projects = self.catalog.projects().await?;
            projects.retain(ProjectRecord::is_live);
            for project in projects {
                for branch in self.catalog.branches(&project.name).await? {
                    if branch.is_live() && self.engine.has_data(&key(&branch)) {
                        let _turn = self.running.measuring.lock().await;
                        self.measure(&branch).await;
                    }
                }
            }
            Ok::<_, ApiError>(())
        };
        if let Some(Err(error)) = stop.run_until_cancelled(measure).await {
            tracing::debug!(error = error.message, "not all branches were measured");
        }
    }

    async fn measure(&self, branch: &BranchRecord) -> Option<Sizes> {
        let measured = self.sizes(|sizes| sizes.get(&branch.uid).copied());
        if let Some((_, sizes)) = measured.filter(|(at, _)| at.elapsed() < SIZE_LIFE) {
            return Some(sizes);
        }
        let sizes = self.engine.sizes(&key(branch)).await.ok()?;
        self.sizes(|known| known.insert(branch.uid.clone(), (Instant::now(), sizes)));
        Some(sizes)
    }

    fn sizes<T>(&self, act: impl FnOnce(&mut HashMap<String, (Instant, Sizes)>) -> T) -> T {
        act(&mut self.running.sizes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Newborn {
    /// A branch and the endpoint it is born with.
    fn new(project: &ProjectRecord, branch: BranchRecord) -> Result<Self, ApiError> {
        let name = EndpointName::new(&branch.name, PRIMARY);
        let endpoint = EndpointRecord {
            uid: uid::endpoint(),
            name: name.map_err(|error| ApiError::invalid(error.to_string()))?,
            branch_uid: branch.uid.clone(),
            address: None,
            disabled: false,
            suspend_seconds: project.suspend_seconds,
            min_cu: project.min_cu,
            max_cu: project.max_cu,
            create_time: branch.create_time,
            update_time: branch.create_time,
        };
        Ok(Self { branch, endpoint })
    }

    fn writes(&self) -> [Write; 2] {
        [
            Write::Branch(self.branch.clone()),
            Write::Endpoint(self.endpoint.clone()),
        ]
    }
}

/// The branch as the engine knows it.
pub(crate) fn key(branch: &BranchRecord) -> BranchKey {
    BranchKey {
        project: branch.name.project().id().to_owned(),
        uid: branch.uid.clone(),
    }
}

fn family<'a>(project: &'a ProjectRecord, branches: &'a [BranchRecord]) -> Family<'a> {
    Family { project, branches }
}

fn visible(branch: &BranchRecord, show_deleted: bool) -> bool {
    match branch.phase {
        Phase::Creating => false,
        Phase::Ready => true,
        Phase::Deleted => show_deleted,
    }
}

//! The port to the service: our words on this side, its API on the other. Decides nothing. The one method that deletes takes
//! a permit.

use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, BranchUid, ProjectId};
use daemon_core::permit::{DeletePermit, Refusal};
use daemon_core::state::{Observed, RemoteBranch, RemoteState};
use lakebase_api::{
    Branch, BranchName, BranchSpec, BranchState, Client, EndpointName, EndpointType, Error, NameError,
    Operation, ProjectName, ProtoDuration,
};
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

/// How long a delete may take before it is left to a later look.
const DELETE_PATIENCE: Duration = Duration::from_secs(30);

/// Why the service did not do as asked, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// The service failed, refused, or could not be reached.
    #[error(transparent)]
    Service(#[from] Error),
    /// The service gave an answer that contradicts itself or the question.
    #[error("cannot use the service's answer: {0}")]
    Odd(String),
    /// The branch must stay, as a fresh look shows.
    #[error("cannot delete branch `{branch}`: {refusal}")]
    MustStay { branch: BranchId, refusal: Refusal },
}

impl From<NameError> for ProviderError {
    fn from(error: NameError) -> Self {
        Self::Odd(error.to_string())
    }
}

/// The read-write endpoint of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointAt {
    pub(crate) name: EndpointName,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) suspend_timeout: Option<Duration>,
}

/// One project of one service, for one user.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) client: Client,
    pub(crate) project: ProjectName,
    /// What records are kept under: `local`, or the origin of a workspace.
    pub(crate) origin: String,
    /// The name of the workspace user; also the PostgreSQL user.
    pub(crate) user_name: String,
    /// The certificate authority of the endpoints; `None`: the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Provider {
    /// The project, in the core's words.
    pub(crate) fn project_id(&self) -> ProjectId {
        ProjectId::new(self.project.id())
    }

    /// Lists every living branch: all pages, or an error.
    pub(crate) async fn observe(&self) -> Result<Observed, ProviderError> {
        let branches = self.client.list_branches(&self.project).await?;
        let living = branches
            .iter()
            .filter(|branch| !branch.is_deleted())
            .map(remote_branch);
        Ok(Observed {
            branches: living.map(|branch| (branch.id.clone(), branch)).collect(),
        })
    }

    /// Asks for a branch. Returns it if the service was done at once; else a later look shows it.
    pub(crate) async fn create(
        &self,
        id: &BranchId,
        source: &BranchId,
        ttl: Option<TimeDelta>,
    ) -> Result<Option<RemoteBranch>, ProviderError> {
        let spec = BranchSpec {
            source_branch: Some(self.branch_name(source)?),
            ttl: ttl.and_then(|ttl| ttl.to_std().ok()).map(ProtoDuration::from),
            no_expiry: ttl.is_none().then_some(true),
            ..BranchSpec::default()
        };
        let operation = self
            .client
            .create_branch(&self.project, id.as_str(), &spec)
            .await?;
        let made = finished(operation)?;
        Ok(made.as_ref().map(remote_branch))
    }

    /// Says whether a name is held by a branch that is deleted: it is not listed, and the name cannot be had.
    pub(crate) async fn is_held_by_tombstone(&self, id: &BranchId) -> Result<bool, ProviderError> {
        match self.client.branch(&self.branch_name(id)?).await {
            Ok(branch) => Ok(branch.is_deleted()),
            Err(Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads one branch by its name.
    pub(crate) async fn living(&self, id: &BranchId) -> Result<Option<RemoteBranch>, ProviderError> {
        match self.client.branch(&self.branch_name(id)?).await {
            Ok(branch) if branch.is_deleted() => Ok(None),
            Ok(branch) => Ok(Some(remote_branch(&branch))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves the end of a branch's lease.
    pub(crate) async fn renew(&self, id: &BranchId, expire_time: Timestamp) -> Result<(), ProviderError> {
        finished(
            self.client
                .renew_branch(&self.branch_name(id)?, expire_time)
                .await?,
        )
        .map(drop)
    }

    /// Takes the expiration off a branch.
    pub(crate) async fn hold(&self, id: &BranchId) -> Result<(), ProviderError> {
        finished(self.client.set_no_expiry(&self.branch_name(id)?).await?).map(drop)
    }

    /// Deletes a branch so that it can still be undeleted, after reading it once more: the service deletes by name, and
    /// another branch may have taken the name since the permit was given. Returns when the service is done with it.
    pub(crate) async fn delete(&self, permit: &DeletePermit) -> Result<(), ProviderError> {
        let name = self.branch_name(permit.branch())?;
        let fresh = match self.client.branch(&name).await {
            Ok(branch) if branch.is_deleted() => return Ok(()),
            Ok(branch) => remote_branch(&branch),
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        permit
            .still_holds(&fresh)
            .map_err(|refusal| ProviderError::MustStay {
                branch: permit.branch().clone(),
                refusal,
            })?;
        match self.client.delete_branch(&name).await {
            Ok(operation) => Ok(self.client.wait(operation, DELETE_PATIENCE).await.map(drop)?),
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the read-write endpoint of a branch, once it has a host.
    pub(crate) async fn endpoint(&self, id: &BranchId) -> Result<Option<EndpointAt>, ProviderError> {
        let endpoints = self.client.list_endpoints(&self.branch_name(id)?).await?;
        let read_write = endpoints
            .into_iter()
            .find(|e| e.status.endpoint_type == Some(EndpointType::ReadWrite));
        Ok(read_write.and_then(|endpoint| {
            let hosts = endpoint.status.hosts;
            let port = hosts.port();
            let host = hosts.host.filter(|host| !host.is_empty())?;
            let suspend_timeout = endpoint.status.suspend_timeout_duration.map(Duration::from);
            Some(EndpointAt {
                name: endpoint.name,
                host,
                port,
                suspend_timeout,
            })
        }))
    }

    /// Sets after how long without use an endpoint's compute is suspended.
    pub(crate) async fn set_suspend(
        &self,
        endpoint: &EndpointName,
        timeout: Duration,
    ) -> Result<(), ProviderError> {
        finished(self.client.update_endpoint_suspend(endpoint, timeout).await?).map(drop)
    }

    /// Mints a database credential.
    pub(crate) async fn mint(
        &self,
        endpoint: &EndpointName,
    ) -> Result<(SecretString, Timestamp), ProviderError> {
        let credential = self.client.generate_credential(endpoint, None).await?;
        Ok((credential.token, credential.expire_time))
    }

    /// The resource name of a branch.
    pub(crate) fn branch_name(&self, id: &BranchId) -> Result<BranchName, ProviderError> {
        Ok(BranchName::new(&self.project, id.as_str())?)
    }
}

/// What an operation that has ended came to; `None` while it runs.
fn finished<T>(operation: Operation<T>) -> Result<Option<T>, ProviderError> {
    match operation.result {
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(error)) => Err(ProviderError::Odd(error.to_string())),
        None => Ok(None),
    }
}

fn remote_branch(branch: &Branch) -> RemoteBranch {
    let status = &branch.status;
    RemoteBranch {
        id: BranchId::new(branch.name.id()),
        uid: branch.uid.clone().map(BranchUid::new),
        state: remote_state(status.current_state.as_ref()),
        is_default: status.default,
        is_protected: status.is_protected,
        source: status
            .source_branch
            .as_ref()
            .map(|source| BranchId::new(source.id())),
        expire_time: status.expire_time,
        create_time: branch.create_time,
        logical_size_bytes: status
            .logical_size_bytes
            .and_then(|size| u64::try_from(size).ok()),
        own_size_bytes: status.own_size_bytes,
    }
}

/// A branch whose state is missing or unknown is not usable, and never deletable.
fn remote_state(state: Option<&BranchState>) -> RemoteState {
    match state {
        Some(BranchState::Ready | BranchState::Archived) => RemoteState::Ready,
        Some(other) => RemoteState::Transitional(other.to_string()),
        None => RemoteState::Transitional("unknown".into()),
    }
}

//! The port to the service: our words and our clock on this side, its API and its clock on the other. Decides nothing. The
//! one method that deletes takes a permit.

use crate::begun::{Begun, Creation};
use crate::clock;
use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, BranchUid, ProjectId};
use daemon_core::permit::{DeletePermit, Refusal};
use daemon_core::state::{Observed, RemoteBranch, RemoteState};
use lakebase_api::{
    Branch, BranchName, BranchSpec, BranchState, Client, EndpointName, EndpointType, Error, NameError,
    Operation, OperationName, ProjectName, ProtoDuration,
};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a delete may take before it is left to a later look. Others of the project wait meanwhile.
const DELETE_PATIENCE: Duration = Duration::from_secs(10);

/// How far the server's clock may be from ours without being another clock: its header has whole seconds, and travels.
const SAME_CLOCK: TimeDelta = TimeDelta::seconds(5);

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
    /// The project has no room for another branch.
    #[error("cannot make branch `{branch}`: {in_use} of {in_use} branches in use; idle longest: {idle}")]
    Full {
        branch: BranchId,
        /// How many there are, which is as many as there can be.
        in_use: usize,
        /// Those of this user that were not renewed for longest, for a person to choose from.
        idle: String,
        source: Box<Error>,
    },
    /// The service has been making the branch for so long that nobody waits for it any more.
    #[error(
        "cannot wait for branch `{branch}`: the service has been making it for more than {minutes} minutes"
    )]
    Endless { branch: BranchId, minutes: u64 },
}

impl ProviderError {
    /// Says whether a change may have been made in spite of the error.
    pub(crate) fn is_unclear(&self) -> bool {
        match self {
            Self::Service(error) => error.is_unclear(),
            Self::Odd(_) | Self::Endless { .. } => true,
            Self::MustStay { .. } | Self::Full { .. } => false,
        }
    }
}

impl ProviderError {
    /// Says whether the service has understood the request and will not do it, now or later.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Service(Error::Refused { .. }))
    }
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

/// What the service has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It knows no such branch.
    Nobody,
    /// A branch that lives, listed or not.
    Living(RemoteBranch),
    /// A branch that is deleted and can be brought back.
    Deleted {
        uid: Option<BranchUid>,
        /// Its lease ran out; nobody deleted it on purpose.
        has_lapsed: bool,
    },
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
    /// The branches that were asked for and may not be listed yet.
    pub(crate) begun: Begun,
}

impl Provider {
    /// The project, in the core's words.
    pub(crate) fn project_id(&self) -> ProjectId {
        ProjectId::new(self.project.id())
    }

    /// Lists every living branch: all pages, or an error. A list may lag behind, so what we have just asked for is looked
    /// for by name as well.
    pub(crate) async fn observe(&self) -> Result<Observed, ProviderError> {
        let branches = self.client.list_branches(&self.project).await?;
        let living = branches
            .iter()
            .filter(|branch| !branch.is_deleted())
            .map(|branch| self.remote_branch(branch));
        let mut observed = Observed {
            branches: living.map(|branch| (branch.id.clone(), branch)).collect(),
        };
        for (id, creation) in self.begun.open(&observed) {
            if let Some(branch) = self.follow(&id, creation).await?
                && !observed.branches.contains_key(&id)
            {
                observed.branches.insert(id, branch);
            }
        }
        Ok(observed)
    }

    /// Lists every living branch, and those whose lease ran out and that can still be undeleted.
    pub(crate) async fn observe_with_lapsed(
        &self,
    ) -> Result<(Observed, BTreeMap<BranchId, RemoteBranch>), ProviderError> {
        let mut branches = self.client.list_branches_with_deleted(&self.project).await?;
        // Of several with one name the last one that was deleted counts.
        branches.sort_by_key(|branch| branch.status.delete_time);
        let (mut observed, mut lapsed) = (Observed::default(), BTreeMap::new());
        for branch in &branches {
            let remote = self.remote_branch(branch);
            if !branch.is_deleted() {
                observed.branches.insert(remote.id.clone(), remote);
            } else if has_lapsed(branch) {
                lapsed.insert(remote.id.clone(), remote);
            } else {
                lapsed.remove(&remote.id);
            }
        }
        Ok((observed, lapsed))
    }

    /// Asks how a creation stands whose branch is not listed as ready. Returns the branch if there is something of it.
    async fn follow(&self, id: &BranchId, creation: Creation) -> Result<Option<RemoteBranch>, ProviderError> {
        let Creation::Running(operation) = creation else {
            return self.living(id).await;
        };
        match self.client.operation::<Branch>(&operation).await {
            Ok(Operation {
                result: None,
                done: false,
                ..
            }) => {
                let partial = self.living(id).await?;
                Ok(Some(partial.unwrap_or_else(|| being_made(id))))
            }
            Ok(Operation {
                result: Some(Err(error)),
                ..
            }) => {
                self.begun.failed(id, Error::of_failed(&operation, error).into());
                self.living(id).await
            }
            // Also when the service has forgotten the operation: what counts is the branch.
            Ok(_) | Err(Error::NotFound { .. }) => {
                self.begun.made(id);
                self.living(id).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads one branch by its name; `None` when there is no living one.
    pub(crate) async fn living(&self, id: &BranchId) -> Result<Option<RemoteBranch>, ProviderError> {
        match self.holder(id).await? {
            Holder::Living(branch) => Ok(Some(branch)),
            Holder::Nobody | Holder::Deleted { .. } => Ok(None),
        }
    }

    /// Asks for a branch. Returns it if the service was done at once; else a later look shows it.
    pub(crate) async fn create(
        &self,
        id: &BranchId,
        source: &BranchId,
        ttl: Option<TimeDelta>,
    ) -> Result<Option<RemoteBranch>, ProviderError> {
        if let Some(error) = self.begun.take_failure(id) {
            return Err(error);
        }
        if let Some(operation) = self.begun.parked(id) {
            return self.unpark(id, &operation).await;
        }
        let spec = BranchSpec {
            source_branch: Some(self.branch_name(source)?),
            ttl: ttl.and_then(|ttl| ttl.to_std().ok()).map(ProtoDuration::from),
            no_expiry: ttl.is_none().then_some(true),
            ..BranchSpec::default()
        };
        let asked = self.client.create_branch(&self.project, id.as_str(), &spec).await;
        if asked.as_ref().is_err_and(Error::is_unclear) {
            // It may be there, whatever the next list says.
            self.begun.made(id);
        }
        self.begun(id, asked?)
    }

    fn begun(
        &self,
        id: &BranchId,
        operation: Operation<Branch>,
    ) -> Result<Option<RemoteBranch>, ProviderError> {
        let name = operation.name.clone();
        match operation.result {
            Some(Err(error)) => Err(Error::of_failed(&name, error).into()),
            Some(Ok(branch)) if branch.name == self.branch_name(id)? => {
                self.begun.made(id);
                Ok(Some(self.remote_branch(&branch)))
            }
            Some(Ok(branch)) => Err(ProviderError::Odd(format!("it made `{}`", branch.name))),
            None if operation.done => {
                self.begun.made(id);
                Ok(None)
            }
            None => {
                self.begun.runs(id, name);
                Ok(None)
            }
        }
    }

    /// Looks once more at an operation that nobody waits for any longer.
    async fn unpark(
        &self,
        id: &BranchId,
        operation: &OperationName,
    ) -> Result<Option<RemoteBranch>, ProviderError> {
        match self.client.operation::<Branch>(operation).await {
            Ok(operation) if operation.done => self.begun(id, operation),
            Ok(_) => Err(Begun::endless(id)),
            Err(Error::NotFound { .. }) => {
                self.begun.made(id);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says what the service has under a name.
    pub(crate) async fn holder(&self, id: &BranchId) -> Result<Holder, ProviderError> {
        match self.client.branch(&self.branch_name(id)?).await {
            Ok(branch) if branch.is_deleted() => Ok(Holder::Deleted {
                uid: branch.uid.clone().map(BranchUid::new),
                has_lapsed: has_lapsed(&branch),
            }),
            Ok(branch) => Ok(Holder::Living(self.remote_branch(&branch))),
            Err(Error::NotFound { .. }) => Ok(Holder::Nobody),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings a deleted branch back; it comes without an expiration.
    pub(crate) async fn undelete(&self, id: &BranchId) -> Result<(), ProviderError> {
        finished(self.client.undelete_branch(&self.branch_name(id)?).await?).map(drop)
    }

    /// Moves the end of a branch's lease.
    pub(crate) async fn renew(&self, id: &BranchId, expire_time: Timestamp) -> Result<(), ProviderError> {
        finished(
            self.client
                .renew_branch(&self.branch_name(id)?, expire_time + self.skew())
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
            Ok(branch) if branch.is_deleted() => {
                self.begun.forget(permit.branch());
                return Ok(());
            }
            Ok(branch) => self.remote_branch(&branch),
            // The list has just shown it. If it is really gone, the next list says so too.
            Err(Error::NotFound { .. }) => {
                let unread = format!("branch `{}` is listed and cannot be read", permit.branch());
                return Err(ProviderError::Odd(unread));
            }
            Err(error) => return Err(error.into()),
        };
        permit
            .still_holds(&fresh)
            .map_err(|refusal| ProviderError::MustStay {
                branch: permit.branch().clone(),
                refusal,
            })?;
        match self.client.delete_branch(&name).await {
            Ok(operation) => self.client.wait(operation, DELETE_PATIENCE).await.map(drop)?,
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.begun.forget(permit.branch());
        Ok(())
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
        Ok((credential.token, credential.expire_time - self.skew()))
    }

    /// How far the server's clock is ahead of ours. Its times are turned into ours here, and ours into its.
    fn skew(&self) -> TimeDelta {
        let ahead = self.client.server_time().map(|theirs| theirs - clock::now());
        ahead.filter(|ahead| ahead.abs() > SAME_CLOCK).unwrap_or_default()
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
        Some(Err(error)) => Err(Error::of_failed(&operation.name, error).into()),
        None => Ok(None),
    }
}

/// A branch that the service has promised and does not show.
fn being_made(id: &BranchId) -> RemoteBranch {
    RemoteBranch {
        id: id.clone(),
        uid: None,
        state: RemoteState::Transitional("asked for".into()),
        is_default: false,
        is_protected: false,
        source: None,
        expire_time: None,
        create_time: None,
        logical_size_bytes: None,
        own_size_bytes: None,
    }
}

fn has_lapsed(branch: &Branch) -> bool {
    let status = &branch.status;
    matches!((status.expire_time, status.delete_time), (Some(lease), Some(deleted)) if lease <= deleted)
}

impl Provider {
    fn remote_branch(&self, branch: &Branch) -> RemoteBranch {
        let (status, skew) = (&branch.status, self.skew());
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
            expire_time: status.expire_time.map(|time| time - skew),
            create_time: branch.create_time.map(|time| time - skew),
            logical_size_bytes: status
                .logical_size_bytes
                .and_then(|size| u64::try_from(size).ok()),
            own_size_bytes: status.own_size_bytes,
        }
    }
}

/// A branch whose state is missing or unknown is not usable, and never deletable.
fn remote_state(state: Option<&BranchState>) -> RemoteState {
    match state {
        Some(BranchState::Ready | BranchState::Archived) => RemoteState::Ready,
        Some(BranchState::DataMissing) => RemoteState::DataMissing,
        Some(other) => RemoteState::Transitional(other.to_string()),
        None => RemoteState::Transitional("unknown".into()),
    }
}

#[cfg(test)]
mod tests;

//! Mints database credentials, one at a time per branch, and keeps them in memory only. A credential is served until it is
//! no longer good, even while the service cannot be reached. Whether it is good is judged by two clocks: one that people
//! set, and one that goes on while the machine sleeps.

use crate::attempts;
use crate::clock::{Clock, Moment};
use crate::metrics;
use crate::provider::{Provider, ProviderError};
use daemon_core::Timestamp;
use daemon_core::ids::BranchUid;
use daemon_core::lease::{self, Jitter};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a credential that is still good waits for its next replacement after one could not be had.
const REFRESH_PAUSE: Duration = Duration::from_mins(1);

/// How long a failure answers for the attempts that others would make, when there is nothing else to answer with.
const FAILURE_SHARED: Duration = Duration::from_secs(2);

/// What a credential is for: one endpoint of one branch, and how to reach it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) provider: Arc<Provider>,
    pub(crate) uid: BranchUid,
    /// Resource name of the endpoint.
    pub(crate) endpoint: lakebase_api::EndpointName,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) sslmode: &'static str,
    pub(crate) ssl_root_cert: Option<PathBuf>,
}

impl Target {
    /// Says whether both lead to the same place, so that a client need not be told of a change.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        (
            &self.uid,
            &self.endpoint,
            &self.host,
            self.port,
            &self.database,
            &self.user,
        ) == (
            &other.uid,
            &other.endpoint,
            &other.host,
            other.port,
            &other.database,
            &other.user,
        )
    }
}

/// A minted password. Two are the same exactly when they share their allocation.
#[derive(Debug)]
pub(crate) struct Minted {
    pub(crate) password: SecretString,
    pub(crate) expire_time: Timestamp,
    since: Moment,
}

/// What the keeper does when a good credential is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Hands it out. No caller waits for the service while there is something to hand out.
    Usable,
    /// Replaces it first when half of its life is over. What a pass asks for.
    Fresh,
    /// Mints a new one all the same.
    New,
}

/// Keeps the credentials.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    cells: Mutex<BTreeMap<BranchUid, Arc<Cell>>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Cell {
    /// Held while minting: who comes meanwhile waits, and finds what was minted, or why it was not.
    minting: tokio::sync::Mutex<()>,
    latest: watch::Sender<Option<Arc<Minted>>>,
    failure: Mutex<Option<Failure>>,
}

/// The last attempt to mint, if it failed.
#[derive(Debug)]
struct Failure {
    at: Moment,
    error: Arc<ProviderError>,
    /// Whoever has signed in again has another one, and need not wait.
    provider: Arc<Provider>,
}

impl Credentials {
    /// Returns a usable credential.
    ///
    /// # Errors
    /// The provider's error, when minting failed and what is at hand is no longer good.
    pub(crate) async fn fetch(
        &self,
        target: &Target,
        freshness: Freshness,
    ) -> Result<Arc<Minted>, Arc<ProviderError>> {
        let cell = self.cell(&target.uid);
        if let Some(answer) = cell.at_hand(target, freshness, self.clock.moment()) {
            return answer;
        }
        // In a box: every call would carry room for the request that few make.
        Box::pin(self.mint(&cell, target, freshness)).await
    }

    /// Mints one, unless somebody else did meanwhile.
    async fn mint(
        &self,
        cell: &Cell,
        target: &Target,
        freshness: Freshness,
    ) -> Result<Arc<Minted>, Arc<ProviderError>> {
        let _turn = cell.minting.lock().await;
        // Its life is counted from before the request: the answer may have been long on its way.
        let since = self.clock.moment();
        if let Some(answer) = cell.at_hand(target, freshness, since) {
            return answer;
        }
        match target.provider.mint(&target.endpoint).await {
            Ok((password, expire_time)) => {
                metrics::MINTS.count();
                let minted = Arc::new(Minted {
                    password,
                    expire_time,
                    since,
                });
                *cell.failure() = None;
                cell.latest.send_replace(Some(minted.clone()));
                Ok(minted)
            }
            Err(error) => {
                metrics::FAILED_MINTS.count();
                let error = Arc::new(error);
                *cell.failure() = Some(Failure {
                    at: self.clock.moment(),
                    error: error.clone(),
                    provider: target.provider.clone(),
                });
                cell.usable(self.clock.moment())
                    .filter(|_| freshness != Freshness::New)
                    .ok_or(error)
            }
        }
    }

    /// Follows the credentials of a branch.
    pub(crate) fn follow(&self, uid: &BranchUid) -> watch::Receiver<Option<Arc<Minted>>> {
        self.cell(uid).latest.subscribe()
    }

    /// Drops the credentials of branches that are no longer served.
    pub(crate) fn retain(&self, uids: &BTreeSet<BranchUid>) {
        self.cells()
            .retain(|uid, cell| uids.contains(uid) || cell.latest.receiver_count() > 0);
    }

    fn cell(&self, uid: &BranchUid) -> Arc<Cell> {
        self.cells().entry(uid.clone()).or_default().clone()
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, BTreeMap<BranchUid, Arc<Cell>>> {
        // A panic while holding the lock cannot have left the map half changed.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    /// What can be answered without the service.
    fn at_hand(
        &self,
        target: &Target,
        freshness: Freshness,
        now: Moment,
    ) -> Option<Result<Arc<Minted>, Arc<ProviderError>>> {
        let usable = self.usable(now);
        let failed_since = |pause| self.failed_since(target, now, pause);
        match (freshness, usable) {
            (Freshness::New, _) => None,
            (Freshness::Usable, Some(minted)) => Some(Ok(minted)),
            (Freshness::Fresh, Some(minted)) => {
                let can_wait = !minted.is_due(now) || failed_since(REFRESH_PAUSE).is_some();
                can_wait.then_some(Ok(minted))
            }
            (Freshness::Usable | Freshness::Fresh, None) => failed_since(FAILURE_SHARED).map(Err),
        }
    }

    fn usable(&self, now: Moment) -> Option<Arc<Minted>> {
        self.latest
            .borrow()
            .clone()
            .filter(|minted| minted.is_usable(now))
    }

    /// The failure of an attempt that is not longer ago than this, or than the service asked for.
    fn failed_since(&self, target: &Target, now: Moment, pause: Duration) -> Option<Arc<ProviderError>> {
        let failure = self.failure();
        let failure = failure
            .as_ref()
            .filter(|failure| Arc::ptr_eq(&failure.provider, &target.provider))?;
        let pause = pause.max(attempts::pause_asked(&failure.error));
        let ago = now.since_boot.saturating_sub(failure.at.since_boot);
        (ago < pause).then(|| failure.error.clone())
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Minted {
    fn is_usable(&self, now: Moment) -> bool {
        lease::is_usable(self.expire_time, now.latest_since(self.since))
    }

    /// Says whether half of its life is over.
    fn is_due(&self, now: Moment) -> bool {
        let since = self.since.wall;
        let due = lease::refresh_at(since, self.expire_time, Jitter::of(&since.to_rfc3339()));
        now.latest_since(self.since) >= due
    }
}

#[cfg(test)]
mod tests;

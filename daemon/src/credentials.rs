//! Mints database credentials, one at a time per branch, and keeps them in memory only. A credential is served until it is
//! no longer good, even while the service cannot be reached.

use crate::clock;
use crate::metrics;
use crate::provider::{Provider, ProviderError};
use daemon_core::Timestamp;
use daemon_core::ids::BranchUid;
use daemon_core::lease::{self, Jitter};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

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
    since: Timestamp,
}

/// What the keeper does when a good credential is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Hands it out; replaces it first when half of its life is over.
    Usable,
    /// Mints a new one all the same.
    New,
}

/// Keeps the credentials.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    cells: Mutex<BTreeMap<BranchUid, Arc<Cell>>>,
}

#[derive(Debug, Default)]
struct Cell {
    /// Held while minting: who comes meanwhile waits, and finds what was minted.
    minting: tokio::sync::Mutex<()>,
    latest: watch::Sender<Option<Arc<Minted>>>,
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
    ) -> Result<Arc<Minted>, ProviderError> {
        let cell = self.cell(&target.uid);
        if freshness == Freshness::Usable
            && let Some(minted) = cell.fresh()
        {
            return Ok(minted);
        }
        let _turn = cell.minting.lock().await;
        if freshness == Freshness::Usable
            && let Some(minted) = cell.fresh()
        {
            return Ok(minted);
        }
        match target.provider.mint(&target.endpoint).await {
            Ok((password, expire_time)) => {
                metrics::MINTS.count();
                let minted = Arc::new(Minted {
                    password,
                    expire_time,
                    since: clock::now(),
                });
                cell.latest.send_replace(Some(minted.clone()));
                Ok(minted)
            }
            Err(error) => {
                metrics::FAILED_MINTS.count();
                cell.usable()
                    .filter(|_| freshness == Freshness::Usable)
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
    fn usable(&self) -> Option<Arc<Minted>> {
        self.latest
            .borrow()
            .clone()
            .filter(|minted| lease::is_usable(minted.expire_time, clock::now()))
    }

    /// Usable, and in the first half of its life.
    fn fresh(&self) -> Option<Arc<Minted>> {
        self.usable().filter(|minted| clock::now() < minted.refresh_at())
    }
}

impl Minted {
    fn refresh_at(&self) -> Timestamp {
        lease::refresh_at(self.since, self.expire_time, Jitter::of(&self.since.to_rfc3339()))
    }
}

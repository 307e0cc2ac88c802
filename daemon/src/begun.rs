//! What we asked the service to make and may not see yet: operations that run, branches that a lagging list leaves out.
//! Kept in memory only; after a restart the intent in the ledger does the same, slower.

use crate::provider::ProviderError;
use daemon_core::ids::BranchId;
use daemon_core::state::{Observed, RemoteState};
use lakebase_api::OperationName;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an operation is followed; after that it is only asked for now and then.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long a branch that was made is looked for by name when the list leaves it out.
const LIST_LAG: Duration = Duration::from_mins(10);

/// The creations that are under way, by the branch's name.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    by_branch: Mutex<BTreeMap<BranchId, Entry>>,
    /// Names that cannot be had though nobody can be seen under them, and since when.
    unseen: Mutex<BTreeMap<BranchId, Instant>>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    Runs(OperationName),
    /// It has run for longer than anybody waits.
    Parked(OperationName),
    Made,
    /// It ended badly, and nobody was told yet.
    Failed(ProviderError),
}

/// A creation to look after.
#[derive(Debug)]
pub(crate) enum Creation {
    /// Its operation had not ended when it was last asked for.
    Running(OperationName),
    /// It is done, as far as we know.
    Made,
}

impl Begun {
    /// Notes an operation that has begun.
    pub(crate) fn runs(&self, id: &BranchId, operation: OperationName) {
        self.put(id, Stands::Runs(operation));
    }

    /// Notes that a branch is made, or that only a look at it can tell.
    pub(crate) fn made(&self, id: &BranchId) {
        self.put(id, Stands::Made);
    }

    /// Notes that a name cannot be had though nobody is seen under it; returns for how long that has been so.
    pub(crate) fn unseen_for(&self, id: &BranchId) -> Duration {
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        unseen.entry(id.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// Notes that the service did not say that a name is taken.
    pub(crate) fn is_given_out(&self, id: &BranchId) {
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        unseen.remove(id);
    }

    /// Notes how an operation failed; the next attempt to make the branch is told.
    pub(crate) fn failed(&self, id: &BranchId, error: ProviderError) {
        self.put(id, Stands::Failed(error));
    }

    /// The failure that nobody was told yet. It may be tried again after that.
    pub(crate) fn take_failure(&self, id: &BranchId) -> Option<ProviderError> {
        let mut all = self.all();
        match all.remove(id)? {
            Entry {
                stands: Stands::Failed(error),
                ..
            } => Some(error),
            other => {
                all.insert(id.clone(), other);
                None
            }
        }
    }

    /// The operation that nobody follows any longer.
    pub(crate) fn parked(&self, id: &BranchId) -> Option<OperationName> {
        match &self.all().get(id)?.stands {
            Stands::Parked(operation) => Some(operation.clone()),
            Stands::Runs(_) | Stands::Made | Stands::Failed(_) => None,
        }
    }

    /// Forgets a branch that is deleted.
    pub(crate) fn forget(&self, id: &BranchId) {
        self.all().remove(id);
    }

    /// What is said of an operation that is parked.
    pub(crate) fn endless(id: &BranchId) -> ProviderError {
        ProviderError::Endless {
            branch: id.clone(),
            minutes: PATIENCE.as_secs() / 60,
        }
    }

    /// What is to be looked after beside a list: creations that it does not show as ready. Parks what takes too long, and
    /// forgets what is settled.
    pub(crate) fn open(&self, listed: &Observed) -> Vec<(BranchId, Creation)> {
        let mut all = self.all();
        let is_ready = |id: &BranchId| {
            let branch = listed.branches.get(id);
            branch.is_some_and(|branch| branch.state == RemoteState::Ready)
        };
        all.retain(|id, entry| {
            let is_over = matches!(entry.stands, Stands::Made) && entry.since.elapsed() > LIST_LAG;
            // A made branch stays on watch for a while: the next list may come from a server that lags.
            !is_over && (matches!(entry.stands, Stands::Made) || !is_ready(id))
        });
        let mut open = vec![];
        for (id, entry) in all.iter_mut() {
            match &entry.stands {
                Stands::Runs(operation) if entry.since.elapsed() > PATIENCE => {
                    tracing::warn!(branch = %id, %operation, "an operation does not end; it is no longer followed");
                    entry.stands = Stands::Parked(operation.clone());
                }
                Stands::Runs(operation) => open.push((id.clone(), Creation::Running(operation.clone()))),
                Stands::Made if !listed.branches.contains_key(id) => {
                    open.push((id.clone(), Creation::Made));
                }
                Stands::Made | Stands::Parked(_) | Stands::Failed(_) => {}
            }
        }
        open
    }

    fn put(&self, id: &BranchId, stands: Stands) {
        let since = Instant::now();
        self.all().insert(id.clone(), Entry { since, stands });
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<BranchId, Entry>> {
        // A panic while holding the lock cannot have left the map half changed.
        self.by_branch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

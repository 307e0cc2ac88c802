//! What persons ask of a repository, from the call that says it to the pass that does it. A wish lives in memory only: one
//! that a crash swallows was not answered, and its caller knows.

use crate::board::Problem;
use daemon_core::ids::{BranchId, RepositoryId};
use daemon_core::state::Asks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// What became of what was asked about one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) branch: BranchId,
    pub(crate) result: Result<(), Problem>,
}

/// What a pass answers: branch by branch, or why it could not even begin.
pub(crate) type Answer = Result<Vec<Answered>, Problem>;

/// Wishes that wait for a pass.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    waiting: Mutex<BTreeMap<RepositoryId, Taken>>,
    /// Repositories that are about to be given up.
    leaving: Mutex<BTreeSet<RepositoryId>>,
}

/// The wishes that one pass answers.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) asks: Asks,
    pub(crate) answers: Vec<Answered>,
    callers: Vec<oneshot::Sender<Answer>>,
}

impl Wishes {
    /// Leaves a wish for the repository's next pass.
    pub(crate) fn leave(&self, id: &RepositoryId, asks: Asks) -> oneshot::Receiver<Answer> {
        let (caller, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = waiting.entry(id.clone()).or_default();
        taken.asks.branches.extend(asks.branches);
        taken.asks.collect_garbage |= asks.collect_garbage;
        taken.callers.push(caller);
        answer
    }

    /// Takes what waits for a repository.
    pub(crate) fn take(&self, id: &RepositoryId) -> Taken {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = waiting.remove(id).unwrap_or_default();
        taken.asks.is_leaving = self.leaving().contains(id);
        taken
    }

    /// From now on nothing is made for a repository, and what is ours of it is deleted.
    pub(crate) fn begin_leaving(&self, id: &RepositoryId) {
        self.leaving().insert(id.clone());
    }

    /// The repository is gone, or stays after all.
    pub(crate) fn end_leaving(&self, id: &RepositoryId) {
        self.leaving().remove(id);
    }

    fn leaving(&self) -> std::sync::MutexGuard<'_, BTreeSet<RepositoryId>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Notes what became of what was asked about a branch.
    pub(crate) fn note(&mut self, branch: BranchId, result: Result<(), Problem>) {
        self.answers.push(Answered { branch, result });
    }

    /// Tells the callers; `hindrance` is what kept the pass from its end.
    pub(crate) fn tell(self, hindrance: Option<&Problem>) {
        for caller in self.callers {
            let answer = hindrance.map_or_else(|| Ok(self.answers.clone()), |problem| Err(problem.clone()));
            // A caller may have gone; what was asked is done all the same.
            drop(caller.send(answer));
        }
    }
}

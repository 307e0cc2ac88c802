//! The loop: takes hints, decides which repository is looked at next, and runs its passes. The only place that starts
//! them. Anyone may wake it; nobody may tell it what to do.

use crate::clock::{Clock, Naps};
use crate::ledger::RepositoryRow;
use crate::metrics;
use crate::reconcile::{Memory, Reconciler};
use daemon_core::ids::RepositoryId;
use daemon_core::queue::{Outcome, Queue, Tick};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How many wishes may wait; more are dropped, and the clock makes them good.
pub(crate) const WISHES: usize = 1024;

/// How soon after the machine woke up everything is looked at: leases may be about to end.
const NAP_CHECK: Duration = Duration::from_secs(5);

/// How long running passes may go on after the daemon was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// A wish to the loop.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Something may have changed in a repository.
    Look(RepositoryId),
    /// Something may have changed anywhere.
    LookEverywhere,
    /// A person wants a look now, even if the last one failed.
    Retry(Vec<RepositoryId>),
    /// The list of repositories changed.
    Repositories(Vec<RepositoryRow>),
}

/// What others hold of the loop.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    wishes: mpsc::Sender<Wish>,
}

impl Handle {
    /// Makes a handle and the loop's end of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, inbox) = mpsc::channel(WISHES);
        (Self { wishes }, inbox)
    }

    /// Asks for a look at a repository. Never waits; a lost hint is made good by the clock.
    pub(crate) fn hint(&self, id: RepositoryId) {
        drop(self.wishes.try_send(Wish::Look(id)));
    }

    /// Asks for a look at every repository.
    pub(crate) fn hint_all(&self) {
        drop(self.wishes.try_send(Wish::LookEverywhere));
    }

    /// Asks for a look at these now, back-off or not.
    pub(crate) async fn retry(&self, ids: Vec<RepositoryId>) {
        drop(self.wishes.send(Wish::Retry(ids)).await);
    }

    /// Says which repositories there are.
    pub(crate) async fn set_repositories(&self, rows: Vec<RepositoryRow>) {
        drop(self.wishes.send(Wish::Repositories(rows)).await);
    }
}

struct Known {
    row: RepositoryRow,
    memory: Arc<Mutex<Memory>>,
    /// A person asked for the next pass.
    is_wished: bool,
}

struct Controller {
    reconciler: Arc<Reconciler>,
    queue: Queue<RepositoryId>,
    known: BTreeMap<RepositoryId, Known>,
    passes: JoinSet<Outcome>,
    running: BTreeMap<Id, RepositoryId>,
    start: Instant,
}

/// Runs the loop until `stop`, then lets running passes end.
pub(crate) async fn run(
    reconciler: Arc<Reconciler>,
    mut inbox: mpsc::Receiver<Wish>,
    stop: CancellationToken,
) {
    let mut controller = Controller {
        reconciler,
        queue: Queue::default(),
        known: BTreeMap::new(),
        passes: JoinSet::new(),
        running: BTreeMap::new(),
        start: Instant::now(),
    };
    let mut naps = Naps::new(Clock::default());
    let mut check = tokio::time::interval(NAP_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        controller.start_due();
        let due = controller.queue.next_due().map(|tick| controller.start + tick);
        tokio::select! {
            () = stop.cancelled() => break,
            wish = inbox.recv() => match wish {
                Some(wish) => controller.take(wish),
                None => break,
            },
            Some(ended) = controller.passes.join_next_with_id() => controller.ended(ended),
            _ = check.tick() => if naps.noticed() { controller.wake() },
            () = sleep_until(due) => {}
        }
    }
    let drained = async { while controller.passes.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(
            passes = controller.passes.len(),
            "passes did not end in time and are cut off"
        );
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Controller {
    fn now(&self) -> Tick {
        self.start.elapsed()
    }

    fn take(&mut self, wish: Wish) {
        let now = self.now();
        match wish {
            Wish::Look(id) => self.hint(&id, now),
            Wish::LookEverywhere => {
                for id in self.known.keys() {
                    self.queue.hint(id.clone(), now);
                }
            }
            Wish::Retry(ids) => {
                for id in &ids {
                    if let Some(known) = self.known.get_mut(id) {
                        known.is_wished = true;
                        self.queue.retry(id, now);
                    }
                }
            }
            Wish::Repositories(rows) => self.replace(rows, now),
        }
    }

    /// What failed before the machine slept says nothing of now.
    fn wake(&mut self) {
        tracing::info!("the machine slept; everything is looked at");
        self.take(Wish::Retry(self.known.keys().cloned().collect()));
    }

    fn hint(&mut self, id: &RepositoryId, now: Tick) {
        if self.known.contains_key(id) {
            self.queue.hint(id.clone(), now);
        }
    }

    fn replace(&mut self, rows: Vec<RepositoryRow>, now: Tick) {
        let mut before = std::mem::take(&mut self.known);
        for row in rows {
            let memory = before
                .remove(&row.id)
                .map(|known| known.memory)
                .unwrap_or_default();
            self.queue.retry(&row.id, now);
            let is_wished = false;
            let known = Known {
                row,
                memory,
                is_wished,
            };
            self.known.insert(known.row.id.clone(), known);
        }
        for id in before.keys() {
            self.queue.remove(id);
        }
    }

    fn start_due(&mut self) {
        while let Some(id) = self.queue.take(self.now()) {
            let Some(known) = self.known.get_mut(&id) else {
                self.queue.remove(&id);
                continue;
            };
            let (reconciler, row, memory) =
                (self.reconciler.clone(), known.row.clone(), known.memory.clone());
            let is_wished = std::mem::take(&mut known.is_wished);
            let pass = async move {
                let mut memory = memory.lock_owned().await;
                if is_wished {
                    memory.attempts.forgive();
                }
                reconciler.pass(&row, &mut memory).await
            };
            let handle = self.passes.spawn(pass);
            self.running.insert(handle.id(), id);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, outcome),
            Err(error) => {
                tracing::error!(%error, "a pass panicked; it is tried again later");
                (error.id(), Outcome::Failed)
            }
        };
        metrics::PASSES.count();
        if matches!(outcome, Outcome::Failed) {
            metrics::FAILED_PASSES.count();
        }
        if let Some(id) = self.running.remove(&task) {
            let spread = rand::random_range(0..=100);
            self.queue.finish(&id, outcome, self.now(), spread);
        }
    }
}

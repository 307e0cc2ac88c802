//! Looks at the disk that may never come back: a dead file system holds whoever touches it. Each has a deadline, and what hangs
//! is counted, so that it cannot take all threads with it.

use daemon_core::ids::RepositoryId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// How long a look may take. One at ten thousand worktrees takes half a second.
const DEADLINE: Duration = Duration::from_secs(5);

/// Calls of one budget that run at the same time, and so the number that can hang.
const PER_BUDGET: usize = 4;

/// Took longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file system does not answer")]
pub(crate) struct Hangs;

/// What a call's work reads. Calls that hang in one never take the place of calls to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Budget {
    /// The files of a registered repository.
    Repository(RepositoryId),
    /// Any other path that a client names.
    Elsewhere,
    /// The machine's own programs and the state directory.
    Machine,
}

/// Blocking work for calls.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    free: Arc<std::sync::Mutex<HashMap<Budget, Arc<Semaphore>>>>,
    deadline: Duration,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            free: Arc::default(),
            deadline: DEADLINE,
        }
    }
}

impl Desk {
    /// Runs something that may hang. A panic in it is a panic here.
    ///
    /// # Errors
    /// When it has not come back in time; it goes on in its thread, and counts against its budget until it ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        budget: Budget,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        let free = self.free(budget);
        let working = async {
            let place = free.acquire_owned().await.map_err(|_| Hangs)?;
            let job = tokio::task::spawn_blocking(move || {
                let value = work();
                drop(place);
                value
            });
            Ok(ended(job.await))
        };
        tokio::time::timeout(self.deadline, working)
            .await
            .map_err(|_| Hangs)?
    }

    fn free(&self, budget: Budget) -> Arc<Semaphore> {
        let mut budgets = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(PER_BUDGET));
        budgets.entry(budget).or_insert_with(new).clone()
    }
}

/// Blocking work for one repository: while one look hangs there is no second one.
#[derive(Debug)]
pub(crate) struct Turnstile {
    /// One look after the other.
    turn: Mutex<()>,
    /// The last one has not come back.
    is_held: Arc<AtomicBool>,
    deadline: Duration,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self {
            turn: Mutex::default(),
            is_held: Arc::default(),
            deadline: DEADLINE,
        }
    }
}

impl Turnstile {
    /// Runs something that may hang, unless the last one still does. A panic in it is a panic here.
    ///
    /// # Errors
    /// When it has not come back in time; it goes on in its thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        let _turn = self.turn.lock().await;
        if self.is_held.swap(true, Ordering::AcqRel) {
            return Err(Hangs);
        }
        let (done, answer) = tokio::sync::oneshot::channel();
        let is_held = self.is_held.clone();
        tokio::task::spawn_blocking(move || {
            let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // Before the answer: whoever has it may come again at once.
            is_held.store(false, Ordering::Release);
            drop(done.send(value));
        });
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(panic))) => std::panic::resume_unwind(panic),
            Ok(Err(_)) | Err(_) => Err(Hangs),
        }
    }
}

fn ended<T>(job: Result<T, tokio::task::JoinError>) -> T {
    match job {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn fs_06_a_look_that_hangs_is_given_up_and_no_second_one_is_started() {
        let turnstile = Turnstile {
            deadline: SHORT,
            ..Turnstile::default()
        };
        let (release, hanging) = mpsc::channel::<()>();
        let hung = turnstile.run(move || hanging.recv().unwrap_or_default()).await;
        assert_eq!(hung, Err(Hangs));
        assert_eq!(turnstile.run(|| 1).await, Err(Hangs), "one hangs already");
        drop(release);
        while turnstile.run(|| 1).await != Ok(1) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn fs_06_one_look_right_after_the_other_is_none_that_hangs() {
        let turnstile = Turnstile::default();
        for number in 0..10_000 {
            assert_eq!(turnstile.run(move || number).await, Ok(number));
        }
    }

    #[tokio::test]
    async fn fs_06_calls_that_hang_in_one_repository_leave_room_for_others() {
        let desk = Desk {
            deadline: SHORT,
            ..Desk::default()
        };
        let budget = |id: &str| Budget::Repository(RepositoryId::new(id.to_owned()));
        let (release, hanging) = mpsc::channel::<()>();
        let hanging = Arc::new(std::sync::Mutex::new(hanging));
        for _ in 0..70 {
            let hanging = hanging.clone();
            let hung = desk.run(budget("a"), move || {
                drop(hanging.lock().map(|hanging| hanging.recv()));
            });
            assert_eq!(hung.await, Err(Hangs));
        }
        assert_eq!(
            desk.run(budget("a"), || 1).await,
            Err(Hangs),
            "its budget is used up"
        );
        assert_eq!(desk.run(budget("b"), || 1).await, Ok(1));
        assert_eq!(desk.run(Budget::Elsewhere, || 1).await, Ok(1));
        drop(release);
        while desk.run(budget("a"), || 1).await != Ok(1) {
            tokio::task::yield_now().await;
        }
    }
}

//! The task that checks files whose index has changed, or about which a pass found that git may say
//! something else. Few at a time: each may cost a git process, and after a change of the user's
//! configuration all files are to be checked.

use super::{Checked, EnvGuard, Key};
use crate::controller::Handle;
use crate::patient::{Budget, Desk, Hangs};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// How many files are checked at once.
const WORKERS: usize = 2;

/// How soon a file is checked again that was busy.
const AGAIN_IN: Duration = Duration::from_millis(100);

/// Checks under way.
#[derive(Debug, Default)]
struct Running {
    checks: JoinSet<Result<Checked, Hangs>>,
    keys: HashMap<Id, Key>,
}

/// Pause between two validations: a block is gone within a second of the change that exposes it.
const VALIDATION: Duration = Duration::from_millis(500);
/// And at least so many times as long as a validation took: with thousands of worktrees it may take a hundredth of a processor.
const VALIDATION_SHARE: u32 = 100;

/// Checks files until `stop`.
pub(crate) async fn run(guard: Arc<EnvGuard>, controller: Handle, stop: CancellationToken) {
    let desk = Desk::default();
    let mut running = Running::default();
    loop {
        let next = start_due(&guard, &mut running, &desk);
        tokio::select! {
            () = stop.cancelled() => return,
            () = guard.is_wanted.notified() => {}
            () = sleep_until(next) => {}
            Some(ended) = running.checks.join_next_with_id() => {
                let (task, checked) = match ended {
                    Ok((task, checked)) => (task, checked.ok()),
                    Err(error) => (error.id(), None),
                };
                if let Some(key) = running.keys.remove(&task)
                    && checked == Some(Checked::Changed)
                {
                    controller.hint(key.0);
                }
            }
        }
    }
}

/// Starts what is due, and returns when the next one is.
fn start_due(guard: &Arc<EnvGuard>, running: &mut Running, desk: &Desk) -> Option<Instant> {
    while running.keys.len() < WORKERS {
        let now = Instant::now();
        let keys = running.keys.values().collect();
        match guard.take_wanted(now, &keys) {
            Wanted::Nothing => return None,
            Wanted::At(at) => return Some(at),
            Wanted::Now(key) => start(guard, running, desk, key, now),
        }
    }
    None
}

fn start(guard: &Arc<EnvGuard>, running: &mut Running, desk: &Desk, key: Key, now: Instant) {
    let Some(guarded) = guard.files(&key.0).get(&key.1).cloned() else {
        return;
    };
    if guarded.is_busy() {
        // Whether that began before the change is not known.
        return guard.want(&key.0, [key.1], now + AGAIN_IN);
    }
    let (guard, desk) = (guard.clone(), desk.clone());
    let budget = Budget::Repository(key.0.clone());
    let check = async move { desk.run(budget, move || guard.check(&guarded, now)).await };
    let task = running.checks.spawn(check).id();
    running.keys.insert(task, key);
}

/// The next file to check.
enum Wanted {
    Nothing,
    At(Instant),
    Now(Key),
}

impl EnvGuard {
    /// Takes a file that is due and not being checked.
    fn take_wanted(&self, now: Instant, running: &BTreeSet<&Key>) -> Wanted {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let free = || wanted.iter().filter(|(key, _)| !running.contains(key));
        let due = free().find(|(_, at)| **at <= now).map(|(key, _)| key.clone());
        if let Some(key) = due {
            wanted.remove(&key);
            return Wanted::Now(key);
        }
        let next = free().map(|(_, at)| *at).min();
        next.map_or(Wanted::Nothing, Wanted::At)
    }
}

/// Validates all answers again and again.
pub(crate) async fn revalidate(guard: Arc<EnvGuard>) {
    loop {
        let (guard, begun) = (guard.clone(), Instant::now());
        let validated = tokio::task::spawn_blocking(move || guard.revalidate());
        if validated.await.is_err() {
            return;
        }
        tokio::time::sleep(VALIDATION.max(begun.elapsed() * VALIDATION_SHARE)).await;
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

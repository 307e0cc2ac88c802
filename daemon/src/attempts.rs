//! What failed lately, until when it is left alone, and what a person can do about it.

use crate::board::Problem;
use crate::provider::ProviderError;
use crate::services::chain;
use daemon_core::backoff;
use daemon_core::ids::Slot;
use lakebase_api::Error;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A full project does not empty itself in seconds.
const QUOTA_PAUSE: Duration = Duration::from_mins(5);

/// What failed lately, and until when it is left alone.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    by_slot: BTreeMap<Slot, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    failures: u32,
    until: Instant,
    problem: Problem,
}

impl Attempts {
    /// Forgets the failures of a slot.
    pub(crate) fn succeeded(&mut self, slot: &Slot) {
        self.by_slot.remove(slot);
    }

    /// Lets everything be tried again now, as a person wants it.
    pub(crate) fn forgive(&mut self) {
        self.by_slot.clear();
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, slot: &Slot, error: &ProviderError) {
        let failures = self
            .by_slot
            .get(slot)
            .map_or(1, |attempt| attempt.failures.saturating_add(1));
        let pause = backoff::pause(failures, rand::random_range(0..=100)).max(pause_asked(error));
        tracing::warn!(%slot, error = chain(error), ?pause, "a step failed; it is tried again");
        let problem = problem(error);
        self.by_slot.insert(
            slot.clone(),
            Attempt {
                failures,
                until: Instant::now() + pause,
                problem,
            },
        );
    }

    /// What keeps the slots that are still left alone.
    pub(crate) fn problems(&self) -> BTreeMap<Slot, Problem> {
        let now = Instant::now();
        let waiting = self.by_slot.iter().filter(|(_, attempt)| attempt.until > now);
        waiting
            .map(|(slot, attempt)| (slot.clone(), attempt.problem.clone()))
            .collect()
    }

    /// The slots that are still left alone, with the reason.
    pub(crate) fn backing_off(&self) -> BTreeMap<Slot, String> {
        self.problems()
            .into_iter()
            .map(|(slot, problem)| (slot, problem.message))
            .collect()
    }

    /// When the next of them may be tried again; `None` if none waits.
    pub(crate) fn next_in(&self) -> Option<Duration> {
        let now = Instant::now();
        self.by_slot
            .values()
            .filter_map(|attempt| attempt.until.checked_duration_since(now))
            .min()
    }
}

/// A failure, and what a person can do about it.
pub(crate) fn problem(error: &ProviderError) -> Problem {
    Problem {
        message: chain(error),
        fix: fix(error).into(),
    }
}

fn pause_asked(error: &ProviderError) -> Duration {
    match error {
        ProviderError::Service(Error::QuotaExceeded { .. }) => QUOTA_PAUSE,
        ProviderError::Service(error) => error.retry_after().unwrap_or_default(),
        ProviderError::Odd(_) | ProviderError::MustStay { .. } => Duration::ZERO,
    }
}

fn fix(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::Service(Error::QuotaExceeded { .. }) => {
            "remove worktrees that nobody needs (`lakebase ls --all` shows them), or raise the project's limit"
        }
        ProviderError::Service(Error::Unauthenticated { .. }) => {
            "sign in again; see LAKEBASE_PROFILE in lakebase.config"
        }
        ProviderError::Service(Error::PermissionDenied { .. }) => "ask for CAN MANAGE on the project",
        _ => "it is tried again by itself",
    }
}

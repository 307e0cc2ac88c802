//! What failed lately, until when it is left alone, and what a person can do about it.

use crate::board::Problem;
use crate::provider::ProviderError;
use crate::services::chain;
use daemon_core::backoff;
use daemon_core::ids::Slot;
use daemon_core::queue::Outcome;
use lakebase_api::Error;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that the service's own wish keeps us away.
const LONGEST_ASKED: Duration = Duration::from_mins(5);
/// A full project does not empty itself in seconds, and a right is not given in seconds.
const PERSON_PAUSE: Duration = Duration::from_mins(5);
/// A person who signs in is noticed within this, and a token that is not accepted is not tried more often.
pub(crate) const SIGN_IN_PAUSE: Duration = Duration::from_mins(1);

/// A project that is gone is looked for this often.
const GONE_PAUSE: Duration = Duration::from_mins(1);

/// What failed lately, and until when it is left alone.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    by_slot: BTreeMap<Slot, Attempt>,
    /// Why the last look at the service failed, if it did, and how long that asks us to stay away.
    look: Option<(Problem, Duration)>,
    /// What the log was last told about a pass that stopped.
    told: Option<String>,
}

#[derive(Debug)]
struct Attempt {
    failures: u32,
    until: Instant,
    problem: Problem,
    /// How many branches there were when it failed for want of room.
    full_with: Option<usize>,
}

impl Attempts {
    /// Forgets the failures of a slot.
    pub(crate) fn succeeded(&mut self, slot: &Slot) {
        self.by_slot.remove(slot);
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, slot: &Slot, error: &ProviderError) {
        let problem = problem(error);
        let before = self.by_slot.get(slot);
        let failures = before.map_or(1, |attempt| attempt.failures.saturating_add(1));
        let is_news = before.is_none_or(|attempt| told(&attempt.problem.message) != told(&problem.message));
        let spread = rand::random_range(0..=100);
        let asked = pause_asked(error);
        let pause = backoff::pause(failures, spread).max(asked + asked * u32::from(spread) / 400);
        let why = chain(error);
        if is_news {
            tracing::warn!(%slot, error = why, ?pause, "a step failed; it is tried again");
        } else {
            tracing::debug!(%slot, error = why, ?pause, "a step failed again");
        }
        let until = Instant::now() + pause;
        let full_with = match error {
            ProviderError::Full { in_use, .. } => Some(*in_use),
            _ => None,
        };
        let attempt = Attempt {
            failures,
            until,
            problem,
            full_with,
        };
        self.by_slot.insert(slot.clone(), attempt);
    }

    /// Lets everything be tried at once, because a person asks for it.
    pub(crate) fn forgive(&mut self) {
        for attempt in self.by_slot.values_mut() {
            attempt.until = Instant::now();
        }
    }

    /// Lets what failed for want of room be tried at once when there are fewer branches than then.
    pub(crate) fn room_made(&mut self, branches: usize) {
        let waits = |attempt: &&mut Attempt| attempt.full_with.is_some_and(|then| branches < then);
        for attempt in self.by_slot.values_mut().filter(waits) {
            attempt.until = Instant::now();
        }
    }

    /// Notes that the service could not be looked at.
    pub(crate) fn look_failed(&mut self, project: &str, error: &ProviderError) -> Problem {
        let mut problem = problem(error);
        let mut pause = pause_asked(error);
        if let ProviderError::Service(Error::NotFound { .. }) = error {
            problem.fix = gone_fix(project);
            pause = GONE_PAUSE;
        }
        self.look = Some((problem.clone(), pause));
        problem
    }

    /// Why nothing could be decided: the failed look, if it was that, or what the plan says.
    pub(crate) fn hindrance(&self, reason: String) -> Problem {
        let look = self.look.as_ref().map(|(problem, _)| problem);
        look.filter(|problem| problem.message == reason)
            .cloned()
            .unwrap_or_else(|| Problem {
                message: reason,
                fix: BY_ITSELF.into(),
            })
    }

    /// How a pass that stopped ends: it comes back no sooner than its failed look asks.
    pub(crate) fn stopped(&mut self) -> Outcome {
        match self.look.take() {
            Some((_, pause)) if !pause.is_zero() => Outcome::StayAway(pause),
            _ => Outcome::Failed,
        }
    }

    /// Notes what stopped a pass, `None` for one that ended well. Says whether that is news.
    pub(crate) fn is_news(&mut self, what: Option<&str>) -> bool {
        let what = what.map(told);
        let is_news = what.is_some() && what != self.told;
        self.told = what;
        is_news
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
            .filter(|wait| !wait.is_zero())
            .min()
    }
}

/// A message without what differs each time that the same is said.
fn told(message: &str) -> String {
    match message.split_once(" [TraceId: ") {
        Some((before, after)) => [before, after.split_once(']').map_or("", |(_, rest)| rest)].concat(),
        None => message.to_owned(),
    }
}

const BY_ITSELF: &str = "it is tried again by itself";

/// How a person makes room in a project.
pub(crate) const MAKE_ROOM: &str = "see `lakebase ls --all`, and remove worktrees that nobody needs; `lakebase branch delete NAME` ends a branch without one";

/// What went wrong, and what a person can do about it.
pub(crate) fn problem(error: &ProviderError) -> Problem {
    let message = match error {
        // It says all that the service says, and more.
        ProviderError::Full { .. } => error.to_string(),
        _ => chain(error),
    };
    Problem {
        message,
        fix: fix(error),
    }
}

/// How long an error asks us to stay away.
pub(crate) fn pause_asked(error: &ProviderError) -> Duration {
    match error {
        ProviderError::Full { .. }
        | ProviderError::Service(Error::QuotaExceeded { .. } | Error::PermissionDenied { .. }) => {
            PERSON_PAUSE
        }
        ProviderError::Endless { .. } => Duration::from_mins(2),
        ProviderError::Service(Error::Unauthenticated { .. }) => SIGN_IN_PAUSE,
        ProviderError::Service(error) => error.retry_after().unwrap_or_default().min(LONGEST_ASKED),
        ProviderError::Odd(_) | ProviderError::MustStay { .. } => Duration::ZERO,
    }
}

pub(crate) fn fix(error: &ProviderError) -> String {
    match error {
        ProviderError::Full { .. } | ProviderError::Service(Error::QuotaExceeded { .. }) => MAKE_ROOM.into(),
        ProviderError::Service(error) => service_fix(error),
        ProviderError::Endless { .. } => {
            "look at the branch in the project; it is asked for again every two minutes".into()
        }
        ProviderError::Odd(_) | ProviderError::MustStay { .. } => BY_ITSELF.into(),
    }
}

/// What a person can do about an error of the service.
pub(crate) fn service_fix(error: &Error) -> String {
    match error {
        Error::SignIn { source, .. } => return source.fix(),
        Error::Unauthenticated { .. } => {
            "sign in again: `databricks configure --profile NAME`, with the name in lakebase.config, writes a new token; the daemon reads it by itself"
        }
        Error::PermissionDenied { .. } => {
            "ask the project's owner for CAN MANAGE on it, then run `lakebase reconcile`"
        }
        Error::Unintelligible { .. } => {
            "sign in to the network you are on, or correct the host of the profile; then run `lakebase reconcile`"
        }
        Error::Offline { .. } => {
            "check the network, and the host of the profile; it is tried again by itself, or at once by `lakebase reconcile`"
        }
        _ => BY_ITSELF,
    }
    .into()
}

/// What a person can do who is not even told who they are.
pub(crate) fn sign_in_fix(error: &Error) -> String {
    match error {
        Error::PermissionDenied { .. } => {
            "ask an administrator of the workspace to let you in, then run `lakebase reconcile`".into()
        }
        _ => service_fix(error),
    }
}

/// What a person can do about a project that is not there.
pub(crate) fn gone_fix(project: &str) -> String {
    format!(
        "make it with `databricks postgres create-project {project}`, bring it back, or set LAKEBASE_PROJECT_ID in lakebase.config"
    )
}

#[cfg(test)]
mod tests;

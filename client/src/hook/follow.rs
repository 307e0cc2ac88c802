//! What is said while a branch is being made, and for how long git is kept waiting. A checkout that changes nothing is not
//! spoken of: the first word about it is that its branch is ready.

use super::{SILENT, refused, say};
use lakebase_proto::v1::{CheckoutProgress, WorktreeState};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

/// The wait when neither the daemon nor the environment names one.
const DEFAULT_WAIT: Duration = Duration::from_secs(3);
/// A wait longer than this needs a word.
const WORDLESS: Duration = Duration::from_millis(300);

/// Waits until the branch is ready, or patience is at its end.
pub(super) async fn follow(
    first: CheckoutProgress,
    mut stream: Streaming<CheckoutProgress>,
    own_wait: Option<Duration>,
) {
    let wait = own_wait.unwrap_or_else(|| asked_wait(&first));
    if first.state() == WorktreeState::Ready || wait.is_zero() {
        return;
    }
    let begun = Instant::now();
    let deadline = begun + wait;
    let mut word_at = Some(begun + WORDLESS).filter(|at| *at < deadline);
    let mut last = first;
    loop {
        if let Some(line) = ending(&last) {
            return say(&line);
        }
        match timeout_at(word_at.unwrap_or(deadline), stream.message()).await {
            Ok(Ok(Some(progress))) => last = progress,
            Ok(Err(status)) => return say(&refused(&status).unwrap_or_else(|| SILENT.to_owned())),
            Err(_) if word_at.take().is_some() => say(&waiting(&last)),
            Ok(Ok(None)) | Err(_) => return say(&unfinished(&last)),
        }
    }
}

fn asked_wait(progress: &CheckoutProgress) -> Duration {
    let asked = progress.hook_wait.map(Duration::try_from);
    asked.and_then(Result::ok).unwrap_or(DEFAULT_WAIT)
}

/// The last line, if there is nothing more to wait for.
fn ending(progress: &CheckoutProgress) -> Option<String> {
    match progress.state() {
        WorktreeState::Pending | WorktreeState::Creating => None,
        WorktreeState::Ready => Some(format!("branch {} is ready", progress.branch)),
        WorktreeState::Failing | WorktreeState::Blocked | WorktreeState::Unspecified => Some(format!(
            "no branch yet: {} (see `lakebase status`)",
            progress.message
        )),
    }
}

fn waiting(progress: &CheckoutProgress) -> String {
    match progress.branch.as_str() {
        "" => "waiting for the branch of this worktree".to_owned(),
        branch => format!("branch {branch} is being made"),
    }
}

fn unfinished(progress: &CheckoutProgress) -> String {
    match progress.branch.as_str() {
        "" => "this worktree has no branch yet; git goes on (see `lakebase status`)".to_owned(),
        branch => format!("branch {branch} is not ready yet; git goes on (see `lakebase status`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(state: WorktreeState, branch: &str) -> CheckoutProgress {
        CheckoutProgress {
            state: state.into(),
            branch: branch.into(),
            message: "no server".into(),
            hook_wait: None,
        }
    }

    #[test]
    fn only_a_state_that_lasts_ends_the_wait() {
        assert_eq!(ending(&progress(WorktreeState::Pending, "")), None);
        assert_eq!(ending(&progress(WorktreeState::Creating, "x")), None);
        let ready = ending(&progress(WorktreeState::Ready, "jane-x"));
        assert_eq!(ready.as_deref(), Some("branch jane-x is ready"));
        let blocked = ending(&progress(WorktreeState::Blocked, ""));
        assert_eq!(
            blocked.as_deref(),
            Some("no branch yet: no server (see `lakebase status`)")
        );
    }

    #[test]
    fn the_daemon_says_how_long_to_wait() {
        let silent = progress(WorktreeState::Pending, "");
        assert_eq!(asked_wait(&silent), DEFAULT_WAIT);
        let hook_wait = Some(prost_types::Duration { seconds: 0, nanos: 0 });
        assert_eq!(
            asked_wait(&CheckoutProgress { hook_wait, ..silent }),
            Duration::ZERO
        );
    }
}

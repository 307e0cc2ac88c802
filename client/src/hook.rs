//! Git's post-checkout hook: one call to the daemon, a line or two on standard error, exit code 0 whatever happens. A hook
//! that fails makes `git checkout` fail, and one that leaves a child behind hangs whoever reads git's output. So it never
//! spawns, never reads standard input, never runs git, and takes no lock. It is only a hint: the daemon reads git itself,
//! and would notice the checkout without it.

mod follow;

use crate::span;
use crate::text::plain;
use lakebase_proto::v1::{CheckoutProgress, CheckoutRequest};
use lakebase_proto::{ConnectError, Reason, SocketEnv, connect, reason_of, socket_path};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

/// Limit on the daemon's first message. A password may have to leave the `.env` before git goes on: on a busy machine that takes
/// longer than a few milliseconds. A daemon that does not run is noticed at once; one that is stopped costs this.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// Limit on the wait, as for `LAKEBASE_HOOK_WAIT` in `lakebase.config`.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// No path or argument of git's is longer (`PATH_MAX`); what is, stays out.
const LONGEST: usize = 4096;

const NOT_RUNNING: &str = "daemon is not running; start it with `lakebase up`";
const SILENT: &str = "daemon does not answer; git goes on without it";
const USAGE: &str =
    "this is git's post-checkout hook, which git calls itself; `lakebase hook install` installs it";

/// Runs the hook with git's three arguments: previous HEAD, new HEAD, and 1 for a checkout of a git branch. Ends the process
/// with exit code 0.
pub fn run(args: &[OsString]) -> ! {
    never_fails(|| {
        let [previous, new, flag] = args else {
            return say(USAGE);
        };
        if let Some(request) = request(previous, new, flag != "0") {
            tell(request);
        }
    })
}

/// Does the work and ends the process with exit code 0, also when the work panics.
fn never_fails(work: impl FnOnce()) -> ! {
    // Runs before the process would unwind or abort.
    std::panic::set_hook(Box::new(|_| std::process::exit(0)));
    work();
    std::process::exit(0)
}

fn request(previous: &OsStr, new: &OsStr, branch_checkout: bool) -> Option<CheckoutRequest> {
    let cwd = std::env::current_dir().ok()?;
    let git_dir = std::env::var_os("GIT_DIR").unwrap_or_default();
    Some(CheckoutRequest {
        cwd: cwd.into_os_string().into_vec(),
        git_dir: bounded(&git_dir),
        previous_head: bounded(previous),
        new_head: bounded(new),
        branch_checkout,
    })
}

fn bounded(text: &OsStr) -> Vec<u8> {
    let bytes = text.as_bytes();
    if bytes.len() > LONGEST {
        Vec::new()
    } else {
        bytes.to_vec()
    }
}

fn tell(request: CheckoutRequest) {
    let socket = match socket_path(&SocketEnv::from_process()) {
        Ok(socket) => socket,
        Err(error) => return say(&error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        return;
    };
    let own_wait = std::env::var("LAKEBASE_HOOK_WAIT")
        .ok()
        .and_then(|text| span::parse(&text))
        .map(|wait| wait.min(LONGEST_WAIT));
    let is_of_files = !request.branch_checkout;
    runtime.block_on(async {
        match first_word(&socket, request).await {
            // It may have brought other ignore rules. The branch stays, so there is nothing to report.
            _ if is_of_files => {}
            Ok((first, stream)) => follow::follow(first, stream, own_wait).await,
            Err(line) => line.iter().for_each(|line| say(line)),
        }
    });
}

/// Sends the request and returns the first word of the answer, or the line to end with, if any.
async fn first_word(
    socket: &Path,
    request: CheckoutRequest,
) -> Result<(CheckoutProgress, Streaming<CheckoutProgress>), Option<String>> {
    let call = async {
        let mut client = connect(socket, FIRST_WORD)
            .await
            .map_err(|e| Some(unreachable(&e)))?;
        let answer = client.checkout(request).await.map_err(|e| refused(&e))?;
        let mut stream = answer.into_inner();
        let first = stream.message().await.map_err(|e| refused(&e))?;
        first.map(|first| (first, stream)).ok_or(None)
    };
    let call = timeout_at(Instant::now() + FIRST_WORD, call).await;
    call.unwrap_or_else(|_| Err(Some(SILENT.to_owned())))
}

fn unreachable(error: &ConnectError) -> String {
    match error {
        ConnectError::NotRunning(_) => NOT_RUNNING.to_owned(),
        ConnectError::TimedOut { .. } => SILENT.to_owned(),
        ConnectError::ForeignServer { .. } | ConnectError::Io { .. } | ConnectError::Transport(_) => {
            error.to_string()
        }
    }
}

/// The line about a refused call; `None` when the repository is not the daemon's business.
fn refused(status: &Status) -> Option<String> {
    match reason_of(status) {
        Some(Reason::NotARepository | Reason::NotRegistered | Reason::NotAWorktree) => None,
        Some(Reason::ShuttingDown) => Some(NOT_RUNNING.to_owned()),
        Some(
            Reason::NotConfigured | Reason::Blocked | Reason::NotReady | Reason::Refused | Reason::Internal,
        ) => Some(status.message().to_owned()),
        // Not the daemon's own words: the connection broke.
        None => Some(SILENT.to_owned()),
    }
}

/// Writes one line. Standard error may be closed, which is nobody's fault.
fn say(line: &str) {
    let line = format!("lakebase: {}\n", plain(line));
    std::io::stderr().write_all(line.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakebase_proto::status;
    use std::process::Command;

    const PANIC: &str = "LAKEBASE_TEST_PANIC";

    #[test]
    fn child_of_the_next_test() {
        if std::env::var_os(PANIC).is_some() {
            never_fails(|| panic!("on purpose"));
        }
    }

    #[test]
    fn s13_a_panic_exits_with_zero() {
        let this = std::env::current_exe().expect("the test binary");
        let status = Command::new(this)
            .args(["--exact", "hook::tests::child_of_the_next_test", "--nocapture"])
            .env(PANIC, "1")
            .output()
            .expect("the test binary runs");
        assert!(status.status.success(), "{status:?}");
        let text = String::from_utf8_lossy(&status.stdout);
        assert!(!text.contains("test result"), "it ended in the middle: {text}");
    }

    #[test]
    fn an_unregistered_repository_gets_no_line() {
        assert_eq!(refused(&status(Reason::NotRegistered, "no", "")), None);
        assert_eq!(
            refused(&status(Reason::Internal, "disk", "")),
            Some("disk".into())
        );
        assert_eq!(refused(&Status::unknown("transport error")), Some(SILENT.into()));
    }

    #[test]
    fn an_endless_argument_stays_out() {
        assert_eq!(bounded(OsStr::new("abc")), b"abc");
        assert!(bounded(OsStr::new(&"x".repeat(LONGEST + 1))).is_empty());
    }
}

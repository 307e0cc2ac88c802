//! Why a command ends without having done its work: the text, what to try, and the exit code.

use crate::terminal;
use crate::text::plain;
use lakebase_proto::{ConnectError, Reason, SocketPathError, fix_of, reason_of};
use std::error::Error;
use std::io;
use std::process::ExitCode;
use tonic::{Code, Status};

/// The exit codes, as `lakebase --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    NotRunning = 3,
    NotConfigured = 4,
    NotReady = 5,
    CannotExecute = 126,
    CommandNotFound = 127,
}

/// A failure with something to try, or with an exit code of its own. Everything else is a plain `anyhow::Error`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    text: String,
    hint: Option<String>,
    exit: Exit,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The daemon's words, or the words of what lies between.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
            exit,
            source: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }

    pub(crate) fn source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// A cause in somebody else's words.
    pub(crate) fn cause(self, text: impl Into<String>) -> Self {
        self.source(Said(text.into()))
    }

    /// A call that the daemon did not answer with what was asked for. `doing` is as in `cannot list worktrees`.
    pub(crate) fn call(doing: &str, status: &Status) -> Self {
        let (exit, hint) = match reason_of(status) {
            Some(reason) => (exit_of(reason), fix_of(status).unwrap_or_default()),
            None if status.code() == Code::Unimplemented => (
                Exit::Failed,
                "it is older than this `lakebase`: `lakebase down`, then `lakebase up`".into(),
            ),
            None => (Exit::NotRunning, BROKEN.into()),
        };
        Self::new(exit, doing).hint(hint).cause(status.message())
    }

    /// What to try.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn is_not_running(&self) -> bool {
        self.exit == Exit::NotRunning
    }

    /// Whether the path is simply in no registered repository.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.exit == Exit::NotConfigured
    }
}

fn exit_of(reason: Reason) -> Exit {
    match reason {
        Reason::NotARepository | Reason::NotRegistered | Reason::NotAWorktree | Reason::NotConfigured => {
            Exit::NotConfigured
        }
        Reason::Blocked | Reason::NotReady => Exit::NotReady,
        Reason::ShuttingDown => Exit::NotRunning,
        Reason::Refused | Reason::Internal => Exit::Failed,
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let (text, exit, hint) = match &error {
            ConnectError::NotRunning(_) => {
                (error.to_string(), Exit::NotRunning, "start it with `lakebase up`")
            }
            ConnectError::TimedOut { .. } => (error.to_string(), Exit::NotRunning, HUNG),
            ConnectError::ForeignServer { .. } => (
                error.to_string(),
                Exit::Failed,
                "set LAKEBASE_SOCKET to a path that only you can write to",
            ),
            ConnectError::Transport(_) => (error.to_string(), Exit::NotRunning, BROKEN),
            ConnectError::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionReset => {
                (error.to_string(), Exit::NotRunning, BROKEN)
            }
            ConnectError::Io { .. } => (error.to_string(), Exit::Failed, ""),
        };
        let failure = Self::new(exit, text).hint(hint);
        match error {
            ConnectError::Io { source, .. } => failure.source(source),
            ConnectError::Transport(source) => failure.source(source),
            ConnectError::NotRunning(_)
            | ConnectError::TimedOut { .. }
            | ConnectError::ForeignServer { .. } => failure,
        }
    }
}

impl From<SocketPathError> for Failure {
    fn from(error: SocketPathError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

/// What to try when somebody listens and says nothing.
pub(crate) const HUNG: &str =
    "it runs but does not answer; end the process and start it again with `lakebase up`";

/// Hint when the daemon's end of a connection closes, as when it exits.
const BROKEN: &str = "the connection broke; see `lakebase status`";

/// Prints the error with its causes once, then what to try, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(is_closed_pipe) {
        // The reader, as `head`, has what it wanted.
        return ExitCode::SUCCESS;
    }
    terminal::complain(&plain(&format!("{error:#}")));
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_deref()) {
        terminal::hint(&plain(hint));
    }
    ExitCode::from(failure.map_or(Exit::Failed, |failure| failure.exit) as u8)
}

fn is_closed_pipe(cause: &(dyn Error + 'static)) -> bool {
    let io = cause.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakebase_proto::status;

    #[test]
    fn the_reason_decides_the_exit_code() {
        let exit = |reason| Failure::call("cannot", &status(reason, "no", "")).exit;
        assert_eq!(exit(Reason::NotRegistered), Exit::NotConfigured);
        assert_eq!(exit(Reason::NotConfigured), Exit::NotConfigured);
        assert_eq!(exit(Reason::Blocked), Exit::NotReady);
        assert_eq!(exit(Reason::ShuttingDown), Exit::NotRunning);
        assert_eq!(exit(Reason::Internal), Exit::Failed);
    }

    #[test]
    fn the_cause_is_told_once() {
        let failure = Failure::call(
            "cannot list worktrees",
            &status(Reason::Internal, "disk is full", "free some"),
        );
        assert_eq!(failure.hint.as_deref(), Some("free some"));
        let error = anyhow::Error::from(failure);
        assert_eq!(format!("{error:#}"), "cannot list worktrees: disk is full");
    }
}

//! Why a command ends without having done its work: the text, what to try, and the exit code.

use crate::terminal;
use std::io;
use std::process::ExitCode;

/// The exit codes, as `lakebase dev --help` lists them; the same as `lakebase`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    NotRunning = 3,
    NotConfigured = 4,
    NotReady = 5,
}

/// A failure with something to try, or with an exit code of its own. Everything else is a plain `anyhow::Error`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    text: String,
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
            exit,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints the error with its causes once, then what to try, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let is_closed_pipe = |io: &io::Error| io.kind() == io::ErrorKind::BrokenPipe;
    if error
        .chain()
        .any(|cause| cause.downcast_ref().is_some_and(is_closed_pipe))
    {
        // The reader, as `head`, has what it wanted.
        return ExitCode::SUCCESS;
    }
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    terminal::complain(&format!("{error:#}"));
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_deref()) {
        terminal::hint(hint);
    }
    ExitCode::from(failure.map_or(Exit::Failed, |failure| failure.exit) as u8)
}

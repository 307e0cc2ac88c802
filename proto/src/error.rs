//! The form of the contract's errors: a standard code, a reason for programs, a fix for people.

use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The `domain` of every `ErrorInfo` of this contract.
pub const DOMAIN: &str = "lakebase.control";

/// Why a call failed, for programs. The names are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The path is in no git repository.
    NotARepository,
    /// The path is in a repository that is not registered.
    NotRegistered,
    /// The repository is registered, but this path is in none of its worktrees.
    NotAWorktree,
    /// The repository has no configuration in force.
    NotConfigured,
    /// The branch is not ready and will not be without a person.
    Blocked,
    /// The branch is not ready; the daemon goes on trying.
    NotReady,
    /// The daemon is ending.
    ShuttingDown,
    /// What was asked for may not be done; the message says why.
    Refused,
    /// Something inside the daemon failed.
    Internal,
}

impl Reason {
    const ALL: [Self; 9] = [
        Self::NotARepository,
        Self::NotRegistered,
        Self::NotAWorktree,
        Self::NotConfigured,
        Self::Blocked,
        Self::NotReady,
        Self::ShuttingDown,
        Self::Refused,
        Self::Internal,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotARepository => "NOT_A_REPOSITORY",
            Self::NotRegistered => "NOT_REGISTERED",
            Self::NotAWorktree => "NOT_A_WORKTREE",
            Self::NotConfigured => "NOT_CONFIGURED",
            Self::Blocked => "BLOCKED",
            Self::NotReady => "NOT_READY",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Refused => "REFUSED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The standard code that goes with it.
    fn code(self) -> Code {
        match self {
            Self::NotARepository | Self::NotRegistered | Self::NotAWorktree => Code::NotFound,
            Self::NotConfigured | Self::Blocked | Self::Refused => Code::FailedPrecondition,
            Self::NotReady | Self::ShuttingDown => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }
}

/// Builds the status of a failed call. `fix` is what a person should try; may be empty.
pub fn status(reason: Reason, message: impl Into<String>, fix: impl Into<String>) -> Status {
    let fix = fix.into();
    let metadata: HashMap<_, _> = (!fix.is_empty())
        .then(|| ("fix".to_owned(), fix))
        .into_iter()
        .collect();
    let details = ErrorDetails::with_error_info(reason.name(), DOMAIN, metadata);
    Status::with_error_details(reason.code(), message.into(), details)
}

/// Returns what a person should try, if the daemon said so.
pub fn fix_of(status: &Status) -> Option<String> {
    info(status)?.metadata.get("fix").cloned()
}

/// Returns why the call failed, if the daemon said so in words that this build knows.
pub fn reason_of(status: &Status) -> Option<Reason> {
    let name = info(status)?.reason;
    Reason::ALL.into_iter().find(|reason| reason.name() == name)
}

fn info(status: &Status) -> Option<tonic_types::ErrorInfo> {
    status
        .get_details_error_info()
        .filter(|info| info.domain == DOMAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_reason_and_fix() {
        for reason in Reason::ALL {
            let status = status(reason, "no", "run `lakebase init`");
            assert_eq!(reason_of(&status), Some(reason));
            assert_eq!(fix_of(&status).as_deref(), Some("run `lakebase init`"));
        }
    }

    #[test]
    fn a_foreign_status_has_neither() {
        assert_eq!(reason_of(&Status::not_found("x")), None);
        assert_eq!(fix_of(&Status::not_found("x")), None);
    }
}

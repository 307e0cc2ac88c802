//! The one error enum of the client. Its variants are named for what the caller does next, and this file decides
//! which of them a failed answer is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::sign_in::SignInError;
use crate::resource::name::OperationName;
use crate::resource::operation::OperationError;
use crate::server_error::ServerError;

/// What was being done, for messages: "get branch `projects/shop/branches/dev`".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    verb: &'static str,
    name: String,
}

impl Action {
    pub(crate) fn new(verb: &'static str, name: impl fmt::Display) -> Self {
        Self {
            verb,
            name: name.to_string(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.verb, self.name)
    }
}

/// Why a call did not give what it promises. The text says what failed, the source says why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service itself said that the resource, or a parent of it, does not exist.
    #[error("cannot {action}")]
    NotFound {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// The name is taken, perhaps by our own first try. Look whether it is the one that was wanted.
    #[error("cannot {action}")]
    AlreadyExists {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// Something else is being done to the resource. Try again soon.
    #[error("cannot {action}")]
    Conflict {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// There is no token, so nothing was sent.
    #[error("cannot {action}: cannot sign in")]
    SignIn {
        /// What was to be done.
        action: Action,
        /// Why there is none.
        source: Arc<SignInError>,
    },
    /// The token is not accepted. A person must sign in.
    #[error("cannot {action}")]
    Unauthenticated {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// The user may not do this. A person must be given the right.
    #[error("cannot {action}")]
    PermissionDenied {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// The request breaks a rule of the service. The same request will be refused again.
    #[error("cannot {action}")]
    Refused {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// There is no room. Something must be given back first.
    #[error("cannot {action}")]
    QuotaExceeded {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// Too many requests. Stay away for a while.
    #[error("cannot {action}")]
    Throttled {
        /// What was being done.
        action: Action,
        /// How long the service asks us to stay away.
        retry_after: Option<Duration>,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// The service is in trouble. A change may or may not have been made.
    #[error("cannot {action}")]
    Unavailable {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// The service was not reached, or stopped answering.
    #[error("cannot {action}")]
    Offline {
        /// What was being done.
        action: Action,
        /// Whether the request may have been received. If not, nothing was changed.
        sent: bool,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not what the API promises. Someone else may have answered. A change may have been made.
    #[error("cannot {action}: {reason}")]
    Unintelligible {
        /// What was being done.
        action: Action,
        /// What is wrong with the answer.
        reason: String,
    },
    /// An operation began and then failed in a way that has no variant of its own.
    #[error("cannot {action}")]
    OperationFailed {
        /// What was being done.
        action: Action,
        /// What the service said.
        source: Box<ServerError>,
    },
    /// How an operation ended is not known: it took too long, or the service has forgotten it. Look at the resource.
    #[error("cannot {action}: {reason}")]
    Unfinished {
        /// What was being done.
        action: Action,
        /// Which operation it was.
        operation: OperationName,
        /// Why it is not known.
        reason: &'static str,
    },
    /// The request cannot be right, and was not sent.
    #[error("cannot {action}: {reason}")]
    Invalid {
        /// What was being done.
        action: Action,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn of_answer(action: &Action, error: ServerError) -> Self {
        let action = action.clone();
        if (300..400).contains(&error.status) {
            let reason = format!(
                "the server redirects (HTTP {}), and redirects are not followed",
                error.status
            );
            return Self::Unintelligible { action, reason };
        }
        match kind(&error) {
            Some(kind) => Self::of_kind(kind, action, error),
            None => Self::Unintelligible {
                action,
                reason: format!("no answer of the API: {error}"),
            },
        }
    }

    /// Returns what the failure of an operation means for whoever began it.
    pub fn of_failed(operation: &OperationName, error: OperationError) -> Self {
        Self::of_operation(Action::new("finish operation", operation), error)
    }

    fn of_operation(action: Action, error: OperationError) -> Self {
        let error = ServerError::of_operation(error.error_code, error.message, error.details);
        match kind(&error) {
            Some(Kind::Refused) | None => Self::OperationFailed {
                action,
                source: Box::new(error),
            },
            Some(kind) => Self::of_kind(kind, action, error),
        }
    }

    fn of_kind(kind: Kind, action: Action, error: ServerError) -> Self {
        let retry_after = error.retry_after;
        let source = Box::new(error);
        match kind {
            Kind::NotFound => Self::NotFound { action, source },
            Kind::AlreadyExists => Self::AlreadyExists { action, source },
            Kind::Conflict => Self::Conflict { action, source },
            Kind::Unauthenticated => Self::Unauthenticated { action, source },
            Kind::PermissionDenied => Self::PermissionDenied { action, source },
            Kind::Refused => Self::Refused { action, source },
            Kind::QuotaExceeded => Self::QuotaExceeded { action, source },
            Kind::Throttled => Self::Throttled {
                action,
                retry_after,
                source,
            },
            Kind::Unavailable => Self::Unavailable { action, source },
        }
    }

    /// Returns what the service said, if it said something.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::NotFound { source, .. }
            | Self::AlreadyExists { source, .. }
            | Self::Conflict { source, .. }
            | Self::Unauthenticated { source, .. }
            | Self::PermissionDenied { source, .. }
            | Self::Refused { source, .. }
            | Self::QuotaExceeded { source, .. }
            | Self::Throttled { source, .. }
            | Self::Unavailable { source, .. }
            | Self::OperationFailed { source, .. } => Some(source),
            Self::SignIn { .. }
            | Self::Offline { .. }
            | Self::Unintelligible { .. }
            | Self::Unfinished { .. }
            | Self::Invalid { .. } => None,
        }
    }

    /// Returns how long the service asked us to stay away.
    pub fn retry_after(&self) -> Option<Duration> {
        self.server().and_then(|error| error.retry_after)
    }

    /// Says whether the same request may succeed later although nobody does anything about it.
    pub fn is_transient(&self) -> bool {
        if let Self::SignIn { source, .. } = self {
            return source.is_transient();
        }
        matches!(
            self,
            Self::Conflict { .. }
                | Self::Throttled { .. }
                | Self::Unavailable { .. }
                | Self::Offline { .. }
                | Self::Unintelligible { .. }
                | Self::Unfinished { .. }
        )
    }

    /// Says whether a change may have been made in spite of the error, so that one must look before trying again.
    pub fn is_unclear(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Offline { sent: true, .. }
                | Self::Unintelligible { .. }
                | Self::Unfinished { .. }
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NotFound,
    AlreadyExists,
    Conflict,
    Unauthenticated,
    PermissionDenied,
    Refused,
    QuotaExceeded,
    Throttled,
    Unavailable,
}

/// Decides what the caller can do about an error. None means that nothing shows the API itself has answered.
fn kind(error: &ServerError) -> Option<Kind> {
    let by_words = error.from_api.then(|| by_message(error)).flatten();
    by_words
        .or_else(|| by_code(error.code.as_deref()?))
        .or_else(|| by_status(error))
}

/// Some rules have no code of their own, and the code they do get has changed over time.
fn by_message(error: &ServerError) -> Option<Kind> {
    let message = error.message.to_ascii_lowercase();
    let says = |words: &str| message.contains(words);
    let code = error.code.as_deref().unwrap_or_default();
    if error.status >= 500 {
        return None;
    }
    if says("no api found") {
        return Some(Kind::Refused);
    }
    if says("already exists") {
        return Some(Kind::AlreadyExists);
    }
    if says("conflicting operations") || says("reconciliation") {
        return Some(Kind::Conflict);
    }
    let pace =
        says("rate") || says("request") || code == "REQUEST_LIMIT_EXCEEDED" || error.retry_after.is_some();
    ((says("limit exceeded") || says("quota")) && !pace).then_some(Kind::QuotaExceeded)
}

/// The code is more exact than the status, which a gateway may have chosen.
fn by_code(code: &str) -> Option<Kind> {
    Some(match code {
        "NOT_FOUND" | "RESOURCE_DOES_NOT_EXIST" => Kind::NotFound,
        "ALREADY_EXISTS" | "RESOURCE_ALREADY_EXISTS" => Kind::AlreadyExists,
        "ABORTED" | "RESOURCE_CONFLICT" => Kind::Conflict,
        "UNAUTHENTICATED" => Kind::Unauthenticated,
        "PERMISSION_DENIED" => Kind::PermissionDenied,
        "RESOURCE_EXHAUSTED" | "REQUEST_LIMIT_EXCEEDED" => Kind::Throttled,
        "INTERNAL_ERROR"
        | "TEMPORARILY_UNAVAILABLE"
        | "DEADLINE_EXCEEDED"
        | "UNKNOWN"
        | "DATA_LOSS"
        | "CANCELLED" => Kind::Unavailable,
        // The path is unknown. That says nothing about the resource.
        "ENDPOINT_NOT_FOUND"
        | "BAD_REQUEST"
        | "INVALID_PARAMETER_VALUE"
        | "INVALID_STATE"
        | "NOT_IMPLEMENTED" => Kind::Refused,
        _ => return None,
    })
}

/// A page of a proxy with status 404 or 400 is not the service's word on a resource.
fn by_status(error: &ServerError) -> Option<Kind> {
    match error.status {
        401 => Some(Kind::Unauthenticated),
        403 => Some(Kind::PermissionDenied),
        429 => Some(Kind::Throttled),
        501 => Some(Kind::Refused),
        408 | 499 | 500.. => Some(Kind::Unavailable),
        _ if !error.from_api => None,
        404 => Some(Kind::NotFound),
        409 | 423 => Some(Kind::Conflict),
        400..=499 | 0 => Some(Kind::Refused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, code, message, and what the caller can do about it.
    const CASES: &[(u16, &str, &str, Kind)] = &[
        (
            404,
            "NOT_FOUND",
            "branch id not found [TraceId: x]",
            Kind::NotFound,
        ),
        (404, "RESOURCE_DOES_NOT_EXIST", "gone", Kind::NotFound),
        (404, "", "gone", Kind::NotFound),
        (
            404,
            "ENDPOINT_NOT_FOUND",
            "No API found for 'GET /x'",
            Kind::Refused,
        ),
        (404, "", "No API found for 'GET /x'", Kind::Refused),
        (
            409,
            "ALREADY_EXISTS",
            "project with such id already exists in the workspace",
            Kind::AlreadyExists,
        ),
        (409, "RESOURCE_ALREADY_EXISTS", "taken", Kind::AlreadyExists),
        (
            400,
            "BAD_REQUEST",
            "branch already exists; branch_name:\"x\" [TraceId: y]",
            Kind::AlreadyExists,
        ),
        (
            400,
            "BAD_REQUEST",
            "read_write endpoint already exists",
            Kind::AlreadyExists,
        ),
        (409, "ABORTED", "try again", Kind::Conflict),
        (409, "", "endpoint is under reconciliation", Kind::Conflict),
        (
            423,
            "",
            "project already has running conflicting operations, ...",
            Kind::Conflict,
        ),
        (
            400,
            "BAD_REQUEST",
            "project already has running conflicting operations",
            Kind::Conflict,
        ),
        (401, "UNAUTHENTICATED", "who?", Kind::Unauthenticated),
        (400, "UNAUTHENTICATED", "who?", Kind::Unauthenticated),
        (
            403,
            "PERMISSION_DENIED",
            "assign the user 'Can Use'",
            Kind::PermissionDenied,
        ),
        (
            400,
            "BAD_REQUEST",
            "Branches with an expiration date cannot have child branches",
            Kind::Refused,
        ),
        (
            400,
            "INVALID_PARAMETER_VALUE",
            "Field 'branch_id' is required",
            Kind::Refused,
        ),
        (418, "TEAPOT", "no", Kind::Refused),
        (422, "", "branches limit exceeded", Kind::QuotaExceeded),
        (
            400,
            "BAD_REQUEST",
            "Root branches LIMIT exceeded",
            Kind::QuotaExceeded,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "the quota of branches is used up",
            Kind::QuotaExceeded,
        ),
        (429, "RESOURCE_EXHAUSTED", "rate limit exceeded", Kind::Throttled),
        (429, "REQUEST_LIMIT_EXCEEDED", "limit exceeded", Kind::Throttled),
        (429, "", "slow down", Kind::Throttled),
        (
            500,
            "INTERNAL_ERROR",
            "The request could not be processed. Please try again later.",
            Kind::Unavailable,
        ),
        (500, "", "it already exists, or so it seems", Kind::Unavailable),
        (501, "NOT_IMPLEMENTED", "no", Kind::Refused),
        (503, "TEMPORARILY_UNAVAILABLE", "down", Kind::Unavailable),
        (504, "DEADLINE_EXCEEDED", "late", Kind::Unavailable),
        (599, "", "?", Kind::Unavailable),
    ];

    fn kind_of(status: u16, code: &str, message: &str) -> Option<Kind> {
        let body = serde_json::json!({ "error_code": code, "message": message }).to_string();
        kind(&ServerError::read(status, None, body.as_bytes()))
    }

    #[test]
    fn codes_and_words_of_the_service() {
        for &(status, code, message, expected) in CASES {
            assert_eq!(
                kind_of(status, code, message),
                Some(expected),
                "{status} {code} {message}"
            );
        }
    }

    #[test]
    fn a_page_of_a_proxy_is_not_the_word_of_the_service() {
        for status in [400, 404, 409, 410, 423] {
            for body in ["<pre>already exists</pre>", "quota exceeded", "no API found", ""] {
                assert_eq!(
                    kind(&ServerError::read(status, None, body.as_bytes())),
                    None,
                    "{status} {body}"
                );
            }
        }
        let login = ServerError::read(401, None, b"<html></html>");
        assert_eq!(kind(&login), Some(Kind::Unauthenticated));
    }

    #[test]
    fn a_full_quota_that_names_a_time_is_only_throttling() {
        let body = br#"{"error_code":"RESOURCE_EXHAUSTED","message":"quota exceeded"}"#;
        let error = ServerError::read(429, Some(Duration::from_secs(3)), body);
        assert_eq!(kind(&error), Some(Kind::Throttled));
    }

    #[test]
    fn the_cause_is_in_the_source_and_not_in_the_text() {
        let body = br#"{"error_code":"NOT_FOUND","message":"branch id not found"}"#;
        let error = Error::of_answer(
            &Action::new("get branch", "x"),
            ServerError::read(404, None, body),
        );
        assert_eq!(error.to_string(), "cannot get branch `x`");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "branch id not found (HTTP 404, NOT_FOUND)");
        assert!(!error.is_transient() && !error.is_unclear());
    }
}

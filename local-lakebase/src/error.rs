//! How the API says no: one value with the service's own words. Rules return it, `api` puts it on the wire.

use serde_json::{Value, json};

/// A refusal, before it gets its trace id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The service's name for the kind of error.
    pub(crate) code: &'static str,
    /// What a person reads and clients match on.
    pub(crate) message: String,
    /// Details for machines.
    pub(crate) details: Vec<Value>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BAD_REQUEST", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_PARAMETER_VALUE", message)
    }

    /// Another change or session is in the way; the same request may succeed later.
    pub(crate) fn aborted(action: &str, reason: &str) -> Self {
        Self::new(409, "ABORTED", format!("cannot {action} now: {reason}"))
    }

    /// A field that must be set and is not.
    pub(crate) fn required(field: &str) -> Self {
        Self::invalid(format!(
            "Field '{field}' is required, expected non-default value (not \"\")!"
        ))
    }

    /// There is no such resource; `kind` is a word such as "branch".
    pub(crate) fn not_found(kind: &str) -> Self {
        Self::new(404, "NOT_FOUND", format!("{kind} id not found"))
    }

    pub(crate) fn no_such_api(method: &str, path: &str) -> Self {
        let path = path.strip_prefix("/api/2.0").unwrap_or(path);
        Self::new(
            404,
            "ENDPOINT_NOT_FOUND",
            format!("No API found for '{method} {path}'"),
        )
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            401,
            "UNAUTHENTICATED",
            "The access token is missing or not one of this server",
        )
    }

    /// The real service's answer to whatever it could not do.
    pub(crate) fn internal() -> Self {
        let text = "The request could not be processed. Please try again later.";
        Self::new(500, "INTERNAL_ERROR", text)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NOT_IMPLEMENTED", message)
    }

    /// Adds the detail that says the resource comes and goes with its parent.
    pub(crate) fn managed_by_parent(mut self) -> Self {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RESOURCE_CONFLICT",
            "domain": "databricks.com",
            "metadata": {"declarative_context": "MANAGED_BY_PARENT"},
        }));
        self
    }

    /// Says why something on this machine failed, and logs the whole chain of causes.
    pub(crate) fn failed(action: &str, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        tracing::error!(error = %text, "cannot {action}");
        Self::new(500, "INTERNAL_ERROR", format!("cannot {action}: {text}"))
    }
}

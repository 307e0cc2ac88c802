//! The user a token belongs to, as SCIM describes people and service principals.

use serde::{Deserialize, Serialize};

/// The caller ("current user: me").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The service's number for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The e-mail address of a person or the application id of a service principal; also the role in PostgreSQL.
    pub user_name: String,
    /// The name people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Whether the user may log in.
    #[serde(default = "active")]
    pub active: bool,
}

/// A user the service answered for and said nothing bad about is active.
fn active() -> bool {
    true
}

//! Databases of a branch. The id in the name is not the name PostgreSQL knows; that is `status.postgres_database`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::name::{BranchName, DatabaseName};

/// A database, as the service answers it ("databases: get").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// `projects/{p}/branches/{b}/databases/{d}`.
    pub name: DatabaseName,
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_id: Option<String>,
    /// The branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BranchName>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<DateTime<Utc>>,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<DateTime<Utc>>,
    /// Everything that can be read about it.
    #[serde(default)]
    pub status: DatabaseStatus,
}

/// What can be read about a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_id: Option<String>,
    /// The name PostgreSQL knows, which belongs in a connection string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_database: Option<String>,
    /// The name of the role that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// What a caller sets on a database ("databases: create"); `role` is required there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSpec {
    /// The name PostgreSQL is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_database: Option<String>,
    /// The name of the role that is to own it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// One page of "databases: list".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabasePage {
    /// The databases of this page; missing on the wire when there are none.
    #[serde(default)]
    pub databases: Vec<Database>,
    /// What to ask for next; missing or empty on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

//! Projects: the container of branches.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::duration::ProtoDuration;
use super::name::{BranchName, ProjectName};
use super::number;

/// A project, as the service answers it ("projects: get").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// `projects/{p}`.
    pub name: ProjectName,
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The identity that a project of the same name made later does not share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<DateTime<Utc>>,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<DateTime<Utc>>,
    /// When it was soft-deleted, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_time: Option<DateTime<Utc>>,
    /// When a soft-deleted project is gone for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_time: Option<DateTime<Utc>>,
    /// Everything that can be read about it.
    #[serde(default)]
    pub status: ProjectStatus,
}

/// What can be read about a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The name people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The user who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The major version of PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pg_version: Option<u16>,
    /// The branch that is the source of others unless they say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<BranchName>,
    /// How far back a branch may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_retention_duration: Option<ProtoDuration>,
    /// What new endpoints get unless they say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_endpoint_settings: Option<DefaultEndpointSettings>,
    /// Whether roles may log in with passwords of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_pg_native_login: Option<bool>,
    /// Labels for the bill.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_tags: Vec<CustomTag>,
    /// The policy that the project is billed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_policy_id: Option<String>,
    /// The largest logical size of a branch.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::read_i64"
    )]
    pub branch_logical_size_limit_bytes: Option<i64>,
    /// What the project is billed for storing.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::read_i64"
    )]
    pub synthetic_storage_size_bytes: Option<i64>,
}

/// A label of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomTag {
    /// What it is about.
    pub key: String,
    /// What it says.
    #[serde(default)]
    pub value: String,
}

/// What new endpoints of a project get unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DefaultEndpointSettings {
    /// The most compute units an endpoint grows to.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::write_units"
    )]
    pub autoscaling_limit_max_cu: Option<f64>,
    /// The fewest compute units a running endpoint has.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::write_units"
    )]
    pub autoscaling_limit_min_cu: Option<f64>,
    /// Whether an idle endpoint keeps running; excludes `suspend_timeout_duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_suspension: Option<bool>,
    /// How long an endpoint is idle before it is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_timeout_duration: Option<ProtoDuration>,
}

/// What a caller sets on a project ("projects: create", "projects: update").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectSpec {
    /// The policy that the project is billed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_policy_id: Option<String>,
    /// Labels for the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_tags: Option<Vec<CustomTag>>,
    /// The branch that is the source of others unless they say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<BranchName>,
    /// What new endpoints get unless they say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_endpoint_settings: Option<DefaultEndpointSettings>,
    /// The name people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Whether roles may log in with passwords of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_pg_native_login: Option<bool>,
    /// How far back a branch may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_retention_duration: Option<ProtoDuration>,
    /// The major version of PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pg_version: Option<u16>,
}

/// One page of "projects: list".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectPage {
    /// The projects of this page; missing on the wire when there are none.
    #[serde(default)]
    pub projects: Vec<Project>,
    /// What to ask for next; missing or empty on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

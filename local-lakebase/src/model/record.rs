//! What is remembered about each resource. Plain values: they decide nothing and touch nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lakebase_api::{AuthMethod, BranchName, EndpointName, IdentityType, ProjectName, RoleAttributes};
use serde::{Deserialize, Serialize};

/// The id of the endpoint that every branch is born with.
pub(crate) const PRIMARY: &str = "primary";

/// The id of the branch that every project is born with.
pub(crate) const PRODUCTION: &str = "production";

/// A project.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct ProjectRecord {
    #[sqlx(try_from = "String")]
    pub(crate) name: ProjectName,
    pub(crate) uid: String,
    pub(crate) display_name: String,
    pub(crate) owner: String,
    pub(crate) pg_version: u16,
    #[sqlx(try_from = "String")]
    pub(crate) default_branch: BranchName,
    pub(crate) retention_seconds: i64,
    pub(crate) suspend_seconds: Option<i64>,
    pub(crate) min_cu: f64,
    pub(crate) max_cu: f64,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
    /// Whether passwords that the service made open its endpoints.
    pub(crate) enable_pg_native_login: bool,
    /// In JSON.
    pub(crate) custom_tags: String,
    pub(crate) budget_policy_id: Option<String>,
    pub(crate) delete_time: Option<DateTime<Utc>>,
    pub(crate) purge_time: Option<DateTime<Utc>>,
}

impl ProjectRecord {
    pub(crate) fn is_live(&self) -> bool {
        self.delete_time.is_none()
    }
}

/// Where a branch is in its life here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, Serialize, Deserialize)]
#[sqlx(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Its data are being made. Nobody sees it, and a restart forgets it.
    Creating,
    /// Usable.
    Ready,
    /// Soft-deleted: its data are kept until the purge time.
    Deleted,
}

/// A branch.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct BranchRecord {
    pub(crate) uid: String,
    #[sqlx(try_from = "String")]
    pub(crate) name: BranchName,
    pub(crate) phase: Phase,
    pub(crate) source_uid: Option<String>,
    pub(crate) source_name: Option<String>,
    pub(crate) source_lsn: Option<String>,
    pub(crate) source_time: Option<DateTime<Utc>>,
    pub(crate) is_protected: bool,
    pub(crate) expire_time: Option<DateTime<Utc>>,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
    pub(crate) state_change_time: DateTime<Utc>,
    pub(crate) delete_time: Option<DateTime<Utc>>,
    pub(crate) purge_time: Option<DateTime<Utc>>,
}

impl BranchRecord {
    /// A branch of this name, made now, with no source, no expiry and no data yet.
    pub(crate) fn new(name: BranchName, uid: String, now: DateTime<Utc>) -> Self {
        Self {
            uid,
            name,
            phase: Phase::Creating,
            source_uid: None,
            source_name: None,
            source_lsn: None,
            source_time: None,
            is_protected: false,
            expire_time: None,
            create_time: now,
            update_time: now,
            state_change_time: now,
            delete_time: None,
            purge_time: None,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Ready
    }

    pub(crate) fn is_root(&self) -> bool {
        self.source_uid.is_none()
    }
}

/// The read-write endpoint of a branch.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    pub(crate) uid: String,
    #[sqlx(try_from = "String")]
    pub(crate) name: EndpointName,
    pub(crate) branch_uid: String,
    pub(crate) address: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) suspend_seconds: Option<i64>,
    pub(crate) min_cu: f64,
    pub(crate) max_cu: f64,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
}

impl EndpointRecord {
    /// Returns the loopback address that only this endpoint has; none if it shares one.
    pub(crate) fn own_address(&self) -> Option<Ipv4Addr> {
        self.address.as_deref().and_then(|text| text.parse().ok())
    }

    /// Returns how long the compute may be idle; none means for ever. A disabled one has nothing to wait for.
    pub(crate) fn suspend_timeout(&self) -> Option<Duration> {
        if self.disabled {
            return Some(Duration::ZERO);
        }
        self.suspend_seconds
            .map(|seconds| Duration::from_secs(seconds.unsigned_abs()))
    }
}

/// A role of a branch.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct RoleRecord {
    pub(crate) branch_uid: String,
    pub(crate) id: String,
    pub(crate) postgres_role: String,
    #[sqlx(try_from = "String")]
    pub(crate) identity_type: IdentityType,
    #[sqlx(try_from = "String")]
    pub(crate) auth_method: AuthMethod,
    pub(crate) is_superuser_member: bool,
    #[sqlx(flatten)]
    pub(crate) attributes: Attributes,
    /// What its password is made from; none if it has no password.
    pub(crate) password_nonce: Option<String>,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
}

/// What a role may do beside what it is a member of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) createdb: bool,
    pub(crate) createrole: bool,
    pub(crate) bypassrls: bool,
}

impl From<Attributes> for RoleAttributes {
    fn from(attributes: Attributes) -> Self {
        Self {
            bypassrls: attributes.bypassrls,
            createdb: attributes.createdb,
            createrole: attributes.createrole,
        }
    }
}

/// A database of a branch.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct DatabaseRecord {
    pub(crate) branch_uid: String,
    pub(crate) id: String,
    pub(crate) postgres_database: String,
    /// The id of the role that owns it.
    pub(crate) role_id: String,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
}

//! Branches: a copy-on-write copy of another branch's data at a point in time.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::duration::ProtoDuration;
use super::name::{BranchName, ProjectName};
use super::number;
use super::wire_enum::wire_enum;

wire_enum! {
    /// Where a branch is in its life.
    BranchState {
        /// Being made.
        Init = "INIT",
        /// Usable.
        Ready = "READY",
        /// Put aside because nobody used it; a connection brings it back.
        Archived = "ARCHIVED",
        /// Being filled from elsewhere.
        Importing = "IMPORTING",
        /// Being set back to its source.
        Resetting = "RESETTING",
        /// Soft-deleted.
        Deleted = "DELETED",
        /// Known, but its data are not on the disk. An addition of Local Lakebase.
        DataMissing = "DATA_MISSING",
    }
}

/// A branch, as the service answers it ("branches: get").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// `projects/{p}/branches/{b}`.
    pub name: BranchName,
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_id: Option<String>,
    /// The identity that a branch of the same name made later does not share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The project. The branch it was forked from is `status.source_branch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ProjectName>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<DateTime<Utc>>,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<DateTime<Utc>>,
    /// Everything that can be read about it.
    #[serde(default)]
    pub status: BranchStatus,
}

/// What can be read about a branch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BranchStatus {
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_id: Option<String>,
    /// Where it is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_state: Option<BranchState>,
    /// Where it is going, during a transition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_state: Option<BranchState>,
    /// Whether it is the project's default branch.
    #[serde(default)]
    pub default: bool,
    /// Whether it is guarded against deletion, reset and expiry.
    #[serde(default)]
    pub is_protected: bool,
    /// The branch it was forked from; none for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch: Option<BranchName>,
    /// The log position of the source at the fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch_lsn: Option<String>,
    /// The time of the source at the fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch_time: Option<DateTime<Utc>>,
    /// When the service deletes it; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<DateTime<Utc>>,
    /// The logical size of its data.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::read_i64"
    )]
    pub logical_size_bytes: Option<i64>,
    /// What it takes of the disk by itself, blocks that it shares with other branches left out. An addition of Local
    /// Lakebase; the service does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_size_bytes: Option<u64>,
    /// When `current_state` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_change_time: Option<DateTime<Utc>>,
    /// When it was soft-deleted, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_time: Option<DateTime<Utc>>,
    /// When a soft-deleted branch is gone for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_time: Option<DateTime<Utc>>,
}

impl Branch {
    /// Says whether the branch is only a tombstone: soft-deleted, though still listed.
    pub fn is_deleted(&self) -> bool {
        self.status.delete_time.is_some() || self.status.current_state == Some(BranchState::Deleted)
    }
}

/// What a caller sets on a branch ("branches: create", "branches: update").
///
/// Exactly one of `ttl`, `expire_time` and `no_expiry: true` must be set on create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BranchSpec {
    /// When the service is to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<DateTime<Utc>>,
    /// Whether it is guarded against deletion, reset and expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_protected: Option<bool>,
    /// `true` for a branch that never expires; `false` is not a valid value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_expiry: Option<bool>,
    /// The branch to fork; the project's default branch if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch: Option<BranchName>,
    /// The log position of the source to fork at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch_lsn: Option<String>,
    /// The time of the source to fork at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch_time: Option<DateTime<Utc>>,
    /// How long it lives, counted from its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<ProtoDuration>,
}

/// One page of "branches: list".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BranchPage {
    /// The branches of this page; missing on the wire when there are none.
    #[serde(default)]
    pub branches: Vec<Branch>,
    /// What to ask for next; missing or empty on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

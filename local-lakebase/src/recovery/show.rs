//! A plan as the user sees it, and as `--json` prints it: fields may be added, never renamed or removed.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::carry_out::Done;
use super::plan::{Branch, Evidence, Origin, Plan};
use crate::catalog::Found;
use crate::engine::BranchKey;
use crate::model::record::Phase;
use crate::storage::{self, lost};

/// What `lakebased local recover` found, and what it will do.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveryPlan {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whether anything has to be done.
    pub is_needed: bool,
    /// The catalog as it is.
    pub catalog: FoundCatalog,
    /// Number of data directories in `projects`.
    pub directories: usize,
    /// The branches that the new catalog will have.
    pub restore: Vec<Restored>,
    /// The directories that will be moved to `lost`.
    pub set_aside: Vec<Aside>,
    /// The directories that stay in `lost`.
    pub still_lost: Vec<StillLost>,
    /// Branches of the catalog that have no data.
    pub missing: Vec<Missing>,
    /// Passwords that will not open their role any more.
    pub lost_passwords: Vec<LostPassword>,
    /// Projects without their default branch.
    pub without_default: Vec<WithoutDefault>,
    /// Whether the answers of finished operations are lost.
    pub operations_lost: bool,
    /// Number of branches that the catalog has of another installation.
    pub foreign_branches: usize,
    /// What lies between the data directories and is left alone.
    pub left_alone: Vec<PathBuf>,
}

/// A plan, and what was done.
#[derive(Serialize)]
struct Answer<'a> {
    plan: &'a RecoveryPlan,
    /// `null` when nothing was done.
    done: Option<&'a Done>,
}

impl RecoveryPlan {
    /// Returns the plan, and what was done, as JSON.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn to_json(&self, done: Option<&Done>) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(&Answer { plan: self, done })?)
    }
}

/// A catalog as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct FoundCatalog {
    /// `missing`, `empty`, `unreadable` or `readable`.
    pub state: &'static str,
    /// Why it cannot be read.
    pub reason: Option<String>,
    /// Number of branches in it.
    pub branches: usize,
}

/// What a branch is restored from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Its row in the catalog.
    Catalog,
    /// The descriptor beside its data.
    Descriptor,
}

/// A branch that is restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// Its name, as in `projects/shop/branches/dev`.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Size of its files.
    pub bytes: u64,
    /// What it is restored from.
    pub source: Source,
    /// The directory in `lost` that it comes back from.
    pub taken_back: Option<PathBuf>,
    /// Address of its endpoint.
    pub address: Option<String>,
    /// Whether it is its project's default branch.
    pub is_default: bool,
    /// Whether it is protected.
    pub is_protected: bool,
    /// Whether it is soft-deleted.
    pub is_deleted: bool,
    /// When it expires.
    pub expire_time: Option<DateTime<Utc>>,
    /// The end that it had, if that was too near.
    pub extended_from: Option<DateTime<Utc>>,
}

/// A directory that is moved to `lost`.
#[derive(Clone, Debug, Serialize)]
pub struct Aside {
    /// Where it is.
    pub path: PathBuf,
    /// Size of its files.
    pub bytes: u64,
    /// Why no branch is restored from it.
    pub reason: String,
}

/// A directory that stays in `lost`.
#[derive(Clone, Debug, Serialize)]
pub struct StillLost {
    /// Where it is.
    pub path: PathBuf,
    /// Why no branch is restored from it.
    pub reason: String,
}

/// A branch that has no data.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Its name.
    pub name: String,
}

/// A password that is lost.
#[derive(Clone, Debug, Serialize)]
pub struct LostPassword {
    /// The branch.
    pub branch: String,
    /// The role in PostgreSQL.
    pub role: String,
}

/// A project that has lost its default branch.
#[derive(Clone, Debug, Serialize)]
pub struct WithoutDefault {
    /// Its name.
    pub project: String,
}

/// Shows a plan. Measures directories. Blocking.
pub(super) fn show(
    root: &Path,
    evidence: &Evidence,
    plan: &Plan,
    is_served: bool,
    strange: &[PathBuf],
) -> RecoveryPlan {
    let in_place = |key: &BranchKey| storage::branch_dir(root, key);
    let aside = |(key, reason): &(BranchKey, lost::Reason)| Aside {
        bytes: storage::size_of(&in_place(key)),
        path: in_place(key),
        reason: reason.to_string(),
    };
    let still = |(path, reason): &(PathBuf, lost::Reason)| StillLost {
        path: path.clone(),
        reason: reason.to_string(),
    };
    RecoveryPlan {
        data_dir: root.to_owned(),
        is_needed: !plan.is_empty(is_served),
        catalog: catalog(&evidence.catalog),
        directories: evidence.dirs.len(),
        restore: plan
            .branches
            .iter()
            .map(|branch| restored(root, branch))
            .collect(),
        set_aside: plan.set_aside.iter().map(aside).collect(),
        still_lost: plan.still_lost.iter().map(still).collect(),
        missing: plan
            .missing
            .iter()
            .map(|name| Missing { name: name.clone() })
            .collect(),
        lost_passwords: lost_passwords(plan),
        without_default: plan
            .without_default
            .iter()
            .map(|project| WithoutDefault {
                project: project.to_string(),
            })
            .collect(),
        operations_lost: !plan.keeps_operations,
        foreign_branches: plan.foreign,
        left_alone: strange.to_vec(),
    }
}

fn catalog(found: &Found) -> FoundCatalog {
    let (state, reason, branches) = match found {
        Found::Missing => ("missing", None, 0),
        Found::Empty => ("empty", None, 0),
        Found::Unreadable(why) => ("unreadable", Some(why.clone()), 0),
        Found::Newer => ("unreadable", Some("a newer lakebased wrote it".to_owned()), 0),
        Found::Readable(rows) => ("readable", None, rows.branches.len()),
    };
    FoundCatalog {
        state,
        reason,
        branches,
    }
}

fn restored(root: &Path, branch: &Branch) -> Restored {
    let record = &branch.contents.branch;
    let place = storage::branch_dir(root, &branch.contents.key());
    Restored {
        name: record.name.to_string(),
        uid: record.uid.clone(),
        bytes: storage::size_of(branch.taken_back.as_ref().unwrap_or(&place)),
        source: match branch.origin {
            Origin::Catalog => Source::Catalog,
            Origin::Descriptor => Source::Descriptor,
        },
        taken_back: branch.taken_back.clone(),
        address: branch
            .contents
            .endpoints
            .iter()
            .find_map(|endpoint| endpoint.address.clone()),
        is_default: branch.contents.project.default_branch == record.name,
        is_protected: record.is_protected,
        is_deleted: record.phase == Phase::Deleted || !branch.contents.project.is_live(),
        expire_time: record.expire_time,
        extended_from: branch.extended_from,
    }
}

fn lost_passwords(plan: &Plan) -> Vec<LostPassword> {
    let changed = plan.branches.iter().filter(|branch| branch.has_other_key);
    let roles = changed.flat_map(|branch| branch.contents.roles.iter().map(move |role| (branch, role)));
    let with_password = roles.filter(|(_, role)| role.password_nonce.is_some());
    let lost = with_password.map(|(branch, role)| LostPassword {
        branch: branch.contents.branch.name.to_string(),
        role: role.postgres_role.clone(),
    });
    lost.collect()
}

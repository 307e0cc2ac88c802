//! The rules of branches: what may be created from what, when it expires, who may be deleted.

use chrono::{DateTime, Timelike, Utc};
use lakebase_api::{BranchName, BranchSpec, ProjectName};

use super::mask;
use super::record::{BranchRecord, Phase, ProjectRecord};
use super::{Limits, delta};
use crate::error::ApiError;

/// The fields of a branch that a PATCH may name.
pub(crate) const MASK: &[&str] = &[
    "spec.expiration",
    "spec.expire_time",
    "spec.no_expiry",
    "spec.ttl",
    "spec.is_protected",
];

/// A project and every branch it has, living and soft-deleted.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) project: &'a ProjectRecord,
    pub(crate) branches: &'a [BranchRecord],
}

/// What a request to create a branch comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum Creation {
    /// Make this branch from that source.
    Fork {
        source: Box<BranchRecord>,
        branch: Box<BranchRecord>,
    },
    /// It exists and was to be replaced, which changes it in place.
    Update(Box<BranchRecord>),
}

/// What the sweeper does with a branch whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It expired.
    Delete,
    /// Its window for undeletion has passed.
    Purge,
}

impl Family<'_> {
    fn find(&self, name: &BranchName) -> Option<&BranchRecord> {
        self.branches.iter().find(|branch| branch.name == *name)
    }

    fn live(&self, name: &BranchName) -> Result<&BranchRecord, ApiError> {
        self.find(name)
            .filter(|branch| branch.is_live())
            .ok_or_else(|| ApiError::not_found("branch"))
    }

    fn has_children(&self, branch: &BranchRecord) -> bool {
        let is_child = |other: &&BranchRecord| other.source_uid.as_ref() == Some(&branch.uid);
        self.branches
            .iter()
            .filter(is_child)
            .any(|child| child.phase != Phase::Deleted)
    }

    fn is_default(&self, branch: &BranchRecord) -> bool {
        self.project.default_branch == branch.name
    }

    fn count(&self, counted: impl Fn(&BranchRecord) -> bool) -> usize {
        let living = self.branches.iter().filter(|b| b.phase != Phase::Deleted);
        living.filter(|b| counted(b)).count()
    }
}

/// Reads the id of a branch to be.
pub(crate) fn new_name(project: &ProjectName, id: Option<&str>) -> Result<BranchName, ApiError> {
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::required("branch_id"))?;
    BranchName::new(project, id)
        .map_err(|error| ApiError::invalid(format!("Field 'branch_id' is invalid: {}", error.reason)))
}

/// Decides what a request to create a branch comes to. The branch comes out without an identity of its data yet.
pub(crate) fn create(
    family: &Family<'_>,
    draft: BranchRecord,
    spec: &BranchSpec,
    replace_existing: bool,
    limits: &Limits,
) -> Result<Creation, ApiError> {
    let now = draft.create_time;
    if let Some(existing) = family.find(&draft.name) {
        if !replace_existing || !existing.is_live() {
            return Err(already_exists(&draft.name));
        }
        return replace(family, existing, spec, now, limits).map(|branch| Creation::Update(Box::new(branch)));
    }
    let expire_time = expiration(spec, now, now, limits)?
        .ok_or_else(|| ApiError::invalid("Expiration must be specified when creating a branch"))?;
    let source = Box::new(source(family, spec)?.clone());
    check_point_in_time(&source, spec, now)?;
    let branch = BranchRecord {
        source_uid: Some(source.uid.clone()),
        source_name: Some(source.name.to_string()),
        is_protected: spec.is_protected.unwrap_or(false),
        expire_time: expire_time.at(),
        ..draft
    };
    check_lease(family, &branch)?;
    check_room(family, &branch, limits)?;
    let branch = Box::new(branch);
    Ok(Creation::Fork { source, branch })
}

/// Decides what a PATCH makes of a branch.
pub(crate) fn update(
    family: &Family<'_>,
    name: &BranchName,
    spec: &BranchSpec,
    mask: &[&str],
    now: DateTime<Utc>,
    limits: &Limits,
) -> Result<BranchRecord, ApiError> {
    let mut branch = family.live(name)?.clone();
    for path in mask {
        let masked = only(path, spec);
        mask::populated(path, masked != BranchSpec::default())?;
        if let Some(expiry) = expiration(&masked, branch.create_time, now, limits)? {
            branch.expire_time = expiry.at();
        }
        branch.is_protected = masked.is_protected.unwrap_or(branch.is_protected);
    }
    branch.update_time = now;
    check_lease(family, &branch)?;
    check_protection(family, &branch, limits)?;
    Ok(branch)
}

/// Decides whether a branch may be deleted, and returns it.
pub(crate) fn delete(family: &Family<'_>, name: &BranchName) -> Result<BranchRecord, ApiError> {
    let branch = family.live(name)?;
    check_deletable(family, branch)?;
    Ok(branch.clone())
}

/// Turns a branch into its tombstone.
pub(crate) fn tombstone(branch: BranchRecord, now: DateTime<Utc>, limits: &Limits) -> BranchRecord {
    BranchRecord {
        phase: Phase::Deleted,
        delete_time: Some(now),
        purge_time: Some(now + delta(limits.undelete_window)),
        update_time: now,
        state_change_time: now,
        ..branch
    }
}

/// Decides whether a soft-deleted branch may come back, and how. It comes back without an expiration, because the
/// one it had may be what deleted it.
pub(crate) fn undelete(
    family: &Family<'_>,
    name: &BranchName,
    now: DateTime<Utc>,
    limits: &Limits,
) -> Result<BranchRecord, ApiError> {
    let branch = family.find(name).ok_or_else(|| ApiError::not_found("branch"))?;
    if branch.phase != Phase::Deleted {
        return Err(ApiError::bad_request(format!(
            "branch is not deleted; branch_name:\"{}\"",
            name.id()
        )));
    }
    if branch.purge_time.is_some_and(|at| at <= now) {
        return Err(ApiError::not_found("branch"));
    }
    let source = family
        .branches
        .iter()
        .find(|b| Some(&b.uid) == branch.source_uid.as_ref());
    if let Some(source) = source.filter(|source| source.is_live()) {
        check_source(source)?;
    }
    check_room(family, branch, limits)?;
    Ok(BranchRecord {
        phase: Phase::Ready,
        expire_time: None,
        delete_time: None,
        purge_time: None,
        update_time: now,
        state_change_time: now,
        ..branch.clone()
    })
}

/// Says whether the time of a branch has come. One that may not be deleted stays, however late it is.
pub(crate) fn due(family: &Family<'_>, branch: &BranchRecord, now: DateTime<Utc>) -> Option<Due> {
    let passed = |time: Option<DateTime<Utc>>| time.is_some_and(|time| time <= now);
    match branch.phase {
        Phase::Ready if passed(branch.expire_time) && check_deletable(family, branch).is_ok() => {
            Some(Due::Delete)
        }
        Phase::Deleted if passed(branch.purge_time) => Some(Due::Purge),
        Phase::Creating | Phase::Ready | Phase::Deleted => None,
    }
}

/// When a branch ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expiry {
    Never,
    At(DateTime<Utc>),
}

impl Expiry {
    fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Never => None,
            Self::At(time) => Some(time),
        }
    }
}

/// Reads the expiration out of a spec; none if it says nothing. A `ttl` counts from the branch's creation, also in
/// an update, as the service documents.
fn expiration(
    spec: &BranchSpec,
    created: DateTime<Utc>,
    now: DateTime<Utc>,
    limits: &Limits,
) -> Result<Option<Expiry>, ApiError> {
    let time = match (spec.ttl, spec.expire_time, spec.no_expiry) {
        (None, None, None) => return Ok(None),
        (None, None, Some(true)) => return Ok(Some(Expiry::Never)),
        (None, None, Some(false)) => return Err(ApiError::invalid("no_expiry must be true if it is set")),
        (Some(ttl), None, None) => created.checked_add_signed(delta(ttl.0)).ok_or_else(too_long)?,
        (None, Some(time), None) => time,
        _ => {
            let text = "Only one of ttl, expire_time and no_expiry can be specified";
            return Err(ApiError::invalid(text));
        }
    };
    if time <= now {
        return Err(ApiError::invalid("expiration time must be in the future"));
    }
    if time - now > delta(limits.max_expiration) {
        return Err(too_long());
    }
    Ok(Some(Expiry::At(time)))
}

fn too_long() -> ApiError {
    ApiError::invalid("requested expiration time exceeds the maximum expiration time")
}

fn source<'a>(family: &'a Family<'_>, spec: &BranchSpec) -> Result<&'a BranchRecord, ApiError> {
    let name = spec
        .source_branch
        .as_ref()
        .unwrap_or(&family.project.default_branch);
    if name.project() != family.project.name {
        let text = "source_branch field must point to the branch from the same Project";
        return Err(ApiError::invalid(text));
    }
    let source = family.live(name)?;
    check_source(source)?;
    Ok(source)
}

fn check_source(source: &BranchRecord) -> Result<(), ApiError> {
    if source.expire_time.is_some() {
        let text = "Branches with an expiration date cannot have child branches";
        return Err(ApiError::bad_request(text));
    }
    Ok(())
}

/// Whether the branch was as it is at that time, its data tell. A whole minute fails as it does on the real service.
fn check_point_in_time(source: &BranchRecord, spec: &BranchSpec, now: DateTime<Utc>) -> Result<(), ApiError> {
    if spec.source_branch_lsn.is_some() {
        return Err(ApiError::not_implemented(
            "Local Lakebase cannot fork a branch at a place in its log: leave out source_branch_lsn",
        ));
    }
    match spec.source_branch_time {
        Some(time) if time.second() == 0 && time.nanosecond() == 0 => Err(ApiError::internal()),
        Some(time) if time > now => Err(ApiError::invalid("source_branch_time must not be in the future")),
        Some(time) if time < source.create_time => Err(ApiError::bad_request(
            "source_branch_time is before the creation of the branch",
        )),
        _ => Ok(()),
    }
}

/// An expiration goes with neither children nor protection nor being the default.
fn check_lease(family: &Family<'_>, branch: &BranchRecord) -> Result<(), ApiError> {
    if branch.expire_time.is_none() {
        return Ok(());
    }
    let problem = if family.is_default(branch) {
        "the default branch"
    } else if branch.is_protected {
        "a protected branch"
    } else if family.has_children(branch) {
        "a branch with child branches"
    } else {
        return Ok(());
    };
    Err(ApiError::bad_request(format!(
        "cannot set an expiration date on {problem}"
    )))
}

fn check_room(family: &Family<'_>, branch: &BranchRecord, limits: &Limits) -> Result<(), ApiError> {
    if family.count(|_| true) >= limits.branches {
        return Err(ApiError::bad_request("branches limit exceeded"));
    }
    if family.count(|_| true) >= limits.unarchived_branches {
        return Err(ApiError::bad_request(format!(
            "unarchived branches limit exceeded: a project can have {} unarchived branches",
            limits.unarchived_branches
        )));
    }
    check_protection(family, branch, limits)
}

fn check_protection(family: &Family<'_>, branch: &BranchRecord, limits: &Limits) -> Result<(), ApiError> {
    let others = family.count(|other| other.is_protected && other.uid != branch.uid);
    if branch.is_protected && others >= limits.protected_branches {
        return Err(ApiError::bad_request("protected branches limit exceeded"));
    }
    Ok(())
}

fn check_deletable(family: &Family<'_>, branch: &BranchRecord) -> Result<(), ApiError> {
    if branch.is_root() {
        return Err(ApiError::bad_request(format!(
            "Cannot delete root branch '{}'. Root branches cannot be deleted independently.",
            branch.name
        ))
        .managed_by_parent());
    }
    if branch.is_protected {
        return Err(ApiError::bad_request("cannot delete protected branch"));
    }
    if family.is_default(branch) {
        return Err(ApiError::bad_request("cannot delete default branch"));
    }
    if family.has_children(branch) {
        return Err(ApiError::bad_request("cannot delete branch with child branches"));
    }
    Ok(())
}

fn already_exists(name: &BranchName) -> ApiError {
    ApiError::bad_request(format!("branch already exists; branch_name:\"{}\"", name.id()))
}

/// Changes an existing branch in place; what the spec leaves out stays, and data are not forked again.
fn replace(
    family: &Family<'_>,
    existing: &BranchRecord,
    spec: &BranchSpec,
    now: DateTime<Utc>,
    limits: &Limits,
) -> Result<BranchRecord, ApiError> {
    let expiry = ["spec.expiration"]
        .into_iter()
        .filter(|path| only(path, spec) != BranchSpec::default());
    let protection = ["spec.is_protected"]
        .into_iter()
        .filter(|_| spec.is_protected.is_some());
    let mask: Vec<_> = expiry.chain(protection).collect();
    update(family, &existing.name, spec, &mask, now, limits)
}

/// The part of a spec that one path of a mask is about.
fn only(path: &str, spec: &BranchSpec) -> BranchSpec {
    let all = path == "spec.expiration";
    BranchSpec {
        ttl: spec.ttl.filter(|_| all || path == "spec.ttl"),
        expire_time: spec.expire_time.filter(|_| all || path == "spec.expire_time"),
        no_expiry: spec.no_expiry.filter(|_| all || path == "spec.no_expiry"),
        is_protected: spec.is_protected.filter(|_| path == "spec.is_protected"),
        ..BranchSpec::default()
    }
}

#[cfg(test)]
mod tests;

//! What can be restored, and from what: evidence in, plan out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use lakebase_api::ProjectName;

use super::Seen;
use crate::catalog::{Contents, Descriptor, Found, Remembered, Rows, Wanted};
use crate::engine::BranchKey;
use crate::model::record::{Phase, ProjectRecord};
use crate::storage::lost::Reason;

/// Duration that a restored branch gets whose expiration has passed while nothing was served, or is about to.
const GRACE: TimeDelta = TimeDelta::days(1);

/// Duration before an expiration in which it counts as about to pass.
const SOON: TimeDelta = TimeDelta::hours(1);

/// Everything that was found.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) catalog: Found,
    /// What a readable catalog remembers.
    pub(crate) remembered: Remembered,
    /// The directories in `projects`.
    pub(crate) dirs: Vec<Seen>,
    /// The directories in `lost`, where it is known whose they are.
    pub(crate) lost: Vec<Seen>,
    /// The name of the signing key that is there now.
    pub(crate) key_id: Option<String>,
    /// The id of a catalog that there is no other id for.
    pub(crate) new_id: String,
    pub(crate) now: DateTime<Utc>,
}

/// What a branch is restored from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Catalog,
    Descriptor,
}

/// A branch of the new catalog.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branch {
    pub(crate) contents: Contents,
    pub(crate) origin: Origin,
    /// Its directory in `lost`, if it comes back from there.
    pub(crate) taken_back: Option<PathBuf>,
    /// The time that it would have been deleted or purged at, if that was moved.
    pub(crate) extended_from: Option<DateTime<Utc>>,
    /// Whether its passwords were made with a key that is not there any more.
    pub(crate) has_other_key: bool,
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) branches: Vec<Branch>,
    /// Directories that go to `lost`.
    pub(crate) set_aside: Vec<(BranchKey, Reason)>,
    /// Directories in `lost` that stay there.
    pub(crate) still_lost: Vec<(PathBuf, Reason)>,
    /// Names of branches of the catalog that have no directory.
    pub(crate) missing: Vec<String>,
    /// Number of branches that are another installation's.
    pub(crate) foreign: usize,
    /// Projects whose default branch is not restored.
    pub(crate) without_default: Vec<ProjectName>,
    /// Whether finished operations can still be asked for.
    pub(crate) keeps_operations: bool,
    pub(crate) id: String,
    pub(crate) generation: i64,
    pub(crate) settings: BTreeMap<String, String>,
}

/// A branch that may be restored.
struct Candidate<'a> {
    seen: &'a Seen,
    contents: &'a Contents,
    generation: i64,
    origin: Origin,
    key_id: Option<&'a str>,
    is_ours: bool,
    is_lost: bool,
}

/// Decides what to restore.
pub(crate) fn plan(evidence: &Evidence) -> Plan {
    let rows = match &evidence.catalog {
        Found::Readable(rows) => rows.clone(),
        _ => Rows::default(),
    };
    let id = our_id(evidence, &rows);
    let is_our_catalog = rows.id.as_ref().is_none_or(|found| *found == id);
    let mut plan = Plan {
        keeps_operations: is_our_catalog && !rows.branches.is_empty(),
        settings: settings(evidence, is_our_catalog),
        generation: latest(evidence, &rows) + 1,
        id,
        ..Plan::default()
    };
    let remembered = by_uid(&evidence.remembered);
    let mut candidates = vec![];
    for (seen, is_lost) in evidence
        .dirs
        .iter()
        .map(|dir| (dir, false))
        .chain(evidence.lost.iter().map(|dir| (dir, true)))
    {
        match candidate(seen, is_lost, &remembered, &rows, &plan.id) {
            Ok(candidate) => candidates.push(candidate),
            Err(reason) => plan.leave_out(seen, is_lost, reason),
        }
    }
    // The best first: what is in its place, of this installation, and latest.
    candidates.sort_by_key(|it| (it.is_lost, !it.is_ours, std::cmp::Reverse(it.generation)));
    plan.take(candidates, evidence);
    plan.note_missing(&rows, is_our_catalog);
    plan.finish(evidence.now);
    plan
}

/// The id of the catalog that most directories belong to.
fn our_id(evidence: &Evidence, rows: &Rows) -> String {
    let mut counts: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for descriptor in evidence.dirs.iter().filter_map(|dir| dir.described.here()) {
        let (count, generation) = counts.entry(&descriptor.catalog_id).or_default();
        *count += 1;
        *generation = descriptor.generation.max(*generation);
    }
    match rows.id.as_deref() {
        Some(id) if counts.is_empty() || counts.contains_key(id) => return id.to_owned(),
        _ => {}
    }
    let most = counts.into_iter().max_by_key(|(_, weight)| *weight);
    most.map_or_else(|| evidence.new_id.clone(), |(id, _)| id.to_owned())
}

fn latest(evidence: &Evidence, rows: &Rows) -> i64 {
    let all = evidence.dirs.iter().chain(&evidence.lost);
    let described = all
        .filter_map(|seen| seen.described.here())
        .map(|descriptor| descriptor.generation);
    described.chain([rows.generation]).max().unwrap_or_default()
}

/// Settings of the catalog, or else of the latest descriptor.
fn settings(evidence: &Evidence, is_our_catalog: bool) -> BTreeMap<String, String> {
    if is_our_catalog && !evidence.remembered.settings.is_empty() {
        return evidence.remembered.settings.clone();
    }
    let described = evidence.dirs.iter().filter_map(|dir| dir.described.here());
    let latest: Option<&Descriptor> = described.max_by_key(|descriptor| descriptor.generation);
    latest
        .map(|descriptor| descriptor.settings.clone())
        .unwrap_or_default()
}

fn by_uid(remembered: &Remembered) -> HashMap<BranchKey, (i64, &Contents)> {
    let branches = remembered.branches.iter();
    branches
        .map(|(generation, contents)| (contents.key(), (*generation, contents)))
        .collect()
}

/// The better of row and descriptor, or why there is neither.
fn candidate<'a>(
    seen: &'a Seen,
    is_lost: bool,
    remembered: &HashMap<BranchKey, (i64, &'a Contents)>,
    rows: &Rows,
    ours: &str,
) -> Result<Candidate<'a>, Reason> {
    let row = remembered.get(&seen.key).copied();
    let descriptor = seen.described.here();
    let is_later = |descriptor: &Descriptor, generation: i64| match &rows.id {
        Some(id) if *id == descriptor.catalog_id => descriptor.generation > generation,
        Some(_) | None => descriptor.catalog_id == ours,
    };
    let found = match (row, descriptor) {
        (Some((generation, _)), Some(descriptor)) if is_later(descriptor, generation) => None,
        (row, _) => row,
    };
    let candidate = match (found, descriptor) {
        (Some((generation, contents)), _) => Candidate {
            seen,
            contents,
            generation,
            origin: Origin::Catalog,
            key_id: None,
            is_ours: true,
            is_lost,
        },
        (None, Some(descriptor)) => Candidate {
            seen,
            contents: &descriptor.contents,
            generation: descriptor.generation,
            origin: Origin::Descriptor,
            key_id: Some(&descriptor.key_id),
            is_ours: descriptor.catalog_id == ours,
            is_lost,
        },
        (None, None) if seen.described == crate::catalog::Described::Elsewhere => return Err(Reason::Copy),
        (None, None) => return Err(Reason::NoDescriptor),
    };
    match candidate.contents.branch.phase {
        Phase::Creating => Err(Reason::Unfinished),
        Phase::Ready | Phase::Deleted if !seen.has_data => Err(Reason::Incomplete),
        Phase::Ready | Phase::Deleted => Ok(candidate),
    }
}

impl Plan {
    /// Whether it changes anything. What a start does as well, such as to write a descriptor, is no change.
    pub(crate) fn is_empty(&self, is_served: bool) -> bool {
        let takes_back = self.branches.iter().any(|branch| branch.taken_back.is_some());
        is_served && !takes_back && self.set_aside.is_empty() && self.missing.is_empty()
    }

    /// The catalog that it makes.
    pub(crate) fn wanted(&self, remembered: &Remembered) -> Wanted {
        let operations = self.keeps_operations.then(|| remembered.operations.clone());
        Wanted {
            id: self.id.clone(),
            generation: self.generation,
            settings: self.settings.clone(),
            branches: self
                .branches
                .iter()
                .map(|branch| branch.contents.clone())
                .collect(),
            operations: operations.unwrap_or_default(),
        }
    }

    fn leave_out(&mut self, seen: &Seen, is_lost: bool, reason: Reason) {
        if is_lost {
            self.still_lost.push((seen.path.clone(), reason));
        } else {
            self.set_aside.push((seen.key.clone(), reason));
        }
    }

    /// Takes those that do not get into each other's way; who comes first has the name.
    fn take(&mut self, candidates: Vec<Candidate<'_>>, evidence: &Evidence) {
        let mut projects: BTreeMap<ProjectName, ProjectRecord> = BTreeMap::new();
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for it in candidates {
            let Contents {
                project,
                branch,
                endpoints,
                ..
            } = it.contents;
            let mut names = vec![branch.uid.clone(), branch.name.to_string()];
            names.extend(endpoints.iter().map(|endpoint| endpoint.uid.clone()));
            let of_project = projects.get(&project.name);
            let is_other_project = of_project.is_some_and(|of_name| of_name.uid != project.uid)
                || of_project.is_none() && projects.values().any(|other| other.uid == project.uid);
            if is_other_project || names.iter().any(|name| taken.contains(name)) {
                self.leave_out(it.seen, it.is_lost, Reason::NameTaken);
                continue;
            }
            taken.extend(names);
            let project = projects
                .entry(project.name.clone())
                .or_insert_with(|| project.clone())
                .clone();
            self.branches.push(Branch {
                contents: Contents {
                    project,
                    ..it.contents.clone()
                },
                origin: it.origin,
                taken_back: it.is_lost.then(|| it.seen.path.clone()),
                extended_from: None,
                has_other_key: it.key_id.is_some_and(|id| evidence.key_id.as_deref() != Some(id)),
            });
        }
    }

    fn note_missing(&mut self, rows: &Rows, is_our_catalog: bool) {
        let restored: BTreeSet<BranchKey> =
            self.branches.iter().map(|branch| branch.contents.key()).collect();
        let rows = rows.branches.iter().filter(|row| row.phase != Phase::Creating);
        let gone: Vec<_> = rows
            .filter(|row| !restored.contains(&row.key))
            .map(|row| row.name.clone())
            .collect();
        if is_our_catalog {
            self.missing = gone;
        } else {
            self.foreign = gone.len();
        }
    }

    /// Gives each branch its grace, and puts them in order.
    fn finish(&mut self, now: DateTime<Utc>) {
        for branch in &mut self.branches {
            let Contents {
                project,
                branch: record,
                ..
            } = &mut branch.contents;
            let due = [
                &mut record.expire_time,
                &mut record.purge_time,
                &mut project.purge_time,
            ];
            for time in due.into_iter().flatten().filter(|time| **time < now + SOON) {
                branch.extended_from = branch.extended_from.min(Some(*time)).or(Some(*time));
                *time = now + GRACE;
            }
        }
        self.branches
            .sort_by(|one, other| one.contents.branch.name.cmp(&other.contents.branch.name));
        let mut projects: BTreeMap<&ProjectName, bool> = BTreeMap::new();
        for Branch { contents, .. } in &self.branches {
            let has_default = projects.entry(&contents.project.name).or_default();
            *has_default |= contents.project.default_branch == contents.branch.name;
        }
        let without = projects.into_iter().filter(|(_, has_default)| !has_default);
        self.without_default = without.map(|(name, _)| name.clone()).collect();
    }
}

#[cfg(test)]
mod tests;

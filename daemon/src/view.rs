//! From what a pass found and did to what the board shows.

use crate::apply::Applying;
use crate::board::{
    BranchView, Ownership, Problem, RepositoryView, UnusedView, WatchMode, WorktreeView, Worktrees,
};
use crate::git::{self, Found, Place};
use crate::ledger::RepositoryRow;
use crate::provider::Provider;
use crate::repository_config;
use crate::services::chain;
use daemon_core::confirmed::Change;
use daemon_core::ids::{Slot, WorktreeId};
use daemon_core::plan::{Standing, Step};
use daemon_core::state::{Head, Observed, Record, RecordState, RemoteState, Worktree};
use daemon_core::why::Why;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Brings the view's branches in line with what was done.
pub(crate) fn update(
    view: &mut RepositoryView,
    steps: &[Step],
    failing: &BTreeMap<Slot, Problem>,
    applying: &Applying<'_>,
    after: &Observed,
) {
    // The last step about a slot says most about it.
    let by_slot: BTreeMap<&Slot, &Step> = steps.iter().map(|step| (&step.slot, step)).collect();
    let records: BTreeMap<&Slot, &Record> = applying
        .records
        .iter()
        .map(|record| (&record.slot, record))
        .collect();
    view.unused = unused(view, &by_slot, applying, after);
    for worktree in view.worktrees.iter_mut() {
        let Some(slot) = &worktree.slot else { continue };
        let step = by_slot.get(slot).copied();
        let record = records.get(slot).copied();
        let branch = record.and_then(|record| branch_view(applying.provider, record, after));
        let is_ready = branch.as_ref().is_some_and(|(_, is_ready)| *is_ready);
        let failure = failing.get(slot);
        let standing = match (is_ready, failure, step) {
            (true, _, _) => Standing::Ready,
            (false, Some(_), _) => Standing::Failing,
            (false, None, step) => step.map_or(Standing::Pending, |step| step.standing),
        };
        let branch = branch.map(|(branch, _)| branch);
        let uid = branch.as_ref().and_then(|branch| branch.uid.as_ref());
        let target = worktree.target.clone();
        let target = target.filter(|target| is_ready && Some(&target.uid) == uid);
        let why = step.map(|step| step.why.to_string()).unwrap_or_default();
        let problem = failure.cloned().or_else(|| step.and_then(problem_of));
        let is_as_shown = (standing, &why, &problem, &branch)
            == (
                worktree.standing,
                &worktree.why,
                &worktree.problem,
                &worktree.branch,
            )
            && target.is_some() == worktree.target.is_some();
        if is_as_shown {
            continue;
        }
        let shown = Arc::make_mut(worktree);
        (shown.standing, shown.why, shown.problem) = (standing, why, problem);
        (shown.branch, shown.target) = (branch, target);
    }
}

/// The branches of records whose slots no worktree is on.
fn unused(
    view: &RepositoryView,
    by_slot: &BTreeMap<&Slot, &Step>,
    applying: &Applying<'_>,
    after: &Observed,
) -> Vec<UnusedView> {
    let used: BTreeSet<&Slot> = view
        .worktrees
        .iter()
        .filter_map(|worktree| worktree.slot.as_ref())
        .collect();
    let unused = applying
        .records
        .iter()
        .filter(|record| !used.contains(&record.slot) && after.branches.contains_key(&record.branch));
    let view_of = |record: &Record| {
        let (branch, _) = branch_view(applying.provider, record, after)?;
        let step = by_slot.get(&record.slot);
        let is_gone = step.is_some_and(|step| step.why.is_about_absence());
        Some(UnusedView {
            is_orphan: is_gone && branch.ownership == Some(Ownership::Owned),
            why: step.map(|step| step.why.to_string()).unwrap_or_default(),
            branch,
        })
    };
    unused.filter_map(view_of).collect()
}

/// What a step that can go no further says to a person.
fn problem_of(step: &Step) -> Option<Problem> {
    let fix = match step.standing {
        Standing::Blocked => step.why.fix().unwrap_or_default(),
        Standing::Ready | Standing::Pending | Standing::Failing | Standing::Unused => return None,
    };
    Some(Problem {
        message: step.why.to_string(),
        fix,
    })
}

fn branch_view(provider: &Provider, record: &Record, after: &Observed) -> Option<(BranchView, bool)> {
    let name = provider.branch_name(&record.branch).ok()?.to_string();
    let remote = after.branches.get(&record.branch);
    let is_usable = matches!(record.state, RecordState::Owned | RecordState::Adopted);
    let is_ready =
        is_usable && remote.is_some_and(|remote| remote.state == RemoteState::Ready && remote.uid.is_some());
    let view = BranchView {
        id: record.branch.clone(),
        name,
        uid: remote.and_then(|remote| remote.uid.clone()),
        source: remote
            .and_then(|remote| provider.branch_name(remote.source.as_ref()?).ok())
            .map(|n| n.to_string()),
        expire_time: remote.and_then(|remote| remote.expire_time),
        ownership: remote.and(ownership(record.state)),
        logical_size_bytes: remote
            .and_then(|remote| remote.logical_size_bytes)
            .unwrap_or_default(),
        own_size_bytes: remote
            .and_then(|remote| remote.own_size_bytes)
            .unwrap_or_default(),
        create_time: remote.and_then(|remote| remote.create_time),
    };
    Some((view, is_ready))
}

fn ownership(state: RecordState) -> Option<Ownership> {
    match state {
        RecordState::Owned => Some(Ownership::Owned),
        RecordState::Adopted => Some(Ownership::Adopted),
        RecordState::Intent | RecordState::Quarantined => None,
    }
}

/// The worktrees that git shows; what is known of one carries over while it asks for the same branch.
pub(crate) fn worktree_views(found: &Found, before: &Worktrees) -> Worktrees {
    let by_id: BTreeMap<&WorktreeId, &Arc<WorktreeView>> = before.iter().map(|old| (&old.id, old)).collect();
    let view = |worktree: &Worktree| {
        let place = found.places.get(&worktree.id)?;
        let slot = worktree.slot();
        let is_succeeded = found.view.succeeded.contains_key(&worktree.id);
        let old = by_id
            .get(&worktree.id)
            .filter(|old| old.slot == slot && slot.is_some() && !is_succeeded);
        if let Some(old) = old.filter(|old| is_as_shown(worktree, place, old)) {
            return Some(Arc::clone(old));
        }
        let fresh = || WorktreeView {
            id: worktree.id.clone(),
            root: place.root().to_owned(),
            admin_dir: place.admin_dir.clone(),
            stands_at: None,
            born: None,
            head_version: None,
            head: worktree.head.clone(),
            is_locked: worktree.is_locked,
            slot: slot.clone(),
            standing: Standing::Pending,
            why: "it was just seen".into(),
            problem: None,
            branch: None,
            target: None,
        };
        let mut view = old.map_or_else(fresh, |old| WorktreeView::clone(old));
        place.root().clone_into(&mut view.root);
        view.admin_dir.clone_from(&place.admin_dir);
        view.stands_at = place.stands_at;
        view.born = place.born;
        view.head.clone_from(&worktree.head);
        view.head_version = place.head_version();
        view.is_locked = worktree.is_locked;
        if let Head::Unknown(reason) = &worktree.head {
            let why = Why::HeadUnknown(reason.clone());
            view.why = why.to_string();
            view.problem = Some(Problem {
                message: why.to_string(),
                fix: why.fix().unwrap_or_default(),
            });
        }
        Some(Arc::new(view))
    };
    Worktrees::new(found.view.worktrees.iter().filter_map(view).collect(), before)
}

/// Says whether git shows nothing new of a worktree.
fn is_as_shown(worktree: &Worktree, place: &Place, shown: &WorktreeView) -> bool {
    let is_in_place = (
        place.root(),
        &place.admin_dir,
        place.stands_at,
        place.head_version(),
    ) == (
        &*shown.root,
        &shown.admin_dir,
        shown.stands_at,
        shown.head_version,
    );
    is_in_place && (&worktree.head, worktree.is_locked) == (&shown.head, shown.is_locked)
}

/// The problem of a daemon whose ledger is not the one of last time.
pub(crate) fn unconfirmed_ledger() -> Problem {
    Problem {
        message: "the ledger was lost or replaced by an older copy; no branch is created or deleted".into(),
        fix: "run `lakebase init --recover` to take its branches back, or `lakebase init --fresh` to start over".into(),
    }
}

pub(crate) fn unreadable_confirmed() -> Problem {
    Problem {
        message: "the confirmed configuration is of another release and cannot be read".into(),
        fix: "run `lakebase trust` to confirm the one in the file".into(),
    }
}

pub(crate) fn missing_config(path: &Path) -> Problem {
    Problem {
        message: format!("there is no `{}`", path.display()),
        fix: "run `lakebase init` in the repository".into(),
    }
}

/// Returns the problem that a file proposes what the user has not confirmed, if it does.
pub(crate) fn unconfirmed_config(path: &Path, pending: &[Change]) -> Option<Problem> {
    let of = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".into());
    let changes = pending.iter().map(|change| {
        format!(
            "{} from `{}` to `{}`",
            change.key,
            of(&change.confirmed),
            of(&change.proposed)
        )
    });
    let changes: Vec<_> = changes.collect();
    (!changes.is_empty()).then(|| Problem {
        message: format!(
            "`{}` changes {}, which is not confirmed and does not apply",
            path.display(),
            changes.join(", ")
        ),
        fix: "run `lakebase trust` to confirm it, or change the file back".into(),
    })
}

pub(crate) fn unreadable_view(
    row: &RepositoryRow,
    before: Option<&RepositoryView>,
    error: &git::GitError,
) -> RepositoryView {
    let problem = Problem {
        message: chain(error),
        fix: "if it moved, run `lakebase init` in its new place".into(),
    };
    match before {
        Some(before) => RepositoryView {
            problems: vec![problem],
            is_local: false,
            ..before.clone()
        },
        None => RepositoryView {
            id: row.id.clone(),
            common_dir: row.common_dir.clone(),
            main_worktree: None,
            hooks_dir: row.common_dir.join("hooks"),
            config_path: row.common_dir.join(repository_config::FILE),
            settings: None,
            proposed: vec![],
            service: String::new(),
            watch_mode: WatchMode::default(),
            is_local: false,
            problems: vec![problem.clone()],
            hindrance: Some(problem),
            worktrees: Worktrees::default(),
            unused: vec![],
            passes: 0,
            is_settled: false,
        },
    }
}

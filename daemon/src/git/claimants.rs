//! The slots of a repository that may have had a branch, with what git itself remembers of each: when a worktree was added and last
//! changed its HEAD, and what a git branch was called before. Only a recovery needs that.

use super::{Access, Found, Question, renames, try_look};
use chrono::DateTime;
use daemon_core::Timestamp;
use daemon_core::ids::{GitRef, Slot, WorktreeId};
use daemon_core::recovery::Claimant;
use daemon_core::state::Worktree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What one complete look gives a recovery.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    /// The slots, those in use first.
    pub(crate) claimants: Vec<Claimant>,
    /// The worktrees of the slots in use.
    pub(crate) roots: BTreeMap<Slot, Vec<PathBuf>>,
    /// Short name of the main worktree's git branch.
    pub(crate) main_git_branch: Option<String>,
}

/// Looks at a repository's worktrees and git branches. Blocking. Before it was registered no daemon created a branch.
///
/// # Errors
/// What could not be read: then nothing is known.
pub(crate) fn claims(question: &Question, registered_at: Timestamp) -> Result<Claims, String> {
    let found = try_look(question, None)?;
    let mut slots: BTreeMap<Slot, Claimant> = BTreeMap::new();
    let mut roots: BTreeMap<Slot, Vec<PathBuf>> = BTreeMap::new();
    for worktree in &found.view.worktrees {
        let Some(slot) = worktree.slot() else { continue };
        let claimant = claimant(question, &found, worktree, slot.clone(), registered_at);
        let place = found.places.get(&worktree.id);
        let root = place.map(|place| place.root().to_owned()).unwrap_or_default();
        roots.entry(slot.clone()).or_default().push(root);
        match slots.get_mut(&slot) {
            Some(same) => same.appeared.extend(claimant.appeared),
            None => drop(slots.insert(slot, claimant)),
        }
    }
    let mut claimants: Vec<_> = slots.into_values().collect();
    let used: BTreeSet<Slot> = claimants.iter().map(|it| it.slot.clone()).collect();
    let names = local_branches(&Access::open(&question.common_dir)?)?;
    let slots = names.into_iter().map(|name| (Slot::Ref(name.clone()), name));
    let unused = slots.filter(|(slot, _)| !used.contains(slot));
    claimants.extend(unused.map(|(slot, name)| idle(slot, &name)));
    let main = found.view.main_branch.as_ref();
    Ok(Claims {
        claimants,
        roots,
        main_git_branch: main.map(|name| name.short().to_owned()),
    })
}

fn claimant(
    question: &Question,
    found: &Found,
    worktree: &Worktree,
    slot: Slot,
    registered_at: Timestamp,
) -> Claimant {
    let place = found.places.get(&worktree.id);
    let born = place
        .and_then(|place| place.born)
        .map(DateTime::from_timestamp_nanos);
    let known_since = born.map_or(registered_at, |born| born.max(registered_at));
    let log = place.and_then(|place| renames::tail(&place.admin_dir.join("logs/HEAD")).ok());
    let (names, former) = match &slot {
        Slot::Ref(name) => named(&question.common_dir, name),
        Slot::Worktree(id) => (dirs(worktree, id), vec![]),
    };
    Claimant {
        born: born.filter(|_| matches!(slot, Slot::Worktree(_))),
        is_in_use: true,
        is_locked: worktree.is_locked || found.view.away.contains(&worktree.id),
        appeared: appeared(&slot, &former, known_since, &log.unwrap_or_default()),
        names,
        former,
        slot,
    }
}

/// The moments at which a worktree came to its slot, since a daemon knew it, by the reflog of its HEAD.
fn appeared(slot: &Slot, former: &[Slot], known_since: Timestamp, log: &str) -> Vec<Timestamp> {
    let moves: Vec<Move<'_>> = log.lines().filter_map(Move::parse).collect();
    let is_slot = |name: &str| match slot {
        // A name in the log may be that of a git branch or of a commit.
        Slot::Worktree(_) => true,
        Slot::Ref(_) => std::iter::once(slot)
            .chain(former)
            .any(|slot| matches!(slot, Slot::Ref(it) if it.short() == name)),
    };
    let mut later = moves.iter().filter(|it| it.at > known_since);
    let was_there = later.clone().next().is_none_or(|first| is_slot(first.from));
    let came = later.by_ref().filter(|it| is_slot(it.to)).map(|it| it.at);
    let at_first = was_there.then_some(known_since);
    at_first.into_iter().chain(came).collect()
}

/// A line of git's about a HEAD that moved: `OLD NEW name <mail> SECONDS ZONE\tcheckout: moving from A to B`.
struct Move<'a> {
    at: Timestamp,
    from: &'a str,
    to: &'a str,
}

impl<'a> Move<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (head, message) = line.split_once('\t')?;
        let (from, to) = message
            .strip_prefix("checkout: moving from ")?
            .split_once(" to ")?;
        let at = DateTime::from_timestamp(renames::seconds(head)?, 0)?;
        Some(Self { at, from, to })
    }
}

/// A git branch that no worktree is on.
fn idle(slot: Slot, name: &GitRef) -> Claimant {
    Claimant {
        slot,
        is_in_use: false,
        is_locked: false,
        names: vec![name.short().to_owned()],
        former: vec![],
        born: None,
        appeared: vec![],
    }
}

/// A git branch's names, that of today first, and its former slots.
fn named(common_dir: &Path, name: &GitRef) -> (Vec<String>, Vec<Slot>) {
    let former = renames::former_names(common_dir, name);
    let names = std::iter::once(name).chain(&former);
    let names = names.map(|name| name.short().to_owned()).collect();
    (names, former.into_iter().map(Slot::Ref).collect())
}

/// Names of the worktree's directory: that of today, and the one that git made its entry after.
fn dirs(worktree: &Worktree, id: &WorktreeId) -> Vec<String> {
    let mut dirs = vec![worktree.dir_name.clone()];
    if let WorktreeId::Linked(name) = id
        && *name != worktree.dir_name
    {
        dirs.push(name.clone());
    }
    dirs
}

fn local_branches(access: &Access) -> Result<Vec<GitRef>, String> {
    let repository = match access {
        Access::Library(repository) => repository,
        Access::Command(listing) => return Ok(listing.refs().cloned().collect()),
    };
    let cannot = |error: git2::Error| format!("cannot list git branches: {}", error.message());
    let references = repository.references_glob("refs/heads/*").map_err(cannot)?;
    let mut names = vec![];
    for reference in references {
        // One whose name is no text has no branch.
        if let Some(name) = reference
            .map_err(cannot)?
            .name()
            .ok()
            .and_then(GitRef::parse_head)
        {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon_core::ids::WorktreeId;

    #[test]
    fn lg_01_a_slot_appears_when_a_worktree_comes_to_it() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("in range");
        let slot = |name: &str| Slot::Ref(GitRef::new(format!("refs/heads/{name}")));
        let line = |seconds: i64, from: &str, to: &str| {
            format!("00 11 J <j@x> {seconds} +0000\tcheckout: moving from {from} to {to}\n")
        };
        let log = [
            line(5, "old", "main"),
            line(20, "main", "x"),
            "00 11 J <j@x> 25 +0000\tcommit: moving from a to x\n".into(),
            line(30, "x", "main"),
            line(40, "main", "c0ffee"),
        ]
        .concat();
        let came = |slot: &Slot| {
            let moments = appeared(slot, &[], at(10), &log);
            moments.iter().map(Timestamp::timestamp).collect::<Vec<_>>()
        };
        assert_eq!(came(&slot("main")), [10, 30]);
        assert_eq!(came(&slot("x")), [20]);
        assert_eq!(came(&slot("old")), Vec::<i64>::new());
        let tree = Slot::Worktree(WorktreeId::Linked("w".into()));
        assert_eq!(came(&tree), [10, 20, 30, 40]);
        assert_eq!(appeared(&slot("main"), &[], at(10), ""), [at(10)]);
        assert_eq!(appeared(&slot("new"), &[slot("x")], at(10), &log), [at(20)]);
    }
}

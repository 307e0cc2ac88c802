//! What became of worktrees between two looks: removed, out of reach, or removed and added again under their names.

use super::{Found, Place, Question};
use daemon_core::Timestamp;
use daemon_core::ids::WorktreeId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Where a root stood when it was last there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoodIn {
    /// Device and inode of the root.
    pub(super) root: (u64, u64),
    /// Device and inode of its parent directory, which is on the same device.
    pub(super) parent: (u64, u64),
    pub(super) seen_at: Instant,
}

/// The life of a worktree that a record was made in. Another worktree of its name was born at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// The record's.
    since: Timestamp,
    /// When the git directory of the worktree was made, in nanoseconds.
    born: i64,
}

/// A root that was missing for longer than this when its entry went was not removed by `git worktree remove`, which does both
/// in one go.
const SEEN_LATELY: Duration = Duration::from_mins(2);

/// Works out what became of the worktrees since the look before.
pub(super) fn compare(question: &Question, before: Option<&Found>, now: &mut Found) {
    let nothing = Found::default();
    let before = before.unwrap_or(&nothing);
    remember_places(before, now);
    now.lives = lives(question, before, now);
    now.view.succeeded = succeeded(now);
    // Once seen it stays known until the worktree is there again: the pass that saw it may have come to nothing.
    let is_known = |id: &&WorktreeId| {
        let is_recorded = |records: &BTreeMap<WorktreeId, Timestamp>| records.contains_key(*id);
        !now.places.contains_key(*id) && question.worktrees.as_ref().is_none_or(is_recorded)
    };
    let known = |ids: &BTreeSet<WorktreeId>| ids.iter().filter(is_known).cloned().collect();
    let (mut removed_live, mut away): (BTreeSet<_>, BTreeSet<_>) =
        (known(&before.view.removed_live), known(&before.view.away));
    for (id, place) in gone(before, now) {
        match place.was_taken_away() {
            true if place.was_seen_lately() => drop(removed_live.insert(id.clone())),
            true => {}
            false => drop(away.insert(id.clone())),
        }
    }
    removed_live.extend(removed_before_succeeded(before, now));
    away.extend(out_of_reach(now));
    (now.view.removed_live, now.view.away) = (removed_live, away);
}

/// A look may fall into the middle of a removal: the directory is gone and its entry is not, or the entry has lost the file
/// that names the directory. What was known of it is kept for the look after.
fn remember_places(before: &Found, now: &mut Found) {
    for (id, place) in &mut now.places {
        let old = before.places.get(id);
        let stood_in = old.and_then(|old| old.stood_in);
        if place.is_foreign {
            // One that has lost its `.git` is ours if it is the one that was: git is about to remove it.
            let is_same = |now: &StoodIn| stood_in.is_some_and(|then| then.root == now.root);
            place.stood_in = place.stood_in.filter(is_same);
        } else if let Some(old) = old.filter(|_| place.root.as_os_str().is_empty()) {
            place.root.clone_from(&old.root);
            (place.is_foreign, place.stood_in) = (old.is_foreign, old.stood_in);
        } else if old.is_some_and(|old| old.root == place.root) {
            place.stood_in = place.stood_in.or(stood_in);
        }
    }
}

fn gone<'a>(before: &'a Found, now: &Found) -> impl Iterator<Item = (&'a WorktreeId, &'a Place)> {
    let is_gone = |(id, _): &(&WorktreeId, &Place)| **id != WorktreeId::Main && !now.places.contains_key(*id);
    before.places.iter().filter(is_gone)
}

/// Worktrees that are listed and whose directory is not there, though nobody took it away: its disk is, or something else is in
/// its place. If git drops them from its list, that tells nothing.
fn out_of_reach(now: &Found) -> impl Iterator<Item = WorktreeId> {
    let is_out = |(_, place): &(&WorktreeId, &Place)| place.stands_at.is_none() && !place.is_being_removed();
    now.places.iter().filter(is_out).map(|(id, _)| id.clone())
}

/// The lives that records were made in: those that were seen when the records were new. A file system that does not tell when a
/// directory was made, or of others, tells nothing of lives. Neither does the time before this process.
fn lives(question: &Question, before: &Found, now: &Found) -> BTreeMap<WorktreeId, Life> {
    let Some(records) = question.worktrees.as_ref().filter(|_| !now.is_remote) else {
        return before.lives.clone();
    };
    let life = |(id, since): (&WorktreeId, &Timestamp)| {
        let known = before.lives.get(id).filter(|life| life.since == *since).copied();
        // The record was made after the look before.
        let place = before.places.get(id).or_else(|| now.places.get(id));
        let seen = place.and_then(|place| place.born);
        let life = known.or(seen.map(|born| Life { since: *since, born }))?;
        Some((id.clone(), life))
    };
    records.iter().filter_map(life).collect()
}

fn succeeded(now: &Found) -> BTreeMap<WorktreeId, Timestamp> {
    let is_other = |(id, life): &(&WorktreeId, &Life)| {
        let born = now.places.get(*id).and_then(|place| place.born);
        born.is_some_and(|born| born != life.born)
    };
    let others = now.lives.iter().filter(is_other);
    others.map(|(id, life)| (id.clone(), life.since)).collect()
}

/// Of the worktrees that others have succeeded, those that were there lately: git takes an entry only from one that it removes.
fn removed_before_succeeded(before: &Found, now: &Found) -> impl Iterator<Item = WorktreeId> {
    now.view.succeeded.iter().filter_map(|(id, since)| {
        let life = now.lives.get(id)?;
        // Or was about to be removed: that look may have fallen into the middle of it.
        let is_away = before.view.away.contains(id);
        let was_there = before
            .places
            .get(id)
            .is_some_and(|place| place.born == Some(life.born) && !is_away && place.was_seen_lately());
        (was_there || before.view.removed_live.contains(id)).then(|| id.succeeded(*since))
    })
}

impl Place {
    /// Says whether the directory is not there because somebody takes it away: it is gone, or the same without its `.git`.
    fn is_being_removed(&self) -> bool {
        self.is_foreign && self.stood_in.is_some() || self.was_taken_away()
    }

    /// Says whether the directory is gone from a parent directory that is still the same: so somebody removed it. An unmounted
    /// disk leaves another parent, or none.
    fn was_taken_away(&self) -> bool {
        let is_same = |stood_in: StoodIn| {
            let parent = self.root.parent().map(std::fs::symlink_metadata);
            parent.is_some_and(|parent| {
                parent.is_ok_and(|parent| (parent.dev(), parent.ino()) == stood_in.parent)
            })
        };
        let is_gone =
            std::fs::symlink_metadata(&self.root).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        is_gone && self.stood_in.is_some_and(is_same)
    }

    fn was_seen_lately(&self) -> bool {
        self.stood_in
            .is_some_and(|stood_in| stood_in.seen_at.elapsed() < SEEN_LATELY)
    }
}

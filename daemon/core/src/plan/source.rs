//! Where a new branch forks from: the configured source, or the main worktree's branch for a detached worktree.

use super::{Planner, is_other};
use crate::ids::{BranchId, Slot};
use crate::state::{Record, RecordState, RemoteBranch, RemoteState, WorktreeSource};
use crate::why::Why;

/// Where a new branch can fork from.
pub(super) enum Source<'a> {
    From(BranchId),
    /// From this record's branch, once its expiration is off.
    FromHeld(&'a Record),
    NotYet(Why),
    Never(Why),
}

impl<'a> Planner<'a> {
    pub(super) fn source(&self, slot: &Slot) -> Source<'a> {
        match (slot, self.look.policy.worktree_source, &self.parent) {
            (Slot::Worktree(_), WorktreeSource::Parent, Some(parent)) => self.parent_source(parent),
            (Slot::Worktree(_) | Slot::Ref(_), _, _) => self.configured_source(),
        }
    }

    fn configured_source(&self) -> Source<'a> {
        let id = &self.look.policy.source_branch;
        match self.observed.branches.get(id) {
            None => Source::Never(Why::SourceMissing(id.clone())),
            Some(remote) if remote.expire_time.is_some() => Source::Never(Why::SourceExpires(id.clone())),
            Some(remote) => when_ready(remote, Source::From(id.clone())),
        }
    }

    fn parent_source(&self, parent: &Slot) -> Source<'a> {
        let Some(record) = self.record(parent) else {
            return Source::NotYet(Why::ParentNotReady);
        };
        let remote = self.observed.branches.get(&record.branch);
        match (record.state, remote) {
            (RecordState::Quarantined, _) => self.configured_source(),
            (RecordState::Intent, _) | (_, None) => Source::NotYet(Why::ParentNotReady),
            (RecordState::Owned, Some(remote)) if is_other(record, remote) => self.configured_source(),
            (RecordState::Owned | RecordState::Adopted, Some(remote)) if remote.expire_time.is_none() => {
                when_ready(remote, Source::From(remote.id.clone()))
            }
            (RecordState::Owned, Some(remote)) => when_ready(remote, Source::FromHeld(record)),
            // Somebody else decides about the lease of a branch that was there before us.
            (RecordState::Adopted, Some(_)) => self.configured_source(),
        }
    }

    /// Says whether a branch that is still to be made will fork from this record's.
    pub(super) fn is_awaited_parent(&self, record: &Record) -> bool {
        let is_missing = |slot: &Slot| {
            self.record(slot)
                .is_none_or(|child| !self.observed.branches.contains_key(&child.branch))
        };
        let is_child = |slot: &Slot| matches!(slot, Slot::Worktree(_));
        self.look.policy.worktree_source == WorktreeSource::Parent
            && self.parent.as_ref() == Some(&record.slot)
            && self
                .in_use
                .iter()
                .any(|(slot, _)| is_child(slot) && is_missing(slot))
    }
}

fn when_ready<'a>(remote: &RemoteBranch, source: Source<'a>) -> Source<'a> {
    match remote.state {
        RemoteState::Ready => source,
        RemoteState::DataMissing => Source::Never(Why::SourceDataMissing(remote.id.clone())),
        RemoteState::Transitional(_) => Source::NotYet(Why::ParentNotReady),
    }
}

//! What becomes of a branch that no worktree uses: its lease runs out, or it is reaped once its slot is proven gone.

use super::{Action, Planner, Standing, is_other};
use crate::Timestamp;
use crate::ids::Slot;
use crate::permit::{Asked, Refusal, may_delete};
use crate::state::{Record, RecordState, RemoteBranch};
use crate::why::Why;

impl<'a> Planner<'a> {
    pub(super) fn unwanted(&mut self, record: &'a Record) {
        let slot = &record.slot;
        let remote = self.observed.branches.get(&record.branch);
        match (remote, self.is_absent(slot)) {
            (None, _) if self.is_young(record) => {
                self.push(slot, Action::Keep, Why::TooYoungToMiss, Standing::Unused);
            }
            (None, _) => self.push(slot, Action::Forget, Why::NothingLeft, Standing::Unused),
            (Some(_), false) if record.reap_after.is_some() => {
                self.push(slot, Action::MarkPresent, Why::BackAgain, Standing::Unused);
            }
            (Some(remote), false) => self.idle(record, remote),
            (Some(remote), true) => self.retire(record, remote),
        }
    }

    /// Absent means: a complete look did not find it. A worktree whose HEAD is unreadable may stand on any unborn ref.
    pub(super) fn is_absent(&self, slot: &Slot) -> bool {
        match slot {
            Slot::Ref(name) => !self.git.refs.contains(name) && !self.is_a_head_unknown,
            Slot::Worktree(id) => !self.worktrees.contains(id),
        }
    }

    /// The slot is there, but no worktree is on it: the lease runs out by itself.
    fn idle(&mut self, record: &Record, remote: &RemoteBranch) {
        if record.is_kept {
            return self.push(&record.slot, Action::Keep, Why::Kept, Standing::Unused);
        }
        let given_back = self.given_back(record, remote);
        let (action, why) = given_back.unwrap_or((Action::Keep, Why::NotCheckedOut));
        self.push(&record.slot, action, why, Standing::Unused);
    }

    /// A lease that we hold and nothing needs any more.
    fn given_back(&self, record: &Record, remote: &RemoteBranch) -> Option<(Action, Why)> {
        let is_ours = record.state == RecordState::Owned && !is_other(record, remote);
        if !is_ours {
            return None;
        }
        match remote.expire_time {
            None => self.release_step(record),
            Some(expire_time) => {
                let release = (Action::Release { expire_time }, Why::LastChildGone);
                self.is_given_back(record).then_some(release)
            }
        }
    }

    /// The slot is gone: mark it, and when a later look agrees, reap the branch or drop the record.
    fn retire(&mut self, record: &Record, remote: &RemoteBranch) {
        let slot = &record.slot;
        let proven_at = self.proven_at(slot);
        match (record.state, record.reap_after) {
            (RecordState::Intent, _) => self.settle_intent(record, remote),
            (_, None) => self.push(
                slot,
                Action::MarkAbsent {
                    reap_after: proven_at,
                },
                Why::SlotGone,
                Standing::Unused,
            ),
            (_, Some(after)) if proven_at < after => {
                self.push(
                    slot,
                    Action::MarkAbsent {
                        reap_after: proven_at,
                    },
                    Why::SlotGone,
                    Standing::Unused,
                );
            }
            (RecordState::Owned, Some(_)) => self.reap(record, remote),
            (RecordState::Adopted | RecordState::Quarantined, Some(after)) if self.look.now >= after => {
                self.push(slot, Action::Forget, Why::StillGone, Standing::Unused);
            }
            (RecordState::Adopted | RecordState::Quarantined, Some(_)) => {
                self.push(slot, Action::Keep, Why::SlotGone, Standing::Unused);
            }
        }
    }

    /// A removal that we watched proves itself at the next look; any other absence needs the grace.
    fn proven_at(&self, slot: &Slot) -> Timestamp {
        if self.was_watched(slot) {
            self.look.now
        } else {
            self.look.now + self.look.policy.reap_grace
        }
    }

    pub(super) fn was_watched(&self, slot: &Slot) -> bool {
        matches!(slot, Slot::Worktree(id) if self.git.removed_live.contains(id))
    }

    fn reap(&mut self, record: &Record, remote: &RemoteBranch) {
        let slot = &record.slot;
        if let Some(error) = self.look.backing_off.get(slot) {
            return self.push(
                slot,
                Action::Keep,
                Why::BackingOff(error.clone()),
                Standing::Unused,
            );
        }
        let permit = may_delete(record, remote, self.observed, self.question(false));
        match permit.and_then(|permit| self.brake(record).map(|()| permit)) {
            Ok(permit) => {
                self.reaps += 1;
                self.push(slot, Action::Reap(permit), Why::StillGone, Standing::Unused);
            }
            Err(refusal) => {
                // It is not reaped soon or ever, so it has to end by itself.
                let must_end = matches!(
                    refusal,
                    Refusal::WasLocked | Refusal::TooManyAtOnce | Refusal::OverBudget
                );
                let given_back = must_end.then(|| self.given_back(record, remote));
                let (action, why) = given_back
                    .flatten()
                    .unwrap_or((Action::Keep, Why::Stays(refusal)));
                self.push(slot, action, why, Standing::Unused);
            }
        }
    }

    pub(super) fn question(&self, by_person: bool) -> Asked<'a> {
        Asked {
            project: self.look.project,
            origin: self.look.origin,
            now: self.look.now,
            by_person,
            is_unconfirmed: self.look.is_unconfirmed,
        }
    }
}

//! Every decision about branches: from four pictures and a time to a list of steps, each with its reason.
//!
//! Steps carry final values, so doing one twice is harmless and whoever does it computes nothing. Nothing here deletes:
//! a step to reap holds a permit that only [`crate::permit::may_delete`] can make.

use crate::ids::{BranchId, Slot, WorktreeId};
use crate::lease::{self, Jitter};
use crate::naming::{self, Label};
use crate::state::{
    GitView, Head, Look, Observed, OnExisting, Record, RecordState, RemoteBranch, RemoteState, Seen, Worktree,
};
use crate::why::Why;
use chrono::TimeDelta;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

mod asked;
mod brake;
mod retire;
mod source;
mod step;
mod unattended;
mod unconfirmed;

use source::Source;
pub use step::{Action, Standing, Step};
pub use unattended::{Unattended, unattended};

/// A branch younger than this may be missing from a list without being gone: the list may lag behind.
const LIST_LAG: TimeDelta = TimeDelta::seconds(60);

/// What one look leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The look was not complete, so nothing is decided. The text says what was missing.
    Wait(String),
    /// The steps, in the order in which they are to be done.
    Steps(Vec<Step>),
}

/// Decides what is to be done in one repository.
pub fn plan(look: &Look<'_>) -> Plan {
    match (&look.git, look.observed) {
        (Seen::Unknown(reason), _) | (_, Seen::Unknown(reason)) => Plan::Wait(reason.clone()),
        (Seen::Present(git), Seen::Present(observed)) => {
            let in_use = in_use(git);
            let used: BTreeSet<Slot> = in_use.iter().map(|(slot, _)| slot.clone()).collect();
            let main = git.main_branch.clone().map(Slot::Ref);
            let is_head_unknown = |worktree: &Worktree| matches!(worktree.head, Head::Unknown(_));
            let mut planner = Planner {
                look,
                git,
                observed,
                parent: main.filter(|slot| used.contains(slot)),
                used,
                worktrees: git.worktrees.iter().map(|worktree| &worktree.id).collect(),
                is_a_head_unknown: git.worktrees.iter().any(is_head_unknown),
                records: look.records.iter().map(|record| (&record.slot, record)).collect(),
                recorded: look.records.iter().map(|record| &record.branch).collect(),
                in_use,
                chosen: BTreeSet::new(),
                held: BTreeSet::new(),
                is_mass_orphaned: OnceCell::new(),
                reaps: 0,
                steps: vec![],
            };
            planner.run();
            let steps = planner.steps;
            Plan::Steps(if look.is_unconfirmed {
                unconfirmed::restrict(steps)
            } else {
                steps
            })
        }
    }
}

/// The slots that worktrees ask branches for, the main worktree's first, with one of their worktrees each.
fn in_use(git: &GitView) -> Vec<(Slot, &Worktree)> {
    let mut seen = BTreeSet::new();
    let slots = git
        .worktrees
        .iter()
        .filter_map(|worktree| Some((worktree.slot()?, worktree)));
    slots.filter(|(slot, _)| seen.insert(slot.clone())).collect()
}

struct Planner<'a> {
    look: &'a Look<'a>,
    git: &'a GitView,
    observed: &'a Observed,
    in_use: Vec<(Slot, &'a Worktree)>,
    /// The slots of `in_use`.
    used: BTreeSet<Slot>,
    /// The slot of the main worktree's git branch, if that worktree is there to keep it alive.
    parent: Option<Slot>,
    worktrees: BTreeSet<&'a WorktreeId>,
    is_a_head_unknown: bool,
    records: BTreeMap<&'a Slot, &'a Record>,
    /// The names of the branches of `records`.
    recorded: BTreeSet<&'a BranchId>,
    /// Names given to new slots in this very plan.
    chosen: BTreeSet<BranchId>,
    /// Parents whose leases this very plan takes.
    held: BTreeSet<&'a Slot>,
    /// Worked out when the first branch is to go.
    is_mass_orphaned: OnceCell<bool>,
    /// Deletes in this very plan that nobody asked for.
    reaps: usize,
    steps: Vec<Step>,
}

impl<'a> Planner<'a> {
    fn run(&mut self) {
        if self.look.asks.is_leaving {
            return self.leave();
        }
        let renamed = self.rename();
        for (slot, worktree) in self.in_use.clone() {
            if !renamed.contains(&slot) && !self.answered(&slot) {
                self.wanted(&slot, worktree);
            }
        }
        for record in self.look.records {
            let is_done = renamed.contains(&record.slot);
            if !is_done && !self.is_in_use(&record.slot) && !self.answered(&record.slot) {
                self.unwanted(record);
            }
        }
    }

    /// Moves the records of renamed git branches, and of worktrees whose names others have now. Returns the slots that this is
    /// about, old and new: nothing else is decided about them before it is done.
    fn rename(&mut self) -> BTreeSet<Slot> {
        let mut about = BTreeSet::new();
        for record in self.look.records {
            let moved = self.renamed_to(record).map(|to| (to, Why::Renamed));
            let moved = moved.or_else(|| Some((self.succeeded(record)?, Why::Succeeded)));
            let Some((to, why)) = moved.filter(|(to, _)| !about.contains(to)) else {
                continue;
            };
            let standing = if self.is_in_use(&to) || self.is_in_use(&record.slot) {
                Standing::Pending
            } else {
                Standing::Unused
            };
            self.push(
                &record.slot,
                Action::Rename { to: to.clone() },
                why.clone(),
                standing,
            );
            self.push(&to, Action::Keep, why, standing);
            about.extend([record.slot.clone(), to]);
        }
        about
    }

    /// Where a record belongs since its git branch was renamed. A slot that has a record keeps that one.
    fn renamed_to(&self, record: &Record) -> Option<Slot> {
        let Slot::Ref(old) = &record.slot else {
            return None;
        };
        let to = Slot::Ref(self.git.renamed.get(old)?.clone());
        let is_free = self.record(&to).is_none();
        (is_free && !self.git.refs.contains(old) && !self.is_in_use(&record.slot)).then_some(to)
    }

    /// Where a record belongs whose worktree has a successor: to a slot that is gone. The successor begins with nothing.
    fn succeeded(&self, record: &Record) -> Option<Slot> {
        let Slot::Worktree(id) = &record.slot else {
            return None;
        };
        let since = self
            .git
            .succeeded
            .get(id)
            .filter(|since| **since == record.since)?;
        Some(Slot::Worktree(id.succeeded(*since)))
    }

    fn push(&mut self, slot: &Slot, action: Action, why: Why, standing: Standing) {
        self.steps.push(Step {
            slot: slot.clone(),
            action,
            why,
            standing,
        });
    }

    fn record(&self, slot: &Slot) -> Option<&'a Record> {
        self.records.get(slot).copied()
    }

    fn is_in_use(&self, slot: &Slot) -> bool {
        self.used.contains(slot)
    }

    /// One from the future is not: the clock was set back since, and would have to come round again.
    fn is_young(&self, record: &Record) -> bool {
        (self.look.now - record.since).abs() < LIST_LAG
    }

    // ---- slots that a worktree uses

    fn wanted(&mut self, slot: &Slot, worktree: &Worktree) {
        let Some(record) = self.record(slot) else {
            return self.begin(slot, worktree);
        };
        if record.reap_after.is_some() {
            self.push(slot, Action::MarkPresent, Why::BackAgain, Standing::Pending);
        }
        let remote = self.observed.branches.get(&record.branch);
        match (record.state, remote) {
            (RecordState::Intent, Some(remote)) => self.settle_intent(record, remote),
            (RecordState::Intent, None) => self.create(slot, &record.branch, Why::IntentUnanswered),
            (RecordState::Owned, None) if self.is_young(record) => {
                self.push(slot, Action::Keep, Why::TooYoungToMiss, Standing::Pending);
            }
            (RecordState::Owned | RecordState::Adopted | RecordState::Quarantined, None) => {
                self.create(slot, &record.branch, Why::Lapsed);
            }
            (RecordState::Quarantined, Some(_)) => {
                self.push(slot, Action::Keep, Why::Replaced, Standing::Blocked);
            }
            (RecordState::Owned, Some(remote)) if is_other(record, remote) => {
                self.push(slot, Action::Quarantine, Why::Replaced, Standing::Blocked);
            }
            (RecordState::Adopted, Some(remote)) if is_other(record, remote) => {
                // Its owner made it anew; what we adopted is the name.
                let (branch, uid) = (remote.id.clone(), remote.uid.clone());
                self.push(
                    slot,
                    Action::Adopt { branch, uid },
                    Why::NameExists,
                    Standing::Pending,
                );
            }
            (RecordState::Owned | RecordState::Adopted, Some(remote)) => self.tend(record, remote),
        }
    }

    /// A slot without a record: choose a name, and make or adopt the branch.
    fn begin(&mut self, slot: &Slot, worktree: &Worktree) {
        let label = self.label(slot, worktree);
        let is_taken = |id: &BranchId| {
            self.look.taken.contains(id) || self.chosen.contains(id) || self.recorded.contains(id)
        };
        let name = naming::choose(self.look.user_name, &label, self.look.repository, slot, is_taken);
        let existing = self.observed.branches.get(&name);
        match (existing, self.look.policy.on_existing) {
            (None, _) => self.create(slot, &name, Why::NewSlot),
            (Some(remote), OnExisting::Adopt) => {
                self.chosen.insert(name.clone());
                let uid = remote.uid.clone();
                self.push(
                    slot,
                    Action::Adopt { branch: name, uid },
                    Why::NameExists,
                    Standing::Pending,
                );
            }
            (Some(_), OnExisting::Separate) => {
                let is_taken = |id: &BranchId| is_taken(id) || self.observed.branches.contains_key(id);
                let name = naming::choose_separate(
                    self.look.user_name,
                    &label,
                    self.look.repository,
                    slot,
                    is_taken,
                );
                self.create(slot, &name, Why::NameExists);
            }
        }
    }

    fn label<'b>(&'b self, slot: &'b Slot, worktree: &'b Worktree) -> Label<'b> {
        match slot {
            Slot::Ref(name) => Label::GitBranch(name.short()),
            Slot::Worktree(_) => Label::Detached {
                main_git_branch: self.git.main_branch.as_ref().map(crate::ids::GitRef::short),
                worktree_dir: &worktree.dir_name,
            },
        }
    }

    fn create(&mut self, slot: &Slot, branch: &BranchId, why: Why) {
        self.chosen.insert(branch.clone());
        if let Some(error) = self.look.backing_off.get(slot) {
            return self.push(
                slot,
                Action::Keep,
                Why::BackingOff(error.clone()),
                Standing::Failing,
            );
        }
        match self.source(slot) {
            Source::NotYet(why) => self.push(slot, Action::Keep, why, Standing::Pending),
            Source::Never(why) => self.push(slot, Action::Keep, why, Standing::Blocked),
            Source::From(source) => self.push_create(slot, branch, source, why),
            Source::FromHeld(parent) => {
                if self.held.insert(&parent.slot) {
                    self.push(&parent.slot, Action::Hold, Why::ChildrenNeedIt, Standing::Ready);
                }
                self.push_create(slot, branch, parent.branch.clone(), why);
            }
        }
    }

    fn push_create(&mut self, slot: &Slot, branch: &BranchId, source: BranchId, why: Why) {
        let action = Action::Create {
            branch: branch.clone(),
            source,
            ttl: self.look.policy.ttl,
        };
        self.push(slot, action, why, Standing::Pending);
    }

    /// An intent whose branch exists: ours if it is what we asked for, when we asked for it.
    fn settle_intent(&mut self, record: &Record, remote: &RemoteBranch) {
        let slot = &record.slot;
        match (&remote.uid, &remote.state) {
            // Whose it is can only be told once it has a uid.
            (None, RemoteState::Transitional(state)) => {
                let why = Why::NotReadyYet(state.clone());
                self.push(slot, Action::Keep, why, Standing::Pending);
            }
            (Some(uid), _) if record.is_met_by(remote) => {
                self.push(
                    slot,
                    Action::Own { uid: uid.clone() },
                    Why::IntentConfirmed,
                    Standing::Pending,
                );
            }
            (uid, _) => {
                let action = Action::Adopt {
                    branch: remote.id.clone(),
                    uid: uid.clone(),
                };
                self.push(slot, action, Why::NameExists, Standing::Pending);
            }
        }
    }

    /// A branch in use: wait for it, or look after its lease.
    fn tend(&mut self, record: &Record, remote: &RemoteBranch) {
        let slot = &record.slot;
        match &remote.state {
            RemoteState::Ready => {}
            RemoteState::DataMissing => {
                return self.push(slot, Action::Keep, Why::DataMissing, Standing::Blocked);
            }
            RemoteState::Transitional(state) => {
                let why = Why::NotReadyYet(state.clone());
                return self.push(slot, Action::Keep, why, Standing::Pending);
            }
        }
        if let Some(error) = self.look.backing_off.get(slot) {
            return self.push(
                slot,
                Action::Keep,
                Why::BackingOff(error.clone()),
                Standing::Ready,
            );
        }
        let (action, why) = self.lease_step(record, remote);
        self.push(slot, action, why, Standing::Ready);
    }

    fn lease_step(&self, record: &Record, remote: &RemoteBranch) -> (Action, Why) {
        let ttl = self.look.policy.ttl.filter(|_| !record.is_kept);
        match (ttl, remote.expire_time) {
            (Some(ttl), Some(expire_time)) if self.is_given_back(record) => {
                let expire_time = lease::renewed(expire_time, ttl, self.look.now);
                (Action::Release { expire_time }, Why::LastChildGone)
            }
            (Some(ttl), Some(expire_time)) => {
                let due = lease::renew_at(expire_time, ttl, Jitter::of(remote.id.as_str()));
                let renewed = lease::renewed(expire_time, ttl, self.look.now);
                if self.look.now < due || renewed == expire_time {
                    (Action::Keep, Why::InUse)
                } else {
                    (Action::Renew { expire_time: renewed }, Why::RenewalDue)
                }
            }
            (Some(_), None) => self.release_step(record).unwrap_or((Action::Keep, Why::InUse)),
            (None, Some(_)) if record.state == RecordState::Owned => (Action::Hold, Why::NoExpiryWanted),
            (None, _) if record.is_kept => (Action::Keep, Why::Kept),
            (None, _) => (Action::Keep, Why::InUse),
        }
    }

    /// A held lease that runs again: what was done is only to be written down. Until it is, we would take a branch that
    /// somebody else keeps without expiration for one that we hold.
    fn is_given_back(&self, record: &Record) -> bool {
        record.lease_held && !self.is_awaited_parent(record)
    }

    /// Gives a held lease back when nothing forks from the branch and nothing is about to.
    fn release_step(&self, record: &Record) -> Option<(Action, Why)> {
        let ttl = self.look.policy.ttl?;
        if !record.lease_held || record.is_kept {
            return None;
        }
        if self.observed.has_children(&record.branch) || self.is_awaited_parent(record) {
            return Some((Action::Keep, Why::ChildrenNeedIt));
        }
        Some((
            Action::Release {
                expire_time: self.look.now + ttl,
            },
            Why::LastChildGone,
        ))
    }
}

fn is_other(record: &Record, remote: &RemoteBranch) -> bool {
    match (&record.uid, &remote.uid) {
        (Some(ours), Some(theirs)) => ours != theirs,
        (None, _) | (_, None) => false,
    }
}

impl Plan {
    /// The steps that do something, by slot, for tests and logs.
    pub fn actions(&self) -> BTreeMap<&Slot, Vec<&Action>> {
        let mut by_slot: BTreeMap<&Slot, Vec<&Action>> = BTreeMap::new();
        if let Self::Steps(steps) = self {
            for step in steps.iter().filter(|step| step.action != Action::Keep) {
                by_slot.entry(&step.slot).or_default().push(&step.action);
            }
        }
        by_slot
    }
}

#[cfg(test)]
mod tests;

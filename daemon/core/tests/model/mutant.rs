//! Bugs planted on purpose. Each removes one guard by bending what goes into the core, or what comes out of it, so that
//! the core itself stays as it ships. A model that lets one of them live is worth nothing.

use daemon_core::ids::{BranchId, BranchUid};
use daemon_core::state::{Observed, Policy, Record, RecordState};
use std::collections::BTreeSet;

/// One planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A branch under our name is ours, whatever its uid.
    AnyUid,
    /// A list that failed is an empty list.
    FailedListIsEmpty,
    /// A list that broke off is the whole list.
    HalfListIsWhole,
    /// A repository that cannot be read has no worktrees.
    UnreadableIsEmpty,
    /// One look proves that a slot is gone.
    OneLook,
    /// A slot that is gone needs no grace.
    NoGrace,
    /// A mark is believed, whatever the clock did since.
    AnyClock,
    /// The branch is not read again before the delete.
    NoSecondRead,
    /// Nor before its lease is moved.
    BlindRenewal,
    /// What we adopted is ours.
    AdoptedIsOwned,
    /// The request to create goes out before the intent is written.
    NoIntent,
    /// Branches have no children.
    NoChildren,
    /// A branch is neither default nor protected.
    NothingIsSpecial,
    /// Nobody locks worktrees.
    NoLocks,
    /// A renewal sets half of a lease.
    HalfLease,
    /// That a lease is held for the children is not written down.
    HeldUnwritten,
    /// Names of other repositories are free.
    NothingTaken,
    /// Records of another service are good here.
    AnyOrigin,
    /// A word to delete a branch counts also when a worktree uses it.
    WordForAll,
    /// A ledger that was lost needs no confirmation.
    Confirmed,
    /// What a person keeps is like any other.
    NothingIsKept,
    /// A record of any kind is taken for a request that was not answered.
    KnownIsAsked,
    /// A request that was refused is taken for one that was not answered.
    RefusalIsForgotten,
}

impl Mutant {
    /// Bends what the plan is made from.
    pub(crate) fn bend(
        self,
        records: &mut [Record],
        observed: &mut Observed,
        policy: &mut Policy,
        taken: &mut BTreeSet<BranchId>,
    ) {
        match self {
            Self::AnyUid => {
                for record in records {
                    if let Some(remote) = observed.branches.get(&record.branch) {
                        record.uid.clone_from(&remote.uid);
                    }
                }
            }
            Self::OneLook => {
                for record in records {
                    record.reap_after.get_or_insert(record.since);
                }
            }
            Self::NoGrace => policy.reap_grace = chrono::TimeDelta::zero(),
            Self::AdoptedIsOwned => {
                for record in records.iter_mut().filter(|r| r.state == RecordState::Adopted) {
                    record.state = RecordState::Owned;
                }
            }
            Self::NoChildren => {
                for source in observed.branches.values_mut().filter_map(|b| b.source.as_mut()) {
                    if source.as_str().starts_with("jane-") {
                        *source = BranchId::new("production");
                    }
                }
            }
            Self::NothingIsSpecial => {
                for branch in observed.branches.values_mut() {
                    (branch.is_default, branch.is_protected) = (false, false);
                }
            }
            Self::NoLocks => {
                for record in records {
                    record.was_locked = false;
                }
            }
            Self::NothingIsKept => {
                for record in records {
                    record.is_kept = false;
                }
            }
            Self::NothingTaken => taken.clear(),
            Self::FailedListIsEmpty
            | Self::HalfListIsWhole
            | Self::UnreadableIsEmpty
            | Self::AnyClock
            | Self::NoSecondRead
            | Self::BlindRenewal
            | Self::NoIntent
            | Self::HalfLease
            | Self::HeldUnwritten
            | Self::WordForAll
            | Self::Confirmed
            | Self::KnownIsAsked
            | Self::RefusalIsForgotten
            | Self::AnyOrigin => {}
        }
    }

    /// Bends what the last read before a delete shows.
    pub(crate) fn bend_read(self, fresh: &mut daemon_core::state::RemoteBranch, planned: Option<&BranchUid>) {
        match self {
            Self::AnyUid => fresh.uid = planned.cloned(),
            Self::NothingIsSpecial => (fresh.is_default, fresh.is_protected) = (false, false),
            _ => {}
        }
    }
}

//! What a plan is made of: steps with final values.

use crate::Timestamp;
use crate::ids::{BranchId, BranchUid, Slot};
use crate::permit::DeletePermit;
use crate::why::Why;
use chrono::TimeDelta;

/// One step about one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Whose branch it is about.
    pub slot: Slot,
    /// What is to be done.
    pub action: Action,
    /// Why this, or why nothing.
    pub why: Why,
    /// How the slot's branch stands before the step is done.
    pub standing: Standing,
}

/// How a slot's branch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It can be used.
    Ready,
    /// It is still to come.
    Pending,
    /// The last attempt failed; another one comes.
    Failing,
    /// Only a person can help.
    Blocked,
    /// No worktree uses it.
    Unused,
}

/// What is to be done about a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep,
    /// Write an intent, then ask the service to fork the branch.
    Create {
        /// Its name.
        branch: BranchId,
        /// What it forks from.
        source: BranchId,
        /// Its lease; `None`: no expiration.
        ttl: Option<TimeDelta>,
    },
    /// Record a branch that was there before us.
    Adopt {
        /// Its name.
        branch: BranchId,
        /// Its uid.
        uid: Option<BranchUid>,
    },
    /// Record that an intent did make this branch.
    Own {
        /// Its uid.
        uid: BranchUid,
    },
    /// Push the lease forward.
    Renew {
        /// Its new end.
        expire_time: Timestamp,
    },
    /// Take the expiration off, and record that we hold the lease.
    Hold,
    /// Put an expiration on a branch whose lease we held.
    Release {
        /// The end of its lease.
        expire_time: Timestamp,
    },
    /// Record that the slot was found absent.
    MarkAbsent {
        /// When a later look that still finds it absent proves it gone.
        reap_after: Timestamp,
    },
    /// Move the record to another slot: the git branch got another name, or another worktree that of its worktree. The branch
    /// keeps its own.
    Rename {
        /// The slot of today, which has no record.
        to: Slot,
    },
    /// Record that the slot is there again.
    MarkPresent,
    /// Delete the branch, softly.
    Reap(DeletePermit),
    /// Drop the record: nothing of ours is left.
    Forget,
    /// Record that another branch has the name, and leave it alone from now on.
    Quarantine,
    /// Record that the branch is kept for good, and take its expiration off.
    KeepForGood,
    /// Record that the branch is looked after again.
    GiveBack,
}

//! Why a step of a plan is as it is. One enum for `status`, the log, the event list and the tests.

use crate::ids::BranchId;
use crate::permit::Refusal;
use std::fmt;

/// The reason of a step; also of one that does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A worktree uses the branch, and its lease is fresh.
    InUse,
    /// A worktree has no branch yet.
    NewSlot,
    /// The wanted name exists and is not ours.
    NameExists,
    /// A request whose answer was lost did make the branch.
    IntentConfirmed,
    /// A request whose answer was lost made nothing.
    IntentUnanswered,
    /// The branch was ours and the service has it no longer.
    Lapsed,
    /// The service does not list a branch that is seconds old; its list may lag.
    TooYoungToMiss,
    /// The service is still busy with the branch.
    NotReadyYet(String),
    /// Half of the lease is over.
    RenewalDue,
    /// The parent's branch must be there first.
    ParentNotReady,
    /// A branch with an expiration cannot have children.
    ChildrenNeedIt,
    /// The last child is gone, so the lease can run again.
    LastChildGone,
    /// The configuration asks for branches that do not expire.
    NoExpiryWanted,
    /// The git branch or worktree exists, but is checked out nowhere or on another: its lease is left to run out.
    NotCheckedOut,
    /// The slot was not there at this look.
    SlotGone,
    /// The slot was not there again, and has been gone for long enough.
    StillGone,
    /// The slot is gone, but the branch must stay.
    Stays(Refusal),
    /// The slot was found absent before and is there again.
    BackAgain,
    /// The git branch has another name now.
    Renamed,
    /// The worktree was removed, and another one has its name now.
    Succeeded,
    /// Another branch carries the name now.
    Replaced,
    /// The service has no data of the branch.
    DataMissing,
    /// The service has no data of the branch to fork from.
    SourceDataMissing(BranchId),
    /// The branch to fork from does not exist.
    SourceMissing(BranchId),
    /// The branch to fork from has an expiration, so it cannot have children.
    SourceExpires(BranchId),
    /// HEAD of the worktree could not be read.
    HeadUnknown(String),
    /// The last attempt failed; the next one comes by itself.
    BackingOff(String),
    /// Neither slot nor branch is left.
    NothingLeft,
    /// A person asked for it.
    Asked,
    /// A person asked for it, but it may not be.
    AskedInVain(Refusal),
    /// Somebody asked to keep it for good.
    Kept,
    /// The ledger was lost or replaced by an older copy, and its records are not confirmed.
    Unconfirmed,
}

impl Why {
    /// Says whether the reason is that a slot is not there.
    pub fn is_about_absence(&self) -> bool {
        matches!(
            self,
            Self::SlotGone | Self::StillGone | Self::Stays(_) | Self::AskedInVain(_)
        )
    }

    /// What a person should do, when only a person can help.
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::Replaced => Some(
                "look at the branch in the project; delete it there if nobody needs it, and a new one is made".into(),
            ),
            Self::SourceMissing(id) => {
                Some(format!("make the branch `{id}` in the project, or set LAKEBASE_SOURCE_BRANCH to one that exists"))
            }
            Self::SourceExpires(id) => {
                Some(format!("take the expiration off `{id}`, or set LAKEBASE_SOURCE_BRANCH to a branch without one"))
            }
            Self::HeadUnknown(_) => Some("run `git status` in the worktree and mend what it says".into()),
            Self::DataMissing | Self::SourceDataMissing(_) => Some(
                "put the data back, or run `lakebase down` and `lakebased local recover`, which drops the branch".into(),
            ),
            Self::Unconfirmed => Some("run `lakebase init --recover`".into()),
            Self::InUse
            | Self::NewSlot
            | Self::NameExists
            | Self::IntentConfirmed
            | Self::IntentUnanswered
            | Self::Lapsed
            | Self::TooYoungToMiss
            | Self::NotReadyYet(_)
            | Self::RenewalDue
            | Self::ParentNotReady
            | Self::ChildrenNeedIt
            | Self::LastChildGone
            | Self::NoExpiryWanted
            | Self::NotCheckedOut
            | Self::SlotGone
            | Self::StillGone
            | Self::Stays(_)
            | Self::BackAgain
            | Self::Renamed
            | Self::Succeeded
            | Self::BackingOff(_)
            | Self::NothingLeft
            | Self::Asked
            | Self::AskedInVain(_)
            | Self::Kept => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("a worktree uses it and its lease is fresh"),
            Self::NewSlot => f.write_str("a worktree had no branch yet"),
            Self::NameExists => f.write_str("a branch of this name was there already"),
            Self::IntentConfirmed => f.write_str("the request to make it had gone through"),
            Self::IntentUnanswered => f.write_str("the request to make it had not gone through"),
            Self::Lapsed => f.write_str("the service no longer has the branch"),
            Self::TooYoungToMiss => f.write_str("it was made seconds ago and is not listed yet"),
            Self::NotReadyYet(state) => write!(f, "the service is still busy with it ({state})"),
            Self::RenewalDue => f.write_str("half of its lease is over"),
            Self::ParentNotReady => f.write_str("the branch to fork from is not ready yet"),
            Self::ChildrenNeedIt => f.write_str("branches that fork from it need it to have no expiration"),
            Self::LastChildGone => f.write_str("no branch forks from it any more"),
            Self::NoExpiryWanted => f.write_str("the configuration asks for branches without expiration"),
            Self::NotCheckedOut => f.write_str("no worktree is on it now"),
            Self::SlotGone => f.write_str("its worktree or git branch is gone"),
            Self::StillGone => f.write_str("its worktree or git branch stayed gone"),
            Self::Stays(refusal) => write!(f, "its worktree or git branch is gone, but {refusal}"),
            Self::BackAgain => f.write_str("its worktree or git branch is back"),
            Self::Renamed => f.write_str("its git branch was renamed"),
            Self::Succeeded => f.write_str("its worktree was removed, and another one has its name now"),
            Self::Replaced => f.write_str("another branch has its name now"),
            Self::DataMissing => f.write_str("its data are missing in the directory of Local Lakebase"),
            Self::SourceDataMissing(id) => write!(f, "the data of the source branch `{id}` are missing"),
            Self::SourceMissing(id) => write!(f, "the source branch `{id}` does not exist"),
            Self::SourceExpires(id) => write!(f, "the source branch `{id}` has an expiration"),
            Self::HeadUnknown(reason) => write!(f, "HEAD cannot be read: {reason}"),
            Self::BackingOff(error) => f.write_str(error),
            Self::NothingLeft => f.write_str("neither worktree nor branch is left"),
            Self::Asked => f.write_str("somebody asked for it"),
            Self::AskedInVain(refusal) => write!(f, "somebody asked to delete it, but {refusal}"),
            Self::Kept => f.write_str("somebody asked to keep it for good"),
            Self::Unconfirmed => f.write_str("the ledger was lost or replaced by an older copy"),
        }
    }
}

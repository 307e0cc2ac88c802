//! The pictures that a plan is made from: what git says, what the service says, what we recorded, what is wanted.

use crate::Timestamp;
use crate::ids::{BranchId, BranchUid, GitRef, ProjectId, RepositoryId, Slot, WorktreeId};
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};

/// What one look found. "Could not look" is never "is not there".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// The look failed, in part or in whole; the text says why.
    Unknown(String),
    /// The look succeeded.
    Present(T),
}

impl<T> Seen<T> {
    /// The same, of a reference to what was seen.
    pub fn as_ref(&self) -> Seen<&T> {
        match self {
            Self::Unknown(reason) => Seen::Unknown(reason.clone()),
            Self::Present(seen) => Seen::Present(seen),
        }
    }
}

/// Where HEAD points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// At a git branch, born or not.
    Branch(GitRef),
    /// At a commit.
    Detached(String),
    /// It could not be read.
    Unknown(String),
}

/// One worktree as its admin directory tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// Which one.
    pub id: WorktreeId,
    /// The last part of its path; what a branch is named after.
    pub dir_name: String,
    /// Where HEAD points.
    pub head: Head,
    /// `git worktree lock`.
    pub is_locked: bool,
}

impl Worktree {
    /// The slot that it asks a branch for; `None` when HEAD could not be read.
    pub fn slot(&self) -> Option<Slot> {
        match &self.head {
            Head::Branch(name) => Some(Slot::Ref(name.clone())),
            Head::Detached(_) => Some(Slot::Worktree(self.id.clone())),
            Head::Unknown(_) => None,
        }
    }
}

/// One look at a repository's git directory. Exists only when every listing in it succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitView {
    /// The worktrees, the main one first if there is one.
    pub worktrees: Vec<Worktree>,
    /// The git branch of HEAD in the common directory, even in a bare repository.
    pub main_branch: Option<GitRef>,
    /// Those of the asked-for refs that exist.
    pub refs: BTreeSet<GitRef>,
    /// Asked-for refs that are gone because `git branch -m` gave them another name: the old one, and the one of today,
    /// which exists.
    pub renamed: BTreeMap<GitRef, GitRef>,
    /// Worktrees whose removal was seen as it happened: directory and admin entry went while we watched, and the place
    /// where the directory stood is still there.
    pub removed_live: BTreeSet<WorktreeId>,
    /// Worktrees whose directory is not where it was, though nobody was seen to remove it, as when a disk is away. Some are no
    /// longer listed: git drops those that it does not find.
    pub away: BTreeSet<WorktreeId>,
    /// Worktrees that were removed and added again under their names: since when there is the record of the one before.
    pub succeeded: BTreeMap<WorktreeId, Timestamp>,
}

impl GitView {
    /// By slot, whether its branch must not be reaped even if it is found gone: its worktree is locked or out of reach.
    pub fn locks(&self) -> BTreeMap<Slot, bool> {
        let mut locks = BTreeMap::new();
        for worktree in &self.worktrees {
            locks.insert(Slot::Worktree(worktree.id.clone()), worktree.is_locked);
            locks.extend(worktree.slot().map(|slot| (slot, worktree.is_locked)));
        }
        locks.extend(self.away.iter().map(|id| (Slot::Worktree(id.clone()), true)));
        // What is seen of a worktree says nothing of the one before it.
        locks.retain(|slot, _| !matches!(slot, Slot::Worktree(id) if self.succeeded.contains_key(id)));
        locks
    }
}

/// What the service says of one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBranch {
    /// Its name.
    pub id: BranchId,
    /// Missing only in answers that break the contract; such a branch is never deleted.
    pub uid: Option<BranchUid>,
    /// Whether it can be used.
    pub state: RemoteState,
    /// The project's default branch.
    pub is_default: bool,
    /// Protected by its owner.
    pub is_protected: bool,
    /// What it was forked from; `None` for a root branch.
    pub source: Option<BranchId>,
    /// When the service will delete it; `None`: never.
    pub expire_time: Option<Timestamp>,
    /// When it was made.
    pub create_time: Option<Timestamp>,
    /// The size of its data, what it shares with its source included. For people to see.
    pub logical_size_bytes: Option<u64>,
    /// What it takes of this machine's disk by itself; `None` where nobody tells.
    pub own_size_bytes: Option<u64>,
}

/// Whether a branch can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteState {
    /// Ready, or archived, which is ready but slow to wake.
    Ready,
    /// Known to the service, which has no data of it.
    DataMissing,
    /// On its way to something; the text is the service's word.
    Transitional(String),
}

/// All living branches of a project: every page of one list, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// By name.
    pub branches: BTreeMap<BranchId, RemoteBranch>,
}

impl Observed {
    /// Says whether any branch forks from this one.
    pub fn has_children(&self, id: &BranchId) -> bool {
        self.branches
            .values()
            .any(|branch| branch.source.as_ref() == Some(id))
    }

    /// The branches whose names begin so and whose leases end first, because nobody has renewed them for longest: what a
    /// person may want to give up when there is no room.
    pub fn idle_longest(&self, prefix: &str, count: usize) -> Vec<&BranchId> {
        let expiring = self.branches.values().filter_map(|branch| {
            let is_ours = branch.id.as_str().starts_with(prefix) && !self.has_children(&branch.id);
            Some((branch.expire_time.filter(|_| is_ours)?, &branch.id))
        });
        let mut idle: Vec<_> = expiring.collect();
        idle.sort();
        idle.into_iter().take(count).map(|(_, id)| id).collect()
    }
}

/// How a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// Written before the request to create; whether the branch exists is not known.
    Intent,
    /// We made it, and know its uid.
    Owned,
    /// It was there before us.
    Adopted,
    /// Another branch carries its name now. Hands off, until a person has looked.
    Quarantined,
}

/// Our durable row about a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it belongs to.
    pub slot: Slot,
    /// Its project.
    pub project: ProjectId,
    /// The service that the project is in, as an origin. A record is acted on only there.
    pub origin: String,
    /// The chosen name.
    pub branch: BranchId,
    /// How it stands.
    pub state: RecordState,
    /// The uid it had when it became ours; `None` for an intent.
    pub uid: Option<BranchUid>,
    /// What we asked to fork it from.
    pub source: Option<BranchId>,
    /// When we wrote the intent, or adopted it.
    pub since: Timestamp,
    /// Set while we hold its lease open (no expiration) for the sake of its children.
    pub lease_held: bool,
    /// Set when its slot was found absent: when its absence counts as proven, if a later look still finds it so.
    pub reap_after: Option<Timestamp>,
    /// Whether the worktree was locked, or out of reach, when it was last seen.
    pub was_locked: bool,
    /// Somebody asked to keep the branch for good: no lease, never reaped.
    pub is_kept: bool,
}

/// How far the service's clock may be from ours when the age of a branch is judged: its times are turned into ours before, by
/// the `Date` of its answers.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// How long after its intent a request may still arrive: four times as long as anybody waits for its answer.
const UNDER_WAY: TimeDelta = TimeDelta::minutes(2);

impl Record {
    /// Says whether a branch under the recorded name is what the intent asked for, when it asked for it. What somebody else
    /// makes from the same source in those very minutes nobody can tell from it; what they make before or after is theirs.
    pub fn is_met_by(&self, remote: &RemoteBranch) -> bool {
        let asked = self.since - CLOCK_SKEW..=self.since + UNDER_WAY + CLOCK_SKEW;
        remote.source == self.source && remote.create_time.is_some_and(|made| asked.contains(&made))
    }
}

/// Where a detached worktree's branch forks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorktreeSource {
    /// From the branch of the main worktree.
    #[default]
    Parent,
    /// From `LAKEBASE_SOURCE_BRANCH`, as every other branch.
    Source,
}

/// What to do when the wanted name exists and is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExisting {
    /// Use it, renew it, never reap it.
    #[default]
    Adopt,
    /// Take a name with a suffix.
    Separate,
}

/// The rules of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What branches fork from.
    pub source_branch: BranchId,
    /// Length of a lease; `None`: branches do not expire.
    pub ttl: Option<TimeDelta>,
    /// How long a slot must be gone before its branch is reaped.
    pub reap_grace: TimeDelta,
    /// Where a detached worktree's branch forks from.
    pub worktree_source: WorktreeSource,
    /// What to do when the wanted name exists.
    pub on_existing: OnExisting,
}

/// What a person asks for about one branch. Asked once and answered by one plan; never kept for a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Delete it, unless a worktree uses it.
    Delete,
    /// Delete it although a worktree uses it; the worktree gets a new one.
    Reset,
    /// Keep it for good.
    Keep,
    /// Look after it again.
    GiveBack,
}

/// What persons ask for at one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asks {
    /// By branch.
    pub branches: BTreeMap<BranchId, Ask>,
    /// Delete every branch of ours whose slot is gone, without grace and without a limit.
    pub collect_garbage: bool,
    /// The repository is given up: delete every branch of ours, in use or not, and make none.
    pub is_leaving: bool,
}

/// How much was deleted lately, for the brake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Branches of ours in the project, all repositories together.
    pub owned: usize,
    /// Deletes in the last hour.
    pub in_last_hour: usize,
}

/// Everything that one plan is made from.
#[derive(Debug)]
pub struct Look<'a> {
    /// Which repository.
    pub repository: &'a RepositoryId,
    /// Its project.
    pub project: &'a ProjectId,
    /// The service, as an origin.
    pub origin: &'a str,
    /// What git says.
    pub git: Seen<&'a GitView>,
    /// What the service says.
    pub observed: &'a Seen<Observed>,
    /// Our records of this repository.
    pub records: &'a [Record],
    /// Names in this project that records of other repositories hold.
    pub taken: &'a BTreeSet<BranchId>,
    /// Slots that failed lately and are left alone for now, with the reason.
    pub backing_off: &'a BTreeMap<Slot, String>,
    /// What persons ask for.
    pub asks: &'a Asks,
    /// What was deleted lately.
    pub reaped: Reaped,
    /// The rules.
    pub policy: &'a Policy,
    /// Whether the ledger was lost or replaced, and its records are not confirmed yet: nothing is created or deleted.
    pub is_unconfirmed: bool,
    /// The workspace user's name (an e-mail address or an application id).
    pub user_name: &'a str,
    /// The wall time of the look.
    pub now: Timestamp,
}

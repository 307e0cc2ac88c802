//! What a recovery is decided from, and what it comes to.

use crate::Timestamp;
use crate::ids::{BranchId, ProjectId, RepositoryId, Slot};
use crate::state::{Observed, Policy, Record, RemoteBranch};
use std::collections::BTreeMap;
use std::fmt;

/// A slot that may have had a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// The slot as it is called today.
    pub slot: Slot,
    /// Whether a worktree is on it.
    pub is_in_use: bool,
    /// Whether its worktree is locked, or out of reach.
    pub is_locked: bool,
    /// Short names of the git branch, or names of the worktree's directory: that of today, then former ones.
    pub names: Vec<String>,
    /// Former slots of the same git branch.
    pub former: Vec<Slot>,
    /// When its worktree was added, where that is known. A record from before is about another worktree of that name.
    pub born: Option<Timestamp>,
    /// Moments at which a daemon would have created its branch.
    pub appeared: Vec<Timestamp>,
}

/// A record of a ledger that is not the one of last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldRecord {
    /// The record.
    pub record: Record,
    /// Name of the file that it was read from.
    pub file: String,
}

/// What is known of one repository.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its id, from which suffixes are made.
    pub id: RepositoryId,
    /// Its rules.
    pub policy: Policy,
    /// The git branch of the main worktree.
    pub main_git_branch: Option<String>,
    /// Its slots, those in use first.
    pub claimants: Vec<Claimant>,
    /// Old records of this project, the best first.
    pub records: Vec<OldRecord>,
}

/// What is known of the project that the repositories use.
#[derive(Debug, Clone)]
pub struct Project {
    /// The service, as an origin.
    pub origin: String,
    /// The project.
    pub id: ProjectId,
    /// The workspace user's name.
    pub user_name: String,
    /// Every living branch.
    pub living: Observed,
    /// Branches whose lease ran out, and that can still be undeleted.
    pub lapsed: BTreeMap<BranchId, RemoteBranch>,
    /// The wall time.
    pub now: Timestamp,
}

/// Why a branch is taken for a slot's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// An old record in this file names its uid.
    Recorded(String),
    /// Its name has a suffix that only this repository gives to this slot.
    Suffix,
    /// Its name fits, and it was created when its slot appeared.
    NameAndTime,
    /// Only its name fits.
    Name,
}

/// One branch that is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its record in the new ledger.
    pub record: Record,
    /// Why it is taken for the slot's.
    pub proof: Proof,
    /// Whether its lease ran out, so that it has to be undeleted.
    pub has_lapsed: bool,
    /// Whether a worktree is on its slot.
    pub is_in_use: bool,
}

/// What one repository gets back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Its branches.
    pub recovered: Vec<Recovered>,
    /// Slots in use for which no branch was found. Each gets a new branch.
    pub missing: Vec<Slot>,
}

/// What all repositories of a project get back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// In the order of the repositories.
    pub repositories: Vec<Recovery>,
    /// Branches of this user that belong to no slot of these repositories.
    pub left: Vec<BranchId>,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded(file) => write!(f, "its uid is recorded in `{file}`"),
            Self::Suffix => f.write_str("this repository chose its name"),
            Self::NameAndTime => f.write_str("its name fits, and it was created when its slot appeared"),
            Self::Name => f.write_str("only its name fits: another installation of yours may own it"),
        }
    }
}

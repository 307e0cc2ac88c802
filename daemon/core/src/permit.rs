//! The gate before the one dangerous verb. Whoever wants to delete a branch must hold a [`DeletePermit`], and only
//! [`may_delete`] makes one.

use crate::Timestamp;
use crate::ids::{BranchId, BranchUid, ProjectId};
use crate::state::{Observed, Record, RecordState, RemoteBranch, RemoteState};
use std::fmt;

/// Leave to delete one branch: this uid under this name, and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletePermit {
    project: ProjectId,
    branch: BranchId,
    uid: BranchUid,
}

impl DeletePermit {
    /// The project it is valid in.
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// The branch's name.
    pub fn branch(&self) -> &BranchId {
        &self.branch
    }

    /// Says whether the permit still holds for what a fresh read of the branch shows. To be asked right before the
    /// delete, because the service deletes by name and knows no condition.
    pub fn still_holds(&self, fresh: &RemoteBranch) -> Result<(), Refusal> {
        check_remote(fresh)?;
        same_uid(Some(&self.uid), fresh).map(|_| ())
    }
}

/// Why a branch must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The records may be those of another day: the ledger was lost or replaced.
    UpsertOnly,
    /// We did not make it, or do not know that we did.
    NotOwned,
    /// It is recorded for another service or project than the one looked at.
    ElsewhereRecorded,
    /// The service's branch is not the one that we made.
    OtherUid,
    /// It is the project's default branch.
    Default,
    /// It is protected.
    Protected,
    /// It is a root branch.
    Root,
    /// Other branches fork from it.
    HasChildren,
    /// It is on its way to something.
    Transitional,
    /// Its slot is not proven gone: not found absent before.
    NotProvenAbsent,
    /// Its slot is gone, but not for long enough.
    InGrace,
    /// Its worktree was locked when it was last seen.
    WasLocked,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpsertOnly => {
                "the ledger was lost or replaced, and nothing is deleted until `lakebase gc --yes`"
            }
            Self::NotOwned => "it was not made by this daemon",
            Self::ElsewhereRecorded => "it is recorded for another project",
            Self::OtherUid => "another branch has its name now",
            Self::Default => "it is the project's default branch",
            Self::Protected => "it is protected",
            Self::Root => "it is a root branch",
            Self::HasChildren => "other branches fork from it",
            Self::Transitional => "it is changing its state",
            Self::NotProvenAbsent => "its worktree was found gone only once",
            Self::InGrace => "its worktree has not been gone for long enough",
            Self::WasLocked => "its worktree was locked when last seen",
        })
    }
}

/// Where and when the question is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The project looked at.
    pub project: &'a ProjectId,
    /// The service looked at.
    pub origin: &'a str,
    /// Wall time.
    pub now: Timestamp,
    /// Whether the ledger still has to be confirmed by a person.
    pub is_upsert_only: bool,
}

/// Decides whether a branch whose slot a complete look has just found absent may be deleted.
///
/// # Errors
/// The first reason why it must stay.
pub fn may_delete(
    record: &Record,
    remote: &RemoteBranch,
    observed: &Observed,
    asked: Asked<'_>,
) -> Result<DeletePermit, Refusal> {
    if asked.is_upsert_only {
        return Err(Refusal::UpsertOnly);
    }
    if record.state != RecordState::Owned {
        return Err(Refusal::NotOwned);
    }
    if &record.project != asked.project || record.origin != asked.origin || record.branch != remote.id {
        return Err(Refusal::ElsewhereRecorded);
    }
    let uid = same_uid(record.uid.as_ref(), remote)?;
    check_remote(remote)?;
    if observed.has_children(&remote.id) {
        return Err(Refusal::HasChildren);
    }
    check_absence(record, asked.now)?;
    Ok(DeletePermit {
        project: record.project.clone(),
        branch: record.branch.clone(),
        uid,
    })
}

fn same_uid(ours: Option<&BranchUid>, remote: &RemoteBranch) -> Result<BranchUid, Refusal> {
    match (ours, &remote.uid) {
        (Some(ours), Some(theirs)) if ours == theirs => Ok(ours.clone()),
        _ => Err(Refusal::OtherUid),
    }
}

fn check_remote(remote: &RemoteBranch) -> Result<(), Refusal> {
    if remote.is_default {
        return Err(Refusal::Default);
    }
    if remote.is_protected {
        return Err(Refusal::Protected);
    }
    if remote.source.is_none() {
        return Err(Refusal::Root);
    }
    match remote.state {
        RemoteState::Ready => Ok(()),
        RemoteState::Transitional(_) => Err(Refusal::Transitional),
    }
}

fn check_absence(record: &Record, now: Timestamp) -> Result<(), Refusal> {
    if record.was_locked {
        return Err(Refusal::WasLocked);
    }
    match record.reap_after {
        None => Err(Refusal::NotProvenAbsent),
        Some(after) if now < after => Err(Refusal::InGrace),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GitRef, Slot};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).expect("in range")
    }

    /// The facts that the gate weighs, one bit each.
    #[derive(Debug, Clone, Copy)]
    #[expect(clippy::struct_excessive_bools, reason = "a truth table is made of them")]
    struct Facts {
        owned: bool,
        same_project: bool,
        same_origin: bool,
        same_name: bool,
        same_uid: bool,
        ordinary: bool,
        unprotected: bool,
        forked: bool,
        childless: bool,
        settled: bool,
        seen_absent: bool,
        grace_over: bool,
        unlocked: bool,
        ledger_confirmed: bool,
    }

    const FACTS: u32 = 14;

    fn facts(bits: u32) -> Facts {
        let bit = |n: u32| bits & (1 << n) != 0;
        Facts {
            owned: bit(0),
            same_project: bit(1),
            same_origin: bit(2),
            same_name: bit(3),
            same_uid: bit(4),
            ordinary: bit(5),
            unprotected: bit(6),
            forked: bit(7),
            childless: bit(8),
            settled: bit(9),
            seen_absent: bit(10),
            grace_over: bit(11),
            unlocked: bit(12),
            ledger_confirmed: bit(13),
        }
    }

    fn ask(facts: Facts, state: RecordState) -> Result<DeletePermit, Refusal> {
        let record = Record {
            slot: Slot::Ref(GitRef::new("refs/heads/x")),
            project: ProjectId::new(if facts.same_project { "shop" } else { "other" }),
            origin: ["https://b", "https://a"][usize::from(facts.same_origin)].into(),
            branch: BranchId::new("jane-x"),
            state,
            uid: Some(BranchUid::new("br-1")),
            source: None,
            since: at(0),
            lease_held: false,
            reap_after: facts.seen_absent.then_some(at(100)),
            was_locked: !facts.unlocked,
        };
        let remote = RemoteBranch {
            id: BranchId::new(if facts.same_name { "jane-x" } else { "jane-y" }),
            uid: Some(BranchUid::new(if facts.same_uid { "br-1" } else { "br-2" })),
            state: if facts.settled {
                RemoteState::Ready
            } else {
                RemoteState::Transitional("INIT".into())
            },
            is_default: !facts.ordinary,
            is_protected: !facts.unprotected,
            source: facts.forked.then(|| BranchId::new("production")),
            expire_time: None,
            create_time: None,
            logical_size_bytes: None,
            own_size_bytes: None,
        };
        let child = RemoteBranch {
            id: BranchId::new("child"),
            source: Some(if facts.childless {
                BranchId::new("production")
            } else {
                remote.id.clone()
            }),
            ..remote.clone()
        };
        let observed = Observed {
            branches: [remote.clone(), child]
                .into_iter()
                .map(|b| (b.id.clone(), b))
                .collect(),
        };
        let now = if facts.grace_over { at(100) } else { at(99) };
        may_delete(
            &record,
            &remote,
            &observed,
            Asked {
                project: &ProjectId::new("shop"),
                origin: "https://a",
                now,
                is_upsert_only: !facts.ledger_confirmed,
            },
        )
    }

    #[test]
    fn of_all_combinations_of_facts_only_one_opens_the_gate() {
        let all = (1 << FACTS) - 1;
        for bits in 0..=all {
            let facts = facts(bits);
            let state = if facts.owned {
                RecordState::Owned
            } else {
                RecordState::Intent
            };
            assert_eq!(ask(facts, state).is_ok(), bits == all, "{facts:?}");
        }
    }

    #[test]
    fn only_an_owned_record_opens_the_gate() {
        let good = facts((1 << FACTS) - 1);
        for state in [
            RecordState::Intent,
            RecordState::Adopted,
            RecordState::Quarantined,
        ] {
            assert_eq!(ask(good, state), Err(Refusal::NotOwned));
        }
    }

    #[test]
    fn a_branch_without_a_uid_stays() {
        let good = facts((1 << FACTS) - 1);
        let permit = ask(good, RecordState::Owned).expect("all facts speak for it");
        let fresh = RemoteBranch {
            id: BranchId::new("jane-x"),
            uid: None,
            state: RemoteState::Ready,
            is_default: false,
            is_protected: false,
            source: Some(BranchId::new("production")),
            expire_time: None,
            create_time: None,
            logical_size_bytes: None,
            own_size_bytes: None,
        };
        assert_eq!(permit.still_holds(&fresh), Err(Refusal::OtherUid));
        let same = RemoteBranch {
            uid: Some(BranchUid::new("br-1")),
            ..fresh
        };
        assert_eq!(permit.still_holds(&same), Ok(()));
        assert_eq!(
            permit.still_holds(&RemoteBranch {
                is_protected: true,
                ..same
            }),
            Err(Refusal::Protected)
        );
    }
}

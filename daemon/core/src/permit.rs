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
    /// The ledger was lost or replaced by an older copy, and its records are not confirmed.
    Unconfirmed,
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
    /// Its data are missing, and may be brought back.
    DataMissing,
    /// Its slot is not proven gone: not found absent before.
    NotProvenAbsent,
    /// Its slot is gone, but not for long enough.
    InGrace,
    /// Its worktree was locked, or out of reach, when it was last seen.
    WasLocked,
    /// Somebody asked to keep it for good.
    Kept,
    /// A worktree uses it.
    InUse,
    /// Enough branches of the project were deleted in the last hour.
    OverBudget,
    /// So many branches lost their worktrees at once that a person should look first.
    TooManyAtOnce,
}

impl Refusal {
    /// What a person who asked for the delete can do; empty when there is nothing.
    pub fn fix(self) -> &'static str {
        match self {
            Self::Kept => "run `lakebase branch keep --release` in its worktree first",
            Self::InUse => "remove the worktree, or run `lakebase branch reset` in it",
            Self::HasChildren => "remove the worktrees whose branches fork from it first",
            Self::Transitional => "try again in a moment",
            Self::DataMissing => "put them back, or run `lakebased local recover`, which drops the branch",
            Self::Protected => "take the protection off in the project, if nobody needs it",
            Self::NotOwned | Self::OtherUid => "delete it in the project, if nobody needs it",
            Self::ElsewhereRecorded | Self::Default | Self::Root => "",
            Self::Unconfirmed => "run `lakebase init --recover`",
            Self::NotProvenAbsent
            | Self::InGrace
            | Self::WasLocked
            | Self::OverBudget
            | Self::TooManyAtOnce => "run `lakebase gc --yes` if nobody needs it",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unconfirmed => "the ledger was lost or replaced by an older copy",
            Self::NotOwned => "it was not made by this daemon",
            Self::ElsewhereRecorded => "it is recorded for another project",
            Self::OtherUid => "another branch has its name now",
            Self::Default => "it is the project's default branch",
            Self::Protected => "it is protected",
            Self::Root => "it is a root branch",
            Self::HasChildren => "other branches fork from it",
            Self::Transitional => "it is changing its state",
            Self::DataMissing => "its data are missing",
            Self::NotProvenAbsent => "its worktree was found gone only once",
            Self::InGrace => "its worktree has not been gone for long enough",
            Self::WasLocked => "its worktree was locked or out of reach when last seen",
            Self::Kept => "somebody asked to keep it",
            Self::InUse => "a worktree uses it",
            Self::OverBudget => "enough branches were deleted in the last hour",
            Self::TooManyAtOnce => "many branches lost their worktrees at once; see `lakebase gc`",
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
    /// A person named this branch, or asked for all that are orphaned. That stands for the proof of absence, and for
    /// nothing else.
    pub by_person: bool,
    /// Whether the ledger was lost or replaced, and its records are not confirmed yet.
    pub is_unconfirmed: bool,
}

/// Decides whether a branch may be deleted whose slot a complete look has just found absent, or that a person named.
///
/// # Errors
/// The first reason why it must stay.
pub fn may_delete(
    record: &Record,
    remote: &RemoteBranch,
    observed: &Observed,
    asked: Asked<'_>,
) -> Result<DeletePermit, Refusal> {
    if asked.is_unconfirmed {
        return Err(Refusal::Unconfirmed);
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
    if record.is_kept {
        return Err(Refusal::Kept);
    }
    if !asked.by_person {
        check_absence(record, asked.now)?;
    }
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
        RemoteState::DataMissing => Err(Refusal::DataMissing),
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
        given_back: bool,
        ledger_confirmed: bool,
    }

    const FACTS: u32 = 15;
    /// The facts that a person's word stands for.
    const ABSENCE: u32 = 1 << 10 | 1 << 11 | 1 << 12;

    const NOT_OWNED: [RecordState; 3] = [
        RecordState::Intent,
        RecordState::Adopted,
        RecordState::Quarantined,
    ];

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
            given_back: bit(13),
            ledger_confirmed: bit(14),
        }
    }

    /// A project with the branch in it, and another one that may fork from it.
    fn beside(remote: &RemoteBranch, is_childless: bool) -> Observed {
        let child = RemoteBranch {
            id: BranchId::new("child"),
            source: Some(if is_childless {
                BranchId::new("production")
            } else {
                remote.id.clone()
            }),
            ..remote.clone()
        };
        Observed {
            branches: [remote.clone(), child]
                .into_iter()
                .map(|b| (b.id.clone(), b))
                .collect(),
        }
    }

    fn ask(facts: Facts, state: RecordState) -> Result<DeletePermit, Refusal> {
        weigh(facts, state, false)
    }

    fn weigh(facts: Facts, state: RecordState, by_person: bool) -> Result<DeletePermit, Refusal> {
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
            is_kept: !facts.given_back,
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
        let observed = beside(&remote, facts.childless);
        let now = if facts.grace_over { at(100) } else { at(99) };
        may_delete(
            &record,
            &remote,
            &observed,
            Asked {
                project: &ProjectId::new("shop"),
                origin: "https://a",
                now,
                by_person,
                is_unconfirmed: !facts.ledger_confirmed,
            },
        )
    }

    #[test]
    fn of_all_combinations_of_facts_only_one_opens_the_gate() {
        let all = (1 << FACTS) - 1;
        for bits in 0..=all {
            let facts = facts(bits);
            let states: &[RecordState] = if facts.owned {
                &[RecordState::Owned]
            } else {
                &NOT_OWNED
            };
            for state in states {
                assert_eq!(ask(facts, *state).is_ok(), bits == all, "{facts:?} {state:?}");
                let is_open = weigh(facts, *state, true).is_ok();
                assert_eq!(is_open, bits | ABSENCE == all, "by a person: {facts:?} {state:?}");
            }
        }
    }

    #[test]
    fn only_an_owned_record_opens_the_gate() {
        let good = facts((1 << FACTS) - 1);
        for state in NOT_OWNED {
            assert_eq!(ask(good, state), Err(Refusal::NotOwned));
        }
    }

    #[test]
    fn cp_09_a_branch_without_a_uid_stays() {
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

    fn without(clear: impl FnOnce(&mut Facts)) -> Result<DeletePermit, Refusal> {
        let mut facts = facts((1 << FACTS) - 1);
        clear(&mut facts);
        ask(facts, RecordState::Owned)
    }

    #[test]
    fn sec_19_a_record_of_another_service_or_project_is_not_acted_on() {
        let elsewhere = Err(Refusal::ElsewhereRecorded);
        assert_eq!(without(|facts| facts.same_origin = false), elsewhere);
        assert_eq!(without(|facts| facts.same_project = false), elsewhere);
        assert_eq!(without(|facts| facts.same_name = false), elsewhere);
    }

    #[test]
    fn sec_20_a_planted_record_of_production_opens_nothing_even_with_its_uid() {
        let production = |facts: &mut Facts| (facts.ordinary, facts.forked) = (false, false);
        assert_eq!(without(production), Err(Refusal::Default));
        assert_eq!(without(|facts| facts.forked = false), Err(Refusal::Root));
        assert_eq!(
            without(|facts| facts.unprotected = false),
            Err(Refusal::Protected)
        );
        assert_eq!(without(|facts| facts.same_uid = false), Err(Refusal::OtherUid));
    }

    /// What a fresh read shows, one bit each; every combination.
    #[test]
    fn cp_16_a_permit_holds_for_the_same_ordinary_settled_branch_and_nothing_else() {
        let permit = without(|_| {}).expect("all facts speak for it");
        for bits in 0..32_u32 {
            let bit = |n: u32| bits & (1 << n) != 0;
            let state = if bit(4) {
                RemoteState::Ready
            } else {
                RemoteState::Transitional("RESETTING".into())
            };
            let fresh = RemoteBranch {
                id: BranchId::new("jane-x"),
                uid: Some(BranchUid::new(if bit(0) { "br-1" } else { "br-2" })),
                state,
                is_default: !bit(1),
                is_protected: !bit(2),
                source: bit(3).then(|| BranchId::new("production")),
                expire_time: None,
                create_time: None,
                logical_size_bytes: None,
                own_size_bytes: None,
            };
            assert_eq!(permit.still_holds(&fresh).is_ok(), bits == 31, "{bits:b}");
        }
    }
}

//! What is taken back, by which proof, and as whose. Values in, records out.

use super::*;
use crate::ids::{BranchUid, GitRef, ProjectId, RepositoryId, WorktreeId};
use crate::state::{Observed, OnExisting, Policy, RemoteState, WorktreeSource};

const USER: &str = "jane.doe@example.com";

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_timestamp(1_000_000 + minutes * 60, 0).expect("in range")
}

fn git(name: &str) -> Slot {
    Slot::Ref(GitRef::new(format!("refs/heads/{name}")))
}

fn tree(name: &str) -> Slot {
    Slot::Worktree(WorktreeId::Linked(name.into()))
}

fn claimant(slot: Slot, name: &str) -> Claimant {
    Claimant {
        slot,
        is_in_use: true,
        is_locked: false,
        names: vec![name.into()],
        former: vec![],
        born: Some(at(0)),
        appeared: vec![at(0)],
    }
}

fn repository(id: &str, claimants: Vec<Claimant>) -> Repository {
    Repository {
        id: RepositoryId::new(id),
        policy: Policy {
            source_branch: BranchId::new("production"),
            ttl: Some(TimeDelta::hours(6)),
            reap_grace: TimeDelta::minutes(15),
            worktree_source: WorktreeSource::Parent,
            on_existing: OnExisting::Adopt,
        },
        main_git_branch: Some("main".into()),
        claimants,
        records: vec![],
    }
}

/// A branch with a lease, created one minute after its slot appeared.
fn remote(id: &str) -> RemoteBranch {
    RemoteBranch {
        id: BranchId::new(id),
        uid: Some(BranchUid::new(format!("br-{id}"))),
        state: RemoteState::Ready,
        is_default: false,
        is_protected: false,
        source: Some(BranchId::new("production")),
        expire_time: Some(at(300)),
        create_time: Some(at(1)),
        logical_size_bytes: None,
        own_size_bytes: None,
    }
}

fn project(living: Vec<RemoteBranch>, lapsed: Vec<RemoteBranch>) -> Project {
    let by_id = |remote: RemoteBranch| (remote.id.clone(), remote);
    Project {
        origin: "https://a.example".into(),
        id: ProjectId::new("shop"),
        user_name: USER.into(),
        living: Observed {
            branches: living.into_iter().map(by_id).collect(),
        },
        lapsed: lapsed.into_iter().map(by_id).collect(),
        now: at(60),
    }
}

fn old(slot: Slot, branch: &str, state: RecordState) -> OldRecord {
    OldRecord {
        file: "state.db".into(),
        record: Record {
            slot,
            project: ProjectId::new("shop"),
            origin: "https://a.example".into(),
            branch: BranchId::new(branch),
            uid: (state != RecordState::Intent).then(|| BranchUid::new(format!("br-{branch}"))),
            state,
            source: Some(BranchId::new("production")),
            since: at(1),
            lease_held: false,
            reap_after: Some(at(2)),
            was_locked: false,
            is_kept: false,
        },
    }
}

/// What one repository gets back, in short: slot, branch, whose, why.
fn told(recovery: &Recovery) -> Vec<(String, String, RecordState, Proof)> {
    let mut told: Vec<_> = recovery
        .recovered
        .iter()
        .map(|it| {
            let record = &it.record;
            let uid = record.uid.as_ref().map(BranchUid::as_str);
            assert_eq!(uid, Some(&*format!("br-{}", record.branch)));
            assert_eq!(record.reap_after, None);
            (
                record.slot.to_string(),
                record.branch.to_string(),
                record.state,
                it.proof.clone(),
            )
        })
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

fn one(project: &Project, repository: &Repository) -> Recovery {
    let mut all = recover(project, std::slice::from_ref(repository)).repositories;
    all.pop().expect("one")
}

type Change = fn(&mut RemoteBranch);

#[test]
fn lg_01_a_plain_name_is_owned_where_the_time_fits_and_adopted_where_it_does_not() {
    let slots = || vec![claimant(git("main"), "main")];
    // (change of the branch, whose it is then)
    let table: [(Change, RecordState); 7] = [
        (|_| {}, RecordState::Owned),
        (|it| it.create_time = Some(at(11)), RecordState::Adopted),
        (
            |it| it.create_time = Some(at(0) - TimeDelta::seconds(1)),
            RecordState::Adopted,
        ),
        (|it| it.create_time = None, RecordState::Adopted),
        (
            |it| it.source = Some(BranchId::new("other")),
            RecordState::Adopted,
        ),
        (|it| it.expire_time = Some(at(60 * 24)), RecordState::Adopted),
        (|it| it.is_default = true, RecordState::Adopted),
    ];
    for (number, (change, state)) in table.into_iter().enumerate() {
        let mut branch = remote("jane-doe-main");
        change(&mut branch);
        let recovery = one(&project(vec![branch], vec![]), &repository("r1", slots()));
        assert_eq!(recovery.recovered[0].record.state, state, "row {number}");
        assert!(recovery.missing.is_empty());
    }
}

#[test]
fn lg_01_a_record_goes_before_every_name() {
    let mut repository = repository("r1", vec![claimant(git("main"), "main")]);
    repository.records = vec![old(git("main"), "jane-doe-main-abcdef", RecordState::Owned)];
    let project = project(
        vec![remote("jane-doe-main"), remote("jane-doe-main-abcdef")],
        vec![],
    );
    let recoveries = recover(&project, &[repository]);
    let expected = (
        "git branch main".to_owned(),
        "jane-doe-main-abcdef".to_owned(),
        RecordState::Owned,
        Proof::Recorded("state.db".into()),
    );
    assert_eq!(told(&recoveries.repositories[0]), [expected]);
    assert_eq!(recoveries.left, [BranchId::new("jane-doe-main")]);
}

#[test]
fn lg_01_a_record_keeps_its_state_and_one_of_another_uid_counts_for_nothing() {
    for (state, becomes) in [
        (RecordState::Owned, RecordState::Owned),
        (RecordState::Adopted, RecordState::Adopted),
        (RecordState::Intent, RecordState::Owned),
    ] {
        let mut repository = repository("r1", vec![claimant(git("x"), "x")]);
        repository.records = vec![old(git("x"), "jane-doe-x", state)];
        let recovery = one(&project(vec![remote("jane-doe-x")], vec![]), &repository);
        assert_eq!(recovery.recovered[0].record.state, becomes);
    }
    let mut repository = repository("r1", vec![claimant(git("x"), "x")]);
    repository.records = vec![old(git("x"), "jane-doe-x", RecordState::Owned)];
    repository.records[0].record.uid = Some(BranchUid::new("br-earlier"));
    let late = RemoteBranch {
        create_time: Some(at(50)),
        ..remote("jane-doe-x")
    };
    let recovery = one(&project(vec![late], vec![]), &repository);
    let found = told(&recovery);
    assert_eq!((found[0].2, &found[0].3), (RecordState::Adopted, &Proof::Name));
}

#[test]
fn lg_01_names_with_a_suffix_are_this_repositorys_alone() {
    let (a, b) = (RepositoryId::new("r1"), RepositoryId::new("r2"));
    let suffixed = |id: &RepositoryId, n: usize| {
        let suffix = naming::suffixes(id, &git("main")).swap_remove(n);
        RemoteBranch {
            create_time: Some(at(40 + i64::try_from(n).expect("small"))),
            ..remote(&format!("jane-doe-main-{suffix}"))
        }
    };
    let (first, second, other) = (suffixed(&a, 0), suffixed(&a, 1), suffixed(&b, 0));
    let living = vec![first, second.clone(), other.clone(), remote("jane-doe-main")];
    let slots = || vec![claimant(git("main"), "main")];
    let repositories = [
        repository("r1", slots()),
        repository("r2", slots()),
        repository("r3", slots()),
    ];
    let recoveries = recover(&project(living, vec![]), &repositories);
    let branch = |index: usize| {
        let found = told(&recoveries.repositories[index]);
        (found[0].1.clone(), found[0].2, found[0].3.clone())
    };
    let owned = RecordState::Owned;
    assert_eq!(branch(0), (second.id.to_string(), owned, Proof::Suffix));
    assert_eq!(branch(1), (other.id.to_string(), owned, Proof::Suffix));
    assert_eq!(branch(2), ("jane-doe-main".into(), owned, Proof::NameAndTime));
}

#[test]
fn lg_01_of_two_repositories_the_one_with_the_better_proof_gets_a_name() {
    let early = Claimant {
        appeared: vec![at(-100)],
        ..claimant(git("main"), "main")
    };
    let repositories = [
        repository("r1", vec![early]),
        repository("r2", vec![claimant(git("main"), "main")]),
    ];
    let recoveries = recover(&project(vec![remote("jane-doe-main")], vec![]), &repositories);
    assert_eq!(recoveries.repositories[0].missing, [git("main")]);
    assert_eq!(told(&recoveries.repositories[1])[0].3, Proof::NameAndTime);
}

#[test]
fn lg_01_a_detached_worktree_is_found_whatever_the_main_one_is_on_now() {
    let slots = vec![claimant(tree("abc"), "abc"), claimant(tree("bc"), "bc")];
    let of_main = RemoteBranch {
        source: Some(BranchId::new("jane-doe-main")),
        ..remote("jane-doe-main-worktree-abc")
    };
    let of_other = RemoteBranch {
        create_time: Some(at(30)),
        ..remote("jane-doe-feature-x-worktree-bc")
    };
    let recovery = one(
        &project(vec![of_main, of_other], vec![]),
        &Repository {
            main_git_branch: Some("later".into()),
            ..repository("r1", slots)
        },
    );
    let found = told(&recovery);
    assert_eq!(found[0].1, "jane-doe-main-worktree-abc");
    assert_eq!(
        (found[0].2, &found[0].3),
        (RecordState::Owned, &Proof::NameAndTime)
    );
    assert_eq!(found[1].1, "jane-doe-feature-x-worktree-bc");
    assert_eq!((found[1].2, &found[1].3), (RecordState::Adopted, &Proof::Name));
}

#[test]
fn lg_01_of_several_names_without_a_proof_none_is_taken() {
    let late = |id: &str| RemoteBranch {
        create_time: Some(at(30)),
        ..remote(id)
    };
    let living = vec![late("jane-doe-a-worktree-w"), late("jane-doe-b-worktree-w")];
    let recovery = one(
        &project(living, vec![]),
        &repository("r1", vec![claimant(tree("w"), "w")]),
    );
    assert_eq!(recovery.missing, [tree("w")]);
    assert!(recovery.recovered.is_empty());
}

#[test]
fn lg_01_a_renamed_git_branch_keeps_its_branch() {
    let renamed = Claimant {
        names: vec!["new".into(), "old".into()],
        former: vec![git("old")],
        ..claimant(git("new"), "new")
    };
    let mut repository = repository("r1", vec![renamed]);
    let project = project(vec![remote("jane-doe-old")], vec![]);
    assert_eq!(told(&one(&project, &repository))[0].3, Proof::NameAndTime);
    repository.records = vec![old(git("old"), "jane-doe-old", RecordState::Owned)];
    let found = one(&project, &repository);
    assert_eq!(found.recovered[0].record.slot, git("new"));
    assert_eq!(found.missing, []);
}

#[test]
fn lg_01_a_record_of_a_worktree_that_was_removed_is_not_its_successors() {
    let again = Claimant {
        born: Some(at(30)),
        appeared: vec![at(30)],
        ..claimant(tree("w"), "w")
    };
    let mut repository = repository("r1", vec![again]);
    repository.records = vec![
        old(tree("w"), "jane-doe-main-worktree-w", RecordState::Owned),
        old(git("gone"), "jane-doe-gone", RecordState::Owned),
    ];
    let living = vec![remote("jane-doe-main-worktree-w"), remote("jane-doe-gone")];
    let recovery = one(&project(living, vec![]), &repository);
    let slots: Vec<_> = recovery.recovered.iter().map(|it| &it.record.slot).collect();
    let before = Slot::Worktree(WorktreeId::Linked("w".into()).succeeded(at(1)));
    assert_eq!(slots, [&before, &git("gone")]);
    assert!(recovery.recovered.iter().all(|it| !it.is_in_use));
    assert_eq!(recovery.missing, [tree("w")]);
}

#[test]
fn lg_01_what_lapsed_is_brought_back_for_a_slot_in_use_and_never_over_a_living_branch() {
    let lapsed = RemoteBranch {
        expire_time: Some(at(20)),
        create_time: Some(at(-500)),
        ..remote("jane-doe-main")
    };
    let main = repository("r1", vec![claimant(git("main"), "main")]);
    let recovery = one(&project(vec![], vec![lapsed.clone()]), &main);
    let found = &recovery.recovered[0];
    assert!(found.has_lapsed && found.record.state == RecordState::Owned);
    let newer = RemoteBranch {
        uid: Some(BranchUid::new("br-jane-doe-main")),
        ..remote("jane-doe-main")
    };
    let recovery = one(&project(vec![newer], vec![lapsed]), &main);
    assert!(!recovery.recovered[0].has_lapsed);
    let mut gone = repository("r1", vec![]);
    gone.records = vec![old(git("gone"), "jane-doe-gone", RecordState::Owned)];
    let recovery = one(&project(vec![], vec![remote("jane-doe-gone")]), &gone);
    assert!(recovery.recovered.is_empty());
}

#[test]
fn lg_01_a_branch_without_an_expiration_is_held_for_its_children_or_kept() {
    let open = RemoteBranch {
        expire_time: None,
        ..remote("jane-doe-main")
    };
    let child = RemoteBranch {
        source: Some(BranchId::new("jane-doe-main")),
        ..remote("jane-doe-main-worktree-w")
    };
    let main = repository("r1", vec![claimant(git("main"), "main")]);
    let flags = |living: Vec<RemoteBranch>, repository: &Repository| {
        let found = one(&project(living, vec![]), repository);
        let record = &found.recovered[0].record;
        (record.lease_held, record.is_kept)
    };
    assert_eq!(flags(vec![open.clone(), child.clone()], &main), (true, false));
    assert_eq!(flags(vec![open.clone()], &main), (false, true));
    assert_eq!(flags(vec![remote("jane-doe-main")], &main), (false, false));
    let mut kept = main.clone();
    kept.records = vec![old(git("main"), "jane-doe-main", RecordState::Owned)];
    kept.records[0].record.is_kept = true;
    assert_eq!(flags(vec![open.clone(), child], &kept), (true, true));
    assert_eq!(flags(vec![remote("jane-doe-main")], &kept), (false, false));
    let mut for_ever = main;
    for_ever.policy.ttl = None;
    assert_eq!(flags(vec![open], &for_ever), (false, false));
}

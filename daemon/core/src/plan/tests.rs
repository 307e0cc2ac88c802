//! Beliefs about the plan: values in, actions and reasons out; and a life of a repository against a model of the service.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a new action makes these tests panic, not decide"
)]

use super::*;
use crate::Timestamp;
use crate::ids::{BranchUid, GitRef, ProjectId, RepositoryId, WorktreeId};
use crate::permit::Refusal;
use crate::state::{Ask, Asks, Head, Policy, Reaped, Worktree, WorktreeSource};
use proptest::prelude::*;

const USER: &str = "jane@example.com";

fn at(hours: i64) -> Timestamp {
    Timestamp::from_timestamp(1_000_000 + hours * 3600, 0).expect("in range")
}

fn policy() -> Policy {
    Policy {
        source_branch: BranchId::new("production"),
        ttl: Some(TimeDelta::hours(6)),
        reap_grace: TimeDelta::hours(1),
        worktree_source: WorktreeSource::Parent,
        on_existing: OnExisting::Adopt,
    }
}

fn on_branch(id: WorktreeId, name: &str) -> Worktree {
    let head = Head::Branch(GitRef::new(format!("refs/heads/{name}")));
    Worktree {
        id,
        dir_name: name.into(),
        head,
        is_locked: false,
    }
}

fn detached(name: &str) -> Worktree {
    let id = WorktreeId::Linked(name.into());
    Worktree {
        id,
        dir_name: name.into(),
        head: Head::Detached("c0ffee".into()),
        is_locked: false,
    }
}

fn git(worktrees: Vec<Worktree>) -> GitView {
    let refs = worktrees.iter().filter_map(|worktree| match &worktree.head {
        Head::Branch(name) => Some(name.clone()),
        _ => None,
    });
    let refs: BTreeSet<GitRef> = refs.collect();
    GitView {
        main_branch: Some(GitRef::new("refs/heads/main")),
        refs,
        worktrees,
        renamed: BTreeMap::new(),
        ..GitView::default()
    }
}

fn remote(id: &str, source: Option<&str>, expire_time: Option<Timestamp>) -> RemoteBranch {
    RemoteBranch {
        id: BranchId::new(id),
        uid: Some(BranchUid::new(format!("br-{id}"))),
        state: RemoteState::Ready,
        is_default: source.is_none(),
        is_protected: false,
        source: source.map(BranchId::new),
        expire_time,
        create_time: Some(at(0)),
        logical_size_bytes: None,
        own_size_bytes: None,
    }
}

fn record(slot: Slot, branch: &str, state: RecordState) -> Record {
    Record {
        slot,
        project: ProjectId::new("shop"),
        origin: "local".into(),
        branch: BranchId::new(branch),
        uid: (state != RecordState::Intent).then(|| BranchUid::new(format!("br-{branch}"))),
        state,
        source: Some(BranchId::new("production")),
        since: at(0),
        lease_held: false,
        reap_after: None,
        was_locked: false,
        is_kept: false,
    }
}

fn main_slot() -> Slot {
    Slot::Ref(GitRef::new("refs/heads/main"))
}

fn wt_slot(name: &str) -> Slot {
    Slot::Worktree(WorktreeId::Linked(name.into()))
}

/// Everything of a look, owned, so that a test changes one thing.
struct World {
    git: Seen<GitView>,
    observed: Seen<Observed>,
    records: Vec<Record>,
    taken: BTreeSet<BranchId>,
    backing_off: BTreeMap<Slot, String>,
    asks: Asks,
    reaped: Reaped,
    policy: Policy,
    is_unconfirmed: bool,
    now: Timestamp,
}

impl World {
    fn new(worktrees: Vec<Worktree>, remotes: Vec<RemoteBranch>, records: Vec<Record>) -> Self {
        let remotes = std::iter::once(remote("production", None, None)).chain(remotes);
        Self {
            git: Seen::Present(git(worktrees)),
            observed: Seen::Present(Observed {
                branches: remotes.map(|b| (b.id.clone(), b)).collect(),
            }),
            records,
            taken: BTreeSet::new(),
            backing_off: BTreeMap::new(),
            asks: Asks::default(),
            reaped: Reaped::default(),
            policy: policy(),
            is_unconfirmed: false,
            now: at(1),
        }
    }

    fn plan(&self) -> Plan {
        plan(&Look {
            repository: &RepositoryId::new("r1"),
            project: &ProjectId::new("shop"),
            origin: "local",
            git: self.git.as_ref(),
            observed: &self.observed,
            records: &self.records,
            taken: &self.taken,
            backing_off: &self.backing_off,
            asks: &self.asks,
            reaped: self.reaped,
            policy: &self.policy,
            is_unconfirmed: self.is_unconfirmed,
            user_name: USER,
            now: self.now,
        })
    }

    fn steps(&self) -> Vec<Step> {
        match self.plan() {
            Plan::Steps(steps) => steps,
            Plan::Wait(reason) => panic!("the look is complete, but: {reason}"),
        }
    }

    /// What is done, in short: the action's name and what it names.
    fn doings(&self) -> Vec<String> {
        self.steps()
            .iter()
            .filter(|step| step.action != Action::Keep)
            .map(|step| short(&step.action))
            .collect()
    }

    fn why(&self, slot: &Slot) -> Why {
        self.steps()
            .into_iter()
            .rfind(|step| &step.slot == slot)
            .expect("a step about the slot")
            .why
    }
}

fn short(action: &Action) -> String {
    match action {
        Action::Keep => "keep".into(),
        Action::Create {
            branch,
            source,
            ttl: Some(_),
        } => format!("create {branch} from {source}"),
        Action::Create {
            branch,
            source,
            ttl: None,
        } => format!("create {branch} from {source} for ever"),
        Action::Adopt { branch, .. } => format!("adopt {branch}"),
        Action::Own { uid } => format!("own {uid}"),
        Action::Renew { .. } => "renew".into(),
        Action::Hold => "hold".into(),
        Action::Release { .. } => "release".into(),
        Action::MarkAbsent { .. } => "mark absent".into(),
        Action::MarkPresent => "mark present".into(),
        Action::Rename { to } => format!("rename to {to}"),
        Action::Reap(permit) => format!("reap {}", permit.branch()),
        Action::Forget => "forget".into(),
        Action::Quarantine => "quarantine".into(),
        Action::KeepForGood => "keep for good".into(),
        Action::GiveBack => "give back".into(),
    }
}

fn main_worktree() -> Worktree {
    on_branch(WorktreeId::Main, "main")
}

fn owned_main(expire_time: Option<Timestamp>) -> (RemoteBranch, Record) {
    (
        remote("jane-main", Some("production"), expire_time),
        record(main_slot(), "jane-main", RecordState::Owned),
    )
}

fn owned_wt() -> (RemoteBranch, Record) {
    let name = "jane-main-worktree-abc";
    (
        remote(name, Some("jane-main"), Some(at(9))),
        record(wt_slot("abc"), name, RecordState::Owned),
    )
}

// ---- making

#[test]
fn a_new_worktree_gets_a_branch_of_its_own_from_the_source() {
    let world = World::new(vec![main_worktree()], vec![], vec![]);
    assert_eq!(world.doings(), ["create jane-main from production"]);
}

#[test]
fn a_detached_worktree_waits_for_the_main_branch_then_forks_from_it_with_its_lease_held() {
    let mut world = World::new(vec![main_worktree(), detached("abc")], vec![], vec![]);
    assert_eq!(world.doings(), ["create jane-main from production"]);
    assert_eq!(world.why(&wt_slot("abc")), Why::ParentNotReady);

    let (branch, record) = owned_main(Some(at(7)));
    world = World::new(
        vec![main_worktree(), detached("abc"), detached("def")],
        vec![branch],
        vec![record],
    );
    assert_eq!(
        world.doings(),
        [
            "hold",
            "create jane-main-worktree-abc from jane-main",
            "create jane-main-worktree-def from jane-main"
        ]
    );
}

#[test]
fn every_branch_forks_from_the_source_when_the_configuration_says_so() {
    let mut world = World::new(vec![main_worktree(), detached("abc")], vec![], vec![]);
    world.policy.worktree_source = WorktreeSource::Source;
    assert_eq!(
        world.doings(),
        [
            "create jane-main from production",
            "create jane-main-worktree-abc from production"
        ]
    );
}

#[test]
fn a_parent_that_was_there_before_us_keeps_its_lease() {
    let adopted = record(main_slot(), "jane-main", RecordState::Adopted);
    let expiring = remote("jane-main", Some("production"), Some(at(9)));
    let mut world = World::new(
        vec![main_worktree(), detached("abc")],
        vec![expiring],
        vec![adopted.clone()],
    );
    assert_eq!(world.doings(), ["create jane-main-worktree-abc from production"]);
    let lasting = remote("jane-main", Some("production"), None);
    world = World::new(
        vec![main_worktree(), detached("abc")],
        vec![lasting],
        vec![adopted],
    );
    assert_eq!(world.doings(), ["create jane-main-worktree-abc from jane-main"]);
}

#[test]
fn two_git_branches_that_read_alike_get_two_branches() {
    let linked = |n: &str, name: &str| on_branch(WorktreeId::Linked(n.into()), name);
    let world = World::new(
        vec![linked("1", "feat/A_b"), linked("2", "feat-a-B")],
        vec![],
        vec![],
    );
    let doings = world.doings();
    assert_eq!(doings[0], "create jane-feat-a-b from production");
    assert!(
        doings[1].starts_with("create jane-feat-a-b-") && doings.len() == 2,
        "{doings:?}"
    );
}

#[test]
fn a_name_of_another_repository_is_not_shared() {
    let mut world = World::new(
        vec![main_worktree()],
        vec![remote("jane-main", Some("production"), None)],
        vec![],
    );
    world.taken = BTreeSet::from([BranchId::new("jane-main")]);
    assert!(
        world.doings()[0].starts_with("create jane-main-"),
        "{:?}",
        world.doings()
    );
}

#[test]
fn cp_11_an_existing_branch_is_adopted_or_passed_by() {
    let existing = remote("jane-main", Some("production"), None);
    let mut world = World::new(vec![main_worktree()], vec![existing], vec![]);
    assert_eq!(world.doings(), ["adopt jane-main"]);
    world.policy.on_existing = OnExisting::Separate;
    assert!(
        world.doings()[0].starts_with("create jane-main-"),
        "{:?}",
        world.doings()
    );
}

#[test]
fn without_a_source_a_person_is_asked() {
    let mut world = World::new(vec![main_worktree()], vec![], vec![]);
    world.policy.source_branch = BranchId::new("staging");
    assert_eq!(
        world.why(&main_slot()),
        Why::SourceMissing(BranchId::new("staging"))
    );
    assert!(world.doings().is_empty());
    let expiring = remote("staging", Some("production"), Some(at(9)));
    world = World {
        policy: world.policy,
        ..World::new(vec![main_worktree()], vec![expiring], vec![])
    };
    assert_eq!(
        world.why(&main_slot()),
        Why::SourceExpires(BranchId::new("staging"))
    );
}

// ---- unclear answers

#[test]
fn cp_10_an_intent_is_settled_by_what_the_service_shows() {
    let intent = record(main_slot(), "jane-main", RecordState::Intent);
    let made = remote("jane-main", Some("production"), Some(at(7)));
    let world = |remotes| World::new(vec![main_worktree()], remotes, vec![intent.clone()]);
    assert_eq!(world(vec![]).doings(), ["create jane-main from production"]);
    assert_eq!(world(vec![made.clone()]).doings(), ["own br-jane-main"]);
    let older = RemoteBranch {
        create_time: Some(at(-1)),
        ..made.clone()
    };
    assert_eq!(world(vec![older]).doings(), ["adopt jane-main"]);
    // Somebody made it long after we had given up asking.
    let later = RemoteBranch {
        create_time: Some(at(0) + TimeDelta::minutes(4)),
        ..made.clone()
    };
    assert_eq!(world(vec![later]).doings(), ["adopt jane-main"]);
    let from_elsewhere = RemoteBranch {
        source: Some(BranchId::new("staging")),
        ..made.clone()
    };
    assert_eq!(world(vec![from_elsewhere]).doings(), ["adopt jane-main"]);
    let undated = RemoteBranch {
        create_time: None,
        ..made
    };
    assert_eq!(world(vec![undated]).doings(), ["adopt jane-main"]);
}

#[test]
fn cp_21_a_branch_made_seconds_ago_is_not_made_twice_because_the_list_lags() {
    let (_, record) = owned_main(None);
    let mut world = World::new(vec![main_worktree()], vec![], vec![record]);
    world.now = at(0) + TimeDelta::seconds(59);
    assert_eq!(world.why(&main_slot()), Why::TooYoungToMiss);
    world.now = at(0) + TimeDelta::seconds(60);
    assert_eq!(world.doings(), ["create jane-main from production"]);
}

#[test]
fn cp_09_a_branch_without_a_uid_is_nobodys_until_it_has_one() {
    let intent = record(main_slot(), "jane-main", RecordState::Intent);
    let promised = RemoteBranch {
        uid: None,
        state: RemoteState::Transitional("INIT".into()),
        ..remote("jane-main", Some("production"), None)
    };
    let world = World::new(vec![main_worktree()], vec![promised], vec![intent]);
    assert_eq!(world.doings(), Vec::<String>::new());
    assert_eq!(world.why(&main_slot()), Why::NotReadyYet("INIT".into()));
}

#[test]
fn ll_16_a_branch_without_data_is_used_for_nothing_and_not_deleted() {
    let lost = RemoteBranch {
        state: RemoteState::DataMissing,
        ..remote("jane-main", Some("production"), Some(at(1)))
    };
    let owned = record(main_slot(), "jane-main", RecordState::Owned);
    let world = World::new(vec![main_worktree(), detached("a")], vec![lost], vec![owned]);
    assert_eq!(world.doings(), Vec::<String>::new());
    assert_eq!(world.why(&main_slot()), Why::DataMissing);
    let child = Slot::Worktree(WorktreeId::Linked("a".into()));
    assert_eq!(
        world.why(&child),
        Why::SourceDataMissing(BranchId::new("jane-main"))
    );
}

#[test]
fn cp_17_idle_longest_are_those_of_the_user_that_expire_first() {
    let branches = [
        remote("jane-late", Some("production"), Some(at(3))),
        remote("jane-first", Some("production"), Some(at(1))),
        remote("jane-parent", Some("production"), Some(at(0))),
        remote("jane-child", Some("jane-parent"), Some(at(2))),
        remote("jane-held", Some("production"), None),
        remote("janet-main", Some("production"), Some(at(0))),
        remote("production", None, None),
    ];
    let observed = Observed {
        branches: branches.into_iter().map(|b| (b.id.clone(), b)).collect(),
    };
    let idle = |count| {
        let idle = observed.idle_longest(&naming::prefix(USER), count);
        idle.into_iter().map(BranchId::as_str).collect::<Vec<_>>()
    };
    assert_eq!(idle(2), ["jane-first", "jane-child"]);
    assert_eq!(idle(9), ["jane-first", "jane-child", "jane-late"]);
}

#[test]
fn ck_02_a_clock_that_was_set_back_does_not_make_a_lost_branch_young_for_a_year() {
    let (_, record) = owned_main(None);
    let mut world = World::new(vec![main_worktree()], vec![], vec![record]);
    world.now = at(0) - TimeDelta::seconds(59);
    assert_eq!(world.why(&main_slot()), Why::TooYoungToMiss);
    world.now = at(0) - TimeDelta::days(365);
    assert_eq!(world.doings(), ["create jane-main from production"]);
}

#[test]
fn ck_03_after_a_sleep_longer_than_the_lease_each_branch_is_made_anew_and_none_is_deleted() {
    let (main, main_record) = owned_main(None);
    let (_, record) = owned_wt();
    let mut world = World::new(
        vec![main_worktree(), detached("abc")],
        vec![main],
        vec![main_record, record],
    );
    world.now = at(80);
    assert_eq!(
        (world.doings(), world.why(&wt_slot("abc"))),
        (
            vec!["create jane-main-worktree-abc from jane-main".to_owned()],
            Why::Lapsed
        )
    );
}

#[test]
fn cp_15_a_branch_that_somebody_deleted_is_made_anew_only_where_a_worktree_uses_it() {
    let (main, main_record) = owned_main(None);
    let (_, record) = owned_wt();
    let records = vec![main_record, record];
    let used = World::new(
        vec![main_worktree(), detached("abc")],
        vec![main.clone()],
        records.clone(),
    );
    assert_eq!(used.doings(), ["create jane-main-worktree-abc from jane-main"]);
    let unused = World::new(vec![main_worktree()], vec![main], records);
    assert_eq!(unused.doings(), ["forget"]);
}

#[test]
fn cp_06_an_incomplete_view_decides_nothing() {
    let mut world = World::new(vec![], vec![], vec![owned_main(None).1]);
    world.observed = Seen::Unknown("page 2 failed".into());
    assert_eq!(world.plan(), Plan::Wait("page 2 failed".into()));
    world = World::new(vec![], vec![], vec![owned_main(None).1]);
    world.git = Seen::Unknown("EIO".into());
    assert_eq!(world.plan(), Plan::Wait("EIO".into()));
}

#[test]
fn cp_16_another_branch_under_our_name_is_left_alone() {
    let (branch, record) = owned_main(Some(at(7)));
    let other = RemoteBranch {
        uid: Some(BranchUid::new("br-other")),
        ..branch
    };
    let world = World::new(vec![main_worktree()], vec![other.clone()], vec![record.clone()]);
    assert_eq!(world.doings(), ["quarantine"]);
    let quarantined = Record {
        state: RecordState::Quarantined,
        ..record
    };
    let world = World::new(vec![main_worktree()], vec![other], vec![quarantined]);
    assert_eq!((world.doings(), world.why(&main_slot())), (vec![], Why::Replaced));
}

#[test]
fn what_failed_lately_is_left_alone_for_now() {
    let mut world = World::new(vec![main_worktree()], vec![], vec![]);
    world.backing_off = BTreeMap::from([(main_slot(), "503".into())]);
    assert_eq!(
        (world.doings(), world.why(&main_slot())),
        (vec![], Why::BackingOff("503".into()))
    );
}

// ---- leases

#[test]
fn a_lease_is_renewed_at_half_life_and_never_before() {
    let (branch, record) = owned_main(Some(at(6)));
    let mut world = World::new(vec![main_worktree()], vec![branch], vec![record]);
    world.now = at(2);
    assert!(world.doings().is_empty());
    world.now = at(4);
    assert_eq!(world.doings(), ["renew"]);
}

#[test]
fn a_held_lease_is_given_back_when_the_last_child_is_gone() {
    let (main, record) = owned_main(None);
    let held = Record {
        lease_held: true,
        ..record
    };
    let (child, child_record) = owned_wt();
    let world = World::new(
        vec![main_worktree(), detached("abc")],
        vec![main.clone(), child],
        vec![held.clone(), child_record],
    );
    assert_eq!(
        (world.doings(), world.why(&main_slot())),
        (vec![], Why::ChildrenNeedIt)
    );
    // The child is still to be made.
    let world = World::new(
        vec![main_worktree(), detached("abc")],
        vec![main.clone()],
        vec![held.clone()],
    );
    assert_eq!(world.doings(), ["create jane-main-worktree-abc from jane-main"]);
    let world = World::new(vec![main_worktree()], vec![main], vec![held]);
    assert_eq!(world.doings(), ["release"]);
}

#[test]
fn a_held_lease_that_nobody_looks_after_is_given_back_after_the_last_child() {
    let (parent, held) = owned_main(None);
    let held = Record {
        lease_held: true,
        ..held
    };
    let ttl = Some(TimeDelta::hours(6));
    let seen = |remotes: Vec<RemoteBranch>| Observed {
        branches: remotes
            .into_iter()
            .map(|remote| (remote.id.clone(), remote))
            .collect(),
    };
    let child = remote("jane-main-worktree-wt", Some("jane-main"), Some(at(6)));
    let alone = seen(vec![parent.clone()]);
    let decide = |record: &Record, observed: &Observed| unattended(record, observed, ttl, at(1));
    let release = Unattended::Release { expire_time: at(7) };
    assert_eq!(
        decide(&held, &seen(vec![parent.clone(), child])),
        Unattended::Wait
    );
    assert_eq!(decide(&held, &alone), release);
    assert_eq!(decide(&held, &seen(vec![])), Unattended::Nothing);
    let moments_later = at(0) + TimeDelta::seconds(59);
    assert_eq!(
        unattended(&held, &seen(vec![]), ttl, moments_later),
        Unattended::Wait
    );
    assert_eq!(unattended(&held, &alone, None, at(1)), Unattended::Nothing);
    let runs = RemoteBranch {
        expire_time: Some(at(3)),
        ..parent.clone()
    };
    assert_eq!(decide(&held, &seen(vec![runs])), Unattended::Nothing);
    let theirs = RemoteBranch {
        uid: Some(BranchUid::new("br-other")),
        ..parent
    };
    assert_eq!(decide(&held, &seen(vec![theirs])), Unattended::Nothing);
    for not_ours in [
        Record {
            is_kept: true,
            ..held.clone()
        },
        Record {
            lease_held: false,
            ..held.clone()
        },
        Record {
            state: RecordState::Adopted,
            ..held
        },
    ] {
        assert_eq!(decide(&not_ours, &alone), Unattended::Nothing, "{not_ours:?}");
    }
}

#[test]
fn cp_26_a_lease_that_was_given_back_and_not_written_down_is_given_back_once_more() {
    let (main, record) = owned_main(Some(at(7)));
    let held = Record {
        lease_held: true,
        ..record
    };
    let world = World::new(vec![main_worktree()], vec![main.clone()], vec![held.clone()]);
    assert_eq!(
        world.steps()[0].action,
        Action::Release { expire_time: at(7) },
        "it is not shortened"
    );
    let mut idle = World::new(vec![], vec![main], vec![held]);
    if let Seen::Present(git) = &mut idle.git {
        git.refs.insert(GitRef::new("refs/heads/main"));
    }
    assert_eq!(idle.steps()[0].action, Action::Release { expire_time: at(7) });
}

#[test]
fn git_01_a_branch_whose_worktree_was_locked_is_not_reaped_but_ends_by_itself() {
    let (branch, record) = owned_wt();
    let locked = Record {
        was_locked: true,
        reap_after: Some(at(0)),
        ..record
    };
    let world = World::new(vec![], vec![branch.clone()], vec![locked.clone()]);
    assert_eq!(
        (world.doings(), world.why(&locked.slot)),
        (vec![], Why::Stays(Refusal::WasLocked))
    );
    let open = RemoteBranch {
        expire_time: None,
        ..branch
    };
    let held = Record {
        lease_held: true,
        ..locked
    };
    assert_eq!(World::new(vec![], vec![open], vec![held]).doings(), ["release"]);
}

#[test]
fn a_git_branch_that_is_checked_out_nowhere_lets_its_lease_run_out() {
    let slot = Slot::Ref(GitRef::new("refs/heads/old"));
    let old = record(slot.clone(), "jane-old", RecordState::Owned);
    let branch = remote("jane-old", Some("production"), Some(at(2)));
    let mut world = World::new(vec![], vec![branch], vec![old.clone()]);
    if let Seen::Present(git) = &mut world.git {
        git.refs.insert(GitRef::new("refs/heads/old"));
    }
    assert_eq!((world.doings(), world.why(&slot)), (vec![], Why::NotCheckedOut));
    world = World {
        git: world.git,
        ..World::new(vec![], vec![], vec![old])
    };
    assert_eq!(world.doings(), ["forget"]);
}

// ---- the end

#[test]
fn only_a_worktree_found_gone_twice_a_grace_apart_loses_its_branch() {
    let (branch, mut record) = owned_wt();
    let world = |record: &Record, now| World {
        now,
        ..World::new(vec![], vec![branch.clone()], vec![record.clone()])
    };
    assert_eq!(world(&record, at(1)).doings(), ["mark absent"]);
    record.reap_after = Some(at(2));
    assert_eq!(
        world(&record, at(1)).why(&record.slot),
        Why::Stays(Refusal::InGrace)
    );
    assert_eq!(world(&record, at(2)).doings(), ["reap jane-main-worktree-abc"]);
}

#[test]
fn a_removal_that_was_watched_needs_no_grace_but_still_a_second_look() {
    let (branch, mut record) = owned_wt();
    let mut world = World::new(vec![], vec![branch], vec![record.clone()]);
    if let Seen::Present(git) = &mut world.git {
        git.removed_live.insert(WorktreeId::Linked("abc".into()));
    }
    assert_eq!(world.steps()[0].action, Action::MarkAbsent { reap_after: at(1) });
    record.reap_after = Some(at(2));
    world.records = vec![record.clone()];
    assert_eq!(
        world.steps()[0].action,
        Action::MarkAbsent { reap_after: at(1) },
        "seen again, the grace is cut short"
    );
    record.reap_after = Some(at(1));
    world.records = vec![record];
    world.now = at(1) + TimeDelta::milliseconds(1);
    assert_eq!(world.doings(), ["reap jane-main-worktree-abc"]);
}

#[test]
fn a_worktree_that_is_added_again_begins_with_nothing() {
    let (main, main_record) = owned_main(None);
    let (branch, record) = owned_wt();
    let mut world = World::new(
        vec![main_worktree(), detached("abc")],
        vec![main, branch],
        vec![main_record.clone(), record.clone()],
    );
    let (id, since) = (WorktreeId::Linked("abc".into()), record.since);
    let succeeded = |world: &mut World, since| {
        if let Seen::Present(git) = &mut world.git {
            git.succeeded = BTreeMap::from([(id.clone(), since)]);
        }
    };
    succeeded(&mut world, since);
    let before = Slot::Worktree(id.succeeded(since));
    assert_eq!(world.doings(), [format!("rename to {before}")]);
    assert_eq!(world.why(&record.slot), Why::Succeeded);
    // Done, the one before is retired as what is gone, and the new one gets a branch of its own.
    let moved = Record {
        slot: before,
        ..record.clone()
    };
    world.records = vec![main_record.clone(), moved];
    let doings = world.doings();
    assert_eq!(doings.len(), 2, "{doings:?}");
    assert!(
        doings[0].starts_with("create jane-main-worktree-abc-"),
        "{doings:?}"
    );
    assert_eq!(doings[1], "mark absent");
    // A record that was made since is about the new one.
    let new = Record {
        since: since + TimeDelta::milliseconds(1),
        ..record
    };
    world.records = vec![main_record, new];
    assert!(world.doings().is_empty());
}

#[test]
fn git_02_a_worktree_out_of_reach_locks_its_branch_and_not_that_of_its_successor() {
    let id = |name: &str| WorktreeId::Linked(name.into());
    let view = GitView {
        worktrees: vec![detached("here"), detached("away"), detached("again")],
        away: [id("away"), id("pruned"), id("again")].into(),
        succeeded: BTreeMap::from([(id("again"), at(0))]),
        ..GitView::default()
    };
    let locks = view.locks();
    let lock = |name: &str| locks.get(&wt_slot(name)).copied();
    assert_eq!(lock("here"), Some(false));
    assert_eq!((lock("away"), lock("pruned")), (Some(true), Some(true)));
    assert_eq!(lock("again"), None, "what was known of the one before stays");
}

#[test]
fn a_worktree_that_comes_back_keeps_its_branch() {
    let (main, main_record) = owned_main(None);
    let (branch, record) = owned_wt();
    let gone = Record {
        reap_after: Some(at(0)),
        ..record
    };
    let world = World::new(
        vec![main_worktree(), detached("abc")],
        vec![main, branch],
        vec![main_record, gone],
    );
    assert_eq!(world.doings(), ["mark present"]);
}

#[test]
fn an_adopted_branch_is_never_reaped() {
    let (branch, record) = owned_wt();
    let adopted = Record {
        state: RecordState::Adopted,
        reap_after: Some(at(0)),
        ..record
    };
    let world = World::new(vec![], vec![branch], vec![adopted]);
    assert_eq!(world.doings(), ["forget"]);
}

#[test]
fn an_unreadable_head_may_be_on_any_git_branch() {
    let slot = Slot::Ref(GitRef::new("refs/heads/unborn"));
    let unborn = Record {
        reap_after: Some(at(0)),
        ..record(slot, "jane-unborn", RecordState::Owned)
    };
    let unreadable = Worktree {
        head: Head::Unknown("EIO".into()),
        ..detached("abc")
    };
    let branch = remote("jane-unborn", Some("production"), Some(at(9)));
    let world = World::new(vec![unreadable], vec![branch], vec![unborn]);
    assert_eq!(world.doings(), ["mark present"]);
}

// ---- what persons ask for

fn asking(world: World, branch: &str, ask: Ask) -> World {
    let branches = BTreeMap::from([(BranchId::new(branch), ask)]);
    let asks = Asks {
        branches,
        ..Asks::default()
    };
    World { asks, ..world }
}

#[test]
fn a_person_may_delete_what_no_worktree_uses_at_once() {
    let (branch, record) = owned_wt();
    let slot = record.slot.clone();
    let gone = World::new(vec![], vec![branch.clone()], vec![record.clone()]);
    let gone = asking(gone, "jane-main-worktree-abc", Ask::Delete);
    assert_eq!(gone.doings(), ["reap jane-main-worktree-abc"]);
    assert_eq!(gone.why(&slot), Why::Asked);
    let used = World::new(vec![detached("abc")], vec![branch], vec![record]);
    let used = asking(used, "jane-main-worktree-abc", Ask::Delete);
    assert_eq!(
        (used.doings(), used.why(&slot)),
        (vec![], Why::AskedInVain(Refusal::InUse))
    );
}

#[test]
fn a_reset_deletes_what_is_in_use_and_a_later_look_makes_it_anew() {
    let (main, main_record) = owned_main(None);
    let (branch, record) = owned_wt();
    let worktrees = vec![main_worktree(), detached("abc")];
    let world = World::new(worktrees.clone(), vec![main, branch], vec![main_record, record]);
    let parent = asking(world, "jane-main", Ask::Reset);
    assert_eq!(
        (parent.doings(), parent.why(&main_slot())),
        (vec![], Why::AskedInVain(Refusal::HasChildren))
    );
    let child = asking(parent, "jane-main-worktree-abc", Ask::Reset);
    assert_eq!(child.doings(), ["reap jane-main-worktree-abc"]);
}

#[test]
fn no_word_of_a_person_deletes_what_is_not_ours() {
    for state in [
        RecordState::Adopted,
        RecordState::Quarantined,
        RecordState::Intent,
    ] {
        let (branch, record) = owned_wt();
        let record = Record { state, ..record };
        let slot = record.slot.clone();
        for ask in [Ask::Delete, Ask::Reset, Ask::Keep, Ask::GiveBack] {
            let world = World::new(vec![], vec![branch.clone()], vec![record.clone()]);
            let world = asking(world, "jane-main-worktree-abc", ask);
            assert_eq!(
                (world.doings(), world.why(&slot)),
                (vec![], Why::AskedInVain(Refusal::NotOwned))
            );
        }
    }
}

#[test]
fn a_kept_branch_has_no_lease_and_is_never_reaped_until_it_is_given_back() {
    let (branch, record) = owned_wt();
    let kept = Record {
        is_kept: true,
        reap_after: Some(at(0)),
        ..record
    };
    let endless = RemoteBranch {
        expire_time: None,
        ..branch
    };
    let mut world = World::new(vec![], vec![endless], vec![kept.clone()]);
    assert_eq!(
        (world.doings(), world.why(&kept.slot)),
        (vec![], Why::Stays(Refusal::Kept))
    );
    world.asks.collect_garbage = true;
    assert_eq!(world.why(&kept.slot), Why::AskedInVain(Refusal::Kept));
    world.asks.collect_garbage = false;
    let world = asking(world, "jane-main-worktree-abc", Ask::GiveBack);
    assert_eq!(world.doings(), ["give back"]);
}

#[test]
fn what_is_asked_about_a_worktree_that_came_back_does_not_hide_that_it_did() {
    let (branch, marked) = owned_wt();
    let marked = Record {
        reap_after: Some(at(0)),
        ..marked
    };
    let (main, main_record) = owned_main(None);
    // It stands on a git branch now, so nobody uses its slot.
    let there = on_branch(WorktreeId::Linked("abc".into()), "other");
    let world = World::new(
        vec![main_worktree(), there],
        vec![main, branch],
        vec![main_record, marked.clone()],
    );
    let world = asking(world, "jane-main-worktree-abc", Ask::GiveBack);
    let steps = world.steps();
    let about: Vec<&Action> = steps
        .iter()
        .filter(|step| step.slot == marked.slot)
        .map(|step| &step.action)
        .collect();
    assert_eq!(about, [&Action::MarkPresent, &Action::Keep]);
}

#[test]
fn a_repository_that_is_given_up_loses_what_is_ours_and_gets_nothing() {
    let (main, main_record) = owned_main(None);
    let (branch, record) = owned_wt();
    let adopted = self::record(wt_slot("old"), "jane-old", RecordState::Adopted);
    let remotes = vec![main, branch, remote("jane-old", Some("production"), None)];
    let worktrees = vec![main_worktree(), detached("abc"), detached("new")];
    let mut world = World::new(worktrees, remotes, vec![main_record, record, adopted]);
    world.asks.is_leaving = true;
    assert_eq!(world.doings(), ["reap jane-main-worktree-abc", "forget"]);
    assert_eq!(world.why(&main_slot()), Why::AskedInVain(Refusal::HasChildren));
}

// ---- the brake

/// So many worktrees of ours, all gone for long.
fn orphans(gone: usize, there: usize) -> World {
    let name = |n: usize| format!("w{n}");
    let branch = |n: usize| format!("jane-main-worktree-w{n}");
    let remotes = (0..gone + there).map(|n| remote(&branch(n), Some("production"), Some(at(9))));
    let records = (0..gone + there).map(|n| Record {
        reap_after: (n < gone).then(|| at(0)),
        ..record(wt_slot(&name(n)), &branch(n), RecordState::Owned)
    });
    let worktrees = (gone..gone + there).map(|n| detached(&name(n)));
    World::new(worktrees.collect(), remotes.collect(), records.collect())
}

#[test]
fn more_than_half_gone_at_once_needs_a_persons_word() {
    assert_eq!(orphans(3, 0).doings().len(), 3);
    let mut many = orphans(4, 2);
    assert_eq!(many.doings(), [""; 0]);
    assert_eq!(many.why(&wt_slot("w0")), Why::Stays(Refusal::TooManyAtOnce));
    many.asks.collect_garbage = true;
    assert_eq!(many.doings().len(), 4);
}

#[test]
fn a_fifth_in_an_hour_is_enough() {
    let mut world = orphans(5, 20);
    world.reaped = Reaped {
        owned: 25,
        in_last_hour: 2,
    };
    assert_eq!(world.doings().len(), 3);
    assert_eq!(world.why(&wt_slot("w4")), Why::Stays(Refusal::OverBudget));
}

#[test]
fn removals_that_were_watched_are_a_persons_word() {
    let mut world = orphans(6, 0);
    if let Seen::Present(git) = &mut world.git {
        git.removed_live = (0..6).map(|n| WorktreeId::Linked(format!("w{n}"))).collect();
    }
    assert_eq!(world.doings().len(), 6);
}

fn ref_slot(name: &str) -> Slot {
    Slot::Ref(GitRef::new(format!("refs/heads/{name}")))
}

/// A worktree on `new`, which was `old` when its record was made.
fn renamed_world(records: Vec<Record>) -> World {
    let branch = remote("jane-old", Some("production"), Some(at(6)));
    let mut world = World::new(
        vec![on_branch(WorktreeId::Linked("w".into()), "new")],
        vec![branch],
        records,
    );
    if let Seen::Present(git) = &mut world.git {
        let (old, new) = (GitRef::new("refs/heads/old"), GitRef::new("refs/heads/new"));
        git.renamed.insert(old, new);
    }
    world
}

#[test]
fn git_07_the_branch_of_a_renamed_git_branch_follows() {
    let mut old = record(ref_slot("old"), "jane-old", RecordState::Owned);
    old.reap_after = Some(at(0));
    let mut world = renamed_world(vec![old.clone()]);
    assert_eq!(world.doings(), ["rename to git branch new"]);
    assert_eq!(world.why(&ref_slot("new")), Why::Renamed);
    // Checked out nowhere it follows as well.
    if let Seen::Present(git) = &mut world.git {
        git.worktrees.clear();
    }
    assert_eq!(world.doings(), ["rename to git branch new"]);
    // Done, it is tended as what it is now.
    old.slot = ref_slot("new");
    old.reap_after = None;
    assert!(renamed_world(vec![old]).doings().is_empty());
}

#[test]
fn git_07_a_slot_with_a_record_keeps_its_own_and_a_used_one_is_not_renamed() {
    let old = record(ref_slot("old"), "jane-old", RecordState::Owned);
    let new = record(ref_slot("new"), "jane-new", RecordState::Owned);
    let world = renamed_world(vec![new, old.clone()]);
    assert_eq!(world.why(&ref_slot("old")), Why::SlotGone);
    let mut world = renamed_world(vec![old]);
    if let Seen::Present(git) = &mut world.git {
        git.worktrees.push(on_branch(WorktreeId::Main, "old"));
    }
    assert!(!world.doings().iter().any(|doing| doing.starts_with("rename")));
}

#[test]
fn fs_10_nothing_is_reaped_by_a_ledger_that_nobody_has_confirmed() {
    let (branch, record) = owned_wt();
    let gone = Record {
        reap_after: Some(at(0)),
        ..record
    };
    let mut world = World::new(vec![], vec![branch], vec![gone]);
    assert_eq!(world.doings(), ["reap jane-main-worktree-abc"]);
    world.is_unconfirmed = true;
    assert!(world.doings().is_empty());
    assert_eq!(world.why(&wt_slot("abc")), Why::Stays(Refusal::Unconfirmed));
}

/// What a confirmed ledger does, how the slot stands with an unconfirmed one, and what that does.
fn check_unconfirmed(mut world: World, confirmed: &str, standing: Standing, unconfirmed: &[&str]) {
    assert_eq!(world.doings(), [confirmed]);
    world.is_unconfirmed = true;
    assert_eq!(world.doings(), unconfirmed, "instead of: {confirmed}");
    assert_eq!(world.steps()[0].standing, standing, "{confirmed}");
}

#[test]
fn lg_02_a_worktree_without_its_branch_waits_for_the_user() {
    let (branch, owned) = owned_wt();
    let world = |remotes, records| World::new(vec![detached("abc")], remotes, records);
    let create = "create jane-main-worktree-abc from production";
    check_unconfirmed(world(vec![], vec![]), create, Standing::Blocked, &[]);
    let missing = Record {
        since: at(-5),
        ..owned.clone()
    };
    check_unconfirmed(world(vec![], vec![missing]), create, Standing::Blocked, &[]);
    let adopt = "adopt jane-main-worktree-abc";
    check_unconfirmed(world(vec![branch.clone()], vec![]), adopt, Standing::Blocked, &[]);
    let other = Record {
        uid: Some(BranchUid::new("br-other")),
        ..owned
    };
    check_unconfirmed(
        world(vec![branch], vec![other]),
        "quarantine",
        Standing::Blocked,
        &[],
    );
}

#[test]
fn lg_02_a_recorded_branch_is_renewed_and_nothing_is_given_up() {
    let (branch, owned) = owned_wt();
    let world = |remote, record| World::new(vec![detached("abc")], vec![remote], vec![record]);
    let due = RemoteBranch {
        expire_time: Some(at(2)),
        ..branch.clone()
    };
    check_unconfirmed(world(due, owned.clone()), "renew", Standing::Ready, &["renew"]);
    let open = RemoteBranch {
        expire_time: None,
        ..branch
    };
    let held = Record {
        lease_held: true,
        ..owned.clone()
    };
    check_unconfirmed(world(open, held), "release", Standing::Ready, &[]);
    let name = "jane-main-worktree-gone";
    let gone = record(wt_slot("gone"), name, RecordState::Owned);
    let remote = remote(name, Some("production"), Some(at(9)));
    let absent = World::new(vec![], vec![remote], vec![gone.clone()]);
    check_unconfirmed(absent, "mark absent", Standing::Unused, &[]);
    check_unconfirmed(
        World::new(vec![], vec![], vec![gone]),
        "forget",
        Standing::Unused,
        &[],
    );
}

#[test]
fn lg_02_a_worktree_whose_parent_is_not_known_waits_for_the_user() {
    let mut world = World::new(vec![main_worktree(), detached("abc")], vec![], vec![]);
    world.is_unconfirmed = true;
    assert_eq!(world.doings(), Vec::<String>::new());
    for slot in [main_slot(), wt_slot("abc")] {
        assert_eq!(world.why(&slot), Why::Unconfirmed);
    }
    assert!(
        world
            .steps()
            .iter()
            .all(|step| step.standing == Standing::Blocked)
    );
}

// ---- a life

/// A service that does what it is asked, and panics when it is asked for a delete of what is not ours.
struct Model {
    world: World,
    ours: BTreeSet<BranchUid>,
    made: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            world: World::new(vec![main_worktree()], vec![], vec![]),
            ours: BTreeSet::new(),
            made: 0,
        }
    }

    fn branches(&mut self) -> &mut BTreeMap<BranchId, RemoteBranch> {
        match &mut self.world.observed {
            Seen::Present(observed) => &mut observed.branches,
            Seen::Unknown(_) => panic!("the model always sees"),
        }
    }

    fn set_worktrees(&mut self, worktrees: Vec<Worktree>) {
        self.world.git = Seen::Present(git(worktrees));
    }

    /// One pass; returns what was done.
    fn pass(&mut self) -> Vec<String> {
        let now = self.world.now;
        self.branches()
            .retain(|_, branch| branch.expire_time.is_none_or(|expire_time| expire_time > now));
        let steps = self.world.steps();
        let doings = self.world.doings();
        for step in &steps {
            self.apply(step);
        }
        doings
    }

    fn apply(&mut self, step: &Step) {
        let now = self.world.now;
        let held = self
            .world
            .records
            .iter()
            .position(|record| record.slot == step.slot);
        match &step.action {
            Action::Keep => {}
            Action::Create { branch, source, ttl } => {
                assert!(!self.branches().contains_key(branch), "{branch} is made twice");
                assert!(
                    self.branches()[source].expire_time.is_none(),
                    "{source} has an expiration"
                );
                self.made += 1;
                let uid = BranchUid::new(format!("br-{}", self.made));
                let made = RemoteBranch {
                    uid: Some(uid.clone()),
                    create_time: Some(now),
                    ..remote(branch.as_str(), Some(source.as_str()), ttl.map(|ttl| now + ttl))
                };
                self.branches().insert(branch.clone(), made);
                self.ours.insert(uid.clone());
                let record = Record {
                    uid: Some(uid),
                    source: Some(source.clone()),
                    since: now,
                    ..record(step.slot.clone(), branch.as_str(), RecordState::Owned)
                };
                self.world.records.retain(|old| old.slot != step.slot);
                self.world.records.push(record);
            }
            Action::Adopt { branch, uid } => {
                let record = Record {
                    uid: uid.clone(),
                    since: now,
                    ..record(step.slot.clone(), branch.as_str(), RecordState::Adopted)
                };
                self.world.records.retain(|old| old.slot != step.slot);
                self.world.records.push(record);
            }
            Action::Reap(permit) => {
                let gone = self.branches().remove(permit.branch()).expect("it is there");
                assert!(
                    self.ours.contains(&gone.uid.expect("it has a uid")),
                    "{} is not ours",
                    permit.branch()
                );
                assert!(
                    !self
                        .branches()
                        .values()
                        .any(|b| b.source.as_ref() == Some(permit.branch()))
                );
                self.world.records.retain(|old| old.slot != step.slot);
            }
            Action::Forget => self.world.records.retain(|old| old.slot != step.slot),
            other => self.change(held.expect("a record"), other),
        }
    }

    fn change(&mut self, index: usize, action: &Action) {
        let branch = self.world.records[index].branch.clone();
        let record = &mut self.world.records[index];
        match action {
            Action::Own { uid } => {
                record.state = RecordState::Owned;
                record.uid = Some(uid.clone());
            }
            Action::Quarantine => record.state = RecordState::Quarantined,
            Action::MarkAbsent { reap_after } => record.reap_after = Some(*reap_after),
            Action::MarkPresent => record.reap_after = None,
            Action::Hold | Action::Release { .. } | Action::Renew { .. } => {
                record.lease_held = matches!(action, Action::Hold)
                    || record.lease_held && !matches!(action, Action::Release { .. });
                let expire_time = match action {
                    Action::Renew { expire_time } | Action::Release { expire_time } => Some(*expire_time),
                    _ => None,
                };
                self.branches().get_mut(&branch).expect("it is there").expire_time = expire_time;
            }
            other => panic!("{other:?} is not about a record"),
        }
    }
}

#[test]
fn a_life_of_a_detached_worktree() {
    let mut model = Model::new();
    let mut story = vec![];
    for hour in 0..14 {
        match hour {
            1 => model.set_worktrees(vec![main_worktree(), detached("abc")]),
            8 => model.set_worktrees(vec![main_worktree()]),
            _ => {}
        }
        model.world.now = at(hour);
        for minute in [0, 30] {
            model.world.now = at(hour) + TimeDelta::minutes(minute);
            story.extend(
                model
                    .pass()
                    .into_iter()
                    .map(|doing| format!("{hour}:{minute:02} {doing}")),
            );
        }
    }
    let expected = [
        "0:00 create jane-main from production",
        "1:00 hold",
        "1:00 create jane-main-worktree-abc from jane-main",
        "4:30 renew",
        "8:00 mark absent",
        "9:00 reap jane-main-worktree-abc",
        "9:30 release",
        "13:00 renew",
    ];
    assert_eq!(story, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever worktrees come and go, and whatever strangers do to the project, no foreign branch is deleted, no branch
    /// is made twice, and what is in use in the end has a branch in the end.
    #[test]
    fn no_order_of_events_costs_a_foreign_branch(events in prop::collection::vec((0_u8..8, 0_u8..4, 1_i64..90), 1..60)) {
        let mut model = Model::new();
        let mut present = BTreeSet::new();
        for (what, which, minutes) in events {
            let name = format!("w{which}");
            let branch = BranchId::new(format!("jane-main-worktree-{name}"));
            match what {
                0..=2 => drop(present.insert(name)),
                3 => drop(present.remove(&name)),
                // A stranger deletes our branch and makes one of the same name.
                4 => {
                    let is_leaf = !model.branches().values().any(|b| b.source.as_ref() == Some(&branch));
                    if is_leaf && model.branches().contains_key(&branch) {
                        let uid = Some(BranchUid::new(format!("br-foreign-{which}")));
                        let foreign = RemoteBranch { uid, ..remote(branch.as_str(), Some("production"), None) };
                        model.branches().insert(branch, foreign);
                    }
                }
                5 => {
                    if let Some(branch) = model.branches().get_mut(&branch) {
                        branch.is_protected = true;
                    }
                }
                6 => {
                    let child = remote(&format!("foreign-child-{which}"), Some(branch.as_str()), None);
                    if model.branches().get(&branch).is_some_and(|parent| parent.expire_time.is_none()) {
                        model.branches().insert(child.id.clone(), child);
                    }
                }
                _ => drop(model.branches().remove(&BranchId::new(format!("foreign-child-{which}")))),
            }
            let linked = present.iter().map(|name| detached(name));
            model.set_worktrees(std::iter::once(main_worktree()).chain(linked).collect());
            model.world.now += TimeDelta::minutes(minutes);
            model.pass();
        }
        for _ in 0..4 {
            model.world.now += TimeDelta::minutes(5);
            model.pass();
        }
        for name in present {
            let slot = wt_slot(&name);
            let record = model.world.records.iter().find(|record| record.slot == slot).expect("recorded").clone();
            prop_assert!(model.branches().contains_key(&record.branch), "{name} has no branch");
        }
    }
}

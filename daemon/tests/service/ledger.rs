//! A ledger that is lost while its branches are on a workspace, where others may own some of them.

use crate::proxy::Fault;
use crate::rig::Rig;
use crate::world::until;
use chrono::TimeDelta;
use lakebase_proto::v1::Ownership;
use std::fs;
use std::time::Duration;

const ABC: &str = "jane-doe-main-worktree-abc";

/// The daemon without its ledger. `between` happens while it does not run.
async fn lose(rig: &mut Rig, between: impl AsyncFnOnce(&Rig)) {
    rig.world.shut_down().await;
    fs::remove_file(rig.world.path("state/state.db")).expect("removed");
    between(rig).await;
    rig.world.start().await;
}

fn recover(rig: &Rig) -> String {
    let output = rig
        .world
        .lakebase(&rig.world.main(), &["init", "--recover", "--yes"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn ownership(rig: &Rig, name: &str) -> Ownership {
    let worktree = rig.world.worktree(&rig.world.path(name)).await.expect("listed");
    worktree.branch.expect("it has one").ownership()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lg_12_branches_whose_leases_ran_out_are_undeleted() {
    let mut rig = Rig::ready().await;
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    let before = (rig.uid("jane-doe-main").await, rig.uid(ABC).await);
    lose(&mut rig, async |rig| {
        rig.clock.advance(Duration::from_hours(80));
        rig.proxy.on("", "", Fault::Date(TimeDelta::hours(80)));
        until("its lease ran out", async || rig.uid(ABC).await.is_none()).await;
    })
    .await;
    let told = recover(&rig);
    assert!(told.contains("its lease ran out, so it is undeleted"), "{told}");
    for (name, branch) in [("shop", "jane-doe-main"), ("abc", ABC)] {
        assert_eq!(rig.world.branch(&rig.world.path(name)).await, branch);
    }
    assert_eq!(ownership(&rig, "abc").await, Ownership::Owned);
    assert_eq!((rig.uid("jane-doe-main").await, rig.uid(ABC).await), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lg_13_a_branch_that_only_fits_by_its_name_is_shown_adopted_and_never_deleted() {
    let mut rig = Rig::ready().await;
    lose(&mut rig, async |rig| {
        // Another installation of the same user.
        rig.foreign(ABC).await;
        rig.add("abc");
    })
    .await;
    let theirs = rig.uid(ABC).await;
    let told = recover(&rig);
    assert!(
        told.contains("another installation of yours may own it"),
        "{told}"
    );
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    assert_eq!(ownership(&rig, "abc").await, Ownership::Adopted);
    assert_eq!(ownership(&rig, "shop").await, Ownership::Owned);
    rig.remove("abc");
    for _ in 0..3 {
        rig.world.reconcile().await;
    }
    assert_eq!(rig.uid(ABC).await, theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lg_13_a_service_that_does_not_answer_keeps_the_repository_waiting() {
    let mut rig = Rig::ready().await;
    let before = rig.uid("jane-doe-main").await;
    lose(&mut rig, async |_| {}).await;
    rig.proxy.on("GET", "projects/shop/branches", Fault::Refuse);
    let mark = rig.proxy.mark();
    let output = rig
        .world
        .lakebase(&rig.world.main(), &["init", "--recover", "--yes"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("one repository is not recovered"), "{text}");
    rig.proxy.behave();
    rig.world.reconcile().await;
    let refused = rig.world.credential(&rig.world.main()).await;
    refused.expect_err("its branches are not known");
    assert_eq!(rig.proxy.changes(mark), Vec::<String>::new());
    recover(&rig);
    assert_eq!(rig.world.branch(&rig.world.main()).await, "jane-doe-main");
    assert_eq!(rig.uid("jane-doe-main").await, before);
}

//! A project with no room left.

use crate::rig::Rig;
use crate::world::{bytes, until};
use lakebase_proto::{Reason, reason_of, v1};
use local_lakebase::Limits;
use tokio_stream::StreamExt;

const LIST: &str = "projects/shop/branches";

/// A daemon that serves a repository in a project of so many branches.
async fn with_room_for(unarchived_branches: usize) -> Rig {
    let limits = Limits {
        unarchived_branches,
        ..Limits::default()
    };
    let mut rig = Rig::new(limits).await;
    rig.world.start().await;
    rig.world.register().await;
    rig
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_17_a_full_project_says_what_is_idle_and_is_not_asked_again_and_again() {
    let rig = with_room_for(4).await;
    rig.world.branch(&rig.world.main()).await;
    for name in ["a", "b"] {
        rig.add(name);
        rig.world.branch(&rig.world.path(name)).await;
    }
    let before = rig.world.service_names().await;
    let mark = rig.proxy.mark();
    rig.add("c");
    let problem = rig.until_problem("c", "4 of 4 branches in use").await;
    let idle = "idle longest: jane-doe-main-worktree-a, jane-doe-main-worktree-b";
    assert!(problem.message.contains(idle), "{problem:?}");
    assert!(problem.fix.contains("remove worktrees"), "{problem:?}");

    let seen = rig.proxy.mark();
    until("passes go by", async || {
        rig.credential(&rig.world.main(), true).await.expect("ready");
        rig.proxy.count(seen, "GET", LIST) >= 5
    })
    .await;
    assert_eq!(rig.proxy.count(mark, "POST", LIST), 1, "no storm");
    assert_eq!(rig.world.service_names().await, before, "it made room by itself");

    rig.remove("a");
    until("the room that is made is taken", async || {
        rig.world
            .service_names()
            .await
            .iter()
            .any(|name| name == "jane-doe-main-worktree-c")
    })
    .await;
    assert_eq!(
        rig.world.branch(&rig.world.path("c")).await,
        "jane-doe-main-worktree-c"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_17_who_follows_a_credential_is_told_that_the_worktree_left_it_for_no_other() {
    let rig = with_room_for(3).await;
    let dir = rig.world.path("a");
    rig.world.git(&["worktree", "add", "-q", "-b", "one", "../a"]);
    rig.world.branch(&rig.world.main()).await;
    let follow = async || {
        let request = v1::WatchCredentialRequest { path: bytes(&dir) };
        let called = rig.world.client().await.watch_credential(request).await;
        called.expect("followed").into_inner()
    };
    let branch_of = |told: Option<Result<v1::Credential, tonic::Status>>| {
        let credential = told.expect("no end").expect("a credential");
        credential.branch.expect("named").branch_id
    };
    let mut stream = follow().await;
    assert_eq!(branch_of(stream.next().await), "jane-doe-one");

    rig.world.git_in(&dir, &["switch", "-q", "-c", "two"]);
    let refused = stream.next().await.expect("no end").expect_err("no branch");
    assert_eq!(reason_of(&refused), Some(Reason::NotReady), "{refused:?}");
    assert!(
        refused.message().contains("3 of 3 branches in use"),
        "{refused:?}"
    );
    assert!(stream.next().await.is_none());

    let mut stream = follow().await;
    rig.world.git_in(&dir, &["switch", "-q", "one"]);
    assert_eq!(branch_of(stream.next().await), "jane-doe-one");
}

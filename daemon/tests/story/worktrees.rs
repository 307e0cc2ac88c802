//! Worktrees that come, move and go, and the branches that do with them.

use crate::credentials::query;
use crate::world::{PATIENCE, World, until, until_within};
use chrono::TimeDelta;
use lakebase_api::{BranchSpec, ProtoDuration};
use lakebase_proto::v1;
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn each_worktree_gets_a_branch_by_the_convention() {
    let world = World::started().await;
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    world.git(&["worktree", "add", "-q", "-b", "feature/x", "../x"]);
    assert_eq!(world.branch(&world.main()).await, "jane-doe-main");
    assert_eq!(
        world.branch(&world.path("abc")).await,
        "jane-doe-main-worktree-abc"
    );
    assert_eq!(world.branch(&world.path("x")).await, "jane-doe-feature-x");
    let source =
        |worktree: Option<v1::Worktree>| worktree.and_then(|w| w.branch).expect("ready").source_branch;
    assert_eq!(
        source(world.worktree(&world.path("abc")).await),
        "projects/shop/branches/jane-doe-main"
    );
    assert_eq!(
        source(world.worktree(&world.path("x")).await),
        "projects/shop/branches/production"
    );
}

#[tokio::test]
async fn a_removed_worktree_takes_its_branch_along_and_no_other() {
    let world = World::started().await;
    for name in ["removed", "deleted", "kept"] {
        world.git(&["worktree", "add", "-q", "--detach", &format!("../{name}")]);
        world.branch(&world.path(name)).await;
    }
    // Its entry is still there: nobody said that it is gone for good.
    fs::remove_dir_all(world.path("deleted")).expect("removed");
    world.git(&["worktree", "remove", "--force", "../removed"]);
    until("its branch is deleted", async || {
        !world
            .service_names()
            .await
            .contains(&"jane-doe-main-worktree-removed".to_owned())
    })
    .await;
    world.reconcile().await;
    assert_eq!(
        world.service_names().await,
        [
            "jane-doe-main",
            "jane-doe-main-worktree-deleted",
            "jane-doe-main-worktree-kept",
            "production"
        ]
    );
}

#[tokio::test]
async fn a_worktree_added_again_gets_a_fresh_branch() {
    let world = World::started().await;
    for round in 0..3 {
        world.git(&["worktree", "add", "-q", "--detach", "../w"]);
        let credential = world.credential(&world.path("w")).await.expect("ready");
        query(credential, "CREATE TABLE mine (n int)")
            .await
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        world.git(&["worktree", "remove", "--force", "../w"]);
        until("its branch is deleted", async || {
            world.service_names().await.len() == 2
        })
        .await;
    }
}

#[tokio::test]
async fn another_git_branch_is_another_branch_and_back_again() {
    let world = World::started().await;
    world.git(&["worktree", "add", "-q", "-b", "one", "../w"]);
    let dir = world.path("w");
    query(
        world.credential(&dir).await.expect("ready"),
        "CREATE TABLE on_one (n int)",
    )
    .await
    .expect("made");
    world.git_in(&dir, &["switch", "-q", "-c", "two"]);
    assert_eq!(world.branch(&dir).await, "jane-doe-two");
    let look = "SELECT coalesce(to_regclass('on_one')::text, 'none')";
    assert_eq!(
        query(world.credential(&dir).await.expect("ready"), look)
            .await
            .expect("answered"),
        "none"
    );
    world.git_in(&dir, &["switch", "-q", "one"]);
    assert_eq!(world.branch(&dir).await, "jane-doe-one");
    assert_eq!(
        query(world.credential(&dir).await.expect("ready"), look)
            .await
            .expect("answered"),
        "on_one"
    );
}

#[tokio::test]
async fn cp_11_a_branch_that_was_there_before_is_adopted_and_stays() {
    let world = World::started().await;
    world.branch(&world.main()).await;
    let spec = BranchSpec {
        source_branch: Some(World::branch_name("production")),
        ttl: Some(ProtoDuration::from(Duration::from_hours(1))),
        ..BranchSpec::default()
    };
    world
        .service()
        .create_branch(&World::project(), "jane-doe-main-worktree-abc", &spec)
        .await
        .expect("made");
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    world.branch(&world.path("abc")).await;
    let branch = world
        .worktree(&world.path("abc"))
        .await
        .and_then(|worktree| worktree.branch)
        .expect("ready");
    assert_eq!(branch.ownership(), v1::Ownership::Adopted);
    world.git(&["worktree", "remove", "--force", "../abc"]);
    world.reconcile().await;
    assert!(
        world
            .service_names()
            .await
            .contains(&"jane-doe-main-worktree-abc".to_owned())
    );
}

#[tokio::test]
async fn a_lease_past_its_half_is_renewed_and_a_lost_branch_made_anew() {
    let world = World::started().await;
    let id = world.branch(&world.main()).await;
    let name = World::branch_name(&id);
    let made = world.service().branch(&name).await.expect("there");
    let granted = made.status.expire_time.expect("it has a lease");
    world
        .service()
        .renew_branch(&name, granted - TimeDelta::hours(5))
        .await
        .expect("shortened");
    world.reconcile().await;
    let renewed = world
        .service()
        .branch(&name)
        .await
        .expect("there")
        .status
        .expire_time
        .expect("it has a lease");
    assert!(renewed >= granted, "{renewed} is sooner than {granted}");

    world.service().delete_branch(&name).await.expect("deleted");
    // A branch that is seconds old may be missing from a lagging list; a minute later it counts as lost.
    until_within(3 * PATIENCE, "it has another branch", async || {
        world.reconcile().await;
        let branch = world
            .worktree(&world.main())
            .await
            .and_then(|worktree| worktree.branch);
        branch.is_some_and(|branch| !branch.uid.is_empty() && Some(branch.uid) != made.uid)
    })
    .await;
}

#[tokio::test]
async fn a_parent_keeps_no_expiration_while_it_has_children() {
    let world = World::started().await;
    let expire_time = async || {
        let parent = world
            .service()
            .branch(&World::branch_name("jane-doe-main"))
            .await
            .expect("there");
        parent.status.expire_time
    };
    world.branch(&world.main()).await;
    assert!(expire_time().await.is_some());
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    world.branch(&world.path("abc")).await;
    assert!(expire_time().await.is_none());
    world.git(&["worktree", "remove", "--force", "../abc"]);
    until("its lease runs again", async || expire_time().await.is_some()).await;
}

#[tokio::test]
async fn a_broken_configuration_is_named_and_the_last_good_one_serves() {
    let mut world = World::started().await;
    world.branch(&world.main()).await;
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\n\nLAKEBASE_BRANCH_TLT=\"6h\"\n");
    world.reconcile().await;
    for _ in 0..2 {
        let problems = world.repository().await.problems;
        let text = problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect::<String>();
        for part in ["lakebase.config", "line 3", "`LAKEBASE_BRANCH_TTL`"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        world.branch(&world.main()).await;
        // The last good one is in force after a restart as well.
        world.shut_down().await;
        world.start().await;
        world.reconcile().await;
    }
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\n");
    world.reconcile().await;
    assert!(world.repository().await.problems.is_empty());
}

#[tokio::test]
async fn a_bare_repository_has_worktrees_too() {
    let mut world = World::new();
    let bare = world.path("bare.git");
    world.git(&["clone", "-q", "--bare", ".", &bare.to_string_lossy()]);
    fs::write(bare.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
    world.git_in(&bare, &["worktree", "add", "-q", "../of-bare", "main"]);
    world.start().await;
    let request = v1::RegisterRepositoryRequest {
        path: crate::world::bytes(&bare),
    };
    world
        .client()
        .await
        .register_repository(request)
        .await
        .expect("registered");
    assert_eq!(world.branch(&world.path("of-bare")).await, "jane-doe-main");
}

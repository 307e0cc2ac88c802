//! Data of branches that are lost or exchanged under a daemon, and the way back.

use crate::lost_catalog::{query, run, said, uid_of};
use crate::world::{World, until};
use lakebase_proto::v1;
use std::fs;
use std::path::PathBuf;

/// The directory of a branch.
fn place(world: &World, uid: &str) -> PathBuf {
    world.path("local/projects/shop").join(uid)
}

async fn state(world: &World, dir: &std::path::Path) -> v1::WorktreeState {
    let worktree = world.worktree(dir).await.expect("listed");
    worktree.state()
}

#[tokio::test]
async fn ll_16_a_branch_whose_data_are_missing_is_not_ready_and_the_hint_names_what_helps() {
    let world = World::started().await;
    world.git(&["worktree", "add", "-q", "--detach", "../agent"]);
    let agent = world.path("agent");
    let uid = uid_of(&world, &agent).await;
    query(&world, &agent, "CREATE TABLE kept AS SELECT 'agent' AS name").await;
    let (data, away) = (place(&world, &uid).join("pgdata"), world.path("away"));
    fs::rename(&data, &away).expect("moved");
    until("it is noticed", async || {
        world.reconcile().await;
        state(&world, &agent).await == v1::WorktreeState::Blocked
    })
    .await;
    let branch = World::branch_name("jane-doe-main-worktree-agent");
    let shown = world.service().branch(&branch).await.expect("it is known");
    let shown = shown.status.current_state.expect("it has one");
    assert_eq!(shown.as_str(), "DATA_MISSING");
    let problem = world.worktree(&agent).await.and_then(|worktree| worktree.problem);
    let problem = problem.expect("it is said");
    assert!(
        problem.message.contains("data are missing") && problem.fix.contains("lakebased local recover"),
        "{problem:?}"
    );
    let refused = world.credential(&agent).await.expect_err("there is no database");
    assert!(refused.message().contains("data are missing"), "{refused}");
    let (_, text) = said(&run(&world, "lakebase", &["ls"]));
    assert!(
        text.contains("blocked") && !text.contains("tried again by itself"),
        "{text}"
    );
    assert_eq!(state(&world, &world.main()).await, v1::WorktreeState::Ready);

    fs::rename(&away, &data).expect("moved back");
    until("it is ready again", async || {
        world.reconcile().await;
        world.credential(&agent).await.is_ok()
    })
    .await;
    assert_eq!(uid_of(&world, &agent).await, uid);
    assert_eq!(query(&world, &agent, "SELECT name FROM kept").await, "agent");
}

//! What stands in `.env` while branches come, go and change hands.

use crate::proxy::error;
use crate::rig::Rig;
use crate::world::until;
use local_lakebase::Limits;
use std::fs;
use std::path::Path;
use std::time::Duration;

const LIST: &str = "projects/shop/branches";

/// The value of a key in a file; empty if it is not there.
fn value(file: &Path, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_database_that_was_left_behind_is_not_left_in_env() {
    let rig = Rig::ready().await;
    rig.add("abc");
    let dir = rig.world.path("abc");
    let file = dir.join(".env");
    rig.world.branch(&dir).await;
    until("the block is there", async || !value(&file, "PGHOST").is_empty()).await;
    let left_behind = value(&file, "PGHOST");

    rig.proxy
        .on("POST", LIST, error(403, "PERMISSION_DENIED", "not today"));
    rig.world.git_in(&dir, &["switch", "-q", "-c", "feature-y"]);
    rig.until_problem("abc", "not today").await;
    until("the block is gone", async || value(&file, "PGHOST").is_empty()).await;
    rig.proxy.behave();
    rig.world.reconcile().await;
    assert_eq!(rig.world.branch(&dir).await, "jane-doe-feature-y");
    until("the block is there", async || !value(&file, "PGHOST").is_empty()).await;
    assert_ne!(value(&file, "PGHOST"), left_behind);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_daemon_that_was_away_takes_back_what_it_wrote_for_another_branch() {
    let mut rig = Rig::ready().await;
    let (dir, file) = (rig.world.main(), rig.world.main().join(".env"));
    until("the block is there", async || !value(&file, "PGHOST").is_empty()).await;
    rig.world.shut_down().await;
    rig.world.git_in(&dir, &["switch", "-q", "-c", "feature-y"]);
    rig.proxy
        .on("POST", LIST, error(403, "PERMISSION_DENIED", "not today"));
    rig.world.start().await;
    until("the block is gone", async || value(&file, "PGHOST").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_longer_the_one_to_write_has_no_block() {
    let rig = Rig::ready().await;
    let (old, new) = (rig.world.main().join(".env"), rig.world.main().join(".env.local"));
    until("the block is there", async || !value(&old, "PGHOST").is_empty()).await;
    fs::write(rig.world.main().join(".gitignore"), ".env*\n").expect("written");
    rig.world
        .configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_ENV_FILE=\".env.local\"\n");
    rig.world.trust().await;
    until("the other has one", async || !value(&new, "PGHOST").is_empty()).await;
    assert_eq!(value(&old, "PGHOST"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_04_a_password_is_renewed_while_the_list_of_branches_cannot_be_had() {
    let rig = Rig::new(Limits {
        credential_life: Duration::from_secs(8),
        ..Limits::default()
    });
    let mut rig = rig.await;
    rig.world.start().await;
    rig.world.register().await;
    rig.world.branch(&rig.world.main()).await;
    let file = rig.world.main().join(".env");
    until("the block is there", async || {
        !value(&file, "PGPASSWORD").is_empty()
    })
    .await;
    let first = value(&file, "PGPASSWORD");
    rig.proxy
        .on("GET", LIST, error(503, "TEMPORARILY_UNAVAILABLE", "busy"));
    rig.world.git(&["branch", "hint"]);
    until("a pass fails", async || rig.problems().await.contains("busy")).await;
    until("the file has another password", async || {
        let now = value(&file, "PGPASSWORD");
        !now.is_empty() && now != first
    })
    .await;
    assert!(rig.problems().await.contains("busy"), "it has not recovered");
}

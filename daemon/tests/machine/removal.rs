//! Directories that are removed while the daemon writes into them.

use crate::world::{World, bytes};
use lakebase_proto::v1;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `LAKEBASE_TEST_LONG=1` takes more of them.
fn rounds() -> u64 {
    match std::env::var_os("LAKEBASE_TEST_LONG") {
        Some(_) => 200,
        None => 25,
    }
}

/// Removals that failed, and directories that were there afterwards.
#[derive(Debug, Default)]
struct Left {
    failed: u64,
    there: Vec<String>,
}

impl Left {
    async fn count(&mut self, dir: &Path, is_removed: bool) {
        self.failed += u64::from(!is_removed);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !is_removed && dir.exists() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if dir.exists() {
            let found = Command::new("find").arg(dir).output().expect("find is installed");
            self.there
                .push(String::from_utf8_lossy(&found.stdout).into_owned());
            fs::remove_dir_all(dir).expect("removed");
        }
    }
}

/// Files in many directories, so that a removal takes some milliseconds.
fn fill(world: &World, dir: &Path) {
    for name in 0..40 {
        let sub = dir.join(format!("d{name}"));
        fs::create_dir(&sub).expect("made");
        for file in 0..10 {
            fs::write(sub.join(format!("f{file}")), format!("{name} {file}")).expect("written");
        }
    }
    world.git_in(dir, &["add", "."]);
    world.git_in(dir, &["commit", "-q", "-m", "more"]);
}

async fn register(world: &World) {
    let request = v1::RegisterRepositoryRequest {
        path: bytes(&world.main()),
    };
    // The directory may be half of one.
    drop(world.client().await.register_repository(request).await);
}

async fn unregister(world: &World) {
    let request = v1::UnregisterRepositoryRequest {
        path: bytes(&world.main()),
        delete_branches: false,
    };
    drop(world.client().await.unregister_repository(request).await);
}

/// Removes a directory as a user does, while passwords are changed and passes run.
async fn remove(world: &World, dir: &Path) -> bool {
    let mut removal = tokio::process::Command::new("rm")
        .arg("-rf")
        .arg(dir)
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let (mut one, mut other) = (world.client().await, world.client().await);
    let path = bytes(dir);
    let rotate = async {
        loop {
            let path = path.clone();
            drop(
                one.get_credential(v1::GetCredentialRequest { path, rotate: true })
                    .await,
            );
            drop(other.reconcile(v1::ReconcileRequest::default()).await);
        }
    };
    tokio::select! {
        status = removal.wait() => status.expect("ours").success(),
        () = rotate => unreachable!("it has no end"),
    }
}

/// Another moment of the pass in each round.
async fn moment(round: u64) {
    tokio::time::sleep(Duration::from_micros(round * 7_919 % 90_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs_18_no_directory_of_a_linked_worktree_is_left_by_rm() {
    let mut world = World::new().with_env("LAKEBASE_RESYNC", "1");
    world.start().await;
    register(&world).await;
    fill(&world, &world.main());
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    let dir = world.path("w");
    world.branch(&dir).await;
    let dot_git = fs::read(dir.join(".git")).expect("readable");
    let mut left = Left::default();
    for round in 0..rounds() {
        unregister(&world).await;
        fs::create_dir_all(&dir).expect("made");
        fs::write(dir.join(".git"), &dot_git).expect("written");
        world.git_in(&dir, &["reset", "-q", "--hard"]);
        register(&world).await;
        moment(round).await;
        let is_removed = remove(&world, &dir).await;
        left.count(&dir, is_removed).await;
    }
    // A first write may meet a removal that has read the directory already: then what is left goes.
    assert!(left.there.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs_18_no_directory_of_a_repository_is_left_by_rm() {
    let mut world = World::new().with_env("LAKEBASE_RESYNC", "1");
    world.start().await;
    register(&world).await;
    fill(&world, &world.main());
    let (dir, kept) = (world.main(), world.path("kept"));
    world.branch(&dir).await;
    copy(&dir, &kept);
    let mut left = Left::default();
    for round in 0..rounds() {
        unregister(&world).await;
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("removed");
        }
        copy(&kept, &dir);
        register(&world).await;
        moment(round).await;
        let is_removed = remove(&world, &dir).await;
        left.count(&dir, is_removed).await;
    }
    // A first write may meet a removal that has read the directory already: then what is left goes.
    assert!(left.there.is_empty(), "{left:?}");
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp is installed").success());
}

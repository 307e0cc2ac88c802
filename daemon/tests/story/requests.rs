//! What persons ask for: a reset, a delete, to keep a branch, to collect what is orphaned, why, and what happened.

use crate::world::{PATIENCE, World, bytes, until};
use lakebase_proto::{Reason, fix_of, reason_of, v1};
use std::path::Path;

impl World {
    async fn reset(&self, dir: &Path) -> Result<v1::Worktree, tonic::Status> {
        let request = v1::ResetBranchRequest { path: bytes(dir) };
        Ok(self.client().await.reset_branch(request).await?.into_inner())
    }

    async fn delete(&self, branch: &str) -> Result<(), tonic::Status> {
        let request = v1::DeleteBranchRequest {
            path: bytes(&self.main()),
            branch_id: branch.into(),
        };
        self.client().await.delete_branch(request).await.map(drop)
    }

    async fn keep(&self, dir: &Path, release: bool) -> v1::Worktree {
        let path = bytes(dir);
        let request = v1::KeepBranchRequest { path, release };
        let kept = self.client().await.keep_branch(request).await;
        kept.expect("kept").into_inner()
    }

    async fn gc(&self, apply: bool) -> v1::CollectGarbageResponse {
        let path = bytes(&self.main());
        let request = v1::CollectGarbageRequest { path, apply };
        let collected = self.client().await.collect_garbage(request).await;
        collected.expect("collected").into_inner()
    }

    async fn events(&self) -> Vec<v1::Event> {
        let path = bytes(&self.main());
        let request = v1::ListEventsRequest { path, limit: 0 };
        let listed = self.client().await.list_events(request).await;
        listed.expect("listed").into_inner().events
    }

    fn add_detached(&self, name: &str) -> std::path::PathBuf {
        let dir = self.path(name);
        self.git(&["worktree", "add", "-q", "--detach", dir.to_str().expect("text")]);
        dir
    }
}

fn ids(branches: &[v1::Branch]) -> Vec<&str> {
    branches.iter().map(|branch| branch.branch_id.as_str()).collect()
}

#[tokio::test]
async fn a_reset_gives_the_worktree_a_branch_without_what_was_in_it() {
    let world = World::started().await;
    let dir = world.add_detached("abc");
    let old = world
        .credential(&dir)
        .await
        .expect("ready")
        .branch
        .expect("named");
    let reset = world.reset(&dir).await.expect("it may be reset");
    let new = reset.branch.expect("it has one");
    assert_eq!(reset.state, i32::from(v1::WorktreeState::Ready));
    assert_ne!(new.uid, old.uid);
    assert!(
        new.branch_id.starts_with(&old.branch_id),
        "{} is not like {}",
        new.branch_id,
        old.branch_id
    );
    let names = world.service_names().await;
    assert_eq!(
        names.iter().filter(|name| name.contains("abc")).count(),
        1,
        "{names:?}"
    );
    assert_eq!(world.branch(&dir).await, new.branch_id);
}

#[tokio::test]
async fn a_branch_that_others_fork_from_is_not_reset() {
    let world = World::started().await;
    let dir = world.add_detached("abc");
    world.branch(&dir).await;
    let refused = world.reset(&world.main()).await.expect_err("it has a child");
    assert_eq!(reason_of(&refused), Some(Reason::Refused));
    assert!(refused.message().contains("fork from it"), "{refused}");
    assert!(fix_of(&refused).is_some_and(|fix| fix.contains("remove the worktrees")));
}

#[tokio::test]
async fn only_a_branch_that_no_worktree_uses_is_deleted_on_demand() {
    let world = World::started().await;
    world.git(&["branch", "side"]);
    let side = world.path("side");
    world.git(&["worktree", "add", "-q", side.to_str().expect("text"), "side"]);
    let name = world.branch(&side).await;
    let refused = world.delete(&name).await.expect_err("it is in use");
    assert_eq!(reason_of(&refused), Some(Reason::Refused));
    // The git branch stays, so the daemon by itself would only let the lease run out.
    world.git(&["worktree", "remove", side.to_str().expect("text")]);
    world.reconcile().await;
    assert!(world.service_names().await.contains(&name));
    world.delete(&name).await.expect("nobody uses it");
    assert!(!world.service_names().await.contains(&name));
    let refused = world.delete("production").await.expect_err("it is not ours");
    assert!(refused.message().contains("no branch `production`"), "{refused}");
    assert!(world.service_names().await.contains(&"production".to_owned()));
}

#[tokio::test]
async fn a_kept_branch_outlives_its_worktree_until_it_is_given_back() {
    let world = World::started().await;
    let dir = world.add_detached("abc");
    let name = world.branch(&dir).await;
    let kept = world.keep(&dir, false).await.branch.expect("it has one");
    assert_eq!(kept.expire_time, None);
    world.git(&["worktree", "remove", "--force", dir.to_str().expect("text")]);
    world.reconcile().await;
    let refused = world.delete(&name).await.expect_err("it is kept");
    assert!(refused.message().contains("keep"), "{refused}");
    assert_eq!(world.gc(true).await.refused.len(), 1);
    assert!(world.service_names().await.contains(&name));
}

#[tokio::test]
async fn what_is_given_back_is_leased_again() {
    let world = World::started().await;
    let dir = world.add_detached("abc");
    world.branch(&dir).await;
    world.keep(&dir, false).await;
    world.keep(&dir, true).await;
    until("it has an expiration again", async || {
        let worktree = world.worktree(&dir).await.expect("it is there");
        worktree.branch.is_some_and(|branch| branch.expire_time.is_some())
    })
    .await;
}

#[tokio::test]
async fn garbage_is_shown_first_and_deleted_on_demand() {
    let mut world = World::started().await;
    let dir = world.add_detached("abc");
    let name = world.branch(&dir).await;
    // Nobody watches the removal, so the grace of 15 minutes protects the branch.
    world.kill();
    world.git(&["worktree", "remove", "--force", dir.to_str().expect("text")]);
    world.start().await;
    assert_eq!(ids(&world.gc(false).await.branches), [name.as_str()]);
    assert!(world.service_names().await.contains(&name));
    assert_eq!(ids(&world.gc(true).await.branches), [name.as_str()]);
    assert!(!world.service_names().await.contains(&name));
    assert!(world.gc(false).await.branches.is_empty());
}

#[tokio::test]
async fn what_happens_is_listed_streamed_and_explained() {
    let world = World::started().await;
    world.branch(&world.main()).await;
    let path = bytes(&world.main());
    let mut client = world.client().await;
    let request = v1::WatchEventsRequest { path: path.clone() };
    let mut stream = client.watch_events(request).await.expect("followed").into_inner();
    let dir = world.add_detached("abc");
    let name = world.branch(&dir).await;
    let created = async {
        loop {
            let event = stream.message().await.expect("no error").expect("it goes on");
            if event.branch_id == name && event.action == "created" {
                return event;
            }
        }
    };
    let created = tokio::time::timeout(PATIENCE, created).await.expect("in time");
    assert_eq!(created.why, "a worktree had no branch yet");
    assert!(world.events().await.contains(&created));
    let request = v1::ExplainRequest { path: bytes(&dir) };
    let steps = world
        .client()
        .await
        .explain(request)
        .await
        .expect("explained")
        .into_inner()
        .steps;
    for told in [
        "HEAD is detached",
        "made by this daemon",
        "lease",
        "its endpoint is",
        "created",
    ] {
        assert!(
            steps.iter().any(|step| step.contains(told)),
            "{told} is not in {steps:#?}"
        );
    }
}

#[tokio::test]
async fn the_list_of_worktrees_is_sent_again_when_it_changes() {
    let world = World::started().await;
    let request = v1::WatchWorktreesRequest {
        path: bytes(&world.main()),
    };
    let mut stream = world
        .client()
        .await
        .watch_worktrees(request)
        .await
        .expect("followed")
        .into_inner();
    let dir = world.add_detached("abc");
    let ready = async {
        loop {
            let list = stream
                .message()
                .await
                .expect("no error")
                .expect("it goes on")
                .worktrees;
            let is_ready = |worktree: &v1::Worktree| {
                worktree.path == dir.to_string_lossy() && worktree.state() == v1::WorktreeState::Ready
            };
            if list.iter().any(is_ready) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("in time");
}

#[tokio::test]
async fn branches_that_no_worktree_is_on_are_listed_with_the_reason() {
    let world = World::started().await;
    world.branch(&world.main()).await;
    let dir = world.path("w");
    world.git(&["worktree", "add", "-q", "-b", "one", "../w"]);
    world.branch(&dir).await;
    assert_eq!(world.listing().await.unused, []);
    world.git_in(&dir, &["switch", "-q", "-c", "two"]);
    world.branch(&dir).await;
    let is_listed = async |orphaned, why| {
        let unused = world.listing().await.unused;
        let [unused] = unused.as_slice() else { return false };
        let name = unused.branch.as_ref().map(|branch| branch.branch_id.as_str());
        name == Some("jane-doe-one") && unused.orphaned == orphaned && unused.why == why
    };
    until("the one that was left is listed", async || {
        is_listed(false, "no worktree is on it now").await
    })
    .await;
    world.git(&["branch", "-q", "-D", "one"]);
    until("it is known to be of no use", async || {
        is_listed(true, "its worktree or git branch is gone").await
    })
    .await;
}

#[tokio::test]
async fn a_repository_that_is_given_up_leaves_nothing_of_ours() {
    let world = World::started().await;
    let dir = world.add_detached("abc");
    world.branch(&dir).await;
    assert_eq!(world.service_names().await.len(), 3);
    let env = |dir: &Path| std::fs::read_to_string(dir.join(".env")).unwrap_or_default();
    for dir in [&dir, &world.main()] {
        until("the block is there", async || env(dir).contains("PGPASSWORD")).await;
    }
    std::fs::write(dir.join(".env"), format!("{}MINE=1\n", env(&dir))).expect("written");
    let request = v1::UnregisterRepositoryRequest {
        path: bytes(&world.main()),
        delete_branches: true,
    };
    world
        .client()
        .await
        .unregister_repository(request)
        .await
        .expect("given up");
    assert_eq!(world.service_names().await, ["production"]);
    let refused = world.credential(&dir).await.expect_err("it is not registered");
    assert_eq!(reason_of(&refused), Some(Reason::NotRegistered));
    assert_eq!(env(&dir), "MINE=1\n");
    assert_eq!(env(&world.main()), "");
}

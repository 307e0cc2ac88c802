//! The verbs of git that move worktrees and git branches, each with the hook, without it, and without file events.

use crate::world::{World, bytes, until};
use lakebase_proto::v1;
use std::fs;
use std::path::{Path, PathBuf};

/// How the daemon hears of what git does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    Hook,
    Events,
    Clock,
}

impl Hearing {
    async fn world(self) -> World {
        let mut world = World::new();
        if self == Self::Clock {
            world = world
                .with_env("LAKEBASE_WATCH", "poll")
                .with_env("LAKEBASE_RESYNC", "1");
        }
        if self == Self::Hook {
            let hook = Path::new(env!("CARGO_BIN_EXE_lakebased")).with_file_name("lakebase-hook");
            assert!(
                hook.is_file(),
                "build the workspace first: there is no {}",
                hook.display()
            );
            let place = world.main().join(".git/hooks/post-checkout");
            std::os::unix::fs::symlink(hook, place).expect("linked");
        }
        world.start().await;
        world.register().await;
        assert_eq!(world.branch(&world.main()).await, "jane-doe-main");
        let mode = world.repository().await.watch_mode();
        assert_eq!(mode == v1::WatchMode::Polling, self == Self::Clock);
        world
    }
}

/// Waits until the project has just these branches besides those of every world.
async fn left(world: &World, names: &[&str]) {
    let mut wanted = [&["jane-doe-main", "production"], names].concat();
    wanted.sort_unstable();
    let what = format!("the project has {wanted:?}");
    until(&what, async || world.service_names().await == wanted).await;
}

/// Waits for the daemon's picture, unasked: no call gives it a hint.
async fn shown(world: &World, dir: &Path, branch: &str) {
    let what = format!("{} shows {branch}", dir.display());
    until(&what, async || {
        let worktree = world.worktree(dir).await;
        worktree
            .and_then(|w| w.branch)
            .is_some_and(|b| b.branch_id == branch)
    })
    .await;
}

async fn uid(world: &World, dir: &Path) -> String {
    world
        .credential(dir)
        .await
        .expect("ready")
        .branch
        .expect("it has one")
        .uid
}

/// Every verb, one after the other, in one world.
async fn the_verbs(hearing: Hearing) {
    let world = hearing.world().await;
    let (w, moved) = (world.path("w"), world.path("moved"));

    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    shown(&world, &w, "jane-doe-main-worktree-w").await;
    let first = uid(&world, &w).await;

    // GIT-03: moved, and repaired after a move behind git's back.
    world.git(&["worktree", "move", "../w", "../moved"]);
    shown(&world, &moved, "jane-doe-main-worktree-w").await;
    fs::rename(&moved, &w).expect("renamed");
    world.git_in(&w, &["worktree", "repair"]);
    shown(&world, &w, "jane-doe-main-worktree-w").await;
    assert_eq!(uid(&world, &w).await, first, "it is the same branch");

    // GIT-08: a checkout is another slot, and back again.
    world.git_in(&w, &["switch", "-q", "-c", "topic"]);
    shown(&world, &w, "jane-doe-topic").await;
    let topic = uid(&world, &w).await;

    // GIT-07: renamed where it is checked out, and in its case alone.
    world.git_in(&w, &["branch", "-m", "topic", "renamed"]);
    until("the branch has followed", async || {
        let head = world.worktree(&w).await.map(|worktree| worktree.head);
        format!("{head:?}").contains("renamed") && uid(&world, &w).await == topic
    })
    .await;
    world.git_in(&w, &["branch", "-m", "renamed", "Renamed"]);
    until("the branch has followed", async || {
        let head = world.worktree(&w).await.map(|worktree| worktree.head);
        format!("{head:?}").contains("Renamed") && uid(&world, &w).await == topic
    })
    .await;

    // GIT-06: an unborn git branch.
    world.git_in(&w, &["switch", "-q", "--orphan", "unborn"]);
    shown(&world, &w, "jane-doe-unborn").await;

    // GIT-01: locked and gone is not gone.
    world.git(&["worktree", "add", "-q", "--detach", "../locked"]);
    shown(&world, &world.path("locked"), "jane-doe-main-worktree-locked").await;
    world.git(&["worktree", "lock", "../locked"]);
    until("the lock is seen", async || {
        world
            .worktree(&world.path("locked"))
            .await
            .is_some_and(|w| w.locked)
    })
    .await;
    fs::remove_dir_all(world.path("locked")).expect("removed");
    world.git(&["worktree", "prune", "--expire", "now"]);

    // The one that git removes goes, and only that.
    world.git(&["worktree", "add", "-q", "--detach", "../gone"]);
    shown(&world, &world.path("gone"), "jane-doe-main-worktree-gone").await;
    world.git(&["worktree", "remove", "--force", "../gone"]);
    left(
        &world,
        &[
            "jane-doe-main-worktree-locked",
            "jane-doe-main-worktree-w",
            "jane-doe-topic",
            "jane-doe-unborn",
        ],
    )
    .await;
}

#[tokio::test]
async fn git_01_03_06_07_08_every_verb_with_the_hook() {
    the_verbs(Hearing::Hook).await;
}

#[tokio::test]
async fn git_01_03_06_07_08_every_verb_without_the_hook() {
    the_verbs(Hearing::Events).await;
}

#[tokio::test]
async fn git_01_03_06_07_08_every_verb_without_file_events() {
    the_verbs(Hearing::Clock).await;
}

#[tokio::test]
async fn git_02_a_branch_whose_disk_was_away_when_git_pruned_its_worktree_is_left_to_its_lease() {
    let world = Hearing::Events.world().await;
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"0\"\n");
    world.trust().await;
    for (dir, branch) in [
        ("disk/away", "jane-doe-main-worktree-away"),
        ("deleted", "jane-doe-main-worktree-deleted"),
    ] {
        world.git(&["worktree", "add", "-q", "--detach", &format!("../{dir}")]);
        shown(&world, &world.path(dir), branch).await;
    }
    // As when a disk is unmounted: the directory that held it is another one now.
    fs::rename(world.path("disk"), world.path("unmounted")).expect("renamed");
    fs::create_dir(world.path("disk")).expect("made");
    fs::remove_dir_all(world.path("deleted")).expect("removed");
    world.git(&["worktree", "prune", "--expire", "now"]);
    left(&world, &["jane-doe-main-worktree-away"]).await;
    world.reconcile().await;
    world.reconcile().await;
    left(&world, &["jane-doe-main-worktree-away"]).await;
}

#[tokio::test]
async fn a_worktree_that_is_added_again_between_two_looks_gets_new_data() {
    // Nobody tells the daemon of anything, so that it does not look in between.
    let mut world = World::new()
        .with_env("LAKEBASE_WATCH", "poll")
        .with_env("LAKEBASE_RESYNC", "30");
    world.start().await;
    world.register().await;
    let w = world.path("w");
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    let before = (uid(&world, &w).await, env_text(&w));
    world.git(&["worktree", "remove", "../w"]);
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    let credential = world.credential(&w).await.expect("ready");
    let branch = credential.branch.expect("it has one");
    assert_ne!(branch.uid, before.0, "the data of the worktree before");
    until("its .env is written", async || w.join(".env").exists()).await;
    assert_ne!(env_text(&w), before.1);
    left(&world, &[&branch.branch_id]).await;
}

#[tokio::test]
async fn git_03_a_repository_that_is_renamed_is_followed_without_init() {
    let world = Hearing::Events.world().await;
    let before = uid(&world, &world.main()).await;
    fs::rename(world.main(), world.path("renamed")).expect("renamed");
    assert_eq!(uid(&world, &world.path("renamed")).await, before);
    let repository = world.repository().await;
    assert_eq!(repository.main_worktree, world.path("renamed").to_string_lossy());
    left(&world, &[]).await;
}

#[tokio::test]
async fn git_04_a_git_directory_elsewhere_has_its_worktree() {
    let world = Hearing::Events.world().await;
    let apart = world.path("apart");
    world.git(&[
        "clone",
        "-q",
        "--separate-git-dir",
        "../deep.git",
        ".",
        "../apart",
    ]);
    fs::write(apart.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
    world.git_in(&apart, &["switch", "-q", "-c", "apart"]);
    world.register_at(&apart).await;
    assert_eq!(world.branch(&apart).await, "jane-doe-apart");
}

#[tokio::test]
async fn git_08_a_rebase_and_a_bisect_make_no_branches() {
    let world = Hearing::Events.world().await;
    world.git(&["worktree", "add", "-q", "-b", "topic", "../w"]);
    let w = world.path("w");
    for n in 0..12 {
        fs::write(w.join(format!("f{n}")), "x").expect("written");
        world.git_in(&w, &["add", "."]);
        world.git_in(&w, &["commit", "-q", "-m", "more"]);
    }
    world.git(&["commit", "-q", "--allow-empty", "-m", "meanwhile"]);
    shown(&world, &w, "jane-doe-topic").await;
    world.git_in(&w, &["rebase", "-q", "--force-rebase", "main"]);
    world.git_in(&w, &["bisect", "start", "HEAD", "HEAD~12"]);
    world.git_in(&w, &["bisect", "run", "true"]);
    world.git_in(&w, &["bisect", "reset"]);
    assert_eq!(world.branch(&w).await, "jane-doe-topic");
    world.reconcile().await;
    left(&world, &["jane-doe-topic"]).await;

    // One that stops is open for as long as a person thinks.
    fs::write(world.main().join("f0"), "other").expect("written");
    world.git(&["add", "f0"]);
    world.git(&["commit", "-q", "-m", "other"]);
    let before = (uid(&world, &w).await, env_text(&w));
    let rebase = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "rebase",
            "-q",
            "main",
        ])
        .current_dir(&w)
        .output();
    assert!(
        !rebase.expect("git is installed").status.success(),
        "it stops at a conflict"
    );
    world.reconcile().await;
    assert_eq!((uid(&world, &w).await, env_text(&w)), before);
    world.git_in(&w, &["rebase", "--abort"]);
    world.git_in(&w, &["bisect", "start", "HEAD", "HEAD~8"]);
    world.reconcile().await;
    assert_eq!((uid(&world, &w).await, env_text(&w)), before);
    world.git_in(&w, &["bisect", "reset"]);
    world.reconcile().await;
    assert_eq!((uid(&world, &w).await, env_text(&w)), before);
    assert_eq!(
        world.service_names().await,
        ["jane-doe-main", "jane-doe-topic", "production"]
    );
    let events = world
        .client()
        .await
        .list_events(v1::ListEventsRequest::default())
        .await;
    let events = events.expect("listed").into_inner().events;
    assert!(!format!("{events:?}").contains("worktree-w"), "{events:?}");
}

#[tokio::test]
async fn git_09_a_submodule_is_left_alone() {
    let world = Hearing::Events.world().await;
    world.git(&["clone", "-q", ".", "../part"]);
    let part = world.path("part");
    world.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        &part.to_string_lossy(),
        "part",
    ]);
    world.git_in(&world.main().join("part"), &["switch", "-q", "-c", "inner"]);
    let error = world
        .credential(&world.main().join("part"))
        .await
        .expect_err("nobody registered it");
    assert_eq!(error.code(), tonic::Code::NotFound);
    world.reconcile().await;
    left(&world, &[]).await;
}

#[tokio::test]
async fn git_10_hostile_names_get_branches_of_their_own() {
    let mut world = World::new().with_env("LAKEBASE_LOCAL_BRANCH_LIMIT", "50");
    world.start().await;
    world.register().await;
    let long = "n".repeat(240);
    let names = [
        "-dash",
        "emoji-\u{1f980}",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{5d0}\u{202e}x",
        "!!!",
        "x.lock_",
        &long,
    ];
    let mut seen = std::collections::BTreeSet::new();
    let worktree = world.path("w");
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    for name in names {
        let full = format!("refs/heads/{name}");
        world.git(&["update-ref", &full, "HEAD"]);
        world.git_in(&worktree, &["symbolic-ref", "HEAD", &full]);
        let branch = world.branch(&worktree).await;
        assert!(branch.len() <= 63 && branch.is_ascii(), "{branch}");
        assert!(seen.insert(branch.clone()), "{name} shares {branch}");
    }
}

#[tokio::test]
async fn git_12_a_repository_with_a_reftable_is_served() {
    let world = Hearing::Events.world().await;
    let dir = world.path("tables");
    let made = std::process::Command::new("git")
        .args(["init", "-q", "-b", "tables", "--ref-format=reftable"])
        .arg(&dir)
        .status()
        .expect("git is installed");
    if !made.success() {
        eprintln!("skipped: this git knows no reftable");
        return;
    }
    fs::write(dir.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
    fs::write(dir.join(".gitignore"), ".env\n").expect("written");
    world.git_in(&dir, &["commit", "-q", "--allow-empty", "-m", "first"]);
    world.register_at(&dir).await;
    assert_eq!(world.branch(&dir).await, "jane-doe-tables");
    assert!(dir.join(".env").is_file(), "its .env is kept too");
    world.git_in(&dir, &["switch", "-q", "-c", "other"]);
    assert_eq!(world.branch(&dir).await, "jane-doe-other");
}

#[tokio::test]
async fn git_13_no_lock_of_gits_is_taken_or_waited_for() {
    let world = Hearing::Events.world().await;
    let git_dir = world.main().join(".git");
    for lock in ["index.lock", "HEAD.lock", "packed-refs.lock", "config.lock"] {
        fs::write(git_dir.join(lock), "").expect("written");
    }
    let before = listing(&git_dir);
    world.reconcile().await;
    assert_eq!(world.branch(&world.main()).await, "jane-doe-main");
    assert_eq!(listing(&git_dir), before, "the daemon wrote into the repository");
}

fn listing(dir: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let entries = fs::read_dir(dir).expect("listed").flatten();
    let mut all: Vec<_> = entries
        .map(|entry| {
            (
                entry.path(),
                entry.metadata().expect("readable").modified().expect("a time"),
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn git_16_clones_and_copies_have_branches_of_their_own() {
    let world = Hearing::Events.world().await;
    let main = uid(&world, &world.main()).await;
    let linked = world.path("linked");
    world.git(&["worktree", "add", "-q", "--detach", "../linked"]);
    shown(&world, &linked, "jane-doe-main-worktree-linked").await;
    let of_linked = (uid(&world, &linked).await, env_text(&linked));
    world.git(&["clone", "-q", ".", "../clone"]);
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([world.main(), world.path("copy")])
        .status();
    assert!(copied.expect("cp is installed").success());
    let error = world
        .credential(&world.path("copy"))
        .await
        .expect_err("nobody registered it");
    assert_eq!(error.code(), tonic::Code::NotFound);
    let mut uids = vec![main];
    for name in ["clone", "copy"] {
        let dir = world.path(name);
        fs::write(dir.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
        world.register_at(&dir).await;
        uids.push(uid(&world, &dir).await);
    }
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), 3, "two repositories share a branch");

    // The copy has an entry for the linked worktree too, which leads to the first repository.
    reconcile(&world, &world.path("copy")).await;
    reconcile(&world, &world.main()).await;
    assert_eq!((uid(&world, &linked).await, env_text(&linked)), of_linked);
    let mut client = world.client().await;
    let listed = client.list_worktrees(v1::ListWorktreesRequest::default()).await;
    let worktrees = listed.expect("listed").into_inner().worktrees;
    let at_linked = worktrees.iter().filter(|w| w.path == linked.to_string_lossy());
    assert_eq!(at_linked.count(), 1, "two repositories show it");
    let names = world.service_names().await;
    let of_worktrees: Vec<_> = names.iter().filter(|name| name.contains("worktree")).collect();
    assert_eq!(of_worktrees, ["jane-doe-main-worktree-linked"]);
}

fn env_text(dir: &Path) -> String {
    fs::read_to_string(dir.join(".env")).expect("it is written")
}

async fn reconcile(world: &World, dir: &Path) {
    let request = v1::ReconcileRequest {
        path: bytes(dir),
        wait: true,
    };
    world
        .client()
        .await
        .reconcile(request)
        .await
        .expect("it is as before");
}

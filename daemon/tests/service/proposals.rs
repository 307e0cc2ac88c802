//! A configuration file that a merge or a checkout has changed: what it moves before the user confirms it, and after.

use crate::rig::Rig;
use crate::world::{World, bytes, until};
use lakebase_proto::v1;
use std::fs;
use std::path::Path;

const SHOP: &str = "LAKEBASE_PROJECT_ID=\"shop\"\n";
const OTHER: &str = "LAKEBASE_PROJECT_ID=\"other\"\n";

fn block(dir: &Path) -> String {
    fs::read_to_string(dir.join(".env")).unwrap_or_default()
}

async fn project(rig: &Rig) -> String {
    rig.world.repository().await.project_id
}

async fn host(rig: &Rig, dir: &Path) -> String {
    rig.world.credential(dir).await.expect("ready").host
}

/// The repository in a world with two projects, its configuration committed, a second worktree beside it.
async fn merged() -> Rig {
    let rig = Rig::ready().await;
    crate::rig::make_project(&rig.world.service(), "other").await;
    rig.world.git(&["add", "-f", "lakebase.config"]);
    rig.world.git(&["commit", "-q", "-m", "shop"]);
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    rig.world.git(&["switch", "-q", "-c", "feature"]);
    rig.world.configure(OTHER);
    rig.world.git(&["commit", "-q", "-a", "-m", "other"]);
    rig.world.git(&["switch", "-q", "main"]);
    rig.world.reconcile().await;
    rig
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_51_a_merged_configuration_moves_no_worktree_before_it_is_confirmed() {
    let mut rig = merged().await;
    let (main, abc) = (rig.world.main(), rig.world.path("abc"));
    until("the block is there", async || block(&abc).contains("PGHOST")).await;
    let before = host(&rig, &abc).await;
    rig.world.git(&["merge", "-q", "feature"]);
    for _ in 0..2 {
        rig.world.reconcile().await;
        assert_eq!(project(&rig).await, "shop");
        assert_eq!(host(&rig, &abc).await, before);
        assert!(block(&abc).contains(&before), "{}", block(&abc));
        let problems = rig.problems().await;
        for part in ["LAKEBASE_PROJECT_ID from `shop` to `other`", "lakebase trust"] {
            assert!(problems.contains(part), "{problems}");
        }
        let changes = rig.world.repository().await.proposed_changes;
        assert_eq!(changes.len(), 1, "{changes:?}");
        rig.world.shut_down().await;
        rig.world.start().await;
    }
    // The control: confirmed from any worktree, it moves them all.
    let output = rig.world.lakebase(&abc, &["trust"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("shop"),
        "{output:?}"
    );
    rig.world.reconcile().await;
    assert_eq!(project(&rig).await, "other");
    assert_eq!(rig.problems().await, "");
    for dir in [&main, &abc] {
        until(
            "it has moved",
            async || matches!(rig.world.credential(dir).await, Ok(it) if it.host != before),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_52_a_checkout_of_a_commit_without_the_file_changes_nothing() {
    let mut rig = Rig::ready().await;
    let (main, abc) = (rig.world.main(), rig.world.path("abc"));
    rig.world.git(&["add", "-f", "lakebase.config"]);
    rig.world.git(&["commit", "-q", "-m", "shop"]);
    rig.add("abc");
    rig.world.branch(&abc).await;
    until("the block is there", async || block(&abc).contains("PGHOST")).await;
    rig.world.git(&["switch", "-q", "--orphan", "without"]);
    assert!(!main.join("lakebase.config").exists());
    for _ in 0..2 {
        rig.world.reconcile().await;
        assert_eq!(
            (project(&rig).await, rig.problems().await),
            ("shop".into(), String::new())
        );
        assert!(block(&abc).contains("PGHOST"));
        rig.world.shut_down().await;
        rig.world.start().await;
    }
    // A new worktree gets a branch, and `init` writes no file that names another project.
    let add = ["worktree", "add", "-q", "--detach", "../new", "main"];
    rig.world.git(&add);
    rig.world.branch(&rig.world.path("new")).await;
    let output = rig.world.lakebase(&main, &["init", "--no-hook"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!main.join("lakebase.config").exists());
    rig.world.reconcile().await;
    assert_eq!(project(&rig).await, "shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_53_what_decides_over_data_and_passwords_waits_and_the_rest_applies() {
    let rig = Rig::ready().await;
    let main = rig.world.main();
    until("the block is there", async || block(&main).contains("PGHOST")).await;
    fs::write(main.join(".gitignore"), ".env*\n").expect("written");
    let proposed = "LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_BRANCH_TTL=\"0\"\nLAKEBASE_SOURCE_BRANCH=\"staging\"\n\
                    LAKEBASE_ENV_FILE=\".env.evil\"\nLAKEBASE_REAP_GRACE=\"0\"\nLAKEBASE_ENV_PREFIX=\"SHOP_\"\n";
    rig.world.configure(proposed);
    rig.world.reconcile().await;
    until("the prefix applies", async || {
        block(&main).contains("SHOP_DB_HOST")
    })
    .await;
    assert!(!main.join(".env.evil").exists());
    let keys: Vec<_> = rig.world.repository().await.proposed_changes;
    let keys: Vec<_> = keys.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "LAKEBASE_SOURCE_BRANCH",
            "LAKEBASE_BRANCH_TTL",
            "LAKEBASE_REAP_GRACE",
            "LAKEBASE_ENV_FILE"
        ]
    );
    let branch = rig
        .world
        .service()
        .branch(&World::branch_name("jane-doe-main"))
        .await;
    assert!(
        branch.expect("there").status.expire_time.is_some(),
        "the lease goes on"
    );
    // Changed back, nothing waits.
    rig.world.configure(SHOP);
    rig.world.reconcile().await;
    assert!(rig.world.repository().await.proposed_changes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_54_what_was_shown_is_what_is_confirmed() {
    let rig = Rig::ready().await;
    let ask = async |proposal: &str| {
        let request = v1::TrustConfigurationRequest {
            path: bytes(&rig.world.main()),
            proposal: proposal.to_owned(),
        };
        rig.world.client().await.trust_configuration(request).await
    };
    rig.world
        .configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"1m\"\n");
    let shown = ask("").await.expect("listed").into_inner();
    assert_eq!(shown.changes.len(), 1);
    assert_eq!(project(&rig).await, "shop", "a list confirms nothing");
    rig.world.configure(OTHER);
    let refused = ask(&shown.proposal).await.expect_err("the file has changed");
    assert!(refused.message().contains("after it was shown"), "{refused:?}");
    rig.world.reconcile().await;
    assert_eq!(project(&rig).await, "shop");
    // What cannot be read cannot be confirmed.
    rig.world.configure("LAKEBASE_PROJECT_ID=\"shop\n");
    assert!(ask("").await.is_err());
    assert!(ask(&shown.proposal).await.is_err());
    // Another spelling of the values that were shown is the same proposal.
    rig.world
        .configure("LAKEBASE_REAP_GRACE=60s\nLAKEBASE_PROJECT_ID=shop\n");
    ask(&shown.proposal).await.expect("confirmed");
    rig.world.reconcile().await;
    assert!(rig.world.repository().await.proposed_changes.is_empty());
}

/// Commits a configuration that is a link, or too large, on a git branch of its own.
fn commit_odd_file(rig: &Rig, name: &str, is_link: bool) {
    let work = rig.world.path("abc");
    let file = work.join("lakebase.config");
    fs::remove_file(&file).expect("removed");
    if is_link {
        std::os::unix::fs::symlink(".gitignore", &file).expect("linked");
    } else {
        fs::write(&file, format!("{SHOP}#{}\n", "x".repeat(70_000))).expect("written");
    }
    for args in [
        &["switch", "-q", "-c", name][..],
        &["add", "lakebase.config"],
        &["commit", "-q", "-m", name],
    ] {
        rig.world.git_in(&work, args);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_55_a_bare_repository_is_read_from_the_commit_of_its_head() {
    let rig = merged().await;
    let bare = rig.world.path("bare.git");
    rig.world
        .git(&["clone", "-q", "--bare", ".", &bare.to_string_lossy()]);
    rig.world.git_in(
        &bare,
        &["worktree", "add", "-q", "--detach", "../of-bare", "main"],
    );
    rig.world.register_at(&bare).await;
    let dir = rig.world.path("of-bare");
    rig.world.branch(&dir).await;
    let of_bare = async || {
        let mut client = rig.world.client().await;
        let all = client.list_repositories(v1::ListRepositoriesRequest {}).await;
        let all = all.expect("listed").into_inner().repositories;
        all.into_iter()
            .find(|it| it.common_dir == bare.to_string_lossy())
            .expect("it is registered")
    };
    assert_eq!(of_bare().await.project_id, "shop");
    // A push to it, and HEAD that names another branch, are proposals.
    for change in [
        &["update-ref", "refs/heads/main", "feature"][..],
        &["symbolic-ref", "HEAD", "refs/heads/feature"],
    ] {
        rig.world.git_in(&bare, change);
        rig.world.reconcile_at(&dir).await;
        let now = of_bare().await;
        assert_eq!(
            (now.project_id.as_str(), now.proposed_changes.len()),
            ("shop", 1),
            "{change:?}"
        );
    }
    let output = rig.world.lakebase(&dir, &["trust", "--json"]);
    assert!(output.status.success(), "{output:?}");
    rig.world.reconcile_at(&dir).await;
    assert_eq!(of_bare().await.project_id, "other");
    // A link or a large file in the commit is no configuration, and an unborn HEAD has none: nothing changes.
    for (name, is_link) in [("link", true), ("large", false)] {
        commit_odd_file(&rig, name, is_link);
        rig.world
            .git_in(&bare, &["fetch", "-q", "origin", &format!("{name}:{name}")]);
        let head = format!("refs/heads/{name}");
        rig.world.git_in(&bare, &["symbolic-ref", "HEAD", &head]);
        rig.world.reconcile_at(&dir).await;
        let now = of_bare().await;
        assert_eq!(now.project_id, "other", "{name}");
        assert_eq!(now.problems.len(), 1, "{name}: {:?}", now.problems);
    }
    rig.world
        .git_in(&bare, &["symbolic-ref", "HEAD", "refs/heads/unborn"]);
    rig.world.reconcile_at(&dir).await;
    assert_eq!(of_bare().await.project_id, "other");
}

/// Puts a text into the ledger as another release may have, while the daemon does not run.
async fn store(rig: &mut Rig, text: &str) {
    rig.world.shut_down().await;
    let mut ledger = rig.ledger().await;
    let query = sqlx::query("UPDATE repositories SET confirmed_config = ?").bind(text);
    query.execute(&mut ledger).await.expect("stored");
    sqlx::Connection::close(ledger).await.expect("closed");
    rig.world.start().await;
    rig.world.reconcile().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_57_a_configuration_of_another_release_is_not_replaced_unconfirmed() {
    let mut rig = merged().await;
    rig.world.configure(OTHER);
    // An earlier release took any wait of a hook.
    store(
        &mut rig,
        "LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_HOOK_WAIT=\"5m\"\n",
    )
    .await;
    assert_eq!(project(&rig).await, "shop");
    assert_eq!(rig.world.repository().await.proposed_changes.len(), 1);

    store(&mut rig, "of another form").await;
    assert_eq!(project(&rig).await, "", "no other project is taken for it");
    assert!(rig.problems().await.contains("cannot be read"));
    let output = rig.world.lakebase(&rig.world.main(), &["doctor"]);
    let checks = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && checks.contains("cannot be read"),
        "{checks}"
    );
    let output = rig.world.lakebase(&rig.world.main(), &["trust"]);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("LAKEBASE_PROJECT_ID") && shown.contains("other"),
        "{shown}"
    );
    rig.world.reconcile().await;
    assert_eq!(project(&rig).await, "other");
}

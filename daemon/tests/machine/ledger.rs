//! A ledger that is lost, damaged or replaced by an older copy: no worktree gets fresh data without a word, and one command takes
//! every branch back.

use crate::world::{World, until};
use lakebase_proto::{Reason, fix_of, reason_of, v1};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A git branch, a detached worktree, and the main worktree.
const TREES: [&str; 3] = ["shop", "abc", "x"];

/// The branch of each worktree: name, uid, and what is written in it.
type Branches = BTreeMap<String, (String, String, String)>;

async fn query(credential: v1::Credential, statement: &str) -> String {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&credential.host)
        .port(u16::try_from(credential.port).expect("a port"))
        .database(&credential.database)
        .username(&credential.user)
        .password(&credential.password)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&credential.ssl_root_cert);
    let mut connection = PgConnection::connect_with(&options).await.expect("it opens");
    let row = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .fetch_optional(&mut connection)
        .await
        .expect("it answers");
    connection.close().await.expect("closed");
    row.map(|row| row.get(0)).unwrap_or_default()
}

/// A daemon with three worktrees, each with data of its own; and those data.
async fn with_data() -> (World, Branches) {
    let mut world = World::new();
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"0\"\n");
    world.start().await;
    world.register().await;
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    world.git(&["worktree", "add", "-q", "-b", "feature/x", "../x"]);
    for name in TREES {
        write(&world, name).await;
    }
    let branches = read(&world, &TREES).await;
    (world, branches)
}

async fn write(world: &World, name: &str) {
    let credential = || async { world.credential(&world.path(name)).await.expect("ready") };
    // The branch that it forks from may have one.
    query(credential().await, "CREATE TABLE IF NOT EXISTS mine (name text)").await;
    query(credential().await, "DELETE FROM mine").await;
    query(credential().await, &format!("INSERT INTO mine VALUES ('{name}')")).await;
}

async fn read(world: &World, names: &[&str]) -> Branches {
    let mut branches = Branches::new();
    for name in names {
        let credential = world.credential(&world.path(name)).await.expect("ready");
        let branch = credential.branch.clone().expect("it has one");
        let data = query(credential, "SELECT name FROM mine").await;
        branches.insert((*name).to_owned(), (branch.branch_id, branch.uid, data));
    }
    branches
}

async fn uids(world: &World) -> Vec<(String, Option<String>)> {
    let branches = world.service_branches().await;
    let mut uids: Vec<_> = branches
        .into_iter()
        .map(|branch| (branch.name.id().to_owned(), branch.uid))
        .collect();
    uids.sort();
    uids
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn run(world: &World, args: &[&str]) -> (i32, String, String) {
    let output = world.lakebase(&world.main(), args);
    let (out, err) = texts(&output);
    (output.status.code().expect("it was not killed"), out, err)
}

fn succeed(world: &World, args: &[&str]) -> String {
    let (code, out, err) = run(world, args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

fn state(world: &World, name: &str) -> PathBuf {
    world.path("state").join(name)
}

/// What must hold while the ledger is not confirmed: every command says so first, and nothing is done.
async fn check_unconfirmed(world: &World, without: &[&str]) {
    let before = uids(world).await;
    let hint = "hint: run `lakebase init --recover`";
    let (code, out, err) = run(world, &["status"]);
    assert!(code == 1 && out.starts_with("Ledger\n"), "{out}");
    assert!(err.contains(hint), "{err}");
    let (code, _, err) = run(world, &["up"]);
    assert!(code == 1 && err.contains(hint), "{err}");
    let (code, out, _) = run(world, &["doctor"]);
    let first = out.lines().nth(1).unwrap_or_default().to_owned();
    assert!(code == 1 && first.contains("failure  ledger"), "{out}");
    let (code, out, _) = run(world, &["status", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(
        code == 1 && shown["daemon"]["ledger_problem"]["fix"].is_string(),
        "{shown}"
    );
    for args in [&["init"][..], &["gc", "--yes"]] {
        let (code, _, err) = run(world, args);
        assert!(code == 1 && err.contains(hint), "{args:?}: {err}");
    }
    world.git(&["worktree", "add", "-q", "--detach", "../late"]);
    world.reconcile().await;
    for name in without.iter().chain(&["late"]) {
        let refused = world.credential(&world.path(name)).await.expect_err(name);
        assert_eq!(reason_of(&refused), Some(Reason::Blocked), "{name}: {refused}");
        let fix = fix_of(&refused).unwrap_or_default();
        assert!(fix.contains("lakebase init --recover"), "{fix}");
    }
    world.git(&["worktree", "remove", "--force", "../late"]);
    world.reconcile().await;
    let (code, plan, err) = run(world, &["init", "--recover"]);
    assert!(
        code == 1 && err.contains("`lakebase init --recover --yes`"),
        "{err}"
    );
    assert!(plan.contains("project shop on local"), "{plan}");
    assert_eq!(uids(world).await, before, "nothing is created or deleted");
    assert_eq!(run(world, &["status"]).0, 1, "a plan confirms nothing");
}

/// Takes everything back by the command, and checks that it is the same.
async fn recover(world: &World, expected: &Branches) -> String {
    let told = succeed(world, &["init", "--recover", "--yes"]);
    succeed(world, &["status"]);
    let names: Vec<&str> = expected.keys().map(String::as_str).collect();
    assert_eq!(&read(world, &names).await, expected);
    told
}

/// After it a worktree that goes takes its branch along: the branches are ours again.
async fn check_ours(world: &World, name: &str, branches: &Branches) {
    world.git(&["worktree", "remove", "--force", &format!("../{name}")]);
    until("its branch is deleted", async || {
        world.reconcile().await;
        let uid = Some(&branches[name].1);
        !uids(world).await.iter().any(|(_, other)| other.as_ref() == uid)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lg_06_a_deleted_ledger_loses_no_branch() {
    for lost in [&["state.db"][..], &["state.db", "generation"]] {
        let (mut world, branches) = with_data().await;
        world.shut_down().await;
        for name in lost {
            fs::remove_file(state(&world, name)).expect("removed");
        }
        world.start().await;
        check_unconfirmed(&world, &TREES).await;
        let told = recover(&world, &branches).await;
        let proofs = told.matches("it was created when its slot appeared").count();
        assert_eq!(proofs, 3, "{told}");
        check_ours(&world, "abc", &branches).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lg_06_a_truncated_ledger_loses_no_branch() {
    for length in [0, 5000] {
        let (mut world, branches) = with_data().await;
        world.shut_down().await;
        let file = fs::OpenOptions::new().write(true).open(state(&world, "state.db"));
        file.expect("there").set_len(length).expect("truncated");
        world.start().await;
        check_unconfirmed(&world, &TREES).await;
        recover(&world, &branches).await;
        check_ours(&world, "abc", &branches).await;
    }
}

/// The files of a ledger that was closed.
fn copy_of(world: &World) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let parts = ["state.db", "state.db-wal", "state.db-shm"].map(|name| state(world, name));
    parts.map(|part| (part.clone(), fs::read(part).ok())).into()
}

fn put_back(copy: &[(PathBuf, Option<Vec<u8>>)]) {
    for (part, bytes) in copy {
        drop(fs::remove_file(part));
        if let Some(bytes) = bytes {
            fs::write(part, bytes).expect("written");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lg_07_an_older_ledger_serves_what_it_knows_and_takes_the_rest_back() {
    let (mut world, mut branches) = with_data().await;
    world.shut_down().await;
    let yesterday = copy_of(&world);
    world.start().await;
    world.git(&["worktree", "add", "-q", "--detach", "../new"]);
    world.branch(&world.path("new")).await;
    write(&world, "new").await;
    branches.extend(read(&world, &["new"]).await);
    check_ours(&world, "abc", &branches).await;
    branches.remove("abc");
    let reset = world.lakebase(&world.path("x"), &["branch", "reset"]);
    assert!(reset.status.success(), "{reset:?}");
    write(&world, "x").await;
    branches.extend(read(&world, &["x"]).await);
    world.shut_down().await;
    put_back(&yesterday);
    world.start().await;
    let served = read(&world, &["shop"]).await;
    assert_eq!(served["shop"], branches["shop"], "its record is right");
    check_unconfirmed(&world, &["new", "x"]).await;
    let told = recover(&world, &branches).await;
    assert!(told.contains("its uid is recorded in `state.db`"), "{told}");
    check_ours(&world, "new", &branches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lg_08_of_a_damaged_ledger_the_records_count_that_can_be_read() {
    let (mut world, branches) = with_data().await;
    let kept = world.lakebase(&world.path("abc"), &["branch", "keep"]);
    assert!(kept.status.success(), "{kept:?}");
    world.shut_down().await;
    let path = state(&world, "state.db");
    let length = fs::metadata(&path).expect("there").len();
    let file = fs::OpenOptions::new().write(true).open(&path);
    file.expect("there").set_len(length - 1).expect("truncated");
    world.start().await;
    let told = recover(&world, &branches).await;
    assert!(told.contains("is recorded in `state.db.broken-"), "{told}");
    let listed = world.worktree(&world.path("abc")).await.and_then(|it| it.branch);
    assert_eq!(listed.expect("listed").expire_time, None, "it is kept as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn lg_09_a_repository_that_is_away_waits_and_the_others_do_not() {
    let (mut world, branches) = with_data().await;
    let other = world.path("other");
    world.git(&["clone", "-q", ".", "../other"]);
    fs::write(other.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
    world.register_at(&other).await;
    let before = world
        .credential(&other)
        .await
        .expect("ready")
        .branch
        .expect("it has one");
    assert_ne!(before.branch_id, "jane-doe-main", "both are on main");
    world.shut_down().await;
    fs::remove_file(state(&world, "state.db")).expect("removed");
    fs::rename(&other, world.path("away")).expect("moved");
    world.start().await;
    let (code, _, err) = run(&world, &["init", "--recover", "--yes"]);
    assert!(
        code == 1 && err.contains("one repository is not recovered"),
        "{err}"
    );
    assert!(err.contains("lakebase forget"), "{err}");
    assert_eq!(&read(&world, &TREES).await, &branches);
    fs::rename(world.path("away"), &other).expect("back");
    world.reconcile().await;
    let refused = world.credential(&other).await.expect_err("it waits");
    assert!(
        fix_of(&refused).unwrap_or_default().contains("--recover"),
        "{refused}"
    );
    succeed(&world, &["init", "--recover", "--yes"]);
    let after = world
        .credential(&other)
        .await
        .expect("ready")
        .branch
        .expect("it has one");
    assert_eq!((after.branch_id, after.uid), (before.branch_id, before.uid));
    let again = run(&world, &["init", "--recover"]);
    assert!(
        again.0 == 0 && again.2.contains("nothing to recover"),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lg_10_without_registrations_the_repository_here_is_recovered() {
    let (mut world, branches) = with_data().await;
    world.shut_down().await;
    for name in ["state.db", "registrations.json"] {
        fs::remove_file(state(&world, name)).expect("removed");
    }
    world.start().await;
    let (code, _, err) = run(&world, &["init"]);
    assert!(code == 1 && err.contains("--recover"), "{err}");
    let told = succeed(&world, &["init", "--recover", "--yes"]);
    assert!(told.contains("jane-doe-main-worktree-abc"), "{told}");
    assert_eq!(read(&world, &TREES).await, branches);
}

#[tokio::test(flavor = "multi_thread")]
async fn lg_11_starting_over_says_what_is_left_behind_and_deletes_nothing() {
    let (mut world, branches) = with_data().await;
    world.shut_down().await;
    fs::remove_file(state(&world, "state.db")).expect("removed");
    world.start().await;
    let before = uids(&world).await;
    let (code, told, err) = run(&world, &["init", "--fresh"]);
    assert!(
        code == 1 && err.contains("`lakebase init --fresh --yes`"),
        "{err}"
    );
    for name in [
        "jane-doe-main",
        "jane-doe-feature-x",
        "jane-doe-main-worktree-abc",
    ] {
        assert!(told.contains(name), "{told}");
    }
    assert_eq!(run(&world, &["status"]).0, 1, "nothing is confirmed yet");
    let told = succeed(&world, &["init", "--fresh", "--yes", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["left_behind"]["branches"].as_array().map(Vec::len), Some(3));
    succeed(&world, &["status"]);
    let after = uids(&world).await;
    assert!(
        before.iter().all(|branch| after.contains(branch)),
        "{before:?}, {after:?}"
    );
    // What is there is used by its name, as in any repository that is new here.
    assert_eq!(read(&world, &TREES).await, branches);
    let (code, _, err) = run(&world, &["init", "--fresh", "--yes"]);
    assert!(code == 1 && err.contains("the ledger is confirmed"), "{err}");
}

#[test]
fn lg_11_what_goes_together_is_wrong_usage_alone() {
    let world = World::new();
    let code = |args: &[&str]| {
        let output = world.lakebase(Path::new("/"), args);
        output.status.code()
    };
    assert_eq!(code(&["init", "--yes"]), Some(2));
    assert_eq!(code(&["init", "--recover", "--fresh"]), Some(2));
}

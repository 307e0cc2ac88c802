//! A catalog that is lost under a daemon, from the kill to the command that brings everything back.

use crate::world::{World, until};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command of this world, with the daemon's environment.
pub(crate) fn run(world: &World, program: &str, args: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_lakebased")).with_file_name(program);
    assert!(
        program.is_file(),
        "build the workspace first: there is no {}",
        program.display()
    );
    let daemon = world.command();
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(world.main())
        .env_clear()
        .stdin(Stdio::null());
    for (name, value) in daemon.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.output().expect("it runs")
}

/// The exit code, and everything that a command said.
pub(crate) fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn data_directories(world: &World) -> BTreeSet<u64> {
    let below = |dir: &Path| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let projects = below(&world.path("local/projects"))
        .iter()
        .flat_map(|dir| below(dir))
        .collect::<Vec<_>>();
    projects
        .iter()
        .map(|dir| fs::metadata(dir.join("pgdata")).expect("data").ino())
        .collect()
}

fn postmasters(world: &World) -> BTreeSet<String> {
    let all = world.processes().into_iter();
    all.filter(|command| command.contains("postgres -D")).collect()
}

pub(crate) async fn uid_of(world: &World, dir: &Path) -> String {
    let credential = world.credential(dir).await.expect("it is ready");
    credential.branch.expect("it has one").uid
}

pub(crate) async fn query(world: &World, dir: &Path, sql: &'static str) -> String {
    let credential = world.credential(dir).await.expect("it is ready");
    crate::credentials::query(credential, sql)
        .await
        .expect("it answers")
}

/// Each command that shows how the daemon is fails, and names the command that helps.
async fn check_refused(world: &World, dir: &Path) {
    for command in ["up", "status", "doctor", "up"] {
        let (code, text) = said(&run(world, "lakebase", &[command]));
        assert!(
            code == Some(1) && text.contains("run `lakebased local recover`"),
            "{command}: {text}"
        );
    }
    assert!(world.credential(dir).await.is_err(), "nothing is served");
}

/// Shows the plan first, which changes nothing, and then carries it out.
fn recover(world: &World, uid: &str) {
    let (code, text) = said(&run(world, "lakebased", &["local", "recover"]));
    assert!(
        code == Some(1) && text.contains("hint: run `lakebased local recover --yes`"),
        "{text}"
    );
    for part in [
        "catalog         missing",
        "restore",
        "jane-doe-main-worktree-agent",
        uid,
        "finished operations",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!world.path("local/catalog.db").exists(), "nothing was changed");
    let output = run(world, "lakebased", &["local", "recover", "--json"]);
    assert!(
        output.status.code() == Some(1) && output.stdout.starts_with(b"{"),
        "{output:?}"
    );
    let (code, text) = said(&run(world, "lakebased", &["local", "recover", "--yes"]));
    assert!(code == Some(0) && text.contains("recovered"), "{text}");
}

#[tokio::test]
async fn ll_01_a_catalog_lost_under_a_daemon_is_refused_and_recovered_with_everything_that_it_owned() {
    let mut world = World::started().await;
    world.git(&["worktree", "add", "-q", "--detach", "../agent"]);
    let (main, agent) = (world.main(), world.path("agent"));
    let uids = (uid_of(&world, &main).await, uid_of(&world, &agent).await);
    query(&world, &agent, "CREATE TABLE kept AS SELECT 'agent' AS name").await;
    let (directories, running) = (data_directories(&world), postmasters(&world));
    assert!(directories.len() == 3 && !running.is_empty());

    // Its log stays: SQLite would delete it for an empty catalog, and with it the last commits.
    world.kill();
    let log = world.path("local/catalog.db-wal");
    assert!(fs::metadata(&log).expect("it was killed").len() > 0);
    fs::remove_file(world.path("local/catalog.db")).expect("removed");
    check_refused(&world, &agent).await;
    assert_eq!(data_directories(&world), directories);
    assert_eq!(postmasters(&world), running, "computes go on");
    assert!(fs::metadata(&log).expect("it is there still").len() > 0);
    recover(&world, &uids.1);

    // The daemon that was refused tries again.
    until("it is served again", async || {
        run(&world, "lakebase", &["status"]).status.success()
    })
    .await;
    until("the branches are ready", async || {
        world.credential(&agent).await.is_ok()
    })
    .await;
    assert_eq!((uid_of(&world, &main).await, uid_of(&world, &agent).await), uids);
    assert_eq!(query(&world, &agent, "SELECT name FROM kept").await, "agent");
    assert_eq!(data_directories(&world), directories);
    let (code, text) = said(&run(&world, "lakebased", &["local", "recover"]));
    assert!(
        code == Some(1) && text.contains("lakebase down"),
        "while it is served: {text}"
    );

    // They are still its own: it removes the one whose worktree goes.
    world.git(&["worktree", "remove", "--force", "../agent"]);
    until("its branch is reaped", async || {
        world
            .service_names()
            .await
            .iter()
            .all(|name| !name.ends_with("agent"))
    })
    .await;
    assert_eq!(said(&run(&world, "lakebase", &["down"])).0, Some(0));
    let (code, text) = said(&run(&world, "lakebased", &["local", "recover"]));
    assert!(code == Some(0) && text.contains("nothing to recover"), "{text}");
}

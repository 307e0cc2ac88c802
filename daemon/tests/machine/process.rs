//! The daemon as a process on a machine that kills it, starts it many times, and changes under it.

use crate::world::{World, answers, bytes, until};
use lakebase_proto::{connect, v1};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The daemon under strace, which kills it at its N-th call on the files that it keeps things in.
fn killed_at(world: &World, n: u32) -> Command {
    let daemon = world.command();
    let calls = "write,pwrite64,fsync,fdatasync,rename,renameat2,unlink,ftruncate";
    let mut strace = Command::new("strace");
    // The tracer is not the parent: the daemon stays our child.
    strace.args(["-D", "-f", "-q", "-o", "/dev/null"]);
    let state = world.path("state");
    for file in ["state.db", "state.db-wal", "generation.new", "generation"] {
        strace.arg("-P").arg(state.join(file));
    }
    for dir in [world.main(), world.path("w")] {
        strace.arg("-P").arg(dir.join(".env"));
    }
    strace.args(["-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:signal=KILL:when={n}")]);
    strace.arg(daemon.get_program()).env_clear();
    strace.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.stdin(Stdio::null()).stderr(Stdio::null()).process_group(0);
    strace
}

/// A worktree comes and goes. Ends early when the daemon does.
async fn story(world: &World, round: u32) {
    let name = format!("../w{round}");
    world.git(&["worktree", "add", "-q", "--detach", &name]);
    let path = bytes(&world.path(&format!("w{round}")));
    let Ok(mut client) = connect(&world.socket(), Duration::from_secs(5)).await else {
        return;
    };
    let request = v1::GetCredentialRequest { path, rotate: false };
    drop(tokio::time::timeout(Duration::from_secs(15), client.get_credential(request)).await);
    world.git(&["worktree", "remove", "--force", &name]);
    let request = v1::ReconcileRequest {
        path: bytes(&world.main()),
        wait: true,
    };
    drop(tokio::time::timeout(Duration::from_secs(5), client.reconcile(request)).await);
}

/// `LAKEBASE_TEST_LONG=1` takes every call, not a few.
fn sample() -> Vec<u32> {
    match std::env::var_os("LAKEBASE_TEST_LONG") {
        Some(_) => (1..=120).collect(),
        None => vec![1, 4, 9, 17, 30, 52],
    }
}

#[tokio::test]
async fn pr_01_killed_at_any_call_it_makes_no_branch_twice_and_loses_none() {
    if !Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        eprintln!("skipped: there is no strace");
        return;
    }
    let mut world = World::started().await;
    world.git(&["worktree", "add", "-q", "--detach", "../kept"]);
    let before = uid_of_kept(&world).await;
    let mut killed = 0;
    for n in sample() {
        world.shut_down().await;
        if !survives(&world, n).await {
            killed += 1;
        }
        drop(fs::remove_dir_all(world.path(&format!("w{n}"))));
        world.git(&["worktree", "prune"]);
        let begun = Instant::now();
        world.start().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "it took {took:?} to be back");
        world.reconcile().await;
        assert_eq!(uid_of_kept(&world).await, before, "at call {n}");
        let problems = world.repository().await.problems;
        assert!(problems.is_empty(), "at call {n}: {problems:?}");
        let names = world.service_names().await;
        let stem = format!("worktree-w{n}");
        let of_this = names.iter().filter(|name| name.contains(&stem)).count();
        assert!(of_this <= 1, "at call {n} a worktree got two branches: {names:?}");
    }
    assert!(killed > 0, "no call was hit");
    eprintln!("killed {killed} times");
}

async fn uid_of_kept(world: &World) -> String {
    let credential = world.credential(&world.path("kept")).await.expect("ready");
    credential.branch.expect("it has one").uid
}

/// Lives through one story, and says whether the daemon did too.
async fn survives(world: &World, n: u32) -> bool {
    let mut child = killed_at(world, n).spawn().expect("strace is installed");
    let mut has_ended = || child.try_wait().expect("ours").is_some();
    until("it serves, or is gone", async || {
        answers(&world.socket()).await || has_ended()
    })
    .await;
    if !has_ended() {
        story(world, n).await;
    }
    if !has_ended()
        && let Ok(mut client) = connect(&world.socket(), Duration::from_secs(1)).await
    {
        // Its end is a part of the story: the call may be hit in there.
        drop(client.shutdown(v1::ShutdownRequest {}).await);
    }
    child.wait().expect("ours").success()
}

#[tokio::test]
async fn pr_02_of_fifty_started_at_once_one_serves() {
    let world = World::new();
    let mut children: Vec<_> = (0..50)
        .map(|_| world.command().spawn().expect("it starts"))
        .collect();
    until("all but one have gone", async || {
        let ended = children
            .iter_mut()
            .filter_map(|child| child.try_wait().expect("ours"));
        ended.filter(std::process::ExitStatus::success).count() == 49
    })
    .await;
    let mut client = world.client().await;
    client.shutdown(v1::ShutdownRequest {}).await.expect("it answers");
    for mut child in children {
        assert!(child.wait().expect("ours").success());
    }
}

#[tokio::test]
async fn pr_03_a_stale_socket_is_replaced_and_no_pid_is_believed() {
    let mut world = World::new();
    fs::create_dir_all(world.path("state")).expect("made");
    // A process that lives, and is no daemon.
    fs::write(world.path("state/lakebased.pid"), std::process::id().to_string()).expect("written");
    world.start().await;
    world.kill();
    assert!(world.socket().exists(), "a killed daemon leaves its socket");
    world.start().await;
    assert!(world.shut_down().await.success());
}

#[tokio::test]
async fn pr_08_other_environments_find_the_same_socket() {
    let mut world = World::new()
        .with_env("TMPDIR", "/nonexistent")
        .with_env("XDG_RUNTIME_DIR", "/nonexistent");
    world.start().await;
    let mut second = world.command();
    second
        .env_remove("TMPDIR")
        .env("XDG_RUNTIME_DIR", world.path("elsewhere"));
    let said = second.stderr(Stdio::piped()).output().expect("it runs");
    assert!(said.status.success() && String::from_utf8_lossy(&said.stderr).contains("running already"));
}

#[tokio::test]
async fn pr_09_a_path_too_long_for_a_socket_is_told_at_the_start() {
    let world = World::new();
    let long = world.path(&"d".repeat(120));
    let said = world
        .command()
        .env("LAKEBASE_SOCKET", long)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("LAKEBASE_SOCKET"));
}

#[tokio::test]
async fn pr_10_without_terminal_and_streams_it_goes_on() {
    let mut world = World::new();
    let daemon = world.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" --log-stderr --log debug 0<&- 1>&- 2>&-"])
        .arg(daemon.get_program())
        .env_clear();
    command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    world.start_as(command).await;
    world.register().await;
    world.branch(&world.main()).await;
    for signal in ["HUP", "PIPE"] {
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &world.pid().to_string()])
            .status();
        assert!(sent.expect("installed").success());
        world.reconcile().await;
    }
    // Nothing that was opened first became standard error by accident, and got the log.
    let state = fs::read(world.path("state/state.db")).expect("readable");
    assert!(state.starts_with(b"SQLite format 3\0"));
    assert!(world.shut_down().await.success());
}

#[tokio::test]
async fn pr_12_on_another_machine_nothing_of_this_one_is_acted_on() {
    if !rustix::process::geteuid().is_root() || !fs::exists("/etc/machine-id").unwrap_or(false) {
        eprintln!("skipped: another machine id cannot be had");
        return;
    }
    let mut world = World::new();
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"0\"\n");
    world.start().await;
    world.register().await;
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    world.branch(&world.path("w")).await;
    world.shut_down().await;
    world.git(&["worktree", "remove", "--force", "../w"]);
    fs::write(world.path("machine-id"), "0123456789abcdef0123456789abcdef\n").expect("written");
    let daemon = world.command();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" /etc/machine-id && exec \"$0\"",
    ]);
    command
        .arg(daemon.get_program())
        .arg(world.path("machine-id"))
        .env_clear();
    command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    world.start_as(command).await;
    let all = world
        .client()
        .await
        .list_repositories(v1::ListRepositoriesRequest {})
        .await
        .expect("listed");
    assert!(
        all.into_inner().repositories.is_empty(),
        "the other machine's repository is looked after"
    );
    world.register().await;
    world.branch(&world.main()).await;
    world.reconcile().await;
    let names = world.service_names().await;
    assert!(
        names.contains(&"jane-doe-main-worktree-w".to_owned()),
        "{names:?}"
    );
}

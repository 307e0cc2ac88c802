//! `lakebase up` and `lakebase down`, with a daemon in a process of its own: this test binary, called by another name.

use crate::fake::{World, serve};
use crate::scene::{LAKEBASE, Scene, failure, json, stdout, write};
use assert_cmd::Command;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Makes this test binary the daemon.
pub(crate) const SERVE: &str = "LAKEBASE_TEST_SERVE";

#[test]
fn the_daemon_of_the_other_tests() {
    let Some(socket) = std::env::var_os("LAKEBASE_SOCKET").filter(|_| std::env::var_os(SERVE).is_some())
    else {
        return;
    };
    let world = Arc::new(Mutex::new(World::new(Path::new("/nowhere"))));
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(serve(PathBuf::from(socket), world));
}

/// Puts `lakebase` beside a `lakebased` that is this script.
fn installed(scene: &Scene, script: &str) -> Command {
    let bin = scene.dir().join("bin");
    let text = bin.join("script");
    write(&text, script);
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("chmod");
    copy(&text, &bin.join("lakebased"));
    copy(Path::new(LAKEBASE), &bin.join("lakebase"));
    command(scene)
}

/// Copies a program in a process of its own. A file that we had open for writing could still be so in a child that another
/// test was just starting, and a program that somebody writes to cannot be run.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").args([from, to]).status();
    assert!(copied.expect("cp is there").success());
}

fn command(scene: &Scene) -> Command {
    let mut command = scene.pinned(scene.dir().join("bin/lakebase"), &scene.root());
    command.env(SERVE, "1");
    command
}

fn serving() -> String {
    let this = std::env::current_exe().expect("the test binary");
    format!(
        "#!/bin/sh\nexec {} --exact process::the_daemon_of_the_other_tests\n",
        this.display()
    )
}

#[test]
fn the_daemon_is_started_once_and_stopped() {
    let scene = Scene::new();
    let started = json(installed(&scene, &serving()).args(["up", "--json"]));
    let pid = started["pid"].clone();
    assert!(
        pid.as_i64()
            .is_some_and(|pid| pid != i64::from(std::process::id())),
        "{started}"
    );
    let again = stdout(command(&scene).arg("up"));
    assert_eq!(
        again,
        format!("lakebased is running already (version 9.8.7, pid {pid})\n")
    );
    let stopped = json(command(&scene).args(["down", "--json"]));
    assert_eq!(stopped["pid"], pid);
    assert!(!scene.socket().exists());
    assert_eq!(stdout(command(&scene).arg("down")), "lakebased is not running\n");
}

#[test]
fn the_last_words_of_a_daemon_that_dies_are_shown() {
    let scene = Scene::new();
    let script = "#!/bin/sh\necho 'error: cannot trust its directory' >&2\nexit 7\n";
    let (code, text) = failure(installed(&scene, script).arg("up"));
    assert_eq!(code, 1);
    assert!(text.contains("| error: cannot trust its directory"), "{text}");
    assert!(
        text.contains("ended before it answered: exit status: 7"),
        "{text}"
    );
}

#[test]
fn the_log_speaks_for_a_daemon_that_dies_in_silence() {
    let scene = Scene::new();
    let script = "#!/bin/sh\nmkdir -p \"$LAKEBASE_STATE_DIR/log\"\n\
                  echo 'the disk is full' > \"$LAKEBASE_STATE_DIR/log/lakebased.2026-01-01.log\"\nexit 1\n";
    // Relative, while the daemon runs elsewhere.
    let mut up = installed(&scene, script);
    let (code, text) = failure(up.arg("up").env("LAKEBASE_STATE_DIR", "state"));
    assert_eq!(code, 1);
    assert!(text.contains("| the disk is full"), "{text}");
    assert!(scene.root().join("state/log").is_dir());
}

#[test]
fn a_missing_daemon_is_named() {
    let scene = Scene::new();
    installed(&scene, "");
    fs::remove_file(scene.dir().join("bin/lakebased")).expect("remove");
    let (code, text) = failure(command(&scene).arg("up").env("PATH", "/nonexistent"));
    assert_eq!(code, 1);
    assert!(text.contains("cannot start `lakebased`"), "{text}");
    assert!(text.contains("hint: install `lakebased`"), "{text}");
}

#[test]
fn a_daemon_that_hangs_is_not_started_a_second_time() {
    let scene = Scene::new();
    let _listening = std::os::unix::net::UnixListener::bind(scene.socket()).expect("bind");
    let marker = scene.dir().join("started");
    let script = format!("#!/bin/sh\n: > {}\n", marker.display());
    let (code, text) = failure(installed(&scene, &script).arg("up"));
    assert_eq!(code, 3);
    assert!(text.contains("hint: it runs but does not answer"), "{text}");
    assert!(!marker.exists());
}

/// A daemon that was killed, or is shutting down, still accepts connections for a moment and breaks them.
#[test]
fn pr_14_a_daemon_that_exits_just_then_is_followed_by_a_new_one() {
    let scene = Scene::new();
    let listening = std::os::unix::net::UnixListener::bind(scene.socket()).expect("bind");
    let socket = scene.socket();
    let exiting = std::thread::spawn(move || {
        for _ in 0..4 {
            drop(listening.accept().expect("a client"));
        }
        drop(listening);
        fs::remove_file(socket).expect("removed");
    });
    let started = stdout(installed(&scene, &serving()).arg("up"));
    assert!(
        started.starts_with("lakebased is running (version 9.8.7"),
        "{started}"
    );
    exiting.join().expect("it was asked more than once");
    stdout(command(&scene).arg("down"));
}

/// A new daemon exits with success where another one holds the lock, also one that is exiting.
#[test]
fn pr_14_a_daemon_that_leaves_to_one_that_exits_is_started_again() {
    let scene = Scene::new();
    let marker = scene.dir().join("marker");
    let first = format!(
        "#!/bin/sh\n[ -e {0} ] || {{ : > {0}; exit 0; }}\n",
        marker.display()
    );
    let script = serving().replacen("#!/bin/sh\n", &first, 1);
    let started = stdout(installed(&scene, &script).arg("up"));
    assert!(
        started.starts_with("lakebased is running (version 9.8.7"),
        "{started}"
    );
    assert!(marker.exists());
    stdout(command(&scene).arg("down"));
}

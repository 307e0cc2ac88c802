//! The hook exits 0 whatever happens, and says one line when there is something to say.

use crate::fake::{Fake, World};
use crate::scene::{CHECKOUT, HOOK, LAKEBASE, Scene};
use assert_cmd::Command;
use lakebase_proto::Reason;
use lakebase_proto::v1::WorktreeState;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

const NOT_RUNNING: &str = "lakebase: daemon is not running; start it with `lakebase up`\n";
const SILENT: &str = "lakebase: daemon does not answer; git goes on without it\n";

/// Runs the hook, which must succeed and say nothing on standard output, and returns what it said on standard error.
fn said(command: &mut Command) -> String {
    let out = command.assert().code(0).get_output().clone();
    assert!(out.stdout.is_empty(), "{out:?}");
    String::from_utf8(out.stderr).expect("text")
}

#[test]
fn s13_without_a_daemon_it_says_how_to_start_it() {
    let scene = Scene::new();
    assert_eq!(said(&mut scene.hook(&CHECKOUT)), NOT_RUNNING);
}

#[test]
fn s13_a_socket_that_a_dead_daemon_left_is_no_daemon() {
    let scene = Scene::new();
    drop(UnixListener::bind(scene.socket()).expect("bind"));
    assert!(scene.socket().exists());
    assert_eq!(said(&mut scene.hook(&CHECKOUT)), NOT_RUNNING);
}

#[test]
fn s13_a_daemon_that_never_answers_is_not_waited_for() {
    let scene = Scene::new();
    let _listening = UnixListener::bind(scene.socket()).expect("bind");
    assert_eq!(said(&mut scene.hook(&CHECKOUT)), SILENT);
}

#[test]
fn s13_a_server_that_hangs_up_is_no_daemon() {
    let scene = Scene::new();
    let listener = UnixListener::bind(scene.socket()).expect("bind");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_exact(&mut [0; 1]).expect("the first byte");
    });
    let line = said(&mut scene.hook(&CHECKOUT));
    assert_eq!(line, SILENT);
    server.join().expect("it ends");
}

#[test]
fn s13_a_server_that_speaks_another_language_is_no_daemon() {
    let scene = Scene::new();
    let listener = UnixListener::bind(scene.socket()).expect("bind");
    let server = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().expect("accept");
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .expect("write");
        // Until the hook has had enough.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
    });
    assert_eq!(said(&mut scene.hook(&CHECKOUT)), SILENT);
    server.join().expect("it ends");
}

/// What the hook says to a daemon in this state, once that has answered in time: on a busy machine it may not, and the hook
/// is right to go on then.
fn answered(scene: &Scene, fake: &Fake, set: impl Fn(&mut World), wait: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        set(&mut fake.world());
        let line = said(
            scene
                .hook(&CHECKOUT)
                .env("LAKEBASE_HOOK_WAIT", wait)
                .env("GIT_DIR", ".git/worktrees/a"),
        );
        if line != SILENT {
            return line;
        }
        assert!(Instant::now() < deadline, "it never answered in time");
    }
}

#[test]
fn a_checkout_that_changes_nothing_is_not_spoken_of() {
    let scene = Scene::new();
    let fake = scene.ready();
    assert_eq!(answered(&scene, &fake, |_| {}, "3s"), "");
    let sent = fake.world().checkouts.pop().expect("a request");
    assert_eq!(sent.cwd, scene.root().as_os_str().as_bytes());
    assert_eq!(sent.previous_head, CHECKOUT[0].as_bytes());
    assert_eq!(sent.new_head, CHECKOUT[1].as_bytes());
    assert!(sent.branch_checkout);
    assert_eq!(sent.git_dir, b".git/worktrees/a");
}

#[test]
fn a_new_branch_is_announced_when_it_is_ready() {
    let scene = Scene::new();
    let fake = scene.ready();
    let creating = |world: &mut World| world.state = WorktreeState::Creating;
    let line = answered(&scene, &fake, creating, "30s");
    assert!(line.ends_with("lakebase: branch jane-main is ready\n"), "{line}");
}

#[test]
fn a_slow_branch_is_spoken_of_in_between() {
    let scene = Scene::new();
    let fake = scene.ready();
    let slow = |world: &mut World| {
        world.state = WorktreeState::Creating;
        world.making = Duration::from_secs(1);
    };
    let expected = "lakebase: branch jane-main is being made\nlakebase: branch jane-main is ready\n";
    assert_eq!(answered(&scene, &fake, slow, "30s"), expected);
}

#[test]
fn the_wait_ends_before_an_endless_branch() {
    let scene = Scene::new();
    let fake = scene.ready();
    let endless = |world: &mut World| {
        world.state = WorktreeState::Creating;
        world.making = Duration::from_hours(1);
        world.hook_wait = Some(Duration::from_millis(100));
    };
    let expected = "lakebase: branch jane-main is not ready yet; git goes on (see `lakebase status`)\n";
    assert_eq!(answered(&scene, &fake, endless, "50ms"), expected);
    assert_eq!(answered(&scene, &fake, endless, "nonsense"), expected);
    assert_eq!(answered(&scene, &fake, endless, "0"), "");
}

#[test]
fn a_branch_that_cannot_be_had_is_explained() {
    let scene = Scene::new();
    let fake = scene.ready();
    let blocked = |world: &mut World| world.state = WorktreeState::Blocked;
    let expected = "lakebase: no branch yet: the disk is full (see `lakebase status`)\n";
    assert_eq!(answered(&scene, &fake, blocked, "3s"), expected);
}

#[test]
fn s13_every_refusal_exits_with_zero() {
    let scene = Scene::new();
    let fake = scene.ready();
    for (reason, expected) in [
        (Reason::NotARepository, ""),
        (Reason::NotRegistered, ""),
        (Reason::NotAWorktree, ""),
        (Reason::NotConfigured, "lakebase: refused by the test\n"),
        (Reason::Blocked, "lakebase: refused by the test\n"),
        (Reason::NotReady, "lakebase: refused by the test\n"),
        (Reason::ShuttingDown, NOT_RUNNING),
        (Reason::Internal, "lakebase: refused by the test\n"),
    ] {
        let line = answered(&scene, &fake, |world| world.refusal = Some(reason), "3s");
        assert_eq!(line, expected, "{reason:?}");
    }
}

#[test]
fn a_checkout_of_files_is_reported_and_not_spoken_of() {
    let scene = Scene::new();
    let [previous, new, _] = CHECKOUT;
    assert_eq!(
        said(&mut scene.hook(&[previous, new, "0"])),
        "",
        "without a daemon"
    );
    let fake = scene.ready();
    fake.world().state = WorktreeState::Creating;
    assert_eq!(said(&mut scene.hook(&[previous, new, "0"])), "");
    let sent = fake.world().checkouts.pop().expect("a request");
    assert!(!sent.branch_checkout);
}

#[test]
fn s13_garbage_for_arguments_exits_with_zero() {
    let scene = Scene::new();
    let endless = "x".repeat(100_000);
    for args in [
        &[][..],
        &["--help"],
        &["a", "b"],
        &["a", "b", "c", "d"],
        &["-x", "", "é"],
        &[endless.as_str(); 3],
    ] {
        let line = said(&mut scene.hook(args));
        assert!(line.starts_with("lakebase: "), "{line}");
    }
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    let mut hook = scene.hook(&[]);
    assert_eq!(said(hook.args([bytes, bytes, bytes])), NOT_RUNNING);
}

#[test]
fn the_command_line_runs_the_same_hook() {
    let scene = Scene::new();
    let call = |rest: &[&str]| scene.lakebase(&[&["hook", "post-checkout"], rest].concat());
    assert_eq!(said(&mut call(&CHECKOUT)), NOT_RUNNING);
    for rest in [&[][..], &["--nonsense"], &["-h"]] {
        assert!(said(&mut call(rest)).starts_with("lakebase: this is git's post-checkout hook"));
    }
}

#[test]
fn s13_without_a_home_it_exits_with_zero() {
    let scene = Scene::new();
    let mut hook = scene.hook(&CHECKOUT);
    let line = said(hook.env_remove("HOME").env_remove("LAKEBASE_SOCKET"));
    assert!(line.contains("set HOME or LAKEBASE_SOCKET"), "{line}");
}

#[test]
fn s13_without_a_working_directory_it_exits_with_zero() {
    let scene = Scene::new();
    let gone = scene.dir().join("gone");
    let script = format!(
        "mkdir {0} && cd {0} && rmdir {0} && exec {HOOK} a b 1",
        gone.display()
    );
    assert_eq!(said(scene.pinned("sh", &scene.dir()).args(["-c", &script])), "");
}

#[test]
fn s13_closed_standard_streams_are_nobodys_fault() {
    let scene = Scene::new();
    for program in [HOOK.to_owned(), format!("{LAKEBASE} hook post-checkout")] {
        let script = format!("exec {program} a b 1 <&- >&- 2>&-");
        assert_eq!(said(scene.pinned("sh", &scene.root()).args(["-c", &script])), "");
    }
}

#[test]
fn s13_a_reader_that_is_gone_is_nobodys_fault() {
    let scene = Scene::new();
    // The pipe's reader ends at once; the hook writes into it a moment later, by then without anybody to read.
    let script = format!(
        "(sleep 0.2; {HOOK} a b 1; echo $? >&3) 3>code 2>&1 | true; while ! [ -s code ]; do sleep 0.05; done"
    );
    scene
        .pinned("sh", &scene.dir())
        .args(["-c", &script])
        .assert()
        .success();
    let code = std::fs::read_to_string(scene.dir().join("code")).expect("the code");
    assert_eq!(code.trim(), "0");
}

#[test]
fn git_itself_is_not_disturbed() {
    let scene = Scene::new();
    let fake = scene.ready();
    std::fs::create_dir_all(scene.root().join(".git/hooks")).expect("mkdir");
    std::os::unix::fs::symlink(HOOK, scene.hook_place()).expect("symlink");
    let git = |args: &[&str]| {
        let author = ["-c", "user.name=J", "-c", "user.email=j@localhost", "-C", "shop"];
        scene.git(&[&author[..], args].concat());
    };
    git(&["commit", "--quiet", "--allow-empty", "-m", "first"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while fake.world().checkouts.is_empty() {
        assert!(Instant::now() < deadline, "the daemon heard of no checkout");
        git(&["checkout", "--quiet", "-B", "feature/x"]);
    }
    let sent = fake.world().checkouts[0].clone();
    assert_eq!(sent.cwd, scene.root().as_os_str().as_bytes());
    assert_eq!(sent.new_head.len(), 40);
    drop(fake);
    git(&["checkout", "--quiet", "main"]);
}

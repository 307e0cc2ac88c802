//! The hook beside a daemon in every state that a daemon can be in: it exits with 0, soon, and the repository stays as it is.

use crate::fake::World;
use crate::process::SERVE;
use crate::scene::{CHECKOUT, Scene, write};
use lakebase_proto::Reason;
use lakebase_proto::v1::WorktreeState;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the hook runs in each state; `LAKEBASE_TEST_ROUNDS=10000` for all of it.
fn rounds() -> u32 {
    let named = std::env::var("LAKEBASE_TEST_ROUNDS").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// The slowest may take: far above what it takes when nothing else runs, far below what a person waits for.
const SLOWEST: Duration = Duration::from_millis(1500);

/// Runs the hook in a state, and returns how long the slowest run took.
fn runs(scene: &Scene, state: &str) -> Duration {
    let before = fingerprint(scene);
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds() {
        let begun = Instant::now();
        let mut hook = scene.hook(&CHECKOUT);
        let out = hook.env("LAKEBASE_HOOK_WAIT", "50ms").assert();
        slowest = slowest.max(begun.elapsed());
        let out = out.get_output().clone();
        assert_eq!(out.status.code(), Some(0), "{state}: {out:?}");
        assert!(out.stdout.is_empty(), "{state}: {out:?}");
        let lines = String::from_utf8(out.stderr).expect("text");
        assert!(lines.lines().count() <= 2, "{state}: {lines}");
    }
    assert_eq!(fingerprint(scene), before, "{state}: the repository changed");
    eprintln!("{state}: the slowest of {} took {slowest:?}", rounds());
    assert!(slowest < SLOWEST, "{state}: {slowest:?}");
    slowest
}

/// What git and the file system say about the repository.
fn fingerprint(scene: &Scene) -> (Vec<u8>, Vec<u8>, usize) {
    let index = fs::read(scene.root().join(".git/index")).unwrap_or_default();
    let status = scene
        .pinned("git", &scene.root())
        .args(["status", "--porcelain=v2"])
        .assert();
    let files = fs::read_dir(scene.root().join(".git")).expect("listed").count();
    (index, status.get_output().stdout.clone(), files)
}

fn scene() -> Scene {
    let scene = Scene::new();
    write(&scene.root().join("file"), "text\n");
    scene.git(&["-C", "shop", "add", "file"]);
    scene
}

/// Serves one connection after the other in a thread, until the process ends.
fn server(scene: &Scene, serve: impl Fn(UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(scene.socket()).expect("bind");
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
}

#[test]
fn git_14_what_git_sets_for_its_hooks_is_left_alone() {
    let scene = scene();
    let before = fingerprint(&scene);
    let elsewhere = scene.dir().join("elsewhere");
    let mut hook = scene.hook(&CHECKOUT);
    for name in [
        "GIT_INDEX_FILE",
        "GIT_WORK_TREE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_QUARANTINE_PATH",
    ] {
        hook.env(name, &elsewhere);
    }
    hook.env("GIT_DIR", ".git").assert().success();
    assert_eq!(fingerprint(&scene), before);
    assert!(!elsewhere.exists());
}

#[test]
fn s13_with_nothing_that_listens() {
    let scene = scene();
    runs(&scene, "absent");
    drop(UnixListener::bind(scene.socket()).expect("bind"));
    runs(&scene, "a stale socket");
    fs::remove_file(scene.socket()).expect("removed");
    fs::write(scene.socket(), "").expect("written");
    runs(&scene, "a file");
    fs::remove_file(scene.socket()).expect("removed");
    fs::create_dir(scene.socket()).expect("made");
    runs(&scene, "a directory");
    fs::remove_dir(scene.socket()).expect("removed");
    std::os::unix::fs::symlink(scene.socket(), scene.socket()).expect("made");
    runs(&scene, "a link to itself");
}

#[test]
fn s13_with_a_server_that_never_accepts_and_one_whose_queue_is_full() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let scene = scene();
    let full = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    bind(&full, &SocketAddrUnix::new(scene.socket()).expect("a path")).expect("bound");
    listen(&full, 0).expect("listening");
    // One finds a place in the queue; nobody else does.
    let _waiting = UnixStream::connect(scene.socket()).expect("connected");
    runs(&scene, "a full queue");
    fs::remove_file(scene.socket()).expect("removed");
    let _silent = UnixListener::bind(scene.socket()).expect("bind");
    runs(&scene, "silent");
}

#[test]
fn s13_with_servers_that_are_wedged_or_talk_nonsense() {
    let keep = |stream: UnixStream| drop(std::thread::spawn(move || (&stream).read_to_end(&mut Vec::new())));
    let says = |words: Vec<u8>| {
        move |mut stream: UnixStream| {
            stream.write_all(&words).ok();
            keep(stream);
        }
    };
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // A frame of another kind, length and stream each time.
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let away = [&settings[..], &[0, 0, 8, 7, 0, 0, 0, 0, 0], &[0; 8]].concat();
    for (state, words) in [
        ("wedged after it accepted", vec![]),
        ("wedged after its first words", settings.to_vec()),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("noise", noise.clone()),
        ("noise after its first words", [&settings[..], &noise].concat()),
        ("going away", away),
    ] {
        let scene = scene();
        server(&scene, says(words));
        runs(&scene, state);
    }
    let scene = scene();
    server(&scene, drop);
    runs(&scene, "hangs up");
}

#[test]
fn s13_with_a_daemon_that_refuses_or_takes_for_ever() {
    let scene = scene();
    let fake = scene.ready();
    runs(&scene, "well");
    fake.world().refusal = Some(Reason::NotRegistered);
    runs(&scene, "does not know the repository");
    fake.world().refusal = Some(Reason::Internal);
    runs(&scene, "broken inside");
    fake.world().refusal = None;
    let endless = |world: &mut World| {
        world.state = WorktreeState::Creating;
        world.making = Duration::from_hours(1);
        world.hook_wait = Some(Duration::from_hours(1));
    };
    endless(&mut fake.world());
    runs(&scene, "a branch that takes for ever");
}

/// A daemon in a process of its own, so that it can be stopped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn s13_with_a_daemon_that_is_stopped() {
    let scene = scene();
    let this = std::env::current_exe().expect("the test binary");
    let daemon = Command::new(this)
        .args(["--exact", "process::the_daemon_of_the_other_tests"])
        .env(SERVE, "1")
        .env("LAKEBASE_SOCKET", scene.socket())
        .stdout(Stdio::null())
        .spawn();
    let daemon = Daemon(daemon.expect("it starts"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while UnixStream::connect(scene.socket()).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
    }
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stopped");
    runs(&scene, "stopped");
}

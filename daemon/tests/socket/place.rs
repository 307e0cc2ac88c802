//! The socket and the lock at their places, while somebody takes them away; and a supervisor that watches.

use crate::frames::{Raw, call, message};
use crate::world::{World, bytes, until, until_within};
use lakebase_proto::{connect, v1};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

async fn answers(world: &World) -> bool {
    match connect(&world.socket(), Duration::from_secs(1)).await {
        Ok(mut client) => client.get_daemon_info(v1::GetDaemonInfoRequest {}).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn pr_04_a_socket_that_goes_while_the_daemon_runs_comes_back() {
    let mut world = World::new().without_postgres();
    world.start().await;
    let socket = world.socket();
    let run = socket.parent().expect("a directory");
    for disturb in [
        &(|| fs::remove_file(&socket)) as &dyn Fn() -> std::io::Result<()>,
        &|| fs::remove_dir_all(run),
        &|| fs::remove_file(&socket).and_then(|()| fs::write(&socket, "not a socket")),
    ] {
        disturb().expect("done");
        assert!(!answers(&world).await);
        until("it is back", async || answers(&world).await).await;
    }
    assert!(world.shut_down().await.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn s15_a_daemon_that_lost_its_lock_ends_and_the_next_one_serves() {
    let mut world = World::new().without_postgres();
    world.start().await;
    let lock = world.path("state/lakebased.lock");
    fs::remove_file(&lock).expect("removed");
    let begun = Instant::now();
    let mut status = None;
    until_within(Duration::from_secs(5), "it ends", async || {
        status = world.ended();
        status.is_some()
    })
    .await;
    eprintln!("without its lock it ended after {:?}", begun.elapsed());
    assert!(!status.expect("it ended").success());
    let log = fs::read_to_string(world.path("state/log/lakebased.log")).expect("a log");
    assert!(log.contains("cannot go on without the lock"), "{log}");
    world.start().await;
    assert!(answers(&world).await);
}

#[tokio::test]
async fn pr_05_a_supervisor_is_told_that_the_daemon_is_well_until_it_hangs() {
    let mut world = World::new().without_postgres();
    let path = world.path("notify");
    let told = UnixDatagram::bind(&path).expect("bound");
    told.set_nonblocking(true).expect("set");
    let next = || {
        let mut text = [0; 64];
        let length = told.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    };
    let mut command = world.command();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "900000");
    world.start_as(command).await;
    let mut first = None;
    until("it is ready", async || {
        first = first.take().or_else(next);
        first.is_some()
    })
    .await;
    assert_eq!(first.as_deref(), Some("READY=1"));
    let is_well = async || next().as_deref() == Some("WATCHDOG=1");
    for _ in 0..3 {
        until("it is well", is_well).await;
    }
    let pid = rustix::process::Pid::from_raw(world.pid().cast_signed()).expect("it runs");
    let signal = |signal| rustix::process::kill_process(pid, signal).expect("sent");
    signal(rustix::process::Signal::STOP);
    // What was on its way is read, then there is nothing for longer than the supervisor would wait.
    while next().is_some() {}
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(next(), None, "a daemon that is stopped says that it is well");
    signal(rustix::process::Signal::CONT);
    until("it is well again", is_well).await;
    assert!(world.shut_down().await.success());
    until("it says that it ends", async || {
        next().as_deref() == Some("STOPPING=1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_told_to_end_waits_for_no_client() {
    let mut world = World::new().without_postgres();
    world.start().await;
    world.register().await;
    let mut deaf = Raw::greet(&world.socket(), 0).await;
    deaf.send(&call(1, "WatchCredential")).await;
    deaf.send(&message(1, &bytes(&world.main()))).await;
    let _silent = Raw::connect(&world.socket()).await;
    let mut idle = world.client().await;
    assert!(idle.get_daemon_info(v1::GetDaemonInfoRequest {}).await.is_ok());
    let begun = Instant::now();
    assert!(world.shut_down().await.success());
    eprintln!(
        "with a client that reads nothing it ended after {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(!world.socket().exists());
}

#[tokio::test]
async fn pr_10_it_goes_on_when_nobody_reads_its_standard_error() {
    let mut world = World::new()
        .without_postgres()
        .with_args(&["--log-stderr", "--log", "debug"]);
    let mut command = world.command();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.stderr(writer);
    drop(reader);
    world.start_as(command).await;
    world.register().await;
    world.reconcile().await;
    assert!(answers(&world).await);
    assert!(world.shut_down().await.success());
}

//! Clients of our own user that say too little, too much, or the same thing too often.

use crate::frames::{DATA, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, Raw, call, frame, message};
use crate::numbers::{cpu, memory, metric, metrics};
use crate::world::{PATIENCE, World, bytes, until};
use lakebase_proto::v1::control_client::ControlClient;
use lakebase_proto::{Client, v1};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::metadata::{AsciiMetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request};

/// A daemon without PostgreSQL, which these tests have no use for.
async fn daemon(args: &[&str]) -> World {
    let mut world = World::new()
        .without_postgres()
        .with_args(&["--metrics-period", "100"])
        .with_args(args);
    world.start().await;
    world
}

async fn info(client: &mut Client) -> v1::DaemonInfo {
    let answer = timeout(PATIENCE, client.get_daemon_info(v1::GetDaemonInfoRequest {})).await;
    answer.expect("in time").expect("it answers").into_inner()
}

/// A channel to the daemon that adds nothing to what it is told to send.
async fn bare(world: &World, authority: &'static str) -> ControlClient<Channel> {
    let socket = world.socket();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move {
            UnixStream::connect(socket)
                .await
                .map(hyper_util::rt::TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static(authority);
    let channel = endpoint.connect_with_connector(connector).await;
    ControlClient::new(channel.expect("connected"))
}

#[tokio::test]
async fn sec_04_a_call_without_the_key_or_from_a_web_page_is_refused() {
    let world = daemon(&[]).await;
    let call = async |authority, metadata: &[&'static str]| {
        let mut request = Request::new(v1::ShutdownRequest {});
        for key in metadata {
            let key = AsciiMetadataKey::from_static(key);
            request
                .metadata_mut()
                .insert(key, MetadataValue::from_static("x"));
        }
        let answer = bare(&world, authority).await.shutdown(request).await;
        answer.map_err(|status| status.code())
    };
    let ours = "http://localhost";
    for (authority, metadata) in [
        (ours, &[][..]),
        (ours, &["lakebase-client", "origin"]),
        ("http://evil.example", &["lakebase-client"]),
        ("http://localhost:8080", &["lakebase-client"]),
    ] {
        let refused = call(authority, metadata).await.expect_err("it is refused");
        assert_eq!(refused, Code::PermissionDenied, "{authority} {metadata:?}");
    }
    until("they are counted", async || {
        metric(&world, "lakebased_calls_refused_total") == 4
    })
    .await;
    // By hand, as with `grpcurl -H 'lakebase-client: me'`.
    assert!(call(ours, &["lakebase-client"]).await.is_ok());
}

#[tokio::test]
async fn ld_06_who_says_nothing_or_nonsense_is_hung_up_on() {
    let world = daemon(&[]).await;
    let mut client = world.client().await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut raw = Raw::connect(&world.socket()).await;
        raw.send(&PREFACE[..n % PREFACE.len()]).await;
        silent.push(raw);
    }
    let mut nonsense = Raw::connect(&world.socket()).await;
    nonsense.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(nonsense.0.read(&mut [0; 64]).await.unwrap_or_default(), 0);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "nonsense is not waited for"
    );
    info(&mut client).await;
    for raw in &mut silent {
        let ended = timeout(Duration::from_secs(10), raw.0.read(&mut [0; 1])).await;
        assert_eq!(ended.expect("it hangs up").unwrap_or_default(), 0);
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(1900),
        "each has its two seconds"
    );
    info(&mut client).await;
    until("they are counted", async || {
        metric(&world, "lakebased_connections_refused_total{reason=\"silent\"}") == 201
    })
    .await;
}

#[tokio::test]
async fn ld_06_calls_that_are_taken_back_at_once_end_the_connection() {
    let world = daemon(&[]).await;
    let mut client = world.client().await;
    let mut raw = Raw::greet(&world.socket(), 65535).await;
    let mut flood = Vec::new();
    for n in 0..100 {
        let stream = 2 * n + 1;
        flood.extend(call(stream, "GetDaemonInfo"));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    drop(tokio::io::AsyncWriteExt::write_all(&mut raw.0, &flood).await);
    // It says why, unless it hung up on what we were still saying: then the reset overtakes its last word.
    let away = timeout(PATIENCE, raw.until(GOAWAY)).await;
    if let Some(away) = away.expect("it hangs up") {
        assert_eq!(away.payload[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    }
    info(&mut client).await;
}

#[tokio::test]
async fn ld_07_what_is_too_large_is_refused_before_there_is_room_for_it() {
    let world = daemon(&[]).await;
    let before = memory(world.pid());
    let mut raw = Raw::greet(&world.socket(), 65535).await;
    // A message that claims 4 GiB.
    raw.send(&call(1, "RegisterRepository")).await;
    let claim = [&[0][..], &u32::MAX.to_be_bytes(), &[0; 1000]].concat();
    raw.send(&frame(DATA, 0, 1, &claim)).await;
    let answer = timeout(PATIENCE, raw.until(HEADERS)).await.expect("in time");
    let answer = answer.expect("an answer");
    assert_eq!((answer.stream, answer.flags & END_STREAM), (1, END_STREAM));

    let mut client = world.client().await;
    let path = vec![b'/'; 300 * 1024];
    let refused = client
        .register_repository(v1::RegisterRepositoryRequest { path })
        .await;
    assert_eq!(refused.expect_err("too large").code(), Code::OutOfRange);

    let mut request = Request::new(v1::GetDaemonInfoRequest {});
    let value = MetadataValue::try_from("x".repeat(1024 * 1024)).expect("text");
    request.metadata_mut().insert("padding", value);
    let refused = timeout(PATIENCE, client.get_daemon_info(request)).await;
    assert!(refused.expect("in time").is_err());

    info(&mut world.client().await).await;
    let after = memory(world.pid());
    assert!(after < before + 16 * 1024, "{before} kB became {after} kB");
}

/// So few file descriptors that a crowd uses them up.
const FEW: Rlimit = Rlimit {
    current: Some(64),
    maximum: Some(64),
};

#[tokio::test(flavor = "multi_thread")]
async fn ld_05_out_of_file_descriptors_it_rests_and_recovers() {
    let world = daemon(&[]).await;
    // Answered, so it has counted its seats by what it had.
    info(&mut world.client().await).await;
    let pid = Pid::from_raw(world.pid().cast_signed());
    prlimit(pid, Resource::Nofile, FEW).expect("limited");
    crowd(&world).await;
    let refused = "lakebased_connections_refused_total{reason=\"exhausted\"}";
    until("it is counted", async || metric(&world, refused) > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ld_05_with_few_file_descriptors_the_crowd_waits_outside() {
    let mut world = World::new()
        .without_postgres()
        .with_args(&["--metrics-period", "100"]);
    let plain = world.command();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    command
        .arg(plain.get_program())
        .args(plain.get_args())
        .env_clear();
    for (key, value) in plain.get_envs() {
        command.envs(value.map(|value| (key, value)));
    }
    world.start_as(command).await;
    crowd(&world).await;
    let metrics = metrics(&world);
    assert_eq!(
        metrics["lakebased_connections_refused_total{reason=\"exhausted\"}"],
        0
    );
}

/// Three hundred clients that want in and stay, while one that is in goes on.
async fn crowd(world: &World) {
    let mut client = world.client().await;
    info(&mut client).await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        let mut raw = Raw::connect(&world.socket()).await;
        drop(tokio::io::AsyncWriteExt::write_all(&mut raw.0, PREFACE).await);
        crowd.push(raw);
    }
    let (begun, before) = (Instant::now(), cpu(world.pid()));
    while begun.elapsed() < Duration::from_secs(2) {
        info(&mut client).await;
        // Somebody always wants in.
        crowd.push(Raw::connect(&world.socket()).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let used = cpu(world.pid()).saturating_sub(before);
    eprintln!("without file descriptors: {used:?} of a processor in 2 s, with 50 calls a second");
    assert!(used < Duration::from_millis(500), "it spins: {used:?}");
    drop(crowd);
    let begun = Instant::now();
    until("a new client is served", async || {
        let connected = lakebase_proto::connect(&world.socket(), Duration::from_secs(1)).await;
        match connected {
            Ok(mut client) => client.get_daemon_info(v1::GetDaemonInfoRequest {}).await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
    eprintln!("served again after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn ld_04_a_stream_that_nobody_reads_is_closed_and_others_are_served() {
    let mut world = World::new().with_args(&["--metrics-period", "100", "--unread", "1500"]);
    world.start().await;
    world.register().await;
    world.branch(&world.main()).await;
    let path = bytes(&world.main());
    let open = |world: &World| metric(world, "lakebased_streams_open");
    // One that answers pings but has no room for a message, and one that reads nothing at all.
    let mut full = Raw::greet(&world.socket(), 0).await;
    let mut deaf = Raw::greet(&world.socket(), 0).await;
    for raw in [&mut full, &mut deaf] {
        raw.send(&call(1, "WatchCredential")).await;
        raw.send(&message(1, &path)).await;
    }
    let reading = tokio::spawn(async move { while full.next().await.is_some() {} });
    until("both follow", async || open(&world) == 2).await;
    let mut client = world.client().await;
    let mut slowest = Duration::ZERO;
    for n in 0..200 {
        let request = v1::GetCredentialRequest {
            path: path.clone(),
            rotate: n % 50 == 0,
        };
        let begun = Instant::now();
        client.get_credential(request).await.expect("ready");
        if n % 50 != 0 {
            slowest = slowest.max(begun.elapsed());
        }
    }
    eprintln!("beside two streams that nobody reads, the slowest of 200 calls took {slowest:?}");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    until("both are given up", async || open(&world) == 0).await;
    assert!(!reading.is_finished(), "who answers pings keeps its connection");
    let ended = timeout(PATIENCE, async {
        while deaf.0.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {}
    });
    ended.await.expect("who answers nothing is hung up on");
    reading.abort();
}

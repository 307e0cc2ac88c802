//! Clients of an endpoint that are slow, greedy, or not who they say.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::lake::Lake;
use crate::wire::SSL_REQUEST;

/// How long the server gives a client to show who it is, and a little more for a busy machine.
const DEADLINE: Duration = Duration::from_secs(5 + 5);

async fn connect(lake: &Lake) -> TcpStream {
    let (host, port) = lake.address("production").await;
    TcpStream::connect((host, port)).await.unwrap()
}

/// What the server says until it hangs up, which it must.
async fn last_words(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let ended = timeout(DEADLINE, stream.read_to_end(&mut said)).await;
    drop(ended.expect("the server hangs up"));
    said
}

#[tokio::test]
async fn pg_02_a_startup_packet_has_a_cap_and_a_deadline() {
    let lake = Lake::start().await;
    lake.project().await;
    for length in [0_u32, 7, 10_001, u32::MAX] {
        let mut stream = connect(&lake).await;
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        assert_eq!(last_words(&mut stream).await, b"", "{length}");
    }
    let begun = Instant::now();
    let mut silent = connect(&lake).await;
    silent.write_all(&[0, 0]).await.unwrap();
    // A byte now and then is no progress: the deadline is for the whole.
    let mut slow = connect(&lake).await;
    slow.write_all(&[0, 0, 39, 16]).await.unwrap();
    let dripping = async {
        while slow.write_all(b"x").await.is_ok() && begun.elapsed() < DEADLINE * 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        begun.elapsed()
    };
    let (said, dripped) = tokio::join!(last_words(&mut silent), dripping);
    assert_eq!(said, b"");
    assert!(dripped < DEADLINE, "it was listened to for {dripped:?}");
    assert_eq!(lake.sql("production", "SELECT 1").await, "1");
    lake.stop().await;
}

/// Silent connections to an endpoint, each of them opened again as soon as it is closed.
struct Crowd {
    stop: CancellationToken,
    clients: JoinSet<usize>,
}

impl Crowd {
    fn gather((host, port): (String, u16), size: usize) -> Self {
        let (stop, mut clients) = (CancellationToken::new(), JoinSet::new());
        for _ in 0..size {
            let (stop, address) = (stop.clone(), format!("{host}:{port}"));
            clients.spawn(async move {
                let mut renewed = 0;
                let silence = async {
                    loop {
                        if let Ok(mut stream) = TcpStream::connect(&address).await {
                            drop(stream.read(&mut [0]).await);
                            renewed += 1;
                        }
                    }
                };
                stop.run_until_cancelled(silence).await;
                renewed
            });
        }
        Self { stop, clients }
    }

    async fn disperse(self) -> usize {
        self.stop.cancel();
        self.clients.join_all().await.iter().sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_11_silent_connections_to_an_endpoint_keep_nobody_out() {
    const LOGINS: usize = 100;
    let lake = Lake::start().await;
    lake.project().await;
    lake.branch("other").await;
    for branch in ["production", "other"] {
        lake.sql(branch, "SELECT 1").await;
    }
    let crowd = Crowd::gather(lake.address("production").await, 300);
    let passwords = [lake.password("production").await, lake.password("other").await];
    let (mut there, mut others, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..LOGINS {
        let begun = Instant::now();
        others += usize::from(lake.psql("other", &passwords[1], "", "SELECT 1").await.ok);
        slowest = slowest.max(begun.elapsed());
        there += usize::from(lake.psql("production", &passwords[0], "", "SELECT 1").await.ok);
    }
    let renewed = crowd.disperse().await;
    eprintln!("logins: {there} there, {others} elsewhere, the slowest after {slowest:?}; {renewed} renewals");
    assert_eq!(others, LOGINS);
    assert!(there >= LOGINS * 95 / 100, "{there} of {LOGINS}");
    assert!(renewed > 300, "the crowd was disconnected and came back");
    lake.stop().await;
}

#[tokio::test]
async fn pg_03_bytes_that_come_before_tls_are_refused() {
    let lake = Lake::start().await;
    lake.project().await;
    let mut stream = connect(&lake).await;
    let smuggled = [&SSL_REQUEST[..], b"\0\0\0\x08\0\x03\0\0"].concat();
    stream.write_all(&smuggled).await.unwrap();
    assert_eq!(last_words(&mut stream).await.first(), None);
    lake.stop().await;
}

#[tokio::test]
async fn pg_04_cancel_requests_with_foreign_keys_cancel_nothing() {
    let lake = Lake::start().await;
    lake.project().await;
    let password = lake.password("production").await;
    let session = lake.psql(
        "production",
        &password,
        "",
        "DO $$ BEGIN FOR i IN 1..60 LOOP PERFORM pg_sleep(0.05); END LOOP; END $$; SELECT 'went on'",
    );
    let flood = async {
        for number in 0..400_u32 {
            let mut stream = connect(&lake).await;
            // Every process id that the session may have, and never its secret.
            let key = [number.to_be_bytes(), [1, 2, 3, 4]].concat();
            let packet = [&[0, 0, 0, 16, 4, 210, 22, 46][..], &key].concat();
            stream.write_all(&packet).await.unwrap();
            assert_eq!(
                last_words(&mut stream).await,
                b"",
                "a cancel request has no answer"
            );
        }
    };
    let (said, ()) = tokio::join!(session, flood);
    assert!(said.ok && said.out.contains("went on"), "{said:?}");
    lake.stop().await;
}

#[tokio::test]
async fn pg_05_a_compute_that_is_killed_under_a_session_comes_back_with_its_own_data() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.sql("production", "CREATE TABLE whose AS SELECT 'production' AS name")
        .await;
    let dev = lake.branch("dev").await;
    lake.sql("dev", "UPDATE whose SET name = 'dev'").await;
    let uid = dev["uid"].as_str().unwrap();
    let pid_file = lake
        .local
        .data_dir()
        .join("projects/shop")
        .join(uid)
        .join("pgdata/postmaster.pid");
    let password = lake.password("dev").await;
    let session = lake.psql("dev", &password, "", "SELECT pg_sleep(60)");
    let killing = async {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        while lake.sql("dev", count).await != "1" {}
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.unwrap().success());
    };
    let (said, ()) = timeout(Duration::from_secs(50), async { tokio::join!(session, killing) })
        .await
        .expect("the session ends with its compute");
    assert!(!said.ok, "{said:?}");
    assert_eq!(lake.sql("dev", "SELECT name FROM whose").await, "dev");
    assert_eq!(
        lake.sql("production", "SELECT name FROM whose").await,
        "production"
    );
    let state = lake.ok("GET", "projects/shop/branches/dev", Value::Null).await;
    assert_eq!(state["uid"], dev["uid"]);
    lake.stop().await;
}

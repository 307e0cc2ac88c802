//! Open sessions to branches while the daemon, through which they pass, is killed and started again.

use crate::world::{World, until};
use lakebase_proto::v1;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

async fn open(credential: &v1::Credential) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&credential.host)
        .port(u16::try_from(credential.port).expect("a port"))
        .database(&credential.database)
        .username(&credential.user)
        .password(&credential.password)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&credential.ssl_root_cert);
    PgConnection::connect_with(&options).await
}

async fn ask(connection: &mut PgConnection, statement: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(statement).fetch_one(connection).await
}

/// Sessions of each branch; a compute takes fifty.
const EACH: usize = 40;
const OPEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";

/// Clients that have only begun to say who they are.
async fn arrive(credential: &v1::Credential) -> Vec<TcpStream> {
    let port = u16::try_from(credential.port).expect("a port");
    let mut arriving = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect((credential.host.as_str(), port))
            .await
            .expect("connected");
        stream
            .write_all(&[0, 0, 0, 8, 4, 210, 22, 47])
            .await
            .expect("sent");
        arriving.push(stream);
    }
    arriving
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_06_sessions_end_with_the_daemon_and_the_same_password_opens_new_ones() {
    let mut world = World::started().await;
    let mut credentials = Vec::new();
    for name in ["one", "two"] {
        world.git(&["worktree", "add", "-q", "--detach", &format!("../{name}")]);
        credentials.push(world.credential(&world.path(name)).await.expect("ready"));
    }
    let mut sessions = Vec::new();
    for credential in &credentials {
        for _ in 0..EACH {
            sessions.push(open(credential).await.expect("it opens"));
        }
        let session = sessions.last_mut().expect("many");
        assert_eq!(
            usize::try_from(ask(session, OPEN).await.expect("answered")),
            Ok(EACH)
        );
    }
    let arriving = arrive(&credentials[0]).await;
    world.kill();
    let begun = Instant::now();
    let mut ended = JoinSet::new();
    for mut session in sessions {
        ended.spawn(async move { timeout(PATIENCE, ask(&mut session, "SELECT 1::bigint")).await });
    }
    for ended in ended.join_all().await {
        assert!(
            ended.expect("it does not hang").is_err(),
            "a session went on through nobody"
        );
    }
    for mut stream in arriving {
        let said = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        drop(said.expect("it does not hang"));
    }
    eprintln!("{} sessions were told within {:?}", 2 * EACH, begun.elapsed());
    world.start().await;
    for credential in &credentials {
        let mut session = None;
        until("the password from before opens", async || {
            session = open(credential).await.ok();
            session.is_some()
        })
        .await;
        let mut session = session.expect("it is open");
        until("none of the old sessions is left", async || {
            ask(&mut session, OPEN).await.expect("answered") == 1
        })
        .await;
    }
}

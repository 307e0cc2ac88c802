//! Credentials: waited for, shared, rotated, followed, written to `.env` and nowhere else.

use crate::world::{World, bytes, until};
use lakebase_proto::v1;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tokio_stream::StreamExt;

/// Logs in with a credential and asks one question.
pub(crate) async fn query(credential: v1::Credential, statement: &str) -> Result<String, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&credential.host)
        .port(u16::try_from(credential.port).expect("a port"))
        .database(&credential.database)
        .username(&credential.user)
        .password(&credential.password)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&credential.ssl_root_cert);
    let mut connection = PgConnection::connect_with(&options).await?;
    let row = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .fetch_optional(&mut connection)
        .await?;
    connection.close().await?;
    Ok(row.map(|row| row.get(0)).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_of_a_new_worktree_wait_and_share_one_password() {
    let world = World::started().await;
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (mut client, path) = (world.client().await, bytes(&world.path("abc")));
        calls.spawn(async move {
            let request = v1::GetCredentialRequest { path, rotate: false };
            client
                .get_credential(request)
                .await
                .expect("ready in time")
                .into_inner()
        });
    }
    let mut credentials = calls.join_all().await;
    let first = credentials.pop().expect("thirty");
    assert!(
        credentials
            .iter()
            .all(|credential| credential.password == first.password)
    );
    assert_eq!(
        query(first, "SELECT current_user::text").await.expect("it opens"),
        "jane.doe@example.com"
    );
}

#[tokio::test]
async fn a_watcher_is_told_of_a_rotation_and_of_another_git_branch() {
    let world = World::started().await;
    world.git(&["worktree", "add", "-q", "-b", "one", "../w"]);
    let dir = world.path("w");
    let request = v1::WatchCredentialRequest { path: bytes(&dir) };
    let mut stream = world
        .client()
        .await
        .watch_credential(request)
        .await
        .expect("followed")
        .into_inner();
    let first = stream.next().await.expect("one").expect("ready");

    let request = v1::GetCredentialRequest {
        path: bytes(&dir),
        rotate: true,
    };
    let rotated = world
        .client()
        .await
        .get_credential(request)
        .await
        .expect("minted")
        .into_inner();
    assert_ne!(rotated.password, first.password);
    let second = stream.next().await.expect("two").expect("ready");
    assert_eq!(second.password, rotated.password);
    query(first, "SELECT 'the old one is still good'")
        .await
        .expect("it opens");

    world.git_in(&dir, &["switch", "-q", "-c", "two"]);
    let third = stream.next().await.expect("three").expect("ready");
    assert_eq!(third.branch.expect("it has one").branch_id, "jane-doe-two");
}

#[tokio::test]
async fn the_env_file_is_private_kept_apart_and_only_where_git_ignores_it() {
    let world = World::started().await;
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    let file = world.path("abc/.env");
    fs::write(&file, "MINE=1").expect("written");
    let credential = world.credential(&world.path("abc")).await.expect("ready");
    let has_password =
        async || fs::read_to_string(&file).is_ok_and(|text| text.contains(&credential.password));
    until("the block is there", has_password).await;
    assert!(
        fs::read_to_string(&file)
            .expect("readable")
            .starts_with("MINE=1\n")
    );
    assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o600);

    fs::write(world.main().join(".gitignore"), "").expect("written");
    fs::write(world.main().join(".env"), "MINE=2").expect("written");
    world.reconcile().await;
    let worktree = world.worktree(&world.main()).await.expect("listed");
    assert!(
        worktree
            .problem
            .is_some_and(|problem| problem.fix.contains(".gitignore"))
    );
    let text = fs::read_to_string(world.main().join(".env")).expect("readable");
    assert_eq!(text, "MINE=2");
}

#[tokio::test]
async fn no_secret_is_in_the_state_directory_or_on_a_command_line() {
    let world = World::started().await;
    let password = world.credential(&world.main()).await.expect("ready").password;
    let token = fs::read_to_string(world.path("local/databrickscfg")).expect("readable");
    let token = token
        .lines()
        .find_map(|line| line.strip_prefix("token = "))
        .expect("a token")
        .to_owned();
    for secret in [&password, &token] {
        assert!(
            !holds(&world.path("state"), secret.as_bytes()),
            "a secret is in the state directory"
        );
        assert!(
            !world.processes().iter().any(|process| process.contains(secret)),
            "a secret is on a command line"
        );
    }
    assert!(
        holds(&world.path("local/databrickscfg"), token.as_bytes()),
        "the search finds what is there"
    );
}

fn holds(path: &Path, secret: &[u8]) -> bool {
    if path.is_dir() {
        return fs::read_dir(path)
            .expect("listed")
            .flatten()
            .any(|entry| holds(&entry.path(), secret));
    }
    fs::read(path).is_ok_and(|bytes| bytes.windows(secret.len()).any(|window| window == secret))
}

//! The engine over real PostgreSQL.

use super::*;
use crate::compute::sql::{self, DATABASE};
use sqlx::{Connection, PgConnection};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

mod faults;
mod owner;
mod privileges;
mod room;

const CREATOR: &str = "jane@localhost";

/// A data directory that the user of computes can reach, and that goes with the value.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
        Self { dir }
    }

    async fn open(&self) -> Engine {
        self.open_with(Duration::from_mins(5)).await
    }

    async fn open_with(&self, suspend_timeout: Duration) -> Engine {
        let data_dir = self.dir.path().join("data");
        Engine::open(EngineConfig {
            data_dir,
            pg_bindir: pg_bindir(),
            suspend_timeout,
            running_computes: 20,
        })
        .await
        .expect("PostgreSQL is installed")
    }

    fn names_below(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("data").join(dir))
            .expect("listed")
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// The release to test with, when it is not to be the newest one found.
fn pg_bindir() -> Option<PathBuf> {
    std::env::var_os("LAKEBASE_PG_BINDIR").map(PathBuf::from)
}

fn key(uid: &str) -> BranchKey {
    BranchKey {
        project: "shop".into(),
        uid: uid.into(),
    }
}

/// A catalog that has these branches, and nothing under way.
fn known(branches: &[BranchKey]) -> Known<'_> {
    Known {
        branches,
        ..Known::default()
    }
}

async fn with_root(scratch: &Scratch) -> (Engine, BranchKey) {
    let engine = scratch.open().await;
    engine.create_root(&key("br-root"), CREATOR).await.expect("made");
    (engine, key("br-root"))
}

async fn open(engine: &Engine, key: &BranchKey) -> (Session, PgConnection) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let session = engine.connect(key).await.expect("it wakes");
        match enter(&session).await {
            Ok(connection) => return (session, connection),
            // A postmaster that is being killed may still take a connection, and drop it.
            Err(error) => assert!(Instant::now() < deadline, "it does not answer: {error}"),
        }
    }
}

/// Opens a session of the owner in the default database.
async fn enter(session: &Session) -> Result<PgConnection, sqlx::Error> {
    let mut outside = sql::open(&session.access).await?;
    let inside = sql::enter(&mut outside, &session.access, DATABASE).await;
    outside.close().await?;
    let mut inside = inside?;
    sqlx::query("SET search_path = public")
        .execute(&mut inside)
        .await?;
    Ok(inside)
}

/// Opens a session of a user, as the listener would for a client.
async fn log_in(session: &Session, user: &str, database: &str) -> PgConnection {
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .socket(session.access.socket_dir())
        .username(user);
    let connected = PgConnection::connect_with(&options.database(database)).await;
    connected.expect("it may log in")
}

async fn execute(engine: &Engine, key: &BranchKey, statement: &'static str) {
    let (_session, mut connection) = open(engine, key).await;
    sqlx::query(statement)
        .execute(&mut connection)
        .await
        .expect("executed");
    connection.close().await.expect("closed");
}

async fn number(engine: &Engine, key: &BranchKey, query: &'static str) -> i64 {
    let (_session, mut connection) = open(engine, key).await;
    let number = sqlx::query_scalar(query)
        .fetch_one(&mut connection)
        .await
        .expect("answered");
    connection.close().await.expect("closed");
    number
}

fn pid_of(scratch: &Scratch, key: &BranchKey) -> Option<String> {
    let file = scratch
        .dir
        .path()
        .join("data/projects")
        .join(&key.project)
        .join(&key.uid)
        .join("pgdata/postmaster.pid");
    fs::read_to_string(file).ok()?.lines().next().map(str::to_owned)
}

#[tokio::test]
async fn a_fork_has_the_data_and_goes_its_own_way() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 1::bigint AS n").await;
    let fork = engine
        .fork(&root, &key("br-child"), Durability::Ephemeral, None)
        .await
        .expect("forked");
    assert!(fork.lsn.contains('/'), "{fork:?}");
    execute(&engine, &key("br-child"), "INSERT INTO t VALUES (2)").await;
    execute(&engine, &root, "INSERT INTO t VALUES (10)").await;
    assert_eq!(
        number(&engine, &key("br-child"), "SELECT sum(n)::bigint FROM t").await,
        3
    );
    assert_eq!(number(&engine, &root, "SELECT sum(n)::bigint FROM t").await, 11);
    assert!(engine.sizes(&root).await.expect("measured").logical > 1_000_000);
    let grandchild = engine
        .fork(
            &key("br-child"),
            &key("br-grandchild"),
            Durability::Ephemeral,
            None,
        )
        .await;
    grandchild.expect("forked");
    assert_eq!(
        number(&engine, &key("br-grandchild"), "SELECT sum(n)::bigint FROM t").await,
        3
    );
    engine.shutdown().await;
}

/// Money moves between accounts all the while; a copy in which a sum differs has lost or doubled a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn forks_of_a_source_under_write_load_are_consistent() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(
        &engine,
        &root,
        "CREATE TABLE a AS SELECT g AS id, 1000::bigint AS money FROM generate_series(1, 20000) g",
    )
    .await;
    execute(&engine, &root, "ALTER TABLE a ADD PRIMARY KEY (id)").await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (engine, root, stop) = (engine.clone(), root.clone(), stop.clone());
        writers.spawn(async move {
            let (_session, mut connection) = open(&engine, &root).await;
            let mut count = 0_u64;
            while !stop.is_cancelled() {
                let (from, to) = (rand::random_range(1..=20000), rand::random_range(1..=20000));
                let mut tx = connection.begin().await.expect("begun");
                for (id, amount) in [(from.min(to), -7_i64), (from.max(to), 7)] {
                    let update = sqlx::query("UPDATE a SET money = money + $2 WHERE id = $1")
                        .bind(id)
                        .bind(amount);
                    update.execute(&mut *tx).await.expect("updated");
                }
                tx.commit().await.expect("committed");
                count += 1;
            }
            count
        });
    }
    // A copy that started from the newest checkpoint it holds, and not from its own, would miss what it copied before that.
    let (busy, all, done) = (engine.clone(), root.clone(), stop.clone());
    let checkpoints = tokio::spawn(async move {
        while !done.is_cancelled() {
            execute(&busy, &all, "CHECKPOINT").await;
        }
    });
    for n in 0..10 {
        let child = key(&format!("br-child-{n}"));
        engine
            .fork(&root, &child, Durability::Ephemeral, None)
            .await
            .expect("forked");
        assert_eq!(
            number(&engine, &child, "SELECT sum(money)::bigint FROM a").await,
            20_000_000,
            "fork {n}"
        );
        amcheck(&engine, &child).await;
        engine.delete(&child).await.expect("deleted");
    }
    stop.cancel();
    checkpoints.await.expect("no panic");
    let written: u64 = writers.join_all().await.into_iter().sum();
    assert!(
        written > 100,
        "the source was hardly written to: {written} transactions"
    );
    engine.shutdown().await;
}

/// PostgreSQL's own check of every table and index.
async fn amcheck(engine: &Engine, key: &BranchKey) {
    let session = engine.connect(key).await.expect("it wakes");
    let program = engine.shared.postgres.program("pg_amcheck");
    let output = tokio::process::Command::new(program)
        .args([
            "--install-missing",
            "--heapallindexed",
            "-U",
            "cloud_admin",
            "-d",
            DATABASE,
            "-h",
        ])
        .arg(session.access.socket_dir())
        .env("PGPASSWORD", session.access.password().expose())
        .output()
        .await
        .expect("pg_amcheck is installed with the server");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test]
async fn a_source_that_sleeps_is_forked_asleep() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 7::bigint AS n").await;
    engine.shutdown().await;
    let fork = engine
        .fork(&root, &key("br-child"), Durability::Ephemeral, None)
        .await
        .expect("forked");
    assert!(fork.lsn.contains('/'), "{fork:?}");
    assert_eq!(
        (engine.state(&root), pid_of(&scratch, &root)),
        (ComputeState::Suspended, None)
    );
    assert_eq!(number(&engine, &key("br-child"), "SELECT n FROM t").await, 7);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_running_compute_is_adopted_after_our_end() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    let pid = pid_of(&scratch, &root).expect("it runs");
    let process = rustix::process::Pid::from_raw(pid.parse().expect("a number"));
    assert_eq!(
        rustix::process::getpgid(process).ok(),
        process,
        "Ctrl-C is not for it"
    );
    // Nobody stops it: that is how it looks after kill -9 of our process.
    drop(engine);
    let engine = scratch.open().await;
    assert_eq!(
        engine
            .recover(known(std::slice::from_ref(&root)), DateTime::UNIX_EPOCH)
            .await
            .expect("recovered")
            .adopted,
        1
    );
    assert_eq!(engine.state(&root), ComputeState::Running);
    assert_eq!(number(&engine, &root, "SELECT 1::bigint").await, 1);
    assert_eq!(pid_of(&scratch, &root), Some(pid));
    engine.shutdown().await;
    assert_eq!(
        pid_of(&scratch, &root),
        None,
        "an adopted one is stopped like any other"
    );
}

#[tokio::test]
async fn ll_06_what_no_branch_owns_is_moved_to_lost_and_its_compute_stopped() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    let fork = async |uid: &str| {
        let forked = engine.fork(&root, &key(uid), Durability::Ephemeral, None).await;
        forked.expect("forked");
    };
    fork("br-orphan").await;
    execute(
        &engine,
        &key("br-orphan"),
        "CREATE TABLE kept AS SELECT 42::bigint AS n",
    )
    .await;
    assert!(pid_of(&scratch, &key("br-orphan")).is_some());
    drop(engine);
    let place = scratch.dir.path().join("data/projects/shop/br-orphan");
    let inode = fs::metadata(&place).expect("it is there").ino();
    let engine = scratch.open().await;
    let recovered = engine
        .recover(known(std::slice::from_ref(&root)), DateTime::UNIX_EPOCH)
        .await
        .expect("recovered");
    let lost = scratch
        .dir
        .path()
        .join("data/lost/shop.br-orphan.19700101T000000Z.not-in-catalog");
    assert_eq!((recovered.adopted, recovered.swept), (1, 0));
    assert_eq!(recovered.lost, [lost.canonicalize().expect("it is there")]);
    assert_eq!(fs::metadata(&lost).expect("it is there").ino(), inode);
    assert!(
        !lost.join("pgdata/postmaster.pid").exists(),
        "it was stopped in order"
    );
    assert!(matches!(
        engine.connect(&key("br-orphan")).await,
        Err(EngineError::Missing(_))
    ));
    // Nothing ever empties it.
    let again = engine
        .recover(known(std::slice::from_ref(&root)), DateTime::UNIX_EPOCH)
        .await
        .expect("recovered");
    assert!(again.lost.is_empty() && lost.is_dir());
    fs::rename(&lost, &place).expect("moved back");
    assert_eq!(number(&engine, &key("br-orphan"), "SELECT n FROM kept").await, 42);
    engine.shutdown().await;
}

#[tokio::test]
async fn ll_06_what_was_half_made_or_half_removed_is_removed_and_nothing_else() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    for uid in ["br-unfinished", "br-finished", "br-removed"] {
        let forked = engine.fork(&root, &key(uid), Durability::Ephemeral, None).await;
        forked.expect("forked");
    }
    engine.shutdown().await;
    let data = scratch.dir.path().join("data");
    let id = uuid::Uuid::new_v4();
    let made = |names: &[&str]| {
        for name in names {
            fs::create_dir_all(data.join(name)).expect("made");
        }
    };
    let half = format!("projects/shop/br-half.{}.tmp", id.simple());
    let template = format!("template-15-0a1b2c3d.{}.tmp", id.simple());
    made(&[&half, &template, &format!("trash/br-gone-{id}")]);
    let kept = [
        "projects/shop/backup.tmp",
        "projects/shop/My notes",
        "mine.tmp",
        "trash/old",
        "lost/whatever",
    ];
    made(&kept);
    // Its descriptor proves that it was finished: the row that says otherwise is an older one.
    fs::write(data.join("projects/shop/br-finished/branch.json"), "{}").expect("written");
    let (unfinished, removed) = ([key("br-unfinished"), key("br-finished")], [key("br-removed")]);
    let known = Known {
        branches: std::slice::from_ref(&root),
        unfinished: &unfinished,
        removed: &removed,
    };
    let recovered = engine
        .recover(known, DateTime::UNIX_EPOCH)
        .await
        .expect("recovered");
    assert_eq!((recovered.swept, recovered.lost.len()), (5, 1), "{recovered:?}");
    for kept in kept {
        assert!(data.join(kept).is_dir(), "{kept}");
    }
    let mut left = scratch.names_below("projects/shop");
    left.sort();
    assert_eq!(left, ["My notes", "backup.tmp", "br-root"]);
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_05_a_killed_postmaster_comes_back_with_its_data() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    engine
        .fork(&root, &key("br-child"), Durability::Ephemeral, None)
        .await
        .expect("forked");
    execute(
        &engine,
        &key("br-child"),
        "CREATE TABLE t AS SELECT 5::bigint AS n",
    )
    .await;
    let pid = pid_of(&scratch, &key("br-child")).expect("it runs");
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status()
        .expect("kill is installed");
    assert!(killed.success());
    assert_eq!(number(&engine, &key("br-child"), "SELECT n FROM t").await, 5);
    assert_ne!(pid_of(&scratch, &key("br-child")), Some(pid));
    engine.shutdown().await;
}

#[tokio::test]
async fn an_idle_compute_is_suspended_and_a_used_one_is_not() {
    let scratch = Scratch::new();
    let engine = scratch.open_with(Duration::from_millis(10)).await;
    engine.create_root(&key("br-root"), CREATOR).await.expect("made");
    engine
        .fork(&key("br-root"), &key("br-used"), Durability::Ephemeral, None)
        .await
        .expect("forked");
    let (session, connection) = open(&engine, &key("br-used")).await;
    let suspending = tokio::spawn(engine.clone().suspend_idle());
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.state(&key("br-root")) == ComputeState::Running {
        assert!(Instant::now() < deadline, "it is not suspended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(engine.state(&key("br-used")), ComputeState::Running);
    assert_eq!(
        number(&engine, &key("br-root"), "SELECT 1::bigint").await,
        1,
        "it wakes again"
    );
    connection.close().await.expect("closed");
    drop(session);
    while engine.state(&key("br-used")) == ComputeState::Running {
        assert!(Instant::now() < deadline, "it is not suspended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    suspending.abort();
    engine.shutdown().await;
}

#[tokio::test]
async fn many_callers_wake_it_once() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    engine.shutdown().await;
    let sessions = futures(&engine, &root, 20).await;
    assert_eq!(sessions, 20);
    let log = scratch.dir.path().join("data/projects/shop/br-root/compute.log");
    let starts = fs::read_to_string(log)
        .expect("readable")
        .matches("starting PostgreSQL")
        .count();
    assert_eq!(starts, 2, "once for the role, once for all of them");
    engine.shutdown().await;
}

async fn futures(engine: &Engine, key: &BranchKey, count: usize) -> usize {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (engine, key) = (engine.clone(), key.clone());
        calls.spawn(async move { engine.connect(&key).await.is_ok() });
    }
    calls.join_all().await.into_iter().filter(|is_ok| *is_ok).count()
}

#[tokio::test]
async fn roles_own_what_the_service_says_whatever_their_names() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    let odd = "o'\"brien; DROP TABLE x;--@éxample.com";
    engine.ensure_role(&root, odd, false).await.expect("made");
    engine
        .ensure_role(&root, odd, false)
        .await
        .expect("there already");
    let session = engine.connect(&root).await.expect("it wakes");
    let create = async |user: &str| {
        let mut connection = log_in(&session, user, DATABASE).await;
        let created = sqlx::query("CREATE TABLE made_here (n int)")
            .execute(&mut connection)
            .await;
        connection.close().await.expect("closed");
        created
    };
    let refused = create(odd).await.expect_err("it is no member").to_string();
    assert!(
        refused.contains("permission denied for schema public"),
        "{refused}"
    );
    create(CREATOR).await.expect("the creator may");
    drop(session);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_failed_copy_leaves_nothing() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    engine.shutdown().await;
    let pgdata = scratch.dir.path().join("data/projects/shop/br-root/pgdata");
    std::os::unix::fs::symlink("/elsewhere", pgdata.join("pg_tblspc/16400")).expect("linked");
    let error = engine
        .fork(&root, &key("br-child"), Durability::Ephemeral, None)
        .await
        .expect_err("it has a tablespace");
    assert!(
        matches!(error, EngineError::Copy(CopyError::Tablespace(_))),
        "{error:?}"
    );
    assert_eq!(scratch.names_below("projects/shop"), ["br-root"]);
}

//! What must be so: of a clone, of production after the server was killed, of the disk and of the processes.

use crate::lake::{Branch, Lake};
use crate::load::{Load, open};
use crate::server::{PATIENCE, Process, Server, owner_password, pg_program, postmaster, socket_dir};
use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

const POLL: Duration = Duration::from_millis(10);

/// How long what was removed may lie in the trash.
const TRASH: Duration = Duration::from_secs(20);

/// The numbers that a clone must have and may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Acknowledged before the clone was asked for.
    pub(crate) least: i64,
    /// Sent before the clone was there.
    pub(crate) most: i64,
}

/// A clone has all that was committed before it was asked for, nothing from after it was there, no half of a transaction,
/// and files that PostgreSQL finds nothing wrong with.
pub(crate) async fn clone(lake: &Lake, branch: &Branch, span: Span, load: &Load) -> anyhow::Result<()> {
    let mut session = open(&lake.door(&branch.id).await?).await?;
    balance(&mut session).await?;
    let last: i64 = sqlx::query_scalar("SELECT coalesce(max(n), 0) FROM numbers")
        .fetch_one(&mut session)
        .await?;
    ensure!(
        (span.least..=span.most).contains(&last),
        "the last number is {last}, not in {span:?}"
    );
    gapless(&mut session, last, load).await?;
    session.close().await?;
    let pgdata = lake.pgdata(&branch.uid);
    let check = Command::new(pg_program(&pgdata, "pg_amcheck")?)
        .args([
            "--all",
            "--install-missing",
            "--heapallindexed",
            "--parent-check",
            "--rootdescend",
        ])
        .args(["--username", "cloud_admin", "--host"])
        .arg(socket_dir(&pgdata)?)
        .env("PGPASSWORD", owner_password(&pgdata)?)
        .kill_on_drop(true)
        .output();
    let checked = timeout(PATIENCE * 5, check)
        .await
        .context("pg_amcheck takes too long")??;
    let said = [checked.stdout, checked.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(checked.status.success(), "pg_amcheck: {}", said.concat());
    Ok(())
}

/// Money only moves: all four sums are the same.
async fn balance(session: &mut PgConnection) -> anyhow::Result<()> {
    let sums: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT sum(abalance)::bigint FROM pgbench_accounts), (SELECT sum(bbalance)::bigint FROM pgbench_branches),
                (SELECT sum(tbalance)::bigint FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0)::bigint FROM pgbench_history)",
    )
    .fetch_one(session)
    .await?;
    ensure!(
        [sums.1, sums.2, sums.3] == [sums.0; 3],
        "the sums differ: {sums:?}"
    );
    Ok(())
}

/// Each number up to the last one is there, but for those of which nobody knows.
async fn gapless(session: &mut PgConnection, last: i64, load: &Load) -> anyhow::Result<()> {
    let unknown: Vec<i64> = load.numbers(|numbers| {
        let unknown = numbers.unknown.iter().copied();
        unknown.filter(|number| *number <= last).collect()
    });
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM numbers WHERE n <= $1 AND n <> ALL ($2)")
        .bind(last)
        .bind(&unknown)
        .fetch_one(session)
        .await?;
    let wanted = last - i64::try_from(unknown.len())?;
    ensure!(
        there == wanted,
        "of {wanted} acknowledged numbers {there} are there"
    );
    Ok(())
}

/// No acknowledged commit of production is lost, and its books are balanced. Returns how often money moved.
pub(crate) async fn production(lake: &Lake, load: &Load) -> anyhow::Result<i64> {
    let acknowledged = load.numbers(|numbers| numbers.acknowledged);
    let mut session = open(&lake.door("production").await?).await?;
    gapless(&mut session, acknowledged, load).await?;
    balance(&mut session).await?;
    let transfers = sqlx::query_scalar("SELECT count(*) FROM pgbench_history")
        .fetch_one(&mut session)
        .await?;
    session.close().await?;
    Ok(transfers)
}

/// Production takes new commits.
pub(crate) async fn goes_on(load: &Load) -> anyhow::Result<()> {
    let before = load.numbers(|numbers| numbers.acknowledged);
    let deadline = Instant::now() + PATIENCE;
    while load.numbers(|numbers| numbers.acknowledged) < before + 5 {
        ensure!(Instant::now() < deadline, "production takes no commits");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Rows, directories and processes belong together: each row has its data, and there is nothing else.
pub(crate) async fn tidy(server: &Server) -> anyhow::Result<()> {
    let lake = server.lake();
    let branches = lake.branches().await?;
    let uids: BTreeSet<_> = branches.iter().map(|branch| branch.uid.clone()).collect();
    let dirs = names(&lake.data_dir().join("projects/shop"))?;
    ensure!(dirs == uids, "the disk has {dirs:?}, the catalog {uids:?}");
    for uid in &uids {
        let version = lake.pgdata(uid).join("PG_VERSION");
        ensure!(version.is_file(), "branch {uid} has no data");
    }
    let root = names(lake.data_dir())?;
    let half_made: Vec<_> = root.iter().filter(|name| name.contains(".tmp")).collect();
    ensure!(half_made.is_empty(), "half-made: {half_made:?}");
    let deadline = Instant::now() + TRASH;
    loop {
        let trash = names(&lake.data_dir().join("trash"))?;
        if trash.is_empty() {
            break;
        }
        ensure!(Instant::now() < deadline, "in the trash for long: {trash:?}");
        tokio::time::sleep(POLL).await;
    }
    let sockets = names(&lake.data_dir().join("run")).unwrap_or_default();
    ensure!(
        sockets.len() <= uids.len(),
        "{} socket directories for {} branches",
        sockets.len(),
        uids.len()
    );
    no_stray_process(server, &branches).await
}

/// Each process is the postmaster of a living branch. One that was just told to stop may take a moment.
async fn no_stray_process(server: &Server, branches: &[Branch]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let wanted: BTreeSet<_> = branches
            .iter()
            .filter_map(|branch| postmaster(&server.lake().pgdata(&branch.uid)))
            .collect();
        let load = |process: &Process| process.args.contains("pgbench");
        let processes = server.processes()?.into_iter();
        let stray: Vec<_> = processes
            .filter(|process| !wanted.contains(&process.pid) && !load(process))
            .collect();
        if stray.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "stray processes: {stray:?}");
        tokio::time::sleep(POLL).await;
    }
}

fn names(dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

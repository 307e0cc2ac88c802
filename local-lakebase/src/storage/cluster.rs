//! A cluster as a whole: made by `initdb`, read by `pg_controldata`, and the settings that a branch runs with.

use super::layout::{Layout, PORT};
use crate::engine::{BranchKey, Durability, EngineError};
use crate::postgres::{Postgres, RunAs};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// Sorts by code point, whatever the machine's language; macOS has long had no `C.UTF-8`.
const LOCALE: &str = if cfg!(target_os = "macos") { "C" } else { "C.UTF-8" };
const LOCALE_OPTION: &str = if cfg!(target_os = "macos") {
    "--locale=C"
} else {
    "--locale=C.UTF-8"
};

/// The role that owns the cluster. Nobody logs in as it but us.
pub(crate) const OWNER: &str = "cloud_admin";

/// Settings for many small computes on one machine; each is there for a reason that was measured.
///
/// `track_commit_timestamp`: tells since when a branch is as it is, for forks of a point in time; ten bytes a transaction.
/// `wal_level=replica` and the slots: a fork is a backup. `fsync` stands apart, because it depends on the branch.
/// `syncfs`: the stock start flushes a thousand files one by one.
const SETTINGS: &str = "\
listen_addresses = ''
unix_socket_permissions = 0700
shared_buffers = 16MB
max_connections = 50
max_worker_processes = 4
max_logical_replication_workers = 0
max_wal_senders = 4
max_replication_slots = 8
wal_level = replica
wal_keep_size = 0
wal_buffers = 256kB
max_wal_size = 256MB
min_wal_size = 32MB
full_page_writes = on
track_commit_timestamp = on
synchronous_commit = on
autovacuum_max_workers = 1
jit = off
logging_collector = off
log_line_prefix = '%m [%p] '
";

/// How a cluster is made. It is not flushed: who publishes it does that.
pub(crate) const INITDB: [&str; 6] = [
    "--no-sync",
    "--data-checksums",
    "--wal-segsize=1",
    "--auth=reject",
    "--encoding=UTF8",
    LOCALE_OPTION,
];

/// Makes an empty cluster in `dir/pgdata`; `initdb` refuses a directory that has something in it.
pub(crate) async fn init_cluster(
    layout: &Layout,
    postgres: &Postgres,
    dir: &Path,
) -> Result<(), EngineError> {
    layout.make_dir(dir)?;
    let mut command = program(postgres, "initdb", layout.run_as());
    command
        .args(INITDB)
        .args(["--username", OWNER, "--pgdata"])
        .arg(dir.join("pgdata"))
        .current_dir(dir);
    run("initdb", &mut command).await.map(drop)
}

/// Writes the settings of a branch, in the file that is read last and that a reload can change.
pub(crate) fn write_settings(
    layout: &Layout,
    key: &BranchKey,
    pgdata: &Path,
    durability: Durability,
) -> Result<(), EngineError> {
    write_settings_for(layout, &layout.socket_dir(key), pgdata, durability)
}

/// Writes the settings of a cluster whose socket is in `socket_dir`.
pub(crate) fn write_settings_for(
    layout: &Layout,
    socket_dir: &Path,
    pgdata: &Path,
    durability: Durability,
) -> Result<(), EngineError> {
    let fsync = match durability {
        Durability::Ephemeral => "off",
        Durability::Durable => "on",
    };
    let syncfs = if cfg!(target_os = "linux") {
        "recovery_init_sync_method = syncfs\n"
    } else {
        ""
    };
    let socket_dir = socket_dir.display().to_string().replace('\'', "''");
    let text = format!(
        "{SETTINGS}{syncfs}fsync = {fsync}\nport = {PORT}\nunix_socket_directories = '{socket_dir}'\n"
    );
    let path = pgdata.join("postgresql.auto.conf");
    let write = || {
        fs::write(&path, text)?;
        layout.run_as().own(&path)
    };
    write().map_err(|source| EngineError::Io {
        path: path.clone(),
        source,
    })
}

/// Where and when a cluster was stopped in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndOfLog {
    /// The place in its log.
    pub(crate) lsn: String,
    /// Not before that, to the second.
    pub(crate) time: DateTime<Utc>,
}

/// The end of a cluster that was stopped in order, so that its files are all there is. `None` if it was not.
pub(crate) async fn end_of_log(postgres: &Postgres, pgdata: &Path) -> Result<Option<EndOfLog>, EngineError> {
    let mut command = program(postgres, "pg_controldata", RunAs::Us);
    let output = run("pg_controldata", command.arg(pgdata)).await?;
    Ok(parse_end(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_end(text: &str) -> Option<EndOfLog> {
    let field = |wanted: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.trim())
    };
    let is_shut_down = field("Database cluster state") == Some("shut down");
    // In the language and time zone that our programs are given, and without fractions.
    let time = NaiveDateTime::parse_from_str(field("Time of latest checkpoint")?, "%a %b %e %H:%M:%S %Y");
    is_shut_down.then_some(EndOfLog {
        lsn: field("Latest checkpoint location")?.to_owned(),
        time: time.ok()?.and_utc() + TimeDelta::seconds(1),
    })
}

/// One of PostgreSQL's programs, in an environment of its own.
pub(crate) fn program(postgres: &Postgres, name: &str, run_as: RunAs) -> Command {
    let mut command = Command::new(postgres.program(name));
    command
        .env_clear()
        .env("LC_ALL", LOCALE)
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    if let RunAs::User { uid, gid } = run_as {
        command.uid(uid).gid(gid);
    }
    command
}

async fn run(name: &'static str, command: &mut Command) -> Result<Output, EngineError> {
    let output = command.output().await.map_err(|error| EngineError::Program {
        program: name,
        said: error.to_string(),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(EngineError::Program { program: name, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_read_if_it_was_in_order() {
        let text = "Database cluster state:               shut down\n\
                    Latest checkpoint location:           0/46AE1B8\n\
                    Time of latest checkpoint:            Mon Nov  2 09:05:07 2026\n";
        let end = parse_end(text).expect("it was in order");
        assert_eq!(
            (end.lsn.as_str(), end.time.to_rfc3339()),
            ("0/46AE1B8", "2026-11-02T09:05:08+00:00".into())
        );
        assert_eq!(parse_end(&text.replace("shut down", "in production")), None);
    }
}

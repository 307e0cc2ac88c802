//! The ledger: repositories, records, tombstones and events in SQLite. The only user of sqlx in the daemon. Holds no
//! secret and decides nothing.

use crate::reconcile::blocking;
use crate::{clock, machine};
use chrono::{DateTime, TimeDelta};
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, BranchUid, ProjectId, RepositoryId, Slot};
use daemon_core::state::{Reaped, Record, RecordState};
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{FromRow, SqlitePool};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

mod copies;
mod mark;
mod private_file;
mod recovery;
mod registrations;
mod repositories;

use mark::{Mark, Marked};
use registrations::RegistrationsFile;
pub(crate) use repositories::RepositoryRow;

/// For how long it is remembered which branches we deleted: none can be brought back for longer (branches: undelete, 7 days).
const TOMBSTONES_KEPT: TimeDelta = TimeDelta::days(30);

/// How many events are kept.
const EVENTS_KEPT: i64 = 10_000;

/// Why the ledger failed. Whoever gets this does nothing else: an act that is not written down is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("cannot use the ledger")]
    Sql(#[from] sqlx::Error),
    #[error("cannot bring the ledger up to date")]
    Migrate(#[from] MigrateError),
    #[error("cannot use the ledger: it is broken: {0}")]
    Broken(String),
    #[error("cannot use the ledger: a newer lakebased has changed it (version {0}); run that one")]
    Newer(i64),
    #[error("cannot trust the ledger: the disk lost a write; restart lakebased")]
    Distrusted,
    #[error("cannot move the broken ledger `{path}` aside")]
    Aside { path: PathBuf, source: io::Error },
    #[error("cannot read the ledger: `{0}` makes no sense")]
    Nonsense(String),
}

/// Where records of one repository live: a service and a project of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) origin: String,
    pub(crate) project: ProjectId,
}

/// Something that was done, for people.
#[derive(Debug, Clone)]
pub(crate) struct Event<'a> {
    pub(crate) at: Timestamp,
    pub(crate) repository: &'a RepositoryId,
    pub(crate) branch: &'a BranchId,
    pub(crate) action: &'a str,
    pub(crate) why: &'a str,
}

/// The open ledger.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pool: SqlitePool,
    keep: Arc<Keep>,
    /// The sequence of the newest event.
    newest: Arc<watch::Sender<i64>>,
}

/// What is known of the ledger's own state.
#[derive(Debug, Default)]
struct Keep {
    /// Rows of other machines are not ours to act on.
    machine: String,
    mark: Option<Mark>,
    registrations: Option<RegistrationsFile>,
    /// Where the ledger is, if it is a file.
    path: Option<PathBuf>,
    is_unconfirmed: AtomicBool,
    has_lost_writes: AtomicBool,
    /// One writer of the files beside the ledger at a time: what is read last is written last.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(FromRow)]
struct RawRecord {
    origin: String,
    project: String,
    slot: String,
    branch: String,
    state: String,
    uid: Option<String>,
    source: Option<String>,
    since: i64,
    lease_held: bool,
    reap_after: Option<i64>,
    was_locked: bool,
    kept: bool,
}

/// One row of the event list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedEvent {
    pub(crate) sequence: i64,
    pub(crate) at: Timestamp,
    pub(crate) repository: RepositoryId,
    pub(crate) branch: String,
    pub(crate) action: String,
    pub(crate) why: String,
}

#[derive(FromRow)]
struct RawEvent {
    sequence: i64,
    at: i64,
    repository_id: String,
    branch: String,
    action: String,
    why: String,
}

impl Ledger {
    /// Opens the ledger, making it if it is not there, and brings its schema up to date. A broken one is moved aside. When it
    /// is not the one of last time, it is unconfirmed, and has the repositories that were registered then.
    pub(crate) async fn open(path: &Path, machine: String) -> Result<Self, LedgerError> {
        let mark = Mark::beside(path);
        let (pool, aside) = match connect(options(path)).await {
            Err(error) if is_damage(&error) => {
                tracing::error!(
                    error = crate::services::chain(&error),
                    "the ledger is broken; a new one is begun"
                );
                let aside = move_aside(path)?;
                (connect(options(path)).await?, Some(aside))
            }
            pool => (pool?, None),
        };
        let keep = Keep {
            machine,
            mark: Some(mark),
            registrations: Some(RegistrationsFile::beside(path)),
            path: Some(path.to_owned()),
            ..Keep::default()
        };
        let ledger = Self::on(pool, keep).await?;
        ledger.compare(aside.as_deref()).await?;
        ledger.claim().await?;
        ledger.note_registrations().await?;
        Ok(ledger)
    }

    /// Opens a ledger that lives as long as the value.
    #[cfg(test)]
    pub(crate) async fn in_memory() -> Result<Self, LedgerError> {
        let pool = connect(SqliteConnectOptions::new().in_memory(true)).await?;
        Self::on(pool, Keep::default()).await
    }

    async fn on(pool: SqlitePool, keep: Keep) -> Result<Self, LedgerError> {
        let newest = sqlx::query_scalar("SELECT COALESCE(MAX(sequence), 0) FROM events")
            .fetch_one(&pool)
            .await?;
        Ok(Self {
            pool,
            keep: Arc::new(keep),
            newest: Arc::new(watch::Sender::new(newest)),
        })
    }

    // ---- itself

    /// Returns whether this ledger is not the one of last time, and is not confirmed: then nothing is created or deleted.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.keep.is_unconfirmed.load(Ordering::Relaxed)
    }

    /// Confirms the ledger as it is now, at the user's request.
    pub(crate) async fn confirm(&self) -> Result<(), LedgerError> {
        sqlx::query("UPDATE ledger SET is_upsert_only = 0")
            .execute(&self.pool)
            .await?;
        self.keep.is_unconfirmed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the ledger. Its write-ahead log goes into its file, so that a copy of that file alone is whole.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Draws the conclusion from a failure: after a lost write nobody knows what is on the disk, until it is read anew.
    pub(crate) fn judge(&self, error: &LedgerError) {
        if is_lost_write(error) {
            self.keep.has_lost_writes.store(true, Ordering::Relaxed);
        }
    }

    /// Compares the ledger with what was noted beside it at its last change. `aside` is where a damaged one was moved to.
    async fn compare(&self, aside: Option<&Path>) -> Result<(), LedgerError> {
        let (generation, was_unconfirmed): (i64, bool) =
            sqlx::query_as("SELECT generation, is_upsert_only FROM ledger")
                .fetch_one(&self.pool)
                .await?;
        let marked = self.keep.mark.as_ref().map_or(Marked::Missing, Mark::read);
        let kept = self.kept_registrations();
        let kept_at = kept.generation().unwrap_or_default();
        let is_lost = aside.is_some() || marked.is_ahead_of(generation) || kept_at > generation;
        if is_lost {
            tracing::error!(
                "this is not the ledger of last time; nothing is created or deleted until `lakebase init --recover`"
            );
            // Before the ledger counts as one of this time: after a crash in between it is lost again, and they come back again.
            self.restore_registrations(&kept, generation, aside).await?;
            sqlx::query("UPDATE ledger SET is_upsert_only = 1, generation = max(generation + 1, ?)")
                .bind(marked.after(generation).max(kept_at.saturating_add(1)))
                .execute(&self.pool)
                .await?;
        }
        if is_lost || was_unconfirmed {
            self.doubt_repositories().await?;
        }
        self.keep
            .is_unconfirmed
            .store(is_lost || was_unconfirmed, Ordering::Relaxed);
        self.note().await
    }

    /// Takes over what was registered before machines were told apart.
    async fn claim(&self) -> Result<(), LedgerError> {
        sqlx::query("UPDATE repositories SET machine = ? WHERE machine = ''")
            .bind(&self.keep.machine)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Marks the generation beside the ledger. The mark is never ahead: the change is on the disk before.
    async fn note(&self) -> Result<(), LedgerError> {
        let Some(mark) = self.keep.mark.clone() else {
            return Ok(());
        };
        let turn = self.keep.turn.clone().lock_owned().await;
        let generation: i64 = sqlx::query_scalar("SELECT generation FROM ledger")
            .fetch_one(&self.pool)
            .await?;
        // The turn ends with the write, also when the caller is gone by then.
        let write = move || {
            let _turn = turn;
            mark.write(generation)
        };
        let written = blocking(write).await;
        if let Err(error) = written {
            // An old mark hides that an old ledger came back; it does no other harm.
            tracing::warn!(%error, "cannot mark the ledger's generation");
        }
        Ok(())
    }

    // ---- records

    /// Returns a repository's records in one place.
    ///
    /// # Errors
    /// Also when the disk lost a write: what is read then may not be what is on it.
    pub(crate) async fn records(&self, id: &RepositoryId, place: &Place) -> Result<Vec<Record>, LedgerError> {
        if self.keep.has_lost_writes.load(Ordering::Relaxed) {
            return Err(LedgerError::Distrusted);
        }
        let rows: Vec<RawRecord> = sqlx::query_as(
            "SELECT origin, project, slot, branch, state, uid, source, since, lease_held, reap_after, was_locked, kept
             FROM branches WHERE repository_id = ? AND origin = ? AND project = ? ORDER BY slot",
        )
        .bind(id.as_str())
        .bind(&place.origin)
        .bind(place.project.as_str())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Record::try_from).collect()
    }

    /// Returns a repository's records in all places.
    pub(crate) async fn all_records(&self, id: &RepositoryId) -> Result<Vec<Record>, LedgerError> {
        let rows: Vec<RawRecord> = sqlx::query_as(
            "SELECT origin, project, slot, branch, state, uid, source, since, lease_held, reap_after, was_locked, kept
             FROM branches WHERE repository_id = ? ORDER BY slot",
        )
        .bind(id.as_str())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Record::try_from).collect()
    }

    /// Returns the names in a place that this repository cannot have: records of others hold them, or the service does.
    pub(crate) async fn taken(
        &self,
        id: &RepositoryId,
        place: &Place,
        now: Timestamp,
    ) -> Result<BTreeSet<BranchId>, LedgerError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT branch FROM branches WHERE repository_id <> ? AND origin = ? AND project = ?
             UNION SELECT branch FROM held_names WHERE origin = ? AND project = ? AND until > ?",
        )
        .bind(id.as_str())
        .bind(&place.origin)
        .bind(place.project.as_str())
        .bind(&place.origin)
        .bind(place.project.as_str())
        .bind(now.timestamp_millis())
        .fetch_all(&self.pool)
        .await?;
        Ok(names.into_iter().map(BranchId::new).collect())
    }

    /// Notes that the service will not give out a name for a while.
    pub(crate) async fn hold_name(
        &self,
        place: &Place,
        branch: &BranchId,
        until: Timestamp,
    ) -> Result<(), LedgerError> {
        sqlx::query("INSERT OR REPLACE INTO held_names (origin, project, branch, until) VALUES (?, ?, ?, ?)")
            .bind(&place.origin)
            .bind(place.project.as_str())
            .bind(branch.as_str())
            .bind(until.timestamp_millis())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Writes a record, over the one that its slot had.
    pub(crate) async fn save(&self, id: &RepositoryId, record: &Record) -> Result<(), LedgerError> {
        save(id, record).execute(&self.pool).await?;
        self.note().await
    }

    /// Moves a record to another slot, which has none: its git branch was renamed.
    pub(crate) async fn rename(
        &self,
        id: &RepositoryId,
        place: &Place,
        from: &Slot,
        to: &Slot,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE branches SET slot = ?, reap_after = NULL
             WHERE repository_id = ? AND origin = ? AND project = ? AND slot = ?",
        )
        .bind(to.key())
        .bind(id.as_str())
        .bind(&place.origin)
        .bind(place.project.as_str())
        .bind(from.key())
        .execute(&self.pool)
        .await?;
        self.note().await
    }

    /// Drops a record: nothing of ours is left, or we no longer look after it.
    pub(crate) async fn forget(
        &self,
        id: &RepositoryId,
        place: &Place,
        slot: &Slot,
    ) -> Result<(), LedgerError> {
        let query =
            "DELETE FROM branches WHERE repository_id = ? AND origin = ? AND project = ? AND slot = ?";
        sqlx::query(query)
            .bind(id.as_str())
            .bind(&place.origin)
            .bind(place.project.as_str())
            .bind(slot.key())
            .execute(&self.pool)
            .await?;
        self.note().await
    }

    /// Writes down that a branch is to be deleted, before it is: whatever becomes of the request, the branch is not one
    /// that was lost.
    pub(crate) async fn condemn(
        &self,
        id: &RepositoryId,
        record: &Record,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        tombstone(id, record, now).execute(&self.pool).await?;
        self.note().await
    }

    /// Takes back that a branch is to be deleted.
    pub(crate) async fn spare(&self, place: &Place, uid: &BranchUid) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM tombstones WHERE origin = ? AND project = ? AND uid = ?")
            .bind(&place.origin)
            .bind(place.project.as_str())
            .bind(uid.as_str())
            .execute(&self.pool)
            .await?;
        self.note().await
    }

    /// Says whether we deleted a branch, or meant to.
    pub(crate) async fn is_condemned(&self, place: &Place, uid: &BranchUid) -> Result<bool, LedgerError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM tombstones WHERE origin = ? AND project = ? AND uid = ?")
                .bind(&place.origin)
                .bind(place.project.as_str())
                .bind(uid.as_str())
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.is_some())
    }

    /// Turns the record of a deleted branch into a tombstone.
    pub(crate) async fn bury(
        &self,
        id: &RepositoryId,
        record: &Record,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let mut tx = self.pool.begin().await?;
        tombstone(id, record, now).execute(&mut *tx).await?;
        sqlx::query(
            "DELETE FROM branches WHERE repository_id = ? AND origin = ? AND project = ? AND slot = ?",
        )
        .bind(id.as_str())
        .bind(&record.origin)
        .bind(record.project.as_str())
        .bind(record.slot.key())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.note().await
    }

    /// Drops what is too old to matter.
    pub(crate) async fn tidy(&self, now: Timestamp) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM tombstones WHERE deleted_at < ?")
            .bind((now - TOMBSTONES_KEPT).timestamp_millis())
            .execute(&self.pool)
            .await?;
        sqlx::query("DELETE FROM held_names WHERE until < ?")
            .bind(now.timestamp_millis())
            .execute(&self.pool)
            .await?;
        self.drop_retired().await
    }

    /// Counts what the brake looks at: branches of ours in a place, and deletes there since a moment.
    pub(crate) async fn reaped(&self, place: &Place, since: Timestamp) -> Result<Reaped, LedgerError> {
        let (owned, in_last_hour): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM branches WHERE origin = ? AND project = ? AND state = 'owned'),
                    (SELECT COUNT(*) FROM tombstones WHERE origin = ? AND project = ? AND deleted_at >= ?)",
        )
        .bind(&place.origin)
        .bind(place.project.as_str())
        .bind(&place.origin)
        .bind(place.project.as_str())
        .bind(since.timestamp_millis())
        .fetch_one(&self.pool)
        .await?;
        let count = |n: i64| usize::try_from(n).unwrap_or_default();
        Ok(Reaped {
            owned: count(owned),
            in_last_hour: count(in_last_hour),
        })
    }

    // ---- events

    /// Writes down what was done, and drops what is too old to matter.
    pub(crate) async fn log(&self, event: &Event<'_>) -> Result<(), LedgerError> {
        let done =
            sqlx::query("INSERT INTO events (at, repository_id, branch, action, why) VALUES (?, ?, ?, ?, ?)")
                .bind(event.at.timestamp_millis())
                .bind(event.repository.as_str())
                .bind(event.branch.as_str())
                .bind(event.action)
                .bind(event.why)
                .execute(&self.pool)
                .await?;
        let newest = done.last_insert_rowid();
        let oldest = newest - EVENTS_KEPT;
        sqlx::query("DELETE FROM events WHERE sequence <= ?")
            .bind(oldest)
            .execute(&self.pool)
            .await?;
        self.newest.send_replace(newest);
        Ok(())
    }

    /// Returns the newest events after a sequence, oldest of them first: of one repository, or of all.
    pub(crate) async fn events(
        &self,
        repository: Option<&RepositoryId>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, LedgerError> {
        let rows: Vec<RawEvent> = sqlx::query_as(
            "SELECT sequence, at, repository_id, branch, action, why FROM events
             WHERE sequence > ? AND (? IS NULL OR repository_id = ?) ORDER BY sequence DESC LIMIT ?",
        )
        .bind(after)
        .bind(repository.map(RepositoryId::as_str))
        .bind(repository.map(RepositoryId::as_str))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().rev().map(LoggedEvent::try_from).collect()
    }

    /// Follows the sequence of the newest event.
    pub(crate) fn follow_events(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }
}

impl TryFrom<RawEvent> for LoggedEvent {
    type Error = LedgerError;

    fn try_from(raw: RawEvent) -> Result<Self, LedgerError> {
        Ok(Self {
            sequence: raw.sequence,
            at: time(raw.at)?,
            repository: RepositoryId::new(raw.repository_id),
            branch: raw.branch,
            action: raw.action,
            why: raw.why,
        })
    }
}

/// Writes a record, over the one that its slot had.
fn save<'q>(
    id: &'q RepositoryId,
    record: &'q Record,
) -> sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    sqlx::query(
        "INSERT OR REPLACE INTO branches
         (repository_id, origin, project, slot, branch, state, uid, source, since, lease_held, reap_after, was_locked, kept)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(&record.origin)
    .bind(record.project.as_str())
    .bind(record.slot.key())
    .bind(record.branch.as_str())
    .bind(state_name(record.state))
    .bind(record.uid.as_ref().map(BranchUid::as_str))
    .bind(record.source.as_ref().map(BranchId::as_str))
    .bind(record.since.timestamp_millis())
    .bind(record.lease_held)
    .bind(record.reap_after.map(|at| at.timestamp_millis()))
    .bind(record.was_locked)
    .bind(record.is_kept)
}

/// Writes a tombstone, over the one that the branch may have.
fn tombstone<'q>(
    id: &'q RepositoryId,
    record: &'q Record,
    now: Timestamp,
) -> sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    sqlx::query(
        "INSERT OR REPLACE INTO tombstones (uid, origin, project, branch, repository_id, slot, deleted_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(record.uid.as_ref().map_or("", BranchUid::as_str))
    .bind(&record.origin)
    .bind(record.project.as_str())
    .bind(record.branch.as_str())
    .bind(id.as_str())
    .bind(record.slot.key())
    .bind(now.timestamp_millis())
}

fn options(path: &Path) -> SqliteConnectOptions {
    // Shared memory and locks of a remote file system are not what a write-ahead log needs.
    let is_remote = path.parent().is_some_and(machine::is_remote);
    if is_remote {
        tracing::warn!(path = %path.display(), "the ledger is on a remote file system; LAKEBASE_STATE_DIR can be elsewhere");
    }
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(if is_remote {
            SqliteJournalMode::Delete
        } else {
            SqliteJournalMode::Wal
        })
        // An intent must be on the disk before the request that it announces.
        .synchronous(SqliteSynchronous::Full)
}

async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, LedgerError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    let pool = pool.connect_with(options).await?;
    match check(&pool).await {
        Ok(()) => Ok(pool),
        Err(error) => {
            // Before its files are moved: the last one to close a ledger tidies up by name.
            pool.close().await;
            Err(error)
        }
    }
}

/// Looks for damage, and brings the schema up to date.
async fn check(pool: &SqlitePool) -> Result<(), LedgerError> {
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(pool)
        .await?;
    if verdict != "ok" {
        return Err(LedgerError::Broken(verdict));
    }
    match sqlx::migrate!("./migrations").run(pool).await {
        Err(MigrateError::VersionMissing(version)) => Err(LedgerError::Newer(version)),
        migrated => Ok(migrated?),
    }
}

/// Keeps a broken ledger under a name of its own, with what belongs to it. Returns where.
fn move_aside(path: &Path) -> Result<PathBuf, LedgerError> {
    let suffix = format!(".broken-{}", clock::now().timestamp_millis());
    for part in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(part);
        let mut to = path.as_os_str().to_owned();
        to.push(&suffix);
        to.push(part);
        match std::fs::rename(&from, &to) {
            Err(source) if part.is_empty() || source.kind() != io::ErrorKind::NotFound => {
                let path = PathBuf::from(from);
                return Err(LedgerError::Aside { path, source });
            }
            _ => {}
        }
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(suffix);
    Ok(aside.into())
}

/// SQLite's primary and extended result codes, as far as they are told apart here.
mod code {
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const NOT_A_DATABASE: u32 = 26;
    pub(super) const FSYNC_FAILED: u32 = 1034;
    pub(super) const DIR_FSYNC_FAILED: u32 = 1290;
}

fn code_of(error: &LedgerError) -> Option<u32> {
    let (LedgerError::Sql(sql)
    | LedgerError::Migrate(MigrateError::Execute(sql) | MigrateError::ExecuteMigration(sql, _))) = error
    else {
        return None;
    };
    sql.as_database_error()?.code()?.parse().ok()
}

fn is_damage(error: &LedgerError) -> bool {
    let primary = code_of(error).map(|code| code & 0xff);
    matches!(error, LedgerError::Broken(_)) || matches!(primary, Some(code::CORRUPT | code::NOT_A_DATABASE))
}

fn is_lost_write(error: &LedgerError) -> bool {
    matches!(code_of(error), Some(code::FSYNC_FAILED | code::DIR_FSYNC_FAILED))
}

impl TryFrom<RawRecord> for Record {
    type Error = LedgerError;

    fn try_from(raw: RawRecord) -> Result<Self, LedgerError> {
        Ok(Self {
            slot: Slot::parse(&raw.slot).ok_or(LedgerError::Nonsense(raw.slot))?,
            project: ProjectId::new(raw.project),
            origin: raw.origin,
            branch: BranchId::new(raw.branch),
            state: parse_state(&raw.state).ok_or(LedgerError::Nonsense(raw.state))?,
            uid: raw.uid.map(BranchUid::new),
            source: raw.source.map(BranchId::new),
            since: time(raw.since)?,
            lease_held: raw.lease_held,
            reap_after: raw.reap_after.map(time).transpose()?,
            was_locked: raw.was_locked,
            is_kept: raw.kept,
        })
    }
}

fn time(milliseconds: i64) -> Result<Timestamp, LedgerError> {
    DateTime::from_timestamp_millis(milliseconds)
        .ok_or_else(|| LedgerError::Nonsense(milliseconds.to_string()))
}

const STATES: [(RecordState, &str); 4] = [
    (RecordState::Intent, "intent"),
    (RecordState::Owned, "owned"),
    (RecordState::Adopted, "adopted"),
    (RecordState::Quarantined, "quarantined"),
];

fn state_name(state: RecordState) -> &'static str {
    STATES
        .into_iter()
        .find(|(s, _)| *s == state)
        .map_or("quarantined", |(_, name)| name)
}

fn parse_state(name: &str) -> Option<RecordState> {
    STATES
        .into_iter()
        .find(|(_, n)| *n == name)
        .map(|(state, _)| state)
}

#[cfg(test)]
mod tests;

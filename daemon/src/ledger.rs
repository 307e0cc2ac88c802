//! The ledger: repositories, records, tombstones and events in SQLite. The only user of sqlx in the daemon. Holds no
//! secret and decides nothing.

use crate::reconcile::blocking;
use crate::{clock, machine};
use chrono::DateTime;
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, BranchUid, ProjectId, RepositoryId, Slot};
use daemon_core::state::{Reaped, Record, RecordState};
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{FromRow, SqlitePool};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

mod mark;

use mark::{Mark, Marked};

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

/// A registered repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepositoryRow {
    pub(crate) id: RepositoryId,
    pub(crate) common_dir: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) last_config: Option<String>,
    /// When the directory was made, where the file system tells.
    pub(crate) born: Option<i64>,
    pub(crate) main_worktree: Option<PathBuf>,
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
    is_upsert_only: AtomicBool,
    has_lost_writes: AtomicBool,
}

#[derive(FromRow)]
struct RawRepository {
    id: String,
    common_dir: Vec<u8>,
    device: i64,
    inode: i64,
    last_config: Option<String>,
    born: Option<i64>,
    main_worktree: Option<Vec<u8>>,
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
    /// is not the one of last time, it is upsert-only until somebody confirms it.
    pub(crate) async fn open(path: &Path, machine: String) -> Result<Self, LedgerError> {
        let mark = Mark::beside(path);
        let (pool, is_new) = match connect(options(path)).await {
            Err(error) if is_damage(&error) => {
                tracing::error!(
                    error = crate::services::chain(&error),
                    "the ledger is broken; a new one is begun"
                );
                move_aside(path)?;
                (connect(options(path)).await?, true)
            }
            pool => (pool?, false),
        };
        let keep = Keep {
            machine,
            mark: Some(mark),
            ..Keep::default()
        };
        let ledger = Self::on(pool, keep).await?;
        ledger.compare(is_new).await?;
        ledger.claim().await?;
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

    /// Says whether this ledger is not the one of last time, and nobody has confirmed it: then nothing may be deleted.
    pub(crate) fn is_upsert_only(&self) -> bool {
        self.keep.is_upsert_only.load(Ordering::Relaxed)
    }

    /// A person has looked, and trusts this ledger.
    pub(crate) async fn confirm(&self) -> Result<(), LedgerError> {
        sqlx::query("UPDATE ledger SET is_upsert_only = 0")
            .execute(&self.pool)
            .await?;
        self.keep.is_upsert_only.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Draws the conclusion from a failure: after a lost write nobody knows what is on the disk, until it is read anew.
    pub(crate) fn judge(&self, error: &LedgerError) {
        if is_lost_write(error) {
            self.keep.has_lost_writes.store(true, Ordering::Relaxed);
        }
    }

    /// Compares the ledger with the mark of the last change that was made to it.
    async fn compare(&self, is_new: bool) -> Result<(), LedgerError> {
        let (generation, was_upsert_only): (i64, bool) =
            sqlx::query_as("SELECT generation, is_upsert_only FROM ledger")
                .fetch_one(&self.pool)
                .await?;
        let marked = self.keep.mark.as_ref().map_or(Marked::Missing, Mark::read);
        let is_lost = is_new || marked.is_ahead_of(generation);
        if is_lost {
            tracing::error!(
                "this is not the ledger of last time; no branch is deleted until `lakebase gc --yes`"
            );
            sqlx::query("UPDATE ledger SET is_upsert_only = 1, generation = ?")
                .bind(marked.after(generation))
                .execute(&self.pool)
                .await?;
        }
        self.keep
            .is_upsert_only
            .store(is_lost || was_upsert_only, Ordering::Relaxed);
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
        let generation: i64 = sqlx::query_scalar("SELECT generation FROM ledger")
            .fetch_one(&self.pool)
            .await?;
        let written = blocking(move || mark.write(generation)).await;
        if let Err(error) = written {
            // An old mark hides that an old ledger came back; it does no other harm.
            tracing::warn!(%error, "cannot mark the ledger's generation");
        }
        Ok(())
    }

    // ---- repositories

    /// Returns every repository that is watched.
    pub(crate) async fn repositories(&self) -> Result<Vec<RepositoryRow>, LedgerError> {
        let rows: Vec<RawRepository> = sqlx::query_as(
            "SELECT id, common_dir, device, inode, last_config, born, main_worktree FROM repositories
             WHERE retired = 0 AND machine = ? ORDER BY registered_at, id",
        )
        .bind(&self.keep.machine)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(RepositoryRow::from).collect())
    }

    /// Registers a repository. One that is known by its directory's identity keeps its id under its new path; one whose
    /// path another directory has taken is retired.
    pub(crate) async fn register(
        &self,
        row: &RepositoryRow,
        now: Timestamp,
    ) -> Result<RepositoryId, LedgerError> {
        let path = row.common_dir.as_os_str().as_bytes();
        let (device, inode) = (signed(row.device), signed(row.inode));
        let mut tx = self.pool.begin().await?;
        let known: Option<String> = sqlx::query_scalar(
            "SELECT id FROM repositories
             WHERE device = ? AND inode = ? AND coalesce(born = ?, 1) AND machine = ? AND retired = 0",
        )
        .bind(device)
        .bind(inode)
        .bind(row.born)
        .bind(&self.keep.machine)
        .fetch_optional(&mut *tx)
        .await?;
        let id = known.unwrap_or_else(|| row.id.to_string());
        sqlx::query("UPDATE repositories SET retired = 1 WHERE common_dir = ? AND machine = ? AND id <> ?")
            .bind(path)
            .bind(&self.keep.machine)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO repositories (id, common_dir, device, inode, registered_at, machine, born, main_worktree)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET common_dir = excluded.common_dir, born = excluded.born,
             main_worktree = coalesce(excluded.main_worktree, main_worktree)",
        )
        .bind(&id)
        .bind(path)
        .bind(device)
        .bind(inode)
        .bind(now.timestamp_millis())
        .bind(&self.keep.machine)
        .bind(row.born)
        .bind(row.main_worktree.as_ref().map(|path| path.as_os_str().as_bytes()))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(RepositoryId::new(id))
    }

    /// Keeps the text of a configuration that was found valid.
    pub(crate) async fn save_config(&self, id: &RepositoryId, text: &str) -> Result<(), LedgerError> {
        let query = sqlx::query("UPDATE repositories SET last_config = ? WHERE id = ?")
            .bind(text)
            .bind(id.as_str());
        query.execute(&self.pool).await?;
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
        .execute(&self.pool)
        .await?;
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

    /// Stops watching a repository. Its records go, so that what is left of its branches runs out by itself.
    pub(crate) async fn unregister(&self, id: &RepositoryId) -> Result<(), LedgerError> {
        let mut tx = self.pool.begin().await?;
        for sql in [
            "DELETE FROM branches WHERE repository_id = ?",
            "DELETE FROM repositories WHERE id = ?",
        ] {
            sqlx::query(sql).bind(id.as_str()).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        self.note().await
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

/// Keeps a broken ledger for people, under a name of its own, with what belongs to it.
fn move_aside(path: &Path) -> Result<(), LedgerError> {
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
    Ok(())
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

impl From<RawRepository> for RepositoryRow {
    fn from(raw: RawRepository) -> Self {
        Self {
            id: RepositoryId::new(raw.id),
            common_dir: PathBuf::from(OsString::from_vec(raw.common_dir)),
            device: raw.device.cast_unsigned(),
            inode: raw.inode.cast_unsigned(),
            last_config: raw.last_config,
            born: raw.born,
            main_worktree: raw
                .main_worktree
                .map(|path| PathBuf::from(OsString::from_vec(path))),
        }
    }
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

/// SQLite has signed integers only; the bits are what counts.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon_core::ids::{GitRef, WorktreeId};

    fn at(seconds: i64) -> Timestamp {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    fn row(id: &str, path: &str, inode: u64) -> RepositoryRow {
        RepositoryRow {
            id: RepositoryId::new(id),
            common_dir: path.into(),
            device: u64::MAX,
            inode,
            last_config: None,
            born: None,
            main_worktree: None,
        }
    }

    fn record(slot: Slot, branch: &str) -> Record {
        Record {
            slot,
            project: ProjectId::new("shop"),
            origin: "local".into(),
            branch: BranchId::new(branch),
            state: RecordState::Intent,
            uid: None,
            source: Some(BranchId::new("production")),
            since: at(1),
            lease_held: true,
            reap_after: Some(at(2)),
            was_locked: true,
            is_kept: true,
        }
    }

    fn place() -> Place {
        Place {
            origin: "local".into(),
            project: ProjectId::new("shop"),
        }
    }

    #[tokio::test]
    async fn git_03_a_moved_repository_keeps_its_id_and_a_replaced_one_is_retired() -> Result<(), LedgerError>
    {
        let ledger = Ledger::in_memory().await?;
        let a = ledger.register(&row("a", "/x/.git", 1), at(0)).await?;
        assert_eq!(ledger.register(&row("b", "/y/.git", 1), at(1)).await?, a);
        assert_eq!(ledger.repositories().await?[0].common_dir, Path::new("/y/.git"));
        let c = ledger.register(&row("c", "/y/.git", 2), at(2)).await?;
        let watched = ledger.repositories().await?;
        assert_eq!(watched.iter().map(|row| &row.id).collect::<Vec<_>>(), vec![&c]);
        assert_eq!(watched[0].device, u64::MAX);
        Ok(())
    }

    #[tokio::test]
    async fn git_16_a_directory_born_later_is_another_repository() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let born = |id, path, at| RepositoryRow {
            born: Some(at),
            ..row(id, path, 1)
        };
        let a = ledger.register(&born("a", "/x/.git", 5), at(0)).await?;
        assert_eq!(ledger.register(&born("b", "/y/.git", 5), at(1)).await?, a);
        assert_ne!(ledger.register(&born("c", "/y/.git", 6), at(2)).await?, a);
        Ok(())
    }

    #[tokio::test]
    async fn git_07_a_renamed_record_is_the_same_under_its_new_slot() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let id = ledger.register(&row("a", "/x", 1), at(0)).await?;
        let slot = |name: &str| Slot::Ref(GitRef::new(name));
        let old = record(slot("refs/heads/old"), "jane-old");
        ledger.save(&id, &old).await?;
        ledger
            .rename(&id, &place(), &old.slot, &slot("refs/heads/new"))
            .await?;
        let moved = Record {
            slot: slot("refs/heads/new"),
            reap_after: None,
            ..old
        };
        assert_eq!(ledger.records(&id, &place()).await?, [moved]);
        Ok(())
    }

    fn file(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join("state.db")
    }

    async fn on_disk(dir: &tempfile::TempDir, machine: &str) -> Result<Ledger, LedgerError> {
        Ledger::open(&file(dir), machine.to_owned()).await
    }

    /// A closed ledger with records in it.
    async fn used(records: usize) -> Result<tempfile::TempDir, LedgerError> {
        let dir = tempfile::tempdir().expect("a temp dir");
        let ledger = on_disk(&dir, "m1").await?;
        let id = ledger.register(&row("a", "/x", 1), at(0)).await?;
        for n in 0..records {
            let slot = Slot::Ref(GitRef::new(format!("refs/heads/{n}")));
            ledger.save(&id, &record(slot, &format!("jane-{n}"))).await?;
        }
        assert!(!ledger.is_upsert_only());
        ledger.pool.close().await;
        Ok(dir)
    }

    #[tokio::test]
    async fn fs_10_a_lost_ledger_is_upsert_only_until_it_is_confirmed() -> Result<(), LedgerError> {
        let dir = used(1).await?;
        assert!(
            !on_disk(&dir, "m1").await?.is_upsert_only(),
            "nothing was lost yet"
        );
        std::fs::remove_file(file(&dir)).expect("removed");
        for _ in 0..2 {
            let ledger = on_disk(&dir, "m1").await?;
            assert!(
                ledger.is_upsert_only(),
                "it stays so until somebody says otherwise"
            );
            ledger.pool.close().await;
        }
        let ledger = on_disk(&dir, "m1").await?;
        ledger.confirm().await?;
        ledger.pool.close().await;
        assert!(!on_disk(&dir, "m1").await?.is_upsert_only());
        Ok(())
    }

    #[tokio::test]
    async fn fs_10_an_older_copy_is_upsert_only() -> Result<(), LedgerError> {
        let dir = used(1).await?;
        let copy = std::fs::read(file(&dir)).expect("readable");
        let ledger = on_disk(&dir, "m1").await?;
        let id = ledger.repositories().await?[0].id.clone();
        let slot = Slot::Ref(GitRef::new("refs/heads/later"));
        ledger.save(&id, &record(slot, "jane-later")).await?;
        ledger.pool.close().await;
        std::fs::write(file(&dir), copy).expect("written");
        let ledger = on_disk(&dir, "m1").await?;
        assert!(ledger.is_upsert_only());
        assert_eq!(ledger.records(&id, &place()).await?.len(), 1);
        Ok(())
    }

    fn is_aside(path: &Path) -> bool {
        let name = path.to_string_lossy();
        name.contains("state.db.broken-") && name.ends_with(|last: char| last.is_ascii_digit())
    }

    #[tokio::test]
    async fn fs_10_a_damaged_ledger_is_moved_aside() -> Result<(), LedgerError> {
        let dir = used(200).await?;
        let good = std::fs::read(file(&dir)).expect("readable");
        let truncated = good[..good.len() / 2 + 100].to_vec();
        let mut flipped = good.clone();
        // In the header of a page full of records.
        let page = good.len() / 4096 / 2 * 4096;
        for byte in &mut flipped[page..page + 8] {
            *byte ^= 0xff;
        }
        for bad in [
            truncated,
            flipped,
            b"not a database at all, but long enough to have a header of one".repeat(99),
        ] {
            std::fs::write(file(&dir), &bad).expect("written");
            let ledger = on_disk(&dir, "m1").await?;
            assert!(ledger.is_upsert_only() && ledger.repositories().await?.is_empty());
            ledger.pool.close().await;
            let entries = std::fs::read_dir(dir.path()).expect("listed").flatten();
            let aside = entries
                .map(|entry| entry.path())
                .find(|path| is_aside(path))
                .expect("it is kept");
            assert!(
                std::fs::read(&aside).expect("readable") == bad,
                "it is another one"
            );
            std::fs::remove_file(aside).expect("removed");
        }
        Ok(())
    }

    #[tokio::test]
    async fn pr_07_a_ledger_of_a_newer_daemon_is_refused_and_left_alone() -> Result<(), LedgerError> {
        let dir = used(1).await?;
        let ledger = on_disk(&dir, "m1").await?;
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
        sqlx::query(newer).execute(&ledger.pool).await?;
        ledger.pool.close().await;
        let before = std::fs::read(file(&dir)).expect("readable");
        assert!(matches!(on_disk(&dir, "m1").await, Err(LedgerError::Newer(9999))));
        assert_eq!(std::fs::read(file(&dir)).expect("readable"), before);
        Ok(())
    }

    #[tokio::test]
    async fn pr_12_what_another_machine_registered_is_not_acted_on() -> Result<(), LedgerError> {
        let dir = used(1).await?;
        let ledger = on_disk(&dir, "m2").await?;
        assert!(ledger.repositories().await?.is_empty());
        let id = ledger.register(&row("b", "/x", 1), at(1)).await?;
        assert!(ledger.records(&id, &place()).await?.is_empty());
        assert_eq!(
            ledger.taken(&id, &place(), at(1)).await?.len(),
            1,
            "its names are taken"
        );
        ledger.pool.close().await;
        let ledger = on_disk(&dir, "m1").await?;
        let id = ledger.repositories().await?[0].id.clone();
        assert_eq!(
            ledger.records(&id, &place()).await?.len(),
            1,
            "the other one has it as before"
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_record_comes_back_as_it_was_saved() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let id = ledger.register(&row("a", "/x", 1), at(0)).await?;
        let saved = record(
            Slot::Worktree(WorktreeId::Linked("wt".into())),
            "jane-main-worktree-wt",
        );
        ledger.save(&id, &saved).await?;
        assert_eq!(ledger.records(&id, &place()).await?, vec![saved.clone()]);
        let owned = Record {
            state: RecordState::Owned,
            uid: Some(BranchUid::new("br-1")),
            ..saved
        };
        ledger.save(&id, &owned).await?;
        assert_eq!(ledger.records(&id, &place()).await?, vec![owned]);
        Ok(())
    }

    #[tokio::test]
    async fn names_of_other_repositories_are_taken() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let a = ledger.register(&row("a", "/a", 1), at(0)).await?;
        let b = ledger.register(&row("b", "/b", 2), at(0)).await?;
        ledger
            .save(
                &a,
                &record(Slot::Ref(GitRef::new("refs/heads/main")), "jane-main"),
            )
            .await?;
        assert_eq!(
            ledger.taken(&b, &place(), at(0)).await?,
            BTreeSet::from([BranchId::new("jane-main")])
        );
        assert!(ledger.taken(&a, &place(), at(0)).await?.is_empty());
        Ok(())
    }

    #[tokio::test]
    async fn a_held_name_is_taken_for_its_time() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let (id, branch) = (RepositoryId::new("a"), BranchId::new("jane-x"));
        ledger.hold_name(&place(), &branch, at(10)).await?;
        assert_eq!(
            ledger.taken(&id, &place(), at(9)).await?,
            BTreeSet::from([branch])
        );
        assert!(ledger.taken(&id, &place(), at(10)).await?.is_empty());
        Ok(())
    }

    #[tokio::test]
    async fn a_buried_record_is_gone_and_leaves_a_tombstone() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let id = ledger.register(&row("a", "/a", 1), at(0)).await?;
        let record = Record {
            uid: Some(BranchUid::new("br-1")),
            ..record(Slot::Ref(GitRef::new("refs/heads/x")), "jane-x")
        };
        ledger.save(&id, &record).await?;
        ledger.bury(&id, &record, at(9)).await?;
        assert!(ledger.records(&id, &place()).await?.is_empty());
        let uid: String = sqlx::query_scalar("SELECT uid FROM tombstones")
            .fetch_one(&ledger.pool)
            .await?;
        assert_eq!(uid, "br-1");
        Ok(())
    }

    #[tokio::test]
    async fn a_branch_is_condemned_until_it_is_spared() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let (id, uid) = (RepositoryId::new("a"), BranchUid::new("br-1"));
        let record = Record {
            uid: Some(uid.clone()),
            ..record(Slot::Ref(GitRef::new("refs/heads/x")), "jane-x")
        };
        assert!(!ledger.is_condemned(&place(), &uid).await?);
        ledger.condemn(&id, &record, at(9)).await?;
        assert!(ledger.is_condemned(&place(), &uid).await?);
        ledger.spare(&place(), &uid).await?;
        assert!(!ledger.is_condemned(&place(), &uid).await?);
        Ok(())
    }

    #[tokio::test]
    async fn old_events_are_dropped() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let (repository, branch) = (RepositoryId::new("a"), BranchId::new("x"));
        sqlx::query("INSERT INTO events VALUES (?, 0, 'a', 'x', 'old', '')")
            .bind(EVENTS_KEPT)
            .execute(&ledger.pool)
            .await?;
        sqlx::query("INSERT INTO events VALUES (1, 0, 'a', 'x', 'older', '')")
            .execute(&ledger.pool)
            .await?;
        let event = Event {
            at: at(0),
            repository: &repository,
            branch: &branch,
            action: "new",
            why: "",
        };
        ledger.log(&event).await?;
        let left: Vec<String> = sqlx::query_scalar("SELECT action FROM events ORDER BY sequence")
            .fetch_all(&ledger.pool)
            .await?;
        assert_eq!(left, ["old", "new"]);
        Ok(())
    }
}

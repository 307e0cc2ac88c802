//! Branches as PostgreSQL: the facade over data directories (`storage`) and postmasters (`compute`). Knows nothing of HTTP,
//! projects' rules or tokens.

mod roles;

pub(crate) use self::roles::{RoleAttributes, RoleShape};

use crate::compute::{self, Computes, Session, sql};
use crate::postgres::{OwnerPassword, Postgres, RunAs};
pub(crate) use crate::storage::Sizes;
use crate::storage::descriptor_file::Content;
use crate::storage::lost::Reason;
use crate::storage::{self, CopyError, HalfMade, Layout, Source};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    /// Where branches live.
    pub(crate) data_dir: PathBuf,
    /// PostgreSQL's programs, when they are not to be looked for.
    pub(crate) pg_bindir: Option<PathBuf>,
    /// How long a compute may idle when nobody said otherwise.
    pub(crate) suspend_timeout: Duration,
    /// How many computes may run at once.
    pub(crate) running_computes: usize,
}

/// Names a branch on the disk. Both parts are ids of the API: lower-case letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BranchKey {
    /// The project's id.
    pub(crate) project: String,
    /// The branch's uid.
    pub(crate) uid: String,
}

impl BranchKey {
    /// Says whether it is safe as a part of a path.
    pub(crate) fn is_plain(&self) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let parts = [&self.project, &self.uid];
        parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(is_plain))
    }
}

/// How a branch outlives a crash of the machine. A crash of its processes never costs anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Not flushed to disk: fast, and gone with the power.
    Ephemeral,
    /// Flushed, as PostgreSQL does it.
    Durable,
}

/// What a fork came to.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    /// The place in the source's log that the child starts from.
    pub(crate) lsn: String,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Whether a branch's compute runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComputeState {
    /// It answers.
    Running,
    /// It is not running; the next connection wakes it.
    Suspended,
}

/// The branches that a catalog knows, by what their directories are to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// Branches with data.
    pub(crate) branches: &'a [BranchKey],
    /// Branches whose creation the last run did not finish. No client has been let in.
    pub(crate) unfinished: &'a [BranchKey],
    /// Branches whose removal the last run did not finish.
    pub(crate) removed: &'a [BranchKey],
}

/// What `recover` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Postmasters that were running already, and go on.
    pub(crate) adopted: usize,
    /// Directories that were half-made or half-removed, and are removed.
    pub(crate) swept: usize,
    /// New places of directories that the catalog does not know.
    pub(crate) lost: Vec<PathBuf>,
    /// Directories that the catalog does not know and that could not be moved. They are not served.
    pub(crate) unmoved: Vec<PathBuf>,
}

/// Why the engine could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// There is no PostgreSQL on this machine.
    #[error("cannot find PostgreSQL")]
    NoPostgres {
        /// What a person should do.
        fix: String,
    },
    /// What there is is too old.
    #[error("cannot use PostgreSQL {version}: it is too old")]
    TooOld {
        /// What was found.
        version: String,
        /// What a person should do.
        fix: String,
    },
    /// We are root, and there is nobody else to run PostgreSQL as.
    #[error("cannot run PostgreSQL as root, and there is no user `postgres`")]
    NoUser,
    /// The user that computes run as cannot pass through a directory.
    #[error(
        "cannot keep branches in `{dir}`: the user that PostgreSQL runs as cannot enter it; choose another directory or run `chmod o+x` on it"
    )]
    Closed {
        /// The first such directory.
        dir: PathBuf,
    },
    /// A directory that sockets were to be in is, or could be, somebody else's.
    #[error("cannot use `{dir}`: others can enter it; remove it")]
    NotOurs {
        /// Which.
        dir: PathBuf,
    },
    /// A name that is not fit for a path.
    #[error("cannot make a directory for branch `{0}`: its name has odd characters")]
    OddName(String),
    /// No such branch on the disk.
    #[error("cannot find the data of branch `{0}`")]
    Missing(String),
    /// The disk has too little room for a copy.
    #[error("cannot copy the data directory: it needs {needed} bytes of disk and {free} are free")]
    NoRoom {
        /// What it would take, with something to go on with.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// The data have changed since the time that they were wanted of.
    #[error("the data are as they are only since {since}")]
    Changed {
        /// The earliest time that can be had.
        since: DateTime<Utc>,
    },
    /// As many computes run as may, and all of them are in use.
    #[error("cannot start another compute: {limit} are in use, which is the limit")]
    TooMany {
        /// How many may run.
        limit: usize,
    },
    /// Copying failed; nothing is left of it.
    #[error("cannot copy the data directory")]
    Copy(#[from] CopyError),
    /// A compute does not start; the text is the end of its log.
    #[error("cannot start the compute of branch `{uid}`: {last_words}")]
    Start {
        /// Whose.
        uid: String,
        /// What it said.
        last_words: String,
    },
    /// One of PostgreSQL's programs failed.
    #[error("cannot run {program}: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// PostgreSQL will not do what was asked for; the text is its own.
    #[error("{0}")]
    Refused(String),
    /// Other sessions are in the way of what was asked for; the text is PostgreSQL's own.
    #[error("{0}")]
    Busy(String),
    /// A compute refused a statement.
    #[error("cannot use the compute")]
    Sql(#[from] sqlx::Error),
    /// The file system refused.
    #[error("cannot use `{path}`")]
    Io {
        /// What was used.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// The engine. Clones share one.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    postgres: Postgres,
    layout: Layout,
    computes: Computes,
    password: OwnerPassword,
    /// Held while the template is made, so that it is made once.
    template: Mutex<()>,
}

impl Engine {
    /// Finds PostgreSQL and prepares the data directory. Starts nothing.
    pub(crate) async fn open(config: EngineConfig) -> Result<Self, EngineError> {
        let EngineConfig {
            data_dir,
            pg_bindir,
            suspend_timeout,
            running_computes,
        } = config;
        let prepared = storage::blocking(move || {
            let postgres = Postgres::find(pg_bindir.as_deref())?;
            let layout = Layout::prepare(&data_dir, RunAs::find()?)?;
            let password = OwnerPassword::load(layout.root()).map_err(|source| EngineError::Io {
                path: layout.root().to_owned(),
                source,
            })?;
            Ok::<_, EngineError>((postgres, layout, password))
        });
        let (postgres, layout, password) = prepared.await?;
        let computes = Computes::new(
            postgres.clone(),
            layout.clone(),
            password.clone(),
            suspend_timeout,
            running_computes,
        );
        let shared = Shared {
            postgres,
            layout,
            computes,
            password,
            template: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The version of PostgreSQL, as in `15.18`.
    pub(crate) fn postgres_version(&self) -> &str {
        self.shared.postgres.version()
    }

    /// The release of PostgreSQL, as in 15.
    pub(crate) fn postgres_major(&self) -> u32 {
        self.shared.postgres.major()
    }

    /// Makes the root branch of a project, with a role for its creator.
    pub(crate) async fn create_root(&self, key: &BranchKey, creator: &str) -> Result<(), EngineError> {
        let template = self.template().await?;
        let layout = &self.shared.layout;
        storage::copy_stopped(layout, &template, key, Durability::Durable).await?;
        let made = self.ensure_role(key, creator, true).await;
        if made.is_err() {
            self.delete(key).await?;
        }
        made
    }

    /// Makes a branch with the data of another one, as they are now. The source may be in use, or asleep; asleep it stays
    /// asleep. With a time, only if they have been like that since then.
    pub(crate) async fn fork(
        &self,
        source: &BranchKey,
        child: &BranchKey,
        durability: Durability,
        since: Option<DateTime<Utc>>,
    ) -> Result<Fork, EngineError> {
        let started = Instant::now();
        let layout = &self.shared.layout;
        let compute = self.shared.computes.of(source)?;
        let (lsn, was_asleep) = if let Some(asleep) = compute.hold_if_asleep().await? {
            check_unchanged(since, asleep.end.time)?;
            let from = Source::Branch(source.clone());
            storage::copy_stopped(layout, &from, child, durability).await?;
            (asleep.end.lsn, true)
        } else {
            (
                self.fork_live_since(source, child, durability, since).await?,
                false,
            )
        };
        let took = started.elapsed();
        tracing::debug!(source = %source.uid, child = %child.uid, lsn, was_asleep, ?took, "forked");
        Ok(Fork { lsn, took })
    }

    /// Asked before and after: what is committed during the copy may or may not be in it.
    async fn fork_live_since(
        &self,
        source: &BranchKey,
        child: &BranchKey,
        durability: Durability,
        since: Option<DateTime<Utc>>,
    ) -> Result<String, EngineError> {
        if since.is_none() {
            return self.fork_live(source, child, durability).await;
        }
        let session = self.connect(source).await?;
        check_unchanged(since, sql::last_change(&session.access).await?)?;
        let lsn = self.fork_live(source, child, durability).await?;
        let still = check_unchanged(since, sql::last_change(&session.access).await?);
        if still.is_err() {
            self.delete(child).await?;
        }
        still.map(|()| lsn)
    }

    /// A source that crashes under the copy is started again, once; the copy begins anew.
    async fn fork_live(
        &self,
        source: &BranchKey,
        child: &BranchKey,
        durability: Durability,
    ) -> Result<String, EngineError> {
        let layout = &self.shared.layout;
        let copy = async || {
            let session = self.connect(source).await?;
            storage::copy_live(layout, &session.access, source, child, durability).await
        };
        match copy().await {
            Err(EngineError::Sql(error)) => {
                tracing::warn!(source = %source.uid, %error, "the source failed under a copy; trying once more");
                copy().await
            }
            result => result,
        }
    }

    /// Stops a branch's compute and removes its data. Of what is gone already it takes no notice.
    pub(crate) async fn delete(&self, key: &BranchKey) -> Result<(), EngineError> {
        let Ok(compute) = self.shared.computes.of(key) else {
            return Ok(());
        };
        let _removed = compute.remove().await;
        let discarded = storage::discard(&self.shared.layout, key);
        self.shared.computes.forget(key);
        discarded
    }

    /// Returns a session with the branch's compute, which is woken if it sleeps. While the session lives, it stays awake.
    pub(crate) async fn connect(&self, key: &BranchKey) -> Result<Session, EngineError> {
        self.shared.computes.connect(key).await
    }

    /// Makes a role that can log in, if there is none of the name.
    pub(crate) async fn ensure_role(
        &self,
        key: &BranchKey,
        role: &str,
        is_superuser_member: bool,
    ) -> Result<(), EngineError> {
        let session = self.connect(key).await?;
        sql::ensure_role(&session.access, role, is_superuser_member).await
    }

    /// Measures a branch.
    pub(crate) async fn sizes(&self, key: &BranchKey) -> Result<Sizes, EngineError> {
        storage::sizes(&self.shared.layout, key).await
    }

    /// Whether the branch's compute runs.
    pub(crate) fn state(&self, key: &BranchKey) -> ComputeState {
        let is_running = self
            .shared
            .computes
            .of(key)
            .is_ok_and(|compute| compute.is_running());
        if is_running {
            ComputeState::Running
        } else {
            ComputeState::Suspended
        }
    }

    /// Sets after how long without a session the compute is suspended; `None`: never.
    pub(crate) fn set_suspend_timeout(&self, key: &BranchKey, timeout: Option<Duration>) {
        if let Ok(compute) = self.shared.computes.of(key) {
            compute.set_suspend_timeout(timeout);
        }
    }

    /// Puts the disk in order after a start: what the last run left half-made or half-removed is removed, postmasters that
    /// still run are adopted. Directories of branches that are not known are moved to `lost`, and their postmasters stopped.
    pub(crate) async fn recover(
        &self,
        known: Known<'_>,
        now: DateTime<Utc>,
    ) -> Result<Recovered, EngineError> {
        let layout = &self.shared.layout;
        for dir in storage::half_made_templates(layout)? {
            compute::stop_furnishing(&dir).await;
        }
        let mut recovered = Recovered {
            swept: storage::sweep(layout).await?,
            ..Recovered::default()
        };
        for dir in storage::branches(layout)? {
            let compute = self.shared.computes.of(&dir.key)?;
            let is_running = compute.adopt().await;
            // A descriptor is proof that the branch was finished once, whatever the catalog says.
            let is_unfinished = known.unfinished.contains(&dir.key) && dir.descriptor == Content::Missing;
            if known.branches.contains(&dir.key) {
                recovered.adopted += usize::from(is_running);
            } else if is_unfinished || known.removed.contains(&dir.key) {
                tracing::info!(branch = %dir.key.uid, "removing a branch that was half-made or half-removed");
                self.delete(&dir.key).await?;
                recovered.swept += 1;
            } else {
                match self.set_aside(&dir.key, now).await {
                    Some(place) => recovered.lost.push(place),
                    None => recovered.unmoved.push(dir.path),
                }
            }
        }
        Ok(recovered)
    }

    /// Stops the compute of a directory that the catalog does not know, and moves it to `lost`. Where that fails it stays, and
    /// is not served.
    async fn set_aside(&self, key: &BranchKey, now: DateTime<Utc>) -> Option<PathBuf> {
        let compute = self.shared.computes.of(key).ok()?;
        let _removed = compute.remove().await;
        let root = self.shared.layout.root();
        let moved = storage::lost::set_aside(root, key, Reason::NotInCatalog, now);
        self.shared.computes.forget(key);
        match moved {
            Ok(place) => {
                tracing::warn!(branch = %key.uid, place = %place.display(), "moved data that the catalog does not name");
                Some(place)
            }
            Err(error) => {
                tracing::error!(branch = %key.uid, %error, "cannot move data that the catalog does not name");
                None
            }
        }
    }

    /// Returns the directory that everything is in.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.shared.layout.root()
    }

    /// Whether a branch has data.
    pub(crate) fn has_data(&self, key: &BranchKey) -> bool {
        storage::survey::has_data(&self.shared.layout.branch(key))
    }

    /// Suspends computes that idle, until it is dropped. To be spawned once.
    pub(crate) async fn suspend_idle(self) {
        self.shared.computes.suspend_idle().await;
    }

    /// Stops every compute.
    pub(crate) async fn shutdown(&self) {
        self.shared.computes.stop_all().await;
    }

    /// A cluster as new projects get it: made once for a release, then copied. Made in a task of its own, so that no caller
    /// who goes away leaves half of it running.
    async fn template(&self) -> Result<Source, EngineError> {
        let engine = self.clone();
        match tokio::spawn(async move { engine.make_template().await }).await {
            Ok(made) => made,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(EngineError::Program {
                program: "initdb",
                said: "the program is ending".to_owned(),
            }),
        }
    }

    async fn make_template(&self) -> Result<Source, EngineError> {
        let _turn = self.shared.template.lock().await;
        let layout = &self.shared.layout;
        let postgres = &self.shared.postgres;
        let path = layout.template(&recipe(postgres.major()));
        if !path.exists() {
            let half = HalfMade::of(&path);
            storage::init_cluster(layout, postgres, half.path()).await?;
            compute::furnish(layout, postgres, &self.shared.password, half.path()).await?;
            half.publish(&path, Durability::Durable).await?;
        }
        Ok(Source::Template(path))
    }
}

fn check_unchanged(since: Option<DateTime<Utc>>, last_change: DateTime<Utc>) -> Result<(), EngineError> {
    if since.is_some_and(|since| since < last_change) {
        return Err(EngineError::Changed { since: last_change });
    }
    Ok(())
}

/// Names all that a template depends on, so that one of another make is never taken for it.
fn recipe(major: u32) -> String {
    let privileges = sql::privileges::text();
    let rules = [storage::LOGIN_RULES, &privileges];
    let parts = [
        storage::INITDB.as_slice(),
        rules.as_slice(),
        sql::FURNISHING.as_slice(),
    ]
    .concat();
    let hash = hex::encode(Sha256::digest(parts.join("\n")));
    format!("{major}-{}", &hash[..8])
}

#[cfg(test)]
mod tests;

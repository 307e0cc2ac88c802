//! One branch's compute: asleep or running, never both; woken once for any number of callers.

use super::postmaster::Postmaster;
use crate::engine::{BranchKey, EngineError};
use crate::postgres::Postgres;
use crate::storage::{self, Layout};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A branch's compute.
#[derive(Debug)]
pub(crate) struct Compute {
    uid: String,
    postgres: Postgres,
    layout: Layout,
    pgdata: PathBuf,
    log: PathBuf,
    socket_dir: PathBuf,
    /// Held while it starts, stops, or must stay as it is.
    running: Arc<AsyncMutex<Option<Postmaster>>>,
    usage: Arc<Usage>,
}

/// Who uses it, and since when nobody does.
#[derive(Debug)]
struct Usage {
    sessions: AtomicUsize,
    idle_since: Mutex<Instant>,
    suspend_timeout: Mutex<Option<Duration>>,
}

/// Leave to use a running compute; while it lives, the compute is not suspended.
#[derive(Debug)]
pub(crate) struct Session {
    /// The socket to connect to.
    pub(crate) socket: PathBuf,
    /// The directory that it is in, as libpq wants it.
    pub(crate) socket_dir: PathBuf,
    usage: Arc<Usage>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.usage.touch();
        self.usage.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Usage {
    fn touch(&self) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_idle(&self) -> bool {
        let timeout = *self
            .suspend_timeout
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let idle = self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed();
        self.sessions.load(Ordering::Acquire) == 0 && timeout.is_some_and(|timeout| idle >= timeout)
    }
}

impl Compute {
    pub(super) fn new(
        postgres: &Postgres,
        layout: &Layout,
        key: &BranchKey,
        suspend_timeout: Duration,
    ) -> Self {
        Self {
            uid: key.uid.clone(),
            postgres: postgres.clone(),
            layout: layout.clone(),
            pgdata: layout.pgdata(key),
            log: layout.branch(key).join("compute.log"),
            socket_dir: layout.socket_dir(key),
            running: Arc::default(),
            usage: Arc::new(Usage {
                sessions: AtomicUsize::new(0),
                idle_since: Mutex::new(Instant::now()),
                suspend_timeout: Mutex::new(Some(suspend_timeout)),
            }),
        }
    }

    /// Returns a session, waking the compute if it sleeps or has died.
    pub(crate) async fn connect(&self) -> Result<Session, EngineError> {
        // Counted first: from here on it is not suspended.
        self.usage.sessions.fetch_add(1, Ordering::AcqRel);
        let session = Session {
            socket: storage::socket(&self.socket_dir),
            socket_dir: self.socket_dir.clone(),
            usage: self.usage.clone(),
        };
        let mut running = self.running.lock().await;
        let answers = match running.as_ref() {
            Some(postmaster) => postmaster.answers(&session.socket).await,
            None => false,
        };
        if !answers {
            *running = None;
            *running = Some(self.start().await?);
        }
        Ok(session)
    }

    async fn start(&self) -> Result<Postmaster, EngineError> {
        self.layout.make_dir(&self.socket_dir)?;
        let started = Instant::now();
        let run_as = self.layout.run_as();
        let postmaster = Postmaster::start(&self.postgres, run_as, &self.pgdata, &self.log, &self.socket_dir)
            .await
            .map_err(|last_words| EngineError::Start {
                uid: self.uid.clone(),
                last_words,
            })?;
        tracing::info!(branch = %self.uid, took = ?started.elapsed(), "compute started");
        Ok(postmaster)
    }

    /// Keeps a compute asleep that was put to sleep in order, for as long as the guard lives. `None` if it runs, or left
    /// more than its files behind.
    pub(crate) async fn hold_if_asleep(
        &self,
    ) -> Result<Option<OwnedMutexGuard<Option<Postmaster>>>, EngineError> {
        let running = self.running.clone().lock_owned().await;
        let is_asleep = running.is_none() && storage::is_shut_down(&self.postgres, &self.pgdata).await?;
        Ok(is_asleep.then_some(running))
    }

    /// Takes over a postmaster that was running before we were. Says whether there was one.
    pub(crate) async fn adopt(&self) -> bool {
        let mut running = self.running.lock().await;
        if running.is_none() {
            *running = Postmaster::find(&self.pgdata);
            self.usage.touch();
        }
        running.is_some()
    }

    /// Stops it, whoever uses it.
    pub(crate) async fn stop(&self) {
        if let Some(postmaster) = self.running.lock().await.take() {
            postmaster.stop().await;
        }
    }

    /// Suspends it if nobody has used it for long enough.
    pub(super) async fn suspend_if_idle(&self) {
        if !self.usage.is_idle() {
            return;
        }
        let Ok(mut running) = self.running.clone().try_lock_owned() else {
            return;
        };
        // Somebody may have come before the lock was ours; after it they wait.
        if self.usage.is_idle()
            && let Some(postmaster) = running.take()
        {
            postmaster.stop().await;
            tracing::info!(branch = %self.uid, "compute suspended");
        }
    }

    /// Whether it runs, or is on its way to.
    pub(crate) fn is_running(&self) -> bool {
        self.running
            .try_lock()
            .map_or(true, |running| running.as_ref().is_some_and(Postmaster::is_alive))
    }

    /// Sets after how long without a session it is suspended; `None`: never.
    pub(crate) fn set_suspend_timeout(&self, timeout: Option<Duration>) {
        *self
            .usage
            .suspend_timeout
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = timeout;
    }
}

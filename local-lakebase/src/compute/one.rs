//! One branch's compute: asleep or running, never both; woken once for any number of callers, and never again once its
//! branch is removed.

use super::instance::Instance;
use super::postmaster::{self, Postmaster};
use super::sql::Access;
use crate::engine::{BranchKey, EngineError};
use crate::postgres::{OwnerPassword, Postgres};
use crate::storage::{self, EndOfLog, Layout};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A branch's compute.
#[derive(Debug)]
pub(crate) struct Compute {
    instance: Instance,
    /// Held while it starts, stops, or must stay as it is.
    turn: Arc<AsyncMutex<()>>,
    /// Changed only by whoever has the turn.
    state: Mutex<State>,
    usage: Arc<Usage>,
}

#[derive(Clone, Debug)]
enum State {
    Asleep,
    Waking,
    Awake(Postmaster),
    /// The branch is gone; who comes late finds nothing to wake.
    Removed,
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
    /// For sessions of our own.
    pub(crate) access: Access,
    usage: Arc<Usage>,
}

/// Keeps a compute asleep.
#[derive(Debug)]
pub(crate) struct Asleep {
    /// Where and when it went to sleep.
    pub(crate) end: EndOfLog,
    _turn: OwnedMutexGuard<()>,
}

/// Keeps a compute stopped for good.
#[derive(Debug)]
pub(crate) struct Removed {
    _turn: OwnedMutexGuard<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.usage.touch();
        self.usage.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Usage {
    fn touch(&self) {
        *locked(&self.idle_since) = Instant::now();
    }

    fn is_idle(&self) -> bool {
        let timeout = *locked(&self.suspend_timeout);
        let idle = locked(&self.idle_since).elapsed();
        self.sessions.load(Ordering::Acquire) == 0 && timeout.is_some_and(|timeout| idle >= timeout)
    }
}

impl Compute {
    pub(super) fn new(
        postgres: &Postgres,
        layout: &Layout,
        password: &OwnerPassword,
        key: &BranchKey,
        suspend_timeout: Duration,
    ) -> Self {
        let instance = Instance {
            name: key.uid.clone(),
            postgres: postgres.clone(),
            layout: layout.clone(),
            pgdata: layout.pgdata(key),
            log: layout.branch(key).join("compute.log"),
            access: Access::new(layout.socket_dir(key), password.clone()),
        };
        Self {
            instance,
            turn: Arc::default(),
            state: Mutex::new(State::Asleep),
            usage: Arc::new(Usage {
                sessions: AtomicUsize::new(0),
                idle_since: Mutex::new(Instant::now()),
                suspend_timeout: Mutex::new(Some(suspend_timeout)),
            }),
        }
    }

    /// Returns the session, with the compute awake: woken if it sleeps or has died.
    ///
    /// # Cancel safety
    /// A start that has begun goes on without its caller: the next one finds it done.
    pub(crate) async fn connect(self: &Arc<Self>, session: Session) -> Result<Session, EngineError> {
        let turn = self.turn.clone().lock_owned().await;
        match self.state() {
            State::Removed => return Err(EngineError::Missing(self.instance.name.clone())),
            State::Awake(postmaster) if postmaster.answers(&session.socket).await => return Ok(session),
            State::Awake(_) | State::Waking | State::Asleep => {}
        }
        let compute = self.clone();
        let woken = tokio::spawn(async move {
            let woken = compute.wake().await;
            drop(turn);
            woken
        });
        let stopping = |_| self.instance.cannot_start("the program is ending".to_owned());
        woken.await.map_err(stopping)??;
        Ok(session)
    }

    /// Says whether it runs, or will because somebody is on their way to it.
    pub(super) fn takes_room(&self) -> bool {
        self.is_running() || self.usage.sessions.load(Ordering::Acquire) > 0
    }

    /// Counted before anything else: from here on it is not suspended.
    pub(crate) fn enter(&self) -> Session {
        self.usage.sessions.fetch_add(1, Ordering::AcqRel);
        Session {
            socket: self.instance.access.socket(),
            access: self.instance.access.clone(),
            usage: self.usage.clone(),
        }
    }

    async fn wake(&self) -> Result<(), EngineError> {
        let begun = Instant::now();
        self.set(State::Waking);
        let started = self.instance.start().await;
        self.usage.touch();
        match started {
            Ok(postmaster) => {
                self.set(State::Awake(postmaster));
                tracing::info!(branch = %self.instance.name, took = ?begun.elapsed(), "compute started");
                Ok(())
            }
            Err(error) => {
                self.set(State::Asleep);
                Err(error)
            }
        }
    }

    /// Keeps a compute asleep that was put to sleep in order, for as long as the value lives. `None` if it runs, or left
    /// more than its files behind.
    pub(crate) async fn hold_if_asleep(&self) -> Result<Option<Asleep>, EngineError> {
        let turn = self.turn.clone().lock_owned().await;
        if !matches!(self.state(), State::Asleep) {
            return Ok(None);
        }
        let end = storage::end_of_log(&self.instance.postgres, &self.instance.pgdata).await?;
        Ok(end.map(|end| Asleep { end, _turn: turn }))
    }

    /// Takes over a postmaster that was running before we were. Says whether there was one.
    pub(crate) async fn adopt(&self) -> bool {
        let _turn = self.turn.lock().await;
        if matches!(self.state(), State::Asleep)
            && let Some(postmaster) = self.instance.take_over().await
        {
            self.set(State::Awake(postmaster));
            self.usage.touch();
        }
        self.is_running()
    }

    /// Stops it, whoever uses it.
    pub(crate) async fn stop(&self) {
        let _turn = self.turn.lock().await;
        self.stop_now().await;
    }

    /// Stops it for good: nobody wakes it again.
    pub(crate) async fn remove(&self) -> Removed {
        let turn = self.turn.clone().lock_owned().await;
        self.stop_now().await;
        self.set(State::Removed);
        Removed { _turn: turn }
    }

    /// Suspends it if nobody has used it for long enough.
    pub(super) async fn suspend_if_idle(&self) {
        let Ok(_turn) = self.turn.try_lock() else {
            return;
        };
        // Somebody may have come before the turn was ours; after it they wait.
        if self.is_idle() {
            self.stop_now().await;
            tracing::info!(branch = %self.instance.name, "compute suspended");
        }
    }

    /// Suspends it if nobody uses it, however short a time that is.
    pub(super) async fn suspend_if_unused(&self) {
        let _turn = self.turn.lock().await;
        if self.unused_since().is_some() {
            self.stop_now().await;
            tracing::info!(branch = %self.instance.name, "compute suspended to make room");
        }
    }

    /// Since when nobody has used it; `None` while somebody does.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        let is_unused = self.usage.sessions.load(Ordering::Acquire) == 0;
        is_unused.then(|| *locked(&self.usage.idle_since))
    }

    /// Whether it runs for nobody, and has done so for long enough.
    pub(super) fn is_idle(&self) -> bool {
        self.usage.is_idle() && self.is_running()
    }

    /// Only for who has the turn. Cancelled half-way, it is still awake as far as anybody knows, and can be stopped again.
    async fn stop_now(&self) {
        if let State::Awake(postmaster) = self.state() {
            postmaster.stop().await;
            self.set(State::Asleep);
        }
    }

    /// Keeps the log of a long life from filling the disk.
    pub(super) fn trim_log(&self) {
        if self.is_running() {
            postmaster::trim_log(&self.instance.log);
        }
    }

    /// Whether it runs, or is on its way to.
    pub(crate) fn is_running(&self) -> bool {
        match self.state() {
            State::Awake(postmaster) => postmaster.is_alive(),
            State::Waking => true,
            State::Asleep | State::Removed => false,
        }
    }

    /// Sets after how long without a session it is suspended; `None`: never.
    pub(crate) fn set_suspend_timeout(&self, timeout: Option<Duration>) {
        *locked(&self.usage.suspend_timeout) = timeout;
    }

    fn state(&self) -> State {
        locked(&self.state).clone()
    }

    fn set(&self, state: State) {
        *locked(&self.state) = state;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Computes: the one postmaster of each branch, started when somebody connects and suspended when nobody does. The only
//! starter of postmasters.

mod instance;
mod one;
mod postmaster;
mod single_user;
pub(crate) mod sql;

pub(crate) use one::{Compute, Session};

use crate::engine::{BranchKey, Durability, EngineError};
use crate::postgres::{OwnerPassword, Postgres};
use crate::storage::{self, Layout};
use instance::Instance;
use postmaster::Postmaster;
use sql::Access;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// How often idle computes are looked for.
const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// All computes.
#[derive(Debug)]
pub(crate) struct Computes {
    postgres: Postgres,
    layout: Layout,
    password: OwnerPassword,
    suspend_timeout: Duration,
    /// How many may run at once.
    limit: usize,
    /// Held while room is made, so that two who come at once do not count on the same room.
    making_room: tokio::sync::Mutex<()>,
    by_branch: Mutex<BTreeMap<BranchKey, Arc<Compute>>>,
}

impl Computes {
    pub(crate) fn new(
        postgres: Postgres,
        layout: Layout,
        password: OwnerPassword,
        suspend_timeout: Duration,
        limit: usize,
    ) -> Self {
        Self {
            postgres,
            layout,
            password,
            suspend_timeout,
            limit,
            making_room: tokio::sync::Mutex::default(),
            by_branch: Mutex::default(),
        }
    }

    /// The compute of a branch that is on the disk.
    pub(crate) fn of(&self, key: &BranchKey) -> Result<Arc<Compute>, EngineError> {
        if !key.is_plain() || !self.layout.pgdata(key).is_dir() {
            return Err(EngineError::Missing(key.uid.clone()));
        }
        let mut by_branch = self.lock();
        let make = || {
            Arc::new(Compute::new(
                &self.postgres,
                &self.layout,
                &self.password,
                key,
                self.suspend_timeout,
            ))
        };
        Ok(by_branch.entry(key.clone()).or_insert_with(make).clone())
    }

    /// Returns a session with a branch's compute. If that has to be woken and too many run, the one that has been without
    /// a session for the longest time is suspended.
    pub(crate) async fn connect(&self, key: &BranchKey) -> Result<Session, EngineError> {
        let compute = self.of(key)?;
        let session = {
            let _turn = self.making_room.lock().await;
            if !compute.takes_room() {
                self.make_room().await?;
            }
            compute.enter()
        };
        compute.connect(session).await
    }

    async fn make_room(&self) -> Result<(), EngineError> {
        loop {
            let mut running = self.all();
            running.retain(|compute| compute.takes_room());
            if running.len() < self.limit {
                return Ok(());
            }
            let unused = running
                .iter()
                .filter_map(|compute| Some((compute.unused_since()?, compute)));
            let Some((_, oldest)) = unused.min_by_key(|(since, _)| *since) else {
                return Err(EngineError::TooMany { limit: self.limit });
            };
            oldest.suspend_if_unused().await;
        }
    }

    /// Drops what is remembered of a branch.
    pub(crate) fn forget(&self, key: &BranchKey) {
        self.lock().remove(key);
    }

    /// Suspends what idles, for ever.
    pub(crate) async fn suspend_idle(&self) {
        // One that is slow to stop must not keep the others awake.
        let mut stops = JoinSet::new();
        loop {
            tokio::time::sleep(IDLE_PERIOD).await;
            while stops.try_join_next().is_some() {}
            for compute in self.all() {
                compute.trim_log();
                if compute.is_idle() {
                    stops.spawn(async move { compute.suspend_if_idle().await });
                }
            }
        }
    }

    /// Stops every compute, all at once.
    pub(crate) async fn stop_all(&self) {
        let mut stops = JoinSet::new();
        for compute in self.all() {
            stops.spawn(async move { compute.stop().await });
        }
        while stops.join_next().await.is_some() {}
    }

    fn all(&self) -> Vec<Arc<Compute>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BranchKey, Arc<Compute>>> {
        self.by_branch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the postmaster of a template that was left half-made.
pub(crate) async fn stop_furnishing(dir: &Path) {
    if let Some(postmaster) = Postmaster::find(&dir.join("pgdata")) {
        postmaster.stop().await;
    }
}

/// Stops the postmaster of a branch's directory, if one runs there.
pub(crate) async fn stop_in(dir: &Path) {
    if let Some(postmaster) = Postmaster::find(&dir.join("pgdata")) {
        postmaster.stop().await;
    }
}

/// Gives a fresh cluster what every project starts with: the roles and the database, as the service has them.
pub(crate) async fn furnish(
    layout: &Layout,
    postgres: &Postgres,
    password: &OwnerPassword,
    dir: &Path,
) -> Result<(), EngineError> {
    let socket_dir = layout.named_socket_dir(&dir.to_string_lossy());
    let instance = Instance {
        name: "template".to_owned(),
        postgres: postgres.clone(),
        layout: layout.clone(),
        pgdata: dir.join("pgdata"),
        log: dir.join("compute.log"),
        access: Access::new(socket_dir.clone(), password.clone()),
    };
    storage::write_settings_for(layout, &socket_dir, &instance.pgdata, Durability::Ephemeral)?;
    single_user::set_owner_password(&instance).await?;
    let postmaster = instance.start().await?;
    let furnished = sql::furnish(&instance.access).await;
    postmaster.stop().await;
    drop(std::fs::remove_dir_all(&socket_dir));
    furnished
}

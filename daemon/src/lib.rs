//! lakebased: one Lakebase branch for every git worktree.
//!
//! ```text
//! git hook ─┐                       hints: "look again", nothing more
//! watcher ──┼─► controller (queue) ─► pass(repository) = look ─► plan ─► apply ─► tend
//! clock ────┘     one pass per key        │ git, service        core     │ service, ledger
//! clients ─► socket ─► service ───────────┴── reads the board; hints go to the queue
//! ```
//!
//! Anyone may wake the queue; nobody may tell it what to do. If every hint is lost, its clock alone still converges.
//!
//! | task | eats | emits | ends when |
//! |---|---|---|---|
//! | controller | wishes | passes | told to stop, after its passes |
//! | a pass | one repository | steps done, a view on the board | done |
//! | watcher | file events | hints | the daemon ends |
//! | accept | connections | those of our own user that speak HTTP/2 | told to stop, or another daemon has the socket |
//! | caretaker | leases that nobody looks after | those given back | told to stop |
//! | env guard | indexes that changed, doubts of passes | `.env` files without a block where git may pick it up | told to stop |
//! | metrics | counters, the board | a file | told to stop |
//! | supervisor | the daemon's own answers | signs of life | told to stop |
//! | server | calls | answers | told to stop, after open calls |
//! | a stream | the board, minted credentials | messages | its client goes, or told to stop |
//!
//! # Invariants
//! - Only `daemon_core::permit` can allow a delete, and only `provider` can ask for one.
//! - Nothing is asked of the service before the ledger says that it will be.
//! - Passwords are in memory and in `.env` files that git ignores, and nowhere else.
//! - A pass that could not see everything decides nothing.

mod apply;
mod attempts;
mod begun;
mod board;
mod caretaker;
mod clock;
pub mod config;
mod controller;
mod convert;
mod credentials;
mod diagnose;
mod env_keeper;
mod env_writer;
mod explain;
mod failpoint;
mod git;
pub mod hardening;
mod ledger;
mod lookup;
mod machine;
pub mod metrics;
mod outlet;
mod patient;
mod provider;
mod reconcile;
mod repository_config;
mod requests;
mod serve;
mod server;
mod service;
mod services;
pub mod socket;
mod streams;
pub mod supervisor;
mod tend;
mod view;
mod watcher;
mod wishes;

use crate::board::Board;
use crate::config::Config;
use crate::controller::Handle;
use crate::ledger::Ledger;
use crate::lookup::Lookup;
use crate::patient::Desk;
use crate::reconcile::Reconciler;
use crate::reconcile::env_guard::{self, EnvGuard};
use crate::serve::{DRAIN, serve};
use crate::service::{About, Service};
use crate::services::Services;
use crate::watcher::{Hint, Watcher};
use crate::wishes::Wishes;
use lakebase_api::AuthEnv;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How soon after a write of an index the `.env` beside it is checked: a rebase writes it many
/// times.
const INDEX_PAUSE: Duration = Duration::from_millis(100);

/// Runs the daemon until `stop`.
///
/// # Errors
/// What kept it from serving; `socket::SocketError::AlreadyRunning` when another daemon does.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    socket::state_dir(&config.state_dir)?;
    let lock = socket::lock(&config.state_dir)?;
    let run_with_lock = run_locked(config, stop);
    // Without the lock another daemon may be at work, so nothing is brought to its end.
    tokio::select! {
        ended = run_with_lock => ended,
        lost = lock.lost() => Err(lost.into()),
    }
}

async fn run_locked(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let ledger = Ledger::open(&config.state_dir.join("state.db"), machine::id()).await?;
    let bound = socket::bind(&config.socket).await?;
    let tasks = TaskTracker::new();
    let (controller, inbox) = Handle::new();
    let (hints, hinted) = mpsc::channel(controller::WISHES);
    let service = service(&config, &ledger, &controller, hints, &tasks, &stop);

    let passes = tasks.spawn(controller::run(service.reconciler.clone(), inbox, stop.clone()));
    tasks.spawn(stop.clone().run_until_cancelled_owned(forward(
        hinted,
        controller.clone(),
        service.reconciler.env_guard.clone(),
    )));
    let guarding = env_guard::run(
        service.reconciler.env_guard.clone(),
        controller.clone(),
        stop.clone(),
    );
    tasks.spawn(guarding);
    let validating = env_guard::revalidate(service.reconciler.env_guard.clone());
    tasks.spawn(stop.clone().run_until_cancelled_owned(validating));
    // Early, so that `status` can tell what Local Lakebase lacks before somebody needs it.
    tasks.spawn(service.services.clone().warm_up(stop.clone()));
    let rows = ledger.repositories().await?;
    let views = rows
        .iter()
        .map(|row| reconcile::unseen(row, &service.lookup.desk));
    for view in futures_util::future::join_all(views).await {
        // Shown before the first call is answered: "not looked at yet" is not "not registered".
        service.lookup.board.publish(view);
    }
    controller.set_repositories(rows).await;
    tracing::info!(socket = %config.socket.display(), pid = std::process::id(), "serving");

    let services = service.services.clone();
    let about = (service.lookup.board.clone(), service.about.started_at);
    let metrics = metrics::keep(config.metrics.clone(), about.0, about.1);
    tasks.spawn(stop.clone().run_until_cancelled_owned(metrics));
    let caring = caretaker::run(service.reconciler.clone(), service.lookup.desk.clone());
    tasks.spawn(stop.clone().run_until_cancelled_owned(caring));
    let well = config.supervisor.clone().watch(config.socket.clone());
    tasks.spawn(stop.clone().run_until_cancelled_owned(well));
    config.supervisor.ready();
    let served = serve(bound, service, &tasks, stop.clone()).await;
    config.supervisor.stopping();
    stop.cancel();
    // Where another daemon has the socket by now, nothing is brought to its end.
    served?;
    tasks.close();
    // Passes first: one may be in the middle of a branch.
    drop(passes.await);
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("open calls were cut off");
    }
    services.stop().await;
    ledger.close().await;
    tracing::info!("ended");
    Ok(())
}

/// Puts the parts together.
fn service(
    config: &Config,
    ledger: &Ledger,
    controller: &Handle,
    hints: mpsc::Sender<Hint>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Service {
    let services = Arc::new(Services::new(config.clone(), AuthEnv::from_process()));
    let board = Arc::new(Board::default());
    let reconciler = Arc::new(Reconciler {
        ledger: ledger.clone(),
        services: services.clone(),
        credentials: Arc::default(),
        board: board.clone(),
        watcher: Mutex::new(Watcher::new(hints, config.watch)),
        resync: config.resync,
        turns: Mutex::default(),
        begun: Mutex::default(),
        wishes: Wishes::default(),
        env_guard: Arc::default(),
    });
    let about = About {
        started_at: clock::now(),
        socket: config.socket.clone(),
        state_dir: config.state_dir.clone(),
        unread: config.unread,
    };
    Service {
        lookup: Lookup {
            board,
            controller: controller.clone(),
            ledger: ledger.clone(),
            desk: Desk::default(),
        },
        credentials: reconciler.credentials.clone(),
        reconciler,
        ledger: ledger.clone(),
        services,
        streams: tasks.clone(),
        stop: stop.clone(),
        about: Arc::new(about),
    }
}

/// Hands the watcher's hints to the controller, and those about an index to the guard of `.env`
/// files.
async fn forward(mut hinted: mpsc::Receiver<Hint>, controller: Handle, guard: Arc<EnvGuard>) {
    while let Some(hint) = hinted.recv().await {
        match hint {
            Hint::Look(id) => controller.hint(id),
            Hint::LookEverywhere => controller.hint_all(),
            Hint::Index(id, git_dir) => guard.index_changed(&id, &git_dir, Instant::now() + INDEX_PAUSE),
        }
    }
}

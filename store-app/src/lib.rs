//! The Data & Bricks Store: a small shop whose every worktree has its own data.
//!
//! | task | eats | emits | ends when |
//! |---|---|---|---|
//! | `source` follower | the daemon's `WatchCredential`, or the workspace's answers | the newest credential, and what is wrong | stop, or there is none |
//! | `db` keeper | the newest credential | the pool in use, migrated | the server has drained |
//! | server | requests | answers from the pool in use | stop or no credential, and the last answer is given |
//!
//! Invariants: no answer comes from another branch than the newest one that is ready; a daemon that goes away changes
//! nothing, and a workspace that goes away nothing before the last password ends; a password or token is in no log, no answer
//! and no argument.

mod branch;
mod catalog;
pub mod config;
pub mod credential;
mod daemon;
mod db;
mod error;
mod health;
mod openapi;
mod page;
mod pool;
mod server;
mod source;
mod ui;
mod user;
mod workspace;

pub use daemon::DaemonError;
pub use db::{Database, MigrationError, migrations};
pub use openapi::document as openapi;
pub use source::NoCredential;
pub use workspace::{MintError, Unusable};

use axum::middleware;
use axum::response::IntoResponse;
use axum::{Extension, Router};
use config::{Serve, Source};
use error::Error;
use source::Desk;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use tracing::{debug, info, warn};
use user::People;

/// Limit on closing the database's connections after the last answer.
const CLOSING: Duration = Duration::from_secs(10);

/// Why the store ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It has no database.
    #[error(transparent)]
    NoCredential(#[from] NoCredential),
    /// The address cannot be had.
    #[error("cannot listen on `{addr}`")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The database could not be brought to the newest schema.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

impl RunError {
    /// Returns what a person should try, if that is known.
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::NoCredential(error) => Some(error.fix()),
            Self::Listen { .. } | Self::Migration(_) => None,
        }
    }
}

/// Serves the store until `stop`. Calls `announce` with the address as soon as it answers there; readiness follows when
/// there is a credential and the branch is migrated.
///
/// # Errors
/// [`RunError`] when there is no address, or no credential after the wait for one.
pub async fn serve(
    config: Serve,
    announce: impl FnOnce(SocketAddr),
    stop: CancellationToken,
) -> Result<(), RunError> {
    let listen = |source| RunError::Listen {
        addr: config.addr,
        source,
    };
    let listener = TcpListener::bind(config.addr).await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let desk = Desk::default();
    let (database, keeper) = db::open(desk.news(), config.connection_life);
    let (tasks, ending, drained) = (TaskTracker::new(), stop.child_token(), CancellationToken::new());
    let following = tasks.spawn(follow(config.source, desk, ending.clone()));
    tasks.spawn(keeper.run(drained.clone()));
    announce(addr);
    info!(%addr, "listening");
    server::serve(listener, app(database, People::of(config.people)), &ending).await;
    ending.cancel();
    drained.cancel();
    tasks.close();
    if timeout(CLOSING, tasks.wait()).await.is_err() {
        warn!("ending with connections still busy");
    }
    Ok(following.await.unwrap_or(Ok(()))?)
}

/// Keeps the credential up to date until `ending`. When none can be had, there is nothing to serve.
async fn follow(source: Source, desk: Desk, ending: CancellationToken) -> Result<(), NoCredential> {
    match ending.run_until_cancelled(source::open(source, desk)).await {
        None => {}
        Some(Ok(feed)) => feed.run(ending).await,
        Some(Err(error)) => {
            ending.cancel();
            return Err(error);
        }
    }
    Ok(())
}

/// Brings the database of this worktree up to the newest schema: that of the migrations in `directory`, or of those that
/// the program was built with.
///
/// # Errors
/// [`RunError`] when there is no credential or a migration fails.
pub async fn migrate(
    source: Source,
    directory: Option<PathBuf>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let work = async {
        let migrations = match directory {
            Some(directory) => db::migrations_in(directory).await?,
            None => migrations(),
        };
        let feed = source::open(source, Desk::default()).await?;
        let credential = feed.once().await?;
        db::migrate(&credential, &migrations).await?;
        info!("the database is up to date");
        Ok(())
    };
    stop.run_until_cancelled(work).await.unwrap_or(Ok(()))
}

/// Returns the whole store as a service.
fn app(database: Database, people: People) -> Router {
    openapi::router()
        .merge(ui::router())
        .method_not_allowed_fallback(async || Error::Method)
        .layer(CatchPanicLayer::custom(|_| Error::Internal(None).into_response()))
        .layer(middleware::from_fn(error::in_time_and_named))
        .layer(CompressionLayer::new())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_response(log_answer)
                // Whoever failed has said why.
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(Extension(people))
        .with_state(database)
}

fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let request_id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok());
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), request_id)
}

/// So that the id in an error document finds something. What was asked for is in the span, without its query.
fn log_answer<B>(response: &axum::http::Response<B>, took: Duration, _: &tracing::Span) {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        info!(status = status.as_u16(), ?took, "answered");
    } else {
        debug!(status = status.as_u16(), ?took, "answered");
    }
}

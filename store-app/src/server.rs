//! The HTTP side of the store: hyper serves the router on each connection, with a limit on the time of the headers, which
//! `axum::serve` does not set.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Limit on the time in which a client sends the headers of its next request. It also ends idle connections.
const HEADERS: Duration = Duration::from_secs(10);

/// Limit on the requests in flight at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Pause after a failed accept, such as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the router until `stop`; then answers the requests in flight, within [`DRAIN`].
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: &CancellationToken) {
    let connections = GracefulShutdown::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => spawn(stream, router.clone(), &connections),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN, connections.shutdown()).await.is_err() {
        warn!("shutting down with requests unanswered");
    }
}

fn spawn(stream: TcpStream, router: Router, connections: &GracefulShutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot turn Nagle's algorithm off");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let watched = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            debug!(%error, "a connection ended early");
        }
    });
}

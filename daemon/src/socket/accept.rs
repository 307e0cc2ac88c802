//! The accept loop. It keeps the socket in its place, seats no more clients than there are file descriptors for, and out of
//! file descriptors it rests instead of spinning.

use super::arrival::{Guest, arrive};
use super::{Bound, SocketError};
use crate::metrics;
use futures_util::FutureExt;
use rustix::process::Resource;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the loop rests when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How many clients are hung up on before each rest.
const HANG_UPS: usize = 64;

/// How often it is checked that the socket is in its place.
const CHECK: Duration = Duration::from_secs(1);

/// The most clients at once, however many file descriptors there are.
const MOST_SEATS: u64 = 4096;

/// How many file descriptors are left for git, the ledger and the service.
const KEPT: u64 = 40;

/// Accepts connections and hands on those of our own user that speak HTTP/2, until `stop`.
///
/// # Errors
/// When the socket is lost to another daemon.
pub(crate) async fn accept(
    mut bound: Bound,
    guests: mpsc::Sender<io::Result<Guest>>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), SocketError> {
    let seats = Arc::new(Semaphore::new(seats()));
    let mut reserve = Reserve::new();
    let mut check = interval_at(Instant::now() + CHECK, CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = check.tick() => keep(&mut bound).await?,
            next = next(&bound.listener, &seats) => match next {
                Ok((stream, seat)) => drop(tasks.spawn(seat_one(stream, seat, guests.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    reserve.hang_up(&bound.listener);
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            },
        }
    }
    bound.remove();
    Ok(())
}

/// A seat first: who finds none waits in the system's queue, and costs nothing there.
async fn next(
    listener: &UnixListener,
    seats: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let seat = seats.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, seat))
}

async fn seat_one(stream: UnixStream, seat: OwnedSemaphorePermit, guests: mpsc::Sender<io::Result<Guest>>) {
    if let Some(guest) = arrive(stream, seat).await {
        drop(guests.send(Ok(guest)).await);
    }
}

/// A daemon that lost its socket to another one ends; one whose disk is full tries again.
async fn keep(bound: &mut Bound) -> Result<(), SocketError> {
    match bound.keep().await {
        Err(lost @ (SocketError::AlreadyRunning | SocketError::LockLost(_))) => Err(lost),
        Err(error @ (SocketError::Untrusted { .. } | SocketError::Io { .. })) => {
            tracing::error!(%error, "cannot put the socket back in its place");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// How many clients may be connected, by the file descriptors that we may have.
fn seats() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let free = limit.unwrap_or(MOST_SEATS).saturating_sub(KEPT);
    usize::try_from(free.clamp(8, MOST_SEATS)).unwrap_or(8)
}

/// A file descriptor kept for the moment when there is no other: with it a client can at least be hung up on, instead of
/// waiting for an answer that does not come.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn hang_up(&mut self, listener: &UnixListener) {
        drop(self.0.take());
        for _ in 0..HANG_UPS {
            let Some(Ok((stream, _))) = listener.accept().now_or_never() else {
                break;
            };
            metrics::REFUSED_EXHAUSTED.count();
            drop(stream);
        }
        *self = Self::new();
    }
}

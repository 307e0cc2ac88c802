//! A connection from the moment it is accepted to its first call: the peer must be our own user, and must say at once that it
//! speaks HTTP/2. Until then it costs a seat and 24 bytes, and nothing else of the daemon sees it.

use crate::metrics::{self, Open};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;

/// The first bytes of every HTTP/2 client.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may take to say them.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection of our own user that speaks HTTP/2.
#[derive(Debug)]
pub(crate) struct Guest {
    stream: UnixStream,
    /// How much of the preface the server has been told again.
    told: usize,
    _seat: OwnedSemaphorePermit,
    _open: Open,
}

/// Lets a connection in, or hangs up.
pub(super) async fn arrive(mut stream: UnixStream, seat: OwnedSemaphorePermit) -> Option<Guest> {
    if !is_ours(&stream) {
        return None;
    }
    let mut first = [0; PREFACE.len()];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut first)).await;
    if !matches!(read, Ok(Ok(_))) || first != *PREFACE {
        metrics::REFUSED_SILENT.count();
        return None;
    }
    Some(Guest {
        stream,
        told: 0,
        _seat: seat,
        _open: metrics::CONNECTIONS.open(),
    })
}

/// Asked of the socket, which knows; process numbers are used again and only good for a log.
fn is_ours(stream: &UnixStream) -> bool {
    let peer = stream.peer_cred();
    if peer
        .as_ref()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
    {
        return true;
    }
    metrics::REFUSED_USER.count();
    let uid = peer.as_ref().map(tokio::net::unix::UCred::uid).ok();
    let pid = peer.ok().and_then(|peer| peer.pid());
    tracing::warn!(uid, pid, "refused a connection of another user");
    false
}

impl Connected for Guest {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &PREFACE[self.told..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.told += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
